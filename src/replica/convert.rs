//! Conversion between our messages and those of the Raft library.
//!
//! The library's own encoding, protobuf, is never used: only our code decodes what a peer has sent.

use raft::CAMPAIGN_TRANSFER;
use raft::eraftpb::{self, MessageType as Type};

use super::message::{Condition, LogEntry, MemberId, Message, Payload, Progress};

/// Converts an entry to the library's type.
pub(super) fn to_raft_entry(entry: &LogEntry) -> eraftpb::Entry {
    let LogEntry { index, term, body } = entry.clone();
    eraftpb::Entry { index, term, data: body, ..eraftpb::Entry::default() }
}

/// Returns our form of an entry.
pub(super) fn from_raft_entry(entry: eraftpb::Entry) -> LogEntry {
    LogEntry { index: entry.index, term: entry.term, body: entry.data }
}

/// Converts a message to the library's type.
///
/// # Panics
///
/// Panics if the message is a join or the answer to one, which the library does not have.
pub(super) fn to_raft(message: Message) -> eraftpb::Message {
    let mut raw = eraftpb::Message {
        from: message.from.as_u64(),
        to: message.to.as_u64(),
        term: message.term,
        ..eraftpb::Message::default()
    };
    let kind = match message.payload {
        Payload::Append { index, log_term, commit, entries } => {
            (raw.index, raw.log_term, raw.commit) = (index, log_term, commit);
            raw.set_entries(entries.iter().map(to_raft_entry).collect());
            Type::MsgAppend
        }
        Payload::Appended { index, commit } => {
            (raw.index, raw.commit) = (index, commit);
            Type::MsgAppendResponse
        }
        Payload::Rejected { index, hint, hint_term, commit } => {
            (raw.reject, raw.index, raw.commit) = (true, index, commit);
            (raw.reject_hint, raw.log_term) = (hint, hint_term);
            Type::MsgAppendResponse
        }
        Payload::Heartbeat { commit, context } => {
            (raw.commit, raw.context) = (commit, to_raft_context(context).into());
            Type::MsgHeartbeat
        }
        // The library has no field for the condition of a follower.
        Payload::HeartbeatAnswer { commit, context, condition: _ } => {
            (raw.commit, raw.context) = (commit, to_raft_context(context).into());
            Type::MsgHeartbeatResponse
        }
        Payload::RequestVote { is_pre, is_hand_over, progress } => {
            if is_hand_over {
                raw.context = CAMPAIGN_TRANSFER.into();
            }
            (raw.index, raw.log_term) = (progress.last_index, progress.last_term);
            (raw.commit, raw.commit_term) = (progress.commit, progress.commit_term);
            if is_pre { Type::MsgRequestPreVote } else { Type::MsgRequestVote }
        }
        Payload::Vote { is_pre, is_granted, commit, commit_term } => {
            (raw.reject, raw.commit, raw.commit_term) = (!is_granted, commit, commit_term);
            if is_pre { Type::MsgRequestPreVoteResponse } else { Type::MsgRequestVoteResponse }
        }
        Payload::Join { .. } | Payload::JoinAnswer { .. } => unreachable!("joins are handled before the library"),
        Payload::TimeoutNow => Type::MsgTimeoutNow,
        Payload::Snapshot { index, log_term } => {
            // The library never restores a snapshot: `guard` lets one through only if this member already has its last
            // entry. But before the library compares that entry, it checks that the receiver is a voter according to
            // the snapshot.
            raw.set_snapshot(snapshot(index, log_term, vec![message.to.as_u64()]));
            Type::MsgSnapshot
        }
    };
    raw.set_msg_type(kind);
    raw
}

/// Converts a message that the library wants to send to our own type. `founding` is the id of the group's founding.
///
/// # Panics
///
/// Panics if the library sends a message of a kind that this module never asks it for, such as a read index request, or
/// entries with a gap.
pub(super) fn from_raft(mut raw: eraftpb::Message, founding: u64) -> Message {
    let payload = match raw.get_msg_type() {
        Type::MsgAppend => {
            let entries: Vec<_> = raw.take_entries().into_iter().map(from_raft_entry).collect();
            // With `batch_append`, the library joins entries to an append that they do not follow.
            assert!(follow(raw.index, &entries), "an append at {} has entries that do not follow", raw.index);
            Payload::Append { index: raw.index, log_term: raw.log_term, commit: raw.commit, entries }
        }
        Type::MsgAppendResponse if raw.reject => {
            Payload::Rejected { index: raw.index, hint: raw.reject_hint, hint_term: raw.log_term, commit: raw.commit }
        }
        Type::MsgAppendResponse => Payload::Appended { index: raw.index, commit: raw.commit },
        Type::MsgHeartbeat => Payload::Heartbeat { commit: raw.commit, context: from_raft_context(&raw.context) },
        Type::MsgHeartbeatResponse => Payload::HeartbeatAnswer {
            commit: raw.commit,
            context: from_raft_context(&raw.context),
            condition: Condition::default(),
        },
        kind @ (Type::MsgRequestVote | Type::MsgRequestPreVote) => Payload::RequestVote {
            is_pre: kind == Type::MsgRequestPreVote,
            is_hand_over: raw.context == CAMPAIGN_TRANSFER,
            progress: Progress {
                last_index: raw.index,
                last_term: raw.log_term,
                commit: raw.commit,
                commit_term: raw.commit_term,
            },
        },
        kind @ (Type::MsgRequestVoteResponse | Type::MsgRequestPreVoteResponse) => Payload::Vote {
            is_pre: kind == Type::MsgRequestPreVoteResponse,
            is_granted: !raw.reject,
            commit: raw.commit,
            commit_term: raw.commit_term,
        },
        Type::MsgTimeoutNow => Payload::TimeoutNow,
        Type::MsgSnapshot => {
            let metadata = raw.get_snapshot().get_metadata();
            Payload::Snapshot { index: metadata.index, log_term: metadata.term }
        }
        kind @ (Type::MsgHup
        | Type::MsgBeat
        | Type::MsgPropose
        | Type::MsgUnreachable
        | Type::MsgSnapStatus
        | Type::MsgCheckQuorum
        | Type::MsgTransferLeader
        | Type::MsgReadIndex
        | Type::MsgReadIndexResp) => panic!("the library sends a {kind:?}, which nothing asks for"),
    };
    let member = |number| MemberId::new(number).expect("members have numbers");
    Message { from: member(raw.from), to: member(raw.to), term: raw.term, founding, payload }
}

/// Returns the library's form of a snapshot of a group with these voters. It carries no data: the state is transferred
/// outside of the library.
pub(super) fn snapshot(index: u64, term: u64, voters: Vec<u64>) -> eraftpb::Snapshot {
    let mut snapshot = eraftpb::Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (index, term);
    metadata.mut_conf_state().set_voters(voters);
    snapshot
}

/// Converts the context of a heartbeat to the library's form. It takes an empty one for none.
pub(super) fn to_raft_context(context: u64) -> Vec<u8> {
    if context == 0 { Vec::new() } else { context.to_be_bytes().to_vec() }
}

/// Returns our form of a heartbeat's context.
///
/// # Panics
///
/// Panics if it is none that [`to_raft_context`] has returned.
pub(super) fn from_raft_context(context: &[u8]) -> u64 {
    if context.is_empty() { 0 } else { u64::from_be_bytes(context.try_into().expect("eight bytes")) }
}

/// Returns true if the entries have consecutive indexes after `index`.
pub(super) fn follow(index: u64, entries: &[LogEntry]) -> bool {
    entries.iter().zip(index + 1..).all(|(entry, expected)| entry.index == expected)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_message_survives_the_way_through_the_library() {
        let progress = Progress { last_index: 9, last_term: 4, commit: 7, commit_term: 3 };
        let entry = |index| LogEntry { index, term: 4, body: Bytes::from_static(b"body") };
        let mut payloads = vec![
            Payload::Append { index: 7, log_term: 3, commit: 6, entries: vec![entry(8), entry(9)] },
            Payload::Append { index: 0, log_term: 0, commit: 0, entries: Vec::new() },
            Payload::Appended { index: 9, commit: 8 },
            Payload::Rejected { index: 9, hint: 5, hint_term: 2, commit: 4 },
            Payload::Heartbeat { commit: 5, context: 0 },
            Payload::HeartbeatAnswer { commit: 6, context: u64::MAX - 1, condition: Condition::default() },
            Payload::TimeoutNow,
            Payload::RequestVote { is_pre: false, is_hand_over: true, progress },
        ];
        for is_pre in [false, true] {
            payloads.push(Payload::RequestVote { is_pre, is_hand_over: false, progress });
            payloads.push(Payload::Vote { is_pre, is_granted: true, commit: 0, commit_term: 0 });
            payloads.push(Payload::Vote { is_pre, is_granted: false, commit: 7, commit_term: 3 });
        }
        payloads.push(Payload::Snapshot { index: 9, log_term: 4 });
        let member = |number| MemberId::new(number).expect("not zero");
        for payload in payloads {
            let message = Message { from: member(1), to: member(u64::MAX), term: 5, founding: 6, payload };
            assert_eq!(from_raft(to_raft(message.clone()), 6), message);
        }
    }

    #[test]
    #[should_panic(expected = "do not follow")]
    fn an_append_of_the_library_with_a_gap_is_a_bug() {
        let entries = vec![LogEntry { index: 10, term: 4, body: Bytes::new() }];
        let payload = Payload::Append { index: 198, log_term: 4, commit: 0, entries };
        let member = |number| MemberId::new(number).expect("not zero");
        from_raft(to_raft(Message { from: member(1), to: member(2), term: 4, founding: 0, payload }), 0);
    }
}
