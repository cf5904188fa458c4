//! The topics that a benchmark makes for itself, and removes in the end.

use std::collections::BTreeSet;

use dht_node::client::{Batch, Client, Dimension, Error, Retention, TopicId, TopicName};
use dht_node::cube;
use dht_node::wire::Status;

/// Bytes that all topics together keep: older records make room, so that no node is filled up.
const BYTES_ALL: u64 = 64 << 20;

/// Bytes that a topic keeps at least.
const BYTES_LEAST: u64 = 64 << 10;

/// So many failures in a row, and nothing more is tried.
const FAILURES_MAX: u32 = 3;

/// Topics.
#[derive(Debug)]
pub(super) struct Stock {
    prefix: String,
    retention: Retention,
    topics: Vec<(String, TopicId)>,
    /// So many, from the first on, have a record.
    filled: usize,
    /// Names that may be there or not.
    unsure: BTreeSet<String>,
}

impl Stock {
    /// For at most so many topics.
    pub(super) fn new(prefix: String, most: u32) -> Self {
        let bytes = (BYTES_ALL / u64::from(most.max(1))).max(BYTES_LEAST);
        let retention = Retention { bytes, ..Retention::default() };
        Self { prefix, retention, topics: Vec::new(), filled: 0, unsure: BTreeSet::new() }
    }

    /// Begins all their names.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|(name, _)| name.as_str())
    }

    /// Makes or removes some, so that there are so many.
    pub(super) fn resize(&mut self, count: usize, client: &mut Client) -> Result<(), Error> {
        while let Some((name, id)) = self.pop_beyond(count) {
            self.unsure.insert(name.clone());
            delete(&name, Some(id), client)?;
            self.unsure.remove(&name);
        }
        while self.topics.len() < count {
            let name = format!("{}{}", self.prefix, self.topics.len());
            self.unsure.insert(name.clone());
            let (description, _) = client.create(&name, self.retention)?;
            self.unsure.remove(&name);
            let id = description.topic.expect("a topic that was made has an id").id;
            self.topics.push((name, id));
        }
        Ok(())
    }

    fn pop_beyond(&mut self, count: usize) -> Option<(String, TopicId)> {
        if self.topics.len() <= count {
            return None;
        }
        self.filled = self.filled.min(self.topics.len() - 1);
        self.topics.pop()
    }

    /// Gives each a record to fetch.
    pub(super) fn fill(&mut self, size: usize, client: &mut Client) -> Result<(), Error> {
        let batch = Batch::of(&vec![b'x'; size]);
        while let Some((name, _)) = self.topics.get(self.filled) {
            client.publish(name, &batch)?;
            self.filled += 1;
        }
        Ok(())
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
        let mut doomed: Vec<_> = self.topics.drain(..).map(|(name, id)| (name, Some(id))).collect();
        doomed.extend(std::mem::take(&mut self.unsure).into_iter().map(|name| (name, None)));
        let (mut kept, mut in_a_row) = (0, 0);
        for (name, id) in doomed {
            if in_a_row < FAILURES_MAX && delete(&name, id, client).is_ok() {
                in_a_row = 0;
            } else {
                in_a_row += 1;
                kept += 1;
            }
        }
        kept
    }
}

/// That it is not there is as good.
fn delete(name: &str, id: Option<TopicId>, client: &mut Client) -> Result<(), Error> {
    let outcome = match id {
        Some(id) => client.delete_id(name, id),
        None => client.delete(name),
    };
    match outcome {
        Err(error) if !matches!(error.status(), Some(Status::UnknownTopic | Status::Recreated)) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
