//! Appends to the log: records are collected in a buffer and written and synced together (group commit). After each
//! sync, the watermark records how far the log is durable.

use std::collections::BTreeMap;
use std::io;

use super::disk::DiskFile;
use super::format::{ALIGN, Begin, HEADER, Head, Kind, put_record, put_state, segment_header};
use super::watermark::Watermark;
use crate::entry::{Body, MemberState, Place, STATE_LEN, Write, Written, record_len};
use crate::types::SlotId;

/// A point in the log: the end of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The segment and the position in it where the record ends.
    pub place: Place,
    /// Number of bodies in the log up to this point, of all groups.
    pub bodies: u64,
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
    /// True when entries may be acknowledged before they are durable.
    is_lazy: bool,
    /// The newest state of the member of each group. Each segment begins with these states, so that a start finds them
    /// without earlier segments.
    states: BTreeMap<SlotId, MemberState>,
    segment: Prepared<F>,
    watermark: Watermark<F>,
    /// Position up to which the segment has been written; `synced` is the position up to which it is durable.
    written: u32,
    synced: u32,
    /// Records after `written` that have not been written yet.
    buffer: Vec<u8>,
    /// Number of bodies in the log.
    bodies: u64,
}

impl<F: DiskFile> Writer<F> {
    /// Continues the log after `last` in a fresh segment. `is_lazy` is recorded in the segment: entries may be
    /// acknowledged before they are durable. `states` holds the state of the member of each group that the log has.
    pub fn new(
        is_lazy: bool,
        last: Mark,
        states: BTreeMap<SlotId, MemberState>,
        (segment, watermark): (Prepared<F>, Watermark<F>),
    ) -> Self {
        let (written, synced, buffer) = (0, 0, Vec::new());
        let mut writer = Self { is_lazy, states, segment, watermark, written, synced, buffer, bodies: last.bodies };
        writer.begin_segment(last.place.position);
        writer
    }

    /// Appends to the buffer what a member wants to be durable. Returns what to report once it is.
    ///
    /// # Errors
    /// Returns [`NoRoom`] when the record does not fit into the segment; nothing is appended then.
    pub fn put(&mut self, write: &Write) -> Result<Written, NoRoom> {
        match write {
            Write::Body(body) => Ok(body.written(self.append(body)?)),
            Write::State { slot, state } => self.promise(*slot, *state).map(|()| Written::State { slot: *slot }),
        }
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
        let Body { slot, index, term, .. } = *body;
        let head = Head { kind: Kind::Entry, slot, index, term, synced: self.synced };
        put_record(self.segment.number, head, &mut self.buffer, |out| out.extend_from_slice(&body.bytes));
        self.bodies = self.bodies.saturating_add(1);
        Ok(place)
    }

    /// Appends to the buffer the state of the member of a group, which it must not forget once it has told others.
    ///
    /// # Errors
    /// Returns [`NoRoom`] when the record does not fit into the segment; nothing is appended then.
    pub fn promise(&mut self, slot: SlotId, state: MemberState) -> Result<(), NoRoom> {
        if STATE_RECORD > self.room() {
            return Err(NoRoom);
        }
        self.states.insert(slot, state);
        put_state(self.segment.number, slot, self.synced, &state, &mut self.buffer);
        Ok(())
    }

    /// Returns the end of the log, including records that have not been written yet.
    pub const fn mark(&self) -> Mark {
        let place = Place { segment: self.segment.number, position: self.end() };
        Mark { place, bodies: self.bodies }
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
        // It always fits: `room` reserves its bytes.
        self.put_begin(Begin { is_end: true, is_lazy: self.is_lazy, previous_end: 0 });
        self.sync()
    }

    fn begin_segment(&mut self, previous_end: u32) {
        let header = segment_header(self.watermark.stamp(), self.segment.number, self.segment.size);
        self.buffer.extend_from_slice(&header);
        self.put_begin(Begin { previous_end, is_lazy: self.is_lazy, is_end: false });
        for (slot, state) in &self.states {
            put_state(self.segment.number, *slot, self.synced, state, &mut self.buffer);
        }
    }

    fn put_begin(&mut self, begin: Begin) {
        let (kind, slot) = (Kind::Begin, SlotId::default());
        let head = Head { kind, slot, index: self.bodies, term: 0, synced: self.synced };
        put_record(self.segment.number, head, &mut self.buffer, |out| begin.encode(out));
    }

    #[expect(clippy::cast_possible_truncation, reason = "it fits the segment, which was checked")]
    const fn end(&self) -> u32 {
        self.written + self.buffer.len() as u32
    }
}

/// Size in bytes of the first record of a segment. The record of an orderly stop, for which room is reserved, is as
/// large.
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const LAST_WORDS: u32 = record_len(Begin::LEN) as u32;

/// Size in bytes of the record of a [`MemberState`].
#[expect(clippy::cast_possible_truncation, reason = "it is small")]
const STATE_RECORD: u32 = record_len(STATE_LEN) as u32;

/// Returns how many bytes of a segment are not available for entries when the log has this many groups: those of the
/// header, of the first records, and of the record of an orderly stop.
#[expect(clippy::cast_possible_truncation, reason = "a node has at most as many groups as there are slots")]
pub const fn segment_own(groups: usize) -> u32 {
    HEADER_LEN + LAST_WORDS + LAST_WORDS + groups as u32 * STATE_RECORD
}

/// [`HEADER`] in the type that positions are stored in.
pub(super) const HEADER_LEN: u32 = 32;
const _: () = assert!(HEADER_LEN as usize == HEADER && HEADER.is_multiple_of(ALIGN));
