//! The node's wall clock, which advances evenly even if the machine's clock is set.
//!
//! Append times and retention by age use [`Wall::now_us`]: the monotonic clock plus an offset. A small difference from
//! the machine's wall clock is corrected slowly. A large difference that lasts is a jump ([`Jumped`]), which each group
//! that this node leads records before any of its records gets a time of the new clock (`group/times.rs`). Ages are
//! thus measured by the monotonic clock, and no record expires because a clock jumped.
//!
//! The monotonic clock says nothing about records from before this process, or of another node. None of them expires
//! until a neighbour's clock agrees with this one, or until the clock has not jumped for long enough.

use std::time::{Duration, SystemTime};

use crate::limits::{CLOCK_AGREES_US, CLOCK_JUMP_LASTS_US, CLOCK_JUMP_US, CLOCK_SLEW_US, CLOCK_TRUST_US};
use crate::types::Now;

/// The last second of the year 9999, the last year of four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// The node's wall clock.
#[derive(Debug)]
pub(super) struct Wall {
    /// The wall clock minus the monotonic clock, in microseconds; it wraps.
    ahead_us: u64,
    /// Monotonic time in microseconds since which the machine's wall clock has differed by more than a jump.
    jumped_us: Option<u64>,
    /// Monotonic time in microseconds of the start or of the last jump since then; `None` once the clock is known to be
    /// comparable with the append times of other clocks.
    doubted_since_us: Option<u64>,
    /// True once this node leads records from before it led: their ages depend on whether the clock is trusted.
    is_needed: bool,
    /// True once it was logged that the clock is behind the append times of records.
    has_warned: bool,
}

/// A jump of the machine's wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jumped {
    /// What the clock would say if it had not jumped, in microseconds since 1970.
    pub was_us: u64,
    /// What it says, in microseconds since 1970.
    pub at_us: u64,
    /// True if it was trusted before.
    pub was_trusted: bool,
}

impl Wall {
    /// Returns the clock of a node that has just started.
    pub(super) const fn new(now: Now) -> Self {
        Self {
            ahead_us: now.wall_us.wrapping_sub(now.monotonic_us),
            jumped_us: None,
            doubted_since_us: Some(now.monotonic_us),
            is_needed: false,
            has_warned: false,
        }
    }

    /// Returns the time in microseconds since 1970.
    pub(super) const fn now_us(&self, now: Now) -> u64 {
        self.at_us(now.monotonic_us)
    }

    /// Returns the time at a monotonic time, both in microseconds.
    pub(super) const fn at_us(&self, monotonic_us: u64) -> u64 {
        monotonic_us.wrapping_add(self.ahead_us)
    }

    /// Notes that this node leads records from before it led, the latest of which is of that time. Returns true if the
    /// clock is behind them: it was wrong then or it is now.
    pub(super) fn inherit(&mut self, now: Now, latest_us: u64) -> bool {
        planted!("clock believed after a start", self.is_needed = true, ());
        let at_us = self.now_us(now);
        let is_behind = at_us.saturating_add(CLOCK_JUMP_US) < latest_us;
        if is_behind && !std::mem::replace(&mut self.has_warned, true) {
            log::warn!(
                "the clock says {}, but records were appended at {}: a clock was wrong; times go on from {}",
                utc(at_us),
                utc(latest_us),
                utc(at_us)
            );
        }
        is_behind
    }

    /// Returns true if the clock is comparable with the append times of all records from before this node led them.
    pub(super) const fn is_trusted(&self) -> bool {
        self.doubted_since_us.is_none() || !self.is_needed
    }

    /// Adjusts the clock to the machine's wall clock, and checks whether it can be trusted. Returns a jump, which every
    /// group that this node leads has to record.
    pub(super) fn tick(&mut self, now: Now) -> Option<Jumped> {
        let told_us = self.now_us(now);
        let ahead_us = now.wall_us.cast_signed().wrapping_sub(told_us.cast_signed());
        let mut jumped = None;
        if ahead_us.unsigned_abs() < CLOCK_JUMP_US {
            self.jumped_us = None;
            let slew_us = ahead_us.clamp(-CLOCK_SLEW_US, CLOCK_SLEW_US);
            self.ahead_us = self.ahead_us.wrapping_add_signed(slew_us);
        } else if now.monotonic_us - *self.jumped_us.get_or_insert(now.monotonic_us) >= CLOCK_JUMP_LASTS_US {
            jumped = Some(self.jump(now, told_us));
        }
        if self.doubted_since_us.is_some_and(|since_us| now.monotonic_us.saturating_sub(since_us) >= CLOCK_TRUST_US) {
            if self.is_needed {
                log::info!("the clock did not jump for {} minutes: age limits apply", CLOCK_TRUST_US / 60_000_000);
            }
            self.doubted_since_us = None;
        }
        jumped
    }

    /// Handles a jump: the machine's wall clock differs from the prediction of the monotonic clock, and continues to do
    /// so.
    fn jump(&mut self, now: Now, was_us: u64) -> Jumped {
        let at_us = now.wall_us;
        log::warn!("the clock jumped from {} to {}; records keep the ages that they have", utc(was_us), utc(at_us));
        let was_trusted = self.is_trusted();
        self.doubted_since_us = self.doubted_since_us.map(|_| now.monotonic_us);
        self.ahead_us = at_us.wrapping_sub(now.monotonic_us);
        self.jumped_us = None;
        self.has_warned = false;
        Jumped { was_us, at_us, was_trusted }
    }

    /// Compares the clock with that of a neighbour: it is trusted if the two agree. Returns true if age limits apply
    /// from now on because of that.
    pub(super) const fn compare(&mut self, now: Now, theirs_us: u64) -> bool {
        if self.doubted_since_us.is_none() || theirs_us.abs_diff(self.now_us(now)) > CLOCK_AGREES_US {
            return false;
        }
        self.doubted_since_us = None;
        self.is_needed
    }
}

/// Formats a time in microseconds since 1970 for the log.
fn utc(micros: u64) -> impl std::fmt::Display {
    let since_1970 = Duration::from_secs((micros / 1_000_000).min(LAST_SECOND));
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_in_the_log() {
        assert_eq!(utc(1_700_000_000_999_999).to_string(), "2023-11-14T22:13:20Z");
        assert!(!utc(u64::MAX).to_string().is_empty(), "a clock may say anything");
    }
}
