//! Prints a report on the terminal.

use std::io;
use std::path::{Path, PathBuf};

use dht_console::output::{BAD, BOLD, DIM, GOOD, Out};
use dht_console::text::{self, Align};
use dht_report::{Entry, Mode, Point, Report, Test};
use serde_json::json;

/// Prints what will be measured, before the first run.
pub(super) fn heading(report: &Report, topics: &[u32]) -> Vec<String> {
    let (cluster, load) = (&report.cluster, &report.load);
    let (software, durability) = (cluster.software.join(", "), cluster.durability.join(", "));
    let mode = match load.mode {
        Mode::Closed if load.pipeline == 1 => "closed loop".to_owned(),
        Mode::Closed => format!("closed loop, {} in flight on each", load.pipeline),
        Mode::Open => match (load.ramp.first(), load.ramp.last()) {
            (Some(from), Some(to)) => format!("open loop, {} … {} req/s", thin(*from), thin(*to)),
            _ => format!("open loop, {} req/s", thin(load.target_rate.unwrap_or_default())),
        },
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
    let (keys, warmup) = (&load.keys, load.warmup_seconds);
    let batch = if load.batch == 1 { String::new() } else { format!(", {} records a request", load.batch) };
    let measured = match load.requests {
        Some(requests) => text::counted(requests, "request"),
        None => format!("{} s measured", load.measured_seconds),
    };
    vec![
        format!("Cluster   {} of {} nodes, {software}, {durability}", cluster.nodes_up, cluster.nodes),
        format!("Load      {mode}, {connections}, {size} B{batch}, {keys} keys, entry: {entry}, seed {seed}"),
        format!("Points    {} ({range}), {runs} each, warm-up {warmup} s, {measured}", topics.len()),
    ]
}

/// Prints the results.
pub(super) fn results(report: &Report, out: &mut Out) -> io::Result<()> {
    if report.errors > 0 {
        failures(report, out)?;
    }
    for points in report.points.chunk_by(|a, b| a.test == b.test) {
        out.line("")?;
        table(points, report, out)?;
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

/// Prints the paths of the files.
pub(super) fn saved(folder: &Path, files: &[PathBuf], out: &mut Out) -> io::Result<()> {
    let names: Vec<_> = files.iter().filter_map(|file| file.file_name()).map(|name| name.to_string_lossy()).collect();
    if out.is_json() {
        return out.json(&json!({"folder": folder.to_string_lossy(), "files": names}));
    }
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

/// Formats a figure of a point for a column.
type Column = (&'static str, fn(&Point, u32) -> f64);

const COLUMNS: [Column; 8] = [
    ("req/s", |point, _| point.rate.median),
    ("avg µs", |point, _| point.latency.avg_us),
    ("p50", |point, _| point.latency.p50_us),
    ("p90", |point, _| point.latency.p90_us),
    ("p99", |point, _| point.latency.p99_us),
    ("p99.9", |point, _| point.latency.p999_us),
    ("max", |point, _| point.latency.max_us),
    ("errors", |point, _| point.errors as f64),
];

fn table(points: &[Point], report: &Report, out: &mut Out) -> io::Result<()> {
    let test = points.first().map_or("", |point| point.test.name());
    let mut columns: Vec<Column> = vec![("topics", |point, _| f64::from(point.topics))];
    if !report.load.ramp.is_empty() {
        columns.push(("asked for", |point, _| point.target_rate.unwrap_or_default()));
    }
    columns.extend(COLUMNS);
    if report.load.batch > 1 && matches!(points.first().map(|point| point.test), Some(Test::Publish | Test::Subscribe))
    {
        columns.insert(columns.len() - 7, ("records/s", |point, batch| point.rate.median * f64::from(batch)));
    }
    if points.iter().any(|point| point.mb_s.median > 0.0) {
        columns.insert(columns.len() - 7, ("MB/s", |point, _| point.mb_s.median));
    }
    if points.iter().all(|point| point.server_cpu_us.is_some()) {
        let cpu = |point: &Point, _| point.server_cpu_us.map_or(0.0, |band| band.median);
        columns.insert(columns.len() - 1, ("node cpu µs", cpu));
    }
    let heading = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let row = |point: &Point| columns.iter().map(|(_, figure)| short(figure(point, report.load.batch))).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(points.iter().map(row)).collect();
    out.line(&out.paint(BOLD, test))?;
    for (index, line) in text::table(&vec![Align::Right; columns.len()], &rows).iter().enumerate() {
        let line = if index == 0 { out.paint(DIM, line) } else { line.clone() };
        out.line(&format!("  {line}"))?;
    }
    Ok(())
}

/// Formats a number, with one decimal if it is small and not an integer.
fn short(number: f64) -> String {
    if number < 10.0 && number.fract() != 0.0 { format!("{number:.1}") } else { thin(number) }
}

/// Describes the point with the most topics, because there the shares are closest to the expected ones.
fn hops(points: &[Point], out: &mut Out) -> io::Result<()> {
    let Some(point) = points.last().filter(|point| !point.hops.is_empty()) else { return Ok(()) };
    let each = |figure: &dyn Fn(&dht_report::Hop) -> String| point.hops.iter().map(figure).collect::<Vec<_>>();
    let latencies = each(&|hop| format!("{}: {} µs", hop.hops, thin(hop.latency.avg_us))).join("   ");
    let shares = each(&|hop| format!("{:.1}", hop.share * 100.0)).join(" ");
    let expected = each(&|hop| format!("{:.1}", hop.expected_share * 100.0)).join(" ");
    out.line(&format!("  by hops   {latencies}   (share {shares} %; expected {expected} %)"))
}

fn delivery(points: &[Point], out: &mut Out) -> io::Result<()> {
    let mut all = dht_report::Delivery::default();
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

/// Formats an integer with spaces between groups of three digits.
pub(super) fn thin(number: f64) -> String {
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
