//! Feeds: the nodes to which a home pushes a topic's new records.
//!
//! There is one feed for each topic and ingress, regardless of the number of subscriptions. A push is one multicast, so
//! each link carries it once. The home waits for no receiver: the other side detects a lost push from the next push or
//! from HEADS.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::deliver::News;
use super::fetch::{At, check_epoch, read, start_of};
use super::follow::{malformed, sound_payload};
use super::forward::ReplyTo;
use super::pull::request_frame;
use super::serve::Answer;
use super::topics::unknown_topic;
use super::work::Work;
use super::{Parts, Step};
use crate::limits::{ANNOUNCE_US, HEADS_ITEMS_MAX, HEADS_MISSING_MAX, PAYLOAD_MAX};
use crate::topic::Topic;
use crate::types::{Epoch, NodeId, NodeSet, Offset, RequestId, TopicId};
use crate::wire::feed::{Fed, FedList, FeedItem, Head, Heads};
use crate::wire::field::Writer;
use crate::wire::push::Span;
use crate::wire::request::Subscribe;
use crate::wire::response::{ErrorResponse, Subscribed};
use crate::wire::{Flags, Frame, Kind, Origin, Push, Request, Response, Route, Status, TrafficClass};

/// All feeds of a home.
#[derive(Debug)]
pub(super) struct Feeds {
    topics: HashMap<TopicId, Feed, RandomState>,
    /// The ingresses, by node id.
    ingresses: Vec<Ingress>,
    /// Topics pushed since the last HEADS.
    pushed: Vec<TopicId>,
    /// Topics deleted since the last HEADS, and the nodes that read them.
    gone: Vec<(TopicId, NodeSet)>,
    /// Work since it was last taken.
    pub(super) work: Work,
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
struct Member {
    node: NodeId,
    /// Version of the FEED that reported this; reports of older FEEDs are ignored.
    version: u64,
    subscribers: u32,
    slowest: Option<Offset>,
}

/// The state of a node that records are pushed to.
#[derive(Clone, Debug, Default)]
struct Ingress {
    /// The topics that it reads.
    topics: BTreeSet<TopicId>,
    /// Exclusive or of the ids of the topics that are pushed to it.
    digest: u64,
    /// Counter of the last HEADS sent to it.
    counter: u64,
    /// Number of HEADS that it has not answered.
    unanswered: u64,
    /// Instance of the node in its last FEED; `None` while it has only sent SUBSCRIBE.
    instance: Option<u64>,
    /// Version of the newest FEED of that instance.
    version: u64,
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
    pub(super) fn add(&mut self, subscribers: u32, slowest: Option<Offset>) {
        // Another node says how many there are.
        self.subscribers = self.subscribers.saturating_add(subscribers);
        self.feeds = self.feeds.saturating_add(1);
        if let Some(offset) = slowest {
            self.slowest = Some(self.slowest.map_or(offset, |slowest| slowest.min(offset)));
        }
    }
}

impl Feeds {
    /// Creates the feeds of a home in a cube of `nodes` nodes.
    pub(super) fn new(nodes: u16) -> Self {
        Self {
            topics: HashMap::default(),
            ingresses: vec![Ingress::default(); usize::from(nodes)],
            pushed: Vec::new(),
            gone: Vec::new(),
            work: Work::default(),
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

    /// Adds the readers on other nodes to a topic's audience.
    pub(super) fn add_audience(&self, topic: TopicId, audience: &mut Audience) {
        for member in self.topics.get(&topic).map_or(&[][..], |feed| &feed.members) {
            audience.add(member.subscribers, member.slowest);
        }
    }

    /// Returns what a node last reported about a topic.
    fn member(&self, topic: TopicId, node: NodeId) -> Option<Member> {
        self.topics.get(&topic)?.members.iter().find(|member| member.node == node).copied()
    }

    /// Returns the nodes to push a topic to, and lists the topic for the next HEADS.
    fn targets(&mut self, topic: TopicId) -> Option<&NodeSet> {
        let feed = self.topics.get_mut(&topic).filter(|feed| !feed.targets.is_empty())?;
        if !feed.is_pushed {
            feed.is_pushed = true;
            self.pushed.push(topic);
        }
        Some(&feed.targets)
    }

    /// Records a node's report about a topic. No subscribers end the feed.
    fn set(&mut self, topic: TopicId, push: bool, member: Member) {
        let Member { node, subscribers, .. } = member;
        let ingress = &mut self.ingresses[usize::from(node.index())];
        let feed = self.topics.entry(topic).or_default();
        self.work.add_entries(1);
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
    fn remove(&mut self, topic: TopicId) -> Option<NodeSet> {
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
    fn forget(&mut self, node: NodeId) {
        let topics = self.ingresses[usize::from(node.index())].topics.clone();
        self.work.add_entries(topics.len());
        for topic in topics {
            self.set(topic, false, Member { node, version: 0, subscribers: 0, slowest: None });
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

impl Parts {
    /// Handles SUBSCRIBE at the home: determines the first offset and creates a feed for the ingress.
    pub(super) fn subscribe(
        &mut self,
        step: &mut Step<'_>,
        subscribe: &Subscribe<'_>,
        frame: &Frame<'_>,
        reply: ReplyTo,
        source: NodeId,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.find(step, &subscribe.topic)?;
        check_epoch(topic, subscribe.epoch)?;
        let from = match start_of(topic, subscribe.start, self.catalogue.eras())? {
            At::Offset(from) => from,
            At::Sought(wanted) => {
                let id = topic.id;
                return self.start_later(step, id, wanted, (frame.keep(), reply, source));
            }
        };
        let subscribed = Subscribed {
            topic_id: topic.id,
            epoch: topic.epoch,
            from,
            first: topic.log.first(),
            next: topic.log.next(),
        };
        if source != step.settings.id {
            // The next FEED reports the number of subscribers.
            let new = Member { node: source, version: 0, subscribers: 1, slowest: None };
            let member = self.feeds.member(subscribed.topic_id, source).unwrap_or(new);
            self.feeds.set(subscribed.topic_id, true, member);
        }
        Ok(Answer::Now(Response::Subscribed(subscribed)))
    }

    /// Handles FEED, in which a node reports its readers.
    pub(super) fn on_feed(
        &mut self,
        step: &mut Step<'_>,
        (instance, reset, count): (u64, bool, u16),
        frame: &Frame<'_>,
        route: &Route,
    ) -> Result<Answer, ErrorResponse> {
        let source = route.source;
        let payload = sound_payload(frame)?;
        let items = FeedItem::decode_all(&payload, count).map_err(malformed)?;
        if source == step.settings.id {
            return Err(ErrorResponse::new(Status::BadRequest, "a node feeds itself"));
        }
        let version = frame.header.request_id.0;
        let ingress = &mut self.feeds.ingresses[usize::from(source.index())];
        let is_new_start = ingress.instance.is_some_and(|known| known != instance);
        let is_newest = is_new_start || ingress.version < version;
        if is_newest {
            (ingress.instance, ingress.version) = (Some(instance), version);
        }
        ingress.unanswered = 0;
        if is_new_start || reset && is_newest {
            self.feeds.forget(source);
        }
        // The topic of each is looked up, by its id or by its name.
        step.work.add_entries(2 * items.len());
        let items = items.iter().map(|item| self.feed_one(item, source, version)).collect();
        let counter = self.feeds.ingresses[usize::from(source.index())].counter;
        let fed = FedList { instance: step.settings.instance, counter, items };
        Ok(Answer::Now(Response::Fed(fed)))
    }

    fn feed_one(&mut self, item: &FeedItem<'_>, source: NodeId, version: u64) -> Fed {
        let answer = |status: Status, topic: Option<&Topic>| Fed {
            topic: item.topic,
            status: status.number(),
            epoch: topic.map_or(Epoch(0), |topic| topic.epoch),
            next: topic.map_or(Offset(0), |topic| topic.log.next()),
            successor: None,
        };
        let member = Member { node: source, version, subscribers: item.subscribers, slowest: item.slowest };
        // A newer FEED has overtaken this one.
        let is_late = self.feeds.member(item.topic, source).is_some_and(|known| known.version > version);
        if item.subscribers == 0 {
            if !is_late {
                self.feeds.set(item.topic, false, member);
            }
            return answer(Status::Ok, None);
        }
        match self.catalogue.get(item.topic) {
            Some(topic) if topic.epoch == item.epoch => {
                let fed = answer(Status::Ok, Some(topic));
                if !is_late {
                    self.feeds.set(item.topic, item.push, member);
                }
                fed
            }
            Some(topic) => Fed { next: topic.lost_from(item.epoch), ..answer(Status::Truncated, Some(topic)) },
            None => {
                let successor = item.name.and_then(|name| self.catalogue.find(name)).map(|topic| topic.id);
                let status = if successor.is_some() { Status::Recreated } else { Status::UnknownTopic };
                Fed { successor, ..answer(status, None) }
            }
        }
    }

    /// Pushes the newly committed records of a topic, from offset `from`, to its readers.
    pub(super) fn publish_news(&mut self, step: &mut Step<'_>, id: TopicId, mut from: Offset) {
        let place = self.subscriptions.topic_of(id);
        if place.is_none() && (self.feeds.is_empty() || !self.feeds.topics.contains_key(&id)) {
            return;
        }
        while let Some(topic) = self.catalogue.get(id)
            && from < topic.log.next()
        {
            let fetched = read(&mut step.work, topic, from, PAYLOAD_MAX, 0).expect("what is new is in memory");
            let span = Span { topic: id, epoch: topic.epoch, base: fetched.base, end: fetched.end() };
            from = span.end;
            if fetched.count == 0 {
                return;
            }
            let mut fetched = fetched;
            fetched.from = fetched.base;
            let frame = push_frame(&Push::Deliver(Box::new(fetched)), id);
            if let Some(targets) = self.feeds.targets(id).cloned() {
                let route = self.multicast_route(step, targets, TrafficClass::Bulk);
                self.fan_out(step, &route, News::Made(&frame));
            }
            if let Some(place) = self.subscriptions.topic_of(id) {
                self.deliver(step, place, span, News::Made(&frame));
            }
        }
    }

    /// Reports the deletion of a topic to its readers.
    pub(super) fn publish_end(&mut self, step: &mut Step<'_>, id: TopicId) {
        let error = unknown_topic(step.settings.id, "the topic was deleted");
        if let Some(targets) = self.feeds.remove(id) {
            let frame = push_frame(&Push::Ended(Box::new(error.clone())), id);
            let route = self.multicast_route(step, targets, TrafficClass::Control);
            self.fan_out(step, &route, News::Made(&frame));
        }
        if let Some(place) = self.subscriptions.topic_of(id) {
            self.end_topic(step, place, &error);
        }
    }

    /// Sends HEADS, once a second, to each node that reads topics of this node. The feeds of a node that does not
    /// answer are dropped; it resends its FEED when it is back.
    pub(super) fn send_heads(&mut self, step: &mut Step<'_>) {
        let pushed = std::mem::take(&mut self.feeds.pushed);
        let gone = std::mem::take(&mut self.feeds.gone);
        let mut items: Vec<Vec<Head>> = vec![Vec::new(); self.feeds.ingresses.len()];
        for id in pushed {
            let Some(feed) = self.feeds.topics.get_mut(&id) else { continue };
            feed.is_pushed = false;
            if let Some(topic) = self.catalogue.get(id) {
                let head = Head { topic: id, epoch: topic.epoch, next: topic.log.next() };
                feed.targets.iter().for_each(|node| items[usize::from(node.index())].push(head));
            }
        }
        for (topic, nodes) in gone {
            let head = Head { topic, epoch: Epoch(0), next: Offset(0) };
            nodes.iter().for_each(|node| items[usize::from(node.index())].push(head));
        }
        for (index, items) in items.into_iter().enumerate() {
            if self.feeds.ingresses[index].topics.is_empty() && items.is_empty() {
                continue;
            }
            let node = NodeId::new(u16::try_from(index).expect("a node"), step.settings.dimension).expect("a node");
            if self.feeds.ingresses[index].unanswered > HEADS_MISSING_MAX {
                step.stats.feeds_dropped += 1;
                self.feeds.forget(node);
                continue;
            }
            self.feeds.ingresses[index].unanswered += 1;
            let mut rest = items.chunks(HEADS_ITEMS_MAX);
            let mut part = rest.next().unwrap_or_default();
            loop {
                self.send_heads_to(step, node, part);
                match rest.next() {
                    Some(next) => part = next,
                    None => break,
                }
            }
        }
    }

    /// Tells all other nodes once that this one has started, when its links are up. A node that follows topics of the
    /// earlier start then sends FEED at once, and does not wait until this one has been silent for some time.
    pub(super) fn announce_start(&mut self, step: &mut Step<'_>) {
        let (up, bits) = (self.routing.up(), usize::from(step.settings.dimension.bits()));
        let is_late = self.clock.uptime_ms(step.now) * 1000 >= ANNOUNCE_US;
        if self.has_announced || up == 0 || up < bits && !is_late {
            return;
        }
        self.has_announced = true;
        let here = step.settings.id;
        for node in step.settings.dimension.all().filter(|node| *node != here) {
            self.send_heads_to(step, node, &[]);
        }
    }

    fn send_heads_to(&mut self, step: &mut Step<'_>, node: NodeId, items: &[Head]) {
        let ingress = &mut self.feeds.ingresses[usize::from(node.index())];
        ingress.counter += 1;
        let heads = Heads {
            instance: step.settings.instance,
            counter: ingress.counter,
            feeds: u32::try_from(ingress.topics.len()).unwrap_or(u32::MAX),
            digest: ingress.digest,
            count: u16::try_from(items.len()).expect("HEADS_ITEMS_MAX"),
        };
        let mut payload = Vec::new();
        items.iter().for_each(|item| item.encode(&mut Writer::new(&mut payload)));
        let frame = request_frame(&Request::Heads(heads), &payload, RequestId(0), Flags::default());
        // The receiver detects a lost HEADS by its counter.
        let _ = self.send_request(step, node, TrafficClass::Control, Origin::from_number(0), frame);
    }

    /// Records that a node has answered HEADS, so it is alive.
    pub(super) fn on_heads_answered(&mut self, node: NodeId) {
        self.feeds.ingresses[usize::from(node.index())].unanswered = 0;
    }

    fn multicast_route(&self, step: &Step<'_>, targets: NodeSet, class: TrafficClass) -> Route {
        let mut route = self.new_route(step, step.settings.id, Kind::Multicast, class, Origin::from_number(0));
        route.targets = targets;
        route
    }
}

/// Encodes a push for links, with the topic's id as request id, which the last node replaces.
fn push_frame(push: &Push, topic: TopicId) -> Frame<'static> {
    let mut bytes = Vec::with_capacity(256);
    if let Some(payload) = push.encode(RequestId(topic.number()), None, &mut bytes) {
        bytes.reserve_exact(payload.len());
        payload.parts.iter().for_each(|part| bytes.extend_from_slice(part));
    }
    Frame::sealed(bytes)
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

    fn member(id: u16, subscribers: u32, slowest: Option<Offset>) -> Member {
        Member { node: node(id), version: 0, subscribers, slowest }
    }

    #[test]
    fn a_feed_said_twice_is_one_feed_and_the_last_word_counts() {
        let mut feeds = Feeds::new(8);
        for (push, subscribers) in [(true, 3), (true, 3), (false, 2), (true, 2)] {
            feeds.set(topic(1), push, member(5, subscribers, Some(Offset(7))));
            feeds.check();
            assert_eq!((feeds.len(), feeds.targets(topic(1)).is_some()), (1, push));
            assert_eq!(feeds.ingresses[5].digest, u64::from(push));
        }
        let mut audience = Audience::default();
        feeds.add_audience(topic(1), &mut audience);
        assert_eq!((audience.subscribers, audience.feeds, audience.slowest), (2, 1, Some(Offset(7))));
        feeds.set(topic(1), true, member(5, 0, None));
        feeds.check();
        assert!(feeds.is_empty());
    }

    #[test]
    fn a_node_that_is_forgotten_takes_nobody_with_it() {
        let mut feeds = Feeds::new(8);
        for id in 1..=4 {
            feeds.set(topic(id), true, member(5, 1, None));
            feeds.set(topic(id), id % 2 == 0, member(6, 1, None));
        }
        feeds.forget(node(5));
        feeds.check();
        assert_eq!((feeds.len(), feeds.ingresses[6].digest, feeds.ingresses[5].digest), (4, 2 ^ 4, 0));
        assert!(feeds.targets(topic(1)).is_none() && feeds.targets(topic(2)).is_some_and(|it| it.contains(node(6))));
    }

    #[test]
    fn a_topic_that_goes_is_remembered_for_those_who_missed_its_end() {
        let mut feeds = Feeds::new(8);
        feeds.set(topic(1), true, member(3, 1, None));
        feeds.set(topic(1), false, member(4, 1, None));
        let ingresses = feeds.remove(topic(1)).unwrap();
        assert_eq!(ingresses.iter().collect::<Vec<_>>(), [node(3), node(4)]);
        assert!(feeds.remove(topic(1)).is_none() && feeds.gone.len() == 1);
        feeds.check();
    }
}
