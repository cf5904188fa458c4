//! Which segments have the bodies of the groups' logs.
//!
//! A body replaces all bodies of its group that were written before and have its position or a later one. What counts
//! of a segment, therefore, are bodies of each group at consecutive positions:
//!
//! ```text
//! segment 7    5 6 7 8 9         5 to 7, once segment 8 has another 8
//! segment 8    8 9 10            8 to 10
//! segment 9    11 12 13 12 13    11 to 13, and a cut: before the second 12, those from 12 on are replaced
//! ```
//!
//! A checkpoint stores this for the segments before it, and a start reads the others. It does not say where in a
//! segment a body is: a read goes from record to record, and begins where an earlier one has ended.

use std::collections::{BTreeMap, VecDeque};

use crate::entry::{Place, varint};
use crate::limits::LOG_SPOTS_MAX;
use crate::types::{SlotId, Slots};

/// Where the bodies are.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    segments: BTreeMap<u32, Extents>,
    /// For each group whose state was copied from another node, the index of the first body of its log that can be read
    /// back. Earlier bodies are not part of the log here.
    begins: BTreeMap<SlotId, u64>,
    /// Where reads have ended, by group, the one that was used least recently first.
    spots: BTreeMap<SlotId, VecDeque<Spot>>,
}

/// What a segment has of each group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents(BTreeMap<SlotId, Extent>);

/// What a segment has of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    /// The positions in the group's log of the first and the last body that no later body has replaced. The last one is
    /// before the first one if all are replaced.
    first: u64,
    last: u64,
    /// The bodies that have replaced others in this segment: where the record begins, and the position in the group's
    /// log. Both increase.
    cuts: Vec<(u32, u64)>,
}

/// What the index of bodies had of one group in all segments, for [`Bodies::restore`].
#[derive(Debug)]
pub(super) struct OfGroup {
    begin: Option<u64>,
    extents: BTreeMap<u32, Extent>,
}

/// The end of a body in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The position of the body in the log of its group, and its term.
    pub(super) index: u64,
    pub(super) term: u32,
    /// Where the next record begins.
    pub(super) end: Place,
}

impl Extent {
    /// Adds the body that was written last. Returns true if it may replace bodies of earlier segments.
    fn add(&mut self, index: u64, position: u32) -> bool {
        if index <= self.last {
            self.cuts.truncate(self.cuts.partition_point(|(_, from)| *from < index));
            self.cuts.push((position, index));
        } else if index - self.last > 1 {
            // The log has continued at a later position, and lacks what is between.
            self.first = index;
        }
        self.last = index;
        let is_first = index < self.first;
        self.first = self.first.min(index);
        is_first
    }

    /// Returns true if a later body has replaced the one that begins at `position`.
    fn is_replaced(&self, index: u64, position: u32) -> bool {
        let later = self.cuts.partition_point(|(cut, _)| *cut <= position);
        index > self.last || self.cuts.get(later).is_some_and(|(_, from)| *from <= index)
    }
}

impl Extents {
    /// Returns true if a later body has replaced the one whose record begins at `position` of this segment.
    pub(super) fn is_replaced(&self, slot: SlotId, index: u64, position: u32) -> bool {
        self.0.get(&slot).is_some_and(|extent| extent.is_replaced(index, position))
    }

    /// Returns the position of the group's last body in this segment.
    pub(super) fn last(&self, slot: SlotId) -> Option<u64> {
        self.0.get(&slot).map(|extent| extent.last)
    }
}

impl Bodies {
    /// Adds a body whose record begins at `at`, after all bodies that were written before.
    pub(super) fn add(&mut self, slot: SlotId, index: u64, at: Place) {
        let Extents(extents) = self.segments.entry(at.segment).or_default();
        let may_replace = match extents.get_mut(&slot) {
            Some(extent) => extent.add(index, at.position),
            None => extents.insert(slot, Extent { first: index, last: index, cuts: Vec::new() }).is_none(),
        };
        if !may_replace {
            return;
        }
        let before = self.segments.range_mut(..at.segment).rev();
        for extent in before.filter_map(|(_, extents)| extents.0.get_mut(&slot)).take_while(|it| it.last >= index) {
            extent.last = index.saturating_sub(1);
        }
    }

    /// Records what a segment has, as a checkpoint has stored it.
    pub(super) fn set(&mut self, segment: u32, extents: Extents) {
        self.segments.insert(segment, extents);
    }

    /// Makes the log of a group begin with the body after `index`, at the place `end` in the journal. Bodies of the
    /// group that were written before are no longer part of its log, wherever they lie, and an index of the segment of
    /// `end` that is rebuilt later leaves them out. Returns what was known of the group, for [`Self::restore`].
    pub(super) fn begin_after(&mut self, slot: SlotId, index: u64, end: Place) -> OfGroup {
        self.spots.remove(&slot);
        let of = |(number, extents): (&u32, &Extents)| Some((*number, extents.0.get(&slot)?.clone()));
        let extents = self.segments.iter().filter_map(of).collect();
        for extent in self.segments.values_mut().filter_map(|Extents(of)| of.get_mut(&slot)) {
            extent.last = extent.last.min(index);
        }
        let begin = Extent { first: index + 1, last: index, cuts: vec![(end.position, 0)] };
        self.segments.entry(end.segment).or_default().0.insert(slot, begin);
        OfGroup { begin: self.begins.insert(slot, index + 1), extents }
    }

    /// Forgets all bodies of a group, whose log begins anew.
    pub(super) fn forget(&mut self, slot: SlotId) {
        self.segments.values_mut().for_each(|Extents(of)| _ = of.remove(&slot));
        self.set_begin(slot, None);
    }

    /// Undoes [`Self::begin_after`].
    pub(super) fn restore(&mut self, slot: SlotId, before: OfGroup) {
        self.segments.values_mut().for_each(|Extents(of)| _ = of.remove(&slot));
        for (number, extent) in before.extents {
            self.segments.entry(number).or_default().0.insert(slot, extent);
        }
        self.set_begin(slot, before.begin);
    }

    /// Sets the index of the first body of a group's log that can be read back. With `None`, the log has no such limit.
    pub(super) fn set_begin(&mut self, slot: SlotId, begin: Option<u64>) {
        self.spots.remove(&slot);
        match begin {
            Some(begin) => _ = self.begins.insert(slot, begin),
            None => _ = self.begins.remove(&slot),
        }
    }

    /// Forgets a segment.
    pub(super) fn remove(&mut self, segment: u32) {
        self.segments.remove(&segment);
    }

    /// Returns what a segment has, if that is known.
    pub(super) fn of(&self, segment: u32) -> Option<&Extents> {
        self.segments.get(&segment)
    }

    /// Returns the segment that has this body of a group, if there is one.
    pub(super) fn locate(&self, slot: SlotId, index: u64) -> Option<u32> {
        if self.begins.get(&slot).is_some_and(|begin| index < *begin) {
            return None;
        }
        let known = self.segments.iter().rev().filter_map(|(number, Extents(of))| Some((*number, of.get(&slot)?)));
        let (number, extent) = known.into_iter().find(|(_, it)| it.first <= index && it.first <= it.last)?;
        (index <= extent.last).then_some(number)
    }

    /// Returns the first segment that has this body of a group, the one before it, or a later one.
    pub(super) fn first_with(&self, slot: SlotId, index: u64) -> Option<u32> {
        let index = self.begins.get(&slot).map_or(index, |begin| index.max(*begin));
        let known = self.segments.iter().filter_map(|(number, Extents(of))| Some((*number, of.get(&slot)?)));
        let mut with =
            known.filter(|(_, extent)| extent.first <= extent.last && extent.last.saturating_add(1) >= index);
        with.next().map(|(number, _)| number)
    }

    /// Returns the segments that have bodies, the newest one first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = u32> {
        self.segments.iter().rev().filter(|(_, Extents(of))| !of.is_empty()).map(|(number, _)| *number)
    }

    /// Remembers where a read of a group's log has ended.
    pub(super) fn remember(&mut self, slot: SlotId, spot: Spot) {
        let spots = self.spots.entry(slot).or_default();
        spots.retain(|known| known.index != spot.index);
        spots.push_back(spot);
        if spots.len() > LOG_SPOTS_MAX {
            spots.pop_front();
        }
    }

    /// Returns the end of this body, if a read has ended there.
    pub(super) fn spot(&self, slot: SlotId, index: u64) -> Option<Spot> {
        self.spots.get(&slot)?.iter().find(|spot| spot.index == index).copied()
    }

    /// Returns the last end of a read in a segment that is before this body of the group.
    pub(super) fn spot_before(&self, slot: SlotId, index: u64, segment: u32) -> Option<Place> {
        let spots = self.spots.get(&slot)?.iter();
        let before = spots.filter(|spot| spot.end.segment == segment && spot.index < index);
        before.max_by_key(|spot| spot.index).map(|spot| spot.end)
    }

    /// Encodes what all segments have.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.segments.len() as u64);
        for (segment, Extents(extents)) in &self.segments {
            varint::put(out, (*segment).into());
            varint::put(out, extents.len() as u64);
            for (slot, Extent { first, last, cuts }) in extents {
                varint::put(out, slot.index().into());
                varint::put(out, *first);
                varint::put_delta(out, *first, *last);
                varint::put(out, cuts.len() as u64);
                let mut before = (0, *first);
                for (position, index) in cuts {
                    varint::put_delta(out, before.0, (*position).into());
                    varint::put_delta(out, before.1, *index);
                    before = ((*position).into(), *index);
                }
            }
        }
    }

    /// Encodes the index of the first body that can be read back, for each group whose state was copied.
    pub(super) fn encode_begins(&self, out: &mut Vec<u8>) {
        varint::put(out, self.begins.len() as u64);
        for (slot, begin) in &self.begins {
            varint::put(out, slot.index().into());
            varint::put(out, *begin);
        }
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let mut ends = BTreeMap::new();
        for (slot, extent) in self.segments.values().flat_map(|Extents(extents)| extents) {
            let end = ends.insert(*slot, extent.last).unwrap_or(0);
            assert!(extent.first > end || extent.last <= end, "no two segments have the same body: {extent:?}");
            assert!(extent.last >= end, "{extent:?} ends before {end}");
            assert!(extent.cuts.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1), "{extent:?}");
        }
        assert!(self.spots.values().all(|spots| spots.len() <= LOG_SPOTS_MAX));
    }
}

/// Decodes what [`Bodies::encode`] wrote, from the front of `bytes`. Returns `None` when that is malformed.
pub(super) fn decode(bytes: &mut &[u8]) -> Option<BTreeMap<u32, Extents>> {
    let mut segments = BTreeMap::new();
    for _ in 0..varint::take(bytes)? {
        let segment = u32::try_from(varint::take(bytes)?).ok()?;
        let mut extents = Extents::default();
        for _ in 0..varint::take(bytes)? {
            let slot = SlotId::new(varint::take(bytes)?.try_into().ok()?, Slots::MOST)?;
            let first = varint::take(bytes)?;
            let last = varint::take_delta(bytes, first)?;
            let (mut cuts, mut before) = (Vec::new(), (0, first));
            for _ in 0..varint::take(bytes)? {
                before = (varint::take_delta(bytes, before.0)?, varint::take_delta(bytes, before.1)?);
                cuts.push((u32::try_from(before.0).ok()?, before.1));
            }
            extents.0.insert(slot, Extent { first, last, cuts });
        }
        segments.insert(segment, extents);
    }
    Some(segments)
}

/// Decodes what [`Bodies::encode_begins`] wrote. Returns `None` when the bytes are malformed.
pub(super) fn decode_begins(bytes: &mut &[u8]) -> Option<BTreeMap<SlotId, u64>> {
    let count = varint::take(bytes)?;
    let mut begins = BTreeMap::new();
    for _ in 0..count {
        let slot = SlotId::new(varint::take(bytes)?.try_into().ok()?, Slots::MOST)?;
        begins.insert(slot, varint::take(bytes)?);
    }
    Some(begins)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn slot(number: u16) -> SlotId {
        SlotId::new(number, Slots::MOST).unwrap()
    }

    fn at(segment: u32, position: u32) -> Place {
        Place { segment, position }
    }

    /// Adds bodies of a group, each 100 bytes after the one before.
    fn add(bodies: &mut Bodies, of: u16, segment: u32, from: u32, indexes: &[u64]) {
        for (position, index) in (from..).step_by(100).zip(indexes) {
            bodies.add(slot(of), *index, at(segment, position));
            bodies.check();
        }
    }

    /// Returns what some segments have.
    pub(in super::super) fn some() -> BTreeMap<u32, Extents> {
        let mut bodies = Bodies::default();
        add(&mut bodies, 3, 7, 32, &[5, 6, 7, 6, 7, 8]);
        add(&mut bodies, 3, 9, 32, &[4]);
        add(&mut bodies, 700, 9, 72, &[1 << 60]);
        bodies.segments
    }

    #[test]
    fn a_body_replaces_those_from_its_position_on() {
        let mut bodies = Bodies::default();
        add(&mut bodies, 1, 7, 100, &[5, 6, 7, 8, 9]);
        add(&mut bodies, 2, 7, 700, &[1, 2, 3]);
        add(&mut bodies, 1, 8, 100, &[8, 9, 10]);
        add(&mut bodies, 1, 9, 100, &[11, 12, 13, 14, 12, 13, 14, 13, 14]);
        let locate = |bodies: &Bodies, index| bodies.locate(slot(1), index);
        let found: Vec<u32> = (4..16).map(|index| locate(&bodies, index).unwrap_or(0)).collect();
        assert_eq!(found, [0, 7, 7, 7, 8, 8, 8, 9, 9, 9, 9, 0]);
        assert_eq!(bodies.locate(slot(2), 3), Some(7));
        // Of the body before the first wanted one, the term is needed.
        let first: Vec<u32> = [1, 8, 9, 11, 12, 15].map(|index| bodies.first_with(slot(1), index).unwrap()).into();
        assert_eq!(first, [7, 7, 8, 8, 9, 9]);
        assert_eq!((bodies.first_with(slot(1), 16), bodies.first_with(slot(3), 1)), (None, None));
        let is_replaced = |bodies: &Bodies, segment, of: &[(u32, u64)]| -> Vec<bool> {
            let extents = bodies.of(segment).unwrap();
            of.iter().map(|(position, index)| extents.is_replaced(slot(1), *index, *position)).collect()
        };
        assert_eq!(is_replaced(&bodies, 7, &[(300, 7), (400, 8), (500, 9)]), [false, true, true]);
        let written =
            [(100, 11), (200, 12), (300, 13), (400, 14), (500, 12), (600, 13), (700, 14), (800, 13), (900, 14)];
        let expected = [false, true, true, true, false, true, true, false, false];
        assert_eq!(is_replaced(&bodies, 9, &written), expected);
        // One body replaces all of a segment, and some of the one before.
        add(&mut bodies, 1, 10, 100, &[7]);
        let found: Vec<u32> = (4..16).map(|index| locate(&bodies, index).unwrap_or(0)).collect();
        assert_eq!(found, [0, 7, 7, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(is_replaced(&bodies, 8, &[(100, 8), (200, 9), (300, 10)]), [true; 3]);
    }

    #[test]
    fn a_log_that_has_continued_at_a_later_position_has_nothing_in_between() {
        let mut bodies = Bodies::default();
        add(&mut bodies, 1, 7, 100, &[5, 6]);
        add(&mut bodies, 1, 7, 300, &[1000, 1001]);
        add(&mut bodies, 1, 8, 100, &[2000]);
        let found = [6, 7, 999, 1000, 1001, 1002, 2000].map(|index| bodies.locate(slot(1), index).unwrap_or(0));
        assert_eq!(found, [0, 0, 0, 7, 7, 0, 8]);
        assert!(!bodies.of(7).unwrap().is_replaced(slot(1), 5, 100), "it was not replaced");
    }

    #[test]
    fn a_log_that_begins_after_a_copied_state_has_nothing_from_before() {
        let mut bodies = Bodies::default();
        add(&mut bodies, 1, 7, 100, &[5, 6, 7, 8, 9]);
        add(&mut bodies, 2, 7, 700, &[1, 2]);
        let found = |bodies: &Bodies| [5, 7, 8, 9].map(|index| bodies.locate(slot(1), index).unwrap_or(0));
        assert_eq!(found(&bodies), [7; 4]);
        let before = bodies.begin_after(slot(1), 7, at(7, 900));
        bodies.check();
        assert_eq!(found(&bodies), [0; 4]);
        add(&mut bodies, 1, 7, 900, &[8]);
        assert_eq!(found(&bodies), [0, 0, 7, 0]);
        let is_replaced = |index, position| bodies.of(7).unwrap().is_replaced(slot(1), index, position);
        assert_eq!([(5, 100), (9, 500), (8, 900)].map(|(index, at)| is_replaced(index, at)), [true, true, false]);
        assert!(!bodies.of(7).unwrap().is_replaced(slot(2), 1, 700));
        assert_eq!((bodies.first_with(slot(1), 1), bodies.first_with(slot(2), 1)), (Some(7), Some(7)));
        assert_eq!(bodies.locate(slot(2), 1), Some(7));
        let mut bytes = Vec::new();
        bodies.encode_begins(&mut bytes);
        assert_eq!(decode_begins(&mut &bytes[..]), Some([(slot(1), 8)].into()));
        bodies.restore(slot(1), before);
        bodies.check();
        assert_eq!(found(&bodies), [7; 4]);
    }

    #[test]
    fn few_ends_of_reads_are_remembered() {
        let mut bodies = Bodies::default();
        let spot = |index: u64| Spot { index, term: 2, end: at(7, u32::try_from(index).unwrap() * 100) };
        for index in 1..=20 {
            bodies.remember(slot(1), spot(index));
            bodies.remember(slot(2), spot(index));
        }
        bodies.check();
        assert_eq!((bodies.spot(slot(1), 20), bodies.spot(slot(1), 1)), (Some(spot(20)), None));
        assert_eq!(bodies.spot_before(slot(1), 20, 7), Some(spot(19).end));
        assert_eq!((bodies.spot_before(slot(1), 20, 8), bodies.spot_before(slot(3), 20, 7)), (None, None));
    }
}
