//! The work grows linearly with the entries of each table that clients or neighbours fill: twice the entries may cost
//! twice the work, but not four times.

use std::collections::VecDeque;

use super::harness::{Harness, fetched, names, subscribed, topic, topic_id};
use super::sent::{Sent, only};
use crate::limits::{PULL_AGAIN_US, PULL_TIMEOUT_US};
use crate::types::{ConnId, Epoch, Offset, RequestId, Retention, TopicName};
use crate::wire::feed::FeedItem;
use crate::wire::field::Writer;
use crate::wire::request::{Start, Subscribe};
use crate::wire::{Opcode, Push, Request, Response};

const HOME: u16 = 1;
const TOPIC: u64 = 9;

/// A node with subscriptions to a topic of another node.
struct Crowd {
    node: Harness,
    name: String,
}

impl Crowd {
    fn new() -> Self {
        Self { node: Harness::linked(1), name: names(HOME, 1).next().unwrap() }
    }

    /// Subscribes from the offset `from` with this credit, when the log end offset is `next`.
    fn subscribe(&mut self, conn: ConnId, id: u64, (from, next): (u64, u64), limit: u64) -> Vec<Sent> {
        let start = Start::Offset(Offset(from));
        let request = Request::Subscribe(Subscribe { topic: topic(&self.name), epoch: None, start, limit });
        let asked = self.node.ask(conn, id, &request);
        let answer = subscribed(TOPIC, 1, next);
        let asked = only(&asked, Opcode::Subscribe)[0];
        self.node
            .answer(asked, &Response::Subscribed(crate::wire::response::Subscribed { from: Offset(from), ..answer }))
    }

    /// Creates clients with one subscription each, without credit, at the end of the topic.
    fn stuck(count: u64) -> (Self, Vec<ConnId>) {
        let mut crowd = Self::new();
        let clients: Vec<ConnId> = (0..count).map(|_| crowd.node.client()).collect();
        clients.iter().for_each(|client| drop(crowd.subscribe(*client, 1, (0, 0), 0)));
        crowd.push(0);
        (crowd, clients)
    }

    /// Creates one client with many subscriptions, without credit, at the end of the topic.
    fn stuck_alone(count: u64) -> (Self, ConnId) {
        let mut crowd = Self::new();
        let client = crowd.node.client();
        (1..=count).for_each(|id| drop(crowd.subscribe(client, id, (0, 0), 0)));
        crowd.push(0);
        (crowd, client)
    }

    /// Lets the home push the record at an offset.
    fn push(&mut self, base: u64) -> Vec<Sent> {
        self.node.node_pushes(HOME, TOPIC, &Push::Deliver(Box::new(fetched(TOPIC, 1, base, 1))))
    }
}

/// Compares the work for `entries` entries with that for twice as many.
fn check(what: &str, entries: u64, work: impl Fn(u64) -> u64) {
    let (once, twice) = (work(entries), work(2 * entries));
    assert!(
        once >= entries / 4,
        "{what}: {once} units for {entries} entries are too few: the intended work was not done"
    );
    assert!(2 * twice <= 5 * once, "{what}: {once} units for {entries} entries, {twice} for twice as many");
}

/// Returns the units of work that `does` causes, until nothing is left to do.
fn units(crowd: &mut Crowd, does: impl FnOnce(&mut Crowd)) -> u64 {
    let before = crowd.node.node.entries_looked_at();
    does(crowd);
    crowd.node.fill(|node| drop(node.settle()));
    crowd.node.node.entries_looked_at() - before
}

#[test]
fn removing_subscriptions_takes_linear_work() {
    check("a client with many disconnects", 500, |count| {
        let (mut crowd, client) = Crowd::stuck_alone(count);
        units(&mut crowd, |crowd| crowd.node.fill(|node| drop(node.lose(client))))
    });
    check("a client ends each of many", 500, |count| {
        let (mut crowd, client) = Crowd::stuck_alone(count);
        units(&mut crowd, |crowd| {
            crowd.node.fill(|node| {
                for id in 1..=count {
                    node.ask(client, count + id, &Request::Unsubscribe { subscription: RequestId(id) });
                }
            });
        })
    });
    check("many clients disconnect", 250, |count| {
        let (mut crowd, clients) = Crowd::stuck(count);
        units(&mut crowd, |crowd| {
            crowd.node.fill(|node| clients.into_iter().for_each(|client| drop(node.lose(client))));
        })
    });
    check("their topic is deleted", 500, |count| {
        let (mut crowd, _) = Crowd::stuck_alone(count);
        let gone = crate::wire::response::ErrorResponse::new(crate::wire::Status::UnknownTopic, "gone");
        units(&mut crowd, |crowd| {
            crowd.node.fill(|node| drop(node.node_pushes(HOME, TOPIC, &Push::Ended(Box::new(gone)))));
        })
    });
}

#[test]
fn records_for_subscriptions_without_credit_take_linear_work() {
    check("as many records as subscriptions without credit", 250, |count| {
        let (mut crowd, _) = Crowd::stuck(count);
        units(&mut crowd, |crowd| (1..=count).for_each(|base| drop(crowd.push(base))))
    });
    check("a topic that grows with each subscription", 250, |count| {
        let mut crowd = Crowd::new();
        let client = crowd.node.client();
        units(&mut crowd, |crowd| {
            for id in 1..=count {
                crowd.subscribe(client, id, (id, id), 0);
                crowd.node.fill(|node| drop(node.settle()));
            }
        })
    });
}

#[test]
fn fetches_for_lagging_subscriptions_take_linear_work() {
    check("each at another record", 200, |count| {
        let mut crowd = Crowd::new();
        let client = crowd.node.client();
        units(&mut crowd, |crowd| {
            let mut asked: VecDeque<Sent> = VecDeque::new();
            for id in 1..=count {
                asked.extend(crowd.subscribe(client, id, (id - 1, count), 1));
            }
            let mut answered = 0;
            loop {
                asked.extend(crowd.node.settle());
                asked.retain(|sent| sent.opcode() == Opcode::Fetch && !sent.is_response());
                let Some(fetch) = asked.pop_front() else { break };
                let Request::Fetch(wanted) = fetch.request() else { panic!("{fetch:?}") };
                let Start::Offset(from) = wanted.start else { panic!("{fetch:?}") };
                let answer = Response::Fetched(Box::new(fetched(TOPIC, 1, from.0, 1)));
                asked.extend(crowd.node.answer(&fetch, &answer));
                answered += 1;
            }
            assert_eq!(answered, count, "each record is fetched once");
        })
    });
    check("all fetches unanswered", 200, |count| {
        let mut crowd = Crowd::new();
        let client = crowd.node.client();
        (1..=count).for_each(|id| drop(crowd.subscribe(client, id, (id - 1, count), 1)));
        crowd.node.link_down();
        units(&mut crowd, |crowd| crowd.node.fill(|node| drop(node.pass_silently(PULL_TIMEOUT_US + PULL_AGAIN_US))))
    });
}

#[test]
fn feeds_of_other_nodes_take_linear_work() {
    check("one ingress resets its feeds while another has many", 250, |count| {
        let mut node = Harness::linked(2);
        let client = node.client();
        let topics: Vec<(u64, String)> = names(0, 2)
            .take(usize::try_from(count).unwrap())
            .map(|name| (node.create(client, &name, Retention::default()).number(), name))
            .collect();
        let feed = |node: &mut Harness, source: u16, version: u64, reset: bool, (id, name): &(u64, String)| {
            let name = Some(TopicName::new(name).unwrap());
            let item =
                FeedItem { topic: topic_id(*id), epoch: Epoch(1), push: true, subscribers: 1, slowest: None, name };
            let mut payload = Vec::new();
            item.encode(&mut Writer::new(&mut payload));
            node.node_asks(source, version, &Request::Feed { slot: 0, instance: 7, reset, count: 1 }, &payload);
        };
        let before = node.node.entries_looked_at();
        node.fill(|node| (1..).zip(&topics).for_each(|(version, topic)| feed(node, 3, version, false, topic)));
        node.fill(|node| (1..=count).for_each(|version| feed(node, 1, version, true, &topics[0])));
        node.node.entries_looked_at() - before
    });
}
