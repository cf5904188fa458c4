//! The load: connections that publish, each with a window of requests in flight, on one loop.
//!
//! Windows slide: as many requests go out, in one write, as answers came in one read. With `whole_windows` the
//! next window goes out when the last one is wholly answered. With subscribers, no more goes out than the slowest of
//! them may be behind, and a run ends when all of them have everything.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dht_node::wire::records::Record;
use mio::{Events, Interest, Poll, Token};

use crate::clock;
use crate::error::Error;
use crate::process;
use crate::protocol::Protocol;
use crate::publisher::{Latencies, Publisher};
use crate::session::{ANSWER_SECONDS, FRAME_MAX};
use crate::stats;
use crate::subscriber::Subscriber;

/// Caches, sockets and the servers' buffers are warm after this.
const WARM_UP: Duration = Duration::from_millis(50);

/// After the last answer, until the server sleeps and the kernel has booked its time.
const SETTLE: Duration = Duration::from_millis(3);

/// More than the largest frame.
const SCRATCH_BYTES: usize = 2 * FRAME_MAX as usize;

/// How far, in bytes of records, publishers may be ahead of the slowest subscriber.
const AHEAD_BYTES_MAX: usize = 4 << 20;

/// What to send where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) addr: SocketAddr,
    /// What is spoken to it.
    pub(crate) protocol: Protocol,
    /// Topics, in turn; names of one length.
    pub(crate) topics: Vec<String>,
    /// Bytes of a record's value.
    pub(crate) value_bytes: usize,
    /// Records in a request; Redis has no batches and gets one.
    pub(crate) count: u32,
    /// Connections.
    pub(crate) conns: usize,
    /// Requests in flight on each.
    pub(crate) window: usize,
    /// Answer a window wholly before the next.
    pub(crate) whole_windows: bool,
    /// Connections that subscribe to all topics.
    pub(crate) subscribers: usize,
    /// The server that they ask.
    pub(crate) subscribe_at: SocketAddr,
    /// How long, after the warm-up.
    pub(crate) seconds: f64,
}

impl Plan {
    /// A record's value.
    pub(crate) fn value(&self) -> Vec<u8> {
        vec![b'x'; self.value_bytes]
    }

    /// The records of a request, end to end.
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

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Requests that were answered.
    pub(crate) messages: usize,
    /// Those and the ones of the warm-up.
    pub(crate) requests: usize,
    /// Answers a second.
    pub(crate) rate: f64,
    /// Processor time of the server processes a message.
    pub(crate) cpu_ns: f64,
    /// Records that all subscribers together got, and the frames they came in; those of the warm-up are among them.
    pub(crate) delivered: usize,
    /// These frames.
    pub(crate) delivers: usize,
    /// Latencies of unbatched requests at 50, 99 and 99.9 %.
    pub(crate) latency_us: Option<[f64; 3]>,
}

impl Measured {
    /// Records in a frame that a subscriber gets.
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

/// Names of one length: the prefix itself when one is wanted.
pub(crate) fn topic_names(prefix: &str, count: usize) -> Vec<String> {
    match count {
        1 => vec![prefix.to_owned()],
        _ => (0..count).map(|number| format!("{prefix}-{number:06}")).collect(),
    }
}

/// Sends by the plan; the topics are there.
pub(crate) fn measure(plan: &Plan, pids: &[u32]) -> Result<Measured, Error> {
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
    /// Their tokens come first.
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Requests that may be ahead of the slowest subscriber.
    ahead_max: usize,
    /// Records that were sent.
    sent: usize,
    /// Somebody would have sent more if the slowest subscriber were not so far behind.
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

    /// Keeps the windows full for that long, then waits for what is in flight: messages, and the seconds it took.
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

    /// Records that every subscriber has.
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

    /// Reads the answers for a publisher, and sends as many requests: answers that came.
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

    /// Sends what is missing in a publisher's window, while there is time and the subscribers keep up.
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
