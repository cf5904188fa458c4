//! The polite client: it publishes records of 64 bytes, keeps to its window, and reads the responses.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dht_protocol::wire::records::Record;
use dht_protocol::wire::{Header, Opcode};

use crate::clock;
use crate::error::Error;
use crate::session::{self, ANSWER_SECONDS, FRAME_MAX, Session};

/// The window for one request at a time.
pub(super) const UNBATCHED: usize = 1;
/// The window for pipelined requests.
pub(super) const PIPELINED: usize = 256;

/// Maximum number of bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// The results of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    /// The latency of each request, in nanoseconds.
    pub(super) latencies_ns: Vec<u64>,
    /// Number of requests that failed.
    pub(super) errors: usize,
    /// Duration in seconds.
    pub(super) seconds: f64,
}

impl Published {
    /// Adds the results of another run.
    pub(super) fn add(&mut self, other: Self) {
        self.latencies_ns.extend(other.latencies_ns);
        self.errors += other.errors;
        self.seconds += other.seconds;
    }
}

/// Publishes for the given number of seconds with `window` requests in flight. A failure of the connection ends the run
/// and counts as one error.
pub(super) fn publish(addr: SocketAddr, topic: &str, window: usize, seconds: f64) -> Published {
    let mut published = Published::default();
    let start = clock::now();
    let end = start + Duration::from_secs_f64(seconds);
    let result = Run::open(addr, topic).and_then(|mut run| run.publish(window, end, &mut published));
    if result.is_err() {
        published.errors += 1;
        published.latencies_ns.push(nanoseconds(start));
    }
    published.seconds = start.elapsed().as_secs_f64();
    published
}

struct Run<'a> {
    stream: TcpStream,
    topic: &'a str,
    records: Vec<u8>,
    /// When each unanswered request was sent, by its id.
    unanswered: BTreeMap<u64, Instant>,
    last_id: u64,
    input: Vec<u8>,
}

impl<'a> Run<'a> {
    fn open(addr: SocketAddr, topic: &'a str) -> Result<Self, Error> {
        let stream = Session::open(addr)?.into_stream();
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS)))?;
        let mut records = Vec::new();
        let record = Record { value: &[b'x'; 64], ..Record::default() };
        record.encode(&mut records).map_err(|_| Error::Unsupported)?;
        Ok(Self { stream, topic, records, unanswered: BTreeMap::new(), last_id: 0, input: Vec::new() })
    }

    fn publish(&mut self, window: usize, end: Instant, published: &mut Published) -> Result<(), Error> {
        loop {
            let now = clock::now();
            if now < end {
                self.send(window - self.unanswered.len(), now)?;
            } else if self.unanswered.is_empty() {
                return Ok(());
            }
            self.read(published)?;
        }
    }

    fn send(&mut self, count: usize, now: Instant) -> Result<(), Error> {
        let mut frames = Vec::new();
        for _ in 0..count {
            self.last_id += 1;
            frames.extend(session::publish(self.topic, self.last_id, 1, &self.records)?);
            self.unanswered.insert(self.last_id, now);
        }
        Ok(self.stream.write_all(&frames)?)
    }

    /// Waits for answers.
    fn read(&mut self, published: &mut Published) -> Result<(), Error> {
        let filled = self.input.len();
        self.input.resize(filled + READ_BYTES, 0);
        let count = loop {
            match self.stream.read(&mut self.input[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if count == 0 {
            return Err(Error::Closed);
        }
        self.input.truncate(filled + count);
        let mut used = 0;
        while let Some(header) = Header::parse(&self.input[used..], FRAME_MAX)? {
            if used + header.frame_len() > self.input.len() {
                break;
            }
            used += header.frame_len();
            if header.opcode == Opcode::Publish.number()
                && let Some(sent) = self.unanswered.remove(&header.request_id.0)
            {
                published.latencies_ns.push(nanoseconds(sent));
                published.errors += usize::from(session::refuse_error(&header).is_err());
            }
        }
        self.input.drain(..used);
        Ok(())
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
