//! Pending requests: those that this node has sent to other nodes, for its clients or for its own subscriptions, and
//! that have no response yet.
//!
//! Only the ingress keeps this table; transit nodes have none. A response names its entry by [`Origin`], and is dropped
//! if the entry's slot has been reused since, which the generation shows. All requests of one table have the same
//! timeout, so the oldest is always the next to expire, and a list in the order of arrival serves as the timer.

use crate::wire::Origin;

const NONE: u32 = u32::MAX;
const GENERATION_MASK: u32 = (1 << Origin::BITS) - 1;

#[derive(Debug)]
struct Slot<T> {
    entry: Option<T>,
    /// Monotonic time in microseconds.
    deadline_us: u64,
    generation: u32,
    /// Number of earlier generations that belong to earlier attempts of the same entry.
    attempts: u32,
    /// The next older entry, or the next free slot if this slot is free.
    older: u32,
    newer: u32,
}

/// The table of pending requests.
///
/// Invariant: the entries form one list from `oldest` to `newest`, the free slots another from `free`.
#[derive(Debug)]
pub(super) struct PendingTable<T> {
    mark: u16,
    slots: Vec<Slot<T>>,
    free: u32,
    oldest: u32,
    newest: u32,
    len: usize,
}

impl<T> PendingTable<T> {
    /// Returns an empty table. Its origins carry `mark`, by which responses to an earlier start of the node are
    /// recognised.
    pub(super) const fn new(mark: u16) -> Self {
        Self { mark, slots: Vec::new(), free: NONE, oldest: NONE, newest: NONE, len: 0 }
    }

    /// Returns true if this table issued the origin.
    pub(super) const fn is_of(&self, origin: Origin) -> bool {
        origin.mark == self.mark
    }

    /// Returns the number of pending requests.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a request. Its deadline must be no earlier than that of any request in the table. Returns `None` if all
    /// slots that an origin can name are taken.
    pub(super) fn insert(&mut self, entry: T, deadline_us: u64) -> Option<Origin> {
        let slot = if self.free == NONE {
            let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < 1 << Origin::BITS)?;
            self.slots.push(Slot { entry: None, deadline_us: 0, generation: 0, attempts: 0, older: NONE, newer: NONE });
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
        taken.attempts = 0;
        (taken.entry, taken.deadline_us) = (Some(entry), deadline_us);
        (taken.older, taken.newer) = (newest, NONE);
        let origin = Origin { mark: self.mark, generation: taken.generation, slot };
        match newest {
            NONE => self.oldest = slot,
            newest => self.slots[newest as usize].newer = slot,
        }
        self.newest = slot;
        self.len += 1;
        Some(origin)
    }

    /// Returns the slot of an attempt's entry, if the entry is still pending.
    fn slot_of(&self, origin: Origin) -> Option<&Slot<T>> {
        let slot = self.slots.get(origin.slot as usize)?;
        let age = slot.generation.wrapping_sub(origin.generation) & GENERATION_MASK;
        (origin.mark == self.mark && slot.entry.is_some() && age <= slot.attempts).then_some(slot)
    }

    /// Returns whether an attempt is the latest one of its entry; `None` if the entry is no longer pending.
    pub(super) fn is_latest(&self, origin: Origin) -> Option<bool> {
        self.slot_of(origin).map(|slot| slot.generation == origin.generation)
    }

    /// Returns the entry of an attempt.
    pub(super) fn get(&self, origin: Origin) -> Option<&T> {
        self.slot_of(origin)?.entry.as_ref()
    }

    /// Returns the entry of an attempt, to change it.
    pub(super) fn get_mut(&mut self, origin: Origin) -> Option<&mut T> {
        self.slot_of(origin)?;
        self.slots[origin.slot as usize].entry.as_mut()
    }

    /// Returns the origin for another attempt of an entry, which keeps its place and its deadline.
    pub(super) fn renew(&mut self, origin: Origin) -> Option<Origin> {
        self.slot_of(origin)?;
        let slot = &mut self.slots[origin.slot as usize];
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.attempts += 1;
        Some(Origin { generation: slot.generation, ..origin })
    }

    /// Returns the entries with their latest origins, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Origin, &T)> {
        let at = |place: u32| self.slots.get(place as usize).map(|slot| (place, slot));
        std::iter::successors(at(self.oldest), move |(_, slot)| at(slot.newer)).filter_map(|(place, slot)| {
            let origin = Origin { mark: self.mark, generation: slot.generation, slot: place };
            Some((origin, slot.entry.as_ref()?))
        })
    }

    /// Removes and returns the entry that a response names; `None` if it has expired or already had its response.
    pub(super) fn remove(&mut self, origin: Origin) -> Option<T> {
        self.slot_of(origin)?;
        let slot = &mut self.slots[origin.slot as usize];
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

    /// Removes and returns the oldest entry if its deadline has passed.
    pub(super) fn expire(&mut self, monotonic_us: u64) -> Option<T> {
        let slot = self.slots.get(self.oldest as usize).filter(|slot| slot.deadline_us <= monotonic_us)?;
        let origin = Origin { mark: self.mark, generation: slot.generation, slot: self.oldest };
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

    #[test]
    fn an_answer_finds_its_request_once_and_never_the_next_one_of_the_slot() {
        let mut table = PendingTable::new(7);
        let first = table.insert(1, 10).unwrap();
        assert_eq!(table.remove(first), Some(1));
        assert_eq!(table.remove(first), None);
        let second = table.insert(2, 10).unwrap();
        assert_eq!(second.slot, first.slot);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.remove(Origin { mark: 8, ..second }), None);
        assert!(table.remove(second).is_some());
        table.check();
    }

    #[test]
    fn requests_expire_in_order_whatever_was_answered_between() {
        let mut table = PendingTable::new(0);
        let origins: Vec<Origin> = (0..10).map(|n| table.insert(n, n).unwrap()).collect();
        for answered in [0, 4, 9] {
            table.remove(origins[answered]).unwrap();
            table.check();
        }
        let expired: Vec<u64> = std::iter::from_fn(|| table.expire(7)).collect();
        assert_eq!(expired, [1, 2, 3, 5, 6, 7]);
        assert_eq!(table.len(), 1);
        table.check();
    }

    #[test]
    fn each_attempt_has_an_origin_and_all_of_them_mean_the_same_request_until_it_is_answered() {
        let mut table = PendingTable::new(7);
        let first = table.insert("one", 10).unwrap();
        let other = table.insert("two", 20).unwrap();
        let second = table.renew(first).unwrap();
        assert_eq!((table.is_latest(first), table.is_latest(second)), (Some(false), Some(true)));
        let origins: Vec<Origin> = table.iter().map(|(origin, _)| origin).collect();
        assert_eq!(origins, [second, other], "it keeps its place");
        assert_eq!((table.get_mut(first).copied(), table.get_mut(second).copied()), (Some("one"), Some("one")));
        let later = Origin { generation: second.generation + 1, ..second };
        assert_eq!(table.is_latest(later), None);
        assert_eq!(table.remove(first), Some("one"));
        assert_eq!((table.is_latest(first), table.remove(second)), (None, None));
        // The next one of the slot has nothing to do with either.
        let third = table.insert("three", 30).unwrap();
        assert_eq!(third.slot, first.slot);
        assert_eq!([first, second, third].map(|origin| table.is_latest(origin)), [None, None, Some(true)]);
        table.check();
    }
}
