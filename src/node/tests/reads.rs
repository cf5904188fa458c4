//! Queries to the journal, and how their answers are handled.

use bytes::Bytes;

use super::harness::{Harness, fetch, records, subscribe, topic};
use super::sent::{Sent, only};
use crate::entry::{Filed, Found, Place, TopicKey, Unreadable, Wanted};
use crate::limits::{PULL_AGAIN_US, PULL_TIMEOUT_US, READ_BYTES_MAX, READS_MAX, READS_WAITING_MAX, TICK_US};
use crate::node::{Event, Lookup};
use crate::types::{ConnId, Offset, Retention, crc32};
use crate::wire::request::{Fetch, Start, Subscribe};
use crate::wire::{Opcode, Push, Request, Status};

const KEEPS_ALL: Retention = Retention { records: 0, bytes: 0, age_ms: 0 };

/// Returns a node with a topic of batches of three records of a KiB, none in memory; and a client.
fn node(batches: u32, retention: Retention) -> (Harness, ConnId) {
    let mut node = Harness::with_journal();
    let client = node.client();
    node.create(client, "t", retention);
    for _ in 0..batches {
        node.publish(client, "t", 3, 1000);
    }
    (node, client)
}

/// Returns the batches of the topic from a record on, as the journal has them.
fn batches(topic: TopicKey, from: u64, count: u64) -> Found {
    let batch = |index: u64| {
        let payload = Bytes::from(records(3, 1000));
        let (len, crc) = (u32::try_from(payload.len()).unwrap(), crc32(&payload));
        let (base, place) = (Offset(index * 3), Place { segment: 1, position: 0 });
        (Filed { topic, base, count: 3, len, crc, place, append_us: 1000 + index / 2 }, payload)
    };
    Found::Batches((from / 3..from / 3 + count).map(batch).collect())
}

impl Harness {
    /// Returns the only query to the journal since the last call.
    fn asked_once(&mut self) -> Lookup {
        assert_eq!(self.asked.len(), 1, "{:?}", self.asked);
        self.asked.remove(0)
    }

    fn found(&mut self, lookup: Lookup, found: Found) -> Vec<Sent> {
        self.handle(Event::Read { lookup, found: Ok(found) })
    }
}

fn wanted(lookup: &Lookup) -> (u64, u32, u32) {
    let Wanted::Records { from, max_bytes, max_records } = lookup.wanted else { panic!("{lookup:?}") };
    (from.0, max_bytes, max_records)
}

#[test]
fn a_fetch_of_what_is_not_in_memory_is_answered_when_it_was_read() {
    let (mut node, client) = node(10, KEEPS_ALL);
    // Each case has the offset, the limits in bytes and records; then what is queried and answered: records, and parts
    // of the payload.
    let cases = [
        (Start::Earliest, 0, 0, (0, READ_BYTES_MAX, u32::MAX), (0, 12)),
        (Start::Offset(Offset(4)), 0, 0, (4, READ_BYTES_MAX, u32::MAX), (4, 11)),
        (Start::Offset(Offset(5)), 0, 2, (5, READ_BYTES_MAX, 2), (5, 2)),
        (Start::Offset(Offset(5)), 2200, 0, (5, 2200, u32::MAX), (5, 2)),
        (Start::Offset(Offset(5)), 1, 0, (5, 1, u32::MAX), (5, 1)),
    ];
    for (start, max_bytes, max_records, asked, (base, count)) in cases {
        let request = Request::Fetch(Fetch { start, max_bytes, max_records, ..fetch("t") });
        assert_eq!(node.ask(client, 9, &request).len(), 0, "it is answered later");
        let lookup = node.asked_once();
        assert_eq!(wanted(&lookup), asked);
        let found = batches(lookup.topic, asked.0, 4);
        let sent = node.found(lookup, found);
        let fetched = only(&sent, Opcode::Fetch)[0].fetched();
        assert_eq!((fetched.from, fetched.base, fetched.count), (Offset(base), Offset(base), count), "{start:?}");
        assert_eq!((fetched.first, fetched.next), (Offset(0), Offset(30)));
        assert_eq!(fetched.payload.parts.concat(), records(count, 1000));
        assert_eq!(fetched.runs.iter().map(|run| run.count).sum::<u32>(), count);
    }
}

#[test]
fn a_read_is_of_the_log_as_it_was_when_it_was_asked_for() {
    let (mut node, client) = node(10, Retention { records: 30, ..KEEPS_ALL });
    node.ask(client, 8, &Request::Fetch(Fetch { start: Start::Offset(Offset(1)), ..fetch("t") }));
    node.ask(client, 9, &Request::Fetch(Fetch { start: Start::Earliest, ..fetch("t") }));
    let (earliest, from_1) = (node.asked.pop().unwrap(), node.asked.pop().unwrap());
    // The first records are removed: the log turns over faster than any read of its start.
    (0..3).for_each(|_| drop(node.publish(client, "t", 3, 1000)));
    for (lookup, from) in [(from_1, 1), (earliest, 0)] {
        let found = batches(lookup.topic, 0, 2);
        let fetched = only(&node.found(lookup, found), Opcode::Fetch)[0].fetched();
        assert_eq!((fetched.from, fetched.base, fetched.end()), (Offset(from), Offset(from), Offset(6)));
        assert_eq!((fetched.first, fetched.next), (Offset(0), Offset(30)));
    }
    // Records that were removed earlier are a gap.
    node.ask(client, 8, &Request::Fetch(Fetch { start: Start::Offset(Offset(1)), ..fetch("t") }));
    let lookup = node.asked_once();
    assert_eq!(wanted(&lookup).0, 9);
    let found = batches(lookup.topic, 9, 1);
    let fetched = only(&node.found(lookup, found), Opcode::Fetch)[0].fetched();
    assert_eq!((fetched.from, fetched.base, fetched.first), (Offset(1), Offset(9), Offset(9)));
}

#[test]
fn a_read_has_no_records_that_were_appended_after_it_was_asked_for() {
    let (mut node, client) = node(10, KEEPS_ALL);
    node.ask(client, 9, &Request::Fetch(Fetch { start: Start::Offset(Offset(28)), ..fetch("t") }));
    node.ask(client, 10, &Request::Fetch(Fetch { start: Start::Offset(Offset(28)), ..fetch("t") }));
    let subscribe = Subscribe { topic: topic("t"), epoch: None, start: Start::Offset(Offset(28)), limit: u64::MAX };
    node.ask(client, 20, &Request::Subscribe(subscribe));
    node.settle();
    (0..2).for_each(|_| drop(node.publish(client, "t", 3, 1000)));
    let [fetch, gap, pull] = <[Lookup; 3]>::try_from(std::mem::take(&mut node.asked)).unwrap();
    // The journal has all records up to 36 by now.
    let found = batches(fetch.topic, 28, 3);
    let fetched = only(&node.found(fetch, found.clone()), Opcode::Fetch)[0].fetched();
    assert_eq!((fetched.base, fetched.end(), fetched.next), (Offset(28), Offset(30), Offset(30)));
    // A repair has given records up.
    let fetched = only(&node.found(gap, Found::Gap(Offset(36))), Opcode::Fetch)[0].fetched();
    assert_eq!((fetched.base, fetched.count, fetched.next), (Offset(30), 0, Offset(30)));
    let sent = node.found(pull, found);
    let delivered = only(&sent, Opcode::Deliver)[0].delivered();
    assert_eq!((delivered.base, delivered.end(), delivered.next), (Offset(28), Offset(30), Offset(30)));
    // The subscription goes on with the others.
    node.settle();
    assert_eq!(wanted(&node.asked_once()).0, 30);
}

#[test]
fn what_cannot_be_read_is_told_and_so_is_a_topic_that_is_gone() {
    let (mut node, client) = node(10, KEEPS_ALL);
    let from_time = Request::Fetch(Fetch { start: Start::Time(7), ..fetch("t") });
    for request in [Request::Fetch(fetch("t")), from_time] {
        node.ask(client, 9, &request);
        let lookup = node.asked_once();
        let sent = node.handle(Event::Read { lookup, found: Err(Unreadable::Lost { next: Some(Offset(5)) }) });
        assert_eq!(only(&sent, Opcode::Fetch)[0].status(), Status::Storage);
        // The request itself is valid.
        node.ask(client, 9, &request);
        let lookup = node.asked_once();
        let sent = node.handle(Event::Read { lookup, found: Err(Unreadable::NotNow) });
        assert_eq!(only(&sent, Opcode::Fetch)[0].status(), Status::Overloaded);
        node.ask(client, 9, &request);
        let lookup = node.asked_once();
        let found = if matches!(lookup.wanted, Wanted::Time { .. }) {
            Found::Offset(Offset(0))
        } else {
            batches(lookup.topic, 0, 1)
        };
        node.ask(client, 10, &Request::Delete(topic("t")));
        let sent = node.found(lookup, found);
        assert_eq!(only(&sent, Opcode::Fetch)[0].status(), Status::UnknownTopic);
        node.create(client, "t", KEEPS_ALL);
        (0..10).for_each(|_| drop(node.publish(client, "t", 3, 1000)));
    }
    // The journal has none of the records that it reported.
    node.ask(client, 9, &Request::Fetch(fetch("t")));
    let lookup = node.asked_once();
    let sent = node.found(lookup, Found::Batches(Vec::new()));
    assert_eq!(only(&sent, Opcode::Fetch)[0].status(), Status::Storage);
}

#[test]
fn what_was_removed_before_it_was_read_is_asked_for_again_from_where_the_log_begins_now() {
    for (start, from) in [(Start::Earliest, 9), (Start::Offset(Offset(0)), 0)] {
        let (mut node, client) = node(10, Retention { records: 30, ..KEEPS_ALL });
        node.ask(client, 9, &Request::Fetch(Fetch { start, ..fetch("t") }));
        node.ask(client, 20, &subscribe("t"));
        node.timeout();
        let (pull, lookup) = (node.asked.pop().unwrap(), node.asked.pop().unwrap());
        (0..3).for_each(|_| drop(node.publish(client, "t", 3, 1000)));
        assert_eq!(node.found(lookup, Found::Batches(Vec::new())).len(), 0, "it is asked for again");
        let lookup = node.asked_once();
        assert_eq!(wanted(&lookup).0, 9);
        let found = batches(lookup.topic, 9, 1);
        let fetched = only(&node.found(lookup, found), Opcode::Fetch)[0].fetched();
        assert_eq!((fetched.from, fetched.base, fetched.first), (Offset(from), Offset(9), Offset(9)), "{start:?}");
        // A subscription continues as well.
        let mut sent = node.found(pull, Found::Batches(Vec::new()));
        sent.extend(node.pass(PULL_AGAIN_US + TICK_US));
        assert!(only(&sent, Opcode::Event).iter().all(|sent| !matches!(sent.push(), Push::Ended(_))), "{sent:?}");
        assert_eq!(wanted(&node.asked_once()).0, 9);
    }
}

#[test]
fn a_time_that_only_the_journal_knows_is_looked_up_first() {
    let (mut node, client) = node(10, Retention { records: 24, ..KEEPS_ALL });
    node.ask(client, 9, &Request::Fetch(Fetch { start: Start::Time(1003), ..fetch("t") }));
    let lookup = node.asked_once();
    assert_eq!(lookup.wanted, Wanted::Time { append_us: 1003, from: Offset(0), end: Offset(30) });
    node.found(lookup, Found::Offset(Offset(18)));
    let lookup = node.asked_once();
    assert_eq!(wanted(&lookup).0, 18);
    let found = batches(lookup.topic, 18, 1);
    let fetched = only(&node.found(lookup, found), Opcode::Fetch)[0].fetched();
    assert_eq!((fetched.from, fetched.base, fetched.count), (Offset(18), Offset(18), 3));
    // A subscription starts there too; records that retention removed before it are not a gap.
    for (found, from) in [(21, 21), (0, 6)] {
        node.ask(
            client,
            20 + found,
            &Request::Subscribe(Subscribe { topic: topic("t"), epoch: None, start: Start::Time(7), limit: 0 }),
        );
        let lookup = node.asked_once();
        let sent = node.found(lookup, Found::Offset(Offset(found)));
        let answers = only(&sent, Opcode::Subscribe);
        let crate::wire::Response::Subscribed(subscribed) = answers[0].response() else { panic!("{answers:?}") };
        assert_eq!(subscribed.from, Offset(from));
    }
}

#[test]
fn readers_that_are_behind_share_what_is_read_and_go_on() {
    let (mut node, client) = node(10, KEEPS_ALL);
    let other = node.client();
    node.ask(client, 20, &subscribe("t"));
    node.ask(other, 21, &subscribe("t"));
    node.timeout();
    let lookup = node.asked_once();
    assert_eq!(wanted(&lookup).0, 0);
    let found = batches(lookup.topic, 0, 2);
    let mut sent = node.found(lookup, found);
    sent.extend(node.timeout());
    let got: Vec<(u64, u32)> = only(&sent, Opcode::Deliver).iter().map(|it| (it.id(), it.delivered().count)).collect();
    assert_eq!(got, [(20, 6), (21, 6)]);
    let lookup = node.asked_once();
    assert_eq!(wanted(&lookup).0, 6, "one read for both");
    // A temporarily unreadable record is read again later.
    let mut again = node.handle(Event::Read { lookup, found: Err(Unreadable::NotNow) });
    again.extend(node.pass(PULL_AGAIN_US + 2 * TICK_US));
    assert_eq!(again.iter().filter(|sent| matches!(sent.opcode(), Opcode::Deliver | Opcode::Event)).count(), 0);
    let lookup = node.asked_once();
    assert_eq!(wanted(&lookup).0, 6);
    // Permanently unreadable records end the subscriptions with the reason.
    let sent = node.handle(Event::Read { lookup, found: Err(Unreadable::Lost { next: Some(Offset(5)) }) });
    let ended = |sent: &Sent| matches!(sent.push(), Push::Ended(error) if error.status == Status::Storage.number());
    assert_eq!(sent.iter().filter(|sent| ended(sent)).count(), 2);
}

#[test]
fn readers_that_are_behind_are_told_of_a_gap_however_late_the_disk_was() {
    let (mut node, client) = node(10, Retention { records: 30, ..KEEPS_ALL });
    node.ask(client, 20, &subscribe("t"));
    node.timeout();
    // The disk hangs. Its first answer is too late, and the next query starts afterwards.
    let late = node.asked_once();
    node.publish(client, "t", 3, 1000);
    node.pass(PULL_TIMEOUT_US + PULL_AGAIN_US + 2 * TICK_US);
    let lookup = node.asked_once();
    assert_eq!(wanted(&lookup).0, 3);
    let found = batches(late.topic, 0, 2);
    assert_eq!(node.found(late, found).len(), 0, "nobody waits for it");
    let found = batches(lookup.topic, 3, 2);
    let mut sent = node.found(lookup, found);
    sent.extend(node.settle());
    let (from, to) = (Offset(0), Offset(3));
    let pushes: Vec<Push> = sent.iter().filter(|sent| sent.id() == 20).map(Sent::push).collect();
    assert!(pushes.contains(&Push::Gap { from, to }), "{pushes:?}");
    let got: Vec<(Offset, u32)> =
        only(&sent, Opcode::Deliver).iter().map(|it| (it.delivered().base, it.delivered().count)).collect();
    assert_eq!(got, [(Offset(3), 6)]);
}

#[test]
fn a_fetch_that_waited_says_where_it_began_though_retention_has_removed_that() {
    let (mut node, client) = node(1, Retention { records: 3, ..KEEPS_ALL });
    let waits = Fetch { start: Start::Next, max_wait_ms: 30_000, ..fetch("t") };
    assert_eq!(node.ask(client, 20, &Request::Fetch(waits)).len(), 0);
    (0..2).for_each(|_| drop(node.publish(client, "t", 3, 1000)));
    node.settle();
    let lookup = node.asked_once();
    assert_eq!(wanted(&lookup).0, 6);
    let found = batches(lookup.topic, 6, 1);
    let fetched = only(&node.found(lookup, found), Opcode::Fetch)[0].fetched();
    assert_eq!((fetched.from, fetched.base, fetched.count), (Offset(3), Offset(6), 3));
}

#[test]
fn so_many_reads_are_in_flight_so_many_wait_and_no_more() {
    let (mut node, client) = node(2, KEEPS_ALL);
    let most = (READS_MAX + READS_WAITING_MAX) as u64;
    // A client may have fewer requests in flight than that.
    let clients: Vec<ConnId> = (0..most.div_ceil(500)).map(|_| node.client()).collect();
    let small = Request::Fetch(Fetch { max_bytes: 1000, ..fetch("t") });
    for id in 0..most {
        assert_eq!(node.ask(clients[usize::try_from(id / 500).unwrap()], id, &small).len(), 0);
        assert!(node.asked.len() <= READS_MAX);
    }
    let answer = node.answer_to(client, 9, &small);
    assert_eq!(answer.status(), Status::Overloaded.number());
    // Each answer starts one more query; each query is answered once, in order.
    let mut answered = Vec::new();
    while let Some(lookup) = Some(&mut node.asked).filter(|asked| !asked.is_empty()).map(|asked| asked.remove(0)) {
        let found = batches(lookup.topic, 0, 1);
        answered.extend(only(&node.found(lookup, found), Opcode::Fetch).iter().map(|sent| sent.id()));
        assert!(node.asked.len() <= READS_MAX);
    }
    assert_eq!(answered, (0..most).collect::<Vec<_>>());
}
