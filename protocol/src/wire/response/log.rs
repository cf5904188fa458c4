//! The responses to PUBLISH, FETCH, SUBSCRIBE and PRODUCER: records stored and read.

use std::ops::Range;

use byteorder::{BigEndian, ByteOrder};
use bytes::Bytes;

use super::{Durability, count16, durability, topic_id};
use crate::types::{Epoch, Offset, TopicId, crc32_of_parts};
use crate::wire::field::{DecodeError, Observer, Reader, Writer};
use crate::wire::frame::HEADER_BYTES;

/// The response to PRODUCER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedProducer {
    /// The id of the topic that counts the producer's records.
    pub topic_id: TopicId,
    /// The epoch that the producer's batches must carry.
    pub epoch: u32,
    /// The sequence of its next batch in that epoch.
    pub sequence: u64,
    /// Number of records that the producer has stored in all of its epochs.
    pub records: u64,
    /// Number of opened producers that the topic has evicted. When it is not 0, a producer that seems new may have
    /// existed before.
    pub forgotten: u64,
}

/// The acknowledgement of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// True if the batch is a duplicate: an earlier attempt stored it.
    pub duplicate: bool,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The epoch of the topic's log.
    pub epoch: Epoch,
    /// The offset of the first record, or [`OFFSET_FORGOTTEN`] for a duplicate that is too old to be remembered.
    pub base: Offset,
    /// Number of records.
    pub count: u32,
    /// The append time, in microseconds since 1970.
    pub append_us: u64,
    /// The durability that the acknowledgement stands for.
    pub durability: Durability,
}

/// The base offset of a duplicate whose original response is no longer remembered.
pub const OFFSET_FORGOTTEN: Offset = Offset(u64::MAX);

/// Records of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The epoch of the topic's log.
    pub epoch: Epoch,
    /// The offset that was requested. It is below `base` if retention removed the records between.
    pub from: Offset,
    /// The offset of the first record of the payload, or of the next one if there are no records.
    pub base: Offset,
    /// Number of records in the payload; may be 0 at the end of the log.
    pub count: u32,
    /// The log start offset.
    pub first: Offset,
    /// The log end offset.
    pub next: Offset,
    /// The append times of the records, in their order.
    pub runs: Vec<Run>,
    /// The encoded records.
    pub payload: Payload,
}

/// The start of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The epoch of the topic's log.
    pub epoch: Epoch,
    /// The offset of the first record to be sent; if retention has removed it, an EVENT says so.
    pub from: Offset,
    /// The log start offset.
    pub first: Offset,
    /// The log end offset.
    pub next: Offset,
}

/// Consecutive records with one append time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of records.
    pub count: u32,
    /// The append time, in microseconds since 1970.
    pub append_us: u64,
}

/// Encoded records to be sent: shared parts, and their checksum if it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The parts, in order.
    pub parts: Vec<Bytes>,
    /// CRC-32 of all parts together.
    pub crc: Option<u32>,
}

impl Payload {
    /// Returns the size of all parts in bytes.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Returns true if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }

    pub(in crate::wire) fn checksum(&self) -> u32 {
        self.crc.unwrap_or_else(|| crc32_of_parts(self.parts.iter().map(|part| &part[..])))
    }
}

/// Bytes of the args of an acknowledgement, and where two of them are.
pub(super) const PUBLISHED_BYTES: usize = 33;
pub(super) const PUBLISHED_BASE: Range<usize> = 12..20;
pub(super) const PUBLISHED_COUNT: Range<usize> = 20..24;

impl Published {
    pub(super) fn encode(&self, args: &mut Writer<'_>) {
        // This runs for every batch: the fields are assembled first, so that the buffer's capacity is checked once.
        let mut fields = [0; PUBLISHED_BYTES];
        BigEndian::write_u64(&mut fields[0..8], self.topic_id.number());
        BigEndian::write_u32(&mut fields[8..12], self.epoch.0);
        BigEndian::write_u64(&mut fields[PUBLISHED_BASE], self.base.0);
        BigEndian::write_u32(&mut fields[PUBLISHED_COUNT], self.count);
        BigEndian::write_u64(&mut fields[24..32], self.append_us);
        fields[32] = self.durability as u8;
        args.bytes(&fields);
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>, duplicate: bool) -> Result<Self, DecodeError> {
        Ok(Self {
            duplicate,
            topic_id: topic_id(args)?,
            epoch: Epoch(args.u32("epoch")?),
            base: Offset(args.u64("base_offset")?),
            count: args.u32("count")?,
            append_us: args.u64("append_us")?,
            durability: durability(args)?,
        })
    }
}

impl OpenedProducer {
    pub(super) fn encode(&self, args: &mut Writer<'_>) {
        args.u64(self.topic_id.number()).u32(self.epoch).u64(self.sequence).u64(self.records).u64(self.forgotten);
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(args)?,
            epoch: args.u32("producer_epoch")?,
            sequence: args.u64("sequence")?,
            records: args.u64("records")?,
            forgotten: args.u64("forgotten")?,
        })
    }
}

impl Subscribed {
    pub(super) fn encode(&self, args: &mut Writer<'_>) {
        args.u64(self.topic_id.number()).u32(self.epoch.0).u64(self.from.0).u64(self.first.0).u64(self.next.0);
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic_id: topic_id(args)?,
            epoch: Epoch(args.u32("epoch")?),
            from: Offset(args.u64("from")?),
            first: Offset(args.u64("first_offset")?),
            next: Offset(args.u64("next_offset")?),
        })
    }
}

impl Fetched {
    /// Returns the offset after the last record of the payload.
    pub const fn end(&self) -> Offset {
        self.base.plus(self.count as u64)
    }

    /// Sizes of the args without runs, and of each run, in bytes.
    const ARGS_BYTES: usize = 50;
    const RUN_BYTES: usize = 12;

    /// Returns the size of the frame that carries `payload_len` bytes of these records to a client.
    pub const fn frame_len(&self, payload_len: usize) -> usize {
        let runs_len = self.runs.len().saturating_mul(Self::RUN_BYTES);
        (HEADER_BYTES + Self::ARGS_BYTES).saturating_add(runs_len).saturating_add(payload_len)
    }

    pub(in crate::wire) fn encode(&self, args: &mut Writer<'_>) {
        args.u64(self.topic_id.number()).u32(self.epoch.0).u64(self.from.0).u64(self.base.0).u32(self.count);
        args.u64(self.first.0).u64(self.next.0).u16(count16(self.runs.len()));
        self.runs.iter().for_each(|run| {
            args.u32(run.count).u64(run.append_us);
        });
    }

    pub(in crate::wire) fn decode(args: &mut Reader<'_, impl Observer>, payload: &Bytes) -> Result<Self, DecodeError> {
        let mut fetched = Self {
            topic_id: topic_id(args)?,
            epoch: Epoch(args.u32("epoch")?),
            from: Offset(args.u64("from")?),
            base: Offset(args.u64("base_offset")?),
            count: args.u32("count")?,
            first: Offset(args.u64("first_offset")?),
            next: Offset(args.u64("next_offset")?),
            runs: Vec::new(),
            payload: Payload { parts: vec![payload.clone()], crc: None },
        };
        for _ in 0..args.u16("runs")? {
            fetched.runs.push(Run { count: args.u32("run_count")?, append_us: args.u64("run_append_us")? });
        }
        let in_runs: u64 = fetched.runs.iter().map(|run| u64::from(run.count)).sum();
        if in_runs == u64::from(fetched.count) { Ok(fetched) } else { Err(DecodeError::Value { field: "runs" }) }
    }
}
