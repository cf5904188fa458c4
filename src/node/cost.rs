//! What an entry costs from its proposal on: the memory that it takes, and will take once it has been applied.

use crate::entry::{Batch, Entry, TopicRef};
use crate::topic::{PRODUCER_COST_MAX, chunk_cost, topic_cost};

/// The most memory in bytes that an entry takes until it has been committed, or will take once it has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Cost {
    /// Memory of records, which eviction can free once the journal has them.
    pub(in crate::node) records: u64,
    /// Memory of what is remembered about producers.
    pub(in crate::node) producers: u64,
    /// Memory of a new topic.
    pub(in crate::node) topics: u64,
    /// Memory of the entry, its proposal, and its part of the encoded body. It does not count towards the node's memory
    /// limit, only towards `PROPOSALS_BYTES_MAX`, because it is free again after the commit.
    pub(in crate::node) entry: u64,
}

/// Memory of an entry and its encoding beside its name and its records, and of its proposal with the longest path.
pub(in crate::node) const ENTRY_COST: usize = 512;

impl Cost {
    /// Returns the cost of an entry.
    pub(in crate::node) fn of(entry: &Entry) -> Self {
        let name_len = |topic: &TopicRef| if let TopicRef::Name(name) = topic { name.len() } else { 0 };
        let (encoded, records, producers, topics) = match entry {
            Entry::Publish(Batch { topic, payload, producer, .. }) => {
                let producers = if producer.is_some() { PRODUCER_COST_MAX } else { 0 };
                (name_len(topic) + payload.len(), chunk_cost(payload.len()), producers, 0)
            }
            Entry::OpenProducer { topic, .. } => (name_len(topic), 0, PRODUCER_COST_MAX, 0),
            Entry::Create { name, .. } => (name.len(), 0, 0, topic_cost(name.len())),
            Entry::Delete { topic } | Entry::Alter { topic, .. } => (name_len(topic), 0, 0, 0),
            Entry::Trim { .. }
            | Entry::RaiseEpochs
            | Entry::BeginEpochs { .. }
            | Entry::Check { .. }
            | Entry::Reclock(_) => (0, 0, 0, 0),
        };
        Self { records, producers, topics, entry: (ENTRY_COST + encoded) as u64 }
    }

    /// Returns the most that a batch without a producer costs.
    pub(in crate::node) const fn of_batch(payload_len: usize) -> Self {
        Self { records: chunk_cost(payload_len), producers: 0, topics: 0, entry: (ENTRY_COST + payload_len) as u64 }
    }

    /// Returns the part that counts towards the node's memory limit.
    pub(in crate::node) const fn lasting(self) -> u64 {
        self.records + self.fixed()
    }

    /// Returns the part of it that eviction can never free.
    pub(in crate::node) const fn fixed(self) -> u64 {
        self.producers + self.topics
    }

    pub(in crate::node) const fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            producers: self.producers + other.producers,
            topics: self.topics + other.topics,
            entry: self.entry + other.entry,
        }
    }

    pub(in crate::node) const fn minus(self, other: Self) -> Self {
        Self {
            records: self.records - other.records,
            producers: self.producers - other.producers,
            topics: self.topics - other.topics,
            entry: self.entry - other.entry,
        }
    }
}
