//! The servers that store publishes durably, measured in turns: a bare server that writes and fsyncs, one node with its
//! journal or a cube, and `redis-server` that fsyncs before it responds. All their files are in one folder.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use dht_protocol::cube;
use dht_protocol::types::{Dimension, NodeId, TopicName};
use dht_protocol::wire::request::Retention;

use crate::disk::Folder;
use crate::error::Error;
use crate::load::{Operation, Plan};
use crate::process::{self, Process};
use crate::protocol::Protocol;
use crate::resp;
use crate::rounds::Effort;
use crate::session::{self, create_topics};
use crate::setup::{self, PEER_PORT};

/// The position of the bare server in a round.
pub(crate) const FLOOR: usize = 0;
/// The position of the daemon.
pub(crate) const NODE: usize = 1;
/// The position of the `redis-server`, if there is one.
pub(crate) const REDIS: usize = 2;

/// The topic that is published to.
const TOPIC: &str = "floor";

/// The number of replicas of a `redis-server` that has some.
const REPLICAS: u16 = 2;

/// A running server, or several that have copies of the same data.
#[derive(Debug)]
pub(crate) struct Contestant {
    /// The first one gets the requests.
    processes: Vec<Process>,
    addr: SocketAddr,
    protocol: Protocol,
    topic: String,
}

impl Contestant {
    fn alone((process, addr): (Process, SocketAddr), protocol: Protocol) -> Self {
        Self { processes: vec![process], addr, protocol, topic: TOPIC.to_owned() }
    }

    /// The id of the process that gets the requests.
    pub(crate) fn pid(&self) -> u32 {
        self.processes[0].pid()
    }

    /// The ids of all its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Returns the processor time of all its processes so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64, Error> {
        process::cpu_ns_of(&self.pids())
    }

    /// Returns the resident memory of its largest process in bytes.
    pub(crate) fn most_memory(&self) -> Result<f64, Error> {
        let mut most = 0;
        for pid in self.pids() {
            most = most.max(process::resident_bytes(pid)?);
        }
        Ok(most as f64)
    }

    /// Returns the load of requests with this many records of 64 bytes each.
    pub(crate) fn plan(&self, count: u32, conns: usize, window: usize, effort: Effort) -> Plan {
        Plan {
            addr: self.addr,
            protocol: self.protocol,
            topics: vec![self.topic.clone()],
            value_bytes: 64,
            count,
            operation: Operation::Publish,
            is_fresh: false,
            conns,
            window,
            whole_windows: effort.whole_windows,
            subscribers: 0,
            subscribe_at: self.addr,
            seconds: effort.seconds,
        }
    }
}

/// Starts a bare server that fsyncs in each turn.
pub(crate) fn start_floor(base_port: u16, folder: &Folder) -> Result<Contestant, Error> {
    let file = folder.join("floor");
    let arguments = [OsStr::new("--mode"), OsStr::new("log"), OsStr::new("--file"), file.as_os_str()];
    Ok(Contestant::alone(setup::start_bare(base_port, &arguments)?, Protocol::Frames))
}

/// Starts a new node with a journal, which retains this many bytes of the topic; 0 is its default.
pub(crate) fn start_node(program: &Path, base_port: u16, data: &Path, kept_bytes: u64) -> Result<Contestant, Error> {
    let (process, addr) = setup::start_single(program, base_port, Some(data))?;
    create_topics(addr, &[TOPIC.to_owned()], Retention { bytes: kept_bytes, ..Retention::default() })?;
    Ok(Contestant::alone((process, addr), Protocol::Frames))
}

/// Starts a new cube with journals below `data`, in which `replicas` nodes keep each topic. Its first node gets the
/// requests, and is the home of the topic and its leader.
pub(crate) fn start_cube(
    program: &Path,
    base_port: u16,
    data: &Path,
    dimension: Dimension,
    replicas: u8,
) -> Result<Contestant, Error> {
    let folder = |node: NodeId| data.join(node.binary(dimension)).into_os_string();
    let options = |node| vec![OsString::from("--data"), folder(node)];
    let processes = setup::start_nodes(program, dimension, base_port, replicas, options)?;
    let (addr, topic) = (setup::local(base_port), topic_at(NodeId::from_low_bits(0, dimension), dimension));
    create_topics(addr, std::slice::from_ref(&topic), Retention::default())?;
    if replicas > 1 {
        setup::wait_until("a group of three nodes", || is_in_step(addr, &topic))?;
    }
    Ok(Contestant { processes, addr, protocol: Protocol::Frames, topic })
}

/// Returns the name of a topic whose home is this node.
fn topic_at(node: NodeId, dimension: Dimension) -> String {
    let is_there = |name: &String| TopicName::new(name).is_ok_and(|name| cube::home(name, dimension) == node);
    (0..1000).map(|number| format!("{TOPIC}-{number:03}")).find(is_there).expect("1000 names hit every home")
}

/// Returns true if the topic's home leads, and the other nodes have everything that it has.
pub(crate) fn is_in_step(addr: SocketAddr, topic: &str) -> bool {
    let Ok(Some(view)) = session::copies(addr, topic) else { return false };
    let is_home = view.members.first().is_some_and(|home| home.node == view.leader);
    is_home && view.members.iter().all(|copy| copy.answers && copy.behind == 0)
}

/// Starts a `redis-server`; `None` if it is not installed.
pub(crate) fn start_redis(base_port: u16, folder: &Folder) -> Result<Option<Contestant>, Error> {
    let Some(program) = on_path("redis-server") else { return Ok(None) };
    let started = start_one_redis(&program, base_port + PEER_PORT, &folder.join("redis"), &[])?;
    Ok(Some(Contestant::alone(started, Protocol::Resp)))
}

/// Starts a `redis-server` with [`REPLICAS`], all of which fsync before they respond; `None` if it is not installed. A
/// publish waits until one of the replicas has it.
pub(crate) fn start_redis_group(base_port: u16, folder: &Folder) -> Result<Option<Contestant>, Error> {
    let Some(program) = on_path("redis-server") else { return Ok(None) };
    let first = base_port + PEER_PORT;
    let (process, addr) = start_one_redis(&program, first, &folder.join("redis-0"), &[])?;
    let mut processes = vec![process];
    for replica in 1..=REPLICAS {
        let options = ["--replicaof", "127.0.0.1", &first.to_string()];
        let data = folder.join(&format!("redis-{replica}"));
        processes.push(start_one_redis(&program, first + replica, &data, &options)?.0);
    }
    setup::wait_until("the replicas of redis-server", || have_replicas_all(addr).unwrap_or(false))?;
    Ok(Some(Contestant { processes, addr, protocol: Protocol::RespWait, topic: TOPIC.to_owned() }))
}

fn start_one_redis(program: &Path, port: u16, data: &Path, options: &[&str]) -> Result<(Process, SocketAddr), Error> {
    std::fs::create_dir(data)?;
    let (words, port_word) =
        ("--bind 127.0.0.1 --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0", port.to_string());
    let mut arguments: Vec<&OsStr> = words
        .split(' ')
        .chain(["--save", "", "--port", &port_word])
        .chain(options.iter().copied())
        .map(OsStr::new)
        .collect();
    arguments.extend([OsStr::new("--dir"), data.as_os_str()]);
    let process = Process::start(program, &arguments)?;
    let addr = setup::local(port);
    setup::wait_until("redis-server", || TcpStream::connect(addr).is_ok())?;
    Ok((process, addr))
}

/// Writes an entry, and returns true if all replicas have it.
fn have_replicas_all(addr: SocketAddr) -> Result<bool, Error> {
    const TIMEOUT_MS: usize = 100;
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(&[resp::xadd(TOPIC, b"x"), resp::wait(REPLICAS.into(), TIMEOUT_MS)].concat())?;
    let (mut answers, mut buffer) = (Vec::new(), [0; 256]);
    while resp::count_answers(&answers)?.0 < 2 {
        match stream.read(&mut buffer)? {
            0 => return Err(Error::Closed),
            count => answers.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(answers.ends_with(format!("\r\n:{REPLICAS}\r\n").as_bytes()))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|program| program.is_file())
}
