//! Writing at the end of the log: records are collected, written in one go, and synced in one go. After each sync the
//! watermark says how far the log is durable.

use std::io;

use super::disk::DiskFile;
use super::format::{ALIGN, HEADER, HardState, Head, Kind, put_record, record_len, segment_header};
use super::watermark::Watermark;
use crate::record::{self, BodyLen, Entry, Place, RECORD_ALIGN, RECORD_HEADER};

/// How far the log went when something was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The segment, and where its last record ends.
    pub place: Place,
    /// The index of the last entry; 0 when there is none.
    pub index: u64,
    /// Its term.
    pub term: u32,
}

/// A segment that can be written to.
#[derive(Debug)]
pub struct Prepared<F> {
    /// Its file, filled with something that no record of it is.
    pub file: F,
    /// Its number.
    pub number: u32,
    /// Its bytes.
    pub size: u32,
}

/// The segment has no room for more; [`Writer::turn_to`] the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The end of the log.
#[derive(Debug)]
pub struct Writer<F> {
    group: u16,
    state: HardState,
    segment: Prepared<F>,
    watermark: Watermark<F>,
    /// Bytes of the segment that were written, and that are safe.
    written: u32,
    synced: u32,
    /// What comes behind those that were written.
    buffer: Vec<u8>,
    index: u64,
    term: u32,
}

impl<F: DiskFile> Writer<F> {
    /// Goes on behind `last` in a fresh segment. `is_lazy` says in it that what it acknowledges may not be safe.
    pub fn new(group: u16, is_lazy: bool, last: Mark, (segment, watermark): (Prepared<F>, Watermark<F>)) -> Self {
        let state = HardState { is_lazy, ..HardState::default() };
        let (index, term) = (last.index, last.term.max(1));
        let (written, synced, buffer) = (0, 0, Vec::new());
        let mut writer = Self { group, state, segment, watermark, written, synced, buffer, index, term };
        writer.begin_segment(last.place.position);
        writer
    }

    /// Appends the entries of a body as one record, and notes in them where they are. Returns the end of the log.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub fn append(&mut self, entries: &mut [Entry]) -> Result<Mark, NoRoom> {
        let len = BodyLen::of(entries).in_journal();
        if len > self.room() as usize {
            return Err(NoRoom);
        }
        let head = Head { index: self.index + 1, ..self.head(Kind::Entry) };
        let start = Place { segment: self.segment.number, position: self.end() + HEADER_LEN };
        let before = self.buffer.len();
        put_record(self.segment.number, head, &mut self.buffer, |out| record::encode(entries, start, out));
        assert_eq!(self.buffer.len() - before, len, "the length of a body is known before");
        self.index += 1;
        Ok(self.mark())
    }

    /// Where the log is.
    pub const fn mark(&self) -> Mark {
        let place = Place { segment: self.segment.number, position: self.end() };
        Mark { place, index: self.index, term: self.term }
    }

    /// Is it time to make the next segment ready?
    pub const fn is_half_full(&self) -> bool {
        self.room() < self.segment.size / 2
    }

    /// Returns how many bytes of the segment are left for records. An orderly end has its own.
    pub const fn room(&self) -> u32 {
        (self.segment.size - self.end()).saturating_sub(LAST_WORDS)
    }

    /// Writes what was collected.
    ///
    /// # Errors
    /// As the system's.
    pub fn write(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.segment.file.write_at(&self.buffer, self.written.into())?;
            self.written = self.end();
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes what was collected, syncs it, and writes the watermark. When this returns, everything is durable, and a
    /// start after a killed process knows that it was.
    ///
    /// # Errors
    /// As the system's. Nothing is known then of what was written since the last time: the process must end.
    pub fn sync(&mut self) -> io::Result<()> {
        planted!("log written after the sync", self.write()?, ());
        planted!("watermark ahead of the sync", (), self.watermark.write(self.mark())?);
        if self.synced < self.written {
            planted!("acknowledged before the sync", self.segment.file.sync()?, ());
            self.synced = self.written;
        }
        planted!("log written after the sync", (), self.write()?);
        // Compared with the watermark and not done only after a sync: a write that failed for want of memory is
        // repeated.
        let mark = self.mark();
        if self.synced > 0 && self.watermark.mark() != mark {
            self.watermark.write(mark)?;
        }
        Ok(())
    }

    /// Writes the watermark that was held while a backup was restored.
    ///
    /// # Errors
    /// As of [`Self::sync`].
    pub fn release_watermark(&mut self) -> io::Result<()> {
        self.watermark.release();
        self.sync()
    }

    /// Goes on in the next segment; everything before is safe then.
    ///
    /// # Errors
    /// As of [`Self::sync`].
    pub fn turn_to(&mut self, next: Prepared<F>) -> io::Result<()> {
        planted!("segment left before its sync", self.sync()?, self.write()?);
        let previous_end = self.written;
        self.segment = next;
        (self.written, self.synced) = (0, 0);
        self.begin_segment(previous_end);
        Ok(())
    }

    /// The last words of a process that ends as it should.
    ///
    /// # Errors
    /// As of [`Self::sync`].
    pub fn finish(&mut self) -> io::Result<()> {
        self.sync()?;
        let state = HardState { is_end: true, commit: self.index, ..self.state };
        // There is room: appending leaves it.
        put_record(self.segment.number, self.head(Kind::HardState), &mut self.buffer, |out| state.encode(out));
        self.sync()
    }

    fn begin_segment(&mut self, previous_end: u32) {
        let header = segment_header(self.watermark.stamp(), self.segment.number, self.segment.size);
        self.buffer.extend_from_slice(&header);
        let state = HardState { previous_end, commit: self.index, ..self.state };
        put_record(self.segment.number, self.head(Kind::HardState), &mut self.buffer, |out| state.encode(out));
    }

    const fn head(&self, kind: Kind) -> Head {
        Head { kind, group: self.group, index: self.index, term: self.term, synced: self.synced }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it fits the segment, which was checked")]
    const fn end(&self) -> u32 {
        self.written + self.buffer.len() as u32
    }
}

const _: () = assert!(HEADER == RECORD_HEADER && ALIGN == RECORD_ALIGN);

/// Bytes that are left for the end.
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const LAST_WORDS: u32 = record_len(HardState::LEN) as u32;

/// Bytes of a segment that no body may take.
pub const SEGMENT_OWN: u32 = HEADER_LEN + LAST_WORDS + LAST_WORDS;

/// The same as [`HEADER`], as positions are stored.
pub(super) const HEADER_LEN: u32 = 32;
const _: () = assert!(HEADER_LEN as usize == HEADER && HEADER.is_multiple_of(ALIGN));
