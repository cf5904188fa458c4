//! Cost of delivering published records to subscribers: at the home node compared with a bare server, and two links
//! away compared between one subscriber and eight.
//!
//! ```text
//! home:  publishers ──► node 000 ──► 1 or 8 subscribers            compared with the same at a bare server
//! far:   publishers ──► home ──► transit ──► node 000 ──► 1 or 8 subscribers
//! ```

use std::array;

use crate::compare::{CPU_GOAL, Compared, PIPELINED, UNBATCHED, note, pin};
use crate::error::Error;
use crate::load;
use crate::process;
use crate::report::Row;
use crate::rounds::{self, Case, Effort, Kind, Pair};
use crate::session;
use crate::setup;
use crate::sockets::{self, End};

const FEW: usize = 1;
const MANY: usize = 8;

/// Number of links between the home and the remote subscribers' node.
const FAR_HOPS: u8 = 2;

/// Number of nodes on the path from the home to the remote subscribers' node, including both.
const FAR_NODES: usize = FAR_HOPS as usize + 1;

/// A link carries each record once, however many subscribers its node has. The five percent are for PING and HEADS,
/// whose number depends on the duration of a run.
const LINK_GOAL: f64 = 1.05;

/// Adds the CPU time at the home, compared with a bare server.
pub(crate) fn home_rows(compared: &Compared, effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    for (conns, window) in [PIPELINED, UNBATCHED] {
        pin(compared, window == 1)?;
        for subscribers in [FEW, MANY] {
            let outcome =
                rounds::run(compared, Case { hops: 0, conns, window, subscribers, kind: Kind::Plain }, effort)?;
            let name = format!("home -> {subscribers}, {conns} x {window}");
            let (cpu, rate) = (outcome.cpu_ns, outcome.rate);
            note(&format!(
                "{name}: floor {:.0} messages/s at {:.0} ns, node {:.0} at {:.0}; disturbed rounds: {}",
                rate.floor, cpu.floor, rate.node, cpu.node, outcome.disturbed,
            ))?;
            if let Some(batch) = outcome.batch {
                note(&format!("  records a DELIVER: floor {:.1}, node {:.1}", batch.floor, batch.node))?;
            }
            rows.push(Row::ratio(format!("CPU: {name}"), &cpu, "ns", CPU_GOAL));
        }
    }
    Ok(())
}

/// Adds what eight subscribers two links away cost compared with one. In these rows the first figure is that of one
/// subscriber.
pub(crate) fn far_rows(compared: &Compared, effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    for (conns, window) in [PIPELINED, UNBATCHED] {
        pin(compared, window == 1)?;
        let rounds = rounds::alternate(effort, 2, |which| {
            let subscribers = [FEW, MANY][which];
            far(compared, Case { hops: FAR_HOPS, conns, window, subscribers, kind: Kind::Plain }, effort)
        })?;
        let name = format!("2 links -> {MANY} by {FEW}, {conns} x {window}");
        let cpu: [Pair; FAR_NODES] = array::from_fn(|node| rounds.pair(0, 1, |far| far.cpu_ns[node]));
        let [home, transit, last] = cpu.map(|cpu| {
            let ratio = cpu.ratio;
            format!("{:.0} -> {:.0} ns ({:.2} [{:.2}-{:.2}])", cpu.floor, cpu.node, ratio.median, ratio.low, ratio.high)
        });
        note(&format!("{name}: home {home}, transit {transit}, subscribers' node {last}"))?;
        let [pushes, pulls, skipped] = [
            rounds.pair(0, 1, |far| far.pushes),
            rounds.pair(0, 1, |far| far.pulls),
            rounds.pair(0, 1, |far| far.skipped),
        ];
        note(&format!(
            "  per record: pushes {:.4} -> {:.4}, pulls {:.4} -> {:.4}, skipped {:.4} -> {:.4}; disturbed rounds: {}",
            pushes.floor, pushes.node, pulls.floor, pulls.node, skipped.floor, skipped.node, rounds.disturbed,
        ))?;
        let frames = rounds.pair(0, 1, |far| far.frames);
        rows.push(Row::ratio(format!("link frames a chunk: {name}"), &frames, "", LINK_GOAL));
        if rounds.all(|far| far.bytes.is_some()) {
            let bytes = rounds.pair(0, 1, |far| far.bytes.unwrap_or(f64::NAN));
            rows.push(Row::ratio(format!("link bytes a record: {name}"), &bytes, "B", LINK_GOAL));
        } else {
            note("  bytes on links were not counted: ss is missing, or may not see the nodes' sockets")?;
        }
    }
    Ok(())
}

/// The cost of a run with remote subscribers.
#[derive(Clone, Copy, Debug)]
struct Far {
    /// CPU time per record of the home, the transit node and the subscribers' node, in nanoseconds.
    cpu_ns: [f64; FAR_NODES],
    /// Frames sent over all links per frame that one subscriber received.
    frames: f64,
    /// Bytes sent over all links towards the subscribers, per record; `None` if `ss` could not count them.
    bytes: Option<f64>,
    /// Frames sent over all links per record.
    pushes: f64,
    /// Fetches per record on behalf of subscribers that lagged behind the log.
    pulls: f64,
    /// Frames per record that were not sent because the link's queue was full.
    skipped: f64,
}

fn far(compared: &Compared, case: Case, effort: Effort) -> Result<Far, Error> {
    let entry = &compared.cube.entries[usize::from(case.hops)];
    let path = setup::path_from(&entry.1);
    let ends: [End; FAR_NODES] = array::from_fn(|place| setup::end_of(&compared.cube, path[place]));
    let plan = load::Plan { addr: ends[0].listens, ..rounds::plan(&compared.cube, case, effort) };
    let before = Sample::take(&ends)?;
    let measured = load::measure(&plan, &[])?;
    let after = Sample::take(&ends)?;
    let records = measured.requests as f64;
    let chunks = measured.delivers as f64 / case.subscribers as f64;
    let [pushes, pulls, skipped] =
        array::from_fn(|counter| (after.counters[counter] - before.counters[counter]) as f64);
    let bytes = after.bytes.zip(before.bytes).map(|(after, before)| (after - before) as f64 / records);
    Ok(Far {
        cpu_ns: array::from_fn(|node| (after.cpu_ns[node] - before.cpu_ns[node]) as f64 / records),
        frames: pushes / chunks,
        bytes,
        pushes: pushes / records,
        pulls: pulls / records,
        skipped: skipped / records,
    })
}

/// The counters of STATS that are read.
const COUNTERS: [&str; 3] = ["pushes", "pulls", "pushes_skipped"];

/// The counters of the nodes on the path from the home to the subscribers, at one time.
#[derive(Debug)]
struct Sample {
    cpu_ns: [u64; FAR_NODES],
    /// The sums over all nodes.
    counters: [u64; COUNTERS.len()],
    /// Bytes sent over the links towards the subscribers.
    bytes: Option<u64>,
}

impl Sample {
    fn take(ends: &[End; FAR_NODES]) -> Result<Self, Error> {
        let mut sample = Self { cpu_ns: [0; FAR_NODES], counters: [0; COUNTERS.len()], bytes: Some(0) };
        for (end, cpu_ns) in ends.iter().zip(&mut sample.cpu_ns) {
            let text = session::stats(end.listens)?;
            for (counter, name) in sample.counters.iter_mut().zip(COUNTERS) {
                let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                let value = value.and_then(|value| value.parse::<u64>().ok());
                *counter += value.ok_or(Error::Unreadable { what: "the answer to STATS" })?;
            }
            *cpu_ns = process::cpu_ns_of(&[end.pid])?;
        }
        for link in ends.windows(2) {
            let bytes = sockets::link_bytes(link[0], link[1])?;
            sample.bytes = sample.bytes.zip(bytes).map(|(sum, bytes)| sum + bytes);
        }
        Ok(sample)
    }
}
