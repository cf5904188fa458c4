//! One subscribing connection of the load: reads records, grants credit, and checks that no record is missing.

use std::io::{self, Read, Write};

use dht_protocol::types::{Dimension, Offset};
use dht_protocol::wire::push::Span;
use dht_protocol::wire::{Frame, Header, Opcode, Raw};
use mio::net::TcpStream;

use crate::error::Error;
use crate::load::Plan;
use crate::session::{self, FRAME_MAX, Session};

/// Bytes of records that the server may send beyond those already read; the same as the client library's default.
const WINDOW_BYTES: u64 = 1 << 20;

/// A connection that subscribes.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// The socket; public so that it can be registered with the poll.
    pub(crate) stream: TcpStream,
    /// The subscription with request id `n` has index `n - 1`.
    subscriptions: Vec<Subscription>,
    records: usize,
    frames: usize,
    /// The received part of an incomplete frame.
    partial: Vec<u8>,
    /// CREDIT frames that the socket has not accepted yet.
    unsent: Vec<u8>,
}

#[derive(Debug)]
struct Subscription {
    next: Offset,
    taken: u64,
    granted: u64,
}

impl Subscriber {
    /// Connects and subscribes to all topics of the plan.
    pub(crate) fn open(plan: &Plan) -> Result<Self, Error> {
        let mut session = Session::open(plan.subscribe_at)?;
        let mut subscriptions = Vec::new();
        for (id, name) in (1..).zip(&plan.topics) {
            let next = session.subscribe(id, name, WINDOW_BYTES)?.from;
            subscriptions.push(Subscription { next, taken: 0, granted: WINDOW_BYTES });
        }
        let stream = session.into_stream();
        stream.set_nonblocking(true)?;
        let (partial, unsent) = (Vec::new(), Vec::new());
        Ok(Self { stream: TcpStream::from_std(stream), subscriptions, records: 0, frames: 0, partial, unsent })
    }

    /// Returns the number of records received.
    pub(crate) const fn records(&self) -> usize {
        self.records
    }

    /// Returns the number of frames with records received.
    pub(crate) const fn frames(&self) -> usize {
        self.frames
    }

    /// Reads all available input and grants credit where it is due. `scratch` must be larger than the largest frame.
    pub(crate) fn ready(&mut self, scratch: &mut [u8]) -> Result<(), Error> {
        loop {
            let held = self.partial.len();
            scratch[..held].copy_from_slice(&self.partial);
            let count = match self.stream.read(&mut scratch[held..]) {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.write(),
                Err(error) => return Err(error.into()),
            };
            let filled = held + count;
            let used = self.take_frames(&scratch[..filled])?;
            self.partial.clear();
            self.partial.extend_from_slice(&scratch[used..filled]);
            if filled < scratch.len() {
                return self.write();
            }
        }
    }

    /// Processes the complete frames at the start of `input`. Returns the bytes consumed.
    fn take_frames(&mut self, input: &[u8]) -> Result<usize, Error> {
        let no_cube = Dimension::new(0).expect("0 is a dimension");
        let mut at = 0;
        while let Some(header) = Header::parse(&input[at..], FRAME_MAX)? {
            let Some(bytes) = input[at..].get(..header.frame_len()) else { break };
            at += bytes.len();
            if header.opcode == Opcode::Deliver.number() {
                self.take(&Frame::parse(header, Raw::Borrowed(bytes), no_cube)?)?;
            } else if header.opcode == Opcode::Event.number() {
                return Err(Error::Lost);
            }
        }
        Ok(at)
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let id = frame.header.request_id.0;
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        let subscription = index.and_then(|index| self.subscriptions.get_mut(index)).ok_or(Error::Lost)?;
        let span = Span::decode(frame.args().map_err(|_| Error::Corrupt)?)?;
        if span.base != subscription.next {
            return Err(Error::Lost);
        }
        subscription.next = span.end;
        subscription.taken += frame.payload().len() as u64;
        self.records += usize::try_from(span.end.0 - span.base.0).expect("a frame of 1 MiB");
        self.frames += 1;
        // The client library's rule: grant more when half of the window has been consumed since the last grant.
        let limit = subscription.taken + WINDOW_BYTES;
        if limit - subscription.granted >= WINDOW_BYTES / 2 {
            subscription.granted = limit;
            session::credit(id, limit, &mut self.unsent);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => {
                    self.unsent.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
