//! A member of a group of three: the Raft library, with the guard before it and the disk behind it.

use std::fmt;

use bytes::Bytes;
use raft::eraftpb;
use raft::{ProgressState, RawNode, ReadOnlyOption, ReadState, SnapshotStatus, StateRole};

use super::copying::Copying;
use super::guard::{self, Verdict};
use super::join::Membership;
use super::log::{self, Log, Want};
use super::message::{self, LogEntry, MemberId, Message, Payload};
use super::unwritten::Unwritten;
use super::{
    Acknowledged, Config, Fault, Hard, Input, Joining, Output, Refusal, Restored, Role, Stage, Ticket, convert,
};
use crate::limits::{
    APPEND_BYTES_MAX, APPENDS_INFLIGHT_MAX, BODY_BYTES_MAX, COMMIT_BYTES_MAX, ELECTION_TICKS, FETCHES_MAX,
    HEARTBEAT_TICKS, INDEX_MAX, LEADERLESS_TICKS, OFFER_TICKS, ROUNDS_MAX, UNCOMMITTED_BYTES_MAX, VOTE_HOLD_TICKS,
};

/// What the context of a heartbeat is more than the time of its round: zero stands for none.
const CONTEXT_OFFSET: u64 = 1;

/// The number of tickets for each write of the library, which numbers its writes: one for that write, and one for a
/// write that this module may add after it ([`Voter::complete`]).
const WRITES_PER_NUMBER: u64 = 2;

/// A member of a group of three that knows the founding of the group.
pub(super) struct Voter {
    config: Config,
    pub(super) raw: RawNode<Log>,
    /// The number of the newest write from before the library was last restarted. Since then, it numbers its writes
    /// from 1 again.
    numbers_before: u64,
    pub(super) unwritten: Unwritten,
    /// The role and the hard state as they were last put out.
    role: Role,
    hard: Hard,
    /// The number of the library's newest write, counted across its restarts.
    newest: u64,
    pub(super) membership: Membership,
    /// For how many more ticks this member gives nobody its vote.
    hold_ticks: usize,
    /// What is being read from the disk.
    wants: Vec<Want>,
    /// The snapshot that this member is copying from its leader, if any.
    copying: Option<Copying>,
    /// For how many ticks no leader has been known.
    leaderless_ticks: u64,
    /// The ticks left until followers that have not acknowledged a snapshot are offered one again.
    offer_ticks: usize,
    fault: Option<Fault>,
    dropped: u64,
}

impl Voter {
    /// Starts a member of a group of three. `holds_vote` is true if it may have answered a leader just before, and so
    /// must not vote for a while.
    ///
    /// # Errors
    ///
    /// Returns what the disk has lost.
    ///
    /// # Panics
    ///
    /// The configuration names no group that this member is in.
    pub(super) fn new(
        config: &Config,
        restored: Restored,
        holds_vote: bool,
        out: &mut Vec<Output>,
    ) -> Result<Self, Fault> {
        let hard = restored.hard;
        let raw = raw_node(config, restored)?;
        let mut voter = Self {
            config: config.clone(),
            role: Role::Follower { term: raw.raft.term, leader: None },
            raw,
            numbers_before: 0,
            newest: 0,
            unwritten: Unwritten::default(),
            hard,
            membership: Membership::new(config, hard),
            hold_ticks: planted!("no vote hold after a start", if holds_vote { VOTE_HOLD_TICKS } else { 0 }, 0),
            wants: Vec::new(),
            copying: None,
            leaderless_ticks: 0,
            offer_ticks: OFFER_TICKS,
            fault: None,
            dropped: 0,
        };
        voter.drain(out);
        Ok(voter)
    }

    /// Handles an input, and adds all of its output to `out`.
    pub(super) fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Propose { body } => self.on_propose(body, out),
            _ if self.fault.is_some() => return,
            Input::Tick => self.on_tick(out),
            Input::Confirm { at_us } => self.on_confirm(at_us),
            Input::HandOver { to } => self.on_hand_over(to),
            Input::Differs { index } => self.on_fault(Fault::Digest { index }, out),
            Input::Message(message) => self.on_message(message, out),
            Input::Written { ticket } => self.on_written(ticket, out),
            Input::Fetched { base, entries } => self.on_fetched(base, entries),
            Input::NotFetched { index } => self.wants.retain(|want| want.index != index),
            Input::CopyReady { index, term } => self.on_copy_ready(index, term, out),
            Input::Copied => self.on_copied(out),
            Input::NotCopied => self.copying = None,
        }
        if self.fault.is_none() {
            self.drain(out);
            self.check_copy(out);
        }
    }

    /// Returns true if this member would add a body to the log now: it leads, and not too much is uncommitted.
    pub(super) fn accepts(&self) -> bool {
        let raft = &self.raw.raft;
        let has_room = raft.uncommitted_size() <= UNCOMMITTED_BYTES_MAX - BODY_BYTES_MAX;
        has_room && !self.is_handing_over() && self.refusal().is_none()
    }

    /// Returns true once this copy is known to be bad.
    pub(super) const fn is_bad(&self) -> bool {
        self.fault.is_some()
    }

    /// Returns true while this member hands its leadership over.
    pub(super) fn is_handing_over(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// Returns how far the log of this leader reaches, and how much of it `member` has acknowledged. All numbers are
    /// zero if this member does not lead.
    pub(super) fn acknowledged(&self, member: MemberId) -> Acknowledged {
        let raft = &self.raw.raft;
        let Some(progress) = raft.prs().get(member.as_u64()).filter(|_| raft.state == StateRole::Leader) else {
            return Acknowledged::default();
        };
        let log = &raft.raft_log;
        let (by_member, committed) = (progress.matched, log.committed);
        Acknowledged { by_member, committed, here: log.persisted, last: log.last_index() }
    }

    /// Returns true if this member votes without restriction.
    pub(super) fn votes(&self) -> bool {
        self.membership.stage == Stage::Full && self.fault.is_none()
    }

    /// Returns what this member is.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Returns how many messages were dropped because no correct member sends them, or because they came too late.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Asserts what must hold after each input.
    pub(super) fn check(&self) {
        let log = &self.raw.raft.raft_log;
        assert!(log.applied <= log.committed && log.applied <= log.persisted && log.persisted <= log.last_index());
        assert!(log.unstable_entries().is_empty(), "entries have been passed on");
        let is_installing = self.copying.as_ref().is_some_and(|copying| copying.installing().is_some());
        assert!(!is_installing || self.raw.raft.state != StateRole::Leader, "it cannot win an election");
        assert!(!self.unwritten.is_empty() || log.persisted == log.last_index(), "the library knows what is durable");
        self.unwritten.check();
    }

    fn on_propose(&mut self, body: Bytes, out: &mut Vec<Output>) {
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

    fn on_tick(&mut self, out: &mut Vec<Output>) {
        self.hold_ticks = self.hold_ticks.saturating_sub(1);
        self.membership.on_tick(self.raw.raft.term, self.raw.raft.raft_log.last_index(), out);
        // Without ticks, the library never starts an election.
        if !self.membership.is_recovering() {
            self.raw.tick();
        }
        self.note_leaderless(out);
        self.offer_ticks -= 1;
        if self.offer_ticks == 0 {
            self.offer_ticks = OFFER_TICKS;
            self.offer_again();
        }
    }

    /// Reports now and then that the group has no leader.
    fn note_leaderless(&mut self, out: &mut Vec<Output>) {
        let is_leaderless = matches!(self.role, Role::Follower { leader: None, .. });
        self.leaderless_ticks = if is_leaderless { self.leaderless_ticks + 1 } else { 0 };
        if is_leaderless && self.leaderless_ticks.is_multiple_of(LEADERLESS_TICKS) {
            out.push(Output::Joining(Joining::Leaderless));
        }
    }

    /// Makes the library offer a snapshot again, if still needed, to each follower that has not acknowledged the
    /// previous offer. By itself, the library would wait for a report about that offer, but nobody can tell whether the
    /// offer was lost. A follower that is still copying ignores another offer.
    fn offer_again(&mut self) {
        for member in &self.config.members {
            let progress = self.raw.raft.prs().get(member.as_u64());
            if progress.is_some_and(|progress| progress.state == ProgressState::Snapshot) {
                self.raw.report_snapshot(member.as_u64(), SnapshotStatus::Failure);
            }
        }
    }

    /// Sends both others a heartbeat with the time as its context. The library takes the answer of one of them for the
    /// confirmation, also of all rounds before, and gives the newest of them to its own later heartbeats, so that a
    /// lost message is repeated.
    fn on_confirm(&mut self, at_us: u64) {
        let raft = &self.raw.raft;
        // The library would pass on a follower's question to the leader. It ignores that of a leader without a
        // committed entry of its term: from its answer, nobody could know what earlier leaders have committed.
        if raft.state != StateRole::Leader || raft.pending_read_count() >= ROUNDS_MAX {
            return;
        }
        let context = convert::to_raft_context(at_us.saturating_add(CONTEXT_OFFSET));
        planted!("reads before the own first entry is applied", self.raw.read_index(context), self.ask_early(context));
    }

    /// Makes the library send the other member the entries that it lacks, and then `TimeoutNow`. Only on a leader: on a
    /// follower, the library would forward the request to the leader.
    fn on_hand_over(&mut self, to: MemberId) {
        if self.raw.raft.state == StateRole::Leader {
            self.raw.transfer_leader(to.as_u64());
        }
    }

    /// Asks as the library does, but also before it is known what earlier leaders have committed: a planted bug.
    fn ask_early(&mut self, context: Vec<u8>) {
        let entry = eraftpb::Entry { data: context.into(), ..eraftpb::Entry::default() };
        let mut question = eraftpb::Message::default();
        question.set_entries(vec![entry].into());
        let raft = &mut self.raw.raft;
        let (committed, id) = (raft.raft_log.committed, raft.id);
        raft.read_only.add_request(committed, question, id);
        raft.ping();
    }

    fn on_message(&mut self, message: Message, out: &mut Vec<Output>) {
        let admitted = self.membership.admit(&message, out);
        match planted!("messages of another founding", admitted, Ok(true)) {
            Ok(true) => {}
            Ok(false) => return self.dropped += 1,
            Err(fault) => return self.on_fault(fault, out),
        }
        if self.on_join(&message, out) {
            return;
        }
        if self.copying.as_ref().is_some_and(Copying::is_frozen) && Copying::is_ignored(&message) {
            self.dropped += 1;
            return;
        }
        match guard::judge(&self.raw.raft, &self.unwritten, (&self.membership, self.hold_ticks > 0), message) {
            Verdict::Step(message) => {
                let is_from_leader = matches!(message.payload, Payload::Append { .. } | Payload::Heartbeat { .. });
                if is_from_leader && message.term >= self.raw.raft.term {
                    self.hold_ticks = VOTE_HOLD_TICKS;
                }
                self.raw.step(convert::to_raft(message)).expect("it is from a member");
            }
            Verdict::Copy(message) => self.on_offer(&message, out),
            Verdict::Drop => self.dropped += 1,
            Verdict::Bad(fault) => self.on_fault(fault, out),
        }
    }

    /// Handles a join of another member, or the answer to one. Returns false if the message is neither of the two.
    fn on_join(&mut self, message: &Message, out: &mut Vec<Output>) -> bool {
        let raft = &mut self.raw.raft;
        let Message { from, to, term, founding, ref payload } = *message;
        let own = self.membership.founding.id();
        let (leads, last) = (raft.state == StateRole::Leader, raft.raft_log.last_index());
        let is_of_group = to.as_u64() == raft.id && from != to && raft.prs().get(from.as_u64()).is_some();
        match *payload {
            Payload::Join { .. } | Payload::JoinAnswer { .. } if !is_of_group => self.dropped += 1,
            Payload::Join { disk, last: of_follower } => {
                let progress = raft.mut_prs().get_mut(from.as_u64()).expect("it is a member");
                // The member has lost its disk, and will reject appends to entries that it no longer has. `guard` would
                // drop such a rejection as older than an acknowledgement, so the progress of the member is reset here.
                if leads && of_follower < progress.matched && (founding == 0 || founding == own) {
                    progress.matched = 0;
                    progress.become_probe();
                    progress.next_idx = of_follower + 1;
                }
                let payload = self.membership.answer(disk, leads, last);
                out.push(Output::Send(Message { from: to, to: from, term: raft.term, founding: own, payload }));
            }
            Payload::JoinAnswer { is_leading, asker, last, .. } => {
                if is_leading && term == raft.term && founding == own {
                    self.membership.on_answer(term, asker, last);
                }
            }
            Payload::Append { .. }
            | Payload::Appended { .. }
            | Payload::Rejected { .. }
            | Payload::Heartbeat { .. }
            | Payload::HeartbeatAnswer { .. }
            | Payload::RequestVote { .. }
            | Payload::Vote { .. }
            | Payload::TimeoutNow
            | Payload::Snapshot { .. } => return false,
        }
        true
    }

    fn on_fault(&mut self, fault: Fault, out: &mut Vec<Output>) {
        self.fault = Some(fault);
        out.push(Output::Bad(fault));
    }

    /// Handles the offer of a snapshot. The library adopts the leader's term first, so that this term is durable before
    /// a state with entries of that term is installed.
    fn on_offer(&mut self, message: &Message, out: &mut Vec<Output>) {
        let Message { from, term, .. } = *message;
        if term > self.raw.raft.term {
            self.raw.raft.become_follower(term, from.as_u64());
        }
        if self.copying.is_none() {
            self.copying = Some(Copying::new(from));
            out.push(Output::Copy { from });
        }
    }

    fn on_copy_ready(&mut self, index: u64, term: u64, out: &mut Vec<Output>) {
        let raft = &self.raw.raft;
        let is_needed = index > raft.raft_log.committed && raft.store().term_at(index) != Some(term);
        let is_possible = index <= INDEX_MAX && (1..=raft.term).contains(&term);
        let Some(copying) = &mut self.copying else { return };
        if !(is_needed && is_possible) {
            self.copying = None;
            out.push(Output::NoCopy);
        } else if !copying.set_ready(index, term) {
            self.dropped += 1;
        }
    }

    /// Restarts the library with the installed state, as after a crash. If the leader that has offered the snapshot
    /// still leads, the library then acknowledges the last entry of the state to it.
    fn on_copied(&mut self, out: &mut Vec<Output>) {
        let Some((copying, (index, term))) = self.copying.take().and_then(|it| it.installing().map(|of| (it, of)))
        else {
            return;
        };
        let (base, entries) = ((index, term), Vec::new());
        let restored = Restored { hard: self.hard, commit: index, applied: index, base, entries };
        self.raw = match raw_node(&self.config, restored) {
            Ok(raw) => raw,
            Err(fault) => unreachable!("its term was made durable before: {fault}"),
        };
        self.numbers_before = self.newest;
        self.wants.clear();
        let Role::Follower { term, leader: Some(leader) } = self.role else { return };
        if leader == copying.from {
            let payload = Payload::Snapshot { index, log_term: base.1 };
            let founding = self.membership.founding.id();
            self.on_message(Message { from: leader, to: self.config.id, term, founding, payload }, out);
        }
    }

    /// Ends an incomplete copy if another member leads now, and has a complete one installed once all writes are
    /// durable.
    fn check_copy(&mut self, out: &mut Vec<Output>) {
        let Some(copying) = &mut self.copying else { return };
        let leader = MemberId::new(self.raw.raft.leader_id);
        if !copying.is_frozen() && leader.is_some_and(|leader| leader != copying.from) {
            self.copying = None;
            out.push(Output::NoCopy);
        } else if planted!("state installed before all writes are durable", self.unwritten.is_empty(), true)
            && copying.install().is_some()
        {
            out.push(Output::Install);
        }
    }

    fn on_written(&mut self, ticket: Ticket, out: &mut Vec<Output>) {
        let newest = self.unwritten.newest().unwrap_or(ticket);
        for message in self.unwritten.on_written(ticket) {
            self.membership.on_acknowledged(&message);
            out.push(Output::Send(message));
        }
        let written = planted!("persisted before it is durable", ticket, newest);
        // The restarted library knows nothing of writes from before its restart, so they are not reported to it.
        let number = (written.0 / WRITES_PER_NUMBER).checked_sub(self.numbers_before);
        if let Some(number) = number.filter(|number| *number > 0) {
            self.raw.on_persist_ready(number);
        }
    }

    /// Writes the new stage of this member once it has become a full member.
    fn complete(&mut self, out: &mut Vec<Output>) {
        let (term, durable) = (self.raw.raft.term, self.raw.raft.raft_log.persisted);
        if self.membership.completes(term, durable) {
            let ticket = Ticket(self.newest * WRITES_PER_NUMBER + 1);
            self.unwritten.add(ticket, 0);
            let (hard, commit) = (self.hard_if_changed(), self.raw.raft.raft_log.committed);
            out.push(Output::Write { ticket, hard, commit, entries: Vec::new() });
            out.push(Output::Joining(Joining::Completed));
        }
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
            let confirmed = |state: ReadState| {
                let at_us = convert::from_raft_context(&state.request_ctx) - CONTEXT_OFFSET;
                Output::Confirmed { at_us }
            };
            out.extend(ready.take_read_states().into_iter().map(confirmed));
            let entries: Vec<_> = ready.take_entries().into_iter().map(convert::from_raft_entry).collect();
            self.raw.mut_store().append(&entries);
            let number = ready.number();
            self.newest = self.numbers_before + number;
            let ticket = Ticket(self.newest * WRITES_PER_NUMBER);
            // A new commit index by itself is not written: the next write has it.
            if ready.must_sync() {
                self.unwritten.add(ticket, entries.iter().map(log::size).sum());
                let hard = self.hard_if_changed();
                let committed = self.raw.raft.raft_log.committed;
                let before = entries.first().map_or(committed, |first| first.index - 1);
                let commit = planted!("commit index ahead of its entries", committed.min(before), committed);
                out.push(Output::Write { ticket, hard, commit, entries });
            }
            let founding = self.membership.founding.id();
            let convert = |raw| convert::from_raft(raw, founding);
            // A leader's messages do not rely on its own disk.
            out.extend(ready.take_messages().into_iter().map(|raw| Output::Send(convert(raw))));
            for message in ready.take_persisted_messages().into_iter().map(convert) {
                let waits = message::needs_durability(&message.payload);
                if let Some(message) = if waits { self.unwritten.hold(message) } else { Some(message) } {
                    self.membership.on_acknowledged(&message);
                    out.push(Output::Send(message));
                }
            }
            let committed = ready.take_committed_entries();
            self.raw.advance_append_async(ready);
            if self.unwritten.is_empty() {
                self.raw.on_persist_ready(number);
            }
            self.commit(committed, out);
        }
        self.complete(out);
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
        let Membership { stage, founding, .. } = self.membership;
        let hard = Hard { term: self.raw.raft.term, vote: MemberId::new(self.raw.raft.vote), stage, founding };
        (hard != self.hard).then(|| {
            self.hard = hard;
            hard
        })
    }
}

impl fmt::Debug for Voter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = &self.raw.raft.raft_log;
        let mut fields = formatter.debug_struct("Voter");
        fields.field("id", &self.raw.raft.id).field("role", &self.role).field("fault", &self.fault);
        fields.field("log", &format_args!("{} <= {} <= {}", log.applied, log.committed, log.last_index())).finish()
    }
}

/// Starts the library with what was read from the disk.
///
/// # Errors
///
/// Returns what the disk has lost.
fn raw_node(config: &Config, restored: Restored) -> Result<RawNode<Log>, Fault> {
    let Config { id, members, window_bytes, .. } = config;
    let rank = members.iter().position(|member| member == id).expect("a member is in its own group");
    let raft_config = raft_config(*id, rank, restored.applied);
    let log = Log::new(members, restored, *window_bytes)?;
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    Ok(RawNode::new(&raft_config, log, &logger).expect("the configuration has no contradictions"))
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
        // The library's own leases last up to two election timeouts, and a follower votes after one.
        read_only_option: ReadOnlyOption::Safe,
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
