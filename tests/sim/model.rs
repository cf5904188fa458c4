//! The model: what must be true according to the responses to clients.
//!
//! The content of every record is unique, so reading it determines its position and detects duplicates.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dht_node::types::{Offset, Retention, TopicId};
use dht_node::wire::records::{self, Record};
use dht_node::wire::response::{OFFSET_FORGOTTEN, Published, Run};

use crate::changes::{Changes, Kept};
use crate::ground::Ground;
use crate::losses::LossReport;
use crate::profile::{Plan, Profile};
use crate::trace::Totals;
use crate::truth::{Batch, Life, Log, Placed, Topic, identity, kept_from};

/// The truth about batches and topics.
#[derive(Debug)]
pub(crate) struct Model {
    pub names: Vec<Name>,
    pub topics: BTreeMap<TopicId, Topic>,
    pub logs: BTreeMap<Life, Log>,
    /// Reports that logs have lost records.
    pub loss_reports: Vec<LossReport>,
    pub batches: Vec<Batch>,
    /// Answers may take so long that an ingress sends requests again.
    is_repeated: bool,
    /// Size of the largest batch in bytes.
    pub largest: u64,
    /// The highest epoch that each producer has used.
    epochs: BTreeMap<u64, u32>,
    /// Producers that have requested a new epoch.
    asked_openings: BTreeSet<u64>,
    /// The subscriptions by client and request id.
    pub seats: BTreeMap<(usize, u64), Seat>,
    pub totals: Totals,
}

/// A name, which topics may have one after the other.
#[derive(Debug)]
pub(crate) struct Name {
    pub plan: Plan,
    /// The retention in the plan with the node's defaults: the initial one, and the one after ALTER.
    pub retention: Retention,
    pub other: Retention,
    /// True if its home may lose changes that it has acknowledged.
    pub may_lose: bool,
    /// When the clock of its home last jumped by days without any process recording that. The append times of older
    /// records are then taken for what they say.
    pub redated_us: Option<u64>,
    /// Deletions that were requested and may be executed at any time, of a given topic or of whichever has the name.
    pub deletes: BTreeMap<usize, Option<TopicId>>,
    pub deletes_asked: usize,
    /// The topic that has the name at the end and the epoch of its log, or that there is none.
    pub found: Option<Option<Life>>,
}

/// An existing subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    /// The client's node.
    pub node: usize,
    /// The index of its name.
    pub name: usize,
    pub life: Life,
    /// The next offset.
    pub cursor: Offset,
    /// True if the client was notified that the home is unreachable. `None` if it does not want notices.
    pub waits: Option<bool>,
}

/// The extent of a topic in a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub first: Offset,
    pub next: Offset,
    pub bytes: Option<u64>,
}

/// The times of a request and its response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub asked_us: u64,
    pub now_us: u64,
}

impl Model {
    pub(crate) fn new(profile: &Profile) -> Self {
        let default = profile.default_retention;
        let filled = |asked: Retention| {
            let bytes = if asked.bytes == 0 { default.bytes } else { asked.bytes };
            Retention { bytes, ..asked }
        };
        let name = |plan: &Plan| Name {
            plan: plan.clone(),
            retention: filled(plan.retention),
            other: filled(plan.other),
            may_lose: profile.has_interval_sync(),
            redated_us: None,
            deletes: BTreeMap::new(),
            deletes_asked: 0,
            found: None,
        };
        Self {
            names: profile.topics.iter().map(name).collect(),
            topics: BTreeMap::new(),
            is_repeated: !profile.is_calm() || profile.is_slow() || profile.disks.is_some(),
            logs: BTreeMap::new(),
            loss_reports: Vec::new(),
            batches: Vec::new(),
            largest: 0,
            epochs: BTreeMap::new(),
            asked_openings: BTreeSet::new(),
            seats: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    pub(crate) fn count(&self, totals: &mut Totals) {
        totals.add(&self.totals);
    }

    /// Returns the number of the next batch, for its content.
    pub(crate) const fn next_batch(&self) -> usize {
        self.batches.len()
    }

    /// Records a batch before it is sent.
    pub(crate) fn add_batch(&mut self, payload: Bytes, sequenced: Option<(u64, u32, u64)>) {
        let mut starts = vec![0];
        for record in records::iter(&payload) {
            let mut bytes = Vec::new();
            record.and_then(|record| record.encode(&mut bytes)).expect("a sequence of records");
            starts.push(starts.last().expect("not empty") + bytes.len());
        }
        assert_eq!(starts.last(), Some(&payload.len()));
        if let Some((producer, epoch, _)) = sequenced {
            let highest = self.epochs.entry(producer).or_default();
            *highest = epoch.max(*highest);
        }
        let (is_forged, is_moved, is_acked, is_seen) = (false, false, false, false);
        let (attempts, open, sent_us) = (0, 0, None);
        self.largest = self.largest.max(payload.len() as u64);
        self.batches.push(Batch {
            payload,
            starts,
            sequenced,
            is_moved,
            is_forged,
            attempts,
            sent_us,
            open,
            is_acked,
            is_seen,
        });
    }

    /// Handles the reuse of an acknowledged sequence by the newest batch.
    pub(crate) fn forge(&mut self) {
        self.batches.last_mut().expect("it was added").is_forged = true;
    }

    pub(crate) fn is_forged(&self, batch: usize) -> bool {
        self.batches[batch].is_forged
    }

    pub(crate) fn attempt(&mut self, batch: usize, now_us: u64) {
        let batch = &mut self.batches[batch];
        batch.attempts += 1;
        batch.open += 1;
        batch.sent_us.get_or_insert(now_us);
    }

    /// Records that an attempt was reported as not applied: if that holds for all attempts, nobody ever reads the
    /// batch.
    pub(crate) fn deny(&mut self, batch: usize) {
        let denied = &mut self.batches[batch];
        denied.open -= 1;
        denied.check(batch);
    }

    pub(crate) fn is_fenced(&self, batch: usize) -> bool {
        let sequenced = self.batches[batch].sequenced;
        self.is_forged(batch)
            || self.batches[batch].is_moved
            || sequenced.is_some_and(|(producer, epoch, _)| {
                // Opening may have been executed although its response is in transit, and overtakes a repeated request.
                self.epochs[&producer] > epoch || self.asked_openings.contains(&producer)
            })
    }

    /// Records that a producer has requested a new epoch.
    pub(crate) fn opening_asked(&mut self, producer: u64) {
        self.asked_openings.insert(producer);
    }

    /// Publishes a batch that is not stored in another epoch of its producer.
    pub(crate) fn move_batch(&mut self, batch: usize, (producer, epoch, sequence): (u64, u32, u64)) {
        let moved = &mut self.batches[batch];
        assert!(!moved.is_seen && !moved.is_acked, "batch {batch} was reported as not stored, but was read");
        (moved.sequenced, moved.is_moved) = (Some((producer, epoch, sequence)), true);
        self.epochs.insert(producer, epoch);
    }

    pub(crate) fn is_sequenced(&self, batch: usize) -> bool {
        self.batches[batch].sequenced.is_some()
    }

    /// Records the acknowledgement of an attempt.
    pub(crate) fn acknowledge(
        &mut self,
        (name, batch): (usize, usize),
        published: &Published,
        span: Span,
        ground: &Ground,
    ) {
        let life = Life { id: published.topic_id, epoch: published.epoch };
        let acked = &mut self.batches[batch];
        let count = acked.count();
        assert_eq!(published.count as usize, count, "the acknowledgement has another number of records");
        let is_forgotten = published.base == OFFSET_FORGOTTEN;
        if acked.is_forged {
            assert!(is_forgotten, "batch {batch} was stored under the sequence of another");
            return;
        }
        if published.duplicate {
            let may_be_repeated = self.is_repeated && acked.sequenced.is_some();
            assert!(acked.attempts > 1 || may_be_repeated, "batch {batch} was sent once but reported as a duplicate");
            self.totals.duplicates += 1;
        }
        self.totals.acked_batches += u64::from(!acked.is_acked);
        self.totals.acked_records += if acked.is_acked { 0 } else { count as u64 };
        acked.is_acked = true;
        self.meet_life(name, life, span, ground);
        if is_forgotten {
            return;
        }
        for index in 0..count {
            let offset = published.base.0 + index as u64;
            self.place(life, offset, Placed { batch, index, append_us: published.append_us });
        }
        let log = self.logs.get_mut(&life).expect("just recorded");
        let (base, least_base) = (published.base.0, log.nexts.at(span.asked_us));
        assert!(
            published.duplicate || base >= least_base,
            "batch {batch} is at offset {base}, but the log ended at {least_base} before it was sent"
        );
        log.nexts.raise(span.now_us, base + count as u64);
        log.acked.entry(batch).or_insert(span);
        if !published.duplicate {
            let before = log.stored.insert(batch, ());
            assert!(before.is_none(), "batch {batch} was stored twice in one topic");
        }
    }

    /// Records that a topic was reported, after checking that it can exist.
    pub(crate) fn meet(&mut self, name: usize, id: TopicId, span: Span, ground: &Ground) {
        let (learned_us, known_us) = (span.now_us, span.asked_us);
        let topic = self.topics.entry(id).or_insert_with(|| Topic {
            name,
            learned_us,
            known_us,
            deleted: None,
            changes: Changes::default(),
        });
        assert_eq!(topic.name, name, "a topic changed its name");
        if let Some(deleted) = topic.deleted.filter(|deleted| deleted.now_us <= span.asked_us) {
            // A home that has lost a deletion has the topic again.
            assert!(ground.may_undo(self.names[name].plan.home, deleted), "{id:?} exists again after its deletion");
            (topic.deleted, topic.learned_us) = (None, learned_us);
        }
        topic.known_us = topic.known_us.max(known_us);
    }

    /// Records that records were read.
    pub(crate) fn read(&mut self, life: Life, base: Offset, payload: &[u8], runs: &[Run]) {
        let mut times = runs.iter().flat_map(|run| (0..run.count).map(|_| run.append_us));
        let mut rest = payload;
        for offset in base.0.. {
            if rest.is_empty() {
                break;
            }
            let (record, behind) = Record::decode(rest).expect("records are stored as received");
            let bytes = &rest[..rest.len() - behind.len()];
            rest = behind;
            let (batch, index) = identity(record.value);
            let truth = self.batches.get(batch).unwrap_or_else(|| panic!("the record at {offset} was never published"));
            assert_eq!(truth.record(index), bytes, "the bytes at offset {offset} differ from the published ones");
            let append_us = times.next().expect("runs cover all records");
            self.place(life, offset, Placed { batch, index, append_us });
            self.totals.records_read += 1;
        }
        assert_eq!(times.next(), None, "runs cover more records than the frame has");
    }

    /// Checks the extent of a topic against earlier reports and its retention.
    pub(crate) fn check_extent(&mut self, life: Life, extent: Extent, span: Span) {
        let kept = self.kept(life.id);
        let Kept { most, least, inexact, trim_to, .. } = kept;
        let log = self.logs.get_mut(&life).expect("the topic is known to the model");
        let (first, next) = (extent.first.0, extent.next.0);
        assert!(first <= next);
        let (least_first, least_next) = (log.firsts.at(span.asked_us), log.nexts.at(span.asked_us));
        assert!(first >= least_first, "the log start offset went back from {least_first} to {first}");
        assert!(next >= least_next, "the log ends at {next}, but {least_next} was acknowledged or read before");
        log.firsts.raise(span.now_us, first);
        log.nexts.raise(span.now_us, next);
        log.least_next = Some(log.least_next.map_or(next, |least| least.min(next)));
        let length = |offset: u64| {
            let placed = log.records.get(&offset)?;
            Some(self.batches[placed.batch].record(placed.index).len() as u64)
        };
        // Retention by bytes is only as precise as the marks of the log.
        if let Some((lowest, highest)) = kept_from(next, most, length).zip(kept_from(next, least, length)) {
            let is_old = |offset: u64| {
                let placed = log.records.get(&offset);
                placed.is_none_or(|placed| self.batches[placed.batch].may_be_aged(placed, span.now_us, &kept))
            };
            assert!(first >= lowest, "{first} is retained, but {most:?} allows only {lowest} to {next}");
            let is_asked = first <= trim_to;
            let by_age = least.age_ms > 0 && (highest.max(trim_to)..first).all(is_old);
            assert!(
                first <= highest || is_asked || by_age,
                "{first} is first of {next}, {least:?} keeps from {highest}"
            );
        }
        if let Some(reported) = extent.bytes
            && let Some(bytes) = (first..next).map(length).sum::<Option<u64>>()
        {
            // The trimmed part of the oldest mark is estimated by the number of records.
            let inexact = if first == 0 { 0 } else { inexact };
            assert!(
                reported.abs_diff(bytes) <= inexact,
                "{reported} bytes reported from {first} to {next}, which have {bytes}"
            );
        }
    }

    /// Checks a log that was read completely: every batch that begins in it is complete.
    pub(crate) fn check_whole(&mut self, life: Life, first: Offset, next: Offset) {
        let log = self.logs.get_mut(&life).expect("it was read");
        log.whole = Some((first.0, next.0));
        assert!((first.0..next.0).all(|offset| log.records.contains_key(&offset)), "everything was read");
        for (batch, base) in &log.bases {
            let end = base + self.batches[*batch].count() as u64;
            assert!(end <= next.0, "batch {batch} is stored partially: {base} to {end} of {}", next.0);
        }
    }

    /// Returns the size in bytes of the record at an offset, if it is known.
    pub(crate) fn length(&self, life: Life, offset: u64) -> Option<usize> {
        self.logs[&life].records.get(&offset).map(|placed| self.batches[placed.batch].record(placed.index).len())
    }

    /// Returns the append time of the record at an offset, if it is known.
    pub(crate) fn append_us(&self, life: Life, offset: u64) -> Option<u64> {
        self.logs[&life].records.get(&offset).map(|placed| placed.append_us)
    }

    fn place(&mut self, life: Life, offset: u64, placed: Placed) {
        let Placed { batch, index, .. } = placed;
        let log = self.logs.get_mut(&life).expect("the topic is known to the model");
        let truth = &mut self.batches[batch];
        truth.is_seen = true;
        truth.check(batch);
        assert!(!truth.is_forged, "batch {batch} was stored with the sequence of another");
        let known = log.records.entry(offset).or_insert(placed);
        assert_eq!((known.batch, known.index), (batch, index), "offset {offset} has two values");
        assert_eq!(known.append_us, placed.append_us, "offset {offset} has two append times");
        let base = offset.checked_sub(index as u64).expect("a batch starts within the log");
        if let Some(known) = log.bases.get(&batch) {
            assert_eq!(*known, base, "batch {batch} is stored at two offsets of one topic");
            return;
        }
        log.bases.insert(batch, base);
        if let Some(sequence) = truth.sequenced {
            log.sequences.insert(sequence, base);
            log.check_order(sequence);
        }
    }
}
