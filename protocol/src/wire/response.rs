//! The responses of a node: the args of each operation, encoding and decoding side by side.

mod acks;
mod error;
mod log;
mod node;
mod topic;

use bytes::Bytes;

pub use acks::{Ack, Acks};
pub use error::{Detail, ErrorResponse, Tag};
pub use log::{Fetched, OFFSET_FORGOTTEN, OpenedProducer, Payload, Published, Run, Subscribed};
pub use node::{GroupsView, LinkState, LinkView, NodeAddress, NodePage, Probe, View};
pub use topic::{CopiesView, CopyView, Description, Durability, Listed, Page, TopicState};

use super::chunks::Chunk;
use super::feed::{Fed, FedList};
use super::field::{DecodeError, Observer, Reader, Writer};
use super::frame::{Flags, Head};
use super::hello::{TAG_TOPICS, count};
use super::opcode::Opcode;
use super::route::Route;
use super::status::Status;
use crate::types::{Offset, RequestId, TopicId, crc32};

/// The tag of the TLV in the response to PING that holds the wall clock of a neighbour.
const TAG_WALL: u8 = 0x33;

/// A node's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The response to PING.
    Ping {
        /// The answering node.
        node: u16,
        /// The token of the request.
        token: u64,
        /// Wall clock of the answering node, in microseconds since 1970; only on a link between nodes.
        wall_us: Option<u64>,
        /// Number of topics that the answering node holds; only on a link between nodes.
        topics: Option<u32>,
    },
    /// The response to CREATE.
    Created {
        /// True if the topic already existed.
        existed: bool,
        /// The topic's description.
        description: Box<Description>,
    },
    /// The response to INFO, QUERY and ALTER.
    Described(Box<Description>),
    /// The response to DELETE.
    Deleted {
        /// The id of the deleted topic.
        topic_id: TopicId,
    },
    /// The response to TRIM.
    Trimmed {
        /// The id of the topic whose records were removed.
        topic_id: TopicId,
        /// The first offset that the topic retains.
        first: Offset,
        /// The log end offset.
        next: Offset,
    },
    /// The response to PRODUCER.
    Opened(OpenedProducer),
    /// The response to LIST.
    Listed(Page),
    /// The response to PUBLISH.
    Published(Published),
    /// The response to FETCH.
    Fetched(Box<Fetched>),
    /// The response to SUBSCRIBE.
    Subscribed(Subscribed),
    /// The response to UNSUBSCRIBE.
    Unsubscribed {
        /// The next offset that would have been delivered.
        next: Offset,
    },
    /// The response to TRACE, from the node where the probe ended.
    Traced(Probe),
    /// The response to CLUSTER.
    Cluster(Box<View>),
    /// The response to STATS.
    Stats {
        /// The answering node.
        node: u16,
        /// Lines of `name value`.
        text: String,
    },
    /// The response to NODES.
    Nodes(NodePage),
    /// The response to FEED.
    Fed(FedList),
    /// The response to HEADS.
    Heads {
        /// The slot of the request.
        slot: u16,
        /// The counter of the request.
        counter: u64,
    },
    /// The response to CHUNKS.
    Chunk(Box<Chunk>),
    /// The error response to any request.
    Error(Box<ErrorResponse>),
}

impl Response {
    /// Returns the status byte.
    pub fn status(&self) -> u8 {
        match self {
            Self::Created { existed: true, .. } => Status::OkExists.number(),
            Self::Published(Published { duplicate: true, .. }) => Status::OkDuplicate.number(),
            Self::Error(error) => error.status,
            Self::Ping { .. }
            | Self::Created { .. }
            | Self::Described(_)
            | Self::Deleted { .. }
            | Self::Trimmed { .. }
            | Self::Opened(_)
            | Self::Listed(_)
            | Self::Published(_)
            | Self::Fetched(_)
            | Self::Traced(_)
            | Self::Cluster(_)
            | Self::Stats { .. }
            | Self::Nodes(_)
            | Self::Subscribed(_)
            | Self::Unsubscribed { .. }
            | Self::Fed(_)
            | Self::Heads { .. }
            | Self::Chunk(_) => Status::Ok.number(),
        }
    }

    /// Appends the encoded frame to `out`, except for the parts of the payload, which the caller appends.
    pub fn encode(
        &self,
        opcode: u8,
        request_id: RequestId,
        route: Option<&Route>,
        out: &mut Vec<u8>,
    ) -> Option<&Payload> {
        let head = Head { opcode, flags: Flags::RESPONSE, status: self.status(), request_id };
        match self {
            Self::Fetched(fetched) => {
                let payload = &fetched.payload;
                head.seal(route, (payload.len(), payload.checksum()), out, |args| self.encode_args(args));
                return Some(payload);
            }
            Self::Chunk(chunk) => {
                let payload = &chunk.payload;
                head.seal(route, (payload.len(), payload.checksum()), out, |args| self.encode_args(args));
                return Some(payload);
            }
            Self::Stats { text, .. } => {
                let sum = (text.len(), crc32(text.as_bytes()));
                head.seal(route, sum, out, |args| self.encode_args(args));
                out.extend_from_slice(text.as_bytes());
            }
            Self::Listed(Page { topics, .. }) => self.encode_list(head, route, topics, Listed::encode, out),
            Self::Nodes(NodePage { nodes, .. }) => self.encode_list(head, route, nodes, NodeAddress::encode, out),
            Self::Fed(FedList { items, .. }) => self.encode_list(head, route, items, Fed::encode, out),
            Self::Ping { .. }
            | Self::Created { .. }
            | Self::Described(_)
            | Self::Deleted { .. }
            | Self::Trimmed { .. }
            | Self::Opened(_)
            | Self::Published(_)
            | Self::Subscribed(_)
            | Self::Unsubscribed { .. }
            | Self::Traced(_)
            | Self::Cluster(_)
            | Self::Heads { .. }
            | Self::Error(_) => head.seal(route, (0, 0), out, |args| self.encode_args(args)),
        }
        None
    }

    /// Encodes a frame whose payload is a list.
    fn encode_list<T>(
        &self,
        head: Head,
        route: Option<&Route>,
        items: &[T],
        encode: impl Fn(&T, &mut Writer<'_>),
        out: &mut Vec<u8>,
    ) {
        let mut payload = Vec::new();
        items.iter().for_each(|item| encode(item, &mut Writer::new(&mut payload)));
        head.seal(route, (payload.len(), crc32(&payload)), out, |args| self.encode_args(args));
        out.extend_from_slice(&payload);
    }

    fn encode_args(&self, args: &mut Writer<'_>) {
        match self {
            Self::Ping { node, token, wall_us, topics } => {
                args.u16(*node).u64(*token);
                if let Some(wall_us) = wall_us {
                    args.tlv(TAG_WALL, &wall_us.to_be_bytes());
                }
                if let Some(topics) = topics {
                    args.tlv(TAG_TOPICS, &topics.to_be_bytes());
                }
            }
            Self::Created { description, .. } | Self::Described(description) => description.encode(args),
            Self::Deleted { topic_id } => {
                args.u64(topic_id.number());
            }
            Self::Trimmed { topic_id, first, next } => {
                args.u64(topic_id.number()).u64(first.0).u64(next.0);
            }
            Self::Opened(opened) => opened.encode(args),
            Self::Listed(page) => {
                args.u16(page.node).u64(page.cursor).u16(count16(page.topics.len()));
            }
            Self::Published(published) => published.encode(args),
            Self::Fetched(fetched) => fetched.encode(args),
            Self::Subscribed(subscribed) => subscribed.encode(args),
            Self::Unsubscribed { next } => {
                args.u64(next.0);
            }
            Self::Fed(list) => list.encode(args),
            Self::Heads { slot, counter } => {
                args.u16(*slot).u64(*counter);
            }
            Self::Traced(probe) => {
                args.u16(probe.node).u16(probe.hops);
                encode_links(&probe.down, args);
            }
            Self::Cluster(view) => view.encode(args),
            Self::Stats { node, .. } => {
                args.u16(*node);
            }
            Self::Nodes(page) => {
                args.u16(page.node).u8(page.dimension).u16(page.next).u16(count16(page.nodes.len()));
            }
            Self::Chunk(chunk) => chunk.encode(args),
            Self::Error(error) => error.encode(args),
        }
    }

    /// Decodes the args and payload of a response.
    ///
    /// # Errors
    /// Returns a [`DecodeError`], which names the field.
    pub fn decode(opcode: Opcode, status: u8, args: &[u8], payload: &Bytes) -> Result<Self, DecodeError> {
        Self::read(opcode, status, Reader::new(args), payload)
    }

    pub(super) fn read(
        opcode: Opcode,
        status: u8,
        mut args: Reader<'_, impl Observer>,
        payload: &Bytes,
    ) -> Result<Self, DecodeError> {
        if status >= 0x40 {
            return Ok(Self::Error(Box::new(ErrorResponse::decode(status, args)?)));
        }
        let response = match opcode {
            Opcode::Info | Opcode::Query | Opcode::Alter => {
                return Ok(Self::Described(Box::new(Description::decode_last(args)?)));
            }
            Opcode::Create => {
                let description = Box::new(Description::decode_last(args)?);
                return Ok(Self::Created { existed: status == Status::OkExists.number(), description });
            }
            Opcode::Cluster => return Ok(Self::Cluster(Box::new(View::decode(args)?))),
            Opcode::Hello | Opcode::Goaway | Opcode::Credit | Opcode::Deliver | Opcode::Event | Opcode::Raft => {
                return Err(DecodeError::Value { field: "opcode" });
            }
            Opcode::Ping => return decode_ping(args),
            Opcode::Delete => Self::Deleted { topic_id: topic_id(&mut args)? },
            Opcode::Trim => Self::Trimmed {
                topic_id: topic_id(&mut args)?,
                first: Offset(args.u64("first_offset")?),
                next: Offset(args.u64("next_offset")?),
            },
            Opcode::Producer => Self::Opened(OpenedProducer::decode(&mut args)?),
            Opcode::List => Self::Listed(Page::decode(&mut args, payload)?),
            Opcode::Publish => Self::Published(Published::decode(&mut args, status == Status::OkDuplicate.number())?),
            Opcode::Fetch => Self::Fetched(Box::new(Fetched::decode(&mut args, payload)?)),
            Opcode::Subscribe => Self::Subscribed(Subscribed::decode(&mut args)?),
            Opcode::Unsubscribe => Self::Unsubscribed { next: Offset(args.u64("next_offset")?) },
            Opcode::Feed => Self::Fed(FedList::decode(&mut args, payload)?),
            Opcode::Heads => Self::Heads { slot: args.u16("slot")?, counter: args.u64("counter")? },
            Opcode::Chunks => Self::Chunk(Box::new(Chunk::decode(&mut args, payload)?)),
            Opcode::Trace => {
                Self::Traced(Probe { node: args.u16("node")?, hops: args.u16("hops")?, down: decode_links(&mut args)? })
            }
            Opcode::Nodes => Self::Nodes(NodePage::decode(&mut args, payload)?),
            Opcode::Stats => Self::Stats {
                node: args.u16("node")?,
                text: std::str::from_utf8(payload).map_err(|_| DecodeError::Text { field: "text" })?.to_owned(),
            },
        };
        args.end()?;
        Ok(response)
    }
}

fn decode_ping(mut args: Reader<'_, impl Observer>) -> Result<Response, DecodeError> {
    let (node, token) = (args.u16("node")?, args.u64("token")?);
    let (mut wall_us, mut topics) = (None, None);
    args.tlvs(|tag, mut value| {
        match tag {
            TAG_WALL => {
                let wall = value.rest("wall_us").try_into().map(u64::from_be_bytes);
                wall_us = Some(wall.map_err(|_| DecodeError::Value { field: "wall_us" })?);
            }
            TAG_TOPICS => topics = Some(count(value, "topics")?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Response::Ping { node, token, wall_us, topics })
}

fn encode_links(links: &[(u16, u16)], args: &mut Writer<'_>) {
    args.u16(count16(links.len()));
    for (a, b) in links {
        args.u16(*a).u16(*b);
    }
}

fn decode_links(args: &mut Reader<'_, impl Observer>) -> Result<Vec<(u16, u16)>, DecodeError> {
    let count = args.u16("links")?;
    (0..count).map(|_| Ok((args.u16("link_a")?, args.u16("link_b")?))).collect()
}

fn topic_id(args: &mut Reader<'_, impl Observer>) -> Result<TopicId, DecodeError> {
    TopicId::new(args.u64("topic_id")?).ok_or(DecodeError::Value { field: "topic_id" })
}

fn durability(args: &mut Reader<'_, impl Observer>) -> Result<Durability, DecodeError> {
    match args.u8("durability")? {
        0 => Ok(Durability::Memory),
        1 => Ok(Durability::Interval),
        2 => Ok(Durability::Synced),
        _ => Err(DecodeError::Value { field: "durability" }),
    }
}

fn count16(count: usize) -> u16 {
    u16::try_from(count).expect("paths, runs and pages are bounded far below 65 536")
}
