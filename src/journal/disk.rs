//! What the journal needs of a folder: named files with positional reads and writes, and explicit syncs.
//!
//! The daemon uses [`Folder`]; the simulator has an implementation that loses what was not synced in a crash.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A folder of files.
pub trait Disk: Clone + fmt::Debug {
    /// An open file of the folder.
    type File: DiskFile;

    /// Returns the names of all files, in no particular order.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Creates an empty file, or truncates the existing file of that name.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Returns the size of a file in bytes, without opening it.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn size(&self, name: &str) -> io::Result<u64>;

    /// Renames a file, and replaces the existing file of the new name, if any.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals of files durable (an fsync of the directory).
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file of a [`Disk`].
pub trait DiskFile: fmt::Debug + Sized {
    /// Returns a second handle of the same file.
    ///
    /// # Errors
    /// Returns the error of the system, for example when no file descriptor is free.
    fn share(&self) -> io::Result<Self>;

    /// Fills the buffer with the bytes from `position` on. Returns how many bytes were read: fewer than the buffer's
    /// length only at the end of the file.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Truncates the file to `len` bytes, or extends it with zeros.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Returns the size of the file in bytes.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn size(&self) -> io::Result<u64>;

    /// Makes everything that was written to the file, and its length, durable.
    ///
    /// # Errors
    /// Returns the error of the file system. It is unknown then which of the unsynced writes are durable.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system. A lock file allows one process at a time to use it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// An open handle of the folder, so that syncing its names needs no further descriptor; `None` when it could not be
    /// opened.
    names: Option<File>,
    /// True when files are opened for reading only.
    is_read_only: bool,
    /// The locked lock file. Closing it releases the lock.
    _lock: Option<File>,
}

/// The name of the lock file. A process that uses the folder holds a lock on this file.
pub const LOCK: &str = "lock";

impl Folder {
    /// Opens a folder, and creates it if it does not exist. Its parents are created too, and their names made durable.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn make(path: PathBuf) -> io::Result<Self> {
        let made: Vec<&Path> = path.ancestors().take_while(|folder| !folder.is_dir()).collect();
        fs::create_dir_all(&path)?;
        // If the name of the new folder were lost in a crash, all files in it would be lost as well.
        for above in made.into_iter().filter_map(Path::parent) {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            File::open(above)?.sync_all()?;
        }
        let names = File::open(&path).ok();
        Ok(Self { path, names, is_read_only: false, _lock: None })
    }

    /// Opens an existing folder for reading only; nothing in it is changed.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn look(path: PathBuf) -> io::Result<Self> {
        let names = File::open(&path)?;
        if !names.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path, names: Some(names), is_read_only: true, _lock: None })
    }

    /// Returns true while another process holds the lock of the folder.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn is_taken(&self) -> io::Result<bool> {
        match File::open(self.path.join(LOCK)) {
            Ok(lock) => match lock.try_lock_shared() {
                Ok(()) => Ok(false),
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(error)) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Locks the folder for this process. Returns `None` when another process holds the lock.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn take(self) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(self.path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: Some(lock), ..self })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Clone for Folder {
    /// Returns another handle of the same folder, without the lock.
    fn clone(&self) -> Self {
        let names = self.names.as_ref().and_then(|names| names.try_clone().ok());
        Self { path: self.path.clone(), names, is_read_only: self.is_read_only, _lock: None }
    }
}

impl Disk for Folder {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(!self.is_read_only).open(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.path.join(name))
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        match &self.names {
            Some(names) => names.sync_all(),
            None => File::open(&self.path)?.sync_all(),
        }
    }
}

impl DiskFile for File {
    fn share(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        loop {
            match self.sync_data() {
                // The call was interrupted before it finished: nothing was written and nothing was dropped.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A failed sync must not look transient: whatever the reason, the kernel may have dropped the dirty
                // pages, and a retry would then report success for bytes that are lost.
                Err(error) if is_transient(&error) => return Err(io::Error::other(error)),
                done => return done,
            }
        }
    }
}

/// Returns true when the process or the system is short of descriptors or memory for the moment, or when a signal
/// interrupted the call. Such a call had no effect and may be repeated; it says nothing about the health of the disk.
/// [`DiskFile::sync`] never returns an error of this kind.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::OutOfMemory)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Error numbers on every Unix: the system, or the process, has no file descriptor left. The standard library has no
/// stable [`io::ErrorKind`] for them.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
