//! Batches of records, and publishing a single one.

use std::time::Duration;

use dht_protocol::limits::PAYLOAD_MAX;
use dht_protocol::types::{ProducerId, Sequenced, TopicId, TopicName};
use dht_protocol::wire::records::{Record, RecordError};
use dht_protocol::wire::request::{Publish, Topic};
use dht_protocol::wire::response::Published;
use dht_protocol::wire::{Opcode, Request, Response};

use crate::caller::{Caller, at_once};
use crate::client::Client;
use crate::error::Error;
use crate::session::call::{Outcome, Repeat};
use crate::session::request::OwnedRequest;

/// Records that are published together: all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    payload: Vec<u8>,
    count: u32,
}

impl Batch {
    /// Maximum size of the records of a batch, in bytes.
    pub const BYTES_MAX: usize = PAYLOAD_MAX as usize;

    /// Returns an empty batch.
    pub const fn new() -> Self {
        Self { payload: Vec::new(), count: 0 }
    }

    /// Returns a batch of one record that has only a value.
    pub fn of(value: &[u8]) -> Self {
        let mut batch = Self::new();
        // Only a value of 4 GiB cannot be encoded. The batch then stays empty, and publishing it fails.
        let _ = batch.push(&Record { value, ..Record::default() });
        batch
    }

    /// Adds a record. A record that would make the batch larger than [`Self::BYTES_MAX`] is not added.
    ///
    /// # Errors
    /// Returns [`Error::Record`] or [`Error::BatchTooLarge`].
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

    /// Adds the records of another batch. The caller makes sure that they fit.
    pub(crate) fn append(&mut self, records: &Self) {
        self.payload.extend_from_slice(&records.payload);
        assert!(self.payload.len() <= Self::BYTES_MAX, "a batch fits one frame");
        self.count += records.count;
    }

    /// Returns the number of records.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Returns true if there are no records.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the encoded records.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl Client {
    /// Publishes a batch. It is retried only if the node said that it was not stored.
    ///
    /// # Errors
    /// If [`Error::may_be_done`] is true, the records may have been stored all the same. [`Self::publish_as`] or a
    /// [`Producer`] avoids this uncertainty.
    ///
    /// [`Producer`]: super::Producer
    pub fn publish(&mut self, topic: &str, batch: &Batch) -> Result<Published, Error> {
        at_once(publish(self, (topic, None), None, batch))
    }

    /// Publishes the only batch of a producer, so that it can be retried at any time without a duplicate being stored.
    /// If the batch is stored already, the response has its offset, and [`Published::duplicate`] is true. Take a new
    /// random id for each batch, and the same one to publish the batch again after an error.
    ///
    /// A topic remembers the newest 16 384 such producers.
    ///
    /// # Errors
    /// If [`Error::may_be_done`] is true, the records may have been stored all the same.
    pub fn publish_as(&mut self, topic: &str, producer: ProducerId, batch: &Batch) -> Result<Published, Error> {
        at_once(publish(self, (topic, None), Some(only_batch(producer)), batch))
    }

    /// Publishes a batch of a producer whose sequences the caller keeps, so that it can be retried at any time without
    /// a duplicate being stored. The batch before it must have been acknowledged. With `id` the topic must have that
    /// id.
    ///
    /// # Errors
    /// Returns [`Status::Recreated`] if the topic has another id; nothing is stored then. If [`Error::may_be_done`] is
    /// true, the records may have been stored all the same, and the sequence must not be used for another batch.
    ///
    /// [`Status::Recreated`]: dht_protocol::wire::Status::Recreated
    pub fn publish_sequenced(
        &mut self,
        topic: &str,
        id: Option<TopicId>,
        sequenced: Sequenced,
        batch: &Batch,
    ) -> Result<Published, Error> {
        at_once(publish(self, (topic, id), Some(sequenced), batch))
    }
}

/// Returns the place of the only batch of a producer.
pub(crate) const fn only_batch(producer: ProducerId) -> Sequenced {
    Sequenced { producer, epoch: 0, sequence: 0 }
}

pub(crate) async fn publish(
    client: &mut impl Caller,
    (topic, id): (&str, Option<TopicId>),
    producer: Option<Sequenced>,
    batch: &Batch,
) -> Result<Published, Error> {
    if batch.is_empty() {
        return Err(RecordError::Empty.into());
    }
    let topic = Topic { name: TopicName::new(topic)?, id };
    let repeat = if producer.is_some() { Repeat::Always } else { Repeat::NotDone };
    let request = Request::Publish(Publish { topic, producer, count: batch.count });
    let request = OwnedRequest::new(&request, &batch.payload)?;
    let Outcome { result, may_be_done } = client.call(request, repeat, Duration::ZERO).await;
    match result {
        Ok(Response::Published(published)) => Ok(published),
        Ok(_) => Err(client.mismatch(Opcode::Publish)),
        Err(error) if may_be_done => Err(error.in_doubt()),
        Err(error) => Err(error),
    }
}
