//! Comparisons in rounds: each runs the floor, the node, the node again and the floor again (with a third server, that
//! one runs twice in the middle); the result is the median over all rounds.
//!
//! Single figures vary by a half on a small machine, while the ratio within a round varies little. A round is repeated
//! if meanwhile other processes ran at low priority or the host took the CPU away.

use crate::compare::Compared;
use crate::error::Error;
use crate::load::{self, Measured, Operation, Plan};
use crate::process::Machine;
use crate::protocol::Protocol;
use crate::setup::{self, Side};
use crate::stats::Spread;

/// The shape of a load, applied to both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Number of links that a request crosses.
    pub(crate) hops: u8,
    /// Number of publishing connections.
    pub(crate) conns: usize,
    /// Number of requests in flight on each.
    pub(crate) window: usize,
    /// Number of connections that subscribe to the topic, at the node that the publishers use.
    pub(crate) subscribers: usize,
    /// The kind of publishes.
    pub(crate) kind: Kind,
}

/// The kind of a load's publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To one topic, without a producer.
    Plain,
    /// The same to this many topics in turn, which live where the publishers are.
    Topics(usize),
    /// To one topic, by a producer of each connection.
    Sequenced,
    /// To one topic that is empty at the beginning, so that its memory grows.
    Growing,
}

/// The duration and number of the runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Number of rounds.
    pub(crate) rounds: usize,
    /// Duration of each run in seconds.
    pub(crate) seconds: f64,
    /// True if a window is answered completely before the next one is sent.
    pub(crate) whole_windows: bool,
}

impl Effort {
    /// Describes how windows advance, for the printed report.
    pub(crate) const fn windows(self) -> &'static str {
        if self.whole_windows { "answered wholly before the next" } else { "slide as answers are read" }
    }
}

/// The same figure of both sides, or of two cases of one side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// Median of the floor, or of the first case.
    pub(crate) floor: f64,
    /// Median of the daemon, or of the second case.
    pub(crate) node: f64,
    /// The second figure divided by the first of the same round.
    pub(crate) ratio: Spread,
}

/// The results of all rounds of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// CPU time per message of all servers together, in nanoseconds.
    pub(crate) cpu_ns: Pair,
    /// Responses per second.
    pub(crate) rate: Pair,
    /// Median latency in microseconds; `None` if requests were batched.
    pub(crate) p50_us: Option<Pair>,
    /// Records per frame that a subscriber receives; `None` without subscribers.
    pub(crate) batch: Option<Pair>,
    /// Number of disturbed rounds that were kept because too many had already been repeated.
    pub(crate) disturbed: usize,
}

/// The results of rounds of two or more contestants, each of which runs twice in a round.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    rounds: Vec<Vec<[T; 2]>>,
    /// See [`Outcome::disturbed`].
    pub(crate) disturbed: usize,
}

/// Runs all rounds of a case.
pub(crate) fn run(compared: &Compared, case: Case, effort: Effort) -> Result<Outcome, Error> {
    let sides = [&compared.floor, &compared.cube];
    let rounds = alternate(effort, sides.len(), |side| {
        let plan = plan(sides[side], case, effort);
        load::measure(&plan, &sides[side].pids())
    })?;
    let p50 = |run: &Measured| run.latency_us.map_or(f64::NAN, |[p50, _, _]| p50);
    Ok(Outcome {
        cpu_ns: rounds.pair(0, 1, |run| run.cpu_ns),
        rate: rounds.pair(0, 1, |run| run.rate),
        p50_us: (case.window == 1).then(|| rounds.pair(0, 1, p50)),
        batch: (case.subscribers > 0).then(|| rounds.pair(0, 1, Measured::batch)),
        disturbed: rounds.disturbed,
    })
}

/// Runs `things` contestants forwards and then backwards (for two: first, second, second, first), until
/// `effort.rounds` rounds are complete.
pub(crate) fn alternate<T>(
    effort: Effort,
    things: usize,
    mut run: impl FnMut(usize) -> Result<T, Error>,
) -> Result<Rounds<T>, Error> {
    let mut rounds = Vec::new();
    let (mut tries, mut disturbed) = (0, 0);
    while rounds.len() < effort.rounds {
        let before = Machine::read()?;
        let forwards = (0..things).map(&mut run).collect::<Result<Vec<T>, Error>>()?;
        let mut backwards = (0..things).rev().map(&mut run).collect::<Result<Vec<T>, Error>>()?;
        backwards.reverse();
        tries += 1;
        let was_disturbed = Machine::read()?.was_disturbed_since(&before);
        if was_disturbed && tries <= 2 * effort.rounds {
            continue;
        }
        disturbed += usize::from(was_disturbed);
        rounds.push(forwards.into_iter().zip(backwards).map(|(early, late)| [early, late]).collect());
    }
    Ok(Rounds { rounds, disturbed })
}

/// Returns the plan of a case for a side.
pub(crate) fn plan(side: &Side, case: Case, effort: Effort) -> Plan {
    let (addr, name) = &side.entries[usize::from(case.hops)];
    let topics = if let Kind::Topics(count) = case.kind { setup::topics_here(count) } else { vec![name.clone()] };
    Plan {
        addr: *addr,
        protocol: Protocol::Frames,
        topics,
        value_bytes: 64,
        count: 1,
        operation: if case.kind == Kind::Sequenced { Operation::Sequenced } else { Operation::Publish },
        is_fresh: case.kind == Kind::Growing,
        conns: case.conns,
        window: case.window,
        whole_windows: effort.whole_windows,
        subscribers: case.subscribers,
        subscribe_at: *addr,
        seconds: effort.seconds,
    }
}

impl<T> Rounds<T> {
    /// Returns true if `holds` is true for every run.
    pub(crate) fn all(&self, holds: impl Fn(&T) -> bool) -> bool {
        self.rounds.iter().flatten().flatten().all(holds)
    }

    /// Compares a figure of two contestants; in each round it is the mean of the contestant's two runs.
    pub(crate) fn pair(&self, first: usize, second: usize, figure: impl Fn(&T) -> f64) -> Pair {
        let mean = |runs: &[T; 2]| f64::midpoint(figure(&runs[0]), figure(&runs[1]));
        let of = |thing: usize| self.rounds.iter().map(move |round| mean(&round[thing]));
        Pair {
            floor: Spread::of(of(first)).median,
            node: Spread::of(of(second)).median,
            ratio: Spread::of(of(first).zip(of(second)).map(|(first, second)| second / first)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_runs_forwards_and_backwards_and_its_ratio_compares_the_means() {
        let effort = Effort { rounds: 1, seconds: 0.0, whole_windows: false };
        let mut order = Vec::new();
        let rounds = alternate(effort, 3, |thing| {
            order.push(thing);
            Ok(order.len() as f64)
        });
        let rounds = rounds.unwrap();
        assert_eq!(order[order.len() - 6..], [0, 1, 2, 2, 1, 0]);
        let pair = rounds.pair(0, 2, |run| *run);
        // The runs return increasing figures. Contestant 0 has the first and the last of the six, contestant 2 the two
        // in the middle, so both have the same mean.
        assert_eq!((pair.ratio.median, pair.node - pair.floor), (1.0, 0.0));
    }
}
