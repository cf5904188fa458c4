//! Publishing many batches to one topic with pipelining: in order, each exactly once.

use std::fmt;
use std::time::{Duration, Instant};

use dht_protocol::types::{ProducerId, TopicName};
use dht_protocol::wire::records::{Record, RecordError};
use dht_protocol::wire::request::{Opening, Topic};
use dht_protocol::wire::response::{OpenedProducer, Response};
use dht_protocol::wire::{Opcode, Request};

use crate::caller::{Caller, ask, at_once};
use crate::client::Client;
use crate::clock::{now, random};
use crate::error::Error;
use crate::publish::Batch;
use crate::session::batcher::{Batcher, Batching};
use crate::session::call::Repeat;
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::driving::Watching;
use crate::session::publisher::{Ack, Publisher};

/// [`Producer::send_record`] looks for acknowledgements at least this often; each look costs some system calls.
const LOOK: Duration = Duration::from_micros(200);

/// Publishes batches with sequence numbers, so that a batch whose outcome is unknown can be sent again without a
/// duplicate being stored: after a lost connection, through another node, or when batches overtook one another.
///
/// After an error, the unacknowledged batches stay queued, and [`Self::flush`] retries them. If a producer is dropped,
/// its unacknowledged batches may or may not be stored.
pub struct Producer<'c> {
    client: &'c mut Client,
    batcher: Batcher,
    /// When the connection was last serviced by [`Self::send_record`].
    looked: Instant,
}

impl Client {
    /// Returns a producer that publishes to a topic with sequence numbers.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn producer(&mut self, topic: &str) -> Result<Producer<'_>, Error> {
        TopicName::new(topic)?;
        let id = ProducerId::new(random()).unwrap_or(ProducerId::new(1).expect("1 is not 0"));
        Ok(Producer::new(self, Publisher::new(topic, id, random(), now())))
    }

    /// Opens a producer by name. The topic counts its records, so that another program can continue an interrupted
    /// input: it learns how many records are stored. Any other program that publishes under the name is refused from
    /// then on. Without `resume` the name must be new to the topic; with `resume` it may be.
    ///
    /// A topic may evict the least recently active names. If [`OpenedProducer::forgotten`] is not 0, a name that seems
    /// new may be one of these, and its records would be stored a second time.
    ///
    /// # Errors
    /// Returns [`Status::ProducerExists`] if the name had to be new and is not, [`Status::UnknownProducer`] if it had
    /// to be resumed and may have been evicted, [`Status::UnknownTopic`], or [`Error::Name`].
    ///
    /// [`Status::ProducerExists`]: dht_protocol::wire::Status::ProducerExists
    /// [`Status::UnknownProducer`]: dht_protocol::wire::Status::UnknownProducer
    /// [`Status::UnknownTopic`]: dht_protocol::wire::Status::UnknownTopic
    pub fn named_producer(
        &mut self,
        topic: &str,
        name: &str,
        resume: bool,
    ) -> Result<(Producer<'_>, OpenedProducer), Error> {
        let (publisher, opened) = at_once(open(self, topic, name, resume))?;
        Ok((Producer::new(self, publisher), opened))
    }
}

/// Opens a producer by name.
pub(crate) async fn open(
    client: &mut impl Caller,
    topic: &str,
    name: &str,
    resume: bool,
) -> Result<(Publisher, OpenedProducer), Error> {
    let opening = Opening { producer: ProducerId::of_name(name), token: random(), resume };
    let request = Request::Producer { topic: Topic { name: TopicName::new(topic)?, id: None }, opening };
    // A duplicate of the request has the same token, and does not open another epoch.
    let Response::Opened(opened) = ask(client, &request, Repeat::Always).await? else {
        return Err(client.mismatch(Opcode::Producer));
    };
    Ok((Publisher::new(topic, opening.producer, random(), now()).opened(&opened), opened))
}

impl<'c> Producer<'c> {
    fn new(client: &'c mut Client, publisher: Publisher) -> Self {
        Self { client, batcher: Batcher::new(publisher, Batching::default(), now()), looked: now() }
    }

    /// Sets how long a record of [`Self::send_record`] may wait for others to leave with, if nothing else is
    /// unacknowledged. The default is 0: only what arrives while a batch is in flight waits, for the next one.
    #[must_use]
    pub const fn linger(mut self, linger: Duration) -> Self {
        self.batcher.batching.linger = linger;
        self
    }

    /// Sets the maximum size in bytes of a batch that [`Self::send_record`] collects: 256 KiB by default, at most
    /// [`Batch::BYTES_MAX`]. A single record may be larger.
    #[must_use]
    pub const fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batcher.batching.bytes_max = bytes;
        self
    }
}

impl Producer<'_> {
    /// Adds a record to the batch that is being collected. The batch leaves when it is full, or when no other one is
    /// unacknowledged; with the next call of any method that sends, or with [`Self::flush`]. Returns the sequence
    /// number of the batch, and the position of the record in it: its offset is that of the batch plus this position.
    ///
    /// # Errors
    /// A record that is too large is not added. After any other error it is.
    pub fn send_record(&mut self, record: &Record<'_>) -> Result<(u64, u32), Error> {
        let mut records = Batch::new();
        records.push(record)?;
        if !self.batcher.has_room_for(records.payload().len()) {
            self.drive(|publisher| publisher.has_room() && !publisher.has_unsent())?;
        }
        let now = now();
        let place = self.batcher.add(&records, now);
        let is_time = self.batcher.due().has_passed(now) || now.duration_since(self.looked) >= LOOK;
        if is_time || self.batcher.publisher.has_unsent() {
            self.poll()?;
        }
        Ok(place)
    }

    /// Sends a batch and returns its sequence number. Waits only while too many batches are unacknowledged.
    ///
    /// # Errors
    /// A batch that is empty or too large is not queued. After any other error it is queued.
    pub fn send(&mut self, batch: Batch) -> Result<u64, Error> {
        if batch.is_empty() {
            return Err(RecordError::Empty.into());
        }
        self.batcher.seal();
        let sequence = self.batcher.publisher.push(batch);
        self.drive(|publisher| publisher.has_room() && !publisher.has_unsent())?;
        Ok(sequence)
    }

    /// Waits until all batches are acknowledged, and retries those that failed.
    ///
    /// # Errors
    /// Returns the first error that a retry cannot cure, or the last error if the time is over. It has the status
    /// OUTCOME_UNKNOWN if an earlier attempt at the batch got no answer.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.batcher.seal();
        self.drive(|publisher| publisher.unacknowledged() == 0)
    }

    /// Handles what has arrived and answers the node's PINGs; waits only to send again what a lost connection or a
    /// refusal has left unsent. A program that has nothing to send for longer than about ten seconds must call this
    /// repeatedly.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn poll(&mut self) -> Result<(), Error> {
        self.looked = now();
        self.drive(|publisher| !publisher.has_unsent())
    }

    /// Waits for the responses to batches that have been sent, and sends none. After the error of one batch, those
    /// before it may be stored and not be acknowledged yet. A batch that is unacknowledged afterwards was refused, or
    /// its outcome is unknown.
    ///
    /// # Errors
    /// Returns [`Error::Lost`], [`Error::TimedOut`] or [`Error::Protocol`].
    pub fn settle(&mut self) -> Result<(), Error> {
        self.batcher.publisher.restart(self.client.session(), now());
        let is_done = |publisher: &Publisher| !publisher.has_unanswered();
        self.run(Watching::No, Deadline::NEVER, is_done, |batcher, session, now| {
            batcher.publisher.advance_unsending(session, now)
        })
    }

    /// Returns the sequence number of the batch that is being collected, or else of the next one.
    pub const fn next_sequence(&self) -> u64 {
        self.batcher.publisher.next_sequence()
    }

    /// Returns the acknowledgements that have arrived since the last call.
    pub fn acks(&mut self) -> impl Iterator<Item = Ack> {
        self.batcher.publisher.take_acks()
    }

    /// Returns the number of unacknowledged batches, without the one that is being collected.
    pub fn unacknowledged(&self) -> usize {
        self.batcher.publisher.unacknowledged()
    }

    /// Sends and receives until `is_done`, then moves what can be moved without waiting.
    fn drive(&mut self, is_done: impl Fn(&Publisher) -> bool) -> Result<(), Error> {
        self.batcher.publisher.restart(self.client.session(), now());
        let timeout = self.client.timeout();
        // A node that has stopped is given up early enough to leave time for another one.
        let watching = Watching::Within((!timeout.is_zero()).then_some(timeout));
        self.run(watching, Deadline::NEVER, is_done, Batcher::advance)?;
        self.run(watching, Deadline::at_once(), |_| false, Batcher::advance)
    }

    /// Runs `advance` until `is_done` or the deadline.
    fn run(
        &mut self,
        watching: Watching,
        deadline: Deadline,
        is_done: impl Fn(&Publisher) -> bool,
        advance: impl Fn(&mut Batcher, &mut Session, Instant) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let batcher = &mut self.batcher;
        let driven = self.client.drive_watched(watching, deadline, |session, now| {
            if let Err(error) = advance(batcher, session, now) {
                return Ok(Err(error));
            }
            if is_done(&batcher.publisher) { Ok(Ok(())) } else { Err(batcher.wake_at(session)) }
        });
        driven.unwrap_or(Ok(()))
    }
}

impl fmt::Debug for Producer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("next_sequence", &self.next_sequence())
            .field("unacknowledged", &self.unacknowledged())
            .finish_non_exhaustive()
    }
}
