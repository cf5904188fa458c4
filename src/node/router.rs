//! The router: the links to the neighbours, and the choice of the next hop.
//!
//! | file | subject |
//! |---|---|
//! | `link` | the state of the link to a neighbour, and what changes it |
//! | `keepalive` | dialling, PING, and the timeout for silence |
//! | `forward` | one hop of a request, a response or a push |
//!
//! It does not know the connections themselves: it names those that others have to close or to answer.

mod forward;
mod keepalive;
mod link;

pub(super) use forward::{Stuck, ends_of};
pub(super) use keepalive::Due;
pub(super) use link::{Greeted, Greeting, Usage, WentDown};

use super::Settings;
use crate::cube;
use crate::types::{ConnId, NodeId};
use link::Link;

/// What a node knows of the cube. It knows the state of its own links only; frames carry the dead links that they met.
#[derive(Debug)]
pub(super) struct Router {
    here: NodeId,
    /// One neighbour for each dimension.
    neighbours: Vec<Neighbour>,
}

/// A neighbour.
#[derive(Debug)]
struct Neighbour {
    node: NodeId,
    link: Link,
    topics: TopicCount,
    /// Frames received from it since this node started.
    frames: u64,
    /// Bytes received from it since this node started.
    bytes: u64,
}

/// Number of topics that a neighbour last reported; see [`Router::note_topics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TopicCount {
    count: u32,
    /// The instance that reported it.
    instance: u64,
}

/// What a node reports about a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkReport {
    /// The neighbour.
    pub node: NodeId,
    /// True while the link is up.
    pub is_up: bool,
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
            link: Link::Down { dial_at_us: 0 },
            topics: TopicCount::default(),
            frames: 0,
            bytes: 0,
        };
        Self {
            here: settings.id,
            neighbours: cube::neighbours(settings.id, settings.dimension).map(neighbour).collect(),
        }
    }

    fn neighbour(&self, bit: u8) -> &Neighbour {
        &self.neighbours[usize::from(bit)]
    }

    fn neighbour_mut(&mut self, bit: u8) -> &mut Neighbour {
        &mut self.neighbours[usize::from(bit)]
    }

    fn link(&self, bit: u8) -> &Link {
        &self.neighbour(bit).link
    }

    fn link_mut(&mut self, bit: u8) -> &mut Link {
        &mut self.neighbour_mut(bit).link
    }

    /// Returns true if this node dials the neighbour across dimension `bit`, and not the other way round.
    pub(super) fn dials(&self, bit: u8) -> bool {
        self.neighbour(bit).node < self.here
    }

    /// Returns the connection that is the link across dimension `bit`; `None` while the link is down.
    pub(super) fn conn(&self, bit: u8) -> Option<ConnId> {
        self.link(bit).up().map(|up| up.conn)
    }

    /// Returns the connections that are links.
    pub(super) fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.neighbours.iter().filter_map(|neighbour| neighbour.link.up().map(|up| up.conn))
    }

    /// Returns the number of links that are up.
    pub(super) fn up(&self) -> usize {
        self.conns().count()
    }

    /// Returns a report about each link, in the order of their dimensions.
    pub(super) fn reports(&self) -> impl Iterator<Item = LinkReport> {
        self.neighbours.iter().map(|Neighbour { node, link, frames, bytes, .. }| LinkReport {
            node: *node,
            is_up: link.up().is_some(),
            frames: *frames,
            bytes: *bytes,
        })
    }

    /// Records whether the send queue of a connection of the neighbour across dimension `bit` is above its high-water
    /// mark. Returns true if that connection is the link.
    pub(super) fn set_full(&mut self, bit: u8, conn: ConnId, is_full: bool) -> bool {
        let link = self.link_mut(bit).over(conn);
        link.map(|up| up.is_full = is_full).is_some()
    }

    /// Records that the neighbour across dimension `bit` has confirmed this node's GOAWAY.
    pub(super) fn set_parted(&mut self, bit: u8, conn: ConnId) {
        if let Some(up) = self.link_mut(bit).over(conn) {
            up.has_parted = true;
        }
    }

    /// Returns true if every neighbour whose link is up has confirmed this node's GOAWAY.
    pub(super) fn has_parted(&self) -> bool {
        self.neighbours.iter().filter_map(|neighbour| neighbour.link.up()).all(|up| up.has_parted)
    }

    /// Records how many topics an instance of the neighbour holds. A count of 0 does not replace the count of an
    /// earlier instance, which may have run with another data folder: that count is how a node that was started with an
    /// empty folder learns what it has lost.
    pub(super) fn note_topics(&mut self, bit: u8, instance: u64, count: u32) {
        let topics = &mut self.neighbour_mut(bit).topics;
        if count > 0 || topics.instance == instance {
            *topics = TopicCount { count, instance };
        }
    }

    /// Records the number of topics that the response to a PING on this connection states.
    pub(super) fn note_topics_of_link(&mut self, bit: u8, conn: ConnId, count: u32) {
        if let Some(instance) = self.link_mut(bit).over(conn).map(|up| up.instance) {
            self.note_topics(bit, instance, count);
        }
    }

    /// Returns how many topics the neighbour across dimension `bit` is known to hold or to have held.
    pub(super) fn topics_of(&self, bit: u8) -> u32 {
        self.neighbour(bit).topics.count
    }

    /// Asserts the invariants. `conns` are the open connections of neighbours that are not shutting down, each with the
    /// dimension that it crosses.
    pub(super) fn check(&self, conns: impl Iterator<Item = (u8, ConnId)>) {
        let mut used = Vec::new();
        for (bit, neighbour) in (0..).zip(&self.neighbours) {
            assert_eq!(self.here.across(bit), neighbour.node);
            neighbour.link.check(self.dials(bit));
            used.extend(neighbour.link.conns().map(|conn| (bit, conn)));
        }
        let mut conns: Vec<(u8, ConnId)> = conns.collect();
        used.sort_unstable();
        conns.sort_unstable();
        assert_eq!(used, conns, "each open connection of a neighbour has one use");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::settings;

    #[test]
    fn a_count_of_no_topics_does_not_replace_that_of_an_earlier_instance() {
        let mut router = Router::new(&settings(0, 2));
        for ((instance, count), expected) in
            [((7, 0), (0, 0)), ((7, 5), (5, 7)), ((8, 0), (5, 7)), ((7, 0), (0, 7)), ((8, 3), (3, 8))]
        {
            router.note_topics(1, instance, count);
            let TopicCount { count: known, instance: of } = router.neighbour(1).topics;
            assert_eq!((known, of), expected, "{count} topics of instance {instance}");
        }
    }
}
