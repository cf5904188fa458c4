//! Requests of one operation over connections of their own, and what counts as their end.

use std::time::Duration;

use dht_node::client::{Address, Connection, Deadline, Dimension, Error, Introduction, NodeId};

use super::churn::Churn;
use super::deliver::Deliver;
use super::keys::Picker;
use super::plain::Plain;
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
    /// Which of them a request is about.
    pub(super) picker: Picker,
    /// Topics of its own that create and delete keep there.
    pub(super) share: usize,
    /// Begins the names of topics that it makes.
    pub(super) prefix: String,
    pub(super) size: usize,
    /// Records of one PUBLISH.
    pub(super) batch: u32,
    /// How many PUBLISH to how many FETCH are mixed.
    pub(super) mix: (u32, u32),
    pub(super) seed: u64,
    /// For connecting and for each answer.
    pub(super) timeout: Duration,
}

impl Seat<'_> {
    /// Edges on the way to a node.
    pub(super) fn hops_to(&self, node: NodeId) -> usize {
        (self.node.index() ^ node.index()).count_ones() as usize
    }
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
    /// Is there something to send? If not, an answer may change that.
    fn has_next(&self) -> bool {
        true
    }

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
        Test::Create | Test::Delete => Ok(Box::new(Churn::open(seat)?)),
        Test::Publish | Test::Query | Test::Fetch | Test::Ping | Test::Mixed => Ok(Box::new(Plain::open(seat)?)),
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
