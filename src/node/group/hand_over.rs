//! Transfer of a group's leadership to another member (leadership transfer of the Raft thesis, section 3.10).
//!
//! | reason | new leader |
//! |---|---|
//! | this node is shutting down | the fit member that has the most of the log, else one that is full or slow; at once |
//! | this node's disk is full, and those of both others have room | the fit member that has the most of the log |
//! | this node's disk is slow, and both others have entries that are not durable here | the same |
//! | another node is the home of the slot | the home, once it has been caught up for `HOME_TICKS` |
//!
//! For every reason but a shutdown, at least `HAND_OVER_TICKS` must have passed since the last hand-over, so that
//! leadership does not move back and forth. Which members are fit to lead is decided in `fitness`.
//!
//! Requests that come during a hand-over wait in the group. If the other member takes over, they are answered
//! NOT_LEADER, and their ingresses ask the new leader. If it has not taken over within an election timeout, this node
//! stays the leader and proposes them.

use super::super::{Settings, Step};
use super::Group;
use super::fitness::Other;
use super::member::{member_of, node_of};
use crate::limits::{HAND_OVER_TICKS, HOME_TICKS};
use crate::replica::Input;
use crate::types::NodeId;

impl Group {
    /// Returns true while this node is handing the leadership of the group over.
    pub(in crate::node) fn is_handing_over(&self) -> bool {
        self.member.replica.is_handing_over()
    }

    /// Returns the node to which this node has handed leadership over, and forgets it.
    pub(in crate::node) const fn take_heir(&mut self) -> Option<NodeId> {
        self.member.fitness.heir.take()
    }

    /// Marks this node as shutting down, so that no leader hands leadership over to it.
    pub(in crate::node) const fn leave(&mut self) {
        self.member.fitness.own.is_leaving = true;
    }

    /// Returns true if entries that take space must be refused with QUOTA: if this node's disk is full and no hand-over
    /// is in progress, or if another member's disk is full and no other member that can be reached has room.
    pub(super) fn lacks_space(&self, step: &Step<'_>) -> bool {
        if step.budget.room.is_full {
            return !self.is_handing_over();
        }
        let others = &self.member.fitness.others;
        others.values().any(|other| other.condition.is_full) && !others.values().any(Other::has_room)
    }

    /// Updates the fitness of all members at a tick, and hands leadership over if there is a reason to.
    pub(super) fn tick_fitness(&mut self, step: &Step<'_>) {
        let (fitness, replica) = (&mut self.member.fitness, &self.member.replica);
        let oldest = (!self.member.unreported.is_empty()).then_some(self.member.reported);
        fitness.tick(step.budget.room.is_full, oldest, |id| replica.acknowledged(id));
        if self.lead.is_some() && !replica.is_handing_over() {
            fitness.heir = None;
        }
        self.move_leadership(step);
    }

    /// Hands leadership over if there is a reason to other than a shutdown, and none was handed over recently.
    pub(in crate::node) fn move_leadership(&mut self, step: &Step<'_>) {
        let fitness = &self.member.fitness;
        if !self.leads() || fitness.rest_ticks > 0 || fitness.own.is_leaving || self.is_handing_over() {
            return;
        }
        if let Some((heir, reason)) = self.heir(step) {
            let (slot, name) = (self.slot.index(), step.settings.name(heir));
            log::info!("handing leadership of slot {slot} over to node {name}: {reason}");
            self.hand_over(step.settings, heir);
        }
    }

    /// Returns the node that should lead instead of this one, and the reason for the log; `None` if there is none.
    fn heir(&self, step: &Step<'_>) -> Option<(NodeId, &'static str)> {
        let (settings, fitness) = (step.settings, &self.member.fitness);
        let acknowledged = |id| self.member.replica.acknowledged(id);
        let members = || settings.members_of(self.slot).map(member_of);
        let best = || node_of(fitness.best(members(), acknowledged, Other::is_fit)?, settings.dimension);
        let has_others = fitness.others.values().filter(|other| other.has_room()).count() >= 2;
        if step.budget.room.is_full && has_others {
            return best().map(|heir| (heir, "the disk of this node is full"));
        }
        if fitness.is_stuck() && self.is_behind_others() {
            return best().map(|heir| (heir, "the disk of this node is slow"));
        }
        let home = settings.members_of(self.slot).next().filter(|home| *home != settings.id)?;
        let is_back = |home: &Other| home.is_fit() && home.caught_up_ticks >= HOME_TICKS;
        let is_fit = fitness.others.get(&member_of(home)).is_some_and(is_back);
        is_fit.then_some((home, "that node is the home of the slot"))
    }

    /// Returns true if an entry is committed that is not durable here yet: both others have stored it.
    fn is_behind_others(&self) -> bool {
        let any = self.member.fitness.others.keys().next().map(|id| self.member.replica.acknowledged(*id));
        any.is_some_and(|acknowledged| acknowledged.committed > acknowledged.here)
    }

    /// Hands leadership over because this node is shutting down, unless no other member could lead.
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
        // A hand-over to a member whose disk is full or slow is still quicker than an election.
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
