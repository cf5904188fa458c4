//! The subscribers of a bare server, and the records of a turn for them.

use dht_protocol::types::{RequestId, crc32};

use crate::conn::Conn;
use crate::frames::Deliver;

/// Maximum size of the records in a DELIVER: with its head it stays below what clients accept.
const PAYLOAD_MAX: usize = 512 << 10;

/// The records to be sent to all subscribers at the end of the turn, as one DELIVER.
#[derive(Debug)]
pub(crate) struct Fanout {
    /// The subscriptions by connection.
    subscriptions: Vec<(usize, RequestId)>,
    /// The records, one after the other.
    payload: Vec<u8>,
    count: u32,
    base: u64,
    /// The checksum of the first record, which is reused if it is the only one.
    first_crc: u32,
    deliver: Deliver,
}

impl Fanout {
    /// Creates a fan-out without subscribers.
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

    /// Adds a subscription to everything from now on, which replaces an earlier one of the connection.
    pub(crate) fn subscribe(&mut self, slot: usize, id: RequestId) {
        self.forget(slot);
        self.subscriptions.push((slot, id));
    }

    /// Removes a connection.
    pub(crate) fn forget(&mut self, slot: usize) {
        self.subscriptions.retain(|(other, _)| *other != slot);
    }

    /// Returns true if the same DELIVER has room for that record.
    pub(crate) const fn has_room(&self, record: &[u8]) -> bool {
        self.payload.is_empty() || self.payload.len() + record.len() <= PAYLOAD_MAX
    }

    /// Adds a record with its position in the log and its checksum.
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

    /// Writes the added records to each subscriber. Returns those that cannot be written to.
    pub(crate) fn flush(&mut self, conns: &mut [Option<Conn>]) -> Vec<usize> {
        let mut broken = Vec::new();
        if self.count == 0 {
            return broken;
        }
        let crc = if self.count == 1 { self.first_crc } else { crc32(&self.payload) };
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
