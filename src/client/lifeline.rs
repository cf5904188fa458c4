//! A connection that is to be there all the time: when to connect again, and when to say that no server answers.

use std::time::{Duration, Instant};

use super::clock::{Deadline, now};
use super::error::Error;
use super::session::{Backoff, Client};
use crate::types::NodeId;

/// A connection that held so long was a good one: the next attempts are quick again.
const GOOD: Duration = Duration::from_secs(1);

/// Faults of nodes, each less than [`FAULT_FORGOTTEN`] after the one before, that connecting again did not help
/// against.
const FAULTS_MAX: u32 = 8;

/// After so long without one, faults are counted from the first again.
const FAULT_FORGOTTEN: Duration = Duration::from_secs(10);

/// The connection of a client, held for as long as a server answers.
#[derive(Debug)]
pub(super) struct Lifeline {
    /// The number of the connection that was held last.
    connection: u64,
    opened: Instant,
    backoff: Backoff,
    /// No connecting before then.
    not_before: Deadline,
    /// When to say that no server answers; `None` while one does.
    give_up: Option<Deadline>,
    faults: u32,
    faulted: Instant,
}

/// What came of holding the connection.
pub(super) enum Held {
    /// It is the one of the last time.
    Same,
    /// It is another one, to this node.
    New(NodeId),
    /// There is none, and the next attempt is made then.
    NotYet(Deadline),
}

impl Lifeline {
    pub(super) fn new() -> Self {
        let start = now();
        Self {
            connection: 0,
            opened: start,
            backoff: Backoff::new(),
            not_before: Deadline::at_once(),
            give_up: None,
            faults: 0,
            faulted: start,
        }
    }

    /// Connects if need be, which may take as long as the client's timeout.
    pub(super) fn hold(&mut self, client: &mut Client) -> Result<Held, Error> {
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

    /// Is the client's present connection the one that is held?
    pub(super) const fn holds(&self, client: &Client) -> bool {
        client.connection_number() == self.connection
    }

    /// Since when the connection has been held.
    pub(super) const fn opened(&self) -> Instant {
        self.opened
    }

    /// Gives the connection up after a failure.
    ///
    /// # Errors
    /// What connecting again does not help against.
    pub(super) fn on_failure(&mut self, client: &mut Client, error: Error) -> Result<(), Error> {
        client.close();
        if now().duration_since(self.opened) >= GOOD && self.give_up.is_none() {
            self.backoff = Backoff::new();
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
        let wait = self.backoff.next(&error);
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
