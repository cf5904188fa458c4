//! The timeline: rate and 99th percentile of the intervals of a run.

use dht_report::{Bucket, Point as Measured, Report, Run};

use super::axis::Axis;
use super::figure::{Curve, Figure, Panel, Point, TAIL, look};
use super::{largest, picture, point_text};

/// Returns two panels for each operation, for its first run with the most topics.
pub(super) fn timeline(report: &Report) -> Option<Figure> {
    let points = largest(report, |point| first_run(point).is_some());
    let panels = points.into_iter().filter_map(|point| {
        let title = format!("{}, run 1", point_text(report, point));
        let buckets = &first_run(point)?.timeline;
        Some([rates(&title, buckets), latencies(&title, buckets)])
    });
    picture(report, "timeline", "Rate and latency over time", panels.flatten().collect())
}

fn first_run(point: &Measured) -> Option<&Run> {
    point.runs.iter().min_by_key(|run| run.run).filter(|run| !run.timeline.is_empty())
}

fn rates(title: &str, buckets: &[Bucket]) -> Panel {
    let rate = |bucket: &Bucket| Point::new(middle(bucket), bucket.requests as f64 / seconds(bucket.width_ms.max(1)));
    let points: Vec<Point> = buckets.iter().map(rate).collect();
    let y = Axis::rates("answers a second", points.iter().flat_map(Point::heights));
    panel(title, y, Curve { name: "rate".to_owned(), look: look(0), points }, buckets)
}

fn latencies(title: &str, buckets: &[Bucket]) -> Panel {
    let points = buckets.iter().map(|bucket| Point {
        x: middle(bucket),
        y: (bucket.requests > 0).then_some(bucket.p99_us),
        band: None,
    });
    let points: Vec<Point> = points.collect();
    let y = Axis::times("latency", points.iter().flat_map(Point::heights));
    panel(title, y, Curve { name: "p99".to_owned(), look: TAIL, points }, buckets)
}

fn panel(title: &str, y: Axis, curve: Curve, buckets: &[Bucket]) -> Panel {
    let end = buckets.iter().map(|bucket| seconds(bucket.at_ms + bucket.width_ms)).fold(1e-3, f64::max);
    let failures = buckets.iter().filter(|bucket| bucket.errors > 0).map(middle).collect();
    let x = Axis::seconds(end);
    Panel { title: title.to_owned(), x, y, curves: vec![curve], bars: Vec::new(), failures }
}

fn middle(bucket: &Bucket) -> f64 {
    seconds(bucket.at_ms) + seconds(bucket.width_ms) / 2.0
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
