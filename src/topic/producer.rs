//! What a topic remembers of its producers, so that a batch sent twice is stored once.
//!
//! This is part of the log: it follows from the entries alone. A producer begins as a one-shot, and has an entry of its
//! own from its second batch on: however many single messages there are, those that publish much are remembered.

mod one_shots;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut};

use one_shots::OneShots;

use crate::limits::{PRODUCER_WINDOW, PRODUCERS_MAX};
use crate::record::varint;
use crate::types::{Offset, ProducerId, Sequenced};

/// The producers of one topic.
#[derive(Debug, Default)]
pub struct Producers {
    /// Those that have stored more than sequence 0.
    by_id: BTreeMap<ProducerId, Producer>,
    one_shots: OneShots,
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
}

impl Producers {
    /// Judges a batch of that many records and that checksum.
    pub fn judge(&self, batch: Sequenced, count: u32, payload_crc: u32) -> Verdict {
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
        if !self.by_id.contains_key(&id) {
            let one_shot = self.one_shots.remove(id);
            if sequence == 0 {
                return self.one_shots.insert(id, epoch, stored);
            }
            let (epoch, first) = one_shot.expect("only the next batch is stored");
            if self.by_id.len() == PRODUCERS_MAX {
                self.forget_silent();
            }
            self.answers += 1;
            self.by_id.insert(id, Producer { epoch, expected: 1, answers: [first].into(), last_stored: 0 });
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

    /// Bytes of memory that they take.
    pub fn cost(&self) -> u64 {
        let by_id = self.by_id.len() * PRODUCER_COST + self.answers * ANSWER_COST;
        (size_of::<Self>() + by_id) as u64 + self.one_shots.cost()
    }

    /// Are there any that have stored only sequence 0?
    pub(super) fn has_one_shots(&self) -> bool {
        !self.one_shots.is_empty()
    }

    /// Appends those that have stored only sequence 0 to `out`, for a checkpoint.
    pub(super) fn encode_one_shots(&self, out: &mut Vec<u8>) {
        self.one_shots.encode(out);
    }

    /// Takes what [`Self::encode_one_shots`] has written; `None` when it is something else.
    pub(super) fn decode_one_shots(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.one_shots = OneShots::decode(bytes)?;
        Some(())
    }

    /// Appends the others to `out`, for a checkpoint.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(producer: u64, epoch: u32, sequence: u64) -> Sequenced {
        Sequenced { producer: ProducerId::new(producer).unwrap(), epoch, sequence }
    }

    fn stored(sequence: u64) -> Stored {
        Stored { base: Offset(10 * sequence), append_us: 0, count: 1, payload_crc: u32::try_from(sequence).unwrap() }
    }

    fn after(batches: u64) -> Producers {
        let mut producers = Producers::default();
        (0..batches).for_each(|sequence| producers.note(batch(1, 5, sequence), stored(sequence)));
        producers
    }

    #[test]
    fn a_batch_is_judged_by_its_sequence() {
        let cases: [(u64, Sequenced, u32, Verdict); 20] = [
            (0, batch(1, 5, 0), 0, Verdict::Store),
            (0, batch(1, 5, 1), 1, Verdict::Unknown),
            (3, batch(1, 5, 3), 3, Verdict::Store),
            (3, batch(1, 5, 4), 4, Verdict::Gap { expected: 3 }),
            (3, batch(1, 5, 2), 2, Verdict::Duplicate(stored(2))),
            (3, batch(1, 5, 0), 0, Verdict::Duplicate(stored(0))),
            (3, batch(1, 5, 2), 9, Verdict::Reused),
            (3, batch(1, 4, 3), 3, Verdict::Fenced),
            (3, batch(1, 6, 0), 0, Verdict::Store),
            (3, batch(1, 6, 3), 3, Verdict::Gap { expected: 0 }),
            (1, batch(1, 5, 0), 0, Verdict::Duplicate(stored(0))),
            (1, batch(1, 5, 0), 9, Verdict::Reused),
            (1, batch(1, 5, 1), 1, Verdict::Store),
            (1, batch(1, 5, 2), 1, Verdict::Gap { expected: 1 }),
            (1, batch(1, 4, 1), 1, Verdict::Fenced),
            (1, batch(1, 6, 0), 0, Verdict::Store),
            (1, batch(1, 6, 1), 0, Verdict::Gap { expected: 0 }),
            (2, batch(1, 5, 0), 0, Verdict::Duplicate(stored(0))),
            (65, batch(1, 5, 1), 1, Verdict::Duplicate(stored(1))),
            (65, batch(1, 5, 0), 0, Verdict::Forgotten),
        ];
        for (before, batch, crc, expected) in cases {
            assert_eq!(after(before).judge(batch, 1, crc), expected, "{before} stored, then {batch:?}");
        }
    }

    #[test]
    fn a_new_epoch_starts_anew_and_fences_the_old_one() {
        for batches in [1, 3] {
            let mut producers = after(batches);
            producers.note(batch(1, 6, 0), stored(0));
            producers.check();
            assert_eq!(producers.judge(batch(1, 6, 1), 1, 1), Verdict::Store);
            assert_eq!(producers.judge(batch(1, 5, batches), 1, 3), Verdict::Fenced);
            producers.note(batch(1, 6, 1), stored(1));
            producers.check();
            assert_eq!(producers.judge(batch(1, 6, 0), 1, 0), Verdict::Duplicate(stored(0)));
        }
    }

    #[test]
    fn the_producer_that_was_silent_longest_goes() {
        let mut producers = Producers::default();
        let begin = |producers: &mut Producers, id| {
            (0..2).for_each(|sequence| producers.note(batch(id, 0, sequence), stored(sequence)));
            producers.check();
        };
        (1..=PRODUCERS_MAX as u64).for_each(|id| begin(&mut producers, id));
        producers.note(batch(1, 0, 2), stored(2));
        begin(&mut producers, 5000);
        assert_eq!(producers.judge(batch(1, 0, 3), 1, 3), Verdict::Store);
        assert_eq!(producers.judge(batch(2, 0, 2), 1, 2), Verdict::Unknown);
        assert_eq!(producers.by_id.len(), PRODUCERS_MAX);
    }

    #[test]
    fn what_producers_take_of_memory_is_counted() {
        let mut producers = Producers::default();
        let empty = producers.cost();
        for id in 1..=PRODUCERS_MAX as u64 {
            (0..PRODUCER_WINDOW as u64).for_each(|sequence| producers.note(batch(id, 0, sequence), stored(sequence)));
        }
        let answers = PRODUCERS_MAX * PRODUCER_WINDOW * size_of::<Stored>();
        let cost = producers.cost() - empty;
        assert!((answers as u64..2 * answers as u64).contains(&cost), "{cost} bytes, {answers} of answers");
    }
}
