//! The load: connections that publish, each with a window of requests in flight, on one loop.
//!
//! Windows slide: as many requests go out, in one write, as answers came in one read. With `whole_windows` the
//! next window goes out when the last one is wholly answered.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::clock;
use crate::error::Error;
use crate::process;
use crate::publisher::{Latencies, Publisher};
use crate::session::ANSWER_SECONDS;
use crate::stats;

/// Caches, sockets and the servers' buffers are warm after this.
const WARM_UP: Duration = Duration::from_millis(50);

/// After the last answer, until the server sleeps and the kernel has booked its time.
const SETTLE: Duration = Duration::from_millis(3);

const SCRATCH_BYTES: usize = 256 << 10;

/// What to send where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) addr: SocketAddr,
    /// Topics, in turn; names of one length.
    pub(crate) topics: Vec<String>,
    /// Bytes of a record's value.
    pub(crate) value_bytes: usize,
    /// Connections.
    pub(crate) conns: usize,
    /// Requests in flight on each.
    pub(crate) window: usize,
    /// Answer a window wholly before the next.
    pub(crate) whole_windows: bool,
    /// How long, after the warm-up.
    pub(crate) seconds: f64,
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
    /// Latencies of unbatched requests at 50, 99 and 99.9 %.
    pub(crate) latency_us: Option<[f64; 3]>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, requests, rate, cpu_ns, .. } = self;
        write!(f, "messages={messages} requests={requests} rate={rate:.0} cpu_ns={cpu_ns:.1}")?;
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
        latency_us: (plan.window == 1).then(|| [0.5, 0.99, 0.999].map(microseconds)),
    })
}

struct Load<'a> {
    plan: &'a Plan,
    poll: Poll,
    events: Events,
    publishers: Vec<Publisher>,
    scratch: Vec<u8>,
    latencies: Latencies,
}

impl<'a> Load<'a> {
    fn open(plan: &'a Plan) -> Result<Self, Error> {
        let poll = Poll::new()?;
        let mut publishers = Vec::new();
        for slot in 0..plan.conns {
            let mut publisher = Publisher::open(plan.addr, plan)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut publisher.stream, Token(slot), interest)?;
            publishers.push(publisher);
        }
        let events = Events::with_capacity(plan.conns.max(16));
        Ok(Self { plan, poll, events, publishers, scratch: vec![0; SCRATCH_BYTES], latencies: Vec::new() })
    }

    /// Keeps the windows full for that long, then waits for what is in flight: messages, and the seconds it took.
    fn run(&mut self, duration: Duration) -> Result<(usize, f64), Error> {
        let start = clock::now();
        let end = start + duration;
        let mut messages = 0;
        for publisher in &mut self.publishers {
            publisher.send(self.plan.window)?;
        }
        while self.publishers.iter().any(|publisher| publisher.unanswered() > 0) {
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

    fn turn(&mut self, end: Instant) -> Result<usize, Error> {
        let mut messages = 0;
        for event in &self.events {
            let publisher = &mut self.publishers[event.token().0];
            if event.is_writable() {
                publisher.write()?;
            }
            let mut may_have_more = true;
            while may_have_more {
                let (answers, more) = publisher.read(&mut self.scratch)?;
                may_have_more = more;
                messages += answers;
                if self.plan.window == 1 && answers == 1 {
                    self.latencies.push(publisher.waited_ns());
                }
                let is_due = !self.plan.whole_windows || publisher.unanswered() == 0;
                if is_due && answers > 0 && clock::now() < end {
                    publisher.send(self.plan.window - publisher.unanswered())?;
                }
            }
        }
        Ok(messages)
    }
}
