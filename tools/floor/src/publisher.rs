//! One publishing connection of the load, which keeps a window of requests in flight.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;

use crate::clock;
use crate::error::Error;
use crate::frames;
use crate::load::{Operation, Plan};
use crate::protocol::Protocol;
use crate::session;

/// The latencies of one run, in nanoseconds.
pub(crate) type Latencies = Vec<u64>;

/// A connection that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// The socket; public so that it can be registered with the poll.
    pub(crate) stream: TcpStream,
    /// Requests of equal size, encoded once and stored twice in a row, so that any window of them is contiguous.
    requests: Vec<u8>,
    request_bytes: usize,
    protocol: Protocol,
    /// The next sequence for each topic; empty if the requests have none.
    sequences: Vec<u64>,
    /// The offset of the next byte to write, in the first half of `requests`.
    next: usize,
    /// The number of bytes from `next` on that remain to be written.
    unsent: usize,
    unanswered: usize,
    /// The received part of an incomplete answer.
    partial: Vec<u8>,
    /// When requests were last sent.
    sent: Instant,
}

impl Publisher {
    /// Connects and encodes the requests.
    pub(crate) fn open(addr: SocketAddr, plan: &Plan) -> Result<Self, Error> {
        let protocol = plan.protocol;
        let stream = protocol.connect(addr)?;
        stream.set_nonblocking(true)?;
        let count = (2 * plan.window).max(plan.topics.len());
        let producer = session::new_producer();
        let mut requests = Vec::new();
        for (id, topic) in (1..).zip(plan.topics.iter().cycle().take(count)) {
            requests.extend_from_slice(&protocol.request(topic, id, plan, producer)?);
        }
        let request_bytes = requests.len() / count;
        requests.extend_from_within(..);
        let is_sequenced = plan.operation == Operation::Sequenced;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            requests,
            request_bytes,
            protocol,
            sequences: if is_sequenced { vec![0; plan.topics.len()] } else { Vec::new() },
            next: 0,
            unsent: 0,
            unanswered: 0,
            partial: Vec::new(),
            sent: clock::now(),
        })
    }

    /// Returns the number of requests in flight.
    pub(crate) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Sends `count` more requests in one write.
    pub(crate) fn send(&mut self, count: usize) -> Result<(), Error> {
        if !self.sequences.is_empty() {
            self.number(count);
        }
        self.unanswered += count;
        self.unsent += count * self.request_bytes;
        self.sent = clock::now();
        self.write()
    }

    /// Gives the next `count` requests their sequences.
    fn number(&mut self, count: usize) {
        let (half, bytes) = (self.requests.len() / 2, self.request_bytes);
        let first = (self.next + self.unsent) / bytes;
        for place in (first..first + count).map(|place| place % (half / bytes)) {
            let topic = place % self.sequences.len();
            let request = place * bytes..(place + 1) * bytes;
            frames::set_sequence(&mut self.requests[request.clone()], self.sequences[topic]);
            self.sequences[topic] += 1;
            self.requests.copy_within(request.clone(), half + request.start);
        }
    }

    /// Writes the bytes that the socket did not accept before.
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

    /// Reads once. Returns the number of answers received, and whether more input may be available.
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
        let (answers, used) = self.protocol.count_answers(&scratch[..filled])?;
        self.partial.clear();
        self.partial.extend_from_slice(&scratch[used..filled]);
        self.unanswered = self.unanswered.checked_sub(answers).ok_or(Error::Unsupported)?;
        Ok((answers, filled == scratch.len()))
    }

    /// Returns the nanoseconds since requests were last sent.
    pub(crate) fn waited_ns(&self) -> u64 {
        u64::try_from(self.sent.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
