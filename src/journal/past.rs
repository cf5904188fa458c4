//! A start, up to the checkpoint: the newest state that can be read, and where the records before it are.
//!
//! What is derived is made anew when it is lost: a checkpoint from the one before it and the log behind that, or from
//! the whole log while no segment of it was given up; an index from its segment ([`rebuild`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::books::Books;
use super::checkpoint::{self, Checkpoint, Fault};
use super::copies;
use super::disk::Disk;
use super::error::OpenError;
use super::index::{self, Directory, HEADER as INDEX_HEADER};
use super::names::{self, CheckpointId};
use super::reader::previous_end;
use super::rebuild::{self, Known};
use super::recovery::{Recovery, State};
use super::spans::Span;
use crate::record::Filed;
use crate::types::{Offset, TopicId};

/// The newest checkpoint and the one before it.
pub(super) type Checkpoints = (Option<CheckpointId>, Option<CheckpointId>);

/// Records of a topic in a segment, as an index has them.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    topic: TopicId,
    base: Offset,
    end: Offset,
    first_us: u64,
}

/// Records of a topic that a segment is known to have: behind those that lie before them, if any, up to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) topic: TopicId,
    /// The segment of those before, and the offset behind them.
    pub(super) before: Option<(u32, Offset)>,
    pub(super) end: Offset,
}

impl<D: Disk> Recovery<D> {
    /// Takes on the newest state that can be read. Which checkpoints there are from then on, and what the one that is
    /// used says of the segments.
    pub(super) fn load_checkpoint(
        &mut self,
        files: &[String],
        segments: &[u32],
        state: &mut impl State,
    ) -> Result<(Checkpoints, Option<Books>), OpenError> {
        let mut ids: Vec<CheckpointId> = files.iter().filter_map(|name| names::checkpoint_id(name)).collect();
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
                    self.mended.push(format!("{} cannot be read: what was before it is used", names::checkpoint(*id)));
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
        let decoded = checkpoint::decode(&bytes, id.index).map_err(|fault| match fault {
            Fault::Damaged(position) => OpenError::damaged(&name, position, "the checkpoint cannot be read"),
            Fault::Newer(version) => OpenError::Newer { file: name.clone(), version: Some(version) },
        })?;
        let Checkpoint { mark, image, books, version } = decoded;
        if copies::is_copies(mark.place.segment) {
            return Err(OpenError::damaged(&name, 0, "it is said to be of a segment that is no log"));
        }
        let what = "the state in it makes no sense";
        state.restore(&image, version).map_err(|error| OpenError::undecodable(error, &name, 0, what))?;
        (self.from, self.image_len) = (mark, image.len());
        Ok(books)
    }

    /// Finds the records from before the checkpoint, in `segments` of the log and in those of `copies`.
    pub(super) fn load_past(
        &mut self,
        files: &[String],
        (segments, copies): (&[u32], &[u32]),
        books: Option<Books>,
        state: &impl State,
    ) -> Result<(), OpenError> {
        let from = self.from.place.segment;
        let past = &segments[..segments.partition_point(|number| *number <= from)];
        let is_past = |number: &u32| past.binary_search(number).is_ok() || copies.binary_search(number).is_ok();
        // Written for a checkpoint that did not come about, or of a dead segment, which has gone first.
        let indexes: BTreeSet<u32> = files.iter().filter_map(|name| names::index_number(name)).collect();
        self.unneeded.extend(indexes.iter().copied().filter(|number| !is_past(number)).map(names::index));
        let (mut books, is_exact) = match books {
            Some(books) => (books, true),
            None => (self.derive_books(past, state)?, false),
        };
        for number in past.iter().chain(copies) {
            // Without a checkpoint all of it is applied again.
            let is_blank = self.from.index == 0;
            let void = if is_blank { Some(Vec::new()) } else { books.void.remove(number).filter(|_| is_exact) };
            self.add_segment(*number)?;
            self.keeper.set_void(*number, void);
            self.keeper.set_total(*number, books.totals.get(number).copied().unwrap_or(0));
        }
        let by_segment = expected(&books);
        // Of an index that has to be made anew, those before it in the log and all copies have to be there.
        if let Some(number) = by_segment.keys().find(|number| !is_past(number)) {
            return Err(OpenError::damaged(&names::segment(*number), 0, "the segment is missing"));
        }
        let mut found = BTreeMap::new();
        let order = copies.iter().chain(past).filter_map(|number| Some((*number, by_segment.get(number)?)));
        for (number, expected) in order {
            self.check_header(number)?;
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

    /// Finds the records that a segment is expected to have: where each stretch begins, and when.
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
                    // The one that the checkpoint is in will grow.
                    let topics: BTreeSet<TopicId> = expected.iter().map(|expected| expected.topic).collect();
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
            let what = "it is lost or damaged, and so are records that its segment had";
            OpenError::damaged(&names::index(number), 0, what)
        })?;
        filed.iter().for_each(|filed| self.keeper.enter(filed));
        let name = names::index(number);
        self.mended.push(format!("{name} was lost or damaged and was made anew from its segment"));
        Ok(found)
    }

    /// The batches of an index from before the checkpoint, if it can be read.
    fn filed(&self, number: u32) -> Result<Vec<Filed>, OpenError> {
        let mut filed = index::decode(number, &self.read(&names::index(number))?).unwrap_or_default();
        filed.retain(|filed| filed.place < self.from.place);
        Ok(filed)
    }

    /// What an index says; of the segment that the checkpoint is in, all batches from before it as well.
    fn stretches(&self, number: u32) -> Result<(Vec<Stretch>, Vec<Filed>), OpenError> {
        let name = names::index(number);
        let damaged = || OpenError::damaged(&name, 0, "the index cannot be read");
        if number == self.from.place.segment {
            let mut filed = index::decode(number, &self.read(&name)?).ok_or_else(damaged)?;
            filed.retain(|filed| filed.place < self.from.place);
            return Ok((runs_of(&filed), filed));
        }
        let header = self.read_part(&name, 0, INDEX_HEADER)?;
        let directory = Directory::decode(number, &header).ok_or_else(damaged)?;
        let entries = self.read_part(&name, directory.position as u64, directory.entries * index::ENTRY)?;
        let entries = directory.entries(&entries).ok_or_else(damaged)?;
        let runs = entries.chunk_by(|one, next| one.topic == next.topic && one.end == next.base);
        let stretch = |run: &[index::Entry]| {
            let (topic, base, first_us) = (run[0].topic, run[0].base, run[0].first_us);
            Stretch { topic, base, end: run[run.len() - 1].end, first_us }
        };
        Ok((runs.map(stretch).collect(), Vec::new()))
    }

    /// All batches of a segment of copies.
    fn list_copies(&self, number: u32) -> Result<Vec<Filed>, OpenError> {
        let name = names::segment(number);
        copies::list(number, &self.read(&name)?).map_err(|position| {
            OpenError::damaged(&name, position, "its index is lost or damaged, and so is a copy in it")
        })
    }

    /// What the index of a segment has to say, from the segment itself.
    fn rebuild(
        &self,
        number: u32,
        expected: &[Expected],
        segments: &[u32],
        state: &impl State,
    ) -> Result<Vec<Filed>, OpenError> {
        let topics: BTreeSet<TopicId> = expected.iter().map(|expected| expected.topic).collect();
        let (listing, damage) = self.list(number, &topics, segments, state)?;
        if let Some(damage) = damage.first() {
            let what = "its index is lost or damaged, and so is a record in it";
            return Err(OpenError::damaged(&names::segment(number), damage.start as u64, what));
        }
        let mut all = Vec::new();
        for Expected { topic, before, end } in expected {
            let (first, _) = state.kept(*topic).unwrap_or_default();
            let last_us = before.map_or(0, |(segment, end)| self.keeper.time_before(*topic, segment, end));
            let known = Known { end: *end, before: before.map(|(_, end)| end), first, last_us };
            let listed = listing.get(topic).map_or(&[][..], |listed| listed);
            let Some(mut filed) = rebuild::assign(listed, known, self.keeper.void(number)) else {
                let what = "it is lost or damaged, and its segment does not say enough to make it anew";
                return Err(OpenError::damaged(&names::index(number), 0, what));
            };
            all.append(&mut filed);
        }
        Ok(all)
    }

    fn list(
        &self,
        number: u32,
        topics: &BTreeSet<TopicId>,
        segments: &[u32],
        state: &impl State,
    ) -> Result<(rebuild::Listing, Vec<Range<usize>>), OpenError> {
        let bytes = self.read(&names::segment(number))?;
        let end = self.end_of_past(number, segments);
        Ok(rebuild::list(number, &bytes, end, topics, &|name| state.find(name)))
    }

    /// Where a segment up to the checkpoint ends, if that is known.
    pub(super) fn end_of_past(&self, number: u32, segments: &[u32]) -> Option<usize> {
        if number == self.from.place.segment {
            return Some(self.from.place.position as usize);
        }
        let next = number.checked_add(1).filter(|next| segments.binary_search(next).is_ok())?;
        previous_end(&self.disk, next).ok().flatten()
    }

    /// What the segments up to the checkpoint have, when that does not say: as their indexes have it, and where those
    /// are lost, what lies between.
    pub(super) fn derive_books(&self, past: &[u32], state: &impl State) -> Result<Books, OpenError> {
        let (mut chains, mut lost) = (BTreeMap::<TopicId, BTreeMap<u32, (Offset, Offset)>>::new(), Vec::new());
        let (mut bytes, mut totals) = (BTreeMap::<(TopicId, u32), u32>::new(), BTreeMap::<u32, u64>::new());
        for number in past {
            match self.stretches(*number) {
                Ok((stretches, _)) => {
                    for filed in self.filed(*number)? {
                        *bytes.entry((filed.topic, *number)).or_default() += filed.len;
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
        let mut topics: BTreeSet<TopicId> = state.topics().into_iter().collect();
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
                    let len = listed.iter().map(|listed| listed.filed.len).sum();
                    bytes.insert((topic, number), len);
                    *totals.entry(number).or_default() += u64::from(len);
                    chain.insert(number, (Offset(end.0.saturating_sub(count)), end));
                }
            }
        }
        let spans = |(topic, chain): (TopicId, BTreeMap<u32, (Offset, Offset)>)| {
            let span = |(number, (_, end))| (number, end, bytes.get(&(topic, number)).copied().unwrap_or(0));
            (topic, chain.into_iter().map(span).collect())
        };
        Ok(Books { spans: chains.into_iter().map(spans).collect(), void: BTreeMap::new(), totals })
    }

    /// Does the journal have all records that the state of the checkpoint has?
    fn check_kept(&self, state: &impl State) -> Result<(), OpenError> {
        for topic in state.topics() {
            let (first, next) = state.kept(topic).expect("a topic of the state");
            if self.keeper.end_of(topic).unwrap_or(first) != next {
                let name = names::segment(self.from.place.segment);
                return Err(OpenError::damaged(&name, 0, "records of the checkpoint are missing before it"));
            }
        }
        Ok(())
    }
}

/// What each segment is expected to have.
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

/// What a segment is expected to have of what it has; `None` when it lacks some of that. Copies that came to nothing
/// may lie behind others.
fn match_up(number: u32, stretches: &[Stretch], expected: &[Expected], state: &impl State) -> Option<Vec<Stretch>> {
    let mut by_topic = BTreeMap::<TopicId, Vec<Stretch>>::new();
    stretches.iter().for_each(|stretch| by_topic.entry(stretch.topic).or_default().push(*stretch));
    let found = |Expected { topic, before, end }: &Expected| {
        let (first, _) = state.kept(*topic)?;
        let is_copies = copies::is_copies(number);
        let begins = |stretch: &Stretch| match before {
            Some((_, before)) => stretch.base == *before || is_copies && stretch.base < *before,
            None => stretch.base <= first,
        };
        let ends = |stretch: &Stretch| stretch.end == *end || is_copies && stretch.end > *end;
        let stretch = by_topic.get(topic)?.iter().find(|stretch| begins(stretch) && ends(stretch))?;
        Some(Stretch { end: *end, ..*stretch })
    };
    expected.iter().map(found).collect()
}

/// Batches by topic and offset as stretches.
fn runs_of(filed: &[Filed]) -> Vec<Stretch> {
    let runs = filed.chunk_by(|one, next| one.topic == next.topic && one.end() == next.base);
    let stretch = |run: &[Filed]| {
        let (topic, base, first_us) = (run[0].topic, run[0].base, run[0].append_us);
        Stretch { topic, base, end: run[run.len() - 1].end(), first_us }
    };
    runs.map(stretch).collect()
}
