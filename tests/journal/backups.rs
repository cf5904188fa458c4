//! Backups of a journal that is in use, and starts on them: whatever happens meanwhile, a backup is a state in which
//! the journal was at some time, and contains everything from before the backup was begun.
#![expect(clippy::disallowed_types, reason = "the node and the backup share one disk, as they share a file system")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::Rc;

use dht_node::journal::{BackupError, Copied, Disk, DiskFile, OpenError, backup, inspect, repair};
use dht_node::storage::Scratch;
use dht_node::types::Epoch;
use fastrand::Rng;

use crate::cleaning;
use crate::crafted::{long, names, read};
use crate::disk::{FakeDisk, FakeFile};
use crate::model::{self, Live, SEGMENT, blank, create, publish};

/// The records of all topics after each entry, by its index.
type States = BTreeMap<u64, Vec<Vec<u8>>>;

/// A node that works while its journal is backed up.
struct Running {
    live: Live,
    states: States,
    serial: u64,
    rng: Rng,
}

impl Running {
    fn start(disk: &FakeDisk, seed: u64) -> Self {
        let (live, ..) = Live::start(disk, false).unwrap();
        Self { live, states: States::new(), serial: 0, rng: Rng::with_seed(seed) }
    }

    /// Appends entries `turns` times, and sometimes makes a checkpoint or cleans segments.
    fn go_on(&mut self, turns: usize) {
        for _ in 0..turns {
            let entries = model::entries(&mut self.rng, &self.live.node, &mut self.serial);
            self.live.append(entries).unwrap();
            self.live.sync().unwrap();
            self.note();
            match self.rng.u8(..12) {
                0 | 1 => self.live.checkpoint().unwrap(),
                2 => drop(self.live.clean(usize::MAX).unwrap()),
                _ => {}
            }
        }
    }

    fn restart(self, disk: &FakeDisk) -> Self {
        let Self { live, states, serial, rng } = self;
        drop(live);
        let (live, ..) = Live::start(disk, false).unwrap();
        let mut running = Self { live, states, serial, rng };
        running.note();
        running
    }

    /// Remembers the current records.
    fn note(&mut self) {
        self.states.insert(self.index(), self.live.seen().1);
    }

    /// Returns the index of the last entry.
    fn index(&self) -> u64 {
        self.live.mark().bodies
    }
}

/// A hook that runs before each access to a file, with the name of the file, or with an empty name before all files are
/// listed.
type Meanwhile = Rc<RefCell<dyn FnMut(&str)>>;

/// A disk that changes while it is read, by means of a hook.
#[derive(Clone)]
struct Busy {
    disk: FakeDisk,
    before: Option<Meanwhile>,
}

#[derive(Debug)]
struct BusyFile {
    file: FakeFile,
    name: String,
    busy: Busy,
}

impl Busy {
    fn meanwhile(&self, name: &str) {
        if let Some(before) = &self.before {
            (before.borrow_mut())(name);
        }
    }

    fn file(&self, name: &str, file: FakeFile) -> BusyFile {
        BusyFile { file, name: name.to_owned(), busy: self.clone() }
    }
}

/// Makes a backup of a disk, and calls `before` before each access to its files.
fn back_up_busy(source: &FakeDisk, target: &FakeDisk, before: Meanwhile) -> Result<Copied, BackupError> {
    backup(&Busy { disk: source.clone(), before: Some(before) }, &Busy { disk: target.clone(), before: None })
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Disk for Busy {
    type File = BusyFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.meanwhile("");
        self.disk.list()
    }

    fn open(&self, name: &str) -> io::Result<BusyFile> {
        self.meanwhile(name);
        Ok(self.file(name, self.disk.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<BusyFile> {
        Ok(self.file(name, self.disk.create(name)?))
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        self.meanwhile(name);
        self.disk.size(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }
}

impl DiskFile for BusyFile {
    fn share(&self) -> io::Result<Self> {
        Ok(self.busy.file(&self.name, self.file.share()?))
    }

    /// Reads in two parts, so that the node may change the file between them.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let (first, second) = buffer.split_at_mut(buffer.len() / 2);
        self.busy.meanwhile(&self.name);
        let count = self.file.read_at(first, position)?;
        self.busy.meanwhile(&self.name);
        Ok(count + if count < first.len() { 0 } else { self.file.read_at(second, position + count as u64)? })
    }

    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_at(bytes, position)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Starts on a copy of the backup. Returns the index of the last entry, and all records.
fn restore(target: &FakeDisk, rng: &mut Rng) -> Result<(u64, Vec<Vec<u8>>), OpenError> {
    let (index, records, mended) = restore_mending(target, rng)?;
    assert_eq!(mended, [""; 0]);
    Ok((index, records))
}

/// What [`restore`] returns, and a line for each file that was rebuilt.
type Mended = (u64, Vec<Vec<u8>>, Vec<String>);

fn restore_mending(target: &FakeDisk, rng: &mut Rng) -> Result<Mended, OpenError> {
    let disk = target.copy_after_crash(rng);
    let (live, last, is_lossy, mended) = Live::start_mending(&disk, false, SEGMENT)?;
    assert!(!is_lossy);
    let records = live.seen().1;
    drop(live);
    // After the first start it is a journal like any other.
    assert!(!names(&disk, "").contains(&"backup-manifest".to_owned()));
    let (live, ..) = Live::start(&disk, false).unwrap();
    assert!(live.seen().1 == records);
    Ok((last.bodies, records, mended))
}

fn succeed(source: &FakeDisk, target: &FakeDisk) -> Copied {
    backup(source, target).unwrap()
}

/// Runs a backup on a machine that stops after this many changes of `target`. Returns true if it was complete.
fn backup_in_a_crash(source: &FakeDisk, target: &FakeDisk, changes: u64, rng: &mut Rng) -> bool {
    target.stop_after(changes);
    let is_done = backup(source, target).is_ok();
    target.crash(rng);
    is_done
}

#[test]
fn a_backup_is_a_former_state_of_the_journal_with_everything_from_before_it_was_begun() {
    let mut kept = 0;
    for seed in 1..=100 {
        let mut rng = Rng::with_seed(seed);
        let (source, target) = (FakeDisk::default(), FakeDisk::default());
        let mut running = Running::start(&source, seed);
        for round in 0..rng.usize(1..5) {
            running.go_on(rng.usize(1..40));
            if rng.u8(..4) == 0 {
                running = running.restart(&source);
            }
            let before = running.index();
            let copied = succeed(&source, &target);
            kept += copied.kept;
            assert_eq!(copied.damaged, [""; 0], "seed {seed}");
            let report = inspect(&target, false, || Scratch::new(blank())).unwrap().1;
            assert!(report.is_sound() && report.entries == before, "seed {seed}, {round}: {report:?}");
            let (index, records) = restore(&target, &mut rng).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(index, before, "seed {seed}, {round}");
            assert!(records == running.states[&index], "seed {seed}, {round}");
        }
    }
    assert!(kept > 50, "{kept} segments were not copied again");
}

/// The node appends, makes checkpoints, cleans, removes and recycles segments between any two accesses of the backup.
#[test]
fn a_backup_of_a_journal_that_changes_at_each_step_is_a_former_state_of_it() {
    for seed in 1..=80 {
        let mut rng = Rng::with_seed(seed);
        let (source, target) = (FakeDisk::default(), FakeDisk::default());
        let running = Rc::new(RefCell::new(Running::start(&source, seed)));
        let works = Rc::clone(&running);
        let meanwhile = Rc::new(RefCell::new(move |_: &str| {
            let mut running = works.borrow_mut();
            let turns = if running.rng.u8(..4) == 0 { running.rng.usize(1..12) } else { 0 };
            running.go_on(turns);
        }));
        for round in 0..3 {
            running.borrow_mut().go_on(rng.usize(1..60));
            let before = running.borrow().index();
            let copied = back_up_busy(&source, &target, meanwhile.clone())
                .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            assert_eq!(copied.damaged, [""; 0], "seed {seed}, {round}");
            // Rebuilt files are accepted, because the node may have removed an index just before it would have been
            // copied.
            let (index, records, _) =
                restore_mending(&target, &mut rng).unwrap_or_else(|error| panic!("seed {seed}, {round}: {error}"));
            assert!(index >= before, "seed {seed}, {round}: {index} is before {before}");
            assert!(records == running.borrow().states[&index], "seed {seed}, {round}");
        }
    }
}

/// While a segment of copies that the checkpoint needs is being backed up, it is removed and another gets its number.
#[test]
fn a_segment_of_copies_is_not_confused_with_a_later_one_of_the_same_number() {
    const COPIES: &str = "2147483649.log";
    let (source, target) = (FakeDisk::default(), FakeDisk::default());
    let mut live = cleaning::cleaned(&source);
    // These records keep the segment of the checkpoint in use.
    cleaning::commit(&mut live, vec![create("kept", 3)]);
    (0..6).for_each(|serial| cleaning::commit(&mut live, vec![publish("kept", &[7; 5000], 1 << 40 | serial)]));
    live.checkpoint().unwrap();
    assert!(names(&source, "").contains(&COPIES.to_owned()));
    let expected = read(&source, COPIES);
    let live = Rc::new(RefCell::new(live));
    let (works, disk, mut is_over) = (Rc::clone(&live), source.clone(), false);
    let before = move |name: &str| {
        if name != COPIES || std::mem::replace(&mut is_over, true) {
            return;
        }
        let live = &mut *works.borrow_mut();
        cleaning::delete(live, "topic/0");
        (0..2).for_each(|_| cleaning::free(live).unwrap());
        assert!(!names(&disk, "").contains(&COPIES.to_owned()), "the segment is removed");
        // Enough records for at least as many segments of copies as before.
        cleaning::fill(live, ["topic/2", "topic/3"], 24);
        cleaning::delete(live, "topic/3");
        live.checkpoint().unwrap();
        cleaning::clean_all(live).unwrap();
        cleaning::free(live).unwrap();
        assert!(read(&disk, COPIES) != expected, "the number is used by another segment");
    };
    let copied = back_up_busy(&source, &target, Rc::new(RefCell::new(before))).unwrap();
    assert_eq!(copied.damaged, [""; 0]);
    let (index, records) = restore(&target, &mut Rng::with_seed(1)).unwrap();
    let live = live.borrow();
    assert!(index == live.mark().bodies && records == live.seen().1);
}

/// Backs up a journal that `change` changes once, before this access to a file. Checks that the backup is sound and has
/// everything from before it was begun. Returns false when there were fewer accesses.
fn back_up_with_a_change(
    source: &FakeDisk,
    live: Live,
    (file, access): (&'static str, u32),
    change: impl Fn(&mut Live) + 'static,
) -> bool {
    let what = format!("before access {access} to {file}");
    let target = FakeDisk::default();
    let before = (live.mark().bodies, live.seen().1);
    let live = Rc::new(RefCell::new(live));
    let (works, mut left) = (Rc::clone(&live), access);
    let is_changed = Rc::new(RefCell::new(false));
    let changes = Rc::clone(&is_changed);
    let meanwhile = move |name: &str| {
        if name == file && !*changes.borrow() {
            if left == 0 {
                *changes.borrow_mut() = true;
                change(&mut works.borrow_mut());
            }
            left = left.saturating_sub(1);
        }
    };
    let copied = back_up_busy(source, &target, Rc::new(RefCell::new(meanwhile))).unwrap();
    assert_eq!(copied.damaged, [""; 0], "{what}");
    let restored = restore(&target, &mut Rng::with_seed(1)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let live = live.borrow();
    let after = (live.mark().bodies, live.seen().1);
    assert!(restored.0 >= before.0, "{what}: {} is before {}", restored.0, before.0);
    for (index, records) in [before, after] {
        assert!(restored.0 != index || restored.1 == records, "{what}");
    }
    *is_changed.borrow()
}

/// A read that overlaps with a write may see the later bytes of that write and not the earlier ones.
#[test]
fn a_segment_that_is_written_to_is_read_again_up_to_the_same_position() {
    const VALUE: [u8; 700] = [7; 700];
    let mut access = 0;
    loop {
        let source = FakeDisk::default();
        let (mut live, ..) = Live::start(&source, false).unwrap();
        cleaning::commit(&mut live, vec![create("topic/0", 7)]);
        // The disk reads a file in two halves: the next record begins in the first one and ends in the second.
        let mut serial = 0;
        while live.mark().place.position + 700 < SEGMENT / 2 {
            cleaning::commit(&mut live, vec![publish("topic/0", &VALUE[..500], serial)]);
            serial += 1;
        }
        let change = |live: &mut Live| {
            (0..4).for_each(|serial| cleaning::commit(live, vec![publish("topic/0", &VALUE, 1 << 40 | serial)]));
        };
        if !back_up_with_a_change(&source, live, ("0000000001.log", access), change) {
            break;
        }
        access += 1;
    }
    assert!(access > 3, "{access} accesses");
}

/// While a segment is read, its records are deleted, and the node recycles its file for a later segment. The segments
/// that the backup copies after it remain.
#[test]
fn a_segment_that_was_recycled_while_it_was_read_is_noticed() {
    let fill = |live: &mut Live, topic: &str, segment: u32| {
        let mut serial = u64::from(segment) << 40;
        while live.segment() < segment {
            cleaning::commit(live, vec![publish(topic, &[7; 3000], serial)]);
            serial += 1;
        }
    };
    let mut access = 0;
    loop {
        let source = FakeDisk::default();
        let (mut live, ..) = Live::start(&source, false).unwrap();
        cleaning::commit(&mut live, vec![create("gone", 3), create("kept", 5)]);
        fill(&mut live, "gone", 2);
        fill(&mut live, "kept", 3);
        live.checkpoint().unwrap();
        let change = move |live: &mut Live| {
            cleaning::delete(live, "gone");
            cleaning::free(live).unwrap();
            fill(live, "kept", 6);
        };
        if !back_up_with_a_change(&source, live, ("0000000001.log", access), change) {
            break;
        }
        access += 1;
    }
    assert!(access > 3, "{access} accesses");
}

/// The machine stops at each step of a second backup, and of the names that were not synced any may survive.
#[test]
fn a_backup_that_stops_at_any_step_is_the_previous_one_or_complete() {
    let (source, first) = (FakeDisk::default(), FakeDisk::default());
    let mut live = long(&source, 2, true);
    succeed(&source, &first);
    let old = live.mark().bodies;
    cleaning::commit(&mut live, vec![publish("topic/0", b"more", 1 << 40)]);
    live.checkpoint().unwrap();
    let new = live.mark().bodies;
    for changes in 0.. {
        let mut done = 0;
        for seed in 0..100 {
            let (target, mut rng) = (first.copy(), Rng::with_seed(seed));
            let is_done = backup_in_a_crash(&source, &target, changes, &mut rng);
            let (index, _) = restore(&target, &mut rng)
                .unwrap_or_else(|error| panic!("after {changes} changes, seed {seed}: {error}"));
            assert!(index == new || index == old && !is_done, "after {changes} changes, seed {seed}: {index}");
            done += u32::from(is_done);
        }
        if done > 0 {
            assert!(changes > 8, "{changes} changes");
            break;
        }
    }
}

#[test]
fn a_backup_copies_only_new_files() {
    let (source, target) = (FakeDisk::default(), FakeDisk::default());
    let mut live = long(&source, 4, true);
    let first = succeed(&source, &target);
    assert!(first.files == 6 && first.kept == 0, "four segments, a checkpoint and the watermark: {first:?}");
    let again = succeed(&source, &target);
    assert_eq!((again.files, again.bytes, again.kept), (0, 0, 4));
    live.append(vec![model::by_id(publish("topic/0", &[7; 100], 1 << 40), &live.node)]).unwrap();
    live.sync().unwrap();
    let more = succeed(&source, &target);
    assert_eq!((more.files, more.kept), (2, 3), "the watermark and the segment that has grown");
    live.checkpoint().unwrap();
    let more = succeed(&source, &target);
    assert_eq!((more.files, more.kept), (1, 4), "the checkpoint");
}

#[test]
fn a_restored_topic_has_a_new_epoch() {
    let (source, target) = (FakeDisk::default(), FakeDisk::default());
    let live = long(&source, 3, true);
    succeed(&source, &target);
    assert_eq!(live.epoch("topic/0"), Epoch(1));
    let (live, ..) = Live::start_mending(&target, false, SEGMENT).unwrap();
    let epoch = live.epoch("topic/0");
    assert!(epoch > Epoch(1000), "the lost journal may have reached {epoch:?}");
    drop(live);
    let (live, ..) = Live::start(&target, false).unwrap();
    assert_eq!(live.epoch("topic/0"), epoch, "the epoch is raised only once");
    drop(live);
    // A start that cannot read the newest checkpoint falls back to one that has the new epoch, too.
    for name in names(&target, ".checkpoint") {
        let disk = target.copy_after_crash(&mut Rng::with_seed(1));
        disk.flip(&name, (read(&disk, &name).len() - 9) * 8);
        let (live, ..) = Live::start_mending(&disk, false, SEGMENT).unwrap();
        assert_eq!(live.epoch("topic/0"), epoch, "without {name}");
    }
}

/// If the machine stops during a backup, either the previous or the new backup can be restored, and the next run
/// completes the new one.
#[test]
fn an_interrupted_backup_leaves_the_previous_one() {
    let (mut old, mut new) = (0, 0);
    for seed in 1..=300 {
        let mut rng = Rng::with_seed(seed);
        let (source, target) = (FakeDisk::default(), FakeDisk::default());
        let mut running = Running::start(&source, seed);
        running.go_on(rng.usize(1..40));
        succeed(&source, &target);
        let first = running.index();
        running.go_on(rng.usize(1..40));
        let second = running.index();
        let is_done = backup_in_a_crash(&source, &target, rng.u64(..60), &mut rng);
        let (index, records) = restore(&target, &mut rng).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(index == second || index == first && !is_done, "seed {seed}: {index} is neither {first} nor {second}");
        assert!(records == running.states[&index], "seed {seed}");
        (old, new) = (old + u32::from(index == first), new + u32::from(index == second));
        running.go_on(rng.usize(..20));
        succeed(&source, &target);
        assert_eq!(restore(&target, &mut rng).unwrap().0, running.index(), "seed {seed}");
    }
    assert!(old > 50 && new > 50, "{old} old ones, {new} new ones");
}

/// Until the first backup is complete, no node starts on its folder, nor on a copy without the manifest.
#[test]
fn a_folder_without_a_complete_backup_is_refused() {
    let (mut refused, mut restored, mut kept) = (0, 0, 0);
    for seed in 1..=200 {
        let mut rng = Rng::with_seed(seed);
        let (source, target) = (FakeDisk::default(), FakeDisk::default());
        let live = long(&source, 3, true);
        let is_done = backup_in_a_crash(&source, &target, rng.u64(1..70), &mut rng);
        let is_empty = target.files().iter().all(|(name, _)| name == "backup-unfinished.new");
        match restore(&target, &mut rng) {
            Ok((0, _)) => assert!(is_empty, "seed {seed}"),
            Ok((index, records)) => {
                assert!(index == live.mark().bodies && records == live.seen().1, "seed {seed}");
                restored += 1;
            }
            Err(error) => {
                let is_refused = matches!(error, OpenError::Unfinished | OpenError::Foreign { .. });
                assert!(!is_done && is_refused, "seed {seed}: {error}");
                refused += 1;
            }
        }
        let copied = succeed(&source, &target);
        kept += u32::from(copied.kept > 0);
        assert_eq!(restore(&target, &mut rng).unwrap().0, live.mark().bodies, "seed {seed}");
        target.remove("backup-manifest").unwrap();
        target.sync_names().unwrap();
        assert!(matches!(restore(&target, &mut rng), Err(OpenError::Foreign { .. })), "seed {seed}");
    }
    assert!(refused > 50 && restored > 50, "{refused} refused, {restored} restored");
    assert!(kept > 50, "{kept} interrupted backups were resumed");
}

/// A backup may contain entries that the node has not synced and later loses in a crash.
#[test]
fn a_segment_that_is_shorter_than_in_the_previous_backup_does_no_harm() {
    let mut shorter = 0;
    for seed in 1..=200 {
        let mut rng = Rng::with_seed(seed);
        let (source, target) = (FakeDisk::default(), FakeDisk::default());
        let mut running = Running::start(&source, seed);
        running.go_on(rng.usize(1..20));
        let entries = model::entries(&mut running.rng, &running.live.node, &mut running.serial);
        running.live.append(entries).unwrap();
        running.live.write().unwrap();
        running.note();
        succeed(&source, &target);
        let first = running.index();
        source.crash(&mut rng);
        let (live, last, _) = Live::start(&source, false).unwrap();
        running.live = live;
        shorter += u32::from(last.bodies < first);
        let lost = running.states.split_off(&(last.bodies + 1));
        running.go_on(rng.usize(1..20));
        let is_done = backup_in_a_crash(&source, &target, rng.u64(..30), &mut rng);
        let (index, records) = restore(&target, &mut rng).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let is_new = index == running.index() && records == running.states[&index];
        let is_old = index == first && records == *lost.get(&first).unwrap_or(&records);
        assert!(is_new || is_old && !is_done, "seed {seed}: {index}");
        succeed(&source, &target);
        assert_eq!(restore(&target, &mut rng).unwrap().0, running.index(), "seed {seed}");
    }
    assert!(shorter > 20, "only {shorter} journals lost their end");
}

/// If the first start on a backup is interrupted, the next one restores again, and every topic gets a new epoch.
#[test]
fn an_interrupted_restore_is_repeated() {
    let mut stopped = 0;
    for seed in 1..=200 {
        let mut rng = Rng::with_seed(seed);
        let (source, target) = (FakeDisk::default(), FakeDisk::default());
        let expected = long(&source, 3, true).seen().1;
        succeed(&source, &target);
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
fn a_full_disk_leaves_the_previous_backup_and_partial_copies_are_reused_or_removed() {
    let (source, target) = (FakeDisk::default(), FakeDisk::default());
    let mut running = Running::start(&source, 7);
    running.go_on(60);
    succeed(&source, &target);
    let (mut first, room, mut failed) = (running.index(), target.used(), 0);
    for _ in 0..20 {
        running.go_on(150);
        // Enough space for one of the new segments.
        target.set_capacity(Some(target.used().max(room) + 3 * u64::from(SEGMENT) / 2));
        match backup(&source, &target) {
            Ok(_) => first = running.index(),
            Err(BackupError::Target(OpenError::Io { cause, .. })) if cause.kind() == io::ErrorKind::StorageFull => {
                failed += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(restore(&target, &mut Rng::with_seed(1)).unwrap().0, first);
        let present = names(&source, "");
        let is_needed = |name: &String| present.contains(&name.trim_end_matches(".new").to_owned());
        assert!(names(&target, ".new").iter().all(is_needed), "{:?}", target.files());
    }
    assert!(failed > 3, "{failed} backups failed");
    // Twice the size of one backup is enough, whatever failed before.
    target.set_capacity(Some(room + source.used()));
    succeed(&source, &target);
    assert_eq!(restore(&target, &mut Rng::with_seed(1)).unwrap().0, running.index());
}

#[test]
fn a_backup_is_checked_when_it_is_restored_and_can_be_repaired() {
    let (source, target) = (FakeDisk::default(), FakeDisk::default());
    drop(long(&source, 3, true));
    succeed(&source, &target);
    for name in [names(&target, ".log"), names(&target, ".checkpoint")].concat() {
        let disk = target.copy_after_crash(&mut Rng::with_seed(1));
        let len = read(&disk, &name).len();
        disk.flip(&name, (len - 9) * 8);
        let error = Live::start_mending(&disk, false, SEGMENT).map(|_| ()).unwrap_err();
        assert!(matches!(&error, OpenError::Damaged { file, .. } if *file == name), "{error}");
        if name.ends_with(".log") {
            let repaired = repair(&disk, &FakeDisk::default(), (true, 1 << 16), &mut Scratch::new(blank())).unwrap();
            assert!(repaired.is_done, "{name}");
            let (live, ..) = Live::start_mending(&disk, false, SEGMENT).unwrap();
            assert!(live.epoch("topic/0") > Epoch(1000), "{name}");
        }
        let disk = target.copy_after_crash(&mut Rng::with_seed(1));
        disk.remove(&name).unwrap();
        assert!(Live::start_mending(&disk, false, SEGMENT).is_err(), "{name}");
    }
}

#[test]
fn damage_of_the_journal_is_reported_and_copied() {
    let (source, target) = (FakeDisk::default(), FakeDisk::default());
    drop(long(&source, 3, true));
    source.flip("0000000001.log", 8000);
    let newest = names(&source, ".checkpoint").pop().unwrap();
    source.flip(&newest, 400);
    let copied = succeed(&source, &target);
    let files: Vec<&str> = copied.damaged.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(files, [newest.as_str(), "0000000001.log"]);
    let report = inspect(&target, false, || Scratch::new(blank())).unwrap().1;
    assert!(report.loses_records() && report.damaged_checkpoints.is_empty(), "{report:?}");
}

#[test]
fn a_folder_with_other_files_is_refused_as_the_target_of_a_backup() {
    let source = FakeDisk::default();
    drop(long(&source, 2, true));
    let other = FakeDisk::default();
    drop(long(&other, 2, false));
    let before = other.files();
    let is_foreign = |result| matches!(result, Err(BackupError::Target(OpenError::Foreign { .. })));
    assert!(is_foreign(backup(&source, &other)), "a journal is not a backup");
    assert_eq!(other.files(), before);
    let none = backup(&FakeDisk::default(), &FakeDisk::default());
    assert!(matches!(none, Err(BackupError::Source(OpenError::Foreign { .. }))));
    let target = FakeDisk::default();
    succeed(&source, &target);
    let of_backup = backup(&target, &FakeDisk::default());
    assert!(matches!(of_backup, Err(BackupError::Source(OpenError::Foreign { .. }))));
}
