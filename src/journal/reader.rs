//! Reads records from segments: finds their batches through the segment's index, then reads the payloads.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{self, Begin, Kind, record_at};
use super::index::{Directory, ENTRY, Entry, HEADER, Index};
use super::names;
use crate::entry::{Filed, TopicKey};
use crate::limits::{FETCH_RUNS_MAX, READ_BYTES_MAX, READ_GAP_MAX};
use crate::types::{Offset, SlotId, crc32};

/// Where the index of a segment is.
#[derive(Debug)]
pub(super) enum Source<'k, F> {
    /// In memory, while the segment is being written.
    Growing(&'k Index),
    /// In its file, once the segment is complete.
    File(F, Directory),
}

/// The blocks of a topic in a segment.
#[derive(Debug)]
pub(super) struct Blocks<'k, F> {
    segment: u32,
    topic: TopicKey,
    source: Source<'k, F>,
}

impl<F: DiskFile> Blocks<'_, F> {
    /// Opens the index file of a complete segment. `slot` is that of all topics if the file is of a format before 3.
    pub(super) fn open<D: Disk<File = F>>(
        disk: &D,
        segment: u32,
        topic: TopicKey,
        slot: SlotId,
    ) -> Result<Self, OpenError> {
        let name = names::index(segment);
        let file = disk.open(&name).map_err(|cause| OpenError::io(&name, cause))?;
        // An index of format 1 has a shorter header, and may end there.
        let mut header = [0; HEADER];
        let filled = file.read_at(&mut header, 0).map_err(|cause| OpenError::io(&name, cause))?;
        let directory = Directory::decode(segment, &header[..filled], slot).ok_or_else(|| damaged(segment, 0))?;
        Ok(Self { segment, topic, source: Source::File(file, directory) })
    }

    /// Returns consecutive batches, beginning with the one that holds the record `from`, until they have `max_bytes`
    /// bytes or reach `max_records` records after `from`. The last batch may exceed these limits.
    pub(super) fn batches_from(&self, from: Offset, max_bytes: u32, max_records: u32) -> Result<Vec<Filed>, OpenError> {
        let mut times = 0;
        self.batches_while(from, |found, bytes, filed| {
            let end = found.last().map_or(from, Filed::end);
            times += usize::from(found.last().is_none_or(|last| last.append_us != filed.append_us));
            bytes < max_bytes && end.0 - from.0 < u64::from(max_records) && times <= FETCH_RUNS_MAX
        })
    }

    /// Returns consecutive batches, beginning with the one that holds the record `from`, until they have `max_bytes`
    /// bytes or are `max_batches`. The last batch may exceed the limit of bytes.
    pub(super) fn whole_batches_from(
        &self,
        from: Offset,
        max_bytes: u32,
        max_batches: usize,
    ) -> Result<Vec<Filed>, OpenError> {
        self.batches_while(from, |found, bytes, _| bytes < max_bytes && found.len() < max_batches)
    }

    /// Returns consecutive batches, beginning with the one that holds the record `from`. Before each one is added,
    /// `wants` is asked whether it is wanted, with those that were found, their bytes, and the batch.
    fn batches_while(
        &self,
        from: Offset,
        mut wants: impl FnMut(&[Filed], u32, &Filed) -> bool,
    ) -> Result<Vec<Filed>, OpenError> {
        let first = self.partition(|entry| entry.end <= from)?;
        let (mut found, mut bytes): (Vec<Filed>, u32) = (Vec::new(), 0);
        for index in first..self.len() {
            let Some(block) = self.block(index)? else { break };
            for filed in block.into_iter().filter(|filed| filed.end() > from) {
                let is_next = found.last().is_none_or(|last| last.end() == filed.base);
                if !is_next || !wants(&found, bytes, &filed) {
                    return Ok(found);
                }
                bytes = bytes.saturating_add(filed.len);
                found.push(filed);
            }
        }
        Ok(found)
    }

    /// Returns the first record in the range `among` that was appended at or after `append_us`. Append times must not
    /// decrease within the range.
    pub(super) fn find_time(&self, append_us: u64, among: Range<Offset>) -> Result<Option<Offset>, OpenError> {
        let Range { start, end } = among;
        let behind = self.partition(|entry| entry.base <= start || entry.base < end && entry.first_us < append_us)?;
        for index in behind.saturating_sub(1)..self.len().min(behind + 1) {
            // The block before the boundary may belong to another topic.
            let Some(block) = self.block(index)? else { continue };
            let is_it = |filed: &&Filed| start < filed.end() && filed.base < end && filed.append_us >= append_us;
            if let Some(filed) = block.iter().find(is_it) {
                return Ok(Some(filed.base.max(start)));
            }
        }
        Ok(None)
    }

    /// Returns the number of blocks to search: those of the topic in memory, or those of all topics in a file.
    fn len(&self) -> usize {
        match &self.source {
            Source::Growing(index) => index.blocks(self.topic),
            Source::File(_, directory) => directory.entries,
        }
    }

    /// Returns the index of the first block of the topic for which `is_before` is false, by binary search.
    fn partition(&self, is_before: impl Fn(&Entry) -> bool) -> Result<usize, OpenError> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            let entry = match &self.source {
                Source::Growing(index) => index.block(self.topic, middle).0,
                Source::File(file, directory) => self.entry(file, directory, middle)?.0,
            };
            if entry.topic < self.topic || entry.topic == self.topic && is_before(&entry) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(from)
    }

    /// Returns the batches of a block, or `None` when the block belongs to another topic.
    fn block(&self, index: usize) -> Result<Option<Vec<Filed>>, OpenError> {
        let (file, directory) = match &self.source {
            Source::Growing(growing) => {
                let (entry, block) = growing.block(self.topic, index);
                return Ok(Some(entry.batches(self.segment, block).expect("a block in memory is well-formed")));
            }
            Source::File(file, directory) => (file, directory),
        };
        let (entry, raw) = self.entry(file, directory, index)?;
        if entry.len as usize > directory.position {
            return Err(damaged(self.segment, entry.position));
        }
        let mut block = vec![0; entry.len as usize];
        read_exactly(file, &names::index(self.segment), &mut block, entry.position.into())?;
        let batches = entry
            .batches(self.segment, &block)
            .filter(|_| Entry::is_sound(self.segment, &raw[..directory.entry_len()], &block));
        let batches = batches.ok_or_else(|| damaged(self.segment, entry.position))?;
        Ok((entry.topic == self.topic).then_some(batches))
    }

    fn entry(&self, file: &F, directory: &Directory, index: usize) -> Result<(Entry, [u8; ENTRY]), OpenError> {
        let mut raw = [0; ENTRY];
        let len = directory.entry_len();
        let position = directory.position + index * len;
        read_exactly(file, &names::index(self.segment), &mut raw[..len], position as u64)?;
        let position = u32::try_from(position).expect("an index is smaller than its segment");
        Ok((directory.entry(&raw[..len]).ok_or_else(|| damaged(self.segment, position))?, raw))
    }
}

impl<'k, F> Blocks<'k, F> {
    /// Uses the in-memory index of a segment that is being written.
    pub(super) const fn growing(index: &'k Index, segment: u32, topic: TopicKey) -> Self {
        Self { segment, topic, source: Source::Growing(index) }
    }
}

/// Reads the payloads of batches that lie in one segment, and verifies their checksums.
pub(super) fn payloads<F: DiskFile>(
    file: &F,
    segment: u32,
    filed: Vec<Filed>,
) -> Result<Vec<(Filed, Bytes)>, OpenError> {
    let name = names::segment(segment);
    let mut found = Vec::with_capacity(filed.len());
    let is_near = |one: &Filed, next: &Filed| {
        let gap = next.place.position.checked_sub(one.place.position + one.len);
        gap.is_some_and(|gap| gap <= READ_GAP_MAX)
    };
    for run in filed.chunk_by(is_near) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let start = first.place.position;
        let mut bytes = vec![0; (last.place.position + last.len - start) as usize];
        read_exactly(file, &name, &mut bytes, start.into())?;
        let bytes = Bytes::from(bytes);
        for filed in run {
            let at = (filed.place.position - start) as usize;
            let payload = bytes.slice(at..at + filed.len as usize);
            if crc32(&payload) != filed.crc {
                let what = "the records do not match their checksum in the index";
                return Err(OpenError::damaged(&name, filed.place.position.into(), what));
            }
            found.push((*filed, payload));
        }
    }
    Ok(found)
}

/// Reads up to `len` bytes of a file from `position` on; fewer when the file ends before that.
pub(super) fn read_part<D: Disk>(disk: &D, name: &str, position: u64, len: usize) -> Result<Bytes, OpenError> {
    let io = |cause: io::Error| OpenError::io(name, cause);
    let file = disk.open(name).map_err(io)?;
    let behind = file.size().map_err(io)?.saturating_sub(position);
    let mut bytes = vec![0; len.min(usize::try_from(behind).expect("files of a journal are small"))];
    let filled = file.read_at(&mut bytes, position).map_err(io)?;
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// Returns the position where the segment before `next` ends, according to the first record of `next`; `None` when
/// there is no such record.
pub(super) fn previous_end<D: Disk>(disk: &D, next: u32) -> Result<Option<usize>, OpenError> {
    let begin = read_part(disk, &names::segment(next), 0, 2 * format::HEADER + Begin::LEN)?;
    let first = record_at(&begin, next, format::HEADER).filter(|record| record.head.kind == Kind::Begin);
    Ok(first.and_then(|record| Begin::decode(&record.body)).map(|begin| begin.previous_end as usize))
}

/// Fills the buffer from a file, and reports the file as damaged when it ends too early.
fn read_exactly<F: DiskFile>(file: &F, name: &str, buffer: &mut [u8], position: u64) -> Result<(), OpenError> {
    let filled = file.read_at(buffer, position).map_err(|cause| OpenError::io(name, cause))?;
    if filled == buffer.len() {
        Ok(())
    } else {
        Err(OpenError::damaged(name, position + filled as u64, "the file ends too early"))
    }
}

fn damaged(segment: u32, position: u32) -> OpenError {
    OpenError::damaged(&names::index(segment), position.into(), "the index cannot be read")
}

const _: () = assert!(READ_BYTES_MAX as usize + crate::limits::PAYLOAD_MAX as usize <= 2 << 20, "few are read at once");
