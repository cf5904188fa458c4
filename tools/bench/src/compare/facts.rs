//! The properties that two reports must share, and other differences worth mentioning.

use dht_console::text;
use dht_report::{Entry, Mode, Report};
use serde_json::{Value, json};

/// A property that differs between two reports.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) what: &'static str,
    pub(super) old: String,
    pub(super) new: String,
    /// True if the loads differ by this property, so that figures cannot be compared.
    pub(super) is_load: bool,
}

impl Difference {
    /// Formats it as `connections 8 → 16`.
    pub(super) fn text(&self) -> String {
        format!("{} {} → {}", self.what, self.old, self.new)
    }

    pub(super) fn json(&self) -> Value {
        json!({"what": self.what, "old": self.old, "new": self.new, "is_load": self.is_load})
    }
}

/// Returns all differences, those of the load first.
pub(super) fn differences(old: &Report, new: &Report) -> Vec<Difference> {
    let sides = [(true, load(old), load(new)), (false, rest(old), rest(new))];
    let mut differences = Vec::new();
    for (is_load, old, new) in sides {
        for ((what, old), (_, new)) in old.into_iter().zip(new).filter(|(old, new)| old != new) {
            let said = |text: String| if text.is_empty() { "not known".to_owned() } else { text::harmless(&text) };
            differences.push(Difference { what, old: said(old), new: said(new), is_load });
        }
    }
    differences
}

/// Returns the reasons to doubt a report.
pub(super) fn trouble(report: &Report) -> Option<String> {
    let unsent: u64 = report.points.iter().map(|point| point.unsent).sum();
    let mut troubles = Vec::new();
    if report.errors > 0 {
        troubles.push(format!("{} failed", text::counted(report.errors, "request")));
    }
    if unsent > 0 {
        troubles.push(format!("{} never sent", text::counted(unsent, "request")));
    }
    if report.interrupted {
        troubles.push("stopped before its end".to_owned());
    }
    if report.generator.was_limit {
        troubles.push("the generator, not the cluster, was the bottleneck".to_owned());
    }
    (!troubles.is_empty()).then(|| troubles.join(", "))
}

/// The properties without which figures are not compared.
fn load(report: &Report) -> Vec<(&'static str, String)> {
    let load = &report.load;
    let mode = match load.mode {
        Mode::Closed => "closed loop",
        Mode::Open => "open loop",
    };
    let entry = match load.entry {
        Entry::One => "one",
        Entry::All => "all",
        Entry::Random => "random",
    };
    let rates = |rates: &mut dyn Iterator<Item = f64>| rates.map(|rate| format!("{rate}/s")).collect::<Vec<_>>();
    let asked = if load.ramp.is_empty() {
        rates(&mut load.target_rate.into_iter())
    } else {
        rates(&mut load.ramp.iter().copied())
    };
    let build = if report.environment.debug_build { "without optimisation" } else { "optimised" };
    vec![
        ("mode", mode.to_owned()),
        ("rate", if asked.is_empty() { "max".to_owned() } else { asked.join(" ") }),
        ("connections", load.connections.to_string()),
        ("in flight", load.pipeline.to_string()),
        ("size", format!("{} B", load.size_bytes)),
        ("records a publish", load.batch.to_string()),
        ("keys", load.keys.clone()),
        ("entry", entry.to_owned()),
        ("nodes", report.cluster.nodes.to_string()),
        ("nodes that answered", report.cluster.nodes_up.to_string()),
        ("build of dht-cli", build.to_owned()),
    ]
}

/// The properties that may explain a difference between figures, or raise doubts about it.
fn rest(report: &Report) -> Vec<(&'static str, String)> {
    let (load, environment) = (&report.load, &report.environment);
    let place = if environment.same_host { "one machine" } else { "over a network" };
    vec![
        ("commit", environment.commit.clone()),
        ("dht-cli", environment.version.clone()),
        ("nodes' software", report.cluster.software.join(", ")),
        ("rustc", environment.rustc.clone()),
        ("processor", environment.cpu.clone()),
        ("cores", environment.cores.to_string()),
        ("governor", environment.governor.clone()),
        ("kernel", environment.kernel.clone()),
        ("memory", text::bytes(environment.memory_bytes)),
        ("generator and nodes", place.to_owned()),
        ("runs", load.runs.to_string()),
        ("warm-up", format!("{} s", load.warmup_seconds)),
        ("measured", load.requests.map_or_else(|| format!("{} s", load.measured_seconds), |n| format!("{n} requests"))),
        ("threads", load.threads.to_string()),
        ("seed", load.seed.to_string()),
    ]
}
