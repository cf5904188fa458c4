//! Which members of a group are fit to lead it: a member that can be reached, has the whole log, and has a disk that is
//! neither full nor slow.
//!
//! All durations are in ticks. A member's answers to heartbeats state whether its disk is full or slow, and whether its
//! node is shutting down.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::limits::{HAND_OVER_TICKS, HEARD_TICKS, SLOW_MEMORY_TICKS, SLOW_TICKS};
use crate::replica::{Acknowledged, Condition, MemberId, Message, Payload};
use crate::types::NodeId;

/// The fitness of each other member, as far as this node knows, and its own.
#[derive(Debug, Default)]
pub(super) struct Fitness {
    pub(super) others: BTreeMap<MemberId, Other>,
    /// The condition of this node, which it sends in its answers to heartbeats.
    pub(super) own: Condition,
    /// Index of the last entry of the log at the previous tick; 0 while this node does not lead.
    last: u64,
    /// The number of the write that was the oldest unfinished one at the previous tick, and for how many ticks it had
    /// been the oldest by then; `None` if no write was unfinished.
    oldest: Option<(u64, u32)>,
    /// For how many more ticks this node's disk counts as slow.
    slow_ticks: u32,
    /// For how many more ticks this node hands leadership over only if it shuts down.
    pub(super) rest_ticks: u32,
    /// The node to which this one is handing leadership over, or has handed it over last; `None` once that is taken
    /// note of, or when the hand-over has failed.
    pub(super) heir: Option<NodeId>,
}

/// The fitness of another member, as far as this node knows.
#[derive(Debug, Default)]
pub(super) struct Other {
    /// True if it has sent a message since the previous tick.
    is_heard: bool,
    /// Number of ticks since its last message.
    silent_ticks: u32,
    /// Number of consecutive ticks at which it had acknowledged the whole log as of the tick before; 0 while this node
    /// does not lead.
    pub(super) caught_up_ticks: u32,
    /// What its last answer to a heartbeat stated.
    pub(super) condition: Condition,
}

impl Other {
    /// Returns true if it has sent a message within the last [`HEARD_TICKS`].
    pub(super) const fn is_there(&self) -> bool {
        self.silent_ticks <= HEARD_TICKS
    }

    /// Returns true if it can be reached and its disk has room for new entries.
    pub(super) const fn has_room(&self) -> bool {
        self.is_there() && !self.condition.is_full
    }

    /// Returns true if it is fit to lead: it can be reached, has the whole log, is not shutting down, and its disk is
    /// neither full nor slow.
    pub(super) fn is_fit(&self) -> bool {
        self.is_there() && self.caught_up_ticks > 0 && self.condition == Condition::default()
    }
}

impl Fitness {
    /// Records that another member has sent a message.
    pub(super) fn on_message(&mut self, message: &Message) {
        let other = self.others.entry(message.from).or_default();
        (other.is_heard, other.silent_ticks) = (true, 0);
        match &message.payload {
            Payload::HeartbeatAnswer { condition, .. } => other.condition = *condition,
            // This node is about to lead, so leadership should not move again soon.
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

    /// Records that a tick has passed. `is_full` is true while this node's disk is full; `oldest` is the number of the
    /// oldest write that the disk has not finished, and `acknowledged` returns what a member has acknowledged.
    pub(super) fn tick(&mut self, is_full: bool, oldest: Option<u64>, acknowledged: impl Fn(MemberId) -> Acknowledged) {
        let mut last = 0;
        for (id, other) in &mut self.others {
            other.silent_ticks = if other.is_heard { 0 } else { other.silent_ticks.saturating_add(1) };
            other.is_heard = false;
            let acknowledged = acknowledged(*id);
            last = acknowledged.last;
            // All indexes are 0 while this node does not lead, because only a leader knows what others have.
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

    /// Returns true while the oldest unfinished write has waited for the disk for [`SLOW_TICKS`] or longer.
    pub(super) fn is_stuck(&self) -> bool {
        self.oldest.is_some_and(|(_, ticks)| ticks >= SLOW_TICKS)
    }

    /// Returns, of the `members` that satisfy `is_wanted`, the one that has acknowledged the most of the log. Among
    /// equals it is the first one.
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
