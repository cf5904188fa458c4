//! A client's connection: HELLO, requests, and responses, each of which is matched to its request.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use dht_node::limits::{FRAME_MAX, FRAME_MAX_LEAST};
use dht_node::types::RequestId;
use dht_node::wire::field::Writer;
use dht_node::wire::hello::NO_NODE;
use dht_node::wire::{Flags, Frame, Goaway, Head, Hello, Opcode, Push, Request, Response, Role, Status};

use crate::asked::{Asked, What};
use crate::client::Ctx;
use crate::frames::next_frame;
use crate::network::Network;
use crate::wire::{End, Got, Leave, Place};

/// An item for the client.
pub(crate) enum SessionItem {
    Answer(Asked, Box<Response>),
    /// A push, with its request id.
    Pushed(u64, Push),
    /// The node has said that it did not act on the request.
    NotDone(Asked),
    /// The connection was lost before the response; the field says whether the node closed it.
    Unknown(Asked, bool),
    /// The connection is gone; the outcomes of all its requests have been returned before.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Apart,
    Calling,
    Greeting,
    Ready,
    /// True once the sending direction is closed.
    Listening,
}

#[derive(Debug)]
pub(crate) struct Session {
    me: usize,
    pub node: usize,
    end: Option<End>,
    state: State,
    inbox: Vec<u8>,
    outbox: VecDeque<Bytes>,
    asked: BTreeMap<u64, Asked>,
    /// Requests under ids that were already in use.
    again: Vec<Asked>,
    next_id: u64,
    goaway: Option<u64>,
    /// The features offered in HELLO.
    pub frame_max: u32,
    pub keepalive_ms: u32,
    /// True if it understands WAITING and FLOWING.
    pub has_notices: bool,
    /// True if it sends requests before the response to HELLO.
    pub is_eager: bool,
    /// True if it reads immediately.
    pub is_reading: bool,
}

impl Session {
    pub(crate) const fn new(me: usize) -> Self {
        Self {
            me,
            node: 0,
            end: None,
            state: State::Apart,
            inbox: Vec::new(),
            outbox: VecDeque::new(),
            asked: BTreeMap::new(),
            again: Vec::new(),
            next_id: 1,
            goaway: None,
            frame_max: FRAME_MAX,
            keepalive_ms: 0,
            has_notices: false,
            is_eager: false,
            is_reading: true,
        }
    }

    pub(crate) fn is_apart(&self) -> bool {
        self.state == State::Apart
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready | State::Listening)
    }

    /// Returns true if it waits for a response or for the end of the connection. After GOAWAY it can only wait for the
    /// end, which never comes if the node's machine has crashed.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unanswered() > 0 || self.state == State::Listening || self.is_dismissed()
    }

    pub(crate) fn can_ask(&self) -> bool {
        (self.state == State::Ready || self.is_eager && self.state == State::Greeting) && self.goaway.is_none()
    }

    /// Returns the maximum size of the records in a frame to this client, in bytes.
    pub(crate) fn payload_max(&self) -> usize {
        let frame_max = if self.is_eager { FRAME_MAX_LEAST } else { self.frame_max };
        frame_max as usize - 4096
    }

    /// Returns the number of unanswered requests.
    pub(crate) fn unanswered(&self) -> usize {
        self.asked.len() + self.again.len()
    }

    /// Returns true once the node has said that it is shutting down.
    pub(crate) const fn is_dismissed(&self) -> bool {
        self.goaway.is_some()
    }

    /// Returns true if a request of that id is unanswered.
    pub(crate) fn has_asked(&self, request_id: u64) -> bool {
        self.asked.contains_key(&request_id) || self.again.iter().any(|asked| asked.request_id == request_id)
    }

    /// Returns true if a request that reused an id is unanswered.
    pub(crate) const fn has_asked_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Returns a request id that was never used on this connection.
    pub(crate) const fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Starts to connect.
    pub(crate) fn call(&mut self, ctx: &mut Ctx<'_>, node: usize) {
        assert!(self.is_apart() && self.end.is_none());
        self.node = node;
        self.end = Some(ctx.network.dial(ctx.now_us, Place::Client(self.me), Place::Node(node)));
        self.state = State::Calling;
    }

    /// Sends a request at the end of the step.
    pub(crate) fn ask(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>, what: What) {
        self.ask_with(ctx, request, &Bytes::new(), Some(what));
    }

    /// Sends a request, which is one-way if `what` is `None`.
    pub(crate) fn ask_with(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>, payload: &Bytes, what: Option<What>) {
        let request_id = self.new_id();
        self.ask_as(ctx, request_id, request, payload, what);
    }

    /// Sends a request under an id of the caller's choice.
    pub(crate) fn ask_as(
        &mut self,
        ctx: &mut Ctx<'_>,
        request_id: u64,
        request: &Request<'_>,
        payload: &Bytes,
        what: Option<What>,
    ) {
        let flags = if what.is_none() { Flags::ONEWAY } else { Flags::default() };
        let head = Head { opcode: request.opcode().number(), flags, status: 0, request_id: RequestId(request_id) };
        self.send(head, payload, |args| request.encode(args));
        ctx.trace.totals.requests += 1;
        if let Some(what) = what {
            let Self { node: ingress, frame_max, is_reading, .. } = *self;
            let asked = Asked { what, request_id, ingress, sent_us: ctx.now_us, frame_max, is_reading };
            if matches!(asked.what, What::Subscribe { again: true, .. }) {
                self.again.push(asked);
            } else {
                self.asked.insert(request_id, asked);
            }
        }
    }

    /// Closes the sending direction, and reads what is left.
    pub(crate) fn half_close(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(end) = self.end.filter(|_| self.state == State::Ready && self.outbox.is_empty()) {
            ctx.network.shut(ctx.now_us, end);
            self.state = State::Listening;
        }
    }

    /// Abandons the connection, without notice or with a reset.
    pub(crate) fn break_off(&mut self, network: &mut Network, now_us: u64, how: Leave) {
        if let Some(end) = self.end.take() {
            network.leave(now_us, end, how);
            network.news.push(end);
        }
    }

    /// Reads the input and sends as much as there is room for. Returns the items for the client.
    pub(crate) fn pump(&mut self, ctx: &mut Ctx<'_>) -> Vec<SessionItem> {
        let mut items = Vec::new();
        if self.state == State::Apart {
            return items;
        }
        let Some(end) = self.end else {
            self.forget(&mut items, false);
            return items;
        };
        if self.state == State::Calling && ctx.network.is_open(end) {
            self.state = State::Greeting;
            self.greet();
        }
        let mut is_over = false;
        while !is_over {
            match ctx.network.read(end) {
                Got::Nothing => break,
                Got::Bytes(part) => {
                    ctx.trace.mix(ctx.now_us, usize::MAX - self.me, &part);
                    self.inbox.extend_from_slice(&part);
                }
                Got::End | Got::Broken => is_over = true,
            }
        }
        self.take_frames(ctx, &mut items);
        if is_over {
            self.break_off(ctx.network, ctx.now_us, Leave::Done);
            self.forget(&mut items, true);
        }
        items
    }

    /// Sends as much as there is room for.
    pub(crate) fn flush(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(end) = self.end.filter(|_| !matches!(self.state, State::Apart | State::Calling)) {
            ctx.network.write(ctx.now_us, end, &mut self.outbox);
        }
    }

    pub(crate) fn describe(&self) -> String {
        let unanswered: Vec<&Asked> = self.asked.values().chain(&self.again).collect();
        format!("{:?} with node {}, unanswered: {unanswered:?}", self.state, self.node)
    }

    fn greet(&mut self) {
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            role: Role::Client,
            dimension: 0,
            node: NO_NODE,
            keepalive_ms: self.keepalive_ms,
            max_frame: self.frame_max,
            max_inflight: 0,
            features: if self.has_notices { Hello::NOTICES } else { 0 },
            instance: 0,
            cluster: String::new(),
            software: "sim".to_owned(),
            topics: None,
            topics_known: None,
            replicas: None,
        };
        let head =
            Head { opcode: Opcode::Hello.number(), flags: Flags::default(), status: 0, request_id: RequestId(1) };
        self.next_id = 1;
        self.send(head, &Bytes::new(), |args| hello.encode(args, None));
    }

    fn send(&mut self, head: Head, payload: &Bytes, args: impl FnOnce(&mut Writer<'_>)) {
        let mut bytes = Vec::new();
        head.seal(None, (payload.len(), crc32fast::hash(payload)), &mut bytes, args);
        bytes.extend_from_slice(payload);
        self.outbox.push_back(bytes.into());
    }

    fn take_frames(&mut self, ctx: &mut Ctx<'_>, items: &mut Vec<SessionItem>) {
        let bytes = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while let Some(frame) = next_frame(&bytes[at..], self.frame_max, ctx.profile.dimension).expect("a valid frame")
        {
            at += frame.len();
            ctx.trace.frame(ctx.now_us, (Place::Client(self.me), Place::Node(self.node)), &frame.header);
            self.on_frame(&frame, items);
        }
        self.inbox = bytes[at..].to_vec();
    }

    fn on_frame(&mut self, frame: &Frame<'_>, items: &mut Vec<SessionItem>) {
        let header = &frame.header;
        assert!(frame.route.is_none(), "a frame with a route was sent to a client");
        let args = frame.args().expect("undamaged args");
        let payload = frame.keep_payload().expect("an undamaged payload");
        let opcode = Opcode::from_number(header.opcode).expect("a known opcode");
        if opcode == Opcode::Goaway {
            let goaway = Goaway::decode(header.status, args).expect("a valid GOAWAY");
            self.goaway = Some(goaway.last_request_id);
            return;
        }
        if opcode.is_push() {
            assert!(header.flags.has(Flags::ONEWAY) && !header.flags.has(Flags::RESPONSE), "not a push");
            let push = Push::decode(opcode, header.status, args, &payload);
            let push = push.unwrap_or_else(|error| panic!("a push that cannot be decoded: {error}: {header:?}"));
            return items.push(SessionItem::Pushed(header.request_id.0, push));
        }
        if !header.flags.has(Flags::RESPONSE) {
            assert_eq!(opcode, Opcode::Ping, "a node may only send PING as a request");
            let head =
                Head { opcode: opcode.number(), flags: Flags::RESPONSE, status: 0, request_id: header.request_id };
            return self.send(head, &Bytes::new(), |out| {
                out.bytes(args);
            });
        }
        if opcode == Opcode::Hello {
            assert_eq!(self.state, State::Greeting, "HELLO is answered once");
            let hello = Hello::decode(args).expect("a valid HELLO");
            assert!(header.status != 0 || (hello.features & Hello::NOTICES != 0) == self.has_notices, "agreed on");
            if header.status == Status::Ok.number() {
                self.state = State::Ready;
            }
            return;
        }
        let asked = self.take_asked(header.request_id.0, header.status);
        let asked = asked.unwrap_or_else(|| panic!("client {} never asked {header:?}", self.me));
        assert_eq!(asked.what.opcode(), opcode, "a response to another operation");
        let response = Response::decode(opcode, header.status, args, &payload);
        let response =
            response.unwrap_or_else(|error| panic!("a response that cannot be decoded: {error}: {header:?}"));
        asked.check_charge(&response, frame.len());
        items.push(SessionItem::Answer(asked, Box::new(response)));
    }

    /// Returns the request that this answers: of two requests with one id, the second one is refused.
    fn take_asked(&mut self, request_id: u64, status: u8) -> Option<Asked> {
        let again = self.again.iter().position(|asked| asked.request_id == request_id);
        if let Some(place) = again
            && (status == Status::BadRequest.number() || !self.asked.contains_key(&request_id))
        {
            return Some(self.again.remove(place));
        }
        self.asked.remove(&request_id)
    }

    fn forget(&mut self, items: &mut Vec<SessionItem>, by_node: bool) {
        let last = self.goaway.take().unwrap_or(u64::MAX);
        for asked in std::mem::take(&mut self.asked).into_values().chain(std::mem::take(&mut self.again)) {
            items.push(if asked.request_id > last {
                SessionItem::NotDone(asked)
            } else {
                SessionItem::Unknown(asked, by_node)
            });
        }
        items.push(SessionItem::Gone);
        (self.state, self.inbox, self.outbox) = (State::Apart, Vec::new(), VecDeque::new());
    }
}
