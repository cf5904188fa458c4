//! Cleaning copies the live records out of segments that are mostly dead and removes those segments. Nothing is lost
//! when the process crashes, or records are trimmed or damaged, while it runs.

use std::collections::BTreeSet;
use std::io;

use dht_node::entry::{Entry, Found, LogQuery, TopicRef, Wanted};
use dht_node::journal::OpenError;
use dht_node::types::{Offset, TopicId};
use fastrand::Rng;

use crate::disk::FakeDisk;
use crate::groups::fetch;
use crate::model::{Live, SEGMENT, SLOT, create, publish, topic_id};

/// How many segments the journal of each test fills.
const SEGMENTS: u32 = 12;

const TOPICS: [&str; 2] = ["topic/0", "topic/1"];

/// The size of a record's value in bytes.
const RECORD: usize = 700;

/// Returns a journal in which `topic/0` has every tenth record and `topic/1` the others, so that both have records in
/// every segment.
fn mixed(disk: &FakeDisk) -> Live {
    let (mut live, ..) = Live::start(disk, false).unwrap();
    fill(&mut live, TOPICS, SEGMENTS);
    live
}

/// Creates two topics and fills this many segments. Every tenth record belongs to the first topic.
pub(crate) fn fill(live: &mut Live, topics: [&str; 2], segments: u32) {
    commit(live, vec![create(topics[0], 7), create(topics[1], 9)]);
    let last = live.segment() - 1 + segments;
    for serial in 0.. {
        let before = live.segment();
        let name = if serial % 10 == 0 { topics[0] } else { topics[1] };
        let value = vec![u8::try_from(serial % 251).unwrap(); RECORD];
        commit(live, vec![publish(name, &value, serial)]);
        if live.segment() > before {
            live.checkpoint().unwrap();
        }
        if live.segment() > last {
            return;
        }
    }
}

pub(crate) fn commit(live: &mut Live, entries: Vec<Entry>) {
    live.append(entries).unwrap();
    live.sync().unwrap();
}

pub(crate) fn delete(live: &mut Live, name: &str) {
    let topic = TopicRef::Id(topic_id(&live.node, name).unwrap());
    commit(live, vec![Entry::Delete { topic }]);
}

fn names(disk: &FakeDisk, end: &str) -> BTreeSet<String> {
    disk.files().into_iter().map(|(name, _)| name).filter(|name| name.ends_with(end)).collect()
}

/// Cleans until no segment needs it. Returns how many segments were cleaned.
pub(crate) fn clean_all(live: &mut Live) -> io::Result<usize> {
    let mut cleaned = 0;
    while let Some(victims) = live.clean(usize::MAX)? {
        cleaned += victims.segments;
    }
    Ok(cleaned)
}

/// Makes two checkpoints: a dead segment is removed once neither of the two newest checkpoints needs it.
pub(crate) fn free(live: &mut Live) -> io::Result<()> {
    live.checkpoint()?;
    live.checkpoint()
}

/// Returns a journal from which `topic/1` was deleted, and in which the remaining records are in copies.
pub(crate) fn cleaned(disk: &FakeDisk) -> Live {
    let mut live = mixed(disk);
    delete(&mut live, "topic/1");
    live.checkpoint().unwrap();
    clean_all(&mut live).unwrap();
    free(&mut live).unwrap();
    live
}

/// Reads one record.
fn read(live: &Live, topic: TopicId, from: u64) -> Result<Found, OpenError> {
    live.find(topic, Wanted::Records { from: Offset(from), max_bytes: 1, max_records: 1 })
}

#[test]
fn a_topic_with_a_few_records_in_every_segment_does_not_prevent_their_removal() {
    let disk = FakeDisk::default();
    let mut live = mixed(&disk);
    delete(&mut live, "topic/1");
    free(&mut live).unwrap();
    let (before, seen) = (disk.used(), live.seen());
    assert!(names(&disk, ".log").len() >= SEGMENTS as usize, "every segment has live records");
    let cleaned = clean_all(&mut live).unwrap();
    assert!(cleaned > SEGMENTS as usize - 3, "{cleaned}");
    assert!(live.seen() == seen, "the live records are unchanged");
    free(&mut live).unwrap();
    assert!(live.seen() == seen);
    // What remains: the current segment, the spare one, the one with the checkpoint, and copies of a tenth of the
    // others.
    assert!(disk.used() < before / 2, "{} of {before} bytes", disk.used());
    for crash in 0..20 {
        let disk = disk.copy_after_crash(&mut Rng::with_seed(crash));
        let (live, ..) = Live::start(&disk, false).unwrap();
        assert!(live.seen() == seen, "after crash {crash}");
    }
    // Copies are segments like others: once all of their records are deleted, they are removed too.
    delete(&mut live, "topic/0");
    free(&mut live).unwrap();
    assert!(names(&disk, ".log").iter().all(|name| name.as_str() < "2147483648"), "copies are dead as well");
}

#[test]
fn a_crash_at_any_step_of_cleaning_loses_nothing() {
    for serial in 0.. {
        let disk = FakeDisk::default();
        let mut live = mixed(&disk);
        delete(&mut live, "topic/1");
        live.checkpoint().unwrap();
        let seen = live.seen();
        disk.stop_after(serial);
        let end = clean_all(&mut live).and_then(|_| free(&mut live));
        let has_stopped = disk.has_stopped();
        assert!(end.is_ok() || has_stopped, "{end:?}");
        drop(live);
        for crash in 0..3 {
            let disk = disk.copy_after_crash(&mut Rng::with_seed(serial * 3 + crash));
            let (mut live, ..) = Live::start(&disk, false).unwrap_or_else(|error| panic!("step {serial}: {error}"));
            assert!(live.seen() == seen, "step {serial}, crash {crash}");
            // Leftovers of the interrupted run must not stop the next one.
            free(&mut live).unwrap();
            clean_all(&mut live).unwrap();
            free(&mut live).unwrap();
            assert!(live.seen() == seen, "step {serial}, crash {crash}, cleaned again");
            assert_eq!(names(&disk, ".new").len(), 0);
            let (live, ..) = Live::start(&disk, false).unwrap();
            assert!(live.seen() == seen, "step {serial}, crash {crash}, at the second start");
        }
        if !has_stopped {
            assert!(serial > 20, "cleaning took only {serial} steps");
            return;
        }
    }
}

#[test]
fn records_are_read_trimmed_and_deleted_while_they_are_moved() {
    let mut moved = 0;
    for seed in 0..200 {
        let (disk, mut rng) = (FakeDisk::default(), Rng::with_seed(seed));
        let mut live = mixed(&disk);
        let [topic, other] = ["topic/0", "topic/1"].map(|name| topic_id(&live.node, name).unwrap());
        let end = live.kept(other).unwrap().1;
        commit(&mut live, vec![Entry::Trim { topic: other, first: Offset(rng.u64(end.0 / 2..end.0)) }]);
        delete(&mut live, "topic/1");
        live.checkpoint().unwrap();
        let mut first = 0;
        loop {
            let seen = live.seen();
            let done = live.clean(1).unwrap();
            assert!(live.seen() == seen, "seed {seed}");
            match rng.u8(..8) {
                0 => {
                    first += rng.u64(..20);
                    commit(&mut live, vec![Entry::Trim { topic, first: Offset(first) }]);
                }
                1 => commit(&mut live, vec![publish("topic/0", &[7; RECORD], 1 << 40)]),
                2 if rng.u8(..4) == 0 && live.kept(topic).is_some() => {
                    delete(&mut live, "topic/0");
                    break;
                }
                3 => live.checkpoint().unwrap(),
                _ => {}
            }
            if let Some(victims) = done {
                moved += victims.segments;
                break;
            }
        }
        clean_all(&mut live).unwrap();
        let seen = live.seen();
        free(&mut live).unwrap();
        assert!(live.seen() == seen, "seed {seed}");
        disk.crash(&mut rng);
        let (live, ..) = Live::start(&disk, false).unwrap();
        assert!(live.seen() == seen, "seed {seed}: after a crash");
    }
    assert!(moved > 200, "{moved}");
}

#[test]
fn append_times_are_found_in_copies() {
    let disk = FakeDisk::default();
    let live = cleaned(&disk);
    let topic = topic_id(&live.node, "topic/0").unwrap();
    let end = live.kept(topic).unwrap().1.0;
    // This topic had every tenth of all records, and each record's serial number is its append time.
    for offset in 0..end {
        for (time, expected) in [(offset * 10, offset), (offset * 10 + 1, offset + 1)] {
            let wanted = Wanted::Time { append_us: time, from: Offset(0), end: Offset(end) };
            let Found::Offset(found) = live.find(topic, wanted).unwrap() else { panic!("expected an offset") };
            assert_eq!(found.0, expected, "time {time}");
        }
    }
}

/// One segment below the limit is reserved for cleaning, so that cleaning can run when nothing can be appended.
#[test]
fn a_journal_at_its_limit_can_be_cleaned_and_then_accepts_records() {
    let disk = FakeDisk::default();
    let mut live = mixed(&disk);
    live.checkpoint().unwrap();
    // The 2000 bytes beyond whole segments are too few for the live records of a segment.
    let capacity = disk.used() + u64::from(SEGMENT) * 3 + 2000;
    live.keeper().set_capacity(capacity);
    let refused = (1_u64 << 40..).find_map(|serial| {
        let name = if serial % 10 == 0 { "topic/0" } else { "topic/1" };
        let refused = live.append(vec![publish(name, &[7; RECORD], serial)]).err();
        live.sync().unwrap();
        assert!(disk.used() <= capacity);
        refused
    });
    assert_eq!(refused.unwrap().kind(), io::ErrorKind::StorageFull);
    // Every segment still has live records, so that only cleaning can make space.
    delete(&mut live, "topic/1");
    free(&mut live).unwrap();
    assert!(clean_all(&mut live).unwrap() > 0);
    assert!(disk.used() <= capacity);
    free(&mut live).unwrap();
    for serial in 0..100 {
        commit(&mut live, vec![publish("topic/0", &[8; RECORD], (1 << 41) + serial)]);
        assert!(disk.used() <= capacity);
    }
}

/// Fills segments of which `segment` is one. Returns the position of its first body.
fn filled(live: &mut Live, segment: u32) -> u64 {
    fill(live, TOPICS, segment - live.segment());
    let first = live.applied().index;
    fill(live, TOPICS, SEGMENTS + 1 - segment);
    first
}

/// Returns how many bodies of the log after `index` can be read back.
fn bodies(live: &mut Live, index: u64) -> u64 {
    let query = LogQuery { slot: SLOT, index, last: live.applied().index, bytes_max: usize::MAX };
    fetch(live.keeper(), query).unwrap().bodies.len() as u64
}

#[test]
fn what_is_kept_of_the_log_for_others_is_neither_cleaned_nor_removed() {
    let disk = FakeDisk::default();
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    let floor = SEGMENTS / 2;
    let first = filled(&mut live, floor);
    // Of the body before it, the term is needed.
    live.needed = Some(first + 1);
    delete(&mut live, TOPICS[1]);
    free(&mut live).unwrap();
    assert_eq!(clean_all(&mut live).unwrap(), floor as usize - 1, "those below the floor");
    free(&mut live).unwrap();
    let is_there = |number: u32| names(&disk, ".log").contains(&format!("{number:010}.log"));
    assert!((1..floor).all(|number| !is_there(number)), "below the floor");
    assert!((floor..=SEGMENTS).all(is_there), "from the floor on");
    // Nor are they removed when they have no live records left.
    delete(&mut live, TOPICS[0]);
    free(&mut live).unwrap();
    assert!((floor..=SEGMENTS).all(is_there), "from the floor on, dead");
    let last = live.applied().index;
    assert_eq!((bodies(&mut live, first), bodies(&mut live, first - 1)), (last - first, 0));
    // A start keeps them, too, and a checkpoint still has where the bodies are.
    drop(live);
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    live.needed = Some(first + 1);
    free(&mut live).unwrap();
    assert_eq!((bodies(&mut live, first), bodies(&mut live, first - 1)), (last - first, 0));
    // When nobody needs them any more, one checkpoint is enough: they have been dead for long.
    live.needed = None;
    live.checkpoint().unwrap();
    assert!((floor..SEGMENTS - 1).all(|number| !is_there(number)));
}

#[test]
fn no_more_of_the_log_is_kept_for_others_than_the_limit_allows_and_less_when_space_is_short() {
    let disk = FakeDisk::default();
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    live.needed = Some(1);
    live.keeper().set_log_keep(5 * u64::from(SEGMENT));
    let first = filled(&mut live, SEGMENTS - 3);
    TOPICS.iter().for_each(|topic| delete(&mut live, topic));
    free(&mut live).unwrap();
    let kept = names(&disk, ".log");
    assert_eq!(kept.len(), 5);
    let last = live.applied().index;
    assert_eq!((bodies(&mut live, first), bodies(&mut live, first - 1)), (last - first, 0));
    let mark = live.mark();
    assert_eq!(live.keeper().freeable(mark), 0, "another checkpoint would free nothing");
    // All records are deleted at once, so that the log alone takes space.
    let capacity = disk.used() + u64::from(SEGMENT);
    live.keeper().set_capacity(capacity);
    for round in 2..6 {
        let name = &format!("topic/{round}");
        commit(&mut live, vec![create(name, round << 32)]);
        let before = live.segment();
        while live.segment() == before {
            commit(&mut live, vec![publish(name, &[1; RECORD], 1 << 40)]);
        }
        delete(&mut live, name);
        assert!(disk.used() <= capacity);
    }
    let left = kept.intersection(&names(&disk, ".log")).count();
    assert!((1..3).contains(&left), "{left} of {kept:?} are left");
    live.keeper().check();
}

#[test]
fn a_damaged_copy_is_reported_to_whoever_reads_it() {
    let disk = FakeDisk::default();
    drop(cleaned(&disk));
    let copies = names(&disk, ".log").into_iter().find(|name| name.as_str() > "2147483648").unwrap();
    // This bit is in the middle of a record.
    disk.flip(&copies, (5 * RECORD + 300) * 8);
    let (live, ..) = Live::start(&disk, false).unwrap();
    let topic = topic_id(&live.node, "topic/0").unwrap();
    let end = live.kept(topic).unwrap().1.0;
    let is_lost = |offset: &u64| matches!(read(&live, topic, *offset), Err(OpenError::Damaged { .. }));
    let lost: Vec<u64> = (0..end).filter(is_lost).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
}

#[test]
fn a_record_that_cannot_be_read_stays_where_it_is() {
    let disk = FakeDisk::default();
    let mut live = mixed(&disk);
    delete(&mut live, "topic/1");
    free(&mut live).unwrap();
    // Topic/0 has every tenth record: some of these bits are in its records.
    for byte in [12_000].into_iter().chain((2_000..32_000).step_by(3_500)) {
        disk.flip("0000000003.log", byte * 8);
    }
    let topic = topic_id(&live.node, "topic/0").unwrap();
    let (first, end) = live.kept(topic).unwrap();
    let lost =
        |live: &Live| -> Vec<u64> { (first.0..end.0).filter(|offset| read(live, topic, *offset).is_err()).collect() };
    let damaged = lost(&live);
    assert!(!damaged.is_empty());
    let cleaned = clean_all(&mut live).unwrap();
    assert!(cleaned > SEGMENTS as usize - 3);
    free(&mut live).unwrap();
    assert_eq!(lost(&live), damaged);
    assert!(names(&disk, ".log").contains("0000000003.log"), "a segment with an unreadable record is kept");
}
