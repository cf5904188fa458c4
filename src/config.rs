//! The command line of the daemon, parsed once and refused early.

mod copies;
mod environment;
mod error;
mod shown;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use argh::FromArgs;
pub use copies::Replicas;
pub use environment::{EnvironmentError, Words};
pub use error::ConfigError;

use crate::limits::{
    CREATES_BURST_DEFAULT, CREATES_PER_SECOND_DEFAULT, DISK_BYTES_DEFAULT, DISK_BYTES_LEAST, LABEL_MAX,
    NODE_BYTES_DEFAULT, NODE_BYTES_LEAST, SYNC_INTERVAL_LEAST, SYNC_INTERVAL_MAX, TOPIC_BYTES_DEFAULT,
    TOPIC_BYTES_ON_DISK_DEFAULT,
};
use crate::net::{HostPort, Peers, parse_id};
use crate::node::SourceLimits;
use crate::storage;
use crate::types::{Copies, Dimension, NodeId, Retention, Size};

/// One node of a hypercube of topics.
#[derive(Debug, FromArgs)]
#[argh(help_triggers("-h", "--help"))]
#[argh(example = "The eight nodes of a 3-cube, node i on port 5000+i, are started by scripts/deploy.sh; by hand:

  {command_name} --id 101")]
#[argh(
    example = "Inspecting the data folder of a node, also while it runs; repairing that of a stopped node; backing it up;
recovering topics from the last of their three copies:

  {command_name} inspect --help
  {command_name} repair --help
  {command_name} backup --help
  {command_name} recover --help"
)]
#[argh(note = "A SIZE is a number of bytes, alone or with a unit: 64KiB and 64MiB are powers of 1024;
64K, 64KB, 64M and 64MB are powers of 1000.")]
#[argh(note = "Each option but --help, --version and --print-config can also be set by an environment variable:
DHT_NODE_BASE_PORT=6000 is --base-port 6000, and DHT_NODE_IN_MEMORY=1 is --in-memory. What is on the
command line takes precedence.")]
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

    /// file with a line `ID HOST:PORT` for each node, instead of --base-port; a second HOST:PORT in a line is the
    /// address at which clients reach that node, if it differs
    #[argh(option, arg_name = "file")]
    pub peers: Option<PathBuf>,

    /// IP address to listen on, such as 0.0.0.0 or `[::1]` [default: 127.0.0.1, or that of the peers file]
    #[argh(option, arg_name = "ip")]
    pub listen: Option<Listen>,

    /// address at which clients reach this node, if it differs from the one it listens on: behind NAT or in a container
    #[argh(option, arg_name = "host:port")]
    pub advertise: Option<HostPort>,

    /// listen on an address that others can reach, without any protection
    #[argh(switch)]
    pub insecure_network: bool,

    /// name of the cluster; nodes and clients of other clusters are refused [default: dht]
    #[argh(option, default = "String::from(\"dht\")", arg_name = "name")]
    pub cluster: String,

    /// folder for the data of this node [default: dht-data/ID]
    #[argh(option, arg_name = "folder")]
    pub data: Option<PathBuf>,

    /// when records are fsynced: always (before they are acknowledged), or at an interval such as interval=100ms
    /// (what was acknowledged since the last fsync may be lost when the machine stops) [default: always]
    #[argh(option, arg_name = "when")]
    pub sync: Option<Sync>,

    /// keep nothing on disk: all topics are gone when the node ends
    #[argh(switch)]
    pub in_memory: bool,

    /// number of nodes that keep each topic, 1 or 3; the same for all nodes of the cube. With 3, an acknowledged record
    /// is on the disks of at least two nodes, and any one node may fail; this needs four nodes or more, and --sync
    /// always [default: that of the data folder; 1 for a new folder]
    #[argh(option, arg_name = "count")]
    pub replicas: Option<Replicas>,

    /// memory for topics; beyond it the oldest records are on disk only, or, with --in-memory, publishes are refused
    /// [default: 1GiB]
    #[argh(option, default = "Size(NODE_BYTES_DEFAULT)", arg_name = "size")]
    pub memory: Size,

    /// disk for the journal; beyond it publishes are refused [default: 16GiB]
    #[argh(option, arg_name = "size")]
    pub disk: Option<Size>,

    /// bytes that a topic keeps unless its creator says; none or 0: no limit [default: 1GiB, or 64MiB with --in-memory]
    #[argh(option, arg_name = "size")]
    pub retain_bytes: Option<Bound<Size>>,

    /// records that a topic keeps unless its creator says; none or 0: no limit [default: none]
    #[argh(option, default = "Bound(None)", arg_name = "count")]
    pub retain_records: Bound<u64>,

    /// age up to which a topic keeps records unless its creator says, as in 7d; none or 0: no limit [default: none]
    #[argh(option, default = "Bound(None)", arg_name = "time")]
    pub retain_age: Bound<Age>,

    /// client connections from one address, or from one IPv6 network of 64 bits; none or 0: no limit but that of the
    /// node [default: none]
    #[argh(option, default = "Bound(None)", arg_name = "count")]
    pub clients_per_source: Bound<u64>,

    /// subscriptions of all clients of one address together; none or 0: no limit but that of the node [default: none]
    #[argh(option, default = "Bound(None)", arg_name = "count")]
    pub subscriptions_per_source: Bound<u64>,

    /// topics that clients of one address may create per second in the long run; none or 0: no limit [default: 2000]
    #[argh(option, default = "Bound(Some(CREATES_PER_SECOND_DEFAULT))", arg_name = "count")]
    pub creates_per_second: Bound<u64>,

    /// topics that clients of one address may create at once after a rest [default: 200000]
    #[argh(option, default = "CREATES_BURST_DEFAULT", arg_name = "count")]
    pub creates_burst: u64,

    /// print all options with their values, one per line, and exit
    #[argh(switch)]
    pub print_config: bool,

    /// print the version and exit
    #[argh(switch, short = 'V')]
    pub version: bool,
}

/// An IP address to listen on. An IPv6 address may have brackets, as it has in front of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub IpAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let ip = match bare {
            Some(bare) => bare.parse().ok().map(IpAddr::V6),
            None => text.parse().ok(),
        };
        if ip.is_some_and(|ip| ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)) {
            return Err(format!("nobody can connect to {text}, which stands for many machines"));
        }
        ip.map(Self).ok_or_else(|| {
            format!("{text:?} is not an IP address; write one like 127.0.0.1, 0.0.0.0 or [::1], without a port")
        })
    }
}

/// A limit of what topics keep, or `None` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<T>(pub Option<T>);

impl<T: FromStr<Err: fmt::Display>> FromStr for Bound<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if ["none", "0"].contains(&text) {
            return Ok(Self(None));
        }
        text.parse().map(|bound| Self(Some(bound))).map_err(|error: T::Err| format!("{error}; none means no limit"))
    }
}

/// An age of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub Duration);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let age = text.parse::<humantime::Duration>().map(|age| Self(age.into()));
        age.map_err(|_| "not a duration; write one like 90s, 12h or 7d".to_owned())
    }
}

/// When records are fsynced.
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

/// The checked configuration of a node.
#[derive(Debug)]
pub struct Config {
    /// Id of this node.
    pub id: NodeId,
    /// Dimension of the cube.
    pub dimension: Dimension,
    /// Addresses to listen on; the first one that is available is used.
    pub listen: Vec<SocketAddr>,
    /// True if other machines can reach the node.
    pub is_exposed: bool,
    /// Addresses of the other nodes.
    pub peers: Peers,
    /// Addresses at which clients reach each node, by id. `None` for this node stands for the address it listens on.
    pub addresses: Vec<Option<HostPort>>,
    /// The value of `--advertise`.
    pub advertised: Option<HostPort>,
    /// The cluster's name.
    pub cluster: String,
    /// Options of its journal; `None` for a node that keeps its topics in memory.
    pub storage: Option<storage::Options>,
    /// The value of `--replicas`; `None` if the option was not given.
    pub replicas: Option<Copies>,
    /// Limit of the memory for topics, in bytes.
    pub memory_bytes: u64,
    /// Default retention of topics.
    pub retention: Retention,
    /// What clients of one address may use.
    pub source_limits: SourceLimits,
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
        check_values(arguments)?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let peers = match (&arguments.peers, arguments.base_port) {
            (Some(_), Some(_)) => return Err(ConfigError::TwoWays),
            (Some(path), None) => Peers::File { path: path.clone(), dimension },
            (None, base) => Peers::BasePort {
                ip: arguments.listen.map(|listen| listen.0).filter(|ip| !ip.is_unspecified()).unwrap_or(loopback),
                base: Some(base.unwrap_or(5000)).filter(|base| *base > 0).ok_or(ConfigError::BasePort)?,
            },
        };
        let all = peers.all(dimension).map_err(ConfigError::Peers)?;
        let listen = listen_on(&all[usize::from(id.index())].address, arguments.listen)?;
        let advertised = arguments.advertise.clone();
        let mut addresses: Vec<_> = all.into_iter().map(|peer| Some(peer.advertised.unwrap_or(peer.address))).collect();
        if arguments.peers.is_none() || advertised.is_some() {
            addresses[usize::from(id.index())].clone_from(&advertised);
        }
        let exposed = listen.iter().find(|address| !address.ip().is_loopback());
        if let Some(exposed) = exposed.filter(|_| !arguments.insecure_network) {
            return Err(ConfigError::Exposed(*exposed));
        }
        let is_exposed = exposed.is_some();
        let is_of_disk = arguments.data.is_some() || arguments.sync.is_some() || arguments.disk.is_some();
        if arguments.in_memory && is_of_disk {
            return Err(ConfigError::InMemory);
        }
        let disk_bytes = arguments.disk.map_or(DISK_BYTES_DEFAULT, |disk| disk.0);
        let storage = (!arguments.in_memory).then(|| {
            let folder = arguments.data.clone().unwrap_or_else(|| Path::new("dht-data").join(id.binary(dimension)));
            let sync = arguments.sync.map_or(storage::Sync::Always, |sync| sync.0);
            storage::Options { folder, sync, disk_bytes }
        });
        let replicas = arguments.replicas.map(|replicas| replicas.0);
        replicas.map_or(Ok(()), |copies| copies::check(copies, dimension, storage.as_ref()))?;
        let topic_bytes = if storage.is_some() { TOPIC_BYTES_ON_DISK_DEFAULT } else { TOPIC_BYTES_DEFAULT };
        let age = arguments.retain_age.0.map_or(0, |age| age.0.as_millis());
        let retention = Retention {
            records: arguments.retain_records.0.unwrap_or(0),
            bytes: arguments.retain_bytes.map_or(topic_bytes, |bytes| bytes.0.map_or(0, |bytes| bytes.0)),
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
        };
        Ok(Self {
            id,
            dimension,
            listen,
            is_exposed,
            peers,
            addresses,
            advertised,
            cluster: arguments.cluster.clone(),
            storage,
            replicas,
            memory_bytes: arguments.memory.0,
            retention,
            source_limits: SourceLimits {
                clients: arguments.clients_per_source.0.unwrap_or(0),
                subscriptions: arguments.subscriptions_per_source.0.unwrap_or(0),
                creates_per_second: arguments.creates_per_second.0.unwrap_or(0),
                creates_burst: arguments.creates_burst,
            },
        })
    }

    /// Returns the address at which clients are told to reach each node, by id. This node listens on `listening`.
    pub fn addresses_told(&self, listening: SocketAddr) -> Vec<String> {
        let told = |(node, address): (NodeId, &Option<HostPort>)| match address {
            None => listening.to_string(),
            // The peers file leaves the choice of the port to the system.
            Some(own) if node == self.id && own.port() == 0 => own.with_port(listening.port()).to_string(),
            Some(address) => address.to_string(),
        };
        self.dimension.all().zip(&self.addresses).map(told).collect()
    }
}

/// Refuses values with which a node cannot work, whatever the other options say.
fn check_values(arguments: &Arguments) -> Result<(), ConfigError> {
    let Arguments { cluster, .. } = arguments;
    if cluster.is_empty() || cluster.len() > LABEL_MAX || cluster.chars().any(char::is_control) {
        return Err(ConfigError::Cluster);
    }
    if arguments.data.as_ref().is_some_and(|folder| folder.as_os_str().is_empty()) {
        return Err(ConfigError::Data);
    }
    if arguments.memory.0 < NODE_BYTES_LEAST {
        return Err(ConfigError::Memory);
    }
    if arguments.disk.is_some_and(|disk| disk.0 < DISK_BYTES_LEAST) {
        return Err(ConfigError::Disk);
    }
    if arguments.creates_burst == 0 {
        return Err(ConfigError::CreatesBurst);
    }
    if arguments.retain_age.0.is_some_and(|Age(age)| age.as_millis() == 0 && !age.is_zero()) {
        return Err(ConfigError::Age);
    }
    if let Some(advertised) = arguments.advertise.clone().filter(|advertised| !advertised.is_reachable()) {
        return Err(ConfigError::Advertise(advertised));
    }
    Ok(())
}

/// Returns the addresses on which a node listens whose neighbours dial `own`. A name is looked up, which may take a
/// while; there is no event loop yet that would have to wait.
fn listen_on(own: &HostPort, listen: Option<Listen>) -> Result<Vec<SocketAddr>, ConfigError> {
    match (listen, own) {
        (Some(Listen(ip)), _) => Ok(vec![SocketAddr::new(ip, own.port())]),
        (None, HostPort::Ip(address)) => Ok(vec![*address]),
        (None, HostPort::Name { host, port }) => {
            let found = (host.as_str(), *port).to_socket_addrs().map(Vec::from_iter);
            let error = |cause: String| ConfigError::Name { host: host.clone(), cause };
            let found = found.map_err(|cause| error(cause.to_string()))?;
            if found.is_empty() { Err(error("it has no address".to_owned())) } else { Ok(found) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let arguments = Arguments::from_args(&["dht-node"], arguments).map_err(|exit| exit.output.trim().to_owned())?;
        Config::new(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn command_lines_that_describe_no_node_say_why() {
        let cases: [(&[&str], &str); 34] = [
            (&["--id", "000", "--memory", "0"], "--memory: at least 1MiB"),
            (&["--id", "000", "--memory", "64k"], "--memory: at least 1MiB"),
            (&["--id", "000", "--memory", "-1"], "is not a size"),
            (&["--id", "000", "--disk", "99999999999TiB"], "is not a size"),
            (&["--id", "000", "--retain-bytes", "1parsec"], "is not a size"),
            (&["--id", "000", "--retain-records", "-1"], "--retain-records"),
            (&["--id", "000", "--creates-burst", "0"], "--creates-burst: at least 1"),
            (&["--id", "000", "--clients-per-source", "few"], "--clients-per-source"),
            (
                &["--id", "000", "--retain-age", "old"],
                "with value 'old': not a duration; write one like 90s, 12h or 7d; none means no limit",
            ),
            (&["--id", "000", "--memory", "much"], "is not a size"),
            (&["--id", "000", "--data", ""], "--data is empty"),
            (&["--id", "000", "--retain-age", "500us"], "at least 1ms"),
            (&["--id", "000", "--base-port", "0"], "--base-port 0"),
            (&["--id", "000", "--base-port", "http"], "--base-port"),
            (&["--id", "000", "--listen", "[127.0.0.1]"], "is not an IP address"),
            (&["--id", "000", "--listen", "[::1]:5000"], "without a port"),
            (&["--id", "000", "--listen", "224.0.0.1"], "nobody can connect"),
            (&["--id", "000", "--listen", "[ff02::1]"], "nobody can connect"),
            (&["--id", "000", "--listen", "255.255.255.255"], "nobody can connect"),
            (&["--id", "000", "--advertise", "here"], "HOST:PORT"),
            (&["--id", "000", "--advertise", "here:0"], "clients cannot connect"),
            (&["--id", "000", "--advertise", "0.0.0.0:5000"], "clients cannot connect"),
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
        assert_eq!(config.listen, ["127.0.0.1:5005".parse().unwrap()]);
        assert_eq!((config.memory_bytes, config.retention.age_ms), (64 << 20, 7 * 24 * 3_600_000));
        let (folder, disk_bytes) = (PathBuf::from("dht-data/101"), 16 << 30);
        assert_eq!(config.storage, Some(storage::Options { folder, sync: storage::Sync::Always, disk_bytes }));
        assert_eq!(config.retention.bytes, 1 << 30);
    }

    #[test]
    fn what_a_node_listens_on_and_what_clients_are_told_are_two_things() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let names = file("names", "0 localhost:7000 outside.example:80\n1 localhost:0\n");
        // Words, the first address that is listened on, and what clients are told of nodes 0 and 1.
        let cases: [(&[&str], &str, [&str; 2]); 6] = [
            (&["--id", "0"], "127.0.0.1:5000", ["-", "127.0.0.1:5001"]),
            (&["--id", "1", "--listen", "[::1]"], "[::1]:5001", ["[::1]:5000", "-"]),
            (&["--id", "1", "--advertise", "a.example:9"], "127.0.0.1:5001", ["127.0.0.1:5000", "a.example:9"]),
            (&["--id", "0", "--peers", &names], "7000", ["outside.example:80", "localhost:0"]),
            (
                &["--id", "1", "--peers", &names, "--listen", "127.0.0.2"],
                "127.0.0.2:0",
                ["outside.example:80", "localhost:0"],
            ),
            (&["--id", "0", "--peers", &names, "--advertise", "[::2]:9"], "7000", ["[::2]:9", "localhost:0"]),
        ];
        for (words, listen, told) in cases {
            let config = config(&[&["--dimension", "1"], words].concat()).unwrap();
            assert!(config.listen[0].to_string().ends_with(listen), "{words:?}: {:?}", config.listen);
            assert!(config.listen.iter().all(|address| address.ip().is_loopback()));
            let shown =
                |address: &Option<HostPort>| address.as_ref().map_or_else(|| "-".to_owned(), HostPort::to_string);
            assert_eq!(config.addresses.iter().map(shown).collect::<Vec<_>>(), told, "{words:?}");
        }
        let unknown = file("unknown", "0 name.invalid:7000\n");
        let error = config(&["--id", "0", "--dimension", "0", "--peers", &unknown]).unwrap_err();
        assert!(error.contains("name.invalid, which cannot be looked up") && error.contains("--listen"), "{error}");
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
