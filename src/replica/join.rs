//! A member of a group of three that does not vote yet: it asks both others what they know of the group.
//!
//! ```text
//!  no state on the disk ──► Newcomer ─┬─ both others have nothing ───────────► it founds the group: Full
//!                                     ├─ it was there at the founding ───────► Joining ──► Full
//!                                     └─ both others belong to a founded group ─► Recovering ──► Full
//! ```
//!
//! | stage | acknowledges | votes | campaigns |
//! |---|---|---|---|
//! | `Newcomer` | no | no | no |
//! | `Joining` | yes | for whoever has the founder's log | yes |
//! | `Recovering` | yes | no | no |
//! | `Full` | yes | yes | yes |
//!
//! Each change is durable before the member acts on it. What follows is why none of them harms the group. `W` is the
//! member that is concerned, `X` and `Y` are the others.
//!
//! # Founding
//!
//! The founder is the only member with a log that was not founded, because the group had one member so far, or else the
//! home. It writes down the ids of the three folders, and the end `L` of its log. Both others had nothing then; they
//! have sent that in answer to the folder that asks, so nothing that was founded before, by a folder that has been lost
//! since, had reached them: nobody had a vote or an acknowledgement from them.
//!
//! A newcomer that finds the id of its own folder among these has never voted or acknowledged anything, since that
//! would be on its disk. So it may take part at once, with one exception: all entries up to `L` count as committed,
//! although only the founder has them. So until it has them as well, it votes only for members whose log ends at `L` or
//! later. Every leader then has these entries. For the first one has them: it is the founder, since both others have
//! nothing and at least one of them, or the founder, refuses each its vote. And each later one either is the founder,
//! or has a log of at least that length, which an earlier leader has sent.
//!
//! If the founder loses its disk before another member has its log, the log is lost, and no leader is elected: nothing
//! is lost in silence.
//!
//! # Recovery
//!
//! `W` has lost its disk, so it does not know what its previous folder has promised. It asks both others, whose answers
//! name the new folder and so were sent after the loss. It takes the higher one of their terms for its own, `T`, and
//! counts its vote in `T` as given.
//!
//! - *Votes and acknowledgements in the wrong term.* Whomever the lost folder has voted for, or acknowledged something
//!   to, in a term `t`, had that term on its own disk before: a candidate asks for votes after it has written its own,
//!   and a leader was a candidate. So `t` is at most `T`. `W` gives no second vote in `t`, and acknowledges nothing to
//!   a leader of an earlier term than one in which it has voted.
//! - *Entries.* `W` gives no vote and does not campaign until it has acknowledged, in some term, everything up to the
//!   entry that was the last one of the leader of that term, `Z`, when it answered. Let the lost folder have
//!   acknowledged an entry `e` that is committed, or that can still be because the acknowledgement is on its way. If
//!   `Z` is the leader that has sent `e`, then its log ended at `e` or later when it answered. Otherwise `Z` leads in a
//!   later term and was elected by a majority without the leader that sent `e`, so with the vote of `W`, from before
//!   the loss or after the recovery, or by members that know `e` to be committed. In each case the voter had `e`, and
//!   so has `Z`. So `W` has every such entry when it votes again.
//! - *Acknowledgements on their way.* An acknowledgement of the lost folder can let a leader commit an entry that `W`
//!   does not have any more. The leader has it. It can be elected without the vote of `W`, and nobody can be elected
//!   without its vote until `W` has the entry.
//! - *The leader's books.* A leader takes `W` to have what the lost folder has acknowledged, and would send only what
//!   follows. A join that says less makes it look again. `W` repeats the join until it has recovered, in case an
//!   acknowledgement of the lost folder arrives after it.
//! - *Leases.* A leader whose heartbeat the lost folder has answered may have a lease. `W` votes no earlier than any
//!   member after its start, which is long enough (`guard`).
//!
//! What is acknowledged is on two of three disks, so that one may be lost at any time. While `W` recovers, the next one
//! is a second one. The entries that only these two had are lost then, and the third member is elected by nobody; it
//! may still lead because it did before, and then it has everything. Nothing is lost in silence. `dht-node recover`
//! lets the third one found the group anew.
//!
//! A recovery takes both others. One that is away for long, or is lost as well, leaves the group with one full member.

use super::message::{Founding, Message, Payload, Progress, Standing};
use super::{Config, Fault, Hard, Input, Joining, Output, Refusal, Restored, Role, Stage, Ticket};
use crate::limits::{INDEX_MAX, JOIN_ANSWER_TICKS, JOIN_NOTE_TICKS, JOIN_REMINDER_TICKS, JOIN_TICKS, TERM_MAX};

/// A member of a group of three without a state of that group.
#[derive(Debug)]
pub(super) struct Newcomer {
    config: Config,
    restored: Restored,
    /// The newest answers of the others, by rank.
    answers: [Option<Answer>; 3],
    ticks: u64,
    /// What it becomes when that is durable.
    decided: Option<(Hard, u64)>,
    /// What it has told last about why it cannot join.
    told: Option<Joining>,
    dropped: u64,
}

/// What another member has answered.
#[derive(Clone, Copy, Debug)]
struct Answer {
    standing: Standing,
    term: u64,
    disk: u64,
    founding: Founding,
    /// The tick at which it came.
    tick: u64,
}

/// The number of the write in which a newcomer decides what it becomes. It precedes all numbers of the writes of a
/// voter.
const DECISION: Ticket = Ticket(0);

impl Newcomer {
    /// Starts a member. It has the log that the group has so far, if that has had one member.
    ///
    /// # Errors
    ///
    /// Returns what the disk has lost.
    pub(super) fn new(config: &Config, restored: Restored) -> Result<Self, Fault> {
        if let Some(fault) = restored.fault() {
            return Err(fault);
        }
        let (config, answers) = (config.clone(), [None; 3]);
        Ok(Self { config, restored, answers, ticks: 0, decided: None, told: None, dropped: 0 })
    }

    /// Handles an input, and adds all of its output to `out`. Returns the state with which it continues as a voter,
    /// once that is durable.
    pub(super) fn handle(&mut self, input: Input, out: &mut Vec<Output>) -> Option<Restored> {
        match input {
            Input::Propose { body } => out.push(Output::Refused { body, refusal: Refusal::NotLeader }),
            Input::Tick => self.on_tick(out),
            Input::Message(message) => self.on_message(&message, out),
            Input::Written { ticket } if ticket == DECISION => {
                let (hard, commit) = self.decided.expect("it has written that");
                self.pass_on(hard, out);
                return Some(Restored { hard, commit, ..std::mem::take(&mut self.restored) });
            }
            Input::Written { .. }
            | Input::Confirm { .. }
            | Input::HandOver { .. }
            | Input::Differs { .. }
            | Input::Fetched { .. }
            | Input::NotFetched { .. }
            | Input::CopyReady { .. }
            | Input::Copied
            | Input::NotCopied => {}
        }
        None
    }

    /// Returns who is in the group.
    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    /// Returns its role: it follows nobody yet.
    pub(super) const fn role(&self) -> Role {
        Role::Follower { term: self.restored.hard.term, leader: None }
    }

    /// Returns how many messages were dropped because no correct member sends them.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Asserts what must hold after each input.
    pub(super) fn check(&self) {
        assert!(!self.restored.hard.founding.is_known(), "whoever knows the founding is no newcomer");
        assert!(self.answers[self.rank()].is_none(), "it does not answer itself");
    }

    fn on_tick(&mut self, out: &mut Vec<Output>) {
        self.ticks += 1;
        if self.decided.is_some() {
            return;
        }
        let ticks = self.ticks;
        for answer in &mut self.answers {
            *answer = answer.filter(|answer| ticks < answer.tick + JOIN_ANSWER_TICKS);
        }
        if ticks % JOIN_TICKS == 1 {
            let payload = Payload::Join { disk: self.config.disk, last: self.restored.last().0 };
            ask(&self.config, self.restored.hard.term, &payload, out);
        }
        if ticks % JOIN_REMINDER_TICKS == JOIN_NOTE_TICKS {
            let silent = |rank: &usize| self.config.members[*rank] != self.config.id && self.answers[*rank].is_none();
            let mut silent = (0..3).filter(silent).map(|rank| self.config.members[rank]);
            out.extend(silent.next().map(|first| Output::Joining(Joining::Waits { first, second: silent.next() })));
        }
    }

    fn on_message(&mut self, message: &Message, out: &mut Vec<Output>) {
        let Message { from, to, term, ref payload } = *message;
        let rank = self.config.members.iter().position(|member| *member == from);
        let Some(rank) = rank.filter(|_| to == self.config.id && from != to) else {
            self.dropped += 1;
            return;
        };
        match *payload {
            // Until its decision is durable, it is neither a newcomer nor a member.
            _ if self.decided.is_some() => {}
            Payload::Join { disk, .. } => {
                let answer = Payload::JoinAnswer {
                    standing: self.standing(),
                    is_leading: false,
                    asker: disk,
                    disk: self.config.disk,
                    last: self.restored.last().0,
                    founding: Founding::default(),
                };
                out.push(Output::Send(Message { from: to, to: from, term: self.restored.hard.term, payload: answer }));
            }
            Payload::JoinAnswer { standing, asker, disk, founding, .. } => {
                if asker != self.config.disk || term > TERM_MAX || founding.last > INDEX_MAX {
                    self.dropped += 1;
                    return;
                }
                self.answers[rank] = Some(Answer { standing, term, disk, founding, tick: self.ticks });
                self.decide(out);
            }
            // They are for a member, which this is not yet.
            Payload::Append { .. }
            | Payload::Appended { .. }
            | Payload::Rejected { .. }
            | Payload::Heartbeat { .. }
            | Payload::HeartbeatAnswer { .. }
            | Payload::RequestVote { .. }
            | Payload::Vote { .. }
            | Payload::TimeoutNow
            | Payload::Snapshot { .. } => {}
        }
    }

    /// Answers once more those that were newcomers: now this member is none, and knows the founding.
    fn pass_on(&self, hard: Hard, out: &mut Vec<Output>) {
        let (from, last) = (self.config.id, self.restored.last().0);
        for (rank, to) in self.config.members.iter().copied().enumerate() {
            if let Some(Answer { standing: Standing::Newcomer, disk: asker, .. }) = self.answers[rank] {
                let payload = Membership::new(&self.config, hard).answer(asker, false, last);
                out.push(Output::Send(Message { from, to, term: hard.term, payload }));
            }
        }
    }

    fn rank(&self) -> usize {
        self.config.members.iter().position(|member| *member == self.config.id).expect("a member of its own group")
    }

    /// What it says that it is. A state with a term belongs to a log that was not founded, even to an empty one.
    fn standing(&self) -> Standing {
        let is_blank = self.restored.hard.term == 0 && self.restored.last().0 == 0;
        if is_blank { Standing::Newcomer } else { Standing::Founder }
    }

    /// Decides what this member becomes, if the answers say that.
    fn decide(&mut self, out: &mut Vec<Output>) {
        let is_blank = self.standing() == Standing::Newcomer;
        let own = self.rank();
        let was_there =
            |answer: &Answer| answer.standing == Standing::Member && answer.founding.disks[own] == self.config.disk;
        if is_blank && let Some(answer) = self.answers.iter().flatten().copied().find(was_there) {
            return self.join(answer, out);
        }
        let mut others = self.answers.iter().flatten().copied();
        if let (Some(one), other) = (others.next(), others.next())
            && planted!("recovering without both terms", other.is_some(), true)
        {
            self.decide_by(one, other.unwrap_or(one), is_blank, out);
        }
    }

    fn decide_by(&mut self, one: Answer, other: Answer, is_blank: bool, out: &mut Vec<Output>) {
        let is_home = self.rank() == 0;
        match (one.standing, other.standing) {
            (Standing::Newcomer, Standing::Newcomer) if !is_blank || is_home => self.found(out),
            (Standing::Member, Standing::Member) if is_blank => self.recover(one, other, out),
            (Standing::Member, _) | (_, Standing::Member) if !is_blank => self.tell(Joining::Outside, out),
            (Standing::Founder, _) | (_, Standing::Founder) if !is_blank => self.tell(Joining::TwoLogs, out),
            // Another member founds the group, or joins it before this one can.
            (Standing::Newcomer | Standing::Founder | Standing::Member, _) => {}
        }
    }

    /// Founds the group with the log that this member has.
    fn found(&mut self, out: &mut Vec<Output>) {
        let (last, newest) = self.restored.last();
        let disk = |rank: usize| self.answers[rank].map_or(self.config.disk, |answer| answer.disk);
        let founding = Founding { disks: [disk(0), disk(1), disk(2)], last };
        let Hard { term, vote, .. } = self.restored.hard;
        let term = term.max(newest).max(1);
        let vote = vote.filter(|_| term == self.restored.hard.term);
        // Whoever was alone in the group has committed everything that it has.
        self.become_voter(Hard { term, vote, stage: Stage::Full, founding }, last, Joining::Founded, out);
    }

    /// Joins the group at whose founding it was.
    fn join(&mut self, answer: Answer, out: &mut Vec<Output>) {
        let stage = if answer.founding.last == 0 { Stage::Full } else { Stage::Joining };
        let hard = Hard { term: answer.term.max(1), vote: None, stage, founding: answer.founding };
        self.become_voter(hard, 0, Joining::Joined, out);
    }

    /// Takes the place of a folder that is lost.
    fn recover(&mut self, one: Answer, other: Answer, out: &mut Vec<Output>) {
        let stage = planted!("wiped folder votes at once", Stage::Recovering, Stage::Full);
        let (term, vote) = (one.term.max(other.term).max(1), Some(self.config.id));
        let hard = Hard { term, vote, stage, founding: one.founding };
        self.become_voter(hard, 0, Joining::Recovers, out);
    }

    fn become_voter(&mut self, hard: Hard, commit: u64, joining: Joining, out: &mut Vec<Output>) {
        self.decided = Some((hard, commit));
        out.push(Output::Write { ticket: DECISION, hard: Some(hard), commit, entries: Vec::new() });
        out.push(Output::Joining(joining));
    }

    /// Says why it cannot join, unless it has said the same before.
    fn tell(&mut self, joining: Joining, out: &mut Vec<Output>) {
        if self.told.replace(joining) != Some(joining) {
            out.push(Output::Joining(joining));
        }
    }
}

/// Sends a message to both others.
fn ask(config: &Config, term: u64, payload: &Payload, out: &mut Vec<Output>) {
    for to in config.members.iter().copied().filter(|member| *member != config.id) {
        out.push(Output::Send(Message { from: config.id, to, term, payload: payload.clone() }));
    }
}

/// What a voter has yet to do before it is a full member.
#[derive(Debug)]
pub(super) struct Membership {
    config: Config,
    pub(super) stage: Stage,
    pub(super) founding: Founding,
    /// The term in which it has last acknowledged an append, and up to which entry.
    acknowledged: (u64, u64),
    /// A term, and the last entry of the leader of that term when it answered.
    target: Option<(u64, u64)>,
    ticks: u64,
}

/// To whom a member gives its vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Votes {
    /// To whoever is entitled to it by the rules of Raft.
    Anybody,
    /// To those of them whose log ends at this index or later.
    WithLog(u64),
    Nobody,
}

impl Votes {
    /// Returns true if a candidate with this log may get the vote.
    pub(super) const fn allow(self, candidate: &Progress) -> bool {
        match self {
            Self::Anybody => true,
            Self::WithLog(last) => candidate.last_index >= last,
            Self::Nobody => false,
        }
    }
}

impl Membership {
    pub(super) fn new(config: &Config, hard: Hard) -> Self {
        let Hard { stage, founding, .. } = hard;
        Self { config: config.clone(), stage, founding, acknowledged: (0, 0), target: None, ticks: 0 }
    }

    /// Returns to whom a member gives its vote. `holds_vote` is true while it gives nobody its vote.
    pub(super) const fn votes(&self, holds_vote: bool) -> Votes {
        match self.stage {
            _ if holds_vote => Votes::Nobody,
            Stage::Full => Votes::Anybody,
            Stage::Joining => Votes::WithLog(self.founding.last),
            Stage::Recovering => Votes::Nobody,
        }
    }

    /// Returns true while this member neither votes nor campaigns, because its folder has replaced a lost one.
    pub(super) fn is_recovering(&self) -> bool {
        self.stage == Stage::Recovering
    }

    /// Asks both others again now and then, while there is something to ask.
    pub(super) fn on_tick(&mut self, term: u64, last: u64, out: &mut Vec<Output>) {
        self.ticks += 1;
        if self.is_recovering() && self.ticks % JOIN_TICKS == 1 {
            ask(&self.config, term, &Payload::Join { disk: self.config.disk, last }, out);
        }
    }

    /// Returns the answer to a join.
    pub(super) fn answer(&self, asker: u64, is_leading: bool, last: u64) -> Payload {
        let (standing, disk, founding) = (Standing::Member, self.config.disk, self.founding);
        Payload::JoinAnswer { standing, is_leading, asker, disk, last, founding }
    }

    /// Handles the answer of whoever leads in this member's term.
    pub(super) fn on_answer(&mut self, term: u64, asker: u64, last: u64) {
        let is_news = self.target.is_none_or(|(known, _)| known != term);
        if self.is_recovering() && asker == self.config.disk && is_news {
            self.target = Some((term, last));
        }
    }

    /// Notes that an acknowledgement of an append is being sent: everything up to there is durable.
    pub(super) fn on_acknowledged(&mut self, message: &Message) {
        if let Payload::Appended { index, .. } = message.payload {
            self.acknowledged = self.acknowledged.max((message.term, index));
        }
    }

    /// Returns true if it becomes a full member now. `durable` is the last entry that is durable.
    pub(super) fn completes(&mut self, term: u64, durable: u64) -> bool {
        let is_complete = match self.stage {
            Stage::Full => false,
            Stage::Joining => durable >= self.founding.last,
            Stage::Recovering => {
                let (in_term, index) = self.acknowledged;
                let reaches = |(of_term, last): (u64, u64)| of_term == term && last <= index;
                in_term == term && planted!("no target", self.target.is_some_and(reaches), true)
            }
        };
        if is_complete {
            self.stage = Stage::Full;
        }
        is_complete
    }
}
