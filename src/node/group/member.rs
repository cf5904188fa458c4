//! This node's member of the group: what its replica wants done, and what of it is on the way to the disk.
//!
//! ```text
//!  seal ──► Replica: Propose ──► Write ──► at the end of the turn: Action::Write
//!  Event::Written ──► Replica: Written ──► Commit ──► apply
//! ```
//!
//! Today a group has a single member, which leads it from the start and needs no messages.

use std::collections::VecDeque;

use super::super::action::Action;
use super::super::{Settings, Step};
use super::Group;
use crate::entry::{Body, LogPosition, MemberState, Write, Written};
use crate::replica::{Config, Hard, Input, MemberId, Output, Replica, Restored, Role, Ticket};
use crate::types::NodeId;

/// This node's member of a group.
#[derive(Debug)]
pub(super) struct Member {
    replica: Replica,
    /// What the replica wants done. Empty between calls; kept because its memory is used again.
    outputs: Vec<Output>,
    /// What is to be written at the end of this turn.
    writes: VecDeque<Write>,
    /// What the store has not reported as written yet, oldest first. The last part of each write of the replica has its
    /// ticket.
    unreported: VecDeque<(Unreported, Option<Ticket>)>,
    /// The position of the last body that is committed.
    committed: u64,
}

/// Something that the store has not reported as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreported {
    Body { index: u64, term: u32 },
    State,
}

impl Member {
    /// Returns the member of a new group.
    pub(super) fn new(settings: &Settings) -> Self {
        Self::continuing(settings, LogPosition::default(), MemberState::default())
    }

    /// Returns a member whose log has been applied up to `applied`, where it ends.
    fn continuing(settings: &Settings, applied: LogPosition, state: MemberState) -> Self {
        let id = member_of(settings.id);
        let restored = Restored {
            hard: Hard { term: state.term.into(), vote: MemberId::new(state.vote) },
            commit: applied.index,
            applied: applied.index,
            base: (applied.index, applied.term.into()),
            entries: Vec::new(),
        };
        let mut outputs = Vec::new();
        let config = Config { id, members: vec![id] };
        let replica = Replica::new(&config, restored, &mut outputs).expect("a start has found the whole log");
        let (writes, unreported) = (VecDeque::new(), VecDeque::new());
        Self { replica, outputs, writes, unreported, committed: applied.index }
    }

    /// Returns true if the log takes another body now.
    pub(super) fn accepts(&self) -> bool {
        self.replica.accepts()
    }

    /// Returns true if something is to be written at the end of this turn.
    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Returns the position of the last body that is committed.
    pub(super) const fn committed(&self) -> u64 {
        self.committed
    }

    fn add_write(&mut self, write: Write) {
        self.unreported.push_back((
            match &write {
                Write::Body(Body { index, term, .. }) => Unreported::Body { index: *index, term: *term },
                Write::State { .. } => Unreported::State,
            },
            None,
        ));
        self.writes.push_back(write);
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        self.replica.check();
        assert!(self.outputs.is_empty() && self.writes.len() <= self.unreported.len());
    }
}

impl Group {
    /// Ends a restore: so much of the log has been applied, and this is the state of the member.
    pub(in crate::node) fn continue_log(&mut self, settings: &Settings, applied: LogPosition, state: MemberState) {
        assert_eq!(self.proposals.len(), 0, "nothing is proposed before the start");
        self.applied = applied;
        self.member = Member::continuing(settings, applied, state);
        self.proposals.begin();
        self.carry_out(settings);
    }

    /// Makes the oldest `count` proposals the next body of the log. The log must accept one ([`Member::accepts`]).
    pub(super) fn propose_body(&mut self, settings: &Settings, count: usize, is_encoded: bool) {
        let (body, sealed) = self.proposals.seal(count, is_encoded);
        self.member.replica.handle(Input::Propose { body }, &mut self.member.outputs);
        let Some(Output::Proposed { index, term }) = self.member.outputs.first() else {
            unreachable!("{:?}: it accepts bodies", self.member.outputs)
        };
        self.proposals.add(*index, term_of(*term), sealed);
        self.carry_out(settings);
    }

    /// Handles the report that the oldest write is done.
    pub(in crate::node) fn on_written(&mut self, settings: &Settings, written: Written) {
        let (expected, ticket) = self.member.unreported.pop_front().expect("only what was to be written is reported");
        let reported = match written {
            Written::Body { index, term, place, .. } => {
                self.proposals.locate(index, term, place);
                Unreported::Body { index, term }
            }
            Written::State { .. } => Unreported::State,
        };
        assert_eq!(reported, expected, "writes are reported in their order");
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

    /// Does what the replica wants done.
    pub(super) fn carry_out(&mut self, settings: &Settings) {
        let mut outputs = std::mem::take(&mut self.member.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Proposed { .. } => {}
                Output::Write { ticket, hard, commit, entries } => {
                    let slot = self.slot;
                    if let Some(hard) = hard {
                        let state = state_of(hard, commit);
                        self.member.add_write(Write::State { slot, state });
                    }
                    for entry in entries {
                        let term = term_of(entry.term);
                        self.proposals.ensure(entry.index, term);
                        let (index, bytes) = (entry.index, entry.body);
                        self.member.add_write(Write::Body(Body { slot, index, term, bytes }));
                    }
                    self.member.unreported.back_mut().expect("it writes something").1 = Some(ticket);
                }
                Output::Commit { entries } => {
                    self.member.committed = entries.last().map_or(self.member.committed, |last| last.index);
                }
                // Nothing of earlier terms is left to apply: a member that is alone has applied its whole log before it
                // starts.
                Output::Role(Role::Leader { .. }) if !self.leads() => self.begin_leading(settings),
                Output::Role(_) => {}
                Output::Refused { .. } | Output::Send(_) | Output::Fetch { .. } | Output::Bad(_) => {
                    unreachable!("{output:?} in a group of one member")
                }
            }
        }
        self.member.outputs = outputs;
    }
}

/// Returns the member that a node is of all its groups.
fn member_of(node: NodeId) -> MemberId {
    MemberId::new(u64::from(node.index()) + 1).expect("not zero")
}

fn state_of(hard: Hard, commit: u64) -> MemberState {
    MemberState { term: term_of(hard.term), vote: hard.vote.map_or(0, MemberId::as_u64), commit }
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
        let state = MemberState { term, vote: 1, commit: index - 1 };
        let body = Body { slot, index, term, bytes: bytes::Bytes::new() };
        [Write::State { slot, state }, Write::Body(body)]
    }

    /// Reports all of this as written. Returns the number of entries that are to be applied after each.
    fn written(node: &mut Node, writes: &[Write]) -> Vec<usize> {
        let mut applied = Vec::new();
        for write in writes {
            with(node, |group, step| {
                group.on_written(step.settings, write.written(Place { segment: 1, position: 32 }));
                applied.push(std::iter::from_fn(|| group.begin_body()).map(Iterator::count).sum());
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
        let (end, state) = (Place { segment: 3, position: 99 }, MemberState { term: 7, vote: 1, commit: 9 });
        node.continue_log(slot, LogPosition { index: 9, term: 6, end }, state);
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
            with(&mut node, |_, step| step.budget.room = Room { bytes, is_full: true });
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
