//! A socket that sends arbitrary bytes, and decodes the node's frames.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use dht_client::Deadline;
use dht_node::limits::{FRAME_MAX, LINK_FRAME_EXTRA};
use dht_node::types::{Dimension, RequestId};
use dht_node::wire::request::ANY_NODE;
use dht_node::wire::response::ErrorResponse;
use dht_node::wire::{Flags, Frame, Goaway, Head, Header, Hello, Opcode, Push, Request, Response, Status};
use socket2::{Domain, Socket, Type};

use crate::daemon::PATIENCE;

/// Number of consumed bytes at which they are removed from the input.
const INPUT_SPENT_MAX: usize = 1 << 20;

/// A connection.
pub(crate) struct Raw {
    socket: TcpStream,
    input: Vec<u8>,
    /// Number of consumed bytes of `input`.
    taken: usize,
    last_id: u64,
    /// Responses that arrived before the expected one.
    early: BTreeMap<u64, Received>,
}

/// The result of a read.
#[derive(Debug)]
pub(crate) enum Got {
    /// A frame.
    Frame(Received),
    /// The node has closed its sending direction.
    End,
    /// The connection was reset.
    Reset,
    /// Nothing arrived in time.
    Nothing,
}

/// A frame with a validated header.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) header: Header,
    bytes: Bytes,
}

impl Raw {
    /// Connects and sends nothing.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE).unwrap())
    }

    /// Connects from this address of the machine and sends nothing.
    pub(crate) fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&address.into(), PATIENCE).unwrap();
        Self::over(socket.into())
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, input: Vec::new(), taken: 0, last_id: 1, early: BTreeMap::new() }
    }

    /// Connects and sends HELLO as a client.
    pub(crate) fn greet(address: SocketAddr) -> Self {
        Self::greet_as(address, &client_hello())
    }

    /// Connects and sends this HELLO, which the node must accept.
    pub(crate) fn greet_as(address: SocketAddr, hello: &Hello) -> Self {
        let mut raw = Self::connect(address);
        raw.send(&hello_frame(hello));
        let answer = raw.frame();
        assert_eq!((answer.header.opcode, answer.header.status), (Opcode::Hello.number(), Status::Ok.number()));
        raw
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends bytes to a node that may have closed the connection.
    pub(crate) fn send_in_vain(&mut self, bytes: &[u8]) {
        if let Err(error) = self.socket.write_all(bytes) {
            let is_gone = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
            assert!(is_gone, "{error}");
        }
    }

    /// Closes the sending direction.
    pub(crate) fn finish(&self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Returns an unused request id.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a request and waits for its response.
    pub(crate) fn call(&mut self, request: &Request<'_>, payload: &[u8]) -> Response {
        let id = self.next_id();
        self.send(&request_frame(id, request, payload));
        self.answer(id)
    }

    /// Waits for the response to a request; responses to others may arrive before it.
    pub(crate) fn answer(&mut self, id: u64) -> Response {
        while !self.early.contains_key(&id) {
            let frame = self.frame();
            if frame.header.opcode == Opcode::Ping.number() && !frame.header.flags.has(Flags::RESPONSE) {
                continue; // the node checks whether this silent client is alive
            }
            assert!(frame.header.flags.has(Flags::RESPONSE), "{frame:?} while waiting for the answer to {id}");
            self.early.insert(frame.header.request_id.0, frame);
        }
        self.early.remove(&id).unwrap().response()
    }

    /// Checks that the node still answers on this connection.
    pub(crate) fn ping(&mut self) {
        let token = self.last_id;
        match self.call(&Request::Ping { node: ANY_NODE, token }, &[]) {
            Response::Ping { token: echoed, .. } => assert_eq!(echoed, token),
            other => panic!("{other:?} is not a response to PING"),
        }
    }

    /// Returns the next frame.
    pub(crate) fn frame(&mut self) -> Received {
        match self.next(PATIENCE) {
            Got::Frame(frame) => frame,
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    /// Returns the next frame, which must belong to a subscription. The node may send PING before it.
    pub(crate) fn pushed(&mut self) -> (u64, Push) {
        loop {
            let frame = self.frame();
            if frame.header.opcode != Opcode::Ping.number() {
                return (frame.header.request_id.0, frame.push());
            }
        }
    }

    /// Expects GOAWAY as the last frame, and returns its status.
    pub(crate) fn goaway(&mut self) -> Status {
        let goaway = self.frame().goaway();
        assert!(!goaway.message.is_empty(), "{goaway:?} has no message");
        self.end();
        goaway.status
    }

    /// Expects the node to close the connection without another frame.
    pub(crate) fn end(&mut self) {
        let got = self.next(PATIENCE);
        assert!(matches!(got, Got::End), "expected the end of the connection, got {got:?}");
    }

    /// Reads up to the next frame, the end, or the timeout.
    pub(crate) fn next(&mut self, patience: Duration) -> Got {
        let deadline = Deadline::after(patience);
        loop {
            if let Some(frame) = self.buffered() {
                return Got::Frame(frame);
            }
            let Some(left) = deadline.remaining().filter(|left| !left.is_zero()) else { return Got::Nothing };
            self.socket.set_read_timeout(Some(left)).unwrap();
            let filled = self.input.len();
            self.input.resize(filled + (64 << 10), 0);
            let read = self.socket.read(&mut self.input[filled..]);
            self.input.truncate(filled + read.as_ref().map_or(0, |count| *count));
            match read {
                Ok(0) => return Got::End,
                Ok(_) => {}
                Err(error) if is_wait(error.kind()) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Got::Reset,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Returns all frames up to the end of the connection, by request id.
    pub(crate) fn frames_to_end(&mut self) -> BTreeMap<u64, Received> {
        let mut frames = BTreeMap::new();
        loop {
            match self.next(PATIENCE) {
                Got::Frame(frame) => {
                    let id = frame.header.request_id.0;
                    assert!(frames.insert(id, frame).is_none(), "two frames for request {id}");
                }
                Got::End => return frames,
                other => panic!("{other:?} after {} frames", frames.len()),
            }
        }
    }

    fn buffered(&mut self) -> Option<Received> {
        let input = &self.input[self.taken..];
        let header = Header::parse(input, FRAME_MAX + LINK_FRAME_EXTRA).expect("a node sends frames")?;
        let bytes = Bytes::copy_from_slice(input.get(..header.frame_len())?);
        self.taken += bytes.len();
        if self.taken == self.input.len() || self.taken > INPUT_SPENT_MAX {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        Some(Received { header, bytes })
    }
}

impl Received {
    /// Decodes the frame as a response.
    pub(crate) fn response(&self) -> Response {
        assert!(self.header.flags.has(Flags::RESPONSE), "{self:?}");
        let frame = self.parsed();
        let opcode = Opcode::from_number(self.header.opcode).unwrap_or(Opcode::Ping);
        Response::decode(opcode, self.header.status, frame.args().unwrap(), &frame.keep_payload().unwrap()).unwrap()
    }

    /// Decodes the frame as an error response.
    pub(crate) fn error(&self) -> (Status, ErrorResponse) {
        match self.response() {
            Response::Error(error) => (Status::from_number(error.status).unwrap(), *error),
            other => panic!("{other:?} is not an error"),
        }
    }

    /// Decodes the frame as a push.
    pub(crate) fn push(&self) -> Push {
        assert_eq!(self.header.flags, Flags::ONEWAY, "{self:?}");
        let (frame, opcode) = (self.parsed(), Opcode::from_number(self.header.opcode));
        let (args, payload) = (frame.args().unwrap(), frame.keep_payload().unwrap());
        Push::decode(opcode.unwrap(), self.header.status, args, &payload).unwrap()
    }

    pub(crate) fn goaway(&self) -> Goaway {
        assert_eq!(self.header.opcode, Opcode::Goaway.number(), "{self:?}");
        Goaway::decode(self.header.status, self.parsed().args().unwrap()).unwrap()
    }

    pub(crate) fn hello(&self) -> (Status, Hello) {
        assert_eq!(self.header.opcode, Opcode::Hello.number(), "{self:?}");
        let hello = Hello::decode(self.parsed().args().unwrap()).unwrap();
        (Status::from_number(self.header.status).unwrap(), hello)
    }

    fn parsed(&self) -> Frame<'static> {
        let raw = dht_node::wire::Raw::Shared(self.bytes.clone());
        Frame::parse(self.header, raw, Dimension::new(0).unwrap()).unwrap()
    }
}

/// Returns true if the error means that nothing has arrived yet.
const fn is_wait(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Returns the HELLO of an ordinary client.
pub(crate) fn client_hello() -> Hello {
    Hello::of_client(7, "raw")
}

/// Encodes a HELLO.
pub(crate) fn hello_frame(hello: &Hello) -> Vec<u8> {
    let mut bytes = Vec::new();
    head(Opcode::Hello, 1).seal(None, (0, 0), &mut bytes, |args| hello.encode(args, None));
    bytes
}

/// Encodes a request.
pub(crate) fn request_frame(id: u64, request: &Request<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let sum = (payload.len(), crc32fast::hash(payload));
    head(request.opcode(), id).seal(None, sum, &mut bytes, |args| request.encode(args));
    bytes.extend_from_slice(payload);
    bytes
}

/// Encodes a PING to the connected node.
pub(crate) fn ping_frame(id: u64) -> Vec<u8> {
    request_frame(id, &Request::Ping { node: ANY_NODE, token: id }, &[])
}

/// Encodes the GOAWAY of a client that disconnects in an orderly way.
pub(crate) fn goaway_frame() -> Vec<u8> {
    let goaway = Goaway { status: Status::Closing, last_request_id: 0, message: "bye".to_owned() };
    let head = Head { flags: Flags::ONEWAY, status: goaway.status.number(), ..head(Opcode::Goaway, 0) };
    let mut bytes = Vec::new();
    head.seal(None, (0, 0), &mut bytes, |args| goaway.encode(args));
    bytes
}

/// Returns the head of a request.
pub(crate) const fn head(opcode: Opcode, id: u64) -> Head {
    Head { opcode: opcode.number(), flags: Flags(0), status: 0, request_id: RequestId(id) }
}
