//! The servers that store publishes durably, measured in turns: a bare server that writes and fsyncs, one node with its
//! journal, and `redis-server` that fsyncs before it responds. All their files are in one folder.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use dht_protocol::wire::request::Retention;

use crate::disk::Folder;
use crate::error::Error;
use crate::load::{Operation, Plan};
use crate::process::Process;
use crate::protocol::Protocol;
use crate::rounds::Effort;
use crate::session::create_topics;
use crate::setup::{self, PEER_PORT};

/// The position of the bare server in a round.
pub(crate) const FLOOR: usize = 0;
/// The position of the daemon.
pub(crate) const NODE: usize = 1;
/// The position of the `redis-server`, if there is one.
pub(crate) const REDIS: usize = 2;

/// The topic that is published to.
const TOPIC: &str = "floor";

/// A running server.
#[derive(Debug)]
pub(crate) struct Contestant {
    process: Process,
    addr: SocketAddr,
    protocol: Protocol,
}

impl Contestant {
    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the load of requests with this many records of 64 bytes each.
    pub(crate) fn plan(&self, count: u32, conns: usize, window: usize, effort: Effort) -> Plan {
        Plan {
            addr: self.addr,
            protocol: self.protocol,
            topics: vec![TOPIC.to_owned()],
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
    let (process, addr) = setup::start_bare(base_port, &arguments)?;
    Ok(Contestant { process, addr, protocol: Protocol::Frames })
}

/// Starts a new node with a journal, which retains this many bytes of the topic; 0 is its default.
pub(crate) fn start_node(program: &Path, base_port: u16, data: &Path, kept_bytes: u64) -> Result<Contestant, Error> {
    let (process, addr) = setup::start_single(program, base_port, Some(data))?;
    create_topics(addr, &[TOPIC.to_owned()], Retention { bytes: kept_bytes, ..Retention::default() })?;
    Ok(Contestant { process, addr, protocol: Protocol::Frames })
}

/// Starts a `redis-server`; `None` if it is not installed.
pub(crate) fn start_redis(base_port: u16, folder: &Folder) -> Result<Option<Contestant>, Error> {
    let Some(program) = on_path("redis-server") else { return Ok(None) };
    let port = base_port + PEER_PORT;
    let (data, port_word) = (folder.join("redis"), port.to_string());
    std::fs::create_dir(&data)?;
    let words = "--bind 127.0.0.1 --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0";
    let mut arguments: Vec<&OsStr> =
        words.split(' ').chain(["--save", "", "--port", &port_word]).map(OsStr::new).collect();
    arguments.extend([OsStr::new("--dir"), data.as_os_str()]);
    let process = Process::start(&program, &arguments)?;
    let addr = setup::local(port);
    setup::wait_until("redis-server", || TcpStream::connect(addr).is_ok())?;
    Ok(Some(Contestant { process, addr, protocol: Protocol::Resp }))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|program| program.is_file())
}
