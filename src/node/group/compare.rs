//! Comparison of a group's copies. All members apply the same log, so only a fault can make one member's topics differ
//! from the leader's, and without a comparison that could go unnoticed for years.
//!
//! ```text
//!  each applied entry         ──► its outcome is added to the digest of the catalogue
//!  each applied body          ──► its index and the digest after it are remembered
//!  every CHECK_TICKS          ──► the leader proposes the index of its last applied body, and the digest after it
//!  when that is applied       ──► each member compares: if its own digest at that index differs, its copy is bad
//! ```
//!
//! The digest is part of the group's image, so it survives a restart. A group with a single copy has no digest.

use std::collections::VecDeque;

use super::super::Step;
use super::super::cost::Cost;
use super::super::leaders::Copies;
use super::Group;
use super::proposal::Proposal;
use super::room::check_queue;
use crate::entry::Entry;
use crate::limits::{CHECK_TICKS, DIGESTS_MAX};
use crate::replica::Input;
use crate::types::Offset;
use crate::wire::Response;
use crate::wire::response::{ErrorResponse, OpenedProducer, Published};

/// The digests after the last [`DIGESTS_MAX`] applied bodies, as pairs of index and digest in ascending order.
#[derive(Debug, Default)]
pub(super) struct Digests(VecDeque<(u64, u64)>);

impl Digests {
    /// Adds the digest after the body at `index`. Drops the oldest digest if there are [`DIGESTS_MAX`] already.
    fn push(&mut self, index: u64, digest: u64) {
        if self.0.len() == DIGESTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((index, digest));
    }

    /// Returns the digest after the body at `index`, or `None` if it is not remembered.
    fn after(&self, index: u64) -> Option<u64> {
        let place = self.0.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.0[place].1)
    }
}

/// The last comparison that this leader has proposed.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Ticks since the last proposal, or since this node began to lead.
    ticks: u32,
    /// The digest in the last proposal; 0 if there was none.
    digest: u64,
}

impl Group {
    /// Adds the outcome of a batch to the digest.
    pub(super) fn digest_published(&mut self, step: &Step<'_>, result: &Result<Published, ErrorResponse>) {
        if step.settings.copies == Copies::One {
            return;
        }
        let numbers = match result {
            Ok(Published { duplicate, topic_id, base, append_us, .. }) => {
                let first = self.extent(*topic_id).map_or(Offset(0), |(first, _)| first);
                [topic_id.number(), base.0.wrapping_mul(2) | u64::from(*duplicate), first.0, *append_us]
            }
            Err(error) => [u64::from(error.status), 0, 0, 0],
        };
        self.catalogue.add_to_digest(numbers);
    }

    /// Adds the outcome of an entry other than a batch to the digest.
    pub(super) fn digest_outcome(&mut self, step: &Step<'_>, result: &Result<Response, ErrorResponse>) {
        if step.settings.copies == Copies::One {
            return;
        }
        let numbers = match result {
            Ok(Response::Trimmed { topic_id, first, next }) => [topic_id.number(), first.0, next.0],
            Ok(Response::Deleted { topic_id }) => [topic_id.number(), 0, 0],
            Ok(Response::Opened(OpenedProducer { topic_id, epoch, sequence, .. })) => {
                [topic_id.number(), u64::from(*epoch), *sequence]
            }
            Ok(response) => [u64::from(response.status()), 0, 0],
            Err(error) => [u64::from(error.status), 0, 0],
        };
        let [a, b, c] = numbers;
        self.catalogue.add_to_digest([a, b, c, self.catalogue.len() as u64]);
    }

    /// Remembers the digest after the body that has just been applied.
    pub(super) fn remember_digest(&mut self, step: &Step<'_>) {
        if step.settings.copies == Copies::Three {
            self.digests.push(self.applied.index, self.catalogue.digest());
        }
    }

    /// Compares the digest after the body at `index` with the leader's. If it is not remembered, because this node was
    /// restarted since or has applied too many bodies since, the next comparison decides.
    pub(super) fn compare_digest(&mut self, step: &Step<'_>, index: u64, digest: u64) {
        if self.digests.after(index).is_some_and(|own| own != digest) {
            self.member.replica.handle(Input::Differs { index }, &mut self.member.outputs);
            self.carry_out(step.settings);
        }
    }

    /// Falsifies the digest, as if an entry had had another outcome on this node than on the others.
    #[cfg(test)]
    pub(in crate::node) const fn spoil_digest(&mut self) {
        self.catalogue.add_to_digest([1; 4]);
    }

    /// Returns true once the copy is known to be bad.
    #[cfg(test)]
    pub(in crate::node) fn is_bad(&self) -> bool {
        self.member.replica.is_bad()
    }

    /// Proposes a comparison of all copies if this node leads, [`CHECK_TICKS`] have passed since the last proposal, the
    /// digest has changed since, and there is room for the entry.
    pub(in crate::node) fn propose_check(&mut self, step: &mut Step<'_>) {
        let (index, digest) = (self.applied.index, self.catalogue.digest());
        let Some(lead) = self.lead.as_mut().filter(|_| step.settings.copies == Copies::Three) else { return };
        lead.compared.ticks = lead.compared.ticks.saturating_add(1);
        if lead.compared.ticks < CHECK_TICKS || lead.compared.digest == digest || step.budget.room.is_full {
            return;
        }
        let entry = Entry::Check { index, digest };
        if check_queue(step, Cost::of(&entry)).is_ok() {
            lead.compared = Compared { ticks: 0, digest };
            self.propose(step, entry, Proposal::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_digests_are_remembered() {
        let mut digests = Digests::default();
        assert_eq!(digests.after(0), None);
        let last = 10 + DIGESTS_MAX as u64;
        (5..=last).for_each(|index| digests.push(index, index * 7));
        for (index, expected) in [(10, None), (11, Some(77)), (last, Some(last * 7)), (last + 1, None)] {
            assert_eq!(digests.after(index), expected, "{index}");
        }
    }
}
