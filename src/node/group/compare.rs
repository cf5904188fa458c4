//! Comparing the copies of a group: a member whose topics differ from the leader's is of no use, and nobody may notice
//! that for years.
//!
//! ```text
//!  each entry that is applied ──► its outcome is added to the digest of the catalogue
//!  each body                  ──► its position and the digest after it are remembered
//!  every CHECK_TICKS          ──► the leader proposes its newest position and digest
//!  when that is applied       ──► each member compares: a different digest makes its copy bad
//! ```
//!
//! The digest is a part of the group's image, so it survives a restart. With a single copy there is none.

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

/// The digests after the newest bodies.
#[derive(Debug, Default)]
pub(super) struct Digests(VecDeque<(u64, u64)>);

impl Digests {
    /// Adds the digest after a body, and forgets the oldest one if there are too many.
    fn push(&mut self, index: u64, digest: u64) {
        if self.0.len() == DIGESTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((index, digest));
    }

    /// Returns the digest after a body, if that is remembered.
    fn after(&self, index: u64) -> Option<u64> {
        let place = self.0.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.0[place].1)
    }
}

/// When a leader has proposed a comparison.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Ticks since the last one, or since this node began to lead.
    ticks: u32,
    /// The digest of the last one.
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

    /// Adds the outcome of an entry that is no batch to the digest.
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

    /// Compares the digest after a body with that of the leader. Without it, the member was started since, or is far
    /// ahead, and the next comparison will tell.
    pub(super) fn compare_digest(&mut self, step: &Step<'_>, index: u64, digest: u64) {
        if self.digests.after(index).is_some_and(|own| own != digest) {
            self.member.replica.handle(Input::Differs { index }, &mut self.member.outputs);
            self.carry_out(step.settings);
        }
    }

    /// Makes the digest wrong, as if an entry had had another outcome here.
    #[cfg(test)]
    pub(in crate::node) const fn spoil_digest(&mut self) {
        self.catalogue.add_to_digest([1; 4]);
    }

    /// Returns true once the copy is known to be bad.
    #[cfg(test)]
    pub(in crate::node) fn is_bad(&self) -> bool {
        self.member.replica.is_bad()
    }

    /// Proposes a comparison of all copies, if this node leads, the last one is a while ago, and something has changed
    /// since.
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
