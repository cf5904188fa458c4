//! Damage that no start can mend: what `inspect` reports about it, and what `repair` keeps.

use dht_node::entry::{Found, Wanted};
use dht_node::journal::{Disk, IndexState, Repaired, Report, inspect, repair};
use dht_node::storage::Scratch;
use dht_node::types::{Epoch, Offset, TopicId};
use fastrand::Rng;

use crate::crafted::{long, names, read, write};
use crate::disk::FakeDisk;
use crate::model::{self, Live, blank};

const NAME: &str = "topic/0";

fn report(disk: &FakeDisk) -> Report {
    inspect(disk, false, || Scratch::new(blank())).unwrap().1
}

fn mend(disk: &FakeDisk, drops_damaged: bool) -> (Repaired, FakeDisk) {
    let aside = FakeDisk::default();
    let repaired = repair(disk, &aside, (drops_damaged, 1 << 16), &mut Scratch::new(blank())).unwrap();
    (repaired, aside)
}

/// Returns the ranges of offsets of the only topic that cannot be read.
fn lost(report: &Report) -> Vec<(u64, u64)> {
    let topic = report.topics.values().next().unwrap();
    topic.lost.iter().map(|(from, to)| (from.0, to.0)).collect()
}

/// Returns the ranges of offsets of the only topic that earlier repairs have dropped.
fn dropped(report: &Report) -> Vec<(u64, u64)> {
    let topic = report.topics.values().next().unwrap();
    topic.dropped.iter().map(|(from, to)| (from.0, to.0)).collect()
}

/// Reads the topic from its beginning. Returns the offsets of its records, and the gaps between them.
fn offsets(live: &Live) -> (Vec<u64>, Vec<(u64, u64)>) {
    let id = model::topic_id(&live.node, NAME).unwrap();
    let (first, next) = live.kept(id).unwrap();
    let (mut at, mut found, mut gaps) = (first, Vec::new(), Vec::new());
    let held = live.node.topic(dht_node::types::TopicName::new(NAME).unwrap()).unwrap().log.held();
    while at < next.min(held) {
        match live.find(id, Wanted::Records { from: at, max_bytes: 9000, max_records: 5 }).unwrap() {
            Found::Gap(to) => {
                assert!(to > at);
                gaps.push((at.0, to.0));
                at = to;
            }
            Found::Batches(batches) => {
                assert!(!batches.is_empty(), "nothing is read at {at}, before the end {next}");
                for (filed, _) in batches {
                    found.push(filed.base.0);
                    at = filed.end();
                }
            }
            Found::Offset(_) => panic!("records were asked for"),
        }
    }
    found.extend(at.0..next.0);
    (found, gaps)
}

/// Returns the segment and the position of each batch, up to the first one that cannot be read.
fn places(live: &Live, topic: TopicId) -> Vec<(u32, u32)> {
    let (mut at, mut places) = (Offset(0), Vec::new());
    while let Ok(Found::Batches(batches)) =
        live.find(topic, Wanted::Records { from: at, max_bytes: u32::MAX, max_records: u32::MAX })
        && !batches.is_empty()
    {
        places.extend(batches.iter().map(|(filed, _)| (filed.place.segment, filed.place.position)));
        at = batches.last().unwrap().0.end();
    }
    places
}

#[test]
fn a_sound_folder_is_reported_as_sound_and_left_unchanged() {
    for seed in 1..=100 {
        let mut rng = Rng::with_seed(seed);
        let (disk, mut serial) = (FakeDisk::default(), 0);
        let (mut live, ..) = Live::start(&disk, false).unwrap();
        for _ in 0..rng.usize(1..60) {
            live.append(model::entries(&mut rng, &live.node, &mut serial)).unwrap();
            live.sync().unwrap();
            if rng.u8(..9) == 0 {
                live.checkpoint().unwrap();
            }
        }
        let last = live.mark();
        drop(live);
        let before = disk.files();
        let report = report(&disk);
        assert!(report.is_sound(), "seed {seed}: {report:?}");
        assert_eq!(report.entries, last.bodies, "seed {seed}");
        assert!(!mend(&disk, true).0.is_done);
        assert_eq!(disk.files(), before);
    }
}

#[test]
fn damaged_derived_files_are_reported_and_repaired_without_dropping_records() {
    let disk = FakeDisk::default();
    let expected = long(&disk, 5, true).seen();
    let index = read(&disk, "0000000002.index");
    disk.remove("0000000001.index").unwrap();
    disk.flip("0000000002.index", 50 * 8);
    let newest = names(&disk, ".checkpoint").pop().unwrap();
    disk.flip(&newest, 900);
    let found = report(&disk);
    assert_eq!(found.damaged_indexes().collect::<Vec<_>>(), [1, 2]);
    assert_eq!((found.damaged_checkpoints.len(), found.loses_records()), (1, false));
    assert!(found.segments.values().all(|of| of.damage.is_empty()));
    assert_eq!(found.segments[&3].index, IndexState::Sound);
    let (repaired, aside) = mend(&disk, false);
    assert!(repaired.is_done && repaired.report == found);
    assert!(names(&aside, "").contains(&newest));
    assert!(read(&disk, "0000000002.index") == index);
    assert!(report(&disk).is_sound());
    let (live, ..) = Live::start(&disk, false).unwrap();
    assert!(live.seen().1 == expected.1);
}

#[test]
fn unreadable_records_from_before_the_checkpoint_leave_a_gap_at_their_offsets() {
    for is_index_lost in [false, true] {
        let disk = FakeDisk::default();
        let live = long(&disk, 5, true);
        let id = model::topic_id(&live.node, NAME).unwrap();
        let places = places(&live, id);
        drop(live);
        let batches = places.iter().filter(|(segment, _)| *segment == 2).count() as u64;
        let first = places.iter().position(|(segment, _)| *segment == 2).unwrap() as u64;
        for batch in [3, 4] {
            disk.flip("0000000002.log", (places[usize::try_from(first + batch).unwrap()].1 as usize + 500) * 8);
        }
        if is_index_lost {
            disk.remove("0000000002.index").unwrap();
        }
        let before = read(&disk, "0000000002.log");
        let found = report(&disk);
        assert_eq!(lost(&found), [(first + 3, first + 5)], "{is_index_lost}");
        let files = disk.files();
        assert!(!mend(&disk, false).0.is_done, "it drops records only on request");
        assert_eq!(disk.files(), files);
        let (repaired, aside) = mend(&disk, true);
        assert!(repaired.is_done && repaired.report == found);
        assert!(read(&aside, "0000000002.log") == before, "the original is kept");
        let after = report(&disk);
        assert!(after.is_sound() && dropped(&found).is_empty(), "{after:?}");
        assert_eq!(dropped(&after), lost(&found), "dropped records are not counted");
        let (mut live, ..) = Live::start(&disk, false).unwrap();
        let (offsets, gaps) = offsets(&live);
        assert_eq!(gaps, [(first + 3, first + 5)], "{is_index_lost}: {batches}");
        assert_eq!(offsets.len(), places.len() - 2);
        assert_eq!(live.epoch(NAME), Epoch(1), "offsets keep their meaning");
        // The topic accepts records again, and the dropped ones stay dropped.
        live.append(vec![model::publish(NAME, b"more", 1 << 50)]).unwrap();
        live.sync().unwrap();
        live.checkpoint().unwrap();
        drop(live);
        let (live, ..) = Live::start(&disk, false).unwrap();
        assert_eq!(self::offsets(&live).1, gaps);
    }
}

#[test]
fn all_records_of_a_missing_segment_are_dropped() {
    let disk = FakeDisk::default();
    let live = long(&disk, 5, true);
    let id = model::topic_id(&live.node, NAME).unwrap();
    let places = places(&live, id);
    drop(live);
    let of = |number: u32| places.iter().position(|(segment, _)| *segment == number).unwrap() as u64;
    disk.remove("0000000003.log").unwrap();
    assert!(Live::start(&disk, false).is_err());
    assert_eq!(lost(&report(&disk)), [(of(3), of(4))]);
    assert!(mend(&disk, true).0.is_done);
    let (live, ..) = Live::start(&disk, false).unwrap();
    assert_eq!(offsets(&live).1, [(of(3), of(4))]);
    drop(live);
    assert!(!report(&disk).loses_records());
}

/// Entries after the checkpoint are lost: the others stay, and the topic gets a new epoch.
#[test]
fn lost_entries_after_the_checkpoint_raise_the_epoch_and_the_rest_stays() {
    let disk = FakeDisk::default();
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    live.append(vec![model::create(NAME, 7)]).unwrap();
    let mut ends = vec![0];
    for serial in 0..10 {
        live.append(vec![model::sequenced(NAME, &[7; 100], serial)]).unwrap();
        live.sync().unwrap();
        ends.push(live.mark().place.position);
    }
    drop(live);
    // These bits are in batches 4 and 5, past the headers of their log records.
    [4, 5].into_iter().for_each(|batch| disk.flip("0000000001.log", (ends[batch] as usize + 60) * 8));
    let error = Live::start(&disk, false).unwrap_err().to_string();
    assert!(error.contains("dht-node repair"), "{error}");
    let found = report(&disk);
    let [loss] = &found.log_losses[..] else { panic!("{found:?}") };
    assert_eq!((loss.segment, loss.from, loss.to), (1, 5 + 1, 7 + 1));
    assert_eq!(loss.ends, [(NAME.to_owned(), Offset(4))]);
    assert!(!mend(&disk, false).0.is_done);
    assert!(mend(&disk, true).0.is_done);
    let (live, ..) = Live::start(&disk, false).unwrap();
    assert_eq!(offsets(&live), ((0..8).collect(), vec![]), "eight of ten batches, renumbered");
    assert!(live.epoch(NAME) > Epoch(1000), "readers can tell the new offsets from the old ones");
}

/// Whatever is damaged, the folder starts after a repair, and only the records that the report named are missing.
#[test]
fn after_a_repair_everything_that_was_not_dropped_is_there() {
    let (mut gaps, mut epochs) = (0, 0);
    for seed in 1..=300 {
        let mut rng = Rng::with_seed(seed);
        let disk = FakeDisk::default();
        let mut live = long(&disk, rng.u32(2..6), rng.bool());
        for serial in 0..rng.u64(..20) {
            live.append(vec![model::publish(NAME, &[1; 700], 1 << 40 | serial)]).unwrap();
            live.sync().unwrap();
        }
        let count = live.kept(model::topic_id(&live.node, NAME).unwrap()).unwrap().1.0;
        drop(live);
        let logs = names(&disk, ".log");
        for _ in 0..rng.usize(1..4) {
            let name = &logs[rng.usize(..logs.len())];
            // The first 200 bytes of the first segment hold the entry that creates the topic; damage to it would remove
            // the topic itself.
            let at = rng.usize(if name.starts_with("0000000001") { 200 } else { 0 }..20_000);
            disk.flip(name, at * 8);
        }
        let found = report(&disk);
        let missing: u64 = lost(&found).iter().map(|(from, to)| to - from).sum();
        let (repaired, _) = mend(&disk, true);
        assert!(repaired.is_done != found.is_sound(), "seed {seed}");
        let (live, ..) = Live::start(&disk, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let (found_offsets, found_gaps) = offsets(&live);
        assert_eq!(found_gaps, lost(&found), "seed {seed}");
        let entries: u64 = found.log_losses.iter().map(|loss| loss.to - loss.from).sum();
        assert!(found_offsets.len() as u64 + missing + entries >= count, "seed {seed}: {found:?}");
        (gaps, epochs) = (gaps + found_gaps.len(), epochs + found.log_losses.len());
        drop(live);
        let after = report(&disk);
        assert!(after.log_losses.is_empty(), "seed {seed}");
        assert_eq!(dropped(&after), found_gaps, "seed {seed}");
    }
    assert!(gaps > 100 && epochs > 50, "{gaps} gaps, {epochs} losses");
}

#[test]
fn a_folder_that_is_not_a_journal_is_left_unchanged() {
    let disk = FakeDisk::default();
    write(&disk, "notes", b"of somebody");
    assert!(inspect(&disk, false, || Scratch::new(blank())).is_err());
    assert!(repair(&disk, &FakeDisk::default(), (true, 1 << 16), &mut Scratch::new(blank())).is_err());
    assert_eq!(disk.files(), [("notes".to_owned(), 11)]);
}
