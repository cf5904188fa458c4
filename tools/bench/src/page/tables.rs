//! The tables of the page: all figures of a report, except those that only the pictures show.

use dht_console::text;
use dht_report::{Band, Delivery, Entry, Mode, Point, Report};

use super::super::show::thin;
use super::markup::{Cell, element, escape, list, pairs, table};

/// Returns the reasons to doubt the figures.
pub(super) fn troubles(report: &Report) -> String {
    let mut sentences = Vec::new();
    if report.errors > 0 {
        sentences.push(format!("{} failed: read the figures with care.", text::counted(report.errors, "request")));
    }
    for point in report.points.iter().filter(|point| point.errors > 0) {
        let kinds = point.error_kinds.iter().map(|kind| format!("{} {}", thin(kind.count as f64), kind.kind));
        let said = kinds.collect::<Vec<_>>().join(", ");
        let said = if said.is_empty() { thin(point.errors as f64) } else { said };
        sentences.push(format!("{}: {said}", name(report, point)));
    }
    let unsent: u64 = report.points.iter().map(|point| point.unsent).sum();
    if unsent > 0 {
        sentences.push(format!("{} never sent: the rate was not reached.", text::counted(unsent, "request")));
    }
    if report.interrupted {
        sentences.push("Stopped before its end: points or runs are missing.".to_owned());
    }
    if sentences.is_empty() {
        return String::new();
    }
    format!("<section class=\"trouble\">\n<h2>Errors</h2>\n{}</section>\n", list(&sentences))
}

pub(super) fn requirements(report: &Report) -> String {
    if report.requirements.is_empty() {
        return String::new();
    }
    let row = |requirement: &dht_report::Requirement| {
        let (class, word) = if requirement.met { ("text good", "met") } else { ("text bad", "missed") };
        let worst = requirement.worst.map_or_else(String::new, |worst| {
            let topics = text::counted(u64::from(worst.topics), "topic");
            format!("{}, {topics}: {}", worst.test.name(), short(worst.value))
        });
        vec![Cell::text(&requirement.text), Cell::text(word).of_class(class), Cell::text(worst)]
    };
    let rows: Vec<_> = report.requirements.iter().map(row).collect();
    table("", &["required", "", "worst point"], &rows)
}

/// Returns a table for each operation.
pub(super) fn points(report: &Report) -> String {
    let tests = report.points.chunk_by(|a, b| a.test == b.test);
    tests.map(|points| element("h3", points[0].test.name()) + &of_test(report, points)).collect()
}

fn of_test(report: &Report, points: &[Point]) -> String {
    let is_open = report.load.mode == Mode::Open;
    let has_payload = points.iter().any(|point| point.mb_s.max > 0.0);
    let has_cpu = points.iter().any(|point| point.server_cpu_us.is_some());
    let has_runs = points.iter().any(|point| point.runs.len() > 1);
    let mut headings = vec!["topics"];
    headings.extend(is_open.then_some("planned /s"));
    headings.extend(["answers /s", "errors", "average µs", "p50", "p90", "p99", "p99.9", "max"]);
    headings.extend(is_open.then_some("p99 since sent"));
    headings.extend(has_payload.then_some("MB/s"));
    headings.extend(has_cpu.then_some("nodes' CPU µs"));
    headings.push("requests");
    headings.extend(is_open.then_some(["late", "unsent"]).into_iter().flatten());
    headings.extend(has_runs.then_some(["runs: answers /s", "runs: average µs"]).into_iter().flatten());
    let number = |value: f64| Cell::number(value, short(value));
    let row = |point: &Point| {
        let latency = &point.latency;
        let mut row = vec![count(u64::from(point.topics))];
        row.extend(is_open.then(|| point.target_rate.map_or_else(Cell::none, number)));
        let errors = count(point.errors);
        row.extend([number(point.rate.median), if point.errors > 0 { errors.of_class("bad") } else { errors }]);
        row.push(time(point, latency.avg_us).of_class("headline"));
        let figures = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
        row.extend(figures.map(|figure| time(point, figure)));
        row.extend(is_open.then(|| time(point, point.service.p99_us)));
        row.extend(has_payload.then(|| Cell::number(point.mb_s.median, format!("{:.2}", point.mb_s.median))));
        row.extend(has_cpu.then(|| point.server_cpu_us.map_or_else(Cell::none, |cpu| number(cpu.median))));
        row.push(count(point.requests));
        row.extend(is_open.then(|| [count(point.late), count(point.unsent)]).into_iter().flatten());
        row.extend(has_runs.then(|| [band(point, point.rate), band(point, point.avg_us)]).into_iter().flatten());
        row
    };
    table("latency in µs, all runs merged", &headings, &points.iter().map(row).collect::<Vec<_>>())
}

/// Returns the table of the point with the most topics of each operation.
pub(super) fn hops(report: &Report) -> String {
    let tests = report.points.chunk_by(|a, b| a.test == b.test);
    let points = tests.filter_map(|points| points.iter().rfind(|point| !point.hops.is_empty()));
    let headings = ["hops", "share", "expected", "average µs", "p50", "p90", "p99", "p99.9", "max", "requests"];
    let of_point = |point: &Point| {
        let rows = point.hops.iter().map(|hop| {
            let latency = &hop.latency;
            let share = |share: f64| Cell::number(share, format!("{:.1} %", share * 100.0));
            let mut row = vec![count(u64::from(hop.hops)), share(hop.share), share(hop.expected_share)];
            let figures =
                [latency.avg_us, latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
            let told = |us| if latency.count == 0 { Cell::none() } else { Cell::number(us, short(us)) };
            row.extend(figures.map(told));
            row.push(count(latency.count));
            row
        });
        element("h3", &escape(&name(report, point))) + &table("", &headings, &rows.collect::<Vec<_>>())
    };
    points.map(of_point).collect()
}

pub(super) fn deliveries(report: &Report) -> String {
    let row = |point: &Point| {
        let Delivery { published, delivered, lost, damaged, out_of_order } = point.delivery?;
        let bad = |number: u64| if number > 0 { count(number).of_class("bad") } else { count(number) };
        let counted = [count(published), count(delivered), bad(lost), bad(damaged), bad(out_of_order)];
        Some([vec![Cell::text(name(report, point))], counted.to_vec()].concat())
    };
    let rows: Vec<_> = report.points.iter().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    table("records, including the warm-up", &["", "published", "delivered", "lost", "damaged", "out of order"], &rows)
}

pub(super) fn edges(report: &Report) -> String {
    if report.edges.is_empty() {
        return String::new();
    }
    let width = usize::from(report.cluster.dimension);
    let rows = report.edges.iter().map(|edge| {
        let node = |node: u32| Cell::number(f64::from(node), format!("{node:0width$b}"));
        vec![
            node(edge.from),
            node(edge.to),
            count(edge.frames),
            Cell::number(edge.bytes as f64, text::bytes(edge.bytes)),
        ]
    });
    table("in each direction, as the receiver counted", &["from", "to", "frames", "bytes"], &rows.collect::<Vec<_>>())
}

/// Returns the increase of each counter, with a row for each one that increased.
pub(super) fn counters(report: &Report) -> String {
    let nodes = &report.counters;
    let grown = |node: &dht_report::Counters, name: &str| {
        let (before, after) = (node.before.get(name).copied().unwrap_or(0), node.after.get(name).copied().unwrap_or(0));
        after.saturating_sub(before)
    };
    let mut names: Vec<&String> = nodes.iter().flat_map(|node| node.after.keys()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| nodes.iter().any(|node| grown(node, name) > 0));
    if names.is_empty() {
        return String::new();
    }
    let headings: Vec<String> = nodes.iter().map(|node| format!("node {}", node.node)).collect();
    let headings: Vec<&str> = std::iter::once("").chain(headings.iter().map(String::as_str)).collect();
    let row = |name: &&String| {
        let figures = nodes.iter().map(|node| count(grown(node, name)));
        std::iter::once(Cell::text(*name)).chain(figures).collect()
    };
    table("from before the first run to after the last", &headings, &names.iter().map(row).collect::<Vec<Vec<Cell>>>())
}

pub(super) fn load(report: &Report) -> String {
    let load = &report.load;
    let mode = match load.mode {
        Mode::Closed => "closed loop: each request waits for an earlier answer",
        Mode::Open => "open loop: each request has a planned time",
    };
    let entry = match load.entry {
        Entry::One => "one node",
        Entry::All => "all nodes in turn",
        Entry::Random => "nodes drawn at random",
    };
    let rates = |rates: &[f64]| rates.iter().map(|rate| short(*rate)).collect::<Vec<_>>().join(", ");
    let each = match load.requests {
        Some(requests) => text::counted(requests, "request"),
        None => format!("{} s", load.measured_seconds),
    };
    pairs(&[
        ("mode", mode.to_owned()),
        ("planned rate, /s", load.target_rate.map(short).unwrap_or_default()),
        ("planned rates, /s", rates(&load.ramp)),
        ("connections", load.connections.to_string()),
        ("threads", load.threads.to_string()),
        ("in flight on each", load.pipeline.to_string()),
        ("value", format!("{} B", load.size_bytes)),
        ("records a publish", load.batch.to_string()),
        ("keys", load.keys.clone()),
        ("entry", entry.to_owned()),
        ("runs of each point", format!("{}, in shuffled order", load.runs)),
        ("warm-up", format!("{} s", load.warmup_seconds)),
        ("measured in each", each),
        ("seed", load.seed.to_string()),
    ])
}

pub(super) fn environment(report: &Report) -> String {
    let (environment, cluster, generator) = (&report.environment, &report.cluster, &report.generator);
    let place = if environment.same_host { "the same machine: no network was measured" } else { "over a network" };
    let build = if environment.debug_build { ", without optimisation" } else { "" };
    let addresses: Vec<_> = cluster
        .addresses
        .iter()
        .map(|address| if address.is_empty() { "no answer" } else { address.as_str() })
        .collect();
    let share = |share: Option<f64>| share.map(|share| format!("{:.0} %", share * 100.0)).unwrap_or_default();
    let memory = if environment.memory_bytes > 0 { text::bytes(environment.memory_bytes) } else { String::new() };
    pairs(&[
        ("nodes", addresses.join(", ")),
        ("nodes' software", cluster.software.join(", ")),
        ("durability of acknowledgements", cluster.durability.join(", ")),
        ("generator and nodes", place.to_owned()),
        ("processor", environment.cpu.clone()),
        ("cores for the generator", environment.cores.to_string()),
        ("governor", environment.governor.clone()),
        ("kernel", environment.kernel.clone()),
        ("memory", memory),
        ("dht-cli", format!("{}{build}", environment.version)),
        ("commit", environment.commit.clone()),
        ("rustc", environment.rustc.clone()),
        ("generator's busiest thread", share(generator.busiest_thread)),
        ("generator, cores", generator.cores_used.map(|cores| format!("{cores:.2}")).unwrap_or_default()),
        ("machine busy", share(generator.machine_busy)),
        ("delay of sends, p99 µs", generator.lag_p99_us.map(short).unwrap_or_default()),
    ])
}

/// Formats a point as `publish, 100 topics`, with the rate if there are several.
fn name(report: &Report, point: &Point) -> String {
    let topics = format!("{}, {}", point.test.name(), text::counted(u64::from(point.topics), "topic"));
    match point.target_rate.filter(|_| report.load.ramp.len() > 1) {
        Some(rate) => format!("{topics}, {}/s", short(rate)),
        None => topics,
    }
}

fn count(number: u64) -> Cell {
    Cell::number(number as f64, thin(number as f64))
}

/// Returns a latency of a point, if it has any.
fn time(point: &Point, us: f64) -> Cell {
    if point.requests == 0 { Cell::none() } else { Cell::number(us, short(us)) }
}

/// Formats the range from the lowest to the highest run.
fn band(point: &Point, band: Band) -> Cell {
    if point.requests == 0 || point.runs.len() < 2 {
        return Cell::none();
    }
    Cell::number(band.max - band.min, format!("{} – {}", short(band.min), short(band.max)))
}

/// Formats a number with groups of three digits, and with one decimal if it is small.
fn short(value: f64) -> String {
    if value.abs() < 10.0 && value.fract() != 0.0 { format!("{value:.1}") } else { thin(value) }
}
