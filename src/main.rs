//! The daemon: arguments, sockets, a node, and the loop.

mod logs;
mod rescue;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use argh::FromArgs;
use dht_node::config::{Arguments, Config};
use dht_node::journal::{Identity, OpenError};
use dht_node::net::{Clock, Descriptors, Server, StartError};
use dht_node::node::{Node, Settings};
use dht_node::storage::{Options, Storage, Sync};
use dht_node::turn::MemoryStore;
use dht_node::wire::response::Durability;

const SOFTWARE: &str = concat!("dht-node ", env!("CARGO_PKG_VERSION"));

/// The command line, the peers file or the address cannot be used.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(code) = rescue::run(&words) {
        return code;
    }
    let arguments = match Arguments::from_args(&["dht-node"], &words) {
        Ok(arguments) => arguments,
        Err(exit) if exit.status.is_ok() => return say(&exit.output),
        Err(exit) => return fail(EXIT_USAGE, &format!("{}; see dht-node --help", exit.output.trim())),
    };
    if arguments.version {
        return say(SOFTWARE);
    }
    match Config::new(&arguments) {
        Ok(config) => {
            logs::start(config.id.binary(config.dimension));
            run(config)
        }
        Err(error) => fail(EXIT_USAGE, &error.to_string()),
    }
}

fn run(config: Config) -> ExitCode {
    let clock = Clock::start();
    let room = match share_descriptors(&config) {
        Ok(room) => room,
        Err(exit) => return exit,
    };
    let server = match Server::bind(config.listen, room.sockets) {
        Ok(server) => server,
        Err(StartError::Listen { address, cause }) => {
            return fail(EXIT_USAGE, &format!("cannot listen on {address}: {cause}; is another node running there?"));
        }
        Err(StartError::System(cause)) => return fail(1, &format!("cannot wait for sockets: {cause}")),
    };
    let id = config.id.binary(config.dimension);
    let listening = server.address().unwrap_or(config.listen);
    if config.is_exposed {
        log::warn!("{listening} can be reached from other machines, without TLS and without credentials");
    }
    let mut addresses: Vec<String> = config.addresses.iter().map(SocketAddr::to_string).collect();
    addresses[usize::from(config.id.index())] = listening.to_string();
    let settings = Settings {
        id: config.id,
        dimension: config.dimension,
        cluster: config.cluster,
        software: SOFTWARE.to_owned(),
        addresses,
        instance: random(),
        seed: random(),
        memory_bytes: config.memory_bytes,
        retention: config.retention,
        durability: match config.storage {
            None => Durability::Memory,
            Some(Options { sync: Sync::Always, .. }) => Durability::Synced,
            Some(Options { sync: Sync::Interval(_), .. }) => Durability::Interval,
        },
        clients_max: room.clients,
        handshakes_max: room.handshakes,
    };
    let identity = Identity { cluster: settings.cluster.clone(), dimension: config.dimension, node: config.id };
    let mut node = Node::new(settings, clock.now());
    let ready = logs::info(&id, "net", &format!("listens on {listening}"));
    let result = match config.storage {
        None => {
            say(&ready);
            server.run(node, MemoryStore::default(), config.peers, config.dimension, clock)
        }
        Some(options) => {
            let storage = match open(&server, options, &identity, &mut node) {
                Ok(storage) => storage,
                Err(exit) => return exit,
            };
            say(&ready);
            server.run(node, storage, config.peers, config.dimension, clock)
        }
    };
    log::logger().flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => fail(1, &format!("the event loop failed: {cause}")),
    }
}

/// Opens the journal and gives the node what is in it.
fn open(server: &Server, options: Options, identity: &Identity, node: &mut Node) -> Result<Storage, ExitCode> {
    let wake = server.waker().map_err(|cause| fail(1, &format!("cannot wait for the disk: {cause}")))?;
    let shown = options.folder.display().to_string();
    // Logs the absolute path: a relative one leads to another folder when the node is started from another directory.
    let folder = std::path::absolute(&options.folder).unwrap_or_else(|_| options.folder.clone());
    match Storage::open(options, identity, node, wake) {
        Ok(storage) => {
            let (folder, found) = (folder.display(), node.topic_count());
            log::info!(target: "dht_node::storage", "topics are kept in {folder}: {found} found");
            Ok(storage)
        }
        Err(error @ OpenError::Damaged { .. }) => Err(fail(1, &format!("{shown}: {error}"))),
        Err(error) => Err(fail(EXIT_USAGE, &format!("{shown}: {error}"))),
    }
}

/// Raises the limit of open files as far as this node needs and the system allows, and shares out the descriptors.
fn share_descriptors(config: &Config) -> Result<Descriptors, ExitCode> {
    let (dimension, has_journal) = (config.dimension, config.storage.is_some());
    let wanted = Descriptors::wanted(dimension, has_journal);
    let limit = rlimit::increase_nofile_limit(wanted as u64)
        .map_err(|cause| fail(1, &format!("cannot read or raise the limit of open files: {cause}")))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let room =
        Descriptors::share(limit, dimension, has_journal).map_err(|error| fail(EXIT_USAGE, &error.to_string()))?;
    if limit < wanted {
        log::warn!(
            "the limit of open files is {limit}, which allows {} clients; for more, raise it with ulimit -n",
            room.clients
        );
    }
    Ok(room)
}

/// From the system, by way of the hasher that the standard library seeds for each map.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn say(line: &str) -> ExitCode {
    // Nobody may be reading; that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
    ExitCode::SUCCESS
}

fn fail(code: u8, line: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "dht-node: {line}");
    ExitCode::from(code)
}
