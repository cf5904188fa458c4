//! The journal on a disk that fails: after a crash at any step, all durable records are there, in order, and nothing
//! that was not appended.
//!
//! JOURNAL_START and JOURNAL_SEEDS choose the seeds; a failure prints its seed.

#![expect(clippy::unwrap_used, reason = "an unexpected result fails the test")]

mod backups;
mod bodies;
mod cleaning;
mod crafted;
mod derived;
#[path = "../support/disk.rs"]
#[expect(dead_code, reason = "the simulator uses the rest")]
mod disk;
mod formats;
mod groups;
mod marks;
mod members;
mod model;
#[path = "../support/opened.rs"]
mod opened;
mod owners;
mod reads;
#[path = "../support/records.rs"]
mod records;
mod recovered;
mod rescue;
mod taken;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dht_node::entry::Entry;
use dht_node::journal::OpenError;
use fastrand::Rng;

use disk::FakeDisk;
use model::{Live, SEGMENT, Seen, blank, seen};

/// Number of seeds in an ordinary run.
const SEEDS: u64 = 2000;

/// The expected log: the entries of each record, from index 1.
#[derive(Default)]
struct Truth {
    records: Vec<Vec<Entry>>,
    /// The numbers of durable and of acknowledged records, which differ only with interval sync.
    durable: usize,
    acked: usize,
    /// The number of starts since then that were interrupted by a crash. Each may have raised the epochs.
    stopped: usize,
}

impl Truth {
    /// Returns the state after the first `records` records.
    fn seen(&self, records: usize) -> Seen {
        seen_after(&self.records[..records])
    }

    /// Checks that the number of records and the state that a start has found are possible, and continues from them.
    fn take(&mut self, found: usize, state: &Seen, is_lossy: bool) {
        let raise = || vec![Entry::RaiseEpochs];
        let before = (0..=self.stopped.min(found)).find(|raises| {
            let mut records = self.records[..(found - raises).min(self.records.len())].to_vec();
            records.extend((0..*raises).map(|_| raise()));
            records.extend(is_lossy.then(raise));
            seen_after(&records) == *state
        });
        let raises = before.unwrap_or_else(|| panic!("unexpected state after record {found}"));
        let kept = found - raises;
        assert!(kept >= self.durable, "{} records were durable, {kept} are there", self.durable);
        assert!(kept <= self.records.len(), "{} records were appended, {kept} are there", self.records.len());
        let is_reported = is_lossy || raises > 0;
        assert!(kept >= self.acked || is_reported, "{} records were acknowledged, {kept} are there", self.acked);
        self.records.truncate(kept);
        self.records.extend((0..raises + usize::from(is_lossy)).map(|_| raise()));
        (self.durable, self.acked, self.stopped) = (self.records.len(), self.records.len(), 0);
    }
}

fn seen_after(records: &[Vec<Entry>]) -> Seen {
    let mut node = blank();
    for entries in records {
        node.replay(model::SLOT, entries.clone());
    }
    seen(&node)
}

/// How a run of the node ended.
enum End {
    /// The machine crashed.
    Crash,
    /// The node was shut down in an orderly way.
    Clean,
}

/// Appends records, syncs and makes checkpoints a random number of times, or until the machine stops.
fn live(
    live: &mut Live,
    truth: &mut Truth,
    is_interval_sync: bool,
    (serial, rng): (&mut u64, &mut Rng),
) -> io::Result<End> {
    for _ in 0..rng.usize(1..60) {
        let entries = model::entries(rng, &live.node, serial);
        // The records may survive even if appending them failed.
        let records = live.append(entries.clone());
        match records {
            Ok(records) => truth.records.extend(records),
            Err(error) => {
                truth.records.push(entries);
                return Err(error);
            }
        }
        match rng.u8(..10) {
            0..6 if is_interval_sync => {
                live.write()?;
                truth.acked = truth.records.len();
            }
            0..6 => {
                live.sync()?;
                (truth.durable, truth.acked) = (truth.records.len(), truth.records.len());
            }
            6 => {
                if is_interval_sync {
                    live.write()?;
                } else {
                    live.sync()?;
                }
                truth.acked = truth.records.len();
                live.checkpoint()?;
                // The records that a checkpoint refers to are durable, and so is everything before them.
                truth.durable = truth.acked;
            }
            7 => drop(live.clean(rng.usize(1..6))?),
            _ => {}
        }
    }
    if rng.u8(..4) > 0 {
        return Ok(End::Crash);
    }
    live.finish()?;
    (truth.durable, truth.acked) = (truth.records.len(), truth.records.len());
    Ok(End::Clean)
}

/// Runs and crashes a node several times on one disk, with a sync before each acknowledgement or with interval sync.
/// Returns the number of crashes.
fn run(seed: u64) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let (disk, mut truth, mut serial, mut crashes) = (FakeDisk::default(), Truth::default(), 0, 0);
    let interval_percent = [0, 0, 50][rng.usize(..3)];
    for _ in 0..rng.usize(2..12) {
        if rng.u8(..3) > 0 {
            disk.stop_after(rng.u64(..400));
        }
        let is_interval_sync = rng.u8(..100) < interval_percent;
        let (mut node, last, is_lossy) = match Live::start(&disk, is_interval_sync) {
            Ok(started) => started,
            Err(error) => {
                assert!(disk.has_stopped(), "{error}");
                disk.crash(&mut rng);
                (crashes, truth.stopped) = (crashes + 1, truth.stopped + usize::from(interval_percent > 0));
                continue;
            }
        };
        assert!(
            !is_lossy || interval_percent > 0,
            "a loss was reported although every acknowledged record was durable"
        );
        truth.take(usize::try_from(last.bodies).unwrap(), &node.seen(), is_lossy);
        let end = live(&mut node, &mut truth, is_interval_sync, (&mut serial, &mut rng));
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
fn durable_records_are_there_after_any_crash() {
    let (start, count) = (number("JOURNAL_START").unwrap_or(1), number("JOURNAL_SEEDS").unwrap_or(SEEDS));
    let mut crashes = 0;
    for seed in start..start + count {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(more) => crashes += more,
            Err(panic) => {
                println!(
                    "seed {seed}; to repeat: JOURNAL_START={seed} JOURNAL_SEEDS=1 cargo test --test journal crash"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{count} seeds, {crashes} crashes");
    assert!(crashes > count, "only {crashes} crashes");
}

/// Records acknowledged with `--sync interval` may be lost in a crash; then every log begins a new epoch.
#[test]
fn a_possible_loss_after_a_crash_with_interval_sync_is_reported() {
    let mut reported = 0;
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
        reported += u64::from(is_lossy);
    }
    assert!(reported > SEEDS / 4, "{reported} of {SEEDS}");
}

/// The start that finds a possible loss may crash as well, before the new epochs are durable. Then the next one begins
/// them, although it finds a log that the start before has opened with another `--sync`.
#[test]
fn a_possible_loss_is_reported_although_the_start_that_found_it_crashed() {
    let mut stopped = 0;
    for seed in 1..=SEEDS / 4 {
        let mut rng = Rng::with_seed(seed);
        let disk = FakeDisk::default();
        let (mut node, ..) = Live::start(&disk, true).unwrap();
        node.append(vec![model::create("t", 1)]).unwrap();
        node.sync().unwrap();
        let before = node.epoch("t");
        disk.crash(&mut rng);
        disk.stop_after(rng.u64(..60));
        let is_stopped = Live::start(&disk, false).is_err();
        assert!(!is_stopped || disk.has_stopped(), "seed {seed}");
        stopped += u64::from(is_stopped);
        disk.crash(&mut rng);
        let (node, ..) = Live::start(&disk, false).unwrap();
        assert!(
            node.epoch("t") > before,
            "seed {seed}: the first start was {}",
            if is_stopped { "stopped" } else { "whole" }
        );
    }
    assert!((SEEDS / 16..SEEDS / 4).contains(&stopped), "{stopped} starts were stopped");
}

/// On a full disk appends fail, but all records stay readable, and appends succeed again when there is space.
#[test]
fn a_full_disk_loses_nothing_and_appends_succeed_again_when_there_is_space() {
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
            truth.durable = truth.records.len();
        };
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        disk.crash(&mut rng);
        disk.set_capacity(None);
        let (mut node, last, _) = Live::start(&disk, false).unwrap();
        let found = usize::try_from(last.bodies).unwrap();
        assert!(found >= truth.durable && node.seen() == truth.seen(found), "seed {seed}");
        node.append(model::entries(&mut rng, &node.node, &mut serial)).unwrap();
        node.sync().unwrap();
    }
}

/// After a failed sync the process ends, and the next start rewrites and syncs what it finds before it relies on it.
#[test]
fn a_failed_sync_acknowledges_nothing_and_the_next_start_makes_what_it_finds_durable() {
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
            truth.durable = truth.records.len();
        }
        // The page cache still has the data that was not written. A start that relied on it would lose it at the next
        // crash.
        disk.fail_sync_after(None);
        let (node, last, _) = Live::start(&disk, false).unwrap();
        let found = usize::try_from(last.bodies).unwrap();
        assert!(found >= truth.durable && node.seen() == truth.seen(found), "seed {seed}");
        disk.crash(&mut rng);
        let (node, last, _) = Live::start(&disk, false).unwrap();
        assert_eq!(usize::try_from(last.bodies).unwrap(), found, "seed {seed}");
        assert!(node.seen() == truth.seen(found), "seed {seed}");
    }
}

#[test]
fn a_damaged_bit_is_detected_or_harmless() {
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
        let durable = truth.records.len();
        drop(node);
        let files: Vec<_> = disk.files().into_iter().filter(|(name, len)| *len > 0 && name != "identity").collect();
        let (name, len) = &files[rng.usize(..files.len())];
        disk.flip(name, rng.usize(..len * 8));
        // Records from before the checkpoint are checked only when they are read.
        let started = Live::start_mending(&disk, false, SEGMENT);
        match started.and_then(|(node, last, ..)| Ok((node.read()?, last))) {
            Ok((seen, last)) => {
                harmless += 1;
                let last = usize::try_from(last.bodies).unwrap();
                assert!(
                    last >= durable,
                    "seed {seed}: {durable} records were durable, {last} are there, {name} is damaged"
                );
                assert!(seen == truth.seen(last), "seed {seed}: unexpected state, {name} is damaged");
            }
            Err(OpenError::Damaged { .. }) => found += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(found > 50 && harmless > 50, "{found} found, {harmless} harmless");
}
