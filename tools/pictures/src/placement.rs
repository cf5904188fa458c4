//! The distribution of topics over the nodes.

use dht_report::{Point as Measured, Report};

use super::axis::{Axis, number_text};
use super::figure::{Bar, Curve, Figure, MIDDLE, Panel, Point, look};

/// Number of standard deviations that include 95 of 100 even draws.
const DEVIATIONS: f64 = 1.96;

/// Returns a panel with the topics of each node beside the number that an even distribution would give. All operations
/// of a report use the same topics, so one of them is enough.
pub(super) fn placement(report: &Report) -> Option<Figure> {
    let point = super::largest(report, |point| point.placement.iter().sum::<u32>() > 0).into_iter().next()?;
    let mut figure = super::picture(report, "placement", "Topics at each node", vec![panel(point)])?;
    figure.band = "95 of 100 even draws";
    Some(figure)
}

fn panel(point: &Measured) -> Panel {
    let topics: f64 = point.placement.iter().copied().map(f64::from).sum();
    let nodes = point.placement.len() as f64;
    let even = topics / nodes;
    let deviation = (even * (1.0 - 1.0 / nodes)).sqrt() * DEVIATIONS;
    let band = Some(((even - deviation).max(0.0), even + deviation));
    // From edge to edge of the panel, beyond the first and the last bar.
    let points: Vec<Point> = [-0.6, nodes - 0.4].map(|x| Point { x, y: Some(even), band }).to_vec();
    let bars: Vec<Bar> = (0_u32..).zip(&point.placement).map(|(node, topics)| bar(node, *topics)).collect();
    let heights = bars.iter().map(|bar| bar.height).chain(points.iter().flat_map(Point::heights));
    let names = (0..point.placement.len()).map(|node| node.to_string()).collect();
    Panel {
        title: super::topics_text(point),
        x: Axis::names("node", names),
        y: Axis::rates("topics", heights),
        curves: vec![Curve { name: format!("even: {}", number_text(even)), look: MIDDLE, points }],
        bars,
        failures: Vec::new(),
    }
}

fn bar(node: u32, topics: u32) -> Bar {
    let height = f64::from(topics);
    Bar { name: "topics".to_owned(), look: look(5), x: f64::from(node), width: 0.6, height, label: number_text(height) }
}
