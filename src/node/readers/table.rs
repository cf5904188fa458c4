//! The readers at this node and the topics that they follow: the tables only; sending is done elsewhere.
//!
//! A subscription is a cursor with credit. The subscriptions to one topic share a [`Followed`], which holds the topic's
//! log end offset as far as it is known, and a tail of pushed frames while a reader that is behind still needs them.

mod tails;
mod wakes;

pub(in crate::node::readers) use tails::Pushed;
pub(in crate::node::readers) use wakes::first_at;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use foldhash::fast::RandomState;
use slotmap::{KeyData, SlotMap, new_key_type};

use super::super::asked::Asked;
use super::super::work::Work;
use super::leader::{Leader, Outage};
use super::pending::PendingReader;
use crate::limits::{TAIL_BYTES_MAX, TAILS_BYTES_MAX};
use crate::types::{ConnId, Epoch, Offset, RequestId, SlotId, Slots, TopicId};
use crate::wire::response::{ErrorResponse, TopicState};
use wakes::Wake;

new_key_type! {
    /// Names a reader, also after it has been removed.
    pub(in crate::node) struct ReaderKey;
    /// Names a followed topic, also after it has been removed.
    pub(super) struct TopicKey;
}

/// A reader of a topic: a subscription, or a FETCH that waits.
#[derive(Debug)]
pub(super) struct Reader {
    /// The client's connection.
    pub conn: ConnId,
    /// The key of its topic among the followed topics.
    pub topic: TopicKey,
    cursor: Offset,
    /// What the reader wants.
    pub consumer: Consumer,
    /// True from WAITING to FLOWING: the client's last notice was that the leader is unreachable.
    pub is_notified_waiting: bool,
    /// True while the reader is in the queue of those that may be able to continue.
    queued: bool,
}

/// What a reader wants.
#[derive(Debug)]
pub(super) enum Consumer {
    /// A subscription: all records, within its credit.
    Stream {
        /// The request id of its SUBSCRIBE.
        id: RequestId,
        /// Bytes of records sent so far.
        sent: u64,
        /// Bytes of records that may be sent in total, by the client's credit.
        limit: u64,
    },
    /// A waiting FETCH: one answer, as soon as there are records.
    Poll(Poll),
}

impl Reader {
    /// Returns the next offset to deliver.
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

    /// Returns the monotonic time in microseconds at which it is answered without records; `None` for a subscription.
    const fn deadline_us(&self) -> Option<u64> {
        match self {
            Self::Stream { .. } => None,
            Self::Poll(poll) => Some(poll.deadline_us),
        }
    }
}

/// A FETCH that waits for records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Poll {
    /// The client's request.
    pub asked: Asked,
    /// The limit of the request; 0 means no limit.
    pub max_bytes: u32,
    /// The limit of the request; 0 means no limit.
    pub max_records: u32,
    /// Monotonic time in microseconds at which it is answered without records.
    pub deadline_us: u64,
    /// The log start offset in the leader's answer.
    pub first: Offset,
}

/// A topic with readers at this node.
#[derive(Debug)]
pub(super) struct Followed {
    /// The topic's id.
    pub id: TopicId,
    /// The log's epoch.
    pub epoch: Epoch,
    /// The topic's name.
    pub name: Box<str>,
    /// The slot of the topic.
    pub slot: SlotId,
    /// The log end offset as far as it is known here. For topics of this node, the catalogue has the exact one.
    pub head: Offset,
    /// Its readers, ordered by cursor, so that only those concerned are visited: a topic may have very many readers
    /// that are behind.
    readers: BTreeSet<(Offset, ReaderKey)>,
    /// True while a retry of failed fetches is scheduled; one wakes all readers.
    pub is_retried: bool,
    /// True if the leader should push records. False while all readers are far behind.
    pub push: bool,
    /// The report that the leader has confirmed, if any.
    confirmed_report: Option<Report>,
    /// The report that is in flight, if any.
    pub in_flight_report: Option<InFlightReport>,
    /// The offsets from which a fetch is in flight.
    pub pulls: Vec<Offset>,
    /// Bytes that the next fetch must allow, because the next record is that large; 0 if that is not known.
    pub pull_least: u32,
    /// Why the leader is unreachable. `None` again once the leader is reachable and has confirmed the topic.
    pub outage: Option<Outage>,
    /// The readers that are still to be queued, if any.
    wake: Option<Wake>,
    /// Why the topic has ended, while it still has readers that are to be notified.
    ended: Option<Box<ErrorResponse>>,
    tail: VecDeque<Pushed>,
    tail_bytes: usize,
}

/// A report to a leader about the readers of one of its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// True if the leader should push records.
    pub push: bool,
    /// Number of readers.
    pub subscribers: u32,
    /// The cursor of the slowest reader; `None` when all are at the log end offset.
    pub slowest: Option<Offset>,
}

/// A FEED that the leader has not confirmed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlightReport {
    /// The report in it.
    pub report: Report,
    /// Its request id.
    pub version: u64,
    /// Monotonic time in microseconds at which it was sent.
    pub at_us: u64,
}

/// The least and the greatest key of a reader, by which readers are sorted at the same offset.
fn bounds() -> (ReaderKey, ReaderKey) {
    (KeyData::from_ffi(0).into(), KeyData::from_ffi(u64::MAX).into())
}

/// All readers of this node, and what they follow.
#[derive(Debug)]
pub(super) struct Table {
    readers: SlotMap<ReaderKey, Reader>,
    /// All readers by the request that opened them.
    by_request: HashMap<(ConnId, RequestId), ReaderKey, RandomState>,
    topics: SlotMap<TopicKey, Followed>,
    by_id: HashMap<TopicId, TopicKey, RandomState>,
    /// The pending readers.
    pub pending_readers: HashMap<(ConnId, RequestId), PendingReader, RandomState>,
    /// The state of each leader, by slot.
    leaders: Vec<Leader>,
    /// The topics of each slot, without those that have ended.
    of_slots: Vec<BTreeSet<TopicKey>>,
    /// Readers that may be able to continue.
    pub queue: VecDeque<ReaderKey>,
    /// Topics with readers that are still to be queued; some may have none by now.
    wakes: VecDeque<TopicKey>,
    /// Topics that have ended; some may have no readers by now.
    endings: VecDeque<TopicKey>,
    /// Readers that wait because too many fetches are in flight, oldest first.
    pub waiting: VecDeque<ReaderKey>,
    /// Topics whose failed fetches are to be retried, with the monotonic time in microseconds, in order of time.
    pub retries: VecDeque<(u64, TopicId)>,
    /// Topics that were pushed here although they have no readers, with their slots and the monotonic time in
    /// microseconds.
    pub strays: BTreeMap<TopicId, (SlotId, u64)>,
    /// The request id of the last FEED to any leader.
    pub feed_version: u64,
    /// Maximum number of bytes of records that the fetches in flight bring together.
    pub pulled_bytes: u64,
    polls: BTreeSet<(u64, ReaderKey)>,
    tails_bytes: usize,
}

impl Table {
    /// Returns tables without readers, for a cube with that many slots.
    pub(super) fn new(slots: Slots) -> Self {
        Self {
            readers: SlotMap::with_key(),
            by_request: HashMap::default(),
            topics: SlotMap::with_key(),
            by_id: HashMap::default(),
            pending_readers: HashMap::default(),
            leaders: vec![Leader::default(); usize::from(slots.count())],
            of_slots: vec![BTreeSet::new(); usize::from(slots.count())],
            queue: VecDeque::new(),
            wakes: VecDeque::new(),
            endings: VecDeque::new(),
            waiting: VecDeque::new(),
            retries: VecDeque::new(),
            strays: BTreeMap::new(),
            feed_version: 0,
            pulled_bytes: 0,
            polls: BTreeSet::new(),
            tails_bytes: 0,
        }
    }

    /// Returns the state of the leader of a slot.
    pub(super) fn leader(&self, slot: SlotId) -> &Leader {
        &self.leaders[usize::from(slot.index())]
    }

    /// Returns the state of the leader of a slot.
    pub(super) fn leader_mut(&mut self, slot: SlotId) -> &mut Leader {
        &mut self.leaders[usize::from(slot.index())]
    }

    /// Returns the states of all leaders.
    pub(super) fn leaders_mut(&mut self) -> impl Iterator<Item = &mut Leader> {
        self.leaders.iter_mut()
    }

    /// Returns true if this node leads the slot of a topic.
    pub(super) fn is_here(&self, place: TopicKey) -> bool {
        self.leader(self.topics[place].slot).is_here
    }

    /// Returns the number of readers.
    pub(super) fn len(&self) -> usize {
        self.readers.len()
    }

    /// Returns the followed topics with their keys, without those that have ended.
    pub(super) fn topics(&self) -> impl Iterator<Item = (TopicKey, &Followed)> {
        self.topics.iter().filter(|(_, topic)| topic.ended.is_none())
    }

    /// Returns the keys of the followed topics of a slot.
    pub(super) fn topics_of(&self, slot: SlotId) -> impl Iterator<Item = TopicKey> {
        self.of_slots[usize::from(slot.index())].iter().copied()
    }

    /// Returns the number of followed topics.
    pub(super) fn topics_len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the size of all tails in bytes.
    pub(super) const fn tails_bytes(&self) -> usize {
        self.tails_bytes
    }

    /// Returns the reader with this key, or `None` if it has been removed.
    pub(super) fn get(&self, key: ReaderKey) -> Option<&Reader> {
        self.readers.get(key)
    }

    /// Returns the reader with this key, or `None` if it has been removed.
    pub(super) fn get_mut(&mut self, key: ReaderKey) -> Option<&mut Reader> {
        self.readers.get_mut(key)
    }

    /// Returns the key of the subscription with this request id, or `None` if there is none or it is a waiting FETCH.
    pub(super) fn stream(&self, conn: ConnId, id: RequestId) -> Option<ReaderKey> {
        let key = self.by_request.get(&(conn, id)).copied()?;
        matches!(self.readers[key].consumer, Consumer::Stream { .. }).then_some(key)
    }

    /// Returns true when that request id belongs to a subscription, to a waiting FETCH, or to a request that may
    /// become one.
    pub(super) fn is_used(&self, conn: ConnId, id: RequestId) -> bool {
        self.by_request.contains_key(&(conn, id)) || self.pending_readers.contains_key(&(conn, id))
    }

    /// Returns the key of a topic, or `None` if it is not followed.
    pub(super) fn topic_of(&self, id: TopicId) -> Option<TopicKey> {
        // Most publishes are to topics without readers here, often at nodes without any readers.
        if self.by_id.is_empty() { None } else { self.by_id.get(&id).copied() }
    }

    /// Returns a followed topic.
    pub(super) fn topic(&self, place: TopicKey) -> &Followed {
        &self.topics[place]
    }

    /// Returns a followed topic.
    pub(super) fn topic_mut(&mut self, place: TopicKey) -> &mut Followed {
        &mut self.topics[place]
    }

    /// Follows a topic unless it is followed already, and returns its key.
    pub(super) fn follow(&mut self, new: Followed, now_us: u64) -> TopicKey {
        if let Some(&place) = self.by_id.get(&new.id) {
            return place;
        }
        let leader = self.leader_mut(new.slot);
        if leader.topics == 0 {
            let Leader { is_here, pulls, .. } = *leader;
            *leader = Leader { is_here, pulls, heard_us: now_us, alive_us: now_us, ..Leader::default() };
        }
        leader.topics += 1;
        let (id, slot) = (new.id, new.slot);
        let place = self.topics.insert(new);
        self.by_id.insert(id, place);
        self.of_slots[usize::from(slot.index())].insert(place);
        place
    }

    /// Removes a topic that has no readers.
    pub(super) fn unfollow(&mut self, place: TopicKey) -> Followed {
        if self.topics[place].ended.is_none() {
            self.forget(place);
        }
        let topic = self.topics.remove(place).expect("it is removed once");
        assert!(topic.readers.is_empty(), "readers go before their topic");
        topic
    }

    /// Ends a topic for this reason. It is not followed any more, and gets no new readers; [`Self::next_ended`] returns
    /// those that it has.
    pub(super) fn end(&mut self, place: TopicKey, error: ErrorResponse) {
        self.forget(place);
        self.topics[place].ended = Some(Box::new(error));
        self.endings.push_back(place);
    }

    /// Drops everything by which a topic is followed, but not its readers.
    fn forget(&mut self, place: TopicKey) {
        self.set_confirmed_report(place, None);
        self.clear_tail(place);
        let topic = &self.topics[place];
        self.by_id.remove(&topic.id);
        self.of_slots[usize::from(topic.slot.index())].remove(&place);
        self.leaders[usize::from(topic.slot.index())].topics -= 1;
    }

    /// Returns the next reader whose topic has ended, and the reason. The caller removes it.
    pub(super) fn next_ended(&mut self) -> Option<(ReaderKey, ErrorResponse)> {
        while let Some(place) = self.endings.front() {
            let topic = self.topics.get(*place);
            if let Some((_, key)) = topic.and_then(|topic| topic.readers.first())
                && let Some(error) = topic.and_then(|topic| topic.ended.as_deref())
            {
                return Some((*key, error.clone()));
            }
            self.endings.pop_front();
        }
        None
    }

    /// Returns true if there may be readers whose topics have ended.
    pub(super) fn has_ended(&self) -> bool {
        !self.endings.is_empty()
    }

    /// Records which report the leader has confirmed.
    pub(super) fn set_confirmed_report(&mut self, place: TopicKey, report: Option<Report>) {
        let topic = &mut self.topics[place];
        let leader = &mut self.leaders[usize::from(topic.slot.index())];
        let known = |report: Option<Report>| report.map(|report| report.push);
        let (before, after) = (known(topic.confirmed_report), known(report));
        topic.confirmed_report = report;
        if before != after {
            if before.unwrap_or_default() != after.unwrap_or_default() {
                leader.digest ^= topic.id.number();
            }
            leader.feeds = leader.feeds + u32::from(after.is_some()) - u32::from(before.is_some());
            // HEADS that were sent before this report was confirmed may have a digest from before it. That is no
            // mismatch.
            leader.mismatches = 0;
        }
    }

    /// Adds a reader to a topic, and returns its key.
    pub(super) fn insert(&mut self, conn: ConnId, place: TopicKey, cursor: Offset, consumer: Consumer) -> ReaderKey {
        let (request_id, deadline_us) = (consumer.request_id(), consumer.deadline_us());
        let reader = Reader { conn, topic: place, cursor, consumer, is_notified_waiting: false, queued: false };
        let key = self.readers.insert(reader);
        if let Some(deadline_us) = deadline_us {
            self.polls.insert((deadline_us, key));
        }
        let before = self.by_request.insert((conn, request_id), key);
        assert!(before.is_none(), "checked when it was asked for");
        self.topics[place].readers.insert((cursor, key));
        key
    }

    /// Records which notice a subscriber got last: WAITING (true) or FLOWING (false).
    pub(super) fn set_notified_waiting(&mut self, key: ReaderKey, is_notified_waiting: bool) {
        self.readers[key].is_notified_waiting = is_notified_waiting;
    }

    /// Removes a reader. The caller removes its topic if that was its last reader.
    pub(super) fn remove(&mut self, key: ReaderKey) -> Reader {
        let reader = self.readers.remove(key).expect("it is removed once");
        if let Consumer::Poll(poll) = &reader.consumer {
            self.polls.remove(&(poll.deadline_us, key));
        }
        self.by_request.remove(&(reader.conn, reader.consumer.request_id()));
        let was_there = self.topics[reader.topic].readers.remove(&(reader.cursor, key));
        assert!(was_there, "a reader hangs on its topic");
        reader
    }

    /// Moves the cursor of a reader.
    pub(super) fn move_to(&mut self, key: ReaderKey, cursor: Offset) {
        let Some(reader) = self.readers.get_mut(key) else { return };
        let readers = &mut self.topics[reader.topic].readers;
        let was_there = readers.remove(&(reader.cursor, key));
        assert!(was_there, "a reader hangs on its topic");
        readers.insert((cursor, key));
        reader.cursor = cursor;
    }

    /// Queues a reader that may be able to continue, unless it is queued already.
    pub(super) fn enqueue(&mut self, key: ReaderKey) {
        if let Some(reader) = self.readers.get_mut(key)
            && !reader.queued
        {
            reader.queued = true;
            self.queue.push_back(key);
        }
    }

    /// Returns the next reader that may be able to continue.
    pub(super) fn dequeue(&mut self, work: &mut Work) -> Option<ReaderKey> {
        while let Some(key) = self.queue.pop_front() {
            work.add_entries(1);
            if let Some(reader) = self.readers.get_mut(key) {
                reader.queued = false;
                return Some(key);
            }
        }
        None
    }

    /// Returns a waiting FETCH whose deadline has passed.
    pub(super) fn expired_poll(&self, now_us: u64) -> Option<ReaderKey> {
        self.polls.first().filter(|(deadline_us, _)| *deadline_us <= now_us).map(|(_, key)| *key)
    }

    /// Returns the report that the leader of a topic should have.
    pub(super) fn current_report(&self, place: TopicKey, head: Offset) -> Report {
        let topic = &self.topics[place];
        // A waiting FETCH keeps the feed alive just as a subscription does.
        let subscribers = u32::try_from(topic.readers.len()).unwrap_or(u32::MAX);
        Report { push: topic.push, subscribers, slowest: topic.slowest().filter(|slowest| *slowest < head) }
    }

    /// Adds this node's readers to the description of a topic.
    pub(super) fn count_readers(&self, described: &mut TopicState) {
        let Some(place) = self.topic_of(described.id) else { return };
        let here = self.current_report(place, described.next);
        // Other nodes say how many there are.
        described.subscribers = described.subscribers.saturating_add(here.subscribers);
        described.feeds = described.feeds.saturating_add(1);
        let lag = here.slowest.map_or(0, |slowest| described.next.0.saturating_sub(slowest.0));
        described.lag = described.lag.max(lag);
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let (mut readers, mut followed, mut tails_bytes) = (0, 0, 0);
        let mut leaders = vec![(0, 0, 0); self.leaders.len()];
        for (place, topic) in &self.topics {
            assert_eq!(self.by_id.get(&topic.id) == Some(&place), topic.ended.is_none());
            assert!(topic.ended.is_none() || self.endings.contains(&place), "its readers will be notified");
            assert!(
                topic.wake.is_none() || self.wakes.contains(&place),
                "a topic with readers to wake is in the queue"
            );
            assert!(!topic.readers.is_empty(), "a topic without readers is not followed");
            readers += topic.readers.len();
            let is_here = |reader: &Reader, cursor| reader.topic == place && reader.cursor == cursor;
            assert!(topic.readers.iter().all(|(cursor, key)| is_here(&self.readers[*key], *cursor)));
            let bytes: usize = topic.tail.iter().map(|pushed| pushed.frame.len()).sum();
            assert_eq!(bytes, topic.tail_bytes);
            assert!(bytes <= TAIL_BYTES_MAX, "a tail is bounded");
            assert!(topic.tail.iter().zip(topic.tail.iter().skip(1)).all(|(a, b)| a.end <= b.base));
            tails_bytes += bytes;
            if topic.ended.is_some() {
                continue;
            }
            followed += 1;
            let of_slot = &self.of_slots[usize::from(topic.slot.index())];
            assert!(of_slot.contains(&place), "each slot knows its topics");
            let is_out = self.leader(topic.slot).outage.is_some();
            assert!(!is_out || topic.outage.is_some(), "all topics of a leader that is out of reach are");
            let leader = &mut leaders[usize::from(topic.slot.index())];
            leader.0 += 1;
            leader.1 += u32::from(topic.confirmed_report.is_some());
            if topic.confirmed_report.is_some_and(|report| report.push) {
                leader.2 ^= topic.id.number();
            }
        }
        assert_eq!((readers, followed), (self.readers.len(), self.by_id.len()));
        assert_eq!(tails_bytes, self.tails_bytes);
        assert!(tails_bytes <= TAILS_BYTES_MAX, "all tails together are bounded");
        assert_eq!(self.readers.len(), self.by_request.len());
        let polls = self.readers.iter().filter(|(_, reader)| matches!(reader.consumer, Consumer::Poll(_))).count();
        assert_eq!(polls, self.polls.len());
        for ((leader, topics), expected) in self.leaders.iter().zip(&self.of_slots).zip(leaders) {
            assert_eq!((leader.topics, leader.feeds, leader.digest), expected);
            assert_eq!(topics.len(), leader.topics as usize);
        }
    }
}

impl Followed {
    /// Returns a topic without readers, of which its leader has no report.
    pub(super) fn new(id: TopicId, epoch: Epoch, name: Box<str>, slot: SlotId, head: Offset) -> Self {
        Self {
            id,
            epoch,
            name,
            slot,
            head,
            readers: BTreeSet::new(),
            is_retried: false,
            push: true,
            confirmed_report: None,
            in_flight_report: None,
            pulls: Vec::new(),
            pull_least: 0,
            outage: None,
            wake: None,
            ended: None,
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }

    /// Returns the report that the leader has confirmed, if any.
    pub(super) const fn confirmed_report(&self) -> Option<Report> {
        self.confirmed_report
    }

    /// Returns true when nobody reads the topic here.
    pub(super) fn is_unread(&self) -> bool {
        self.readers.is_empty()
    }

    /// Returns the cursor of the slowest reader.
    pub(super) fn slowest(&self) -> Option<Offset> {
        self.readers.first().map(|(cursor, _)| *cursor)
    }

    /// Returns true once the topic has ended.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns tables without readers, for eight slots.
    pub(super) fn empty() -> Table {
        Table::new(Slots::new(3).unwrap())
    }

    pub(super) fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 0 }
    }

    pub(super) fn followed(id: u64, slot: u16) -> Followed {
        let slot = SlotId::new(slot, Slots::new(3).unwrap()).unwrap();
        Followed::new(TopicId::new(id).unwrap(), Epoch(1), "t".into(), slot, Offset(0))
    }

    pub(super) fn stream(id: u64) -> Consumer {
        Consumer::Stream { id: RequestId(id), sent: 0, limit: 1 }
    }

    #[test]
    fn what_homes_know_is_counted_and_digested() {
        let mut table = empty();
        let report = Some(Report { push: true, subscribers: 1, slowest: None });
        for (id, slot) in [(1, 5), (2, 5), (3, 6)] {
            let place = table.follow(followed(id, slot), 0);
            table.insert(conn(1), place, Offset(0), stream(id));
            table.set_confirmed_report(place, report);
        }
        assert_eq!((table.leaders[5].feeds, table.leaders[5].digest), (2, 1 ^ 2));
        let of = |table: &Table, slot| -> Vec<u64> {
            let places = table.topics_of(SlotId::new(slot, Slots::new(3).unwrap()).unwrap());
            places.map(|place| table.topic(place).id.number()).collect()
        };
        assert_eq!((of(&table, 5), of(&table, 6), of(&table, 7)), (vec![1, 2], vec![3], vec![]));
        let place = table.topic_of(TopicId::new(2).unwrap()).unwrap();
        table.set_confirmed_report(place, report.map(|report| Report { push: false, ..report }));
        assert_eq!((table.leaders[5].feeds, table.leaders[5].digest), (2, 1));
        table.check();
        table.remove(table.stream(conn(1), RequestId(2)).unwrap());
        table.unfollow(place);
        assert_eq!((table.leaders[5].topics, table.leaders[6].topics), (1, 1));
        assert_eq!((of(&table, 5), of(&table, 6)), (vec![1], vec![3]));
        table.check();
    }

    #[test]
    fn the_slowest_reader_is_reported_unless_all_are_at_the_end() {
        let mut table = empty();
        let place = table.follow(followed(1, 5), 0);
        for (id, cursor) in [(1, 9), (2, 4), (3, 7)] {
            table.insert(conn(1), place, Offset(cursor), stream(id));
        }
        for (head, slowest) in [(9, Some(4)), (5, Some(4)), (4, None)] {
            let report = table.current_report(place, Offset(head));
            assert_eq!((report.subscribers, report.slowest), (3, slowest.map(Offset)), "{head}");
        }
    }
}
