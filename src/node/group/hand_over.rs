//! Handing the leadership of a group over to another member, which has reasons to lead instead.
//!
//! | reason | to whom |
//! |---|---|
//! | this node is shutting down | whoever has the most of the log, at once |
//! | this node's disk is full | whoever has room, if both others have |
//! | this node's disk is slow, and both others have what it has not written | one of them |
//! | another node is the home of the slot | the home, once it has been caught up for `HOME_TICKS` |
//!
//! Each reason but the first waits until the group has rested for `HAND_OVER_TICKS`, so that leadership does not move
//! to and fro. Nobody gets it whose node has been silent, or has said that it is full, slow or shutting down.
//!
//! While leadership is handed over, what is proposed waits. If another member leads then, it is refused, so that its
//! ingresses ask that one; if nobody has taken over within an election timeout, this node goes on with it.

use super::super::{Settings, Step};
use super::Group;
use super::fitness::Other;
use super::member::{member_of, node_of};
use crate::limits::{HAND_OVER_TICKS, HOME_TICKS};
use crate::replica::Input;
use crate::types::NodeId;

impl Group {
    /// Returns true while leadership is being handed over.
    pub(in crate::node) fn is_handing_over(&self) -> bool {
        self.member.replica.is_handing_over()
    }

    /// Returns the node that this one has handed its leadership over to, once.
    pub(in crate::node) const fn take_heir(&mut self) -> Option<NodeId> {
        self.member.fitness.heir.take()
    }

    /// Notes that this node is shutting down, so that it gets leadership of nobody any more.
    pub(in crate::node) const fn leave(&mut self) {
        self.member.fitness.own.is_leaving = true;
    }

    /// Returns true if the answer to a batch is that there is no room for it: this node's disk is full and it does not
    /// hand over just now, or no other member could write it because of a full disk.
    pub(super) fn lacks_space(&self, step: &Step<'_>) -> bool {
        if step.budget.room.is_full {
            return !self.is_handing_over();
        }
        let others = &self.member.fitness.others;
        others.values().any(|other| other.condition.is_full) && !others.values().any(Other::has_room)
    }

    /// Notes that a tick has passed, and hands leadership over if there is a reason.
    pub(super) fn tick_fitness(&mut self, step: &Step<'_>) {
        let (fitness, replica) = (&mut self.member.fitness, &self.member.replica);
        let oldest = (!self.member.unreported.is_empty()).then_some(self.member.reported);
        fitness.tick(step.budget.room.is_full, oldest, |id| replica.acknowledged(id));
        if self.lead.is_some() && !replica.is_handing_over() {
            fitness.heir = None;
        }
        self.move_leadership(step);
    }

    /// Hands leadership over if there is a reason other than a shutdown.
    pub(in crate::node) fn move_leadership(&mut self, step: &Step<'_>) {
        let fitness = &self.member.fitness;
        if !self.leads() || fitness.rest_ticks > 0 || fitness.own.is_leaving || self.is_handing_over() {
            return;
        }
        if let Some((heir, reason)) = self.heir(step) {
            let (slot, name) = (self.slot.index(), step.settings.name(heir));
            log::info!("handing the leadership of slot {slot} over to node {name}: {reason}");
            self.hand_over(step.settings, heir);
        }
    }

    /// Returns who is to lead instead, and why.
    fn heir(&self, step: &Step<'_>) -> Option<(NodeId, &'static str)> {
        let (settings, fitness) = (step.settings, &self.member.fitness);
        let acknowledged = |id| self.member.replica.acknowledged(id);
        let members = || settings.members_of(self.slot).map(member_of);
        let best = || node_of(fitness.best(members(), acknowledged, Other::is_fit)?, settings.dimension);
        let has_others = fitness.others.values().filter(|other| other.has_room()).count() >= 2;
        if step.budget.room.is_full && has_others {
            return best().map(|heir| (heir, "the disk of this one is full"));
        }
        if fitness.is_stuck() && self.is_behind_others() {
            return best().map(|heir| (heir, "the disk of this one is slow"));
        }
        let home = settings.members_of(self.slot).next().filter(|home| *home != settings.id)?;
        let is_back = |home: &Other| home.is_fit() && home.caught_up_ticks >= HOME_TICKS;
        let is_fit = fitness.others.get(&member_of(home)).is_some_and(is_back);
        is_fit.then_some((home, "it is the home of the slot"))
    }

    /// Returns true if both others have something that is not durable here.
    fn is_behind_others(&self) -> bool {
        let any = self.member.fitness.others.keys().next().map(|id| self.member.replica.acknowledged(*id));
        any.is_some_and(|acknowledged| acknowledged.committed > acknowledged.here)
    }

    /// Hands leadership over because this node is shutting down, if there is anybody who could lead.
    pub(in crate::node) fn bequeath(&mut self, settings: &Settings) {
        if !self.leads() || self.is_handing_over() {
            return;
        }
        let fitness = &self.member.fitness;
        let best = |is_wanted: fn(&Other) -> bool| {
            let acknowledged = |id| self.member.replica.acknowledged(id);
            let best = fitness.best(settings.members_of(self.slot).map(member_of), acknowledged, is_wanted);
            best.and_then(|id| node_of(id, settings.dimension))
        };
        // One that is full or slow is better than an election.
        let heir = best(Other::is_fit).or_else(|| best(|other| other.is_there() && !other.condition.is_leaving));
        if let Some(heir) = heir {
            self.hand_over(settings, heir);
        }
    }

    fn hand_over(&mut self, settings: &Settings, to: NodeId) {
        let lead = self.lead.as_mut().expect("only the leader hands over");
        lead.lease.renounce();
        (self.member.fitness.heir, self.member.fitness.rest_ticks) = (Some(to), HAND_OVER_TICKS);
        self.member.replica.handle(Input::HandOver { to: member_of(to) }, &mut self.member.outputs);
        self.carry_out(settings);
    }
}
