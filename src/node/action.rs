//! Everything that a node can ask for.

use super::read::Lookup;
use crate::record::{Entry, Note};
use crate::types::{ConnId, NodeId, RequestId};
use crate::wire::{Goaway, Hello, Kept, Push, Response, Route, Status};

/// One output of [`super::Node::handle`].
#[derive(Debug)]
pub enum Action {
    /// Put a frame into a connection's queue.
    Send {
        /// Where.
        conn: ConnId,
        /// The frame's.
        request_id: RequestId,
        /// Only on links.
        route: Option<Route>,
        /// What it says.
        packet: Packet,
    },
    /// Put the frame of the event that is being handled into a connection's queue, with another route section and
    /// nothing else changed.
    Forward {
        /// Where.
        conn: ConnId,
        /// The frame's own, but for pushes.
        request_id: RequestId,
        /// Only on links.
        route: Option<Route>,
        /// Leave it out when the queue is long: whoever misses it notices.
        droppable: bool,
    },
    /// Put a frame that was encoded before into a connection's queue: the same one may go to many.
    SendFrame {
        /// Where.
        conn: ConnId,
        /// In place of the frame's own.
        request_id: RequestId,
        /// Only on links.
        route: Option<Route>,
        /// The frame.
        frame: Kept,
        /// Leave it out when the queue is long: whoever misses it notices.
        droppable: bool,
    },
    /// Put an entry at the end of the log; [`super::Event::Synced`] gives it back.
    Append {
        /// The proposal.
        entry: Entry,
    },
    /// Tell the journal what became of the entries that it gave back, in their order.
    File {
        /// All of one event.
        notes: Vec<Note>,
    },
    /// Ask the journal for records; [`super::Event::Read`] has the answer.
    Read {
        /// What is asked, and for whom.
        lookup: Lookup,
    },
    /// Connect to a node; an attempt that is under way is dropped.
    Dial {
        /// To whom.
        node: NodeId,
    },
    /// From now on this connection carries frames of up to so many bytes.
    Admit {
        /// Which.
        conn: ConnId,
        /// Most bytes of a whole frame.
        frame_max: u32,
        /// Unsent bytes at which [`super::Event::Filled`] comes.
        queue_mark: usize,
    },
    /// Stop handing in frames of this connection, and reading it.
    Pause {
        /// Which.
        conn: ConnId,
    },
    /// Go on reading it.
    Resume {
        /// Which.
        conn: ConnId,
    },
    /// Send what is queued, then close; no further event of this connection comes.
    Close {
        /// Which.
        conn: ConnId,
    },
}

/// What a node says of its own.
#[derive(Clone, Debug)]
pub enum Packet {
    /// The first frame of a connection that it made.
    Hello(Box<Hello>),
    /// The answer to HELLO.
    HelloResponse(Status, Box<Hello>),
    /// The last frame of a connection.
    Goaway(Box<Goaway>),
    /// Is somebody there?
    Ping,
    /// The answer to a request of that opcode.
    Response(u8, Response),
    /// Something that a subscriber gets unasked.
    Push(Push),
}

impl Packet {
    /// Writes the frame to the end of `out`, but for the parts of a payload, which are given back.
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
            Self::Push(push) => return push.encode(request_id, route, out),
            Self::Response(opcode, response) => return response.encode(*opcode, request_id, route, out),
        }
        None
    }
}
