//! The errors that end a measurement.

use std::fmt;
use std::io;
use std::path::PathBuf;

use dht_protocol::wire::{DecodeError, FrameError, Status};

/// An error that ends a measurement.
#[derive(Debug)]
pub(crate) enum Error {
    /// An operation on a socket, a file or a process failed.
    Io(io::Error),
    /// The received bytes are not a frame.
    Frame(FrameError),
    /// The received frame is not a valid response to the request.
    Decode(DecodeError),
    /// A frame of a kind, size or route length that this program does not handle.
    Unsupported,
    /// Part of a frame does not match its checksum.
    Corrupt,
    /// A request was answered with an error.
    Refused { opcode: u8, status: u8 },
    /// The server closed a connection that was in use.
    Closed,
    /// A subscriber received records out of order, or the server ended its subscription.
    Lost,
    /// The server sent nothing for this long although answers or records are outstanding.
    Stalled { seconds: u64 },
    /// A server did not start in time.
    NotReady { what: &'static str },
    /// `serve --mode relay` was called without `--next`.
    NoNext,
    /// No range of consecutive free ports was found from this port upwards.
    NoPorts { from: u16 },
    /// A program to be started does not exist.
    Missing { program: PathBuf },
    /// A tool of util-linux is not installed.
    NoTool { name: &'static str },
    /// The received bytes are not an answer of a Redis server to XADD.
    NotRedis,
    /// A Redis server answered with an error.
    RedisRefused { text: String },
    /// The folder for the servers' data cannot be created in this directory.
    Folder { path: PathBuf, error: io::Error },
    /// The directory is on a file system in memory, so nothing would be written to a disk.
    InMemory { path: PathBuf, kind: String },
    /// A file of /proc, or the output of a tool, does not have the expected format.
    Unreadable { what: &'static str },
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Frame(error) => write!(f, "not a frame: {error}"),
            Self::Decode(error) => write!(f, "not the expected response: {error}"),
            Self::Unsupported => f.write_str("received a frame that floor does not support"),
            Self::Corrupt => f.write_str("a frame does not match its checksum"),
            Self::Refused { opcode, status } => {
                let name = Status::from_number(*status).map_or("unknown", Status::name);
                write!(f, "request {opcode:#04x} was answered {status:#04x} ({name})")
            }
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Lost => f.write_str("a subscriber did not receive all records in order"),
            Self::Stalled { seconds } => {
                write!(f, "the server sent nothing for {seconds} s, and answers or records are missing")
            }
            Self::NotReady { what } => write!(f, "{what} did not start in time"),
            Self::NoNext => f.write_str("a relay needs --next HOST:PORT"),
            Self::NoPorts { from } => write!(f, "found no range of free ports from {from} upwards"),
            Self::Missing { program } => {
                write!(f, "there is no {}; build it: cargo build --release --workspace", program.display())
            }
            Self::NoTool { name } => write!(f, "{name} is not installed; it is part of util-linux"),
            Self::NotRedis => f.write_str("the answer is not that of a Redis server"),
            Self::RedisRefused { text } => write!(f, "redis-server answered: {text}"),
            Self::Folder { path, error } => write!(f, "cannot create a folder in {}: {error}", path.display()),
            Self::InMemory { path, kind } => {
                write!(f, "{} is on a {kind}, so nothing would be written to a disk; use --dir FOLDER", path.display())
            }
            Self::Unreadable { what } => write!(f, "cannot parse {what}"),
        }
    }
}
