//! Checks that records expire once the clocks have been right for a while, however they jumped before. Each response is
//! also checked for records that have expired too early (`model`, `gaps`).

use dht_node::limits::{CLOCK_ASK_US, CLOCK_JUMP_LASTS_US, TICK_US};

use crate::truth::Life;
use crate::world::World;

/// Time after a link is up within which a neighbour was asked for its clock and has answered.
const AGREED_US: u64 = CLOCK_ASK_US + 1_000_000;

/// Time within which a proposal is committed and applied.
const APPLIED_US: u64 = 500_000;

impl World {
    /// Checks that a node retains no record that should have expired some time ago.
    pub(crate) fn check_ages(&mut self, node: usize) {
        let truth = &self.ground.nodes[node];
        let (Some(host), Some(healed_us)) = (&self.hosts[node], self.ground.healed_us) else { return };
        let has_neighbour = self.profile.dimension.bits() > 0;
        if truth.is_draining || !has_neighbour && self.profile.disks.is_some() {
            // After a start without neighbours, no record expires for ten minutes.
            return;
        }
        let is_here = |index: &usize| self.ground.leader_of(&self.profile.topics[*index]) == node;
        for index in (0..self.profile.topics.len()).filter(is_here) {
            let Some(topic) = host.driver.turn.node().topic(self.profile.name(index)) else { continue };
            let life = Life { id: topic.id, epoch: topic.epoch };
            let Some(log) = self.model.logs.get(&life).filter(|_| topic.retention.age_ms > 0) else { continue };
            let age_us = topic.retention.age_ms * 1000;
            // A record that existed when the clock jumped or the process started may count as appended at that time.
            let least_us = truth.clock_us + CLOCK_JUMP_LASTS_US + 2 * TICK_US;
            for (offset, placed) in &log.records {
                let Some(acked) = log.acked.get(&placed.batch) else { continue };
                let old_us = acked.now_us.max(least_us) + age_us + age_us / 32;
                let due_us = old_us.max(healed_us + AGREED_US) + APPLIED_US;
                assert!(
                    *offset < topic.log.first().0 || self.now_us < due_us,
                    "record {offset} of {life:?} was due at {due_us} and is kept"
                );
                self.trace.totals.aged += u64::from(due_us <= self.now_us);
            }
        }
    }
}
