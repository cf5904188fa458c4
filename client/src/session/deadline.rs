//! Points in time at which waiting ends.

use std::time::{Duration, Instant};

/// The time at which to stop waiting, or never.
///
/// The methods that read the clock are in `clock`, for the blocking client only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub(crate) Option<Instant>);

impl Deadline {
    /// A deadline that never passes.
    pub const NEVER: Self = Self(None);

    /// Returns the earlier of two deadlines.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(mine), Some(others)) => Self(Some(mine.min(others))),
            (mine, others) => Self(mine.or(others)),
        }
    }

    /// Returns the deadline that is `duration` after an instant, or never if the clock cannot represent it.
    pub(crate) fn at(instant: Instant, duration: Duration) -> Self {
        Self(instant.checked_add(duration))
    }

    /// Returns true if the deadline has passed at that time.
    pub(crate) fn has_passed(self, now: Instant) -> bool {
        self.0.is_some_and(|end| end <= now)
    }

    /// Returns the time that is left, or `None` if the deadline never passes.
    pub(crate) fn left(self, now: Instant) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(now))
    }
}
