//! The types of the protocol, and those that only a node has.
//!
//! Their constructors reject invalid values: a value of one of these types is valid by construction, so no other code
//! validates it again.

mod copies;
mod size;
mod source;

pub use copies::Copies;
pub use dht_protocol::types::*;
pub use size::{Size, SizeError};
pub use source::Source;

/// A connection of this process. The generation distinguishes a late event of a closed connection from an event of the
/// connection that now uses its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Index in the server's table of connections.
    pub slot: u32,
    /// Generation of the slot, raised each time it is reused.
    pub generation: u32,
}

/// The current time as it is passed to the core, which has no clock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time in microseconds since an arbitrary start; it never decreases.
    pub monotonic_us: u64,
    /// Wall time in microseconds since 1970, which may jump. It only serves for the times that records carry.
    pub wall_us: u64,
}

impl Now {
    /// Returns the monotonic time `micros` microseconds from now.
    pub const fn after_us(self, micros: u64) -> u64 {
        self.monotonic_us.saturating_add(micros)
    }
}
