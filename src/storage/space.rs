//! The loop's account of the room at the end of the log. With it, the loop submits no body for which the commit thread
//! would have to wait for a segment.

use std::collections::VecDeque;

use crate::entry::{RECORD_ALIGN, RECORD_HEADER, Room};
use crate::journal::segment_own;
use crate::limits::BODY_BYTES_MAX;

/// The room at the end of the log.
#[derive(Debug)]
pub(super) struct Space {
    /// The segment of the last durable record; `left` is the number of bytes after that record in the segment.
    segment: u32,
    left: u32,
    /// Number and size of the newest segment that was prepared.
    prepared: (u32, u32),
    /// The sizes in bytes of the submitted records that are not durable yet; `sum` is their total.
    submitted: VecDeque<u64>,
    sum: u64,
    /// Bytes of each segment that are not available for bodies.
    own: u32,
    /// True while the next segment cannot be prepared.
    is_full: bool,
}

/// The maximum number of bytes at the end of a segment that stay unused because the next body does not fit.
const UNUSED_MAX: u64 = (BODY_BYTES_MAX + RECORD_HEADER + RECORD_ALIGN) as u64;

impl Space {
    /// Creates the account of a log of this many groups that ends in `segment`, with `left` bytes left in it.
    pub(super) const fn new(groups: usize, segment: u32, left: u32) -> Self {
        let own = segment_own(groups);
        let submitted = VecDeque::new();
        Self { segment, left, prepared: (segment, 0), submitted, sum: 0, own, is_full: false }
    }

    /// Records that a record of `bytes` bytes was submitted.
    pub(super) fn submit(&mut self, bytes: u64) {
        self.submitted.push_back(bytes);
        self.sum += bytes;
    }

    /// Records that the oldest submitted record is durable, with `left` bytes after it in its segment.
    pub(super) fn commit(&mut self, segment: u32, left: u32) {
        let bytes = self.submitted.pop_front().expect("only what was submitted is durable");
        self.sum -= bytes;
        (self.segment, self.left) = (segment, left);
    }

    /// Records that a segment is prepared.
    pub(super) const fn prepare(&mut self, number: u32, size: u32) {
        self.prepared = (number, size);
    }

    /// Sets whether the preparation of the next segment fails for lack of space.
    pub(super) const fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Returns the room after everything that was submitted.
    pub(super) const fn room(&self) -> Room {
        let (number, size) = self.prepared;
        // Once the log has continued in the prepared segment, that segment is the current one and must not count twice.
        let next = if number > self.segment { (size as u64).saturating_sub(self.own as u64 + UNUSED_MAX) } else { 0 };
        Room { bytes: (self.left as u64 + next).saturating_sub(self.sum), is_full: self.is_full, log_kept: 0 }
    }

    /// Returns true while the next segment cannot be prepared.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::limits::{SEGMENT_BYTES, SEGMENT_BYTES_FIRST};

    /// Every body that is submitted within the reported room fits, wherever segments end and however late the loop
    /// receives the messages of the threads.
    #[test]
    fn what_is_submitted_within_the_room_never_waits_for_a_segment_that_is_not_prepared() {
        for seed in 0..300 {
            let mut rng = Rng::with_seed(seed);
            let mut space = Space::new(3, 1, SEGMENT_BYTES_FIRST);
            // The state of the threads: the current segment and its room, the last prepared segment, the work that is
            // queued, and the messages that the loop has not received yet.
            let (mut segment, mut left, mut prepared) = (1, u64::from(SEGMENT_BYTES_FIRST), 1);
            let (mut work, mut told) = (VecDeque::new(), VecDeque::new());
            let mut turned = 0;
            for _ in 0..2000 {
                match rng.u8(..8) {
                    0..=3 => {
                        let most = if rng.bool() { 1000 } else { UNUSED_MAX };
                        let bytes = rng.u64(1..=most);
                        if bytes <= space.room().bytes {
                            space.submit(bytes);
                            work.push_back(bytes);
                        }
                    }
                    4..=5 => {
                        if let Some(bytes) = work.pop_front() {
                            if bytes > left {
                                assert!(prepared > segment, "seed {seed}: it waits for a segment");
                                segment += 1;
                                left = u64::from(SEGMENT_BYTES - segment_own(3));
                                turned += 1;
                            }
                            left -= bytes;
                            told.push_back((segment, u32::try_from(left).unwrap()));
                        }
                    }
                    6 if told.len() > rng.usize(..4) => {
                        let (segment, left) = told.pop_front().unwrap();
                        space.commit(segment, left);
                    }
                    _ if prepared == segment && left < u64::from(SEGMENT_BYTES_FIRST / 2) => {
                        prepared += 1;
                        space.prepare(prepared, SEGMENT_BYTES);
                    }
                    _ => {}
                }
            }
            assert!(turned > 0, "seed {seed}");
        }
    }

    #[test]
    fn room_is_what_is_left_of_this_segment_and_of_the_next_one() {
        let next = u64::from(SEGMENT_BYTES - segment_own(3)) - UNUSED_MAX;
        let mut space = Space::new(3, 5, 1000);
        let bytes = |space: &Space| space.room().bytes;
        assert_eq!(bytes(&space), 1000);
        space.submit(300);
        assert_eq!(bytes(&space), 700);
        space.prepare(6, SEGMENT_BYTES);
        assert_eq!(bytes(&space), 700 + next);
        space.commit(5, 800);
        assert_eq!(bytes(&space), 800 + next);
        space.submit(900);
        space.commit(6, 5000);
        assert_eq!(bytes(&space), 5000, "the next one has become this one");
        space.set_full(true);
        assert!(space.room().is_full && space.is_full());
    }
}
