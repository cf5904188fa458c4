//! The index of a segment, a file beside the segment: where the records of each topic are.
//!
//! ```text
//! header      40 bytes: magic "DHTINDX\n", u32 version, u32 segment, u32 count of entries, u32 position of the
//!             first entry, u32 crc of the entries, u64 stamp (not in format 1), u32 crc of the header before it
//! blocks      at most 128 consecutive batches of one topic; for each batch
//!             varint count, varint len, u32 crc of its payload,
//!             varint deltas of the payload's position and of the append time, relative to the batch before
//! entries     44 bytes for each block, sorted by slot, topic and offset: u32 slot, u64 topic, u64 base, u64 first_us,
//!             u32 records, u32 position, u32 len,
//!             u32 crc of the segment's number, the 40 bytes of the entry before it, and the block
//! ```
//!
//! Before format 3 all topics belonged to one group, and an entry had no slot.
//!
//! A complete index is not held in memory. A record is found by a binary search over the entries in the file, which
//! leads to the block that lists its batch.

use std::collections::HashMap;

use byteorder::{BigEndian, ByteOrder};
use bytes::{Buf, BufMut};
use foldhash::fast::RandomState;

use super::format::{GROUPS_SINCE, VERSION};
use super::stamp::Stamp;
use crate::entry::{Filed, Place, TopicKey, varint};
use crate::limits::INDEX_BLOCK_BATCHES;
use crate::types::{Offset, SlotId, Slots, TopicId, crc32_of_parts};

const MAGIC: &[u8; 8] = b"DHTINDX\n";

/// Size of the header in bytes.
pub(super) const HEADER: usize = 40;

/// Size in bytes of the header in format 1, which has no stamp.
const HEADER_FIRST: usize = 32;

/// Size of an entry in bytes.
pub(super) const ENTRY: usize = 44;

/// Size of the slot in an entry, which was missing before format 3.
const SLOT: usize = 4;

/// The decoded header of an index: number and position of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) entries: usize,
    pub(super) position: usize,
    /// The slot of all topics, if the entries name none.
    only: Option<SlotId>,
    /// Identifies the folder that the index was written for.
    pub(super) stamp: Stamp,
    crc: u32,
}

/// An entry of the index. It describes one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) topic: TopicKey,
    /// The offset of the block's first record; `end` is the offset after its last one.
    pub(super) base: Offset,
    pub(super) end: Offset,
    /// Append time of the block's first batch, in microseconds.
    pub(super) first_us: u64,
    /// The position of the block in the file, and its size in bytes.
    pub(super) position: u32,
    pub(super) len: u32,
}

/// The in-memory index of a segment that is still being written. The batches of each topic are stored in the encoding
/// of the file, which takes a quarter of the memory that decoded batches would take.
#[derive(Debug, Default)]
pub(super) struct Index {
    topics: HashMap<TopicKey, Batches, RandomState>,
}

/// The encoded batches of a topic.
#[derive(Debug, Default)]
struct Batches {
    blocks: Vec<Block>,
    bytes: Vec<u8>,
    /// Payload position and append time of the last batch, which the next batch is encoded relative to.
    position: u64,
    append_us: u64,
}

#[derive(Debug)]
struct Block {
    base: Offset,
    end: Offset,
    first_us: u64,
    /// The position in [`Batches::bytes`] where the block begins, and the number of its batches.
    at: u32,
    batches: usize,
}

impl Index {
    /// Returns true when the index lists no batches.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Adds a batch. The batches of a topic must be added in the order of their offsets.
    pub(super) fn add(&mut self, filed: &Filed) {
        let batches = self.topics.entry(filed.topic).or_default();
        let is_behind = |last: &Block| last.end <= filed.base;
        assert!(batches.blocks.last().is_none_or(is_behind), "batches of a topic are added in offset order");
        let continues = |last: &&mut Block| last.end == filed.base && last.batches < INDEX_BLOCK_BATCHES;
        match batches.blocks.last_mut().filter(continues) {
            Some(last) => (last.end, last.batches) = (filed.end(), last.batches + 1),
            None => {
                let at = u32::try_from(batches.bytes.len()).expect("smaller than its segment");
                let (base, end, first_us) = (filed.base, filed.end(), filed.append_us);
                batches.blocks.push(Block { base, end, first_us, at, batches: 1 });
                (batches.position, batches.append_us) = (0, first_us);
            }
        }
        let out = &mut batches.bytes;
        varint::put(out, filed.count.into());
        varint::put(out, filed.len.into());
        out.put_u32(filed.crc);
        varint::put_delta(out, batches.position, filed.place.position.into());
        varint::put_delta(out, batches.append_us, filed.append_us);
        (batches.position, batches.append_us) = (filed.place.position.into(), filed.append_us);
    }

    /// Returns the number of blocks of a topic.
    pub(super) fn blocks(&self, topic: TopicKey) -> usize {
        self.topics.get(&topic).map_or(0, |batches| batches.blocks.len())
    }

    /// Returns a block of a topic: its entry, with a position relative to [`Batches::bytes`], and its bytes.
    pub(super) fn block(&self, topic: TopicKey, index: usize) -> (Entry, &[u8]) {
        let batches = &self.topics[&topic];
        let block = &batches.blocks[index];
        let end = batches.blocks.get(index + 1).map_or(batches.bytes.len(), |next| next.at as usize);
        let bytes = &batches.bytes[block.at as usize..end];
        let len = u32::try_from(bytes.len()).expect("smaller than its segment");
        let Block { base, end, first_us, at, .. } = *block;
        (Entry { topic, base, end, first_us, position: at, len }, bytes)
    }

    /// Encodes the index file of a segment.
    pub(super) fn encode(&self, stamp: Stamp, segment: u32) -> Vec<u8> {
        let mut topics: Vec<TopicKey> = self.topics.keys().copied().collect();
        topics.sort_unstable();
        let (mut out, mut entries) = (vec![0; HEADER], Vec::new());
        for topic in topics {
            for index in 0..self.blocks(topic) {
                let (entry, block) = self.block(topic, index);
                let position = u32::try_from(out.len()).expect("smaller than its segment");
                out.extend_from_slice(block);
                Entry { position, ..entry }.encode(segment, block, &mut entries);
            }
        }
        let number = |len: usize| u32::try_from(len).expect("smaller than its segment");
        out[..8].copy_from_slice(MAGIC);
        BigEndian::write_u32(&mut out[8..], VERSION);
        BigEndian::write_u32(&mut out[12..], segment);
        BigEndian::write_u32(&mut out[16..], number(entries.len() / ENTRY));
        let position = number(out.len());
        BigEndian::write_u32(&mut out[20..], position);
        BigEndian::write_u32(&mut out[24..], crc32_of_parts([&entries[..]]));
        BigEndian::write_u64(&mut out[28..], stamp.number());
        let crc = crc32_of_parts([&out[..36]]);
        BigEndian::write_u32(&mut out[36..], crc);
        out.extend_from_slice(&entries);
        out
    }
}

impl Directory {
    /// Decodes the header at the beginning of `bytes`; returns `None` when it is damaged or belongs to another segment.
    /// `slot` is that of all topics if the file is of a format before 3.
    pub(super) fn decode(segment: u32, bytes: &[u8], slot: SlotId) -> Option<Self> {
        let version = BigEndian::read_u32(bytes.get(8..12)?);
        let is_first = version == 1;
        let header = bytes.get(..if is_first { HEADER_FIRST } else { HEADER })?;
        let (fields, crc) = header.split_at(header.len() - 4);
        let number = |at: usize| BigEndian::read_u32(&fields[at..]);
        let stamp = if is_first { Stamp::NONE } else { Stamp::from_number(BigEndian::read_u64(&fields[28..])) };
        let (entries, position) = (number(16) as usize, number(20) as usize);
        let is_sound =
            header[..8] == MAGIC[..] && number(12) == segment && BigEndian::read_u32(crc) == crc32_of_parts([fields]);
        let only = (version < GROUPS_SINCE).then_some(slot);
        is_sound.then(|| Self { entries, position, only, stamp, crc: number(24) })
    }

    /// Returns the size of an entry in bytes.
    pub(super) const fn entry_len(&self) -> usize {
        if self.only.is_some() { ENTRY - SLOT } else { ENTRY }
    }

    /// Decodes all entries of a file; returns `None` when they are damaged.
    pub(super) fn entries(&self, bytes: &[u8]) -> Option<Vec<Entry>> {
        let is_whole = bytes.len() == self.entries * self.entry_len() && self.crc == crc32_of_parts([bytes]);
        let entries = bytes.chunks_exact(self.entry_len()).map(|entry| self.entry(entry));
        if is_whole { entries.collect() } else { None }
    }

    /// Decodes an entry. Its checksum is not verified here, since it also covers the block: see [`Entry::is_sound`].
    pub(super) fn entry(&self, mut bytes: &[u8]) -> Option<Entry> {
        let slot = match self.only {
            Some(slot) => slot,
            None => SlotId::new(bytes.try_get_u32().ok()?.try_into().ok()?, Slots::MOST)?,
        };
        Entry::decode(slot, bytes)
    }
}

impl Entry {
    fn encode(&self, segment: u32, block: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(self.topic.slot.index().into());
        out.put_u64(self.topic.id.number());
        out.put_u64(self.base.0);
        out.put_u64(self.first_us);
        out.put_u32(u32::try_from(self.end.0 - self.base.0).expect("fewer than bytes"));
        out.put_u32(self.position);
        out.put_u32(self.len);
        let crc = crc32_of_parts([&segment.to_be_bytes(), &out[start..], block]);
        out.put_u32(crc);
    }

    /// Decodes an entry without its slot.
    fn decode(slot: SlotId, mut bytes: &[u8]) -> Option<Self> {
        let topic = TopicKey { slot, id: TopicId::new(bytes.try_get_u64().ok()?)? };
        let (base, first_us) = (Offset(bytes.try_get_u64().ok()?), bytes.try_get_u64().ok()?);
        let end = Offset(base.0.checked_add(bytes.try_get_u32().ok()?.into())?);
        Some(Self { topic, base, end, first_us, position: bytes.try_get_u32().ok()?, len: bytes.try_get_u32().ok()? })
    }

    /// Returns true when the checksum over the encoded entry and its block is correct.
    pub(super) fn is_sound(segment: u32, entry: &[u8], block: &[u8]) -> bool {
        let (entry, crc) = entry.split_at(entry.len() - 4);
        BigEndian::read_u32(crc) == crc32_of_parts([&segment.to_be_bytes(), entry, block])
    }

    /// Decodes the batches of the entry's block; returns `None` when the block is malformed or does not fit the entry.
    pub(super) fn batches(&self, segment: u32, mut block: &[u8]) -> Option<Vec<Filed>> {
        let (mut base, mut position, mut append_us) = (self.base, 0, self.first_us);
        let mut filed = Vec::new();
        while block.has_remaining() {
            let count = u32::try_from(varint::take(&mut block)?).ok().filter(|count| *count > 0)?;
            let len = u32::try_from(varint::take(&mut block)?).ok()?;
            let crc = block.try_get_u32().ok()?;
            position = varint::take_delta(&mut block, position)?;
            append_us = varint::take_delta(&mut block, append_us)?;
            let place = Place { segment, position: u32::try_from(position).ok()? };
            // Readers of the batch compute the sum of its position and its length, which must not overflow.
            place.position.checked_add(len)?;
            filed.push(Filed { topic: self.topic, base, count, len, crc, place, append_us });
            base = Offset(base.0.checked_add(count.into())?);
        }
        (base == self.end).then_some(filed)
    }
}

/// Decodes all batches of an index file; returns `None` when the file is damaged. `slot` is that of all topics if the
/// file is of a format before 3.
pub(super) fn decode(segment: u32, bytes: &[u8], slot: SlotId) -> Option<Vec<Filed>> {
    let directory = Directory::decode(segment, bytes, slot)?;
    let entries = bytes.get(directory.position..)?;
    let mut filed = Vec::new();
    for (entry, raw) in directory.entries(entries)?.iter().zip(entries.chunks_exact(directory.entry_len())) {
        let block = bytes.get(entry.position as usize..entry.position.checked_add(entry.len)? as usize)?;
        filed.extend(entry.batches(segment, block).filter(|_| Entry::is_sound(segment, raw, block))?);
    }
    Some(filed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: SlotId = SlotId::from_low_bits(0, Slots::MOST);

    /// Returns a topic in a slot of its own.
    fn key(id: u64) -> TopicKey {
        TopicKey {
            slot: SlotId::from_low_bits(100 - u32::try_from(id).unwrap(), Slots::MOST),
            id: TopicId::new(id).unwrap(),
        }
    }

    fn filed(topic: u64, base: u64, count: u32, position: u32, append_us: u64) -> Filed {
        let place = Place { segment: 3, position };
        let (topic, base) = (key(topic), Offset(base));
        Filed { topic, base, count, len: 67 * count, crc: position ^ count, place, append_us }
    }

    fn encode(batches: &[Filed]) -> Vec<u8> {
        let mut index = Index::default();
        batches.iter().for_each(|batch| index.add(batch));
        assert_eq!(index.is_empty(), batches.is_empty());
        index.encode(Stamp::NONE, 3)
    }

    #[test]
    fn an_index_comes_back_by_slot_topic_and_offset() {
        let batches = [
            filed(9, 0, 5, 100, 10),
            filed(2, 1 << 60, 3, u32::MAX - 201, u64::MAX),
            filed(9, 5, 1, 800, 20),
            filed(9, 70, 2, 40, 5),
        ];
        let bytes = encode(&batches);
        assert_eq!(decode(3, &bytes, SLOT).unwrap(), [0, 2, 3, 1].map(|at: usize| batches[at]));
        assert_eq!(decode(4, &bytes, SLOT), None);
        assert_eq!(decode(3, &encode(&[]), SLOT), Some(Vec::new()));
    }

    #[test]
    fn blocks_are_short_and_have_no_holes() {
        let mut index = Index::default();
        let topic = key(9);
        for base in (0..1000).filter(|base| *base != 300) {
            index.add(&filed(9, base, 1, u32::try_from(base).unwrap() * 80, base));
        }
        let blocks: Vec<(u64, u64)> =
            (0..index.blocks(topic)).map(|at| index.block(topic, at).0).map(|it| (it.base.0, it.end.0)).collect();
        assert_eq!(blocks[..4], [(0, 128), (128, 256), (256, 300), (301, 429)]);
        assert_eq!(decode(3, &index.encode(Stamp::NONE, 3), SLOT).unwrap().len(), 999);
    }

    #[test]
    fn a_damaged_index_is_none() {
        let bytes = encode(&[filed(9, 5, 1, 800, 20), filed(8, 0, 5, 100, 10)]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(3, &bad, SLOT).is_none(), "bit {bit}");
            assert!(decode(3, &bytes[..bit / 8], SLOT).is_none());
        }
    }

    #[test]
    fn an_index_of_batches_that_no_segment_can_hold_is_none() {
        let sound = filed(9, 5, 1, 800, 20);
        for (bad, is_none) in [
            (sound, false),
            (Filed { count: 0, ..sound }, true),
            (Filed { len: u32::MAX - 800, ..sound }, false),
            (Filed { len: u32::MAX - 799, ..sound }, true),
            (Filed { base: Offset(u64::MAX), ..sound }, true),
        ] {
            let mut index = Index::default();
            index.add(&bad);
            let block = index.block(bad.topic, 0);
            assert_eq!(block.0.batches(3, block.1).is_none(), is_none, "{bad:?}");
        }
    }

    #[test]
    fn single_records_cost_ten_bytes_each() {
        let batches: Vec<Filed> =
            (0..10_000).map(|base| filed(9, base.into(), 1, 200 + base * 79, 1_700_000_000_000_000)).collect();
        assert!(encode(&batches).len() < 105_000);
    }
}
