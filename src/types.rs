//! The words of the domain as types whose constructors refuse.
//!
//! Layer 0: everything else may import this, and this imports nothing but `limits`. A value of one of these types is
//! valid by existing, so nothing below checks it a second time.

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
    /// `None` above [`DIMENSION_MAX`].
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

/// A vertex of the cube, 0 to 1023. Whether it lies in a given cube is asked with [`NodeId::within`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u16);

impl NodeId {
    /// `None` when the id does not fit into the dimension's bits.
    pub const fn new(id: u16, dimension: Dimension) -> Option<Self> {
        if id < dimension.nodes() { Some(Self(id)) } else { None }
    }

    /// The vertex that the low bits of `hash` name; every hash names one.
    pub const fn from_low_bits(hash: u32, dimension: Dimension) -> Self {
        // The mask leaves at most 10 bits, so nothing is cut off.
        #[expect(clippy::cast_possible_truncation, reason = "masked to 10 bits")]
        Self((hash & (dimension.nodes() as u32 - 1)) as u16)
    }

    /// The id as a number.
    pub const fn index(self) -> u16 {
        self.0
    }

    /// Does this vertex exist in a cube of that dimension?
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
    /// When `bit` is no dimension of any cube.
    pub const fn across(self, bit: u8) -> Self {
        assert!(bit < DIMENSION_MAX, "no cube has that dimension");
        Self(self.0 ^ (1 << bit))
    }

    /// The bit in which two neighbours differ; `None` when they are not neighbours.
    pub const fn edge_to(self, other: Self) -> Option<u8> {
        let differing = self.0 ^ other.0;
        #[expect(clippy::cast_possible_truncation, reason = "at most 9")]
        if differing.is_power_of_two() { Some(differing.trailing_zeros() as u8) } else { None }
    }

    /// The id as `dimension` binary digits, as people write it: `101`.
    pub fn binary(self, dimension: Dimension) -> String {
        format!("{:0width$b}", self.0, width = usize::from(dimension.bits().max(1)))
    }
}

/// The position of a record in its topic: 0, 1, 2 … in the order of publishing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `count` records later. Saturates: an offset never wraps back to 0.
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An id of 64 bits whose 0 means something else on the wire.
macro_rules! nonzero_id {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::num::NonZeroU64);

        impl $name {
            /// `None` for 0.
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
    /// A topic's identity: a new one at each creation, so that a deleted and re-created name is told apart. 0 on the
    /// wire means "any" and is never one.
    TopicId
}

impl TopicId {
    /// Low bits of an id that are the topic's place in its catalogue, so that one table finds a topic by id.
    const PLACE_BITS: u32 = 24;

    /// Places that ids can name.
    pub const PLACES: u32 = 1 << Self::PLACE_BITS;

    /// Returns the id of a topic that is made with this random number at this place.
    ///
    /// # Panics
    /// When the place is not below [`Self::PLACES`].
    pub const fn made(seed: u64, place: u32) -> Self {
        assert!(place < Self::PLACES);
        // A seed of 0 at place 0 would be no id.
        match Self::new((seed | 1) << Self::PLACE_BITS | place as u64) {
            Some(id) => id,
            None => unreachable!(),
        }
    }

    /// Returns the topic's place.
    pub const fn place(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "masked to 24 bits")]
        let place = (self.number() & (Self::PLACES as u64 - 1)) as u32;
        place
    }
}

nonzero_id! {
    /// A producer: 64 random bits that a client chose. 0 on the wire means "none".
    ProducerId
}

impl ProducerId {
    /// The id of a producer that a person has given a name: FNV-1a in 64 bits over its UTF-8.
    pub fn of_name(name: &str) -> Self {
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x100_0000_01b3;
        let hash = name.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        Self::new(hash).unwrap_or(Self::new(BASIS).expect("not 0"))
    }
}

/// The life of a topic's log: raised whenever a start cannot exclude loss. 0 on the wire means "any".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// One batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// Who.
    pub producer: ProducerId,
    /// Which of its lives: a higher one fences the lower ones.
    pub epoch: u32,
    /// Which of its batches to this topic: 0 registers it, then each is one more.
    pub sequence: u64,
}

/// How a producer is opened that has its records counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Which.
    pub producer: ProducerId,
    /// Random: a request that comes twice has the same one, and opens one epoch.
    pub token: u64,
    /// True when the producer may have stored records before; false when it must be new.
    pub resume: bool,
}

/// What a topic keeps; what is beyond is removed from its start. When a topic is made, 0 is the node's default; of a
/// topic that is there, 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Most records.
    pub records: u64,
    /// Most bytes of records.
    pub bytes: u64,
    /// Most milliseconds since it was appended.
    pub age_ms: u64,
}

/// What a requester calls its request: echoed in the response, unique among its unanswered ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A connection of this process. The generation tells a late event of a closed connection from one of the
/// connection that took its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Index in the server's table.
    pub slot: u32,
    /// Raised each time the slot is used again.
    pub generation: u32,
}

/// The time as the core is told it; the core has no clock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since an arbitrary start; never goes back.
    pub monotonic_us: u64,
    /// Microseconds since 1970; may jump. Only for the times that records carry.
    pub wall_us: u64,
}

impl Now {
    /// The monotonic instant `micros` from now.
    pub const fn after_us(self, micros: u64) -> u64 {
        self.monotonic_us.saturating_add(micros)
    }
}

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
        assert_eq!(TopicId::new(0), None);
        assert_eq!(ProducerId::new(0), None);
    }

    #[test]
    fn a_producer_s_name_gives_its_id() {
        // The values are those of FNV-1a in 64 bits.
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
