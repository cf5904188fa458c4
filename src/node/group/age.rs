//! Retention by age.

use super::super::Step;
use super::super::cost::Cost;
use super::Group;
use super::proposal::Proposal;
use super::room::check_queue;
use crate::entry::Entry;
use crate::limits::AGE_SCAN_PER_TICK;

impl Group {
    /// Proposes to remove the records that exceed their topic's maximum age. Each tick scans a part of the catalogue.
    pub(in crate::node) fn trim_aged(&mut self, step: &mut Step<'_>) {
        let Some(lead) = &mut self.lead else { return };
        if !self.catalogue.has_aging() || !lead.times.knows_ages(self.catalogue.eras()) {
            return;
        }
        let from = lead.age_place;
        let behind = from + AGE_SCAN_PER_TICK;
        lead.age_place = if behind < self.catalogue.places() { behind } else { 0 };
        let now_us = planted!("ages by the machine's clock", step.wall.now_us(step.now), step.now.wall_us);
        let trims: Vec<Entry> = self
            .catalogue
            .scan(from, AGE_SCAN_PER_TICK)
            .filter(|(_, topic)| topic.retention.age_ms > 0 && lead.times.knows_age_of(step.wall, &topic.log))
            .filter_map(|(_, topic)| {
                let oldest_us = now_us.saturating_sub(topic.retention.age_ms.saturating_mul(1000));
                let first = topic.log.age_cut(oldest_us, self.catalogue.eras());
                (first > topic.log.first()).then_some(Entry::Trim { topic: topic.id, first })
            })
            .collect();
        for entry in trims {
            // While the disk hangs, the records stay; a later tick proposes it again.
            if check_queue(step, Cost::of(&entry)).is_ok() {
                self.propose(step, entry, Proposal::default());
            }
        }
    }
}
