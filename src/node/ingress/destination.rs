//! Which other node executes a client's request.

use super::super::Settings;
use super::super::leaders::Leaders;
use super::super::subject::Subject;
use super::retry::is_repeatable;
use crate::types::{NodeId, SlotId};
use crate::wire::response::ErrorResponse;
use crate::wire::{Kind, Request, Status};

/// The target of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Destination {
    /// The node that executes it.
    pub target: NodeId,
    /// The kind of its route.
    pub kind: Kind,
    /// The TTL of a TRACE, which is sent once, even if the target is known to be unreachable; `None` for other
    /// requests.
    pub ttl: Option<u16>,
    /// True if the request may be sent again although an earlier attempt may have been applied.
    pub is_repeatable: bool,
}

impl Destination {
    /// Returns the target of a PUBLISH to a topic of this slot.
    pub(in crate::node) fn of_publish(leaders: &Leaders, slot: SlotId, is_repeatable: bool) -> Self {
        Self { target: leaders.of(slot), kind: Kind::Group, ttl: None, is_repeatable }
    }

    /// Returns the target of a request that is about `subject`.
    ///
    /// # Errors
    /// Returns the answer to a request for a node that the cube does not have, or for none.
    pub(in crate::node) fn of(
        settings: &Settings,
        leaders: &Leaders,
        request: &Request<'_>,
        subject: Subject,
    ) -> Result<Self, ErrorResponse> {
        let ttl = if let Request::Trace { ttl, .. } = request { Some(*ttl) } else { None };
        let is_repeatable = is_repeatable(request);
        match subject {
            Subject::Slot(slot) => Ok(Self { target: leaders.of(slot), kind: Kind::Group, ttl, is_repeatable }),
            Subject::Node(node) => {
                let target = NodeId::new(node, settings.dimension).ok_or_else(|| {
                    let last = settings.dimension.nodes() - 1;
                    ErrorResponse::new(Status::UnknownNode, format!("this cube has the nodes 0 to {last}, not {node}"))
                })?;
                Ok(Self { target, kind: Kind::Node, ttl, is_repeatable })
            }
            Subject::Peer => Err(ErrorResponse::new(
                Status::BadRequest,
                "this request concerns only the node that you are connected to",
            )),
        }
    }
}
