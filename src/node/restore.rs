//! Restart: the node restores a checkpoint and replays the entries after it. Older records stay in the journal.

use std::collections::BTreeSet;

use super::Node;
use super::group::Group;
use super::leaders::Copies;
use super::stats::Stats;
use crate::cube;
use crate::entry::{Body, DecodeError, Entry, Image, LogPosition, MemberState, Note, Place, TopicKey};
use crate::topic::Topic;
use crate::types::{Now, Offset, SlotId, TopicId, TopicName};

impl Node {
    /// Returns a topic of this node.
    pub fn topic(&self, name: TopicName<'_>) -> Option<&Topic> {
        self.parts.groups.of(cube::slot(name, self.settings.slots))?.topics().find(name)
    }

    /// Returns true if the node leads a group.
    pub fn leads(&self, slot: SlotId) -> bool {
        self.parts.groups.leads(slot)
    }

    /// Returns true if this node votes in all of its groups: each of its copies is complete enough to count towards a
    /// majority.
    pub fn is_complete(&self) -> bool {
        self.parts.groups.iter().all(Group::votes)
    }

    /// Returns true if the node has a copy of a group.
    pub fn has_group(&self, slot: SlotId) -> bool {
        self.parts.groups.of(slot).is_some()
    }

    /// Returns true while the node copies the state of a group from its leader.
    pub fn is_copying(&self, slot: SlotId) -> bool {
        self.parts.groups.of(slot).is_some_and(Group::is_copying)
    }

    /// Returns true if other nodes have a copy of each of the node's groups.
    pub fn shares_groups(&self) -> bool {
        self.settings.copies == Copies::Three
    }

    /// Returns the slots of all groups of the node, in increasing order.
    pub fn slots(&self) -> Vec<SlotId> {
        self.parts.groups.iter().map(Group::slot).collect()
    }

    /// Returns the id of a topic of a group.
    pub fn find(&self, slot: SlotId, name: TopicName<'_>) -> Option<TopicId> {
        self.parts.groups.of(slot)?.topics().find(name).map(|topic| topic.id)
    }

    /// Returns the log start and end offsets of a topic.
    pub fn kept(&self, topic: TopicKey) -> Option<(Offset, Offset)> {
        self.parts.groups.of(topic.slot)?.extent(topic.id)
    }

    /// Returns the name of a topic.
    pub fn name_of(&self, topic: TopicKey) -> Option<&str> {
        self.parts.groups.of(topic.slot)?.topics().get(topic.id).map(Topic::name)
    }

    /// Returns all topics.
    pub fn topics(&self) -> Vec<TopicKey> {
        let of = |group: &Group| -> Vec<TopicKey> {
            group.topics().scan(0, usize::MAX).map(|(_, topic)| group.key(topic.id)).collect()
        };
        self.parts.groups.iter().flat_map(of).collect()
    }

    /// Returns a snapshot of all topics of a group without their records.
    pub fn image(&self, slot: SlotId) -> Image {
        self.image_of(self.parts.groups.of(slot).expect("the node has a group of the slot"))
    }

    /// Returns a snapshot of all topics of each group without their records, for a checkpoint.
    pub fn images(&self) -> Vec<Image> {
        self.parts.groups.iter().map(|group| self.image_of(group)).collect()
    }

    fn image_of(&self, group: &Group) -> Image {
        // Only the leader knows how far the others are, and this node may lead next. So it keeps as much as it may.
        Image { needed: self.shares_groups().then_some(1), pinned: group.pinned(), ..group.image() }
    }

    /// Restores the topics of a group from a checkpoint that was written in version `version` of the journal's format.
    ///
    /// # Errors
    /// Returns a [`DecodeError`] if the snapshot is not valid.
    pub fn restore(&mut self, slot: SlotId, image: &[u8], version: u32) -> Result<(), DecodeError> {
        assert!(self.events == 0, "a node is restored before anything else");
        let group = self.parts.groups.existing_mut(slot);
        group.restore(image, version)?;
        group.note_usage(&mut self.budget);
        Ok(())
    }

    /// Drops the topics of a group. The node must not have served anybody.
    pub fn forget_group(&mut self, slot: SlotId) {
        assert!(self.events == 0, "a node is restored before anything else");
        *self.parts.groups.existing_mut(slot) = Group::new(&self.settings, slot);
    }

    /// Returns the topics of a group.
    pub fn topics_of(&self, slot: SlotId) -> Vec<&Topic> {
        let groups = self.parts.groups.of(slot).into_iter();
        groups.flat_map(|group| group.topics().scan(0, usize::MAX)).map(|(_, topic)| topic).collect()
    }

    /// Applies committed entries of a group, and returns their outcomes.
    pub fn replay(&mut self, slot: SlotId, entries: Vec<Entry>) -> Vec<Note> {
        let mut out = Vec::new();
        let (parts, mut step) = self.split(Now { monotonic_us: 0, wall_us: 0 }, &mut out);
        parts.groups.existing_mut(slot).replay(&mut step, entries)
    }

    /// Applies entries that follow lost ones, like [`Self::replay`]. A batch whose predecessor from the same producer
    /// is lost is stored nevertheless, but only once: `stored` has the batches that were stored this way.
    pub fn replay_behind_loss(
        &mut self,
        slot: SlotId,
        entries: Vec<Entry>,
        stored: &mut BTreeSet<(TopicId, u64, u32, u64)>,
    ) -> Vec<Note> {
        let mut out = Vec::new();
        let (parts, mut step) = self.split(Now { monotonic_us: 0, wall_us: 0 }, &mut out);
        parts.groups.existing_mut(slot).replay_behind_loss(&mut step, entries, stored)
    }

    /// Accounts for lost entries by raising all epochs: offsets from here on may denote other records than before.
    pub fn lose_entries(&mut self) {
        self.parts.groups.iter_mut().for_each(Group::lose_entries);
        self.parts.groups.note_usage(&mut self.budget);
    }

    /// Begins a new epoch of every topic after a restore from a backup: what was acknowledged since the backup is lost.
    pub fn lose_entries_since_backup(&mut self) {
        let started_us = self.wall.at_us(self.parts.clock.started_us());
        self.parts.groups.iter_mut().for_each(|group| group.begin_epoch(started_us));
        self.parts.groups.note_usage(&mut self.budget);
    }

    /// Removes all producer state: after a loss it is not known which of the producers' batches were stored.
    pub fn forget_producers(&mut self) {
        self.parts.groups.iter_mut().for_each(Group::forget_producers);
        self.parts.groups.note_usage(&mut self.budget);
    }

    /// Notes that the node was started with an empty data folder. If a neighbour knew topics of this node, its operator
    /// is warned, once.
    pub fn start_empty(&mut self, folder: String) {
        self.parts.empty_folder = Some(folder);
    }

    /// Sets how much of the log of a group has been applied, and the state of its member. Called when a start has
    /// added to the log what it has to.
    /// `rest` are the bodies after those that were applied, which a group of one member does not have. `folder` is the
    /// id of the data folder, not 0. An empty folder that replaces a lost one has another id.
    pub fn continue_log(
        &mut self,
        (slot, folder): (SlotId, u64),
        (applied, state): (LogPosition, MemberState),
        rest: Vec<(Body, Place)>,
    ) {
        self.parts.groups.existing_mut(slot).continue_log(&self.settings, folder, (applied, state), rest);
    }

    /// Ends the restore, and resets the counters, which must not include replayed entries.
    pub fn finish_restore(&mut self) {
        self.parts.groups.iter_mut().for_each(Group::inherit);
        self.stats = Stats::default();
    }
}
