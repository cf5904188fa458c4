//! Eviction of records from memory. The chunk that was added first, in any topic, is evicted first. Eviction is allowed
//! only when the journal has all records.

use std::collections::VecDeque;

use super::{Catalogue, place_of};
use crate::topic::log::TopicLog;
use crate::types::{Offset, TopicId};

/// The chunks in memory, by age.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    /// The topic and first offset of each chunk, oldest first. Entries of chunks that no longer exist remain until they
    /// reach the front.
    order: VecDeque<(TopicId, Offset)>,
    /// Number of chunks that still exist.
    chunks: usize,
}

impl Eviction {
    /// Updates the order after a change to `log`, which had `chunks` chunks before, the newest beginning at `newest`.
    pub(super) fn note(&mut self, id: TopicId, chunks: usize, newest: Option<Offset>, log: &TopicLog) {
        self.chunks = self.chunks - chunks + log.chunks();
        if let Some(base) = log.newest().filter(|base| Some(*base) != newest) {
            self.order.push_back((id, base));
        }
    }

    /// Subtracts the chunks of a removed topic.
    pub(super) const fn forget(&mut self, chunks: usize) {
        self.chunks -= chunks;
    }
}

impl Catalogue {
    /// Allows eviction. The journal must have all records that are appended from now on.
    pub fn allow_eviction(&mut self) {
        assert!(self.places.iter().all(|topic| topic.log.chunks() == 0), "eviction begins with no chunk in memory");
        self.eviction = Some(Eviction::default());
    }

    /// Returns true when eviction is allowed.
    pub const fn is_evicting(&self) -> bool {
        self.eviction.is_some()
    }

    /// Evicts the oldest records until all topics take at most `max_bytes` of memory, if eviction is allowed.
    pub fn evict(&mut self, max_bytes: u64) {
        while self.cost().total() > max_bytes
            && let Some((id, base)) = self.eviction.as_mut().and_then(|eviction| eviction.order.pop_front())
        {
            if self.get(id).is_some_and(|topic| topic.log.held() == base && topic.log.chunks() > 0) {
                self.update(id, |topic| topic.log.evict());
            }
        }
    }

    /// Removes the entries of chunks that no longer exist when they are the majority; trimming leaves such entries
    /// behind.
    pub fn drop_stale(&mut self) {
        let Some(mut eviction) = self.eviction.take() else { return };
        if eviction.order.len() > 2 * eviction.chunks + 64 {
            let is_there = |id: TopicId, base| self.get(id).is_some_and(|topic| topic.log.held() <= base);
            eviction.order.retain(|(id, base)| is_there(*id, *base));
            eviction.order.shrink_to(2 * eviction.chunks + 64);
        }
        self.eviction = Some(eviction);
    }

    /// Asserts that the order lists every chunk in memory.
    pub(super) fn check_eviction(&self) {
        let Some(eviction) = &self.eviction else { return };
        let mut there: Vec<usize> = vec![0; self.places.len()];
        for (id, base) in &eviction.order {
            there[place_of(*id)] +=
                usize::from(self.get(*id).is_some_and(|topic| topic.log.chunks() > 0 && topic.log.held() <= *base));
        }
        for (place, chunks) in there.iter().enumerate() {
            assert_eq!(*chunks, self.places.get(place).map_or(0, |topic| topic.log.chunks()), "place {place}");
        }
        assert_eq!(there.iter().sum::<usize>(), eviction.chunks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::NewTopic;
    use crate::types::{Epoch, Retention};

    #[test]
    fn the_chunks_of_a_topic_that_is_deleted_are_no_longer_counted() {
        let mut catalogue = Catalogue::default();
        catalogue.allow_eviction();
        let ids: Vec<TopicId> = [1, 2, 3]
            .into_iter()
            .map(|chunks: u64| {
                let (name, retention) = (format!("t{chunks}").into(), Retention::default());
                let new = NewTopic { name, seed: chunks, epoch: Epoch(1), retention, created_us: 0 };
                let id = catalogue.insert(new).unwrap().id;
                for append_us in 0..chunks {
                    let large = bytes::Bytes::from_static(&[0; 10_000]);
                    catalogue.update(id, |topic| topic.log.append(large, (1, 0), append_us, &retention));
                }
                id
            })
            .collect();
        for id in [ids[1], ids[0], ids[2]] {
            catalogue.check();
            assert!(catalogue.remove(id));
        }
        catalogue.check();
        assert_eq!(catalogue.eviction.unwrap().chunks, 0);
    }
}
