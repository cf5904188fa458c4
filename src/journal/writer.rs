//! Appends to the log: records are collected in a buffer and written and synced together (group commit). After each
//! sync, the watermark records how far the log is durable.

use std::io;

use super::disk::DiskFile;
use super::format::{ALIGN, HEADER, HardState, Head, Kind, put_record, record_len, segment_header};
use super::watermark::Watermark;
use crate::entry::{Body, Place, RECORD_ALIGN, RECORD_HEADER};

/// A point in the log: the end of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The segment and the position in it where the record ends.
    pub place: Place,
    /// The index of the last body of entries up to this point; 0 when there is none.
    pub index: u64,
    /// The term of that body.
    pub term: u32,
}

/// A segment that can be written to.
#[derive(Debug)]
pub struct Prepared<F> {
    /// The file, filled with bytes that cannot be taken for records of this segment.
    pub file: F,
    /// The number of the segment.
    pub number: u32,
    /// Size of the file in bytes.
    pub size: u32,
}

/// The error of [`Writer::append`] when the body does not fit into the rest of the segment. The caller must continue in
/// the next segment with [`Writer::turn_to`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Appends records at the end of the log.
#[derive(Debug)]
pub struct Writer<F> {
    group: u16,
    state: HardState,
    segment: Prepared<F>,
    watermark: Watermark<F>,
    /// Position up to which the segment has been written; `synced` is the position up to which it is durable.
    written: u32,
    synced: u32,
    /// Records after `written` that have not been written yet.
    buffer: Vec<u8>,
    index: u64,
    term: u32,
}

impl<F: DiskFile> Writer<F> {
    /// Continues the log after `last` in a fresh segment. `is_lazy` is recorded in the segment: entries may be
    /// acknowledged before they are durable.
    pub fn new(group: u16, is_lazy: bool, last: Mark, (segment, watermark): (Prepared<F>, Watermark<F>)) -> Self {
        let state = HardState { is_lazy, ..HardState::default() };
        let (index, term) = (last.index, last.term.max(1));
        let (written, synced, buffer) = (0, 0, Vec::new());
        let mut writer = Self { group, state, segment, watermark, written, synced, buffer, index, term };
        writer.begin_segment(last.place.position);
        writer
    }

    /// Appends a body as a record to the buffer. Returns where the body is in the journal.
    ///
    /// # Errors
    /// Returns [`NoRoom`] when the record does not fit into the segment; nothing is appended then.
    pub fn append(&mut self, body: &Body) -> Result<Place, NoRoom> {
        if record_len(body.bytes.len()) > self.room() as usize {
            return Err(NoRoom);
        }
        let place = Place { segment: self.segment.number, position: self.end() + HEADER_LEN };
        let head = Head { index: body.index, term: body.term, ..self.head(Kind::Entry) };
        put_record(self.segment.number, head, &mut self.buffer, |out| out.extend_from_slice(&body.bytes));
        (self.index, self.term) = (body.index, body.term);
        Ok(place)
    }

    /// Returns the end of the log, including records that have not been written yet.
    pub const fn mark(&self) -> Mark {
        let place = Place { segment: self.segment.number, position: self.end() };
        Mark { place, index: self.index, term: self.term }
    }

    /// Returns true when less than half of the segment is left, so that the next one should be prepared.
    pub const fn is_half_full(&self) -> bool {
        self.room() < self.segment.size / 2
    }

    /// Returns how many bytes of the segment are left for records, without those reserved for the last record of an
    /// orderly stop ([`Self::finish`]).
    pub const fn room(&self) -> u32 {
        (self.segment.size - self.end()).saturating_sub(LAST_WORDS)
    }

    /// Writes the buffered records, without a sync.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn write(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.segment.file.write_at(&self.buffer, self.written.into())?;
            self.written = self.end();
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes the buffered records, syncs them, and writes the watermark. When this returns, everything is durable, and
    /// if the process is killed, the watermark tells the next start so.
    ///
    /// # Errors
    /// Returns the error of the file system. It is then unknown which records since the last sync are durable, so the
    /// process must exit.
    pub fn sync(&mut self) -> io::Result<()> {
        planted!("log written after the sync", self.write()?, ());
        planted!("watermark ahead of the sync", (), self.watermark.write(self.mark())?);
        if self.synced < self.written {
            planted!("acknowledged before the sync", self.segment.file.sync()?, ());
            self.synced = self.written;
        }
        planted!("log written after the sync", (), self.write()?);
        // The condition is not whether this call has synced: a write of the watermark that failed transiently must be
        // repeated by the next call, which has nothing to sync.
        let mark = self.mark();
        if self.synced > 0 && self.watermark.mark() != mark {
            self.watermark.write(mark)?;
        }
        Ok(())
    }

    /// Writes the watermark that was held while a backup was restored.
    ///
    /// # Errors
    /// Returns the errors of [`Self::sync`].
    pub fn release_watermark(&mut self) -> io::Result<()> {
        self.watermark.release();
        self.sync()
    }

    /// Syncs the segment and continues in the next one.
    ///
    /// # Errors
    /// Returns the errors of [`Self::sync`].
    pub fn turn_to(&mut self, next: Prepared<F>) -> io::Result<()> {
        planted!("segment left before its sync", self.sync()?, self.write()?);
        let previous_end = self.written;
        self.segment = next;
        (self.written, self.synced) = (0, 0);
        self.begin_segment(previous_end);
        Ok(())
    }

    /// Syncs everything and writes the record that marks an orderly stop.
    ///
    /// # Errors
    /// Returns the errors of [`Self::sync`].
    pub fn finish(&mut self) -> io::Result<()> {
        self.sync()?;
        let state = HardState { is_end: true, commit: self.index, ..self.state };
        // It always fits: `room` reserves its bytes.
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

/// Bytes of a segment that are reserved for the record of an orderly stop.
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const LAST_WORDS: u32 = record_len(HardState::LEN) as u32;

/// Bytes of a segment that are not available for entries: its header, its first record, and that of an orderly stop.
pub const SEGMENT_OWN: u32 = HEADER_LEN + LAST_WORDS + LAST_WORDS;

/// [`HEADER`] in the type that positions are stored in.
pub(super) const HEADER_LEN: u32 = 32;
const _: () = assert!(HEADER_LEN as usize == HEADER && HEADER.is_multiple_of(ALIGN));
