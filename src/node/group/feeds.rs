//! Feeds: the nodes to which a leader pushes a topic's new records; the tables only.
//!
//! There is one feed for each topic and ingress, regardless of the number of subscriptions.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::super::work::Work;
use crate::types::{NodeId, NodeSet, Offset, TopicId};

/// All feeds of a leader.
#[derive(Debug)]
pub(super) struct Feeds {
    topics: HashMap<TopicId, Feed, RandomState>,
    /// The ingresses, by node id.
    pub(super) ingresses: Vec<Ingress>,
    /// Topics pushed since the last HEADS.
    pushed: Vec<TopicId>,
    /// Topics deleted since the last HEADS, and the nodes that read them.
    gone: Vec<(TopicId, NodeSet)>,
}

/// The readers of one topic on other nodes.
#[derive(Debug, Default)]
struct Feed {
    members: Vec<Member>,
    /// The nodes among them that want pushes.
    targets: NodeSet,
    /// True if the topic is listed in `pushed`.
    is_pushed: bool,
}

/// The readers of one topic on one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub node: NodeId,
    /// Version of the FEED that reported this; reports of older FEEDs are ignored.
    pub version: u64,
    pub subscribers: u32,
    pub slowest: Option<Offset>,
}

/// The state of a node that records are pushed to.
#[derive(Clone, Debug, Default)]
pub(super) struct Ingress {
    /// The topics that it reads.
    pub topics: BTreeSet<TopicId>,
    /// Exclusive or of the ids of the topics that are pushed to it.
    pub digest: u64,
    /// Counter of the last HEADS sent to it.
    pub counter: u64,
    /// Number of HEADS that it has not answered.
    pub unanswered: u64,
    /// Instance of the node in its last FEED; `None` while it has only sent SUBSCRIBE.
    pub instance: Option<u64>,
    /// Version of the newest FEED of that instance.
    pub version: u64,
}

/// A summary of all readers of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Audience {
    /// Number of readers.
    pub subscribers: u32,
    /// Number of nodes with readers.
    pub feeds: u16,
    /// Offset of the slowest reader; `None` when all are at the end.
    pub slowest: Option<Offset>,
}

impl Audience {
    fn add(&mut self, subscribers: u32, slowest: Option<Offset>) {
        // Another node says how many there are.
        self.subscribers = self.subscribers.saturating_add(subscribers);
        self.feeds = self.feeds.saturating_add(1);
        if let Some(offset) = slowest {
            self.slowest = Some(self.slowest.map_or(offset, |slowest| slowest.min(offset)));
        }
    }
}

impl Feeds {
    /// Creates the feeds of a leader in a cube of `nodes` nodes.
    pub(super) fn new(nodes: u16) -> Self {
        Self {
            topics: HashMap::default(),
            ingresses: vec![Ingress::default(); usize::from(nodes)],
            pushed: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Returns the number of pairs of a topic and a node that reads it.
    pub(super) fn len(&self) -> usize {
        self.ingresses.iter().map(|ingress| ingress.topics.len()).sum()
    }

    /// Returns true when no other node reads any topic.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Returns a summary of a topic's readers on other nodes.
    pub(super) fn audience(&self, topic: TopicId) -> Audience {
        let mut audience = Audience::default();
        for member in self.topics.get(&topic).map_or(&[][..], |feed| &feed.members) {
            audience.add(member.subscribers, member.slowest);
        }
        audience
    }

    /// Returns true when another node reads the topic.
    pub(super) fn has(&self, topic: TopicId) -> bool {
        !self.topics.is_empty() && self.topics.contains_key(&topic)
    }

    /// Returns the topics pushed since the last call that still have feeds, with the nodes that they are pushed to.
    pub(super) fn take_pushed(&mut self) -> Vec<(TopicId, NodeSet)> {
        let pushed = std::mem::take(&mut self.pushed);
        let target = |id: TopicId| {
            let feed = self.topics.get_mut(&id)?;
            feed.is_pushed = false;
            Some((id, feed.targets.clone()))
        };
        pushed.into_iter().filter_map(target).collect()
    }

    /// Returns the topics deleted since the last call, with the nodes that read them.
    pub(super) fn take_gone(&mut self) -> Vec<(TopicId, NodeSet)> {
        std::mem::take(&mut self.gone)
    }

    /// Returns what a node last reported about a topic.
    pub(super) fn member(&self, topic: TopicId, node: NodeId) -> Option<Member> {
        self.topics.get(&topic)?.members.iter().find(|member| member.node == node).copied()
    }

    /// Returns the nodes to push a topic to, and lists the topic for the next HEADS.
    pub(super) fn targets(&mut self, topic: TopicId) -> Option<&NodeSet> {
        let feed = self.topics.get_mut(&topic).filter(|feed| !feed.targets.is_empty())?;
        if !feed.is_pushed {
            feed.is_pushed = true;
            self.pushed.push(topic);
        }
        Some(&feed.targets)
    }

    /// Records a node's report about a topic. No subscribers end the feed.
    pub(super) fn set(&mut self, work: &mut Work, topic: TopicId, push: bool, member: Member) {
        let Member { node, subscribers, .. } = member;
        let ingress = &mut self.ingresses[usize::from(node.index())];
        let feed = self.topics.entry(topic).or_default();
        work.add_entries(1);
        let place = feed.members.iter().position(|member| member.node == node);
        match place {
            Some(place) if subscribers > 0 => feed.members[place] = member,
            Some(place) => {
                feed.members.swap_remove(place);
                ingress.topics.remove(&topic);
            }
            None if subscribers > 0 => {
                feed.members.push(member);
                if ingress.topics.is_empty() {
                    ingress.unanswered = 0;
                }
                ingress.topics.insert(topic);
            }
            None => {}
        }
        let (before, after) = (feed.targets.contains(node), push && subscribers > 0);
        if before != after {
            ingress.digest ^= topic.number();
            if after {
                feed.targets.insert(node);
            } else {
                feed.targets.remove(node);
            }
        }
        if feed.members.is_empty() {
            self.topics.remove(&topic);
        }
    }

    /// Removes a deleted topic, and returns the nodes that read it.
    pub(super) fn remove(&mut self, topic: TopicId) -> Option<NodeSet> {
        let feed = self.topics.remove(&topic)?;
        let mut nodes = NodeSet::new();
        for member in &feed.members {
            nodes.insert(member.node);
            let ingress = &mut self.ingresses[usize::from(member.node.index())];
            ingress.topics.remove(&topic);
            if feed.targets.contains(member.node) {
                ingress.digest ^= topic.number();
            }
        }
        self.gone.push((topic, nodes.clone()));
        Some(nodes)
    }

    /// Removes all feeds of a node.
    pub(super) fn forget(&mut self, work: &mut Work, node: NodeId) {
        let topics = self.ingresses[usize::from(node.index())].topics.clone();
        work.add_entries(topics.len());
        for topic in topics {
            self.set(work, topic, false, Member { node, version: 0, subscribers: 0, slowest: None });
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let mut counted = vec![(0, 0); self.ingresses.len()];
        #[expect(clippy::iter_over_hash_type, reason = "the order does not matter to a check")]
        for (topic, feed) in &self.topics {
            assert!(!feed.members.is_empty(), "a feed without readers is none");
            for member in &feed.members {
                assert!(member.subscribers > 0);
                let ingress = &mut counted[usize::from(member.node.index())];
                ingress.0 += 1;
                if feed.targets.contains(member.node) {
                    ingress.1 ^= topic.number();
                }
            }
            assert!(feed.targets.iter().all(|node| feed.members.iter().any(|member| member.node == node)));
        }
        for (ingress, expected) in self.ingresses.iter().zip(counted) {
            assert_eq!((ingress.topics.len(), ingress.digest), expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Dimension;

    fn node(id: u16) -> NodeId {
        NodeId::new(id, Dimension::new(3).unwrap()).unwrap()
    }

    fn topic(id: u64) -> TopicId {
        TopicId::new(id).unwrap()
    }

    pub(super) fn member(id: u16, subscribers: u32, slowest: Option<Offset>) -> Member {
        Member { node: node(id), version: 0, subscribers, slowest }
    }

    #[test]
    fn a_feed_said_twice_is_one_feed_and_the_last_word_counts() {
        let mut feeds = Feeds::new(8);
        for (push, subscribers) in [(true, 3), (true, 3), (false, 2), (true, 2)] {
            feeds.set(&mut Work::default(), topic(1), push, member(5, subscribers, Some(Offset(7))));
            feeds.check();
            assert_eq!((feeds.len(), feeds.targets(topic(1)).is_some()), (1, push));
            assert_eq!(feeds.ingresses[5].digest, u64::from(push));
        }
        let audience = feeds.audience(topic(1));
        assert_eq!((audience.subscribers, audience.feeds, audience.slowest), (2, 1, Some(Offset(7))));
        feeds.set(&mut Work::default(), topic(1), true, member(5, 0, None));
        feeds.check();
        assert!(feeds.is_empty());
    }

    #[test]
    fn a_node_that_is_forgotten_takes_nobody_with_it() {
        let mut feeds = Feeds::new(8);
        for id in 1..=4 {
            feeds.set(&mut Work::default(), topic(id), true, member(5, 1, None));
            feeds.set(&mut Work::default(), topic(id), id % 2 == 0, member(6, 1, None));
        }
        feeds.forget(&mut Work::default(), node(5));
        feeds.check();
        assert_eq!((feeds.len(), feeds.ingresses[6].digest, feeds.ingresses[5].digest), (4, 2 ^ 4, 0));
        assert!(feeds.targets(topic(1)).is_none() && feeds.targets(topic(2)).is_some_and(|it| it.contains(node(6))));
    }

    #[test]
    fn a_topic_that_goes_is_remembered_for_those_who_missed_its_end() {
        let mut feeds = Feeds::new(8);
        feeds.set(&mut Work::default(), topic(1), true, member(3, 1, None));
        feeds.set(&mut Work::default(), topic(1), false, member(4, 1, None));
        let ingresses = feeds.remove(topic(1)).unwrap();
        assert_eq!(ingresses.iter().collect::<Vec<_>>(), [node(3), node(4)]);
        assert!(feeds.remove(topic(1)).is_none() && feeds.gone.len() == 1);
        feeds.check();
    }
}
