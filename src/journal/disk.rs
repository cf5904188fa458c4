//! What the journal needs of a folder: files by name, written at a position, made safe when asked to.
//!
//! The daemon has [`Folder`]; the simulator has one that loses what was not synced.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A folder of files.
pub trait Disk: Clone + fmt::Debug {
    /// One of them.
    type File: DiskFile;

    /// The names of all files, in no order.
    ///
    /// # Errors
    /// As the system's; so it is with all others.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// As the system's.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Makes an empty file; one that has the name is emptied.
    ///
    /// # Errors
    /// As the system's.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Returns the size of a file in bytes, without opening it.
    ///
    /// # Errors
    /// Returns the error of the file system.
    fn size(&self, name: &str) -> io::Result<u64>;

    /// Gives a file another name; whoever has that is replaced.
    ///
    /// # Errors
    /// As the system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names, new ones and removed ones, safe.
    ///
    /// # Errors
    /// As the system's.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file of a [`Disk`].
pub trait DiskFile: fmt::Debug + Sized {
    /// Returns a second handle of the same file.
    ///
    /// # Errors
    /// Returns the error of the system, for example when no file descriptor is free.
    fn share(&self) -> io::Result<Self>;

    /// Fills the buffer from there; what lies behind the end is not read. Gives how many bytes there were.
    ///
    /// # Errors
    /// As the system's.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of it there.
    ///
    /// # Errors
    /// As the system's.
    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts it, or fills it up with zeros.
    ///
    /// # Errors
    /// As the system's.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Bytes.
    ///
    /// # Errors
    /// As the system's.
    fn size(&self) -> io::Result<u64>;

    /// Makes what was written, and the length, safe.
    ///
    /// # Errors
    /// As the system's. After one nothing is known of what was written.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system, which one process has at a time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// An open handle of the folder, so that syncing its names needs no further descriptor; `None` when it could not be
    /// opened.
    names: Option<File>,
    /// True when files are opened for reading only.
    is_read_only: bool,
    /// Held for as long as the journal is open.
    _lock: Option<File>,
}

/// The file whose lock says that a process has the folder.
pub const LOCK: &str = "lock";

impl Folder {
    /// Makes it if need be.
    ///
    /// # Errors
    /// As the system's.
    pub fn make(path: PathBuf) -> io::Result<Self> {
        let made: Vec<&Path> = path.ancestors().take_while(|folder| !folder.is_dir()).collect();
        fs::create_dir_all(&path)?;
        // A folder whose own name is lost takes everything in it along.
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

    /// Takes it. `None` when another process has it.
    ///
    /// # Errors
    /// As the system's.
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
    /// The same folder; the lock stays with the first.
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
