//! The messages between the members of a group: those of Raft, each with the fields that it needs.
//!
//! They come from other nodes, so their contents are not trusted: `guard` decides which of them reach the library.

pub use crate::wire::raft::{Condition, Founding, LogEntry, MemberId, Message, Payload, Progress, Standing};

/// Returns true if a message relies on earlier writes, so that it may be sent only once these are durable.
///
/// The answer to a heartbeat does not: a member that forgets a term in a crash has not voted in it, and its leader has
/// durable votes of a majority. If these answers waited for the disk, a leader would step down whenever a disk stalls
/// that all members share, as if it had lost its majority.
pub(super) fn needs_durability(payload: &Payload) -> bool {
    match payload {
        // A join and its answer promise nothing, or only what the sender has made durable before.
        Payload::Append { .. }
        | Payload::Heartbeat { .. }
        | Payload::TimeoutNow
        | Payload::Snapshot { .. }
        | Payload::Join { .. }
        | Payload::JoinAnswer { .. } => false,
        Payload::HeartbeatAnswer { .. } => planted!("heartbeat answers wait for the disk", false, true),
        Payload::Appended { .. } | Payload::Rejected { .. } => {
            planted!("append acknowledged before it is durable", true, false)
        }
        Payload::RequestVote { is_pre, .. } => !is_pre,
        Payload::Vote { is_pre, .. } => planted!("vote given before it is durable", !is_pre, false),
    }
}
