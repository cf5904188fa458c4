//! What the counters of STATS count.

use super::harness::{Harness, Section, fetch, fetched, names, records, refusal, subscribe, subscribed, topic};
use super::sent::{Sent, only};
use crate::limits::HEADS_US;
use crate::node::stats::Stats;
use crate::types::{ConnId, Dimension, NodeId, ProducerId, Retention, Sequenced};
use crate::wire::feed::FedList;
use crate::wire::frame::HEADER_BYTES;
use crate::wire::request::{Fetch, Publish, Start, Subscribe};
use crate::wire::{Opcode, Origin, Push, Request, Response, Route, Status, TrafficClass};

const PING: Request<'_> = Request::Ping { node: 1, token: 7 };

/// Some counters, and what is added to each.
type Counted = &'static [(fn(&Stats) -> u64, u64)];

/// What is done to the node with a client's connection and the name of a topic that the node has.
type Action = fn(&mut Harness, ConnId, &str);

/// Does what each case says three times, and compares what is added to the counters each time.
fn check(cases: &[(&str, Action, Counted)]) {
    let name = names(0, 2).next().unwrap();
    for (what, act, counted) in cases {
        let mut node = Harness::linked(2);
        let client = node.client();
        node.create(client, &name, Retention::default());
        for _ in 0..3 {
            let before = node.node.stats.clone();
            act(&mut node, client, &name);
            let after = &node.node.stats;
            for (number, (of, expected)) in counted.iter().enumerate() {
                assert_eq!(of(after) - of(&before), *expected, "counter {number} of {what}");
            }
        }
    }
}

#[test]
fn what_clients_of_this_node_do_is_counted_once() {
    check(&[
        (
            "a publish",
            |node, client, name| drop(node.publish(client, name, 3, 10)),
            &[(|stats| stats.batches, 1), (|stats| stats.records, 3), (|stats| stats.record_bytes, 30)],
        ),
        (
            "a FETCH",
            |node, client, name| {
                node.publish(client, name, 1, 10);
                node.ask(client, 9, &Request::Fetch(fetch(name)));
            },
            &[(|stats| stats.fetches, 1), (|stats| stats.requests, 2), (|stats| stats.errors, 0)],
        ),
        (
            "a refusal by this node",
            |node, client, _| drop(node.ask(client, 9, &Request::Ping { node: 99, token: 7 })),
            &[(|stats| stats.requests, 1), (|stats| stats.errors, 1), (|stats| stats.oneways_dropped, 0)],
        ),
        (
            "a refusal of what has no answer",
            |node, client, _| node.ask_oneway(client, &Request::Ping { node: 99, token: 7 }, &[]),
            &[(|stats| stats.requests, 1), (|stats| stats.errors, 1), (|stats| stats.oneways_dropped, 1)],
        ),
        (
            "records for a subscriber here",
            |node, _, name| {
                let subscriber = node.client();
                let from_now_on = Subscribe { topic: topic(name), epoch: None, start: Start::Next, limit: u64::MAX };
                node.ask(subscriber, 9, &Request::Subscribe(from_now_on));
                node.publish(subscriber, name, 1, 10);
                node.lose(subscriber);
            },
            &[(|stats| stats.delivers, 1), (|stats| stats.pushes, 0)],
        ),
        (
            "records for a subscriber that was behind",
            |node, client, name| {
                node.publish(client, name, 1, 10);
                let subscriber = node.client();
                node.ask(subscriber, 9, &subscribe(name));
                node.settle();
                node.lose(subscriber);
            },
            &[(|stats| stats.delivers, 1), (|stats| stats.gaps, 0)],
        ),
        (
            "the end of a subscription",
            |node, client, name| {
                node.ask(client, 9, &subscribe(name));
                node.ask(client, 10, &Request::Delete(topic(name)));
                node.create(client, name, Retention::default());
            },
            &[(|stats| stats.ended, 1)],
        ),
    ]);
}

#[test]
fn what_other_nodes_do_is_counted_once() {
    check(&[
        (
            "an answer of another node",
            |node, client, _| {
                for status in [Status::Quota, Status::Quota, Status::Ok] {
                    let asked = node.ask(client, 9, &PING);
                    let pong = Response::Ping { node: 1, token: 7, wall_us: None, topics: None };
                    node.answer(&asked[0], &if status == Status::Ok { pong } else { refusal(status) });
                }
            },
            &[(|stats| stats.requests, 3), (|stats| stats.errors, 2)],
        ),
        (
            "records for a subscriber at another node",
            |node, client, name| {
                node.node_asks(1, 9, &subscribe(name), &[]);
                node.publish(client, name, 1, 10);
            },
            &[(|stats| stats.delivers, 0), (|stats| stats.pushes, 1)],
        ),
        (
            "a frame for another node",
            |node, _, _| {
                let route = node.route_from(1, TrafficClass::Bulk, Origin::from_number(0));
                let target = NodeId::new(3, Dimension::new(2).unwrap()).unwrap();
                assert_eq!(node.node_sends(&Route { target, ..route }, 9, &PING, &[]).len(), 1);
            },
            &[(|stats| stats.forwarded, 1)],
        ),
        (
            "a first frame that is not HELLO, and one without a route on a link",
            |node, _, _| {
                let conn = node.accept();
                node.ask(conn, 9, &PING);
                let link = node.link();
                node.ask(link, 9, &Request::Fetch(fetch("t")));
                node.link_up();
            },
            &[(|stats| stats.protocol_errors, 2)],
        ),
    ]);
}

/// A topic whose home is node 1.
const ELSEWHERE: u64 = 9;

#[test]
fn frames_and_bytes_that_arrive_on_a_link_are_counted() {
    let mut node = Harness::linked(2);
    let count = |node: &Harness| {
        let link = node.node.parts.router.reports().next().unwrap();
        (link.frames, link.bytes)
    };
    let (frames, bytes) = count(&node);
    let args = 10; // a node and a token
    for number in 1..4 {
        node.neighbour_asks(5, &PING);
        assert_eq!(count(&node), (frames + number, bytes + number * (HEADER_BYTES + args) as u64));
    }
}

fn elsewhere() -> String {
    names(1, 2).next().unwrap()
}

fn push(node: &mut Harness, count: u32) -> Vec<Sent> {
    node.node_pushes(1, ELSEWHERE, &Push::Deliver(Box::new(fetched(ELSEWHERE, 1, 0, count))))
}

/// Subscribes a new client to that topic, which has one record or none.
fn follow(node: &mut Harness, next: u64) -> ConnId {
    let client = node.client();
    node.follow(client, 9, &elsewhere(), subscribed(ELSEWHERE, 1, next));
    client
}

#[test]
fn a_frame_that_was_damaged_on_its_way_is_counted_once_wherever_that_is_noticed() {
    const CORRUPT: Counted = &[(|stats| stats.corrupt, 1)];
    check(&[
        (
            "args of a client's request",
            |node, client, _| drop(node.damaged(Section::Args, |node| node.ask(client, 9, &PING))),
            CORRUPT,
        ),
        (
            "records of a PUBLISH",
            |node, client, name| {
                let request = Request::Publish(Publish { topic: topic(name), producer: None, count: 1 });
                let payload = records(1, 10);
                let sent = node.damaged(Section::Payload, |node| node.ask_with(client, 9, &request, &payload));
                assert_eq!(sent[0].status(), Status::CorruptFrame);
            },
            CORRUPT,
        ),
        (
            "args of a request over the link",
            |node, _, _| {
                let sent = node.damaged(Section::Args, |node| node.node_asks(1, 9, &PING, &[]));
                assert_eq!(sent[0].status(), Status::CorruptFrame);
            },
            CORRUPT,
        ),
        ("args of a push", |node, _, _| drop(node.damaged(Section::Args, |node| push(node, 1))), CORRUPT),
        (
            "a DELIVER without records",
            |node, _, _| {
                follow(node, 0);
                assert_eq!(push(node, 0).len(), 0);
            },
            CORRUPT,
        ),
        (
            "records of a push, noticed when a part of it is needed",
            |node, _, _| {
                let (client, name) = (node.client(), elsewhere());
                let asked = node.ask(client, 9, &Request::Fetch(Fetch { max_wait_ms: 1000, ..fetch(&name) }));
                node.answer(&asked[0], &Response::Fetched(Box::new(fetched(ELSEWHERE, 1, 0, 0))));
                node.damaged(Section::Payload, |node| push(node, 1));
                assert_eq!(only(&node.settle(), Opcode::Fetch).len(), 1, "the home is asked for them");
                node.lose(client);
            },
            CORRUPT,
        ),
        (
            "the answer to a FEED",
            |node, _, _| {
                follow(node, 0);
                let sent = node.pass(HEADS_US);
                let fed = Response::Fed(FedList { slot: 1, term: 1, instance: 7, counter: 1, items: Vec::new() });
                node.damaged(Section::Args, |node| node.answer(only(&sent, Opcode::Feed)[0], &fed));
            },
            CORRUPT,
        ),
        (
            "the answer to a FETCH for readers",
            |node, _, _| {
                let client = follow(node, 1);
                let sent = node.settle();
                let answer = Response::Fetched(Box::new(fetched(ELSEWHERE, 1, 0, 1)));
                node.damaged(Section::Payload, |node| node.answer(only(&sent, Opcode::Fetch)[0], &answer));
                node.lose(client);
            },
            CORRUPT,
        ),
    ]);
}

#[test]
fn a_duplicate_is_counted_as_one_and_not_as_a_batch() {
    let mut node = Harness::alone();
    let client = node.client();
    node.create(client, "t", Retention::default());
    let producer = Some(Sequenced { producer: ProducerId::new(7).unwrap(), epoch: 0, sequence: 0 });
    let publish = Request::Publish(Publish { topic: topic("t"), producer, count: 1 });
    for id in 0..3 {
        node.ask_with(client, id, &publish, &records(1, 10));
    }
    assert_eq!((node.node.stats.batches, node.node.stats.duplicates), (1, 2));
}
