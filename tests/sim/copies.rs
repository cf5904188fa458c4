//! Checks that the copies of a group are equal at the end, when nothing is in progress any more.

use dht_node::node::{Copies, Node};
use dht_node::types::SlotId;

use crate::world::World;

/// Interval at which the copies are compared.
const LOOK_US: u64 = 1_000_000;

/// Time within which a follower whose disk was slow has written everything.
const WRITTEN_US: u64 = 20_000_000;

/// The most bodies that a follower lags behind: records that expire are trimmed at any time, which followers learn a
/// little later.
const LAG: u64 = 3;

impl World {
    /// Checks that all nodes that have a copy of a group have applied the same entries, and know the same topics.
    pub(crate) fn check_copies(&mut self) {
        if self.profile.copies == Copies::One {
            return;
        }
        let end_us = self.now_us + WRITTEN_US;
        loop {
            self.run_until(self.now_us + LOOK_US);
            let behind = self.profile.slots.all().find_map(|slot| self.compare(slot));
            match behind {
                Some(behind) => assert!(self.now_us < end_us, "{behind}"),
                None => return,
            }
        }
    }

    /// Compares the copies of a group. Returns which of them are behind, if any.
    fn compare(&self, slot: SlotId) -> Option<String> {
        let nodes: Vec<&Node> = self.hosts.iter().flatten().map(|host| host.driver.turn.node()).collect();
        let images = nodes.iter().filter(|node| node.has_group(slot)).map(|node| node.image(slot));
        let images: Vec<_> = images.map(|image| (image.applied.index, image.topics)).collect();
        assert_eq!(images.len(), 3, "three nodes have a copy of {slot:?}");
        // A hand-over to the home may be in progress.
        let leading = nodes.iter().filter(|node| node.leads(slot)).count();
        if leading != 1 {
            return Some(format!("{leading} nodes lead {slot:?}"));
        }
        for (index, topics) in &images {
            let is_equal = images.iter().all(|(other, others)| index != other || topics == others);
            assert!(is_equal, "the copies of {slot:?} differ at {index}");
        }
        let indexes: Vec<u64> = images.iter().map(|(index, _)| *index).collect();
        let last = indexes.iter().max().expect("three");
        let is_behind = indexes.iter().any(|index| index + LAG < *last) || !nodes.iter().all(|node| node.is_complete());
        is_behind.then(|| format!("a copy of {slot:?} is behind, or a node does not vote in all groups: {indexes:?}"))
    }
}
