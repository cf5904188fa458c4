//! A client's request that another node is to answer.

use super::super::Settings;
use super::super::asked::Asked;
use super::super::claims::is_of_way;
use super::destination::{Destination, Tried};
use crate::types::{ConnId, NodeId};
use crate::wire::frame::Kept;
use crate::wire::{Frame, Response};

/// A client's request that another node executes.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The client's request.
    pub asked: Asked,
    /// Who executes it.
    pub to: Destination,
    /// The node to which the latest attempt was sent; before the first attempt, the one to which it would be.
    pub node: NodeId,
    /// The node that was taken for the leader then.
    pub leader: NodeId,
    /// The nodes to which it was sent without a pause between the attempts.
    pub tried: Tried,
    /// The nodes to which it was sent at all.
    pub asked_of: Tried,
    /// True if an attempt was refused for another reason than that the node does not lead or is unreachable.
    pub has_other_refusal: bool,
    /// The request's frame, for retries; `None` for a TRACE, which is sent only once.
    pub frame: Option<Kept>,
    /// True if it may be sent again although an earlier attempt may have been applied.
    pub is_repeatable: bool,
    /// True if an attempt got no response, so it may have been applied.
    pub is_unsure: bool,
    /// Its serial number among all requests.
    pub number: u64,
    /// Monotonic time in microseconds at which the client sent it.
    pub asked_us: u64,
    /// Monotonic time in microseconds of the latest attempt.
    pub sent_us: u64,
    /// Monotonic time in microseconds at which an attempt last counted as lost; 0 if none has.
    pub lost_us: u64,
    /// The link on which the latest attempt was sent; `None` before the first attempt.
    pub via: Option<ConnId>,
    /// What the request waits for.
    pub state: State,
}

/// What a request waits for.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// The response to its latest attempt.
    Sent {
        /// Monotonic time in microseconds at which the attempt is given up: `u64::MAX` unless it was probably lost.
        give_up_us: u64,
    },
    /// The time of its next attempt.
    Waiting {
        /// The response to the latest attempt; `None` if it was probably lost, or if there was no attempt yet.
        refusal: Option<Box<Response>>,
    },
}

impl State {
    /// The state of a request that has just been sent.
    pub(super) const SENT: Self = Self::Sent { give_up_us: u64::MAX };
}

impl Pending {
    /// Returns true if `source` may have sent this response to it.
    pub(super) fn is_answered_by(&self, settings: &Settings, response: &Frame<'_>, source: NodeId) -> bool {
        let header = &response.header;
        let is_of_request = (header.opcode, header.request_id) == (self.asked.opcode, self.asked.request_id);
        is_of_request && (is_of_way(header.status) || self.to.nodes(settings).any(|node| node == source))
    }

    /// Returns the budget in bytes to reserve for the frame, beyond that for the response. The two never occupy memory
    /// at the same time, because the frame is released when the response arrives.
    pub(super) fn frame_charge(&self) -> u32 {
        self.frame.as_ref().map_or(0, Kept::size).saturating_sub(self.asked.charge)
    }
}
