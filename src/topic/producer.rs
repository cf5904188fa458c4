//! The state of a topic's producers, by which a batch that is sent twice is recognised as a duplicate and stored once.
//!
//! This is replicated state: it follows from the entries alone. A producer begins as a one-shot and gets an entry in
//! the main table with its second batch, so that single messages, however many, cannot evict producers that publish
//! often.

mod activity;
mod one_shots;
mod opened;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut};

use activity::ActivityOrder;
use one_shots::OneShots;
use opened::OpenedProducers;

use crate::entry::varint;
use crate::limits::{PRODUCER_WINDOW, PRODUCERS_MAX};
use crate::types::{Offset, Opening, ProducerId, Sequenced};

/// The producers of one topic.
#[derive(Debug, Default)]
pub struct Producers {
    /// Producers that have stored more than sequence 0, or were opened.
    by_id: BTreeMap<ProducerId, Producer>,
    activity: ActivityOrder,
    one_shots: OneShots,
    opened: OpenedProducers,
    /// Total number of answers in `by_id` for which memory is allocated.
    answers: usize,
    /// Number of batches stored and producers opened: the log's own time, by which the least recently active producer
    /// is found.
    clock: u64,
}

#[derive(Debug)]
struct Producer {
    epoch: u32,
    /// The next sequence to store.
    expected: u64,
    /// The answers to the latest batches, the newest last.
    answers: VecDeque<Stored>,
    last_stored: u64,
}

/// Memory of a producer without its answers, in bytes: its entry in the map, whose nodes are half full when ids are
/// added in ascending order, its place in the order of activity, and the allocator's overhead for the answers.
const PRODUCER_COST: usize = 9 * size_of::<(ProducerId, Producer)>() / 4 + activity::COST + 16;

/// Memory of an answer, in bytes.
const ANSWER_COST: usize = size_of::<Stored>();

/// The largest number of answers by which the memory for answers grows at a time. Below that, it grows by half.
const ANSWERS_GROWTH_MAX: usize = PRODUCER_WINDOW / 3;

/// The maximum memory that a batch or the opening of a producer adds, in bytes.
pub const PRODUCER_COST_MAX: u64 = 768;

const _: () = {
    let table = (size_of::<Producers>() + 16) as u64;
    let producer = (PRODUCER_COST + 3 * ANSWER_COST) as u64;
    assert!(table + one_shots::COST_FIRST <= PRODUCER_COST_MAX, "the first batch of a topic");
    assert!(producer + one_shots::COST <= PRODUCER_COST_MAX, "a second batch");
    assert!(table + producer + opened::COST <= PRODUCER_COST_MAX, "an opening");
    assert!(((ANSWERS_GROWTH_MAX + 1) * ANSWER_COST) as u64 <= PRODUCER_COST_MAX, "a later batch");
};

/// The answer to a stored batch: where and when it was stored, and how to recognise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Offset of its first record.
    pub base: Offset,
    /// Append time, in microseconds since 1970.
    pub append_us: u64,
    /// Number of records.
    pub count: u32,
    /// CRC-32 of its payload.
    pub payload_crc: u32,
}

/// The decision on a batch, from its epoch and sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The batch has the next sequence and is to be stored.
    Store,
    /// The batch is a duplicate; holds the answer to the original.
    Duplicate(Stored),
    /// The batch is a duplicate, but the answer to the original is no longer remembered.
    Forgotten,
    /// Another batch was stored with this sequence.
    Reused,
    /// The batch skips at least one sequence.
    Gap {
        /// The next sequence to store.
        expected: u64,
    },
    /// A newer epoch of the producer has published.
    Fenced,
    /// The producer is unknown, and the batch does not have sequence 0.
    Unknown,
    /// The producer was opened, but not in this epoch.
    NotOpened,
}

/// The result of opening a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The epoch that the producer's batches must carry.
    pub epoch: u32,
    /// The sequence of the producer's first batch in this epoch. The opening itself uses up the sequences before it.
    pub sequence: u64,
    /// Records stored in all epochs.
    pub records: u64,
    /// Number of opened producers that the topic has forgotten.
    pub forgotten: u64,
}

/// The reason why a producer cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// The producer exists, but was required to be new.
    Exists {
        /// Records that it has stored.
        records: u64,
    },
    /// The producer is unknown, and may be one of those that were forgotten.
    Forgotten {
        /// Number of opened producers that were forgotten.
        forgotten: u64,
    },
    /// The producer has published without being opened, so its records were not counted.
    NotCounted,
    /// The producer has used up all epochs.
    Worn,
}

impl Producers {
    /// Decides what to do with a batch, given its number of records and its payload's checksum.
    pub fn judge(&self, batch: Sequenced, count: u32, payload_crc: u32) -> Verdict {
        if let Some(opened) = self.opened.get(batch.producer) {
            match batch.epoch.cmp(&opened.epoch) {
                Ordering::Less => return Verdict::Fenced,
                Ordering::Greater => return Verdict::NotOpened,
                // The opening has used up sequence 0 of this epoch.
                Ordering::Equal if batch.sequence == 0 => return Verdict::Reused,
                Ordering::Equal => {}
            }
        }
        if let Some(producer) = self.by_id.get(&batch.producer) {
            let Producer { epoch, expected, answers, .. } = producer;
            let answer = |back| answers.len().checked_sub(back).map(|index| answers[index]);
            judge_known((*epoch, *expected), answer, batch, (count, payload_crc))
        } else if let Some((epoch, stored)) = self.one_shots.get(batch.producer) {
            judge_known((epoch, 1), |_| Some(stored), batch, (count, payload_crc))
        } else if batch.sequence == 0 {
            Verdict::Store
        } else {
            Verdict::Unknown
        }
    }

    /// Records a batch that was judged [`Verdict::Store`] and has been stored.
    pub fn note(&mut self, batch: Sequenced, stored: Stored) {
        self.clock += 1;
        let Sequenced { producer: id, epoch, sequence } = batch;
        self.opened.count(id, stored.count, self.clock);
        if !self.by_id.contains_key(&id) {
            let one_shot = self.one_shots.remove(id);
            if sequence == 0 {
                return self.one_shots.insert(id, epoch, stored);
            }
            let (epoch, first) = one_shot.expect("only the next batch is stored");
            self.insert(id, epoch, [first].into());
        }
        let producer = self.by_id.get_mut(&id).expect("every producer that stores a batch has an entry");
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.expected = 0;
            producer.answers.clear();
        }
        assert_eq!(producer.expected, sequence, "only the next batch is stored");
        if producer.answers.len() == PRODUCER_WINDOW {
            producer.answers.pop_front();
        }
        self.answers += producer.make_room();
        producer.answers.push_back(stored);
        producer.expected += 1;
        producer.last_stored = self.clock;
    }

    /// Opens the next epoch of a producer whose records are counted. From then on, batches of earlier epochs are
    /// refused.
    ///
    /// # Errors
    /// Returns [`NotOpened`] without changing anything.
    pub fn open(&mut self, opening: Opening) -> Result<Opened, NotOpened> {
        let Opening { producer: id, token, resume } = opening;
        let forgotten = self.opened.forgotten();
        let sequence = 1;
        match self.opened.get(id) {
            Some(opened::Opened { epoch, records, .. }) if self.opened.is_open(id, token) => {
                return Ok(Opened { epoch: *epoch, sequence, records: *records, forgotten });
            }
            Some(opened) if !resume => return Err(NotOpened::Exists { records: opened.records }),
            Some(_) => {}
            None if self.by_id.contains_key(&id) || self.one_shots.get(id).is_some() => {
                return Err(NotOpened::NotCounted);
            }
            None if resume && forgotten > 0 => return Err(NotOpened::Forgotten { forgotten }),
            None => {}
        }
        let opened::Opened { epoch, records, .. } =
            self.opened.open(id, token, self.clock + 1).ok_or(NotOpened::Worn)?;
        self.clock += 1;
        if let Some(producer) = self.by_id.get_mut(&id) {
            self.answers -= producer.answers.capacity();
            *producer = Producer { epoch, expected: 1, answers: VecDeque::new(), last_stored: self.clock };
        } else {
            self.insert(id, epoch, VecDeque::new());
        }
        Ok(Opened { epoch, sequence, records, forgotten })
    }

    /// Adds a new producer with the answers to its batches, and forgets the least recently active one when there are
    /// too many.
    fn insert(&mut self, id: ProducerId, epoch: u32, answers: VecDeque<Stored>) {
        if self.by_id.len() == PRODUCERS_MAX {
            self.forget_least_active();
        }
        self.answers += answers.capacity();
        self.by_id.insert(id, Producer { epoch, expected: 1, answers, last_stored: self.clock });
        self.activity.add(id, self.clock);
    }

    /// Returns the memory of all producers, in bytes.
    pub fn cost(&self) -> u64 {
        let by_id = self.by_id.len() * PRODUCER_COST + self.answers * ANSWER_COST;
        (size_of::<Self>() + 16 + by_id) as u64 + self.one_shots.cost() + self.opened.cost()
    }

    /// Returns true when any producer has stored only sequence 0.
    pub(super) fn has_one_shots(&self) -> bool {
        !self.one_shots.is_empty()
    }

    /// Appends the encoded producers that have stored only sequence 0 to a checkpoint's image.
    pub(super) fn encode_one_shots(&self, out: &mut Vec<u8>) {
        self.one_shots.encode(out);
    }

    /// Returns true when any producer has been opened, even if it was forgotten since.
    pub(super) fn has_opened(&self) -> bool {
        !self.opened.is_empty()
    }

    /// Appends the encoded opened producers to a checkpoint's image.
    pub(super) fn encode_opened(&self, out: &mut Vec<u8>) {
        self.opened.encode(out);
    }

    /// Decodes the result of [`Self::encode_opened`]; returns `None` when the bytes are malformed.
    pub(super) fn decode_opened(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.opened = OpenedProducers::decode(bytes)?;
        Some(())
    }

    /// Decodes the result of [`Self::encode_one_shots`]; returns `None` when the bytes are malformed.
    pub(super) fn decode_one_shots(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.one_shots = OneShots::decode(bytes)?;
        Some(())
    }

    /// Appends the encoded producers of `by_id` to a checkpoint's image.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.clock);
        varint::put(out, self.by_id.len() as u64);
        for (id, producer) in &self.by_id {
            out.put_u64(id.number());
            out.put_u32(producer.epoch);
            varint::put(out, producer.expected);
            varint::put(out, producer.last_stored);
            varint::put(out, producer.answers.len() as u64);
            for stored in &producer.answers {
                varint::put(out, stored.base.0);
                varint::put(out, stored.append_us);
                varint::put(out, stored.count.into());
                out.put_u32(stored.payload_crc);
            }
        }
    }

    /// Decodes the result of [`Self::encode`]; returns `None` when the bytes are malformed.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut producers = Self { clock: varint::take(bytes)?, ..Self::default() };
        let count = varint::take(bytes)?;
        for _ in 0..Some(count).filter(|count| *count <= PRODUCERS_MAX as u64)? {
            let id = ProducerId::new(bytes.try_get_u64().ok()?)?;
            let epoch = bytes.try_get_u32().ok()?;
            let (expected, last_stored) = (varint::take(bytes)?, varint::take(bytes)?);
            let mut producer = Producer { epoch, expected, answers: VecDeque::new(), last_stored };
            for _ in 0..Some(varint::take(bytes)?).filter(|count| *count <= PRODUCER_WINDOW as u64)? {
                producers.answers += producer.make_room();
                producer.answers.push_back(Stored {
                    base: Offset(varint::take(bytes)?),
                    append_us: varint::take(bytes)?,
                    count: u32::try_from(varint::take(bytes)?).ok()?,
                    payload_crc: bytes.try_get_u32().ok()?,
                });
            }
            producers.activity.add(id, last_stored);
            if producers.by_id.insert(id, producer).is_some() {
                return None;
            }
        }
        Some(producers)
    }

    fn forget_least_active(&mut self) {
        let least_recent =
            self.activity.take_least_recent(|id| self.by_id.get(&id).map(|producer| producer.last_stored));
        if let Some(gone) = least_recent.and_then(|id| self.by_id.remove(&id)) {
            self.answers -= gone.answers.capacity();
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.answers, self.by_id.values().map(|producer| producer.answers.capacity()).sum::<usize>());
        assert!(self.by_id.len() <= PRODUCERS_MAX);
        assert_eq!(self.activity.len(), self.by_id.len(), "each producer has its place in the order");
        self.opened.check();
        assert!(self.by_id.keys().all(|id| self.one_shots.get(*id).is_none()), "a producer is in one table");
    }
}

impl Producer {
    /// Makes room for another answer. Returns the number of answers by which the room grew.
    fn make_room(&mut self) -> usize {
        let before = self.answers.capacity();
        if self.answers.len() == before {
            let more = (before / 2).clamp(2, ANSWERS_GROWTH_MAX).min(PRODUCER_WINDOW - before);
            self.answers.reserve_exact(more);
        }
        self.answers.capacity() - before
    }
}

/// Decides on a batch of a producer whose epoch and next sequence are known. `answer(n)` returns the answer to the
/// batch `n` sequences before the next one.
fn judge_known(
    (epoch, next): (u32, u64),
    answer: impl Fn(usize) -> Option<Stored>,
    batch: Sequenced,
    content: (u32, u32),
) -> Verdict {
    if batch.epoch < epoch {
        return Verdict::Fenced;
    }
    let expected = if batch.epoch > epoch { 0 } else { next };
    if batch.sequence >= expected {
        return if batch.sequence == expected { Verdict::Store } else { Verdict::Gap { expected } };
    }
    match answer(usize::try_from(expected - batch.sequence).unwrap_or(usize::MAX)) {
        None => Verdict::Forgotten,
        Some(stored) if (stored.count, stored.payload_crc) == content => Verdict::Duplicate(stored),
        Some(_) => Verdict::Reused,
    }
}
