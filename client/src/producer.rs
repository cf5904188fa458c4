//! Publishing many batches to one topic with pipelining: in order, each exactly once.

use std::fmt;
use std::time::Instant;

use dht_protocol::types::{ProducerId, TopicName};
use dht_protocol::wire::records::RecordError;
use dht_protocol::wire::request::{Opening, Topic};
use dht_protocol::wire::response::{OpenedProducer, Response};
use dht_protocol::wire::{Opcode, Request};

use crate::caller::{Caller, ask, at_once};
use crate::client::Client;
use crate::clock::{now, random};
use crate::error::Error;
use crate::publish::Batch;
use crate::session::call::Repeat;
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::driving::Watching;
use crate::session::publisher::{Ack, Publisher};

/// Publishes batches with sequence numbers, so that a batch whose outcome is unknown can be sent again without a
/// duplicate being stored: after a lost connection, through another node, or when batches overtook one another.
///
/// After an error, the unacknowledged batches stay queued, and [`Self::flush`] retries them. If a producer is dropped,
/// its unacknowledged batches may or may not be stored.
pub struct Producer<'c> {
    client: &'c mut Client,
    publisher: Publisher,
}

impl Client {
    /// Returns a producer that publishes to a topic with sequence numbers.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn producer(&mut self, topic: &str) -> Result<Producer<'_>, Error> {
        TopicName::new(topic)?;
        let id = ProducerId::new(random()).unwrap_or(ProducerId::new(1).expect("1 is not 0"));
        Ok(Producer { client: self, publisher: Publisher::new(topic, id, random(), now()) })
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
        let opening = Opening { producer: ProducerId::of_name(name), token: random(), resume };
        let request = Request::Producer { topic: Topic { name: TopicName::new(topic)?, id: None }, opening };
        // A duplicate of the request has the same token, and does not open another epoch.
        let Response::Opened(opened) = at_once(ask(self, &request, Repeat::Always))? else {
            return Err(self.mismatch(Opcode::Producer));
        };
        let publisher = Publisher::new(topic, opening.producer, random(), now()).opened(&opened);
        Ok((Producer { client: self, publisher }, opened))
    }
}

impl Producer<'_> {
    /// Sends a batch and returns its sequence number. Waits only while too many batches are unacknowledged.
    ///
    /// # Errors
    /// A batch that is empty or too large is not queued. After any other error it is queued.
    pub fn send(&mut self, batch: Batch) -> Result<u64, Error> {
        if batch.is_empty() {
            return Err(RecordError::Empty.into());
        }
        let sequence = self.publisher.push(batch);
        self.drive(|publisher| publisher.has_room() && !publisher.has_unsent())?;
        Ok(sequence)
    }

    /// Waits until all batches are acknowledged, and retries those that failed.
    ///
    /// # Errors
    /// Returns the first error that a retry cannot cure, or the last error if the time is over.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.drive(|publisher| publisher.unacknowledged() == 0)
    }

    /// Handles what has arrived and answers the node's PINGs; waits only to send again what a lost connection or a
    /// refusal has left unsent. A program that has nothing to send for longer than about ten seconds must call this
    /// repeatedly.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn poll(&mut self) -> Result<(), Error> {
        self.drive(|publisher| !publisher.has_unsent())
    }

    /// Waits for the responses to batches that have been sent, and sends none. After the error of one batch, those
    /// before it may be stored and not be acknowledged yet. A batch that is unacknowledged afterwards was refused, or
    /// its outcome is unknown.
    ///
    /// # Errors
    /// Returns [`Error::Lost`], [`Error::TimedOut`] or [`Error::Protocol`].
    pub fn settle(&mut self) -> Result<(), Error> {
        self.publisher.restart(self.client.session(), now());
        let is_done = |publisher: &Publisher| !publisher.has_unanswered();
        self.run(Watching::No, Deadline::NEVER, is_done, Publisher::advance_unsending)
    }

    /// Returns the sequence number of the next batch.
    pub const fn next_sequence(&self) -> u64 {
        self.publisher.next_sequence()
    }

    /// Returns the acknowledgements that have arrived since the last call.
    pub fn acks(&mut self) -> impl Iterator<Item = Ack> {
        self.publisher.take_acks()
    }

    /// Returns the number of unacknowledged batches.
    pub fn unacknowledged(&self) -> usize {
        self.publisher.unacknowledged()
    }

    /// Sends and receives until `is_done`, then moves what can be moved without waiting.
    fn drive(&mut self, is_done: impl Fn(&Publisher) -> bool) -> Result<(), Error> {
        self.publisher.restart(self.client.session(), now());
        let timeout = self.client.timeout();
        // A node that has stopped is given up early enough to leave time for another one.
        let watching = Watching::Within((!timeout.is_zero()).then_some(timeout));
        self.run(watching, Deadline::NEVER, is_done, Publisher::advance)?;
        self.run(watching, Deadline::at_once(), |_| false, Publisher::advance)
    }

    /// Runs `advance` until `is_done` or the deadline.
    fn run(
        &mut self,
        watching: Watching,
        deadline: Deadline,
        is_done: impl Fn(&Publisher) -> bool,
        advance: impl Fn(&mut Publisher, &mut Session, Instant) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let publisher = &mut self.publisher;
        let driven = self.client.drive_watched(watching, deadline, |session, now| {
            if let Err(error) = advance(publisher, session, now) {
                return Ok(Err(error));
            }
            if is_done(publisher) { Ok(Ok(())) } else { Err(publisher.wake_at(session)) }
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
