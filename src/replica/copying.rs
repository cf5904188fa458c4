//! A snapshot that a member copies from its leader, because the leader no longer has the entries that the member needs
//! next.
//!
//! ```text
//!  Payload::Snapshot ──► Output::Copy ─ ─► Input::CopyReady ──► Output::Install ─ ─► Input::Copied
//!                          offered                │ ready             installing        │
//!                             └► Output::NoCopy,  ▼                                     ▼
//!                                Input::NotCopied ◄─────────       the log begins after the state
//! ```
//!
//! The library hears of the snapshot only when the copy is durable: it panics when a second snapshot arrives before the
//! first one is restored. From `ready` on, the log of this member does not change, so that entries which arrive
//! meanwhile do not affect what the journal has to do: appends and votes are dropped, as if they were lost. The state
//! is installed when all writes are durable. Then the member restarts the library, as after a crash, with a log that
//! ends with the last entry in the state. Entries that it had after that one are not in the logs of the others, which
//! know a later term.

use super::message::{MemberId, Message, Payload};

/// A copy that is being made.
#[derive(Debug)]
pub(super) struct Copying {
    /// The leader that has offered it.
    pub(super) from: MemberId,
    phase: Phase,
}

/// The phases of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The leader has offered the copy, and it is not complete.
    Offered,
    /// The copy is complete. It includes the entries up to this index; the last of them has this term.
    Ready(u64, u64),
    /// The copy, with the same two numbers, is being installed.
    Installing(u64, u64),
}

impl Copying {
    /// Begins a copy that a leader has offered.
    pub(super) const fn new(from: MemberId) -> Self {
        Self { from, phase: Phase::Offered }
    }

    /// Notes that the copy is complete, with index and term of the last entry in it. Returns false and changes nothing
    /// if it was complete already.
    pub(super) fn set_ready(&mut self, index: u64, term: u64) -> bool {
        let is_new = self.phase == Phase::Offered;
        if is_new {
            self.phase = Phase::Ready(index, term);
        }
        is_new
    }

    /// Begins the installation of a complete copy, and returns index and term of the last entry in it. Returns `None`
    /// if the copy is not complete, or its installation has begun already.
    pub(super) fn install(&mut self) -> Option<(u64, u64)> {
        let Phase::Ready(index, term) = self.phase else { return None };
        self.phase = Phase::Installing(index, term);
        Some((index, term))
    }

    /// Returns index and term of the last entry in the copy while it is being installed.
    pub(super) const fn installing(&self) -> Option<(u64, u64)> {
        if let Phase::Installing(index, term) = self.phase { Some((index, term)) } else { None }
    }

    /// Returns true if the log must not change, which is so once the copy is complete.
    pub(super) fn is_frozen(&self) -> bool {
        planted!("entries taken while a state is installed", self.phase != Phase::Offered, false)
    }

    /// Returns true if a message might change the log or make this member the leader. Such messages are dropped while
    /// the log is frozen.
    pub(super) const fn is_ignored(message: &Message) -> bool {
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
