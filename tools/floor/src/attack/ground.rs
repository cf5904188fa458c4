//! The attacked nodes and their topics.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use dht_protocol::cube;
use dht_protocol::types::{Dimension, NodeId, TopicName};
use dht_protocol::wire::records::Record;
use dht_protocol::wire::request::Retention;

use super::cases::{Case, DEEP_RECORDS, LARGE_BYTES, tiny_records};
use crate::contestants::is_in_step;
use crate::disk::Folder;
use crate::durable::beside_this_program;
use crate::error::Error;
use crate::process::Process;
use crate::session::{self, Session, create_topics};
use crate::setup::{self, local, wait_until};

/// Number of topics that a LIST has to examine.
const OTHER_TOPICS: usize = 4096;

/// Number of records of 1 MiB.
const LARGE_RECORDS: usize = 4;

/// Retention in bytes of the topics to which clients publish during the measurement.
const RETAINED_BYTES: u64 = 1 << 20;

/// The nodes under attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A node by itself.
    Single,
    /// A cube of eight.
    Cube,
}

/// The node that the polite client is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The home of all topics.
    Home,
    /// The node that the attackers are connected to.
    Ingress,
    /// A third node, whose requests pass both of the others.
    Third,
}

impl Shape {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Single => "one node",
            Self::Cube => "cube",
        }
    }

    /// Returns the nodes at which the polite client is measured.
    pub(super) const fn places(self) -> &'static [Place] {
        match self {
            Self::Single => &[Place::Home],
            Self::Cube => &[Place::Home, Place::Ingress, Place::Third],
        }
    }

    const fn dimension(self) -> Dimension {
        match self {
            Self::Single => ALONE,
            Self::Cube => setup::DIMENSION,
        }
    }

    /// Returns the node that the attackers are connected to.
    pub(super) const fn ingress(self) -> Place {
        match self {
            Self::Single => Place::Home,
            Self::Cube => Place::Ingress,
        }
    }
}

const ALONE: Dimension = match Dimension::new(0) {
    Some(dimension) => dimension,
    None => unreachable!(),
};

impl Place {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Ingress => "ingress",
            Self::Third => "third",
        }
    }

    fn node(self, dimension: Dimension) -> NodeId {
        let bits = match self {
            Self::Home => 0b111,
            Self::Ingress => 0b110,
            Self::Third => 0b010,
        };
        NodeId::from_low_bits(bits, dimension)
    }
}

/// The names of the topics, which all have the same home.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    /// The home of all topics.
    pub(super) home: NodeId,
    /// The topic to which the polite client publishes.
    pub(super) polite: String,
    /// A topic with one batch of tiny records.
    pub(super) deep: String,
    /// A topic with records of 1 MiB.
    pub(super) large: String,
    /// A topic without records.
    pub(super) quiet: String,
    /// The topic to which attackers publish small records.
    pub(super) fan: String,
    /// The topic to which attackers publish large batches.
    pub(super) bulk: String,
}

impl Topics {
    /// Returns the names of topics with this home.
    pub(crate) fn at(home: NodeId, dimension: Dimension) -> Self {
        let name = |stem: &str| names_at(home, dimension, stem).next().expect("there are names for every home");
        let [polite, deep, large] = ["polite", "deep", "large"].map(name);
        let [quiet, fan, bulk] = ["quiet", "fan", "bulk"].map(name);
        Self { home, polite, deep, large, quiet, fan, bulk }
    }
}

/// Returns names of topics with this home, which begin with `stem`.
fn names_at(home: NodeId, dimension: Dimension, stem: &str) -> impl Iterator<Item = String> {
    let is_at = move |name: &String| TopicName::new(name).is_ok_and(|name| cube::home(name, dimension) == home);
    (0..).map(move |number| format!("{stem}-{number}")).filter(is_at)
}

/// The nodes that an attack runs against.
#[derive(Debug)]
pub(super) struct Ground {
    shape: Shape,
    /// The processes, indexed by node id.
    processes: Vec<Process>,
    base_port: u16,
    topics: Topics,
    /// The nodes' data, if three of them keep each topic: these must be on a disk. It is removed after the processes.
    _folder: Option<Folder>,
}

impl Ground {
    /// Starts the nodes, with this memory limit in bytes each, and creates the topics. With one copy of each topic the
    /// nodes keep nothing on disk.
    pub(super) fn start(
        program: &Path,
        base_port: u16,
        shape: Shape,
        (memory_bytes, replicas): (u64, u8),
    ) -> Result<Self, Error> {
        let dimension = shape.dimension();
        let folder = if replicas > 1 {
            Some(Folder::make(&beside_this_program()?, &format!("floor-attack-{base_port}"))?)
        } else {
            None
        };
        let options = |node: NodeId| {
            let data = folder.as_ref().map(|folder| folder.join(&node.binary(dimension)).into_os_string());
            let storage = data.map_or_else(|| vec!["--in-memory".into()], |data| vec!["--data".into(), data]);
            let memory = ["--memory".into(), OsString::from(memory_bytes.to_string())];
            storage.into_iter().chain(memory).collect()
        };
        let processes = setup::start_nodes(program, dimension, base_port, replicas, options)?;
        let topics = Topics::at(Place::Home.node(dimension), dimension);
        let ground = Self { shape, processes, base_port, topics, _folder: folder };
        ground.create_topics()?;
        if replicas > 1 {
            let (addr, topic) = (ground.addr(Place::Home), &ground.topics.polite);
            wait_until("a group of three nodes", || is_in_step(addr, topic))?;
        }
        Ok(ground)
    }

    /// Returns the term of the leader of the topics; 0 if they have a single copy.
    pub(super) fn term(&self) -> Result<u64, Error> {
        let copies = session::copies(self.addr(Place::Home), &self.topics.polite)?;
        Ok(copies.map_or(0, |copies| copies.term))
    }

    fn create_topics(&self) -> Result<(), Error> {
        let (topics, addr) = (&self.topics, self.addr(Place::Home));
        let short = Retention { bytes: RETAINED_BYTES, ..Retention::default() };
        create_topics(addr, &[&topics.polite, &topics.fan, &topics.bulk].map(String::clone), short)?;
        let lasting = [&topics.deep, &topics.large, &topics.quiet].map(String::clone);
        create_topics(addr, &lasting, Retention::default())?;
        let others: Vec<String> = names_at(topics.home, self.shape.dimension(), "other").take(OTHER_TOPICS).collect();
        create_topics(addr, &others, Retention::default())?;
        let mut session = Session::open(addr)?;
        session.send(&session::publish(&topics.deep, 1, DEEP_RECORDS, &tiny_records()?)?)?;
        let mut record = Vec::new();
        let value = vec![b'x'; LARGE_BYTES];
        Record { value: &value, ..Record::default() }.encode(&mut record).map_err(|_| Error::Unsupported)?;
        for _ in 0..LARGE_RECORDS {
            session.send(&session::publish(&topics.large, 1, 1, &record)?)?;
        }
        Ok(())
    }

    /// Starts the attackers.
    pub(super) fn start_crowd(&self, case: &Case, nice: u8) -> Result<Process, Error> {
        let (addr, home) = (self.addr(self.shape.ingress()).to_string(), self.topics.home.index().to_string());
        let dimension = self.shape.dimension().bits().to_string();
        let words = ["crowd", "--attack", case.name, "--addr", &addr, "--home", &home, "--dimension", &dimension];
        let crowd = Process::start_nice(&std::env::current_exe()?, nice, &words)?;
        let ingress = self.addr(self.shape.ingress());
        wait_until("the attack", || counter(ingress, "clients").is_ok_and(|clients| clients > case.conns as u64))?;
        Ok(crowd)
    }

    /// Returns the address of a node.
    pub(super) fn addr(&self, place: Place) -> SocketAddr {
        local(self.base_port + place.node(self.shape.dimension()).index())
    }

    /// Returns the names of the topics.
    pub(super) const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Returns how many requests of clients the attackers' node has received.
    pub(super) fn asked(&self) -> Result<u64, Error> {
        counter(self.addr(self.shape.ingress()), "requests")
    }

    /// Returns how often links went down, summed over all nodes.
    pub(super) fn links_down(&self) -> Result<u64, Error> {
        self.counters("links_down").map(|counts| counts.iter().sum())
    }

    /// Returns the largest value of a gauge among the nodes.
    pub(super) fn longest(&self, name: &str) -> Result<u64, Error> {
        self.counters(name).map(|values| values.into_iter().max().unwrap_or(0))
    }

    /// Returns the peak resident memory in bytes of the node that has needed most.
    pub(super) fn most_memory(&self) -> Result<u64, Error> {
        let peaks = self.processes.iter().map(|process| peak_bytes(process.pid()));
        peaks.collect::<Result<Vec<u64>, Error>>().map(|peaks| peaks.into_iter().max().unwrap_or(0))
    }

    fn counters(&self, name: &str) -> Result<Vec<u64>, Error> {
        let dimension = self.shape.dimension();
        dimension.all().map(|node| counter(local(self.base_port + node.index()), name)).collect()
    }
}

/// Returns a counter of a node; 0 if it has none of this name.
fn counter(addr: SocketAddr, name: &str) -> Result<u64, Error> {
    let text = session::stats(addr)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(Ok(0), |value| value.parse().map_err(|_| Error::Unreadable { what: "the answer to STATS" }))
}

/// Returns the peak resident memory of a process, in bytes.
fn peak_bytes(pid: u32) -> Result<u64, Error> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kibibytes.ok_or(Error::Unreadable { what: "/proc/PID/status" })? * 1024)
}
