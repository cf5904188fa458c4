//! Requests at the node that executes them: whom to answer, and how.

use super::asked::Asked;
use crate::types::{Dimension, NodeId, RequestId, SlotId};
use crate::wire::response::Ack;
use crate::wire::{Flags, Frame, Header, Origin, Response, Route, TrafficClass};

/// A request at the node that executes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// Its frame.
    pub frame: &'a Frame<'a>,
    /// The route on which it came.
    pub route: &'a Route,
    /// Whom to answer.
    pub reply: ReplyTo,
    /// The slot of the topics that it is about; `None` if it is about none.
    pub slot: Option<SlotId>,
    /// When it came, in monotonic microseconds.
    pub since_us: u64,
}

/// How a request is answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// With this response.
    Now(Response),
    /// Later: once its entry is applied or its records are read.
    Later,
    /// Later: it is executed once the leader knows that it still leads.
    Unconfirmed,
}

/// Where to send the response to a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReplyTo {
    /// The client of this node that sent the request.
    Client(Asked),
    /// The ingress that sent the request. That is this node itself when its own request could not be forwarded.
    Ingress {
        /// The ingress.
        source: NodeId,
        /// The ingress's entry for this request in its table of pending requests.
        origin: Origin,
        /// The request id that the client chose.
        request_id: RequestId,
        /// The request's opcode as on the wire; this node need not know it.
        opcode: u8,
        /// The request's traffic class, which the response inherits.
        class: TrafficClass,
        /// The dimension in the request's route, which the response inherits.
        dimension: Dimension,
    },
    /// Nobody: the request was one-way.
    Nobody,
}

impl ReplyTo {
    pub(super) const fn new(header: &Header, route: &Route) -> Self {
        if header.flags.has(Flags::ONEWAY) {
            return Self::Nobody;
        }
        Self::Ingress {
            source: route.source,
            origin: route.origin,
            request_id: header.request_id,
            opcode: header.opcode,
            class: route.class,
            dimension: route.dimension,
        }
    }
}

impl ReplyTo {
    /// Returns true if both responses go the same way: to one client of this node, or back to one other ingress.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Client(asked), Self::Client(other)) => asked.conn == other.conn,
            (
                Self::Ingress { source, class, dimension, .. },
                Self::Ingress { source: other_source, class: other_class, dimension: other_dimension, .. },
            ) => (source, class, dimension) == (other_source, other_class, other_dimension),
            (Self::Client(_) | Self::Ingress { .. } | Self::Nobody, _) => false,
        }
    }

    /// Returns the acknowledgement of a batch of `count` records, which somebody must get.
    pub(super) fn ack(&self, count: u32) -> Ack {
        match *self {
            Self::Client(Asked { request_id, .. }) => Ack { request_id, origin: Origin::from_number(0), count },
            Self::Ingress { request_id, origin, .. } => Ack { request_id, origin, count },
            Self::Nobody => unreachable!("responses to nobody do not go together"),
        }
    }

    /// Makes the response take the same path as pushes, so that no push overtakes it.
    pub(super) const fn in_order_with_pushes(self) -> Self {
        match self {
            Self::Ingress { source, origin, request_id, opcode, dimension, .. } => {
                Self::Ingress { source, origin, request_id, opcode, dimension, class: TrafficClass::Control }
            }
            Self::Client(_) | Self::Nobody => self,
        }
    }
}
