//! A subscription that checks every frame against the protocol; and records that are recognised by their content.

use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;
use dht_client::Retention;
use dht_node::types::{Epoch, RequestId, TopicId};
use dht_node::wire::request::Start;
use dht_node::wire::response::{ErrorResponse, Fetched, Subscribed};
use dht_node::wire::{Flags, Head, Opcode, Push, Request, Response, records};

use crate::cube::Cube;
use crate::daemon::wait_for;
use crate::raw::{Raw, head, request_frame};
use crate::requests::{publish, published, record, subscribe};

/// Unlimited credit.
pub(crate) const UNBOUNDED: u64 = u64::MAX;

/// A subscription of a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The request id of its SUBSCRIBE.
    pub(crate) id: u64,
    /// The next offset.
    pub(crate) cursor: u64,
    /// Bytes of records received.
    pub(crate) sent: u64,
    /// Bytes of records that may be sent.
    limit: u64,
    /// Number of DELIVER frames received.
    pub(crate) frames: u64,
    topic: TopicId,
    epoch: Epoch,
}

/// An item of a subscription.
#[derive(Debug)]
pub(crate) enum Came {
    /// The values of records.
    Records(Vec<Bytes>),
    /// Retention removed these records.
    Gap(Range<u64>),
    /// The subscription has ended.
    End(ErrorResponse),
}

impl Stream {
    /// Subscribes over a connection of its own, with unlimited credit, to everything that is published from now on.
    pub(crate) fn connect(node: SocketAddr, topic: &str) -> (Raw, Self) {
        let mut raw = Raw::greet(node);
        let stream = Self::open(&mut raw, topic, Start::Next, UNBOUNDED);
        (raw, stream)
    }

    /// Subscribes on a connection.
    pub(crate) fn open(raw: &mut Raw, topic: &str, start: Start, limit: u64) -> Self {
        let id = raw.next_id();
        raw.send(&request_frame(id, &subscribe(topic, start, limit), &[]));
        Self::new(RequestId(id), &raw.answer(id), limit)
    }

    /// Creates a subscription from the response to SUBSCRIBE.
    pub(crate) fn new(id: RequestId, answer: &Response, limit: u64) -> Self {
        let Response::Subscribed(Subscribed { topic_id, epoch, from, .. }) = answer else {
            panic!("{answer:?} is not a response to SUBSCRIBE");
        };
        Self { id: id.0, cursor: from.0, sent: 0, limit, frames: 0, topic: *topic_id, epoch: *epoch }
    }

    /// Raises the credit.
    pub(crate) fn credit(&mut self, raw: &mut Raw, limit: u64) {
        raw.send(&credit_frame(self.id, limit));
        self.limit = self.limit.max(limit);
    }

    /// Returns the next item on a connection without other traffic.
    pub(crate) fn next(&mut self, raw: &mut Raw) -> Came {
        let (id, push) = raw.pushed();
        assert_eq!(id, self.id, "{push:?} belongs to another subscription");
        self.take(push)
    }

    /// Returns the next records, exactly this many.
    pub(crate) fn values(&mut self, raw: &mut Raw, count: u64) -> Vec<Bytes> {
        let (mut values, end) = (Vec::new(), self.cursor + count);
        while self.cursor < end {
            values.extend(self.next(raw).records());
        }
        assert_eq!(self.cursor, end, "a frame contains more records than expected");
        values
    }

    /// Expects the subscription to end next, and checks the reason.
    pub(crate) fn end(&mut self, raw: &mut Raw) -> ErrorResponse {
        match self.next(raw) {
            Came::End(error) => error,
            other => panic!("expected the end of the subscription, got {other:?}"),
        }
    }

    /// Checks that a push is allowed, and returns its content.
    pub(crate) fn take(&mut self, push: Push) -> Came {
        match push {
            Push::Deliver(fetched) => Came::Records(self.take_records(&fetched)),
            Push::Gap { from, to } => {
                assert!(
                    from.0 == self.cursor && to > from,
                    "unexpected gap from {from} to {to}, cursor {}",
                    self.cursor
                );
                self.cursor = to.0;
                Came::Gap(from.0..to.0)
            }
            Push::Waiting { .. } | Push::Flowing { .. } => panic!("{push:?} was not asked for in HELLO"),
            Push::Ended(error) => Came::End(*error),
        }
    }

    fn take_records(&mut self, fetched: &Fetched) -> Vec<Bytes> {
        assert_eq!((fetched.topic_id, fetched.epoch), (self.topic, self.epoch), "{fetched:?} belongs to another topic");
        assert_eq!(
            (fetched.from.0, fetched.base.0),
            (self.cursor, self.cursor),
            "{fetched:?} does not start at the cursor"
        );
        assert!(self.sent < self.limit, "no credit left: {} bytes received of {}", self.sent, self.limit);
        let payload = &fetched.payload.parts[0];
        let values: Vec<Bytes> =
            records::iter(payload).map(|record| payload.slice_ref(record.unwrap().value)).collect();
        assert_eq!(values.len() as u64, u64::from(fetched.count));
        self.cursor += values.len() as u64;
        self.sent += payload.len() as u64;
        self.frames += 1;
        values
    }
}

impl Came {
    /// Returns the values of the records; anything else is an error.
    pub(crate) fn records(self) -> Vec<Bytes> {
        match self {
            Self::Records(values) => values,
            other => panic!("expected records, got {other:?}"),
        }
    }
}

/// Encodes CREDIT.
pub(crate) fn credit_frame(subscription: u64, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = Head { flags: Flags::ONEWAY, ..head(Opcode::Credit, subscription) };
    head.seal(None, (0, 0), &mut bytes, |args| Request::Credit { limit }.encode(args));
    bytes
}

/// Returns a unique value of this many bytes, at least eight.
pub(crate) fn content(number: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number);
    let mut value = number.to_be_bytes().to_vec();
    value.extend(std::iter::repeat_with(|| random.u8(..)).take(bytes - value.len()));
    value
}

/// Publishes each value separately, all of them before reading any response. Returns the ids of the requests.
pub(crate) fn send_all<'v>(raw: &mut Raw, topic: &str, values: impl IntoIterator<Item = &'v Vec<u8>>) -> Vec<u64> {
    let mut frames = Vec::new();
    let send = |value: &Vec<u8>| {
        let id = raw.next_id();
        frames.extend_from_slice(&request_frame(id, &publish(topic, 1), &record(value)));
        id
    };
    let ids = values.into_iter().map(send).collect();
    raw.send(&frames);
    ids
}

/// Returns the offsets of the published values.
pub(crate) fn offsets(raw: &mut Raw, ids: &[u64]) -> Vec<u64> {
    ids.iter().map(|&id| published(&raw.answer(id))).collect()
}

impl Cube {
    /// Creates a topic with the node's default retention.
    pub(crate) fn create(&self, topic: &str) {
        self.client(self.living()[0]).create(topic, Retention::default()).unwrap();
    }

    /// Returns the sum of a counter or gauge over all live nodes.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.living().into_iter().map(|node| self.counter(node, name)).sum()
    }

    /// Waits until no node has subscriptions or any state for those of others.
    pub(crate) fn wait_forgotten(&self) {
        let gauges = ["subscriptions", "followed", "feeds", "tail_bytes"];
        let is_idle = |node| self.counter(node, "inflight") == 1; // this request itself
        wait_for("no subscription is left anywhere", || {
            let are_gone = gauges.iter().all(|gauge| self.total(gauge) == 0);
            (are_gone && self.living().into_iter().all(is_idle)).then_some(())
        });
    }
}
