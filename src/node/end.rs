//! Why connections end. The reasons are for the log: what follows from an end does not depend on them.

use std::fmt;
use std::io;

use crate::wire::{FrameError, Status};

/// Why a connection ended. Its [`fmt::Display`] completes the line "link to 011 is down: …".
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    /// The peer closed its sending side or sent GOAWAY, and nothing that it had asked for is outstanding.
    ClosedByPeer,
    /// The connection failed.
    Failed(io::ErrorKind),
    /// The peer sent GOAWAY with this status and message.
    Goaway(Status, &'a str),
    /// This node sent GOAWAY with this status and message.
    Refused(Status, &'a str),
    /// The peer sent bytes of another protocol.
    Garbled(FrameError),
    /// The peer refused this node's HELLO; `None` for a status that this version does not know.
    HelloRefused(Option<Status>),
    /// The dialled node did not answer HELLO in time.
    Unanswered,
    /// It was opened during a stall of this node.
    Stale,
    /// The neighbour uses another connection now.
    Replaced,
    /// This node is shutting down.
    ShuttingDown,
}

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByPeer => f.write_str("closed by the other side"),
            Self::Failed(kind) => write!(f, "{kind}"),
            Self::Goaway(status, message) => write!(f, "the other side sent GOAWAY {}: {message}", status.name()),
            Self::Refused(status, message) => write!(f, "{}: {message}", status.name()),
            Self::Garbled(error) => write!(f, "{error}"),
            Self::HelloRefused(status) => {
                write!(f, "HELLO was refused with {}", status.map_or("an unknown status", Status::name))
            }
            Self::Unanswered => f.write_str("no answer to HELLO"),
            Self::Stale => f.write_str("opened while this node was stalled"),
            Self::Replaced => f.write_str("replaced by a newer connection from the same node"),
            Self::ShuttingDown => f.write_str("this node is shutting down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_completes_a_line_of_the_log() {
        let cases = [
            (End::ClosedByPeer, "closed by the other side"),
            (End::Failed(io::ErrorKind::ConnectionReset), "connection reset"),
            (End::Goaway(Status::Closing, "bye"), "the other side sent GOAWAY CLOSING: bye"),
            (End::Refused(Status::KeepaliveTimeout, "silent"), "KEEPALIVE_TIMEOUT: silent"),
            (End::HelloRefused(Some(Status::DuplicateNode)), "HELLO was refused with DUPLICATE_NODE"),
            (End::HelloRefused(None), "HELLO was refused with an unknown status"),
        ];
        for (end, expected) in cases {
            assert_eq!(end.to_string(), expected);
        }
    }
}
