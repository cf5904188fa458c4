//! Decides when a checkpoint is due, with the same rule for the daemon and the simulator.

use crate::journal::Mark;

/// The progress of commits and of checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    /// The end of the last committed body.
    given: Mark,
    /// The point in the log that the newest checkpoint was taken at; `image_len` is the size of its state in bytes.
    kept: Mark,
    image_len: usize,
    /// Bytes that a checkpoint would return to the file system, as last reported.
    freeable: u64,
    /// True when the last checkpoint failed and should be retried.
    is_owed: bool,
    /// True while a checkpoint is being written.
    is_keeping: bool,
    /// True when only the predecessor of the newest checkpoint still needs some dead segments.
    holds_dead: bool,
}

impl Checkpoints {
    /// Creates the state after a start: `given` is the end of the log, `kept` the place of the newest checkpoint, and
    /// `image_len` the size of its state in bytes.
    pub const fn new(given: Mark, kept: Mark, image_len: usize) -> Self {
        Self { given, kept, image_len, freeable: 0, is_owed: false, is_keeping: false, holds_dead: false }
    }

    /// Records that entries up to `mark` have been committed.
    pub const fn give_back(&mut self, mark: Mark) {
        self.given = mark;
    }

    /// Returns the end of the last committed body.
    pub const fn given(&self) -> Mark {
        self.given
    }

    /// Sets the bytes that a checkpoint would return to the file system.
    pub const fn set_freeable(&mut self, bytes: u64) {
        self.freeable = bytes;
    }

    /// Marks the last checkpoint as failed and due for a retry.
    pub const fn owe(&mut self) {
        self.is_owed = true;
    }

    /// Returns true when a checkpoint should be written: when the segments filled since the last one are large compared
    /// with the state; when it would free at least as many bytes as it writes; when the disk is full and a checkpoint
    /// may free space; or when the last one failed. Returns false while one is being written.
    pub const fn is_due(&self, has_space: bool, segment_bytes: u32) -> bool {
        let segments = self.given.place.segment.saturating_sub(self.kept.place.segment) as usize;
        let is_worth_it = segments > self.image_len * 4 / segment_bytes as usize;
        // Two checkpoints are necessary when the newest one still needs all of the dead segments.
        let cost = self.image_len as u64 * if self.holds_dead { 1 } else { 2 };
        let gives_back = self.freeable > 0 && self.freeable >= cost;
        let may_help = !has_space && (self.given.bodies > self.kept.bodies || self.holds_dead);
        !self.is_keeping && (is_worth_it || gives_back || may_help || self.is_owed)
    }

    /// Begins a checkpoint with a state of `image_len` bytes. Returns the point in the log that it is taken at.
    pub const fn begin(&mut self, image_len: usize) -> Mark {
        (self.kept, self.image_len, self.is_keeping) = (self.given, image_len, true);
        // The keeper reports what another checkpoint would free once this one is written.
        (self.freeable, self.is_owed) = (0, false);
        self.given
    }

    /// Records that a checkpoint was written, or failed. `holds_dead` is true when another checkpoint would allow more
    /// dead segments to be removed.
    pub const fn end(&mut self, holds_dead: bool) {
        (self.is_keeping, self.holds_dead) = (false, holds_dead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Place;

    fn mark(segment: u32, bodies: u64) -> Mark {
        Mark { place: Place { segment, position: 100 }, bodies }
    }

    #[test]
    fn a_checkpoint_comes_with_each_segment_or_when_it_makes_space_and_large_states_less_often() {
        let cases = [
            // Columns: image_len, segment, bodies, freeable, holds_dead, has_space, and whether a checkpoint is due.
            (0, 4, 10, 0, false, true, false),
            (0, 5, 11, 0, false, true, true),
            (0, 4, 11, 0, false, false, true),
            (0, 4, 10, 0, false, false, false),
            (0, 4, 10, 0, true, false, true),
            (0, 4, 10, 0, true, true, false),
            (1000, 8, 11, 0, false, true, false),
            (1000, 9, 11, 0, false, true, true),
            (1000, 8, 11, 0, false, false, true),
            (1000, 4, 10, 1999, false, true, false),
            (1000, 4, 10, 2000, false, true, true),
            (1000, 4, 10, 999, true, true, false),
            (1000, 4, 10, 1000, true, true, true),
            (0, 4, 10, 1, false, true, true),
        ];
        for (image_len, segment, bodies, freeable, holds_dead, has_space, expected) in cases {
            let mut checkpoints = Checkpoints::new(mark(4, 10), mark(1, 0), 0);
            checkpoints.set_freeable(u64::MAX);
            assert_eq!(checkpoints.begin(image_len), mark(4, 10));
            checkpoints.give_back(mark(segment, bodies));
            checkpoints.set_freeable(freeable);
            assert!(!checkpoints.is_due(has_space, 1000), "one at a time");
            checkpoints.end(holds_dead);
            let case = format!("{image_len} {segment} {bodies} {freeable} {holds_dead} {has_space}");
            assert_eq!(checkpoints.is_due(has_space, 1000), expected, "{case}");
        }
    }

    #[test]
    fn after_a_start_a_checkpoint_may_cost_no_more_than_it_gives_back_either() {
        let mut checkpoints = Checkpoints::new(mark(4, 10), mark(4, 10), 1000);
        for (freeable, expected) in [(0, false), (1999, false), (2000, true)] {
            checkpoints.set_freeable(freeable);
            assert_eq!(checkpoints.is_due(true, 1000), expected, "{freeable}");
        }
    }
}
