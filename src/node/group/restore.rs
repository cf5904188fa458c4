//! Restart: the group restores a checkpoint and replays the entries after it. Older records stay in the journal.
//!
//! Replayed entries are applied exactly like newly committed ones, but nobody is answered.

use std::collections::BTreeSet;

use super::super::Step;
use super::Group;
use crate::entry::{DecodeError, Entry, Image, Note};
use crate::limits::EPOCHS_GIVEN_UP;
use crate::topic::{Catalogue, Verdict};
use crate::types::TopicId;

impl Group {
    /// Returns a snapshot of all topics without their records, for a checkpoint.
    pub(in crate::node) fn image(&self) -> Image {
        let mut topics = Vec::new();
        self.catalogue.encode(&mut topics);
        Image { slot: self.slot, applied: self.applied, open: self.tail.place(), needed: None, pinned: None, topics }
    }

    /// Restores the state of a checkpoint that was written in version `version` of the journal's format.
    ///
    /// # Errors
    /// Returns a [`DecodeError`] if the snapshot is not valid.
    pub(in crate::node) fn restore(&mut self, image: &[u8], version: u32) -> Result<(), DecodeError> {
        assert!(self.catalogue.is_empty(), "a group is restored before anything else");
        self.catalogue = Catalogue::decode(image, version)?;
        self.catalogue.allow_eviction();
        Ok(())
    }

    /// Applies committed entries, and returns their outcomes.
    pub(in crate::node) fn replay(&mut self, step: &mut Step<'_>, entries: Vec<Entry>) -> Vec<Note> {
        for mut entry in entries {
            entry.own_payload();
            // What failed when the entry was first applied fails again, and the client got its answer then.
            self.apply(step, entry, None);
        }
        self.catalogue.drop_stale();
        self.note_usage(step.budget);
        self.evict(step);
        std::mem::take(&mut self.notes)
    }

    /// Applies entries that follow lost ones, like [`Self::replay`]. A batch whose predecessor from the same producer
    /// is lost is stored nevertheless, but only once: `stored` has the batches that were stored this way.
    pub(in crate::node) fn replay_behind_loss(
        &mut self,
        step: &mut Step<'_>,
        entries: Vec<Entry>,
        stored: &mut BTreeSet<(TopicId, u64, u32, u64)>,
    ) -> Vec<Note> {
        let mut notes = Vec::new();
        for mut entry in entries {
            if let Entry::Publish(batch) = &mut entry
                && let Some(sequenced) = batch.producer
                && let Ok(id) = self.resolve(step.settings, &batch.topic)
                && let Some(topic) = self.catalogue.get(id)
            {
                let verdict = topic.producers.as_ref().map(|it| it.judge(sequenced, batch.count, batch.payload_crc));
                let is_lost = match verdict {
                    None => sequenced.sequence > 0,
                    Some(verdict) => matches!(verdict, Verdict::Gap { .. } | Verdict::Unknown),
                };
                let key = (id, sequenced.producer.number(), sequenced.epoch, sequenced.sequence);
                if is_lost && stored.insert(key) {
                    batch.producer = None;
                }
            }
            notes.append(&mut self.replay(step, vec![entry]));
        }
        notes
    }

    /// Accounts for lost entries by raising all epochs: offsets from here on may denote other records than before.
    pub(in crate::node) fn lose_entries(&mut self) {
        self.catalogue.raise_epochs_by(EPOCHS_GIVEN_UP);
    }

    /// Raises the epoch of each topic to this time in seconds, but not less than the append time of any
    /// record, or by one if it is that high already.
    pub(in crate::node) fn begin_epoch(&mut self, at_us: u64) {
        let epoch = at_us.max(self.catalogue.latest_us()) / 1_000_000;
        self.catalogue.raise_epochs_to(u32::try_from(epoch).unwrap_or(0));
    }

    /// Removes all producer state.
    pub(in crate::node) fn forget_producers(&mut self) {
        self.catalogue.forget_producers();
    }
}
