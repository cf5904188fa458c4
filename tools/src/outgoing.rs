//! Publishes records to one topic: collects them into batches, sends these in order, and counts the stored records.

use std::collections::VecDeque;

use dht_client::{Batch, Error, Producer, Published, Record};

/// Size of a batch in bytes at which it is sent.
const BATCH_BYTES: usize = 64 << 10;

/// Maximum number of records of a batch, so that acknowledgements arrive frequently.
const BATCH_RECORDS: u32 = 4096;

/// The records that are being published to a topic.
#[derive(Debug)]
pub(crate) struct Outgoing<'c> {
    producer: Producer<'c>,
    batch: Batch,
    /// The number of the piece of input with the last record of `batch`.
    through: u64,
    /// The unacknowledged batches, in order.
    sent: VecDeque<Sent>,
    stored: Stored,
    /// Number of records that are stored already and must still be skipped in the input.
    missing: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    count: u32,
    through: u64,
}

/// Why a record was not accepted.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The record cannot be encoded. It concerns no other record.
    Record(Error),
    /// A batch was refused, or its outcome is unknown.
    Cube(Error),
}

/// What is known to be stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stored {
    /// The acknowledgement with the lowest offset.
    pub(crate) first: Option<Published>,
    /// The offset of the last record.
    pub(crate) last: u64,
    /// Number of records.
    pub(crate) count: u64,
    /// The number of the piece with the last stored record: all pieces up to it are stored.
    pub(crate) through: u64,
}

impl<'c> Outgoing<'c> {
    pub(crate) const fn new(producer: Producer<'c>) -> Self {
        Self::continuing(producer, 0)
    }

    /// Continues an input: its first `missing` records are stored already, and are skipped.
    pub(crate) const fn continuing(producer: Producer<'c>, missing: u64) -> Self {
        let stored = Stored { first: None, last: 0, count: 0, through: 0 };
        Self { producer, batch: Batch::new(), through: 0, sent: VecDeque::new(), stored, missing }
    }

    /// Returns how many of the records that are stored already have not occurred in the input yet.
    pub(crate) const fn missing(&self) -> u64 {
        self.missing
    }

    /// Adds a record from the piece `number`, and sends the batch if it is full.
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

    /// Sends the collected records even if the batch is not full.
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

    /// Handles the responses that have arrived, without waiting.
    pub(crate) fn poll(&mut self) -> Result<(), Error> {
        let polled = self.producer.poll();
        self.count();
        polled
    }

    /// Sends the collected records and waits until all are stored.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.send()?;
        let flushed = self.producer.flush();
        self.count();
        flushed
    }

    /// After an error of the cube, waits for the responses to earlier batches, and sends nothing more.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        let settled = self.producer.settle();
        self.count();
        settled
    }

    /// Returns what is stored so far.
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
            // A topic stores the batches of a producer in order, so those before this one are stored too.
            while let Some(sent) = self.sent.front().filter(|sent| sent.sequence <= ack.sequence) {
                self.stored.count += u64::from(sent.count);
                self.stored.through = sent.through;
                self.sent.pop_front();
            }
        }
    }
}
