//! A node whose peers are played by the test: every frame is encoded, and decoded again at the other end.
//!
//! The node is number 0. Its only link, if any, is to number 1, and the test plays all nodes beyond it. Appended
//! entries are committed at once, and the invariants are checked after every event.

mod conns;
mod remote;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use super::sent::Sent;
use crate::cube;
use crate::entry::{Entry, Founding, LogPosition, MemberState, Place, TopicKey, Write};
use crate::limits::{FRAME_MAX, LINK_FRAME_EXTRA, LOG_WINDOW_BYTES, TICK_US};
use crate::node::group::Group;
use crate::node::{Action, Copies, Event, Lookup, Node, Settings, SourceLimits};
use crate::types::{ConnId, Dimension, Epoch, NodeId, Now, Offset, RequestId, TopicId, TopicName};
use crate::types::{Retention, SlotId, Slots, crc32};
use crate::wire::Status;
use crate::wire::field::Writer;
use crate::wire::records::Record;
use crate::wire::request::{Fetch, Publish, Start, Subscribe, Topic};
use crate::wire::response::{Durability, ErrorResponse, Fetched, Payload, Published, Run, Subscribed};
use crate::wire::{Flags, Frame, Head, Header, Opcode, Raw, Request, Response, Route};

/// Maximum number of clients of the node.
pub(super) const CLIENTS: usize = 1000;

/// The slot of all topics of the node.
pub(in crate::node) const SLOT: SlotId = SlotId::from_low_bits(0, Slots::MOST);

/// Maximum number of handshaking connections on top of that.
pub(super) const HANDSHAKES: usize = 10;

/// Puts the groups of a new node into the state that each of their three members has after the founding.
pub(in crate::node) fn found(node: &mut Node) {
    let founding = Founding { number: 1, disks: [1, 2, 3], last: 0 };
    for slot in node.slots() {
        let state = MemberState { term: 1, founding, ..MemberState::default() };
        node.continue_log((slot, 1), (LogPosition::default(), state), Vec::new());
    }
}

/// The node, and the other ends of its connections.
pub(super) struct Harness {
    pub(super) node: Node,
    pub(super) now: Now,
    /// The link to number 1.
    link: Option<ConnId>,
    /// The open connections, and whether the node reads from them.
    conns: BTreeMap<ConnId, bool>,
    next_slot: u32,
    sent: Vec<Sent>,
    is_checked: bool,
    /// The entries that are not committed yet.
    appended: Vec<Write>,
    /// The queries to the journal.
    pub(super) asked: Vec<Lookup>,
    is_held: bool,
    /// True while the events belong to one turn.
    is_in_turn: bool,
    /// The section in which frames are damaged on their way to the node.
    damage: Option<Section>,
}

/// A section of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Section {
    Args,
    Payload,
}

/// Returns the settings of a node of a cube.
pub(in crate::node) fn settings(id: u16, dimension: u8) -> Settings {
    let dimension = Dimension::new(dimension).unwrap();
    Settings {
        id: NodeId::new(id, dimension).unwrap(),
        dimension,
        slots: Slots::one_per_node(dimension),
        copies: Copies::One,
        cluster: String::new(),
        software: String::new(),
        addresses: Vec::new(),
        instance: 0x1234_5678,
        origin_mark: 0x5678,
        seed: 1,
        memory_bytes: u64::MAX,
        retention: Retention::default(),
        durability: Durability::Memory,
        clients_max: CLIENTS,
        handshakes_max: HANDSHAKES,
        source_limits: SourceLimits::default(),
        log_window_bytes: LOG_WINDOW_BYTES,
    }
}

/// Returns names of topics whose home is a node.
pub(super) fn names(home: u16, dimension: u8) -> impl Iterator<Item = String> {
    let dimension = Dimension::new(dimension).unwrap();
    let lives_there = move |name: &String| cube::home(TopicName::new(name).unwrap(), dimension).index() == home;
    (0..).map(|number| format!("topic-{number}")).filter(lives_there)
}

pub(super) fn topic_id(number: u64) -> TopicId {
    TopicId::new(number).unwrap()
}

/// Returns what identifies a topic of the node in the journal.
pub(super) fn key(id: TopicId) -> TopicKey {
    TopicKey { slot: SLOT, id }
}

/// Refers to a topic by name.
pub(super) fn topic(name: &str) -> Topic<'_> {
    Topic { name: TopicName::new(name).unwrap(), id: None }
}

/// Returns FETCH from the log start, without limits and without waiting.
pub(super) fn fetch(name: &str) -> Fetch<'_> {
    Fetch { topic: topic(name), epoch: None, start: Start::Earliest, max_bytes: 0, max_records: 0, max_wait_ms: 0 }
}

/// Returns SUBSCRIBE from the log start, with unlimited credit.
pub(super) fn subscribe(name: &str) -> Request<'_> {
    Request::Subscribe(Subscribe { topic: topic(name), epoch: None, start: Start::Earliest, limit: u64::MAX })
}

/// Returns `count` encoded records of `bytes` bytes each.
pub(super) fn records(count: u32, bytes: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    let value = vec![b'x'; bytes - 5];
    (0..count).for_each(|_| Record { value: &value, ..Record::default() }.encode(&mut payload).unwrap());
    payload
}

/// Returns the response to a SUBSCRIBE from the log start of another node's topic.
pub(super) fn subscribed(id: u64, epoch: u32, next: u64) -> Subscribed {
    Subscribed { topic_id: topic_id(id), epoch: Epoch(epoch), from: Offset(0), first: Offset(0), next: Offset(next) }
}

/// Returns some small records of a topic.
pub(super) fn fetched(id: u64, epoch: u32, base: u64, count: u32) -> Fetched {
    let runs = if count > 0 { vec![Run { count, append_us: 1 }] } else { Vec::new() };
    Fetched {
        topic_id: topic_id(id),
        epoch: Epoch(epoch),
        from: Offset(base),
        base: Offset(base),
        count,
        first: Offset(0),
        next: Offset(base).plus(count.into()),
        runs,
        payload: Payload { parts: vec![records(count, 10).into()], crc: None },
    }
}

pub(super) fn refusal(status: Status) -> Response {
    ErrorResponse::new(status, "the test says so").into()
}

fn frame(head: Head, route: Option<&Route>, payload: &[u8], args: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    head.seal(route, (payload.len(), crc32(payload)), &mut bytes, args);
    bytes.extend_from_slice(payload);
    bytes
}

fn encode_again(request_id: RequestId, route: Option<&Route>, frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode_head(request_id, route, &mut bytes);
    bytes.extend_from_slice(frame.body());
    bytes
}

impl Harness {
    /// A node that is alone in its cube.
    pub(super) fn alone() -> Self {
        Self::in_cube(0)
    }

    /// A node with its link up.
    pub(super) fn linked(dimension: u8) -> Self {
        let mut harness = Self::in_cube(dimension);
        harness.link_up();
        harness
    }

    /// A node with all links down.
    pub(super) fn in_cube(dimension: u8) -> Self {
        Self::at_vertex(0, dimension)
    }

    /// A node with all links down that limits what clients of one address may use.
    pub(super) fn limited(dimension: u8, source_limits: SourceLimits) -> Self {
        Self::with(Settings { source_limits, ..Self::in_cube(dimension).node.settings })
    }

    /// A node other than number 0, with all links down.
    pub(super) fn at_vertex(id: u16, dimension: u8) -> Self {
        Self::with(settings(id, dimension))
    }

    /// A node with its link up and a memory limit.
    pub(super) fn linked_with_memory(dimension: u8, memory_bytes: u64) -> Self {
        let mut harness = Self::with(Settings { memory_bytes, ..Self::in_cube(dimension).node.settings });
        harness.link_up();
        harness
    }

    /// A node that is alone in its cube, with a memory limit.
    pub(super) fn alone_with_memory(memory_bytes: u64) -> Self {
        Self::with(Settings { memory_bytes, ..Self::alone().node.settings })
    }

    /// A node alone in its cube whose memory is full with one topic, so that every read queries the journal.
    pub(super) fn with_journal() -> Self {
        Self::with_journal_and_memory(500)
    }

    /// A node alone in its cube with a journal and a memory limit.
    pub(super) fn with_journal_and_memory(memory_bytes: u64) -> Self {
        let mut settings = Self::alone().node.settings;
        (settings.durability, settings.memory_bytes) = (Durability::Synced, memory_bytes);
        Self::with(settings)
    }

    /// A node with its link up, in a cube in which three nodes keep each topic.
    pub(super) fn linked_with_three_copies(dimension: u8) -> Self {
        let mut harness = Self::with(Settings { copies: Copies::Three, ..settings(0, dimension) });
        harness.link_up();
        harness
    }

    /// A node alone in its cube whose topics are divided among four groups.
    pub(super) fn with_four_groups(durability: Durability, memory_bytes: u64) -> Self {
        let slots = Slots::new(2).unwrap();
        Self::with(Settings { slots, durability, memory_bytes, ..settings(0, 0) })
    }

    /// A node with its link up, and a journal of which it keeps nothing in memory.
    pub(super) fn linked_with_journal(dimension: u8) -> Self {
        let settings = Self::in_cube(dimension).node.settings;
        let mut harness = Self::with(Settings { durability: Durability::Synced, memory_bytes: 500, ..settings });
        harness.link_up();
        harness
    }

    fn with(settings: Settings) -> Self {
        let now = Now { monotonic_us: 1_000_000, wall_us: 1_700_000_000_000_000 };
        let mut node = Node::new(settings, now);
        if node.shares_groups() {
            found(&mut node);
        }
        // The process has been running for a long time.
        let led = node.parts.groups.iter_mut().filter(|group| group.leads());
        led.for_each(|group| group.set_announced(true));
        let mut harness = Self {
            node,
            now,
            link: None,
            conns: BTreeMap::new(),
            next_slot: 0,
            sent: Vec::new(),
            is_checked: true,
            appended: Vec::new(),
            asked: Vec::new(),
            is_held: false,
            is_in_turn: false,
            damage: None,
        };
        // A start writes how the node begins to lead; tests look only at what comes after it.
        harness.handle(Event::TurnOver);
        harness
    }

    /// Lets the node begin or end to lead the slot of its first group.
    pub(super) fn set_leads(&mut self, leads: bool) {
        self.set_leads_of(SLOT, leads);
    }

    /// Lets the node begin or end to lead a slot.
    pub(super) fn set_leads_of(&mut self, slot: SlotId, leads: bool) {
        let mut out = Vec::new();
        let (parts, mut step) = self.node.split(self.now, &mut out);
        if parts.groups.leads(slot) && !leads {
            parts.end_leading_of(&mut step, slot);
        } else if !parts.groups.leads(slot) && leads {
            parts.groups.existing_mut(slot).begin_leading(step.settings, 9);
            parts.readers.begin_leading(&mut step, &parts.groups, slot);
        }
        assert!(out.is_empty(), "{out:?}");
    }

    /// Executes `fill`, which has so many events that checking the invariants after each would take too long: they are
    /// checked at the end.
    pub(super) fn fill<R>(&mut self, fill: impl FnOnce(&mut Self) -> R) -> R {
        self.is_checked = false;
        let result = fill(self);
        self.is_checked = true;
        self.node.check();
        result
    }

    /// Executes `send`, whose frames to the node are damaged in one section on their way.
    pub(super) fn damaged<R>(&mut self, section: Section, send: impl FnOnce(&mut Self) -> R) -> R {
        self.damage = Some(section);
        let result = send(self);
        self.damage = None;
        result
    }

    /// Handles an event, and returns what is sent because of it.
    pub(super) fn handle(&mut self, event: Event<'_>) -> Vec<Sent> {
        let frame = if let Event::Frame { frame, .. } = &event { Some(*frame) } else { None };
        if let Event::Closed { conn, .. } = &event {
            self.conns.remove(conn);
        }
        let is_over = matches!(event, Event::TurnOver);
        let mut actions = Vec::new();
        self.node.handle(self.now, event, &mut actions);
        if self.is_checked {
            self.node.check();
        }
        let mut writes = Vec::new();
        for action in actions {
            match action {
                Action::Write { write } => writes.push(write),
                Action::Send { conn, request_id, route, packet } => {
                    let mut bytes = Vec::new();
                    if let Some(payload) = packet.encode(request_id, route.as_ref(), &mut bytes) {
                        payload.parts.iter().for_each(|part| bytes.extend_from_slice(part));
                    }
                    while !bytes.is_empty() {
                        let header = Header::parse(&bytes, FRAME_MAX + LINK_FRAME_EXTRA).unwrap().unwrap();
                        let rest = bytes.split_off(header.frame_len());
                        self.arrive(conn, std::mem::replace(&mut bytes, rest), false);
                    }
                }
                Action::Forward { conn, request_id, route, droppable } => {
                    let bytes = encode_again(request_id, route.as_ref(), frame.expect("a frame is being handled"));
                    self.arrive(conn, bytes, droppable);
                }
                Action::SendFrame { conn, request_id, route, frame, droppable } => {
                    self.arrive(conn, encode_again(request_id, route.as_ref(), &frame.into_frame()), droppable);
                }
                Action::Pause { conn } => self.set_read(conn, false),
                Action::Resume { conn } => self.set_read(conn, true),
                Action::Close { conn } => assert!(self.conns.remove(&conn).is_some(), "closed once"),
                Action::Read { lookup } => self.asked.push(lookup),
                Action::Fetch { query } => panic!("{query:?}: nobody is behind"),
                Action::Copy { task } => panic!("{task:?}: nobody is behind"),
                Action::Dial { .. } | Action::Admit { .. } | Action::File { .. } => {}
            }
        }
        let mut sent = std::mem::take(&mut self.sent);
        self.appended.append(&mut writes);
        if self.node.has_open() && !is_over && !self.is_in_turn {
            // Each event is a turn of its own.
            sent.extend(self.handle(Event::TurnOver));
        }
        if !self.is_held {
            sent.extend(self.commit());
        }
        sent
    }

    /// Executes `ask`, whose events are one turn, and returns what is sent at its end.
    pub(super) fn turn(&mut self, ask: impl FnOnce(&mut Self)) -> Vec<Sent> {
        self.is_in_turn = true;
        ask(self);
        self.is_in_turn = false;
        self.handle(Event::TurnOver)
    }

    /// From now on nothing is committed before [`Self::commit`], as with a disk that hangs.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Commits all appended entries, and returns what is sent because of that.
    pub(super) fn commit(&mut self) -> Vec<Sent> {
        let writes = std::mem::take(&mut self.appended);
        let written = writes.into_iter().map(|write| write.written(Place::default()));
        written.flat_map(|written| self.handle(Event::Written { written })).collect()
    }

    /// Returns the entries that wait to be committed.
    pub(super) fn held_entries(&self) -> Vec<Entry> {
        self.held_bodies().into_iter().flat_map(|(_, entries)| entries.to_vec()).collect()
    }

    /// Returns the bodies that wait to be committed: their positions and entries.
    pub(super) fn held_bodies(&self) -> Vec<(u64, &[Entry])> {
        self.node.parts.groups.iter().flat_map(Group::logged).collect()
    }

    fn arrive(&mut self, conn: ConnId, bytes: Vec<u8>, is_droppable: bool) {
        assert!(self.conns.contains_key(&conn), "nothing is sent behind the end");
        let frame = self.parse(bytes);
        assert!(frame.route.is_none() || self.link == Some(conn), "routes stay between nodes");
        let sent = Sent { conn, frame, is_droppable };
        // Other nodes fetch the records of a DELIVER that they did not get. Nothing else is sent again.
        assert!(!is_droppable || sent.opcode() == Opcode::Deliver && self.link == Some(conn), "{sent:?} may be lost");
        self.sent.push(sent);
    }

    fn parse(&self, bytes: Vec<u8>) -> Frame<'static> {
        let header = Header::parse(&bytes, FRAME_MAX + LINK_FRAME_EXTRA).unwrap().unwrap();
        Frame::parse(header, Raw::Shared(bytes.into()), self.node.settings.dimension).unwrap()
    }

    /// Returns a frame as it arrives at the node.
    fn receive(&self, mut bytes: Vec<u8>) -> Frame<'static> {
        match self.damage {
            Some(Section::Args) => {
                let first = bytes.len() - self.parse(bytes.clone()).body().len();
                bytes[first] ^= 1;
            }
            Some(Section::Payload) => *bytes.last_mut().expect("a frame has bytes") ^= 1,
            None => {}
        }
        self.parse(bytes)
    }

    fn set_read(&mut self, conn: ConnId, is_read: bool) {
        let before = self.conns.insert(conn, is_read);
        assert_eq!(before, Some(!is_read), "paused and resumed in turn");
    }

    /// Returns true if the connection is open.
    pub(super) fn is_open(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// Returns true if the connection is open and the node reads from it.
    pub(super) fn is_read(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).copied().unwrap_or(false)
    }

    /// Returns the connections from which reads are suspended.
    pub(super) fn paused(&self) -> BTreeSet<ConnId> {
        self.conns.iter().filter(|(_, is_read)| !**is_read).map(|(conn, _)| *conn).collect()
    }

    /// Returns the latest connection of number 1.
    pub(super) fn link(&self) -> ConnId {
        self.link.expect("the link is up")
    }

    /// Sends a client's request, and returns what is sent because of it.
    pub(super) fn ask(&mut self, conn: ConnId, id: u64, request: &Request<'_>) -> Vec<Sent> {
        self.ask_with(conn, id, request, &[])
    }

    pub(super) fn ask_with(&mut self, conn: ConnId, id: u64, request: &Request<'_>, payload: &[u8]) -> Vec<Sent> {
        let request_id = RequestId(id);
        let flags = if let Request::Credit { .. } = request { Flags::ONEWAY } else { Flags::default() };
        let head = Head { opcode: request.opcode().number(), flags, status: 0, request_id };
        let frame = self.receive(frame(head, None, payload, |args| request.encode(args)));
        self.handle(Event::Frame { conn, frame: &frame })
    }

    /// Sends a client's one-way request.
    pub(super) fn ask_oneway(&mut self, conn: ConnId, request: &Request<'_>, payload: &[u8]) {
        let opcode = request.opcode().number();
        let head = Head { opcode, flags: Flags::ONEWAY, status: 0, request_id: RequestId(0) };
        let frame = self.parse(frame(head, None, payload, |args| request.encode(args)));
        let sent = self.handle(Event::Frame { conn, frame: &frame });
        assert!(sent.iter().all(|sent| sent.conn != conn), "{sent:?} answers what has no answer");
    }

    /// Returns the number of entries that wait to be committed.
    pub(super) fn held(&self) -> usize {
        self.held_bodies().iter().map(|(_, entries)| entries.len()).sum()
    }

    /// Returns the only response to a client's request.
    pub(super) fn answer_to(&mut self, conn: ConnId, id: u64, request: &Request<'_>) -> Response {
        let sent = self.ask(conn, id, request);
        let [answer] = &sent[..] else { panic!("{sent:?} is not one answer") };
        assert_eq!((answer.conn, answer.id(), answer.is_response()), (conn, id, true));
        answer.response()
    }

    /// Creates a topic of this node.
    pub(super) fn create(&mut self, conn: ConnId, name: &str, retention: Retention) -> TopicId {
        let request = Request::Create { topic: TopicName::new(name).unwrap(), retention };
        let Response::Created { description, .. } = self.answer_to(conn, 1, &request) else {
            panic!("no topic {name}")
        };
        description.topic.unwrap().id
    }

    /// Publishes to a topic of this node, and returns what else is sent because of it.
    pub(super) fn publish(&mut self, conn: ConnId, name: &str, count: u32, bytes: usize) -> Vec<Sent> {
        let request = Request::Publish(Publish { topic: topic(name), producer: None, count });
        let mut sent = self.ask_with(conn, 1, &request, &records(count, bytes));
        let Response::Published(Published { duplicate: false, .. }) = sent.remove(0).response() else {
            panic!("not published")
        };
        sent
    }

    /// Stalls the machine for the given time, and then lets the node continue.
    pub(super) fn stall(&mut self, micros: u64) -> Vec<Sent> {
        self.advance(micros);
        self.timeout()
    }

    /// Moves the clocks forward, without an event.
    pub(super) const fn advance(&mut self, micros: u64) {
        self.now = Now { monotonic_us: self.now.after_us(micros), wall_us: self.now.wall_us + micros };
    }

    /// Takes the link down.
    pub(super) fn link_down(&mut self) {
        let conn = self.link.take().expect("the link is up");
        self.lose(conn);
    }

    /// Lets a connection fail.
    pub(super) fn lose(&mut self, conn: ConnId) -> Vec<Sent> {
        self.handle(Event::Closed { conn, cause: ErrorKind::ConnectionReset })
    }

    /// Runs one timeout, at the time of the previous event.
    pub(super) fn timeout(&mut self) -> Vec<Sent> {
        self.handle(Event::Timeout)
    }

    /// Lets readers catch up until none can.
    pub(super) fn settle(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while self.node.next_timeout() == 0 {
            sent.extend(self.timeout());
        }
        sent
    }

    /// Lets time pass, tick by tick. All peers give signs of life.
    pub(super) fn pass(&mut self, micros: u64) -> Vec<Sent> {
        self.pass_with(micros, true)
    }

    /// Lets time pass while no peer gives a sign of life.
    pub(super) fn pass_silently(&mut self, micros: u64) -> Vec<Sent> {
        self.pass_with(micros, false)
    }

    fn pass_with(&mut self, micros: u64, is_heard: bool) -> Vec<Sent> {
        let mut sent = Vec::new();
        let end_us = self.now.after_us(micros);
        while self.now.monotonic_us < end_us {
            let step_us = TICK_US.min(end_us - self.now.monotonic_us);
            self.now = Now { monotonic_us: self.now.after_us(step_us), wall_us: self.now.wall_us + step_us };
            let conns: Vec<ConnId> = self.conns.keys().copied().filter(|_| is_heard).collect();
            for conn in conns {
                sent.extend(self.handle(Event::Heard { conn }));
            }
            sent.extend(self.timeout());
            sent.extend(self.settle());
        }
        sent
    }
}
