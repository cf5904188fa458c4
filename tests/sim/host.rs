//! A simulated process: a production [`Turn`] and the loop around it, in the order of `driver.rs`.

use std::io::{self, ErrorKind, Write};

use dht_node::driver::{Outbox, Spares};
use dht_node::limits::{DRAIN_US, PARTIAL_FRAME_TIMEOUT_US};
use dht_node::node::{Event, Node};
use dht_node::turn::Turn;
use dht_node::types::{ConnId, Dimension, Now, Source};
use dht_node::wire::FrameError;
use fastrand::Rng;

use crate::conns::{Conn, SimConns, State};
use crate::network::Network;
use crate::profile::Profile;
use crate::storage::SimStore;
use crate::trace::{Note, Trace};
use crate::wire::{End, Leave, Place};

/// Number of addresses that connections come from.
const SOURCES: usize = 4;

/// The parts of the world that a pass of a node needs.
pub(crate) struct Around<'a> {
    pub now_us: u64,
    pub network: &'a mut Network,
    pub trace: &'a mut Trace,
}

/// One end of a connection, as a socket.
struct Socket<'a> {
    now_us: u64,
    network: &'a mut Network,
    end: End,
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.network.send(self.now_us, self.end, bytes) {
            0 => Err(ErrorKind::WouldBlock.into()),
            sent => Ok(sent),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Around<'_> {
    /// Sends as much as there is room for, and returns the number of bytes.
    fn send(&mut self, end: End, outbox: &mut Outbox, spares: &mut Spares) -> usize {
        let before = outbox.len();
        let socket = &mut Socket { now_us: self.now_us, network: self.network, end };
        while !outbox.is_empty() && outbox.write_to(spares, |slices| socket.write_vectored(slices)).is_ok() {}
        before - outbox.len()
    }
}

/// The result of a pass of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    GoesOn,
    /// It was asked to end, and has flushed everything.
    Ends,
    /// Its disk has failed.
    Fails,
}

/// When invariants are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    EachEvent,
    EachTurn,
    /// Checking a node with very much data takes too long.
    SomeTurns,
}

/// Of the turns that are checked only sometimes, one in this many is.
const TURNS_A_CHECK: u64 = 300;

/// A running node.
#[derive(Debug)]
pub(crate) struct Host {
    pub index: usize,
    pub turn: Turn<SimConns, SimStore>,
    pub dimension: Dimension,
    pub frames_per_turn: usize,
    /// The difference of this machine's clocks from the world's.
    monotonic_offset_us: u64,
    wall_us: u64,
    /// Connections that wait to be accepted.
    knocking: Vec<End>,
    drain_until_us: Option<u64>,
    /// When the node is checked.
    pub care: Care,
    turns: u64,
}

impl Host {
    /// Creates a process around a node that has restored everything in its store, on a machine with these clocks.
    pub(crate) fn new(
        (node, index): (Node, usize),
        store: SimStore,
        profile: &Profile,
        (clocks, rng): ((u64, u64), Rng),
    ) -> Self {
        let (monotonic_offset_us, wall_us) = clocks;
        let dimension = profile.dimension;
        let conns = SimConns::new(dimension, profile.nodes.clone(), profile.is_calm(), rng);
        Self {
            index,
            turn: Turn::new(node, conns, store),
            dimension,
            frames_per_turn: profile.nodes.frames_per_turn,
            monotonic_offset_us,
            wall_us,
            knocking: Vec::new(),
            drain_until_us: None,
            care: Care::EachTurn,
            turns: 0,
        }
    }

    /// Returns when it needs a turn even without input.
    pub(crate) fn next_timeout_us(&self) -> u64 {
        let timeout_us = self.turn.node().next_timeout().saturating_sub(self.monotonic_offset_us);
        timeout_us.min(self.turn.store.next_us())
    }

    pub(crate) const fn has_work(&self) -> bool {
        !self.turn.conns.ready.is_empty() || !self.knocking.is_empty() || self.turn.has_more()
    }

    pub(crate) const fn is_draining(&self) -> bool {
        self.drain_until_us.is_some()
    }

    /// Lets the wall clock jump.
    pub(crate) const fn set_wall(&mut self, wall_us: u64) {
        self.wall_us = wall_us;
    }

    /// Handles a connect. Returns whether this process is listening.
    pub(crate) fn knock(&mut self, end: End) -> bool {
        let listens = !self.is_draining();
        if listens {
            self.knocking.push(end);
        }
        listens
    }

    /// Handles an event at one end of a connection.
    pub(crate) fn mark(&mut self, end: End) {
        if let Some(id) = self.turn.conns.find(end) {
            self.turn.conns.mark_ready(id);
        }
    }

    /// Runs one pass of the loop, and returns the state of the process afterwards.
    pub(crate) fn pass(&mut self, around: &mut Around<'_>) -> Fate {
        let now = self.now(around.now_us);
        (self.turn.conns.now_us, self.turn.conns.world_us) = (now.monotonic_us, around.now_us);
        self.turn.store.set_now(around.now_us);
        self.turn.conns.release();
        let readies = std::mem::take(&mut self.turn.conns.ready);
        for &id in &readies {
            self.establish(now, id, around);
        }
        for end in std::mem::take(&mut self.knocking) {
            let id = self.turn.conns.insert(end, State::Open);
            self.note(around, end, "accepted");
            let source = Source::Ipv4([10, 0, 0, u8::try_from(end.wire % SOURCES).expect("few")]);
            self.handle(now, Event::Accepted { conn: id, source });
            self.turn.conns.mark_ready(id);
        }
        for id in readies {
            self.read(now, id, around);
        }
        self.finish(now);
        self.on_time(now, around);
        if self.turn.store.has_failed() {
            return Fate::Fails;
        }
        self.connect(around);
        self.write_all(now, around);
        self.turns += 1;
        if self.care != Care::SomeTurns || self.turns.is_multiple_of(TURNS_A_CHECK) {
            self.turn.node().check();
        }
        self.turn.conns.check(self.turn.store.is_busy());
        if self.is_over(now) { Fate::Ends } else { Fate::GoesOn }
    }

    /// Asks the process to end.
    pub(crate) fn drain(&mut self, now_us: u64) {
        let now = self.now(now_us);
        self.drain_until_us = Some(now.after_us(DRAIN_US));
        (self.turn.conns.now_us, self.turn.conns.is_draining) = (now.monotonic_us, true);
        self.handle(now, Event::Drain);
    }

    /// Ends the process with its connections.
    pub(crate) fn end(self, how: Leave, around: &mut Around<'_>) {
        let (totals, conns) = (&mut around.trace.totals, &self.turn.conns);
        let [links_up, links_down, queues_filled] = conns.counts;
        totals.links_up += links_up;
        totals.links_down += links_down;
        totals.queues_filled += queues_filled;
        totals.pushed_chunks += conns.edges.chunks;
        totals.pushes_lost += conns.sieve.lost;
        totals.pushes_held += conns.sieve.kept;
        if let SimStore::Disk(store) = &self.turn.store {
            totals.add(&store.totals);
        }
        for conn in self.turn.conns.iter() {
            around.network.leave(around.now_us, conn.end, how);
        }
        for end in self.knocking {
            around.network.leave(around.now_us, end, how);
        }
    }

    const fn now(&self, now_us: u64) -> Now {
        Now { monotonic_us: now_us + self.monotonic_offset_us, wall_us: now_us + self.wall_us }
    }

    pub(crate) fn handle(&mut self, now: Now, event: Event<'_>) {
        self.turn.conns.step += 1;
        self.turn.handle(now, event);
        if self.care == Care::EachEvent {
            self.turn.node().check();
        }
    }

    fn finish(&mut self, now: Now) {
        self.turn.conns.step += 1;
        self.turn.finish(now);
    }

    /// Handles the success of a connect in progress.
    fn establish(&mut self, now: Now, id: ConnId, around: &mut Around<'_>) {
        let Some(conn) = self.turn.conns.get_mut(id) else { return };
        conn.is_ready = false;
        if let State::Dialing(node) = conn.state
            && around.network.is_open(conn.end)
        {
            conn.state = State::Open;
            let end = conn.end;
            self.note(around, end, "connected");
            self.handle(now, Event::Dialed { conn: id, node });
        }
    }

    fn on_time(&mut self, now: Now, around: &mut Around<'_>) {
        if self.turn.node().next_timeout() <= now.monotonic_us {
            self.handle(now, Event::Timeout);
            self.finish(now);
        }
        let is_late = |conn: &&Conn| {
            let since_us = conn.partial_since_us.filter(|_| conn.state == State::Open && !conn.paused);
            since_us.is_some_and(|since_us| since_us + PARTIAL_FRAME_TIMEOUT_US <= now.monotonic_us)
        };
        let is_over =
            |conn: &&Conn| matches!(conn.state, State::Closing { deadline_us, .. } if deadline_us <= now.monotonic_us);
        let late: Vec<ConnId> = self.turn.conns.iter().filter(is_late).map(|conn| conn.id).collect();
        let over: Vec<ConnId> = self.turn.conns.iter().filter(is_over).map(|conn| conn.id).collect();
        for id in late {
            self.handle(now, Event::Broken { conn: id, error: FrameError::Unfinished });
        }
        for id in over {
            self.remove(id, around);
        }
    }

    /// Starts the connects that the node has requested.
    fn connect(&mut self, around: &mut Around<'_>) {
        for node in std::mem::take(&mut self.turn.conns.dials) {
            let earlier = self.turn.conns.iter().find(|conn| conn.state == State::Dialing(node)).map(|conn| conn.id);
            earlier.inspect(|id| self.remove(*id, around));
            let to = Place::Node(usize::from(node.index()));
            let end = around.network.dial(around.now_us, Place::Node(self.index), to);
            self.turn.conns.insert(end, State::Dialing(node));
        }
    }

    /// Writes as much as there is room for.
    fn write_all(&mut self, now: Now, around: &mut Around<'_>) {
        let ids: Vec<ConnId> = self.turn.conns.iter().map(|conn| conn.id).collect();
        let mut spares = std::mem::take(&mut self.turn.conns.spares);
        for id in ids {
            let Some(conn) = self.turn.conns.get_mut(id) else { continue };
            if !conn.outbox.is_empty() && around.network.is_broken(conn.end) {
                // The loss of a connection with suspended reads is detected only by writing.
                self.drop_conn(now, id, around);
                continue;
            }
            if !conn.outbox.is_empty() && around.network.is_open(conn.end) {
                let written = around.send(conn.end, &mut conn.outbox, &mut spares);
                let linger_us = conn.linger_us(self.drain_until_us.is_some());
                if let State::Closing { deadline_us, .. } = &mut conn.state
                    && written > 0
                {
                    *deadline_us = now.after_us(linger_us);
                }
            }
            if let State::Closing { is_shut, .. } = &mut conn.state
                && conn.outbox.is_empty()
            {
                if !std::mem::replace(is_shut, true) {
                    around.network.shut(around.now_us, conn.end);
                }
                if conn.ended {
                    self.remove(id, around);
                }
                continue;
            }
            let bytes = conn.outbox.len();
            let is_drained = conn.filled && bytes <= conn.queue_mark / 2;
            conn.filled &= !is_drained;
            if std::mem::replace(&mut conn.unsent, bytes) != bytes {
                self.handle(now, Event::Unsent { conn: id, bytes });
            }
            if is_drained {
                self.handle(now, Event::Drained { conn: id });
            }
        }
        self.turn.conns.spares = spares;
    }

    /// Handles a connection that was reset or could not be established. The node gets an event unless it has closed the
    /// connection itself.
    pub(crate) fn drop_conn(&mut self, now: Now, id: ConnId, around: &mut Around<'_>) {
        let Some(state) = self.turn.conns.get_mut(id).map(|conn| conn.state) else { return };
        self.remove(id, around);
        match state {
            State::Dialing(node) => self.handle(now, Event::DialFailed { node }),
            State::Open => self.handle(now, Event::Closed { conn: id, cause: ErrorKind::ConnectionReset }),
            State::Closing { .. } => {}
        }
    }

    fn remove(&mut self, id: ConnId, around: &mut Around<'_>) {
        if let Some(conn) = self.turn.conns.remove(id) {
            self.note(around, conn.end, "closed");
            around.network.leave(
                around.now_us,
                conn.end,
                if !conn.outbox.is_empty() { Leave::Reset } else { Leave::Done },
            );
        }
    }

    fn is_over(&self, now: Now) -> bool {
        let is_flushed = || self.turn.conns.iter().all(|conn| matches!(conn.state, State::Dialing(_)));
        self.drain_until_us
            .is_some_and(|until_us| until_us <= now.monotonic_us || self.turn.node().is_drained() && is_flushed())
    }

    fn note(&self, around: &mut Around<'_>, end: End, what: &'static str) {
        let (at, peer) = (Place::Node(self.index), around.network.place(end.other()));
        around.trace.note(around.now_us, Note::Conn { at, peer, what });
    }
}
