//! Backpressure: requests reserve and release budget, and reads from clients are suspended and resumed as
//! [`Admission`](super::Admission) decides.

use super::super::Step;
use super::super::action::Action;
use super::super::asked::Asked;
use super::super::cut::or_most;
use super::{Effect, Ingress};
use crate::limits::{FETCH_RESERVE_LEAST, PAYLOAD_MAX};
use crate::types::ConnId;
use crate::wire::request::Fetch;

/// Maximum number of waiting clients that are checked when a request is finished, so that its cost does not grow with
/// their number.
const RESUMED_PER_REQUEST: usize = 2;

/// Maximum number of waiting clients that are checked in one tick. Requests that finish check only a few clients, so
/// some may still wait although budget is free and no more requests finish.
const RESUMED_PER_TICK: usize = 256;

impl Ingress {
    /// Reserves budget for a request, and suspends reads from the client if it has now used up its share or one of its
    /// own limits.
    pub(in crate::node) fn charge(&mut self, step: &mut Step<'_>, id: ConnId, charge: u32) {
        self.admission.reserve(id, charge);
        self.suspend_if_due(step, id);
    }

    /// Reserves budget for the answer to a FETCH that has waited, and is answered now.
    pub(in crate::node) fn charge_again(&mut self, asked: &Asked) {
        self.admission.reserve(asked.conn, asked.charge);
    }

    /// Releases what a request has reserved, because it is answered or becomes a reader.
    pub(in crate::node) fn discharge(&mut self, step: &mut Step<'_>, asked: &Asked) {
        self.admission.finish(asked.conn, asked.charge);
        self.resume_throttled(step, RESUMED_PER_REQUEST);
    }

    /// Releases what `count` requests of a client have reserved together, because they are answered.
    pub(in crate::node) fn discharge_many(&mut self, step: &mut Step<'_>, id: ConnId, count: usize, charge: u32) {
        self.admission.finish_many(id, u32::try_from(count).expect("INFLIGHT_MAX"), charge);
        self.resume_throttled(step, RESUMED_PER_REQUEST * count);
    }

    /// Releases a part of what an unfinished request has reserved.
    pub(super) fn uncharge(&mut self, step: &mut Step<'_>, id: ConnId, charge: u32) {
        self.admission.release(id, charge);
        self.resume_throttled(step, RESUMED_PER_REQUEST);
    }

    /// Reduces the byte limit of a FETCH to what its client may use at present. Returns true if it was reduced.
    pub(in crate::node) fn limit_fetch(&self, id: ConnId, fetch: &mut Fetch<'_>) -> bool {
        let wanted = or_most(fetch.max_bytes).min(PAYLOAD_MAX);
        let allowed = self.admission.room_to_ask(id).max(FETCH_RESERVE_LEAST.into());
        let granted = u32::try_from(allowed).unwrap_or(u32::MAX).min(wanted);
        if granted < wanted {
            fetch.max_bytes = granted;
        }
        granted < wanted
    }

    /// Handles the event that a client's send queue is above its high-water mark.
    pub(in crate::node) fn on_filled(&mut self, step: &mut Step<'_>, id: ConnId) {
        self.admission.fill(id);
        self.suspend_if_due(step, id);
    }

    /// Handles the event that a client's send queue has fallen to half of its high-water mark.
    pub(in crate::node) fn on_drained(&mut self, step: &mut Step<'_>, id: ConnId) {
        self.admission.drain(id);
        self.resume_if_due(step, id);
    }

    /// Handles the event that a client's send queue has `bytes` bytes left after a write. Returns true if its readers
    /// can be sent something again.
    pub(in crate::node) fn on_unsent(&mut self, step: &mut Step<'_>, id: ConnId, bytes: usize) -> bool {
        let had_room = self.admission.room(id) > 0;
        self.admission.set_untaken(id, bytes);
        if bytes > 0 {
            self.suspend_if_due(step, id);
        }
        self.resume_if_due(step, id);
        let has_room = self.admission.room(id) > 0;
        self.resume_throttled(step, RESUMED_PER_REQUEST);
        !had_room && has_room
    }

    /// Suspends reads from a client that has used up its share or one of its own limits, or does not read its answers.
    fn suspend_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        if self.admission.suspend(id) {
            step.stats.pauses += 1;
            step.out.push(Action::Pause { conn: id });
        }
    }

    /// Resumes reads from a client if it may use more again. If it has FETCHes that wait for memory, they are checked
    /// at the end of this event.
    pub(in crate::node) fn resume_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        if self.admission.resume(id) {
            step.out.push(Action::Resume { conn: id });
            self.effects.push_back(Effect::Resumed { conn: id });
        }
        if self.admission.is_holding(id) {
            self.releasable.push(id);
        }
    }

    /// Checks at most this many of the clients that wait for the shared budget, and resumes those that may use more.
    fn resume_throttled(&mut self, step: &mut Step<'_>, most: usize) {
        for _ in 0..most {
            let Some(id) = self.admission.take_throttled() else { return };
            self.resume_if_due(step, id);
            self.admission.requeue_throttled(id);
        }
    }

    /// Checks the clients that wait for the shared budget; runs in each tick.
    pub(super) fn tick_throttled(&mut self, step: &mut Step<'_>) {
        self.resume_throttled(step, RESUMED_PER_TICK);
    }
}
