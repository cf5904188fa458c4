//! What requests cost: a dear one counts as the many cheap ones that take as long.

use super::harness::{Harness, fetch, fetched, names, records, topic, topic_id};
use super::sent::only;
use crate::limits::{CATCH_UP_WORK, FEED_ITEMS_MAX, LIST_SCAN_MAX};
use crate::types::{ConnId, Epoch, Offset, Retention, TopicName};
use crate::wire::feed::FeedItem;
use crate::wire::field::Writer;
use crate::wire::request::{ANY_NODE, Fetch, List, Publish, Start};
use crate::wire::response::{Fetched, Payload, Run};
use crate::wire::{Opcode, Push, Request, Response};

/// Records of five bytes in a batch of nearly the largest size.
const MANY: u32 = 200_000;

/// Returns the work of something that a node does.
fn work_of(node: &mut Harness, does: impl FnOnce(&mut Harness)) -> u64 {
    node.node.take_work();
    node.fill(does);
    node.node.take_work()
}

fn ask(node: &mut Harness, client: ConnId, request: &Request<'_>) -> u64 {
    work_of(node, |node| drop(node.ask(client, 9, request)))
}

fn publish(node: &mut Harness, client: ConnId, payload: &[u8], count: u32) -> u64 {
    let request = Request::Publish(Publish { topic: topic("t"), producer: None, count });
    work_of(node, |node| drop(node.ask_with(client, 9, &request, payload)))
}

fn ping(node: &mut Harness, client: ConnId) -> u64 {
    ask(node, client, &Request::Ping { node: ANY_NODE, token: 1 })
}

#[test]
fn a_fetch_costs_what_it_walks_over_and_returns() {
    let mut node = Harness::alone();
    let client = node.client();
    node.create(client, "t", Retention::default());
    publish(&mut node, client, &records(MANY, 5), MANY);
    let ping = ping(&mut node, client);
    let mut read = |offset: u32, max_records| {
        let start = Start::Offset(Offset(offset.into()));
        ask(&mut node, client, &Request::Fetch(Fetch { start, max_records, ..fetch("t") }))
    };
    let first = read(MANY - 1000, 1);
    assert!(first >= u64::from(MANY), "it builds the index: {first}");
    let deep = read(MANY - 1000, 1);
    assert!(deep <= 4 * ping, "{deep} for a record deep inside, {ping} for PING");
    let most = read(1, 0);
    assert!(most >= 100 * ping, "{most} for nearly a million bytes, {ping} for PING");
}

#[test]
fn a_batch_costs_its_bytes_and_its_records() {
    let mut node = Harness::alone();
    let client = node.client();
    node.create(client, "t", Retention::default());
    let ping = ping(&mut node, client);
    let small = publish(&mut node, client, &records(1, 100), 1);
    assert!(small <= 3 * ping, "{small}");
    let one = publish(&mut node, client, &records(1, 1_000_000), 1);
    let many = publish(&mut node, client, &records(MANY, 5), MANY);
    let wrong = publish(&mut node, client, &records(MANY, 5), 1);
    assert!(one >= 100 * ping && many >= one + u64::from(MANY), "{one} for one record, {many} for many");
    assert!(wrong >= many / 2, "{wrong} for a batch that is refused at its end");
}

#[test]
fn a_page_of_topics_costs_the_topics_that_are_looked_at() {
    let mut node = Harness::alone();
    let client = node.client();
    let count = LIST_SCAN_MAX + 100;
    node.fill(|node| {
        for name in names(0, 0).take(count) {
            node.create(client, &name, Retention::default());
        }
    });
    let ping = ping(&mut node, client);
    let mut list = |cursor: usize, max, prefix| {
        ask(&mut node, client, &Request::List(List { node: ANY_NODE, max, cursor: cursor as u64, prefix }))
    };
    let none = list(0, 0, "no topic begins so");
    assert!(none >= 100 * ping, "{none} for a prefix without matches");
    let end = list(count - 10, 0, "no topic begins so");
    assert!(end <= 4 * ping, "{end} for the last ten topics");
    let one = list(0, 1, "");
    assert!(one <= 4 * ping, "{one} for the first topic");
}

#[test]
fn a_feed_costs_its_items() {
    let mut node = Harness::linked(2);
    let client = node.client();
    let ping = ping(&mut node, client);
    let item = |number: u64| FeedItem {
        topic: topic_id(number),
        epoch: Epoch(1),
        push: true,
        subscribers: 1,
        slowest: None,
        name: Some(TopicName::new("t").unwrap()),
    };
    let mut payload = Vec::new();
    (1..=FEED_ITEMS_MAX as u64).for_each(|number| item(number).encode(&mut Writer::new(&mut payload)));
    let count = u16::try_from(FEED_ITEMS_MAX).unwrap();
    let request = Request::Feed { slot: 0, instance: 7, reset: false, count };
    let feed = work_of(&mut node, |node| drop(node.node_asks(3, 1, &request, &payload)));
    assert!(feed >= 20 * ping, "{feed} for {count} items, {ping} for PING");
}

#[test]
fn readers_catch_up_for_a_limited_amount_of_work() {
    const HOME: u16 = 1;
    const TOPIC: u64 = 9;
    const READERS: usize = 20;
    // What is kept of pushed records for readers that are behind.
    const RECORDS: u32 = 50_000;
    let mut node = Harness::linked(1);
    let name = names(HOME, 1).next().unwrap();
    for _ in 0..READERS {
        let client = node.client();
        let request = Request::Fetch(Fetch { start: Start::Next, max_records: 1, max_wait_ms: 1000, ..fetch(&name) });
        let asked = node.ask(client, 1, &request);
        node.answer(only(&asked, Opcode::Fetch)[0], &Response::Fetched(Box::new(fetched(TOPIC, 1, 0, 0))));
    }
    node.settle();
    let payload = Payload { parts: vec![records(RECORDS, 5).into()], crc: None };
    let runs = vec![Run { count: RECORDS, append_us: 1 }];
    let next = Offset(RECORDS.into());
    let pushed = Fetched { count: RECORDS, next, runs, payload, ..fetched(TOPIC, 1, 0, 0) };
    node.node_pushes(HOME, TOPIC, &Push::Deliver(Box::new(pushed)));
    let mut answered = 0;
    while answered < READERS {
        let mut sent = 0;
        let work = work_of(&mut node, |node| sent = only(&node.timeout(), Opcode::Fetch).len());
        assert!(sent > 0, "at least one reader advances in each turn");
        assert!(sent < READERS && work <= 2 * CATCH_UP_WORK, "{work} for {sent} readers in one turn");
        answered += sent;
    }
}
