//! The bookkeeping that a checkpoint stores about the segments before it: which segments hold records of which topics,
//! and which batches in them are *void*. A void batch is in the log, but its records were not stored when its entry was
//! applied, for example because the batch is a duplicate. Lost indexes can be rebuilt from this bookkeeping and the
//! segments.
//!
//! ```text
//! varint count of segments with void batches, for each: varint segment, varint count,
//!                                                       for each void batch: varint delta of its position
//! varint count of topics, for each: varint slot (not before format 3), u64 id, varint count of spans,
//!                                   for each: varint deltas of segment and end offset, varint payload bytes
//! varint count of segments, for each: varint segment, varint bytes of all payloads ever written to it
//! since format 3: varint count of segments with bodies, for each: varint segment, varint count of groups,
//!                                   for each: varint slot, varint position of the first body, varint delta of that of
//!                                             the last one, varint count of bodies that have replaced others before
//!                                             them in the segment, for each: varint deltas of its position in the
//!                                             segment and of that in the group's log;
//!                  varint count of groups whose state was copied from another node, for each: varint slot, varint
//!                                             position of the first body of its log in this journal
//! ```
//!
//! A delta is relative to the preceding element of the same list; the first is relative to 0.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};

use super::bodies::{self, Bodies, Extents};
use crate::entry::{TopicKey, varint};
use crate::types::{Offset, SlotId, Slots, TopicId};

/// The journal's bookkeeping, as a checkpoint stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    /// For each topic with records, its spans in the order of their offsets: segment, end offset (exclusive), and bytes
    /// of payload.
    pub(super) spans: BTreeMap<TopicKey, Vec<(u32, Offset, u32)>>,
    /// For each segment whose void batches are known, the positions of their payloads in the file, ascending.
    pub(super) void: BTreeMap<u32, Vec<u32>>,
    /// For each segment, the bytes of all payloads ever written to it, including those trimmed since.
    pub(super) totals: BTreeMap<u32, u64>,
    /// The bodies of each segment of the log. Empty before format 3.
    pub(super) bodies: BTreeMap<u32, Extents>,
    /// For each group whose state was copied from another node, the index of the first body of its log in this journal.
    pub(super) begins: BTreeMap<SlotId, u64>,
}

/// Encodes the bookkeeping straight from iterators, so that no intermediate [`Books`] has to be built.
pub(super) fn encode<S: ExactSizeIterator<Item = (u32, Offset, u32)>>(
    void: &[(u32, &[u32])],
    spans: impl ExactSizeIterator<Item = (TopicKey, S)>,
    totals: impl ExactSizeIterator<Item = (u32, u64)>,
    bodies: &Bodies,
) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, void.len() as u64);
    for (segment, positions) in void {
        varint::put(&mut out, (*segment).into());
        varint::put(&mut out, positions.len() as u64);
        let mut before = 0;
        for position in *positions {
            varint::put_delta(&mut out, before, (*position).into());
            before = (*position).into();
        }
    }
    varint::put(&mut out, spans.len() as u64);
    for (topic, spans) in spans {
        varint::put(&mut out, topic.slot.index().into());
        out.put_u64(topic.id.number());
        varint::put(&mut out, spans.len() as u64);
        let mut before = (0, 0);
        for (segment, end, bytes) in spans {
            varint::put_delta(&mut out, before.0, segment.into());
            varint::put_delta(&mut out, before.1, end.0);
            varint::put(&mut out, bytes.into());
            before = (segment.into(), end.0);
        }
    }
    varint::put(&mut out, totals.len() as u64);
    for (segment, bytes) in totals {
        varint::put(&mut out, segment.into());
        varint::put(&mut out, bytes);
    }
    bodies.encode(&mut out);
    bodies.encode_begins(&mut out);
    out
}

impl Books {
    /// Decodes what [`encode`] wrote; returns `None` when the bytes are malformed. `only` is the slot of all topics if
    /// the bytes name none.
    pub(super) fn decode(mut bytes: &[u8], only: Option<SlotId>) -> Option<Self> {
        let (mut books, bytes) = (Self::default(), &mut bytes);
        for _ in 0..varint::take(bytes)? {
            let segment = u32::try_from(varint::take(bytes)?).ok()?;
            let (mut positions, mut before) = (Vec::new(), 0);
            for _ in 0..varint::take(bytes)? {
                before = varint::take_delta(bytes, before)?;
                positions.push(u32::try_from(before).ok()?);
            }
            books.void.insert(segment, positions);
        }
        for _ in 0..varint::take(bytes)? {
            let slot = match only {
                Some(slot) => slot,
                None => SlotId::new(varint::take(bytes)?.try_into().ok()?, Slots::MOST)?,
            };
            let topic = TopicKey { slot, id: TopicId::new(bytes.try_get_u64().ok()?)? };
            let (mut spans, mut before) = (Vec::new(), (0, 0));
            for _ in 0..varint::take(bytes)? {
                before = (varint::take_delta(bytes, before.0)?, varint::take_delta(bytes, before.1)?);
                let payload = u32::try_from(varint::take(bytes)?).ok()?;
                spans.push((u32::try_from(before.0).ok()?, Offset(before.1), payload));
            }
            books.spans.insert(topic, spans);
        }
        for _ in 0..varint::take(bytes)? {
            let segment = u32::try_from(varint::take(bytes)?).ok()?;
            books.totals.insert(segment, varint::take(bytes)?);
        }
        if only.is_none() {
            books.bodies = bodies::decode(bytes)?;
            books.begins = bodies::decode_begins(bytes)?;
        }
        bytes.is_empty().then_some(books)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_come_back_whole_or_not_at_all() {
        let slot = |number| SlotId::new(number, Slots::MOST).unwrap();
        let topic = |number, id| TopicKey { slot: slot(number), id: TopicId::new(id).unwrap() };
        let books = Books {
            spans: [
                (topic(3, 9), vec![(3, Offset(10), 70), (8, Offset(500), 0), (7, Offset(1 << 40), u32::MAX)]),
                (topic(700, 1 << 63), vec![]),
            ]
            .into(),
            void: [(3, vec![64, 1 << 20, u32::MAX]), (9, vec![0])].into(),
            totals: [(3, 1 << 40), (8, 0)].into(),
            bodies: bodies::tests::some(),
            begins: [(slot(3), 5), (slot(900), 1 << 60)].into(),
        };
        for books in [books, Books::default()] {
            let void: Vec<(u32, &[u32])> = books.void.iter().map(|(segment, at)| (*segment, &at[..])).collect();
            let spans = books.spans.iter().map(|(topic, spans)| (*topic, spans.iter().copied()));
            let mut bodies = Bodies::default();
            books.bodies.iter().for_each(|(segment, extents)| bodies.set(*segment, extents.clone()));
            books.begins.iter().for_each(|(slot, begin)| bodies.set_begin(*slot, Some(*begin)));
            let bytes = encode(&void, spans, books.totals.clone().into_iter(), &bodies);
            assert_eq!(Books::decode(&bytes, None), Some(books));
            (0..bytes.len()).for_each(|cut| assert_eq!(Books::decode(&bytes[..cut], None), None, "cut at {cut}"));
        }
    }
}
