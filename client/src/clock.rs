//! The blocking client's clock and random numbers: the only file that gets either from the system.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use crate::session::deadline::Deadline;

impl Deadline {
    /// Returns the deadline that is `duration` from now, or never if the clock cannot represent it.
    pub fn after(duration: Duration) -> Self {
        Self(now().checked_add(duration))
    }

    /// Converts a timeout from a user; 0 means never.
    pub fn of_timeout(timeout: Duration) -> Self {
        if timeout.is_zero() { Self::NEVER } else { Self::after(timeout) }
    }

    /// A deadline that has passed already.
    pub fn at_once() -> Self {
        Self(Some(now()))
    }

    /// Returns true if the deadline has passed.
    pub fn is_over(self) -> bool {
        self.has_passed(now())
    }

    /// Returns the remaining time, or `None` if the deadline never passes.
    pub fn remaining(self) -> Option<Duration> {
        self.left(now())
    }

    /// Returns the earlier of this deadline and the one that is `duration` from now.
    #[must_use]
    pub fn within(self, duration: Duration) -> Self {
        self.earlier(Self::after(duration))
    }
}

/// Returns the current time.
#[expect(clippy::disallowed_methods, reason = "the blocking client waits for real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits before another attempt.
#[expect(clippy::disallowed_methods, reason = "a blocking client with nothing to read has nothing else to wait on")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Returns 64 random bits, which the standard library uses to seed its hash maps.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
