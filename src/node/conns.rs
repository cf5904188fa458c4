//! The connections as the core sees them: who is at the other end, and what they have unanswered.

use crate::limits::CLIENT_QUEUE_MAX;
use crate::types::{ConnId, NodeId, RequestId};

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    generation: u32,
    /// Monotonic microseconds of the last sign of life.
    pub heard_us: u64,
    /// Monotonic microseconds of the last frame to it when it is a link, of the last PING to it when it is a client.
    pub sent_us: u64,
    /// Who is there.
    pub peer: Peer,
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Peer {
    /// It has not said HELLO yet.
    Stranger {
        /// When it is sent away, monotonic microseconds.
        deadline_us: u64,
    },
    /// We connected to it and wait for its answer to our HELLO.
    Dialed {
        /// Who it must be.
        node: NodeId,
        /// When we give up, monotonic microseconds.
        deadline_us: u64,
    },
    /// It says that it is a neighbour whose link is still up: we ask that link first.
    Challenger {
        /// Of its HELLO.
        instance: u64,
        /// Of its HELLO.
        request_id: RequestId,
        /// The dimension that the link crosses.
        bit: u8,
        /// When the old link has lost, monotonic microseconds.
        deadline_us: u64,
    },
    /// A client.
    Client(Client),
    /// The neighbour across that dimension.
    Link {
        /// The dimension.
        bit: u8,
    },
    /// A link whose neighbour has said that it ends: nothing is sent there any more, but what it still does and answers
    /// comes from there until it closes.
    Leaving {
        /// The dimension that the link crossed.
        bit: u8,
        /// When it is closed from this side, monotonic microseconds.
        deadline_us: u64,
    },
}

/// A client and what it has unanswered.
#[derive(Debug)]
pub(super) struct Client {
    /// Requests.
    pub inflight: u32,
    /// Bytes that their answers may take.
    pub charge: u64,
    /// Is it not read?
    pub paused: bool,
    /// Is it among those who wait for the node to have room?
    pub waits: bool,
    /// Does it not read?
    pub full: bool,
    /// Bytes of the answers that were queued since it does not.
    pub owed: u64,
    /// It sends nothing more.
    pub ended: bool,
    /// It understands the EVENTs WAITING and FLOWING.
    pub notices: bool,
    /// It was asked for a sign of life and gave none since.
    pub pinged: bool,
    /// Agreed silence, in microseconds.
    pub keepalive_us: u64,
    /// Most bytes of a frame that it takes.
    pub frame_max: u32,
    /// Its subscriptions and waiting requests, by their places.
    pub readers: Vec<usize>,
    /// Bytes of records that it was sent while one event was handled, and which.
    pub given: (u64, usize),
    /// Unanswered requests that will become one.
    pub openings: usize,
    /// The highest request id taken.
    pub last_request_id: u64,
}

impl Client {
    /// May it be sent more records while this event is handled? That its queue is full is known only afterwards.
    pub(super) const fn takes(&mut self, event: u64) -> bool {
        if self.given.0 != event {
            self.given = (event, 0);
        }
        !self.full && self.given.1 < CLIENT_QUEUE_MAX
    }

    /// Takes note of so many bytes that it is sent.
    pub(super) const fn give(&mut self, bytes: usize) {
        self.given.1 += bytes;
    }
}

/// All connections, by [`ConnId`].
#[derive(Debug, Default)]
pub(super) struct Conns {
    slots: Vec<Option<Box<Conn>>>,
    clients: usize,
}

impl Conns {
    /// Clients among them, strangers included.
    pub(super) const fn clients(&self) -> usize {
        self.clients
    }

    /// A new connection; its slot is free.
    pub(super) fn insert(&mut self, id: ConnId, heard_us: u64, peer: Peer) {
        let slot = id.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        assert!(self.slots[slot].is_none(), "a slot is used again only after Closed or Close");
        self.clients += usize::from(matches!(peer, Peer::Stranger { .. }));
        self.slots[slot] = Some(Box::new(Conn { generation: id.generation, heard_us, sent_us: heard_us, peer }));
    }

    /// The connection, unless it is gone.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.slots.get_mut(id.slot as usize)?.as_deref_mut()?;
        (conn.generation == id.generation).then_some(conn)
    }

    /// Takes note that a link is sent something.
    pub(super) fn note_sent(&mut self, id: ConnId, monotonic_us: u64) {
        if let Some(conn) = self.get_mut(id) {
            conn.sent_us = monotonic_us;
        }
    }

    /// The client at the other end, if it is one.
    pub(super) fn client_mut(&mut self, id: ConnId) -> Option<&mut Client> {
        match &mut self.get_mut(id)?.peer {
            Peer::Client(client) => Some(client),
            Peer::Stranger { .. }
            | Peer::Dialed { .. }
            | Peer::Challenger { .. }
            | Peer::Link { .. }
            | Peer::Leaving { .. } => None,
        }
    }

    /// Says who is there, now that it is known.
    pub(super) fn set_peer(&mut self, id: ConnId, peer: Peer) {
        let counts = |peer: &Peer| usize::from(matches!(peer, Peer::Stranger { .. } | Peer::Client(_)));
        if let Some(conn) = self.get_mut(id) {
            let (before, after) = (counts(&conn.peer), counts(&peer));
            conn.peer = peer;
            self.clients = self.clients - before + after;
        }
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.get_mut(id)?;
        let conn = *self.slots[id.slot as usize].take()?;
        self.clients -= usize::from(matches!(conn.peer, Peer::Stranger { .. } | Peer::Client(_)));
        Some(conn)
    }

    /// All connections, in the order of their slots.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Conn)> {
        (0..).zip(&mut self.slots).filter_map(|(slot, conn)| {
            let conn = conn.as_deref_mut()?;
            Some((ConnId { slot, generation: conn.generation }, conn))
        })
    }
}
