//! FETCH that waits for records: it is answered when a record is published, when its time is over, and when the node
//! shuts down.

use std::time::Duration;

use dht_client::{Batch, Item, Start};
use dht_node::wire::{Response, Status};

use crate::cube::Cube;
use crate::daemon::wait_for;
use crate::raw::{Got, Raw, request_frame};
use crate::requests::{fetched, poll, publish, published, record};
use crate::stream::content;

/// The home, a neighbour, and the node farthest away.
const NODES: [u16; 3] = [HOME, 4, 2];
const HOME: u16 = 5;

/// Longer than any FETCH waits in these tests.
const LONG_MS: u32 = 30_000;

#[test]
fn a_waiting_fetch_is_answered_when_a_record_is_published() {
    let cube = Cube::start(3);
    let topic = cube.topic_at(HOME, "polled");
    cube.create(&topic);
    let mut raws = NODES.map(|node| Raw::greet(cube.address(node)));
    let mut writer = Raw::greet(cube.address(0));
    for offset in 0..20 {
        let ids = raws.each_mut().map(|raw| ask(raw, &topic, offset, LONG_MS));
        // Even rounds publish when all requests wait; odd rounds race the requests against the publish.
        if offset % 2 == 0 {
            wait_for("all requests wait", || (cube.total("subscriptions") == 3).then_some(()));
        }
        let value = content(offset, 100);
        assert_eq!(published(&writer.call(&publish(&topic, 1), &record(&value))), offset);
        for ((node, raw), id) in NODES.iter().zip(&mut raws).zip(ids) {
            assert!(fetched(&raw.answer(id)) == &record(&value), "record {offset} through node {node}");
        }
    }
    cube.wait_forgotten();
}

#[test]
fn a_waiting_fetch_is_answered_without_records_when_its_time_is_over() {
    let cube = Cube::start(3);
    let topic = cube.topic_at(HOME, "silent");
    cube.create(&topic);
    cube.client(0).publish(&topic, &Batch::of(b"before")).unwrap();
    let mut raws = NODES.map(|node| Raw::greet(cube.address(node)));
    // The request with the longer wait is sent first.
    let ids = raws.each_mut().map(|raw| [700, 400].map(|wait_ms| ask(raw, &topic, 1, wait_ms)));
    for ((node, raw), [later, sooner]) in NODES.iter().zip(&mut raws).zip(ids) {
        for id in [sooner, later] {
            let frame = raw.frame();
            assert_eq!(frame.header.request_id.0, id, "through node {node}");
            assert_empty(&frame.response(), 1);
        }
    }
    let ids = raws.each_mut().map(|raw| ask(raw, &topic, 1, 600));
    let got = raws[0].next(Duration::from_millis(500));
    assert!(matches!(got, Got::Nothing), "{got:?} before the wait was over");
    for (raw, id) in raws.iter_mut().zip(ids) {
        assert_empty(&raw.answer(id), 1);
        // An existing record, and an offset out of range, are answered without waiting.
        let id = ask(raw, &topic, 0, LONG_MS);
        assert_eq!(fetched(&raw.answer(id)), &record(b"before"));
        ask(raw, &topic, 2, LONG_MS);
        assert_eq!(raw.frame().error().0, Status::OffsetOutOfRange);
    }
    cube.wait_forgotten();
}

#[test]
fn deleting_a_topic_answers_requests_that_wait_for_its_records() {
    let cube = Cube::start(3);
    let topic = cube.topic_at(HOME, "deleted");
    cube.create(&topic);
    let mut raws = NODES.map(|node| Raw::greet(cube.address(node)));
    for raw in &mut raws {
        ask(raw, &topic, 0, LONG_MS);
    }
    wait_for("all requests wait", || (cube.total("subscriptions") == 3).then_some(()));
    cube.client(1).delete(&topic).unwrap();
    raws.iter_mut().for_each(|raw| assert_eq!(raw.frame().error().0, Status::UnknownTopic));
    cube.wait_forgotten();
}

#[test]
fn a_node_that_shuts_down_answers_waiting_requests() {
    for node in NODES {
        let mut cube = Cube::start(3);
        let topic = cube.topic_at(HOME, "ending");
        cube.create(&topic);
        let mut raw = Raw::greet(cube.address(node));
        let ids = [LONG_MS, LONG_MS].map(|wait_ms| ask(&mut raw, &topic, 0, wait_ms));
        wait_for("both requests wait", || (cube.counter(node, "subscriptions") == 2).then_some(()));
        let mut daemon = cube.take(node);
        daemon.signal("TERM");
        ids.into_iter().for_each(|id| assert_empty(&raw.answer(id), 0));
        assert_eq!(raw.goaway(), Status::Closing, "node {node}");
        drop(raw);
        let status = daemon.wait(Duration::from_secs(5)).expect("the node exits");
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

#[test]
fn the_client_waits_until_a_record_comes_or_its_time_is_over() {
    let cube = Cube::start(1);
    let topic = cube.topic_at(1, "client");
    cube.create(&topic);
    let mut client = cube.client(0);
    let wait = Duration::from_millis(200);
    assert!(client.fetch_wait(&topic, Start::Next, 0, wait).unwrap().messages.is_empty());
    assert_eq!(client.records(&topic, Start::Earliest).unwrap().wait(wait).count(), 0);
    client.publish(&topic, &Batch::of(b"at last")).unwrap();
    let items: Vec<Item> = client.records(&topic, Start::Earliest).unwrap().wait(wait).map(Result::unwrap).collect();
    assert!(matches!(&items[..], [Item::Record(message)] if message.value == b"at last"[..]), "{items:?}");
}

/// Sends a FETCH from an offset that waits for a record, and returns its request id.
fn ask(raw: &mut Raw, topic: &str, offset: u64, max_wait_ms: u32) -> u64 {
    let id = raw.next_id();
    raw.send(&request_frame(id, &poll(topic, offset, max_wait_ms), &[]));
    id
}

/// Checks that a response contains no records and that the log ends at offset `at`.
fn assert_empty(answer: &Response, at: u64) {
    let Response::Fetched(fetched) = answer else { panic!("{answer:?} is not a response to FETCH") };
    assert_eq!((fetched.count, fetched.from.0, fetched.base.0, fetched.next.0), (0, at, at, at));
}
