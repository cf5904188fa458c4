//! Iterates over the records of a segment, past damage.

use std::ops::Range;

use bytes::Bytes;

use super::format::{ALIGN, HEADER, Record, record_at};

/// What the iteration finds at a position.
#[derive(Debug)]
pub(super) enum Step {
    /// A sound record.
    Record(Record),
    /// A range of bytes that should hold records but does not, up to the next sound record.
    Damage(Range<usize>),
}

/// An iterator over the records and the damaged ranges of a segment.
#[derive(Debug)]
pub(super) struct Walk<'b> {
    segment: u32,
    bytes: &'b Bytes,
    at: usize,
    end: End,
}

/// What is known about where the records of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last record ends at this position.
    At(usize),
    /// Records up to this position were durable; others may follow.
    AtLeast(usize),
}

impl From<Option<usize>> for End {
    fn from(end: Option<usize>) -> Self {
        end.map_or(Self::AtLeast(HEADER), Self::At)
    }
}

/// Iterates over the records of a segment. Beyond what is known to have been durable, the iteration ends at the first
/// position where no sound record begins, unless a later record shows that this position had been durable: writes that
/// were not yet synced may reach the disk out of order, so a later record alone does not prove damage.
pub(super) fn walk(segment: u32, bytes: &Bytes, end: impl Into<End>) -> Walk<'_> {
    Walk { segment, bytes, at: HEADER, end: end.into() }
}

impl Walk<'_> {
    /// Returns the position where the last step ended.
    #[cfg(test)]
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Returns where the damage at the current position ends: at the next sound record, or at the known end when there
    /// is none. Returns `None` when the bytes here do not count as damage.
    fn end_of_damage(&self) -> Option<usize> {
        let (last, known) = match self.end {
            End::At(end) => (end, end),
            End::AtLeast(known) => (self.bytes.len(), known),
        };
        let mut later = (self.at..last.min(self.bytes.len())).step_by(ALIGN).filter_map(|at| {
            let record = record_at(self.bytes, self.segment, at)?;
            Some((at, record.head.synced as usize))
        });
        let is_known = known > self.at;
        let Some((next, synced)) = later.next() else { return is_known.then_some(known) };
        (is_known || synced > self.at || later.any(|(_, synced)| synced > self.at)).then_some(next)
    }
}

impl Iterator for Walk<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if matches!(self.end, End::At(end) if self.at >= end) {
            return None;
        }
        if let Some(record) = record_at(self.bytes, self.segment, self.at) {
            self.at = record.end;
            return Some(Step::Record(record));
        }
        let next = self.end_of_damage()?;
        let damage = self.at..next;
        self.at = next;
        Some(Step::Damage(damage))
    }
}

/// Returns the position where the records of a segment end, or the position of its first damage as an error.
#[cfg(test)]
fn reach(segment: u32, bytes: &Bytes, end: Option<usize>) -> Result<usize, usize> {
    let mut steps = walk(segment, bytes, end);
    let damage = steps.by_ref().find_map(|step| if let Step::Damage(at) = step { Some(at.start) } else { None });
    damage.map_or_else(|| Ok(steps.at()), Err)
}

#[cfg(test)]
mod tests {
    use super::super::format::{Head, Kind, put_record, segment_header};
    use super::super::stamp::Stamp;
    use super::*;
    use crate::types::SlotId;

    /// Returns a segment with records of the given body lengths. If `is_synced`, each record says that all before it
    /// are durable; otherwise none does.
    fn segment(lens: &[usize], is_synced: bool) -> Vec<u8> {
        let mut bytes = segment_header(Stamp::NONE, 3, 4096).to_vec();
        for len in lens {
            let synced = if is_synced { u32::try_from(bytes.len()).unwrap() } else { 0 };
            let head = Head { kind: Kind::Entry, slot: SlotId::default(), index: 1, term: 1, synced };
            put_record(3, head, &mut bytes, |out| out.resize(out.len() + len, 7));
        }
        bytes
    }

    #[test]
    fn damage_is_passed_when_something_behind_it_shows_that_it_is_none_of_a_crash() {
        for is_synced in [true, false] {
            let sound = segment(&[10, 20, 30], is_synced);
            let end = sound.len();
            for is_known in [true, false] {
                let end = is_known.then_some(end);
                let mut bytes = sound.clone();
                bytes.resize(4096, 0);
                assert_eq!(reach(3, &bytes.clone().into(), end), Ok(sound.len()));
                // The second record begins at 80, the third at 136.
                bytes[100] ^= 1;
                let bytes = Bytes::from(bytes);
                let damage: Vec<_> = walk(3, &bytes, end)
                    .filter_map(
                        |step| if let Step::Damage(range) = step { Some((range.start, range.end)) } else { None },
                    )
                    .collect();
                let is_told = is_synced || is_known;
                assert_eq!(damage, if is_told { vec![(80, 136)] } else { Vec::new() });
                let steps = walk(3, &bytes, end).count();
                assert_eq!(steps, if is_told { 3 } else { 1 }, "{is_synced} {is_known}");
            }
        }
    }

    #[test]
    fn a_segment_that_is_cut_before_its_end_is_damaged_there() {
        let sound = segment(&[10, 20, 30], true);
        for cut in (HEADER..sound.len()).step_by(8) {
            let at = reach(3, &Bytes::from(sound[..cut].to_vec()), Some(sound.len())).unwrap_err();
            assert!(at <= cut, "cut at {cut}, damaged at {at}");
        }
    }
}
