//! The index of a segment, a file beside it: where the records of each topic are.
//!
//! ```text
//! header   magic "DHTINDX\n", u32 version, u32 segment, u32 body_len, u32 crc of the header before it and the body
//! body     for each topic, ascending: u64 topic, varint batches, then for each batch
//!          varint records left out since the batch before, varint count, varint len, u32 crc of its payload,
//!          how far its payload and its time lie from those of the batch before
//! ```

use std::collections::HashMap;

use byteorder::{BigEndian, ByteOrder};
use bytes::{Buf, BufMut};
use foldhash::fast::RandomState;

use super::format::VERSION;
use crate::record::{Filed, Place, varint};
use crate::types::{Offset, TopicId, crc32_of_parts};

const MAGIC: &[u8; 8] = b"DHTINDX\n";
const HEADER: usize = 24;

/// The index of a segment while that grows: the batches of each topic are kept as the file will have them, which takes
/// a quarter of what they would take as they are.
#[derive(Debug, Default)]
pub(super) struct Index {
    topics: HashMap<TopicId, Batches, RandomState>,
}

/// The batches of a topic.
#[derive(Debug, Default)]
struct Batches {
    count: u64,
    /// Of the last one.
    end: u64,
    position: u64,
    append_us: u64,
    bytes: Vec<u8>,
}

impl Index {
    /// Is there nothing in it?
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Adds a batch; those of a topic come in the order of their offsets.
    pub(super) fn add(&mut self, filed: &Filed) {
        let batches = self.topics.entry(filed.topic).or_default();
        assert!(filed.base.0 >= batches.end, "batches of a topic come in their order");
        let out = &mut batches.bytes;
        varint::put(out, filed.base.0 - batches.end);
        varint::put(out, filed.count.into());
        varint::put(out, filed.len.into());
        out.put_u32(filed.crc);
        varint::put_delta(out, batches.position, filed.place.position.into());
        varint::put_delta(out, batches.append_us, filed.append_us);
        batches.count += 1;
        (batches.end, batches.position) = (filed.end().0, filed.place.position.into());
        batches.append_us = filed.append_us;
    }

    /// The file.
    pub(super) fn encode(&self, segment: u32) -> Vec<u8> {
        let mut topics: Vec<(&TopicId, &Batches)> = self.topics.iter().collect();
        topics.sort_unstable_by_key(|(topic, _)| **topic);
        let mut out = vec![0; HEADER];
        for (topic, batches) in topics {
            out.put_u64(topic.number());
            varint::put(&mut out, batches.count);
            out.extend_from_slice(&batches.bytes);
        }
        out[..8].copy_from_slice(MAGIC);
        BigEndian::write_u32(&mut out[8..], VERSION);
        BigEndian::write_u32(&mut out[12..], segment);
        let body_len = u32::try_from(out.len() - HEADER).expect("smaller than its segment");
        BigEndian::write_u32(&mut out[16..], body_len);
        let crc = crc32_of_parts([&out[..20], &out[HEADER..]]);
        BigEndian::write_u32(&mut out[20..], crc);
        out
    }
}

/// What such a file says; `None` when it is damaged.
pub(super) fn decode(segment: u32, bytes: &[u8]) -> Option<Vec<Filed>> {
    let header = bytes.get(..HEADER)?;
    let body = &bytes[HEADER..];
    let is_whole = header[..8] == MAGIC[..]
        && BigEndian::read_u32(&header[12..]) == segment
        && BigEndian::read_u32(&header[16..]) as usize == body.len()
        && BigEndian::read_u32(&header[20..]) == crc32_of_parts([&header[..20], body]);
    if !is_whole {
        return None;
    }
    let (mut rest, mut filed) = (body, Vec::new());
    while rest.has_remaining() {
        let topic = TopicId::new(rest.try_get_u64().ok()?)?;
        let (mut end, mut position, mut append_us) = (0_u64, 0, 0);
        for _ in 0..varint::take(&mut rest)? {
            let base = end.checked_add(varint::take(&mut rest)?)?;
            let count = u32::try_from(varint::take(&mut rest)?).ok()?;
            let len = u32::try_from(varint::take(&mut rest)?).ok()?;
            let crc = rest.try_get_u32().ok()?;
            position = varint::take_delta(&mut rest, position)?;
            append_us = varint::take_delta(&mut rest, append_us)?;
            end = base.checked_add(count.into())?;
            let place = Place { segment, position: u32::try_from(position).ok()? };
            filed.push(Filed { topic, base: Offset(base), count, len, crc, place, append_us });
        }
    }
    Some(filed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filed(topic: u64, base: u64, count: u32, position: u32, append_us: u64) -> Filed {
        let place = Place { segment: 3, position };
        let (topic, base) = (TopicId::new(topic).unwrap(), Offset(base));
        Filed { topic, base, count, len: 67 * count, crc: position ^ count, place, append_us }
    }

    fn encode(batches: &[Filed]) -> Vec<u8> {
        let mut index = Index::default();
        batches.iter().for_each(|batch| index.add(batch));
        assert_eq!(index.is_empty(), batches.is_empty());
        index.encode(3)
    }

    #[test]
    fn an_index_comes_back_by_topic_and_offset() {
        let batches = [
            filed(9, 0, 5, 100, 10),
            filed(2, 1 << 60, 3, u32::MAX, u64::MAX),
            filed(9, 5, 1, 800, 20),
            filed(9, 70, 2, 40, 5),
        ];
        let bytes = encode(&batches);
        assert_eq!(decode(3, &bytes).unwrap(), [1, 0, 2, 3].map(|at: usize| batches[at]));
        assert_eq!(decode(4, &bytes), None);
        assert_eq!(decode(3, &encode(&[])), Some(Vec::new()));
    }

    #[test]
    fn a_damaged_index_is_none() {
        let bytes = encode(&[filed(9, 5, 1, 800, 20), filed(8, 0, 5, 100, 10)]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(3, &bad).is_none(), "bit {bit}");
            assert!(decode(3, &bytes[..bit / 8]).is_none());
        }
    }

    #[test]
    fn single_records_cost_ten_bytes_each() {
        let batches: Vec<Filed> =
            (0..10_000).map(|base| filed(9, base.into(), 1, 200 + base * 79, 1_700_000_000_000_000)).collect();
        assert!(encode(&batches).len() < 105_000);
    }
}
