//! The ingress: the requests of this node's own clients that are not answered yet, and what they make this node hold.
//!
//! ```text
//!  a request for another node ──► admit ──► its origin: it is sent now, then on_sent or on_refused
//!                                   └─────► none: it waits for memory, or behind others for its destination
//!  a response ──► on_response ──► whose request it answers
//!  time, links ──► Effect::{Send, Answer, Resumed}, carried out at the end of the event
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `destination` | who executes a request |
//! | `request` | a request that another node is to answer |
//! | `retry`, `lanes` | requests that are sent again, and those that wait for it |
//! | `failover` | to which of the nodes that keep a slot an attempt goes, and what the answers say about its leader |
//! | `reach` | unreachable and silent nodes: for how long, and which requests for them are refused at once |
//! | `admission`, `charge` | back-pressure: the account of what clients use, and which of them are suspended |
//! | `held` | FETCHes that wait until their clients may use more memory |
//!
//! It sends nothing to other nodes itself, and it does not know the connections: whoever calls it sends the requests
//! that it names, and gives clients their answers.

mod admission;
mod charge;
mod destination;
mod failover;
mod held;
mod lanes;
mod reach;
mod request;
mod retry;

#[cfg(test)]
mod tests;

pub(super) use admission::Admission;
pub(super) use destination::Forwarding;

use std::collections::{BTreeMap, VecDeque};

use super::asked::Asked;
use super::pending::PendingTable;
use super::router::Stuck;
use super::{Settings, Step};
use crate::limits::{EXPIRED_PER_TURN, REQUEST_TIMEOUT_US, clients_bytes};
use crate::types::{ConnId, NodeId, Source};
use crate::wire::frame::Kept;
use crate::wire::response::ErrorResponse;
use crate::wire::{Class, Frame, Kind, Origin, Response, Status};
use destination::{Destination, Tried};
use held::Held;
use lanes::Lanes;
use reach::Reach;
use request::{Pending, State};
use retry::{is_not_applied, is_of_one_attempt, is_refusal};

/// The requests of this node's clients.
#[derive(Debug)]
pub(super) struct Ingress {
    /// What the clients use.
    admission: Admission,
    /// The requests that other nodes are to answer.
    pending: PendingTable<Pending>,
    /// Those among them that wait for another attempt.
    lanes: Lanes,
    reach: Reach,
    /// The FETCHes of each client that wait for memory, in the order in which they are sent.
    held: BTreeMap<ConnId, VecDeque<Held>>,
    /// Clients whose FETCHes may have waited long enough for memory.
    releasable: Vec<ConnId>,
    /// True once the node is ending. From then on a FETCH is held only if it can be sent at once.
    is_ending: bool,
    /// True while requests that have timed out are left for the next turn.
    is_behind: bool,
    effects: VecDeque<Effect>,
}

/// What others have to do about the requests.
#[derive(Debug)]
pub(super) enum Effect {
    /// Sends a request, as [`Ingress::begin_attempt`] says.
    Send {
        /// The origin of the latest attempt.
        origin: Origin,
    },
    /// Gives a client the answer to its request.
    Answer {
        /// The client's request.
        asked: Asked,
        /// The answer.
        response: Response,
    },
    /// Restarts the silence timeout of a client: reads from it were suspended, so no sign of life could be read.
    Resumed {
        /// The client's connection.
        conn: ConnId,
    },
}

/// An attempt to have a request executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// Names the attempt.
    pub origin: Origin,
    /// The node to which the request is sent. It is this node if this node has begun to lead meanwhile.
    pub target: NodeId,
    /// The kind of the route.
    pub kind: Kind,
}

impl Ingress {
    /// Returns the ingress of a node without clients.
    pub(super) fn new(settings: &Settings) -> Self {
        let nodes = settings.dimension.nodes();
        Self {
            admission: Admission::new(clients_bytes(settings.memory_bytes)),
            pending: PendingTable::new(settings.origin_mark),
            lanes: Lanes::new(settings),
            reach: Reach::new(nodes),
            held: BTreeMap::new(),
            releasable: Vec::new(),
            is_ending: false,
            is_behind: false,
            effects: VecDeque::new(),
        }
    }

    /// Returns what the clients use.
    pub(super) const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Returns true if an [`Effect`] may wait to be carried out.
    pub(super) fn has_effects(&self) -> bool {
        !self.effects.is_empty() || !self.releasable.is_empty()
    }

    /// Returns the next thing that others have to do. Held FETCHes are sent when nothing else is left to do, because
    /// answers release memory.
    pub(super) fn next_effect(&mut self, step: &Step<'_>) -> Option<Effect> {
        while self.effects.is_empty() {
            if !self.release_next(step) {
                return None;
            }
        }
        self.effects.pop_front()
    }

    /// Adds a client.
    pub(super) fn open_client(&mut self, id: ConnId, source: Source) {
        self.admission.open(id, source);
    }

    /// Removes a client that has disconnected, and returns its FETCHes that were held. What its other requests have
    /// reserved stays reserved until they are answered.
    pub(super) fn close_client(&mut self, id: ConnId) -> Vec<Asked> {
        self.admission.close(id);
        let held: Vec<Asked> = self.held.remove(&id).into_iter().flatten().map(|held| held.asked).collect();
        held.iter().for_each(|asked| self.admission.finish(id, asked.charge));
        held
    }

    /// Takes a client's request that this node does not execute. Returns the attempt to make now; `None` if it waits.
    ///
    /// # Errors
    /// Returns the answer to a request for which there is no room.
    pub(super) fn admit(
        &mut self,
        step: &mut Step<'_>,
        asked: Asked,
        forwarding: &Forwarding,
        frame: &Frame<'_>,
    ) -> Result<Option<Attempt>, ErrorResponse> {
        let &Forwarding { to, ttl, is_repeatable } = forwarding;
        if self.hold_if_short(step, asked, to, frame) {
            return Ok(None);
        }
        let is_repeated = ttl.is_none();
        let kept = is_repeated.then(|| frame.keep());
        let pending = self.new_pending(step, asked, to, kept, is_repeatable);
        let charge = asked.charge + pending.frame_charge();
        if !self.admission.admits(asked.conn, charge.into()) {
            return Err(out_of_memory(step.settings));
        }
        let origin = self.pending.insert(pending, step.now.after_us(REQUEST_TIMEOUT_US));
        let origin = origin.ok_or_else(|| too_many_pending(step.settings))?;
        self.charge(step, asked.conn, charge);
        if is_repeated && self.queue_behind_waiting(step, origin) {
            return Ok(None);
        }
        let attempt = self.aim(step, origin);
        if let Some(Attempt { target, .. }) = attempt
            && is_repeated
            && self.reach.is_held(target, step.now.monotonic_us)
        {
            let unreachable = Stuck::unreachable(step.settings, target).response(step.settings);
            self.on_answered_here(step, origin, unreachable);
            return Ok(None);
        }
        Ok(attempt)
    }

    /// Returns the entry of a request that is sent now. Without `frame` it cannot be sent again.
    fn new_pending(
        &mut self,
        step: &Step<'_>,
        asked: Asked,
        to: Destination,
        frame: Option<Kept>,
        is_repeatable: bool,
    ) -> Pending {
        let now_us = step.now.monotonic_us;
        Pending {
            asked,
            to,
            node: to.node(step.leaders),
            leader: to.node(step.leaders),
            tried: Tried::default(),
            asked_of: Tried::default(),
            has_other_refusal: false,
            is_repeatable: is_repeatable && frame.is_some(),
            frame,
            is_unsure: false,
            number: self.lanes.number(),
            asked_us: now_us,
            sent_us: now_us,
            lost_us: 0,
            via: None,
            state: State::SENT,
        }
    }

    /// Records when and over which link a request was sent.
    pub(super) fn on_sent(&mut self, step: &Step<'_>, origin: Origin, conn: ConnId) {
        if let Some(pending) = self.pending.get_mut(origin) {
            (pending.sent_us, pending.via) = (step.now.monotonic_us, Some(conn));
        }
    }

    /// Handles the answer of this node itself to a pending request: no path leads to the other node, it was recently
    /// found to be unreachable, or this node leads by now and has executed the request. A detour round a dead link may
    /// bring the frame of an earlier attempt back to this node, to be refused here; that says nothing about the latest
    /// attempt.
    pub(super) fn on_answered_here(&mut self, step: &mut Step<'_>, origin: Origin, response: Response) {
        let status = response.status();
        let Some((node, is_latest)) = self.answered_attempt(step, origin, status) else { return };
        if status == Status::Unreachable.number() {
            self.reach.note_reached(node, false, step.now.monotonic_us);
        }
        let mut response = response;
        if is_refusal(status) {
            match self.on_refusal(step, origin, step.settings.id, response) {
                Ok(()) => return,
                Err(refusal) => response = refusal,
            }
        }
        if status == Status::TooLarge.number() && self.hold_if_too_large(step, origin, &response) {
            return;
        }
        if let Some(asked) = self.end_answered(step, origin, step.settings.id, (response.status(), is_latest)) {
            self.answer(asked, response);
        }
    }

    /// Handles the success of a pending request that this node has executed. Returns the request, to be answered;
    /// `None` if nobody waits for it any more.
    pub(super) fn on_executed_here(&mut self, step: &mut Step<'_>, origin: Origin) -> Option<Asked> {
        let status = Status::Ok.number();
        let (_, is_latest) = self.answered_attempt(step, origin, status)?;
        self.end_answered(step, origin, step.settings.id, (status, is_latest))
    }

    /// Handles a response of another node. Returns the request that it answers; `None` if nobody waits for it, or if
    /// the request goes on.
    pub(super) fn on_response(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, origin: Origin) -> Option<Asked> {
        let (status, from) = (frame.header.status, frame.route.as_ref()?.source);
        if !self.pending.get(origin).is_none_or(|pending| pending.is_answered_by(step.settings, frame, from)) {
            step.stats.false_claims += 1;
            return None;
        }
        let (node, is_latest) = self.answered_attempt(step, origin, status)?;
        let reached = if is_latest { node } else { from };
        self.reach.note_reached(reached, status != Status::Unreachable.number(), step.now.monotonic_us);
        let asked = self.pending.get_mut(origin)?.asked;
        if is_refusal(status)
            && let Some(refusal) = asked.decode(frame)
        {
            let refusal = self.on_refusal(step, origin, from, refusal).err()?;
            let last = refusal.status();
            if last != status {
                let asked = self.end_answered(step, origin, from, (last, is_latest))?;
                self.answer(asked, refusal);
                return None;
            }
        }
        if status == Status::TooLarge.number()
            && let Some(response) = asked.decode(frame)
            && self.hold_if_too_large(step, origin, &response)
        {
            return None;
        }
        self.end_answered(step, origin, from, (status, is_latest))
    }

    /// Returns the node to which the latest attempt of a request was sent that this status answers, and whether it
    /// answers that attempt. Returns `None` if the answer is of no use: an earlier attempt has failed, but the latest
    /// one may still succeed.
    fn answered_attempt(&mut self, step: &mut Step<'_>, origin: Origin, status: u8) -> Option<(NodeId, bool)> {
        let is_latest = self.pending.is_latest(origin);
        if is_latest.is_none_or(|is_latest| !is_latest && Class::of(status) != Class::Success) {
            step.stats.responses_late += 1;
            return None;
        }
        Some((self.pending.get_mut(origin)?.node, is_latest == Some(true)))
    }

    /// Removes a request that a node has answered with this status. Returns it if the client gets that answer, and not
    /// OUTCOME_UNKNOWN.
    fn end_answered(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        from: NodeId,
        (status, is_latest): (u8, bool),
    ) -> Option<Asked> {
        let pending = self.take_pending(step, origin)?;
        if is_latest && Class::of(status) == Class::Success {
            self.note_executed(step, &pending, from);
        }
        let is_refused = is_not_applied(status);
        let is_unknown = pending.is_unsure && (is_refused || is_of_one_attempt(pending.asked.opcode, status));
        if is_unknown {
            self.answer_unknown(step, &pending);
        }
        if !is_refused {
            self.follow_on(step, &pending, is_latest);
        }
        (!is_unknown).then_some(pending.asked)
    }

    /// Queues the answer to a client's request as an effect.
    fn answer(&mut self, asked: Asked, response: Response) {
        self.effects.push_back(Effect::Answer { asked, response });
    }

    /// Tells a client that nobody knows whether its request was done.
    fn answer_unknown(&mut self, step: &mut Step<'_>, pending: &Pending) {
        step.stats.timeouts += 1;
        let node = step.settings.name(pending.node);
        let message = format!("node {node} did not answer in time; the request may have been executed or not");
        self.answer(pending.asked, ErrorResponse::new(Status::OutcomeUnknown, message).into());
    }

    /// Returns true if a request for a node counts as UNREACHABLE at once; see [`Reach::is_held`].
    pub(super) fn is_unreachable(&mut self, node: NodeId, now_us: u64) -> bool {
        self.reach.is_held(node, now_us)
    }

    /// Records whether a request of this node's own has reached its node.
    pub(super) fn note_reached(&mut self, node: NodeId, is_reached: bool, now_us: u64) {
        self.reach.note_reached(node, is_reached, now_us);
    }

    /// Returns the monotonic time in microseconds at which [`Self::on_timeout`] has something to do.
    pub(super) const fn due_us(&self) -> u64 {
        if self.is_behind { 0 } else { self.lanes.due_us() }
    }

    /// Sends what waits for this time, and goes on with what a tick has begun.
    pub(super) fn on_timeout(&mut self, step: &mut Step<'_>) {
        self.retry_due(step);
        if self.is_behind {
            self.expire(step);
        }
    }

    /// Does what is due in each tick.
    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        self.tick_throttled(step);
        self.expire(step);
        self.review_pending(step);
    }

    /// Answers the requests that have timed out, so many in a turn: with OUTCOME_UNKNOWN, unless it is known that a
    /// request was not applied because no node leads.
    fn expire(&mut self, step: &mut Step<'_>) {
        for _ in 0..EXPIRED_PER_TURN {
            let Some(pending) = self.pending.expire(step.now.monotonic_us) else {
                self.is_behind = false;
                return;
            };
            self.end_pending(step, &pending);
            match self.no_quorum(step, &pending) {
                Some(error) if matches!(pending.state, State::Waiting { .. }) => {
                    self.answer(pending.asked, error.into())
                }
                Some(_) | None => self.answer_unknown(step, &pending),
            }
        }
        self.is_behind = true;
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        self.admission.check();
        self.pending.check();
        let waiting = self.pending.iter().filter(|(_, pending)| matches!(pending.state, State::Waiting { .. }));
        self.lanes.check(waiting.map(|(origin, pending)| (pending.lane(), pending.number, origin)));
        let held = self.held.values().map(VecDeque::len).sum::<usize>();
        let unanswered = self.admission.inflight();
        assert!((self.pending.len() + held) as u64 <= unanswered, "each request has reserved its answer");
        for (conn, queue) in &self.held {
            assert!(!queue.is_empty() && self.admission.is_holding(*conn), "{conn:?} has FETCHes that are held");
        }
        assert_eq!(self.admission.holding(), self.held.len(), "others have none");
        assert!(self.effects.is_empty(), "all effects of an event are carried out at its end");
        assert!(self.releasable.is_empty(), "all clients that may have waited long enough were looked at");
    }
}

/// Returns the error for a request when the response budget is used up.
pub(super) fn out_of_memory(settings: &Settings) -> ErrorResponse {
    let message = "the clients of this node use all the memory that they may; retry, or use another node";
    settings.overloaded(message).retry_after(OVERLOADED_AGAIN_MS)
}

/// Returns the error for a request when the table of pending requests is full.
fn too_many_pending(settings: &Settings) -> ErrorResponse {
    settings.overloaded("this node has too many unanswered requests").retry_after(20)
}

/// Delay in milliseconds before a client should retry a request that was refused for lack of memory.
const OVERLOADED_AGAIN_MS: u32 = 50;
