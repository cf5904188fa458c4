//! The connections as the core sees them: who the peer is, and when it last gave a sign of life.

use super::sources::{SourceLimits, Sources};
use crate::types::{ConnId, Source};

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    generation: u32,
    /// Monotonic time of the last sign of life, in microseconds. The router has that of a link.
    pub heard_us: u64,
    /// Monotonic time in microseconds of the last PING sent to a client; at first, when the connection was accepted.
    pub sent_us: u64,
    /// Where the connection comes from.
    pub source: Source,
    /// The peer.
    pub peer: Peer,
}

/// The peer of a connection.
#[derive(Debug)]
pub(super) enum Peer {
    /// Handshaking: it has not sent HELLO yet.
    Handshaking {
        /// Monotonic time at which the handshake times out, in microseconds.
        deadline_us: u64,
        /// True if it may have been opened during a stall of this node. A neighbour gives up such a connection and
        /// dials again.
        is_stale: bool,
    },
    /// A client.
    Client(Client),
    /// The neighbour across a dimension. [`super::router::Router::usage`] says what the connection is used for.
    Link {
        /// The dimension.
        bit: u8,
    },
    /// A link whose neighbour is shutting down. Nothing more is sent on it, but the neighbour's requests and answers
    /// are accepted until it closes the link.
    Leaving {
        /// The dimension that the link crossed.
        bit: u8,
        /// Monotonic time at which this side closes it, in microseconds.
        deadline_us: u64,
    },
}

impl Peer {
    /// Returns true for a client, and for a handshaking connection, which may become one.
    const fn is_counted(&self) -> bool {
        matches!(self, Self::Handshaking { .. } | Self::Client(_))
    }
}

/// A client. Its account is in [`super::ingress::Admission`].
#[derive(Debug)]
pub(super) struct Client {
    /// True once the client has closed its sending side.
    pub ended: bool,
    /// True if it has not reacted to the last PING.
    pub pinged: bool,
    /// Agreed keepalive time, in microseconds.
    pub keepalive_us: u64,
    /// Largest frame that it accepts, in bytes.
    pub frame_max: u32,
    /// The highest request id received.
    pub last_request_id: u64,
}

/// All connections, by [`ConnId`].
#[derive(Debug)]
pub(super) struct Conns {
    slots: Vec<Option<Box<Conn>>>,
    clients: usize,
    /// What each source uses. It counts the same connections as `clients`.
    sources: Sources,
}

impl Conns {
    pub(super) const fn new(limits: SourceLimits) -> Self {
        Self { slots: Vec::new(), clients: 0, sources: Sources::new(limits) }
    }

    /// Returns what each source uses.
    pub(super) const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Returns the number of clients, including handshaking connections.
    pub(super) const fn clients(&self) -> usize {
        self.clients
    }

    /// Adds a connection in a free slot.
    pub(super) fn insert(&mut self, id: ConnId, source: Source, heard_us: u64, peer: Peer) {
        let slot = id.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        assert!(self.slots[slot].is_none(), "a slot is used again only after Closed or Close");
        if peer.is_counted() {
            self.clients += 1;
            self.sources.enter(source, heard_us);
        }
        let conn = Conn { generation: id.generation, heard_us, sent_us: heard_us, source, peer };
        self.slots[slot] = Some(Box::new(conn));
    }

    /// Returns the connection, or `None` when it is closed.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.slots.get_mut(id.slot as usize)?.as_deref_mut()?;
        (conn.generation == id.generation).then_some(conn)
    }

    /// Returns the client of a connection, or `None` when the connection is closed or the peer is not a client.
    pub(super) fn client_mut(&mut self, id: ConnId) -> Option<&mut Client> {
        match &mut self.get_mut(id)?.peer {
            Peer::Client(client) => Some(client),
            Peer::Handshaking { .. } | Peer::Link { .. } | Peer::Leaving { .. } => None,
        }
    }

    /// Sets the peer of a connection, once it is known.
    pub(super) fn set_peer(&mut self, id: ConnId, peer: Peer) {
        let Some(conn) = self.get_mut(id) else { return };
        let (was_counted, is_counted) = (conn.peer.is_counted(), peer.is_counted());
        assert!(was_counted || !is_counted, "only a handshaking connection becomes a client");
        conn.peer = peer;
        if was_counted && !is_counted {
            let source = conn.source;
            self.clients -= 1;
            self.sources.leave(source);
        }
    }

    /// Removes a connection.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.get_mut(id)?;
        let conn = *self.slots[id.slot as usize].take()?;
        if conn.peer.is_counted() {
            self.clients -= 1;
            self.sources.leave(conn.source);
        }
        Some(conn)
    }

    /// Counts the creation of a topic for the source of a client.
    ///
    /// # Errors
    /// Returns the time in microseconds, at least 1, after which there is an allowance for it again.
    pub(super) fn take_create(&mut self, id: ConnId, now_us: u64) -> Result<(), u64> {
        let Some(source) = self.get_mut(id).map(|conn| conn.source) else { return Ok(()) };
        self.sources.take_create(source, now_us)
    }

    /// Takes back the count of a creation that did not create a topic.
    pub(super) fn give_create_back(&mut self, source: Source) {
        self.sources.give_create_back(source);
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let counted = self.slots.iter().flatten().filter(|conn| conn.peer.is_counted());
        assert_eq!(counted.clone().count(), self.clients);
        self.sources.check(counted.map(|conn| conn.source));
    }

    /// Returns the connections of neighbours that are not shutting down, with the dimensions that they cross.
    pub(super) fn of_links(&self) -> impl Iterator<Item = (u8, ConnId)> {
        (0..).zip(&self.slots).filter_map(|(slot, conn)| {
            let conn = conn.as_deref()?;
            let Peer::Link { bit } = conn.peer else { return None };
            Some((bit, ConnId { slot, generation: conn.generation }))
        })
    }

    /// Returns all connections by increasing slot.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Conn)> {
        (0..).zip(&mut self.slots).filter_map(|(slot, conn)| {
            let conn = conn.as_deref_mut()?;
            Some((ConnId { slot, generation: conn.generation }, conn))
        })
    }
}
