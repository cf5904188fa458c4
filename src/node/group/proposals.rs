//! The entries of a group that are not committed yet, whom to answer for each, and what they will cost.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::super::call::ReplyTo;
use super::super::cost::{Cost, ENTRY_COST};
use super::runs::{Part, Runs, SmallBatch};
use crate::entry::{self, BodyLen, Entry, Place};
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
    totals: Totals,
}

/// What becomes a body of the log. The one with which a leader begins its term has no entries.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// The length of the encoded entries in bytes.
    pub len: u32,
    pub entries: Vec<Entry>,
    /// Whom to answer for each of the entries.
    pub proposals: Vec<Proposal>,
    totals: Totals,
}

/// A body in the log.
#[derive(Debug)]
pub(super) struct Logged {
    /// Its position.
    pub index: u64,
    /// The term of the leader that has proposed it.
    pub term: u32,
    /// Where it is in the journal, once it is written.
    pub place: Option<Place>,
    pub body: Sealed,
}

/// The bytes of every body of a log in memory, where nobody reads the entries. They are not empty, because an empty
/// body is one without entries.
const NOT_ENCODED: &[u8] = b"-";

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

    /// Forgets the bodies of the log that a start has replaced by that of the journal.
    pub(super) fn begin(&mut self) {
        assert_eq!(self.totals, Totals::default(), "nothing is proposed before the start");
        self.logged.clear();
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
    /// caller adds it to the log at once ([`Self::add`]).
    pub(super) fn seal(&mut self, count: usize, is_encoded: bool) -> (Bytes, Sealed) {
        let (entries, proposals) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut sealed = Sealed { len: 0, entries, proposals, totals: Totals::default() };
        for (entry, proposal, totals) in (0..count).map_while(|_| self.open.pop_front()) {
            sealed.totals = sealed.totals.plus(totals);
            sealed.entries.push(entry);
            sealed.proposals.push(proposal);
        }
        if !is_encoded {
            return (Bytes::from_static(NOT_ENCODED), sealed);
        }
        let mut bytes = Vec::with_capacity(BodyLen::of(&sealed.entries).bytes());
        entry::encode(&mut sealed.entries, &mut bytes);
        sealed.len = u32::try_from(bytes.len()).expect("at most BODY_BYTES_MAX");
        (bytes.into(), sealed)
    }

    /// Adds a body to the end of the log.
    pub(super) fn add(&mut self, index: u64, term: u32, body: Sealed) {
        self.logged.push_back(Logged { index, term, place: None, body });
    }

    /// Adds a body without entries to the end of the log, unless the log has this body already.
    pub(super) fn ensure(&mut self, index: u64, term: u32) {
        if self.logged.back().is_none_or(|last| last.index < index) {
            self.add(index, term, Sealed::default());
        } else {
            self.find(index, term);
        }
    }

    /// Records where the journal has a body.
    pub(super) fn locate(&mut self, index: u64, term: u32, place: Place) {
        self.find(index, term).place = Some(place);
    }

    /// Returns a body of the log.
    fn find(&mut self, index: u64, term: u32) -> &mut Logged {
        let first = self.logged.front().map_or(index, |logged| logged.index);
        let place = usize::try_from(index - first).expect("it is in memory");
        let found = self.logged.get_mut(place).filter(|logged| (logged.index, logged.term) == (index, term));
        found.expect("bodies are not replaced in a group of one member")
    }

    /// Removes the entry at this place among those that are not in the log yet, and returns whom to tell.
    pub(super) fn refuse(&mut self, place: usize) -> impl Iterator<Item = ReplyTo> + use<> {
        let (_, proposal, totals) = self.open.remove(place).expect("one of them");
        self.totals = self.totals.minus(totals);
        proposal.reply.into_iter().chain(proposal.parts.into_iter().map(|part| part.reply))
    }

    /// Removes and returns the oldest body of the log if its position is at most `committed`.
    pub(super) fn take(&mut self, committed: u64) -> Option<Logged> {
        self.logged.front().filter(|logged| logged.index <= committed)?;
        let logged = self.logged.pop_front()?;
        self.totals = self.totals.minus(logged.body.totals);
        Some(logged)
    }

    /// Returns the bodies in the log that are not applied yet: their positions and entries.
    #[cfg(test)]
    pub(super) fn logged(&self) -> impl Iterator<Item = (u64, &[Entry])> {
        self.logged.iter().map(|logged| (logged.index, &logged.body.entries[..]))
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let (batches, cost) = self.runs.sum();
        let runs = Totals::of_batches(batches, cost);
        let open = self.open.iter().fold(runs, |sum, (.., totals)| sum.plus(*totals));
        assert_eq!(self.totals, self.logged.iter().fold(open, |sum, logged| sum.plus(logged.body.totals)));
        let indexes = self.logged.iter().map(|logged| logged.index);
        assert!(indexes.is_sorted_by(|before, after| before + 1 == *after), "the log has no gaps");
        assert!(self.logged.iter().all(|Logged { body: Sealed { entries, proposals, totals, .. }, .. }| {
            entries.len() == proposals.len() && totals.requests >= entries.len()
        }));
    }
}
