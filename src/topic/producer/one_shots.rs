//! One-shots: producers that have stored only one batch, sequence 0. Each message that is sent by itself from the
//! command line has such a producer.
//!
//! There may be far more one-shots than other producers, and only one answer is remembered for each. They are stored in
//! order of arrival, with a hash table to find them by id.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use bytes::{Buf, BufMut};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Stored;
use crate::entry::varint;
use crate::limits::ONE_SHOTS_MAX;
use crate::types::{Offset, ProducerId};

/// The latest one-shots of a topic.
///
/// Invariant: `places` has the serial number of each producer in `ring`; the first slot of `ring` holds a producer.
#[derive(Debug, Default)]
pub(super) struct OneShots {
    /// The slots, oldest first. A producer that publishes again is moved to the main table and leaves an empty slot.
    ring: VecDeque<Slot>,
    /// The serial number of the first slot; the others follow consecutively.
    first: u32,
    places: HashTable<u32>,
    hasher: RandomState,
}

/// A producer, or the empty slot that it left.
#[derive(Clone, Copy, Debug)]
struct Slot {
    producer: Option<ProducerId>,
    epoch: u32,
    count: u32,
    payload_crc: u32,
    base: Offset,
    append_us: u64,
}

const _: () = assert!(size_of::<Slot>() == 40);

/// Memory of a one-shot, in bytes: its slot and its share of the table, both with spare capacity.
pub(super) const COST: u64 = 64;

/// Memory of the first one-shot of a topic, in bytes, with the spare capacity of the smallest ring and table.
pub(super) const COST_FIRST: u64 = (RING_GROWTH_LEAST * size_of::<Slot>() + 64) as u64;

/// The minimum number of slots by which the ring grows.
const RING_GROWTH_LEAST: usize = 4;

impl OneShots {
    /// Returns a producer's epoch and the answer to its batch.
    pub(super) fn get(&self, producer: ProducerId) -> Option<(u32, Stored)> {
        let is_it = |serial: &u32| self.ring[index(self.first, *serial)].producer == Some(producer);
        let serial = self.places.find(self.hasher.hash_one(producer), is_it)?;
        Some(self.ring[index(self.first, *serial)].batch())
    }

    /// Adds a producer that is not present. When there are too many, the oldest is forgotten.
    pub(super) fn insert(&mut self, producer: ProducerId, epoch: u32, stored: Stored) {
        if self.places.len() == ONE_SHOTS_MAX {
            let oldest = self.ring.front().and_then(|slot| slot.producer).expect("the first slot holds a producer");
            self.remove(oldest);
        }
        if self.ring.len() == self.ring.capacity() {
            // Doubling would leave more spare slots than `COST` counts.
            self.ring.reserve_exact((self.ring.len() / 4).max(RING_GROWTH_LEAST));
        }
        let Stored { base, append_us, count, payload_crc } = stored;
        self.ring.push_back(Slot { producer: Some(producer), epoch, count, payload_crc, base, append_us });
        let last = u32::try_from(self.ring.len() - 1).expect("ONE_SHOTS_MAX producers and as many empty slots");
        self.note(self.first.wrapping_add(last));
    }

    /// Removes a producer that publishes again or begins a new epoch. Returns its epoch and the answer to its batch.
    pub(super) fn remove(&mut self, producer: ProducerId) -> Option<(u32, Stored)> {
        let is_it = |serial: &u32| self.ring[index(self.first, *serial)].producer == Some(producer);
        let (serial, _) = self.places.find_entry(self.hasher.hash_one(producer), is_it).ok()?.remove();
        let slot = &mut self.ring[index(self.first, serial)];
        slot.producer = None;
        let batch = slot.batch();
        while self.ring.front().is_some_and(|slot| slot.producer.is_none()) {
            self.ring.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        if self.ring.len() > 2 * self.places.len() + 64 {
            self.close_holes();
        } else if self.ring.capacity() > 2 * self.ring.len() + 64 {
            self.ring.shrink_to(self.ring.len() + self.ring.len() / 4);
        }
        Some(batch)
    }

    /// Returns the memory in use, in bytes, including empty slots. While one-shots are added, each adds at most
    /// [`COST`]. After most of them have been removed, the memory that is still allocated for the tables counts.
    pub(super) fn cost(&self) -> u64 {
        let tables = self.ring.capacity() * size_of::<Slot>() + self.places.allocation_size();
        (self.ring.len() as u64 * COST).max(tables as u64)
    }

    /// Returns true when there are no one-shots.
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Appends the encoded one-shots to a checkpoint's image.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.places.len() as u64);
        let (mut base_before, mut us_before) = (0, 0);
        for slot in &self.ring {
            let Some(producer) = slot.producer else { continue };
            out.put_u64(producer.number());
            out.put_u32(slot.payload_crc);
            varint::put(out, slot.epoch.into());
            varint::put(out, slot.count.into());
            varint::put_delta(out, base_before, slot.base.0);
            varint::put_delta(out, us_before, slot.append_us);
            (base_before, us_before) = (slot.base.0, slot.append_us);
        }
    }

    /// Decodes the result of [`Self::encode`]; returns `None` when the bytes are malformed.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut one_shots = Self::default();
        let (mut base, mut append_us) = (0, 0);
        for _ in 0..Some(varint::take(bytes)?).filter(|count| *count <= ONE_SHOTS_MAX as u64)? {
            let producer = ProducerId::new(bytes.try_get_u64().ok()?)?;
            let payload_crc = bytes.try_get_u32().ok()?;
            let epoch = u32::try_from(varint::take(bytes)?).ok()?;
            let count = u32::try_from(varint::take(bytes)?).ok()?;
            (base, append_us) = (varint::take_delta(bytes, base)?, varint::take_delta(bytes, append_us)?);
            if one_shots.get(producer).is_some() {
                return None;
            }
            one_shots.insert(producer, epoch, Stored { base: Offset(base), append_us, count, payload_crc });
        }
        Some(one_shots)
    }

    /// Adds the producer with this serial number to `places`.
    fn note(&mut self, serial: u32) {
        let (ring, first, hasher) = (&self.ring, self.first, &self.hasher);
        let hash = |serial: &u32| hasher.hash_one(ring[index(first, *serial)].producer.expect("not empty"));
        self.places.insert_unique(hash(&serial), serial, hash);
    }

    /// Removes the empty slots, so that they do not take more memory than the producers.
    fn close_holes(&mut self) {
        self.ring.retain(|slot| slot.producer.is_some());
        self.ring.shrink_to_fit();
        self.places = HashTable::with_capacity(self.ring.len());
        self.first = 0;
        (0..u32::try_from(self.ring.len()).expect("ONE_SHOTS_MAX")).for_each(|serial| self.note(serial));
    }
}

impl Slot {
    /// Returns the producer's epoch and the answer to its batch.
    const fn batch(&self) -> (u32, Stored) {
        let Self { epoch, count, payload_crc, base, append_us, .. } = *self;
        (epoch, Stored { base, append_us, count, payload_crc })
    }
}

/// Returns the index of the slot with the number `serial` in a ring whose first slot has the number `first`.
const fn index(first: u32, serial: u32) -> usize {
    serial.wrapping_sub(first) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(number: u64) -> Stored {
        Stored { base: Offset(number), append_us: 7 * number, count: 1, payload_crc: 3 }
    }

    fn id(number: u64) -> ProducerId {
        ProducerId::new(number + 1).unwrap()
    }

    fn check(one_shots: &OneShots, expected: &VecDeque<u64>) {
        let there = one_shots.ring.iter().filter_map(|slot| slot.producer);
        assert!(there.eq(expected.iter().map(|number| id(*number))));
        assert_eq!(one_shots.places.len(), expected.len());
        assert!(one_shots.ring.len() <= 2 * expected.len() + 64, "{} for {}", one_shots.ring.len(), expected.len());
    }

    #[test]
    fn the_newest_are_found_whichever_producers_publish_again() {
        let (mut one_shots, mut expected) = (OneShots::default(), VecDeque::new());
        let mut rng = fastrand::Rng::with_seed(1);
        for number in 0..200_000 {
            one_shots.insert(id(number), 5, stored(number));
            expected.push_back(number);
            if expected.len() > ONE_SHOTS_MAX {
                let oldest = expected.pop_front().unwrap();
                assert_eq!(one_shots.get(id(oldest)), None);
            }
            // At first no producer publishes again, then most do, then all.
            let going = [0, 3, 4][usize::try_from(number / 70_000).unwrap()];
            if rng.u64(..4) < going {
                let at = if rng.bool() { expected.len() - 1 } else { rng.usize(..expected.len()) };
                let gone = expected.remove(at).unwrap();
                assert_eq!(one_shots.remove(id(gone)), Some((5, stored(gone))));
                assert_eq!(one_shots.remove(id(gone)), None);
            }
            if number % 5000 == 0 {
                check(&one_shots, &expected);
            }
        }
        check(&one_shots, &expected);
        expected.iter().for_each(|number| assert_eq!(one_shots.get(id(*number)), Some((5, stored(*number)))));
    }

    #[test]
    fn memory_is_counted_while_one_shots_come_and_after_most_of_them_have_gone() {
        let mut one_shots = OneShots::default();
        let tables = |one_shots: &OneShots| {
            (one_shots.ring.capacity() * size_of::<Slot>() + one_shots.places.allocation_size()) as u64
        };
        assert_eq!(one_shots.cost(), 0);
        let most = ONE_SHOTS_MAX as u64;
        for number in 0..most {
            one_shots.insert(id(number), 5, stored(number));
            let cost = one_shots.cost();
            assert!(tables(&one_shots) <= cost && cost <= COST_FIRST + number * COST, "{cost} for {number}");
        }
        assert_eq!(one_shots.cost(), most * COST);
        for number in 0..most - 10 {
            one_shots.remove(id(number));
        }
        assert_eq!(one_shots.cost(), tables(&one_shots));
        assert!(one_shots.ring.capacity() <= 2 * one_shots.ring.len() + 64, "the ring is not");
        assert!(one_shots.cost() > 100 * COST, "the table of places is as large as before");
    }

    #[test]
    fn one_takes_about_forty_bytes_and_comes_back_from_a_checkpoint() {
        let mut one_shots = OneShots::default();
        (0..ONE_SHOTS_MAX as u64).for_each(|number| one_shots.insert(id(number * 97), 5, stored(number)));
        let bytes = one_shots.ring.capacity() * size_of::<Slot>() + one_shots.places.allocation_size();
        let each = (bytes / ONE_SHOTS_MAX) as u64;
        assert!((40..COST).contains(&each), "{each} bytes");
        one_shots.remove(id(97));
        let (mut image, mut again) = (Vec::new(), Vec::new());
        one_shots.encode(&mut image);
        let mut rest = &image[..];
        OneShots::decode(&mut rest).unwrap().encode(&mut again);
        assert!(rest.is_empty() && image == again);
        for cut in (0..image.len()).step_by(101) {
            assert!(OneShots::decode(&mut &image[..cut]).is_none());
        }
        // The same producer twice.
        image.splice(..3, [2]);
        let one = image[1..20].to_vec();
        assert!(OneShots::decode(&mut &[&[2], &one[..], &one[..]].concat()[..]).is_none());
    }
}
