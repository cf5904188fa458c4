//! The entries of a group that are not committed yet, whom to answer for each, and what they will cost.

use std::collections::VecDeque;

use super::super::call::ReplyTo;
use crate::record::{Batch, Entry, TopicRef};
use crate::topic::{PRODUCER_COST_MAX, chunk_cost, topic_cost};

/// Whom to answer when an entry has been applied.
#[derive(Debug)]
pub(super) enum Proposal {
    Create {
        reply: ReplyTo,
        path: Vec<u16>,
    },
    Delete {
        reply: ReplyTo,
    },
    Publish {
        reply: ReplyTo,
    },
    /// Retention by age removes records; no one waits for an answer.
    Trim,
    TrimAsked {
        reply: ReplyTo,
    },
    Alter {
        reply: ReplyTo,
        path: Vec<u16>,
    },
    OpenProducer {
        reply: ReplyTo,
    },
    Reclock,
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
const _: () = assert!(size_of::<Entry>() + size_of::<(Proposal, Cost)>() + 160 <= ENTRY_COST);

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
            Entry::Trim { .. } | Entry::Refused | Entry::RaiseEpochs | Entry::Reclock(_) => (0, 0, 0, 0),
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

/// The uncommitted proposals, oldest first.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    queue: VecDeque<(Proposal, Cost)>,
    cost: Cost,
    batches: usize,
    creates: usize,
}

impl Proposals {
    /// Returns the number of uncommitted proposals.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns what they cost together.
    pub(super) const fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns the number of topics that they will create.
    pub(super) const fn creates(&self) -> usize {
        self.creates
    }

    /// Returns true while any of them is not a batch. Until it has been applied, nobody knows what a request that comes
    /// after it will find.
    pub(super) fn has_changes(&self) -> bool {
        self.queue.len() > self.batches
    }

    pub(super) fn push(&mut self, proposal: Proposal, cost: Cost) {
        self.batches += usize::from(matches!(proposal, Proposal::Publish { .. }));
        self.creates += usize::from(matches!(proposal, Proposal::Create { .. }));
        self.cost = self.cost.plus(cost);
        self.queue.push_back((proposal, cost));
    }

    pub(super) fn pop(&mut self) -> Option<Proposal> {
        let (proposal, cost) = self.queue.pop_front()?;
        self.batches -= usize::from(matches!(proposal, Proposal::Publish { .. }));
        self.creates -= usize::from(matches!(proposal, Proposal::Create { .. }));
        self.cost = self.cost.minus(cost);
        Some(proposal)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let total = self.queue.iter().fold(Cost::default(), |sum, (_, cost)| sum.plus(*cost));
        assert_eq!(self.cost, total);
        let count = |is_of: fn(&Proposal) -> bool| self.queue.iter().filter(|(proposal, _)| is_of(proposal)).count();
        assert_eq!(self.batches, count(|proposal| matches!(proposal, Proposal::Publish { .. })));
        assert_eq!(self.creates, count(|proposal| matches!(proposal, Proposal::Create { .. })));
    }
}
