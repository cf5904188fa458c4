//! When a checkpoint is made: one rule for the daemon and the simulator.

use crate::journal::Mark;

/// How far the log was given back, and how far the state was kept.
#[derive(Debug)]
pub struct Checkpoints {
    /// Of the last entries that were given back.
    given: Mark,
    /// Of the newest checkpoint, and the bytes of its state.
    kept: Mark,
    image_len: usize,
    /// Is one being made?
    is_keeping: bool,
}

impl Checkpoints {
    /// As a start has found them.
    pub const fn new(given: Mark, kept: Mark) -> Self {
        Self { given, kept, image_len: 0, is_keeping: false }
    }

    /// Entries up to there were given back.
    pub const fn give_back(&mut self, mark: Mark) {
        self.given = mark;
    }

    /// Of the last entries that were given back.
    pub const fn given(&self) -> Mark {
        self.given
    }

    /// Is it time for one? With each segment of so many bytes, or when so many are full that the state is a small part
    /// of them; and whenever that may make space.
    pub const fn is_due(&self, has_space: bool, segment_bytes: u32) -> bool {
        let segments = self.given.place.segment.saturating_sub(self.kept.place.segment) as usize;
        let is_worth_it = segments > self.image_len * 4 / segment_bytes as usize;
        let may_help = !has_space && self.given.index > self.kept.index;
        !self.is_keeping && (is_worth_it || may_help)
    }

    /// One of a state of so many bytes is being made; where.
    pub const fn begin(&mut self, image_len: usize) -> Mark {
        (self.kept, self.image_len, self.is_keeping) = (self.given, image_len, true);
        self.given
    }

    /// It was made, or could not be.
    pub const fn end(&mut self) {
        self.is_keeping = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Place;

    fn mark(segment: u32, index: u64) -> Mark {
        Mark { place: Place { segment, position: 100 }, index, term: 1 }
    }

    #[test]
    fn a_checkpoint_comes_with_each_segment_or_when_it_may_make_space_and_large_states_less_often() {
        let cases = [
            // image, segment and index given back, space, due?
            (0, 4, 10, true, false),
            (0, 5, 11, true, true),
            (0, 4, 11, false, true),
            (0, 4, 10, false, false),
            (1000, 8, 11, true, false),
            (1000, 9, 11, true, true),
            (1000, 8, 11, false, true),
        ];
        for (image_len, segment, index, has_space, expected) in cases {
            let mut checkpoints = Checkpoints::new(mark(4, 10), mark(1, 0));
            assert_eq!(checkpoints.begin(image_len), mark(4, 10));
            checkpoints.give_back(mark(segment, index));
            assert!(!checkpoints.is_due(has_space, 1000), "one at a time");
            checkpoints.end();
            assert_eq!(checkpoints.is_due(has_space, 1000), expected, "{image_len} {segment} {index} {has_space}");
        }
    }
}
