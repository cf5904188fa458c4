//! Who has been silent longest: found without looking at every producer, and at no cost while nobody has to go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::types::ProducerId;

/// The producers of a table in the order of their last activity, as far as that is known.
///
/// Each producer stands here once, with the time of some activity. That may have been followed by others, which is
/// noticed when the producer comes first, and then it is put in its place. So each activity causes at most one step,
/// and only when producers are taken out.
#[derive(Debug, Default)]
pub(super) struct Silence {
    order: BinaryHeap<Reverse<(u64, ProducerId)>>,
    /// Steps made by [`Self::take_longest`].
    #[cfg(test)]
    pub(super) steps: usize,
}

/// Memory of a producer here in bytes, with the spare capacity of the heap.
pub(super) const COST: usize = 2 * size_of::<(u64, ProducerId)>();

impl Silence {
    /// Adds a producer that is not here.
    pub(super) fn add(&mut self, id: ProducerId, active: u64) {
        self.order.push(Reverse((active, id)));
    }

    /// Takes out the producer that was active least recently; of several, the one with the lowest id. `active` returns
    /// the time of a producer's last activity, or `None` when it is no longer in the table.
    pub(super) fn take_longest(&mut self, active: impl Fn(ProducerId) -> Option<u64>) -> Option<ProducerId> {
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
