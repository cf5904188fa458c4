//! A chunk of a log: a single batch as it arrived, or several small ones, one after the other.
//!
//! Records have no fixed size, so the byte at which one begins is found by walking over those before it. A chunk that
//! no longer grows is indexed by the first read that needs it: the walk to any record then has fewer than [`STRIDE`]
//! steps. Publishing pays nothing for it.

use std::cell::OnceCell;
use std::ops::Range;

use bytes::Bytes;

use super::Stretch;
use super::marks::GROWTH_COST;
use crate::limits::{CHUNK_MERGED_MAX, CHUNK_PARTS_MAX, MERGE_BYTES_MAX};
use crate::types::Offset;
use crate::wire::records;
use crate::wire::response::Run;

/// A chunk: records with consecutive offsets.
#[derive(Debug)]
pub(super) struct Chunk {
    base: Offset,
    count: u32,
    /// The producer's checksum, valid while the chunk is a single batch.
    crc: u32,
    /// Append time of the first batch, in microseconds since 1970.
    first_us: u64,
    /// The batches grouped by append time; empty for a single batch.
    parts: Vec<Part>,
    payload: Stored,
}

/// Consecutive records of a chunk with one append time.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// End of its records (exclusive), relative to the chunk's base.
    end: u32,
    /// End of its bytes (exclusive) in the chunk.
    end_byte: u32,
    append_us: u64,
}

/// Memory of a chunk without its payload, in bytes: its entry in the log, its entry in the order of eviction, and the
/// allocator's overhead.
const OVERHEAD: usize = 144;

/// Number of records for each entry of a chunk's index. With this stride the index takes at most a 300th of the
/// records' memory, and the walk from an entry to a record takes less than half a microsecond.
const STRIDE: u32 = 256;

/// Memory that the allocator may need for an index besides its entries, in bytes.
const INDEX_OVERHEAD: usize = 16;

/// The index of a large batch takes at most this fraction (one 64th) of the memory of its records.
const INDEX_PART: usize = 64;

/// The free bytes of a growing buffer are at most its used bytes divided by this number. With 1 the buffer doubles, so
/// that each byte of a chunk of 16 KiB is copied about once in all while the chunk grows. A larger step could not be
/// accounted to the batch that causes it.
const SLACK: usize = 1;

/// Returns the most memory that appending a batch adds to its log, in bytes. It includes the index that a read may add
/// to the chunk later.
pub const fn chunk_cost(payload_len: usize) -> u64 {
    // A large batch has its own buffer, which does not grow.
    let slack = if payload_len <= MERGE_BYTES_MAX { payload_len / SLACK } else { payload_len / INDEX_PART };
    (payload_len + slack + 1 + OVERHEAD + GROWTH_COST + size_of::<Stretch>()) as u64
}

/// The bytes of a chunk.
#[derive(Debug)]
enum Stored {
    /// The buffer in which the records arrived, shared with the connections that send it, and the chunk's index.
    Whole(Bytes, Index),
    /// A buffer that may grow.
    Growing(Vec<u8>),
}

/// The bytes at which every [`STRIDE`]-th record of a chunk begins, except the first; unset until a read needs it.
type Index = OnceCell<Box<[u32]>>;

/// Part of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Number of records.
    pub count: u32,
    /// Range of bytes within the chunk.
    pub bytes: Range<usize>,
    /// Number of records that were walked over to find the range.
    pub walked: u32,
}

impl Chunk {
    /// Creates a chunk from one batch. Only a small batch can be followed by others.
    pub(super) fn new(base: Offset, payload: Bytes, count: u32, crc: u32, append_us: u64) -> Self {
        let payload = if payload.len() <= MERGE_BYTES_MAX { Stored::Growing(payload.to_vec()) } else { whole(payload) };
        Self { base, count, crc, first_us: append_us, parts: Vec::new(), payload }
    }

    /// Appends a small batch if the chunk can grow and has room. Otherwise returns false, and the chunk never grows
    /// again.
    pub(super) fn merge(&mut self, batch: &[u8], count: u32, append_us: u64, is_wanted: bool) -> bool {
        let Stored::Growing(bytes) = &mut self.payload else { return false };
        let is_new_part = append_us != self.parts.last().map_or(self.first_us, |part| part.append_us);
        let has_parts = !is_new_part || self.parts.len() < CHUNK_PARTS_MAX;
        if !is_wanted || batch.len() > MERGE_BYTES_MAX || bytes.len() + batch.len() > CHUNK_MERGED_MAX || !has_parts {
            bytes.shrink_to_fit();
            self.parts.shrink_to_fit();
            self.payload = whole(std::mem::take(bytes).into());
            return false;
        }
        let at = |len: usize| u32::try_from(len).expect("CHUNK_MERGED_MAX");
        if self.parts.is_empty() {
            self.parts.push(Part { end: self.count, end_byte: at(bytes.len()), append_us: self.first_us });
        }
        if bytes.capacity() - bytes.len() < batch.len() {
            // Reserves no more slack than `cost` counts.
            bytes.reserve_exact(batch.len().max(slack_max(bytes.len())));
        }
        bytes.extend_from_slice(batch);
        self.count += count;
        let part = Part { end: self.count, end_byte: at(bytes.len()), append_us };
        match self.parts.last_mut() {
            Some(last) if !is_new_part => *last = part,
            _ => self.parts.push(part),
        }
        true
    }

    pub(super) const fn base(&self) -> Offset {
        self.base
    }

    pub(super) const fn end(&self) -> Offset {
        self.base.plus(self.count as u64)
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Returns the size of the records in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Returns the most memory that the chunk takes, in bytes. Merging a batch raises it by at most the batch's
    /// [`chunk_cost`]. The index is counted before it exists, so that a read that builds it never exceeds the node's
    /// memory limit.
    pub(super) fn cost(&self) -> u64 {
        let parts = size_of_val(&self.parts[..]);
        let slack = match &self.payload {
            Stored::Whole(..) => index_cost(self.count),
            // Half of the vector of parts may be spare capacity.
            Stored::Growing(bytes) => slack_max(bytes.len()).max(index_cost(self.count)) + parts,
        };
        (self.len() + slack + parts + OVERHEAD) as u64
    }

    /// Returns the producer's checksum when the chunk is a single batch.
    pub(super) fn crc(&self) -> Option<u32> {
        self.parts.is_empty().then_some(self.crc)
    }

    /// Returns the append time of the last record.
    pub(super) fn last_us(&self) -> u64 {
        self.parts.last().map_or(self.first_us, |part| part.append_us)
    }

    /// Returns the first record appended at or after `append_us`, which must not be later than [`Self::last_us`].
    pub(super) fn find_time(&self, append_us: u64) -> Offset {
        let index = self.parts.partition_point(|part| part.append_us < append_us);
        self.base.plus(u64::from(self.start_of(index).0))
    }

    /// Returns the append times of the `count` records after the first `skip`.
    pub(super) fn runs(&self, skip: u32, count: u32) -> impl Iterator<Item = Run> {
        let alone = Part { end: self.count, end_byte: 0, append_us: self.first_us };
        let alone = self.parts.is_empty().then_some(alone);
        let from = self.parts.partition_point(|part| part.end <= skip);
        let (mut at, end) = (skip, skip + count);
        alone.into_iter().chain(self.parts[from..].iter().copied()).map_while(move |part| {
            let behind = part.end.min(end);
            let run = Run { count: behind.checked_sub(at).filter(|count| *count > 0)?, append_us: part.append_us };
            at = behind;
            Some(run)
        })
    }

    /// Returns as many records after the first `skip` as fit both limits, possibly none.
    pub(super) fn piece(&self, skip: u32, max_bytes: usize, max_records: u32) -> Piece {
        let bytes = self.bytes();
        let left = self.count - skip;
        let (start, walked) = self.byte_of(skip);
        if bytes.len() - start <= max_bytes && left <= max_records {
            return Piece { count: left, bytes: start..bytes.len(), walked };
        }
        let (end, end_byte) = (skip + left.min(max_records), start.saturating_add(max_bytes));
        let indexed = self.index_up_to(end);
        let (near, at) = self.last_known(end, end_byte).max((skip, start));
        let (count, len) = records::fit(&bytes[at..], end_byte - at, end - near);
        Piece { count: near + count - skip, bytes: start..at + len, walked: walked + indexed + count + 1 }
    }

    /// Returns the byte at which a record begins, and the number of records that were walked over to find it. `record`
    /// is relative to the chunk's base.
    fn byte_of(&self, record: u32) -> (usize, u32) {
        let indexed = self.index_up_to(record);
        let (near, at) = self.last_known(record, usize::MAX);
        let byte = at + records::prefix_len(&self.bytes()[at..], record - near);
        (byte, indexed + record - near)
    }

    /// Returns the last record up to `record_max` that begins at a known byte up to `byte_max`, and this byte. Known
    /// without a walk are the beginning of the chunk, those of its parts, and the bytes that its index lists.
    fn last_known(&self, record_max: u32, byte_max: usize) -> (u32, usize) {
        match &self.payload {
            Stored::Whole(_, index) if let Some(index) = index.get() => {
                let by_bytes = index.partition_point(|byte| *byte as usize <= byte_max);
                let by_records = record_max / STRIDE;
                let entries = u32::try_from(by_bytes).map_or(by_records, |entries| entries.min(by_records));
                (entries * STRIDE, entries.checked_sub(1).map_or(0, |last| index[last as usize] as usize))
            }
            Stored::Whole(..) | Stored::Growing(_) => {
                let is_before = |part: &Part| part.end <= record_max && part.end_byte as usize <= byte_max;
                self.start_of(self.parts.partition_point(is_before))
            }
        }
    }

    /// Builds the index if the position of a record may need it and there is none yet. Returns the number of records
    /// that were walked over.
    fn index_up_to(&self, record: u32) -> u32 {
        let Stored::Whole(bytes, index) = &self.payload else { return 0 };
        if record < STRIDE || index_len(self.count) == 0 || index.get().is_some() {
            return 0;
        }
        let mut at = 0;
        let entries = (0..index_len(self.count)).map(|_| {
            at += records::prefix_len(&bytes[at..], STRIDE);
            u32::try_from(at).expect("a batch fits a frame")
        });
        index.set(entries.collect()).expect("it was unset");
        self.count
    }

    /// Returns some of the bytes for sending: shared, or copied while the chunk can grow.
    pub(super) fn share(&self, range: Range<usize>) -> Bytes {
        match &self.payload {
            Stored::Whole(bytes, _) => bytes.slice(range),
            Stored::Growing(bytes) => Bytes::copy_from_slice(&bytes[range]),
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!(self.count > 0, "no chunk is empty");
        if let Some(last) = self.parts.last() {
            assert_eq!((last.end, last.end_byte as usize), (self.count, self.len()));
        }
        for pair in self.parts.windows(2) {
            assert!(pair[0].end < pair[1].end && pair[0].append_us < pair[1].append_us);
        }
        if let Stored::Whole(_, index) = &self.payload {
            assert!(index.get().is_none_or(|index| size_of_val(&index[..]) + INDEX_OVERHEAD == index_cost(self.count)));
        }
    }

    /// Returns the first record and the first byte of a part.
    fn start_of(&self, index: usize) -> (u32, usize) {
        index.checked_sub(1).map_or((0, 0), |before| (self.parts[before].end, self.parts[before].end_byte as usize))
    }

    fn bytes(&self) -> &[u8] {
        match &self.payload {
            Stored::Whole(bytes, _) => bytes,
            Stored::Growing(bytes) => bytes,
        }
    }
}

const fn whole(bytes: Bytes) -> Stored {
    Stored::Whole(bytes, OnceCell::new())
}

/// Returns the maximum number of free bytes in a growing buffer with `len` used bytes.
fn slack_max(len: usize) -> usize {
    (len / SLACK).min(CHUNK_MERGED_MAX - len)
}

/// Returns the number of entries in the index of a chunk with `count` records.
const fn index_len(count: u32) -> usize {
    count.saturating_sub(1) as usize / STRIDE as usize
}

/// Returns the memory of the index of a chunk with `count` records, in bytes.
const fn index_cost(count: u32) -> usize {
    let len = index_len(count);
    if len == 0 { 0 } else { len * size_of::<u32>() + INDEX_OVERHEAD }
}

const _: () = {
    // Each record has at least five bytes. A shared chunk that is closed exchanges its slack for an index.
    assert!(index_cost(STRIDE + 1) * SLACK <= 5 * STRIDE as usize, "slack covers the smallest index");
    assert!(size_of::<u32>() * SLACK <= 5 * STRIDE as usize, "slack covers each further entry");
    assert!(size_of::<u32>() * INDEX_PART * 2 <= 5 * STRIDE as usize, "half of the slack of a large batch");
    assert!(INDEX_OVERHEAD * INDEX_PART * 2 <= MERGE_BYTES_MAX, "the other half");
    assert!(size_of::<Chunk>() <= OVERHEAD);
    assert!(2 * 2 * size_of::<Part>() <= OVERHEAD, "the first merge adds two parts");
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk of one small batch, appended at time 0.
    fn begun(len: usize) -> Chunk {
        Chunk::new(Offset(0), vec![0; len].into(), 1, 0, 0)
    }

    fn merge(chunk: &mut Chunk, len: usize, append_us: u64) -> bool {
        let is_merged = chunk.merge(&vec![0; len], 1, append_us, true);
        chunk.check();
        is_merged
    }

    #[test]
    fn a_chunk_takes_small_batches_until_it_has_so_many_bytes() {
        const SMALL: usize = MERGE_BYTES_MAX;
        let cases: [(&[usize], bool); 4] = [
            (&[1, SMALL], true),
            (&[1, SMALL + 1], false),
            (&[SMALL; 4], true),
            (&[SMALL, SMALL, SMALL, SMALL, 1], false),
        ];
        for (lens, is_last_merged) in cases {
            let mut chunk = begun(lens[0]);
            let merged: Vec<bool> = lens[1..].iter().map(|len| merge(&mut chunk, *len, 0)).collect();
            assert!(merged[..merged.len() - 1].iter().all(|is_merged| *is_merged), "{lens:?}");
            assert_eq!(merged.last(), Some(&is_last_merged), "{lens:?}");
            assert_eq!(merge(&mut chunk, 0, 0), is_last_merged, "a chunk that was full once never grows again");
        }
        assert_eq!(4 * SMALL, CHUNK_MERGED_MAX);
    }

    #[test]
    fn a_chunk_has_so_many_append_times() {
        let mut chunk = begun(1);
        for time in 1..CHUNK_PARTS_MAX as u64 {
            assert!(merge(&mut chunk, 1, time) && merge(&mut chunk, 1, time), "{time}");
        }
        assert_eq!(chunk.parts.len(), CHUNK_PARTS_MAX);
        let last_us = chunk.last_us();
        assert!(merge(&mut chunk, 1, last_us), "the last time goes on");
        assert!(!merge(&mut chunk, 1, last_us + 1));
        let runs: Vec<u32> = chunk.runs(0, chunk.count()).map(|run| run.count).collect();
        assert_eq!((runs.len(), runs[0], runs[1], runs[CHUNK_PARTS_MAX - 1]), (CHUNK_PARTS_MAX, 1, 2, 3));
    }

    #[test]
    fn a_read_walks_from_the_last_entry_of_the_index_and_only_a_read_that_needs_it_builds_the_index() {
        const COUNT: u32 = 4 * STRIDE;
        let payload: Bytes = b"\0\0\0\x01\0".repeat(COUNT as usize).into();
        let chunk = || Chunk::new(Offset(0), payload.clone(), COUNT, 0, 0);
        for (record, walked, walked_again) in
            [(STRIDE - 1, STRIDE - 1, STRIDE - 1), (STRIDE, COUNT, 0), (STRIDE + 7, COUNT + 7, 7)]
        {
            let chunk = chunk();
            let byte = record as usize * 5;
            assert_eq!((chunk.byte_of(record), chunk.byte_of(record)), ((byte, walked), (byte, walked_again)));
        }
        let chunk = chunk();
        chunk.byte_of(STRIDE);
        let rest = Piece { count: 3 * STRIDE, bytes: STRIDE as usize * 5..payload.len(), walked: 0 };
        assert_eq!(chunk.piece(STRIDE, rest.bytes.len(), rest.count), rest, "where the chunk ends is known");
        // Walked: three records to the first one, four that fit, and the one that exceeds the limit.
        let piece = Piece { count: 4, bytes: (STRIDE as usize + 3) * 5..(STRIDE as usize + 7) * 5, walked: 3 + 4 + 1 };
        assert_eq!(chunk.piece(STRIDE + 3, 4 * 5, 9), piece);
    }

    #[test]
    fn a_buffer_doubles_when_a_batch_does_not_fit_up_to_the_size_of_a_chunk() {
        let mut chunk = begun(4000);
        let room = |chunk: &Chunk| {
            let Stored::Growing(bytes) = &chunk.payload else { panic!("it is complete") };
            assert!(bytes.capacity() - bytes.len() <= slack_max(bytes.len()));
            bytes.capacity()
        };
        assert_eq!(room(&chunk), 4000);
        for (len, capacity) in [(100, 8000), (3900, 8000), (1, 16_000), (4000, 16_000), (4000, CHUNK_MERGED_MAX)] {
            assert!(merge(&mut chunk, len, 0));
            assert_eq!(room(&chunk), capacity, "after {len} bytes more");
        }
    }
}
