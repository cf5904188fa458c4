//! What the groups of a node share: its memory, the room in its log, and the queue of what waits for the disk.

use super::cost::Cost;
use super::pace::Pace;
use crate::entry::Room;

/// What a group uses, or all groups together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Memory of the topics, in bytes.
    pub memory: u64,
    /// How much of that eviction can free.
    pub evictable: u64,
    /// What the uncommitted proposals cost.
    pub proposed: Cost,
    /// Number of topics, with those that the proposals create.
    pub topics: usize,
}

impl Usage {
    const fn plus(self, other: Self) -> Self {
        Self {
            memory: self.memory + other.memory,
            evictable: self.evictable + other.evictable,
            proposed: self.proposed.plus(other.proposed),
            topics: self.topics + other.topics,
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            memory: self.memory - other.memory,
            evictable: self.evictable - other.evictable,
            proposed: self.proposed.minus(other.proposed),
            topics: self.topics - other.topics,
        }
    }
}

/// What the groups share.
#[derive(Debug)]
pub(super) struct Budget {
    /// How much room the log has after everything that was passed on to the store.
    pub room: Room,
    /// What copies of other nodes' groups may take now.
    pub copies: Pace,
    /// What all groups use together.
    used: Usage,
}

impl Default for Budget {
    fn default() -> Self {
        Self { room: Room::UNLIMITED, copies: Pace::default(), used: Usage::default() }
    }
}

impl Budget {
    /// Returns what all groups use together.
    pub(super) const fn used(&self) -> &Usage {
        &self.used
    }

    /// Records what a group uses now. `known` is what was recorded for it before.
    pub(super) const fn note(&mut self, known: &mut Usage, now: Usage) {
        self.used = self.used.plus(now).minus(*known);
        *known = now;
    }

    /// Records that a group has proposed something that creates no topic. `known` is what was recorded for it before.
    pub(super) const fn note_proposed(&mut self, known: &mut Usage, cost: Cost) {
        known.proposed = known.proposed.plus(cost);
        self.used.proposed = self.used.proposed.plus(cost);
    }

    /// Returns by how many bytes all topics, once everything that was proposed is applied, exceed a limit.
    pub(super) const fn excess(&self, memory_bytes: u64) -> u64 {
        (self.used.memory + self.used.proposed.lasting()).saturating_sub(memory_bytes)
    }

    /// Asserts that it knows what these groups use.
    pub(super) fn check(&self, of_groups: impl Iterator<Item = Usage>) {
        assert_eq!(self.used, of_groups.fold(Usage::default(), Usage::plus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(memory: u64, evictable: u64, records: u64) -> Usage {
        Usage { memory, evictable, proposed: Cost { records, ..Cost::default() }, topics: 1 }
    }

    #[test]
    fn what_groups_use_adds_up_whatever_they_used_before() {
        let mut budget = Budget::default();
        let mut known = [Usage::default(); 3];
        let used = [(0, usage(100, 60, 5)), (2, usage(7, 7, 0)), (0, usage(40, 0, 9)), (1, usage(1, 0, 0))];
        for (group, now) in used {
            budget.note(&mut known[group], now);
            budget.check(known.into_iter());
        }
        assert_eq!(*budget.used(), Usage { topics: 3, ..usage(48, 7, 9) });
        for (limit, excess) in [(0, 57), (56, 1), (57, 0), (1000, 0)] {
            assert_eq!(budget.excess(limit), excess, "{limit}");
        }
        budget.note_proposed(&mut known[1], Cost { records: 3, ..Cost::default() });
        budget.check(known.into_iter());
        assert_eq!(budget.excess(57), 3);
        budget.note(&mut known[1], Usage::default());
        assert_eq!(*budget.used(), Usage { topics: 2, ..usage(47, 7, 9) });
    }
}
