//! The inputs of a node.

use std::io;

use super::lookup::Lookup;
use crate::entry::{CopyDone, Found, LogPart, LogQuery, Room, Unreadable, Written};
use crate::types::{ConnId, NodeId, Source};
use crate::wire::{Frame, FrameError};

/// One input of [`super::Node::handle`].
#[derive(Debug)]
pub enum Event<'a> {
    /// A peer has connected.
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// Where it comes from.
        source: Source,
    },
    /// A requested connection is established.
    Dialed {
        /// The connection.
        conn: ConnId,
        /// The node at its other end.
        node: NodeId,
    },
    /// A requested connection could not be established.
    DialFailed {
        /// The node that was dialled.
        node: NodeId,
    },
    /// A complete frame has arrived. Only its header and route section have been verified.
    Frame {
        /// The connection that it arrived on.
        conn: ConnId,
        /// The frame, which an [`super::Action::Forward`] of this event refers to.
        frame: &'a Frame<'a>,
    },
    /// Bytes have arrived that do not yet complete a frame.
    Heard {
        /// The connection.
        conn: ConnId,
    },
    /// The received bytes cannot be parsed as frames.
    Broken {
        /// The connection.
        conn: ConnId,
        /// The reason.
        error: FrameError,
    },
    /// The send queue of a connection has risen above its high-water mark.
    Filled {
        /// The connection.
        conn: ConnId,
    },
    /// A send queue that was above its high-water mark has fallen below half of it.
    Drained {
        /// The connection.
        conn: ConnId,
    },
    /// After a write, so many bytes are left in the send queue of a connection. This is reported whenever it differs
    /// from the last report; before the first report it is 0.
    Unsent {
        /// The connection.
        conn: ConnId,
        /// The number of bytes.
        bytes: usize,
    },
    /// A droppable frame was dropped because its send queue had more than [`PUSH_QUEUE_MAX`] bytes.
    ///
    /// [`PUSH_QUEUE_MAX`]: crate::limits::PUSH_QUEUE_MAX
    Dropped,
    /// A request of a client that is gone was not executed, because it would have changed nothing.
    Abandoned,
    /// The peer has closed its sending side, but may still read.
    Ended {
        /// The connection.
        conn: ConnId,
    },
    /// A connection failed and is closed. Its id will not occur again.
    Closed {
        /// The connection.
        conn: ConnId,
        /// The error of its socket, for the log.
        cause: io::ErrorKind,
    },
    /// The turn is over: what was proposed in it is added to the log.
    TurnOver,
    /// The store has done an [`super::Action::Write`].
    Written {
        /// The oldest one of its group that was not reported before.
        written: Written,
    },
    /// [`super::Node::has_committed`] is true, so a body is to be applied.
    Committed,
    /// The answer to an [`super::Action::Read`].
    Read {
        /// The query, with the request or subscription that waits for its result.
        lookup: Lookup,
        /// The answer, or the reason why the journal cannot give one.
        found: Result<Found, Unreadable>,
    },
    /// The answer to an [`super::Action::Fetch`].
    Fetched {
        /// The query.
        query: LogQuery,
        /// The answer, or the reason why the journal cannot give one.
        part: Result<LogPart, Unreadable>,
    },
    /// The store has done an [`super::Action::Copy`], or has failed to.
    Copied {
        /// The oldest one that was not reported before.
        done: CopyDone,
    },
    /// The log has another amount of room than [`super::Node::room`] says.
    Space {
        /// The amount.
        room: Room,
    },
    /// The time of [`super::Node::next_timeout`] has come.
    Timeout,
    /// The process was asked to exit, so the node begins to drain.
    Drain,
}
