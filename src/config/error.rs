//! Why a command line is refused.

use std::fmt;
use std::net::SocketAddr;

use crate::limits::{DIMENSION_MAX, DISK_BYTES_LEAST, LABEL_MAX, NODE_BYTES_LEAST};
use crate::net::{HostPort, PeersError};
use crate::types::{Dimension, NodeId, Size};

/// Why a command line is refused.
#[derive(Debug)]
pub enum ConfigError {
    /// More dimensions than a cube may have.
    Dimension(u8),
    /// No `--id`.
    NoId,
    /// Not an id of that cube.
    Id {
        /// What was given.
        given: String,
        /// The cube.
        dimension: Dimension,
    },
    /// A name that HELLO cannot carry.
    Cluster,
    /// Both `--peers` and `--base-port`.
    TwoWays,
    /// The addresses of the others.
    Peers(PeersError),
    /// `--in-memory` together with an option about the disk.
    InMemory,
    /// `--replicas 3` in a cube of this dimension, which has fewer than four nodes.
    TooFewNodes(Dimension),
    /// Three copies of each topic without an fsync before each acknowledgement.
    NotSynced,
    /// `--replicas 1` with a folder of a cube in which three nodes keep each topic.
    FewerCopies,
    /// Too little for a journal.
    Disk,
    /// Too little memory for topics.
    Memory,
    /// An empty name of a folder.
    Data,
    /// An age above zero that would be rounded to zero, which means no bound.
    Age,
    /// `--creates-burst 0`.
    CreatesBurst,
    /// `--base-port 0`.
    BasePort,
    /// An address that clients cannot connect to.
    Advertise(HostPort),
    /// The host name of this node in the peers file cannot be looked up.
    Name {
        /// The name.
        host: String,
        /// The reason.
        cause: String,
    },
    /// An address that other machines can reach, without `--insecure-network`.
    Exposed(SocketAddr),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dimension(given) => write!(f, "--dimension {given}: a cube has 0 to {DIMENSION_MAX} dimensions"),
            Self::NoId => f.write_str("--id is missing: which vertex is this node, for example --id 101?"),
            Self::Id { given, dimension } => {
                let last = NodeId::from_low_bits(u32::MAX, *dimension).binary(*dimension);
                let first = NodeId::from_low_bits(0, *dimension).binary(*dimension);
                write!(f, "--id {given}: the ids of a cube of dimension {} are {first} to {last}", dimension.bits())
            }
            Self::Cluster => write!(f, "--cluster: a name has 1 to {LABEL_MAX} bytes and no control characters"),
            Self::TwoWays => f.write_str("--peers and --base-port both say where the nodes are; give one of them"),
            Self::InMemory => f.write_str("--in-memory keeps nothing on disk; leave out --data, --sync and --disk"),
            Self::TooFewNodes(dimension) => write!(
                f,
                "--replicas 3 needs a cube of at least four nodes (--dimension 2), and this one has --dimension {}; \
                 leave --replicas out",
                dimension.bits()
            ),
            Self::NotSynced => f.write_str(
                "--replicas 3 needs --sync always and a data folder, because other nodes rely on what this one has \
                 acknowledged; change these options, or use --replicas 1",
            ),
            Self::FewerCopies => f.write_str(
                "--replicas 1: this data folder is of a cube in which three nodes keep each topic; \
                 leave --replicas out, or export the topics (dht-cli export) and import them into a new cube",
            ),
            Self::Disk => write!(f, "--disk is at least {}MiB: a few segments", DISK_BYTES_LEAST >> 20),
            Self::Memory => {
                write!(
                    f,
                    "--memory: at least {} is needed; with less the node refuses publishes",
                    Size(NODE_BYTES_LEAST)
                )
            }
            Self::Data => f.write_str("--data is empty; name a folder, or say --in-memory"),
            Self::Age => f.write_str("--retain-age: at least 1ms, or none for no limit"),
            Self::CreatesBurst => {
                f.write_str("--creates-burst: at least 1; for no limit on new topics, say --creates-per-second none")
            }
            Self::BasePort => {
                f.write_str("--base-port 0: give the port of node 0, from 1 on; node i listens i above it")
            }
            Self::Advertise(address) => {
                write!(f, "--advertise {address}: clients cannot connect to that; give the host and port that they see")
            }
            Self::Name { host, cause } => write!(
                f,
                "the peers file calls this node {host}, which cannot be looked up ({cause}); \
                 say with --listen on which IP address of this machine it listens"
            ),
            Self::Peers(error) => error.fmt(f),
            Self::Exposed(address) => write!(
                f,
                "{address} can be reached from other machines and nothing protects it; \
                 listen on 127.0.0.1, or say --insecure-network if only friends can reach it"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
