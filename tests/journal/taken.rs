//! Snapshots that are copied from another node: such a snapshot replaces the state that the journal had of the group,
//! as a whole or not at all wherever a crash happens, and the log continues after it.

use std::io;

use dht_node::entry::{Entry, Found, LogQuery, Wanted};
use dht_node::types::{Offset, TopicId};
use fastrand::Rng;

use crate::cleaning::{clean_all, commit, free};
use crate::disk::FakeDisk;
use crate::groups::fetch;
use crate::model::{self, Live, SLOT, by_id};

/// Two nodes, one of which has applied fewer entries, and the generator of these entries.
struct Pair {
    ahead: Live,
    behind: Live,
    disk: FakeDisk,
    rng: Rng,
    serial: u64,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let disk = FakeDisk::default();
        let (ahead, ..) = Live::start(&FakeDisk::default(), false).unwrap();
        let (behind, ..) = Live::start(&disk, false).unwrap();
        let mut pair = Self { ahead, behind, disk, rng: Rng::with_seed(seed), serial: 0 };
        let both = pair.rng.usize(..60);
        pair.advance(both, true);
        let one = pair.rng.usize(1..60);
        pair.advance(one, false);
        pair
    }

    /// Applies further entries at the node that is ahead, or at both.
    fn advance(&mut self, bodies: usize, both: bool) {
        for _ in 0..bodies {
            let entries = model::entries(&mut self.rng, &self.ahead.node, &mut self.serial);
            // With topic ids instead of names, as a node proposes them: otherwise a lost index could not be rebuilt.
            let entries: Vec<Entry> = entries.into_iter().map(|entry| by_id(entry, &self.ahead.node)).collect();
            commit(&mut self.ahead, entries.clone());
            if both {
                commit(&mut self.behind, entries);
            }
            match self.rng.u8(..20) {
                0 => self.ahead.checkpoint().unwrap(),
                1 => self.behind.checkpoint().unwrap(),
                2 => _ = self.ahead.clean(usize::MAX).unwrap(),
                3 => _ = self.behind.clean(usize::MAX).unwrap(),
                _ => {}
            }
        }
    }

    /// Appends entries to the log of the node that is behind, without applying them, as if another leader had replaced
    /// them later.
    fn diverge(&mut self) {
        for _ in 0..self.rng.usize(..30) {
            let entries = model::entries(&mut self.rng, &self.behind.node, &mut self.serial);
            self.behind.append(entries).unwrap();
        }
    }

    fn copy(&mut self) -> io::Result<()> {
        let state = self.ahead.state();
        let taken = self.behind.take(&state, &self.ahead)?;
        self.behind.install(state, taken)
    }
}

#[test]
fn a_copied_state_replaces_what_was_there_and_the_log_goes_on_after_it() {
    for seed in 0..300 {
        let mut pair = Pair::new(seed);
        pair.diverge();
        pair.copy().unwrap();
        assert!(pair.behind.seen() == pair.ahead.seen(), "seed {seed}: after the copy");
        for round in 0..3 {
            if pair.rng.bool() {
                pair.disk.crash(&mut pair.rng);
                pair.behind = Live::start(&pair.disk, false).unwrap_or_else(|error| panic!("seed {seed}: {error}")).0;
                assert!(pair.behind.seen() == pair.ahead.seen(), "seed {seed}, round {round}: after a start");
            }
            let count = pair.rng.usize(..20);
            pair.advance(count, true);
            assert!(pair.behind.seen() == pair.ahead.seen(), "seed {seed}, round {round}: after more entries");
        }
        clean_all(&mut pair.behind).unwrap();
        free(&mut pair.behind).unwrap();
        assert!(pair.behind.seen() == pair.ahead.seen(), "seed {seed}: cleaned");
    }
}

#[test]
fn a_crash_at_any_step_of_a_copy_leaves_the_old_state_or_the_new_one() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..3 {
        for serial in 0.. {
            let mut pair = Pair::new(seed);
            let (before, after) = (pair.behind.seen(), pair.ahead.seen());
            pair.disk.stop_after(serial);
            let end = pair.copy();
            let has_stopped = pair.disk.has_stopped();
            assert!(end.is_ok() || has_stopped, "{end:?}");
            for crash in 0..3 {
                let disk = pair.disk.copy_after_crash(&mut Rng::with_seed(serial * 3 + crash));
                let case = format!("seed {seed}, step {serial}, crash {crash}");
                let (behind, ..) = Live::start(&disk, false).unwrap_or_else(|error| panic!("{case}: {error}"));
                let seen = behind.seen();
                assert!(seen == before && end.is_err() || seen == after, "{case}");
                *if seen == before { &mut old } else { &mut new } += 1;
                // A second copy meets the files that the first one has left behind.
                if seen == before {
                    let state = pair.ahead.state();
                    let mut behind = behind;
                    let taken = behind.take(&state, &pair.ahead).unwrap();
                    behind.install(state, taken).unwrap();
                    free(&mut behind).unwrap();
                    assert!(behind.seen() == after, "{case}: copied again");
                    assert!(disk.files().iter().all(|(name, _)| !name.ends_with(".new")), "{case}");
                }
            }
            if !has_stopped {
                break;
            }
        }
    }
    assert!(old > 50 && new > 10, "{old} {new}");
}

#[test]
fn lost_files_are_rebuilt_after_a_copy() {
    let mut mended = 0;
    for seed in 0..60 {
        let mut pair = Pair::new(seed);
        pair.diverge();
        pair.copy().unwrap();
        let count = pair.rng.usize(..20);
        pair.advance(count, true);
        let expected = pair.ahead.seen();
        let names: Vec<String> = pair.disk.files().into_iter().map(|(name, _)| name).collect();
        let newest = names.iter().filter(|name| name.ends_with(".checkpoint")).max();
        for name in names.iter().filter(|name| name.ends_with(".index") || Some(*name) == newest) {
            let disk = pair.disk.copy();
            disk.flip(name, 100);
            let (behind, _, _, lines) = Live::start_mending(&disk, false, model::SEGMENT)
                .unwrap_or_else(|error| panic!("seed {seed}, {name}: {error}"));
            assert!(behind.seen() == expected, "seed {seed}, {name}: {lines:?}");
            mended += lines.len();
        }
    }
    assert!(mended > 60, "{mended}");
}

/// The leader's retention removes records while they are being copied. A later entry of the log removes them at the
/// copying node, too.
#[test]
fn what_is_removed_during_a_copy_is_a_gap_until_the_log_says_so() {
    let mut gaps = 0;
    for seed in 0..100 {
        let mut pair = Pair::new(seed);
        let state = pair.ahead.state();
        let Some(topic) = pair.rng.choice(&state.kept).copied() else { continue };
        let first = Offset(pair.rng.u64(topic.first.0..=topic.next.0));
        let trim = vec![Entry::Trim { topic: topic.id, first }];
        commit(&mut pair.ahead, trim.clone());
        let taken = pair.behind.take(&state, &pair.ahead).unwrap();
        pair.behind.install(state, taken).unwrap();
        gaps += u32::from(is_gap(&pair.behind, topic.id, topic.first));
        commit(&mut pair.behind, trim);
        assert!(pair.behind.seen() == pair.ahead.seen(), "seed {seed}");
        pair.disk.crash(&mut pair.rng);
        let (behind, ..) = Live::start(&pair.disk, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(behind.seen() == pair.ahead.seen(), "seed {seed}: after a start");
    }
    assert!(gaps > 20, "{gaps}");
}

fn is_gap(live: &Live, topic: TopicId, from: Offset) -> bool {
    let wanted = Wanted::Records { from, max_bytes: 1, max_records: 1 };
    matches!(live.find(topic, wanted), Ok(Found::Gap(_)))
}

/// Bodies of the log from before the copy are never read for another member.
#[test]
fn the_log_begins_after_the_copied_state() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed);
        pair.diverge();
        pair.copy().unwrap();
        let index = pair.ahead.state().index;
        pair.advance(5, true);
        for round in 0..2 {
            let last = index + 5;
            for from in 0..last {
                let query = LogQuery { slot: SLOT, index: from, last, bytes_max: usize::MAX };
                let bodies = fetch(pair.behind.keeper(), query).unwrap().bodies;
                // An answer contains the term of the body before its first one. After a start, that of the state's last
                // body is unknown.
                let least = if round == 0 { index } else { index + 1 };
                let expected = if from < least { 0 } else { last - from };
                assert_eq!(bodies.len() as u64, expected, "seed {seed}, round {round}, from {from} of {index}");
            }
            pair.behind = Live::start(&pair.disk, false).unwrap().0;
        }
    }
}

#[test]
fn a_copy_that_does_not_fit_changes_nothing() {
    let mut pair = Pair::new(7);
    let (seen, used) = (pair.behind.seen(), pair.disk.used());
    let state = pair.ahead.state();
    pair.behind.set_capacity(used);
    let error = pair.behind.take(&state, &pair.ahead).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    pair.behind.set_capacity(u64::MAX);
    let taken = pair.behind.take(&state, &pair.ahead).unwrap();
    assert!(pair.disk.used() > used, "there was something to copy");
    pair.behind.drop_taken(taken).unwrap();
    assert_eq!(pair.disk.used(), used);
    // A state whose records were not taken is not installed.
    let error = pair.behind.install(state, dht_node::journal::Taken::default()).unwrap_err();
    assert!(error.to_string().contains("lacks records"), "{error}");
    assert!(pair.behind.seen() == seen);
    free(&mut pair.behind).unwrap();
    assert!(Live::start(&pair.disk, false).unwrap().0.seen() == seen);
}
