//! Clients that send requests and do not read: the node is not blocked by them, and no response is lost.

use std::time::Duration;

use dht_client::{Batch, Client, Retention, Start};
use dht_node::wire::{Class, Hello, Response};

use crate::cube::Cube;
use crate::daemon::pause;
use crate::raw::{Raw, client_hello, request_frame};
use crate::requests::{fetch, fetched, publish, published, record};

/// The value that they read repeatedly: so large that the node sends it from its own buffer instead of copying it.
static VALUE: [u8; 60 << 10] = [5; 60 << 10];

#[test]
fn a_client_that_reads_late_gets_every_answer_and_costs_the_node_little() {
    const READS: u64 = 3000;
    let mut cube = Cube::start(3);
    // Node 0 answers a quarter of the requests itself; the other responses come over links.
    let topics = [0, 7, 6, 5].map(|home| cube.topic_at(home, "late"));
    let mut other = cube.client(0);
    topics.iter().for_each(|topic| fill(&mut other, topic));
    let (before_kib, _) = cube.daemon(0).memory_kib();
    // If the node mistook its own suspended reads for the client's silence, it would send PING after one second and
    // close the connection after two.
    let mut raw = Raw::greet_as(cube.address(0), &Hello { keepalive_ms: 1000, ..client_hello() });
    let ids: Vec<u64> = (0..READS).map(|_| raw.next_id()).collect();
    let asked = ids.iter().zip(topics.iter().cycle());
    raw.send(&asked.flat_map(|(&id, topic)| request_frame(id, &fetch(topic, 0, 1), &[])).collect::<Vec<u8>>());
    pause(Duration::from_millis(3500));
    for topic in &topics {
        assert_eq!(other.fetch(topic, Start::Earliest, 1).unwrap().messages[0].value, VALUE[..], "others are served");
        other.publish(topic, &Batch::of(b"and may write")).unwrap();
    }
    let (_, peak_kib) = cube.daemon(0).memory_kib();
    assert!(peak_kib < before_kib + (48 << 10), "{before_kib} KiB before, {peak_kib} KiB at most");
    ids.into_iter().for_each(|id| check(&cube, id, &raw.answer(id)));
    raw.ping();
}

#[test]
fn many_clients_that_never_read_do_not_exhaust_memory() {
    const CLIENTS: usize = 64;
    const READS: u64 = 180;
    let mut cube = Cube::start(1);
    let topic = cube.topic_at(1, "never");
    let mut other = cube.client(0);
    fill(&mut other, &topic);
    let mut held: Vec<Raw> = (0..CLIENTS).map(|_| Raw::greet(cube.address(0))).collect();
    let requests: Vec<u8> = (2..2 + READS).flat_map(|id| request_frame(id, &fetch(&topic, 0, 1), &[])).collect();
    for raw in &mut held {
        raw.send(&requests);
        assert_eq!(other.fetch(&topic, Start::Earliest, 1).unwrap().messages[0].value, VALUE[..], "others are served");
    }
    // Each client may have up to 8 MiB of outstanding responses, but the limit for all of them together is about half
    // of what they request.
    let (_, peak_kib) = cube.daemon(0).memory_kib();
    assert!(peak_kib < 360 << 10, "{peak_kib} KiB for {CLIENTS} clients");
    for mut raw in held.into_iter().step_by(10) {
        (2..2 + READS).for_each(|id| check(&cube, id, &raw.answer(id)));
    }
}

#[test]
fn a_frame_does_not_time_out_while_reads_are_suspended() {
    const READS: u64 = 100;
    let cube = Cube::start(1);
    let topic = cube.topic_at(1, "half");
    let mut other = cube.client(0);
    fill(&mut other, &topic);
    let mut raw = Raw::greet(cube.address(0));
    // The responses fill the send queue, so that the node suspends reads from this client in the middle of a frame.
    let mut bytes: Vec<u8> = (2..2 + READS).flat_map(|id| request_frame(id, &fetch(&topic, 0, 1), &[])).collect();
    let last = request_frame(2 + READS, &publish(&topic, 1), &record(b"at last"));
    bytes.extend_from_slice(&last[..50]);
    raw.send(&bytes);
    // Longer than the time that a frame may take from its first to its last byte.
    pause(Duration::from_millis(11_000));
    (2..2 + READS).for_each(|id| check(&cube, id, &raw.answer(id)));
    // Give the node time to check the timeout.
    pause(Duration::from_millis(1000));
    raw.send(&last[50..]);
    assert_eq!(published(&raw.answer(2 + READS)), 1);
    assert!(cube.counter(0, "pauses") > 0, "reads were never suspended");
}

/// Creates a topic with one record.
fn fill(client: &mut Client, topic: &str) {
    client.create(topic, Retention::default()).unwrap();
    client.publish(topic, &Batch::of(&VALUE)).unwrap();
}

/// Checks that a response contains the record. An error is accepted if the machine was so busy that a link was lost.
fn check(cube: &Cube, id: u64, answer: &Response) {
    match answer {
        Response::Error(error) => {
            let class = Class::of(error.status);
            assert!(matches!(class, Class::Transient | Class::Unknown) && cube.has_lost_links(), "{id}: {error:?}");
        }
        records => assert!(fetched(records) == &record(&VALUE), "answer {id}"),
    }
}
