//! The rate at which a node copies the states of groups from others.
//!
//! The size of an answer is known only when it comes, so a request is allowed whenever not too much has come before.

use crate::limits::{COPY_BURST_BYTES, COPY_BYTES_PER_S};

/// What all copies of a node may still take now.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Bytes that have come, less those that the rate has allowed since, as of `at_us`. More may be asked for while
    /// this is less than [`COPY_BURST_BYTES`].
    used: u64,
    /// When `used` was last brought up to date, in monotonic microseconds.
    at_us: u64,
}

impl Pace {
    /// Returns true if more may be asked for now.
    pub(super) fn allows(&mut self, now_us: u64) -> bool {
        let since_us = now_us.saturating_sub(self.at_us);
        let allowed = u128::from(since_us) * u128::from(COPY_BYTES_PER_S) / 1_000_000;
        // The time is not brought up to date for less than a byte, which would be lost each time.
        if allowed > 0 {
            self.used = self.used.saturating_sub(u64::try_from(allowed).unwrap_or(u64::MAX));
            self.at_us = now_us;
        }
        self.used < COPY_BURST_BYTES
    }

    /// Records that so many bytes of a copy have come.
    pub(super) const fn take(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_take_no_more_than_their_rate_after_a_burst() {
        let mut pace = Pace::default();
        let mut taken = 0;
        for now_us in (0..10_000_000).step_by(700) {
            while pace.allows(now_us) {
                pace.take(100_000);
                taken += 100_000;
            }
        }
        let most = 10 * COPY_BYTES_PER_S + COPY_BURST_BYTES;
        assert!((most - 200_000..most + 100_000).contains(&taken), "{taken} of {most}");
    }

    #[test]
    fn an_idle_time_does_not_add_up() {
        let mut pace = Pace::default();
        assert!(pace.allows(u64::MAX));
        pace.take(COPY_BURST_BYTES - 1);
        assert!(pace.allows(u64::MAX));
        pace.take(1);
        assert!(!pace.allows(u64::MAX));
    }
}
