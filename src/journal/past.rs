//! A start, up to the checkpoint: the newest state that can be read, and where the records before it are.
//!
//! What is derived is made anew when it is lost: a checkpoint from the one before it and the log behind that, or from
//! the whole log while no segment of it was given up; an index from its segment ([`rebuild`]).

use std::collections::{BTreeMap, BTreeSet};

use super::books::Books;
use super::checkpoint::{self, Checkpoint, Fault};
use super::disk::Disk;
use super::error::OpenError;
use super::index::{self, Directory, HEADER as INDEX_HEADER};
use super::keeper::Span;
use super::names::{self, CheckpointId};
use super::reader::previous_end;
use super::rebuild::{self, Known};
use super::recovery::{Recovery, State};
use crate::record::{Filed, Note};
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
        let what = "the state in it makes no sense";
        state.restore(&image, version).map_err(|error| OpenError::undecodable(error, &name, 0, what))?;
        (self.from, self.image_len) = (mark, image.len());
        Ok(books)
    }

    /// Finds the records from before the checkpoint.
    pub(super) fn load_past(
        &mut self,
        files: &[String],
        segments: &[u32],
        books: Option<Books>,
        state: &impl State,
    ) -> Result<(), OpenError> {
        let from = self.from.place.segment;
        let indexes: BTreeSet<u32> = files.iter().filter_map(|name| names::index_number(name)).collect();
        // Written for a checkpoint that did not come about, or of a dead segment, which has gone first.
        let is_unneeded = |number: &u32| *number > from || segments.binary_search(number).is_err();
        self.unneeded.extend(indexes.iter().copied().filter(is_unneeded).map(names::index));
        let past = &segments[..segments.partition_point(|number| *number <= from)];
        let (mut books, is_exact) = match books {
            Some(books) => (books, true),
            None => (self.derive_books(past, state)?, false),
        };
        for number in past {
            // Without a checkpoint all of it is applied again.
            let is_blank = self.from.index == 0;
            let void = if is_blank { Some(Vec::new()) } else { books.void.remove(number).filter(|_| is_exact) };
            self.add_segment(*number)?;
            self.keeper.set_void(*number, void);
        }
        let mut by_segment = BTreeMap::<u32, BTreeMap<TopicId, Offset>>::new();
        for (topic, spans) in &books.spans {
            for (segment, end) in spans {
                by_segment.entry(*segment).or_default().insert(*topic, *end);
            }
        }
        for (number, ends) in by_segment {
            if past.binary_search(&number).is_err() {
                return Err(OpenError::damaged(&names::segment(number), 0, "the segment is missing"));
            }
            self.load_segment(number, &ends, segments, state)?;
        }
        self.check_kept(state)
    }

    /// Finds the records of a segment, each topic's up to an end that is known.
    fn load_segment(
        &mut self,
        number: u32,
        ends: &BTreeMap<TopicId, Offset>,
        segments: &[u32],
        state: &impl State,
    ) -> Result<(), OpenError> {
        self.check_header(number)?;
        let is_last = number == self.from.place.segment;
        match self.stretches(number) {
            Ok((stretches, filed)) if self.is_right(&stretches, ends, state) => {
                // The one that the checkpoint is in will grow.
                let is_kept = |filed: &Filed| ends.contains_key(&filed.topic);
                filed.into_iter().filter(is_kept).for_each(|filed| self.keeper.note(&[Note::Stored(filed)]));
                for Stretch { topic, end, first_us, .. } in stretches {
                    if !is_last && ends.contains_key(&topic) {
                        self.keeper.add_span(topic, Span { segment: number, end, first_us });
                    }
                }
                return Ok(());
            }
            Ok(_) | Err(OpenError::Damaged { .. }) => {}
            Err(OpenError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.rebuild(number, ends, segments, state)?;
        let name = names::index(number);
        self.mended.push(format!("{name} was lost or damaged and was made anew from its segment"));
        Ok(())
    }

    /// Is that what a segment is known to have, behind what the segments before it have?
    fn is_right(&self, stretches: &[Stretch], ends: &BTreeMap<TopicId, Offset>, state: &impl State) -> bool {
        let follows = |stretch: &&Stretch| {
            let Some((first, _)) = state.kept(stretch.topic) else { return false };
            self.keeper.end_of(stretch.topic).map_or(stretch.base <= first, |before| before == stretch.base)
        };
        let kept: Vec<&Stretch> = stretches.iter().filter(|stretch| ends.contains_key(&stretch.topic)).collect();
        kept.len() == ends.len()
            && kept.iter().all(|stretch| ends[&stretch.topic] == stretch.end)
            && kept.iter().all(follows)
    }

    /// What an index says; of the segment that the checkpoint is in, all batches from before it as well.
    fn stretches(&self, number: u32) -> Result<(Vec<Stretch>, Vec<Filed>), OpenError> {
        let name = names::index(number);
        let damaged = || OpenError::damaged(&name, 0, "the index cannot be read");
        let is_next = |topic: TopicId, end: Offset, next: (TopicId, Offset)| (topic, end) == next;
        if number == self.from.place.segment {
            let mut filed = index::decode(number, &self.read(&name)?).ok_or_else(damaged)?;
            filed.retain(|filed| filed.place < self.from.place);
            let runs = filed.chunk_by(|one, next| is_next(one.topic, one.end(), (next.topic, next.base)));
            let stretch = |run: &[Filed]| {
                let (topic, base, first_us) = (run[0].topic, run[0].base, run[0].append_us);
                Stretch { topic, base, end: run[run.len() - 1].end(), first_us }
            };
            return Ok((runs.map(stretch).collect(), filed));
        }
        let header = self.read_part(&name, 0, INDEX_HEADER)?;
        let directory = Directory::decode(number, &header).ok_or_else(damaged)?;
        let entries = self.read_part(&name, directory.position as u64, directory.entries * index::ENTRY)?;
        let entries = directory.entries(&entries).ok_or_else(damaged)?;
        let runs = entries.chunk_by(|one, next| is_next(one.topic, one.end, (next.topic, next.base)));
        let stretch = |run: &[index::Entry]| {
            let (topic, base, first_us) = (run[0].topic, run[0].base, run[0].first_us);
            Stretch { topic, base, end: run[run.len() - 1].end, first_us }
        };
        Ok((runs.map(stretch).collect(), Vec::new()))
    }

    /// Makes an index anew from its segment.
    fn rebuild(
        &mut self,
        number: u32,
        ends: &BTreeMap<TopicId, Offset>,
        segments: &[u32],
        state: &impl State,
    ) -> Result<(), OpenError> {
        let topics: BTreeSet<TopicId> = ends.keys().copied().collect();
        let listing = self.list(number, &topics, segments, state)?;
        for (topic, end) in ends {
            let (first, _) = state.kept(*topic).unwrap_or_default();
            let before = self.keeper.last_span(*topic);
            let last_us = before.map_or(0, |before| self.keeper.last_us(*topic, before.segment));
            let before = before.map(|before| before.end);
            let known = Known { end: *end, before, first, last_us };
            let listed = listing.get(topic).map_or(&[][..], |listed| listed);
            let Some(filed) = rebuild::assign(listed, known, self.keeper.void(number)) else {
                let what = "it is lost or damaged, and its segment does not say enough to make it anew";
                return Err(OpenError::damaged(&names::index(number), 0, what));
            };
            filed.into_iter().for_each(|filed| self.keeper.note(&[Note::Stored(filed)]));
        }
        Ok(())
    }

    fn list(
        &self,
        number: u32,
        topics: &BTreeSet<TopicId>,
        segments: &[u32],
        state: &impl State,
    ) -> Result<rebuild::Listing, OpenError> {
        let name = names::segment(number);
        let bytes = self.read(&name)?;
        let end = if number == self.from.place.segment {
            Some(self.from.place.position as usize)
        } else {
            let next = number.checked_add(1).filter(|next| segments.binary_search(next).is_ok());
            next.and_then(|next| previous_end(&self.disk, next).ok().flatten())
        };
        rebuild::list(number, &bytes, end, topics, &|name| state.find(name)).map_err(|position| {
            OpenError::damaged(&name, position, "its index is lost or damaged, and so is a record in it")
        })
    }

    /// What the segments up to the checkpoint have, when that does not say: as their indexes have it, and where those
    /// are lost, what lies between.
    fn derive_books(&self, past: &[u32], state: &impl State) -> Result<Books, OpenError> {
        let (mut chains, mut lost) = (BTreeMap::<TopicId, BTreeMap<u32, (Offset, Offset)>>::new(), Vec::new());
        for number in past {
            match self.stretches(*number) {
                Ok((stretches, _)) => {
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
            let listing = self.list(number, &topics, past, state)?;
            for (topic, listed) in listing {
                let (first, next) = state.kept(topic).expect("a topic of the state");
                let chain = chains.entry(topic).or_default();
                let end = chain.range(number..).next().map_or(next, |(_, (base, _))| *base);
                let count: u64 = listed.iter().map(|listed| u64::from(listed.filed.count)).sum();
                if end > first {
                    chain.insert(number, (Offset(end.0.saturating_sub(count)), end));
                }
            }
        }
        let spans = |chain: BTreeMap<u32, (Offset, Offset)>| {
            chain.into_iter().map(|(number, (_, end))| (number, end)).collect::<Vec<_>>()
        };
        let spans = chains.into_iter().map(|(topic, chain)| (topic, spans(chain))).collect();
        Ok(Books { spans, void: BTreeMap::new() })
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
