//! Which messages reach the Raft library.
//!
//! The library trusts its peers: it panics on messages that a correct peer never sends, and on some that a correct peer
//! sends only to a member that has lost a part of its log. So each message is judged first: it is stepped, dropped, or
//! proves that this copy of the log is bad. Dropping is safe, since Raft tolerates lost messages.
//!
//! | message | not stepped when |
//! |---|---|
//! | any | it is not from another member to this one; its term is 0, as in local messages; a number is out of range |
//! | `Append` | its entries are not consecutive, or their terms decrease; too much waits for the disk |
//! | `Append`, `Heartbeat` | another member leads in this term |
//! | `Append` | bad copy: an entry differs from one that is committed here |
//! | `Heartbeat` | bad copy: it commits an entry that this member has acknowledged and no longer has |
//! | `Appended`, `Rejected` | it is about entries that were never sent, or is older than an acknowledgement |
//! | `Vote` | this candidate's own vote is not durable, so it cannot have asked for others yet |
//! | `RequestVote` | this member holds its vote: it has just started, or heard from a leader a moment ago (1) |
//! | `RequestVote` | this member may not vote yet, or not for a candidate whose log is so short (`join`) |
//! | `TimeoutNow` | it is not from the leader of this term, or a committed entry is not applied here yet |
//! | `TimeoutNow` | this member is recovering from a lost disk (`join`) |
//! | `Join`, `JoinAnswer` | always: the library has no such messages, and `voter` handles them before |
//! | any other | its sender belongs to another founding of the group: `voter` has dropped it before (`join`) |
//! | `Snapshot` | another member leads in this term or in a later one; its index or a term is impossible |
//! | `Snapshot` | bad copy: an entry differs from one that is committed here |
//!
//! 1. Unless the leader of the preceding term has handed its leadership over to the candidate.
//!
//! A `Snapshot` is passed to the library only if this member already has its last entry, so that the library merely
//! acknowledges it. Otherwise the state has to be copied first ([`Verdict::Copy`]).
//!
//! The rule about `RequestVote` is what a leader's lease ([`LEASE_US`]) relies on. Let a leader of term T have a lease
//! because a member F has answered a heartbeat that it sent at the time S. Any leader of a later term needs the vote of
//! F or that of the old leader, which by then has ceased to lead and so has no lease. F has answered before it knew a
//! later term, so it votes after that answer. From the answer on it drops all requests for votes for
//! [`VOTE_HOLD_TICKS`], also when it restarts meanwhile. So the other leader is elected, and acknowledges something,
//! later than S + `LEASE_US`.
//!
//! There is one exception: F does not hold its vote against a candidate of term T' + 1 to which the leader of T' hands
//! its leadership over, and that candidate does not wait for an election timeout either. It has become a candidate by
//! the `TimeoutNow` of that leader, while T' was its own term. If T' is T, the leader of T has renounced its lease for
//! the rest of the term before it could send `TimeoutNow`, so there is no lease to protect. If T' is later than T, the
//! leader of T' was itself elected after S + `LEASE_US`, by the same argument for the lower term. Only the first
//! election of such a candidate has this mark: if it is not elected, it asks for votes like any other.
//!
//! The library has a similar rule (`check_quorum`: no vote within an election timeout after a message of the leader),
//! which is not enough for two reasons. It forgets the leader in a restart; and it forgets it when any message with a
//! later term arrives, such as the late answer to an append that F itself had sent as a leader before. A request for a
//! vote of that term then finds no leader and no vote given.
//!
//! Without a `TimeoutNow`, F itself becomes a candidate no earlier than [`ELECTION_TICKS`] after the same answer, since
//! the library starts that timeout anew with each message of the leader, and with each change of its role.
//!
//! [`ELECTION_TICKS`]: crate::limits::ELECTION_TICKS
//! [`LEASE_US`]: crate::limits::LEASE_US
//! [`VOTE_HOLD_TICKS`]: crate::limits::VOTE_HOLD_TICKS

use raft::{Raft, StateRole};

use super::convert::follow;
use super::join::Membership;
use super::log::Log;
use super::message::{LogEntry, Message, Payload};
use super::{Fault, unwritten::Unwritten};
use crate::limits::{INDEX_MAX, TERM_MAX, UNWRITTEN_BYTES_MAX};

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It can be stepped.
    Step(Message),
    /// It is treated as lost.
    Drop,
    /// It shows that this copy of the log is bad.
    Bad(Fault),
    /// The message is the offer of a snapshot that this member has to copy.
    Copy(Message),
}

/// Decides about a message. `holds_vote` is true while this member gives nobody its vote.
pub(super) fn judge(
    raft: &Raft<Log>,
    unwritten: &Unwritten,
    (membership, holds_vote): (&Membership, bool),
    message: Message,
) -> Verdict {
    let (from, to) = (message.from.as_u64(), message.to.as_u64());
    let is_of_group = to == raft.id && from != raft.id && raft.prs().get(from).is_some();
    if !is_of_group || !(1..=TERM_MAX).contains(&message.term) || !has_possible_indexes(&message.payload) {
        return Verdict::Drop;
    }
    match &message.payload {
        // The library answers such a message with the newer term, and uses nothing of its content.
        Payload::Append { .. } | Payload::Heartbeat { .. } if message.term < raft.term => Verdict::Step(message),
        Payload::Append { .. } | Payload::Heartbeat { .. } | Payload::Snapshot { .. }
            if has_other_leader(raft, &message) =>
        {
            Verdict::Drop
        }
        Payload::Append { .. } => judge_append(raft, unwritten, message),
        Payload::Heartbeat { .. } => judge_heartbeat(raft, membership.is_recovering(), message),
        Payload::RequestVote { is_hand_over, progress, .. }
            if !membership.votes(holds_vote && !is_hand_over).allow(progress) =>
        {
            Verdict::Drop
        }
        Payload::TimeoutNow if membership.is_recovering() || !may_take_over(raft, &message) => Verdict::Drop,
        Payload::Join { .. } | Payload::JoinAnswer { .. } => Verdict::Drop,
        Payload::Appended { .. } | Payload::Rejected { .. } => judge_answer(raft, message),
        // A candidate asks for votes only once its own vote and everything written before it are durable, as the
        // library requires of a new leader.
        Payload::Vote { is_pre: false, is_granted: true, .. } if !unwritten.is_empty() => Verdict::Drop,
        Payload::HeartbeatAnswer { .. } | Payload::RequestVote { .. } | Payload::Vote { .. } | Payload::TimeoutNow => {
            Verdict::Step(message)
        }
        Payload::Snapshot { index, log_term } => judge_snapshot(raft, *index, *log_term, message),
    }
}

/// Returns true if this member may take over from the sender: the sender is the leader of the term, and this member has
/// applied everything that it knows to be committed. Otherwise the library would read the committed entries that are
/// not applied yet, to look for membership changes.
fn may_take_over(raft: &Raft<Log>, message: &Message) -> bool {
    let is_led = message.term == raft.term && raft.leader_id == message.from.as_u64();
    is_led && raft.state == StateRole::Follower && raft.raft_log.applied == raft.raft_log.committed
}

/// Returns true if the library can calculate with all indexes of the message without an overflow.
fn has_possible_indexes(payload: &Payload) -> bool {
    let indexes = match payload {
        Payload::Append { index, commit, .. } | Payload::Appended { index, commit } => [*index, *commit, 0],
        Payload::Rejected { index, hint, commit, .. } => [*index, *hint, *commit],
        Payload::Heartbeat { commit, .. } | Payload::HeartbeatAnswer { commit, .. } | Payload::Vote { commit, .. } => {
            [*commit, 0, 0]
        }
        Payload::RequestVote { progress, .. } => [progress.last_index, progress.commit, 0],
        Payload::Join { last, .. } => [*last, 0, 0],
        Payload::JoinAnswer { last, founding, .. } => [*last, founding.last, 0],
        Payload::TimeoutNow => [0; 3],
        Payload::Snapshot { index, .. } => [*index, 0, 0],
    };
    indexes.iter().all(|index| *index <= INDEX_MAX)
}

fn has_other_leader(raft: &Raft<Log>, message: &Message) -> bool {
    message.term == raft.term && raft.leader_id != 0 && raft.leader_id != message.from.as_u64()
}

fn judge_append(raft: &Raft<Log>, unwritten: &Unwritten, message: Message) -> Verdict {
    let Payload::Append { index, log_term, entries, .. } = &message.payload else { return Verdict::Drop };
    // The library takes the term of any entry beyond its log to be zero, so this would match.
    let has_term = (*index == 0) == (*log_term == 0);
    let is_full = !entries.is_empty() && unwritten.bytes() >= UNWRITTEN_BYTES_MAX;
    if !has_term || is_full || !follow(*index, entries) || !have_possible_terms(*log_term, entries, message.term) {
        return Verdict::Drop;
    }
    // The leader of this term or of a later one has every committed entry.
    let committed = raft.raft_log.committed;
    let told = entries.iter().map(|entry| (entry.index, entry.term));
    for (index, term) in std::iter::once((*index, *log_term)).chain(told).take_while(|(index, _)| *index <= committed) {
        if raft.store().term_at(index).is_some_and(|own| own != term) {
            return Verdict::Bad(Fault::Differs { index });
        }
    }
    // Terms never decrease in a log. The library would look for a smaller term before the committed entries.
    if *index > committed && raft.store().term_at(committed).is_some_and(|own| own > *log_term) {
        return Verdict::Bad(Fault::Differs { index: committed });
    }
    Verdict::Step(message)
}

/// Returns true if the terms never decrease, from that of the entry before to that of the leader.
fn have_possible_terms(log_term: u64, entries: &[LogEntry], leader_term: u64) -> bool {
    let terms = entries.iter().map(|entry| entry.term);
    let all = std::iter::once(log_term).chain(terms.clone()).chain(std::iter::once(leader_term));
    all.is_sorted() && terms.min() != Some(0)
}

/// Judges a heartbeat. It commits only what this member has acknowledged to the leader, or what the lost folder has
/// that this member's folder has replaced. In the latter case the member may not have these entries yet, so the commit
/// index is replaced by its own.
fn judge_heartbeat(raft: &Raft<Log>, is_recovering: bool, mut message: Message) -> Verdict {
    let Payload::Heartbeat { commit, .. } = &mut message.payload else { return Verdict::Drop };
    let last = raft.raft_log.last_index();
    match *commit {
        told if told <= last => {}
        _ if is_recovering => *commit = raft.raft_log.committed,
        commit => return Verdict::Bad(Fault::Lost { commit, last }),
    }
    Verdict::Step(message)
}

/// Judges the offer of a snapshot, which includes only committed entries.
fn judge_snapshot(raft: &Raft<Log>, index: u64, log_term: u64, message: Message) -> Verdict {
    // If this member leads in an older term, it has not learned of the later one yet. It will be offered the snapshot
    // again.
    let is_leader = raft.state == StateRole::Leader;
    if message.term < raft.term || is_leader || index == 0 || !(1..=message.term).contains(&log_term) {
        return Verdict::Drop;
    }
    let (committed, own) = (raft.raft_log.committed, raft.store().term_at(index));
    if own == Some(log_term) || index <= committed && own.is_none() {
        return Verdict::Step(message);
    }
    if index <= committed {
        return Verdict::Bad(Fault::Differs { index });
    }
    if raft.store().term_at(committed).is_some_and(|own| own > log_term) {
        return Verdict::Bad(Fault::Differs { index: committed });
    }
    Verdict::Copy(message)
}

/// Judges an answer to an append, which only the leader of the same term uses.
fn judge_answer(raft: &Raft<Log>, mut message: Message) -> Verdict {
    let matched = raft.prs().get(message.from.as_u64()).map_or(0, |progress| progress.matched);
    let last = raft.raft_log.last_index();
    if message.term != raft.term || raft.state != StateRole::Leader {
        return Verdict::Step(message);
    }
    match &mut message.payload {
        Payload::Appended { index, .. } if *index > last => return Verdict::Drop,
        // A rejection that arrives late, after newer acknowledgements, would set the library back: it would send
        // entries again that the follower has, and forget what it has acknowledged.
        Payload::Rejected { index, hint, .. } if *index > last || *index <= matched || *hint > *index => {
            return Verdict::Drop;
        }
        Payload::Rejected { hint, hint_term, .. } if *hint < matched => (*hint, *hint_term) = (matched, 0),
        // The library would not find the terms of entries that are on the disk only, and try one index after the other.
        // It begins with the last entry that the follower knows to be committed instead, which is in both logs.
        Payload::Rejected { hint, hint_term, commit, .. } if !raft.store().has_term_until(*hint, *hint_term) => {
            (*hint, *hint_term) = ((*commit).clamp(matched, *hint), 0);
        }
        Payload::Append { .. }
        | Payload::Appended { .. }
        | Payload::Rejected { .. }
        | Payload::Heartbeat { .. }
        | Payload::HeartbeatAnswer { .. }
        | Payload::RequestVote { .. }
        | Payload::Vote { .. }
        | Payload::Join { .. }
        | Payload::JoinAnswer { .. }
        | Payload::TimeoutNow
        | Payload::Snapshot { .. } => {}
    }
    Verdict::Step(message)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{append, entry, follower, leader, leader_of, member, message, restored};
    use super::super::{Input, MemberId, Restored, Voter};
    use super::*;

    /// What is expected of a case.
    enum Expected {
        Step,
        Drop,
        Bad(Fault),
        Copy,
    }
    use Expected::{Bad, Copy, Step};

    fn judged(replica: &Voter, message: Message) -> Verdict {
        judge(&replica.raw.raft, &replica.unwritten, (&replica.membership, false), message)
    }

    /// Each case: sender, term, what it says.
    fn check(replica: &Voter, cases: Vec<(u64, u64, Payload, Expected)>) {
        for (from, term, payload, expected) in cases {
            let to = MemberId::new(replica.raw.raft.id).expect("not zero");
            let message = Message { from: member(from), to, term, founding: 0, payload };
            let expected = match expected {
                Step => Verdict::Step(message.clone()),
                Expected::Drop => Verdict::Drop,
                Bad(fault) => Verdict::Bad(fault),
                Copy => Verdict::Copy(message.clone()),
            };
            assert_eq!(judged(replica, message.clone()), expected, "{message:?}");
        }
    }

    #[test]
    fn a_follower_is_protected_from_its_leader() {
        let commit = 0;
        let heartbeat = |commit| Payload::Heartbeat { commit, context: 0 };
        let rejoin = |index, log_term, entries: &[(u64, u64)]| append(index, log_term, entries);
        let vote = Payload::Vote { is_pre: false, is_granted: true, commit, commit_term: 0 };
        // Its log is 1 1 2 2 3, of which three are committed.
        check(
            &follower(),
            vec![
                (1, 3, heartbeat(5), Step),
                (1, 3, heartbeat(6), Bad(Fault::Lost { commit: 6, last: 5 })),
                (1, 9, heartbeat(6), Bad(Fault::Lost { commit: 6, last: 5 })),
                (1, 2, heartbeat(6), Step), // it is answered with the newer term
                (2, 3, heartbeat(0), Expected::Drop),
                (4, 3, heartbeat(0), Expected::Drop),
                (1, 0, heartbeat(0), Expected::Drop),
                (1, TERM_MAX, heartbeat(0), Step),
                (1, TERM_MAX + 1, heartbeat(0), Expected::Drop),
                (1, 3, heartbeat(INDEX_MAX + 1), Expected::Drop),
                (1, 3, rejoin(5, 3, &[(6, 3), (7, 3)]), Step),
                (1, 3, rejoin(5, 3, &[(7, 3)]), Expected::Drop),
                (1, 3, rejoin(198, 3, &[(195, 3), (196, 3)]), Expected::Drop),
                (1, 3, rejoin(9, 0, &[]), Expected::Drop),
                (1, 3, rejoin(0, 1, &[]), Expected::Drop),
                (1, 3, rejoin(5, 3, &[(6, 2)]), Expected::Drop),
                (1, 3, rejoin(5, 3, &[(6, 4)]), Expected::Drop),
                (1, 3, rejoin(0, 0, &[(1, 0)]), Expected::Drop),
                (1, 9, rejoin(5, 2, &[]), Step), // this one is not committed
                (1, 3, rejoin(4, 1, &[]), Bad(Fault::Differs { index: 3 })), // nothing committed is of a later term
                (1, 3, rejoin(3, 1, &[]), Bad(Fault::Differs { index: 3 })),
                (1, 3, rejoin(1, 1, &[(2, 1), (3, 1)]), Bad(Fault::Differs { index: 3 })),
                (1, 3, vote, Step),
            ],
        );
    }

    #[test]
    fn a_term_has_one_leader() {
        let mut replica = follower();
        let heartbeat = Payload::Heartbeat { commit: 3, context: 0 };
        replica.handle(Input::Message(message(1, 2, 3, heartbeat.clone())), &mut Vec::new());
        check(
            &replica,
            vec![
                (1, 3, heartbeat.clone(), Step),
                (3, 3, heartbeat.clone(), Expected::Drop),
                (3, 3, append(5, 3, &[(6, 3)]), Expected::Drop),
                (3, 4, heartbeat.clone(), Step),
            ],
        );
        check(&leader(), vec![(2, 4, heartbeat.clone(), Expected::Drop), (2, 5, heartbeat, Step)]);
    }

    #[test]
    fn a_member_takes_over_only_when_the_leader_of_its_term_asks() {
        let asked = || Payload::TimeoutNow;
        check(&follower(), vec![(1, 3, asked(), Expected::Drop)]); // it knows of no leader
        let mut replica = follower();
        let heartbeat = Payload::Heartbeat { commit: 3, context: 0 };
        replica.handle(Input::Message(message(1, 2, 3, heartbeat)), &mut Vec::new());
        check(
            &replica,
            vec![
                (1, 3, asked(), Step),
                (3, 3, asked(), Expected::Drop),
                (1, 2, asked(), Expected::Drop),
                (1, 4, asked(), Expected::Drop),
            ],
        );
        check(&leader(), vec![(2, 4, asked(), Expected::Drop)]);
    }

    #[test]
    fn a_state_is_copied_only_if_the_log_lacks_its_last_entry() {
        let snapshot = |index, log_term| Payload::Snapshot { index, log_term };
        // The terms of its entries are 1 1 2 2 3, and the first three are committed.
        check(
            &follower(),
            vec![
                (1, 3, snapshot(1, 1), Step),
                (1, 3, snapshot(3, 2), Step),
                (1, 3, snapshot(3, 1), Bad(Fault::Differs { index: 3 })),
                (1, 3, snapshot(5, 3), Step),
                (1, 9, snapshot(5, 4), Copy),
                (1, 3, snapshot(4, 3), Copy),
                (1, 3, snapshot(4, 1), Bad(Fault::Differs { index: 3 })),
                (1, 3, snapshot(6, 3), Copy),
                (1, 3, snapshot(6, 4), Expected::Drop),
                (1, 3, snapshot(6, 0), Expected::Drop),
                (1, 3, snapshot(0, 3), Expected::Drop),
                (1, 3, snapshot(INDEX_MAX + 1, 3), Expected::Drop),
                (1, 2, snapshot(6, 2), Expected::Drop),
                (4, 3, snapshot(6, 3), Expected::Drop),
            ],
        );
        check(&leader(), vec![(2, 4, snapshot(9, 4), Expected::Drop), (2, 5, snapshot(9, 4), Expected::Drop)]);
    }

    #[test]
    fn a_leader_believes_only_answers_to_what_it_sent() {
        let (mut replica, commit) = (leader(), 3);
        let appended = |index| Payload::Appended { index, commit };
        let rejected = |index, hint, hint_term| Payload::Rejected { index, hint, hint_term, commit };
        replica.handle(Input::Message(message(2, 1, 4, appended(5))), &mut Vec::new());
        check(
            &replica,
            vec![
                (2, 4, appended(6), Step),
                (2, 4, appended(7), Expected::Drop),
                (3, 4, rejected(6, 4, 2), Step),
                (2, 4, rejected(7, 4, 2), Expected::Drop),
                (2, 4, rejected(5, 4, 2), Expected::Drop), // it has acknowledged that one
                (3, 4, rejected(5, 6, 2), Expected::Drop),
                (2, 5, appended(7), Step), // a newer term ends its own, and nobody looks at the rest
            ],
        );
        // What is behind the acknowledged entries need not be sent again.
        let late = judged(&replica, message(2, 1, 4, rejected(6, 3, 2)));
        assert_eq!(late, Verdict::Step(message(2, 1, 4, rejected(6, 5, 0))));
    }

    #[test]
    fn a_leader_that_has_not_the_terms_in_memory_goes_back_to_what_the_follower_has_committed() {
        let entries = vec![entry(4, 2), entry(5, 3)];
        let replica = leader_of(Restored { base: (3, 2), entries, ..restored() });
        let rejected = |hint, hint_term, commit| Payload::Rejected { index: 6, hint, hint_term, commit };
        for (hint, hint_term, commit, expected) in [
            (5, 3, 1, (5, 3)),
            (5, 2, 1, (5, 2)), // the library finds the entry 4
            (5, 1, 1, (1, 0)),
            (2, 1, 1, (1, 0)),
            (2, 2, 2, (2, 0)),
            (2, 1, 3, (2, 0)), // no follower says so
            (0, 0, 0, (0, 0)),
        ] {
            let told = message(2, 1, 4, rejected(hint, hint_term, commit));
            let stepped = message(2, 1, 4, rejected(expected.0, expected.1, commit));
            assert_eq!(judged(&replica, told), Verdict::Step(stepped), "{hint} {hint_term} {commit}");
        }
    }

    #[test]
    fn a_disk_that_is_far_behind_takes_no_more() {
        let mut replica = follower();
        replica.unwritten.add(super::super::Ticket(1_000), UNWRITTEN_BYTES_MAX);
        let granted = Payload::Vote { is_pre: false, is_granted: true, commit: 0, commit_term: 0 };
        check(
            &replica,
            vec![
                (1, 3, append(5, 3, &[(6, 3)]), Expected::Drop),
                (1, 3, append(5, 3, &[]), Step),
                (1, 3, granted, Expected::Drop), // nor was a vote asked for
            ],
        );
    }
}
