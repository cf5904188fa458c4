//! One open connection, without its socket: requests in, responses and pushes out.
//!
//! Frames are decoded one at a time, when the caller asks for a result. A caller that asks for nothing reads nothing
//! from the socket either, so that the node cannot send without limit.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use dht_protocol::limits::FRAME_MAX;
use dht_protocol::types::{Dimension, NodeId, RequestId, crc32};
use dht_protocol::wire::field::Writer;
use dht_protocol::wire::request::ANY_NODE;
use dht_protocol::wire::{Flags, Goaway, Head, Header, Hello, Opcode, Request};
use fastrand::Rng;

use crate::address::Address;
use crate::error::{Error, Fault, Loss};
use crate::session::buffers::Buffers;
use crate::session::deadline::Deadline;
use crate::session::grants::Grants;
use crate::session::handshake::{Agreed, HELLO_ID};
use crate::session::incoming::{self, Answer, Incoming, Pushed, Taken};
use crate::session::pending::Pending;
use crate::session::request::{OwnedRequest, check_payload};
use crate::session::watch::{QUIET_DEFAULT, Verdict, Watch};

/// The state of an open connection.
#[derive(Debug)]
pub(crate) struct Channel {
    server: String,
    bytes: Buffers,
    agreed: Agreed,
    pending: Pending,
    grants: Grants,
    /// Responses that were decoded while the caller waited for something else.
    answers: VecDeque<Answer>,
    /// Responses and pushes of subscriptions that were decoded while the caller waited for something else.
    subscribed: VecDeque<Incoming>,
    watch: Watch,
    random: Rng,
    /// The request id of the NODES that this library sends by itself, while it is unanswered.
    nodes_asked: Option<RequestId>,
    /// The addresses of the other nodes of the cube.
    learned: Vec<Address>,
    goaway: Option<Goaway>,
}

impl Channel {
    /// Returns the state after the handshake. `bytes` may hold further input.
    pub(crate) fn new(server: String, bytes: Buffers, agreed: Agreed, random: Rng, now: Instant) -> Self {
        Self {
            server,
            bytes,
            agreed,
            pending: Pending::new(HELLO_ID.0 + 1),
            grants: Grants::default(),
            answers: VecDeque::new(),
            subscribed: VecDeque::new(),
            watch: Watch::new(QUIET_DEFAULT, now),
            random,
            nodes_asked: None,
            learned: Vec::new(),
            goaway: None,
        }
    }

    /// Returns the bytes of the connection.
    pub(crate) const fn bytes(&mut self) -> &mut Buffers {
        &mut self.bytes
    }

    /// Returns the node's name in errors.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Returns the node's HELLO.
    pub(crate) const fn hello(&self) -> &Hello {
        &self.agreed.hello
    }

    /// Returns the id of the node.
    pub(crate) const fn node(&self) -> NodeId {
        self.agreed.node
    }

    /// Returns the dimension of the node's cube.
    pub(crate) const fn dimension(&self) -> Dimension {
        self.agreed.dimension
    }

    /// Returns the number of unanswered requests, including those that were not sent yet.
    pub(crate) const fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Returns true once the node has announced that it will close.
    pub(crate) const fn is_closing(&self) -> bool {
        self.goaway.is_some()
    }

    /// Returns true if the node has said that it did not and will not act on this request.
    pub(crate) fn is_untouched(&self, id: RequestId) -> bool {
        self.goaway.as_ref().is_some_and(|goaway| id.0 > goaway.last_request_id)
    }

    // --- requests ---

    /// Appends a request to the output.
    ///
    /// # Errors
    /// Returns [`Error::BatchTooLarge`].
    ///
    /// # Panics
    /// For CREDIT, which has no response: see [`Self::credit`].
    pub(crate) fn send(&mut self, request: &Request<'_>, payload: &[u8], now: Instant) -> Result<RequestId, Error> {
        check_payload(payload)?;
        self.expect_something(now);
        let id = self.enqueue(request.opcode(), payload, |args| request.encode(args));
        self.grants.on_sent(id, request);
        Ok(id)
    }

    /// Appends a request that may have been sent on another connection before.
    pub(crate) fn send_owned(&mut self, request: &OwnedRequest, now: Instant) -> RequestId {
        self.expect_something(now);
        self.enqueue(request.opcode, &request.payload, |args| {
            args.bytes(&request.args);
        })
    }

    /// Appends a request whose response nobody waits for.
    fn send_unawaited(&mut self, request: &Request<'_>) -> RequestId {
        let id = self.enqueue(request.opcode(), &[], |args| request.encode(args));
        self.pending.remove(id);
        id
    }

    /// Starts to time the node's silence, unless a response was expected already.
    fn expect_something(&mut self, now: Instant) {
        if !self.expects() {
            self.watch.begin(now);
        }
    }

    fn enqueue(&mut self, opcode: Opcode, payload: &[u8], args: impl FnOnce(&mut Writer<'_>)) -> RequestId {
        assert_ne!(opcode, Opcode::Credit, "CREDIT has no response");
        let request_id = self.pending.insert(opcode);
        let head = Head { opcode: opcode.number(), flags: Flags::default(), status: 0, request_id };
        self.bytes.send(|out| {
            head.seal(None, (payload.len(), crc32(payload)), out, args);
            out.extend_from_slice(payload);
        });
        request_id
    }

    /// Appends CREDIT, unless it has no effect.
    pub(crate) fn credit(&mut self, subscription: RequestId, limit: u64) {
        if self.grants.raise(subscription, limit) {
            let request = Request::Credit { limit };
            let opcode = Opcode::Credit.number();
            let head = Head { opcode, flags: Flags::ONEWAY, status: 0, request_id: subscription };
            self.bytes.send(|out| head.seal(None, (0, 0), out, |args| request.encode(args)));
        }
    }

    /// Appends UNSUBSCRIBE and forgets the subscription at once.
    pub(crate) fn unsubscribe(&mut self, subscription: RequestId) {
        self.grants.forget(subscription);
        self.subscribed.retain(|incoming| !incoming.is_push_of(subscription));
        self.send_unawaited(&Request::Unsubscribe { subscription });
    }

    /// Abandons a request: its response is ignored. If it starts a subscription, the subscription is ended.
    pub(crate) fn abandon(&mut self, id: RequestId) {
        self.pending.remove(id);
        self.grants.forget(id);
    }

    /// Appends NODES, to learn the addresses of the other nodes. It does no harm if no response arrives.
    pub(crate) fn ask_nodes(&mut self) {
        self.nodes_asked = Some(self.send_unawaited(&Request::Nodes { node: ANY_NODE, from: 0 }));
    }

    /// Returns the addresses of the other nodes of the cube, as far as the node has reported them.
    pub(crate) fn learned(&self) -> &[Address] {
        &self.learned
    }

    // --- results ---

    /// Returns the next response to a request, or `None` if none has arrived. What belongs to subscriptions is kept for
    /// [`Self::next`].
    ///
    /// # Errors
    /// Returns [`Error::Lost`] once the connection has ended and all received responses have been returned, or
    /// [`Error::Protocol`].
    pub(crate) fn next_answer(&mut self) -> Result<Option<Answer>, Error> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(Some(answer));
            }
            match self.decode()? {
                Some((opcode, incoming)) => self.keep(opcode, incoming),
                None => return Ok(None),
            }
        }
    }

    /// Returns the next response or push of a subscription that has been decoded already.
    pub(crate) fn next_subscribed(&mut self) -> Option<Incoming> {
        self.subscribed.pop_front()
    }

    /// Returns the next response or push, or `None` if none has arrived.
    ///
    /// # Errors
    /// As [`Self::next_answer`].
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Error> {
        if let Some(incoming) = self.next_subscribed() {
            return Ok(Some(incoming));
        }
        if let Some(answer) = self.answers.pop_front() {
            return Ok(Some(Incoming::Answer(answer)));
        }
        Ok(self.decode()?.map(|(_, incoming)| incoming))
    }

    /// Decodes all that has arrived, answers the node's PINGs, and keeps the rest for [`Self::next`].
    ///
    /// # Errors
    /// As [`Self::next_answer`].
    pub(crate) fn collect(&mut self) -> Result<(), Error> {
        while let Some((opcode, incoming)) = self.decode()? {
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

    /// Decodes frames up to the next response or push.
    fn decode(&mut self) -> Result<Option<(Opcode, Incoming)>, Error> {
        let frame_max = self.agreed.hello.max_frame.min(FRAME_MAX);
        loop {
            let whole = incoming::whole_frame(self.bytes.input(), frame_max);
            let Some(header) = whole.map_err(|fault| self.fault(fault))? else { break };
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
        self.bytes.take_end().map_or(Ok(None), |error| Err(self.lost(error)))
    }

    /// Decodes the frame at the start of the input. Returns its opcode and content if a caller may be waiting for it.
    fn on_frame(&mut self, header: Header) -> Result<Option<(Opcode, Incoming)>, Error> {
        let bytes = &self.bytes.input()[..header.frame_len()];
        if header.flags.has(Flags::RESPONSE) && self.nodes_asked == Some(header.request_id) {
            self.nodes_asked = None;
            self.learned = incoming::read_nodes(header, bytes);
            self.bytes.consume(header.frame_len());
            return Ok(None);
        }
        let taken = incoming::read_frame(header, bytes, &mut self.pending);
        self.bytes.consume(header.frame_len());
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
            Taken::Reply(response) => self.bytes.send(|out| {
                response.encode(header.opcode, header.request_id, None, out);
            }),
            Taken::Abandoned if !self.grants.has(header.request_id) => self.unsubscribe(header.request_id),
            Taken::Abandoned | Taken::Nothing => {}
        }
        Ok(None)
    }

    // --- silence ---

    /// Sets the silence after which PING is sent.
    pub(crate) fn ask_after(&mut self, quiet: Duration, now: Instant) {
        self.watch = Watch::new(quiet, now);
    }

    /// Sets the time limit for a response that is awaited, or `None` if there is none.
    pub(crate) fn set_limit(&mut self, limit: Option<Duration>) {
        self.watch.set_limit(limit);
    }

    /// Returns when to call [`Self::on_time`], if nothing arrives until then.
    pub(crate) fn wake_at(&self) -> Deadline {
        if self.expects() { self.watch.due(self.bytes.heard()) } else { Deadline::NEVER }
    }

    /// Sends PING to a silent node, or gives it up. All available input must have been read before.
    ///
    /// # Errors
    /// Returns [`Error::TimedOut`] if the node has been silent for too long.
    pub(crate) fn on_time(&mut self, now: Instant) -> Result<(), Error> {
        if !self.expects() {
            return Ok(());
        }
        match self.watch.judge(self.bytes.heard(), now) {
            Verdict::Wait => {}
            Verdict::Ask => {
                // Nobody waits for the response, because any received bytes show that the node is alive.
                self.send_unawaited(&Request::Ping { node: ANY_NODE, token: 0 });
                self.watch.on_asked(now, self.random.u64(..));
            }
            Verdict::Dead(waited) => return Err(Error::TimedOut { server: self.server.clone(), waited }),
        }
        Ok(())
    }

    /// Returns true if something is expected of the node: a response, or the pushes of a subscription.
    fn expects(&self) -> bool {
        self.pending.len() > 0 || !self.grants.is_empty()
    }

    // --- errors ---

    /// Returns the error for a violation of the protocol.
    pub(crate) fn fault(&self, fault: Fault) -> Error {
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
