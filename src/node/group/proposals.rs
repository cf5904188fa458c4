//! The entries of a group that are not in its log yet, whom to answer for each, and what they will cost.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::super::call::ReplyTo;
use super::super::cost::Cost;
use super::proposal::{Proposal, Totals};
use super::runs::{Runs, SmallBatch};
use super::tail::Sealed;
use crate::entry::{self, BodyLen, Entry};
use crate::types::{Retention, TopicId};

/// The proposals that are not in the log yet.
///
/// ```text
/// push ──► open ── seal, at the end of the turn ──► in the log (Tail)
///            └── refuse, when the disk is full or this node does not lead any more
/// ```
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// In the order in which they will be in the log.
    open: VecDeque<(Entry, Proposal, Totals)>,
    /// Behind them, the batches whose entries can grow.
    runs: Runs,
    totals: Totals,
}

/// The bytes of every body of a log in memory, where nobody reads the entries. They are not empty, because an empty
/// body is one without entries.
const NOT_ENCODED: &[u8] = b"-";

impl Proposals {
    /// Returns how many there are, and what they cost.
    pub(super) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Adds an entry that is to be in the log.
    pub(super) fn push(&mut self, entry: Entry, proposal: Proposal) {
        self.close_runs();
        let totals = Totals::of(&entry);
        self.totals = self.totals.plus(totals);
        self.open.push_back((entry, proposal, totals));
    }

    /// Adds a small batch to the run of its topic. Returns false if there is no run that it fits.
    pub(super) fn join(&mut self, topic: TopicId, batch: &SmallBatch<'_>, cost: Cost) -> bool {
        let is_joined = self.runs.join(topic, batch, cost);
        if is_joined {
            self.totals = self.totals.plus(Totals::of_batches(1, cost));
        }
        is_joined
    }

    /// Begins a run with a small batch that [`Self::join`] has no run for.
    pub(super) fn begin_run(&mut self, of: (TopicId, &Retention), batch: &SmallBatch<'_>, cost: Cost) {
        self.close_some(self.runs.before(of.0));
        self.runs.begin(of, batch, cost);
        self.totals = self.totals.plus(Totals::of_batches(1, cost));
    }

    /// Ends all runs.
    pub(super) fn close_runs(&mut self) {
        self.close_some(0..self.runs.len());
    }

    fn close_some(&mut self, places: Range<usize>) {
        for (entry, parts, cost) in self.runs.close(places) {
            let totals = Totals::of_batches(parts.len(), cost);
            self.open.push_back((entry, Proposal { parts, ..Proposal::default() }, totals));
        }
    }

    /// Returns true if something was proposed that is not in the log yet.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty() || self.runs.len() > 0
    }

    /// Returns the entries that are not in the log yet and can no longer grow, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = &Entry> {
        self.open.iter().map(|(entry, ..)| entry)
    }

    /// Makes a body of the oldest `count` entries that are not in the log yet. Returns the encoded entries as well. The
    /// caller adds it to the log at once ([`Tail::add`]).
    pub(super) fn seal(&mut self, count: usize, is_encoded: bool, now_us: u64) -> (Bytes, Sealed) {
        let (entries, proposals) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut sealed = Sealed { len: 0, entries, proposals, totals: Totals::default(), at_us: now_us };
        for (entry, proposal, totals) in (0..count).map_while(|_| self.open.pop_front()) {
            sealed.totals = sealed.totals.plus(totals);
            sealed.entries.push(entry);
            sealed.proposals.push(proposal);
        }
        self.totals = self.totals.minus(sealed.totals);
        if !is_encoded {
            return (Bytes::from_static(NOT_ENCODED), sealed);
        }
        let mut bytes = Vec::with_capacity(BodyLen::of(&sealed.entries).bytes());
        entry::encode(&mut sealed.entries, &mut bytes);
        sealed.len = u32::try_from(bytes.len()).expect("at most BODY_BYTES_MAX");
        (bytes.into(), sealed)
    }

    /// Removes the entry at this place among those that are not in the log yet, and returns whom to tell.
    pub(super) fn refuse(&mut self, place: usize) -> impl Iterator<Item = ReplyTo> + use<> {
        let (_, mut proposal, totals) = self.open.remove(place).expect("one of them");
        self.totals = self.totals.minus(totals);
        proposal.take_replies()
    }

    /// Removes all of them, and returns whom to tell.
    pub(super) fn withdraw(&mut self) -> Vec<ReplyTo> {
        self.close_runs();
        let mut replies = Vec::new();
        while !self.open.is_empty() {
            replies.extend(self.refuse(0));
        }
        replies
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let (batches, cost) = self.runs.sum();
        let runs = Totals::of_batches(batches, cost);
        let open = self.open.iter().fold(runs, |sum, (.., totals)| sum.plus(*totals));
        assert_eq!(self.totals, open);
    }
}
