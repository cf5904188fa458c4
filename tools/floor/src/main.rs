//! Measures the daemon against bare servers, which move this protocol's frames and do nothing else.
//!
//! | command | what it does |
//! |---|---|
//! | `serve` | runs a bare server: `echo`, `log` (stores and delivers records) or `relay` to the next one |
//! | `load` | publishes to a bare server or a node, with or without subscribers, and prints one line of figures |
//! | `compare` | starts bare servers and a cube of `dht-node`, loads both in turn, prints figures and goals |
//! | `durable` | does the same for publishes that are durable before they are acknowledged, and for `redis-server` |
//! | `replicated` | measures what three copies of each topic cost, and compares them with those of `redis-server` |
//! | `silent` | measures what silent subscribers cost one node |
//! | `attack` | measures how much a polite client suffers from clients that take as much as they can |
//! | `crowd` | runs the attackers of `attack` |
//! | `spin` | keeps a CPU from sleeping; `compare` and `durable` run it at the lowest priority |
//!
//! The floor is the unavoidable cost: this machine's kernel, one read and one write per turn of the event loop, and a
//! checksum per header; for durable publishes also one file write and one sync per turn.
//! Whatever the daemon costs beyond that is its own overhead. CONTRIBUTING.md explains how to read the figures.

mod attack;
mod batches;
mod clock;
mod compare;
mod conn;
mod contestants;
mod disk;
mod durable;
mod error;
mod fanout;
mod frames;
mod load;
mod log;
mod memory;
mod pipe;
mod process;
mod protocol;
mod publisher;
mod replicated;
mod report;
mod resp;
mod rounds;
mod serve;
mod session;
mod setup;
mod silent;
mod sockets;
mod stats;
mod subscriber;
mod syscalls;
mod writes;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use argh::FromArgs;
use dht_protocol::wire::request::Retention;

use crate::error::Error;
use crate::protocol::Protocol;

/// Measures what a bare server of this protocol's frames costs, and what dht-node costs compared with it.
#[derive(FromArgs)]
#[argh(help_triggers("-h", "--help", "help"))]
struct Arguments {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Serve(Serve),
    Load(Load),
    Compare(Compare),
    Durable(Durable),
    Replicated(Replicated),
    Silent(Silent),
    Attack(Attack),
    Crowd(Crowd),
    Spin(Spin),
}

/// Runs one bare server on 127.0.0.1 until it is killed.
#[derive(FromArgs)]
#[argh(subcommand, name = "serve", help_triggers("-h", "--help", "help"))]
struct Serve {
    /// what it does with requests: echo, log or relay
    #[argh(option)]
    mode: serve::Mode,
    /// the port to listen on
    #[argh(option)]
    port: u16,
    /// relay: the server that requests are forwarded to
    #[argh(option)]
    next: Option<SocketAddr>,
    /// log: write and sync each turn's payloads to this file, which is filled with 64 MiB of zeros first
    #[argh(option)]
    file: Option<PathBuf>,
}

/// Publishes to a bare server or a node, and prints one line of key=value pairs.
#[derive(FromArgs)]
#[argh(subcommand, name = "load", help_triggers("-h", "--help", "help"))]
struct Load {
    /// address of the server
    #[argh(option)]
    addr: SocketAddr,
    /// name of the topic, or the prefix of the names if there are several [default: floor]
    #[argh(option, default = "String::from(\"floor\")")]
    topic: String,
    /// number of topics to publish to in turn [default: 1]
    #[argh(option, default = "1")]
    topics: usize,
    /// bytes of a record's value [default: 64]
    #[argh(option, default = "64")]
    size: usize,
    /// records in a request [default: 1]
    #[argh(option, default = "1")]
    records: u32,
    /// what a request does: publish, sequenced (by a producer of the connection), fetch (the first record) or query
    /// [default: publish]
    #[argh(option, default = "load::Operation::Publish")]
    operation: load::Operation,
    /// connections [default: 8]
    #[argh(option, default = "8")]
    conns: usize,
    /// requests in flight on each connection [default: 64]
    #[argh(option, default = "64")]
    window: usize,
    /// send the next window only when the last one has been answered completely
    #[argh(switch)]
    whole_windows: bool,
    /// connections that subscribe to all topics [default: 0]
    #[argh(option, default = "0")]
    subscribers: usize,
    /// address that they connect to [default: that of the publishers]
    #[argh(option)]
    subscribe_at: Option<SocketAddr>,
    /// duration of the measurement in seconds; with 0 only the topics are created [default: 1]
    #[argh(option, default = "1.0")]
    secs: f64,
    /// processes whose CPU time is counted, as PID,PID,…
    #[argh(option, default = "Pids::default()")]
    pids: Pids,
}

/// Starts bare servers and a cube of dht-node, loads both in turn, prints the figures and their goals.
#[derive(FromArgs)]
#[argh(subcommand, name = "compare", help_triggers("-h", "--help", "help"))]
struct Compare {
    /// the daemon to measure [default: dht-node in this program's folder]
    #[argh(option)]
    node: Option<PathBuf>,
    /// first of 16 consecutive ports; if one is in use, the next 16 are tried [default: 6300]
    #[argh(option, default = "6300")]
    base_port: u16,
    /// rounds of floor, node, node, floor for each figure [default: 10]
    #[argh(option, default = "10")]
    rounds: usize,
    /// duration of each run in seconds [default: 0.4]
    #[argh(option, default = "0.4")]
    secs: f64,
    /// send the next window only when the last one has been answered completely
    #[argh(switch)]
    whole_windows: bool,
    /// only this part: load, kinds, pipe, syscalls or memory [default: all]
    #[argh(option)]
    only: Option<compare::Part>,
}

/// Compares durable publishes of one node with redis-server, a bare server that writes and syncs, and the disk itself.
#[derive(FromArgs)]
#[argh(subcommand, name = "durable", help_triggers("-h", "--help", "help"))]
struct Durable {
    /// the daemon to measure [default: dht-node in this program's folder]
    #[argh(option)]
    node: Option<PathBuf>,
    /// first of 16 consecutive ports; if one is in use, the next 16 are tried [default: 6300]
    #[argh(option, default = "6300")]
    base_port: u16,
    /// rounds of floor, node, redis, redis, node, floor for each figure [default: 10]
    #[argh(option, default = "10")]
    rounds: usize,
    /// duration of each run in seconds [default: 0.4]
    #[argh(option, default = "0.4")]
    secs: f64,
    /// send the next window only when the last one has been answered completely
    #[argh(switch)]
    whole_windows: bool,
    /// only this part: rate, batches or writes [default: all]
    #[argh(option)]
    only: Option<durable::Part>,
    /// folder on a disk, in which a temporary folder is created [default: this program's folder]
    #[argh(option)]
    dir: Option<PathBuf>,
    /// let idle CPUs sleep
    #[argh(switch)]
    asleep: bool,
}

/// Compares a cube in which three nodes keep each topic with one in which its home alone does, and with redis-server
/// with two replicas.
#[derive(FromArgs)]
#[argh(subcommand, name = "replicated", help_triggers("-h", "--help", "help"))]
struct Replicated {
    /// the daemon to measure [default: dht-node in this program's folder]
    #[argh(option)]
    node: Option<PathBuf>,
    /// first of 16 consecutive ports; if one is in use, the next 16 are tried [default: 6300]
    #[argh(option, default = "6300")]
    base_port: u16,
    /// rounds of one copy, three copies, redis, redis, three copies, one copy for each figure [default: 10]
    #[argh(option, default = "10")]
    rounds: usize,
    /// duration of each run in seconds [default: 0.4]
    #[argh(option, default = "0.4")]
    secs: f64,
    /// only this part: rate, reads or idle [default: all]
    #[argh(option)]
    only: Option<replicated::Part>,
    /// folder on a disk, in which a temporary folder is created [default: this program's folder]
    #[argh(option)]
    dir: Option<PathBuf>,
    /// let idle CPUs sleep
    #[argh(switch)]
    asleep: bool,
}

/// Measures what silent subscribers cost one node, which sends PING to each after 1 to 1.5 s of silence.
#[derive(FromArgs)]
#[argh(subcommand, name = "silent", help_triggers("-h", "--help", "help"))]
struct Silent {
    /// the daemon to measure [default: dht-node in this program's folder]
    #[argh(option)]
    node: Option<PathBuf>,
    /// first of 16 consecutive ports; if one is in use, the next 16 are tried [default: 6300]
    #[argh(option, default = "6300")]
    base_port: u16,
    /// number of connections with one subscription each; `ulimit -n` must allow as many [default: 10000]
    #[argh(option, default = "10_000")]
    subscribers: usize,
    /// duration of the measurement in seconds, after a warm-up of two seconds [default: 10]
    #[argh(option, default = "10.0")]
    secs: f64,
}

/// Measures how much a polite client suffers from clients that take as much of a node or a cube as they can.
#[derive(FromArgs)]
#[argh(subcommand, name = "attack", help_triggers("-h", "--help", "help"))]
struct Attack {
    /// the daemon to measure [default: dht-node in this program's folder]
    #[argh(option)]
    node: Option<PathBuf>,
    /// first of 16 consecutive ports; if one is in use, the next 16 are tried [default: 6300]
    #[argh(option, default = "6300")]
    base_port: u16,
    /// number of rounds, each with the polite client alone and beside the attackers [default: 3]
    #[argh(option, default = "3")]
    rounds: usize,
    /// duration of each run in seconds, half of it one record at a time and half of it pipelined [default: 0.8]
    #[argh(option, default = "0.8")]
    secs: f64,
    /// only this attack, such as deep-8 [default: all]
    #[argh(option)]
    only: Option<&'static attack::Case>,
    /// nice value of the attackers, 0 to 19, so that they do not take processor time from the nodes [default: 10]
    #[argh(option, default = "10")]
    nice: u8,
    /// memory limit of each node in MiB [default: 32]
    #[argh(option, default = "32")]
    memory: u64,
    /// number of nodes that keep each topic: 1, in memory, or 3, on disk and only in the cube [default: 1]
    #[argh(option, default = "1")]
    replicas: u8,
}

/// Attacks a node until it is killed.
#[derive(FromArgs)]
#[argh(subcommand, name = "crowd", help_triggers("-h", "--help", "help"))]
struct Crowd {
    /// the attack, such as deep-8
    #[argh(option)]
    attack: &'static attack::Case,
    /// address of the node that the attackers use
    #[argh(option)]
    addr: SocketAddr,
    /// id of the home of the topics that `floor attack` has created
    #[argh(option)]
    home: u16,
    /// dimension of the cube
    #[argh(option)]
    dimension: u8,
}

/// Keeps one processor busy until its parent ends.
#[derive(FromArgs)]
#[argh(subcommand, name = "spin", help_triggers("-h", "--help", "help"))]
struct Spin {}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Serve(serve) => serve::serve(serve.mode, serve.port, serve.next, serve.file.as_deref())?,
        Command::Load(load) => {
            let plan = load::Plan {
                addr: load.addr,
                protocol: Protocol::Frames,
                topics: load::topic_names(&load.topic, load.topics),
                value_bytes: load.size,
                count: load.records,
                operation: load.operation,
                is_fresh: false,
                conns: load.conns,
                window: load.window,
                whole_windows: load.whole_windows,
                subscribers: load.subscribers,
                subscribe_at: load.subscribe_at.unwrap_or(load.addr),
                seconds: load.secs,
            };
            session::create_topics(plan.addr, &plan.topics, Retention::default())?;
            if plan.seconds > 0.0 {
                let measured = load::measure(&plan, &load.pids.0)?;
                writeln!(io::stdout(), "{measured}")?;
            }
        }
        Command::Compare(options) => return compare::compare(&options),
        Command::Durable(options) => return durable::durable(&options),
        Command::Replicated(options) => return replicated::replicated(&options),
        Command::Silent(options) => {
            let program = setup::node_program(options.node.as_ref())?;
            let port = setup::free_ports(options.base_port)?;
            let cost = silent::measure(&program, port, options.subscribers, options.secs)?;
            writeln!(io::stdout(), "cpu_ms_per_s={:.1} pings_per_s={:.0}", cost.cpu_ms, cost.pings)?;
        }
        Command::Attack(options) => return attack::attack(&options),
        Command::Crowd(options) => attack::run_crowd(&options)?,
        Command::Spin(Spin {}) => process::spin(),
    }
    Ok(ExitCode::SUCCESS)
}

/// A list of process ids, separated by commas.
#[derive(Default)]
struct Pids(Vec<u32>);

impl FromStr for Pids {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let pid = |word: &str| word.parse().map_err(|_| format!("{word:?} is not a process id"));
        list.split(',').map(pid).collect::<Result<_, _>>().map(Self)
    }
}
