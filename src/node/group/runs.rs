//! Runs: the small batches of one topic that a turn brings become one entry.
//!
//! A batch by itself costs an entry, a proposal, and an action for its answer, which is several times what its records
//! cost. The batches of a run share them. Each still has an answer of its own, as if it had been appended alone: its
//! offsets follow from its place in the run. All records of a run have the append time of its last batch.
//!
//! A run ends with the turn, when something else is proposed, and when another batch would make it too long. Batches of
//! producers that number them are in no run, because each is remembered by itself.

use std::ops::Range;

use bytes::Bytes;

use super::super::call::ReplyTo;
use super::super::cost::Cost;
use crate::entry::{Batch, Entry, Place, TopicRef};
use crate::limits::{RUN_BYTES_MAX, RUNS_MAX};
use crate::topic::mark_bounds;
use crate::types::{Retention, TopicId, crc32};

/// Number of batches for which a new run has room without growing.
const PARTS_LEAST: usize = 16;

/// Bytes of the buffer of a run, so that it does not grow with each batch.
#[expect(clippy::cast_possible_truncation, reason = "that of a chunk")]
const BUFFER_BYTES: usize = RUN_BYTES_MAX as usize;

/// A batch in a run.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Part {
    /// Whom to answer.
    pub reply: ReplyTo,
    /// The number of its records.
    pub count: u32,
}

/// A small batch whose records were checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct SmallBatch<'b> {
    pub payload: &'b [u8],
    pub payload_crc: u32,
    pub append_us: u64,
    pub part: Part,
}

/// Batches of one topic.
#[derive(Debug)]
pub(super) struct Run {
    topic: TopicId,
    payload: Vec<u8>,
    /// The checksum of the first batch.
    first_crc: u32,
    append_us: u64,
    count: u32,
    /// Maximum numbers of bytes and records: more would make retention coarser than single batches do.
    bounds: (u64, u64),
    parts: Vec<Part>,
    cost: Cost,
}

/// The runs that can grow, in the order of their first batches.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
    /// Buffers of former runs, at most one for each run, each with room for the longest one.
    spares: Vec<Vec<u8>>,
}

impl Run {
    fn new(topic: TopicId, (bytes, records): (u64, u64), payload: Vec<u8>) -> Self {
        Self {
            topic,
            payload,
            first_crc: 0,
            append_us: 0,
            count: 0,
            bounds: (bytes.min(RUN_BYTES_MAX), records),
            parts: Vec::with_capacity(PARTS_LEAST),
            cost: Cost::default(),
        }
    }

    /// Returns true if the batch may be in the run. The first one always may.
    fn fits(&self, batch: &SmallBatch<'_>) -> bool {
        let (bytes, records) = self.bounds;
        self.parts.is_empty()
            || (self.payload.len() + batch.payload.len()) as u64 <= bytes
                && u64::from(self.count) + u64::from(batch.part.count) <= records
    }

    fn add(&mut self, batch: &SmallBatch<'_>, cost: Cost) {
        if self.parts.is_empty() {
            self.first_crc = batch.payload_crc;
        }
        self.payload.extend_from_slice(batch.payload);
        self.append_us = batch.append_us;
        self.count += batch.part.count;
        self.parts.push(batch.part);
        self.cost = self.cost.plus(cost);
    }

    /// Returns its entry, and whom to answer.
    fn close(self, spares: &mut Vec<Vec<u8>>) -> (Entry, Vec<Part>, Cost) {
        let is_single = self.parts.len() == 1;
        let payload_crc = if is_single { self.first_crc } else { crc32(&self.payload) };
        let batch = Batch {
            topic: TopicRef::Id(self.topic),
            producer: None,
            count: self.count,
            payload_crc,
            append_us: self.append_us,
            payload: Bytes::copy_from_slice(&self.payload),
            place: Place::default(),
        };
        if spares.len() < RUNS_MAX {
            spares.push(self.payload);
        }
        (Entry::Publish(batch), self.parts, self.cost)
    }
}

impl Runs {
    /// Returns the number of runs.
    pub(super) const fn len(&self) -> usize {
        self.runs.len()
    }

    /// Adds a batch to the run of its topic. Returns false if there is no run that it fits.
    pub(super) fn join(&mut self, topic: TopicId, batch: &SmallBatch<'_>, cost: Cost) -> bool {
        let Some(run) = self.runs.iter_mut().find(|run| run.topic == topic).filter(|run| run.fits(batch)) else {
            return false;
        };
        run.add(batch, cost);
        true
    }

    /// Returns the places of the runs that have to end before a run of this topic can begin.
    pub(super) fn before(&self, topic: TopicId) -> Range<usize> {
        match self.runs.iter().position(|run| run.topic == topic) {
            Some(place) => place..place + 1,
            None if self.runs.len() == RUNS_MAX => 0..RUNS_MAX,
            None => 0..0,
        }
    }

    /// Begins a run with a batch that [`Self::join`] has no run for. Those of [`Self::before`] must have ended.
    pub(super) fn begin(&mut self, (topic, retention): (TopicId, &Retention), batch: &SmallBatch<'_>, cost: Cost) {
        let mut payload = self.spares.pop().unwrap_or_default();
        payload.clear();
        payload.reserve(BUFFER_BYTES);
        let mut run = Run::new(topic, mark_bounds(retention), payload);
        run.add(batch, cost);
        self.runs.push(run);
    }

    /// Ends the runs at these places.
    pub(super) fn close(&mut self, places: Range<usize>) -> impl Iterator<Item = (Entry, Vec<Part>, Cost)> {
        self.runs.drain(places).map(|run| run.close(&mut self.spares))
    }

    /// Returns the number of batches in all runs, and what they cost.
    pub(super) fn sum(&self) -> (usize, Cost) {
        self.runs.iter().fold((0, Cost::default()), |(parts, cost), run| (parts + run.parts.len(), cost.plus(run.cost)))
    }
}
