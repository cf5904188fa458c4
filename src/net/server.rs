//! The event loop, on one thread.
//!
//! One pass waits for the sockets, reads those that are ready, passes their frames to the turn, finishes the turn, and
//! runs the timers that are due. Connections with queued bytes are then written. Timers run after the input, so
//! that a frame that has already arrived counts as a sign of life.
//!
//! A pass takes input for a limited amount of work and time, which the connections share fairly ([`Fair`]); the rest
//! waits for the next pass.
//!
//! [`Fair`]: super::fair::Fair

mod accept;
mod dialing;
mod input;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::event::Event as Readiness;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use mio_signals::{Signal, Signals};

use super::Clock;
use super::conn::{Conn, State, Stream};
use super::dial::Peers;
use super::outbox::Outbox;
use super::resolver::Resolver;
use super::table::Table;
use crate::limits::{
    DRAIN_LINGER_US, DRAIN_US, LOG_PERIOD_US, LONG_TURN_US, READ_BUDGET, TURN_WRITES_US, WRITE_BUDGET,
};
use crate::node::{Event, Node};
use crate::turn::{Store, Turn};
use crate::types::{ConnId, Dimension, Now};
use crate::wire::FrameError;

use dialing::Complaints;

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const WAKER: Token = Token(2);
const FIRST_CONN: usize = 3;

/// Interval in microseconds at which connections are checked for late partial frames and for the end of their
/// lingering.
const SWEEP_US: u64 = 500_000;

/// The sockets of one node.
#[derive(Debug)]
pub struct Server {
    poll: Poll,
    /// The listening socket; `None` once the process was asked to end, so that new connections are refused at once.
    listener: Option<TcpListener>,
    signals: Signals,
    /// Wakes the poll from other threads.
    waker: &'static Waker,
    /// True if connections may be waiting for which the edge-triggered poll reports no further event.
    accept_ready: bool,
    /// Maximum number of sockets. When it is reached, a new connection replaces the one that has lingered longest.
    sockets_max: usize,
}

/// Why a server cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        cause: io::Error,
    },
    /// The system refused to create the poll or the signal handler.
    System(io::Error),
}

impl From<io::Error> for StartError {
    fn from(cause: io::Error) -> Self {
        Self::System(cause)
    }
}

impl Server {
    /// Listens on the first of `addresses` that can be used, for at most `sockets_max` sockets. Must be called on the
    /// main thread before other threads are started: they inherit the signal mask that is set here.
    ///
    /// # Errors
    /// Returns [`StartError`] when no address can be listened on, or the system refuses a poll or the signals.
    ///
    /// # Panics
    /// If there are no addresses.
    pub fn bind(addresses: &[SocketAddr], sockets_max: usize) -> Result<Self, StartError> {
        let poll = Poll::new()?;
        let mut listener = listen(addresses)?;
        accept::lengthen_backlog(&listener)?;
        let mut signals = Signals::new(Signal::Terminate | Signal::Interrupt)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        // Leaked, because it is used for the life of the process, by any number of threads.
        let waker: &'static Waker = Box::leak(Box::new(Waker::new(poll.registry(), WAKER)?));
        Ok(Self { poll, listener: Some(listener), signals, waker, accept_ready: false, sockets_max })
    }

    /// Returns the address that the server listens on, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// Returns the error of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Returns what other threads call when there is something for the loop: it ends the wait of its poll.
    pub fn waker(&self) -> impl Fn() + Copy + Send + 'static {
        let waker = self.waker;
        move || {
            if let Err(error) = waker.wake() {
                log::error!("the loop cannot be woken: {error}");
            }
        }
    }

    /// Serves until a signal asks the process to end and the node has drained; a second signal ends it at once.
    ///
    /// # Errors
    /// Returns the error of the poll.
    /// When the poll itself fails.
    pub fn run<S: Store>(
        self,
        node: Node,
        store: S,
        peers: Peers,
        dimension: Dimension,
        clock: Clock,
    ) -> io::Result<()> {
        let table = Table::new(usize::try_from(node.input_bytes_max()).unwrap_or(usize::MAX));
        let turn = Turn::new(node, table, store);
        let looping = Loop {
            server: self,
            turn,
            peers,
            resolver: Resolver::default(),
            complaints: Complaints::default(),
            dimension,
            clock,
            scratch: vec![0; READ_BUDGET],
            next_sweep_us: 0,
            next_log_us: 0,
            drain_until_us: None,
            at_once: false,
            accept_fails: false,
        };
        looping.run()
    }
}

/// Listens on the first address that can be used.
fn listen(addresses: &[SocketAddr]) -> Result<TcpListener, StartError> {
    let mut error = None;
    for &address in addresses {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(cause) => error = error.or(Some(StartError::Listen { address, cause })),
        }
    }
    Err(error.expect("there is an address"))
}

/// The state of the event loop.
struct Loop<S> {
    server: Server,
    turn: Turn<Table, S>,
    peers: Peers,
    resolver: Resolver,
    complaints: Complaints,
    dimension: Dimension,
    clock: Clock,
    scratch: Vec<u8>,
    next_sweep_us: u64,
    /// Monotonic time in microseconds at which the logger's period ends.
    next_log_us: u64,
    drain_until_us: Option<u64>,
    at_once: bool,
    /// True once a failure to accept connections was logged, until accepting succeeds again.
    accept_fails: bool,
}

impl<S: Store> Loop<S> {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut now_us = self.clock.now().monotonic_us;
        let mut was_long = false;
        while !self.is_done() {
            let timeout = self.timeout(now_us);
            match self.server.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let polled = self.clock.now();
            let thread_before_us = was_long.then(Clock::thread_us);
            self.turn.conns.now_us = polled.monotonic_us;
            for event in &events {
                self.on_readiness(polled, event)?;
            }
            if self.server.accept_ready {
                self.accept(polled);
            }
            let now = self.read_ready(polled);
            self.turn.finish(now);
            self.on_time(now);
            self.connect(now);
            self.connect_found(now);
            self.write_dirty(now);
            now_us = self.clock.monotonic_us();
            let turn_us = now_us.saturating_sub(polled.monotonic_us);
            let cpu_us = thread_before_us.map_or(0, |before_us| Clock::thread_us().saturating_sub(before_us));
            self.turn.note_length(now, turn_us, cpu_us);
            was_long = turn_us >= LONG_TURN_US;
        }
        self.turn.close();
        Ok(())
    }

    fn is_done(&self) -> bool {
        let now_us = self.turn.conns.now_us;
        // A peer counts as finished when it has taken all its bytes or its time to do so is over.
        let is_over = |conn: &Conn| match conn.state {
            State::Dialing(_) => true,
            State::Closing { deadline_us, .. } => deadline_us <= now_us,
            State::Open => false,
        };
        let is_flushed = || self.turn.conns.iter().all(is_over);
        self.at_once
            || self.drain_until_us.is_some_and(|until| until <= now_us || self.turn.node().is_drained() && is_flushed())
    }

    /// Returns how long the poll may wait.
    fn timeout(&self, now_us: u64) -> Duration {
        let conns = &self.turn.conns;
        if !conns.ready.is_empty() || !conns.dirty.is_empty() || self.server.accept_ready || self.turn.has_more() {
            return Duration::ZERO;
        }
        let mut wait_us = self.turn.node().next_timeout().saturating_sub(now_us);
        if self.turn.node().is_drained() {
            // Wakes the loop often enough to notice the deadlines of lingering connections.
            wait_us = wait_us.min(DRAIN_LINGER_US / 10);
        }
        // The poll takes milliseconds. Rounding down would make the loop spin until the time is reached.
        Duration::from_millis(wait_us.div_ceil(1000))
    }

    fn on_readiness(&mut self, now: Now, event: &Readiness) -> io::Result<()> {
        match event.token() {
            LISTENER => self.server.accept_ready = true,
            SIGNALS => self.on_signal(now)?,
            // The results for which another thread woke the loop are taken at the end of the turn.
            WAKER => {}
            Token(token) => {
                let Some(conn) = self.turn.conns.at(token - FIRST_CONN) else { return Ok(()) };
                let id = conn.id;
                if event.is_read_closed() || event.is_error() {
                    conn.stream = conn.stream.max(Stream::Ending);
                }
                if let State::Dialing(_) = conn.state {
                    self.on_connected(now, id, event.is_error());
                    return Ok(());
                }
                if event.is_error() && (conn.has_ended() || !conn.is_link) {
                    self.fail(now, id, &io::ErrorKind::ConnectionReset.into());
                    return Ok(());
                }
                if !conn.outbox.is_empty() && event.is_writable() {
                    self.turn.conns.mark_dirty(id);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.turn.conns.mark_ready(id);
                }
            }
        }
        Ok(())
    }

    fn on_signal(&mut self, now: Now) -> io::Result<()> {
        while let Some(signal) = self.server.signals.receive()? {
            if self.drain_until_us.is_some() {
                log::warn!("{signal:?} again: ending at once");
                self.at_once = true;
            } else {
                log::info!("{signal:?}: answering what was taken, then ending");
                self.drain_until_us = Some(now.after_us(DRAIN_US));
                self.server.listener = None;
                self.server.accept_ready = false;
                self.turn.conns.is_draining = true;
                self.turn.handle(now, Event::Drain);
            }
        }
        Ok(())
    }

    /// Handles the failure of a socket. A client's requests that have arrived whole are executed first, as far as they
    /// change something: [W-4.24].
    fn fail(&mut self, now: Now, id: ConnId, error: &io::Error) {
        let Some(conn) = self.turn.conns.get_mut(id) else { return };
        if conn.is_link || conn.state != State::Open {
            return self.drop_conn(now, id, error);
        }
        conn.failure.get_or_insert_with(|| error.kind());
        conn.outbox = Outbox::default();
        let (has_unsent, is_drained) = (std::mem::take(&mut conn.unsent) > 0, std::mem::take(&mut conn.filled));
        if has_unsent {
            self.turn.handle(now, Event::Unsent { conn: id, bytes: 0 });
        }
        if is_drained {
            self.turn.handle(now, Event::Drained { conn: id });
        }
        self.turn.conns.mark_ready(id);
    }

    /// Does what is due by time: the node's own timeouts, late partial frames, and the end of lingering.
    fn on_time(&mut self, now: Now) {
        if self.turn.node().next_timeout() <= now.monotonic_us {
            self.turn.handle(now, Event::Timeout);
            self.turn.finish(now);
            // Descriptors may be available now for connections that could not be accepted.
            self.server.accept_ready |= self.drain_until_us.is_none();
        }
        if self.next_sweep_us > now.monotonic_us {
            return;
        }
        self.next_sweep_us = now.after_us(SWEEP_US);
        self.tell_suppressed(now);
        let is_short = self.turn.conns.intake.is_short();
        let is_late = |conn: &Conn| conn.is_late(is_short, now.monotonic_us);
        let is_over =
            |conn: &Conn| matches!(conn.state, State::Closing { deadline_us, .. } if deadline_us <= now.monotonic_us);
        let late: Vec<ConnId> = self.turn.conns.iter().filter(|conn| is_late(conn)).map(|conn| conn.id).collect();
        let over: Vec<ConnId> = self.turn.conns.iter().filter(|conn| is_over(conn)).map(|conn| conn.id).collect();
        for id in late {
            self.turn.handle(now, Event::Broken { conn: id, error: FrameError::Unfinished });
        }
        for id in over {
            self.turn.conns.remove(id);
        }
    }

    /// Ends the logger's period when it is time, so that the number of suppressed lines is logged even when no other
    /// line is.
    fn tell_suppressed(&mut self, now: Now) {
        if self.next_log_us <= now.monotonic_us {
            self.next_log_us = now.after_us(LOG_PERIOD_US);
            log::logger().flush();
        }
    }

    /// Writes to the connections with queued bytes: to each link once, then to clients until their time is over.
    fn write_dirty(&mut self, now: Now) {
        for id in self.turn.conns.dirty.take_links() {
            self.write(now, id);
        }
        // A turn with a single client, whose latency counts, reads no clock.
        let mut end_us = None;
        let mut is_over = |conns: &Table, clock: &Clock| {
            conns.dirty.is_empty() || {
                let now_us = clock.monotonic_us();
                now_us >= *end_us.get_or_insert_with(|| now_us.saturating_add(TURN_WRITES_US))
            }
        };
        while let Some(id) = self.turn.conns.next_with_little() {
            self.write(now, id);
            if is_over(&self.turn.conns, &self.clock) {
                break;
            }
        }
        while let Some(id) = self.turn.conns.dirty.next_with_much() {
            self.write(now, id);
            if is_over(&self.turn.conns, &self.clock) {
                break;
            }
        }
    }

    /// Writes to one connection, about [`WRITE_BUDGET`] bytes at most.
    fn write(&mut self, now: Now, id: ConnId) {
        let is_draining = self.turn.conns.is_draining;
        let mut spares = std::mem::take(&mut self.turn.conns.spares);
        let result = self.turn.conns.get_mut(id).map(|conn| {
            conn.is_dirty = false;
            let waiting = conn.outbox.len();
            let result = conn.write(&mut spares, WRITE_BUDGET);
            let has_written = conn.outbox.len() < waiting;
            let linger_us = conn.linger_us(is_draining);
            if let State::Closing { deadline_us, .. } = &mut conn.state
                && has_written
            {
                *deadline_us = now.after_us(linger_us);
            }
            result
        });
        self.turn.conns.spares = spares;
        match result {
            None => return,
            Some(Err(error)) => return self.fail(now, id, &error),
            Some(Ok(may_go_on)) if may_go_on => self.turn.conns.mark_dirty(id),
            Some(Ok(_)) => {}
        }
        let Some(conn) = self.turn.conns.get_mut(id) else { return };
        let bytes = conn.outbox.len();
        let is_drained = conn.filled && bytes <= conn.queue_mark / 2;
        conn.filled &= !is_drained;
        if std::mem::replace(&mut conn.unsent, bytes) != bytes && conn.state == State::Open {
            self.turn.handle(now, Event::Unsent { conn: id, bytes });
        }
        let Some(conn) = self.turn.conns.get_mut(id) else { return };
        if is_drained {
            self.turn.handle(now, Event::Drained { conn: id });
        } else if conn.has_ended() && conn.outbox.is_empty() && matches!(conn.state, State::Closing { .. }) {
            self.turn.conns.remove(id);
        }
    }

    /// Removes a connection whose socket has failed. The node gets an event unless it has closed the connection itself.
    fn drop_conn(&mut self, now: Now, id: ConnId, error: &io::Error) {
        log::debug!("connection {} failed: {error}", id.slot);
        let was_open = self.turn.conns.remove(id).is_some_and(|conn| conn.state == State::Open);
        if was_open {
            self.turn.handle(now, Event::Closed { conn: id, cause: error.kind() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_that_can_be_used_is_listened_on() {
        // RFC 5737 keeps these for documents, so no interface has them.
        let [first, second, loopback] =
            ["198.51.100.1:0", "203.0.113.1:0", "127.0.0.1:0"].map(|address| address.parse::<SocketAddr>().unwrap());
        let listening = listen(&[first, loopback, second]).unwrap().local_addr().unwrap();
        assert_eq!(listening.ip(), loopback.ip());
        match listen(&[first, second]).unwrap_err() {
            StartError::Listen { address, .. } => assert_eq!(address, first, "the error is about the first one"),
            StartError::System(cause) => panic!("{cause}"),
        }
    }
}
