//! The geometry of the cube: which node a topic lives on, and which link a frame takes next.
//!
//! All functions are pure: they depend only on node ids and sets of links, and keep no state. A frame carries the dead
//! links that it has met.
//!
//! | question | answer |
//! |---|---|
//! | where does a topic live? | [`home`]: the low bits of the CRC-32 of its name, in two steps: [`slot`], [`node_of`] |
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
use crate::types::{Dimension, Link, LinkSet, NodeId, NodeSet, SlotId, Slots, TopicName, crc32};

/// The most hops that a frame can make in a cube of 0, 1, 2 or 3 dimensions with any set of dead links, before it
/// arrives or is dropped. Proven by enumeration in `tests`; larger cubes have too many sets of links for that.
const HOPS_WORST: [u16; 4] = [0, 1, 4, 13];

/// Returns the node that a topic lives on: the low bits of the CRC-32/ISO-HDLC of its name.
///
/// The low bits distribute names that differ only in a number evenly (125 of 1000 on each of eight nodes); the high
/// bits do not. The low bits also have the advantage that a topic moves by at most one hop when the cube grows by a
/// dimension.
pub fn home(name: TopicName<'_>, dimension: Dimension) -> NodeId {
    node_of(slot(name, Slots::one_per_node(dimension)), dimension)
}

/// Returns the slot of a topic: the low bits of the CRC-32/ISO-HDLC of its name.
pub fn slot(name: TopicName<'_>, slots: Slots) -> SlotId {
    SlotId::from_low_bits(crc32(name.as_str().as_bytes()), slots)
}

/// Returns the node on which the topics of a slot live: the low bits of the slot's number. In a cube with at least as
/// many slots as nodes, this is the [`home`] of each of these topics.
pub const fn node_of(slot: SlotId, dimension: Dimension) -> NodeId {
    NodeId::from_low_bits(slot.index() as u32, dimension)
}

/// Returns the neighbours of a node, each with the bit in which its id differs, by increasing bit.
pub fn neighbours(node: NodeId, dimension: Dimension) -> impl Iterator<Item = (u8, NodeId)> {
    (0..dimension.bits()).map(move |bit| (bit, node.across(bit)))
}

/// Returns the initial TTL of a frame: the number of hops that it may make, 8 to 8192.
pub const fn hops_limit(dimension: Dimension) -> u16 {
    TTL_PER_NODE * dimension.nodes()
}

/// What to do next with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// The frame has arrived at its target.
    Here,
    /// Send the frame across the link of this bit.
    Across(u8),
    /// No path is left.
    Unreachable,
}

/// Returns the first hop of a shortest path from `here` to `target` in the cube without the links `down`.
///
/// Of equally short paths, it prefers those that start by correcting a differing bit to those that start with a detour,
/// and then the highest bit.
///
/// # Panics
/// If a node id exceeds the dimension.
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

/// Makes one routing step for a frame that carries the dead links it has met. The node knows only whether each of its
/// own links is up. (Failure-carrying packets: Lakshminarayanan et al., SIGCOMM 2007.)
///
/// As long as the frame's path has no dead link, nothing is added to `carried`; from the first dead link on, each node
/// adds all dead links of its own. So `carried` only grows, and between two additions each hop brings the frame one
/// closer: it arrives if and only if a path exists, and never takes a link that is down. With d = 3 this takes at most
/// 5 hops around dead nodes and 13 around dead links, and a dead target is given up after at most 8. With d = 4 it
/// takes at most 37 hops, of the 128 that [`hops_limit`] allows. For larger cubes it is not proven that this limit
/// suffices for the worst set of dead links.
///
/// # Panics
/// If a node id exceeds the dimension.
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

/// Makes one routing step for a response. Without faults, a response takes the path of its request in reverse, so that
/// no further nodes are involved: it corrects the lowest differing bit first. From the first dead link on, it is routed
/// as by [`route`].
///
/// # Panics
/// If a node id exceeds the dimension.
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

/// Returns the path, including both ends, of a frame from `source` that arrived at `target` with the dead links `met`.
///
/// Every node that met a dead link has added all its dead links, so `met` determines the decision of each node on the
/// path. If links changed while the frame was in transit, the result is a guess of at most [`hops_limit`] hops.
///
/// # Panics
/// If a node id exceeds the dimension.
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

/// Returns the most hops that a frame with the dead links `met` can have made; TRACE prints it beside the path.
///
/// If it met none, this is the distance of the two nodes. Otherwise it is the worst case of the dimension with any dead
/// links, which is proven up to d = 3; for larger cubes it is the initial TTL, [`hops_limit`].
pub fn hop_bound(source: NodeId, target: NodeId, dimension: Dimension, met: &LinkSet) -> u16 {
    if met.is_empty() {
        return u16::try_from(source.distance(target)).expect("ids have 16 bits");
    }
    let proven = HOPS_WORST.get(usize::from(dimension.bits()));
    proven.copied().unwrap_or_else(|| hops_limit(dimension))
}

/// How a multicast frame is forwarded by a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// True if this node is one of the targets.
    pub here: bool,
    /// The other targets by the link of their fault-free path, highest bit first; no set is empty.
    pub onward: Vec<(u8, NodeSet)>,
}

/// Splits the targets of a frame by their fault-free next hop.
///
/// The branches form a tree of shortest paths, so the frame crosses each link once, however many targets are beyond it.
/// If the link of a branch is down, the caller sends a frame of its own to each target of that branch.
///
/// # Panics
/// If a node id exceeds the dimension.
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

/// Makes the step of a frame that has met a dead link, here or before: adds this node's dead links to those that the
/// frame carries, and avoids all of them.
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

/// Returns `None` if the two nodes are the same.
fn highest_differing_bit(here: NodeId, target: NodeId, dimension: Dimension) -> Option<u8> {
    assert!(here.within(dimension) && target.within(dimension), "{here:?} or {target:?} is not in the cube");
    let bit = (here.index() ^ target.index()).checked_ilog2()?;
    #[expect(clippy::cast_possible_truncation, reason = "at most 9")]
    Some(bit as u8)
}

/// Returns the distance of each node to `target` in the cube without the links `down`, by node index. The breadth-first
/// search stops at the distance of `here`; nodes that are farther away or cut off have `None`.
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
