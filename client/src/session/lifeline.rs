//! A connection that is re-established whenever it is lost: when to reconnect, and when to report that no server
//! answers.

use std::time::{Duration, Instant};

use dht_protocol::types::NodeId;

use crate::error::Error;
use crate::session::backoff::Backoff;
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;

/// After a connection that lasted at least this long, the pauses between attempts start at the shortest again.
const GOOD: Duration = Duration::from_secs(1);

/// Maximum number of consecutive protocol violations, each within [`FAULT_FORGOTTEN`] of the one before. After one
/// more, the error is returned instead of reconnecting.
const FAULTS_MAX: u32 = 8;

/// After this time without a protocol violation, counting starts anew.
const FAULT_FORGOTTEN: Duration = Duration::from_secs(10);

/// A session's connection, re-established for as long as a server answers.
#[derive(Debug)]
pub(crate) struct Lifeline {
    /// The number of the current or last connection.
    connection: u64,
    opened: Instant,
    backoff: Backoff,
    /// The earliest time of the next attempt to connect.
    not_before: Deadline,
    /// When to report that no server answers; `None` while one does.
    give_up: Option<Deadline>,
    faults: u32,
    faulted: Instant,
}

/// The result of [`Lifeline::hold`].
pub(crate) enum Held {
    /// The connection has not changed since the previous call.
    Same,
    /// There is a new connection, to this node.
    New(NodeId),
    /// There is no connection yet.
    NotYet,
}

impl Lifeline {
    pub(crate) fn new(seed: u64, now: Instant) -> Self {
        Self {
            connection: 0,
            opened: now,
            backoff: Backoff::new(seed),
            not_before: Deadline::at(now, Duration::ZERO),
            give_up: None,
            faults: 0,
            faulted: now,
        }
    }

    /// Returns when to call [`Self::hold`] although nothing has happened.
    pub(crate) fn wake_at(&self, session: &Session) -> Deadline {
        if session.is_closed() { self.not_before } else { Deadline::NEVER }
    }

    /// Connects if necessary.
    pub(crate) fn hold(&mut self, session: &mut Session, now: Instant) -> Held {
        if !self.not_before.has_passed(now) {
            return Held::NotYet;
        }
        let deadline = session.deadline(now);
        self.give_up.get_or_insert(deadline);
        if !session.is_connecting() {
            session.open(deadline, now);
        }
        let Some(channel) = session.channel() else { return Held::NotYet };
        self.give_up = None;
        if self.holds(session) {
            return Held::Same;
        }
        self.connection = session.connection_number();
        self.opened = now;
        Held::New(channel.node())
    }

    /// Returns true if the session's current connection is the one that is held.
    pub(crate) const fn holds(&self, session: &Session) -> bool {
        session.connection_number() == self.connection
    }

    /// Returns the time at which the connection was opened.
    pub(crate) const fn opened(&self) -> Instant {
        self.opened
    }

    /// Closes the connection after a failure.
    ///
    /// # Errors
    /// Returns the error if reconnecting would not help, or if no server has answered in time.
    pub(crate) fn on_failure(&mut self, session: &mut Session, error: Error, now: Instant) -> Result<(), Error> {
        session.close(now);
        if now.duration_since(self.opened) >= GOOD && self.give_up.is_none() {
            self.backoff.reset();
        }
        if let Error::Protocol { .. } = error {
            self.count_fault(now);
            if self.faults > FAULTS_MAX {
                self.faults = 0;
                return Err(error);
            }
        } else if !error.is_retryable() {
            return Err(error);
        }
        if self.give_up.is_some_and(|end| end.has_passed(now)) {
            self.give_up = None; // the next call tries for as long again
            return Err(error);
        }
        let wait = self.backoff.next(&error, Deadline::NEVER, now);
        self.not_before = self.give_up.unwrap_or(Deadline::NEVER).earlier(Deadline::at(now, wait));
        Ok(())
    }

    fn count_fault(&mut self, now: Instant) {
        if now.duration_since(self.faulted) >= FAULT_FORGOTTEN {
            self.faults = 0;
        }
        self.faults += 1;
        self.faulted = now;
    }
}
