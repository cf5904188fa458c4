//! The batches of a producer: in order, each stored exactly once.
//!
//! ```text
//!                    ┌──────── refused, or the connection was lost ────────┐
//!                    ▼                                                     │
//! push ──────────► unsent ── advance ──► unanswered ── acknowledged ──► take_acks
//! ```
//!
//! Each batch has a sequence number, so it can be sent again without a duplicate being stored. The first batch that is
//! refused makes the node refuse all later ones too (a gap in the sequences); they are all sent again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dht_protocol::limits::PRODUCER_WINDOW;
use dht_protocol::types::{ProducerId, RequestId, TopicId, TopicName};
use dht_protocol::wire::request::{Publish, Sequenced, Topic};
use dht_protocol::wire::response::{OpenedProducer, Published, Response};
use dht_protocol::wire::{Class, Opcode, Request, Status};

use crate::error::Error;
use crate::publish::Batch;
use crate::session::backoff::{Backoff, leaves_time};
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::incoming::Answer;

/// Size in bytes of the unacknowledged batches above which there is no room for another one.
const WINDOW_BYTES: usize = 8 << 20;

/// The acknowledgement of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The sequence number that [`Producer::send`](crate::Producer::send) returned.
    pub sequence: u64,
    /// The node's response, with the offset of the batch.
    pub published: Published,
}

/// The batches of a producer. All calls must pass the same session.
#[derive(Debug)]
pub(crate) struct Publisher {
    topic: String,
    id: ProducerId,
    epoch: u32,
    /// The topic's id in the first acknowledgement, so that a re-created topic does not get the remaining batches.
    topic_id: Option<TopicId>,
    sequence_next: u64,
    /// The unacknowledged batches, in the order of their sequences.
    unacked: VecDeque<Unacked>,
    unacked_bytes: usize,
    acks: VecDeque<Ack>,
    /// The number of the connection that the request ids in `unacked` belong to.
    connection: u64,
    backoff: Backoff,
    /// When to give up; every acknowledgement postpones it.
    deadline: Deadline,
    /// The earliest time of the next attempt after an error.
    not_before: Deadline,
}

/// An unacknowledged batch.
#[derive(Debug)]
struct Unacked {
    sequence: u64,
    batch: Batch,
    /// The request id, or `None` if the batch must be sent, for the first time or again.
    request: Option<RequestId>,
    /// True if an earlier attempt ended without an answer, or with one that does not tell whether the batch is stored.
    may_be_stored: bool,
}

/// Why nothing more can be done at present.
#[derive(Debug)]
struct Failure {
    error: Error,
    /// The sequence of the batch that cannot be published; `None` if the connection failed.
    sequence: Option<u64>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, sequence: None }
    }
}

impl Publisher {
    pub(crate) fn new(topic: &str, id: ProducerId, seed: u64, now: Instant) -> Self {
        Self {
            topic: topic.to_owned(),
            id,
            epoch: 0,
            topic_id: None,
            sequence_next: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            acks: VecDeque::new(),
            connection: 0,
            backoff: Backoff::new(seed),
            deadline: Deadline::NEVER,
            not_before: Deadline::at(now, Duration::ZERO),
        }
    }

    /// Continues the producer that a topic has opened.
    pub(crate) fn opened(self, opened: &OpenedProducer) -> Self {
        let topic_id = Some(opened.topic_id);
        Self { epoch: opened.epoch, sequence_next: opened.sequence, topic_id, ..self }
    }

    /// Queues a batch, which [`Self::advance`] sends, and returns its sequence.
    pub(crate) fn push(&mut self, batch: Batch) -> u64 {
        let sequence = self.sequence_next;
        self.sequence_next += 1;
        self.unacked_bytes += batch.payload().len();
        self.unacked.push_back(Unacked { sequence, batch, request: None, may_be_stored: false });
        sequence
    }

    /// Restarts the time limit.
    pub(crate) fn restart(&mut self, session: &Session, now: Instant) {
        self.deadline = session.deadline(now);
    }

    /// Handles what has arrived, and sends what is due.
    ///
    /// # Errors
    /// Returns the first error that a retry cannot cure, or the last error if the time is over; OUTCOME_UNKNOWN if an
    /// earlier attempt may have stored the batch. The batches stay queued; after [`Self::restart`] those that failed
    /// are sent again.
    pub(crate) fn advance(&mut self, session: &mut Session, now: Instant) -> Result<(), Error> {
        loop {
            match self.step(session, now) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(failure) => self.on_failure(failure, now)?,
            }
        }
    }

    /// Like [`Self::advance`], but sends nothing. Errors of batches are ignored: they belong to batches after the first
    /// refused one, whose error the user already has.
    ///
    /// # Errors
    /// Returns the error of the connection, or [`Error::TimedOut`].
    pub(crate) fn advance_unsending(&mut self, session: &mut Session, now: Instant) -> Result<(), Error> {
        while let Some(answer) = self.arrived(session, now)? {
            let _ = self.on_answer(session, answer, now);
        }
        self.check_connection(session);
        Ok(())
    }

    /// Returns when to call [`Self::advance`] although nothing has arrived.
    pub(crate) fn wake_at(&self, session: &Session) -> Deadline {
        let waits_for_time = self.has_unsent() && !session.is_connecting();
        let retry = if waits_for_time { self.not_before } else { Deadline::NEVER };
        if self.unacked.is_empty() { Deadline::NEVER } else { retry.earlier(self.deadline) }
    }

    /// Returns true if another batch may be queued.
    pub(crate) fn has_room(&self) -> bool {
        let Some(oldest) = self.unacked.front() else { return true };
        // The topic remembers this many responses per producer; it could not recognise duplicates of older batches.
        self.sequence_next - oldest.sequence < PRODUCER_WINDOW as u64 && self.unacked_bytes < WINDOW_BYTES
    }

    /// Returns true if a batch waits to be sent, for the first time or again.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unacked.iter().any(|unacked| unacked.request.is_none())
    }

    /// Returns true if a response to a batch is awaited.
    pub(crate) fn has_unanswered(&self) -> bool {
        self.unacked.iter().any(|unacked| unacked.request.is_some())
    }

    /// Returns the number of unacknowledged batches.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacked.len()
    }

    /// Returns the sequence of the next batch.
    pub(crate) const fn next_sequence(&self) -> u64 {
        self.sequence_next
    }

    /// Returns the acknowledgements since the last call.
    pub(crate) fn take_acks(&mut self) -> impl Iterator<Item = Ack> {
        self.acks.drain(..)
    }

    /// Returns true if an unacknowledged batch may be stored: the outcome of an attempt is unknown for it and for each
    /// batch before it. A node stores no batch that follows a gap.
    pub(crate) fn may_be_stored(&self, sequence: u64) -> bool {
        let place = self.unacked.iter().position(|unacked| unacked.sequence == sequence);
        place.is_some_and(|place| {
            self.unacked.range(..=place).all(|unacked| unacked.may_be_stored || unacked.request.is_some())
        })
    }

    /// Handles one response, or sends what is due. Returns true if there may be more to do.
    fn step(&mut self, session: &mut Session, now: Instant) -> Result<bool, Failure> {
        if let Some(answer) = self.arrived(session, now)? {
            self.on_answer(session, answer, now)?;
            return Ok(true);
        }
        self.check_connection(session);
        if !self.has_unsent() || !self.not_before.has_passed(now) {
            return Ok(false);
        }
        if !session.is_connecting() {
            session.open(self.deadline, now);
            if session.is_closed() {
                return Ok(true); // no server could be tried, and the next step gets the error
            }
        }
        self.send_unsent(session, now)?;
        Ok(false)
    }

    /// Returns the next response.
    ///
    /// # Errors
    /// Returns the reason why the connection has ended, or [`Error::TimedOut`] if the time is over.
    fn arrived(&mut self, session: &mut Session, now: Instant) -> Result<Option<Answer>, Error> {
        let error = match session.next_answer() {
            Ok(None) if self.deadline.has_passed(now) && !self.unacked.is_empty() => {
                Error::TimedOut { server: session.last_server().to_owned(), waited: session.timeout() }
            }
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        session.close(now);
        self.check_connection(session);
        Err(error)
    }

    /// Marks all batches to be sent again if the connection on which they were sent is gone.
    fn check_connection(&mut self, session: &Session) {
        if session.channel().is_none() || session.connection_number() != self.connection {
            self.connection = session.connection_number();
            for unacked in &mut self.unacked {
                unacked.may_be_stored |= unacked.request.take().is_some();
            }
        }
    }

    fn send_unsent(&mut self, session: &mut Session, now: Instant) -> Result<(), Failure> {
        self.check_connection(session);
        let Some(channel) = session.channel_mut() else { return Ok(()) };
        let name = TopicName::new(&self.topic).map_err(Error::from)?;
        for unacked in self.unacked.iter_mut().filter(|unacked| unacked.request.is_none()) {
            let request = Request::Publish(Publish {
                topic: Topic { name, id: self.topic_id },
                producer: Some(Sequenced { producer: self.id, epoch: self.epoch, sequence: unacked.sequence }),
                count: unacked.batch.count(),
            });
            let sent = channel.send(&request, unacked.batch.payload(), now);
            let sequence = Some(unacked.sequence);
            unacked.request = Some(sent.map_err(|error| Failure { error, sequence })?);
        }
        Ok(())
    }

    fn on_answer(&mut self, session: &mut Session, answer: Answer, now: Instant) -> Result<(), Failure> {
        let Some(index) = self.unacked.iter().position(|unacked| unacked.request == Some(answer.id)) else {
            return Ok(());
        };
        let unacked = &mut self.unacked[index];
        let sequence = unacked.sequence;
        let response = match session.accept(answer.response, now) {
            Ok(response) => response,
            Err(error) => {
                unacked.request = None;
                unacked.may_be_stored |= error.may_be_done();
                self.rewind(self.resume_at(&error).unwrap_or(sequence), session);
                return Err(Failure { error, sequence: Some(sequence) });
            }
        };
        let Response::Published(published) = response else { return Err(session.mismatch(Opcode::Publish).into()) };
        let acked = self.unacked.remove(index).expect("its index was just found");
        self.unacked_bytes -= acked.batch.payload().len();
        self.topic_id = Some(published.topic_id);
        self.acks.push_back(Ack { sequence, published });
        self.backoff.reset();
        self.deadline = session.deadline(now);
        Ok(())
    }

    /// Marks the batches from `sequence` on to be sent again: those after a refused batch are refused too.
    fn rewind(&mut self, sequence: u64, session: &mut Session) {
        for unacked in self.unacked.iter_mut().filter(|unacked| unacked.sequence >= sequence) {
            if let Some(id) = unacked.request.take() {
                unacked.may_be_stored = true;
                session.abandon(id);
            }
        }
    }

    /// Begins a pause before the next attempt.
    ///
    /// # Errors
    /// Returns the error if another attempt does not help, or if no time is left for one.
    fn on_failure(&mut self, Failure { error, sequence }: Failure, now: Instant) -> Result<(), Error> {
        let pause = self.backoff.next(&error, self.deadline, now);
        if !self.may_repeat(&error) || !leaves_time((pause, Duration::ZERO), self.deadline, now) {
            // Only if the first batch is stored can any other one be.
            let concerned = sequence.or_else(|| self.unacked.front().map(|unacked| unacked.sequence));
            let is_in_doubt = concerned.is_some_and(|sequence| self.may_be_stored(sequence));
            return Err(if is_in_doubt { error.in_doubt() } else { error });
        }
        self.not_before = Deadline::at(now, pause);
        Ok(())
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
