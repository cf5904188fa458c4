//! Who executes a client's request, if not this node.

use super::super::Settings;
use super::super::leaders::{Copies, Leaders};
use super::super::subject::Subject;
use crate::limits::{FAILOVER_US, RETRY_FOR_US};
use crate::types::{NodeId, SlotId};
use crate::wire::response::ErrorResponse;
use crate::wire::{Kind, Request, Status};

/// Who executes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node) enum Destination {
    /// The leader of a slot: the node that leads when an attempt is made.
    Slot(SlotId),
    /// This node and no other.
    Node(NodeId),
}

impl Destination {
    /// Returns the node that executes requests for it now, as far as is known.
    pub(in crate::node) fn node(self, leaders: &Leaders) -> NodeId {
        match self {
            Self::Slot(slot) => leaders.of(slot),
            Self::Node(node) => node,
        }
    }

    /// Returns the nodes of which one executes requests for it.
    pub(super) fn nodes(self, settings: &Settings) -> impl Iterator<Item = NodeId> {
        let (slot, node) = match self {
            Self::Slot(slot) => (Some(slot), None),
            Self::Node(node) => (None, Some(node)),
        };
        slot.into_iter().flat_map(|slot| settings.members_of(slot)).chain(node)
    }

    /// Returns the slot, if several nodes keep its topics.
    pub(super) fn replicated(self, settings: &Settings) -> Option<SlotId> {
        match (self, settings.copies) {
            (Self::Slot(slot), Copies::Three) => Some(slot),
            (Self::Slot(_), Copies::One) | (Self::Node(_), _) => None,
        }
    }

    /// Returns for how long a request for it is sent again, in microseconds.
    pub(super) fn patience_us(self, settings: &Settings) -> u64 {
        if self.replicated(settings).is_some() { FAILOVER_US } else { RETRY_FOR_US }
    }

    /// Returns the kind of the route of a request for it.
    pub(in crate::node) const fn kind(self) -> Kind {
        match self {
            Self::Slot(_) => Kind::Group,
            Self::Node(_) => Kind::Node,
        }
    }
}

/// Some of the nodes of a destination, by their places in [`Destination::nodes`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried(u8);

impl Tried {
    /// Adds a node.
    pub(super) fn insert(&mut self, settings: &Settings, to: Destination, node: NodeId) {
        self.0 |= to.nodes(settings).position(|it| it == node).map_or(0, |place| 1 << place);
    }

    /// Returns true if the node was added.
    pub(super) fn contains(self, settings: &Settings, to: Destination, node: NodeId) -> bool {
        to.nodes(settings).position(|it| it == node).is_some_and(|place| self.0 & 1 << place != 0)
    }

    /// Returns the nodes that were added.
    pub(super) fn nodes(self, settings: &Settings, to: Destination) -> impl Iterator<Item = NodeId> {
        to.nodes(settings).filter(move |node| self.contains(settings, to, *node))
    }
}

/// How a client's request is sent to another node.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Forwarding {
    /// Who executes it.
    pub to: Destination,
    /// The TTL of a TRACE, which is sent once, even if the node is known to be unreachable; `None` for other requests.
    pub ttl: Option<u16>,
    /// True if the request may be sent again although an earlier attempt may have been applied.
    pub is_repeatable: bool,
}

impl Forwarding {
    /// Returns how a PUBLISH to a topic of this slot is sent.
    pub(in crate::node) const fn of_publish(slot: SlotId, is_repeatable: bool) -> Self {
        Self { to: Destination::Slot(slot), ttl: None, is_repeatable }
    }

    /// Returns how a request that is about `subject` is sent.
    ///
    /// # Errors
    /// Returns the answer to a request for a node that the cube does not have, or for none.
    pub(in crate::node) fn of(
        settings: &Settings,
        request: &Request<'_>,
        subject: Subject,
    ) -> Result<Self, ErrorResponse> {
        let ttl = if let Request::Trace { ttl, .. } = request { Some(*ttl) } else { None };
        let to = match subject {
            Subject::Slot(slot) => Destination::Slot(slot),
            Subject::Node(node) => Destination::Node(NodeId::new(node, settings.dimension).ok_or_else(|| {
                let last = settings.dimension.nodes() - 1;
                ErrorResponse::new(Status::UnknownNode, format!("this cube has the nodes 0 to {last}, not {node}"))
            })?),
            Subject::Peer => {
                let message = "this request concerns only the node that you are connected to";
                return Err(ErrorResponse::new(Status::BadRequest, message));
            }
        };
        Ok(Self { to, ttl, is_repeatable: is_repeatable(request) })
    }
}

/// Returns true for a request that may be sent again although an earlier attempt may have been applied.
const fn is_repeatable(request: &Request<'_>) -> bool {
    match request {
        Request::Publish(publish) => publish.producer.is_some(),
        Request::Ping { .. }
        | Request::Create { .. }
        | Request::List(_)
        | Request::Info(_)
        | Request::Fetch(_)
        | Request::Subscribe(_)
        | Request::Query { .. }
        | Request::Trace { .. }
        | Request::Cluster { .. }
        | Request::Stats { .. }
        | Request::Nodes { .. } => true,
        Request::Delete(_)
        | Request::Alter { .. }
        | Request::Trim { .. }
        | Request::Producer { .. }
        | Request::Unsubscribe { .. }
        | Request::Credit { .. }
        | Request::Feed { .. }
        | Request::Heads(_)
        | Request::Raft { .. }
        | Request::Chunks(_) => false,
    }
}
