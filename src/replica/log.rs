//! The part of a group's log that a member has in memory, as Raft reads it.
//!
//! ```text
//!   on disk only │ window: applied, for followers that are behind │ not applied: always in memory
//!               base                                           applied                          last
//! ```
//!
//! The library reads entries before the window only to send them to a follower. They are fetched from the disk then,
//! and the library is told to try again. Such a delay would be fatal for entries that it reads for other reasons, but
//! all of those are after `applied`.

use std::cell::Cell;
use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::message::{LogEntry, MemberId};
use super::{Fault, Restored, convert};
use crate::limits::{FETCHES_MAX, LOG_ENTRY_BYTES};

/// The log in memory.
pub(super) struct Log {
    /// The state in which the library begins.
    initial: RaftState,
    /// Entries before this index are not on the disk any more, or are not sent because they precede the founding.
    first: u64,
    /// Index and term of the entry before the first one in memory.
    base: (u64, u64),
    entries: VecDeque<LogEntry>,
    applied: u64,
    /// Entries from the disk while the library reads them, and index and term of the one before them.
    fetched: Option<((u64, u64), Vec<LogEntry>)>,
    /// What the library wanted to read and is not in memory; a cell, because it reads through a shared reference.
    wanted: Cell<Vec<Want>>,
    /// Bytes of the entries up to `applied` that are in memory; `window_bytes_max` is the limit.
    window_bytes: usize,
    window_bytes_max: usize,
}

/// Entries that the library wants to send to a follower, and that are only on the disk.
pub(super) struct Want {
    /// The index before the first of them.
    pub(super) index: u64,
    /// The library's note of which follower they are for, to be passed back to it.
    pub(super) context: GetEntriesContext,
}

impl Log {
    /// Returns the log as a start has found it.
    ///
    /// # Errors
    ///
    /// Returns what is lost: the log ends before what was committed or applied, or has gaps, or the hard state is older
    /// than the last entry.
    pub(super) fn new(members: &[MemberId], restored: Restored, window_bytes_max: usize) -> Result<Self, Fault> {
        if let Some(fault) = restored.fault() {
            return Err(fault);
        }
        let Restored { hard, commit, applied, base, entries } = restored;
        let hard_state = HardState {
            // The library panics when it refuses a pre-vote in term zero.
            term: hard.term.max(1),
            vote: hard.vote.map_or(0, MemberId::as_u64),
            commit,
            ..HardState::default()
        };
        let voters = members.iter().map(|member| member.as_u64()).collect();
        let initial = RaftState::new(hard_state, ConfState { voters, ..ConfState::default() });
        // Entries from before the founding are never sent. What they lead to may differ from the founder's state, which
        // an earlier version of the program, a repair or a restored backup has shaped. So the others copy that state.
        let first = (hard.founding.last + 1).min(base.0 + 1);
        let mut log = Self {
            initial,
            first: planted!("entries from before the founding are sent", first, 1),
            base,
            entries: entries.into(),
            applied: base.0,
            fetched: None,
            wanted: Cell::default(),
            window_bytes: 0,
            window_bytes_max,
        };
        log.set_applied(applied);
        Ok(log)
    }

    /// Index of the last entry.
    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    /// Returns the term of the entry at `index`, if it or the entry after it is in memory.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if let Some((base, entries)) = &self.fetched {
            let fetched = entries.iter().map(|entry| (entry.index, entry.term));
            let found = std::iter::once(*base).chain(fetched).find(|(known, _)| *known == index);
            if let Some((_, term)) = found {
                return Some(term);
            }
        }
        let known = [(0, 0), self.base].into_iter().find(|(known, _)| *known == index);
        known.map(|(_, term)| term).or_else(|| self.entries.get(self.place(index)?).map(|entry| entry.term))
    }

    /// Returns true if an entry in memory, or the one before them, is of at most this term and has at most this index.
    pub(super) fn has_term_until(&self, index: u64, term: u64) -> bool {
        self.base.0 <= index && self.base.1 <= term
    }

    /// Returns what the library could not read since the last call.
    pub(super) fn take_wanted(&self) -> Vec<Want> {
        self.wanted.take()
    }

    /// Makes entries from the disk readable, until `None` takes their place.
    pub(super) fn set_fetched(&mut self, fetched: Option<((u64, u64), Vec<LogEntry>)>) {
        self.fetched = fetched;
    }

    /// Records that the entry after `index` is not on the disk any more, nor is any before it.
    pub(super) fn set_missing(&mut self, index: u64) {
        self.first = self.first.max(index + 2).min(self.base.0 + 1);
    }

    /// Returns entries from before the window, if they have been fetched.
    fn fetched(&self, low: u64, high: u64) -> Option<impl Iterator<Item = &LogEntry>> {
        let ((before, _), entries) = self.fetched.as_ref()?;
        let skipped = usize::try_from(low.checked_sub(before + 1)?).ok()?;
        let found = entries.get(skipped..).filter(|rest| !rest.is_empty())?;
        Some(found.iter().take_while(move |entry| entry.index < high))
    }

    /// Adds entries. They replace entries of another leader from their first index on.
    pub(super) fn append(&mut self, entries: &[LogEntry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.applied, "{} is applied already, up to {}", first.index, self.applied);
        assert!(first.index <= self.last() + 1, "{} would leave a gap after {}", first.index, self.last());
        self.entries.truncate(self.place(first.index).expect("it is behind everything applied"));
        self.entries.extend(entries.iter().cloned());
    }

    /// Records that everything up to `index` is applied, and drops the oldest entries beyond the window.
    pub(super) fn set_applied(&mut self, index: u64) {
        assert!(self.applied <= index && index <= self.last(), "{index} is not within the log");
        let newly = self.place_range(self.applied + 1, index + 1);
        self.window_bytes += self.entries.range(newly).map(size).sum::<usize>();
        self.applied = index;
        while self.window_bytes > self.window_bytes_max {
            let entry = self.entries.pop_front().expect("bytes are of entries");
            self.window_bytes -= size(&entry);
            self.base = (entry.index, entry.term);
        }
    }

    /// Where the entry with this index is, or would be, in `entries`; `None` before the window.
    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.0 + 1)?).ok()
    }

    fn place_range(&self, from: u64, end: u64) -> std::ops::Range<usize> {
        let place = |index| self.place(index).expect("the caller has looked");
        place(from)..place(end)
    }
}

/// Returns the first of the entries that are not larger than this together, but at least one.
fn fitting<'e>(entries: impl Iterator<Item = &'e LogEntry>, bytes_max: u64) -> Vec<Entry> {
    let mut bytes = 0;
    let fitting = entries.enumerate().take_while(|(nth, entry)| {
        bytes += size(entry) as u64;
        *nth == 0 || bytes <= bytes_max
    });
    fitting.map(|(_, entry)| convert::to_raft_entry(entry)).collect()
}

/// What an entry counts in the limits.
pub(super) fn size(entry: &LogEntry) -> usize {
    entry.body.len() + LOG_ENTRY_BYTES
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        if low > self.base.0 {
            return Ok(fitting(self.entries.range(self.place_range(low, high)), bytes_max));
        }
        if let Some(fetched) = self.fetched(low, high) {
            return Ok(fitting(fetched, bytes_max));
        }
        assert!(context.can_async(), "entry {low} is applied, and only followers may still need it");
        let mut wanted = self.wanted.take();
        if wanted.len() < FETCHES_MAX {
            wanted.push(Want { index: low - 1, context });
        }
        self.wanted.set(wanted);
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.term_at(index).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Returns the snapshot to offer to a follower that needs entries which are no longer on the disk: that of
    /// everything applied here.
    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        let term = self.term_at(self.applied).filter(|_| self.applied > 0);
        let term = term.ok_or(Error::Store(StorageError::SnapshotTemporarilyUnavailable))?;
        let voters = self.initial.conf_state.voters.clone();
        Ok(convert::snapshot(self.applied, term, voters))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, member};
    use super::super::{Founding, Hard};
    use super::*;

    fn log(commit: u64, applied: u64, base: (u64, u64), count: u64) -> Result<Log, Fault> {
        let entries = (base.0 + 1..=base.0 + count).map(|index| entry(index, 2)).collect();
        let restored = Restored { hard: Hard { term: 2, ..Hard::default() }, commit, applied, base, entries };
        Log::new(&[member(1)], restored, 10 * size(&entry(1, 1)))
    }

    fn indexes(log: &Log, low: u64, high: u64, bytes_max: u64) -> raft::Result<Vec<u64>> {
        let entries = log.entries(low, high, bytes_max, GetEntriesContext::empty(true))?;
        Ok(entries.iter().map(|entry| entry.index).collect())
    }

    #[test]
    fn a_start_needs_everything_that_was_committed() {
        let lost = |commit, last| Some(Fault::Lost { commit, last });
        for (commit, applied, base, count, fault) in [
            (0, 0, (0, 0), 0, None),
            (5, 3, (2, 1), 3, None),
            (5, 5, (5, 1), 0, None),
            (6, 5, (5, 1), 0, lost(6, 5)),
            (5, 6, (2, 1), 4, lost(5, 6)),
            (5, 1, (2, 1), 3, lost(5, 5)),
        ] {
            let case = format!("{commit} {applied} {base:?} {count}");
            assert_eq!(log(commit, applied, base, count).err(), fault, "{case}");
        }
        let restored = |entries| Restored { entries, ..Restored::default() };
        let fault = |entries| Log::new(&[member(1)], restored(entries), 0).err();
        assert_eq!(fault(vec![entry(1, 1), entry(3, 1)]), lost(0, 3));
        assert_eq!(fault(vec![entry(1, 0), entry(2, 1)]), Some(Fault::Forgot { term: 1 }));
    }

    #[test]
    fn what_is_applied_stays_for_a_while_and_the_rest_always() {
        let mut log = log(20, 0, (0, 0), 30).expect("nothing is lost");
        log.set_applied(10);
        assert_eq!(indexes(&log, 1, 3, u64::MAX), Ok(vec![1, 2]));
        log.set_applied(14);
        assert_eq!((log.first_index(), log.last_index()), (Ok(1), Ok(30)));
        let unavailable = Err(Error::Store(StorageError::Unavailable));
        for (index, term) in [(0, Ok(0)), (3, unavailable), (4, Ok(2)), (5, Ok(2)), (30, Ok(2))] {
            assert_eq!(log.term(index), term, "{index}");
        }
        assert_eq!(log.term(31), Err(Error::Store(StorageError::Unavailable)));
        assert_eq!(indexes(&log, 5, 7, u64::MAX), Ok(vec![5, 6]));
    }

    #[test]
    fn what_is_older_is_fetched_from_the_disk() {
        let mut log = log(30, 30, (20, 2), 10).expect("nothing is lost");
        let later = Err(Error::Store(StorageError::LogTemporarilyUnavailable));
        for low in [5, 6, 7] {
            assert_eq!(indexes(&log, low, 31, u64::MAX), later, "{low}");
        }
        let wanted: Vec<_> = log.take_wanted().iter().map(|want| want.index).collect();
        assert_eq!((wanted, log.take_wanted().len()), (vec![4, 5], 0));
        log.set_fetched(Some(((4, 1), vec![entry(5, 1), entry(6, 2)])));
        assert_eq!((log.term(4), log.term(5), log.term(6)), (Ok(1), Ok(1), Ok(2)));
        assert_eq!(indexes(&log, 5, 31, u64::MAX), Ok(vec![5, 6]));
        assert_eq!(indexes(&log, 5, 6, u64::MAX), Ok(vec![5]));
        assert_eq!(indexes(&log, 6, 31, u64::MAX), Ok(vec![6]));
        assert_eq!(indexes(&log, 7, 31, u64::MAX), later);
        log.set_fetched(None);
        assert_eq!(indexes(&log, 5, 31, u64::MAX), later);
        // Where it is not on the disk any more, the follower would need a snapshot.
        log.set_missing(4);
        assert_eq!(log.first_index(), Ok(6));
        log.set_missing(30);
        assert_eq!(log.first_index(), Ok(21));
        let snapshot = log.snapshot(0, 2).expect("it has applied something");
        let metadata = snapshot.get_metadata();
        assert_eq!((metadata.index, metadata.term, metadata.get_conf_state().voters.as_slice()), (30, 2, &[1][..]));
    }

    #[test]
    fn entries_from_before_the_founding_are_not_sent() {
        let founding = Founding { number: 1, disks: [1, 2, 3], last: 15 };
        for (base, count, first) in [((20, 2), 10, 16), ((10, 2), 20, 11), ((0, 0), 0, 1)] {
            let hard = Hard { term: 2, founding, ..Hard::default() };
            let entries = (base.0 + 1..=base.0 + count).map(|index| entry(index, 2)).collect();
            let restored = Restored { hard, commit: base.0, applied: base.0, base, entries };
            let log = Log::new(&[member(1)], restored, 0).expect("nothing is lost");
            assert_eq!(log.first_index(), Ok(first), "{base:?}");
        }
    }

    #[test]
    fn a_log_of_which_nothing_is_applied_has_no_state_to_copy() {
        let log = log(0, 0, (0, 0), 3).expect("nothing is lost");
        assert_eq!(log.snapshot(0, 2), Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)));
    }

    #[test]
    fn entries_are_returned_up_to_a_size_but_at_least_one() {
        let log = log(0, 0, (0, 0), 9).expect("nothing is lost");
        let each = size(&entry(1, 1)) as u64;
        for (bytes_max, expected) in [(0, vec![2]), (each, vec![2]), (2 * each - 1, vec![2]), (2 * each, vec![2, 3])] {
            assert_eq!(indexes(&log, 2, 9, bytes_max), Ok(expected));
        }
    }

    #[test]
    fn another_leaders_entries_replace_what_was_not_committed() {
        let mut log = log(2, 2, (0, 0), 6).expect("nothing is lost");
        log.append(&[entry(4, 3), entry(5, 3)]);
        assert_eq!((log.term(3), log.term(4), log.term(5), log.last()), (Ok(2), Ok(3), Ok(3), 5));
        log.append(&[entry(6, 3)]);
        assert_eq!(log.last(), 6);
    }

    #[test]
    #[should_panic(expected = "is applied already")]
    fn what_is_applied_is_never_replaced() {
        log(2, 2, (0, 0), 6).expect("nothing is lost").append(&[entry(2, 3)]);
    }
}
