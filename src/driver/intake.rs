//! Bounds the memory for bytes that were received from clients and are not handled yet: partial frames, and whole
//! frames whose turn has not come.
//!
//! As the budget fills up, less is read at once, and the buffers of large frames stop growing: their connections wait
//! in a queue here and are not read. One of them may always grow, so that partial frames cannot block each other
//! forever. A client that announces a large frame and stops sending cannot block the others either: while memory is
//! short, the loop ends the connections of clients whose large frames make no progress.

use std::collections::VecDeque;

use crate::limits::{READ_BUDGET, READ_SHORT};
use crate::types::ConnId;

/// A read, or the buffer of a large frame, may take one part in this many of the free bytes.
const FREE_PART: usize = 4;

/// The memory used by received bytes, and the connections that wait for it.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Bytes that may be used.
    budget: usize,
    /// Bytes in use. Small reads and one large frame are always allowed, so this may exceed the budget.
    used: usize,
    /// Connections whose large frames may not grow at present, each with the size to which its buffer is to grow, the
    /// longest waiting first.
    waiting: VecDeque<(ConnId, usize)>,
    /// The connection whose large frame may grow although there is no room for it.
    chosen: Option<ConnId>,
}

impl Intake {
    pub(crate) const fn new(budget: usize) -> Self {
        Self { budget, used: 0, waiting: VecDeque::new(), chosen: None }
    }

    /// Returns the bytes in use.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Returns true when at least half of the budget is in use.
    pub(crate) const fn is_short(&self) -> bool {
        self.used >= self.budget / 2
    }

    /// Returns how many bytes may be read at once from a connection that asks for `wanted` bytes.
    pub(crate) fn read_max(&self, wanted: usize) -> usize {
        wanted.min((self.free() / FREE_PART).clamp(READ_SHORT, READ_BUDGET))
    }

    /// Notes that a connection that used `before` bytes now uses `after`.
    pub(crate) const fn change(&mut self, before: usize, after: usize) {
        self.used = self.used - before + after;
    }

    /// Returns true if the buffer of a large frame may grow to this many bytes. Otherwise its connection is queued.
    pub(crate) fn admits(&mut self, id: ConnId, bytes: usize) -> bool {
        let is_admitted = self.chosen == Some(id) || bytes <= self.free() / FREE_PART;
        if !is_admitted {
            self.waiting.push_back((id, bytes));
        }
        is_admitted
    }

    /// Notes that a connection has no large frame any more, so that another one may grow without room.
    pub(crate) fn end(&mut self, id: ConnId) {
        self.chosen = self.chosen.filter(|chosen| *chosen != id);
    }

    /// Removes and returns the connection at the front of the queue if its large frame may grow now: there is room for
    /// it, or no other one may grow without room.
    pub(crate) fn next(&mut self) -> Option<ConnId> {
        let (id, bytes) = *self.waiting.front()?;
        if bytes > self.free() / FREE_PART {
            if self.chosen.is_some() {
                return None;
            }
            self.chosen = Some(id);
        }
        self.waiting.pop_front();
        Some(id)
    }

    const fn free(&self) -> usize {
        self.budget.saturating_sub(self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn id(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    #[test]
    fn less_is_read_at_once_as_the_budget_fills_up() {
        let mut intake = Intake::new(8 * MIB);
        let cases = [(0, READ_BUDGET), (7 * MIB + MIB / 2, MIB / 8), (8 * MIB - 1, READ_SHORT), (9 * MIB, READ_SHORT)];
        for (used, most) in cases {
            intake.change(intake.used(), used);
            assert_eq!(intake.read_max(READ_BUDGET), most, "{used} bytes are in use");
            assert_eq!(intake.read_max(100), 100);
            assert_eq!(intake.is_short(), used >= 4 * MIB);
        }
    }

    #[test]
    fn of_the_large_frames_that_find_no_room_one_after_the_other_may_be_completed() {
        let mut intake = Intake::new(8 * MIB);
        let mut grown = Vec::new();
        for slot in 0..100 {
            if intake.admits(id(slot), MIB) {
                intake.change(0, MIB);
                grown.push(slot);
            }
        }
        assert_eq!(grown, [0, 1, 2, 3, 4], "as long as four times as much is free");
        // They wait first in, first out, and only the oldest may grow without room.
        assert_eq!((intake.next(), intake.next()), (Some(id(5)), None));
        assert!(intake.admits(id(5), MIB) && !intake.admits(id(200), MIB));
        intake.change(0, MIB);
        assert_eq!(intake.next(), None, "until it is complete");
        intake.change(MIB, 0);
        intake.end(id(5));
        assert_eq!((intake.next(), intake.next()), (Some(id(6)), None));
        // When others are complete, there is room for more.
        (0..5).for_each(|_| intake.change(MIB, 0));
        assert_eq!((intake.next(), intake.next()), (Some(id(7)), Some(id(8))));
    }
}
