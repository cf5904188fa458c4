//! Many subscribers, subscribers that do not read, and subscribers that disconnect without UNSUBSCRIBE.

use bytes::Bytes;
use dht_client::{Batch, Connection, Deadline, Incoming, Record, Retention, Start};
use dht_node::types::{Offset, RequestId};
use dht_node::wire::Response;

use crate::cube::Cube;
use crate::daemon::{PATIENCE, wait_for};
use crate::raw::{Raw, client_hello, goaway_frame, hello_frame, ping_frame, request_frame};
use crate::requests::{poll, publish, record, subscribe};
use crate::stream::{Came, Stream, UNBOUNDED, content, offsets, send_all};

#[test]
fn a_thousand_subscribers_at_eight_nodes_all_receive_everything() {
    const EACH: usize = 125;
    rlimit::increase_nofile_limit(4000).unwrap();
    let cube = Cube::start(3);
    let topic = cube.topic_at(2, "thousand");
    cube.create(&topic);
    let nodes = cube.living();
    let open = |node: &u16| -> Vec<Connection> { (0..EACH).map(|_| cube.connection(*node)).collect() };
    let mut connections: Vec<Connection> = nodes.iter().flat_map(open).collect();
    let request = subscribe(&topic, Start::Next, UNBOUNDED);
    let ids: Vec<RequestId> = connections.iter_mut().map(|it| it.send(&request, &[]).unwrap()).collect();
    for connection in &mut connections {
        assert!(connection.flush(Deadline::after(PATIENCE)).unwrap());
    }
    let opened = |(connection, id): (&mut Connection, RequestId)| match next(connection) {
        Incoming::Answer(answer) => Stream::new(id, &answer.response, UNBOUNDED),
        push @ Incoming::Push(_) => panic!("{push:?} before the answer"),
    };
    let mut streams: Vec<Stream> = connections.iter_mut().zip(ids).map(opened).collect();
    assert_eq!((cube.total("subscriptions"), cube.total("followed"), cube.counter(2, "feeds")), (1000, 7, 7));

    let expected: Vec<Vec<u8>> = (0..100).map(|number| content(number, 50)).collect();
    let mut writer = cube.client(5);
    for values in expected.chunks(5) {
        let mut batch = Batch::new();
        values.iter().for_each(|value| batch.push(&Record { value, ..Record::default() }).unwrap());
        writer.publish(&topic, &batch).unwrap();
    }
    for (connection, stream) in connections.iter_mut().zip(&mut streams) {
        let mut came: Vec<Bytes> = Vec::new();
        while came.len() < expected.len() {
            match next(connection) {
                Incoming::Push(pushed) => came.extend(stream.take(pushed.push).records()),
                answer @ Incoming::Answer(_) => panic!("{answer:?} without a request"),
            }
        }
        assert!(came == expected, "at {:?}", connection.node());
    }
    let (pushes, frames) = (cube.total("pushes"), cube.total("delivers") / 1000);
    assert!(pushes == 7 * frames || cube.has_lost_links(), "{pushes} pushes for {frames} frames");
    drop(connections);
    cube.wait_forgotten();
}

#[test]
fn a_subscriber_that_does_not_read_costs_little_and_later_receives_everything() {
    const COUNT: u64 = 480;
    let mut cube = Cube::start(1);
    let topic = cube.topic_at(1, "stopped");
    cube.create(&topic);
    let mut writer = Raw::greet(cube.address(1));
    let mut slow = [0, 1].map(|node| Stream::connect(cube.address(node), &topic));
    let mut fast = [0, 1].map(|node| Stream::connect(cube.address(node), &topic));
    let before = [0, 1].map(|node| cube.daemon(node).memory_kib().0);
    publish_to(&mut writer, &topic, COUNT, &mut fast);
    // The records are stored once, at the home. A subscriber that does not read has send queues of bounded size.
    for ((node, before_kib), kept_kib) in (0..).zip(before).zip([0, COUNT * VALUE_KIB]) {
        let peak_kib = cube.daemon(node).memory_kib().1;
        assert!(peak_kib < before_kib + kept_kib + (12 << 10), "{before_kib} KiB before, {peak_kib} KiB at most");
    }
    for (raw, stream) in &mut slow {
        while stream.cursor < COUNT {
            let first = stream.cursor;
            check(first, &stream.next(raw).records());
        }
    }
    // They have caught up, and new records are pushed to them again.
    writer.call(&publish(&topic, 1), &record(b"at last"));
    slow.iter_mut().chain(&mut fast).for_each(|(raw, stream)| assert_eq!(stream.values(raw, 1), [&b"at last"[..]]));
    assert!(cube.total("tail_bytes") == 0 && cube.total("gaps") == 0);
}

#[test]
fn a_subscriber_that_is_slower_than_retention_gets_a_gap_and_continues() {
    const COUNT: u64 = 480;
    let cube = Cube::start(1);
    let topic = cube.topic_at(1, "gaps");
    cube.client(0).create(&topic, Retention { bytes: 2 << 20, ..Retention::default() }).unwrap();
    let mut writer = Raw::greet(cube.address(1));
    let mut slow = [0, 1].map(|node| Stream::connect(cube.address(node), &topic));
    let mut fast = [0, 1].map(|node| Stream::connect(cube.address(node), &topic));
    publish_to(&mut writer, &topic, COUNT, &mut fast);
    for (raw, stream) in &mut slow {
        let mut missed = 0;
        while stream.cursor < COUNT {
            let first = stream.cursor;
            match stream.next(raw) {
                Came::Records(values) => check(first, &values),
                Came::Gap(gap) => missed += gap.end - gap.start,
                end @ Came::End(_) => panic!("{end:?}"),
            }
        }
        assert!(missed > COUNT / 4, "{missed} records were removed before they were sent");
    }
    assert!(cube.counter(0, "gaps") > 0 && cube.counter(1, "gaps") > 0);
    writer.call(&publish(&topic, 1), &record(b"at last"));
    slow.iter_mut().chain(&mut fast).for_each(|(raw, stream)| assert_eq!(stream.values(raw, 1), [&b"at last"[..]]));
    // A subscription that starts at a removed offset gets a gap as well.
    let mut raw = Raw::greet(cube.address(0));
    let mut stream = Stream::open(&mut raw, &topic, Start::Offset(Offset(3)), UNBOUNDED);
    let Came::Gap(gap) = stream.next(&mut raw) else { panic!("no gap") };
    check(gap.end, &stream.next(&mut raw).records());
}

#[test]
fn records_that_were_not_pushed_because_a_link_was_full_are_fetched() {
    const COUNT: u64 = 240;
    let mut cube = Cube::start(1);
    let topic = cube.topic_at(1, "full-link");
    cube.create(&topic);
    let mut writer = Raw::greet(cube.address(1));
    let (mut raw, mut stream) = Stream::connect(cube.address(0), &topic);
    let before_kib = cube.daemon(1).memory_kib().0;
    cube.daemon(0).signal("STOP");
    publish_to(&mut writer, &topic, COUNT, &mut []);
    cube.daemon(0).signal("CONT");
    while stream.cursor < COUNT {
        let first = stream.cursor;
        check(first, &stream.next(&mut raw).records());
    }
    let skipped = cube.counter(1, "pushes_skipped");
    assert!(skipped > 0 || cube.has_lost_links(), "no push was skipped");
    let (peak_kib, kept_kib) = (cube.daemon(1).memory_kib().1, COUNT * VALUE_KIB);
    assert!(peak_kib < before_kib + kept_kib + (16 << 10), "{before_kib} KiB before, {peak_kib} KiB at most");
    writer.call(&publish(&topic, 1), &record(b"at last"));
    assert_eq!(stream.values(&mut raw, 1), [&b"at last"[..]]);
}

#[test]
fn all_state_of_a_subscriber_is_removed_however_it_disconnects() {
    let manners: [fn(&mut Raw); 5] = [
        |_| {},
        |raw| raw.finish(),
        |raw| raw.send(&ping_frame(9)[..20]),
        |raw| raw.send_in_vain(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        |raw| raw.send_in_vain(&hello_frame(&client_hello())),
    ];
    let cube = Cube::start(3);
    let (topics, quiet) = ([0, 3, 6].map(|home| cube.topic_at(home, "left")), cube.topic_at(5, "quiet"));
    topics.iter().chain([&quiet]).for_each(|topic| cube.create(topic));
    let mut writer = Raw::greet(cube.address(1));
    let values: Vec<Vec<u8>> = (0..50).map(|number| content(number, 3000)).collect();
    for last_words in manners {
        let mut raws: Vec<Raw> = cube.living().into_iter().map(|node| Raw::greet(cube.address(node))).collect();
        for raw in &mut raws {
            for topic in &topics {
                Stream::open(raw, topic, Start::Next, UNBOUNDED);
                Stream::open(raw, topic, Start::Next, 0);
            }
            let id = raw.next_id();
            raw.send(&request_frame(id, &poll(&quiet, 0, 30_000), &[]));
        }
        wait_for("all subscriptions and requests wait", || {
            (cube.total("subscriptions") == 8 * (2 * 3 + 1)).then_some(())
        });
        let mut publish = || {
            let asked: Vec<u64> = topics.iter().flat_map(|topic| send_all(&mut writer, topic, &values)).collect();
            offsets(&mut writer, &asked);
        };
        publish();
        raws.iter_mut().for_each(last_words);
        publish();
        // They have unread input, so closing them resets the connections.
        drop(raws);
        cube.wait_forgotten();
    }
}

#[test]
fn a_client_that_half_closes_or_sends_goaway_gets_outstanding_answers_but_no_pushes() {
    let manners: [fn(&mut Raw); 2] = [|raw| raw.finish(), |raw| raw.send(&goaway_frame())];
    let cube = Cube::start(2);
    let (topic, quiet) = (cube.topic_at(3, "half-closed"), cube.topic_at(3, "quiet"));
    cube.create(&topic);
    cube.create(&quiet);
    let cases = [3, 0].into_iter().flat_map(|node| manners.map(|last_words| (node, last_words)));
    let mut ending: Vec<(Raw, u64)> = Vec::new();
    for (node, last_words) in cases {
        let (mut raw, _) = Stream::connect(cube.address(node), &topic);
        Stream::open(&mut raw, &topic, Start::Earliest, 0);
        let id = raw.next_id();
        raw.send(&request_frame(id, &poll(&quiet, 0, 1000), &[]));
        last_words(&mut raw);
        ending.push((raw, id));
    }
    wait_for("only the FETCH requests wait", || (cube.total("subscriptions") == ending.len() as u64).then_some(()));
    Raw::greet(cube.address(1)).call(&publish(&topic, 1), &record(b"too late"));
    for (mut raw, id) in ending {
        let frame = raw.frame();
        assert_eq!(frame.header.request_id.0, id, "{frame:?}");
        assert!(matches!(frame.response(), Response::Fetched(fetched) if fetched.count == 0));
        raw.end();
    }
    cube.wait_forgotten();
}

/// Size of a value, in KiB and in bytes.
const VALUE_KIB: u64 = 64;
const BYTES: usize = 64 << 10;

/// Publishes `count` values, waiting for all `readers` to receive each batch.
fn publish_to(writer: &mut Raw, topic: &str, count: u64, readers: &mut [(Raw, Stream)]) {
    let values: Vec<Vec<u8>> = (0..count).map(|number| content(number, BYTES)).collect();
    for values in values.chunks(8) {
        let asked = send_all(writer, topic, values);
        readers.iter_mut().for_each(|(raw, stream)| assert!(stream.values(raw, values.len() as u64) == values));
        offsets(writer, &asked);
    }
}

/// Checks that these are the values from number `first` on.
fn check(first: u64, values: &[Bytes]) {
    (first..)
        .zip(values)
        .for_each(|(number, value)| assert!(*value == content(number, BYTES), "value {number} differs"));
}

fn next(connection: &mut Connection) -> Incoming {
    connection.next(Deadline::after(PATIENCE)).unwrap().expect("a frame arrives")
}
