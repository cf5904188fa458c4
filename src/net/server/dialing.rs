//! Connects to neighbours: finds where they are, and tries their addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::Loop;
use crate::net::host::HostPort;
use crate::node::Event;
use crate::turn::Store;
use crate::types::{ConnId, NodeId, Now};

/// Why neighbours could not be dialled. A neighbour that stays away is dialled again every second, so the same reason
/// is logged once.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: BTreeMap<NodeId, String>,
}

impl Complaints {
    /// Returns the reason if it is a new one.
    fn note(&mut self, node: NodeId, reason: String) -> Option<&str> {
        if self.last.get(&node) == Some(&reason) {
            return None;
        }
        let last = self.last.entry(node).or_default();
        *last = reason;
        Some(last)
    }

    fn forget(&mut self, node: NodeId) {
        self.last.remove(&node);
    }
}

impl<S: Store> Loop<S> {
    /// Starts the connects that the node asked for. An attempt that is not answered is made again when the node asks
    /// for another one, also if it still waits for the address.
    pub(super) fn connect(&mut self, now: Now) {
        for node in std::mem::take(&mut self.driver.conns().dials) {
            match self.peers.address(node) {
                Ok(address) if address.port() == 0 => self.driver.turn.handle(now, Event::DialFailed { node }),
                Ok(HostPort::Ip(address)) => {
                    self.resolver.settle(node);
                    self.dial(now, node, address);
                }
                Ok(HostPort::Name { host, port }) => self.look_up(node, host, port),
                Err(error) => self.complain(node, error.to_string()),
            }
        }
    }

    fn look_up(&mut self, node: NodeId, host: String, port: u16) {
        log::debug!("looking up {host}, where node {} is", node.binary(self.dimension));
        let wake = self.server.waker();
        match self.resolver.ask(node, (host.clone(), port), wake) {
            Ok(true) => {}
            Ok(false) => self.complain(node, format!("the lookup of {host} is not answered; waiting for it")),
            Err(error) => self.complain(node, format!("cannot start a thread to look up {host}: {error}")),
        }
    }

    /// Connects to the neighbours whose names were looked up. The node asks again for those whose names were not found.
    pub(super) fn connect_found(&mut self, now: Now) {
        while let Some(found) = self.resolver.found() {
            match found.address {
                Ok(address) => {
                    self.complaints.forget(found.node);
                    self.dial(now, found.node, address);
                }
                Err(error) => {
                    self.complain(found.node, format!("cannot look up {}: {error}", found.host));
                }
            }
        }
    }

    fn complain(&mut self, node: NodeId, reason: String) {
        if let Some(reason) = self.complaints.note(node, reason) {
            log::warn!("cannot dial node {}: {reason}", node.binary(self.dimension));
        }
    }

    /// Connects to an address of a neighbour, in place of an earlier attempt. If that fails at once, tries its other
    /// addresses.
    fn dial(&mut self, now: Now, node: NodeId, address: SocketAddr) {
        self.driver.hang_up(&mut self.sockets, node);
        let mut next = Some(address);
        while let Some(address) = next {
            match TcpStream::connect(address).and_then(|socket| self.register(socket)) {
                Ok(socket) => return self.driver.dial(node, socket),
                Err(error) => log::debug!("cannot dial {address}: {error}"),
            }
            next = self.resolver.next_address(node);
        }
        self.driver.turn.handle(now, Event::DialFailed { node });
    }

    /// Handles what is reported about the socket on which a neighbour is being dialled.
    pub(super) fn on_connected(&mut self, now: Now, (id, node): (ConnId, NodeId), is_error: bool) {
        let Some(conn) = self.driver.conns().get_mut(id) else { return };
        let fault = conn.socket.take_error().ok().flatten();
        let is_early = || conn.socket.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected);
        if fault.is_none() && !is_error && is_early() {
            return;
        }
        if is_error || fault.is_some() {
            log::debug!("cannot connect to node {}: {fault:?}", node.binary(self.dimension));
            self.driver.remove(&mut self.sockets, id);
            match self.resolver.next_address(node) {
                Some(address) => self.dial(now, node, address),
                None => self.driver.turn.handle(now, Event::DialFailed { node }),
            }
            return;
        }
        if let Err(error) = conn.socket.set_nodelay(true) {
            log::debug!("no TCP_NODELAY towards node {}: {error}", node.binary(self.dimension));
        }
        self.resolver.settle(node);
        self.driver.on_connected(now, id, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Dimension;

    #[test]
    fn the_same_reason_is_given_once() {
        let node = |index| NodeId::new(index, Dimension::new(1).unwrap()).unwrap();
        let mut complaints = Complaints::default();
        let mut is_new = |index, reason: &str| complaints.note(node(index), reason.to_owned()).is_some();
        let told = [is_new(0, "a"), is_new(0, "a"), is_new(1, "a"), is_new(0, "b"), is_new(0, "a"), is_new(0, "a")];
        assert_eq!(told, [true, false, true, true, true, false]);
        complaints.forget(node(0));
        assert!(complaints.note(node(0), "a".to_owned()).is_some());
        assert!(complaints.note(node(1), "a".to_owned()).is_none());
    }
}
