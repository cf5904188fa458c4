//! The entries of a replica group's log: what is proposed, committed and applied, and the outcome of applying.
//!
//! State that the members of a group share follows from the entries alone. An entry therefore carries every input of
//! its application, and the proposer chooses its times and random parts. `codec` encodes entries for the journal.

// Lengths and counts come from peers and files: an overflow would wrap in a release.
#![warn(clippy::arithmetic_side_effects)]

mod codec;
mod copy;
pub mod varint;

use bytes::Bytes;

pub use codec::{BodyLen, DecodeError, decode, encode};
pub use copy::{CopyDone, CopyOutcome, CopyTask};

pub use crate::wire::raft::Founding;

use crate::types::{Epoch, Offset, Opening, Retention, Sequenced, SettingsChange, SlotId, TopicId};

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Creates a topic unless the name is in use.
    Create {
        /// The validated name of the topic.
        name: Box<str>,
        /// The random part of the topic's id.
        seed: u64,
        /// The epoch of the topic's log.
        epoch: Epoch,
        /// The topic's retention, with the node's defaults filled in.
        retention: Retention,
        /// Wall time of the proposal, in microseconds since 1970.
        created_us: u64,
    },
    /// Deletes a topic.
    Delete {
        /// The topic to delete.
        topic: TopicRef,
    },
    /// Appends a batch.
    Publish(Batch),
    /// Changes settings of a topic.
    Alter {
        /// The topic to change.
        topic: TopicRef,
        /// The change, with the node's defaults filled in.
        change: SettingsChange,
    },
    /// Opens a new epoch of a producer whose records the topic counts. It stores no records.
    OpenProducer {
        /// The topic that the producer publishes to.
        topic: TopicRef,
        /// The producer, and how to open it.
        opening: Opening,
    },
    /// Removes records from a topic's start.
    Trim {
        /// The topic to trim.
        topic: TopicId,
        /// The topic's new first offset.
        first: Offset,
    },
    /// Raises the epoch of every topic, because acknowledged records at the ends of the logs may be lost.
    RaiseEpochs,
    /// Begins a new epoch of every topic after the recovery of the group from one copy, which may lack records that
    /// readers have seen in any epoch since.
    BeginEpochs {
        /// Wall time of the recovery, in microseconds since 1970.
        at_us: u64,
    },
    /// Carries a digest of what the leader had applied up to some body, so that each member can compare it with its
    /// own.
    Check {
        /// The index of that body in the log.
        index: u64,
        /// The digest of the outcomes of all entries up to and including that body, as the leader has computed it.
        digest: u64,
    },
    /// Begins an era: later append times come from another clock, or from one that has jumped.
    Reclock(Reclock),
}

/// What one turn has added to the log of a group: entries, in the order in which they are applied. It becomes one
/// record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The slot of the group.
    pub slot: SlotId,
    /// Position in the log: one more than that of the body before. The first body of a log has 1.
    pub index: u64,
    /// The term of the leader that has proposed the entries.
    pub term: u32,
    /// The encoded entries. The body with which a leader begins its term has none, and is empty. If the log is only in
    /// memory, where nobody reads them, no entries are encoded.
    pub bytes: Bytes,
}

impl Body {
    /// Reports that the body was written to this place.
    pub const fn written(&self, place: Place) -> Written {
        Written::Body { slot: self.slot, index: self.index, term: self.term, place }
    }
}

/// Something that a member of a group wants to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The next body of the log.
    Body(Body),
    /// The state of the member.
    State {
        /// The slot of the group.
        slot: SlotId,
        /// What the member must not forget from then on. It replaces the state that was written before.
        state: MemberState,
    },
}

impl Write {
    /// Returns the number of bytes of its record in the journal.
    pub const fn in_journal(&self) -> usize {
        let content = match self {
            Self::Body(body) => body.bytes.len(),
            Self::State { .. } => STATE_LEN,
        };
        record_len(content)
    }

    /// Returns the report that it was written. Only a body has a place.
    pub const fn written(&self, place: Place) -> Written {
        match self {
            Self::Body(body) => body.written(place),
            Self::State { slot, .. } => Written::State { slot: *slot },
        }
    }
}

/// What the store has written, so that it may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// A body.
    Body {
        /// The slot of the group.
        slot: SlotId,
        /// Position of the body in the log of the group.
        index: u64,
        /// The term of the leader that has proposed the entries.
        term: u32,
        /// Where the encoded entries are in the journal.
        place: Place,
    },
    /// The state of the member.
    State {
        /// The slot of the group.
        slot: SlotId,
    },
}

impl Written {
    /// Returns the slot of the group.
    pub const fn slot(&self) -> SlotId {
        match self {
            Self::Body { slot, .. } | Self::State { slot } => *slot,
        }
    }

    /// Returns what the journal's bookkeeping is told of it.
    pub const fn note(&self) -> Option<Note> {
        match *self {
            Self::Body { slot, index, place, .. } => Some(Note::Body { slot, index, place }),
            Self::State { .. } => None,
        }
    }
}

/// Bytes of the header of a record in the journal.
pub const RECORD_HEADER: usize = 32;

/// The length of a record in the journal is a multiple of this many bytes.
pub const RECORD_ALIGN: usize = 8;

/// Bytes of a record of the journal with a [`MemberState`], without the header.
pub const STATE_LEN: usize = 7 * 8 + 1;

/// Returns the length of a record with so many bytes of content.
#[expect(clippy::arithmetic_side_effects, reason = "lengths of buffers in memory add up to less than a usize holds")]
pub const fn record_len(content: usize) -> usize {
    (RECORD_HEADER + content).next_multiple_of(RECORD_ALIGN)
}

/// How many more bytes the log has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the log has room for after all bodies that were submitted.
    pub bytes: u64,
    /// True while no further segment can be prepared because the disk is full. Otherwise there will be more room soon.
    pub is_full: bool,
    /// Bytes of segments that are there only for other members of the node's groups, which may need that part of the
    /// log.
    pub log_kept: u64,
}

impl Room {
    /// The room of a log in memory.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX, is_full: false, log_kept: 0 };

    /// Subtracts the bytes of a body.
    pub fn take(&mut self, bytes: u64) {
        if self.bytes != u64::MAX {
            self.bytes = self.bytes.checked_sub(bytes).expect("a body is submitted only if it fits");
        }
    }
}

/// The clock from which the append times of all later batches come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclock {
    /// What the new clock says at the beginning of the era, in microseconds since 1970.
    pub at_us: u64,
    /// How the new clock differs from the previous one; `None` after a start, when that is unknown.
    pub jump: Option<Jump>,
}

/// A jump of the wall clock in a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// What the clock would say if it had not jumped, in microseconds since 1970.
    pub was_us: u64,
    /// The first era whose times the jump corrects. Earlier eras come from another clock.
    pub since_era: u32,
}

/// How an entry refers to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// The topic that had the requested name when the entry was proposed.
    Id(TopicId),
    /// The topic that has this name when the entry is applied. It may be created by an earlier entry.
    Name(Box<str>),
}

/// A batch of records to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The topic to append to.
    pub topic: TopicRef,
    /// Identifies the batch so that duplicates are recognised; `None` when the producer does not ask for that.
    pub producer: Option<Sequenced>,
    /// Number of records in the payload.
    pub count: u32,
    /// The producer's CRC-32 of the payload, already verified.
    pub payload_crc: u32,
    /// Wall time of the proposal, in microseconds since 1970.
    pub append_us: u64,
    /// The encoded records.
    pub payload: Bytes,
    /// Where the payload is: in its body once that is encoded, in the journal once the body is written.
    pub place: Place,
}

impl Entry {
    /// Records where the journal has the body that contains this entry.
    pub fn locate(&mut self, body: Place) {
        if let Self::Publish(batch) = self {
            batch.place = batch.place.inside(body);
        }
    }

    /// Copies the payload of a batch, so that the entry does not keep the buffer in memory from which it was decoded.
    pub fn own_payload(&mut self) {
        if let Self::Publish(batch) = self {
            batch.payload = Bytes::copy_from_slice(&batch.payload);
        }
    }
}

/// A position in the journal, or in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the segment, from 1; 0 for a position in a body, or of something that is not in the journal.
    pub segment: u32,
    /// Byte position within the segment, or within the body.
    pub position: u32,
}

impl Place {
    /// Returns where this position of a body is in the journal, which has the body at `start`.
    #[must_use]
    pub fn inside(self, start: Self) -> Self {
        let position = start.position.checked_add(self.position).expect("a body lies in a segment, below 4 GiB");
        Self { position, ..start }
    }
}

/// Identifies a topic among those of all groups of a node: groups choose the ids of their topics independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey {
    /// The slot of the topic's group.
    pub slot: SlotId,
    /// The topic's id.
    pub id: TopicId,
}

/// What a member of a group must not forget, besides the entries of the log: others rely on it once it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberState {
    /// The newest term that it knows of.
    pub term: u32,
    /// The member that it has voted for in that term; 0 for none.
    pub vote: u64,
    /// The position of the last body that it knows to be committed.
    pub commit: u64,
    /// Whether it votes without restriction, and if not, what it still lacks.
    pub stage: Stage,
    /// The founding of a group of three. It is not known while the group has, or so far has had, a single member;
    /// everything in the log is then committed.
    pub founding: Founding,
}

/// The progress of a member of a group of three towards voting without restriction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It votes and campaigns as Raft allows.
    #[default]
    Full,
    /// It was present when the group was founded, but does not have the founder's whole log yet. It votes only for
    /// members whose log is at least as long as that.
    Joining,
    /// Its folder has replaced a lost one, and it does not have everything yet that the lost one may have acknowledged.
    /// It neither votes nor campaigns.
    Recovering,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Full, Self::Joining, Self::Recovering];

    /// Returns the number that stands for this stage in the journal.
    pub const fn number(self) -> u8 {
        match self {
            Self::Full => 0,
            Self::Joining => 1,
            Self::Recovering => 2,
        }
    }

    /// Returns the stage with this number in the journal, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }
}

/// A state of the topics of a group, for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The slot of the group.
    pub slot: SlotId,
    /// How much of the log the state includes.
    pub applied: LogPosition,
    /// Where the first body is that was written and is not applied; `None` if there is none. A checkpoint does not
    /// store it.
    pub open: Option<Place>,
    /// The position of the first body that other members may still need; `None` if they need none. A checkpoint does
    /// not store it.
    pub needed: Option<u64>,
    /// The position of the first body that a member needs which is making a copy of the group; `None` if there is none.
    /// A checkpoint does not store it.
    pub pinned: Option<u64>,
    /// The encoded topics.
    pub topics: Vec<u8>,
}

/// A snapshot of the topics of a group that was copied from another member, and whose records are in the journal
/// already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedState {
    /// The slot of the group.
    pub slot: SlotId,
    /// The position of the last body in the state.
    pub index: u64,
    /// The term of that body.
    pub term: u32,
    /// The encoded topics.
    pub topics: Vec<u8>,
    /// The records that the topics retain.
    pub kept: Vec<CopiedTopic>,
    /// The places in the journal of batches that belong to bodies of the group which this node has not applied. Once
    /// the state is installed, these bodies will never be applied.
    pub void: Vec<Place>,
}

/// The range of records that a topic of a copied state retains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedTopic {
    /// The topic's id.
    pub id: TopicId,
    /// The first offset that it retains.
    pub first: Offset,
    /// Its log end offset (exclusive).
    pub next: Offset,
}

/// A position in the log of a group: the end of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// The position of the body; 0 at the beginning of the log.
    pub index: u64,
    /// The term of that body.
    pub term: u32,
    /// Where that body ends in the journal. The records of all later bodies lie behind this place.
    pub end: Place,
}

/// What the journal's bookkeeping is told: that a body was written, and later the outcome of each of its entries. From
/// that it knows where bodies and records are, and which are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A body was written. The store notes this itself.
    Body {
        /// The slot of the group.
        slot: SlotId,
        /// Position of the body in the log of the group.
        index: u64,
        /// Where the encoded entries are.
        place: Place,
    },
    /// A batch was appended.
    Stored(Filed),
    /// A batch was applied but not appended, so this place holds no records. A rebuilt index leaves it out, as it does
    /// everything in a body that a later one has replaced.
    Void(Place),
    /// All records of a topic before an offset were removed.
    Trimmed {
        /// The topic that was trimmed.
        topic: TopicKey,
        /// The topic's new first offset.
        first: Offset,
    },
    /// A topic was deleted with all its records.
    Deleted {
        /// The topic that was deleted.
        topic: TopicKey,
    },
}

/// The location of an appended batch in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filed {
    /// The topic of the batch.
    pub topic: TopicKey,
    /// Offset of the first record.
    pub base: Offset,
    /// Number of records.
    pub count: u32,
    /// Length of the payload in bytes.
    pub len: u32,
    /// CRC-32 of the payload.
    pub crc: u32,
    /// Where the payload begins.
    pub place: Place,
    /// The append time, in microseconds since 1970.
    pub append_us: u64,
}

impl Filed {
    /// Returns the offset after the batch's last record.
    pub const fn end(&self) -> Offset {
        self.base.plus(self.count as u64)
    }
}

/// A query to the journal about the records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Consecutive batches, of which the first contains the record `from`: as few as hold the given bytes or records,
    /// but at least one.
    Records {
        /// The first record wanted.
        from: Offset,
        /// Bytes of records wanted.
        max_bytes: u32,
        /// Number of records wanted.
        max_records: u32,
    },
    /// Consecutive batches, of which the first contains the record `from`: as few as hold the given bytes, but at least
    /// one. Their append times may all differ, so that a FETCH could not state them.
    Batches {
        /// The first record wanted.
        from: Offset,
        /// Bytes of records wanted.
        max_bytes: u32,
        /// Number of batches wanted.
        max_batches: usize,
    },
    /// The offset of the first record from `from` up to `end` whose append time is at or after `append_us`, or `end`
    /// when there is none. Append times must not decrease in this range.
    Time {
        /// Time in microseconds since 1970.
        append_us: u64,
        /// The first offset of the range.
        from: Offset,
        /// The end of the range, exclusive.
        end: Offset,
    },
}

/// The journal's answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Batches; empty when the wanted records have been trimmed.
    Batches(Vec<(Filed, Bytes)>),
    /// The offset of the record found, or the end of the range.
    Offset(Offset),
    /// The wanted records were dropped by a repair; holds the offset after the dropped ones.
    Gap(Offset),
}

/// A query for consecutive bodies of a group's log, for a member that is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// The slot of the group.
    pub slot: SlotId,
    /// The position of the body before the first wanted one; 0 for the beginning of the log.
    pub index: u64,
    /// The position of the last wanted body. All bodies up to this one are committed, so that no later body replaces
    /// them.
    pub last: u64,
    /// The maximum number of bytes of all bodies, unless it is a single one. Each counts [`LOG_ENTRY_BYTES`] more.
    ///
    /// [`LOG_ENTRY_BYTES`]: crate::limits::LOG_ENTRY_BYTES
    pub bytes_max: usize,
}

/// The answer to a [`LogQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPart {
    /// Position and term of the body before the first one. The term is 0 before the beginning of the log, and if there
    /// are no bodies.
    pub base: (u64, u32),
    /// The bodies. There are none if the first one, or the one before it, is not on the disk any more.
    pub bodies: Vec<Body>,
}

/// Why a query failed. The journal has already logged the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The records are damaged, or the disk fails.
    Lost {
        /// The first offset after the damage whose record can be read, or the end of the indexed records; `None` when
        /// neither is known.
        next: Option<Offset>,
    },
    /// The process or the system is temporarily short of descriptors or memory. The records themselves are not
    /// affected.
    NotNow,
}
