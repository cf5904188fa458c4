//! Whether there is room for an entry: in memory, on the disk, and in the queue of what is not committed yet.

use super::super::cost::Cost;
use super::super::{Settings, Step};
use super::Group;
use crate::limits::PROPOSALS_BYTES_MAX;
use crate::wire::Status;
use crate::wire::response::{Detail, ErrorResponse};

impl Group {
    /// Returns an error if there is no room for a batch in memory or in the journal.
    pub(super) fn check_batch(&self, step: &Step<'_>, cost: Cost) -> Result<(), ErrorResponse> {
        self.check_room(step, cost)?;
        if !self.catalogue.is_evicting() {
            return check_memory(step, cost.lasting());
        }
        // Records need no free memory, because eviction can make room for them. Producer state cannot be evicted.
        let used = step.budget.used();
        let fixed = used.memory - used.evictable + used.proposed.fixed();
        if cost.producers == 0 { Ok(()) } else { check_cap(step.settings, fixed, cost.producers) }
    }

    /// Returns an error if the disks have no room for an entry that frees no space, or if the write queue is full.
    pub(super) fn check_room(&self, step: &Step<'_>, cost: Cost) -> Result<(), ErrorResponse> {
        if self.lacks_space(step) {
            return Err(step.settings.no_space());
        }
        check_queue(step, cost)
    }
}

/// Returns an error when too much waits for the disk already. Every entry that a request leads to is checked, also one
/// that makes space: a client may send any number of requests while the disk hangs.
pub(super) fn check_queue(step: &Step<'_>, cost: Cost) -> Result<(), ErrorResponse> {
    let queued = step.budget.used().proposed;
    if queued.lasting() + queued.entry + cost.lasting() + cost.entry > PROPOSALS_BYTES_MAX {
        return Err(step.settings.waits_for_disk());
    }
    Ok(())
}

/// Returns an error if there is no room for that many bytes that eviction cannot free.
pub(super) fn check_memory(step: &Step<'_>, bytes: u64) -> Result<(), ErrorResponse> {
    let used = step.budget.used();
    check_cap(step.settings, used.memory + used.proposed.lasting() - used.evictable, bytes)
}

fn check_cap(settings: &Settings, used: u64, bytes: u64) -> Result<(), ErrorResponse> {
    if used + bytes <= settings.memory_bytes { Ok(()) } else { Err(out_of_memory(settings, used)) }
}

/// Returns the answer to a request for which there is no memory.
fn out_of_memory(settings: &Settings, used: u64) -> ErrorResponse {
    let (cap, name) = (settings.memory_bytes, settings.name(settings.id));
    let message = format!(
        "the topics of node {name} take {used} of {cap} bytes of memory (--memory); delete topics or lower retention"
    );
    ErrorResponse::new(Status::Quota, message).with(Detail::Limit(cap))
}
