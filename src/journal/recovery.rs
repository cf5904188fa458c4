//! Recovery at the start: restores the state from the folder and finds the end of the log.
//!
//! 1. The newest readable checkpoint provides the state after some entry; the indexes provide the places of the records
//!    before it. These records are not read: only their number is compared with the state. Lost files are rebuilt
//!    (`past`).
//! 2. The bodies after the checkpoint are read. When a position in the log of a group occurs twice, the later body
//!    replaces
//!    the earlier one and all bodies of that group after it.
//! 3. Bodies that are known to be committed are applied. In a group of one member, all are. The others are returned.
//! 4. The last segment ends where no sound record follows. A crash may have left an unfinished record there. If the
//!    watermark or a later record says that this place was durable already, the disk has lost data: nothing is cut and
//!    the start is refused. The watermark also reveals whether whole segments are missing at the end.
//! 5. What the last segment holds is written and fsynced again, since after a failed sync the kernel may have dropped
//!    pages that still seemed to be written; then the log resumes in a fresh segment.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use super::copies;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{self, ALIGN, Begin, GROUPS_SINCE, HEADER, Head, Kind, Record, record_at};
use super::identity;
use super::index::{self, Directory};
use super::keeper::Keeper;
use super::logs::{GroupLog, Logs, Read};
use super::names;
use super::reader::{previous_end, read_part};
use super::watermark::Watermarked;
use super::writer::Mark;
use crate::entry::{self, Body, DecodeError, Entry, Filed, LogPosition, MemberState, Note, Place, TopicKey};
use crate::types::{NodeId, Offset, SlotId, Slots, TopicId};

/// The state that recovery restores: the topics of some groups, without their records.
pub trait State {
    /// Returns whether the node is a member of this group, and whether it is the only one. In a group of one member,
    /// everything in the log is committed.
    fn membership(&self, slot: SlotId) -> Membership;

    /// Restores the topics of a group from a checkpoint that was written in format `version`. Called at most once for
    /// each group, before anything else.
    ///
    /// # Errors
    /// Returns [`DecodeError`] when the image is malformed or holds data of a newer program.
    fn restore(&mut self, slot: SlotId, image: &[u8], version: u32) -> Result<(), DecodeError>;

    /// Returns the first offset that a topic retains and its log end offset (exclusive), or `None` when the topic does
    /// not exist.
    fn kept(&self, topic: TopicKey) -> Option<(Offset, Offset)>;

    /// Returns the topic of that name in a group.
    fn find(&self, slot: SlotId, name: &str) -> Option<TopicId>;

    /// Returns all topics.
    fn topics(&self) -> Vec<TopicKey>;

    /// Applies committed entries of a group after the checkpoint and returns their results for the keeper.
    fn replay(&mut self, slot: SlotId, entries: Vec<Entry>) -> Vec<Note>;
}

/// Whether a node has a copy of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It has none.
    None,
    /// It has the only one.
    Alone,
    /// Others have one as well.
    OneOfSeveral,
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
    /// Size in bytes of the states in that checkpoint.
    pub image_len: usize,
    /// The logs of the groups that have any entries.
    pub groups: BTreeMap<SlotId, GroupLog>,
    /// True when acknowledged entries of groups that are not in `groups` may be missing.
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
    /// The first place in the log where a body may be that the checkpoint does not include; the beginning of the log
    /// when there is no checkpoint.
    pub(super) from: Place,
    /// The end of the log when the checkpoint was taken.
    pub(super) end: Mark,
    /// Size in bytes of the states in that checkpoint.
    pub(super) image_len: usize,
    /// The groups that have any entries, as far as the log has been read.
    pub(super) groups: BTreeMap<SlotId, GroupLog>,
    /// The beginning of the last segment that was read.
    begin: Begin,
    /// True when acknowledged entries of groups without entries may be missing after those that have been read.
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
pub fn recover<D: Disk>(disk: &D, node: NodeId, state: &mut impl State) -> Result<Recovered<D>, OpenError> {
    let mut recovery = Recovery::new(disk, node)?;
    let (mut segments, copies) = recovery.segments();
    let (checkpoints, books) = recovery.load_checkpoint(&segments, state)?;
    recovery.load_past((&segments, &copies), books, state)?;
    let from = recovery.from.segment;
    recovery.keeper.begin(checkpoints, from);
    segments.retain(|number| *number >= from);
    recovery.replay(&segments, state)
}

impl<D: Disk> Recovery<D> {
    /// Begins a recovery of a node's folder: reads the watermark and the names of the files.
    pub(super) fn new(disk: &D, node: NodeId) -> Result<Self, OpenError> {
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
            keeper: Keeper::new(disk.clone(), slot_of(node), stamp),
            from: Place { segment: 1, position: 0 },
            end: Mark { place: Place { segment: 1, position: 0 }, ..Mark::default() },
            image_len: 0,
            groups: BTreeMap::new(),
            begin: Begin::default(),
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
        let mut logs = Logs::after(&self.groups);
        let (mut last, mut tail) = (Mark { place: self.from, ..self.end }, None);
        let mut expected = self.from.segment;
        if segments.is_empty() && self.from.position > 0 {
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
            let (records, stop) = self.read_records(segment, end, state)?;
            let place = Place { segment, position: u32::try_from(stop).expect("a segment's size") };
            self.check_relied_on(place)?;
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
            last.place = place;
            self.add_segment(segment)?;
            for read in records {
                last.bodies = last.bodies.saturating_add(read.is_behind(self.end.place).into());
                // The state of the checkpoint includes earlier bodies, or they were replaced before it was taken.
                let applied = self.groups.get(&read.slot).map_or(self.from, |log| log.applied.end);
                if read.is_behind(applied.max(self.from)) {
                    logs.push(read);
                }
            }
        }
        if last.place < self.end.place {
            let missing = names::segment(last.place.segment.saturating_add(1));
            return Err(OpenError::damaged(
                &missing,
                0,
                "the segment is missing, although the checkpoint relies on it",
            ));
        }
        planted!("log not compared with the watermark", self.check_watermark(last.place)?, ());
        self.apply(logs, state)?;
        // Everything could be read: from here on the folder may be changed.
        let cut = match tail {
            Some((segment, end)) => {
                let cut = self.secure(segment, end)?;
                self.add_segment(segment)?;
                cut
            }
            None => Cut::default(),
        };
        if !self.mended.is_empty() {
            // A failure is ignored: when the disk is full, the next checkpoint writes the indexes.
            let _ = self.keeper.write_indexes(self.from.segment);
        }
        self.remove_unneeded()?;
        let Self { keeper, watermark, end: checkpoint, image_len, groups, is_lossy, mended, .. } = self;
        Ok(Recovered { keeper, last, checkpoint, image_len, groups, is_lossy, cut, watermark, mended })
    }

    /// Returns true when no state was restored, so that everything in the log will be applied.
    pub(super) fn is_blank(&self) -> bool {
        self.groups.values().all(|log| log.applied.index == 0)
    }

    /// Returns the last segment with records that the states of the checkpoint include.
    pub(super) fn last_applied(&self) -> u32 {
        let last = self.groups.values().map(|log| log.applied.end.segment).max();
        last.unwrap_or(0).max(self.from.segment)
    }

    /// Returns true when the checkpoint's state of the topic's group includes the batch.
    pub(super) fn is_applied(&self, filed: &Filed) -> bool {
        self.groups.get(&filed.topic.slot).is_some_and(|log| filed.place < log.applied.end)
    }

    /// Checks that a segment reaches as far as the checkpoint relies on it. `stop` is where its records end.
    fn check_relied_on(&self, stop: Place) -> Result<(), OpenError> {
        let ends = self.groups.values().map(|log| log.applied.end).chain([self.end.place]);
        if ends.into_iter().any(|end| end.segment == stop.segment && end.position > stop.position) {
            let what = "a record that the checkpoint relies on cannot be read";
            return Err(OpenError::damaged(&names::segment(stop.segment), stop.position.into(), what));
        }
        Ok(())
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

    /// Applies the bodies that remain in the logs and are committed, and keeps the others. One segment is in memory at
    /// a time.
    fn apply(&mut self, logs: Logs, state: &mut impl State) -> Result<(), OpenError> {
        let mut open = (0, Bytes::new());
        for Read { slot, segment, at, index, term } in logs.in_order()? {
            if open.0 != segment {
                open = (segment, Bytes::new());
                open.1 = self.read(&names::segment(segment))?;
            }
            let refuse = |error| {
                OpenError::undecodable(error, &names::segment(segment), at as u64, "its entries cannot be decoded")
            };
            let record = record_at(&open.1, segment, at).ok_or_else(|| refuse(DecodeError::Malformed))?;
            let place = place_of(segment, record.body_at);
            let log = self.groups.entry(slot).or_default();
            let is_alone = state.membership(slot) == Membership::Alone || !log.state.founding.is_known();
            let is_committed = is_alone || index <= log.state.commit;
            if !planted!("applied beyond what is committed", is_committed, true) {
                // A copy, so that the body does not pin the whole segment.
                let body = Body { slot, index, term, bytes: Bytes::copy_from_slice(&record.body) };
                log.rest.push((body, place));
                continue;
            }
            log.applied = LogPosition { index, term, end: place_of(segment, record.body_at + record.body.len()) };
            let entries = entry::decode(&record.body, place).map_err(refuse)?;
            self.keeper.note(&state.replay(slot, entries));
        }
        Ok(())
    }

    /// Notes the place of a record if it is a body of the log that was written after the checkpoint.
    pub(super) fn add_body(&mut self, segment: u32, record: &Record) {
        let place = place_of(segment, record.body_at);
        // The bookkeeping in the checkpoint covers all bodies that were written before it.
        if record.head.kind == Kind::Entry && place > self.end.place {
            let Head { slot, index, .. } = record.head;
            self.keeper.note(&[Note::Body { slot, index, place }]);
        }
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
        let only = self.keeper.only;
        match self.read_part(&name, 0, index::HEADER).map(|header| Directory::decode(number, &header, only)) {
            Ok(Some(directory)) => self.keeper.stamp.check(&name, directory.stamp),
            // Whether the index can be read is checked elsewhere.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Returns the entry records of a segment and the position where they end: `end` when that is known, otherwise the
    /// first position where no sound record begins (0 when the segment has no sound record).
    fn read_records(
        &mut self,
        segment: u32,
        end: Option<usize>,
        state: &impl State,
    ) -> Result<(Vec<Read>, usize), OpenError> {
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
            let Head { kind, slot, index, term, .. } = record.head;
            let is_of_group = kind == Kind::Entry || kind == Kind::State;
            let is_first_format = header.is_some_and(|version| version < GROUPS_SINCE);
            if is_of_group && state.membership(slot) == Membership::None
                || is_first_format && kind != Kind::Copy && slot != self.keeper.only
            {
                return Err(OpenError::Misplaced { file: name, whose: "another node or cluster" });
            }
            if kind == Kind::Entry {
                records.push(Read { slot, segment, at, index, term });
                self.add_body(segment, &record);
            }
            at = record.end;
            self.take_record(&record, is_first_format)
                .map_err(|what| OpenError::damaged(&name, record.body_at as u64, what))?;
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

    /// Updates the state of the groups from a record, and whether acknowledged entries may be missing after it. Before
    /// format 3 everything in the log was committed.
    ///
    /// # Errors
    /// Returns what is wrong with the record.
    fn take_record(&mut self, record: &Record, is_first_format: bool) -> Result<(), &'static str> {
        let Head { kind, slot, index, term, .. } = record.head;
        let is_lossy = self.is_lossy;
        let log = self.groups.entry(slot);
        match kind {
            Kind::Entry => {
                let log = log.or_insert_with(|| GroupLog::new(is_lossy));
                log.is_lossy = self.begin.is_lazy;
                if is_first_format {
                    let term = term.max(log.state.term);
                    log.state = MemberState { term, commit: index, ..MemberState::default() };
                }
            }
            Kind::State => {
                let state = format::state_of(record).ok_or("its state is malformed")?;
                log.or_insert_with(|| GroupLog::new(is_lossy)).state = state;
            }
            Kind::Begin => {
                let Begin { is_lazy, is_end, .. } =
                    Begin::decode(&record.body).ok_or("its first record is malformed")?;
                self.begin.is_lazy = is_lazy;
                // A start that finds a loss records it in the first entry of each group. Until that entry is durable,
                // the next start must report the loss again.
                let after = |is_lossy: bool| !is_end && (is_lossy || is_lazy);
                self.is_lossy = after(self.is_lossy);
                self.groups.values_mut().for_each(|log| log.is_lossy = after(log.is_lossy));
            }
            // Copies and parts of checkpoints are not part of the log.
            Kind::Copy | Kind::Checkpoint => {}
        }
        Ok(())
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

/// Returns the slot of all topics that a node had before format 3.
pub(super) fn slot_of(node: NodeId) -> SlotId {
    SlotId::from_low_bits(node.index().into(), Slots::MOST)
}

fn place_of(segment: u32, position: usize) -> Place {
    Place { segment, position: u32::try_from(position).expect("a segment's size") }
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
