//! The entries of a group that are not committed yet, whom to answer for each, and what they will cost.

use std::collections::VecDeque;

use super::super::call::ReplyTo;
use crate::record::{Batch, Body, Entry, TopicRef};
use crate::topic::{PRODUCER_COST_MAX, chunk_cost, topic_cost};

/// Whom to answer when an entry has been applied.
#[derive(Debug, Default)]
pub(in crate::node) struct Proposal {
    /// Who waits for the answer; `None` when the node itself has proposed the entry.
    pub reply: Option<ReplyTo>,
    /// The nodes that the request passed through, for an answer that describes the topic.
    pub path: Vec<u16>,
}

impl Proposal {
    pub(super) const fn of(reply: ReplyTo) -> Self {
        Self { reply: Some(reply), path: Vec::new() }
    }
}

/// The most memory in bytes that an entry takes until it has been committed, or will take once it has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Memory of records, which eviction can free once the journal has them.
    pub(super) records: u64,
    /// Memory of what is remembered about producers.
    pub(super) producers: u64,
    /// Memory of a new topic.
    pub(super) topics: u64,
    /// Memory of the entry and its proposal. It does not count towards the node's memory limit, only towards
    /// `PROPOSALS_BYTES_MAX`, because it is free again after the commit.
    pub(super) entry: u64,
}

/// Memory of an entry beside its name and its records, and of its proposal with the longest path.
const ENTRY_COST: usize = 512;
const _: () = assert!(size_of::<(Entry, Proposal)>() + 160 <= ENTRY_COST);

impl Cost {
    /// Returns the cost of an entry.
    pub(super) fn of(entry: &Entry) -> Self {
        let name_len = |topic: &TopicRef| if let TopicRef::Name(name) = topic { name.len() } else { 0 };
        let (name_len, records, producers, topics) = match entry {
            Entry::Publish(Batch { topic, payload, producer, .. }) => {
                let producers = if producer.is_some() { PRODUCER_COST_MAX } else { 0 };
                (name_len(topic), chunk_cost(payload.len()), producers, 0)
            }
            Entry::OpenProducer { topic, .. } => (name_len(topic), 0, PRODUCER_COST_MAX, 0),
            Entry::Create { name, .. } => (name.len(), 0, 0, topic_cost(name.len())),
            Entry::Delete { topic } | Entry::Alter { topic, .. } => (name_len(topic), 0, 0, 0),
            Entry::Trim { .. } | Entry::RaiseEpochs | Entry::Reclock(_) => (0, 0, 0, 0),
        };
        Self { records, producers, topics, entry: (ENTRY_COST + name_len) as u64 }
    }

    /// Returns the part that counts towards the node's memory limit.
    pub(super) const fn lasting(self) -> u64 {
        self.records + self.fixed()
    }

    /// Returns the part of it that eviction can never free.
    pub(super) const fn fixed(self) -> u64 {
        self.producers + self.topics
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            producers: self.producers + other.producers,
            topics: self.topics + other.topics,
            entry: self.entry + other.entry,
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            records: self.records - other.records,
            producers: self.producers - other.producers,
            topics: self.topics - other.topics,
            entry: self.entry - other.entry,
        }
    }
}

/// How many entries there are of some kinds, and what all of them cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    entries: usize,
    batches: usize,
    creates: usize,
    cost: Cost,
}

impl Totals {
    fn of(entry: &Entry) -> Self {
        let batches = usize::from(matches!(entry, Entry::Publish(_)));
        let creates = usize::from(matches!(entry, Entry::Create { .. }));
        Self { entries: 1, batches, creates, cost: Cost::of(entry) }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            batches: self.batches + other.batches,
            creates: self.creates + other.creates,
            cost: self.cost.plus(other.cost),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            entries: self.entries - other.entries,
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
    open: VecDeque<(Entry, Proposal)>,
    /// Those in the log: the position of each body, and whom to answer for each of its entries.
    logged: VecDeque<(u64, Vec<Proposal>, Totals)>,
    /// Position of the last body in the log.
    index: u64,
    totals: Totals,
}

impl Proposals {
    /// Returns the number of uncommitted proposals.
    pub(super) const fn len(&self) -> usize {
        self.totals.entries
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
        self.totals.entries > self.totals.batches
    }

    /// Sets the position of the last body in the log after a start.
    pub(super) fn begin(&mut self, index: u64) {
        assert_eq!(self.totals, Totals::default(), "nothing is proposed before the start");
        self.index = index;
    }

    /// Adds an entry that is to be in the log.
    pub(super) fn push(&mut self, entry: Entry, proposal: Proposal) {
        self.totals = self.totals.plus(Totals::of(&entry));
        self.open.push_back((entry, proposal));
    }

    /// Returns the entries that are not in the log yet, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = &Entry> {
        self.open.iter().map(|(entry, _)| entry)
    }

    /// Returns the next body of the log, with the oldest `count` entries that are not in it yet.
    pub(super) fn seal(&mut self, count: usize) -> Body {
        self.index += 1;
        let (entries, proposals): (Vec<Entry>, Vec<Proposal>) = self.open.drain(..count).unzip();
        let totals = entries.iter().fold(Totals::default(), |sum, entry| sum.plus(Totals::of(entry)));
        self.logged.push_back((self.index, proposals, totals));
        Body { index: self.index, entries }
    }

    /// Removes the entry at this place among those that are not in the log yet, and returns whom to tell.
    pub(super) fn refuse(&mut self, place: usize) -> Option<ReplyTo> {
        let (entry, proposal) = self.open.remove(place)?;
        self.totals = self.totals.minus(Totals::of(&entry));
        proposal.reply
    }

    /// Returns whom to answer for each entry of a committed body; none for a body that others have proposed.
    pub(super) fn take(&mut self, index: u64) -> Vec<Proposal> {
        if self.logged.front().is_none_or(|(first, ..)| *first != index) {
            return Vec::new();
        }
        let Some((_, proposals, totals)) = self.logged.pop_front() else { return Vec::new() };
        self.totals = self.totals.minus(totals);
        proposals
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let open = self.open().fold(Totals::default(), |sum, entry| sum.plus(Totals::of(entry)));
        assert_eq!(self.totals, self.logged.iter().fold(open, |sum, (.., totals)| sum.plus(*totals)));
        let indexes = self.logged.iter().map(|(index, ..)| *index);
        assert!(indexes.is_sorted_by(|before, after| before < after));
        assert!(self.logged.iter().all(|(index, proposals, totals)| {
            *index <= self.index && proposals.len() == totals.entries && totals.entries > 0
        }));
    }
}
