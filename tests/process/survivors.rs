//! Subscribers while nodes die: they receive every record once and in order, or an error that says why not.

use std::ops::Range;
use std::time::Duration;

use dht_client::{Batch, Client, Error, Item, Producer, Retention, Start, Subscriber};
use dht_node::wire::{Push, Status};

use crate::cube::Cube;
use crate::daemon::{PATIENCE, pause, wait_for};
use crate::raw::{Got, Raw};
use crate::requests::{publish, record};
use crate::stream::{Stream, content};

/// The time within which a subscriber is notified that its topic is gone.
const SOON: Duration = Duration::from_secs(10);

/// Bytes of a record.
const RECORD_BYTES: usize = 200;

#[test]
fn a_subscriber_resumes_through_another_node_when_its_own_dies() {
    let mut cube = Cube::start(3);
    let topic = cube.topic_at(7, "ingress");
    let mut writer = cube.client(7);
    writer.create(&topic, Retention::default()).unwrap();
    let mut producer = writer.producer(&topic).unwrap();
    let mut reader = cube.client_of(&[0, 2]);
    let mut subscriber = reader.subscribe(&[&topic], Start::Earliest).unwrap();
    for (round, (dying, other)) in (0..).zip([(0, 2), (2, 0)]) {
        let first = round * 3000;
        send(&mut producer, first..first + 1000);
        // When the node dies, some records that it has sent are still unread, and others are not yet sent.
        expect(&mut subscriber, &topic, first + 300);
        send(&mut producer, first + 1000..first + 2000);
        cube.kill(dying);
        send(&mut producer, first + 2000..first + 3000);
        producer.flush().unwrap();
        expect(&mut subscriber, &topic, first + 2500);
        let moved = subscriber.moved().map(|(from, to)| (from.index(), to.index()));
        assert_eq!(moved, Some((dying, other)));
        cube.restart(dying);
        cube.wait_linked();
    }
    expect(&mut subscriber, &topic, 6000);
    drop(subscriber);
    // The home also removes the state of the nodes that died.
    cube.wait_forgotten();
}

#[test]
fn a_subscriber_leaves_a_frozen_node_and_resumes_through_another() {
    let mut cube = Cube::start(2);
    let topic = cube.topic_at(3, "frozen");
    let mut writer = cube.client(3);
    writer.create(&topic, Retention::default()).unwrap();
    let mut producer = writer.producer(&topic).unwrap();
    let mut reader = cube.client_of(&[0, 1]);
    let mut subscriber = reader.subscribe(&[&topic], Start::Next).unwrap();
    send(&mut producer, 0..10);
    expect(&mut subscriber, &topic, 10);
    // Its connections stay open, and the kernel still accepts what is sent to it.
    cube.daemon(0).signal("STOP");
    send(&mut producer, 10..20);
    producer.flush().unwrap();
    expect(&mut subscriber, &topic, 20);
    assert_eq!(subscriber.moved().map(|(from, to)| (from.index(), to.index())), Some((0, 1)));
    cube.daemon(0).signal("CONT");
    send(&mut producer, 20..30);
    expect(&mut subscriber, &topic, 30);
}

#[test]
fn one_address_is_enough_to_survive_the_loss_of_that_node() {
    let mut cube = Cube::start(2);
    // Restart it, because its peers file has all addresses only now.
    cube.kill(0);
    cube.restart(0);
    cube.wait_linked();
    let topic = cube.topic_at(3, "one-address");
    let mut writer = cube.client_from(0);
    writer.create(&topic, Retention::default()).unwrap();
    let mut producer = writer.producer(&topic).unwrap();
    let mut reader = cube.client_from(0);
    let mut subscriber = reader.subscribe(&[&topic], Start::Next).unwrap();
    send(&mut producer, 0..10);
    producer.flush().unwrap();
    expect(&mut subscriber, &topic, 10);
    cube.kill(0);
    send(&mut producer, 10..20);
    producer.flush().unwrap();
    expect(&mut subscriber, &topic, 20);
    let (from, to) = subscriber.moved().unwrap();
    assert!(from.index() == 0 && to.index() != 0, "{from:?} to {to:?}");
}

#[test]
fn records_lost_with_a_transit_node_are_fetched_and_its_return_changes_nothing() {
    const MORE: u64 = 250;
    let mut cube = Cube::start(3);
    let topic = cube.topic_at(7, "transit");
    let mut writer = cube.client(7);
    writer.create(&topic, Retention::default()).unwrap();
    let mut producer = writer.producer(&topic).unwrap();
    // Pushes to 000 go through 011 and 001, and pushes to 010 through 011.
    let (mut far, mut near) = (cube.client(0), cube.client(2));
    let mut far = far.subscribe(&[&topic], Start::Next).unwrap();
    let mut near = near.subscribe(&[&topic], Start::Next).unwrap();
    let mut sent = 0;
    let mut send_more = || {
        send(&mut producer, sent..sent + MORE);
        producer.flush().unwrap();
        sent += MORE;
        sent
    };
    expect(&mut far, &topic, send_more());
    assert_eq!(cube.counter(0, "pulls"), 0);
    for publishes_more in [false, true] {
        cube.daemon(1).signal("STOP");
        let lost = send_more();
        // Node 011 sends to 001 first: when the records have reached 010, they have been sent to 001 as well.
        expect(&mut near, &topic, lost);
        cube.kill(1);
        // The gap is revealed by the next push, or by HEADS if nothing more is published.
        expect(&mut far, &topic, if publishes_more { send_more() } else { lost });
        assert!(cube.counter(0, "pulls") > 0, "the lost records were not fetched");
        let around = send_more();
        expect(&mut far, &topic, around);
        cube.restart(1);
        send_more();
        cube.wait_linked();
        let last = send_more();
        expect(&mut far, &topic, last);
        expect(&mut near, &topic, last);
    }
}

#[test]
fn eight_subscribers_miss_nothing_while_pairs_of_nodes_die() {
    const MORE: u64 = 200;
    let mut cube = Cube::start(3);
    let topic = cube.topic_at(7, "deaths");
    let mut writer = cube.client(7);
    writer.create(&topic, Retention::default()).unwrap();
    let mut producer = writer.producer(&topic).unwrap();
    // Each client connects to another node first.
    let servers = |first: usize| (0..8).cycle().skip(first).take(8).collect::<Vec<u16>>();
    let mut readers: Vec<Client> = (0..8).map(|first| cube.client_of(&servers(first))).collect();
    let mut subscribers: Vec<_> =
        readers.iter_mut().map(|reader| reader.subscribe(&[&topic], Start::Earliest).unwrap()).collect();
    let mut sent = 0;
    for dying in [[3, 5], [6, 0], [1, 2], [5, 6], [4, 1], [3, 6]] {
        for does_kill in [true, false] {
            // These records are in flight while nodes die or links come up.
            send(&mut producer, sent..sent + MORE);
            dying.into_iter().for_each(|node| if does_kill { cube.kill(node) } else { cube.restart(node) });
            sent += 2 * MORE;
            send(&mut producer, sent - MORE..sent);
            subscribers.iter_mut().for_each(|subscriber| expect(subscriber, &topic, sent - MORE / 2));
        }
    }
    producer.flush().unwrap();
    subscribers.iter_mut().for_each(|subscriber| expect(subscriber, &topic, sent));
    drop(subscribers);
    cube.wait_linked();
    cube.wait_forgotten();
}

#[test]
fn subscribers_and_producers_continue_through_a_rolling_restart() {
    const MORE: u64 = 100;
    let mut cube = Cube::start(3);
    let topic = cube.topic_at(5, "rolling");
    let servers = |first: usize| (0..8).cycle().skip(first).take(8).collect::<Vec<u16>>();
    let mut writer = cube.client_of(&servers(1));
    writer.create(&topic, Retention::default()).unwrap();
    let mut producer = writer.producer(&topic).unwrap();
    // Each connects to another node first, so that each shutdown makes at least one of them move to another node.
    let mut readers: Vec<Client> = (0..8).map(|first| cube.client_of(&servers(first))).collect();
    let mut subscribers: Vec<_> =
        readers.iter_mut().map(|reader| reader.subscribe(&[&topic], Start::Earliest).unwrap()).collect();
    let mut sent = 0;
    for ending in 0..8 {
        send(&mut producer, sent..sent + MORE);
        let mut daemon = cube.take(ending);
        daemon.signal("TERM");
        send(&mut producer, sent + MORE..sent + 2 * MORE);
        let status = daemon.wait(PATIENCE).expect("the node exits");
        assert_eq!(status.code(), Some(0), "{status}");
        cube.restart(ending);
        sent += 3 * MORE;
        send(&mut producer, sent - MORE..sent);
        producer.flush().unwrap();
        subscribers.iter_mut().for_each(|subscriber| expect(subscriber, &topic, sent));
        cube.wait_linked();
    }
    drop(subscribers);
    cube.wait_forgotten();
}

#[test]
fn a_stopped_node_delivers_late_but_loses_nothing() {
    let mut cube = Cube::start(2);
    let topic = cube.topic_at(3, "stood-still");
    let mut writer = cube.client(3);
    writer.create(&topic, Retention::default()).unwrap();
    let mut producer = writer.producer(&topic).unwrap();
    let mut reader = cube.client(0);
    let mut subscriber = reader.subscribe(&[&topic], Start::Next).unwrap();
    send(&mut producer, 0..200);
    cube.daemon(0).signal("STOP");
    send(&mut producer, 200..1000);
    producer.flush().unwrap();
    // Longer than the keepalive timeout of a link.
    pause(Duration::from_millis(1500));
    send(&mut producer, 1000..1200);
    producer.flush().unwrap();
    cube.daemon(0).signal("CONT");
    expect(&mut subscriber, &topic, 1200);
    assert_eq!(subscriber.moved(), None);
}

#[test]
fn subscribers_wait_while_the_home_is_down_and_end_when_it_returns_without_the_topic() {
    let mut cube = Cube::start_with(3, &["--in-memory"]);
    let (gone, again) = (cube.topic_at(4, "gone"), cube.topic_at(4, "again"));
    let mut streams = Vec::new();
    for (topic, end) in [(&gone, Status::UnknownTopic), (&again, Status::Recreated)] {
        cube.create(topic);
        for node in [0, 3] {
            streams.push((end, Stream::connect(cube.address(node), topic)));
        }
        Raw::greet(cube.address(1)).call(&publish(topic, 1), &record(b"of the old one"));
    }
    let mut at_home = cube.client_of(&[4, 1]);
    let mut at_home = at_home.subscribe(&[&gone, &again], Start::Earliest).unwrap();
    for _ in 0..2 {
        assert!(matches!(next(&mut at_home).1.unwrap(), Item::Record(record) if record.value == b"of the old one"[..]));
    }
    for (_, (raw, stream)) in &mut streams {
        assert_eq!(stream.values(raw, 1), [&b"of the old one"[..]]);
    }
    cube.kill(4);
    cube.restart(4);
    // Created again before any other node has noticed that it was gone.
    cube.client(4).create(&again, Retention::default()).unwrap();
    Raw::greet(cube.address(4)).call(&publish(&again, 1), &record(b"of the new one"));
    for (expected, (raw, stream)) in &mut streams {
        let Got::Frame(frame) = raw.next(SOON) else { panic!("no notification within {SOON:?}") };
        assert_eq!((frame.header.request_id.0, frame.header.status), (stream.id, expected.number()));
        assert!(matches!(frame.push(), Push::Ended(_)));
    }
    for _ in 0..2 {
        let (topic, item) = next(&mut at_home);
        let error = item.unwrap_err();
        // Whether `again` was recreated before or after this subscriber connected to another node is a race.
        let expected: &[_] =
            if topic == again { &[Status::Recreated, Status::UnknownTopic] } else { &[Status::UnknownTopic] };
        assert!(expected.contains(&error.status().unwrap()), "{topic}: {error}");
    }
    assert!(at_home.next().is_none(), "all subscriptions have ended");
    drop(at_home);
    cube.wait_forgotten();

    // While the home is down, subscriptions wait and are not ended.
    let (mut raw, mut stream) = Stream::connect(cube.address(3), &again);
    cube.kill(4);
    let got = raw.next(Duration::from_secs(1));
    assert!(matches!(got, Got::Nothing), "{got:?}");
    cube.restart(4);
    let error = stream.end(&mut raw);
    assert_eq!(error.status, Status::UnknownTopic.number(), "{error:?}");
}

/// Publishes the records with these numbers, one per batch.
fn send(producer: &mut Producer<'_>, numbers: Range<u64>) {
    for number in numbers {
        if let Err(error) = producer.send(Batch::of(&content(number, RECORD_BYTES))) {
            assert!(error.is_retryable(), "{error}");
            wait_for("a retry of the failed batches succeeds", || producer.flush().ok());
        }
    }
}

/// Checks that the records up to this offset come next; the number in each record is its offset.
fn expect(subscriber: &mut Subscriber<'_>, topic: &str, end: u64) {
    for number in subscriber.cursor(topic).unwrap().0..end {
        match next(subscriber).1.unwrap() {
            Item::Record(message) => {
                assert_eq!(message.offset.0, number);
                assert!(message.value == content(number, RECORD_BYTES), "record {number} has another value");
            }
            other @ (Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_)) => panic!("{other:?} before {number}"),
        }
    }
}

/// Returns the next item and its topic, skipping notices.
fn next(subscriber: &mut Subscriber<'_>) -> (String, Result<Item, Error>) {
    loop {
        let delivery = subscriber.next_within(PATIENCE).unwrap().unwrap_or_else(|| panic!("nothing in {PATIENCE:?}"));
        // Whether a home is unreachable for long enough to cause a notice depends on the speed of the machine.
        if !matches!(delivery.item, Ok(Item::Notice(_))) {
            return (delivery.topic, delivery.item);
        }
    }
}
