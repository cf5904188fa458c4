//! Checks that the copies of a group are equal at the end, when nothing is in progress any more.

use dht_node::node::{Copies, Node};

use crate::world::World;

/// Time within which followers learn with a heartbeat what is committed.
const COMMITTED_US: u64 = 1_000_000;

/// The most bodies that a follower lags behind.
const LAG: u64 = 3;

impl World {
    /// Checks that all nodes that have a copy of a group have applied the same entries, and know the same topics.
    pub(crate) fn check_copies(&mut self) {
        if self.profile.copies == Copies::One {
            return;
        }
        self.run_until(self.now_us + COMMITTED_US);
        let nodes: Vec<&Node> = self.hosts.iter().flatten().map(|host| host.driver.turn.node()).collect();
        for slot in self.profile.slots.all() {
            let images = nodes.iter().filter(|node| node.has_group(slot)).map(|node| node.image(slot));
            let images: Vec<_> = images.map(|image| (image.applied.index, image.topics)).collect();
            assert_eq!(images.len(), 3, "three nodes have a copy of {slot:?}");
            let indexes: Vec<u64> = images.iter().map(|(index, _)| *index).collect();
            // Records that expire are trimmed at any time, which followers learn a little later.
            let last = indexes.iter().max().expect("three");
            assert!(indexes.iter().all(|index| index + LAG >= *last), "a copy of {slot:?} is behind: {indexes:?}");
            for (index, topics) in &images {
                let is_equal = images.iter().all(|(other, others)| index != other || topics == others);
                assert!(is_equal, "the copies of {slot:?} differ at {index}");
            }
            assert_eq!(nodes.iter().filter(|node| node.leads(slot)).count(), 1, "one of them leads {slot:?}");
        }
    }
}
