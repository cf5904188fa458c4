//! Which node executes a client's request.

use super::super::Settings;
use crate::cube;
use crate::types::{NodeId, TopicName};
use crate::wire::request::{ANY_NODE, TraceTarget};
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
}

impl Destination {
    /// Returns the target of a request.
    ///
    /// # Errors
    /// Returns the answer to a request for a node that the cube does not have, or for none.
    pub(in crate::node) fn of(settings: &Settings, request: &Request<'_>) -> Result<Self, ErrorResponse> {
        Ok(match request {
            Request::Ping { node, .. }
            | Request::Cluster { node }
            | Request::Stats { node }
            | Request::Nodes { node, .. } => Self::of_node(settings, *node)?,
            Request::List(list) => Self::of_node(settings, list.node)?,
            Request::Create { topic, .. } | Request::Query { topic } => Self::of_topic(settings, *topic),
            Request::Delete(topic) | Request::Info(topic) => Self::of_topic(settings, topic.name),
            Request::Alter { topic, .. } | Request::Trim { topic, .. } | Request::Producer { topic, .. } => {
                Self::of_topic(settings, topic.name)
            }
            Request::Publish(publish) => Self::of_topic(settings, publish.topic.name),
            Request::Fetch(fetch) => Self::of_topic(settings, fetch.topic.name),
            Request::Subscribe(subscribe) => Self::of_topic(settings, subscribe.topic.name),
            Request::Unsubscribe { .. } | Request::Credit { .. } | Request::Feed { .. } | Request::Heads(_) => {
                return Err(ErrorResponse::new(Status::BadRequest, "this is not sent on"));
            }
            Request::Trace { ttl, target: TraceTarget::Node(node) } => {
                Self { ttl: Some(*ttl), ..Self::of_node(settings, *node)? }
            }
            Request::Trace { ttl, target: TraceTarget::Topic(name) } => {
                Self { ttl: Some(*ttl), ..Self::of_topic(settings, *name) }
            }
        })
    }

    fn of_node(settings: &Settings, node: u16) -> Result<Self, ErrorResponse> {
        let dimension = settings.dimension;
        let target = if node == ANY_NODE { Some(settings.id) } else { NodeId::new(node, dimension) };
        let target = target.ok_or_else(|| {
            let last = dimension.nodes() - 1;
            ErrorResponse::new(Status::UnknownNode, format!("this cube has the nodes 0 to {last}, not {node}"))
        })?;
        Ok(Self { target, kind: Kind::Node, ttl: None })
    }

    fn of_topic(settings: &Settings, name: TopicName<'_>) -> Self {
        Self { target: cube::home(name, settings.dimension), kind: Kind::Group, ttl: None }
    }
}
