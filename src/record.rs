//! What is proposed, committed and applied: the entries of a group's log, and what became of them.
//!
//! Whatever members of a group must agree on follows from the entry alone, so an entry carries every input of its
//! own applying: times and random parts are chosen by who proposes it. `codec` is its form in the journal.

mod codec;
pub mod varint;

use bytes::Bytes;

pub use codec::{DecodeError, decode, encode, encoded_len_max};

use crate::types::{Epoch, Offset, Opening, Retention, Sequenced, SettingsChange, TopicId};

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
    /// Change settings of a topic.
    Alter {
        /// Which.
        topic: TopicRef,
        /// Defaults filled in.
        change: SettingsChange,
    },
    /// Open an epoch of a producer whose records are counted; stores nothing.
    OpenProducer {
        /// Of which topic.
        topic: TopicRef,
        /// Of which producer, and how.
        opening: Opening,
    },
    /// Remove records from a topic's start.
    Trim {
        /// Whose.
        topic: TopicId,
        /// The first record that stays.
        first: Offset,
    },
    /// Stands for a batch that the journal had no room for: it is in no journal, and changes nothing.
    Refused {
        /// Bytes of the batch's payload.
        payload_len: usize,
    },
    /// Begin a new life of every log: what was acknowledged at its end may be lost.
    RaiseEpochs,
    /// Append times come from another clock from here on, or from one that jumped.
    Reclock(Reclock),
}

/// A new clock of the log, from which the append times of all later batches come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclock {
    /// What it says now, in microseconds since 1970.
    pub at_us: u64,
    /// How it compares with the one before, where something tells. `None` after a start.
    pub jump: Option<Jump>,
}

/// The wall clock of a running process jumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// What it would say had it not, in microseconds since 1970.
    pub was_us: u64,
    /// The first era whose times the jump corrects; those before are of another clock.
    pub since_era: u32,
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
    /// Where the journal has them.
    pub place: Place,
}

/// A place in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of the segment, from 1; 0 is nowhere.
    pub segment: u32,
    /// Bytes from its beginning.
    pub position: u32,
}

/// What applying entries made of them: what the journal must know to find records again, and to know which are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A batch became records.
    Stored(Filed),
    /// A batch came to nothing: no record is at this place. An index that has to be made anew leaves it out.
    Void(Place),
    /// A topic has no records before this one any more.
    Trimmed {
        /// Which.
        topic: TopicId,
        /// The first one that is kept.
        first: Offset,
    },
    /// A topic is gone with all its records.
    Deleted {
        /// Which.
        topic: TopicId,
    },
}

/// Where the records of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filed {
    /// Whose.
    pub topic: TopicId,
    /// The offset of the first.
    pub base: Offset,
    /// How many.
    pub count: u32,
    /// Bytes of their payload.
    pub len: u32,
    /// Its checksum.
    pub crc: u32,
    /// Where that begins.
    pub place: Place,
    /// The time that was noted, in microseconds since 1970.
    pub append_us: u64,
}

impl Filed {
    /// Behind its last record.
    pub const fn end(&self) -> Offset {
        self.base.plus(self.count as u64)
    }
}

/// What is asked of the journal about the records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Consecutive batches, the first of which has the record `from`: no more than are needed for that many bytes or
    /// records, but at least one.
    Records {
        /// The first record that is wanted.
        from: Offset,
        /// Bytes of records.
        max_bytes: u32,
        /// Records.
        max_records: u32,
    },
    /// The first record with an append time at or after `append_us` among those from `from` up to `end`, within which
    /// times do not decrease; `end` when there is none.
    Time {
        /// In microseconds since 1970.
        append_us: u64,
        /// The first record that is looked at.
        from: Offset,
        /// The first one behind that is not.
        end: Offset,
    },
}

/// What the journal has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Batches; none when what was wanted is trimmed.
    Batches(Vec<(Filed, Bytes)>),
    /// A record, or the end of those that were looked at.
    Offset(Offset),
    /// No record before this offset: those that were there were given up by a repair.
    Gap(Offset),
}

/// Why it could not be read; who runs the node was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is damaged, or the disk fails.
    Lost {
        /// The first offset behind the damage whose record can be read, or the end of what the journal was told of;
        /// `None` when that is not known.
        next: Option<Offset>,
    },
    /// The process or the system is short of descriptors or memory for the moment: nothing is wrong with what is asked
    /// for.
    NotNow,
}
