//! Damage at the end of the log, which the watermark distinguishes from writes that a crash has torn.

use dht_node::journal::{Disk, DiskFile, OpenError, Repaired, Report, Watermarked, inspect, repair};
use dht_node::storage::{Scratch, Started, start};
use fastrand::Rng;

use crate::crafted::{long, names, read, write};
use crate::disk::FakeDisk;
use crate::model::{self, Live, SEGMENT, blank, create};

const NAME: &str = "topic/0";

/// The size of the batches in [`written`], and the bytes of a log record before the first byte of its batch.
const LEN: usize = 300;

/// Writes a folder whose process was killed after this many synced records. Returns the position of each record.
fn written(disk: &FakeDisk, records: u64) -> Vec<usize> {
    let (mut live, ..) = Live::start(disk, false).unwrap();
    live.append(vec![create(NAME, 7)]).unwrap();
    live.sync().unwrap();
    let mut starts = vec![live.mark().place.position as usize];
    for serial in 0..records {
        live.append(vec![model::publish(NAME, &[7; LEN], serial)]).unwrap();
        live.sync().unwrap();
        starts.push(live.mark().place.position as usize);
    }
    starts
}

fn started(disk: &FakeDisk) -> Result<Started<FakeDisk>, OpenError> {
    start(disk, &model::identity(), false, SEGMENT, &mut blank())
}

fn refused(disk: &FakeDisk, what: &str) -> (String, u64) {
    match started(disk).map(|started| started.last) {
        Err(OpenError::Damaged { file, position, .. }) => (file, position),
        other => panic!("{what}: {other:?}"),
    }
}

fn report(disk: &FakeDisk) -> Report {
    inspect(disk, false, || Scratch::new(blank())).unwrap().1
}

fn mend(disk: &FakeDisk) -> Repaired {
    repair(disk, &FakeDisk::default(), (true, 1 << 16), &mut Scratch::new(blank())).unwrap()
}

/// Changes a file so that its later content replaces the earlier one, as if it had been written so.
fn change(disk: &FakeDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = read(disk, name);
    change(&mut bytes);
    write(disk, name, &bytes);
}

#[test]
fn any_flipped_bit_in_the_last_record_of_a_killed_process_is_reported_as_damage() {
    for bit in (0..(32 + LEN) * 8).step_by(37) {
        let disk = FakeDisk::default();
        let starts = written(&disk, 4);
        disk.flip("0000000001.log", starts[3] * 8 + bit);
        assert_eq!(refused(&disk, &format!("bit {bit}")), ("0000000001.log".to_owned(), starts[3] as u64));
        let found = report(&disk);
        let [loss] = &found.log_losses[..] else { panic!("bit {bit}: {found:?}") };
        assert_eq!((loss.position, loss.from, loss.to, found.entries), (starts[3] as u64, 5, 6, 5), "bit {bit}");
        assert!(mend(&disk).is_done);
        let (live, last, _) = Live::start(&disk, false).unwrap();
        assert_eq!(live.kept(model::topic_id(&live.node, NAME).unwrap()).unwrap().1.0, 3, "bit {bit}");
        assert_eq!(last.bodies, 5, "the index of the lost entry is not used again");
        drop(live);
        assert!(report(&disk).is_sound());
    }
}

#[test]
fn records_and_segments_missing_at_the_end_are_reported_as_damage() {
    type Fault = (&'static str, fn(&FakeDisk));
    let faults: [Fault; 6] = [
        ("the last segment is missing", |disk| disk.remove("0000000004.log").unwrap()),
        ("the last two segments are missing", |disk| {
            disk.remove("0000000003.log").unwrap();
            disk.remove("0000000004.log").unwrap();
        }),
        ("all segments are missing", |disk| names(disk, ".log").iter().for_each(|name| disk.remove(name).unwrap())),
        ("the first record of the last segment is damaged", |disk| disk.flip("0000000004.log", 40 * 8)),
        ("the last segment is all zeros", |disk| change(disk, "0000000004.log", |bytes| bytes.fill(0))),
        ("the last segment is empty", |disk| change(disk, "0000000004.log", Vec::clear)),
    ];
    for (what, fault) in faults {
        let disk = FakeDisk::default();
        drop(long(&disk, 4, false));
        let old = read(&disk, "watermark");
        fault(&disk);
        refused(&disk, what);
        let found = report(&disk);
        // The first record of a segment holds no entries.
        assert!(found.loses_records() || found.blocks_start, "{what}: {found:?}");
        assert!(mend(&disk).is_done, "{what}");
        // A power cut after the repair may bring the old watermark back.
        let restored = disk.copy_after_crash(&mut Rng::with_seed(1));
        write(&restored, "watermark", &old);
        for (disk, what) in [(disk, what.to_owned()), (restored, format!("{what}, and the old watermark"))] {
            Live::start(&disk, false).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(report(&disk).is_sound(), "{what}");
        }
    }
}

/// The watermark says nothing about bytes that were never synced, but the size in the header does.
#[test]
fn a_file_that_is_shorter_than_its_header_says_is_damaged() {
    let disk = FakeDisk::default();
    let starts = written(&disk, 4);
    let sound = read(&disk, "watermark");
    for len in [starts[4] + 8, starts[4], starts[4] - 8, starts[2]] {
        change(&disk, "0000000001.log", |bytes| bytes.truncate(len));
        refused(&disk, &format!("{len} bytes"));
    }
    // Without a watermark the truncation is reported as well.
    write(&disk, "watermark", &[0; 4200]);
    assert_eq!(refused(&disk, "no watermark"), ("0000000001.log".to_owned(), starts[2] as u64));
    write(&disk, "watermark", &sound);
    assert_eq!(report(&disk).log_losses.len(), 1);
    assert!(mend(&disk).is_done);
    Live::start(&disk, false).unwrap();
}

/// A start truncates the last segment and records the new size in its header, so that the next start does not take the
/// truncation for damage.
#[test]
fn a_start_that_truncates_a_segment_may_crash_at_any_point() {
    for steps in 0..20 {
        for seed in 0..20 {
            let mut rng = Rng::with_seed(seed);
            let disk = FakeDisk::default();
            written(&disk, 4);
            disk.stop_after(steps);
            drop(started(&disk));
            disk.crash(&mut rng);
            let (.., last, _) = Live::start(&disk, false).unwrap_or_else(|error| panic!("{steps}, {seed}: {error}"));
            assert_eq!(last.bodies, 5);
        }
    }
}

#[test]
fn torn_records_after_the_watermark_are_cut_off_and_counted() {
    let disk = FakeDisk::default();
    let starts = written(&disk, 2);
    let mark = read(&disk, "watermark");
    let (start, end) = (starts[2], starts[2] - starts[1]);
    assert_eq!(started(&disk).unwrap().cut.records, 0, "nothing follows the watermark");

    let disk = FakeDisk::default();
    let starts = written(&disk, 4);
    assert_eq!(starts[2], start);
    // As after a power failure: the watermark is from before the last two records, and the last one is torn.
    write(&disk, "watermark", &mark);
    disk.flip("0000000001.log", (starts[3] + 100) * 8);
    let cut = started(&disk).unwrap().cut;
    assert_eq!((cut.records, cut.bytes.next_multiple_of(8)), (1, end as u64));
}

#[test]
fn a_lost_watermark_is_reported_and_recreated() {
    for is_missing in [false, true] {
        let disk = FakeDisk::default();
        written(&disk, 3);
        if is_missing {
            disk.remove("watermark").unwrap();
        } else {
            write(&disk, "watermark", &[0; 4200]);
        }
        let found = report(&disk);
        assert_eq!(found.watermark, Watermarked::Lost);
        assert!(!found.is_sound() && !found.loses_records());
        assert_eq!(started(&disk).unwrap().watermark, Watermarked::Lost);
        assert!(matches!(report(&disk).watermark, Watermarked::At(mark) if mark.bodies == 4));
        assert!(report(&disk).is_sound());
    }
}

/// The header of a segment names its folder. Without it, the records can still be read.
#[test]
fn a_damaged_segment_header_is_reported_and_repaired() {
    for has_checkpoints in [false, true] {
        for segment in 1..=3 {
            let disk = FakeDisk::default();
            let expected = long(&disk, 3, has_checkpoints).seen();
            let name = format!("{segment:010}.log");
            disk.flip(&name, 9 * 8);
            assert_eq!(refused(&disk, &name), (name.clone(), 0));
            let found = report(&disk);
            assert!(!found.is_sound() && !found.loses_records(), "{name}: {found:?}");
            assert!(mend(&disk).is_done);
            let (live, ..) = Live::start(&disk, false).unwrap();
            assert!(live.seen().1 == expected.1, "{name}");
        }
    }
}

/// The watermark file has two slots in separate blocks.
#[test]
fn each_sync_writes_one_slot_of_the_watermark_alternately() {
    let disk = FakeDisk::default();
    let (mut live, ..) = Live::start(&disk, false).unwrap();
    live.append(vec![create(NAME, 7)]).unwrap();
    let mut before = read(&disk, "watermark");
    let mut changed = Vec::new();
    for serial in 0..4 {
        live.sync().unwrap();
        let after = read(&disk, "watermark");
        assert_eq!(after.len(), 4096 + 64);
        changed.push((before[..64] != after[..64], before[4096..] != after[4096..]));
        before = after;
        live.append(vec![model::publish(NAME, b"x", serial)]).unwrap();
    }
    assert!(changed[0] != changed[1] && changed[0] == changed[2] && changed[1] == changed[3], "{changed:?}");
    assert!(changed.iter().all(|(first, second)| first != second), "{changed:?}");
    assert_eq!(disk.open("watermark").unwrap().size().unwrap(), 4160);
}
