//! The client's clock and random numbers: the only place under `client` that asks the machine for either.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// When to stop waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Waits as long as it takes.
    pub const NEVER: Self = Self(None);

    /// So long from now; a time that the clock cannot count is never.
    pub fn after(duration: Duration) -> Self {
        Self(now().checked_add(duration))
    }

    /// As a timeout that a person gave: 0 is never.
    pub fn of_timeout(timeout: Duration) -> Self {
        if timeout.is_zero() { Self::NEVER } else { Self::after(timeout) }
    }

    /// Does not wait at all.
    pub fn at_once() -> Self {
        Self(Some(now()))
    }

    /// Is the time over?
    pub fn is_over(self) -> bool {
        self.remaining().is_some_and(|remaining| remaining.is_zero())
    }

    /// The time that is left; `None` is no end of it.
    pub fn remaining(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(now()))
    }

    /// The earlier of this and so long from now.
    #[must_use]
    pub fn within(self, duration: Duration) -> Self {
        self.earlier(Self::after(duration))
    }

    /// The earlier of two.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(mine), Some(others)) => Self(Some(mine.min(others))),
            (mine, others) => Self(mine.or(others)),
        }
    }

    /// A part of the time that is left; 5 s when there is no end of it and others need a part too.
    pub(super) fn share(self, parts: u32) -> Self {
        match self.remaining() {
            Some(left) => Self::after(left / parts.max(1)),
            None if parts > 1 => Self::after(Duration::from_secs(5)),
            None => Self::NEVER,
        }
    }

    /// So long after that instant.
    pub(super) fn from(instant: Instant, duration: Duration) -> Self {
        Self(instant.checked_add(duration))
    }
}

/// The instant.
#[expect(clippy::disallowed_methods, reason = "the blocking client waits for real time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Waits before another attempt.
#[expect(clippy::disallowed_methods, reason = "a blocking client with nothing to read has nothing else to wait on")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// 64 random bits, from what the standard library seeds its hash maps with.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
