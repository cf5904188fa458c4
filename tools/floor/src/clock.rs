//! The only file of this program that reads a clock or sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// Returns the current time.
#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Sleeps while polling for something that has no event, such as the socket of another process.
#[expect(clippy::disallowed_methods, reason = "a driver of other processes, not part of the daemon")]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}
