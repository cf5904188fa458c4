//! Back-pressure: what clients may have unanswered, and who is not read.
//!
//! It is applied here and nowhere else: a client with too much unanswered, or who does not read its answers, is not
//! read. It loses nothing and is not cut off.

use super::action::Action;
use super::conns::Client;
use super::{Node, Step};
use crate::limits::{
    CLIENT_CHARGE_MAX, INFLIGHT_MAX, LIST_BYTES_MAX, LISTED_BYTES, NODE_CHARGE_MAX, NODES_BYTES_MAX, PAYLOAD_MAX,
    RESPONSE_CHARGE,
};
use crate::types::ConnId;
use crate::wire::request::Fetch;
use crate::wire::{Request, Response};

impl Node {
    /// Charges a request to its client, and stops reading it if that was its share.
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

    /// Gives back what an answered request was charged; the client's frame cap if an answer is to be sent. A client
    /// that does not read owes the answer's bytes instead, until it does.
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

    /// What follows for a client from one request less.
    pub(super) fn settle(&mut self, step: &mut Step<'_>, id: ConnId) {
        let Some(client) = self.conns.client_mut(id) else { return };
        let Client { ended, inflight, paused, .. } = *client;
        if ended && inflight == 0 {
            self.close(step, id);
        } else if paused {
            self.resume_if_due(step, id);
        }
    }

    /// Stops reading a client that has too much unanswered or does not read.
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

    /// Goes on reading a client whose answers are out by half.
    pub(super) fn resume_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        let is_crowded = self.is_crowded();
        let Some(client) = self.conns.client_mut(id) else { return };
        let has_room = client.inflight <= INFLIGHT_MAX / 2 && client.charge <= CLIENT_CHARGE_MAX / 2 && !client.full;
        if client.paused && has_room && !(is_crowded && client.inflight > 0) {
            client.paused = false;
            step.out.push(Action::Resume { conn: id });
            // While it was not read it could not be heard.
            self.on_heard(step, id);
        }
    }

    /// Answers that a client did not take are out, or nobody wants them any more.
    pub(super) fn forgive_owed(&mut self, step: &mut Step<'_>, bytes: u64) {
        let was_crowded = self.is_crowded();
        self.owed -= bytes;
        if was_crowded {
            self.make_use_of_room(step);
        }
    }

    /// Do the answers of all clients, those to come and those not taken, take as much as they may?
    const fn is_crowded(&self) -> bool {
        self.charge + self.owed >= NODE_CHARGE_MAX
    }

    /// Goes on reading those who waited for room, when there is some again.
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

/// What a request is charged: the largest answer that it may get.
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

/// Bytes of an answer, roughly.
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

/// Has the client as much unanswered, or untaken, as it may?
const fn has_its_share(client: &Client) -> bool {
    client.full || client.inflight >= INFLIGHT_MAX || client.charge >= CLIENT_CHARGE_MAX
}
