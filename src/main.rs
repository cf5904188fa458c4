//! The daemon: arguments, sockets, a node, and the loop.

mod logs;
mod rescue;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use argh::FromArgs;
use dht_node::config::{Arguments, Config, Words};
use dht_node::journal::{self, Folder, Identity, OpenError};
use dht_node::limits::LOG_WINDOW_BYTES;
use dht_node::net::{Clock, Descriptors, Server, StartError};
use dht_node::node::{Node, Settings};
use dht_node::storage::{Options, Storage, Sync};
use dht_node::turn::MemoryStore;
use dht_node::types::{Copies, Slots};
use dht_node::wire::response::Durability;

const SOFTWARE: &str = concat!("dht-node ", env!("CARGO_PKG_VERSION"));

/// The command line, the peers file or the address cannot be used.
const EXIT_USAGE: u8 = 2;

/// The disk has failed.
const EXIT_DISK: u8 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(code) = rescue::run(&words, random()) {
        return code;
    }
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    let words = match Words::new(&words, environment) {
        Ok(words) => words,
        Err(error) => return fail(EXIT_USAGE, &error.to_string()),
    };
    let refuse = |error: String| match words.used[..] {
        [] => fail(EXIT_USAGE, &error),
        _ => fail(EXIT_USAGE, &format!("{error} (the environment sets {})", words.used.join(", "))),
    };
    let all: Vec<&str> = words.words.iter().map(String::as_str).collect();
    let arguments = match Arguments::from_args(&["dht-node"], &all) {
        Ok(arguments) => arguments,
        Err(exit) if exit.status.is_ok() => return say(&exit.output),
        Err(exit) => return refuse(format!("{}; see dht-node --help", plain(exit.output.trim()))),
    };
    if arguments.version {
        return say(SOFTWARE);
    }
    match Config::new(&arguments) {
        Ok(config) => {
            logs::start(config.id.binary(config.dimension));
            if !words.unknown.is_empty() {
                log::warn!("ignored environment variables that set no option: {}", words.unknown.join(", "));
            }
            match config.copies(kept_copies(&config)) {
                Ok(copies) if arguments.print_config => say(&Config { replicas: Some(copies), ..config }.to_string()),
                Ok(copies) => run(config, copies),
                Err(error) => refuse(error.to_string()),
            }
        }
        Err(error) => refuse(error.to_string()),
    }
}

/// Makes SIGHUP harmless: closing the terminal that started a node does not end it. Nothing has to be read again on
/// SIGHUP either, because the peers file is read at each dial.
fn ignore_hangup() {
    #[expect(clippy::disallowed_types, reason = "the signal handler shares the flag, which nobody reads")]
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGHUP, flag) {
        log::warn!("cannot ignore SIGHUP, which will end this node: {error}");
    }
}

/// Returns how many nodes keep each topic according to the node's data folder. `None` if the node has no folder, or if
/// the folder is empty or cannot be read; opening it later reports why it cannot be read.
fn kept_copies(config: &Config) -> Option<Copies> {
    let folder = Folder::look(config.storage.as_ref()?.folder.clone()).ok()?;
    journal::owner(&folder).ok().map(|identity| identity.copies)
}

fn run(config: Config, copies: Copies) -> ExitCode {
    ignore_hangup();
    let clock = Clock::start();
    let room = match share_descriptors(&config) {
        Ok(room) => room,
        Err(exit) => return exit,
    };
    let (server, listening) = match listen(&config, room.sockets) {
        Ok(listening) => listening,
        Err(exit) => return exit,
    };
    let id = config.id.binary(config.dimension);
    if config.is_exposed {
        log::warn!("{listening} can be reached from other machines, without TLS and without credentials");
    }
    let addresses = config.addresses_told(listening);
    let settings = Settings {
        id: config.id,
        dimension: config.dimension,
        slots: Slots::one_per_node(config.dimension),
        copies,
        cluster: config.cluster,
        software: SOFTWARE.to_owned(),
        addresses,
        instance: random(),
        origin_mark: u16::try_from(random() >> 48).expect("16 bits"),
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
        source_limits: config.source_limits,
        log_window_bytes: LOG_WINDOW_BYTES,
    };
    let (cluster, dimension) = (settings.cluster.clone(), config.dimension);
    let identity = Identity { cluster, dimension, node: config.id, copies };
    let mut node = Node::new(settings, clock.now());
    let ready = || say(&logs::info(&id, "net", &format!("listens on {listening}")));
    let result = match config.storage {
        None => {
            ready();
            server.run(node, MemoryStore::default(), config.peers, config.dimension, clock)
        }
        Some(options) => {
            let storage = match open(&server, options, &identity, &mut node) {
                Ok(storage) => storage,
                Err(exit) => return exit,
            };
            ready();
            server.run(node, storage, config.peers, config.dimension, clock)
        }
    };
    log::logger().flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => fail(1, &format!("the event loop failed: {cause}")),
    }
}

/// Opens the listening socket. Returns its address, too, whose port the system may have chosen.
fn listen(config: &Config, sockets_max: usize) -> Result<(Server, SocketAddr), ExitCode> {
    let server = Server::bind(&config.listen, sockets_max).map_err(|error| match error {
        StartError::Listen { address, cause } => {
            let is_elsewhere = cause.kind() == ErrorKind::AddrNotAvailable;
            let hint =
                if is_elsewhere { "no interface of this machine has it" } else { "is another node running there?" };
            fail(EXIT_USAGE, &format!("cannot listen on {address}: {cause}; {hint}"))
        }
        StartError::System(cause) => fail(1, &format!("cannot wait for sockets: {cause}")),
    })?;
    match server.address() {
        Ok(address) => Ok((server, address)),
        Err(cause) => Err(fail(1, &format!("cannot find out where it listens: {cause}"))),
    }
}

/// Opens the journal and gives the node what is in it.
fn open(server: &Server, options: Options, identity: &Identity, node: &mut Node) -> Result<Storage, ExitCode> {
    let wake = server.waker();
    let shown = options.folder.display().to_string();
    // Logs the absolute path: a relative one leads to another folder when the node is started from another directory.
    let folder = std::path::absolute(&options.folder).unwrap_or_else(|_| options.folder.clone());
    match Storage::open(options, identity, node, wake, on_disk_failure) {
        Ok(storage) => {
            let (folder, found) = (folder.display(), node.topic_count());
            log::info!(target: "dht_node::storage", "topics are kept in {folder}: {found} found");
            Ok(storage)
        }
        Err(error @ OpenError::Damaged { .. }) => Err(fail(1, &format!("{shown}: {error}"))),
        Err(error) => Err(fail(EXIT_USAGE, &format!("{shown}: {error}"))),
    }
}

/// Ends the process at once: after a failed sync the contents of the disk are unknown, so nothing more may be
/// acknowledged.
fn on_disk_failure(what: &str, cause: &io::Error) -> ! {
    let why = "because the contents of the disk are unknown now";
    log::error!(target: "dht_node::storage", "{what}: {cause}; ending at once, {why}");
    log::logger().flush();
    std::process::exit(EXIT_DISK.into())
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

/// Replaces what the standard library says of a number in a message about the command line.
fn plain(message: &str) -> String {
    let message = message.replace("invalid digit found in string", "not a number");
    message.replace("number too large to fit in target type", "the number is too large")
}

/// From the system, by way of the hasher that the standard library seeds for each map.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn say(line: &str) -> ExitCode {
    // Nobody may be reading; that is no reason not to serve.
    let _ = writeln!(io::stdout(), "{}", line.trim_end());
    ExitCode::SUCCESS
}

fn fail(code: u8, line: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "dht-node: {line}");
    ExitCode::from(code)
}
