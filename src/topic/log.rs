//! The log of one topic: its offsets and marks for all records, and the newest records themselves in memory.
//!
//! Records in memory are in chunks, ordered by offset. A large batch is a chunk of its own, in the buffer in which it
//! arrived. Small batches are copied one after the other into a shared chunk, so that a small record costs no
//! allocation; such a chunk keeps the append times of its parts. The oldest chunks may be evicted when the journal has
//! their records ([`TopicLog::evict`]); reads of these records then return [`NotHeld`].
//!
//! Append times do not decrease within an era of the log's clock ([`Eras`]). Neither a chunk nor a mark spans two eras.

mod chunk;
mod marks;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use chunk::Chunk;
pub use chunk::chunk_cost;
use marks::{Grain, Marks, Sought};

use super::eras::{Era, Eras};
use crate::entry::{Wanted, varint};
use crate::limits::{ERAS_MAX, FETCH_RUNS_MAX};
use crate::types::{Offset, Retention};
use crate::wire::response::{Payload, Run};

/// The records of a topic, with consecutive offsets, trimmed at the start and appended to at the end.
///
/// Invariant: chunks are contiguous up to `next` and none is empty; `first` may be before the chunks or in the oldest.
#[derive(Debug, Default)]
pub struct TopicLog {
    chunks: VecDeque<Chunk>,
    marks: Marks,
    first: Offset,
    next: Offset,
    /// Memory of the chunks, in bytes.
    chunks_cost: u64,
    last_append_us: u64,
    /// Append time of the last record that is not in memory.
    given_up_us: u64,
    /// Where each era's records begin, oldest first. Records before the first entry belong to era 0. Empty for most
    /// topics.
    stretches: Vec<Stretch>,
}

/// The records of one era, up to the next stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    base: Offset,
    era: u32,
}

/// Returns the maximum number of bytes and of records that batches may have together so that appending them as one
/// batch does not make retention coarser.
pub fn mark_bounds(retention: &Retention) -> (u64, u64) {
    Grain::of(retention).bounds()
}

/// The records are not in memory; they must be read from the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

/// Records read from a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// Offset of the first record.
    pub base: Offset,
    /// Number of records.
    pub count: u32,
    /// The records' append times.
    pub runs: Vec<Run>,
    /// The encoded records.
    pub payload: Payload,
    /// Number of records that were decoded to find the first and the last byte.
    pub walked: u32,
}

impl TopicLog {
    /// Returns the first retained offset.
    pub const fn first(&self) -> Offset {
        self.first
    }

    /// Returns the log end offset (exclusive).
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// Returns the first offset of the oldest chunk in memory, which may be partly trimmed, or the log end offset when
    /// no chunk is in memory.
    pub fn held(&self) -> Offset {
        self.chunks.front().map_or(self.next, Chunk::base)
    }

    /// Returns the number of chunks in memory.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Returns the first offset of the newest chunk in memory.
    pub(super) fn newest(&self) -> Option<Offset> {
        self.chunks.back().map(Chunk::base)
    }

    /// Returns the size of the retained records in bytes, estimated from the marks.
    pub fn bytes(&self) -> u64 {
        self.marks.bytes(self.first, self.next)
    }

    /// Returns the memory of the log, in bytes.
    pub fn cost(&self) -> u64 {
        // The cost of a chunk includes an eighth more than its entry.
        let spare = (self.chunks.capacity() - self.chunks.len()).saturating_sub(self.chunks.len() / 8);
        let tables = spare * size_of::<Chunk>() + self.stretches.capacity() * size_of::<Stretch>();
        self.chunks_cost + self.marks.cost() + tables as u64
    }

    /// Returns the append time of the last record, even if it is trimmed, when the record belongs to `era`, and `None`
    /// otherwise. No later record of the era gets an earlier time.
    pub(super) fn latest_us(&self, era: Era) -> Option<u64> {
        let last = self.stretches.last().map_or(0, |last| last.era);
        (last == era.number).then_some(self.last_append_us)
    }

    /// True when the first retained record has a later era, or a later append time in the same era, than the given one.
    pub fn begins_behind(&self, (era, time_us): (u32, u64)) -> bool {
        let first = self.stretches.iter().rev().find(|stretch| stretch.base <= self.first);
        (first.map_or(0, |first| first.era), self.marks.first_us()) > (era, time_us)
    }

    /// Begins an era: batches appended from now on have its times.
    pub fn enter(&mut self, era: Era) {
        if self.stretches.last().map_or(0, |last| last.era) >= era.number {
            return;
        }
        let (first, next) = (self.first, self.next);
        // Drops the boundaries of eras that have been merged, and of eras without records.
        self.stretches.retain(|it| it.era > era.oldest && it.base < next && first < next);
        self.stretches.reserve_exact(1);
        self.stretches.push(Stretch { base: next, era: era.number });
        self.last_append_us = era.since_us;
    }

    /// Appends a batch of validated records, then applies retention by number and size. Returns its first offset and
    /// its append time, which is raised if necessary so that times do not decrease within an era; searches by time rely
    /// on that.
    pub fn append(
        &mut self,
        payload: Bytes,
        (count, crc): (u32, u32),
        append_us: u64,
        retention: &Retention,
    ) -> (Offset, u64) {
        assert!(count > 0, "a batch has a record");
        let base = self.next;
        let append_us = append_us.max(self.last_append_us);
        self.last_append_us = append_us;
        self.next = base.plus(u64::from(count));
        let begins_era = self.stretches.last().is_some_and(|last| last.base == base);
        let grain = if begins_era { Grain::NONE } else { Grain::of(retention) };
        self.marks.append((base, self.next), payload.len() as u64, append_us, grain);
        self.push(base, payload, (count, crc), append_us, begins_era);
        self.retain(retention);
        (base, append_us)
    }

    /// Adds a batch to the newest chunk or begins a chunk with it.
    fn push(&mut self, base: Offset, payload: Bytes, (count, crc): (u32, u32), append_us: u64, begins_era: bool) {
        let is_only = self.chunks.len() == 1;
        if let Some(last) = self.chunks.back_mut() {
            // Memory is freed by whole chunks, so a mostly trimmed chunk must not grow for ever.
            let is_live = !is_only || self.first.0 <= last.base().0 + u64::from(last.count() / 2);
            self.chunks_cost -= last.cost();
            let is_taken = last.merge(&payload, count, append_us, is_live && !begins_era);
            self.chunks_cost += last.cost();
            if is_taken {
                return;
            }
        }
        let chunk = Chunk::new(base, payload, count, crc, append_us);
        self.chunks_cost += chunk.cost();
        if self.chunks.len() == self.chunks.capacity() {
            // Most topics have one chunk. Doubling would leave more spare entries than chunks are charged for.
            self.chunks.reserve_exact(self.chunks.len() / 8 + 1);
        }
        self.chunks.push_back(chunk);
    }

    /// Removes the oldest chunk from memory. The journal must have its records.
    pub fn evict(&mut self) {
        if let Some(oldest) = self.chunks.pop_front() {
            self.chunks_cost -= oldest.cost();
            self.given_up_us = oldest.last_us();
        }
        self.release_spare();
    }

    /// Frees memory when most entries of the list of chunks are spare.
    fn release_spare(&mut self) {
        if self.chunks.is_empty() {
            self.chunks.shrink_to_fit();
        } else if self.chunks.capacity() > 2 * self.chunks.len() + 8 {
            self.chunks.shrink_to(self.chunks.len() + self.chunks.len() / 8);
        }
    }

    /// Reads from `start`, which is clamped to the retained records: at least one record if there is one, then as many
    /// as fit both limits.
    ///
    /// # Errors
    /// Returns [`NotHeld`] when the first record is not in memory.
    pub fn read(&self, start: Offset, max_bytes: usize, max_records: u32) -> Result<Read, NotHeld> {
        let start = start.clamp(self.first, self.next);
        if start < self.held() {
            return Err(NotHeld);
        }
        let mut read = Read { base: start, count: 0, runs: Vec::new(), payload: Payload::default(), walked: 0 };
        let mut bytes = 0;
        for chunk in self.chunks.range(self.chunk_with(start)..) {
            let skip = u32::try_from(start.0.saturating_sub(chunk.base().0)).expect("start lies in the first chunk");
            let mut piece = chunk.piece(skip, max_bytes - bytes, max_records - read.count);
            read.walked += piece.walked;
            if piece.count == 0 && read.count == 0 {
                piece = chunk.piece(skip, usize::MAX, 1);
                read.walked += piece.walked;
            }
            let is_rest = skip + piece.count == chunk.count();
            let before = read.count;
            for run in chunk.runs(skip, piece.count) {
                if !push_run(&mut read.runs, run) {
                    break;
                }
                read.count += run.count;
            }
            let taken = read.count - before;
            if taken < piece.count {
                piece = chunk.piece(skip, usize::MAX, taken);
                read.walked += piece.walked;
            }
            if taken == 0 {
                break;
            }
            // A single whole batch keeps its producer's checksum; anything else is hashed when it is sent.
            read.payload.crc = if before == 0 && skip == 0 && is_rest { chunk.crc() } else { None };
            bytes += piece.bytes.len();
            read.payload.parts.push(chunk.share(piece.bytes));
            if !is_rest || skip + taken < chunk.count() || bytes >= max_bytes || read.count >= max_records {
                break;
            }
        }
        Ok(read)
    }

    /// Returns the first offset whose corrected append time is at or after `time_us`, or the log end offset.
    ///
    /// # Errors
    /// Returns the query for the journal when the record may be one that is not in memory.
    pub fn find_time(&self, time_us: u64, eras: &Eras) -> Result<Offset, Wanted> {
        let sought = self.sought(time_us, eras);
        let Sought { append_us, from, end } = sought;
        let held = self.held();
        if from.max(self.first) < held && (end < held || append_us <= self.given_up_us) {
            return Err(Wanted::Time { append_us, from, end });
        }
        let is_before = |chunk: &Chunk| chunk.end() <= from || chunk.base() < end && chunk.last_us() < append_us;
        let index = self.chunks.partition_point(is_before);
        let chunk = self.chunks.get(index).filter(|chunk| chunk.base() < end);
        Ok(chunk.map_or(end, |chunk| chunk.find_time(append_us)).max(self.first))
    }

    /// Returns the first offset to retain when records with a corrected append time before `oldest_us` expire. Among
    /// records that are not in memory it is only as precise as the marks, and retains slightly more.
    pub fn age_cut(&self, oldest_us: u64, eras: &Eras) -> Offset {
        self.find_time(oldest_us, eras)
            .unwrap_or_else(|_| self.marks.cut_by_time(self.sought(oldest_us, eras)).max(self.first))
    }

    /// Converts a corrected time to an append time in the first stretch whose era had not ended by then.
    fn sought(&self, time_us: u64, eras: &Eras) -> Sought {
        let oldest = eras.newest().oldest;
        let mut here = Stretch { base: Offset(0), era: 0 };
        let end = Stretch { base: self.next, era: 0 };
        for next in self.stretches.iter().filter(|stretch| stretch.era > oldest).chain([&end]) {
            let has_records = next.base > self.first.max(here.base);
            if let Some(append_us) = eras.reading(here.era, time_us).filter(|_| has_records) {
                return Sought { append_us, from: here.base, end: next.base };
            }
            here = *next;
        }
        Sought { append_us: 0, from: self.next, end: self.next }
    }

    /// Applies retention by number and size. Retention by size never removes the last batch.
    pub(super) fn retain(&mut self, retention: &Retention) {
        if retention.records > 0 {
            self.trim(Offset(self.next.0.saturating_sub(retention.records)));
        }
        // The size of all marks is at least that of the retained records, so for most batches this comparison suffices.
        if retention.bytes > 0 && self.marks.total_bytes() > retention.bytes {
            self.trim(self.marks.cut_by_bytes(self.first, self.next, retention.bytes));
        }
    }

    /// Removes the records before `first`, which is clamped to the log.
    pub fn trim(&mut self, first: Offset) {
        self.first = first.clamp(self.first, self.next);
        self.marks.trim(self.first, self.next);
        while let Some(oldest) = self.chunks.front()
            && oldest.end() <= self.first
        {
            self.chunks_cost -= oldest.cost();
            self.chunks.pop_front();
        }
        self.release_spare();
        let is_trimmed = |second: &Stretch| second.base <= self.first;
        while self.stretches.get(1).is_some_and(is_trimmed) {
            self.stretches.remove(0);
        }
    }

    /// Returns true when the log has eras for [`Self::encode_stretches`] to encode.
    pub(super) const fn has_stretches(&self) -> bool {
        !self.stretches.is_empty()
    }

    /// Appends the encoded eras to a checkpoint's image.
    pub(super) fn encode_stretches(&self, out: &mut Vec<u8>) {
        varint::put(out, self.stretches.len() as u64);
        let mut before = Stretch { base: Offset(0), era: 0 };
        for stretch in &self.stretches {
            varint::put(out, stretch.base.0 - before.base.0);
            varint::put(out, (stretch.era - before.era).into());
            before = *stretch;
        }
    }

    /// Decodes the result of [`Self::encode_stretches`]; returns `None` when the bytes are malformed.
    pub(super) fn decode_stretches(&mut self, bytes: &mut &[u8], newest: Era) -> Option<()> {
        let count = varint::take(bytes).filter(|count| (1..=ERAS_MAX as u64).contains(count))?;
        let mut before = Stretch { base: Offset(0), era: 0 };
        for index in 0..count {
            let distance = varint::take(bytes).filter(|distance| index == 0 || *distance > 0)?;
            let base = Offset(before.base.0.checked_add(distance)?);
            let newer = u32::try_from(varint::take(bytes)?).ok().filter(|newer| *newer > 0)?;
            before = Stretch { base, era: before.era.checked_add(newer)? };
            self.stretches.push(before);
        }
        (before.base <= self.next && before.era <= newest.number).then_some(())
    }

    /// Appends everything except the records and eras to a checkpoint's image.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        [self.first.0, self.next.0, self.last_append_us].into_iter().for_each(|number| varint::put(out, number));
        self.marks.encode(out);
    }

    /// Decodes the result of [`Self::encode`] into a log without records in memory; returns `None` when the bytes are
    /// malformed.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (first, next) = (Offset(varint::take(bytes)?), Offset(varint::take(bytes)?));
        let last_append_us = varint::take(bytes)?;
        let marks = Marks::decode(bytes, first, next).filter(|_| first <= next)?;
        Some(Self { marks, first, next, last_append_us, given_up_us: last_append_us, ..Self::default() })
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        let mut at = self.held();
        assert!(self.first <= self.next);
        assert!(self.chunks.front().is_none_or(|oldest| self.first < oldest.end()), "a trimmed chunk is removed");
        for chunk in &self.chunks {
            chunk.check();
            assert!(chunk.base() == at, "chunks are contiguous");
            at = chunk.end();
        }
        assert_eq!(at, self.next);
        self.marks.check(self.first, self.next);
        self.check_stretches();
        assert_eq!(self.chunks_cost, self.chunks.iter().map(Chunk::cost).sum::<u64>());
    }

    /// Asserts that no chunk spans the beginning of an era.
    fn check_stretches(&self) {
        assert!(self.stretches.windows(2).all(|pair| pair[0].base < pair[1].base && pair[0].era < pair[1].era));
        assert!(self.stretches.iter().skip(1).all(|stretch| self.first < stretch.base && stretch.base <= self.next));
        for stretch in self.stretches.iter().filter(|stretch| self.held() < stretch.base && stretch.base < self.next) {
            assert!(self.chunks.iter().any(|chunk| chunk.base() == stretch.base), "a chunk spans two eras");
        }
    }

    /// Returns the index of the chunk that contains an offset, or the number of chunks.
    fn chunk_with(&self, offset: Offset) -> usize {
        // Most reads are of the newest records.
        match self.chunks.back() {
            Some(last) if last.base() <= offset && offset < last.end() => self.chunks.len() - 1,
            _ => self.chunks.partition_point(|chunk| chunk.end() <= offset),
        }
    }
}

/// Adds a run, merging it with the last one if their times are equal. Returns `false` when the response is full.
pub fn push_run(runs: &mut Vec<Run>, run: Run) -> bool {
    if let Some(last) = runs.last_mut()
        && last.append_us == run.append_us
    {
        last.count += run.count;
        return true;
    }
    let has_room = runs.len() < FETCH_RUNS_MAX;
    if has_room {
        runs.push(run);
    }
    has_room
}
