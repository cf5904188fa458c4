//! PUBLISH requests whose args are remembered: whatever has changed since, they are answered as if they were not.

use super::harness::{Harness, Section, names, records, topic};
use super::sent::Sent;
use crate::limits::REPEATS;
use crate::node::Event;
use crate::types::{ConnId, ProducerId, Retention, Sequenced, TopicId};
use crate::wire::request::{Publish, Topic};
use crate::wire::response::Published;
use crate::wire::{Kind, Request, Response, Status};

fn node_with_topic() -> (Harness, ConnId, TopicId) {
    let mut node = Harness::alone();
    let client = node.client();
    let id = node.create(client, "topic", Retention::default());
    (node, client, id)
}

fn answer(node: &mut Harness, client: ConnId, topic: Topic<'_>, count: u32, payload: &[u8]) -> Response {
    let request = Request::Publish(Publish { topic, producer: None, count });
    let mut sent = node.ask_with(client, 7, &request, payload);
    assert_eq!(sent.len(), 1);
    sent.remove(0).response()
}

fn publish(node: &mut Harness, client: ConnId, of: Topic<'_>) -> Result<(TopicId, u64), Status> {
    let response = answer(node, client, of, 1, &records(1, 10));
    if let Response::Published(Published { topic_id, base, .. }) = response {
        Ok((topic_id, base.0))
    } else {
        Err(Status::from_number(response.status()).unwrap())
    }
}

#[test]
fn a_topic_that_is_gone_or_made_again_is_noticed() {
    let (mut node, client, old) = node_with_topic();
    let by_id = Topic { id: Some(old), ..topic("topic") };
    for (base, of) in [(0, topic("topic")), (1, topic("topic")), (2, by_id), (3, by_id)] {
        assert_eq!(publish(&mut node, client, of), Ok((old, base)));
    }
    assert_eq!(node.node.parts.repeats.len(), 2, "both args are remembered");
    node.ask(client, 8, &Request::Delete(topic("topic")));
    for of in [topic("topic"), by_id] {
        assert_eq!([0; 2].map(|_| publish(&mut node, client, of)), [Err(Status::UnknownTopic); 2]);
    }
    let new = node.create(client, "topic", Retention::default());
    for base in 0..3 {
        assert_eq!(publish(&mut node, client, topic("topic")), Ok((new, base)));
        assert_eq!(publish(&mut node, client, by_id), Err(Status::Recreated), "it names the old one");
    }
}

#[test]
fn what_is_behind_a_creation_finds_what_that_leaves() {
    let (mut node, client, old) = node_with_topic();
    assert_eq!(publish(&mut node, client, topic("topic")), Ok((old, 0)));
    node.hold();
    node.ask(client, 2, &Request::Delete(topic("topic")));
    let create =
        Request::Create { topic: crate::types::TopicName::new("topic").unwrap(), retention: Retention::default() };
    node.ask(client, 3, &create);
    let request = Request::Publish(Publish { topic: topic("topic"), producer: None, count: 1 });
    node.ask_with(client, 4, &request, &records(1, 10));
    let answers = node.commit();
    let Response::Published(published) = answers[2].response() else { panic!("{answers:?}") };
    assert_ne!(published.topic_id, old);
}

#[test]
fn damage_and_wrong_records_are_noticed() {
    let (mut node, client, id) = node_with_topic();
    assert_eq!(publish(&mut node, client, topic("topic")), Ok((id, 0)));
    for section in [Section::Args, Section::Payload] {
        let result = node.damaged(section, |node| publish(node, client, topic("topic")));
        assert_eq!(result, Err(Status::CorruptFrame), "{section:?}");
    }
    let wrong = answer(&mut node, client, topic("topic"), 1, &records(2, 10));
    assert_eq!(wrong.status(), Status::MalformedRecords.number());
    assert_eq!(publish(&mut node, client, topic("topic")), Ok((id, 1)));
    assert_eq!(node.node.parts.ingress.admission().inflight(), 0);
}

#[test]
fn more_topics_than_are_remembered_are_told_apart() {
    let mut node = Harness::alone();
    let client = node.client();
    let names: Vec<String> = (0..2 * REPEATS).map(|number| format!("topic-{number}")).collect();
    node.fill(|node| {
        let ids: Vec<TopicId> = names.iter().map(|name| node.create(client, name, Retention::default())).collect();
        for base in 0..3 {
            for (name, id) in names.iter().zip(&ids) {
                assert_eq!(publish(node, client, topic(name)), Ok((*id, base)));
            }
        }
        assert!(node.node.parts.repeats.len() > REPEATS / 2);
    });
}

#[test]
fn a_node_that_ends_refuses_them() {
    let (mut node, client, _) = node_with_topic();
    publish(&mut node, client, topic("topic")).unwrap();
    node.handle(Event::Drain);
    assert_eq!(publish(&mut node, client, topic("topic")), Err(Status::ShuttingDown));
}

#[test]
fn they_are_remembered_over_links_at_the_ingress_and_at_the_home() {
    let mut node = Harness::linked(1);
    let client = node.client();
    let name = names(1, 1).next().unwrap();
    let request = Request::Publish(Publish { topic: topic(&name), producer: None, count: 1 });
    for id in 2..5 {
        let sent = node.ask_with(client, id, &request, &records(1, 10));
        let [onward] = &sent[..] else { panic!("{sent:?} is not one frame") };
        assert_eq!((onward.conn, onward.route().target.index()), (node.link(), 1));
        assert_eq!((onward.route().kind, onward.request()), (Kind::Group, request));
        assert_eq!(node.node.parts.repeats.len(), 1);
    }
    assert_eq!(node.node.parts.ingress.admission().inflight(), 3);

    let name = names(0, 1).next().unwrap();
    let request = Request::Publish(Publish { topic: topic(&name), producer: None, count: 1 });
    let publish = |node: &mut Harness| {
        let sent = node.node_asks(1, 7, &request, &records(1, 10));
        sent.iter().map(Sent::status).collect::<Vec<_>>()
    };
    node.create(client, &name, Retention::default());
    for _ in 0..3 {
        assert_eq!(publish(&mut node), [Status::Ok]);
        assert_eq!(node.node.parts.repeats.len(), 2);
    }
    for section in [Section::Args, Section::Payload] {
        assert_eq!(node.damaged(section, publish), [Status::CorruptFrame], "{section:?}");
    }
    node.ask(client, 8, &Request::Delete(topic(&name)));
    assert_eq!(publish(&mut node), [Status::UnknownTopic]);
}

#[test]
fn batches_of_a_producer_differ_by_their_sequence_only() {
    let (mut node, client, id) = node_with_topic();
    let publish = |node: &mut Harness, number: u64, epoch: u32, sequence: u64| {
        let producer = Some(Sequenced { producer: ProducerId::new(number).unwrap(), epoch, sequence });
        let request = Request::Publish(Publish { topic: topic("topic"), producer, count: 1 });
        let sent = node.ask_with(client, 7, &request, &records(1, 10));
        let [answer] = &sent[..] else { panic!("{sent:?} is not one answer") };
        if let Response::Published(Published { topic_id, base, duplicate, .. }) = answer.response() {
            assert_eq!(topic_id, id);
            Ok((base.0, duplicate))
        } else {
            Err(answer.status())
        }
    };
    for sequence in 0..4 {
        assert_eq!(publish(&mut node, 5, 0, sequence), Ok((sequence, false)));
        assert_eq!(node.node.parts.repeats.len(), 1);
    }
    assert_eq!(publish(&mut node, 5, 0, 2), Ok((2, true)));
    assert_eq!(publish(&mut node, 5, 0, 5), Err(Status::SequenceGap));
    let damaged = |node: &mut Harness| publish(node, 5, 0, 4);
    assert_eq!(node.damaged(Section::Args, damaged), Err(Status::CorruptFrame));
    assert_eq!(publish(&mut node, 5, 1, 0), Ok((4, false)), "another epoch");
    assert_eq!(publish(&mut node, 6, 0, 0), Ok((5, false)), "another producer");
    assert_eq!(publish(&mut node, 5, 0, 4), Err(Status::ProducerFenced));
    node.ask(client, 8, &Request::Delete(topic("topic")));
    assert_eq!(publish(&mut node, 6, 0, 1), Err(Status::UnknownTopic));
}
