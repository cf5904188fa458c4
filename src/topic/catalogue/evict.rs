//! Which records leave memory when it is full: the oldest, of whatever topic, while the journal has them too.

use std::collections::VecDeque;

use super::{Catalogue, slot_of};
use crate::topic::log::TopicLog;
use crate::types::{Offset, TopicId};

/// The chunks in memory, by age.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    /// Each with its topic and first record, oldest first; those that are gone stay until it is their turn.
    order: VecDeque<(TopicId, Offset)>,
    /// Those that are not gone.
    chunks: usize,
}

impl Eviction {
    /// A log was changed that had so many chunks, the newest of which began there.
    pub(super) fn note(&mut self, id: TopicId, chunks: usize, newest: Option<Offset>, log: &TopicLog) {
        self.chunks = self.chunks - chunks + log.chunks();
        if let Some(base) = log.newest().filter(|base| Some(*base) != newest) {
            self.order.push_back((id, base));
        }
    }

    /// A topic with so many chunks is gone.
    pub(super) const fn forget(&mut self, chunks: usize) {
        self.chunks -= chunks;
    }
}

impl Catalogue {
    /// From now on the journal has all records: they may leave memory.
    pub fn allow_eviction(&mut self) {
        assert!(self.places.iter().flatten().all(|topic| topic.log.chunks() == 0), "the oldest ones are known");
        self.eviction = Some(Eviction::default());
    }

    /// May records leave memory?
    pub const fn is_evicting(&self) -> bool {
        self.eviction.is_some()
    }

    /// Removes the oldest records from memory until topics take no more than so many bytes of it, if they may.
    pub fn evict(&mut self, max_bytes: u64) {
        while self.cost() > max_bytes
            && let Some((id, base)) = self.eviction.as_mut().and_then(|eviction| eviction.order.pop_front())
        {
            if self.get(id).is_some_and(|topic| topic.log.held() == base && topic.log.chunks() > 0) {
                self.update(id, |topic| topic.log.evict());
            }
        }
        self.drop_stale();
    }

    /// Topics that trim themselves leave entries behind: most must not be such ones.
    fn drop_stale(&mut self) {
        let Some(mut eviction) = self.eviction.take() else { return };
        if eviction.order.len() > 2 * eviction.chunks + 64 {
            let is_there = |id: TopicId, base| self.get(id).is_some_and(|topic| topic.log.held() <= base);
            eviction.order.retain(|(id, base)| is_there(*id, *base));
            eviction.order.shrink_to(2 * eviction.chunks + 64);
        }
        self.eviction = Some(eviction);
    }

    /// Asserts that every chunk in memory can be found.
    pub(super) fn check_eviction(&self) {
        let Some(eviction) = &self.eviction else { return };
        let mut there: Vec<usize> = vec![0; self.places.len()];
        for (id, base) in &eviction.order {
            there[slot_of(*id)] +=
                usize::from(self.get(*id).is_some_and(|topic| topic.log.chunks() > 0 && topic.log.held() <= *base));
        }
        for (slot, chunks) in there.iter().enumerate() {
            assert_eq!(*chunks, self.at(slot).map_or(0, |topic| topic.log.chunks()), "place {slot}");
        }
        assert_eq!(there.iter().sum::<usize>(), eviction.chunks);
    }
}
