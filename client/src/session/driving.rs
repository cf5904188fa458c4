//! What a session and its driver tell each other, besides the bytes in [`Buffers`](super::buffers::Buffers).

use std::io;
use std::time::Duration;

use crate::address::Address;
use crate::session::deadline::Deadline;
use crate::session::handshake::Introduction;
use crate::session::servers::Learned;

/// What has happened to the connection, besides the bytes that it has carried.
#[derive(Debug)]
pub(crate) enum Event {
    /// The connection of [`Action::Connect`] is made.
    Connected,
    /// The connection could not be made.
    ConnectFailed(io::Error),
    /// Bytes were moved, the connection ended, or time has passed.
    Progress,
}

/// What the driver must do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Connect to this server, and report the result by [`Event::Connected`] or [`Event::ConnectFailed`]. The driver
    /// gives up the attempt at the deadline.
    Connect(Address, Deadline),
    /// Close the connection, or give up the attempt to make it, whose result must then not be reported.
    Close,
}

/// Whether a silent node is given up even while no call is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    No,
    /// Yes, early enough to leave time for another one within this time limit.
    Within(Option<Duration>),
}

/// The settings of a session.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The servers to connect to; at least one.
    pub(crate) servers: Vec<Address>,
    /// What another session of the same client has learned of other servers.
    pub(crate) learned: Learned,
    /// The time limit for the response to a request, with all its retries; 0 means none.
    pub(crate) timeout: Duration,
    /// The silence after which a node is sent PING.
    pub(crate) ping_after: Duration,
    /// True to ask each node for the addresses of the others.
    pub(crate) learns_servers: bool,
    pub(crate) introduction: Introduction,
}
