//! The part of a group's log that a member has in memory, as Raft reads it.
//!
//! ```text
//!   on disk only │ window: applied, for followers that are behind │ not applied: always in memory
//!               base                                           applied                          last
//! ```
//!
//! The library gets an error for entries before the window, which it reads only to send them to a follower. An error
//! for any other entry would be fatal to it, but all others that it reads are after `applied`.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::message::{LogEntry, MemberId};
use super::{Fault, Restored, convert};
use crate::limits::LOG_ENTRY_BYTES;

/// The log in memory.
#[derive(Debug)]
pub(super) struct Log {
    /// The state in which the library begins.
    initial: RaftState,
    /// Index and term of the entry before the first one in memory.
    base: (u64, u64),
    entries: VecDeque<LogEntry>,
    applied: u64,
    /// Bytes of the entries up to `applied`, and how many there may be.
    window_bytes: usize,
    window_bytes_max: usize,
}

impl Log {
    /// Returns the log as a start has found it.
    ///
    /// # Errors
    ///
    /// The log does not reach as far as was committed or applied, or has gaps: a part of it is lost.
    pub(super) fn new(members: &[MemberId], restored: Restored, window_bytes_max: usize) -> Result<Self, Fault> {
        let Restored { hard, commit, applied, base, entries } = restored;
        let last = entries.last().map_or(base.0, |entry| entry.index);
        let indexes = entries.iter().map(|entry| entry.index);
        if !indexes.eq(base.0 + 1..=last) || applied < base.0 || applied > commit || commit > last {
            return Err(Fault::Lost { commit, last });
        }
        let hard_state = HardState {
            // The library panics when it refuses a pre-vote in term zero.
            term: hard.term.max(1),
            vote: hard.vote.map_or(0, MemberId::as_u64),
            commit,
            ..HardState::default()
        };
        let voters = members.iter().map(|member| member.as_u64()).collect();
        let initial = RaftState::new(hard_state, ConfState { voters, ..ConfState::default() });
        let mut log =
            Self { initial, base, entries: entries.into(), applied: base.0, window_bytes: 0, window_bytes_max };
        log.set_applied(applied);
        Ok(log)
    }

    /// Index of the last entry.
    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    /// Returns the term of the entry at `index`, if it or the entry after it is in memory.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            Some(self.base.1)
        } else {
            self.entries.get(self.place(index)?).map(|entry| entry.term)
        }
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
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let of_range = self.entries.range(self.place_range(low, high)).enumerate();
        let fitting = of_range.take_while(|(nth, entry)| {
            bytes += size(entry) as u64;
            *nth == 0 || bytes <= bytes_max
        });
        Ok(fitting.map(|(_, entry)| convert::to_raft_entry(entry)).collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let missing = if index < self.base.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_at(index).ok_or(Error::Store(missing))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hard;
    use super::super::tests::{entry, member};
    use super::*;

    fn log(commit: u64, applied: u64, base: (u64, u64), count: u64) -> Result<Log, Fault> {
        let entries = (base.0 + 1..=base.0 + count).map(|index| entry(index, 2)).collect();
        let restored = Restored { hard: Hard { term: 2, vote: None }, commit, applied, base, entries };
        Log::new(&[member(1)], restored, 10 * size(&entry(1, 1)))
    }

    fn indexes(log: &Log, low: u64, high: u64, bytes_max: u64) -> raft::Result<Vec<u64>> {
        let entries = log.entries(low, high, bytes_max, GetEntriesContext::empty(false))?;
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
        let restored = Restored { entries: vec![entry(1, 1), entry(3, 1)], ..Restored::default() };
        assert_eq!(Log::new(&[member(1)], restored, 0).err(), lost(0, 3));
    }

    #[test]
    fn what_is_applied_stays_for_a_while_and_the_rest_always() {
        let mut log = log(20, 0, (0, 0), 30).expect("nothing is lost");
        assert_eq!(log.first_index(), Ok(1));
        log.set_applied(10);
        assert_eq!(log.first_index(), Ok(1));
        log.set_applied(14);
        assert_eq!((log.first_index(), log.last_index()), (Ok(5), Ok(30)));
        assert_eq!((log.term(4), log.term(5), log.term(30)), (Ok(2), Ok(2), Ok(2)));
        assert_eq!(log.term(3), Err(Error::Store(StorageError::Compacted)));
        assert_eq!(log.term(31), Err(Error::Store(StorageError::Unavailable)));
        assert_eq!(indexes(&log, 4, 6, u64::MAX), Err(Error::Store(StorageError::Compacted)));
        assert_eq!(indexes(&log, 5, 7, u64::MAX), Ok(vec![5, 6]));
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
