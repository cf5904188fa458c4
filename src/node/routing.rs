//! The routing table: the neighbours, the state of the links to them, and the targets that were found unreachable.

use crate::cube::{self, NextHop};
use crate::limits::{OUT_OF_REACH_KNOWN_US, REDIAL_US, UNREACHABLE_HOLD_US};
use crate::types::{ConnId, Dimension, NodeId};
use crate::wire::Route;

/// What a node knows of the cube. It knows the state of its own links only; frames carry the dead links that they met.
#[derive(Debug)]
pub(super) struct RoutingTable {
    here: NodeId,
    /// One neighbour for each dimension.
    links: Vec<Neighbour>,
    /// For each node of the cube, the monotonic time in microseconds until which requests for it count as UNREACHABLE
    /// without being sent.
    held_until_us: Vec<u64>,
    /// For each node of the cube, the monotonic times in microseconds since which it has been unreachable, and at which
    /// that was last found; 0 while it is reachable.
    unreachable_us: Vec<(u64, u64)>,
}

/// A neighbour and the link to it.
#[derive(Debug)]
pub(super) struct Neighbour {
    /// The neighbour's id.
    pub node: NodeId,
    /// The link's connection; `None` while the link is down.
    pub conn: Option<ConnId>,
    /// The replacement link: a second connection whose HELLO names this neighbour while the link is up. It replaces the
    /// link unless the link proves alive.
    pub replacement: Option<ConnId>,
    /// The neighbour's instance id (chosen at each start) in the HELLO of the current or last link.
    pub instance: u64,
    /// Number of topics that the neighbour last reported, and the instance that reported it; see
    /// [`RoutingTable::note_topics`].
    pub topics: (u32, u64),
    /// True once the neighbour has confirmed the GOAWAY of this node: it sends no further requests over the link.
    pub has_parted: bool,
    /// True while the send queue of the link is above its high-water mark.
    pub full: bool,
    /// Monotonic time in microseconds of the next dial. Only the node with the larger id dials.
    pub dial_at_us: u64,
    /// Frames received from the neighbour since this node started.
    pub frames: u64,
    /// Bytes received from the neighbour since this node started.
    pub bytes: u64,
}

impl RoutingTable {
    /// Returns a table in which all links are down.
    pub(super) fn new(here: NodeId, dimension: Dimension) -> Self {
        let neighbour = |(_, node)| Neighbour {
            node,
            conn: None,
            replacement: None,
            instance: 0,
            topics: (0, 0),
            has_parted: false,
            full: false,
            dial_at_us: 0,
            frames: 0,
            bytes: 0,
        };
        Self {
            here,
            links: cube::neighbours(here, dimension).map(neighbour).collect(),
            held_until_us: vec![0; usize::from(dimension.nodes())],
            unreachable_us: vec![(0, 0); usize::from(dimension.nodes())],
        }
    }

    /// Returns the neighbours in the order of their dimensions.
    pub(super) fn neighbours(&self) -> &[Neighbour] {
        &self.links
    }

    /// Returns the neighbour across dimension `bit`.
    pub(super) fn neighbour(&self, bit: u8) -> &Neighbour {
        &self.links[usize::from(bit)]
    }

    /// Returns the neighbour across dimension `bit`.
    pub(super) fn neighbour_mut(&mut self, bit: u8) -> &mut Neighbour {
        &mut self.links[usize::from(bit)]
    }

    /// Returns true if every neighbour whose link is up has confirmed this node's GOAWAY.
    pub(super) fn has_parted(&self) -> bool {
        self.links.iter().all(|link| link.conn.is_none() || link.has_parted)
    }

    /// Returns the number of links that are up.
    pub(super) fn up(&self) -> usize {
        self.links.iter().filter(|link| link.conn.is_some()).count()
    }

    /// Returns the next hop of a frame, and adds to its route the dead links that it meets here.
    pub(super) fn next_hop(&self, route: &mut Route, is_response: bool) -> NextHop {
        let is_up = |bit| self.neighbour(bit).conn.is_some();
        let carried = &mut route.down;
        if is_response {
            cube::route_back(self.here, route.target, route.dimension, carried, is_up)
        } else {
            cube::route(self.here, route.target, route.dimension, carried, is_up)
        }
    }

    /// Records that a link is up.
    pub(super) fn set_up(&mut self, bit: u8, conn: ConnId, instance: u64) {
        let link = self.neighbour_mut(bit);
        assert!(link.conn.is_none(), "a link is replaced only after it went down");
        (link.conn, link.instance, link.has_parted, link.full) = (Some(conn), instance, false, false);
        // The new link may be the path to any target that was unreachable.
        self.held_until_us.fill(0);
    }

    /// Records how many topics an instance of the neighbour holds. A count of 0 does not replace the count of an
    /// earlier instance, which may have run with another data folder: that count is how a node that was started with an
    /// empty folder learns what it has lost.
    pub(super) fn note_topics(&mut self, bit: u8, instance: u64, topics: u32) {
        let link = self.neighbour_mut(bit);
        if topics > 0 || link.topics.1 == instance {
            link.topics = (topics, instance);
        }
    }

    /// Records that a link is down. It is dialled again after [`redial_after_us`].
    pub(super) fn set_down(&mut self, bit: u8, monotonic_us: u64, random: u64) {
        let link = self.neighbour_mut(bit);
        (link.conn, link.full) = (None, false);
        link.dial_at_us = monotonic_us + redial_after_us(random);
    }

    /// Returns true if a request for the target counts as UNREACHABLE at once, because the target was recently found to
    /// be unreachable. One request in each [`UNREACHABLE_HOLD_US`] is let through as a probe. If no request came for
    /// that long after a hold ended, the target is assumed to be reachable again.
    pub(super) fn is_held(&mut self, target: NodeId, monotonic_us: u64) -> bool {
        let until = &mut self.held_until_us[usize::from(target.index())];
        if *until > monotonic_us {
            return true;
        }
        let is_recent = *until > 0 && monotonic_us - *until < UNREACHABLE_HOLD_US;
        *until = if is_recent { monotonic_us + UNREACHABLE_HOLD_US } else { 0 };
        false
    }

    /// Records whether a request reached its target. A failure during a hold does not extend the hold; otherwise a
    /// steady stream of requests would keep a target that has recovered unreachable.
    pub(super) fn note_reached(&mut self, target: NodeId, reached: bool, monotonic_us: u64) {
        let until = &mut self.held_until_us[usize::from(target.index())];
        let (since_us, last_us) = &mut self.unreachable_us[usize::from(target.index())];
        if *since_us == 0 || *last_us + OUT_OF_REACH_KNOWN_US < monotonic_us {
            *since_us = monotonic_us;
        }
        *last_us = monotonic_us;
        if reached {
            (*since_us, *last_us) = (0, 0);
            *until = 0;
        } else if *until <= monotonic_us {
            *until = monotonic_us + UNREACHABLE_HOLD_US;
        }
    }

    /// Returns for how long a node has been unreachable, in microseconds: 0 when it is not, or when no request has
    /// tried it for some time.
    pub(super) fn unreachable_for_us(&self, target: NodeId, monotonic_us: u64) -> u64 {
        let (since_us, last_us) = self.unreachable_us[usize::from(target.index())];
        let is_known = since_us > 0 && last_us + OUT_OF_REACH_KNOWN_US >= monotonic_us;
        if is_known { monotonic_us.saturating_sub(since_us) } else { 0 }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        for (bit, link) in (0..).zip(&self.links) {
            assert_eq!(self.here.across(bit), link.node);
            assert!(link.conn.is_some() || !link.full);
        }
    }
}

/// Returns the delay in microseconds before the next dial: half of [`REDIAL_US`] and a random part of the other half.
pub(super) const fn redial_after_us(random: u64) -> u64 {
    REDIAL_US / 2 + random % (REDIAL_US / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER_US: u64 = 1_000_000;

    fn node(id: u16) -> NodeId {
        NodeId::new(id, Dimension::new(2).unwrap()).unwrap()
    }

    /// Returns the table of node 00, which has found 11 to be unreachable at [`LATER_US`].
    fn with_unreachable() -> RoutingTable {
        let mut table = RoutingTable::new(node(0), Dimension::new(2).unwrap());
        table.note_reached(node(3), false, LATER_US);
        table
    }

    #[test]
    fn an_unreachable_target_is_held_and_one_request_in_each_hold_time_is_let_through() {
        let mut table = with_unreachable();
        let ends_us = LATER_US + UNREACHABLE_HOLD_US;
        // Another failure during the hold does not extend it.
        table.note_reached(node(3), false, ends_us - 1);
        let cases = [
            (LATER_US, true),
            (ends_us - 1, true),
            (ends_us, false),
            (ends_us, true),
            (ends_us + UNREACHABLE_HOLD_US - 1, true),
            (ends_us + UNREACHABLE_HOLD_US, false),
            (ends_us + UNREACHABLE_HOLD_US, true),
            // No request came for the length of a hold after the hold had ended.
            (ends_us + 3 * UNREACHABLE_HOLD_US, false),
            (ends_us + 3 * UNREACHABLE_HOLD_US, false),
        ];
        for (monotonic_us, expected) in cases {
            assert_eq!(table.is_held(node(3), monotonic_us), expected, "{} us", monotonic_us - LATER_US);
            assert!(!table.is_held(node(1), monotonic_us), "only the target that was unreachable is held");
        }
    }

    #[test]
    fn a_hold_ends_when_the_target_is_reached_or_a_link_comes_up() {
        let conn = ConnId { slot: 0, generation: 1 };
        type Change = fn(&mut RoutingTable, ConnId);
        let changes: [(&str, Change, bool); 4] = [
            ("nothing", |_, _| {}, true),
            ("a link goes down", |table, _| table.set_down(1, LATER_US, 0), true),
            ("reached", |table, _| table.note_reached(node(3), true, LATER_US), false),
            ("a link comes up", |table, conn| table.set_up(1, conn, 7), false),
        ];
        for (what, change, expected) in changes {
            let mut table = with_unreachable();
            change(&mut table, conn);
            assert_eq!(table.is_held(node(3), LATER_US + 1), expected, "{what}");
        }
    }

    #[test]
    fn a_target_is_known_to_be_unreachable_since_the_first_of_requests_that_fail_in_quick_succession() {
        let mut table = with_unreachable();
        let (once_us, again_us) = (LATER_US + OUT_OF_REACH_KNOWN_US, LATER_US + 2 * OUT_OF_REACH_KNOWN_US);
        assert_eq!(table.unreachable_for_us(node(3), once_us), OUT_OF_REACH_KNOWN_US);
        assert_eq!(table.unreachable_for_us(node(3), once_us + 1), 0, "no request has tried it for some time");
        table.note_reached(node(3), false, once_us);
        assert_eq!(table.unreachable_for_us(node(3), again_us), 2 * OUT_OF_REACH_KNOWN_US);
        // A failure after a pause begins anew.
        table.note_reached(node(3), false, again_us + 1);
        assert_eq!(table.unreachable_for_us(node(3), again_us + 3), 2);
        table.note_reached(node(3), true, again_us + 4);
        assert_eq!(table.unreachable_for_us(node(3), again_us + 5), 0);
    }

    #[test]
    fn a_count_of_no_topics_does_not_replace_that_of_an_earlier_instance() {
        let mut table = RoutingTable::new(node(0), Dimension::new(2).unwrap());
        for ((instance, topics), expected) in
            [((7, 0), (0, 0)), ((7, 5), (5, 7)), ((8, 0), (5, 7)), ((7, 0), (0, 7)), ((8, 3), (3, 8))]
        {
            table.note_topics(1, instance, topics);
            assert_eq!(table.neighbour(1).topics, expected, "{topics} topics of instance {instance}");
        }
    }

    #[test]
    fn a_neighbour_is_dialled_again_after_half_of_the_time_at_least_and_all_of_it_at_most() {
        assert_eq!(redial_after_us(0), REDIAL_US / 2);
        assert_eq!(redial_after_us(REDIAL_US / 2 - 1), REDIAL_US - 1);
        assert_eq!(redial_after_us(REDIAL_US / 2), REDIAL_US / 2);
    }
}
