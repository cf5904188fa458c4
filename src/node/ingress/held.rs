//! FETCHes that wait for memory.
//!
//! A FETCH for another node reserves no more than its client may use at the time, and is held when that is less than
//! any FETCH reserves. If its next record is larger than what it has reserved, the leader answers TOO_LARGE with the
//! record's size, and the ingress holds the FETCH until its client may use that much. It then reserves the rest, and is
//! sent again for this one record.
//!
//! The held FETCHes of a client are sent in the order in which they came to be held; those of other clients do not
//! delay them. As soon as a client uses nothing else, its first one needs no more than room for its source, so a client
//! that reads its answers gets all of them. They have no deadline: a client that does not read would not receive the
//! error either.

use super::super::Step;
use super::super::asked::Asked;
use super::super::frames::changed_frame;
use super::destination::Destination;
use super::{Effect, Ingress, too_many_pending};
use crate::limits::{HELD_BYTES, PAYLOAD_MAX, REQUEST_TIMEOUT_US, RESPONSE_CHARGE};
use crate::wire::frame::Kept;
use crate::wire::request::Fetch;
use crate::wire::response::ErrorResponse;
use crate::wire::{Frame, Opcode, Origin, Request, Response, Status};

/// A FETCH that waits for memory.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) asked: Asked,
    to: Destination,
    frame: Kept,
    /// Bytes to reserve before it is sent: those of its records, and the rest of the answer.
    needed: u32,
}

impl Ingress {
    /// Holds a FETCH if the response, TOO_LARGE, says that its next record is larger than what it has reserved. Returns
    /// false for any other response, which the caller has to handle, and if the client has gone.
    pub(super) fn hold_if_too_large(&mut self, step: &mut Step<'_>, origin: Origin, response: &Response) -> bool {
        let Some(pending) = self.pending.get_mut(origin) else { return false };
        let (asked, kept) = (pending.asked, pending.frame.clone());
        if asked.opcode != Opcode::Fetch.number() || !self.admission.is_open(asked.conn) {
            return false;
        }
        let (Some(kept), Response::Error(error)) = (kept, response) else { return false };
        let Some(limit) = error.limit() else { return false };
        let needed = u32::try_from(limit).unwrap_or(u32::MAX).min(PAYLOAD_MAX) + RESPONSE_CHARGE;
        if needed <= asked.charge {
            return false;
        }
        let Some(pending) = self.take_pending(step, origin) else { return false };
        self.follow_on(step, &pending, true);
        self.admission.release(asked.conn, asked.charge - HELD_BYTES);
        let frame = for_one_record(&kept.into_frame(), needed - RESPONSE_CHARGE).keep();
        let asked = Asked { charge: HELD_BYTES, ..asked };
        self.hold(Held { asked, to: pending.to, frame, needed });
        true
    }

    /// Holds a FETCH of a client for which there is no memory. Returns false for any other request, which the caller
    /// has to handle, and for a FETCH for which there is some.
    pub(super) fn hold_if_short(
        &mut self,
        step: &mut Step<'_>,
        asked: Asked,
        to: Destination,
        frame: &Frame<'_>,
    ) -> bool {
        let (conn, needed) = (asked.conn, asked.charge);
        if asked.opcode != Opcode::Fetch.number() || self.admission.admits(conn, needed.into()) {
            return false;
        }
        self.charge(step, conn, HELD_BYTES);
        let asked = Asked { charge: HELD_BYTES, ..asked };
        self.hold(Held { asked, to, frame: frame.keep(), needed });
        true
    }

    fn hold(&mut self, held: Held) {
        let conn = held.asked.conn;
        if self.is_ending && !self.admission.may_continue(conn, held.needed - HELD_BYTES) {
            // The memory may not be free before this node has ended.
            return self.refuse_for_good(held.asked);
        }
        self.held.entry(conn).or_default().push_back(held);
        self.admission.set_holding(conn, true);
        self.releasable.push(conn);
    }

    /// Sends the next held FETCH whose client may use more again. Returns false if there is none.
    pub(super) fn release_next(&mut self, step: &Step<'_>) -> bool {
        while let Some(conn) = self.releasable.pop() {
            let Some(queue) = self.held.get_mut(&conn) else { continue };
            let needed = queue.front().map_or(0, |held| held.needed.saturating_sub(HELD_BYTES));
            if !self.admission.may_continue(conn, needed) {
                continue;
            }
            let held = queue.pop_front();
            if queue.is_empty() {
                self.held.remove(&conn);
                self.admission.set_holding(conn, false);
            } else {
                self.releasable.push(conn);
            }
            if let Some(held) = held {
                self.send_held(step, held);
                return true;
            }
        }
        false
    }

    fn send_held(&mut self, step: &Step<'_>, held: Held) {
        let Held { mut asked, to, frame, needed } = held;
        self.admission.extend(asked.conn, needed - asked.charge);
        asked.charge = needed;
        let pending = self.new_pending(step, asked, to, Some(frame), true);
        let Some(origin) = self.pending.insert(pending, step.now.after_us(REQUEST_TIMEOUT_US)) else {
            return self.answer(asked, too_many_pending(step.settings).into());
        };
        if !self.queue_behind_waiting(step, origin) {
            self.effects.push_back(Effect::Send { origin });
        }
    }

    /// Refuses all held FETCHes, because this node is shutting down.
    pub(in crate::node) fn end(&mut self) {
        self.is_ending = true;
        for (conn, queue) in std::mem::take(&mut self.held) {
            self.admission.set_holding(conn, false);
            queue.into_iter().for_each(|held| self.refuse_for_good(held.asked));
        }
    }

    fn refuse_for_good(&mut self, asked: Asked) {
        let error = ErrorResponse::new(Status::ShuttingDown, "this node is shutting down; use another one");
        self.answer(asked, error.into());
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
