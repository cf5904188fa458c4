//! Sets of nodes and of links as bitmaps, in the form that the route section of a frame carries.

use super::{Dimension, NodeId};
use crate::limits::DIMENSION_MAX;

/// One edge of the cube, given by the bit in which its ends differ and by its lower end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    bit: u8,
    lower: NodeId,
}

impl Link {
    /// Returns the edge of `node` across dimension `bit`.
    pub const fn new(node: NodeId, bit: u8) -> Self {
        let other = node.across(bit);
        Self { bit, lower: if node.0 < other.0 { node } else { other } }
    }

    /// Returns the dimension that the edge crosses.
    pub const fn bit(self) -> u8 {
        self.bit
    }

    /// Returns its two ends, the lower id first.
    pub const fn ends(self) -> (NodeId, NodeId) {
        (self.lower, self.lower.across(self.bit))
    }

    /// Returns the link's position in a [`LinkSet`], which is the same in cubes of all dimensions: first the links of
    /// the one-dimensional cube, then those that the second dimension adds, and so on. The links that dimension `h`
    /// adds are first those across it, by their lower ends, then those of the upper half, in the order of their
    /// counterparts in the lower half.
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

    /// The inverse of `position`; returns `None` for a position beyond the links of the largest cube.
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

/// Returns the number of links of a cube of `dimensions`, which all have lower positions than any link of the node
/// `2^dimensions`.
const fn links_below(dimensions: u32) -> usize {
    dimensions as usize * (1 << dimensions) / 2
}

/// A set of links. An empty set allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkSet(Bits);

impl LinkSet {
    /// Returns an empty set.
    pub const fn new() -> Self {
        Self(Bits(None))
    }

    /// Returns true when the set has no links.
    pub const fn is_empty(&self) -> bool {
        self.0.0.is_none()
    }

    /// Adds a link.
    pub fn insert(&mut self, link: Link) {
        self.0.insert(link.position());
    }

    /// Returns true when the link is in the set.
    pub fn contains(&self, link: Link) -> bool {
        self.0.contains(link.position())
    }

    /// Returns all links by increasing position.
    pub fn iter(&self) -> impl Iterator<Item = Link> {
        self.0.iter().filter_map(Link::at)
    }

    /// Returns the set as words of the wire format: bit `p % 64` of word `p / 64` stands for position `p`. The last
    /// word is not 0.
    pub fn words(&self) -> &[u64] {
        self.0.words()
    }

    /// Decodes the words of the wire format. Returns `None` when the last word is 0, since each set has only one
    /// encoding, or when a link is not in the cube.
    pub fn from_words(words: Vec<u64>, dimension: Dimension) -> Option<Self> {
        Bits::from_words(words, usize::from(dimension.links())).map(Self)
    }
}

/// A set of nodes. An empty set allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet(Bits);

impl NodeSet {
    /// Returns an empty set.
    pub const fn new() -> Self {
        Self(Bits(None))
    }

    /// Returns true when the set has no nodes.
    pub const fn is_empty(&self) -> bool {
        self.0.0.is_none()
    }

    /// Adds a node.
    pub fn insert(&mut self, node: NodeId) {
        self.0.insert(usize::from(node.0));
    }

    /// Returns true when the node is in the set.
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.contains(usize::from(node.0))
    }

    /// Removes a node and returns whether it was in the set.
    pub fn remove(&mut self, node: NodeId) -> bool {
        self.0.remove(usize::from(node.0))
    }

    /// Returns all nodes in increasing order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.0.iter().filter_map(|position| u16::try_from(position).ok().map(NodeId))
    }

    /// Returns the set as words of the wire format: bit `n % 64` of word `n / 64` stands for node `n`. The last word is
    /// not 0.
    pub fn words(&self) -> &[u64] {
        self.0.words()
    }

    /// Decodes the words of the wire format. Returns `None` when the last word is 0 or a node is not in the cube.
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

/// A bitmap of any size. Invariant: it is absent, or has words of which the last is not 0, so that equal sets have
/// equal words. It is a pointer, because nearly every frame carries an empty set.
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

    /// The position as protocol-nodes.md defines it.
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
