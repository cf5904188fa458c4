//! The event loop without sockets, poll and clock: what a pass reads, handles and writes, in which order, and for how
//! long. The daemon (`net`) runs it over TCP and the simulator over a virtual network; both reach it by [`Os`].
//!
//! | file | what |
//! |---|---|
//! | `table` | all connections; what the turn asks of them |
//! | `conn` | one connection: bytes in, frames out of them, bytes out |
//! | `input` | what is read, and for how long |
//! | `output` | what is written, and for how long |
//! | `fair` | which connection is read next |
//! | `dirty` | which connection is written next |
//! | `inbox`, `outbox` | the two buffers of a connection, which exist only while something is in them |
//! | `intake` | the memory of all inboxes |
//!
//! ```text
//! begin · on_ready for each socket · accept · read_ready · finish · on_time · write_dirty
//! ```
//!
//! Timers run after the input, so that a frame that has already arrived counts as a sign of life. The driver does not
//! listen, and it does not know where the neighbours are: its caller adds the connections.

mod conn;
mod dirty;
mod fair;
mod inbox;
mod input;
mod intake;
mod outbox;
mod output;
mod table;

use std::io::{self, IoSlice};

pub use conn::{Conn, Got, State, Stream};
pub use outbox::{Order, Outbox, Spares};
pub use table::Table;

use crate::limits::{DRAIN_LINGER_US, DRAIN_US, READ_BUDGET};
use crate::node::Event;
use crate::turn::{Connections, Store, Turn};
use crate::types::{ConnId, Dimension, NodeId, Now, Source};
use crate::wire::FrameError;

/// Interval in microseconds at which connections are checked for late partial frames and for the end of their
/// lingering.
const SWEEP_US: u64 = 500_000;

/// The sockets, of type `K`, and the clock. Readiness is edge-triggered: a socket is reported once each time it becomes
/// ready, not for as long as it is.
pub trait Os<K> {
    /// Reads once. Less than `room` means that nothing more has arrived, and 0 is the end of the stream.
    ///
    /// # Errors
    /// Returns `WouldBlock` if nothing has arrived, or the socket's error.
    fn read(&mut self, socket: &mut K, room: &mut [u8]) -> io::Result<usize>;
    /// Writes once. Less than was offered means that the socket takes no more, until it is reported as writable.
    ///
    /// # Errors
    /// Returns `WouldBlock` if it takes nothing, or the socket's error.
    fn write(&mut self, socket: &mut K, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Shuts down the sending direction.
    ///
    /// # Errors
    /// Returns the socket's error.
    fn shut(&mut self, socket: &mut K) -> io::Result<()>;
    /// Closes a socket. `is_flushed` is true if everything that was queued for it was written.
    fn close(&mut self, socket: K, is_flushed: bool);
    /// Notes that a socket belongs to a link.
    fn note_link(&mut self, socket: &mut K);
    /// Reads the clocks, for what is handled next.
    fn now(&mut self) -> Now;
    /// Reads the monotonic clock, in microseconds, for the limits of a pass.
    fn monotonic_us(&mut self) -> u64;
}

/// The connections of a driver: a table, or what watches one in a test.
pub trait Tabled: Connections {
    /// The type of its sockets.
    type Socket;
    /// Returns the table.
    fn table(&self) -> &Table<Self::Socket>;
    /// Returns the table.
    fn table_mut(&mut self) -> &mut Table<Self::Socket>;
}

/// What is reported about a socket.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Bytes have arrived.
    pub is_readable: bool,
    /// It takes bytes again.
    pub is_writable: bool,
    /// The peer has closed its sending direction; bytes before that may be left.
    pub is_read_closed: bool,
    /// It has failed.
    pub is_error: bool,
}

/// The loop of one node.
#[derive(Debug)]
pub struct Driver<C, S> {
    /// The node, its connections and its log.
    pub turn: Turn<C, S>,
    dimension: Dimension,
    /// Maximum number of sockets. When it is reached, a new connection replaces the one that has lingered longest.
    sockets_max: usize,
    scratch: Vec<u8>,
    next_sweep_us: u64,
    drain_until_us: Option<u64>,
}

impl<C: Tabled, S: Store> Driver<C, S> {
    /// Creates the loop of a node.
    pub fn new(turn: Turn<C, S>, dimension: Dimension, sockets_max: usize) -> Self {
        let scratch = vec![0; READ_BUDGET];
        Self { turn, dimension, sockets_max, scratch, next_sweep_us: 0, drain_until_us: None }
    }

    /// Begins a pass.
    pub fn begin(&mut self, now: Now) {
        self.conns().now_us = now.monotonic_us;
    }

    /// Returns the connections.
    pub fn conns(&mut self) -> &mut Table<C::Socket> {
        self.turn.conns.table_mut()
    }

    /// Begins to end the process: what was taken is answered, then [`Self::is_done`] is true.
    pub fn drain(&mut self, now: Now) {
        self.drain_until_us = Some(now.after_us(DRAIN_US));
        self.conns().is_draining = true;
        self.turn.handle(now, Event::Drain);
    }

    /// Returns true once [`Self::drain`] was called.
    pub const fn is_draining(&self) -> bool {
        self.drain_until_us.is_some()
    }

    /// Returns true if the process may end.
    pub fn is_done(&self) -> bool {
        let conns = self.turn.conns.table();
        let now_us = conns.now_us;
        // A peer counts as finished when it has taken all its bytes or its time to do so is over.
        let is_over = |conn: &Conn<C::Socket>| match conn.state {
            State::Dialing(_) => true,
            State::Closing { deadline_us, .. } => deadline_us <= now_us,
            State::Open => false,
        };
        self.drain_until_us
            .is_some_and(|until_us| until_us <= now_us || self.turn.node().is_drained() && conns.iter().all(is_over))
    }

    /// Returns how long the next pass may wait for a socket, in microseconds.
    pub fn wait_us(&self, now_us: u64) -> u64 {
        let conns = self.turn.conns.table();
        if !conns.ready.is_empty() || !conns.dirty.is_empty() || self.turn.has_more() {
            return 0;
        }
        let wait_us = self.turn.node().next_timeout().saturating_sub(now_us);
        // Soon enough to notice the deadlines of lingering connections.
        if self.turn.node().is_drained() { wait_us.min(DRAIN_LINGER_US / 10) } else { wait_us }
    }

    /// Handles what is reported about a socket. Returns the neighbour that is being dialled on it, if it is not
    /// connected yet: the caller knows whether that has succeeded now.
    pub fn on_ready(&mut self, os: &mut impl Os<C::Socket>, now: Now, id: ConnId, ready: Ready) -> Option<NodeId> {
        let conn = self.turn.conns.table_mut().get_mut(id)?;
        if ready.is_read_closed || ready.is_error {
            conn.stream = conn.stream.max(Stream::Ending);
        }
        if let State::Dialing(node) = conn.state {
            return Some(node);
        }
        if ready.is_error && (conn.has_ended() || !conn.is_link) {
            self.fail(os, now, id, &io::ErrorKind::ConnectionReset.into());
            return None;
        }
        if !conn.outbox.is_empty() && ready.is_writable {
            self.conns().mark_dirty(id);
        }
        if ready.is_readable || ready.is_read_closed || ready.is_error {
            self.conns().mark_ready(id);
        }
        None
    }

    /// Adds an accepted connection from this source.
    pub fn accept(&mut self, now: Now, socket: C::Socket, source: Source) {
        let id = self.conns().insert(Some(source), |id| Conn::new(id, socket, State::Open));
        self.turn.handle(now, Event::Accepted { conn: id, source });
    }

    /// Closes the connection that has lingered longest if there are too many for another one.
    pub fn make_room(&mut self, os: &mut impl Os<C::Socket>) {
        if self.conns().len() >= self.sockets_max
            && let Some(id) = self.conns().take_lingering()
        {
            self.remove(os, id);
        }
    }

    /// Adds a connection to a neighbour that is not established yet.
    pub fn dial(&mut self, node: NodeId, socket: C::Socket) {
        self.conns().insert(None, |id| Conn::new(id, socket, State::Dialing(node)));
    }

    /// Gives up the attempt to connect to a neighbour, if there is one.
    pub fn hang_up(&mut self, os: &mut impl Os<C::Socket>, node: NodeId) {
        let earlier = self.conns().iter().find(|conn| conn.state == State::Dialing(node)).map(|conn| conn.id);
        earlier.into_iter().for_each(|id| self.remove(os, id));
    }

    /// Handles the success of an attempt to connect to a neighbour.
    pub fn on_connected(&mut self, now: Now, id: ConnId, node: NodeId) {
        if let Some(conn) = self.conns().get_mut(id) {
            conn.state = State::Open;
            self.conns().mark_ready(id);
            self.turn.handle(now, Event::Dialed { conn: id, node });
        }
    }

    /// Finishes the turn of the input.
    pub fn finish(&mut self, now: Now) {
        self.turn.finish(now);
    }

    /// Does what is due by time: the node's own timeouts, late partial frames, and the end of lingering. Returns true
    /// if the node had something to do.
    pub fn on_time(&mut self, os: &mut impl Os<C::Socket>, now: Now) -> bool {
        let is_due = self.turn.node().next_timeout() <= now.monotonic_us;
        if is_due {
            // The process may have stood still since `now`. Members of replica groups count ticks after a message, so
            // the time of the first one must not be from before that message was handled (`VOTE_HOLD_TICKS`).
            let now = os.now();
            self.turn.handle(now, Event::Timeout);
            self.turn.finish(now);
        }
        if self.next_sweep_us <= now.monotonic_us {
            self.next_sweep_us = now.after_us(SWEEP_US);
            self.sweep(os, now);
        }
        is_due
    }

    fn sweep(&mut self, os: &mut impl Os<C::Socket>, now: Now) {
        let conns = self.turn.conns.table();
        let is_short = conns.intake.is_short();
        let is_late = |conn: &&Conn<C::Socket>| conn.is_late(is_short, now.monotonic_us);
        let is_over = |conn: &&Conn<C::Socket>| {
            let State::Closing { deadline_us, .. } = conn.state else { return false };
            deadline_us <= now.monotonic_us
        };
        let late: Vec<ConnId> = conns.iter().filter(is_late).map(|conn| conn.id).collect();
        let over: Vec<ConnId> = conns.iter().filter(is_over).map(|conn| conn.id).collect();
        for id in late {
            self.turn.handle(now, Event::Broken { conn: id, error: FrameError::Unfinished });
        }
        for id in over {
            self.remove(os, id);
        }
    }

    /// Handles the failure of a socket. A client's requests that have arrived whole are executed first, as far as they
    /// change something: [W-4.24].
    fn fail(&mut self, os: &mut impl Os<C::Socket>, now: Now, id: ConnId, error: &io::Error) {
        let Some(conn) = self.conns().get_mut(id) else { return };
        if conn.is_link || conn.state != State::Open {
            return self.drop_conn(os, now, id, error);
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
        self.conns().mark_ready(id);
    }

    /// Removes a connection whose socket has failed. The node gets an event unless it has closed the connection
    /// itself.
    fn drop_conn(&mut self, os: &mut impl Os<C::Socket>, now: Now, id: ConnId, error: &io::Error) {
        log::debug!("connection {} failed: {error}", id.slot);
        let was_open = self.conns().get_mut(id).is_some_and(|conn| conn.state == State::Open);
        self.remove(os, id);
        if was_open {
            self.turn.handle(now, Event::Closed { conn: id, cause: error.kind() });
        }
    }

    /// Removes a connection, and closes its socket.
    pub fn remove(&mut self, os: &mut impl Os<C::Socket>, id: ConnId) {
        if let Some(conn) = self.conns().remove(id) {
            os.close(conn.socket, conn.outbox.is_empty());
        }
    }
}

impl<K> Tabled for Table<K> {
    type Socket = K;

    fn table(&self) -> &Self {
        self
    }

    fn table_mut(&mut self) -> &mut Self {
        self
    }
}

#[cfg(test)]
mod tests;
