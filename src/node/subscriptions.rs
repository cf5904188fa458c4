//! Who subscribed to what at this node: the tables, and nothing that is sent.
//!
//! A subscription is a cursor with credit. Those to one topic hang on a [`Followed`], which knows how far the topic
//! is, and keeps a tail of pushed frames while somebody still needs them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::RangeInclusive;

use foldhash::fast::RandomState;
use slab::Slab;

use super::ingress::Asked;
use super::outage::Outage;
use super::work;
use crate::limits::{TAIL_BYTES_MAX, TAILS_BYTES_MAX};
use crate::types::{ConnId, Epoch, NodeId, Offset, RequestId, TopicId};
use crate::wire::Frame;

/// One reader of a topic.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Whose.
    pub conn: ConnId,
    /// Its place among the topics.
    pub topic: usize,
    cursor: Offset,
    /// What it is.
    pub consumer: Consumer,
    /// The client was told that the home is out of reach, and not since that it is back.
    pub is_told_to_wait: bool,
    /// It waits in the list of those that can go on.
    queued: bool,
}

/// What a reader wants.
#[derive(Debug)]
pub(super) enum Consumer {
    /// Everything as it comes.
    Stream {
        /// The request id of its SUBSCRIBE.
        id: RequestId,
        /// Bytes of records that were sent.
        sent: u64,
        /// How many may have been.
        limit: u64,
    },
    /// The answer to one FETCH, when there is something.
    Poll(Poll),
}

impl Subscription {
    /// Returns the record that it gets next.
    pub(super) const fn cursor(&self) -> Offset {
        self.cursor
    }
}

impl Consumer {
    /// Returns the id of the request that opened the reader.
    pub(super) const fn request_id(&self) -> RequestId {
        match self {
            Self::Stream { id, .. } => *id,
            Self::Poll(poll) => poll.asked.request_id,
        }
    }
}

/// A FETCH that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Poll {
    /// Whose.
    pub asked: Asked,
    /// Of the request.
    pub max_bytes: u32,
    /// Of the request.
    pub max_records: u32,
    /// When it is answered with nothing, monotonic microseconds.
    pub deadline_us: u64,
    /// The first record that was kept when it was asked.
    pub first: Offset,
}

/// A request that becomes a reader when it was answered.
#[derive(Debug)]
pub(super) struct Opening {
    /// Of the topic.
    pub name: Box<str>,
    /// As what it goes on.
    pub wish: Wish,
}

/// What an opening becomes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    /// A stream with this credit.
    Stream {
        /// Bytes of records.
        limit: u64,
    },
    /// A poll.
    Poll {
        /// Of the request.
        max_bytes: u32,
        /// Of the request.
        max_records: u32,
        /// When it is answered with nothing, monotonic microseconds.
        deadline_us: u64,
    },
}

/// A topic that somebody here reads.
#[derive(Debug)]
pub(super) struct Followed {
    /// Which.
    pub id: TopicId,
    /// The life of its log.
    pub epoch: Epoch,
    /// Its name.
    pub name: Box<str>,
    /// Where it lives.
    pub home: NodeId,
    /// Behind the last record that is known to exist. Of a topic of this node, the catalogue knows better.
    pub head: Offset,
    /// Its readers by the record that each gets next, so that none of them is looked at in vain: a topic may have very
    /// many that are behind.
    readers: BTreeSet<(Offset, usize)>,
    /// True while a retry of failed fetches is scheduled; one wakes all readers.
    pub is_retried: bool,
    /// Is the home to push? Not while all readers are far behind.
    pub push: bool,
    /// What the home knows of us, as far as it said so.
    told: Option<Told>,
    /// What it is being told.
    pub telling: Option<Telling>,
    /// Cursors that a fetch is under way for.
    pub pulls: Vec<Offset>,
    /// Why its home is out of reach; `None` as well once the home has confirmed the topic again.
    pub outage: Option<Outage>,
    tail: VecDeque<Pushed>,
    tail_bytes: usize,
}

/// What a home is told of the readers of one of its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Is it to push?
    pub push: bool,
    /// Streams.
    pub subscribers: u32,
    /// Where the slowest of them is, unless all are at the end.
    pub slowest: Option<Offset>,
}

/// A FEED that is not confirmed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    /// What it says.
    pub told: Told,
    /// Its request id.
    pub version: u64,
    /// When it was sent, monotonic microseconds.
    pub at_us: u64,
}

/// A frame that somebody still needs.
#[derive(Debug)]
pub(super) struct Pushed {
    /// Its first record.
    pub base: Offset,
    /// Behind its last one.
    pub end: Offset,
    /// The DELIVER.
    pub frame: Frame<'static>,
}

/// What is known of a home whose topics are followed.
#[derive(Clone, Debug, Default)]
pub(super) struct Home {
    /// Topics followed.
    pub topics: u32,
    /// Those that it knows of.
    pub feeds: u32,
    /// Exclusive or of the ids of those that it knows it is to push.
    pub digest: u64,
    /// Its start and the counter of its last HEADS; the answer to a FEED begins the count, without it none is missed.
    pub last: Option<(u64, u64)>,
    /// When they came, or when following began, monotonic microseconds.
    pub heard_us: u64,
    /// HEADS in a row whose digest was not ours.
    pub mismatches: u32,
    /// When it last sent anything, or when following began, monotonic microseconds.
    pub alive_us: u64,
    /// When a request first found no path to it since then, monotonic microseconds.
    pub unreachable_us: Option<u64>,
    /// When it is asked for a sign of life next, should it be silent then, monotonic microseconds.
    pub probe_at_us: u64,
    /// It has been out of reach for long.
    pub outage: Option<Outage>,
    /// The request id of the last FEED to it.
    pub feed_version: u64,
    /// Fetches in flight.
    pub pulls: usize,
}

/// All readers of a node.
#[derive(Debug)]
pub(super) struct Subscriptions {
    readers: Slab<Subscription>,
    /// All readers by the request that opened them.
    by_request: HashMap<(ConnId, RequestId), usize, RandomState>,
    topics: Slab<Followed>,
    by_id: HashMap<TopicId, usize, RandomState>,
    /// Requests that become readers.
    pub openings: HashMap<(ConnId, RequestId), Opening, RandomState>,
    /// By node.
    pub homes: Vec<Home>,
    /// Readers that can go on.
    pub queue: VecDeque<usize>,
    /// Readers that wait for others' fetches to end, oldest first.
    pub waiting: VecDeque<usize>,
    /// When to try again to fetch for a topic, in order.
    pub retries: VecDeque<(u64, TopicId)>,
    /// Topics that were pushed here in vain, with their homes and when, monotonic microseconds.
    pub strays: BTreeMap<TopicId, (NodeId, u64)>,
    /// The request id of the last FEED.
    pub feed_version: u64,
    polls: BTreeSet<(u64, usize)>,
    tails_bytes: usize,
}

impl Subscriptions {
    /// Nobody, in a cube of so many nodes.
    pub(super) fn new(nodes: u16) -> Self {
        Self {
            readers: Slab::new(),
            by_request: HashMap::default(),
            topics: Slab::new(),
            by_id: HashMap::default(),
            openings: HashMap::default(),
            homes: vec![Home::default(); usize::from(nodes)],
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            retries: VecDeque::new(),
            strays: BTreeMap::new(),
            feed_version: 0,
            polls: BTreeSet::new(),
            tails_bytes: 0,
        }
    }

    /// Readers.
    pub(super) fn len(&self) -> usize {
        self.readers.len()
    }

    /// Topics with readers.
    pub(super) fn topics(&self) -> impl Iterator<Item = (usize, &Followed)> {
        self.topics.iter()
    }

    /// Bytes of all tails.
    pub(super) const fn tails_bytes(&self) -> usize {
        self.tails_bytes
    }

    /// A reader, unless it is gone.
    pub(super) fn get(&self, key: usize) -> Option<&Subscription> {
        self.readers.get(key)
    }

    /// A reader, unless it is gone.
    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Subscription> {
        self.readers.get_mut(key)
    }

    /// Returns the subscription with that request id, or `None` when there is none or it is a waiting FETCH.
    pub(super) fn stream(&self, conn: ConnId, id: RequestId) -> Option<usize> {
        let key = self.by_request.get(&(conn, id)).copied()?;
        matches!(self.readers[key].consumer, Consumer::Stream { .. }).then_some(key)
    }

    /// Returns true when that request id belongs to a subscription, to a waiting FETCH, or to a request that may
    /// become one.
    pub(super) fn is_used(&self, conn: ConnId, id: RequestId) -> bool {
        self.by_request.contains_key(&(conn, id)) || self.openings.contains_key(&(conn, id))
    }

    /// The place of a topic that is followed.
    pub(super) fn topic_of(&self, id: TopicId) -> Option<usize> {
        // Most nodes publish without anybody here.
        if self.by_id.is_empty() { None } else { self.by_id.get(&id).copied() }
    }

    /// A topic with readers.
    pub(super) fn topic(&self, place: usize) -> &Followed {
        &self.topics[place]
    }

    /// A topic with readers.
    pub(super) fn topic_mut(&mut self, place: usize) -> &mut Followed {
        &mut self.topics[place]
    }

    /// Follows a topic, if that is not done already.
    pub(super) fn follow(&mut self, new: Followed, now_us: u64) -> usize {
        if let Some(&place) = self.by_id.get(&new.id) {
            return place;
        }
        let home = &mut self.homes[usize::from(new.home.index())];
        if home.topics == 0 {
            *home = Home { heard_us: now_us, alive_us: now_us, pulls: home.pulls, ..Home::default() };
        }
        home.topics += 1;
        let id = new.id;
        let place = self.topics.insert(new);
        self.by_id.insert(id, place);
        place
    }

    /// Takes a topic without readers out.
    pub(super) fn unfollow(&mut self, place: usize) -> Followed {
        self.set_told(place, None);
        self.clear_tail(place);
        let topic = self.topics.remove(place);
        assert!(topic.readers.is_empty(), "readers go before their topic");
        self.by_id.remove(&topic.id);
        self.homes[usize::from(topic.home.index())].topics -= 1;
        topic
    }

    /// Takes note of what a topic's home knows of us.
    pub(super) fn set_told(&mut self, place: usize, told: Option<Told>) {
        let topic = &mut self.topics[place];
        let home = &mut self.homes[usize::from(topic.home.index())];
        let known = |told: Option<Told>| told.map(|told| told.push);
        let (before, after) = (known(topic.told), known(told));
        topic.told = told;
        if before != after {
            if before.unwrap_or_default() != after.unwrap_or_default() {
                home.digest ^= topic.id.number();
            }
            home.feeds = home.feeds + u32::from(after.is_some()) - u32::from(before.is_some());
            // What is under way is no disagreement.
            home.mismatches = 0;
        }
    }

    /// Adds a reader to a topic.
    pub(super) fn insert(&mut self, conn: ConnId, place: usize, cursor: Offset, consumer: Consumer) -> usize {
        let entry = self.readers.vacant_entry();
        let key = entry.key();
        if let Consumer::Poll(poll) = &consumer {
            self.polls.insert((poll.deadline_us, key));
        }
        let before = self.by_request.insert((conn, consumer.request_id()), key);
        assert!(before.is_none(), "checked when it was asked for");
        entry.insert(Subscription { conn, topic: place, cursor, consumer, is_told_to_wait: false, queued: false });
        self.topics[place].readers.insert((cursor, key));
        key
    }

    /// Takes note of what a subscriber was told of its home.
    pub(super) fn set_told_to_wait(&mut self, key: usize, is_told_to_wait: bool) {
        self.readers[key].is_told_to_wait = is_told_to_wait;
    }

    /// Takes a reader out. Its topic may have none then.
    pub(super) fn remove(&mut self, key: usize) -> Subscription {
        let reader = self.readers.remove(key);
        if let Consumer::Poll(poll) = &reader.consumer {
            self.polls.remove(&(poll.deadline_us, key));
        }
        self.by_request.remove(&(reader.conn, reader.consumer.request_id()));
        let was_there = self.topics[reader.topic].readers.remove(&(reader.cursor, key));
        assert!(was_there, "a reader hangs on its topic");
        reader
    }

    /// Moves a reader to another record.
    pub(super) fn move_to(&mut self, key: usize, cursor: Offset) {
        let Some(reader) = self.readers.get_mut(key) else { return };
        let readers = &mut self.topics[reader.topic].readers;
        let was_there = readers.remove(&(reader.cursor, key));
        assert!(was_there, "a reader hangs on its topic");
        readers.insert((cursor, key));
        reader.cursor = cursor;
    }

    /// Puts a reader on the list of those that can go on.
    pub(super) fn enqueue(&mut self, key: usize) {
        if let Some(reader) = self.readers.get_mut(key)
            && !reader.queued
        {
            reader.queued = true;
            self.queue.push_back(key);
        }
    }

    /// The next reader that can go on.
    pub(super) fn dequeue(&mut self) -> Option<usize> {
        while let Some(key) = self.queue.pop_front() {
            work::count(1);
            if let Some(reader) = self.readers.get_mut(key) {
                reader.queued = false;
                return Some(key);
            }
        }
        None
    }

    /// The poll whose time is over.
    pub(super) fn expired_poll(&self, now_us: u64) -> Option<usize> {
        self.polls.first().filter(|(deadline_us, _)| *deadline_us <= now_us).map(|(_, key)| *key)
    }

    /// Keeps a pushed frame for those who are behind. False when it did not find room without others going.
    pub(super) fn push_tail(&mut self, place: usize, pushed: Pushed) -> bool {
        let topic = &mut self.topics[place];
        let len = pushed.frame.len();
        if topic.tail.back().is_some_and(|last| last.end > pushed.base) {
            // It came again, or late: a fetch brings what is missing.
            return true;
        }
        topic.tail.push_back(pushed);
        topic.tail_bytes += len;
        self.tails_bytes += len;
        let mut had_room = true;
        while topic.tail_bytes > TAIL_BYTES_MAX || self.tails_bytes > TAILS_BYTES_MAX {
            let Some(oldest) = topic.tail.pop_front() else { break };
            topic.tail_bytes -= oldest.frame.len();
            self.tails_bytes -= oldest.frame.len();
            had_room = false;
        }
        had_room
    }

    /// The kept frame with that record.
    pub(super) fn tail_at(&self, place: usize, offset: Offset) -> Option<&Pushed> {
        let tail = &self.topics[place].tail;
        let index = tail.partition_point(|pushed| pushed.end <= offset);
        tail.get(index).filter(|pushed| pushed.base <= offset)
    }

    /// Drops the kept frame with that record: it is damaged.
    pub(super) fn drop_tail_at(&mut self, place: usize, offset: Offset) {
        let topic = &mut self.topics[place];
        let index = topic.tail.partition_point(|pushed| pushed.end <= offset);
        if let Some(dropped) = topic.tail.remove(index) {
            topic.tail_bytes -= dropped.frame.len();
            self.tails_bytes -= dropped.frame.len();
        }
    }

    /// Forgets the frames that no reader needs any more.
    pub(super) fn trim_tail(&mut self, place: usize) {
        let topic = &mut self.topics[place];
        if topic.tail.is_empty() {
            return;
        }
        let slowest = topic.slowest();
        while let Some(oldest) = topic.tail.front()
            && slowest.is_none_or(|slowest| oldest.end <= slowest)
        {
            topic.tail_bytes -= oldest.frame.len();
            self.tails_bytes -= oldest.frame.len();
            topic.tail.pop_front();
        }
        if topic.tail.is_empty() {
            topic.tail = VecDeque::new();
        }
    }

    /// Forgets all frames of a topic.
    pub(super) fn clear_tail(&mut self, place: usize) {
        let topic = &mut self.topics[place];
        self.tails_bytes -= std::mem::take(&mut topic.tail_bytes);
        topic.tail = VecDeque::new();
    }

    /// What a topic's home should know of its readers here.
    pub(super) fn to_tell(&self, place: usize, head: Offset) -> Told {
        let topic = &self.topics[place];
        // A poll keeps the feed as a subscription does.
        let subscribers = u32::try_from(topic.readers.len()).unwrap_or(u32::MAX);
        Told { push: topic.push, subscribers, slowest: topic.slowest().filter(|slowest| *slowest < head) }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let (mut readers, mut tails_bytes) = (0, 0);
        let mut homes = vec![(0, 0, 0); self.homes.len()];
        for (place, topic) in &self.topics {
            assert_eq!(self.by_id.get(&topic.id), Some(&place));
            assert!(!topic.readers.is_empty(), "a topic without readers is not followed");
            readers += topic.readers.len();
            let is_here = |reader: &Subscription, cursor| reader.topic == place && reader.cursor == cursor;
            assert!(topic.readers.iter().all(|(cursor, key)| is_here(&self.readers[*key], *cursor)));
            let bytes: usize = topic.tail.iter().map(|pushed| pushed.frame.len()).sum();
            assert_eq!(bytes, topic.tail_bytes);
            assert!(bytes <= TAIL_BYTES_MAX, "a tail is bounded");
            assert!(topic.tail.iter().zip(topic.tail.iter().skip(1)).all(|(a, b)| a.end <= b.base));
            tails_bytes += bytes;
            let is_out = self.homes[usize::from(topic.home.index())].outage.is_some();
            assert!(!is_out || topic.outage.is_some(), "all topics of a home that is out of reach are");
            let home = &mut homes[usize::from(topic.home.index())];
            home.0 += 1;
            home.1 += u32::from(topic.told.is_some());
            if topic.told.is_some_and(|told| told.push) {
                home.2 ^= topic.id.number();
            }
        }
        assert_eq!((readers, self.topics.len()), (self.readers.len(), self.by_id.len()));
        assert_eq!(tails_bytes, self.tails_bytes);
        assert!(tails_bytes <= TAILS_BYTES_MAX, "all tails together are bounded");
        assert_eq!(self.readers.len(), self.by_request.len());
        let polls = self.readers.iter().filter(|(_, reader)| matches!(reader.consumer, Consumer::Poll(_))).count();
        assert_eq!(polls, self.polls.len());
        for (home, expected) in self.homes.iter().zip(homes) {
            assert_eq!((home.topics, home.feeds, home.digest), expected);
        }
    }
}

impl Followed {
    /// A topic that nobody reads yet and its home knows nothing of.
    pub(super) fn new(id: TopicId, epoch: Epoch, name: Box<str>, home: NodeId, head: Offset) -> Self {
        Self {
            id,
            epoch,
            name,
            home,
            head,
            readers: BTreeSet::new(),
            is_retried: false,
            push: true,
            told: None,
            telling: None,
            pulls: Vec::new(),
            outage: None,
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }

    /// What the home knows of us, as far as it said so.
    pub(super) const fn told(&self) -> Option<Told> {
        self.told
    }

    /// Returns true when nobody reads the topic here.
    pub(super) fn is_unread(&self) -> bool {
        self.readers.is_empty()
    }

    /// Returns the cursor of the slowest reader.
    pub(super) fn slowest(&self) -> Option<Offset> {
        self.readers.first().map(|(cursor, _)| *cursor)
    }

    /// Returns the keys of all readers, those that are furthest behind first.
    pub(super) fn readers(&self) -> Vec<usize> {
        self.readers_in(Offset(0)..=Offset(u64::MAX))
    }

    /// Returns the keys of the readers whose cursors lie in a range.
    pub(super) fn readers_in(&self, cursors: RangeInclusive<Offset>) -> Vec<usize> {
        let (first, last) = cursors.into_inner();
        if first > last {
            return Vec::new();
        }
        let keys: Vec<usize> = self.readers.range((first, 0)..=(last, usize::MAX)).map(|(_, key)| *key).collect();
        work::count(keys.len());
        keys
    }

    /// Returns the keys of the readers that are behind the end of the topic only since it was raised from `known`.
    /// Those before were behind already: each of them has its turn when it gets credit, when its client reads, or when
    /// the fetch that it waits for ends.
    pub(super) fn newly_behind(&self, known: Offset) -> Vec<usize> {
        match self.head.0.checked_sub(1) {
            Some(last) => self.readers_in(known..=Offset(last)),
            None => Vec::new(),
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

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 0 }
    }

    fn followed(id: u64, home: u16) -> Followed {
        Followed::new(TopicId::new(id).unwrap(), Epoch(1), "t".into(), node(home), Offset(0))
    }

    fn stream(id: u64) -> Consumer {
        Consumer::Stream { id: RequestId(id), sent: 0, limit: 1 }
    }

    /// One record in a frame of so many bytes.
    fn pushed(base: u64, len: usize) -> Pushed {
        let request = crate::wire::Request::Credit { limit: 0 };
        let frame = super::super::pull::request_frame(&request, &vec![0; len - 44], RequestId(0));
        assert_eq!(frame.len(), len);
        Pushed { base: Offset(base), end: Offset(base + 1), frame }
    }

    #[test]
    fn a_tail_holds_the_newest_frames_within_its_bound() {
        let mut table = Subscriptions::new(8);
        let place = table.follow(followed(1, 5), 0);
        table.insert(conn(1), place, Offset(0), stream(1));
        let per_frame = TAIL_BYTES_MAX / 4;
        let rooms: Vec<bool> = (0..6).map(|base| table.push_tail(place, pushed(base, per_frame))).collect();
        assert_eq!(rooms, [true, true, true, true, false, false]);
        table.check();
        for (offset, kept) in [(0, false), (1, false), (2, true), (5, true), (6, false)] {
            assert_eq!(table.tail_at(place, Offset(offset)).is_some(), kept, "{offset}");
        }
        table.move_to(0, Offset(5));
        table.trim_tail(place);
        assert!(table.tail_at(place, Offset(4)).is_none() && table.tail_at(place, Offset(5)).is_some());
        table.drop_tail_at(place, Offset(5));
        assert_eq!(table.tails_bytes(), 0);
        table.check();
    }

    #[test]
    fn a_frame_that_comes_late_or_again_is_not_kept() {
        let mut table = Subscriptions::new(8);
        let place = table.follow(followed(1, 5), 0);
        table.insert(conn(1), place, Offset(0), stream(1));
        assert!(table.push_tail(place, pushed(7, 100)));
        assert!(table.push_tail(place, pushed(7, 100)) && table.push_tail(place, pushed(3, 100)));
        assert_eq!(table.tails_bytes(), 100);
        assert!(table.tail_at(place, Offset(3)).is_none());
        table.check();
    }

    #[test]
    fn all_tails_together_are_bounded() {
        let mut table = Subscriptions::new(8);
        let topics = TAILS_BYTES_MAX / TAIL_BYTES_MAX + 10;
        for id in 1..=topics {
            let place = table.follow(followed(id as u64, 5), 0);
            table.insert(conn(1), place, Offset(0), stream(id as u64));
            table.push_tail(place, pushed(0, TAIL_BYTES_MAX / 2));
            table.push_tail(place, pushed(1, TAIL_BYTES_MAX / 2));
            table.check();
        }
        assert!(table.tails_bytes() <= TAILS_BYTES_MAX);
    }

    #[test]
    fn what_homes_know_is_counted_and_digested() {
        let mut table = Subscriptions::new(8);
        let told = Some(Told { push: true, subscribers: 1, slowest: None });
        for (id, home) in [(1, 5), (2, 5), (3, 6)] {
            let place = table.follow(followed(id, home), 0);
            table.insert(conn(1), place, Offset(0), stream(id));
            table.set_told(place, told);
        }
        assert_eq!((table.homes[5].feeds, table.homes[5].digest), (2, 1 ^ 2));
        let place = table.topic_of(TopicId::new(2).unwrap()).unwrap();
        table.set_told(place, told.map(|told| Told { push: false, ..told }));
        assert_eq!((table.homes[5].feeds, table.homes[5].digest), (2, 1));
        table.check();
        table.remove(table.stream(conn(1), RequestId(2)).unwrap());
        table.unfollow(place);
        assert_eq!((table.homes[5].topics, table.homes[6].topics), (1, 1));
        table.check();
    }

    #[test]
    fn the_slowest_reader_is_told_unless_all_are_at_the_end() {
        let mut table = Subscriptions::new(8);
        let place = table.follow(followed(1, 5), 0);
        for (id, cursor) in [(1, 9), (2, 4), (3, 7)] {
            table.insert(conn(1), place, Offset(cursor), stream(id));
        }
        for (head, slowest) in [(9, Some(4)), (5, Some(4)), (4, None)] {
            let told = table.to_tell(place, Offset(head));
            assert_eq!((told.subscribers, told.slowest), (3, slowest.map(Offset)), "{head}");
        }
    }
}
