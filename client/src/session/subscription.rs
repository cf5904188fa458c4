//! A subscription to one topic: its cursor and its credit.
//!
//! Bytes are counted over all connections. Each SUBSCRIBE counts from 0, so the bytes received before it are
//! subtracted.

use std::time::{Duration, Instant};

use dht_protocol::types::{Epoch, Offset, RequestId, TopicId, TopicName};
use dht_protocol::wire::request::{Start, Subscribe, Topic};
use dht_protocol::wire::response::{Fetched, Subscribed};

use crate::error::{Error, Fault};
use crate::session::backoff::Backoff;
use crate::session::deadline::Deadline;

/// How long attempts to subscribe may fail before the user is notified: a node that is restarted is back sooner.
const NOTIFIED_AFTER: Duration = Duration::from_secs(1);

/// Minimum pause between attempts after the notification.
const AGAIN: Duration = Duration::from_millis(400);

/// A subscription to a topic, which outlives its connections.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) topic: String,
    pub(crate) state: State,
    /// The pauses between attempts to subscribe.
    backoff: Backoff,
    /// The time since which all attempts to subscribe have failed, or the home has been unreachable according to a
    /// node.
    pub(crate) waits_since: Option<Instant>,
    /// True if the user's last notice was that records cannot arrive.
    is_notified_waiting: bool,
    /// The next offset.
    cursor: Start,
    identity: Option<(TopicId, Epoch)>,
    /// Bytes of records received.
    received: u64,
    /// Bytes of records received before the current SUBSCRIBE.
    received_before: u64,
    /// Bytes of records that the user has taken.
    taken: u64,
    /// Bytes of records that nodes may send in total.
    granted: u64,
}

/// The state of a subscription on the current connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// SUBSCRIBE is to be sent, but not before that time.
    Waiting(Deadline),
    /// SUBSCRIBE is unanswered.
    Asked(RequestId),
    /// Records may arrive.
    Open(RequestId),
    /// It has ended. The reason is in the queue of items that the user has not taken yet.
    Ended,
}

impl Subscription {
    pub(crate) fn new(topic: &str, start: Start, seed: u64, now: Instant) -> Self {
        Self {
            topic: topic.to_owned(),
            state: State::Waiting(Deadline::at(now, Duration::ZERO)),
            backoff: Backoff::new(seed),
            waits_since: None,
            is_notified_waiting: false,
            cursor: start,
            identity: None,
            received: 0,
            received_before: 0,
            taken: 0,
            granted: 0,
        }
    }

    /// Returns the request id of its SUBSCRIBE on this connection, if there is one.
    pub(crate) const fn id(&self) -> Option<RequestId> {
        match self.state {
            State::Asked(id) | State::Open(id) => Some(id),
            State::Waiting(_) | State::Ended => None,
        }
    }

    /// Returns true if it is established, has ended, or the user has been notified that it waits.
    pub(crate) const fn is_settled(&self) -> bool {
        matches!(self.state, State::Open(_) | State::Ended) || self.is_notified_waiting
    }

    /// Retries after a pause, because an attempt to subscribe failed for a temporary reason, or the node ended the
    /// subscription for one. Returns true if the user must be notified that it waits.
    pub(crate) fn on_refused(&mut self, error: &Error, now: Instant) -> bool {
        let since = *self.waits_since.get_or_insert(now);
        let mut pause = self.backoff.next(error, Deadline::NEVER, now);
        if self.is_notified_waiting {
            pause += AGAIN; // a long outage is probed less often
        }
        self.state = State::Waiting(Deadline::at(now, pause));
        now.duration_since(since) >= NOTIFIED_AFTER && !std::mem::replace(&mut self.is_notified_waiting, true)
    }

    /// Handles a node's notice that the home is unreachable. Returns true if the user must be notified.
    pub(crate) fn on_waiting(&mut self, now: Instant) -> bool {
        self.waits_since.get_or_insert(now);
        !std::mem::replace(&mut self.is_notified_waiting, true)
    }

    /// Notes that records can arrive. Returns true if the user must be notified, because the last notice was that they
    /// cannot.
    pub(crate) fn on_flowing(&mut self) -> bool {
        self.waits_since = None;
        std::mem::take(&mut self.is_notified_waiting)
    }

    /// Returns the next offset, once it is known.
    pub(crate) const fn cursor(&self) -> Option<Offset> {
        match self.cursor {
            Start::Offset(offset) => Some(offset),
            Start::Earliest | Start::Next | Start::Time(_) => None,
        }
    }

    /// Returns SUBSCRIBE from the cursor, with the credit that the window allows.
    pub(crate) fn request(&mut self, window: u64) -> Subscribe<'_> {
        self.received_before = self.received;
        self.granted = self.taken.saturating_add(window).max(self.received);
        Subscribe {
            topic: Topic {
                name: TopicName::new(&self.topic).expect("it was checked when it was added"),
                id: self.identity.map(|(id, _)| id),
            },
            epoch: self.identity.map(|(_, epoch)| epoch),
            start: self.cursor,
            limit: self.granted - self.received_before,
        }
    }

    /// Handles the response to SUBSCRIBE.
    pub(crate) fn on_subscribed(&mut self, id: RequestId, answer: &Subscribed) -> Result<(), Fault> {
        self.check_identity(answer.topic_id, answer.epoch)?;
        self.check_offset(answer.from)?;
        self.identity = Some((answer.topic_id, answer.epoch));
        self.cursor = Start::Offset(answer.from);
        self.state = State::Open(id);
        self.backoff.reset();
        Ok(())
    }

    /// Handles received records.
    pub(crate) fn on_records(&mut self, records: &Fetched) -> Result<(), Fault> {
        self.check_identity(records.topic_id, records.epoch)?;
        self.check_offset(records.base)?;
        self.cursor = Start::Offset(records.base.plus(u64::from(records.count)));
        self.received += records.payload.len() as u64;
        Ok(())
    }

    /// Handles a gap: retention removed records before they were sent.
    pub(crate) fn on_gap(&mut self, from: Offset, to: Offset) -> Result<(), Fault> {
        self.check_offset(from)?;
        if to <= from {
            return Err(Fault::Hole { expected: from.plus(1), found: to });
        }
        self.cursor = Start::Offset(to);
        Ok(())
    }

    fn check_identity(&self, topic_id: TopicId, epoch: Epoch) -> Result<(), Fault> {
        if self.identity.is_none_or(|identity| identity == (topic_id, epoch)) { Ok(()) } else { Err(Fault::Foreign) }
    }

    fn check_offset(&self, found: Offset) -> Result<(), Fault> {
        match self.cursor() {
            Some(expected) if expected != found => Err(Fault::Hole { expected, found }),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes that the user has taken this many bytes of records.
    pub(crate) fn on_taken(&mut self, bytes: u64) {
        self.taken += bytes;
        assert!(self.taken <= self.received, "only received bytes are taken");
    }

    /// Returns the limit for CREDIT if at least half of the window has been taken since the last one.
    pub(crate) fn credit_due(&mut self, window: u64) -> Option<u64> {
        let granted = self.taken.saturating_add(window);
        if granted <= self.granted || granted - self.granted < window.div_ceil(2) {
            return None;
        }
        self.granted = granted;
        Some(granted - self.received_before)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::now;
    use dht_protocol::wire::response::{Payload, Run};

    fn subscribed(from: u64) -> Subscribed {
        let (topic_id, epoch) = (TopicId::new(7).unwrap(), Epoch(1));
        Subscribed { topic_id, epoch, from: Offset(from), first: Offset(0), next: Offset(100) }
    }

    /// Returns one record of this many bytes.
    fn record(offset: u64, bytes: usize) -> Fetched {
        let parts = vec![Bytes::from(vec![0; bytes])];
        Fetched {
            topic_id: TopicId::new(7).unwrap(),
            epoch: Epoch(1),
            from: Offset(offset),
            base: Offset(offset),
            count: 1,
            first: Offset(0),
            next: Offset(100),
            runs: vec![Run { count: 1, append_us: 1 }],
            payload: Payload { parts, crc: None },
        }
    }

    #[test]
    fn credit_is_what_was_taken_and_the_window_and_is_given_by_halves() {
        let mut topic = Subscription::new("t", Start::Next, 1, now());
        assert_eq!(topic.request(100).limit, 100);
        topic.on_subscribed(RequestId(2), &subscribed(0)).unwrap();
        // Bytes of a record that arrives and is taken, and the CREDIT that follows.
        for (offset, (bytes, credit)) in
            [(30, None), (19, None), (1, Some(150)), (49, None), (130, Some(329)), (50, Some(379))]
                .into_iter()
                .enumerate()
        {
            topic.on_records(&record(offset as u64, bytes)).unwrap();
            topic.on_taken(bytes as u64);
            assert_eq!(topic.credit_due(100), credit, "{offset}");
            assert_eq!(topic.credit_due(100), None, "{offset}: once");
        }
        // A window that holds a single record still makes progress.
        assert_eq!(Subscription::new("t", Start::Next, 1, now()).request(1).limit, 1);
    }

    #[test]
    fn a_new_subscription_has_room_for_what_was_not_taken_yet() {
        let mut topic = Subscription::new("t", Start::Next, 1, now());
        topic.request(100);
        topic.on_subscribed(RequestId(2), &subscribed(5)).unwrap();
        topic.on_records(&record(5, 60)).unwrap();
        let again = topic.request(100);
        assert_eq!((again.limit, again.start), (40, Start::Offset(Offset(6))));
        assert_eq!((again.topic.id, again.epoch), (TopicId::new(7), Some(Epoch(1))));
        topic.on_subscribed(RequestId(2), &subscribed(6)).unwrap();
        topic.on_records(&record(6, 90)).unwrap();
        // More bytes are waiting than the window holds.
        assert_eq!(topic.request(100).limit, 0);
        topic.on_taken(60);
        assert_eq!(topic.credit_due(100), None);
        topic.on_taken(90);
        assert_eq!(topic.credit_due(100), Some(100));
    }

    #[test]
    fn what_does_not_follow_is_a_fault() {
        let mut topic = Subscription::new("t", Start::Offset(Offset(3)), 1, now());
        let hole = |expected, found| Err(Fault::Hole { expected: Offset(expected), found: Offset(found) });
        assert_eq!(topic.on_subscribed(RequestId(2), &subscribed(4)), hole(3, 4));
        topic.on_subscribed(RequestId(2), &subscribed(3)).unwrap();
        assert_eq!(topic.on_records(&record(4, 1)), hole(3, 4));
        assert_eq!(topic.on_records(&record(2, 1)), hole(3, 2));
        assert_eq!(topic.on_records(&Fetched { epoch: Epoch(2), ..record(3, 1) }), Err(Fault::Foreign));
        assert_eq!(topic.on_gap(Offset(4), Offset(9)), hole(3, 4));
        assert_eq!(topic.on_gap(Offset(3), Offset(3)), hole(4, 3));
        topic.on_gap(Offset(3), Offset(9)).unwrap();
        topic.on_records(&record(9, 1)).unwrap();
        assert_eq!(topic.cursor(), Some(Offset(10)));
    }
}
