//! Requests that become readers once they are answered.

use super::super::Settings;
use crate::cube;
use crate::types::{SlotId, TopicName};

/// A SUBSCRIBE, or a FETCH with a waiting time, whose answer is outstanding. It becomes a reader when the answer
/// arrives; a FETCH only does so if the answer has no records.
#[derive(Debug)]
pub(in crate::node) struct PendingReader {
    /// The topic's name.
    pub name: Box<str>,
    /// The slot of the topic.
    pub slot: SlotId,
    /// The kind of reader that it becomes.
    pub kind: ReaderKind,
}

impl PendingReader {
    pub(super) fn new(settings: &Settings, name: TopicName<'_>, kind: ReaderKind) -> Self {
        Self { name: name.as_str().into(), slot: cube::slot(name, settings.slots), kind }
    }
}

/// The kind of reader that a [`PendingReader`] becomes.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) enum ReaderKind {
    /// A subscription with this credit.
    Stream {
        /// Bytes of records that may be sent.
        limit: u64,
    },
    /// A waiting FETCH.
    Poll {
        /// The limit of the request; 0 means no limit.
        max_bytes: u32,
        /// The limit of the request; 0 means no limit.
        max_records: u32,
        /// Monotonic time in microseconds at which it is answered without records.
        deadline_us: u64,
    },
}
