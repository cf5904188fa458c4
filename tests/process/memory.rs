//! The memory of a node under clients that make it hold as much as they can: it stays within the configured limit,
//! 64 MiB and a tenth, and a polite client of the same node and address is served meanwhile.

use dht_client::{Batch, Retention, Start};
use dht_node::limits::{PAYLOAD_MAX, clients_bytes, input_bytes};
use dht_node::wire::Request;

use crate::cube::Cube;
use crate::daemon::wait_for;
use crate::raw::{Raw, request_frame};
use crate::requests::{fetch, fetched, publish, published, record};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 8 * MIB;

/// The length of a record that fills a response.
const LARGE: usize = PAYLOAD_MAX as usize - 100;

/// Returns a cube of two nodes, a topic of node 1 with large records, most of which are only on disk, and one with a
/// small record.
fn cube() -> (Cube, String, String) {
    let cube = Cube::start_with(1, &["--memory", "8MiB"]);
    let (large, small) = (cube.topic_at(1, "large"), cube.topic_at(1, "small"));
    let mut client = cube.client(1);
    for topic in [&large, &small] {
        client.create(topic, Retention::default()).unwrap();
    }
    for _ in 0..16 {
        client.publish(&large, &Batch::of(&vec![7; LARGE])).unwrap();
    }
    client.publish(&small, &Batch::of(b"small")).unwrap();
    (cube, large, small)
}

/// Asserts that a polite client is served, and that no node has ever needed more memory than it may.
fn check(cube: &mut Cube, topic: &str) {
    for node in 0..2 {
        let mut client = cube.client(node);
        for _ in 0..100 {
            client.publish(topic, &Batch::of(b"polite")).unwrap();
        }
        assert_eq!(client.fetch(topic, Start::Earliest, 1).unwrap().messages.len(), 1);
    }
    for node in 0..2 {
        let peak = cube.daemon(node).memory_kib().1 << 10;
        let most = LIMIT + 64 * MIB + LIMIT / 10;
        assert!(peak <= most, "node {node} needed {} MiB, and {} are allowed", peak / MIB, most / MIB);
        assert_eq!(cube.counter(node, "links"), 1);
    }
    assert!(!cube.has_lost_links());
}

/// Sends a request so many times, and reads nothing.
fn pipeline(raw: &mut Raw, request: &Request<'_>, times: usize) {
    let frames: Vec<u8> = (0..times).flat_map(|_| request_frame(raw.next_id(), request, b"")).collect();
    raw.send(&frames);
}

#[test]
fn many_large_answers_to_requests_that_ask_for_little() {
    let (mut cube, large, small) = cube();
    let mut raws = Vec::new();
    for node in [0, 0, 0, 1] {
        let mut raw = Raw::greet(cube.address(node));
        pipeline(&mut raw, &fetch(&large, 0, 1), 1024);
        raws.push(raw);
    }
    check(&mut cube, &small);
    // Whoever takes the answers gets all of them.
    let mut raw = raws.swap_remove(0);
    for id in 2..1026 {
        assert_eq!(fetched(&raw.answer(id)).len(), record(&[7; LARGE]).len());
    }
}

#[test]
fn one_large_answer_each_that_is_not_taken() {
    let (mut cube, large, small) = cube();
    let clients: Vec<Raw> = (0..300)
        .map(|number: u64| {
            let mut raw = Raw::greet(cube.address(u16::from(number.is_multiple_of(2))));
            pipeline(&mut raw, &fetch(&large, number % 16, 0), 1);
            raw
        })
        .collect();
    check(&mut cube, &small);
    let untaken = cube.counter(0, "untaken_bytes") + cube.counter(0, "charged_bytes");
    assert!(untaken <= clients_bytes(LIMIT) + 300 * 4096, "{untaken} bytes");
    drop(clients);
}

#[test]
fn parts_of_large_frames_whose_rest_does_not_come() {
    let (mut cube, large, small) = cube();
    let payload = record(&vec![7; LARGE]);
    let whole = |raw: &mut Raw| {
        let id = raw.next_id();
        (id, request_frame(id, &publish(&large, 1), &payload))
    };
    let mut parts: Vec<Raw> = (0..300)
        .map(|number: u64| {
            let mut raw = Raw::greet(cube.address(u16::from(number.is_multiple_of(2))));
            let (_, frame) = whole(&mut raw);
            // The node need not read what it has no memory for, so the socket's buffers must be able to hold it.
            raw.send(&frame[..100 << 10]);
            raw
        })
        .collect();
    check(&mut cube, &small);
    for node in 0..2 {
        let most = input_bytes(LIMIT) + MIB + 300 * 16 * 1024;
        assert!(cube.counter(node, "input_bytes") <= most, "node {node} holds more than {most} bytes");
        // Another one is completed nevertheless.
        let mut raw = Raw::greet(cube.address(node));
        let (id, frame) = whole(&mut raw);
        raw.send(&frame);
        published(&raw.answer(id));
    }
    parts.clear();
    wait_for("all parts are dropped", || (cube.counter(0, "input_bytes") == 0).then_some(()));
}
