//! Requests and records in short.

use bytes::Bytes;
use dht_node::client::Retention;
use dht_node::types::{Offset, TopicName};
use dht_node::wire::records::Record;
use dht_node::wire::request::{Fetch, Publish, Start, Subscribe, Topic};
use dht_node::wire::{Request, Response};

/// Makes a topic with the retention of its node.
pub(crate) fn create(topic: &str) -> Request<'_> {
    Request::Create { topic: TopicName::new(topic).unwrap(), retention: Retention::default() }
}

/// Publishes so many records, once.
pub(crate) fn publish(topic: &str, count: u32) -> Request<'_> {
    Request::Publish(Publish { topic: named(topic), producer: None, count })
}

/// Reads from an offset on, up to so many bytes; 0 is as many as fit.
pub(crate) fn fetch(topic: &str, offset: u64, max_bytes: u32) -> Request<'_> {
    let start = Start::Offset(Offset(offset));
    Request::Fetch(Fetch { topic: named(topic), epoch: None, start, max_bytes, max_records: 0, max_wait_ms: 0 })
}

/// Reads from an offset on; while there is nothing, the answer waits so long.
pub(crate) fn poll(topic: &str, offset: u64, max_wait_ms: u32) -> Request<'_> {
    match fetch(topic, offset, 0) {
        Request::Fetch(fetch) => Request::Fetch(Fetch { max_wait_ms, ..fetch }),
        other => other,
    }
}

/// Subscribes, with credit for so many bytes.
pub(crate) fn subscribe(topic: &str, start: Start, limit: u64) -> Request<'_> {
    Request::Subscribe(Subscribe { topic: named(topic), epoch: None, start, limit })
}

/// A record with nothing but a value.
pub(crate) fn record(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Record { value, ..Record::default() }.encode(&mut bytes).unwrap();
    bytes
}

/// The bytes of records in an answer to FETCH.
pub(crate) fn fetched(response: &Response) -> &Bytes {
    match response {
        Response::Fetched(fetched) => &fetched.payload.parts[0],
        other => panic!("{other:?} is no answer to FETCH"),
    }
}

/// The first offset in an answer to PUBLISH.
pub(crate) fn published(response: &Response) -> u64 {
    match response {
        Response::Published(published) => published.base.0,
        other => panic!("{other:?} is no answer to PUBLISH"),
    }
}

fn named(topic: &str) -> Topic<'_> {
    Topic { name: TopicName::new(topic).unwrap(), id: None }
}
