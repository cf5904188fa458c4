//! Requests of clients that another node is to answer: each is sent again while that may help and does no harm.
//!
//! ```text
//!            answer that says what became of it
//!   SENT ───────────────────────────────────────────► answered
//!   │  ▲ ╲ "not applied": no path, a full queue            ▲
//!   │  │  ╲                                                │ refused for RETRY_FOR_US, or the target has been
//!   │  │   ▼                                               │ out of reach for as long: the last refusal, or
//!   │  └── PARKED ─────────────────────────────────────────┤ OUTCOME_UNKNOWN when an attempt was silent before
//!   │      after 20 to 200 ms, or when the target answers  │
//!   │                                                      │
//!   ├─ silence, or its link went down: sent again if that is harmless, else OUTCOME_UNKNOWN
//!   └─ REQUEST_TIMEOUT_US: OUTCOME_UNKNOWN ────────────────┘
//! ```
//!
//! Each attempt has an origin of its own. Success of any attempt is the answer; that an earlier one was "not applied"
//! says nothing of the latest. While a target is out of reach, one request at a time asks whether it is back; the
//! others follow in their order when it is, so that the batches of a producer stay in theirs.

use super::ingress::Asked;
use super::pending::{Pending, Phase};
use super::{Node, Step};
use crate::limits::{RETRY_FIRST_US, RETRY_FOR_US, RETRY_LOST_US, RETRY_MOST_US, RETRY_SILENCE_US};
use crate::types::{ConnId, NodeId};
use crate::wire::response::ErrorResponse;
use crate::wire::{Opcode, Origin, Request, Response, Status, TrafficClass};

impl Node {
    /// A request was refused in a way that says that it was not applied. True when it waits for another attempt.
    pub(super) fn park(&mut self, step: &Step<'_>, origin: Origin, refusal: Response) -> bool {
        let now_us = step.now.monotonic_us;
        let Some(pending) = self.pending.get_mut(origin) else { return false };
        let (target, refusals) = (pending.target, pending.refusals);
        let waits_us = now_us.saturating_sub(pending.asked_us);
        let is_hopeless = waits_us >= RETRY_FOR_US || self.routing.out_of_reach_us(target, now_us) >= RETRY_FOR_US;
        if pending.frame.is_none() || is_hopeless || !is_not_applied(refusal.status()) {
            return false;
        }
        let holds = refusal.status() == Status::Unreachable.number();
        let due_us = now_us + (RETRY_FIRST_US << refusals.min(4)).min(RETRY_MOST_US).min(RETRY_FOR_US - waits_us);
        pending.refusals = refusals.saturating_add(1);
        pending.phase = Phase::Parked { due_us, holds, refusal: Box::new(refusal) };
        self.routing.hold(target, holds);
        self.retry_at_us = self.retry_at_us.min(due_us);
        true
    }

    /// Takes a request out that is answered now, and gives back what its frame was charged.
    pub(super) fn take_pending(&mut self, step: &mut Step<'_>, origin: Origin) -> Option<Pending> {
        let pending = self.pending.remove(origin)?;
        self.end_pending(step, &pending);
        Some(pending)
    }

    pub(super) fn end_pending(&mut self, step: &mut Step<'_>, pending: &Pending) {
        if let Phase::Parked { holds, .. } = pending.phase {
            self.routing.release(pending.target, holds);
        }
        self.unrepeatable -= u32::from(!pending.is_repeatable);
        self.uncharge(step, pending.asked.conn, pending.frame_charge());
    }

    /// What is due of the requests that wait, and of those that were silent for too long.
    pub(super) fn retry_due(&mut self, step: &mut Step<'_>) {
        let now_us = step.now.monotonic_us;
        if self.retry_at_us > now_us {
            return;
        }
        self.retry_at_us = u64::MAX;
        for origin in self.pending.origins(|pending| pending.phase.due_us() <= now_us) {
            let Some(pending) = self.pending.get_mut(origin) else { continue };
            let (target, is_gone) = (pending.target, self.conns.client_mut(pending.asked.conn).is_none());
            let out_of_reach_us = self.routing.out_of_reach_us(target, now_us);
            let is_over = now_us.saturating_sub(pending.asked_us) >= RETRY_FOR_US || out_of_reach_us >= RETRY_FOR_US;
            match &mut pending.phase {
                Phase::Parked { .. } if is_gone || is_over => self.give_up(step, origin),
                Phase::Parked { due_us, holds: true, .. } if *self.routing.probe_us(target) > now_us => {
                    *due_us = *self.routing.probe_us(target);
                }
                Phase::Parked { holds, .. } => {
                    if *holds {
                        *self.routing.probe_us(target) = now_us + RETRY_MOST_US;
                    }
                    self.send_again(step, origin);
                }
                Phase::Sent { .. } if pending.is_repeatable => {
                    // After the loss of its link it is counted anew: the way back may be broken at the same node.
                    pending.silences = pending.via.map_or(0, |_| pending.silences.saturating_add(1));
                    self.send_again(step, origin);
                }
                Phase::Sent { .. } => self.give_up(step, origin),
            }
        }
        self.retry_at_us = self.retry_at_us.min(self.pending.next_due_us());
    }

    /// A target has answered: what waits for it follows, oldest first.
    pub(super) fn follow_on(&mut self, step: &mut Step<'_>, target: NodeId) {
        if self.routing.holds(target) == 0 {
            return;
        }
        let waits =
            |pending: &Pending| pending.target == target && matches!(pending.phase, Phase::Parked { holds: true, .. });
        for origin in self.pending.origins(waits) {
            self.send_again(step, origin);
        }
    }

    /// A link came up: whoever waits for a target that was out of reach tries again.
    pub(super) fn retry_soon(&mut self, step: &Step<'_>) {
        let now_us = step.now.monotonic_us;
        self.pending.for_each(|pending| {
            if let Phase::Parked { due_us, .. } = &mut pending.phase {
                *due_us = now_us;
            }
        });
        self.retry_at_us = self.retry_at_us.min(self.pending.next_due_us());
    }

    /// A link is down: what went over it may be lost.
    pub(super) fn doubt_link(&mut self, step: &Step<'_>, conn: ConnId) {
        self.doubt(step, |pending| pending.via == Some(conn), true);
    }

    /// The way to a target was broken after `sent_us`: what was sent before may be lost, and what cannot be sent again
    /// is not waited for much longer.
    pub(super) fn doubt_target(&mut self, step: &Step<'_>, target: NodeId, sent_us: u64) {
        if self.unrepeatable > 0 {
            self.doubt(step, |pending| pending.target == target && pending.sent_us <= sent_us, false);
        }
    }

    fn doubt(&mut self, step: &Step<'_>, is_doubtful: impl Fn(&Pending) -> bool, repeats: bool) {
        let now_us = step.now.monotonic_us;
        self.pending.for_each(|pending| {
            if let Phase::Sent { due_us } = &mut pending.phase
                && (repeats || !pending.is_repeatable)
            {
                let soon_us = if pending.is_repeatable { now_us } else { now_us + RETRY_LOST_US };
                let soon_us = soon_us.min(*due_us);
                if is_doubtful(pending) {
                    pending.phase = Phase::Sent { due_us: soon_us };
                    pending.via = pending.via.filter(|_| !repeats);
                }
            }
        });
        self.retry_at_us = self.retry_at_us.min(self.pending.next_due_us());
    }

    /// Notes over which link a request went.
    pub(super) fn note_sent_over(&mut self, step: &Step<'_>, origin: Origin, conn: ConnId) {
        let Some(pending) = self.pending.get_mut(origin) else { return };
        pending.note_sent(step.now.monotonic_us, conn);
        self.retry_at_us = self.retry_at_us.min(pending.phase.due_us());
    }

    fn send_again(&mut self, step: &mut Step<'_>, origin: Origin) {
        let Some(pending) = self.pending.get_mut(origin) else { return };
        let Some(frame) = pending.frame.clone() else { return };
        let (target, kind) = (pending.target, pending.kind);
        if let Phase::Parked { holds, .. } = pending.phase {
            self.routing.release(target, holds);
        } else {
            pending.is_unsure = true;
        }
        pending.phase = Phase::Sent { due_us: u64::MAX };
        let Some(origin) = self.pending.renew(origin) else { return };
        self.stats.requests_repeated += 1;
        let route = self.new_route(target, kind, TrafficClass::Bulk, origin);
        match self.send_frame(step, frame.into_frame(), route) {
            Ok(conn) => self.note_sent_over(step, origin, conn),
            Err(refusal) => self.complete(step, origin, *refusal),
        }
    }

    /// Answers a request with what is known of it.
    fn give_up(&mut self, step: &mut Step<'_>, origin: Origin) {
        let Some(pending) = self.take_pending(step, origin) else { return };
        let Pending { asked, target, is_unsure, phase, .. } = pending;
        match phase {
            Phase::Parked { refusal, .. } if !is_unsure => self.finish(step, asked, *refusal),
            Phase::Parked { .. } | Phase::Sent { .. } => self.finish_unknown(step, asked, target),
        }
    }

    /// Tells a client that nobody knows whether its request was done.
    pub(super) fn finish_unknown(&mut self, step: &mut Step<'_>, asked: Asked, target: NodeId) {
        self.stats.timeouts += 1;
        let node = self.name(target);
        let message = format!("node {node} did not answer in time; whether it was done is not known");
        self.finish(step, asked, ErrorResponse::new(Status::OutcomeUnknown, message).into());
    }
}

/// Does a status say that the request was not applied and may be soon?
pub(super) const fn is_not_applied(status: u8) -> bool {
    status == Status::Unreachable.number()
        || status == Status::Overloaded.number()
        || status == Status::ShuttingDown.number()
        || status == Status::NotLeader.number()
        || status == Status::TtlExpired.number()
}

/// Does a refusal say nothing of an earlier attempt that was silent? What that attempt has stored or made may be there,
/// although the producer was fenced, the room was used up or the topic was deleted since.
pub(super) fn is_of_one_attempt(opcode: u8, status: u8) -> bool {
    const STATUSES: [Status; 5] =
        [Status::ProducerFenced, Status::Quota, Status::UnknownTopic, Status::Recreated, Status::TopicExists];
    let changes = [Opcode::Publish, Opcode::Create].iter().any(|changing| changing.number() == opcode);
    changes && STATUSES.iter().any(|refusal| refusal.number() == status)
}

/// May a request be sent again although an earlier attempt may have been applied?
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

/// After so long without an answer a request that was sent so often in vain is sent again.
pub(super) fn silence_us(silences: u8) -> u64 {
    RETRY_SILENCE_US << silences.min(3)
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
