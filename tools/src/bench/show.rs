//! A report on the terminal.

use std::io;
use std::path::{Path, PathBuf};

use super::report::{Entry, Mode, Point, Report};
use crate::output::{BAD, BOLD, DIM, GOOD, Out};
use crate::text::{self, Align};

/// What is measured, before it is.
pub(super) fn heading(report: &Report, topics: &[u32]) -> Vec<String> {
    let (cluster, load) = (&report.cluster, &report.load);
    let software = cluster.software.join(", ");
    let mode = match load.mode {
        Mode::Closed if load.pipeline == 1 => "closed loop".to_owned(),
        Mode::Closed => format!("closed loop, {} in flight on each", load.pipeline),
        Mode::Open => format!("open loop, {} req/s", thin(load.target_rate.unwrap_or_default())),
    };
    let entry = match load.entry {
        Entry::One => "one",
        Entry::All => "all",
        Entry::Random => "random",
    };
    let connections = text::counted(u64::from(load.connections), "connection");
    let (size, seed, runs) = (load.size_bytes, load.seed, text::counted(u64::from(load.runs), "run"));
    let (first, last) = (topics.first().copied().unwrap_or(0), topics.last().copied().unwrap_or(0));
    let range =
        if first == last { text::counted(u64::from(first), "topic") } else { format!("{first} … {last} topics") };
    let (warmup, measured) = (load.warmup_seconds, load.measured_seconds);
    vec![
        format!("Cluster   {} of {} nodes, {software}", cluster.nodes_up, cluster.nodes),
        format!("Load      {mode}, {connections}, {size} B, uniform keys, entry: {entry}, seed {seed}"),
        format!("Points    {} ({range}), {runs} each, warm-up {warmup} s, {measured} s measured", topics.len()),
    ]
}

/// The results.
pub(super) fn results(report: &Report, out: &mut Out) -> io::Result<()> {
    if report.errors > 0 {
        failures(report, out)?;
    }
    for points in report.points.chunk_by(|a, b| a.test == b.test) {
        out.line("")?;
        table(points, out)?;
        hops(points, out)?;
        delivery(points, out)?;
    }
    out.line("")?;
    for requirement in &report.requirements {
        let (style, word) = if requirement.met { (GOOD, "met") } else { (BAD, "missed") };
        let worst = requirement.worst.map_or_else(String::new, |worst| {
            format!("  (worst: {} {}, {})", worst.test.name(), worst.topics, thin(worst.value))
        });
        out.line(&format!("Required  {}: {}{worst}", requirement.text, out.paint(style, word)))?;
    }
    for (index, note) in report.notes.iter().enumerate() {
        out.line(&format!("{:<10}{note}", if index == 0 { "Notes" } else { "" }))?;
    }
    Ok(())
}

/// Where the files are.
pub(super) fn saved(folder: &Path, files: &[PathBuf], out: &mut Out) -> io::Result<()> {
    let names: Vec<_> = files.iter().filter_map(|file| file.file_name()).map(|name| name.to_string_lossy()).collect();
    out.line(&format!("Saved     {}/   {}", folder.display(), names.join(", ")))
}

fn failures(report: &Report, out: &mut Out) -> io::Result<()> {
    out.line("")?;
    let all = text::counted(report.errors, "error");
    out.line(&out.paint(BAD, &format!("Errors    {all}: read the figures with care")))?;
    for point in report.points.iter().filter(|point| point.errors > 0) {
        let kinds: Vec<_> = point.error_kinds.iter().map(|kind| format!("{} {}", kind.count, kind.kind)).collect();
        let topics = text::counted(u64::from(point.topics), "topic");
        out.line(&format!("          {}, {topics}: {}", point.test.name(), kinds.join(", ")))?;
    }
    Ok(())
}

fn table(points: &[Point], out: &mut Out) -> io::Result<()> {
    let test = points.first().map_or("", |point| point.test.name());
    let heading =
        ["topics", "req/s", "avg µs", "p50", "p90", "p99", "p99.9", "max", "errors"].map(str::to_owned).to_vec();
    let rows = points.iter().map(|point| {
        let latency = &point.latency;
        let figures = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
        let mut row = vec![thin(f64::from(point.topics)), thin(point.rate.median), thin(latency.avg_us)];
        row.extend(figures.map(thin));
        row.push(thin(point.errors as f64));
        row
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    out.line(&out.paint(BOLD, test))?;
    for (index, line) in text::table(&[Align::Right; 9], &rows).iter().enumerate() {
        let line = if index == 0 { out.paint(DIM, line) } else { line.clone() };
        out.line(&format!("  {line}"))?;
    }
    Ok(())
}

/// Of the point with the most topics: there the shares are nearest to what is expected.
fn hops(points: &[Point], out: &mut Out) -> io::Result<()> {
    let Some(point) = points.last().filter(|point| !point.hops.is_empty()) else { return Ok(()) };
    let each = |figure: &dyn Fn(&super::report::Hop) -> String| point.hops.iter().map(figure).collect::<Vec<_>>();
    let latencies = each(&|hop| format!("{}: {} µs", hop.hops, thin(hop.latency.avg_us))).join("   ");
    let shares = each(&|hop| format!("{:.1}", hop.share * 100.0)).join(" ");
    let expected = each(&|hop| format!("{:.1}", hop.expected_share * 100.0)).join(" ");
    out.line(&format!("  by hops   {latencies}   (share {shares} %; expected {expected} %)"))
}

fn delivery(points: &[Point], out: &mut Out) -> io::Result<()> {
    let mut all = super::report::Delivery::default();
    let mut any = false;
    for delivery in points.iter().filter_map(|point| point.delivery.as_ref()) {
        all.add(delivery);
        any = true;
    }
    if !any {
        return Ok(());
    }
    let figures =
        [all.published, all.delivered, all.lost, all.damaged, all.out_of_order].map(|count| thin(count as f64));
    let [published, delivered, lost, damaged, out_of_order] = figures;
    let line = format!(
        "  checked   {published} published, {delivered} delivered, {lost} lost, {damaged} damaged, {out_of_order} out of order"
    );
    let is_well = all.lost + all.damaged + all.out_of_order == 0;
    out.line(&if is_well { line } else { out.paint(BAD, &line) })
}

/// A whole number with a space between thousands.
fn thin(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
