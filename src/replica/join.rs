//! A member of a group of three that does not vote yet. It asks both other members what they know of the group.
//!
//! ```text
//!  no state on the disk ──► Newcomer ─┬─ both others have nothing ───────────► it founds the group: Full
//!                                     ├─ it was present at the founding ─────► Joining ──► Full
//!                                     └─ both others belong to a founded group ─► Recovering ──► Full
//! ```
//!
//! | stage | acknowledges | votes | campaigns |
//! |---|---|---|---|
//! | `Newcomer` | no | no | no |
//! | `Joining` | yes | only for members with a log as long as the founder's | yes |
//! | `Recovering` | yes | no | no |
//! | `Full` | yes | yes | yes |
//!
//! A group whose copies are lost but for one is founded anew from that one, when its operator says so.
//!
//! Each change of the stage is durable before the member acts on it. The following sections show why none of them harms
//! the group. `W` is the member in question, `X` and `Y` are the two others.
//!
//! # Founding
//!
//! Only one member can found the group: the one that has a log from the time at which the group had a single member or,
//! if none has such a log, the home. It writes down the ids of the three folders and the end `L` of its log. Both
//! others had nothing at that time: they have said so in answers that name the folder of the founder. So no earlier
//! founding, by a folder that has been lost since, had reached them, and nobody had a vote or an acknowledgement from
//! them.
//!
//! It does not matter where the founder's log begins. Its state includes everything up to `L`, and that is what the
//! others get: entries up to `L` are never sent (`log`), so a newcomer copies a state that includes all of them before
//! it gets its first entry. Such a state counts as a log of that length, and is durable before it is acknowledged.
//!
//! A newcomer that finds the id of its own folder among the three has never voted or acknowledged anything, since that
//! would be on its disk. So it may take part at once, with one restriction: all entries up to `L` count as committed,
//! although only the founder has them. Until the newcomer has them as well, it votes only for members whose log ends at
//! `L` or later. This gives every leader these entries. The first leader is the founder: each of the others has a
//! shorter log, and gets the vote neither of the founder nor of the third member. Each later leader is the founder, or
//! has a log of at least that length, which it got from an earlier leader.
//!
//! If the founder loses its disk before another member has its log, that log is lost, and no leader is elected: the
//! loss does not go unnoticed.
//!
//! # Recovery
//!
//! `W` has lost its disk, so it does not know what its previous folder has promised. It asks both others. Their answers
//! name its new folder, so they were sent after the loss. It takes the higher one of their terms, `T`, as its own, and
//! its vote in `T` counts as given.
//!
//! - *Votes and acknowledgements in the wrong term.* If the lost folder has voted for a member in a term `t`, or has
//!   acknowledged something to the leader of `t`, that member had `t` on its own disk before: a candidate asks for
//!   votes only after it has written its term, and a leader was a candidate before. So `t` is at most `T`. `W` gives no
//!   second vote in `t`, and acknowledges nothing to a leader of an earlier term than one in which it has voted.
//! - *Entries.* `W` neither votes nor campaigns until, in a single term, it has acknowledged everything up to the entry
//!   that was the last one of the leader of that term, `Z`, when `Z` answered. Let the lost folder have acknowledged an
//!   entry `e` that is committed, or that can still be because the acknowledgement is on its way. If `Z` is the leader
//!   that has sent `e`, its log ended at `e` or later when it answered. Otherwise `Z` leads in a later term. If it was
//!   elected with the vote of `W`, from before the loss or after a recovery, then `W` had `e` when it voted. If it was
//!   elected by the two others, the leader that has sent `e` no longer leads in the term of `e`, so the acknowledgement
//!   on its way has no effect any more; and if `e` is committed, one of the two others had it, since an entry is
//!   committed only with two of the three copies. In each case a voter had `e`, and so has `Z`. So `W` has every such
//!   entry when it votes again.
//! - *Acknowledgements on their way.* An acknowledgement of the lost folder can let a leader commit an entry that `W`
//!   no longer has. The leader has it. It can be elected without the vote of `W`, and until `W` has the entry, nobody
//!   else can be elected without the vote of that leader.
//! - *The progress that a leader keeps.* A leader assumes that `W` has what the lost folder has acknowledged, and would
//!   send only what follows. When a join of `W` names an earlier last entry, the leader starts to probe again. `W`
//!   repeats the join until it has recovered, in case an acknowledgement of the lost folder reaches the leader after
//!   it.
//! - *Leases.* A leader whose heartbeat the lost folder has answered may have a lease. `W` votes no earlier than any
//!   member after its start, which is late enough (`guard`).
//!
//! What is acknowledged is on two of three disks, so any one disk may be lost. A disk that is lost while `W` recovers
//! is a second one. Entries that only these two had are then lost, and the third member cannot be elected; it may go on
//! leading if it already leads, and then it has every committed entry. No loss goes unnoticed.
//!
//! A recovery needs the answers of both others, and both must belong to the same founding. While one of them is away,
//! or if its disk is lost as well, the group has a single full member.
//!
//! # Founding anew
//!
//! If the disks of two members are lost for good, or if all folders were restored from backups of different times, the
//! operator chooses one copy, that of `S`. On the stopped node, `dht-node recover` writes that the group has a single
//! member, with a later term, and adds an entry that raises the epochs of all topics, so that readers learn that
//! records may be missing. In this state `S` founds the group as above, once both others have nothing. Everything in
//! the log of `S` counts as committed: what really was committed is not known, and less would lose more.
//!
//! - *Foundings do not mix.* Each message names the founding of its sender by an id, and only those of the own founding
//!   count, except joins. So votes, acknowledgements and leases of the previous group have no effect in the new one,
//!   and the sections above hold for each founding by itself. The id has the number of the founding, which a recovery
//!   derives from the time in seconds, and so exceeds that of every earlier founding, even of one that followed the
//!   same backup.
//! - *Copies that were dropped.* A folder that was restored from a backup keeps its id, but its copies of groups that
//!   are recovered from other folders are dropped. Its member is a newcomer that remembers the number of the founding
//!   to which it belonged, and does not take part in that one as if it had been present and promised nothing.
//! - *Members of the previous group that are still there.* `S` does not found the group while another member answers
//!   with a founding of its own, since that member would have to forget what it has promised. The operator is told
//!   instead.
//! - *Members that come back later.* The messages of a member of an earlier founding are dropped. As soon as it hears
//!   of the later one, its copy is bad: it neither votes nor serves. The heartbeats of the new leader tell it. Only if
//!   both lost disks came back, and no member of the new group was running, could they serve the previous group again;
//!   they cannot tell that from a group that was never recovered.

use super::message::{Founding, MemberId, Message, Payload, Progress, Standing};
use super::{Config, Fault, Hard, Input, Joining, Output, Refusal, Restored, Role, Stage, Ticket};
use crate::limits::{INDEX_MAX, JOIN_ANSWER_TICKS, JOIN_NOTE_TICKS, JOIN_REMINDER_TICKS, JOIN_TICKS, TERM_MAX};

/// A member of a group of three that does not know the founding of the group.
#[derive(Debug)]
pub(super) struct Newcomer {
    config: Config,
    restored: Restored,
    /// The newest answers of the others, by rank.
    answers: [Option<Answer>; 3],
    ticks: u64,
    /// The hard state and the commit index with which it becomes a voter once they are durable. `None` until it has
    /// decided.
    decided: Option<(Hard, u64)>,
    /// The last reason that it has reported for not being able to join.
    told: Option<Joining>,
    dropped: u64,
}

/// The answer of another member to a join.
#[derive(Clone, Copy, Debug)]
struct Answer {
    standing: Standing,
    term: u64,
    disk: u64,
    founding: Founding,
    /// The tick of this member at which it arrived.
    tick: u64,
}

/// Returns true if a member that has answered belongs to a founded group.
fn is_member(answer: &Answer) -> bool {
    answer.standing == Standing::Member
}

/// The ticket of the write in which a newcomer records what it becomes. It precedes all tickets of a voter.
const DECISION: Ticket = Ticket(0);

impl Newcomer {
    /// Starts a member. If the group has had a single member so far, and this is the one, then `restored` has the log
    /// of the group.
    ///
    /// # Errors
    ///
    /// Returns the fault if the disk has lost something.
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
                let (hard, commit) = self.decided.expect("the decision precedes its write");
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
        assert!(!self.restored.hard.founding.is_known(), "a member that knows the founding is no newcomer");
        assert!(self.answers[self.rank()].is_none(), "a member does not answer its own join");
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
            ask(&self.config, (self.restored.hard.term, 0), &payload, out);
        }
        if ticks % JOIN_REMINDER_TICKS == JOIN_NOTE_TICKS {
            out.extend(self.only_copy().map(|member| Output::Joining(Joining::OneLeft { member })));
            let silent = |rank: &usize| self.config.members[*rank] != self.config.id && self.answers[*rank].is_none();
            let mut silent = (0..3).filter(silent).map(|rank| self.config.members[rank]);
            out.extend(silent.next().map(|first| Output::Joining(Joining::Waits { first, second: silent.next() })));
        }
    }

    fn on_message(&mut self, message: &Message, out: &mut Vec<Output>) {
        let Message { from, to, term, ref payload, .. } = *message;
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
                let (from, to, term) = (to, from, self.restored.hard.term);
                out.push(Output::Send(Message { from, to, term, founding: 0, payload: answer }));
            }
            Payload::JoinAnswer { standing, asker, disk, founding, .. } => {
                if asker != self.config.disk || term > TERM_MAX || founding.last > INDEX_MAX {
                    self.dropped += 1;
                    return;
                }
                self.answers[rank] = Some(Answer { standing, term, disk, founding, tick: self.ticks });
                self.decide(out);
            }
            // These are meant for members that know the founding.
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

    /// Sends another answer to each member that was a newcomer when it last answered. It now learns the founding from
    /// it.
    fn pass_on(&self, hard: Hard, out: &mut Vec<Output>) {
        let (from, last) = (self.config.id, self.restored.last().0);
        for (rank, to) in self.config.members.iter().copied().enumerate() {
            if let Some(Answer { standing: Standing::Newcomer, disk: asker, .. }) = self.answers[rank] {
                let payload = Membership::new(&self.config, hard).answer(asker, false, last);
                let (term, founding) = (hard.term, hard.founding.id());
                out.push(Output::Send(Message { from, to, term, founding, payload }));
            }
        }
    }

    fn rank(&self) -> usize {
        self.config.members.iter().position(|member| *member == self.config.id).expect("a member of its own group")
    }

    /// Returns what this member says that it is. A state with a term belongs to a log from before the founding, even if
    /// that log is empty.
    fn standing(&self) -> Standing {
        let is_blank = self.restored.hard.term == 0 && self.restored.last().0 == 0;
        if is_blank { Standing::Newcomer } else { Standing::Founder }
    }

    /// Returns the member that has the only copy of a group that was founded, as far as the answers say: the folders of
    /// this member and of the other one are empty.
    fn only_copy(&self) -> Option<MemberId> {
        let of = |standing| self.answers.iter().position(|it| it.is_some_and(|it| it.standing == standing));
        if self.standing() != Standing::Newcomer || of(Standing::Newcomer).is_none() {
            return None;
        }
        of(Standing::Member).map(|rank| self.config.members[rank])
    }

    /// Returns a member that belongs to an earlier founding than another one, or than the log from which the group is
    /// to be recovered.
    fn older(&self) -> Option<MemberId> {
        let number = |rank: usize| self.answers[rank].filter(is_member).map(|answer| answer.founding.number);
        let newest = (0..3).filter_map(number).max()?;
        let is_older = |rank: &usize| match self.standing() {
            Standing::Founder => number(*rank).is_some_and(|number| number <= self.restored.hard.founding.number),
            Standing::Newcomer | Standing::Member => number(*rank).is_some_and(|number| number < newest),
        };
        (0..3).find(is_older).map(|rank| self.config.members[rank])
    }

    /// Decides what this member becomes, if the answers so far are enough for that.
    fn decide(&mut self, out: &mut Vec<Output>) {
        let is_blank = self.standing() == Standing::Newcomer;
        let own = self.rank();
        let (disk, dropped) = (self.config.disk, self.restored.hard.founding.number);
        let was_there = |answer: &Answer| {
            let Founding { number, disks, .. } = answer.founding;
            is_member(answer) && disks[own] == disk && planted!("member of a dropped copy", number > dropped, true)
        };
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
        if let Some(member) = self.older() {
            return self.tell(Joining::Older { member }, out);
        }
        match (one.standing, other.standing) {
            (Standing::Newcomer, Standing::Newcomer) if !is_blank || is_home => self.found(out),
            (Standing::Member, Standing::Member) if is_blank && one.founding == other.founding => {
                self.recover(one, other, out)
            }
            (Standing::Member, _) | (_, Standing::Member) if !is_blank => self.tell(Joining::Outside, out),
            (Standing::Founder, _) | (_, Standing::Founder) if !is_blank => self.tell(Joining::TwoLogs, out),
            // This member waits until another one has founded the group, or has joined it.
            (Standing::Newcomer | Standing::Founder | Standing::Member, _) => {}
        }
    }

    /// Founds the group with the log that this member has.
    fn found(&mut self, out: &mut Vec<Output>) {
        let (last, newest) = self.restored.last();
        let disk = |rank: usize| self.answers[rank].map_or(self.config.disk, |answer| answer.disk);
        let Hard { term, vote, founding: Founding { number, .. }, .. } = self.restored.hard;
        let number = number.saturating_add(1);
        let founding = Founding { number, disks: [disk(0), disk(1), disk(2)], last };
        let term = term.max(newest).max(1);
        let vote = vote.filter(|_| term == self.restored.hard.term);
        // The only member of a group has committed everything in its log.
        self.become_voter(Hard { term, vote, stage: Stage::Full, founding }, last, Joining::Founded, out);
    }

    /// Joins the group at whose founding this member was present.
    fn join(&mut self, answer: Answer, out: &mut Vec<Output>) {
        let stage = if answer.founding.last == 0 { Stage::Full } else { Stage::Joining };
        let hard = Hard { term: answer.term.max(1), vote: None, stage, founding: answer.founding };
        self.become_voter(hard, 0, Joining::Joined, out);
    }

    /// Begins to recover, because this folder replaces a lost one.
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

    /// Reports why this member cannot join, unless that was its last report as well.
    fn tell(&mut self, joining: Joining, out: &mut Vec<Output>) {
        if self.told.replace(joining) != Some(joining) {
            out.push(Output::Joining(joining));
        }
    }
}

/// Sends a message to both other members, with this member's term and the id of its founding.
fn ask(config: &Config, (term, founding): (u64, u64), payload: &Payload, out: &mut Vec<Output>) {
    for to in config.members.iter().copied().filter(|member| *member != config.id) {
        out.push(Output::Send(Message { from: config.id, to, term, founding, payload: payload.clone() }));
    }
}

/// The stage of a voter, and what it still needs to become a full member.
#[derive(Debug)]
pub(super) struct Membership {
    config: Config,
    pub(super) stage: Stage,
    pub(super) founding: Founding,
    /// The term and the index of the newest acknowledgement of an append that this member has sent.
    acknowledged: (u64, u64),
    /// A term, and the index of the last entry that the leader of that term had when it answered a join.
    target: Option<(u64, u64)>,
    /// The member that was last reported to have a copy from before the founding.
    older: Option<MemberId>,
    ticks: u64,
}

/// The candidates to which a member gives its vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Votes {
    /// All candidates that are entitled to it by the rules of Raft.
    Anybody,
    /// Those of them whose log ends at this index or later.
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
        Self { config: config.clone(), stage, founding, acknowledged: (0, 0), target: None, older: None, ticks: 0 }
    }

    /// Returns the candidates to which this member gives its vote. `holds_vote` is true while it gives nobody its vote
    /// because of the lease of a leader.
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

    /// Sends a join to both other members every [`JOIN_TICKS`] while this member recovers. `last` is the index of its
    /// last entry.
    pub(super) fn on_tick(&mut self, term: u64, last: u64, out: &mut Vec<Output>) {
        self.ticks += 1;
        if self.is_recovering() && self.ticks % JOIN_TICKS == 1 {
            let payload = Payload::Join { disk: self.config.disk, last };
            ask(&self.config, (term, self.founding.id()), &payload, out);
        }
    }

    /// Returns true if a message is to be handled: it comes from a member of the same founding, or it is a join or an
    /// answer to one. A join from another founding is answered, so that its sender learns of this one.
    ///
    /// # Errors
    ///
    /// Returns a fault if the sender belongs to a later founding, in which this copy has no part.
    pub(super) fn admit(&mut self, message: &Message, out: &mut Vec<Output>) -> Result<bool, Fault> {
        let Message { from, to, founding, ref payload, .. } = *message;
        let is_asking = matches!(payload, Payload::Join { .. });
        let (own, Config { id, members, .. }) = (self.founding.id(), &self.config);
        if founding == own || founding == 0 && (is_asking || matches!(payload, Payload::JoinAnswer { .. })) {
            return Ok(true);
        }
        if founding == 0 || to != *id || from == to || !members.contains(&from) {
            return Ok(false);
        }
        if Founding::number_of(founding) > Founding::number_of(own) {
            return Err(Fault::Replaced);
        }
        if self.older.replace(from) != Some(from) {
            out.push(Output::Joining(Joining::Older { member: from }));
        }
        Ok(is_asking)
    }

    /// Returns the answer to a join.
    pub(super) fn answer(&self, asker: u64, is_leading: bool, last: u64) -> Payload {
        let (standing, disk, founding) = (Standing::Member, self.config.disk, self.founding);
        Payload::JoinAnswer { standing, is_leading, asker, disk, last, founding }
    }

    /// Handles the answer to a join by the leader of `term`, the term of this member. `last` is the index of the
    /// leader's last entry.
    pub(super) fn on_answer(&mut self, term: u64, asker: u64, last: u64) {
        let is_news = self.target.is_none_or(|(known, _)| known != term);
        if self.is_recovering() && asker == self.config.disk && is_news {
            self.target = Some((term, last));
        }
    }

    /// Notes a message that is being sent. If it acknowledges an append, everything up to its index is durable.
    pub(super) fn on_acknowledged(&mut self, message: &Message) {
        if let Payload::Appended { index, .. } = message.payload {
            self.acknowledged = self.acknowledged.max((message.term, index));
        }
    }

    /// Makes this member a full one if it now has everything that it lacked, and then returns true. `durable` is the
    /// index of the last durable entry.
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
