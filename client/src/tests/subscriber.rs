//! Subscriptions of both clients: `tests.rs` includes this file for each of them.

use std::time::Duration;

use dht_protocol::cube;
use dht_protocol::types::{Dimension, Epoch, Offset, RequestId, TopicId, TopicName};
use dht_protocol::wire::request::{Start, Subscribe};
use dht_protocol::wire::{Flags, Opcode, Push, Request, Response, Status};

use super::{Client, HAS_OWN_CONNECTION, Subscriber, subscribing};
use crate::fake::{Asked, Fake, Peer, Script, deliver, ended, subscribed};
use crate::{Builder, Delivery, Error, Fault, Item, Notice, Subscriptions};

/// Returns a client of two nodes, connected to the first.
fn of_two(first: &Fake, second: &Fake) -> Client {
    let servers = [first.address().clone(), second.address().clone()];
    subscribing(Builder::default().servers(servers).timeout(Duration::from_secs(5)))
}

/// Reads a SUBSCRIBE.
pub(in crate::tests) fn expect(peer: &mut Peer) -> Asked {
    peer.expect(Opcode::Subscribe)
}

fn args(asked: &Asked) -> Subscribe<'_> {
    let Request::Subscribe(subscribe) = asked.request() else { panic!("SUBSCRIBE is decoded as SUBSCRIBE") };
    subscribe
}

/// Reads a SUBSCRIBE and answers it.
pub(in crate::tests) fn accept(peer: &mut Peer, from: u64) -> RequestId {
    let asked = expect(peer);
    peer.answer(&asked, &subscribed(from));
    peer.flush();
    asked.id
}

/// Reads a SUBSCRIBE that resumes from an offset, and answers it.
fn accept_again(peer: &mut Peer, from: u64) -> RequestId {
    let asked = expect(peer);
    let subscribe = args(&asked);
    assert_eq!(subscribe.start, Start::Offset(Offset(from)));
    assert_eq!((subscribe.topic.id, subscribe.epoch), (TopicId::new(7), Some(Epoch(1))));
    peer.answer(&asked, &subscribed(from));
    peer.flush();
    asked.id
}

fn limit(asked: &Asked) -> u64 {
    let Request::Credit { limit } = asked.request() else { panic!("CREDIT is decoded as CREDIT") };
    assert!(asked.flags.has(Flags::ONEWAY));
    limit
}

/// Expects the UNSUBSCRIBE requests of a dropped subscriber, unless it has a connection of its own, and the end of the
/// connection.
pub(in crate::tests) fn end(peer: &mut Peer, subscriptions: usize) {
    let requests = if HAS_OWN_CONNECTION { 0 } else { subscriptions };
    for _ in 0..requests {
        peer.expect(Opcode::Unsubscribe);
    }
    peer.wait_for_end();
}

pub(in crate::tests) fn shown(delivery: &Delivery) -> String {
    let topic = &delivery.topic;
    match &delivery.item {
        Ok(Item::Record(message)) => format!("{topic} {} {}", message.offset, String::from_utf8_lossy(&message.value)),
        Ok(Item::Gap { from, to }) => format!("{topic} {from}-{to}"),
        Ok(Item::Notice(Notice::Waiting { node, reason })) => format!("{topic} waits for {}: {reason}", node.index()),
        Ok(Item::Notice(Notice::Flowing { node })) => format!("{topic} flows from {}", node.index()),
        Ok(Item::Lost { from, to }) => format!("{topic} lost {from}-{to}"),
        Err(error) => format!("{topic} {:?}", error.status().unwrap()),
    }
}

/// Returns descriptions of the next items.
pub(in crate::tests) fn take(subscriber: &mut Subscriber<'_>, count: usize) -> Vec<String> {
    subscriber.take(count).map(|delivery| shown(&delivery.unwrap())).collect()
}

#[test]
fn records_gaps_and_the_end_are_delivered_in_order() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = expect(peer);
        let subscribe = args(&asked);
        assert_eq!((subscribe.topic.name.as_str(), subscribe.topic.id), ("t", None));
        assert_eq!((subscribe.start, subscribe.epoch, subscribe.limit), (Start::Earliest, None, 1 << 20));
        peer.answer(&asked, &subscribed(3));
        peer.push(asked.id, &Push::Gap { from: Offset(3), to: Offset(5) });
        peer.push(asked.id, &deliver(5, b"ab"));
        peer.push(asked.id, &deliver(7, b"c"));
        peer.push(asked.id, &ended(Status::Overloaded)); // temporary, so the client subscribes again
        peer.flush();
        let id = accept_again(peer, 8);
        peer.push(id, &ended(Status::Truncated));
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = subscribing(fake.builder());
    let mut subscriber = client.subscribe(&["t"], Start::Earliest).unwrap();
    assert_eq!(take(&mut subscriber, 9), ["t 3-5", "t 5 a", "t 6 b", "t 7 c", "t Truncated"]);
    assert!(subscriber.next().is_none());
    drop(subscriber);
    drop(client);
    fake.finish();
}

#[test]
fn the_end_of_one_topic_does_not_end_the_others() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let (none, one) = (expect(peer), expect(peer));
        peer.refuse(&none, Status::UnknownTopic, 0, Vec::new());
        peer.answer(&one, &subscribed(0));
        peer.push(one.id, &deliver(0, b"a"));
        peer.flush();
        end(peer, 1);
    })]);
    let mut client = subscribing(fake.builder());
    let mut subscriber = client.subscribe(&["none", "one", "one"], Start::Next).unwrap();
    assert_eq!(take(&mut subscriber, 2), ["none UnknownTopic", "one 0 a"]);
    assert!(subscriber.next_within(Duration::ZERO).unwrap().is_none());
    drop(subscriber);
    drop(client);
    fake.finish();
}

#[test]
fn credit_is_granted_whenever_half_of_the_window_was_consumed() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = expect(peer);
        assert_eq!(args(&asked).limit, 24);
        peer.answer(&asked, &subscribed(0));
        // Six bytes each: the fourth record uses up the credit.
        (0..4).for_each(|offset| peer.push(asked.id, &deliver(offset, b"x")));
        peer.flush();
        for expected in [36, 48] {
            let credit = peer.expect(Opcode::Credit);
            assert_eq!((credit.id, limit(&credit)), (asked.id, expected));
        }
        end(peer, 1);
    })]);
    let mut client = subscribing(fake.builder());
    let mut subscriptions = Subscriptions::new().window(24);
    subscriptions.add("t", Start::Next).unwrap();
    let mut subscriber = client.subscribe_to(subscriptions).unwrap();
    assert_eq!(take(&mut subscriber, 4).len(), 4);
    drop(subscriber);
    drop(client);
    fake.finish();
}

/// The actions of a node after record 0 of a subscription, which make the client leave the node.
type Leave = fn(&mut Peer, RequestId);

#[test]
fn a_subscription_resumes_from_its_cursor_at_another_server_whatever_happened_to_the_first() {
    let cases: [(&str, Leave); 6] = [
        ("the connection is lost", |_, _| {}),
        ("the node sends GOAWAY", |peer, id| {
            peer.goaway(id.0);
            peer.flush();
            peer.wait_for_end();
        }),
        ("a record is missing", |peer, id| {
            peer.push(id, &deliver(2, b"c"));
            peer.flush();
            peer.wait_for_end();
        }),
        ("a record is duplicated", |peer, id| {
            peer.push(id, &deliver(0, b"a"));
            peer.flush();
            peer.wait_for_end();
        }),
        ("a notice names a node that the cube does not have", |peer, id| {
            peer.push(id, &Push::Waiting { node: 8, reason: Status::Unreachable.number() });
            peer.flush();
            peer.wait_for_end();
        }),
        ("invalid records", |peer, id| {
            let Push::Deliver(mut records) = deliver(1, b"b") else { unreachable!("`deliver` returns a DELIVER") };
            records.payload.parts = vec![vec![0, 0, 0, 9].into()];
            peer.push(id, &Push::Deliver(records));
            peer.flush();
            peer.wait_for_end();
        }),
    ];
    for (name, leave) in cases {
        let first = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            let id = accept(peer, 0);
            peer.push(id, &deliver(0, b"a"));
            peer.flush();
            leave(peer, id);
        })]);
        let second = Fake::play(vec![Box::new(|peer| {
            peer.greet();
            let id = accept_again(peer, 1);
            peer.push(id, &deliver(1, b"b"));
            peer.flush();
            end(peer, 1);
        })]);
        let mut client = of_two(&first, &second);
        let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
        assert_eq!(take(&mut subscriber, 1), ["t 0 a"], "{name}");
        assert_eq!(subscriber.moved(), None);
        assert_eq!(take(&mut subscriber, 1), ["t 1 b"], "{name}");
        assert_eq!(subscriber.moved().map(|(from, to)| (from.index(), to.index())), Some((0, 0)), "{name}");
        assert_eq!(subscriber.cursor("t"), Some(Offset(2)));
        drop(subscriber);
        drop(client);
        first.finish();
        second.finish();
    }
}

#[test]
fn learned_addresses_are_used_when_a_node_is_lost_but_listed_ones_first() {
    // A client with this number of listed servers moves from the first node to the node `goes_to`.
    for (listed, goes_to) in [(1, 2), (2, 1)] {
        let quiet = || Fake::play(Vec::new()); // expects no connections
        let other: Script = Box::new(|peer| {
            peer.greet();
            let id = accept_again(peer, 1);
            peer.push(id, &deliver(1, b"b"));
            peer.flush();
            end(peer, 1);
        });
        let target = Fake::play(vec![other]);
        let absent = quiet();
        let absent_address = absent.address().clone();
        let (second, third) =
            if goes_to == 1 { (target.address(), &absent_address) } else { (&absent_address, target.address()) };
        let known = [second.clone(), third.clone()];
        let first = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            peer.knows(&known);
            let id = accept(peer, 0);
            peer.push(id, &deliver(0, b"a"));
            peer.flush();
        })]);
        absent.finish(); // from now on, its port refuses connections
        let servers: Vec<_> = [first.address(), second].into_iter().take(listed).cloned().collect();
        let mut client = subscribing(Builder::default().servers(servers));
        let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
        assert_eq!(take(&mut subscriber, 2), ["t 0 a", "t 1 b"]);
        drop(subscriber);
        drop(client);
        first.finish();
        target.finish();
    }
}

#[test]
fn a_silent_node_gets_a_ping_and_is_then_abandoned() {
    let silent: Script = Box::new(|peer| {
        peer.greet();
        accept(peer, 0);
        peer.expect(Opcode::Ping);
        peer.wait_for_end();
    });
    let quiet: Script = Box::new(|peer| {
        peer.greet();
        let id = accept_again(peer, 0);
        // It answers PING, so it is not abandoned, however long no records come.
        for _ in 0..2 {
            let asked = peer.expect(Opcode::Ping);
            peer.answer(&asked, &Response::Ping { node: 0, token: 0, wall_us: None, topics: None });
            peer.flush();
        }
        peer.push(id, &deliver(0, b"a"));
        peer.flush();
        end(peer, 1);
    });
    let (first, second) = (Fake::play(vec![silent]), Fake::play(vec![quiet]));
    let servers = [first.address().clone(), second.address().clone()];
    let mut client = subscribing(Builder::default().servers(servers).ping_after(Duration::from_millis(200)));
    let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
    assert_eq!(take(&mut subscriber, 1), ["t 0 a"]);
    drop(subscriber);
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn temporary_errors_are_retried_and_permanent_ones_end_the_topic() {
    use Status::{Internal, OutcomeUnknown, Overloaded, Quota, Recreated, ShuttingDown, Unreachable};
    for (status, passes) in [
        (Overloaded, true),
        (Unreachable, true),
        (OutcomeUnknown, true),
        (ShuttingDown, true),
        (Quota, false),
        (Recreated, false),
        (Internal, true),
    ] {
        let fake = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            let asked = expect(peer);
            peer.refuse(&asked, status, 20, Vec::new());
            peer.flush();
            if passes {
                let id = accept(peer, 0);
                peer.push(id, &deliver(0, b"a"));
                peer.flush();
                return end(peer, 1);
            }
            peer.wait_for_end();
        })]);
        let mut client = subscribing(fake.builder());
        let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
        let delivery = subscriber.next().unwrap().unwrap();
        assert_eq!(delivery.item.is_ok(), passes, "{status:?}");
        if let Err(error) = delivery.item {
            assert_eq!(error.status(), Some(status));
            assert!(subscriber.next().is_none());
        }
        drop(subscriber);
        drop(client);
        fake.finish();
    }
}

#[test]
fn a_subscription_to_an_unreachable_home_waits_and_gives_one_notice() {
    // The home of the topic `none` in the fake's cube of eight nodes.
    let home = cube::home(TopicName::new("none").unwrap(), Dimension::new(3).unwrap()).index();
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let (one, mut none) = (expect(peer), expect(peer));
        peer.answer(&one, &subscribed(0));
        // The third refusal comes when the outage has lasted for a second, after which a notice is due. The outage also
        // lasts longer than the client's timeout.
        for _ in 0..4 {
            peer.refuse(&none, Status::Unreachable, 500, Vec::new());
            peer.flush();
            none = expect(peer);
            assert_eq!((args(&none).start, args(&none).topic.id), (Start::Next, None));
        }
        peer.push(one.id, &deliver(0, b"a"));
        peer.answer(&none, &subscribed(7));
        peer.push(none.id, &deliver(7, b"b"));
        peer.flush();
        end(peer, 2);
    })]);
    let address = fake.address().clone();
    let mut client = subscribing(Builder::default().server(address).timeout(Duration::from_millis(300)));
    let mut subscriber = client.subscribe(&["one", "none"], Start::Next).unwrap();
    let expected =
        [&format!("none waits for {home}: no path"), "one 0 a", &format!("none flows from {home}"), "none 7 b"];
    assert_eq!(take(&mut subscriber, 4), expected);
    drop(subscriber);
    drop(client);
    fake.finish();
}

#[test]
fn notices_of_a_node_are_delivered_without_duplicates() {
    let unreachable = Status::Unreachable.number();
    let waiting = move |node| Push::Waiting { node, reason: unreachable };
    let first = Fake::play(vec![Box::new(move |peer| {
        peer.greet();
        let id = accept(peer, 0);
        // Redundant notices are not delivered.
        peer.push(id, &Push::Flowing { node: 6 });
        peer.push(id, &waiting(6));
        peer.push(id, &Push::Waiting { node: 6, reason: Status::OutcomeUnknown.number() });
        peer.push(id, &Push::Flowing { node: 6 });
        peer.push(id, &waiting(6));
        peer.push(id, &deliver(0, b"a")); // records imply that the home is reachable
        peer.push(id, &waiting(6));
        peer.flush();
    })]);
    let second = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        accept_again(peer, 1);
        end(peer, 1);
    })]);
    let mut client = of_two(&first, &second);
    let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
    let seen = take(&mut subscriber, 7);
    let home = cube::home(TopicName::new("t").unwrap(), Dimension::new(3).unwrap()).index();
    let flows = format!("t flows from {home}");
    let expected = [
        "t waits for 6: no path",
        "t flows from 6",
        "t waits for 6: no path",
        &flows,
        "t 0 a",
        "t waits for 6: no path",
        &flows,
    ];
    assert_eq!(seen, expected);
    drop(subscriber);
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn another_server_is_tried_if_no_home_is_reachable_without_reporting_the_first_as_lost() {
    let first = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let id = accept(peer, 0);
        peer.push(id, &Push::Waiting { node: 6, reason: Status::Unreachable.number() });
        peer.flush();
        let asked = peer.expect(Opcode::Ping); // the answer shows that the node is alive
        peer.answer(&asked, &Response::Ping { node: 0, token: 0, wall_us: None, topics: None });
        peer.flush();
        peer.wait_for_end();
    })]);
    let second = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let id = accept_again(peer, 0);
        peer.push(id, &deliver(0, b"a"));
        peer.flush();
        end(peer, 1);
    })]);
    let servers = [first.address().clone(), second.address().clone()];
    let builder = Builder::default().servers(servers).ping_after(Duration::from_millis(1200));
    let mut client = subscribing(builder);
    let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
    let home = cube::home(TopicName::new("t").unwrap(), Dimension::new(3).unwrap()).index();
    assert_eq!(take(&mut subscriber, 3), ["t waits for 6: no path", &format!("t flows from {home}"), "t 0 a"]);
    assert_eq!(subscriber.moved(), None);
    drop(subscriber);
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn the_loss_of_all_servers_is_returned_and_the_next_call_tries_again() {
    // When the node has played its script, nobody listens on its port any more.
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let id = accept(peer, 0);
        peer.push(id, &deliver(0, b"a"));
        peer.flush();
    })]);
    let address = fake.address().clone();
    let mut client = subscribing(Builder::default().server(address).timeout(Duration::from_millis(100)));
    let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
    assert_eq!(take(&mut subscriber, 1), ["t 0 a"]);
    fake.finish();
    for _ in 0..2 {
        assert!(matches!(subscriber.next(), Some(Err(Error::Connect { .. }))));
    }
    assert!(subscriber.next_within(Duration::ZERO).unwrap().is_none());
}

#[test]
fn a_repeated_protocol_error_is_returned() {
    let scripts = (0..9).map(|_| -> Script {
        Box::new(|peer| {
            peer.greet();
            let id = accept(peer, 0);
            peer.push(id, &deliver(1, b"b"));
            peer.flush();
            peer.wait_for_end();
        })
    });
    let fake = Fake::play(scripts.collect());
    let mut client = subscribing(fake.builder());
    let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
    let error = subscriber.next().unwrap().unwrap_err();
    let hole = Fault::Hole { expected: Offset(0), found: Offset(1) };
    assert!(matches!(&error, Error::Protocol { fault, .. } if *fault == hole), "{error:?}");
    drop(subscriber);
    drop(client);
    fake.finish();
}
