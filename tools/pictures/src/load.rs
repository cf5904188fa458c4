//! Latency against the planned rate: flat while there is capacity, steep where the cube is saturated.

use dht_report::{Point as Measured, Report};

use super::axis::Axis;
use super::figure::{BOLD, Curve, Figure, Look, MIDDLE, Panel, Point, TAIL, look};
use super::{by_test, picture, rated, topics_text};

/// Returns two panels for each operation that was measured at several rates, for the most topics.
pub(super) fn rate_latency(report: &Report) -> Option<Figure> {
    let panels = by_test(report).into_iter().filter_map(|(test, points)| {
        let most = points.iter().map(|point| point.topics).max()?;
        let points: Vec<&Measured> = points.into_iter().filter(|point| point.topics == most).filter(rated).collect();
        let title = format!("{}, {}", test.name(), topics_text(points.first()?));
        (points.len() > 1).then(|| [latencies(&title, &points), rates(&title, &points)])
    });
    picture(report, "rate-latency", "Latency against the rate", panels.flatten().collect())
}

fn latencies(title: &str, points: &[&Measured]) -> Panel {
    let curves = vec![
        curve("average", BOLD, points, |point| (point.latency.count > 0).then_some(point.latency.avg_us)),
        curve("p50", MIDDLE, points, |point| (point.latency.count > 0).then_some(point.latency.p50_us)),
        curve("p99", TAIL, points, |point| (point.latency.count > 0).then_some(point.latency.p99_us)),
    ];
    let y = Axis::times("latency", curves.iter().flat_map(|curve| &curve.points).flat_map(Point::heights));
    panel(title, y, curves, points)
}

/// Returns the panel of achieved and planned rates: where the responses fall behind, the rate was not reached.
fn rates(title: &str, points: &[&Measured]) -> Panel {
    let curves = vec![
        curve("answers", look(3), points, |point| (point.requests > 0).then_some(point.rate.median)),
        curve("as many as asked for", look(4), points, |point| point.target_rate),
    ];
    let y = Axis::rates("answers a second", curves.iter().flat_map(|curve| &curve.points).flat_map(Point::heights));
    panel(&format!("{title}: rate"), y, curves, points)
}

fn panel(title: &str, y: Axis, curves: Vec<Curve>, points: &[&Measured]) -> Panel {
    let asked: Vec<f64> = points.iter().filter_map(|point| point.target_rate).collect();
    let failures = points.iter().filter(|point| point.errors > 0).filter_map(|point| point.target_rate).collect();
    let x = Axis::counts("requests a second, asked for", &asked);
    Panel { title: title.to_owned(), x, y, curves, bars: Vec::new(), failures }
}

fn curve(name: &str, look: Look, points: &[&Measured], value: impl Fn(&Measured) -> Option<f64>) -> Curve {
    let points =
        points.iter().map(|point| Point { x: point.target_rate.unwrap_or_default(), y: value(point), band: None });
    Curve { name: name.to_owned(), look, points: points.collect() }
}
