//! Requests of one operation over connections of their own, and what counts as their end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dht_node::client::{
    Address, Batch, Connection, Deadline, Dimension, Error, Introduction, NodeId, Retention, TopicName,
};
use dht_node::cube;
use dht_node::types::RequestId;
use dht_node::wire::request::{Fetch, Publish, Start, Topic};
use dht_node::wire::{Request, Response};

use super::deliver::Deliver;
use super::report::{Delivery, Test};
use crate::errors;

/// Where a thread sits: what it sends, and where to.
#[derive(Clone, Debug)]
pub(super) struct Seat<'p> {
    pub(super) test: Test,
    /// The number of the thread.
    pub(super) index: u32,
    /// The node that it enters the cube at.
    pub(super) node: NodeId,
    pub(super) address: &'p Address,
    /// The node opposite to that, or the same one when that is not there.
    pub(super) opposite: &'p Address,
    pub(super) dimension: Dimension,
    /// Names of topics that are there; subscribe's are those of this seat only.
    pub(super) topics: Vec<&'p str>,
    /// Topics of its own that create keeps at once.
    pub(super) share: usize,
    /// Begins the names of topics that it makes.
    pub(super) prefix: String,
    pub(super) size: usize,
    pub(super) seed: u64,
    /// For connecting and for each answer.
    pub(super) timeout: Duration,
}

/// A request that went out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) key: u64,
    /// To its home, where that says something.
    pub(super) hops: Option<usize>,
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) key: u64,
    /// Why it failed.
    pub(super) outcome: Result<(), &'static str>,
}

/// What a link leaves behind.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Topics that it made and that may still be there.
    pub(super) topics: Vec<String>,
    pub(super) delivery: Option<Delivery>,
}

/// Requests of one operation.
pub(super) trait Link: Send {
    /// Collects the next request; `serial` is never the same again on this seat.
    fn send(&mut self, serial: u64) -> Result<Sent, Error>;

    /// Writes what was collected and waits for the end of a request.
    fn receive(&mut self, deadline: Deadline) -> Result<Option<Done>, Error>;

    /// What a request failed of that did not end in time.
    fn missing(&mut self, key: u64) -> &'static str;

    /// Cleans up as far as it can.
    fn close(self: Box<Self>, is_broken: bool) -> Left;
}

/// Opens the connections of a seat.
pub(super) fn open<'p>(seat: &'p Seat<'p>) -> Result<Box<dyn Link + 'p>, Error> {
    match seat.test {
        Test::Subscribe => Ok(Box::new(Deliver::open(seat)?)),
        Test::Create | Test::Publish | Test::Query | Test::Fetch | Test::Ping => Ok(Box::new(Plain::open(seat)?)),
    }
}

/// A connection as this program.
pub(super) fn connect(address: &Address, timeout: Duration) -> Result<Connection, Error> {
    let software = concat!("dht-cli/", env!("CARGO_PKG_VERSION"), " bench").to_owned();
    let introduction = Introduction { software, ..Introduction::default() };
    Connection::open(address, &introduction, Deadline::after(timeout))
}

/// What a failure is counted as.
pub(super) fn kind(error: &Error) -> &'static str {
    errors::name_and_exit(error).0
}

/// Well mixed bits of a seed and a number (splitmix64).
pub(super) fn mixed(seed: u64, number: u64) -> u64 {
    let mut bits = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One of `count` things.
pub(super) fn drawn(seed: u64, number: u64, count: usize) -> usize {
    usize::try_from(mixed(seed, number) % count as u64).expect("it is less than a usize")
}

/// A request and its answer are all there is to it.
struct Plain<'p> {
    seat: &'p Seat<'p>,
    connection: Connection,
    batch: Batch,
    /// What create has asked for.
    creating: BTreeMap<RequestId, String>,
    /// What it has made, oldest first.
    created: VecDeque<String>,
    /// What it has asked to delete.
    deleting: BTreeMap<RequestId, String>,
}

impl<'p> Plain<'p> {
    fn open(seat: &'p Seat<'p>) -> Result<Self, Error> {
        Ok(Self {
            seat,
            connection: connect(seat.address, seat.timeout)?,
            batch: Batch::of(&vec![b'x'; seat.size]),
            creating: BTreeMap::new(),
            created: VecDeque::new(),
            deleting: BTreeMap::new(),
        })
    }

    fn hops_to(&self, node: NodeId) -> Option<usize> {
        Some((self.seat.node.index() ^ node.index()).count_ones() as usize)
    }

    fn create(&mut self, serial: u64) -> Result<Sent, Error> {
        let name = format!("{}c{}-{serial}", self.seat.prefix, self.seat.index);
        let topic = TopicName::new(&name)?;
        let hops = self.hops_to(cube::home(topic, self.seat.dimension));
        let id = self.connection.send(&Request::Create { topic, retention: Retention::default() }, &[])?;
        self.creating.insert(id, name);
        Ok(Sent { key: id.0, hops })
    }

    fn ping(&mut self, serial: u64) -> Result<Sent, Error> {
        let bits = u32::try_from(mixed(self.seat.seed, serial) >> 32).expect("32 bits are left");
        let node = NodeId::from_low_bits(bits, self.seat.dimension);
        let id = self.connection.send(&Request::Ping { node: node.index(), token: serial }, &[])?;
        Ok(Sent { key: id.0, hops: self.hops_to(node) })
    }

    fn delete_oldest(&mut self) -> Result<(), Error> {
        let Some(name) = self.created.pop_front() else { return Ok(()) };
        let request = Request::Delete(Topic { name: TopicName::new(&name)?, id: None });
        let id = self.connection.send(&request, &[])?;
        self.deleting.insert(id, name);
        Ok(())
    }

    /// Is it what the request asked for?
    fn outcome(&self, response: &Response) -> Result<(), &'static str> {
        if let Response::Error(error) = response {
            return Err(error.name());
        }
        let is_right = match self.seat.test {
            Test::Create => matches!(response, Response::Created { existed: false, .. }),
            Test::Publish => matches!(response, Response::Published(_)),
            Test::Query => {
                matches!(response, Response::Described(description) if description.topic.is_some())
            }
            Test::Fetch => matches!(response, Response::Fetched(fetched) if fetched.count == 1),
            Test::Ping => matches!(response, Response::Ping { .. }),
            Test::Subscribe => false,
        };
        if is_right { Ok(()) } else { Err("WRONG_ANSWER") }
    }

    /// Removes what create has left.
    fn remove_created(&mut self) -> Result<(), Error> {
        let deadline = Deadline::after(self.seat.timeout);
        while !(self.created.is_empty() && self.deleting.is_empty()) {
            while self.deleting.len() < 64 && !self.created.is_empty() {
                self.delete_oldest()?;
            }
            let Some(answer) = self.connection.receive(deadline)? else { break };
            if !matches!(answer.response, Response::Error(_)) {
                self.deleting.remove(&answer.id);
            } else if let Some(name) = self.deleting.remove(&answer.id) {
                self.creating.insert(answer.id, name); // to be tried by who cleans up behind
            }
        }
        Ok(())
    }
}

impl Link for Plain<'_> {
    fn send(&mut self, serial: u64) -> Result<Sent, Error> {
        match self.seat.test {
            Test::Create => return self.create(serial),
            Test::Ping => return self.ping(serial),
            Test::Publish | Test::Query | Test::Fetch | Test::Subscribe => {}
        }
        let seat = self.seat;
        let name = TopicName::new(seat.topics[drawn(seat.seed, serial, seat.topics.len())])?;
        let hops = self.hops_to(cube::home(name, seat.dimension));
        let topic = Topic { name, id: None };
        let id = match seat.test {
            Test::Query => self.connection.send(&Request::Query { topic: name }, &[])?,
            Test::Fetch => {
                let request =
                    Fetch { topic, epoch: None, start: Start::Earliest, max_bytes: 0, max_records: 1, max_wait_ms: 0 };
                self.connection.send(&Request::Fetch(request), &[])?
            }
            Test::Publish | Test::Create | Test::Ping | Test::Subscribe => {
                let request = Publish { topic, producer: None, count: self.batch.count() };
                self.connection.send(&Request::Publish(request), self.batch.payload())?
            }
        };
        Ok(Sent { key: id.0, hops })
    }

    fn receive(&mut self, deadline: Deadline) -> Result<Option<Done>, Error> {
        while let Some(answer) = self.connection.receive(deadline)? {
            if let Some(name) = self.deleting.remove(&answer.id) {
                if matches!(answer.response, Response::Error(_)) {
                    self.created.push_back(name);
                }
                continue;
            }
            let outcome = self.outcome(&answer.response);
            if let Some(name) = self.creating.remove(&answer.id) {
                // It may be there even when the answer says no: that it is not known, for example.
                self.created.push_back(name);
                if self.created.len() > self.seat.share {
                    self.delete_oldest()?;
                }
            }
            return Ok(Some(Done { key: answer.id.0, outcome }));
        }
        Ok(None)
    }

    fn missing(&mut self, _key: u64) -> &'static str {
        "TIMED_OUT"
    }

    fn close(mut self: Box<Self>, is_broken: bool) -> Left {
        if !is_broken {
            let _ = self.remove_created(); // what is left is removed over another connection
        }
        let Self { creating, created, deleting, .. } = *self;
        let topics = creating.into_values().chain(created).chain(deleting.into_values()).collect();
        Left { topics, delivery: None }
    }
}
