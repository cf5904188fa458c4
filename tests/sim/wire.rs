//! One connection of the simulated network: two ends, and what is on its way to each.

use std::collections::VecDeque;

use bytes::Bytes;

/// Somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Node(usize),
    Client(usize),
}

/// One end of a connection: side 0 dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub wire: usize,
    pub side: usize,
}

/// How an end is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// After everything was said; the other side is told if it goes on talking.
    Done,
    /// The other side is told at once.
    Reset,
    /// As when the power fails: the other side is told nothing until somebody is there again.
    Vanish,
}

/// What a read gave.
pub(crate) enum Got {
    Bytes(Bytes),
    Nothing,
    /// The other side sends nothing more.
    End,
    /// The connection was reset, or never came to be.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not connected yet.
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
    /// What comes to each side.
    pub inbound: [Pipe; 2],
    pub latency_us: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// When it arrives, and what; nothing is the end of the stream.
    pub flying: VecDeque<(u64, Bytes)>,
    pub arrived: VecDeque<Bytes>,
    /// Bytes of both.
    pub load: usize,
    pub last_us: u64,
    pub is_scheduled: bool,
    /// The sender waits for room.
    pub is_blocked: bool,
}

impl End {
    pub(crate) const fn other(self) -> Self {
        Self { wire: self.wire, side: 1 - self.side }
    }
}
