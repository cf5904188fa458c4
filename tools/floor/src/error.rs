//! The errors that end a measurement.

use std::io;
use std::path::PathBuf;

use dht_protocol::wire::{DecodeError, FrameError, Status};

/// An error that ends a measurement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An operation on a socket, a file or a process failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The received bytes are not a frame.
    #[error("not a frame: {0}")]
    Frame(#[from] FrameError),
    /// The received frame is not a valid response to the request.
    #[error("not the expected response: {0}")]
    Decode(#[from] DecodeError),
    /// A frame of a kind, size or route length that this program does not handle.
    #[error("received a frame that floor does not support")]
    Unsupported,
    /// Part of a frame does not match its checksum.
    #[error("a frame does not match its checksum")]
    Corrupt,
    /// A request was answered with an error.
    #[error("request {opcode:#04x} was answered {status:#04x} ({})", Status::from_number(*status).map_or("unknown", Status::name))]
    Refused { opcode: u8, status: u8 },
    /// The server closed a connection that was in use.
    #[error("the server closed the connection")]
    Closed,
    /// A subscriber received records out of order, or the server ended its subscription.
    #[error("a subscriber did not receive all records in order")]
    Lost,
    /// The server sent nothing for this long although answers or records are outstanding.
    #[error("the server sent nothing for {seconds} s, and answers or records are missing")]
    Stalled { seconds: u64 },
    /// A server did not start in time.
    #[error("{what} did not start in time")]
    NotReady { what: &'static str },
    /// `serve --mode relay` was called without `--next`.
    #[error("a relay needs --next HOST:PORT")]
    NoNext,
    /// No range of consecutive free ports was found from this port upwards.
    #[error("found no range of free ports from {from} upwards")]
    NoPorts { from: u16 },
    /// A program to be started does not exist.
    #[error("there is no {}; build it: cargo build --release --workspace", program.display())]
    Missing { program: PathBuf },
    /// A tool of util-linux is not installed.
    #[error("{name} is not installed; it is part of util-linux")]
    NoTool { name: &'static str },
    /// The received bytes are not an answer of a Redis server to XADD.
    #[error("the answer is not that of a Redis server")]
    NotRedis,
    /// A Redis server answered with an error.
    #[error("redis-server answered: {text}")]
    RedisRefused { text: String },
    /// A WAIT was answered although no replica has what came before it.
    #[error("redis-server has acknowledged an entry that no replica has")]
    NoReplica,
    /// The folder for the servers' data cannot be created in this directory.
    #[error("cannot create a folder in {}: {error}", path.display())]
    Folder { path: PathBuf, error: io::Error },
    /// The directory is on a file system in memory, so nothing would be written to a disk.
    #[error("{} is on a {kind}, so nothing would be written to a disk; use --dir FOLDER", path.display())]
    InMemory { path: PathBuf, kind: String },
    /// A file of /proc, or the output of a tool, does not have the expected format.
    #[error("cannot parse {what}")]
    Unreadable { what: &'static str },
}
