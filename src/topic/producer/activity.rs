//! The order of producers by their last activity, to find the least recently active one without scanning all of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::types::ProducerId;

/// The producers of a table in the order of their last known activity.
///
/// Each producer has one entry, whose time may be outdated: activity does not update it. When the entry reaches the
/// front, it is compared with the producer's actual time and, if outdated, inserted again with that. So an activity
/// costs nothing when it happens, and at most one step later, when a producer is taken out.
#[derive(Debug, Default)]
pub(super) struct ActivityOrder {
    order: BinaryHeap<Reverse<(u64, ProducerId)>>,
    /// Steps made by [`Self::take_least_recent`].
    #[cfg(test)]
    pub(super) steps: usize,
}

/// Memory of an entry in bytes, with the spare capacity of the heap.
pub(super) const COST: usize = 2 * size_of::<(u64, ProducerId)>();

impl ActivityOrder {
    /// Adds a producer that has no entry yet.
    pub(super) fn add(&mut self, id: ProducerId, active: u64) {
        self.order.push(Reverse((active, id)));
    }

    /// Takes out the producer that was active least recently; of several, the one with the lowest id. `active` returns
    /// the time of a producer's last activity, or `None` when it is no longer in the table.
    pub(super) fn take_least_recent(&mut self, active: impl Fn(ProducerId) -> Option<u64>) -> Option<ProducerId> {
        while let Some(Reverse((known, id))) = self.order.pop() {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            match active(id) {
                Some(now) if now == known => return Some(id),
                Some(now) => self.add(id, now),
                None => {}
            }
        }
        None
    }

    /// Returns the number of producers.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
