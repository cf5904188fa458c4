//! The journal on a disk that breaks: after any crash, at any step, everything that was safe is there, in its order,
//! and nothing that was not appended.
//!
//! JOURNAL_START and JOURNAL_SEEDS choose the seeds; a failure names its own.

#![expect(clippy::unwrap_used, reason = "whatever is missing here is a fault of the test")]

mod backups;
mod cleaning;
mod crafted;
mod derived;
#[path = "../support/disk.rs"]
#[expect(dead_code, reason = "the simulator uses the rest")]
mod disk;
mod formats;
mod marks;
mod model;
mod owners;
mod reads;
#[path = "../support/records.rs"]
mod records;
mod rescue;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dht_node::journal::OpenError;
use dht_node::record::Entry;
use fastrand::Rng;

use disk::FakeDisk;
use model::{Live, SEGMENT, Seen, blank, seen};

/// Seeds of an ordinary run.
const SEEDS: u64 = 2000;

/// The log as it was meant: the entries of each record, from index 1.
#[derive(Default)]
struct Truth {
    records: Vec<Vec<Entry>>,
    /// Those that were said to be safe, and those that were acknowledged: as many, unless the journal is lazy.
    safe: usize,
    acked: usize,
    /// Starts that stopped since then: each may have raised the epochs.
    stopped: usize,
}

impl Truth {
    /// What a node sees that has applied so many records.
    fn seen(&self, records: usize) -> Seen {
        seen_after(&self.records[..records])
    }

    /// A start has found so many records, and this state; from here on that is how it was meant.
    fn take(&mut self, found: usize, state: &Seen, is_lossy: bool) {
        let raise = || vec![Entry::RaiseEpochs];
        let before = (0..=self.stopped.min(found)).find(|raises| {
            let mut records = self.records[..(found - raises).min(self.records.len())].to_vec();
            records.extend((0..*raises).map(|_| raise()));
            records.extend(is_lossy.then(raise));
            seen_after(&records) == *state
        });
        let raises = before.unwrap_or_else(|| panic!("after record {found} another state"));
        let kept = found - raises;
        assert!(kept >= self.safe, "{} records were safe, {kept} are there", self.safe);
        assert!(kept <= self.records.len(), "{kept} records of {}", self.records.len());
        let is_told = is_lossy || raises > 0;
        assert!(kept >= self.acked || is_told, "{} records were acknowledged, {kept} are there", self.acked);
        self.records.truncate(kept);
        self.records.extend((0..raises + usize::from(is_lossy)).map(|_| raise()));
        (self.safe, self.acked, self.stopped) = (self.records.len(), self.records.len(), 0);
    }
}

fn seen_after(records: &[Vec<Entry>]) -> Seen {
    let mut node = blank();
    for entries in records {
        node.replay(entries.clone());
    }
    seen(&node)
}

/// What a life of the node came to.
enum End {
    /// The machine stopped.
    Crash,
    /// It ended as it should.
    Clean,
}

/// Appends, syncs and makes checkpoints until the machine stops, or it has had enough.
fn live(live: &mut Live, truth: &mut Truth, is_lazy: bool, (serial, rng): (&mut u64, &mut Rng)) -> io::Result<End> {
    for _ in 0..rng.usize(1..60) {
        let entries = model::entries(rng, &live.node, serial);
        // What is appended may survive, even when appending failed.
        let records = live.append(entries.clone());
        match records {
            Ok(records) => truth.records.extend(records),
            Err(error) => {
                truth.records.push(entries);
                return Err(error);
            }
        }
        match rng.u8(..10) {
            0..6 if is_lazy => {
                live.write()?;
                truth.acked = truth.records.len();
            }
            0..6 => {
                live.sync()?;
                (truth.safe, truth.acked) = (truth.records.len(), truth.records.len());
            }
            6 => {
                if is_lazy {
                    live.write()?;
                } else {
                    live.sync()?;
                }
                truth.acked = truth.records.len();
                live.checkpoint()?;
                // What a checkpoint refers to is durable, and so is everything before it.
                truth.safe = truth.acked;
            }
            7 => drop(live.clean(rng.usize(1..6))?),
            _ => {}
        }
    }
    if rng.u8(..4) > 0 {
        return Ok(End::Crash);
    }
    live.finish()?;
    (truth.safe, truth.acked) = (truth.records.len(), truth.records.len());
    Ok(End::Clean)
}

/// Lives and crashes on one disk, with a sync before each acknowledgement or now and then.
fn run(seed: u64) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let (disk, mut truth, mut serial, mut crashes) = (FakeDisk::default(), Truth::default(), 0, 0);
    let lazy_percent = [0, 0, 50][rng.usize(..3)];
    for _ in 0..rng.usize(2..12) {
        if rng.u8(..3) > 0 {
            disk.stop_after(rng.u64(..400));
        }
        let is_lazy = rng.u8(..100) < lazy_percent;
        let (mut node, last, is_lossy) = match Live::start(&disk, is_lazy) {
            Ok(started) => started,
            Err(error) => {
                assert!(disk.has_stopped(), "{error}");
                disk.crash(&mut rng);
                (crashes, truth.stopped) = (crashes + 1, truth.stopped + usize::from(lazy_percent > 0));
                continue;
            }
        };
        assert!(!is_lossy || lazy_percent > 0, "everything that was acknowledged was safe");
        truth.take(usize::try_from(last.index).unwrap(), &node.seen(), is_lossy);
        let end = live(&mut node, &mut truth, is_lazy, (&mut serial, &mut rng));
        assert!(end.is_ok() || disk.has_stopped(), "{:?}", end.err());
        if !matches!(end, Ok(End::Clean)) {
            crashes += 1;
        }
        disk.crash(&mut rng);
    }
    crashes
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_was_safe_is_there_after_any_crash() {
    let (start, count) = (number("JOURNAL_START").unwrap_or(1), number("JOURNAL_SEEDS").unwrap_or(SEEDS));
    let mut crashes = 0;
    for seed in start..start + count {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(more) => crashes += more,
            Err(panic) => {
                println!("seed {seed}; again: JOURNAL_START={seed} JOURNAL_SEEDS=1 cargo test --test journal crash");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{count} seeds, {crashes} crashes");
    assert!(crashes > count, "a seed has some crashes");
}

/// What `--sync interval` has acknowledged may be lost; then every log begins a new epoch.
#[test]
fn a_loss_that_cannot_be_excluded_is_told() {
    let mut told = 0;
    for seed in 1..=SEEDS {
        let mut rng = Rng::with_seed(seed);
        let (disk, mut serial) = (FakeDisk::default(), 0);
        let (mut node, _, is_lossy) = Live::start(&disk, true).unwrap();
        assert!(!is_lossy);
        for _ in 0..rng.usize(1..30) {
            node.append(model::entries(&mut rng, &node.node, &mut serial)).unwrap();
            node.write().unwrap();
        }
        let is_clean = rng.bool();
        if is_clean {
            node.finish().unwrap();
        }
        disk.crash(&mut rng);
        let (.., is_lossy) = Live::start(&disk, rng.bool()).unwrap();
        assert_eq!(is_lossy, !is_clean, "seed {seed}");
        told += u64::from(is_lossy);
    }
    assert!(told > SEEDS / 4, "{told} of {SEEDS}");
}

/// A full disk takes no more; what is there stays readable, and it goes on when there is space.
#[test]
fn a_full_disk_loses_nothing_and_goes_on() {
    for seed in 1..=SEEDS / 4 {
        let mut rng = Rng::with_seed(seed);
        let (disk, mut truth, mut serial) = (FakeDisk::default(), Truth::default(), 0);
        let (mut node, ..) = Live::start(&disk, false).unwrap();
        disk.set_capacity(Some(u64::from(SEGMENT) * rng.u64(2..6)));
        let refused = loop {
            let entries = model::entries(&mut rng, &node.node, &mut serial);
            match node.append(entries.clone()) {
                Ok(records) => truth.records.extend(records),
                Err(error) => {
                    truth.records.push(entries);
                    break error;
                }
            }
            node.sync().unwrap();
            truth.safe = truth.records.len();
        };
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        disk.crash(&mut rng);
        disk.set_capacity(None);
        let (mut node, last, _) = Live::start(&disk, false).unwrap();
        let found = usize::try_from(last.index).unwrap();
        assert!(found >= truth.safe && node.seen() == truth.seen(found), "seed {seed}");
        node.append(model::entries(&mut rng, &node.node, &mut serial)).unwrap();
        node.sync().unwrap();
    }
}

/// After a sync that failed the process ends; the next start trusts nothing but what it has written anew.
#[test]
fn a_sync_that_failed_acknowledges_nothing_and_the_next_start_has_all_that_was() {
    for seed in 1..=SEEDS / 4 {
        let mut rng = Rng::with_seed(seed);
        let (disk, mut truth, mut serial) = (FakeDisk::default(), Truth::default(), 0);
        let (mut node, ..) = Live::start(&disk, false).unwrap();
        disk.fail_sync_after(Some(rng.u64(..30)));
        loop {
            let entries = model::entries(&mut rng, &node.node, &mut serial);
            match node.append(entries.clone()) {
                Ok(records) => truth.records.extend(records),
                Err(_) => {
                    truth.records.push(entries);
                    break;
                }
            }
            if node.sync().is_err() {
                break;
            }
            truth.safe = truth.records.len();
        }
        // The system still shows what it has not written: a start that believed it would lose it at the next crash.
        disk.fail_sync_after(None);
        let (node, last, _) = Live::start(&disk, false).unwrap();
        let found = usize::try_from(last.index).unwrap();
        assert!(found >= truth.safe && node.seen() == truth.seen(found), "seed {seed}");
        disk.crash(&mut rng);
        let (node, last, _) = Live::start(&disk, false).unwrap();
        assert_eq!(usize::try_from(last.index).unwrap(), found, "seed {seed}");
        assert!(node.seen() == truth.seen(found), "seed {seed}");
    }
}

#[test]
fn a_damaged_bit_is_found_or_does_not_matter() {
    let (mut found, mut harmless) = (0, 0);
    for seed in 1..=SEEDS {
        let mut rng = Rng::with_seed(seed);
        let (disk, mut truth, mut serial) = (FakeDisk::default(), Truth::default(), 0);
        let (mut node, ..) = Live::start(&disk, false).unwrap();
        for _ in 0..rng.usize(5..60) {
            truth.records.extend(node.append(model::entries(&mut rng, &node.node, &mut serial)).unwrap());
            node.sync().unwrap();
            if rng.u8(..20) == 0 {
                node.checkpoint().unwrap();
                node.clean(usize::MAX).unwrap();
            }
        }
        let safe = truth.records.len();
        drop(node);
        let files: Vec<_> = disk.files().into_iter().filter(|(name, len)| *len > 0 && name != "identity").collect();
        let (name, len) = &files[rng.usize(..files.len())];
        disk.flip(name, rng.usize(..len * 8));
        // Records from before the checkpoint are checked only when they are read.
        let started = Live::start_mending(&disk, false, SEGMENT);
        match started.and_then(|(node, last, ..)| Ok((node.read()?, last))) {
            Ok((seen, last)) => {
                harmless += 1;
                let last = usize::try_from(last.index).unwrap();
                assert!(last >= safe, "seed {seed}: {safe} records were safe, {last} are there, {name} is damaged");
                assert!(seen == truth.seen(last), "seed {seed}: another state, {name} is damaged");
            }
            Err(OpenError::Damaged { .. }) => found += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(found > 50 && harmless > 50, "{found} found, {harmless} harmless");
}
