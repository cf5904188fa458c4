//! The routing table: the neighbours, their connections, and which targets were found unreachable.

use crate::cube::{self, NextHop};
use crate::limits::{OUT_OF_REACH_KNOWN_US, REDIAL_US, UNREACHABLE_HOLD_US};
use crate::types::{ConnId, Dimension, NodeId};
use crate::wire::Route;

/// What a node knows of the cube: its own links, and nothing else.
#[derive(Debug)]
pub(super) struct RoutingTable {
    here: NodeId,
    /// One for each dimension.
    links: Vec<Neighbour>,
    /// Until when requests for a node are answered UNREACHABLE here, monotonic microseconds.
    held_until_us: Vec<u64>,
    /// Since when a node has been unreachable and when that was last found, monotonic microseconds; 0 when it is not.
    unreachable_us: Vec<(u64, u64)>,
}

/// A neighbour and the link to it.
#[derive(Debug)]
pub(super) struct Neighbour {
    /// Who.
    pub node: NodeId,
    /// The link; `None` while it is down.
    pub conn: Option<ConnId>,
    /// Another connection that says it is this neighbour, while the link is up.
    pub challenger: Option<ConnId>,
    /// The neighbour's start that the link belongs to.
    pub instance: u64,
    /// Number of topics that the neighbour held when it last said so, and the start of the neighbour that said it; see
    /// [`RoutingTable::note_topics`].
    pub topics: (u32, u64),
    /// It was told that this node ends, and has confirmed that it sends nothing more.
    pub has_parted: bool,
    /// Is the queue towards it past its mark?
    pub full: bool,
    /// When it is dialled next, monotonic microseconds. Only the larger id dials.
    pub dial_at_us: u64,
    /// Frames that came over the link since the start.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl RoutingTable {
    /// All links down.
    pub(super) fn new(here: NodeId, dimension: Dimension) -> Self {
        let neighbour = |(_, node)| Neighbour {
            node,
            conn: None,
            challenger: None,
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

    /// The neighbours in the order of their dimensions.
    pub(super) fn neighbours(&self) -> &[Neighbour] {
        &self.links
    }

    /// The neighbour across a dimension.
    pub(super) fn neighbour(&self, bit: u8) -> &Neighbour {
        &self.links[usize::from(bit)]
    }

    /// The neighbour across a dimension.
    pub(super) fn neighbour_mut(&mut self, bit: u8) -> &mut Neighbour {
        &mut self.links[usize::from(bit)]
    }

    /// True when every neighbour whose link is up has confirmed that it sends nothing more.
    pub(super) fn has_parted(&self) -> bool {
        self.links.iter().all(|link| link.conn.is_none() || link.has_parted)
    }

    /// Links that are up.
    pub(super) fn up(&self) -> usize {
        self.links.iter().filter(|link| link.conn.is_some()).count()
    }

    /// The next hop of a frame, which learns the dead links it meets here.
    pub(super) fn next_hop(&self, route: &mut Route, is_response: bool) -> NextHop {
        let is_up = |bit| self.neighbour(bit).conn.is_some();
        let carried = &mut route.down;
        if is_response {
            cube::route_back(self.here, route.target, route.dimension, carried, is_up)
        } else {
            cube::route(self.here, route.target, route.dimension, carried, is_up)
        }
    }

    /// Takes note that a link is up.
    pub(super) fn set_up(&mut self, bit: u8, conn: ConnId, instance: u64) {
        let link = self.neighbour_mut(bit);
        assert!(link.conn.is_none(), "a link is replaced only after it went down");
        (link.conn, link.instance, link.has_parted, link.full) = (Some(conn), instance, false, false);
        // Whatever could not be reached may be reachable now.
        self.held_until_us.fill(0);
    }

    /// Takes note of how many topics a start of the neighbour holds. One that holds none says nothing about the starts
    /// before it, which may have had another data folder.
    pub(super) fn note_topics(&mut self, bit: u8, instance: u64, topics: u32) {
        let link = self.neighbour_mut(bit);
        if topics > 0 || link.topics.1 == instance {
            link.topics = (topics, instance);
        }
    }

    /// Takes note that a link is down; it is dialled again after half of [`REDIAL_US`] and as much again at random.
    pub(super) fn set_down(&mut self, bit: u8, monotonic_us: u64, random: u64) {
        let link = self.neighbour_mut(bit);
        (link.conn, link.full) = (None, false);
        link.dial_at_us = monotonic_us + redial_after_us(random);
    }

    /// Is the target known to be out of reach for the moment? One request in each hold time is let through. What was
    /// known a hold time ago holds nobody any more.
    pub(super) fn is_held(&mut self, target: NodeId, monotonic_us: u64) -> bool {
        let until = &mut self.held_until_us[usize::from(target.index())];
        if *until > monotonic_us {
            return true;
        }
        let is_recent = *until > 0 && monotonic_us - *until < UNREACHABLE_HOLD_US;
        *until = if is_recent { monotonic_us + UNREACHABLE_HOLD_US } else { 0 };
        false
    }

    /// Takes note of what became of a request. What was answered out of a hold does not make it longer: requests that
    /// come again and again would keep a node unreachable that is back.
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

/// Half of [`REDIAL_US`] and as much again at random.
pub(super) const fn redial_after_us(random: u64) -> u64 {
    REDIAL_US / 2 + random % (REDIAL_US / 2)
}
