//! A state of the group that a member takes instead of entries that its leader does not have any more.

use super::*;

/// A snapshot of the leader, member 1, to member 2.
fn snapshot(term: u64, index: u64, log_term: u64) -> Input {
    Input::Message(message(1, 2, term, Payload::Snapshot { index, log_term }))
}

#[test]
fn a_member_that_has_installed_a_copied_state_goes_on_after_it() {
    let mut replica = follower();
    let out = handle(&mut replica, snapshot(5, 90, 4));
    let [Output::Copy { from }, Output::Role(_), Output::Write { ticket, hard, .. }] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!((*from, *hard), (member(1), Some(Hard { term: 5, ..Hard::default() })));
    assert_eq!(handle(&mut replica, snapshot(5, 95, 4)), [], "one copy at a time");
    // Its term is not durable yet.
    assert_eq!(handle(&mut replica, Input::CopyReady { index: 92, term: 4 }), []);
    assert_eq!(
        handle(&mut replica, Input::Message(message(1, 2, 5, append(5, 3, &[(6, 5)])))),
        [],
        "its log is frozen"
    );
    assert_eq!(handle(&mut replica, Input::Written { ticket: *ticket }), [Output::Install]);
    let vote = Payload::Vote { is_pre: true, is_granted: true, commit: 0, commit_term: 0 };
    assert_eq!(handle(&mut replica, Input::Message(message(3, 2, 6, vote))), [], "it is not elected");
    assert_eq!(handle(&mut replica, Input::CopyReady { index: 95, term: 4 }), [], "it is too late for another one");
    let answer = Payload::Appended { index: 92, commit: 0 };
    assert_eq!(sent(&handle(&mut replica, Input::Copied)), [&answer]);
    let out = handle(&mut replica, Input::Message(message(1, 2, 5, append(92, 4, &[(93, 5)]))));
    let [Output::Write { ticket, commit: 92, ref entries, .. }] = out[..] else { panic!("{out:?}") };
    assert_eq!(*entries, [entry(93, 5)]);
    let answer = Payload::Appended { index: 93, commit: 92 };
    assert_eq!(sent(&handle(&mut replica, Input::Written { ticket })), [&answer]);
    let heartbeat = Payload::Heartbeat { commit: 93, context: 0 };
    let out = handle(&mut replica, Input::Message(message(1, 2, 5, heartbeat)));
    assert!(out.contains(&Output::Commit { entries: vec![entry(93, 5)] }), "{out:?}");
}

#[test]
fn a_write_from_before_a_copy_is_reported_after_it() {
    let mut replica = follower();
    handle(&mut replica, snapshot(3, 90, 3));
    assert_eq!(handle(&mut replica, Input::CopyReady { index: 90, term: 3 }), [Output::Install]);
    // It learns of a later term, and forgets its leader.
    handle(&mut replica, Input::Message(message(3, 2, 6, Payload::Appended { index: 1, commit: 1 })));
    let ticket = replica.unwritten.newest().expect("the term is written");
    assert_eq!(sent(&handle(&mut replica, Input::Copied)), [] as [&Payload; 0], "nobody is known to lead");
    assert_eq!(handle(&mut replica, Input::Written { ticket }), []);
    assert_eq!(sent(&handle(&mut replica, snapshot(6, 90, 3))), [&Payload::Appended { index: 90, commit: 0 }]);
}

#[test]
fn a_copy_that_is_not_needed_ends() {
    let ready = |index, term| Input::CopyReady { index, term };
    let mut replica = follower();
    for input in [ready(5, 3), ready(3, 2), ready(90, 4), ready(u64::MAX, 3), ready(90, 0)] {
        assert!(handle(&mut replica, snapshot(3, 90, 3)).contains(&Output::Copy { from: member(1) }));
        assert_eq!(handle(&mut replica, input), [Output::NoCopy]);
    }
    handle(&mut replica, snapshot(3, 90, 3));
    let heartbeat = Payload::Heartbeat { commit: 0, context: 0 };
    let out = handle(&mut replica, Input::Message(message(3, 2, 4, heartbeat)));
    assert!(out.contains(&Output::NoCopy), "another member leads: {out:?}");
    let out = handle(&mut replica, Input::Message(message(3, 2, 4, Payload::Snapshot { index: 90, log_term: 3 })));
    assert_eq!(out, [Output::Copy { from: member(3) }]);
    assert_eq!(handle(&mut replica, Input::NotCopied), []);
    for input in [ready(90, 3), Input::Copied, Input::NotCopied] {
        assert_eq!(handle(&mut replica, input), [], "there is none");
    }
}

#[test]
fn a_leader_offers_a_copy_until_it_is_acknowledged() {
    // Entries up to 3 are on its disk only.
    let mut replica = leader_of(Restored { base: (3, 2), entries: vec![entry(4, 2), entry(5, 3)], ..restored() });
    let rejected = Payload::Rejected { index: 5, hint: 0, hint_term: 0, commit: 0 };
    let out = handle(&mut replica, Input::Message(message(2, 1, 4, rejected)));
    assert_eq!(out, [Output::Fetch { index: 0, bytes_max: APPEND_BYTES_MAX }]);
    let fetched = Input::Fetched { base: (0, 0), entries: Vec::new() };
    let offer = Payload::Snapshot { index: 3, log_term: 2 };
    let mut offers = sent(&handle(&mut replica, fetched)).into_iter().filter(|sent| **sent == offer).count();
    let answer = || Input::Message(message(2, 1, 4, heartbeat_answer(0, 0)));
    for _ in 0..60 {
        offers += sent(&handle(&mut replica, Input::Tick)).into_iter().filter(|sent| **sent == offer).count();
        offers += sent(&handle(&mut replica, answer())).into_iter().filter(|sent| **sent == offer).count();
    }
    assert!((4..=8).contains(&offers), "{offers} offers in six seconds");
    let copied = Payload::Appended { index: 3, commit: 3 };
    let out = handle(&mut replica, Input::Message(message(2, 1, 4, copied)));
    let next = |sent: &&Payload| matches!(sent, Payload::Append { index: 3, entries, .. } if !entries.is_empty());
    assert_eq!(sent(&out).into_iter().filter(next).count(), 1, "{out:?}");
}
