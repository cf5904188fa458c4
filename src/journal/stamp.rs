//! The stamp of a file: it identifies the cluster, the vertex and the folder that the file was written for. Every file
//! of format 2 or later has one, so that a start notices a file that was moved or copied into another folder.

use std::fmt;

use super::error::OpenError;
use super::identity::Identity;
use crate::types::crc32_of_parts;

/// The id of a folder: 48 random bits, not all 0. A copy of a folder, or a folder restored from a backup, has the id of
/// the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskId(u64);

impl DiskId {
    /// Derives the id of a new folder from random bits.
    pub(super) fn new(random: u64) -> Self {
        Self((random >> 16).max(1))
    }

    /// Returns the id as a number, which is never 0.
    pub(super) const fn number(self) -> u64 {
        self.0
    }

    /// Parses what the display form shows; returns `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id = Self(u64::from_str_radix(text, 16).ok().filter(|id| (1..1 << 48).contains(id))?);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Identifies what a file belongs to: a checksum of the cluster and the vertex, and a checksum of the folder's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    node: u32,
    folder: u32,
}

impl Stamp {
    /// Stands for no stamp, as in files of format 1. Such a file is accepted in every folder.
    pub const NONE: Self = Self { node: 0, folder: 0 };

    /// Returns the stamp of a folder's files. It does not include the dimension, so that the cube may grow.
    pub(super) fn of(identity: &Identity, disk: DiskId) -> Self {
        let node = identity.node.index().to_be_bytes();
        let node = crc32_of_parts([&node[..], identity.cluster.as_bytes()]);
        let folder = crc32_of_parts([&disk.0.to_be_bytes()[..]]);
        // 0 stands for no stamp.
        Self { node, folder: folder.max(1) }
    }

    /// Returns the stamp as a number, for the eight bytes of a file header.
    pub(super) const fn number(self) -> u64 {
        (self.node as u64) << 32 | self.folder as u64
    }

    /// Returns the stamp that the eight bytes of a file header hold.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
    pub(super) const fn from_number(number: u64) -> Self {
        Self { node: (number >> 32) as u32, folder: number as u32 }
    }

    /// Checks that a file with the stamp `found` belongs to the folder that has this stamp.
    ///
    /// # Errors
    /// Returns [`OpenError::Misplaced`] when it does not.
    pub(super) fn check(self, file: &str, found: Self) -> Result<(), OpenError> {
        if found == Self::NONE || found == self {
            return Ok(());
        }
        let is_same_node = found.node == self.node;
        let whose = if is_same_node { "another folder of this node" } else { "another node or cluster" };
        Err(OpenError::Misplaced { file: file.to_owned(), whose })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Copies, Dimension, NodeId};

    #[test]
    fn a_file_of_another_node_cluster_or_folder_is_told_from_the_folder_s_own() {
        let dimension = Dimension::new(3).unwrap();
        let stamp = |cluster: &str, node, random| {
            let node = NodeId::new(node, dimension).unwrap();
            Stamp::of(
                &Identity { cluster: cluster.to_owned(), dimension, node, copies: Copies::One },
                DiskId::new(random),
            )
        };
        let own = stamp("dht", 3, 7 << 20);
        assert_eq!(Stamp::from_number(own.number()), own);
        let cases = [
            (own, None),
            (Stamp::NONE, None),
            (stamp("dht", 2, 7 << 20), Some("another node or cluster")),
            (stamp("dht2", 3, 7 << 20), Some("another node or cluster")),
            (stamp("dht", 3, 8 << 20), Some("another folder of this node")),
        ];
        for (found, expected) in cases {
            let error = own.check("file", found).err().map(|error| error.to_string());
            let is_expected = match (&error, expected) {
                (Some(error), Some(expected)) => error.starts_with(&format!("file belongs to {expected}")),
                (error, expected) => error.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{found:?}: {error:?}");
        }
    }

    #[test]
    fn the_id_of_a_folder_comes_back_from_its_text() {
        for random in [0, 1 << 16, u64::MAX] {
            let id = DiskId::new(random);
            assert_eq!(DiskId::parse(&id.to_string()), Some(id));
        }
        for text in ["", "0", "0000000000000000", "0001000000000000", "00000000000000ZZ", "+000000000000001"] {
            assert_eq!(DiskId::parse(text), None, "{text}");
        }
    }
}
