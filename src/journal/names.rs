//! The files of a journal, by name.
//!
//! | name | what |
//! |---|---|
//! | `0000000042.log` | a segment: in use, used up, or prepared for use |
//! | `0000000042.index` | where the records of its topics are, by topic and offset |
//! | `00000000000000001234.checkpoint` | the state after the entry of that index |
//! | `spare` | a used-up segment whose records are all dead, to be used again |
//! | `….new` | a file that is being written; nothing refers to it yet |
//! | `identity` | whose journal it is, and of which format |
//! | `lock` | locked by the process that has it |

/// To be used again.
pub(super) const SPARE: &str = "spare";

/// Whose journal it is.
pub(super) const IDENTITY: &str = "identity";

const SEGMENT: &str = ".log";
const INDEX: &str = ".index";
const CHECKPOINT: &str = ".checkpoint";
const NEW: &str = ".new";

/// The file of a segment.
pub(super) fn segment(number: u32) -> String {
    format!("{number:010}{SEGMENT}")
}

/// The index of a segment.
pub(super) fn index(segment: u32) -> String {
    format!("{segment:010}{INDEX}")
}

/// The checkpoint of an index.
pub(super) fn checkpoint(index: u64) -> String {
    format!("{index:020}{CHECKPOINT}")
}

/// What a file is called while it is being written.
pub(super) fn new(name: &str) -> String {
    format!("{name}{NEW}")
}

/// The number of a segment's file.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(SEGMENT)?.parse().ok()?;
    (segment(number) == name).then_some(number)
}

/// The segment of an index's file.
pub(super) fn index_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(INDEX)?.parse().ok()?;
    (index(number) == name).then_some(number)
}

/// The index of a checkpoint's file.
pub(super) fn checkpoint_index(name: &str) -> Option<u64> {
    let number = name.strip_suffix(CHECKPOINT)?.parse().ok()?;
    (checkpoint(number) == name).then_some(number)
}

/// Was the file never finished?
pub(super) fn is_new(name: &str) -> bool {
    name.ends_with(NEW)
}
