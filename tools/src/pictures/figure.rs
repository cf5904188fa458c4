//! What a picture shows, before it is drawn: panels with axes, curves, bars and failures, or nodes and edges.

use super::axis::Axis;

/// One picture; it becomes `NAME.svg` and `NAME.png`.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) title: String,
    /// How it was measured.
    pub(super) subtitle: String,
    /// What the reader must know before the curves: errors first.
    pub(super) remarks: Vec<String>,
    pub(super) panels: Vec<Panel>,
    /// What stands in the place of panels.
    pub(super) graph: Option<Graph>,
    /// What the area around a curve means.
    pub(super) band: &'static str,
    /// What a cross means.
    pub(super) cross: &'static str,
    /// The command, and the programs that made the figures.
    pub(super) footer: [String; 2],
}

/// Nodes and what went over the edges between them.
#[derive(Debug)]
pub(super) struct Graph {
    /// Pixels at scale 1.
    pub(super) height: i32,
    /// Their names, and where they stand: from 0.0 to 1.0 from the left and from the top.
    pub(super) nodes: Vec<(String, (f64, f64))>,
    pub(super) lines: Vec<Line>,
    /// What each look means: its name, and what it carried.
    pub(super) meanings: Vec<(Look, String, String)>,
    /// What the numbers are.
    pub(super) unit: String,
}

/// An edge.
#[derive(Debug)]
pub(super) struct Line {
    /// From end to end; straight between each two places.
    pub(super) places: Vec<(f64, f64)>,
    pub(super) look: Look,
    /// What it carried, from nothing to the most of all edges.
    pub(super) value: f64,
    /// Written beside its middle.
    pub(super) label: String,
    /// Said of it to who asks.
    pub(super) title: String,
}

/// One pair of axes and what stands in it.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) curves: Vec<Curve>,
    pub(super) bars: Vec<Bar>,
    /// Where on the x axis something failed.
    pub(super) failures: Vec<f64>,
}

/// Values in the order of x.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) points: Vec<Point>,
}

/// One value of a curve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    /// None where nothing was measured: the curve has a gap there.
    pub(super) y: Option<f64>,
    /// The lowest and the highest of several runs.
    pub(super) band: Option<(f64, f64)>,
}

impl Point {
    /// A value without a band.
    pub(super) fn new(x: f64, y: f64) -> Self {
        Self { x, y: Some(y), band: None }
    }

    /// Everything that the y axis must hold.
    pub(super) fn heights(&self) -> impl Iterator<Item = f64> {
        let (low, high) = self.band.unzip();
        [self.y, low, high].into_iter().flatten().filter(|value| value.is_finite())
    }
}

/// A rectangle from zero to its height, centred at x.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) x: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Written above the bar.
    pub(super) label: String,
}

/// How a curve is told from the others: by colour, dash, width and marker, so that no single one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) colour: (u8, u8, u8),
    pub(super) width: u32,
    /// Pixels drawn and pixels left out; None is a solid line.
    pub(super) dash: Option<(i32, i32)>,
    pub(super) marker: Marker,
}

/// The shape at each point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
}

// The colours are those of Okabe and Ito, which people with any of the common colour blindnesses tell apart.
const BLUE: (u8, u8, u8) = (0x00, 0x72, 0xB2);
const VERMILION: (u8, u8, u8) = (0xD5, 0x5E, 0x00);
const GREEN: (u8, u8, u8) = (0x00, 0x9E, 0x73);
const PURPLE: (u8, u8, u8) = (0xCC, 0x79, 0xA7);
const ORANGE: (u8, u8, u8) = (0xE6, 0x9F, 0x00);
const SKY: (u8, u8, u8) = (0x56, 0xB4, 0xE9);

/// The headline of a panel.
pub(super) const BOLD: Look = Look { colour: BLUE, width: 4, dash: None, marker: Marker::Circle };
/// What stands beside it.
pub(super) const MIDDLE: Look = Look { colour: GREEN, width: 2, dash: Some((9, 4)), marker: Marker::Square };
/// What is slower than most.
pub(super) const TAIL: Look = Look { colour: VERMILION, width: 2, dash: Some((3, 4)), marker: Marker::Triangle };

/// The look of what two reports are told apart by.
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

/// The look of the nth of several equals: beyond the colours there are, the same ones with another dash and marker.
pub(super) fn look(index: usize) -> Look {
    let round = index / LOOKS.len();
    let other = LOOKS[(index + round) % LOOKS.len()];
    Look { dash: other.dash, marker: other.marker, ..LOOKS[index % LOOKS.len()] }
}
