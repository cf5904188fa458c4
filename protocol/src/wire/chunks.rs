//! CHUNKS: parts of the state of a replica group, which a member copies from its leader. Clients never see it.
//!
//! The state is that of the topics without their records. Its parts are asked for by their position, the records of its
//! topics by their offsets. A member asks only for records that it does not have.

use super::field::{DecodeError, Observer, Reader, Writer};
use super::response::Payload;
use crate::limits::CHUNK_BATCHES_MAX;
use crate::types::TopicId;

use bytes::Bytes;

/// The args of CHUNKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// The slot of the group.
    pub slot: u16,
    /// The index of the last entry in the state that is being copied; 0 for whichever state the leader has.
    pub index: u64,
    /// The topic whose records are wanted; `None` for a part of the state.
    pub topic: Option<TopicId>,
    /// The offset of the first wanted record, or the position of the first wanted byte of the state.
    pub from: u64,
}

/// The response to CHUNKS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The slot of the group.
    pub slot: u16,
    /// The index of the last entry in the state that the leader serves. If it differs from that of the request, a part
    /// of the state is the first part of another state, with which the copy begins again.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The number of bytes of the state.
    pub length: u64,
    /// The offset of the first record of the payload, or the position of its first byte. If it is higher than the
    /// wanted offset, the records between them have been removed.
    pub from: u64,
    /// The number of batches in the payload; 0 if that is a part of the state, or empty.
    pub batches: u16,
    /// The batches, or a part of the state.
    pub payload: Payload,
}

/// Records that were appended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkBatch {
    /// The number of records.
    pub count: u32,
    /// The append time, in microseconds since 1970.
    pub append_us: u64,
    /// The encoded records.
    pub records: Bytes,
}

impl Chunks {
    pub(super) fn encode<'w, 'b>(&self, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        args.u16(self.slot).u64(self.index).u64(self.topic.map_or(0, TopicId::number)).u64(self.from)
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        Ok(Self {
            slot: args.u16("slot")?,
            index: args.u64("index")?,
            topic: TopicId::new(args.u64("topic_id")?),
            from: args.u64("from")?,
        })
    }
}

impl Chunk {
    pub(super) fn encode(&self, args: &mut Writer<'_>) {
        args.u16(self.slot).u64(self.index).u64(self.term).u64(self.length).u64(self.from).u16(self.batches);
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>, payload: &Bytes) -> Result<Self, DecodeError> {
        let chunk = Self {
            slot: args.u16("slot")?,
            index: args.u64("index")?,
            term: args.u64("term")?,
            length: args.u64("length")?,
            from: args.u64("from")?,
            batches: args.u16("batches")?,
            payload: Payload { parts: vec![payload.clone()], crc: None },
        };
        if chunk.batches > 0 {
            ChunkBatch::read_all(args.nested(payload), payload, chunk.batches)?;
        }
        Ok(chunk)
    }
}

impl ChunkBatch {
    /// Appends the encoded batch to a payload.
    ///
    /// # Panics
    /// The records have 4 GiB or more.
    pub fn encode(&self, payload: &mut Writer<'_>) {
        let length = u32::try_from(self.records.len()).expect("a batch fits into a frame");
        payload.u32(self.count).u32(length).u64(self.append_us).bytes(&self.records);
    }

    /// Decodes a payload of exactly `count` batches. Their records are slices of it.
    ///
    /// # Errors
    /// Returns a [`DecodeError`] if the payload is malformed, or if there are more than [`CHUNK_BATCHES_MAX`] batches.
    pub fn decode_all(payload: &Bytes, count: u16) -> Result<Vec<Self>, DecodeError> {
        Self::read_all(Reader::new(payload), payload, count)
    }

    fn read_all(mut rest: Reader<'_, impl Observer>, payload: &Bytes, count: u16) -> Result<Vec<Self>, DecodeError> {
        if usize::from(count) > CHUNK_BATCHES_MAX {
            return Err(DecodeError::Value { field: "batches" });
        }
        let mut batches = Vec::new();
        for _ in 0..count {
            let (count, length, append_us) =
                (rest.u32("batch_count")?, rest.u32("batch_length")?, rest.u64("batch_append_us")?);
            let length = usize::try_from(length).map_err(|_| DecodeError::Short { field: "records" })?;
            let records = payload.slice_ref(rest.bytes(length, "records")?);
            batches.push(Self { count, append_us, records });
        }
        if rest.is_at_end() { Ok(batches) } else { Err(DecodeError::Payload) }
    }
}
