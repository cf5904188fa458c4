//! What a node with a lazy disk may lose when its machine crashes: the end of its log, and nothing that was
//! acknowledged before the last sync. Each start after anything but an orderly end begins a new life of every log, so
//! that whoever was further on is told. How much was lost shows only in what the nodes answer.

use dht_node::limits::LOSSES_MAX;
use dht_node::types::{Epoch, Offset, TopicId};

use crate::ground::Ground;
use crate::model::{Model, Span};
use crate::truth::{Life, Log};

/// A client was told that offsets of an earlier life may mean other records from `next` on in a later one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    life: Life,
    epoch: Epoch,
    next: u64,
}

impl Model {
    /// A life of a log was told of: it is one that can be there.
    pub(crate) fn meet_life(&mut self, name: usize, life: Life, span: Span, ground: &Ground) {
        self.meet(name, life.id, span, ground);
        let home = &ground.nodes[self.names[name].plan.home];
        assert!((1..=home.raises + 1).contains(&life.epoch.0), "nothing may have been lost, and {life:?} says so");
        let log = self.logs.entry(life).or_insert_with(|| Log { learned_us: span.now_us, ..Log::default() });
        let is_raised =
            home.raised_us.is_some_and(|raised_us| log.learned_us <= raised_us && raised_us < span.asked_us);
        assert!(!is_raised, "{life:?} goes on when something may have been lost");
        let later = self.later(life).find(|(_, log)| log.learned_us <= span.asked_us);
        assert!(later.is_none(), "{life:?} comes after a later life");
    }

    /// The later lives of a log.
    fn later(&self, life: Life) -> impl Iterator<Item = (Life, &Log)> {
        let last = Life { epoch: Epoch(u32::MAX), ..life };
        self.logs.range(life..=last).skip_while(move |(later, _)| **later == life).map(|(life, log)| (*life, log))
    }

    /// Somebody was told that offsets of a life of a log may mean other records now.
    pub(crate) fn truncated(&mut self, name: usize, life: Life, (epoch, next): (Epoch, Offset), ground: &Ground) {
        self.totals.truncations += 1;
        let home = self.names[name].plan.home;
        let raises = ground.nodes[home].raises;
        assert!(life.epoch < epoch && epoch.0 <= raises + 1, "{life:?} cannot have lost records by epoch {epoch:?}");
        // What more starts than that share is told too early.
        if let Some(log) = self.logs.get(&life).filter(|_| raises as usize <= LOSSES_MAX) {
            let is_safe = |span: &Span| ground.keeps(home, span.now_us, span.asked_us);
            let safe = log.acked.iter().filter(|(_, span)| is_safe(span)).map(|(batch, _)| self.end_in(log, *batch));
            let safe = safe.max().unwrap_or(0);
            assert!(safe <= next.0, "{life:?} is said to have lost records from {next} on; it is safe up to {safe}");
        }
        self.told.push(Told { life, epoch, next: next.0 });
    }

    /// Behind the last record of a batch.
    fn end_in(&self, log: &Log, batch: usize) -> u64 {
        log.bases[&batch] + self.batches[batch].count() as u64
    }

    /// Was everything told that was lost, and nothing lost that was safe?
    pub(crate) fn check_losses(&mut self, ground: &Ground) {
        for told in &self.told {
            let later = Life { epoch: told.epoch, ..told.life };
            if let Some((before, after)) = self.logs.get(&told.life).zip(self.logs.get(&later)) {
                check_told(told, before, after);
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

    /// Counts the records that were acknowledged in one life of a log and are not in a later one, which was read from
    /// its first record to its end.
    fn lost(&self, id: TopicId, before: &Log, after: &Log, ground: &Ground) -> u64 {
        let home = self.names[self.topics[&id].name].plan.home;
        let Some((first, _)) = after.whole else { return 0 };
        let mut lost = 0;
        for (batch, span) in &before.acked {
            let is_there = after.bases.get(batch) == Some(&before.bases[batch]);
            if self.end_in(before, *batch) <= first || is_there {
                continue;
            }
            assert!(!ground.keeps(home, span.now_us, span.asked_us), "batch {batch} was safe and is not in {id:?}");
            lost += self.batches[*batch].count() as u64;
        }
        lost
    }
}

/// Below what was told every offset means the same, and there was no less of the log.
fn check_told(told: &Told, before: &Log, after: &Log) {
    let least = after.least_next.unwrap_or(told.next);
    assert!(told.next <= least, "{told:?}, and it went on from {least} or before");
    for (offset, placed) in before.records.range(..told.next) {
        let now = after.records.get(offset).unwrap_or(placed);
        assert_eq!(now, placed, "{told:?}, and offset {offset} means another record");
    }
}

/// What was lost is the end of the log: behind the first offset that means another record every one does.
fn check_prefix(before: &Log, after: &Log, whose: &str) {
    let both = before.records.iter().filter_map(|(offset, one)| Some((offset, one == after.records.get(offset)?)));
    let mut kept = both.skip_while(|(_, is_same)| *is_same).filter(|(_, is_same)| *is_same);
    assert_eq!(kept.next(), None, "a record behind a lost one was kept of {whose}");
}
