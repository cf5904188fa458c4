//! Requests of clients that another node is to answer: each is sent again while that may help and does no harm.
//!
//! ```text
//!            an answer that says what became of it
//!   SENT ──────────────────────────────────────────────► answered
//!   │  ▲ ╲ refused as not applied, or lost and repeatable   ▲
//!   │  │  ╲                                                 │ not accepted within RETRY_FOR_US, or the target
//!   │  │   ▼                                                │ unreachable for as long: the last refusal, or
//!   │  └─ WAITING ──────────────────────────────────────────┤ OUTCOME_UNKNOWN when an attempt may have been applied
//!   │     each answer of the target lets two go             │
//!   │                                                       │
//!   └─ lost and not repeatable, or REQUEST_TIMEOUT_US ──────┘ OUTCOME_UNKNOWN
//! ```
//!
//! Requests for one target wait in a lane, in the order in which they came, and new ones wait behind them: the batches
//! of a producer stay in their order. One of them at a time asks whether the target takes requests again. Each answer
//! then lets two more go, so a lane of any length is sent within a few round trips, and a target or a link that is only
//! busy is not flooded. Publishes and other requests have a lane each, because a full disk refuses only the former.
//!
//! Silence is tested with one request as well, the oldest that may be repeated. When a repetition is answered and the
//! first attempt was not, what was sent before the repetition is taken for lost.
//!
//! Each attempt has an origin of its own. Success of any attempt is the answer; a refusal of an earlier attempt says
//! nothing about the latest.

use std::collections::BTreeMap;

use super::ingress::Asked;
use super::pending::{Pending, State};
use super::router::Stuck;
use super::{Parts, Step};
use crate::limits::{
    RETRY_AFTER_LOSS_US, RETRY_FIRST_US, RETRY_FOR_US, RETRY_LOST_US, RETRY_MOST_US, RETRY_SILENCE_US,
};
use crate::types::{ConnId, NodeId, NodeSet};
use crate::wire::response::ErrorResponse;
use crate::wire::{Opcode, Origin, Request, Response, Status, TrafficClass};

/// Number of waiting requests that are sent when their target has answered one.
const LET_GO: usize = 2;

/// Identifies a lane: the index of it in `Retries::lanes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneId(usize);

/// The requests that wait for another attempt, by target.
#[derive(Debug)]
pub(super) struct Retries {
    lanes: Vec<Lane>,
    /// By target, the monotonic time in microseconds of a later attempt that has been answered: requests sent before it
    /// that have no response are probably lost.
    passed_us: Vec<u64>,
    /// Monotonic time in microseconds at which the first lane is due; `u64::MAX` when no request waits.
    due_us: u64,
    /// Number of requests so far, from which each gets its serial number.
    count: u64,
}

/// The waiting requests of one kind for one target.
#[derive(Debug, Default)]
struct Lane {
    /// Their latest origins by serial number, so that the oldest request is first.
    waiting: BTreeMap<u64, Origin>,
    /// Monotonic time in microseconds at which the oldest one is sent even if the target has answered nothing.
    next_us: u64,
    /// Number of requests sent for that reason since the target's last answer.
    probes: u32,
}

impl Retries {
    /// Returns an empty table for a cube with that number of nodes.
    pub(super) fn new(nodes: u16) -> Self {
        let lanes = (0..2 * nodes).map(|_| Lane::default()).collect();
        Self { lanes, passed_us: vec![0; usize::from(nodes)], due_us: u64::MAX, count: 0 }
    }

    /// Returns the monotonic time in microseconds at which something is due.
    pub(super) const fn due_us(&self) -> u64 {
        self.due_us
    }

    /// Returns the number of the next request.
    pub(super) const fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Returns true when requests wait in a lane, behind which others have to wait too.
    fn holds(&self, lane: LaneId) -> bool {
        !self.lanes[lane.0].waiting.is_empty()
    }

    fn has_before(&self, lane: LaneId, number: u64) -> bool {
        self.lanes[lane.0].waiting.first_key_value().is_some_and(|(first, _)| *first < number)
    }

    fn insert(&mut self, lane: LaneId, number: u64, origin: Origin, now_us: u64) {
        let lane = &mut self.lanes[lane.0];
        let again_us = now_us + (RETRY_FIRST_US << lane.probes.min(8)).min(RETRY_MOST_US);
        lane.next_us = if lane.waiting.is_empty() { again_us } else { again_us.min(lane.next_us) };
        lane.waiting.insert(number, origin);
        self.due_us = self.due_us.min(lane.next_us);
    }

    /// Inserts a request whose lane is due at once.
    fn insert_due(&mut self, lane: LaneId, number: u64, origin: Origin, now_us: u64) {
        self.lanes[lane.0].waiting.insert(number, origin);
        self.lanes[lane.0].next_us = now_us;
        self.due_us = now_us;
    }

    fn remove(&mut self, lane: LaneId, number: u64) {
        self.lanes[lane.0].waiting.remove(&number);
    }

    fn take_oldest(&mut self, lane: LaneId) -> Option<Origin> {
        self.lanes[lane.0].waiting.pop_first().map(|(_, origin)| origin)
    }

    /// Notes that a request sent to a node at `sent_us` was answered, possibly before those sent earlier.
    fn pass(&mut self, target: NodeId, sent_us: u64) {
        let passed_us = &mut self.passed_us[usize::from(target.index())];
        *passed_us = sent_us.max(*passed_us);
    }

    /// Makes all lanes due at once.
    fn hurry(&mut self, now_us: u64) {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.waiting.is_empty()) {
            (lane.next_us, self.due_us) = (now_us, now_us);
        }
    }

    /// Returns the lanes whose time has come, and sets their next time.
    fn take_due(&mut self, now_us: u64) -> Vec<LaneId> {
        let mut due = Vec::new();
        self.due_us = u64::MAX;
        for (place, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| !lane.waiting.is_empty()) {
            if lane.next_us <= now_us {
                // Its answer brings the next time forward.
                (lane.next_us, lane.probes) = (now_us + RETRY_MOST_US, lane.probes + 1);
                due.push(LaneId(place));
            }
            self.due_us = self.due_us.min(lane.next_us);
        }
        due
    }

    /// Asserts that the lanes hold exactly the requests that wait.
    pub(super) fn check(&self, waiting: impl Iterator<Item = (LaneId, u64, Origin)>) {
        let mut count = 0;
        for (lane, number, origin) in waiting {
            assert_eq!(self.lanes[lane.0].waiting.get(&number), Some(&origin), "request {number} waits in its lane");
            count += 1;
        }
        assert_eq!(self.lanes.iter().map(|lane| lane.waiting.len()).sum::<usize>(), count, "nothing else does");
    }
}

/// What has to be done about a request.
enum Due {
    /// No further attempt is made, and the client is answered.
    GiveUp,
    /// Its latest attempt was probably lost.
    MarkLost,
    /// It is sent again to see whether its target answers.
    Test,
}

impl Pending {
    /// The lane in which it waits.
    pub(super) fn lane(&self) -> LaneId {
        let is_publish = self.asked.opcode == Opcode::Publish.number();
        LaneId(usize::from(self.target.index()) * 2 + usize::from(is_publish))
    }

    /// Returns true when its time for another attempt is over, at `now_us` monotonic microseconds. What was lost may
    /// take a little longer, because the loss is detected late, unless its target is known to be unreachable.
    const fn is_over(&self, now_us: u64, is_unreachable: bool) -> bool {
        let is_new_loss = now_us.saturating_sub(self.lost_us) < RETRY_AFTER_LOSS_US;
        now_us.saturating_sub(self.asked_us) >= RETRY_FOR_US && (is_unreachable || !is_new_loss)
    }
}

impl Parts {
    /// Keeps a refused request for another attempt.
    ///
    /// # Errors
    /// Returns the refusal if no other attempt is to be made.
    pub(super) fn keep_refused(&mut self, step: &Step<'_>, origin: Origin, refusal: Response) -> Result<(), Response> {
        let now_us = step.now.monotonic_us;
        let Some(pending) = self.pending.get_mut(origin) else { return Err(refusal) };
        let (lane, number, status) = (pending.lane(), pending.number, refusal.status());
        let (target, sent_us) = (pending.target, pending.sent_us);
        // An earlier batch, which still waits in this lane, may fill the gap.
        let is_early = status == Status::SequenceGap.number() && self.retries.has_before(lane, number);
        let is_over = pending.is_over(now_us, status == Status::Unreachable.number());
        let is_hopeless = is_over || self.router.unreachable_for_us(target, now_us) >= RETRY_FOR_US;
        if pending.frame.is_none() || is_hopeless || !is_early && !is_not_applied(status) {
            return Err(refusal);
        }
        pending.state = State::Waiting { refusal: Some(Box::new(refusal)) };
        if status == Status::Unreachable.number() && pending.via.is_some() {
            self.retries.pass(target, sent_us);
        }
        self.retries.insert(lane, number, origin, now_us);
        Ok(())
    }

    /// Queues a new request behind those that already wait in its lane. Returns false if none do, so that it is to be
    /// sent at once.
    pub(super) fn queue_behind_waiting(&mut self, step: &Step<'_>, origin: Origin) -> bool {
        let now_us = step.now.monotonic_us;
        let Some(pending) = self.pending.get_mut(origin) else { return false };
        let lane = pending.lane();
        if !self.retries.holds(lane) {
            return false;
        }
        pending.state = State::Waiting { refusal: None };
        self.retries.insert(lane, pending.number, origin, now_us);
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
            self.retries.remove(pending.lane(), pending.number);
        }
        self.uncharge(step, pending.asked.conn, pending.frame_charge());
    }

    /// Sends more of the requests that wait for a target, because it has answered one.
    pub(super) fn follow_on(&mut self, step: &mut Step<'_>, answered: &Pending, is_latest: bool) {
        let lane = answered.lane();
        self.retries.lanes[lane.0].probes = 0;
        if is_latest && answered.is_unsure {
            self.retries.pass(answered.target, answered.sent_us);
            self.review_pending(step);
        }
        for _ in 0..LET_GO {
            self.send_oldest(step, lane);
        }
    }

    /// Sends the oldest request of each lane whose time has come.
    pub(super) fn retry_due(&mut self, step: &mut Step<'_>) {
        if self.retries.due_us <= step.now.monotonic_us {
            for lane in self.retries.take_due(step.now.monotonic_us) {
                self.send_oldest(step, lane);
            }
        }
    }

    /// Lets the oldest request of each lane be sent at once, because a path may have become available.
    pub(super) fn retry_soon(&mut self, step: &Step<'_>) {
        self.retries.hurry(step.now.monotonic_us);
    }

    /// Treats the unanswered requests that were sent over a lost link as lost.
    pub(super) fn mark_lost_on_link(&mut self, step: &Step<'_>, conn: ConnId) {
        let went_over = |pending: &Pending| pending.via == Some(conn) && matches!(pending.state, State::Sent { .. });
        let lost: Vec<Origin> =
            self.pending.iter().filter(|(_, pending)| went_over(pending)).map(|(origin, _)| origin).collect();
        for origin in lost {
            self.mark_lost(step, origin);
        }
    }

    /// Reviews the requests that have been unanswered for some time: gives up those whose time is over, keeps lost ones
    /// for another attempt, and sends the oldest one to each silent target again.
    pub(super) fn review_pending(&mut self, step: &mut Step<'_>) {
        let now_us = step.now.monotonic_us;
        let late_us = now_us.saturating_sub(RETRY_SILENCE_US);
        let mut tested = NodeSet::new();
        let late = self.pending.iter().take_while(|(_, pending)| pending.asked_us <= late_us);
        let due: Vec<(Origin, Due)> =
            late.filter_map(|(origin, pending)| Some((origin, self.due(pending, now_us, &mut tested)?))).collect();
        for (origin, due) in due {
            match due {
                Due::GiveUp => self.give_up(step, origin),
                Due::MarkLost => self.mark_lost(step, origin),
                Due::Test => {
                    let Some(pending) = self.pending.get_mut(origin) else { continue };
                    pending.is_unsure = true;
                    self.send_again(step, origin);
                }
            }
        }
    }

    /// Returns what is due about a request at `now_us`, when older ones have tested the targets in `tested`.
    fn due(&self, pending: &Pending, now_us: u64, tested: &mut NodeSet) -> Option<Due> {
        let target = pending.target;
        let State::Sent { give_up_us } = pending.state else {
            let unreachable_us = self.router.unreachable_for_us(target, now_us);
            let is_over = pending.is_over(now_us, unreachable_us > 0) || unreachable_us >= RETRY_FOR_US;
            return is_over.then_some(Due::GiveUp);
        };
        if give_up_us <= now_us {
            return Some(Due::GiveUp);
        }
        let silent_us = now_us.saturating_sub(pending.sent_us);
        if silent_us >= RETRY_SILENCE_US && pending.sent_us < self.retries.passed_us[usize::from(target.index())] {
            return (pending.is_repeatable || give_up_us == u64::MAX).then_some(Due::MarkLost);
        }
        if !pending.is_repeatable || tested.contains(target) {
            return None;
        }
        tested.insert(target);
        (silent_us >= RETRY_SILENCE_US).then_some(Due::Test)
    }

    /// Notes that the latest attempt of a request was probably lost. The request is sent again if it is repeatable;
    /// else it is given up soon.
    fn mark_lost(&mut self, step: &Step<'_>, origin: Origin) {
        let now_us = step.now.monotonic_us;
        let Some(pending) = self.pending.get_mut(origin) else { return };
        if pending.is_repeatable {
            (pending.is_unsure, pending.lost_us) = (planted!("loss taken for a refusal", true, false), now_us);
            pending.state = State::Waiting { refusal: None };
            self.retries.insert_due(pending.lane(), pending.number, origin, now_us);
        } else {
            pending.state = State::Sent { give_up_us: now_us + RETRY_LOST_US };
        }
    }

    /// Records when and over which link a request was sent.
    pub(super) fn note_sent(&mut self, step: &Step<'_>, origin: Origin, conn: ConnId) {
        if let Some(pending) = self.pending.get_mut(origin) {
            (pending.sent_us, pending.via) = (step.now.monotonic_us, Some(conn));
        }
    }

    fn send_oldest(&mut self, step: &mut Step<'_>, lane: LaneId) {
        if let Some(origin) = self.retries.take_oldest(lane) {
            self.send_again(step, origin);
        }
    }

    /// Sends a request, which must be in no lane, under a new origin.
    pub(super) fn send_again(&mut self, step: &mut Step<'_>, origin: Origin) {
        let Some(pending) = self.pending.get_mut(origin) else { return };
        let Some(frame) = pending.frame.clone() else { return };
        let (target, kind) = (pending.target, pending.kind);
        step.stats.requests_repeated += u64::from(pending.via.is_some());
        pending.state = State::SENT;
        let Some(origin) = self.pending.renew(origin) else { return };
        let route = step.settings.new_route(target, kind, TrafficClass::Bulk, origin);
        match self.router.send(step, frame.into_frame(), route) {
            Ok(conn) => self.note_sent(step, origin, conn),
            Err(stuck) => self.complete(step, origin, stuck.response(step.settings)),
        }
    }

    /// Answers a request for which there is no further attempt: with its refusal, or OUTCOME_UNKNOWN.
    fn give_up(&mut self, step: &mut Step<'_>, origin: Origin) {
        let Some(pending) = self.take_pending(step, origin) else { return };
        let Pending { asked, target, .. } = pending;
        match pending.state {
            State::Waiting { refusal } if !pending.is_unsure => {
                let refusal = refusal.map_or_else(|| self.waited_in_vain(step, target), |refusal| *refusal);
                self.finish(step, asked, refusal);
            }
            State::Waiting { .. } | State::Sent { .. } => self.finish_unknown(step, asked, target),
        }
    }

    /// Returns the refusal of a request that was never sent, because those before it were not taken.
    fn waited_in_vain(&self, step: &Step<'_>, target: NodeId) -> Response {
        if self.router.unreachable_for_us(target, step.now.monotonic_us) > 0 {
            return Stuck::unreachable(step.settings, target).response(step.settings);
        }
        let message = format!("too many requests wait for node {}", step.settings.name(target));
        step.settings.overloaded(message).retry_after(100).into()
    }

    /// Tells a client that nobody knows whether its request was done.
    pub(super) fn finish_unknown(&mut self, step: &mut Step<'_>, asked: Asked, target: NodeId) {
        step.stats.timeouts += 1;
        let node = step.settings.name(target);
        let message = format!("node {node} did not answer in time; whether it was done is not known");
        self.finish(step, asked, ErrorResponse::new(Status::OutcomeUnknown, message).into());
    }
}

/// Returns true for a status that says that the request was not applied and may be soon.
pub(super) const fn is_not_applied(status: u8) -> bool {
    status == Status::Unreachable.number()
        || status == Status::Overloaded.number()
        || status == Status::ShuttingDown.number()
        || status == Status::NotLeader.number()
        || status == Status::TtlExpired.number()
}

/// Returns true for a refusal that says nothing about an earlier attempt that was silent. What that attempt stored or
/// created may be there although the producer was fenced, the space used up, or the topic deleted since.
pub(super) fn is_of_one_attempt(opcode: u8, status: u8) -> bool {
    const STATUSES: [Status; 5] =
        [Status::ProducerFenced, Status::Quota, Status::UnknownTopic, Status::Recreated, Status::TopicExists];
    let changes = [Opcode::Publish, Opcode::Create].iter().any(|changing| changing.number() == opcode);
    changes && STATUSES.iter().any(|refusal| refusal.number() == status)
}

/// Returns true for a request that may be sent again although an earlier attempt may have been applied.
pub(super) const fn is_repeatable(request: &Request<'_>) -> bool {
    match request {
        Request::Publish(publish) => publish.producer.is_some(),
        Request::Ping { .. }
        | Request::Create { .. }
        | Request::List(_)
        | Request::Info(_)
        | Request::Fetch(_)
        | Request::Subscribe(_)
        | Request::Query { .. }
        | Request::Trace { .. }
        | Request::Cluster { .. }
        | Request::Stats { .. }
        | Request::Nodes { .. } => true,
        Request::Delete(_)
        | Request::Alter { .. }
        | Request::Trim { .. }
        | Request::Producer { .. }
        | Request::Unsubscribe { .. }
        | Request::Credit { .. }
        | Request::Feed { .. }
        | Request::Heads(_) => false,
    }
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
