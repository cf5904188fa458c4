//! What a leader serves to members that copy the group's state: the state as it was when a copy began, and the records
//! as they are in the journal.
//!
//! A member serves from its election on, before it leads: if both others need copies, it cannot commit the first body
//! of its term, and so does not begin to lead, until one of them has got its copy. Everything that it serves is
//! committed, so it needs no lease either.

use std::collections::BTreeMap;

use bytes::Bytes;
use slab::Slab;

use super::super::Step;
use super::super::action::Action;
use super::super::call::{Answer, ReplyTo};
use super::super::lookup::Lookup;
use super::Group;
use super::read::Finished;
use crate::entry::{Filed, Found, LogPosition, TopicKey, Unreadable, Wanted};
use crate::limits::{
    CHUNK_BATCHES_MAX, COPY_READS_MAX, COPY_SILENCE_US, READ_BYTES_MAX, STATE_AGAIN_US, STATE_PART_BYTES,
};
use crate::replica::Role;
use crate::types::{NodeId, Offset, TopicId};
use crate::wire::chunks::{Chunk, ChunkBatch, Chunks};
use crate::wire::field::Writer;
use crate::wire::response::{Durability, ErrorResponse, Payload};
use crate::wire::{Response, Status};

/// Bytes of a batch in an answer besides its records.
const BATCH_OVERHEAD: usize = 16;

/// A state that members are copying. While it is here, the log after it is kept.
#[derive(Debug)]
pub(super) struct Serving {
    /// Identifies it among all that this node has served: queries of the journal carry it, because their answers may
    /// come after its end.
    number: u64,
    index: u64,
    term: u32,
    topics: Bytes,
    /// When somebody asked for something last, in monotonic microseconds.
    asked_us: u64,
    /// When each member began to copy it, or asked for more of it last.
    copied_us: BTreeMap<NodeId, u64>,
    /// Who waits for records from the journal.
    reads: Slab<ReplyTo>,
}

impl Serving {
    fn chunk(&self, slot: u16, from: u64, batches: u16, payload: Bytes) -> Answer {
        let parts = if payload.is_empty() { Vec::new() } else { vec![payload] };
        let (index, term, length) = (self.index, self.term.into(), self.topics.len() as u64);
        let payload = Payload { parts, crc: None };
        Answer::Now(Response::Chunk(Box::new(Chunk { slot, index, term, length, from, batches, payload })))
    }
}

impl Group {
    /// Handles CHUNKS: a member copies the state of the group.
    pub(in crate::node) fn serve_chunk(
        &mut self,
        step: &mut Step<'_>,
        chunks: &Chunks,
        (source, reply): (NodeId, ReplyTo),
    ) -> Result<Answer, ErrorResponse> {
        let slot = self.slot();
        let is_member = step.settings.members_of(slot).any(|node| node == source);
        if step.settings.durability == Durability::Memory || !is_member {
            return Err(ErrorResponse::new(Status::BadRequest, "only a member of the group copies its state"));
        }
        if !matches!(self.member.replica.role(), Role::Leader { .. }) || self.member.replica.is_bad() {
            return Err(step.not_leader(slot));
        }
        if self.applied.index == 0 {
            return Err(ErrorResponse::new(Status::Overloaded, "nothing is applied yet"));
        }
        let Chunks { index, topic, from, .. } = *chunks;
        self.begin_serving(step, source, index);
        let Some(id) = topic else {
            let serving = self.serving()?;
            // The copy begins again if there is another state now.
            let from = if index == serving.index { from } else { 0 };
            let at = usize::try_from(from).unwrap_or(usize::MAX).min(serving.topics.len());
            let part = serving.topics.slice(at..serving.topics.len().min(at + STATE_PART_BYTES));
            return Ok(serving.chunk(slot.index(), at as u64, 0, part));
        };
        match self.extent(id) {
            Some((first, next)) if from >= first.0 && from < next.0 => {
                self.read_for_copy(step, id, Offset(from), reply)
            }
            Some((_, next)) if from >= next.0 => {
                Err(ErrorResponse::new(Status::OffsetOutOfRange, "the topic has no such records"))
            }
            _ => self.gap(id),
        }
    }

    /// Queries the journal for records that a member copies.
    fn read_for_copy(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        from: Offset,
        reply: ReplyTo,
    ) -> Result<Answer, ErrorResponse> {
        let topic = TopicKey { slot: self.slot(), id };
        let topic_name = self.topics().get(id).map(|topic| topic.name().into()).unwrap_or_default();
        let serving = self.serving.as_mut().filter(|serving| serving.reads.len() < COPY_READS_MAX);
        let serving = serving.ok_or_else(|| step.settings.waits_for_disk())?;
        let token = serving.reads.insert(reply);
        let wanted = Wanted::Batches { from, max_bytes: READ_BYTES_MAX, max_batches: CHUNK_BATCHES_MAX };
        step.stats.reads += 1;
        step.out.push(Action::Read { lookup: Lookup { topic, lead: serving.number, topic_name, wanted, token } });
        Ok(Answer::Later)
    }

    /// Handles the journal's answer to a query for a member's copy. Returns `None` if that state is not served any
    /// more: then the member asks again.
    pub(super) fn on_read_for_copy(
        &mut self,
        step: &mut Step<'_>,
        lookup: &Lookup,
        from: Offset,
        found: Result<Found, Unreadable>,
    ) -> Option<Finished> {
        let serving = self.serving.as_mut().filter(|serving| serving.number == lookup.lead)?;
        let reply = serving.reads.remove(lookup.token);
        let (slot, id) = (lookup.topic.slot.index(), lookup.topic.id);
        let answer = match found {
            Ok(Found::Batches(batches)) if batches.is_empty() => self.gap(id),
            Ok(Found::Batches(batches)) => {
                let (base, payload) = (batches[0].0.base.0, together(&batches));
                step.work.add_bytes(payload.len());
                step.work.add_entries(batches.len());
                let count = u16::try_from(batches.len()).expect("at most CHUNK_BATCHES_MAX");
                self.serving().map(|serving| serving.chunk(slot, base, count, payload))
            }
            Ok(Found::Gap(end)) => {
                self.serving().map(|serving| serving.chunk(slot, end.0.max(from.0), 0, Bytes::new()))
            }
            Ok(Found::Offset(_)) => unreachable!("records were asked for"),
            // Records that are lost here must not become a gap at the other member.
            Err(Unreadable::Lost { .. } | Unreadable::NotNow) => {
                Err(ErrorResponse::new(Status::Overloaded, "the records cannot be read now"))
            }
        };
        Some(Finished::Request(reply, answer))
    }

    /// Returns the index of the first body that a member needs which is copying the state.
    pub(in crate::node) fn pinned(&self) -> Option<u64> {
        self.serving.as_ref().map(|serving| serving.index + 1)
    }

    /// Drops the state that members were copying, if nobody has asked for anything for a while.
    pub(super) fn tick_serving(&mut self, now_us: u64) {
        self.serving.take_if(|serving| now_us.saturating_sub(serving.asked_us) >= COPY_SILENCE_US);
    }

    /// Answers that records of a topic are removed up to the first one that it has.
    fn gap(&self, id: TopicId) -> Result<Answer, ErrorResponse> {
        let first = self.extent(id).map_or(u64::MAX, |(first, _)| first.0);
        Ok(self.serving()?.chunk(self.slot().index(), first, 0, Bytes::new()))
    }

    /// Keeps the state that is being copied, or takes what is applied now as the state to be copied: if a member begins
    /// a copy, unless this state is as new, or another member is copying it.
    fn begin_serving(&mut self, step: &Step<'_>, source: NodeId, index: u64) {
        let (asked_us, applied) = (step.now.monotonic_us, self.applied.index);
        if let Some(serving) = &mut self.serving {
            let is_recent = |copied_us: u64| asked_us < copied_us.saturating_add(STATE_AGAIN_US);
            let mut others = serving.copied_us.iter().filter(|(node, _)| **node != source);
            if index > 0 || serving.index == applied || others.any(|(_, copied_us)| is_recent(*copied_us)) {
                serving.asked_us = asked_us;
                if index > 0 {
                    serving.copied_us.insert(source, asked_us);
                }
                return;
            }
        }
        let LogPosition { index, term, .. } = self.applied;
        let topics = self.image().topics.into();
        self.served += 1;
        let (number, reads, copied_us) = (self.served, Slab::new(), BTreeMap::from([(source, asked_us)]));
        self.serving = Some(Box::new(Serving { number, index, term, topics, asked_us, copied_us, reads }));
    }

    fn serving(&self) -> Result<&Serving, ErrorResponse> {
        let ended = || ErrorResponse::new(Status::Overloaded, "the journal has taken too long");
        self.serving.as_deref().ok_or_else(ended)
    }
}

/// Encodes batches as the payload of an answer.
fn together(batches: &[(Filed, Bytes)]) -> Bytes {
    let mut payload = Vec::with_capacity(batches.iter().map(|(_, records)| records.len() + BATCH_OVERHEAD).sum());
    for (filed, records) in batches {
        let batch = ChunkBatch { count: filed.count, append_us: filed.append_us, records: records.clone() };
        batch.encode(&mut Writer::new(&mut payload));
    }
    payload.into()
}
