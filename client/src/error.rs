//! The errors of the client, and what the caller may do about them.

use std::fmt;
use std::io;
use std::time::Duration;

use dht_protocol::types::{NameError, Offset};
use dht_protocol::wire::frame::Corrupt;
use dht_protocol::wire::records::RecordError;
use dht_protocol::wire::response::ErrorResponse;
use dht_protocol::wire::{Class, DecodeError, FrameError, Goaway, Opcode, Status};

use crate::address::AddressError;

/// The reason why a call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A text is not an address of a node.
    Address(AddressError),
    /// A name is not a topic name.
    Name(NameError),
    /// A record cannot be encoded.
    Record(RecordError),
    /// A batch has too many bytes of records.
    BatchTooLarge {
        /// Size of the batch in bytes.
        bytes: usize,
        /// Maximum size of a batch in bytes.
        bytes_max: usize,
    },
    /// No connection could be made; nothing was sent.
    Connect {
        /// The address that was tried last.
        server: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The node refused the connection; no request was sent.
    Rejected {
        /// The node's address.
        server: String,
        /// The node's reason.
        response: Box<ErrorResponse>,
    },
    /// The connection ended before the response arrived.
    Lost {
        /// The node's address.
        server: String,
        /// How the connection ended.
        reason: Loss,
        /// True if the node said that it did not act on the request.
        untouched: bool,
    },
    /// No response arrived in time.
    TimedOut {
        /// The node's address.
        server: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// The other side violated the protocol.
    Protocol {
        /// The node's address.
        server: String,
        /// The violation.
        fault: Fault,
    },
    /// The node answered with an error.
    Refused {
        /// The node's address.
        server: String,
        /// The node's response.
        response: Box<ErrorResponse>,
    },
}

/// How a connection ended.
#[derive(Debug)]
pub enum Loss {
    /// The node had announced that it would close.
    Goaway(Box<Goaway>),
    /// The operating system reported an error.
    Io(io::Error),
}

/// A violation of the protocol by the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The received bytes are not a frame.
    Frame(FrameError),
    /// A frame is corrupt.
    Corrupt(Corrupt),
    /// A response or push cannot be decoded.
    Decode {
        /// The operation.
        opcode: Opcode,
        /// The reason.
        error: DecodeError,
    },
    /// Records cannot be decoded.
    Records(RecordError),
    /// A response belongs to another operation than its request, or is of another kind.
    Answer {
        /// The operation of the request.
        opcode: Opcode,
    },
    /// A frame has a critical flag that this version does not know.
    Critical,
    /// The first response is not HELLO, or makes no sense.
    Hello,
    /// A subscription got more bytes than its credit.
    Credit,
    /// The records of a subscription do not follow the previous ones.
    Hole {
        /// The expected offset.
        expected: Offset,
        /// The offset received.
        found: Offset,
    },
    /// Records belong to another topic, or to another epoch of its log, than the subscription.
    Foreign,
}

impl Error {
    /// Returns the status byte that the node answered with, if it answered.
    pub fn code(&self) -> Option<u8> {
        match self {
            Self::Refused { response, .. } | Self::Rejected { response, .. } => Some(response.status),
            Self::Lost { reason: Loss::Goaway(goaway), .. } => Some(goaway.status.number()),
            Self::Protocol { fault: Fault::Frame(error), .. } => error.status().map(Status::number),
            Self::Address(_)
            | Self::Name(_)
            | Self::Record(_)
            | Self::BatchTooLarge { .. }
            | Self::Connect { .. }
            | Self::Lost { reason: Loss::Io(_), .. }
            | Self::TimedOut { .. }
            | Self::Protocol { .. } => None,
        }
    }

    /// Returns the status that the node answered a request with, if this version knows it.
    pub fn status(&self) -> Option<Status> {
        self.refusal().and_then(|response| Status::from_number(response.status))
    }

    /// Returns the node's error response, if there is one.
    pub fn refusal(&self) -> Option<&ErrorResponse> {
        match self {
            Self::Refused { response, .. } => Some(response),
            Self::Address(_)
            | Self::Name(_)
            | Self::Record(_)
            | Self::BatchTooLarge { .. }
            | Self::Connect { .. }
            | Self::Rejected { .. }
            | Self::Lost { .. }
            | Self::TimedOut { .. }
            | Self::Protocol { .. } => None,
        }
    }

    /// Returns true if the same request may succeed later without any other change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost { .. } | Self::TimedOut { .. } => true,
            Self::Rejected { response, .. } => {
                [Status::TooManyClients.number(), Status::Closing.number()].contains(&response.status)
            }
            Self::Refused { response, .. } => {
                let class = Class::of(response.status);
                class.is_retryable() || class == Class::Unknown
            }
            Self::Address(_) | Self::Name(_) | Self::Record(_) | Self::BatchTooLarge { .. } | Self::Protocol { .. } => {
                false
            }
        }
    }

    /// Returns true if the request may have been executed all the same. Then only an idempotent request may be
    /// repeated.
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Lost { untouched, .. } => !untouched,
            Self::TimedOut { .. } | Self::Protocol { .. } => true,
            Self::Refused { response, .. } => matches!(Class::of(response.status), Class::Unknown | Class::Server),
            Self::Address(_)
            | Self::Name(_)
            | Self::Record(_)
            | Self::BatchTooLarge { .. }
            | Self::Connect { .. }
            | Self::Rejected { .. } => false,
        }
    }

    /// Returns how long the node asks to wait before the next attempt.
    pub fn retry_after(&self) -> Duration {
        let rejection = if let Self::Rejected { response, .. } = self { Some(response.as_ref()) } else { None };
        let response = rejection.or_else(|| self.refusal());
        Duration::from_millis(response.map_or(0, |response| u64::from(response.retry_after_ms)))
    }

    /// Returns the address of the node at which the error occurred.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Connect { server, .. }
            | Self::Rejected { server, .. }
            | Self::Lost { server, .. }
            | Self::TimedOut { server, .. }
            | Self::Protocol { server, .. }
            | Self::Refused { server, .. } => Some(server),
            Self::Address(_) | Self::Name(_) | Self::Record(_) | Self::BatchTooLarge { .. } => None,
        }
    }
}

impl Error {
    /// Returns a copy, for another request that fails for the same reason. Of an error of the system it keeps the kind,
    /// and the number if there is one.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Address(error) => Self::Address(error.clone()),
            Self::Name(error) => Self::Name(*error),
            Self::Record(error) => Self::Record(*error),
            Self::BatchTooLarge { bytes, bytes_max } => Self::BatchTooLarge { bytes: *bytes, bytes_max: *bytes_max },
            Self::Connect { server, source } => Self::Connect { server: server.clone(), source: io_again(source) },
            Self::Rejected { server, response } => {
                Self::Rejected { server: server.clone(), response: response.clone() }
            }
            Self::Lost { server, reason, untouched } => {
                let reason = match reason {
                    Loss::Goaway(goaway) => Loss::Goaway(goaway.clone()),
                    Loss::Io(error) => Loss::Io(io_again(error)),
                };
                Self::Lost { server: server.clone(), reason, untouched: *untouched }
            }
            Self::TimedOut { server, waited } => Self::TimedOut { server: server.clone(), waited: *waited },
            Self::Protocol { server, fault } => Self::Protocol { server: server.clone(), fault: *fault },
            Self::Refused { server, response } => Self::Refused { server: server.clone(), response: response.clone() },
        }
    }
}

fn io_again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
            Self::BatchTooLarge { bytes, bytes_max } => {
                write!(f, "{bytes} bytes of records in one batch, at most {bytes_max} are possible")
            }
            Self::Connect { server, source } if source.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "cannot reach {server}: it closed the connection without saying HELLO")
            }
            Self::Connect { server, source } => write!(f, "cannot reach {server}: {}", plain(source)),
            Self::Rejected { server, response } => write!(f, "{server} refuses the connection: {}", Reason(response)),
            Self::Lost { server, reason: Loss::Goaway(goaway), .. } => {
                write!(f, "{server} closed the connection: {}", goaway.status.name())?;
                if goaway.message.is_empty() { Ok(()) } else { write!(f, ": {}", goaway.message) }
            }
            Self::Lost { server, reason: Loss::Io(error), .. } => {
                write!(f, "the connection to {server} was lost: {}", plain(error))
            }
            Self::TimedOut { server, waited } => {
                write!(f, "no answer from {server} in {:.1} s", waited.as_secs_f64())
            }
            Self::Protocol { server, fault } => write!(f, "{server} breaks the protocol: {fault}"),
            Self::Refused { response, .. } => Reason(response).fmt(f),
        }
    }
}

/// Returns the operating system's message without its error number; the unexpected end of a stream has no such message.
fn plain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the other side closed it".to_owned();
    }
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Formats a node's message with the number and name of its status, so that a reader can look it up in protocol.md.
struct Reason<'a>(&'a ErrorResponse);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(response) = self;
        if !response.message.is_empty() {
            write!(f, "{} ", response.message)?;
        }
        write!(f, "(error {:#04x} {})", response.status, response.name())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Corrupt(Corrupt::Args) => f.write_str("the args of a frame do not match their checksum"),
            Self::Corrupt(Corrupt::Payload) => f.write_str("the payload of a frame does not match its checksum"),
            Self::Decode { opcode, error } if opcode.is_push() => write!(f, "in a {}: {error}", opcode.name()),
            Self::Decode { opcode, error } => write!(f, "in an answer to {}: {error}", opcode.name()),
            Self::Records(error) => error.fmt(f),
            Self::Answer { opcode } => write!(f, "{} was answered as another operation", opcode.name()),
            Self::Critical => f.write_str("a frame of it has a critical flag that this version does not know"),
            Self::Hello => f.write_str("its first answer is not HELLO, or makes no sense"),
            Self::Credit => f.write_str("it sends more of a subscription than it was given credit for"),
            Self::Hole { expected, found } => write!(f, "a subscription goes on at offset {found}, not {expected}"),
            Self::Foreign => f.write_str("a subscription goes on with the records of another topic"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address(error) => Some(error),
            Self::Name(error) => Some(error),
            Self::Record(error) => Some(error),
            Self::Connect { source, .. } | Self::Lost { reason: Loss::Io(source), .. } => Some(source),
            Self::BatchTooLarge { .. }
            | Self::Rejected { .. }
            | Self::Lost { reason: Loss::Goaway(_), .. }
            | Self::TimedOut { .. }
            | Self::Protocol { .. }
            | Self::Refused { .. } => None,
        }
    }
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}
