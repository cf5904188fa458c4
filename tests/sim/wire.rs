//! A connection of the simulated network: two ends, and the data in transit to each.

use std::collections::VecDeque;

use bytes::Bytes;

/// A node or a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Node(usize),
    Client(usize),
}

/// One end of a connection: side 0 has dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub wire: usize,
    pub side: usize,
}

/// How an end is abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// After sending everything; the other side gets a reset if it continues to send.
    Done,
    /// With a reset at once.
    Reset,
    /// As in a power failure: the other side gets no answer until the machine is back.
    Vanish,
}

/// The result of a read.
pub(crate) enum Got {
    Bytes(Bytes),
    Nothing,
    /// The other side has closed its sending direction.
    End,
    /// The connection was reset, or was never established.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// True until the connection is established.
    Waiting,
    Open,
    Gone,
    Vanished,
    Broken,
}

#[derive(Debug)]
pub(crate) struct Wire {
    pub places: [Place; 2],
    pub states: [State; 2],
    /// The data in transit to each side.
    pub inbound: [Pipe; 2],
    pub latency_us: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// The time of arrival, and the data; no data is the end of the stream.
    pub flying: VecDeque<(u64, Bytes)>,
    pub arrived: VecDeque<Bytes>,
    /// Number of bytes in both.
    pub load: usize,
    pub last_us: u64,
    pub is_scheduled: bool,
    /// True if the sender waits for room.
    pub is_blocked: bool,
}

impl End {
    pub(crate) const fn other(self) -> Self {
        Self { wire: self.wire, side: 1 - self.side }
    }
}
