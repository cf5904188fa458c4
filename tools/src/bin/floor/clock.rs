//! The only place of this program that reads a clock or waits.

use std::thread;
use std::time::{Duration, Instant};

/// The time.
#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits for something that cannot be waited for otherwise, such as another process's socket.
#[expect(clippy::disallowed_methods, reason = "a driver of other processes, not part of the daemon")]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}
