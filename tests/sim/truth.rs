//! What is known of one topic and of one batch.

use std::collections::BTreeMap;

use bytes::Bytes;
use dht_node::limits::{MARK_BYTES_MAX, MARKS_PER_BOUND};
use dht_node::types::{Epoch, Retention, TopicId};

use crate::changes::Changes;
use crate::model::Span;

/// One topic, from its creation to its end.
#[derive(Debug)]
pub(crate) struct Topic {
    pub name: usize,
    /// Since when somebody knows of it.
    pub learned_us: u64,
    /// It was there at this time or later.
    pub known_us: u64,
    /// When that was asked for and told.
    pub deleted: Option<Span>,
    pub changes: Changes,
}

/// One life of a topic's log: within it an offset means one record for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub id: TopicId,
    pub epoch: Epoch,
}

/// Clocks of nodes that are right differ by less.
const CLOCKS_US: u64 = 110_000;

/// What is known of one life of a log. Of what it has from an earlier one it knows only what was read in it.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Since when somebody knows of it.
    pub learned_us: u64,
    pub records: BTreeMap<u64, Placed>,
    /// Where each batch starts.
    pub bases: BTreeMap<usize, u64>,
    pub sequences: BTreeMap<(u64, u32, u64), u64>,
    /// Batches that were acknowledged as new here.
    pub stored: BTreeMap<usize, ()>,
    /// Batches that were acknowledged here, and when.
    pub acked: BTreeMap<usize, Span>,
    /// The least that `first` and `next` are for who asks after that time.
    pub firsts: Steps,
    pub nexts: Steps,
    /// The least that was ever told of its end.
    pub least_next: Option<u64>,
    /// Records that subscriptions were told are gone.
    pub gaps: Vec<Gap>,
    /// Everything from here to there was read at the end.
    pub whole: Option<(u64, u64)>,
}

/// What a subscription was told: records before `to` were removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub to: u64,
    pub now_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub batch: usize,
    pub index: usize,
    pub append_us: u64,
}

/// A batch that somebody publishes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub payload: Bytes,
    /// Where each record of the payload starts, and its end.
    pub starts: Vec<usize>,
    pub sequenced: Option<(u64, u32, u64)>,
    /// It was given another sequence, in a later epoch: attempts under the one before are fenced.
    pub is_moved: bool,
    /// It was published under a sequence that another batch had: never to be stored.
    pub is_forged: bool,
    pub attempts: u32,
    /// When it was sent for the first time.
    pub sent_us: Option<u64>,
    /// Attempts of which nothing is known yet, or never will be.
    pub open: u32,
    pub is_acked: bool,
    pub is_seen: bool,
}

/// A number that only grows, with the times at which it did.
#[derive(Debug, Default)]
pub(crate) struct Steps(Vec<(u64, u64)>);

impl Steps {
    pub(crate) fn raise(&mut self, now_us: u64, value: u64) {
        if self.0.last().is_none_or(|(_, last)| *last < value) {
            self.0.push((now_us, value));
        }
    }

    pub(crate) fn at(&self, at_us: u64) -> u64 {
        let behind = self.0.partition_point(|(step_us, _)| *step_us <= at_us);
        behind.checked_sub(1).map_or(0, |index| self.0[index].1)
    }

    /// When it was known to be that much.
    pub(crate) fn reached_us(&self, value: u64) -> Option<u64> {
        self.0.get(self.0.partition_point(|(_, step)| *step < value)).map(|(step_us, _)| *step_us)
    }
}

impl Log {
    /// The batches of a producer stand in the order of their sequences.
    pub(crate) fn check_order(&self, (producer, epoch, sequence): (u64, u32, u64)) {
        let from = sequence.saturating_sub(1);
        let around = self.sequences.range((producer, epoch, from)..=(producer, epoch, sequence + 1));
        let bases: Vec<u64> = around.map(|(_, base)| *base).collect();
        assert!(bases.is_sorted(), "sequences around {sequence} stand at {bases:?}");
    }
}

impl Batch {
    /// May one of its records have been removed for its age by then? By true time: a node's clock may have jumped, but
    /// its ages are right to a hundredth, which is what it makes a small jump up by.
    pub(crate) fn may_be_aged(&self, now_us: u64, retention: Retention) -> bool {
        let age_us = self.sent_us.map_or(u64::MAX, |sent_us| now_us.saturating_sub(sent_us));
        retention.age_ms > 0 && age_us + age_us / 50 + CLOCKS_US >= retention.age_ms * 1000
    }

    pub(crate) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn record(&self, index: usize) -> &[u8] {
        &self.payload[self.starts[index]..self.starts[index + 1]]
    }

    pub(crate) fn check(&self, batch: usize) {
        let is_denied = self.open == 0 && !self.is_acked && self.attempts > 0;
        assert!(
            !(is_denied && self.is_seen),
            "batch {batch} is in the log, and every answer said that it was not applied"
        );
    }
}

/// The value of a record starts with the number of its batch and its place in it.
pub(crate) fn identity(value: &[u8]) -> (usize, usize) {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    (number(&value[..8]), number(&value[8..12]))
}

/// Most bytes of records between two places where a log remembers how far it had come.
pub(crate) fn mark_bytes(retention: Retention, largest: u64) -> u64 {
    let part = if retention.bytes == 0 { u64::MAX } else { retention.bytes / MARKS_PER_BOUND };
    part.min(MARK_BYTES_MAX).max(largest)
}

/// The first record that retention by records and bytes keeps of a log that ends at `next`; `None` when a length that
/// matters is not known.
pub(crate) fn kept_from(next: u64, retention: Retention, length: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let bound = |bound: u64| if bound == 0 { u64::MAX } else { bound };
    let (most_records, most_bytes) = (bound(retention.records), bound(retention.bytes));
    if most_records == u64::MAX && most_bytes >= 1 << 26 {
        return Some(0);
    }
    let (mut first, mut bytes) = (next, 0);
    while first > 0 {
        bytes += length(first - 1)?;
        let is_last = first == next;
        if !is_last && (next - first + 1 > most_records || bytes > most_bytes) {
            break;
        }
        first -= 1;
    }
    Some(first)
}
