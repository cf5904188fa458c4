//! Copies of the frames of a connection, for display.

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the node.
    Sent,
    /// From the node to the client.
    Received,
}

/// Maximum size of the waiting copies in bytes. Further copies are dropped, so that a tap cannot exhaust the memory.
const TAP_BYTES_MAX: usize = 16 << 20;

/// The copies that have not been taken yet.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    frames: Vec<(Direction, Vec<u8>)>,
    bytes: usize,
}

impl Tap {
    /// Copies a frame.
    pub(crate) fn add(&mut self, direction: Direction, frame: &[u8]) {
        self.bytes += frame.len();
        if self.bytes <= TAP_BYTES_MAX {
            self.frames.push((direction, frame.to_vec()));
        }
    }

    /// Removes and returns the copies.
    pub(crate) fn take(&mut self) -> Vec<(Direction, Vec<u8>)> {
        self.bytes = 0;
        std::mem::take(&mut self.frames)
    }
}
