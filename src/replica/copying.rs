//! A copy of the group's state that a member takes from its leader, because the leader has its next entries no more.
//!
//! ```text
//!  Payload::Snapshot ──► Output::Copy ─ ─► Input::CopyReady ──► Output::Install ─ ─► Input::Copied
//!                          offered                │ ready             installing        │
//!                             └► Output::NoCopy,  ▼                                     ▼
//!                                Input::NotCopied ◄─────────       the log begins after the state
//! ```
//!
//! The library learns nothing of it until the copy is durable: it panics when a second snapshot arrives before the
//! first one is restored. Its log does not change from `ready` on, because what the journal is to do must not depend on
//! entries that come meanwhile: appends and votes are dropped, as if they were lost, and the state is installed when
//! all writes are durable. Then the member starts anew, as it would after a crash: its log is what the state includes,
//! with no entries after that. Entries that it had beyond are not in the logs of the others, which know a later term.

use super::message::{MemberId, Message, Payload};

/// A copy that is being made.
#[derive(Debug)]
pub(super) struct Copying {
    /// The leader that has offered it.
    pub(super) from: MemberId,
    stage: Stage,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Offered,
    /// Everything is here. The state includes the entries up to this index, which has this term.
    Ready(u64, u64),
    Installing(u64, u64),
}

impl Copying {
    /// Returns a copy that a leader has offered.
    pub(super) const fn new(from: MemberId) -> Self {
        Self { from, stage: Stage::Offered }
    }

    /// Records that everything is here, and which entry is the last one in it. Returns false if that was known.
    pub(super) fn set_ready(&mut self, index: u64, term: u64) -> bool {
        let is_new = self.stage == Stage::Offered;
        if is_new {
            self.stage = Stage::Ready(index, term);
        }
        is_new
    }

    /// Returns index and term of the last entry in the state if it can be installed now, once.
    pub(super) fn install(&mut self) -> Option<(u64, u64)> {
        let Stage::Ready(index, term) = self.stage else { return None };
        self.stage = Stage::Installing(index, term);
        Some((index, term))
    }

    /// Returns index and term of the last entry in the state that is being installed.
    pub(super) const fn installing(&self) -> Option<(u64, u64)> {
        if let Stage::Installing(index, term) = self.stage { Some((index, term)) } else { None }
    }

    /// Returns true if the log must not change.
    pub(super) fn is_frozen(&self) -> bool {
        planted!("entries taken while a state is installed", self.stage != Stage::Offered, false)
    }

    /// Returns true if a message might change the log, or let this member lead.
    pub(super) const fn is_delayed(message: &Message) -> bool {
        match message.payload {
            Payload::Append { .. } | Payload::Vote { .. } | Payload::TimeoutNow => true,
            Payload::Appended { .. }
            | Payload::Rejected { .. }
            | Payload::Heartbeat { .. }
            | Payload::HeartbeatAnswer { .. }
            | Payload::RequestVote { .. }
            | Payload::Snapshot { .. }
            | Payload::Join { .. }
            | Payload::JoinAnswer { .. } => false,
        }
    }
}
