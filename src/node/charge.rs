//! Back-pressure: the response budget of clients, and which clients' reads are suspended.
//!
//! Back-pressure is applied only here. When a client has too many outstanding response bytes or does not read its
//! answers, the node suspends reads from it. Nothing is lost, and the client is not disconnected.

use super::action::Action;
use super::conns::Client;
use super::end::End;
use super::{Node, Step};
use crate::limits::{
    CLIENT_CHARGE_MAX, INFLIGHT_MAX, LIST_BYTES_MAX, LISTED_BYTES, NODE_CHARGE_MAX, NODES_BYTES_MAX, PAYLOAD_MAX,
    RESPONSE_CHARGE,
};
use crate::types::ConnId;
use crate::wire::request::Fetch;
use crate::wire::{Request, Response};

impl Node {
    /// Reserves response budget for a request, and suspends reads from the client if it has used up its share.
    pub(super) fn charge(&mut self, step: &mut Step<'_>, id: ConnId, charge: u32) {
        self.inflight += 1;
        self.charge += u64::from(charge);
        let is_crowded = self.is_crowded();
        if let Some(client) = self.conns.client_mut(id) {
            client.inflight += 1;
            client.charge += u64::from(charge);
            if is_crowded || has_its_share(client) {
                self.pause_if_due(step, id);
            }
        }
    }

    /// Releases the budget of an answered request. Returns the client's largest frame size if the client is still
    /// connected. While the client does not read, the bytes of the answer stay accounted until it has taken them.
    pub(super) fn discharge(&mut self, step: &mut Step<'_>, id: ConnId, charge: u32, answer_len: u64) -> Option<u32> {
        let was_crowded = self.is_crowded();
        self.inflight -= 1;
        self.charge -= u64::from(charge);
        let frame_max = self.conns.client_mut(id).map(|client| {
            client.inflight -= 1;
            client.charge -= u64::from(charge);
            if client.full {
                client.owed += answer_len;
                self.owed += answer_len;
            }
            client.frame_max
        });
        if was_crowded {
            self.make_use_of_room(step);
        }
        frame_max
    }

    /// Returns a part of what a request was charged.
    pub(super) fn uncharge(&mut self, step: &mut Step<'_>, id: ConnId, charge: u32) {
        let was_crowded = self.is_crowded();
        self.charge -= u64::from(charge);
        if let Some(client) = self.conns.client_mut(id) {
            client.charge -= u64::from(charge);
        }
        if was_crowded {
            self.make_use_of_room(step);
        }
    }

    /// After an answer, closes a client that has ended and has no more requests, or resumes reads from it if possible.
    pub(super) fn settle(&mut self, step: &mut Step<'_>, id: ConnId) {
        let Some(client) = self.conns.client_mut(id) else { return };
        let Client { ended, inflight, paused, .. } = *client;
        if ended && inflight == 0 {
            self.close(step, id, End::ClosedByPeer);
        } else if paused {
            self.resume_if_due(step, id);
        }
    }

    /// Suspends reads from a client that has used up its share or does not read its answers.
    pub(super) fn pause_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        let is_crowded = self.is_crowded();
        let Some(client) = self.conns.client_mut(id) else { return };
        if client.paused {
            return;
        }
        if has_its_share(client) || is_crowded && client.inflight > 0 {
            client.paused = true;
            self.stats.pauses += 1;
            step.out.push(Action::Pause { conn: id });
            if is_crowded && !client.waits {
                client.waits = true;
                self.crowded.push(id);
            }
        }
    }

    /// Resumes reads from a client once half of its share is free.
    pub(super) fn resume_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        let is_crowded = self.is_crowded();
        let Some(client) = self.conns.client_mut(id) else { return };
        let has_room = client.inflight <= INFLIGHT_MAX / 2 && client.charge <= CLIENT_CHARGE_MAX / 2 && !client.full;
        if client.paused && has_room && !(is_crowded && client.inflight > 0) {
            client.paused = false;
            step.out.push(Action::Resume { conn: id });
            // The client could not give a sign of life while reads were suspended.
            self.on_heard(step, id);
        }
    }

    /// Releases the bytes of answers that a client has now taken, or that are no longer needed.
    pub(super) fn forgive_owed(&mut self, step: &mut Step<'_>, bytes: u64) {
        let was_crowded = self.is_crowded();
        self.owed -= bytes;
        if was_crowded {
            self.make_use_of_room(step);
        }
    }

    /// Returns true when the answers of all clients, pending and queued, use up the node's response budget.
    const fn is_crowded(&self) -> bool {
        self.charge + self.owed >= NODE_CHARGE_MAX
    }

    /// Resumes reads from the clients that waited for budget, if there is some again.
    fn make_use_of_room(&mut self, step: &mut Step<'_>) {
        if self.is_crowded() {
            return;
        }
        for id in std::mem::take(&mut self.crowded) {
            if let Some(client) = self.conns.client_mut(id) {
                client.waits = false;
            }
            self.resume_if_due(step, id);
        }
    }
}

/// Returns the response budget to reserve for a request: the size of its largest possible answer.
pub(super) fn charge_of(request: &Request<'_>) -> u32 {
    let payload = match request {
        Request::Fetch(Fetch { max_bytes: 0, .. }) => PAYLOAD_MAX,
        Request::Fetch(fetch) => fetch.max_bytes.min(PAYLOAD_MAX),
        Request::Nodes { .. } => NODES_BYTES_MAX,
        Request::List(_) => LIST_BYTES_MAX,
        Request::Ping { .. }
        | Request::Create { .. }
        | Request::Delete(_)
        | Request::Alter { .. }
        | Request::Trim { .. }
        | Request::Producer { .. }
        | Request::Info(_)
        | Request::Publish(_)
        | Request::Subscribe(_)
        | Request::Unsubscribe { .. }
        | Request::Credit { .. }
        | Request::Feed { .. }
        | Request::Heads(_)
        | Request::Query { .. }
        | Request::Trace { .. }
        | Request::Cluster { .. }
        | Request::Stats { .. } => 0,
    };
    payload + RESPONSE_CHARGE
}

/// Returns the approximate size of an answer in bytes.
pub(super) fn size_of_answer(response: &Response) -> u64 {
    let payload_len = match response {
        Response::Fetched(fetched) => fetched.payload.len(),
        Response::Listed(page) => page.topics.iter().map(|topic| topic.name.len() + LISTED_BYTES).sum(),
        Response::Nodes(page) => page.payload_len(),
        Response::Ping { .. }
        | Response::Created { .. }
        | Response::Described(_)
        | Response::Deleted { .. }
        | Response::Published(_)
        | Response::Subscribed(_)
        | Response::Unsubscribed { .. }
        | Response::Traced(_)
        | Response::Cluster(_)
        | Response::Stats { .. }
        | Response::Trimmed { .. }
        | Response::Opened(_)
        | Response::Fed(_)
        | Response::Heads { .. }
        | Response::Error(_) => 0,
    };
    payload_len as u64 + u64::from(RESPONSE_CHARGE)
}

/// Returns true when the client has used up its share of the budget, or does not read its answers.
const fn has_its_share(client: &Client) -> bool {
    client.full || client.inflight >= INFLIGHT_MAX || client.charge >= CLIENT_CHARGE_MAX
}
