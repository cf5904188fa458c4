//! Indexes and checkpoints are derived from the segments: when they are lost or damaged, a start rebuilds them.

use dht_node::entry::{Found, Wanted};
use dht_node::journal::{Disk, OpenError};
use dht_node::types::Offset;
use fastrand::Rng;

use crate::crafted::{long, names, read, write};
use crate::disk::FakeDisk;
use crate::formats::first_format;
use crate::model::{self, Live, SEGMENT, Seen, create, publish};

/// Starts on a damaged disk. Returns what a client can see, and a line for each file that was rebuilt.
fn mend(disk: &FakeDisk) -> Result<(Seen, Vec<String>), OpenError> {
    let (live, _, is_lossy, mended) = Live::start_mending(disk, false, SEGMENT)?;
    assert!(!is_lossy, "a loss was reported");
    Ok((live.read()?, mended))
}

/// Runs a journal with topics of all kinds, duplicates, restarts and cleaning. Returns its disk and what a client can
/// see in the end.
fn lived(seed: u64) -> (FakeDisk, Seen) {
    let mut rng = Rng::with_seed(seed);
    let (disk, mut serial) = (FakeDisk::default(), 0);
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    for _ in 0..rng.usize(20..120) {
        let entries = model::entries(&mut rng, &live.node, &mut serial);
        live.append(entries.into_iter().map(|entry| model::by_id(entry, &live.node)).collect()).unwrap();
        live.sync().unwrap();
        match rng.u8(..30) {
            0..4 => live.checkpoint().unwrap(),
            4 => (live, ..) = Live::start(&disk, false).unwrap(),
            5..8 => drop(live.clean(usize::MAX).unwrap()),
            _ => {}
        }
    }
    let seen = live.seen();
    (disk, seen)
}

#[test]
fn lost_indexes_and_the_newest_checkpoint_are_rebuilt_after_any_history_of_the_journal() {
    let (mut indexes, mut checkpoints) = (0, 0);
    for seed in 1..=400 {
        let (disk, expected) = lived(seed);
        let mut rng = Rng::with_seed(seed);
        let mut lost: Vec<String> = names(&disk, ".index").into_iter().filter(|_| rng.u8(..3) > 0).collect();
        let kept = names(&disk, ".checkpoint");
        if kept.len() == 2 && rng.bool() {
            lost.push(kept[1].clone());
            checkpoints += 1;
        }
        for name in &lost {
            match rng.bool() {
                true => disk.remove(name).unwrap(),
                false => {
                    let len = read(&disk, name).len();
                    disk.flip(name, rng.usize(..len * 8));
                }
            }
        }
        let (seen, mended) = mend(&disk).unwrap_or_else(|error| panic!("seed {seed}: {lost:?}: {error}"));
        assert!(seen == expected, "seed {seed}: {lost:?}, {mended:?}");
        indexes += mended.iter().filter(|line| line.contains(".index")).count();
        // Rebuilt indexes are on the disk, and the next checkpoint replaces a lost one: then nothing is rebuilt again.
        let (mut live, ..) = Live::start_mending(&disk, false, SEGMENT).unwrap();
        live.checkpoint().unwrap();
        let (live, ..) = Live::start(&disk, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(live.seen() == expected, "seed {seed}");
    }
    assert!(indexes > 200 && checkpoints > 50, "{indexes} indexes, {checkpoints} checkpoints");
}

/// The checksums of such an index are right, but it has fewer records than the segment has according to the checkpoint.
#[test]
fn an_index_from_before_the_checkpoint_is_rebuilt() {
    let disk = FakeDisk::default();
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    let mut old = Vec::new();
    for serial in 0..60 {
        let entries =
            if serial == 0 { vec![create("topic/0", 7)] } else { vec![publish("topic/0", &[7; 1500], serial)] };
        live.append(entries).unwrap();
        live.sync().unwrap();
        if serial == 10 {
            live.checkpoint().unwrap();
            old = read(&disk, "0000000001.index");
        }
    }
    live.checkpoint().unwrap();
    let expected = live.seen();
    assert!(live.segment() > 2, "the first segment is complete");
    drop(live);
    write(&disk, "0000000001.index", &old);
    let (seen, mended) = mend(&disk).unwrap();
    assert!(seen == expected && mended.len() == 1, "{mended:?}");
}

#[test]
fn an_index_with_any_damaged_byte_is_rebuilt() {
    let disk = FakeDisk::default();
    let expected = long(&disk, 4, true).seen();
    for name in names(&disk, ".index") {
        let sound = read(&disk, &name);
        for at in 0..sound.len() {
            let disk = disk.copy_after_crash(&mut Rng::with_seed(1));
            disk.flip(&name, at * 8 + at % 8);
            let (seen, _) = mend(&disk).unwrap_or_else(|error| panic!("byte {at} of {name}: {error}"));
            assert!(seen == expected, "byte {at} of {name}");
            assert!(read(&disk, &name) == sound, "byte {at} of {name} is right again");
        }
        for len in [0, 31, 32, sound.len() - 1] {
            let disk = disk.copy_after_crash(&mut Rng::with_seed(1));
            write(&disk, &name, &sound[..len]);
            assert!(mend(&disk).unwrap().0 == expected, "{len} bytes of {name}");
        }
    }
}

#[test]
fn a_complete_log_is_enough_without_any_derived_file() {
    let disk = FakeDisk::default();
    let expected = long(&disk, 5, true).seen();
    for name in [names(&disk, ".index"), names(&disk, ".checkpoint")].concat() {
        disk.remove(&name).unwrap();
    }
    assert!(mend(&disk).unwrap().0 == expected);
}

/// Returns a journal whose first segments were removed by a trim, and which has two checkpoints.
fn without_its_beginning() -> (FakeDisk, Seen) {
    let disk = FakeDisk::default();
    let mut live = long(&disk, 6, true);
    let topic = model::topic_id(&live.node, "topic/0").unwrap();
    live.append(vec![dht_node::entry::Entry::Trim { topic, first: Offset(30) }]).unwrap();
    live.sync().unwrap();
    live.checkpoint().unwrap();
    for serial in 0..3 {
        live.append(vec![publish("topic/0", &[9; 300], 1 << 40 | serial)]).unwrap();
        live.sync().unwrap();
        live.checkpoint().unwrap();
    }
    assert!(!names(&disk, ".log").contains(&"0000000001.log".to_owned()));
    let seen = live.seen();
    (disk, seen)
}

#[test]
fn a_damaged_checkpoint_is_replaced_by_the_one_before_and_a_start_without_both_is_refused() {
    let (disk, expected) = without_its_beginning();
    let [older, newest] = &names(&disk, ".checkpoint")[..] else { panic!("two are kept") };
    let bits = read(&disk, newest).len() * 8;
    for bit in (0..bits).step_by(bits / 200) {
        let disk = disk.copy_after_crash(&mut Rng::with_seed(1));
        disk.flip(newest, bit);
        let (seen, mended) = mend(&disk).unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        assert!(seen == expected && mended.len() <= 1, "bit {bit}: {mended:?}");
    }
    disk.flip(older, 300);
    disk.flip(newest, 300);
    let before = disk.files();
    let error = mend(&disk).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { file, .. } if file == newest), "{error}");
    assert_eq!(disk.files(), before, "nothing was changed");
    disk.remove(older).unwrap();
    disk.remove(newest).unwrap();
    assert!(matches!(mend(&disk), Err(OpenError::Damaged { .. })), "a log without its beginning needs a checkpoint");
}

/// The second of two checkpoints of the same state frees the segments that only the checkpoint before them needed.
#[test]
fn a_second_checkpoint_of_the_same_state_frees_space_and_each_of_the_two_is_enough() {
    let disk = FakeDisk::default();
    let mut live = long(&disk, 6, true);
    let topic = model::topic_id(&live.node, "topic/0").unwrap();
    live.append(vec![dht_node::entry::Entry::Trim { topic, first: Offset(30) }]).unwrap();
    live.sync().unwrap();
    let segments = || names(&disk, ".log").len();
    let before = segments();
    live.checkpoint().unwrap();
    assert_eq!(segments(), before);
    live.checkpoint().unwrap();
    assert!(segments() < before - 1, "{} of {before} segments", segments());
    let expected = live.seen();
    drop(live);
    let kept = names(&disk, ".checkpoint");
    assert_eq!(kept.len(), 2);
    for name in kept {
        let disk = disk.copy_after_crash(&mut Rng::with_seed(1));
        disk.flip(&name, 300);
        assert!(mend(&disk).unwrap().0 == expected, "{name}");
    }
}

#[test]
fn derived_files_of_format_1_are_rebuilt() {
    for folder in ["stopped", "killed"] {
        let expected = mend(&first_format(folder)).unwrap().0;
        let disk = first_format(folder);
        let derived = [names(&disk, ".index"), names(&disk, ".checkpoint")].concat();
        for name in &derived {
            let disk = first_format(folder);
            disk.remove(name).unwrap();
            // Only the records are compared: that program derived another producer state from the same entries.
            assert!(mend(&disk).unwrap().0.1 == expected.1, "{folder} without {name}");
        }
        derived[..derived.len() - 1].iter().for_each(|name| disk.remove(name).unwrap());
        assert!(mend(&disk).unwrap().0 == expected, "{folder} without any index");
    }
}

/// A reader that finds a damaged record gets the offset of the next record that can be read.
#[test]
fn the_next_readable_record_after_damaged_ones_is_known() {
    let disk = FakeDisk::default();
    let live = long(&disk, 4, true);
    let topic = model::topic_id(&live.node, "topic/0").unwrap();
    let all = Wanted::Records { from: Offset(0), max_bytes: u32::MAX, max_records: u32::MAX };
    let Found::Batches(batches) = live.find(topic, all).unwrap() else { panic!("records were asked for") };
    let bit = |batch: usize| (batches[batch].0.place.position as usize + 100) * 8;
    [3, 4, batches.len() - 1].into_iter().for_each(|batch| disk.flip("0000000001.log", bit(batch)));
    let wanted = |from: u64| Wanted::Records { from: Offset(from), max_bytes: 1, max_records: 1 };
    let last = batches.len() as u64 - 1;
    for (from, expected) in [(3, 5), (4, 5), (last, last + 1)] {
        assert!(matches!(live.find(topic, wanted(from)), Err(OpenError::Damaged { .. })), "{from}");
        assert_eq!(live.readable_from(topic, Offset(from)), Some(Offset(expected)), "{from}");
        assert!(live.find(topic, wanted(expected)).is_ok(), "{expected}");
    }
    // The same holds when a whole segment is missing.
    disk.remove("0000000002.log").unwrap();
    let error = live.find(topic, wanted(last + 1)).unwrap_err();
    assert_eq!(error.lost_file(), Some("0000000002.log"));
    let next = live.readable_from(topic, Offset(last + 1)).unwrap();
    let Ok(Found::Batches(found)) = live.find(topic, wanted(next.0)) else { panic!("{next:?} can be read") };
    assert_eq!((found[0].0.base, found[0].0.place.segment), (next, 3));
}
