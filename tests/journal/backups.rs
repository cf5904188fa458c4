//! Copies of a journal that lives on, and starts on them: whatever happens meanwhile, a copy is a state that there was.

use std::collections::BTreeMap;

use dht_node::journal::{Disk, OpenError, backup, inspect};
use dht_node::storage::Scratch;
use dht_node::types::Epoch;
use fastrand::Rng;

use crate::crafted::{long, names, read};
use crate::disk::FakeDisk;
use crate::model::{self, Live, SEGMENT, blank};

/// Records of all topics, by the index of the last entry.
type States = BTreeMap<u64, Vec<Vec<u8>>>;

fn note(states: &mut States, live: &Live) {
    states.insert(live.mark().index, live.seen().1);
}

/// A node lives for a while on what is there; its states.
fn live_on(live: &mut Live, states: &mut States, serial: &mut u64, rng: &mut Rng) {
    for _ in 0..rng.usize(1..40) {
        live.append(model::entries(rng, &live.node, serial)).unwrap();
        live.sync().unwrap();
        note(states, live);
        if rng.u8(..6) == 0 {
            live.checkpoint().unwrap();
        }
    }
}

/// Starts on a copy of the copy; the index of the last entry, and all records.
fn restore(target: &FakeDisk, rng: &mut Rng) -> Result<(u64, Vec<Vec<u8>>), OpenError> {
    let disk = target.copy_after_crash(rng);
    let (live, last, is_lossy, _) = Live::start_mending(&disk, false, SEGMENT)?;
    assert!(!is_lossy);
    let records = live.seen().1;
    drop(live);
    // From then on it is a journal like any other.
    assert!(!names(&disk, "").contains(&"backup".to_owned()));
    let (live, ..) = Live::start(&disk, false).unwrap();
    assert!(live.seen().1 == records);
    Ok((last.index, records))
}

#[test]
fn a_copy_is_a_state_that_there_was_and_has_everything_from_before_it_was_begun() {
    let mut kept = 0;
    for seed in 1..=150 {
        let mut rng = Rng::with_seed(seed);
        let (source, target, mut serial) = (FakeDisk::default(), FakeDisk::default(), 0);
        let mut states = States::new();
        let (mut live, ..) = Live::start(&source, false).unwrap();
        for round in 0..rng.usize(1..5) {
            live_on(&mut live, &mut states, &mut serial, &mut rng);
            if rng.u8(..4) == 0 {
                drop(live);
                (live, ..) = Live::start(&source, false).unwrap();
                note(&mut states, &live);
            }
            let before = live.mark().index;
            let copied = backup(&source, &target).unwrap();
            kept += copied.kept;
            assert_eq!(copied.damaged, [""; 0], "seed {seed}");
            let report = inspect(&target, false, || Scratch::new(blank())).unwrap().1;
            assert!(!report.loses_records() && report.entries == before, "seed {seed}, {round}: {report:?}");
            let (index, records) = restore(&target, &mut rng).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(index, before, "seed {seed}, {round}");
            assert!(records == states[&index], "seed {seed}, {round}");
        }
    }
    assert!(kept > 50, "{kept} segments were not copied again");
}

#[test]
fn readers_of_a_restored_topic_are_told() {
    let (source, target) = (FakeDisk::default(), FakeDisk::default());
    let live = long(&source, 3, true);
    backup(&source, &target).unwrap();
    assert_eq!(live.epoch("topic/0"), Epoch(1));
    let (live, ..) =
        Live::start_mending(&target, false, SEGMENT).map(|(live, last, is_lossy, _)| (live, last, is_lossy)).unwrap();
    let epoch = live.epoch("topic/0");
    assert!(epoch > Epoch(1000), "no epoch that the lost journal may have reached");
    drop(live);
    let (live, ..) = Live::start(&target, false).unwrap();
    assert_eq!(live.epoch("topic/0"), epoch, "once");
}

/// The machine stops in the middle of a copy: the one before it can be restored, or the new one; the next run ends it.
#[test]
fn a_copy_that_was_cut_off_leaves_the_one_before() {
    let (mut old, mut new) = (0, 0);
    for seed in 1..=300 {
        let mut rng = Rng::with_seed(seed);
        let (source, target, mut serial) = (FakeDisk::default(), FakeDisk::default(), 0);
        let mut states = States::new();
        let (mut live, ..) = Live::start(&source, false).unwrap();
        live_on(&mut live, &mut states, &mut serial, &mut rng);
        backup(&source, &target).unwrap();
        let first = live.mark().index;
        live_on(&mut live, &mut states, &mut serial, &mut rng);
        let second = live.mark().index;
        target.stop_after(rng.u64(..60));
        let is_done = backup(&source, &target).is_ok();
        target.crash(&mut rng);
        let (index, records) = restore(&target, &mut rng).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(index == second || index == first && !is_done, "seed {seed}: {index} is neither {first} nor {second}");
        assert!(records == states[&index], "seed {seed}");
        (old, new) = (old + u32::from(index == first), new + u32::from(index == second));
        backup(&source, &target).unwrap();
        assert_eq!(restore(&target, &mut rng).unwrap().0, second, "seed {seed}");
    }
    assert!(old > 50 && new > 50, "{old} old ones, {new} new ones");
}

/// The start that restores may stop: the next one does it again, and nobody misses a new epoch.
#[test]
fn a_restore_that_was_cut_off_is_done_again() {
    let mut stopped = 0;
    for seed in 1..=200 {
        let mut rng = Rng::with_seed(seed);
        let (source, target) = (FakeDisk::default(), FakeDisk::default());
        let expected = long(&source, 3, true).seen().1;
        backup(&source, &target).unwrap();
        target.stop_after(rng.u64(..60));
        stopped += u32::from(Live::start_mending(&target, false, SEGMENT).is_err());
        target.crash(&mut rng);
        let (live, ..) = Live::start_mending(&target, false, SEGMENT).unwrap_or_else(|error| panic!("{seed}: {error}"));
        assert!(live.seen().1 == expected, "seed {seed}");
        assert!(live.epoch("topic/0") > Epoch(1000), "seed {seed}");
    }
    assert!(stopped > 50, "{stopped} starts stopped");
}

#[test]
fn a_copy_is_checked_when_it_is_restored() {
    let (source, target) = (FakeDisk::default(), FakeDisk::default());
    drop(long(&source, 3, true));
    backup(&source, &target).unwrap();
    for name in [names(&target, ".log"), names(&target, ".checkpoint")].concat() {
        let disk = target.copy_after_crash(&mut Rng::with_seed(1));
        let len = read(&disk, &name).len();
        disk.flip(&name, (len - 9) * 8);
        let error = Live::start_mending(&disk, false, SEGMENT).map(|_| ()).unwrap_err();
        assert!(matches!(&error, OpenError::Damaged { file, .. } if *file == name), "{error}");
        disk.remove(&name).unwrap();
        assert!(Live::start_mending(&disk, false, SEGMENT).is_err(), "{name}");
    }
}

#[test]
fn a_folder_of_something_else_takes_no_copy() {
    let source = FakeDisk::default();
    drop(long(&source, 2, true));
    let other = FakeDisk::default();
    drop(long(&other, 2, false));
    let before = other.files();
    assert!(matches!(backup(&source, &other), Err(OpenError::Foreign { .. })), "another journal is no backup");
    assert_eq!(other.files(), before);
    assert!(matches!(backup(&FakeDisk::default(), &FakeDisk::default()), Err(OpenError::Foreign { .. })));
}
