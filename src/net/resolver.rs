//! Looks up the addresses of host names on threads beside the event loop, because a name server may take seconds or
//! hang, and chooses which address of a name is dialled next.
//!
//! Each lookup runs on a thread of its own, which ends once it has the answer. A neighbour has at most one lookup at a
//! time, so there are never more threads than neighbours. The names of neighbours are looked up anew for each dial;
//! nothing is cached.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;

use crate::limits::NAME_ADDRESSES_MAX;
use crate::types::NodeId;

/// Returns the addresses of a host, with this port.
pub(super) type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// The lookups of the neighbours' names.
#[derive(Debug)]
pub(super) struct Resolver {
    lookup: Lookup,
    names: BTreeMap<NodeId, Name>,
    answer: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

/// The name of one neighbour.
#[derive(Debug, Default)]
struct Name {
    /// True while a thread looks it up.
    is_asked: bool,
    /// True while the neighbour is to be dialled as soon as the lookup is answered.
    is_wanted: bool,
    /// Addresses of the last answer that are still to be tried.
    untried: VecDeque<SocketAddr>,
    /// Addresses of the last answer that were tried before, the latest last.
    tried: Vec<SocketAddr>,
}

/// What a thread found.
#[derive(Debug)]
struct Answer {
    node: NodeId,
    host: String,
    found: io::Result<Vec<SocketAddr>>,
}

/// A neighbour whose name was looked up.
#[derive(Debug)]
pub(super) struct Found {
    /// The neighbour.
    pub node: NodeId,
    /// Its host name.
    pub host: String,
    /// The address to dial first.
    ///
    /// # Errors
    /// The error of the system, or `NotFound` for a name without addresses.
    pub address: io::Result<SocketAddr>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect))
    }
}

impl Resolver {
    fn new(lookup: Lookup) -> Self {
        let (answer, answers) = mpsc::channel();
        Self { lookup, names: BTreeMap::new(), answer, answers }
    }

    /// Starts to look up the name of a neighbour, unless that is under way already, and returns whether it started.
    /// When there is an answer, the thread calls `wake`, and [`Resolver::found`] returns it.
    ///
    /// # Errors
    /// Returns the error of the system when it starts no thread.
    pub(super) fn ask(
        &mut self,
        node: NodeId,
        (host, port): (String, u16),
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<bool> {
        let name = self.names.entry(node).or_default();
        name.is_wanted = true;
        name.untried.clear();
        if name.is_asked {
            return Ok(false);
        }
        let (answer, lookup) = (self.answer.clone(), self.lookup);
        thread::Builder::new().name("resolve".to_owned()).spawn(move || {
            let found = lookup(&host, port);
            // The receiver is gone when the loop has ended.
            if answer.send(Answer { node, host, found }).is_ok() {
                wake();
            }
        })?;
        name.is_asked = true;
        Ok(true)
    }

    /// Returns the next answer for a neighbour that is still to be dialled.
    pub(super) fn found(&mut self) -> Option<Found> {
        loop {
            let Answer { node, host, found } = self.answers.try_recv().ok()?;
            let name = self.names.entry(node).or_default();
            name.is_asked = false;
            // An earlier answer may have led to a connection meanwhile.
            if std::mem::take(&mut name.is_wanted) {
                let address = found.and_then(|all| {
                    name.take_in(all);
                    name.next().ok_or_else(|| io::ErrorKind::NotFound.into())
                });
                return Some(Found { node, host, address });
            }
        }
    }

    /// Returns the next address of a neighbour to which the last dial failed.
    pub(super) fn next_address(&mut self, node: NodeId) -> Option<SocketAddr> {
        self.names.get_mut(&node)?.next()
    }

    /// Records that a neighbour needs no further dial: it is connected, or its name is not used any more.
    pub(super) fn settle(&mut self, node: NodeId) {
        if let Some(name) = self.names.get_mut(&node) {
            name.is_wanted = false;
            name.untried.clear();
        }
    }
}

impl Name {
    /// Stores the addresses of an answer. Untried addresses come first, then those whose last attempt was longest ago.
    /// So each gets its turn, even if an address that does not answer never refuses a connection.
    fn take_in(&mut self, all: Vec<SocketAddr>) {
        let mut each = Vec::new();
        for address in all {
            if each.len() < NAME_ADDRESSES_MAX && !each.contains(&address) {
                each.push(address);
            }
        }
        self.tried.retain(|tried| each.contains(tried));
        each.sort_by_key(|address| self.tried.iter().position(|tried| tried == address));
        self.untried = each.into();
    }

    fn next(&mut self) -> Option<SocketAddr> {
        let address = self.untried.pop_front()?;
        self.tried.retain(|tried| *tried != address);
        self.tried.push(address);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::Dimension;

    /// How long a lookup may take: far more than it does.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn node() -> NodeId {
        NodeId::new(1, Dimension::new(1).unwrap()).unwrap()
    }

    /// A resolver, and what asks it for a host and waits for the answer: the last digits of its addresses in turn.
    fn asking(resolver: &mut Resolver, host: &str) -> Vec<u8> {
        let (woken, wakes) = mpsc::channel();
        assert!(resolver.ask(node(), (host.to_owned(), 5), move || woken.send(()).unwrap()).unwrap());
        wakes.recv_timeout(PATIENCE).unwrap();
        let first = resolver.found().unwrap().address.ok();
        let rest = std::iter::from_fn(|| resolver.next_address(node()));
        let digit = |address: SocketAddr| address.to_string().bytes().rev().nth(2).unwrap() - b'0';
        first.into_iter().chain(rest).map(digit).collect()
    }

    /// A name server by whose answer `213` has the addresses 10.0.0.2, 10.0.0.1 and 10.0.0.3.
    fn digits(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(host.bytes().map(|digit| SocketAddr::from(([10, 0, 0, digit - b'0'], port))).collect())
    }

    #[test]
    fn the_addresses_of_a_name_are_tried_in_turn() {
        let mut resolver = Resolver::new(digits);
        assert_eq!(asking(&mut resolver, "21"), [2, 1]);
        assert_eq!(asking(&mut resolver, "1221"), [2, 1], "in the order of the earlier tries, each once");
        assert_eq!(asking(&mut resolver, "132"), [3, 2, 1], "a new one first");
        assert_eq!(asking(&mut resolver, "4"), [4]);
        assert_eq!(asking(&mut resolver, "24"), [2, 4], "those that went and came back are new");
        assert_eq!(asking(&mut resolver, ""), [0; 0]);
        assert_eq!(asking(&mut resolver, &"123456789".repeat(9)).len(), NAME_ADDRESSES_MAX);
    }

    #[test]
    fn one_that_hangs_gets_its_turn_although_none_fails() {
        let mut resolver = Resolver::new(digits);
        let mut first = || {
            let (woken, wakes) = mpsc::channel();
            resolver.ask(node(), ("12".to_owned(), 5), move || woken.send(()).unwrap()).unwrap();
            wakes.recv_timeout(PATIENCE).unwrap();
            resolver.found().unwrap().address.unwrap().to_string()
        };
        assert_eq!([first(), first(), first()], ["10.0.0.1:5", "10.0.0.2:5", "10.0.0.1:5"]);
    }

    #[test]
    fn a_lookup_that_hangs_blocks_nobody_and_is_not_repeated() {
        let mut resolver = Resolver::new(|_, _| {
            loop {
                thread::park();
            }
        });
        let mut ask = || resolver.ask(node(), ("a".to_owned(), 5), || ()).unwrap();
        assert_eq!([ask(), ask(), ask()], [true, false, false]);
        assert!(resolver.found().is_none());
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_dropped() {
        let mut resolver = Resolver::new(digits);
        let (woken, wakes) = mpsc::channel();
        let ask = |resolver: &mut Resolver| {
            let woken = woken.clone();
            resolver.ask(node(), ("1".to_owned(), 5), move || woken.send(()).unwrap()).unwrap();
        };
        ask(&mut resolver);
        resolver.settle(node());
        wakes.recv_timeout(PATIENCE).unwrap();
        assert!(resolver.found().is_none(), "it is connected");
        ask(&mut resolver);
        wakes.recv_timeout(PATIENCE).unwrap();
        assert!(resolver.found().unwrap().address.is_ok());
        ask(&mut resolver);
        resolver.settle(node());
        ask(&mut resolver);
        wakes.recv_timeout(PATIENCE).unwrap();
        assert!(resolver.found().is_some(), "it is wanted again");
    }

    #[test]
    fn the_system_is_asked() {
        let mut resolver = Resolver::default();
        let (woken, wakes) = mpsc::channel();
        let mut ask = |host: &str| {
            let woken = woken.clone();
            resolver.ask(node(), (host.to_owned(), 5), move || woken.send(()).unwrap()).unwrap();
            wakes.recv_timeout(PATIENCE).unwrap();
            let found = resolver.found().unwrap();
            assert_eq!(found.host, host);
            found.address
        };
        let address = ask("localhost").unwrap();
        assert!(address.ip().is_loopback() && address.port() == 5, "{address}");
        assert!(ask("a\0b").is_err());
    }
}
