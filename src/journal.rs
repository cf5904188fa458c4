//! The journal: the on-disk log of a node, its indexes and checkpoints, and the recovery from them.
//!
//! ```text
//! entries ──► Writer ──► segment 41 │ segment 42 │ segment 43 (prepared)
//!   notes ──► Keeper ──► index 41   │ index 42 …, checkpoint
//!             recover ◄── all of it
//! ```
//!
//! A segment is a file of fixed size that records are appended to. It is preallocated with zeros before it is used, so
//! that an fsync of new records does not have to update the file's size. The [`Writer`] only appends and syncs; the
//! [`Keeper`] does everything that takes longer. Both are synchronous, over a [`Disk`]; the caller chooses the threads
//! that they run on.

mod backup;
mod bodies;
mod books;
mod checkpoint;
mod clean;
mod copies;
pub mod disk;
mod error;
mod fetch;
pub mod format;
mod heal;
mod identity;
mod index;
mod inspect;
mod install;
mod keeper;
mod kept;
mod logs;
mod manifest;
mod names;
mod past;
mod prepare;
mod reader;
mod rebuild;
mod recovery;
mod repair;
mod salvage;
mod spans;
mod stamp;
mod walk;
mod watermark;
mod writer;

pub use backup::{BackupError, Copied, backup, check_backup_folder};
pub use clean::{Cleaning, Look, Victims};
pub use disk::{Disk, DiskFile, Folder, is_transient};
pub use error::OpenError;
pub use fetch::Fetching;
pub use identity::{Identity, check_owner, claim, owner, raise_format};
pub use inspect::{IndexState, LogLoss, Report, SegmentReport, TopicReport, inspect};
pub use install::Taken;
pub use keeper::Keeper;
pub use logs::GroupLog;
pub use manifest::{begin_restore, end_restore};
pub use prepare::{Preparation, Progress};
pub use recovery::{Cut, Membership, Recovered, State, recover};
pub use repair::{Repaired, repair};
pub use salvage::Salvage;
pub use stamp::Stamp;
pub use watermark::{Watermark, Watermarked};
pub use writer::{Mark, NoRoom, Prepared, Writer, segment_own};
