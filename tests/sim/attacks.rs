//! The attacks: bytes, and the required reactions.

use dht_node::limits::FRAME_BEFORE_HELLO_MAX;
use dht_node::wire::field::Writer;
use dht_node::wire::request::ANY_NODE;
use dht_node::wire::{Flags, HEADER_BYTES, Hello, Opcode, Status};
use fastrand::Rng;

use crate::admin::on_wire;
use crate::craft::{
    PING_ARGS, client_hello, damaged_publish, fetches, frame, greeting, node_hello, patched, plain, rogue_frame,
    subscribes, with_tlvs,
};
use crate::profile::{Profile, choose};

/// Bytes, and the required reaction.
#[derive(Debug)]
pub(crate) struct Attack {
    pub name: &'static str,
    /// True if a valid HELLO precedes them.
    pub greets: bool,
    pub bytes: Vec<u8>,
    /// The frames that must arrive, as opcode and status; `None` if that depends on more than the node.
    pub answers: Option<Vec<(u8, Status)>>,
    pub then: Then,
    /// The attacker claims to be this neighbour of the node.
    pub poses_as: Option<usize>,
}

/// How the connection continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The node closes the connection.
    IsClosed,
    /// The connection stays open: a PING after the attack is answered.
    GoesOn,
    /// The client closes its sending direction; the node answers the requests and closes the connection.
    HangsUp,
    /// The client disappears without closing the connection.
    Vanishes,
    /// The client reads nothing, then resets the connection.
    NeverReads,
    /// The client stays for a while and watches.
    Stays,
}

/// The request id of the PING after an attack.
pub(crate) const MARKER: u64 = 1 << 60;

const GOAWAY: u8 = Opcode::Goaway as u8;
const HELLO: u8 = Opcode::Hello as u8;
const PING: u8 = Opcode::Ping as u8;

/// Draws one of all attacks.
pub(crate) fn draw(profile: &Profile, node: usize, rng: &mut Rng) -> Attack {
    match rng.u8(..6) {
        0 => of_frames(rng),
        1 | 2 => of_requests(rng),
        3 => of_greetings(profile, node, rng),
        4 if !profile.faults.kinds.is_empty() && profile.dimension.bits() > 0 => of_impostors(profile, node, rng),
        _ => of_manners(rng),
    }
}

impl Attack {
    /// Returns an attack that must be answered like this.
    fn new(name: &'static str, greets: bool, bytes: Vec<u8>, answers: Vec<(u8, Status)>, then: Then) -> Self {
        Self { name, greets, bytes, answers: Some(answers), then, poses_as: None }
    }
}

/// Bytes that are not a frame end the connection.
fn of_frames(rng: &mut Rng) -> Attack {
    let ping = plain(Opcode::Ping, Flags::default(), 7, &PING_ARGS);
    let closed = |name, bytes, status: Option<Status>| {
        let answers = status.map(|status| (GOAWAY, status)).into_iter().collect();
        Attack::new(name, true, bytes, answers, Then::IsClosed)
    };
    match rng.u8(..9) {
        0 => {
            let rubbish: Vec<u8> = (0..rng.usize(8..300)).map(|_| rng.u8(..0xC0)).collect();
            Attack { greets: rng.bool(), ..closed("rubbish", rubbish, None) }
        }
        1 => {
            Attack { greets: false, ..closed("another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), None) }
        }
        2 => {
            let mut bytes = ping;
            bytes[rng.usize(16..36)] ^= 1;
            closed("a damaged header", bytes, Some(Status::BadHeader))
        }
        3 => closed("another version", patched(ping, 6, &[2]), Some(Status::UnsupportedVersion)),
        4 => closed("a length below its parts", patched(ping, 0, &[0, 0, 0, 33]), Some(Status::BadLength)),
        5 => closed("4 GiB", patched(ping, 0, &[0xFF; 4]), Some(Status::FrameTooLarge)),
        6 => {
            let bytes = patched(ping, 0, &(FRAME_BEFORE_HELLO_MAX + 1).to_be_bytes());
            Attack { greets: false, ..closed("a large first frame", bytes, Some(Status::FrameTooLarge)) }
        }
        7 => closed("a flag without a route", patched(ping, 8, &[Flags::ROUTED.0]), Some(Status::ProtocolError)),
        _ => closed("a route without its flag", patched(ping, 10, &[0, 5, 0, 5]), Some(Status::ProtocolError)),
    }
}

/// An invalid request gets an error, and has no other effect.
fn of_requests(rng: &mut Rng) -> Attack {
    let topic = |args: &mut Writer<'_>, name: &str| {
        args.u64(0).str8(name);
    };
    let (name, mut bytes, status) = match rng.u8(..16) {
        0 => {
            let mut bytes = plain(Opcode::Ping, Flags::default(), 7, &PING_ARGS);
            bytes[HEADER_BYTES + 3] ^= 1;
            ("damaged args", bytes, Status::CorruptFrame)
        }
        1 => ("an unknown operation", frame(0x77, Flags::default(), 7, |_| {}), Status::UnknownOpcode),
        2 => ("a critical flag", plain(Opcode::Ping, Flags(0x40), 7, &PING_ARGS), Status::Unsupported),
        3 => ("a critical TLV", with_tlvs(&[(0x90, 3)]), Status::Unsupported),
        4 => ("a TLV twice", with_tlvs(&[(0x1F, 3), (0x1F, 0)]), Status::MalformedArgs),
        5 => ("a TLV to ignore", with_tlvs(&[(0x3F, 9), (0x55, 0)]), Status::Ok),
        6 => ("half a field", plain(Opcode::Ping, Flags::default(), 7, &[0xFF, 0xFF, 0]), Status::MalformedArgs),
        7 => {
            let bytes = frame(Opcode::Info.number(), Flags::default(), 7, |args| topic(args, "two words"));
            ("no name", bytes, Status::InvalidName)
        }
        8 => {
            let bytes = frame(Opcode::Cluster.number(), Flags::default(), 7, |args| {
                args.u16(1000);
            });
            ("no node", bytes, Status::UnknownNode)
        }
        9 => {
            let mut bytes = patched(plain(Opcode::Ping, Flags::default(), 7, &PING_ARGS), 0, &[0, 0, 0, 46]);
            bytes.extend_from_slice(b"more");
            ("a payload too many", patched(bytes, 28, &crc32fast::hash(b"more").to_be_bytes()), Status::MalformedArgs)
        }
        10 => ("what only nodes say", rogue_push(rng), Status::BadRequest),
        11 => ("credit that wants an answer", numbered(Opcode::Credit), Status::BadRequest),
        12 => ("the end of nothing", numbered(Opcode::Unsubscribe), Status::UnknownSubscription),
        _ => ("reserved fields and flags", patched(with_tlvs(&[]), 8, &[0x38, 0x55]), Status::Ok),
    };
    let is_quiet = rng.u8(..100) < 20;
    let opcode = bytes[7];
    if is_quiet {
        let flags = [bytes[8] | if rng.bool() { Flags::ONEWAY.0 } else { Flags::RESPONSE.0 }];
        bytes = patched(bytes, 8, &flags);
    }
    let answers = if is_quiet { Vec::new() } else { vec![(opcode, status)] };
    Attack::new(name, true, bytes, answers, Then::GoesOn)
}

/// Returns a request with one number.
fn numbered(opcode: Opcode) -> Vec<u8> {
    frame(opcode.number(), Flags::default(), 7, |args| {
        args.u64(1);
    })
}

/// Frames that only nodes send to each other, or pushes to subscribers.
fn rogue_push(rng: &mut Rng) -> Vec<u8> {
    let opcode = *choose(rng, &[Opcode::Feed, Opcode::Heads, Opcode::Deliver, Opcode::Event]);
    let args = if rng.bool() { 0 } else { rng.usize(..60) };
    plain(opcode, Flags::default(), 7, &vec![0; args])
}

/// Invalid HELLO frames.
fn of_greetings(profile: &Profile, node: usize, rng: &mut Rng) -> Attack {
    let refused = |name, hello: &Hello, status| {
        Attack::new(name, false, greeting(hello), vec![(HELLO, status), (GOAWAY, status)], Then::IsClosed)
    };
    let good = client_hello();
    let id = on_wire(node);
    let neighbour = node_hello(profile, id, rng);
    match rng.u8(..10) {
        0 => refused("versions to come", &Hello { version_min: 2, version_max: 3, ..good }, Status::UnsupportedVersion),
        1 => refused("another cluster", &Hello { cluster: "other".to_owned(), ..good }, Status::ClusterMismatch),
        2 => refused("tiny frames", &Hello { max_frame: 1000, ..good }, Status::ProtocolError),
        3 => refused("itself", &neighbour, Status::NotANeighbour),
        4 => refused("another cube", &Hello { dimension: 9, ..neighbour }, Status::DimensionMismatch),
        5 => {
            let mut bytes = greeting(&good);
            bytes[HEADER_BYTES + 2] ^= 0x40;
            Attack::new("a damaged HELLO", false, bytes, vec![(GOAWAY, Status::ProtocolError)], Then::IsClosed)
        }
        6 => {
            let bytes = plain(Opcode::Ping, Flags::default(), 7, &PING_ARGS);
            Attack::new("no HELLO", false, bytes, vec![(GOAWAY, Status::HelloRequired)], Then::IsClosed)
        }
        7 => {
            let bytes = plain(Opcode::Hello, Flags::default(), 1, &[1, 1, 1, 0]);
            Attack::new("half a HELLO", false, bytes, vec![(GOAWAY, Status::ProtocolError)], Then::IsClosed)
        }
        8 if id > 0 => {
            let below = Hello { node: id & (id - 1), ..neighbour };
            refused("a neighbour that is dialled", &below, Status::NotANeighbour)
        }
        _ => {
            let answers = vec![(GOAWAY, Status::ProtocolError)];
            Attack::new("HELLO twice", true, greeting(&good), answers, Then::IsClosed)
        }
    }
}

/// Valid requests from a client that otherwise misbehaves.
fn of_manners(rng: &mut Rng) -> Attack {
    let pings = |count: u64| -> Vec<u8> {
        (2..2 + count).flat_map(|id| plain(Opcode::Ping, Flags::default(), id, &PING_ARGS)).collect()
    };
    let count = rng.u64(1..30);
    match rng.u8(..14) {
        0 | 1 => {
            let answers = (0..count).map(|_| (PING, Status::Ok)).collect();
            Attack::new("a half-close", true, pings(count), answers, Then::HangsUp)
        }
        2 => {
            let whole = pings(count);
            let answers = (1..count).map(|_| (PING, Status::Ok)).collect();
            let bytes = whole[..whole.len() - rng.usize(1..46)].to_vec();
            Attack::new("the end within a frame", true, bytes, answers, Then::HangsUp)
        }
        3 => {
            Attack::new("gone within a frame", true, pings(1)[..rng.usize(1..46)].to_vec(), Vec::new(), Then::Vanishes)
        }
        4 => Attack::new("gone before the answers", true, pings(count), Vec::new(), Then::Vanishes),
        5 | 6 => {
            let stats = |id| {
                frame(Opcode::Stats.number(), Flags::default(), id, |args| {
                    args.u16(ANY_NODE);
                })
            };
            Attack::new("answers nobody reads", true, (2..800).flat_map(stats).collect(), Vec::new(), Then::NeverReads)
        }
        7 => Attack::new("records nobody reads", true, fetches(60), Vec::new(), Then::NeverReads),
        8 => {
            let mut bytes = pings(count);
            bytes.extend(frame(GOAWAY, Flags::ONEWAY, 0, |args| {
                args.u64(0).str16("", 0);
            }));
            let answers = (0..count).map(|_| (PING, Status::Ok)).collect();
            Attack::new("a farewell", true, bytes, answers, Then::IsClosed)
        }
        9 => {
            let bytes = greeting(&Hello { keepalive_ms: 1000, ..client_hello() });
            let answers = vec![(HELLO, Status::Ok), (GOAWAY, Status::KeepaliveTimeout)];
            Attack::new("no sign of life", false, bytes, answers, Then::IsClosed)
        }
        10 => {
            let attack = Attack::new("damaged records", true, damaged_publish(), Vec::new(), Then::GoesOn);
            Attack { answers: None, ..attack }
        }
        11 => {
            let attack =
                Attack::new("subscriptions and a half-close", true, subscribes(count), Vec::new(), Then::HangsUp);
            Attack { answers: None, ..attack }
        }
        12 => Attack::new("subscriptions nobody reads", true, subscribes(60), Vec::new(), Then::NeverReads),
        _ => Attack::new("silence", false, Vec::new(), vec![(GOAWAY, Status::HelloRequired)], Then::IsClosed),
    }
}

/// A client that claims to be a neighbour, and behaves like one or not at all.
fn of_impostors(profile: &Profile, node: usize, rng: &mut Rng) -> Attack {
    let bit = rng.u8(..profile.dimension.bits());
    let posed = node ^ (1 << bit);
    let mut bytes = greeting(&node_hello(profile, on_wire(posed), rng));
    if rng.bool() {
        (0..rng.u8(..8)).for_each(|_| rogue_frame(profile, posed, rng, &mut bytes));
    }
    if rng.bool() {
        bytes.extend(plain(Opcode::Cluster, Flags::default(), 9, &[0xFF, 0xFF]));
    }
    let attack = Attack::new("an impostor", false, bytes, Vec::new(), Then::Stays);
    Attack { answers: None, poses_as: Some(posed), ..attack }
}

/// Requests as much as is allowed, from a topic at any home.
pub(crate) fn greedy(rng: &mut Rng) -> Attack {
    let attack = Attack::new("greed", true, fetches(rng.u64(2..12)), Vec::new(), Then::GoesOn);
    Attack { answers: None, ..attack }
}
