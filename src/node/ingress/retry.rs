//! Requests of clients that another node is to answer: each is sent again while that may help and does no harm.
//!
//! ```text
//!            an answer that says what became of it
//!   SENT ──────────────────────────────────────────────► answered
//!   │  ▲ ╲ refused as not applied, or lost and repeatable   ▲
//!   │  │  ╲                                                 │ not accepted within RETRY_FOR_US (1), or its nodes
//!   │  │   ▼                                                │ unreachable for as long: the last refusal,
//!   │  └─ WAITING ──────────────────────────────────────────┤ NO_QUORUM (2), or OUTCOME_UNKNOWN when an attempt
//!   │     each answer of its lane lets two go               │ may have been applied
//!   │                                                       │
//!   └─ lost and not repeatable, or REQUEST_TIMEOUT_US ──────┘ OUTCOME_UNKNOWN
//! ```
//!
//! 1. Or FAILOVER_US, if several nodes keep the topic.
//! 2. If several nodes keep the topic, and no attempt found one that leads.
//!
//! Requests for one destination, a slot or a node, wait in a lane, in the order in which they came, and new ones wait
//! behind them: the batches of a producer stay in their order. One of them at a time asks whether requests are taken
//! again. Each answer then lets two more go, so a lane of any length is sent within a few round trips, and a node or a
//! link that is only busy is not flooded. Publishes and other requests have a lane each, because a full disk refuses
//! only the former.
//!
//! To which node a request is sent is decided at each attempt: those for a slot go to the node that leads it then, see
//! `failover`.
//!
//! Silence is tested with one request as well, the oldest that may be repeated. When a repetition is answered and the
//! first attempt was not, what was sent before the repetition is taken for lost.
//!
//! Each attempt has an origin of its own. Success of any attempt is the answer; a refusal of an earlier attempt says
//! nothing about the latest.

use std::collections::BTreeSet;

use super::super::Step;
use super::super::router::Stuck;
use super::destination::{Destination, Tried};
use super::lanes::LaneId;
use super::request::{Pending, State};
use super::{Attempt, Effect, Ingress};
use crate::limits::{RETRY_AFTER_LOSS_US, RETRY_LOST_US, RETRY_SILENCE_US};
use crate::types::ConnId;
use crate::wire::frame::Kept;
use crate::wire::{Opcode, Origin, Response, Status};

/// Number of waiting requests that are sent each time one of their lane is answered.
const LET_GO: usize = 2;

/// What has to be done about a request.
enum Due {
    /// No further attempt is made, and the client is answered.
    GiveUp,
    /// Its latest attempt was probably lost.
    MarkLost,
    /// It is sent again to see whether it is answered.
    Test,
}

impl Pending {
    /// Returns true when its time for another attempt, `patience_us`, is over at `now_us` monotonic microseconds. What
    /// was lost may take a little longer, because the loss is detected late, unless its node is out of reach.
    const fn is_over(&self, now_us: u64, patience_us: u64, is_unreachable: bool) -> bool {
        let is_new_loss = now_us.saturating_sub(self.lost_us) < RETRY_AFTER_LOSS_US;
        now_us.saturating_sub(self.asked_us) >= patience_us && (is_unreachable || !is_new_loss)
    }
}

impl Ingress {
    /// Keeps a refused request for another attempt.
    ///
    /// # Errors
    /// Returns the refusal if no other attempt is to be made.
    pub(super) fn keep_refused(&mut self, step: &Step<'_>, origin: Origin, refusal: Response) -> Result<(), Response> {
        let (now_us, settings) = (step.now.monotonic_us, step.settings);
        let Some(pending) = self.pending.get_mut(origin) else { return Err(refusal) };
        let (lane, number, status) = (pending.lane(), pending.number, refusal.status());
        let (to, node, sent_us) = (pending.to, pending.node, pending.sent_us);
        let is_unreachable = status == Status::Unreachable.number();
        let patience_us = to.patience_us(settings);
        let is_over = pending.is_over(now_us, patience_us, is_unreachable && to.replicated(settings).is_none());
        let is_hopeless = is_over || self.unreachable_for_us(step, to) >= patience_us;
        // An earlier batch, which still waits in this lane or was sent to another node, may fill the gap.
        let is_early = status == Status::SequenceGap.number()
            && (self.lanes.has_before(lane, number) || self.has_earlier_elsewhere(step, origin));
        let again_us = self.again_us(step, lane, to, &refusal);
        let Some(pending) = self.pending.get_mut(origin) else { return Err(refusal) };
        if pending.frame.is_none() || is_hopeless || !is_early && !is_not_applied(status) {
            return Err(refusal);
        }
        pending.state = State::Waiting { refusal: Some(Box::new(refusal)) };
        if is_unreachable && pending.via.is_some() {
            self.lanes.pass(node, sent_us);
        }
        self.lanes.insert(lane, number, origin, again_us);
        Ok(())
    }

    /// Queues a new request behind those that already wait in its lane. Returns false if none do, so that it is to be
    /// sent at once.
    pub(super) fn queue_behind_waiting(&mut self, step: &Step<'_>, origin: Origin) -> bool {
        let now_us = step.now.monotonic_us;
        let Some(pending) = self.pending.get_mut(origin) else { return false };
        let lane = pending.lane();
        if !self.lanes.holds(lane) {
            return false;
        }
        pending.state = State::Waiting { refusal: None };
        self.lanes.insert(lane, pending.number, origin, now_us + self.lanes.pause_us(lane));
        true
    }

    /// Removes and returns a request that is about to be answered, and releases what its frame has reserved.
    pub(super) fn take_pending(&mut self, step: &mut Step<'_>, origin: Origin) -> Option<Pending> {
        let pending = self.pending.remove(origin)?;
        self.end_pending(step, &pending);
        Some(pending)
    }

    /// Releases what the frame of a removed request has reserved, and takes the request out of its lane.
    pub(super) fn end_pending(&mut self, step: &mut Step<'_>, pending: &Pending) {
        if let State::Waiting { .. } = pending.state {
            self.lanes.remove(pending.lane(), pending.number);
        }
        self.uncharge(step, pending.asked.conn, pending.frame_charge());
    }

    /// Sends more of the requests that wait in the lane of one that was answered.
    pub(super) fn follow_on(&mut self, step: &mut Step<'_>, answered: &Pending, is_latest: bool) {
        let lane = answered.lane();
        self.lanes.note_answer(lane);
        if is_latest && answered.is_unsure {
            self.lanes.pass(answered.node, answered.sent_us);
            self.review_pending(step);
        }
        for _ in 0..LET_GO {
            self.send_oldest(lane);
        }
    }

    /// Sends the oldest request of each lane whose time has come.
    pub(super) fn retry_due(&mut self, step: &Step<'_>) {
        if self.lanes.due_us() <= step.now.monotonic_us {
            for lane in self.lanes.take_due(step.now.monotonic_us) {
                self.send_oldest(lane);
            }
        }
    }

    /// Lets the oldest request of each lane be sent at once, because a link has come up: it may be the path to any
    /// node that was unreachable.
    pub(in crate::node) fn on_link_up(&mut self, step: &Step<'_>) {
        self.reach.release_all();
        self.retry_soon(step);
    }

    /// Lets the oldest request of each lane be sent at once, because a path may have become available.
    pub(in crate::node) fn retry_soon(&mut self, step: &Step<'_>) {
        self.lanes.hurry(step.now.monotonic_us);
    }

    /// Treats the unanswered requests that were sent over a lost link as lost.
    pub(in crate::node) fn on_link_lost(&mut self, step: &Step<'_>, conn: ConnId) {
        let went_over = |pending: &Pending| pending.via == Some(conn) && matches!(pending.state, State::Sent { .. });
        let lost: Vec<Origin> =
            self.pending.iter().filter(|(_, pending)| went_over(pending)).map(|(origin, _)| origin).collect();
        for origin in lost {
            self.mark_lost(step, origin);
        }
    }

    /// Reviews the requests that have been unanswered for some time: gives up those whose time is over, keeps lost ones
    /// for another attempt, and sends the oldest one to each silent node again.
    pub(super) fn review_pending(&mut self, step: &mut Step<'_>) {
        self.give_up_unreachable(step);
        let now_us = step.now.monotonic_us;
        let late_us = now_us.saturating_sub(RETRY_SILENCE_US);
        let mut tested = BTreeSet::new();
        let late = self.pending.iter().take_while(|(_, pending)| pending.asked_us <= late_us);
        let due: Vec<(Origin, Due)> =
            late.filter_map(|(origin, pending)| Some((origin, self.due(step, pending, &mut tested)?))).collect();
        for (origin, due) in due {
            match due {
                Due::GiveUp => self.give_up(step, origin),
                Due::MarkLost => self.mark_lost(step, origin),
                Due::Test => {
                    let Some(pending) = self.pending.get_mut(origin) else { continue };
                    (pending.is_unsure, pending.tried) = (true, Tried::default());
                    let (to, node) = (pending.to, pending.node);
                    self.on_silent(step, to, node);
                    self.effects.push_back(Effect::Send { origin });
                }
            }
        }
    }

    /// Returns for how long all nodes that may execute requests for a destination have been unreachable, in
    /// microseconds; 0 when one of them is not.
    pub(super) fn unreachable_for_us(&self, step: &Step<'_>, to: Destination) -> u64 {
        let unreachable_us = |node| self.reach.unreachable_for_us(node, step.now.monotonic_us);
        to.nodes(step.settings).map(unreachable_us).min().unwrap_or(0)
    }

    /// Gives up the requests that wait for a destination that has been unreachable for long, however new they are:
    /// reads from their clients may have been suspended while older ones waited for the same one.
    fn give_up_unreachable(&mut self, step: &mut Step<'_>) {
        let nodes = step.settings.dimension.all().map(Destination::Node);
        let all = nodes.chain(step.settings.slots.all().map(Destination::Slot));
        let lost = all.filter(|to| self.unreachable_for_us(step, *to) >= to.patience_us(step.settings));
        let waiting: Vec<Origin> = lost.flat_map(|to| self.lanes.waiting_for(to)).collect();
        for origin in waiting {
            self.give_up(step, origin);
        }
    }

    /// Returns what is due about a request, when older ones have tested what is in `tested`.
    fn due(&self, step: &Step<'_>, pending: &Pending, tested: &mut BTreeSet<LaneId>) -> Option<Due> {
        let (now_us, node, to) = (step.now.monotonic_us, pending.node, pending.to);
        // Another node is asked with a request of each lane of a slot that several nodes keep; one that waits is also
        // about to ask. Otherwise it is the node that is tested.
        let is_replicated = to.replicated(step.settings).is_some();
        let test = if is_replicated { pending.lane() } else { LaneId::of_node(node) };
        let State::Sent { give_up_us } = pending.state else {
            if is_replicated {
                tested.insert(test);
            }
            let is_unreachable = self.unreachable_for_us(step, to) > 0;
            return pending.is_over(now_us, to.patience_us(step.settings), is_unreachable).then_some(Due::GiveUp);
        };
        if give_up_us <= now_us {
            return Some(Due::GiveUp);
        }
        let silent_us = now_us.saturating_sub(pending.sent_us);
        if silent_us >= RETRY_SILENCE_US && self.lanes.has_passed(node, pending.sent_us) {
            return (pending.is_repeatable || give_up_us == u64::MAX).then_some(Due::MarkLost);
        }
        // What this node executes itself is not lost.
        if !pending.is_repeatable || node == step.settings.id || !tested.insert(test) {
            return None;
        }
        (silent_us >= RETRY_SILENCE_US).then_some(Due::Test)
    }

    /// Notes that the latest attempt of a request was probably lost. The request is sent again if it is repeatable;
    /// else it is given up soon.
    pub(super) fn mark_lost(&mut self, step: &Step<'_>, origin: Origin) {
        let now_us = step.now.monotonic_us;
        let Some(pending) = self.pending.get_mut(origin) else { return };
        if pending.is_repeatable {
            (pending.is_unsure, pending.lost_us) = (planted!("loss taken for a refusal", true, false), now_us);
            (pending.state, pending.tried) = (State::Waiting { refusal: None }, Tried::default());
            self.lanes.insert_due(pending.lane(), pending.number, origin, now_us);
        } else {
            pending.state = State::Sent { give_up_us: now_us + RETRY_LOST_US };
        }
    }

    pub(super) fn send_oldest(&mut self, lane: LaneId) {
        if let Some(origin) = self.lanes.take_oldest(lane) {
            self.effects.push_back(Effect::Send { origin });
        }
    }

    /// Begins another attempt of a request, under a new origin. Returns it with the request; `None` if the request was
    /// answered meanwhile.
    pub(in crate::node) fn begin_attempt(&mut self, step: &mut Step<'_>, origin: Origin) -> Option<(Attempt, Kept)> {
        let pending = self.pending.get_mut(origin)?;
        let frame = pending.frame.clone()?;
        step.stats.requests_repeated += u64::from(pending.via.is_some());
        if let State::Waiting { .. } = std::mem::replace(&mut pending.state, State::SENT) {
            self.lanes.remove(pending.lane(), pending.number);
        }
        let origin = self.pending.renew(origin)?;
        Some((self.aim(step, origin)?, frame))
    }

    /// Answers a request for which there is no further attempt: with its refusal, or OUTCOME_UNKNOWN.
    fn give_up(&mut self, step: &mut Step<'_>, origin: Origin) {
        let Some(mut pending) = self.take_pending(step, origin) else { return };
        match &mut pending.state {
            State::Waiting { refusal } if !pending.is_unsure => {
                let refusal = refusal.take();
                let last = self.no_quorum(step, &pending).map(Response::from);
                let last = last.or_else(|| refusal.map(|refusal| *refusal));
                let last = last.unwrap_or_else(|| self.waited_in_vain(step, pending.to));
                self.answer(pending.asked, last);
            }
            State::Waiting { .. } | State::Sent { .. } => self.answer_unknown(step, &pending),
        }
    }

    /// Returns the refusal of a request that was never sent, because those before it were not taken.
    fn waited_in_vain(&self, step: &Step<'_>, to: Destination) -> Response {
        let node = to.node(step.leaders);
        if self.unreachable_for_us(step, to) > 0 {
            return Stuck::unreachable(step.settings, node).response(step.settings);
        }
        let message = format!("too many requests wait for node {}", step.settings.name(node));
        step.settings.overloaded(message).retry_after(100).into()
    }
}

/// Returns true for a status after which a request may be kept for another attempt.
pub(super) const fn is_refusal(status: u8) -> bool {
    is_not_applied(status) || status == Status::SequenceGap.number()
}

/// Returns true for a status that says that the request was not applied and may be soon.
pub(super) const fn is_not_applied(status: u8) -> bool {
    status == Status::Unreachable.number()
        || status == Status::Overloaded.number()
        || status == Status::ShuttingDown.number()
        || status == Status::NotLeader.number()
        || status == Status::TtlExpired.number()
        || status == Status::NoQuorum.number()
}

/// Returns true for a refusal that says nothing about an earlier attempt that was silent. What that attempt stored or
/// created may be there although the producer was fenced, the space used up, or the topic deleted since. After a gap in
/// the sequence it may still be on its way, and is stored if the missing batch arrives before it.
pub(super) fn is_of_one_attempt(opcode: u8, status: u8) -> bool {
    const STATUSES: [Status; 6] = [
        Status::SequenceGap,
        Status::ProducerFenced,
        Status::Quota,
        Status::UnknownTopic,
        Status::Recreated,
        Status::TopicExists,
    ];
    let changes = [Opcode::Publish, Opcode::Create].iter().any(|changing| changing.number() == opcode);
    changes && STATUSES.iter().any(|refusal| refusal.number() == status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_whatever_happened_says_that_it_was_not_applied() {
        use crate::wire::Class;
        for status in Status::ALL.iter().filter(|status| is_not_applied(status.number())) {
            assert!(matches!(status.class(), Class::Transient | Class::Stale), "{}", status.name());
        }
    }
}
