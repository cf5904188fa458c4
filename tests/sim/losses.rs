//! The losses of a node with interval sync whose machine crashes: it may lose the end of its log, but nothing that was
//! acknowledged before the last sync. Each start after anything but an orderly shutdown begins a new epoch of every
//! log, so that readers that were beyond the end are notified. How much was lost shows only in the node's responses.

use dht_node::limits::LOSSES_MAX;
use dht_node::types::{Epoch, Offset, TopicId};

use crate::ground::Ground;
use crate::model::{Model, Span};
use crate::truth::{Life, Log};

/// A client was notified that offsets of an earlier epoch may denote other records from `next` on in a later one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossReport {
    life: Life,
    epoch: Epoch,
    next: u64,
}

impl Model {
    /// Records that an epoch of a log was reported, after checking that it can exist.
    pub(crate) fn meet_life(&mut self, name: usize, life: Life, span: Span, ground: &Ground) {
        self.meet(name, life.id, span, ground);
        let home = &ground.nodes[self.names[name].plan.home];
        assert!(
            (1..=home.raises + 1).contains(&life.epoch.0),
            "{life:?} has a new epoch although no records may have been lost"
        );
        let log = self.logs.entry(life).or_insert_with(|| Log { learned_us: span.now_us, ..Log::default() });
        let is_raised =
            home.raised_us.is_some_and(|raised_us| log.learned_us <= raised_us && raised_us < span.asked_us);
        assert!(!is_raised, "{life:?} has no new epoch although records may have been lost");
        let later = self.later(life).find(|(_, log)| log.learned_us <= span.asked_us);
        assert!(later.is_none(), "{life:?} was reported after a later epoch");
    }

    /// Returns the later epochs of a log.
    fn later(&self, life: Life) -> impl Iterator<Item = (Life, &Log)> {
        let last = Life { epoch: Epoch(u32::MAX), ..life };
        self.logs.range(life..=last).skip_while(move |(later, _)| **later == life).map(|(life, log)| (*life, log))
    }

    /// Records that offsets of an epoch of a log may denote other records now.
    pub(crate) fn truncated(&mut self, name: usize, life: Life, (epoch, next): (Epoch, Offset), ground: &Ground) {
        self.totals.truncations += 1;
        let home = self.names[name].plan.home;
        let raises = ground.nodes[home].raises;
        assert!(life.epoch < epoch && epoch.0 <= raises + 1, "{life:?} cannot have lost records by epoch {epoch:?}");
        // If more starts share the epoch, the notification may come too early.
        if let Some(log) = self.logs.get(&life).filter(|_| raises as usize <= LOSSES_MAX) {
            let is_safe = |span: &Span| ground.keeps(home, span.now_us, span.asked_us);
            let safe = log.acked.iter().filter(|(_, span)| is_safe(span)).map(|(batch, _)| self.end_in(log, *batch));
            let safe = safe.max().unwrap_or(0);
            assert!(
                safe <= next.0,
                "{life:?} is reported to have lost records from {next} on, but is durable up to {safe}"
            );
        }
        self.loss_reports.push(LossReport { life, epoch, next: next.0 });
    }

    /// Returns the offset after the last record of a batch.
    fn end_in(&self, log: &Log, batch: usize) -> u64 {
        log.bases[&batch] + self.batches[batch].count() as u64
    }

    /// Checks that everything lost was reported, and that nothing durable was lost.
    pub(crate) fn check_losses(&mut self, ground: &Ground) {
        for report in &self.loss_reports {
            let later = Life { epoch: report.epoch, ..report.life };
            if let Some((before, after)) = self.logs.get(&report.life).zip(self.logs.get(&later)) {
                check_report(report, before, after);
            }
        }
        let mut lost = 0;
        for (life, before) in &self.logs {
            for (later, after) in self.later(*life) {
                check_prefix(before, after, &format!("{life:?}, by {later:?}"));
                lost += self.lost(life.id, before, after, ground);
            }
        }
        self.totals.lost_records += lost;
    }

    /// Counts the records that were acknowledged in one epoch of a log and do not exist in a later one, which was read
    /// completely.
    fn lost(&self, id: TopicId, before: &Log, after: &Log, ground: &Ground) -> u64 {
        let home = self.names[self.topics[&id].name].plan.home;
        let Some((first, _)) = after.whole else { return 0 };
        let mut lost = 0;
        for (batch, span) in &before.acked {
            let is_there = after.bases.get(batch) == Some(&before.bases[batch]);
            if self.end_in(before, *batch) <= first || is_there {
                continue;
            }
            assert!(!ground.keeps(home, span.now_us, span.asked_us), "batch {batch} was durable and is not in {id:?}");
            lost += self.batches[*batch].count() as u64;
        }
        lost
    }
}

/// Below the reported offset every offset denotes the same record, and the log was not shorter than that.
fn check_report(report: &LossReport, before: &Log, after: &Log) {
    let least = after.least_next.unwrap_or(report.next);
    assert!(report.next <= least, "{report:?}, but the log continued at or before {least}");
    for (offset, placed) in before.records.range(..report.next) {
        let now = after.records.get(offset).unwrap_or(placed);
        assert_eq!(now, placed, "{report:?}, but offset {offset} denotes another record");
    }
}

/// The lost part is the end of the log: after the first offset that denotes another record, all do.
fn check_prefix(before: &Log, after: &Log, whose: &str) {
    let both = before.records.iter().filter_map(|(offset, one)| Some((offset, one == after.records.get(offset)?)));
    let mut kept = both.skip_while(|(_, is_same)| *is_same).filter(|(_, is_same)| *is_same);
    assert_eq!(kept.next(), None, "{whose} kept a record after a lost one");
}
