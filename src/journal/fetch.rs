//! Reads bodies of a group's log back, for a member that was away.
//!
//! A read is divided into steps, each of which reads a part of a segment, so that the journal's thread can do other
//! work in between. It goes from record to record, from where an earlier read has ended or from the beginning of the
//! segment.

use bytes::Bytes;

use super::bodies::{Extents, Spot};
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{self, GROUPS_SINCE, HEADER, Kind, header_at, record_at};
use super::keeper::Keeper;
use super::names;
use super::writer::HEADER_LEN;
use crate::entry::{Body, LogPart, LogQuery, Place, record_len};
use crate::limits::{LOG_ENTRY_BYTES, LOG_READ_BYTES};

/// A query for bodies that is being answered.
#[derive(Debug)]
pub struct Fetching {
    query: LogQuery,
    /// The term of the body before the first wanted one, once that is known.
    base: Option<u32>,
    bodies: Vec<Body>,
    /// What the bodies count in the limit of the query.
    bytes: usize,
    /// Where the search continues; `None` before the first read.
    at: Option<Place>,
    /// Bytes that the next read must have: more than usual if the next record is larger.
    least: usize,
    /// True once another body would exceed the limit.
    is_full: bool,
}

impl<D: Disk> Keeper<D> {
    /// Begins to answer a query for bodies. Nothing is read yet.
    pub fn fetch(&self, query: LogQuery) -> Fetching {
        let spot = self.bodies.spot(query.slot, query.index);
        let base = if query.index == 0 { Some(0) } else { spot.map(|spot| spot.term) };
        let at = spot.map(|spot| spot.end);
        Fetching { query, base, bodies: Vec::new(), bytes: 0, at, least: LOG_READ_BYTES, is_full: false }
    }

    /// Reads the next part of the log. Returns true when the query is answered.
    ///
    /// # Errors
    /// Returns [`OpenError::Damaged`] when the first body, or what lies before it, cannot be read, and
    /// [`OpenError::Io`] when the file system fails.
    pub fn fetch_some(&mut self, fetching: &mut Fetching) -> Result<bool, OpenError> {
        let (slot, next) = (fetching.query.slot, fetching.next());
        let is_wanted = !fetching.is_full && next <= fetching.query.last;
        // The segment may have been removed since the previous step.
        let segment = if is_wanted { self.bodies.locate(slot, next) } else { None };
        let is_done = match segment {
            Some(segment) => !self.fetch_from(segment, fetching)?,
            None => true,
        };
        if let Some(spot) = fetching.spot().filter(|_| is_done) {
            self.bodies.remember(slot, spot);
        }
        Ok(is_done)
    }

    /// Reads a part of the segment that has the next body. Returns false if that body cannot be taken: the format of
    /// the segment is too old, or it cannot be read and there are others already.
    fn fetch_from(&self, segment: u32, fetching: &mut Fetching) -> Result<bool, OpenError> {
        let (slot, next) = (fetching.query.slot, fetching.next());
        let name = names::segment(segment);
        let file = self.disk.open(&name).map_err(|cause| OpenError::io(&name, cause))?;
        let known = fetching.at.filter(|at| at.segment == segment);
        let at = match known.or_else(|| self.bodies.spot_before(slot, next, segment)) {
            Some(at) => at,
            None if has_groups(&file, segment)? => Place { segment, position: HEADER_LEN },
            None => return Ok(false),
        };
        fetching.at = Some(at);
        let mut bytes = vec![0; fetching.least];
        let filled = file.read_at(&mut bytes, at.position.into()).map_err(|cause| OpenError::io(&name, cause))?;
        let is_end = filled < bytes.len();
        bytes.truncate(filled);
        let extents = self.bodies.of(segment).expect("a body was located in it");
        match fetching.advance(&bytes.into(), is_end, extents) {
            Err(what) if fetching.bodies.is_empty() => {
                let position = fetching.at.map_or(at, |at| at).position;
                Err(OpenError::damaged(&name, position.into(), what))
            }
            // The next query gets the error.
            Err(_) => Ok(false),
            Ok(()) => Ok(true),
        }
    }
}

impl Fetching {
    /// Returns the position of the next body to look for.
    fn next(&self) -> u64 {
        let index = self.query.index;
        if self.base.is_none() { index } else { index + 1 + self.bodies.len() as u64 }
    }

    /// Returns where the search for a later body begins.
    fn spot(&self) -> Option<Spot> {
        let term = self.bodies.last().map_or(self.base?, |last| last.term);
        Some(Spot { index: self.next() - 1, term, end: self.at? })
    }

    /// Takes the wanted bodies from a part of a segment, which begins where the search continues. `is_end` is true if
    /// the file ends with it.
    ///
    /// # Errors
    /// Returns what is wrong with the record where the search has stopped.
    fn advance(&mut self, bytes: &Bytes, is_end: bool, extents: &Extents) -> Result<(), &'static str> {
        const CUT: &str = "the file ends before a body of the log that it should have";
        let slot = self.query.slot;
        let Place { segment, position: start } = self.at.expect("set before the read");
        let mut at = 0;
        self.least = LOG_READ_BYTES;
        while self.next() <= extents.last(slot).unwrap_or(0).min(self.query.last) {
            if bytes.len() < at + HEADER {
                return if is_end { Err(CUT) } else { Ok(()) };
            }
            let unreadable = "a record of the log cannot be read";
            let (head, len) = header_at(bytes, segment, at).ok_or(unreadable)?;
            let position = |at| u32::try_from(at).ok().and_then(|at| start.checked_add(at)).ok_or(unreadable);
            let is_it = head.kind == Kind::Entry && head.slot == slot && head.index == self.next();
            if is_it && !extents.is_replaced(slot, head.index, position(at)?) {
                self.is_full = !self.bodies.is_empty() && self.bytes + len + LOG_ENTRY_BYTES > self.query.bytes_max;
                if self.is_full {
                    return Ok(());
                }
                if self.base.is_none() {
                    self.base = Some(head.term);
                } else if at + HEADER + len > bytes.len() {
                    self.least = record_len(len).max(LOG_READ_BYTES);
                    return if is_end { Err(CUT) } else { Ok(()) };
                } else {
                    let record = record_at(bytes, segment, at).ok_or(unreadable)?;
                    // A copy, so that the body does not pin everything that was read with it.
                    let body = Bytes::copy_from_slice(&record.body);
                    self.bodies.push(Body { slot, index: head.index, term: head.term, bytes: body });
                    self.bytes += len + LOG_ENTRY_BYTES;
                }
            }
            at += record_len(len);
            self.at = Some(Place { segment, position: position(at)? });
        }
        Ok(())
    }

    /// Returns the query and its answer.
    #[must_use]
    pub fn finish(self) -> (LogQuery, LogPart) {
        let base = (self.query.index, self.base.filter(|_| !self.bodies.is_empty()).unwrap_or(0));
        (self.query, LogPart { base, bodies: self.bodies })
    }
}

/// Returns true if a segment is of a format in which the log has the bodies of groups.
fn has_groups<F: DiskFile>(file: &F, segment: u32) -> Result<bool, OpenError> {
    let name = names::segment(segment);
    let mut header = [0; HEADER];
    file.read_at(&mut header, 0).map_err(|cause| OpenError::io(&name, cause))?;
    let version = format::check_segment_header(&header, segment);
    let damaged = |_| OpenError::damaged(&name, 0, "its header cannot be read");
    version.map(|version| version >= GROUPS_SINCE).map_err(damaged)
}
