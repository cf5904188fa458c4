//! The files of a journal, by name.
//!
//! | name | what |
//! |---|---|
//! | `0000000042.log` | a segment of the log: being written, full, or prepared for use |
//! | `2147483649.log` | from this number on: a complete segment of copies (`copies`) |
//! | `0000000042.index` | where the records of its topics are, by topic and offset |
//! | `00000000000000001234.checkpoint` | the state of the topics; the newest one has the highest number |
//! | `00000000000000001234-2.checkpoint` | a later one than that without the 2; only formats before 3 have it |
//! | `spare` | a full segment whose records are all dead; it will be recycled as the file of a new segment |
//! | `….new` | a file that is being written; nothing refers to it yet |
//! | `watermark` | how far the log is durable |
//! | `identity` | which node owns the journal, and the format version |
//! | `backup-manifest` | only in a backup: whose it is, and which files belong to it |
//! | `backup-unfinished` | only in a folder whose first backup has not been completed |
//! | `lock` | locked by the process that uses the folder |

/// A segment that will be recycled.
pub(super) const SPARE: &str = "spare";

/// Which node owns the journal.
pub(super) const IDENTITY: &str = "identity";

/// How far the log is durable.
pub(super) const WATERMARK: &str = "watermark";

/// The manifest of a backup.
pub(super) const MANIFEST: &str = "backup-manifest";

/// Marks a folder whose first backup has not been completed.
pub(super) const UNFINISHED: &str = "backup-unfinished";

const SEGMENT: &str = ".log";
const INDEX: &str = ".index";
const CHECKPOINT: &str = ".checkpoint";
const SECOND: &str = "-2";
const NEW: &str = ".new";

/// Returns the name of a segment's file.
pub(super) fn segment(number: u32) -> String {
    format!("{number:010}{SEGMENT}")
}

/// Returns the name of a segment's index.
pub(super) fn index(segment: u32) -> String {
    format!("{segment:010}{INDEX}")
}

/// Identifies a checkpoint. Of two checkpoints the later one compares greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CheckpointId {
    /// The number of the checkpoint. Before format 3 it was the position of the last body that the state includes.
    pub(super) number: u64,
    /// True for the second of two checkpoints with the same number, which only programs before format 3 wrote.
    pub(super) is_second: bool,
}

impl CheckpointId {
    /// Returns the id of the next checkpoint.
    pub(super) const fn after(newest: Option<Self>) -> Self {
        let number = if let Some(newest) = newest { newest.number } else { 0 };
        Self { number: number.saturating_add(1), is_second: false }
    }
}

/// Returns the name of a checkpoint's file.
pub(super) fn checkpoint(id: CheckpointId) -> String {
    let CheckpointId { number, is_second } = id;
    format!("{number:020}{}{CHECKPOINT}", if is_second { SECOND } else { "" })
}

/// Returns the name of a file while it is being written.
pub(super) fn new(name: &str) -> String {
    format!("{name}{NEW}")
}

/// Parses the name of a segment's file; returns `None` for any other name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(SEGMENT)?.parse().ok()?;
    (segment(number) == name).then_some(number)
}

/// Parses the name of an index and returns the number of its segment; returns `None` for any other name.
pub(super) fn index_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(INDEX)?.parse().ok()?;
    (index(number) == name).then_some(number)
}

/// Parses the name of a checkpoint's file; returns `None` for any other name.
pub(super) fn checkpoint_id(name: &str) -> Option<CheckpointId> {
    let stem = name.strip_suffix(CHECKPOINT)?;
    let first = stem.strip_suffix(SECOND);
    let id = CheckpointId { number: first.unwrap_or(stem).parse().ok()?, is_second: first.is_some() };
    (checkpoint(id) == name).then_some(id)
}

/// Returns true when the name is that of a file that was still being written.
pub(super) fn is_new(name: &str) -> bool {
    name.ends_with(NEW)
}
