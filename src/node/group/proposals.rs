//! The entries of a group that are not committed yet, whom to answer for each, and what they will cost.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::super::call::ReplyTo;
use super::cost::{Cost, ENTRY_COST};
use super::runs::{Part, Runs, SmallBatch};
use crate::entry::{self, BodyLen, Entry};
use crate::types::{Retention, TopicId};

/// Whom to answer when an entry has been applied.
#[derive(Debug, Default)]
pub(in crate::node) struct Proposal {
    /// Who waits for the answer; `None` when the node itself has proposed the entry.
    pub reply: Option<ReplyTo>,
    /// The nodes that the request passed through, for an answer that describes the topic.
    pub path: Vec<u16>,
    /// Those who wait for the answers to the batches of a run.
    pub parts: Vec<Part>,
}

impl Proposal {
    pub(super) const fn of(reply: ReplyTo) -> Self {
        Self { reply: Some(reply), path: Vec::new(), parts: Vec::new() }
    }
}

/// How many proposals there are of some kinds, and what all of them cost. Each batch of a run counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    requests: usize,
    batches: usize,
    creates: usize,
    cost: Cost,
}

const _: () = assert!(size_of::<(Entry, Proposal, Totals)>() + 160 <= ENTRY_COST);

impl Totals {
    fn of(entry: &Entry) -> Self {
        let batches = usize::from(matches!(entry, Entry::Publish(_)));
        let creates = usize::from(matches!(entry, Entry::Create { .. }));
        Self { requests: 1, batches, creates, cost: Cost::of(entry) }
    }

    const fn of_batches(batches: usize, cost: Cost) -> Self {
        Self { requests: batches, batches, creates: 0, cost }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            batches: self.batches + other.batches,
            creates: self.creates + other.creates,
            cost: self.cost.plus(other.cost),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests - other.requests,
            batches: self.batches - other.batches,
            creates: self.creates - other.creates,
            cost: self.cost.minus(other.cost),
        }
    }
}

/// The uncommitted proposals.
///
/// ```text
/// push ──► open ── seal, at the end of the turn ──► in the log ── committed ──► take
///            └── refuse_first, when the disk is full
/// ```
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// Those that are not in the log yet, in the order in which they will be.
    open: VecDeque<(Entry, Proposal, Totals)>,
    /// Behind them, the batches whose entries can grow.
    runs: Runs,
    /// The bodies in the log that are not applied yet.
    logged: VecDeque<Logged>,
    /// Position of the last body in the log.
    index: u64,
    totals: Totals,
}

/// A body in the log.
#[derive(Debug)]
struct Logged {
    /// Its position.
    index: u64,
    /// Its length in bytes.
    len: u32,
    entries: Vec<Entry>,
    /// Whom to answer for each of the entries.
    proposals: Vec<Proposal>,
    totals: Totals,
}

impl Proposals {
    /// Returns the number of uncommitted proposals.
    pub(super) const fn len(&self) -> usize {
        self.totals.requests
    }

    /// Returns what they cost together.
    pub(super) const fn cost(&self) -> Cost {
        self.totals.cost
    }

    /// Returns the number of topics that they will create.
    pub(super) const fn creates(&self) -> usize {
        self.totals.creates
    }

    /// Returns true while any of them is not a batch. Until it has been applied, nobody knows what a request that comes
    /// after it will find.
    pub(super) const fn has_changes(&self) -> bool {
        self.totals.requests > self.totals.batches
    }

    /// Sets the position of the last body in the log after a start.
    pub(super) fn begin(&mut self, index: u64) {
        assert_eq!(self.totals, Totals::default(), "nothing is proposed before the start");
        self.index = index;
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

    /// Makes the next body of the log of the oldest `count` entries that are not in it yet. Returns its position, and
    /// the encoded entries unless nobody needs them.
    pub(super) fn seal(&mut self, count: usize, is_encoded: bool) -> (u64, Bytes) {
        self.index += 1;
        let (mut entries, mut proposals) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut totals = Totals::default();
        for (entry, proposal, of_it) in (0..count).map_while(|_| self.open.pop_front()) {
            totals = totals.plus(of_it);
            entries.push(entry);
            proposals.push(proposal);
        }
        let mut bytes = Vec::new();
        if is_encoded {
            bytes.reserve_exact(BodyLen::of(&entries).bytes());
            entry::encode(&mut entries, &mut bytes);
        }
        let len = u32::try_from(bytes.len()).expect("at most BODY_BYTES_MAX");
        self.logged.push_back(Logged { index: self.index, len, entries, proposals, totals });
        (self.index, bytes.into())
    }

    /// Removes the entry at this place among those that are not in the log yet, and returns whom to tell.
    pub(super) fn refuse(&mut self, place: usize) -> impl Iterator<Item = ReplyTo> + use<> {
        let (_, proposal, totals) = self.open.remove(place).expect("one of them");
        self.totals = self.totals.minus(totals);
        proposal.reply.into_iter().chain(proposal.parts.into_iter().map(|part| part.reply))
    }

    /// Returns the length of a committed body in bytes, and its entries, each with whom to answer.
    pub(super) fn take(&mut self, index: u64) -> (u32, impl Iterator<Item = (Entry, Proposal)> + use<>) {
        let body = self.logged.pop_front().filter(|body| body.index == index).expect("bodies are written in order");
        self.totals = self.totals.minus(body.totals);
        (body.len, body.entries.into_iter().zip(body.proposals))
    }

    /// Returns the bodies in the log that are not applied yet: their positions and entries.
    #[cfg(test)]
    pub(super) fn logged(&self) -> impl Iterator<Item = (u64, &[Entry])> {
        self.logged.iter().map(|body| (body.index, &body.entries[..]))
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let (batches, cost) = self.runs.sum();
        let runs = Totals::of_batches(batches, cost);
        let open = self.open.iter().fold(runs, |sum, (.., totals)| sum.plus(*totals));
        assert_eq!(self.totals, self.logged.iter().fold(open, |sum, body| sum.plus(body.totals)));
        let indexes = self.logged.iter().map(|body| body.index);
        assert!(indexes.is_sorted_by(|before, after| before < after));
        assert!(self.logged.iter().all(|Logged { index, entries, proposals, totals, .. }| {
            *index <= self.index && entries.len() == proposals.len() && totals.requests >= entries.len().max(1)
        }));
    }
}
