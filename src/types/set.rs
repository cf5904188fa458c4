//! Sets of nodes and of links as bits, in the form that the route section of a frame carries them.

use super::{Dimension, NodeId};
use crate::limits::DIMENSION_MAX;

/// One edge of the cube: the bit in which its ends differ, and its lower end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    bit: u8,
    lower: NodeId,
}

impl Link {
    /// The edge of `node` across dimension `bit`.
    pub const fn new(node: NodeId, bit: u8) -> Self {
        let other = node.across(bit);
        Self { bit, lower: if node.0 < other.0 { node } else { other } }
    }

    /// The dimension that the edge crosses.
    pub const fn bit(self) -> u8 {
        self.bit
    }

    /// Its two ends, the lower id first.
    pub const fn ends(self) -> (NodeId, NodeId) {
        (self.lower, self.lower.across(self.bit))
    }

    /// Its place in a [`LinkSet`], the same in cubes of all dimensions: first the links of the cube of one dimension,
    /// then those that the second dimension adds, and so on. What dimension `h` adds is first the links across it,
    /// by their lower ends, then those of the upper half in the order of their counterparts below.
    const fn position(self) -> usize {
        let mut lower = self.lower.0;
        let mut position = 0;
        loop {
            let half = (lower | 1 << self.bit).ilog2();
            position += links_below(half);
            if half == self.bit as u32 {
                return position + lower as usize;
            }
            position += 1 << half;
            lower ^= 1 << half;
        }
    }

    /// The inverse of `position`; `None` where the largest cube has no link.
    fn at(position: usize) -> Option<Self> {
        if position >= links_below(DIMENSION_MAX.into()) {
            return None;
        }
        let mut rest = position;
        let mut upper_half = 0;
        for half in (0..DIMENSION_MAX).rev() {
            let below = links_below(half.into());
            if rest < below {
                continue;
            }
            rest -= below;
            if rest < 1 << half {
                let lower = NodeId(upper_half | u16::try_from(rest).ok()?);
                return Some(Self { bit: half, lower });
            }
            rest -= 1 << half;
            upper_half |= 1 << half;
        }
        None
    }
}

/// Links of the cube of `dimensions`: the places before the first link that reaches the node `2^dimensions`.
const fn links_below(dimensions: u32) -> usize {
    dimensions as usize * (1 << dimensions) / 2
}

/// A set of links. Empty costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkSet(Bits);

impl LinkSet {
    /// No links.
    pub const fn new() -> Self {
        Self(Bits(None))
    }

    /// Is there none?
    pub const fn is_empty(&self) -> bool {
        self.0.0.is_none()
    }

    /// Adds a link.
    pub fn insert(&mut self, link: Link) {
        self.0.insert(link.position());
    }

    /// Is the link in the set?
    pub fn contains(&self, link: Link) -> bool {
        self.0.contains(link.position())
    }

    /// All links, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = Link> {
        self.0.iter().filter_map(Link::at)
    }

    /// The words of the wire: bit `p % 64` of word `p / 64` is place `p`; the last word is not 0.
    pub fn words(&self) -> &[u64] {
        self.0.words()
    }

    /// From the words of the wire. `None` when the last word is 0 (one set has one form) or a place is no link of
    /// the cube.
    pub fn from_words(words: Vec<u64>, dimension: Dimension) -> Option<Self> {
        Bits::from_words(words, usize::from(dimension.links())).map(Self)
    }
}

/// A set of nodes. Empty costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet(Bits);

impl NodeSet {
    /// No nodes.
    pub const fn new() -> Self {
        Self(Bits(None))
    }

    /// Is there none?
    pub const fn is_empty(&self) -> bool {
        self.0.0.is_none()
    }

    /// Adds a node.
    pub fn insert(&mut self, node: NodeId) {
        self.0.insert(usize::from(node.0));
    }

    /// Is the node in the set?
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.contains(usize::from(node.0))
    }

    /// Takes the node out; says whether it was there.
    pub fn remove(&mut self, node: NodeId) -> bool {
        self.0.remove(usize::from(node.0))
    }

    /// All nodes in increasing order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.0.iter().filter_map(|position| u16::try_from(position).ok().map(NodeId))
    }

    /// The words of the wire: bit `n % 64` of word `n / 64` is node `n`; the last word is not 0.
    pub fn words(&self) -> &[u64] {
        self.0.words()
    }

    /// From the words of the wire. `None` when the last word is 0 or a node is not of the cube.
    pub fn from_words(words: Vec<u64>, dimension: Dimension) -> Option<Self> {
        Bits::from_words(words, usize::from(dimension.nodes())).map(Self)
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::new();
        nodes.into_iter().for_each(|node| set.insert(node));
        set
    }
}

/// Invariant: there are words or nothing, and the last one is not 0, so that equal sets are equal words. A pointer,
/// because nearly every frame carries an empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Bits(Option<Box<Words>>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Words(Vec<u64>);

impl Bits {
    fn words(&self) -> &[u64] {
        self.0.as_deref().map_or(&[], |words| &words.0)
    }

    fn insert(&mut self, position: usize) {
        let words = &mut self.0.get_or_insert_default().0;
        if words.len() <= position / 64 {
            words.resize(position / 64 + 1, 0);
        }
        words[position / 64] |= 1 << (position % 64);
    }

    fn contains(&self, position: usize) -> bool {
        self.words().get(position / 64).is_some_and(|word| word & (1 << (position % 64)) != 0)
    }

    fn remove(&mut self, position: usize) -> bool {
        if !self.contains(position) {
            return false;
        }
        let mut words = self.words().to_vec();
        words[position / 64] &= !(1 << (position % 64));
        let len = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        words.truncate(len);
        *self = Self::of(words);
        true
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.words().iter().enumerate().flat_map(|(index, &word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| index * 64 + bit)
        })
    }

    fn of(words: Vec<u64>) -> Self {
        Self((!words.is_empty()).then(|| Box::new(Words(words))))
    }

    fn from_words(words: Vec<u64>, places: usize) -> Option<Self> {
        let Some(last) = words.last() else { return Some(Self(None)) };
        let highest = words.len() * 64 - last.leading_zeros() as usize;
        (*last != 0 && highest <= places).then(|| Self::of(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, as protocol-nodes.md has it.
    fn place(lower: usize, bit: u32) -> usize {
        let half = (lower | 1 << bit).ilog2();
        let before = if half == 0 { 0 } else { half as usize * (1 << (half - 1)) };
        before + if half == bit { lower } else { (1 << half) + place(lower - (1 << half), bit) }
    }

    #[test]
    fn every_link_has_one_place_and_comes_back_from_it() {
        for bits in 0..=10 {
            let dimension = Dimension::new(bits).unwrap();
            let mut seen = vec![false; usize::from(dimension.links())];
            for node in dimension.all() {
                for bit in 0..bits {
                    let link = Link::new(node, bit);
                    let position = link.position();
                    assert_eq!(position, place(link.lower.0.into(), bit.into()), "{link:?}");
                    assert_eq!(Link::at(position), Some(link));
                    seen[position] = true;
                }
            }
            assert!(seen.iter().all(|&seen| seen), "dimension {bits} has a place without a link");
        }
        assert_eq!(Link::at(5120), None);
    }

    #[test]
    fn words_that_name_nothing_or_name_it_twice_are_refused() {
        let three = Dimension::new(3).unwrap();
        let cases: [(Vec<u64>, bool, bool); 6] = [
            (vec![], true, true),
            (vec![0], false, false),
            (vec![1 << 7], true, true),
            (vec![1 << 8], true, false),
            (vec![1 << 12], false, false),
            (vec![1, 1], false, false),
        ];
        for (words, is_links, is_nodes) in cases {
            assert_eq!(LinkSet::from_words(words.clone(), three).is_some(), is_links, "{words:?}");
            assert_eq!(NodeSet::from_words(words.clone(), three).is_some(), is_nodes, "{words:?}");
        }
    }

    #[test]
    fn a_set_that_loses_its_last_node_is_the_empty_set() {
        let ten = Dimension::new(10).unwrap();
        let last = NodeId::new(1023, ten).unwrap();
        let mut set: NodeSet = [last].into_iter().collect();
        assert!(set.contains(last) && set.remove(last) && !set.remove(last));
        assert_eq!(set, NodeSet::new());
    }
}
