//! The clocks that append times come from, and their corrections.
//!
//! An append time is what the proposer's wall clock said, and it never changes. If that clock turns out to have been
//! wrong, the correction is stored here. An *era* is a section of the log whose times come from one clock that ran
//! evenly; a committed [`Reclock`] begins the next era. Times never decrease within an era.
//!
//! ```text
//! wall clock      10:00 … 11:00 │ a year ahead, for five minutes │ 11:05 …        (times as people see them)
//! append times    10:00 … 11:00 │ 11:00 + 1 y … 11:05 + 1 y      │ 11:05 …
//! lag of the era        0       │            -1 y                │   0
//! ```
//!
//! The *corrected* time of a record is its append time plus the lag of its era, but no later than the beginning of any
//! later era. Corrected times never decrease from one offset to the next; retention by age and search by time use them.
//! When it is unknown which of two clocks was right, records get the later time, so that they may be retained too long
//! but are never removed too early.

use crate::entry::{Reclock, varint};
use crate::limits::ERAS_MAX;

/// What a log needs to know about the era it appends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Era {
    /// Number of the era, counted from 0.
    pub number: u32,
    /// What the clock said when the era began, in microseconds since 1970. No record of the era has an earlier time.
    pub since_us: u64,
    /// Number of the oldest era that is stored; records of all earlier eras count as records of this one.
    pub oldest: u32,
}

/// The eras of a catalogue, oldest first.
///
/// Invariant: there is at least one; numbers increase; the newest has lag 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eras {
    kept: Vec<Kept>,
}

/// One era, or the oldest eras merged into one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    /// Number of the era, or of the newest one merged into it.
    number: u32,
    since_us: u64,
    /// Correction in microseconds that makes the times of this era comparable with those of the newest era.
    lag_us: i64,
    /// True when append times may decrease at the beginning of this era. In the merged oldest era they may then
    /// decrease anywhere, so its times are useless and all its records count as appended at its end.
    decreases: bool,
}

impl Default for Eras {
    fn default() -> Self {
        Self { kept: vec![Kept::default()] }
    }
}

impl Eras {
    /// Returns the newest era.
    pub fn newest(&self) -> Era {
        let Kept { number, since_us, .. } = *self.last();
        Era { number, since_us, oldest: self.kept[0].number }
    }

    /// Returns true when some era has a negative lag, so that its records count as older than their append times. Such
    /// a correction is only as reliable as the clock of the process that made it.
    pub fn are_aged(&self) -> bool {
        self.kept.iter().any(|era| era.lag_us < 0)
    }

    /// Begins a new era.
    pub fn begin(&mut self, reclock: &Reclock) {
        match reclock.jump {
            Some(jump) => {
                let shift_us = difference(reclock.at_us, jump.was_us);
                let shifted = self.kept.iter_mut().filter(|era| era.number >= jump.since_era);
                shifted.for_each(|era| era.lag_us = era.lag_us.saturating_add(shift_us));
            }
            // It is unknown which earlier clock the new one continues. The assumption that it continues the one that
            // was furthest ahead makes all records as young as they can be, so none is removed too early.
            None => {
                let least = self.kept.iter().map(|era| era.lag_us).min().unwrap_or(0).min(0);
                self.kept.iter_mut().for_each(|era| era.lag_us = era.lag_us.saturating_sub(least));
            }
        }
        let number = self.last().number.checked_add(1).expect("less than one a second");
        let decreases = reclock.jump.is_none_or(|jump| reclock.at_us < jump.was_us);
        self.kept.push(Kept { number, since_us: reclock.at_us, lag_us: 0, decreases });
        if self.kept.len() > ERAS_MAX {
            self.merge_oldest();
        }
    }

    /// Converts a corrected time to the clock of an era. Returns `None` when all records of the era count as appended
    /// before that time.
    pub(super) fn reading(&self, number: u32, time_us: u64) -> Option<u64> {
        let index = self.kept.partition_point(|era| era.number < number);
        let era = &self.kept[index];
        if self.end_us(index) < time_us {
            return None;
        }
        let is_mixed = index == 0 && era.decreases;
        Some(if is_mixed { 0 } else { shifted(time_us, era.lag_us.saturating_neg()) })
    }

    /// Returns the latest corrected time of an era: the earliest of the corrected beginnings of all later eras.
    fn end_us(&self, index: usize) -> u64 {
        let later = self.kept[index + 1..].iter().map(|era| shifted(era.since_us, era.lag_us));
        later.min().unwrap_or(u64::MAX)
    }

    /// Merges the two oldest eras.
    fn merge_oldest(&mut self) {
        let (oldest, next) = (self.kept.remove(0), &mut self.kept[0]);
        next.decreases |= oldest.decreases;
        next.lag_us = next.lag_us.max(oldest.lag_us);
    }

    fn last(&self) -> &Kept {
        self.kept.last().expect("there is at least one era")
    }

    /// Appends the encoded eras to a checkpoint's image.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.kept.len() as u64);
        let (mut number, mut since_us) = (0, 0);
        for era in &self.kept {
            varint::put(out, (era.number - number).into());
            varint::put_delta(out, since_us, era.since_us);
            varint::put_delta(out, 0, era.lag_us.cast_unsigned());
            varint::put(out, era.decreases.into());
            (number, since_us) = (era.number, era.since_us);
        }
    }

    /// Decodes the result of [`Self::encode`]; returns `None` when the bytes are malformed.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let count = varint::take(bytes).filter(|count| (1..=ERAS_MAX as u64).contains(count))?;
        let (mut kept, mut number, mut since_us) = (Vec::new(), 0_u32, 0);
        for index in 0..count {
            let distance = u32::try_from(varint::take(bytes)?).ok().filter(|distance| index == 0 || *distance > 0)?;
            number = number.checked_add(distance)?;
            since_us = varint::take_delta(bytes, since_us)?;
            let lag_us = varint::take_delta(bytes, 0)?.cast_signed();
            let decreases = Some(varint::take(bytes)?).filter(|flag| *flag <= 1)? == 1;
            kept.push(Kept { number, since_us, lag_us, decreases });
        }
        kept.last().is_some_and(|newest| newest.lag_us == 0).then_some(Self { kept })
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!((1..=ERAS_MAX).contains(&self.kept.len()));
        assert!(self.kept.windows(2).all(|pair| pair[0].number < pair[1].number));
        assert_eq!(self.last().lag_us, 0);
    }
}

/// Returns `from - to` in microseconds, saturating at 292 000 years.
fn difference(from: u64, to: u64) -> i64 {
    i64::try_from(i128::from(from) - i128::from(to)).unwrap_or(if from > to { i64::MAX } else { i64::MIN })
}

const fn shifted(time_us: u64, by_us: i64) -> u64 {
    time_us.saturating_add_signed(by_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Jump;

    /// Begins an era that corrects no earlier one.
    fn begin(eras: &mut Eras, was_us: u64, at_us: u64) {
        eras.begin(&Reclock { at_us, jump: Some(Jump { was_us, since_era: u32::MAX }) });
        eras.check();
    }

    #[test]
    fn the_oldest_eras_are_merged_when_there_are_too_many() {
        let mut eras = Eras::default();
        for number in 1..=ERAS_MAX as u64 + 2 {
            begin(&mut eras, number, number);
            let expected = (number + 1).saturating_sub(ERAS_MAX as u64);
            assert_eq!(u64::from(eras.newest().oldest), expected, "after era {number}");
        }
    }

    #[test]
    fn merged_eras_have_times_only_if_no_clock_among_them_went_back() {
        const AT_US: u64 = 100;
        let jumped = |was_us| Some(Jump { was_us, since_era: u32::MAX });
        let cases = [(jumped(AT_US - 1), 50), (jumped(AT_US), 50), (jumped(AT_US + 1), 0), (None, 0)];
        for (jump, expected) in cases {
            let mut eras = Eras::default();
            eras.begin(&Reclock { at_us: AT_US, jump });
            let first = eras.newest().number;
            assert_eq!(eras.reading(first, 150), Some(150), "alone it runs evenly");
            while eras.newest().oldest < first {
                begin(&mut eras, 200, 200);
            }
            assert_eq!(eras.reading(first, 50), Some(expected), "{jump:?}");
        }
    }

    #[test]
    fn a_difference_saturates() {
        for (from, to, expected) in [(5, 7, -2), (7, 5, 2), (u64::MAX, 0, i64::MAX), (0, u64::MAX, i64::MIN)] {
            assert_eq!(difference(from, to), expected);
        }
    }
}
