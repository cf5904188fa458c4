//! A checkpoint: the state of the topics after some entry, in a file of its own rather than in the log, so that writing
//! it delays no commit. The file is named after the index of that entry. It has the layout of a segment, and its header
//! holds the number of the segment in which the entry ends.
//!
//! The first record holds the number of bytes of the state that follows, and of the journal's bookkeeping after that.
//! Format 1 has no bookkeeping.

use bytes::Bytes;

use super::books::Books;
use super::format::{self, Head, Kind, put_record, record_at};
use super::stamp::Stamp;
use super::writer::Mark;
use crate::entry::Place;

/// The largest body of a record, in bytes. The file is divided so that damage can be located.
const PART: usize = 1 << 20;

/// Encodes a checkpoint file that holds a state and the bookkeeping that goes with it.
pub(super) fn encode((group, stamp): (u16, Stamp), mark: Mark, image: &[u8], books: &[u8]) -> Vec<u8> {
    let Place { segment, position } = mark.place;
    let head = Head { kind: Kind::Checkpoint, group, index: mark.index, term: mark.term, synced: position };
    let len = image.len() + books.len();
    let mut out = Vec::with_capacity(len + len / PART * format::HEADER + 256);
    out.extend_from_slice(&format::segment_header(stamp, segment, position));
    put_record(segment, head, &mut out, |out| {
        [image, books].iter().for_each(|part| out.extend_from_slice(&(part.len() as u64).to_be_bytes()));
    });
    for part in image.chunks(PART).chain(books.chunks(PART)) {
        put_record(segment, head, &mut out, |out| out.extend_from_slice(part));
    }
    out
}

/// The decoded content of a checkpoint file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The last entry that the state includes.
    pub(super) mark: Mark,
    /// The encoded state of the topics.
    pub(super) image: Vec<u8>,
    /// The journal's bookkeeping; `None` in format 1, which has none.
    pub(super) books: Option<Books>,
    /// The format version of the file.
    pub(super) version: u32,
    /// Identifies the folder that the file was written for.
    pub(super) stamp: Stamp,
}

/// The reason why a checkpoint file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file is damaged; holds the position of the first byte that cannot be read.
    Damaged(u64),
    /// A newer version of the program wrote the file; holds its format version.
    Newer(u32),
}

/// Decodes the checkpoint file whose name says that its state includes the entries up to `index`.
///
/// # Errors
/// Returns a [`Fault`] when the file is damaged or its format is too new.
pub(super) fn decode(bytes: &Bytes, index: u64) -> Result<Checkpoint, Fault> {
    use byteorder::{BigEndian, ByteOrder};
    let header = bytes.get(..format::HEADER).ok_or(Fault::Damaged(0))?;
    let segment = BigEndian::read_u32(&header[12..]);
    let version =
        format::check_segment_header(header, segment).map_err(|newer| newer.map_or(Fault::Damaged(0), Fault::Newer))?;
    let mut at = format::HEADER;
    let mut next = || -> Result<format::Record, Fault> {
        let record = record_at(bytes, segment, at).filter(|record| record.head.kind == Kind::Checkpoint);
        let record = record.filter(|record| record.head.index == index).ok_or(Fault::Damaged(at as u64))?;
        at = record.end;
        Ok(record)
    };
    let first = next()?;
    let malformed = || Fault::Damaged(first.body_at as u64);
    let lens: Vec<usize> =
        first.body.chunks_exact(8).filter_map(|len| BigEndian::read_u64(len).try_into().ok()).collect();
    let mut part = |len: usize| {
        let mut part = Vec::with_capacity(len.min(bytes.len()));
        while part.len() < len {
            part.extend_from_slice(&next()?.body);
        }
        Ok(part)
    };
    let image = part(*lens.first().ok_or_else(malformed)?)?;
    let books = match lens.get(1) {
        Some(len) => Some(Books::decode(&part(*len)?).ok_or_else(malformed)?),
        None => None,
    };
    let mark = Mark { place: Place { segment, position: first.head.synced }, index, term: first.head.term };
    Ok(Checkpoint { mark, image, books, version, stamp: format::stamp_of(header) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_unless_it_is_damaged() {
        let mark = Mark { place: Place { segment: 7, position: 4096 }, index: 1234, term: 2 };
        for len in [0, 1, PART, PART * 2 + 5] {
            let image: Vec<u8> = (0..len).map(|byte| (byte % 251).try_into().unwrap()).collect();
            let void = vec![7; len];
            let spans: [(_, std::iter::Empty<_>); 0] = [];
            let encoded = crate::journal::books::encode(&[(3, &void)], spans.into_iter(), std::iter::empty());
            let bytes = Bytes::from(encode((3, Stamp::from_number(9)), mark, &image, &encoded));
            let books = Some(Books { void: [(3, void)].into(), ..Books::default() });
            let (version, stamp) = (format::VERSION, Stamp::from_number(9));
            assert_eq!(decode(&bytes, 1234), Ok(Checkpoint { mark, image, books, version, stamp }));
            assert_eq!(decode(&bytes, 1235), Err(Fault::Damaged(32)));
            for at in (0..bytes.len()).step_by(if len > 1 { 65_537 } else { 1 }) {
                let mut bad = bytes.to_vec();
                bad[at] ^= 4;
                let is_padding = decode(&bad.into(), 1234) == decode(&bytes, 1234);
                assert!(!is_padding || len <= 1 && bytes[at] == 0, "byte {at} of {len}");
                assert!(decode(&bytes.slice(..at), 1234).is_err() || at >= bytes.len() - 8);
            }
        }
    }
}
