//! The first part of a start: loads the newest readable checkpoint and locates the records before it.
//!
//! Lost files are rebuilt when other files hold their content. Instead of a lost checkpoint, its predecessor is used
//! and the log is replayed from there, or the whole log is replayed if none of its segments has been removed. An index
//! is rebuilt from its segment ([`rebuild`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::books::Books;
use super::checkpoint::{self, Checkpoint, Fault};
use super::copies;
use super::disk::Disk;
use super::error::OpenError;
use super::index::{self, Directory, HEADER as INDEX_HEADER};
use super::logs::GroupLog;
use super::names::{self, CheckpointId};
use super::reader::previous_end;
use super::rebuild::{self, Known};
use super::recovery::{Membership, Recovery, State};
use super::spans::Span;
use crate::entry::{Filed, Image, Place, TopicKey};
use crate::types::Offset;

/// The newest checkpoint and its predecessor.
pub(super) type Checkpoints = (Option<CheckpointId>, Option<CheckpointId>);

/// Consecutive records of a topic in a segment, as an index lists them.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    topic: TopicKey,
    base: Offset,
    end: Offset,
    first_us: u64,
}

/// The records of a topic that the bookkeeping says a segment holds: from the end of the preceding span, if there is
/// one, up to `end` (exclusive).
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) topic: TopicKey,
    /// The segment and the end offset of the preceding span.
    pub(super) before: Option<(u32, Offset)>,
    pub(super) end: Offset,
}

impl<D: Disk> Recovery<D> {
    /// Restores the newest state that can be read. Returns the checkpoints that remain, and the bookkeeping of the one
    /// that was restored.
    pub(super) fn load_checkpoint(
        &mut self,
        segments: &[u32],
        state: &mut impl State,
    ) -> Result<(Checkpoints, Option<Books>), OpenError> {
        let mut ids: Vec<CheckpointId> = self.files.iter().filter_map(|name| names::checkpoint_id(name)).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let mut damage = None;
        for (at, id) in ids.iter().enumerate() {
            match self.try_checkpoint(*id, state) {
                Ok(books) => {
                    let older = ids.get(at + 1).copied();
                    let unneeded = ids.iter().filter(|other| *other != id && Some(**other) != older);
                    self.unneeded.extend(unneeded.map(|id| names::checkpoint(*id)));
                    return Ok(((Some(*id), older), books));
                }
                Err(error @ OpenError::Damaged { .. }) => {
                    self.mended.push(format!("{} cannot be read; an older state was used", names::checkpoint(*id)));
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let is_whole = segments.iter().zip(1..).all(|(number, expected)| *number == expected) && !segments.is_empty();
        match damage {
            Some(damage) if !is_whole => Err(damage),
            Some(_) | None => {
                self.unneeded.extend(ids.into_iter().map(names::checkpoint));
                Ok(((None, None), Some(Books::default())))
            }
        }
    }

    fn try_checkpoint(&mut self, id: CheckpointId, state: &mut impl State) -> Result<Option<Books>, OpenError> {
        let name = names::checkpoint(id);
        let bytes = self.read(&name)?;
        let decoded = checkpoint::decode(&bytes, id, self.keeper.only).map_err(|fault| match fault {
            Fault::Damaged(position) => OpenError::damaged(&name, position, "the checkpoint cannot be read"),
            Fault::Newer(version) => OpenError::Newer { file: name.clone(), version: Some(version) },
        })?;
        let Checkpoint { from, mark, images, books, version, stamp } = decoded;
        self.keeper.stamp.check(&name, stamp)?;
        if copies::is_copies(from.segment.max(mark.place.segment)) {
            return Err(OpenError::damaged(&name, 0, "it names a segment that is not part of the log"));
        }
        if images.iter().any(|image| state.membership(image.slot) == Membership::None) {
            return Err(OpenError::Misplaced { file: name, whose: "another node or cluster" });
        }
        (self.from, self.end) = (from, mark);
        self.image_len = images.iter().map(|image| image.topics.len()).sum();
        for Image { slot, applied, topics, .. } in images {
            let what = "its state cannot be decoded";
            state.restore(slot, &topics, version).map_err(|error| OpenError::undecodable(error, &name, 0, what))?;
            let log = GroupLog { applied, ..GroupLog::default() };
            self.groups.insert(slot, log);
        }
        Ok(books)
    }

    /// Locates the records that the checkpoint's state refers to, in `segments` of the log and in `copies`.
    pub(super) fn load_past(
        &mut self,
        (segments, copies): (&[u32], &[u32]),
        books: Option<Books>,
        state: &impl State,
    ) -> Result<(), OpenError> {
        let last = self.last_applied();
        let past = &segments[..segments.partition_point(|number| *number <= last)];
        let is_past = |number: &u32| past.binary_search(number).is_ok() || copies.binary_search(number).is_ok();
        // An index without a segment that the checkpoint includes was written for a checkpoint that was not completed,
        // or belongs to a dead segment that was removed first.
        let indexes: BTreeSet<u32> = self.files.iter().filter_map(|name| names::index_number(name)).collect();
        self.unneeded.extend(indexes.iter().copied().filter(|number| !is_past(number)).map(names::index));
        let (mut books, is_exact) = match books {
            Some(books) => (books, true),
            None => (self.derive_books(past, state)?, false),
        };
        for number in past.iter().chain(copies) {
            // Without a checkpoint, all entries of the segment will be applied again.
            let void = if self.is_blank() { Some(Vec::new()) } else { books.void.remove(number).filter(|_| is_exact) };
            self.add_segment(*number)?;
            self.keeper.set_void(*number, void);
            self.keeper.set_total(*number, books.totals.get(number).copied().unwrap_or(0));
            self.keeper.bodies.set(*number, books.bodies.remove(number).unwrap_or_default());
        }
        // The remaining segments have bodies, but none of them is applied.
        for (number, bodies) in std::mem::take(&mut books.bodies) {
            if segments.binary_search(&number).is_ok() {
                self.keeper.bodies.set(number, bodies);
            }
        }
        for (slot, begin) in &books.begins {
            self.keeper.bodies.set_begin(*slot, Some(*begin));
        }
        let by_segment = expected(&books);
        // All segments must exist before the first index is rebuilt: rebuilding one reads earlier segments of the log
        // and the copies.
        if let Some(number) = by_segment.keys().find(|number| !is_past(number)) {
            return Err(OpenError::damaged(&names::segment(*number), 0, "the segment is missing"));
        }
        let mut found = BTreeMap::new();
        let order = copies.iter().chain(past).filter_map(|number| Some((*number, by_segment.get(number)?)));
        for (number, expected) in order {
            self.check_header(number)?;
            self.check_stamps(number, &[])?;
            for stretch in self.load_segment(number, expected, segments, state)? {
                found.insert((stretch.topic, number, stretch.end), stretch);
            }
        }
        for (topic, spans) in books.spans {
            let (first, _) = state.kept(topic).unwrap_or_default();
            for (segment, end, bytes) in spans {
                let Stretch { base, first_us, .. } = found[&(topic, segment, end)];
                self.keeper.add_span(topic, (base, first), Span { segment, bytes, end, first_us });
            }
        }
        self.check_kept(state)
    }

    /// Locates the records that a segment is expected to hold: returns where each stretch begins, and its first append
    /// time.
    fn load_segment(
        &mut self,
        number: u32,
        expected: &[Expected],
        segments: &[u32],
        state: &impl State,
    ) -> Result<Vec<Stretch>, OpenError> {
        match self.stretches(number) {
            Ok((stretches, filed)) => {
                if let Some(found) = match_up(number, &stretches, expected, state) {
                    // The batches are kept in memory for the last segments of the checkpoint, whose indexes will grow.
                    let topics: BTreeSet<TopicKey> = expected.iter().map(|expected| expected.topic).collect();
                    let is_kept = |filed: &&Filed| topics.contains(&filed.topic);
                    filed.iter().filter(is_kept).for_each(|filed| self.keeper.enter(filed));
                    return Ok(found);
                }
            }
            Err(OpenError::Damaged { .. }) => {}
            Err(OpenError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let filed = if copies::is_copies(number) {
            self.list_copies(number)?
        } else {
            self.rebuild(number, expected, segments, state)?
        };
        let stretches: Vec<Stretch> = runs_of(&filed);
        let found = match_up(number, &stretches, expected, state).ok_or_else(|| {
            let what = "it is missing or damaged, and its segment has lost records";
            OpenError::damaged(&names::index(number), 0, what)
        })?;
        filed.iter().for_each(|filed| self.keeper.enter(filed));
        let name = names::index(number);
        self.mended.push(format!("{name} was missing or damaged and was rebuilt from its segment"));
        Ok(found)
    }

    /// Returns the batches before the checkpoint that a segment's index lists; empty when the index cannot be decoded.
    fn filed(&self, number: u32) -> Result<Vec<Filed>, OpenError> {
        let bytes = self.read(&names::index(number))?;
        let mut filed = index::decode(number, &bytes, self.keeper.only).unwrap_or_default();
        filed.retain(|filed| self.is_applied(filed));
        Ok(filed)
    }

    /// Returns the stretches that a segment's index lists. For the last segments of the checkpoint, also returns all
    /// batches that it includes; for others the list of batches is empty.
    fn stretches(&self, number: u32) -> Result<(Vec<Stretch>, Vec<Filed>), OpenError> {
        let name = names::index(number);
        let damaged = || OpenError::damaged(&name, 0, "the index cannot be read");
        if number >= self.from.segment && !copies::is_copies(number) {
            let mut filed = index::decode(number, &self.read(&name)?, self.keeper.only).ok_or_else(damaged)?;
            filed.retain(|filed| self.is_applied(filed));
            return Ok((runs_of(&filed), filed));
        }
        let header = self.read_part(&name, 0, INDEX_HEADER)?;
        let directory = Directory::decode(number, &header, self.keeper.only).ok_or_else(damaged)?;
        let entries = self.read_part(&name, directory.position as u64, directory.entries * directory.entry_len())?;
        let entries = directory.entries(&entries).ok_or_else(damaged)?;
        let runs = entries.chunk_by(|one, next| one.topic == next.topic && one.end == next.base);
        let stretch = |run: &[index::Entry]| {
            let (topic, base, first_us) = (run[0].topic, run[0].base, run[0].first_us);
            Stretch { topic, base, end: run[run.len() - 1].end, first_us }
        };
        Ok((runs.map(stretch).collect(), Vec::new()))
    }

    /// Lists all batches of a segment of copies.
    fn list_copies(&self, number: u32) -> Result<Vec<Filed>, OpenError> {
        let name = names::segment(number);
        copies::list(number, &self.read(&name)?).map_err(|position| {
            OpenError::damaged(&name, position, "its index is missing or damaged, and a copy in it cannot be read")
        })
    }

    /// Rebuilds the content of a segment's index from the segment.
    fn rebuild(
        &self,
        number: u32,
        expected: &[Expected],
        segments: &[u32],
        state: &impl State,
    ) -> Result<Vec<Filed>, OpenError> {
        let topics: BTreeSet<TopicKey> = expected.iter().map(|expected| expected.topic).collect();
        let (listing, damage) = self.list(number, &topics, segments, state)?;
        if let Some(damage) = damage.first() {
            let what = "its index is missing or damaged, and a record in it cannot be read";
            return Err(OpenError::damaged(&names::segment(number), damage.start as u64, what));
        }
        let mut all = Vec::new();
        for Expected { topic, before, end } in expected {
            let (first, _) = state.kept(*topic).unwrap_or_default();
            let last_us = before.map_or(0, |(segment, end)| self.keeper.time_before(*topic, segment, end));
            let known = Known { end: *end, before: before.map(|(_, end)| end), first, last_us };
            let listed = listing.get(topic).map_or(&[][..], |listed| listed);
            let Some(mut filed) = rebuild::assign(listed, known, self.keeper.void(number)) else {
                let what = "it is missing or damaged, and its segment does not hold enough to rebuild it";
                return Err(OpenError::damaged(&names::index(number), 0, what));
            };
            all.append(&mut filed);
        }
        Ok(all)
    }

    fn list(
        &self,
        number: u32,
        topics: &BTreeSet<TopicKey>,
        segments: &[u32],
        state: &impl State,
    ) -> Result<(rebuild::Listing, Vec<Range<usize>>), OpenError> {
        let bytes = self.read(&names::segment(number))?;
        let end = self.end_of_past(number, segments);
        let (mut listing, damage) =
            rebuild::list((number, &bytes, end), self.keeper.bodies.of(number), topics, &|slot, name| {
                state.find(slot, name)
            });
        for listed in listing.values_mut() {
            listed.retain(|listed| self.is_applied(&listed.filed));
        }
        Ok((listing, damage))
    }

    /// Returns the position where a segment up to the checkpoint ends; `None` when it is unknown.
    pub(super) fn end_of_past(&self, number: u32, segments: &[u32]) -> Option<usize> {
        if number == self.last_applied() {
            let ends = self.groups.values().map(|log| log.applied.end).chain([self.from]);
            let ends = ends.filter(|end| end.segment == number).map(|Place { position, .. }| position as usize);
            return ends.max();
        }
        let next = number.checked_add(1).filter(|next| segments.binary_search(next).is_ok())?;
        previous_end(&self.disk, next).ok().flatten()
    }

    /// Derives the bookkeeping for a checkpoint of format 1, which has none: from the indexes of the segments up to it,
    /// and for segments whose index is lost, from the gaps between the others.
    pub(super) fn derive_books(&self, past: &[u32], state: &impl State) -> Result<Books, OpenError> {
        let (mut chains, mut lost) = (BTreeMap::<TopicKey, BTreeMap<u32, (Offset, Offset)>>::new(), Vec::new());
        let (mut bytes, mut totals) = (BTreeMap::<(TopicKey, u32), u32>::new(), BTreeMap::<u32, u64>::new());
        for number in past {
            match self.stretches(*number) {
                Ok((stretches, _)) => {
                    for filed in self.filed(*number)? {
                        let sum = bytes.entry((filed.topic, *number)).or_default();
                        *sum = sum.saturating_add(filed.len);
                        *totals.entry(*number).or_default() += u64::from(filed.len);
                    }
                    for Stretch { topic, base, end, .. } in stretches {
                        if state.kept(topic).is_some_and(|(first, _)| first < end) {
                            chains.entry(topic).or_default().insert(*number, (base, end));
                        }
                    }
                }
                Err(OpenError::Damaged { .. }) => lost.push(*number),
                Err(OpenError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => lost.push(*number),
                Err(error) => return Err(error),
            }
        }
        let mut topics: BTreeSet<TopicKey> = state.topics().into_iter().collect();
        topics.retain(|topic| {
            let (first, next) = state.kept(*topic).expect("a topic of the state");
            let mut chain = chains.get(topic).into_iter().flat_map(BTreeMap::values);
            let end = chain.try_fold(first, |at, (base, end)| (*base <= at).then_some(*end));
            end != Some(next)
        });
        for number in lost.into_iter().rev().take_while(|_| !topics.is_empty()) {
            let (listing, _) = self.list(number, &topics, past, state)?;
            for (topic, listed) in listing {
                let (first, next) = state.kept(topic).expect("a topic of the state");
                let chain = chains.entry(topic).or_default();
                let end = chain.range(number..).next().map_or(next, |(_, (base, _))| *base);
                let count: u64 = listed.iter().map(|listed| u64::from(listed.filed.count)).sum();
                if end > first {
                    let len = listed.iter().fold(0, |sum: u32, listed| sum.saturating_add(listed.filed.len));
                    bytes.insert((topic, number), len);
                    *totals.entry(number).or_default() += u64::from(len);
                    chain.insert(number, (Offset(end.0.saturating_sub(count)), end));
                }
            }
        }
        let spans = |(topic, chain): (TopicKey, BTreeMap<u32, (Offset, Offset)>)| {
            let span = |(number, (_, end))| (number, end, bytes.get(&(topic, number)).copied().unwrap_or(0));
            (topic, chain.into_iter().map(span).collect())
        };
        Ok(Books {
            spans: chains.into_iter().map(spans).collect(),
            void: BTreeMap::new(),
            totals,
            bodies: BTreeMap::new(),
            begins: BTreeMap::new(),
        })
    }

    /// Checks that the journal has all records that the checkpoint's state refers to.
    fn check_kept(&self, state: &impl State) -> Result<(), OpenError> {
        for topic in state.topics() {
            let (first, next) = state.kept(topic).expect("a topic of the state");
            if self.keeper.end_of(topic).unwrap_or(first) != next {
                let name = names::segment(self.from.segment);
                return Err(OpenError::damaged(&name, 0, "records that the checkpoint refers to are missing"));
            }
        }
        Ok(())
    }
}

/// Groups the spans of the bookkeeping by segment.
pub(super) fn expected(books: &Books) -> BTreeMap<u32, Vec<Expected>> {
    let mut by_segment = BTreeMap::<u32, Vec<Expected>>::new();
    for (topic, spans) in &books.spans {
        let mut before = None;
        for (segment, end, _) in spans {
            by_segment.entry(*segment).or_default().push(Expected { topic: *topic, before, end: *end });
            before = Some((*segment, *end));
        }
    }
    by_segment
}

/// Finds, among the stretches that a segment holds, those that it is expected to hold; returns `None` when one is
/// missing. A segment of copies may hold more than expected: its copies count only once a checkpoint refers to them. A
/// segment of the log may hold earlier records as well, if the installation of a copied state has moved them to a
/// segment of copies.
fn match_up(number: u32, stretches: &[Stretch], expected: &[Expected], state: &impl State) -> Option<Vec<Stretch>> {
    let mut by_topic = BTreeMap::<TopicKey, Vec<Stretch>>::new();
    stretches.iter().for_each(|stretch| by_topic.entry(stretch.topic).or_default().push(*stretch));
    let found = |Expected { topic, before, end }: &Expected| {
        let (first, _) = state.kept(*topic)?;
        let is_copies = copies::is_copies(number);
        let begins = |stretch: &Stretch| match before {
            Some((_, before)) => stretch.base <= *before,
            None => stretch.base <= first,
        };
        let ends = |stretch: &Stretch| stretch.end == *end || is_copies && stretch.end > *end;
        let stretch = by_topic.get(topic)?.iter().find(|stretch| begins(stretch) && ends(stretch))?;
        Some(Stretch { end: *end, ..*stretch })
    };
    expected.iter().map(found).collect()
}

/// Combines batches, sorted by topic and offset, into stretches.
fn runs_of(filed: &[Filed]) -> Vec<Stretch> {
    let runs = filed.chunk_by(|one, next| one.topic == next.topic && one.end() == next.base);
    let stretch = |run: &[Filed]| {
        let (topic, base, first_us) = (run[0].topic, run[0].base, run[0].append_us);
        Stretch { topic, base, end: run[run.len() - 1].end(), first_us }
    };
    runs.map(stretch).collect()
}
