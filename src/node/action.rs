//! The outputs of a node.

use super::lookup::Lookup;
use crate::entry::{CopyTask, LogQuery, Note, Write};
use crate::types::{ConnId, NodeId, RequestId};
use crate::wire::response::Acks;
use crate::wire::{Goaway, Hello, Kept, Push, Response, Route, Status};

/// One output of [`super::Node::handle`].
#[derive(Debug)]
pub enum Action {
    /// Queues a frame for a connection.
    Send {
        /// The connection.
        conn: ConnId,
        /// The frame's request id.
        request_id: RequestId,
        /// The route section; only on links.
        route: Option<Route>,
        /// The content of the frame.
        packet: Packet,
    },
    /// Queues the frame of the event that is being handled for a connection, with another route section and otherwise
    /// unchanged.
    Forward {
        /// The connection.
        conn: ConnId,
        /// The frame's own request id, except for pushes.
        request_id: RequestId,
        /// The route section; only on links.
        route: Option<Route>,
        /// True if the frame may be dropped when much is queued already. The receiver detects the loss.
        droppable: bool,
    },
    /// Queues an encoded frame for a connection. The same frame may go to many.
    SendFrame {
        /// The connection.
        conn: ConnId,
        /// Replaces the frame's own request id.
        request_id: RequestId,
        /// The route section; only on links.
        route: Option<Route>,
        /// The frame.
        frame: Kept,
        /// True if the frame may be dropped when much is queued already. The receiver detects the loss.
        droppable: bool,
    },
    /// Makes something durable, after all earlier writes; [`super::Event::Written`] reports that it is.
    Write {
        /// What becomes durable.
        write: Write,
    },
    /// Reports to the journal the outcomes of the entries that it returned, in their order.
    File {
        /// All outcomes of one event.
        notes: Vec<Note>,
    },
    /// Reads records from the journal; [`super::Event::Read`] has the answer.
    Read {
        /// The query, with the request or subscription that waits for its result.
        lookup: Lookup,
    },
    /// Reads bodies of a group's log from the journal; [`super::Event::Fetched`] has the answer.
    Fetch {
        /// The query.
        query: LogQuery,
    },
    /// Does something for a copy of a group's state; [`super::Event::Copied`] reports it, unless that is to drop it.
    Copy {
        /// What is to be done.
        task: CopyTask,
    },
    /// Connects to a node and drops an earlier attempt.
    Dial {
        /// The node.
        node: NodeId,
    },
    /// Allows larger frames on a connection, once the peer is known.
    Admit {
        /// The connection.
        conn: ConnId,
        /// Maximum size of a whole frame, in bytes.
        frame_max: u32,
        /// High-water mark of the send queue in bytes, above which [`super::Event::Filled`] comes.
        queue_mark: usize,
    },
    /// Suspends reads from a connection, and holds back frames already read.
    Pause {
        /// The connection.
        conn: ConnId,
    },
    /// Resumes reads from a connection.
    Resume {
        /// The connection.
        conn: ConnId,
    },
    /// Closes a connection after sending what is queued. No further events of this connection follow.
    Close {
        /// The connection.
        conn: ConnId,
    },
}

/// The content of a frame that the node itself creates.
#[derive(Clone, Debug)]
pub enum Packet {
    /// HELLO, the first frame of a connection that the node opened.
    Hello(Box<Hello>),
    /// The response to HELLO.
    HelloResponse(Status, Box<Hello>),
    /// GOAWAY, the last frame of a connection.
    Goaway(Box<Goaway>),
    /// PING, which asks the peer for a sign of life.
    Ping,
    /// The response to a request with this opcode.
    Response(u8, Response),
    /// The responses to several PUBLISH requests, each a frame of its own. Their request ids and the origins of their
    /// routes are in it.
    Published(Box<Acks>),
    /// A frame that a subscriber gets without a request.
    Push(Push),
}

impl Packet {
    /// Returns the number of frames.
    pub(super) const fn frames(&self) -> u64 {
        match self {
            Self::Published(acks) => acks.batches.len() as u64,
            Self::Hello(_)
            | Self::HelloResponse(..)
            | Self::Goaway(_)
            | Self::Ping
            | Self::Response(..)
            | Self::Push(_) => 1,
        }
    }

    /// Appends the encoded frame, or the frames, to `out` except for the parts of its payload, which it returns.
    pub fn encode(
        &self,
        request_id: RequestId,
        route: Option<&Route>,
        out: &mut Vec<u8>,
    ) -> Option<&crate::wire::response::Payload> {
        use crate::wire::{Flags, Head, Opcode};
        let head = |opcode: Opcode, flags, status: u8| Head { opcode: opcode.number(), flags, status, request_id };
        match self {
            Self::Hello(hello) => {
                head(Opcode::Hello, Flags::default(), 0).seal(route, (0, 0), out, |args| hello.encode(args, None));
            }
            Self::HelloResponse(status, hello) => {
                let head = head(Opcode::Hello, Flags::RESPONSE, status.number());
                head.seal(route, (0, 0), out, |args| hello.encode(args, Some(hello.instance)));
            }
            Self::Goaway(goaway) => {
                let head = head(Opcode::Goaway, Flags::ONEWAY, goaway.status.number());
                head.seal(route, (0, 0), out, |args| goaway.encode(args));
            }
            Self::Ping => {
                let ping = crate::wire::Request::Ping { node: crate::wire::request::ANY_NODE, token: request_id.0 };
                head(Opcode::Ping, Flags::default(), 0).seal(route, (0, 0), out, |args| ping.encode(args));
            }
            Self::Published(acks) => acks.encode(route, out),
            Self::Push(push) => return push.encode(request_id, route, out),
            Self::Response(opcode, response) => return response.encode(*opcode, request_id, route, out),
        }
        None
    }
}
