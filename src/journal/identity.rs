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

/// May this node have the folder? True when it has it already. Nothing is changed, so that this can be asked before the
/// folder is taken.
///
/// # Errors
/// [`OpenError`]: it belongs to another one, or is no journal, or a newer one.
pub fn inspect<D: Disk>(disk: &D, identity: &Identity) -> Result<bool, OpenError> {
    let io = |cause: io::Error| OpenError::io(names::IDENTITY, cause);
    let files = disk.list().map_err(|cause| OpenError::io("the folder", cause))?;
    if files.iter().any(|name| name == names::IDENTITY) {
        let mut bytes = vec![0; LEN_MAX];
        let file = disk.open(names::IDENTITY).map_err(io)?;
        let filled = file.read_at(&mut bytes, 0).map_err(io)?;
        return compare(&String::from_utf8_lossy(&bytes[..filled]), &text(identity)).map(|()| true);
    }
    match files.iter().find(|name| *name != LOCK && !names::is_new(name)) {
        Some(other) => Err(OpenError::Foreign { what: format!("it holds {other:?} and is no journal") }),
        None => Ok(false),
    }
}

/// Makes the folder this node's, or finds that it is.
///
/// # Errors
/// As of [`inspect`].
pub fn claim<D: Disk>(disk: &D, identity: &Identity) -> Result<(), OpenError> {
    if inspect(disk, identity)? {
        return Ok(());
    }
    let io = |cause: io::Error| OpenError::io(names::IDENTITY, cause);
    let new = names::new(names::IDENTITY);
    let mut file = disk.create(&new).map_err(io)?;
    file.write_at(text(identity).as_bytes(), 0).map_err(io)?;
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
