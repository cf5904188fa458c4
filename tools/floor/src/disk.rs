//! A pre-written file, and the folder for the files of the durable servers.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::error::Error;

/// A file in which a bare server, or only the disk test, writes and fsyncs. Its size never changes, so an fsync writes
/// only data.
#[derive(Debug)]
pub(crate) struct Prewritten {
    file: File,
    at: u64,
}

impl Prewritten {
    /// As large as the daemon's segments.
    const BYTES: u64 = 64 << 20;

    /// Creates the file, filled with zeros and fsynced.
    pub(crate) fn make(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..Self::BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: 0 })
    }

    /// Writes bytes after the previous ones, or from the start if they do not fit, and fsyncs.
    pub(crate) fn store(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let length = bytes.len() as u64;
        if self.at + length > Self::BYTES {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.file.sync_data()?;
        self.at += length;
        Ok(())
    }

    /// Waits while the disk achieves less than half of its usual rate. A host may throttle a virtual disk for a while,
    /// and then any server would seem slow.
    pub(crate) fn rest(&mut self, bytes: usize, usual: f64) -> Result<(), Error> {
        const LOOKS: usize = 12;
        for _ in 0..LOOKS {
            if self.stores_a_second(bytes, 0.02)? * 2.0 > usual {
                break;
            }
            clock::pause(Duration::from_secs(5));
        }
        Ok(())
    }

    /// Returns how often per second this many bytes are written and fsynced, one after the other.
    pub(crate) fn stores_a_second(&mut self, bytes: usize, seconds: f64) -> Result<f64, Error> {
        let bytes = vec![b'x'; bytes];
        let start = clock::now();
        let mut stores = 0;
        while start.elapsed().as_secs_f64() < seconds {
            self.store(&bytes)?;
            stores += 1;
        }
        Ok(f64::from(stores) / start.elapsed().as_secs_f64())
    }
}

/// A folder that is removed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates an empty folder under `parent`; the remains of a killed run under that name are removed.
    pub(crate) fn make(parent: &Path, name: &str) -> Result<Self, Error> {
        let failed = |error| Error::Folder { path: parent.to_owned(), error };
        let parent = parent.canonicalize().map_err(failed)?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        if let Some(kind) = file_system(&mounts, &parent).filter(|kind| ["tmpfs", "ramfs"].contains(kind)) {
            return Err(Error::InMemory { kind: kind.to_owned(), path: parent });
        }
        let path = parent.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed)?;
        }
        fs::create_dir(&path).map_err(failed)?;
        Ok(Self(path))
    }

    /// Returns the bytes that all processes have written to its block device; `None` if the file system is not on a
    /// single device.
    pub(crate) fn device_written_bytes(&self) -> Result<Option<u64>, Error> {
        const SECTOR_BYTES: u64 = 512;
        let (major, minor) = device_numbers(fs::metadata(&self.0)?.dev());
        let Ok(figures) = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")) else { return Ok(None) };
        let sectors = figures.split_ascii_whitespace().nth(6).and_then(|sectors| sectors.parse::<u64>().ok());
        let sectors = sectors.ok_or(Error::Unreadable { what: "/sys/dev/block/MAJOR:MINOR/stat" })?;
        Ok(Some(sectors * SECTOR_BYTES))
    }

    /// Returns the path of a file in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Splits a device number as the C library packs it.
const fn device_numbers(dev: u64) -> (u64, u64) {
    ((dev >> 32) & 0xffff_f000 | (dev >> 8) & 0xfff, (dev >> 12) & 0xffff_ff00 | dev & 0xff)
}

/// Returns the type of the file system that holds the path: that of the longest mount point above it.
fn file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut found: Option<(&Path, &str)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(point), Some(kind)) = (words.next().map(Path::new), words.next()) else { continue };
        let is_longest = found.is_none_or(|(longest, _)| point.starts_with(longest));
        if path.starts_with(point) && is_longest {
            found = Some((point, kind));
        }
    }
    found.map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_innermost_mount_and_to_the_last_of_several_at_one_point() {
        let mounts = "\
/dev/a / ext4 rw,relatime 0 0
tmpfs /run tmpfs rw 0 0
/dev/b /run/disk xfs rw 0 0
/dev/c /data ext4 rw 0 0
none /data tmpfs rw 0 0
";
        let cases = [
            ("/home/x", "ext4"),
            ("/run/x", "tmpfs"),
            ("/running", "ext4"),
            ("/run/disk/x/y", "xfs"),
            ("/data", "tmpfs"),
        ];
        for (path, expected) in cases {
            assert_eq!(file_system(mounts, Path::new(path)), Some(expected), "{path}");
        }
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn the_major_and_minor_device_numbers_are_each_split_in_two() {
        for (dev, expected) in
            [(0xfe00, (254, 0)), (0x0103, (1, 3)), (0x1234_5678_9abc_def0, (0x1234_5cde, 0x6789_abf0))]
        {
            assert_eq!(device_numbers(dev), expected, "{dev:#x}");
        }
    }

    #[test]
    fn a_prewritten_file_keeps_its_size_and_wraps_around() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = Prewritten::make(&path).unwrap();
        let half = vec![1; usize::try_from(Prewritten::BYTES / 2 + 1).unwrap()];
        for expected in [half.len(), half.len(), half.len() + 3] {
            let bytes = if expected > half.len() { &b"end"[..] } else { &half };
            file.store(bytes).unwrap();
            assert_eq!(file.at, expected as u64);
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), Prewritten::BYTES);
    }

    #[test]
    fn a_folder_is_created_empty_and_removed_when_dropped() {
        let parent = tempfile::tempdir().unwrap();
        if file_system(&fs::read_to_string("/proc/self/mounts").unwrap(), parent.path()) == Some("tmpfs") {
            return;
        }
        fs::create_dir_all(parent.path().join("name/left")).unwrap();
        let folder = Folder::make(parent.path(), "name").unwrap();
        assert!(parent.path().join("name").exists() && !folder.join("left").exists());
        drop(folder);
        assert!(!parent.path().join("name").exists());
    }
}
