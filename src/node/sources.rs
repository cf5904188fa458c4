//! Limits for each source of connections, usually one address: on its connections, its subscriptions, and the topics
//! that it creates.
//!
//! The other limits of this node bound all clients together; these keep a single source from taking all of that. They
//! are checked at the ingress, the only node that knows where a client connects from.

use std::collections::BTreeMap;

use crate::limits::{CREATES_BURST_DEFAULT, CREATES_PER_SECOND_DEFAULT, SOURCES_IDLE_MAX};
use crate::types::Source;

/// What a single source of connections may use of a node. 0 means no limit per source; only the limits for all clients
/// together apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLimits {
    /// Maximum number of connections. Above it HELLO is answered TOO_MANY_CLIENTS.
    pub clients: u64,
    /// Maximum number of subscriptions and waiting FETCHes of all its connections. Above it SUBSCRIBE is answered
    /// QUOTA.
    pub subscriptions: u64,
    /// Topics that it may create per second in the long run. Above it CREATE is answered OVERLOADED.
    pub creates_per_second: u64,
    /// Topics that it may create at once after it has created none for some time, at least 1.
    pub creates_burst: u64,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            clients: 0,
            subscriptions: 0,
            creates_per_second: CREATES_PER_SECOND_DEFAULT,
            creates_burst: CREATES_BURST_DEFAULT,
        }
    }
}

/// What the creation of one topic adds to [`Usage::creates`]. In this unit, a limit of N creates per second drains N
/// units in each microsecond.
const CREATE: u64 = 1_000_000;

/// What one source uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    clients: u64,
    /// Level of the leaky bucket that limits the creation of topics, in millionths of a topic.
    creates: u64,
    /// Monotonic time in microseconds at which `creates` was last updated.
    at_us: u64,
}

/// The sources that use something, or did so recently.
#[derive(Debug)]
pub(super) struct Sources {
    limits: SourceLimits,
    by_source: BTreeMap<Source, Usage>,
    /// Number of sources without connections in the table. They are kept while their buckets drain, because a client
    /// must not get a new burst by reconnecting.
    idle: usize,
}

impl Sources {
    pub(super) const fn new(limits: SourceLimits) -> Self {
        Self { limits, by_source: BTreeMap::new(), idle: 0 }
    }

    /// Counts a connection.
    pub(super) fn enter(&mut self, source: Source, now_us: u64) {
        let was_known = self.by_source.contains_key(&source);
        let usage = self.by_source.entry(source).or_insert_with(|| Usage { at_us: now_us, ..Usage::default() });
        self.idle -= usize::from(was_known && usage.clients == 0);
        usage.clients += 1;
        if self.idle > SOURCES_IDLE_MAX {
            self.forget_idle(now_us);
        }
    }

    /// Counts the end of a connection.
    pub(super) fn leave(&mut self, source: Source) {
        let Some(usage) = self.by_source.get_mut(&source) else { return };
        usage.clients -= 1;
        if usage.clients == 0 {
            if usage.creates == 0 {
                self.by_source.remove(&source);
            } else {
                self.idle += 1;
            }
        }
    }

    /// Returns the limit on connections if the source has that many, and `spare` more, already.
    pub(super) fn clients_limit(&self, source: Source, spare: usize) -> Option<u64> {
        let has = self.by_source.get(&source).map_or(0, |usage| usage.clients);
        let limit = self.limits.clients;
        (limit > 0 && has >= limit + spare as u64).then_some(limit)
    }

    /// Counts the creation of a topic by a connected source.
    ///
    /// # Errors
    /// Returns the time in microseconds, at least 1, after which the source may create a topic again.
    pub(super) fn take_create(&mut self, source: Source, now_us: u64) -> Result<(), u64> {
        let SourceLimits { creates_per_second, creates_burst, .. } = self.limits;
        let Some(usage) = self.by_source.get_mut(&source).filter(|_| creates_per_second > 0) else { return Ok(()) };
        usage.drain(now_us, creates_per_second);
        let most = creates_burst.saturating_mul(CREATE);
        let level = usage.creates.saturating_add(CREATE);
        if level > most {
            return Err((level - most).div_ceil(creates_per_second));
        }
        usage.creates = level;
        Ok(())
    }

    /// Undoes [`Self::take_create`] for a CREATE that created no topic.
    pub(super) fn give_create_back(&mut self, source: Source) {
        if let Some(usage) = self.by_source.get_mut(&source) {
            usage.creates = usage.creates.saturating_sub(CREATE);
        }
    }

    /// Forgets at least half of the sources without connections: those whose buckets are the least full.
    fn forget_idle(&mut self, now_us: u64) {
        let rate = self.limits.creates_per_second;
        self.by_source.values_mut().for_each(|usage| usage.drain(now_us, rate));
        let mut levels: Vec<u64> =
            self.by_source.values().filter(|usage| usage.clients == 0).map(|usage| usage.creates).collect();
        levels.sort_unstable();
        let least = levels[levels.len() / 2];
        self.by_source.retain(|_, usage| usage.clients > 0 || usage.creates > least);
        self.idle = self.by_source.values().filter(|usage| usage.clients == 0).count();
    }

    /// Asserts that what is counted is what the connections have.
    pub(super) fn check(&self, connections: impl Iterator<Item = Source>) {
        let mut counted: BTreeMap<Source, u64> = BTreeMap::new();
        connections.for_each(|source| *counted.entry(source).or_default() += 1);
        let connected = self.by_source.iter().filter(|(_, usage)| usage.clients > 0);
        assert!(
            connected.map(|(source, usage)| (*source, usage.clients)).eq(counted),
            "sources are counted as they are"
        );
        let idle = self.by_source.values().filter(|usage| usage.clients == 0);
        assert_eq!(idle.count(), self.idle);
    }
}

impl Usage {
    /// Lowers the level of the bucket by what has drained since the last update.
    const fn drain(&mut self, now_us: u64, creates_per_second: u64) {
        let passed_us = now_us.saturating_sub(self.at_us);
        self.creates = self.creates.saturating_sub(passed_us.saturating_mul(creates_per_second));
        self.at_us = now_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Source = Source::Ipv4([10, 0, 0, 1]);
    const B: Source = Source::Ipv4([10, 0, 0, 2]);

    fn sources(creates_per_second: u64, creates_burst: u64) -> Sources {
        let limits = SourceLimits { creates_per_second, creates_burst, ..SourceLimits::default() };
        let mut sources = Sources::new(limits);
        sources.enter(A, 0);
        sources
    }

    #[test]
    fn a_burst_may_be_created_at_once_and_then_as_many_as_the_bucket_drains() {
        let mut sources = sources(10, 3);
        // Time in milliseconds, and what becomes of a creation then.
        let cases = [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(100_000)),
            (99, Err(1_000)),
            (100, Ok(())),
            (100, Err(100_000)),
            (300, Ok(())),
            (300, Ok(())),
            (300, Err(100_000)),
            (10_000, Ok(())),
            (10_000, Ok(())),
            (10_000, Ok(())),
            (10_000, Err(100_000)),
        ];
        for (index, (ms, expected)) in cases.into_iter().enumerate() {
            assert_eq!(sources.take_create(A, ms * 1000), expected, "case {index}");
        }
        sources.give_create_back(A);
        assert_eq!(sources.take_create(A, 10_000_000), Ok(()));
        sources.enter(B, 10_000_000);
        assert_eq!(sources.take_create(B, 10_000_000), Ok(()), "another source has its own");
    }

    #[test]
    fn a_source_that_connects_again_gets_no_new_burst() {
        let mut sources = sources(1, 1);
        assert_eq!(sources.take_create(A, 0), Ok(()));
        sources.leave(A);
        sources.check(std::iter::empty());
        sources.enter(A, 0);
        assert_eq!(sources.take_create(A, 0), Err(1_000_000));
        sources.check([A].into_iter());
    }

    #[test]
    fn no_limit_is_reached_without_one() {
        let mut sources = sources(0, 1);
        assert!((0..100).all(|_| sources.take_create(A, 0).is_ok()));
        assert_eq!(sources.clients_limit(A, 0), None);
        sources.leave(A);
        assert!(sources.by_source.is_empty());
    }

    #[test]
    fn sources_without_connections_are_bounded_and_those_that_created_most_stay() {
        let mut sources = sources(1, 10);
        for number in 0..3 * u32::try_from(SOURCES_IDLE_MAX).unwrap() {
            let source = Source::Ipv4(number.to_be_bytes());
            sources.enter(source, 1);
            assert_eq!(sources.take_create(source, 1), Ok(()));
            if number == 7 {
                assert_eq!(sources.take_create(source, 1), Ok(()));
            }
            sources.leave(source);
            assert!(sources.idle <= SOURCES_IDLE_MAX + 1);
        }
        assert_eq!(sources.by_source[&Source::Ipv4([0, 0, 0, 7])].creates, 2 * CREATE);
        sources.check([A].into_iter());
    }
}
