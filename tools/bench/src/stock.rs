//! The topics that a benchmark creates for itself, and deletes at the end.
//!
//! They are created, filled and deleted with pipelining. Whatever fails there, for any reason, is then done one at a
//! time by the client, which retries where that helps and reports the reason where it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dht_client::{Address, Client, Connection, Dimension, Error, Retention, TopicId, TopicName};
use dht_console::interrupt;
use dht_protocol::cube;
use dht_protocol::types::RequestId;
use dht_protocol::wire::request::{Publish, Topic};
use dht_protocol::wire::{Request, Response, Status};

use super::bulk::bulk;
use super::link::connect;
use super::plain::alike;

/// Total size in bytes that all topics may retain: older records are removed, so that no node fills up.
const BYTES_ALL: u64 = 64 << 20;

/// Minimum size in bytes that a topic may retain.
const BYTES_LEAST: u64 = 64 << 10;

/// Up to this number of topics, one at a time is as fast.
const FEW: usize = 32;

/// Number of consecutive failures after which no more topics are tried.
const FAILURES_MAX: u32 = 3;

/// The topics that exist, and what is needed to change their number.
#[derive(Debug)]
pub(super) struct Stock {
    prefix: String,
    /// The address for pipelining, and the time limit for a response.
    entrance: (Address, Duration),
    retention: Retention,
    topics: Vec<(String, TopicId)>,
    /// Number of topics, from the first on, that have a record.
    filled: usize,
    /// Names of topics that may or may not exist.
    unsure: BTreeSet<String>,
}

impl Stock {
    /// Returns a stock for at most this many topics.
    pub(super) fn new(prefix: String, most: u32, entrance: (Address, Duration)) -> Self {
        let bytes = (BYTES_ALL / u64::from(most.max(1))).max(BYTES_LEAST);
        let retention = Retention { bytes, ..Retention::default() };
        Self { prefix, entrance, retention, topics: Vec::new(), filled: 0, unsure: BTreeSet::new() }
    }

    /// The prefix of all their names.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|(name, _)| name.as_str())
    }

    /// Creates or deletes topics until there are this many; fewer after Ctrl-C.
    pub(super) fn resize(&mut self, count: usize, client: &mut Client) -> Result<(), Error> {
        if count < self.topics.len() {
            self.filled = self.filled.min(count);
            let doomed = self.topics.split_off(count).into_iter().map(Doomed::known).collect();
            self.unsure.extend(self.delete_all(doomed, client).into_iter().map(|doomed| doomed.name));
        }
        let names: Vec<_> = (self.topics.len()..count).map(|number| format!("{}{number}", self.prefix)).collect();
        self.unsure.extend(names.iter().cloned());
        let mut made = self.create_all(&names);
        for name in names {
            let id = match made.remove(&name) {
                Some(id) => id,
                None if interrupt::is_pressed() => return Ok(()),
                None => {
                    let (description, _) = client.create(&name, self.retention)?;
                    description.topic.expect("a topic that was made has an id").id
                }
            };
            self.unsure.remove(&name);
            self.topics.push((name, id));
        }
        Ok(())
    }

    fn create_all(&self, names: &[String]) -> BTreeMap<String, TopicId> {
        let mut made = BTreeMap::new();
        let ask = |connection: &mut Connection, name: &&String| {
            connection.send(&Request::Create { topic: TopicName::new(name)?, retention: self.retention }, &[])
        };
        let wanted = names.iter().take_while(|_| !interrupt::is_pressed());
        self.in_a_pipeline(names.len(), wanted, ask, |name, response| {
            if let Response::Created { description, .. } = response
                && let Some(topic) = description.topic
            {
                made.insert(name.clone(), topic.id);
            }
        });
        made
    }

    /// Gives each topic a record for FETCH.
    pub(super) fn fill(&mut self, size: usize, client: &mut Client) -> Result<(), Error> {
        let batch = alike(size, 1)?;
        let mut done = BTreeSet::new();
        let ask = |connection: &mut Connection, name: &&str| {
            let topic = Topic { name: TopicName::new(name)?, id: None };
            let request = Publish { topic, producer: None, count: batch.count() };
            connection.send(&Request::Publish(request), batch.payload())
        };
        let wanted = self.names().skip(self.filled).take_while(|_| !interrupt::is_pressed());
        self.in_a_pipeline(self.topics.len() - self.filled, wanted, ask, |name, response| {
            if matches!(response, Response::Published(_)) {
                done.insert(name);
            }
        });
        for name in self.names().skip(self.filled).filter(|name| !done.contains(name)) {
            if interrupt::is_pressed() {
                return Ok(());
            }
            client.publish(name, &batch)?;
        }
        self.filled = self.topics.len();
        Ok(())
    }

    /// Makes a request for each item with pipelining. Failures are ignored here: the caller notices which items have no
    /// successful response.
    fn in_a_pipeline<T>(
        &self,
        count: usize,
        things: impl Iterator<Item = T>,
        ask: impl FnMut(&mut Connection, &T) -> Result<RequestId, Error>,
        on_answer: impl FnMut(T, Response),
    ) {
        let (address, timeout) = &self.entrance;
        if count > FEW
            && let Ok(mut connection) = connect(address, *timeout)
        {
            let _ = bulk(&mut connection, *timeout, things, ask, on_answer);
        }
    }

    /// Adds topics that others have created, so that [`Self::clear`] deletes them as well.
    pub(super) fn inherit(&mut self, names: Vec<String>) {
        self.unsure.extend(names);
    }

    /// Returns the number of topics at each node.
    pub(super) fn placement(&self, dimension: Dimension) -> Vec<u32> {
        let mut placement = vec![0; 1 << dimension.bits()];
        for name in self.names() {
            let name = TopicName::new(name).expect("it was made under this name");
            placement[usize::from(cube::home(name, dimension).index())] += 1;
        }
        placement
    }

    /// Deletes all topics. Returns how many may still exist.
    pub(super) fn clear(&mut self, client: &mut Client) -> usize {
        let mut doomed: Vec<_> = self.topics.drain(..).map(Doomed::known).collect();
        doomed.extend(std::mem::take(&mut self.unsure).into_iter().map(|name| Doomed { name, id: None }));
        self.delete_all(doomed, client).len()
    }

    /// Deletes these topics. Returns those that may still exist.
    fn delete_all(&self, doomed: Vec<Doomed>, client: &mut Client) -> Vec<Doomed> {
        let mut gone = BTreeSet::new();
        let ask = |connection: &mut Connection, doomed: &&Doomed| {
            connection.send(&Request::Delete(Topic { name: TopicName::new(&doomed.name)?, id: doomed.id }), &[])
        };
        self.in_a_pipeline(doomed.len(), doomed.iter(), ask, |doomed, response| {
            let was_there = matches!(response, Response::Deleted { .. });
            let status = if let Response::Error(error) = &response { Status::from_number(error.status) } else { None };
            if was_there || is_gone(status) {
                gone.insert(doomed.name.clone());
            }
        });
        let mut in_a_row = 0;
        let mut kept = Vec::new();
        for doomed in doomed.into_iter().filter(|doomed| !gone.contains(&doomed.name)) {
            if in_a_row < FAILURES_MAX && delete(&doomed, client).is_ok() {
                in_a_row = 0;
            } else {
                in_a_row += 1;
                kept.push(doomed);
            }
        }
        kept
    }
}

/// A topic to delete.
#[derive(Debug)]
struct Doomed {
    name: String,
    /// Its id, if known.
    id: Option<TopicId>,
}

impl Doomed {
    fn known((name, id): (String, TopicId)) -> Self {
        Self { name, id: Some(id) }
    }
}

fn delete(doomed: &Doomed, client: &mut Client) -> Result<(), Error> {
    let outcome = match doomed.id {
        Some(id) => client.delete_id(&doomed.name, id),
        None => client.delete(&doomed.name),
    };
    match outcome {
        Err(error) if !is_gone(error.status()) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A topic that does not exist counts as deleted.
fn is_gone(status: Option<Status>) -> bool {
    matches!(status, Some(Status::UnknownTopic | Status::Recreated))
}
