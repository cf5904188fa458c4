//! The route section of a frame between nodes: its source, its target, and the dead links that it met. A hop rewrites
//! this section and nothing else.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | source: the node that originated the frame |
//! | 2 | 2 | target: the node, or the vertex of the group, that the frame is for |
//! | 4 | 2 | ttl: number of hops left |
//! | 6 | 2 | hops: number of hops made |
//! | 8 | 1 | kind |
//! | 9 | 1 | class (low four bits), dimension in which the frame is routed (high four bits; 0: that of HELLO) |
//! | 10 | 1 | number of words in the set of links |
//! | 11 | 1 | number of words in the set of targets |
//! | 12 | 8 | origin: the ingress's pending entry, echoed by the response |
//! | 20 | 8 each | the dead links that the frame met; absent if there are none |
//! | … | 8 each | the targets of a multicast |
//! | last 4 | 4 | CRC-32 of the section before it |

use byteorder::{BigEndian, ByteOrder};

use crate::types::{Dimension, LinkSet, NodeId, NodeSet, crc32};

/// Size of a route section without sets, in bytes.
pub const ROUTE_BYTES_MIN: usize = FIXED_BYTES + CRC_BYTES;

const FIXED_BYTES: usize = at::ORIGIN.end;
const CRC_BYTES: usize = 4;
/// Number of low bits that hold the class; the bits above hold the dimension.
const CLASS_BITS: u8 = 4;

/// Positions of the fixed fields in a route section.
#[expect(missing_docs, reason = "they are named like the fields of `Route`")]
pub mod at {
    use std::ops::Range;

    pub const SOURCE: Range<usize> = 0..2;
    pub const TARGET: Range<usize> = 2..4;
    pub const TTL: Range<usize> = 4..6;
    pub const HOPS: Range<usize> = 6..8;
    pub const KIND: usize = 8;
    pub const CLASS: usize = 9;
    pub const LINK_WORDS: usize = 10;
    pub const TARGET_WORDS: usize = 11;
    pub const ORIGIN: Range<usize> = 12..20;
}

/// The kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The node `target`.
    Node = 0,
    /// The group of the vertex `target`: any of its members accepts the frame. With one member per group, this is
    /// `Node`.
    Group = 1,
    /// All nodes in the set of targets.
    Multicast = 2,
}

/// The traffic class, which determines whether a frame may be refused or dropped when a send queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficClass {
    /// Traffic caused by clients.
    Bulk = 0,
    /// Small frames that the nodes themselves cause, for which there is always room.
    Control = 1,
}

/// Identifies an entry in the ingress's table of pending requests. The response carries it back, so that transit nodes
/// need no table; the generation keeps a late response from reaching the wrong request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// 16 random bits that only this start of the ingress knows.
    pub mark: u16,
    /// Generation of the slot: how often it was used, 24 bits.
    pub generation: u32,
    /// Index of the slot in the ingress's table, 24 bits.
    pub slot: u32,
}

impl Origin {
    /// Number of bits of slots and generations.
    pub const BITS: u32 = 24;

    /// Returns the number on the wire: `mark · generation · slot`.
    pub const fn number(self) -> u64 {
        (self.mark as u64) << (2 * Self::BITS) | (self.generation as u64) << Self::BITS | self.slot as u64
    }

    /// Converts the number on the wire; every number is valid.
    pub const fn from_number(number: u64) -> Self {
        let mask = (1u64 << Self::BITS) - 1;
        #[expect(clippy::cast_possible_truncation, reason = "masked to 24 and shifted to 16 bits")]
        Self {
            mark: (number >> (2 * Self::BITS)) as u16,
            generation: ((number >> Self::BITS) & mask) as u32,
            slot: (number & mask) as u32,
        }
    }
}

/// A valid route section: every node id is within the section's dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The node that originated the frame.
    pub source: NodeId,
    /// The node, or the vertex of the group, that the frame is for.
    pub target: NodeId,
    /// Number of hops left.
    pub ttl: u16,
    /// Number of hops made.
    pub hops: u16,
    /// The kind of target.
    pub kind: Kind,
    /// The traffic class.
    pub class: TrafficClass,
    /// The dimension in which every node routes this frame. While a cube grows, nodes may differ about its dimension,
    /// and a frame that each of them routed in its own could circulate forever.
    pub dimension: Dimension,
    /// The ingress's pending entry, which the response echoes.
    pub origin: Origin,
    /// The dead links that the frame met.
    pub down: LinkSet,
    /// The targets of a multicast; otherwise empty.
    pub targets: NodeSet,
}

impl Route {
    /// Returns the size of the section in bytes.
    #[expect(clippy::arithmetic_side_effects, reason = "sets of a cube of 10 dimensions have at most 96 words")]
    pub fn encoded_len(&self) -> usize {
        ROUTE_BYTES_MIN + 8 * (self.down.words().len() + self.targets.words().len())
    }

    /// Appends the encoded section to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let words = |count: usize| u8::try_from(count).expect("a set of a cube of 10 dimensions has 80 words at most");
        let mut section = [0; ROUTE_BYTES_MIN];
        let (fixed, crc) = section.split_at_mut(FIXED_BYTES);
        BigEndian::write_u16(&mut fixed[at::SOURCE], self.source.index());
        BigEndian::write_u16(&mut fixed[at::TARGET], self.target.index());
        BigEndian::write_u16(&mut fixed[at::TTL], self.ttl);
        BigEndian::write_u16(&mut fixed[at::HOPS], self.hops);
        fixed[at::KIND] = self.kind as u8;
        fixed[at::CLASS] = self.class as u8 | self.dimension.bits() << CLASS_BITS;
        fixed[at::LINK_WORDS] = words(self.down.words().len());
        fixed[at::TARGET_WORDS] = words(self.targets.words().len());
        BigEndian::write_u64(&mut fixed[at::ORIGIN], self.origin.number());
        if self.down.is_empty() && self.targets.is_empty() {
            // Nearly every frame has no sets: the section is assembled first, so that the buffer's capacity is checked
            // once.
            BigEndian::write_u32(crc, crc32(fixed));
            out.extend_from_slice(&section);
            return;
        }
        let start = out.len();
        out.extend_from_slice(fixed);
        for word in self.down.words().iter().chain(self.targets.words()) {
            out.extend_from_slice(&word.to_be_bytes());
        }
        let crc = crc32(&out[start..]);
        out.extend_from_slice(&crc.to_be_bytes());
    }

    /// Changes the origin in an encoded section.
    pub(super) fn set_origin(section: &mut [u8], origin: Origin) {
        let (body, crc) = section.split_last_chunk_mut::<CRC_BYTES>().expect("a section ends with its checksum");
        BigEndian::write_u64(&mut body[at::ORIGIN], origin.number());
        BigEndian::write_u32(crc, crc32(body));
    }

    /// Decodes a route section of at least [`ROUTE_BYTES_MIN`] bytes, at a node of a cube of dimension `own`.
    ///
    /// # Errors
    /// Returns [`RouteError`], which says what is wrong with the section.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "a set has at most 255 words, and the section's length was compared with theirs"
    )]
    pub fn decode(section: &[u8], own: Dimension) -> Result<Self, RouteError> {
        let Some(sets_len) = section.len().checked_sub(ROUTE_BYTES_MIN) else { return Err(RouteError::Length) };
        let (body, crc) = section.split_at(section.len() - CRC_BYTES);
        if crc32(body) != BigEndian::read_u32(crc) {
            return Err(RouteError::Crc);
        }
        let (link_words, target_words) = (usize::from(body[at::LINK_WORDS]), usize::from(body[at::TARGET_WORDS]));
        if sets_len != 8 * (link_words + target_words) {
            return Err(RouteError::Length);
        }
        let dimension = dimension(body[at::CLASS] >> CLASS_BITS, own)?;
        let node = |number: &[u8]| NodeId::new(BigEndian::read_u16(number), dimension).ok_or(RouteError::Node);
        let words = |from: usize, count: usize| -> Vec<u64> {
            body[FIXED_BYTES + 8 * from..][..8 * count].chunks_exact(8).map(BigEndian::read_u64).collect()
        };
        // Nearly every frame carries no sets.
        let down = || match link_words {
            0 => Some(LinkSet::new()),
            _ => LinkSet::from_words(words(0, link_words), dimension),
        };
        let targets = || match target_words {
            0 => Some(NodeSet::new()),
            _ => NodeSet::from_words(words(link_words, target_words), dimension),
        };
        Ok(Self {
            source: node(&body[at::SOURCE])?,
            target: node(&body[at::TARGET])?,
            ttl: BigEndian::read_u16(&body[at::TTL]),
            hops: BigEndian::read_u16(&body[at::HOPS]),
            kind: kind(body[at::KIND])?,
            class: class(body[at::CLASS] & ((1 << CLASS_BITS) - 1))?,
            dimension,
            origin: Origin::from_number(BigEndian::read_u64(&body[at::ORIGIN])),
            down: down().ok_or(RouteError::Links)?,
            targets: targets().ok_or(RouteError::Targets)?,
        })
    }
}

fn kind(byte: u8) -> Result<Kind, RouteError> {
    match byte {
        0 => Ok(Kind::Node),
        1 => Ok(Kind::Group),
        2 => Ok(Kind::Multicast),
        _ => Err(RouteError::Kind),
    }
}

fn class(byte: u8) -> Result<TrafficClass, RouteError> {
    match byte {
        0 => Ok(TrafficClass::Bulk),
        1 => Ok(TrafficClass::Control),
        _ => Err(RouteError::Class),
    }
}

/// Returns the dimension in which a frame is routed, from the four bits of its section; 0 stands for `own`.
fn dimension(stamp: u8, own: Dimension) -> Result<Dimension, RouteError> {
    match stamp {
        0 => Ok(own),
        _ => Dimension::new(stamp).filter(|stamped| *stamped <= own).ok_or(RouteError::Dimension),
    }
}

/// Why a route section is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The length of the section does not match its parts, or the section is present without the ROUTED flag or the
    /// other way round.
    #[error("its length does not match its parts and the ROUTED flag")]
    Length,
    /// The section is corrupt.
    #[error("it does not match its checksum")]
    Crc,
    /// The source or the target is not in the cube.
    #[error("source or target is not a node of this cube")]
    Node,
    /// The kind is unknown.
    #[error("unknown kind")]
    Kind,
    /// The class is unknown.
    #[error("unknown class")]
    Class,
    /// The frame is routed in more dimensions than this node's cube has.
    #[error("the frame is routed in more dimensions than this cube has")]
    Dimension,
    /// The set of links has a link outside the cube, or is not in canonical form.
    #[error("the set of links has a link outside this cube or is not in canonical form")]
    Links,
    /// The set of targets has a node outside the cube, or is not in canonical form.
    #[error("the set of targets has a node outside this cube or is not in canonical form")]
    Targets,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cube(bits: u8) -> Dimension {
        Dimension::new(bits).unwrap()
    }

    /// Returns the section of a frame from node 1 to node 2, with the given byte for class and dimension.
    fn section(class: u8) -> Vec<u8> {
        let node = |id| NodeId::new(id, cube(2)).unwrap();
        let route = Route {
            source: node(1),
            target: node(2),
            ttl: 9,
            hops: 0,
            kind: Kind::Node,
            class: TrafficClass::Bulk,
            dimension: cube(2),
            origin: Origin::from_number(7),
            down: LinkSet::new(),
            targets: NodeSet::new(),
        };
        let mut bytes = vec![];
        route.encode(&mut bytes);
        assert_eq!(bytes[9], 0x20, "the sender states the dimension in which the frame is routed");
        bytes[9] = class;
        let crc = crc32(&bytes[..FIXED_BYTES]);
        bytes[FIXED_BYTES..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    #[test]
    fn a_frame_is_routed_in_the_dimension_of_its_stamp() {
        use TrafficClass::{Bulk, Control};
        for (byte, expected) in [
            (0x00, Ok((Bulk, 3))),
            (0x01, Ok((Control, 3))),
            (0x20, Ok((Bulk, 2))),
            (0x31, Ok((Control, 3))),
            (0x02, Err(RouteError::Class)),
            (0x3F, Err(RouteError::Class)),
            (0x40, Err(RouteError::Dimension)),
            (0xB0, Err(RouteError::Dimension)),
            (0x10, Err(RouteError::Node)),
        ] {
            let found = Route::decode(&section(byte), cube(3)).map(|route| (route.class, route.dimension.bits()));
            assert_eq!(found, expected, "{byte:#04x}");
        }
    }
}
