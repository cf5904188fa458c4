//! What decides which member of a group should lead: who is there, whose log is complete, and whose disk works.
//!
//! Everything is counted in ticks. The others say in their answers to heartbeats what only they know.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::limits::{HAND_OVER_TICKS, HEARD_TICKS, SLOW_MEMORY_TICKS, SLOW_TICKS};
use crate::replica::{Acknowledged, Condition, MemberId, Message, Payload};
use crate::types::NodeId;

/// What this node knows of the other members, and of itself as one of them.
#[derive(Debug, Default)]
pub(super) struct Fitness {
    pub(super) others: BTreeMap<MemberId, Other>,
    /// The condition of this node, which its answers to heartbeats have.
    pub(super) own: Condition,
    /// The last entry of the log at the previous tick.
    last: u64,
    /// The number of the oldest write that was not reported at the previous tick, and for how many ticks it has been
    /// that.
    oldest: Option<(u64, u32)>,
    /// For how many more ticks the disk counts as slow.
    slow_ticks: u32,
    /// For how many more ticks leadership is not handed over without need.
    pub(super) rest_ticks: u32,
    /// To whom leadership is being handed over.
    pub(super) heir: Option<NodeId>,
}

/// What this node knows of another member.
#[derive(Debug, Default)]
pub(super) struct Other {
    /// True if a message of it has come since the previous tick.
    is_heard: bool,
    /// The number of ticks without a message of it.
    silent_ticks: u32,
    /// For how many ticks it has acknowledged everything that the log had at the tick before.
    pub(super) caught_up_ticks: u32,
    pub(super) condition: Condition,
}

impl Other {
    /// Returns true if it has been heard of lately.
    pub(super) const fn is_there(&self) -> bool {
        self.silent_ticks <= HEARD_TICKS
    }

    /// Returns true if it could write what a leader sends it.
    pub(super) const fn has_room(&self) -> bool {
        self.is_there() && !self.condition.is_full
    }

    /// Returns true if nothing is known that speaks against its leadership.
    pub(super) fn is_fit(&self) -> bool {
        self.is_there() && self.caught_up_ticks > 0 && self.condition == Condition::default()
    }
}

impl Fitness {
    /// Notes a message of another member.
    pub(super) fn on_message(&mut self, message: &Message) {
        let other = self.others.entry(message.from).or_default();
        (other.is_heard, other.silent_ticks) = (true, 0);
        match &message.payload {
            Payload::HeartbeatAnswer { condition, .. } => other.condition = *condition,
            // This node has just got leadership.
            Payload::TimeoutNow => self.rest_ticks = HAND_OVER_TICKS,
            Payload::Append { .. }
            | Payload::Appended { .. }
            | Payload::Rejected { .. }
            | Payload::Heartbeat { .. }
            | Payload::RequestVote { .. }
            | Payload::Vote { .. }
            | Payload::Snapshot { .. }
            | Payload::Join { .. }
            | Payload::JoinAnswer { .. } => {}
        }
    }

    /// Notes that a tick has passed. `oldest` is the number of the oldest write that is not reported.
    pub(super) fn tick(&mut self, is_full: bool, oldest: Option<u64>, acknowledged: impl Fn(MemberId) -> Acknowledged) {
        let mut last = 0;
        for (id, other) in &mut self.others {
            other.silent_ticks = if other.is_heard { 0 } else { other.silent_ticks.saturating_add(1) };
            other.is_heard = false;
            let acknowledged = acknowledged(*id);
            last = acknowledged.last;
            // A member that does not lead does not know it.
            let is_caught_up = last > 0 && acknowledged.by_member >= self.last && other.is_there();
            other.caught_up_ticks = if is_caught_up { other.caught_up_ticks.saturating_add(1) } else { 0 };
        }
        self.last = last;
        self.oldest = oldest.map(|number| match self.oldest {
            Some((before, ticks)) if before == number => (number, ticks.saturating_add(1)),
            _ => (number, 0),
        });
        self.slow_ticks = if self.is_stuck() { SLOW_MEMORY_TICKS } else { self.slow_ticks.saturating_sub(1) };
        self.rest_ticks = self.rest_ticks.saturating_sub(1);
        (self.own.is_full, self.own.is_slow) = (is_full, self.slow_ticks > 0);
    }

    /// Returns true while the disk has not written something for so long that it counts as slow.
    pub(super) fn is_stuck(&self) -> bool {
        self.oldest.is_some_and(|(_, ticks)| ticks >= SLOW_TICKS)
    }

    /// Returns the one of these members that the condition allows and that has acknowledged most; among equals, the
    /// first one.
    pub(super) fn best(
        &self,
        members: impl Iterator<Item = MemberId>,
        acknowledged: impl Fn(MemberId) -> Acknowledged,
        is_wanted: impl Fn(&Other) -> bool,
    ) -> Option<MemberId> {
        let wanted = members.filter(|id| self.others.get(id).is_some_and(&is_wanted));
        wanted.min_by_key(|id| Reverse(acknowledged(*id).by_member))
    }
}
