//! What a node says of itself and of a frame's way: the answers to TRACE and CLUSTER.

use super::{Durability, durability};
use crate::limits::LABEL_MAX;
use crate::wire::field::{DecodeError, Reader, Writer};

/// The answer of the node where a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who answered.
    pub node: u16,
    /// Hops that the probe made.
    pub hops: u16,
    /// Links that it met down, as the ids of their ends.
    pub down: Vec<(u16, u16)>,
}

/// A node's view of itself and its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Who answered.
    pub node: u16,
    /// The cube's dimension.
    pub dimension: u8,
    /// Random for each start.
    pub instance: u64,
    /// Since its start.
    pub uptime_ms: u64,
    /// What its acknowledgements mean.
    pub durability: Durability,
    /// The cluster's name.
    pub cluster: String,
    /// For people.
    pub software: String,
    /// Where it listens.
    pub address: String,
    /// One for each dimension, in order.
    pub links: Vec<LinkView>,
}

/// One end of a link as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The neighbour.
    pub node: u16,
    /// Is the link up?
    pub up: bool,
    /// Where the neighbour listens.
    pub address: String,
}

impl View {
    pub(super) fn encode(&self, args: &mut Writer<'_>) {
        args.u16(self.node).u8(self.dimension).u64(self.instance).u64(self.uptime_ms);
        args.u8(self.durability as u8);
        args.str8(&self.cluster).str8(&self.software).str8(cut(&self.address));
        for link in &self.links {
            args.u16(link.node).u8(u8::from(link.up)).str8(cut(&link.address));
        }
    }

    pub(super) fn decode(args: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut view = Self {
            node: args.u16("node")?,
            dimension: args.u8("dimension")?,
            instance: args.u64("instance")?,
            uptime_ms: args.u64("uptime_ms")?,
            durability: durability(args)?,
            cluster: args.str8("cluster")?.to_owned(),
            software: args.str8("software")?.to_owned(),
            address: args.str8("address")?.to_owned(),
            links: Vec::new(),
        };
        for _ in 0..view.dimension {
            let (node, up) = (args.u16("link node")?, args.u8("link up")?);
            view.links.push(LinkView { node, up: up != 0, address: args.str8("link address")?.to_owned() });
        }
        Ok(view)
    }
}

/// Addresses come from people; a label's worth of one is enough to recognise it.
fn cut(address: &str) -> &str {
    &address[..address.floor_char_boundary(LABEL_MAX.min(address.len()))]
}
