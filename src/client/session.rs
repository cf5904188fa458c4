//! One request at a time over whichever server answers.

use std::borrow::Cow;
use std::time::Duration;

use super::address::Address;
use super::builder::Builder;
use super::clock::{Deadline, now, pause, random};
use super::connection::Connection;
use super::error::{Error, Fault};
use super::tap::Direction;
use crate::cube;
use crate::types::{Dimension, NodeId, RequestId, TopicName};
use crate::wire::{DecodeError, Hello, Opcode, Request, Response, Status};

/// A connection that was silent for so long is looked at before it is used: the node may have closed it.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// The first pause between attempts; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause between attempts that a node did not ask for.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The first attempt after a lost connection waits for a random part of this, so that the clients of a node that died
/// do not all connect at once.
const RECONNECT_SPREAD: Duration = Duration::from_millis(100);

/// A server that does not answer is passed over after this time while there are others; if none of them answers
/// either, it has what is left of the limit.
const CONNECT_QUICK: Duration = Duration::from_secs(1);

/// How long a target without a path to it is asked for: a node that is started again is back within a second.
const UNREACHABLE_PATIENCE: Duration = Duration::from_secs(2);

/// A client of a cluster.
#[derive(Debug)]
pub struct Client {
    settings: Builder,
    /// Which of the listed servers is tried first.
    next_server: usize,
    /// Where other nodes listen, as the last node said; in this client's own order.
    learned: Vec<Address>,
    /// The cluster that they belong to.
    cluster: String,
    /// The server that was left last: it is tried last.
    left: Option<String>,
    connection: Option<Connection>,
    /// How many connections were made: request ids of an earlier one mean nothing on a later one.
    connections: u64,
    used: std::time::Instant,
    /// Frames of connections that are gone.
    tapped: Vec<(Direction, Vec<u8>)>,
}

/// May a request be sent again when it is not known whether it was done?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It is harmless when done twice.
    Always,
    /// Only when it was not done.
    NotDone,
    /// Not at all: every answer is one.
    Never,
}

impl Client {
    /// Connects to the first of the servers, `HOST[:PORT]` separated by commas, that answers.
    ///
    /// # Errors
    /// [`Error::Address`], or that of the last server when none answers.
    pub fn connect(servers: &str) -> Result<Self, Error> {
        Self::builder().servers(Address::list(servers)?).connect()
    }

    /// For a timeout, names and the like.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn with(settings: Builder) -> Result<Self, Error> {
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

    /// The node that requests enter the cube at, connecting to one if need be.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn ingress(&mut self) -> Result<NodeId, Error> {
        let deadline = self.deadline();
        self.open(deadline).map(|connection| connection.node())
    }

    /// The dimension of the cube.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn dimension(&mut self) -> Result<Dimension, Error> {
        let deadline = self.deadline();
        self.open(deadline).map(|connection| connection.dimension())
    }

    /// What the node that requests enter the cube at said of itself; `None` while there is no connection.
    pub fn hello(&self) -> Option<&Hello> {
        self.connection.as_ref().map(Connection::hello)
    }

    /// The address of that node; `None` while there is no connection.
    pub fn server(&self) -> Option<&str> {
        self.connection.as_ref().map(Connection::server)
    }

    /// The limit for connecting and for each reply.
    pub const fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// The present connection, whatever its state.
    pub(super) const fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Answers the node's PINGs for as long; to be called again and again by a program that has nothing to ask for
    /// longer than about ten seconds, else the node closes the connection.
    ///
    /// # Errors
    /// [`Error::Lost`]; the next request connects anew.
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

    /// The frames that went either way since the last call, if [`Builder::tap`] asked for them.
    pub fn tapped(&mut self) -> Vec<(Direction, Vec<u8>)> {
        let mut frames = std::mem::take(&mut self.tapped);
        frames.extend(self.connection.as_mut().map(Connection::tapped).unwrap_or_default());
        frames
    }

    /// How many servers there are to try: those that were listed, and those that were learned.
    pub(super) fn servers(&self) -> usize {
        let learned = self.connection.as_ref().map_or(&[][..], Connection::learned);
        self.settings.servers.len() + if learned.is_empty() { self.learned.len() } else { learned.len() }
    }

    /// When the reply to a request that is made now must have come.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::of_timeout(self.settings.timeout)
    }

    /// The same when the answer may wait so long by itself.
    fn reply_deadline(&self, wait: Duration) -> Deadline {
        let timeout = self.settings.timeout;
        Deadline::of_timeout(if timeout.is_zero() { timeout } else { timeout.saturating_add(wait) })
    }

    /// Makes a request, and makes it again where that may help and is harmless.
    pub(super) fn call(&mut self, request: &Request<'_>, payload: &[u8], repeat: Repeat) -> Result<Response, Error> {
        self.call_counted(request, payload, repeat).0
    }

    /// As [`Self::call`]; says too whether an attempt before the last may have been carried out.
    pub(super) fn call_counted(
        &mut self,
        request: &Request<'_>,
        payload: &[u8],
        repeat: Repeat,
    ) -> (Result<Response, Error>, bool) {
        self.call_with(request, payload, repeat, Duration::ZERO)
    }

    /// As [`Self::call`], for a request that may be done twice and whose answer may wait so long by itself.
    pub(super) fn call_waiting(&mut self, request: &Request<'_>, wait: Duration) -> Result<Response, Error> {
        self.call_with(request, &[], Repeat::Always, wait).0
    }

    fn call_with(
        &mut self,
        request: &Request<'_>,
        payload: &[u8],
        repeat: Repeat,
        wait: Duration,
    ) -> (Result<Response, Error>, bool) {
        let mut deadline = self.reply_deadline(wait);
        let patience = deadline.within(UNREACHABLE_PATIENCE);
        let mut backoff = Backoff::new();
        let mut may_be_done = false;
        let mut silent = 0;
        loop {
            // A later attempt waits anew: the node that began to is gone.
            let reply = if wait.is_zero() { deadline } else { self.reply_deadline(wait) };
            let error = match self.attempt(request, payload, reply, repeat) {
                Ok(response) => return (Ok(response), may_be_done),
                Err(error) => error,
            };
            if matches!(error, Error::TimedOut { .. }) && repeat == Repeat::Always {
                // A node that says nothing at all may hang; another may not.
                silent += 1;
                if silent < self.servers() {
                    may_be_done = true;
                    pause(spread());
                    deadline = self.reply_deadline(wait);
                    continue;
                }
            }
            let limit = if error.status() == Some(Status::Unreachable) { patience } else { deadline };
            let wait = backoff.next(&error);
            if !may_repeat(&error, repeat) || limit.remaining().is_some_and(|left| left <= wait) {
                return (Err(error), may_be_done);
            }
            may_be_done |= error.may_be_done();
            pause(wait);
        }
    }

    /// Makes a request once. A node that has stopped is given up early if the request may be made again: who has to
    /// ask what became of it learns more by waiting until the deadline.
    fn attempt(
        &mut self,
        request: &Request<'_>,
        payload: &[u8],
        deadline: Deadline,
        repeat: Repeat,
    ) -> Result<Response, Error> {
        let (start, timeout) = (now(), self.settings.timeout);
        let connection = self.open(deadline)?;
        let id = connection.send(request, payload)?;
        let error = loop {
            let received = match repeat {
                Repeat::Always => connection.receive_watched(deadline),
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

    /// An error of the node becomes an error of ours.
    pub(super) fn accept(&mut self, response: Response) -> Result<Response, Error> {
        let Response::Error(response) = response else { return Ok(response) };
        let server = self.server().unwrap_or_default().to_owned();
        if response.status == Status::ShuttingDown.number() {
            self.close();
        }
        Err(Error::Refused { server, response })
    }

    /// An answer to one operation that is of another kind.
    pub(super) fn mismatch(&self, opcode: Opcode) -> Error {
        Error::Protocol { server: self.server().unwrap_or_default().to_owned(), fault: Fault::Answer { opcode } }
    }

    /// The connection, made anew if there is none that can be used: each server is tried once, from the next on.
    pub(super) fn open(&mut self, deadline: Deadline) -> Result<&mut Connection, Error> {
        if !self.is_usable() {
            self.close();
            self.connection = Some(self.connect_any(deadline)?);
            self.connections += 1;
            self.used = now();
        }
        Ok(self.connection.as_mut().expect("it was usable, or has just been made"))
    }

    /// Where a topic lives in the cube of the present connection.
    pub(super) fn home(&self, topic: &str) -> Option<NodeId> {
        let dimension = self.connection.as_ref()?.dimension();
        TopicName::new(topic).ok().map(|name| cube::home(name, dimension))
    }

    /// A node of the cube of the present connection, as an EVENT names it.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the cube has no such node.
    pub(super) fn node_of(&self, number: u16) -> Result<NodeId, Error> {
        let node = self.connection.as_ref().and_then(|connection| NodeId::new(number, connection.dimension()));
        node.ok_or_else(|| {
            let fault = Fault::Decode { opcode: Opcode::Event, error: DecodeError::Value { field: "node" } };
            Error::Protocol { server: self.server().unwrap_or_default().to_owned(), fault }
        })
    }

    /// Gives the connection up; the next one is made to the next server.
    pub(super) fn close(&mut self) {
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
                // Each client has an order of its own, so that they do not all go to the same node.
                self.learned.sort_by_cached_key(|_| random());
                self.cluster.clone_from(&connection.hello().cluster);
            }
        }
    }

    /// No answer to this request of the present connection is wanted any more.
    pub(super) fn abandon(&mut self, id: RequestId) {
        if let Some(connection) = &mut self.connection {
            connection.abandon(id);
        }
    }

    /// The number of the connection that [`Self::open`] gave last.
    pub(super) const fn connection_number(&self) -> u64 {
        self.connections
    }

    fn is_usable(&mut self) -> bool {
        let is_idle = now().duration_since(self.used) >= IDLE_CHECK;
        let Some(connection) = &mut self.connection else { return false };
        let is_open = !is_idle || connection.unanswered() > 0 || connection.idle(Duration::ZERO).is_ok();
        is_open && !connection.is_closing()
    }

    /// The servers in the order in which they are tried: those that were listed, from the next one on, those that were
    /// learned, and the one that was left last.
    fn candidates(&self) -> Vec<Address> {
        let servers = &self.settings.servers;
        let (behind, from) = servers.split_at(self.next_server);
        let all = from.iter().chain(behind).chain(&self.learned).cloned();
        let (left, others): (Vec<_>, Vec<_>) = all.partition(|address| Some(address.to_string()) == self.left);
        others.into_iter().chain(left).collect()
    }

    /// Connects to the first server that answers. Those that refuse are tried once; those that do not answer are tried
    /// again with more patience when all have been tried.
    fn connect_any(&mut self, deadline: Deadline) -> Result<Connection, Error> {
        let mut to_try = self.candidates();
        let mut is_quick = to_try.len() > 1;
        loop {
            let mut silent = Vec::new();
            let mut failed = None;
            let mut left = to_try.len();
            for address in to_try {
                // One server that does not answer must leave time for the others.
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
            // Another program may listen there by now, or another cluster.
            introduction.to_mut().cluster.clone_from(&self.cluster);
        }
        let mut connection = Connection::open(address, &introduction, limit)?;
        connection.ask_after(self.settings.ping_after);
        if self.settings.learns_servers {
            connection.ask_nodes()?;
        }
        self.next_server = listed.unwrap_or(self.next_server);
        Ok(connection)
    }
}

/// Did a server simply not answer an attempt to connect?
fn is_timeout(error: &Error) -> bool {
    matches!(error, Error::Connect { source, .. } if source.kind() == std::io::ErrorKind::TimedOut)
}

/// A random part of [`RECONNECT_SPREAD`].
pub(super) fn spread() -> Duration {
    RECONNECT_SPREAD.mul_f64((random() % 1024) as f64 / 1024.0)
}

/// Says of a lost request what the node said of it.
pub(super) fn mark_untouched(mut error: Error, is_untouched: bool) -> Error {
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

/// The pauses between attempts: what the node asks for, else longer and longer, with jitter.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) const fn new() -> Self {
        Self(PAUSE_MIN)
    }

    /// The pause after this error.
    pub(super) fn next(&mut self, error: &Error) -> Duration {
        if matches!(error, Error::Lost { .. } | Error::TimedOut { .. }) && self.0 == PAUSE_MIN {
            self.0 *= 2;
            return spread(); // another node may answer at once
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
        let first: Vec<Duration> = (0..64).map(|_| Backoff::new().next(&silent)).collect();
        assert!(first.iter().all(|pause| *pause < RECONNECT_SPREAD));
        assert!(first.iter().any(|pause| pause.abs_diff(first[0]) > RECONNECT_SPREAD / 8), "{first:?}");
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..32).map(|_| backoff.next(&silent)).collect();
        assert!(pauses[8..].iter().all(|pause| (PAUSE_MAX / 2..=PAUSE_MAX).contains(pause)), "{pauses:?}");
    }
}
