//! Were the gaps that subscriptions were told true? That shows only in the end, when everything was read.

use dht_node::types::{Offset, TopicId};

use crate::model::{Extent, Model, Span};
use crate::truth::{Gap, Topic, inexact, kept_from};

impl Model {
    /// A subscription was told that the records before `to` are gone.
    pub(crate) fn gap(&mut self, id: TopicId, to: Offset, now_us: u64, wall_us: u64) {
        self.totals.gaps += 1;
        let topic = self.topics.get_mut(&id).expect("it was met");
        topic.gaps.push(Gap { to: to.0, now_us, wall_us });
        topic.firsts.raise(now_us, to.0);
        topic.nexts.raise(now_us, to.0);
    }

    /// What a push says of the extent of its topic: it may be old, but it was so once.
    pub(crate) fn check_old_extent(&mut self, id: TopicId, extent: Extent, now_us: u64, wall_us: u64) {
        self.check_extent(id, extent, Span { asked_us: 0, now_us }, wall_us);
    }

    /// Every gap was made by retention: at that time it had removed as much as that.
    pub(crate) fn check_gaps(&mut self) {
        for topic in self.topics.values() {
            for gap in &topic.gaps {
                let Some(most) = self.most_removed(topic, gap) else { continue };
                assert!(gap.to <= most, "{gap:?}, and retention had removed no more than those before {most}");
                self.totals.gaps_checked += 1;
            }
        }
    }

    /// No record from there on can have been removed when the gap was told; `None` when that cannot be known.
    fn most_removed(&self, topic: &Topic, gap: &Gap) -> Option<u64> {
        let is_later = |batch: usize| self.batches[batch].sent_us.is_none_or(|sent_us| sent_us > gap.now_us);
        let later = topic.records.iter().find(|(_, placed)| is_later(placed.batch)).map(|(offset, _)| *offset);
        let next = later.or_else(|| topic.whole.map(|(_, next)| next))?;
        let retention = self.names[topic.name].retention;
        let length = |offset: u64| {
            let placed = topic.records.get(&offset)?;
            Some(self.batches[placed.batch].record(placed.index).len() as u64)
        };
        let kept = kept_from(next, inexact(retention, self.largest).1, length)?;
        let is_old = |offset: &u64| {
            topic.records.get(offset).is_none_or(|placed| placed.append_us + retention.age_ms * 1000 <= gap.wall_us)
        };
        let aged = if retention.age_ms > 0 { (kept..next).take_while(is_old).count() as u64 } else { 0 };
        Some(kept + aged)
    }
}
