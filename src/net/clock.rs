//! The only place that reads the clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::types::Now;

/// Turns the machine's clocks into [`Now`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at one second, so that a monotonic time of 0 is always in the past.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn now(&self) -> Now {
        let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros);
        Now { monotonic_us: self.monotonic_us(), wall_us }
    }

    /// Reads the monotonic clock, in microseconds.
    pub(super) fn monotonic_us(&self) -> u64 {
        micros(self.start.elapsed()).saturating_add(1_000_000)
    }

    /// Returns the processor time that the calling thread has used, in microseconds. Unlike [`Self::now`] this is a
    /// system call.
    pub(super) fn thread_us() -> u64 {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        let micros = i128::from(used.tv_sec) * 1_000_000 + i128::from(used.tv_nsec) / 1000;
        u64::try_from(micros).unwrap_or(0)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
