//! Leading a group: what only its leader has, from the beginning of its leading to the end.

use bytes::BytesMut;

use super::super::leaders::Copies;
use super::super::{Settings, Step};
use super::Group;
use super::compare::Compared;
use super::feeds::Feeds;
use super::read::{Finished, Reads};
use super::times::Times;
use crate::limits::PAYLOADS_BYTES;
use crate::replica::Lease;

/// What only the leader of a group has. It is made when leading begins and dropped when it ends, so that nothing of one
/// leader reaches the next.
#[derive(Debug)]
pub(super) struct Lead {
    /// How many times this node has begun to lead the group. Queries of the journal carry it, because their answers may
    /// come after the end.
    pub(super) number: u64,
    /// The term in which this node leads.
    pub(super) term: u64,
    /// Until when this node certainly leads.
    pub(super) lease: Lease,
    pub(super) feeds: Feeds,
    pub(super) times: Times,
    pub(super) reads: Reads,
    /// Buffer into which small payloads are copied on their way from a frame into the log.
    pub(super) payloads: BytesMut,
    /// The place in the catalogue where the next scan for expired records starts.
    pub(super) age_place: usize,
    /// The last comparison of the copies that this node has proposed as the leader.
    pub(super) compared: Compared,
    /// True once all other nodes were told who leads.
    pub(super) has_announced: bool,
}

impl Group {
    /// Returns true while this node leads the group.
    pub(in crate::node) const fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// Begins to lead the group.
    pub(in crate::node) fn begin_leading(&mut self, settings: &Settings, term: u64) {
        assert!(self.lead.is_none(), "this node leads the group already");
        self.leads += 1;
        let lease = match settings.copies {
            Copies::One => Lease::unlimited(),
            Copies::Three => Lease::default(),
        };
        self.lead = Some(Box::new(Lead {
            number: self.leads,
            term,
            lease,
            feeds: Feeds::new(settings.dimension.nodes()),
            times: Times::new(&self.catalogue),
            reads: Reads::default(),
            payloads: BytesMut::with_capacity(PAYLOADS_BYTES),
            age_place: 0,
            compared: Compared::default(),
            has_announced: false,
        }));
    }

    /// Returns true if this node certainly leads the group, so that a request may be answered now from what is applied.
    /// It came at `since_us`, in monotonic microseconds.
    pub(in crate::node) fn is_confirmed(&mut self, step: &Step<'_>, since_us: u64) -> bool {
        let now_us = step.now.monotonic_us;
        self.lead.as_mut().is_some_and(|lead| {
            lead.lease.note_read(now_us);
            lead.lease.covers(since_us, now_us)
        })
    }

    /// Ends leading the group. Returns the answers to those who wait for the journal, and to those whose proposals are
    /// not in the log: what they have asked for was not done. What is in the log stays: whether it is applied is still
    /// to come.
    pub(in crate::node) fn end_leading(&mut self, step: &Step<'_>) -> Vec<Finished> {
        let Some(lead) = self.lead.take() else { return Vec::new() };
        let error = step.not_leader(self.slot);
        let mut ended = lead.reads.end(&error);
        let withdrawn = self.proposals.withdraw();
        ended.extend(withdrawn.into_iter().map(|reply| Finished::Request(reply, Err(error.clone()))));
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Unreadable};
    use crate::node::Action;
    use crate::node::tests::{SLOT, settings};
    use crate::node::{Lookup, Node};
    use crate::types::{Epoch, NodeId, Now, Offset, Retention, TopicId};
    use crate::wire::Origin;
    use crate::wire::response::Durability;

    /// Calls `act` with the group of a node, and returns what it returns with the actions.
    fn with<R>(node: &mut Node, act: impl FnOnce(&mut Group, &mut Step<'_>) -> R) -> (R, Vec<Action>) {
        let mut out = Vec::new();
        let (parts, mut step) = node.split(Now { monotonic_us: 0, wall_us: 0 }, &mut out);
        let group = parts.groups.existing_mut(SLOT);
        let result = act(group, &mut step);
        group.check();
        (result, out)
    }

    /// Returns a node with a journal that leads its group, which has a topic.
    fn node() -> (Node, TopicId) {
        let settings = Settings { durability: Durability::Synced, ..settings(0, 1) };
        let mut node = Node::new(settings, Now { monotonic_us: 0, wall_us: 0 });
        let retention = Retention::default();
        let entry = Entry::Create { name: "a".into(), seed: 1, epoch: Epoch(1), retention, created_us: 0 };
        node.replay(SLOT, vec![entry]);
        let id = node.topics()[0].id;
        (node, id)
    }

    /// Asks the journal for records of the topic.
    fn pull(node: &mut Node, id: TopicId, origin: u64) -> Lookup {
        let origin = Origin::from_number(origin);
        let ((), mut actions) = with(node, |group, step| group.pull(step, id, Offset(0), 100, origin));
        let Some(Action::Read { lookup }) = actions.pop() else { panic!("{actions:?}") };
        lookup
    }

    #[test]
    fn nothing_of_one_leading_reaches_the_next() {
        let (mut node, id) = node();
        let late = pull(&mut node, id, 7);
        let other = NodeId::new(1, node.settings.dimension).unwrap();
        with(&mut node, |group, step| group.subscribed(step, id, Offset(0), other)).0.unwrap();
        let (ended, _) = with(&mut node, |group, step| {
            assert!(group.leads() && group.has_feeds() && !group.is_settled());
            group.end_leading(step)
        });
        assert!(
            matches!(&ended[..], [Finished::Pull(origin, Err(_))] if *origin == Origin::from_number(7)),
            "{ended:?}"
        );
        with(&mut node, |group, step| {
            assert!(!group.leads() && !group.has_feeds() && group.is_settled());
            assert!(group.subscribed(step, id, Offset(0), other).is_err());
            assert!(group.heads(step).is_empty() && group.announce(step).is_empty());
            group.begin_leading(step.settings, 2);
            assert!(!group.has_feeds() && group.is_settled());
        });
        // The next read has the same token as the one whose answer comes now.
        let next = pull(&mut node, id, 8);
        let mut answer = |lookup| with(&mut node, |group, step| group.on_read(step, lookup, Err(Unreadable::NotNow))).0;
        assert!(answer(late).is_none());
        assert!(matches!(answer(next), Some(Finished::Pull(origin, _)) if origin == Origin::from_number(8)));
    }
}
