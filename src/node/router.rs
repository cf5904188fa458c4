//! The router: the links to the neighbours, the choice of the next hop, and the targets that were found unreachable.
//!
//! | file | subject |
//! |---|---|
//! | `forward` | one hop of a request, a response or a push |
//! | `reach` | unreachable targets: for how long, and which requests for them are refused at once |

mod forward;
mod reach;

pub(super) use forward::{Stuck, ends_of};

use super::action::{Action, Packet};
use super::{Settings, Step};
use crate::cube;
use crate::limits::REDIAL_US;
use crate::types::{ConnId, NodeId, RequestId};
use reach::Reach;

/// What a node knows of the cube. It knows the state of its own links only; frames carry the dead links that they met.
#[derive(Debug)]
pub(super) struct Router {
    here: NodeId,
    /// One neighbour for each dimension.
    neighbours: Vec<Neighbour>,
    reach: Reach,
}

/// A neighbour and the link to it.
#[derive(Debug)]
pub(super) struct Neighbour {
    /// The neighbour's id.
    pub node: NodeId,
    /// The link's connection; `None` while the link is down.
    pub conn: Option<ConnId>,
    /// The times of the link's connection; meaningless while the link is down.
    times: Times,
    /// The replacement link: a second connection whose HELLO names this neighbour while the link is up. It replaces the
    /// link unless the link proves alive.
    pub replacement: Option<ConnId>,
    /// The neighbour's instance id (chosen at each start) in the HELLO of the current or last link.
    pub instance: u64,
    /// Number of topics that the neighbour last reported, and the instance that reported it; see
    /// [`Router::note_topics`].
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

/// Monotonic times of a connection, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// When something was last received on it.
    pub heard_us: u64,
    /// When a frame was last sent on it.
    pub sent_us: u64,
}

impl Router {
    /// Returns a router all of whose links are down.
    pub(super) fn new(settings: &Settings) -> Self {
        let neighbour = |(_, node)| Neighbour {
            node,
            conn: None,
            times: Times::default(),
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
            here: settings.id,
            neighbours: cube::neighbours(settings.id, settings.dimension).map(neighbour).collect(),
            reach: Reach::new(settings.dimension.nodes()),
        }
    }

    /// Returns the neighbours in the order of their dimensions.
    pub(super) fn neighbours(&self) -> &[Neighbour] {
        &self.neighbours
    }

    /// Returns the neighbour across dimension `bit`.
    pub(super) fn neighbour(&self, bit: u8) -> &Neighbour {
        &self.neighbours[usize::from(bit)]
    }

    /// Returns the neighbour across dimension `bit`.
    pub(super) fn neighbour_mut(&mut self, bit: u8) -> &mut Neighbour {
        &mut self.neighbours[usize::from(bit)]
    }

    /// Returns true if every neighbour whose link is up has confirmed this node's GOAWAY.
    pub(super) fn has_parted(&self) -> bool {
        self.neighbours.iter().all(|link| link.conn.is_none() || link.has_parted)
    }

    /// Returns the number of links that are up.
    pub(super) fn up(&self) -> usize {
        self.neighbours.iter().filter(|link| link.conn.is_some()).count()
    }

    /// Records that a link is up.
    pub(super) fn set_up(&mut self, bit: u8, conn: ConnId, instance: u64, times: Times) {
        let link = self.neighbour_mut(bit);
        assert!(link.conn.is_none(), "a link is replaced only after it went down");
        (link.conn, link.instance, link.has_parted, link.full) = (Some(conn), instance, false, false);
        link.times = times;
        // The new link may be the path to any target that was unreachable.
        self.reach.release_all();
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

    /// Records that something was received on the link across dimension `bit`.
    pub(super) fn note_heard(&mut self, bit: u8, now_us: u64) {
        self.neighbour_mut(bit).times.heard_us = now_us;
    }

    /// Counts the silence of all neighbours anew from now.
    pub(super) fn forgive_silence(&mut self, now_us: u64) {
        self.neighbours.iter_mut().for_each(|link| link.times.heard_us = now_us);
    }

    /// Returns the times of the link across dimension `bit`.
    pub(super) fn times(&self, bit: u8) -> Times {
        self.neighbour(bit).times
    }

    /// Sends PING on the link across dimension `bit`, if it is up.
    pub(super) fn ping(&mut self, step: &mut Step<'_>, bit: u8) {
        if let Some(conn) = self.neighbour(bit).conn {
            self.send_alone(step, bit, conn, RequestId(step.now.monotonic_us), Packet::Ping);
        }
    }

    /// Sends a frame without a route on a connection of the neighbour across dimension `bit`.
    pub(super) fn send_alone(
        &mut self,
        step: &mut Step<'_>,
        bit: u8,
        conn: ConnId,
        request_id: RequestId,
        packet: Packet,
    ) {
        let link = self.neighbour_mut(bit);
        if link.conn == Some(conn) {
            link.times.sent_us = step.now.monotonic_us;
        }
        step.out.push(Action::Send { conn, request_id, route: None, packet });
    }

    /// See [`Reach::is_held`].
    pub(super) fn is_held(&mut self, target: NodeId, now_us: u64) -> bool {
        self.reach.is_held(target, now_us)
    }

    /// See [`Reach::note_reached`].
    pub(super) fn note_reached(&mut self, target: NodeId, is_reached: bool, now_us: u64) {
        self.reach.note_reached(target, is_reached, now_us);
    }

    /// See [`Reach::unreachable_for_us`].
    pub(super) fn unreachable_for_us(&self, target: NodeId, now_us: u64) -> u64 {
        self.reach.unreachable_for_us(target, now_us)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        for (bit, link) in (0..).zip(&self.neighbours) {
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
    use crate::node::tests::settings;

    #[test]
    fn a_count_of_no_topics_does_not_replace_that_of_an_earlier_instance() {
        let mut router = Router::new(&settings(0, 2));
        for ((instance, topics), expected) in
            [((7, 0), (0, 0)), ((7, 5), (5, 7)), ((8, 0), (5, 7)), ((7, 0), (0, 7)), ((8, 3), (3, 8))]
        {
            router.note_topics(1, instance, topics);
            assert_eq!(router.neighbour(1).topics, expected, "{topics} topics of instance {instance}");
        }
    }

    #[test]
    fn a_link_that_comes_up_ends_the_holds_of_all_targets_and_one_that_goes_down_does_not() {
        let conn = ConnId { slot: 0, generation: 1 };
        let mut router = Router::new(&settings(0, 2));
        let target = router.here.across(0).across(1);
        router.note_reached(target, false, 1);
        router.set_down(1, 1, 0);
        assert!(router.is_held(target, 2));
        router.set_up(1, conn, 7, Times::default());
        assert!(!router.is_held(target, 2));
    }

    #[test]
    fn a_neighbour_is_dialled_again_after_half_of_the_time_at_least_and_all_of_it_at_most() {
        assert_eq!(redial_after_us(0), REDIAL_US / 2);
        assert_eq!(redial_after_us(REDIAL_US / 2 - 1), REDIAL_US - 1);
        assert_eq!(redial_after_us(REDIAL_US / 2), REDIAL_US / 2);
    }
}
