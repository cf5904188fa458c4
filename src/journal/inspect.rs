//! What a folder holds and what of it can be read, told without changing anything.

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
use super::walk::{Step, walk};
use crate::types::{Offset, TopicId};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries of the log, from the first that there ever was.
    pub entries: u64,
    /// The segments by number.
    pub segments: BTreeMap<u32, SegmentReport>,
    /// The topics that there are.
    pub topics: BTreeMap<TopicId, TopicReport>,
    /// A line for each checkpoint that was to be read and cannot be.
    pub damaged_checkpoints: Vec<String>,
    /// Where entries behind the newest checkpoint are lost.
    pub log_losses: Vec<LogLoss>,
    /// True when a start is refused although no entry is lost: something else in the log cannot be read.
    pub blocks_start: bool,
}

/// A segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentReport {
    /// Bytes of its file, and up to the end of its last record.
    pub bytes: u64,
    /// See `bytes`.
    pub used: u64,
    /// Records that can be read.
    pub records: u64,
    /// There is no such file, and it is needed.
    pub is_missing: bool,
    /// Bytes of it that should be records and are not.
    pub damage: Vec<Range<u64>>,
    /// Its index.
    pub index: IndexState,
    /// True when records that a topic keeps cannot be read from it.
    pub has_loss: bool,
}

/// The state of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexState {
    /// None is needed.
    #[default]
    None,
    /// It is there, and right.
    Sound,
    /// It is missing or cannot be read, and can be made anew as far as its segment can be read.
    Damaged,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicReport {
    /// Its name.
    pub name: String,
    /// The first offset that it keeps.
    pub first: Offset,
    /// The offset that the next record gets.
    pub next: Offset,
    /// The ranges of offsets, ends exclusive, whose records cannot be read.
    pub lost: Vec<(Offset, Offset)>,
}

/// Entries of the log that cannot be read, behind the newest checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLoss {
    /// The segment, and where in it.
    pub segment: u32,
    /// See `segment`.
    pub position: u64,
    /// The indexes of the entries that are lost: the first, and the one behind the last as far as that is known.
    pub from: u64,
    /// See `from`.
    pub to: u64,
    /// Of each topic the next offset there: from it on, offsets may mean other records than before.
    pub ends: Vec<(String, Offset)>,
}

impl Report {
    /// Can everything be read that should be there?
    pub fn is_sound(&self) -> bool {
        let is_derived_sound = self.damaged_checkpoints.is_empty() && self.damaged_indexes().next().is_none();
        !self.loses_records() && !self.blocks_start && is_derived_sound
    }

    /// Would a repair have to give records up?
    pub fn loses_records(&self) -> bool {
        !self.log_losses.is_empty() || self.topics.values().any(|topic| !topic.lost.is_empty())
    }

    /// The segments whose index is to be made anew.
    pub fn damaged_indexes(&self) -> impl Iterator<Item = u32> {
        self.segments.iter().filter(|(_, of)| of.index == IndexState::Damaged).map(|(number, _)| *number)
    }
}

impl SegmentReport {
    /// Counts what is in the bytes of a segment.
    pub(super) fn of(number: u32, bytes: &Bytes, end: Option<usize>) -> Self {
        let mut of = Self { bytes: bytes.len() as u64, ..Self::default() };
        if check_segment_header(bytes, number).is_err() && !bytes.is_empty() {
            of.damage.push(0..super::format::HEADER as u64);
        }
        for step in walk(number, bytes, end) {
            match step {
                Step::Record(record) => (of.records, of.used) = (of.records + 1, record.end as u64),
                Step::Damage(range) => of.damage.push(range.start as u64..range.end as u64),
            }
        }
        of
    }
}

/// Reads everything in a folder, into a state that `fresh` makes and that knows nothing yet. `is_live` says that a node
/// may be writing to it: what that gives up meanwhile is no damage.
///
/// # Errors
/// [`OpenError`]: it is no journal, or without any checkpoint that can be read although segments were given up.
pub fn inspect<D: Disk, S: Salvage>(
    disk: &D,
    is_live: bool,
    fresh: impl Fn() -> S,
) -> Result<(Identity, Report), OpenError> {
    let identity = identity::owner(disk)?;
    let mut left = if is_live { LIVE_TRIES } else { 1 };
    loop {
        left -= 1;
        let report = match salvage(disk, identity.node.index(), is_live, &mut fresh()) {
            Ok(salvaged) => salvaged.report,
            Err(error) if left > 0 && error.lost_file().is_some() => continue,
            Err(error) => return Err(error),
        };
        // What the node gave up while it was read is looked at once more, without that.
        if left == 0 || report.is_sound() || report.segments.keys().all(|number| is_there(disk, *number)) {
            return Ok((identity, report));
        }
    }
}

/// How often a folder is read that a node changes meanwhile.
const LIVE_TRIES: u32 = 20;

fn is_there<D: Disk>(disk: &D, number: u32) -> bool {
    let header = read_part(disk, &names::segment(number), 0, super::format::HEADER);
    header.is_ok_and(|header| check_segment_header(&header, number).is_ok())
}
