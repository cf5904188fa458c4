//! What a reader must know of a result, in sentences: most of all what was not measured.

use super::report::{Mode, Report, Test};
use crate::text;

/// A run whose highest and lowest rates are so far apart says little.
const NOISE: f64 = 0.1;

/// The notes of a report that is complete but for them.
pub(super) fn of(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
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
    generator(report, &mut notes);
    if report.environment.same_host {
        notes.push("generator and nodes share this machine: no network was measured".to_owned());
    }
    if report.environment.debug_build {
        notes.push("dht-cli was built without optimisation: the figures are not to be quoted".to_owned());
    }
    if report.points.iter().any(|point| point.test == Test::Create) {
        notes.push("create: a delete of an older topic went beside each one; it is in no figure".to_owned());
    }
    for point in report.points.iter().filter(|point| point.connections < report.load.connections) {
        let connections = text::counted(u64::from(point.connections), "connection");
        notes.push(format!(
            "{} of {} used {connections}: no more than topics",
            point.test.name(),
            topics(point.topics)
        ));
    }
    let noisy = report.points.iter().filter(|point| point.rate.max - point.rate.min > NOISE * point.rate.median);
    let noisy = noisy.count();
    if noisy > 0 {
        let all = report.points.len();
        notes.push(format!("the runs of {noisy} of {all} points differ by more than a tenth: compare with care"));
    }
    if report.load.runs == 1 {
        notes.push("one run: nothing is known of the noise; add --runs".to_owned());
    }
    notes
}

fn open_loop(report: &Report, notes: &mut Vec<String>) {
    notes.push("open loop: latency counts from the planned time of each request".to_owned());
    let (late, unsent): (u64, u64) =
        report.points.iter().fold((0, 0), |(late, unsent), point| (late + point.late, unsent + point.unsent));
    if late > 0 {
        notes.push(format!("{} went out more than 1 ms late", text::counted(late, "request")));
    }
    if unsent > 0 {
        let unsent = text::counted(unsent, "request");
        notes.push(format!("{unsent} never went out and are in no figure: the rate was not reached"));
    }
}

fn generator(report: &Report, notes: &mut Vec<String>) {
    let Some((busiest, cores)) = report.generator.busiest_thread.zip(report.generator.cores_used) else {
        notes.push("how busy the generator was is not known here".to_owned());
        return;
    };
    let used = format!("{cores:.2} of {} cores, its busiest thread {:.0} %", report.environment.cores, busiest * 100.0);
    if report.generator.was_limit {
        notes.push(format!("the generator used {used}: it, not the cluster, was the limit"));
    } else {
        notes.push(format!("the generator used {used}; it was not the limit by itself"));
    }
    if let Some(busy) = report.generator.machine_busy.filter(|busy| *busy > 0.9) {
        notes.push(format!("the machine was {:.0} % busy: who shares it takes from each other", busy * 100.0));
    }
}

fn topics(count: u32) -> String {
    text::counted(u64::from(count), "topic")
}
