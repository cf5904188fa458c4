//! Why a measurement could not be made.

use std::fmt;
use std::io;
use std::path::PathBuf;

use dht_node::wire::{DecodeError, FrameError, Status};

/// Why a measurement could not be made.
#[derive(Debug)]
pub(crate) enum Error {
    /// A socket, a file or a process.
    Io(io::Error),
    /// What came is no frame.
    Frame(FrameError),
    /// What came is no such response.
    Decode(DecodeError),
    /// A frame that a bare server cannot hold, or with a route of another length than it knows.
    Unsupported,
    /// A damaged part of a frame.
    Corrupt,
    /// A request was answered with an error.
    Refused { opcode: u8, status: u8 },
    /// The server closed a connection that was in use.
    Closed,
    /// Records did not come to a subscriber in their order, or it was told that none come any more.
    Lost,
    /// Nothing was answered for this long.
    Stalled { seconds: u64 },
    /// A server did not come up in time.
    NotReady { what: &'static str },
    /// `serve --mode relay` without `--next`.
    NoNext,
    /// No ports in a row are free from that one on.
    NoPorts { from: u16 },
    /// A program that is started by its path is not there.
    Missing { program: PathBuf },
    /// A tool of util-linux is not there.
    NoTool { name: &'static str },
    /// What came is no answer of a Redis server to XADD.
    NotRedis,
    /// A Redis server refused something.
    RedisRefused { text: String },
    /// The folder for what servers keep cannot be made there.
    Folder { path: PathBuf, error: io::Error },
    /// That folder lies in memory: nothing is written to a disk.
    InMemory { path: PathBuf, kind: String },
    /// A file of /proc, or the output of a tool, does not look as expected.
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
            Self::Unsupported => f.write_str("a frame that a bare server does not know"),
            Self::Corrupt => f.write_str("a frame does not match its checksum"),
            Self::Refused { opcode, status } => {
                let name = Status::from_number(*status).map_or("unknown", Status::name);
                write!(f, "request {opcode:#04x} was answered {status:#04x} ({name})")
            }
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Lost => f.write_str("a subscriber was not sent every record in its order"),
            Self::Stalled { seconds } => write!(f, "the server sent nothing for {seconds} s, and something is missing"),
            Self::NotReady { what } => write!(f, "{what} did not come up in time"),
            Self::NoNext => f.write_str("a relay needs --next HOST:PORT"),
            Self::NoPorts { from } => write!(f, "no ports in a row are free from {from} on"),
            Self::Missing { program } => {
                write!(f, "there is no {}; build it: cargo build --release --workspace", program.display())
            }
            Self::NoTool { name } => write!(f, "there is no {name}; it is part of util-linux"),
            Self::NotRedis => f.write_str("what came is no answer of a Redis server"),
            Self::RedisRefused { text } => write!(f, "redis-server answered: {text}"),
            Self::Folder { path, error } => write!(f, "no folder can be made in {}: {error}", path.display()),
            Self::InMemory { path, kind } => {
                write!(f, "{} is a {kind}, not a disk, and figures would say nothing; use --dir FOLDER", path.display())
            }
            Self::Unreadable { what } => write!(f, "cannot make sense of {what}"),
        }
    }
}
