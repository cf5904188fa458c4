//! The load: publishing connections with a window of requests in flight each, on one loop.
//!
//! Windows slide: for the responses of one read, as many requests are sent in one write. With `whole_windows` the next
//! window is sent when the last one has been answered completely. With subscribers, publishers stay within a maximum
//! lead over the slowest one, and a run ends when all of them have received everything.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use dht_protocol::wire::records::Record;
use mio::{Events, Interest, Poll, Token};

use crate::clock;
use crate::error::Error;
use crate::process;
use crate::protocol::Protocol;
use crate::publisher::{Latencies, Publisher};
use crate::session::{self, ANSWER_SECONDS, FRAME_MAX};
use crate::stats;
use crate::subscriber::Subscriber;

/// Duration of the warm-up of caches, sockets and the servers' buffers.
const WARM_UP: Duration = Duration::from_millis(50);

/// Delay after the last response until the server sleeps and the kernel has accounted for its CPU time.
const SETTLE: Duration = Duration::from_millis(3);

/// Larger than the largest frame.
const SCRATCH_BYTES: usize = 2 * FRAME_MAX as usize;

/// Maximum lead of publishers over the slowest subscriber, in bytes of records.
const AHEAD_BYTES_MAX: usize = 4 << 20;

/// What a request of the load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// PUBLISH without a producer, the same request each time.
    Publish,
    /// PUBLISH by a producer of the connection, each request with the next sequence.
    Sequenced,
    /// FETCH of the first record.
    Fetch,
    /// QUERY of the topic.
    Query,
}

impl FromStr for Operation {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "publish" => Ok(Self::Publish),
            "sequenced" => Ok(Self::Sequenced),
            "fetch" => Ok(Self::Fetch),
            "query" => Ok(Self::Query),
            _ => Err("an operation is publish, sequenced, fetch or query"),
        }
    }
}

/// The plan of a load.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The address of the server.
    pub(crate) addr: SocketAddr,
    /// The protocol of the server.
    pub(crate) protocol: Protocol,
    /// The topics, used in turn; names of one length.
    pub(crate) topics: Vec<String>,
    /// Size of a record's value in bytes.
    pub(crate) value_bytes: usize,
    /// Number of records in a request; Redis has no batches and gets one.
    pub(crate) count: u32,
    /// What a request does.
    pub(crate) operation: Operation,
    /// True if the topics are deleted and created again before the load, so that their memory grows from nothing.
    pub(crate) is_fresh: bool,
    /// Number of connections.
    pub(crate) conns: usize,
    /// Number of requests in flight on each.
    pub(crate) window: usize,
    /// True if a window is answered completely before the next one is sent.
    pub(crate) whole_windows: bool,
    /// Number of connections that subscribe to all topics.
    pub(crate) subscribers: usize,
    /// The address of the server that they connect to.
    pub(crate) subscribe_at: SocketAddr,
    /// Duration after the warm-up.
    pub(crate) seconds: f64,
}

impl Plan {
    /// Returns a record's value.
    pub(crate) fn value(&self) -> Vec<u8> {
        vec![b'x'; self.value_bytes]
    }

    /// Returns the records of a request, one after the other.
    pub(crate) fn batch(&self) -> Result<Vec<u8>, Error> {
        let value = self.value();
        let record = Record { value: &value, ..Record::default() };
        let mut records = Vec::new();
        for _ in 0..self.count {
            record.encode(&mut records).map_err(|_| Error::Unsupported)?;
        }
        Ok(records)
    }
}

/// The result of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Number of answered requests.
    pub(crate) messages: usize,
    /// Number of answered requests including the warm-up.
    pub(crate) requests: usize,
    /// Responses per second.
    pub(crate) rate: f64,
    /// CPU time of the server processes per message.
    pub(crate) cpu_ns: f64,
    /// Number of records that all subscribers together received, including the warm-up.
    pub(crate) delivered: usize,
    /// Number of the frames that contained these records.
    pub(crate) delivers: usize,
    /// Latency of unbatched requests at 50, 99 and 99.9 %.
    pub(crate) latency_us: Option<[f64; 3]>,
}

impl Measured {
    /// Returns the number of records per frame that a subscriber receives.
    pub(crate) fn batch(&self) -> f64 {
        self.delivered as f64 / self.delivers as f64
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, requests, rate, cpu_ns, .. } = self;
        write!(f, "messages={messages} requests={requests} rate={rate:.0} cpu_ns={cpu_ns:.1}")?;
        if self.delivers > 0 {
            write!(f, " delivered={} delivers={}", self.delivered, self.delivers)?;
        }
        match self.latency_us {
            Some([p50, p99, p999]) => {
                write!(f, " p50_us={p50:.1} p99_us={p99:.1} p999_us={p999:.1}")
            }
            None => Ok(()),
        }
    }
}

/// Returns names of one length: the prefix itself if only one is wanted.
pub(crate) fn topic_names(prefix: &str, count: usize) -> Vec<String> {
    match count {
        1 => vec![prefix.to_owned()],
        _ => (0..count).map(|number| format!("{prefix}-{number:06}")).collect(),
    }
}

/// Executes the plan. The topics must exist.
pub(crate) fn measure(plan: &Plan, pids: &[u32]) -> Result<Measured, Error> {
    if plan.is_fresh {
        session::renew_topics(plan.addr, &plan.topics)?;
    }
    let mut load = Load::open(plan)?;
    let (warm_up, _) = load.run(WARM_UP)?;
    load.latencies.clear();
    clock::pause(SETTLE);
    let cpu_before = process::cpu_ns_of(pids)?;
    let (messages, seconds) = load.run(Duration::from_secs_f64(plan.seconds))?;
    clock::pause(SETTLE);
    let cpu_ns = process::cpu_ns_of(pids)? - cpu_before;
    load.latencies.sort_unstable();
    let microseconds = |share| stats::percentile(&load.latencies, share) as f64 / 1000.0;
    Ok(Measured {
        messages,
        requests: warm_up + messages,
        rate: messages as f64 / seconds,
        cpu_ns: cpu_ns as f64 / messages as f64,
        delivered: load.subscribers.iter().map(Subscriber::records).sum(),
        delivers: load.subscribers.iter().map(Subscriber::frames).sum(),
        latency_us: (plan.window == 1).then(|| [0.5, 0.99, 0.999].map(microseconds)),
    })
}

struct Load<'a> {
    plan: &'a Plan,
    poll: Poll,
    events: Events,
    /// The publishers, whose poll tokens come before those of the subscribers.
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Maximum number of requests ahead of the slowest subscriber.
    ahead_max: usize,
    /// Number of records sent.
    sent: usize,
    /// True if a publisher has been held back by the slowest subscriber.
    is_held: bool,
    scratch: Vec<u8>,
    latencies: Latencies,
}

impl<'a> Load<'a> {
    fn open(plan: &'a Plan) -> Result<Self, Error> {
        let poll = Poll::new()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
        for slot in 0..plan.conns {
            let mut publisher = Publisher::open(plan.addr, plan)?;
            poll.registry().register(&mut publisher.stream, Token(slot), interest)?;
            publishers.push(publisher);
        }
        for slot in plan.conns..plan.conns + plan.subscribers {
            let mut subscriber = Subscriber::open(plan)?;
            poll.registry().register(&mut subscriber.stream, Token(slot), interest)?;
            subscribers.push(subscriber);
        }
        let events = Events::with_capacity((plan.conns + plan.subscribers).max(16));
        let (scratch, latencies) = (vec![0; SCRATCH_BYTES], Vec::new());
        let ahead_max = (AHEAD_BYTES_MAX / plan.batch()?.len()).max(1);
        Ok(Self { plan, poll, events, publishers, subscribers, ahead_max, sent: 0, is_held: false, scratch, latencies })
    }

    /// Keeps the windows full for that time, then waits for the requests in flight. Returns the number of messages and
    /// the seconds.
    fn run(&mut self, duration: Duration) -> Result<(usize, f64), Error> {
        let start = clock::now();
        let end = start + duration;
        let mut messages = 0;
        self.refill_all(end)?;
        while self.is_anything_missing() {
            let timeout = Duration::from_secs(ANSWER_SECONDS);
            match self.poll.poll(&mut self.events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            if self.events.is_empty() {
                return Err(Error::Stalled { seconds: ANSWER_SECONDS });
            }
            messages += self.turn(end)?;
        }
        Ok((messages, start.elapsed().as_secs_f64()))
    }

    fn is_anything_missing(&self) -> bool {
        self.publishers.iter().any(|publisher| publisher.unanswered() > 0) || self.slowest() < self.sent
    }

    /// Returns the number of records that every subscriber has received.
    fn slowest(&self) -> usize {
        self.subscribers.iter().map(Subscriber::records).min().unwrap_or(self.sent)
    }

    fn turn(&mut self, end: Instant) -> Result<usize, Error> {
        let mut messages = 0;
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let slot = event.token().0;
            if let Some(subscriber) = slot.checked_sub(self.publishers.len()) {
                self.subscribers[subscriber].ready(&mut self.scratch)?;
            } else {
                messages += self.publisher_ready(slot, event.is_writable(), end)?;
            }
        }
        self.events = events;
        if std::mem::take(&mut self.is_held) {
            self.refill_all(end)?;
        }
        Ok(messages)
    }

    /// Reads the responses for a publisher, and sends as many requests. Returns the number of responses.
    fn publisher_ready(&mut self, slot: usize, is_writable: bool, end: Instant) -> Result<usize, Error> {
        if is_writable {
            self.publishers[slot].write()?;
        }
        let (mut messages, mut may_have_more) = (0, true);
        while may_have_more {
            let publisher = &mut self.publishers[slot];
            let (answers, more) = publisher.read(&mut self.scratch)?;
            may_have_more = more;
            messages += answers;
            if self.plan.window == 1 && answers == 1 {
                self.latencies.push(publisher.waited_ns());
            }
            if answers > 0 {
                self.refill(slot, end)?;
            }
        }
        Ok(messages)
    }

    fn refill_all(&mut self, end: Instant) -> Result<(), Error> {
        (0..self.publishers.len()).try_for_each(|slot| self.refill(slot, end))
    }

    /// Fills a publisher's window, while there is time and the subscribers keep up.
    fn refill(&mut self, slot: usize, end: Instant) -> Result<(), Error> {
        let records = self.plan.count as usize;
        let ahead = (self.sent - self.slowest()).div_ceil(records);
        let publisher = &mut self.publishers[slot];
        let is_due = !self.plan.whole_windows || publisher.unanswered() == 0;
        let wanted = self.plan.window - publisher.unanswered();
        if !is_due || wanted == 0 || clock::now() >= end {
            return Ok(());
        }
        let count = wanted.min(self.ahead_max.saturating_sub(ahead));
        self.is_held |= count < wanted;
        self.sent += count * records;
        if count > 0 { publisher.send(count) } else { Ok(()) }
    }
}
