//! The frames of `bad.txt`: one or more for each row of chapter 13, and a receiver that judges them.

use std::collections::BTreeMap;

use dht_node::limits::{FRAME_BEFORE_HELLO_MAX, FRAME_MAX, FRAME_MAX_LEAST, PAYLOAD_MAX};
use dht_node::types::{Dimension, NodeId, Offset, ProducerId, RequestId};
use dht_node::wire::field::Writer;
use dht_node::wire::request::{ANY_NODE, Fetch, Opening, Publish, SettingsChange, Start, Subscribe};
use dht_node::wire::{
    DecodeError, Flags, Frame, HEADER_BYTES, Head, Header, Hello, Kind, Opcode, Origin, Raw, Request, Route, Status,
    TrafficClass, records,
};

use super::frames::{name, topic, two_records};
use super::good::{Content, Good};
use super::subscriptions::{SUBSCRIPTION, subscription};
use super::text::Entry;

/// What a node does with the bytes, in the words of chapter 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Close,
    Goaway(Status),
    Refuse(Status),
    Answer(Status),
    Drop,
    Act,
}

impl Verdict {
    /// The columns "does" and "status".
    pub(crate) fn written(self) -> (&'static str, &'static str) {
        match self {
            Self::Close => ("close", "–"),
            Self::Goaway(status) => ("goaway", status.name()),
            Self::Refuse(status) => ("refuse", status.name()),
            Self::Answer(status) => ("answer", status.name()),
            Self::Drop => ("drop", "–"),
            Self::Act => ("act", "–"),
        }
    }
}

/// Bytes that a client sends, as its first or behind a good HELLO, and then nothing more.
#[derive(Clone, Debug)]
pub(crate) struct Bad {
    pub(crate) name: &'static str,
    /// The row of chapter 13.
    pub(crate) row: &'static str,
    pub(crate) what: &'static str,
    pub(crate) is_first: bool,
    /// The good frame that it is treated as.
    pub(crate) like: Option<&'static str>,
    pub(crate) bytes: Vec<u8>,
}

impl Bad {
    pub(crate) fn entry(&self) -> Entry {
        let (does, status) = judge(&self.bytes, self.is_first).written();
        let when = if self.is_first { "as the first bytes" } else { "after HELLO" };
        let mut entry = Entry::new(self.name).with("what", self.what).with("row", self.row).with("when", when);
        entry = entry.with("does", does);
        if status != "–" {
            entry = entry.with("status", status);
        }
        if let Some(like) = self.like {
            entry = entry.with("like", like);
        }
        entry.with("hex", super::text::hex(&self.bytes))
    }
}

/// The limits of the subscriptions of a connection.
type Subscriptions = BTreeMap<RequestId, u64>;

/// What a node of the cluster "demo" does with all that a client sent, after which the stream ended.
pub(crate) fn judge(bytes: &[u8], is_first: bool) -> Verdict {
    match is_first {
        true => judge_one(bytes, FRAME_BEFORE_HELLO_MAX, judge_first).0,
        false => judge_last(bytes, &mut Subscriptions::new()),
    }
}

/// What it does with a frame, and the bytes behind it while the connection goes on.
fn judge_one(bytes: &[u8], frame_max: u32, judge: impl FnOnce(&Frame<'_>) -> Verdict) -> (Verdict, &[u8]) {
    let header = match Header::parse(bytes, frame_max) {
        Ok(Some(header)) => header,
        Ok(None) => return (Verdict::Drop, &[]),
        Err(error) => return (error.status().map_or(Verdict::Close, Verdict::Goaway), &[]),
    };
    let Some((raw, rest)) = bytes.split_at_checked(header.frame_len()) else { return (Verdict::Drop, &[]) };
    let verdict = match Frame::parse(header, Raw::Borrowed(raw), Dimension::new(3).expect("3 is one")) {
        Ok(frame) if frame.route.is_some() => Verdict::Goaway(Status::ProtocolError),
        Ok(frame) => judge(&frame),
        Err(error) => error.status().map_or(Verdict::Close, Verdict::Goaway),
    };
    (verdict, rest)
}

fn judge_first(frame: &Frame<'_>) -> Verdict {
    let (opcode, flags) = (Opcode::from_number(frame.header.opcode), frame.header.flags);
    let Ok(args) = frame.args() else { return Verdict::Goaway(Status::ProtocolError) };
    match opcode {
        Some(Opcode::Goaway) if !flags.has(Flags::RESPONSE) => return Verdict::Close,
        Some(Opcode::Hello) if !flags.has(Flags::RESPONSE) => {}
        _ => return Verdict::Goaway(Status::HelloRequired),
    }
    if flags.has(Flags::ONEWAY) || !frame.payload().is_empty() {
        return Verdict::Goaway(Status::ProtocolError);
    }
    let hello = match Hello::decode(args) {
        _ if flags.any(Flags::CRITICAL) => return Verdict::Refuse(Status::Unsupported),
        Ok(hello) => hello,
        Err(DecodeError::TagCritical { .. }) => return Verdict::Refuse(Status::Unsupported),
        Err(_) => return Verdict::Goaway(Status::ProtocolError),
    };
    if hello.version_min > 1 || hello.version_max < 1 {
        Verdict::Refuse(Status::UnsupportedVersion)
    } else if hello.max_frame < FRAME_MAX_LEAST {
        Verdict::Refuse(Status::ProtocolError)
    } else if !hello.cluster.is_empty() && hello.cluster != "demo" {
        Verdict::Refuse(Status::ClusterMismatch)
    } else {
        Verdict::Act
    }
}

/// The same for the last frame of a client that has said HELLO. SUBSCRIBEs before it are taken for answered.
fn judge_last(bytes: &[u8], subscriptions: &mut Subscriptions) -> Verdict {
    let (verdict, rest) = judge_one(bytes, FRAME_MAX, |frame| judge_later(frame, subscriptions));
    if rest.is_empty() { verdict } else { judge_last(rest, subscriptions) }
}

fn judge_later(frame: &Frame<'_>, subscriptions: &mut Subscriptions) -> Verdict {
    if frame.header.opcode == Opcode::Hello.number() {
        Verdict::Goaway(Status::ProtocolError)
    } else if frame.header.flags.has(Flags::RESPONSE) {
        Verdict::Drop
    } else {
        match judge_request(frame, subscriptions) {
            Err(_) if frame.header.flags.has(Flags::ONEWAY) => Verdict::Drop,
            Err(status) => Verdict::Answer(status),
            Ok(verdict) => verdict,
        }
    }
}

fn judge_request(frame: &Frame<'_>, subscriptions: &mut Subscriptions) -> Result<Verdict, Status> {
    let opcode = Opcode::from_number(frame.header.opcode).ok_or(Status::UnknownOpcode)?;
    if frame.header.flags.any(Flags::CRITICAL) {
        return Err(Status::Unsupported);
    }
    let args = frame.args().map_err(|_| Status::CorruptFrame)?;
    let payload = frame.keep_payload().map_err(|_| Status::CorruptFrame)?;
    if opcode.is_push() || opcode.is_between_nodes() {
        return Err(Status::BadRequest);
    }
    let request = Request::decode(opcode, args).map_err(|error| error.status())?;
    match request {
        Request::Publish(_) if payload.len() > PAYLOAD_MAX as usize => Err(Status::TooLarge),
        Request::Publish(publish) => match records::check_published(&payload, publish.count) {
            Ok(()) => Ok(Verdict::Act),
            Err(_) => Err(Status::MalformedRecords),
        },
        _ if !payload.is_empty() => Err(Status::MalformedArgs),
        _ => judge_subscriber(&request, &frame.header, subscriptions),
    }
}

/// What hangs on the subscriptions that there are.
fn judge_subscriber(
    request: &Request<'_>,
    header: &Header,
    subscriptions: &mut Subscriptions,
) -> Result<Verdict, Status> {
    let (id, is_oneway) = (header.request_id, header.flags.has(Flags::ONEWAY));
    let is_used = subscriptions.contains_key(&id);
    match request {
        Request::Subscribe(_) | Request::Unsubscribe { .. } if is_oneway => return Err(Status::BadRequest),
        Request::Subscribe(_) if is_used => return Err(Status::BadRequest),
        Request::Subscribe(subscribe) => {
            subscriptions.insert(id, subscribe.limit);
        }
        Request::Fetch(fetch) if fetch.max_wait_ms > 0 && is_used => return Err(Status::BadRequest),
        Request::Unsubscribe { subscription } => {
            subscriptions.remove(subscription).ok_or(Status::UnknownSubscription)?;
        }
        Request::Credit { .. } if !is_oneway => return Err(Status::BadRequest),
        Request::Credit { limit } => match subscriptions.get_mut(&id) {
            Some(known) if *known < *limit => *known = *limit,
            _ => return Ok(Verdict::Drop),
        },
        _ => {}
    }
    Ok(Verdict::Act)
}

/// A request with anything in its place.
struct Odd {
    head: Head,
    args: Vec<u8>,
    payload: Vec<u8>,
    reserved: u16,
}

/// PING of the ingress with request id 2.
fn ping() -> Odd {
    odd(&Request::Ping { node: 6, token: 0x0102_0304_0506_0708 })
}

fn publish() -> Odd {
    let count = 2;
    Odd {
        payload: two_records(),
        ..odd(&Request::Publish(Publish { topic: topic("orders", 0), producer: None, count }))
    }
}

fn odd(request: &Request<'_>) -> Odd {
    let (opcode, request_id) = (request.opcode().number(), RequestId(2));
    let head = Head { opcode, flags: Flags::default(), status: 0, request_id };
    let mut args = vec![];
    request.encode(&mut Writer::new(&mut args));
    Odd { head, args, payload: vec![], reserved: 0 }
}

impl Odd {
    fn flags(mut self, bits: u8) -> Self {
        self.head.flags = Flags(bits);
        self
    }

    fn more_args(mut self, bytes: &[u8]) -> Self {
        self.args.extend_from_slice(bytes);
        self
    }

    /// Args with other bytes from `at` on.
    fn args_at(mut self, at: usize, bytes: &[u8]) -> Self {
        self.args.truncate(at);
        self.more_args(bytes)
    }

    fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![];
        let sum = (self.payload.len(), crc32fast::hash(&self.payload));
        self.head.seal(None, sum, &mut out, |args| {
            args.bytes(&self.args);
        });
        out.extend_from_slice(&self.payload);
        patch(out, 14, &self.reserved.to_be_bytes())
    }
}

/// Other bytes in the header, under a checksum that fits them.
fn patch(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let sum = crc32fast::hash(&frame[..HEADER_BYTES - 4]);
    frame[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Another byte, and no checksum that knows of it.
fn damage(mut frame: Vec<u8>, at: usize) -> Vec<u8> {
    frame[at] ^= 0x20;
    frame
}

/// All of them, in the order of chapter 13. `good` has the frames that some of them are made from.
pub(crate) fn all(good: &[Good]) -> Vec<Bad> {
    let groups =
        [headers(), hellos(good), requests(), values(), texts_and_payloads(), silent(), of_subscriptions(good)];
    groups.into_iter().flatten().collect()
}

fn bad(name: &'static str, row: &'static str, what: &'static str, bytes: Vec<u8>) -> Bad {
    Bad { name, row, what, is_first: false, like: None, bytes }
}

fn first(name: &'static str, row: &'static str, what: &'static str, bytes: Vec<u8>) -> Bad {
    Bad { is_first: true, ..bad(name, row, what, bytes) }
}

fn headers() -> Vec<Bad> {
    let ping = || ping().bytes();
    let largest = patch(ping(), 0, &(FRAME_MAX - 4).to_be_bytes());
    let larger = patch(ping(), 0, &(FRAME_MAX - 3).to_be_bytes());
    let node = |id| NodeId::new(id, Dimension::new(3).expect("3 is one")).expect("of eight");
    let route = Route {
        source: node(0),
        target: node(6),
        ttl: 31,
        hops: 1,
        kind: Kind::Node,
        class: TrafficClass::Bulk,
        dimension: Dimension::new(3).expect("3 is one"),
        origin: Origin::from_number(0),
        down: Default::default(),
        targets: Default::default(),
    };
    let mut routed = vec![];
    self::ping().head.seal(Some(&route), (0, 0), &mut routed, |args| {
        args.bytes(&self::ping().args);
    });
    vec![
        first("magic-http", "M-1", "An HTTP client.", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec()),
        first("magic-tls", "M-1", "The first bytes of TLS.", vec![0x16, 3, 1, 0, 0xC8, 1, 0, 0, 0xC4, 3]),
        bad("magic-later", "M-1", "Rubbish behind a good conversation.", patch(ping(), 4, b"dh")),
        bad("header-crc", "M-2", "The opcode was damaged.", damage(ping(), 7)),
        bad("header-crc-length", "M-2", "The length was damaged: it is not believed.", damage(ping(), 0)),
        bad("header-crc-itself", "M-2", "The checksum was damaged.", damage(ping(), 35)),
        bad("version-2", "M-3", "Version 2 under a good checksum.", patch(ping(), 6, &[2])),
        bad("version-0", "M-3", "Version 0.", patch(ping(), 6, &[0])),
        bad("length-short", "M-4", "One byte less than header and args.", patch(ping(), 0, &41u32.to_be_bytes())),
        bad("length-zero", "M-4", "A length of 0.", patch(ping(), 0, &[0; 4])),
        bad("length-args", "M-4", "args_len is more than the frame has.", patch(ping(), 10, &11u16.to_be_bytes())),
        bad("length-too-large", "M-5", "A frame of 1048577 bytes is announced.", larger),
        bad("length-4-gib", "M-5", "A frame of 4 GiB is announced.", patch(ping(), 0, &[0xFF; 4])),
        first(
            "length-before-hello",
            "M-5",
            "A HELLO of 1025 bytes is announced.",
            patch(patch(ping(), 7, &[1]), 0, &1021u32.to_be_bytes()),
        ),
        bad(
            "length-largest",
            "M-24",
            "A frame of 1048576 bytes is announced, which is allowed, and does not come.",
            largest,
        ),
        bad("route-from-client", "M-6", "A good route section, but from a client.", routed),
        bad("route-flag-alone", "M-6", "The flag ROUTED without a section.", patch(ping(), 8, &[2])),
        bad("route-length-alone", "M-6", "A section without the flag.", patch(ping(), 10, &[0, 0, 0, 10])),
    ]
}

fn hellos(good: &[Good]) -> Vec<Bad> {
    let hello = good.iter().find(|good| good.name == "hello-request").expect("the vectors have one");
    let goaway = good.iter().find(|good| good.name == "goaway-client").expect("the vectors have one");
    let Content::Hello { hello: value, .. } = &hello.content else { panic!("{hello:?}") };
    let other = |change: fn(&mut Hello)| {
        let mut value = value.clone();
        change(&mut value);
        Good { content: Content::Hello { status: 0, hello: value, grease: None }, ..hello.clone() }.encode(None)
    };
    let plain = || hello.encode(None);
    vec![
        first("first-is-ping", "M-7", "A request before HELLO.", ping().bytes()),
        first("first-is-response", "M-7", "A response to HELLO as the first frame.", patch(plain(), 8, &[1])),
        bad("hello-twice", "M-8", "HELLO again.", plain()),
        first("hello-args-damaged", "M-9", "The args of HELLO do not match their checksum.", damage(plain(), 50)),
        first("hello-role", "M-9", "A role that does not exist.", rehash(plain(), 2, 9)),
        first(
            "hello-control-character",
            "M-9",
            "A newline in the cluster's name.",
            other(|hello| hello.cluster = "a\nb".to_owned()),
        ),
        first("hello-label", "M-9", "A cluster's name of 201 bytes.", other(|hello| hello.cluster = "c".repeat(201))),
        first("hello-max-frame", "M-10", "max_frame is 65535.", other(|hello| hello.max_frame = 65_535)),
        first(
            "hello-version",
            "M-11",
            "A client of versions 2 to 3.",
            other(|hello| (hello.version_min, hello.version_max) = (2, 3)),
        ),
        first(
            "hello-cluster",
            "M-12",
            "A client of another cluster than demo.",
            other(|hello| hello.cluster = "test".to_owned()),
        ),
        first("hello-oneway", "M-9", "HELLO that wants no answer.", patch(plain(), 8, &[0x04])),
        first("hello-payload", "M-9", "HELLO with a payload.", with_payload(plain(), b"?")),
        first("hello-route", "M-6", "HELLO with the flag ROUTED.", patch(plain(), 8, &[0x02])),
        first("hello-flag-critical-40", "M-31", "HELLO with the flag 0x40.", patch(plain(), 8, &[0x40])),
        first("hello-flag-critical-80", "M-31", "HELLO with the flag 0x80.", patch(plain(), 8, &[0x80])),
        first("hello-tlv-critical", "M-31", "HELLO with an unknown critical TLV.", with_args(plain(), &[0x9F, 0, 0])),
        first("hello-topics", "M-9", "TOPICS that is no u32.", with_args(plain(), &[0x34, 0, 3, 0, 0, 1])),
        first("hello-replicas", "M-9", "REPLICAS 0.", with_args(plain(), &[0x36, 0, 1, 0])),
        first("goaway-first", "M-32", "GOAWAY before HELLO.", goaway.encode(None)),
    ]
}

/// The same frame with more args, under checksums that fit them.
fn with_args(frame: Vec<u8>, more: &[u8]) -> Vec<u8> {
    let args = [&frame[HEADER_BYTES..], more].concat();
    let count = |length: usize| u32::try_from(length).expect("short").to_be_bytes();
    let frame = patch(patch(frame, 0, &count(HEADER_BYTES - 4 + args.len())), 10, &count(args.len())[2..]);
    let head = patch(frame, 24, &crc32fast::hash(&args).to_be_bytes());
    [&head[..HEADER_BYTES], &args].concat()
}

/// The same frame with a payload, under checksums that fit it.
fn with_payload(frame: Vec<u8>, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len() - 4 + payload.len()).expect("short");
    let frame = patch(patch(frame, 0, &length.to_be_bytes()), 28, &crc32fast::hash(payload).to_be_bytes());
    [frame, payload.to_vec()].concat()
}

/// Another byte of args, under a checksum that fits them.
fn rehash(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[HEADER_BYTES + at] = byte;
    let sum = crc32fast::hash(&frame[HEADER_BYTES..]);
    patch(frame, 24, &sum.to_be_bytes())
}

fn requests() -> Vec<Bad> {
    let acts = |name, what, odd: Odd| Bad { like: Some("ping-request"), ..bad(name, "M-15", what, odd.bytes()) };
    let (grease, critical) = ([0x1F, 0, 2, 9, 9], [0x9F, 0, 0]);
    let unknown = |opcode| Odd { head: Head { opcode, ..ping().head }, ..ping() };
    vec![
        bad("args-crc", "M-13", "A byte of args was damaged.", damage(ping().bytes(), HEADER_BYTES + 4)),
        bad(
            "payload-crc",
            "M-13",
            "A byte of the payload was damaged.",
            damage(publish().bytes(), HEADER_BYTES + 39 + 7),
        ),
        bad(
            "args-crc-absent",
            "M-13",
            "No args, but not the checksum of none.",
            patch(ping().args_at(0, &[]).bytes(), 24, &[0, 0, 0, 1]),
        ),
        bad("opcode-unknown", "M-14", "Opcode 0x7F.", unknown(0x7F).bytes()),
        bad("opcode-zero", "M-14", "Opcode 0.", unknown(0).bytes()),
        bad("opcode-reserved", "M-14", "AUTH, which is only set aside.", unknown(0x04).bytes()),
        acts("flags-ignorable", "The flags 0x08, 0x10 and 0x20.", ping().flags(0x38)),
        acts("reserved-header", "The reserved field of the header.", Odd { reserved: 0xFFFF, ..ping() }),
        acts("tlv-grease", "A TLV that means nothing.", ping().more_args(&grease)),
        acts(
            "tlv-unknown",
            "Two TLVs that are unassigned, one of them empty.",
            ping().more_args(&[0x02, 0, 0, 0x7E, 0, 1, 0]),
        ),
        bad("flag-critical-40", "M-16", "The flag 0x40.", ping().flags(0x40).bytes()),
        bad("flag-critical-80", "M-16", "The flag 0x80.", ping().flags(0x80).bytes()),
        bad("tlv-critical", "M-16", "An unknown TLV with the critical bit.", ping().more_args(&critical).bytes()),
    ]
}

fn values() -> Vec<Bad> {
    let args = |name, what, odd: Odd| bad(name, "M-17", what, odd.bytes());
    let fetch = || {
        let (topic, start) = (topic("orders", 0), Start::Offset(Offset(0)));
        odd(&Request::Fetch(Fetch { topic, epoch: None, start, max_bytes: 0, max_records: 0, max_wait_ms: 0 }))
    };
    let query = || odd(&Request::Query { topic: name("orders") });
    let list = || odd(&Request::List(dht_node::wire::request::List { node: ANY_NODE, max: 0, cursor: 0, prefix: "" }));
    let subscribe = || odd(&Request::Subscribe(subscription()));
    let topic = || topic("orders", 0);
    let alter = |tlvs: &[u8]| {
        let change = SettingsChange::default();
        let odd = odd(&Request::Alter { topic: topic(), change });
        let bare = odd.args.len() - 3;
        odd.args_at(bare, tlvs)
    };
    let producer = || {
        let opening = Opening { producer: ProducerId::of_name("a"), token: 1, resume: true };
        odd(&Request::Producer { topic: topic(), opening })
    };
    let trace = Odd { head: Head { opcode: Opcode::Trace.number(), ..ping().head }, ..ping() };
    vec![
        args("args-none", "No args at all.", ping().args_at(0, &[])),
        args("args-short", "A token of 7 bytes.", ping().args_at(9, &[])),
        args("string-overrun", "A name of 7 bytes, of which 6 are there.", query().args_at(0, b"\x07orders")),
        args("string-not-utf-8", "A prefix that is not UTF-8.", list().args_at(12, b"\x02\xC3\x28")),
        args("name-not-utf-8", "A name that is not UTF-8.", query().args_at(0, b"\x02\xC3\x28")),
        args("tlv-overrun", "A TLV of 3 bytes, of which 2 are there.", ping().more_args(&[0x1F, 0, 3, 9, 9])),
        args("tlv-head", "A TLV that ends within its length.", ping().more_args(&[0x1F, 0])),
        args("tlv-twice", "The same tag twice.", ping().more_args(&[0x1F, 0, 0, 0x1F, 0, 0])),
        args("fetch-start", "A start of 4.", fetch().args_at(0, &[4]).more_args(&fetch().args[1..])),
        args(
            "fetch-value",
            "From the earliest record, with a value.",
            fetch().args_at(0, &[1, 0, 0, 0, 0, 0, 0, 0, 1]).more_args(&fetch().args[9..]),
        ),
        args("subscribe-start", "A start of 4.", subscribe().args_at(0, &[4]).more_args(&subscribe().args[1..])),
        args("subscribe-short", "A limit of 7 bytes.", subscribe().args_at(20, &[])),
        args(
            "publish-producer",
            "A sequence without a producer.",
            publish().args_at(19, &[1]).more_args(&publish().args[20..]),
        ),
        args("alter-nothing", "No settings are named.", alter(&[])),
        args("alter-short", "A setting of 7 bytes.", alter(&[0xC7, 0, 10, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0])),
        args("alter-long", "A setting of 9 bytes.", alter(&[0xC7, 0, 12, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        args("alter-overrun", "Settings that end within one.", alter(&[0xC7, 0, 4, 1, 0, 8, 0])),
        bad("alter-unknown", "M-16", "A setting that is unassigned.", alter(&[0xC7, 0, 3, 99, 0, 0]).bytes()),
        args("producer-none", "A producer_id of 0.", producer().args_at(0, &[0; 8]).more_args(&producer().args[8..])),
        args("producer-resume", "2 in resume.", producer().args_at(16, &[2]).more_args(&producer().args[17..])),
        args("trace-both", "A name and a node.", trace.args_at(0, &[0, 1, 0, 6]).more_args(b"\x06orders")),
    ]
}

fn texts_and_payloads() -> Vec<Bad> {
    let query = |args: &[u8]| odd(&Request::Query { topic: name("orders") }).args_at(0, args).bytes();
    let records = |name, what, payload: &[u8]| bad(name, "M-20", what, publish().payload(payload).bytes());
    let count_0 = publish().args_at(20, &[0; 4]).more_args(&publish().args[24..]).payload(&[]);
    let mut longest = vec![250];
    longest.extend([b'x'; 250]);
    vec![
        bad("name-empty", "M-18", "An empty name.", query(&[0])),
        bad("name-space", "M-18", "A space in a name.", query(b"\x09two words")),
        bad("name-too-long", "M-18", "A name of 250 bytes.", query(&longest)),
        bad("name-not-ascii", "M-18", "A letter outside ASCII.", query("\u{5}caf\u{e9}".as_bytes())),
        bad("payload-on-ping", "M-19", "PING with a payload.", ping().payload(b"?").bytes()),
        bad("records-count-0", "M-20", "A batch of no records.", count_0.bytes()),
        records("records-too-few", "One record where two are announced.", &two_records()[..10]),
        records(
            "records-too-many",
            "Three records where two are announced.",
            &[two_records(), vec![0, 0, 0, 1, 0]].concat(),
        ),
        records("records-cut", "The last record ends early.", &two_records()[..23]),
        records("records-rest", "A byte behind the last record.", &[two_records(), vec![0]].concat()),
        records("records-size-0", "A record without attrs.", &[0, 0, 0, 1, 0, 0, 0, 0, 0]),
        records("records-attrs", "An attribute that does not exist.", &[0, 0, 0, 1, 0, 0, 0, 0, 1, 8]),
        records("records-headers", "Headers that do not fill their length.", &[0, 0, 0, 1, 0, 0, 0, 0, 4, 4, 0, 1, 5]),
    ]
}

fn silent() -> Vec<Bad> {
    let whole = publish().bytes();
    let unknown = Odd { head: Head { opcode: 0x7F, ..ping().head }, ..ping() };
    let status = Odd { head: Head { status: 0x42, ..ping().head }, ..ping() };
    vec![
        bad("oneway-unknown", "M-21", "An unknown opcode that wants no answer.", unknown.flags(0x04).bytes()),
        bad(
            "oneway-records",
            "M-21",
            "Half a batch that wants no answer.",
            publish().flags(0x04).payload(&two_records()[..10]).bytes(),
        ),
        bad(
            "oneway-corrupt",
            "M-21",
            "Damaged args that want no answer.",
            damage(ping().flags(0x04).bytes(), HEADER_BYTES),
        ),
        bad("oneway-critical", "M-21", "A critical flag that wants no answer.", ping().flags(0x44).bytes()),
        bad("response-unasked", "M-22", "An answer to nothing.", ping().flags(0x01).bytes()),
        Bad {
            like: Some("ping-request"),
            ..bad("status-in-request", "M-23", "A status in a request.", status.bytes())
        },
        bad("cut-in-payload", "M-24", "The stream ends within the payload.", whole[..whole.len() - 1].to_vec()),
        bad("cut-in-header", "M-24", "The stream ends within the header.", whole[..35].to_vec()),
        bad(
            "length-counts-itself",
            "M-24",
            "A whole PING, but its length counts itself: 4 bytes more are awaited.",
            patch(ping().bytes(), 0, &46u32.to_be_bytes()),
        ),
        bad("nothing", "M-24", "The stream ends at once.", vec![]),
    ]
}

/// What only a subscriber, or who takes itself for a node, does wrong.
fn of_subscriptions(good: &[Good]) -> Vec<Bad> {
    let find = |name| good.iter().find(|good| good.name == name).expect("the vectors have it").encode(None);
    let flags = |name, flags: Flags| patch(find(name), 8, &[flags.0]);
    let (none, oneway) = (Flags::default(), Flags::ONEWAY);
    let [unsubscribe, credit] = ["unsubscribe-request", "credit-request"].map(find);
    // Of whatever has that name, from its end on: that needs nothing but the topic.
    let topic = topic("orders", 0);
    let subscribe = Request::Subscribe(Subscribe { topic, epoch: None, start: Start::Next, ..subscription() });
    let waiting = Fetch { topic, epoch: None, start: Start::Next, max_bytes: 0, max_records: 0, max_wait_ms: 30_000 };
    let [subscribe, waiting] = [subscribe, Request::Fetch(waiting)]
        .map(|request| patch(odd(&request).bytes(), 16, &SUBSCRIPTION.to_be_bytes()));
    vec![
        bad("push-deliver", "M-26", "A client sends records as only nodes do.", flags("deliver", none)),
        bad("push-event", "M-26", "A client reports a gap.", flags("event-gap", none)),
        bad("push-event-end", "M-26", "A client reports the end of a topic.", flags("event-unknown-topic", none)),
        bad("nodes-feed", "M-26", "A client takes itself for an ingress.", find("feed-request")),
        bad("nodes-heads", "M-26", "A client takes itself for a home.", find("heads-request")),
        bad("credit-answered", "M-27", "CREDIT without ONEWAY.", flags("credit-request", none)),
        bad("subscribe-twice", "M-28", "Two SUBSCRIBE with one id.", [&*subscribe, &subscribe].concat()),
        bad("fetch-of-subscription", "M-28", "A FETCH that waits has its id.", [&*subscribe, &waiting].concat()),
        bad("unsubscribe-unknown", "M-29", "UNSUBSCRIBE of nothing.", unsubscribe.clone()),
        bad(
            "unsubscribe-twice",
            "M-29",
            "SUBSCRIBE, then UNSUBSCRIBE twice.",
            [&*subscribe, &unsubscribe, &unsubscribe].concat(),
        ),
        bad("credit-unknown", "M-30", "CREDIT for no subscription.", find("credit-request")),
        bad("credit-lower", "M-30", "CREDIT, twice the same.", [&*subscribe, &credit, &credit].concat()),
        bad("oneway-deliver", "M-21", "DELIVER as it would come from a node.", find("deliver")),
        bad("oneway-feed", "M-21", "FEED that wants no answer.", flags("feed-request", oneway)),
        bad("oneway-subscribe", "M-21", "SUBSCRIBE that wants no answer.", patch(subscribe.clone(), 8, &[oneway.0])),
        bad("oneway-unsubscribe", "M-21", "UNSUBSCRIBE that wants no answer.", flags("unsubscribe-request", oneway)),
    ]
}
