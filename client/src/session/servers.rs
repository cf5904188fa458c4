//! The servers of a session: which ones there are, and in which order to try them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::address::Address;
use crate::error::Error;
use crate::session::channel::Channel;
use crate::session::deadline::Deadline;
use crate::session::handshake::Introduction;

/// The time limit for the first attempt to connect to a server while there are others. If none of them answers either,
/// the second attempt gets the remaining time.
const CONNECT_QUICK: Duration = Duration::from_secs(1);

/// The time limit for each attempt to connect to one of several servers if there is no overall limit.
const CONNECT_SHARE: Duration = Duration::from_secs(5);

/// The nodes of a cluster that a session knows of besides the listed servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    addresses: Vec<Address>,
    cluster: String,
}

/// The listed servers, and those that nodes reported.
#[derive(Debug)]
pub(crate) struct Servers {
    listed: Vec<Address>,
    /// Index of the listed server to try first.
    next: usize,
    /// The other nodes, shuffled by this session.
    learned: Learned,
    /// The server whose connection was closed most recently. It is tried last.
    left: Option<String>,
}

impl Servers {
    /// Returns the servers of a session. `learned` is what another session of the same client has learned.
    pub(crate) fn new(listed: Vec<Address>, learned: Learned, random: &mut Rng) -> Self {
        let mut servers = Self { listed, next: 0, learned: Learned::default(), left: None };
        servers.learn(learned, random);
        servers
    }

    /// Returns what is known besides the listed servers, where `channel` is the current connection.
    pub(crate) fn learned(&self, channel: Option<&Channel>) -> Learned {
        let Some(channel) = channel.filter(|channel| !channel.learned().is_empty()) else {
            return self.learned.clone();
        };
        let current = channel.server().parse().ok();
        let mut addresses: Vec<_> = channel.learned().iter().cloned().chain(current).collect();
        addresses.retain(|address| !self.listed.contains(address));
        Learned { addresses, cluster: channel.hello().cluster.clone() }
    }

    fn learn(&mut self, learned: Learned, random: &mut Rng) {
        self.learned = learned;
        // The order is random, so that the clients of a node do not all fail over to the same other node.
        random.shuffle(&mut self.learned.addresses);
    }

    /// Returns the number of servers to try, where `channel` is the current connection.
    pub(crate) fn count(&self, channel: Option<&Channel>) -> usize {
        let learned = channel.map_or(&[][..], Channel::learned);
        self.listed.len() + if learned.is_empty() { self.learned.addresses.len() } else { learned.len() }
    }

    /// Returns the servers in the order in which to try them: the listed ones, beginning with the next one, then those
    /// that were learned, and finally the one whose connection was closed most recently.
    fn candidates(&self) -> VecDeque<Address> {
        let (behind, from) = self.listed.split_at(self.next);
        let all = from.iter().chain(behind).chain(&self.learned.addresses).cloned();
        let (left, others): (Vec<_>, Vec<_>) = all.partition(|address| Some(address.to_string()) == self.left);
        others.into_iter().chain(left).collect()
    }

    /// Returns what to say in HELLO to this server.
    pub(crate) fn introduction<'i>(&self, address: &Address, own: &'i Introduction) -> Cow<'i, Introduction> {
        let mut introduction = Cow::Borrowed(own);
        if !self.listed.contains(address) {
            // By now another program or a node of another cluster may listen there.
            introduction.to_mut().cluster.clone_from(&self.learned.cluster);
        }
        introduction
    }

    /// Records that this server answered.
    pub(crate) fn on_opened(&mut self, address: &Address) {
        self.next = self.listed.iter().position(|server| server == address).unwrap_or(self.next);
    }

    /// Records that a connection is closed: the next one is made to the next server.
    pub(crate) fn on_closed(&mut self, channel: &Channel, random: &mut Rng) {
        if self.listed[self.next].to_string() == channel.server() {
            self.next = (self.next + 1) % self.listed.len();
        }
        self.left = Some(channel.server().to_owned());
        self.learn(self.learned(Some(channel)), random);
    }
}

/// An attempt to connect to the first server that answers. A server that refuses is tried once. Servers that do not
/// answer are tried again with longer time limits after all others have failed.
#[derive(Debug)]
pub(crate) struct Round {
    to_try: VecDeque<Address>,
    is_quick: bool,
    silent: VecDeque<Address>,
    failed: Option<Error>,
    deadline: Deadline,
    /// The server of the current attempt, and the attempt's deadline.
    current: Option<(Address, Deadline)>,
}

impl Round {
    pub(crate) fn new(servers: &Servers, deadline: Deadline) -> Self {
        let to_try = servers.candidates();
        let is_quick = to_try.len() > 1;
        Self { to_try, is_quick, silent: VecDeque::new(), failed: None, deadline, current: None }
    }

    /// Gives more time to a round that has begun.
    pub(crate) fn extend(&mut self, deadline: Deadline) {
        self.deadline = match (self.deadline.0, deadline.0) {
            (Some(ours), Some(others)) => Deadline(Some(ours.max(others))),
            (None, _) | (_, None) => Deadline::NEVER,
        };
    }

    /// Moves on to the next server. Returns it with the deadline of the attempt, or `None` if all have failed.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<(Address, Deadline)> {
        if self.to_try.is_empty() && self.is_quick && !self.deadline.has_passed(now) {
            self.to_try = std::mem::take(&mut self.silent);
            self.is_quick = false;
        }
        // A server that does not answer must not use up the time of the others.
        let parts = u32::try_from(self.to_try.len()).unwrap_or(u32::MAX);
        let address = self.to_try.pop_front()?;
        let share = match self.deadline.left(now) {
            Some(left) => Deadline::at(now, left / parts),
            None if parts > 1 => Deadline::at(now, CONNECT_SHARE),
            None => Deadline::NEVER,
        };
        let limit = if self.is_quick { share.earlier(Deadline::at(now, CONNECT_QUICK)) } else { share };
        self.current = Some((address, limit));
        self.current.clone()
    }

    /// Returns the server of the current attempt.
    pub(crate) fn address(&self) -> &Address {
        &self.current.as_ref().expect("a round that has begun tries a server").0
    }

    /// Returns the error of an attempt that takes too long.
    pub(crate) fn timed_out(&self) -> Error {
        Error::Connect { server: self.address().to_string(), source: io::ErrorKind::TimedOut.into() }
    }

    /// Returns the deadline of the current attempt.
    pub(crate) fn limit(&self) -> Deadline {
        self.current.as_ref().map_or(Deadline::NEVER, |(_, limit)| *limit)
    }

    /// Records that the current attempt has failed.
    pub(crate) fn on_failed(&mut self, error: Error) {
        let is_timeout = matches!(&error, Error::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut);
        if let Some((address, _)) = self.current.take()
            && is_timeout
        {
            self.silent.push_back(address);
        }
        self.failed = Some(error);
    }

    /// Returns the error of the last server.
    pub(crate) fn into_error(self) -> Error {
        self.failed.expect("a session has at least one server, and all have failed")
    }
}
