//! Collects records into batches: what arrives while a batch is unanswered leaves with the next one.
//!
//! A batch that is full leaves as soon as the producer's window has room. One that is not leaves when no other is
//! unanswered and its first record has waited for the linger, so a lone record waits for nothing, and a busy producer
//! sends few requests.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::publish::Batch;
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::publisher::Publisher;

/// Default maximum size in bytes of a batch.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// When batches leave, and how large they become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    pub(crate) linger: Duration,
    /// Maximum size in bytes of a batch of several parts.
    pub(crate) bytes_max: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { linger: Duration::ZERO, bytes_max: BATCH_BYTES }
    }
}

/// A publisher with the batch that is being collected. All calls must pass the same session.
#[derive(Debug)]
pub(crate) struct Batcher {
    pub(crate) publisher: Publisher,
    pub(crate) batching: Batching,
    open: Batch,
    /// When its first record was added.
    since: Instant,
    /// True if nothing was unacknowledged at the last look, so that the time limit begins with the next batch.
    was_idle: bool,
}

impl Batcher {
    pub(crate) const fn new(publisher: Publisher, batching: Batching, now: Instant) -> Self {
        Self { publisher, batching, open: Batch::new(), since: now, was_idle: true }
    }

    /// Returns true if records of this size may be added.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.fits(bytes) || self.publisher.has_room()
    }

    fn fits(&self, bytes: usize) -> bool {
        self.open.is_empty() || self.open.payload().len() + bytes <= self.batching.bytes_max.min(Batch::BYTES_MAX)
    }

    /// Adds records, which stay together. Returns the sequence of their batch, and the position in it of the first.
    pub(crate) fn add(&mut self, records: &Batch, now: Instant) -> (u64, u32) {
        if !self.fits(records.payload().len()) {
            self.seal();
        }
        if self.open.is_empty() {
            self.since = now;
        }
        let index = self.open.count();
        self.open.append(records);
        (self.publisher.next_sequence(), index)
    }

    /// Ends the batch that is being collected; it leaves as soon as possible.
    pub(crate) fn seal(&mut self) {
        if !self.open.is_empty() {
            self.publisher.push(std::mem::take(&mut self.open));
        }
    }

    /// Handles what has arrived, and sends what is due.
    ///
    /// # Errors
    /// As [`Publisher::advance`].
    pub(crate) fn advance(&mut self, session: &mut Session, now: Instant) -> Result<(), Error> {
        self.send(session, now)?;
        if self.due().has_passed(now) {
            self.seal();
            self.send(session, now)?;
        }
        Ok(())
    }

    fn send(&mut self, session: &mut Session, now: Instant) -> Result<(), Error> {
        if self.was_idle && self.publisher.unacknowledged() > 0 {
            self.publisher.restart(session, now);
        }
        let sent = self.publisher.advance(session, now);
        self.was_idle = self.publisher.unacknowledged() == 0;
        sent
    }

    /// Returns when to call [`Self::advance`] although nothing has arrived.
    pub(crate) fn wake_at(&self, session: &Session) -> Deadline {
        self.publisher.wake_at(session).earlier(self.due())
    }

    /// Returns when the batch that is being collected leaves, if that does not depend on an acknowledgement.
    pub(crate) fn due(&self) -> Deadline {
        let is_full = self.open.payload().len() >= self.batching.bytes_max;
        if self.open.is_empty() || !self.publisher.has_room() || !is_full && self.publisher.unacknowledged() > 0 {
            return Deadline::NEVER;
        }
        Deadline::at(self.since, if is_full { Duration::ZERO } else { self.batching.linger })
    }
}
