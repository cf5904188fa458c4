//! Changes to existing topics: settings, the log start offset, and opened producers.

use super::harness::{Harness, records, topic};
use crate::limits::TICK_US;
use crate::types::{ConnId, Offset, ProducerId, Retention, TopicId};
use crate::wire::request::{Opening, Publish, Sequenced, SettingsChange, Topic};
use crate::wire::response::{Detail, OpenedProducer, TopicState};
use crate::wire::{Request, Response, Status};

const BOUNDS: Retention = Retention { records: 100, bytes: 1 << 20, age_ms: 3_600_000 };

fn ten_records(retention: Retention) -> (Harness, ConnId, TopicId) {
    let mut node = Harness::alone();
    let client = node.client();
    let id = node.create(client, "t", retention);
    (0..10).for_each(|_| drop(node.publish(client, "t", 1, 10)));
    (node, client, id)
}

fn state(response: Response) -> TopicState {
    let Response::Described(description) = response else { panic!("no description: {response:?}") };
    description.topic.unwrap()
}

#[test]
fn a_topic_is_altered_in_what_is_named_and_keeps_no_more_than_that_at_once() {
    let (mut node, client, id) = ten_records(BOUNDS);
    let mut alter = |change| {
        let topic = Topic { id: Some(id), ..topic("t") };
        state(node.answer_to(client, 3, &Request::Alter { topic, change }))
    };
    let nothing = SettingsChange::default();
    assert_eq!((alter(nothing).retention, alter(nothing).first), (BOUNDS, Offset(0)));
    let fewer = alter(SettingsChange { retention_records: Some(4), ..nothing });
    assert_eq!((fewer.retention, fewer.first), (Retention { records: 4, ..BOUNDS }, Offset(6)));
    let more = alter(SettingsChange { retention_records: Some(50), retention_age_ms: Some(2000), ..nothing });
    assert_eq!((more.retention, more.first), (Retention { records: 50, age_ms: 2000, ..BOUNDS }, Offset(6)));
    // A setting of 0 selects the default, as for a new topic.
    let default = alter(SettingsChange { retention_records: Some(0), retention_bytes: Some(0), ..nothing }).retention;
    let other = node.create(client, "other", Retention::default());
    let of_other = state(node.answer_to(client, 4, &Request::Info(Topic { id: Some(other), ..topic("other") })));
    assert_eq!(default, Retention { age_ms: 2000, ..of_other.retention });
    // From now on the age is checked.
    node.fill(|node| node.pass(3_000_000));
    node.fill(|node| node.pass(TICK_US));
    let aged = state(node.answer_to(client, 5, &Request::Info(topic("t"))));
    assert_eq!((aged.first, aged.next), (Offset(10), Offset(10)));
}

#[test]
fn a_topic_is_trimmed_to_an_offset_and_never_beyond_its_end() {
    let (mut node, client, id) = ten_records(Retention::default());
    let trim = |to| Request::Trim { topic: topic("t"), first: Offset(to) };
    for (to, first) in [(0, 0), (3, 3), (3, 3), (1, 3), (7, 7)] {
        let trimmed = Response::Trimmed { topic_id: id, first: Offset(first), next: Offset(10) };
        assert_eq!(node.answer_to(client, 3, &trim(to)), trimmed, "to {to}");
    }
    let sent = node.ask(client, 4, &trim(11));
    assert_eq!(sent[0].status(), Status::OffsetOutOfRange);
    assert_eq!(sent[0].details(), [Detail::Earliest(Offset(7)), Detail::Next(Offset(10))]);
    assert_eq!(node.answer_to(client, 5, &trim(10)).status(), 0);
    let empty = state(node.answer_to(client, 6, &Request::Info(topic("t"))));
    assert_eq!((empty.first, empty.next, empty.bytes), (Offset(10), Offset(10), 0));
    node.publish(client, "t", 1, 10);
    let more = state(node.answer_to(client, 7, &Request::Info(topic("t"))));
    assert_eq!((more.first, more.next), (Offset(10), Offset(11)), "offsets go on");
}

#[test]
fn what_is_to_change_a_topic_that_is_gone_or_another_changes_nothing() {
    let (mut node, client, id) = ten_records(Retention::default());
    let opening = Opening { producer: ProducerId::of_name("a"), token: 1, resume: true };
    let requests = |topic: Topic<'static>| {
        let change = SettingsChange { retention_records: Some(1), ..SettingsChange::default() };
        let first = Offset(5);
        [Request::Alter { topic, change }, Request::Trim { topic, first }, Request::Producer { topic, opening }]
    };
    let other = TopicId::new(id.number() + (1 << 24)).unwrap();
    for request in requests(Topic { id: Some(other), ..topic("t") }) {
        let sent = node.ask(client, 3, &request);
        assert_eq!((sent[0].status(), sent[0].details()), (Status::Recreated, vec![Detail::TopicId(id)]));
    }
    for request in requests(topic("absent")) {
        assert_eq!(node.ask(client, 3, &request)[0].status(), Status::UnknownTopic);
    }
    let found = state(node.answer_to(client, 4, &Request::Info(topic("t"))));
    assert_eq!((found.first, found.next, found.retention.records), (Offset(0), Offset(10), 0));
    // The topic is deleted while the changes are in flight.
    node.hold();
    node.ask(client, 5, &Request::Delete(topic("t")));
    for (number, request) in (6..).zip(requests(topic("t"))) {
        assert!(node.ask(client, number, &request).is_empty());
    }
    let statuses: Vec<_> = node.commit().iter().map(super::sent::Sent::status).collect();
    assert_eq!(statuses, [Status::Ok, Status::UnknownTopic, Status::UnknownTopic, Status::UnknownTopic]);
}

#[test]
fn an_input_that_was_interrupted_is_continued_and_its_earlier_publisher_is_shut_out() {
    let (mut node, client, topic_id) = ten_records(Retention::default());
    let id = ProducerId::of_name("day.csv");
    let open = |node: &mut Harness, token, resume| {
        let opening = Opening { producer: id, token, resume };
        let sent = node.ask(client, 3, &Request::Producer { topic: topic("t"), opening });
        let opened = if let Response::Opened(opened) = sent[0].response() { Some(opened) } else { None };
        (sent[0].status(), opened)
    };
    let publish = |node: &mut Harness, epoch, sequence, count| {
        let producer = Some(Sequenced { producer: id, epoch, sequence });
        let request = Request::Publish(Publish { topic: topic("t"), producer, count });
        node.ask_with(client, 4, &request, &records(count, 10))[0].status()
    };
    let opened =
        |epoch, records| (Status::Ok, Some(OpenedProducer { topic_id, epoch, sequence: 1, records, forgotten: 0 }));
    assert_eq!(open(&mut node, 7, false), opened(1, 0));
    assert_eq!(publish(&mut node, 1, 1, 5), Status::Ok);
    assert_eq!(publish(&mut node, 1, 1, 5), Status::OkDuplicate);
    assert_eq!(publish(&mut node, 1, 2, 3), Status::Ok);
    assert_eq!(open(&mut node, 8, false), (Status::ProducerExists, None));
    assert_eq!(open(&mut node, 8, true), opened(2, 8));
    assert_eq!(publish(&mut node, 1, 3, 1), Status::ProducerFenced);
    assert_eq!(publish(&mut node, 3, 1, 1), Status::BadRequest);
    assert_eq!(publish(&mut node, 2, 0, 1), Status::SequenceReused);
    assert_eq!(publish(&mut node, 2, 1, 1), Status::Ok);
    assert_eq!(open(&mut node, 9, true), opened(3, 9));
    let found = state(node.answer_to(client, 5, &Request::Info(topic("t"))));
    assert_eq!(found.next, Offset(19), "opening stores nothing");
}
