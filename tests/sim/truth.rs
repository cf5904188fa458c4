//! What is known about a topic and about a batch.

use std::collections::BTreeMap;

use bytes::Bytes;
use dht_node::limits::{MARK_BYTES_MAX, MARKS_PER_BOUND};
use dht_node::types::{Epoch, Retention, TopicId};

use crate::changes::{Changes, Kept};
use crate::faults::WALL_US;
use crate::model::Span;

/// A topic, from its creation to its deletion.
#[derive(Debug)]
pub(crate) struct Topic {
    pub name: usize,
    /// Since when any client has known of it.
    pub learned_us: u64,
    /// It existed at this time or later.
    pub known_us: u64,
    /// When that was requested and reported.
    pub deleted: Option<Span>,
    pub changes: Changes,
}

/// An epoch of a topic's log, within which an offset always denotes the same record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub id: TopicId,
    pub epoch: Epoch,
}

/// Correct clocks of nodes differ by less than this.
const CLOCKS_US: u64 = 110_000;

/// What is known about an epoch of a log. Records that were stored in an earlier epoch are included only if they were
/// read in this one.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Since when any client has known of it.
    pub learned_us: u64,
    pub records: BTreeMap<u64, Placed>,
    /// The offset of each batch.
    pub bases: BTreeMap<usize, u64>,
    pub sequences: BTreeMap<(u64, u32, u64), u64>,
    /// Batches that were acknowledged as new in this epoch.
    pub stored: BTreeMap<usize, ()>,
    /// Batches that were acknowledged in this epoch, and when.
    pub acked: BTreeMap<usize, Span>,
    /// The minimum of `first` and `next` for a later request.
    pub firsts: Steps,
    pub nexts: Steps,
    /// The lowest log end offset that was ever reported.
    pub least_next: Option<u64>,
    /// The records that subscriptions were notified of as removed.
    pub gaps: Vec<Gap>,
    /// The range that was read completely at the end.
    pub whole: Option<(u64, u64)>,
}

/// A notice to a subscription that records before `to` were removed.
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

/// A batch of any publisher.
#[derive(Debug)]
pub(crate) struct Batch {
    pub payload: Bytes,
    /// The start of each record in the payload, and the end of the payload.
    pub starts: Vec<usize>,
    pub sequenced: Option<(u64, u32, u64)>,
    /// It got another sequence in a later epoch: attempts with the earlier one are fenced.
    pub is_moved: bool,
    /// It was published under a sequence of another batch, and must never be stored.
    pub is_forged: bool,
    pub attempts: u32,
    /// When it was first sent.
    pub sent_us: Option<u64>,
    /// Number of attempts whose outcome is unknown, perhaps for ever.
    pub open: u32,
    pub is_acked: bool,
    pub is_seen: bool,
}

/// A number that only increases, with the times of its increases.
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

    /// Returns when it was known to be at least this.
    pub(crate) fn reached_us(&self, value: u64) -> Option<u64> {
        self.0.get(self.0.partition_point(|(_, step)| *step < value)).map(|(step_us, _)| *step_us)
    }
}

impl Log {
    /// Checks that the batches of a producer are in the order of their sequences.
    pub(crate) fn check_order(&self, (producer, epoch, sequence): (u64, u32, u64)) {
        let from = sequence.saturating_sub(1);
        let around = self.sequences.range((producer, epoch, from)..=(producer, epoch, sequence + 1));
        let bases: Vec<u64> = around.map(|(_, base)| *base).collect();
        assert!(bases.is_sorted(), "the sequences around {sequence} are at offsets {bases:?}");
    }
}

impl Batch {
    /// Returns true if a record of it may have expired by then. This uses the true time: a node's clock may have
    /// jumped, but its ages are accurate to a hundredth, which is the rate at which a small difference is corrected.
    /// If the clock jumped while no process ran, a node cannot know, and a clock that was behind when the record was
    /// appended makes it older than it is. No record expires before the clocks of two nodes agree: both are right then.
    pub(crate) fn may_be_aged(&self, placed: &Placed, now_us: u64, kept: &Kept) -> bool {
        let (age_ms, sent_us) = (kept.least.age_ms, self.sent_us.unwrap_or(0));
        let is_redated = kept.redated_us.is_some_and(|redated_us| sent_us <= redated_us);
        let apparent_us = if is_redated { (now_us + WALL_US).saturating_sub(placed.append_us) } else { 0 };
        let age_us = now_us.saturating_sub(sent_us).max(apparent_us);
        age_ms > 0 && age_us + age_us / 50 + CLOCKS_US >= age_ms * 1000
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

/// The value of a record starts with the number of its batch and its position in it.
pub(crate) fn identity(value: &[u8]) -> (usize, usize) {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    (number(&value[..8]), number(&value[8..12]))
}

/// Maximum size of the records between two marks of a log, in bytes.
pub(crate) fn mark_bytes(retention: Retention, largest: u64) -> u64 {
    let part = if retention.bytes == 0 { u64::MAX } else { retention.bytes / MARKS_PER_BOUND };
    part.min(MARK_BYTES_MAX).max(largest)
}

/// Returns the first record that retention by records and bytes keeps in a log with the log end offset `next`; `None`
/// if a length that matters is unknown.
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
