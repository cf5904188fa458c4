//! What is proposed, committed and applied: the entries of a group's log.
//!
//! Whatever members of a group must agree on follows from the entry alone, so an entry carries every input of its
//! own applying: times and random parts are chosen by who proposes it. The form on disk comes with the journal.

use bytes::Bytes;

use crate::types::{Epoch, Offset, Retention, Sequenced, TopicId};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Make a topic unless it is there.
    Create {
        /// Its name, checked.
        name: Box<str>,
        /// The random part of its id.
        seed: u64,
        /// The life of its log.
        epoch: Epoch,
        /// What it keeps, defaults filled in.
        retention: Retention,
        /// Wall time of the proposal, in microseconds since 1970.
        created_us: u64,
    },
    /// Remove a topic.
    Delete {
        /// Which.
        topic: TopicRef,
    },
    /// Append a batch.
    Publish(Batch),
    /// Remove records from a topic's start.
    Trim {
        /// Whose.
        topic: TopicId,
        /// The first record that stays.
        first: Offset,
    },
}

/// A topic as an entry names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// The one that had the requested name when the entry was proposed.
    Id(TopicId),
    /// Whatever has that name when the entry is applied: its creation may stand before it in the log.
    Name(Box<str>),
}

/// A batch of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where to.
    pub topic: TopicRef,
    /// Whose, when it may be sent twice.
    pub producer: Option<Sequenced>,
    /// Records in the payload.
    pub count: u32,
    /// The producer's checksum of the payload, found good.
    pub payload_crc: u32,
    /// Wall time of the proposal, in microseconds since 1970.
    pub append_us: u64,
    /// The records.
    pub payload: Bytes,
}
