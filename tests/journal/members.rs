//! The start of a node whose groups have other members: bodies that are not known to be committed are not applied, and
//! the node gets them with their places.

use std::collections::BTreeMap;

use dht_node::entry::{self, Body, Founding, LogQuery, MemberState, Place, Stage};
use dht_node::journal::{Identity, NoRoom, OpenError, repair};
use dht_node::node::Node;
use dht_node::storage::{Scratch, Started, start};
use dht_node::types::{Copies, Dimension, NodeId, SlotId};
use fastrand::Rng;

use crate::disk::FakeDisk;
use crate::groups::fetch;
use crate::model::{self, create};

const SEGMENT: u32 = 4 << 10;

/// Number of bodies in the log of each group, and how many of them its member knows to be committed.
pub(crate) const GROUPS: [(u64, u64); 3] = [(30, 30), (40, 3), (20, 11)];

pub(crate) fn dimension() -> Dimension {
    Dimension::new(2).unwrap()
}

pub(crate) fn identity() -> Identity {
    let node = NodeId::new(1, dimension()).unwrap();
    Identity { cluster: "dht".to_owned(), dimension: dimension(), node, copies: Copies::Three }
}

/// Starts a node that is a member of three groups.
pub(crate) fn start_on(disk: &FakeDisk, is_lazy: bool) -> Result<(Node, Started<FakeDisk>), OpenError> {
    let mut node = model::sharing_node(1, dimension());
    let started = start(disk, &identity(), is_lazy, SEGMENT, &mut node)?;
    started.keeper.check();
    Ok((node, started))
}

fn body(slot: SlotId, index: u64, term: u32) -> Body {
    let mut bytes = Vec::new();
    entry::encode(&mut [create(&format!("topic/{index}"), index << 32)], &mut bytes);
    Body { slot, index, term, bytes: bytes.into() }
}

/// Returns the state of a member of a group that was founded.
pub(crate) fn state(term: u32, commit: u64) -> MemberState {
    let founding = Founding { number: 1, disks: [7, 8, 9], last: 0 };
    MemberState { term, vote: 3, commit, stage: Stage::Full, founding }
}

/// Where the bodies of the groups are, by their indexes.
pub(crate) type Places = BTreeMap<(SlotId, u64), Place>;

/// Writes the logs of the groups, with what their members have promised, one body of each group at a time. Those that
/// are not committed were first written in an earlier term.
pub(crate) fn write(started: &mut Started<FakeDisk>, slots: &[SlotId]) -> Places {
    let mut places = BTreeMap::new();
    let mut append = |started: &mut Started<FakeDisk>, body: &Body| {
        let place = loop {
            match started.writer.append(body) {
                Ok(place) => break place,
                Err(NoRoom) => {
                    let next = started.keeper.prepare(started.writer.mark().place.segment + 1, SEGMENT).unwrap();
                    started.writer.turn_to(next).unwrap();
                }
            }
        };
        started.keeper.note(body.written(place).note().as_slice());
        places.insert((body.slot, body.index), place);
    };
    for (slot, (_, commit)) in slots.iter().zip(GROUPS) {
        started.writer.promise(*slot, state(5, commit)).unwrap();
    }
    for term in [4, 5] {
        for index in 1..=40 {
            for (slot, (last, commit)) in slots.iter().zip(GROUPS) {
                if index <= last && (term == 4 || index > commit) {
                    append(started, &body(*slot, index, term));
                }
            }
        }
    }
    started.writer.sync().unwrap();
    places
}

/// Checks that a node has applied what is committed, and has the rest of each log.
fn check(node: &Node, started: &Started<FakeDisk>, slots: &[SlotId], places: &Places) {
    slots.iter().zip(GROUPS).for_each(|(slot, of)| check_group(node, started, (*slot, of), places));
}

/// Checks the same for one group, with so many bodies, of which so many are committed.
pub(crate) fn check_group(
    node: &Node,
    started: &Started<FakeDisk>,
    (slot, (last, commit)): (SlotId, (u64, u64)),
    places: &Places,
) {
    let image = node.image(slot);
    assert_eq!((image.applied.index, image.applied.term), (commit, 4), "{slot:?}");
    assert_eq!(image.open, (commit < last).then(|| places[&(slot, commit + 1)]), "{slot:?}");
    assert_eq!(started.groups[&slot].state, state(5, commit));
    assert_eq!(node.topics_of(slot).len() as u64, commit, "{slot:?}");
}

#[test]
fn a_start_applies_what_is_committed_and_passes_on_the_rest() {
    let disk = FakeDisk::default();
    let (node, mut started) = start_on(&disk, false).unwrap();
    let slots = node.slots();
    assert_eq!(slots.len(), GROUPS.len());
    let places = write(&mut started, &slots);
    assert!(places.values().any(|place| place.segment > 3), "the log has several segments");
    for round in 0..4 {
        disk.crash(&mut Rng::with_seed(round));
        let (node, mut started) = start_on(&disk, false).unwrap();
        check(&node, &started, &slots, &places);
        // Segments whose bodies are all applied are not needed, but others are.
        let mark = started.writer.mark();
        started.keeper.sync_log(mark).unwrap();
        started.keeper.set_log_keep(0);
        started.keeper.checkpoint(mark, &node.images()).unwrap();
        let query = LogQuery { slot: slots[1], index: 4, last: 40, bytes_max: usize::MAX };
        let bodies = fetch(&mut started.keeper, query).unwrap().bodies;
        assert!(bodies.iter().eq(&(5..=40).map(|index| body(slots[1], index, 5)).collect::<Vec<_>>()));
    }
    let first = places[&(slots[1], 4)].segment;
    let is_there = |number: u32| disk.files().iter().any(|(name, _)| *name == format!("{number:010}.log"));
    assert!((1..first).all(|number| !is_there(number)) && (first..first + 3).all(is_there), "from {first} on");
}

/// Others rely on what a member has acknowledged, so it must not continue without some of that.
#[test]
fn a_member_that_lacks_what_it_has_acknowledged_does_not_start() {
    for (state, is_sound) in [(state(5, 1), true), (state(5, 2), false), (state(3, 1), false)] {
        let disk = FakeDisk::default();
        let (node, mut started) = start_on(&disk, false).unwrap();
        let slot = node.slots()[0];
        started.writer.promise(slot, state).unwrap();
        started.writer.append(&body(slot, 1, 4)).unwrap();
        started.writer.sync().unwrap();
        drop(started);
        match start_on(&disk, false) {
            Ok(_) => assert!(is_sound, "{state:?}"),
            Err(error @ OpenError::Superseded { .. }) => {
                assert!(!is_sound && error.to_string().contains("start with an empty one"), "{state:?}: {error}");
            }
            Err(error) => panic!("{state:?}: {error}"),
        }
    }
}

/// Entries in the log need not be committed, and entries that are lost may have been acknowledged. Only the other nodes
/// can tell.
#[test]
fn a_damaged_folder_of_a_member_of_several_is_not_repaired() {
    let disk = FakeDisk::default();
    let (node, mut started) = start_on(&disk, false).unwrap();
    let places = write(&mut started, &node.slots());
    drop(started);
    let scratch = || Scratch::new(model::sharing_node(1, dimension()));
    let sound = repair(&disk, &FakeDisk::default(), (true, 1), &mut scratch()).unwrap();
    assert!(!sound.is_done, "there is nothing to repair");
    let first = places.values().min().unwrap();
    disk.flip(&format!("{:010}.log", first.segment), (first.position as usize + 4) * 8);
    let before = disk.files();
    let error = repair(&disk, &FakeDisk::default(), (true, 1), &mut scratch()).unwrap_err();
    assert!(matches!(error, OpenError::Superseded { .. }), "{error}");
    assert_eq!(disk.files(), before, "nothing was changed");
}

/// A group that has had one member so far has committed everything in its log. If entries may be missing at its end,
/// the epochs of all topics are raised, so that readers notice.
#[test]
fn the_log_of_a_single_member_is_committed() {
    let disk = FakeDisk::default();
    let mut alone = model::node(1, dimension(), u64::MAX);
    let mut started = start(&disk, &identity(), true, SEGMENT, &mut alone).unwrap();
    let slot = alone.slots()[0];
    started.writer.append(&body(slot, 1, 1)).unwrap();
    started.writer.sync().unwrap();
    drop(started);
    let (node, started) = start_on(&disk, false).unwrap();
    assert_eq!((started.is_lossy, node.image(slot).applied.index), (true, 2), "epochs were raised");
    let others = node.slots().into_iter().filter(|other| *other != slot);
    others
        .for_each(|other| assert_eq!(started.groups[&other].state, MemberState::default(), "it has nothing of these"));
}
