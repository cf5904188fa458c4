//! Starts on handmade folders with states that random runs reach rarely or never.

use dht_node::entry::{self, Entry, LogPosition};
use dht_node::journal::format::{Begin, Head, Kind, put_record, segment_header};
use dht_node::journal::{Disk, DiskFile, OpenError, Stamp, claim};
use dht_node::types::Offset;
use fastrand::Rng;

use crate::disk::FakeDisk;
use crate::model::{self, Live, SEGMENT, SLOT, Seen, blank, create, publish, seen};

/// The bytes of a handmade segment.
struct Segment {
    number: u32,
    bytes: Vec<u8>,
}

impl Segment {
    fn new(number: u32, previous_end: usize) -> Self {
        let mut segment = Self { number, bytes: segment_header(Stamp::NONE, number, SEGMENT).to_vec() };
        let state = Begin { previous_end: u32::try_from(previous_end).unwrap(), ..Begin::default() };
        segment.put(Kind::Begin, (0, 1), |out| state.encode(out));
        segment
    }

    fn put(&mut self, kind: Kind, (index, term): (u64, u32), body: impl FnOnce(&mut Vec<u8>)) {
        let head = Head { kind, slot: SLOT, index, term, synced: 0 };
        put_record(self.number, head, &mut self.bytes, body);
    }

    fn entry(&mut self, index: u64, term: u32, entry: &Entry) {
        let mut entries = [entry.clone()];
        self.put(Kind::Entry, (index, term), |out| entry::encode(&mut entries, out));
    }

    fn write(mut self, disk: &FakeDisk) {
        self.bytes.resize(SEGMENT as usize, 0);
        write(disk, &format!("{:010}.log", self.number), &self.bytes);
    }
}

pub(crate) fn write(disk: &FakeDisk, name: &str, bytes: &[u8]) {
    let mut file = disk.create(name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_names().unwrap();
}

pub(crate) fn read(disk: &FakeDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

pub(crate) fn names(disk: &FakeDisk, end: &str) -> Vec<String> {
    disk.files().into_iter().map(|(name, _)| name).filter(|name| name.ends_with(end)).collect()
}

/// A newer program may store more about a new topic. Applying its entry without that would lose it.
#[test]
fn an_entry_with_an_unknown_part_is_left_to_the_newer_program() {
    for (parts, is_known) in [(&[0][..], true), (&[1, 3, b'a', b'n', b'n', 0], false)] {
        let disk = FakeDisk::default();
        claim(&disk, &model::identity(), 1 << 16).unwrap();
        let mut segment = Segment::new(1, 0);
        segment.put(Kind::Entry, (1, 1), |out| {
            let tag = out.len() + size_of::<u64>();
            entry::encode(&mut [create("topic/0", 7)], out);
            out[tag] |= 0x80;
            out.extend_from_slice(parts);
        });
        segment.write(&disk);
        let before = read(&disk, "0000000001.log");
        match Live::start(&disk, false) {
            Ok((node, last, _)) => {
                assert!(is_known && last.bodies == 1 && node.seen() == state_after(&[&create("topic/0", 7)]));
            }
            Err(error) => {
                let is_newer = matches!(&error, OpenError::Newer { file, version: None } if file == "0000000001.log");
                assert!(!is_known && is_newer, "{error}");
                assert!(read(&disk, "0000000001.log") == before, "a start that is refused changes nothing");
            }
        }
    }
}

fn state_after(entries: &[&Entry]) -> Seen {
    let mut node = blank();
    entries.iter().for_each(|entry| drop(node.replay(SLOT, vec![(*entry).clone()])));
    seen(&node)
}

#[test]
fn an_entry_that_is_written_again_replaces_the_earlier_one_and_all_after_it() {
    let create = create("topic/0", 7);
    let old: Vec<Entry> = (0..6).map(|serial| publish("topic/0", b"old", serial)).collect();
    let new: Vec<Entry> = (0..6).map(|serial| publish("topic/0", b"new", serial)).collect();
    // Each case: the number of entries written first (after the creation), the index from which entries are written
    // again, and their number.
    for (first, again, count) in [(5, 4, 1), (5, 2, 4), (5, 6, 2), (1, 2, 1), (6, 2, 1), (4, 5, 6), (6, 7, 1)] {
        for is_in_next_segment in [false, true] {
            let disk = FakeDisk::default();
            claim(&disk, &model::identity(), 1 << 16).unwrap();
            let mut segment = Segment::new(1, 0);
            segment.entry(1, 1, &create);
            old[..first].iter().zip(2..).for_each(|(entry, index)| segment.entry(index, 1, entry));
            if is_in_next_segment {
                let end = segment.bytes.len();
                segment.write(&disk);
                segment = Segment::new(2, end);
            }
            new[..count].iter().zip(again..).for_each(|(entry, index)| segment.entry(index, 2, entry));
            segment.write(&disk);
            let kept = usize::try_from(again).unwrap() - 2;
            let expected: Vec<&Entry> = [&create].into_iter().chain(&old[..kept]).chain(&new[..count]).collect();
            for start in ["first", "second"] {
                let (node, ..) = Live::start(&disk, false).unwrap();
                let case = format!("{first} entries, then {count} from {again}; {start} start");
                let LogPosition { index, term, .. } = node.applied();
                assert_eq!((index, term), (again + count as u64 - 1, 2), "{case}");
                assert!(node.seen() == state_after(&expected), "{case}");
            }
        }
    }
}

/// Returns a journal of this many segments, with a checkpoint in each one after the first if `has_checkpoints`.
pub(crate) fn long(disk: &FakeDisk, segments: u32, has_checkpoints: bool) -> Live {
    let (mut live, ..) = Live::start(disk, false).unwrap();
    live.append(vec![create("topic/0", 7)]).unwrap();
    live.sync().unwrap();
    for serial in 0.. {
        let before = live.segment();
        live.append(vec![model::by_id(publish("topic/0", &[7; 3000], serial), &live.node)]).unwrap();
        live.sync().unwrap();
        if live.segment() > before && has_checkpoints {
            live.checkpoint().unwrap();
        }
        if live.segment() == segments {
            break;
        }
    }
    live
}

#[test]
fn a_missing_segment_is_reported_wherever_it_is() {
    for missing in 1..=4 {
        let disk = FakeDisk::default();
        drop(long(&disk, 5, false));
        disk.remove(&format!("{missing:010}.log")).unwrap();
        let error = Live::start(&disk, false).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "segment {missing}: {error}");
    }
}

#[test]
fn an_index_of_a_checkpoint_that_was_not_completed_is_ignored() {
    for bytes in [b"no index at all".as_slice(), b""] {
        let disk = FakeDisk::default();
        let live = long(&disk, 5, false);
        let expected = live.seen();
        write(&disk, "0000000003.index", bytes);
        let (node, ..) = Live::start(&disk, false).unwrap();
        assert!(node.seen() == expected);
        assert_eq!(names(&disk, ".index"), [""; 0]);
    }
}

/// The file of a dead segment is renamed and used again. After a crash, the old name may refer to that file.
#[test]
fn the_name_of_a_dead_segment_may_refer_to_the_file_of_another() {
    let disk = FakeDisk::default();
    let mut live = long(&disk, 4, true);
    let index = read(&disk, "0000000001.index");
    let topic = model::topic_id(&live.node, "topic/0").unwrap();
    live.append(vec![Entry::Trim { topic, first: Offset(20) }]).unwrap();
    live.sync().unwrap();
    live.checkpoint().unwrap();
    assert!(
        names(&disk, ".log").contains(&"0000000001.log".to_owned()),
        "the checkpoint before the newest one needs it"
    );
    live.checkpoint().unwrap();
    assert!(!names(&disk, ".log").contains(&"0000000001.log".to_owned()), "its records are dead");
    let expected = live.seen();
    drop(live);
    write(&disk, "0000000001.log", &segment_header(Stamp::NONE, 9, SEGMENT));
    write(&disk, "0000000001.index", &index);
    let (live, ..) = Live::start(&disk, false).unwrap();
    assert!(live.seen() == expected);
}

/// The mark of an orderly shutdown needs space in the log. It is written however full the segment is.
#[test]
fn an_orderly_shutdown_is_always_recognised() {
    let mut ends = [0; 2];
    for len in 0..600 {
        let disk = FakeDisk::default();
        let (mut live, ..) = Live::start(&disk, true).unwrap();
        live.append(vec![create("topic/0", 7)]).unwrap();
        // The first record nearly fills the segment; the second one's length differs in each round.
        live.append(vec![publish("topic/0", &vec![1; SEGMENT as usize - 1200], 1)]).unwrap();
        live.append(vec![publish("topic/0", &vec![2; 500 + len], 2)]).unwrap();
        live.write().unwrap();
        ends[usize::from(live.segment() > 1)] += 1;
        live.finish().unwrap();
        let (.., is_lossy) = Live::start(&disk, true).unwrap();
        assert!(!is_lossy, "{len} bytes");
    }
    assert!(ends.iter().all(|count| *count > 50), "in the first segment and in the next one: {ends:?}");
}

#[test]
fn a_leftover_of_an_older_checkpoint_is_ignored_and_removed() {
    let disk = FakeDisk::default();
    let mut live = long(&disk, 4, true);
    let before = names(&disk, ".checkpoint");
    let bytes = read(&disk, &before[0]);
    live.append(vec![publish("topic/0", b"one more", 1 << 40)]).unwrap();
    live.sync().unwrap();
    live.checkpoint().unwrap();
    let after = names(&disk, ".checkpoint");
    assert_eq!((before.len(), after.len(), &before[1]), (2, 2, &after[0]));
    write(&disk, &before[0], &bytes);
    let (node, ..) = Live::start(&disk, false).unwrap();
    assert!(node.seen() == live.seen());
    assert_eq!(names(&disk, ".checkpoint"), after);
}

/// A node with interval sync makes checkpoints too; they must not refer to records that a crash can lose.
#[test]
fn a_checkpoint_makes_the_records_before_it_durable() {
    for seed in 1..=500 {
        let mut rng = Rng::with_seed(seed);
        let (disk, mut serial) = (FakeDisk::default(), 0);
        let (mut live, ..) = Live::start(&disk, true).unwrap();
        for _ in 0..rng.usize(1..30) {
            live.append(model::entries(&mut rng, &live.node, &mut serial)).unwrap();
            live.write().unwrap();
        }
        let made = live.mark();
        live.checkpoint().unwrap();
        live.append(model::entries(&mut rng, &live.node, &mut serial)).unwrap();
        live.write().unwrap();
        disk.crash(&mut rng);
        let (_, last, is_lossy) = Live::start(&disk, true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(last.bodies >= made.bodies && is_lossy, "seed {seed}");
    }
}

/// A start that detects a loss may crash before it has raised the epochs; then the next start does it.
#[test]
fn a_loss_is_reported_at_least_once_even_if_the_start_that_detects_it_crashes() {
    let mut stopped = 0;
    for seed in 1..=1000 {
        let mut rng = Rng::with_seed(seed);
        let disk = FakeDisk::default();
        let (mut live, ..) = Live::start(&disk, true).unwrap();
        live.append(vec![create("topic/0", 7), publish("topic/0", b"safe", 0)]).unwrap();
        live.sync().unwrap();
        live.append(vec![publish("topic/0", b"lost, it may be", 1)]).unwrap();
        live.write().unwrap();
        let before = live.epoch("topic/0");
        disk.crash(&mut rng);
        disk.stop_after(rng.u64(..25));
        if Live::start(&disk, false).is_err() {
            stopped += 1;
        }
        disk.crash(&mut rng);
        let (live, ..) = Live::start(&disk, false).unwrap();
        assert!(live.epoch("topic/0") > before, "seed {seed}: records were lost without a new epoch");
    }
    assert!(stopped > 100, "{stopped} starts stopped");
}

/// A start reads no records from before the checkpoint, but checks that their segments exist.
#[test]
fn a_start_detects_a_missing_segment_that_a_checkpoint_refers_to() {
    let disk = FakeDisk::default();
    drop(long(&disk, 5, true));
    let relied_on = names(&disk, ".log");
    assert_eq!(relied_on.len(), 5);
    for name in relied_on {
        let disk = disk.copy_after_crash(&mut Rng::with_seed(1));
        disk.remove(&name).unwrap();
        let error = Live::start(&disk, false).map(|_| ()).expect_err(&name);
        assert!(matches!(error, OpenError::Damaged { .. }), "{name}: {error}");
    }
}
