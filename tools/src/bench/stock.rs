//! The topics that a benchmark makes for itself, and removes in the end.
//!
//! Many are made, filled and removed in a pipeline. What was not done there, for whatever reason, is done one at a time
//! by the client, which tries again where that helps and says why it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dht_node::client::{Address, Client, Connection, Dimension, Error, Retention, TopicId, TopicName};
use dht_node::cube;
use dht_node::types::RequestId;
use dht_node::wire::request::{Publish, Topic};
use dht_node::wire::{Request, Response, Status};

use super::bulk::bulk;
use super::link::connect;
use super::plain::alike;
use crate::interrupt;

/// Bytes that all topics together keep: older records make room, so that no node is filled up.
const BYTES_ALL: u64 = 64 << 20;

/// Bytes that a topic keeps at least.
const BYTES_LEAST: u64 = 64 << 10;

/// So few are as soon done one at a time.
const FEW: usize = 32;

/// So many failures in a row, and nothing more is tried.
const FAILURES_MAX: u32 = 3;

/// Topics.
#[derive(Debug)]
pub(super) struct Stock {
    prefix: String,
    /// Where a pipeline goes to, and how long an answer may take.
    entrance: (Address, Duration),
    retention: Retention,
    topics: Vec<(String, TopicId)>,
    /// So many, from the first on, have a record.
    filled: usize,
    /// Names that may be there or not.
    unsure: BTreeSet<String>,
}

impl Stock {
    /// For at most so many topics.
    pub(super) fn new(prefix: String, most: u32, entrance: (Address, Duration)) -> Self {
        let bytes = (BYTES_ALL / u64::from(most.max(1))).max(BYTES_LEAST);
        let retention = Retention { bytes, ..Retention::default() };
        Self { prefix, entrance, retention, topics: Vec::new(), filled: 0, unsure: BTreeSet::new() }
    }

    /// Begins all their names.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|(name, _)| name.as_str())
    }

    /// Makes or removes some, so that there are so many; fewer after Ctrl-C.
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

    /// Gives each a record to fetch.
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

    /// What fails here is found out by who looks at the answers.
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

    /// Topics of the others that are to be removed in the end as well.
    pub(super) fn inherit(&mut self, names: Vec<String>) {
        self.unsure.extend(names);
    }

    /// How many are at each node.
    pub(super) fn placement(&self, dimension: Dimension) -> Vec<u32> {
        let mut placement = vec![0; 1 << dimension.bits()];
        for name in self.names() {
            let name = TopicName::new(name).expect("it was made under this name");
            placement[usize::from(cube::home(name, dimension).index())] += 1;
        }
        placement
    }

    /// Removes all; gives how many may still be there.
    pub(super) fn clear(&mut self, client: &mut Client) -> usize {
        let mut doomed: Vec<_> = self.topics.drain(..).map(Doomed::known).collect();
        doomed.extend(std::mem::take(&mut self.unsure).into_iter().map(|name| Doomed { name, id: None }));
        self.delete_all(doomed, client).len()
    }

    /// Removes these; gives those that may still be there.
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

/// A topic that is to go.
#[derive(Debug)]
struct Doomed {
    name: String,
    /// Which one it is, where that is known.
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

/// That it is not there is as good as removing it.
fn is_gone(status: Option<Status>) -> bool {
    matches!(status, Some(Status::UnknownTopic | Status::Recreated))
}
