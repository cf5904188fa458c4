//! Back-pressure: what a request reserves, and the suspension of clients as [`Admission`] decides.
//!
//! [`Admission`]: super::admission::Admission

use super::action::Action;
use super::conns::Client;
use super::end::End;
use super::ingress::Asked;
use super::{Node, Step};
use crate::limits::{LIST_BYTES_MAX, LISTED_BYTES, NODES_BYTES_MAX, PAYLOAD_MAX, RESPONSE_CHARGE};
use crate::types::ConnId;
use crate::wire::request::Fetch;
use crate::wire::{Request, Response};

/// Most suspended clients that are looked at when a request is finished, so that its cost does not grow with their
/// number.
const RESUMED_PER_REQUEST: usize = 2;

/// Most suspended clients that are looked at in one tick: those for whom no finished request does it.
const RESUMED_PER_TICK: usize = 256;

impl Node {
    /// Reserves budget for a request, and suspends reads from the client if it has used up its share.
    pub(super) fn charge(&mut self, step: &mut Step<'_>, id: ConnId, charge: u32) {
        self.admission.reserve(id, charge);
        self.suspend_if_due(step, id);
    }

    /// Releases what a finished request has reserved. Returns the client's largest frame size if the client is still
    /// connected.
    pub(super) fn discharge(&mut self, step: &mut Step<'_>, asked: &Asked, answer_len: u64) -> Option<u32> {
        self.admission.finish(asked.conn, asked.charge, answer_len);
        self.resume_crowded(step, RESUMED_PER_REQUEST);
        self.conns.client_mut(asked.conn).map(|client| client.frame_max)
    }

    /// Releases a part of what a request has reserved.
    pub(super) fn uncharge(&mut self, step: &mut Step<'_>, id: ConnId, charge: u32) {
        self.admission.release(id, charge);
        self.resume_crowded(step, RESUMED_PER_REQUEST);
    }

    /// After an answer, closes a client that has ended and waits for nothing more, or resumes reads from it if
    /// possible.
    pub(super) fn settle(&mut self, step: &mut Step<'_>, id: ConnId) {
        let Some(Client { ended, readers, .. }) = self.conns.client_mut(id) else { return };
        if *ended && readers.is_empty() && self.admission.inflight_of(id) == 0 {
            self.close(step, id, End::ClosedByPeer);
        } else {
            self.resume_if_due(step, id);
        }
    }

    /// Suspends reads from a client that has used up its share or does not read its answers.
    pub(super) fn suspend_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        if self.admission.suspend(id) {
            self.stats.pauses += 1;
            step.out.push(Action::Pause { conn: id });
        }
    }

    /// Resumes reads from a client that has room again.
    pub(super) fn resume_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        if self.admission.resume(id) {
            step.out.push(Action::Resume { conn: id });
            // The client could not give a sign of life while reads were suspended.
            self.on_heard(step, id);
        }
    }

    /// Resumes reads from some of the clients that wait for the budget that all share.
    pub(super) fn resume_crowded(&mut self, step: &mut Step<'_>, most: usize) {
        for _ in 0..most {
            let Some(id) = self.admission.take_crowded() else { return };
            self.resume_if_due(step, id);
            self.admission.keep_crowded(id);
        }
    }

    /// Resumes reads from the clients for whom no finished request did.
    pub(super) fn tick_admission(&mut self, step: &mut Step<'_>) {
        self.resume_crowded(step, RESUMED_PER_TICK);
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
