//! Reading what is not in memory any more: an index says where, the segment has it.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{self, HardState, Kind, record_at};
use super::index::{Directory, ENTRY, Entry, HEADER, Index};
use super::names;
use crate::limits::{FETCH_RUNS_MAX, READ_BYTES_MAX, READ_GAP_MAX};
use crate::record::Filed;
use crate::types::{Offset, TopicId, crc32};

/// The index of a segment, where it is.
#[derive(Debug)]
pub(super) enum Source<'k, F> {
    /// In memory, while the segment grows.
    Growing(&'k Index),
    /// In its file.
    File(F, Directory),
}

/// The blocks of a topic in a segment.
#[derive(Debug)]
pub(super) struct Blocks<'k, F> {
    segment: u32,
    topic: TopicId,
    source: Source<'k, F>,
}

impl<F: DiskFile> Blocks<'_, F> {
    /// Of a segment whose index is complete.
    pub(super) fn open<D: Disk<File = F>>(disk: &D, segment: u32, topic: TopicId) -> Result<Self, OpenError> {
        let name = names::index(segment);
        let file = disk.open(&name).map_err(|cause| OpenError::io(&name, cause))?;
        // An index of format 1 has a shorter header, and may end there.
        let mut header = [0; HEADER];
        let filled = file.read_at(&mut header, 0).map_err(|cause| OpenError::io(&name, cause))?;
        let directory = Directory::decode(segment, &header[..filled]).ok_or_else(|| damaged(segment, 0))?;
        Ok(Self { segment, topic, source: Source::File(file, directory) })
    }

    /// The batches from the one with the record `from` on, as many as are needed for that many bytes or records.
    pub(super) fn batches_from(&self, from: Offset, max_bytes: u32, max_records: u32) -> Result<Vec<Filed>, OpenError> {
        let first = self.partition(|entry| entry.end <= from)?;
        let (mut found, mut bytes, mut end): (Vec<Filed>, u32, _) = (Vec::new(), 0, from);
        let mut times = 0;
        for index in first..self.len() {
            let Some(block) = self.block(index)? else { break };
            for filed in block.into_iter().filter(|filed| filed.end() > from) {
                let is_next = found.is_empty() || filed.base == end;
                let is_enough = bytes >= max_bytes || end.0 - from.0 >= u64::from(max_records);
                times += usize::from(found.last().is_none_or(|last| last.append_us != filed.append_us));
                if !is_next || is_enough || times > FETCH_RUNS_MAX {
                    return Ok(found);
                }
                (bytes, end) = (bytes.saturating_add(filed.len), filed.end());
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
            // The one before may be of another topic.
            let Some(block) = self.block(index)? else { continue };
            let is_it = |filed: &&Filed| start < filed.end() && filed.base < end && filed.append_us >= append_us;
            if let Some(filed) = block.iter().find(is_it) {
                return Ok(Some(filed.base.max(start)));
            }
        }
        Ok(None)
    }

    /// Of all blocks of the segment, if they are in a file.
    fn len(&self) -> usize {
        match &self.source {
            Source::Growing(index) => index.blocks(self.topic),
            Source::File(_, directory) => directory.entries,
        }
    }

    /// The first block that is not before something.
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

    /// The batches of a block; `None` when it is another topic's.
    fn block(&self, index: usize) -> Result<Option<Vec<Filed>>, OpenError> {
        let (file, directory) = match &self.source {
            Source::Growing(growing) => {
                let (entry, block) = growing.block(self.topic, index);
                return Ok(Some(entry.batches(self.segment, block).expect("it was just made")));
            }
            Source::File(file, directory) => (file, directory),
        };
        let (entry, raw) = self.entry(file, directory, index)?;
        if entry.len as usize > directory.position {
            return Err(damaged(self.segment, entry.position));
        }
        let mut block = vec![0; entry.len as usize];
        read_exactly(file, &names::index(self.segment), &mut block, entry.position.into())?;
        let batches = entry.batches(self.segment, &block).filter(|_| Entry::is_sound(self.segment, &raw, &block));
        let batches = batches.ok_or_else(|| damaged(self.segment, entry.position))?;
        Ok((entry.topic == self.topic).then_some(batches))
    }

    fn entry(&self, file: &F, directory: &Directory, index: usize) -> Result<(Entry, [u8; ENTRY]), OpenError> {
        let mut raw = [0; ENTRY];
        let position = directory.position + index * ENTRY;
        read_exactly(file, &names::index(self.segment), &mut raw, position as u64)?;
        let position = u32::try_from(position).expect("an index is smaller than its segment");
        Ok((Entry::decode(&raw).ok_or_else(|| damaged(self.segment, position))?, raw))
    }
}

impl<'k, F> Blocks<'k, F> {
    /// Of a segment that grows.
    pub(super) const fn growing(index: &'k Index, segment: u32, topic: TopicId) -> Self {
        Self { segment, topic, source: Source::Growing(index) }
    }
}

/// The payloads of batches of one segment, by their place; each is what its checksum says.
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
                let what = "the records are not those of its index";
                return Err(OpenError::damaged(&name, filed.place.position.into(), what));
            }
            found.push((*filed, payload));
        }
    }
    Ok(found)
}

/// Reads up to `len` bytes of a file; fewer when the file ends before.
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
    let begin = read_part(disk, &names::segment(next), 0, 2 * format::HEADER + HardState::LEN)?;
    let state = record_at(&begin, next, format::HEADER).filter(|record| record.head.kind == Kind::HardState);
    Ok(state.and_then(|record| HardState::decode(&record.body)).map(|state| state.previous_end as usize))
}

/// A file that ends too early is damaged.
fn read_exactly<F: DiskFile>(file: &F, name: &str, buffer: &mut [u8], position: u64) -> Result<(), OpenError> {
    let filled = file.read_at(buffer, position).map_err(|cause| OpenError::io(name, cause))?;
    if filled == buffer.len() {
        Ok(())
    } else {
        Err(OpenError::damaged(name, position + filled as u64, "it ends here"))
    }
}

fn damaged(segment: u32, position: u32) -> OpenError {
    OpenError::damaged(&names::index(segment), position.into(), "the index cannot be read")
}

const _: () = assert!(READ_BYTES_MAX as usize + crate::limits::PAYLOAD_MAX as usize <= 2 << 20, "few are read at once");
