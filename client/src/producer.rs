//! Publishing many batches to one topic with pipelining: in order, each exactly once.

use std::collections::VecDeque;
use std::fmt;

use dht_protocol::limits::PRODUCER_WINDOW;
use dht_protocol::types::{ProducerId, RequestId, TopicId, TopicName};
use dht_protocol::wire::records::RecordError;
use dht_protocol::wire::request::{Opening, Publish, Sequenced, Topic};
use dht_protocol::wire::response::{OpenedProducer, Published, Response};
use dht_protocol::wire::{Class, Opcode, Request, Status};

use crate::client::Client;
use crate::clock::{now, pause, random};
use crate::error::Error;
use crate::publish::Batch;
use crate::session::backoff::Backoff;
use crate::session::call::Repeat;
use crate::session::deadline::Deadline;

/// Size in bytes of the unacknowledged batches above which [`Producer::send`] waits.
const WINDOW_BYTES: usize = 8 << 20;

/// Publishes batches with sequence numbers, so that a batch whose outcome is unknown can be sent again without a
/// duplicate being stored: after a lost connection, through another node, or when batches overtook one another.
///
/// After an error, the unacknowledged batches stay queued, and [`Self::flush`] retries them. If a producer is dropped,
/// its unacknowledged batches may or may not be stored.
pub struct Producer<'c> {
    client: &'c mut Client,
    topic: String,
    id: ProducerId,
    epoch: u32,
    /// The topic's id in the first acknowledgement, so that a re-created topic does not get the remaining batches.
    topic_id: Option<TopicId>,
    sequence_next: u64,
    unacked: VecDeque<Unacked>,
    unacked_bytes: usize,
    acks: VecDeque<Ack>,
    /// The number of the connection that the request ids in `unacked` belong to.
    connection_number: u64,
    backoff: Backoff,
}

/// An unacknowledged batch. The queue is in the order of the sequences.
struct Unacked {
    sequence: u64,
    batch: Batch,
    /// The request id, or `None` if the batch must be sent, for the first time or again.
    request: Option<RequestId>,
}

/// The acknowledgement of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The sequence that [`Producer::send`] returned.
    pub sequence: u64,
    /// The node's response, with the offset of the batch.
    pub published: Published,
}

impl Client {
    /// Returns a producer that publishes to a topic with sequence numbers.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn producer(&mut self, topic: &str) -> Result<Producer<'_>, Error> {
        TopicName::new(topic)?;
        let id = ProducerId::new(random()).unwrap_or(ProducerId::new(1).expect("1 is not 0"));
        Ok(Producer::new(self, topic, id))
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
    pub fn named_producer(
        &mut self,
        topic: &str,
        name: &str,
        resume: bool,
    ) -> Result<(Producer<'_>, OpenedProducer), Error> {
        let opening = Opening { producer: ProducerId::of_name(name), token: random(), resume };
        let request = Request::Producer { topic: Topic { name: TopicName::new(topic)?, id: None }, opening };
        // A duplicate of the request has the same token, and does not open another epoch.
        let Response::Opened(opened) = self.call(&request, &[], Repeat::Always)? else {
            return Err(self.mismatch(Opcode::Producer));
        };
        let (epoch, sequence_next, topic_id) = (opened.epoch, opened.sequence, Some(opened.topic_id));
        let producer = Producer::new(self, topic, opening.producer);
        Ok((Producer { epoch, sequence_next, topic_id, ..producer }, opened))
    }
}

impl<'c> Producer<'c> {
    fn new(client: &'c mut Client, topic: &str, id: ProducerId) -> Self {
        Self {
            client,
            topic: topic.to_owned(),
            id,
            epoch: 0,
            topic_id: None,
            sequence_next: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            acks: VecDeque::new(),
            connection_number: 0,
            backoff: Backoff::new(random()),
        }
    }
}

impl Producer<'_> {
    /// Sends a batch and returns its sequence. Waits only while too many batches are unacknowledged.
    ///
    /// # Errors
    /// A batch that is empty or too large is not queued. After any other error it is queued.
    pub fn send(&mut self, batch: Batch) -> Result<u64, Error> {
        if batch.is_empty() {
            return Err(RecordError::Empty.into());
        }
        let sequence = self.sequence_next;
        self.sequence_next += 1;
        self.unacked_bytes += batch.payload().len();
        self.unacked.push_back(Unacked { sequence, batch, request: None });
        self.drive(Self::has_room)?;
        Ok(sequence)
    }

    /// Waits until all batches are acknowledged, and retries those that failed.
    ///
    /// # Errors
    /// Returns the first error that a retry cannot cure, or the last error if the time is over.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.drive(|producer| producer.unacked.is_empty())
    }

    /// Handles what has arrived and answers the node's PINGs, without waiting. A program that has nothing to send for
    /// longer than about ten seconds must call this repeatedly.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn poll(&mut self) -> Result<(), Error> {
        self.drive(|_| true)
    }

    /// Waits for the responses to batches that have been sent, and sends none. After the error of one batch, those
    /// before it may be stored and not be acknowledged yet. A batch that is unacknowledged afterwards was refused, or
    /// its outcome is unknown.
    ///
    /// # Errors
    /// Returns [`Error::Lost`], [`Error::TimedOut`] or [`Error::Protocol`].
    pub fn settle(&mut self) -> Result<(), Error> {
        let mut deadline = self.client.deadline();
        while self.unacked.iter().any(|unacked| unacked.request.is_some())
            && self.client.connection_number() == self.connection_number
        {
            let received = match self.client.received() {
                Ok(None) if self.client.channel().is_none() => return Ok(()),
                Ok(None) => self.client.receive(deadline),
                received => received,
            };
            match received {
                // An error here belongs to a batch after the first refused one, whose error the caller already has.
                Ok(Some(answer)) => match self.on_answer(answer.id, answer.response) {
                    Ok(Step::Acked) => deadline = self.client.deadline(),
                    Ok(Step::Done | Step::Nothing) | Err(_) => {}
                },
                Ok(None) => {
                    let server = self.client.last_server().to_owned();
                    self.forget_connection();
                    return Err(Error::TimedOut { server, waited: self.client.timeout() });
                }
                Err(error) => {
                    self.forget_connection();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Returns the sequence of the next batch.
    pub const fn next_sequence(&self) -> u64 {
        self.sequence_next
    }

    /// Returns the acknowledgements that have arrived since the last call.
    pub fn acks(&mut self) -> impl Iterator<Item = Ack> {
        self.acks.drain(..)
    }

    /// Returns the number of unacknowledged batches.
    pub fn unacknowledged(&self) -> usize {
        self.unacked.len()
    }

    fn has_room(&self) -> bool {
        let Some(oldest) = self.unacked.front() else { return true };
        // The topic remembers this many responses per producer; it could not recognise duplicates of older batches.
        self.sequence_next - oldest.sequence < PRODUCER_WINDOW as u64 && self.unacked_bytes < WINDOW_BYTES
    }

    /// Sends and receives until `is_done`. The timeout restarts with each acknowledgement.
    fn drive(&mut self, is_done: impl Fn(&Self) -> bool) -> Result<(), Error> {
        let mut deadline = self.client.deadline();
        loop {
            let error = match self.step(deadline, &is_done) {
                Ok(Step::Done) => return Ok(()),
                Ok(Step::Acked) => {
                    deadline = self.client.deadline();
                    self.backoff.reset();
                    continue;
                }
                Ok(Step::Nothing) => continue,
                Err(error) => error,
            };
            let wait = self.backoff.next(&error, deadline, now());
            if !self.may_repeat(&error) || deadline.remaining().is_some_and(|left| left <= wait) {
                return Err(error);
            }
            pause(wait);
        }
    }

    /// Sends unsent batches and handles one response.
    fn step(&mut self, deadline: Deadline, is_done: impl Fn(&Self) -> bool) -> Result<Step, Error> {
        let timeout = self.client.timeout();
        let mut has_to_wait = true;
        let received = match self.client.received() {
            Ok(None) => {
                self.send_unsent(deadline)?;
                has_to_wait = !is_done(self);
                // If nothing has to be waited for, only responses that have already arrived are handled.
                let limit = if has_to_wait { deadline } else { Deadline::at_once() };
                self.client.receive_watched(limit, timeout)
            }
            // A connection that has failed is replaced once its responses and its error have been handled.
            received => received,
        };
        match received {
            Ok(Some(answer)) => self.on_answer(answer.id, answer.response),
            Ok(None) if !has_to_wait => Ok(Step::Done),
            Ok(None) => {
                let server = self.client.last_server().to_owned();
                self.forget_connection();
                Err(Error::TimedOut { server, waited: timeout })
            }
            Err(error) => {
                self.forget_connection();
                Err(error)
            }
        }
    }

    fn send_unsent(&mut self, deadline: Deadline) -> Result<(), Error> {
        self.client.open(deadline)?;
        if self.client.connection_number() != self.connection_number {
            self.connection_number = self.client.connection_number();
            self.unacked.iter_mut().for_each(|unacked| unacked.request = None);
        }
        let channel = self.client.open(deadline)?;
        let name = TopicName::new(&self.topic)?;
        for unacked in self.unacked.iter_mut().filter(|unacked| unacked.request.is_none()) {
            let request = Request::Publish(Publish {
                topic: Topic { name, id: self.topic_id },
                producer: Some(Sequenced { producer: self.id, epoch: self.epoch, sequence: unacked.sequence }),
                count: unacked.batch.count(),
            });
            unacked.request = Some(channel.send(&request, unacked.batch.payload(), now())?);
        }
        Ok(())
    }

    fn on_answer(&mut self, id: RequestId, response: Response) -> Result<Step, Error> {
        let Some(index) = self.unacked.iter().position(|unacked| unacked.request == Some(id)) else {
            return Ok(Step::Nothing);
        };
        let sequence = self.unacked[index].sequence;
        let response = match self.client.accept(response) {
            Ok(response) => response,
            Err(error) => {
                self.rewind(self.resume_at(&error).unwrap_or(sequence));
                return Err(error);
            }
        };
        let Response::Published(published) = response else { return Err(self.client.mismatch(Opcode::Publish)) };
        let acked = self.unacked.remove(index).expect("its index was just found");
        self.unacked_bytes -= acked.batch.payload().len();
        self.topic_id = Some(published.topic_id);
        self.acks.push_back(Ack { sequence, published });
        Ok(Step::Acked)
    }

    /// Marks the batches from `sequence` on to be sent again: those after a refused batch are refused too.
    fn rewind(&mut self, sequence: u64) {
        let is_current = self.client.connection_number() == self.connection_number;
        for unacked in self.unacked.iter_mut().filter(|unacked| unacked.sequence >= sequence) {
            if let Some(id) = unacked.request.take()
                && is_current
            {
                self.client.abandon(id);
            }
        }
    }

    fn forget_connection(&mut self) {
        self.client.close();
        self.unacked.iter_mut().for_each(|unacked| unacked.request = None);
    }

    /// Returns the sequence to resume at, if the error states it.
    fn resume_at(&self, error: &Error) -> Option<u64> {
        let status = error.status()?;
        if status == Status::SequenceGap {
            return error.refusal()?.expected_sequence();
        }
        // A later batch has overtaken the one that registers this producer.
        (status == Status::UnknownProducer && self.unacked.front()?.sequence == 0).then_some(0)
    }

    fn may_repeat(&self, error: &Error) -> bool {
        match (self.resume_at(error), error.status()) {
            // The expected batch can be sent again only if it is still queued.
            (Some(expected), _) => self.unacked.iter().any(|unacked| unacked.sequence == expected),
            (None, Some(Status::SequenceGap | Status::UnknownProducer)) => false,
            (None, Some(status)) if status.class() == Class::Server => true,
            (None, _) => error.is_retryable(),
        }
    }
}

/// The result of [`Producer::step`].
enum Step {
    Done,
    Acked,
    Nothing,
}

impl fmt::Debug for Producer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", &self.topic)
            .field("sequence_next", &self.sequence_next)
            .field("unacknowledged", &self.unacked.len())
            .finish_non_exhaustive()
    }
}
