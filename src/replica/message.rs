//! The messages between the members of a group: those of Raft, each with the fields that it needs.
//!
//! They come from other nodes, so their contents are not trusted: `guard` decides which of them reach the library.

use std::fmt;
use std::num::NonZeroU64;

use bytes::Bytes;

/// A member of a replica group. A node whose disk is replaced is another member, because the new disk does not have the
/// votes and entries that the old one has acknowledged.
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

/// A message from one member to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: MemberId,
    /// The receiver.
    pub to: MemberId,
    /// The sender's term. In a pre-vote, and in an answer that grants one, the term that the candidate asks for.
    pub term: u64,
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
    },
    /// The follower answers a heartbeat.
    HeartbeatAnswer {
        /// The follower's commit index.
        commit: u64,
    },
    /// A candidate asks for a vote, or with a pre-vote whether it would get one.
    RequestVote {
        /// Whether this is a pre-vote, which binds nobody.
        is_pre: bool,
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
}

impl Payload {
    /// Returns true if the message relies on earlier writes, so that it may be sent only once these are durable.
    ///
    /// The answer to a heartbeat does not: a member that forgets a term in a crash has not voted in it, and its leader
    /// has durable votes of a majority. If these answers waited for the disk, a leader would step down whenever a disk
    /// stalls that all members share, as if it had lost its majority.
    pub(super) fn needs_durability(&self) -> bool {
        match self {
            Self::Append { .. } | Self::Heartbeat { .. } => false,
            Self::HeartbeatAnswer { .. } => planted!("heartbeat answers wait for the disk", false, true),
            Self::Appended { .. } | Self::Rejected { .. } => {
                planted!("append acknowledged before it is durable", true, false)
            }
            Self::RequestVote { is_pre, .. } => !is_pre,
            Self::Vote { is_pre, .. } => planted!("vote given before it is durable", !is_pre, false),
        }
    }
}
