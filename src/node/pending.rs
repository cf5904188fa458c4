//! Requests that other nodes have not answered yet: of this node's clients, and of its own for its subscriptions.
//!
//! Transit nodes keep no such table; a response names its entry by [`Origin`], and an entry whose generation is
//! another one takes no answer. All requests of a table have the same time, so the oldest is always the next to
//! expire: a list in the order of arrival is all the timer there is.

use super::ingress::Asked;
use crate::types::NodeId;
use crate::wire::Origin;

/// What is noted of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// Whose it is.
    pub asked: Asked,
    /// Who is to answer.
    pub target: NodeId,
}

const NONE: u32 = u32::MAX;
const GENERATION_MASK: u32 = (1 << Origin::BITS) - 1;

#[derive(Debug)]
struct Slot<T> {
    entry: Option<T>,
    /// Monotonic microseconds.
    deadline_us: u64,
    generation: u32,
    /// Older entry, or the next free slot.
    older: u32,
    newer: u32,
}

/// The table.
///
/// Invariant: the entries form one list from `oldest` to `newest`, the free slots another from `free`.
#[derive(Debug)]
pub(super) struct PendingTable<T> {
    instance: u16,
    slots: Vec<Slot<T>>,
    free: u32,
    oldest: u32,
    newest: u32,
    len: usize,
}

impl<T: Copy> PendingTable<T> {
    /// An empty table whose origins carry these bits of this start's id.
    pub(super) const fn new(instance: u16) -> Self {
        Self { instance, slots: Vec::new(), free: NONE, oldest: NONE, newest: NONE, len: 0 }
    }

    /// Does the answer to this origin belong here?
    pub(super) const fn is_of(&self, origin: Origin) -> bool {
        origin.instance == self.instance
    }

    /// Entries.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Notes a request until a time that no earlier one exceeds; `None` when there are as many as an origin can tell
    /// apart.
    pub(super) fn insert(&mut self, entry: T, deadline_us: u64) -> Option<Origin> {
        let slot = if self.free == NONE {
            let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < 1 << Origin::BITS)?;
            self.slots.push(Slot { entry: None, deadline_us: 0, generation: 0, older: NONE, newer: NONE });
            slot
        } else {
            let slot = self.free;
            self.free = self.slots[slot as usize].older;
            slot
        };
        let newest = self.newest;
        let taken = &mut self.slots[slot as usize];
        assert!(taken.entry.is_none(), "a free slot is empty");
        taken.generation = (taken.generation + 1) & GENERATION_MASK;
        (taken.entry, taken.deadline_us) = (Some(entry), deadline_us);
        (taken.older, taken.newer) = (newest, NONE);
        let origin = Origin { instance: self.instance, generation: taken.generation, slot };
        match newest {
            NONE => self.oldest = slot,
            newest => self.slots[newest as usize].newer = slot,
        }
        self.newest = slot;
        self.len += 1;
        Some(origin)
    }

    /// Takes the entry of an answer out; `None` when there is none any more.
    pub(super) fn remove(&mut self, origin: Origin) -> Option<T> {
        let slot = self.slots.get_mut(origin.slot as usize)?;
        if origin.instance != self.instance || origin.generation != slot.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        let (older, newer) = (slot.older, slot.newer);
        slot.older = self.free;
        self.free = origin.slot;
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        self.len -= 1;
        Some(entry)
    }

    /// Takes the oldest entry out if its time is over.
    pub(super) fn expire(&mut self, monotonic_us: u64) -> Option<T> {
        let slot = self.slots.get(self.oldest as usize).filter(|slot| slot.deadline_us <= monotonic_us)?;
        let origin = Origin { instance: self.instance, generation: slot.generation, slot: self.oldest };
        self.remove(origin)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let (mut at, mut older, mut met) = (self.oldest, NONE, 0);
        let mut deadline_us = 0;
        while at != NONE {
            let slot = &self.slots[at as usize];
            assert!(slot.entry.is_some() && slot.older == older && slot.deadline_us >= deadline_us);
            deadline_us = slot.deadline_us;
            (older, at, met) = (at, slot.newer, met + 1);
        }
        assert_eq!((met, older), (self.len, self.newest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ConnId, Dimension, RequestId};

    fn pending(request: u64) -> Pending {
        let conn = ConnId { slot: 0, generation: 0 };
        let asked = Asked { conn, request_id: RequestId(request), opcode: 1, charge: 0, opens: false };
        Pending { asked, target: NodeId::new(0, Dimension::new(0).unwrap()).unwrap() }
    }

    #[test]
    fn an_answer_finds_its_request_once_and_never_the_next_one_of_the_slot() {
        let mut table = PendingTable::new(7);
        let first = table.insert(pending(1), 10).unwrap();
        assert_eq!(table.remove(first).map(|pending| pending.asked.request_id), Some(RequestId(1)));
        assert_eq!(table.remove(first), None);
        let second = table.insert(pending(2), 10).unwrap();
        assert_eq!(second.slot, first.slot);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.remove(Origin { instance: 8, ..second }), None);
        assert!(table.remove(second).is_some());
        table.check();
    }

    #[test]
    fn requests_expire_in_order_whatever_was_answered_between() {
        let mut table = PendingTable::new(0);
        let origins: Vec<Origin> = (0..10).map(|n| table.insert(pending(n), n).unwrap()).collect();
        for answered in [0, 4, 9] {
            table.remove(origins[answered]).unwrap();
            table.check();
        }
        let expired: Vec<u64> =
            std::iter::from_fn(|| table.expire(7)).map(|pending| pending.asked.request_id.0).collect();
        assert_eq!(expired, [1, 2, 3, 5, 6, 7]);
        assert_eq!(table.len(), 1);
        table.check();
    }
}
