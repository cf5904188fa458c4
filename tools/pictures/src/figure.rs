//! The content of a picture before it is drawn: panels with axes, curves, bars and failures, or nodes and edges.

use super::axis::Axis;

/// A picture, which becomes `NAME.svg` and `NAME.png`.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) title: String,
    /// How it was measured.
    pub(super) subtitle: String,
    /// Notes that the reader must see before the curves: errors first.
    pub(super) remarks: Vec<String>,
    pub(super) panels: Vec<Panel>,
    /// A graph in place of panels.
    pub(super) graph: Option<Graph>,
    /// The meaning of the area around a curve.
    pub(super) band: &'static str,
    /// The meaning of a cross.
    pub(super) cross: &'static str,
    /// The command, and the programs that produced the figures.
    pub(super) footer: [String; 2],
}

/// Nodes, and the traffic on the edges between them.
#[derive(Debug)]
pub(super) struct Graph {
    /// Height in pixels at scale 1.
    pub(super) height: i32,
    /// The names of the nodes and their positions: from 0.0 to 1.0 from the left and from the top.
    pub(super) nodes: Vec<(String, (f64, f64))>,
    pub(super) lines: Vec<Line>,
    /// The meaning of each look: its name, and its traffic.
    pub(super) meanings: Vec<(Look, String, String)>,
    /// The meaning of the numbers.
    pub(super) unit: String,
}

/// An edge.
#[derive(Debug)]
pub(super) struct Line {
    /// The positions from end to end, connected by straight lines.
    pub(super) places: Vec<(f64, f64)>,
    pub(super) look: Look,
    /// Its share of the highest traffic of all edges.
    pub(super) value: f64,
    /// The text beside its middle.
    pub(super) label: String,
    /// Its tooltip.
    pub(super) title: String,
}

/// A pair of axes and its content.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) curves: Vec<Curve>,
    pub(super) bars: Vec<Bar>,
    /// The positions on the x axis at which something failed.
    pub(super) failures: Vec<f64>,
}

/// A series of values in the order of x.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) points: Vec<Point>,
}

/// A value of a curve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    /// The value; `None` where nothing was measured, which leaves a gap in the curve.
    pub(super) y: Option<f64>,
    /// The lowest and the highest of several runs.
    pub(super) band: Option<(f64, f64)>,
}

impl Point {
    /// Returns a value without a band.
    pub(super) fn new(x: f64, y: f64) -> Self {
        Self { x, y: Some(y), band: None }
    }

    /// Returns all values that the y axis must cover.
    pub(super) fn heights(&self) -> impl Iterator<Item = f64> {
        let (low, high) = self.band.unzip();
        [self.y, low, high].into_iter().flatten().filter(|value| value.is_finite())
    }
}

/// A bar from zero to its height, centred at x.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) x: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// The text above the bar.
    pub(super) label: String,
}

/// The look of a curve. Curves differ in colour, dash, width and marker, so that no single one of these is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) colour: (u8, u8, u8),
    pub(super) width: u32,
    /// Lengths of dashes and gaps in pixels; `None` is a solid line.
    pub(super) dash: Option<(i32, i32)>,
    pub(super) marker: Marker,
}

/// The shape of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
}

// The colours are those of Okabe and Ito, which people with any of the common colour blindnesses can distinguish.
const BLUE: (u8, u8, u8) = (0x00, 0x72, 0xB2);
const VERMILION: (u8, u8, u8) = (0xD5, 0x5E, 0x00);
const GREEN: (u8, u8, u8) = (0x00, 0x9E, 0x73);
const PURPLE: (u8, u8, u8) = (0xCC, 0x79, 0xA7);
const ORANGE: (u8, u8, u8) = (0xE6, 0x9F, 0x00);
const SKY: (u8, u8, u8) = (0x56, 0xB4, 0xE9);

/// The look of the main series of a panel.
pub(super) const BOLD: Look = Look { colour: BLUE, width: 4, dash: None, marker: Marker::Circle };
/// The look of a second series.
pub(super) const MIDDLE: Look = Look { colour: GREEN, width: 2, dash: Some((9, 4)), marker: Marker::Square };
/// The look of a tail latency.
pub(super) const TAIL: Look = Look { colour: VERMILION, width: 2, dash: Some((3, 4)), marker: Marker::Triangle };

/// Returns the look that distinguishes two reports.
pub(super) const OLD: Look = Look { colour: VERMILION, width: 2, dash: Some((9, 4)), marker: Marker::Square };
pub(super) const NEW: Look = Look { colour: BLUE, width: 3, dash: None, marker: Marker::Circle };

const LOOKS: [Look; 6] = [
    Look { colour: BLUE, width: 3, dash: None, marker: Marker::Circle },
    Look { colour: VERMILION, width: 2, dash: Some((9, 4)), marker: Marker::Square },
    Look { colour: GREEN, width: 2, dash: Some((3, 4)), marker: Marker::Triangle },
    Look { colour: PURPLE, width: 2, dash: Some((14, 4)), marker: Marker::Diamond },
    Look { colour: ORANGE, width: 2, dash: Some((6, 6)), marker: Marker::Circle },
    Look { colour: SKY, width: 2, dash: Some((2, 6)), marker: Marker::Square },
];

/// Returns the look of the nth of several equal series: beyond the available colours, they repeat with another dash and
/// marker.
pub(super) fn look(index: usize) -> Look {
    let round = index / LOOKS.len();
    let other = LOOKS[(index + round) % LOOKS.len()];
    Look { dash: other.dash, marker: other.marker, ..LOOKS[index % LOOKS.len()] }
}
