//! Slots that several nodes keep, of which one leads: to which of them an attempt goes, and what the answers say.
//!
//! | answer to an attempt | the leader is then taken to be | the request is sent again |
//! |---|---|---|
//! | success | the node that has answered | – |
//! | NOT_LEADER, with another node and its term | that node, if no newer term is known | at once (1) |
//! | any other NOT_LEADER | the next node, if it was the one that refuses | at once (1) |
//! | UNREACHABLE | the next node, if it was that one | at once (1) |
//! | none for [`RETRY_SILENCE_US`] | the next node, if it was that one | at once, if it is repeatable |
//!
//! 1. Unless it was sent to the same node since its last pause. Then it waits, after NOT_LEADER for `retry_after_ms`.
//!
//! A node that was silent or unreachable is passed over for a while, although others name it: they do so until they
//! have elected another leader. When another leader is heard of, all repeatable requests of the slot that were sent to
//! other nodes follow, the oldest first.
//!
//! The first attempt may be handed on by a node that knows the leader better. The later ones are for one node, which
//! answers even if it does not lead, so that the ingress finds out who does.
//!
//! [`RETRY_SILENCE_US`]: crate::limits::RETRY_SILENCE_US

use super::super::Step;
use super::destination::{Destination, Tried};
use super::lanes::LaneId;
use super::request::{Pending, State};
use super::{Attempt, Ingress};
use crate::limits::{RETRY_FIRST_US, RETRY_MOST_US};
use crate::types::{NodeId, SlotId};
use crate::wire::response::ErrorResponse;
use crate::wire::{Kind, Origin, Response, Status};

/// Delay in milliseconds before a client should retry a request for which no node led.
const NO_QUORUM_AGAIN_MS: u32 = 200;

impl Ingress {
    /// Returns the node to which a request for a destination is sent now: the one that leads as far as is known, or, if
    /// that was silent or unreachable just now, the next one that was not.
    pub(in crate::node) fn node_for(&self, step: &Step<'_>, to: Destination) -> NodeId {
        let leader = to.node(step.leaders);
        let is_doubtful = |node: &NodeId| self.reach.is_doubtful(*node, step.now.monotonic_us);
        if !is_doubtful(&leader) {
            return leader;
        }
        let nodes = || to.nodes(step.settings);
        let later = nodes().skip_while(|node| *node != leader).skip(1);
        let earlier = nodes().take_while(|node| *node != leader);
        later.chain(earlier).find(|node| !is_doubtful(node)).unwrap_or(leader)
    }

    /// Decides to which node an attempt of a request goes. Returns `None` if the request was answered meanwhile.
    pub(super) fn aim(&mut self, step: &Step<'_>, origin: Origin) -> Option<Attempt> {
        let (to, via) = self.pending.get_mut(origin).map(|pending| (pending.to, pending.via))?;
        let target = self.node_for(step, to);
        let is_doubtful = |node| self.reach.is_doubtful(node, step.now.monotonic_us);
        let is_for_one = to.replicated(step.settings).is_some()
            && (via.is_some() || target == step.settings.id || to.nodes(step.settings).any(is_doubtful));
        let pending = self.pending.get_mut(origin)?;
        (pending.node, pending.leader) = (target, to.node(step.leaders));
        pending.tried.insert(step.settings, to, target);
        pending.asked_of.insert(step.settings, to, target);
        Some(Attempt { origin, target, kind: if is_for_one { Kind::Node } else { to.kind() } })
    }

    /// Handles the refusal of the latest attempt of a request by the node `from`.
    ///
    /// # Errors
    /// Returns the answer if no other attempt is to be made: the refusal, or NO_QUORUM if no attempt found a leader.
    pub(super) fn on_refusal(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        from: NodeId,
        refusal: Response,
    ) -> Result<(), Response> {
        let Some(pending) = self.pending.get_mut(origin) else { return Err(refusal) };
        let (to, node, lane, status) = (pending.to, pending.node, pending.lane(), refusal.status());
        let is_short = status == Status::NotLeader.number() || status == Status::Unreachable.number();
        pending.has_other_refusal |= !is_short;
        let Some(slot) = to.replicated(step.settings) else { return self.keep_refused(step, origin, refusal) };
        let (is_other, is_elsewhere) = note_refusal(step, slot, (node, from), &refusal);
        self.lanes.note_refusal(lane, is_short);
        let mut kept = self.keep_refused(step, origin, refusal);
        if is_other {
            self.follow_leader(step, slot);
        }
        if let Err(refusal) = &mut kept
            && let Some(pending) = self.pending.get(origin)
            && let Some(error) = self.no_quorum(step, pending)
        {
            *refusal = error.into();
        }
        let next = self.node_for(step, to);
        if kept.is_ok()
            && let Some(pending) = self.pending.get_mut(origin)
        {
            if is_elsewhere && !pending.tried.contains(step.settings, to, next) {
                // The oldest one is sent, so that the requests of the lane keep their order.
                self.send_oldest(lane);
            } else {
                pending.tried = Tried::default();
            }
        }
        kept
    }

    /// Returns the monotonic time in microseconds of the next attempt of a request that was refused.
    pub(super) fn again_us(&self, step: &Step<'_>, lane: LaneId, to: Destination, refusal: &Response) -> u64 {
        let named_us = if let Response::Error(error) = refusal
            && error.status == Status::NotLeader.number()
            && to.replicated(step.settings).is_some()
        {
            Some((u64::from(error.retry_after_ms) * 1000).clamp(RETRY_FIRST_US, RETRY_MOST_US))
        } else {
            None
        };
        step.now.after_us(named_us.unwrap_or_else(|| self.lanes.pause_us(lane)))
    }

    /// Notes that a node has left a request unanswered.
    pub(super) fn on_silent(&mut self, step: &mut Step<'_>, to: Destination, node: NodeId) {
        if let Some(slot) = to.replicated(step.settings) {
            self.reach.note_silent(node, step.now.monotonic_us);
            step.leaders.pass_over(step.settings, slot, node);
        }
    }

    /// Notes that a node has executed a request, so that it leads, unless another leader was heard of since the attempt
    /// was made: a node may answer after it has ended leading. Requests that were sent to other nodes follow, but not
    /// if this one was handed on: then they are as well.
    pub(super) fn note_executed(&mut self, step: &mut Step<'_>, answered: &Pending, from: NodeId) {
        let Some(slot) = answered.to.replicated(step.settings) else { return };
        let leader = step.leaders.of(slot);
        let is_member = step.settings.members_of(slot).any(|node| node == from);
        let is_other = is_member && answered.leader == leader && step.leaders.suppose(slot, from);
        if is_other && from == answered.node || answered.is_unsure {
            self.follow_leader(step, slot);
        }
    }

    /// Sends the repeatable requests for a slot that were sent to other nodes than the one that leads it to that node,
    /// the oldest first.
    pub(in crate::node) fn follow_leader(&mut self, step: &Step<'_>, slot: SlotId) {
        let leader = step.leaders.of(slot);
        let is_behind = |pending: &Pending| {
            let is_sent = matches!(pending.state, State::Sent { .. });
            pending.to == Destination::Slot(slot) && pending.node != leader && pending.is_repeatable && is_sent
        };
        let behind: Vec<Origin> =
            self.pending.iter().filter(|(_, pending)| is_behind(pending)).map(|(origin, _)| origin).collect();
        for origin in behind {
            self.mark_lost(step, origin);
        }
    }

    /// Returns the answer to a request that was certainly not applied, because too few of the nodes that keep its slot
    /// can be reached: those that were asked, or were asked with earlier ones, do not lead or are unreachable.
    pub(super) fn no_quorum(&self, step: &Step<'_>, pending: &Pending) -> Option<ErrorResponse> {
        let (settings, to) = (step.settings, pending.to);
        to.replicated(settings)?;
        let names = |nodes: Vec<NodeId>| nodes.iter().map(|node| settings.name(*node)).collect::<Vec<_>>().join(", ");
        let asked: Vec<NodeId> = pending.asked_of.nodes(settings, to).collect();
        let is_short = if asked.is_empty() { self.lanes.is_short(pending.lane()) } else { !pending.has_other_refusal };
        if pending.is_unsure || pending.frame.is_none() || !is_short {
            return None;
        }
        let asked = if asked.is_empty() { "none, earlier requests wait".to_owned() } else { names(asked) };
        let all = names(to.nodes(settings).collect());
        let message = format!(
            "nothing was done: too few of the nodes that keep the topic ({all}) can be reached; asked: {asked}"
        );
        Some(ErrorResponse::new(Status::NoQuorum, message).retry_after(NO_QUORUM_AGAIN_MS))
    }

    /// Returns true if an earlier request of the same lane was sent to another node than this one, or after it: its
    /// leader has changed meanwhile.
    pub(super) fn has_earlier_elsewhere(&self, step: &Step<'_>, origin: Origin) -> bool {
        let Some(late) = self.pending.get(origin) else { return false };
        let is_earlier = |pending: &Pending| {
            let is_sent = pending.is_repeatable && matches!(pending.state, State::Sent { .. });
            let is_elsewhere = pending.node != late.node || pending.sent_us > late.sent_us;
            is_sent && is_elsewhere && pending.lane() == late.lane()
        };
        let before = || self.pending.iter().map(|(_, pending)| pending).take_while(|it| it.number < late.number);
        late.to.replicated(step.settings).is_some() && before().any(is_earlier)
    }
}

/// Notes what a refusal by `from` of a request that was sent to `node` says about the leader of a slot. Returns whether
/// it names another leader than the one that is known, and whether another node may execute the request.
fn note_refusal(step: &mut Step<'_>, slot: SlotId, (node, from): (NodeId, NodeId), refusal: &Response) -> (bool, bool) {
    let (settings, Response::Error(error)) = (step.settings, refusal) else { return (false, false) };
    if error.status == Status::Unreachable.number() {
        step.leaders.pass_over(settings, slot, node);
        return (false, true);
    }
    let is_here = from == settings.id && step.leaders.of(slot) == from;
    if error.status != Status::NotLeader.number() || is_here && step.leaders.known_term(slot).is_some() {
        // This node was elected, and is about to lead.
        return (false, false);
    }
    (step.leaders.on_not_leader(settings, slot, from, error), true)
}
