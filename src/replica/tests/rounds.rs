//! Questions of a leader whether it still leads.

use super::*;

/// Returns the contexts of the heartbeats that were sent to members 2 and 3.
fn contexts(out: &[Output]) -> [Vec<u64>; 2] {
    let heartbeat = |output: &Output| {
        let Output::Send(Message { to, payload: Payload::Heartbeat { context, .. }, .. }) = output else { return None };
        Some((*to, *context))
    };
    let sent: Vec<_> = out.iter().filter_map(heartbeat).collect();
    [2, 3].map(|to| sent.iter().filter(|(of, _)| *of == member(to)).map(|(_, context)| *context).collect())
}

fn confirmed(out: &[Output]) -> Vec<u64> {
    out.iter().filter_map(|output| if let Output::Confirmed { at_us } = output { Some(*at_us) } else { None }).collect()
}

#[test]
fn one_answer_confirms_that_a_leader_has_led() {
    let mut replica = settled_leader();
    let out = handle(&mut replica, Input::Confirm { at_us: 0 });
    assert_eq!((contexts(&out), confirmed(&out)), ([vec![1], vec![1]], vec![]));
    for (answer, expected) in [
        (answer(2, 4, 0), vec![]), // of a heartbeat before
        (answer(2, 4, 2), vec![]), // to what it has not sent
        (answer(2, 3, 1), vec![]), // of another term
        (answer(9, 4, 1), vec![]), // of nobody
        (answer(2, 4, 1), vec![0]),
        (answer(3, 4, 1), vec![]),
    ] {
        assert_eq!(confirmed(&handle(&mut replica, answer.clone())), expected, "{answer:?}");
    }
}

#[test]
fn a_round_that_is_lost_delays_no_other_and_is_repeated() {
    let mut replica = settled_leader();
    handle(&mut replica, Input::Confirm { at_us: 10 });
    handle(&mut replica, Input::Confirm { at_us: 20 });
    assert_eq!(confirmed(&handle(&mut replica, answer(3, 4, 21))), [10, 20]);
    assert_eq!(confirmed(&handle(&mut replica, answer(2, 4, 11))), []);
    handle(&mut replica, Input::Confirm { at_us: 30 });
    let out: Vec<_> = (0..HEARTBEAT_TICKS).flat_map(|_| handle(&mut replica, Input::Tick)).collect();
    assert_eq!(contexts(&out), [[31], [31]]);
    assert_eq!(confirmed(&handle(&mut replica, answer(2, 4, 31))), [30]);
    let out: Vec<_> = (0..HEARTBEAT_TICKS).flat_map(|_| handle(&mut replica, Input::Tick)).collect();
    assert_eq!(contexts(&out), [[0], [0]]);
}

#[test]
fn a_leader_waits_for_a_limited_number_of_rounds() {
    let mut replica = settled_leader();
    let rounds = ROUNDS_MAX as u64;
    for at_us in 0..rounds {
        assert_eq!(handle(&mut replica, Input::Confirm { at_us }).len(), 2);
    }
    assert_eq!(handle(&mut replica, Input::Confirm { at_us: rounds }), []);
    let all: Vec<u64> = (0..rounds).collect();
    assert_eq!(confirmed(&handle(&mut replica, answer(2, 4, rounds))), all);
    assert_eq!(handle(&mut replica, Input::Confirm { at_us: rounds }).len(), 2);
}

#[test]
fn nobody_confirms_what_may_not_be_so() {
    let confirm = || Input::Confirm { at_us: 10 };
    assert_eq!(handle(&mut follower(), confirm()), []);
    let mut replica = leader();
    assert_eq!(handle(&mut replica, confirm()), [], "it may not know yet what is committed");
    assert_eq!(confirmed(&handle(&mut replica, answer(2, 4, 11))), []);

    // Another member leads already.
    let mut replica = settled_leader();
    handle(&mut replica, confirm());
    let out = handle(&mut replica, Input::Message(message(2, 1, 5, Payload::Heartbeat { commit: 0, context: 0 })));
    assert!(out.contains(&Output::Role(Role::Follower { term: 5, leader: Some(member(2)) })));
    for late in [answer(3, 4, 11), answer(3, 5, 11)] {
        assert_eq!(confirmed(&handle(&mut replica, late)), []);
    }
}

#[test]
fn a_follower_repeats_the_context_of_a_heartbeat() {
    let mut replica = follower();
    for context in [0, 7, u64::MAX] {
        let heartbeat = Input::Message(message(1, 2, 3, Payload::Heartbeat { commit: 3, context }));
        let out = handle(&mut replica, heartbeat);
        assert_eq!(sent(&out), [&heartbeat_answer(3, context)]);
    }
}
