//! The groups of this node: one for each slot whose topics it keeps.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::budget::Budget;
use super::call::ReplyTo;
use super::group::Group;
use super::{Settings, Step};
use crate::topic::Cost;
use crate::types::SlotId;
use crate::wire::response::ErrorResponse;

/// The groups, by slot.
#[derive(Debug)]
pub(super) struct Groups {
    groups: BTreeMap<SlotId, Group>,
}

impl Groups {
    /// Returns the groups of a node, without topics.
    pub(super) fn new(settings: &Settings) -> Self {
        assert!(settings.slots.bits() >= settings.dimension.bits(), "each node leads at least one slot");
        let slots = settings.slots.all().filter(|slot| settings.members_of(*slot).any(|node| node == settings.id));
        let groups: BTreeMap<SlotId, Group> = slots.map(|slot| (slot, Group::new(settings, slot))).collect();
        Self { groups }
    }

    /// Returns the group of a slot, if this node has it.
    pub(super) fn of(&self, slot: SlotId) -> Option<&Group> {
        self.groups.get(&slot)
    }

    /// Returns the group of a slot, if this node leads it.
    pub(super) fn led_mut(&mut self, slot: SlotId) -> Option<&mut Group> {
        self.of_mut(slot).filter(|group| group.leads())
    }

    /// Returns the group of a slot, if this node has it.
    pub(super) fn of_mut(&mut self, slot: SlotId) -> Option<&mut Group> {
        self.groups.get_mut(&slot)
    }

    /// Returns the group of a slot that this node is known to have.
    pub(super) fn existing_mut(&mut self, slot: SlotId) -> &mut Group {
        self.of_mut(slot).expect("the node has a group of the slot")
    }

    /// Returns true if this node leads the group of a slot, and so executes the requests for its topics.
    pub(super) fn leads(&self, slot: SlotId) -> bool {
        self.of(slot).is_some_and(Group::leads)
    }

    /// Returns the slots whose groups this node leads.
    pub(super) fn led(&self) -> impl Iterator<Item = SlotId> {
        self.iter().filter(|group| group.leads()).map(Group::slot)
    }

    /// Returns true if a request that concerns all groups which this node leads may be answered now from what they have
    /// applied. It came at `since_us`, in monotonic microseconds.
    pub(super) fn are_confirmed(&mut self, step: &Step<'_>, since_us: u64) -> bool {
        self.iter_mut().filter(|group| group.leads()).all(|group| group.is_confirmed(step, since_us))
    }

    /// Returns the slots of all groups.
    pub(super) fn slots(&self) -> Vec<SlotId> {
        self.groups.keys().copied().collect()
    }

    /// Returns the slot of a group whose member has decided something that other parts have to do something about.
    pub(super) fn next_follow_up(&self) -> Option<SlotId> {
        self.iter().find(|group| group.has_follow_up()).map(Group::slot)
    }

    /// Returns the slot of a group that has a committed body which is not applied.
    pub(super) fn next_committed(&self) -> Option<SlotId> {
        self.iter().find(|group| group.has_committed()).map(Group::slot)
    }

    /// Returns all groups.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Returns all groups.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.values_mut()
    }

    /// Returns the number of topics.
    pub(super) fn topics(&self) -> usize {
        self.iter().map(|group| group.topics().len()).sum()
    }

    /// Returns the number of topics in the groups that this node leads.
    pub(super) fn led_topics(&self) -> usize {
        self.iter().filter(|group| group.leads()).map(|group| group.topics().len()).sum()
    }

    /// Returns the number of uncommitted proposals.
    pub(super) fn proposals(&self) -> usize {
        self.iter().map(Group::proposals).sum()
    }

    /// Returns the memory of all topics.
    pub(super) fn memory(&self) -> Cost {
        self.iter().map(|group| group.topics().cost()).fold(Cost::default(), Cost::plus)
    }

    /// Returns true when [`Self::seal`] has something to do.
    pub(super) fn has_open(&self) -> bool {
        self.iter().any(Group::has_open)
    }

    /// Adds to the logs what was proposed and fits. Returns who is to be told that a full disk has no room.
    pub(super) fn seal(&mut self, step: &mut Step<'_>) -> Vec<(ReplyTo, ErrorResponse)> {
        self.iter_mut().flat_map(|group| group.seal(step)).collect()
    }

    /// Evicts records until the node is within its memory limit, as far as that is possible: those of the group that
    /// has the most first.
    pub(super) fn evict(&mut self, step: &mut Step<'_>) {
        if step.budget.excess(step.settings.memory_bytes) == 0 {
            return;
        }
        let mut groups: Vec<&mut Group> = self.iter_mut().collect();
        groups.sort_by_key(|group| Reverse(group.usage().evictable));
        groups.into_iter().for_each(|group| group.evict(step));
    }

    /// Records what all groups use.
    pub(super) fn note_usage(&mut self, budget: &mut Budget) {
        self.iter_mut().for_each(|group| group.note_usage(budget));
    }

    /// Asserts the invariants.
    pub(super) fn check(&self, budget: &Budget) {
        budget.check(self.iter().map(Group::usage));
        for (slot, group) in &self.groups {
            assert_eq!(group.slot(), *slot);
            group.check();
        }
    }
}
