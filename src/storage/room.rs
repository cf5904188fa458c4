//! Checks at the start whether the file system is large enough for a journal.

use std::fs;
use std::io;
use std::path::Path;

use crate::limits::DISK_BYTES_LEAST;
use crate::types::Size;

/// Returns how large the files of a folder may become, in bytes: their current size and the free space.
fn room(folder: &Path) -> io::Result<u64> {
    let mut used = 0;
    for entry in fs::read_dir(folder)? {
        used += entry?.metadata()?.len();
    }
    let disk = rustix::fs::statvfs(folder)?;
    Ok(used + disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Logs a warning when the file system is too small for a journal. Such a journal works until the next segment does not
/// fit; then publishes are refused although most of the file system is free.
pub(super) fn warn_if_small(folder: &Path) {
    match room(folder) {
        Ok(room) if room < DISK_BYTES_LEAST => log::warn!(
            "{} has room for a journal of {}MiB, and {} are needed: publishes will be refused (QUOTA) when the next \
             segment does not fit, however little is stored; free some space, or start with --in-memory",
            folder.display(),
            room >> 20,
            Size(DISK_BYTES_LEAST)
        ),
        Ok(_) => {}
        Err(error) => log::warn!("cannot find out how much space {} has: {error}", folder.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_has_counts_as_room() {
        let folder = tempfile::tempdir().unwrap();
        let disk = rustix::fs::statvfs(folder.path()).unwrap();
        // A sparse file counts with its length and takes no blocks, so that concurrent writes of other processes cannot
        // change the result.
        let length = disk.f_blocks * disk.f_frsize + 1;
        fs::File::create(folder.path().join("file")).unwrap().set_len(length).unwrap();
        assert!(room(folder.path()).unwrap() >= length);
        assert!(room(&folder.path().join("absent")).is_err());
    }
}
