//! Why a journal cannot be opened.

use std::fmt;
use std::io;

use super::disk::is_transient;
use crate::entry::DecodeError;

/// The number of the Unix error for an input or output failure of the device.
const EIO: i32 = 5;

/// The reason why a journal cannot be opened. Displayed as one line for the operator.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the lock of the folder.
    Busy,
    /// The file system returned an error.
    Io {
        /// The name of the file.
        file: String,
        /// The error of the file system.
        cause: io::Error,
    },
    /// The folder belongs to another node, or is not a journal.
    Foreign {
        /// What the folder is instead, as a clause with the subject "it".
        what: String,
    },
    /// The folder belongs to this node, but lacks data that other nodes rely on. These nodes have the data themselves,
    /// so an empty folder can be filled from them.
    Superseded {
        /// What the folder lacks, or why it is out of date, as a clause with the subject "it".
        why: &'static str,
    },
    /// The folder is a backup of a node whose topics other nodes keep as well, and may have promised more of since.
    SharedBackup,
    /// The recovery of a group from the folder was interrupted.
    HalfRecovered,
    /// The folder holds a first backup that was never completed.
    Unfinished,
    /// A file in the folder was written for another folder.
    Misplaced {
        /// The name of the file.
        file: String,
        /// Whose file it is instead.
        whose: &'static str,
    },
    /// A newer version of the program wrote the file.
    Newer {
        /// The name of the file.
        file: String,
        /// The format version of the file; `None` when the version is known but a tagged part in the file is not.
        version: Option<u32>,
    },
    /// A file is missing or damaged although it was durable.
    Damaged {
        /// The name of the file.
        file: String,
        /// The position of the damage, in bytes from the beginning of the file.
        position: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

impl OpenError {
    /// Returns true when the same call can succeed once the system has descriptors and memory again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { cause, .. } => is_transient(cause),
            Self::Busy
            | Self::SharedBackup
            | Self::HalfRecovered
            | Self::Unfinished
            | Self::Foreign { .. }
            | Self::Superseded { .. }
            | Self::Misplaced { .. }
            | Self::Newer { .. }
            | Self::Damaged { .. } => false,
        }
    }

    /// Returns the file whose content is lost, when the error is about one: it is damaged or missing, or its disk
    /// cannot read it.
    pub fn lost_file(&self) -> Option<&str> {
        let is_lost = |cause: &io::Error| cause.kind() == io::ErrorKind::NotFound || cause.raw_os_error() == Some(EIO);
        match self {
            Self::Damaged { file, .. } => Some(file),
            Self::Io { file, cause } if is_lost(cause) => Some(file),
            Self::Io { .. }
            | Self::Busy
            | Self::SharedBackup
            | Self::HalfRecovered
            | Self::Unfinished
            | Self::Foreign { .. }
            | Self::Superseded { .. }
            | Self::Misplaced { .. }
            | Self::Newer { .. } => None,
        }
    }

    /// Converts the file system's error about the folder itself.
    pub fn folder(cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::AlreadyExists {
            Self::Foreign { what: "it is not a folder".to_owned() }
        } else if cause.kind() == io::ErrorKind::NotADirectory {
            Self::Foreign { what: "it, or a part of its path, is not a folder".to_owned() }
        } else {
            Self::Io { file: "the folder".to_owned(), cause }
        }
    }

    pub(super) fn io(file: &str, cause: io::Error) -> Self {
        Self::Io { file: file.to_owned(), cause }
    }

    /// Returns the error for bytes at `position` of a file that have correct checksums and yet cannot be decoded.
    pub(super) fn undecodable(error: DecodeError, file: &str, position: u64, what: &'static str) -> Self {
        match error {
            DecodeError::Newer => Self::Newer { file: file.to_owned(), version: None },
            DecodeError::Malformed => Self::damaged(file, position, what),
        }
    }

    pub(super) fn damaged(file: &str, position: u64, what: &'static str) -> Self {
        Self::Damaged { file: file.to_owned(), position, what }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("another process uses it; is this node running already?"),
            Self::Io { file, cause } => write!(f, "{file}: {cause}"),
            Self::Unfinished => f.write_str(
                "it holds a backup that was never completed; run the same `dht-node backup` again to complete it, \
                 or give another folder",
            ),
            Self::Foreign { what } => write!(f, "{what}; give another folder"),
            Self::Superseded { why } => {
                write!(f, "{why}; move it away and start with an empty one, which is then filled from the other nodes")
            }
            Self::SharedBackup => f.write_str(
                "it is a backup, and other nodes may have newer copies of its topics; if they have, start with an empty \
                 folder, which is then filled from them, and if the folders of all nodes were restored, run `dht-node \
                 recover` on each of them",
            ),
            Self::HalfRecovered => f.write_str("`dht-node recover` was interrupted; run it again"),
            Self::Misplaced { file, whose } => {
                write!(
                    f,
                    "{file} belongs to {whose} and was moved or copied here; put the folder's own {file} in its place"
                )
            }
            Self::Newer { file, version: Some(version) } => {
                write!(
                    f,
                    "{file} has format {version}, but this program reads formats up to {}; run the newer program",
                    super::format::VERSION
                )
            }
            Self::Newer { file, version: None } => {
                write!(f, "{file} holds data of a newer program that this one cannot read; run the newer program")
            }
            Self::Damaged { file, position, what } => write!(
                f,
                "{file} is damaged at byte {position}: {what}; run `dht-node inspect` to see what can be read, \
                 and `dht-node repair` to repair the folder"
            ),
        }
    }
}

impl std::error::Error for OpenError {}
