//! The blocking client of a cluster: it drives a [`Session`] with a socket and the clock.

use std::future::{Future, ready};
use std::time::{Duration, Instant};

use dht_protocol::types::{Dimension, NodeId};
use dht_protocol::wire::Hello;

use crate::address::Address;
use crate::builder::Builder;
use crate::caller::{Caller, PIPELINE};
use crate::clock::{now, pause, random};
use crate::error::Error;
use crate::session::call::{Outcome, Repeat};
use crate::session::calls::CallId;
use crate::session::channel::Channel;
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::driving::{Action, Event, Watching};
use crate::session::request::OwnedRequest;
use crate::session::tap::Direction;
use crate::stream::Stream;

/// A connection that was idle for this long is checked before it is used, because the node may have closed it.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// A client of a cluster.
#[derive(Debug)]
pub struct Client {
    session: Session,
    stream: Option<Stream>,
    timeout: Duration,
    /// When bytes were last moved.
    used: Instant,
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

    pub(crate) fn with(builder: Builder) -> Result<Self, Error> {
        let timeout = builder.0.timeout;
        let deadline = Deadline::of_timeout(timeout);
        let mut client = Self { session: Session::new(builder.0, random()), stream: None, timeout, used: now() };
        client.open(deadline)?;
        Ok(client)
    }

    /// Returns the settings of this client, to connect another one. That one also knows the servers that this one has
    /// learned, so it connects while none of the listed servers answers.
    pub fn to_builder(&self) -> Builder {
        Builder(self.session.settings())
    }

    /// Returns the ingress: the node that this client is connected to. Connects to one if necessary.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn ingress(&mut self) -> Result<NodeId, Error> {
        let deadline = self.deadline();
        self.open(deadline).map(|channel| channel.node())
    }

    /// Returns the dimension of the cube.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn dimension(&mut self) -> Result<Dimension, Error> {
        let deadline = self.deadline();
        self.open(deadline).map(|channel| channel.dimension())
    }

    /// Returns the HELLO of the connected node, or `None` without a connection.
    pub fn hello(&self) -> Option<&Hello> {
        self.session.channel().map(Channel::hello)
    }

    /// Returns the address of the connected node, or `None` without a connection.
    pub fn server(&self) -> Option<&str> {
        self.session.channel().map(Channel::server)
    }

    /// Returns the time limit for connecting and for each reply.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Answers the node's PINGs for the given time. A program that has no requests for longer than about ten seconds
    /// must call this repeatedly; otherwise the node closes the connection.
    ///
    /// # Errors
    /// Returns [`Error::Lost`]; the next request reconnects.
    pub fn idle(&mut self, time: Duration) -> Result<(), Error> {
        if self.session.channel().is_none() {
            pause(time);
            return Ok(());
        }
        let deadline = if time.is_zero() { Deadline::at_once() } else { Deadline::after(time) };
        self.session.set_watching(Watching::No);
        self.drive(deadline, |session| session.take_failure().map(Err)).unwrap_or(Ok(()))
    }

    /// Returns the frames in both directions since the last call, if [`Builder::tap`] is set.
    pub fn tapped(&mut self) -> Vec<(Direction, Vec<u8>)> {
        self.session.tapped()
    }

    // --- requests with retries ---

    /// Returns the deadline for the response to a request that is made now.
    fn deadline(&self) -> Deadline {
        Deadline::of_timeout(self.timeout)
    }

    /// Makes a request, with retries where they may help and are safe.
    fn call_blocking(&mut self, request: OwnedRequest, repeat: Repeat, wait: Duration) -> Outcome {
        self.check_idle();
        let id = self.session.call(request, repeat, wait, now());
        let outcome = self.drive(Deadline::NEVER, |session| {
            session.forget_answers(); // nobody waits for them any more
            session.take(id)
        });
        outcome.expect("a call that is not done waits for a server, a response or a time")
    }

    fn call_all_blocking(&mut self, requests: Vec<OwnedRequest>) -> Vec<Outcome> {
        self.check_idle();
        let mut outcomes: Vec<Option<Outcome>> = requests.iter().map(|_| None).collect();
        let mut unsent = requests.into_iter().enumerate();
        let mut sent: Vec<(usize, CallId)> = Vec::with_capacity(PIPELINE);
        while outcomes.iter().any(Option::is_none) {
            while sent.len() < PIPELINE
                && let Some((index, request)) = unsent.next()
            {
                sent.push((index, self.session.call(request, Repeat::Unanswered, Duration::ZERO, now())));
            }
            self.drive(Deadline::NEVER, |session| {
                session.forget_answers();
                let count = sent.len();
                sent.retain(|(index, id)| {
                    outcomes[*index] = session.take(*id);
                    outcomes[*index].is_none()
                });
                (sent.len() < count).then_some(())
            });
        }
        outcomes.into_iter().flatten().collect()
    }

    // --- the connection ---

    /// Returns the connection, after reconnecting if it is unusable: each server is tried once, starting with the next
    /// one.
    pub(crate) fn open(&mut self, deadline: Deadline) -> Result<&mut Channel, Error> {
        self.check_idle();
        self.session.open(deadline, now());
        self.drive(Deadline::NEVER, Session::opened).expect("connecting ends with a connection or an error")?;
        Ok(self.session.channel_mut().expect("it is open"))
    }

    /// Returns the session.
    pub(crate) const fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    // --- the driver ---

    /// Runs the session until `done` returns something or the deadline passes.
    fn drive<T>(&mut self, deadline: Deadline, mut done: impl FnMut(&mut Session) -> Option<T>) -> Option<T> {
        self.drive_with(deadline, |session, _| done(session).ok_or(Deadline::NEVER))
    }

    /// Runs the session until `done` returns something or the deadline passes, and gives up a node that has stopped if
    /// `watching` says so. Until it is done, `done` returns the time at which to call it again.
    pub(crate) fn drive_watched<T>(
        &mut self,
        watching: Watching,
        deadline: Deadline,
        done: impl FnMut(&mut Session, Instant) -> Result<T, Deadline>,
    ) -> Option<T> {
        self.check_idle();
        self.session.set_watching(watching);
        self.drive_with(deadline, done)
    }

    fn drive_with<T>(
        &mut self,
        deadline: Deadline,
        mut done: impl FnMut(&mut Session, Instant) -> Result<T, Deadline>,
    ) -> Option<T> {
        let mut is_last = false;
        loop {
            let wake = match done(&mut self.session, now()) {
                Ok(result) => return Some(result),
                Err(wake) => wake,
            };
            if self.act() {
                continue;
            }
            if is_last {
                self.flush(); // a PING
                return None;
            }
            let until = deadline.earlier(wake).earlier(self.session.wake_at());
            let has_moved = match (&mut self.stream, self.session.bytes()) {
                (Some(stream), Some(bytes)) => stream.exchange(bytes, until),
                _ => {
                    pause(until.remaining()?);
                    false
                }
            };
            self.used = now();
            self.session.handle(Event::Progress, self.used);
            is_last = !has_moved && deadline.is_over();
        }
    }

    /// Opens and closes the connection as the session asks. Returns true if it had asked for anything.
    fn act(&mut self) -> bool {
        let mut has_acted = false;
        while let Some(action) = self.session.next_action() {
            has_acted = true;
            match action {
                Action::Close => self.stream = None,
                Action::Connect(address, deadline) => {
                    let event = match Stream::connect(&address, deadline) {
                        Ok(stream) => {
                            self.stream = Some(stream);
                            Event::Connected
                        }
                        Err(error) => Event::ConnectFailed(error),
                    };
                    self.session.handle(event, now());
                }
            }
        }
        has_acted
    }

    /// Writes as much as the socket takes without waiting.
    pub(crate) fn flush(&mut self) {
        if let (Some(stream), Some(bytes)) = (&mut self.stream, self.session.bytes()) {
            stream.flush(bytes, Deadline::at_once());
        }
    }

    /// Reads what has arrived while the program did something else, so that a connection that was closed meanwhile is
    /// not used.
    fn check_idle(&mut self) {
        let is_unused = self.session.channel().is_some_and(|channel| channel.unanswered() == 0);
        if is_unused && now().duration_since(self.used) >= IDLE_CHECK {
            self.session.set_watching(Watching::No);
            self.drive(Deadline::at_once(), |_| None::<()>);
        }
    }
}

impl Caller for Client {
    fn call(&mut self, request: OwnedRequest, repeat: Repeat, wait: Duration) -> impl Future<Output = Outcome> + Send {
        ready(self.call_blocking(request, repeat, wait))
    }

    fn call_all(&mut self, requests: Vec<OwnedRequest>) -> impl Future<Output = Vec<Outcome>> + Send {
        ready(self.call_all_blocking(requests))
    }

    fn place(&mut self) -> impl Future<Output = Result<(NodeId, Dimension), Error>> + Send {
        let deadline = self.deadline();
        ready(self.open(deadline).map(|channel| (channel.node(), channel.dimension())))
    }

    fn last_server(&self) -> String {
        self.session.last_server().to_owned()
    }

    fn now(&self) -> Instant {
        now()
    }
}
