//! A client's connection: HELLO, requests out, answers in, each of them matched.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use dht_node::limits::{FRAME_MAX, FRAME_MAX_LEAST};
use dht_node::types::RequestId;
use dht_node::wire::field::Writer;
use dht_node::wire::hello::NO_NODE;
use dht_node::wire::{Flags, Frame, Goaway, Head, Hello, Opcode, Push, Request, Response, Role, Status};

use crate::asked::{Asked, What};
use crate::client::Ctx;
use crate::intake::next_frame;
use crate::network::Network;
use crate::wire::{End, Got, Leave, Place};

/// What came of it.
pub(crate) enum Told {
    Answer(Asked, Box<Response>),
    /// Something came unasked, under this request id.
    Pushed(u64, Push),
    /// The node said that it took no notice of it.
    NotDone(Asked),
    /// The connection was lost before the answer; whether the node ended it.
    Unknown(Asked, bool),
    /// The connection is gone; all of its requests were told of before.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Apart,
    Calling,
    Greeting,
    Ready,
    /// Nothing more is said, only listened.
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
    /// Requests under ids that were in use already.
    again: Vec<Asked>,
    next_id: u64,
    goaway: Option<u64>,
    /// What HELLO offers.
    pub frame_max: u32,
    pub keepalive_ms: u32,
    /// Understands WAITING and FLOWING.
    pub has_notices: bool,
    /// Asks without waiting for the answer to HELLO.
    pub is_eager: bool,
    /// Looks at once at what comes.
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

    /// Does it wait for something, an answer or the end?
    pub(crate) fn is_waiting(&self) -> bool {
        self.unanswered() > 0 || self.state == State::Listening
    }

    pub(crate) fn can_ask(&self) -> bool {
        (self.state == State::Ready || self.is_eager && self.state == State::Greeting) && self.goaway.is_none()
    }

    /// Most bytes of records that a frame of this client may carry.
    pub(crate) fn payload_max(&self) -> usize {
        let frame_max = if self.is_eager { FRAME_MAX_LEAST } else { self.frame_max };
        frame_max as usize - 4096
    }

    /// Requests without an answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.asked.len() + self.again.len()
    }

    /// The node has said that it ends.
    pub(crate) const fn is_dismissed(&self) -> bool {
        self.goaway.is_some()
    }

    /// Is a request of that id without an answer?
    pub(crate) fn has_asked(&self, request_id: u64) -> bool {
        self.asked.contains_key(&request_id) || self.again.iter().any(|asked| asked.request_id == request_id)
    }

    /// Is one without an answer that used the id of another?
    pub(crate) const fn has_asked_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// A request id that was never used on this connection.
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

    /// Sends a request when the step ends.
    pub(crate) fn ask(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>, what: What) {
        self.ask_with(ctx, request, &Bytes::new(), Some(what));
    }

    /// Sends a request, one-way unless it is said what is asked.
    pub(crate) fn ask_with(&mut self, ctx: &mut Ctx<'_>, request: &Request<'_>, payload: &Bytes, what: Option<What>) {
        let request_id = self.new_id();
        self.ask_as(ctx, request_id, request, payload, what);
    }

    /// The same under a request id of the caller's choice.
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

    /// Says that nothing more will be asked, and listens to the rest.
    pub(crate) fn half_close(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(end) = self.end.filter(|_| self.state == State::Ready && self.outbox.is_empty()) {
            ctx.network.shut(ctx.now_us, end);
            self.state = State::Listening;
        }
    }

    /// Ends the connection without a word, or with a reset.
    pub(crate) fn break_off(&mut self, network: &mut Network, now_us: u64, how: Leave) {
        if let Some(end) = self.end.take() {
            network.leave(now_us, end, how);
            network.news.push(end);
        }
    }

    /// Reads what came and sends what there is room for; gives what there is to tell.
    pub(crate) fn pump(&mut self, ctx: &mut Ctx<'_>) -> Vec<Told> {
        let mut told = Vec::new();
        if self.state == State::Apart {
            return told;
        }
        let Some(end) = self.end else {
            self.forget(&mut told, false);
            return told;
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
        self.take_frames(ctx, &mut told);
        if is_over {
            self.break_off(ctx.network, ctx.now_us, Leave::Done);
            self.forget(&mut told, true);
        }
        told
    }

    /// Sends what there is room for.
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

    fn take_frames(&mut self, ctx: &mut Ctx<'_>, told: &mut Vec<Told>) {
        let bytes = std::mem::take(&mut self.inbox);
        let mut at = 0;
        while let Some(frame) =
            next_frame(&bytes[at..], self.frame_max, ctx.profile.dimension).expect("nodes send frames")
        {
            at += frame.len();
            ctx.trace.frame(ctx.now_us, (Place::Client(self.me), Place::Node(self.node)), &frame.header);
            self.on_frame(&frame, told);
        }
        self.inbox = bytes[at..].to_vec();
    }

    fn on_frame(&mut self, frame: &Frame<'_>, told: &mut Vec<Told>) {
        let header = &frame.header;
        assert!(frame.route.is_none(), "a route was sent to a client");
        let args = frame.args().expect("args arrive undamaged");
        let payload = frame.keep_payload().expect("payloads arrive undamaged");
        let opcode = Opcode::from_number(header.opcode).expect("nodes use known opcodes");
        if opcode == Opcode::Goaway {
            let goaway = Goaway::decode(header.status, args).expect("nodes encode GOAWAY well");
            self.goaway = Some(goaway.last_request_id);
            return;
        }
        if opcode.is_push() {
            assert!(header.flags.has(Flags::ONEWAY) && !header.flags.has(Flags::RESPONSE), "a push that is none");
            let push = Push::decode(opcode, header.status, args, &payload);
            let push = push.unwrap_or_else(|error| panic!("a push that cannot be read: {error}: {header:?}"));
            return told.push(Told::Pushed(header.request_id.0, push));
        }
        if !header.flags.has(Flags::RESPONSE) {
            assert_eq!(opcode, Opcode::Ping, "a node asks a client only for a sign of life");
            let head =
                Head { opcode: opcode.number(), flags: Flags::RESPONSE, status: 0, request_id: header.request_id };
            return self.send(head, &Bytes::new(), |out| {
                out.bytes(args);
            });
        }
        if opcode == Opcode::Hello {
            assert_eq!(self.state, State::Greeting, "HELLO is answered once");
            let hello = Hello::decode(args).expect("nodes encode HELLO well");
            assert!(header.status != 0 || (hello.features & Hello::NOTICES != 0) == self.has_notices, "agreed on");
            if header.status == Status::Ok.number() {
                self.state = State::Ready;
            }
            return;
        }
        let asked = self.take_asked(header.request_id.0, header.status);
        let asked = asked.unwrap_or_else(|| panic!("client {} never asked {header:?}", self.me));
        assert_eq!(asked.what.opcode(), opcode, "the answer to another operation");
        let response = Response::decode(opcode, header.status, args, &payload);
        let response = response.unwrap_or_else(|error| panic!("an answer that cannot be read: {error}: {header:?}"));
        asked.check_charge(&response, frame.len());
        told.push(Told::Answer(asked, Box::new(response)));
    }

    /// The request that this answers: of two with one id, the second one is refused.
    fn take_asked(&mut self, request_id: u64, status: u8) -> Option<Asked> {
        let again = self.again.iter().position(|asked| asked.request_id == request_id);
        if let Some(place) = again
            && (status == Status::BadRequest.number() || !self.asked.contains_key(&request_id))
        {
            return Some(self.again.remove(place));
        }
        self.asked.remove(&request_id)
    }

    fn forget(&mut self, told: &mut Vec<Told>, by_node: bool) {
        let last = self.goaway.take().unwrap_or(u64::MAX);
        for asked in std::mem::take(&mut self.asked).into_values().chain(std::mem::take(&mut self.again)) {
            told.push(if asked.request_id > last { Told::NotDone(asked) } else { Told::Unknown(asked, by_node) });
        }
        told.push(Told::Gone);
        (self.state, self.inbox, self.outbox) = (State::Apart, Vec::new(), VecDeque::new());
    }
}
