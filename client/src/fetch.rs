//! Reading records: one response, or an iterator over many.

use std::collections::VecDeque;
use std::time::Duration;

use dht_protocol::limits::FETCH_WAIT_MAX_MS;
use dht_protocol::types::{Epoch, Offset, TopicId, TopicName};
use dht_protocol::wire::request::{self, Start, Topic};
use dht_protocol::wire::{Opcode, Request, Response};

use crate::caller::{Caller, at_once};
use crate::client::Client;
use crate::error::{Error, Fault};
use crate::item::{Item, Message, messages};
use crate::session::call::Repeat;
use crate::session::deadline::Deadline;
use crate::session::request::OwnedRequest;
use crate::topics::info;

/// One response to FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The epoch of the topic's log.
    pub epoch: Epoch,
    /// The offset that was requested. It is below `base` if the records between were removed by retention.
    pub from: Offset,
    /// The offset of the first record, or of the next one if there are no records.
    pub base: Offset,
    /// The log start offset.
    pub first: Offset,
    /// The log end offset.
    pub next: Offset,
    /// The records; none at the end of the log.
    pub messages: Vec<Message>,
}

impl Client {
    /// Reads up to `max_records` records from `start` with one request; 0 means as many as fit one response. Returns at
    /// least one record if there is one.
    ///
    /// # Errors
    /// Returns the node's error.
    pub fn fetch(&mut self, topic: &str, start: Start, max_records: u32) -> Result<Fetch, Error> {
        at_once(fetch_of(self, topic, None, start, (0, max_records), Duration::ZERO))
    }

    /// Like [`Self::fetch`], but if there is no record at `start` yet, the response waits up to `wait` for one. The
    /// client's timeout counts from the end of that time.
    ///
    /// # Errors
    /// Returns the node's error.
    pub fn fetch_wait(&mut self, topic: &str, start: Start, max_records: u32, wait: Duration) -> Result<Fetch, Error> {
        at_once(fetch_wait(self, topic, start, max_records, wait))
    }

    /// Reads records of a topic that must still be the one with this id, and in this epoch of its log, with one request
    /// of at most `max_bytes` bytes of records; 0 means as many as fit one response. Returns at least one record if
    /// there is one.
    ///
    /// # Errors
    /// Returns [`Status::Recreated`] if the topic has another id, and [`Status::Truncated`] with
    /// [`Detail::Next`](dht_protocol::wire::response::Detail::Next) if the log is in another epoch and its records from
    /// there on are other ones.
    ///
    /// [`Status::Recreated`]: dht_protocol::wire::Status::Recreated
    /// [`Status::Truncated`]: dht_protocol::wire::Status::Truncated
    pub fn fetch_of(
        &mut self,
        topic: &str,
        log: Option<(TopicId, Epoch)>,
        start: Start,
        max_bytes: u32,
    ) -> Result<Fetch, Error> {
        at_once(fetch_of(self, topic, log, start, (max_bytes, 0), Duration::ZERO))
    }

    /// Returns an iterator over all records from `start` up to the log end offset at the first response. Nothing is
    /// requested before the caller asks for the first item.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn records(&mut self, topic: &str, start: Start) -> Result<Records<'_>, Error> {
        Ok(Records { client: self, reading: Reading::new(topic, start)? })
    }
}

/// Reads up to `max_records` records from `start`, and waits up to `wait` for a first one.
pub(crate) async fn fetch_wait(
    client: &mut impl Caller,
    topic: &str,
    start: Start,
    max_records: u32,
    wait: Duration,
) -> Result<Fetch, Error> {
    let end = Deadline::at(client.now(), wait);
    let mut left = wait;
    let (mut identity, mut start) = (None, start);
    loop {
        let slice = left.min(Duration::from_millis(u64::from(FETCH_WAIT_MAX_MS)));
        let fetch = fetch_of(client, topic, identity, start, (0, max_records), slice).await?;
        left = end.left(client.now()).unwrap_or(Duration::MAX);
        if !fetch.messages.is_empty() || left.is_zero() {
            return Ok(fetch);
        }
        // From now on the start is an offset, so that a record published between two requests is not missed.
        start = Start::Offset(fetch.base);
        identity = Some((fetch.topic_id, fetch.epoch));
    }
}

/// Reads records of a topic that must still have this identity, if there is one, with one request.
pub(crate) async fn fetch_of(
    client: &mut impl Caller,
    topic: &str,
    identity: Option<(TopicId, Epoch)>,
    start: Start,
    (max_bytes, max_records): (u32, u32),
    wait: Duration,
) -> Result<Fetch, Error> {
    let request = Request::Fetch(request::Fetch {
        topic: Topic { name: TopicName::new(topic)?, id: identity.map(|(id, _)| id) },
        epoch: identity.map(|(_, epoch)| epoch),
        start,
        max_bytes,
        max_records,
        max_wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
    });
    let outcome = client.call(OwnedRequest::new(&request, &[])?, Repeat::Always, wait).await;
    let Response::Fetched(fetched) = outcome.result? else { return Err(client.mismatch(Opcode::Fetch)) };
    match messages(&fetched) {
        Ok(messages) => Ok(Fetch {
            topic_id: fetched.topic_id,
            epoch: fetched.epoch,
            from: fetched.from,
            base: fetched.base,
            first: fetched.first,
            next: fetched.next,
            messages,
        }),
        Err(error) => Err(client.fault(Fault::Records(error))),
    }
}

/// Which records to read, and those that were read: an iterator without its client.
#[derive(Debug)]
pub(crate) struct Reading {
    topic: String,
    start: Start,
    identity: Option<(TopicId, Epoch)>,
    end: Option<Offset>,
    limit: u64,
    wait: Duration,
    items: VecDeque<Item>,
    is_done: bool,
}

impl Reading {
    /// # Errors
    /// Returns [`Error::Name`].
    pub(crate) fn new(topic: &str, start: Start) -> Result<Self, Error> {
        TopicName::new(topic)?;
        Ok(Self {
            topic: topic.to_owned(),
            start,
            identity: None,
            end: None,
            limit: u64::MAX,
            wait: Duration::ZERO,
            items: VecDeque::new(),
            is_done: false,
        })
    }

    pub(crate) const fn limit(&mut self, records: u64) {
        self.limit = records;
    }

    pub(crate) const fn wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    /// Returns the next item of those that were read.
    pub(crate) fn take(&mut self) -> Option<Item> {
        if self.limit == 0 {
            return None;
        }
        let item = self.items.pop_front()?;
        if let Item::Record(_) = item {
            self.limit -= 1;
        }
        Some(item)
    }

    /// Returns true if no more items are to be requested.
    pub(crate) const fn has_ended(&self) -> bool {
        self.is_done || self.limit == 0
    }

    /// Requests more items. An error ends the reading.
    pub(crate) async fn read_on(&mut self, client: &mut impl Caller) -> Result<(), Error> {
        let result = self.fetch(client).await;
        self.is_done |= result.is_err();
        result
    }

    async fn fetch(&mut self, client: &mut impl Caller) -> Result<(), Error> {
        let max_records = u32::try_from(self.limit).unwrap_or(0);
        let fetched = match self.identity {
            None => fetch_wait(client, &self.topic, self.start, max_records, self.wait).await,
            Some(_) => {
                let (topic, limits) = (&self.topic, (0, max_records));
                fetch_of(client, topic, self.identity, self.start, limits, Duration::ZERO).await
            }
        };
        let fetch = match fetched {
            Ok(fetch) => fetch,
            Err(error) => return self.pass_damage(client, error).await,
        };
        self.identity = Some((fetch.topic_id, fetch.epoch));
        let end = *self.end.get_or_insert(fetch.next);
        let behind = fetch.base.plus(fetch.messages.len() as u64);
        self.start = Start::Offset(behind);
        self.is_done = fetch.messages.is_empty() && fetch.from == fetch.base || behind >= end;
        if fetch.from < fetch.base {
            self.items.push_back(Item::Gap { from: fetch.from, to: fetch.base });
        }
        self.items.extend(fetch.messages.into_iter().filter(|message| message.offset < end).map(Item::Record));
        Ok(())
    }

    /// Continues after records that cannot be read, if the error states where readable records follow.
    async fn pass_damage(&mut self, client: &mut impl Caller, error: Error) -> Result<(), Error> {
        let next = if let Error::Refused { response, .. } = &error { response.readable_from() } else { None };
        match (self.start, next) {
            (Start::Offset(from), Some(to)) if from < to => {
                self.items.push_back(Item::Lost { from, to });
                self.start = Start::Offset(to);
                self.is_done = self.end.is_some_and(|end| to >= end);
                Ok(())
            }
            (Start::Earliest, Some(to)) => {
                let first = info(client, &self.topic).await?.topic.map_or(to, |topic| topic.first);
                self.start = Start::Offset(first.min(to));
                Ok(())
            }
            (Start::Offset(_) | Start::Earliest | Start::Next | Start::Time(_), _) => Err(error),
        }
    }
}

/// An iterator over the records of a topic; see [`Client::records`].
///
/// It remembers the topic id and epoch of the first response. If the topic is re-created or loses records at its end
/// meanwhile, the next item is an error that says so, and the iterator ends.
#[derive(Debug)]
pub struct Records<'c> {
    client: &'c mut Client,
    reading: Reading,
}

impl Records<'_> {
    /// Ends the iterator after `records` records.
    #[must_use]
    pub const fn limit(mut self, records: u64) -> Self {
        self.reading.limit(records);
        self
    }

    /// Waits up to `wait` for a first record if there is none.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.reading.wait(wait);
        self
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.reading.take() {
                return Some(Ok(item));
            }
            if self.reading.has_ended() {
                return None;
            }
            if let Err(error) = at_once(self.reading.read_on(self.client)) {
                return Some(Err(error));
            }
        }
    }
}
