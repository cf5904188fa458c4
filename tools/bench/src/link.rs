//! Sends requests of one operation over connections of its own, and detects their completion.

use std::time::Duration;

use dht_client::{Address, Connection, Deadline, Dimension, Error, Introduction, NodeId};
use dht_console::errors;
use dht_report::{Delivery, Test};

use super::churn::Churn;
use super::deliver::Deliver;
use super::keys::Picker;
use super::plain::Plain;

/// The assignment of one thread: what it sends, and through which nodes.
#[derive(Clone, Debug)]
pub(super) struct Seat<'p> {
    pub(super) test: Test,
    /// The number of the thread.
    pub(super) index: u32,
    /// The node that it connects to.
    pub(super) node: NodeId,
    pub(super) address: &'p Address,
    /// The node opposite to that one, or the same node if the opposite one is not up.
    pub(super) opposite: &'p Address,
    pub(super) dimension: Dimension,
    /// Names of existing topics; for subscribe, those of this seat only.
    pub(super) topics: Vec<&'p str>,
    /// The distribution of requests over them.
    pub(super) picker: Picker,
    /// Number of topics of its own that create and delete maintain.
    pub(super) share: usize,
    /// The prefix of the names of topics that it creates.
    pub(super) prefix: String,
    pub(super) size: usize,
    /// Number of records in one PUBLISH.
    pub(super) batch: u32,
    /// The ratio of PUBLISH to FETCH in mixed.
    pub(super) mix: (u32, u32),
    pub(super) seed: u64,
    /// The time limit for connecting and for each response.
    pub(super) timeout: Duration,
}

impl Seat<'_> {
    /// Returns the number of hops to a node.
    pub(super) fn hops_to(&self, node: NodeId) -> usize {
        (self.node.index() ^ node.index()).count_ones() as usize
    }
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) key: u64,
    /// Number of hops to its home, where that is meaningful.
    pub(super) hops: Option<usize>,
}

/// A completed request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) key: u64,
    /// The name of the failure, if it failed.
    pub(super) outcome: Result<(), &'static str>,
}

/// What a link leaves behind when it is closed.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Topics that it has created and that may still exist.
    pub(super) topics: Vec<String>,
    pub(super) delivery: Option<Delivery>,
}

/// Requests of one operation.
pub(super) trait Link: Send {
    /// Returns true if a request can be sent. If not, a response may change that.
    fn has_next(&self) -> bool {
        true
    }

    /// Buffers the next request; a `serial` is never reused on this seat.
    fn send(&mut self, serial: u64) -> Result<Sent, Error>;

    /// Writes the buffered requests and waits for the completion of a request.
    fn receive(&mut self, deadline: Deadline) -> Result<Option<Done>, Error>;

    /// Returns the failure of a request that was not completed in time.
    fn missing(&mut self, key: u64) -> &'static str;

    /// Cleans up as far as possible.
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

/// Connects to a node as this program.
pub(super) fn connect(address: &Address, timeout: Duration) -> Result<Connection, Error> {
    let software = concat!("dht-cli/", env!("CARGO_PKG_VERSION"), " bench").to_owned();
    let introduction = Introduction { software, ..Introduction::default() };
    Connection::open(address, &introduction, Deadline::after(timeout))
}

/// Returns the name under which a failure is counted.
pub(super) fn kind(error: &Error) -> &'static str {
    errors::name_and_exit(error).0
}

/// Mixes the bits of a seed and a number (splitmix64).
pub(super) fn mixed(seed: u64, number: u64) -> u64 {
    let mut bits = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Draws one of `count` items.
pub(super) fn drawn(seed: u64, number: u64, count: usize) -> usize {
    usize::try_from(mixed(seed, number) % count as u64).expect("it is less than a usize")
}
