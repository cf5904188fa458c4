//! Subscriptions that survive lost connections: every record once and in order.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use std::vec;

use dht_protocol::types::{NodeId, Offset, RequestId, TopicName};
use dht_protocol::wire::request::Start;
use dht_protocol::wire::response::{ErrorResponse, Fetched};
use dht_protocol::wire::{Class, Opcode, Push, Request, Response, Status};
use fastrand::Rng;

use crate::error::{Error, Fault};
use crate::item::{Item, Message, messages};
use crate::notice::{Notice, WaitReason};
use crate::session::cluster::Session;
use crate::session::deadline::Deadline;
use crate::session::incoming::{Answer, Incoming, Pushed};
use crate::session::lifeline::{Held, Lifeline};
use crate::session::subscription::{State, Subscription};

/// Default size in bytes of the records of each topic that may wait to be taken.
const WINDOW_BYTES: u64 = 1 << 20;

/// Maximum number of unanswered SUBSCRIBEs: fewer than a node accepts from one session.
const ASKED_MAX: usize = 64;

/// A connection through which no topic at all can be reached for this long is replaced by one to another server: its
/// node may be cut off from the others. The time doubles with each such change, up to [`ISOLATED_MAX`], because most
/// likely the homes are down.
const ISOLATED: Duration = Duration::from_secs(2);

/// The longest such time.
const ISOLATED_MAX: Duration = Duration::from_secs(16);

/// The subscriptions of a session. All calls must pass the same session.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Size in bytes of the records of each topic that may wait to be taken.
    window: u64,
    /// The subscriptions, by unique keys.
    topics: BTreeMap<u64, Subscription>,
    topics_made: u64,
    /// Keys by the request ids of SUBSCRIBE on the current connection.
    by_id: BTreeMap<RequestId, u64>,
    /// Items that have arrived and were not taken yet.
    queue: VecDeque<(u64, Came)>,
    /// True if a SUBSCRIBE may be unanswered or not sent yet.
    is_unsettled: bool,
    /// When to send the next SUBSCRIBE.
    retry: Deadline,
    /// How long all topics may be unreachable before another server is tried.
    isolated_for: Duration,
    lifeline: Lifeline,
    random: Rng,
    node: Option<NodeId>,
    moved: Option<(NodeId, NodeId)>,
}

/// An item of a topic that was not taken yet.
#[derive(Debug)]
enum Came {
    /// The remaining records of a DELIVER, and the size in bytes of all its records.
    Records(vec::IntoIter<Message>, u64),
    Gap(Offset, Offset),
    Notice(Notice),
    Lost(Offset, Offset),
    End(Error),
}

/// An item of a subscription.
#[derive(Debug)]
pub struct Delivery {
    /// The topic's name.
    pub topic: String,
    /// A record, a gap, unreadable records, or a notice about whether records can arrive. An error is the last item of
    /// a topic: the topic was deleted ([`Status::UnknownTopic`]) or re-created, it lost records at its end, its next
    /// record is too large for this connection, its home's disk fails ([`Status::Storage`]), or it could not be
    /// subscribed to in the first place.
    pub item: Result<Item, Error>,
}

impl Streams {
    pub(crate) fn new(seed: u64, now: Instant) -> Self {
        let mut random = Rng::with_seed(seed);
        Self {
            window: WINDOW_BYTES,
            topics: BTreeMap::new(),
            topics_made: 0,
            by_id: BTreeMap::new(),
            queue: VecDeque::new(),
            is_unsettled: false,
            retry: Deadline::NEVER,
            isolated_for: ISOLATED,
            lifeline: Lifeline::new(random.u64(..), now),
            random,
            node: None,
            moved: None,
        }
    }

    /// Sets how many bytes of records of each topic may wait to be taken, plus one frame.
    pub(crate) fn set_window(&mut self, bytes: u64) {
        self.window = bytes.max(1);
    }

    /// Subscribes to a topic, unless it is subscribed to already. [`Self::advance`] sends SUBSCRIBE.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub(crate) fn add(&mut self, topic: &str, start: Start, now: Instant) -> Result<(), Error> {
        TopicName::new(topic)?;
        if !self.contains(topic) {
            self.topics.insert(self.topics_made, Subscription::new(topic, start, self.random.u64(..), now));
            self.topics_made += 1;
            self.is_unsettled = true;
        }
        Ok(())
    }

    /// Ends the subscription to a topic. Returns the offset of the first record that was not taken, if it is known.
    pub(crate) fn remove(&mut self, session: &mut Session, topic: &str) -> Option<Offset> {
        let cursor = self.cursor(topic);
        let key = self.key(topic)?;
        self.leave(session, key);
        self.topics.remove(&key);
        self.queue.retain(|(of, _)| *of != key);
        self.note_unsettled();
        cursor
    }

    /// Ends all subscriptions.
    pub(crate) fn clear(&mut self, session: &mut Session) {
        self.queue.clear();
        while let Some((&key, _)) = self.topics.first_key_value() {
            self.leave(session, key);
            self.topics.remove(&key);
        }
    }

    /// Returns true if there are no subscriptions, or all have ended and the user has taken their last items.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Returns true if the topic is subscribed to.
    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.key(topic).is_some()
    }

    /// Returns the topics that are subscribed to.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.values().filter(|topic| !matches!(topic.state, State::Ended)).map(|topic| topic.topic.as_str())
    }

    /// Returns the offset of the next record to be taken; `None` if it is unknown yet, or if the topic is not
    /// subscribed to.
    pub(crate) fn cursor(&self, topic: &str) -> Option<Offset> {
        let key = self.key(topic)?;
        let waiting = self.queue.iter().filter(|(of, _)| *of == key).find_map(|(_, came)| match came {
            Came::Records(messages, _) => messages.as_slice().first().map(|message| message.offset),
            Came::Gap(from, _) | Came::Lost(from, _) => Some(*from),
            Came::Notice(_) | Came::End(_) => None,
        });
        waiting.or_else(|| self.topics.get(&key)?.cursor())
    }

    /// Returns true if every subscription is established, has ended, or has a notice that it waits.
    pub(crate) const fn is_settled(&self) -> bool {
        !self.is_unsettled
    }

    /// Returns the nodes from which and to which the subscriptions moved after a lost connection, if they moved since
    /// the last call. The two may be the same.
    pub(crate) const fn moved(&mut self) -> Option<(NodeId, NodeId)> {
        self.moved.take()
    }

    /// Returns true if every subscription is established, has ended, or its user has been notified that it waits.
    pub(crate) fn are_all_settled(&self) -> bool {
        self.topics.values().all(Subscription::is_settled)
    }

    /// Returns true if an item has arrived, or none will.
    pub(crate) fn is_ready(&self) -> bool {
        !self.queue.is_empty() || self.topics.is_empty()
    }

    /// Returns true if an item has arrived.
    pub(crate) fn has_items(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Handles what has arrived and sends what is due, until `is_done`.
    ///
    /// # Errors
    /// Returns an error if no server answers, or if the servers' error is not transient. The next call tries again, and
    /// nothing is lost.
    pub(crate) fn advance(
        &mut self,
        session: &mut Session,
        is_done: impl Fn(&Self) -> bool,
        now: Instant,
    ) -> Result<(), Error> {
        while !is_done(self) {
            match self.step(session, now) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => self.lifeline.on_failure(session, error, now)?,
            }
        }
        Ok(())
    }

    /// Returns when to call [`Self::advance`] although nothing has arrived.
    pub(crate) fn wake_at(&self, session: &Session) -> Deadline {
        self.lifeline.wake_at(session).earlier(self.retry).earlier(self.isolated_at(session))
    }

    fn key(&self, topic: &str) -> Option<u64> {
        let is_it = |of: &Subscription| of.topic == topic && !matches!(of.state, State::Ended);
        self.topics.iter().find(|(_, of)| is_it(of)).map(|(key, _)| *key)
    }

    /// Removes the oldest item, and gives the node credit for it.
    pub(crate) fn take(&mut self, session: &mut Session) -> Option<Delivery> {
        let (key, came) = self.queue.front_mut()?;
        let key = *key;
        let (item, taken) = match came {
            Came::Records(messages, bytes) => {
                let message = messages.next().expect("groups in the queue have records");
                (Ok(Item::Record(message)), if messages.len() == 0 { Some(*bytes) } else { None })
            }
            Came::Gap(from, to) => (Ok(Item::Gap { from: *from, to: *to }), Some(0)),
            Came::Notice(notice) => (Ok(Item::Notice(*notice)), Some(0)),
            Came::Lost(from, to) => (Ok(Item::Lost { from: *from, to: *to }), Some(0)),
            Came::End(_) => {
                let (_, Came::End(error)) = self.queue.pop_front()? else { unreachable!("it was matched above") };
                let topic = self.topics.remove(&key).map(|of| of.topic).unwrap_or_default();
                return Some(Delivery { topic, item: Err(error) });
            }
        };
        let of = self.topics.get_mut(&key).expect("items are removed with their topic");
        let topic = of.topic.clone();
        if let Some(bytes) = taken {
            self.queue.pop_front();
            of.on_taken(bytes);
            self.give_credit(session, key);
        }
        Some(Delivery { topic, item })
    }

    fn give_credit(&mut self, session: &mut Session, key: u64) {
        if !self.lifeline.holds(session) {
            return;
        }
        let Some(of) = self.topics.get_mut(&key) else { return };
        if let (State::Open(id), Some(channel)) = (of.state, session.channel_mut())
            && let Some(limit) = of.credit_due(self.window)
        {
            channel.credit(id, limit);
        }
    }

    /// Ends or abandons a subscription on the current connection.
    fn leave(&mut self, session: &mut Session, key: u64) {
        let Some(id) = self.topics.get(&key).and_then(Subscription::id) else { return };
        self.by_id.remove(&id);
        if self.lifeline.holds(session)
            && let Some(channel) = session.channel_mut()
        {
            match self.topics[&key].state {
                State::Open(_) => channel.unsubscribe(id),
                State::Asked(_) | State::Waiting(_) | State::Ended => channel.abandon(id),
            }
        }
    }

    /// Handles one frame, or sends what is due. Returns `false` if there was none.
    fn step(&mut self, session: &mut Session, now: Instant) -> Result<bool, Error> {
        // A failed connection is replaced only after everything that it had received, and its error, have been handled.
        if let Some(incoming) = session.next_incoming()? {
            return self.on_incoming(session, incoming, now).map(|()| true);
        }
        match self.lifeline.hold(session, now) {
            Held::Same => {}
            Held::New(node) => self.on_connected(node, now),
            Held::NotYet => return Ok(false),
        }
        if self.isolated_at(session).has_passed(now) {
            self.isolated_for = (self.isolated_for * 2).min(ISOLATED_MAX);
            self.node = None; // the node is not lost, so no move is reported
            session.close(now);
            return Ok(true);
        }
        self.ask(session, now)?;
        Ok(false)
    }

    fn on_incoming(&mut self, session: &mut Session, incoming: Incoming, now: Instant) -> Result<(), Error> {
        match incoming {
            Incoming::Answer(answer) => self.on_answer(session, answer, now),
            Incoming::Push(pushed) => self.on_push(session, pushed, now),
        }
    }

    fn on_connected(&mut self, node: NodeId, now: Instant) {
        if let Some(before) = self.node.replace(node) {
            self.moved = Some((self.moved.map_or(before, |(from, _)| from), node));
        }
        self.by_id.clear();
        for of in self.topics.values_mut().filter(|of| of.id().is_some()) {
            of.state = State::Waiting(Deadline::at(now, Duration::ZERO));
            self.is_unsettled = true;
        }
    }

    /// Sends the SUBSCRIBEs that are due.
    fn ask(&mut self, session: &mut Session, now: Instant) -> Result<(), Error> {
        self.retry = Deadline::NEVER;
        if !self.is_unsettled {
            return Ok(());
        }
        let Some(channel) = session.channel_mut() else { return Ok(()) };
        let mut asked = self.topics.values().filter(|of| matches!(of.state, State::Asked(_))).count();
        for (key, of) in &mut self.topics {
            let State::Waiting(not_before) = of.state else { continue };
            if asked >= ASKED_MAX {
                break; // the next response makes room
            }
            if !not_before.has_passed(now) {
                self.retry = self.retry.earlier(not_before);
                continue;
            }
            let id = channel.send(&Request::Subscribe(of.request(self.window)), &[], now)?;
            of.state = State::Asked(id);
            self.by_id.insert(id, *key);
            asked += 1;
        }
        Ok(())
    }

    fn on_answer(&mut self, session: &mut Session, answer: Answer, now: Instant) -> Result<(), Error> {
        let Some(&key) = self.by_id.get(&answer.id) else { return Ok(()) };
        if let Response::Subscribed(subscribed) = answer.response {
            let of = self.topics.get_mut(&key).expect("every id in `by_id` belongs to a topic");
            of.on_subscribed(answer.id, &subscribed).map_err(|fault| session.fault(fault))?;
            self.flow(session, key);
            self.give_credit(session, key); // for what the user has taken since SUBSCRIBE was sent
        } else if let Response::Error(response) = answer.response {
            self.by_id.remove(&answer.id);
            self.on_refused(session, key, refused(session, response), now);
        } else {
            return Err(session.mismatch(Opcode::Subscribe));
        }
        self.note_unsettled();
        Ok(())
    }

    fn note_unsettled(&mut self) {
        self.is_unsettled = self.topics.values().any(|of| matches!(of.state, State::Waiting(_) | State::Asked(_)));
    }

    /// Retries later, or ends the topic.
    fn on_refused(&mut self, session: &Session, key: u64, error: Error, now: Instant) {
        let of = self.topics.get_mut(&key).expect("every id in `by_id` belongs to a topic");
        let readable = if let Error::Refused { response, .. } = &error { response.readable_from() } else { None };
        if let (Some(from), Some(to)) = (of.cursor(), readable)
            && of.on_gap(from, to).is_ok()
        {
            // The user is informed of the unreadable records, and the subscription continues after them.
            of.state = State::Waiting(Deadline::at(now, Duration::ZERO));
            self.is_unsettled = true;
            self.queue.push_back((key, Came::Lost(from, to)));
            return;
        }
        // Subscribing is idempotent, so even a fault of the home is retried for as long as it lasts. Damage on its
        // disk, however, is permanent, and a user who waited for that would never learn of it.
        let is_fault = error.code().map(Class::of) == Some(Class::Server);
        let may_pass = error.is_retryable() || is_fault && error.status() != Some(Status::Storage);
        if !may_pass {
            of.state = State::Ended;
            self.queue.push_back((key, Came::End(error)));
            return;
        }
        self.is_unsettled = true;
        if of.on_refused(&error, now)
            && let Some((node, code)) = session.home(&of.topic).zip(error.code())
        {
            let notice = Notice::Waiting { node, reason: WaitReason::new(code) };
            self.queue.push_back((key, Came::Notice(notice)));
        }
    }

    /// Notes that records of a topic can arrive, and notifies the user if the last notice was that they cannot.
    fn flow(&mut self, session: &Session, key: u64) {
        self.isolated_for = ISOLATED;
        let of = self.topics.get_mut(&key).expect("every id in `by_id` belongs to a topic");
        if of.on_flowing()
            && let Some(node) = session.home(&of.topic)
        {
            self.queue.push_back((key, Came::Notice(Notice::Flowing { node })));
        }
    }

    /// Returns when to replace the connection by one to another server, if no topic can be reached through it until
    /// then.
    fn isolated_at(&self, session: &Session) -> Deadline {
        let mut since = self.lifeline.opened();
        let mut is_any = false;
        for of in self.topics.values().filter(|of| !matches!(of.state, State::Ended)) {
            let Some(waits_since) = of.waits_since else { return Deadline::NEVER };
            (since, is_any) = (since.max(waits_since), true);
        }
        if is_any && session.servers() > 1 { Deadline::at(since, self.isolated_for) } else { Deadline::NEVER }
    }

    fn on_push(&mut self, session: &Session, pushed: Pushed, now: Instant) -> Result<(), Error> {
        let Some(&key) = self.by_id.get(&pushed.subscription) else { return Ok(()) };
        if let Push::Deliver(_) | Push::Gap { .. } = pushed.push {
            self.flow(session, key);
        }
        let of = self.topics.get_mut(&key).expect("every id in `by_id` belongs to a topic");
        match pushed.push {
            Push::Deliver(records) => {
                let came = came(&records).and_then(|came| of.on_records(&records).map(|()| came));
                self.queue.push_back((key, came.map_err(|fault| session.fault(fault))?));
            }
            Push::Gap { from, to } => {
                of.on_gap(from, to).map_err(|fault| session.fault(fault))?;
                self.queue.push_back((key, Came::Gap(from, to)));
            }
            Push::Waiting { node, reason } => {
                let node = session.node_of(node)?;
                if of.on_waiting(now) {
                    let notice = Notice::Waiting { node, reason: WaitReason::new(reason) };
                    self.queue.push_back((key, Came::Notice(notice)));
                }
            }
            Push::Flowing { node } => {
                let node = session.node_of(node)?;
                self.isolated_for = ISOLATED;
                if of.on_flowing() {
                    self.queue.push_back((key, Came::Notice(Notice::Flowing { node })));
                }
            }
            Push::Ended(response) => {
                self.by_id.remove(&pushed.subscription);
                self.on_refused(session, key, refused(session, response), now);
            }
        }
        Ok(())
    }
}

fn came(records: &Fetched) -> Result<Came, Fault> {
    let messages = messages(records).map_err(Fault::Records)?;
    Ok(Came::Records(messages.into_iter(), records.payload.len() as u64))
}

fn refused(session: &Session, response: Box<ErrorResponse>) -> Error {
    Error::Refused { server: session.last_server().to_owned(), response }
}
