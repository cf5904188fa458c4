//! The pictures of a benchmark: the figures of a report as SVG and PNG.
//!
//! ```text
//! Report ── sweep, load, spread, timeline ──▶ Figure ── render, legend, panel, graph ──▶ plotters ──▶ .svg, .png
//!           placement, traffic, overlay       axes and curves    how it looks                        report.html
//! ```
//!
//! Both files of a picture are drawn by the same code with the same metrics of the same font, which is compiled in: no
//! font of the system is used. An SVG leaves the shapes of the letters to its viewer.
//!
//! A picture for which a report has no figures is left out.

mod axis;
mod canvas;
mod figure;
mod files;
mod graph;
mod legend;
mod load;
mod overlay;
mod panel;
mod placement;
mod render;
mod spread;
mod sweep;
mod tag;
mod timeline;
mod traffic;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dht_report::{Load, Mode, Point, Report, Test};

use figure::{Figure, Panel};

pub use traffic::DIMENSIONS_MAX as CUBE_DIMENSIONS_MAX;

/// Draws every picture for which the report has figures, and returns the files in the order in which to show them.
pub fn draw(report: &Report, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for figure in figures(report) {
        paths.extend(files::write(&figure, folder)?);
    }
    Ok(paths)
}

/// A picture for a page.
#[derive(Debug)]
pub struct Inline {
    /// The name of its files, without extension.
    pub name: &'static str,
    /// The heading.
    pub title: String,
    /// The text of the SVG.
    pub svg: String,
}

/// Returns every picture for which the report has figures, as parts of a page.
pub fn inline(report: &Report) -> io::Result<Vec<Inline>> {
    let drawn = figures(report).into_iter().map(|figure| {
        let svg = files::svg(&figure)?;
        Ok(Inline { name: figure.name, title: figure.title, svg })
    });
    drawn.collect()
}

/// A report with the name that distinguishes it from another one.
#[derive(Clone, Copy, Debug)]
pub struct Rival<'a> {
    /// The name in the legend.
    pub name: &'a str,
    /// The report.
    pub report: &'a Report,
}

/// Draws two reports into one picture, the older one first, with notes for the reader. Returns no files if they have no
/// operation in common.
pub fn draw_rivals(rivals: [Rival<'_>; 2], remarks: Vec<String>, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(figure) = overlay::overlay(rivals, remarks) else { return Ok(Vec::new()) };
    fs::create_dir_all(folder)?;
    files::write(&figure, folder).map(Vec::from)
}

/// Returns all pictures of a report.
fn figures(report: &Report) -> Vec<Figure> {
    let pictures = [
        sweep::latency(report),
        sweep::throughput(report),
        spread::percentiles(report),
        spread::hops(report),
        load::rate_latency(report),
        timeline::timeline(report),
        traffic::cube(report),
        placement::placement(report),
    ];
    pictures.into_iter().flatten().collect()
}

/// Returns a figure with the text that all pictures of a report have; `None` if there are no panels.
fn picture(report: &Report, name: &'static str, title: &str, panels: Vec<Panel>) -> Option<Figure> {
    (!panels.is_empty()).then(|| Figure { panels, ..blank(report, name, title) })
}

/// Returns a figure with everything except its panels.
fn blank(report: &Report, name: &'static str, title: &str) -> Figure {
    Figure {
        name,
        title: title.to_owned(),
        subtitle: load_text(&report.load),
        remarks: remarks(report),
        panels: Vec::new(),
        graph: None,
        band: "lowest to highest run",
        cross: "requests failed",
        footer: footer(report),
    }
}

/// Returns the reasons to doubt the figures, the most important first.
fn remarks(report: &Report) -> Vec<String> {
    let mut remarks = Vec::new();
    if report.errors > 0 {
        let (number, requests) = (axis::number_text(report.errors as f64), plural(report.errors, "request"));
        remarks.push(format!("{number} {requests} failed; their times are in no figure"));
    }
    let unsent: u64 = report.points.iter().map(|point| point.unsent).sum();
    if unsent > 0 {
        let (number, requests) = (axis::number_text(unsent as f64), plural(unsent, "request"));
        remarks.push(format!("{number} {requests} were never sent: the planned rate was not reached"));
    }
    if report.interrupted {
        remarks.push("stopped before its end: points or runs are missing".to_owned());
    }
    if report.generator.was_limit {
        remarks.push("the generator, not the cluster, was the bottleneck in a run".to_owned());
    }
    if report.environment.debug_build {
        remarks.push("made by a build without optimisation".to_owned());
    }
    remarks
}

fn load_text(load: &Load) -> String {
    let number = axis::number_text;
    let mode = match (load.mode, load.ramp.as_slice(), load.target_rate) {
        (Mode::Closed, ..) => "closed loop (stalls are under-counted)".to_owned(),
        (Mode::Open, [first, .., last], _) => format!("open loop from {} to {}/s", number(*first), number(*last)),
        (Mode::Open, _, Some(rate)) => format!("open loop at {}/s", number(rate)),
        (Mode::Open, _, None) => "open loop".to_owned(),
    };
    let connections = plural(u64::from(load.connections), "connection");
    let mut parts = vec![mode, format!("{} {connections}", load.connections)];
    if load.pipeline > 1 {
        parts.push(format!("{} in flight on each", load.pipeline));
    }
    parts.push(format!("{} B", load.size_bytes));
    if load.batch > 1 {
        parts.push(format!("{} records a publish", load.batch));
    }
    if load.keys != "uniform" {
        parts.push(format!("{} keys", foreign(&load.keys)));
    }
    let runs = plural(u64::from(load.runs), "run");
    parts.push(match load.requests {
        Some(requests) => format!("{} {runs} of {} requests", load.runs, number(requests as f64)),
        None => format!("{} {runs} of {} s", load.runs, number(load.measured_seconds)),
    });
    parts.join(", ")
}

/// Returns the command; then what was measured, by what, where and when.
fn footer(report: &Report) -> [String; 2] {
    let environment = &report.environment;
    let program = match environment.commit.as_str() {
        "" => format!("dht-cli {}", environment.version),
        commit => format!("dht-cli {} ({commit})", environment.version),
    };
    let parts = [program, report.cluster.software.join(", "), environment.cpu.clone(), report.started.clone()];
    let made = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ·  ");
    [foreign(&report.command_line()), foreign(&made)]
}

/// Prepares foreign text for a picture: control characters and those of [`tag`] are removed.
fn foreign(text: &str) -> String {
    let is_harmless = |letter: &char| !letter.is_control() && !('\u{E000}'..='\u{F8FF}').contains(letter);
    text.chars().filter(is_harmless).collect()
}

fn plural(number: u64, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Returns the operations of a report in its order, each with its points.
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

/// Returns the point with the most topics of each operation, among those that have the data a picture needs.
fn largest(report: &Report, has: impl Fn(&Point) -> bool) -> Vec<&Point> {
    let points = by_test(report).into_iter();
    points.filter_map(|(_, points)| points.into_iter().filter(|point| has(point)).max_by_key(|p| p.topics)).collect()
}

/// Formats a point as `publish, 1 000 topics`.
fn point_text(report: &Report, point: &Point) -> String {
    format!("{}, {}", point.test.name(), asked_text(report, point))
}

/// Formats a point as `1 000 topics`, with the rate if there were several.
fn asked_text(report: &Report, point: &Point) -> String {
    match point.target_rate.filter(|_| report.load.ramp.len() > 1) {
        Some(rate) => format!("{} at {}/s", topics_text(point), axis::number_text(rate)),
        None => topics_text(point),
    }
}

fn topics_text(point: &Point) -> String {
    format!("{} {}", axis::number_text(f64::from(point.topics)), plural(u64::from(point.topics), "topic"))
}

/// Returns true if the point was measured at a planned rate.
fn rated(point: &&Point) -> bool {
    point.target_rate.is_some()
}
