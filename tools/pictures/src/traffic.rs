//! The cube with the traffic on each of its edges.
//!
//! ```text
//! 2                    3                  4: four squares one in another, neighbours in
//!  10-------11          110-------111       the order 00 01 11 10 of the upper two bits;
//!   |       |            |\       /|        arcs join the outermost and the innermost
//!   |       |            | 10---11 |
//!  00-------01           ...
//! ```
//!
//! No two edges of up to three dimensions cross. A cube of more than four dimensions is not drawn, because it has too
//! many edges to read.

use bytesize::ByteSize;
use dht_report::Report;

use super::axis::number_text;
use super::figure::{Figure, Graph, Line, look};

/// The highest dimension that is drawn.
pub const DIMENSIONS_MAX: u8 = 4;

/// Height in pixels by dimension.
const HEIGHTS: [i32; 5] = [0, 320, 420, 560, 660];
/// Half the sides of the squares, from the outermost, relative to the whole width.
const RINGS: [f64; 4] = [0.5, 0.36, 0.225, 0.09];
/// The inner square of three dimensions.
const INNER: f64 = 0.2;
/// Distance of an arc's middle from the straight line.
const ARC: f64 = 0.09;
const ARC_STEPS: u32 = 24;

/// Returns the picture of the traffic, or `None` if the traffic is unknown or zero.
pub(super) fn cube(report: &Report) -> Option<Figure> {
    let dimension = report.cluster.dimension;
    if dimension > DIMENSIONS_MAX || report.edges.is_empty() {
        return None;
    }
    let all: Vec<Traffic> = edges(dimension).into_iter().map(|(low, bit)| Traffic::of(report, low, bit)).collect();
    let total: u64 = all.iter().map(|traffic| traffic.frames).sum();
    if total == 0 {
        return None;
    }
    let meanings = (0..dimension).map(|bit| {
        let frames: u64 = all.iter().filter(|traffic| traffic.bit == bit).map(|traffic| traffic.frames).sum();
        let share = frames as f64 * 100.0 / total as f64;
        let carried = format!("{} frames, {share:.1} %", short_number(frames as f64));
        (look(usize::from(bit)), format!("dimension {bit}"), carried)
    });
    let graph = Graph {
        height: HEIGHTS[usize::from(dimension)],
        nodes: (0..1_u32 << dimension).map(|node| (binary(node, dimension), place(node, dimension))).collect(),
        // The highest dimension is drawn first, so that its arcs are below where lines cross.
        lines: all.iter().rev().map(|traffic| traffic.line(dimension)).collect(),
        meanings: meanings.collect(),
        unit: "frames".to_owned(),
    };
    let mut figure = super::blank(report, "cube", "Traffic on the edges of the cube");
    figure.graph = Some(graph);
    Some(figure)
}

/// Returns the traffic of an edge in both directions.
struct Traffic {
    low: u32,
    bit: u8,
    frames: u64,
    bytes: u64,
}

impl Traffic {
    fn of(report: &Report, low: u32, bit: u8) -> Self {
        let high = low | 1 << bit;
        let here = report.edges.iter().filter(|edge| [(low, high), (high, low)].contains(&(edge.from, edge.to)));
        let (frames, bytes) = here.fold((0, 0), |(frames, bytes), edge| (frames + edge.frames, bytes + edge.bytes));
        Self { low, bit, frames, bytes }
    }

    fn line(&self, dimension: u8) -> Line {
        let high = self.low | 1 << self.bit;
        let (from, to) = (binary(self.low, dimension), binary(high, dimension));
        let (frames, bytes) = (number_text(self.frames as f64), ByteSize(self.bytes).display().iec());
        Line {
            places: path(self.low, high, dimension),
            look: look(usize::from(self.bit)),
            value: self.frames as f64,
            label: short_number(self.frames as f64),
            title: format!("{from} – {to} · dimension {} · {frames} frames · {bytes}", self.bit),
        }
    }
}

/// Returns every edge of a cube: its lower end, and the bit that its other end has set.
fn edges(dimension: u8) -> Vec<(u32, u8)> {
    let ends = |bit: u8| (0..1_u32 << dimension).filter(move |node| node & 1 << bit == 0).map(move |node| (node, bit));
    (0..dimension).flat_map(ends).collect()
}

fn binary(node: u32, dimension: u8) -> String {
    format!("{node:0width$b}", width = usize::from(dimension))
}

fn place(node: u32, dimension: u8) -> (f64, f64) {
    let (x, y) = corner(node);
    let half = match (dimension, node >> 2) {
        (0, _) => return (0.5, 0.5),
        (1, _) => return (0.5 + x * 0.5, 0.5),
        (3, 1) => INNER,
        (_, 0) => RINGS[0],
        (_, 1) => RINGS[1],
        (_, 3) => RINGS[2],
        _ => RINGS[3],
    };
    (0.5 + x * half, 0.5 + y * half)
}

/// Returns the corner of a node in its square: the lowest bit is to the right, the next one is up.
fn corner(node: u32) -> (f64, f64) {
    let side = |is_set: bool| if is_set { 1.0 } else { -1.0 };
    (side(node & 1 != 0), side(node & 2 == 0))
}

/// Returns the points of the line for an edge: straight, but an arc for an edge that would cover others.
fn path(low: u32, high: u32, dimension: u8) -> Vec<(f64, f64)> {
    let (from, to) = (place(low, dimension), place(high, dimension));
    if dimension < 4 || (low >> 2, high >> 2) != (0, 2) {
        return vec![from, to];
    }
    let (x, y) = corner(low);
    let aside = if x * y > 0.0 { (-x * ARC, 0.0) } else { (0.0, -y * ARC) };
    let point = |step: u32| {
        let share = f64::from(step) / f64::from(ARC_STEPS);
        let bend = 4.0 * share * (1.0 - share);
        let between = |a: f64, b: f64, aside: f64| a + (b - a) * share + aside * bend;
        (between(from.0, to.0, aside.0), between(from.1, to.1, aside.1))
    };
    (0..=ARC_STEPS).map(point).collect()
}

/// Formats a large count with at most three digits and a letter.
pub(super) fn short_number(count: f64) -> String {
    let (value, letter) = match count {
        count if count < 1e4 => return number_text(count.round()),
        count if count < 1e6 => (count / 1e3, "k"),
        count if count < 1e9 => (count / 1e6, "M"),
        count => (count / 1e9, "G"),
    };
    let decimals = if value >= 100.0 { 0 } else { usize::from(value < 10.0) + 1 };
    format!("{value:.decimals$} {letter}")
}
