//! A simulated process: the production [`Driver`] over the simulated network.

use std::io::{self, ErrorKind, IoSlice};

use dht_node::driver::{Driver, Os, Ready};
use dht_node::node::{Event, Node};
use dht_node::turn::Turn;
use dht_node::types::{Now, Source};
use fastrand::Rng;

use crate::conns::SimConns;
use crate::network::Network;
use crate::profile::Profile;
use crate::storage::SimStore;
use crate::trace::{Note, Trace};
use crate::wire::{End, Leave, Place};

/// Number of addresses that connections come from.
const SOURCES: usize = 4;

/// More sockets than any node has.
const SOCKETS_MAX: usize = 1 << 16;

/// The parts of the world that a pass of a node needs.
pub(crate) struct Around<'a> {
    pub now_us: u64,
    pub network: &'a mut Network,
    pub trace: &'a mut Trace,
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
    pub driver: Driver<SimConns, SimStore>,
    machine: Machine,
    /// Connections that wait to be accepted.
    knocking: Vec<End>,
    /// Ends of which there is something to report.
    marked: Vec<End>,
    care: Care,
    turns: u64,
}

/// The properties of a machine.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// The difference of its clocks from the world's.
    monotonic_offset_us: u64,
    wall_us: u64,
    /// Most bytes that a read returns, unless very many wait.
    read_bytes: usize,
    /// What the clock advances in a pass when it is read.
    clock_us: u64,
}

/// The simulated network and clock, as a node uses them in a pass.
struct Outside<'a, 'b> {
    around: &'a mut Around<'b>,
    index: usize,
    machine: Machine,
    now: Now,
    elapsed_us: u64,
}

impl Os<End> for Outside<'_, '_> {
    /// Returns less than there is on some machines, as if the rest came just after the read.
    fn read(&mut self, end: &mut End, room: &mut [u8]) -> io::Result<usize> {
        let Around { now_us, network, trace } = self.around;
        let most = self.machine.read_bytes.max(network.arrived(*end) / 8).min(room.len());
        let count = network.read_into(*end, &mut room[..most])?;
        trace.mix(*now_us, self.index, &room[..count]);
        if count == most && network.arrived(*end) > 0 {
            network.news.push(*end);
        }
        Ok(count)
    }

    fn write(&mut self, end: &mut End, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.around.network.is_broken(*end) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let mut sent = 0;
        for slice in slices {
            let count = self.around.network.send(self.around.now_us, *end, slice);
            sent += count;
            if count < slice.len() {
                break;
            }
        }
        if sent == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    fn shut(&mut self, end: &mut End) -> io::Result<()> {
        self.around.network.shut(self.around.now_us, *end);
        Ok(())
    }

    fn close(&mut self, end: End, is_flushed: bool) {
        self.note(end, "closed");
        if is_flushed && self.around.network.is_open(end) {
            self.around.network.shut(self.around.now_us, end);
        }
        self.around.network.leave(self.around.now_us, end, if is_flushed { Leave::Done } else { Leave::Reset });
    }

    fn note_link(&mut self, _: &mut End) {}

    fn now(&mut self) -> Now {
        self.now
    }

    fn monotonic_us(&mut self) -> u64 {
        self.elapsed_us += self.machine.clock_us;
        self.now.monotonic_us + self.elapsed_us
    }
}

impl Outside<'_, '_> {
    fn note(&mut self, end: End, what: &'static str) {
        let (at, peer) = (Place::Node(self.index), self.around.network.place(end.other()));
        self.around.trace.note(self.around.now_us, Note::Conn { at, peer, what });
    }
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
        let conns = SimConns::new(&node, profile, rng);
        let (read_bytes, clock_us) = (profile.nodes.read_bytes, profile.nodes.clock_us);
        Self {
            index,
            driver: Driver::new(Turn::new(node, conns, store), profile.dimension, SOCKETS_MAX),
            machine: Machine { monotonic_offset_us, wall_us, read_bytes, clock_us },
            knocking: Vec::new(),
            marked: Vec::new(),
            care: Care::EachTurn,
            turns: 0,
        }
    }

    /// Sets when the node is checked.
    pub(crate) fn set_care(&mut self, care: Care) {
        self.care = care;
        self.driver.turn.conns.is_careful = care == Care::EachEvent;
    }

    /// Returns when it needs a turn even without input.
    pub(crate) fn next_us(&self, now_us: u64) -> u64 {
        if !self.knocking.is_empty() || !self.marked.is_empty() {
            return now_us;
        }
        let wait_us = self.driver.wait_us(self.now(now_us).monotonic_us);
        now_us.saturating_add(wait_us).min(self.driver.turn.store.next_us())
    }

    pub(crate) const fn is_draining(&self) -> bool {
        self.driver.is_draining()
    }

    /// Lets the wall clock jump.
    pub(crate) const fn set_wall(&mut self, wall_us: u64) {
        self.machine.wall_us = wall_us;
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
        if !self.marked.contains(&end) {
            self.marked.push(end);
        }
    }

    /// Runs one pass of the loop, and returns the state of the process afterwards.
    pub(crate) fn pass(&mut self, around: &mut Around<'_>) -> Fate {
        let now = self.now(around.now_us);
        self.driver.begin(now);
        self.driver.turn.conns.world_us = around.now_us;
        self.driver.turn.store.set_now(around.now_us);
        for conn in self.driver.turn.conns.release() {
            self.driver.turn.handle(now, Event::Filled { conn });
        }
        let os = &mut Outside { around, index: self.index, machine: self.machine, now, elapsed_us: 0 };
        for end in std::mem::take(&mut self.marked) {
            self.report(os, now, end);
        }
        for end in std::mem::take(&mut self.knocking) {
            os.note(end, "accepted");
            let source = Source::Ipv4([10, 0, 0, u8::try_from(end.wire % SOURCES).expect("few")]);
            self.driver.make_room(os);
            self.driver.accept(now, end, source);
            // What has arrived before was reported to nobody.
            self.report(os, now, end);
        }
        let now = self.driver.read_ready(os, now);
        self.driver.finish(now);
        self.driver.on_time(os, now);
        if self.driver.turn.store.has_failed() {
            return Fate::Fails;
        }
        self.connect(os);
        self.driver.write_dirty(os, now);
        for (end, header) in std::mem::take(&mut self.driver.turn.conns.seen) {
            let places = (Place::Node(self.index), around.network.place(end.other()));
            around.trace.frame(around.now_us, places, &header);
        }
        self.turns += 1;
        if self.care != Care::SomeTurns || self.turns.is_multiple_of(TURNS_A_CHECK) {
            self.driver.turn.node().check();
        }
        self.driver.turn.conns.check(self.driver.turn.store.is_busy());
        if self.driver.is_done() { Fate::Ends } else { Fate::GoesOn }
    }

    /// Asks the process to end.
    pub(crate) fn drain(&mut self, now_us: u64) {
        let now = self.now(now_us);
        self.driver.begin(now);
        self.driver.drain(now);
    }

    /// Ends the process with its connections.
    pub(crate) fn end(self, how: Leave, around: &mut Around<'_>) {
        let (totals, conns) = (&mut around.trace.totals, &self.driver.turn.conns);
        let [links_up, links_down, queues_filled] = conns.counts;
        totals.links_up += links_up;
        totals.links_down += links_down;
        totals.queues_filled += queues_filled;
        totals.overtakes += conns.overtakes;
        totals.pushed_chunks += conns.edges.chunks;
        totals.pushes_lost += conns.sieve.lost;
        totals.pushes_held += conns.sieve.kept;
        if let SimStore::Disk(store) = &self.driver.turn.store {
            totals.add(&store.totals);
        }
        for end in conns.ends().chain(self.knocking) {
            around.network.leave(around.now_us, end, how);
        }
    }

    const fn now(&self, now_us: u64) -> Now {
        let Machine { monotonic_offset_us, wall_us, .. } = self.machine;
        Now { monotonic_us: now_us + monotonic_offset_us, wall_us: now_us + wall_us }
    }

    /// Reports to the driver what the network knows of an end.
    fn report(&mut self, os: &mut Outside<'_, '_>, now: Now, end: End) {
        let Some(id) = self.driver.turn.conns.find(end) else { return };
        let (is_read_closed, is_error) = (os.around.network.has_ended(end), os.around.network.is_broken(end));
        let ready = Ready { is_readable: true, is_writable: true, is_read_closed, is_error };
        let Some(node) = self.driver.on_ready(os, now, id, ready) else { return };
        if os.around.network.is_open(end) {
            os.note(end, "connected");
            self.driver.on_connected(now, id, node);
        } else if is_error {
            self.driver.remove(os, id);
            self.driver.turn.handle(now, Event::DialFailed { node });
        }
    }

    /// Starts the connects that the node has requested.
    fn connect(&mut self, os: &mut Outside<'_, '_>) {
        for node in std::mem::take(&mut self.driver.conns().dials) {
            self.driver.hang_up(os, node);
            let to = Place::Node(usize::from(node.index()));
            let end = os.around.network.dial(os.around.now_us, Place::Node(self.index), to);
            self.driver.dial(node, end);
        }
    }
}
