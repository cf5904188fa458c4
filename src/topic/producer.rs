//! What a topic remembers of its producers, so that a batch sent twice is stored once.
//!
//! This is part of the log: it follows from the entries alone.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut};

use crate::limits::{PRODUCER_WINDOW, PRODUCERS_MAX};
use crate::record::varint;
use crate::types::{Offset, ProducerId, Sequenced};

/// The producers of one topic.
#[derive(Debug, Default)]
pub struct Producers {
    by_id: BTreeMap<ProducerId, Producer>,
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
        let Some(producer) = self.by_id.get(&batch.producer) else {
            return if batch.sequence == 0 { Verdict::Store } else { Verdict::Unknown };
        };
        if batch.epoch < producer.epoch {
            return Verdict::Fenced;
        }
        let expected = if batch.epoch > producer.epoch { 0 } else { producer.expected };
        if batch.sequence >= expected {
            let is_next = batch.sequence == expected;
            return if is_next { Verdict::Store } else { Verdict::Gap { expected } };
        }
        let back = usize::try_from(expected - batch.sequence).unwrap_or(usize::MAX);
        match producer.answers.len().checked_sub(back).map(|index| producer.answers[index]) {
            None => Verdict::Forgotten,
            Some(stored) if (stored.count, stored.payload_crc) == (count, payload_crc) => Verdict::Duplicate(stored),
            Some(_) => Verdict::Reused,
        }
    }

    /// Notes a batch that was judged [`Verdict::Store`] and stored.
    pub fn note(&mut self, batch: Sequenced, stored: Stored) {
        self.clock += 1;
        if self.by_id.len() == PRODUCERS_MAX && !self.by_id.contains_key(&batch.producer) {
            self.forget_silent();
        }
        let producer = self.by_id.entry(batch.producer).or_insert_with(|| Producer {
            epoch: batch.epoch,
            expected: 0,
            answers: VecDeque::new(),
            last_stored: 0,
        });
        if producer.epoch != batch.epoch {
            producer.epoch = batch.epoch;
            producer.expected = 0;
            producer.answers.clear();
        }
        assert_eq!(producer.expected, batch.sequence, "only the next batch is stored");
        if producer.answers.len() == PRODUCER_WINDOW {
            producer.answers.pop_front();
        }
        producer.answers.push_back(stored);
        producer.expected += 1;
        producer.last_stored = self.clock;
    }

    /// Appends all of it to `out`, for a checkpoint.
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
        let mut producers = Self { by_id: BTreeMap::new(), clock: varint::take(bytes)? };
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
            producers.by_id.insert(id, producer);
        }
        Some(producers)
    }

    fn forget_silent(&mut self) {
        let silent = self.by_id.iter().min_by_key(|(_, producer)| producer.last_stored).map(|(id, _)| *id);
        if let Some(id) = silent {
            self.by_id.remove(&id);
        }
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
        let cases: [(u64, Sequenced, u32, Verdict); 12] = [
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
            (65, batch(1, 5, 1), 1, Verdict::Duplicate(stored(1))),
            (65, batch(1, 5, 0), 0, Verdict::Forgotten),
        ];
        for (before, batch, crc, expected) in cases {
            assert_eq!(after(before).judge(batch, 1, crc), expected, "{before} stored, then {batch:?}");
        }
    }

    #[test]
    fn a_new_epoch_starts_anew_and_fences_the_old_one() {
        let mut producers = after(3);
        producers.note(batch(1, 6, 0), stored(0));
        assert_eq!(producers.judge(batch(1, 6, 1), 1, 1), Verdict::Store);
        assert_eq!(producers.judge(batch(1, 5, 3), 1, 3), Verdict::Fenced);
    }

    #[test]
    fn the_producer_that_was_silent_longest_goes() {
        let mut producers = Producers::default();
        (1..=PRODUCERS_MAX as u64).for_each(|id| producers.note(batch(id, 0, 0), stored(0)));
        producers.note(batch(1, 0, 1), stored(1));
        producers.note(batch(5000, 0, 0), stored(0));
        assert_eq!(producers.judge(batch(1, 0, 2), 1, 2), Verdict::Store);
        assert_eq!(producers.judge(batch(2, 0, 1), 1, 1), Verdict::Unknown);
        assert_eq!(producers.by_id.len(), PRODUCERS_MAX);
    }
}
