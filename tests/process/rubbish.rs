//! Bytes that are not frames, and frames that make no sense: at most the sender's connection is closed, and the node is
//! unaffected.

use std::time::Duration;

use dht_node::types::{Dimension, LinkSet, NodeId, NodeSet, RequestId};
use dht_node::wire::{Flags, Head, Kind, Opcode, Origin, Route, Status, TrafficClass};

use crate::cube::Cube;
use crate::daemon::pause;
use crate::raw::{Got, Raw, client_hello, head, hello_frame, ping_frame, request_frame};
use crate::requests::{create, fetch, publish, record};

/// How a node reacts to invalid input.
enum Reaction {
    /// It closes the connection without GOAWAY, which the other side would not understand.
    Closes,
    /// It sends GOAWAY with this status, and closes the connection.
    Leaves(Status),
    /// It ignores the input.
    Ignores,
}

#[test]
fn invalid_input_gets_the_reaction_that_the_protocol_specifies() {
    use Reaction::{Closes, Ignores, Leaves};
    let cube = Cube::start(3);
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".to_vec();
    let before_hello: [(&str, Vec<u8>, Reaction); 6] = [
        ("text", http.clone(), Closes),
        ("a TLS hello", tls_hello(), Closes),
        ("zeros", vec![0; 1000], Closes),
        ("a request", ping_frame(2), Leaves(Status::HelloRequired)),
        ("a HELLO with a damaged header", flip(hello_frame(&client_hello()), 33), Leaves(Status::BadHeader)),
        ("a HELLO of another version", relabel(&hello_frame(&client_hello())), Leaves(Status::UnsupportedVersion)),
    ];
    for (what, bytes, reaction) in before_hello {
        check(Raw::connect(cube.address(5)), what, &bytes, &reaction);
    }
    let after_hello: [(&str, Vec<u8>, Reaction); 9] = [
        ("text", http, Closes),
        ("a damaged header", flip(ping_frame(2), 20), Leaves(Status::BadHeader)),
        ("a length smaller than the frame's parts", shorten(&ping_frame(2)), Leaves(Status::BadLength)),
        ("a second HELLO", hello_frame(&client_hello()), Leaves(Status::ProtocolError)),
        ("a frame with a route", routed(true), Leaves(Status::ProtocolError)),
        ("a frame with a damaged route", flip(routed(true), 40), Leaves(Status::ProtocolError)),
        ("a routed answer", routed(false), Leaves(Status::ProtocolError)),
        ("responses to requests that were not sent", unasked(), Ignores),
        ("a one-way request that makes no sense", oneway(), Ignores),
    ];
    for (what, bytes, reaction) in after_hello {
        check(Raw::greet(cube.address(5)), what, &bytes, &reaction);
    }
    Raw::greet(cube.address(5)).ping();
    cube.wait_linked();
}

#[test]
fn a_request_with_damaged_args_or_payload_is_answered_and_the_connection_stays_open() {
    let cube = Cube::start(1);
    let topic = cube.topic_at(1, "damaged");
    let mut raw = Raw::greet(cube.address(0));
    raw.call(&create(&topic), &[]);
    let whole = request_frame(0, &publish(&topic, 1), &record(b"x"));
    let args = 36..whole.len() - record(b"x").len();
    for at in 36..whole.len() {
        let id = raw.next_id();
        raw.send(&flip(request_frame(id, &publish(&topic, 1), &record(b"x")), at));
        let frame = raw.frame();
        assert_eq!(frame.header.request_id, RequestId(id));
        let part = if args.contains(&at) { "args" } else { "payload" };
        let (status, error) = frame.error();
        assert_eq!(status, Status::CorruptFrame, "byte {at}: {error:?}");
        assert!(error.message.contains(part), "byte {at}: {error:?}");
    }
    raw.ping();
}

#[test]
fn a_flood_of_invalid_input_leaves_the_node_serving_and_then_idle() {
    let mut cube = Cube::start(3);
    let topic = cube.topic_at(2, "flood");
    let mut bystander = Raw::greet(cube.address(5));
    bystander.call(&create(&topic), &[]);
    bystander.call(&publish(&topic, 1), &record(b"still here"));
    let mut random = fastrand::Rng::with_seed(1);
    let mut held = Vec::new();
    for round in 0..300 {
        let mut raw = if round % 3 == 0 { Raw::connect(cube.address(5)) } else { Raw::greet(cube.address(5)) };
        raw.send_in_vain(&rubbish(&mut random, &topic));
        match round % 4 {
            0 => {}            // left open, and never read
            1 => raw.finish(), // half-closed
            2 => while let Got::Frame(_) = raw.next(Duration::from_millis(5)) {},
            _ => continue, // torn down, perhaps in the middle of a frame
        }
        held.push(raw);
        if round % 50 == 0 {
            let read = bystander.call(&fetch(&topic, 0, 0), &[]);
            assert_eq!(crate::requests::fetched(&read), &record(b"still here"));
        }
    }
    bystander.ping();
    cube.wait_linked();
    // With all these connections still open or half-closed, an idle node must not use CPU time.
    let before = cube.daemon(5).processor_time();
    pause(Duration::from_secs(1));
    let spent = cube.daemon(5).processor_time() - before;
    assert!(spent < Duration::from_millis(100), "{spent:?} of CPU time in an idle second");
    bystander.ping();
    drop(held);
    let (_, peak_kib) = cube.daemon(5).memory_kib();
    assert!(peak_kib < 64 << 10, "{peak_kib} KiB");
}

/// Sends bytes on a connection, and checks the reaction.
fn check(mut raw: Raw, what: &str, bytes: &[u8], reaction: &Reaction) {
    raw.send(bytes);
    match reaction {
        Reaction::Closes => raw.end(),
        Reaction::Leaves(status) => assert_eq!(raw.goaway(), *status, "{what}"),
        Reaction::Ignores => raw.ping(),
    }
}

/// Returns random bytes, or a stream of frames that is truncated, has a flipped bit, or starts in the middle.
fn rubbish(random: &mut fastrand::Rng, topic: &str) -> Vec<u8> {
    let mut frames = [ping_frame(2), hello_frame(&client_hello()), routed(true), unasked(), oneway()].concat();
    frames.extend(request_frame(3, &publish(topic, 7), &record(&[1; 300])));
    match random.u8(..) % 4 {
        0 => (0..random.usize(..5000)).map(|_| random.u8(..)).collect(),
        1 => frames[..random.usize(..frames.len())].to_vec(),
        2 => {
            let at = random.usize(..frames.len());
            flip(frames, at)
        }
        _ => frames[random.usize(..frames.len())..].to_vec(),
    }
}

/// Flips one bit of the byte at `at`.
fn flip(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0x10;
    bytes
}

/// Sets version 9 in the header; its checksum stays valid.
fn relabel(frame: &[u8]) -> Vec<u8> {
    with_header(frame, |header| header[6] = 9)
}

/// Sets a length in the header that is too small for the args; its checksum stays valid.
fn shorten(frame: &[u8]) -> Vec<u8> {
    with_header(frame, |header| header[3] = 33)
}

fn with_header(frame: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    change(&mut bytes[..32]);
    let sum = crc32fast::hash(&bytes[..32]);
    bytes[32..36].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Encodes a frame with a route, which only nodes may send.
fn routed(is_request: bool) -> Vec<u8> {
    let three = Dimension::new(3).unwrap();
    let node = |id| NodeId::new(id, three).unwrap();
    let route = Route {
        source: node(4),
        target: node(5),
        ttl: 32,
        hops: 0,
        kind: Kind::Node,
        class: TrafficClass::Control,
        dimension: three,
        origin: Origin::from_number(1),
        down: LinkSet::new(),
        targets: NodeSet::new(),
    };
    let flags = if is_request { Flags(0) } else { Flags::RESPONSE };
    let mut bytes = Vec::new();
    let head = Head { flags, ..head(Opcode::Ping, 9) };
    head.seal(Some(&route), (0, 0), &mut bytes, |args| {
        args.u16(5).u64(1);
    });
    bytes
}

/// Encodes responses to all operations except HELLO and GOAWAY, for a request that was never sent.
fn unasked() -> Vec<u8> {
    let mut bytes = Vec::new();
    for opcode in Opcode::ALL.into_iter().filter(|opcode| !matches!(opcode, Opcode::Hello | Opcode::Goaway)) {
        let head = Head { flags: Flags::RESPONSE, ..head(opcode, 77) };
        head.seal(None, (0, 0), &mut bytes, |args| {
            args.u16(5).u64(1);
        });
    }
    bytes
}

/// Encodes a one-way request with an unknown operation.
fn oneway() -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = Head { opcode: 0x7E, flags: Flags::ONEWAY, ..head(Opcode::Ping, 5) };
    head.seal(None, (0, 0), &mut bytes, |_| {});
    bytes
}

/// The start of a TLS ClientHello, as a browser sends it to a port that it takes for HTTPS.
fn tls_hello() -> Vec<u8> {
    let mut bytes = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03];
    bytes.resize(517, 0xA5);
    bytes
}
