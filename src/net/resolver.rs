//! Looking up the addresses of host names, beside the loop: a name server may take seconds.
//!
//! Each question has a thread that ends with its answer; a neighbour has one question at a time.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;

use crate::types::NodeId;

/// Where a node was found, or why not.
#[derive(Debug)]
pub(super) struct Found {
    /// Whose name it was.
    pub node: NodeId,
    /// The name.
    pub host: String,
    /// All its addresses.
    pub addresses: io::Result<Vec<SocketAddr>>,
}

/// The questions that are not answered yet.
#[derive(Debug)]
pub(super) struct Resolver {
    open: Vec<NodeId>,
    answer: mpsc::Sender<Found>,
    answers: mpsc::Receiver<Found>,
}

impl Default for Resolver {
    fn default() -> Self {
        let (answer, answers) = mpsc::channel();
        Self { open: Vec::new(), answer, answers }
    }
}

impl Resolver {
    /// Has a name looked up, unless that of this node is. `wake` ends the wait of the loop's poll.
    ///
    /// # Errors
    /// As the system's, when there can be no thread.
    pub(super) fn ask(
        &mut self,
        node: NodeId,
        (host, port): (String, u16),
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        if self.open.contains(&node) {
            return Ok(());
        }
        let answer = self.answer.clone();
        thread::Builder::new().name("resolve".to_owned()).spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Nobody listens when the loop has ended.
            if answer.send(Found { node, host, addresses }).is_ok() {
                wake();
            }
        })?;
        self.open.push(node);
        Ok(())
    }

    /// An answer that came.
    pub(super) fn next(&mut self) -> Option<Found> {
        let found = self.answers.try_recv().ok()?;
        self.open.retain(|node| *node != found.node);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Dimension;

    #[test]
    fn a_name_is_looked_up_once_at_a_time_and_its_answer_wakes_the_loop() {
        let node = NodeId::new(1, Dimension::new(1).unwrap()).unwrap();
        let mut resolver = Resolver::default();
        let (woken, wakes) = mpsc::channel();
        for host in ["localhost", "localhost", "name.invalid"] {
            let woken = woken.clone();
            resolver.ask(node, (host.to_owned(), 5), move || woken.send(()).unwrap()).unwrap();
        }
        wakes.recv().unwrap();
        let found = resolver.next().unwrap();
        assert_eq!((found.node, found.host.as_str()), (node, "localhost"));
        assert!(found.addresses.unwrap().iter().all(|address| address.ip().is_loopback() && address.port() == 5));
        assert!(resolver.next().is_none(), "it was asked once");
        resolver.ask(node, ("a\0b".to_owned(), 5), move || woken.send(()).unwrap()).unwrap();
        wakes.recv().unwrap();
        assert!(resolver.next().unwrap().addresses.is_err());
    }
}
