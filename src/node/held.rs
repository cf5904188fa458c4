//! FETCHes that wait for memory: their next record is larger than what they have reserved, and their client uses its
//! share with other answers, or does not take them.
//!
//! They wait for their client only, in the order in which they were refused by their home. One of them can always go on
//! when its client uses nothing else, so a client that takes its answers gets all of them. They have no deadline: a
//! client that takes nothing would not get an answer either.

use super::ingress::Asked;
use super::pending::Pending;
use super::pull::request_frame;
use super::{Node, Step};
use crate::limits::{HELD_BYTES, PAYLOAD_MAX, REQUEST_TIMEOUT_US, RESPONSE_CHARGE};
use crate::types::NodeId;
use crate::wire::frame::Kept;
use crate::wire::request::Fetch;
use crate::wire::response::ErrorResponse;
use crate::wire::{Frame, Kind, Opcode, Origin, Request, Response, Status, TrafficClass};

/// A FETCH that waits for memory.
#[derive(Debug)]
pub(super) struct Held {
    asked: Asked,
    target: NodeId,
    kind: Kind,
    frame: Kept,
    /// Bytes that it has to reserve.
    needed: u32,
}

impl Node {
    /// Handles the response to a FETCH whose next record is larger than what it has reserved: it waits until it can
    /// reserve more. Returns false if the response is another one.
    pub(super) fn hold_if_too_large(&mut self, step: &mut Step<'_>, origin: Origin, frame: &Frame<'_>) -> bool {
        let Some(pending) = self.pending.get_mut(origin) else { return false };
        if pending.asked.opcode != Opcode::Fetch.number() || pending.frame.is_none() {
            return false;
        }
        let Some(Response::Error(error)) = Self::answer_of(pending.asked.opcode, frame) else { return false };
        let Some(limit) = error.limit() else { return false };
        let needed = u32::try_from(limit).unwrap_or(u32::MAX).min(PAYLOAD_MAX) + RESPONSE_CHARGE;
        if needed <= pending.asked.charge {
            return false;
        }
        let Some(pending) = self.take_pending(step, origin) else { return false };
        self.follow_on(step, &pending, true);
        let Pending { mut asked, target, kind, frame: Some(frame), .. } = pending else { return true };
        let conn = asked.conn;
        match self.conns.client_mut(conn) {
            Some(client) => {
                self.admission.release(conn, asked.charge - HELD_BYTES);
                asked.charge = HELD_BYTES;
                client.held.push_back(Held { asked, target, kind, frame, needed });
                self.admission.set_holding(conn, true);
                self.releasable.push(conn);
            }
            None => {
                self.take_pending_reader(&asked);
                self.admission.finish(conn, asked.charge);
            }
        }
        true
    }

    /// Sends the FETCHes for which their clients have memory again. Called once for each event, so that it need not be
    /// careful about what it leads to.
    pub(super) fn release_held(&mut self, step: &mut Step<'_>) {
        while let Some(conn) = self.releasable.pop() {
            let Some(client) = self.conns.client_mut(conn) else { continue };
            let Some(held) = client.held.pop_front() else {
                self.admission.set_holding(conn, false);
                continue;
            };
            if self.admission.may_continue(conn, held.needed - HELD_BYTES) {
                self.send_held(step, held);
                self.releasable.push(conn);
            } else {
                client.held.push_front(held);
            }
        }
    }

    fn send_held(&mut self, step: &mut Step<'_>, held: Held) {
        let Held { mut asked, target, kind, frame, needed } = held;
        let frame = for_one_record(&frame.into_frame(), needed - RESPONSE_CHARGE);
        self.admission.extend(asked.conn, needed - asked.charge);
        asked.charge = needed;
        let pending = self.new_pending(step, asked, (target, kind), Some(frame.keep()), true);
        let Some(origin) = self.pending.insert(pending, step.now.after_us(REQUEST_TIMEOUT_US)) else {
            return self.finish(step, asked, self.too_many_pending().into());
        };
        if self.queue_behind_waiting(step, origin) {
            return;
        }
        let route = self.new_route(target, kind, TrafficClass::Bulk, origin);
        match self.send_frame(step, frame, route) {
            Ok(conn) => self.note_sent(step, origin, conn),
            Err(refusal) => self.complete(step, origin, *refusal),
        }
    }

    /// Drops the FETCHes of a client that has gone.
    pub(super) fn drop_held(&mut self, held: impl IntoIterator<Item = Held>) {
        for Held { asked, .. } in held {
            self.take_pending_reader(&asked);
            self.admission.finish(asked.conn, asked.charge);
        }
    }

    /// Refuses the FETCHes of all clients that wait for memory, because this node is shutting down.
    pub(super) fn refuse_held(&mut self, step: &mut Step<'_>) {
        let held: Vec<Held> = self.conns.iter_mut().flat_map(|(_, conn)| conn.take_held()).collect();
        for Held { asked, .. } in held {
            let error = ErrorResponse::new(Status::ShuttingDown, "this node is ending; use another one");
            self.finish(step, asked, error.into());
        }
    }
}

/// Returns a FETCH for one record, of at most so many bytes.
fn for_one_record(frame: &Frame<'_>, max_bytes: u32) -> Frame<'static> {
    let args = frame.args().expect("it was verified when it arrived");
    match Request::decode(Opcode::Fetch, args) {
        Ok(Request::Fetch(fetch)) => {
            changed_frame(frame, &Request::Fetch(Fetch { max_bytes, max_records: 1, ..fetch }))
        }
        other => unreachable!("{other:?} was a FETCH when it arrived"),
    }
}

/// Returns the frame of a request whose arguments this node has changed.
pub(super) fn changed_frame(frame: &Frame<'_>, request: &Request<'_>) -> Frame<'static> {
    request_frame(request, &[], frame.header.request_id, frame.header.flags)
}
