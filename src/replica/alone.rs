//! A member that is alone in its group: it always leads, and what is written is committed.
//!
//! With one voter, Raft does the same. A test compares the two.

use std::collections::VecDeque;

use bytes::Bytes;

use super::message::{LogEntry, MemberId};
use super::{Fault, Hard, Input, Output, Restored, Role, Ticket};

/// A member that is alone in its group.
#[derive(Debug)]
pub(super) struct Alone {
    term: u64,
    /// The index of the last entry.
    last: u64,
    /// The index of the last entry that was put out as committed.
    committed: u64,
    /// The number of the newest write.
    newest: Ticket,
    /// The entries that are not committed yet, each with the write after which it is.
    unwritten: VecDeque<(Ticket, LogEntry)>,
    dropped: u64,
}

impl Alone {
    /// Starts a member: it begins a term, and leads.
    ///
    /// # Errors
    ///
    /// Returns what the disk has lost.
    pub(super) fn new(id: MemberId, restored: Restored, out: &mut Vec<Output>) -> Result<Self, Fault> {
        if let Some(fault) = restored.fault() {
            return Err(fault);
        }
        let (last, _) = restored.last();
        let Restored { hard, commit, applied, entries, .. } = restored;
        let term = hard.term.max(1) + 1;
        let (committed, mut uncommitted): (Vec<_>, Vec<_>) =
            entries.into_iter().filter(|entry| entry.index > applied).partition(|entry| entry.index <= commit);
        let newest = Ticket(0);
        let mut alone = Self { term, last, committed: commit, newest, unwritten: VecDeque::new(), dropped: 0 };
        if !committed.is_empty() {
            out.push(Output::Commit { entries: committed });
        }
        out.push(Output::Role(alone.role()));
        // They lie on the disk before the leader's first entry, so they are committed with it.
        alone.unwritten.extend(uncommitted.drain(..).map(|entry| (Ticket(1), entry)));
        alone.append(Some(Hard { term, vote: Some(id), ..Hard::default() }), Bytes::new(), out);
        Ok(alone)
    }

    /// Handles an input, and adds all of its output to `out`.
    pub(super) fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Propose { body } => {
                out.push(Output::Proposed { index: self.last + 1, term: self.term });
                self.append(None, body, out);
            }
            Input::Written { ticket } => self.on_written(ticket, out),
            Input::Message(_) => self.dropped += 1,
            // Its first entry is in the first write.
            Input::Confirm { at_us } if self.unwritten.front().is_none_or(|(ticket, _)| *ticket > Ticket(1)) => {
                out.push(Output::Confirmed { at_us });
            }
            Input::Tick
            | Input::Confirm { .. }
            | Input::HandOver { .. }
            | Input::Differs { .. }
            | Input::Fetched { .. }
            | Input::NotFetched { .. }
            | Input::CopyReady { .. }
            | Input::Copied
            | Input::NotCopied => {}
        }
    }

    fn append(&mut self, hard: Option<Hard>, body: Bytes, out: &mut Vec<Output>) {
        self.last += 1;
        self.newest.0 += 1;
        let (ticket, entry) = (self.newest, LogEntry { index: self.last, term: self.term, body });
        out.push(Output::Write { ticket, hard, commit: self.committed, entries: vec![entry.clone()] });
        self.unwritten.push_back((ticket, entry));
    }

    fn on_written(&mut self, ticket: Ticket, out: &mut Vec<Output>) {
        let count = self.unwritten.iter().take_while(|(waiting, _)| *waiting <= ticket).count();
        let entries: Vec<LogEntry> = self.unwritten.drain(..count).map(|(_, entry)| entry).collect();
        if let Some(last) = entries.last() {
            self.committed = last.index;
            out.push(Output::Commit { entries });
        }
    }

    /// Returns its role, which never changes.
    pub(super) const fn role(&self) -> Role {
        Role::Leader { term: self.term }
    }

    /// Returns how many messages have come, although there is nobody who could send one.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Asserts what must hold after each input.
    pub(super) fn check(&self) {
        assert_eq!(self.last, self.committed + self.unwritten.len() as u64, "each entry is committed or waits");
        assert!(self.unwritten.iter().is_sorted_by_key(|(ticket, entry)| (*ticket, entry.index)));
    }
}
