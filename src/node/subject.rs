//! What a request is about, which says which node executes it, and which of its groups.

use super::Settings;
use crate::cube;
use crate::types::{SlotId, TopicName};
use crate::wire::request::TraceTarget;
use crate::wire::response::ErrorResponse;
use crate::wire::{Request, Status};

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Topics of that slot, whose leader executes the request.
    Slot(SlotId),
    /// The node with that number, or any node.
    Node(u16),
    /// What two neighbours, or a client and its ingress, have agreed on: whoever gets the request executes it.
    Peer,
}

impl Settings {
    /// Returns the slot with the number that another node has sent.
    ///
    /// # Errors
    /// Returns the answer to a request for a slot that the cube does not have.
    pub(super) fn slot(&self, number: u16) -> Result<SlotId, ErrorResponse> {
        SlotId::new(number, self.slots).ok_or_else(|| {
            let last = self.slots.count() - 1;
            ErrorResponse::new(Status::BadRequest, format!("this cube has the slots 0 to {last}, not {number}"))
        })
    }
}

impl Subject {
    /// Returns what a request is about.
    ///
    /// # Errors
    /// Returns the answer to a request for a slot that the cube does not have.
    pub(super) fn of(settings: &Settings, request: &Request<'_>) -> Result<Self, ErrorResponse> {
        let of_topic = |name: TopicName<'_>| Self::Slot(cube::slot(name, settings.slots));
        Ok(match request {
            Request::Ping { node, .. }
            | Request::Cluster { node }
            | Request::Stats { node }
            | Request::Nodes { node, .. } => Self::Node(*node),
            Request::List(list) => Self::Node(list.node),
            Request::Create { topic, .. } | Request::Query { topic } => of_topic(*topic),
            Request::Delete(topic) | Request::Info(topic) => of_topic(topic.name),
            Request::Alter { topic, .. } | Request::Trim { topic, .. } | Request::Producer { topic, .. } => {
                of_topic(topic.name)
            }
            Request::Publish(publish) => of_topic(publish.topic.name),
            Request::Fetch(fetch) => of_topic(fetch.topic.name),
            Request::Subscribe(subscribe) => of_topic(subscribe.topic.name),
            Request::Trace { target: TraceTarget::Node(node), .. } => Self::Node(*node),
            Request::Trace { target: TraceTarget::Topic(name), .. } => of_topic(*name),
            Request::Feed { slot, .. } => Self::Slot(settings.slot(*slot)?),
            Request::Unsubscribe { .. }
            | Request::Credit { .. }
            | Request::Heads(_)
            | Request::Raft { .. }
            | Request::Chunks(_) => Self::Peer,
        })
    }

    /// Returns the slot; `None` if the request is about no topic.
    pub(super) const fn slot(self) -> Option<SlotId> {
        match self {
            Self::Slot(slot) => Some(slot),
            Self::Node(_) | Self::Peer => None,
        }
    }
}
