//! Whether there is room for an entry: in memory, on the disk, and in the queue of what is not committed yet.

use super::super::Settings;
use super::Group;
use super::cost::Cost;
use crate::limits::PROPOSALS_BYTES_MAX;
use crate::wire::Status;
use crate::wire::response::{Detail, ErrorResponse};

impl Group {
    /// Returns an error if there is no room for a batch in memory or in the journal.
    pub(super) fn check_batch(&self, settings: &Settings, cost: Cost) -> Result<(), ErrorResponse> {
        self.check_room(settings, cost)?;
        if !self.catalogue.is_evicting() {
            return self.check_memory(settings, cost.lasting());
        }
        // Records need no free memory, because eviction can make room for them. Producer state cannot be evicted.
        let fixed = self.memory_used() - self.catalogue.evictable() + self.proposals.cost().fixed();
        if cost.producers == 0 { Ok(()) } else { self.check_cap(settings, fixed, cost.producers) }
    }

    /// Returns an error if the disk has no room for an entry that frees no space, or if the write queue is full.
    pub(super) fn check_room(&self, settings: &Settings, cost: Cost) -> Result<(), ErrorResponse> {
        if self.room.is_full {
            return Err(settings.no_space());
        }
        self.check_queue(settings, cost)
    }

    /// Returns an error when too much waits for the disk already. Every entry that a request leads to is checked, also
    /// one that makes space: a client may send any number of requests while the disk hangs.
    pub(super) fn check_queue(&self, settings: &Settings, cost: Cost) -> Result<(), ErrorResponse> {
        let queued = self.proposals.cost();
        if queued.lasting() + queued.entry + cost.lasting() + cost.entry > PROPOSALS_BYTES_MAX {
            return Err(settings.waits_for_disk());
        }
        Ok(())
    }

    /// Returns an error if there is no room for that many bytes that eviction cannot free.
    pub(super) fn check_memory(&self, settings: &Settings, bytes: u64) -> Result<(), ErrorResponse> {
        self.check_cap(
            settings,
            self.memory_used() + self.proposals.cost().lasting() - self.catalogue.evictable(),
            bytes,
        )
    }

    fn check_cap(&self, settings: &Settings, used: u64, bytes: u64) -> Result<(), ErrorResponse> {
        if used + bytes <= settings.memory_bytes { Ok(()) } else { Err(out_of_memory(settings, used)) }
    }

    /// Returns how much of the node's memory limit topics take, in bytes.
    pub(in crate::node) fn memory_used(&self) -> u64 {
        self.catalogue.cost().total()
    }
}

/// Returns the answer to a request for which there is no memory.
fn out_of_memory(settings: &Settings, used: u64) -> ErrorResponse {
    let (cap, name) = (settings.memory_bytes, settings.name(settings.id));
    let message = format!(
        "the topics of node {name} take {used} of {cap} bytes of memory (--memory); delete topics or lower retention"
    );
    ErrorResponse::new(Status::Quota, message).with(Detail::Limit(cap))
}
