//! What a topic is like: the answers to CREATE, INFO, QUERY and LIST.

use super::{count16, durability, topic_id};
use crate::types::{Epoch, Offset, Retention, TopicId};
use crate::wire::field::{DecodeError, Reader, Writer};
use crate::wire::request::{decode_retention, encode_retention};

/// A topic, or the place where one of that name would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The vertex that the name hashes to.
    pub home: u16,
    /// The topic itself; `None` when there is none of that name.
    pub topic: Option<TopicState>,
    /// The nodes that the request went through, from the ingress to the home.
    pub path: Vec<u16>,
}

/// What a topic is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// Its identity.
    pub id: TopicId,
    /// The life of its log.
    pub epoch: Epoch,
    /// The first record that is kept.
    pub first: Offset,
    /// Behind the last record.
    pub next: Offset,
    /// Bytes of the records that are kept.
    pub bytes: u64,
    /// Subscriptions, cluster-wide, as their nodes said last.
    pub subscribers: u32,
    /// Nodes that have some.
    pub feeds: u16,
    /// Records that the slowest of them has still to take.
    pub lag: u64,
    /// When it was made, in microseconds since 1970.
    pub created_us: u64,
    /// What it keeps, the node's defaults filled in.
    pub retention: Retention,
    /// What an acknowledgement means.
    pub durability: Durability,
}

/// What was done with a batch before it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is in the memory of one node.
    Memory = 0,
    /// It will be on disk within the node's interval.
    Interval = 1,
    /// It is on disk.
    Synced = 2,
}

impl Durability {
    /// The name in protocol.md and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Interval => "interval",
            Self::Synced => "synced",
        }
    }
}

/// Some of a node's topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Who answered.
    pub node: u16,
    /// What the next request says; 0 when this was the last page.
    pub cursor: u64,
    /// In no order; each topic that is there all the while comes once.
    pub topics: Vec<Listed>,
}

/// A topic in a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its identity.
    pub id: TopicId,
    /// The first record that is kept.
    pub first: Offset,
    /// Behind the last record.
    pub next: Offset,
    /// Bytes of the records that are kept.
    pub bytes: u64,
    /// Its name.
    pub name: String,
}

impl Description {
    pub(super) fn encode(&self, args: &mut Writer<'_>) {
        args.u16(self.home).u8(u8::from(self.topic.is_some()));
        if let Some(topic) = &self.topic {
            args.u8(topic.durability as u8).u64(topic.id.number()).u32(topic.epoch.0).u64(topic.first.0);
            args.u64(topic.next.0).u64(topic.bytes).u32(topic.subscribers).u16(topic.feeds).u64(topic.lag);
            args.u64(topic.created_us);
            encode_retention(&topic.retention, args);
        }
        args.u16(count16(self.path.len()));
        self.path.iter().for_each(|&node| {
            args.u16(node);
        });
    }

    pub(super) fn decode(args: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let home = args.u16("home")?;
        let topic = match args.u8("exists")? {
            0 => None,
            1 => Some(TopicState::decode(args)?),
            _ => return Err(DecodeError::Value { field: "exists" }),
        };
        let count = args.u16("path")?;
        let path = (0..count).map(|_| args.u16("path")).collect::<Result<_, _>>()?;
        Ok(Self { home, topic, path })
    }
}

impl TopicState {
    pub(super) fn decode(args: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let durability = durability(args)?;
        Ok(Self {
            durability,
            id: topic_id(args)?,
            epoch: Epoch(args.u32("epoch")?),
            first: Offset(args.u64("first_offset")?),
            next: Offset(args.u64("next_offset")?),
            bytes: args.u64("bytes")?,
            subscribers: args.u32("subscribers")?,
            feeds: args.u16("feeds")?,
            lag: args.u64("lag")?,
            created_us: args.u64("created_us")?,
            retention: decode_retention(args)?,
        })
    }
}

impl Listed {
    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        out.u64(self.id.number()).u64(self.first.0).u64(self.next.0).u64(self.bytes).str8(&self.name);
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: topic_id(input)?,
            first: Offset(input.u64("first_offset")?),
            next: Offset(input.u64("next_offset")?),
            bytes: input.u64("bytes")?,
            name: input.topic()?.as_str().to_owned(),
        })
    }
}

impl Page {
    pub(super) fn decode(args: &mut Reader<'_>, payload: &[u8]) -> Result<Self, DecodeError> {
        let (node, cursor, count) = (args.u16("node")?, args.u64("cursor")?, args.u16("count")?);
        let mut rest = Reader::new(payload);
        let topics = (0..count).map(|_| Listed::decode(&mut rest)).collect::<Result<_, _>>()?;
        if rest.is_at_end() { Ok(Self { node, cursor, topics }) } else { Err(DecodeError::Payload) }
    }
}
