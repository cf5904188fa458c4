//! A disk that makes writes durable in their order, by syncs that take a while. A crash keeps any first part of what
//! was not durable.

use std::collections::VecDeque;

use dht_node::replica::{Hard, LogEntry, Restored, Ticket};
use fastrand::Rng;

/// What a member has written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) hard: Hard,
    commit: u64,
    /// The entry with index 1 comes first.
    pub(crate) log: Vec<LogEntry>,
}

/// What is written as a whole or not at all.
#[derive(Clone, Debug)]
enum Record {
    Hard(Hard),
    Entry(LogEntry, u64),
}

/// The disk of a member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// What a crash keeps.
    pub(crate) durable: Contents,
    /// What the process has written.
    pub(crate) written: Contents,
    pending: VecDeque<(Ticket, Record)>,
    is_syncing: bool,
    /// Nothing becomes durable before this time.
    pub(crate) stalled_until_us: u64,
}

impl Contents {
    fn add(&mut self, record: Record) {
        match record {
            Record::Hard(hard) => self.hard = hard,
            Record::Entry(entry, commit) => {
                let before = usize::try_from(entry.index - 1).expect("a small index");
                assert!(before <= self.log.len(), "the log has no gaps");
                self.log.truncate(before);
                self.commit = self.commit.max(commit.min(entry.index));
                self.log.push(entry);
            }
        }
    }
}

impl Disk {
    /// Writes what will be durable after a sync.
    pub(crate) fn write(&mut self, (ticket, hard, commit): (Ticket, Option<Hard>, u64), entries: Vec<LogEntry>) {
        let entries = entries.into_iter().map(|entry| Record::Entry(entry, commit));
        for record in hard.map(Record::Hard).into_iter().chain(entries) {
            self.written.add(record.clone());
            self.pending.push_back((ticket, record));
        }
    }

    /// Begins a sync of everything written, unless another one has not ended; returns up to which write it reaches.
    pub(crate) fn begin_sync(&mut self) -> Option<Ticket> {
        let (newest, _) = self.pending.back()?;
        (!std::mem::replace(&mut self.is_syncing, true)).then_some(*newest)
    }

    /// Ends a sync: everything is durable that was written up to this ticket.
    pub(crate) fn end_sync(&mut self, ticket: Ticket) {
        self.is_syncing = false;
        let durable = self.pending.partition_point(|(pending, _)| *pending <= ticket);
        self.pending.drain(..durable).for_each(|(_, record)| self.durable.add(record));
    }

    /// Stops the machine.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.usize(..=self.pending.len());
        self.pending.drain(..kept).for_each(|(_, record)| self.durable.add(record));
        self.pending.clear();
        self.written = self.durable.clone();
        self.is_syncing = false;
    }

    /// Returns what a start finds. Any part of what is known to be committed may have been applied before, and any part
    /// of that is not read.
    pub(crate) fn restore(&self, rng: &mut Rng) -> Restored {
        let Contents { hard, commit, mut log } = self.durable.clone();
        let applied = rng.u64(..=commit);
        let base = if rng.bool() { applied } else { rng.u64(..=applied) };
        let entries = log.split_off(usize::try_from(base).expect("a short log"));
        Restored { hard, commit, applied, base: (base, log.last().map_or(0, |entry| entry.term)), entries }
    }

    /// Reads some entries after `index`, with index and term of the one before.
    pub(crate) fn read(&self, index: u64) -> ((u64, u64), Vec<LogEntry>) {
        let (before, after) = self.written.log.split_at(usize::try_from(index).expect("a short log"));
        let entries = after.iter().take(20).cloned().collect();
        ((index, before.last().map_or(0, |entry| entry.term)), entries)
    }
}
