//! Notes that a reader needs to interpret a result, above all about what was not measured.

use std::collections::BTreeMap;

use dht_console::text;
use dht_report::{Band, Cost, Mode, Point, Report, Test};

use super::measure::SUBSCRIPTIONS_MAX;

/// The factor by which a generator's rate should exceed a node's for the same CPU time.
const GENERATOR_TIMES: f64 = 3.0;

/// The spread between the lowest and highest rates above which the figures are too noisy to compare.
const NOISE: f64 = 0.1;

/// Returns the notes of a report that is otherwise complete.
pub(super) fn of(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    errors(report, &mut notes);
    if report.interrupted {
        notes.push("stopped before its end: some runs are missing, and the last one is short".to_owned());
    }
    match report.load.mode {
        Mode::Closed => notes.push(
            "closed loop: stalls are under-counted (coordinated omission); for latency at a given load add --rate"
                .to_owned(),
        ),
        Mode::Open => open_loop(report, &mut notes),
    }
    let unsent: u64 = report.points.iter().map(|point| point.unsent).sum();
    if report.load.requests.is_some() && unsent > 0 {
        let unsent = text::counted(unsent, "request");
        notes.push(format!("{unsent} were never sent and are in no figure: their connections were lost for too long"));
    }
    generator(report, &mut notes);
    if report.environment.same_host {
        notes.push("generator and nodes share this machine: no network was measured".to_owned());
    }
    if report.environment.debug_build {
        notes.push("dht-cli was built without optimisation: do not quote the figures".to_owned());
    }
    operations(report, &mut notes);
    for point in report.points.iter().filter(|point| point.connections < report.load.connections) {
        let connections = text::counted(u64::from(point.connections), "connection");
        notes.push(format!(
            "{} of {} used {connections}: no more than topics",
            point.test.name(),
            topics(point.topics)
        ));
    }
    within_noise(report, &mut notes);
    let noisy = report.points.iter().filter(|point| point.rate.max - point.rate.min > NOISE * point.rate.median);
    let noisy = noisy.count();
    if noisy > 0 {
        let all = report.points.len();
        notes.push(format!("the runs of {noisy} of {all} points differ by more than a tenth: compare with care"));
    }
    if report.load.runs == 1 {
        notes.push("one run: the noise is unknown; add --runs".to_owned());
    }
    notes
}

fn open_loop(report: &Report, notes: &mut Vec<String>) {
    notes.push("open loop: latency counts from the planned time of each request".to_owned());
    let (late, unsent): (u64, u64) =
        report.points.iter().fold((0, 0), |(late, unsent), point| (late + point.late, unsent + point.unsent));
    if late > 0 {
        notes.push(format!("{} were sent more than 1 ms late", text::counted(late, "request")));
    }
    if unsent > 0 && report.load.requests.is_none() {
        let unsent = text::counted(unsent, "request");
        notes.push(format!("{unsent} were never sent and are in no figure: the rate was not reached"));
    }
}

/// Reports failures first, because the figures of the other requests look good without them.
fn errors(report: &Report, notes: &mut Vec<String>) {
    if report.errors == 0 {
        return;
    }
    let failed: Vec<_> = report.points.iter().filter(|point| point.errors > 0).collect();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for kind in failed.iter().flat_map(|point| &point.error_kinds) {
        *kinds.entry(&kind.kind).or_default() += kind.count;
    }
    let kinds: Vec<_> = kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    notes.push(format!(
        "{} in {} of {}: {}; the figures are of the other requests only",
        text::counted(report.errors, "error"),
        failed.len(),
        text::counted(report.points.len() as u64, "point"),
        kinds.join(", ")
    ));
}

/// Explains what the figures of an operation include and exclude.
fn operations(report: &Report, notes: &mut Vec<String>) {
    let has = |test| report.points.iter().any(|point| point.test == test);
    for (test, other) in [(Test::Create, "delete of an older topic"), (Test::Delete, "create of a newer topic")] {
        if has(test) {
            let name = test.name();
            notes.push(format!(
                "{name}: each was accompanied by a {other}, which is in no figure but the processor time"
            ));
        }
    }
    let behind = |point: &&Point| {
        point.test == Test::Subscribe && point.topics as usize > SUBSCRIPTIONS_MAX * point.connections as usize
    };
    for point in report.points.iter().filter(behind) {
        let used = SUBSCRIPTIONS_MAX * point.connections as usize;
        let all = topics(point.topics);
        notes.push(format!("subscribe of {all} used {used} of them: {SUBSCRIPTIONS_MAX} for each connection"));
    }
    if report.load.batch > 1 {
        notes.push(format!(
            "a request of publish and subscribe has {} records; its latency is that of the last of them",
            report.load.batch
        ));
    }
}

/// Names the figures for which the runs do not show an effect of the number of topics.
fn within_noise(report: &Report, notes: &mut Vec<String>) {
    if report.load.runs < 2 || !report.load.ramp.is_empty() {
        return;
    }
    for points in report.points.chunk_by(|a, b| a.test == b.test) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let figures = [("average latency", first.avg_us, last.avg_us), ("rate", first.rate, last.rate)];
        let alike = figures.into_iter().filter(|(_, first, last)| overlap(*first, *last));
        let alike: Vec<_> = alike.map(|(name, ..)| name).collect();
        if first.topics != last.topics && !alike.is_empty() {
            let (few, many) = (first.topics, topics(last.topics));
            let (name, alike) = (first.test.name(), alike.join(" and "));
            notes.push(format!("{name}: the difference in {alike} between {few} and {many} is within noise"));
        }
    }
}

/// Returns true if the ranges of the runs overlap.
fn overlap(a: Band, b: Band) -> bool {
    a.min <= b.max && b.min <= a.max
}

/// A generator should need a third of the CPU time of a node, so that it can load three nodes with as many processors.
fn costs(report: &Report, notes: &mut Vec<String>) {
    let known = report.generator.costs.iter().filter_map(|cost| Some((cost, cost.nodes_us.filter(|us| *us > 0.0)?)));
    let known: Vec<(&Cost, f64)> = known.collect();
    let figures = known.iter().map(|(cost, nodes)| format!("{} {:.1}:{nodes:.1}", cost.test.name(), cost.generator_us));
    let figures: Vec<_> = figures.collect();
    let least = known.iter().map(|(cost, nodes_us)| nodes_us / cost.generator_us.max(1e-3)).reduce(f64::min);
    let Some(times) = least else { return };
    notes.push(format!("processor time of a request, generator to all nodes on its way, µs: {}", figures.join(", ")));
    if times < GENERATOR_TIMES {
        notes.push(format!(
            "on as many processors the generator reaches {times:.1} times the rate of the nodes, not three times; \
             to see it beside a single node: scripts/deploy.sh --dimension 0, then bench run -P 64"
        ));
    }
}

fn generator(report: &Report, notes: &mut Vec<String>) {
    let Some((busiest, cores)) = report.generator.busiest_thread.zip(report.generator.cores_used) else {
        notes.push("the CPU use of the generator is unknown on this system".to_owned());
        return;
    };
    let used = format!("{cores:.2} of {} cores, its busiest thread {:.0} %", report.environment.cores, busiest * 100.0);
    if report.generator.was_limit {
        notes.push(format!("the generator used {used}: it was the bottleneck, not the cluster"));
    } else {
        notes.push(format!("the generator used {used}; it alone was not the bottleneck"));
    }
    costs(report, notes);
    if let Some(busy) = report.generator.machine_busy.filter(|busy| *busy > 0.9) {
        notes.push(format!("the machine was {:.0} % busy: generator and nodes competed for it", busy * 100.0));
    }
}

fn topics(count: u32) -> String {
    text::counted(u64::from(count), "topic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_reach_into_one_another_are_not_told_apart() {
        let band = |min, max| Band { median: f64::midpoint(min, max), min, max };
        for (a, b, expected) in [
            (band(1.0, 2.0), band(3.0, 4.0), false),
            (band(3.0, 4.0), band(1.0, 2.0), false),
            (band(1.0, 3.0), band(2.0, 4.0), true),
            (band(1.0, 9.0), band(2.0, 4.0), true),
            (band(1.0, 2.0), band(2.0, 4.0), true),
        ] {
            assert_eq!(overlap(a, b), expected, "{a:?} {b:?}");
        }
    }
}
