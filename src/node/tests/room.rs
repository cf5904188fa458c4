//! What the log has no room for: it waits for the next segment, and is refused on a full disk.

use super::harness::{Harness, records, topic};
use crate::entry::{BodyLen, Entry, Room};
use crate::limits::{
    BODY_BYTES_MAX, PAYLOAD_MAX, SEGMENT_RESERVE, SEGMENT_RESERVE_CLOCK, SEGMENT_RESERVE_DELETES, SEGMENT_RESERVE_TRIMS,
};
use crate::node::Event;
use crate::types::{ConnId, Offset, Opening, ProducerId, Retention, SettingsChange, TopicName};
use crate::wire::request::Publish;
use crate::wire::{Request, Status};

const RETENTION: Retention = Retention { records: 0, bytes: 1 << 30, age_ms: 0 };

/// A node whose disk hangs, with a topic that has records, and a log that has this room.
fn node_with(room: Room) -> (Harness, ConnId) {
    let mut node = Harness::with_journal_and_memory(1 << 30);
    let client = node.client();
    node.create(client, "topic", RETENTION);
    node.publish(client, "topic", 9, 10);
    node.hold();
    node.handle(Event::Space { room });
    (node, client)
}

fn publish() -> Request<'static> {
    Request::Publish(Publish { topic: topic("topic"), producer: None, count: 1 })
}

fn alter(records: u64) -> Request<'static> {
    let change = SettingsChange { retention_records: Some(records), ..SettingsChange::default() };
    Request::Alter { topic: topic("topic"), change }
}

fn create(name: &str) -> Request<'_> {
    Request::Create { topic: TopicName::new(name).unwrap(), retention: RETENTION }
}

fn open_producer() -> Request<'static> {
    let opening = Opening { producer: ProducerId::new(7).unwrap(), token: 1, resume: false };
    Request::Producer { topic: topic("topic"), opening }
}

fn trim() -> Request<'static> {
    Request::Trim { topic: topic("topic"), first: Offset(3) }
}

fn delete() -> Request<'static> {
    Request::Delete(topic("topic"))
}

fn payload_of(request: &Request<'_>, len: usize) -> Vec<u8> {
    if matches!(request, Request::Publish(_)) { records(1, len) } else { Vec::new() }
}

#[test]
fn what_finds_no_room_waits_in_its_order_and_is_in_the_log_when_the_next_segment_is_ready() {
    let room = Room { bytes: u64::from(SEGMENT_RESERVE) + 3000, is_full: false, log_kept: 0 };
    let (mut node, client) = node_with(room);
    let requests = [publish(), publish(), publish(), delete(), publish()];
    for (id, request) in (2..).zip(&requests) {
        assert_eq!(node.ask_with(client, id, request, &payload_of(request, 1000)).len(), 0);
    }
    assert_eq!(node.held(), 2, "the third batch would take what is reserved, and nothing overtakes it");
    let indexes: Vec<u64> = node.held_bodies().iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [4, 5], "one after the other, behind the leader's first body, CREATE and the first batch");
    assert!(node.node.room().bytes >= u64::from(SEGMENT_RESERVE));
    node.handle(Event::Space { room: Room::UNLIMITED });
    assert_eq!(node.held(), 5);
    assert_eq!(node.held_bodies().len(), 3, "what has waited is one body");
    let answers: Vec<(u64, Status)> = node.commit().iter().map(|sent| (sent.id(), sent.status())).collect();
    let expected = [Status::Ok, Status::Ok, Status::Ok, Status::Ok, Status::UnknownTopic];
    assert_eq!(answers, (2..).zip(expected).collect::<Vec<_>>());
}

#[test]
fn before_the_next_segment_is_ready_each_kind_of_entry_leaves_room_for_those_that_make_more_space() {
    let kinds = [
        (publish(), SEGMENT_RESERVE),
        (create("new"), SEGMENT_RESERVE),
        (open_producer(), SEGMENT_RESERVE),
        (alter(5), SEGMENT_RESERVE_TRIMS),
        (trim(), SEGMENT_RESERVE_DELETES),
        (delete(), SEGMENT_RESERVE_CLOCK),
    ];
    for (request, reserve) in &kinds {
        let (mut node, client) = node_with(Room { bytes: 1 << 19, is_full: false, log_kept: 0 });
        node.fill(|node| {
            let mut before = 0;
            while node.held() > before || before == 0 {
                before = node.held();
                node.ask_oneway(client, request, &payload_of(request, 10));
            }
        });
        let left = node.node.room().bytes;
        let least = u64::from(*reserve);
        assert!((least..least + 256).contains(&left), "{left} bytes behind {request:?}");
        assert!(node.held() > 1000, "{} of {request:?}", node.held());
        // On a full disk, the one that waits is refused.
        assert_eq!(node.node.parts.groups.proposals(), node.held() + 1);
        node.handle(Event::Space { room: Room { bytes: left, is_full: true, log_kept: 0 } });
        assert_eq!(node.node.parts.groups.proposals(), node.held());
    }
}

#[test]
fn on_a_full_disk_what_makes_space_goes_on_among_what_is_refused() {
    let (mut node, client) = node_with(Room { bytes: 0, is_full: false, log_kept: 0 });
    let requests = [alter(4), delete(), alter(5), trim(), delete()];
    for (id, request) in (2..).zip(&requests) {
        assert_eq!(node.ask(client, id, request).len(), 0);
    }
    let room = Room { bytes: u64::from(SEGMENT_RESERVE_DELETES), is_full: true, log_kept: 0 };
    let refused: Vec<u64> = node.handle(Event::Space { room }).iter().map(super::sent::Sent::id).collect();
    assert_eq!(refused, [2, 4, 5]);
    assert_eq!(node.held(), 2);
    let answers: Vec<(u64, Status)> = node.commit().iter().map(|sent| (sent.id(), sent.status())).collect();
    assert_eq!(answers, [(3, Status::Ok), (6, Status::UnknownTopic)], "the topic was there when both were proposed");
}

#[test]
fn a_jump_of_the_clock_is_never_refused_and_waits_for_space() {
    let (mut node, client) = node_with(Room { bytes: 0, is_full: true, log_kept: 0 });
    node.now.wall_us += 1 << 40;
    node.pass(2 * crate::limits::CLOCK_JUMP_LASTS_US + crate::limits::TICK_US);
    assert_eq!((node.held(), node.node.parts.groups.proposals()), (0, 1));
    assert_eq!(node.ask(client, 2, &delete())[0].status(), Status::Quota, "what comes behind it finds no room either");
    node.handle(Event::Space { room: Room { bytes: 300, is_full: true, log_kept: 0 } });
    assert!(matches!(node.held_bodies()[..], [(_, [Entry::Reclock(_)])]));
}

#[test]
fn a_body_has_one_entry_or_at_most_so_many_bytes() {
    let (mut node, client) = node_with(Room { bytes: 0, is_full: false, log_kept: 0 });
    let largest = PAYLOAD_MAX as usize - 16;
    for (id, len) in (2..).zip([10, 10, BODY_BYTES_MAX / 2, BODY_BYTES_MAX / 2, 10, largest, 5000]) {
        assert_eq!(node.ask_with(client, id, &publish(), &payload_of(&publish(), len)).len(), 0);
    }
    node.handle(Event::Space { room: Room::UNLIMITED });
    let lens: Vec<usize> = node.held_bodies().iter().map(|(_, entries)| entries.len()).collect();
    assert_eq!(lens, [3, 2, 1, 1]);
    for (_, entries) in node.held_bodies() {
        assert!(BodyLen::of(entries).bytes() <= BODY_BYTES_MAX);
    }
}
