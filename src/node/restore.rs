//! A start: the state of a checkpoint, and the entries behind it. The records from before it stay in the journal.
//!
//! Entries are applied as they are when they come back committed, but nobody is told.

use bytes::Bytes;

use super::Node;
use super::stats::Stats;
use crate::record::{DecodeError, Entry, Note};
use crate::topic::{Catalogue, NewTopic, Topic};
use crate::types::{Offset, TopicId, TopicName};

impl Node {
    /// A topic of this node.
    pub fn topic(&self, name: TopicName<'_>) -> Option<&Topic> {
        self.catalogue.find(name)
    }

    /// All topics without their records, for a checkpoint.
    pub fn image(&self) -> Vec<u8> {
        let mut image = Vec::new();
        self.catalogue.encode(&mut image);
        image
    }

    /// Takes on the state of a checkpoint that was written in that version of the journal's format.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn restore(&mut self, image: &[u8], version: u32) -> Result<(), DecodeError> {
        assert!(self.catalogue.is_empty() && self.events == 0, "a node is restored before anything else");
        self.catalogue = Catalogue::decode(image, version)?;
        self.catalogue.allow_eviction();
        Ok(())
    }

    /// The records that a topic has: the first, and behind the last.
    pub fn kept(&self, id: TopicId) -> Option<(Offset, Offset)> {
        self.catalogue.get(id).map(|topic| (topic.log.first(), topic.log.next()))
    }

    /// All topics.
    pub fn topics(&self) -> Vec<TopicId> {
        self.catalogue.scan(0, usize::MAX).map(|(_, topic)| topic.id).collect()
    }

    /// Applies entries that are committed; gives what became of them.
    pub fn replay(&mut self, entries: Vec<Entry>) -> Vec<Note> {
        for entry in entries {
            match entry {
                Entry::Create { name, seed, epoch, retention, created_us } => {
                    let new = NewTopic { name, seed, epoch, retention, created_us };
                    // What could not be done then cannot be done now, and whoever asked has been told.
                    let _ = self.apply_create(new, Vec::new());
                }
                Entry::Delete { topic } => drop(self.apply_delete(&topic)),
                Entry::Publish(mut batch) => {
                    // Not to keep all that was read with it.
                    batch.payload = Bytes::copy_from_slice(&batch.payload);
                    let _ = self.apply_publish(batch);
                }
                Entry::Trim { topic, first } => drop(self.apply_trim(topic, first)),
                Entry::Alter { topic, change } => drop(self.apply_alter(&topic, &change, Vec::new())),
                Entry::OpenProducer { topic, opening } => drop(self.apply_open_producer(&topic, opening)),
                Entry::Refused { .. } => {}
                Entry::RaiseEpochs => self.catalogue.raise_epochs(),
            }
        }
        self.evict();
        std::mem::take(&mut self.notes)
    }

    /// Ends the start: what was done before does not count.
    pub fn finish_restore(&mut self) {
        self.stats = Stats::default();
    }
}
