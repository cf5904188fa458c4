//! The connections of a simulated node, as in `driver/table.rs`, with its unanswered requests.
//!
//! Every frame is really encoded, and the rules for send queues are asserted when a frame is queued.

use std::collections::VecDeque;

use dht_node::driver::{Order, Outbox, Spares};
use dht_node::limits::{
    CLIENT_CHARGE_MAX, CLIENT_KEEPALIVE_US, CLIENT_QUEUE_MAX, DRAIN_LINGER_US, FETCH_WAIT_MAX_MS,
    FRAME_BEFORE_HELLO_MAX, FRAME_MAX, LINGER_US, LINK_QUEUE_MAX, PUSH_QUEUE_MAX, REQUEST_TIMEOUT_US, TICK_US,
};
use dht_node::node::Packet;
use dht_node::turn::Connections;
use dht_node::types::{ConnId, Dimension, NodeId, RequestId};
use dht_node::wire::response::Acks;
use dht_node::wire::{Flags, Frame, HEADER_BYTES, Opcode, Request, Route, TrafficClass};
use fastrand::Rng;

use crate::edges::{Edges, Sieve};
use crate::profile::Pace;
use crate::wire::End;

/// A response arrives within the ingress's deadline and two of its ticks.
const ANSWER_US: u64 = REQUEST_TIMEOUT_US + 2 * TICK_US;

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub id: ConnId,
    pub end: End,
    /// Received data that has not been handled yet.
    pub inbox: Vec<u8>,
    pub outbox: Outbox,
    /// The length of `outbox` in bytes, as the node knows it.
    pub unsent: usize,
    pub frame_max: u32,
    pub queue_mark: usize,
    pub state: State,
    pub paused: bool,
    pub filled: bool,
    /// The step in which that was the case.
    filled_step: u64,
    pub is_ready: bool,
    pub ended: bool,
    pub partial_since_us: Option<u64>,
    /// True if a neighbour is at the other end.
    pub is_link: bool,
    /// Unanswered requests of the other end.
    owed: VecDeque<Owed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Dialing(NodeId),
    Open,
    Closing { deadline_us: u64, is_shut: bool },
}

#[derive(Debug)]
struct Owed {
    request_id: RequestId,
    opcode: u8,
    until_us: u64,
}

/// The kind of a frame, as far as its queue is concerned.
struct Entry {
    bytes: Vec<u8>,
    order: Order,
    opcode: Option<Opcode>,
    /// A request that is forwarded over a link: the only kind that a full queue refuses.
    is_request: bool,
    /// A response to a request of the other end.
    answers: Option<(RequestId, u8)>,
}

impl Conn {
    /// How long it may linger without reading once the node has closed it.
    pub(crate) const fn linger_us(&self, is_draining: bool) -> u64 {
        match (self.outbox.is_empty(), is_draining) {
            (false, _) if self.ended => 2 * CLIENT_KEEPALIVE_US,
            (true, true) => DRAIN_LINGER_US,
            (_, _) => LINGER_US,
        }
    }
}

/// The connections of a node.
#[derive(Debug)]
pub(crate) struct SimConns {
    conns: Vec<Option<Conn>>,
    generation: u32,
    pub now_us: u64,
    /// True once the process was asked to end.
    pub is_draining: bool,
    /// The time outside of this machine.
    pub world_us: u64,
    /// A number that increases with each event.
    pub step: u64,
    pub ready: Vec<ConnId>,
    pub dials: Vec<NodeId>,
    dimension: Dimension,
    pace: Pace,
    /// Numbers of links that came up, links that went down, and queues that exceeded their high-water mark.
    pub counts: [u64; 3],
    pub spares: Spares,
    /// The pushes that were sent, and on which links.
    pub edges: Edges,
    /// The loss and delay of pushes at this end of the links.
    pub sieve: Sieve,
}

impl SimConns {
    pub(crate) fn new(dimension: Dimension, pace: Pace, is_calm: bool, rng: Rng) -> Self {
        Self {
            edges: Edges::new(is_calm),
            sieve: Sieve::new(rng),
            spares: Spares::default(),
            conns: Vec::new(),
            generation: 0,
            now_us: 0,
            is_draining: false,
            world_us: 0,
            step: 0,
            ready: Vec::new(),
            dials: Vec::new(),
            dimension,
            pace,
            counts: [0; 3],
        }
    }

    pub(crate) fn insert(&mut self, end: End, state: State) -> ConnId {
        let slot = self.conns.iter().position(Option::is_none).unwrap_or(self.conns.len());
        if slot == self.conns.len() {
            self.conns.push(None);
        }
        self.generation += 1;
        let id = ConnId { slot: u32::try_from(slot).expect("few"), generation: self.generation };
        self.conns[slot] = Some(Conn {
            id,
            end,
            inbox: Vec::new(),
            outbox: Outbox::default(),
            unsent: 0,
            frame_max: FRAME_BEFORE_HELLO_MAX,
            queue_mark: usize::MAX,
            state,
            paused: false,
            filled: false,
            filled_step: 0,
            is_ready: false,
            ended: false,
            partial_since_us: None,
            is_link: false,
            owed: VecDeque::new(),
        });
        id
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.slot as usize)?.as_mut().filter(|conn| conn.id == id)
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.get_mut(id)?;
        let conn = self.conns[id.slot as usize].take()?;
        self.counts[1] += u64::from(conn.is_link && conn.state == State::Open);
        Some(conn)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.conns.iter().flatten()
    }

    /// Returns the connection that has this end.
    pub(crate) fn find(&self, end: End) -> Option<ConnId> {
        self.iter().find(|conn| conn.end == end).map(|conn| conn.id)
    }

    pub(crate) fn mark_ready(&mut self, id: ConnId) {
        if let Some(conn) = self.get_mut(id)
            && !std::mem::replace(&mut conn.is_ready, true)
        {
            self.ready.push(id);
        }
    }

    /// Records a request of the other end.
    pub(crate) fn note_asked(&mut self, id: ConnId, frame: &Frame<'_>) {
        let header = &frame.header;
        let is_request = !header.flags.any(Flags::RESPONSE.with(Flags::ONEWAY).with(Flags::ROUTED));
        let (opcode, until_us) = (header.opcode, self.now_us + ANSWER_US + patience_us(frame));
        if let Some(conn) = self.get_mut(id)
            && is_request
            && opcode != Opcode::Goaway.number()
        {
            conn.owed.push_back(Owed { request_id: header.request_id, opcode, until_us });
        }
    }

    /// Asserts the invariants between two turns. A request that waits for the disk is answered when the disk has
    /// finished.
    pub(crate) fn check(&self, waits_for_disk: bool) {
        for conn in self.iter().filter(|conn| conn.state == State::Open) {
            let late = conn.owed.iter().find(|owed| owed.until_us < self.now_us);
            assert!(late.is_none() || waits_for_disk, "{:?} was never answered on {:?}", late, conn.end);
            if !conn.is_link && conn.filled {
                assert!(conn.paused, "the node reads from the client on {:?}, which does not read", conn.end);
            }
            let mark = if conn.is_link { LINK_QUEUE_MAX } else { CLIENT_QUEUE_MAX } as u64;
            let most = mark + CLIENT_BURST * if conn.is_link { CLIENTS_A_LINK } else { 1 };
            let queued = conn.outbox.len() as u64;
            assert!(queued <= most, "{queued} bytes are queued on {:?}", conn.end);
        }
    }

    /// Queues the frames that the sieve has delayed for long enough.
    pub(crate) fn release(&mut self) {
        for (id, bytes) in self.sieve.release(self.now_us) {
            self.append(id, Order::Kept, &bytes);
        }
    }

    /// Appends a frame to the queue of a connection that is open.
    fn append(&mut self, id: ConnId, order: Order, bytes: &[u8]) {
        let mut spares = std::mem::take(&mut self.spares);
        if let Some(conn) = self.get_mut(id).filter(|conn| conn.state == State::Open) {
            conn.outbox.append_frame(&mut spares, order, |tail| {
                tail.extend_from_slice(bytes);
                &[]
            });
        }
        self.spares = spares;
    }

    /// Queues acknowledgements, each as a frame of its own.
    fn send_acks(&mut self, conn: ConnId, acks: &Acks, route: Option<&Route>, bytes: &[u8]) -> bool {
        route.inspect(|route| self.check_route(route));
        let mut is_filled = false;
        for (frame, ack) in bytes.chunks(bytes.len() / acks.batches.len()).zip(&acks.batches) {
            let answers = route.is_none().then_some((ack.request_id, Opcode::Publish.number()));
            let opcode = Some(Opcode::Publish);
            is_filled |= self
                .queue(conn, Entry { bytes: frame.to_vec(), order: Order::Kept, opcode, is_request: false, answers });
        }
        is_filled
    }

    fn queue(&mut self, id: ConnId, entry: Entry) -> bool {
        let (now_us, push_mark, step) = (self.now_us, self.pace.push_mark, self.step);
        let Some(conn) = self.conns.get_mut(id.slot as usize).and_then(Option::as_mut).filter(|conn| conn.id == id)
        else {
            return false;
        };
        if conn.state != State::Open {
            return false;
        }
        let length = entry.bytes.len();
        if entry.opcode == Some(Opcode::Deliver) {
            assert!(
                !conn.is_link || conn.outbox.len() <= push_mark,
                "records are pushed into a queue that is too long"
            );
            let was_reported = !conn.is_link && conn.filled && conn.filled_step < step;
            assert!(!was_reported, "records are pushed to a client that does not read");
        }
        if conn.is_link && entry.opcode.is_some_and(|opcode| opcode.is_push() || opcode.is_between_nodes()) {
            self.edges.note(id, &entry.bytes, self.dimension, self.world_us);
            if self.sieve.takes(id, &entry.bytes, now_us) {
                return false;
            }
        }
        let was_reported = conn.filled && conn.filled_step < step;
        assert!(!(entry.is_request && was_reported), "a request was queued above the high-water mark");
        assert!(length <= conn.frame_max as usize, "{length} bytes to a client that accepts {}", conn.frame_max);
        if let Some((request_id, opcode)) = entry.answers {
            let place = conn.owed.iter().position(|owed| (owed.request_id, owed.opcode) == (request_id, opcode));
            let place = place.unwrap_or_else(|| panic!("{:?} never sent {opcode:#04x} {request_id:?}", conn.end));
            conn.owed.remove(place);
        }
        self.append(id, entry.order, &entry.bytes);
        let conn = self.get_mut(id).expect("it is open");
        let passed = !conn.filled && conn.outbox.len() > conn.queue_mark;
        if passed {
            (conn.filled, conn.filled_step) = (true, step);
        }
        self.counts[2] += u64::from(passed);
        passed
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
        if let Packet::Published(acks) = packet {
            return self.send_acks(conn, acks, route, &bytes);
        }
        route.inspect(|route| self.check_route(route));
        let answered = match packet {
            Packet::Response(opcode, _) => Some(*opcode),
            Packet::HelloResponse(..) => Some(Opcode::Hello.number()),
            Packet::Hello(_) | Packet::Goaway(_) | Packet::Ping | Packet::Published(_) | Packet::Push(_) => None,
        };
        let opcode = Opcode::from_number(bytes[OPCODE_AT]);
        let answers = answered.filter(|_| route.is_none()).map(|opcode| (request_id, opcode));
        self.queue(conn, Entry { bytes, order: Order::of_packet(packet, route), opcode, is_request: false, answers })
    }

    /// Returns what a real queue would report if it is too long for pushes.
    fn queued(&self, conn: ConnId) -> usize {
        let queued = self.conns.get(conn.slot as usize).and_then(Option::as_ref).map_or(0, |conn| conn.outbox.len());
        if queued > self.pace.push_mark { queued.max(PUSH_QUEUE_MAX + 1) } else { queued }
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
        let order = Order::of_frame(frame.header.flags, route);
        self.queue(conn, Entry { bytes, order, opcode, is_request, answers })
    }

    fn dial(&mut self, node: NodeId) {
        self.dials.push(node);
    }

    fn admit(&mut self, conn: ConnId, frame_max: u32, queue_mark: usize) {
        let is_link = queue_mark == LINK_QUEUE_MAX;
        let mark = if is_link { self.pace.link_mark } else { self.pace.client_mark };
        if let Some(conn) = self.get_mut(conn) {
            (conn.frame_max, conn.queue_mark, conn.is_link) = (frame_max, queue_mark.min(mark), is_link);
            self.counts[0] += u64::from(is_link);
        }
    }

    fn set_paused(&mut self, id: ConnId, paused: bool) {
        let now_us = self.now_us;
        if let Some(conn) = self.get_mut(id) {
            conn.paused = paused;
            if !paused {
                conn.partial_since_us = conn.partial_since_us.map(|_| now_us);
                self.mark_ready(id);
            }
        }
    }

    fn close(&mut self, id: ConnId) {
        let (now_us, is_draining) = (self.now_us, self.is_draining);
        let mut was_link = false;
        if let Some(conn) = self.get_mut(id) {
            let deadline_us = now_us + conn.linger_us(is_draining);
            was_link = conn.is_link && conn.state == State::Open;
            conn.state = State::Closing { deadline_us, is_shut: false };
            conn.inbox = Vec::new();
            self.mark_ready(id);
        }
        self.counts[1] += u64::from(was_link);
    }
}
