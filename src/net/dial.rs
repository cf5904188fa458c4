//! Where the nodes of the cube are.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::host::{HostPort, HostPortError};
use crate::types::{Dimension, NodeId};

/// The addresses of all nodes.
#[derive(Clone, Debug)]
pub enum Peers {
    /// Node `i` listens on port `base + i` of one address.
    BasePort {
        /// The address.
        ip: IpAddr,
        /// The port of node 0.
        base: u16,
    },
    /// Lines of `ID HOST:PORT [HOST:PORT]`. Read again before each dial, so that a node may move without its neighbours
    /// being started again; port 0 means that it is not known yet.
    File {
        /// The file.
        path: PathBuf,
        /// Whose ids these are.
        dimension: Dimension,
    },
}

/// The addresses of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens, and its neighbours dial it.
    pub address: HostPort,
    /// Where clients reach it, if they see another address.
    pub advertised: Option<HostPort>,
}

impl Peers {
    /// Returns where a node listens.
    ///
    /// # Errors
    /// [`PeersError`] names the line.
    pub fn address(&self, node: NodeId) -> Result<HostPort, PeersError> {
        match self {
            Self::BasePort { ip, base } => match base.checked_add(node.index()) {
                Some(port) => Ok(HostPort::Ip(SocketAddr::new(*ip, port))),
                None => Err(PeersError { path: PathBuf::new(), fault: Fault::Port { base: *base } }),
            },
            Self::File { path, dimension } => {
                let mut peers = read(path, *dimension)?;
                Ok(peers.swap_remove(usize::from(node.index())).address)
            }
        }
    }

    /// Returns the addresses of each node, in the order of their ids.
    ///
    /// # Errors
    /// [`PeersError`] names the line.
    pub fn all(&self, dimension: Dimension) -> Result<Vec<Peer>, PeersError> {
        let peer = |node| Ok(Peer { address: self.address(node)?, advertised: None });
        match self {
            Self::BasePort { .. } => dimension.all().map(peer).collect(),
            Self::File { path, .. } => read(path, dimension),
        }
    }
}

fn read(path: &Path, dimension: Dimension) -> Result<Vec<Peer>, PeersError> {
    let error = |fault| PeersError { path: path.to_owned(), fault };
    let text = std::fs::read_to_string(path).map_err(|cause| error(Fault::Read { cause: cause.to_string() }))?;
    parse(&text, dimension).map_err(error)
}

fn parse(text: &str, dimension: Dimension) -> Result<Vec<Peer>, Fault> {
    let mut peers = vec![None; usize::from(dimension.nodes())];
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let mut words = content.split('#').next().unwrap_or_default().split_whitespace();
        let Some(id) = words.next() else { continue };
        let (Some(address), advertised, None) = (words.next(), words.next(), words.next()) else {
            return Err(Fault::Words { line });
        };
        let node = parse_id(id, dimension).ok_or_else(|| Fault::Id { line, id: id.to_owned() })?;
        let host_port =
            |text: &str| text.parse().map_err(|HostPortError| Fault::Address { line, address: text.to_owned() });
        let peer = Peer { address: host_port(address)?, advertised: advertised.map(host_port).transpose()? };
        // With port 0 the system chooses another port for each node.
        let shown = peer.address.to_string();
        if peer.address.port() != 0
            && let Some(other) = taken.insert(shown, id.to_owned()).filter(|other| other != id)
        {
            return Err(Fault::Taken { line, address: peer.address.to_string(), other });
        }
        if let Some(advertised) = peer.advertised.as_ref().filter(|advertised| !advertised.is_reachable()) {
            return Err(Fault::Unreachable { line, address: advertised.to_string() });
        }
        if peers[usize::from(node.index())].replace(peer).is_some() {
            return Err(Fault::Twice { line, id: id.to_owned() });
        }
    }
    dimension
        .all()
        .zip(peers)
        .map(|(node, peer)| peer.ok_or_else(|| Fault::Missing { id: node.binary(dimension) }))
        .collect()
}

/// A node id as people write it: exactly as many binary digits as the cube has dimensions (one for a single node).
pub fn parse_id(text: &str, dimension: Dimension) -> Option<NodeId> {
    let is_binary =
        text.len() == usize::from(dimension.bits().max(1)) && text.bytes().all(|b| matches!(b, b'0' | b'1'));
    let id = is_binary.then(|| u16::from_str_radix(text, 2).ok())??;
    NodeId::new(id, dimension)
}

/// Why the addresses of the nodes are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Read { cause: String },
    Words { line: u32 },
    Id { line: u32, id: String },
    Address { line: u32, address: String },
    Unreachable { line: u32, address: String },
    Twice { line: u32, id: String },
    Taken { line: u32, address: String, other: String },
    Missing { id: String },
    Port { base: u16 },
}

impl fmt::Display for PeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::Read { cause } => write!(f, "cannot read the peers file {path}: {cause}"),
            Fault::Words { line } => {
                write!(
                    f,
                    "{path}:{line}: a line is `ID HOST:PORT`, as `101 10.0.0.5:5000`, or `ID HOST:PORT HOST:PORT`"
                )
            }
            Fault::Id { line, id } => {
                write!(f, "{path}:{line}: {id:?} is no id of this cube; write it in binary digits")
            }
            Fault::Address { line, address } => write!(f, "{path}:{line}: {address:?} is not HOST:PORT"),
            Fault::Unreachable { line, address } => {
                write!(f, "{path}:{line}: clients cannot connect to {address}; name the host and port that they see")
            }
            Fault::Twice { line, id } => write!(f, "{path}:{line}: node {id} stands there twice"),
            Fault::Taken { line, address, other } => {
                write!(f, "{path}:{line}: {address} is the address of node {other} already; give each node its own")
            }
            Fault::Missing { id } => write!(f, "{path}: node {id} is missing"),
            Fault::Port { base } => write!(f, "base port {base} leaves no ports up to 65535 for all nodes"),
        }
    }
}

impl std::error::Error for PeersError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_file_names_every_node_once() {
        let one = Dimension::new(1).unwrap();
        let taken = |address: &str| Fault::Taken { line: 2, address: address.to_owned(), other: "0".to_owned() };
        let cases: [(&str, Result<usize, Fault>); 13] = [
            ("0 node-0.example:1 10.1.1.1:7000\n1 b_1:2", Ok(2)),
            ("0 127.0.0.1:1 b:2 c:3", Err(Fault::Words { line: 1 })),
            ("0 127.0.0.1:1 b:0", Err(Fault::Unreachable { line: 1, address: "b:0".into() })),
            ("0 127.0.0.1:1\n# a comment\n\n1 [::1]:2 # the other\n", Ok(2)),
            ("0 127.0.0.1:1", Err(Fault::Missing { id: "1".into() })),
            ("0 127.0.0.1:1\n0 127.0.0.1:2", Err(Fault::Twice { line: 2, id: "0".into() })),
            ("0 127.0.0.1:1\n0 127.0.0.1:1", Err(Fault::Twice { line: 2, id: "0".into() })),
            ("0 127.0.0.1:1\n1 127.0.0.1:1", Err(taken("127.0.0.1:1"))),
            ("0 a.example:1 b:2\n1 a.example:1 c:2", Err(taken("a.example:1"))),
            ("0", Err(Fault::Words { line: 1 })),
            ("0 a:1 b", Err(Fault::Address { line: 1, address: "b".into() })),
            ("2 127.0.0.1:1", Err(Fault::Id { line: 1, id: "2".into() })),
            ("\n1 localhost", Err(Fault::Address { line: 2, address: "localhost".into() })),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, one).map(|addresses| addresses.len()), expected, "{text:?}");
        }
    }

    #[test]
    fn ids_are_exactly_their_binary_digits() {
        let three = Dimension::new(3).unwrap();
        for (text, index) in
            [("101", Some(5)), ("000", Some(0)), ("5", None), ("1011", None), ("+11", None), ("", None)]
        {
            assert_eq!(parse_id(text, three).map(NodeId::index), index, "{text:?}");
        }
        assert_eq!(parse_id("0", Dimension::new(0).unwrap()).map(NodeId::index), Some(0));
    }
}
