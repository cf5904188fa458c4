//! Another node leads a slot than before: what the readers of its topics need comes from that one now.
//!
//! What the earlier leader was asked for may never be answered, and the new one has no feeds. So reads that are in
//! flight are repeated, and all reports are sent again.

use super::super::Step;
use super::super::groups::Groups;
use super::Readers;
use super::table::TopicKey;
use crate::types::SlotId;

impl Readers {
    /// Returns true if this node leads a slot, as far as the readers know.
    pub(in crate::node) fn leads(&self, slot: SlotId) -> bool {
        self.table.leader(slot).is_here
    }

    /// Handles that this node begins to lead a slot: its topics are read from its own log.
    pub(in crate::node) fn begin_leading(&mut self, step: &mut Step<'_>, groups: &Groups, slot: SlotId) {
        self.forget_leader(step, slot);
        let leader = self.table.leader_mut(slot);
        (leader.is_here, leader.outage, leader.unreachable_us) = (true, None, None);
        let Some(group) = groups.of(slot) else { return };
        let places: Vec<TopicKey> = self.table.topics_of(slot).collect();
        for place in places {
            self.end_outage(place);
            self.table.clear_tail(place);
            let topic = self.table.topic(place);
            match group.check_followed(step, (topic.id, topic.epoch), &topic.name) {
                Ok(next) => {
                    self.raise_head(place, next);
                    self.wake_topic(place);
                }
                Err(error) => self.end_topic(step, place, &error),
            }
        }
    }

    /// Handles that this node does not lead a slot any more.
    pub(in crate::node) fn end_leading(&mut self, step: &mut Step<'_>, slot: SlotId) {
        if std::mem::take(&mut self.table.leader_mut(slot).is_here) {
            self.on_new_leader(step, slot);
        }
    }

    /// Handles that another node leads a slot.
    pub(in crate::node) fn on_new_leader(&mut self, step: &mut Step<'_>, slot: SlotId) {
        self.forget_leader(step, slot);
        if self.table.leader(slot).topics > 0 {
            self.resync(step, slot);
        }
    }

    /// Forgets what the earlier leader of a slot has confirmed, and what it was asked for.
    fn forget_leader(&mut self, step: &mut Step<'_>, slot: SlotId) {
        let now_us = step.now.monotonic_us;
        let leader = self.table.leader_mut(slot);
        (leader.last, leader.mismatches, leader.heard_us, leader.alive_us) = (None, 0, now_us, now_us);
        let places: Vec<TopicKey> = self.table.topics_of(slot).collect();
        for place in places {
            self.table.set_confirmed_report(place, None);
            self.table.topic_mut(place).in_flight_report = None;
        }
        for origin in self.pulls_of(slot) {
            self.on_pull_failed(step, origin);
        }
    }
}
