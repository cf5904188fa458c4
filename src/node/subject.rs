//! What a request is about, which says which node executes it, and which of its groups.

use crate::types::TopicName;
use crate::wire::Request;
use crate::wire::request::TraceTarget;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    /// A topic: the leader of its slot executes the request.
    Topic(TopicName<'a>),
    /// The node with that number, or any node.
    Node(u16),
    /// What two neighbours, or a client and its ingress, have agreed on: whoever gets the request executes it.
    Peer,
}

impl<'a> Subject<'a> {
    /// Returns what a request is about.
    pub(super) const fn of(request: &Request<'a>) -> Self {
        match request {
            Request::Ping { node, .. }
            | Request::Cluster { node }
            | Request::Stats { node }
            | Request::Nodes { node, .. } => Self::Node(*node),
            Request::List(list) => Self::Node(list.node),
            Request::Create { topic, .. } | Request::Query { topic } => Self::Topic(*topic),
            Request::Delete(topic) | Request::Info(topic) => Self::Topic(topic.name),
            Request::Alter { topic, .. } | Request::Trim { topic, .. } | Request::Producer { topic, .. } => {
                Self::Topic(topic.name)
            }
            Request::Publish(publish) => Self::Topic(publish.topic.name),
            Request::Fetch(fetch) => Self::Topic(fetch.topic.name),
            Request::Subscribe(subscribe) => Self::Topic(subscribe.topic.name),
            Request::Trace { target: TraceTarget::Node(node), .. } => Self::Node(*node),
            Request::Trace { target: TraceTarget::Topic(name), .. } => Self::Topic(*name),
            Request::Unsubscribe { .. } | Request::Credit { .. } | Request::Feed { .. } | Request::Heads(_) => {
                Self::Peer
            }
        }
    }
}
