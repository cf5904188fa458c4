//! Starting: what is in the folder becomes the state again, and the end of the log is found.
//!
//! 1. The newest checkpoint gives the state after some entry, the indexes where the records before it are.
//! 2. The entries behind it are read: of an index that was written twice the last counts, and nothing behind that one.
//! 3. The last segment ends where no sound record follows. That is the end of what a crash left, unless something
//!    later says that this place was safe already: then the disk has lost what it had, and nothing is cut.
//! 4. What the last segment holds is written and made safe again, since the system may have dropped it while it
//!    looked written; then the log goes on in a fresh segment.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{self, ALIGN, HEADER, HardState, Kind, Record, record_at};
use super::keeper::Keeper;
use super::writer::Mark;
use super::{checkpoint, index, names};
use crate::record::{self, Entry, Filed, Malformed, Note, Place};
use crate::types::crc32;

/// What was found, in this order.
#[derive(Debug)]
pub enum Found {
    /// The state after an entry; at most once, first.
    Image(Vec<u8>),
    /// Records from before it.
    Chunk(Filed, Bytes),
    /// Committed entries from behind it.
    Entries(Vec<Entry>),
}

/// What recovering has come to.
#[derive(Debug)]
pub struct Recovered<D: Disk> {
    /// The books.
    pub keeper: Keeper<D>,
    /// Where the log ends.
    pub last: Mark,
    /// Where the newest checkpoint was made.
    pub checkpoint: Mark,
    /// May an acknowledged entry be missing at its end?
    pub is_lossy: bool,
    /// Bytes that a crash had left unfinished at the end, and that were cut.
    pub cut: u64,
}

struct Recovery<D: Disk> {
    disk: D,
    keeper: Keeper<D>,
    /// Where the checkpoint was made; the beginning when there is none.
    from: Mark,
    /// The last hard state that was read.
    state: HardState,
    /// May acknowledged entries be missing behind what was read?
    is_lossy: bool,
    /// Files that no journal needs; they go when everything was read.
    unneeded: Vec<String>,
    /// Segments that have an index and are not there.
    missing: Vec<u32>,
}

/// Reads everything and gives it to `found`, which says what became of it.
///
/// # Errors
/// [`OpenError`]: then nothing was changed, unless the disk failed in the middle of that.
pub fn recover<D: Disk>(
    disk: &D,
    group: u16,
    found: &mut impl FnMut(Found) -> Result<Vec<Note>, Malformed>,
) -> Result<Recovered<D>, OpenError> {
    let files = disk.list().map_err(|cause| OpenError::io("the folder", cause))?;
    let unneeded = files.iter().filter(|name| names::is_new(name) || *name == names::SPARE).cloned().collect();
    let newest = files.iter().filter_map(|name| names::checkpoint_index(name)).max();
    let mut recovery = Recovery {
        disk: disk.clone(),
        keeper: Keeper::new(disk.clone(), group, newest),
        from: Mark { place: Place { segment: 1, position: 0 }, ..Mark::default() },
        state: HardState::default(),
        is_lossy: false,
        unneeded,
        missing: Vec::new(),
    };
    if let Some(newest) = newest {
        recovery.load_checkpoint(newest, found)?;
        let old = files.iter().filter_map(|name| names::checkpoint_index(name)).filter(|index| *index != newest);
        recovery.unneeded.extend(old.map(names::checkpoint));
    }
    let mut segments: Vec<u32> = files.iter().filter_map(|name| names::segment_number(name)).collect();
    segments.sort_unstable();
    let mut indexes: Vec<u32> = files.iter().filter_map(|name| names::index_number(name)).collect();
    indexes.sort_unstable();
    for number in indexes {
        if segments.binary_search(&number).is_ok() {
            recovery.load_index(number, found)?;
        } else {
            // Of a dead segment, which has gone first, most likely. Were it not dead, its records would be missing in
            // the end; so it stays, for whoever brings the segment back.
            recovery.missing.push(number);
        }
    }
    segments
        .iter()
        .filter(|number| **number < recovery.from.place.segment)
        .for_each(|number| recovery.keeper.add_segment(*number));
    segments.retain(|number| *number >= recovery.from.place.segment);
    recovery.replay(&segments, found)
}

impl<D: Disk> Recovery<D> {
    fn load_checkpoint(
        &mut self,
        index: u64,
        found: &mut impl FnMut(Found) -> Result<Vec<Note>, Malformed>,
    ) -> Result<(), OpenError> {
        let name = names::checkpoint(index);
        let bytes = self.read(&name)?;
        let (mark, image) = checkpoint::decode(&bytes, index)
            .map_err(|position| OpenError::damaged(&name, position, "the checkpoint cannot be read"))?;
        self.from = mark;
        let notes = found(Found::Image(image))
            .map_err(|Malformed| OpenError::damaged(&name, 0, "the state in it makes no sense"))?;
        self.keeper.note(&notes);
        Ok(())
    }

    /// The records of a segment from before the checkpoint.
    fn load_index(
        &mut self,
        number: u32,
        found: &mut impl FnMut(Found) -> Result<Vec<Note>, Malformed>,
    ) -> Result<(), OpenError> {
        let name = names::index(number);
        if number > self.from.place.segment {
            // Written for a checkpoint that did not come about.
            self.unneeded.push(name);
            return Ok(());
        }
        let filed = index::decode(number, &self.read(&name)?)
            .ok_or_else(|| OpenError::damaged(&name, 0, "the index cannot be read"))?;
        let segment = names::segment(number);
        let bytes = self.read(&segment)?;
        for filed in filed.into_iter().filter(|filed| filed.place < self.from.place) {
            let at = filed.place.position as usize;
            let payload = bytes
                .get(at..at + filed.len as usize)
                .filter(|payload| crc32(payload) == filed.crc)
                .map(|payload| bytes.slice_ref(payload))
                .ok_or_else(|| OpenError::damaged(&segment, at as u64, "the records are not those of its index"))?;
            let notes = found(Found::Chunk(filed, payload)).map_err(|Malformed| match self.missing.first() {
                Some(missing) => OpenError::damaged(&names::segment(*missing), 0, "the segment is missing"),
                None => OpenError::damaged(&segment, at as u64, "records are not where the index says"),
            })?;
            self.keeper.note(&notes);
        }
        if number < self.from.place.segment {
            self.keeper.close_index(number);
        }
        Ok(())
    }

    fn replay(
        mut self,
        segments: &[u32],
        found: &mut impl FnMut(Found) -> Result<Vec<Note>, Malformed>,
    ) -> Result<Recovered<D>, OpenError> {
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
            expected += 1;
            let bytes = self.read(&names::segment(segment))?;
            let end = match number.peek() {
                Some(next) => self.known_end(*next)?,
                None => None,
            };
            let (records, stop) = self.read_records(segment, &bytes, end)?;
            if segment == self.from.place.segment && stop < self.from.place.position as usize {
                let what = "a record that the checkpoint relies on cannot be read";
                return Err(OpenError::damaged(&names::segment(segment), stop as u64, what));
            }
            let is_last = end.is_none();
            if is_last {
                self.pass_unused(number.by_ref())?;
                if stop == 0 {
                    // Its first record is not whole: nothing in it was ever acknowledged.
                    self.unneeded.push(names::segment(segment));
                    break;
                }
                tail = Some((segment, bytes, stop));
            }
            last.place = Place { segment, position: u32::try_from(stop).expect("a segment's size") };
            self.keeper.add_segment(segment);
            records.into_iter().try_for_each(|record| push(&mut log, self.from, segment, record))?;
        }
        for Read { segment, record } in log {
            (last.index, last.term) = (record.head.index, record.head.term);
            let start = Place { segment, position: u32::try_from(record.body_at).expect("a segment's size") };
            let damaged = |Malformed| OpenError::damaged(&names::segment(segment), record.body_at as u64, "no entries");
            let entries = record::decode(&record.body, start).map_err(damaged)?;
            let notes = found(Found::Entries(entries)).map_err(damaged)?;
            self.keeper.note(&notes);
        }
        // Everything could be read: from here on the folder may be changed.
        let cut = tail.map_or(Ok(0), |(segment, bytes, end)| self.secure(segment, &bytes, end))?;
        self.remove_unneeded()?;
        Ok(Recovered { keeper: self.keeper, last, checkpoint: self.from, is_lossy: self.is_lossy, cut })
    }

    /// Where the segment before this one ends, as this one says; `None` when nothing was written to this one.
    fn known_end(&self, next: u32) -> Result<Option<usize>, OpenError> {
        let bytes = self.read(&names::segment(next))?;
        let state = record_at(&bytes, next, HEADER).filter(|record| record.head.kind == Kind::HardState);
        match state.and_then(|record| HardState::decode(&record.body)) {
            Some(state) => Ok(Some(state.previous_end as usize)),
            None => check_torn(next, &bytes, HEADER).map(|()| None),
        }
    }

    /// The sound records of a segment, up to where it is known to end or the first one that is none.
    fn read_records(
        &mut self,
        segment: u32,
        bytes: &Bytes,
        end: Option<usize>,
    ) -> Result<(Vec<Record>, usize), OpenError> {
        let name = names::segment(segment);
        if let Err(Some(version)) = format::check_segment_header(bytes, segment) {
            return Err(OpenError::Newer { file: name, version });
        }
        let (mut at, mut records) = (HEADER, Vec::new());
        while end.is_none_or(|end| at < end) {
            let Some(record) = record_at(bytes, segment, at) else { break };
            at = record.end;
            match record.head.kind {
                Kind::Entry => {
                    self.is_lossy = self.state.is_lazy;
                    records.push(record);
                }
                Kind::HardState => {
                    self.state = HardState::decode(&record.body)
                        .ok_or_else(|| OpenError::damaged(&name, record.body_at as u64, "no hard state"))?;
                    // A start that finds a loss tells it in its first entry: until that is there, it is not told.
                    self.is_lossy = !self.state.is_end && (self.is_lossy || self.state.is_lazy);
                }
                // Cleaning moves chunks, and checkpoints may come to stand in the log: neither is an entry.
                Kind::Copy | Kind::Checkpoint => {}
            }
        }
        match end {
            Some(end) if at != end => {
                Err(OpenError::damaged(&name, at as u64, "a record that was safe cannot be read"))
            }
            Some(_) => Ok((records, at)),
            None => {
                check_torn(segment, bytes, at)?;
                Ok((records, if at == HEADER { 0 } else { at }))
            }
        }
    }

    /// Segments that were prepared and never written to.
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

    /// Makes the sound part of the last segment safe and cuts the rest. How much that was, but for zeros.
    fn secure(&self, segment: u32, bytes: &Bytes, end: usize) -> Result<u64, OpenError> {
        let name = names::segment(segment);
        let io = |cause: io::Error| OpenError::io(&name, cause);
        let mut file = self.disk.open(&name).map_err(io)?;
        file.write_at(&bytes[..end], 0).map_err(io)?;
        file.set_len(end as u64).map_err(io)?;
        file.sync().map_err(io)?;
        self.disk.sync_names().map_err(io)?;
        // What a recycled segment held before is no loss; only a record of this one that began would be.
        Ok(torn_len(segment, bytes, end))
    }

    fn read(&self, name: &str) -> Result<Bytes, OpenError> {
        let io = |cause: io::Error| OpenError::io(name, cause);
        let file = self.disk.open(name).map_err(io)?;
        let len = usize::try_from(file.size().map_err(io)?).expect("files of a journal are small");
        let mut bytes = vec![0; len];
        let filled = file.read_at(&mut bytes, 0).map_err(io)?;
        bytes.truncate(filled);
        Ok(bytes.into())
    }
}

/// A record of the log, and the segment that it is in.
struct Read {
    segment: u32,
    record: Record,
}

/// Puts a record to the log: one whose index was there before takes its place, and nothing behind that one counts.
fn push(log: &mut VecDeque<Read>, from: Mark, segment: u32, record: Record) -> Result<(), OpenError> {
    if record.head.index <= from.index {
        return Ok(());
    }
    let next = log.back().map_or(from.index, |read| read.record.head.index) + 1;
    if record.head.index > next {
        let at = (record.body_at - HEADER) as u64;
        return Err(OpenError::damaged(&names::segment(segment), at, "entries before this one are missing"));
    }
    for _ in record.head.index..next {
        log.pop_back();
    }
    log.push_back(Read { segment, record });
    Ok(())
}

/// A crash may have left something at the end that is no whole record. Unless a later record says that this place was
/// safe.
fn check_torn(segment: u32, bytes: &Bytes, end: usize) -> Result<(), OpenError> {
    let says_safe = |at: usize| record_at(bytes, segment, at).is_some_and(|record| record.head.synced as usize > end);
    match (end..bytes.len()).step_by(ALIGN).find(|at| says_safe(*at)) {
        None => Ok(()),
        Some(_) => {
            Err(OpenError::damaged(&names::segment(segment), end as u64, "a record that was safe cannot be read"))
        }
    }
}

/// How far records that began behind the end reach.
fn torn_len(segment: u32, bytes: &Bytes, end: usize) -> u64 {
    let last =
        (end..bytes.len()).step_by(ALIGN).filter_map(|at| record_at(bytes, segment, at)).map(|record| record.end);
    last.max().map_or(0, |last| (last - end) as u64)
}
