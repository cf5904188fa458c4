//! A connection that is re-established whenever it is lost: when to reconnect, and when to report that no server
//! answers.

use std::time::{Duration, Instant};

use dht_protocol::types::NodeId;

use crate::client::Client;
use crate::clock::{now, random};
use crate::error::Error;
use crate::session::backoff::Backoff;
use crate::session::deadline::Deadline;

/// A connection that lasted this long was good: the next attempts start with a short pause again.
const GOOD: Duration = Duration::from_secs(1);

/// The number of consecutive faults of nodes, each within [`FAULT_FORGOTTEN`] of the one before, after which
/// reconnecting is given up.
const FAULTS_MAX: u32 = 8;

/// After this time without a fault, counting starts anew.
const FAULT_FORGOTTEN: Duration = Duration::from_secs(10);

/// A client's connection, re-established for as long as a server answers.
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
    /// There is no connection, and the next attempt may be made at that time.
    NotYet(Deadline),
}

impl Lifeline {
    pub(crate) fn new() -> Self {
        let start = now();
        Self {
            connection: 0,
            opened: start,
            backoff: Backoff::new(random()),
            not_before: Deadline::at_once(),
            give_up: None,
            faults: 0,
            faulted: start,
        }
    }

    /// Connects if necessary, which may take as long as the client's timeout.
    pub(crate) fn hold(&mut self, client: &mut Client) -> Result<Held, Error> {
        if !self.not_before.is_over() {
            return Ok(Held::NotYet(self.not_before));
        }
        let deadline = client.deadline();
        self.give_up.get_or_insert(deadline);
        let node = client.open(deadline)?.node();
        self.give_up = None;
        if self.holds(client) {
            return Ok(Held::Same);
        }
        self.connection = client.connection_number();
        self.opened = now();
        Ok(Held::New(node))
    }

    /// Returns true if the client's current connection is the one that is held.
    pub(crate) const fn holds(&self, client: &Client) -> bool {
        client.connection_number() == self.connection
    }

    /// Returns the time at which the connection was opened.
    pub(crate) const fn opened(&self) -> Instant {
        self.opened
    }

    /// Closes the connection after a failure.
    ///
    /// # Errors
    /// Returns the error if reconnecting does not help against it.
    pub(crate) fn on_failure(&mut self, client: &mut Client, error: Error) -> Result<(), Error> {
        client.close();
        if now().duration_since(self.opened) >= GOOD && self.give_up.is_none() {
            self.backoff.reset();
        }
        if let Error::Protocol { .. } = error {
            self.count_fault();
            if self.faults > FAULTS_MAX {
                self.faults = 0;
                return Err(error);
            }
        } else if !error.is_retryable() {
            return Err(error);
        }
        if self.give_up.is_some_and(Deadline::is_over) {
            self.give_up = None; // who calls again tries as long again
            return Err(error);
        }
        let wait = self.backoff.next(&error, Deadline::NEVER, now());
        self.not_before = self.give_up.unwrap_or(Deadline::NEVER).within(wait);
        Ok(())
    }

    fn count_fault(&mut self) {
        let now = now();
        if now.duration_since(self.faulted) >= FAULT_FORGOTTEN {
            self.faults = 0;
        }
        self.faults += 1;
        self.faulted = now;
    }
}
