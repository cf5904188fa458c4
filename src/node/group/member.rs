//! This node's member of the group: what its replica wants done, and what of it is on the way to the disk.
//!
//! ```text
//!  seal ──► Replica: Propose ──► Write ──► at the end of the turn: Action::Write
//!  Event::Written ──► Replica: Written ──► Commit ──► apply
//!  RAFT ──► Replica: Message ──► Write, Commit, and answers
//!  the tick ──► Replica: Tick ──► elections and heartbeats
//! ```
//!
//! What the other parts of the node have to do about it is in [`FollowUp`].

use std::collections::VecDeque;

use super::super::action::Action;
use super::super::call::ReplyTo;
use super::super::{Settings, Step};
use super::Group;
use super::fitness::{Fitness, Other};
use super::proposal::Proposal;
use crate::entry::{
    self, Body, CopyTask, LogPart, LogPosition, LogQuery, MemberState, Place, Unreadable, Write, Written,
};
use crate::limits::REQUEST_TIMEOUT_US;
use crate::replica::{
    Acknowledged, Config, Fault, Hard, Input, Joining, LogEntry, MemberId, Message, Output, Payload, Replica, Restored,
    Role, Ticket,
};
use crate::types::{Copies, Dimension, NodeId, SlotId};
use crate::wire::chunks::Chunks;
use crate::wire::response::{CopiesView, CopyView, Durability};

/// This node's member of a group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) replica: Replica,
    /// What the replica wants done. Empty between calls; kept because its memory is used again.
    pub(super) outputs: Vec<Output>,
    /// What is to be written at the end of this turn.
    writes: VecDeque<Write>,
    /// What the store has not reported as written yet, oldest first. The last part of each write of the replica has its
    /// ticket.
    pub(super) unreported: VecDeque<(Unreported, Option<Ticket>)>,
    /// The position of the last body that is committed.
    committed: u64,
    /// The term in which this member was elected, until it is known that another one leads.
    elected: Option<u32>,
    /// The number of writes that the store has reported as done.
    pub(super) reported: u64,
    /// Which members are fit to lead.
    pub(super) fitness: Fitness,
    follow_up: FollowUp,
}

/// Something that the store has not reported as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreported {
    Body {
        index: u64,
        term: u32,
        /// Its number in the tail of the log.
        number: u64,
    },
    State,
}

/// What a member has decided, as far as the other parts of the node have to do something about it.
#[derive(Debug, Default)]
pub(in crate::node) struct FollowUp {
    /// Its role, if that has changed.
    pub role: Option<Role>,
    /// True if this node has begun to lead: it was elected, and has applied everything from earlier terms.
    pub has_begun: bool,
    /// When the latest round of heartbeats began that another member has answered, in monotonic microseconds: this node
    /// still led then.
    pub confirmed_us: Option<u64>,
    /// Messages to other members.
    pub messages: Vec<Message>,
    /// Bodies that another member lacks, and that are to be read from the journal.
    pub fetches: Vec<LogQuery>,
    /// Who waits for what will never be done, because another leader has replaced it.
    pub withdrawn: Vec<ReplyTo>,
    /// Who waits for what may be done or not: it is before the end of a state that was copied.
    pub unknown: Vec<ReplyTo>,
    /// What the store has to do for a copy.
    pub tasks: Vec<CopyTask>,
    /// Requests for parts of a copy: the node to ask, and the number of the request.
    pub chunks: Vec<(NodeId, u64, Chunks)>,
    /// What is wrong with this copy, when that was detected.
    pub fault: Option<Fault>,
    /// Progress of this node's member in joining the group, to be logged for the operator.
    pub joining: Vec<Joining>,
}

impl FollowUp {
    const fn is_empty(&self) -> bool {
        let Self { role, has_begun, confirmed_us, messages, fetches, withdrawn, fault, joining, .. } = self;
        let Self { unknown, tasks, chunks, .. } = self;
        role.is_none()
            && !*has_begun
            && confirmed_us.is_none()
            && messages.is_empty()
            && fetches.is_empty()
            && withdrawn.is_empty()
            && unknown.is_empty()
            && tasks.is_empty()
            && chunks.is_empty()
            && fault.is_none()
            && joining.is_empty()
    }
}

impl Member {
    /// Returns the member of a new group.
    pub(super) fn new(settings: &Settings, slot: SlotId) -> Self {
        // A group in memory is lost with the process, so each run of the process counts as a new folder.
        let folder = settings.instance.max(1);
        Self::continuing(settings, (slot, folder), (LogPosition::default(), MemberState::default()), &[])
    }

    /// Returns a member whose log has been applied up to `applied`, and has the bodies `rest` after that. `folder` is
    /// the id of the data folder.
    fn continuing(
        settings: &Settings,
        (slot, folder): (SlotId, u64),
        (applied, state): (LogPosition, MemberState),
        rest: &[(Body, Place)],
    ) -> Self {
        let entry = |(body, _): &(Body, Place)| LogEntry {
            index: body.index,
            term: body.term.into(),
            body: body.bytes.clone(),
        };
        let restored = Restored {
            hard: Hard {
                term: state.term.into(),
                vote: MemberId::new(state.vote),
                stage: state.stage,
                founding: state.founding,
            },
            commit: state.commit.max(applied.index),
            applied: applied.index,
            base: (applied.index, applied.term.into()),
            entries: rest.iter().map(entry).collect(),
        };
        let mut outputs = Vec::new();
        let members = settings.members_of(slot).map(member_of).collect();
        let config =
            Config { id: member_of(settings.id), members, disk: folder, window_bytes: settings.log_window_bytes };
        let replica = Replica::new(&config, restored, &mut outputs).expect("a start has found the whole log");
        let (writes, unreported, follow_up) = (VecDeque::new(), VecDeque::new(), FollowUp::default());
        let (committed, elected) = (applied.index, None);
        let (reported, fitness) = (0, Fitness::default());
        Self { replica, outputs, writes, unreported, committed, elected, reported, fitness, follow_up }
    }

    /// Returns true if the log takes another body now.
    pub(super) fn accepts(&self) -> bool {
        self.replica.accepts()
    }

    /// Returns the state of each copy as this node knows it; `None` if it does not lead the group, or if the group has
    /// one member.
    pub(super) fn copies(&self, settings: &Settings, slot: SlotId) -> Option<CopiesView> {
        let Role::Leader { term } = self.replica.role() else { return None };
        let member = |node: NodeId| {
            let id = member_of(node);
            let answers = node == settings.id || self.fitness.others.get(&id).is_some_and(Other::is_there);
            let Acknowledged { by_member, last, .. } = self.replica.acknowledged(id);
            CopyView { node: node.index(), answers, behind: last.saturating_sub(by_member) }
        };
        let members: Vec<CopyView> = settings.members_of(slot).map(member).collect();
        (members.len() > 1).then(|| CopiesView { leader: settings.id.index(), term, members })
    }

    /// Returns true if something is to be written at the end of this turn.
    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Returns the position of the last body that is committed.
    pub(super) const fn committed(&self) -> u64 {
        self.committed
    }

    /// Returns true if this member was elected in that term, and has not learned of another leader since.
    pub(super) fn was_elected(&self, term: u32) -> bool {
        self.elected == Some(term)
    }

    /// Notes that this node has begun to lead.
    pub(super) const fn note_begun(&mut self) {
        self.follow_up.has_begun = true;
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        self.replica.check();
        assert!(self.outputs.is_empty() && self.writes.len() <= self.unreported.len());
    }

    /// Returns what the other parts of the node have to do, to add something.
    pub(super) const fn follow_up_mut(&mut self) -> &mut FollowUp {
        &mut self.follow_up
    }

    /// Takes everything up to this index as committed: a copied state includes it. Whoever waits for what was proposed
    /// before is told that its outcome is not known.
    pub(super) fn restart(&mut self, committed: u64, unknown: Vec<ReplyTo>) {
        let is_state = |(unreported, _): &(Unreported, _)| *unreported == Unreported::State;
        assert!(self.unreported.iter().all(is_state), "all bodies are durable");
        self.committed = committed;
        self.follow_up.unknown.extend(unknown);
    }

    fn note_role(&mut self, role: Role) {
        self.elected = match role {
            Role::Leader { term } => Some(term_of(term)),
            Role::Follower { .. } => None,
        };
        self.follow_up.role = Some(role);
    }
}

impl Group {
    /// Ends a restore. `applied` is the position up to which the log has been applied, `state` the state of the member,
    /// `rest` the bodies after that position, and `folder` the id of the data folder.
    pub(in crate::node) fn continue_log(
        &mut self,
        settings: &Settings,
        folder: u64,
        (applied, state): (LogPosition, MemberState),
        rest: Vec<(Body, Place)>,
    ) {
        self.tail.clear();
        self.applied = applied;
        self.member = Member::continuing(settings, (self.slot, folder), (applied, state), &rest);
        rest.into_iter().for_each(|(body, place)| self.tail.restore(body, place));
        self.carry_out(settings);
    }

    /// Makes the oldest `count` proposals the next body of the log. The log must accept one ([`Member::accepts`]).
    pub(super) fn propose_body(&mut self, step: &Step<'_>, count: usize) {
        let settings = step.settings;
        let is_encoded = settings.durability != Durability::Memory || settings.copies == Copies::Three;
        let (body, sealed) = self.proposals.seal(count, is_encoded, step.now.monotonic_us);
        self.member.replica.handle(Input::Propose { body }, &mut self.member.outputs);
        let Some(Output::Proposed { index, term }) = self.member.outputs.first() else {
            unreachable!("{:?}: it accepts bodies", self.member.outputs)
        };
        self.tail.add(*index, term_of(*term), sealed);
        self.carry_out(settings);
    }

    /// Returns true if this node's member votes. A member that does not vote is still getting the log: it does not make
    /// up for the loss of another one.
    pub(in crate::node) fn votes(&self) -> bool {
        self.member.replica.votes()
    }

    /// Returns the id of the group's founding.
    #[cfg(test)]
    pub(in crate::node) fn founding_id(&self) -> u64 {
        self.member.replica.founding().id()
    }

    /// Handles a message of another member. Returns false if it is dropped: because a body in it cannot be decoded, or
    /// because it asks this node to take over leadership while the node is shutting down.
    pub(in crate::node) fn on_message(&mut self, settings: &Settings, message: Message) -> bool {
        if let Payload::Append { entries, .. } = &message.payload
            && entries.iter().any(|entry| entry::decode(&entry.body, Place::default()).is_err())
        {
            return false;
        }
        // A node that is shutting down would hand leadership over again at once.
        if matches!(message.payload, Payload::TimeoutNow) && self.member.fitness.own.is_leaving {
            return false;
        }
        if settings.members_of(self.slot).any(|node| member_of(node) == message.from) {
            self.member.fitness.on_message(&message);
        }
        self.member.replica.handle(Input::Message(message), &mut self.member.outputs);
        self.carry_out(settings);
        true
    }

    /// Lets the member know that a tick has passed. Returns who has waited for too long for what was proposed: it is
    /// not known whether that will be done.
    pub(in crate::node) fn on_tick(&mut self, step: &mut Step<'_>) -> Vec<ReplyTo> {
        let now_us = step.now.monotonic_us;
        if self.lead.as_mut().is_some_and(|lead| lead.lease.begins_ahead(now_us)) {
            self.confirm(step);
        }
        self.member.replica.handle(Input::Tick, &mut self.member.outputs);
        self.carry_out(step.settings);
        self.tick_fitness(step);
        self.tick_copy(step);
        self.tick_serving(now_us);
        let late = self.tail.proposed_mut().take_while(|body| body.at_us.saturating_add(REQUEST_TIMEOUT_US) <= now_us);
        late.flat_map(|body| body.proposals.iter_mut().flat_map(Proposal::take_replies)).collect()
    }

    /// Asks the other members whether this node still leads, for a request that waits, unless they are being asked.
    pub(in crate::node) fn begin_round(&mut self, step: &Step<'_>) {
        if self.lead.as_mut().is_some_and(|lead| lead.lease.begins_round(step.now.monotonic_us)) {
            self.confirm(step);
        }
    }

    fn confirm(&mut self, step: &Step<'_>) {
        let at_us = step.now.monotonic_us;
        self.member.replica.handle(Input::Confirm { at_us }, &mut self.member.outputs);
        self.carry_out(step.settings);
    }

    /// Notes that this node still led when it asked the others at that time.
    pub(in crate::node) fn on_confirmed(&mut self, step: &Step<'_>, asked_us: u64) {
        if let Some(lead) = &mut self.lead {
            lead.lease.on_confirmed(asked_us, step.now.monotonic_us);
        }
    }

    /// Handles the journal's answer to a query for bodies that another member lacks.
    pub(in crate::node) fn on_fetched(
        &mut self,
        settings: &Settings,
        query: LogQuery,
        part: Result<LogPart, Unreadable>,
    ) {
        let input = match part {
            Ok(LogPart { base: (index, term), bodies }) => {
                let entries = bodies.into_iter().map(|Body { index, term, bytes, .. }| LogEntry {
                    index,
                    term: term.into(),
                    body: bytes,
                });
                Input::Fetched { base: (index, term.into()), entries: entries.collect() }
            }
            // The member needs a snapshot, as if they had been removed.
            Err(Unreadable::Lost { .. }) => Input::Fetched { base: (query.index, 0), entries: Vec::new() },
            Err(Unreadable::NotNow) => Input::NotFetched { index: query.index },
        };
        self.member.replica.handle(input, &mut self.member.outputs);
        self.carry_out(settings);
    }

    /// Handles the report that the oldest write is done.
    pub(in crate::node) fn on_written(&mut self, settings: &Settings, written: Written) {
        let (expected, ticket) = self.member.unreported.pop_front().expect("only what was to be written is reported");
        self.member.reported += 1;
        match (written, expected) {
            (Written::Body { index, term, place, .. }, Unreported::Body { index: of, term: in_term, number }) => {
                assert_eq!((index, term), (of, in_term), "writes are reported in their order");
                self.tail.locate(number, index, place);
            }
            (Written::State { .. }, Unreported::State) => {}
            (written, expected) => panic!("writes are reported in their order: {written:?} instead of {expected:?}"),
        }
        if let Some(ticket) = ticket {
            self.member.replica.handle(Input::Written { ticket }, &mut self.member.outputs);
            self.carry_out(settings);
        }
    }

    /// Passes on to the store what is to be written, as far as the log has room. Returns true if that was everything.
    pub(super) fn write(&mut self, step: &mut Step<'_>) -> bool {
        while let Some(write) = self.member.writes.front() {
            let bytes = write.in_journal() as u64;
            if step.budget.room.bytes < bytes {
                return false;
            }
            step.budget.room.take(bytes);
            step.out.extend(self.member.writes.pop_front().map(|write| Action::Write { write }));
        }
        true
    }

    /// Tells the member something about a copy.
    pub(super) fn tell_member(&mut self, settings: &Settings, input: Input) {
        self.member.replica.handle(input, &mut self.member.outputs);
        self.carry_out(settings);
    }

    /// Returns true if the other parts of the node have something to do about what the member has decided.
    pub(in crate::node) const fn has_follow_up(&self) -> bool {
        !self.notes.is_empty() || !self.member.follow_up.is_empty()
    }

    /// Returns what the other parts of the node have to do, once.
    pub(in crate::node) fn take_follow_up(&mut self) -> FollowUp {
        std::mem::take(&mut self.member.follow_up)
    }

    /// Does what the replica wants done.
    pub(super) fn carry_out(&mut self, settings: &Settings) {
        let mut outputs = std::mem::take(&mut self.member.outputs);
        let mut offered = None;
        for output in outputs.drain(..) {
            match output {
                Output::Proposed { .. } => {}
                Output::Write { ticket, hard, commit, entries } => {
                    if let Some(hard) = hard {
                        let state = state_of(hard, commit);
                        self.member.writes.push_back(Write::State { slot: self.slot, state });
                        self.member.unreported.push_back((Unreported::State, None));
                    }
                    entries.into_iter().for_each(|entry| self.add_to_log(entry));
                    self.member.unreported.back_mut().expect("it writes something").1 = Some(ticket);
                }
                Output::Commit { entries } => {
                    self.member.committed = entries.last().map_or(self.member.committed, |last| last.index);
                }
                Output::Send(mut message) => {
                    if let Payload::HeartbeatAnswer { condition, .. } = &mut message.payload {
                        *condition = self.member.fitness.own;
                    }
                    self.member.follow_up.messages.push(message);
                }
                Output::Role(role) => {
                    self.member.note_role(role);
                    if let Role::Follower { .. } = role {
                        self.serving = None;
                    }
                    // A member that is alone has applied its whole log before it starts, and so everything from
                    // earlier terms.
                    if let Role::Leader { term } = role
                        && settings.copies == Copies::One
                        && !self.leads()
                    {
                        self.begin_leading(settings, term);
                    }
                }
                Output::Bad(fault) => {
                    // Bodies that are already committed are still applied. Without this, the first body of its own
                    // term among them would make this node begin to lead.
                    self.member.elected = None;
                    self.member.follow_up.fault = Some(fault);
                    self.end_copy();
                }
                Output::Joining(joining) => self.member.follow_up.joining.push(joining),
                Output::Confirmed { at_us } => self.member.follow_up.confirmed_us = Some(at_us),
                Output::Refused { .. } => unreachable!("{output:?}: it accepted bodies"),
                Output::Fetch { index, bytes_max } => {
                    let (slot, last) = (self.slot, self.member.committed);
                    self.member.follow_up.fetches.push(LogQuery { slot, index, last, bytes_max });
                }
                Output::Copy { from } => offered = Some(from),
                Output::NoCopy => {
                    offered = None;
                    self.drop_copy();
                }
                Output::Install => self.install_copy(),
            }
        }
        self.member.outputs = outputs;
        match offered.map(|from| node_of(from, settings.dimension)) {
            Some(Some(from)) => self.begin_copy(settings, from),
            Some(None) => self.tell_member(settings, Input::NotCopied),
            None => {}
        }
    }

    /// Passes on a body to be written. If another leader has proposed it, it replaces what the log has from its
    /// position on.
    fn add_to_log(&mut self, entry: LogEntry) {
        let (slot, term) = (self.slot, term_of(entry.term));
        let (number, replaced) = self.tail.admit(&entry, term);
        self.member.follow_up.withdrawn.extend(replaced);
        let LogEntry { index, body: bytes, .. } = entry;
        self.member.unreported.push_back((Unreported::Body { index, term, number }, None));
        self.member.writes.push_back(Write::Body(Body { slot, index, term, bytes }));
    }
}

/// Returns the member that a node is of all its groups.
pub(in crate::node) fn member_of(node: NodeId) -> MemberId {
    MemberId::new(u64::from(node.index()) + 1).expect("not zero")
}

/// Returns the node that a member is, if it is one of this cube.
pub(in crate::node) fn node_of(member: MemberId, dimension: Dimension) -> Option<NodeId> {
    u16::try_from(member.as_u64() - 1).ok().and_then(|node| NodeId::new(node, dimension))
}

fn state_of(hard: Hard, commit: u64) -> MemberState {
    let Hard { term, vote, stage, founding } = hard;
    MemberState { term: term_of(term), vote: vote.map_or(0, MemberId::as_u64), commit, stage, founding }
}

fn term_of(term: u64) -> u32 {
    u32::try_from(term).expect("at most TERM_MAX")
}

#[cfg(test)]
mod tests {
    use super::super::super::Step;
    use super::*;
    use crate::entry::{Entry, Place, Room};
    use crate::node::Node;
    use crate::node::group::Proposal;
    use crate::node::tests::{SLOT, settings};
    use crate::types::Now;
    use crate::wire::response::Durability;

    /// Returns a node whose log is on a disk.
    fn node() -> Node {
        let settings = Settings { durability: Durability::Synced, ..settings(0, 0) };
        Node::new(settings, Now { monotonic_us: 0, wall_us: 0 })
    }

    /// Calls `act` with the group of a node, and returns what is to be written.
    fn with(node: &mut Node, act: impl FnOnce(&mut Group, &mut Step<'_>)) -> Vec<Write> {
        let mut out = Vec::new();
        let (parts, mut step) = node.split(Now { monotonic_us: 0, wall_us: 0 }, &mut out);
        let group = parts.groups.existing_mut(SLOT);
        act(group, &mut step);
        group.check();
        let write = |action| if let Action::Write { write } = action { write } else { panic!("{action:?}") };
        out.into_iter().map(write).collect()
    }

    fn propose(group: &mut Group, step: &mut Step<'_>) {
        group.propose(step, Entry::RaiseEpochs, Proposal::default());
    }

    fn seal(node: &mut Node) -> Vec<Write> {
        with(node, |group, step| assert!(group.seal(step).is_empty()))
    }

    /// Returns what a member writes first in a term.
    fn begin(index: u64, term: u32) -> [Write; 2] {
        let slot = SLOT;
        let state = MemberState { term, vote: 1, commit: index - 1, ..MemberState::default() };
        let body = Body { slot, index, term, bytes: bytes::Bytes::new() };
        [Write::State { slot, state }, Write::Body(body)]
    }

    /// Reports all of this as written. Returns the number of entries that are to be applied after each.
    fn written(node: &mut Node, writes: &[Write]) -> Vec<usize> {
        let mut applied = Vec::new();
        for write in writes {
            with(node, |group, step| {
                group.on_written(step.settings, write.written(Place { segment: 1, position: 32 }));
                applied.push(std::iter::from_fn(|| group.begin_body(step.settings)).map(Iterator::count).sum());
            });
        }
        applied
    }

    #[test]
    fn each_start_begins_a_term_with_a_promise_and_a_body_without_entries() {
        let mut node = node();
        assert!(node.has_open(), "it asks for the end of the turn");
        assert_eq!(seal(&mut node), begin(1, 2), "a new log is of term 1");
        let slot = SLOT;
        let state = MemberState { term: 7, vote: 1, commit: 9, ..MemberState::default() };
        let end = Place { segment: 3, position: 99 };
        node.continue_log((slot, 1), (LogPosition { index: 9, term: 6, end }, state), Vec::new());
        let writes = seal(&mut node);
        assert_eq!(writes, begin(10, 8));
        assert!(!node.has_open());
        assert_eq!(written(&mut node, &writes), [0, 0]);
        assert_eq!(
            node.image(slot).applied,
            LogPosition { index: 10, term: 8, end: Place { segment: 1, position: 32 } }
        );
    }

    #[test]
    fn a_body_is_applied_when_it_is_written() {
        let mut node = node();
        let mut writes = seal(&mut node);
        for index in [2, 3] {
            with(&mut node, propose);
            let more = seal(&mut node);
            let Write::Body(body) = &more[0] else { panic!("{more:?}") };
            assert_eq!((more.len(), body.index, body.term, body.bytes.is_empty()), (1, index, 2, false));
            writes.extend(more);
        }
        assert_eq!(written(&mut node, &writes), [0, 0, 1, 1]);
    }

    #[test]
    fn what_finds_no_room_is_written_later_in_its_order() {
        let mut node = node();
        with(&mut node, propose);
        let state = begin(1, 2)[0].in_journal() as u64;
        for (bytes, expected) in [(state - 1, 0), (state, 1), (1 << 20, 2)] {
            with(&mut node, |_, step| step.budget.room = Room { bytes, is_full: true, log_kept: 0 });
            let writes = seal(&mut node);
            assert_eq!(writes.len(), expected, "{bytes}: {writes:?}");
            assert_eq!(node.room().bytes, bytes - writes.iter().map(|write| write.in_journal() as u64).sum::<u64>());
        }
    }

    #[test]
    #[should_panic(expected = "writes are reported in their order")]
    fn writes_are_reported_in_their_order() {
        let mut node = node();
        let mut writes = seal(&mut node);
        writes.reverse();
        written(&mut node, &writes);
    }
}
