//! Peers that send anything: a member may find its copy bad, but must not panic.

use std::collections::BTreeMap;

use bytes::Bytes;
use dht_node::limits::{ELECTION_TICKS, INDEX_MAX, LOG_WINDOW_BYTES, TERM_MAX, VOTE_HOLD_TICKS};
use dht_node::replica::{
    Condition, Config, Founding, Hard, Input, LogEntry, MemberId, Message, Output, Payload, Progress, Replica,
    Restored, Stage, Standing,
};
use fastrand::Rng;

use crate::mob::{Choose, Fates, KINDS, Mob};

impl Choose for Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.u64(..bound)
    }

    fn number(&mut self) -> u64 {
        self.u64(..)
    }
}

#[test]
fn no_message_makes_a_member_panic() {
    let (mut bad, mut led, mut fetched) = (0, 0, 0);
    let mut fates: BTreeMap<&str, Fates> = BTreeMap::new();
    for seed in 1..=1_000 {
        let mut mob = Mob::new(Rng::with_seed(seed));
        (0..1_000).for_each(|_| mob.step());
        (bad, led, fetched) = (bad + mob.bad, led + mob.led, fetched + mob.fetched);
        for (kind, more) in mob.fates {
            let sum = fates.entry(kind).or_default();
            (sum.dropped, sum.stepped) = (sum.dropped + more.dropped, sum.stepped + more.stepped);
        }
    }
    assert!(bad > 1_000 && led > 1_000 && fetched > 10, "{bad} were bad, {led} led, {fetched} fetched");
    assert_eq!(fates.len(), KINDS);
    for (kind, Fates { dropped, stepped }) in fates {
        assert!(dropped > 50 && stepped > 50, "{kind}: {dropped} were dropped, {stepped} stepped");
    }
}

/// Every kind of message, with all combinations of values that are special for some state of the receiver, to a member
/// in each state. What follows from a message must not make it panic either.
#[test]
fn no_combination_of_odd_fields_makes_a_member_panic() {
    let payloads = odd_payloads();
    assert!(payloads.len() > 9_000, "{} payloads", payloads.len());
    let (mut dropped, mut handled) = (0, 0);
    for (state, build) in STATES {
        let mut member = build();
        let founding = member.founding().id();
        for term in [0, 2, 3, 4, TERM_MAX, TERM_MAX + 1] {
            for payload in &payloads {
                let message = Message { from: id(2), to: id(1), term, founding, payload: payload.clone() };
                let before = member.dropped();
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let mut out = Vec::new();
                    member.handle(Input::Message(message.clone()), &mut out);
                    member.check();
                    if member.dropped() > before {
                        return None;
                    }
                    // Together with another member, one may make up what a majority has.
                    member.handle(Input::Message(Message { from: id(3), ..message.clone() }), &mut out);
                    go_on(&mut member, out);
                    Some(())
                }));
                match done {
                    Ok(None) => dropped += 1,
                    Ok(Some(())) => {
                        handled += 1;
                        member = build();
                    }
                    Err(_) => panic!("{state}: {message:?}"),
                }
            }
        }
    }
    assert!(dropped > 10_000 && handled > 10_000, "{dropped} were dropped, {handled} handled");
}

type Build = fn() -> Replica;

/// The states of member 1, whose election timeout is the shortest one.
const STATES: [(&str, Build); 13] = [
    ("a newcomer", || begin(Restored::default())),
    ("a member whose log was not founded", || {
        begin(Restored { hard: Hard { term: 3, ..Hard::default() }, ..restored() })
    }),
    ("a joining member", || {
        let founding = Founding { last: 7, ..founded().founding };
        start(Restored { hard: Hard { term: 3, stage: Stage::Joining, founding, ..Hard::default() }, ..restored() })
    }),
    ("a recovering member", || {
        start(Restored { hard: Hard { term: 3, stage: Stage::Recovering, ..founded() }, ..restored() })
    }),
    ("a new member", || start(Restored { hard: founded(), ..Restored::default() })),
    ("a follower that has just started", || begin(restored())),
    ("a follower", || start(restored())),
    ("a follower with its log on the disk", || {
        start(Restored { base: (3, 2), entries: restored().entries.split_off(3), ..restored() })
    }),
    ("a follower whose disk lags", lagging),
    ("a pre-candidate", || pre_candidate(start(restored()))),
    ("a candidate", || candidate(start(restored()))),
    ("a candidate whose disk lags", || candidate(lagging())),
    ("a leader", leader),
];

fn lagging() -> Replica {
    let mut member = start(restored());
    let entries = vec![entry(6, 3)];
    receive(&mut member, 3, Payload::Append { index: 5, log_term: 3, commit: 4, entries });
    member
}

fn pre_candidate(mut member: Replica) -> Replica {
    (0..ELECTION_TICKS[0]).for_each(|_| member.handle(Input::Tick, &mut Vec::new()));
    member
}

fn candidate(member: Replica) -> Replica {
    let mut member = pre_candidate(member);
    receive(&mut member, 4, Payload::Vote { is_pre: true, is_granted: true, commit: 0, commit_term: 0 });
    member
}

fn leader() -> Replica {
    let mut member = pre_candidate(start(restored()));
    for is_pre in [true, false] {
        let out = receive(&mut member, 4, Payload::Vote { is_pre, is_granted: true, commit: 0, commit_term: 0 });
        write(&mut member, out);
    }
    member
}

fn id(member: u64) -> MemberId {
    MemberId::new(member).expect("not zero")
}

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index, term, body: Bytes::from_static(b"body") }
}

/// A log of terms 1 1 2 2 3, of which three entries are committed and applied.
fn restored() -> Restored {
    let entries = [1, 1, 2, 2, 3].into_iter().zip(1..).map(|(term, index)| entry(index, term)).collect();
    Restored { hard: Hard { term: 3, ..founded() }, commit: 3, applied: 3, base: (0, 0), entries }
}

/// The hard state of a full member that knows the founding of its group.
fn founded() -> Hard {
    Hard { founding: Founding { number: 1, disks: [1, 2, 3], last: 0 }, ..Hard::default() }
}

/// A member that votes.
fn start(restored: Restored) -> Replica {
    let mut member = begin(restored);
    (0..VOTE_HOLD_TICKS).for_each(|_| member.handle(Input::Tick, &mut Vec::new()));
    member
}

fn begin(restored: Restored) -> Replica {
    let config = Config { id: id(1), members: [1, 2, 3].map(id).to_vec(), disk: 1, window_bytes: LOG_WINDOW_BYTES };
    Replica::new(&config, restored, &mut Vec::new()).expect("nothing is lost")
}

fn receive(member: &mut Replica, term: u64, payload: Payload) -> Vec<Output> {
    let mut out = Vec::new();
    member.handle(
        Input::Message(Message { from: id(2), to: id(1), term, founding: founded().founding.id(), payload }),
        &mut out,
    );
    out
}

/// Makes durable what was written, whatever that leads to.
fn write(member: &mut Replica, mut out: Vec<Output>) {
    while let Some(output) = out.pop() {
        if let Output::Write { ticket, .. } = output {
            member.handle(Input::Written { ticket }, &mut out);
        }
    }
}

/// Lets a member do what it does after a message.
fn go_on(member: &mut Replica, out: Vec<Output>) {
    write(member, out);
    let mut out = Vec::new();
    member.handle(Input::Propose { body: Bytes::from_static(b"body") }, &mut out);
    member.handle(Input::Confirm { at_us: 7 }, &mut out);
    member.handle(Input::HandOver { to: MemberId::new(2).expect("not zero") }, &mut out);
    (0..ELECTION_TICKS[0]).for_each(|_| member.handle(Input::Tick, &mut out));
    write(member, out);
    let condition = Condition::default();
    let answer = Payload::HeartbeatAnswer { commit: 0, context: 8, condition };
    for payload in [answer, Payload::Heartbeat { commit: 0, context: 0 }] {
        receive(member, 4, payload);
    }
    member.check();
}

/// All payloads with indexes and terms that are special for one of the states.
fn odd_payloads() -> Vec<Payload> {
    let indexes = [0, 1, 3, 4, 5, 6, 7, INDEX_MAX, u64::MAX];
    let terms = [0, 1, 2, 3, 4, u64::MAX];
    let commits = [0, 3, 5, 6, 7, u64::MAX];
    let mut all = vec![Payload::TimeoutNow];
    for commit in commits {
        for context in [0, 8, u64::MAX] {
            let condition = Condition::default();
            let answer = Payload::HeartbeatAnswer { commit, context, condition };
            all.extend([Payload::Heartbeat { commit, context }, answer]);
        }
        for index in indexes {
            all.extend(terms.map(|log_term| Payload::Snapshot { index, log_term }));
            all.push(Payload::Appended { index, commit });
            for term in terms {
                for entries in odd_entries(index, term) {
                    all.push(Payload::Append { index, log_term: term, commit, entries });
                }
                for hint in indexes {
                    all.push(Payload::Rejected { index, hint, hint_term: term, commit });
                }
                for commit_term in terms {
                    let progress = Progress { last_index: index, last_term: term, commit, commit_term };
                    for (is_pre, is_hand_over) in [(true, false), (false, false), (false, true)] {
                        all.push(Payload::RequestVote { is_pre, is_hand_over, progress });
                    }
                }
            }
        }
        for commit_term in terms {
            for (is_pre, is_granted) in [(true, true), (true, false), (false, true), (false, false)] {
                all.push(Payload::Vote { is_pre, is_granted, commit, commit_term });
            }
        }
    }
    all.extend(odd_joins());
    all
}

/// Returns joins and answers to joins.
fn odd_joins() -> Vec<Payload> {
    let (disks, lasts) = ([0, 1, 2, u64::MAX], [0, 4, 5, 6, INDEX_MAX, INDEX_MAX + 1, u64::MAX]);
    let mut all = Vec::new();
    for (disk, last) in disks.iter().flat_map(|disk| lasts.map(|last| (*disk, last))) {
        all.push(Payload::Join { disk, last });
        for (standing, founded_last) in [Standing::Newcomer, Standing::Founder, Standing::Member]
            .into_iter()
            .flat_map(|standing| lasts.map(|last| (standing, last)))
        {
            for (is_leading, disks) in [(true, [1, 2, 3]), (false, [4, 2, 3]), (true, [0; 3]), (false, [1, 1, 1])] {
                let founding = Founding { number: 1, disks, last: founded_last };
                all.push(Payload::JoinAnswer { standing, is_leading, asker: disk, disk, last, founding });
            }
        }
    }
    all
}

/// Returns lists of entries that follow an index: correct ones, and some with gaps, in a wrong order or of wrong terms.
fn odd_entries(index: u64, term: u64) -> Vec<Vec<LogEntry>> {
    let after = |more: u64| index.wrapping_add(more);
    let lists: [&[(u64, u64)]; 9] = [
        &[],
        &[(after(1), term)],
        &[(after(1), term.saturating_add(1)), (after(2), 3)],
        &[(after(1), 0)],
        &[(after(1), 3), (after(2), 2)],
        &[(after(2), 3)],
        &[(after(2), 3), (after(1), 3)],
        &[(index, term)],
        &[(0, 3), (u64::MAX, u64::MAX)],
    ];
    lists.map(|list| list.iter().map(|(index, term)| entry(*index, *term)).collect()).to_vec()
}
