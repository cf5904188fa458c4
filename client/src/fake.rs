//! A node for tests that follows a script, on a thread of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use dht_protocol::limits::FRAME_MAX;
use dht_protocol::types::{Dimension, Epoch, Offset, RequestId, TopicId};
use dht_protocol::wire::field::Writer;
use dht_protocol::wire::hello::NO_NODE;
use dht_protocol::wire::response::{
    Detail, Durability, ErrorResponse, Fetched, LinkState, NodeAddress, NodePage, Payload, Published, Run, Subscribed,
};
use dht_protocol::wire::{
    Flags, Frame, Goaway, Head, Header, Hello, Opcode, Push, Raw, Request, Response, Role, Status,
};

use crate::{Address, Builder, Client};

/// The script of one connection, which is closed when the script ends.
pub(crate) type Script = Box<dyn FnOnce(&mut Peer) + Send>;

/// The fake node.
pub(crate) struct Fake {
    address: Address,
    thread: JoinHandle<()>,
}

impl Fake {
    /// Listens, and plays one script on each connection in turn.
    pub(crate) fn play(scripts: Vec<Script>) -> Self {
        Self::play_on(TcpListener::bind("127.0.0.1:0").unwrap(), scripts)
    }

    fn play_on(listener: TcpListener, scripts: Vec<Script>) -> Self {
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let serve = move || {
            for script in scripts {
                let socket = listener.accept().unwrap().0;
                socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                script(&mut Peer { socket, sent: Vec::new(), others: Vec::new(), was_asked: false });
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the other end of a blocking client")]
        let thread = std::thread::spawn(serve);
        Self { address, thread }
    }

    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the settings of a client of this node only.
    pub(crate) fn builder(&self) -> Builder {
        Builder::default().server(self.address.clone()).timeout(Duration::from_secs(5))
    }

    /// Returns a client of this node only.
    pub(crate) fn client(&self) -> Client {
        self.builder().connect().unwrap()
    }

    /// Waits until all scripts have been played.
    pub(crate) fn finish(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A server that no client may connect to, until it plays scripts.
pub(crate) struct Unused(TcpListener);

impl Unused {
    pub(crate) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn address(&self) -> Address {
        self.0.local_addr().unwrap().to_string().parse().unwrap()
    }

    /// Checks that no client has connected.
    pub(crate) fn check(&self) {
        self.0.set_nonblocking(true).unwrap();
        assert_eq!(self.0.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody has connected");
        self.0.set_nonblocking(false).unwrap();
    }

    /// As [`Fake::play`].
    pub(crate) fn play(self, scripts: Vec<Script>) -> Fake {
        Fake::play_on(self.0, scripts)
    }
}

/// The node's end of a connection.
pub(crate) struct Peer {
    socket: TcpStream,
    /// The frames that [`Self::say`] has buffered.
    sent: Vec<u8>,
    /// The addresses of the other nodes.
    others: Vec<Address>,
    /// True once the library's own NODES has arrived.
    was_asked: bool,
}

/// A frame that the fake has read.
pub(crate) struct Asked {
    pub(crate) opcode: Opcode,
    pub(crate) flags: Flags,
    pub(crate) id: RequestId,
    pub(crate) args: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Asked {
    /// Decodes the frame as a request.
    pub(crate) fn request(&self) -> Request<'_> {
        Request::decode(self.opcode, &self.args).unwrap()
    }
}

impl Peer {
    /// Reads HELLO and answers as node 0 of a cube of three dimensions.
    pub(crate) fn greet(&mut self) {
        let asked = self.read();
        assert_eq!((asked.opcode, asked.id), (Opcode::Hello, RequestId(1)));
        let hello = Hello::decode(&asked.args).unwrap();
        assert_eq!((hello.role, hello.node, hello.version_min), (Role::Client, NO_NODE, 1));
        assert_eq!(hello.features, Hello::NOTICES);
        let answer = Hello { role: Role::Node, dimension: 3, node: 0, max_inflight: 1024, ..hello };
        self.say(asked.opcode, Flags::RESPONSE, Status::Ok, asked.id, |args| answer.encode(args, Some(77)));
        self.flush();
    }

    /// Answers NODES with these addresses from now on. Before that it behaves as an older node, which does not know
    /// NODES.
    pub(crate) fn knows(&mut self, others: &[Address]) {
        self.others = others.to_vec();
    }

    /// Reads the next frame except for the library's own NODES, which it answers.
    pub(crate) fn read(&mut self) -> Asked {
        let mut first = [0];
        self.socket.read_exact(&mut first).unwrap();
        self.read_behind(first[0]).unwrap_or_else(|| self.read())
    }

    /// Reads a frame whose first byte was read; `None` when it was the library's own NODES.
    fn read_behind(&mut self, first: u8) -> Option<Asked> {
        let asked = self.read_any(first);
        if asked.opcode != Opcode::Nodes || std::mem::replace(&mut self.was_asked, true) {
            return Some(asked);
        }
        if self.others.is_empty() {
            self.refuse(&asked, Status::UnknownOpcode, 0, Vec::new());
        } else {
            let own = NodeAddress { node: 0, link: LinkState::Itself, address: "127.0.0.1:1".to_owned() };
            let other = |(node, address): (u16, &Address)| NodeAddress {
                node,
                link: LinkState::Up,
                address: address.to_string(),
            };
            let nodes = std::iter::once(own).chain((1..).zip(&self.others).map(other)).collect();
            self.answer(&asked, &Response::Nodes(NodePage { node: 0, dimension: 3, next: 0, nodes }));
        }
        None
    }

    fn read_any(&mut self, first: u8) -> Asked {
        let mut bytes = vec![0; 36];
        bytes[0] = first;
        self.socket.read_exact(&mut bytes[1..]).unwrap();
        let header = Header::parse(&bytes, FRAME_MAX).unwrap().unwrap();
        bytes.resize(header.frame_len(), 0);
        self.socket.read_exact(&mut bytes[36..]).unwrap();
        let frame = Frame::parse(header, Raw::Borrowed(&bytes), Dimension::new(0).unwrap()).unwrap();
        Asked {
            opcode: Opcode::from_number(header.opcode).unwrap(),
            flags: header.flags,
            id: header.request_id,
            args: frame.args().unwrap().to_vec(),
            payload: frame.keep_payload().unwrap().to_vec(),
        }
    }

    /// Reads a frame, which must be a request of this operation.
    pub(crate) fn expect(&mut self, opcode: Opcode) -> Asked {
        let asked = self.read();
        assert_eq!(asked.opcode, opcode);
        asked
    }

    /// Buffers a frame without payload, for [`Self::flush`] or [`Self::trickle`].
    pub(crate) fn say(
        &mut self,
        opcode: Opcode,
        flags: Flags,
        status: Status,
        request_id: RequestId,
        args: impl FnOnce(&mut Writer<'_>),
    ) {
        let head = Head { opcode: opcode.number(), flags, status: status.number(), request_id };
        head.seal(None, (0, 0), &mut self.sent, args);
    }

    /// Buffers a response.
    pub(crate) fn answer(&mut self, asked: &Asked, response: &Response) {
        let payload = response.encode(asked.opcode.number(), asked.id, None, &mut self.sent);
        let parts: Vec<Bytes> = payload.map(|payload| payload.parts.clone()).unwrap_or_default();
        parts.iter().for_each(|part| self.sent.extend_from_slice(part));
    }

    /// Buffers an error response.
    pub(crate) fn refuse(&mut self, asked: &Asked, status: Status, retry_after_ms: u32, details: Vec<Detail>) {
        let message = "as the script says".to_owned();
        let error = ErrorResponse { status: status.number(), retry_after_ms, message, details };
        self.answer(asked, &Response::Error(Box::new(error)));
    }

    /// Buffers a push for a subscription.
    pub(crate) fn push(&mut self, subscription: RequestId, push: &Push) {
        let payload = push.encode(subscription, None, &mut self.sent);
        let parts: Vec<Bytes> = payload.map(|payload| payload.parts.clone()).unwrap_or_default();
        parts.iter().for_each(|part| self.sent.extend_from_slice(part));
    }

    /// Buffers GOAWAY.
    pub(crate) fn goaway(&mut self, last_request_id: u64) {
        let goaway = Goaway { status: Status::Closing, last_request_id, message: "bye".to_owned() };
        self.say(Opcode::Goaway, Flags::ONEWAY, Status::Closing, RequestId(0), |args| goaway.encode(args));
    }

    /// Buffers raw bytes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
    }

    /// Writes the buffered bytes at once.
    pub(crate) fn flush(&mut self) {
        self.socket.write_all(&self.sent).unwrap();
        self.sent.clear();
    }

    /// Writes the buffered bytes one at a time.
    pub(crate) fn trickle(&mut self) {
        self.socket.set_nodelay(true).unwrap();
        self.sent.drain(..).for_each(|byte| self.socket.write_all(&[byte]).unwrap());
    }

    /// Answers every PING and nothing else until the client closes the connection.
    pub(crate) fn answer_only_pings(&mut self) {
        let mut first = [0];
        while self.socket.read(&mut first).unwrap() > 0 {
            if let Some(asked) = self.read_behind(first[0])
                && asked.opcode == Opcode::Ping
            {
                self.answer(&asked, &Response::Ping { node: 0, token: 0, wall_us: None, topics: None });
                self.flush();
            }
        }
    }

    /// Waits until the client closes the connection.
    pub(crate) fn wait_for_end(&mut self) {
        let mut first = [0];
        while self.socket.read(&mut first).unwrap() > 0 {
            let asked = self.read_behind(first[0]);
            assert!(asked.is_none(), "the client closes and says no more");
        }
    }
}

/// Returns a response to PUBLISH.
pub(crate) fn published(base: u64, count: u32, duplicate: bool) -> Response {
    Response::Published(Published {
        duplicate,
        topic_id: TopicId::new(7).unwrap(),
        epoch: Epoch(1),
        base: Offset(base),
        count,
        append_us: 1,
        durability: Durability::Memory,
    })
}

/// Returns a response to FETCH with records of one byte each, from a topic whose log end offset is `next`.
pub(crate) fn fetched(from: u64, base: u64, next: u64, values: &[u8]) -> Response {
    Response::Fetched(Box::new(records(from, base, next, values)))
}

fn records(from: u64, base: u64, next: u64, values: &[u8]) -> Fetched {
    let mut payload = Vec::new();
    values.iter().for_each(|value| payload.extend([0, 0, 0, 2, 0, *value]));
    let count = u32::try_from(values.len()).unwrap();
    Fetched {
        topic_id: TopicId::new(7).unwrap(),
        epoch: Epoch(1),
        from: Offset(from),
        base: Offset(base),
        count,
        first: Offset(base),
        next: Offset(next),
        runs: if count == 0 { Vec::new() } else { vec![Run { count, append_us: 5 }] },
        payload: Payload { parts: vec![Bytes::from(payload)], crc: None },
    }
}

/// Returns a response to SUBSCRIBE.
pub(crate) fn subscribed(from: u64) -> Response {
    Response::Subscribed(Subscribed {
        topic_id: TopicId::new(7).unwrap(),
        epoch: Epoch(1),
        from: Offset(from),
        first: Offset(0),
        next: Offset(from),
    })
}

/// Returns a DELIVER with records of one byte each, which take six bytes on the wire.
pub(crate) fn deliver(base: u64, values: &[u8]) -> Push {
    Push::Deliver(Box::new(records(base, base, base + values.len() as u64, values)))
}

/// Returns the EVENT that ends a subscription.
pub(crate) fn ended(status: Status) -> Push {
    Push::Ended(Box::new(ErrorResponse::new(status, "as the script says")))
}
