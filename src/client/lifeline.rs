//! A connection that is to be there all the time: when to connect again, when to say that no server answers, and
//! when a node that says nothing is taken for dead.

use std::time::{Duration, Instant};

use super::clock::{Deadline, now};
use super::error::Error;
use super::session::{Backoff, Client};
use crate::types::NodeId;
use crate::wire::Request;
use crate::wire::request::ANY_NODE;

/// A node that said nothing for so long is asked, and after as long again left; less with a shorter timeout.
const QUIET_MAX: Duration = Duration::from_secs(5);

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
    /// When the node was asked for a sign of life that has not come.
    probed: Option<Instant>,
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
            probed: None,
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
        self.probed = None;
        Ok(Held::New(node))
    }

    /// Is the client's present connection the one that is held?
    pub(super) const fn holds(&self, client: &Client) -> bool {
        client.connection_number() == self.connection
    }

    /// How long the connection has been held.
    pub(super) fn age(&self) -> Duration {
        now().duration_since(self.opened)
    }

    /// Gives the connection up after a failure.
    ///
    /// # Errors
    /// What connecting again does not help against.
    pub(super) fn on_failure(&mut self, client: &mut Client, error: Error) -> Result<(), Error> {
        client.close();
        if self.age() >= GOOD && self.give_up.is_none() {
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

    /// Asks a node for a sign of life that was quiet for long; gives the time when to look again.
    pub(super) fn watch(&mut self, client: &mut Client) -> Result<Deadline, Error> {
        let quiet = quiet(client);
        let Some(connection) = client.connection() else { return Ok(Deadline::NEVER) };
        let heard = connection.heard();
        if let Some(probed) = self.probed.filter(|probed| *probed >= heard) {
            return Ok(Deadline::from(probed, quiet));
        }
        self.probed = None;
        let now = now();
        if now.duration_since(heard) < quiet {
            return Ok(Deadline::from(heard, quiet));
        }
        connection.send(&Request::Ping { node: ANY_NODE, token: 0 }, &[])?;
        self.probed = Some(now);
        Ok(Deadline::from(now, quiet))
    }

    /// To be called when everything that came was read.
    ///
    /// # Errors
    /// The node was asked for a sign of life and did not give one.
    pub(super) fn judge(&self, client: &mut Client) -> Result<(), Error> {
        let quiet = quiet(client);
        let (Some(connection), Some(probed)) = (client.connection(), self.probed) else { return Ok(()) };
        if connection.heard() > probed || now().duration_since(probed) < quiet {
            return Ok(());
        }
        let waited = now().duration_since(connection.heard());
        Err(Error::TimedOut { server: connection.server().to_owned(), waited })
    }
}

fn quiet(client: &Client) -> Duration {
    let timeout = client.timeout();
    if timeout.is_zero() { QUIET_MAX } else { timeout.min(QUIET_MAX) }
}
