//! The names of nodes in messages, and the errors that several parts of the node answer with.

use super::{Settings, Step};
use crate::cube;
use crate::types::{NodeId, SlotId};
use crate::wire::Status;
use crate::wire::response::{Detail, ErrorResponse};

impl Settings {
    /// Returns a node's id in binary digits.
    pub(super) fn name(&self, node: NodeId) -> String {
        node.binary(self.dimension)
    }

    /// Returns the error for a name of that slot without a topic.
    pub(super) fn no_topic(&self, slot: SlotId, name: &str) -> ErrorResponse {
        let home = self.name(cube::node_of(slot, self.dimension));
        self.unknown_topic(slot, format!("no topic {name:?}; its home is node {home}"))
    }

    /// Returns the error for a request whose topic was deleted while the request was in progress.
    pub(super) fn deleted_before(&self, slot: SlotId) -> ErrorResponse {
        self.unknown_topic(slot, "the topic was deleted before this could be done")
    }

    /// Returns the error for a topic of that slot that does not exist.
    pub(super) fn unknown_topic(&self, slot: SlotId, message: impl Into<String>) -> ErrorResponse {
        let home = cube::node_of(slot, self.dimension);
        ErrorResponse::new(Status::UnknownTopic, message).with(Detail::Node(home.index()))
    }

    /// Returns the error for a request that this node has no room for at the moment.
    pub(super) fn overloaded(&self, message: impl Into<String>) -> ErrorResponse {
        ErrorResponse::new(Status::Overloaded, message).with(Detail::Node(self.id.index()))
    }

    /// Returns the error for a full write queue.
    pub(super) fn waits_for_disk(&self) -> ErrorResponse {
        self.overloaded(format!(
            "the write queue of node {} is full because its disk is slow; retry",
            self.name(self.id)
        ))
        .retry_after(20)
    }

    /// Returns the error for a full disk.
    pub(super) fn no_space(&self) -> ErrorResponse {
        let node = self.name(self.id);
        let message = format!(
            "node {node} has no space left for its journal; delete topics, make space on its disk, or raise --disk"
        );
        ErrorResponse::new(Status::Quota, message)
    }
}

impl Step<'_> {
    /// Returns the error for a request for a topic of a slot that this node does not lead.
    pub(super) fn not_leader(&self, slot: SlotId) -> ErrorResponse {
        let (here, leader) = (self.settings.name(self.settings.id), self.leaders.of(slot));
        let message = format!("node {here} does not lead the topics of slot {}", slot.index());
        let error = ErrorResponse::new(Status::NotLeader, message).with(Detail::Node(leader.index())).retry_after(50);
        match self.leaders.known_term(slot) {
            Some(term) => error.with(Detail::Term(term)),
            None => error,
        }
    }
}
