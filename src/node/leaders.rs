//! Who leads each slot, as far as this node knows.
//!
//! Requests are sent to the node that was last known to lead. If that one does not lead any more, its answer says who
//! does; if it cannot be reached, the next node that has a copy is tried. So what is recorded here may be wrong, and
//! nothing but the time to an answer depends on it.

use super::Settings;
use crate::cube;
use crate::types::{NodeId, SlotId};
use crate::wire::response::ErrorResponse;

pub use crate::types::Copies;

impl Settings {
    /// Returns the nodes that keep the topics of a slot, the home first.
    pub(super) fn members_of(&self, slot: SlotId) -> impl Iterator<Item = NodeId> + use<> {
        let home = cube::node_of(slot, self.dimension);
        let others = match self.copies {
            Copies::One => 0,
            Copies::Three => 2,
        };
        std::iter::once(home).chain((0..others).map(move |bit| home.across(bit)))
    }
}

/// The leaders of all slots.
#[derive(Debug)]
pub(super) struct Leaders(Vec<Known>);

/// The newest that is known of the leader of a slot.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The newest term of which a leader was known; 0 if there was none.
    term: u64,
    node: NodeId,
    /// True if nobody has said in which term the node leads.
    is_guess: bool,
}

impl Leaders {
    /// Takes the home of each slot for its leader.
    pub(super) fn new(settings: &Settings) -> Self {
        let home = |slot| Known { term: 0, node: cube::node_of(slot, settings.dimension), is_guess: true };
        Self(settings.slots.all().map(home).collect())
    }

    /// Returns the node that leads a slot, as far as is known.
    pub(super) fn of(&self, slot: SlotId) -> NodeId {
        self.known(slot).node
    }

    /// Returns the term in which the node that is taken for the leader of a slot leads; `None` if that is a guess.
    pub(super) fn known_term(&self, slot: SlotId) -> Option<u64> {
        let known = self.known(slot);
        (!known.is_guess).then_some(known.term)
    }

    /// Records that a node leads a slot in this term, unless that is older than what is known. Returns true if another
    /// node was taken for the leader.
    pub(super) fn note(&mut self, slot: SlotId, term: u64, node: NodeId) -> bool {
        let known = &mut self.0[usize::from(slot.index())];
        let is_other = term >= known.term && known.node != node;
        if term >= known.term {
            *known = Known { term, node, is_guess: false };
        }
        is_other
    }

    /// Takes a node for the leader of a slot, of whose term nobody has said anything. Returns true if another one was
    /// taken for it.
    pub(super) fn suppose(&mut self, slot: SlotId, node: NodeId) -> bool {
        let known = &mut self.0[usize::from(slot.index())];
        let is_other = known.node != node;
        if is_other {
            (known.node, known.is_guess) = (node, true);
        }
        is_other
    }

    /// Handles that a node has refused something because it does not lead a slot. Returns true if it has named another
    /// leader than the known one.
    pub(super) fn on_not_leader(
        &mut self,
        settings: &Settings,
        slot: SlotId,
        from: NodeId,
        error: &ErrorResponse,
    ) -> bool {
        let named = error.node().and_then(|number| NodeId::new(number, settings.dimension));
        let named = named.filter(|named| *named != from && settings.members_of(slot).any(|node| node == *named));
        match named.zip(error.term()) {
            Some((leader, term)) => self.note(slot, term, leader),
            None => {
                self.pass_over(settings, slot, from);
                false
            }
        }
    }

    /// Returns true if what a node says as the leader of a slot in this term is old: another one has led it since.
    pub(super) fn is_stale(&self, slot: SlotId, term: u64, node: NodeId) -> bool {
        let known = self.known(slot);
        term < known.term && node != known.node
    }

    /// Records that a node does not lead a slot, or cannot be reached, if it was taken for the leader: the next one
    /// that has a copy is taken for it until somebody says who leads.
    pub(super) fn pass_over(&mut self, settings: &Settings, slot: SlotId, node: NodeId) {
        let known = &mut self.0[usize::from(slot.index())];
        if known.node == node {
            let mut later = settings.members_of(slot).skip_while(|member| *member != node).skip(1);
            known.node = later.next().unwrap_or_else(|| cube::node_of(slot, settings.dimension));
            known.is_guess = true;
        }
    }

    fn known(&self, slot: SlotId) -> Known {
        self.0[usize::from(slot.index())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::settings;
    use crate::types::Slots;

    fn cube_of_eight(copies: Copies) -> (Settings, SlotId, impl Fn(u16) -> NodeId) {
        let settings = Settings { copies, slots: Slots::new(5).unwrap(), ..settings(0, 3) };
        let slot = SlotId::from_low_bits(0b10101, settings.slots);
        let dimension = settings.dimension;
        (settings, slot, move |node| NodeId::new(node, dimension).unwrap())
    }

    #[test]
    fn the_home_and_two_of_its_neighbours_have_copies() {
        let (settings, slot, node) = cube_of_eight(Copies::Three);
        assert_eq!(settings.members_of(slot).collect::<Vec<_>>(), [node(0b101), node(0b100), node(0b111)]);
        let (settings, slot, node) = cube_of_eight(Copies::One);
        assert_eq!(settings.members_of(slot).collect::<Vec<_>>(), [node(0b101)]);
    }

    #[test]
    fn the_newest_term_counts() {
        let (settings, slot, node) = cube_of_eight(Copies::Three);
        let mut leaders = Leaders::new(&settings);
        for (term, leader, is_other, expected) in
            [(0, 5, false, 5), (3, 4, true, 4), (2, 7, false, 4), (3, 4, false, 4), (4, 5, true, 5)]
        {
            assert_eq!(leaders.note(slot, term, node(leader)), is_other);
            assert_eq!(leaders.of(slot), node(expected));
        }
        assert_eq!(leaders.known_term(slot), Some(4));
        let stale = [(3, 4), (3, 5), (4, 4), (9, 7)].map(|(term, leader)| leaders.is_stale(slot, term, node(leader)));
        assert_eq!(stale, [true, false, false, false], "a home that has lost its disk begins with a low term");
        leaders.pass_over(&settings, slot, node(5));
        assert_eq!(leaders.known_term(slot), None);
        assert_eq!([7, 7].map(|guess| leaders.suppose(slot, node(guess))), [true, false]);
        assert_eq!((leaders.of(slot), leaders.known_term(slot)), (node(7), None));
        assert!(!leaders.note(slot, 4, node(7)));
        assert_eq!(leaders.known_term(slot), Some(4));
    }

    #[test]
    fn all_copies_are_tried_in_turn() {
        let (settings, slot, node) = cube_of_eight(Copies::Three);
        let mut leaders = Leaders::new(&settings);
        for (passed, expected) in [(4, 5), (5, 4), (5, 4), (4, 7), (7, 5)] {
            leaders.pass_over(&settings, slot, node(passed));
            assert_eq!(leaders.of(slot), node(expected));
        }
        let (settings, slot, node) = cube_of_eight(Copies::One);
        let mut leaders = Leaders::new(&settings);
        leaders.pass_over(&settings, slot, node(5));
        assert_eq!(leaders.of(slot), node(5), "there is no other");
    }
}
