//! Latency and throughput against the number of topics.

use dht_report::{Band, Point as Measured, Report, Test};

use super::axis::Axis;
use super::figure::{BOLD, Curve, Figure, Look, MIDDLE, Panel, Point, TAIL, look};
use super::{by_test, picture};

const RATE: &str = "answers a second";

/// Operations whose rates differ by more than this factor have a panel each, because on a common axis from zero the
/// slow ones would be flat.
const ONE_PANEL_RATIO_MAX: f64 = 12.0;

/// Returns a panel for each operation: the average, the median, and the 99th percentile.
pub(super) fn latency(report: &Report) -> Option<Figure> {
    let panels = tests(report).into_iter().map(|(test, points)| {
        let curves = vec![
            curve("average", BOLD, &points, |point| point.avg_us),
            curve("p50", MIDDLE, &points, |point| point.p50_us),
            curve("p99", TAIL, &points, |point| point.p99_us),
        ];
        panel(test.name(), latencies(&curves), curves, &points)
    });
    picture(report, "latency", "Latency against the number of topics", panels.collect())
}

/// Returns panels with the responses per second, and the bytes of the operations that carry payload.
pub(super) fn throughput(report: &Report) -> Option<Figure> {
    let tests = tests(report);
    let curves = |value: fn(&Measured) -> Band| {
        let named = tests.iter().enumerate();
        named.map(move |(index, (test, points))| curve(test.name(), look(index), points, value)).collect::<Vec<Curve>>()
    };
    let mut carrying = curves(|point| point.mb_s);
    carrying.retain(|curve| curve.points.iter().any(|point| point.y.is_some_and(|y| y > 0.0)));
    let points: Vec<&Measured> = tests.iter().flat_map(|(_, points)| points).copied().collect();
    let mut panels = together("answers", RATE, curves(|point| point.rate), &points);
    panels.extend(together("payload", "MB/s", carrying, &points));
    picture(report, "throughput", "Throughput against the number of topics", panels)
}

/// Returns one panel with all operations, or one for each.
fn together(what: &str, label: &str, curves: Vec<Curve>, points: &[&Measured]) -> Vec<Panel> {
    if curves.is_empty() {
        return Vec::new();
    }
    if share_an_axis(&curves) {
        return vec![panel(what, rates(label, &curves), curves, points)];
    }
    let alone = |curve: Curve| {
        let own: Vec<&Measured> = points.iter().copied().filter(|point| point.test.name() == curve.name).collect();
        let title = format!("{}: {what}", curve.name);
        let curves = vec![curve];
        panel(&title, rates(label, &curves), curves, &own)
    };
    curves.into_iter().map(alone).collect()
}

/// Returns the average latency and throughput of an operation in two reports.
pub(super) fn rival_panels(test: Test, sides: [(String, Look, Vec<&Measured>); 2]) -> [Panel; 2] {
    let points: Vec<&Measured> = sides.iter().flat_map(|(_, _, points)| points).copied().collect();
    let curves = |value: fn(&Measured) -> Band| {
        let curves = sides.iter().map(|(name, look, points)| curve(name, *look, points, value));
        curves.collect::<Vec<Curve>>()
    };
    let (times, answers) = (curves(|point| point.avg_us), curves(|point| point.rate));
    let name = test.name();
    [
        panel(&format!("{name}: average latency"), latencies(&times), times, &points),
        panel(&format!("{name}: throughput"), rates(RATE, &answers), answers, &points),
    ]
}

/// Of points with equally many topics, which differ by the planned rate, selects the one with the lowest rate.
pub(super) fn steady(mut points: Vec<&Measured>) -> Vec<&Measured> {
    let asked = |point: &Measured| point.target_rate.unwrap_or_default();
    points.sort_by(|a, b| a.topics.cmp(&b.topics).then(asked(a).total_cmp(&asked(b))));
    points.dedup_by_key(|point| point.topics);
    points
}

/// Returns the operations with a point for each number of topics; none if only the rate differs.
fn tests(report: &Report) -> Vec<(Test, Vec<&Measured>)> {
    let ramps = report.load.ramp.len() > 1 && report.points.iter().all(|point| point.topics == report.points[0].topics);
    let tests = by_test(report).into_iter().filter(|_| !ramps);
    tests.map(|(test, points)| (test, steady(points))).collect()
}

fn latencies(curves: &[Curve]) -> Axis {
    Axis::times("latency", heights(curves))
}

fn rates(label: &str, curves: &[Curve]) -> Axis {
    Axis::rates(label, heights(curves))
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
