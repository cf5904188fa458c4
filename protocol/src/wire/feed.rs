//! FEED and HEADS: the messages between nodes about subscriptions. Clients never see them.
//!
//! The payload of both is a list of items, so that one frame covers many topics.

use super::field::{DecodeError, Observer, Reader, Writer};
use crate::limits::{FEED_ITEMS_MAX, HEADS_ITEMS_MAX};
use crate::types::{Epoch, Offset, TopicId, TopicName};

/// The complete state of an ingress's interest in a topic. It is idempotent, so a duplicate or late item does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedItem<'a> {
    /// The topic's id.
    pub topic: TopicId,
    /// The epoch of the log that the ingress follows.
    pub epoch: Epoch,
    /// True if the home should push new records. If not, the ingress asks for pushes again when a reader has caught up.
    pub push: bool,
    /// Number of readers at the ingress; 0 ends the feed.
    pub subscribers: u32,
    /// The cursor of the slowest reader; `None` when all are at the log end offset.
    pub slowest: Option<Offset>,
    /// The topic's name, by which the home recognises a re-created topic; may be absent when there are no readers.
    pub name: Option<TopicName<'a>>,
}

/// The home's response to FEED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FedList {
    /// The slot of the request.
    pub slot: u16,
    /// The term in which the home leads the slot.
    pub term: u64,
    /// The home's instance.
    pub instance: u64,
    /// Counter of the last HEADS sent to this ingress; 0 if there was none.
    pub counter: u64,
    /// The answers, in the order of the request's items.
    pub items: Vec<Fed>,
}

/// The home's answer to a [`FeedItem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// The topic of the item.
    pub topic: TopicId,
    /// OK, or the reason why there is no such feed: UNKNOWN_TOPIC, RECREATED or TRUNCATED.
    pub status: u8,
    /// The epoch of the topic's log; 0 if there is no topic.
    pub epoch: Epoch,
    /// The topic's log end offset.
    pub next: Offset,
    /// The topic that has the name now, if the topic was re-created.
    pub successor: Option<TopicId>,
}

/// The args of HEADS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The slot of the topics. Any number can be decoded: only the node knows how many slots its cube has.
    pub slot: u16,
    /// The term in which the home leads the slot.
    pub term: u64,
    /// The home's instance.
    pub instance: u64,
    /// Number of this HEADS: it increases by 1 with each HEADS of this instance about the slot to the same ingress.
    pub counter: u64,
    /// Number of the ingress's feeds of topics of the slot that the home knows.
    pub feeds: u32,
    /// Exclusive or of the ids of the topics that are pushed to it.
    pub digest: u64,
    /// Number of items.
    pub count: u16,
}

/// The log end offset of a topic with pushes since the last HEADS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The topic's id.
    pub topic: TopicId,
    /// The epoch of the topic's log; 0 if the topic was deleted.
    pub epoch: Epoch,
    /// The log end offset.
    pub next: Offset,
}

impl<'a> FeedItem<'a> {
    /// Size of an item without its name, in bytes.
    pub const BYTES: usize = 26;

    /// Encodes the item.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.u64(self.topic.number()).u32(self.epoch.0).u8(u8::from(self.push)).u32(self.subscribers);
        out.u64(self.slowest.map_or(u64::MAX, |offset| offset.0)).str8(self.name.map_or("", TopicName::as_str));
    }

    fn decode(input: &mut Reader<'a, impl Observer>) -> Result<Self, DecodeError> {
        let topic = topic_id(input)?;
        let epoch = Epoch(input.u32("epoch")?);
        let push = input.bool("push")?;
        let subscribers = input.u32("subscribers")?;
        let slowest = match input.u64("slowest")? {
            u64::MAX => None,
            offset => Some(Offset(offset)),
        };
        let name = match input.str8("topic")? {
            "" if subscribers == 0 => None,
            name => Some(TopicName::new(name)?),
        };
        Ok(Self { topic, epoch, push, subscribers, slowest, name })
    }

    /// Decodes the payload of FEED.
    ///
    /// # Errors
    /// Returns a [`DecodeError`], which names the field. More than [`FEED_ITEMS_MAX`] items are refused, because the
    /// response has a longer item for each of them and must itself fit a frame.
    pub fn decode_all(payload: &'a [u8], count: u16) -> Result<Vec<Self>, DecodeError> {
        Self::read_all(Reader::new(payload), count)
    }

    pub(super) fn read_all(payload: Reader<'a, impl Observer>, count: u16) -> Result<Vec<Self>, DecodeError> {
        items(payload, (count, FEED_ITEMS_MAX), Self::decode)
    }
}

impl Fed {
    /// Encodes the item.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.u64(self.topic.number()).u8(self.status).u32(self.epoch.0).u64(self.next.0);
        out.u64(self.successor.map_or(0, TopicId::number));
    }

    fn decode(input: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: topic_id(input)?,
            status: input.u8("status")?,
            epoch: Epoch(input.u32("epoch")?),
            next: Offset(input.u64("next_offset")?),
            successor: TopicId::new(input.u64("successor")?),
        })
    }
}

impl FedList {
    pub(super) fn encode(&self, args: &mut Writer<'_>) {
        let count = u16::try_from(self.items.len()).expect("as many as in the request");
        args.u16(self.slot).u64(self.term).u64(self.instance).u64(self.counter).u16(count);
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>, payload: &[u8]) -> Result<Self, DecodeError> {
        let (slot, term) = (args.u16("slot")?, args.u64("term")?);
        let (instance, counter, count) = (args.u64("instance")?, args.u64("counter")?, args.u16("count")?);
        Ok(Self {
            slot,
            term,
            instance,
            counter,
            items: items(args.nested(payload), (count, FEED_ITEMS_MAX), Fed::decode)?,
        })
    }
}

impl Heads {
    pub(super) fn encode<'w, 'b>(&self, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        args.u16(self.slot)
            .u64(self.term)
            .u64(self.instance)
            .u64(self.counter)
            .u32(self.feeds)
            .u64(self.digest)
            .u16(self.count)
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        Ok(Self {
            slot: args.u16("slot")?,
            term: args.u64("term")?,
            instance: args.u64("instance")?,
            counter: args.u64("counter")?,
            feeds: args.u32("feeds")?,
            digest: args.u64("digest")?,
            count: args.u16("count")?,
        })
    }
}

impl Head {
    /// Encodes the item.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.u64(self.topic.number()).u32(self.epoch.0).u64(self.next.0);
    }

    fn decode(input: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        Ok(Self { topic: topic_id(input)?, epoch: Epoch(input.u32("epoch")?), next: Offset(input.u64("next_offset")?) })
    }

    /// Decodes the payload of HEADS.
    ///
    /// # Errors
    /// Returns a [`DecodeError`], which names the field, also if there are more than [`HEADS_ITEMS_MAX`] items.
    pub fn decode_all(payload: &[u8], count: u16) -> Result<Vec<Self>, DecodeError> {
        Self::read_all(Reader::new(payload), count)
    }

    pub(super) fn read_all(payload: Reader<'_, impl Observer>, count: u16) -> Result<Vec<Self>, DecodeError> {
        items(payload, (count, HEADS_ITEMS_MAX), Self::decode)
    }
}

fn topic_id(input: &mut Reader<'_, impl Observer>) -> Result<TopicId, DecodeError> {
    TopicId::new(input.u64("topic_id")?).ok_or(DecodeError::Value { field: "topic_id" })
}

/// Decodes a payload of exactly `count` items, of which a frame may have at most `max`.
fn items<'a, T, O: Observer>(
    mut payload: Reader<'a, O>,
    (count, max): (u16, usize),
    mut decode: impl FnMut(&mut Reader<'a, O>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    if usize::from(count) > max {
        return Err(DecodeError::Value { field: "count" });
    }
    let items = (0..count).map(|_| decode(&mut payload)).collect::<Result<_, _>>()?;
    if payload.is_at_end() { Ok(items) } else { Err(DecodeError::Payload) }
}
