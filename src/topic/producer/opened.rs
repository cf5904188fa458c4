//! Opened producers: the topic counts their records, so that an interrupted input can be resumed.
//!
//! An entry here is small and does not describe single batches. The answers to a producer's batches are in the main
//! table and may be forgotten sooner; the producer is then opened again and learns how much of its input is stored.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};

use super::activity::{self, ActivityOrder};
use crate::entry::varint;
use crate::limits::OPENED_PRODUCERS_MAX;
use crate::types::ProducerId;

/// The opened producers of one topic.
#[derive(Debug, Default)]
pub(super) struct OpenedProducers {
    by_id: BTreeMap<ProducerId, Opened>,
    activity: ActivityOrder,
    /// Number of producers forgotten. While it is 0, an unknown producer was never opened.
    forgotten: u64,
}

/// The state of an opened producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The current epoch; batches of other epochs are refused.
    pub(super) epoch: u32,
    /// Records stored in all epochs.
    pub(super) records: u64,
    /// Token of the request that opened the epoch, by which a duplicate of the request is recognised.
    token: u64,
    /// The log's own time when the producer was last active.
    active: u64,
}

/// Memory of an entry in bytes, with its share of the order of activity and of the map's nodes, which are half full
/// when ids are added in ascending order.
pub(super) const COST: u64 = (9 * size_of::<(ProducerId, Opened)>() / 4 + activity::COST) as u64;

impl OpenedProducers {
    pub(super) fn get(&self, id: ProducerId) -> Option<&Opened> {
        self.by_id.get(&id)
    }

    /// Returns true when the producer's current epoch was opened by the request with this token.
    pub(super) fn is_open(&self, id: ProducerId, token: u64) -> bool {
        self.by_id.get(&id).is_some_and(|opened| opened.token == token)
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Opens the next epoch of a producer, or its first one if the producer is unknown. Returns `None` when it has used
    /// up all epochs. When there are too many producers, the least recently active is forgotten.
    pub(super) fn open(&mut self, id: ProducerId, token: u64, clock: u64) -> Option<Opened> {
        let (epoch, records) = self.by_id.get(&id).map_or((0, 0), |opened| (opened.epoch, opened.records));
        let opened = Opened { epoch: epoch.checked_add(1)?, records, token, active: clock };
        if self.by_id.insert(id, opened).is_none() {
            self.activity.add(id, clock);
        }
        if self.by_id.len() > OPENED_PRODUCERS_MAX {
            let least_recent = self.activity.take_least_recent(|id| self.by_id.get(&id).map(|opened| opened.active));
            least_recent.and_then(|id| self.by_id.remove(&id));
            self.forgotten += 1;
        }
        Some(opened)
    }

    /// Counts stored records of a producer, if it was opened.
    pub(super) fn count(&mut self, id: ProducerId, records: u32, clock: u64) {
        if let Some(opened) = self.by_id.get_mut(&id) {
            opened.records += u64::from(records);
            opened.active = clock;
        }
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn cost(&self) -> u64 {
        self.by_id.len() as u64 * COST
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.activity.len(), self.by_id.len(), "each producer has its place in the order");
    }

    /// Returns true when no producer is known and none was forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.forgotten == 0
    }

    /// Appends the encoded producers to a checkpoint's image.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.forgotten);
        varint::put(out, self.by_id.len() as u64);
        for (id, opened) in &self.by_id {
            out.put_u64(id.number());
            out.put_u64(opened.token);
            varint::put(out, opened.epoch.into());
            varint::put(out, opened.records);
            varint::put(out, opened.active);
        }
    }

    /// Decodes the result of [`Self::encode`]; returns `None` when the bytes are malformed.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut producers = Self { forgotten: varint::take(bytes)?, ..Self::default() };
        for _ in 0..Some(varint::take(bytes)?).filter(|count| *count <= OPENED_PRODUCERS_MAX as u64)? {
            let id = ProducerId::new(bytes.try_get_u64().ok()?)?;
            let token = bytes.try_get_u64().ok()?;
            let epoch = u32::try_from(varint::take(bytes)?).ok()?;
            let opened = Opened { epoch, records: varint::take(bytes)?, token, active: varint::take(bytes)? };
            if producers.by_id.insert(id, opened).is_some() {
                return None;
            }
            producers.activity.add(id, opened.active);
        }
        Some(producers)
    }
}
