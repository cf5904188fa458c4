//! Reading what topics get as they get it.

use std::time::Duration;

use super::clock::Deadline;
use super::error::Error;
use super::session::Client;
use super::subscriptions::{Delivery, Subscriptions};
use crate::types::{NodeId, Offset};
use crate::wire::request::Start;

/// An iterator over what comes to topics; see [`Client::subscribe`].
///
/// It ends when all topics have. An `Err` is not of one topic but of all: no server answers. Going on after that tries
/// again. Dropping it ends the subscriptions.
#[derive(Debug)]
pub struct Subscriber<'c> {
    client: &'c mut Client,
    subscriptions: Subscriptions,
}

impl Client {
    /// Subscribes to topics, each from `start`: when this returns, nothing that is published from then on is missed.
    /// A topic that cannot be subscribed to says so as its first and last [`Delivery`]. One whose home cannot be
    /// reached begins with [`Notice::Waiting`](super::Notice::Waiting) and is subscribed to when that can be done.
    ///
    /// # Errors
    /// [`Error::Name`], or no server answers.
    pub fn subscribe(&mut self, topics: &[&str], start: Start) -> Result<Subscriber<'_>, Error> {
        let mut subscriptions = Subscriptions::new();
        topics.iter().try_for_each(|topic| subscriptions.add(topic, start))?;
        self.subscribe_to(subscriptions)
    }

    /// The same with a start for each topic, or another window.
    ///
    /// # Errors
    /// No server answers.
    pub fn subscribe_to(&mut self, mut subscriptions: Subscriptions) -> Result<Subscriber<'_>, Error> {
        subscriptions.settle(self)?;
        Ok(Subscriber { client: self, subscriptions })
    }
}

impl Subscriber<'_> {
    /// What comes within that time; `None` when nothing does, or all topics have ended.
    ///
    /// # Errors
    /// As [`Subscriptions::next`].
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Delivery>, Error> {
        let deadline = if time.is_zero() { Deadline::at_once() } else { Deadline::after(time) };
        self.subscriptions.next(self.client, deadline)
    }

    /// The client, for other requests; what comes to the topics meanwhile waits.
    pub const fn client(&mut self) -> &mut Client {
        self.client
    }

    /// As [`Subscriptions::add`]; [`Subscriptions::is_settled`] is not waited for.
    ///
    /// # Errors
    /// [`Error::Name`].
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
