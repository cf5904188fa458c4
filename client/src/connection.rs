//! One connection to one node: requests out, responses in, without retries.
//!
//! This is the layer below [`Client`](super::Client), for programs that do their own pipelining: [`Connection::send`]
//! only buffers a request, [`Connection::flush`] writes all buffered requests, and [`Connection::receive`] returns the
//! next response, in whatever order the node answers. While any of them waits, the node's PINGs are answered.
//!
//! A subscription is identified by the request id of its SUBSCRIBE. [`Connection::next`] returns the responses and
//! pushes of subscriptions in the order in which the node sent them; [`Connection::receive`] leaves them for it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use dht_protocol::limits::{FRAME_MAX, PAYLOAD_MAX};
use dht_protocol::types::{Dimension, NodeId, RequestId, crc32};
use dht_protocol::wire::request::ANY_NODE;
use dht_protocol::wire::{Flags, Goaway, Head, Header, Hello, Opcode, Request};

use crate::address::Address;
use crate::clock::{Deadline, now, random};
use crate::error::{Error, Fault, Loss};
use crate::session::grants::Grants;
use crate::session::handshake::{self, Agreed};
use crate::session::incoming::{self, Answer, Incoming, Pushed, Taken};
use crate::session::pending::Pending;
use crate::session::tap::{Direction, Tap};
use crate::session::watch::{QUIET_DEFAULT, Verdict, Watch};
use crate::stream::{Filled, Stream};

/// What a client states about itself in HELLO.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// Name and version of the program, for the operators of the cluster.
    pub software: String,
    /// The expected cluster; an empty name accepts any.
    pub cluster: String,
    /// True to keep a copy of every frame for [`Connection::tapped`].
    pub tap: bool,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    server: String,
    hello: Hello,
    node: NodeId,
    dimension: Dimension,
    pending: Pending,
    grants: Grants,
    /// Responses that arrived during a call that was waiting for something else.
    answers: VecDeque<Answer>,
    /// Responses and pushes of subscriptions that arrived during a call that was waiting for something else.
    subscribed: VecDeque<Incoming>,
    watch: Watch,
    /// The request id of the library's own NODES while it is unanswered.
    nodes_asked: Option<RequestId>,
    /// The addresses of the other nodes of the cube.
    learned: Vec<Address>,
    goaway: Option<Goaway>,
    tap: Option<Tap>,
}

impl Connection {
    /// Connects to a node and negotiates the version.
    ///
    /// # Errors
    /// Returns [`Error::Connect`] or [`Error::Rejected`], or [`Error::Protocol`] if the server at that address is not a
    /// node.
    pub fn open(address: &Address, introduction: &Introduction, deadline: Deadline) -> Result<Self, Error> {
        let server = address.to_string();
        let failed = |source| Error::Connect { server: server.clone(), source };
        let mut refused = None;
        for resolved in address.resolve().map_err(failed)? {
            match Stream::connect(&resolved, deadline) {
                Ok(stream) => return Self::greet(stream, server, introduction, deadline),
                Err(error) => refused = Some(error),
            }
        }
        Err(failed(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
    }

    fn greet(
        mut stream: Stream,
        server: String,
        introduction: &Introduction,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let mut tap = introduction.tap.then(Tap::default);
        let Agreed { hello, node, dimension } =
            handshake::greet(&mut stream, &server, introduction, deadline, &mut tap)?;
        let pending = Pending::new(handshake::HELLO_ID.0 + 1);
        Ok(Self {
            stream,
            server,
            hello,
            node,
            dimension,
            pending,
            grants: Grants::default(),
            answers: VecDeque::new(),
            subscribed: VecDeque::new(),
            watch: Watch::new(QUIET_DEFAULT, now()),
            nodes_asked: None,
            learned: Vec::new(),
            goaway: None,
            tap,
        })
    }

    /// Returns the address that was passed to [`Self::open`].
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the node's HELLO.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Returns the id of the node.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Returns the dimension of the node's cube.
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// Returns the number of unanswered requests, including those that are still buffered.
    pub const fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Returns true once the node has announced that it will close. No new requests should then be sent on this
    /// connection.
    pub const fn is_closing(&self) -> bool {
        self.goaway.is_some()
    }

    /// Returns true if the node has said that it did not and will not act on this request.
    pub fn is_untouched(&self, id: RequestId) -> bool {
        self.goaway.as_ref().is_some_and(|goaway| id.0 > goaway.last_request_id)
    }

    /// Sets the silence after which [`Self::receive_watched`] and [`Self::next_watched`] send PING.
    pub(crate) fn ask_after(&mut self, quiet: Duration) {
        self.watch = Watch::new(quiet, now());
    }

    /// Buffers a NODES request, to learn the addresses of the other nodes. The response is handled internally, and it
    /// does no harm if none arrives.
    pub(crate) fn ask_nodes(&mut self) -> Result<(), Error> {
        let id = self.send(&Request::Nodes { node: ANY_NODE, from: 0 }, &[])?;
        self.pending.remove(id);
        self.nodes_asked = Some(id);
        Ok(())
    }

    /// Returns the addresses of the other nodes of the cube, as far as the node has reported them.
    pub(crate) fn learned(&self) -> &[Address] {
        &self.learned
    }

    /// Buffers a request, which the next [`Self::flush`], [`Self::receive`] or [`Self::next`] writes.
    ///
    /// # Errors
    /// Returns [`Error::BatchTooLarge`].
    ///
    /// # Panics
    /// For CREDIT, which has no response: see [`Self::credit`].
    pub fn send(&mut self, request: &Request<'_>, payload: &[u8]) -> Result<RequestId, Error> {
        if payload.len() > PAYLOAD_MAX as usize {
            return Err(Error::BatchTooLarge { bytes: payload.len(), bytes_max: PAYLOAD_MAX as usize });
        }
        let opcode = request.opcode();
        assert_ne!(opcode, Opcode::Credit, "CREDIT is no request of its own");
        if !self.expects() {
            self.watch.begin(now());
        }
        let request_id = self.pending.insert(opcode);
        self.grants.on_sent(request_id, request);
        let head = Head { opcode: opcode.number(), flags: Flags::default(), status: 0, request_id };
        self.write(head, request, payload);
        Ok(request_id)
    }

    /// Buffers CREDIT: the node may send `limit` bytes of records in total since the start of the subscription. A lower
    /// limit than before has no effect; nor has one for a subscription that does not exist or whose SUBSCRIBE is
    /// unanswered.
    pub fn credit(&mut self, subscription: RequestId, limit: u64) {
        if self.grants.raise(subscription, limit) {
            let request = Request::Credit { limit };
            let opcode = Opcode::Credit.number();
            let head = Head { opcode, flags: Flags::ONEWAY, status: 0, request_id: subscription };
            self.write(head, &request, &[]);
        }
    }

    /// Buffers UNSUBSCRIBE and forgets the subscription at once: none of its records are returned any more. To receive
    /// the records up to the end of the subscription, send the request and wait for its response instead.
    pub fn unsubscribe(&mut self, subscription: RequestId) {
        self.grants.forget(subscription);
        self.subscribed.retain(|incoming| !incoming.is_push_of(subscription));
        let id = self.send(&Request::Unsubscribe { subscription }, &[]).expect("no payload is too large");
        self.pending.remove(id);
    }

    fn write(&mut self, head: Head, request: &Request<'_>, payload: &[u8]) {
        let out = self.stream.output();
        let start = out.len();
        head.seal(None, (payload.len(), crc32(payload)), out, |args| request.encode(args));
        out.extend_from_slice(payload);
        if let Some(tap) = &mut self.tap {
            tap.add(Direction::Sent, &out[start..]);
        }
    }

    /// Abandons a request: its response is ignored. If the response starts a subscription, that is ended.
    pub fn abandon(&mut self, id: RequestId) {
        self.pending.remove(id);
        self.grants.forget(id);
    }

    /// Writes the buffered requests, and reads input meanwhile. Returns `false` if the deadline passed first; the next
    /// call then writes the rest.
    ///
    /// # Errors
    /// Returns [`Error::Lost`].
    pub fn flush(&mut self, deadline: Deadline) -> Result<bool, Error> {
        self.stream.flush(deadline).map_err(|error| self.lost(error))
    }

    /// Writes the buffered requests and returns the next response, in whatever order the node answers, or `None` if
    /// none arrived by the deadline. Whatever belongs to subscriptions (DELIVER, EVENT, and the responses to SUBSCRIBE
    /// and UNSUBSCRIBE) is kept for [`Self::next`]; its size is bounded by the credit that was given.
    ///
    /// # Errors
    /// Returns [`Error::Lost`] once the connection has ended and all received responses have been returned, or
    /// [`Error::Protocol`].
    pub fn receive(&mut self, deadline: Deadline) -> Result<Option<Answer>, Error> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(Some(answer));
            }
            match self.read(deadline)? {
                Some((opcode, incoming)) => self.keep(opcode, incoming),
                None => return Ok(None),
            }
        }
    }

    /// Writes the buffered requests and returns whatever arrives next, including pushes, or `None` if nothing arrived
    /// by the deadline.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn next(&mut self, deadline: Deadline) -> Result<Option<Incoming>, Error> {
        if let Some(incoming) = self.subscribed.pop_front() {
            return Ok(Some(incoming));
        }
        if let Some(answer) = self.answers.pop_front() {
            return Ok(Some(Incoming::Answer(answer)));
        }
        Ok(self.read(deadline)?.map(|(_, incoming)| incoming))
    }

    /// Like [`Self::receive`], but gives up a node that has stopped: early enough to leave time for another one, where
    /// `limit` is the time limit for a response, of which some may have passed, and 0 means no limit.
    ///
    /// # Errors
    /// As [`Self::receive`], and [`Error::TimedOut`] if the node is silent for too long.
    pub(crate) fn receive_watched(&mut self, deadline: Deadline, limit: Duration) -> Result<Option<Answer>, Error> {
        self.watch.set_limit((!limit.is_zero()).then_some(limit));
        self.watched(deadline, Self::receive)
    }

    /// Like [`Self::next`], but gives up a node that has stopped.
    ///
    /// # Errors
    /// As [`Self::next`], and [`Error::TimedOut`] if the node is silent for too long.
    pub(crate) fn next_watched(&mut self, deadline: Deadline) -> Result<Option<Incoming>, Error> {
        self.watch.set_limit(None);
        self.watched(deadline, Self::next)
    }

    /// Calls `take` until it returns something or the deadline passes. Each time that nothing has arrived, the node's
    /// silence is judged.
    fn watched<T>(
        &mut self,
        deadline: Deadline,
        take: impl Fn(&mut Self, Deadline) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        loop {
            let due = if self.expects() { self.watch.due(self.stream.heard()) } else { Deadline::NEVER };
            if let Some(taken) = take(self, deadline.earlier(due))? {
                return Ok(Some(taken));
            }
            self.judge_silence()?;
            if deadline.is_over() {
                return Ok(None);
            }
        }
    }

    /// Sends PING to a silent node, or gives it up. All available input must have been read before.
    fn judge_silence(&mut self) -> Result<(), Error> {
        if !self.expects() {
            return Ok(());
        }
        match self.watch.judge(self.stream.heard(), now()) {
            Verdict::Wait => {}
            Verdict::Ask => {
                let id = self.send(&Request::Ping { node: ANY_NODE, token: 0 }, &[])?;
                self.pending.remove(id); // that bytes come is answer enough
                self.flush(Deadline::at_once())?;
                self.watch.on_asked(now(), random());
            }
            Verdict::Dead(waited) => return Err(Error::TimedOut { server: self.server.clone(), waited }),
        }
        Ok(())
    }

    /// Returns true if something is expected of the node: a response, or the pushes of a subscription.
    fn expects(&self) -> bool {
        self.pending.len() > 0 || !self.grants.is_empty()
    }

    /// Answers PINGs and reads input for `time`. The input is kept for [`Self::receive`] and [`Self::next`].
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn idle(&mut self, time: Duration) -> Result<(), Error> {
        let deadline = if time.is_zero() { Deadline::at_once() } else { Deadline::after(time) };
        while let Some((opcode, incoming)) = self.read(deadline)? {
            self.keep(opcode, incoming);
        }
        Ok(())
    }

    fn keep(&mut self, opcode: Opcode, incoming: Incoming) {
        match incoming {
            Incoming::Answer(answer) if !matches!(opcode, Opcode::Subscribe | Opcode::Unsubscribe) => {
                self.answers.push_back(answer);
            }
            Incoming::Answer(_) | Incoming::Push(_) => self.subscribed.push_back(incoming),
        }
    }

    /// Writes the buffered requests and reads up to the next response or push.
    fn read(&mut self, deadline: Deadline) -> Result<Option<(Opcode, Incoming)>, Error> {
        loop {
            while let Some(header) = self.buffered_frame()? {
                let incoming = self.on_frame(header)?;
                if incoming.is_some() {
                    return Ok(incoming);
                }
            }
            if let Some(goaway) = &self.goaway
                && !self.pending.any_up_to(RequestId(goaway.last_request_id))
            {
                return Err(self.lost(io::ErrorKind::ConnectionAborted.into()));
            }
            if !self.flush(deadline)? {
                return Ok(None);
            }
            if self.stream.fill(deadline).map_err(|error| self.lost(error))? == Filled::Nothing {
                return Ok(None);
            }
        }
    }

    /// Returns the frames in both directions since the last call, if [`Introduction::tap`] is set.
    pub fn tapped(&mut self) -> Vec<(Direction, Vec<u8>)> {
        self.tap.as_mut().map(Tap::take).unwrap_or_default()
    }

    fn buffered_frame(&self) -> Result<Option<Header>, Error> {
        let frame_max = self.hello.max_frame.min(FRAME_MAX);
        incoming::whole_frame(self.stream.input(), frame_max).map_err(|fault| self.fault(fault))
    }

    /// Decodes the frame at the start of the input. Returns its opcode and content if a caller may be waiting for it.
    fn on_frame(&mut self, header: Header) -> Result<Option<(Opcode, Incoming)>, Error> {
        let bytes = &self.stream.input()[..header.frame_len()];
        if let Some(tap) = &mut self.tap {
            tap.add(Direction::Received, bytes);
        }
        if header.flags.has(Flags::RESPONSE) && self.nodes_asked == Some(header.request_id) {
            self.nodes_asked = None;
            self.learned = incoming::read_nodes(header, bytes);
            self.stream.consume(header.frame_len());
            return Ok(None);
        }
        let taken = incoming::read_frame(header, bytes, &mut self.pending);
        self.stream.consume(header.frame_len());
        match taken.map_err(|fault| self.fault(fault))? {
            Taken::Answer(opcode, answer) => {
                self.grants.on_answer(&answer);
                return Ok(Some((opcode, Incoming::Answer(answer))));
            }
            Taken::Push(opcode, push) => {
                let pushed = Pushed { subscription: header.request_id, push };
                if self.grants.on_push(&pushed).map_err(|fault| self.fault(fault))? {
                    return Ok(Some((opcode, Incoming::Push(pushed))));
                }
            }
            Taken::Goaway(goaway) => self.goaway = Some(goaway),
            Taken::Reply(response) => {
                let out = self.stream.output();
                let start = out.len();
                response.encode(header.opcode, header.request_id, None, out);
                if let Some(tap) = &mut self.tap {
                    tap.add(Direction::Sent, &out[start..]);
                }
            }
            Taken::Abandoned if !self.grants.has(header.request_id) => self.unsubscribe(header.request_id),
            Taken::Abandoned | Taken::Nothing => {}
        }
        Ok(None)
    }

    fn fault(&self, fault: Fault) -> Error {
        Error::Protocol { server: self.server.clone(), fault }
    }

    fn lost(&self, error: io::Error) -> Error {
        let reason = match &self.goaway {
            Some(goaway) => Loss::Goaway(Box::new(goaway.clone())),
            None => Loss::Io(error),
        };
        Error::Lost { server: self.server.clone(), reason, untouched: false }
    }
}
