//! A node as a pure function of its inputs: no I/O, no clock, no randomness of its own.
//!
//! [`Node::handle`] takes one [`Event`] and appends every resulting action to `out`. There is no other output and there
//! are no callbacks. If the node learns the result of an action at all, it is through a later event.
//!
//! | file | subject |
//! |---|---|
//! | `event`, `action`, `lookup` | the contract |
//! | `hello`, `conns`, `sources` | who is at the other end of a connection, and what each address uses |
//! | `end` | why connections end, for the log |
//! | `router` | the links to the neighbours; the next hop of each frame |
//! | `links` | frames between neighbours, and what follows when a link goes up or down |
//! | `repeats` | PUBLISH requests whose args are those of an earlier one |
//! | `requests` | requests of this node's own clients, and their answers: it passes on what `ingress` returns |
//! | `ingress` | those that are not answered yet: sent again where that helps; what they make this node hold |
//! | `readers` | the readers of this node's own clients, and what brings them their records |
//! | `routed` | frames with a route: executed here, or forwarded |
//! | `serve` | requests for this node, and what follows when an entry is applied: it passes on what `group` returns |
//! | `groups`, `group` | the topics of this node, by slot: changes, reads, and pushes to readers |
//! | `leaders` | who leads each slot |
//! | `members` | what the members of replica groups tell each other |
//! | `unconfirmed` | requests that wait until this node knows that it still leads |
//! | `budget`, `cost` | what all groups share: memory, room in the log, the queue of what waits for the disk |
//! | `asked`, `pending`, `subject`, `call`, `frames`, `news`, `cut`, `errors` | what several of these use |
//! | `probe` | requests about the nodes themselves |
//! | `list` | pages of the topics of this node |
//! | `restore` | what a start does before the first event |
//! | `tick`, `wall`, `drain`, `stats` | ticks, the wall clock, the orderly shutdown, counters |
//! | `work` | what events cost, by which the event loop bounds its turns |

mod action;
mod asked;
mod budget;
mod call;
mod claims;
mod conns;
mod cost;
mod cut;
mod drain;
mod end;
mod errors;
mod event;
mod frames;
mod group;
mod groups;
mod hello;
mod ingress;
mod leaders;
mod links;
mod list;
mod lookup;
mod members;
mod news;
mod pace;
mod pending;
mod probe;
mod readers;
mod repeats;
mod requests;
mod restore;
mod routed;
mod router;
mod serve;
mod sources;
mod stats;
mod subject;
mod tick;
mod unconfirmed;
mod wall;
mod work;

#[cfg(test)]
mod tests;

pub use action::{Action, Packet};
pub use event::Event;
pub use leaders::Copies;
pub use lookup::Lookup;
pub use sources::SourceLimits;

use budget::Budget;
use conns::{Conns, Peer};
use end::End;
use groups::Groups;
use ingress::Ingress;
use leaders::Leaders;
use readers::Readers;
use repeats::Repeats;
use router::{Router, Usage};
use stats::{Length, Stats, Turns};
use unconfirmed::Unconfirmed;
use wall::Wall;
use work::Work;

use crate::entry::Room;
use crate::limits::input_bytes;
use crate::types::{ConnId, Dimension, NodeId, Now, Retention, Slots};
use crate::wire::chunks::Chunks;
use crate::wire::response::Durability;
use crate::wire::{Frame, FrameError, Status};

/// The parameters of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The vertex that this node is.
    pub id: NodeId,
    /// The dimension of the cube.
    pub dimension: Dimension,
    /// The number of slots into which the cube divides its topics.
    pub slots: Slots,
    /// How many nodes keep each topic.
    pub copies: Copies,
    /// The cluster's name. Nodes and clients of other clusters are refused.
    pub cluster: String,
    /// Name and version of the software, shown to users.
    pub software: String,
    /// The address of each node of the cube by id, shown to users.
    pub addresses: Vec<String>,
    /// Random number that identifies this start of the node.
    pub instance: u64,
    /// Random bits in the origins of the node's requests to others. Only nodes that forward such a request see them.
    pub origin_mark: u16,
    /// Seed of all later randomness (topic ids, jitter).
    pub seed: u64,
    /// Memory limit for topics, in bytes; requests that exceed it are answered QUOTA.
    pub memory_bytes: u64,
    /// Retention of topics whose creator does not specify one.
    pub retention: Retention,
    /// What an acknowledgement guarantees.
    pub durability: Durability,
    /// Maximum number of client connections, at most [`CLIENTS_MAX`]; above it HELLO is answered TOO_MANY_CLIENTS.
    ///
    /// [`CLIENTS_MAX`]: crate::limits::CLIENTS_MAX
    pub clients_max: usize,
    /// Connections beyond the client limit that may be in their handshake.
    pub handshakes_max: usize,
    /// What clients of one address may use.
    pub source_limits: SourceLimits,
    /// Bytes of applied bodies of each group to keep in memory for members that are a little behind:
    /// [`LOG_WINDOW_BYTES`], but in tests.
    ///
    /// [`LOG_WINDOW_BYTES`]: crate::limits::LOG_WINDOW_BYTES
    pub log_window_bytes: usize,
}

/// One node of the cube.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    random: fastrand::Rng,
    /// Number of events handled.
    events: u64,
    stats: Stats,
    wall: Wall,
    /// Work done since the last call of [`Node::take_work`].
    work: Work,
    turns: Turns,
    budget: Budget,
    leaders: Leaders,
    parts: Parts,
}

/// The parts of a node. What one part returns is passed to the others here.
#[derive(Debug)]
struct Parts {
    conns: Conns,
    router: Router,
    ingress: Ingress,
    readers: Readers,
    repeats: Repeats,
    groups: Groups,
    unconfirmed: Unconfirmed,
    /// What members on this node have to tell others at the end of the event.
    outbox: Vec<members::Outgoing>,
    /// Requests for parts of copies that are to be sent at the end of the event: the node to ask, and their numbers.
    asks: Vec<(NodeId, u64, Chunks)>,
    clock: tick::Clock,
    drain: drain::Stage,
    /// The path of the data folder if it was empty at the start, until a neighbour says that it knew topics of this
    /// node.
    empty_folder: Option<String>,
}

/// What the handlers of all parts use: the time, the settings, the counters, and the list to which they append actions.
struct Step<'a> {
    now: Now,
    /// Number of the current event.
    event: u64,
    settings: &'a Settings,
    random: &'a mut fastrand::Rng,
    stats: &'a mut Stats,
    wall: &'a mut Wall,
    work: &'a mut Work,
    budget: &'a mut Budget,
    leaders: &'a mut Leaders,
    turns: &'a Turns,
    out: &'a mut Vec<Action>,
}

impl Node {
    /// Returns the random number that identifies this start of the process.
    pub const fn instance(&self) -> u64 {
        self.settings.instance
    }

    /// Creates a node whose links are all down.
    pub fn new(settings: Settings, now: Now) -> Self {
        assert!(settings.id.within(settings.dimension));
        Self {
            random: fastrand::Rng::with_seed(settings.seed),
            events: 0,
            stats: Stats::default(),
            wall: Wall::new(now),
            work: Work::default(),
            turns: Turns::default(),
            budget: Budget::default(),
            leaders: Leaders::new(&settings),
            parts: Parts::new(&settings, now),
            settings,
        }
    }

    /// Handles one event and appends all resulting actions to `out`.
    pub fn handle(&mut self, now: Now, event: Event<'_>, out: &mut Vec<Action>) {
        self.events += 1;
        let before = out.len();
        let (parts, step) = self.split(now, out);
        parts.handle(&mut { step }, event);
        self.work.add_actions(out.len() - before);
    }

    /// Returns the parts, and what their handlers need.
    const fn split<'a>(&'a mut self, now: Now, out: &'a mut Vec<Action>) -> (&'a mut Parts, Step<'a>) {
        let step = Step {
            now,
            event: self.events,
            settings: &self.settings,
            random: &mut self.random,
            stats: &mut self.stats,
            wall: &mut self.wall,
            work: &mut self.work,
            budget: &mut self.budget,
            leaders: &mut self.leaders,
            turns: &self.turns,
            out,
        };
        (&mut self.parts, step)
    }

    /// Returns the work of all events since the last call, in units of about a nanosecond of processor time.
    pub const fn take_work(&mut self) -> u64 {
        self.work.take()
    }

    /// Returns the work since the last call of [`Self::take_work`].
    pub const fn work(&self) -> u64 {
        self.work.units()
    }

    /// Records the length of a turn of the event loop, in microseconds, and its processor time; 0 if that was not
    /// measured.
    pub const fn note_turn(&mut self, now: Now, turn_us: u64, cpu_us: u64) {
        self.turns.note(now, Length { turn_us, cpu_us });
    }

    /// Returns how many bytes received from clients may wait in their connections.
    pub const fn input_bytes_max(&self) -> u64 {
        input_bytes(self.settings.memory_bytes)
    }

    /// Records how many bytes received from clients wait in their connections.
    pub const fn note_input(&mut self, bytes: u64) {
        self.turns.input_bytes = bytes;
    }

    /// Returns the monotonic time in microseconds at which the node needs [`Event::Timeout`].
    pub fn next_timeout(&self) -> u64 {
        if self.parts.readers.are_ready() {
            return 0;
        }
        let next_tick_us = self.parts.clock.next_tick_us();
        next_tick_us.min(self.parts.drain.next_us()).min(self.parts.ingress.due_us())
    }

    /// Returns true when the node has sent everything that it has to send before the process exits.
    pub const fn is_drained(&self) -> bool {
        self.parts.drain.is_done()
    }

    /// Returns true when [`Event::TurnOver`] is due: the turn has proposed something.
    pub fn has_open(&self) -> bool {
        self.parts.groups.has_open()
    }

    /// Returns true when [`Event::Committed`] is due: something is committed and not applied yet.
    pub fn has_committed(&self) -> bool {
        self.parts.groups.next_committed().is_some()
    }

    /// Returns how much room the log has, as the node knows it.
    pub fn room(&self) -> Room {
        self.budget.room
    }

    /// Returns the number of topics stored on this node.
    pub fn topic_count(&self) -> usize {
        self.parts.groups.topics()
    }

    /// Asserts the invariants. Tests and the simulator call it after every event.
    pub fn check(&self) {
        self.parts.router.check(self.parts.conns.of_links());
        self.parts.conns.check();
        self.parts.ingress.check();
        self.parts.readers.check();
        self.parts.groups.check(&self.budget);
        self.parts.unconfirmed.check();
        for slot in self.settings.slots.all() {
            assert_eq!(self.parts.readers.leads(slot), self.parts.groups.leads(slot), "{slot:?}");
        }
    }

    /// Returns the number of table entries looked at since the start.
    #[cfg(test)]
    const fn entries_looked_at(&self) -> u64 {
        self.work.entries()
    }
}

impl Parts {
    fn new(settings: &Settings, now: Now) -> Self {
        let (groups, mut readers) = (Groups::new(settings), Readers::new(settings));
        groups.led().for_each(|slot| readers.start_leading(slot));
        Self {
            conns: Conns::new(settings.source_limits),
            router: Router::new(settings),
            ingress: Ingress::new(settings),
            readers,
            groups,
            unconfirmed: Unconfirmed::default(),
            outbox: Vec::new(),
            asks: Vec::new(),
            repeats: Repeats::default(),
            clock: tick::Clock::new(now),
            drain: drain::Stage::default(),
            empty_folder: None,
        }
    }

    fn handle(&mut self, step: &mut Step<'_>, event: Event<'_>) {
        planted!("stall noticed after its event", self.notice_stall(step.now), ());
        match event {
            Event::Accepted { conn, source } => self.on_accepted(step, conn, source),
            Event::Dialed { conn, node } => self.on_dialed(step, conn, node),
            Event::DialFailed { node } => self.on_dial_failed(step, node),
            Event::Frame { conn, frame } => {
                step.work.add_frame(frame.len());
                self.on_frame(step, conn, frame);
            }
            Event::Heard { conn } => self.on_heard(step, conn),
            Event::Broken { conn, error } => self.on_broken(step, conn, error),
            Event::Filled { conn } => self.on_filled(step, conn),
            Event::Unsent { conn, bytes } => self.on_unsent(step, conn, bytes),
            Event::Dropped => step.stats.pushes_skipped += 1,
            Event::Drained { conn } => self.on_drained(step, conn),
            Event::Abandoned => on_abandoned(step),
            Event::Ended { conn } => self.on_ended(step, conn),
            Event::Closed { conn, cause } => self.on_closed(step, conn, End::Failed(cause)),
            Event::TurnOver => self.seal(step),
            Event::Written { written } => self.on_written(step, written),
            Event::Committed => self.on_committed(step),
            Event::Read { lookup, found } => self.on_read(step, lookup, found),
            Event::Fetched { query, part } => self.on_fetched(step, query, part),
            Event::Copied { done } => self.on_copied(step, done),
            Event::Space { room } => self.on_space(step, room),
            Event::Timeout => self.on_timeout(step),
            Event::Drain => self.on_drain(step),
        }
        planted!("stall noticed after its event", (), self.notice_stall(step.now));
        if self.readers.has_effects() || self.ingress.has_effects() {
            self.carry_out(step);
        }
        if !self.outbox.is_empty() || !self.asks.is_empty() {
            self.send_messages(step);
        }
        if self.drain != drain::Stage::Serving {
            self.advance_drain(step);
            self.carry_out(step);
        }
    }

    fn on_frame(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.heard_us = step.now.monotonic_us;
        match conn.peer {
            Peer::Handshaking { .. } => self.on_hello(step, id, frame),
            Peer::Client(_) => self.on_client_frame(step, id, frame),
            Peer::Link { bit } => match self.router.usage(bit, id) {
                Some(Usage::Dialed) => self.on_hello_response(step, id, bit, frame),
                Some(Usage::Link) => self.on_link_frame(step, id, bit, frame),
                Some(Usage::Replacement) => {
                    self.refuse(step, id, Status::ProtocolError, "no frame may be sent before the answer to HELLO");
                }
                None => unreachable!("{id:?} is open"),
            },
            Peer::Leaving { bit, .. } => self.on_link_frame(step, id, bit, frame),
        }
    }

    fn on_heard(&mut self, step: &Step<'_>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.heard_us = step.now.monotonic_us;
        if let Peer::Link { bit } = conn.peer {
            self.router.note_heard(step.now, bit, id);
        }
    }

    fn on_broken(&mut self, step: &mut Step<'_>, id: ConnId, error: FrameError) {
        step.stats.protocol_errors += 1;
        match error.status() {
            Some(status) => self.refuse(step, id, status, &error.to_string()),
            None => self.close(step, id, End::Garbled(error)),
        }
    }

    fn on_filled(&mut self, step: &mut Step<'_>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        match &mut conn.peer {
            Peer::Link { bit } => {
                self.router.set_full(*bit, id, true);
            }
            Peer::Client(_) => self.ingress.on_filled(step, id),
            Peer::Handshaking { .. } | Peer::Leaving { .. } => {}
        }
    }

    fn on_drained(&mut self, step: &mut Step<'_>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        match &mut conn.peer {
            Peer::Link { bit } => {
                if self.router.set_full(*bit, id, false) {
                    self.ingress.retry_soon(step);
                }
            }
            Peer::Client(_) => {
                self.ingress.on_drained(step, id);
                self.readers.wake_client(step, id);
            }
            Peer::Handshaking { .. } | Peer::Leaving { .. } => {}
        }
    }

    fn on_closed(&mut self, step: &mut Step<'_>, id: ConnId, end: End<'_>) {
        let Some(conn) = self.conns.remove(id) else { return };
        log::debug!("connection {} from {} ended: {end}", id.slot, conn.source);
        match conn.peer {
            Peer::Link { bit } => {
                if let Some(down) = self.router.on_end(step, bit, id, end) {
                    self.on_link_down(step, bit, down);
                    self.ingress.on_link_lost(step, id);
                }
            }
            Peer::Client(_) => {
                for held in self.ingress.close_client(id) {
                    self.readers.take_pending(&held);
                }
                self.readers.close_client(step, id);
            }
            Peer::Leaving { .. } => self.ingress.on_link_lost(step, id),
            Peer::Handshaking { .. } => {}
        }
    }

    /// Closes a connection after sending what is queued.
    fn close(&mut self, step: &mut Step<'_>, id: ConnId, end: End<'_>) {
        if self.conns.get_mut(id).is_some() {
            step.out.push(Action::Close { conn: id });
            self.on_closed(step, id, end);
        }
    }
}

const fn on_abandoned(step: &mut Step<'_>) {
    step.stats.abandoned += 1;
    step.work.add_entries(1);
}
