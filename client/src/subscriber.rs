//! An iterator over new records of topics.

use std::time::Duration;

use dht_protocol::types::{NodeId, Offset};
use dht_protocol::wire::request::Start;

use crate::client::Client;
use crate::error::Error;
use crate::session::deadline::Deadline;
use crate::session::streams::Delivery;
use crate::subscriptions::Subscriptions;

/// An iterator over the records of topics as they arrive; see [`Client::subscribe`].
///
/// It ends when all subscriptions have ended. An `Err` concerns all topics: no server answers. The next call tries
/// again. Dropping the iterator ends the subscriptions.
#[derive(Debug)]
pub struct Subscriber<'c> {
    client: &'c mut Client,
    subscriptions: Subscriptions,
}

impl Client {
    /// Subscribes to topics, each from `start`. When this returns, nothing that is published from then on is missed. If
    /// a topic cannot be subscribed to, its first and last [`Delivery`] says so. If its home is unreachable, its first
    /// item is [`Notice::Waiting`](super::Notice::Waiting), and it is subscribed to as soon as possible.
    ///
    /// # Errors
    /// Returns [`Error::Name`], or an error if no server answers.
    pub fn subscribe(&mut self, topics: &[&str], start: Start) -> Result<Subscriber<'_>, Error> {
        let mut subscriptions = Subscriptions::new();
        topics.iter().try_for_each(|topic| subscriptions.add(topic, start))?;
        self.subscribe_to(subscriptions)
    }

    /// Like [`Client::subscribe`], with a start for each topic, or another window.
    ///
    /// # Errors
    /// Returns an error if no server answers.
    pub fn subscribe_to(&mut self, mut subscriptions: Subscriptions) -> Result<Subscriber<'_>, Error> {
        subscriptions.settle(self)?;
        Ok(Subscriber { client: self, subscriptions })
    }
}

impl Subscriber<'_> {
    /// Returns the next item that arrives within the given time, or `None` if there is none or all subscriptions have
    /// ended.
    ///
    /// # Errors
    /// As [`Subscriptions::next`].
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Delivery>, Error> {
        let deadline = if time.is_zero() { Deadline::at_once() } else { Deadline::after(time) };
        self.subscriptions.next(self.client, deadline)
    }

    /// Returns the client, for other requests. Items that arrive meanwhile are kept.
    pub const fn client(&mut self) -> &mut Client {
        self.client
    }

    /// As [`Subscriptions::add`]; does not wait for [`Subscriptions::is_settled`].
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn add(&mut self, topic: &str, start: Start) -> Result<(), Error> {
        self.subscriptions.add(topic, start)
    }

    /// As [`Subscriptions::remove`].
    pub fn remove(&mut self, topic: &str) -> Option<Offset> {
        self.subscriptions.remove(self.client, topic)
    }

    /// As [`Subscriptions::cursor`].
    pub fn cursor(&self, topic: &str) -> Option<Offset> {
        self.subscriptions.cursor(topic)
    }

    /// As [`Subscriptions::moved`].
    pub const fn moved(&mut self) -> Option<(NodeId, NodeId)> {
        self.subscriptions.moved()
    }
}

impl Iterator for Subscriber<'_> {
    type Item = Result<Delivery, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.subscriptions.is_empty() {
            return None;
        }
        self.subscriptions.next(self.client, Deadline::NEVER).transpose()
    }
}

impl Drop for Subscriber<'_> {
    fn drop(&mut self) {
        self.subscriptions.clear(self.client);
    }
}
