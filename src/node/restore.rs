//! A start: the state of a checkpoint, the records from before it, the entries behind it.
//!
//! Entries are applied as they are when they come back committed, but nobody is told.

use bytes::Bytes;

use super::Node;
use super::stats::Stats;
use crate::record::{Entry, Filed, Malformed, Note};
use crate::topic::{Catalogue, NewTopic, Topic};
use crate::types::TopicName;

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

    /// Takes the state of a checkpoint on.
    ///
    /// # Errors
    /// [`Malformed`] when it is none.
    pub fn restore(&mut self, image: &[u8]) -> Result<(), Malformed> {
        assert!(self.catalogue.is_empty() && self.events == 0, "a node is restored before anything else");
        self.catalogue = Catalogue::decode(image)?;
        Ok(())
    }

    /// Gives records back that the state of the checkpoint has. Whether they are kept.
    ///
    /// # Errors
    /// [`Malformed`] when they do not lie behind those before.
    pub fn restore_records(&mut self, filed: &Filed, payload: Bytes) -> Result<bool, Malformed> {
        let Filed { topic, base, count, crc, append_us, .. } = *filed;
        let restored = self.catalogue.update(topic, |topic| topic.log.restore(base, payload, (count, crc), append_us));
        // The index may still have records of topics that are gone.
        restored.unwrap_or(Ok(false))
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
                Entry::Trim { topic, first } => self.apply_trim(topic, first),
                Entry::Refused { .. } => {}
                Entry::RaiseEpochs => self.catalogue.raise_epochs(),
            }
        }
        std::mem::take(&mut self.notes)
    }

    /// Ends the start.
    ///
    /// # Errors
    /// [`Malformed`] when records are missing that the checkpoint has.
    pub fn finish_restore(&mut self) -> Result<(), Malformed> {
        self.stats = Stats::default();
        let is_whole = self.catalogue.scan(0, usize::MAX).all(|(_, topic)| topic.log.is_whole());
        if is_whole { Ok(()) } else { Err(Malformed) }
    }
}
