//! One member of a replica group: the consensus about a log of bodies, as a state machine.
//!
//! ```text
//!  a body to propose ──► Propose ┐             ┌─► Proposed · Refused   where it is in the log, or that it is not
//!  from another member ► Message │             ├─► Send                 a message to another member
//!  each 100 ms ────────► Tick    ├──► Replica ─┼─► Write                what must become durable, in this order
//!  the disk ───────────► Written │             ├─► Commit               entries to apply, in this order
//!                        Fetched ┘             ├─► Fetch                entries to read from the disk
//!                                              └─► Role · Bad
//! ```
//!
//! | file | what |
//! |---|---|
//! | `message` | the messages between members |
//! | `convert` | conversion between these and the types of the Raft library |
//! | `guard` | which messages reach the library |
//! | `log` | the part of the log that is in memory |
//! | `unwritten` | writes that are not durable yet, and the messages that wait for them |
//!
//! The library `raft` implements the consensus algorithm; nothing outside of this module uses it. There is no I/O in
//! here, no clock and no randomness: time comes in as ticks, and the election timeout follows from the member's rank.
//!
//! What this module does not cover: the meaning of bodies, the encoding of messages and entries, membership changes,
//! leases for reads, and snapshots for members that need entries which are not on the leader's disk any more.

mod convert;
mod guard;
mod log;
mod message;
#[cfg(test)]
mod tests;
mod unwritten;

use std::fmt;

use bytes::Bytes;
use raft::eraftpb;
use raft::{RawNode, StateRole};

use crate::limits::{
    APPEND_BYTES_MAX, APPENDS_INFLIGHT_MAX, BODY_BYTES_MAX, COMMIT_BYTES_MAX, ELECTION_TICKS, FETCHES_MAX,
    HEARTBEAT_TICKS, LOG_WINDOW_BYTES, UNCOMMITTED_BYTES_MAX,
};
use guard::Verdict;
use log::{Log, Want};
pub use message::{LogEntry, MemberId, Message, Payload, Progress};
use unwritten::Unwritten;

/// Who is in the group.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member.
    pub id: MemberId,
    /// All members by their rank: the first one is the first to become the leader. There may be one or three.
    pub members: Vec<MemberId>,
}

/// What a member must remember through a crash: the newest term that it knows, and its vote in that term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say all")]
pub struct Hard {
    pub term: u64,
    pub vote: Option<MemberId>,
}

/// What a start has read from the disk. The default is a member of a new group.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The hard state that was written last.
    pub hard: Hard,
    /// The highest index that is known to be committed, at most that of the last entry.
    pub commit: u64,
    /// The index up to which the log has been applied. Committed entries after it are put out again.
    pub applied: u64,
    /// Index and term of the entry before `entries`; zeros before the first one.
    pub base: (u64, u64),
    /// The end of the log: all entries after `applied`, and earlier ones for members that are behind.
    pub entries: Vec<LogEntry>,
}

/// The number of a write. Later writes have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What happens to a member.
#[derive(Clone, Debug)]
pub enum Input {
    /// Another `TICK_US` of time has passed.
    Tick,
    /// A message has arrived.
    Message(Message),
    /// A body is to be appended to the log. It has at least one byte and at most `BODY_BYTES_MAX`.
    Propose {
        /// The body.
        body: Bytes,
    },
    /// All writes up to this one are durable.
    Written {
        /// The write.
        ticket: Ticket,
    },
    /// Answers `Output::Fetch`.
    Fetched {
        /// Index and term of the entry before these; zeros before the first one.
        base: (u64, u64),
        /// Consecutive entries. There are none if the first of them is not on the disk any more.
        entries: Vec<LogEntry>,
    },
}

/// What a member wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The proposed body was appended here. It is committed if the entry that is committed at this index has this term;
    /// if it has another one, a new leader has replaced the body.
    Proposed {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// The body was not added.
    Refused {
        /// The body.
        body: Bytes,
        /// Why.
        refusal: Refusal,
    },
    /// Sends a message; it may be lost. Everything that it relies on is durable.
    Send(Message),
    /// Makes this durable, after all earlier writes. `Input::Written` reports when it is.
    Write {
        /// The number of this write.
        ticket: Ticket,
        /// The hard state if it has changed. It must not become durable after the entries.
        hard: Option<Hard>,
        /// The commit index. It must not become durable before the entries: where these replace others, a start would
        /// take the replaced ones for committed.
        commit: u64,
        /// Consecutive entries. They replace everything that was written before at their first index or after it.
        entries: Vec<LogEntry>,
    },
    /// Entries are committed, and durable here. They are to be applied before the next input.
    Commit {
        /// The entries, consecutive with those before.
        entries: Vec<LogEntry>,
    },
    /// Reads entries that this member has applied, for a follower that is behind. `Input::Fetched` has them.
    Fetch {
        /// The index before the first of them.
        index: u64,
        /// The maximum number of bytes of all their bodies, unless it is a single entry.
        bytes_max: usize,
    },
    /// The member's role has changed.
    Role(Role),
    /// The member's copy of the log is bad. It ignores all further input, so that nobody relies on its votes and
    /// acknowledgements.
    Bad(Fault),
}

/// Why a body was not added to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This member does not lead.
    NotLeader,
    /// Too many proposals are uncommitted. The body may be proposed again later.
    Busy,
    /// This copy is bad.
    Bad,
}

/// The role of a member as it knows it: another one may already lead in a later term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads. It has applied everything from earlier terms once it applies its first entry, which has no body.
    Leader {
        /// Its term.
        term: u64,
    },
    /// It does not lead.
    Follower {
        /// Its term.
        term: u64,
        /// Who leads in this term, if that is known.
        leader: Option<MemberId>,
    },
}

/// What is wrong with a copy of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It lacks entries that it has acknowledged.
    Lost {
        /// The index up to which it was committed.
        commit: u64,
        /// The index of its last entry.
        last: u64,
    },
    /// Its hard state is older than its log, so its vote in a later term may be lost.
    Forgot {
        /// The term of the last entry.
        term: u64,
    },
    /// A committed entry differs from that of the leader.
    Differs {
        /// Its index.
        index: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { commit, last } => {
                write!(formatter, "its log ends at {last}, but was committed up to {commit}: entries are lost")
            }
            Self::Forgot { term } => {
                write!(formatter, "its log is of term {term}, but its votes of that term are lost")
            }
            Self::Differs { index } => write!(formatter, "its committed entry {index} differs from the leader's"),
        }
    }
}

/// A member of a group.
pub struct Replica {
    raw: RawNode<Log>,
    unwritten: Unwritten,
    /// The role and the hard state as they were last put out.
    role: Role,
    hard: Hard,
    /// What is being read from the disk.
    wants: Vec<Want>,
    fault: Option<Fault>,
    dropped: u64,
}

impl Replica {
    /// Starts a member. One that is alone in its group becomes the leader at once.
    ///
    /// # Errors
    ///
    /// Returns what the disk has lost.
    ///
    /// # Panics
    ///
    /// The configuration names no group of one or three that this member is in.
    pub fn new(config: &Config, restored: Restored, out: &mut Vec<Output>) -> Result<Self, Fault> {
        let members = &config.members;
        assert!(members.len() == 1 || members.len() == 3, "{} members", members.len());
        let rank = members.iter().position(|member| *member == config.id).expect("a member is in its own group");
        let (applied, hard) = (restored.applied, restored.hard);
        let log = Log::new(members, restored, LOG_WINDOW_BYTES)?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config(config.id, rank, applied), log, &logger);
        let raw = raw.expect("the configuration has no contradictions");
        let role = Role::Follower { term: raw.raft.term, leader: None };
        let mut replica =
            Self { raw, unwritten: Unwritten::default(), role, hard, wants: Vec::new(), fault: None, dropped: 0 };
        if members.len() == 1 {
            replica.raw.campaign().expect("a follower may become a candidate");
        }
        replica.drain(out);
        Ok(replica)
    }

    /// Handles an input, and adds all of its output to `out`.
    ///
    /// # Panics
    ///
    /// A proposed body is empty or too large.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Propose { body } => self.on_propose(body, out),
            _ if self.fault.is_some() => return,
            Input::Tick => _ = self.raw.tick(),
            Input::Message(message) => self.on_message(message, out),
            Input::Written { ticket } => self.on_written(ticket, out),
            Input::Fetched { base, entries } => self.on_fetched(base, entries),
        }
        if self.fault.is_none() {
            self.drain(out);
        }
    }

    /// Returns what this member is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns how many messages were dropped because no correct member sends them, or because they came too late.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Asserts what must hold after each input.
    pub fn check(&self) {
        let log = &self.raw.raft.raft_log;
        assert!(log.applied <= log.committed && log.applied <= log.persisted && log.persisted <= log.last_index());
        assert!(log.unstable_entries().is_empty(), "entries have been passed on");
        assert!(!self.unwritten.is_empty() || log.persisted == log.last_index(), "the library knows what is durable");
        self.unwritten.check();
    }

    fn on_propose(&mut self, body: Bytes, out: &mut Vec<Output>) {
        assert!(!body.is_empty() && body.len() <= BODY_BYTES_MAX, "a body of {} bytes", body.len());
        if let Some(refusal) = self.refusal() {
            out.push(Output::Refused { body, refusal });
            return;
        }
        let mut proposal = eraftpb::Message { from: self.raw.raft.id, ..eraftpb::Message::default() };
        proposal.set_msg_type(eraftpb::MessageType::MsgPropose);
        let entry = eraftpb::Entry { data: body.clone(), ..eraftpb::Entry::default() };
        proposal.set_entries(vec![entry].into());
        let raft = &mut self.raw.raft;
        out.push(match raft.step(proposal) {
            Ok(()) => Output::Proposed { index: raft.raft_log.last_index(), term: raft.term },
            Err(_) => Output::Refused { body, refusal: Refusal::Busy },
        });
    }

    fn refusal(&self) -> Option<Refusal> {
        if self.fault.is_some() {
            Some(Refusal::Bad)
        } else {
            // The library would forward a follower's proposal to the leader, and its place would stay unknown.
            (self.raw.raft.state != StateRole::Leader).then_some(Refusal::NotLeader)
        }
    }

    fn on_message(&mut self, message: Message, out: &mut Vec<Output>) {
        match guard::judge(&self.raw.raft, &self.unwritten, message) {
            Verdict::Step(message) => self.raw.step(convert::to_raft(message)).expect("it is from a member"),
            Verdict::Drop => self.dropped += 1,
            Verdict::Bad(fault) => {
                self.fault = Some(fault);
                out.push(Output::Bad(fault));
            }
        }
    }

    fn on_written(&mut self, ticket: Ticket, out: &mut Vec<Output>) {
        let newest = self.unwritten.newest().unwrap_or(ticket);
        out.extend(self.unwritten.on_written(ticket).map(Output::Send));
        self.raw.on_persist_ready(planted!("persisted before it is durable", ticket, newest).0);
    }

    fn on_fetched(&mut self, base: (u64, u64), entries: Vec<LogEntry>) {
        let Some(place) = self.wants.iter().position(|want| want.index == base.0) else { return };
        let want = self.wants.remove(place);
        if entries.is_empty() {
            self.raw.mut_store().set_missing(base.0);
        }
        self.raw.mut_store().set_fetched(Some((base, entries)));
        self.raw.on_entries_fetched(want.context);
        self.raw.mut_store().set_fetched(None);
    }

    /// Puts out everything that the library wants done.
    fn drain(&mut self, out: &mut Vec<Output>) {
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            self.report_role(out);
            let entries: Vec<_> = ready.take_entries().into_iter().map(convert::from_raft_entry).collect();
            self.raw.mut_store().append(&entries);
            let number = ready.number();
            // A new commit index by itself is not written: the next write has it.
            if ready.must_sync() {
                self.unwritten.add(Ticket(number), entries.iter().map(log::size).sum());
                let hard = self.hard_if_changed();
                let commit = self.raw.raft.raft_log.committed;
                out.push(Output::Write { ticket: Ticket(number), hard, commit, entries });
            }
            // A leader's messages do not rely on its own disk.
            out.extend(ready.take_messages().into_iter().map(|raw| Output::Send(convert::from_raft(raw))));
            for message in ready.take_persisted_messages().into_iter().map(convert::from_raft) {
                let now = if message.payload.needs_durability() { self.unwritten.hold(message) } else { Some(message) };
                out.extend(now.map(Output::Send));
            }
            let committed = ready.take_committed_entries();
            self.raw.advance_append_async(ready);
            if self.unwritten.is_empty() {
                self.raw.on_persist_ready(number);
            }
            self.commit(committed, out);
        }
        self.fetch(out);
    }

    /// Asks the disk for what the library could not read. Each answer of a follower makes it try again, so what is too
    /// much now is only delayed.
    fn fetch(&mut self, out: &mut Vec<Output>) {
        for want in self.raw.store().take_wanted() {
            if self.wants.len() < FETCHES_MAX && self.wants.iter().all(|known| known.index != want.index) {
                out.push(Output::Fetch { index: want.index, bytes_max: APPEND_BYTES_MAX });
                self.wants.push(want);
            }
        }
    }

    /// Puts out committed entries, which count as applied with that.
    fn commit(&mut self, committed: Vec<eraftpb::Entry>, out: &mut Vec<Output>) {
        let entries: Vec<_> = committed.into_iter().map(convert::from_raft_entry).collect();
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        out.push(Output::Commit { entries });
        self.raw.advance_apply_to(last);
        self.raw.mut_store().set_applied(last);
    }

    fn report_role(&mut self, out: &mut Vec<Output>) {
        let raft = &self.raw.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader { term: raft.term },
            StateRole::Follower | StateRole::Candidate | StateRole::PreCandidate => {
                Role::Follower { term: raft.term, leader: MemberId::new(raft.leader_id) }
            }
        };
        if role != self.role {
            self.role = role;
            out.push(Output::Role(role));
        }
    }

    fn hard_if_changed(&mut self) -> Option<Hard> {
        let hard = Hard { term: self.raw.raft.term, vote: MemberId::new(self.raw.raft.vote) };
        (hard != self.hard).then(|| {
            self.hard = hard;
            hard
        })
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = &self.raw.raft.raft_log;
        let mut fields = formatter.debug_struct("Replica");
        fields.field("id", &self.raw.raft.id).field("role", &self.role).field("fault", &self.fault);
        fields.field("log", &format_args!("{} <= {} <= {}", log.applied, log.committed, log.last_index())).finish()
    }
}

/// Returns the library's configuration. Two of its features stay off, because they are broken in this version: with
/// `batch_append` it joins entries to an append that they do not follow, and with a `priority` a new group panics.
fn raft_config(id: MemberId, rank: usize, applied: u64) -> raft::Config {
    let ticks = planted!("equal election ranks", ELECTION_TICKS[rank], ELECTION_TICKS[1]);
    raft::Config {
        id: id.as_u64(),
        applied,
        // A member gives no vote within the shortest election timeout after it has heard from a leader.
        election_tick: ELECTION_TICKS[0],
        min_election_tick: ticks,
        max_election_tick: ticks + 1,
        heartbeat_tick: HEARTBEAT_TICKS,
        // Without both, a group can stay without a leader when only some of its links are down.
        check_quorum: true,
        pre_vote: true,
        // Followers learn of a commit with the next append or heartbeat. Otherwise a lone entry takes twice as many
        // messages.
        skip_bcast_commit: true,
        max_size_per_msg: APPEND_BYTES_MAX as u64,
        max_inflight_msgs: APPENDS_INFLIGHT_MAX,
        max_uncommitted_size: UNCOMMITTED_BYTES_MAX as u64,
        max_committed_size_per_ready: COMMIT_BYTES_MAX as u64,
        ..raft::Config::default()
    }
}
