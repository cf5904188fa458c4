//! The pictures of a benchmark: what a report says, as SVG and PNG.
//!
//! ```text
//! Report ── sweep, spread, timeline, placement ──▶ Figure ── render, panel, canvas ──▶ plotters ──▶ .svg, .png
//!           what is shown                          axes and curves      how it looks
//! ```
//!
//! Both files of a picture are drawn by the same code with the same metrics of the same font, which is compiled in: no
//! font of the system is looked for. An SVG leaves the letters' shapes to its viewer.
//!
//! A picture for which a report has no figures is left out.

mod axis;
mod canvas;
mod figure;
mod files;
mod panel;
mod placement;
mod render;
mod spread;
mod sweep;
mod timeline;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::bench::report::{Load, Mode, Point, Report, SCHEMA, Test};
use figure::{Figure, Panel};

/// Draws every picture for which the report has figures, and returns the files in the order in which to show them.
pub(crate) fn draw(report: &Report, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for figure in figures(report) {
        paths.extend(files::write(&figure, folder)?);
    }
    Ok(paths)
}

/// Draws the pictures of the `report.json` in a folder, again.
pub(crate) fn plot(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let path = folder.join("report.json");
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let text = fs::read(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let report: Report = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
    if report.schema != SCHEMA {
        return Err(invalid(format!("its schema is {}, this dht-cli reads {SCHEMA}", report.schema)));
    }
    draw(&report, folder)
}

/// All pictures of a report.
fn figures(report: &Report) -> Vec<Figure> {
    let pictures = [
        sweep::latency(report),
        sweep::throughput(report),
        spread::percentiles(report),
        spread::hops(report),
        timeline::timeline(report),
        placement::placement(report),
    ];
    pictures.into_iter().flatten().collect()
}

/// A figure with what all pictures of a report say about it; None without panels.
fn picture(report: &Report, name: &'static str, title: &str, panels: Vec<Panel>) -> Option<Figure> {
    if panels.is_empty() {
        return None;
    }
    Some(Figure {
        name,
        title: title.to_owned(),
        subtitle: load_text(&report.load),
        remarks: remarks(report),
        panels,
        band: "lowest to highest run",
        footer: footer(report),
    })
}

/// What makes the figures doubtful, the worst first.
fn remarks(report: &Report) -> Vec<String> {
    let mut remarks = Vec::new();
    if report.errors > 0 {
        let (number, requests) = (axis::number_text(report.errors as f64), plural(report.errors, "request"));
        remarks.push(format!("{number} {requests} failed; their times are in no figure"));
    }
    if report.interrupted {
        remarks.push("stopped before its end: points or runs are missing".to_owned());
    }
    if report.generator.was_limit {
        remarks.push("the generator, not the cluster, was the limit in a run".to_owned());
    }
    if report.environment.debug_build {
        remarks.push("made by a build without optimisation".to_owned());
    }
    remarks
}

fn load_text(load: &Load) -> String {
    let mode = match (load.mode, load.target_rate) {
        (Mode::Closed, _) => "closed loop (stalls are under-counted)".to_owned(),
        (Mode::Open, Some(rate)) => format!("open loop at {}/s", axis::number_text(rate)),
        (Mode::Open, None) => "open loop".to_owned(),
    };
    let connections = plural(u64::from(load.connections), "connection");
    let runs = plural(u64::from(load.runs), "run");
    format!(
        "{mode}, {} {connections}, {} B, {} {runs} of {} s",
        load.connections,
        load.size_bytes,
        load.runs,
        axis::number_text(load.measured_seconds)
    )
}

fn footer(report: &Report) -> String {
    let environment = &report.environment;
    let parts =
        [report.command.join(" "), report.cluster.software.join(", "), environment.cpu.clone(), report.started.clone()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ·  ")
}

fn plural(number: u64, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}

/// The operations of a report in its order, each with its points.
fn by_test(report: &Report) -> Vec<(Test, Vec<&Point>)> {
    let mut tests: Vec<(Test, Vec<&Point>)> = Vec::new();
    for point in &report.points {
        match tests.iter_mut().find(|(test, _)| *test == point.test) {
            Some((_, points)) => points.push(point),
            None => tests.push((point.test, vec![point])),
        }
    }
    tests
}

/// The point with the most topics of each operation, of those that have what a picture needs.
fn largest(report: &Report, has: impl Fn(&Point) -> bool) -> Vec<&Point> {
    let points = by_test(report).into_iter();
    points.filter_map(|(_, points)| points.into_iter().filter(|point| has(point)).max_by_key(|p| p.topics)).collect()
}

/// `publish, 1 000 topics`
fn point_text(point: &Point) -> String {
    let topics = plural(u64::from(point.topics), "topic");
    format!("{}, {} {topics}", test_text(point.test), axis::number_text(f64::from(point.topics)))
}

fn test_text(test: Test) -> &'static str {
    match test {
        Test::Create => "create",
        Test::Publish => "publish",
        Test::Subscribe => "subscribe",
        Test::Query => "query",
        Test::Fetch => "fetch",
        Test::Ping => "ping",
        Test::Delete => "delete",
        Test::Mixed => "mixed",
    }
}
