//! One connection of the load: keeps a window of requests in flight.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use dht_node::wire::records::Record;
use dht_node::wire::{Header, Opcode};
use mio::net::TcpStream;

use crate::clock;
use crate::error::Error;
use crate::load::Plan;
use crate::session::{self, FRAME_MAX, Session};

/// Latencies that are kept of one run, in nanoseconds.
pub(crate) type Latencies = Vec<u64>;

/// A connection that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// For the poll to register.
    pub(crate) stream: TcpStream,
    /// Requests of one size, made once, and laid out twice, so that any window of them lies in one piece.
    requests: Vec<u8>,
    request_bytes: usize,
    record_bytes: usize,
    /// Where in the first half the next request begins.
    next: usize,
    /// The end of what is to be written lies so far behind `next`.
    unsent: usize,
    unanswered: usize,
    /// Bytes of an answer whose end has not come.
    partial: Vec<u8>,
    /// When the only request in flight was sent.
    sent: Instant,
}

impl Publisher {
    /// Connects and makes the requests.
    pub(crate) fn open(addr: SocketAddr, plan: &Plan) -> Result<Self, Error> {
        let stream = Session::open(addr)?.into_stream();
        stream.set_nonblocking(true)?;
        let value = vec![b'x'; plan.value_bytes];
        let mut records = Vec::new();
        let record = Record { value: &value, ..Record::default() };
        record.encode(&mut records).map_err(|_| Error::Unsupported)?;
        let count = (2 * plan.window).max(plan.topics.len());
        let mut requests = Vec::new();
        for (id, topic) in (1..).zip(plan.topics.iter().cycle().take(count)) {
            requests.extend_from_slice(&session::publish(topic, id, &records)?);
        }
        let request_bytes = requests.len() / count;
        requests.extend_from_within(..);
        Ok(Self {
            stream: TcpStream::from_std(stream),
            requests,
            request_bytes,
            record_bytes: records.len(),
            next: 0,
            unsent: 0,
            unanswered: 0,
            partial: Vec::new(),
            sent: clock::now(),
        })
    }

    /// Requests in flight.
    pub(crate) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Bytes of a record.
    pub(crate) const fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    /// Sends that many more requests in one write.
    pub(crate) fn send(&mut self, count: usize) -> Result<(), Error> {
        self.unanswered += count;
        self.unsent += count * self.request_bytes;
        self.sent = clock::now();
        self.write()
    }

    /// Writes what the socket did not take before.
    pub(crate) fn write(&mut self) -> Result<(), Error> {
        while self.unsent > 0 {
            match self.stream.write(&self.requests[self.next..][..self.unsent]) {
                Ok(count) => {
                    self.unsent -= count;
                    self.next = (self.next + count) % (self.requests.len() / 2);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads once: how many answers came, and whether there may be more to read.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> Result<(usize, bool), Error> {
        let held = self.partial.len();
        scratch[..held].copy_from_slice(&self.partial);
        let count = loop {
            match self.stream.read(&mut scratch[held..]) {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((0, false)),
                Err(error) => return Err(error.into()),
            }
        };
        let filled = held + count;
        let (answers, used) = count_answers(&scratch[..filled])?;
        self.partial.clear();
        self.partial.extend_from_slice(&scratch[used..filled]);
        self.unanswered = self.unanswered.checked_sub(answers).ok_or(Error::Unsupported)?;
        Ok((answers, filled == scratch.len()))
    }

    /// Nanoseconds since the last request was sent.
    pub(crate) fn waited_ns(&self) -> u64 {
        u64::try_from(self.sent.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The whole answers at the start of `input` and their bytes. Each is a success; a PING of the server is none.
fn count_answers(input: &[u8]) -> Result<(usize, usize), Error> {
    let (mut answers, mut at) = (0, 0);
    while let Some(header) = Header::parse(&input[at..], FRAME_MAX)? {
        if at + header.frame_len() > input.len() {
            break;
        }
        session::refuse_error(&header)?;
        at += header.frame_len();
        answers += usize::from(header.opcode == Opcode::Publish.number());
    }
    Ok((answers, at))
}
