//! What the store does for copies of the states of groups.

use bytes::Bytes;

use super::{CopiedState, Filed, Place};
use crate::types::SlotId;

/// What the store is to do for a copy of a group's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyTask {
    /// Keeps batches that were copied: consecutive ones of a topic, after those that were kept of it before.
    Keep {
        /// The slot of the group.
        slot: SlotId,
        /// Identifies the copy among all of this node.
        number: u64,
        /// The batches. Their places are not known yet.
        batches: Vec<(Filed, Bytes)>,
    },
    /// Makes the copied state that of the group. No body of the group is written before this is reported.
    Install {
        /// Identifies the copy.
        number: u64,
        /// The state.
        state: Box<CopiedState>,
    },
    /// Drops everything that was kept for the group.
    Drop {
        /// The slot of the group.
        slot: SlotId,
    },
}

impl CopyTask {
    /// Returns the slot and the number of the copy if the task is to install it.
    pub fn installs(&self) -> Option<(SlotId, u64)> {
        match self {
            Self::Install { number, state } => Some((state.slot, *number)),
            Self::Keep { .. } | Self::Drop { .. } => None,
        }
    }
}

/// What the store has done for a copy of a group's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyDone {
    /// The slot of the group.
    pub slot: SlotId,
    /// Identifies the copy.
    pub number: u64,
    /// What was done.
    pub outcome: CopyOutcome,
}

/// The outcome of a [`CopyTask`]. The tasks of a copy are done in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyOutcome {
    /// The batches are kept.
    Kept,
    /// The state is installed. The log of the group continues after this place.
    Installed(Place),
    /// The journal could not do it, and has logged the reason. Everything that was kept for the copy is dropped.
    Failed,
}
