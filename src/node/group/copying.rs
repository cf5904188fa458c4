//! A copy of the group's state that this node takes from the leader, because the leader no longer has the bodies that
//! this node needs next.
//!
//! ```text
//!  Output::Copy ──► the state without records, part by part ──► the records of each topic that are not here
//!                         CHUNKS ─► Chunk                             CHUNKS ─► Chunk ─► CopyTask::Keep
//!  all kept ──► Input::CopyReady ──► Output::Install ──► CopyTask::Install ──► the state replaces the present one
//! ```
//!
//! What this node has applied is the beginning of the same log. So the records that it has of a topic are those of the
//! state, and only later ones are copied. While a copy is made, nothing is applied, so that this remains true. Readers
//! do not notice: a node that needs a copy does not lead.
//!
//! The leader continues meanwhile, and its retention may remove records before they are copied. Then the copy has a gap
//! in their place, which nobody sees: the entry that has removed them comes after the state in the log, and was
//! committed before they were asked for. A member applies all entries of earlier terms before it leads, so it has
//! removed them as well.
//!
//! At most [`COPY_STEPS_MAX`] frames of a copy are in memory. All copies of a node together are limited to a rate
//! (`pace`), so that clients and heartbeats keep their timing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::super::{Settings, Step};
use super::Group;
use crate::entry::{CopiedState, CopiedTopic, CopyDone, CopyOutcome, CopyTask, Filed, LogPosition, Place, TopicKey};
use crate::limits::{CHUNK_AGAIN_US, COPY_SILENCE_US, COPY_STEPS_MAX, GAP_RECORDS_MAX, INDEX_MAX, STATE_BYTES_MAX};
use crate::replica::Input;
use crate::topic::Catalogue;
use crate::types::{NodeId, Offset, TopicId, crc32};
use crate::wire::chunks::{Chunk, ChunkBatch, Chunks};
use crate::wire::records;
use crate::wire::response::{Durability, ErrorResponse};

/// A copy that is being made.
#[derive(Debug)]
pub(super) struct Copying {
    from: NodeId,
    /// Identifies it among all copies of this node.
    number: u64,
    stage: Stage,
    /// Requests without an answer, by their numbers.
    asked: BTreeMap<u64, Asked>,
    /// The number of tasks of keeping batches that the store has not reported as done.
    keeping: usize,
    /// What is still to be asked for.
    needs: VecDeque<Need>,
    /// When this copy last made progress, in monotonic microseconds; `None` before the first tick.
    heard_us: Option<u64>,
}

/// How far a copy is.
#[derive(Debug)]
enum Stage {
    /// The state without records is being copied.
    State(Part),
    /// The records are being copied, or are all kept.
    Records(Box<State>),
    Installing(Box<Installed>),
}

/// A beginning of the state without records.
#[derive(Debug, Default)]
struct Part {
    index: u64,
    term: u64,
    /// Bytes of the whole.
    length: u64,
    bytes: Vec<u8>,
}

/// The state without records.
#[derive(Debug)]
struct State {
    index: u64,
    term: u32,
    topics: Vec<u8>,
    catalogue: Catalogue,
    kept: Vec<CopiedTopic>,
}

/// The state that the journal is installing.
#[derive(Debug)]
struct Installed {
    index: u64,
    term: u32,
    catalogue: Catalogue,
}

/// A request for a part of the state, or for records.
#[derive(Debug)]
struct Asked {
    need: Option<Need>,
    deadline_us: u64,
}

/// Records of a topic that are to be copied.
#[derive(Clone, Copy, Debug)]
struct Need {
    topic: TopicId,
    from: Offset,
    end: Offset,
    /// True if the record before `from` is here, or was copied. Otherwise the first batch may begin before `from`.
    has_before: bool,
}

/// What is wrong with a copy.
#[derive(Debug)]
struct Unusable(&'static str);

impl Copying {
    /// Returns true once everything is kept.
    fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Records(_)) && self.asked.is_empty() && self.keeping == 0 && self.needs.is_empty()
    }

    /// Returns the next request to send.
    fn next(&mut self) -> Option<(Option<Need>, u64)> {
        match &self.stage {
            Stage::State(part) => self.asked.is_empty().then_some((None, part.bytes.len() as u64)),
            Stage::Records(_) if self.asked.len() + self.keeping < COPY_STEPS_MAX => {
                let need = self.needs.pop_front()?;
                Some((Some(need), need.from.0))
            }
            Stage::Records(_) | Stage::Installing(_) => None,
        }
    }

    fn index(&self) -> u64 {
        match &self.stage {
            Stage::State(part) => part.index,
            Stage::Records(state) => state.index,
            Stage::Installing(state) => state.index,
        }
    }
}

impl Part {
    /// Adds the next bytes. If the leader has another state now, it begins with that.
    fn add(&mut self, chunk: &Chunk) -> Result<(), Unusable> {
        if chunk.index != self.index || chunk.term != self.term {
            let Chunk { index, term, length, .. } = *chunk;
            *self = Self { index, term, length, bytes: Vec::new() };
        }
        let is_possible = (1..INDEX_MAX).contains(&self.index) && self.length <= STATE_BYTES_MAX;
        if !is_possible || chunk.length != self.length {
            return Err(Unusable("its size or its index is impossible"));
        }
        // Another part answers a request that has been repeated.
        if chunk.from == self.bytes.len() as u64 {
            chunk.payload.parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        }
        if self.bytes.len() as u64 > self.length { Err(Unusable("it is longer than announced")) } else { Ok(()) }
    }

    fn is_whole(&self) -> bool {
        self.index > 0 && self.bytes.len() as u64 == self.length
    }

    fn decode(self) -> Result<State, Unusable> {
        let catalogue = Catalogue::decode_newest(&self.bytes).map_err(|_| Unusable("its topics cannot be decoded"))?;
        let mut catalogue = catalogue;
        planted!("producers missing in a copy", (), catalogue.forget_producers());
        planted!("free places of a copy in another order", (), catalogue.reverse_free_places());
        catalogue.allow_eviction();
        let kept = catalogue.scan(0, usize::MAX).map(|(_, topic)| CopiedTopic {
            id: topic.id,
            first: topic.log.first(),
            next: topic.log.next(),
        });
        let kept = kept.collect();
        let term = u32::try_from(self.term).map_err(|_| Unusable("its term is impossible"))?;
        Ok(State { index: self.index, term, topics: self.bytes, catalogue, kept })
    }
}

impl Need {
    /// Converts an answer to batches. Returns them and what is still needed after them.
    fn take(self, key: TopicKey, chunk: &Chunk) -> Result<(Vec<(Filed, Bytes)>, Self), Unusable> {
        let Self { from, end, has_before, .. } = self;
        let mut next = from;
        let mut batches = Vec::new();
        let mut add = |base: Offset, count: u32, payload: Bytes, append_us| {
            let len = u32::try_from(payload.len()).expect("a part of a frame");
            let (crc, place) = (crc32(&payload), Place::default());
            batches.push((Filed { topic: key, base, count, len, crc, place, append_us }, payload));
        };
        let begin = Offset(chunk.from);
        if begin < from && has_before || chunk.batches == 0 && begin <= from {
            return Err(Unusable("its records do not follow those before"));
        }
        if begin.min(end).0.saturating_sub(from.0) > GAP_RECORDS_MAX {
            return Err(Unusable("its gap is impossible"));
        }
        // A batch without bytes stands for records that have been removed.
        while next < begin.min(end) {
            let count = u32::try_from(begin.min(end).0 - next.0).unwrap_or(u32::MAX);
            add(next, count, Bytes::new(), 0);
            next = next.plus(count.into());
        }
        let payload = chunk.payload.parts.first().cloned().unwrap_or_default();
        let found = ChunkBatch::decode_all(&payload, chunk.batches).map_err(|_| Unusable("it cannot be decoded"))?;
        let mut base = begin;
        for ChunkBatch { count, append_us, records } in found {
            if base >= end {
                break;
            }
            if count == 0 || records::check(&records, count).is_err() {
                return Err(Unusable("its records cannot be decoded"));
            }
            let last = base.0.checked_add(count.into()).map(Offset);
            let last = last.filter(|last| *last > from && *last <= end).ok_or(Unusable("its batches do not fit"))?;
            add(base, count, records, append_us);
            (base, next) = (last, last);
        }
        Ok((batches, Self { from: next, has_before: true, ..self }))
    }
}

impl Group {
    /// Begins to copy the state of the group from its leader.
    pub(super) fn begin_copy(&mut self, settings: &Settings, from: NodeId) {
        self.copies += 1;
        self.copying = Some(Box::new(Copying {
            from,
            number: self.copies,
            stage: Stage::State(Part::default()),
            asked: BTreeMap::new(),
            keeping: 0,
            needs: VecDeque::new(),
            heard_us: None,
        }));
        if settings.durability == Durability::Memory {
            // There is no journal that could keep it.
            self.copying = None;
            self.tell_member(settings, Input::NotCopied);
        }
    }

    /// Ends the copy that is being made because this member's own copy is bad. What is being installed stays: the
    /// journal is replacing the state already.
    pub(super) fn end_copy(&mut self) {
        if !self.is_installing() {
            self.drop_copy();
        }
    }

    /// Drops the copy that is being made, if there is one.
    pub(super) fn drop_copy(&mut self) {
        if self.copying.take().is_some() {
            let slot = self.slot();
            self.member.follow_up_mut().tasks.push(CopyTask::Drop { slot });
        }
    }

    /// Returns true while a copy is made: nothing is applied then.
    pub(in crate::node) const fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    /// Returns true while the journal installs a copied state.
    fn is_installing(&self) -> bool {
        self.copying.as_ref().is_some_and(|copying| matches!(copying.stage, Stage::Installing(_)))
    }

    /// Returns true if this group has sent a request of this number to that node, and waits for its answer.
    pub(in crate::node) fn has_asked(&self, node: NodeId, number: u64) -> bool {
        self.copying.as_ref().is_some_and(|copying| copying.from == node && copying.asked.contains_key(&number))
    }

    /// Gives up a copy from which nothing was heard for too long, and asks again for what has not come.
    pub(super) fn tick_copy(&mut self, step: &mut Step<'_>) {
        let now_us = step.now.monotonic_us;
        let Some(copying) = &mut self.copying else { return };
        let heard_us = *copying.heard_us.get_or_insert(now_us);
        let is_silent = now_us.saturating_sub(heard_us) >= COPY_SILENCE_US;
        if is_silent && !matches!(copying.stage, Stage::Installing(_)) {
            return self.give_up_copy(step, &Unusable("its source is silent"));
        }
        let late = copying.asked.extract_if(.., |_, asked| asked.deadline_us <= now_us);
        copying.needs.extend(late.filter_map(|(_, asked)| asked.need));
        self.advance_copy(step);
    }

    /// Handles the answer to a request of this number.
    pub(in crate::node) fn on_chunk(&mut self, step: &mut Step<'_>, number: u64, answer: Result<Chunk, ErrorResponse>) {
        let slot = self.slot();
        let Some(copying) = &mut self.copying else { return };
        let Some(Asked { need, .. }) = copying.asked.remove(&number) else { return };
        let Ok(chunk) = answer else {
            // It is asked for again at the next tick.
            copying.needs.extend(need);
            return;
        };
        copying.heard_us = Some(step.now.monotonic_us);
        step.budget.copies.take(chunk.payload.len() as u64);
        let taken = match (&mut copying.stage, need) {
            _ if chunk.slot != slot.index() => Err(Unusable("it is of another group")),
            (Stage::State(part), None) => part.add(&chunk),
            (Stage::Records(_), Some(need)) => {
                need.take(TopicKey { slot, id: need.topic }, &chunk).map(|(batches, rest)| {
                    copying.keeping += 1;
                    if rest.from < rest.end {
                        copying.needs.push_front(rest);
                    }
                    let task = CopyTask::Keep { slot, number: copying.number, batches };
                    self.member.follow_up_mut().tasks.push(task);
                })
            }
            (Stage::State(_) | Stage::Records(_) | Stage::Installing(_), _) => Ok(()),
        };
        match taken {
            Ok(()) => self.advance_copy(step),
            Err(unusable) => self.give_up_copy(step, &unusable),
        }
    }

    /// Handles the store's report of what it has done for a copy.
    pub(in crate::node) fn on_copied(&mut self, step: &mut Step<'_>, done: CopyDone) {
        let Some(copying) = self.copying.as_mut().filter(|copying| copying.number == done.number) else { return };
        copying.heard_us = Some(step.now.monotonic_us);
        match done.outcome {
            CopyOutcome::Kept => {
                copying.keeping = copying.keeping.checked_sub(1).expect("each task is reported once");
                self.advance_copy(step);
            }
            CopyOutcome::Installed(end) => self.finish_copy(step, end),
            CopyOutcome::Failed => self.give_up_copy(step, &Unusable("the journal cannot keep it")),
        }
    }

    /// Sends the requests that are due. Once everything is here, the member decides whether it is installed.
    fn advance_copy(&mut self, step: &mut Step<'_>) {
        let (slot, now_us) = (self.slot(), step.now.monotonic_us);
        let Some(copying) = &mut self.copying else { return };
        if let Stage::State(part) = &mut copying.stage
            && part.is_whole()
        {
            match std::mem::take(part).decode() {
                Ok(state) => self.need_records(state),
                Err(unusable) => return self.give_up_copy(step, &unusable),
            }
        }
        let Some(copying) = &mut self.copying else { return };
        let mut requests = Vec::new();
        while step.budget.copies.allows(now_us)
            && let Some((need, from)) = copying.next()
        {
            let number = step.random.u64(..);
            let deadline_us = now_us.saturating_add(CHUNK_AGAIN_US);
            copying.asked.insert(number, Asked { need, deadline_us });
            let topic = need.map(|need| need.topic);
            requests.push((copying.from, number, Chunks { slot: slot.index(), index: copying.index(), topic, from }));
        }
        let state = if let Stage::Records(state) = &copying.stage { Some((state.index, state.term)) } else { None };
        let ready = state.filter(|_| copying.is_complete());
        self.member.follow_up_mut().chunks.extend(requests);
        if let Some((index, term)) = ready {
            self.tell_member(step.settings, Input::CopyReady { index, term: term.into() });
        }
    }

    /// Determines which records of a state are not here.
    fn need_records(&mut self, state: State) {
        let mut needs = VecDeque::new();
        for CopiedTopic { id, first, next } in state.kept.iter().copied() {
            let own = self.topics().get(id).map(|topic| topic.log.next()).filter(|own| *own >= first);
            let from = own.unwrap_or(first);
            if from < next {
                needs.push_back(Need { topic: id, from, end: next, has_before: own.is_some_and(|own| own > first) });
            }
        }
        let copying = self.copying.as_mut().expect("it has just got the state");
        (copying.needs, copying.stage) = (needs, Stage::Records(Box::new(state)));
    }

    /// Passes the state on to be installed.
    pub(super) fn install_copy(&mut self) {
        let (slot, void) = (self.slot(), self.tail.void());
        let copying = self.copying.as_mut().expect("the member installs a copy that is ready");
        let stage = std::mem::replace(&mut copying.stage, Stage::State(Part::default()));
        let Stage::Records(state) = stage else { unreachable!("{stage:?} is not ready") };
        let State { index, term, topics, catalogue, kept } = *state;
        let copied = CopiedState { slot, index, term, topics, kept, void };
        let task = CopyTask::Install { number: copying.number, state: Box::new(copied) };
        copying.stage = Stage::Installing(Box::new(Installed { index, term, catalogue }));
        self.member.follow_up_mut().tasks.push(task);
    }

    /// Replaces the present state with the installed one.
    fn finish_copy(&mut self, step: &mut Step<'_>, end: Place) {
        let Some(copying) = self.copying.take() else { return };
        let Stage::Installing(state) = copying.stage else { unreachable!("{copying:?} is not installed") };
        let Installed { index, term, catalogue } = *state;
        assert!(self.applied.index < index, "what is applied never goes back");
        self.catalogue = catalogue;
        self.applied = LogPosition { index, term, end };
        let unknown = self.tail.restart();
        self.member.restart(index, unknown);
        self.tell_member(step.settings, Input::Copied);
        self.note_usage(step.budget);
        step.stats.copies += 1;
        let from = step.settings.name(copying.from);
        log::info!("the topics of slot {} are copied from node {from}, up to entry {index}", self.slot().index());
    }

    fn give_up_copy(&mut self, step: &mut Step<'_>, why: &Unusable) {
        let Some(copying) = &self.copying else { return };
        let (slot, from) = (self.slot().index(), step.settings.name(copying.from));
        log::warn!("the copy of the topics of slot {slot} from node {from} is given up, and repeated later: {}", why.0);
        self.drop_copy();
        step.stats.copies_failed += 1;
        self.tell_member(step.settings, Input::NotCopied);
    }
}
