//! Groups that are founded anew from a folder (`dht-node recover`).

use dht_node::entry::{Founding, MemberState, Stage};
use dht_node::journal::{OpenError, backup};
use dht_node::limits::RECOVERY_TERMS;
use dht_node::node::Node;
use dht_node::storage::{Anew, Plan, RecoverError, recover};
use dht_node::types::{Copies, SlotId, Slots};
use fastrand::Rng;

use crate::disk::FakeDisk;
use crate::members::{GROUPS, check_group, dimension, identity, start_on, state, write};
use crate::model;

/// The time of the recovery, and the same in seconds.
const AT_US: u64 = 1_700_000_000_000_000;
const SECOND: u32 = 1_700_000_000;

fn plan(slots: &[SlotId]) -> Plan {
    Plan { slots: slots.to_vec(), takes_incomplete: false, at_us: AT_US }
}

fn recover_on(disk: &FakeDisk, plan: &Plan) -> Result<Anew, RecoverError> {
    recover(disk, &identity(), plan, &mut model::sharing_node(1, dimension()))
}

/// Returns a folder of a member of three groups, their slots, and where their bodies are.
fn folder() -> (FakeDisk, Vec<SlotId>, crate::members::Places) {
    let disk = FakeDisk::default();
    let (node, mut started) = start_on(&disk, false).unwrap();
    let slots = node.slots();
    let places = write(&mut started, &slots);
    drop(started);
    disk.crash(&mut Rng::with_seed(1));
    (disk, slots, places)
}

/// Checks that the whole log of a group counts, that its epochs are new, and that its member knows no founding.
fn check_anew(node: &Node, found: MemberState, (slot, last): (SlotId, u64)) {
    let founding = Founding { number: SECOND, ..Founding::default() };
    let term = 5 + RECOVERY_TERMS;
    assert_eq!(found, MemberState { term, commit: last + 1, founding, ..MemberState::default() });
    assert_eq!((node.image(slot).applied.index, node.image(slot).applied.term), (last + 1, term));
    let epochs: Vec<u32> = node.topics_of(slot).iter().map(|topic| topic.epoch.0).collect();
    assert_eq!(epochs, vec![SECOND; usize::try_from(last).unwrap()]);
}

#[test]
fn the_whole_log_of_a_group_counts_and_the_others_are_unchanged() {
    let (disk, slots, places) = folder();
    let anew = recover_on(&disk, &plan(&slots[1..2])).unwrap();
    let [group] = anew.groups[..] else { panic!("{anew:?}") };
    assert_eq!((group.slot, group.bodies, group.unsettled), (slots[1], 40, 37));
    assert_eq!((anew.was_backup, anew.others), (false, vec![slots[0], slots[2]]));
    for round in 0..3 {
        disk.crash(&mut Rng::with_seed(round));
        let (node, started) = start_on(&disk, false).unwrap();
        check_anew(&node, started.groups[&slots[1]].state, (slots[1], GROUPS[1].0));
        for which in [0, 2] {
            check_group(&node, &started, (slots[which], GROUPS[which]), &places);
        }
    }
    assert!(matches!(recover_on(&disk, &plan(&slots[1..2])), Err(RecoverError::NotNeeded(slot)) if slot == slots[1]));
}

/// Wherever the recovery stops, a start finds each member as it was or as it is to be, or refuses the folder until the
/// recovery is repeated.
#[test]
fn a_recovery_may_be_interrupted_anywhere() {
    let (whole, slots, places) = folder();
    let all = || (0..3).map(|which| (slots[which], GROUPS[which]));
    let (mut before, mut refused, mut after) = (0, 0, 0);
    for changes in 0.. {
        let mut is_done = false;
        // What of the last write survives differs.
        for seed in 0..15 {
            let disk = whole.copy();
            disk.stop_after(changes);
            is_done = recover_on(&disk, &plan(&slots)).is_ok();
            disk.crash(&mut Rng::with_seed(seed));
            match start_on(&disk.copy(), false) {
                Ok((node, started)) => {
                    for (slot, of) in all() {
                        let state = started.groups[&slot].state;
                        if state.founding.is_known() {
                            check_group(&node, &started, (slot, of), &places);
                            before += 1;
                        } else {
                            check_anew(&node, state, (slot, of.0));
                            after += 1;
                        }
                    }
                }
                Err(OpenError::HalfRecovered) => refused += 1,
                Err(error) => panic!("after {changes} changes: {error}"),
            }
            // Those that were recovered need no second recovery.
            for (slot, _) in all() {
                match recover_on(&disk, &plan(&[slot])) {
                    Ok(_) | Err(RecoverError::NotNeeded(_)) => {}
                    Err(error) => panic!("after {changes} changes: {error}"),
                }
            }
            let (node, started) = start_on(&disk, false).unwrap();
            for (slot, (last, _)) in all() {
                assert!(!started.groups[&slot].state.founding.is_known());
                assert!(node.image(slot).applied.index > last);
            }
        }
        if is_done {
            break;
        }
    }
    assert!(before > 0 && refused > 0 && after > 0, "{before} as before, {refused} refused, {after} recovered");
}

#[test]
fn a_group_is_recovered_only_where_that_is_needed_and_possible() {
    let (disk, slots, _) = folder();
    let one = dht_node::journal::Identity { copies: Copies::One, ..identity() };
    let refused = recover(&disk, &one, &plan(&slots[..1]), &mut model::sharing_node(1, dimension()));
    assert!(matches!(refused, Err(RecoverError::OneCopy)), "{refused:?}");
    let other = (0..4).map(|slot| SlotId::new(slot, Slots::MOST).unwrap()).find(|slot| !slots.contains(slot)).unwrap();
    assert!(matches!(recover_on(&disk, &plan(&[other])), Err(RecoverError::NotKept(_))));
    let empty = FakeDisk::default();
    drop(start_on(&empty, false).unwrap());
    assert!(matches!(recover_on(&empty, &plan(&slots[..1])), Err(RecoverError::NoCopy(_))));
    let (_, mut started) = start_on(&disk, false).unwrap();
    started.writer.promise(slots[0], MemberState { stage: Stage::Recovering, ..state(5, 30) }).unwrap();
    started.writer.sync().unwrap();
    drop(started);
    assert!(matches!(recover_on(&disk, &plan(&slots[..1])), Err(RecoverError::Incomplete(_))));
    let anew = recover_on(&disk, &Plan { takes_incomplete: true, ..plan(&slots[..1]) }).unwrap();
    assert!(anew.groups[0].is_incomplete);
}

/// A backup lacks what its member has promised since, so a start refuses it, and a recovery drops the copies of the
/// groups that are not recovered from it.
#[test]
fn a_backup_keeps_only_the_groups_that_are_recovered_from_it() {
    let (disk, slots, _) = folder();
    let copy = FakeDisk::default();
    backup(&disk, &copy).unwrap();
    let error = start_on(&copy, false).unwrap_err();
    assert!(matches!(error, OpenError::SharedBackup), "{error}");
    for changes in (0..).step_by(3) {
        let disk = copy.copy();
        disk.stop_after(changes);
        let is_done = recover_on(&disk, &plan(&slots[1..2])).is_ok();
        disk.crash(&mut Rng::with_seed(changes));
        if !is_done && matches!(start_on(&disk, false), Err(OpenError::SharedBackup)) {
            let anew = recover_on(&disk, &plan(&slots[1..2])).unwrap();
            assert_eq!((anew.was_backup, anew.others), (true, vec![slots[0], slots[2]]));
        }
        for _ in 0..2 {
            let (node, started) = start_on(&disk, false).unwrap();
            check_anew(&node, started.groups[&slots[1]].state, (slots[1], GROUPS[1].0));
            for which in [0, 2] {
                let founding = Founding { number: 1, ..Founding::default() };
                let expected = MemberState { founding, ..MemberState::default() };
                assert_eq!(started.groups[&slots[which]].state, expected);
                assert_eq!((node.topics_of(slots[which]).len(), node.image(slots[which]).applied.index), (0, 0));
            }
        }
        if is_done {
            break;
        }
    }
}
