//! Figures beside each other: rounds of floor, node, node, floor (or a third one in the middle, twice), and what the
//! middle one of them says.
//!
//! Single figures move by a half on a small machine; the ratio within a round moves little. A round during which
//! something else ran at low priority, or the host took the processor, is made again.

use crate::compare::Compared;
use crate::error::Error;
use crate::load::{self, Measured, Plan};
use crate::process::Machine;
use crate::protocol::Protocol;
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

impl Effort {
    /// How windows move, in words.
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

/// Rounds of two things or more, each done twice in a round.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    rounds: Vec<Vec<[T; 2]>>,
    /// As in [`Outcome`].
    pub(crate) disturbed: usize,
}

/// Makes the rounds of a case.
pub(crate) fn run(compared: &Compared, case: Case, effort: Effort) -> Result<Outcome, Error> {
    let sides = [&compared.floor, &compared.cube];
    let rounds = alternate(effort, sides.len(), |side| {
        let plan = plan(&sides[side].entries[usize::from(case.hops)], case, effort);
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

/// That many things forwards and then backwards (first, second, second, first), as often as wanted.
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

/// The plan of a case for a side's entry.
pub(crate) fn plan(entry: &(std::net::SocketAddr, String), case: Case, effort: Effort) -> Plan {
    Plan {
        addr: entry.0,
        protocol: Protocol::Frames,
        topics: vec![entry.1.clone()],
        value_bytes: 64,
        count: 1,
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

    /// A figure of two of them, the mean of its two runs in each round.
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
    fn a_round_goes_forwards_and_backwards_and_its_ratio_is_of_the_means() {
        let effort = Effort { rounds: 1, seconds: 0.0, whole_windows: false };
        let mut order = Vec::new();
        let rounds = alternate(effort, 3, |thing| {
            order.push(thing);
            Ok(order.len() as f64)
        });
        let rounds = rounds.unwrap();
        assert_eq!(order[order.len() - 6..], [0, 1, 2, 2, 1, 0]);
        let pair = rounds.pair(0, 2, |run| *run);
        // The first and the last of six, and the two in the middle, have the same mean.
        assert_eq!((pair.ratio.median, pair.node - pair.floor), (1.0, 0.0));
    }
}
