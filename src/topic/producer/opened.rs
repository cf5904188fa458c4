//! Producers that were opened: those whose records the topic counts, so that an interrupted input can be continued.
//!
//! An entry is small and says nothing of single batches: what is remembered of those stands with the other producers,
//! and may be forgotten sooner. Then the producer is opened again, and learns how much of its input is stored.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};

use crate::limits::OPENED_PRODUCERS_MAX;
use crate::record::varint;
use crate::types::ProducerId;

/// The opened producers of one topic.
#[derive(Debug, Default)]
pub(super) struct OpenedProducers {
    by_id: BTreeMap<ProducerId, Opened>,
    /// How many were forgotten. While it is 0, a producer that is not there was never opened.
    forgotten: u64,
}

/// What is known of an opened producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// Only batches of this epoch are stored.
    pub(super) epoch: u32,
    /// Records that were stored in all epochs.
    pub(super) records: u64,
    /// Of the request that opened the epoch, which may come twice.
    token: u64,
    /// When it was last active, in the log's own time.
    active: u64,
}

/// Bytes of memory that an entry takes: with its part of the map's nodes.
pub(super) const COST: u64 = 64;

impl OpenedProducers {
    pub(super) fn get(&self, id: ProducerId) -> Option<&Opened> {
        self.by_id.get(&id)
    }

    /// Was this epoch of the producer opened by the request of that token?
    pub(super) fn is_open(&self, id: ProducerId, token: u64) -> bool {
        self.by_id.get(&id).is_some_and(|opened| opened.token == token)
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Opens the next epoch of a producer, its first when it is not there; `None` when it has had the last one. When
    /// there are too many, the one that was silent longest is forgotten.
    pub(super) fn open(&mut self, id: ProducerId, token: u64, clock: u64) -> Option<Opened> {
        let (epoch, records) = self.by_id.get(&id).map_or((0, 0), |opened| (opened.epoch, opened.records));
        let opened = Opened { epoch: epoch.checked_add(1)?, records, token, active: clock };
        self.by_id.insert(id, opened);
        if self.by_id.len() > OPENED_PRODUCERS_MAX {
            let silent = self.by_id.iter().min_by_key(|(_, opened)| opened.active).map(|(id, _)| *id);
            silent.and_then(|id| self.by_id.remove(&id));
            self.forgotten += 1;
        }
        Some(opened)
    }

    /// Records of a producer were stored; nothing is counted of one that was not opened.
    pub(super) fn count(&mut self, id: ProducerId, records: u32, clock: u64) {
        if let Some(opened) = self.by_id.get_mut(&id) {
            opened.records += u64::from(records);
            opened.active = clock;
        }
    }

    /// Bytes of memory that they take.
    pub(super) fn cost(&self) -> u64 {
        self.by_id.len() as u64 * COST
    }

    /// Is none there, and was none ever?
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.forgotten == 0
    }

    /// Appends all of it to `out`, for a checkpoint.
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

    /// Takes what [`Self::encode`] has written; `None` when it is something else.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut producers = Self { by_id: BTreeMap::new(), forgotten: varint::take(bytes)? };
        for _ in 0..Some(varint::take(bytes)?).filter(|count| *count <= OPENED_PRODUCERS_MAX as u64)? {
            let id = ProducerId::new(bytes.try_get_u64().ok()?)?;
            let token = bytes.try_get_u64().ok()?;
            let epoch = u32::try_from(varint::take(bytes)?).ok()?;
            let opened = Opened { epoch, records: varint::take(bytes)?, token, active: varint::take(bytes)? };
            if producers.by_id.insert(id, opened).is_some() {
                return None;
            }
        }
        Some(producers)
    }
}
