//! The requests of a client: the args of each operation, encoding and decoding side by side.
//!
//! Args are fixed fields, then text, then TLVs. In a number, 0 stands for "any", "none" or "the default"; only for a
//! node, [`ANY_NODE`] stands for the connected node.

use std::ops::Range;

use super::chunks::Chunks;
use super::feed::Heads;
use super::field::{DecodeError, Observer, Reader, TAG_CRITICAL, Writer};
use super::hello::NO_NODE;
use super::opcode::Opcode;
use crate::types::{Epoch, Offset, ProducerId, RequestId, TopicId, TopicName};

pub use crate::types::{Opening, Retention, Sequenced, SettingsChange};

/// Stands for the node at the other end of the connection, in a field that names a node.
pub const ANY_NODE: u16 = NO_NODE;

/// A request without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Checks whether a node is alive.
    Ping {
        /// The node, or [`ANY_NODE`].
        node: u16,
        /// A number that the response echoes.
        token: u64,
    },
    /// Creates a topic, or finds an existing one with the same retention.
    Create {
        /// The topic's name.
        topic: TopicName<'a>,
        /// The topic's retention.
        retention: Retention,
    },
    /// Deletes a topic.
    Delete(Topic<'a>),
    /// Changes settings of a topic.
    Alter {
        /// The topic.
        topic: Topic<'a>,
        /// The settings to change; all others stay as they are.
        change: SettingsChange,
    },
    /// Removes the records before an offset.
    Trim {
        /// The topic.
        topic: Topic<'a>,
        /// The first offset to retain.
        first: Offset,
    },
    /// Opens a producer: begins its next epoch, with a count of its stored records.
    Producer {
        /// The topic.
        topic: Topic<'a>,
        /// The producer, and how to open it.
        opening: Opening,
    },
    /// Lists a page of one node's topics.
    List(List<'a>),
    /// Describes a topic.
    Info(Topic<'a>),
    /// Appends the records in the payload.
    Publish(Publish<'a>),
    /// Reads records.
    Fetch(Fetch<'a>),
    /// Subscribes to new records.
    Subscribe(Subscribe<'a>),
    /// Ends a subscription.
    Unsubscribe {
        /// The request id of its SUBSCRIBE.
        subscription: RequestId,
    },
    /// Raises the credit of a subscription. The frame has the subscription's request id, and gets no response.
    Credit {
        /// Bytes of records that may be sent in total since the subscription's start; a lower value than before has no
        /// effect.
        limit: u64,
    },
    /// Returns the home of a name.
    Query {
        /// The name; there need not be such a topic.
        topic: TopicName<'a>,
    },
    /// Probes the path to a node, or to a topic's home.
    Trace {
        /// TTL of the probe: the node where it runs out answers.
        ttl: u16,
        /// The target.
        target: TraceTarget<'a>,
    },
    /// Returns a node's view of itself and its links.
    Cluster {
        /// The node, or [`ANY_NODE`].
        node: u16,
    },
    /// Returns a node's counters.
    Stats {
        /// The node, or [`ANY_NODE`].
        node: u16,
    },
    /// Lists all nodes with their addresses, according to one node's configuration.
    Nodes {
        /// The node whose configuration is wanted, or [`ANY_NODE`].
        node: u16,
        /// The first id wanted: 0 for the first page, afterwards `next` of the preceding page.
        from: u16,
    },
    /// Between nodes: reports the topics of a slot that the source follows, and which of them it wants to have pushed.
    /// The [`FeedItem`](super::feed::FeedItem)s are the payload. The request id increases with each FEED of the
    /// source's instance.
    Feed {
        /// The slot of the topics. Any number can be decoded: only the node knows how many slots its cube has.
        slot: u16,
        /// The source's instance.
        instance: u64,
        /// True if this report is complete, so that it replaces all earlier reports of the source about the slot.
        reset: bool,
        /// Number of items.
        count: u16,
    },
    /// Between nodes: reports log end offsets. The [`Head`](super::feed::Head)s are the payload.
    Heads(Heads),
    /// Between nodes: messages of members of replica groups. The [`RaftItem`](super::raft::RaftItem)s are the payload.
    Raft {
        /// Number of messages.
        count: u16,
    },
    /// Between nodes: asks for a part of the state of a replica group.
    Chunks(Chunks),
}

/// A topic by name. With an id, it refers only to the topic with this id, not to a re-created topic of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic<'a> {
    /// The topic's name, by which the request is routed.
    pub name: TopicName<'a>,
    /// The topic's id; `None` stands for whichever topic has the name.
    pub id: Option<TopicId>,
}

/// The args of LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a> {
    /// The node whose topics are listed, or [`ANY_NODE`].
    pub node: u16,
    /// Maximum number of names; 0 means as many as a page holds.
    pub max: u16,
    /// 0 for the first page, then the cursor in the previous page.
    pub cursor: u64,
    /// Only names with this prefix are listed.
    pub prefix: &'a str,
}

/// The args of PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The topic.
    pub topic: Topic<'a>,
    /// The batch's producer and sequence, by which a duplicate is recognised.
    pub producer: Option<Sequenced>,
    /// Number of records in the payload, at least 1.
    pub count: u32,
}

/// The args of FETCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch<'a> {
    /// The topic.
    pub topic: Topic<'a>,
    /// The epoch that the offset belongs to; `None` means any.
    pub epoch: Option<Epoch>,
    /// Where to start.
    pub start: Start,
    /// Size limit in bytes of the records; at least one record is sent even if it exceeds the limit. 0 means no limit
    /// other than that of a frame.
    pub max_bytes: u32,
    /// Maximum number of records; 0 means no limit.
    pub max_records: u32,
    /// How long the response may wait for a first record, in milliseconds; 0 means not at all.
    pub max_wait_ms: u32,
}

/// The args of SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The topic.
    pub topic: Topic<'a>,
    /// The epoch that the offset belongs to; `None` means any.
    pub epoch: Option<Epoch>,
    /// Where to start.
    pub start: Start,
    /// The initial credit, as in [`Request::Credit`]: bytes of records that may be sent.
    pub limit: u64,
}

/// The start of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At an offset.
    Offset(Offset),
    /// At the log start offset.
    Earliest,
    /// At the log end offset.
    Next,
    /// At the first record appended at or after this time, in microseconds since 1970.
    Time(u64),
}

/// The target of a TRACE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceTarget<'a> {
    /// A node.
    Node(u16),
    /// The home of a name.
    Topic(TopicName<'a>),
}

impl<'a> Request<'a> {
    /// Returns the operation.
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::Ping { .. } => Opcode::Ping,
            Self::Create { .. } => Opcode::Create,
            Self::Delete(_) => Opcode::Delete,
            Self::Alter { .. } => Opcode::Alter,
            Self::Trim { .. } => Opcode::Trim,
            Self::Producer { .. } => Opcode::Producer,
            Self::List(_) => Opcode::List,
            Self::Info(_) => Opcode::Info,
            Self::Publish(_) => Opcode::Publish,
            Self::Fetch(_) => Opcode::Fetch,
            Self::Subscribe(_) => Opcode::Subscribe,
            Self::Unsubscribe { .. } => Opcode::Unsubscribe,
            Self::Credit { .. } => Opcode::Credit,
            Self::Query { .. } => Opcode::Query,
            Self::Trace { .. } => Opcode::Trace,
            Self::Cluster { .. } => Opcode::Cluster,
            Self::Stats { .. } => Opcode::Stats,
            Self::Nodes { .. } => Opcode::Nodes,
            Self::Feed { .. } => Opcode::Feed,
            Self::Heads(_) => Opcode::Heads,
            Self::Raft { .. } => Opcode::Raft,
            Self::Chunks(_) => Opcode::Chunks,
        }
    }

    /// Returns true if the operation takes a payload.
    pub const fn has_payload(opcode: Opcode) -> bool {
        matches!(opcode, Opcode::Publish | Opcode::Feed | Opcode::Heads | Opcode::Raft)
    }

    /// Encodes the args.
    pub fn encode(&self, args: &mut Writer<'_>) {
        match self {
            Self::Ping { node, token } => args.u16(*node).u64(*token),
            Self::Create { topic, retention } => encode_retention(retention, args).str8(topic.as_str()),
            Self::Delete(topic) | Self::Info(topic) => topic.encode(args),
            Self::Alter { topic, change } => encode_change(change, topic.encode(args)),
            Self::Trim { topic, first } => topic.encode(args.u64(first.0)),
            Self::Producer { topic, opening: Opening { producer, token, resume } } => {
                topic.encode(args.u64(producer.number()).u64(*token).u8(u8::from(*resume)))
            }
            Self::List(list) => args.u16(list.node).u16(list.max).u64(list.cursor).str8(list.prefix),
            Self::Publish(publish) => publish.encode(args),
            Self::Fetch(fetch) => fetch.encode(args),
            Self::Subscribe(subscribe) => subscribe.encode(args),
            Self::Unsubscribe { subscription } => args.u64(subscription.0),
            Self::Credit { limit } => args.u64(*limit),
            Self::Query { topic } => args.str8(topic.as_str()),
            Self::Trace { ttl, target: TraceTarget::Node(node) } => args.u16(*ttl).u16(*node).str8(""),
            Self::Trace { ttl, target: TraceTarget::Topic(name) } => args.u16(*ttl).u16(ANY_NODE).str8(name.as_str()),
            Self::Cluster { node } | Self::Stats { node } => args.u16(*node),
            Self::Nodes { node, from } => args.u16(*node).u16(*from),
            Self::Feed { slot, instance, reset, count } => {
                args.u16(*slot).u64(*instance).u8(u8::from(*reset)).u16(*count)
            }
            Self::Heads(heads) => heads.encode(args),
            Self::Raft { count } => args.u16(*count),
            Self::Chunks(chunks) => chunks.encode(args),
        };
    }

    /// Decodes the args of a request. HELLO, GOAWAY, DELIVER and EVENT are not requests.
    ///
    /// # Errors
    /// Returns a [`DecodeError`], which names the field.
    pub fn decode(opcode: Opcode, args: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(opcode, Reader::new(args))
    }

    pub(super) fn read(opcode: Opcode, mut args: Reader<'a, impl Observer>) -> Result<Self, DecodeError> {
        let request = match opcode {
            Opcode::Hello | Opcode::Goaway | Opcode::Deliver | Opcode::Event => {
                return Err(DecodeError::Value { field: "opcode" });
            }
            Opcode::Ping => Self::Ping { node: args.u16("node")?, token: args.u64("token")? },
            Opcode::Create => {
                let retention = decode_retention(&mut args)?;
                Self::Create { topic: args.topic()?, retention }
            }
            Opcode::Delete => Self::Delete(Topic::decode(&mut args)?),
            Opcode::Alter => {
                let topic = Topic::decode(&mut args)?;
                return Ok(Self::Alter { topic, change: decode_change(args)? });
            }
            Opcode::Trim => {
                let first = Offset(args.u64("to")?);
                Self::Trim { topic: Topic::decode(&mut args)?, first }
            }
            Opcode::Producer => {
                let producer = ProducerId::new(args.u64("producer_id")?);
                let producer = producer.ok_or(DecodeError::Value { field: "producer_id" })?;
                let opening = Opening { producer, token: args.u64("token")?, resume: args.bool("resume")? };
                Self::Producer { topic: Topic::decode(&mut args)?, opening }
            }
            Opcode::List => Self::List(List {
                node: args.u16("node")?,
                max: args.u16("max")?,
                cursor: args.u64("cursor")?,
                prefix: args.str8("prefix")?,
            }),
            Opcode::Info => Self::Info(Topic::decode(&mut args)?),
            Opcode::Publish => Self::Publish(Publish::decode(&mut args)?),
            Opcode::Fetch => Self::Fetch(Fetch::decode(&mut args)?),
            Opcode::Subscribe => Self::Subscribe(Subscribe::decode(&mut args)?),
            Opcode::Unsubscribe => Self::Unsubscribe { subscription: RequestId(args.u64("subscription")?) },
            Opcode::Credit => Self::Credit { limit: args.u64("limit")? },
            Opcode::Query => Self::Query { topic: args.topic()? },
            Opcode::Trace => trace(&mut args)?,
            Opcode::Cluster => Self::Cluster { node: args.u16("node")? },
            Opcode::Stats => Self::Stats { node: args.u16("node")? },
            Opcode::Nodes => Self::Nodes { node: args.u16("node")?, from: args.u16("from")? },
            Opcode::Feed => Self::Feed {
                slot: args.u16("slot")?,
                instance: args.u64("instance")?,
                reset: args.bool("reset")?,
                count: args.u16("count")?,
            },
            Opcode::Heads => Self::Heads(Heads::decode(&mut args)?),
            Opcode::Raft => Self::Raft { count: args.u16("count")? },
            Opcode::Chunks => Self::Chunks(Chunks::decode(&mut args)?),
        };
        args.end()?;
        Ok(request)
    }
}

impl<'a> Topic<'a> {
    fn encode<'w, 'b>(&self, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        args.u64(self.id.map_or(0, TopicId::number)).str8(self.name.as_str())
    }

    fn decode(args: &mut Reader<'a, impl Observer>) -> Result<Self, DecodeError> {
        let id = TopicId::new(args.u64("topic_id")?);
        Ok(Self { id, name: args.topic()? })
    }
}

/// The tag of the TLV that holds the settings to change, each of them a TLV of its own. It is critical: a node that
/// ignored it would change nothing and still report success.
const SETTINGS: u8 = 0x47 | TAG_CRITICAL;

fn encode_change<'w, 'b>(change: &SettingsChange, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    let mut settings = Vec::new();
    let mut writer = Writer::new(&mut settings);
    for (number, value) in change.settings() {
        writer.tlv(number, &value.to_be_bytes());
    }
    args.tlv(SETTINGS, &settings)
}

fn decode_change(args: Reader<'_, impl Observer>) -> Result<SettingsChange, DecodeError> {
    let mut found = None;
    args.tlvs(|tag, value| {
        if tag != SETTINGS {
            return Ok(false);
        }
        let change = found.insert(SettingsChange::default());
        value.tlvs(|number, mut value| {
            if !SettingsChange::NUMBERS.contains(&number) {
                return Err(DecodeError::Setting { number });
            }
            let bound = value.u64("setting")?;
            change.set(number, bound).ok_or(DecodeError::Setting { number })?;
            if value.is_at_end() { Ok(true) } else { Err(DecodeError::Value { field: "setting" }) }
        })?;
        Ok(true)
    })?;
    found.ok_or(DecodeError::Short { field: "SETTINGS" })
}

/// Encodes the three retention bounds.
pub(super) fn encode_retention<'w, 'b>(retention: &Retention, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    args.u64(retention.records).u64(retention.bytes).u64(retention.age_ms)
}

/// Decodes the three retention bounds.
pub(super) fn decode_retention(args: &mut Reader<'_, impl Observer>) -> Result<Retention, DecodeError> {
    Ok(Retention {
        records: args.u64("retention_records")?,
        bytes: args.u64("retention_bytes")?,
        age_ms: args.u64("retention_age_ms")?,
    })
}

/// Where the sequence stands in the args of a PUBLISH. Nothing else in them differs between batches of one producer
/// that go to one topic and have equally many records.
pub const PUBLISH_SEQUENCE: Range<usize> = 12..20;

/// Where the id of the producer stands there; 0 if there is none.
pub const PUBLISH_PRODUCER: Range<usize> = 0..8;

impl<'a> Publish<'a> {
    fn encode<'w, 'b>(&self, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        let (producer, epoch, sequence) = match self.producer {
            Some(batch) => (batch.producer.number(), batch.epoch, batch.sequence),
            None => (0, 0, 0),
        };
        args.u64(producer).u32(epoch).u64(sequence).u32(self.count);
        self.topic.encode(args)
    }

    fn decode(args: &mut Reader<'a, impl Observer>) -> Result<Self, DecodeError> {
        let producer = ProducerId::new(args.u64("producer_id")?);
        let epoch = args.u32("producer_epoch")?;
        let sequence = args.u64("sequence")?;
        let count = args.u32("count")?;
        let producer = match producer {
            Some(producer) => Some(Sequenced { producer, epoch, sequence }),
            None if epoch == 0 && sequence == 0 => None,
            None => return Err(DecodeError::Value { field: "producer_id" }),
        };
        Ok(Self { producer, count, topic: Topic::decode(args)? })
    }
}

impl<'a> Fetch<'a> {
    fn encode<'w, 'b>(&self, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        self.start.encode(args).u32(epoch_number(self.epoch)).u32(self.max_bytes).u32(self.max_records);
        args.u32(self.max_wait_ms);
        self.topic.encode(args)
    }

    fn decode(args: &mut Reader<'a, impl Observer>) -> Result<Self, DecodeError> {
        Ok(Self {
            start: Start::decode(args)?,
            epoch: epoch(args)?,
            max_bytes: args.u32("max_bytes")?,
            max_records: args.u32("max_records")?,
            max_wait_ms: args.u32("max_wait_ms")?,
            topic: Topic::decode(args)?,
        })
    }
}

impl<'a> Subscribe<'a> {
    fn encode<'w, 'b>(&self, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        self.start.encode(args).u32(epoch_number(self.epoch)).u64(self.limit);
        self.topic.encode(args)
    }

    fn decode(args: &mut Reader<'a, impl Observer>) -> Result<Self, DecodeError> {
        Ok(Self {
            start: Start::decode(args)?,
            epoch: epoch(args)?,
            limit: args.u64("limit")?,
            topic: Topic::decode(args)?,
        })
    }
}

impl Start {
    fn encode<'w, 'b>(self, args: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
        let (start, value) = match self {
            Self::Offset(offset) => (0, offset.0),
            Self::Earliest => (1, 0),
            Self::Next => (2, 0),
            Self::Time(micros) => (3, micros),
        };
        args.u8(start).u64(value)
    }

    fn decode(args: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        match (args.u8("start")?, args.u64("value")?) {
            (0, offset) => Ok(Self::Offset(Offset(offset))),
            (1, 0) => Ok(Self::Earliest),
            (2, 0) => Ok(Self::Next),
            (3, micros) => Ok(Self::Time(micros)),
            (1 | 2, _) => Err(DecodeError::Value { field: "value" }),
            (4.., _) => Err(DecodeError::Value { field: "start" }),
        }
    }
}

fn epoch_number(epoch: Option<Epoch>) -> u32 {
    epoch.map_or(0, |epoch| epoch.0)
}

fn epoch(args: &mut Reader<'_, impl Observer>) -> Result<Option<Epoch>, DecodeError> {
    let epoch = args.u32("epoch")?;
    Ok((epoch != 0).then_some(Epoch(epoch)))
}

fn trace<'a>(args: &mut Reader<'a, impl Observer>) -> Result<Request<'a>, DecodeError> {
    let (ttl, node, name) = (args.u16("ttl")?, args.u16("node")?, args.str8("topic")?);
    let target = if name.is_empty() {
        TraceTarget::Node(node)
    } else if node == ANY_NODE {
        TraceTarget::Topic(TopicName::new(name)?)
    } else {
        return Err(DecodeError::Value { field: "node" });
    };
    Ok(Request::Trace { ttl, target })
}
