//! Those who subscribed to a bare server, and what the turn has brought for them.

use dht_node::types::RequestId;

use crate::conn::Conn;
use crate::frames::Deliver;

/// Most bytes of records in a DELIVER: with its head it stays below what clients take.
const PAYLOAD_MAX: usize = 512 << 10;

/// What is to be sent to everybody at the end of the turn, as one DELIVER.
#[derive(Debug)]
pub(crate) struct Fanout {
    /// By connection.
    subscriptions: Vec<(usize, RequestId)>,
    /// The records, end to end.
    payload: Vec<u8>,
    count: u32,
    base: u64,
    /// Of the first record, which spares a checksum when it is the only one.
    first_crc: u32,
    deliver: Deliver,
}

impl Fanout {
    /// Without subscribers.
    pub(crate) fn new() -> Self {
        Self {
            subscriptions: Vec::new(),
            payload: Vec::new(),
            count: 0,
            base: 0,
            first_crc: 0,
            deliver: Deliver::new(),
        }
    }

    /// From now on the connection gets everything; another subscription of it takes the place of the first.
    pub(crate) fn subscribe(&mut self, slot: usize, id: RequestId) {
        self.forget(slot);
        self.subscriptions.push((slot, id));
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, slot: usize) {
        self.subscriptions.retain(|(other, _)| *other != slot);
    }

    /// May the same DELIVER have that record too?
    pub(crate) const fn has_room(&self, record: &[u8]) -> bool {
        self.payload.is_empty() || self.payload.len() + record.len() <= PAYLOAD_MAX
    }

    /// Adds a record with its place in the log and its checksum.
    pub(crate) fn add(&mut self, base: u64, record: &[u8], crc: u32) {
        if self.subscriptions.is_empty() {
            return;
        }
        if self.count == 0 {
            (self.base, self.first_crc) = (base, crc);
        }
        self.payload.extend_from_slice(record);
        self.count += 1;
    }

    /// Writes what was added to each subscriber; those that cannot be written to.
    pub(crate) fn flush(&mut self, conns: &mut [Option<Conn>]) -> Vec<usize> {
        let mut broken = Vec::new();
        if self.count == 0 {
            return broken;
        }
        let crc = if self.count == 1 { self.first_crc } else { crc32fast::hash(&self.payload) };
        self.deliver.fill(self.base, self.count, &self.payload, crc);
        for (slot, id) in &self.subscriptions {
            let Some(conn) = &mut conns[*slot] else { continue };
            self.deliver.write(*id, &mut conn.out);
            if conn.write_with(&self.payload).is_err() {
                broken.push(*slot);
            }
        }
        self.payload.clear();
        self.count = 0;
        broken
    }
}
