//! One member of a replica group: the consensus about a log of bodies, as a state machine.
//!
//! ```text
//!  a body to propose ──► Propose ┐             ┌─► Proposed · Refused   where it is in the log, or that it is not
//!  from another member ► Message │             ├─► Send                 a message to another member
//!  each 100 ms ────────► Tick    ├──► Replica ─┼─► Write                what must become durable, in this order
//!  the disk ───────────► Written │             ├─► Commit               entries to apply, in this order
//!                        Fetched │             ├─► Fetch                entries to read from the disk
//!  reads ──────────────► Confirm │             ├─► Confirmed            this member still leads
//!  leadership moves ───► HandOver│             ├─► Copy · Install       a snapshot instead of log entries
//!  a copy ─► CopyReady · Copied  ┘             └─► Role · Bad
//! ```
//!
//! | file | what |
//! |---|---|
//! | `alone` | a member of a group of one |
//! | `join` | how a member comes to vote in a group of three: the founding, and recovery from a lost disk |
//! | `voter` | a member of a group of three, around the Raft library |
//! | `message` | the messages between members |
//! | `convert` | conversion between these and the types of the Raft library |
//! | `copying` | a snapshot that a member copies from its leader |
//! | `guard` | which messages reach the library |
//! | `lease` | whether a leader may answer reads from what it has applied |
//! | `log` | the part of the log that is in memory |
//! | `unwritten` | writes that are not durable yet, and the messages that wait for them |
//!
//! The library `raft` implements the consensus algorithm; nothing outside of this module uses it. There is no I/O in
//! here, no clock and no randomness: time comes in as ticks, and the election timeout follows from the member's rank.
//!
//! What this module does not cover: the meaning of bodies, the encoding of messages and entries, membership changes,
//! and the transfer of snapshots between members.

mod alone;
mod convert;
mod copying;
mod guard;
mod join;
mod lease;
mod log;
mod message;
#[cfg(test)]
mod tests;
mod unwritten;
mod voter;

use std::fmt;

use bytes::Bytes;

use crate::limits::BODY_BYTES_MAX;

pub use crate::entry::Stage;
use alone::Alone;
use join::Newcomer;
pub use lease::Lease;
pub use message::{Condition, Founding, LogEntry, MemberId, Message, Payload, Progress, Standing};
use voter::Voter;

/// Who is in the group.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member.
    pub id: MemberId,
    /// All members by their rank: the first one is the first to become the leader. There may be one or three.
    pub members: Vec<MemberId>,
    /// The id of this member's folder, never 0. An empty folder that replaces a lost one has a different id.
    pub disk: u64,
    /// Bytes of applied entries to keep in memory for followers that are a little behind.
    pub window_bytes: usize,
}

/// What a member must remember through a crash: the newest term that it knows, its vote in that term, whether it may
/// vote, and the founding of a group of three. If no founding is known, the member has been the only one of its group
/// so far, or its folder is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say all")]
pub struct Hard {
    pub term: u64,
    pub vote: Option<MemberId>,
    pub stage: Stage,
    pub founding: Founding,
}

/// What a start has read from the disk. The default is what it reads from an empty folder.
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
    /// A leader wants to know whether it still leads.
    Confirm {
        /// The leader's own time, which has no meaning here. `Output::Confirmed` has it if another member confirms that
        /// this one has led since. There is no such output if this member does not lead or has not committed an entry
        /// of its term, and there may be none for other reasons.
        at_us: u64,
    },
    /// Asks the leader to hand its leadership over to another member. That member gets the entries that it lacks, and
    /// then becomes a candidate without waiting for its election timeout. Until it leads, or an election timeout has
    /// passed, all proposals are refused. Success shows only by `Output::Role`. The message that makes the other member
    /// a candidate may arrive much later, when this leader has already given up. So the caller must renounce the lease
    /// for the rest of the term ([`Lease::renounce`]) before this input. A member that does not lead ignores it.
    HandOver {
        /// The member that is to lead.
        to: MemberId,
    },
    /// The state of this member after an entry differs from that of the leader after the same entry: this copy is bad.
    Differs {
        /// The index of the entry.
        index: u64,
    },
    /// Answers `Output::Fetch`.
    Fetched {
        /// Index and term of the entry before these; zeros before the first one.
        base: (u64, u64),
        /// Consecutive entries. There are none if the first of them is not on the disk any more.
        entries: Vec<LogEntry>,
    },
    /// Answers `Output::Fetch` when the disk cannot be read at the moment. The entries are asked for again later.
    NotFetched {
        /// The index before the first of them.
        index: u64,
    },
    /// The copy that `Output::Copy` asked for is complete, but not installed. `Output::Install` or `Output::NoCopy`
    /// follows.
    CopyReady {
        /// The index of the last entry in the state. It may differ from the offered one.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// The copied state is installed, as `Output::Install` asked: a restart would find it applied, and no entries after
    /// it.
    Copied,
    /// The copy could not be completed or installed. The leader may offer another one.
    NotCopied,
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
        /// The commit index, as far as it lies before the entries. With a higher one, a crash that leaves the commit
        /// index without the entries would make a start take the entries that these replace for committed.
        commit: u64,
        /// Consecutive entries. They replace everything that was written before at their first index or after it.
        entries: Vec<LogEntry>,
    },
    /// Entries are committed, and durable here. They are to be applied before the next input.
    Commit {
        /// The entries, consecutive with those before.
        entries: Vec<LogEntry>,
    },
    /// This member has led until after `Input::Confirm` came with that time: a majority knew of no later term then. For
    /// `LEASE_US` from that time on no other member is elected, unless this one ceases to lead before.
    Confirmed {
        /// The time.
        at_us: u64,
    },
    /// Reads entries that this member has applied, for a follower that is behind. `Input::Fetched` has them.
    Fetch {
        /// The index before the first of them.
        index: u64,
        /// The maximum number of bytes of all their bodies, unless it is a single entry.
        bytes_max: usize,
    },
    /// The leader no longer has the entries that this member needs next: a snapshot of the group is to be copied from
    /// it. `Input::CopyReady` or `Input::NotCopied` answers this. Entries of an `Output::Commit` that comes meanwhile
    /// need not be applied before the next input.
    Copy {
        /// The leader.
        from: MemberId,
    },
    /// The copy is no longer needed, or another member leads. What was copied is to be discarded.
    NoCopy,
    /// The complete copy is to be installed. All writes so far are durable, and no entries are written until
    /// `Input::Copied` or `Input::NotCopied` answers this.
    Install,
    /// The member's role has changed.
    Role(Role),
    /// Reports how far the member has come on its way into a group of three, or what holds it up.
    Joining(Joining),
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

/// How far a member of a group of three has come on its way into the group, for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// It waits for the answers of these members.
    Waits {
        /// The first of them by rank.
        first: MemberId,
        /// The other one, if it has not answered either.
        second: Option<MemberId>,
    },
    /// It has a log from before the group had several members, and so has another member. Only the operator can decide
    /// which of the two logs to keep.
    TwoLogs,
    /// It has a log from before the group had several members, or one from which the group was to be recovered, but
    /// another member belongs to a group that was founded without that log.
    Outside,
    /// It founds the group, with the log that it has.
    Founded,
    /// It joins the group at whose founding it was present.
    Joined,
    /// A member has a copy from before the group was founded anew. That copy takes no part any more.
    Older {
        /// The member.
        member: MemberId,
    },
    /// This member has nothing, nor has one of the others: only one copy is left. If the disks of both are lost, the
    /// operator has to recover the group from that copy.
    OneLeft {
        /// The member that has a copy.
        member: MemberId,
    },
    /// The group has had no leader for a long time. If the disks of two members are lost, the operator has to recover
    /// the group from the copy of the third one.
    Leaderless,
    /// Its folder has replaced a lost one: it does not vote until it has what the lost one may have acknowledged.
    Recovers,
    /// It has everything that it lacked, and votes without restriction from now on.
    Completed,
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

/// How far a leader's log reaches, and how much of it another member has acknowledged, as indexes of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The last entry that the other member has acknowledged.
    pub by_member: u64,
    /// The last committed entry.
    pub committed: u64,
    /// The last entry that is durable on this member's own disk.
    pub here: u64,
    /// The last entry.
    pub last: u64,
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
    /// The group was founded anew without this copy.
    Replaced,
    /// The entries are those of the leader, but applying them has led to a different state.
    Digest {
        /// The index up to which they were compared.
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
            Self::Replaced => formatter.write_str("the group was recovered from another copy (dht-node recover)"),
            Self::Digest { index } => {
                write!(formatter, "its state after entry {index} differs from the leader's")
            }
        }
    }
}

/// A member of a group.
#[derive(Debug)]
pub struct Replica(Kind);

/// A member that is alone needs no consensus, and does without its cost.
#[derive(Debug)]
enum Kind {
    Alone(Alone),
    Newcomer(Box<Newcomer>),
    Voter(Box<Voter>),
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
        assert!(members.contains(&config.id), "{} is not in its own group", config.id);
        Ok(Self(match members.len() {
            1 => Kind::Alone(Alone::new(config.id, restored, out)?),
            3 if restored.hard.founding.is_known() => Kind::Voter(Box::new(Voter::new(config, restored, true, out)?)),
            3 => Kind::Newcomer(Box::new(Newcomer::new(config, restored)?)),
            other => panic!("a group of {other} members"),
        }))
    }

    /// Handles an input, and adds all of its output to `out`.
    ///
    /// # Panics
    ///
    /// A proposed body is empty or too large.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        if let Input::Propose { body } = &input {
            assert!(!body.is_empty() && body.len() <= BODY_BYTES_MAX, "a body of {} bytes", body.len());
        }
        match &mut self.0 {
            Kind::Alone(alone) => alone.handle(input, out),
            Kind::Newcomer(newcomer) => {
                if let Some(restored) = newcomer.handle(input, out) {
                    // A folder that was present at the founding has not answered any leader yet.
                    let holds_vote = restored.hard.stage == Stage::Recovering;
                    let voter = Voter::new(newcomer.config(), restored, holds_vote, out);
                    self.0 = Kind::Voter(Box::new(voter.expect("the start found that the disk has lost nothing")));
                }
            }
            Kind::Voter(voter) => voter.handle(input, out),
        }
    }

    /// Returns true if this member would add a body to the log now: it leads, and not too much is uncommitted.
    pub fn accepts(&self) -> bool {
        match &self.0 {
            Kind::Alone(_) => true,
            Kind::Newcomer(_) => false,
            Kind::Voter(voter) => voter.accepts(),
        }
    }

    /// Returns true if this member votes without restriction. If all three do, any one of them may be lost.
    pub fn votes(&self) -> bool {
        match &self.0 {
            Kind::Alone(_) => true,
            Kind::Newcomer(_) => false,
            Kind::Voter(voter) => voter.votes(),
        }
    }

    /// Returns true while this member hands its leadership over.
    pub fn is_handing_over(&self) -> bool {
        match &self.0 {
            Kind::Alone(_) | Kind::Newcomer(_) => false,
            Kind::Voter(voter) => voter.is_handing_over(),
        }
    }

    /// Returns how far the log of this leader reaches, and how much of it `member` has acknowledged. All numbers are
    /// zero if this member does not lead.
    pub fn acknowledged(&self, member: MemberId) -> Acknowledged {
        match &self.0 {
            Kind::Alone(_) | Kind::Newcomer(_) => Acknowledged::default(),
            Kind::Voter(voter) => voter.acknowledged(member),
        }
    }

    /// Returns true once this copy is known to be bad.
    pub fn is_bad(&self) -> bool {
        match &self.0 {
            Kind::Alone(_) | Kind::Newcomer(_) => false,
            Kind::Voter(voter) => voter.is_bad(),
        }
    }

    /// Returns the founding of the group, as far as this member knows; the default in a group of one member.
    pub fn founding(&self) -> Founding {
        match &self.0 {
            Kind::Alone(_) | Kind::Newcomer(_) => Founding::default(),
            Kind::Voter(voter) => voter.membership.founding,
        }
    }

    /// Returns what this member is.
    pub fn role(&self) -> Role {
        match &self.0 {
            Kind::Alone(alone) => alone.role(),
            Kind::Newcomer(newcomer) => newcomer.role(),
            Kind::Voter(voter) => voter.role(),
        }
    }

    /// Returns how many messages were dropped because no correct member sends them, or because they came too late.
    pub fn dropped(&self) -> u64 {
        match &self.0 {
            Kind::Alone(alone) => alone.dropped(),
            Kind::Newcomer(newcomer) => newcomer.dropped(),
            Kind::Voter(voter) => voter.dropped(),
        }
    }

    /// Asserts what must hold after each input.
    pub fn check(&self) {
        match &self.0 {
            Kind::Alone(alone) => alone.check(),
            Kind::Newcomer(newcomer) => newcomer.check(),
            Kind::Voter(voter) => voter.check(),
        }
    }
}

impl Restored {
    /// Returns index and term of the last entry; zeros if there is none.
    fn last(&self) -> (u64, u64) {
        self.entries.last().map_or(self.base, |entry| (entry.index, entry.term))
    }

    /// Returns what is lost: the log ends before what was committed or applied, or has gaps, or the hard state is older
    /// than the last entry.
    fn fault(&self) -> Option<Fault> {
        let Self { hard, commit, applied, base, ref entries } = *self;
        let (last, newest) = self.last();
        let indexes = entries.iter().map(|entry| entry.index);
        if !indexes.eq(base.0 + 1..=last) || applied < base.0 || applied > commit || commit > last {
            return Some(Fault::Lost { commit, last });
        }
        (newest > hard.term).then_some(Fault::Forgot { term: newest })
    }
}
