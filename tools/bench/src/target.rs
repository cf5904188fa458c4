//! The cube under test, and the nodes that the threads connect to.

use std::net::{IpAddr, ToSocketAddrs};

use dht_client::{Address, Dimension, NodeId};
use dht_console::errors::Failure;
use dht_console::session::Session;
use dht_report::{Cluster, Entry};

use super::link::drawn;

/// The cube under test.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) dimension: Dimension,
    /// The nodes by number; `None` for a node that did not answer.
    addresses: Vec<Option<Address>>,
    /// The node that the command line is connected to.
    entrance: (NodeId, Address),
    pub(super) software: Vec<String>,
    durability: Vec<String>,
}

impl Target {
    /// # Errors
    /// Returns an error if no server answers.
    pub(super) fn find(session: &mut Session) -> Result<Self, Failure> {
        let client = session.client()?;
        let found = client.cluster()?;
        let node = client.ingress()?;
        let server: Option<Address> = client.server().and_then(|server| server.parse().ok());
        let (mut software, mut durability) = (Vec::new(), Vec::new());
        let mut addresses = Vec::new();
        for member in &found.nodes {
            let Ok(view) = &member.view else {
                addresses.push(None);
                continue;
            };
            if !software.contains(&view.software) {
                software.push(view.software.clone());
            }
            let level = view.durability.name().to_owned();
            if !durability.contains(&level) {
                durability.push(level);
            }
            addresses.push(member.address.parse().ok());
        }
        let server = server.expect("a connected client has a server");
        addresses[usize::from(node.index())].get_or_insert_with(|| server.clone());
        Ok(Self { dimension: found.dimension, addresses, entrance: (node, server), software, durability })
    }

    /// Returns the node that a thread connects to.
    pub(super) fn entry(&self, entry: Entry, thread: u32, seed: u64) -> (NodeId, &Address) {
        let up: Vec<_> =
            self.dimension.all().zip(&self.addresses).filter_map(|(node, a)| Some((node, a.as_ref()?))).collect();
        match entry {
            Entry::One => (self.entrance.0, &self.entrance.1),
            Entry::All => up[thread as usize % up.len()],
            Entry::Random => up[drawn(seed, u64::from(thread), up.len())],
        }
    }

    /// Returns the address that the command line is connected to.
    pub(super) const fn entrance(&self) -> &Address {
        &self.entrance.1
    }

    /// Returns the ports of all nodes, if all answered and run on this machine.
    pub(super) fn local_ports(&self) -> Option<Vec<u16>> {
        let ports = self.addresses.iter().map(|address| Some(address.as_ref()?.port()));
        ports.collect::<Option<Vec<_>>>().filter(|_| self.is_local())
    }

    /// Returns the opposite node of the cube, if it answers.
    pub(super) fn opposite(&self, node: NodeId) -> Option<&Address> {
        let opposite = NodeId::from_low_bits(!u32::from(node.index()), self.dimension);
        self.addresses[usize::from(opposite.index())].as_ref()
    }

    /// Returns true if all nodes run on this machine.
    pub(super) fn is_local(&self) -> bool {
        let is_loopback = |address: &Address| {
            let resolved = (address.host(), address.port()).to_socket_addrs();
            resolved.is_ok_and(|mut all| all.all(|address| IpAddr::is_loopback(&address.ip())))
        };
        self.addresses.iter().flatten().all(is_loopback)
    }

    pub(super) fn report(&self) -> Cluster {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let shown = |address: &Option<Address>| address.as_ref().map(Address::to_string).unwrap_or_default();
        Cluster {
            dimension: self.dimension.bits(),
            nodes: count(self.addresses.len()),
            nodes_up: count(self.addresses.iter().flatten().count()),
            software: self.software.clone(),
            durability: self.durability.clone(),
            addresses: self.addresses.iter().map(shown).collect(),
        }
    }
}
