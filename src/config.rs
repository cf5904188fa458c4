//! The command line of the daemon, parsed once and refused early.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use argh::FromArgs;

use crate::limits::{
    DIMENSION_MAX, DISK_BYTES_DEFAULT, DISK_BYTES_LEAST, LABEL_MAX, NODE_BYTES_DEFAULT, SYNC_INTERVAL_LEAST,
    SYNC_INTERVAL_MAX, TOPIC_BYTES_DEFAULT, TOPIC_BYTES_ON_DISK_DEFAULT,
};
use crate::net::{Peers, PeersError, parse_id};
use crate::storage;
use crate::types::{Dimension, NodeId, Retention, Size};

/// One node of a hypercube of topics.
#[derive(Debug, FromArgs)]
#[argh(help_triggers("-h", "--help"))]
#[argh(example = "The eight nodes of a 3-cube, node i on port 5000+i, are started by scripts/deploy.sh; by hand:

  {command_name} --id 101")]
#[argh(
    example = "Inspecting the data folder of a node, also while it runs; repairing that of a stopped node; backing it up:

  {command_name} inspect --help
  {command_name} repair --help
  {command_name} backup --help"
)]
#[argh(
    note = "A SIZE is a number of bytes, alone or with a unit: 64KiB, 64MiB and 64GiB are powers of 1024; 64K, 64KB, 64M
and 64MB are powers of 1000."
)]
#[argh(note = "RUST_LOG sets what is logged on stderr: error, warn, info (the default), debug.")]
#[argh(error_code(1, "the journal is damaged, or the event loop failed"))]
#[argh(error_code(2, "the command line, the peers file, the address or the data folder cannot be used"))]
#[argh(error_code(3, "the disk failed"))]
pub struct Arguments {
    /// vertex of this node (required): as many binary digits as the cube has dimensions
    #[argh(option, arg_name = "digits")]
    pub id: Option<String>,

    /// dimension of the cube, 0 to 10 [default: 3]
    #[argh(option, default = "3", arg_name = "bits")]
    pub dimension: u8,

    /// port of node 0; node i listens on the i-th after it [default: 5000]
    #[argh(option, arg_name = "port")]
    pub base_port: Option<u16>,

    /// file with a line `ID IP:PORT` for each node, instead of --base-port
    #[argh(option, arg_name = "file")]
    pub peers: Option<PathBuf>,

    /// address to listen on [default: 127.0.0.1, or that of the peers file]
    #[argh(option, arg_name = "ip")]
    pub listen: Option<IpAddr>,

    /// listen on an address that others can reach, without any protection
    #[argh(switch)]
    pub insecure_network: bool,

    /// name of the cluster; others are refused [default: dht]
    #[argh(option, default = "String::from(\"dht\")", arg_name = "name")]
    pub cluster: String,

    /// folder of what this node keeps [default: dht-data/ID]
    #[argh(option, arg_name = "folder")]
    pub data: Option<PathBuf>,

    /// when records are made safe on disk: always (before the acknowledgement), or interval=100ms (at most so long
    /// after it: what was acknowledged since may be lost when the machine stops) [default: always]
    #[argh(option, arg_name = "when")]
    pub sync: Option<Sync>,

    /// keep nothing on disk: all topics are gone when the node ends
    #[argh(switch)]
    pub in_memory: bool,

    /// memory for topics; beyond it the oldest records are on disk only, or, with --in-memory, publishes are refused
    /// [default: 1GiB]
    #[argh(option, default = "Size(NODE_BYTES_DEFAULT)", arg_name = "size")]
    pub memory: Size,

    /// disk for the journal; beyond it publishes are refused [default: 16GiB]
    #[argh(option, arg_name = "size")]
    pub disk: Option<Size>,

    /// bytes that a topic keeps unless its creator says [default: 1GiB, or 64MiB with --in-memory]
    #[argh(option, arg_name = "size")]
    pub retain_bytes: Option<Size>,

    /// records that a topic keeps unless its creator says [default: no bound]
    #[argh(option, default = "0", arg_name = "count")]
    pub retain_records: u64,

    /// age up to which a topic keeps records unless its creator says, as in 7d [default: no bound]
    #[argh(option, arg_name = "time")]
    pub retain_age: Option<humantime::Duration>,

    /// print the version and exit
    #[argh(switch, short = 'V')]
    pub version: bool,
}

/// When records are made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync(pub storage::Sync);

impl FromStr for Sync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "always" {
            return Ok(Self(storage::Sync::Always));
        }
        let interval = text.strip_prefix("interval=").and_then(|time| time.parse::<humantime::Duration>().ok());
        match interval.map(Duration::from) {
            Some(interval) if (SYNC_INTERVAL_LEAST..=SYNC_INTERVAL_MAX).contains(&interval) => {
                Ok(Self(storage::Sync::Interval(interval)))
            }
            _ => Err("write always, or interval= and a time from 1ms to 1min, as interval=100ms".to_owned()),
        }
    }
}

/// What a node is to be, found possible.
#[derive(Debug)]
pub struct Config {
    /// Which vertex.
    pub id: NodeId,
    /// Of which cube.
    pub dimension: Dimension,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Can others than this machine's processes reach it?
    pub is_exposed: bool,
    /// Where the others are.
    pub peers: Peers,
    /// Where each node is said to be, by id.
    pub addresses: Vec<SocketAddr>,
    /// The cluster's name.
    pub cluster: String,
    /// Its journal; `None` in memory.
    pub storage: Option<storage::Options>,
    /// Bytes of memory for topics.
    pub memory_bytes: u64,
    /// For topics whose creator does not say.
    pub retention: Retention,
}

impl Config {
    /// Checks the command line as a whole.
    ///
    /// # Errors
    /// [`ConfigError`]: one line that says what is wrong and what would be right.
    pub fn new(arguments: &Arguments) -> Result<Self, ConfigError> {
        let dimension = Dimension::new(arguments.dimension).ok_or(ConfigError::Dimension(arguments.dimension))?;
        let given = arguments.id.as_deref().ok_or(ConfigError::NoId)?;
        let id = parse_id(given, dimension).ok_or_else(|| ConfigError::Id { given: given.to_owned(), dimension })?;
        if arguments.cluster.is_empty()
            || arguments.cluster.len() > LABEL_MAX
            || arguments.cluster.chars().any(char::is_control)
        {
            return Err(ConfigError::Cluster);
        }
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let peers = match (&arguments.peers, arguments.base_port) {
            (Some(_), Some(_)) => return Err(ConfigError::TwoWays),
            (Some(path), None) => Peers::File { path: path.clone(), dimension },
            (None, base) => Peers::BasePort {
                ip: arguments.listen.filter(|ip| !ip.is_unspecified()).unwrap_or(loopback),
                base: base.unwrap_or(5000),
            },
        };
        let addresses = peers.addresses(dimension).map_err(ConfigError::Peers)?;
        let own = addresses[usize::from(id.index())];
        let listen = SocketAddr::new(arguments.listen.unwrap_or_else(|| own.ip()), own.port());
        let is_exposed = !listen.ip().is_loopback();
        if is_exposed && !arguments.insecure_network {
            return Err(ConfigError::Exposed(listen));
        }
        let is_of_disk = arguments.data.is_some() || arguments.sync.is_some() || arguments.disk.is_some();
        if arguments.in_memory && is_of_disk {
            return Err(ConfigError::InMemory);
        }
        let disk_bytes = arguments.disk.map_or(DISK_BYTES_DEFAULT, |disk| disk.0);
        if disk_bytes < DISK_BYTES_LEAST {
            return Err(ConfigError::Disk);
        }
        let storage = (!arguments.in_memory).then(|| {
            let folder = arguments.data.clone().unwrap_or_else(|| Path::new("dht-data").join(id.binary(dimension)));
            let sync = arguments.sync.map_or(storage::Sync::Always, |sync| sync.0);
            storage::Options { folder, sync, disk_bytes }
        });
        let topic_bytes = if storage.is_some() { TOPIC_BYTES_ON_DISK_DEFAULT } else { TOPIC_BYTES_DEFAULT };
        let age = arguments.retain_age.map_or(0, |age| age.as_millis());
        let retention = Retention {
            records: arguments.retain_records,
            bytes: arguments.retain_bytes.map_or(topic_bytes, |bytes| bytes.0),
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
        };
        Ok(Self {
            id,
            dimension,
            listen,
            is_exposed,
            peers,
            addresses,
            cluster: arguments.cluster.clone(),
            storage,
            memory_bytes: arguments.memory.0,
            retention,
        })
    }
}

/// Why a command line describes no node.
#[derive(Debug)]
pub enum ConfigError {
    /// More dimensions than there are.
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
    /// `--in-memory` and where, when or how much to store.
    InMemory,
    /// Too little for a journal.
    Disk,
    /// An address that others can reach.
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
            Self::Disk => write!(f, "--disk is at least {}MiB: a few segments", DISK_BYTES_LEAST >> 20),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let arguments = Arguments::from_args(&["dht-node"], arguments).map_err(|exit| exit.output.trim().to_owned())?;
        Config::new(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn command_lines_that_describe_no_node_say_why() {
        let cases: [(&[&str], &str); 12] = [
            (&[], "--id is missing"),
            (&["--id", "5"], "are 000 to 111"),
            (&["--id", "1", "--dimension", "11"], "0 to 10 dimensions"),
            (&["--id", "0", "--dimension", "0", "--base-port", "1", "--peers", "x"], "give one of them"),
            (&["--id", "000", "--base-port", "65530"], "leaves no ports"),
            (&["--id", "000", "--peers", "/nonexistent/peers"], "cannot read the peers file"),
            (&["--id", "000", "--listen", "0.0.0.0"], "--insecure-network"),
            (&["--id", "000", "--cluster", ""], "--cluster"),
            (&["--id", "000", "--in-memory", "--sync", "always"], "leave out --data, --sync"),
            (&["--id", "000", "--disk", "100MiB"], "at least 320MiB"),
            (&["--id", "000", "--sync", "never"], "write always"),
            (&["--id", "000", "--sync", "interval=2h"], "from 1ms to 1min"),
        ];
        for (arguments, expected) in cases {
            let error = config(arguments).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn a_node_listens_on_its_port_of_the_base() {
        let config = config(&["--id", "101", "--memory", "64MiB", "--retain-age", "7d"]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:5005");
        assert_eq!((config.memory_bytes, config.retention.age_ms), (64 << 20, 7 * 24 * 3_600_000));
        let (folder, disk_bytes) = (PathBuf::from("dht-data/101"), 16 << 30);
        assert_eq!(config.storage, Some(storage::Options { folder, sync: storage::Sync::Always, disk_bytes }));
        assert_eq!(config.retention.bytes, 1 << 30);
    }

    #[test]
    fn where_when_and_how_much_to_store_is_as_it_is_said() {
        let lazy = storage::Sync::Interval(Duration::from_millis(50));
        let stored = |arguments: &[&str]| {
            let storage = config(arguments).unwrap().storage;
            storage.map(|options| (options.folder.display().to_string(), options.sync, options.disk_bytes >> 20))
        };
        let (here, always) = ("dht-data/000".to_owned(), storage::Sync::Always);
        assert_eq!(stored(&["--id", "000", "--in-memory"]), None);
        assert_eq!(stored(&["--id", "000", "--data", "/x"]), Some(("/x".to_owned(), always, 16 << 10)));
        assert_eq!(stored(&["--id", "000", "--sync", "interval=50ms"]), Some((here.clone(), lazy, 16 << 10)));
        assert_eq!(stored(&["--id", "000", "--disk", "320MiB"]), Some((here, always, 320)));
        assert_eq!(config(&["--id", "000", "--in-memory"]).unwrap().retention.bytes, 64 << 20);
    }
}
