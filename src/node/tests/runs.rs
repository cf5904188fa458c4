//! Small batches of one turn that become one entry, and are answered as if each had been appended alone.

use super::harness::{Harness, fetch, names, records, topic};
use super::sent::Sent;
use crate::entry::{Entry, Room};
use crate::limits::{RUN_BYTES_MAX, RUNS_MAX};
use crate::node::Event;
use crate::types::{ConnId, Offset, ProducerId, Retention, Sequenced};
use crate::wire::request::{Fetch, Publish, Start};
use crate::wire::{Origin, Request, Response, Status, TrafficClass};

const KEEPS_ALL: Retention = Retention { records: 0, bytes: 1 << 30, age_ms: 0 };

fn node_with(names: &[&str], retention: Retention) -> (Harness, ConnId) {
    let mut node = Harness::alone();
    let client = node.client();
    for name in names {
        node.create(client, name, retention);
    }
    (node, client)
}

/// Publishes a batch of `count` records, whose answer comes when the turn is over.
fn publish(node: &mut Harness, client: ConnId, id: u64, name: &str, count: u32) {
    let request = Request::Publish(Publish { topic: topic(name), producer: None, count });
    assert_eq!(node.ask_with(client, id, &request, &records(count, 10)).len(), 0);
}

/// Returns the request, first offset and number of records of each acknowledgement.
fn acks(sent: &[Sent]) -> Vec<(u64, u64, u32)> {
    let ack = |sent: &Sent| {
        let Response::Published(published) = sent.response() else { panic!("{sent:?}") };
        assert!(!published.duplicate);
        (sent.id(), published.base.0, published.count)
    };
    sent.iter().map(ack).collect()
}

/// Returns the number of records of each entry of a turn that was held.
fn counts(node: &Harness) -> Vec<u32> {
    let count = |entry: &Entry| if let Entry::Publish(batch) = entry { batch.count } else { 0 };
    node.held_entries().iter().map(count).collect()
}

#[test]
fn the_batches_of_a_turn_are_one_entry_and_each_is_answered_as_if_it_were_alone() {
    let (mut node, first) = node_with(&["topic"], KEEPS_ALL);
    let second = node.client();
    node.publish(first, "topic", 5, 10);
    let sent = node.turn(|node| {
        for (id, client, count) in [(2, first, 1), (3, first, 4), (2, second, 1), (4, first, 2), (5, first, 1)] {
            publish(node, client, id, "topic", count);
        }
        assert_eq!(node.node.topic_count(), 1);
    });
    assert_eq!(acks(&sent), [(2, 5, 1), (3, 6, 4), (2, 10, 1), (4, 11, 2), (5, 13, 1)]);
    assert_eq!(sent.iter().map(|sent| sent.conn).collect::<Vec<_>>(), [first, first, second, first, first]);
    let request = Fetch { start: Start::Offset(Offset(4)), ..fetch("topic") };
    let Response::Fetched(fetched) = node.answer_to(first, 9, &Request::Fetch(request)) else { panic!() };
    assert_eq!((fetched.base, fetched.count), (Offset(4), 10));
    let read: Vec<u8> = fetched.payload.parts.iter().flatten().copied().collect();
    assert_eq!(read, records(10, 10));
}

/// Publishes a batch of one record at the client of another node, whose answer comes when the turn is over.
fn publish_from(node: &mut Harness, source: u16, id: u64, name: &str) {
    let origin = Origin { mark: 1, generation: 2, slot: u32::try_from(id).unwrap() };
    let route = node.route_from(source, TrafficClass::Bulk, origin);
    let request = Request::Publish(Publish { topic: topic(name), producer: None, count: 1 });
    assert_eq!(node.node_sends(&route, id, &request, &records(1, 10)).len(), 0);
}

#[test]
fn the_answers_of_a_run_go_back_to_each_ingress_in_their_order() {
    let name = names(0, 2).next().unwrap();
    let mut node = Harness::linked(2);
    let client = node.client();
    node.create(client, &name, KEEPS_ALL);
    let sent = node.turn(|node| {
        (2..6).for_each(|id| publish_from(node, 1, id, &name));
        publish(node, client, 6, &name, 1);
        publish(node, client, 7, &name, 1);
        for (id, source) in [(8, 1), (9, 3), (10, 3), (11, 1)] {
            publish_from(node, source, id, &name);
        }
    });
    let expected: Vec<(u64, u64, u32)> = (2..12).map(|id| (id, id - 2, 1)).collect();
    assert_eq!(acks(&sent), expected);
    for (sent, source) in sent.iter().zip([1, 1, 1, 1, 0, 0, 1, 3, 3, 1]) {
        assert_eq!(sent.conn == client, source == 0);
        if source > 0 {
            assert_eq!((sent.route().target.index(), u64::from(sent.route().origin.slot)), (source, sent.id()));
        }
    }
    node.hold();
    node.turn(|node| (2..6).for_each(|id| publish_from(node, 1, id, &name)));
    node.link_down();
    assert_eq!(node.commit().len(), 0);
    assert_eq!(node.node.stats.responses_lost, 4);
}

#[test]
fn each_topic_has_its_entry_and_whatever_else_is_proposed_comes_behind_all_of_them() {
    let (mut node, client) = node_with(&["a", "b"], KEEPS_ALL);
    node.hold();
    let producer = Some(Sequenced { producer: ProducerId::new(1).unwrap(), epoch: 0, sequence: 0 });
    node.turn(|node| {
        for (id, name) in (2..).zip(["a", "b", "a", "b", "b"]) {
            publish(node, client, id, name, 1);
        }
        let sequenced = Request::Publish(Publish { topic: topic("a"), producer, count: 7 });
        node.ask_with(client, 7, &sequenced, &records(7, 10));
        publish(node, client, 8, "a", 1);
        publish(node, client, 9, "a", 1);
        node.ask(client, 10, &Request::Delete(topic("b")));
        publish(node, client, 11, "b", 1);
        publish(node, client, 12, "b", 1);
    });
    assert_eq!(counts(&node), [2, 3, 7, 2, 0, 2]);
    let answers = node.commit();
    let ids: Vec<u64> = answers.iter().map(Sent::id).collect();
    assert_eq!(ids, [2, 4, 3, 5, 6, 7, 8, 9, 10, 11, 12]);
    let statuses: Vec<Status> = answers.iter().map(Sent::status).collect();
    assert_eq!(statuses[..9], [Status::Ok; 9]);
    assert_eq!(statuses[9..], [Status::UnknownTopic; 2], "each is told that the topic is gone");
    assert_eq!(node.node.parts.ingress.admission().inflight(), 0);
}

#[test]
fn a_run_is_no_longer_than_a_chunk_and_no_coarser_than_the_marks_of_its_topic() {
    let batch = records(1, 10).len() as u64;
    let of_chunk = u32::try_from(RUN_BYTES_MAX / batch).unwrap();
    for (retention, longest) in [
        (KEEPS_ALL, of_chunk),
        (Retention { bytes: 64 * 5 * batch, ..KEEPS_ALL }, 5),
        (Retention { records: 64 * 3, ..KEEPS_ALL }, 3),
        (Retention { records: 10, ..KEEPS_ALL }, 1),
    ] {
        let (mut node, client) = node_with(&["topic"], retention);
        node.hold();
        node.turn(|node| (0..=of_chunk).for_each(|id| publish(node, client, id.into(), "topic", 1)));
        let counts = counts(&node);
        assert_eq!(counts.iter().sum::<u32>(), of_chunk + 1);
        assert!(counts[..counts.len() - 1].iter().all(|count| *count == longest), "{counts:?}");
    }
}

#[test]
fn batches_of_more_topics_than_can_have_runs_are_all_appended() {
    let names: Vec<String> = (0..3 * RUNS_MAX).map(|number| format!("topic-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut node, client) = node_with(&names, KEEPS_ALL);
    let sent = node.turn(|node| {
        for (id, name) in (2..).zip(names.iter().chain(&names)) {
            publish(node, client, id, name, 1);
        }
    });
    let mut acks = acks(&sent);
    acks.sort_unstable();
    let count = names.len() as u64;
    let expected: Vec<(u64, u64, u32)> = (0..2 * count).map(|number| (number + 2, number / count, 1)).collect();
    assert_eq!(acks, expected);
}

#[test]
fn a_full_disk_refuses_each_request_of_a_run() {
    let (mut node, client) = node_with(&["topic"], KEEPS_ALL);
    node.handle(Event::Space { room: Room { bytes: 0, is_full: false, log_kept: 0 } });
    let sent = node.turn(|node| (2..6).for_each(|id| publish(node, client, id, "topic", 1)));
    assert_eq!(sent.len(), 0, "they wait for room");
    let sent = node.handle(Event::Space { room: Room { bytes: 0, is_full: true, log_kept: 0 } });
    let answers: Vec<(u64, Status)> = sent.iter().map(|sent| (sent.id(), sent.status())).collect();
    assert_eq!(answers, (2..6).map(|id| (id, Status::Quota)).collect::<Vec<_>>());
    assert_eq!(node.node.parts.groups.proposals(), 0);
    assert_eq!(node.node.parts.ingress.admission().inflight(), 0);
}

#[test]
fn a_client_that_has_gone_gets_no_acknowledgements_and_leaves_nothing_behind() {
    let (mut node, client) = node_with(&["topic"], KEEPS_ALL);
    let other = node.client();
    let sent = node.turn(|node| {
        (2..6).for_each(|id| publish(node, client, id, "topic", 1));
        node.lose(client);
        publish(node, other, 2, "topic", 1);
    });
    assert_eq!(acks(&sent), [(2, 4, 1)]);
    assert_eq!(node.node.parts.ingress.admission().inflight(), 0);
}
