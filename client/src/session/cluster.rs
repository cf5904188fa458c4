//! A session with a cluster: a connection to whichever server answers, and requests with retries.
//!
//! A driver owns the socket and the clock. After each change it performs the [`Action`]s, moves bytes until
//! [`Session::wake_at`], and calls [`Session::handle`].

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use dht_protocol::cube;
use dht_protocol::types::{Dimension, NodeId, RequestId, TopicName};
use dht_protocol::wire::{DecodeError, Opcode, Response, Status};
use fastrand::Rng;

use crate::error::{Error, Fault, Loss};
use crate::session::buffers::Buffers;
use crate::session::call::{Call, Outcome, Repeat};
use crate::session::calls::{CallId, Calls};
use crate::session::channel::Channel;
use crate::session::deadline::Deadline;
use crate::session::driving::{Action, Event, Settings, Watching};
use crate::session::handshake::Greeting;
use crate::session::incoming::{Answer, Incoming};
use crate::session::request::OwnedRequest;
use crate::session::servers::{Learned, Round, Servers};
use crate::session::tap::Direction;

/// While more bytes than this are to be sent, calls wait. A node that reads nothing thus does not fill the memory with
/// requests that have timed out.
const OUTPUT_MAX: usize = 4 << 20;

/// The state of a session.
#[derive(Debug)]
pub(crate) struct Session {
    settings: Settings,
    servers: Servers,
    link: Link,
    actions: VecDeque<Action>,
    calls: Calls,
    /// Responses to requests that are not calls.
    answers: VecDeque<Answer>,
    /// Responses and pushes of subscriptions that a connection had received before it failed.
    subscribed: VecDeque<Incoming>,
    watching: Watching,
    /// Why the last connection ended or could not be made, until it is returned to a caller.
    failure: Option<Error>,
    /// Number of connections made. The request ids of one connection mean nothing on another.
    connections: u64,
    /// The current or last node, and its dimension.
    last: Option<(String, Dimension)>,
    random: Rng,
    /// Copies of the frames of closed connections.
    tapped: Vec<(Direction, Vec<u8>)>,
}

/// The connection to the cluster.
#[derive(Debug)]
enum Link {
    Closed,
    /// The driver connects.
    Connecting(Round),
    /// HELLO is unanswered.
    Greeting(Round, Greeting),
    Open(Box<Channel>),
}

impl Session {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        assert!(!settings.servers.is_empty(), "a session has at least one server");
        let mut random = Rng::with_seed(seed);
        let learned = if settings.learns_servers { settings.learned.clone() } else { Learned::default() };
        let servers = Servers::new(settings.servers.clone(), learned, &mut random);
        Self {
            servers,
            settings,
            link: Link::Closed,
            actions: VecDeque::new(),
            calls: Calls::default(),
            answers: VecDeque::new(),
            subscribed: VecDeque::new(),
            watching: Watching::No,
            failure: None,
            connections: 0,
            last: None,
            random,
            tapped: Vec::new(),
        }
    }

    // --- for the driver ---

    /// Returns the next action that the driver must perform.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns the bytes of the connection, if there is one.
    pub(crate) const fn bytes(&mut self) -> Option<&mut Buffers> {
        match &mut self.link {
            Link::Greeting(_, greeting) => Some(greeting.bytes()),
            Link::Open(channel) => Some(channel.bytes()),
            Link::Closed | Link::Connecting(_) => None,
        }
    }

    /// Returns when to call [`Self::handle`] although nothing has happened.
    pub(crate) fn wake_at(&self) -> Deadline {
        let link = match &self.link {
            Link::Closed => Deadline::NEVER,
            Link::Connecting(round) => round.limit(),
            Link::Greeting(round, greeting) => round.limit().earlier(greeting.wake_at()),
            Link::Open(channel) if self.watches().is_some() => channel.wake_at(),
            Link::Open(_) => Deadline::NEVER,
        };
        link.earlier(self.calls.wake_at())
    }

    /// Handles what has happened, and does what is due.
    pub(crate) fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.on_connected(now),
            Event::ConnectFailed(source) => {
                if let Link::Connecting(round) = &self.link {
                    let server = round.address().to_string();
                    self.on_attempt_failed(Error::Connect { server, source }, now);
                }
            }
            Event::Progress => {}
        }
        self.greet(now);
        self.read(now);
        self.watch(now);
        self.drive_calls(now);
    }

    // --- the connection ---

    /// Starts to connect, unless there is a connection, and stops trying at the deadline. [`Self::opened`] returns the
    /// result.
    pub(crate) fn open(&mut self, deadline: Deadline, now: Instant) {
        self.failure = None;
        if let Link::Open(channel) = &self.link
            && channel.is_closing()
            && !self.calls.has_unrepeatable()
        {
            let error = Error::Lost { server: channel.server().to_owned(), reason: aborted(), untouched: false };
            self.on_failed(error, now);
            self.failure = None;
        }
        match &mut self.link {
            Link::Open(_) => {}
            Link::Connecting(round) | Link::Greeting(round, _) => round.extend(deadline),
            Link::Closed => {
                let round = Round::new(&self.servers, deadline);
                self.try_next(round, now);
            }
        }
    }

    /// Returns the result of [`Self::open`]; `None` while the connection is being made.
    pub(crate) fn opened(&mut self) -> Option<Result<(), Error>> {
        match &self.link {
            Link::Open(_) => Some(Ok(())),
            Link::Connecting(_) | Link::Greeting(..) => None,
            Link::Closed => self.failure.take().map(Err),
        }
    }

    /// Returns the deadline for the response to a request that is made now.
    pub(crate) fn deadline(&self, now: Instant) -> Deadline {
        let timeout = self.settings.timeout;
        if timeout.is_zero() { Deadline::NEVER } else { Deadline::at(now, timeout) }
    }

    /// Returns true while there is no connection and none is being made.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    /// Returns true while a connection is being made.
    pub(crate) const fn is_connecting(&self) -> bool {
        matches!(self.link, Link::Connecting(_) | Link::Greeting(..))
    }

    /// Returns the open connection.
    pub(crate) fn channel(&self) -> Option<&Channel> {
        if let Link::Open(channel) = &self.link { Some(channel) } else { None }
    }

    /// Returns the open connection, for requests that are not repeated.
    pub(crate) fn channel_mut(&mut self) -> Option<&mut Channel> {
        if let Link::Open(channel) = &mut self.link { Some(channel) } else { None }
    }

    /// Closes the connection; the next one is made to the next server. Unanswered calls are sent again if that is safe.
    pub(crate) fn close(&mut self, now: Instant) {
        let server = self.last_server().to_owned();
        self.on_failed(Error::Lost { server, reason: aborted(), untouched: false }, now);
        self.drop_link();
        self.failure = None;
        self.answers.clear();
        self.subscribed.clear();
    }

    fn drop_link(&mut self) {
        match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Closed => return,
            Link::Connecting(_) => {}
            Link::Greeting(_, mut greeting) => self.tapped.extend(greeting.bytes().tapped()),
            Link::Open(mut channel) => {
                self.tapped.extend(channel.bytes().tapped());
                self.servers.on_closed(&channel, &mut self.random);
                self.subscribed.extend(std::iter::from_fn(|| channel.next_subscribed()));
            }
        }
        self.push_close();
    }

    /// Tells the driver to close the connection, or to give up the attempt to make it. An attempt that the driver has
    /// not begun is cancelled.
    fn push_close(&mut self) {
        self.actions.retain(|action| !matches!(action, Action::Connect(..)));
        self.actions.push_back(Action::Close);
    }

    /// Returns the number of connections made so far, which identifies the current one.
    pub(crate) const fn connection_number(&self) -> u64 {
        self.connections
    }

    /// Returns the address of the current or last node; empty if there was none.
    pub(crate) fn last_server(&self) -> &str {
        self.last.as_ref().map_or("", |(server, _)| server)
    }

    /// Returns the home of a topic in the cube of the current or last connection.
    pub(crate) fn home(&self, topic: &str) -> Option<NodeId> {
        let (_, dimension) = self.last.as_ref()?;
        TopicName::new(topic).ok().map(|name| cube::home(name, *dimension))
    }

    /// Converts a node's number in an EVENT.
    ///
    /// # Errors
    /// Returns [`Error::Protocol`] if the cube has no such node.
    pub(crate) fn node_of(&self, number: u16) -> Result<NodeId, Error> {
        let node = self.last.as_ref().and_then(|(_, dimension)| NodeId::new(number, *dimension));
        node.ok_or_else(|| {
            self.fault(Fault::Decode { opcode: Opcode::Event, error: DecodeError::Value { field: "node" } })
        })
    }

    /// Returns the time limit for a response; 0 means none.
    pub(crate) const fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Converts an error response into an error. The connection to a node that is shutting down is closed.
    pub(crate) fn accept(&mut self, response: Response, now: Instant) -> Result<Response, Error> {
        let Response::Error(response) = response else { return Ok(response) };
        let server = self.last_server().to_owned();
        if response.status == Status::ShuttingDown.number() {
            self.close(now);
        }
        Err(Error::Refused { server, response })
    }

    /// Returns the error for a response of the wrong kind.
    pub(crate) fn mismatch(&self, opcode: Opcode) -> Error {
        self.fault(Fault::Answer { opcode })
    }

    /// Returns the error for a violation of the protocol by the current or last node.
    pub(crate) fn fault(&self, fault: Fault) -> Error {
        Error::Protocol { server: self.last_server().to_owned(), fault }
    }

    /// Takes the reason why the connection failed.
    pub(crate) const fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Returns the number of servers to try: the listed ones and those that were learned.
    pub(crate) fn servers(&self) -> usize {
        self.servers.count(self.channel())
    }

    /// Returns the settings of another session of the same client, with what this one has learned of other servers.
    pub(crate) fn settings(&self) -> Settings {
        Settings { learned: self.learned(), ..self.settings.clone() }
    }

    /// Returns what is known of other servers than the listed ones.
    pub(crate) fn learned(&self) -> Learned {
        self.servers.learned(self.channel())
    }

    /// Returns the frames in both directions since the last call, if the introduction asks for them.
    pub(crate) fn tapped(&mut self) -> Vec<(Direction, Vec<u8>)> {
        let mut frames = std::mem::take(&mut self.tapped);
        frames.extend(self.bytes().map(Buffers::tapped).unwrap_or_default());
        frames
    }

    fn try_next(&mut self, mut round: Round, now: Instant) {
        if let Some((address, limit)) = round.advance(now) {
            self.actions.push_back(Action::Connect(address, limit));
            self.link = Link::Connecting(round);
        } else {
            self.link = Link::Closed;
            self.on_unconnected(round.into_error(), now);
        }
    }

    fn on_connected(&mut self, now: Instant) {
        self.link = match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Connecting(round) => {
                let introduction = self.servers.introduction(round.address(), &self.settings.introduction);
                let server = round.address().to_string();
                let greeting = Greeting::new(server, &introduction, self.random.u64(..), now);
                Link::Greeting(round, greeting)
            }
            // The attempt has been cancelled meanwhile.
            link @ (Link::Closed | Link::Greeting(..) | Link::Open(_)) => link,
        };
    }

    /// Continues a handshake, or gives up an attempt that takes too long.
    fn greet(&mut self, now: Instant) {
        match &mut self.link {
            Link::Greeting(round, greeting) => match greeting.poll(now) {
                Ok(None) if !round.limit().has_passed(now) => {}
                Ok(None) => {
                    let error = greeting.give_up();
                    self.on_attempt_failed(error, now);
                }
                Err(error) => self.on_attempt_failed(error, now),
                Ok(Some(agreed)) => {
                    let Link::Greeting(round, greeting) = std::mem::replace(&mut self.link, Link::Closed) else {
                        unreachable!("it was matched above")
                    };
                    let mut channel = greeting.open(agreed, now);
                    channel.ask_after(self.settings.ping_after, now);
                    if self.settings.learns_servers {
                        channel.ask_nodes();
                    }
                    self.servers.on_opened(round.address());
                    self.connections += 1;
                    self.last = Some((channel.server().to_owned(), channel.dimension()));
                    self.answers.clear();
                    self.subscribed.clear();
                    self.link = Link::Open(Box::new(channel));
                }
            },
            Link::Connecting(round) if round.limit().has_passed(now) => {
                let error = round.timed_out();
                self.on_attempt_failed(error, now);
            }
            Link::Connecting(_) | Link::Open(_) | Link::Closed => {}
        }
    }

    /// Tries the next server.
    fn on_attempt_failed(&mut self, error: Error, now: Instant) {
        let (mut round, tapped) = match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Connecting(round) => (round, Vec::new()),
            Link::Greeting(round, mut greeting) => (round, greeting.bytes().tapped()),
            Link::Open(_) | Link::Closed => unreachable!("an attempt was under way"),
        };
        self.tapped.extend(tapped);
        self.push_close();
        round.on_failed(error);
        self.try_next(round, now);
    }

    /// Fails the calls that wait for a connection, because no server has answered.
    fn on_unconnected(&mut self, error: Error, now: Instant) {
        for id in self.calls.all_opening() {
            self.calls.fail(id, error.again(), now);
        }
        self.failure = Some(error);
    }

    /// Drops a failed connection, and fails all calls that were sent on it.
    fn on_failed(&mut self, error: Error, now: Instant) {
        let Link::Open(channel) = &self.link else { return };
        let sent = self.calls.all_sent();
        for (id, request) in &sent {
            let mut error = error.again();
            if let Error::Lost { untouched, .. } = &mut error {
                *untouched = channel.is_untouched(*request);
            }
            self.calls.fail(*id, error, now);
        }
        self.drop_link();
        self.failure = sent.is_empty().then_some(error);
    }

    // --- requests ---

    /// Begins a request, which is retried where that may help and is safe. `wait` is how long the node may hold back
    /// its response, as for a FETCH that waits for records. [`Self::take`] returns the result.
    pub(crate) fn call(&mut self, request: OwnedRequest, repeat: Repeat, wait: Duration, now: Instant) -> CallId {
        let id = self.enqueue(request, repeat, wait, now);
        self.drive_calls(now);
        id
    }

    /// Like [`Self::call`], but the next [`Self::handle`] begins the request. Its time limit counts from `made`.
    pub(crate) fn enqueue(&mut self, request: OwnedRequest, repeat: Repeat, wait: Duration, made: Instant) -> CallId {
        let limits = (self.settings.timeout, wait);
        self.calls.insert(Call::new(request, repeat, limits, self.random.u64(..), made))
    }

    /// Returns the result of a call, once there is one.
    pub(crate) fn take(&mut self, id: CallId) -> Option<Outcome> {
        self.calls.take(id)
    }

    /// Returns a call that is done, and its result.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_any(&mut self) -> Option<(CallId, Outcome)> {
        let id = self.calls.first_done()?;
        self.calls.take(id).map(|outcome| (id, outcome))
    }

    /// Abandons a call: its response is ignored.
    #[cfg(feature = "tokio")]
    pub(crate) fn cancel(&mut self, id: CallId) {
        if let Some(request) = self.calls.remove(id) {
            self.abandon(request);
        }
    }

    /// Returns the next response to a request that is not a call.
    ///
    /// # Errors
    /// Returns the reason why the connection ended.
    pub(crate) fn next_answer(&mut self) -> Result<Option<Answer>, Error> {
        match self.answers.pop_front() {
            Some(answer) => Ok(Some(answer)),
            None => self.failure.take().map_or(Ok(None), Err),
        }
    }

    /// Returns the next push, or response to a request that is not a call.
    ///
    /// # Errors
    /// Returns the reason why the connection ended.
    pub(crate) fn next_incoming(&mut self) -> Result<Option<Incoming>, Error> {
        let decoded = if let Link::Open(channel) = &mut self.link {
            channel.next_subscribed()
        } else {
            self.subscribed.pop_front()
        };
        if decoded.is_some() {
            return Ok(decoded);
        }
        self.next_answer().map(|answer| answer.map(Incoming::Answer))
    }

    /// Drops the received responses to requests that are not calls. For use when nobody waits for them any more.
    pub(crate) fn forget_answers(&mut self) {
        self.answers.clear();
    }

    /// Sets whether a silent node is given up even while no call is unanswered.
    pub(crate) fn set_watching(&mut self, watching: Watching) {
        self.watching = watching;
        self.set_limit();
    }

    /// Decodes what has arrived.
    fn read(&mut self, now: Instant) {
        let error = loop {
            let Link::Open(channel) = &mut self.link else { return };
            let answer = match channel.next_answer() {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(error) => break error,
            };
            self.on_answer(answer, now);
        };
        self.on_failed(error, now);
    }

    fn on_answer(&mut self, answer: Answer, now: Instant) {
        let Some(id) = self.calls.find(answer.id) else {
            self.answers.push_back(answer);
            return;
        };
        let Response::Error(response) = answer.response else { return self.calls.finish(id, answer.response) };
        let is_leaving = response.status == Status::ShuttingDown.number();
        let server = self.last_server().to_owned();
        self.calls.fail(id, Error::Refused { server, response }, now);
        // The node still answers what it has accepted.
        if is_leaving && !self.calls.has_unrepeatable() {
            self.close(now);
        }
    }

    /// Returns the time limit within which a silent node is given up; `None` if it is not given up at all.
    ///
    /// While a request that must not be repeated is unanswered, the client waits for as long as the timeout allows: the
    /// response may still tell the outcome.
    fn watches(&self) -> Option<Option<Duration>> {
        if self.calls.has_unrepeatable() {
            return None;
        }
        if self.calls.sent() > 0 {
            return Some(self.calls.limit());
        }
        match self.watching {
            Watching::No => None,
            Watching::Within(limit) => Some(limit),
        }
    }

    fn set_limit(&mut self) {
        if let Some(limit) = self.watches()
            && let Link::Open(channel) = &mut self.link
        {
            channel.set_limit(limit);
        }
    }

    /// Sends PING to a silent node, or gives it up.
    fn watch(&mut self, now: Instant) {
        if self.watches().is_some()
            && let Link::Open(channel) = &mut self.link
            && let Err(error) = channel.on_time(now)
        {
            self.on_failed(error, now);
        }
    }

    /// Begins the attempts that are due, ends those that take too long, and sends requests that waited for a
    /// connection.
    fn drive_calls(&mut self, now: Instant) {
        self.end_late(now);
        self.calls.begin_due(now);
        let Some(deadline) = self.calls.opening_until() else { return };
        self.open(deadline, now);
        let Link::Open(channel) = &mut self.link else { return };
        if channel.is_closing() {
            return; // its remaining responses are awaited first
        }
        for id in self.calls.all_opening() {
            if channel.bytes().output().len() > OUTPUT_MAX {
                break;
            }
            self.calls.send(id, |request| channel.send_owned(request, now));
        }
        self.set_limit();
    }

    /// Ends the attempts that take too long. A node that others still wait for, and that has said something in that
    /// time, is not given up.
    fn end_late(&mut self, now: Instant) {
        let late = self.calls.late(now);
        let Some((_, oldest)) = late.first() else { return };
        let is_heard = match &mut self.link {
            Link::Open(channel) => channel.bytes().heard() > oldest.start,
            Link::Closed | Link::Connecting(_) | Link::Greeting(..) => false,
        };
        let (server, waited) = (self.last_server().to_owned(), self.settings.timeout.max(now - oldest.start));
        let timed_out = match &self.link {
            Link::Connecting(round) | Link::Greeting(round, _) => round.timed_out(),
            Link::Closed | Link::Open(_) => Error::TimedOut { server, waited },
        };
        let is_sent = |id: &CallId| self.calls.is_sent(*id);
        let sent = late.iter().filter(|(id, _)| is_sent(id)).count();
        if sent > 0 && (!is_heard || sent == self.calls.sent()) {
            self.on_failed(timed_out, now);
            return self.end_late(now);
        }
        for (id, _) in late {
            if let Some(request) = self.calls.fail(id, timed_out.again(), now) {
                self.abandon(request);
            }
        }
    }

    /// Abandons a request that is not a call: its response is ignored.
    pub(crate) fn abandon(&mut self, id: RequestId) {
        if let Link::Open(channel) = &mut self.link {
            channel.abandon(id);
        }
    }
}

/// The reason why a connection ended that the client closed itself.
fn aborted() -> Loss {
    Loss::Io(io::ErrorKind::ConnectionAborted.into())
}
