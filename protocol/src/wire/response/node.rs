//! What a node reports about itself, about other nodes, and about the path of a frame: the responses to TRACE, CLUSTER
//! and NODES.

use super::{Durability, durability};
use crate::limits::LABEL_MAX;
use crate::wire::field::{DecodeError, Observer, Reader, Writer};

/// The response of the node where a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The answering node.
    pub node: u16,
    /// Number of hops that the probe made.
    pub hops: u16,
    /// The dead links that it met, as the ids of their ends.
    pub down: Vec<(u16, u16)>,
}

/// TLV of a node's view: a [`GroupsView`]. It is absent if one node keeps each topic.
const TAG_GROUPS: u8 = 0x38;

/// A node's view of itself and its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The answering node.
    pub node: u16,
    /// The cube's dimension.
    pub dimension: u8,
    /// The node's instance: a random number for each start.
    pub instance: u64,
    /// Time since its start, in milliseconds.
    pub uptime_ms: u64,
    /// The durability that its acknowledgements stand for.
    pub durability: Durability,
    /// The cluster's name.
    pub cluster: String,
    /// Name and version of the program, for the operators.
    pub software: String,
    /// Its listening address.
    pub address: String,
    /// The state of its links, one for each dimension in ascending order.
    pub links: Vec<LinkView>,
    /// The groups of topics that the node keeps; `None` if one node keeps each topic.
    pub groups: Option<GroupsView>,
}

/// The groups of topics that a node keeps in a cube in which several nodes keep each topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupsView {
    /// Number of nodes that keep each topic.
    pub replicas: u8,
    /// Number of groups that the node leads.
    pub led: u16,
    /// Number of groups that the node has a copy of, including those that it leads.
    pub kept: u16,
}

/// One end of a link as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The neighbour.
    pub node: u16,
    /// True if the link is up.
    pub up: bool,
    /// The neighbour's listening address.
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
        if let Some(GroupsView { replicas, led, kept }) = self.groups {
            let mut value = Vec::new();
            Writer::new(&mut value).u8(replicas).u16(led).u16(kept);
            args.tlv(TAG_GROUPS, &value);
        }
    }

    pub(super) fn decode(mut args: Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        let mut view = Self {
            node: args.u16("node")?,
            dimension: args.u8("dimension")?,
            instance: args.u64("instance")?,
            uptime_ms: args.u64("uptime_ms")?,
            durability: durability(&mut args)?,
            cluster: args.str8("cluster")?.to_owned(),
            software: args.str8("software")?.to_owned(),
            address: args.str8("address")?.to_owned(),
            links: Vec::new(),
            groups: None,
        };
        for _ in 0..view.dimension {
            let (node, up) = (args.u16("link_node")?, args.u8("link_up")?);
            view.links.push(LinkView { node, up: up != 0, address: args.str8("link_address")?.to_owned() });
        }
        args.tlvs(|tag, mut value| {
            if tag == TAG_GROUPS {
                let (replicas, led, kept) = (value.u8("replicas")?, value.u16("led")?, value.u16("kept")?);
                view.groups = Some(GroupsView { replicas, led, kept });
            }
            Ok(tag == TAG_GROUPS)
        })?;
        Ok(view)
    }
}

/// A page of the nodes of the cube in the order of their ids, according to the configuration of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePage {
    /// The id of the answering node.
    pub node: u16,
    /// The dimension of the cube.
    pub dimension: u8,
    /// The first id of the next page; 0 on the last page.
    pub next: u16,
    /// The nodes of this page.
    pub nodes: Vec<NodeAddress>,
}

/// A node and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// The id of the node.
    pub node: u16,
    /// The state of the link between this node and the answering node.
    pub link: LinkState,
    /// The address that it listens on, as `host:port`; empty when it is unknown.
    pub address: String,
}

/// The state of the link between a node and the one that answers NODES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The nodes are not neighbours, so the answering node does not know whether the other is up.
    Distant = 0,
    /// The nodes are neighbours, and the link is down.
    Down = 1,
    /// The nodes are neighbours, and the link is up.
    Up = 2,
    /// The node is the answering node itself.
    Itself = 3,
}

impl NodePage {
    /// Returns the size of the encoded payload in bytes.
    pub fn payload_len(&self) -> usize {
        self.nodes.iter().map(|node| cut(&node.address).len().saturating_add(4)).sum()
    }

    pub(super) fn decode(args: &mut Reader<'_, impl Observer>, payload: &[u8]) -> Result<Self, DecodeError> {
        let (node, dimension, next) = (args.u16("node")?, args.u8("dimension")?, args.u16("next")?);
        let count = args.u16("count")?;
        let mut items = args.nested(payload);
        let nodes = (0..count).map(|_| NodeAddress::decode(&mut items)).collect::<Result<_, _>>()?;
        if items.is_at_end() { Ok(Self { node, dimension, next, nodes }) } else { Err(DecodeError::Payload) }
    }
}

impl NodeAddress {
    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        out.u16(self.node).u8(self.link as u8).str8(cut(&self.address));
    }

    fn decode(items: &mut Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        let node = items.u16("node_id")?;
        let link = match items.u8("link")? {
            0 => LinkState::Distant,
            1 => LinkState::Down,
            2 => LinkState::Up,
            3 => LinkState::Itself,
            _ => return Err(DecodeError::Value { field: "link" }),
        };
        Ok(Self { node, link, address: items.str8("address")?.to_owned() })
    }
}

/// Truncates an address to the length of a label. An address may have any length, but its beginning is enough to
/// recognise it.
fn cut(address: &str) -> &str {
    &address[..address.floor_char_boundary(LABEL_MAX.min(address.len()))]
}
