//! A connection that sends one request at a time, for setting up: HELLO, CREATE, SUBSCRIBE, STATS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dht_protocol::types::{Dimension, ProducerId, RequestId, Sequenced, TopicName, crc32};
use dht_protocol::wire::request::{ANY_NODE, Fetch, Publish, Retention, Start, Subscribe, Topic};
use dht_protocol::wire::response::{CopiesView, Subscribed};
use dht_protocol::wire::{
    DecodeError, Flags, Frame, HEADER_BYTES, Head, Header, Hello, Opcode, Raw, Request, Response,
};

use crate::error::Error;

/// The maximum size of a frame that this program accepts, in bytes.
pub(crate) const FRAME_MAX: u32 = 1 << 20;

/// The maximum time until an answer, in seconds.
pub(crate) const ANSWER_SECONDS: u64 = 5;

/// Number of topics that are created in one pipelined burst.
const CREATES_IN_FLIGHT: usize = 256;

/// A connection on which HELLO has been exchanged.
#[derive(Debug)]
pub(crate) struct Session {
    stream: TcpStream,
}

impl Session {
    /// Connects and exchanges HELLO.
    pub(crate) fn open(addr: SocketAddr) -> Result<Self, Error> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS)))?;
        stream.write_all(&hello())?;
        let mut session = Self { stream };
        session.frame()?;
        Ok(session)
    }

    /// Returns the stream, for pipelined requests.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends an encoded request, and waits until it is answered OK.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.stream.write_all(frame)?;
        self.frame().map(|_| ())
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Result<Response, Error> {
        self.ask_as(1, request)
    }

    /// Subscribes with request id `id`, starting at the topic's next record.
    pub(crate) fn subscribe(&mut self, id: u64, name: &str, limit: u64) -> Result<Subscribed, Error> {
        let topic = Topic { name: topic_name(name)?, id: None };
        let request = Request::Subscribe(Subscribe { topic, epoch: None, start: Start::Next, limit });
        let answer = self.ask_as(id, &request)?;
        if let Response::Subscribed(subscribed) = answer { Ok(subscribed) } else { Err(Error::Unsupported) }
    }

    fn ask_as(&mut self, id: u64, request: &Request<'_>) -> Result<Response, Error> {
        self.stream.write_all(&encode(request, id, &[]))?;
        let (header, bytes) = self.frame()?;
        let no_cube = Dimension::new(0).expect("0 is a dimension");
        let frame = Frame::parse(header, Raw::Borrowed(&bytes), no_cube)?;
        let args = frame.args().map_err(|_| Error::Corrupt)?;
        let payload = Bytes::copy_from_slice(frame.payload());
        Ok(Response::decode(request.opcode(), header.status, args, &payload)?)
    }

    /// Reads the next frame. An error status is returned as an error.
    fn frame(&mut self) -> Result<(Header, Vec<u8>), Error> {
        let mut bytes = vec![0; HEADER_BYTES];
        self.stream.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes, FRAME_MAX)?.ok_or(Error::Unsupported)?;
        bytes.resize(header.frame_len(), 0);
        self.stream.read_exact(&mut bytes[HEADER_BYTES..])?;
        refuse_error(&header)?;
        Ok((header, bytes))
    }
}

/// Returns an error for a status of 0x40 or above: the request failed, or its outcome is unknown.
pub(crate) fn refuse_error(header: &Header) -> Result<(), Error> {
    if header.status < 0x40 { Ok(()) } else { Err(Error::Refused { opcode: header.opcode, status: header.status }) }
}

/// Creates the topics that do not exist.
pub(crate) fn create_topics(addr: SocketAddr, names: &[String], retention: Retention) -> Result<(), Error> {
    let mut session = Session::open(addr)?;
    for names in names.chunks(CREATES_IN_FLIGHT) {
        let mut bytes = Vec::new();
        for (id, name) in (1..).zip(names) {
            let topic = topic_name(name)?;
            let create = Request::Create { topic, retention };
            bytes.extend_from_slice(&encode(&create, id, &[]));
        }
        session.stream.write_all(&bytes)?;
        for _ in names {
            session.frame()?;
        }
    }
    Ok(())
}

/// Deletes the topics, which must exist, and creates them again. A bare server forgets all that it holds.
pub(crate) fn renew_topics(addr: SocketAddr, names: &[String]) -> Result<(), Error> {
    let mut session = Session::open(addr)?;
    for name in names {
        let topic = Topic { name: topic_name(name)?, id: None };
        session.send(&encode(&Request::Delete(topic), 1, &[]))?;
    }
    create_topics(addr, names, Retention::default())
}

/// Returns the counters of a node, as lines of `name value`.
pub(crate) fn stats(addr: SocketAddr) -> Result<String, Error> {
    let answer = Session::open(addr)?.ask(&Request::Stats { node: ANY_NODE })?;
    if let Response::Stats { text, .. } = answer { Ok(text) } else { Err(Error::Unsupported) }
}

/// Returns a producer that this program has not used before.
pub(crate) fn new_producer() -> ProducerId {
    static USED: AtomicU32 = AtomicU32::new(0);
    let number = u64::from(std::process::id()) << 32 | u64::from(USED.fetch_add(1, Ordering::Relaxed));
    ProducerId::new(number).expect("the id of a process is not 0")
}

/// Encodes a PUBLISH of one batch of `count` records without a producer.
pub(crate) fn publish(name: &str, request_id: u64, count: u32, records: &[u8]) -> Result<Vec<u8>, Error> {
    publish_by(None, name, request_id, count, records)
}

/// Encodes a PUBLISH of one batch of `count` records. That of a producer has sequence 0.
pub(crate) fn publish_by(
    producer: Option<ProducerId>,
    name: &str,
    request_id: u64,
    count: u32,
    records: &[u8],
) -> Result<Vec<u8>, Error> {
    let topic = Topic { name: topic_name(name)?, id: None };
    let producer = producer.map(|producer| Sequenced { producer, epoch: 0, sequence: 0 });
    Ok(encode(&Request::Publish(Publish { topic, producer, count }), request_id, records))
}

/// Encodes a FETCH of the first record of a topic.
pub(crate) fn fetch_first(name: &str, request_id: u64) -> Result<Vec<u8>, Error> {
    let topic = Topic { name: topic_name(name)?, id: None };
    let (start, max_bytes, max_records, max_wait_ms) = (Start::Earliest, 0, 1, 0);
    let fetch = Fetch { topic, epoch: None, start, max_bytes, max_records, max_wait_ms };
    Ok(encode(&Request::Fetch(fetch), request_id, &[]))
}

/// Encodes a QUERY of a topic.
pub(crate) fn query(name: &str, request_id: u64) -> Result<Vec<u8>, Error> {
    Ok(encode(&Request::Query { topic: topic_name(name)? }, request_id, &[]))
}

/// Returns the nodes that keep a topic; `None` if its home alone does.
pub(crate) fn copies(addr: SocketAddr, name: &str) -> Result<Option<CopiesView>, Error> {
    let answer = Session::open(addr)?.ask(&Request::Query { topic: topic_name(name)? })?;
    if let Response::Described(description) = answer { Ok(description.copies) } else { Err(Error::Unsupported) }
}

/// Appends a CREDIT for a subscription to `out`.
pub(crate) fn credit(subscription: u64, limit: u64, out: &mut Vec<u8>) {
    let request = Request::Credit { limit };
    let request_id = RequestId(subscription);
    let head = Head { opcode: request.opcode().number(), flags: Flags::ONEWAY, status: 0, request_id };
    head.seal(None, (0, 0), out, |args| request.encode(args));
}

fn topic_name(name: &str) -> Result<TopicName<'_>, Error> {
    Ok(TopicName::new(name).map_err(DecodeError::from)?)
}

/// Encodes a request.
pub(crate) fn encode(request: &Request<'_>, request_id: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let head = Head {
        opcode: request.opcode().number(),
        flags: Flags::default(),
        status: 0,
        request_id: RequestId(request_id),
    };
    head.seal(None, (payload.len(), crc32(payload)), &mut frame, |args| request.encode(args));
    frame.extend_from_slice(payload);
    frame
}

/// Encodes the HELLO of this program.
pub(crate) fn hello() -> Vec<u8> {
    let hello = Hello::of_client(1, "floor");
    let head = Head { opcode: Opcode::Hello.number(), flags: Flags::default(), status: 0, request_id: RequestId(0) };
    let mut frame = Vec::new();
    head.seal(None, (0, 0), &mut frame, |args| hello.encode(args, None));
    frame
}
