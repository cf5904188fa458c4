//! Latency and throughput against the number of topics.

use crate::bench::report::{Band, Point as Measured, Report, Test};

use super::axis::Axis;
use super::figure::{BOLD, Curve, Figure, Look, MIDDLE, Panel, Point, TAIL, look};
use super::{by_test, picture, test_text};

/// Operations whose rates are further apart have a panel each: on one axis from zero the slow ones would lie on it.
const ONE_PANEL_RATIO_MAX: f64 = 12.0;

/// A panel for each operation: the average, the median, and the 99th percentile.
pub(super) fn latency(report: &Report) -> Option<Figure> {
    let panels = by_test(report).into_iter().map(|(test, points)| {
        let curves = vec![
            curve("average", BOLD, &points, |point| point.avg_us),
            curve("p50", MIDDLE, &points, |point| point.p50_us),
            curve("p99", TAIL, &points, |point| point.p99_us),
        ];
        let y = Axis::times("latency", heights(&curves));
        panel(test_text(test), y, curves, &points)
    });
    picture(report, "latency", "Latency against the number of topics", panels.collect())
}

/// All operations in one panel, or in one each.
pub(super) fn throughput(report: &Report) -> Option<Figure> {
    let tests = by_test(report);
    let curves: Vec<Curve> = tests
        .iter()
        .enumerate()
        .map(|(index, (test, points))| curve(test_text(*test), look(index), points, |point| point.rate))
        .collect();
    let label = "answers a second";
    let panels = if share_an_axis(&curves) {
        let points: Vec<&Measured> = tests.into_iter().flat_map(|(_, points)| points).collect();
        let y = Axis::rates(label, heights(&curves));
        if points.is_empty() { Vec::new() } else { vec![panel("", y, curves, &points)] }
    } else {
        let pairs = curves.into_iter().zip(tests);
        let alone = |(curve, (test, points)): (Curve, (Test, Vec<&Measured>))| {
            let curves = vec![curve];
            panel(test_text(test), Axis::rates(label, heights(&curves)), curves, &points)
        };
        pairs.map(alone).collect()
    };
    picture(report, "throughput", "Throughput against the number of topics", panels)
}

fn share_an_axis(curves: &[Curve]) -> bool {
    let highest = |curve: &Curve| curve.points.iter().filter_map(|point| point.y).fold(0.0, f64::max);
    let highest: Vec<f64> = curves.iter().map(highest).filter(|rate| *rate > 0.0).collect();
    let most = highest.iter().copied().fold(0.0, f64::max);
    highest.iter().all(|rate| most / rate <= ONE_PANEL_RATIO_MAX)
}

fn panel(title: &str, y: Axis, curves: Vec<Curve>, points: &[&Measured]) -> Panel {
    let topics: Vec<f64> = points.iter().map(|point| f64::from(point.topics)).collect();
    let mut failures: Vec<f64> =
        points.iter().filter(|point| point.errors > 0).map(|point| f64::from(point.topics)).collect();
    failures.sort_by(f64::total_cmp);
    failures.dedup();
    Panel { title: title.to_owned(), x: Axis::counts("topics", &topics), y, curves, bars: Vec::new(), failures }
}

fn curve(name: &str, look: Look, points: &[&Measured], value: fn(&Measured) -> Band) -> Curve {
    let points = points.iter().map(|point| {
        let band = value(point);
        let measured = point.requests > 0;
        Point {
            x: f64::from(point.topics),
            y: measured.then_some(band.median),
            band: (measured && point.runs.len() > 1).then_some((band.min, band.max)),
        }
    });
    Curve { name: name.to_owned(), look, points: points.collect() }
}

fn heights(curves: &[Curve]) -> impl Iterator<Item = f64> {
    curves.iter().flat_map(|curve| &curve.points).flat_map(Point::heights)
}
