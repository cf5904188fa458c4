//! Restart: the node restores a checkpoint and replays the entries after it. Older records stay in the journal.
//!
//! Replayed entries are applied exactly like newly committed ones, but nobody is answered.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::stats::Stats;
use super::{Node, Parts, Step};
use crate::limits::EPOCHS_GIVEN_UP;
use crate::record::{DecodeError, Entry, Note};
use crate::topic::{Catalogue, NewTopic, Topic, Verdict};
use crate::types::{Now, Offset, TopicId, TopicName};

impl Node {
    /// Returns a topic of this node.
    pub fn topic(&self, name: TopicName<'_>) -> Option<&Topic> {
        self.parts.catalogue.find(name)
    }

    /// Returns a snapshot of all topics without their records, for a checkpoint.
    pub fn image(&self) -> Vec<u8> {
        let mut image = Vec::new();
        self.parts.catalogue.encode(&mut image);
        image
    }

    /// Restores the state of a checkpoint that was written in version `version` of the journal's format.
    ///
    /// # Errors
    /// Returns a [`DecodeError`] if the snapshot is not valid.
    pub fn restore(&mut self, image: &[u8], version: u32) -> Result<(), DecodeError> {
        assert!(self.parts.catalogue.is_empty() && self.events == 0, "a node is restored before anything else");
        self.parts.catalogue = Catalogue::decode(image, version)?;
        self.parts.catalogue.allow_eviction();
        Ok(())
    }

    /// Returns the log start and end offsets of a topic.
    pub fn kept(&self, id: TopicId) -> Option<(Offset, Offset)> {
        self.parts.kept(id)
    }

    /// Returns the name of a topic.
    pub fn name_of(&self, id: TopicId) -> Option<&str> {
        self.parts.catalogue.get(id).map(Topic::name)
    }

    /// Returns the ids of all topics.
    pub fn topics(&self) -> Vec<TopicId> {
        self.parts.catalogue.scan(0, usize::MAX).map(|(_, topic)| topic.id).collect()
    }

    /// Applies committed entries, and returns their outcomes.
    pub fn replay(&mut self, entries: Vec<Entry>) -> Vec<Note> {
        let mut out = Vec::new();
        let (parts, mut step) = self.split(Now { monotonic_us: 0, wall_us: 0 }, &mut out);
        let notes = parts.replay(&mut step, entries);
        assert!(out.is_empty(), "nobody is answered");
        notes
    }

    /// Accounts for lost entries by raising all epochs: offsets from here on may denote other records than before.
    pub fn lose_entries(&mut self) {
        self.parts.catalogue.raise_epochs_by(EPOCHS_GIVEN_UP);
    }

    /// Begins a new epoch of every topic after a restore from a backup: what was acknowledged since the backup is lost.
    /// Called after [`Self::finish_restore`], which determines the clock.
    pub fn lose_entries_since_backup(&mut self) {
        self.parts.catalogue.raise_epochs_to(u32::try_from(self.wall.started_us() / 1_000_000).unwrap_or(0));
    }

    /// Applies entries that follow lost ones, like [`Self::replay`]. A batch whose predecessor from the same producer
    /// is lost is stored nevertheless, but only once: `stored` has the batches that were stored this way.
    pub fn replay_behind_loss(
        &mut self,
        entries: Vec<Entry>,
        stored: &mut BTreeSet<(TopicId, u64, u32, u64)>,
    ) -> Vec<Note> {
        let mut notes = Vec::new();
        for mut entry in entries {
            if let Entry::Publish(batch) = &mut entry
                && let Some(sequenced) = batch.producer
                && let Ok(id) = self.parts.resolve(&self.settings, &batch.topic)
                && let Some(topic) = self.parts.catalogue.get(id)
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
            notes.append(&mut self.replay(vec![entry]));
        }
        notes
    }

    /// Removes all producer state: after a loss it is not known which of the producers' batches were stored.
    pub fn forget_producers(&mut self) {
        self.parts.catalogue.forget_producers();
    }

    /// Notes that the node was started with an empty data folder. If a neighbour knew topics of this node, its operator
    /// is warned, once.
    pub fn start_empty(&mut self, folder: String) {
        self.parts.empty_folder = Some(folder);
    }

    /// Ends the restore, and resets the counters, which must not include replayed entries.
    pub fn finish_restore(&mut self) {
        let Self { parts, wall, .. } = self;
        wall.inherit(&parts.catalogue, parts.clock.started_us());
        self.stats = Stats::default();
    }
}

impl Parts {
    /// Returns the log start and end offsets of a topic.
    pub(super) fn kept(&self, id: TopicId) -> Option<(Offset, Offset)> {
        self.catalogue.get(id).map(|topic| (topic.log.first(), topic.log.next()))
    }

    fn replay(&mut self, step: &mut Step<'_>, entries: Vec<Entry>) -> Vec<Note> {
        for entry in entries {
            match entry {
                Entry::Create { name, seed, epoch, retention, created_us } => {
                    let new = NewTopic { name, seed, epoch, retention, created_us };
                    // What failed when the entry was first applied fails again, and the client got its answer then.
                    let _ = self.apply_create(step, new, Vec::new());
                }
                Entry::Delete { topic } => drop(self.apply_delete(step, &topic)),
                Entry::Publish(mut batch) => {
                    // A copy, so that the batch does not pin the whole buffer that was read with it.
                    batch.payload = Bytes::copy_from_slice(&batch.payload);
                    let _ = self.apply_publish(step, batch);
                }
                Entry::Trim { topic, first } => drop(self.apply_trim(step, topic, first)),
                Entry::Alter { topic, change } => drop(self.apply_alter(step, &topic, &change, Vec::new())),
                Entry::OpenProducer { topic, opening } => drop(self.apply_open_producer(step, &topic, opening)),
                Entry::Refused => {}
                Entry::RaiseEpochs => self.catalogue.raise_epochs(),
                Entry::Reclock(reclock) => self.catalogue.reclock(&reclock),
            }
        }
        self.evict(step);
        std::mem::take(&mut self.notes)
    }
}
