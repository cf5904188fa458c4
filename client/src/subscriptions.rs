//! Subscriptions of one client that survive lost connections: every record once and in order.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use std::vec;

use dht_protocol::types::{NodeId, Offset, RequestId, TopicName};
use dht_protocol::wire::request::Start;
use dht_protocol::wire::response::{ErrorResponse, Fetched};
use dht_protocol::wire::{Class, Opcode, Push, Request, Response, Status};

use crate::client::Client;
use crate::clock::{now, pause, random};
use crate::error::{Error, Fault};
use crate::fetch::{Item, Message, messages};
use crate::lifeline::{Held, Lifeline};
use crate::notice::{Notice, WaitReason};
use crate::session::deadline::Deadline;
use crate::session::incoming::{Answer, Incoming, Pushed};
use crate::subscription::{State, Subscription};

/// Default size in bytes of the records of each topic that may wait to be taken.
const WINDOW_BYTES: u64 = 1 << 20;

/// Maximum number of unanswered SUBSCRIBEs: fewer than a node accepts from one client.
const ASKED_MAX: usize = 64;

/// The connection is serviced at least this often while the user takes records that have already arrived.
const LOOK: Duration = Duration::from_secs(1);

/// A connection through which no topic at all can be reached for this long is replaced by one to another server: its
/// node may be cut off from the others. The time doubles with each such change, up to [`ISOLATED_MAX`], because most
/// likely the homes are down.
const ISOLATED: Duration = Duration::from_secs(2);

/// The longest such time.
const ISOLATED_MAX: Duration = Duration::from_secs(16);

/// The subscriptions of a client.
///
/// This is a [`Subscriber`](super::Subscriber) without the client, for programs that also use the client for other
/// requests at any time. Items that arrive meanwhile are kept. All calls must pass the same client.
///
/// # Recovery
/// After a lost connection, after a fault of a node, or when a node announces that it will close, it reconnects, also
/// to another server of the client's list, and resumes each subscription from its cursor. It keeps trying for as long
/// as one server answers. A silent node is sent PING. An error that does not pass ends one topic ([`Delivery::item`] is
/// the error), or is the error of the call.
#[derive(Debug)]
pub struct Subscriptions {
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
    looked: Instant,
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

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            window: WINDOW_BYTES,
            topics: BTreeMap::new(),
            topics_made: 0,
            by_id: BTreeMap::new(),
            queue: VecDeque::new(),
            is_unsettled: false,
            retry: Deadline::NEVER,
            isolated_for: ISOLATED,
            lifeline: Lifeline::new(),
            looked: now(),
            node: None,
            moved: None,
        }
    }
}

impl Subscriptions {
    /// Returns an empty set of subscriptions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many bytes of records of each topic may wait to be taken, plus one frame: 1 MiB by default. A smaller
    /// window reduces the throughput if the node is far away.
    #[must_use]
    pub fn window(mut self, bytes: u64) -> Self {
        self.window = bytes.max(1);
        self
    }

    /// Subscribes to a topic, unless it is subscribed to already. SUBSCRIBE is sent by the next call that passes the
    /// client.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn add(&mut self, topic: &str, start: Start) -> Result<(), Error> {
        TopicName::new(topic)?;
        if !self.contains(topic) {
            self.topics.insert(self.topics_made, Subscription::new(topic, start, random(), now()));
            self.topics_made += 1;
            self.is_unsettled = true;
        }
        Ok(())
    }

    /// Ends the subscription to a topic. Returns the offset of the first record that was not taken, if it is known.
    pub fn remove(&mut self, client: &mut Client, topic: &str) -> Option<Offset> {
        let cursor = self.cursor(topic);
        let key = self.key(topic)?;
        self.leave(client, key);
        self.topics.remove(&key);
        self.queue.retain(|(of, _)| *of != key);
        self.note_unsettled();
        cursor
    }

    /// Ends all subscriptions.
    pub fn clear(&mut self, client: &mut Client) {
        self.queue.clear();
        while let Some((&key, _)) = self.topics.first_key_value() {
            self.leave(client, key);
            self.topics.remove(&key);
        }
        client.flush(); // what is left is written with the next request
    }

    /// Returns true if there are no subscriptions, or all have ended and the user has taken their last items.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Returns true if the topic is subscribed to.
    pub fn contains(&self, topic: &str) -> bool {
        self.key(topic).is_some()
    }

    /// Returns the topics that are subscribed to.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.values().filter(|topic| !matches!(topic.state, State::Ended)).map(|topic| topic.topic.as_str())
    }

    /// Returns the offset of the next record to be taken; `None` if it is unknown yet, or if the topic is not
    /// subscribed to.
    pub fn cursor(&self, topic: &str) -> Option<Offset> {
        let key = self.key(topic)?;
        let waiting = self.queue.iter().filter(|(of, _)| *of == key).find_map(|(_, came)| match came {
            Came::Records(messages, _) => messages.as_slice().first().map(|message| message.offset),
            Came::Gap(from, _) | Came::Lost(from, _) => Some(*from),
            Came::Notice(_) | Came::End(_) => None,
        });
        waiting.or_else(|| self.topics.get(&key)?.cursor())
    }

    /// Returns true if every subscription is established, has ended, or has a notice that it waits.
    pub const fn is_settled(&self) -> bool {
        !self.is_unsettled
    }

    /// Returns the nodes from which and to which the subscriptions moved after a lost connection, if they moved since
    /// the last call. The two may be the same.
    pub const fn moved(&mut self) -> Option<(NodeId, NodeId)> {
        self.moved.take()
    }

    /// Waits until [`Self::is_settled`]: everything that is published from then on will arrive. A topic with an
    /// unreachable home is waited for no longer than a second or two; it is subscribed to as soon as possible, and its
    /// first item is [`Notice::Waiting`].
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn settle(&mut self, client: &mut Client) -> Result<(), Error> {
        let is_settled = |all: &Self| all.topics.values().all(Subscription::is_settled);
        self.drive(client, Deadline::NEVER, is_settled).map(|_| ())
    }

    /// Returns the next item, or `None` if none arrived by the deadline or [`Self::is_empty`]. Without a connection
    /// this may take as long as the client's timeout.
    ///
    /// It must be called at least every ten seconds, because it also answers the node's PINGs.
    ///
    /// # Errors
    /// Returns an error if no server answered for the client's timeout, or if the servers' error does not pass. The
    /// next call tries again, and nothing is lost.
    pub fn next(&mut self, client: &mut Client, deadline: Deadline) -> Result<Option<Delivery>, Error> {
        if self.queue.is_empty() {
            self.drive(client, deadline, |all| !all.queue.is_empty() || all.topics.is_empty())?;
        } else if now().duration_since(self.looked) >= LOOK {
            self.looked = now();
            let _ = client.idle(Duration::ZERO); // what this finds out, the next reading finds too
        }
        Ok(self.take(client))
    }

    fn key(&self, topic: &str) -> Option<u64> {
        let is_it = |of: &Subscription| of.topic == topic && !matches!(of.state, State::Ended);
        self.topics.iter().find(|(_, of)| is_it(of)).map(|(key, _)| *key)
    }

    /// Removes the oldest item, and gives the node credit for it.
    fn take(&mut self, client: &mut Client) -> Option<Delivery> {
        let (key, came) = self.queue.front_mut()?;
        let key = *key;
        let (item, taken) = match came {
            Came::Records(messages, bytes) => {
                let message = messages.next().expect("a group without records is not kept");
                (Ok(Item::Record(message)), if messages.len() == 0 { Some(*bytes) } else { None })
            }
            Came::Gap(from, to) => (Ok(Item::Gap { from: *from, to: *to }), Some(0)),
            Came::Notice(notice) => (Ok(Item::Notice(*notice)), Some(0)),
            Came::Lost(from, to) => (Ok(Item::Lost { from: *from, to: *to }), Some(0)),
            Came::End(_) => {
                let (_, Came::End(error)) = self.queue.pop_front()? else { unreachable!("it was looked at") };
                let topic = self.topics.remove(&key).map(|of| of.topic).unwrap_or_default();
                return Some(Delivery { topic, item: Err(error) });
            }
        };
        let of = self.topics.get_mut(&key).expect("what came of a topic goes with it");
        let topic = of.topic.clone();
        if let Some(bytes) = taken {
            self.queue.pop_front();
            of.on_taken(bytes);
            self.give_credit(client, key);
        }
        Some(Delivery { topic, item })
    }

    fn give_credit(&mut self, client: &mut Client, key: u64) {
        if !self.lifeline.holds(client) {
            return;
        }
        let Some(of) = self.topics.get_mut(&key) else { return };
        if let (State::Open(id), Some(channel)) = (of.state, client.channel())
            && let Some(limit) = of.credit_due(self.window)
        {
            channel.credit(id, limit);
            client.flush(); // what is left is written with what comes next
        }
    }

    /// Ends or abandons a subscription on the current connection.
    fn leave(&mut self, client: &mut Client, key: u64) {
        let Some(id) = self.topics.get(&key).and_then(Subscription::id) else { return };
        self.by_id.remove(&id);
        if self.lifeline.holds(client)
            && let Some(channel) = client.channel()
        {
            match self.topics[&key].state {
                State::Open(_) => channel.unsubscribe(id),
                State::Asked(_) | State::Waiting(_) | State::Ended => channel.abandon(id),
            }
        }
    }

    /// Sends and receives until `is_done`. Returns `false` if the deadline passed first.
    fn drive(
        &mut self,
        client: &mut Client,
        deadline: Deadline,
        is_done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Error> {
        while !is_done(self) {
            self.looked = now();
            match self.step(client, deadline) {
                Ok(true) => {}
                Ok(false) if deadline.is_over() => return Ok(false),
                Ok(false) => {}
                Err(error) => self.lifeline.on_failure(client, error)?,
            }
        }
        Ok(true)
    }

    /// Sends what is due and handles one frame. Returns `false` if none arrived.
    fn step(&mut self, client: &mut Client, deadline: Deadline) -> Result<bool, Error> {
        // A connection that has failed is replaced once what it brought and its error have been handled.
        if let Some(incoming) = client.received_any()? {
            return self.on_incoming(client, incoming).map(|()| true);
        }
        match self.lifeline.hold(client)? {
            Held::Same => {}
            Held::New(node) => self.on_connected(node),
            Held::NotYet(when) => {
                pause(when.earlier(deadline).remaining().unwrap_or_default());
                return Ok(false);
            }
        }
        let isolated_at = self.isolated_at(client);
        if isolated_at.is_over() {
            self.isolated_for = (self.isolated_for * 2).min(ISOLATED_MAX);
            self.node = None; // it is not gone
            client.close();
            return Ok(true);
        }
        self.ask(client)?;
        match client.receive_any(deadline.earlier(self.retry).earlier(isolated_at))? {
            Some(incoming) => self.on_incoming(client, incoming).map(|()| true),
            None => Ok(false),
        }
    }

    fn on_incoming(&mut self, client: &mut Client, incoming: Incoming) -> Result<(), Error> {
        match incoming {
            Incoming::Answer(answer) => self.on_answer(client, answer),
            Incoming::Push(pushed) => self.on_push(client, pushed),
        }
    }

    fn on_connected(&mut self, node: NodeId) {
        if let Some(before) = self.node.replace(node) {
            self.moved = Some((self.moved.map_or(before, |(from, _)| from), node));
        }
        self.by_id.clear();
        for of in self.topics.values_mut().filter(|of| of.id().is_some()) {
            of.state = State::Waiting(Deadline::at_once());
            self.is_unsettled = true;
        }
    }

    /// Sends the SUBSCRIBEs that are due.
    fn ask(&mut self, client: &mut Client) -> Result<(), Error> {
        self.retry = Deadline::NEVER;
        if !self.is_unsettled {
            return Ok(());
        }
        let Some(channel) = client.channel() else { return Ok(()) };
        let mut asked = self.topics.values().filter(|of| matches!(of.state, State::Asked(_))).count();
        for (key, of) in &mut self.topics {
            let State::Waiting(not_before) = of.state else { continue };
            if asked >= ASKED_MAX {
                break; // an answer makes room
            }
            if !not_before.is_over() {
                self.retry = self.retry.earlier(not_before);
                continue;
            }
            let id = channel.send(&Request::Subscribe(of.request(self.window)), &[], now())?;
            of.state = State::Asked(id);
            self.by_id.insert(id, *key);
            asked += 1;
        }
        Ok(())
    }

    fn on_answer(&mut self, client: &mut Client, answer: Answer) -> Result<(), Error> {
        let Some(&key) = self.by_id.get(&answer.id) else { return Ok(()) };
        if let Response::Subscribed(subscribed) = answer.response {
            let of = self.topics.get_mut(&key).expect("an id is that of a topic");
            of.on_subscribed(answer.id, &subscribed).map_err(|fault| client.fault(fault))?;
            self.flow(client, key);
            self.give_credit(client, key); // for what was taken since it was asked
        } else if let Response::Error(response) = answer.response {
            self.by_id.remove(&answer.id);
            self.on_refused(client, key, refused(client, response));
        } else {
            return Err(client.mismatch(Opcode::Subscribe));
        }
        self.note_unsettled();
        Ok(())
    }

    fn note_unsettled(&mut self) {
        self.is_unsettled = self.topics.values().any(|of| matches!(of.state, State::Waiting(_) | State::Asked(_)));
    }

    /// Retries later, or ends the topic.
    fn on_refused(&mut self, client: &Client, key: u64, error: Error) {
        let of = self.topics.get_mut(&key).expect("an id is that of a topic");
        let readable = if let Error::Refused { response, .. } = &error { response.readable_from() } else { None };
        if let (Some(from), Some(to)) = (of.cursor(), readable)
            && of.on_gap(from, to).is_ok()
        {
            // The user is informed of the unreadable records, and the subscription continues after them.
            of.state = State::Waiting(Deadline::after(Duration::ZERO));
            self.is_unsettled = true;
            self.queue.push_back((key, Came::Lost(from, to)));
            return;
        }
        // Subscribing is idempotent, so even a fault of the home is retried for as long as it lasts. Damage on its
        // disk, however, does not pass, and a user who waited for that would never learn of it.
        let is_fault = error.code().map(Class::of) == Some(Class::Server);
        let may_pass = error.is_retryable() || is_fault && error.status() != Some(Status::Storage);
        if !may_pass {
            of.state = State::Ended;
            self.queue.push_back((key, Came::End(error)));
            return;
        }
        self.is_unsettled = true;
        if of.on_refused(&error, now())
            && let Some((node, code)) = client.home(&of.topic).zip(error.code())
        {
            let notice = Notice::Waiting { node, reason: WaitReason::new(code) };
            self.queue.push_back((key, Came::Notice(notice)));
        }
    }

    /// Records that a topic's records can arrive, and notifies the user if the last notice was that they cannot.
    fn flow(&mut self, client: &Client, key: u64) {
        self.isolated_for = ISOLATED;
        let of = self.topics.get_mut(&key).expect("an id is that of a topic");
        if of.on_flowing()
            && let Some(node) = client.home(&of.topic)
        {
            self.queue.push_back((key, Came::Notice(Notice::Flowing { node })));
        }
    }

    /// Returns when to replace the connection by one to another server, if no topic can be reached through it until
    /// then.
    fn isolated_at(&self, client: &Client) -> Deadline {
        let mut since = self.lifeline.opened();
        let mut is_any = false;
        for of in self.topics.values().filter(|of| !matches!(of.state, State::Ended)) {
            let Some(waits_since) = of.waits_since else { return Deadline::NEVER };
            (since, is_any) = (since.max(waits_since), true);
        }
        if is_any && client.servers() > 1 { Deadline::at(since, self.isolated_for) } else { Deadline::NEVER }
    }

    fn on_push(&mut self, client: &Client, pushed: Pushed) -> Result<(), Error> {
        let Some(&key) = self.by_id.get(&pushed.subscription) else { return Ok(()) };
        if let Push::Deliver(_) | Push::Gap { .. } = pushed.push {
            self.flow(client, key);
        }
        let of = self.topics.get_mut(&key).expect("an id is that of a topic");
        match pushed.push {
            Push::Deliver(records) => {
                let came = came(&records).and_then(|came| of.on_records(&records).map(|()| came));
                self.queue.push_back((key, came.map_err(|fault| client.fault(fault))?));
            }
            Push::Gap { from, to } => {
                of.on_gap(from, to).map_err(|fault| client.fault(fault))?;
                self.queue.push_back((key, Came::Gap(from, to)));
            }
            Push::Waiting { node, reason } => {
                let node = client.node_of(node)?;
                if of.on_waiting(now()) {
                    let notice = Notice::Waiting { node, reason: WaitReason::new(reason) };
                    self.queue.push_back((key, Came::Notice(notice)));
                }
            }
            Push::Flowing { node } => {
                let node = client.node_of(node)?;
                self.isolated_for = ISOLATED;
                if of.on_flowing() {
                    self.queue.push_back((key, Came::Notice(Notice::Flowing { node })));
                }
            }
            Push::Ended(response) => {
                self.by_id.remove(&pushed.subscription);
                self.on_refused(client, key, refused(client, response));
            }
        }
        Ok(())
    }
}

fn came(records: &Fetched) -> Result<Came, Fault> {
    let messages = messages(records).map_err(Fault::Records)?;
    Ok(Came::Records(messages.into_iter(), records.payload.len() as u64))
}

fn refused(client: &Client, response: Box<ErrorResponse>) -> Error {
    Error::Refused { server: client.last_server().to_owned(), response }
}
