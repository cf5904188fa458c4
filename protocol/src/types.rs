//! The domain's types; their constructors reject invalid values.
//!
//! A value of one of these types is valid by construction, so no other code validates it again.

mod change;
mod checksum;
mod name;
mod set;

use std::fmt;

pub use change::SettingsChange;
pub use checksum::{crc32, crc32_of_parts};
pub use name::{NameError, TopicName};
pub use set::{Link, LinkSet, NodeSet};

use crate::limits::DIMENSION_MAX;

/// The number of bits in a node id: 0 (a single node) to 10 (1024 nodes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension(u8);

impl Dimension {
    /// Returns the dimension, or `None` when `bits` is above [`DIMENSION_MAX`].
    pub const fn new(bits: u8) -> Option<Self> {
        if bits <= DIMENSION_MAX { Some(Self(bits)) } else { None }
    }

    /// The number of bits, 0 to 10.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The number of nodes, 1 to 1024.
    pub const fn nodes(self) -> u16 {
        1 << self.0
    }

    /// The number of links of the whole cube, `bits · 2^(bits-1)`.
    pub const fn links(self) -> u16 {
        self.0 as u16 * (self.nodes() / 2)
    }

    /// Every node of the cube in increasing order.
    pub fn all(self) -> impl DoubleEndedIterator<Item = NodeId> {
        (0..self.nodes()).map(NodeId)
    }
}

/// A vertex of a cube, 0 to 1023. [`NodeId::within`] returns whether it lies in a cube of a given dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u16);

impl NodeId {
    /// Returns the node, or `None` when the id does not fit into the dimension's bits.
    pub const fn new(id: u16, dimension: Dimension) -> Option<Self> {
        if id < dimension.nodes() { Some(Self(id)) } else { None }
    }

    /// Returns the vertex that the low bits of `hash` name. Every hash names one.
    pub const fn from_low_bits(hash: u32, dimension: Dimension) -> Self {
        // The mask leaves at most 10 bits, so nothing is cut off.
        #[expect(clippy::cast_possible_truncation, reason = "masked to 10 bits")]
        Self((hash & (dimension.nodes() as u32 - 1)) as u16)
    }

    /// The id as a number.
    pub const fn index(self) -> u16 {
        self.0
    }

    /// Returns true when this vertex exists in a cube of that dimension.
    pub const fn within(self, dimension: Dimension) -> bool {
        self.0 < dimension.nodes()
    }

    /// The number of bits in which two ids differ: the length of a shortest path.
    pub const fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }

    /// The vertex across dimension `bit`.
    ///
    /// # Panics
    /// When `bit` is not below [`DIMENSION_MAX`].
    pub const fn across(self, bit: u8) -> Self {
        assert!(bit < DIMENSION_MAX, "no cube has that dimension");
        Self(self.0 ^ (1 << bit))
    }

    /// Returns the bit in which two neighbours differ, or `None` when the nodes are not neighbours.
    pub const fn edge_to(self, other: Self) -> Option<u8> {
        let differing = self.0 ^ other.0;
        #[expect(clippy::cast_possible_truncation, reason = "at most 9")]
        if differing.is_power_of_two() { Some(differing.trailing_zeros() as u8) } else { None }
    }

    /// Returns the id as `dimension` binary digits, as people write it: `101`.
    pub fn binary(self, dimension: Dimension) -> String {
        format!("{:0width$b}", self.0, width = usize::from(dimension.bits().max(1)))
    }
}

/// The number of slots into which a cube divides its topics: a power of two, 1 to 1024. It is fixed when the cube is
/// created, whereas the dimension of the cube may later grow up to [`Slots::bits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots(u8);

impl Slots {
    /// The most slots that a cube can have.
    pub const MOST: Self = Self(DIMENSION_MAX);

    /// Returns `2^bits` slots, or `None` when `bits` is above [`DIMENSION_MAX`].
    pub const fn new(bits: u8) -> Option<Self> {
        if bits <= DIMENSION_MAX { Some(Self(bits)) } else { None }
    }

    /// Returns as many slots as a cube has nodes.
    pub const fn one_per_node(dimension: Dimension) -> Self {
        Self(dimension.bits())
    }

    /// The number of bits in a slot's number, 0 to 10.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The number of slots, 1 to 1024.
    pub const fn count(self) -> u16 {
        1 << self.0
    }

    /// Every slot in increasing order.
    pub fn all(self) -> impl DoubleEndedIterator<Item = SlotId> {
        (0..self.count()).map(SlotId)
    }
}

/// A slot: a partition of the topics by the hash of their names. All topics of a slot live on the same nodes and move
/// together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u16);

impl SlotId {
    /// Returns the slot, or `None` when `id` is not below the number of slots.
    pub const fn new(id: u16, slots: Slots) -> Option<Self> {
        if id < slots.count() { Some(Self(id)) } else { None }
    }

    /// Returns the slot that the low bits of `hash` name. Every hash names one.
    pub const fn from_low_bits(hash: u32, slots: Slots) -> Self {
        // The mask leaves at most 10 bits, so nothing is cut off.
        #[expect(clippy::cast_possible_truncation, reason = "masked to 10 bits")]
        Self((hash & (slots.count() as u32 - 1)) as u16)
    }

    /// The id as a number.
    pub const fn index(self) -> u16 {
        self.0
    }
}

/// The position of a record in its topic: 0, 1, 2 … in the order of publishing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// Returns the offset `count` records later. It saturates, so an offset never wraps back to 0.
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Defines an id of 64 bits that is never 0, because 0 has another meaning on the wire.
macro_rules! nonzero_id {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::num::NonZeroU64);

        impl $name {
            /// Returns the id, or `None` for 0.
            pub const fn new(id: u64) -> Option<Self> {
                match std::num::NonZeroU64::new(id) {
                    Some(id) => Some(Self(id)),
                    None => None,
                }
            }

            /// The number on the wire.
            pub const fn number(self) -> u64 {
                self.0.get()
            }
        }
    };
}

nonzero_id! {
    /// A topic's identity. Each creation assigns a new one, so that a re-created topic is distinguished from a deleted
    /// topic of the same name. 0 on the wire means "any" and is never the id of a topic.
    TopicId
}

impl TopicId {
    /// Number of low bits of an id that hold the topic's place in its catalogue, so that one table finds a topic by id.
    const PLACE_BITS: u32 = 24;

    /// Number of places that ids can name.
    pub const PLACES: u32 = 1 << Self::PLACE_BITS;

    /// Returns the id of a topic created at `place`; `seed` supplies the random upper bits.
    ///
    /// # Panics
    /// When the place is not below [`Self::PLACES`].
    pub const fn made(seed: u64, place: u32) -> Self {
        assert!(place < Self::PLACES);
        // A seed of 0 at place 0 would give 0, which is not an id.
        match Self::new((seed | 1) << Self::PLACE_BITS | place as u64) {
            Some(id) => id,
            None => unreachable!(),
        }
    }

    /// Returns the topic's place in its catalogue.
    pub const fn place(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "masked to 24 bits")]
        let place = (self.number() & (Self::PLACES as u64 - 1)) as u32;
        place
    }
}

nonzero_id! {
    /// A producer's identity: 64 random bits that a client chose. 0 on the wire means "none".
    ProducerId
}

impl ProducerId {
    /// Returns the id of a producer that a person named: the 64-bit FNV-1a hash of the name's UTF-8 bytes.
    pub fn of_name(name: &str) -> Self {
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x100_0000_01b3;
        let hash = name.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        Self::new(hash).unwrap_or(Self::new(BASIS).expect("not 0"))
    }
}

/// The epoch of a topic's log, raised by each start that cannot exclude loss. 0 on the wire means "any".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// The producer, epoch and sequence number of one batch, by which duplicates are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// The producer of the batch.
    pub producer: ProducerId,
    /// The producer's epoch. A higher epoch fences all lower ones.
    pub epoch: u32,
    /// Number of the batch within its topic and epoch: 0 registers the producer, and each further batch adds 1.
    pub sequence: u64,
}

/// A request to open a producer whose records the topic counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The producer to open.
    pub producer: ProducerId,
    /// Random number that identifies the request. A duplicate of the request carries the same token, so that both
    /// together open only one epoch.
    pub token: u64,
    /// True when the producer may have stored records before; false when it must be new.
    pub resume: bool,
}

/// The retention bounds of a topic. Records beyond a bound are removed from the topic's start. On creation, 0 selects
/// the node's default; in an existing topic, 0 means no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Largest number of records.
    pub records: u64,
    /// Largest total size of records in bytes.
    pub bytes: u64,
    /// Greatest age of a record in milliseconds since its append time.
    pub age_ms: u64,
}

/// The requester's id for a request. The response echoes it; it is unique among the requester's unanswered requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn cube(bits: u8) -> Dimension {
        Dimension::new(bits).unwrap()
    }

    #[test]
    fn constructors_refuse_what_is_out_of_range() {
        assert_eq!(Dimension::new(11), None);
        assert_eq!(NodeId::new(8, cube(3)), None);
        assert_eq!(NodeId::new(1, cube(0)), None);
        assert_eq!(Slots::new(11), None);
        assert_eq!(SlotId::new(8, Slots::one_per_node(cube(3))), None);
        assert_eq!(TopicId::new(0), None);
        assert_eq!(ProducerId::new(0), None);
    }

    #[test]
    fn a_producer_s_name_gives_its_id() {
        // Reference values of 64-bit FNV-1a.
        for (name, id) in [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(ProducerId::of_name(name).number(), id, "{name}");
        }
    }

    #[test]
    fn a_dimension_counts_its_nodes_and_links() {
        for (bits, nodes, links) in [(0, 1, 0), (1, 2, 1), (2, 4, 4), (3, 8, 12), (10, 1024, 5120)] {
            assert_eq!((cube(bits).nodes(), cube(bits).links()), (nodes, links));
        }
    }

    #[test]
    fn ids_are_written_as_binary_digits() {
        for (bits, id, written) in [(3, 5, "101"), (3, 0, "000"), (0, 0, "0"), (4, 1, "0001")] {
            assert_eq!(NodeId::new(id, cube(bits)).unwrap().binary(cube(bits)), written);
        }
    }

    #[test]
    fn neighbours_differ_in_one_bit() {
        let five = NodeId::new(5, cube(3)).unwrap();
        assert_eq!(five.edge_to(five.across(1)), Some(1));
        assert_eq!(five.edge_to(five), None);
        assert_eq!(five.edge_to(NodeId(6)), None);
    }
}
