//! Lanes: the requests that wait for another attempt, by destination.

use std::collections::BTreeMap;

use super::super::Settings;
use super::destination::Destination;
use super::request::Pending;
use crate::limits::{RETRY_FIRST_US, RETRY_MOST_US};
use crate::types::NodeId;
use crate::wire::{Opcode, Origin};

/// Identifies a lane: its index in [`Lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId(usize);

/// The requests that wait for another attempt. Publishes and other requests for a destination have a lane each, because
/// a full disk refuses only the former. Those for a slot stay in their lane, in their order, when its leader changes.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// By node, the monotonic time in microseconds of a later attempt that has been answered: requests sent to the node
    /// before it that have no response are probably lost.
    passed_us: Vec<u64>,
    /// Monotonic time in microseconds at which the first lane is due; `u64::MAX` when no request waits.
    due_us: u64,
    /// Number of requests so far, from which each gets its serial number.
    count: u64,
}

/// The waiting requests of one kind for one destination.
#[derive(Debug, Default)]
struct Lane {
    /// Their latest origins by serial number, so that the oldest request is first.
    waiting: BTreeMap<u64, Origin>,
    /// Monotonic time in microseconds at which the oldest one is sent even if none has been answered.
    next_us: u64,
    /// Number of requests sent for that reason since the last answer.
    probes: u32,
    /// True if the last answer was that the node does not lead or is unreachable.
    is_short: bool,
}

/// Number of lanes that share an index: two for the slot with that number, and two for the node.
const LANES_PER_INDEX: usize = 4;

impl LaneId {
    /// Returns the lane of the requests for a node by its number.
    pub(super) fn of_node(node: NodeId) -> Self {
        Self::new(Destination::Node(node), false)
    }

    /// Returns the lane of publishes, or of other requests, for a destination.
    fn new(to: Destination, is_publish: bool) -> Self {
        let (index, is_slot) = match to {
            Destination::Slot(slot) => (slot.index(), true),
            Destination::Node(node) => (node.index(), false),
        };
        Self(usize::from(index) * LANES_PER_INDEX + usize::from(is_slot) * 2 + usize::from(is_publish))
    }
}

impl Pending {
    /// The lane in which it waits.
    pub(super) fn lane(&self) -> LaneId {
        LaneId::new(self.to, self.asked.opcode == Opcode::Publish.number())
    }
}

impl Lanes {
    /// Returns empty lanes for all destinations in a cube.
    pub(super) fn new(settings: &Settings) -> Self {
        let (nodes, slots) = (usize::from(settings.dimension.nodes()), usize::from(settings.slots.count()));
        let lanes = (0..LANES_PER_INDEX * nodes.max(slots)).map(|_| Lane::default()).collect();
        Self { lanes, passed_us: vec![0; nodes], due_us: u64::MAX, count: 0 }
    }

    /// Returns the monotonic time in microseconds at which something is due.
    pub(super) const fn due_us(&self) -> u64 {
        self.due_us
    }

    /// Returns the number of the next request.
    pub(super) const fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Returns the requests that wait for a destination.
    pub(super) fn waiting_for(&self, to: Destination) -> impl Iterator<Item = Origin> {
        [false, true]
            .into_iter()
            .flat_map(move |is_publish| self.lanes[LaneId::new(to, is_publish).0].waiting.values().copied())
    }

    /// Returns true when requests wait in a lane, behind which others have to wait too.
    pub(super) fn holds(&self, lane: LaneId) -> bool {
        !self.lanes[lane.0].waiting.is_empty()
    }

    /// Returns true when an earlier request than this one waits in a lane.
    pub(super) fn has_before(&self, lane: LaneId, number: u64) -> bool {
        self.lanes[lane.0].waiting.first_key_value().is_some_and(|(first, _)| *first < number)
    }

    /// Returns how long the next attempt of a request of this lane waits, in microseconds: the longer, the more
    /// attempts were made since the last answer.
    pub(super) fn pause_us(&self, lane: LaneId) -> u64 {
        (RETRY_FIRST_US << self.lanes[lane.0].probes.min(8)).min(RETRY_MOST_US)
    }

    /// Inserts a request whose lane is due at `again_us` monotonic microseconds, or before.
    pub(super) fn insert(&mut self, lane: LaneId, number: u64, origin: Origin, again_us: u64) {
        let lane = &mut self.lanes[lane.0];
        lane.next_us = if lane.waiting.is_empty() { again_us } else { again_us.min(lane.next_us) };
        lane.waiting.insert(number, origin);
        self.due_us = self.due_us.min(lane.next_us);
    }

    /// Inserts a request whose lane is due at once.
    pub(super) fn insert_due(&mut self, lane: LaneId, number: u64, origin: Origin, now_us: u64) {
        self.lanes[lane.0].waiting.insert(number, origin);
        self.lanes[lane.0].next_us = now_us;
        self.due_us = now_us;
    }

    /// Removes a request.
    pub(super) fn remove(&mut self, lane: LaneId, number: u64) {
        self.lanes[lane.0].waiting.remove(&number);
    }

    /// Removes and returns the oldest request of a lane.
    pub(super) fn take_oldest(&mut self, lane: LaneId) -> Option<Origin> {
        self.lanes[lane.0].waiting.pop_first().map(|(_, origin)| origin)
    }

    /// Notes that a request of a lane was answered.
    pub(super) fn note_answer(&mut self, lane: LaneId) {
        (self.lanes[lane.0].probes, self.lanes[lane.0].is_short) = (0, false);
    }

    /// Notes that a request of a lane was refused, and whether because the node does not lead or is unreachable.
    pub(super) fn note_refusal(&mut self, lane: LaneId, is_short: bool) {
        self.lanes[lane.0].is_short = is_short;
    }

    /// Returns true if the last request of a lane that was answered found no node that leads.
    pub(super) fn is_short(&self, lane: LaneId) -> bool {
        self.lanes[lane.0].is_short
    }

    /// Notes that a request sent to a node at `sent_us` was answered, possibly before those sent earlier.
    pub(super) fn pass(&mut self, node: NodeId, sent_us: u64) {
        let passed_us = &mut self.passed_us[usize::from(node.index())];
        *passed_us = sent_us.max(*passed_us);
    }

    /// Returns true when a later attempt than one sent to a node at `sent_us` was answered.
    pub(super) fn has_passed(&self, node: NodeId, sent_us: u64) -> bool {
        sent_us < self.passed_us[usize::from(node.index())]
    }

    /// Makes all lanes due at once.
    pub(super) fn hurry(&mut self, now_us: u64) {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.waiting.is_empty()) {
            (lane.next_us, self.due_us) = (now_us, now_us);
        }
    }

    /// Returns the lanes whose time has come, and sets their next time.
    pub(super) fn take_due(&mut self, now_us: u64) -> Vec<LaneId> {
        let mut due = Vec::new();
        self.due_us = u64::MAX;
        for (place, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| !lane.waiting.is_empty()) {
            if lane.next_us <= now_us {
                // Its answer brings the next time forward.
                (lane.next_us, lane.probes) = (now_us + RETRY_MOST_US, lane.probes + 1);
                due.push(LaneId(place));
            }
            self.due_us = self.due_us.min(lane.next_us);
        }
        due
    }

    /// Asserts that the lanes hold exactly the requests that wait.
    pub(super) fn check(&self, waiting: impl Iterator<Item = (LaneId, u64, Origin)>) {
        let mut count = 0;
        for (lane, number, origin) in waiting {
            assert_eq!(self.lanes[lane.0].waiting.get(&number), Some(&origin), "request {number} waits in its lane");
            count += 1;
        }
        assert_eq!(self.lanes.iter().map(|lane| lane.waiting.len()).sum::<usize>(), count, "nothing else does");
    }
}
