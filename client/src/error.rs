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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is not an address of a node.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A name is not a topic name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A record cannot be encoded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A batch has too many bytes of records.
    #[error("{bytes} bytes of records in one batch, at most {bytes_max} are possible")]
    BatchTooLarge {
        /// Size of the batch in bytes.
        bytes: usize,
        /// Maximum size of a batch in bytes.
        bytes_max: usize,
    },
    /// No connection could be made; nothing was sent.
    #[error("cannot reach {server}: {}", unreachable(source))]
    Connect {
        /// The address that was tried last.
        server: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The node refused the connection; no request was sent.
    #[error("{server} refuses the connection: {}", Reason(response))]
    Rejected {
        /// The node's address.
        server: String,
        /// The node's reason.
        response: Box<ErrorResponse>,
    },
    /// The connection ended before the response arrived.
    #[error("{}", lost(server, reason))]
    Lost {
        /// The node's address.
        server: String,
        /// How the connection ended.
        #[source]
        reason: Loss,
        /// True if the node said that it did not execute the request.
        untouched: bool,
    },
    /// No response arrived in time.
    #[error("no answer from {server} in {:.1} s", waited.as_secs_f64())]
    TimedOut {
        /// The node's address.
        server: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// The other side violated the protocol.
    #[error("{server} violates the protocol: {fault}")]
    Protocol {
        /// The node's address.
        server: String,
        /// The violation.
        fault: Fault,
    },
    /// The node answered with an error.
    #[error("{}", Reason(response))]
    Refused {
        /// The node's address.
        server: String,
        /// The node's response.
        response: Box<ErrorResponse>,
    },
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    /// The node had announced that it would close.
    #[error("the node closed the connection: {}", .0.status.name())]
    Goaway(Box<Goaway>),
    /// The operating system reported an error.
    #[error("{}", plain(.0))]
    Io(#[source] io::Error),
}

/// A violation of the protocol by the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The received bytes are not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame is corrupt.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A response or push cannot be decoded.
    #[error("in {}: {error}", sent(*opcode))]
    Decode {
        /// The operation.
        opcode: Opcode,
        /// The reason.
        error: DecodeError,
    },
    /// Records cannot be decoded.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A response belongs to another operation than its request, or is of another kind.
    #[error("{} was answered as another operation", opcode.name())]
    Answer {
        /// The operation of the request.
        opcode: Opcode,
    },
    /// A frame has a critical flag that this version does not know.
    #[error("it sent a frame with a critical flag that this version does not know")]
    Critical,
    /// The first response is not a valid HELLO.
    #[error("its first response is not a valid HELLO")]
    Hello,
    /// A subscription got more bytes than its credit.
    #[error("it sent more records than the credit of the subscription allows")]
    Credit,
    /// The records of a subscription do not follow the previous ones.
    #[error("a subscription continued at offset {found} instead of {expected}")]
    Hole {
        /// The expected offset.
        expected: Offset,
        /// The offset received.
        found: Offset,
    },
    /// Records belong to another topic, or to another epoch of its log, than the subscription.
    #[error("a subscription continued with records of another topic")]
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
    /// Returns a copy, for another request that fails for the same reason. Of an operating system's error, the copy has
    /// only the number, or else the kind.
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

impl Error {
    /// Returns the error for a request of which an earlier attempt may have been executed. What the last attempt says
    /// does not hold for that one.
    pub(crate) fn in_doubt(&self) -> Self {
        if self.may_be_done() {
            return self.again();
        }
        let message =
            format!("an earlier attempt got no answer and may have been executed; the last one failed: {self}");
        let response = Box::new(ErrorResponse::new(Status::OutcomeUnknown, message));
        Self::Refused { server: self.server().unwrap_or_default().to_owned(), response }
    }
}

fn io_again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Describes the frame that a node sends for an operation.
fn sent(opcode: Opcode) -> String {
    let article = if opcode.is_push() { "a" } else { "an answer to" };
    format!("{article} {}", opcode.name())
}

fn unreachable(source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return "it closed the connection without saying HELLO".to_owned();
    }
    plain(source)
}

fn lost(server: &str, reason: &Loss) -> String {
    match reason {
        Loss::Io(error) => format!("the connection to {server} was lost: {}", plain(error)),
        Loss::Goaway(goaway) if goaway.message.is_empty() => {
            format!("{server} closed the connection: {}", goaway.status.name())
        }
        Loss::Goaway(goaway) => {
            format!("{server} closed the connection: {}: {}", goaway.status.name(), goaway.message)
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
