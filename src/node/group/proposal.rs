//! A proposal: whom to answer for an entry that is not applied yet, and what all of them cost.

use super::super::call::ReplyTo;
use super::super::cost::{Cost, ENTRY_COST};
use super::runs::Part;
use crate::entry::Entry;

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

    /// Returns all who wait for an answer, and forgets them.
    pub(super) fn take_replies(&mut self) -> impl Iterator<Item = ReplyTo> + use<> {
        let parts = std::mem::take(&mut self.parts);
        self.reply.take().into_iter().chain(parts.into_iter().map(|part| part.reply))
    }
}

/// How many proposals there are of some kinds, and what all of them cost. Each batch of a run counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    requests: usize,
    batches: usize,
    creates: usize,
    cost: Cost,
}

const _: () = assert!(size_of::<(Entry, Proposal, Totals)>() + 160 <= ENTRY_COST);

impl Totals {
    pub(super) fn of(entry: &Entry) -> Self {
        let batches = usize::from(matches!(entry, Entry::Publish(_)));
        let creates = usize::from(matches!(entry, Entry::Create { .. }));
        Self { requests: 1, batches, creates, cost: Cost::of(entry) }
    }

    pub(super) const fn of_batches(batches: usize, cost: Cost) -> Self {
        Self { requests: batches, batches, creates: 0, cost }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            batches: self.batches + other.batches,
            creates: self.creates + other.creates,
            cost: self.cost.plus(other.cost),
        }
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests - other.requests,
            batches: self.batches - other.batches,
            creates: self.creates - other.creates,
            cost: self.cost.minus(other.cost),
        }
    }

    /// Returns the number of requests.
    pub(super) const fn requests(&self) -> usize {
        self.requests
    }

    /// Returns the number of topics that they will create.
    pub(super) const fn creates(&self) -> usize {
        self.creates
    }

    /// Returns what they cost together.
    pub(super) const fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns true while any of them is not a batch. Until it has been applied, nobody knows what a request that comes
    /// after it will find.
    pub(super) const fn has_changes(&self) -> bool {
        self.requests > self.batches
    }
}
