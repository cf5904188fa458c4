//! FETCHes that wait for memory.
//!
//! A FETCH for another node reserves no more than its client may use at the time, and is held when that is less than
//! any FETCH reserves. If its next record is larger than what it has reserved, the home answers TOO_LARGE with the
//! record's size, and the ingress holds the FETCH until its client may use that much. It then reserves the rest, and is
//! sent again for this one record.
//!
//! The held FETCHes of a client are sent in the order in which they came to be held; those of other clients do not
//! delay them. As soon as a client uses nothing else, its first one needs no more than room for its source, so a client
//! that reads its answers gets all of them. They have no deadline: a client that does not read would not receive the
//! error either.

use super::frames::changed_frame;
use super::ingress::Asked;
use super::pending::Pending;
use super::{Parts, Step};
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
    /// Bytes to reserve before it is sent: those of its records, and the rest of the answer.
    needed: u32,
}

impl Parts {
    /// Holds a FETCH if the response says that its next record is larger than what it has reserved. Returns false for
    /// any other response, which the caller has to handle.
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
        self.admission.release(asked.conn, asked.charge - HELD_BYTES);
        asked.charge = HELD_BYTES;
        let frame = for_one_record(&frame.into_frame(), needed - RESPONSE_CHARGE).keep();
        self.hold(step, Held { asked, target, kind, frame, needed });
        true
    }

    /// Holds a FETCH of a client for which there is no memory. Returns false for any other request, which the caller
    /// has to handle, and for a FETCH for which there is some.
    pub(super) fn hold_if_short(
        &mut self,
        step: &mut Step<'_>,
        asked: Asked,
        (target, kind): (NodeId, Kind),
        frame: &Frame<'_>,
    ) -> bool {
        let (conn, needed) = (asked.conn, asked.charge);
        if asked.opcode != Opcode::Fetch.number() || self.admission.admits(conn, needed.into()) {
            return false;
        }
        self.charge(step, conn, HELD_BYTES);
        let asked = Asked { charge: HELD_BYTES, ..asked };
        self.hold(step, Held { asked, target, kind, frame: frame.keep(), needed });
        true
    }

    fn hold(&mut self, step: &mut Step<'_>, held: Held) {
        let conn = held.asked.conn;
        if self.drain.has_begun() && !self.admission.may_continue(conn, held.needed - HELD_BYTES) {
            // The memory may not be free before this node has ended.
            return self.refuse_for_good(step, held.asked);
        }
        match self.conns.client_mut(conn) {
            Some(client) => {
                client.held.push_back(held);
                self.admission.set_holding(conn, true);
                self.releasable.push(conn);
            }
            None => self.drop_held([held]),
        }
    }

    /// Sends the held FETCHes of the clients that may use more again. Called once for each event rather than where
    /// memory is released, because sending may itself finish requests and release memory.
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
        self.admission.extend(asked.conn, needed - asked.charge);
        asked.charge = needed;
        let pending = self.new_pending(step, asked, (target, kind), Some(frame.clone()), true);
        let Some(origin) = self.pending.insert(pending, step.now.after_us(REQUEST_TIMEOUT_US)) else {
            return self.finish(step, asked, self.too_many_pending(step).into());
        };
        if self.queue_behind_waiting(step, origin) {
            return;
        }
        let route = step.settings.new_route(target, kind, TrafficClass::Bulk, origin);
        match self.router.send(step, frame.into_frame(), route) {
            Ok(conn) => self.note_sent(step, origin, conn),
            Err(stuck) => self.complete(step, origin, stuck.response(step.settings)),
        }
    }

    /// Drops the held FETCHes of a client that has disconnected.
    pub(super) fn drop_held(&mut self, held: impl IntoIterator<Item = Held>) {
        for Held { asked, .. } in held {
            self.readers.take_pending(&asked);
            self.admission.finish(asked.conn, asked.charge);
        }
    }

    /// Refuses all held FETCHes, because this node is shutting down.
    pub(super) fn refuse_held(&mut self, step: &mut Step<'_>) {
        let held: Vec<Held> = self.conns.iter_mut().flat_map(|(_, conn)| conn.take_held()).collect();
        held.into_iter().for_each(|held| self.refuse_for_good(step, held.asked));
    }

    fn refuse_for_good(&mut self, step: &mut Step<'_>, asked: Asked) {
        let error = ErrorResponse::new(Status::ShuttingDown, "this node is ending; use another one");
        self.finish(step, asked, error.into());
    }
}

/// Returns the FETCH of a frame with its limits set to one record and `max_bytes`.
fn for_one_record(frame: &Frame<'_>, max_bytes: u32) -> Frame<'static> {
    let args = frame.args().expect("it was verified when it arrived");
    match Request::decode(Opcode::Fetch, args) {
        Ok(Request::Fetch(fetch)) => {
            changed_frame(frame, &Request::Fetch(Fetch { max_bytes, max_records: 1, ..fetch }))
        }
        other => unreachable!("{other:?} was a FETCH when it arrived"),
    }
}
