//! The fields of every operation's args, as tables that `decode` follows. protocol.md has the same tables.

use dht_protocol::wire::Opcode;

/// A part of args.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// A single field.
    Field(&'static str, Kind),
    /// A u16 of that name, followed by that many repetitions of the parts.
    Repeat(&'static str, &'static [Self]),
    /// As many repetitions of the parts as the field of that name states.
    Times(&'static str, &'static [Self]),
    /// The parts, if the field of that name is 1.
    If(&'static str, &'static [Self]),
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    U16,
    U32,
    U64,
    /// A u64 shown in hex: an id, or a set of bits.
    Id,
    /// A u64 of microseconds since 1970.
    Time,
    /// A u16 that is a node id.
    Node,
    /// A byte that states the durability of an acknowledgement.
    Durability,
    /// A byte that is a status.
    Status,
    /// A byte that is the sender's role in HELLO.
    Role,
    /// A byte that says where FETCH starts.
    Start,
    /// Text after one byte with its length.
    Str8,
    /// Text after two bytes with its length.
    Str16,
}

use Kind::{Durability, Id, Node, Role, Start, Status, Str8, Str16, Time, U8, U16, U32, U64};
use Part::{Field, If, Repeat, Times};

const HELLO: &[Part] = &[
    Field("version_min", U8),
    Field("version_max", U8),
    Field("role", Role),
    Field("dimension", U8),
    Field("node_id", Node),
    Field("reserved", U16),
    Field("keepalive_ms", U32),
    Field("max_frame", U32),
    Field("max_inflight", U32),
    Field("features", Id),
    Field("instance", Id),
    Field("cluster", Str8),
    Field("software", Str8),
];
const GOAWAY: &[Part] = &[Field("last_request_id", U64), Field("message", Str16)];
const PING: &[Part] = &[Field("node", Node), Field("token", Id)];
const NODE: &[Part] = &[Field("node", Node)];
const TOPIC: &[Part] = &[Field("topic_id", Id), Field("topic", Str8)];
const CREATE: &[Part] = &[
    Field("retention_records", U64),
    Field("retention_bytes", U64),
    Field("retention_age_ms", U64),
    Field("topic", Str8),
];
const LIST: &[Part] = &[Field("node", Node), Field("max", U16), Field("cursor", U64), Field("prefix", Str8)];
const PUBLISH: &[Part] = &[
    Field("producer_id", Id),
    Field("producer_epoch", U32),
    Field("sequence", U64),
    Field("count", U32),
    Field("topic_id", Id),
    Field("topic", Str8),
];
const FETCH: &[Part] = &[
    Field("start", Start),
    Field("value", U64),
    Field("epoch", U32),
    Field("max_bytes", U32),
    Field("max_records", U32),
    Field("max_wait_ms", U32),
    Field("topic_id", Id),
    Field("topic", Str8),
];
const SUBSCRIBE: &[Part] = &[
    Field("start", Start),
    Field("value", U64),
    Field("epoch", U32),
    Field("limit", U64),
    Field("topic_id", Id),
    Field("topic", Str8),
];
const SUBSCRIBED: &[Part] = &[
    Field("topic_id", Id),
    Field("epoch", U32),
    Field("from", U64),
    Field("first_offset", U64),
    Field("next_offset", U64),
];
const GAP: &[Part] = &[Field("from", U64), Field("to", U64)];
const WAITING: &[Part] = &[Field("node", Node), Field("reason", Status)];
const HEADS: &[Part] =
    &[Field("instance", Id), Field("counter", U64), Field("feeds", U32), Field("digest", Id), Field("count", U16)];
const TRACE: &[Part] = &[Field("ttl", U16), Field("node", Node), Field("topic", Str8)];
const DESCRIPTION: &[Part] = &[
    Field("home", Node),
    Field("exists", U8),
    If(
        "exists",
        &[
            Field("durability", Durability),
            Field("topic_id", Id),
            Field("epoch", U32),
            Field("first_offset", U64),
            Field("next_offset", U64),
            Field("bytes", U64),
            Field("subscribers", U32),
            Field("feeds", U16),
            Field("lag", U64),
            Field("created_us", Time),
            Field("retention_records", U64),
            Field("retention_bytes", U64),
            Field("retention_age_ms", U64),
        ],
    ),
    Repeat("path", &[Field("node", Node)]),
];
const PUBLISHED: &[Part] = &[
    Field("topic_id", Id),
    Field("epoch", U32),
    Field("base_offset", U64),
    Field("count", U32),
    Field("append_us", Time),
    Field("durability", Durability),
];
const FETCHED: &[Part] = &[
    Field("topic_id", Id),
    Field("epoch", U32),
    Field("from", U64),
    Field("base_offset", U64),
    Field("count", U32),
    Field("first_offset", U64),
    Field("next_offset", U64),
    Repeat("runs", &[Field("count", U32), Field("append_us", Time)]),
];
const LINKS: Part = Repeat("links", &[Field("end", Node), Field("other end", Node)]);
const TRACED: &[Part] = &[Field("node", Node), Field("hops", U16), LINKS];
const VIEW: &[Part] = &[
    Field("node", Node),
    Field("dimension", U8),
    Field("instance", Id),
    Field("uptime_ms", U64),
    Field("durability", Durability),
    Field("cluster", Str8),
    Field("software", Str8),
    Field("address", Str8),
    Times("dimension", &[Field("link node", Node), Field("link up", U8), Field("link address", Str8)]),
];
const ERROR: &[Part] = &[Field("retry_after_ms", U32), Field("message", Str16)];

/// A topic in the payload of a LIST response.
pub(crate) const LISTED: &[Part] = &[
    Field("topic_id", Id),
    Field("first_offset", U64),
    Field("next_offset", U64),
    Field("bytes", U64),
    Field("topic", Str8),
];

/// A node in the payload of a NODES response.
pub(crate) const NODE_ADDRESS: &[Part] = &[Field("node_id", Node), Field("link", U8), Field("address", Str8)];

/// An item in the payload of FEED.
pub(crate) const FEED_ITEM: &[Part] = &[
    Field("topic_id", Id),
    Field("epoch", U32),
    Field("push", U8),
    Field("subscribers", U32),
    Field("slowest", U64),
    Field("topic", Str8),
];

/// An item in the payload of a FEED response.
pub(crate) const FED_ITEM: &[Part] = &[
    Field("topic_id", Id),
    Field("status", U8),
    Field("epoch", U32),
    Field("next_offset", U64),
    Field("successor", Id),
];

/// An item in the payload of HEADS.
pub(crate) const HEADS_ITEM: &[Part] = &[Field("topic_id", Id), Field("epoch", U32), Field("next_offset", U64)];

const PRODUCER: &[Part] =
    &[Field("producer_id", Id), Field("token", Id), Field("resume", U8), Field("topic_id", Id), Field("topic", Str8)];

const OPENED: &[Part] = &[
    Field("topic_id", Id),
    Field("producer_epoch", U32),
    Field("sequence", U64),
    Field("records", U64),
    Field("forgotten", U64),
];

/// The fields of args, except for the TLVs after them.
pub(crate) const fn args(opcode: Opcode, is_response: bool, status: u8) -> &'static [Part] {
    let is_error = status >= 0x40;
    match (opcode, is_response) {
        (Opcode::Goaway, _) => GOAWAY,
        (Opcode::Hello, _) => HELLO, // whatever its status
        (_, true) | (Opcode::Event, _) if is_error => ERROR,
        (Opcode::Ping, _) => PING,
        (Opcode::Create, false) => CREATE,
        (Opcode::Create | Opcode::Info | Opcode::Alter | Opcode::Query, true) => DESCRIPTION,
        (Opcode::Delete | Opcode::Info | Opcode::Alter, false) => TOPIC,
        (Opcode::Trim, false) => &[Field("to", U64), Field("topic_id", Id), Field("topic", Str8)],
        (Opcode::Trim, true) => &[Field("topic_id", Id), Field("first_offset", U64), Field("next_offset", U64)],
        (Opcode::Producer, false) => PRODUCER,
        (Opcode::Producer, true) => OPENED,
        (Opcode::Delete, true) => &[Field("topic_id", Id)],
        (Opcode::List, false) => LIST,
        (Opcode::List, true) => &[Field("node", Node), Field("cursor", U64), Field("count", U16)],
        (Opcode::Publish, false) => PUBLISH,
        (Opcode::Publish, true) => PUBLISHED,
        (Opcode::Fetch, false) => FETCH,
        (Opcode::Fetch, true) | (Opcode::Deliver, _) => FETCHED,
        (Opcode::Subscribe, false) => SUBSCRIBE,
        (Opcode::Subscribe, true) => SUBSCRIBED,
        (Opcode::Unsubscribe, false) => &[Field("subscription", U64)],
        (Opcode::Unsubscribe, true) => &[Field("next_offset", U64)],
        (Opcode::Credit, _) => &[Field("limit", U64)],
        (Opcode::Event, _) => match status {
            0x03 => WAITING,
            0x04 => NODE,
            _ => GAP,
        },
        (Opcode::Query, false) => &[Field("topic", Str8)],
        (Opcode::Trace, false) => TRACE,
        (Opcode::Trace, true) => TRACED,
        (Opcode::Cluster, true) => VIEW,
        (Opcode::Cluster, false) | (Opcode::Stats, _) => NODE,
        (Opcode::Nodes, false) => &[Field("node", Node), Field("from", U16)],
        (Opcode::Nodes, true) => {
            &[Field("node", Node), Field("dimension", U8), Field("next", U16), Field("count", U16)]
        }
        (Opcode::Feed, false) => &[Field("instance", Id), Field("reset", U8), Field("count", U16)],
        (Opcode::Feed, true) => &[Field("instance", Id), Field("counter", U64), Field("count", U16)],
        (Opcode::Heads, false) => HEADS,
        (Opcode::Heads, true) => &[Field("counter", U64)],
    }
}

/// The details of an error, by tag.
pub(crate) const fn detail(tag: u8) -> Option<(&'static str, &'static [Part])> {
    Some(match tag {
        0x10 => ("EXPECTED_SEQUENCE", &[Field("sequence", U64)]),
        0x11 => ("EARLIEST", &[Field("offset", U64)]),
        0x12 => ("NEXT", &[Field("offset", U64)]),
        0x13 => ("LIMIT", &[Field("limit", U64)]),
        0x14 => ("NODE", &[Field("node", Node)]),
        0x15 => ("HOPS", &[Field("hops", U16)]),
        0x16 => ("LINKS", &[LINKS]),
        0x17 => ("TOPIC_ID", &[Field("topic_id", Id)]),
        0x18 => ("EPOCH", &[Field("epoch", U32)]),
        _ => return None,
    })
}
