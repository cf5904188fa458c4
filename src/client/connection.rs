//! One connection to one node: requests out, answers in, nothing retried.
//!
//! This is the layer below [`Client`](super::Client), for programs that pipeline by themselves: [`Connection::send`]
//! only collects, [`Connection::flush`] writes all of it at once, [`Connection::receive`] gives whichever answer comes
//! next. A node's PING is answered while waiting, in either direction.

use std::io;
use std::time::Duration;

use super::address::Address;
use super::clock::Deadline;
use super::error::{Error, Fault, Loss};
use super::handshake::{self, Agreed};
use super::pending::Pending;
use super::stream::{Filled, Stream};
use super::tap::{Direction, Tap};
use crate::limits::{FRAME_MAX, PAYLOAD_MAX};
use crate::types::{Dimension, NodeId, RequestId};
use crate::wire::response::ErrorResponse;
use crate::wire::{Flags, Frame, Goaway, Head, Header, Hello, Opcode, Raw, Request, Response, Status};

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// Name and version of the program, for people.
    pub software: String,
    /// The cluster that is meant; empty is any.
    pub cluster: String,
    /// Keep a copy of every frame for [`Connection::tapped`]?
    pub tap: bool,
}

/// An answer, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What [`Connection::send`] gave.
    pub id: RequestId,
    /// What the node says.
    pub response: Response,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    server: String,
    hello: Hello,
    node: NodeId,
    dimension: Dimension,
    pending: Pending,
    goaway: Option<Goaway>,
    tap: Option<Tap>,
}

impl Connection {
    /// Connects to a node and agrees with it on the version.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Rejected`], or [`Error::Protocol`] when something else listens there.
    pub fn open(address: &Address, introduction: &Introduction, deadline: Deadline) -> Result<Self, Error> {
        let server = address.to_string();
        let failed = |source| Error::Connect { server: server.clone(), source };
        let mut refused = None;
        for resolved in address.resolve().map_err(failed)? {
            match Stream::connect(&resolved, deadline) {
                Ok(stream) => return Self::greet(stream, server, introduction, deadline),
                Err(error) => refused = Some(error),
            }
        }
        Err(failed(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
    }

    fn greet(
        mut stream: Stream,
        server: String,
        introduction: &Introduction,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let mut tap = introduction.tap.then(Tap::default);
        let Agreed { hello, node, dimension } =
            handshake::greet(&mut stream, &server, introduction, deadline, &mut tap)?;
        let pending = Pending::new(handshake::HELLO_ID.0 + 1);
        Ok(Self { stream, server, hello, node, dimension, pending, goaway: None, tap })
    }

    /// The address that was given to [`Self::open`].
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What the node said of itself.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The node at the other end.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The dimension of its cube.
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// Requests that are sent, or collected to be, and not answered.
    pub const fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Has the node said that it will close? Then nothing new should be sent on this connection.
    pub const fn is_closing(&self) -> bool {
        self.goaway.is_some()
    }

    /// Did the node say that it did not and will not act on this request?
    pub fn is_untouched(&self, id: RequestId) -> bool {
        self.goaway.as_ref().is_some_and(|goaway| id.0 > goaway.last_request_id)
    }

    /// Collects a request, to be written by the next [`Self::flush`] or [`Self::receive`].
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`].
    pub fn send(&mut self, request: &Request<'_>, payload: &[u8]) -> Result<RequestId, Error> {
        if payload.len() > PAYLOAD_MAX as usize {
            return Err(Error::BatchTooLarge { bytes: payload.len(), bytes_max: PAYLOAD_MAX as usize });
        }
        let opcode = request.opcode();
        let request_id = self.pending.insert(opcode);
        let head = Head { opcode: opcode.number(), flags: Flags::default(), status: 0, request_id };
        let out = self.stream.output();
        let start = out.len();
        head.seal(None, (payload.len(), crc32fast::hash(payload)), out, |args| request.encode(args));
        out.extend_from_slice(payload);
        if let Some(tap) = &mut self.tap {
            tap.add(Direction::Sent, &out[start..]);
        }
        Ok(request_id)
    }

    /// No answer to this request is wanted any more; one that comes late is passed over.
    pub fn abandon(&mut self, id: RequestId) {
        self.pending.remove(id);
    }

    /// Writes what was collected, and takes in what comes meanwhile. `false` when the deadline came first; then what
    /// is left is written by the next call.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn flush(&mut self, deadline: Deadline) -> Result<bool, Error> {
        self.stream.flush(deadline).map_err(|error| self.lost(error))
    }

    /// Writes what was collected and gives the next answer, in whatever order the node answers; `None` when none
    /// came by the deadline.
    ///
    /// # Errors
    /// [`Error::Lost`] when the connection ended and all answers that came were given; [`Error::Protocol`].
    pub fn receive(&mut self, deadline: Deadline) -> Result<Option<Answer>, Error> {
        loop {
            while let Some(header) = self.buffered_frame()? {
                let answer = self.on_frame(header)?;
                if answer.is_some() {
                    return Ok(answer);
                }
            }
            if let Some(goaway) = &self.goaway
                && !self.pending.any_up_to(RequestId(goaway.last_request_id))
            {
                return Err(self.lost(io::ErrorKind::ConnectionAborted.into()));
            }
            if !self.flush(deadline)? {
                return Ok(None);
            }
            if self.stream.fill(deadline).map_err(|error| self.lost(error))? == Filled::Nothing {
                return Ok(None);
            }
        }
    }

    /// Answers PING and takes in what comes, for as long, while nothing is requested. What answers come stay for
    /// [`Self::receive`].
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn idle(&mut self, time: Duration) -> Result<(), Error> {
        assert_eq!(self.pending.len(), 0, "idle is for connections without requests");
        let deadline = if time.is_zero() { Deadline::at_once() } else { Deadline::after(time) };
        // Without requests no frame is an answer, so this waits out the time.
        self.receive(deadline).map(|_| ())
    }

    /// The frames that went either way since the last call, if [`Introduction::tap`] asked for them.
    pub fn tapped(&mut self) -> Vec<(Direction, Vec<u8>)> {
        self.tap.as_mut().map(Tap::take).unwrap_or_default()
    }

    fn buffered_frame(&self) -> Result<Option<Header>, Error> {
        let frame_max = self.hello.max_frame.min(FRAME_MAX);
        whole_frame(self.stream.input(), frame_max).map_err(|fault| self.fault(fault))
    }

    /// Takes the frame at the start of the input; gives it if it is an answer that is waited for.
    fn on_frame(&mut self, header: Header) -> Result<Option<Answer>, Error> {
        let bytes = &self.stream.input()[..header.frame_len()];
        if let Some(tap) = &mut self.tap {
            tap.add(Direction::Received, bytes);
        }
        let taken = read_frame(header, bytes, &mut self.pending);
        self.stream.consume(header.frame_len());
        match taken.map_err(|fault| self.fault(fault))? {
            Taken::Answer(answer) => return Ok(Some(answer)),
            Taken::Goaway(goaway) => self.goaway = Some(goaway),
            Taken::Reply(response) => {
                let out = self.stream.output();
                let start = out.len();
                response.encode(header.opcode, header.request_id, None, out);
                if let Some(tap) = &mut self.tap {
                    tap.add(Direction::Sent, &out[start..]);
                }
            }
            Taken::Nothing => {}
        }
        Ok(None)
    }

    fn fault(&self, fault: Fault) -> Error {
        Error::Protocol { server: self.server.clone(), fault }
    }

    fn lost(&self, error: io::Error) -> Error {
        let reason = match &self.goaway {
            Some(goaway) => Loss::Goaway(Box::new(goaway.clone())),
            None => Loss::Io(error),
        };
        Error::Lost { server: self.server.clone(), reason, untouched: false }
    }
}

/// What a frame was.
enum Taken {
    Answer(Answer),
    Goaway(Goaway),
    /// A request of the node's, and what to answer.
    Reply(Response),
    /// One-way, or an answer that nobody waits for any more.
    Nothing,
}

/// The header of the frame at the start of `input`, when all of the frame is there.
pub(super) fn whole_frame(input: &[u8], frame_max: u32) -> Result<Option<Header>, Fault> {
    let header = Header::parse(input, frame_max).map_err(Fault::Frame)?;
    Ok(header.filter(|header| header.frame_len() <= input.len()))
}

fn read_frame(header: Header, bytes: &[u8], pending: &mut Pending) -> Result<Taken, Fault> {
    // No route section comes to a client, so the dimension that would check one does not matter.
    let point = Dimension::new(0).expect("a cube of one node");
    let frame = Frame::parse(header, Raw::Borrowed(bytes), point).map_err(Fault::Frame)?;
    if header.flags.has(Flags::RESPONSE) {
        let Some(opcode) = pending.remove(header.request_id) else { return Ok(Taken::Nothing) };
        if header.opcode != opcode.number() {
            return Err(Fault::Answer { opcode });
        }
        let args = frame.args().map_err(Fault::Corrupt)?;
        let payload = frame.keep_payload().map_err(Fault::Corrupt)?;
        let response =
            Response::decode(opcode, header.status, args, &payload).map_err(|error| Fault::Decode { opcode, error })?;
        return Ok(Taken::Answer(Answer { id: header.request_id, response }));
    }
    match Opcode::from_number(header.opcode) {
        Some(Opcode::Goaway) => {
            let args = frame.args().map_err(Fault::Corrupt)?;
            let decode = |error| Fault::Decode { opcode: Opcode::Goaway, error };
            Goaway::decode(header.status, args).map(Taken::Goaway).map_err(decode)
        }
        _ if header.flags.has(Flags::ONEWAY) => Ok(Taken::Nothing),
        Some(Opcode::Ping) => match Request::decode(Opcode::Ping, frame.args().map_err(Fault::Corrupt)?) {
            Ok(Request::Ping { node, token }) => Ok(Taken::Reply(Response::Ping { node, token })),
            Ok(_) => unreachable!("PING is decoded as PING"),
            Err(error) => Err(Fault::Decode { opcode: Opcode::Ping, error }),
        },
        _ => Ok(Taken::Reply(Response::Error(Box::new(ErrorResponse {
            status: Status::UnknownOpcode.number(),
            retry_after_ms: 0,
            message: "this is a client; it answers PING only".to_owned(),
            details: Vec::new(),
        })))),
    }
}
