//! Handmade frames, valid and invalid.

use dht_node::types::{Dimension, LinkSet, NodeId, RequestId, TopicName};
use dht_node::wire::field::Writer;
use dht_node::wire::request::{Fetch, Publish, Start, Subscribe, Topic};
use dht_node::wire::{Flags, HEADER_BYTES, Head, Hello, Kind, Opcode, Origin, Request, Role, Route, TrafficClass};
use fastrand::Rng;

use crate::admin::on_wire;
use crate::profile::{Profile, choose};

/// The args of a PING to the ingress.
pub(crate) const PING_ARGS: [u8; 10] = [0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1];

/// Returns a valid HELLO.
pub(crate) fn hello() -> Vec<u8> {
    greeting(&client_hello())
}

/// Returns a frame without payload.
pub(crate) fn plain(opcode: Opcode, flags: Flags, request_id: u64, args: &[u8]) -> Vec<u8> {
    frame(opcode.number(), flags, request_id, |out| {
        out.bytes(args);
    })
}

/// Returns a frame without payload and with any opcode.
pub(crate) fn frame(opcode: u8, flags: Flags, request_id: u64, args: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    Head { opcode, flags, status: 0, request_id: RequestId(request_id) }.seal(None, (0, 0), &mut bytes, args);
    bytes
}

/// Returns a PING with TLVs, given by tags and lengths of values.
pub(crate) fn with_tlvs(tlvs: &[(u8, usize)]) -> Vec<u8> {
    frame(Opcode::Ping.number(), Flags::default(), 7, |args| {
        args.bytes(&PING_ARGS);
        tlvs.iter().for_each(|(tag, length)| {
            args.tlv(*tag, &vec![0; *length]);
        });
    })
}

/// Replaces bytes of a header, and corrects its checksum.
pub(crate) fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32fast::hash(&frame[..HEADER_BYTES - 4]);
    frame[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    frame
}

/// Returns a HELLO.
pub(crate) fn greeting(hello: &Hello) -> Vec<u8> {
    frame(Opcode::Hello.number(), Flags::default(), 1, |args| hello.encode(args, None))
}

/// Returns the HELLO of a node.
pub(crate) fn node_hello(profile: &Profile, node: u16, rng: &mut Rng) -> Hello {
    Hello {
        role: Role::Node,
        dimension: profile.dimension.bits(),
        node,
        cluster: "sim".to_owned(),
        instance: rng.u64(..),
        replicas: Some(profile.copies.number()),
        ..client_hello()
    }
}

/// Returns the HELLO of a client.
pub(crate) fn client_hello() -> Hello {
    Hello::of_client(0, "")
}

/// Returns many FETCH requests for a whole topic.
pub(crate) fn fetches(count: u64) -> Vec<u8> {
    let fetch = Fetch {
        topic: Topic { name: TopicName::new("topic-0").expect("a name"), id: None },
        epoch: None,
        start: Start::Earliest,
        max_bytes: 0,
        max_records: 0,
        max_wait_ms: 0,
    };
    let fetch = |id| frame(Opcode::Fetch.number(), Flags::default(), id, |args| Request::Fetch(fetch).encode(args));
    (2..2 + count).flat_map(fetch).collect()
}

/// Returns many subscriptions to a topic from its log start, with unlimited credit.
pub(crate) fn subscribes(count: u64) -> Vec<u8> {
    let subscribe = Subscribe {
        topic: Topic { name: TopicName::new("topic-0").expect("a name"), id: None },
        epoch: None,
        start: Start::Earliest,
        limit: u64::MAX,
    };
    let opcode = Opcode::Subscribe.number();
    let subscribe = |id| frame(opcode, Flags::default(), id, |args| Request::Subscribe(subscribe).encode(args));
    (2..2 + count).flat_map(subscribe).collect()
}

/// Returns a PUBLISH with a wrong payload checksum. Its record is not one of a publisher's, so a reader that gets it
/// detects that it was stored.
pub(crate) fn damaged_publish() -> Vec<u8> {
    let topic = Topic { name: TopicName::new("topic-0").expect("a name"), id: None };
    let request = Request::Publish(Publish { topic, producer: None, count: 1 });
    let payload = b"\0\0\0\x10\0nobody wrote me";
    let head = Head { opcode: request.opcode().number(), flags: Flags::default(), status: 0, request_id: RequestId(2) };
    let mut bytes = Vec::new();
    head.seal(None, (payload.len(), 1), &mut bytes, |args| request.encode(args));
    bytes.extend_from_slice(payload);
    bytes
}

/// Returns a frame from a neighbour that no node would send.
pub(crate) fn rogue_frame(profile: &Profile, posed: usize, rng: &mut Rng, bytes: &mut Vec<u8>) {
    // Occasionally it is routed in a smaller cube, which may not include the receiver.
    let bits = profile.dimension.bits();
    let bits = if rng.u8(..4) == 0 { rng.u8(1..=bits) } else { bits };
    let dimension = Dimension::new(bits).expect("at most the dimension of the cube");
    let node = |rng: &mut Rng| NodeId::from_low_bits(rng.u32(..), dimension);
    let route = Route {
        source: if rng.bool() { node(rng) } else { NodeId::from_low_bits(on_wire(posed).into(), dimension) },
        target: node(rng),
        ttl: rng.u16(..6),
        hops: 0,
        kind: *choose(rng, &[Kind::Node, Kind::Group, Kind::Multicast]),
        class: *choose(rng, &[TrafficClass::Bulk, TrafficClass::Control]),
        dimension,
        origin: Origin::from_number(rng.u64(..)),
        down: LinkSet::new(),
        targets: [node(rng)].into_iter().collect(),
    };
    let ping = Opcode::Ping.number();
    let opcode = *choose(rng, &[0x77, ping, ping, Opcode::Fetch.number(), Opcode::Publish.number()]);
    let flags = *choose(rng, &[Flags::default(), Flags::default(), Flags::RESPONSE, Flags::ONEWAY, Flags(0x40)]);
    let start = bytes.len();
    let head = Head { opcode, flags, status: 0, request_id: RequestId(rng.u64(..)) };
    head.seal(Some(&route), (0, 0), bytes, |args| {
        args.bytes(&PING_ARGS);
    });
    if rng.bool() {
        let last = bytes.len() - 1;
        assert!(last > start, "a frame has args");
        bytes[last] ^= 1;
    }
}
