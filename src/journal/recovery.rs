//! Recovery at the start: restores the state from the folder and finds the end of the log.
//!
//! 1. The newest readable checkpoint provides the state after some entry; the indexes provide the places of the records
//!    before it. These records are not read: only their number is compared with the state. Lost files are rebuilt
//!    (`past`).
//! 2. The entries after the checkpoint are read. When an index occurs twice, the later entry replaces the earlier one
//!    and all entries after that one.
//! 3. The last segment ends where no sound record follows. A crash may have left an unfinished record there. If the
//!    watermark or a later record says that this place was durable already, the disk has lost data: nothing is cut and
//!    the start is refused. The watermark also reveals whether whole segments are missing at the end.
//! 4. What the last segment holds is written and fsynced again, since after a failed sync the kernel may have dropped
//!    pages that still seemed to be written; then the log resumes in a fresh segment.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use super::copies;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{self, ALIGN, HEADER, HardState, Head, Kind, record_at};
use super::identity;
use super::index::{self, Directory};
use super::keeper::Keeper;
use super::names;
use super::reader::{previous_end, read_part};
use super::watermark::Watermarked;
use super::writer::Mark;
use crate::entry::{self, DecodeError, Entry, Note, Place};
use crate::types::{Offset, TopicId};

/// The state that recovery restores: topics, without their records.
pub trait State {
    /// Restores the state from a checkpoint that was written in format `version`. Called at most once, before anything
    /// else.
    ///
    /// # Errors
    /// Returns [`DecodeError`] when the image is malformed or holds data of a newer program.
    fn restore(&mut self, image: &[u8], version: u32) -> Result<(), DecodeError>;

    /// Returns the first offset that a topic retains and its log end offset (exclusive), or `None` when the topic does
    /// not exist.
    fn kept(&self, topic: TopicId) -> Option<(Offset, Offset)>;

    /// Returns the topic of that name.
    fn find(&self, name: &str) -> Option<TopicId>;

    /// Returns the ids of all topics.
    fn topics(&self) -> Vec<TopicId>;

    /// Applies committed entries after the checkpoint and returns their results for the keeper.
    fn replay(&mut self, entries: Vec<Entry>) -> Vec<Note>;
}

/// The result of a recovery.
#[derive(Debug)]
pub struct Recovered<D: Disk> {
    /// The bookkeeping of segments, indexes and checkpoints.
    pub keeper: Keeper<D>,
    /// The end of the log.
    pub last: Mark,
    /// The end of the log when the newest checkpoint was taken.
    pub checkpoint: Mark,
    /// Size in bytes of the state in that checkpoint.
    pub image_len: usize,
    /// True when acknowledged entries may be missing at the end of the log.
    pub is_lossy: bool,
    /// The unfinished records at the end of the log that were cut off.
    pub cut: Cut,
    /// The watermark as it was found: how far the log was durable.
    pub watermark: Watermarked,
    /// One line for the operator about each lost or damaged file that was replaced or rebuilt.
    pub mended: Vec<String>,
}

/// What was cut from the end of the log. An unfinished record counts only when its header is complete: otherwise it
/// cannot be distinguished from the old content of a recycled file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Bytes from the end of the log to the end of the last record that was cut off.
    pub bytes: u64,
    /// Number of records that were cut off, complete or not.
    pub records: u64,
}

pub(super) struct Recovery<D: Disk> {
    pub(super) disk: D,
    /// Read before any other file, so that it is not newer than what is read of a running node's log.
    pub(super) watermark: Watermarked,
    /// The names of all files.
    pub(super) files: Vec<String>,
    pub(super) keeper: Keeper<D>,
    /// The end of the log when the checkpoint was taken; the beginning of the log when there is no checkpoint.
    pub(super) from: Mark,
    /// Size in bytes of the state in that checkpoint.
    pub(super) image_len: usize,
    /// The last hard state that was read.
    state: HardState,
    /// True when acknowledged entries may be missing after those that have been read.
    is_lossy: bool,
    /// Files that are no longer needed. They are removed once everything has been read.
    pub(super) unneeded: Vec<String>,
    /// One line about each lost or damaged file that was replaced or rebuilt.
    pub(super) mended: Vec<String>,
}

/// Recovers the journal in a folder into an empty state.
///
/// # Errors
/// Returns [`OpenError`]. The folder is unchanged then, unless the disk failed while changes were being made at the end
/// of the recovery.
pub fn recover<D: Disk>(disk: &D, group: u16, state: &mut impl State) -> Result<Recovered<D>, OpenError> {
    let mut recovery = Recovery::new(disk, group)?;
    let (mut segments, copies) = recovery.segments();
    let (checkpoints, books) = recovery.load_checkpoint(&segments, state)?;
    recovery.load_past((&segments, &copies), books, state)?;
    let from = recovery.from.place.segment;
    recovery.keeper.begin(checkpoints, from);
    segments.retain(|number| *number >= from);
    recovery.replay(&segments, state)
}

impl<D: Disk> Recovery<D> {
    /// Begins a recovery: reads the watermark and the names of the files.
    pub(super) fn new(disk: &D, group: u16) -> Result<Self, OpenError> {
        let stamp = identity::stamp(disk)?;
        let watermark = Watermarked::read(disk, stamp)?;
        let files = disk.list().map_err(|cause| OpenError::io("the folder", cause))?;
        let watermark = match watermark {
            Some(watermark) => watermark,
            // From format 2 on, the watermark is created before the first segment, so here it was lost.
            None if files.iter().any(|name| names::segment_number(name).is_some()) && identity::format(disk)? > 1 => {
                Watermarked::Lost
            }
            None => Watermarked::Never,
        };
        Ok(Self {
            disk: disk.clone(),
            watermark,
            keeper: Keeper::new(disk.clone(), group, stamp),
            from: Mark { place: Place { segment: 1, position: 0 }, ..Mark::default() },
            image_len: 0,
            state: HardState::default(),
            is_lossy: false,
            unneeded: files.iter().filter(|name| names::is_new(name) || *name == names::SPARE).cloned().collect(),
            mended: Vec::new(),
            files,
        })
    }

    /// Returns the numbers of the segments of the log, and of those of copies, in ascending order.
    pub(super) fn segments(&self) -> (Vec<u32>, Vec<u32>) {
        let mut segments: Vec<u32> = self.files.iter().filter_map(|name| names::segment_number(name)).collect();
        segments.sort_unstable();
        let copies = segments.split_off(segments.partition_point(|number| !copies::is_copies(*number)));
        (segments, copies)
    }

    fn replay(mut self, segments: &[u32], state: &mut impl State) -> Result<Recovered<D>, OpenError> {
        let mut log: VecDeque<Read> = VecDeque::new();
        let (mut last, mut tail) = (self.from, None);
        let mut expected = self.from.place.segment;
        if segments.is_empty() && self.from.index > 0 {
            return Err(OpenError::damaged(&names::segment(expected), 0, "the segment is missing"));
        }
        let mut number = segments.iter().copied().peekable();
        while let Some(segment) = number.next() {
            if segment != expected {
                return Err(OpenError::damaged(&names::segment(expected), 0, "the segment is missing"));
            }
            let none = || OpenError::damaged(&names::segment(segment), 0, "its number is the highest that is possible");
            expected = expected.checked_add(1).filter(|next| !copies::is_copies(*next)).ok_or_else(none)?;
            let end = match number.peek() {
                Some(next) => self.known_end(*next)?,
                None => None,
            };
            let (records, stop) = self.read_records(segment, end)?;
            if segment == self.from.place.segment && stop < self.from.place.position as usize {
                let what = "a record that the checkpoint relies on cannot be read";
                return Err(OpenError::damaged(&names::segment(segment), stop as u64, what));
            }
            let is_last = end.is_none();
            if is_last {
                self.pass_unused(number.by_ref())?;
                if stop == 0 {
                    // The first record of the segment is incomplete, so nothing in the segment was ever acknowledged.
                    self.unneeded.push(names::segment(segment));
                    break;
                }
                tail = Some((segment, stop));
            }
            last.place = Place { segment, position: u32::try_from(stop).expect("a segment's size") };
            self.add_segment(segment)?;
            records.into_iter().try_for_each(|record| push(&mut log, self.from, record))?;
        }
        planted!("log not compared with the watermark", self.check_watermark(last.place)?, ());
        (last.index, last.term) = log.back().map_or((last.index, last.term), |read| (read.index, read.term));
        self.apply(log, state)?;
        // Everything could be read: from here on the folder may be changed.
        let cut = match tail {
            Some((segment, end)) => self.secure(segment, end)?,
            None => Cut::default(),
        };
        if !self.mended.is_empty() {
            // A failure is ignored: when the disk is full, the next checkpoint writes the indexes.
            let _ = self.keeper.write_indexes(self.from.place.segment);
        }
        self.remove_unneeded()?;
        let Self { keeper, watermark, from: checkpoint, image_len, is_lossy, mended, .. } = self;
        Ok(Recovered { keeper, last, checkpoint, image_len, is_lossy, cut, watermark, mended })
    }

    /// Checks that the log reaches as far as the watermark says that it was durable.
    fn check_watermark(&self, last: Place) -> Result<(), OpenError> {
        let Some(Place { segment, .. }) = self.watermark.mark().map(|mark| mark.place).filter(|place| *place > last)
        else {
            return Ok(());
        };
        if segment == last.segment && last.position > 0 {
            let what = "a record that was durable, and may have been acknowledged, cannot be read";
            return Err(OpenError::damaged(&names::segment(segment), last.position.into(), what));
        }
        let next = names::segment(if last.position == 0 { last.segment } else { last.segment.saturating_add(1) });
        let what = if self.files.contains(&next) {
            "no record can be read in it, although it held some that were durable"
        } else {
            "the segment is missing, although it held records that were durable"
        };
        Err(OpenError::damaged(&next, 0, what))
    }

    /// Applies the entries that remain in the log. One segment is in memory at a time.
    fn apply(&mut self, log: VecDeque<Read>, state: &mut impl State) -> Result<(), OpenError> {
        let mut open = (0, Bytes::new());
        for Read { segment, at, .. } in log {
            if open.0 != segment {
                open = (segment, Bytes::new());
                open.1 = self.read(&names::segment(segment))?;
            }
            let refuse = |error| {
                OpenError::undecodable(error, &names::segment(segment), at as u64, "its entries cannot be decoded")
            };
            let record = record_at(&open.1, segment, at).ok_or_else(|| refuse(DecodeError::Malformed))?;
            let start = Place { segment, position: u32::try_from(record.body_at).expect("a segment's size") };
            let entries = entry::decode(&record.body, start).map_err(refuse)?;
            self.keeper.note(&state.replay(entries));
        }
        Ok(())
    }

    pub(super) fn add_segment(&mut self, number: u32) -> Result<(), OpenError> {
        let name = names::segment(number);
        let size = self.disk.size(&name).map_err(|cause| OpenError::io(&name, cause))?;
        self.keeper.add_segment(number, size, None);
        Ok(())
    }

    /// Returns the position where the segment before `next` ends, according to the first record of `next`; `None` when
    /// nothing was written to `next`.
    fn known_end(&self, next: u32) -> Result<Option<usize>, OpenError> {
        match previous_end(&self.disk, next)? {
            Some(end) => Ok(Some(end)),
            None => check_torn(next, &self.read(&names::segment(next))?, HEADER).map(|()| None),
        }
    }

    /// Checks that the header of a segment's file is sound and belongs to this segment and this folder.
    pub(super) fn check_header(&self, number: u32) -> Result<(), OpenError> {
        let name = names::segment(number);
        let header = self.read_part(&name, 0, HEADER)?;
        match format::check_segment_header(&header, number) {
            Ok(_) => self.keeper.stamp.check(&name, format::stamp_of(&header)),
            Err(Some(version)) => Err(OpenError::Newer { file: name, version: Some(version) }),
            Err(None) => Err(OpenError::damaged(&name, 0, "its header is damaged or belongs to another segment")),
        }
    }

    /// Checks that the file of a segment, of which these are the bytes, and its index belong to this folder, as far as
    /// their headers can be read.
    pub(super) fn check_stamps(&self, number: u32, bytes: &[u8]) -> Result<(), OpenError> {
        if format::check_segment_header(bytes, number).is_ok() {
            self.keeper.stamp.check(&names::segment(number), format::stamp_of(bytes))?;
        }
        let name = names::index(number);
        match self.read_part(&name, 0, index::HEADER).map(|header| Directory::decode(number, &header)) {
            Ok(Some(directory)) => self.keeper.stamp.check(&name, directory.stamp),
            // Whether the index can be read is checked elsewhere.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Returns the entry records of a segment and the position where they end: `end` when that is known, otherwise the
    /// first position where no sound record begins (0 when the segment has no sound record).
    fn read_records(&mut self, segment: u32, end: Option<usize>) -> Result<(Vec<Read>, usize), OpenError> {
        let name = names::segment(segment);
        let bytes = &self.read(&name)?;
        let header = match format::check_segment_header(bytes, segment) {
            Ok(version) => {
                self.keeper.stamp.check(&name, format::stamp_of(bytes))?;
                Some(version)
            }
            Err(Some(version)) => return Err(OpenError::Newer { file: name, version: Some(version) }),
            Err(None) => None,
        };
        let (mut at, mut records) = (HEADER, Vec::new());
        while end.is_none_or(|end| at < end) {
            let Some(record) = record_at(bytes, segment, at) else { break };
            let Head { index, term, group, .. } = record.head;
            if group != self.keeper.group {
                return Err(OpenError::Misplaced { file: name, whose: "another node or cluster" });
            }
            let read = Read { segment, at, index, term };
            at = record.end;
            match record.head.kind {
                Kind::Entry => {
                    self.is_lossy = self.state.is_lazy;
                    records.push(read);
                }
                Kind::HardState => {
                    self.state = HardState::decode(&record.body).ok_or_else(|| {
                        OpenError::damaged(&name, record.body_at as u64, "its hard state is malformed")
                    })?;
                    // A start that finds a loss records it in its first entry. Until that entry is durable, the next
                    // start must report the loss again. Today the hard state and that entry lie in one sector, so a
                    // crash preserves both or neither.
                    self.is_lossy = !self.state.is_end && (self.is_lossy || self.state.is_lazy);
                }
                // Copies and parts of checkpoints are not entries of the log.
                Kind::Copy | Kind::Checkpoint => {}
            }
        }
        // A crash cannot leave the first record without the segment header: both lie in one sector and are written
        // together.
        if header.is_none() && at > HEADER {
            return Err(OpenError::damaged(&name, 0, "its header cannot be read"));
        }
        match end {
            Some(end) if at != end => {
                Err(OpenError::damaged(&name, at as u64, "a record that was durable cannot be read"))
            }
            Some(_) => Ok((records, at)),
            None => {
                check_torn(segment, bytes, at)?;
                // Programs before format 2 cut the last segment without changing what its header says.
                if header > Some(1) && format::stated_size(bytes) > bytes.len() {
                    let what = "the file is shorter than its header says";
                    return Err(OpenError::damaged(&name, bytes.len() as u64, what));
                }
                Ok((records, if at == HEADER { 0 } else { at }))
            }
        }
    }

    /// Schedules the removal of segments that were prepared but never written to.
    fn pass_unused(&mut self, numbers: impl Iterator<Item = u32>) -> Result<(), OpenError> {
        for number in numbers {
            let name = names::segment(number);
            check_torn(number, &self.read(&name)?, HEADER)?;
            self.unneeded.push(name);
        }
        Ok(())
    }

    fn remove_unneeded(&self) -> Result<(), OpenError> {
        for name in &self.unneeded {
            self.disk.remove(name).map_err(|cause| OpenError::io(name, cause))?;
        }
        self.disk.sync_names().map_err(|cause| OpenError::io("the folder", cause))
    }

    /// Makes the sound part of the last segment durable and cuts the rest.
    fn secure(&self, segment: u32, end: usize) -> Result<Cut, OpenError> {
        let name = names::segment(segment);
        let bytes = self.read(&name)?;
        let io = |cause: io::Error| OpenError::io(&name, cause);
        let mut file = self.disk.open(&name).map_err(io)?;
        // A file that was truncated may lack the zeros that pad its last record.
        let sound = &bytes[HEADER..end.min(bytes.len())];
        let mut header = bytes[..HEADER].to_vec();
        format::set_stated_size(&mut header, u32::try_from(end).expect("a segment's size"));
        file.write_at(&header, 0).map_err(io)?;
        planted!("tail not written again", file.write_at(sound, HEADER as u64).map_err(io)?, ());
        // Durable before the file is cut: a file that is shorter than its header says counts as damaged.
        planted!("tail cut before its sync", file.sync().map_err(io)?, ());
        file.set_len(end as u64).map_err(io)?;
        file.sync().map_err(io)?;
        self.disk.sync_names().map_err(io)?;
        Ok(cut(segment, &bytes, end))
    }

    pub(super) fn read(&self, name: &str) -> Result<Bytes, OpenError> {
        self.read_part(name, 0, usize::MAX)
    }

    pub(super) fn read_part(&self, name: &str, position: u64, len: usize) -> Result<Bytes, OpenError> {
        read_part(&self.disk, name, position, len)
    }
}

/// The position of a record, and what its header says.
struct Read {
    segment: u32,
    at: usize,
    index: u64,
    term: u32,
}

/// Appends a record to the log. A record whose index the log already has replaces that record and all after it.
fn push(log: &mut VecDeque<Read>, from: Mark, read: Read) -> Result<(), OpenError> {
    let Read { segment, at, index, .. } = read;
    if index <= from.index {
        return Ok(());
    }
    let next = log.back().map_or(from.index, |read| read.index).checked_add(1);
    let Some(next) = next.filter(|next| index <= *next && index < u64::MAX) else {
        return Err(OpenError::damaged(&names::segment(segment), at as u64, "entries before this one are missing"));
    };
    for _ in index..next {
        let _ = planted!("overwritten entries applied", log.pop_back(), None);
    }
    log.push_back(read);
    Ok(())
}

/// Checks that what follows the last sound record, which ends at `end`, can be a write that a crash has torn. It cannot
/// when a later record says that the segment was durable beyond `end`.
fn check_torn(segment: u32, bytes: &Bytes, end: usize) -> Result<(), OpenError> {
    let is_later = |at: usize| record_at(bytes, segment, at).is_some_and(|record| record.head.synced as usize > end);
    match (end..bytes.len()).step_by(ALIGN).find(|at| is_later(*at)) {
        None => Ok(()),
        Some(_) => {
            Err(OpenError::damaged(&names::segment(segment), end as u64, "a record that was durable cannot be read"))
        }
    }
}

/// Counts the unfinished records after the end of the log. The old content of a recycled segment does not count.
fn cut(segment: u32, bytes: &Bytes, end: usize) -> Cut {
    let begun = (end..bytes.len()).step_by(ALIGN).filter_map(|at| format::begins_at(bytes, segment, at));
    begun.fold(Cut::default(), |cut, last| Cut {
        bytes: cut.bytes.max(last.min(bytes.len()).saturating_sub(end) as u64),
        records: cut.records + 1,
    })
}
