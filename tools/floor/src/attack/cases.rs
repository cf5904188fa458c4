//! The attacks.

use std::fmt;
use std::str::FromStr;

use dht_protocol::limits::PAYLOAD_MAX;
use dht_protocol::types::{NodeId, Offset, RequestId, TopicName};
use dht_protocol::wire::records::Record;
use dht_protocol::wire::request::{Fetch, List, Start, Subscribe, Topic};
use dht_protocol::wire::{DecodeError, Request};

use super::ground::Topics;
use crate::error::Error;
use crate::session::{encode, publish};

/// Number of records of five bytes in a batch of nearly the largest size.
pub(super) const DEEP_RECORDS: u32 = 200_000;

/// Size of a record's value that fills a frame, in bytes.
pub(super) const LARGE_BYTES: usize = PAYLOAD_MAX as usize - 100;

/// Number of copies of a short request in one buffer.
const REPEATED: usize = 1000;

/// Number of subscriptions of each connection: close to the limit of a node.
const SUBSCRIPTIONS: u64 = 4000;

/// How long a FETCH waits for a first record, in milliseconds.
const WAIT_MS: u32 = 30_000;

/// An attack: its name, its connections, and what they send.
pub(crate) struct Case {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// Number of connections.
    pub(super) conns: usize,
    /// Number of source addresses that the connections use; 0 if they share the polite client's address.
    pub(super) sources: u8,
    /// Number of connections that always have more requests than the node serves. The node's capacity is divided among
    /// these and the polite client; connections that are idle do not count.
    busy: usize,
    /// Time until the attack has taken full effect, in milliseconds.
    pub(super) settle_ms: u64,
    /// What each connection sends.
    script: fn(&Topics, usize) -> Result<Script, Error>,
}

/// What one connection sends after its HELLO.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    /// Sent once.
    pub(super) once: Vec<u8>,
    /// Repeated after that until the process is killed.
    pub(super) again: Vec<u8>,
    /// True if the connection does not read the responses.
    pub(super) is_deaf: bool,
    /// Maximum number of bytes per second; `None` means as many as the node reads.
    pub(super) bytes_per_second: Option<u32>,
}

/// The defaults of a case.
const CASE: Case = Case { name: "", conns: 1, sources: 0, busy: 0, settle_ms: 0, script: |_, _| Ok(Script::default()) };

/// All attacks.
pub(super) static CASES: [Case; 15] = [
    Case { name: "deep-1", conns: 1, busy: 1, script: deep, ..CASE },
    Case { name: "deep-8", conns: 8, busy: 8, script: deep, ..CASE },
    Case { name: "deep-64-elsewhere", conns: 64, sources: 2, busy: 64, script: deep, ..CASE },
    Case { name: "waiting", conns: 40, script: waiting, ..CASE },
    Case { name: "unread-1", conns: 1, script: unread, settle_ms: 500, ..CASE },
    Case { name: "unread-64", conns: 64, script: unread, settle_ms: 500, ..CASE },
    Case { name: "unread-64-elsewhere", conns: 64, sources: 4, script: unread, settle_ms: 500, ..CASE },
    Case { name: "large-1", conns: 1, busy: 1, script: large, ..CASE },
    Case { name: "large-3", conns: 3, busy: 3, script: large, ..CASE },
    Case { name: "list", conns: 8, busy: 8, script: list, ..CASE },
    Case { name: "batches", conns: 8, busy: 8, script: batches, ..CASE },
    Case { name: "partial", conns: 300, script: partial, settle_ms: 500, ..CASE },
    Case { name: "trickle", conns: 1, script: trickle, ..CASE },
    Case { name: "churn", conns: 4, busy: 4, script: churn, settle_ms: 500, ..CASE },
    Case { name: "fan-out", conns: 25, busy: 25, script: fan_out, settle_ms: 2000, ..CASE },
];

impl Case {
    /// Returns what a connection sends.
    pub(super) fn script(&self, topics: &Topics, conn: usize) -> Result<Script, Error> {
        (self.script)(topics, conn)
    }

    /// Returns the number of competitors that are each entitled to as much as the polite client: the busy connections
    /// from its own address, or else the other source addresses.
    pub(super) fn competitors(&self) -> usize {
        if self.busy > 0 && self.sources > 0 { usize::from(self.sources) } else { self.busy }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for &'static Case {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        CASES.iter().find(|case| case.name == word).ok_or_else(|| {
            let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            format!("there is no attack {word:?}; there are {}", names.join(", "))
        })
    }
}

/// Reads from the middle of a large batch of tiny records up to its end.
fn deep(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    Ok(Script { again: deep_fetch(topics)?.repeat(REPEATED), ..Script::default() })
}

fn deep_fetch(topics: &Topics) -> Result<Vec<u8>, Error> {
    Ok(encode(&fetch(&topics.deep, u64::from(DEEP_RECORDS) - 1000, (0, 0))?, 1, &[]))
}

/// Waits for the first record of an empty topic.
fn waiting(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    let mut once = Vec::new();
    for id in 1..=8 {
        once.extend(encode(&fetch(&topics.quiet, 0, (0, WAIT_MS))?, id, &[]));
    }
    Ok(Script { once, ..Script::default() })
}

/// Requests 256 records of 1 MiB and does not read them.
fn unread(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    let once = encode(&fetch(&topics.large, 0, (1, 0))?, 1, &[]).repeat(256);
    Ok(Script { once, is_deaf: true, ..Script::default() })
}

/// Pipelines requests with `max_bytes` 1, each of which is nevertheless answered with a record of 1 MiB.
fn large(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    let again = encode(&fetch(&topics.large, 0, (1, 0))?, 1, &[]).repeat(1024);
    Ok(Script { again, ..Script::default() })
}

/// Lists topics with a prefix that no topic has, so that the node examines all of them.
fn list(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    Ok(Script { again: empty_list(topics.home).repeat(REPEATED), ..Script::default() })
}

fn empty_list(node: NodeId) -> Vec<u8> {
    let list = List { node: node.index(), max: 0, cursor: 0, prefix: "no topic begins so" };
    encode(&Request::List(list), 2, &[])
}

/// Publishes batches of tiny records, which the node examines one by one.
fn batches(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    Ok(Script { again: publish(&topics.bulk, 1, DEEP_RECORDS, &tiny_records()?)?, ..Script::default() })
}

/// Sends part of a frame of 1 MiB and never the rest.
fn partial(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    let mut once = publish(&topics.bulk, 1, DEEP_RECORDS, &tiny_records()?)?;
    once.truncate(432 << 10);
    Ok(Script { once, ..Script::default() })
}

/// Sends the most expensive short requests at a low rate.
fn trickle(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    let again = [deep_fetch(topics)?, empty_list(topics.home)].concat().repeat(REPEATED);
    Ok(Script { again, bytes_per_second: Some(90_000), ..Script::default() })
}

/// Begins and ends thousands of subscriptions.
fn churn(topics: &Topics, _conn: usize) -> Result<Script, Error> {
    let mut again = Vec::new();
    for id in 1..=SUBSCRIPTIONS {
        again.extend(encode(&subscribe(&topics.quiet, 0)?, id, &[]));
    }
    for id in 1..=SUBSCRIPTIONS {
        let subscription = RequestId(id);
        again.extend(encode(&Request::Unsubscribe { subscription }, SUBSCRIPTIONS + id, &[]));
    }
    Ok(Script { again, ..Script::default() })
}

/// Publishes to a topic with nearly as many subscriptions as a node accepts.
fn fan_out(topics: &Topics, conn: usize) -> Result<Script, Error> {
    if conn == 0 {
        let mut records = Vec::new();
        Record { value: b"x", ..Record::default() }.encode(&mut records).map_err(|_| Error::Unsupported)?;
        let again = publish(&topics.fan, 1, 1, &records)?.repeat(REPEATED);
        return Ok(Script { again, ..Script::default() });
    }
    let mut once = Vec::new();
    for id in 1..=SUBSCRIPTIONS {
        once.extend(encode(&subscribe(&topics.fan, u64::MAX)?, id, &[]));
    }
    Ok(Script { once, ..Script::default() })
}

/// Returns a FETCH from an offset, with a limit in bytes and a waiting time in milliseconds.
fn fetch(topic: &str, from: u64, (max_bytes, max_wait_ms): (u32, u32)) -> Result<Request<'_>, Error> {
    let start = Start::Offset(Offset(from));
    Ok(Request::Fetch(Fetch { topic: named(topic)?, epoch: None, start, max_bytes, max_records: 0, max_wait_ms }))
}

fn subscribe(topic: &str, limit: u64) -> Result<Request<'_>, Error> {
    Ok(Request::Subscribe(Subscribe { topic: named(topic)?, epoch: None, start: Start::Next, limit }))
}

fn named(name: &str) -> Result<Topic<'_>, Error> {
    Ok(Topic { name: TopicName::new(name).map_err(DecodeError::from)?, id: None })
}

/// Returns [`DEEP_RECORDS`] records without a value.
pub(super) fn tiny_records() -> Result<Vec<u8>, Error> {
    let mut record = Vec::new();
    Record { value: b"", ..Record::default() }.encode(&mut record).map_err(|_| Error::Unsupported)?;
    Ok(record.repeat(DEEP_RECORDS as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_protocol::types::Dimension;

    #[test]
    fn each_attack_has_a_name_of_its_own_and_sends_something() {
        let topics = Topics::at(NodeId::from_low_bits(7, Dimension::new(3).unwrap()), Dimension::new(3).unwrap());
        for case in &CASES {
            assert!(std::ptr::eq(case.name.parse::<&Case>().unwrap(), case), "{}", case.name);
            for conn in [0, 1] {
                let script = case.script(&topics, conn).unwrap();
                assert!(!script.once.is_empty() || !script.again.is_empty(), "{}", case.name);
            }
        }
        assert!("unknown".parse::<&Case>().unwrap_err().contains("deep-8"));
    }

    #[test]
    fn an_equal_share_is_one_among_connections_or_among_addresses() {
        let competitors = |name: &str| name.parse::<&Case>().unwrap().competitors();
        assert_eq!(["deep-8", "deep-64-elsewhere", "unread-64"].map(competitors), [8, 2, 0]);
    }
}
