//! HELLO: what a new connection begins with.

use std::io;

use super::clock::{Deadline, random};
use super::connection::{Introduction, whole_frame};
use super::error::{Error, Fault};
use super::stream::{Filled, Stream};
use super::tap::{Direction, Tap};
use crate::limits::{FRAME_BEFORE_HELLO_MAX, FRAME_MAX};
use crate::types::{Dimension, NodeId, RequestId};
use crate::wire::frame::VERSION;
use crate::wire::hello::NO_NODE;
use crate::wire::response::ErrorResponse;
use crate::wire::{Flags, Frame, Goaway, Head, Header, Hello, Opcode, Raw, Response, Role};

/// The request id of HELLO; the others follow.
pub(super) const HELLO_ID: RequestId = RequestId(1);

/// What both sides agreed on.
pub(super) struct Agreed {
    pub(super) hello: Hello,
    pub(super) node: NodeId,
    pub(super) dimension: Dimension,
}

/// Sends HELLO and reads the answer.
pub(super) fn greet(
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
    let written = stream.flush(deadline).map_err(failed)?;
    let header = loop {
        if let Some(header) = whole_frame(stream.input(), FRAME_BEFORE_HELLO_MAX).map_err(fault)? {
            break header;
        }
        if !written || stream.fill(deadline).map_err(failed)? == Filled::Nothing {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
    };
    let bytes = &stream.input()[..header.frame_len()];
    if let Some(tap) = tap {
        tap.add(Direction::Received, bytes);
    }
    let agreed = read_hello(&header, bytes);
    stream.consume(header.frame_len());
    agreed.map_err(|error| match error {
        HelloError::Rejected(response) => Error::Rejected { server: server.to_owned(), response },
        HelloError::Fault(found) => fault(found),
    })
}

fn encode_hello(introduction: &Introduction, out: &mut Vec<u8>) {
    let hello = Hello {
        version_min: VERSION,
        version_max: VERSION,
        role: Role::Client,
        dimension: 0,
        node: NO_NODE,
        keepalive_ms: 0,
        max_frame: FRAME_MAX,
        max_inflight: 0,
        features: 0,
        instance: random(),
        cluster: introduction.cluster.clone(),
        software: introduction.software.clone(),
    };
    let head = Head { opcode: Opcode::Hello.number(), flags: Flags::default(), status: 0, request_id: HELLO_ID };
    head.seal(None, (0, 0), out, |args| hello.encode(args, Some(random())));
}

enum HelloError {
    Rejected(Box<ErrorResponse>),
    Fault(Fault),
}

/// Reads the first frame of a node: HELLO, or why not.
fn read_hello(header: &Header, bytes: &[u8]) -> Result<Agreed, HelloError> {
    let point = Dimension::new(0).expect("a cube of one node");
    let frame =
        Frame::parse(*header, Raw::Borrowed(bytes), point).map_err(|error| HelloError::Fault(Fault::Frame(error)))?;
    let args = frame.args().map_err(|error| HelloError::Fault(Fault::Corrupt(error)))?;
    let senseless = || HelloError::Fault(Fault::Hello);
    let rejected = |status, message| {
        let response = ErrorResponse { status, retry_after_ms: 0, message, details: Vec::new() };
        HelloError::Rejected(Box::new(response))
    };
    if header.opcode == Opcode::Goaway.number() {
        let goaway = Goaway::decode(header.status, args).map_err(|_| senseless())?;
        return Err(rejected(goaway.status.number(), goaway.message));
    }
    let is_answer = header.flags.has(Flags::RESPONSE) && header.request_id == HELLO_ID;
    if header.opcode != Opcode::Hello.number() || !is_answer {
        return Err(senseless());
    }
    if header.status >= 0x40 {
        return match Response::decode(Opcode::Hello, header.status, args, &bytes::Bytes::new()) {
            Ok(Response::Error(response)) => Err(HelloError::Rejected(response)),
            Ok(_) | Err(_) => Err(rejected(header.status, String::new())),
        };
    }
    let hello = Hello::decode(args).map_err(|_| senseless())?;
    let dimension = Dimension::new(hello.dimension).ok_or_else(senseless)?;
    let node = NodeId::new(hello.node, dimension).ok_or_else(senseless)?;
    Ok(Agreed { hello, node, dimension })
}
