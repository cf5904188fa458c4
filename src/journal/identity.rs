//! Whose journal a folder holds: a small file of text, so that a person can read it too.

use std::io;

use super::disk::{Disk, DiskFile, LOCK};
use super::error::OpenError;
use super::format::VERSION;
use super::names;
use crate::types::{Dimension, NodeId};

/// The node that a journal belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: String,
    /// Its cube.
    pub dimension: Dimension,
    /// Its vertex.
    pub node: NodeId,
}

/// Longer than any identity.
const LEN_MAX: usize = 1024;

/// Makes the folder this node's, or finds that it is.
///
/// # Errors
/// [`OpenError`]: it belongs to another one, or is no journal, or a newer one.
pub fn claim<D: Disk>(disk: &D, identity: &Identity) -> Result<(), OpenError> {
    let io = |cause: io::Error| OpenError::io(names::IDENTITY, cause);
    let expected = text(identity);
    let files = disk.list().map_err(|cause| OpenError::io("the folder", cause))?;
    if files.iter().any(|name| name == names::IDENTITY) {
        let mut bytes = vec![0; LEN_MAX];
        let file = disk.open(names::IDENTITY).map_err(io)?;
        let filled = file.read_at(&mut bytes, 0).map_err(io)?;
        return compare(&String::from_utf8_lossy(&bytes[..filled]), &expected);
    }
    if let Some(other) = files.iter().find(|name| *name != LOCK && !names::is_new(name)) {
        return Err(OpenError::Foreign { what: format!("it holds {other:?} and is no journal") });
    }
    let new = names::new(names::IDENTITY);
    let mut file = disk.create(&new).map_err(io)?;
    file.write_at(expected.as_bytes(), 0).map_err(io)?;
    file.sync().map_err(io)?;
    disk.rename(&new, names::IDENTITY).map_err(io)?;
    disk.sync_names().map_err(io)
}

fn compare(found: &str, expected: &str) -> Result<(), OpenError> {
    if found == expected {
        return Ok(());
    }
    let version = found.lines().next().and_then(|line| line.strip_prefix("dht-node journal, format "));
    match version.and_then(|version| version.parse().ok()) {
        Some(version) if version > VERSION => Err(OpenError::Newer { file: names::IDENTITY.to_owned(), version }),
        Some(_) => {
            let whose = found.lines().nth(1).unwrap_or("nobody");
            Err(OpenError::Foreign { what: format!("it belongs to {whose}") })
        }
        None => Err(OpenError::Foreign { what: "it is no journal".to_owned() }),
    }
}

fn text(identity: &Identity) -> String {
    let Identity { cluster, dimension, node } = identity;
    let (node, bits) = (node.binary(*dimension), dimension.bits());
    format!("dht-node journal, format {VERSION}\nnode {node} of a cube of dimension {bits}, cluster {cluster}\n")
}
