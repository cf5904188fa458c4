//! The event loop, on one thread: waits for the sockets, accepts and dials, and runs the [`Driver`] on what it finds.

mod accept;
mod dialing;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::event::Event as Readiness;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use mio_signals::{Signal, Signals};

use super::Clock;
use super::dial::Peers;
use super::resolver::Resolver;
use crate::driver::{Driver, Os, Ready, Table};
use crate::limits::{LOG_PERIOD_US, LONG_TURN_US};
use crate::node::Node;
use crate::turn::{Store, Turn};
use crate::types::{Dimension, Now};

use dialing::Complaints;
use sockets::Sockets;

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const WAKER: Token = Token(2);
const FIRST_CONN: usize = 3;

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
        let sockets_max = self.sockets_max;
        let looping = Loop {
            server: self,
            driver: Driver::new(turn, dimension, sockets_max),
            sockets: Sockets { clock },
            peers,
            resolver: Resolver::default(),
            complaints: Complaints::default(),
            dimension,
            next_log_us: 0,
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

/// The state of the event loop: the [`Driver`], and what it leaves to its caller.
struct Loop<S> {
    server: Server,
    driver: Driver<Table<TcpStream>, S>,
    sockets: Sockets,
    peers: Peers,
    resolver: Resolver,
    complaints: Complaints,
    dimension: Dimension,
    /// Monotonic time in microseconds at which the logger's period ends.
    next_log_us: u64,
    at_once: bool,
    /// True once a failure to accept connections was logged, until accepting succeeds again.
    accept_fails: bool,
}

impl<S: Store> Loop<S> {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut now_us = self.sockets.now().monotonic_us;
        let mut was_long = false;
        while !self.at_once && !self.driver.is_done() {
            let timeout = self.timeout(now_us);
            match self.server.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let polled = self.sockets.now();
            let thread_before_us = was_long.then(Clock::thread_us);
            self.driver.begin(polled);
            for event in &events {
                self.on_readiness(polled, event)?;
            }
            if self.server.accept_ready {
                self.accept(polled);
            }
            let now = self.driver.read_ready(&mut self.sockets, polled);
            self.driver.finish(now);
            if self.driver.on_time(&mut self.sockets, now) {
                // Descriptors may be available now for connections that could not be accepted.
                self.server.accept_ready |= !self.driver.is_draining();
            }
            self.tell_suppressed(now);
            self.connect(now);
            self.connect_found(now);
            self.driver.write_dirty(&mut self.sockets, now);
            now_us = self.sockets.monotonic_us();
            let turn_us = now_us.saturating_sub(polled.monotonic_us);
            let cpu_us = thread_before_us.map_or(0, |before_us| Clock::thread_us().saturating_sub(before_us));
            self.driver.turn.note_length(now, turn_us, cpu_us);
            was_long = turn_us >= LONG_TURN_US;
        }
        self.driver.turn.close();
        Ok(())
    }

    /// Returns how long the poll may wait.
    fn timeout(&self, now_us: u64) -> Duration {
        let wait_us = if self.server.accept_ready { 0 } else { self.driver.wait_us(now_us) };
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
                let Some(id) = self.driver.conns().at(token - FIRST_CONN).map(|conn| conn.id) else { return Ok(()) };
                let ready = Ready {
                    is_readable: event.is_readable(),
                    is_writable: event.is_writable(),
                    is_read_closed: event.is_read_closed(),
                    is_error: event.is_error(),
                };
                if let Some(node) = self.driver.on_ready(&mut self.sockets, now, id, ready) {
                    self.on_connected(now, (id, node), event.is_error());
                }
            }
        }
        Ok(())
    }

    fn on_signal(&mut self, now: Now) -> io::Result<()> {
        while let Some(signal) = self.server.signals.receive()? {
            if self.driver.is_draining() {
                log::warn!("{signal:?} again: ending at once");
                self.at_once = true;
            } else {
                log::info!("{signal:?}: answering what was taken, then ending");
                self.server.listener = None;
                self.server.accept_ready = false;
                self.driver.drain(now);
            }
        }
        Ok(())
    }

    /// Ends the logger's period when it is time, so that the number of suppressed lines is logged even when no other
    /// line is.
    fn tell_suppressed(&mut self, now: Now) {
        if self.next_log_us <= now.monotonic_us {
            self.next_log_us = now.after_us(LOG_PERIOD_US);
            log::logger().flush();
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
