//! Three members between which messages are exchanged, changed and made up. The test of hostile peers lets a generator
//! of random numbers choose what happens, a fuzz target its input.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use dht_node::limits::{INDEX_MAX, LOG_WINDOW_BYTES, TERM_MAX};
use dht_node::replica::{
    Condition, Config, Founding, Hard, Input, LogEntry, MemberId, Message, Output, Payload, Progress, Replica,
    Restored, Role, Stage, Standing, Ticket,
};
use dht_node::types::SlotId;
use dht_node::wire::field::Writer;
use dht_node::wire::raft::RaftItem;

/// Decides what happens next.
pub(crate) trait Choose {
    /// Returns a number below `bound`.
    fn below(&mut self, bound: u64) -> u64;

    /// Returns any number.
    fn number(&mut self) -> u64;

    /// Returns true in one of `of` cases.
    fn rarely(&mut self, of: u64) -> bool {
        self.below(of) == of - 1
    }

    /// Returns an index below `len`.
    fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }
}

/// What happened to messages that were made up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fates {
    pub(crate) dropped: u32,
    pub(crate) stepped: u32,
}

/// The three members.
pub(crate) struct Mob<C> {
    pub(crate) choose: C,
    replicas: [Replica; 3],
    tickets: [VecDeque<Ticket>; 3],
    sent: VecDeque<Message>,
    /// The last index of each log, so that messages can be almost right.
    lasts: [u64; 3],
    /// The stage of the third member at its start; `None` if it is a newcomer.
    stage: Option<Stage>,
    /// Entries up to here are on the disks only.
    base: u64,
    /// In how many of a hundred steps with the disk no write becomes durable.
    disk_lag: u64,
    pub(crate) bad: u32,
    pub(crate) led: u32,
    pub(crate) fetched: u32,
    /// For each member, whether a snapshot is being installed, and the last index of the copy that was last reported as
    /// ready.
    installing: [bool; 3],
    ready: [u64; 3],
    pub(crate) copied: u32,
    /// What happened to the messages that were made up, by their kind.
    pub(crate) fates: BTreeMap<&'static str, Fates>,
}

fn id(member: usize) -> MemberId {
    MemberId::new(0x1000 + member as u64).expect("not zero")
}

fn place(id: MemberId) -> Option<usize> {
    (0..3).find(|member| self::id(*member) == id)
}

impl<C: Choose> Mob<C> {
    pub(crate) fn new(mut choose: C) -> Self {
        let (disk_lag, base) = (choose.below(100), choose.below(2) * 3);
        // In some runs the third member is not a full one.
        let stage = [Some(Stage::Full), Some(Stage::Joining), Some(Stage::Recovering), None][choose.place(4)];
        Self {
            choose,
            replicas: [0, 1, 2].map(|member| start(member, base, stage)),
            stage,
            tickets: [VecDeque::new(), VecDeque::new(), VecDeque::new()],
            sent: VecDeque::new(),
            lasts: [base; 3],
            base,
            disk_lag,
            bad: 0,
            led: 0,
            fetched: 0,
            installing: [false; 3],
            ready: [0; 3],
            copied: 0,
            fates: BTreeMap::new(),
        }
    }

    /// Lets one thing happen.
    pub(crate) fn step(&mut self) {
        let member = self.choose.place(3);
        let input = match self.choose.below(22) {
            0 => {
                let message = self.message(member);
                return self.make_up(message);
            }
            1 => match self.almost_right() {
                Some(message) => return self.make_up(message),
                None => None,
            },
            2..9 => self.sent.pop_front().map(Input::Message),
            9..14 if self.choose.below(100) >= self.disk_lag => {
                self.tickets[member].pop_front().map(|ticket| Input::Written { ticket })
            }
            9..17 => Some(Input::Tick),
            17 if self.choose.rarely(4) => Some(Input::HandOver { to: id(self.choose.place(3)) }),
            17 => Some(Input::Confirm { at_us: self.choose.below(3) }),
            18 | 19 => Some(self.copy(member)),
            _ => Some(Input::Propose { body: self.body(1) }),
        };
        let Some(input) = input else { return };
        let receiver = match &input {
            Input::Message(message) => place(message.to).unwrap_or(member),
            Input::Tick
            | Input::Confirm { .. }
            | Input::HandOver { .. }
            | Input::Differs { .. }
            | Input::Propose { .. }
            | Input::Written { .. }
            | Input::Fetched { .. }
            | Input::NotFetched { .. }
            | Input::CopyReady { .. }
            | Input::Copied
            | Input::NotCopied => member,
        };
        self.handle(receiver, input);
    }

    /// Makes up an input about a copy, whether the member is taking one or not.
    fn copy(&mut self, member: usize) -> Input {
        if std::mem::take(&mut self.installing[member]) && !self.choose.rarely(4) {
            self.copied += 1;
            self.lasts[member] = self.ready[member];
            return Input::Copied;
        }
        if self.choose.rarely(4) {
            return Input::NotCopied;
        }
        let (Role::Leader { term } | Role::Follower { term, .. }) = self.replicas[member].role();
        let (index, term) = (self.index(self.lasts[member] + 4), self.old_term(term));
        self.ready[member] = index;
        Input::CopyReady { index, term }
    }

    fn handle(&mut self, member: usize, input: Input) {
        let mut out = Vec::new();
        self.replicas[member].handle(input, &mut out);
        self.replicas[member].check();
        out.into_iter().for_each(|output| self.on_output(member, output));
    }

    /// Delivers a message that nobody has sent, as it arrives from the wire.
    fn make_up(&mut self, message: Message) {
        let Some(message) = self.over_the_wire(message) else { return };
        let receiver = place(message.to).unwrap_or(0);
        let (kind, dropped) = (kind(&message.payload), self.replicas[receiver].dropped());
        self.handle(receiver, Input::Message(message));
        let fates = self.fates.entry(kind).or_default();
        // A bad copy was replaced by one that has dropped nothing.
        if self.replicas[receiver].dropped() > dropped {
            fates.dropped += 1;
        } else {
            fates.stepped += 1;
        }
    }

    /// Returns a message as it was encoded, or now and then with a changed byte, if it can still be decoded.
    fn over_the_wire(&mut self, message: Message) -> Option<Message> {
        if let Payload::Append { index, entries, .. } = &message.payload
            && !entries
                .iter()
                .map(|entry| Some(entry.index))
                .eq((1..=entries.len() as u64).map(|nth| index.checked_add(nth)))
        {
            // The encoding has no place for indexes that are not consecutive.
            return Some(message);
        }
        let item = RaftItem { slot: SlotId::default(), message };
        let mut bytes = Vec::new();
        item.encode(&mut Writer::new(&mut bytes));
        assert_eq!(bytes.len(), item.encoded_len());
        if !self.choose.rarely(8) {
            assert_eq!(RaftItem::decode_all(&bytes.into(), 1), Ok(vec![item.clone()]));
            return Some(item.message);
        }
        let at = self.choose.place(bytes.len());
        bytes[at] = self.choose.number().to_be_bytes()[7];
        RaftItem::decode_all(&bytes.into(), 1).ok()?.pop().map(|item| item.message)
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
                self.replicas[member] = start(member, self.base, self.stage);
                self.lasts[member] = self.base;
                self.tickets[member].clear();
                self.installing[member] = false;
            }
            Output::Role(Role::Leader { .. }) => self.led += 1,
            Output::Fetch { index, .. } => {
                self.fetched += 1;
                let count = self.choose.below(self.base.saturating_sub(index) + 1);
                let entries = (index + 1..=index + count).map(old_entry).collect();
                self.handle(member, Input::Fetched { base: (index, index.min(1)), entries });
            }
            Output::Install => self.installing[member] = true,
            Output::Proposed { .. }
            | Output::Refused { .. }
            | Output::Copy { .. }
            | Output::NoCopy
            | Output::Commit { .. }
            | Output::Confirmed { .. }
            | Output::Joining(_)
            | Output::Role(_) => {}
        }
    }

    /// A message that was really sent, but for one thing.
    fn almost_right(&mut self) -> Option<Message> {
        let at = self.choose.place(self.sent.len() + 1);
        let mut message = self.sent.get(at)?.clone();
        let other = self.message(place(message.to)?);
        match self.choose.below(6) {
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
        let which = self.choose.place(4);
        match payload {
            Payload::Append { index, log_term, commit, entries } => match which {
                3 => *entries = self.entries(*index, *log_term),
                _ => *[index, log_term, commit][which] = number,
            },
            Payload::Appended { index, commit } => *[index, commit][which % 2] = number,
            Payload::Rejected { index, hint, hint_term, commit } => *[index, hint, hint_term, commit][which] = number,
            Payload::Heartbeat { commit, context } | Payload::HeartbeatAnswer { commit, context, .. } => {
                *[commit, context][which % 2] = number;
            }
            Payload::RequestVote { is_pre: false, is_hand_over, .. } if number.is_multiple_of(4) => {
                *is_hand_over ^= true
            }
            Payload::RequestVote { progress: Progress { last_index, last_term, commit, commit_term }, .. } => {
                *[last_index, last_term, commit, commit_term][which] = number;
            }
            Payload::Snapshot { index, log_term } => *[index, log_term][which % 2] = number,
            Payload::Vote { is_granted, commit, commit_term, .. } => match which {
                0 | 1 => *is_granted ^= true,
                _ => *[commit, commit_term][which - 2] = number,
            },
            Payload::Join { disk, last } => *[disk, last][which % 2] = number,
            Payload::JoinAnswer { asker, disk, last, founding, .. } => {
                *[asker, disk, last, &mut founding.last][which] = number;
            }
            Payload::TimeoutNow => {}
        }
    }

    fn message(&mut self, to: usize) -> Message {
        let from = (to + 1 + self.choose.place(2)) % 3;
        let mut or_strange = |member| {
            if !self.choose.rarely(30) {
                return id(member);
            }
            MemberId::new(self.choose.number()).unwrap_or_else(|| id(member))
        };
        let (from, receiver) = (or_strange(from), or_strange(to));
        let (Role::Leader { term } | Role::Follower { term, .. }) = self.replicas[to].role();
        let term = self.term(term);
        let mut founding = self.replicas[to].founding().id();
        if self.choose.rarely(30) {
            // A later founding would end the member.
            founding = [0, 1, founding & 0xffff_ffff, founding ^ 1][self.choose.place(4)];
        }
        Message { from, to: receiver, term, founding, payload: self.payload(term, self.lasts[to]) }
    }

    fn payload(&mut self, term: u64, last: u64) -> Payload {
        let (index, commit, other_index) = (self.index(last), self.index(last), self.index(last));
        let (log_term, other_term) = (self.old_term(term), self.old_term(term));
        let (is_pre, is_granted) = (self.choose.rarely(2), self.choose.rarely(2));
        match self.choose.below(13) {
            0..3 => Payload::Append { index, log_term, commit, entries: self.entries(index, log_term) },
            3 => Payload::Appended { index, commit },
            4 => Payload::Rejected { index, hint: other_index, hint_term: other_term, commit },
            5 => Payload::Heartbeat { commit, context: self.choose.below(4) },
            6 => {
                let condition = Condition::default();
                Payload::HeartbeatAnswer { commit, context: self.choose.below(4), condition }
            }
            7 => {
                let progress = Progress { last_index: index, last_term: log_term, commit, commit_term: other_term };
                Payload::RequestVote { is_pre, is_hand_over: !is_pre && is_granted, progress }
            }
            8 => Payload::Join { disk: self.disk(), last: index },
            9 => {
                let standing = [Standing::Newcomer, Standing::Founder, Standing::Member][self.choose.place(3)];
                let founding = Founding { number: 1, disks: [0; 3].map(|_| self.disk()), last: other_index };
                let (is_leading, asker, disk) = (is_granted, self.disk(), self.disk());
                Payload::JoinAnswer { standing, is_leading, asker, disk, last: index, founding }
            }
            10 => Payload::TimeoutNow,
            11 => Payload::Snapshot { index, log_term },
            _ => Payload::Vote { is_pre, is_granted, commit, commit_term: other_term },
        }
    }

    /// Returns the id of the folder of one of the three members, or another id.
    fn disk(&mut self) -> u64 {
        self.choose.below(5)
    }

    fn entries(&mut self, index: u64, log_term: u64) -> Vec<LogEntry> {
        let mut term = log_term;
        let count = self.choose.below(4);
        let mut entry = |nth| {
            let gap = if self.choose.rarely(40) { self.choose.number() } else { 0 };
            term =
                if self.choose.rarely(40) { self.choose.below(4) } else { term.saturating_add(self.choose.below(2)) };
            let index = index.wrapping_add(nth).wrapping_add(gap);
            LogEntry { index, term, body: self.body(0) }
        };
        (1..=count).map(&mut entry).collect()
    }

    /// A body of at least so many bytes: mostly few, sometimes many.
    fn body(&mut self, least: usize) -> Bytes {
        static BYTES: [u8; 300_000] = [7; 300_000];
        let bytes = if self.choose.rarely(200) { BYTES.len() } else { least.max(self.choose.place(3)) };
        Bytes::from_static(&BYTES[..bytes])
    }

    /// Mostly an index that a member may have, sometimes one that is far from it.
    fn index(&mut self, last: u64) -> u64 {
        let far = [last + 1, INDEX_MAX, INDEX_MAX + 1, u64::MAX - 1, u64::MAX];
        if self.choose.rarely(30) { far[self.choose.place(5)] } else { self.choose.below(last + 1) }
    }

    /// Mostly the receiver's term.
    fn term(&mut self, term: u64) -> u64 {
        let far = [0, TERM_MAX, TERM_MAX + 1, u64::MAX];
        match self.choose.below(1_000) {
            0 => far[self.choose.place(4)],
            1..200 => term.saturating_sub(1).saturating_add(self.choose.below(3)),
            _ => term,
        }
    }

    fn old_term(&mut self, term: u64) -> u64 {
        if self.choose.rarely(20) { self.term(term) } else { term.saturating_sub(self.choose.below(3)) }
    }
}

/// Returns the name of a kind of messages.
fn kind(payload: &Payload) -> &'static str {
    match payload {
        Payload::Append { entries, .. } if entries.is_empty() => "probe",
        Payload::Append { .. } => "append",
        Payload::Appended { .. } => "appended",
        Payload::Rejected { .. } => "rejected",
        Payload::Heartbeat { .. } => "heartbeat",
        Payload::HeartbeatAnswer { .. } => "heartbeat answer",
        Payload::RequestVote { is_pre: true, .. } => "request for a pre-vote",
        Payload::RequestVote { is_hand_over: true, .. } => "request for a vote at a hand-over",
        Payload::RequestVote { is_pre: false, .. } => "request for a vote",
        Payload::Vote { is_pre: true, is_granted: true, .. } => "pre-vote",
        Payload::Vote { is_pre: true, is_granted: false, .. } => "refused pre-vote",
        Payload::Vote { is_pre: false, is_granted: true, .. } => "vote",
        Payload::Vote { is_pre: false, is_granted: false, .. } => "refused vote",
        Payload::Join { .. } => "join",
        Payload::JoinAnswer { .. } => "answer to a join",
        Payload::TimeoutNow => "timeout now",
        Payload::Snapshot { .. } => "snapshot",
    }
}

/// The number of names that [`kind`] has.
pub(crate) const KINDS: usize = 17;

fn start(member: usize, base: u64, stage: Option<Stage>) -> Replica {
    let config = Config {
        id: id(member),
        members: (0..3).map(id).collect(),
        disk: member as u64 + 1,
        window_bytes: LOG_WINDOW_BYTES,
    };
    let restored = match stage {
        None if member == 2 => Restored::default(),
        stage => {
            // Entries up to `last` are not sent to others.
            let last = if stage == Some(Stage::Joining) { base + 2 } else { 0 };
            let stage = stage.filter(|_| member == 2).unwrap_or_default();
            let founding = Founding { number: 1, disks: [1, 2, 3], last };
            let hard = Hard { term: 1, vote: None, stage, founding };
            Restored { hard, commit: base, applied: base, base: (base, base.min(1)), entries: Vec::new() }
        }
    };
    Replica::new(&config, restored, &mut Vec::new()).expect("nothing is lost")
}

fn old_entry(index: u64) -> LogEntry {
    LogEntry { index, term: 1, body: Bytes::from_static(b"body") }
}
