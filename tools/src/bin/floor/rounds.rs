//! Figures beside each other: rounds of floor, node, node, floor, and what the middle one of them says.
//!
//! Single figures move by a half on a small machine; the ratio within a round moves little. A round during which
//! something else ran at low priority, or the host took the processor, is made again.

use crate::compare::Compared;
use crate::error::Error;
use crate::load::{self, Measured, Plan};
use crate::process::Machine;
use crate::stats::Spread;

/// A way of loading both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Links that a request crosses.
    pub(crate) hops: u8,
    /// Connections.
    pub(crate) conns: usize,
    /// Requests in flight on each.
    pub(crate) window: usize,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// Seconds of each of a round's four runs.
    pub(crate) seconds: f64,
    /// Answer a window wholly before the next.
    pub(crate) whole_windows: bool,
}

/// The same figure of both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// Median of the floor.
    pub(crate) floor: f64,
    /// Median of the daemon.
    pub(crate) node: f64,
    /// The daemon's by the floor's of the same round.
    pub(crate) ratio: Spread,
}

/// What a case's rounds gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Processor time a message, all servers together, in nanoseconds.
    pub(crate) cpu_ns: Pair,
    /// Answers a second.
    pub(crate) rate: Pair,
    /// Median latency in microseconds, of unbatched requests.
    pub(crate) p50_us: Option<Pair>,
    /// Rounds that count although they were disturbed, because there were too many of those.
    pub(crate) disturbed: usize,
}

/// Both runs of each side in one round.
type Round = [[Measured; 2]; 2];

/// Makes the rounds of a case.
pub(crate) fn run(compared: &Compared, case: Case, effort: Effort) -> Result<Outcome, Error> {
    let mut rounds: Vec<Round> = Vec::new();
    let (mut tries, mut disturbed) = (0, 0);
    while rounds.len() < effort.rounds {
        let before = Machine::read()?;
        let round = round(compared, case, effort)?;
        tries += 1;
        let was_disturbed = Machine::read()?.was_disturbed_since(&before);
        if was_disturbed && tries <= 2 * effort.rounds {
            continue;
        }
        disturbed += usize::from(was_disturbed);
        rounds.push(round);
    }
    let p50 = |run: &Measured| run.latency_us.map_or(f64::NAN, |[p50, _, _]| p50);
    Ok(Outcome {
        cpu_ns: pair(&rounds, |run| run.cpu_ns),
        rate: pair(&rounds, |run| run.rate),
        p50_us: (case.window == 1).then(|| pair(&rounds, p50)),
        disturbed,
    })
}

/// The plan of a case for a side's entry.
pub(crate) fn plan(entry: &(std::net::SocketAddr, String), case: Case, effort: Effort) -> Plan {
    Plan {
        addr: entry.0,
        topics: vec![entry.1.clone()],
        value_bytes: 64,
        conns: case.conns,
        window: case.window,
        whole_windows: effort.whole_windows,
        seconds: effort.seconds,
    }
}

fn round(compared: &Compared, case: Case, effort: Effort) -> Result<Round, Error> {
    let [floor, node] = [&compared.floor, &compared.cube].map(|side| {
        let plan = plan(&side.entries[usize::from(case.hops)], case, effort);
        move || load::measure(&plan, &side.pids())
    });
    let (floor_first, node_first, node_second, floor_second) = (floor()?, node()?, node()?, floor()?);
    Ok([[floor_first, floor_second], [node_first, node_second]])
}

fn pair(rounds: &[Round], figure: impl Fn(&Measured) -> f64) -> Pair {
    let mean = |runs: &[Measured; 2]| f64::midpoint(figure(&runs[0]), figure(&runs[1]));
    Pair {
        floor: Spread::of(rounds.iter().map(|[floor, _]| mean(floor))).median,
        node: Spread::of(rounds.iter().map(|[_, node]| mean(node))).median,
        ratio: Spread::of(rounds.iter().map(|[floor, node]| mean(node) / mean(floor))),
    }
}
