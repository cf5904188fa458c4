//! FEED and HEADS: what nodes tell each other about subscriptions. Clients never see them.
//!
//! Both are lists whose items are the payload, so that one frame speaks of many topics.

use super::field::{DecodeError, Reader, Writer};
use crate::limits::{FEED_ITEMS_MAX, HEADS_ITEMS_MAX};
use crate::types::{Epoch, Offset, TopicId, TopicName};

/// What an ingress wants of a topic: the whole of it each time, so that a repeated or late one does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedItem<'a> {
    /// Which topic.
    pub topic: TopicId,
    /// The life of its log that the ingress follows.
    pub epoch: Epoch,
    /// Push new records? Else the ingress will ask again when somebody has caught up.
    pub push: bool,
    /// Its subscriptions at the ingress; 0 ends the feed.
    pub subscribers: u32,
    /// Where the slowest of them is; `None` when all are at the end.
    pub slowest: Option<Offset>,
    /// Its name, to say what became of it; may be left out when there are no subscribers.
    pub name: Option<TopicName<'a>>,
}

/// What the home says to a FEED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FedList {
    /// The home's start.
    pub instance: u64,
    /// Of the last HEADS that it sent to this ingress; 0 when there was none.
    pub counter: u64,
    /// In the order of the request.
    pub items: Vec<Fed>,
}

/// What the home says to a [`FeedItem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// The topic of the item.
    pub topic: TopicId,
    /// OK, or why there is no such feed: UNKNOWN_TOPIC, RECREATED or TRUNCATED.
    pub status: u8,
    /// The life of its log; 0 when there is none.
    pub epoch: Epoch,
    /// Behind its last record.
    pub next: Offset,
    /// The topic that has the name now, when it was made again.
    pub successor: Option<TopicId>,
}

/// The args of HEADS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The home's start that keeps the feeds.
    pub instance: u64,
    /// One more with each HEADS of this start to the same ingress.
    pub counter: u64,
    /// Feeds of the ingress, as the home knows.
    pub feeds: u32,
    /// The exclusive or of the topic ids of those that are pushed.
    pub digest: u64,
    /// Items.
    pub count: u16,
}

/// How far a topic is that was pushed since the last HEADS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which topic.
    pub topic: TopicId,
    /// The life of its log; 0 when the topic is gone.
    pub epoch: Epoch,
    /// Behind its last record.
    pub next: Offset,
}

impl<'a> FeedItem<'a> {
    /// Bytes of an item beside its name.
    pub const BYTES: usize = 26;

    /// Writes the item.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.u64(self.topic.number()).u32(self.epoch.0).u8(u8::from(self.push)).u32(self.subscribers);
        out.u64(self.slowest.map_or(u64::MAX, |offset| offset.0)).str8(self.name.map_or("", TopicName::as_str));
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
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
            name => Some(TopicName::new(name).map_err(DecodeError::Name)?),
        };
        Ok(Self { topic, epoch, push, subscribers, slowest, name })
    }

    /// Reads the payload of FEED.
    ///
    /// # Errors
    /// Returns a [`DecodeError`] that names the field. More than [`FEED_ITEMS_MAX`] items are refused, because the
    /// answer has a longer item for each of them and must itself fit a frame.
    pub fn decode_all(payload: &'a [u8], count: u16) -> Result<Vec<Self>, DecodeError> {
        items(payload, (count, FEED_ITEMS_MAX), Self::decode)
    }
}

impl Fed {
    /// Writes the item.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.u64(self.topic.number()).u8(self.status).u32(self.epoch.0).u64(self.next.0);
        out.u64(self.successor.map_or(0, TopicId::number));
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
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
        args.u64(self.instance).u64(self.counter).u16(count);
    }

    pub(super) fn decode(args: &mut Reader<'_>, payload: &[u8]) -> Result<Self, DecodeError> {
        let (instance, counter, count) = (args.u64("instance")?, args.u64("counter")?, args.u16("count")?);
        Ok(Self { instance, counter, items: items(payload, (count, FEED_ITEMS_MAX), Fed::decode)? })
    }
}

impl Heads {
    pub(super) fn encode<'w, 'b>(&self, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        args.u64(self.instance).u64(self.counter).u32(self.feeds).u64(self.digest).u16(self.count)
    }

    pub(super) fn decode(args: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            instance: args.u64("instance")?,
            counter: args.u64("counter")?,
            feeds: args.u32("feeds")?,
            digest: args.u64("digest")?,
            count: args.u16("count")?,
        })
    }
}

impl Head {
    /// Writes the item.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.u64(self.topic.number()).u32(self.epoch.0).u64(self.next.0);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { topic: topic_id(input)?, epoch: Epoch(input.u32("epoch")?), next: Offset(input.u64("next_offset")?) })
    }

    /// Reads the payload of HEADS.
    ///
    /// # Errors
    /// Returns a [`DecodeError`] that names the field, also when there are more than [`HEADS_ITEMS_MAX`] items.
    pub fn decode_all(payload: &[u8], count: u16) -> Result<Vec<Self>, DecodeError> {
        items(payload, (count, HEADS_ITEMS_MAX), Self::decode)
    }
}

fn topic_id(input: &mut Reader<'_>) -> Result<TopicId, DecodeError> {
    TopicId::new(input.u64("topic_id")?).ok_or(DecodeError::Value { field: "topic_id" })
}

/// Reads a payload of `count` items, of which a frame may have at most `max`.
fn items<'a, T>(
    payload: &'a [u8],
    (count, max): (u16, usize),
    mut decode: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    if usize::from(count) > max {
        return Err(DecodeError::Value { field: "count" });
    }
    let mut rest = Reader::new(payload);
    let items = (0..count).map(|_| decode(&mut rest)).collect::<Result<_, _>>()?;
    if rest.is_at_end() { Ok(items) } else { Err(DecodeError::Payload) }
}
