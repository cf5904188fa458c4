//! Reports what a journal folder holds and how much of it can be read, without changing anything.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::disk::Disk;
use super::error::OpenError;
use super::format::check_segment_header;
use super::identity::{self, Identity};
use super::names;
use super::reader::read_part;
use super::salvage::{Salvage, salvage};
use super::walk::{End, Step, walk};
use super::watermark::Watermarked;
use crate::entry::TopicKey;
use crate::types::Offset;

/// The result of an inspection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of bodies ever written to the log, of all groups.
    pub entries: u64,
    /// How far the log was durable.
    pub watermark: Watermarked,
    /// The segments that the journal still needs, by number.
    pub segments: BTreeMap<u32, SegmentReport>,
    /// The existing topics, by id.
    pub topics: BTreeMap<TopicKey, TopicReport>,
    /// One line for each checkpoint that cannot be read although it should be.
    pub damaged_checkpoints: Vec<String>,
    /// Losses of entries after the newest checkpoint.
    pub log_losses: Vec<LogLoss>,
    /// True when damage in the log makes the node refuse to start although no entry is lost.
    pub blocks_start: bool,
}

/// The state of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentReport {
    /// Size of the file.
    pub bytes: u64,
    /// Position of the end of the last readable record.
    pub used: u64,
    /// Number of readable records.
    pub records: u64,
    /// True when the segment is needed but its file does not exist.
    pub is_missing: bool,
    /// True when the header of the segment is damaged, although records in it can be read.
    pub has_bad_header: bool,
    /// The ranges of bytes that should hold records but cannot be read.
    pub damage: Vec<Range<u64>>,
    /// The state of its index.
    pub index: IndexState,
    /// True when records that a topic retains cannot be read from it.
    pub has_loss: bool,
}

/// The state of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexState {
    /// The segment needs no index.
    #[default]
    None,
    /// The index exists and is correct.
    Sound,
    /// The index is missing or damaged. It can be rebuilt as far as its segment can be read.
    Damaged,
}

/// The state of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicReport {
    /// The name of the topic.
    pub name: String,
    /// The first offset that the topic retains.
    pub first: Offset,
    /// The log end offset: the offset of the next record.
    pub next: Offset,
    /// The ranges of offsets (ends exclusive) whose records cannot be read.
    pub lost: Vec<(Offset, Offset)>,
    /// The ranges of offsets (ends exclusive) whose records an earlier repair dropped. No record has these offsets.
    pub dropped: Vec<(Offset, Offset)>,
}

/// A range of entries after the newest checkpoint that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLoss {
    /// The segment where the loss begins.
    pub segment: u32,
    /// The position in that segment where the loss begins, in bytes.
    pub position: u64,
    /// Number of the first lost body, counted over all groups.
    pub from: u64,
    /// Number after the last lost body, as far as that is known.
    pub to: u64,
    /// The log end offset of each topic at the loss, by name. From this offset on, the topic's offsets may denote other
    /// records than before the loss.
    pub ends: Vec<(String, Offset)>,
}

impl Report {
    /// Returns true when everything that should exist can be read.
    pub fn is_sound(&self) -> bool {
        let is_derived_sound = self.damaged_checkpoints.is_empty() && self.damaged_indexes().next().is_none();
        let has_bad_header = self.segments.values().any(|of| of.has_bad_header);
        let is_complete = !has_bad_header && self.watermark != Watermarked::Lost;
        !self.loses_records() && !self.blocks_start && is_derived_sound && is_complete
    }

    /// Returns true when a repair would have to drop records.
    pub fn loses_records(&self) -> bool {
        !self.log_losses.is_empty() || self.topics.values().any(|topic| !topic.lost.is_empty())
    }

    /// Returns the segments whose index has to be rebuilt.
    pub fn damaged_indexes(&self) -> impl Iterator<Item = u32> {
        self.segments.iter().filter(|(_, of)| of.index == IndexState::Damaged).map(|(number, _)| *number)
    }
}

impl SegmentReport {
    /// Counts the records and the damage in the bytes of a segment.
    pub(super) fn of(number: u32, bytes: &Bytes, end: impl Into<End>) -> Self {
        let mut of = Self { bytes: bytes.len() as u64, ..Self::default() };
        let is_bad = check_segment_header(bytes, number).is_err() && !bytes.is_empty();
        if is_bad {
            of.damage.push(0..super::format::HEADER as u64);
        }
        for step in walk(number, bytes, end) {
            match step {
                Step::Record(record) => (of.records, of.used) = (of.records + 1, record.end as u64),
                Step::Damage(range) => of.damage.push(range.start as u64..range.end as u64),
            }
        }
        of.has_bad_header = is_bad && of.records > 0;
        of
    }
}

/// Reads everything in a folder and reports on it. `fresh` creates an empty state to read into. `is_live` says that a
/// node may be writing to the folder; files that it removes meanwhile do not count as damage.
///
/// # Errors
/// Returns [`OpenError`] when the folder is not a journal, or when no checkpoint can be read although segments of
/// the log have been removed.
pub fn inspect<D: Disk, S: Salvage>(
    disk: &D,
    is_live: bool,
    fresh: impl Fn() -> S,
) -> Result<(Identity, Report), OpenError> {
    let identity = identity::owner(disk)?;
    let mut left = if is_live { LIVE_TRIES } else { 1 };
    loop {
        left -= 1;
        let report = match salvage(disk, identity.node, is_live, &mut fresh()) {
            Ok(salvaged) => salvaged.report,
            Err(error) if left > 0 && error.lost_file().is_some() => continue,
            Err(error) => return Err(error),
        };
        // Segments that the node removed during the inspection look damaged; another pass no longer expects them.
        if left == 0 || report.is_sound() || report.segments.keys().all(|number| is_there(disk, *number)) {
            return Ok((identity, report));
        }
    }
}

/// The number of attempts at inspecting a folder that a running node keeps changing.
const LIVE_TRIES: u32 = 20;

fn is_there<D: Disk>(disk: &D, number: u32) -> bool {
    let header = read_part(disk, &names::segment(number), 0, super::format::HEADER);
    header.is_ok_and(|header| check_segment_header(&header, number).is_ok())
}
