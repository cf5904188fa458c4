//! A node with several groups: its topics are divided among them, and they share its memory and its log.

use std::collections::BTreeSet;

use super::harness::{Harness, records, topic};
use super::sent::only;
use crate::cube;
use crate::entry::Room;
use crate::node::Event;
use crate::types::{ConnId, Retention, SlotId, Slots, TopicName};
use crate::wire::request::{ANY_NODE, List, Publish};
use crate::wire::response::{Durability, Page};
use crate::wire::{Opcode, Request, Response, Status};

fn slot(name: &str) -> SlotId {
    cube::slot(TopicName::new(name).unwrap(), Slots::new(2).unwrap())
}

/// Returns the names of so many topics of each group.
fn names(each: usize) -> Vec<String> {
    let all = Slots::new(2).unwrap().all();
    let of_slot = |of: SlotId| (0..).map(|number| format!("t{number}")).filter(move |name| slot(name) == of).take(each);
    all.flat_map(of_slot).collect()
}

fn page(node: &mut Harness, client: ConnId, max: u16, cursor: u64) -> Page {
    let request = Request::List(List { node: ANY_NODE, max, cursor, prefix: "t" });
    let Response::Listed(page) = node.answer_to(client, 2, &request) else { panic!("no page") };
    page
}

/// Publishes a record of 1000 bytes. Returns the status of the answer.
fn publish(node: &mut Harness, client: ConnId, name: &str) -> Status {
    let request = Request::Publish(Publish { topic: topic(name), producer: None, count: 1 });
    only(&node.ask_with(client, 1, &request, &records(1, 1000)), Opcode::Publish)[0].status()
}

#[test]
fn pages_have_the_topics_of_all_groups_once() {
    let mut node = Harness::with_four_groups(Durability::Memory, u64::MAX);
    let client = node.client();
    let names = names(7);
    for name in &names[..27] {
        node.create(client, name, Retention::default());
    }
    // Pages that end where a group ends, in the middle of one, and behind several groups.
    for max in [1, 7, 14, 9, 27, 0] {
        let (mut listed, mut cursor) = (Vec::new(), 0);
        loop {
            let page = page(&mut node, client, max, cursor);
            assert!(max == 0 || page.topics.len() <= usize::from(max));
            assert!(page.cursor == 0 || page.topics.len() == usize::from(max), "only the last page is shorter");
            listed.extend(page.topics.into_iter().map(|topic| topic.name));
            cursor = page.cursor;
            if cursor == 0 {
                break;
            }
        }
        let all: BTreeSet<&String> = listed.iter().collect();
        assert_eq!((listed.len(), all), (27, names[..27].iter().collect()), "pages of {max}");
    }
    assert_eq!(page(&mut node, client, 0, u64::MAX).topics, [], "a cursor of another node");
}

#[test]
fn groups_share_the_memory_of_their_node() {
    const MEMORY: u64 = 64 << 10;
    for durability in [Durability::Memory, Durability::Synced] {
        let mut node = Harness::with_four_groups(durability, MEMORY);
        let client = node.client();
        let names = names(1);
        names.iter().for_each(|name| _ = node.create(client, name, Retention::default()));
        let mut taken = Vec::new();
        for name in &names {
            let count = (0..80).filter(|_| publish(&mut node, client, name) == Status::Ok).count();
            assert!(node.node.budget.used().memory <= MEMORY);
            taken.push(count);
        }
        if durability == Durability::Memory {
            assert!((40..80).contains(&taken[0]) && taken[1..] == [0; 3], "the first group has used it up: {taken:?}");
        } else {
            // Records leave the memory: those of the group that has most go first, whichever group needs the memory.
            let evictable: Vec<u64> = node.node.parts.groups.iter().map(|group| group.usage().evictable).collect();
            assert!(taken == [80; 4] && evictable.iter().all(|bytes| *bytes < MEMORY / 2), "{taken:?}, {evictable:?}");
        }
    }
}

#[test]
fn groups_share_the_room_in_the_log_and_a_full_disk_refuses_for_all_of_them() {
    let mut node = Harness::with_four_groups(Durability::Synced, u64::MAX);
    let client = node.client();
    let names = names(1);
    names.iter().for_each(|name| _ = node.create(client, name, Retention::default()));
    node.handle(Event::Space { room: Room { bytes: 1 << 20, is_full: false, log_kept: 0 } });
    let mut left = node.node.room().bytes;
    for name in &names {
        assert_eq!(publish(&mut node, client, name), Status::Ok);
        let room = node.node.room().bytes;
        assert!((1000..1200).contains(&(left - room)), "{left} and then {room}");
        left = room;
    }
    node.handle(Event::Space { room: Room { bytes: left, is_full: true, log_kept: 0 } });
    for name in &names {
        assert_eq!(publish(&mut node, client, name), Status::Quota);
    }
}
