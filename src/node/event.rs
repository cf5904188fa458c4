//! Everything that can happen to a node.

use super::read::Lookup;
use crate::record::{Entry, Found, Unreadable};
use crate::types::{ConnId, NodeId};
use crate::wire::{Frame, FrameError};

/// One input of [`super::Node::handle`].
#[derive(Debug)]
pub enum Event<'a> {
    /// Somebody connected.
    Accepted {
        /// Their connection.
        conn: ConnId,
    },
    /// A connection that was asked for is there.
    Dialed {
        /// The connection.
        conn: ConnId,
        /// To whom.
        node: NodeId,
    },
    /// A connection that was asked for did not come about.
    DialFailed {
        /// To whom.
        node: NodeId,
    },
    /// A whole frame, its header and route section checked, nothing else.
    Frame {
        /// Where it came in.
        conn: ConnId,
        /// The frame; an [`super::Action::Forward`] of this event means this one.
        frame: &'a Frame<'a>,
    },
    /// Bytes came in that do not end a frame yet.
    Heard {
        /// Where.
        conn: ConnId,
    },
    /// The stream is not, or not any more, frames.
    Broken {
        /// Where.
        conn: ConnId,
        /// Why.
        error: FrameError,
    },
    /// The queue towards a connection passed its mark.
    Filled {
        /// Which.
        conn: ConnId,
    },
    /// The queue towards a connection that was filled has fallen below half of its mark.
    Drained {
        /// Which.
        conn: ConnId,
    },
    /// A frame that could be left out was, because of the queue before it.
    Dropped,
    /// The peer sends nothing more, but may still read.
    Ended {
        /// Which.
        conn: ConnId,
    },
    /// The connection is gone; its id will not be heard of again.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Entries are committed, in the order of their [`super::Action::Append`]s.
    Synced {
        /// The oldest ones that were not given back before; none is left.
        entries: &'a mut Vec<Entry>,
    },
    /// The answer to an [`super::Action::Read`].
    Read {
        /// What was asked, and for whom.
        lookup: Lookup,
        /// What there is of it.
        found: Result<Found, Unreadable>,
    },
    /// Whether the journal has room for more has changed.
    Space {
        /// Has it?
        is_left: bool,
    },
    /// The instant of [`super::Node::next_timeout`] has come.
    Timeout,
    /// The process was asked to end.
    Drain,
}
