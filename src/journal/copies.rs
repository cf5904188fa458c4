//! Segments of copies: they hold records that cleaning has moved out of other segments, so that those can be removed,
//! and records that were copied from another node as part of a snapshot.
//!
//! ```text
//! body of a copy   u64 topic, u64 base offset, u64 append time of the first batch in µs, then consecutive batches:
//!                  varint count, varint len, varint delta of the append time, payload
//! ```
//!
//! The header of its record names the slot of the topic.
//!
//! Copies are not part of the log: they are never applied. A start reads them only to rebuild a lost index, for which a
//! copy holds all that is needed. Segments of copies are numbered from [`FIRST`] on, so that no segment of the log has
//! the same number. Such a segment gets its final name when it is complete and fsynced, and is immutable from then on.
//! Until a checkpoint refers to it, the segments that the records came from are retained.

use std::io;

use byteorder::{BigEndian, ByteOrder};
use bytes::{BufMut, Bytes};

use super::disk::DiskFile;
use super::format::{HEADER, Head, Kind, Record, put_record, record_at, segment_header};
use super::index::Index;
use super::stamp::Stamp;
use super::walk::{Step, walk};
use crate::entry::{Filed, Place, TopicKey, varint};
use crate::limits::FILL_SYNC_BYTES;
use crate::types::{Offset, TopicId, crc32};

/// The lowest number of a segment of copies; segments of the log have lower numbers.
pub(super) const FIRST: u32 = 1 << 31;

/// A segment of copies that is being written. Its file has a temporary name.
#[derive(Debug)]
pub(super) struct CopyFile<F> {
    pub(super) file: F,
    /// The number of the segment; `written` is the current length of its file in bytes.
    pub(super) number: u32,
    pub(super) written: u32,
    pub(super) index: Index,
}

impl<F: DiskFile> CopyFile<F> {
    /// Returns an empty segment.
    pub(super) fn new(file: F, number: u32) -> Self {
        Self { file, number, written: 0, index: Index::default() }
    }

    /// Appends copies of consecutive batches of one topic, and sets the places of the batches to those of the copies.
    ///
    /// # Errors
    /// Returns the error of the file system. The caller may retry with the same batches.
    pub(super) fn put(&mut self, stamp: Stamp, batches: &mut [(Filed, Bytes)]) -> io::Result<()> {
        let mut out = Vec::new();
        if self.written == 0 {
            out.extend_from_slice(&segment_header(stamp, self.number, 0));
        }
        let position = u32::try_from(self.written as usize + out.len() + HEADER).expect("far below 4 GiB");
        let start = Place { segment: self.number, position };
        let head = Head { kind: Kind::Copy, slot: batches[0].0.topic.slot, index: 0, term: 0, synced: 0 };
        put_record(self.number, head, &mut out, |out| encode(batches, start, out));
        self.file.write_at(&out, self.written.into())?;
        let written = self.written + u32::try_from(out.len()).expect("far below 4 GiB");
        if written / FILL_SYNC_BYTES > self.written / FILL_SYNC_BYTES {
            // Syncing the whole file only at the end would block as long as hundreds of reads.
            self.file.sync()?;
        }
        self.written = written;
        batches.iter().for_each(|(filed, _)| self.index.add(filed));
        Ok(())
    }
}

/// Returns true when the segment of that number holds copies.
pub(super) const fn is_copies(segment: u32) -> bool {
    segment >= FIRST
}

/// Appends the body of a copy to `out` and sets the place of the payload in each batch. `start` is the place where the
/// body will begin. The batches must belong to one topic and be consecutive.
fn encode(batches: &mut [(Filed, Bytes)], start: Place, out: &mut Vec<u8>) {
    let begin = out.len();
    let first = batches[0].0;
    out.put_u64(first.topic.id.number());
    out.put_u64(first.base.0);
    out.put_u64(first.append_us);
    let (mut next, mut append_us) = (first.base, first.append_us);
    for (filed, payload) in batches {
        assert!(filed.topic == first.topic && filed.base == next, "batches are consecutive");
        varint::put(out, filed.count.into());
        varint::put(out, filed.len.into());
        varint::put_delta(out, append_us, filed.append_us);
        let inside = u32::try_from(out.len() - begin).expect("a body is below 4 GiB");
        filed.place = Place { position: start.position + inside, ..start };
        out.put_slice(payload);
        (next, append_us) = (filed.end(), filed.append_us);
    }
}

/// Decodes the batches of a copy; returns `None` when the body is malformed.
fn decode(segment: u32, record: &Record) -> Option<Vec<Filed>> {
    let body = &record.body[..];
    let topic = TopicKey { slot: record.head.slot, id: TopicId::new(BigEndian::read_u64(body.get(..8)?))? };
    let mut base = Offset(BigEndian::read_u64(body.get(8..16)?));
    let mut append_us = BigEndian::read_u64(body.get(16..24)?);
    let (mut rest, mut filed) = (&body[24..], Vec::new());
    while !rest.is_empty() {
        let count = u32::try_from(varint::take(&mut rest)?).ok()?;
        let len = u32::try_from(varint::take(&mut rest)?).ok()?;
        append_us = varint::take_delta(&mut rest, append_us)?;
        let position = u32::try_from(record.body_at + body.len() - rest.len()).ok()?;
        let (payload, behind) = rest.split_at_checked(len as usize)?;
        let place = Place { segment, position };
        filed.push(Filed { topic, base, count, len, crc: crc32(payload), place, append_us });
        base = Offset(base.0.checked_add(count.into())?);
        rest = behind;
    }
    (!filed.is_empty()).then_some(filed)
}

/// Lists all batches of a segment of copies, sorted by topic and offset.
///
/// # Errors
/// Returns the position of the first record that cannot be read.
pub(super) fn list(segment: u32, bytes: &Bytes) -> Result<Vec<Filed>, u64> {
    let (mut at, mut filed) = (HEADER, Vec::new());
    while at < bytes.len() {
        let record = record_at(bytes, segment, at).filter(|record| record.head.kind == Kind::Copy);
        let record = record.ok_or(at as u64)?;
        filed.extend(decode(segment, &record).ok_or(at as u64)?);
        at = record.end;
    }
    filed.sort_unstable();
    Ok(filed)
}

/// Lists the batches of those copies that can be read, sorted by topic and offset.
pub(super) fn list_sound(segment: u32, bytes: &Bytes) -> Vec<Filed> {
    let copies = walk(segment, bytes, Some(bytes.len())).filter_map(|step| match step {
        Step::Record(record) if record.head.kind == Kind::Copy => decode(segment, &record),
        Step::Record(_) | Step::Damage(_) => None,
    });
    let mut filed: Vec<Filed> = copies.flatten().collect();
    filed.sort_unstable();
    filed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{SlotId, Slots};

    #[test]
    fn copies_say_themselves_what_they_are_copies_of() {
        let segment = FIRST + 7;
        let slot = |number| SlotId::from_low_bits(number, Slots::MOST);
        let topic = |id| TopicKey { slot: slot(20), id: TopicId::new(id).unwrap() };
        let batch = |id, base, count: u32, append_us, payload: &'static [u8]| {
            let (len, crc) = (u32::try_from(payload.len()).unwrap(), crc32(payload));
            let place = Place::default();
            let filed = Filed { topic: topic(id), base: Offset(base), count, len, crc, place, append_us };
            (filed, Bytes::from_static(payload))
        };
        let mut copies = [
            vec![
                batch(9, 1 << 40, 3, 50, b"some"),
                batch(9, (1 << 40) + 3, 1, 40, b""),
                batch(9, (1 << 40) + 4, 1, 90, b"x"),
            ],
            vec![batch(2, 0, 1, u64::MAX, b"other")],
        ];
        let mut bytes = segment_header(Stamp::NONE, segment, 0).to_vec();
        let mut ends = Vec::new();
        for batches in &mut copies {
            let start = Place { segment, position: u32::try_from(bytes.len() + HEADER).unwrap() };
            let head = Head { kind: Kind::Copy, slot: slot(20), index: 0, term: 0, synced: 0 };
            put_record(segment, head, &mut bytes, |out| encode(batches, start, out));
            ends.push(bytes.len());
        }
        let expected: Vec<Filed> = [&copies[1], &copies[0]].into_iter().flatten().map(|(filed, _)| *filed).collect();
        for (filed, payload) in copies.iter().flatten() {
            let at = filed.place.position as usize;
            assert_eq!(bytes[at..at + payload.len()], payload[..]);
        }
        let sound = Bytes::from(bytes);
        assert_eq!(list(segment, &sound), Ok(expected));
        for at in (HEADER..sound.len()).filter(|at| sound[*at] != 0) {
            let mut bad = sound.to_vec();
            bad[at] ^= 1;
            assert!(list(segment, &bad.into()).is_err(), "byte {at}");
        }
        for cut in HEADER + 1..sound.len() {
            // The zeros that pad a record are not part of its content, so cutting them loses nothing.
            let is_whole = ends.iter().any(|end| (end - 7..=*end).contains(&cut));
            assert!(is_whole || list(segment, &sound.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
