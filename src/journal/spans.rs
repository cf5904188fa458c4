//! The spans of a topic: in which segments its records lie, in the order of their offsets.
//!
//! A span is a stretch of consecutive records in one segment; the next span begins at the offset where it ends. The
//! segment numbers of successive spans need not ascend: cleaning moves the oldest records into the newest files.

use std::collections::VecDeque;

use crate::entry::Filed;
use crate::types::Offset;

/// Consecutive records of a topic in one segment. The span begins where the preceding one ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) segment: u32,
    /// Bytes of the payloads, including those of trimmed records.
    pub(super) bytes: u32,
    /// The end offset (exclusive).
    pub(super) end: Offset,
    /// Append time of the first record, in microseconds.
    pub(super) first_us: u64,
}

/// A change to the accounts of a segment: the number of spans in it, and the bytes of its live records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) segment: u32,
    pub(super) spans: i32,
    pub(super) bytes: i64,
}

impl Change {
    /// Returns the change that undoes this one.
    pub(super) const fn negated(self) -> Self {
        Self { spans: -self.spans, bytes: -self.bytes, ..self }
    }
}

/// The spans of a topic that has records.
///
/// Invariant: there is at least one span, the end offsets ascend, `base <= first`, and `first` lies in the first span.
#[derive(Clone, Debug)]
pub(super) struct Spans {
    /// The offset of the first record of the first span.
    base: Offset,
    /// The first offset that the topic retains.
    first: Offset,
    list: VecDeque<Span>,
}

impl Spans {
    /// Creates the spans of a topic whose only span begins at `base` and that retains its records from `first` on.
    pub(super) fn new(base: Offset, first: Offset, span: Span) -> Self {
        Self { base, first: first.max(base), list: VecDeque::from([span]) }
    }

    /// Returns the spans, each with the offset of its first record.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (Offset, Span)> + '_ {
        let mut base = self.base;
        self.list.iter().map(move |span| (std::mem::replace(&mut base, span.end), *span))
    }

    /// Returns the offset of the first record of the first span; records before it are no longer known.
    pub(super) const fn base(&self) -> Offset {
        self.base
    }

    /// Returns the first offset that the topic retains.
    pub(super) const fn first(&self) -> Offset {
        self.first
    }

    /// Returns the end offset (exclusive) of the last span.
    pub(super) fn end(&self) -> Offset {
        self.list.back().map_or(self.base, |last| last.end)
    }

    /// Returns the span that holds a record, or the first span when that record was trimmed; `None` at or after the end
    /// offset.
    pub(super) fn with(&self, offset: Offset) -> Option<Span> {
        self.list.get(self.list.partition_point(|span| span.end <= offset)).copied()
    }

    /// Returns the span in which to search for the first record appended at or after `append_us`, among the offsets
    /// from `from` up to `end` (exclusive): the last span whose first record is older than that. If the search there
    /// finds nothing, the record is the first one of the next span. The span that holds `from` qualifies whatever its
    /// first append time is, since that may be of an earlier clock era. Returns `None` when `from` is at or after the
    /// end offset.
    pub(super) fn before(&self, append_us: u64, from: Offset, end: Offset) -> Option<Span> {
        let first = self.list.partition_point(|span| span.end <= from);
        let mut span = self.list.get(first)?;
        for next in self.list.range(first + 1..) {
            if span.end >= end || next.first_us >= append_us {
                break;
            }
            span = next;
        }
        Some(*span)
    }

    /// Appends a span after the last one.
    pub(super) fn push(&mut self, span: Span) -> Change {
        assert!(self.end() < span.end, "spans are not empty");
        self.list.push_back(span);
        Change { segment: span.segment, spans: 1, bytes: span.bytes.into() }
    }

    /// Appends a batch: to the last span when it is in the same segment, otherwise as a new span.
    pub(super) fn file(&mut self, filed: &Filed) -> Change {
        let segment = filed.place.segment;
        let Some(last) = self.list.back_mut().filter(|last| last.segment == segment) else {
            return self.push(Span::of(filed));
        };
        (last.end, last.bytes) = (filed.end(), last.bytes.saturating_add(filed.len));
        // The live bytes of a partly trimmed span are an estimate in proportion to its records, so adding a batch
        // changes the estimate as a whole.
        let before = if self.list.len() == 1 { self.live_before(filed) } else { 0 };
        let live = if self.list.len() == 1 { self.live(0) } else { before + i64::from(filed.len) };
        Change { segment, spans: 0, bytes: live - before }
    }

    /// Returns the live bytes of the only span as they were before this batch was added to it.
    fn live_before(&self, filed: &Filed) -> i64 {
        let span = self.list[0];
        share(span.bytes.saturating_sub(filed.len), (self.base, self.first.min(filed.base), filed.base))
    }

    /// Returns the live bytes of a span; those of the first span are estimated from the number of its retained records.
    fn live(&self, index: usize) -> i64 {
        let span = self.list[index];
        if index > 0 { i64::from(span.bytes) } else { share(span.bytes, (self.base, self.first, span.end)) }
    }

    /// Drops the records before `first`; returns false when none is left.
    pub(super) fn trim(&mut self, first: Offset, mut change: impl FnMut(Change)) -> bool {
        if first <= self.first {
            return true;
        }
        let before = self.list.front().map(|span| (span.segment, self.live(0)));
        if let Some((segment, bytes)) = before {
            change(Change { segment, spans: 0, bytes: -bytes });
        }
        let mut is_front = true;
        while let Some(oldest) = self.list.front().copied().filter(|oldest| oldest.end <= first) {
            let bytes = if is_front { 0 } else { -i64::from(oldest.bytes) };
            change(Change { segment: oldest.segment, spans: -1, bytes });
            is_front = false;
            self.base = oldest.end;
            self.list.pop_front();
        }
        self.first = first;
        let Some(oldest) = self.list.front() else { return false };
        let bytes = self.live(0) - if is_front { 0 } else { i64::from(oldest.bytes) };
        change(Change { segment: oldest.segment, spans: 0, bytes });
        true
    }

    /// Splits off the last span, with the offset of its first record, if it is in this segment. Returns the other
    /// spans, if any, and that one.
    pub(super) fn split_last(mut self, segment: u32) -> (Option<Self>, Option<(Offset, Span)>) {
        let Some(last) = self.list.back().copied().filter(|last| last.segment == segment) else {
            return (Some(self), None);
        };
        self.list.pop_back();
        let base = self.end();
        ((!self.list.is_empty()).then_some(self), Some((base, last)))
    }

    /// Points the records from `base` up to the end of `span` to the segment that they were copied to. The range
    /// consists of whole spans as they were when the copying began, except for records trimmed since then. Does nothing
    /// when all of them have been trimmed.
    pub(super) fn relocate(&mut self, base: Offset, span: Span, mut change: impl FnMut(Change)) {
        let from = self.iter().position(|(_, old)| old.end > base);
        let Some(from) = from.filter(|_| self.first < span.end) else { return };
        let to = self.list.partition_point(|old| old.end <= span.end);
        let covers = self.iter().nth(from).is_some_and(|(old, _)| base <= old || from == 0 && base <= self.first);
        assert!(covers && from < to && self.list[to - 1].end == span.end, "only whole spans are relocated");
        for index in from..to {
            change(Change { segment: self.list[index].segment, spans: -1, bytes: -self.live(index) });
        }
        self.list.drain(from..to);
        self.list.insert(from, span);
        if from == 0 {
            self.base = base;
        }
        change(Change { segment: span.segment, spans: 1, bytes: self.live(from) });
    }

    /// Returns what a topic with a single span contributes to the accounts of its segment.
    pub(super) fn whole(&self) -> Change {
        Change { segment: self.list[0].segment, spans: 1, bytes: self.live(0) }
    }

    /// Returns what this topic contributes to the accounts of each segment, to check their sums.
    pub(super) fn total(&self) -> impl Iterator<Item = Change> + '_ {
        self.list.iter().enumerate().map(|(index, span)| Change {
            segment: span.segment,
            spans: 1,
            bytes: self.live(index),
        })
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!(self.base <= self.first && self.list.front().is_some_and(|oldest| self.first < oldest.end));
        assert!(self.list.iter().map(|span| span.end).is_sorted_by(|one, next| one < next));
    }
}

impl Span {
    /// Returns a span that holds a single batch.
    pub(super) const fn of(filed: &Filed) -> Self {
        Self { segment: filed.place.segment, bytes: filed.len, end: filed.end(), first_us: filed.append_us }
    }
}

/// Estimates the share of `bytes` that belongs to the records from `first` on, when the records from `base` up to `end`
/// take all of them.
fn share(bytes: u32, (base, first, end): (Offset, Offset, Offset)) -> i64 {
    let part = u128::from(bytes) * u128::from(end.0 - first.0) / u128::from(end.0 - base.0);
    i64::try_from(part).expect("no more than 32 bits")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn span(segment: u32, bytes: u32, end: u64) -> Span {
        Span { segment, bytes, end: Offset(end), first_us: end }
    }

    /// Sums of spans and bytes by segment.
    fn sums(changes: impl IntoIterator<Item = Change>) -> BTreeMap<u32, (i32, i64)> {
        let mut sums = BTreeMap::<u32, (i32, i64)>::new();
        for Change { segment, spans, bytes } in changes {
            let sum = sums.entry(segment).or_default();
            *sum = (sum.0 + spans, sum.1 + bytes);
        }
        sums.retain(|_, sum| *sum != (0, 0));
        sums
    }

    fn list(spans: &Spans) -> Vec<(u32, u64, u64)> {
        spans.iter().map(|(base, span)| (span.segment, base.0, span.end.0)).collect()
    }

    /// Returns ten records of 10 bytes each in segments 3, 5 and 6.
    fn spans() -> Spans {
        let mut spans = Spans::new(Offset(100), Offset(0), span(3, 100, 110));
        spans.push(span(5, 100, 120));
        spans.push(span(6, 100, 130));
        spans.check();
        spans
    }

    #[test]
    fn what_is_trimmed_is_no_longer_live_and_empty_spans_go() {
        for first in [0, 100, 101, 105, 110, 111, 119, 120, 129] {
            let (mut spans, mut changes) = (spans(), Vec::new());
            changes.extend(spans.total());
            assert!(spans.trim(Offset(first), |change| changes.push(change)));
            spans.check();
            assert_eq!(sums(changes), sums(spans.total()), "trimmed to {first}");
            let live: i64 = spans.total().map(|total| total.bytes).sum();
            assert_eq!(live, 10 * i64::try_from(130 - first.max(100)).unwrap());
        }
        let (mut spans, mut changes) = (spans(), Vec::new());
        changes.extend(spans.total());
        assert!(!spans.trim(Offset(130), |change| changes.push(change)));
        assert_eq!(sums(changes), BTreeMap::new());
    }

    #[test]
    fn a_batch_grows_the_last_span_or_begins_one() {
        let filed = |segment, base, count: u32| {
            let place = crate::entry::Place { segment, position: 0 };
            let id = crate::types::TopicId::new(1).unwrap();
            let topic = crate::entry::TopicKey { slot: crate::types::SlotId::default(), id };
            Filed { topic, base: Offset(base), count, len: count * 10, crc: 0, place, append_us: 7 }
        };
        for first in [100, 108, 125] {
            let mut spans = spans();
            spans.trim(Offset(first), drop);
            let mut changes: Vec<Change> = spans.total().collect();
            for filed in [filed(6, 130, 2), filed(6, 132, 1), filed(7, 133, 5)] {
                changes.push(spans.file(&filed));
                spans.check();
                assert_eq!(sums(changes.clone()), sums(spans.total()), "trimmed to {first}");
            }
            assert_eq!(list(&spans)[list(&spans).len() - 2..], [(6, 120, 133), (7, 133, 138)]);
        }
    }

    #[test]
    fn moved_records_are_where_their_copies_are_unless_they_are_trimmed_meanwhile() {
        // Each case: retained first offset before and during the copying, first and end offset of the copies, expected
        // spans.
        let cases = [
            (100, 100, 100, 110, vec![(9, 100, 110), (5, 110, 120), (6, 120, 130)]),
            (105, 105, 104, 110, vec![(9, 104, 110), (5, 110, 120), (6, 120, 130)]),
            (105, 108, 104, 110, vec![(9, 104, 110), (5, 110, 120), (6, 120, 130)]),
            (105, 110, 104, 110, vec![(5, 110, 120), (6, 120, 130)]),
            (105, 112, 104, 110, vec![(5, 110, 120), (6, 120, 130)]),
            (100, 100, 100, 120, vec![(9, 100, 120), (6, 120, 130)]),
            (100, 115, 100, 120, vec![(9, 100, 120), (6, 120, 130)]),
            (100, 121, 100, 120, vec![(6, 120, 130)]),
            (100, 100, 110, 120, vec![(3, 100, 110), (9, 110, 120), (6, 120, 130)]),
            (100, 109, 110, 130, vec![(3, 100, 110), (9, 110, 130)]),
            (100, 110, 100, 130, vec![(9, 100, 130)]),
        ];
        for (before, meanwhile, base, end, expected) in cases {
            let mut spans = spans();
            spans.trim(Offset(before), drop);
            spans.trim(Offset(meanwhile), drop);
            let mut changes: Vec<Change> = spans.total().collect();
            let bytes = u32::try_from(end - base).unwrap() * 10;
            spans.relocate(Offset(base), span(9, bytes, end), |change| changes.push(change));
            let case = format!("{before} {meanwhile} {base} {end}");
            spans.check();
            assert_eq!(list(&spans), expected, "{case}");
            assert_eq!(sums(changes), sums(spans.total()), "{case}");
        }
    }

    #[test]
    fn a_record_and_a_time_are_looked_for_in_the_right_span() {
        let mut spans = spans();
        spans.relocate(Offset(100), span(9, 100, 110), drop);
        let with = |offset| spans.with(Offset(offset)).map(|span| span.segment);
        assert_eq!([0, 100, 109, 110, 129, 130].map(with), [Some(9), Some(9), Some(9), Some(5), Some(6), None]);
        let before = |(time, from, end)| spans.before(time, Offset(from), Offset(end)).map(|span| span.segment);
        let all = |time| before((time, 0, 130));
        assert_eq!([110, 111, 120, 121, 131].map(all), [Some(9), Some(9), Some(9), Some(5), Some(6)]);
        let parts = [(131, 0, 120), (131, 0, 110), (131, 112, 115), (1, 112, 130), (1, 130, 140)];
        assert_eq!(parts.map(before), [Some(5), Some(9), Some(5), Some(5), None]);
    }
}
