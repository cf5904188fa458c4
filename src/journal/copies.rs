//! Segments of copies: records that cleaning has moved, so that the segments where they lay before can go.
//!
//! ```text
//! body of a copy   u64 topic, u64 base, u64 first_us, then batches that follow each other:
//!                  varint count, varint len, how far its time lies from that of the one before, payload
//! ```
//!
//! A copy is no part of the log: it is never applied, and a start reads none but to make a lost index anew, for which
//! a copy says everything itself. A segment of copies has a number that no segment of the log has ([`FIRST`] and up);
//! it has its name when it is complete and safe, and never changes then. Until a checkpoint says that records are in
//! it, the segments that they came from stay.

use byteorder::{BigEndian, ByteOrder};
use bytes::{BufMut, Bytes};

use super::format::{HEADER, Kind, Record, record_at};
use super::walk::{Step, walk};
use crate::record::{Filed, Place, varint};
use crate::types::{Offset, TopicId, crc32};

/// The number of the first segment of copies: those of the log are below.
pub(super) const FIRST: u32 = 1 << 31;

/// Does a segment of that number hold copies?
pub(super) const fn is_copies(segment: u32) -> bool {
    segment >= FIRST
}

/// Appends the body of a copy to `out` and notes in each batch where its payload is; `start` is the place of the body.
/// The batches are of one topic and follow each other.
pub(super) fn encode(batches: &mut [(Filed, Bytes)], start: Place, out: &mut Vec<u8>) {
    let begin = out.len();
    let first = batches[0].0;
    out.put_u64(first.topic.number());
    out.put_u64(first.base.0);
    out.put_u64(first.append_us);
    let (mut next, mut append_us) = (first.base, first.append_us);
    for (filed, payload) in batches {
        assert!(filed.topic == first.topic && filed.base == next, "batches that follow each other");
        varint::put(out, filed.count.into());
        varint::put(out, filed.len.into());
        varint::put_delta(out, append_us, filed.append_us);
        let inside = u32::try_from(out.len() - begin).expect("a body is below 4 GiB");
        filed.place = Place { position: start.position + inside, ..start };
        out.put_slice(payload);
        (next, append_us) = (filed.end(), filed.append_us);
    }
}

/// The batches of a copy; `None` when it is none.
fn decode(segment: u32, record: &Record) -> Option<Vec<Filed>> {
    let body = &record.body[..];
    let topic = TopicId::new(BigEndian::read_u64(body.get(..8)?))?;
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

/// All batches of a segment of copies, by topic and offset.
///
/// # Errors
/// The position of the first record that cannot be read.
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

/// The batches of the copies that can be read, by topic and offset.
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
    use super::super::format::{Head, put_record, segment_header};
    use super::*;

    #[test]
    fn copies_say_themselves_what_they_are_copies_of() {
        let segment = FIRST + 7;
        let topic = |id| TopicId::new(id).unwrap();
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
        let mut bytes = segment_header(segment, 0).to_vec();
        let mut ends = Vec::new();
        for batches in &mut copies {
            let start = Place { segment, position: u32::try_from(bytes.len() + HEADER).unwrap() };
            let head = Head { kind: Kind::Copy, group: 0, index: 0, term: 0, synced: 0 };
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
            // Zeros that fill a record up are no loss.
            let is_whole = ends.iter().any(|end| (end - 7..=*end).contains(&cut));
            assert!(is_whole || list(segment, &sound.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
