//! The handshake of a new connection: HELLO and its response.

use std::io;
use std::time::{Duration, Instant};

use dht_protocol::limits::FRAME_BEFORE_HELLO_MAX;
use dht_protocol::types::{Dimension, NodeId, RequestId};
use dht_protocol::wire::response::ErrorResponse;
use dht_protocol::wire::{Class, Flags, Frame, Goaway, Head, Header, Hello, Opcode, Raw};
use fastrand::Rng;

use crate::error::{Error, Fault};
use crate::session::buffers::Buffers;
use crate::session::channel::Channel;
use crate::session::deadline::Deadline;
use crate::session::incoming::whole_frame;

/// The request id of HELLO; those of further requests are higher.
pub(crate) const HELLO_ID: RequestId = RequestId(1);

/// How long to wait for the GOAWAY with the reason for a refusal.
const REASON_PATIENCE: Duration = Duration::from_millis(500);

/// What a client states about itself in HELLO.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// Name and version of the program, for the operators of the cluster.
    pub software: String,
    /// The expected cluster; an empty name accepts any.
    pub cluster: String,
    /// True to keep a copy of every frame for [`Connection::tapped`](crate::Connection::tapped).
    pub tap: bool,
}

/// The result of the handshake.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    pub(crate) hello: Hello,
    pub(crate) node: NodeId,
    pub(crate) dimension: Dimension,
}

/// A connection whose HELLO is unanswered.
#[derive(Debug)]
pub(crate) struct Greeting {
    server: String,
    bytes: Buffers,
    random: Rng,
    refused: Option<Refused>,
}

/// The status of a refusal, and the deadline for the GOAWAY that follows and states the reason.
#[derive(Debug)]
struct Refused {
    status: u8,
    until: Deadline,
}

impl Greeting {
    /// Returns the state of a connection that was just made, with HELLO as its output. `server` names the node in
    /// errors.
    pub(crate) fn new(server: String, introduction: &Introduction, seed: u64, now: Instant) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut bytes = Buffers::new(introduction.tap, now);
        bytes.send(|out| encode_hello(introduction, &mut random, out));
        Self { server, bytes, random, refused: None }
    }

    /// Returns the bytes of the connection.
    pub(crate) const fn bytes(&mut self) -> &mut Buffers {
        &mut self.bytes
    }

    /// Returns the time at which to call [`Self::poll`] although nothing has arrived.
    pub(crate) fn wake_at(&self) -> Deadline {
        self.refused.as_ref().map_or(Deadline::NEVER, |refused| refused.until)
    }

    /// Handles received bytes. Returns the agreed settings once the node has accepted the connection.
    ///
    /// # Errors
    /// Returns [`Error::Connect`], [`Error::Rejected`], or [`Error::Protocol`] if the server is not a node.
    pub(crate) fn poll(&mut self, now: Instant) -> Result<Option<Agreed>, Error> {
        loop {
            let read = self.read();
            if let Some(refused) = &self.refused {
                let message = match read {
                    Ok(Some(First::Goaway(goaway))) => goaway.message,
                    Ok(None) if !refused.until.has_passed(now) => return Ok(None),
                    Ok(_) | Err(_) => String::new(),
                };
                return Err(self.rejected(refused.status, message));
            }
            match read? {
                None => return Ok(None),
                Some(First::Agreed(agreed)) => return Ok(Some(agreed)),
                Some(First::Goaway(goaway)) => return Err(self.rejected(goaway.status.number(), goaway.message)),
                Some(First::Refused(status)) => {
                    self.refused = Some(Refused { status, until: Deadline::at(now, REASON_PATIENCE) });
                }
            }
        }
    }

    /// Returns the error if the handshake takes too long.
    pub(crate) fn give_up(&self) -> Error {
        match &self.refused {
            Some(refused) => self.rejected(refused.status, String::new()),
            None => self.failed(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Returns the open connection.
    pub(crate) fn open(self, agreed: Agreed, now: Instant) -> Channel {
        Channel::new(self.server, self.bytes, agreed, self.random, now)
    }

    /// Reads a frame; `None` if none has arrived yet.
    fn read(&mut self) -> Result<Option<First>, Error> {
        let fault = |fault| Error::Protocol { server: self.server.clone(), fault };
        let Some(header) = whole_frame(self.bytes.input(), FRAME_BEFORE_HELLO_MAX).map_err(fault)? else {
            return self.bytes.take_end().map_or(Ok(None), |error| Err(self.failed(error)));
        };
        let first = read_first(header, &self.bytes.input()[..header.frame_len()]).map_err(fault);
        self.bytes.consume(header.frame_len());
        first.map(Some)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Connect { server: self.server.clone(), source }
    }

    fn rejected(&self, status: u8, message: String) -> Error {
        let response = Box::new(ErrorResponse { status, retry_after_ms: 0, message, details: Vec::new() });
        Error::Rejected { server: self.server.clone(), response }
    }
}

fn encode_hello(introduction: &Introduction, random: &mut Rng, out: &mut Vec<u8>) {
    let cluster = introduction.cluster.clone();
    let instance = random.u64(..);
    let hello = Hello { cluster, features: Hello::NOTICES, ..Hello::of_client(instance, &introduction.software) };
    let head = Head { opcode: Opcode::Hello.number(), flags: Flags::default(), status: 0, request_id: HELLO_ID };
    head.seal(None, (0, 0), out, |args| hello.encode(args, Some(random.u64(..))));
}

/// The first frame from a node.
enum First {
    Agreed(Agreed),
    /// A refusal with this status; its args are those of a HELLO as well.
    Refused(u8),
    Goaway(Goaway),
}

fn read_first(header: Header, bytes: &[u8]) -> Result<First, Fault> {
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
