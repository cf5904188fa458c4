//! The bytes of a segment: a header, then records.
//!
//! ```text
//! segment header, 32 bytes     magic "DHTJRNL\n", u32 version, u32 number, u32 size, u64 stamp, u32 crc
//! record header, 32 bytes      u32 body_len, u8 kind, u8 flags, u16 group, u64 index, u32 term, u32 synced,
//!                              u32 crc of the header before it, u32 crc
//! body                         body_len bytes, then zeros up to a multiple of 8
//! ```
//!
//! The stamp says whose the segment is ([`Stamp`]); it is 0 in format 1.
//!
//! A record's crcs are over the number of its segment too: neither zeros nor what a recycled segment held before can
//! pass for a record of this one. The last is over the header before it and the body; the one before it is the header's
//! alone, so that a length is believed only when it is right: who looks for records among anything else must not read
//! megabytes at each place. `synced` is how far the segment was known to be safe when the record was made: what is
//! damaged before it was not torn by a crash.

use byteorder::{BigEndian, ByteOrder};
use bytes::Bytes;

use super::stamp::Stamp;
use crate::types::crc32_of_parts;

/// The format version that this program writes. It reads every version up to this one.
///
/// - 1: the first version.
/// - 2: each topic in a checkpoint ends with tagged parts, so that a program recognizes parts that are too new for it;
///   a checkpoint includes the bookkeeping of the segments; append times in entries do not decrease unless the clock
///   was corrected; the folder has an id, and its files name it; there is a watermark.
pub const VERSION: u32 = 2;

/// Bytes of a segment's header, and of a record's.
pub const HEADER: usize = 32;

/// Records start at multiples of this.
pub const ALIGN: usize = 8;

const MAGIC: &[u8; 8] = b"DHTJRNL\n";

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entries of the log.
    Entry,
    /// Batches that cleaning has copied. They are not part of the log.
    Copy,
    /// A part of the state that a checkpoint keeps.
    Checkpoint,
    /// Term, vote and commit, and how the segment before ended.
    HardState,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Entry, Self::Copy, Self::Checkpoint, Self::HardState];

    const fn number(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Copy => 2,
            Self::Checkpoint => 3,
            Self::HardState => 4,
        }
    }
}

/// What stands before a record's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// The vertex whose log it belongs to.
    pub group: u16,
    /// Its place in that log, from 1.
    pub index: u64,
    /// The term of its leader.
    pub term: u32,
    /// Bytes of its segment that were safe before it was made.
    pub synced: u32,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What stands before its body.
    pub head: Head,
    /// The body.
    pub body: Bytes,
    /// Where that begins in the segment.
    pub body_at: usize,
    /// Where the next record begins.
    pub end: usize,
}

/// The first bytes of a segment of the folder with that stamp.
pub fn segment_header(stamp: Stamp, number: u32, size: u32) -> [u8; HEADER] {
    segment_header_of(VERSION, stamp, number, size)
}

/// The first bytes of a segment in that format version.
pub(super) fn segment_header_of(version: u32, stamp: Stamp, number: u32, size: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    BigEndian::write_u32(&mut header[8..], version);
    BigEndian::write_u32(&mut header[12..], number);
    BigEndian::write_u32(&mut header[16..], size);
    BigEndian::write_u64(&mut header[20..], stamp.number());
    let crc = crc32_of_parts([&header[..28]]);
    BigEndian::write_u32(&mut header[28..], crc);
    header
}

/// Returns the format version in the header of segment `number`. The checksum is at the same place in every version.
///
/// # Errors
/// Returns `Err(Some(version))` when a newer program wrote the header, and `Err(None)` when it is damaged or belongs to
/// another segment.
pub fn check_segment_header(bytes: &[u8], number: u32) -> Result<u32, Option<u32>> {
    let header = bytes.get(..HEADER).ok_or(None)?;
    if &header[..8] != MAGIC {
        return Err(None);
    }
    if BigEndian::read_u32(&header[28..]) != crc32_of_parts([&header[..28]]) {
        return Err(None);
    }
    let version = BigEndian::read_u32(&header[8..]);
    if version > VERSION {
        return Err(Some(version));
    }
    if BigEndian::read_u32(&header[12..]) == number { Ok(version) } else { Err(None) }
}

/// Returns whose the file is according to a segment's header. The header must be sound.
pub(super) fn stamp_of(header: &[u8]) -> Stamp {
    Stamp::from_number(BigEndian::read_u64(&header[20..]))
}

/// Returns the size of the file that a segment's header says. The header must be sound.
pub(super) fn said_size(header: &[u8]) -> usize {
    BigEndian::read_u32(&header[16..]) as usize
}

/// Changes the size of the file that a segment's header says. The header must be sound.
pub(super) fn say_size(header: &mut [u8], size: u32) {
    BigEndian::write_u32(&mut header[16..], size);
    let crc = crc32_of_parts([&header[..28]]);
    BigEndian::write_u32(&mut header[28..], crc);
}

/// Bytes that a record with such a body takes.
pub const fn record_len(body_len: usize) -> usize {
    (HEADER + body_len).next_multiple_of(ALIGN)
}

/// Appends a record to `out` whose body `body` appends.
pub fn put_record(segment: u32, head: Head, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + HEADER, 0);
    body(out);
    let body_len = out.len() - start - HEADER;
    let header = &mut out[start..start + HEADER];
    BigEndian::write_u32(header, u32::try_from(body_len).expect("a record fits its segment"));
    header[4] = head.kind.number();
    BigEndian::write_u16(&mut header[6..], head.group);
    BigEndian::write_u64(&mut header[8..], head.index);
    BigEndian::write_u32(&mut header[16..], head.term);
    BigEndian::write_u32(&mut header[20..], head.synced);
    let crc = record_crc(segment, &header[..24], &[]);
    BigEndian::write_u32(&mut header[24..], crc);
    let crc = record_crc(segment, &out[start..start + 28], &out[start + HEADER..]);
    BigEndian::write_u32(&mut out[start + 28..], crc);
    out.resize(start + record_len(body_len), 0);
}

/// The record at that place of a segment's bytes; `None` when there is no whole and sound one.
pub fn record_at(bytes: &Bytes, segment: u32, at: usize) -> Option<Record> {
    let (kind, body_len) = header_at(bytes, segment, at)?;
    let (header, body_at) = (&bytes[at..at + HEADER], at + HEADER);
    let body = bytes.get(body_at..body_at.checked_add(body_len)?)?;
    if BigEndian::read_u32(&header[28..]) != record_crc(segment, &header[..28], body) {
        return None;
    }
    let head = Head {
        kind,
        group: BigEndian::read_u16(&header[6..]),
        index: BigEndian::read_u64(&header[8..]),
        term: BigEndian::read_u32(&header[16..]),
        synced: BigEndian::read_u32(&header[20..]),
    };
    let body = bytes.slice(body_at..body_at + body_len);
    Some(Record { head, body, body_at, end: at + record_len(body_len) })
}

/// Returns the position where the record that begins at `at` ends according to its header, which is sound; the record
/// may be damaged, or end behind the bytes. Returns `None` when no record of the segment begins there.
pub(super) fn begins_at(bytes: &Bytes, segment: u32, at: usize) -> Option<usize> {
    header_at(bytes, segment, at).and_then(|(_, body_len)| at.checked_add(HEADER)?.checked_add(body_len))
}

/// Returns the kind of the record at `at` and the length of its body; `None` when there is no sound header.
fn header_at(bytes: &Bytes, segment: u32, at: usize) -> Option<(Kind, usize)> {
    let header = bytes.get(at..at + HEADER)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.number() == header[4])?;
    if header[5] != 0 || BigEndian::read_u32(&header[24..]) != record_crc(segment, &header[..24], &[]) {
        return None;
    }
    Some((kind, usize::try_from(BigEndian::read_u32(header)).ok()?))
}

fn record_crc(segment: u32, header: &[u8], body: &[u8]) -> u32 {
    crc32_of_parts([&segment.to_be_bytes(), header, body])
}

/// How a segment begins: its first record, of kind [`Kind::HardState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Whom this node voted for in `term`, when it did; kept for replication.
    pub vote: u16,
    /// The index up to which the log is committed, as far as was known.
    pub commit: u64,
    /// Where the segment before ends; 0 for the first.
    pub previous_end: u32,
    /// May an acknowledged entry be lost when the machine stops? So it is between two syncs of `--sync interval`.
    pub is_lazy: bool,
    /// Did the process end as it should, with everything synced?
    pub is_end: bool,
}

impl HardState {
    /// Bytes of the body.
    pub const LEN: usize = 16;

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.vote.to_be_bytes());
        out.extend_from_slice(&[u8::from(self.is_lazy), u8::from(self.is_end)]);
        out.extend_from_slice(&self.previous_end.to_be_bytes());
        out.extend_from_slice(&self.commit.to_be_bytes());
    }

    /// Reads a body; `None` when it is none.
    pub fn decode(body: &[u8]) -> Option<Self> {
        (body.len() == Self::LEN).then(|| Self {
            vote: BigEndian::read_u16(body),
            is_lazy: body[2] != 0,
            is_end: body[3] != 0,
            previous_end: BigEndian::read_u32(&body[4..]),
            commit: BigEndian::read_u64(&body[8..]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { kind: Kind::Entry, group: 5, index: 1 << 40, term: 3, synced: 77 };

    fn record(segment: u32, body: &[u8]) -> Bytes {
        let mut out = vec![0xaa; 16];
        put_record(segment, HEAD, &mut out, |out| out.extend_from_slice(body));
        out.into()
    }

    #[test]
    fn a_record_comes_back_and_ends_where_the_next_one_starts() {
        for body in [&b""[..], b"1234567", b"12345678", b"123456789"] {
            let bytes = record(9, body);
            let read = record_at(&bytes, 9, 16).unwrap();
            assert_eq!((read.head, &read.body[..], read.end), (HEAD, body, bytes.len()));
            assert_eq!(read.end % ALIGN, 0);
        }
    }

    #[test]
    fn a_record_of_another_segment_a_cut_one_and_a_damaged_one_are_none() {
        let whole = record(9, b"some entries");
        assert_eq!(record_at(&whole, 8, 16), None);
        for cut in 16..16 + HEADER + 12 {
            assert_eq!(record_at(&whole.slice(..cut), 9, 16), None, "cut at {cut}");
        }
        for bit in 16 * 8..(16 + HEADER + 12) * 8 {
            let mut bad = whole.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(record_at(&bad.into(), 9, 16), None, "bit {bit}");
        }
        assert_eq!(record_at(&Bytes::from_static(&[0; 4096]), 0, 0), None, "zeros");
    }

    /// Were each length believed, this would read a terabyte.
    #[test]
    fn what_only_looks_like_records_is_passed_over_at_once() {
        let like_a_record = [0, 0x10, 0, 0, 1, 0, 0, 0];
        let bytes = Bytes::from(like_a_record.repeat(1 << 19));
        assert!((0..bytes.len()).step_by(ALIGN).all(|at| record_at(&bytes, 9, at).is_none()));
    }

    #[test]
    fn a_segment_says_which_it_is_and_of_which_version() {
        let header = segment_header(Stamp::NONE, 7, 4096);
        assert_eq!(check_segment_header(&header, 7), Ok(VERSION));
        assert_eq!(check_segment_header(&header, 6), Err(None));
        assert_eq!(check_segment_header(&[0; 64], 0), Err(None));
        for (version, expected) in [(1, Ok(1)), (VERSION + 1, Err(Some(VERSION + 1)))] {
            let mut other = header;
            BigEndian::write_u32(&mut other[8..], version);
            assert_eq!(check_segment_header(&other, 7), Err(None), "a damaged header");
            let crc = crc32_of_parts([&other[..28]]);
            BigEndian::write_u32(&mut other[28..], crc);
            assert_eq!(check_segment_header(&other, 7), expected);
        }
    }

    #[test]
    fn a_hard_state_comes_back() {
        let state = HardState { vote: 3, commit: 1 << 50, previous_end: 4000, is_lazy: true, is_end: false };
        let mut body = Vec::new();
        state.encode(&mut body);
        assert_eq!((HardState::decode(&body), HardState::decode(&body[1..])), (Some(state), None));
    }
}
