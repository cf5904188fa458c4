//! Subscriptions: all subscribers see one order, each record crosses a link once, credit, and how subscriptions end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use dht_node::limits::SUBSCRIPTIONS_PER_CLIENT_MAX;
use dht_node::types::{Offset, RequestId, TopicName};
use dht_node::wire::request::{Start, Topic};
use dht_node::wire::response::Detail;
use dht_node::wire::{Push, Request, Response, Status};

use crate::cube::Cube;
use crate::daemon::wait_for;
use crate::raw::{Got, Raw, request_frame};
use crate::requests::{publish, published, record, subscribe};
use crate::stream::{Stream, UNBOUNDED, content, credit_frame, offsets, send_all};

/// Longer than a node takes to push records, to fetch them, and to learn of records that it missed.
const A_WHILE: Duration = Duration::from_millis(1500);

#[test]
fn subscribers_at_all_nodes_see_one_order_and_each_link_of_the_tree_carries_it_once() {
    const EACH: u64 = 100;
    let cube = Cube::start(3);
    let nodes = cube.living();
    let topic = cube.topic_at(5, "order");
    cube.create(&topic);
    let mut readers: Vec<_> = nodes.iter().map(|&node| Stream::connect(cube.address(node), &topic)).collect();
    let values = |node: u16| (0..EACH).map(move |number| content(u64::from(node) * EACH + number, 20));
    let mut writers: Vec<_> = nodes.iter().map(|&node| (Raw::greet(cube.address(node)), values(node))).collect();
    let asked: Vec<_> =
        writers.iter_mut().map(|(raw, values)| send_all(raw, &topic, &values.collect::<Vec<_>>())).collect();
    let mut expected: BTreeMap<u64, Bytes> = BTreeMap::new();
    for ((raw, _), (node, ids)) in writers.iter_mut().zip(nodes.iter().zip(&asked)) {
        let offsets = offsets(raw, ids);
        assert!(offsets.is_sorted(), "the offsets of one connection's records are in the order of its requests");
        expected.extend(offsets.into_iter().zip(values(*node).map(Bytes::from)));
    }
    let total = nodes.len() as u64 * EACH;
    assert!(expected.keys().copied().eq(0..total), "the offsets are not 0 to {total} without gaps");
    for (node, (raw, stream)) in nodes.iter().zip(&mut readers) {
        assert!(stream.values(raw, total).iter().eq(expected.values()), "node {node} sees another order");
    }
    let frames = readers[5].1.frames;
    let tree = nodes.len() as u64 - 1;
    let (pushes, pulls) = (cube.total("pushes"), cube.total("pulls"));
    let is_calm = pushes == tree * frames && pulls == 0 && readers.iter().all(|(_, stream)| stream.frames == frames);
    assert!(is_calm || cube.has_lost_links(), "{pushes} pushes and {pulls} pulls for {frames} frames");
    assert_eq!((cube.total("subscriptions"), cube.total("followed"), cube.counter(5, "feeds")), (8, 7, 7));
}

#[test]
fn eight_subscribers_at_a_remote_node_cost_the_links_no_more_than_one() {
    const COUNT: u64 = 30;
    let cube = Cube::start(3);
    let topic = cube.topic_at(7, "shared");
    cube.create(&topic);
    let mut writer = Raw::greet(cube.address(7));
    let mut readers = vec![Stream::connect(cube.address(0), &topic)];
    for round in 0..2 {
        let before = cube.total("pushes");
        for number in round * COUNT..(round + 1) * COUNT {
            // Wait for each record before publishing the next, so that each is pushed in a frame of its own.
            let value = content(number, 100);
            assert_eq!(published(&writer.call(&publish(&topic, 1), &record(&value))), number);
            readers.iter_mut().for_each(|(raw, stream)| assert_eq!(stream.values(raw, 1), [&value[..]]));
        }
        let pushes = cube.total("pushes") - before;
        assert!(pushes == 3 * COUNT || cube.has_lost_links(), "{pushes} pushes for {} subscribers", readers.len());
        readers.resize_with(8, || Stream::connect(cube.address(0), &topic));
    }
    assert_eq!(cube.counter(0, "delivers"), (1 + 8) * COUNT);
    assert_eq!((cube.counter(0, "subscriptions"), cube.counter(0, "followed"), cube.counter(7, "feeds")), (8, 1, 1));
}

#[test]
fn nothing_is_delivered_without_credit_and_one_byte_of_credit_delivers_one_record() {
    const BATCHES: u64 = 15;
    let cube = Cube::start(3);
    let topic = cube.topic_at(6, "credit");
    cube.create(&topic);
    let mut readers = [6, 4, 1].map(|node| {
        let mut raw = Raw::greet(cube.address(node));
        let stream = Stream::open(&mut raw, &topic, Start::Earliest, 0);
        (raw, stream)
    });
    let mut others = [6, 4, 1].map(|node| Stream::connect(cube.address(node), &topic));
    let batch = |number| [content(3 * number, 8), content(3 * number + 1, 300), content(3 * number + 2, 5000)];
    let mut writer = Raw::greet(cube.address(2));
    for number in 0..BATCHES {
        let payload: Vec<u8> = batch(number).iter().flat_map(|value| record(value)).collect();
        writer.call(&publish(&topic, 3), &payload);
    }
    let expected: Vec<Vec<u8>> = (0..BATCHES).flat_map(batch).collect();
    others.iter_mut().for_each(|(raw, other)| assert!(other.values(raw, 3 * BATCHES) == expected));
    for (raw, stream) in &mut readers {
        // Neither credit for 0 bytes, as in SUBSCRIBE, nor credit for an unknown subscription has an effect.
        raw.send(&[credit_frame(stream.id, 0), credit_frame(stream.id + 7, UNBOUNDED)].concat());
    }
    let got = readers[2].0.next(A_WHILE);
    assert!(matches!(got, Got::Nothing), "{got:?} without credit");
    for (raw, stream) in &mut readers {
        raw.ping();
        let mut came = Vec::new();
        while came.len() < expected.len() {
            let limit = stream.sent + 1;
            stream.credit(raw, limit);
            // Repeating the same limit, or sending a smaller one, changes nothing.
            raw.send(&[credit_frame(stream.id, limit), credit_frame(stream.id, 1)].concat());
            came.extend(stream.values(raw, 1));
            raw.ping();
        }
        assert!(came == expected);
    }

    // These subscriptions have caught up, so new records are pushed to them like to the others: exactly once.
    readers.iter_mut().for_each(|(raw, stream)| stream.credit(raw, stream.sent + 1));
    readers.iter_mut().for_each(|(raw, _)| raw.ping());
    for number in 0..2 {
        writer.call(&publish(&topic, 1), &record(&content(number, 100)));
        others.iter_mut().for_each(|(raw, other)| assert_eq!(other.values(raw, 1), [content(number, 100)]));
    }
    for (raw, stream) in &mut readers {
        assert_eq!(stream.values(raw, 1), [content(0, 100)]);
        raw.ping();
        stream.credit(raw, UNBOUNDED);
        assert_eq!(stream.values(raw, 1), [content(1, 100)]);
        let id = raw.next_id();
        raw.send(&request_frame(id, &Request::Credit { limit: 1 }, &[]));
        assert_eq!(raw.frame().error().0, Status::BadRequest, "CREDIT that is not one-way");
    }
}

#[test]
fn nothing_follows_the_answer_to_unsubscribe_and_resuming_from_its_offset_misses_nothing() {
    const COUNT: u64 = 3000;
    let cube = Cube::start(3);
    for node in [1, 3, 6] {
        let topic = cube.topic_at(1, &format!("barrier-{node}"));
        cube.create(&topic);
        let values: Vec<Vec<u8>> = (0..COUNT).map(|number| content(number, 600)).collect();
        let mut raw = Raw::greet(cube.address(node));
        let mut writer = Raw::greet(cube.address(0));
        let mut came: Vec<Bytes> = Vec::new();
        for part in values.chunks(300) {
            // Many of these records are not stored yet while subscriptions to the topic are opened and closed.
            let asked = send_all(&mut writer, &topic, part);
            let end = came.len() + part.len();
            while came.len() < end {
                let start = Start::Offset(Offset(came.len() as u64));
                let mut stream = Stream::open(&mut raw, &topic, start, UNBOUNDED);
                came.extend(stream.next(&mut raw).records());
                came.extend(unsubscribe(&mut raw, stream));
                raw.ping();
            }
            offsets(&mut writer, &asked);
        }
        assert!(came == values, "through node {node}");
    }
    cube.wait_forgotten();
}

#[test]
fn deleting_a_topic_ends_its_subscriptions_at_every_node() {
    let cube = Cube::start(3);
    let nodes = cube.living();
    let (topic, other) = (cube.topic_at(3, "deleted"), cube.topic_at(3, "kept"));
    cube.create(&topic);
    cube.create(&other);
    let mut readers: Vec<_> = nodes.iter().map(|&node| Stream::connect(cube.address(node), &topic)).collect();
    let mut kept: Vec<_> = nodes.iter().map(|&node| Stream::connect(cube.address(node), &other)).collect();
    let mut writer = Raw::greet(cube.address(4));
    let values: Vec<Vec<u8>> = (0..200).map(|number| content(number, 60)).collect();
    let asked = send_all(&mut writer, &topic, &values);
    offsets(&mut writer, &asked);
    cube.client(6).delete(&topic).unwrap();
    for (raw, stream) in &mut readers {
        assert!(
            stream.values(raw, values.len() as u64) == values,
            "records published before the deletion are delivered before the end"
        );
        let error = stream.end(raw);
        assert_eq!(error.status, Status::UnknownTopic.number(), "{error:?}");
        // The subscription's id is free again, and the topic is unknown.
        raw.send(&request_frame(stream.id, &subscribe(&topic, Start::Next, UNBOUNDED), &[]));
        assert_eq!(raw.frame().error().0, Status::UnknownTopic);
        let gone = Request::Unsubscribe { subscription: RequestId(stream.id) };
        let id = raw.next_id();
        raw.send(&request_frame(id, &gone, &[]));
        assert_eq!(raw.frame().error().0, Status::UnknownSubscription);
    }
    assert_eq!(cube.total("ended"), 8);
    // A topic created with the same name is another one: subscribers of the old one get nothing of it.
    cube.create(&topic);
    writer.call(&publish(&topic, 1), &record(b"of another topic"));
    writer.call(&publish(&other, 1), &record(b"of this one"));
    kept.iter_mut().for_each(|(raw, stream)| assert_eq!(stream.values(raw, 1), [&b"of this one"[..]]));
    readers.iter_mut().for_each(|(raw, _)| raw.ping());
    assert_eq!((cube.total("subscriptions"), cube.total("followed"), cube.counter(3, "feeds")), (8, 7, 7));
}

#[test]
fn a_client_may_have_a_limited_number_of_subscriptions_and_learns_the_limit() {
    let limit = SUBSCRIPTIONS_PER_CLIENT_MAX as u64;
    let cube = Cube::start(1);
    let topic = cube.topic_at(1, "many");
    cube.create(&topic);
    let mut raw = Raw::greet(cube.address(0));
    let ids: Vec<u64> = (0..limit).map(|_| raw.next_id()).collect();
    let request = |id| request_frame(id, &subscribe(&topic, Start::Next, UNBOUNDED), &[]);
    raw.send(&ids.iter().flat_map(|&id| request(id)).collect::<Vec<u8>>());
    let opened = |raw: &mut Raw, id| Stream::new(RequestId(id), &raw.answer(id), UNBOUNDED);
    let mut streams: Vec<Stream> = ids.iter().map(|&id| opened(&mut raw, id)).collect();
    let one_more = raw.next_id();
    raw.send(&request(one_more));
    let (status, error) = raw.frame().error();
    assert_eq!((status, error.details), (Status::Quota, vec![Detail::Limit(limit)]));
    raw.send(&request(ids[0]));
    assert_eq!(raw.frame().error().0, Status::BadRequest, "an id that is in use");

    let first = streams.swap_remove(0);
    assert!(unsubscribe(&mut raw, first).is_empty());
    raw.send(&request(one_more));
    streams.push(opened(&mut raw, one_more));
    assert_eq!(cube.counter(0, "subscriptions"), limit);
    Raw::greet(cube.address(1)).call(&publish(&topic, 1), &record(b"to all"));
    streams.sort_by_key(|stream| stream.id);
    for _ in 0..limit {
        let (id, push) = raw.pushed();
        let index = streams.binary_search_by_key(&id, |stream| stream.id).expect("a known subscription");
        assert_eq!(streams[index].take(push).records(), [&b"to all"[..]]);
    }
    assert!(streams.iter().all(|stream| stream.cursor == 1), "each subscription gets the record once");
    drop(raw);
    cube.wait_forgotten();
}

#[test]
fn the_description_of_a_topic_has_its_subscribers_and_their_lag() {
    let cube = Cube::start(3);
    let topic = cube.topic_at(6, "audience");
    cube.create(&topic);
    let mut readers: Vec<_> = [6, 6, 2, 5].map(|node| Stream::connect(cube.address(node), &topic)).into();
    let mut late = Raw::greet(cube.address(1));
    let mut stopped = Stream::open(&mut late, &topic, Start::Next, 0);
    let mut writer = Raw::greet(cube.address(3));
    for number in 0..7 {
        writer.call(&publish(&topic, 1), &record(&content(number, 50)));
        readers.iter_mut().for_each(|(raw, stream)| assert_eq!(stream.values(raw, 1), [content(number, 50)]));
    }
    let mut client = cube.client(0);
    let mut wait_state = |expected| {
        wait_for(&format!("subscribers, nodes and lag are {expected:?}"), || {
            let state = client.info(&topic).unwrap().topic.unwrap();
            ((state.subscribers, state.feeds, state.lag) == expected).then_some(())
        });
    };
    wait_state((5, 4, 7));
    stopped.credit(&mut late, 1);
    assert_eq!(stopped.values(&mut late, 1), [content(0, 50)]);
    wait_state((5, 4, 6));
    stopped.credit(&mut late, UNBOUNDED);
    stopped.values(&mut late, 6);
    wait_state((5, 4, 0));
    drop(late);
    wait_state((4, 3, 0));
    // Home and ingress never disagreed about the nodes that are pushed to.
    assert!(cube.total("resyncs") == 0 || cube.has_lost_links());
    let name = Topic { name: TopicName::new(&topic).unwrap(), id: None };
    writer.call(&Request::Delete(name), &[]);
    cube.wait_forgotten();
}

/// Ends a subscription, and returns the values that arrived before the response.
fn unsubscribe(raw: &mut Raw, mut stream: Stream) -> Vec<Bytes> {
    let id = raw.next_id();
    raw.send(&request_frame(id, &Request::Unsubscribe { subscription: RequestId(stream.id) }, &[]));
    let mut values = Vec::new();
    loop {
        let frame = raw.frame();
        if frame.header.request_id.0 == id {
            let Response::Unsubscribed { next } = frame.response() else { panic!("{frame:?}") };
            assert_eq!(next.0, stream.cursor, "the record that would have come next");
            return values;
        }
        assert_eq!(frame.header.request_id.0, stream.id, "{frame:?}");
        match frame.push() {
            push @ Push::Deliver(_) => values.extend(stream.take(push).records()),
            other => panic!("{other:?}"),
        }
    }
}
