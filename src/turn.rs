//! One turn: events go into the node, its actions come out and are done; what was appended is committed at the end.
//!
//! The daemon and the simulator share this file, and with it the order in which things happen. They differ in what
//! is behind the two traits.

use crate::limits::PUSH_QUEUE_MAX;
use crate::node::{Action, Event, Lookup, Node, Packet};
use crate::record::{Entry, Found, Note, Unreadable};
use crate::types::{ConnId, NodeId, Now, RequestId};
use crate::wire::{Frame, Route};

/// The connections.
pub trait Links {
    /// Puts a frame into a queue. True when the queue passed its mark with it.
    fn send(&mut self, conn: ConnId, request_id: RequestId, route: Option<&Route>, packet: &Packet) -> bool;
    /// Puts somebody's frame into a queue, with another route. True when the queue passed its mark with it.
    fn forward(&mut self, conn: ConnId, request_id: RequestId, route: Option<&Route>, frame: &Frame<'_>) -> bool;
    /// Bytes that wait in a queue.
    fn queued(&self, conn: ConnId) -> usize;
    /// Starts to connect; an earlier attempt for that node is dropped.
    fn dial(&mut self, node: NodeId);
    /// Lets a connection carry frames of that size, with that mark on its queue.
    fn admit(&mut self, conn: ConnId, frame_max: u32, queue_mark: usize);
    /// Stops or resumes reading.
    fn set_paused(&mut self, conn: ConnId, paused: bool);
    /// Sends what is queued, then closes.
    fn close(&mut self, conn: ConnId);
}

/// The log of this node's group.
pub trait Store {
    /// Takes the entries of one turn, oldest first, and leaves the vector empty.
    fn submit(&mut self, entries: &mut Vec<Entry>);
    /// Puts the entries that are committed and were not given back yet into an empty vector, oldest first.
    fn take_committed(&mut self, entries: &mut Vec<Entry>);
    /// Takes in what became of entries that were given back, in their order.
    fn file(&mut self, notes: Vec<Note>);
    /// Takes a question about records that it was told of in [`Self::file`].
    fn read(&mut self, lookup: Lookup);
    /// Gives one with its answer that was not given yet.
    fn take_read(&mut self) -> Option<(Lookup, Result<Found, Unreadable>)>;
    /// Is it time to keep the state?
    fn wants_image(&self) -> bool;
    /// Keeps the state that all entries given back have led to.
    fn keep_image(&mut self, image: Vec<u8>);
    /// Is there room for more records?
    fn has_space(&self) -> bool;
    /// The last call: keeps what was submitted, and the state that all entries given back have led to.
    fn close(&mut self, image: Vec<u8>);
}

/// A log in memory: what is submitted is committed.
#[derive(Debug, Default)]
pub struct MemoryStore {
    committed: Vec<Entry>,
}

impl Store for MemoryStore {
    fn submit(&mut self, entries: &mut Vec<Entry>) {
        if self.committed.is_empty() {
            std::mem::swap(&mut self.committed, entries);
        } else {
            self.committed.append(entries);
        }
    }

    fn take_committed(&mut self, entries: &mut Vec<Entry>) {
        std::mem::swap(&mut self.committed, entries);
    }

    fn file(&mut self, _notes: Vec<Note>) {}

    fn read(&mut self, lookup: Lookup) {
        unreachable!("{lookup:?}: all records are in memory")
    }

    fn take_read(&mut self) -> Option<(Lookup, Result<Found, Unreadable>)> {
        None
    }

    fn wants_image(&self) -> bool {
        false
    }

    fn keep_image(&mut self, _image: Vec<u8>) {}

    fn has_space(&self) -> bool {
        true
    }

    fn close(&mut self, _image: Vec<u8>) {}
}

/// A node, its connections and its log.
#[derive(Debug)]
pub struct Turn<L, S> {
    node: Node,
    /// The connections, for whoever reads and writes them.
    pub links: L,
    /// The log.
    pub store: S,
    actions: Vec<Action>,
    appended: Vec<Entry>,
    committed: Vec<Entry>,
    has_space: bool,
}

impl<L: Links, S: Store> Turn<L, S> {
    /// Puts the parts together.
    pub const fn new(node: Node, links: L, store: S) -> Self {
        Self { node, links, store, actions: Vec::new(), appended: Vec::new(), committed: Vec::new(), has_space: true }
    }

    /// The node, to ask it things.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// One event, and everything that follows from it at once.
    pub fn handle(&mut self, now: Now, event: Event<'_>) {
        let frame = if let Event::Frame { frame, .. } = &event { Some(*frame) } else { None };
        self.node.handle(now, event, &mut self.actions);
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            if let Some(event) = self.perform(action, frame) {
                // Only notes it and may pause a client, so it cannot fill another queue.
                self.node.handle(now, event, &mut self.actions);
            }
        }
        std::mem::swap(&mut self.actions, &mut actions);
        for action in actions {
            let filled = self.perform(action, None);
            assert!(filled.is_none(), "pausing sends nothing");
        }
    }

    /// The end of the turn: everything appended is submitted in one go, and what is committed is applied.
    pub fn finish(&mut self, now: Now) {
        if !self.appended.is_empty() {
            self.store.submit(&mut self.appended);
        }
        loop {
            let mut entries = std::mem::take(&mut self.committed);
            self.store.take_committed(&mut entries);
            let is_empty = entries.is_empty();
            if !is_empty {
                self.handle(now, Event::Synced { entries: &mut entries });
            }
            self.committed = entries;
            if is_empty {
                break;
            }
        }
        while let Some((lookup, found)) = self.store.take_read() {
            self.handle(now, Event::Read { lookup, found });
        }
        if self.store.wants_image() {
            self.store.keep_image(self.node.image());
        }
        if self.store.has_space() != self.has_space {
            self.has_space = !self.has_space;
            self.handle(now, Event::Space { is_left: self.has_space });
        }
    }

    /// The end: what is in the log stays there.
    pub fn close(&mut self) {
        self.store.close(self.node.image());
    }

    /// Does what the node asks for. What it is to know of how that went, if anything.
    fn perform(&mut self, action: Action, frame: Option<&Frame<'_>>) -> Option<Event<'static>> {
        let filled = |conn, passed: bool| passed.then_some(Event::Filled { conn });
        match action {
            Action::Send { conn, request_id, route, packet } => {
                filled(conn, self.links.send(conn, request_id, route.as_ref(), &packet))
            }
            Action::Forward { conn, droppable: true, .. } | Action::SendFrame { conn, droppable: true, .. }
                if self.links.queued(conn) > PUSH_QUEUE_MAX =>
            {
                Some(Event::Dropped)
            }
            Action::Forward { conn, request_id, route, .. } => {
                let frame = frame.expect("a frame is handed on while it is handled");
                filled(conn, self.links.forward(conn, request_id, route.as_ref(), frame))
            }
            Action::SendFrame { conn, request_id, route, frame, .. } => {
                filled(conn, self.links.forward(conn, request_id, route.as_ref(), &frame.into_frame()))
            }
            Action::Append { entry } => {
                self.appended.push(entry);
                None
            }
            Action::File { notes } => {
                self.store.file(notes);
                None
            }
            Action::Read { lookup } => {
                self.store.read(lookup);
                None
            }
            Action::Dial { node } => {
                self.links.dial(node);
                None
            }
            Action::Admit { conn, frame_max, queue_mark } => {
                self.links.admit(conn, frame_max, queue_mark);
                None
            }
            Action::Pause { conn } => {
                self.links.set_paused(conn, true);
                None
            }
            Action::Resume { conn } => {
                self.links.set_paused(conn, false);
                None
            }
            Action::Close { conn } => {
                self.links.close(conn);
                None
            }
        }
    }
}
