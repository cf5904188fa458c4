//! Batches of records, and publishing one.

use super::error::Error;
use super::session::{Client, Repeat};
use crate::limits::PAYLOAD_MAX;
use crate::types::TopicName;
use crate::wire::records::{Record, RecordError};
use crate::wire::request::{Publish, Topic};
use crate::wire::response::Published;
use crate::wire::{Opcode, Request, Response};

/// Records that are published together: all or none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    payload: Vec<u8>,
    count: u32,
}

impl Batch {
    /// Most bytes of records in one batch.
    pub const BYTES_MAX: usize = PAYLOAD_MAX as usize;

    /// No records yet.
    pub const fn new() -> Self {
        Self { payload: Vec::new(), count: 0 }
    }

    /// One record with nothing but a value.
    pub fn of(value: &[u8]) -> Self {
        let mut batch = Self::new();
        // Only a value of 4 GiB has no form; the batch stays empty then, which publishing refuses.
        let _ = batch.push(&Record { value, ..Record::default() });
        batch
    }

    /// Adds a record. What makes the batch larger than [`Self::BYTES_MAX`] is not added.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::BatchTooLarge`].
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let before = self.payload.len();
        record.encode(&mut self.payload)?;
        let bytes = self.payload.len();
        if bytes > Self::BYTES_MAX {
            self.payload.truncate(before);
            return Err(Error::BatchTooLarge { bytes, bytes_max: Self::BYTES_MAX });
        }
        self.count += 1;
        Ok(())
    }

    /// How many records it has.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Has it no records?
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records as they are sent.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl Client {
    /// Publishes a batch. It is sent again only when the node said that it was not done.
    ///
    /// # Errors
    /// When [`Error::may_be_done`] holds, the records may have been stored all the same: a [`Producer`] is safe from
    /// that.
    ///
    /// [`Producer`]: super::Producer
    pub fn publish(&mut self, topic: &str, batch: &Batch) -> Result<Published, Error> {
        if batch.is_empty() {
            return Err(RecordError::Empty.into());
        }
        let topic = Topic { name: TopicName::new(topic)?, id: None };
        let request = Request::Publish(Publish { topic, producer: None, count: batch.count });
        let Response::Published(published) = self.call(&request, &batch.payload, Repeat::NotDone)? else {
            return Err(self.mismatch(Opcode::Publish));
        };
        Ok(published)
    }
}
