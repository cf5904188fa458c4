//! What one member puts out for each input.

mod copies;
mod foundings;
mod moves;
mod rounds;

use super::voter::Voter;
use super::*;
use crate::limits::{
    APPEND_BYTES_MAX, ELECTION_TICKS, HEARTBEAT_TICKS, LOG_WINDOW_BYTES, ROUNDS_MAX, TICK_US, UNCOMMITTED_BYTES_MAX,
    VOTE_HOLD_TICKS,
};

pub(super) fn member(number: u64) -> MemberId {
    MemberId::new(number).expect("not zero")
}

pub(super) fn message(from: u64, to: u64, term: u64, payload: Payload) -> Message {
    Message { from: member(from), to: member(to), term, founding: 0, payload }
}

pub(super) fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index, term, body: Bytes::from_static(b"body") }
}

/// An append of entries by their indexes and terms.
pub(super) fn append(index: u64, log_term: u64, entries: &[(u64, u64)]) -> Payload {
    let entries = entries.iter().map(|(index, term)| entry(*index, *term)).collect();
    Payload::Append { index, log_term, commit: 0, entries }
}

/// The member 2 of three, with a log of terms 1 1 2 2 3, of which three entries are committed and applied.
pub(super) fn follower() -> Voter {
    start(2, restored())
}

/// The member 1 of the same group, after it has become the leader of term 4.
pub(super) fn leader() -> Voter {
    leader_of(restored())
}

pub(super) fn leader_of(restored: Restored) -> Voter {
    let mut replica = start(1, restored);
    let mut out = Vec::new();
    (0..ELECTION_TICKS[0]).for_each(|_| replica.handle(Input::Tick, &mut out));
    for is_pre in [true, false] {
        let granted = Payload::Vote { is_pre, is_granted: true, commit: 0, commit_term: 0 };
        replica.handle(Input::Message(message(2, 1, 4, granted)), &mut out);
        write(&mut replica, &mut out);
    }
    assert_eq!(replica.role(), Role::Leader { term: 4 });
    replica
}

pub(super) fn restored() -> Restored {
    let entries = [1, 1, 2, 2, 3].into_iter().zip(1..).map(|(term, index)| entry(index, term)).collect();
    Restored { hard: Hard { term: 3, ..Hard::default() }, commit: 3, applied: 3, base: (0, 0), entries }
}

pub(super) fn heartbeat_answer(commit: u64, context: u64) -> Payload {
    Payload::HeartbeatAnswer { commit, context, condition: Condition::default() }
}

fn start(id: u64, restored: Restored) -> Voter {
    let config =
        Config { id: member(id), members: [1, 2, 3].map(member).to_vec(), disk: 1, window_bytes: LOG_WINDOW_BYTES };
    Voter::new(&config, restored, true, &mut Vec::new()).expect("nothing is lost")
}

/// Makes everything durable that `out` has, whatever that leads to.
fn write(replica: &mut Voter, out: &mut Vec<Output>) {
    while let Some(ticket) = replica.unwritten.newest() {
        replica.handle(Input::Written { ticket }, out);
    }
}

fn handle(replica: &mut Voter, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    replica.handle(input, &mut out);
    replica.check();
    out
}

fn tick(replica: &mut Voter, count: usize) {
    (0..count).for_each(|_| drop(handle(replica, Input::Tick)));
}

/// A candidate asks for the vote of member 2, which has nothing that the candidate lacks.
fn request_vote(from: u64, term: u64, is_pre: bool) -> Input {
    let progress = Progress { last_index: 5, last_term: 3, commit: 3, commit_term: 2 };
    Input::Message(message(from, 2, term, Payload::RequestVote { is_pre, is_hand_over: false, progress }))
}

fn sent(out: &[Output]) -> Vec<&Payload> {
    let payload = |output| if let &Output::Send(Message { ref payload, .. }) = output { Some(payload) } else { None };
    out.iter().filter_map(payload).collect()
}

/// Returns a member that is alone, after it has put out what it does first.
fn alone(restored: Restored, out: &mut Vec<Output>) -> Replica {
    Replica::new(
        &Config { id: member(7), members: vec![member(7)], disk: 1, window_bytes: LOG_WINDOW_BYTES },
        restored,
        out,
    )
    .expect("nothing is lost")
}

fn handled(replica: &mut Replica, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    replica.handle(input, &mut out);
    replica.check();
    out
}

#[test]
fn a_member_that_is_alone_commits_what_is_durable_and_sends_nothing() {
    let mut out = Vec::new();
    let mut replica = alone(Restored::default(), &mut out);
    let no_body = LogEntry { index: 1, term: 2, body: Bytes::new() };
    let hard = Some(Hard { term: 2, vote: Some(member(7)), ..Hard::default() });
    let [Output::Role(Role::Leader { term: 2 }), Output::Write { ticket, .. }] = out[..] else { panic!("{out:?}") };
    assert_eq!(out[1], Output::Write { ticket, hard, commit: 0, entries: vec![no_body.clone()] });
    assert_eq!(handled(&mut replica, Input::Written { ticket }), [Output::Commit { entries: vec![no_body] }]);

    let body = Bytes::from_static(b"body");
    let out = handled(&mut replica, Input::Propose { body });
    let [Output::Proposed { index: 2, term: 2 }, Output::Write { ticket, .. }] = out[..] else { panic!("{out:?}") };
    assert_eq!(out[1], Output::Write { ticket, hard: None, commit: 1, entries: vec![entry(2, 2)] });
    (0..100).for_each(|_| assert_eq!(handled(&mut replica, Input::Tick), []));
    assert_eq!(handled(&mut replica, Input::Written { ticket }), [Output::Commit { entries: vec![entry(2, 2)] }]);
    assert_eq!(TICK_US, 100_000, "the ranks are in units of it");
}

/// Returns what was put out, in a form in which it does not matter in how many parts entries are committed, and in
/// which writes are numbered without gaps.
fn normal(out: Vec<Output>, tickets: &mut Vec<Ticket>) -> Vec<Output> {
    let mut normal: Vec<Output> = Vec::new();
    for output in out {
        match (output, normal.last_mut()) {
            (Output::Commit { entries }, Some(Output::Commit { entries: before })) => before.extend(entries),
            (Output::Write { ticket, hard, commit, entries }, _) => {
                tickets.push(ticket);
                normal.push(Output::Write { ticket: Ticket(tickets.len() as u64), hard, commit, entries });
            }
            (output, _) => normal.push(output),
        }
    }
    normal
}

/// What Raft does with a single voter is the definition of what a member does that is alone.
#[test]
fn a_member_that_is_alone_does_what_raft_does_with_one_voter() {
    let starts = [
        Restored::default(),
        Restored { applied: 5, commit: 5, ..restored() },
        Restored { base: (5, 3), entries: Vec::new(), applied: 5, commit: 5, ..restored() },
        restored(),
        Restored { applied: 1, commit: 3, ..restored() },
    ];
    for (seed, start) in (0..200).flat_map(|seed| starts.iter().map(move |start| (seed, start))) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut of_one, mut of_raft) = (Vec::new(), Vec::new());
        let mut one = alone(start.clone(), &mut of_one);
        let config = Config { id: member(7), members: vec![member(7)], disk: 1, window_bytes: LOG_WINDOW_BYTES };
        let mut raft = Voter::new(&config, start.clone(), true, &mut of_raft).expect("nothing is lost");
        while raft.role() != one.role() {
            raft.handle(Input::Tick, &mut of_raft);
        }
        let (mut tickets_of_one, mut tickets_of_raft) = (Vec::new(), Vec::new());
        let mut written = 0;
        for step in 0..150 {
            let outs = [normal(of_one, &mut tickets_of_one), normal(of_raft, &mut tickets_of_raft)];
            assert_eq!(outs[0], outs[1], "seed {seed}, step {step}, {start:?}");
            (of_one, of_raft) = (Vec::new(), Vec::new());
            let inputs = match rng.u8(..4) {
                0 if written < tickets_of_one.len() => {
                    written = rng.usize(written + 1..=tickets_of_one.len());
                    [&tickets_of_one, &tickets_of_raft].map(|tickets| Input::Written { ticket: tickets[written - 1] })
                }
                0 | 1 => {
                    let body = Bytes::from(vec![rng.u8(..); rng.usize(1..3 * BODY_BYTES_MAX / 200)]);
                    [Input::Propose { body: body.clone() }, Input::Propose { body }]
                }
                2 => [Input::Tick, Input::Tick],
                _ => [Input::Confirm { at_us: step }, Input::Confirm { at_us: step }],
            };
            let [for_one, for_raft] = inputs;
            one.handle(for_one, &mut of_one);
            raft.handle(for_raft, &mut of_raft);
            one.check();
        }
        assert!(written > 10 && tickets_of_one.len() > 20, "seed {seed}");
    }
}

#[test]
fn a_start_finds_what_is_lost_whether_a_member_is_alone_or_not() {
    for (restored, fault) in [
        (Restored { commit: 6, ..restored() }, Fault::Lost { commit: 6, last: 5 }),
        (Restored { hard: Hard { term: 2, ..Hard::default() }, ..restored() }, Fault::Forgot { term: 3 }),
    ] {
        for members in [vec![7], vec![7, 8, 9]] {
            let config = Config {
                id: member(7),
                members: members.into_iter().map(member).collect(),
                disk: 1,
                window_bytes: LOG_WINDOW_BYTES,
            };
            let found = Replica::new(&config, restored.clone(), &mut Vec::new()).map(|_| ());
            assert_eq!(found, Err(fault), "{config:?}");
        }
    }
}

#[test]
fn a_vote_is_given_when_it_is_durable() {
    let mut replica = follower();
    tick(&mut replica, VOTE_HOLD_TICKS);
    let ask = |is_pre| request_vote(3, 4, is_pre);
    let vote = |is_pre| Payload::Vote { is_pre, is_granted: true, commit: 0, commit_term: 0 };
    assert_eq!(sent(&handle(&mut replica, ask(true))), [&vote(true)]);
    let out = handle(&mut replica, ask(false));
    let ticket = replica.unwritten.newest().expect("a write");
    let hard = Some(Hard { term: 4, vote: Some(member(3)), ..Hard::default() });
    assert!(out.contains(&Output::Write { ticket, hard, commit: 3, entries: Vec::new() }));
    assert!(sent(&out).is_empty());
    assert_eq!(sent(&handle(&mut replica, Input::Written { ticket })), [&vote(false)]);
}

#[test]
fn an_append_is_acknowledged_when_it_is_durable_and_a_heartbeat_at_once() {
    let mut replica = follower();
    let out = handle(&mut replica, Input::Message(message(1, 2, 3, append(5, 3, &[(6, 3)]))));
    assert!(sent(&out).is_empty());
    // The same once more says nothing new, but its acknowledgement must wait as well.
    assert_eq!(handle(&mut replica, Input::Message(message(1, 2, 3, append(5, 3, &[(6, 3)])))), []);
    let heartbeat = Input::Message(message(1, 2, 3, Payload::Heartbeat { commit: 5, context: 0 }));
    let out = handle(&mut replica, heartbeat);
    assert_eq!(sent(&out), [&heartbeat_answer(5, 0)]);
    // What was durable before is applied meanwhile.
    assert!(out.contains(&Output::Commit { entries: vec![entry(4, 2), entry(5, 3)] }));
    let ticket = replica.unwritten.newest().expect("a write");
    let acknowledged = [3, 3].map(|commit| Payload::Appended { index: 6, commit });
    assert_eq!(sent(&handle(&mut replica, Input::Written { ticket })), acknowledged.iter().collect::<Vec<_>>());
}

#[test]
fn the_commit_index_of_a_write_counts_none_of_its_entries() {
    let mut replica = follower();
    // The entry 5 of the leader replaces the own one, and is committed.
    let payload = Payload::Append { index: 4, log_term: 2, commit: 5, entries: vec![entry(5, 4)] };
    let out = handle(&mut replica, Input::Message(message(1, 2, 4, payload)));
    let ticket = replica.unwritten.newest().expect("a write");
    let hard = Some(Hard { term: 4, ..Hard::default() });
    assert!(out.contains(&Output::Write { ticket, hard, commit: 4, entries: vec![entry(5, 4)] }), "{out:?}");
}

#[test]
fn a_leader_commits_what_two_have_and_it_has_itself() {
    let mut replica = leader();
    let out = handle(&mut replica, Input::Propose { body: Bytes::from_static(b"body") });
    assert_eq!(out[0], Output::Proposed { index: 7, term: 4 });
    let appended = |from, index| Input::Message(message(from, 1, 4, Payload::Appended { index, commit: 3 }));
    // Both others have it, so it is committed; it is applied when it is durable here too.
    for from in [2, 3] {
        let out = handle(&mut replica, appended(from, 5));
        assert!(sent(&out).contains(&&append_of(6, 3, 7)), "{out:?}");
    }
    let before: Vec<_> = [2, 3].into_iter().flat_map(|from| handle(&mut replica, appended(from, 7))).collect();
    let indexes = |out: &[Output]| -> Vec<u64> {
        let entries =
            out.iter().filter_map(|output| if let Output::Commit { entries } = output { Some(entries) } else { None });
        entries.flatten().map(|entry| entry.index).collect()
    };
    assert_eq!(indexes(&before), [4, 5, 6]);
    let ticket = replica.unwritten.newest().expect("a write");
    assert_eq!(indexes(&handle(&mut replica, Input::Written { ticket })), [7]);
}

/// The append that follows the one of the new leader's first entry.
fn append_of(first: u64, commit: u64, last: u64) -> Payload {
    let body = |index| if index == 6 { Bytes::new() } else { Bytes::from_static(b"body") };
    let entries = (first..=last).map(|index| LogEntry { index, term: 4, body: body(index) }).collect();
    Payload::Append { index: first - 1, log_term: 3, commit, entries }
}

#[test]
fn a_body_is_refused_by_who_does_not_lead_and_by_who_has_too_many() {
    let body = Bytes::from(vec![0; BODY_BYTES_MAX]);
    let refused = |refusal| Output::Refused { body: body.clone(), refusal };
    let propose = || Input::Propose { body: body.clone() };
    assert_eq!(handle(&mut follower(), propose()), [refused(Refusal::NotLeader)]);

    let mut replica = leader();
    let taken = (0..100).take_while(|_| handle(&mut replica, propose()) != [refused(Refusal::Busy)]).count();
    assert_eq!(taken, UNCOMMITTED_BYTES_MAX / BODY_BYTES_MAX);
}

#[test]
fn a_bad_copy_says_so_once_and_then_takes_no_part() {
    let mut replica = follower();
    let heartbeat = Input::Message(message(1, 2, 3, Payload::Heartbeat { commit: 6, context: 0 }));
    let fault = Fault::Lost { commit: 6, last: 5 };
    assert_eq!(handle(&mut replica, heartbeat.clone()), [Output::Bad(fault)]);
    assert_eq!(handle(&mut replica, heartbeat), []);
    (0..100).for_each(|_| assert_eq!(handle(&mut replica, Input::Tick), []));
    let body = Bytes::from_static(b"body");
    let refused = Output::Refused { body: body.clone(), refusal: Refusal::Bad };
    assert_eq!(handle(&mut replica, Input::Propose { body }), [refused]);
    assert_eq!(fault.to_string(), "its log ends at 5, but was committed up to 6: entries are lost");
    let differs = Fault::Differs { index: 3 }.to_string();
    assert_eq!(differs, "its committed entry 3 differs from the leader's");
}

#[test]
fn a_follower_that_is_behind_gets_entries_from_the_leaders_disk() {
    let entries: Vec<_> = (1..=3).map(|index| entry(index, 1)).collect();
    let mut replica = leader_of(Restored { base: (3, 2), entries: vec![entry(4, 2), entry(5, 3)], ..restored() });
    let rejected = Payload::Rejected { index: 5, hint: 1, hint_term: 1, commit: 1 };
    let out = handle(&mut replica, Input::Message(message(3, 1, 4, rejected)));
    assert_eq!(out, [Output::Fetch { index: 1, bytes_max: APPEND_BYTES_MAX }]);
    let heartbeat = heartbeat_answer(1, 0);
    assert_eq!(handle(&mut replica, Input::Message(message(3, 1, 4, heartbeat))), [], "it is being read");
    let fetched = Input::Fetched { base: (1, 1), entries: entries[1..].to_vec() };
    let out = handle(&mut replica, fetched.clone());
    let append = Payload::Append { index: 1, log_term: 1, commit: 3, entries: entries[1..].to_vec() };
    assert_eq!(out, [Output::Send(message(1, 3, 4, append))]);
    assert_eq!(handle(&mut replica, fetched), [], "nobody waits for it");
}

#[test]
fn what_is_not_on_the_disk_any_more_is_not_read_again() {
    let mut replica = leader_of(Restored { base: (3, 2), entries: vec![entry(4, 2), entry(5, 3)], ..restored() });
    let rejected = Payload::Rejected { index: 5, hint: 1, hint_term: 1, commit: 1 };
    handle(&mut replica, Input::Message(message(3, 1, 4, rejected)));
    let out = handle(&mut replica, Input::Fetched { base: (1, 1), entries: Vec::new() });
    assert_eq!(out, [Output::Send(message(1, 3, 4, Payload::Snapshot { index: 3, log_term: 2 }))]);
    let heartbeat = heartbeat_answer(1, 0);
    assert_eq!(handle(&mut replica, Input::Message(message(3, 1, 4, heartbeat))), []);
}

#[test]
fn what_is_dropped_is_counted() {
    let mut replica = follower();
    assert_eq!(
        handle(&mut replica, Input::Message(message(9, 2, 3, Payload::Heartbeat { commit: 0, context: 0 }))),
        []
    );
    assert_eq!(replica.dropped(), 1);
}

/// A leader of term 4 that has committed an entry of it.
fn settled_leader() -> Voter {
    let mut replica = leader();
    let out = handle(&mut replica, Input::Message(message(2, 1, 4, Payload::Appended { index: 6, commit: 3 })));
    assert!(out.iter().any(|output| matches!(output, Output::Commit { .. })));
    replica
}

fn answer(from: u64, term: u64, context: u64) -> Input {
    Input::Message(message(from, 1, term, heartbeat_answer(6, context)))
}

/// Returns after how many ticks member 2 votes for member 3 in term 5, when it is asked then for the first time.
fn votes_after(build: impl Fn() -> Voter, is_pre: bool) -> Option<usize> {
    (0..=ELECTION_TICKS[0]).find(|ticks| {
        let mut replica = build();
        tick(&mut replica, *ticks);
        let mut out = handle(&mut replica, request_vote(3, 5, is_pre));
        write(&mut replica, &mut out);
        sent(&out).contains(&&Payload::Vote { is_pre, is_granted: true, commit: 0, commit_term: 0 })
    })
}

#[test]
fn a_member_holds_its_vote_after_its_start_and_after_each_message_of_its_leader() {
    let hears = |term, payload: Payload| {
        let mut replica = follower();
        tick(&mut replica, VOTE_HOLD_TICKS);
        handle(&mut replica, Input::Message(message(1, 2, term, payload)));
        replica
    };
    let heartbeat = || Payload::Heartbeat { commit: 3, context: 7 };
    for is_pre in [true, false] {
        assert_eq!(votes_after(follower, is_pre), Some(VOTE_HOLD_TICKS));
        // The library knows the leader, and gives no vote for even longer.
        assert_eq!(votes_after(|| hears(3, heartbeat()), is_pre), Some(ELECTION_TICKS[0]));
        assert_eq!(votes_after(|| hears(4, append(5, 3, &[])), is_pre), Some(ELECTION_TICKS[0]));
        let old_leader = votes_after(|| hears(2, heartbeat()), is_pre);
        assert_eq!(old_leader, Some(0), "it is told that it leads no more");
    }
    // A late answer with a later term makes the library forget the leader.
    let forgets = || {
        let mut replica = hears(3, heartbeat());
        handle(&mut replica, Input::Message(message(3, 2, 5, Payload::Appended { index: 5, commit: 3 })));
        assert_eq!(replica.role(), Role::Follower { term: 5, leader: None });
        replica
    };
    assert_eq!(votes_after(forgets, false), Some(VOTE_HOLD_TICKS));
    let mut replica = follower();
    handle(&mut replica, request_vote(3, 5, false));
    assert_eq!((replica.dropped(), replica.role()), (1, Role::Follower { term: 3, leader: None }));
}
