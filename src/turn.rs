//! One turn of the node: events go in, its actions are carried out, and what was appended is committed at the end.
//!
//! The daemon and the simulator share this file, so both process events in the same order. They differ only in their
//! implementations of the two traits.

use std::collections::VecDeque;

use crate::entry::{
    CopyDone, CopyTask, Found, Image, LogPart, LogQuery, Note, Place, Room, Unreadable, Write, Written,
};
use crate::limits::{COMMIT_WORK, LOOKUP_WORK, PUSH_QUEUE_MAX};
use crate::node::{Action, Event, Lookup, Node, Packet};
use crate::types::{ConnId, NodeId, Now, RequestId, SlotId};
use crate::wire::{Frame, Route};

/// The node's connections.
pub trait Connections {
    /// Queues a frame. Returns true when the queue is now above its high-water mark.
    fn send(&mut self, conn: ConnId, request_id: RequestId, route: Option<&Route>, packet: &Packet) -> bool;
    /// Queues a received frame with a new route section. Returns true when the queue is now above its high-water mark.
    fn forward(&mut self, conn: ConnId, request_id: RequestId, route: Option<&Route>, frame: &Frame<'_>) -> bool;
    /// Returns the number of bytes in a connection's send queue, without those that others overtake.
    fn queued(&self, conn: ConnId) -> usize;
    /// Starts to connect to a node and drops an earlier attempt.
    fn dial(&mut self, node: NodeId);
    /// Allows frames of up to `frame_max` bytes on a connection, and sets the high-water mark of its send queue.
    fn admit(&mut self, conn: ConnId, frame_max: u32, queue_mark: usize);
    /// Suspends or resumes reads from a connection.
    fn set_paused(&mut self, conn: ConnId, paused: bool);
    /// Closes a connection after sending what is queued.
    fn close(&mut self, conn: ConnId);
    /// Is called before the node handles an event. Only tests have something to do here.
    fn watch(&mut self, _node: &Node, _event: &Event<'_>) {}
}

/// The logs of the node's groups.
pub trait Store {
    /// Takes something that is to be durable.
    fn submit(&mut self, write: Write);
    /// Returns something that is durable, each one once. What belongs to a group comes in the order in which it was
    /// submitted.
    fn take_written(&mut self) -> Option<Written>;
    /// Takes the outcomes of returned entries, in the order of the entries.
    fn file(&mut self, notes: Vec<Note>);
    /// Starts a query about records that [`Self::file`] has recorded.
    fn read(&mut self, lookup: Lookup);
    /// Returns a finished query with its answer, each one once.
    fn take_read(&mut self) -> Option<(Lookup, Result<Found, Unreadable>)>;
    /// Starts a query for bodies of a group's log, each of which this store has reported as written.
    fn fetch(&mut self, query: LogQuery);
    /// Returns a finished query for bodies with its answer, each one once.
    fn take_fetched(&mut self) -> Option<(LogQuery, Result<LogPart, Unreadable>)>;
    /// Does something for a copy of a group's state. If that is to install it, `images` are the states of all groups
    /// after all returned entries.
    fn copy(&mut self, task: CopyTask, images: Vec<Image>);
    /// Returns what was done for copies, each once, in order. That something was dropped is not reported.
    fn take_copied(&mut self) -> Option<CopyDone>;
    /// Returns true when a checkpoint is due.
    fn wants_image(&self) -> bool;
    /// Writes a checkpoint of the states of all groups after all returned entries.
    fn keep_images(&mut self, images: Vec<Image>);
    /// Returns how much room there is after everything that was submitted.
    fn room(&self) -> Room;
    /// Makes all submitted entries durable, and writes a checkpoint of the states of all groups after all returned
    /// entries, if there are any: not while a copied state is being installed. No call follows.
    fn close(&mut self, images: Option<Vec<Image>>);
}

/// Logs in memory, in which everything is written at once. No body can be read back.
#[derive(Debug, Default)]
pub struct MemoryStore {
    written: VecDeque<Written>,
    fetched: VecDeque<LogQuery>,
}

impl Store for MemoryStore {
    fn submit(&mut self, write: Write) {
        self.written.push_back(write.written(Place::default()));
    }

    fn take_written(&mut self) -> Option<Written> {
        self.written.pop_front()
    }

    fn file(&mut self, _notes: Vec<Note>) {}

    fn read(&mut self, lookup: Lookup) {
        unreachable!("{lookup:?}: all records are in memory")
    }

    fn take_read(&mut self) -> Option<(Lookup, Result<Found, Unreadable>)> {
        None
    }

    fn fetch(&mut self, query: LogQuery) {
        self.fetched.push_back(query);
    }

    fn take_fetched(&mut self) -> Option<(LogQuery, Result<LogPart, Unreadable>)> {
        let query = self.fetched.pop_front()?;
        Some((query, Ok(LogPart { base: (query.index, 0), bodies: Vec::new() })))
    }

    fn copy(&mut self, task: CopyTask, _images: Vec<Image>) {
        // Nobody copies what is only in memory.
        unreachable!("{task:?}: there is no log that could be copied")
    }

    fn take_copied(&mut self) -> Option<CopyDone> {
        None
    }

    fn wants_image(&self) -> bool {
        false
    }

    fn keep_images(&mut self, _images: Vec<Image>) {}

    fn room(&self) -> Room {
        Room::UNLIMITED
    }

    fn close(&mut self, _images: Option<Vec<Image>>) {}
}

/// A node, its connections and its log.
#[derive(Debug)]
pub struct Turn<C, S> {
    node: Node,
    /// The connections, public for the code that reads and writes them.
    pub conns: C,
    /// The log.
    pub store: S,
    actions: Vec<Action>,
    /// Copied states to be installed, one after the other, at the ends of turns: then the store knows what has become
    /// of all applied entries.
    installs: VecDeque<CopyTask>,
    /// The slot and the number of the copy that the store is installing. The store may have replaced the state of the
    /// group already, which the node still has. So the node's states may not be given to the store until it has
    /// reported that.
    installing: Option<(SlotId, u64)>,
    has_more: bool,
}

impl<C: Connections, S: Store> Turn<C, S> {
    /// Creates the turn of a node.
    pub const fn new(node: Node, conns: C, store: S) -> Self {
        Self { node, conns, store, actions: Vec::new(), installs: VecDeque::new(), installing: None, has_more: false }
    }

    /// Returns the node, for queries.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Returns the node's work since the last call, in units of about a nanosecond of processor time.
    pub const fn take_work(&mut self) -> u64 {
        self.node.take_work()
    }

    /// Records how long a turn took, in microseconds, and its processor time; 0 if that was not measured.
    pub const fn note_length(&mut self, now: Now, turn_us: u64, cpu_us: u64) {
        self.node.note_turn(now, turn_us, cpu_us);
    }

    /// Records how many bytes received from clients wait in their connections.
    pub const fn note_input(&mut self, bytes: usize) {
        self.node.note_input(bytes as u64);
    }

    /// Returns true if [`Self::finish`] has left committed entries or answers of the log for the next turn, which is
    /// due at once.
    pub const fn has_more(&self) -> bool {
        self.has_more
    }

    /// Handles one event and carries out the resulting actions.
    pub fn handle(&mut self, now: Now, event: Event<'_>) {
        self.conns.watch(&self.node, &event);
        let frame = if let Event::Frame { frame, .. } = &event { Some(*frame) } else { None };
        self.node.handle(now, event, &mut self.actions);
        if self.actions.is_empty() {
            // Most PUBLISH frames only join a run, and have no action of their own.
            return;
        }
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            if let Some(event) = self.perform(action, frame) {
                // The node only records the event and may pause a client, so no further queue can fill.
                self.node.handle(now, event, &mut self.actions);
            }
        }
        std::mem::swap(&mut self.actions, &mut actions);
        for action in actions {
            let filled = self.perform(action, None);
            assert!(filled.is_none(), "pausing sends nothing");
        }
    }

    /// Ends the turn: adds what was proposed to the log, applies what is committed until that has taken
    /// [`COMMIT_WORK`], and handles answers of the log until they have taken [`LOOKUP_WORK`].
    pub fn finish(&mut self, now: Now) {
        if self.node.has_open() {
            // Before the first turn it knows nothing of the room.
            self.tell_room(now);
            self.handle(now, Event::TurnOver);
        }
        let has_committed = self.apply_committed(now);
        let has_found = self.handle_found(now);
        self.has_more = has_committed || has_found;
        self.install_next();
        if self.has_states() && self.store.wants_image() {
            self.store.keep_images(self.node.images());
        }
        self.tell_room(now);
    }

    /// Returns true if the node has the same states of all groups as the store.
    fn has_states(&self) -> bool {
        planted!("checkpoint while a state is installed", self.installing.is_none(), true)
    }

    /// Has the store install the next copied state, unless it is installing another one.
    fn install_next(&mut self) {
        if !self.has_states() {
            return;
        }
        if let Some(task) = self.installs.pop_front() {
            self.installing = task.installs();
            self.store.copy(task, self.node.images());
        }
    }

    /// Tells the node how much room the log has, if that has changed.
    fn tell_room(&mut self, now: Now) {
        let room = self.store.room();
        if room != self.node.room() {
            self.handle(now, Event::Space { room });
        }
    }

    /// Applies what is committed, and returns true if there may be more.
    fn apply_committed(&mut self, now: Now) -> bool {
        let end = self.node.work().saturating_add(COMMIT_WORK);
        while self.node.work() < end {
            if let Some(written) = self.store.take_written() {
                self.handle(now, Event::Written { written });
            } else if self.node.has_committed() {
                self.handle(now, Event::Committed);
            } else {
                return false;
            }
        }
        true
    }

    /// Handles answers of the log, and returns true if there may be more.
    fn handle_found(&mut self, now: Now) -> bool {
        let end = self.node.work().saturating_add(LOOKUP_WORK);
        while self.node.work() < end {
            if let Some((lookup, found)) = self.store.take_read() {
                self.handle(now, Event::Read { lookup, found });
            } else if let Some((query, part)) = self.store.take_fetched() {
                self.handle(now, Event::Fetched { query, part });
            } else if let Some(done) = self.store.take_copied() {
                // A state that was installed is the node's once it has handled this.
                self.handle(now, Event::Copied { done });
                self.installing.take_if(|(slot, number)| (*slot, *number) == (done.slot, done.number));
            } else {
                return false;
            }
        }
        true
    }

    /// Closes the log with a last checkpoint.
    pub fn close(&mut self) {
        let images = self.has_states().then(|| self.node.images());
        self.store.close(images);
    }

    /// Carries out an action, and returns the event by which the node learns the result, if any.
    fn perform(&mut self, action: Action, frame: Option<&Frame<'_>>) -> Option<Event<'static>> {
        let filled = |conn, passed: bool| passed.then_some(Event::Filled { conn });
        match action {
            Action::Send { conn, request_id, route, packet } => {
                filled(conn, self.conns.send(conn, request_id, route.as_ref(), &packet))
            }
            Action::Forward { conn, droppable: true, .. } | Action::SendFrame { conn, droppable: true, .. }
                if self.conns.queued(conn) > PUSH_QUEUE_MAX =>
            {
                Some(Event::Dropped)
            }
            Action::Forward { conn, request_id, route, .. } => {
                let frame = frame.expect("a frame is handed on while it is handled");
                filled(conn, self.conns.forward(conn, request_id, route.as_ref(), frame))
            }
            Action::SendFrame { conn, request_id, route, frame, .. } => {
                filled(conn, self.conns.forward(conn, request_id, route.as_ref(), &frame.into_frame()))
            }
            Action::Write { write } => {
                self.store.submit(write);
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
            Action::Fetch { query } => {
                self.store.fetch(query);
                None
            }
            Action::Copy { task } => {
                if task.installs().is_some() {
                    self.installs.push_back(task);
                } else {
                    self.store.copy(task, Vec::new());
                }
                None
            }
            Action::Dial { node } => {
                self.conns.dial(node);
                None
            }
            Action::Admit { conn, frame_max, queue_mark } => {
                self.conns.admit(conn, frame_max, queue_mark);
                None
            }
            Action::Pause { conn } => {
                self.conns.set_paused(conn, true);
                None
            }
            Action::Resume { conn } => {
                self.conns.set_paused(conn, false);
                None
            }
            Action::Close { conn } => {
                self.conns.close(conn);
                None
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
