//! Marks: the sizes and append times of all retained records of a log, whether they are in memory or not.
//!
//! Retention is computed from the marks, which follow from the entries alone. A mark covers at most a 64th of what the
//! topic retains, which limits the number of marks and sets the precision of retention.

use std::collections::VecDeque;

use crate::entry::varint;
use crate::limits::{MARK_BYTES_MAX, MARKS_PER_BOUND};
use crate::types::{Offset, Retention};

/// Consecutive records, from `base` up to the next mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    base: Offset,
    bytes: u64,
    /// Append times of the first and the last record, in microseconds since 1970.
    first_us: u64,
    last_us: u64,
}

/// The maximum number of records, bytes and microseconds that a mark covers, unless a single batch is larger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grain {
    records: u64,
    bytes: u64,
    age_us: u64,
}

/// A search for an append time in a range of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sought {
    /// The time to find, in microseconds since 1970.
    pub append_us: u64,
    /// The range of offsets; `end` is exclusive.
    pub from: Offset,
    pub end: Offset,
}

impl Grain {
    /// Forces a batch to begin a new mark.
    pub(super) const NONE: Self = Self { records: 0, bytes: 0, age_us: 0 };

    pub(super) fn of(retention: &Retention) -> Self {
        let part = |bound: u64| if bound == 0 { u64::MAX } else { bound / MARKS_PER_BOUND };
        Self {
            records: part(retention.records),
            bytes: part(retention.bytes).min(MARK_BYTES_MAX),
            age_us: part(retention.age_ms.saturating_mul(1000)),
        }
    }

    /// Returns the maximum number of bytes and of records that a mark covers.
    pub(super) const fn bounds(self) -> (u64, u64) {
        (self.bytes, self.records)
    }
}

/// The number of marks for which memory is allocated when one more is needed.
const MARKS_GROWTH: usize = 2;

/// Maximum number of bytes that a batch adds to the marks of its log.
pub(super) const GROWTH_COST: usize = MARKS_GROWTH * size_of::<Mark>();

/// The marks of a log, oldest first.
///
/// Invariant: the records of the oldest mark are not all trimmed; an empty log has no marks.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<Mark>,
    /// Size of the records of all marks, in bytes.
    bytes: u64,
}

impl Marks {
    /// Adds a batch of records from `base` up to `next`.
    pub(super) fn append(&mut self, (base, next): (Offset, Offset), bytes: u64, append_us: u64, grain: Grain) {
        self.bytes += bytes;
        if let Some(last) = self.marks.back_mut()
            && last.bytes + bytes <= grain.bytes
            && next.0 - last.base.0 <= grain.records
            && append_us.saturating_sub(last.first_us) <= grain.age_us
        {
            last.bytes += bytes;
            last.last_us = append_us;
            return;
        }
        if self.marks.len() == self.marks.capacity() {
            // Most topics have one mark, and a full topic has about sixty.
            self.marks.reserve_exact(MARKS_GROWTH);
        }
        self.marks.push_back(Mark { base, bytes, first_us: append_us, last_us: append_us });
    }

    /// Removes the marks of records before `first`.
    pub(super) fn trim(&mut self, first: Offset, next: Offset) {
        while let Some(oldest) = self.marks.front()
            && self.marks.get(1).map_or(next, |mark| mark.base) <= first
        {
            self.bytes -= oldest.bytes;
            self.marks.pop_front();
        }
    }

    /// Returns the size in bytes of the records of all marks, of which the oldest may be partly trimmed.
    pub(super) const fn total_bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the append time of the first record of the oldest mark, or 0 when there is none.
    pub(super) fn first_us(&self) -> u64 {
        self.marks.front().map_or(0, |oldest| oldest.first_us)
    }

    /// Returns the size in bytes of the records from `first` on. A partly trimmed mark counts in proportion to the
    /// number of its records that are left.
    pub(super) fn bytes(&self, first: Offset, next: Offset) -> u64 {
        let Some(oldest) = self.marks.front() else { return 0 };
        let end = self.marks.get(1).map_or(next, |mark| mark.base);
        let trimmed = u128::from(oldest.bytes) * u128::from(first.0 - oldest.base.0);
        self.bytes - u64::try_from(trimmed / u128::from(end.0 - oldest.base.0)).expect("a part of the mark's bytes")
    }

    /// Returns the first offset to retain so that at most `max_bytes` are retained. The newest mark is always retained.
    pub(super) fn cut_by_bytes(&self, first: Offset, next: Offset, max_bytes: u64) -> Offset {
        let (mut kept, mut cut) = (self.bytes(first, next), first);
        for (index, mark) in self.marks.iter().enumerate().skip(1) {
            if kept <= max_bytes {
                break;
            }
            kept = if index == 1 { self.bytes - self.marks[0].bytes } else { kept - self.marks[index - 1].bytes };
            cut = mark.base;
        }
        cut
    }

    /// Returns the first mark in the range with a record at or after the append time, or the end of the range.
    pub(super) fn cut_by_time(&self, Sought { append_us, from, end }: Sought) -> Offset {
        let is_before = |mark: &Mark| mark.base < from || mark.base < end && mark.last_us < append_us;
        let index = self.marks.partition_point(is_before);
        self.marks.get(index).map_or(end, |mark| mark.base.min(end))
    }

    /// Returns the memory of the marks, in bytes.
    pub(super) fn cost(&self) -> u64 {
        (self.marks.capacity() * size_of::<Mark>()) as u64
    }

    /// Appends the encoded marks to a checkpoint's image.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.marks.len() as u64);
        let (mut base, mut at_us) = (0, 0);
        for mark in &self.marks {
            varint::put(out, mark.base.0 - base);
            varint::put(out, mark.bytes);
            // At the beginning of an era, times may decrease.
            varint::put(out, mark.first_us.wrapping_sub(at_us));
            varint::put(out, mark.last_us - mark.first_us);
            (base, at_us) = (mark.base.0, mark.last_us);
        }
    }

    /// Decodes the result of [`Self::encode`] for a log of these records; returns `None` when the bytes are malformed.
    pub(super) fn decode(bytes: &mut &[u8], first: Offset, next: Offset) -> Option<Self> {
        let mut marks = Self::default();
        let (mut base, mut at_us) = (0_u64, 0_u64);
        for index in 0..varint::take(bytes)? {
            let distance = varint::take(bytes)?;
            base = base.checked_add(distance)?;
            let bytes_of = varint::take(bytes)?;
            let first_us = at_us.wrapping_add(varint::take(bytes)?);
            let last_us = first_us.checked_add(varint::take(bytes)?)?;
            let is_in_order = if index == 0 { base <= first.0 } else { distance > 0 && base > first.0 };
            if !is_in_order || base >= next.0 {
                return None;
            }
            marks.bytes = marks.bytes.checked_add(bytes_of)?;
            marks.marks.push_back(Mark { base: Offset(base), bytes: bytes_of, first_us, last_us });
            at_us = last_us;
        }
        (marks.marks.is_empty() == (first == next)).then_some(marks)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self, first: Offset, next: Offset) {
        assert_eq!(self.marks.is_empty(), first == next);
        assert!(self.marks.front().is_none_or(|oldest| oldest.base <= first));
        assert!(self.marks.iter().skip(1).all(|mark| first < mark.base && mark.base < next));
        assert_eq!(self.bytes, self.marks.iter().map(|mark| mark.bytes).sum::<u64>());
        assert!(self.marks.iter().all(|mark| mark.first_us <= mark.last_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_marks_go_until_the_others_have_no_more_than_the_bound() {
        const NEXT: Offset = Offset(8);
        let mut marks = Marks::default();
        for (base, bytes) in [(0, 10), (2, 20), (4, 30), (6, 40)] {
            marks.append((Offset(base), Offset(base + 2)), bytes, base, Grain::NONE);
        }
        // Columns: the first offset, the bytes retained from there on, and pairs of a bound in bytes and the resulting
        // first offset. A partly trimmed mark counts in proportion to the number of its records that are left.
        let cases = [
            (0, 100, &[(100, 0), (99, 2), (90, 2), (89, 4), (70, 4), (69, 6), (1, 6)][..]),
            (1, 95, &[(95, 1), (94, 2), (90, 2), (89, 4)]),
        ];
        for (first, bytes, bounds) in cases {
            assert_eq!(marks.bytes(Offset(first), NEXT), bytes);
            for (bound, cut) in bounds {
                assert_eq!(marks.cut_by_bytes(Offset(first), NEXT, *bound), Offset(*cut), "{bound} from {first}");
            }
        }
        marks.trim(Offset(3), NEXT);
        marks.check(Offset(3), NEXT);
        assert_eq!(marks.bytes(Offset(3), NEXT), 80);
    }
}
