//! The node's wall clock, which advances evenly even if the machine's clock is set.
//!
//! Append times and retention by age use [`Wall::now_us`]: the monotonic clock plus an offset. A small difference from
//! the machine's wall clock is corrected slowly. A large difference that lasts is a jump, which is recorded as an entry
//! ([`Reclock`]) before any record gets a timestamp of the new clock. Ages are thus measured by the monotonic clock,
//! and no record expires because a clock jumped.
//!
//! After a restart the monotonic clock says nothing about older records. None of them expires until a neighbour's clock
//! agrees with this one, or until the clock has not jumped for long enough.

use std::time::{Duration, SystemTime};

use crate::entry::{Jump, Reclock};
use crate::limits::{CLOCK_AGREES_US, CLOCK_JUMP_LASTS_US, CLOCK_JUMP_US, CLOCK_SLEW_US, CLOCK_TRUST_US};
use crate::topic::{Catalogue, Eras, TopicLog};
use crate::types::Now;

/// The last second of the year 9999, the last year of four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// The node's wall clock.
#[derive(Debug)]
pub(super) struct Wall {
    /// The wall clock minus the monotonic clock, in microseconds; it wraps.
    ahead_us: u64,
    /// The latest append time issued in this era, in microseconds since 1970. The next one is not earlier.
    stamped_us: u64,
    /// Monotonic time in microseconds since which the machine's wall clock has differed by more than a jump.
    jumped_us: Option<u64>,
    trust: Trust,
    /// What the restored records say about the clock; taken at the first event.
    inherited: Option<Inherited>,
    /// The era at the start, and the latest append time that a restored record can have in that era.
    before: (u32, u64),
    /// The newest era that was proposed.
    era: u32,
    /// The first era in which this process may have issued append times.
    first_era: u32,
    /// True if the clock at the start was behind the append times of restored records: it was wrong then or it is now.
    was_behind: bool,
}

/// Whether the clock is comparable with the append times of records from before the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Yes,
    /// It is not known. The field is the monotonic time in microseconds of the start or of the last jump.
    NotSince(u64),
}

/// What the restored records say about the clock.
#[derive(Clone, Copy, Debug)]
struct Inherited {
    /// The latest append time of any record, in microseconds since 1970.
    latest_us: u64,
    /// True if some records count as older than their append time, because the clock jumped back before the start.
    are_aged: bool,
}

impl Wall {
    /// Returns the clock of a node without topics, which can trust its clock.
    pub(super) const fn new(now: Now) -> Self {
        Self {
            ahead_us: now.wall_us.wrapping_sub(now.monotonic_us),
            stamped_us: 0,
            jumped_us: None,
            trust: Trust::Yes,
            inherited: None,
            before: (0, 0),
            era: 0,
            first_era: 0,
            was_behind: false,
        }
    }

    /// Returns when the node was started, in microseconds since 1970, but not less than the append time of any record
    /// that it was started with; 0 when it was started without topics.
    pub(super) const fn started_us(&self) -> u64 {
        self.before.1
    }

    /// Returns the time in microseconds since 1970.
    pub(super) const fn now_us(&self, now: Now) -> u64 {
        now.monotonic_us.wrapping_add(self.ahead_us)
    }

    /// Returns the append time for a proposal, in microseconds since 1970. It decreases only after a [`Reclock`] entry.
    pub(super) fn stamp_us(&mut self, now: Now) -> u64 {
        self.stamped_us = self.stamped_us.max(self.now_us(now));
        self.stamped_us
    }

    /// Adopts the clock state of the restored topics, at the end of a restart.
    pub(super) fn inherit(&mut self, catalogue: &Catalogue, started_us: u64) {
        self.era = catalogue.eras().newest().number;
        self.first_era = self.era;
        if !catalogue.is_empty() {
            let latest_us = catalogue.latest_us();
            let start_us = started_us.wrapping_add(self.ahead_us);
            self.before = (self.era, latest_us.max(start_us));
            self.inherited = Some(Inherited { latest_us, are_aged: catalogue.eras().are_aged() });
            planted!("clock believed after a start", self.trust = Trust::NotSince(started_us), ());
        }
    }

    /// Returns true if the clock is comparable with the append times of records from before the start.
    pub(super) fn is_trusted(&self) -> bool {
        self.trust == Trust::Yes
    }
    /// Adjusts the clock to the machine's wall clock, and checks whether it can be trusted. After a jump, returns the
    /// entry that records it.
    pub(super) fn tick(&mut self, now: Now) -> Option<Reclock> {
        let told_us = self.now_us(now);
        let ahead_us = now.wall_us.cast_signed().wrapping_sub(told_us.cast_signed());
        let mut reclock = None;
        if ahead_us.unsigned_abs() < CLOCK_JUMP_US {
            self.jumped_us = None;
            let slew_us = ahead_us.clamp(-CLOCK_SLEW_US, CLOCK_SLEW_US);
            self.ahead_us = self.ahead_us.wrapping_add_signed(slew_us);
        } else if now.monotonic_us - *self.jumped_us.get_or_insert(now.monotonic_us) >= CLOCK_JUMP_LASTS_US {
            reclock = Some(self.jump(now, told_us));
        }
        if let Trust::NotSince(since_us) = self.trust
            && now.monotonic_us.saturating_sub(since_us) >= CLOCK_TRUST_US
        {
            log::info!("the clock did not jump for {} minutes: age limits apply", CLOCK_TRUST_US / 60_000_000);
            self.trust = Trust::Yes;
        }
        reclock
    }

    /// Begins a new era, at the first event after a restart, if the restored records may be from a different clock.
    /// Returns the entry that records it, which precedes any other proposal.
    pub(super) fn begin(&mut self, now: Now) -> Option<Reclock> {
        let Inherited { latest_us, are_aged } = self.inherited.take()?;
        let at_us = self.now_us(now);
        self.stamped_us = latest_us;
        self.was_behind = at_us.saturating_add(CLOCK_JUMP_US) < latest_us;
        if self.was_behind {
            log::warn!(
                "the clock says {}, but records were appended at {}: a clock was wrong; times go on from {}",
                utc(at_us),
                utc(latest_us),
                utc(at_us)
            );
        }
        if !self.was_behind && !are_aged {
            return None;
        }
        let reclock = self.reclock(Reclock { at_us, jump: None });
        self.first_era = self.era;
        Some(reclock)
    }

    /// Handles a jump: the machine's wall clock differs from the prediction of the monotonic clock, and continues to do
    /// so.
    fn jump(&mut self, now: Now, was_us: u64) -> Reclock {
        let at_us = now.wall_us;
        log::warn!("the clock jumped from {} to {}; records keep the ages that they have", utc(was_us), utc(at_us));
        let since_era = match self.trust {
            Trust::Yes => 0,
            // Records from before the start are dated by whichever clock, before or after the jump, makes them younger:
            // they then expire too late rather than too early. A clock that was behind their append times is not used.
            Trust::NotSince(_) if at_us < was_us => self.era + 1,
            Trust::NotSince(_) if self.was_behind => self.first_era,
            Trust::NotSince(_) => 0,
        };
        if !self.is_trusted() {
            self.trust = Trust::NotSince(now.monotonic_us);
        }
        self.ahead_us = at_us.wrapping_sub(now.monotonic_us);
        self.jumped_us = None;
        self.reclock(Reclock { at_us, jump: Some(Jump { was_us, since_era }) })
    }

    const fn reclock(&mut self, reclock: Reclock) -> Reclock {
        self.era += 1;
        self.stamped_us = reclock.at_us;
        reclock
    }

    /// Compares the clock with that of a neighbour. Returns true if it has become trusted, because the two agree.
    pub(super) fn compare(&mut self, now: Now, theirs_us: u64) -> bool {
        let agrees = !self.is_trusted() && theirs_us.abs_diff(self.now_us(now)) <= CLOCK_AGREES_US;
        if agrees {
            self.trust = Trust::Yes;
        }
        agrees
    }

    /// Returns true if ages can be computed. This is false between a jump and the commit of the entry that records it.
    pub(super) fn knows_ages(&self, eras: &Eras) -> bool {
        self.era == eras.newest().number
    }

    /// Returns true if the age of a log's first record is known: this process appended it, or the clock is trusted.
    pub(super) fn knows_age_of(&self, log: &TopicLog) -> bool {
        self.is_trusted() || log.begins_behind(self.before)
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
