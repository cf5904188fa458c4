//! The clients as the readers see them: what each of them takes, and how many readers it has.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::table::ReaderKey;
use crate::limits::CLIENT_QUEUE_MAX;
use crate::types::{ConnId, Source};

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    id: ConnId,
    source: Source,
    /// Largest frame that it accepts, in bytes.
    pub frame_max: u32,
    /// True if it understands the events WAITING and FLOWING.
    pub takes_notices: bool,
    /// True once it has closed its sending side: it could grant a subscription no credit.
    pub has_ended: bool,
    readers: BTreeSet<ReaderKey>,
    /// Number of its pending readers.
    pending: usize,
    /// Number of its FETCHes that have stopped waiting, but are not answered yet.
    unanswered: usize,
    /// Bytes of records sent to it during one event, preceded by the number of the event.
    given: (u64, usize),
}

impl Client {
    /// Returns true when it may be sent more records during this event, if its send queue was not full before. The
    /// queue's fill level only becomes known after the event.
    pub(super) const fn takes(&mut self, event: u64) -> bool {
        if self.given.0 != event {
            self.given = (event, 0);
        }
        self.given.1 < CLIENT_QUEUE_MAX
    }

    /// Counts bytes that are sent to the client during this event.
    pub(super) const fn give(&mut self, bytes: usize) {
        self.given.1 += bytes;
    }

    /// Returns its readers.
    pub(super) const fn readers(&self) -> &BTreeSet<ReaderKey> {
        &self.readers
    }

    /// Returns true if it has readers, or FETCHes that have stopped waiting and are not answered yet.
    pub(super) fn waits(&self) -> bool {
        !self.readers.is_empty() || self.unanswered > 0
    }

    /// Counts a FETCH that has stopped waiting.
    pub(super) const fn begin_answer(&mut self) {
        self.unanswered += 1;
    }

    /// Counts the answer to such a FETCH.
    pub(super) const fn end_answer(&mut self) {
        self.unanswered -= 1;
    }

    /// Returns the number of its readers, including pending ones.
    pub(super) fn len(&self) -> usize {
        self.readers.len() + self.pending
    }
}

/// All clients, by the slot of their connection.
#[derive(Debug, Default)]
pub(super) struct Clients {
    slots: Vec<Option<Box<Client>>>,
    /// Number of readers, including pending ones, of each source that has any.
    by_source: HashMap<Source, u64, RandomState>,
}

impl Clients {
    /// Adds a client without readers.
    pub(super) fn open(&mut self, id: ConnId, source: Source, frame_max: u32, takes_notices: bool) {
        let slot = id.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        assert!(self.slots[slot].is_none(), "the client that had the slot before was removed");
        let (readers, given) = (BTreeSet::new(), (0, 0));
        let (pending, unanswered) = (0, 0);
        let client =
            Client { id, source, frame_max, takes_notices, has_ended: false, readers, pending, unanswered, given };
        self.slots[slot] = Some(Box::new(client));
    }

    /// Removes a client, and returns its readers, which the caller removes as well.
    pub(super) fn close(&mut self, id: ConnId) -> BTreeSet<ReaderKey> {
        let Some(client) = self.get_mut(id) else { return BTreeSet::new() };
        let (source, count) = (client.source, client.len());
        let readers = std::mem::take(&mut client.readers);
        self.slots[id.slot as usize] = None;
        self.count(source, count, 0);
        readers
    }

    /// Returns a client, or `None` if it has disconnected.
    pub(super) fn get(&self, id: ConnId) -> Option<&Client> {
        self.slots.get(id.slot as usize)?.as_deref().filter(|client| client.id == id)
    }

    /// Returns a client, or `None` if it has disconnected.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Client> {
        self.slots.get_mut(id.slot as usize)?.as_deref_mut().filter(|client| client.id == id)
    }

    /// Returns the source of a client, and the number of readers of that source.
    pub(super) fn source_of(&self, id: ConnId) -> Option<(Source, u64)> {
        let source = self.get(id)?.source;
        Some((source, self.by_source.get(&source).copied().unwrap_or(0)))
    }

    /// Adds a pending reader of a client.
    pub(super) fn add_pending(&mut self, id: ConnId) {
        self.change(id, |client| client.pending += 1);
    }

    /// Removes a pending reader of a client, which has begun or was refused.
    pub(super) fn remove_pending(&mut self, id: ConnId) {
        self.change(id, |client| client.pending -= 1);
    }

    /// Adds a reader of a client.
    pub(super) fn add(&mut self, id: ConnId, key: ReaderKey) {
        self.change(id, |client| {
            client.readers.insert(key);
        });
    }

    /// Removes a reader of a client, if the client is still connected.
    pub(super) fn remove(&mut self, id: ConnId, key: ReaderKey) {
        self.change(id, |client| {
            client.readers.remove(&key);
        });
    }

    fn change(&mut self, id: ConnId, change: impl FnOnce(&mut Client)) {
        let Some(client) = self.get_mut(id) else { return };
        let before = client.len();
        change(client);
        let (source, after) = (client.source, client.len());
        self.count(source, before, after);
    }

    fn count(&mut self, source: Source, before: usize, after: usize) {
        let count = self.by_source.entry(source).or_default();
        *count = *count - before as u64 + after as u64;
        if *count == 0 {
            self.by_source.remove(&source);
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let mut counted: HashMap<Source, u64, RandomState> = HashMap::default();
        for client in self.slots.iter().flatten().filter(|client| client.len() > 0) {
            *counted.entry(client.source).or_default() += client.len() as u64;
        }
        assert_eq!(counted, self.by_source, "readers are counted for their sources");
    }
}
