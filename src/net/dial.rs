//! Where the nodes of the cube are.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

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
    /// Lines of `ID IP:PORT`. Read again before each dial, so that a node may move without its neighbours being
    /// started again; port 0 means that it is not known yet.
    File {
        /// The file.
        path: PathBuf,
        /// Whose ids these are.
        dimension: Dimension,
    },
}

impl Peers {
    /// Where a node listens.
    ///
    /// # Errors
    /// [`PeersError`] names the line.
    pub fn address(&self, node: NodeId) -> Result<SocketAddr, PeersError> {
        match self {
            Self::BasePort { ip, base } => match base.checked_add(node.index()) {
                Some(port) => Ok(SocketAddr::new(*ip, port)),
                None => Err(PeersError { path: PathBuf::new(), fault: Fault::Port { base: *base } }),
            },
            Self::File { path, dimension } => {
                let addresses = read(path, *dimension)?;
                Ok(addresses[usize::from(node.index())])
            }
        }
    }

    /// Where each node listens, in the order of their ids.
    ///
    /// # Errors
    /// [`PeersError`] names the line.
    pub fn addresses(&self, dimension: Dimension) -> Result<Vec<SocketAddr>, PeersError> {
        match self {
            Self::BasePort { .. } => dimension.all().map(|node| self.address(node)).collect(),
            Self::File { path, .. } => read(path, dimension),
        }
    }
}

fn read(path: &Path, dimension: Dimension) -> Result<Vec<SocketAddr>, PeersError> {
    let error = |fault| PeersError { path: path.to_owned(), fault };
    let text = std::fs::read_to_string(path).map_err(|cause| error(Fault::Read { cause: cause.to_string() }))?;
    parse(&text, dimension).map_err(error)
}

fn parse(text: &str, dimension: Dimension) -> Result<Vec<SocketAddr>, Fault> {
    let mut addresses = vec![None; usize::from(dimension.nodes())];
    for (line, content) in (1..).zip(text.lines()) {
        let mut words = content.split('#').next().unwrap_or_default().split_whitespace();
        let Some(id) = words.next() else { continue };
        let (Some(address), None) = (words.next(), words.next()) else { return Err(Fault::Words { line }) };
        let node = parse_id(id, dimension).ok_or_else(|| Fault::Id { line, id: id.to_owned() })?;
        let address: SocketAddr = address.parse().map_err(|_| Fault::Address { line, address: address.to_owned() })?;
        if addresses[usize::from(node.index())].replace(address).is_some() {
            return Err(Fault::Twice { line, id: id.to_owned() });
        }
    }
    dimension
        .all()
        .zip(addresses)
        .map(|(node, address)| address.ok_or_else(|| Fault::Missing { id: node.binary(dimension) }))
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
    Twice { line: u32, id: String },
    Missing { id: String },
    Port { base: u16 },
}

impl fmt::Display for PeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            Fault::Read { cause } => write!(f, "cannot read the peers file {path}: {cause}"),
            Fault::Words { line } => {
                write!(f, "{path}:{line}: a line is `ID IP:PORT`, for example `101 10.0.0.5:5000`")
            }
            Fault::Id { line, id } => {
                write!(f, "{path}:{line}: {id:?} is no id of this cube; write it in binary digits")
            }
            Fault::Address { line, address } => write!(f, "{path}:{line}: {address:?} is not IP:PORT"),
            Fault::Twice { line, id } => write!(f, "{path}:{line}: node {id} stands there twice"),
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
        let cases: [(&str, Result<usize, Fault>); 7] = [
            ("0 127.0.0.1:1\n# a comment\n\n1 [::1]:2 # the other\n", Ok(2)),
            ("0 127.0.0.1:1", Err(Fault::Missing { id: "1".into() })),
            ("0 127.0.0.1:1\n0 127.0.0.1:2", Err(Fault::Twice { line: 2, id: "0".into() })),
            ("0", Err(Fault::Words { line: 1 })),
            ("0 a b", Err(Fault::Words { line: 1 })),
            ("2 127.0.0.1:1", Err(Fault::Id { line: 1, id: "2".into() })),
            ("\n1 localhost:1", Err(Fault::Address { line: 2, address: "localhost:1".into() })),
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
