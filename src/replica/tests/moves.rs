//! Handing leadership over to another member.

use super::*;

#[test]
fn leadership_is_handed_over_to_a_follower_once_that_has_everything() {
    let hand_over = |to| Input::HandOver { to: member(to) };
    let mut replica = settled_leader();
    assert_eq!(sent(&handle(&mut replica, hand_over(2))), [&Payload::TimeoutNow]);
    assert!(replica.is_handing_over() && !replica.accepts());
    let body = Bytes::from_static(b"body");
    let refused = Output::Refused { body: body.clone(), refusal: Refusal::Busy };
    assert_eq!(handle(&mut replica, Input::Propose { body }), [refused]);
    // Nobody takes over.
    for from in [2, 3] {
        handle(&mut replica, answer(from, 4, 0));
    }
    tick(&mut replica, ELECTION_TICKS[0]);
    assert!(!replica.is_handing_over() && replica.accepts());

    // The other one lacks the newest entry.
    let mut replica = settled_leader();
    let out = handle(&mut replica, hand_over(3));
    assert!(!sent(&out).contains(&&Payload::TimeoutNow), "{out:?}");
    let appended = Input::Message(message(3, 1, 4, Payload::Appended { index: 6, commit: 3 }));
    assert!(sent(&handle(&mut replica, appended)).contains(&&Payload::TimeoutNow));
    assert_eq!(handle(&mut follower(), hand_over(1)), [], "it does not lead");
}

#[test]
fn who_is_asked_to_take_over_asks_for_votes_at_once_and_gets_them() {
    let mut replica = follower();
    let heartbeat = || Input::Message(message(1, 2, 3, Payload::Heartbeat { commit: 5, context: 0 }));
    handle(&mut replica, heartbeat());
    let out = handle(&mut replica, Input::Message(message(1, 2, 3, Payload::TimeoutNow)));
    assert!(sent(&out).is_empty(), "its own vote is not durable");
    let ticket = replica.unwritten.newest().expect("a write");
    let hard = Some(Hard { term: 4, vote: Some(member(2)), ..Hard::default() });
    assert!(out.contains(&Output::Write { ticket, hard, commit: 5, entries: Vec::new() }), "{out:?}");
    let out = handle(&mut replica, Input::Written { ticket });
    let asked = |payload: &&Payload| matches!(payload, Payload::RequestVote { is_pre: false, is_hand_over: true, .. });
    assert_eq!((sent(&out).len(), sent(&out).iter().all(asked)), (2, true), "{out:?}");
    // If it is not elected, it asks like any other.
    let out: Vec<_> = (0..ELECTION_TICKS[2]).flat_map(|_| handle(&mut replica, Input::Tick)).collect();
    assert!(!sent(&out).iter().any(asked) && !sent(&out).is_empty(), "{out:?}");

    // Another member holds its vote, but not from such a candidate.
    for (is_hand_over, votes) in [(false, false), (true, true)] {
        let mut replica = follower();
        handle(&mut replica, heartbeat());
        let progress = Progress { last_index: 5, last_term: 3, commit: 5, commit_term: 3 };
        let request = Payload::RequestVote { is_pre: false, is_hand_over, progress };
        let mut out = handle(&mut replica, Input::Message(message(3, 2, 4, request)));
        write(&mut replica, &mut out);
        let vote = Payload::Vote { is_pre: false, is_granted: true, commit: 0, commit_term: 0 };
        assert_eq!(sent(&out).contains(&&vote), votes, "{is_hand_over}");
    }
}
