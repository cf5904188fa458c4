//! One connection to one node: requests out, responses in, without retries.
//!
//! This is the layer below [`Client`](crate::Client), for programs that do their own pipelining: [`Connection::send`]
//! only buffers a request, [`Connection::flush`] writes all buffered requests, and [`Connection::receive`] returns the
//! next response, in whatever order the node answers. While any of them waits, the node's PINGs are answered.
//!
//! A subscription is identified by the request id of its SUBSCRIBE. [`Connection::next`] returns the responses and
//! pushes of subscriptions in the order in which the node sent them; [`Connection::receive`] leaves them for it.
//!
//! All decisions are those of [`Channel`]; this moves its bytes and reads the clock.

use std::time::Duration;

use dht_protocol::types::{Dimension, NodeId, RequestId};
use dht_protocol::wire::{Hello, Request};

use crate::address::Address;
use crate::clock::{now, random};
use crate::error::Error;
use crate::session::channel::Channel;
use crate::session::deadline::Deadline;
use crate::session::handshake::{Greeting, Introduction};
use crate::session::incoming::{Answer, Incoming};
use crate::session::tap::Direction;
use crate::stream::Stream;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    channel: Channel,
}

impl Connection {
    /// Connects to a node and negotiates the version.
    ///
    /// # Errors
    /// Returns [`Error::Connect`] or [`Error::Rejected`], or [`Error::Protocol`] if the server at that address is not a
    /// node.
    pub fn open(address: &Address, introduction: &Introduction, deadline: Deadline) -> Result<Self, Error> {
        let server = address.to_string();
        let mut stream =
            Stream::connect(address, deadline).map_err(|source| Error::Connect { server: server.clone(), source })?;
        let mut greeting = Greeting::new(server, introduction, random(), now());
        loop {
            if let Some(agreed) = greeting.poll(now())? {
                return Ok(Self { stream, channel: greeting.open(agreed, now()) });
            }
            let limit = deadline.earlier(greeting.wake_at());
            if !stream.exchange(greeting.bytes(), limit) && deadline.is_over() {
                return Err(greeting.give_up());
            }
        }
    }

    /// Returns the address that was passed to [`Self::open`].
    pub fn server(&self) -> &str {
        self.channel.server()
    }

    /// Returns the node's HELLO.
    pub const fn hello(&self) -> &Hello {
        self.channel.hello()
    }

    /// Returns the id of the node.
    pub const fn node(&self) -> NodeId {
        self.channel.node()
    }

    /// Returns the dimension of the node's cube.
    pub const fn dimension(&self) -> Dimension {
        self.channel.dimension()
    }

    /// Returns the number of unanswered requests, including those that are still buffered.
    pub const fn unanswered(&self) -> usize {
        self.channel.unanswered()
    }

    /// Returns true once the node has announced that it will close. No new requests should then be sent on this
    /// connection.
    pub const fn is_closing(&self) -> bool {
        self.channel.is_closing()
    }

    /// Returns true if the node has said that it did not and will not act on this request.
    pub fn is_untouched(&self, id: RequestId) -> bool {
        self.channel.is_untouched(id)
    }

    /// Buffers a request, which the next [`Self::flush`], [`Self::receive`] or [`Self::next`] writes.
    ///
    /// # Errors
    /// Returns [`Error::BatchTooLarge`].
    ///
    /// # Panics
    /// For CREDIT, which has no response: see [`Self::credit`].
    pub fn send(&mut self, request: &Request<'_>, payload: &[u8]) -> Result<RequestId, Error> {
        self.channel.send(request, payload, now())
    }

    /// Buffers CREDIT: the node may send `limit` bytes of records in total since the start of the subscription. A lower
    /// limit than before has no effect; nor has one for a subscription that does not exist or whose SUBSCRIBE is
    /// unanswered.
    pub fn credit(&mut self, subscription: RequestId, limit: u64) {
        self.channel.credit(subscription, limit);
    }

    /// Buffers UNSUBSCRIBE and forgets the subscription at once: none of its records are returned any more. To receive
    /// the records up to the end of the subscription, send the request and wait for its response instead.
    pub fn unsubscribe(&mut self, subscription: RequestId) {
        self.channel.unsubscribe(subscription);
    }

    /// Abandons a request: its response is ignored. If it starts a subscription, the subscription is ended.
    pub fn abandon(&mut self, id: RequestId) {
        self.channel.abandon(id);
    }

    /// Writes the buffered requests, and reads input meanwhile. Returns `false` if the deadline passed first; the next
    /// call then writes the rest.
    ///
    /// # Errors
    /// Returns [`Error::Lost`].
    pub fn flush(&mut self, deadline: Deadline) -> Result<bool, Error> {
        let is_written = self.stream.flush(self.channel.bytes(), deadline);
        if self.channel.bytes().is_ended() {
            self.channel.collect()?;
        }
        Ok(is_written)
    }

    /// Writes the buffered requests and returns the next response, in whatever order the node answers, or `None` if
    /// none arrived by the deadline. Whatever belongs to subscriptions (DELIVER, EVENT, and the responses to SUBSCRIBE
    /// and UNSUBSCRIBE) is kept for [`Self::next`]; its size is bounded by the credit that was given.
    ///
    /// # Errors
    /// Returns [`Error::Lost`] once the connection has ended and all received responses have been returned, or
    /// [`Error::Protocol`].
    pub fn receive(&mut self, deadline: Deadline) -> Result<Option<Answer>, Error> {
        self.wait(deadline, Channel::next_answer)
    }

    /// Writes the buffered requests and returns whatever arrives next, including pushes, or `None` if nothing arrived
    /// by the deadline.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn next(&mut self, deadline: Deadline) -> Result<Option<Incoming>, Error> {
        self.wait(deadline, Channel::next)
    }

    /// Moves bytes until `take` returns something or the deadline passes.
    fn wait<T>(
        &mut self,
        deadline: Deadline,
        take: impl Fn(&mut Channel) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        loop {
            if let Some(taken) = take(&mut self.channel)? {
                return Ok(Some(taken));
            }
            if !self.stream.exchange(self.channel.bytes(), deadline) {
                return Ok(None);
            }
        }
    }

    /// Answers PINGs and reads input for `time`. The input is kept for [`Self::receive`] and [`Self::next`].
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn idle(&mut self, time: Duration) -> Result<(), Error> {
        let deadline = if time.is_zero() { Deadline::at_once() } else { Deadline::after(time) };
        loop {
            self.channel.collect()?;
            if !self.stream.exchange(self.channel.bytes(), deadline) {
                return Ok(());
            }
        }
    }

    /// Returns the frames in both directions since the last call, if [`Introduction::tap`] is set.
    pub fn tapped(&mut self) -> Vec<(Direction, Vec<u8>)> {
        self.channel.bytes().tapped()
    }
}
