//! Subscriptions of one client that survive lost connections: every record once and in order.

use std::time::{Duration, Instant};

use dht_protocol::types::{NodeId, Offset};
use dht_protocol::wire::request::Start;

use crate::client::Client;
use crate::clock::{now, random};
use crate::error::Error;
use crate::session::deadline::Deadline;
use crate::session::driving::Watching;
use crate::session::streams::{Delivery, Streams};

/// The connection is serviced at least this often while the user takes records that have already arrived.
const LOOK: Duration = Duration::from_secs(1);

/// The subscriptions of a client.
///
/// This is a [`Subscriber`](crate::Subscriber) without the client, for programs that also use the client for other
/// requests at any time. Items that arrive meanwhile are kept. All calls must pass the same client.
///
/// # Recovery
/// After a lost connection, after a fault of a node, or when a node announces that it will close, it reconnects, also
/// to another server of the client's list, and resumes each subscription from its cursor. It keeps trying for as long
/// as one server answers. A silent node is sent PING. A permanent error ends one topic ([`Delivery::item`] is the
/// error), or is the error of the call.
#[derive(Debug)]
pub struct Subscriptions {
    pub(crate) streams: Streams,
    looked: Instant,
}

impl Default for Subscriptions {
    fn default() -> Self {
        let start = now();
        Self { streams: Streams::new(random(), start), looked: start }
    }
}

impl Subscriptions {
    /// Returns an empty set of subscriptions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many bytes of records of each topic may wait to be taken, plus one frame: 1 MiB by default. A smaller
    /// window reduces the throughput if the node is far away.
    #[must_use]
    pub fn window(mut self, bytes: u64) -> Self {
        self.streams.set_window(bytes);
        self
    }

    /// Subscribes to a topic, unless it is subscribed to already. SUBSCRIBE is sent by the next call that passes the
    /// client.
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn add(&mut self, topic: &str, start: Start) -> Result<(), Error> {
        self.streams.add(topic, start, now())
    }

    /// Ends the subscription to a topic. Returns the offset of the first record that was not taken, if it is known.
    pub fn remove(&mut self, client: &mut Client, topic: &str) -> Option<Offset> {
        self.streams.remove(client.session(), topic)
    }

    /// Ends all subscriptions.
    pub fn clear(&mut self, client: &mut Client) {
        self.streams.clear(client.session());
        client.flush(); // what is left is written with the next request
    }

    /// Returns true if there are no subscriptions, or all have ended and the user has taken their last items.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Returns true if the topic is subscribed to.
    pub fn contains(&self, topic: &str) -> bool {
        self.streams.contains(topic)
    }

    /// Returns the topics that are subscribed to.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.streams.topics()
    }

    /// Returns the offset of the next record to be taken; `None` if it is unknown yet, or if the topic is not
    /// subscribed to.
    pub fn cursor(&self, topic: &str) -> Option<Offset> {
        self.streams.cursor(topic)
    }

    /// Returns true if every subscription is established, has ended, or has a notice that it waits.
    pub const fn is_settled(&self) -> bool {
        self.streams.is_settled()
    }

    /// Returns the nodes from which and to which the subscriptions moved after a lost connection, if they moved since
    /// the last call. The two may be the same.
    pub const fn moved(&mut self) -> Option<(NodeId, NodeId)> {
        self.streams.moved()
    }

    /// Waits until [`Self::is_settled`]: everything that is published from then on will arrive. A topic with an
    /// unreachable home is waited for no longer than a second or two; it is subscribed to as soon as possible, and its
    /// first item is [`Notice::Waiting`](crate::Notice::Waiting).
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn settle(&mut self, client: &mut Client) -> Result<(), Error> {
        self.drive(client, Deadline::NEVER, Streams::are_all_settled)
    }

    /// Returns the next item, or `None` if none arrived by the deadline or [`Self::is_empty`]. Without a connection
    /// this may take as long as the client's timeout.
    ///
    /// It must be called at least every ten seconds, because it also answers the node's PINGs.
    ///
    /// # Errors
    /// Returns an error if no server answered for the client's timeout, or if the servers' error is permanent. The next
    /// call tries again, and nothing is lost.
    pub fn next(&mut self, client: &mut Client, deadline: Deadline) -> Result<Option<Delivery>, Error> {
        if !self.streams.has_items() {
            self.drive(client, deadline, Streams::is_ready)?;
        } else if now().duration_since(self.looked) >= LOOK {
            self.looked = now();
            let _ = client.idle(Duration::ZERO); // what this finds out, the next reading finds too
        }
        let item = self.streams.take(client.session());
        client.flush(); // what is left of a CREDIT is written with what comes next
        Ok(item)
    }

    /// Sends and receives until `is_done` or the deadline.
    fn drive(
        &mut self,
        client: &mut Client,
        deadline: Deadline,
        is_done: impl Fn(&Streams) -> bool,
    ) -> Result<(), Error> {
        let streams = &mut self.streams;
        let driven = client.drive_watched(Watching::Within(None), deadline, |session, now| {
            if let Err(error) = streams.advance(session, &is_done, now) {
                return Ok(Err(error));
            }
            if is_done(streams) { Ok(Ok(())) } else { Err(streams.wake_at(session)) }
        });
        self.looked = now();
        driven.unwrap_or(Ok(()))
    }
}
