//! All connections of a node, and the operations that the turn needs ([`Connections`]).

use std::collections::VecDeque;

use bytes::Bytes;
use slab::Slab;

use super::conn::{Conn, State};
use super::dirty::Dirty;
use super::fair::Fair;
use super::intake::Intake;
use super::outbox::{Order, Spares};
use crate::limits::{FRAME_MAX, LITTLE_UNSENT, WRITE_WORK, WRITTEN_PER_UNIT};
use crate::node::Packet;
use crate::turn::Connections;
use crate::types::{ConnId, NodeId, RequestId, Source};
use crate::wire::{Frame, Route};

/// The connections, and the lists of those that need to be read, written or dialled.
#[derive(Debug)]
pub struct Table<K> {
    conns: Slab<Conn<K>>,
    /// Connections that the node has closed but that still linger, oldest first; some may be gone already.
    lingering: VecDeque<ConnId>,
    generation: u32,
    /// The server's time, for deadlines.
    pub now_us: u64,
    /// True once the process was asked to end.
    pub is_draining: bool,
    /// Connections to be read. The poll is edge-triggered, so a connection stays here until it is drained.
    pub(crate) ready: Fair,
    /// Connections with bytes to be written.
    pub(crate) dirty: Dirty,
    /// Work of writing what was queued since this was last taken.
    queued_work: u64,
    /// Neighbours to connect to.
    pub dials: Vec<NodeId>,
    /// Connections that are links now, and whose sockets do not know it yet.
    pub(crate) links: Vec<ConnId>,
    /// Spare buffers for all outboxes.
    pub(crate) spares: Spares,
    /// The memory of the inboxes of clients.
    pub(crate) intake: Intake,
}

impl<K> Table<K> {
    /// Returns an empty table, with a budget in bytes for the inboxes of clients.
    pub fn new(input_bytes: usize) -> Self {
        Self {
            conns: Slab::new(),
            lingering: VecDeque::new(),
            generation: 0,
            now_us: 0,
            is_draining: false,
            ready: Fair::default(),
            dirty: Dirty::default(),
            queued_work: 0,
            dials: Vec::new(),
            links: Vec::new(),
            spares: Spares::default(),
            intake: Intake::new(input_bytes),
        }
    }

    /// Counts the memory of a connection's inbox after it may have changed.
    pub(crate) fn recount(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id.slot as usize).filter(|conn| conn.id == id && !conn.is_link) else {
            return;
        };
        let before = std::mem::replace(&mut conn.counted, conn.inbox.size());
        self.intake.change(before, conn.counted);
        if !conn.inbox.is_large() {
            self.intake.end(id);
        }
    }

    /// Lets the large frames go on for which there is memory again.
    pub(crate) fn feed(&mut self) {
        while let Some(id) = self.intake.next() {
            let now_us = self.now_us;
            if let Some(conn) = self.get_mut(id) {
                conn.is_starved = false;
                // It did not wait for its peer.
                conn.partial_since_us = conn.partial_since_us.map(|_| now_us);
                conn.grown_us = now_us;
                self.mark_ready(id);
            } else {
                self.intake.end(id);
            }
        }
    }

    /// Adds a connection, from this source if it comes from another process. `make` creates it from its id.
    pub fn insert(&mut self, source: Option<Source>, make: impl FnOnce(ConnId) -> Conn<K>) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let place = self.conns.vacant_entry();
        let slot = u32::try_from(place.key()).expect("far fewer sockets than that");
        let id = ConnId { slot, generation: self.generation };
        place.insert(make(id));
        self.ready.open(id, source);
        id
    }

    /// Returns the number of sockets.
    pub(crate) fn len(&self) -> usize {
        self.conns.len()
    }

    /// Returns the connection that has lingered longest. Each is returned once.
    pub(crate) fn take_lingering(&mut self) -> Option<ConnId> {
        while let Some(id) = self.lingering.pop_front() {
            if self.get_mut(id).is_some() {
                return Some(id);
            }
        }
        None
    }

    /// Adds a connection to the list of lingering ones.
    fn linger(&mut self, id: ConnId) {
        if self.lingering.len() > 2 * self.conns.len() {
            let conns = &self.conns;
            self.lingering.retain(|id| conns.get(id.slot as usize).is_some_and(|conn| conn.id == *id));
        }
        self.lingering.push_back(id);
    }

    /// Returns the slot that the next [`Table::insert`] will use.
    pub fn next_slot(&self) -> usize {
        self.conns.vacant_key()
    }

    /// Returns the connection, or `None` if it has been removed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn<K>> {
        self.conns.get_mut(id.slot as usize).filter(|conn| conn.id == id)
    }

    /// Returns the connection in a slot.
    pub fn at(&mut self, slot: usize) -> Option<&mut Conn<K>> {
        self.conns.get_mut(slot)
    }

    /// Removes a connection.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Conn<K>> {
        self.get_mut(id)?;
        let conn = self.conns.remove(id.slot as usize);
        self.intake.change(conn.counted, 0);
        self.intake.end(id);
        self.ready.close(id);
        Some(conn)
    }

    /// Returns all connections.
    pub fn iter(&self) -> impl Iterator<Item = &Conn<K>> {
        self.conns.iter().map(|(_, conn)| conn)
    }

    /// Adds a connection to the list of those to be read.
    pub(crate) fn mark_ready(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id.slot as usize).filter(|conn| conn.id == id) {
            self.ready.add(id, conn.is_link);
        }
    }

    /// Adds a connection to the list of those to be written.
    pub(crate) fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id.slot as usize).filter(|conn| conn.id == id)
            && !conn.is_dirty
        {
            conn.is_dirty = true;
            self.dirty.add(id, conn.is_link);
        }
    }

    /// Removes and returns the next client with little to send from those with bytes to be written.
    pub(crate) fn next_with_little(&mut self) -> Option<ConnId> {
        let conns = &self.conns;
        let unsent =
            |id: ConnId| conns.get(id.slot as usize).filter(|conn| conn.id == id).map_or(0, |conn| conn.outbox.len());
        self.dirty.next_with_little(|id| unsent(id) > LITTLE_UNSENT)
    }

    /// Returns the work of writing what was queued since the last call of [`Self::take_queued_work`].
    pub(crate) const fn queued_work(&self) -> u64 {
        self.queued_work
    }

    /// Charges work to this turn, like that of writing what was queued.
    pub(crate) const fn add_work(&mut self, work: u64) {
        self.queued_work += work;
    }

    /// Returns the work of writing what was queued since the last call.
    pub(crate) const fn take_queued_work(&mut self) -> u64 {
        std::mem::replace(&mut self.queued_work, 0)
    }

    /// Appends a frame, as a head and the parts after it, to a connection's queue. Returns true if the queue has risen
    /// above its high-water mark.
    fn queue<'p>(&mut self, id: ConnId, order: Order, head: impl FnOnce(&mut Vec<u8>) -> &'p [Bytes]) -> bool {
        let Some(conn) = self.conns.get_mut(id.slot as usize).filter(|conn| conn.id == id) else { return false };
        if conn.state != State::Open || conn.failure.is_some() {
            return false;
        }
        let before = conn.outbox.len();
        conn.outbox.append_frame(&mut self.spares, order, head);
        let passed = !conn.filled && conn.outbox.in_order() > conn.queue_mark;
        conn.filled |= passed;
        self.queued_work += (conn.outbox.len() - before) as u64 / WRITTEN_PER_UNIT;
        if !conn.is_dirty {
            conn.is_dirty = true;
            self.queued_work += WRITE_WORK;
            self.dirty.add(id, conn.is_link);
        }
        passed
    }
}

impl<K> Connections for Table<K> {
    fn send(&mut self, conn: ConnId, request_id: RequestId, route: Option<&Route>, packet: &Packet) -> bool {
        let order = Order::of_packet(packet, route);
        self.queue(conn, order, |tail| packet.encode(request_id, route, tail).map_or(&[], |payload| &payload.parts))
    }

    fn forward(&mut self, conn: ConnId, request_id: RequestId, route: Option<&Route>, frame: &Frame<'_>) -> bool {
        let shared = frame.shared_body();
        self.queue(conn, Order::of_frame(frame.header.flags, route), |tail| {
            frame.encode_head(request_id, route, tail);
            match &shared {
                Some(body) => std::slice::from_ref(body),
                None => {
                    tail.extend_from_slice(frame.body());
                    &[]
                }
            }
        })
    }

    fn queued(&self, conn: ConnId) -> usize {
        self.conns.get(conn.slot as usize).filter(|it| it.id == conn).map_or(0, |conn| conn.outbox.in_order())
    }

    fn dial(&mut self, node: NodeId) {
        self.dials.push(node);
    }

    fn admit(&mut self, id: ConnId, frame_max: u32, queue_mark: usize) {
        if let Some(conn) = self.get_mut(id) {
            conn.frame_max = frame_max;
            // Only frames on links have a route section.
            conn.is_link = frame_max > FRAME_MAX;
            conn.queue_mark = queue_mark;
            if conn.is_link {
                self.links.push(id);
            }
        }
    }

    fn set_paused(&mut self, id: ConnId, paused: bool) {
        let now_us = self.now_us;
        if let Some(conn) = self.get_mut(id) {
            conn.paused = paused;
            if !paused {
                // A frame that is incomplete only because reads were suspended gets its full time again.
                conn.partial_since_us = conn.partial_since_us.map(|_| now_us);
                self.mark_ready(id);
            }
        }
    }

    fn close(&mut self, id: ConnId) {
        let (now_us, is_draining) = (self.now_us, self.is_draining);
        if let Some(conn) = self.get_mut(id) {
            let deadline_us = now_us.saturating_add(conn.linger_us(is_draining));
            conn.state = State::Closing { deadline_us, is_shut: false };
            conn.inbox = super::inbox::Inbox::default();
            self.recount(id);
            self.linger(id);
            self.mark_dirty(id);
            self.mark_ready(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::tests::route;
    use crate::limits::LINK_FRAME_EXTRA;
    use crate::wire::{Opcode, Response, TrafficClass};

    #[test]
    fn large_responses_that_others_overtake_leave_a_link_its_room() {
        let mut table = Table::new(1 << 20);
        let link = table.insert(None, |id| Conn::new(id, (), State::Open));
        table.admit(link, FRAME_MAX + LINK_FRAME_EXTRA, 20_000);
        let packet = Packet::Response(Opcode::Stats.number(), Response::Stats { node: 0, text: "x".repeat(30_000) });
        for (class, is_filled) in
            [(TrafficClass::Bulk, false), (TrafficClass::Bulk, false), (TrafficClass::Control, true)]
        {
            assert_eq!(table.send(link, RequestId(1), Some(&route(class)), &packet), is_filled, "{class:?}");
            assert_eq!(table.queued(link) > 0, is_filled);
        }
        assert!(table.get_mut(link).unwrap().outbox.len() > 90_000, "all of them are queued");
    }

    #[test]
    fn what_is_queued_is_work_by_its_bytes_and_once_for_each_write() {
        let mut table = Table::new(1 << 20);
        let ids = [(); 2].map(|()| table.insert(None, |id| Conn::new(id, (), State::Open)));
        let text = "x".repeat(30_000);
        let packet = Packet::Response(Opcode::Stats.number(), Response::Stats { node: 0, text });
        let mut work = |conn: usize| {
            table.send(ids[conn], RequestId(1), None, &packet);
            table.take_queued_work()
        };
        let of_bytes = 30_000 / WRITTEN_PER_UNIT;
        assert!((of_bytes + WRITE_WORK..of_bytes + WRITE_WORK + 100).contains(&work(0)));
        assert!((of_bytes..of_bytes + 100).contains(&work(0)), "the same write");
        assert!((of_bytes + WRITE_WORK..of_bytes + WRITE_WORK + 100).contains(&work(1)));
        assert_eq!(table.queued_work(), 0);
    }
}
