//! Starts the two sides of a comparison on free ports: a chain of bare servers and a cube of `dht-node`.
//!
//! ```text
//! floor: relay 3 → relay 2 → relay 1 → log      a request of h links enters at relay h, or at the log
//! cube:  node 000 → 100 → 110 → 111             a request of h links enters at 000, for a topic h hops away
//! ```

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dht_protocol::cube;
use dht_protocol::types::{Dimension, LinkSet, NodeId, TopicName};
use dht_protocol::wire::request::{ANY_NODE, Retention};
use dht_protocol::wire::{Request, Response};

use crate::clock;
use crate::error::Error;
use crate::process::Process;
use crate::session::{Session, create_topics};
use crate::sockets::End;

/// The dimension of the cube that the goals are stated for.
pub(crate) const DIMENSION: Dimension = match Dimension::new(3) {
    Some(dimension) => dimension,
    None => unreachable!(),
};

/// The largest number of topics that one load publishes to.
pub(crate) const TOPICS_MAX: usize = 64;

/// Bytes that each of these topics retains, so that they are soon full: growth has a load of its own.
const KEPT_BYTES: u64 = 1 << 20;

/// The maximum number of links that a request crosses while all links are up.
pub(crate) const HOPS_MAX: u8 = DIMENSION.bits();

/// Number of ports of one comparison: the bare servers, the cube, the single node, and `redis-server` with up to two
/// replicas, in this order.
const PORTS: u16 = 16;
/// The port of the cube, as an offset from the first port.
pub(crate) const CUBE_PORT: u16 = 4;
const SINGLE_PORT: u16 = CUBE_PORT + DIMENSION.nodes();
/// The port of `redis-server`, as an offset from the first port.
pub(crate) const PEER_PORT: u16 = SINGLE_PORT + 1;

const READY_TRIES: usize = 500;
const READY_PAUSE: Duration = Duration::from_millis(20);

/// One of the two sides of a comparison.
#[derive(Debug)]
pub(crate) struct Side {
    /// The processes in the order of their ports.
    pub(crate) processes: Vec<Process>,
    /// For requests that cross 0, 1, 2, … links: the address to send them to, and their topic.
    pub(crate) entries: Vec<(SocketAddr, String)>,
}

impl Side {
    /// Returns the ids of its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }
}

impl Drop for Side {
    /// Stops the last process first, because a relay reports an error when the next server exits.
    fn drop(&mut self) {
        while self.processes.pop().is_some() {}
    }
}

/// Returns the first of [`PORTS`] consecutive free ports, searching from `from` upwards.
pub(crate) fn free_ports(from: u16) -> Result<u16, Error> {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    (from..=u16::MAX - PORTS)
        .step_by(usize::from(PORTS))
        .take(64)
        .find(|first| (*first..first + PORTS).all(is_free))
        .ok_or(Error::NoPorts { from })
}

/// Starts the chain of bare servers.
pub(crate) fn start_floor(base_port: u16) -> Result<Side, Error> {
    let names = topics_by_hops();
    let mut side = Side { processes: Vec::new(), entries: Vec::new() };
    for (hops, name) in (0..=u16::from(HOPS_MAX)).zip(names) {
        let next = local(base_port + hops.saturating_sub(1)).to_string();
        let mode = if hops == 0 { ["--mode", "log"].as_slice() } else { &["--mode", "relay", "--next", &next] };
        let (process, addr) = start_bare(base_port + hops, mode)?;
        side.processes.push(process);
        side.entries.push((addr, name));
    }
    Ok(side)
}

/// Starts one bare server. Returns its process and address.
pub(crate) fn start_bare(port: u16, arguments: &[impl AsRef<OsStr>]) -> Result<(Process, SocketAddr), Error> {
    let port_word = port.to_string();
    let mut all = ["serve", "--port", &port_word].map(OsStr::new).to_vec();
    all.extend(arguments.iter().map(AsRef::as_ref));
    let process = Process::start(&std::env::current_exe()?, &all)?;
    wait_until("a bare server", || Session::open(local(port)).is_ok())?;
    Ok((process, local(port)))
}

/// Starts the nodes of a cube, waits until all links are up, and creates the topics.
pub(crate) fn start_cube(program: &Path, base_port: u16) -> Result<Side, Error> {
    let base_port = base_port + CUBE_PORT;
    let processes = start_nodes(program, DIMENSION, base_port, 1, |_| vec![OsString::from("--in-memory")])?;
    let names = topics_by_hops();
    create_topics(local(base_port), &names, Retention::default())?;
    let kept = Retention { bytes: KEPT_BYTES, ..Retention::default() };
    create_topics(local(base_port), &topics_here(TOPICS_MAX), kept)?;
    let entries = names.into_iter().map(|name| (local(base_port), name)).collect();
    Ok(Side { processes, entries })
}

/// Starts the nodes of a cube, in which `replicas` nodes keep each topic, and waits until all links are up. Returns the
/// processes by the ids of their nodes.
pub(crate) fn start_nodes(
    program: &Path,
    dimension: Dimension,
    base_port: u16,
    replicas: u8,
    options: impl Fn(NodeId) -> Vec<OsString>,
) -> Result<Vec<Process>, Error> {
    let mut processes = Vec::new();
    for node in dimension.all() {
        processes.push(start_node(program, node, dimension, base_port, replicas, &options(node))?);
    }
    for node in dimension.all() {
        wait_until("the cube", || has_all_links(local(base_port + node.index())))?;
    }
    Ok(processes)
}

/// Starts a cube of one node, in memory or with its journal in the folder `data`. Returns its process and address.
pub(crate) fn start_single(
    program: &Path,
    base_port: u16,
    data: Option<&Path>,
) -> Result<(Process, SocketAddr), Error> {
    let port = base_port + SINGLE_PORT;
    let alone = Dimension::new(0).expect("0 is a dimension");
    let node = NodeId::from_low_bits(0, alone);
    let storage = match data {
        Some(folder) => vec![OsStr::new("--data"), folder.as_os_str()],
        None => vec![OsStr::new("--in-memory")],
    };
    let process = start_node(program, node, alone, port, 1, &storage)?;
    wait_until("a single node", || Session::open(local(port)).is_ok())?;
    Ok((process, local(port)))
}

/// Returns the path of the daemon: the one named, or by default `dht-node` in this program's directory.
pub(crate) fn node_program(named: Option<&PathBuf>) -> Result<PathBuf, Error> {
    match named {
        Some(program) => Ok(program.clone()),
        None => Ok(std::env::current_exe()?.with_file_name("dht-node")),
    }
}

/// Starts a node with these options beside its place in the cube and the number of copies.
pub(crate) fn start_node(
    program: &Path,
    node: NodeId,
    dimension: Dimension,
    base_port: u16,
    replicas: u8,
    options: &[impl AsRef<OsStr>],
) -> Result<Process, Error> {
    let (id, bits) = (node.binary(dimension), dimension.bits().to_string());
    let (base_port, replicas) = (base_port.to_string(), replicas.to_string());
    let words = ["--id", &id, "--dimension", &bits, "--base-port", &base_port, "--replicas", &replicas];
    let mut arguments = words.map(OsStr::new).to_vec();
    arguments.extend(options.iter().map(AsRef::as_ref));
    Process::start(program, &arguments)
}

/// Returns topic names of equal length whose homes are 0, 1, 2, … hops from node 0.
fn topics_by_hops() -> Vec<String> {
    let entry = NodeId::from_low_bits(0, DIMENSION);
    let is_at = |name: &str, hops: u8| {
        TopicName::new(name).is_ok_and(|name| cube::home(name, DIMENSION).distance(entry) == u32::from(hops))
    };
    let name = |hops| (0..1000).map(|number| format!("floor-{number:03}")).find(|name| is_at(name, hops));
    (0..=HOPS_MAX).map(|hops| name(hops).expect("1000 names hit every home")).collect()
}

/// Returns this many topic names of equal length, at most [`TOPICS_MAX`], whose home is node 0.
pub(crate) fn topics_here(count: usize) -> Vec<String> {
    let entry = NodeId::from_low_bits(0, DIMENSION);
    let names = (0..10_000).map(|number| format!("topic-{number:04}"));
    let here: Vec<String> = names.filter(|name| home(name) == entry).take(count).collect();
    assert_eq!(here.len(), count, "an eighth of all names");
    here
}

/// Returns the nodes that a request from node 0 for this topic passes, including node 0 and the home.
pub(crate) fn path_to(name: &str) -> Vec<usize> {
    let entry = NodeId::from_low_bits(0, DIMENSION);
    let path = cube::walked(entry, home(name), DIMENSION, &LinkSet::new());
    path.into_iter().map(|node| usize::from(node.index())).collect()
}

/// Returns the nodes that records of this topic pass on their way to node 0, including the home and node 0.
pub(crate) fn path_from(name: &str) -> Vec<usize> {
    let reader = NodeId::from_low_bits(0, DIMENSION);
    let path = cube::walked(home(name), reader, DIMENSION, &LinkSet::new());
    path.into_iter().map(|node| usize::from(node.index())).collect()
}

/// Returns the process id and the address of a node of the cube.
pub(crate) fn end_of(cube: &Side, node: usize) -> End {
    let mut listens = cube.entries[0].0;
    listens.set_port(listens.port() + u16::try_from(node).expect("ids have 16 bits"));
    End { pid: cube.processes[node].pid(), listens }
}

fn home(name: &str) -> NodeId {
    cube::home(TopicName::new(name).expect("short words and digits"), DIMENSION)
}

/// Returns true if a node answers and all its links are up.
pub(crate) fn has_all_links(addr: SocketAddr) -> bool {
    let answer = Session::open(addr).and_then(|mut node| node.ask(&Request::Cluster { node: ANY_NODE }));
    matches!(answer, Ok(Response::Cluster(view)) if view.links.iter().all(|link| link.up))
}

/// Polls `is_ready` for up to ten seconds.
pub(crate) fn wait_until(what: &'static str, mut is_ready: impl FnMut() -> bool) -> Result<(), Error> {
    for _ in 0..READY_TRIES {
        if is_ready() {
            return Ok(());
        }
        clock::pause(READY_PAUSE);
    }
    Err(Error::NotReady { what })
}

/// Returns the loopback address with this port.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_here_have_names_of_one_length_and_live_where_the_publishers_are() {
        let names = topics_here(TOPICS_MAX);
        assert_eq!(names.len(), TOPICS_MAX);
        assert!(names.iter().all(|name| name.len() == names[0].len() && path_to(name) == [0]));
        assert_eq!(topics_here(8), names[..8]);
    }
}
