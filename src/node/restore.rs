//! Restart: the node restores a checkpoint and replays the entries after it. Older records stay in the journal.

use std::collections::BTreeSet;

use super::Node;
use super::stats::Stats;
use crate::entry::{DecodeError, Entry, Note};
use crate::topic::Topic;
use crate::types::{Now, Offset, TopicId, TopicName};

impl Node {
    /// Returns a topic of this node.
    pub fn topic(&self, name: TopicName<'_>) -> Option<&Topic> {
        self.parts.groups.own().topics().find(name)
    }

    /// Returns the log start and end offsets of a topic.
    pub fn kept(&self, id: TopicId) -> Option<(Offset, Offset)> {
        self.parts.groups.own().extent(id)
    }

    /// Returns the name of a topic.
    pub fn name_of(&self, id: TopicId) -> Option<&str> {
        self.parts.groups.own().topics().get(id).map(Topic::name)
    }

    /// Returns the ids of all topics.
    pub fn topics(&self) -> Vec<TopicId> {
        self.parts.groups.own().topics().scan(0, usize::MAX).map(|(_, topic)| topic.id).collect()
    }

    /// Returns a snapshot of all topics without their records, for a checkpoint.
    pub fn image(&self) -> Vec<u8> {
        self.parts.groups.own().image()
    }

    /// Restores the state of a checkpoint that was written in version `version` of the journal's format.
    ///
    /// # Errors
    /// Returns a [`DecodeError`] if the snapshot is not valid.
    pub fn restore(&mut self, image: &[u8], version: u32) -> Result<(), DecodeError> {
        assert!(self.events == 0, "a node is restored before anything else");
        self.parts.groups.own_mut().restore(image, version)
    }

    /// Applies committed entries, and returns their outcomes.
    pub fn replay(&mut self, entries: Vec<Entry>) -> Vec<Note> {
        let mut out = Vec::new();
        let (parts, mut step) = self.split(Now { monotonic_us: 0, wall_us: 0 }, &mut out);
        parts.groups.own_mut().replay(&mut step, entries)
    }

    /// Applies entries that follow lost ones, like [`Self::replay`]. A batch whose predecessor from the same producer
    /// is lost is stored nevertheless, but only once: `stored` has the batches that were stored this way.
    pub fn replay_behind_loss(
        &mut self,
        entries: Vec<Entry>,
        stored: &mut BTreeSet<(TopicId, u64, u32, u64)>,
    ) -> Vec<Note> {
        let mut out = Vec::new();
        let (parts, mut step) = self.split(Now { monotonic_us: 0, wall_us: 0 }, &mut out);
        parts.groups.own_mut().replay_behind_loss(&mut step, entries, stored)
    }

    /// Accounts for lost entries by raising all epochs: offsets from here on may denote other records than before.
    pub fn lose_entries(&mut self) {
        self.parts.groups.own_mut().lose_entries();
    }

    /// Begins a new epoch of every topic after a restore from a backup: what was acknowledged since the backup is lost.
    /// Called after [`Self::finish_restore`], which determines the clock.
    pub fn lose_entries_since_backup(&mut self) {
        self.parts.groups.own_mut().begin_epoch(u32::try_from(self.wall.started_us() / 1_000_000).unwrap_or(0));
    }

    /// Removes all producer state: after a loss it is not known which of the producers' batches were stored.
    pub fn forget_producers(&mut self) {
        self.parts.groups.own_mut().forget_producers();
    }

    /// Notes that the node was started with an empty data folder. If a neighbour knew topics of this node, its operator
    /// is warned, once.
    pub fn start_empty(&mut self, folder: String) {
        self.parts.empty_folder = Some(folder);
    }

    /// Sets the position of the last body in the log, after which that of the next turn comes, and the term of that
    /// one. Called when a start has added to the log what it has to.
    pub fn continue_log(&mut self, index: u64, term: u32) {
        self.parts.groups.own_mut().continue_log(index, term);
    }

    /// Ends the restore, and resets the counters, which must not include replayed entries.
    pub fn finish_restore(&mut self) {
        let Self { parts, wall, .. } = self;
        wall.inherit(parts.groups.own().topics(), parts.clock.started_us());
        self.stats = Stats::default();
    }
}
