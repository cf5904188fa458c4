//! Checks whether the gaps reported to subscriptions were justified, which can be decided only at the end, when
//! everything has been read.

use dht_node::types::Offset;

use crate::changes::Kept;
use crate::model::{Extent, Model, Span};
use crate::truth::{Gap, Life, Log, kept_from};

impl Model {
    /// Records that a subscription was notified that the records before `to` are gone.
    pub(crate) fn gap(&mut self, life: Life, to: Offset, now_us: u64) {
        self.totals.gaps += 1;
        let log = self.logs.get_mut(&life).expect("the topic is known to the model");
        log.gaps.push(Gap { to: to.0, now_us });
        log.firsts.raise(now_us, to.0);
        log.nexts.raise(now_us, to.0);
    }

    /// Checks the extent of a topic in a push: it may be outdated, but it was true once.
    pub(crate) fn check_old_extent(&mut self, life: Life, extent: Extent, now_us: u64) {
        self.check_extent(life, extent, Span { asked_us: 0, now_us });
    }

    /// Checks that every gap was caused by retention, which had removed that much at the time.
    pub(crate) fn check_gaps(&mut self) {
        for (life, log) in &self.logs {
            for gap in &log.gaps {
                let Some(most) = self.most_removed(self.kept(life.id), log, gap) else { continue };
                assert!(gap.to <= most, "{gap:?}, but retention had only removed records before {most}");
                self.totals.gaps_checked += 1;
            }
        }
    }

    /// Returns the offset from which no record can have been removed when the gap was reported; `None` if it is
    /// unknown.
    fn most_removed(&self, bounds: Kept, log: &Log, gap: &Gap) -> Option<u64> {
        let is_later = |batch: usize| self.batches[batch].sent_us.is_none_or(|sent_us| sent_us > gap.now_us);
        let later = log.records.iter().find(|(_, placed)| is_later(placed.batch)).map(|(offset, _)| *offset);
        let next = later.or_else(|| log.whole.map(|(_, next)| next))?;
        let Kept { least, trim_to, .. } = bounds;
        let length = |offset: u64| {
            let placed = log.records.get(&offset)?;
            Some(self.batches[placed.batch].record(placed.index).len() as u64)
        };
        let kept = kept_from(next, least, length)?.max(trim_to);
        let is_old = |offset: &u64| {
            let placed = log.records.get(offset);
            placed.is_none_or(|placed| self.batches[placed.batch].may_be_aged(placed, gap.now_us, &bounds))
        };
        let aged = if least.age_ms > 0 { (kept..next).take_while(is_old).count() as u64 } else { 0 };
        Some(kept + aged)
    }
}
