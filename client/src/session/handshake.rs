//! The handshake of a new connection: HELLO and its response.

use std::io;
use std::time::Duration;

use dht_protocol::limits::FRAME_BEFORE_HELLO_MAX;
use dht_protocol::types::{Dimension, NodeId, RequestId};
use dht_protocol::wire::response::ErrorResponse;
use dht_protocol::wire::{Class, Flags, Frame, Goaway, Head, Header, Hello, Opcode, Raw};

use crate::clock::{Deadline, random};
use crate::connection::Introduction;
use crate::error::{Error, Fault};
use crate::session::incoming::whole_frame;
use crate::session::tap::{Direction, Tap};
use crate::stream::{Filled, Stream};

/// The request id of HELLO; those of further requests are higher.
pub(crate) const HELLO_ID: RequestId = RequestId(1);

/// The result of the handshake.
pub(crate) struct Agreed {
    pub(crate) hello: Hello,
    pub(crate) node: NodeId,
    pub(crate) dimension: Dimension,
}

/// Sends HELLO and reads the response.
pub(crate) fn greet(
    stream: &mut Stream,
    server: &str,
    introduction: &Introduction,
    deadline: Deadline,
    tap: &mut Option<Tap>,
) -> Result<Agreed, Error> {
    let failed = |source| Error::Connect { server: server.to_owned(), source };
    let fault = |fault| Error::Protocol { server: server.to_owned(), fault };
    let out = stream.output();
    encode_hello(introduction, out);
    if let Some(tap) = tap {
        tap.add(Direction::Sent, out);
    }
    if !stream.flush(deadline).map_err(failed)? {
        return Err(failed(io::ErrorKind::TimedOut.into()));
    }
    let Some(bytes) = next_frame(stream, deadline, tap).map_err(|error| error.of(server))? else {
        return Err(failed(io::ErrorKind::TimedOut.into()));
    };
    let status = match read_hello(&bytes).map_err(fault)? {
        First::Agreed(agreed) => return Ok(agreed),
        First::Goaway(goaway) => return Err(rejected(server, goaway.status.number(), goaway.message)),
        First::Refused(status) => status,
    };
    // The reason for a refusal is in the GOAWAY after it.
    let reason = next_frame(stream, deadline.within(REASON_PATIENCE), tap).ok().flatten();
    let goaway = reason.and_then(|bytes| match read_hello(&bytes) {
        Ok(First::Goaway(goaway)) => Some(goaway.message),
        Ok(First::Agreed(_) | First::Refused(_)) | Err(_) => None,
    });
    Err(rejected(server, status, goaway.unwrap_or_default()))
}

/// How long to wait for the GOAWAY with the reason for a refusal.
const REASON_PATIENCE: Duration = Duration::from_millis(500);

fn rejected(server: &str, status: u8, message: String) -> Error {
    let response = Box::new(ErrorResponse { status, retry_after_ms: 0, message, details: Vec::new() });
    Error::Rejected { server: server.to_owned(), response }
}

/// The reason why no frame could be read.
enum NoFrame {
    Fault(Fault),
    Io(io::Error),
}

impl NoFrame {
    fn of(self, server: &str) -> Error {
        match self {
            Self::Fault(fault) => Error::Protocol { server: server.to_owned(), fault },
            Self::Io(source) => Error::Connect { server: server.to_owned(), source },
        }
    }
}

/// Reads a frame; `None` if none arrived in time.
fn next_frame(stream: &mut Stream, deadline: Deadline, tap: &mut Option<Tap>) -> Result<Option<Vec<u8>>, NoFrame> {
    let header = loop {
        if let Some(header) = whole_frame(stream.input(), FRAME_BEFORE_HELLO_MAX).map_err(NoFrame::Fault)? {
            break header;
        }
        if stream.fill(deadline).map_err(NoFrame::Io)? == Filled::Nothing {
            return Ok(None);
        }
    };
    let bytes = stream.input()[..header.frame_len()].to_vec();
    stream.consume(bytes.len());
    if let Some(tap) = tap {
        tap.add(Direction::Received, &bytes);
    }
    Ok(Some(bytes))
}

fn encode_hello(introduction: &Introduction, out: &mut Vec<u8>) {
    let cluster = introduction.cluster.clone();
    let hello = Hello { cluster, features: Hello::NOTICES, ..Hello::of_client(random(), &introduction.software) };
    let head = Head { opcode: Opcode::Hello.number(), flags: Flags::default(), status: 0, request_id: HELLO_ID };
    head.seal(None, (0, 0), out, |args| hello.encode(args, Some(random())));
}

/// The first frame from a node.
enum First {
    Agreed(Agreed),
    /// A refusal with this status. Its args are those of HELLO too.
    Refused(u8),
    Goaway(Goaway),
}

fn read_hello(bytes: &[u8]) -> Result<First, Fault> {
    let header = Header::parse(bytes, FRAME_BEFORE_HELLO_MAX).map_err(Fault::Frame)?.ok_or(Fault::Hello)?;
    let point = Dimension::new(0).expect("a cube of one node");
    let frame = Frame::parse(header, Raw::Borrowed(bytes), point).map_err(Fault::Frame)?;
    if header.flags.any(Flags::CRITICAL) {
        return Err(Fault::Critical);
    }
    let args = frame.args().map_err(Fault::Corrupt)?;
    if header.opcode == Opcode::Goaway.number() {
        return Goaway::decode(header.status, args).map(First::Goaway).map_err(|_| Fault::Hello);
    }
    let is_answer = header.flags.has(Flags::RESPONSE) && header.request_id == HELLO_ID;
    if header.opcode != Opcode::Hello.number() || !is_answer {
        return Err(Fault::Hello);
    }
    if Class::of(header.status) != Class::Success {
        return Ok(First::Refused(header.status));
    }
    let hello = Hello::decode(args).map_err(|_| Fault::Hello)?;
    let dimension = Dimension::new(hello.dimension).ok_or(Fault::Hello)?;
    let node = NodeId::new(hello.node, dimension).ok_or(Fault::Hello)?;
    Ok(First::Agreed(Agreed { hello, node, dimension }))
}
