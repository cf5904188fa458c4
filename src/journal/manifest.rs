//! The manifest of a backup: whose backup it is, and which files belong to it, each with its length and checksum.
//!
//! ```text
//! dht-node backup of:
//! dht-node journal, format 3                       the lines of the journal's own `identity`
//! node 101 of a cube of dimension 3, cluster dht
//! disk 00005e2ac9014d77
//! 0000000042.log 67108864 1c291ca3                 name, bytes, CRC-32
//! end 5a0b6c11                                     CRC-32 of all lines before
//! ```
//!
//! A folder is a backup while it has a manifest, and a backup has no `identity`: a copy of it that lacks the manifest
//! is never taken for a journal. The manifest is replaced as a whole, after everything that it lists is durable. A
//! listed file that differs from the one of the previous backup is written as `….new` and renamed once the manifest is
//! durable, so that the previous backup stays complete until then. Whoever reads a manifest completes these renames
//! first.
//!
//! Indexes are not listed: they follow from the segments, and a start checks or rebuilds them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::disk::{Disk, LOCK};
use super::error::OpenError;
use super::identity;
use super::keeper::write_file;
use super::names;
use super::reader::read_part;
use crate::types::crc32;

/// The first line of a manifest.
const TITLE: &str = "dht-node backup of:";

/// The files of a backup by name, each with its length in bytes and its checksum.
pub(super) type Files = BTreeMap<String, (u64, u32)>;

/// A decoded manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The text of the journal's `identity`: three or four lines, or two in format 1.
    pub(super) identity: String,
    pub(super) files: Files,
}

/// Returns the length and the checksum of a file's content.
pub(super) fn content(bytes: &[u8]) -> (u64, u32) {
    (bytes.len() as u64, crc32(bytes))
}

impl Manifest {
    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\n{}", self.identity);
        for (name, (len, crc)) in &self.files {
            let _ = writeln!(text, "{name} {len} {crc:08x}");
        }
        let crc = crc32(text.as_bytes());
        let _ = writeln!(text, "end {crc:08x}");
        text
    }

    fn decode(text: &str) -> Option<Self> {
        let at = text.strip_suffix('\n')?.rfind('\n')? + 1;
        let (lines, end) = text.split_at(at);
        let crc = u32::from_str_radix(end.trim_end().strip_prefix("end ")?, 16).ok()?;
        let mut rest = lines.strip_prefix(TITLE)?.strip_prefix('\n')?.split_inclusive('\n').peekable();
        let mut identity = [rest.next()?, rest.next()?].concat();
        identity.extend(rest.next_if(|line| line.starts_with("disk ")));
        identity.extend(rest.next_if(|line| line.starts_with("replicas ")));
        let line = |line: &str| {
            let mut words = line.trim_end().split(' ');
            let name = words.next()?.to_owned();
            Some((name, (words.next()?.parse().ok()?, u32::from_str_radix(words.next()?, 16).ok()?)))
        };
        let files = rest.map(line).collect::<Option<Files>>()?;
        (crc == crc32(lines.as_bytes())).then_some(Self { identity, files })
    }

    /// Reads the manifest of a folder; returns `None` when the folder has none and so is not a backup.
    ///
    /// # Errors
    /// Returns [`OpenError::Foreign`] when the manifest is damaged, and [`OpenError::Io`] when the file system fails.
    pub(super) fn read<D: Disk>(disk: &D) -> Result<Option<Self>, OpenError> {
        let bytes = match read_part(disk, names::MANIFEST, 0, usize::MAX) {
            Ok(bytes) => bytes,
            Err(OpenError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = || OpenError::Foreign {
            what: format!("the manifest of the backup in it ({}) is damaged", names::MANIFEST),
        };
        Self::decode(&String::from_utf8_lossy(&bytes)).map(Some).ok_or_else(damaged)
    }

    /// Writes the manifest. Everything that it lists must be durable, names included.
    pub(super) fn write<D: Disk>(&self, disk: &D) -> io::Result<()> {
        write_file(disk, names::MANIFEST, self.encode().as_bytes())?;
        disk.sync_names()
    }

    /// Completes the renames of a backup that stopped after its manifest was durable.
    ///
    /// # Errors
    /// Returns [`OpenError::Io`] when the file system fails.
    pub(super) fn complete<D: Disk>(&self, disk: &D, present: &[String]) -> Result<(), OpenError> {
        for (name, listed) in &self.files {
            let new = names::new(name);
            // Such a file may also come from a later backup that was not completed.
            if present.contains(&new) && content(&read_part(disk, &new, 0, usize::MAX)?) == *listed {
                disk.rename(&new, name).map_err(|cause| OpenError::io(name, cause))?;
            }
            // An index that does not fit its segment is rebuilt by the start.
            let index = names::segment_number(name).map(names::index).unwrap_or_default();
            if present.contains(&names::new(&index)) {
                disk.rename(&names::new(&index), &index).map_err(|cause| OpenError::io(&index, cause))?;
            }
        }
        disk.sync_names().map_err(folder_error)
    }

    /// Returns true when a file belongs to the backup.
    pub(super) fn has(&self, name: &str) -> bool {
        let is_index = names::index_number(name).is_some_and(|number| self.files.contains_key(&names::segment(number)));
        is_index || self.files.contains_key(name) || [names::MANIFEST, LOCK].contains(&name)
    }

    /// Checks every listed file against its length and checksum.
    ///
    /// # Errors
    /// Returns [`OpenError`] about the first file that differs or cannot be read.
    fn check<D: Disk>(&self, disk: &D) -> Result<(), OpenError> {
        for (name, listed) in &self.files {
            if content(&read_part(disk, name, 0, usize::MAX)?) != *listed {
                return Err(OpenError::damaged(name, 0, "its length or checksum differs from the backup's manifest"));
            }
        }
        Ok(())
    }
}

pub(super) fn folder_error(cause: io::Error) -> OpenError {
    OpenError::io("the folder", cause)
}

/// Begins to restore the backup in a folder: checks every listed file and removes all others. Returns false when the
/// folder is not a backup. When this returns true, the caller must recover the journal, begin new epochs, make them
/// durable, and then call [`end_restore`]. Until then the folder remains a backup, and the next start begins the
/// restore again.
///
/// # Errors
/// Returns [`OpenError`] when a file is missing or damaged, or the file system fails.
pub fn begin_restore<D: Disk>(disk: &D) -> Result<bool, OpenError> {
    let Some(manifest) = Manifest::read(disk)? else { return Ok(false) };
    manifest.complete(disk, &disk.list().map_err(folder_error)?)?;
    manifest.check(disk)?;
    for name in disk.list().map_err(folder_error)?.iter().filter(|name| !manifest.has(name)) {
        disk.remove(name).map_err(|cause| OpenError::io(name, cause))?;
    }
    write_file(disk, names::IDENTITY, manifest.identity.as_bytes()).map_err(folder_error)?;
    disk.sync_names().map_err(folder_error)?;
    Ok(true)
}

/// Ends a restore: from here on, the folder is an ordinary journal.
///
/// # Errors
/// Returns the error of the file system.
pub fn end_restore<D: Disk>(disk: &D) -> io::Result<()> {
    disk.remove(names::MANIFEST)?;
    disk.sync_names()
}

/// Updates the manifest of a backup to match its files after a repair, so that it can be restored. Returns true when
/// the manifest was changed; does nothing in a folder that is not a backup.
///
/// # Errors
/// Returns [`OpenError`] when a file cannot be read or written.
pub(super) fn renew<D: Disk>(disk: &D) -> Result<bool, OpenError> {
    let Some(old) = Manifest::read(disk)? else { return Ok(false) };
    let present = disk.list().map_err(folder_error)?;
    let is_data = |name: &&String| {
        let is_numbered = names::segment_number(name).is_some() || names::checkpoint_id(name).is_some();
        is_numbered || *name == names::WATERMARK
    };
    let mut files = Files::new();
    for name in present.iter().filter(is_data) {
        files.insert(name.clone(), content(&read_part(disk, name, 0, usize::MAX)?));
    }
    if files == old.files {
        return Ok(false);
    }
    let is_raised = present.iter().any(|name| name == names::IDENTITY);
    let identity = if is_raised { identity::text_of(disk, names::IDENTITY)? } else { old.identity };
    Manifest { identity, files }.write(disk).map_err(folder_error)?;
    if is_raised {
        disk.remove(names::IDENTITY).and_then(|()| disk.sync_names()).map_err(folder_error)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_whole_or_not_at_all() {
        let files: Files = [("0000000001.log".to_owned(), (77, 0xABCD)), ("a".to_owned(), (0, 0))].into();
        for (files, identity) in [
            (files, "format 2\nnode 1\ndisk 7\n"),
            (Files::new(), "format 1\nnode 1\n"),
            (Files::new(), "format 3\nnode 1\ndisk 7\nreplicas 3\n"),
        ] {
            let manifest = Manifest { identity: identity.to_owned(), files };
            let text = manifest.encode();
            assert_eq!(Manifest::decode(&text), Some(manifest));
            (0..text.len()).for_each(|cut| assert_eq!(Manifest::decode(&text[..cut]), None, "cut at {cut}"));
            for at in 0..text.len() {
                let mut bad = text.clone().into_bytes();
                bad[at] ^= 1;
                let read = Manifest::decode(&String::from_utf8_lossy(&bad));
                assert!(read.is_none(), "byte {at}: {read:?}");
            }
        }
    }
}
