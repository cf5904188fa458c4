//! What silent subscribers cost a node: each sends PING after about a second of silence, as the client library does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use dht_protocol::wire::Request;
use dht_protocol::wire::request::{ANY_NODE, Retention};

use crate::clock::{now, pause};
use crate::error::Error;
use crate::process;
use crate::session::{self, Session};
use crate::setup;

/// The topic that all of them subscribe to.
const TOPIC: &str = "silent";

/// The shortest silence after which a subscriber sends PING, as in the client library.
const QUIET: Duration = Duration::from_secs(1);

/// The number of different additions to [`QUIET`], which fill half of it.
const PARTS: u32 = 1024;

/// The cost of silent subscribers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time of the node in milliseconds per second.
    pub(crate) cpu_ms: f64,
    /// PINGs per second.
    pub(crate) pings: f64,
}

/// Measures a new node with this many subscribers for this many seconds.
pub(crate) fn measure(program: &Path, base_port: u16, subscribers: usize, seconds: f64) -> Result<Cost, Error> {
    let (node, addr) = setup::start_single(program, base_port, None)?;
    session::create_topics(addr, &[TOPIC.to_owned()], Retention::default())?;
    let mut subscribers = Subscribers::open(addr, subscribers)?;
    // After this time the PINGs are spread as evenly as in the long run.
    subscribers.ping_until(now() + 2 * QUIET)?;
    let (start, cpu_before) = (now(), process::cpu_ns_of(&[node.pid()])?);
    let pings = subscribers.ping_until(start + Duration::from_secs_f64(seconds))?;
    let elapsed = now().duration_since(start).as_secs_f64();
    let cpu_ms = (process::cpu_ns_of(&[node.pid()])? - cpu_before) as f64 / 1e6;
    Ok(Cost { cpu_ms: cpu_ms / elapsed, pings: f64::from(pings) / elapsed })
}

/// Subscribers to a topic without records.
struct Subscribers {
    sessions: Vec<Session>,
    /// When each of them sends PING next, by its index.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The number of random additions so far.
    drawn: u32,
}

impl Subscribers {
    fn open(addr: SocketAddr, count: usize) -> Result<Self, Error> {
        let mut subscribers = Self { sessions: Vec::new(), due: BinaryHeap::new(), drawn: 0 };
        for index in 0..count {
            let mut session = Session::open(addr)?;
            session.subscribe(1, TOPIC, u64::MAX)?;
            subscribers.sessions.push(session);
            subscribers.schedule(index);
        }
        Ok(subscribers)
    }

    /// Sends the PINGs that are due until `end`, and returns their number.
    fn ping_until(&mut self, end: Instant) -> Result<u32, Error> {
        let mut pings = 0;
        while let Some(Reverse((at, index))) = self.due.peek().copied()
            && at < end
        {
            self.due.pop();
            pause(at.saturating_duration_since(now()));
            self.sessions[index].ask(&Request::Ping { node: ANY_NODE, token: 0 })?;
            self.schedule(index);
            pings += 1;
        }
        pause(end.saturating_duration_since(now()));
        Ok(pings)
    }

    fn schedule(&mut self, index: usize) {
        self.drawn = self.drawn.wrapping_add(1);
        // The multiplication spreads consecutive numbers evenly over the parts, in a shuffled order.
        let part = self.drawn.wrapping_mul(617) % PARTS;
        self.due.push(Reverse((now() + QUIET + QUIET / 2 / PARTS * part, index)));
    }
}
