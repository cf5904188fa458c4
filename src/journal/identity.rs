//! The identity of a journal: a small text file that says which node the journal in a folder belongs to.
//!
//! ```text
//! dht-node journal, format 3
//! node 101 of a cube of dimension 3, cluster dht
//! disk 00005e2ac9014d77                            the id of this folder; not in format 1
//! replicas 3                                       how many nodes store each topic; 1 if the line is absent
//! ```

use std::io;

use super::disk::{Disk, DiskFile, LOCK};
use super::error::OpenError;
use super::format::VERSION;
use super::manifest::Manifest;
use super::names;
use super::reader::read_part;
use super::stamp::{DiskId, Stamp};
use crate::types::{Copies, Dimension, NodeId};

/// The node that a journal belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of the cluster.
    pub cluster: String,
    /// The dimension of the cube.
    pub dimension: Dimension,
    /// The vertex.
    pub node: NodeId,
    /// The number of nodes that store each topic (`--replicas`).
    pub copies: Copies,
}

/// More bytes than any identity has.
const LEN_MAX: usize = 1024;

/// Checks that this node may use the folder: it is empty, or holds this node's journal or a backup of it. Returns the
/// format version of that journal or backup, and `None` when the folder is empty. Changes nothing, so that it can be
/// called before the folder is claimed.
///
/// # Errors
/// Returns [`OpenError::Foreign`] when the folder belongs to another node or is not a journal, [`OpenError::Newer`]
/// when a newer program wrote it, and [`OpenError::Io`] when the file system fails.
pub fn check_owner<D: Disk>(disk: &D, identity: &Identity) -> Result<Option<u32>, OpenError> {
    if let Some(found) = find(disk)? {
        return version_of(&found, identity).map(Some);
    }
    refuse_unfinished(disk)?;
    let files = disk.list().map_err(|cause| OpenError::io("the folder", cause))?;
    match files.iter().find(|name| *name != LOCK && !names::is_new(name)) {
        Some(other) => Err(OpenError::Foreign { what: format!("it holds {other:?} and is not a journal") }),
        None => Ok(None),
    }
}

/// Reads which node the journal or the backup in a folder belongs to.
///
/// # Errors
/// Returns [`OpenError::Foreign`] when the folder holds neither, [`OpenError::Newer`] when a newer program wrote it,
/// and [`OpenError::Io`] when the file system fails.
pub fn owner<D: Disk>(disk: &D) -> Result<Identity, OpenError> {
    let Some(found) = find(disk)? else {
        refuse_unfinished(disk)?;
        return Err(none());
    };
    parse(&found)
}

/// Reads the format version of the journal or the backup in a folder.
///
/// # Errors
/// Returns the errors of [`owner`].
pub(super) fn format<D: Disk>(disk: &D) -> Result<u32, OpenError> {
    let found = find(disk)?.ok_or_else(none)?;
    version_of(&found, &parse(&found)?)
}

/// Returns the identity text of the journal or the backup in a folder; `None` when the folder holds neither. A folder
/// that is being restored has both a manifest and an identity file; the manifest takes precedence.
fn find<D: Disk>(disk: &D) -> Result<Option<String>, OpenError> {
    if let Some(manifest) = Manifest::read(disk)? {
        return Ok(Some(manifest.identity));
    }
    match text_of(disk, names::IDENTITY) {
        Ok(text) => Ok(Some(text)),
        Err(OpenError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a small text file.
pub(super) fn text_of<D: Disk>(disk: &D, name: &str) -> Result<String, OpenError> {
    read_part(disk, name, 0, LEN_MAX).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn refuse_unfinished<D: Disk>(disk: &D) -> Result<(), OpenError> {
    let files = disk.list().map_err(|cause| OpenError::io("the folder", cause))?;
    if files.iter().any(|name| name == names::UNFINISHED) {
        return Err(OpenError::Unfinished);
    }
    Ok(())
}

fn none() -> OpenError {
    OpenError::Foreign { what: "it is not a journal".to_owned() }
}

/// Parses the text of an identity.
///
/// # Errors
/// Returns the errors of [`owner`] about its content.
pub(super) fn parse(found: &str) -> Result<Identity, OpenError> {
    let parsed = found.lines().nth(1).and_then(|line| {
        let (node, rest) = line.strip_prefix("node ")?.split_once(" of a cube of dimension ")?;
        let (bits, cluster) = rest.split_once(", cluster ")?;
        let dimension = Dimension::new(bits.parse().ok()?)?;
        // In a cube of dimension 0 the only node's id has no digits.
        let index = u16::from_str_radix(node, 2).unwrap_or(0);
        let (cluster, node) = (cluster.to_owned(), NodeId::new(index, dimension)?);
        Some(Identity { cluster, dimension, node, copies: copies_of(found) })
    });
    let identity = parsed.ok_or_else(none)?;
    version_of(found, &identity).map(|_| identity)
}

/// Claims an empty folder for this node, with an id that is made from `random` bits; does nothing when the folder is
/// this node's already.
///
/// # Errors
/// Returns the errors of [`check_owner`], or that of writing the file.
pub fn claim<D: Disk>(disk: &D, identity: &Identity, random: u64) -> Result<(), OpenError> {
    if check_owner(disk, identity)?.is_some() { Ok(()) } else { write(disk, identity, DiskId::new(random)) }
}

/// Returns the stamp of the files of the journal or the backup in a folder; [`Stamp::NONE`] when the folder has no id.
///
/// # Errors
/// Returns the errors of [`owner`], except that a folder that holds neither is not an error.
pub(super) fn stamp<D: Disk>(disk: &D) -> Result<Stamp, OpenError> {
    let Some(found) = find(disk)? else { return Ok(Stamp::NONE) };
    let identity = parse(&found)?;
    Ok(disk_of(&found).map_or(Stamp::NONE, |disk| Stamp::of(&identity, disk)))
}

/// Raises the format version of this node's folder to [`VERSION`]. A start does this once everything has been read and
/// before it writes anything in that format, so that an older program refuses the folder instead of meeting data that
/// it cannot read. A folder of format 1 gets an id, which is made from `random` bits. Returns the stamp for files that
/// are written from then on, and the id of the folder.
///
/// # Errors
/// Returns the errors of [`check_owner`], or that of writing the file.
pub fn raise_format<D: Disk>(disk: &D, identity: &Identity, random: u64) -> Result<(Stamp, u64), OpenError> {
    let version = check_owner(disk, identity)?;
    let found = find(disk)?;
    let known = found.as_deref().and_then(disk_of);
    let id = known.unwrap_or_else(|| DiskId::new(random));
    let gets_copies = found.is_some_and(|found| copies_of(&found) != identity.copies);
    if version != Some(VERSION) || known.is_none() || gets_copies {
        write(disk, identity, id)?;
    }
    Ok((Stamp::of(identity, id), id.number()))
}

fn write<D: Disk>(disk: &D, identity: &Identity, id: DiskId) -> Result<(), OpenError> {
    let io = |cause: io::Error| OpenError::io(names::IDENTITY, cause);
    let new = names::new(names::IDENTITY);
    let mut file = disk.create(&new).map_err(io)?;
    file.write_at(text(identity, VERSION, Some(id)).as_bytes(), 0).map_err(io)?;
    file.sync().map_err(io)?;
    disk.rename(&new, names::IDENTITY).map_err(io)?;
    disk.sync_names().map_err(io)
}

fn version_of(found: &str, identity: &Identity) -> Result<u32, OpenError> {
    // A folder of a cube with one copy of each topic can become one of a cube with three, but not the other way round.
    let copies = if copies_of(found) == Copies::One { Copies::One } else { identity.copies };
    let expected = Identity { copies, ..identity.clone() };
    if let Some(version) = (1..=VERSION).find(|version| found == text(&expected, *version, disk_of(found))) {
        return Ok(version);
    }
    let version = found.lines().next().and_then(|line| line.strip_prefix("dht-node journal, format "));
    match version.and_then(|version| version.parse().ok()) {
        Some(version) if version > VERSION => {
            Err(OpenError::Newer { file: names::IDENTITY.to_owned(), version: Some(version) })
        }
        Some(_) => {
            let whose = found.lines().nth(1).unwrap_or("nobody");
            let copies = copies_of(found);
            let and = if copies == Copies::One { String::new() } else { format!(", started with --replicas {copies}") };
            Err(OpenError::Foreign { what: format!("it belongs to {whose}{and}") })
        }
        None => Err(OpenError::Foreign { what: "it is not a journal".to_owned() }),
    }
}

/// Returns the id of the folder in the text of an identity; `None` in format 1.
fn disk_of(found: &str) -> Option<DiskId> {
    DiskId::parse(found.lines().nth(2)?.strip_prefix("disk ")?)
}

/// Returns the number of nodes that store each topic, according to the text of an identity: one, if the text has no
/// valid number.
fn copies_of(found: &str) -> Copies {
    let number = found.lines().nth(3).and_then(|line| line.strip_prefix("replicas ")?.parse().ok());
    number.and_then(Copies::new).unwrap_or(Copies::One)
}

/// Returns the text of an identity in that format version.
fn text(identity: &Identity, version: u32, id: Option<DiskId>) -> String {
    let Identity { cluster, dimension, node, copies } = identity;
    let (node, bits) = (node.binary(*dimension), dimension.bits());
    let id = id.filter(|_| version > 1).map_or_else(String::new, |id| format!("disk {id}\n"));
    let copies = match copies {
        Copies::One => String::new(),
        Copies::Three => format!("replicas {copies}\n"),
    };
    format!(
        "dht-node journal, format {version}\nnode {node} of a cube of dimension {bits}, cluster {cluster}\n{id}{copies}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Folder;

    #[test]
    fn a_folder_remembers_how_many_nodes_keep_each_topic() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::make(folder.path().to_owned()).unwrap();
        let dimension = Dimension::new(2).unwrap();
        let node = NodeId::new(1, dimension).unwrap();
        let identity = |copies| Identity { cluster: "dht".to_owned(), dimension, node, copies };
        let read = || text_of(&disk, names::IDENTITY).unwrap();
        let (one, three) = (identity(Copies::One), identity(Copies::Three));
        claim(&disk, &one, 7 << 20).unwrap();
        let before = read();
        assert_eq!(owner(&disk).unwrap(), one);
        raise_format(&disk, &one, 8 << 20).unwrap();
        assert_eq!(read(), before, "it keeps its id");
        // It gets more copies, but only once a start has read everything.
        claim(&disk, &three, 8 << 20).unwrap();
        assert_eq!(read(), before);
        raise_format(&disk, &three, 8 << 20).unwrap();
        assert_eq!((read(), owner(&disk).unwrap()), (format!("{before}replicas 3\n"), three));
        for refused in [claim(&disk, &one, 0).err(), raise_format(&disk, &one, 0).err()] {
            assert!(matches!(refused, Some(OpenError::Foreign { .. })), "{refused:?}");
        }
    }
}
