//! Keeps and installs copies of the states of groups. The keeper's thread and the simulator share this code.

use std::collections::BTreeMap;
use std::io;

use crate::entry::{CopyDone, CopyOutcome, CopyTask, Image};
use crate::journal::{Disk, Keeper, Mark, Taken};
use crate::types::SlotId;

/// The copies that are being made, by group.
#[derive(Debug)]
pub struct Copies<D: Disk>(BTreeMap<SlotId, Taken<D::File>>);

impl<D: Disk> Default for Copies<D> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<D: Disk> Copies<D> {
    /// Does a task. The log ends at `mark`, and `images` are the states of all groups, if a state is to be installed.
    /// Segments of copies have about `segment_bytes` bytes. Returns what to report, and the error if it has failed:
    /// then everything that was kept for the group is dropped.
    ///
    /// # Errors
    /// Returns the error of a sync of the log, after which the process must exit.
    pub fn perform(
        &mut self,
        keeper: &mut Keeper<D>,
        task: CopyTask,
        (mark, images): (Mark, Vec<Image>),
        segment_bytes: u32,
    ) -> io::Result<Option<(CopyDone, Option<io::Error>)>> {
        let (slot, number, done) = match task {
            CopyTask::Drop { slot } => {
                self.drop_copy(keeper, slot);
                return Ok(None);
            }
            CopyTask::Keep { slot, number, mut batches } => {
                let taken = self.0.entry(slot).or_default();
                (slot, number, keeper.keep(taken, &mut batches, segment_bytes).map(|()| CopyOutcome::Kept))
            }
            CopyTask::Install { number, state } => {
                keeper.sync_log(mark)?;
                let taken = self.0.remove(&state.slot).unwrap_or_default();
                let end = keeper.install(taken, mark, &state, images);
                (state.slot, number, end.map(CopyOutcome::Installed))
            }
        };
        Ok(Some(match done {
            Ok(outcome) => (CopyDone { slot, number, outcome }, None),
            Err(error) => {
                self.drop_copy(keeper, slot);
                (CopyDone { slot, number, outcome: CopyOutcome::Failed }, Some(error))
            }
        }))
    }

    fn drop_copy(&mut self, keeper: &Keeper<D>, slot: SlotId) {
        if let Some(taken) = self.0.remove(&slot)
            && let Err(error) = keeper.drop_taken(taken)
        {
            log::warn!("cannot remove what was copied for slot {}: {error}; the next start does", slot.index());
        }
    }
}
