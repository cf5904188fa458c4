//! The machine's clock: the only file of the command line that reads it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the wall time in microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the command line runs in real time")]
pub fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the monotonic time, to measure durations.
#[expect(clippy::disallowed_methods, reason = "the command line runs in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for the given time.
#[expect(clippy::disallowed_methods, reason = "there is no event to wait for between two polls of a cluster")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
