//! The connections of a simulated node: the production table, and checks of what is queued.
//!
//! The rules for send queues are asserted when a frame is queued, and every request must be answered in time.

use std::collections::VecDeque;

use dht_node::driver::{State, Table, Tabled};
use dht_node::limits::{
    CLIENT_CHARGE_MAX, CLIENT_QUEUE_MAX, FETCH_WAIT_MAX_MS, FRAME_MAX, LINK_QUEUE_MAX, OWN_BUFFER_MIN, PUSH_QUEUE_MAX,
    REQUEST_TIMEOUT_US, TICK_US,
};
use dht_node::node::{Event, Node, Packet};
use dht_node::turn::Connections;
use dht_node::types::{ConnId, Dimension, NodeId, RequestId};
use dht_node::wire::{Flags, Frame, HEADER_BYTES, Header, Opcode, Request, Route, TrafficClass};
use fastrand::Rng;

use crate::edges::{Edges, Sieve};
use crate::frames::next_frame;
use crate::profile::{Pace, Profile};
use crate::wire::End;

/// A response arrives within the ingress's deadline and two of its ticks.
const ANSWER_US: u64 = REQUEST_TIMEOUT_US + 2 * TICK_US;

/// What is known of a connection beside the table.
#[derive(Debug)]
struct Record {
    id: ConnId,
    /// True if a neighbour is at the other end.
    is_link: bool,
    /// The step in which its queue rose above the mark.
    filled_step: u64,
    /// Unanswered requests of the other end.
    owed: VecDeque<Owed>,
}

#[derive(Debug)]
struct Owed {
    request_id: RequestId,
    opcode: u8,
    until_us: u64,
}

/// The kind of a frame, as far as its queue is concerned.
struct Entry<'a> {
    bytes: &'a [u8],
    opcode: Option<Opcode>,
    /// A request that is forwarded over a link: the only kind that a full queue refuses.
    is_request: bool,
    /// A response to a request of the other end.
    answers: Option<(RequestId, u8)>,
}

/// The connections of a node.
#[derive(Debug)]
pub(crate) struct SimConns {
    table: Table<End>,
    /// By slot.
    records: Vec<Option<Record>>,
    /// True if the node is checked before each event.
    pub is_careful: bool,
    /// The time outside of this machine.
    pub world_us: u64,
    /// A number that increases with each event.
    step: u64,
    /// The frames that the node has handled, with the ends at which they arrived.
    pub seen: Vec<(End, Header)>,
    dimension: Dimension,
    pace: Pace,
    /// Numbers of links that came up, links that went down, and queues that exceeded their high-water mark.
    pub counts: [u64; 3],
    /// Number of small frames that were queued while larger ones waited that they overtake.
    pub overtakes: u64,
    /// The pushes that were sent, and on which links.
    pub edges: Edges,
    /// The loss and delay of pushes at this end of the links.
    pub sieve: Sieve,
}

impl SimConns {
    pub(crate) fn new(node: &Node, profile: &Profile, rng: Rng) -> Self {
        Self {
            table: Table::new(usize::try_from(node.input_bytes_max()).expect("a 64-bit machine")),
            records: Vec::new(),
            is_careful: false,
            world_us: 0,
            step: 0,
            seen: Vec::new(),
            dimension: profile.dimension,
            pace: profile.nodes.clone(),
            counts: [0; 3],
            overtakes: 0,
            edges: Edges::new(profile.is_calm()),
            sieve: Sieve::new(rng),
        }
    }

    /// Returns the connection that has this end.
    pub(crate) fn find(&self, end: End) -> Option<ConnId> {
        self.table.iter().find(|conn| conn.socket == end).map(|conn| conn.id)
    }

    /// Returns the ends of all connections.
    pub(crate) fn ends(&self) -> impl Iterator<Item = End> {
        self.table.iter().map(|conn| conn.socket)
    }

    fn record(&self, id: ConnId) -> Option<&Record> {
        self.records.get(id.slot as usize)?.as_ref().filter(|record| record.id == id)
    }

    fn record_mut(&mut self, id: ConnId) -> &mut Record {
        let slot = id.slot as usize;
        if self.records.len() <= slot {
            self.records.resize_with(slot + 1, || None);
        }
        let record = self.records[slot].take_if(|record| record.id == id);
        let new = || Record { id, is_link: false, filled_step: 0, owed: VecDeque::new() };
        self.records[slot].insert(record.unwrap_or_else(new))
    }

    /// Records a request of the other end.
    fn note_asked(&mut self, id: ConnId, frame: &Frame<'_>) {
        let header = &frame.header;
        let is_request = !header.flags.any(Flags::RESPONSE.with(Flags::ONEWAY).with(Flags::ROUTED));
        let (opcode, until_us) = (header.opcode, self.table.now_us + ANSWER_US + patience_us(frame));
        if is_request && opcode != Opcode::Goaway.number() {
            self.record_mut(id).owed.push_back(Owed { request_id: header.request_id, opcode, until_us });
        }
    }

    /// Asserts the invariants between two turns. A request that waits for the disk is answered when the disk has
    /// finished.
    pub(crate) fn check(&self, waits_for_disk: bool) {
        for conn in self.table.iter().filter(|conn| conn.state == State::Open && conn.failure.is_none()) {
            let Some(record) = self.record(conn.id) else { continue };
            let late = record.owed.iter().find(|owed| owed.until_us < self.table.now_us);
            assert!(late.is_none() || waits_for_disk, "{:?} was never answered on {:?}", late, conn.socket);
            if !record.is_link && conn.filled {
                assert!(conn.paused, "the node reads from the client on {:?}, which does not read", conn.socket);
            }
            let mark = if record.is_link { LINK_QUEUE_MAX } else { CLIENT_QUEUE_MAX } as u64;
            let most = mark + CLIENT_BURST * if record.is_link { CLIENTS_A_LINK } else { 1 };
            let queued = conn.outbox.len() as u64;
            assert!(queued <= most, "{queued} bytes are queued on {:?}", conn.socket);
        }
    }

    /// Queues the frames that the sieve has delayed for long enough. Returns the connections whose queues have risen
    /// above their marks by that.
    pub(crate) fn release(&mut self) -> Vec<ConnId> {
        let mut filled = Vec::new();
        for (id, bytes) in self.sieve.release(self.table.now_us) {
            let frame = next_frame(&bytes, u32::MAX, self.dimension).expect("it was just made").expect("complete");
            let is_filled = self.table.forward(id, frame.header.request_id, frame.route.as_ref(), &frame);
            filled.extend(self.note_filled(id, is_filled).then_some(id));
        }
        filled
    }

    /// Asserts that a frame may be queued. Returns false if it is not to be queued.
    fn takes(&mut self, id: ConnId, entry: &Entry<'_>) -> bool {
        let (now_us, step) = (self.table.now_us, self.step);
        let Some(conn) = self.table.get_mut(id).filter(|conn| conn.state == State::Open && conn.failure.is_none())
        else {
            return false;
        };
        let length = entry.bytes.len();
        self.overtakes += u64::from(length < OWN_BUFFER_MIN && conn.outbox.len() > conn.outbox.in_order());
        let (end, queued, frame_max, is_filled) = (conn.socket, conn.outbox.in_order(), conn.frame_max, conn.filled);
        let record = self.record_mut(id);
        let (is_link, was_reported) = (record.is_link, is_filled && record.filled_step < step);
        if entry.opcode == Some(Opcode::Deliver) {
            assert!(!is_link || queued <= self.pace.push_mark, "records are pushed into a queue that is too long");
            assert!(is_link || !was_reported, "records are pushed to a client that does not read");
        }
        if is_link && entry.opcode.is_some_and(|opcode| opcode.is_push() || opcode.is_between_nodes()) {
            self.edges.note(id, entry.bytes, self.dimension, self.world_us);
            if self.sieve.takes(id, entry.bytes, now_us) {
                return false;
            }
        }
        assert!(!(entry.is_request && was_reported), "a request was queued above the high-water mark");
        assert!(length <= frame_max as usize, "{length} bytes to a client that accepts {frame_max}");
        if let Some((request_id, opcode)) = entry.answers {
            let owed = &mut self.record_mut(id).owed;
            let place = owed.iter().position(|owed| (owed.request_id, owed.opcode) == (request_id, opcode));
            let place = place.unwrap_or_else(|| panic!("{end:?} never sent {opcode:#04x} {request_id:?}"));
            owed.remove(place);
        }
        true
    }

    /// Records that a queue has risen above its mark, if it has.
    fn note_filled(&mut self, id: ConnId, is_filled: bool) -> bool {
        if is_filled {
            self.record_mut(id).filled_step = self.step;
            self.counts[2] += 1;
        }
        is_filled
    }

    fn check_route(&self, route: &Route) {
        let limit = dht_node::cube::hops_limit(self.dimension);
        assert!(route.hops <= limit, "{} hops in a cube where {limit} suffice", route.hops);
        assert!(route.hops > 0 && route.source.within(self.dimension) && route.target.within(self.dimension));
    }
}

/// The position of the opcode in a frame.
const OPCODE_AT: usize = 7;

/// Returns how long the response to a request may be delayed because the request asks for that.
fn patience_us(frame: &Frame<'_>) -> u64 {
    if frame.header.opcode != Opcode::Fetch.number() {
        return 0;
    }
    let request = frame.args().ok().and_then(|args| Request::decode(Opcode::Fetch, args).ok());
    let Some(Request::Fetch(fetch)) = request else { return 0 };
    u64::from(fetch.max_wait_ms.min(FETCH_WAIT_MAX_MS)) * 1000
}

/// Returns how much may be queued beyond the mark for a client that reads nothing: the responses for which budget was
/// reserved.
const CLIENT_BURST: u64 = CLIENT_CHARGE_MAX + 2 * FRAME_MAX as u64;

/// Number of clients whose responses may be queued on one link.
const CLIENTS_A_LINK: u64 = 64;

impl Connections for SimConns {
    fn send(&mut self, conn: ConnId, request_id: RequestId, route: Option<&Route>, packet: &Packet) -> bool {
        let mut bytes = Vec::new();
        if let Some(payload) = packet.encode(request_id, route, &mut bytes) {
            payload.parts.iter().for_each(|part| bytes.extend_from_slice(part));
        }
        route.inspect(|route| self.check_route(route));
        let opcode = Opcode::from_number(bytes[OPCODE_AT]);
        let answered: Vec<(RequestId, u8)> = match packet {
            Packet::Response(opcode, _) => vec![(request_id, *opcode)],
            Packet::HelloResponse(..) => vec![(request_id, Opcode::Hello.number())],
            // Each of them is a frame of its own.
            Packet::Published(acks) => {
                acks.batches.iter().map(|ack| (ack.request_id, Opcode::Publish.number())).collect()
            }
            Packet::Hello(_) | Packet::Goaway(_) | Packet::Ping | Packet::Push(_) => Vec::new(),
        };
        let length = bytes.len() / answered.len().max(1);
        for (place, frame) in bytes.chunks(length).enumerate() {
            let answers = answered.get(place).copied().filter(|_| route.is_none());
            if !self.takes(conn, &Entry { bytes: frame, opcode, is_request: false, answers }) {
                return false;
            }
        }
        let is_filled = self.table.send(conn, request_id, route, packet);
        self.note_filled(conn, is_filled)
    }

    fn forward(&mut self, conn: ConnId, request_id: RequestId, route: Option<&Route>, frame: &Frame<'_>) -> bool {
        let mut bytes = Vec::with_capacity(frame.len() + HEADER_BYTES);
        frame.encode_head(request_id, route, &mut bytes);
        bytes.extend_from_slice(frame.body());
        route.inspect(|route| self.check_route(route));
        let is_response = frame.header.flags.has(Flags::RESPONSE);
        let opcode = Opcode::from_number(frame.header.opcode);
        let is_asked = !is_response && !opcode.is_some_and(Opcode::is_push);
        let is_request = is_asked && route.is_some_and(|route| route.class == TrafficClass::Bulk);
        let answers = (is_response && route.is_none()).then_some((request_id, frame.header.opcode));
        if !self.takes(conn, &Entry { bytes: &bytes, opcode, is_request, answers }) {
            return false;
        }
        let is_filled = self.table.forward(conn, request_id, route, frame);
        self.note_filled(conn, is_filled)
    }

    /// Returns what a real queue would report if it is too long for pushes.
    fn queued(&self, conn: ConnId) -> usize {
        let queued = self.table.queued(conn);
        if queued > self.pace.push_mark { queued.max(PUSH_QUEUE_MAX + 1) } else { queued }
    }

    fn dial(&mut self, node: NodeId) {
        self.table.dial(node);
    }

    fn admit(&mut self, conn: ConnId, frame_max: u32, queue_mark: usize) {
        let is_link = queue_mark == LINK_QUEUE_MAX;
        let mark = if is_link { self.pace.link_mark } else { self.pace.client_mark };
        self.table.admit(conn, frame_max, queue_mark.min(mark));
        self.record_mut(conn).is_link = is_link;
        self.counts[0] += u64::from(is_link);
    }

    fn set_paused(&mut self, conn: ConnId, paused: bool) {
        self.table.set_paused(conn, paused);
    }

    fn close(&mut self, conn: ConnId) {
        let is_open = self.table.get_mut(conn).is_some_and(|conn| conn.state == State::Open);
        self.counts[1] += u64::from(is_open && self.record_mut(conn).is_link);
        self.table.close(conn);
    }

    fn watch(&mut self, node: &Node, event: &Event<'_>) {
        self.step += 1;
        if self.is_careful {
            node.check();
        }
        if let Event::Frame { conn, frame } = event {
            self.note_asked(*conn, frame);
            let end = self.table.get_mut(*conn).map(|conn| conn.socket);
            self.seen.extend(end.map(|end| (end, frame.header)));
        }
        if let Event::Closed { conn, .. } = event {
            self.counts[1] += u64::from(self.record_mut(*conn).is_link);
        }
    }
}

impl Tabled for SimConns {
    type Socket = End;

    fn table(&self) -> &Table<End> {
        &self.table
    }

    fn table_mut(&mut self) -> &mut Table<End> {
        &mut self.table
    }
}
