//! RAFT: what the members of replica groups tell each other. Clients never see it.
//!
//! A frame has messages of several groups, so that the heartbeats of all groups that one node leads take one frame.
//! Each message is an item of the payload, with its length in front: a receiver skips a kind that it does not know.
//! Raft tolerates that, since it tolerates lost messages.
//!
//! | item | field |
//! |---|---|
//! | u32 | length of the rest of the item |
//! | u16 | slot of the group |
//! | u8 | kind |
//! | u64, u64 | numbers of the sending and of the receiving member |
//! | u64 | term |
//! | u64 | founding of the group to which the sender belongs ([`Founding::id`]), or 0 |
//! | u64 … | the fields of the kind, in the order of [`Payload`]; booleans, standing and condition are a u8 each |
//! | entries | only of an append, up to the end of the item; their indexes follow `index` |
//!
//! An entry is a u8 0, its term (u64), the length of its body (u32) and the body.
//!
//! Decoding checks only that a message is well-formed. The receiver, which trusts no peer, checks whether it makes
//! sense.

use std::fmt;
use std::num::NonZeroU64;

use bytes::Bytes;

use super::field::{DecodeError, Observer, Reader, Writer};
use super::frame::HEADER_BYTES;
use crate::limits::{RAFT_ITEMS_MAX, RAFT_OVERHEAD};
use crate::types::{SlotId, Slots, crc32_of_parts};

/// The number of a member of a replica group. A node whose disk is replaced stays the same member. Since the new disk
/// lacks the votes and the acknowledged entries of the old one, it asks both others first ([`Payload::Join`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(NonZeroU64);

impl MemberId {
    /// Returns the member with this number, or `None` for zero, which stands for nobody.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Returns the member's number.
    pub fn as_u64(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}

/// An entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the log. The first entry has index 1.
    pub index: u64,
    /// Term of the leader that proposed it.
    pub term: u64,
    /// The proposed body. It is empty in the entry with which each leader begins its term.
    pub body: Bytes,
}

/// A message of a group, as an item of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftItem {
    /// The slot of the group.
    pub slot: SlotId,
    /// What one member of the group tells another.
    pub message: Message,
}

/// A message from one member to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: MemberId,
    /// The receiver.
    pub to: MemberId,
    /// The sender's term. In a pre-vote, and in an answer that grants one, the term that the candidate asks for.
    pub term: u64,
    /// The founding of the group to which the sender belongs ([`Founding::id`]); 0 if it knows of none.
    pub founding: u64,
    /// Its kind, with the fields of that kind.
    pub payload: Payload,
}

/// The last entry of a member's log, and the last one that it knows to be committed. Index and term are zero where
/// there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say all")]
pub struct Progress {
    pub last_index: u64,
    pub last_term: u64,
    pub commit: u64,
    pub commit_term: u64,
}

/// The condition of a follower's node. It tells the leader whether the follower is fit to take over leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The node's disk is full: it has no room for another segment.
    pub is_full: bool,
    /// The node's disk is slow, or was within the last half minute.
    pub is_slow: bool,
    /// The node is shutting down.
    pub is_leaving: bool,
}

/// The kinds of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The leader sends entries; without any, it probes whether the follower's log matches.
    Append {
        /// Index of the entry before the first one sent.
        index: u64,
        /// Term of that entry.
        log_term: u64,
        /// The leader's commit index.
        commit: u64,
        /// The entries, which follow `index` without gaps.
        entries: Vec<LogEntry>,
    },
    /// The follower's log matches up to `index`, and is durable up to there.
    Appended {
        /// Index of the last matching entry.
        index: u64,
        /// The follower's commit index.
        commit: u64,
    },
    /// The follower has no entry at `index`, or one of another term than the append said.
    Rejected {
        /// The index of the append.
        index: u64,
        /// The highest index at which the logs may match.
        hint: u64,
        /// Term of the follower's entry there.
        hint_term: u64,
        /// The follower's commit index.
        commit: u64,
    },
    /// The leader confirms that it leads.
    Heartbeat {
        /// The leader's commit index, but at most the last index that the follower has acknowledged.
        commit: u64,
        /// A number that the answer repeats, so that the leader knows that it still led when it had sent this; 0 if it
        /// does not ask.
        context: u64,
    },
    /// The follower answers a heartbeat.
    HeartbeatAnswer {
        /// The follower's commit index.
        commit: u64,
        /// The context of the heartbeat that this answers.
        context: u64,
        /// The condition of the follower's node, as the bits of a u8: 1 `is_full`, 2 `is_slow`, 4 `is_leaving`. Other
        /// bits are sent as 0 and ignored by the receiver.
        condition: Condition,
    },
    /// A candidate asks for a vote, or with a pre-vote whether it would get one.
    RequestVote {
        /// Whether this is a pre-vote, which binds nobody.
        is_pre: bool,
        /// Whether the leader of the preceding term has asked the candidate to take over. If so, the candidate skips
        /// the pre-vote, and members vote at once although they have heard from a leader recently. False for a
        /// pre-vote, whose encoding lacks this field.
        is_hand_over: bool,
        /// What the candidate has.
        progress: Progress,
    },
    /// The answer to a request for a vote.
    Vote {
        /// Whether this answers a pre-vote.
        is_pre: bool,
        /// Whether the candidate gets the vote.
        is_granted: bool,
        /// Commit index of a member that refuses its vote, from which the candidate may learn; else zero.
        commit: u64,
        /// Term of the entry at `commit`.
        commit_term: u64,
    },
    /// The leader asks a follower that has its whole log to stand for election at once.
    TimeoutNow,
    /// The leader no longer has the follower's next entry, and offers a copy of the group's state instead.
    Snapshot {
        /// Index of the last entry that the state includes.
        index: u64,
        /// Term of that entry.
        log_term: u64,
    },
    /// A member that does not know from its disk that it may vote asks both others what they know of the group.
    Join {
        /// The id of the sender's data folder.
        disk: u64,
        /// Index of the last entry of the sender's log; 0 if the log is empty.
        last: u64,
    },
    /// The answer to a join.
    JoinAnswer {
        /// The standing of the sender.
        standing: Standing,
        /// Whether the sender leads in its term.
        is_leading: bool,
        /// The folder id in the join. If that folder has been replaced since, the new one ignores the answer.
        asker: u64,
        /// The id of the sender's data folder.
        disk: u64,
        /// Index of the last entry of the sender's log; 0 if the log is empty.
        last: u64,
        /// The founding of the group, as far as the sender knows.
        founding: Founding,
    },
}

/// The standing of a member in its group, which it states in its answer to a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has neither a log nor a vote.
    Newcomer,
    /// It has a log from the time when the group had one member, and the group of three has not been founded.
    Founder,
    /// It belongs to a group that has been founded.
    Member,
}

impl Standing {
    const ALL: [Self; 3] = [Self::Newcomer, Self::Founder, Self::Member];

    /// Returns the standing's number on the wire, from 0 to 2.
    pub const fn number(self) -> u8 {
        match self {
            Self::Newcomer => 0,
            Self::Founder => 1,
            Self::Member => 2,
        }
    }
}

/// The founding of a group of three: from then on its members vote. A group is founded anew when its operator recovers
/// it from one copy, because the disks of the two others are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Founding {
    /// The number of the founding: 1, or a higher one after a recovery, which derives it from the time in seconds since
    /// 1970, so that each founding of a group has a higher number than those before it. If no founding is known, a
    /// number that the next one must exceed: 0, or another one after a recovery.
    pub number: u32,
    /// The ids of the members' data folders at the founding: of the home, and of its neighbours across dimensions 0 and
    /// 1; all are 0 if no founding is known.
    pub disks: [u64; 3],
    /// Index of the last entry of the founder's log at the founding, when the other logs were empty; 0 if that log was
    /// empty too, or if no founding is known.
    pub last: u64,
}

impl Founding {
    /// Returns true unless this stands for an unknown founding.
    pub fn is_known(&self) -> bool {
        self.disks != [0; 3]
    }

    /// Returns the id of the founding, which differs from those of all other foundings of the group: its number in the
    /// upper half, and a checksum in the lower one. Returns 0 if no founding is known.
    pub fn id(&self) -> u64 {
        if !self.is_known() {
            return 0;
        }
        let [first, second, third] = self.disks.map(u64::to_be_bytes);
        let crc = crc32_of_parts([&first[..], &second, &third, &self.last.to_be_bytes()]);
        u64::from(self.number) << 32 | u64::from(crc)
    }

    /// Returns the number of the founding that has this id.
    pub const fn number_of(id: u64) -> u64 {
        id >> 32
    }
}

/// The numbers of the kinds. That of a vote is one more than that of the pre-vote.
mod kind {
    pub(super) const APPEND: u8 = 1;
    pub(super) const APPENDED: u8 = 2;
    pub(super) const REJECTED: u8 = 3;
    pub(super) const HEARTBEAT: u8 = 4;
    pub(super) const HEARTBEAT_ANSWER: u8 = 5;
    pub(super) const REQUEST_PRE_VOTE: u8 = 6;
    pub(super) const REQUEST_VOTE: u8 = 7;
    pub(super) const PRE_VOTE: u8 = 8;
    pub(super) const VOTE: u8 = 9;
    pub(super) const SNAPSHOT: u8 = 10;
    pub(super) const JOIN: u8 = 11;
    pub(super) const JOIN_ANSWER: u8 = 12;
    pub(super) const TIMEOUT_NOW: u8 = 13;
}

/// The kind of an entry with a body. Other kinds are reserved.
const BODY: u8 = 0;

/// Bytes of an item without the fields of its kind, and without its length.
const ITEM_HEAD: usize = 2 + 1 + 4 * 8;

/// Bytes of an entry without its body.
const ENTRY_HEAD: usize = 1 + 8 + 4;

const _: () = assert!(HEADER_BYTES + 64 + 4 + ITEM_HEAD + 3 * 8 + ENTRY_HEAD <= RAFT_OVERHEAD as usize);

impl RaftItem {
    /// Returns the size of the encoded item in bytes.
    #[expect(clippy::arithmetic_side_effects, reason = "bodies in memory add up to less than a usize holds")]
    pub fn encoded_len(&self) -> usize {
        let fields = match &self.message.payload {
            Payload::Append { entries, .. } => 3 * 8 + entries.iter().map(LogEntry::encoded_len).sum::<usize>(),
            Payload::Appended { .. } | Payload::Heartbeat { .. } => 2 * 8,
            Payload::Join { .. } | Payload::Snapshot { .. } => 2 * 8,
            Payload::HeartbeatAnswer { .. } => 2 * 8 + 1,
            Payload::Rejected { .. } | Payload::RequestVote { is_pre: true, .. } => 4 * 8,
            Payload::RequestVote { is_pre: false, .. } => 1 + 4 * 8,
            Payload::Vote { .. } => 1 + 2 * 8,
            Payload::TimeoutNow => 0,
            Payload::JoinAnswer { .. } => 2 + 7 * 8 + 4,
        };
        4 + ITEM_HEAD + fields
    }

    /// Encodes the item.
    ///
    /// # Panics
    /// If the entries of an append do not follow its index without gaps, or have 4 GiB together.
    #[expect(clippy::arithmetic_side_effects, reason = "an item is longer than its length field")]
    pub fn encode(&self, out: &mut Writer<'_>) {
        let Message { from, to, term, founding, payload } = &self.message;
        let length = u32::try_from(self.encoded_len() - 4).expect("a frame is far below 4 GiB");
        out.u32(length).u16(self.slot.index()).u8(payload.kind());
        out.u64(from.as_u64()).u64(to.as_u64()).u64(*term).u64(*founding);
        match payload {
            Payload::Append { index, log_term, commit, entries } => {
                out.u64(*index).u64(*log_term).u64(*commit);
                let mut last = *index;
                for entry in entries {
                    assert_eq!(Some(entry.index), last.checked_add(1), "the entries of an append follow its index");
                    last = entry.index;
                    let length = u32::try_from(entry.body.len()).expect("it is a part of the item");
                    out.u8(BODY).u64(entry.term).u32(length).bytes(&entry.body);
                }
            }
            Payload::Appended { index, commit } => _ = out.u64(*index).u64(*commit),
            Payload::Rejected { index, hint, hint_term, commit } => {
                out.u64(*index).u64(*hint).u64(*hint_term).u64(*commit);
            }
            Payload::Heartbeat { commit, context } => _ = out.u64(*commit).u64(*context),
            Payload::HeartbeatAnswer { commit, context, condition } => {
                out.u64(*commit).u64(*context).u8(condition.bits());
            }
            Payload::RequestVote { is_pre, is_hand_over, progress } => {
                assert!(!(*is_pre && *is_hand_over), "a candidate that takes over from the leader skips the pre-vote");
                if !is_pre {
                    out.u8(u8::from(*is_hand_over));
                }
                let Progress { last_index, last_term, commit, commit_term } = progress;
                out.u64(*last_index).u64(*last_term).u64(*commit).u64(*commit_term);
            }
            Payload::Vote { is_granted, commit, commit_term, .. } => {
                out.u8(u8::from(*is_granted)).u64(*commit).u64(*commit_term);
            }
            Payload::Snapshot { index, log_term } => _ = out.u64(*index).u64(*log_term),
            Payload::Join { disk, last } => _ = out.u64(*disk).u64(*last),
            Payload::JoinAnswer { standing, is_leading, asker, disk, last, founding } => {
                out.u8(standing.number()).u8(u8::from(*is_leading)).u64(*asker).u64(*disk).u64(*last);
                founding.disks.iter().for_each(|disk| _ = out.u64(*disk));
                out.u64(founding.last).u32(founding.number);
            }
            Payload::TimeoutNow => {}
        }
    }

    /// Decodes the payload of a frame that has `count` items. Those of a kind that this version does not know are left
    /// out. The bodies of entries share the buffer of `payload`.
    ///
    /// # Errors
    /// Returns a [`DecodeError`], which names the field, also if there are more than [`RAFT_ITEMS_MAX`] items.
    pub fn decode_all(payload: &Bytes, count: u16) -> Result<Vec<Self>, DecodeError> {
        Self::read_all(Reader::new(payload), payload, count)
    }

    /// Does the same with a reader of the payload.
    pub(super) fn read_all(
        mut rest: Reader<'_, impl Observer>,
        payload: &Bytes,
        count: u16,
    ) -> Result<Vec<Self>, DecodeError> {
        if usize::from(count) > RAFT_ITEMS_MAX {
            return Err(DecodeError::Value { field: "count" });
        }
        let mut items = Vec::new();
        for _ in 0..count {
            let length = usize::try_from(rest.u32("length")?).map_err(|_| DecodeError::Short { field: "length" })?;
            items.extend(Self::decode(rest.part(length, "length")?, payload)?);
        }
        if rest.is_at_end() { Ok(items) } else { Err(DecodeError::Payload) }
    }

    fn decode(mut item: Reader<'_, impl Observer>, payload: &Bytes) -> Result<Option<Self>, DecodeError> {
        let slot = SlotId::new(item.u16("slot")?, Slots::MOST).ok_or(DecodeError::Value { field: "slot" })?;
        let kind = item.u8("kind")?;
        let (from, to) = (member(&mut item, "from")?, member(&mut item, "to")?);
        let (term, founding) = (item.u64("term")?, item.u64("founding")?);
        let Some(payload) = Payload::decode(kind, &mut item, payload)? else {
            item.rest("unknown");
            return Ok(None);
        };
        // A known kind has no further fields; a later version that adds some needs another kind.
        if item.is_at_end() {
            Ok(Some(Self { slot, message: Message { from, to, term, founding, payload } }))
        } else {
            Err(DecodeError::Value { field: "length" })
        }
    }
}

impl Payload {
    const fn kind(&self) -> u8 {
        match self {
            Self::Append { .. } => kind::APPEND,
            Self::Appended { .. } => kind::APPENDED,
            Self::Rejected { .. } => kind::REJECTED,
            Self::Heartbeat { .. } => kind::HEARTBEAT,
            Self::HeartbeatAnswer { .. } => kind::HEARTBEAT_ANSWER,
            Self::RequestVote { is_pre: true, .. } => kind::REQUEST_PRE_VOTE,
            Self::RequestVote { is_pre: false, .. } => kind::REQUEST_VOTE,
            Self::Vote { is_pre: true, .. } => kind::PRE_VOTE,
            Self::Vote { is_pre: false, .. } => kind::VOTE,
            Self::Snapshot { .. } => kind::SNAPSHOT,
            Self::Join { .. } => kind::JOIN,
            Self::JoinAnswer { .. } => kind::JOIN_ANSWER,
            Self::TimeoutNow => kind::TIMEOUT_NOW,
        }
    }

    /// Decodes the fields of a kind. Returns `None` if this version does not know the kind, or that of an entry.
    fn decode(kind: u8, item: &mut Reader<'_, impl Observer>, payload: &Bytes) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match kind {
            kind::APPEND => {
                let (index, log_term) = (item.u64("index")?, item.u64("log_term")?);
                let commit = item.u64("commit")?;
                let Some(entries) = LogEntry::decode_all(index, item, payload)? else { return Ok(None) };
                Self::Append { index, log_term, commit, entries }
            }
            kind::APPENDED => Self::Appended { index: item.u64("index")?, commit: item.u64("commit")? },
            kind::REJECTED => Self::Rejected {
                index: item.u64("index")?,
                hint: item.u64("hint")?,
                hint_term: item.u64("hint_term")?,
                commit: item.u64("commit")?,
            },
            kind::HEARTBEAT => Self::Heartbeat { commit: item.u64("commit")?, context: item.u64("context")? },
            kind::HEARTBEAT_ANSWER => Self::HeartbeatAnswer {
                commit: item.u64("commit")?,
                context: item.u64("context")?,
                condition: Condition::of_bits(item.u8("condition")?),
            },
            kind::REQUEST_PRE_VOTE | kind::REQUEST_VOTE => Self::RequestVote {
                is_pre: kind == kind::REQUEST_PRE_VOTE,
                is_hand_over: kind == kind::REQUEST_VOTE && item.bool("is_hand_over")?,
                progress: Progress {
                    last_index: item.u64("last_index")?,
                    last_term: item.u64("last_term")?,
                    commit: item.u64("commit")?,
                    commit_term: item.u64("commit_term")?,
                },
            },
            kind::PRE_VOTE | kind::VOTE => Self::Vote {
                is_pre: kind == kind::PRE_VOTE,
                is_granted: item.bool("is_granted")?,
                commit: item.u64("commit")?,
                commit_term: item.u64("commit_term")?,
            },
            kind::SNAPSHOT => Self::Snapshot { index: item.u64("index")?, log_term: item.u64("log_term")? },
            kind::JOIN => Self::Join { disk: item.u64("disk")?, last: item.u64("last")? },
            kind::JOIN_ANSWER => Self::JoinAnswer {
                standing: standing(item.u8("standing")?)?,
                is_leading: item.bool("is_leading")?,
                asker: item.u64("asker")?,
                disk: item.u64("disk")?,
                last: item.u64("last")?,
                founding: Founding {
                    disks: [item.u64("founders")?, item.u64("founders")?, item.u64("founders")?],
                    last: item.u64("founded_last")?,
                    number: item.u32("founded")?,
                },
            },
            kind::TIMEOUT_NOW => Self::TimeoutNow,
            _ => return Ok(None),
        }))
    }
}

impl Condition {
    const fn bits(self) -> u8 {
        let Self { is_full, is_slow, is_leaving } = self;
        (is_full as u8) | (is_slow as u8) << 1 | (is_leaving as u8) << 2
    }

    const fn of_bits(bits: u8) -> Self {
        Self { is_full: bits & 1 != 0, is_slow: bits & 2 != 0, is_leaving: bits & 4 != 0 }
    }
}

impl LogEntry {
    #[expect(clippy::arithmetic_side_effects, reason = "the length of a buffer in memory")]
    fn encoded_len(&self) -> usize {
        ENTRY_HEAD + self.body.len()
    }

    /// Decodes the entries up to the end of an item, which follow `index`. Returns `None` if the kind of one of them is
    /// unknown.
    fn decode_all(
        mut index: u64,
        item: &mut Reader<'_, impl Observer>,
        payload: &Bytes,
    ) -> Result<Option<Vec<Self>>, DecodeError> {
        let mut entries = Vec::new();
        while !item.is_at_end() {
            if item.u8("entry_kind")? != BODY {
                return Ok(None);
            }
            index = index.checked_add(1).ok_or(DecodeError::Value { field: "index" })?;
            let (term, length) = (item.u64("entry_term")?, item.u32("body_length")?);
            let length = usize::try_from(length).map_err(|_| DecodeError::Short { field: "body" })?;
            let body = payload.slice_ref(item.bytes(length, "body")?);
            entries.push(Self { index, term, body });
        }
        Ok(Some(entries))
    }
}

fn standing(number: u8) -> Result<Standing, DecodeError> {
    let standing = Standing::ALL.into_iter().find(|standing| standing.number() == number);
    standing.ok_or(DecodeError::Value { field: "standing" })
}

fn member(item: &mut Reader<'_, impl Observer>, field: &'static str) -> Result<MemberId, DecodeError> {
    MemberId::new(item.u64(field)?).ok_or(DecodeError::Value { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(payload: Payload) -> RaftItem {
        let member = |number| MemberId::new(number).expect("not zero");
        let slot = SlotId::new(258, Slots::MOST).expect("below 1024");
        let (from, to) = (member(0x1001), member(u64::MAX));
        RaftItem { slot, message: Message { from, to, term: 5, founding: 6, payload } }
    }

    fn payloads() -> Vec<Payload> {
        let progress = Progress { last_index: 9, last_term: 4, commit: 7, commit_term: 3 };
        let entry = |index, body| LogEntry { index, term: 4, body: Bytes::from_static(body) };
        let mut payloads = vec![
            Payload::Append { index: 7, log_term: 3, commit: 6, entries: vec![entry(8, b""), entry(9, b"body")] },
            Payload::Append { index: u64::MAX, log_term: 0, commit: 0, entries: Vec::new() },
            Payload::Appended { index: 9, commit: 8 },
            Payload::Rejected { index: 9, hint: 5, hint_term: 2, commit: 4 },
            Payload::Heartbeat { commit: 5, context: 0 },
            Payload::HeartbeatAnswer { commit: 6, context: u64::MAX, condition: Condition::default() },
            Payload::TimeoutNow,
        ];
        for bits in 1..8 {
            payloads.push(Payload::HeartbeatAnswer { commit: 6, context: 0, condition: Condition::of_bits(bits) });
        }
        for (is_pre, is_hand_over) in [(true, false), (false, false), (false, true)] {
            payloads.push(Payload::RequestVote { is_pre, is_hand_over, progress });
            payloads.push(Payload::Vote { is_pre, is_granted: is_pre, commit: 7, commit_term: 3 });
        }
        payloads.push(Payload::Snapshot { index: 9, log_term: 4 });
        payloads.push(Payload::Join { disk: 77, last: 9 });
        for standing in Standing::ALL {
            let founding = Founding { number: 5, disks: [1, 2, 3], last: 4 };
            let (is_leading, asker, disk, last) = (standing == Standing::Member, 77, 78, 9);
            payloads.push(Payload::JoinAnswer { standing, is_leading, asker, disk, last, founding });
        }
        payloads
    }

    fn encoded(items: &[RaftItem]) -> Bytes {
        let mut out = Vec::new();
        items.iter().for_each(|item| item.encode(&mut Writer::new(&mut out)));
        out.into()
    }

    #[test]
    fn every_message_survives_encoding() {
        let items: Vec<RaftItem> = payloads().into_iter().map(item).collect();
        let bytes = encoded(&items);
        assert_eq!(bytes.len(), items.iter().map(RaftItem::encoded_len).sum::<usize>());
        let count = u16::try_from(items.len()).expect("few");
        let kinds: Vec<u8> = items.iter().map(|item| item.message.payload.kind()).collect();
        assert_eq!(kinds, [1, 1, 2, 3, 4, 5, 13, 5, 5, 5, 5, 5, 5, 5, 6, 8, 7, 9, 7, 9, 10, 11, 12, 12, 12]);
        assert_eq!(RaftItem::decode_all(&bytes, count), Ok(items));
        assert_eq!(RaftItem::decode_all(&bytes, count - 1), Err(DecodeError::Payload));
        assert_eq!(RaftItem::decode_all(&bytes, count + 1), Err(DecodeError::Short { field: "length" }));
        assert_eq!(RaftItem::decode_all(&Bytes::new(), 0), Ok(Vec::new()));
    }

    #[test]
    fn the_layout_is_that_of_the_table() {
        let entries = vec![LogEntry { index: 1, term: 2, body: Bytes::from_static(b"ab") }];
        let append = item(Payload::Append { index: 0, log_term: 0, commit: 3, entries });
        let expected = [
            &[0, 0, 0, 74, 1, 2, 1][..],
            &0x1001u64.to_be_bytes(),
            &[0xff; 8],
            &5u64.to_be_bytes(),
            &6u64.to_be_bytes(),
            &0u64.to_be_bytes(),
            &0u64.to_be_bytes(),
            &3u64.to_be_bytes(),
            &[0],
            &2u64.to_be_bytes(),
            &[0, 0, 0, 2],
            b"ab",
        ];
        assert_eq!(encoded(&[append]), expected.concat());
    }

    #[test]
    fn what_is_cut_or_has_a_wrong_field_is_refused_with_its_name() {
        for payload in payloads() {
            let whole = encoded(&[item(payload.clone())]);
            for cut in 0..whole.len() {
                let result = RaftItem::decode_all(&whole.slice(..cut), 1);
                assert_eq!(result, Err(DecodeError::Short { field: "length" }), "{payload:?} cut to {cut}");
            }
            // An item whose length field is too small or too large by one.
            for change in [-1, 1] {
                let mut bytes = whole.to_vec();
                bytes[3] = bytes[3].checked_add_signed(change).expect("a short item");
                bytes.extend(vec![0; usize::try_from(change.max(0)).expect("not negative")]);
                let result = RaftItem::decode_all(&bytes.into(), 1);
                assert!(result.is_err(), "{payload:?} {change}: {result:?}");
            }
        }
        let value = |field| Err(DecodeError::Value { field });
        for (at, bytes, expected) in [
            (4, &[4, 0][..], value("slot")),
            (7, &[0; 8], value("from")),
            (15, &[0; 8], value("to")),
            (39, &[2], value("is_granted")),
        ] {
            let vote = Payload::Vote { is_pre: false, is_granted: true, commit: 0, commit_term: 0 };
            let mut wrong = encoded(&[item(vote)]).to_vec();
            wrong[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(RaftItem::decode_all(&wrong.into(), 1), expected, "{at}");
        }
        let too_many = u16::try_from(RAFT_ITEMS_MAX + 1).expect("a small limit");
        assert_eq!(RaftItem::decode_all(&Bytes::new(), too_many), value("count"));
    }

    #[test]
    fn an_index_does_not_wrap() {
        let entries = vec![LogEntry { index: 8, term: 1, body: Bytes::new() }];
        let mut bytes = encoded(&[item(Payload::Append { index: 7, log_term: 1, commit: 0, entries })]).to_vec();
        bytes[39..47].copy_from_slice(&[0xff; 8]);
        assert_eq!(RaftItem::decode_all(&bytes.into(), 1), Err(DecodeError::Value { field: "index" }));
    }

    #[test]
    fn an_unknown_kind_is_skipped_and_the_others_are_read() {
        let heartbeat = item(Payload::Heartbeat { commit: 5, context: 0 });
        let entries = vec![LogEntry { index: 8, term: 1, body: Bytes::new() }];
        let append = item(Payload::Append { index: 7, log_term: 1, commit: 0, entries });
        for (other, at) in [(&heartbeat, 6), (&append, 4 + ITEM_HEAD + 24)] {
            let mut unknown = encoded(std::slice::from_ref(other)).to_vec();
            unknown[at] = 77;
            let bytes = [unknown, encoded(std::slice::from_ref(&heartbeat)).to_vec()].concat();
            assert_eq!(RaftItem::decode_all(&bytes.into(), 2), Ok(vec![heartbeat.clone()]));
        }
    }

    #[test]
    #[should_panic(expected = "follow its index")]
    fn an_append_with_a_gap_is_not_encoded() {
        let entries = vec![LogEntry { index: 9, term: 1, body: Bytes::new() }];
        encoded(&[item(Payload::Append { index: 7, log_term: 1, commit: 0, entries })]);
    }
}
