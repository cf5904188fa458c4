//! How much a journal's file system has room for.

use std::fs;
use std::io;
use std::path::Path;

use crate::limits::DISK_BYTES_LEAST;
use crate::types::Size;

/// Bytes that the files of a folder may have together: what they have, and what is free.
fn room(folder: &Path) -> io::Result<u64> {
    let mut own = 0;
    for entry in fs::read_dir(folder)? {
        own += entry?.metadata()?.len();
    }
    let disk = rustix::fs::statvfs(folder)?;
    Ok(own + disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Says when a file system is too small for a journal: it would be full when little of it is in use.
pub(super) fn warn_of_little(folder: &Path) {
    match room(folder) {
        Ok(room) if room < DISK_BYTES_LEAST => log::warn!(
            "the file system has {}MiB for the journal in {}, which needs {}: without room for another segment batches \
             are refused (QUOTA), however little is in use; make room, or keep nothing on disk with --in-memory",
            room >> 20,
            folder.display(),
            Size(DISK_BYTES_LEAST)
        ),
        Ok(_) => {}
        Err(error) => log::warn!("cannot find out how much room there is in {}: {error}", folder.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_has_counts_as_room() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), [0; 5000]).unwrap();
        let before = room(folder.path()).unwrap();
        assert!(before > 5000);
        assert!(room(&folder.path().join("absent")).is_err());
    }
}
