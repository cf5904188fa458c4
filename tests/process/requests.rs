//! Short forms for requests and records.

use bytes::Bytes;
use dht_client::Retention;
use dht_node::types::{Offset, TopicName};
use dht_node::wire::records::Record;
use dht_node::wire::request::{Fetch, Publish, Start, Subscribe, Topic};
use dht_node::wire::{Request, Response};

/// Returns CREATE with the node's default retention.
pub(crate) fn create(topic: &str) -> Request<'_> {
    Request::Create { topic: TopicName::new(topic).unwrap(), retention: Retention::default() }
}

/// Returns a PUBLISH of `count` records without a producer.
pub(crate) fn publish(topic: &str, count: u32) -> Request<'_> {
    Request::Publish(Publish { topic: named(topic), producer: None, count })
}

/// Returns FETCH from an offset, up to this many bytes; 0 means as many as fit.
pub(crate) fn fetch(topic: &str, offset: u64, max_bytes: u32) -> Request<'_> {
    let start = Start::Offset(Offset(offset));
    Request::Fetch(Fetch { topic: named(topic), epoch: None, start, max_bytes, max_records: 0, max_wait_ms: 0 })
}

/// Returns FETCH from an offset that waits for a record for the given time.
pub(crate) fn poll(topic: &str, offset: u64, max_wait_ms: u32) -> Request<'_> {
    match fetch(topic, offset, 0) {
        Request::Fetch(fetch) => Request::Fetch(Fetch { max_wait_ms, ..fetch }),
        other => other,
    }
}

/// Returns SUBSCRIBE with credit for this many bytes.
pub(crate) fn subscribe(topic: &str, start: Start, limit: u64) -> Request<'_> {
    Request::Subscribe(Subscribe { topic: named(topic), epoch: None, start, limit })
}

/// Encodes a record that has only a value.
pub(crate) fn record(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Record { value, ..Record::default() }.encode(&mut bytes).unwrap();
    bytes
}

/// Returns the bytes of records in a response to FETCH.
pub(crate) fn fetched(response: &Response) -> &Bytes {
    match response {
        Response::Fetched(fetched) => &fetched.payload.parts[0],
        other => panic!("{other:?} is not a response to FETCH"),
    }
}

/// Returns the first offset in a response to PUBLISH.
pub(crate) fn published(response: &Response) -> u64 {
    match response {
        Response::Published(published) => published.base.0,
        other => panic!("{other:?} is not a response to PUBLISH"),
    }
}

fn named(topic: &str) -> Topic<'_> {
    Topic { name: TopicName::new(topic).unwrap(), id: None }
}
