//! A query to the journal, as the core passes it to its store and gets it back with the answer.

use crate::entry::{TopicKey, Wanted};

/// A query to the journal.
#[derive(Debug)]
pub struct Lookup {
    /// The topic.
    pub topic: TopicKey,
    /// How many times this node had begun to lead the topic's slot, or to serve a copied state of it: an answer to a
    /// query of an earlier time is ignored.
    pub(super) lead: u64,
    /// The name of the topic, for the log.
    pub topic_name: Box<str>,
    /// What to read.
    pub wanted: Wanted,
    /// Names the read that waits for the answer.
    pub(super) token: usize,
}
