//! Frames may arrive byte by byte, split anywhere, or thousands at once.

use std::collections::BTreeSet;
use std::time::Duration;

use dht_node::wire::{Request, Response, Status};

use crate::cube::Cube;
use crate::daemon::pause;
use crate::raw::{Raw, client_hello, goaway_frame, hello_frame, ping_frame, request_frame};
use crate::requests::{create, fetch, fetched, publish, published, record};

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_answered() {
    let cube = Cube::start(1);
    let topic = cube.topic_at(1, "drops");
    let mut raw = Raw::connect(cube.address(0));
    let drip = |raw: &mut Raw, bytes: &[u8]| bytes.chunks(1).for_each(|byte| raw.send(byte));
    drip(&mut raw, &hello_frame(&client_hello()));
    assert_eq!(raw.frame().hello().0, Status::Ok);
    drip(&mut raw, &request_frame(2, &create(&topic), &[]));
    assert!(matches!(raw.answer(2), Response::Created { existed: false, .. }));
    drip(&mut raw, &request_frame(3, &publish(&topic, 1), &record(b"drop by drop")));
    assert_eq!(published(&raw.answer(3)), 0);
    drip(&mut raw, &request_frame(4, &fetch(&topic, 0, 0), &[]));
    assert_eq!(fetched(&raw.answer(4)), &record(b"drop by drop"));
}

#[test]
fn a_frame_may_be_cut_anywhere() {
    let cube = Cube::start(0);
    let topic = cube.topic_at(0, "cut");
    let mut other = Raw::greet(cube.address(0));
    let mut raw = Raw::greet(cube.address(0));
    raw.call(&create(&topic), &[]);
    let small = record(b"of two pieces");
    // A batch large enough to get its own buffer in the node, split around the header, the args, and the place from
    // which that buffer is used.
    let large = record(&vec![7; 40 << 10]);
    let around = |at: usize| at - 2..at + 3;
    let places = (1..60).chain(around(16 << 10)).chain(around(36 + (16 << 10))).chain(around(large.len()));
    let small_len = request_frame(0, &publish(&topic, 1), &small).len();
    let cases = (1..small_len).map(|cut| (&small, cut)).chain(places.map(|cut| (&large, cut)));
    for (offset, (sent, cut)) in (0..).zip(cases) {
        let (id, behind) = (raw.next_id(), raw.next_id());
        let mut frame = request_frame(id, &publish(&topic, 1), sent);
        // The next request is sent before this one is answered.
        frame.extend_from_slice(&ping_frame(behind));
        raw.send(&frame[..cut]);
        other.ping(); // the node has read the first piece when it answers this
        raw.send(&frame[cut..]);
        assert_eq!(published(&raw.answer(id)), offset, "cut at {cut}");
        raw.answer(behind);
        let read = other.call(&fetch(&topic, offset, 1), &[]);
        assert!(fetched(&read) == sent, "record {offset}, cut at {cut}, has another value");
    }
}

#[test]
fn a_hello_may_be_cut_anywhere_and_requests_may_follow_at_once() {
    let cube = Cube::start(0);
    let mut other = Raw::greet(cube.address(0));
    let mut bytes = hello_frame(&client_hello());
    bytes.extend_from_slice(&ping_frame(2));
    for cut in 1..bytes.len() {
        let mut raw = Raw::connect(cube.address(0));
        raw.send(&bytes[..cut]);
        other.ping();
        raw.send(&bytes[cut..]);
        assert_eq!(raw.frame().hello().0, Status::Ok, "cut at {cut}");
        assert!(matches!(raw.answer(2), Response::Ping { token: 2, .. }), "cut at {cut}");
    }
}

#[test]
fn ten_thousand_requests_in_one_write_are_all_answered_before_the_connection_ends() {
    let cube = Cube::start(3);
    for node in [0, 7] {
        let mut raw = Raw::greet(cube.address(0));
        let ids = 2..10_002;
        let ping = |id| request_frame(id, &Request::Ping { node, token: id }, &[]);
        raw.send(&ids.clone().flat_map(ping).collect::<Vec<u8>>());
        raw.finish();
        let answers = raw.frames_to_end();
        assert!(answers.keys().copied().eq(ids), "{} answers from node {node}", answers.len());
        for (id, answer) in &answers {
            assert!(matches!(answer.response(), Response::Ping { node: by, token, .. } if by == node && token == *id));
        }
    }
    assert!(cube.counter(0, "pauses") > 0, "reads were never suspended");
}

#[test]
fn a_client_that_half_closes_gets_all_its_answers_however_late_it_reads() {
    const READS: u64 = 150;
    let cube = Cube::start(1);
    for home in [0, 1] {
        let topic = cube.topic_at(home, "half-closed");
        let sent = record(&vec![9; 60 << 10]);
        let mut raw = Raw::greet(cube.address(0));
        raw.call(&create(&topic), &[]);
        raw.call(&publish(&topic, 1), &sent);
        let ids: BTreeSet<u64> = (0..READS).map(|_| raw.next_id()).collect();
        raw.send(&ids.iter().flat_map(|&id| request_frame(id, &fetch(&topic, 0, 64 << 10), &[])).collect::<Vec<u8>>());
        raw.finish();
        // Longer than a connection lingers when the node has nothing more to send.
        pause(Duration::from_millis(2500));
        let answers = raw.frames_to_end();
        assert!(answers.keys().eq(&ids), "{} of {READS} answers", answers.len());
        assert!(answers.values().all(|answer| fetched(&answer.response()) == &sent));
    }
}

#[test]
fn a_client_that_leaves_with_goaway_gets_its_answers() {
    let cube = Cube::start(1);
    let mut raw = Raw::greet(cube.address(0));
    let mut bytes: Vec<u8> =
        (2..100).flat_map(|id| request_frame(id, &Request::Ping { node: 1, token: id }, &[])).collect();
    bytes.extend_from_slice(&goaway_frame());
    raw.send(&bytes);
    assert!(raw.frames_to_end().keys().copied().eq(2..100));
}
