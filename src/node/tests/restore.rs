//! Entries that are replayed at a start, also behind entries that are lost.

use std::collections::BTreeSet;

use super::harness::{Harness, SLOT, key, records, topic};
use crate::entry::{Batch, Entry, Note, Place, TopicRef};
use crate::limits::{CLOCK_JUMP_LASTS_US, TICK_US};
use crate::types::{
    Epoch, Offset, Opening, ProducerId, Retention, Sequenced, SettingsChange, TopicId, TopicName, crc32,
};
use crate::wire::Request;
use crate::wire::request::Publish;

const KEEPS_ALL: Retention = Retention { records: 0, bytes: 0, age_ms: 0 };

fn producer(number: u64) -> ProducerId {
    ProducerId::new(number).unwrap()
}

#[test]
fn entries_that_are_replayed_have_the_same_effect_as_when_they_were_applied() {
    let mut node = Harness::with_journal_and_memory(1 << 20);
    let client = node.client();
    node.hold();
    let create = |name| Request::Create { topic: TopicName::new(name).unwrap(), retention: KEEPS_ALL };
    let publish = |name, producer| Request::Publish(Publish { topic: topic(name), producer, count: 3 });
    let sequenced = Some(Sequenced { producer: producer(1), epoch: 0, sequence: 0 });
    let change = SettingsChange { retention_records: Some(5), ..SettingsChange::default() };
    let requests = [
        create("kept"),
        create("altered"),
        create("deleted"),
        publish("kept", None),
        publish("kept", sequenced),
        publish("kept", sequenced),
        publish("altered", None),
        publish("altered", None),
        Request::Alter { topic: topic("altered"), change },
        Request::Delete(topic("deleted")),
        Request::Producer { topic: topic("kept"), opening: Opening { producer: producer(2), token: 7, resume: false } },
    ];
    let mut entries = Vec::new();
    for (id, request) in (1..).zip(&requests) {
        let payload = if let Request::Publish(_) = request { records(3, 10) } else { Vec::new() };
        assert_eq!(node.ask_with(client, id, request, &payload).len(), 0, "it waits for the disk");
    }
    let mut commit = |node: &mut Harness| {
        entries.append(&mut node.held_entries());
        node.commit();
    };
    commit(&mut node);
    node.ask(client, 20, &Request::Trim { topic: topic("kept"), first: Offset(2) });
    commit(&mut node);
    node.now.wall_us += 1 << 40;
    node.pass(2 * CLOCK_JUMP_LASTS_US + TICK_US);
    commit(&mut node);
    assert!(entries.iter().any(|entry| matches!(entry, Entry::Reclock(_))), "the jump of the clock was recorded");
    // Without any of them, except for one of two duplicates, the state would be another.
    let replayed = |entries: Vec<Entry>| {
        let mut other = Harness::with_journal_and_memory(1 << 20);
        other.node.replay(SLOT, entries);
        other.node.check();
        other.node
    };
    let image = node.node.image(SLOT).topics;
    for left_out in 0..entries.len() {
        let mut others = entries.clone();
        others.remove(left_out);
        let is_numbered = matches!(&entries[left_out], Entry::Publish(batch) if batch.producer.is_some());
        let is_duplicate = is_numbered && others.contains(&entries[left_out]);
        assert_eq!(replayed(others).image(SLOT).topics == image, is_duplicate, "{:?}", entries[left_out]);
    }
    let again = replayed(entries);
    assert_eq!(again.image(SLOT).topics, image);
    let names: Vec<Option<&str>> = again.topics().into_iter().map(|id| again.name_of(id)).collect();
    assert_eq!(names, [Some("kept"), Some("altered")]);
    assert_eq!(again.kept(again.topics()[0]), Some((Offset(2), Offset(6))));
    assert_eq!(again.kept(again.topics()[1]), Some((Offset(1), Offset(6))));
}

#[test]
fn the_journal_is_told_of_records_that_are_removed_and_of_nothing_else() {
    let mut node = Harness::with_journal().node;
    let id = TopicId::made(7, 0);
    let payload = bytes::Bytes::from(records(3, 10));
    let batch = Batch {
        topic: TopicRef::Id(id),
        producer: None,
        count: 3,
        payload_crc: crc32(&payload),
        append_us: 1,
        payload,
        place: Place { segment: 1, position: 8 },
    };
    let change = |records| SettingsChange { retention_records: Some(records), ..SettingsChange::default() };
    let alter = |records| Entry::Alter { topic: TopicRef::Id(id), change: change(records) };
    let trim = |first| Entry::Trim { topic: id, first: Offset(first) };
    let trimmed = |first| Note::Trimmed { topic: key(id), first: Offset(first) };
    node.replay(
        SLOT,
        vec![
            Entry::Create { name: "t".into(), seed: 7, epoch: Epoch(1), retention: KEEPS_ALL, created_us: 0 },
            Entry::Publish(batch),
        ],
    );
    let cases = [
        (trim(0), vec![]),
        (alter(3), vec![]),
        (alter(2), vec![trimmed(1)]),
        (trim(1), vec![]),
        (trim(2), vec![trimmed(2)]),
        (Entry::Delete { topic: TopicRef::Id(id) }, vec![Note::Deleted { topic: key(id) }]),
    ];
    for (entry, expected) in cases {
        assert_eq!(node.replay(SLOT, vec![entry.clone()]), expected, "{entry:?}");
    }
}

#[test]
fn behind_a_loss_each_batch_is_stored_once_although_those_before_it_are_missing() {
    /// The producers and sequences of batches of one topic, and whether each is stored.
    type Case = (&'static [(u64, u64)], &'static [bool]);
    let cases: [Case; 7] = [
        (&[(1, 0), (1, 1)], &[true, true]),
        (&[(1, 0), (1, 0)], &[true, false]),
        (&[(1, 1)], &[true]),
        (&[(1, 5), (1, 5), (2, 5)], &[true, false, true]),
        (&[(1, 0), (1, 4), (1, 4), (1, 1)], &[true, true, false, true]),
        (&[(1, 3), (1, 0), (1, 3), (1, 1)], &[true, true, false, true]),
        (&[(1, 0), (2, 7), (2, 8), (1, 1), (1, 1)], &[true, true, true, true, false]),
    ];
    for (batches, expected) in cases {
        let mut node = Harness::with_journal().node;
        let create = Entry::Create { name: "t".into(), seed: 7, epoch: Epoch(1), retention: KEEPS_ALL, created_us: 0 };
        let payload = bytes::Bytes::from(records(1, 10));
        let publish = |(number, sequence): &(u64, u64)| {
            Entry::Publish(Batch {
                topic: TopicRef::Name("t".into()),
                producer: Some(Sequenced { producer: producer(*number), epoch: 0, sequence: *sequence }),
                count: 1,
                payload_crc: crc32(&payload),
                append_us: 1,
                payload: payload.clone(),
                place: Place { segment: 1, position: 0 },
            })
        };
        let entries = std::iter::once(create).chain(batches.iter().map(publish)).collect();
        let mut stored = BTreeSet::new();
        let notes = node.replay_behind_loss(SLOT, entries, &mut stored);
        let is_stored: Vec<bool> = notes.iter().map(|note| matches!(note, Note::Stored(_))).collect();
        assert_eq!(is_stored, expected, "{batches:?}");
        node.check();
    }
}
