//! Peers that send anything: a member may find its copy bad, but must not panic.

use std::collections::VecDeque;

use bytes::Bytes;
use dht_node::limits::{INDEX_MAX, TERM_MAX};
use dht_node::replica::{
    Hard, Input, LogEntry, MemberId, Message, Output, Payload, Progress, Replica, Restored, Role, Ticket,
};
use fastrand::Rng;

use crate::world::{config, id};

/// Three members, between which messages are exchanged and also made up.
struct Mob {
    rng: Rng,
    replicas: [Replica; 3],
    tickets: [VecDeque<Ticket>; 3],
    sent: VecDeque<Message>,
    /// The last index of each log, so that messages can be almost right.
    lasts: [u64; 3],
    /// Entries up to here are on the disks only.
    base: u64,
    /// How often of a hundred times the disk does nothing.
    disk_lag: u32,
    bad: u32,
    led: u32,
    fetched: u32,
}

#[test]
fn no_message_makes_a_member_panic() {
    let (mut bad, mut led, mut fetched) = (0, 0, 0);
    for seed in 1..=1_000 {
        let mut mob = Mob::new(seed);
        (0..1_000).for_each(|_| mob.step());
        (bad, led, fetched) = (bad + mob.bad, led + mob.led, fetched + mob.fetched);
    }
    assert!(bad > 1_000 && led > 1_000 && fetched > 10, "{bad} were bad, {led} led, {fetched} fetched");
}

impl Mob {
    fn new(seed: u64) -> Self {
        let tickets = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
        let mut rng = Rng::with_seed(seed);
        let (disk_lag, base) = (rng.u32(..100), rng.u64(..2) * 3);
        let replicas = [start(0, base), start(1, base), start(2, base)];
        let (sent, lasts) = (VecDeque::new(), [base; 3]);
        Self { rng, replicas, tickets, sent, lasts, base, disk_lag, bad: 0, led: 0, fetched: 0 }
    }

    fn step(&mut self) {
        let member = self.rng.usize(..3);
        let input = match self.rng.u32(..20) {
            0 => Some(Input::Message(self.message(member))),
            1 => self.almost_right().map(Input::Message),
            2..9 => self.sent.pop_front().map(Input::Message),
            9..14 if self.rng.u32(..100) >= self.disk_lag => {
                self.tickets[member].pop_front().map(|ticket| Input::Written { ticket })
            }
            9..18 => Some(Input::Tick),
            _ => Some(Input::Propose { body: Bytes::from_static(b"body") }),
        };
        let Some(input) = input else { return };
        let receiver = match &input {
            Input::Message(message) => (0..3).find(|member| id(*member) == message.to).unwrap_or(member),
            Input::Tick | Input::Propose { .. } | Input::Written { .. } | Input::Fetched { .. } => member,
        };
        let mut out = Vec::new();
        self.replicas[receiver].handle(input, &mut out);
        self.replicas[receiver].check();
        out.into_iter().for_each(|output| self.on_output(receiver, output));
    }

    fn on_output(&mut self, member: usize, output: Output) {
        match output {
            Output::Send(message) => self.sent.push_back(message),
            Output::Write { ticket, entries, .. } => {
                self.lasts[member] = entries.last().map_or(self.lasts[member], |entry| entry.index);
                self.tickets[member].push_back(ticket);
            }
            Output::Bad(_) => {
                self.bad += 1;
                self.replicas[member] = start(member, self.base);
                self.lasts[member] = self.base;
                self.tickets[member].clear();
            }
            Output::Role(Role::Leader { .. }) => self.led += 1,
            Output::Fetch { index, .. } => {
                self.fetched += 1;
                let count = self.rng.u64(..=self.base - index);
                let entries = (index + 1..=index + count).map(old_entry).collect();
                let mut out = Vec::new();
                self.replicas[member].handle(Input::Fetched { base: (index, index.min(1)), entries }, &mut out);
                out.into_iter().for_each(|output| self.on_output(member, output));
            }
            Output::Proposed { .. } | Output::Refused { .. } | Output::Commit { .. } | Output::Role(_) => {}
        }
    }

    /// A message that was really sent, but for one thing.
    fn almost_right(&mut self) -> Option<Message> {
        let mut message = self.sent.get(self.rng.usize(..=self.sent.len()))?.clone();
        let other = self.message((0..3).find(|member| id(*member) == message.to)?);
        match self.rng.u32(..6) {
            0 => message.from = other.from,
            1 => message.to = other.to,
            2 => message.term = other.term,
            3 => message.payload = other.payload,
            _ => self.change(&mut message.payload),
        }
        Some(message)
    }

    fn change(&mut self, payload: &mut Payload) {
        let number = self.index(8);
        let which = self.rng.usize(..4);
        match payload {
            Payload::Append { index, log_term, commit, entries } => match which {
                3 => *entries = self.entries(*index, *log_term),
                _ => *[index, log_term, commit][which] = number,
            },
            Payload::Appended { index, commit } => *[index, commit][which % 2] = number,
            Payload::Rejected { index, hint, hint_term, commit } => *[index, hint, hint_term, commit][which] = number,
            Payload::Heartbeat { commit } | Payload::HeartbeatAnswer { commit } => *commit = number,
            Payload::RequestVote { progress: Progress { last_index, last_term, commit, commit_term }, .. } => {
                *[last_index, last_term, commit, commit_term][which] = number;
            }
            Payload::Vote { is_granted, commit, commit_term, .. } => match which {
                0 | 1 => *is_granted ^= true,
                _ => *[commit, commit_term][which - 2] = number,
            },
        }
    }

    fn message(&mut self, to: usize) -> Message {
        let from = (to + self.rng.usize(1..3)) % 3;
        let strange = MemberId::new(self.rng.u64(1..)).expect("not zero");
        let mut or_strange = |member| if self.rng.u32(..30) == 0 { strange } else { id(member) };
        let (from, receiver) = (or_strange(from), or_strange(to));
        let (Role::Leader { term } | Role::Follower { term, .. }) = self.replicas[to].role();
        let term = self.term(term);
        Message { from, to: receiver, term, payload: self.payload(term, self.lasts[to]) }
    }

    fn payload(&mut self, term: u64, last: u64) -> Payload {
        let (index, commit, other_index) = (self.index(last), self.index(last), self.index(last));
        let (log_term, other_term) = (self.old_term(term), self.old_term(term));
        let (is_pre, is_granted) = (self.rng.bool(), self.rng.bool());
        match self.rng.u32(..8) {
            0..3 => Payload::Append { index, log_term, commit, entries: self.entries(index, log_term) },
            3 => Payload::Appended { index, commit },
            4 => Payload::Rejected { index, hint: other_index, hint_term: other_term, commit },
            5 if self.rng.bool() => Payload::Heartbeat { commit },
            5 => Payload::HeartbeatAnswer { commit },
            6 => {
                let progress = Progress { last_index: index, last_term: log_term, commit, commit_term: other_term };
                Payload::RequestVote { is_pre, progress }
            }
            _ => Payload::Vote { is_pre, is_granted, commit, commit_term: other_term },
        }
    }

    fn entries(&mut self, index: u64, log_term: u64) -> Vec<LogEntry> {
        let mut term = log_term;
        let count = self.rng.u64(..4);
        let mut entry = |nth| {
            let gap = u64::from(self.rng.u32(..40) == 0);
            term = if self.rng.u32(..40) == 0 { self.rng.u64(..4) } else { term.saturating_add(self.rng.u64(..2)) };
            LogEntry { index: index.wrapping_add(nth + gap), term, body: Bytes::from_static(b"body") }
        };
        (1..=count).map(&mut entry).collect()
    }

    /// Mostly an index that a member may have, sometimes one that is far from it.
    fn index(&mut self, last: u64) -> u64 {
        let far = [last + 1, INDEX_MAX, INDEX_MAX + 1, u64::MAX];
        if self.rng.u32(..30) == 0 { far[self.rng.usize(..4)] } else { self.rng.u64(..=last) }
    }

    /// Mostly the receiver's term.
    fn term(&mut self, term: u64) -> u64 {
        let far = [0, TERM_MAX, TERM_MAX + 1, u64::MAX];
        match self.rng.u32(..1_000) {
            0 => far[self.rng.usize(..4)],
            1..200 => term.saturating_sub(1).saturating_add(self.rng.u64(..3)),
            _ => term,
        }
    }

    fn old_term(&mut self, term: u64) -> u64 {
        if self.rng.u32(..20) == 0 { self.term(term) } else { term.saturating_sub(self.rng.u64(..3)) }
    }
}

fn start(member: usize, base: u64) -> Replica {
    let hard = Hard { term: 1, vote: None };
    let restored = Restored { hard, commit: base, applied: base, base: (base, base.min(1)), entries: Vec::new() };
    Replica::new(&config(member, 0), restored, &mut Vec::new()).expect("nothing is lost")
}

fn old_entry(index: u64) -> LogEntry {
    LogEntry { index, term: 1, body: Bytes::from_static(b"body") }
}
