//! Descriptions of topics: the responses to CREATE, INFO, QUERY and LIST.

use super::{count16, durability, topic_id};
use crate::types::{Epoch, Offset, Retention, TopicId};
use crate::wire::field::{DecodeError, Observer, Reader, Writer};
use crate::wire::request::{decode_retention, encode_retention};

/// TLV of a description: a [`CopiesView`]. It is absent if the home alone keeps the topic.
const TAG_COPIES: u8 = 0x37;

/// A topic, or the home of a name without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The vertex that the name hashes to.
    pub home: u16,
    /// The topic; `None` if there is none of that name.
    pub topic: Option<TopicState>,
    /// The nodes that the request passed through, from the ingress to the home.
    pub path: Vec<u16>,
    /// The nodes that keep a topic of that name; `None` if the home alone does.
    pub copies: Option<CopiesView>,
}

/// The nodes that keep a topic, as their leader knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiesView {
    /// The leader: it executes all requests for the topic.
    pub leader: u16,
    /// The term in which that node leads. A later leader has a higher term.
    pub term: u64,
    /// All nodes that keep the topic, the home first.
    pub members: Vec<CopyView>,
}

/// A node that keeps a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyView {
    /// The id of the node.
    pub node: u16,
    /// True if the node is the leader, or the leader has heard from it within the last 0.7 s.
    pub answers: bool,
    /// Number of bodies in the leader's log that the node has not acknowledged yet. A body is one entry of the log: the
    /// changes of one turn to all topics that are kept by the same nodes.
    pub behind: u64,
}

/// The description of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// The topic's id.
    pub id: TopicId,
    /// The epoch of its log.
    pub epoch: Epoch,
    /// The log start offset.
    pub first: Offset,
    /// The log end offset. Where a repair of the home has dropped records, offsets between `first` and it have none.
    pub next: Offset,
    /// Size of the retained records in bytes, including those that a repair has dropped.
    pub bytes: u64,
    /// Number of subscriptions in the cluster, according to the last reports of their nodes.
    pub subscribers: u32,
    /// Number of nodes with subscriptions.
    pub feeds: u16,
    /// The lag of the slowest subscription, in records.
    pub lag: u64,
    /// Creation time, in microseconds since 1970.
    pub created_us: u64,
    /// Its retention, with the node's defaults filled in.
    pub retention: Retention,
    /// The durability that an acknowledgement stands for.
    pub durability: Durability,
}

/// The durability of a batch when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The batch is in the memory of one node.
    Memory = 0,
    /// The batch will be on disk within the node's sync interval.
    Interval = 1,
    /// The batch is on disk.
    Synced = 2,
}

impl Durability {
    /// Returns the name in protocol.md and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Interval => "interval",
            Self::Synced => "synced",
        }
    }
}

/// A page of a node's topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The answering node.
    pub node: u16,
    /// The cursor for the next request; 0 on the last page.
    pub cursor: u64,
    /// The topics, in no order. A topic that exists during the whole listing occurs exactly once.
    pub topics: Vec<Listed>,
}

/// A topic in a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The topic's id.
    pub id: TopicId,
    /// The log start offset.
    pub first: Offset,
    /// The log end offset.
    pub next: Offset,
    /// Size of the retained records in bytes.
    pub bytes: u64,
    /// The topic's name.
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
        if let Some(copies) = &self.copies {
            copies.encode(args);
        }
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        let home = args.u16("home")?;
        let topic = match args.u8("exists")? {
            0 => None,
            1 => Some(TopicState::decode(args)?),
            _ => return Err(DecodeError::Value { field: "exists" }),
        };
        let count = args.u16("path")?;
        let path = (0..count).map(|_| args.u16("path_node")).collect::<Result<_, _>>()?;
        Ok(Self { home, topic, path, copies: None })
    }

    /// Decodes a description at the end of the args, with the TLVs that follow it.
    pub(super) fn decode_last(mut args: Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        let mut description = Self::decode(&mut args)?;
        args.tlvs(|tag, value| {
            if tag == TAG_COPIES {
                description.copies = Some(CopiesView::decode(value)?);
            }
            Ok(tag == TAG_COPIES)
        })?;
        Ok(description)
    }
}

impl CopiesView {
    fn encode(&self, args: &mut Writer<'_>) {
        let mut value = Vec::new();
        let mut out = Writer::new(&mut value);
        out.u64(self.term).u16(self.leader);
        for CopyView { node, answers, behind } in &self.members {
            out.u16(*node).u8(u8::from(*answers)).u64(*behind);
        }
        args.tlv(TAG_COPIES, &value);
    }

    fn decode(mut value: Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        let (term, leader) = (value.u64("term")?, value.u16("leader")?);
        let mut members = Vec::new();
        while !value.is_at_end() {
            let (node, answers) = (value.u16("copy_node")?, value.u8("answers")? != 0);
            members.push(CopyView { node, answers, behind: value.u64("behind")? });
        }
        Ok(Self { leader, term, members })
    }
}

impl TopicState {
    pub(super) fn decode(args: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
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

    pub(super) fn decode(input: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
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
    pub(super) fn decode(args: &mut Reader<'_, impl Observer>, payload: &[u8]) -> Result<Self, DecodeError> {
        let (node, cursor, count) = (args.u16("node")?, args.u64("cursor")?, args.u16("count")?);
        let mut rest = args.nested(payload);
        let topics = (0..count).map(|_| Listed::decode(&mut rest)).collect::<Result<_, _>>()?;
        if rest.is_at_end() { Ok(Self { node, cursor, topics }) } else { Err(DecodeError::Payload) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_has_the_names_of_the_document() {
        let names = [Durability::Memory, Durability::Interval, Durability::Synced].map(Durability::name);
        assert_eq!(names, ["memory", "interval", "synced"]);
    }
}
