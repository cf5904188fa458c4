//! Tests of the two threads on the simulated disk of the journal's tests. All work is queued before a thread runs.

#[path = "../../tests/support/disk.rs"]
#[expect(dead_code, reason = "the test of the journal and the simulator use the rest")]
mod disk;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use fastrand::Rng;

use super::commit::Committer;
use super::keep::Bookkeeper;
use super::{News, Sync, Task, Work};
use crate::entry::{
    Batch, Body, DecodeError, Entry, Image, LogPart, LogPosition, LogQuery, Note, Place, TopicKey, TopicRef,
    Unreadable, Write, Written, encode,
};
use crate::journal::{Mark, Membership, State, Watermark, Writer, recover};
use crate::types::{Dimension, NodeId, Offset, SlotId, Slots, TopicId, crc32};

use disk::FakeDisk;

/// Size of a segment in bytes; small, so that a run uses several.
const SEGMENT: u32 = 16 << 10;

/// Returns what was reported as written so far, oldest first.
fn given_back(news: &Receiver<News>) -> Vec<(Written, Mark)> {
    let body = |news| if let News::Written(body, mark, _) = news { Some((body, mark)) } else { None };
    news.try_iter().filter_map(body).collect()
}

fn entry(serial: u64, len: usize) -> Entry {
    let payload: bytes::Bytes = vec![u8::try_from(serial % 251).unwrap(); len].into();
    Entry::Publish(Batch {
        topic: TopicRef::Name("topic".into()),
        producer: None,
        count: 1,
        payload_crc: crc32(&payload),
        append_us: serial,
        payload,
        place: Place::default(),
    })
}

fn times(entries: &[Entry]) -> Vec<u64> {
    entries
        .iter()
        .filter_map(|entry| if let Entry::Publish(batch) = entry { Some(batch.append_us) } else { None })
        .collect()
}

/// A state that only records the entries, by the times that they carry.
#[derive(Default)]
struct Times(Vec<u64>);

impl State for Times {
    fn membership(&self, _: SlotId) -> Membership {
        Membership::Alone
    }

    fn find(&self, _: SlotId, _: &str) -> Option<TopicId> {
        None
    }

    fn restore(&mut self, _: SlotId, _image: &[u8], _version: u32) -> Result<(), DecodeError> {
        Err(DecodeError::Malformed)
    }

    fn kept(&self, _topic: TopicKey) -> Option<(Offset, Offset)> {
        None
    }

    fn topics(&self) -> Vec<TopicKey> {
        Vec::new()
    }

    fn replay(&mut self, _: SlotId, entries: Vec<Entry>) -> Vec<Note> {
        self.0.extend(times(&entries));
        Vec::new()
    }
}

fn node() -> NodeId {
    NodeId::from_low_bits(0, Dimension::new(0).unwrap())
}

/// Returns the times of the entries that a start finds.
fn found(disk: &FakeDisk) -> Vec<u64> {
    let mut found = Times::default();
    recover(disk, node(), &mut found).unwrap();
    found.0
}

fn on_failure(what: &str, cause: &std::io::Error) -> ! {
    panic!("{what}: {cause}")
}

/// Runs the commit thread until its work is done; calls `look` whenever bodies were reported as committed.
fn run(disk: &FakeDisk, sync: Sync, turns: &[Vec<Entry>], look: impl Fn(&Receiver<News>)) {
    let mut keeper = recover(disk, node(), &mut Times::default()).unwrap().keeper;
    let (prepared, segments) = mpsc::channel();
    let bytes: usize = turns.iter().map(|turn| crate::entry::BodyLen::of(turn).in_journal()).sum();
    for number in 2..=u32::try_from(bytes).unwrap() / (SEGMENT / 2) + 2 {
        prepared.send(keeper.prepare(number, SEGMENT).unwrap()).unwrap();
    }
    let begin = (keeper.prepare(1, SEGMENT).unwrap(), Watermark::open(disk).unwrap());
    let writer = Writer::new(sync != Sync::Always, Mark::default(), BTreeMap::new(), begin);
    let (tasks, asked) = mpsc::channel();
    let (tell, news) = mpsc::channel();
    let (work, for_commit) = mpsc::channel();
    for (index, entries) in (1..).zip(turns) {
        let mut bytes = Vec::new();
        encode(&mut entries.clone(), &mut bytes);
        let slot = SlotId::new(0, Slots::MOST).unwrap();
        let body = Body { slot, index, term: 1, bytes: bytes.into() };
        work.send(Work::Write(Write::Body(body))).unwrap();
    }
    work.send(Work::End).unwrap();
    Committer::new(writer, segments, (tasks, tell), on_failure).run(&for_commit, sync, || look(&news));
    let numbers: Vec<u32> =
        asked.try_iter().map(|task| if let Task::Prepare { number, .. } = task { number } else { 0 }).collect();
    let expected: Vec<u32> = (2..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "each segment is requested once, in ascending order");
}

#[test]
fn nothing_is_given_back_before_it_is_safe_and_everything_is() {
    for seed in 1..=200 {
        let mut rng = Rng::with_seed(seed);
        let mut serial = 0;
        let turns: Vec<Vec<Entry>> = (0..rng.usize(1..40))
            .map(|_| {
                (0..rng.usize(1..6))
                    .map(|_| {
                        serial += 1;
                        entry(serial, rng.usize(..2000))
                    })
                    .collect()
            })
            .collect();
        let disk = FakeDisk::default();
        let count = Cell::new(0);
        run(&disk, Sync::Always, &turns, |news| {
            for (written, mark) in given_back(news) {
                let Written::Body { index, place, .. } = written else { panic!("{written:?}") };
                let entries = &turns[usize::try_from(index - 1).unwrap()];
                count.set(count.get() + entries.len() as u64);
                assert_eq!(times(entries).last(), Some(&count.get()), "seed {seed}: in another order");
                assert!(place < mark.place);
            }
            let copy = disk.copy_after_crash(&mut Rng::with_seed(seed));
            let there = found(&copy).len() as u64;
            assert!(there >= count.get(), "seed {seed}: {} entries were given back, {there} are safe", count.get());
        });
        assert_eq!((count.get(), found(&disk).len() as u64), (serial, serial), "seed {seed}");
    }
}

#[test]
fn with_an_interval_everything_is_given_back_and_safe_in_the_end() {
    let turns: Vec<Vec<Entry>> = (0..20).map(|serial| vec![entry(serial, 1500)]).collect();
    for interval in [Duration::ZERO, Duration::from_secs(1000)] {
        let disk = FakeDisk::default();
        let count = Cell::new(0);
        run(&disk, Sync::Interval(interval), &turns, |news| count.set(count.get() + given_back(news).len()));
        assert_eq!(count.get(), turns.len());
        assert_eq!(found(&disk.copy_after_crash(&mut Rng::with_seed(1))).len(), turns.len());
    }
}

/// What the keeper's thread reports, in short.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Kept,
    Fetched(u64, Result<usize, Unreadable>),
}

#[test]
fn bodies_are_read_back_in_pieces_between_other_tasks() {
    let disk = FakeDisk::default();
    let mut keeper = recover(&disk, node(), &mut Times::default()).unwrap().keeper;
    let begin = (keeper.prepare(1, 4 << 20).unwrap(), Watermark::open(&disk).unwrap());
    let mut writer = Writer::new(false, Mark::default(), BTreeMap::new(), begin);
    let slot = SlotId::new(0, Slots::MOST).unwrap();
    let body = |index| Body { slot, index, term: 1, bytes: vec![7; 30 << 10].into() };
    let written = |index| writer.append(&body(index)).map(|place| body(index).written(place)).unwrap();
    let written: Vec<Written> = (1..=100).map(written).collect();
    writer.sync().unwrap();
    let Written::Body { place, .. } = written[94] else { panic!("a body") };
    disk.flip("0000000001.log", (place.position as usize + 9) * 8);
    let notes: Vec<Note> = written.iter().filter_map(Written::note).collect();
    let (task, tasks) = mpsc::channel();
    let (tell, news) = mpsc::channel();
    task.send(Task::Note(notes, writer.mark())).unwrap();
    for index in [90, 94] {
        task.send(Task::Fetch(LogQuery { slot, index, last: 100, bytes_max: usize::MAX })).unwrap();
    }
    task.send(Task::Keep(writer.mark(), Vec::new())).unwrap();
    // One piece is read after each task.
    (0..20).for_each(|_| task.send(Task::Note(Vec::new(), writer.mark())).unwrap());
    task.send(Task::End).unwrap();
    let keeper = Bookkeeper::new(keeper, writer.mark(), (mpsc::channel().0, tell), on_failure);
    keeper.run(&tasks, || ());
    let told = news.try_iter().filter_map(|news| match news {
        News::Kept { .. } => Some(Told::Kept),
        News::Fetched(query, part) => Some(Told::Fetched(
            query.index,
            part.map(|LogPart { base, bodies }| {
                assert_eq!(base, (query.index, 1));
                assert!(bodies.iter().eq(&(query.index + 1..).take(bodies.len()).map(body).collect::<Vec<_>>()));
                bodies.len()
            }),
        )),
        News::Written(..)
        | News::Prepared { .. }
        | News::Read(..)
        | News::Copied(_)
        | News::Freeable(_)
        | News::KeepAgain
        | News::Space(_) => None,
    });
    let lost = Err(Unreadable::Lost { next: None });
    assert_eq!(told.collect::<Vec<_>>(), [Told::Kept, Told::Fetched(90, Ok(4)), Told::Fetched(94, lost)]);
}

/// On a full disk, what is kept of the log for other members makes room before anything is refused.
#[test]
fn the_log_that_is_kept_for_others_makes_room_on_a_full_disk() {
    let disk = FakeDisk::default();
    let mut keeper = recover(&disk, node(), &mut Times::default()).unwrap().keeper;
    let begin = (keeper.prepare(1, SEGMENT).unwrap(), Watermark::open(&disk).unwrap());
    let mut writer = Writer::new(false, Mark::default(), BTreeMap::new(), begin);
    let slot = SlotId::new(0, Slots::MOST).unwrap();
    for number in 1..=4 {
        let body = Body { slot, index: number.into(), term: 1, bytes: vec![7; 1000].into() };
        let place = writer.append(&body).unwrap();
        keeper.note(body.written(place).note().as_slice());
        writer.turn_to(keeper.prepare(number + 1, SEGMENT).unwrap()).unwrap();
    }
    writer.sync().unwrap();
    let is_there = |number: u32| disk.files().iter().any(|(name, _)| *name == format!("{number:010}.log"));
    let image =
        |needed| Image { slot, applied: LogPosition::default(), open: None, needed, pinned: None, topics: Vec::new() };
    let (task, tasks) = mpsc::channel();
    let (tell, news) = mpsc::channel();
    let (supply, supplies) = mpsc::channel();
    (0..2).for_each(|_| task.send(Task::Keep(writer.mark(), vec![image(Some(1))])).unwrap());
    task.send(Task::Prepare { number: 6, size: SEGMENT }).unwrap();
    (0..4).for_each(|_| task.send(Task::Note(Vec::new(), writer.mark())).unwrap());
    task.send(Task::End).unwrap();
    let keeper = Bookkeeper::new(keeper, writer.mark(), (supply, tell), on_failure);
    // Room for the checkpoints, but not for another segment.
    disk.set_capacity(Some(disk.used() + 1000));
    keeper.run(&tasks, || ());
    assert!(!is_there(1) && (2..=4).all(is_there), "{:?}", disk.files());
    assert_eq!(supplies.try_iter().map(|segment| segment.number).collect::<Vec<_>>(), [6]);
    let is_refused = |news: &News| matches!(news, News::Space(_));
    assert!(!news.try_iter().any(|news| is_refused(&news)), "nothing is refused");
}
