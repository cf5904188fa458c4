//! The session with a cluster: one request at a time, through whichever server answers.

use std::borrow::Cow;
use std::time::Duration;

use dht_protocol::cube;
use dht_protocol::types::{Dimension, NodeId, RequestId, TopicName};
use dht_protocol::wire::{DecodeError, Hello, Opcode, Request, Response, Status};

use crate::address::Address;
use crate::builder::Builder;
use crate::clock::{now, pause, random};
use crate::connection::Connection;
use crate::error::{Error, Fault};
use crate::session::deadline::Deadline;
use crate::session::tap::Direction;

/// A connection that was idle for this long is checked before it is used, because the node may have closed it.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// The first pause between attempts. It doubles with each attempt, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause between attempts, unless a node asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The first attempt after a lost connection waits for a random part of this time, so that the clients of a node that
/// died do not all reconnect at once.
const RECONNECT_SPREAD: Duration = Duration::from_millis(100);

/// The time limit for the first attempt to connect to a server while there are others. If none of them answers either,
/// the second attempt gets the remaining time.
const CONNECT_QUICK: Duration = Duration::from_secs(1);

/// How long requests to a target without a path are retried: a node that is restarted is back within a second.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(2);

/// A client of a cluster.
#[derive(Debug)]
pub struct Client {
    settings: Builder,
    /// Index of the listed server to try first.
    next_server: usize,
    /// The addresses of other nodes, as the last node reported them, in an order of this client's own.
    learned: Vec<Address>,
    /// The cluster that they belong to.
    cluster: String,
    /// The server whose connection was closed last. It is tried last.
    left: Option<String>,
    connection: Option<Connection>,
    /// Number of connections made. The request ids of one connection mean nothing on another.
    connections: u64,
    used: std::time::Instant,
    /// Copies of the frames of closed connections.
    tapped: Vec<(Direction, Vec<u8>)>,
}

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Always: it is idempotent.
    Always,
    /// Only if the node did not execute it.
    NotDone,
    /// Never: any response is the result.
    Never,
}

impl Client {
    /// Connects to the first server that answers, from a list of `HOST[:PORT]` separated by commas.
    ///
    /// # Errors
    /// Returns [`Error::Address`], or the error of the last server if none answers.
    pub fn connect(servers: &str) -> Result<Self, Error> {
        Self::builder().servers(Address::list(servers)?).connect()
    }

    /// Returns a builder, to set a timeout, names and the like.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn with(settings: Builder) -> Result<Self, Error> {
        let deadline = Deadline::of_timeout(settings.timeout);
        let mut client = Self {
            settings,
            next_server: 0,
            learned: Vec::new(),
            cluster: String::new(),
            left: None,
            connection: None,
            connections: 0,
            used: now(),
            tapped: Vec::new(),
        };
        client.open(deadline)?;
        Ok(client)
    }

    /// Returns the ingress: the node that this client is connected to. Connects to one if necessary.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn ingress(&mut self) -> Result<NodeId, Error> {
        let deadline = self.deadline();
        self.open(deadline).map(|connection| connection.node())
    }

    /// Returns the dimension of the cube.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn dimension(&mut self) -> Result<Dimension, Error> {
        let deadline = self.deadline();
        self.open(deadline).map(|connection| connection.dimension())
    }

    /// Returns the HELLO of the connected node, or `None` without a connection.
    pub fn hello(&self) -> Option<&Hello> {
        self.connection.as_ref().map(Connection::hello)
    }

    /// Returns the address of the connected node, or `None` without a connection.
    pub fn server(&self) -> Option<&str> {
        self.connection.as_ref().map(Connection::server)
    }

    /// Returns the time limit for connecting and for each reply.
    pub const fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Returns the current connection in any state.
    pub(crate) const fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Answers the node's PINGs for the given time. A program that has no requests for longer than about ten seconds
    /// must call this repeatedly; otherwise the node closes the connection.
    ///
    /// # Errors
    /// Returns [`Error::Lost`]; the next request reconnects.
    pub fn idle(&mut self, time: Duration) -> Result<(), Error> {
        let Some(connection) = &mut self.connection else {
            pause(time);
            return Ok(());
        };
        let idle = connection.idle(time);
        self.used = now();
        if idle.is_err() {
            self.close();
        }
        idle
    }

    /// Returns the frames in both directions since the last call, if [`Builder::tap`] is set.
    pub fn tapped(&mut self) -> Vec<(Direction, Vec<u8>)> {
        let mut frames = std::mem::take(&mut self.tapped);
        frames.extend(self.connection.as_mut().map(Connection::tapped).unwrap_or_default());
        frames
    }

    /// Returns the number of servers to try: the listed ones and those that were learned.
    pub(crate) fn servers(&self) -> usize {
        let learned = self.connection.as_ref().map_or(&[][..], Connection::learned);
        self.settings.servers.len() + if learned.is_empty() { self.learned.len() } else { learned.len() }
    }

    /// Returns the deadline for the response to a request that is made now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::of_timeout(self.settings.timeout)
    }

    /// Returns the time limit for the response to a request that may wait for `wait` by itself; 0 means no limit.
    const fn reply_limit(&self, wait: Duration) -> Duration {
        let timeout = self.settings.timeout;
        if timeout.is_zero() { timeout } else { timeout.saturating_add(wait) }
    }

    /// Makes a request, with retries where they may help and cannot do harm.
    pub(crate) fn call(&mut self, request: &Request<'_>, payload: &[u8], repeat: Repeat) -> Result<Response, Error> {
        self.call_counted(request, payload, repeat).0
    }

    /// Like [`Self::call`]; also returns whether an attempt before the last may have been executed.
    pub(crate) fn call_counted(
        &mut self,
        request: &Request<'_>,
        payload: &[u8],
        repeat: Repeat,
    ) -> (Result<Response, Error>, bool) {
        self.call_with(request, payload, repeat, Duration::ZERO)
    }

    /// Like [`Self::call`], for an idempotent request whose response may wait for `wait` by itself.
    pub(crate) fn call_waiting(&mut self, request: &Request<'_>, wait: Duration) -> Result<Response, Error> {
        self.call_with(request, &[], Repeat::Always, wait).0
    }

    fn call_with(
        &mut self,
        request: &Request<'_>,
        payload: &[u8],
        repeat: Repeat,
        wait: Duration,
    ) -> (Result<Response, Error>, bool) {
        let limit = self.reply_limit(wait);
        let deadline = Deadline::of_timeout(limit);
        let patience = deadline.within(UNREACHABLE_PATIENCE);
        let mut backoff = Backoff::new();
        let mut may_be_done = false;
        loop {
            // A retry waits for the full time again, because the node that had begun to wait is lost.
            let reply = if wait.is_zero() { deadline } else { Deadline::of_timeout(limit) };
            let error = match self.attempt(request, payload, reply, limit, repeat) {
                Ok(response) => return (Ok(response), may_be_done),
                Err(error) => error,
            };
            let end = if error.status() == Some(Status::Unreachable) { patience } else { deadline };
            let wait = backoff.next(&error, end);
            if !may_repeat(&error, repeat) || end.remaining().is_some_and(|left| left <= wait) {
                return (Err(error), may_be_done);
            }
            may_be_done |= error.may_be_done();
            pause(wait);
        }
    }

    /// Makes a request once, by this deadline; `limit` is the time that all its attempts have in total, or 0. If the
    /// request may be repeated, a node that has stopped is given up early. Otherwise waiting until the deadline is
    /// better, because the outcome may still become known.
    fn attempt(
        &mut self,
        request: &Request<'_>,
        payload: &[u8],
        deadline: Deadline,
        limit: Duration,
        repeat: Repeat,
    ) -> Result<Response, Error> {
        let (start, timeout) = (now(), self.settings.timeout);
        let connection = self.open(deadline)?;
        let id = connection.send(request, payload)?;
        let error = loop {
            let received = match repeat {
                Repeat::Always => connection.receive_watched(deadline, limit),
                Repeat::NotDone | Repeat::Never => connection.receive(deadline),
            };
            match received {
                Ok(Some(answer)) if answer.id == id => {
                    self.used = now();
                    return self.accept(answer.response);
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    let waited = timeout.max(now().duration_since(start));
                    break Error::TimedOut { server: connection.server().to_owned(), waited };
                }
                Err(error) => break mark_untouched(error, connection.is_untouched(id)),
            }
        };
        self.close();
        Err(error)
    }

    /// Converts an error response into an error.
    pub(crate) fn accept(&mut self, response: Response) -> Result<Response, Error> {
        let Response::Error(response) = response else { return Ok(response) };
        let server = self.server().unwrap_or_default().to_owned();
        if response.status == Status::ShuttingDown.number() {
            self.close();
        }
        Err(Error::Refused { server, response })
    }

    /// Returns the error for a response of the wrong kind.
    pub(crate) fn mismatch(&self, opcode: Opcode) -> Error {
        Error::Protocol { server: self.server().unwrap_or_default().to_owned(), fault: Fault::Answer { opcode } }
    }

    /// Returns the connection, after reconnecting if it is unusable: each server is tried once, starting with the next
    /// one.
    pub(crate) fn open(&mut self, deadline: Deadline) -> Result<&mut Connection, Error> {
        if !self.is_usable() {
            self.close();
            self.connection = Some(self.connect_any(deadline)?);
            self.connections += 1;
            self.used = now();
        }
        Ok(self.connection.as_mut().expect("it was usable, or has just been made"))
    }

    /// Returns the home of a topic in the cube of the current connection.
    pub(crate) fn home(&self, topic: &str) -> Option<NodeId> {
        let dimension = self.connection.as_ref()?.dimension();
        TopicName::new(topic).ok().map(|name| cube::home(name, dimension))
    }

    /// Converts a node's number in an EVENT.
    ///
    /// # Errors
    /// Returns [`Error::Protocol`] if the cube has no such node.
    pub(crate) fn node_of(&self, number: u16) -> Result<NodeId, Error> {
        let node = self.connection.as_ref().and_then(|connection| NodeId::new(number, connection.dimension()));
        node.ok_or_else(|| {
            let fault = Fault::Decode { opcode: Opcode::Event, error: DecodeError::Value { field: "node" } };
            Error::Protocol { server: self.server().unwrap_or_default().to_owned(), fault }
        })
    }

    /// Closes the connection; the next one is made to the next server.
    pub(crate) fn close(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            self.tapped.extend(connection.tapped());
            let servers = &self.settings.servers;
            if servers[self.next_server].to_string() == connection.server() {
                self.next_server = (self.next_server + 1) % servers.len();
            }
            self.left = Some(connection.server().to_owned());
            if !connection.learned().is_empty() {
                self.learned = connection.learned().to_vec();
                self.learned.retain(|address| !servers.contains(address));
                // The order is random, so that the clients of a node do not all fail over to the same other node.
                self.learned.sort_by_cached_key(|_| random());
                self.cluster.clone_from(&connection.hello().cluster);
            }
        }
    }

    /// Abandons a request of the current connection: its response is ignored.
    pub(crate) fn abandon(&mut self, id: RequestId) {
        if let Some(connection) = &mut self.connection {
            connection.abandon(id);
        }
    }

    /// Returns the number of the connection that [`Self::open`] returned last.
    pub(crate) const fn connection_number(&self) -> u64 {
        self.connections
    }

    fn is_usable(&mut self) -> bool {
        let is_idle = now().duration_since(self.used) >= IDLE_CHECK;
        let Some(connection) = &mut self.connection else { return false };
        let is_open = !is_idle || connection.unanswered() > 0 || connection.idle(Duration::ZERO).is_ok();
        is_open && !connection.is_closing()
    }

    /// Returns the servers in the order in which to try them: the listed ones, beginning with the next one, then those
    /// that were learned, and last the one whose connection was closed last.
    fn candidates(&self) -> Vec<Address> {
        let servers = &self.settings.servers;
        let (behind, from) = servers.split_at(self.next_server);
        let all = from.iter().chain(behind).chain(&self.learned).cloned();
        let (left, others): (Vec<_>, Vec<_>) = all.partition(|address| Some(address.to_string()) == self.left);
        others.into_iter().chain(left).collect()
    }

    /// Connects to the first server that answers. A server that refuses is tried once. Servers that do not answer are
    /// tried again with longer time limits after all others have failed.
    fn connect_any(&mut self, deadline: Deadline) -> Result<Connection, Error> {
        let mut to_try = self.candidates();
        let mut is_quick = to_try.len() > 1;
        loop {
            let mut silent = Vec::new();
            let mut failed = None;
            let mut left = to_try.len();
            for address in to_try {
                // A server that does not answer must leave time for the others.
                let share = deadline.share(u32::try_from(left).unwrap_or(u32::MAX));
                let limit = if is_quick { share.within(CONNECT_QUICK) } else { share };
                left -= 1;
                match self.connect_to(&address, limit) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => {
                        if is_timeout(&error) {
                            silent.push(address);
                        }
                        failed = Some(error);
                    }
                }
            }
            if silent.is_empty() || !is_quick || deadline.is_over() {
                return Err(failed.expect("a builder gives at least one server"));
            }
            (to_try, is_quick) = (silent, false);
        }
    }

    fn connect_to(&mut self, address: &Address, limit: Deadline) -> Result<Connection, Error> {
        let listed = self.settings.servers.iter().position(|server| server == address);
        let mut introduction = Cow::Borrowed(&self.settings.introduction);
        if listed.is_none() {
            // By now another program or a node of another cluster may listen there.
            introduction.to_mut().cluster.clone_from(&self.cluster);
        }
        let mut connection = Connection::open(address, &introduction, limit)?;
        connection.ask_after(self.settings.ping_after);
        if self.settings.learns_servers {
            connection.ask_nodes();
        }
        self.next_server = listed.unwrap_or(self.next_server);
        Ok(connection)
    }
}

/// Returns true if a server did not answer an attempt to connect.
fn is_timeout(error: &Error) -> bool {
    matches!(error, Error::Connect { source, .. } if source.kind() == std::io::ErrorKind::TimedOut)
}

/// Adds to the error of a lost request whether the node said that it did not act on the request.
pub(crate) fn mark_untouched(mut error: Error, is_untouched: bool) -> Error {
    if let Error::Lost { untouched, .. } = &mut error {
        *untouched = is_untouched;
    }
    error
}

fn may_repeat(error: &Error, repeat: Repeat) -> bool {
    match repeat {
        Repeat::Always => error.is_retryable() && error.status() != Some(Status::UnknownProducer),
        Repeat::NotDone => error.is_retryable() && !error.may_be_done(),
        Repeat::Never => error.is_retryable() && error.refusal().is_none(),
    }
}

/// The pauses between attempts: as long as the node asks for, else increasing, with jitter.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self(PAUSE_MIN)
    }

    /// Returns the pause after this error, for a request with this deadline.
    pub(crate) fn next(&mut self, error: &Error, deadline: Deadline) -> Duration {
        if matches!(error, Error::Lost { .. } | Error::TimedOut { .. }) && self.0 == PAUSE_MIN {
            self.0 *= 2;
            // Another node may answer at once, and needs most of the time if little is left.
            let spread = deadline.remaining().map_or(RECONNECT_SPREAD, |left| RECONNECT_SPREAD.min(left / 4));
            return spread.mul_f64((random() % 1024) as f64 / 1024.0);
        }
        let asked = error.retry_after();
        let jitter = self.0.mul_f64((random() % 1024) as f64 / 1024.0);
        let wait = if asked.is_zero() { self.0 / 2 + jitter / 2 } else { asked + jitter / 4 };
        self.0 = (self.0 * 2).min(PAUSE_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_after_a_lost_connection_is_spread_and_the_others_wait_longer() {
        let silent = Error::TimedOut { server: String::new(), waited: Duration::ZERO };
        let first: Vec<Duration> = (0..64).map(|_| Backoff::new().next(&silent, Deadline::NEVER)).collect();
        assert!(first.iter().all(|pause| *pause < RECONNECT_SPREAD));
        assert!(first.iter().any(|pause| pause.abs_diff(first[0]) > RECONNECT_SPREAD / 8), "{first:?}");
        let near = Deadline::after(Duration::from_millis(40));
        assert!((0..64).all(|_| Backoff::new().next(&silent, near) <= Duration::from_millis(10)));
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..32).map(|_| backoff.next(&silent, Deadline::NEVER)).collect();
        assert!(pauses[8..].iter().all(|pause| (PAUSE_MAX / 2..=PAUSE_MAX).contains(pause)), "{pauses:?}");
    }
}
