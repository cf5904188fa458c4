//! All topics of a node, by name and by id.

mod evict;
mod image;
mod places;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use evict::Eviction;
use places::Places;

use super::eras::Eras;
use super::log::TopicLog;
use super::producer::Producers;
use crate::entry::Reclock;
use crate::limits::{EPOCHS_GIVEN_UP, LOSSES_MAX, TOPICS_MAX};
use crate::types::{Epoch, Offset, Retention, SettingsChange, TopicId, TopicName};

/// One topic. State that most topics never need is allocated on first use.
#[derive(Debug)]
pub struct Topic {
    /// The topic's id.
    pub id: TopicId,
    /// The epoch of its log.
    pub epoch: Epoch,
    /// Creation time, in microseconds since 1970.
    pub created_us: u64,
    /// Its retention, with the node's defaults filled in.
    pub retention: Retention,
    /// Its log.
    pub log: TopicLog,
    /// Its producers that number their batches; `None` until the first one publishes.
    pub producers: Option<Box<Producers>>,
    /// Each epoch that began after a possible loss, with the log end offset at that time, oldest first. Empty for most
    /// topics.
    losses: Vec<(Epoch, Offset)>,
    name: Box<str>,
}

impl Topic {
    /// Returns the topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the first offset that may hold another record than it did in `epoch`.
    pub fn lost_from(&self, epoch: Epoch) -> Offset {
        let since = self.losses.iter().filter(|(began, _)| *began > epoch).map(|(_, offset)| *offset);
        since.min().unwrap_or_else(|| self.log.next())
    }

    /// Returns the memory of the topic, without its place.
    fn cost(&self) -> Cost {
        Cost {
            records: self.log.cost(),
            producers: self.producers.as_ref().map_or(0, |producers| producers.cost()),
            topics: topic_cost(self.name.len()) - PLACE_COST
                + allocated(self.losses.capacity() * size_of::<(Epoch, Offset)>()),
        }
    }

    /// Begins a new epoch of the log, because records at its end may be lost.
    fn raise_epoch(&mut self, by: u32) {
        self.epoch.0 = self.epoch.0.saturating_add(by);
        if self.losses.len() == LOSSES_MAX {
            // Merging reports the loss from a lower offset than necessary, which is safe.
            let oldest = self.losses.remove(0).1;
            self.losses[0].1 = self.losses[0].1.min(oldest);
        }
        self.losses.push((self.epoch, self.log.next()));
    }
}

/// Memory in bytes that counts towards the node's limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Memory of records, which eviction can free once the journal has them, and of the marks that remain of them.
    pub records: u64,
    /// Memory of the state of producers.
    pub producers: u64,
    /// Memory of the topics themselves, with their names and losses. It is freed when they are deleted.
    pub topics: u64,
}

impl Cost {
    /// Returns the sum of all parts.
    pub const fn total(self) -> u64 {
        self.records + self.producers + self.topics
    }

    /// Returns the sum of both, part by part.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            producers: self.producers + other.producers,
            topics: self.topics + other.topics,
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            records: self.records - other.records,
            producers: self.producers - other.producers,
            topics: self.topics - other.topics,
        }
    }
}

/// Memory of a place in bytes: its share of a page, and its share of the table of names. Both include spare capacity,
/// for pages that are not full and for a table that has just grown. When the topic of a place is deleted, this memory
/// stays allocated for the next topic.
const PLACE_COST: u64 = 2 * (8 + 8 * size_of::<(Box<str>, u32)>() as u64 / 7 + 4);

/// Returns the memory in bytes of a new topic with a name of `name_len` bytes, including its place. The name is stored
/// twice: in the topic, and in the table of names.
pub const fn topic_cost(name_len: usize) -> u64 {
    PLACE_COST + allocated(size_of::<Topic>()) + 2 * allocated(name_len)
}

/// Returns the memory in bytes that an allocation of `len` bytes takes, with the allocator's overhead.
const fn allocated(len: usize) -> u64 {
    match len {
        0 => 0,
        1..=24 => 32,
        _ => (len as u64 + 8).next_multiple_of(16),
    }
}

/// The number by which the digest is multiplied: the multiplier of FxHash, which is odd and has random-looking bits.
const DIGEST_FACTOR: u64 = 0x517c_c1b7_2722_0a95;

/// The parameters of a new topic.
#[derive(Debug)]
pub struct NewTopic {
    /// The validated name of the topic.
    pub name: Box<str>,
    /// The random part of its id.
    pub seed: u64,
    /// The epoch of its log.
    pub epoch: Epoch,
    /// Its retention, with the node's defaults filled in.
    pub retention: Retention,
    /// Creation time, in microseconds since 1970.
    pub created_us: u64,
}

/// The topics of a node.
///
/// Invariant: `by_name` and `places` hold the same topics; the place bits of an id are the topic's place; `free` lists
/// the places without a topic. The place of a new topic follows from the entries alone, since the topic's id contains
/// it.
#[derive(Debug, Default)]
pub struct Catalogue {
    places: Places,
    /// Free places; the last one is used first.
    free: Vec<u32>,
    by_name: HashMap<Box<str>, u32, RandomState>,
    /// The memory of all topics, without their places.
    cost: Cost,
    eviction: Option<Eviction>,
    eras: Eras,
    /// Number of topics with a bound on age.
    aging: usize,
    /// The digest of all outcomes that were passed to [`Self::add_to_digest`] so far.
    digest: u64,
    /// Place of the topic that was changed last, because it is the most likely to be looked up next.
    recent: usize,
}

impl Catalogue {
    /// Returns the number of topics.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Returns true when there are no topics.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Returns the memory of all topics, in bytes. The places of deleted topics count as memory of topics.
    pub fn cost(&self) -> Cost {
        let places = self.by_name.len() + self.free.len();
        Cost { topics: self.cost.topics + places as u64 * PLACE_COST, ..self.cost }
    }

    /// Returns how much of [`Self::cost`] counts as evictable, in bytes: the memory of records once eviction is
    /// allowed.
    pub const fn evictable(&self) -> u64 {
        if self.is_evicting() { self.cost.records } else { 0 }
    }

    /// Returns true when any topic has a bound on age.
    pub const fn has_aging(&self) -> bool {
        self.aging > 0
    }

    /// Adds the outcome of an entry to the digest. If different outcomes were added to two catalogues, their digests
    /// differ, except by chance; the digest does not withstand deliberate collisions.
    pub const fn add_to_digest(&mut self, numbers: [u64; 4]) {
        let [a, b, c, d] = numbers;
        let mut digest = self.digest;
        // Each step is a bijection, so a difference in an outcome is not lost when equal outcomes follow it.
        digest = (digest.rotate_left(5) ^ a).wrapping_mul(DIGEST_FACTOR);
        digest = (digest.rotate_left(5) ^ b).wrapping_mul(DIGEST_FACTOR);
        digest = (digest.rotate_left(5) ^ c).wrapping_mul(DIGEST_FACTOR);
        self.digest = (digest.rotate_left(5) ^ d).wrapping_mul(DIGEST_FACTOR);
    }

    /// Returns the digest of all outcomes that were added; 0 if there were none.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns the topic with a name.
    pub fn find(&self, name: TopicName<'_>) -> Option<&Topic> {
        if let Some(topic) = self.places.get(self.recent)
            && topic.name() == name.as_str()
        {
            return Some(topic);
        }
        self.by_name.get(name.as_str()).and_then(|&place| self.places.get(place as usize))
    }

    /// Returns the topic with an id.
    pub fn get(&self, id: TopicId) -> Option<&Topic> {
        self.places.get(place_of(id)).filter(|topic| topic.id == id)
    }

    /// Returns the id of the topic with a name that was validated before.
    pub fn id_of(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).and_then(|&place| self.places.get(place as usize)).map(|topic| topic.id)
    }

    /// Creates a topic whose name is not in use. Returns `None` when there are [`TOPICS_MAX`] topics.
    pub fn insert(&mut self, new: NewTopic) -> Option<&Topic> {
        if self.len() >= TOPICS_MAX {
            return None;
        }
        let place = self.free.pop();
        let place = place.unwrap_or_else(|| u32::try_from(self.places.push()).expect("TOPICS_MAX fits u32"));
        let id = TopicId::made(new.seed, place);
        self.put(Topic {
            id,
            epoch: new.epoch,
            created_us: new.created_us,
            retention: new.retention,
            log: TopicLog::default(),
            producers: None,
            losses: Vec::new(),
            name: new.name,
        });
        self.get(id)
    }

    /// Puts a topic into its place, which must be free.
    fn put(&mut self, topic: Topic) {
        let place = place_of(topic.id);
        let before = self.by_name.insert(topic.name.clone(), u32::try_from(place).expect("24 bits"));
        assert!(before.is_none(), "the name was free");
        assert_eq!(topic.log.chunks(), 0, "a topic begins with nothing in memory");
        self.aging += usize::from(topic.retention.age_ms > 0);
        self.count_cost(Cost::default(), topic.cost());
        self.places.put(place, topic);
    }

    /// Removes a topic and returns whether it existed.
    pub fn remove(&mut self, id: TopicId) -> bool {
        let place = place_of(id);
        if self.get(id).is_none() {
            return false;
        }
        let Some(topic) = self.places.take(place) else { return false };
        self.free.push(u32::try_from(place).expect("24 bits"));
        self.by_name.remove(&topic.name);
        self.count_cost(topic.cost(), Cost::default());
        if let Some(eviction) = &mut self.eviction {
            eviction.forget(topic.log.chunks());
        }
        self.aging -= usize::from(topic.retention.age_ms > 0);
        true
    }

    /// Applies `change` to a topic and updates the memory accounting. Returns `None` when there is no such topic.
    pub fn update<R>(&mut self, id: TopicId, change: impl FnOnce(&mut Topic) -> R) -> Option<R> {
        let topic = self.places.get_mut(place_of(id)).filter(|topic| topic.id == id)?;
        let (before, chunks, newest) = (topic.cost(), topic.log.chunks(), topic.log.newest());
        self.recent = place_of(id);
        let result = change(topic);
        let after = topic.cost();
        if let Some(eviction) = &mut self.eviction {
            eviction.note(id, chunks, newest, &topic.log);
        }
        self.count_cost(before, after);
        Some(result)
    }

    /// Replaces a topic's former memory by its current one in the total.
    const fn count_cost(&mut self, before: Cost, after: Cost) {
        self.cost = self.cost.minus(before).plus(after);
    }

    /// Changes settings of a topic and removes the records that it no longer retains. Returns the topic's first offset
    /// before and after the change, or `None` when there is no such topic.
    pub fn alter(&mut self, id: TopicId, change: &SettingsChange) -> Option<(Offset, Offset)> {
        let alter = |topic: &mut Topic| {
            let (first, before) = (topic.log.first(), topic.retention);
            topic.retention = change.applied_to(before);
            topic.log.retain(&topic.retention);
            (first, topic.log.first(), before.age_ms > 0, topic.retention.age_ms > 0)
        };
        let (before, first, was_aging, is_aging) = self.update(id, alter)?;
        self.aging = self.aging - usize::from(was_aging) + usize::from(is_aging);
        Some((before, first))
    }

    /// Returns the topics at up to `scan` places from place `from` on, each with the next place to scan from. A topic
    /// keeps its place, so a topic that exists during the whole scan is visited exactly once.
    pub fn scan(&self, from: usize, scan: usize) -> impl Iterator<Item = (usize, &Topic)> {
        let end = from.saturating_add(scan).min(self.places());
        (from..end).filter_map(|place| self.places.get(place).map(|topic| (place + 1, topic)))
    }

    /// Returns the number of places to scan: the largest number of topics that have existed at once.
    pub const fn places(&self) -> usize {
        self.places.len()
    }

    /// Raises the epoch of every topic by 1.
    pub fn raise_epochs(&mut self) {
        self.raise_epochs_by(1);
    }

    /// Raises the epoch of every topic by `by`. Readers may have seen any of the skipped epochs, with records that no
    /// longer exist.
    pub fn raise_epochs_by(&mut self, by: u32) {
        self.update_all(|topic| topic.raise_epoch(by));
    }

    /// Begins a new epoch of every log after a restore from a backup. The new epoch is `second`, the time in seconds
    /// since 1970, so that it exceeds every epoch of the lost logs and of earlier restores of the same backup. Where
    /// `second` does not exceed the current epoch, the epoch is raised as after a repair.
    pub fn raise_epochs_to(&mut self, second: u32) {
        self.update_all(|topic| {
            topic.raise_epoch(second.checked_sub(topic.epoch.0).filter(|by| *by > 0).unwrap_or(EPOCHS_GIVEN_UP));
        });
    }

    /// Reverses the order in which free places are used again, so that ids of new topics differ: a planted bug.
    pub fn reverse_free_places(&mut self) {
        self.free.reverse();
    }

    /// Forgets all producers, when it is not known which of their batches were stored.
    pub fn forget_producers(&mut self) {
        self.update_all(|topic| topic.producers = None);
    }

    /// Applies `change`, which leaves the logs as they are, to all topics and updates the memory accounting.
    fn update_all(&mut self, change: impl Fn(&mut Topic)) {
        for topic in self.places.iter_mut() {
            let before = topic.cost();
            change(topic);
            self.cost = self.cost.minus(before).plus(topic.cost());
        }
    }

    /// Returns the eras of the append times.
    pub const fn eras(&self) -> &Eras {
        &self.eras
    }

    /// Begins an era of the clock.
    pub fn reclock(&mut self, reclock: &Reclock) {
        self.eras.begin(reclock);
    }

    /// Returns the latest append time of the newest era, or its beginning when it has no records, in microseconds since
    /// 1970.
    pub fn latest_us(&self) -> u64 {
        let newest = self.eras.newest();
        let logs = self.places.iter().filter_map(|topic| topic.log.latest_us(newest));
        logs.max().unwrap_or(0).max(newest.since_us)
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        assert_eq!(self.places.len() - self.free.len(), self.by_name.len());
        assert!(self.free.iter().all(|place| self.places.get(*place as usize).is_none()));
        assert_eq!(self.places.iter().count(), self.by_name.len());
        let mut cost = Cost::default();
        for topic in self.places.iter() {
            assert_eq!(self.get(topic.id).map(|topic| topic.id), Some(topic.id));
            assert_eq!(self.by_name.get(&topic.name).copied(), Some(topic.id.place()));
            topic.log.check();
            topic.producers.iter().for_each(|producers| producers.check());
            cost = cost.plus(topic.cost());
        }
        assert_eq!(self.cost, cost);
        assert_eq!(self.aging, self.places.iter().filter(|topic| topic.retention.age_ms > 0).count());
        self.eras.check();
        self.check_eviction();
    }
}

fn place_of(id: TopicId) -> usize {
    id.place() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Stored;
    use crate::types::{Opening, ProducerId, Sequenced};

    fn new(name: &str, seed: u64) -> NewTopic {
        NewTopic { name: name.into(), seed, epoch: Epoch(1), retention: Retention::default(), created_us: 0 }
    }

    #[test]
    fn a_topic_made_again_has_another_id() {
        let mut catalogue = Catalogue::default();
        let first = catalogue.insert(new("a", 7)).unwrap().id;
        assert!(catalogue.remove(first) && !catalogue.remove(first));
        let second = catalogue.insert(new("a", 9)).unwrap().id;
        assert_ne!(first, second);
        assert!(catalogue.get(first).is_none());
        assert_eq!(catalogue.id_of("a"), Some(second));
        let found = |catalogue: &Catalogue, name| catalogue.find(TopicName::new(name).unwrap()).map(|topic| topic.id);
        catalogue.update(second, |_| ()).unwrap();
        assert_eq!((found(&catalogue, "a"), found(&catalogue, "b")), (Some(second), None));
        assert!(catalogue.remove(second));
        let other = catalogue.insert(new("b", 11)).unwrap().id;
        assert_eq!((found(&catalogue, "a"), found(&catalogue, "b")), (None, Some(other)));
        catalogue.check();
    }

    #[test]
    fn a_deleted_topic_leaves_nothing_but_its_place_in_the_account() {
        let mut catalogue = Catalogue::default();
        let name = "n".repeat(crate::limits::TOPIC_NAME_MAX);
        let mut left = Cost::default();
        for round in 0..3 {
            let id = catalogue.insert(new(&name, 7)).unwrap().id;
            assert_eq!(catalogue.cost(), Cost { topics: topic_cost(name.len()), ..Cost::default() });
            catalogue.update(id, |topic| {
                for number in 1..200 {
                    let payload = bytes::Bytes::from_static(&[0; 10_000]);
                    topic.log.append(payload, (1, 0), number, &Retention::default());
                    let producer = ProducerId::new(number).unwrap();
                    let stored = Stored { base: Offset(0), append_us: 0, count: 1, payload_crc: 0 };
                    let producers = topic.producers.get_or_insert_default();
                    (0..number).for_each(|sequence| producers.note(Sequenced { producer, epoch: 0, sequence }, stored));
                    producers
                        .open(Opening { producer: ProducerId::new(1000 + number).unwrap(), token: 1, resume: false })
                        .unwrap();
                }
            });
            catalogue.raise_epochs();
            catalogue.check();
            let cost = catalogue.cost();
            assert!(cost.records > 199 * 10_000 && cost.producers > 199 * 300 && cost.topics > topic_cost(name.len()));
            if round == 1 {
                catalogue.forget_producers();
                catalogue.check();
                assert_eq!(catalogue.cost(), Cost { producers: 0, ..cost });
            }
            assert!(catalogue.remove(id));
            catalogue.check();
            assert!(round == 0 || catalogue.cost() == left);
            left = catalogue.cost();
            assert_eq!(left, Cost { topics: PLACE_COST, ..Cost::default() });
        }
    }

    #[test]
    fn what_may_be_lost_is_told_from_where_it_may_be() {
        let mut catalogue = Catalogue::default();
        let id = catalogue.insert(new("a", 7)).unwrap().id;
        let ends = [10, 4, 6, 6, 20, 30, 31, 32, 33, 50];
        let lose = |catalogue: &mut Catalogue, end: u32| {
            let batch = bytes::Bytes::from_static(b"any");
            catalogue.update(id, |topic| {
                topic.log = TopicLog::default();
                topic.log.append(batch, (end, 0), 0, &Retention::default());
            });
        };
        for end in ends {
            lose(&mut catalogue, end);
            catalogue.raise_epochs();
        }
        lose(&mut catalogue, 60);
        let topic = catalogue.get(id).unwrap();
        assert_eq!(topic.losses.len(), LOSSES_MAX);
        // Epoch 1 ended at 10, but records from 4 on were lost again in epoch 2. When two losses were merged, the lower
        // offset counts.
        for (epoch, from) in [(1, 4), (2, 4), (3, 4), (4, 6), (5, 20), (6, 30), (9, 33), (10, 50), (11, 60), (12, 60)] {
            assert_eq!(topic.lost_from(Epoch(epoch)), Offset(from), "epoch {epoch}");
        }
    }

    #[test]
    fn a_restore_begins_an_epoch_that_no_log_before_it_had() {
        let mut catalogue = Catalogue::default();
        let id = catalogue.insert(new("a", 7)).unwrap().id;
        for (second, epoch) in [
            (1_800_000_000, 1_800_000_000),
            (1_800_000_001, 1_800_000_001),
            // The clock is not ahead of the epoch.
            (1_800_000_001, 1_800_000_001 + EPOCHS_GIVEN_UP),
            (0, 1_800_000_001 + 2 * EPOCHS_GIVEN_UP),
        ] {
            catalogue.raise_epochs_to(second);
            assert_eq!(catalogue.get(id).unwrap().epoch, Epoch(epoch));
        }
    }

    #[test]
    fn topics_with_a_bound_on_age_are_counted_until_they_are_deleted_or_altered() {
        let mut catalogue = Catalogue::default();
        let retention = Retention { age_ms: 1, ..Retention::default() };
        let ids = ["a", "b"].map(|name| catalogue.insert(NewTopic { retention, ..new(name, 1) }).unwrap().id);
        let unbounded = SettingsChange { retention_age_ms: Some(0), ..SettingsChange::default() };
        catalogue.check();
        assert!(catalogue.has_aging() && catalogue.remove(ids[0]));
        catalogue.check();
        assert!(catalogue.has_aging() && catalogue.alter(ids[1], &unbounded).is_some());
        catalogue.check();
        assert!(!catalogue.has_aging());
    }

    #[test]
    fn a_scan_meets_each_topic_once_however_it_is_cut() {
        let mut catalogue = Catalogue::default();
        let names: Vec<String> = (0..50).map(|index| format!("t{index}")).collect();
        let ids: Vec<TopicId> = names.iter().map(|name| catalogue.insert(new(name, 1)).unwrap().id).collect();
        ids.iter().step_by(3).for_each(|id| assert!(catalogue.remove(*id)));
        for page in [1, 7, 1000] {
            let (mut from, mut met) = (0, 0);
            while from < catalogue.places() {
                met += catalogue.scan(from, page).count();
                from += page;
            }
            assert_eq!(met, catalogue.len(), "pages of {page}");
        }
    }
}
