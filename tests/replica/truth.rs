//! What must always hold among the members of a group.

use std::collections::BTreeMap;

use bytes::Bytes;
use dht_node::replica::{LogEntry, Message, Payload, Stage, Standing};

use crate::journal::digest_after;
use crate::store::{Contents, Stored};

/// What is durable at each member: the contents of its disk, followed by those of its lost disks until it has
/// recovered.
pub(crate) type Disks<'a> = [Vec<&'a Contents>; 3];

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// The term and the body of each committed entry.
    committed: Vec<(u64, Bytes)>,
    /// The number of entries that the group had when it was founded. At first, one member has them.
    founded_with: usize,
    /// The last entry that was acknowledged.
    pub(crate) acked: u64,
    /// The digest after each of them is applied.
    digests: Vec<u32>,
    /// Who has led in each term.
    leaders: BTreeMap<u64, usize>,
    /// The term of the entry before, and the body, of each entry ever written, by index and term.
    entries: BTreeMap<(u64, u64), (u64, Bytes)>,
}

impl Truth {
    /// The number of committed entries.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// The digest after this many entries are applied.
    pub(crate) fn digest(&self, index: u64) -> u32 {
        let last = usize::try_from(index).expect("a short log").checked_sub(1);
        last.map_or(0, |last| *self.digests.get(last).expect("what is applied is committed"))
    }

    /// The committed entries up to this index.
    pub(crate) fn entries_up_to(&self, index: u64) -> impl Iterator<Item = LogEntry> {
        let committed = self.committed.iter().zip(1..=index);
        committed.map(|((term, body), index)| LogEntry { index, term: *term, body: body.clone() })
    }

    /// The number of terms that had a leader.
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    /// A term has at most one leader.
    pub(crate) fn on_leader(&mut self, member: usize, term: u64) {
        let leader = *self.leaders.entry(term).or_insert(member);
        assert_eq!(leader, member, "both lead in term {term}");
    }

    /// Two logs that have the same entry have the same entries before it. `before` is the term of the one before these.
    pub(crate) fn on_write(&mut self, mut before: u64, entries: &[LogEntry]) {
        for entry in entries {
            let known = self.entries.entry((entry.index, entry.term)).or_insert_with(|| (before, entry.body.clone()));
            assert_eq!(*known, (before, entry.body.clone()), "entry {} of term {}", entry.index, entry.term);
            before = entry.term;
        }
    }

    /// Votes and acknowledgements are durable before they are sent. What a later term has replaced is not looked at.
    pub(crate) fn on_send(message: &Message, durable: &Contents) {
        let Contents { hard, log, .. } = durable;
        let may_vote = hard.stage != Stage::Recovering;
        let is_durable = match message.payload {
            Payload::Vote { is_pre: false, is_granted: true, .. } => hard.vote == Some(message.to) && may_vote,
            Payload::RequestVote { is_pre: false, .. } => hard.vote == Some(message.from) && may_vote,
            Payload::Appended { index, .. } => log.len() as u64 >= index,
            Payload::Vote { .. }
            | Payload::RequestVote { .. }
            | Payload::Rejected { .. }
            | Payload::Append { .. }
            | Payload::Heartbeat { .. }
            | Payload::Snapshot { .. }
            | Payload::HeartbeatAnswer { .. }
            | Payload::TimeoutNow
            | Payload::Join { .. } => return,
            Payload::JoinAnswer { standing, .. } => {
                assert!(standing != Standing::Member || hard.founding.is_known(), "it is not durable: {message:?}");
                return;
            }
        };
        assert!(
            hard.term >= message.term && (hard.term > message.term || is_durable),
            "it is not durable: {message:?}"
        );
    }

    /// Takes over the log from which the group is recovered: whatever else was committed is lost.
    pub(crate) fn begin_anew(&mut self, log: &[Stored]) {
        (self.committed, self.digests, self.acked) = (Vec::new(), Vec::new(), 0);
        self.begin_with(log);
    }

    /// Takes over the log of the only member of a group. Everything in it is committed.
    pub(crate) fn begin_with(&mut self, log: &[Stored]) {
        for Stored { entry, .. } in log {
            self.on_write(self.committed.last().map_or(0, |(term, _)| *term), std::slice::from_ref(entry));
            self.committed.push((entry.term, entry.body.clone()));
            self.digests.push(digest_after(self.digests.last().copied().unwrap_or(0), &entry.body));
        }
        self.founded_with = log.len();
    }

    /// What one member has committed, all others commit at the same place, and a majority has it on its disks.
    pub(crate) fn on_commit(&mut self, entry: &LogEntry, durable: &Disks<'_>) {
        let LogEntry { index, term, ref body } = *entry;
        let place = usize::try_from(index - 1).expect("a small index");
        if let Some(known) = self.committed.get(place) {
            assert_eq!(*known, (term, body.clone()), "another entry was committed at {index}");
            return;
        }
        assert_eq!(place, self.committed.len(), "entries are committed one after the other");
        self.committed.push((term, body.clone()));
        self.digests.push(digest_after(self.digests.last().copied().unwrap_or(0), body));
        self.check_majority(durable);
    }

    /// The last committed entry, and with it all others, is on the disks of a majority, or was on one that is lost.
    pub(crate) fn check_majority(&self, durable: &Disks<'_>) {
        let Some(last) = self.committed.len().checked_sub(1) else { return };
        if last < self.founded_with {
            return;
        }
        let term = self.committed[last].0;
        let has_it = |contents: &&Contents| contents.log.get(last).is_some_and(|own| own.entry.term == term);
        let count = durable.iter().filter(|disks| disks.iter().any(has_it)).count();
        assert!(count >= 2, "entry {} of term {term} is committed, but not durable at a majority", last + 1);
    }

    /// Checks what a start has found to be committed. An entry in it may not have been applied by anybody yet: a leader
    /// that knows it to be committed applies it only when it is durable on its own disk.
    pub(crate) fn on_restored(&mut self, log: &[Stored], durable: &Disks<'_>) {
        log.iter().for_each(|stored| self.on_commit(&stored.entry, durable));
    }
}
