//! The logs of the groups, as a start finds them in the one log of the journal.

use std::collections::{BTreeMap, VecDeque};

use super::error::OpenError;
use super::names;
use crate::entry::{Body, LogPosition, MemberState, Place};
use crate::types::SlotId;

/// The log of a group, as a start finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupLog {
    /// The member's term, vote and commit index. A group of one member needs none of them.
    pub state: MemberState,
    /// How much has been applied.
    pub applied: LogPosition,
    /// The bodies after `applied`, with their places. It is not known whether they are committed.
    pub rest: Vec<(Body, Place)>,
    /// True when acknowledged entries may be missing at the end of the log.
    pub is_lossy: bool,
}

impl GroupLog {
    /// Returns a log without entries. `is_lossy` is true when acknowledged entries may be missing.
    pub fn new(is_lossy: bool) -> Self {
        Self { is_lossy, ..Self::default() }
    }

    /// Returns true if the member has neither promised nor applied anything.
    pub const fn is_blank(&self) -> bool {
        self.state.term == 0 && self.applied.index == 0
    }
}

/// The position of a body's record, and what its header says.
pub(super) struct Read {
    pub(super) slot: SlotId,
    pub(super) segment: u32,
    pub(super) at: usize,
    pub(super) index: u64,
    pub(super) term: u32,
}

impl Read {
    /// Returns true when the record lies at or after this place.
    pub(super) fn is_behind(&self, place: Place) -> bool {
        (self.segment, self.at) >= (place.segment, place.position as usize)
    }
}

/// The log of a group after the checkpoint.
#[derive(Default)]
struct Tail {
    /// The position of the last body that the checkpoint's state includes.
    applied: u64,
    bodies: VecDeque<Read>,
    /// Bodies whose predecessor is missing. That is no damage if a later body replaces them all: the checkpoint may
    /// then have allowed the segment of the predecessor to be removed.
    stray: Vec<Read>,
}

/// The bodies after the checkpoint.
pub(super) struct Logs {
    groups: BTreeMap<SlotId, Tail>,
}

impl Logs {
    pub(super) fn after(groups: &BTreeMap<SlotId, GroupLog>) -> Self {
        let tail = |log: &GroupLog| Tail { applied: log.applied.index, ..Tail::default() };
        Self { groups: groups.iter().map(|(slot, log)| (*slot, tail(log))).collect() }
    }

    /// Appends a body to the log of its group. If the log already has a body at that position, the new one replaces
    /// that body and all after it.
    pub(super) fn push(&mut self, read: Read) {
        let Tail { applied, bodies, stray } = self.groups.entry(read.slot).or_default();
        if read.index <= *applied {
            return;
        }
        let next = bodies.back().map_or(*applied, |last| last.index).checked_add(1);
        let Some(next) = next.filter(|next| read.index <= *next && read.index < u64::MAX) else {
            stray.push(read);
            return;
        };
        for _ in read.index..next {
            planted!("overwritten entries applied", _ = bodies.pop_back(), ());
        }
        stray.clear();
        bodies.push_back(read);
    }

    /// Returns the bodies that no later body has replaced, in the order in which they lie in the journal. Those of a
    /// group are in the order of its log.
    ///
    /// # Errors
    /// Returns [`OpenError::Damaged`] when bodies of a group are missing.
    pub(super) fn in_order(self) -> Result<Vec<Read>, OpenError> {
        if let Some(Read { segment, at, .. }) = self.groups.values().find_map(|tail| tail.stray.first()) {
            let what = "entries before this one are missing";
            return Err(OpenError::damaged(&names::segment(*segment), *at as u64, what));
        }
        let mut all: Vec<Read> = self.groups.into_values().flat_map(|tail| tail.bodies).collect();
        all.sort_unstable_by_key(|read| (read.segment, read.at));
        Ok(all)
    }
}
