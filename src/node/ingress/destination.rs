//! Which node executes a client's request.

use super::super::Settings;
use super::super::subject::Subject;
use crate::cube;
use crate::types::{NodeId, SlotId};
use crate::wire::request::ANY_NODE;
use crate::wire::response::ErrorResponse;
use crate::wire::{Kind, Request, Status};

/// The target of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Destination {
    /// The node that executes it.
    pub target: NodeId,
    /// The kind of its route.
    pub kind: Kind,
    /// The slot of its topic; `None` if it is about a node.
    pub slot: Option<SlotId>,
    /// The TTL of a TRACE, which is sent once, even if the target is known to be unreachable; `None` for other
    /// requests.
    pub ttl: Option<u16>,
}

impl Destination {
    /// Returns the target of a request.
    ///
    /// # Errors
    /// Returns the answer to a request for a node that the cube does not have, or for none.
    pub(in crate::node) fn of(settings: &Settings, request: &Request<'_>) -> Result<Self, ErrorResponse> {
        let dimension = settings.dimension;
        let ttl = if let Request::Trace { ttl, .. } = request { Some(*ttl) } else { None };
        match Subject::of(request) {
            Subject::Topic(name) => {
                let slot = cube::slot(name, settings.slots);
                Ok(Self { target: settings.leader_of(slot), kind: Kind::Group, slot: Some(slot), ttl })
            }
            Subject::Node(node) => {
                let target = if node == ANY_NODE { Some(settings.id) } else { NodeId::new(node, dimension) };
                let target = target.ok_or_else(|| {
                    let last = dimension.nodes() - 1;
                    ErrorResponse::new(Status::UnknownNode, format!("this cube has the nodes 0 to {last}, not {node}"))
                })?;
                Ok(Self { target, kind: Kind::Node, slot: None, ttl })
            }
            Subject::Peer => Err(ErrorResponse::new(Status::BadRequest, "this is not sent on")),
        }
    }
}
