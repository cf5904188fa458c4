//! The bytes of a segment: a header, then records.
//!
//! ```text
//! segment header, 32 bytes     magic "DHTJRNL\n", u32 version, u32 number, u32 size, u64 stamp, u32 crc
//! record header, 32 bytes      u32 body_len, u8 kind, u8 flags, u16 slot, u64 index, u32 term, u32 synced,
//!                              u32 crc of the header before it, u32 crc
//! body                         body_len bytes, then zeros up to a multiple of 8
//! ```
//!
//! The stamp identifies the folder that the segment was written for ([`Stamp`]); it is 0 in format 1.
//!
//! Both checksums of a record also cover the number of its segment, so that neither zeros nor what a recycled segment
//! held before passes for a record of this segment. The first covers the 24 header bytes before it. The second covers
//! the 28 header bytes before it and the body. The first exists so that `body_len` can be verified by itself: a search
//! for records in arbitrary bytes must not have to read megabytes at each position.
//!
//! `synced` is the position up to which the segment was known to be durable when the record was created. Damage before
//! that position cannot be a write that a crash has torn.

use byteorder::{BigEndian, ByteOrder};
use bytes::Bytes;

use super::stamp::Stamp;
use crate::entry::{Founding, MemberState, RECORD_ALIGN, RECORD_HEADER, STATE_LEN, Stage, record_len};
use crate::types::{SlotId, Slots, crc32_of_parts};

/// The format version that this program writes. It reads every version up to this one.
///
/// - 1: the first version.
/// - 2: each topic in a checkpoint ends with tagged parts, so that a program recognizes parts that are too new for it;
///   a checkpoint includes the bookkeeping of the segments; append times in entries do not decrease unless the clock
///   was corrected; the folder has an id, which its files carry in their stamp; there is a watermark.
/// - 3: the log has the entries of several groups, and the states of their members; a checkpoint has a state of each
///   group, and indexes and bookkeeping name the slot of each topic. In earlier formats all topics belong to one group,
///   whose slot has the number of the node.
pub const VERSION: u32 = 3;

/// The first format in which a journal has the topics of several groups.
pub(super) const GROUPS_SINCE: u32 = 3;

/// Size in bytes of a segment header, and of a record header.
pub const HEADER: usize = RECORD_HEADER;

/// Records start at positions that are multiples of this.
pub const ALIGN: usize = RECORD_ALIGN;

const MAGIC: &[u8; 8] = b"DHTJRNL\n";

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Entries of the log.
    Entry,
    /// Batches that cleaning has copied. They are not part of the log.
    Copy,
    /// A part of the state that a checkpoint stores.
    Checkpoint,
    /// The beginning of a segment, or the end of the log: a [`Begin`].
    Begin,
    /// What a member of a group must not forget: its [`MemberState`].
    State,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Entry, Self::Copy, Self::Checkpoint, Self::Begin, Self::State];

    const fn number(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Copy => 2,
            Self::Checkpoint => 3,
            Self::Begin => 4,
            Self::State => 5,
        }
    }
}

/// The decoded header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The kind of the record.
    pub kind: Kind,
    /// The slot of the group that the record belongs to; 0 for records that belong to none.
    pub slot: SlotId,
    /// The position of an entry record in the log of its group, which begins with 1. In a [`Begin`] the number of
    /// bodies before it, of all groups.
    pub index: u64,
    /// The term of the leader that proposed the entries; in a record of a [`MemberState`], the member's own term.
    pub term: u32,
    /// The position up to which the segment was known to be durable when the record was created.
    pub synced: u32,
}

/// A record that was read from a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The header.
    pub head: Head,
    /// The body.
    pub body: Bytes,
    /// The position of the body in the segment.
    pub body_at: usize,
    /// The position in the segment where the next record begins.
    pub end: usize,
}

/// Encodes the header of a segment with the given stamp, in the current format.
pub fn segment_header(stamp: Stamp, number: u32, size: u32) -> [u8; HEADER] {
    segment_header_of(VERSION, stamp, number, size)
}

/// Encodes the header of a segment in the given format version.
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

/// Returns the stamp in a segment's header. The header must be sound.
pub(super) fn stamp_of(header: &[u8]) -> Stamp {
    Stamp::from_number(BigEndian::read_u64(&header[20..]))
}

/// Returns the size of the file, in bytes, according to a segment's header. The header must be sound.
pub(super) fn stated_size(header: &[u8]) -> usize {
    BigEndian::read_u32(&header[16..]) as usize
}

/// Changes the size of the file in a segment's header. The header must be sound.
pub(super) fn set_stated_size(header: &mut [u8], size: u32) {
    BigEndian::write_u32(&mut header[16..], size);
    let crc = crc32_of_parts([&header[..28]]);
    BigEndian::write_u32(&mut header[28..], crc);
}

/// Appends a record to `out`; the closure `body` appends the body.
pub fn put_record(segment: u32, head: Head, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + HEADER, 0);
    body(out);
    let body_len = out.len() - start - HEADER;
    let header = &mut out[start..start + HEADER];
    BigEndian::write_u32(header, u32::try_from(body_len).expect("a record fits its segment"));
    header[4] = head.kind.number();
    BigEndian::write_u16(&mut header[6..], head.slot.index());
    BigEndian::write_u64(&mut header[8..], head.index);
    BigEndian::write_u32(&mut header[16..], head.term);
    BigEndian::write_u32(&mut header[20..], head.synced);
    let crc = record_crc(segment, &header[..24], &[]);
    BigEndian::write_u32(&mut header[24..], crc);
    let crc = record_crc(segment, &out[start..start + 28], &out[start + HEADER..]);
    BigEndian::write_u32(&mut out[start + 28..], crc);
    out.resize(start + record_len(body_len), 0);
}

/// Returns the record at position `at` of a segment's bytes, or `None` when no complete and sound record begins there.
pub fn record_at(bytes: &Bytes, segment: u32, at: usize) -> Option<Record> {
    let (head, body_len) = header_at(bytes, segment, at)?;
    let (header, body_at) = (&bytes[at..at + HEADER], at + HEADER);
    let body = bytes.get(body_at..body_at.checked_add(body_len)?)?;
    if BigEndian::read_u32(&header[28..]) != record_crc(segment, &header[..28], body) {
        return None;
    }
    let body = bytes.slice(body_at..body_at + body_len);
    Some(Record { head, body, body_at, end: at + record_len(body_len) })
}

/// Returns the position where the record that begins at `at` ends according to its header. Only the header has been
/// verified: the body may be damaged, or extend past the end of `bytes`. Returns `None` when there is no sound header
/// at `at`.
pub(super) fn begins_at(bytes: &Bytes, segment: u32, at: usize) -> Option<usize> {
    header_at(bytes, segment, at).and_then(|(_, body_len)| at.checked_add(HEADER)?.checked_add(body_len))
}

/// Returns the header of the record at `at`, and the length of its body, which has not been verified; `None` when there
/// is no sound header.
pub(super) fn header_at(bytes: &[u8], segment: u32, at: usize) -> Option<(Head, usize)> {
    let header = bytes.get(at..at + HEADER)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.number() == header[4])?;
    if header[5] != 0 || BigEndian::read_u32(&header[24..]) != record_crc(segment, &header[..24], &[]) {
        return None;
    }
    let head = Head {
        kind,
        slot: SlotId::new(BigEndian::read_u16(&header[6..]), Slots::MOST)?,
        index: BigEndian::read_u64(&header[8..]),
        term: BigEndian::read_u32(&header[16..]),
        synced: BigEndian::read_u32(&header[20..]),
    };
    Some((head, usize::try_from(BigEndian::read_u32(header)).ok()?))
}

fn record_crc(segment: u32, header: &[u8], body: &[u8]) -> u32 {
    crc32_of_parts([&segment.to_be_bytes(), header, body])
}

/// The body of a record of kind [`Kind::Begin`]: the first record of every segment, and after an orderly stop the last
/// one of the log, which has `is_end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// The position where the preceding segment ends; 0 in the first segment.
    pub previous_end: u32,
    /// True when entries may be acknowledged before they are durable, as under `--sync interval`.
    pub is_lazy: bool,
    /// True when the process stopped in an orderly way after everything was synced.
    pub is_end: bool,
}

impl Begin {
    /// Size of the encoding in bytes.
    pub const LEN: usize = 16;

    /// Appends the encoding to `out`. Its first two bytes and the last eight were used by earlier formats.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0, 0, u8::from(self.is_lazy), u8::from(self.is_end)]);
        out.extend_from_slice(&self.previous_end.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
    }

    /// Decodes the body of a record; returns `None` when its length is wrong.
    pub fn decode(body: &[u8]) -> Option<Self> {
        (body.len() == Self::LEN).then(|| Self {
            is_lazy: body[2] != 0,
            is_end: body[3] != 0,
            previous_end: BigEndian::read_u32(&body[4..]),
        })
    }
}

/// Appends a record of kind [`Kind::State`] to `out`.
pub fn put_state(segment: u32, slot: SlotId, synced: u32, state: &MemberState, out: &mut Vec<u8>) {
    let head = Head { kind: Kind::State, slot, index: 0, term: state.term, synced };
    put_record(segment, head, out, |out| {
        let Founding { number, disks: [first, second, third], last } = state.founding;
        for number in [state.vote, state.commit, first, second, third, last, number.into()] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(state.stage.number());
    });
}

/// Decodes a record of kind [`Kind::State`]; returns `None` when its length or a number in it is wrong.
pub(super) fn state_of(record: &Record) -> Option<MemberState> {
    let (stage, numbers) = record.body.split_last().filter(|_| record.body.len() == STATE_LEN)?;
    let mut of_body = [0; 7];
    BigEndian::read_u64_into(numbers, &mut of_body);
    let [vote, commit, first, second, third, last, number] = of_body;
    let founding = Founding { number: u32::try_from(number).ok()?, disks: [first, second, third], last };
    Some(MemberState { term: record.head.term, vote, commit, stage: Stage::from_number(*stage)?, founding })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { kind: Kind::Entry, slot: SlotId::new(5, Slots::MOST).unwrap(), index: 1 << 40, term: 3, synced: 77 }
    }

    fn record(segment: u32, body: &[u8]) -> Bytes {
        let mut out = vec![0xaa; 16];
        put_record(segment, head(), &mut out, |out| out.extend_from_slice(body));
        out.into()
    }

    #[test]
    fn a_record_comes_back_and_ends_where_the_next_one_starts() {
        for body in [&b""[..], b"1234567", b"12345678", b"123456789"] {
            let bytes = record(9, body);
            let read = record_at(&bytes, 9, 16).unwrap();
            assert_eq!((read.head, &read.body[..], read.end), (head(), body, bytes.len()));
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

    /// If lengths were trusted before the header's checksum is verified, this test would read a terabyte.
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
    fn the_beginning_of_a_segment_comes_back() {
        let begin = Begin { previous_end: 4000, is_lazy: true, is_end: false };
        let mut body = Vec::new();
        begin.encode(&mut body);
        assert_eq!((Begin::decode(&body), Begin::decode(&body[1..])), (Some(begin), None));
    }

    #[test]
    fn what_a_member_has_promised_comes_back() {
        let (slot, founding) = (head().slot, Founding { number: 9, disks: [1 << 47, 2, 3], last: 1 << 49 });
        let state = MemberState { term: 7, vote: 1 << 63, commit: 1 << 50, stage: Stage::Full, founding };
        for stage in [Stage::Full, Stage::Joining, Stage::Recovering] {
            let state = MemberState { stage, ..state };
            let mut out = Vec::new();
            put_state(9, slot, 77, &state, &mut out);
            let record = record_at(&out.into(), 9, 0).unwrap();
            assert_eq!((record.head.slot, record.head.synced, state_of(&record)), (slot, 77, Some(state)));
            assert_eq!(state_of(&Record { body: record.body.slice(1..), ..record.clone() }), None);
            let mut unknown = record.body.to_vec();
            unknown[STATE_LEN - 1] = 3;
            assert_eq!(state_of(&Record { body: unknown.into(), ..record }), None);
        }
    }
}
