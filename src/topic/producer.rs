//! What a topic remembers of its producers, so that a batch sent twice is stored once.
//!
//! This is part of the log: it follows from the entries alone. A producer begins as a one-shot, and has an entry of its
//! own from its second batch on: however many single messages there are, those that publish much are remembered.

mod one_shots;
mod opened;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut};

use one_shots::OneShots;
use opened::OpenedProducers;

use crate::limits::{PRODUCER_WINDOW, PRODUCERS_MAX};
use crate::record::varint;
use crate::types::{Offset, Opening, ProducerId, Sequenced};

/// The producers of one topic.
#[derive(Debug, Default)]
pub struct Producers {
    /// Those that have stored more than sequence 0.
    by_id: BTreeMap<ProducerId, Producer>,
    one_shots: OneShots,
    opened: OpenedProducers,
    /// Answers of `by_id`.
    answers: usize,
    /// Counts stored batches: the log's own time, by which the one that was silent longest is found.
    clock: u64,
}

#[derive(Debug)]
struct Producer {
    epoch: u32,
    /// The sequence that comes next.
    expected: u64,
    /// The answers to the last batches, the newest last.
    answers: VecDeque<Stored>,
    last_stored: u64,
}

/// Bytes of memory that a producer takes beside its answers: its entry, and its part of the map's nodes.
const PRODUCER_COST: usize = 128;

/// Bytes of memory that an answer takes, in a queue that has room for some more.
const ANSWER_COST: usize = 32;

/// Bytes of memory that a batch or an opening adds at most.
pub const PRODUCER_COST_MAX: u64 = 640;

const _: () = {
    let table = size_of::<Producers>() as u64 + (PRODUCER_COST + 2 * ANSWER_COST) as u64;
    assert!(table + one_shots::COST + opened::COST <= PRODUCER_COST_MAX);
};

/// Where and when a batch was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Of its first record.
    pub base: Offset,
    /// In microseconds since 1970.
    pub append_us: u64,
    /// Its records.
    pub count: u32,
    /// Of its payload.
    pub payload_crc: u32,
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one.
    Store,
    /// It was stored; this was the answer.
    Duplicate(Stored),
    /// It was stored; the answer is not remembered any more.
    Forgotten,
    /// Another batch had that sequence.
    Reused,
    /// A sequence was left out.
    Gap {
        /// The one that would be taken.
        expected: u64,
    },
    /// A newer epoch has published.
    Fenced,
    /// Nothing is known of this producer, and it does not start.
    Unknown,
    /// The producer was opened, but not in this epoch.
    NotOpened,
}

/// What opening a producer has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The epoch that its batches must name.
    pub epoch: u32,
    /// The sequence of the next batch in it; opening has taken those before.
    pub sequence: u64,
    /// Records that it has stored in all epochs.
    pub records: u64,
    /// Opened producers that the topic has forgotten.
    pub forgotten: u64,
}

/// Why a producer cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// It is there, and was to be new.
    Exists {
        /// Records that it has stored.
        records: u64,
    },
    /// It is not there, and may be one of those that were forgotten.
    Forgotten {
        /// How many those are.
        forgotten: u64,
    },
    /// It has published without being opened, so that its records were not counted.
    NotCounted,
    /// It has had as many epochs as there are.
    Worn,
}

impl Producers {
    /// Judges a batch of that many records and that checksum.
    pub fn judge(&self, batch: Sequenced, count: u32, payload_crc: u32) -> Verdict {
        if let Some(opened) = self.opened.get(batch.producer) {
            match batch.epoch.cmp(&opened.epoch) {
                Ordering::Less => return Verdict::Fenced,
                Ordering::Greater => return Verdict::NotOpened,
                // Opening was the first of the epoch.
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

    /// Notes a batch that was judged [`Verdict::Store`] and stored.
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
        let producer = self.by_id.get_mut(&id).expect("it is there by now");
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.expected = 0;
            self.answers -= producer.answers.len();
            producer.answers.clear();
        }
        assert_eq!(producer.expected, sequence, "only the next batch is stored");
        if producer.answers.len() == PRODUCER_WINDOW {
            producer.answers.pop_front();
        } else {
            self.answers += 1;
        }
        producer.answers.push_back(stored);
        producer.expected += 1;
        producer.last_stored = self.clock;
    }

    /// Opens an epoch of a producer whose records are counted; batches of earlier ones are refused from then on.
    ///
    /// # Errors
    /// [`NotOpened`]: nothing has changed.
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
        if let Some(before) = self.by_id.remove(&id) {
            self.answers -= before.answers.len();
        }
        self.insert(id, epoch, VecDeque::new());
        Ok(Opened { epoch, sequence, records, forgotten })
    }

    /// Adds a producer that has stored these batches from sequence 0 on, or was opened.
    fn insert(&mut self, id: ProducerId, epoch: u32, answers: VecDeque<Stored>) {
        if self.by_id.len() == PRODUCERS_MAX {
            self.forget_silent();
        }
        self.answers += answers.len();
        self.by_id.insert(id, Producer { epoch, expected: 1, answers, last_stored: self.clock });
    }

    /// Bytes of memory that they take.
    pub fn cost(&self) -> u64 {
        let by_id = self.by_id.len() * PRODUCER_COST + self.answers * ANSWER_COST;
        (size_of::<Self>() + by_id) as u64 + self.one_shots.cost() + self.opened.cost()
    }

    /// Are there any that have stored only sequence 0?
    pub(super) fn has_one_shots(&self) -> bool {
        !self.one_shots.is_empty()
    }

    /// Appends those that have stored only sequence 0 to `out`, for a checkpoint.
    pub(super) fn encode_one_shots(&self, out: &mut Vec<u8>) {
        self.one_shots.encode(out);
    }

    /// Are there any that were opened, or were there?
    pub(super) fn has_opened(&self) -> bool {
        !self.opened.is_empty()
    }

    /// Appends what is counted of those that were opened to `out`, for a checkpoint.
    pub(super) fn encode_opened(&self, out: &mut Vec<u8>) {
        self.opened.encode(out);
    }

    /// Takes what [`Self::encode_opened`] has written; `None` when it is something else.
    pub(super) fn decode_opened(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.opened = OpenedProducers::decode(bytes)?;
        Some(())
    }

    /// Takes what [`Self::encode_one_shots`] has written; `None` when it is something else.
    pub(super) fn decode_one_shots(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.one_shots = OneShots::decode(bytes)?;
        Some(())
    }

    /// Appends those that go on to `out`, for a checkpoint.
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

    /// Takes what [`Self::encode`] has written; `None` when it is something else.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut producers = Self { clock: varint::take(bytes)?, ..Self::default() };
        let count = varint::take(bytes)?;
        for _ in 0..Some(count).filter(|count| *count <= PRODUCERS_MAX as u64)? {
            let id = ProducerId::new(bytes.try_get_u64().ok()?)?;
            let epoch = bytes.try_get_u32().ok()?;
            let (expected, last_stored) = (varint::take(bytes)?, varint::take(bytes)?);
            let mut producer = Producer { epoch, expected, answers: VecDeque::new(), last_stored };
            for _ in 0..Some(varint::take(bytes)?).filter(|count| *count <= PRODUCER_WINDOW as u64)? {
                producer.answers.push_back(Stored {
                    base: Offset(varint::take(bytes)?),
                    append_us: varint::take(bytes)?,
                    count: u32::try_from(varint::take(bytes)?).ok()?,
                    payload_crc: bytes.try_get_u32().ok()?,
                });
            }
            producers.answers += producer.answers.len();
            if producers.by_id.insert(id, producer).is_some() {
                return None;
            }
        }
        Some(producers)
    }

    fn forget_silent(&mut self) {
        let silent = self.by_id.iter().min_by_key(|(_, producer)| producer.last_stored).map(|(id, _)| *id);
        if let Some(gone) = silent.and_then(|id| self.by_id.remove(&id)) {
            self.answers -= gone.answers.len();
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.answers, self.by_id.values().map(|producer| producer.answers.len()).sum::<usize>());
        assert!(self.by_id.len() <= PRODUCERS_MAX);
        assert!(self.by_id.keys().all(|id| self.one_shots.get(*id).is_none()), "a producer is in one table");
    }
}

/// Judges a batch of a producer whose epoch and next sequence are known. `answer` gives that of the batch so many
/// sequences back.
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
