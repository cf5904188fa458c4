//! The distribution of latencies: by percentile, and by the number of hops.

use dht_report::{Hop, Mode, Percentile, Point as Measured, Report, Summary};

use super::axis::{self, Axis};
use super::figure::{BOLD, Bar, Curve, Figure, Look, MIDDLE, Panel, Point, TAIL, look};
use super::{asked_text, by_test, largest, picture, point_text};

const NINES_MAX: u32 = 5;
const BAR_WIDTH: f64 = 0.36;

/// Returns a panel for each operation: all percentiles, with the fewest and with the most topics.
pub(super) fn percentiles(report: &Report) -> Option<Figure> {
    let panels = by_test(report).into_iter().filter_map(|(test, points)| {
        let measured = || points.iter().copied().filter(|point| point.latency.count > 0);
        // The first and the last point: with the fewest and the most topics, and of these with the lowest and highest
        // rate.
        let (few, many) = (measured().min_by_key(|p| p.topics)?, measured().max_by_key(|p| p.topics)?);
        let nines = axis::whole(nines(&many.latency).max(nines(&few.latency)).ceil()).unsigned_abs();
        let is_open = report.load.mode == Mode::Open;
        let since = |point| format!("{}{}", asked_text(report, point), if is_open { ", since its time" } else { "" });
        let mut curves = vec![percentile_curve(&since(many), BOLD, &many.latency)];
        if !std::ptr::eq(few, many) {
            curves.push(percentile_curve(&since(few), MIDDLE, &few.latency));
        }
        if is_open {
            let name = format!("{}, since it was sent", asked_text(report, many));
            curves.push(percentile_curve(&name, TAIL, &many.service));
        }
        let y = Axis::times("latency", curves.iter().flat_map(|curve| &curve.points).flat_map(Point::heights));
        let x = Axis::percentiles(nines.clamp(2, NINES_MAX));
        Some(Panel { title: test.name().to_owned(), x, y, curves, bars: Vec::new(), failures: Vec::new() })
    });
    picture(report, "percentiles", "Latency by percentile", panels.collect())
}

/// Returns two panels for each operation: latency by hops, and the number of requests by hops.
pub(super) fn hops(report: &Report) -> Option<Figure> {
    let points = largest(report, |point| point.hops.iter().any(|hop| hop.latency.count > 0));
    let panels = points.into_iter().flat_map(|point| [hop_latency(report, point), hop_shares(report, point)]);
    picture(report, "hops", "Latency by hops, and shares of requests", panels.collect())
}

fn percentile_curve(name: &str, look: Look, summary: &Summary) -> Curve {
    // The last percentile, 100, is drawn at the one that its number of values can resolve.
    let most = nines(summary);
    let places = known(summary).into_iter().map(|at| (axis::nines(at.percentile).min(most), at.us));
    let shown = places.filter(|(nines, _)| *nines <= f64::from(NINES_MAX) + 1e-6);
    let points = shown.map(|(nines, us)| Point::new(nines, us)).collect();
    Curve { name: name.to_owned(), look, points }
}

/// Returns the curve of a summary, or the few points that every summary has.
fn known(summary: &Summary) -> Vec<Percentile> {
    if !summary.curve.is_empty() {
        return summary.curve.clone();
    }
    let points = [
        (0.0, summary.min_us),
        (50.0, summary.p50_us),
        (90.0, summary.p90_us),
        (95.0, summary.p95_us),
        (99.0, summary.p99_us),
        (99.9, summary.p999_us),
        (100.0, summary.max_us),
    ];
    points.map(|(percentile, us)| Percentile { percentile, us }).to_vec()
}

/// Returns how many nines a number of values resolves: a thousand resolve 99.9 %.
fn nines(summary: &Summary) -> f64 {
    (summary.count.max(1) as f64).log10()
}

fn hop_latency(report: &Report, point: &Measured) -> Panel {
    let curves = vec![
        hop_curve("average", BOLD, point, |summary| summary.avg_us),
        hop_curve("p50", MIDDLE, point, |summary| summary.p50_us),
        hop_curve("p99", TAIL, point, |summary| summary.p99_us),
    ];
    let y = Axis::times("latency", curves.iter().flat_map(|curve| &curve.points).flat_map(Point::heights));
    let (title, x) = (point_text(report, point), hop_axis(&point.hops));
    Panel { title, x, y, curves, bars: Vec::new(), failures: Vec::new() }
}

fn hop_shares(report: &Report, point: &Measured) -> Panel {
    let sides = [("measured share", look(0), -0.5), ("expected of the cube", look(4), 0.5)];
    let bars = point.hops.iter().flat_map(|hop| {
        sides.into_iter().zip([hop.share, hop.expected_share]).map(|((name, look, side), share)| Bar {
            name: name.to_owned(),
            look,
            x: f64::from(hop.hops) + side * BAR_WIDTH,
            width: BAR_WIDTH,
            height: share * 100.0,
            label: format!("{:.1}", share * 100.0),
        })
    });
    let bars: Vec<Bar> = bars.collect();
    let y = Axis::rates("share of requests, %", bars.iter().map(|bar| bar.height));
    let (title, x) = (format!("{}: shares", point_text(report, point)), hop_axis(&point.hops));
    Panel { title, x, y, curves: Vec::new(), bars, failures: Vec::new() }
}

fn hop_curve(name: &str, look: Look, point: &Measured, value: fn(&Summary) -> f64) -> Curve {
    let points = point.hops.iter().map(|hop| {
        let y = (hop.latency.count > 0).then(|| value(&hop.latency));
        Point { x: f64::from(hop.hops), y, band: None }
    });
    Curve { name: name.to_owned(), look, points: points.collect() }
}

fn hop_axis(hops: &[Hop]) -> Axis {
    let most = hops.iter().map(|hop| hop.hops).max().unwrap_or(0);
    Axis::names("hops", (0..=most).map(|hops| hops.to_string()).collect())
}
