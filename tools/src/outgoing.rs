//! Records on their way to one topic: collected into batches, sent in order, and counted when they are stored.

use std::collections::VecDeque;

use dht_node::client::{Batch, Error, Producer, Published, Record};

/// Bytes of records that make a batch worth sending.
const BATCH_BYTES: usize = 64 << 10;

/// Most records of a batch, so that an acknowledgement is never far.
const BATCH_RECORDS: u32 = 4096;

/// Records on their way to a topic.
#[derive(Debug)]
pub(crate) struct Outgoing<'c> {
    producer: Producer<'c>,
    batch: Batch,
    /// The number of the piece of input that the last record of `batch` came from.
    through: u64,
    /// Batches that are not acknowledged, in their order.
    sent: VecDeque<Sent>,
    stored: Stored,
    /// Records that are stored already and did not come yet.
    missing: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    count: u32,
    through: u64,
}

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It has no form on the wire; those before it have.
    Record(Error),
    /// The cube does not take what was sent.
    Cube(Error),
}

/// What is known to be stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stored {
    /// The first acknowledgement.
    pub(crate) first: Option<Published>,
    /// The offset of the last record.
    pub(crate) last: u64,
    /// Records.
    pub(crate) count: u64,
    /// The number of the piece of input that the last of them came from: all pieces up to it are stored.
    pub(crate) through: u64,
}

impl<'c> Outgoing<'c> {
    pub(crate) const fn new(producer: Producer<'c>) -> Self {
        Self::continuing(producer, 0)
    }

    /// For records the first of which, so many, are stored already: they are passed over.
    pub(crate) const fn continuing(producer: Producer<'c>, missing: u64) -> Self {
        let stored = Stored { first: None, last: 0, count: 0, through: 0 };
        Self { producer, batch: Batch::new(), through: 0, sent: VecDeque::new(), stored, missing }
    }

    /// Records that are stored already and did not come yet.
    pub(crate) const fn missing(&self) -> u64 {
        self.missing
    }

    /// Takes a record, which came from the piece of this number; sends what makes a batch.
    pub(crate) fn push(&mut self, record: &Record<'_>, number: u64) -> Result<(), Halt> {
        if self.missing > 0 {
            self.missing -= 1;
            (self.through, self.stored.through) = (number, number);
            return Ok(());
        }
        match self.batch.push(record) {
            Err(Error::BatchTooLarge { .. }) if !self.batch.is_empty() => {
                self.send().map_err(Halt::Cube)?;
                self.batch.push(record).map_err(Halt::Record)?;
            }
            other => other.map_err(Halt::Record)?,
        }
        self.through = number;
        if self.batch.payload().len() >= BATCH_BYTES || self.batch.count() >= BATCH_RECORDS {
            self.send().map_err(Halt::Cube)?;
        }
        Ok(())
    }

    /// Sends what was taken, full batch or not.
    pub(crate) fn send(&mut self) -> Result<(), Error> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let sequence = self.producer.next_sequence();
        self.sent.push_back(Sent { sequence, count: batch.count(), through: self.through });
        let sent = self.producer.send(batch);
        self.count();
        sent.map(|_| ())
    }

    /// Takes what came, without waiting.
    pub(crate) fn poll(&mut self) -> Result<(), Error> {
        let polled = self.producer.poll();
        self.count();
        polled
    }

    /// Sends what was taken and waits until all of it is stored.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.send()?;
        let flushed = self.producer.flush();
        self.count();
        flushed
    }

    /// After an error of the cube: waits for the answers to what was sent before it, and sends nothing more.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        let settled = self.producer.settle();
        self.count();
        settled
    }

    /// What is stored so far.
    pub(crate) const fn stored(&self) -> Stored {
        self.stored
    }

    fn count(&mut self) {
        for ack in self.producer.acks() {
            let first = self.stored.first.get_or_insert(ack.published);
            if ack.published.base < first.base {
                *first = ack.published;
            }
            let end = ack.published.base.0.saturating_add(u64::from(ack.published.count));
            self.stored.last = self.stored.last.max(end.saturating_sub(1));
            // A topic takes the batches of a producer in their order: those before this one are stored too.
            while let Some(sent) = self.sent.front().filter(|sent| sent.sequence <= ack.sequence) {
                self.stored.count += u64::from(sent.count);
                self.stored.through = sent.through;
                self.sent.pop_front();
            }
        }
    }
}
