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
    /// Connections that subscribe to the topic where it is published.
    pub(crate) subscribers: usize,
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

/// The same figure of both sides, or of two cases of one side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// Median of the floor, or of the first case.
    pub(crate) floor: f64,
    /// Median of the daemon, or of the second case.
    pub(crate) node: f64,
    /// The second by the first of the same round.
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
    /// Records in a frame that a subscriber gets.
    pub(crate) batch: Option<Pair>,
    /// Rounds that count although they were disturbed, because there were too many of those.
    pub(crate) disturbed: usize,
}

/// Rounds of two things, each done twice in a round.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    rounds: Vec<[[T; 2]; 2]>,
    /// As in [`Outcome`].
    pub(crate) disturbed: usize,
}

/// Makes the rounds of a case.
pub(crate) fn run(compared: &Compared, case: Case, effort: Effort) -> Result<Outcome, Error> {
    let [floor, node] = [&compared.floor, &compared.cube].map(|side| {
        let plan = plan(&side.entries[usize::from(case.hops)], case, effort);
        move || load::measure(&plan, &side.pids())
    });
    let rounds = alternate(effort, floor, node)?;
    let p50 = |run: &Measured| run.latency_us.map_or(f64::NAN, |[p50, _, _]| p50);
    Ok(Outcome {
        cpu_ns: rounds.pair(|run| run.cpu_ns),
        rate: rounds.pair(|run| run.rate),
        p50_us: (case.window == 1).then(|| rounds.pair(p50)),
        batch: (case.subscribers > 0).then(|| rounds.pair(Measured::batch)),
        disturbed: rounds.disturbed,
    })
}

/// First, second, second, first, as often as wanted.
pub(crate) fn alternate<T>(
    effort: Effort,
    first: impl Fn() -> Result<T, Error>,
    second: impl Fn() -> Result<T, Error>,
) -> Result<Rounds<T>, Error> {
    let mut rounds = Vec::new();
    let (mut tries, mut disturbed) = (0, 0);
    while rounds.len() < effort.rounds {
        let before = Machine::read()?;
        let (a, b, c, d) = (first()?, second()?, second()?, first()?);
        tries += 1;
        let was_disturbed = Machine::read()?.was_disturbed_since(&before);
        if was_disturbed && tries <= 2 * effort.rounds {
            continue;
        }
        disturbed += usize::from(was_disturbed);
        rounds.push([[a, d], [b, c]]);
    }
    Ok(Rounds { rounds, disturbed })
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
        subscribers: case.subscribers,
        subscribe_at: entry.0,
        seconds: effort.seconds,
    }
}

impl<T> Rounds<T> {
    /// Does it hold of every run?
    pub(crate) fn all(&self, holds: impl Fn(&T) -> bool) -> bool {
        self.rounds.iter().flatten().flatten().all(holds)
    }

    /// A figure of both, the mean of its two runs in each round.
    pub(crate) fn pair(&self, figure: impl Fn(&T) -> f64) -> Pair {
        let mean = |runs: &[T; 2]| f64::midpoint(figure(&runs[0]), figure(&runs[1]));
        Pair {
            floor: Spread::of(self.rounds.iter().map(|[first, _]| mean(first))).median,
            node: Spread::of(self.rounds.iter().map(|[_, second]| mean(second))).median,
            ratio: Spread::of(self.rounds.iter().map(|[first, second]| mean(second) / mean(first))),
        }
    }
}
