//! A checkpoint: a state of the topics of each group, in a file of its own rather than in the log, so that writing it
//! delays no commit. The file is named by a number that increases with each checkpoint. It has the layout of a segment,
//! and its header holds the number of the segment from which on there are bodies that are not part of the states.
//!
//! ```text
//! first record     u64 bodies in the log when the checkpoint was taken, u32 segment and u32 position where the log
//!                  ended then, u64 length of the bookkeeping, then for each group: u16 slot, u64 index and u32 term of
//!                  the last body in its state, u32 segment and u32 position where that body ends, u64 length of the
//!                  state
//! other records    the states of the groups and then the journal's bookkeeping, in parts of at most 1 MiB; each of
//!                  them begins with a record of its own
//! ```
//!
//! Before format 3 there was one group, and the first record held the lengths of its state and of the bookkeeping. The
//! file was named after the position of the last body in the state. Format 1 has no bookkeeping.

use byteorder::{BigEndian, ByteOrder};
use bytes::{Buf, BufMut, Bytes};

use super::books::Books;
use super::format::{self, GROUPS_SINCE, Head, Kind, put_record, record_at};
use super::names::CheckpointId;
use super::stamp::Stamp;
use super::writer::Mark;
use crate::entry::{Image, LogPosition, Place};
use crate::types::{SlotId, Slots};

/// The largest body of a record, in bytes. The file is divided so that damage can be located.
const PART: usize = 1 << 20;

/// Encodes a checkpoint file that holds states and the bookkeeping that goes with them. Bodies before `from` are not
/// needed any more; the log ended at `mark`.
pub(super) fn encode(
    (id, stamp): (CheckpointId, Stamp),
    (from, mark): (Place, Mark),
    images: &[Image],
    books: &[u8],
) -> Vec<u8> {
    let Place { segment, position } = from;
    let head = Head { kind: Kind::Checkpoint, slot: SlotId::default(), index: id.number, term: 0, synced: position };
    let len = images.iter().map(|image| image.topics.len() + 256).sum::<usize>() + books.len();
    let mut out = Vec::with_capacity(len + len / PART * format::HEADER + 256);
    out.extend_from_slice(&format::segment_header(stamp, segment, position));
    put_record(segment, head, &mut out, |out| {
        out.put_u64(mark.bodies);
        put_place(mark.place, out);
        out.put_u64(books.len() as u64);
        for image in images {
            let applied = planted!("a group's state with the position of another", image.applied, images[0].applied);
            put_group(image, applied, out);
        }
    });
    for part in images.iter().map(|image| &image.topics[..]).chain([books]).flat_map(|part| part.chunks(PART)) {
        put_record(segment, head, &mut out, |out| out.extend_from_slice(part));
    }
    out
}

fn put_group(image: &Image, applied: LogPosition, out: &mut Vec<u8>) {
    out.put_u16(image.slot.index());
    out.put_u64(applied.index);
    out.put_u32(applied.term);
    put_place(applied.end, out);
    out.put_u64(image.topics.len() as u64);
}

fn put_place(place: Place, out: &mut Vec<u8>) {
    out.put_u32(place.segment);
    out.put_u32(place.position);
}

fn take_place(bytes: &mut &[u8]) -> Option<Place> {
    Some(Place { segment: bytes.try_get_u32().ok()?, position: bytes.try_get_u32().ok()? })
}

/// Decodes what [`put_group`] wrote: a group without its topics, and the length of these.
fn take_group(bytes: &mut &[u8]) -> Option<(Image, usize)> {
    let slot = SlotId::new(bytes.try_get_u16().ok()?, Slots::MOST)?;
    let (index, term) = (bytes.try_get_u64().ok()?, bytes.try_get_u32().ok()?);
    let end = take_place(bytes)?;
    let len = usize::try_from(bytes.try_get_u64().ok()?).ok()?;
    Some((image_of(slot, LogPosition { index, term, end }), len))
}

/// Returns the image of a group whose topics are still to be read.
const fn image_of(slot: SlotId, applied: LogPosition) -> Image {
    Image { slot, applied, open: None, needed: None, pinned: None, topics: Vec::new() }
}

/// The decoded content of a checkpoint file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The first place in the log where a body may be that the states do not include.
    pub(super) from: Place,
    /// The end of the log when the checkpoint was taken.
    pub(super) mark: Mark,
    /// The states of the groups.
    pub(super) images: Vec<Image>,
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

/// What the first record of a file says about the others: groups without their topics, the lengths of these, and that
/// of the bookkeeping.
struct Contents {
    mark: Mark,
    groups: Vec<(Image, usize)>,
    books: Option<usize>,
}

impl Contents {
    fn decode(mut body: &[u8]) -> Option<Self> {
        let mark = Mark { bodies: body.try_get_u64().ok()?, place: take_place(&mut body)? };
        let books = usize::try_from(body.try_get_u64().ok()?).ok()?;
        let mut groups = Vec::new();
        while !body.is_empty() {
            groups.push(take_group(&mut body)?);
        }
        Some(Self { mark, groups, books: Some(books) })
    }

    /// Decodes the first record of a file of a format that has one group, whose topics are in `slot`.
    fn of_one_group(record: &format::Record, slot: SlotId, end: Place) -> Option<Self> {
        let lens = record.body.chunks_exact(8).map(BigEndian::read_u64);
        let lens: Vec<usize> = lens.map(usize::try_from).collect::<Result<_, _>>().ok()?;
        let Head { index, term, .. } = record.head;
        let (mark, image) = (Mark { place: end, bodies: index }, image_of(slot, LogPosition { index, term, end }));
        Some(Self { mark, groups: vec![(image, *lens.first()?)], books: lens.get(1).copied() })
    }
}

/// Decodes the checkpoint file with the given id. `slot` is that of all topics in a file of a format before 3.
///
/// # Errors
/// Returns a [`Fault`] when the file is damaged or its format is too new.
pub(super) fn decode(bytes: &Bytes, id: CheckpointId, slot: SlotId) -> Result<Checkpoint, Fault> {
    let header = bytes.get(..format::HEADER).ok_or(Fault::Damaged(0))?;
    let segment = BigEndian::read_u32(&header[12..]);
    let version =
        format::check_segment_header(header, segment).map_err(|newer| newer.map_or(Fault::Damaged(0), Fault::Newer))?;
    let mut at = format::HEADER;
    let mut next = || -> Result<format::Record, Fault> {
        let record = record_at(bytes, segment, at).filter(|record| record.head.kind == Kind::Checkpoint);
        let record = record.filter(|record| record.head.index == id.number).ok_or(Fault::Damaged(at as u64))?;
        at = record.end;
        Ok(record)
    };
    let first = next()?;
    let from = Place { segment, position: first.head.synced };
    let contents = if version >= GROUPS_SINCE {
        Contents::decode(&first.body)
    } else {
        Contents::of_one_group(&first, slot, from)
    };
    let malformed = || Fault::Damaged(first.body_at as u64);
    let Contents { mark, groups, books } = contents.ok_or_else(malformed)?;
    let mut part = |len: usize| {
        let mut part = Vec::with_capacity(len.min(bytes.len()));
        while part.len() < len {
            part.extend_from_slice(&next()?.body);
        }
        Ok(part)
    };
    let mut images = Vec::new();
    for (image, len) in groups {
        images.push(Image { topics: part(len)?, ..image });
    }
    let books = match books {
        Some(len) => Some(Books::decode(&part(len)?, (version < GROUPS_SINCE).then_some(slot)).ok_or_else(malformed)?),
        None => None,
    };
    Ok(Checkpoint { from, mark, images, books, version, stamp: format::stamp_of(header) })
}

#[cfg(test)]
mod tests {
    use super::super::bodies::Bodies;
    use super::*;

    fn slot(number: u16) -> SlotId {
        SlotId::new(number, Slots::MOST).unwrap()
    }

    #[test]
    fn a_checkpoint_comes_back_unless_it_is_damaged() {
        let place = Place { segment: 7, position: 4096 };
        let from = Place { segment: 5, position: 64 };
        let mark = Mark { place, bodies: 1234 };
        let id = CheckpointId { number: 55, is_second: false };
        for lens in [vec![], vec![0], vec![1], vec![PART, 0, PART * 2 + 5]] {
            let topics = |len: usize| (0..len).map(|byte| (byte % 251).try_into().unwrap()).collect();
            let image = |(number, len): (u16, usize)| {
                let applied = LogPosition { index: u64::from(number) + 9, term: 3, end: place };
                Image { topics: topics(len), ..image_of(slot(number), applied) }
            };
            let images: Vec<Image> = (0..).step_by(300).zip(lens.iter().copied()).map(image).collect();
            let void = vec![7; 70];
            let spans: [(_, std::iter::Empty<_>); 0] = [];
            let encoded =
                crate::journal::books::encode(&[(3, &void)], spans.into_iter(), std::iter::empty(), &Bodies::default());
            let bytes = Bytes::from(encode((id, Stamp::from_number(9)), (from, mark), &images, &encoded));
            let books = Some(Books { void: [(3, void)].into(), ..Books::default() });
            let (version, stamp) = (format::VERSION, Stamp::from_number(9));
            assert_eq!(decode(&bytes, id, slot(1)), Ok(Checkpoint { from, mark, images, books, version, stamp }));
            let other = CheckpointId { number: 56, ..id };
            assert_eq!(decode(&bytes, other, slot(1)), Err(Fault::Damaged(32)));
            for at in (0..bytes.len()).step_by(if lens.len() > 1 { 65_537 } else { 1 }) {
                let mut bad = bytes.to_vec();
                bad[at] ^= 4;
                let is_padding = decode(&bad.into(), id, slot(1)) == decode(&bytes, id, slot(1));
                assert!(!is_padding || bytes[at] == 0, "byte {at}");
                assert!(decode(&bytes.slice(..at), id, slot(1)).is_err() || at >= bytes.len() - 8);
            }
        }
    }
}
