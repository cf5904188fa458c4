//! The geometry of the cube: which node a topic lives on, and which link a frame takes next.
//!
//! Pure functions of ids and sets of links. Nothing here knows a connection, a clock or what a frame says, and
//! nothing here keeps state: what a frame has learnt of dead links travels in the frame.
//!
//! | question | answer |
//! |---|---|
//! | where does a topic live? | [`home`]: the low bits of the CRC-32 of its name |
//! | which way, without faults? | correct the highest differing dimension first: `000` → `100` → `110` → `111` |
//! | which way, with faults? | [`route`]: a shortest path in the cube minus the dead links that the frame carries |
//! | how does one frame reach many? | [`split`]: by the same first step, so that each link carries it once |
//!
//! The highest dimension comes first so that a request reaches the 2-face of its home, where the other members of
//! the home's group live, before it needs the home itself.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::limits::{DIMENSION_MAX, TTL_PER_NODE};
use crate::types::{Dimension, Link, LinkSet, NodeId, NodeSet, TopicName, crc32};

/// The most hops of a frame in a cube of 0, 1, 2 and 3 dimensions with any links dead, whether it arrives or is
/// given up. Proven by enumeration in `tests`; larger cubes have too many sets of links for that.
const HOPS_WORST: [u16; 4] = [0, 1, 4, 13];

/// The node that a topic lives on: the low bits of the CRC-32/ISO-HDLC of its name.
///
/// The low bits are even on names that differ only in a number (125 of 1000 on each of eight nodes), the high ones
/// are not; and a cube that grows by a dimension moves a topic by one hop at most.
pub fn home(name: TopicName<'_>, dimension: Dimension) -> NodeId {
    NodeId::from_low_bits(crc32(name.as_str().as_bytes()), dimension)
}

/// The neighbours of a node with the bit in which each differs, in increasing bit.
pub fn neighbours(node: NodeId, dimension: Dimension) -> impl Iterator<Item = (u8, NodeId)> {
    (0..dimension.bits()).map(move |bit| (bit, node.across(bit)))
}

/// The hops that a frame may take when it starts, 8 to 8192.
pub const fn hops_limit(dimension: Dimension) -> u16 {
    TTL_PER_NODE * dimension.nodes()
}

/// What to do with a frame at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// It has arrived.
    Here,
    /// Send it over the link of this bit.
    Across(u8),
    /// No path is left.
    Unreachable,
}

/// The first hop of a shortest path from `here` to `target` in the cube without the links `down`.
///
/// Among equally short paths: one that starts by correcting a differing bit, the highest of them, before one that
/// starts with a detour, over the highest bit.
///
/// # Panics
/// When a node is not of the cube.
pub fn next_hop(here: NodeId, target: NodeId, dimension: Dimension, down: &LinkSet) -> NextHop {
    let Some(direct) = highest_differing_bit(here, target, dimension) else {
        return NextHop::Here;
    };
    if down.is_empty() {
        return NextHop::Across(direct);
    }
    let distances = distances_to(target, here, dimension, down);
    let Some(distance) = distances[usize::from(here.index())] else {
        return NextHop::Unreachable;
    };
    let is_closer = |bit: &u8| {
        let next = usize::from(here.across(*bit).index());
        distances[next] == Some(distance - 1) && !down.contains(Link::new(here, *bit))
    };
    let corrects = |bit: &u8| here.across(*bit).distance(target) < here.distance(target);
    let bits = || (0..dimension.bits()).rev();
    let first = bits().filter(corrects).find(is_closer).or_else(|| bits().find(is_closer));
    NextHop::Across(first.expect("a node at a finite distance has a neighbour one hop closer"))
}

/// One step of a frame that carries the dead links it has met, at a node that knows of its own links only whether
/// each, by bit, is up. (Failure-carrying packets: Lakshminarayanan et al., SIGCOMM 2007.)
///
/// As long as nothing is in the way, nothing is added to `carried`; from the first dead link on, each node adds all
/// of its own. So `carried` only grows, and between two additions each hop is one closer: a frame arrives exactly
/// when a path exists, and never takes a link that is down. With d = 3 that takes at most 5 hops around dead nodes
/// and 13 around dead links, and a dead target is given up after at most 8. With d = 4 it takes at most 37, of 128;
/// beyond that nobody has proven that [`hops_limit`] suffices for the worst set of dead links.
///
/// # Panics
/// When a node is not of the cube.
pub fn route(
    here: NodeId,
    target: NodeId,
    dimension: Dimension,
    carried: &mut LinkSet,
    is_up: impl Fn(u8) -> bool,
) -> NextHop {
    match highest_differing_bit(here, target, dimension) {
        None => NextHop::Here,
        Some(direct) if carried.is_empty() && is_up(direct) => NextHop::Across(direct),
        Some(_) => detour(here, target, dimension, carried, is_up),
    }
}

/// One step of an answer: without faults the way of its request backwards, so that no other nodes are woken for it,
/// which is to correct the lowest differing bit first. From the first dead link on it goes on as in [`route`], and
/// the same holds of it.
///
/// # Panics
/// When a node is not of the cube.
pub fn route_back(
    here: NodeId,
    target: NodeId,
    dimension: Dimension,
    carried: &mut LinkSet,
    is_up: impl Fn(u8) -> bool,
) -> NextHop {
    match lowest_differing_bit(here, target, dimension) {
        None => NextHop::Here,
        Some(direct) if carried.is_empty() && is_up(direct) => NextHop::Across(direct),
        Some(_) => detour(here, target, dimension, carried, is_up),
    }
}

/// The path, both ends included, of a frame from `source` that arrived at `target` carrying the dead links `met`.
///
/// Every node that the frame asked for its dead links added all of them, so `met` says of each node on the way what
/// it did. Where links changed under the frame that is a guess, which ends after [`hops_limit`] hops at the latest.
///
/// # Panics
/// When a node is not of the cube.
pub fn walked(source: NodeId, target: NodeId, dimension: Dimension, met: &LinkSet) -> Vec<NodeId> {
    let mut here = source;
    let mut path = vec![here];
    let mut carried = LinkSet::new();
    for _ in 0..hops_limit(dimension) {
        let is_up = |bit| !met.contains(Link::new(here, bit));
        match route(here, target, dimension, &mut carried, is_up) {
            NextHop::Across(bit) => here = here.across(bit),
            NextHop::Here | NextHop::Unreachable => break,
        }
        path.push(here);
    }
    path
}

/// The most hops that a frame which met the dead links `met` can have needed, as TRACE prints it beside the path.
///
/// Their distance when it met none. Otherwise the worst case for the dimension with any links dead, which is
/// proven up to d = 3; above that it is where the frame is stopped, [`hops_limit`].
pub fn hop_bound(source: NodeId, target: NodeId, dimension: Dimension, met: &LinkSet) -> u16 {
    if met.is_empty() {
        return u16::try_from(source.distance(target)).expect("ids have 16 bits");
    }
    let proven = HOPS_WORST.get(usize::from(dimension.bits()));
    proven.copied().unwrap_or_else(|| hops_limit(dimension))
}

/// How a frame for many targets goes on from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Is this node one of them?
    pub here: bool,
    /// The others by the link that leads to them without faults, highest bit first; no set is empty.
    pub onward: Vec<(u8, NodeSet)>,
}

/// Splits the targets of a frame by their fault-free next hop.
///
/// The branches form a tree of shortest paths, so the frame crosses each link once, however many targets lie
/// behind it. A branch whose link is down is for the caller to send as one frame per target.
///
/// # Panics
/// When a node is not of the cube.
pub fn split(here: NodeId, targets: &NodeSet, dimension: Dimension) -> Split {
    let mut is_target = false;
    let mut branches: [NodeSet; DIMENSION_MAX as usize] = Default::default();
    for target in targets.iter() {
        match highest_differing_bit(here, target, dimension) {
            Some(bit) => branches[usize::from(bit)].insert(target),
            None => is_target = true,
        }
    }
    let onward = (0..DIMENSION_MAX).zip(branches).rev().filter(|(_, branch)| !branch.is_empty());
    Split { here: is_target, onward: onward.collect() }
}

/// The step of a frame that has met a dead link, here or before: this node's own are added to them.
fn detour(
    here: NodeId,
    target: NodeId,
    dimension: Dimension,
    carried: &mut LinkSet,
    is_up: impl Fn(u8) -> bool,
) -> NextHop {
    for bit in (0..dimension.bits()).filter(|bit| !is_up(*bit)) {
        carried.insert(Link::new(here, bit));
    }
    next_hop(here, target, dimension, carried)
}

fn lowest_differing_bit(here: NodeId, target: NodeId, dimension: Dimension) -> Option<u8> {
    highest_differing_bit(here, target, dimension)?;
    let bit = (here.index() ^ target.index()).trailing_zeros();
    #[expect(clippy::cast_possible_truncation, reason = "at most 9")]
    Some(bit as u8)
}

/// `None` when the two are the same node.
fn highest_differing_bit(here: NodeId, target: NodeId, dimension: Dimension) -> Option<u8> {
    assert!(here.within(dimension) && target.within(dimension), "{here:?} or {target:?} is not of the cube");
    let bit = (here.index() ^ target.index()).checked_ilog2()?;
    #[expect(clippy::cast_possible_truncation, reason = "at most 9")]
    Some(bit as u8)
}

/// The distance of each node to `target` in the cube without the links `down`, by index: breadth first, up to the
/// distance of `here`. `None` for what is farther away or cut off.
fn distances_to(target: NodeId, here: NodeId, dimension: Dimension, down: &LinkSet) -> Vec<Option<u16>> {
    let mut distances = vec![None; usize::from(dimension.nodes())];
    distances[usize::from(target.index())] = Some(0);
    let mut reached = VecDeque::from([(target, 0)]);
    while let Some((node, distance)) = reached.pop_front() {
        if node == here {
            break;
        }
        for (bit, next) in neighbours(node, dimension) {
            let known = &mut distances[usize::from(next.index())];
            if known.is_none() && !down.contains(Link::new(node, bit)) {
                *known = Some(distance + 1);
                reached.push_back((next, distance + 1));
            }
        }
    }
    distances
}
