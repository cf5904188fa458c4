//! Reads everything that a folder holds, past any damage: determines what can be read, what cannot, and the resulting
//! state.
//!
//! The offsets of records before the checkpoint are known, so unreadable records leave a gap. The offsets of records
//! after the checkpoint follow from the entries, so lost entries make all later offsets uncertain: the entries that
//! follow are still applied, but in a new epoch of every topic.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::disk::Disk;
use super::error::OpenError;
use super::format::{HEADER, Head, Kind, Record};
use super::inspect::{IndexState, LogLoss, Report, SegmentReport};
use super::keeper::Keeper;
use super::logs::GroupLog;
use super::names;
use super::past::{Expected, expected};
use super::reader::previous_end;
use super::rebuild::{self, Known};
use super::recovery::{Recovery, State};
use super::spans::Span;
use super::walk::{End, Step, walk};
use super::writer::Mark;
use super::{books::Books, copies, index};
use crate::entry::{self, Filed, LogPosition, Place, TopicKey};
use crate::types::{NodeId, Offset, SlotId, crc32};

/// A state that can continue after lost entries.
pub trait Salvage: State {
    /// Returns the name of a topic; `None` when there is no such topic.
    fn name(&self, topic: TopicKey) -> Option<String>;

    /// Raises the epoch of every topic because entries are lost at this point of the log. The entries that follow are
    /// applied nevertheless.
    fn give_up(&mut self);

    /// Ends the reading. When entries were lost, forgets what can no longer be trusted, such as the sequences of
    /// producers.
    fn finish(&mut self);

    /// Encodes the topics of a group for a checkpoint.
    fn image(&self, slot: SlotId) -> Vec<u8>;
}

/// The result of reading a folder.
#[derive(Debug)]
pub(super) struct Salvaged<D: Disk> {
    pub(super) keeper: Keeper<D>,
    pub(super) last: Mark,
    /// The logs of the groups. All that could be read has been applied.
    pub(super) groups: BTreeMap<SlotId, GroupLog>,
    pub(super) report: Report,
}

/// Reads everything in a folder. `is_live` is true when a node may be writing to it.
///
/// # Errors
/// Returns [`OpenError`] when no checkpoint can be read and the beginning of the log has been removed, or when a file
/// cannot be opened.
pub(super) fn salvage<D: Disk>(
    disk: &D,
    node: NodeId,
    is_live: bool,
    state: &mut impl Salvage,
) -> Result<Salvaged<D>, OpenError> {
    let mut recovery = Recovery::new(disk, node)?;
    let (segments, copies) = recovery.segments();
    let (checkpoints, books) = recovery.load_checkpoint(&segments, state)?;
    let damaged_checkpoints = std::mem::take(&mut recovery.mended);
    let mut report = Report { watermark: recovery.watermark, damaged_checkpoints, ..Report::default() };
    let past = &segments[..segments.partition_point(|number| *number <= recovery.last_applied())];
    let books = match books {
        Some(books) => books,
        None => recovery.derive_books(past, state)?,
    };
    recovery.salvage_past((&segments, &copies), books, state, &mut report)?;
    recovery.keeper.begin(checkpoints, recovery.from.segment);
    let last = recovery.salvage_log(&segments, is_live, state, &mut report)?;
    state.finish();
    report.entries = last.bodies;
    for topic in state.topics() {
        let (first, next) = state.kept(topic).unwrap_or_default();
        let of = report.topics.entry(topic).or_default();
        (of.name, of.first, of.next) = (state.name(topic).unwrap_or_default(), first, next);
        // Records that were trimmed or deleted after the checkpoint are not lost.
        of.lost = since(first, std::mem::take(&mut of.lost));
        of.dropped = since(first, std::mem::take(&mut of.dropped));
    }
    report.topics.retain(|topic, _| state.kept(*topic).is_some());
    Ok(Salvaged { keeper: recovery.keeper, last, groups: recovery.groups, report })
}

impl<D: Disk> Recovery<D> {
    /// Reads the segments up to the checkpoint and the segments of copies.
    fn salvage_past(
        &mut self,
        (segments, copies): (&[u32], &[u32]),
        mut books: Books,
        state: &impl Salvage,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let past = &segments[..segments.partition_point(|number| *number <= self.last_applied())];
        for number in past.iter().chain(copies) {
            let void = if self.is_blank() { Some(Vec::new()) } else { books.void.remove(number) };
            self.add_segment(*number)?;
            self.keeper.set_void(*number, void);
            self.keeper.set_total(*number, books.totals.get(number).copied().unwrap_or(0));
            self.keeper.bodies.set(*number, books.bodies.remove(number).unwrap_or_default());
        }
        let mut by_segment = expected(&books);
        for number in past.iter().chain(copies) {
            by_segment.entry(*number).or_default();
        }
        let mut found = BTreeMap::new();
        for (number, expected) in &by_segment {
            let is_missing = past.binary_search(number).is_err() && copies.binary_search(number).is_err();
            let bytes = if is_missing { Bytes::new() } else { self.read(&names::segment(*number))? };
            self.check_stamps(*number, &bytes)?;
            let all = self.salvage_segment((*number, &bytes, is_missing), expected, segments, state, report);
            for (expected, filed) in expected.iter().zip(all) {
                let bytes: u32 = filed.iter().map(|filed| filed.len).sum();
                let (base, first_us) = filed.first().map_or_else(Default::default, |it| (it.base, it.append_us));
                found.insert((expected.topic, *number, expected.end), (base, bytes, first_us));
            }
        }
        for (topic, spans) in books.spans {
            let (first, _) = state.kept(topic).unwrap_or_default();
            for (segment, end, _) in spans {
                let (base, bytes, first_us) = found[&(topic, segment, end)];
                self.keeper.add_span(topic, (base, first), Span { segment, bytes, end, first_us });
            }
        }
        Ok(())
    }

    /// Returns the batches of each expected stretch of a segment, with placeholders for those that cannot be read.
    fn salvage_segment(
        &mut self,
        (number, bytes, is_missing): (u32, &Bytes, bool),
        expected: &[Expected],
        segments: &[u32],
        state: &impl Salvage,
        report: &mut Report,
    ) -> Vec<Vec<Filed>> {
        let is_copies = copies::is_copies(number);
        let end = if is_copies { Some(bytes.len()) } else { self.end_of_past(number, segments) };
        let mut of = SegmentReport { is_missing, ..SegmentReport::of(number, bytes, end) };
        let indexed = self.read(&names::index(number)).ok();
        let mut indexed = indexed.and_then(|bytes| index::decode(number, &bytes, self.keeper.only));
        if let Some(indexed) = &mut indexed {
            indexed.retain(|filed| is_copies || self.is_applied(filed));
        }
        let is_whole = |all: &Vec<Filed>| expected.iter().all(|expected| covers(all, expected, state));
        of.index = match &indexed {
            Some(indexed) if is_whole(indexed) => IndexState::Sound,
            None if expected.is_empty() => IndexState::None,
            Some(_) | None => IndexState::Damaged,
        };
        let all = match indexed.filter(|_| of.index == IndexState::Sound) {
            Some(indexed) => indexed,
            None if is_copies => copies::list_sound(number, bytes),
            None => self.list_past(number, (bytes, end), expected, state),
        };
        let is_sound = |filed: &Filed| {
            let at = filed.place.position as usize;
            bytes.get(at..at + filed.len as usize).is_some_and(|payload| crc32(payload) == filed.crc)
        };
        let mut found = Vec::new();
        for expected in expected {
            let (begin, end) = range_of(expected, state);
            let (filed, lost) =
                with_holes((expected.topic, number), of_range(&all, expected, state), (begin, end), is_sound);
            of.has_loss |= !lost.is_empty();
            let topic = report.topics.entry(expected.topic).or_default();
            topic.dropped.extend(dropped(&filed, &lost));
            topic.lost.extend(lost);
            found.push(filed);
        }
        // Only these indexes need to be written: those of the checkpoint's last segments will grow, and the others
        // differ from what is on disk.
        let grows = number >= self.from.segment && !is_copies;
        if grows || of.index == IndexState::Damaged || of.has_loss {
            found.iter().flatten().for_each(|filed| self.keeper.enter(filed));
        }
        report.blocks_start |= number == self.from.segment && !of.damage.is_empty();
        report.segments.insert(number, of);
        found
    }

    /// Lists the batches of a segment of the log whose index is lost, as far as their offsets are known.
    fn list_past(
        &self,
        number: u32,
        (bytes, end): (&Bytes, Option<usize>),
        expected: &[Expected],
        state: &impl Salvage,
    ) -> Vec<Filed> {
        let topics: BTreeSet<TopicKey> = expected.iter().map(|expected| expected.topic).collect();
        let (mut listing, damage) =
            rebuild::list((number, bytes, end), self.keeper.bodies.of(number), &topics, &|slot, name| {
                state.find(slot, name)
            });
        for listed in listing.values_mut() {
            listed.retain(|listed| self.is_applied(&listed.filed));
        }
        let mut all = Vec::new();
        for Expected { topic, before, end } in expected {
            let (first, _) = state.kept(*topic).unwrap_or_default();
            let last_us = before.map_or(0, |(segment, end)| self.keeper.time_before(*topic, segment, end));
            let known = Known { end: *end, before: before.map(|(_, end)| end), first, last_us };
            let listed = listing.get(topic).map_or(&[][..], |listed| listed);
            all.append(&mut rebuild::assign_beside(listed, known, self.keeper.void(number), &damage));
        }
        all
    }

    /// Reads the log after the checkpoint and applies every entry that can be read.
    fn salvage_log(
        &mut self,
        segments: &[u32],
        is_live: bool,
        state: &mut impl Salvage,
        report: &mut Report,
    ) -> Result<Mark, OpenError> {
        let mut last = Mark { place: self.from, ..self.end };
        let (mut known, mut losses) = (self.end.bodies, Vec::new());
        // Bodies up to the watermark were durable, whether anything of them can be read or not.
        let watermark = self.watermark.mark().filter(|mark| mark.place > self.end.place);
        known = known.max(watermark.map_or(0, |mark| mark.bodies));
        let (past, is_blank) = (self.last_applied(), self.is_blank());
        for number in self.from.segment..=self.last_written(segments, watermark) {
            let is_missing = segments.binary_search(&number).is_err();
            let next = number.checked_add(1).filter(|next| segments.binary_search(next).is_ok());
            let end = match next.and_then(|next| previous_end(&self.disk, next).ok().flatten()) {
                Some(end) => End::At(end),
                None => End::AtLeast(self.watermark.floor(number)),
            };
            let bytes = if is_missing { Bytes::new() } else { self.read_settled(number, end, is_live)? };
            self.check_stamps(number, &bytes)?;
            let mut of = SegmentReport::of(number, &bytes, end);
            of.is_missing = is_missing;
            if is_missing {
                losses.push((number, 0));
            } else {
                self.add_segment(number)?;
            }
            for step in walk(number, &bytes, end) {
                match step {
                    Step::Damage(range) if number > self.from.segment || range.end > self.start() => {
                        losses.push((number, range.start));
                    }
                    Step::Record(record) => {
                        let place = Place { segment: number, position: u32::try_from(record.end).expect("a size") };
                        let is_new = place > self.end.place;
                        last.place = last.place.max(place);
                        self.add_body(number, &record);
                        if record.head.kind == Kind::Begin {
                            known = known.max(record.head.index);
                        } else if record.head.kind == Kind::Entry
                            && !self.salvage_body((number, &record), is_live, (&mut last, &mut losses), state, report)
                        {
                            return Ok(last);
                        }
                        let is_body = is_new && record.head.kind == Kind::Entry;
                        last.bodies = last.bodies.saturating_add(is_body.into());
                    }
                    Step::Damage(_) => {}
                }
            }
            if number > past || is_blank {
                report.segments.insert(number, of);
            }
        }
        let range = (last.bodies.saturating_add(1), known.max(last.bodies).saturating_add(1));
        self.report_losses(&mut losses, range, state, report);
        last.bodies = last.bodies.max(known);
        Ok(last)
    }

    /// Applies a body of the log unless the state of its group includes it. When bodies of the group before this one
    /// are lost, reports that first. Returns false when the rest cannot be read because the node has just removed
    /// something.
    fn salvage_body(
        &mut self,
        (segment, record): (u32, &Record),
        is_live: bool,
        (last, losses): (&mut Mark, &mut Vec<(u32, usize)>),
        state: &mut impl Salvage,
        report: &mut Report,
    ) -> bool {
        let Head { slot, index, term, .. } = record.head;
        let LogPosition { index: applied, end, .. } = self.groups.entry(slot).or_default().applied;
        // If the state was copied from another node, bodies that were written before it may have higher indexes than
        // the last body in it.
        let is_before = Place { segment, position: u32::try_from(record.body_at).expect("a segment's size") } < end;
        if index <= applied || is_before {
            return true;
        }
        let lost = index - applied - 1;
        if lost > 0 && losses.is_empty() {
            if is_live {
                return false;
            }
            losses.push((segment, record.body_at));
        }
        let next = last.bodies.saturating_add(1);
        self.report_losses(losses, (next, next.saturating_add(lost)), state, report);
        last.bodies = last.bodies.saturating_add(lost);
        let position = u32::try_from(record.body_at).expect("a segment's size");
        match entry::decode(&record.body, Place { segment, position }) {
            Ok(entries) => self.keeper.note(&state.replay(slot, entries)),
            Err(_) => {
                let next = last.bodies.saturating_add(1);
                let lost = (next, next.saturating_add(1));
                self.report_losses(&mut vec![(segment, record.body_at)], lost, state, report);
            }
        }
        let end = Place { segment, position: u32::try_from(record.body_at + record.body.len()).expect("a size") };
        self.groups.entry(slot).or_default().applied = LogPosition { index, term, end };
        true
    }

    /// Returns the number of the last segment that the log was written to, or 0.
    fn last_written(&self, segments: &[u32], watermark: Option<Mark>) -> u32 {
        let behind = &segments[segments.partition_point(|number| *number < self.from.segment)..];
        // The last segments may have been prepared for the log but not written to yet.
        let written = |number: &&u32| {
            self.read(&names::segment(**number)).is_ok_and(|it| walk(**number, &it, None).next().is_some())
        };
        let newest = behind.iter().rev().find(written).or_else(|| behind.first()).copied();
        newest.max(watermark.map(|mark| mark.place.segment)).unwrap_or(0)
    }

    /// Reports lost bodies, from number `from` up to `to` (exclusive), and raises the epoch of every topic. When the
    /// range is empty, no body is lost, and the damage is reported only as an obstacle to a start; but where the log
    /// has several groups, it may hide the last bodies of any of them.
    fn report_losses(
        &self,
        losses: &mut Vec<(u32, usize)>,
        (from, to): (u64, u64),
        state: &mut impl Salvage,
        report: &mut Report,
    ) {
        let Some((segment, position)) = losses.first().copied() else { return };
        losses.clear();
        if from == to && self.groups.len() <= 1 {
            report.blocks_start = true;
            return;
        }
        let ends = state.topics().into_iter().filter_map(|topic| Some((state.name(topic)?, state.kept(topic)?.1)));
        let (position, ends) = (position as u64, ends.collect());
        let to = to.max(from.saturating_add(1));
        report.log_losses.push(LogLoss { segment, position, from, to, ends });
        planted!("repair keeps the epochs", state.give_up(), ());
    }

    /// Returns the bytes of a segment. While a node writes to it, a later part of the bytes may be newer than an
    /// earlier part and look damaged; then the segment is read again, up to the last record seen by the first read.
    fn read_settled(&self, number: u32, end: End, is_live: bool) -> Result<Bytes, OpenError> {
        let bytes = self.read(&names::segment(number))?;
        let is_damaged = walk(number, &bytes, end).any(|step| matches!(step, Step::Damage(_)));
        if !is_live || !is_damaged {
            return Ok(bytes);
        }
        let ends = walk(number, &bytes, end).map(|step| if let Step::Record(record) = step { record.end } else { 0 });
        self.read_part(&names::segment(number), 0, ends.max().unwrap_or(0))
    }

    fn start(&self) -> usize {
        self.from.position as usize
    }
}

/// Returns the offsets that a stretch should cover, without those that were trimmed.
fn range_of(expected: &Expected, state: &impl Salvage) -> (Offset, Offset) {
    let (first, _) = state.kept(expected.topic).unwrap_or_default();
    (expected.before.map_or(first, |(_, before)| before), expected.end)
}

/// Returns the batches in the range of a stretch.
fn of_range(all: &[Filed], expected: &Expected, state: &impl Salvage) -> Vec<Filed> {
    let (begin, end) = range_of(expected, state);
    let is_in = |filed: &&Filed| filed.topic == expected.topic && filed.end() > begin && filed.base < end;
    all.iter().filter(is_in).copied().collect()
}

/// Returns true when the batches cover the whole range of a stretch.
fn covers(all: &[Filed], expected: &Expected, state: &impl Salvage) -> bool {
    let (begin, end) = range_of(expected, state);
    let filed = of_range(all, expected, state);
    let reached = filed.iter().try_fold(begin, |at, filed| (filed.base <= at).then_some(filed.end()));
    reached.is_some_and(|reached| reached >= end)
}

/// Returns the readable batches with placeholders for the unreadable records between them, and the ranges of the
/// unreadable records.
fn with_holes(
    (topic, segment): (TopicKey, u32),
    filed: Vec<Filed>,
    (begin, end): (Offset, Offset),
    is_sound: impl Fn(&Filed) -> bool,
) -> (Vec<Filed>, Vec<(Offset, Offset)>) {
    let (mut whole, mut lost, mut at, mut last_us) = (Vec::new(), Vec::<(Offset, Offset)>::new(), begin, 0);
    let mut hole = |whole: &mut Vec<Filed>, from: Offset, to: Offset, append_us: u64| {
        if from >= to {
            return;
        }
        match lost.last_mut().filter(|(_, end)| *end == from) {
            Some((_, end)) => *end = to,
            None => lost.push((from, to)),
        }
        let place = Place { segment, position: u32::try_from(HEADER).expect("small") };
        let mut base = from;
        while base < to {
            let count = u32::try_from(to.0 - base.0).unwrap_or(u32::MAX);
            whole.push(Filed { topic, base, count, len: 0, crc: 0, place, append_us });
            base = base.plus(count.into());
        }
    };
    for filed in filed {
        if filed.end() <= begin || filed.len > 0 && !is_sound(&filed) || filed.base < at && at != begin {
            continue;
        }
        hole(&mut whole, at, filed.base, last_us.max(1));
        (at, last_us) = (filed.end(), filed.append_us);
        whole.push(filed);
    }
    hole(&mut whole, at, end, last_us.max(1));
    (whole, lost)
}

/// Returns the ranges that placeholders cover, other than those in `lost`: an earlier repair left them.
fn dropped(filed: &[Filed], lost: &[(Offset, Offset)]) -> Vec<(Offset, Offset)> {
    let is_lost = |filed: &Filed| lost.iter().any(|(from, to)| *from <= filed.base && filed.end() <= *to);
    let placeholders = filed.iter().filter(|filed| filed.len == 0 && !is_lost(filed));
    placeholders.map(|filed| (filed.base, filed.end())).collect()
}

/// Sorts ranges of offsets, joins adjacent ones, and cuts off the offsets below `first`.
fn since(first: Offset, mut ranges: Vec<(Offset, Offset)>) -> Vec<(Offset, Offset)> {
    ranges.sort_unstable();
    let mut joined = Vec::<(Offset, Offset)>::new();
    for (from, to) in ranges.into_iter().map(|(from, to)| (from.max(first), to)).filter(|(from, to)| from < to) {
        match joined.last_mut().filter(|(_, end)| *end == from) {
            Some((_, end)) => *end = to,
            None => joined.push((from, to)),
        }
    }
    joined
}
