//! Applying committed entries: the only place that changes topics and that acknowledges changes.
//!
//! Entries are applied in the order of the log, by a start as well; their effect depends only on the entry and on the
//! topics when it is applied. Whoever has proposed the entries of a body is found by the body's position in the log.

use super::super::action::Action;
use super::super::call::ReplyTo;
use super::super::cost::Cost;
use super::super::{Settings, Step};
use super::Group;
use super::proposal::Proposal;
use super::runs::{Part, SmallBatch};
use crate::entry::{Batch, Entry, Filed, LogPosition, Note, Place, TopicRef};
use crate::limits::TOPICS_MAX;
use crate::topic::{Era, NewTopic, NotOpened, Opened, Stored, Topic, Verdict};
use crate::types::{Offset, Opening, SettingsChange, TopicId, TopicName};
use crate::wire::response::{Detail, Durability, ErrorResponse, OFFSET_FORGOTTEN, OpenedProducer, Published};
use crate::wire::{Response, Status};

/// What the other parts have to do once an entry has been applied.
#[derive(Debug, Default)]
pub(in crate::node) struct Applied {
    /// The answer, and whom to give it.
    pub answer: Option<(ReplyTo, Response)>,
    /// The batches of a run, and the answer to a batch of all their records.
    pub run: Option<(Vec<Part>, Result<Published, ErrorResponse>)>,
    /// The topic that was deleted.
    pub deleted: Option<TopicId>,
    /// The topic that has new records, and the offset of the first one.
    pub stored: Option<(TopicId, Offset)>,
}

impl Group {
    /// Proposes an entry for the log. It is applied once it is committed.
    pub(super) fn propose(&mut self, step: &mut Step<'_>, entry: Entry, proposal: Proposal) {
        // Whoever proposes an entry pays for applying it as well, so that one turn can apply the entries of another.
        step.work.add_applied(payload_len(&entry));
        self.proposals.push(entry, proposal);
        self.note_usage(step.budget);
    }

    /// Proposes a small batch without a producer for a topic.
    pub(super) fn propose_small(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        batch: &SmallBatch<'_>,
    ) -> Result<(), ErrorResponse> {
        let cost = Cost::of_batch(batch.payload.len());
        self.check_batch(step, cost)?;
        if self.proposals.join(id, batch, cost) {
            step.work.add_parts(1);
            step.work.add_bytes(batch.payload.len());
        } else {
            let retention = &self.catalogue.get(id).ok_or_else(|| step.settings.deleted_before(self.slot))?.retention;
            self.proposals.begin_run((id, retention), batch, cost);
            step.work.add_applied(batch.payload.len());
        }
        step.budget.note_proposed(&mut self.usage, cost);
        Ok(())
    }

    /// Begins to apply the next committed body, if there is one. Returns its entries, each with whom to answer.
    pub(in crate::node) fn begin_body(
        &mut self,
        settings: &Settings,
    ) -> Option<impl Iterator<Item = (Entry, Proposal)> + use<>> {
        if self.is_copying() {
            return None;
        }
        let body = self.tail.take(self.member.committed())?;
        let (index, term) = (body.index, body.term);
        assert_eq!(index, self.applied.index + 1, "bodies are applied in the order of the log");
        let end = Place { position: body.len(), segment: 0 }.inside(body.place.expect("what is committed is written"));
        self.applied = LogPosition { index, term, end };
        if self.member.was_elected(term) && !self.leads() {
            // This is the first body of its term, so everything from earlier terms is applied.
            self.begin_leading(settings, term.into());
            self.member.note_begun();
        }
        Some(body.into_entries())
    }

    /// Returns true if a committed body is to be applied now.
    pub(in crate::node) fn has_committed(&self) -> bool {
        self.applied.index < self.member.committed() && !self.is_copying()
    }

    /// Applies the next committed entry. Without a proposal there is nobody to answer.
    pub(in crate::node) fn apply(&mut self, step: &mut Step<'_>, entry: Entry, proposal: Option<Proposal>) -> Applied {
        let Proposal { reply, path, parts } = proposal.unwrap_or_default();
        step.work.add_applied(payload_len(&entry));
        let mut applied = Applied::default();
        let result = match entry {
            Entry::Publish(batch) => {
                let result = self.apply_publish(step, batch);
                self.digest_published(step, &result);
                if let Ok(published) = &result {
                    applied.stored = (!published.duplicate).then_some((published.topic_id, published.base));
                    step.stats.batches += parts.len().saturating_sub(1) as u64;
                }
                if !parts.is_empty() {
                    applied.run = Some((parts, result));
                    return applied;
                }
                applied.answer = reply.map(|reply| (reply, result.map_or_else(Response::from, Response::Published)));
                return applied;
            }
            Entry::Create { name, seed, epoch, retention, created_us } => {
                self.apply_create(step.settings, NewTopic { name, seed, epoch, retention, created_us }, path)
            }
            Entry::Delete { topic } => self.apply_delete(step.settings, &topic).map(|topic_id| {
                applied.deleted = Some(topic_id);
                Response::Deleted { topic_id }
            }),
            Entry::Trim { topic, first } => self.apply_trim(step, topic, first),
            Entry::Alter { topic, change } => self.apply_alter(step, &topic, &change, path),
            Entry::OpenProducer { topic, opening } => self.apply_open_producer(step.settings, &topic, opening),
            Entry::Reclock(reclock) => {
                self.catalogue.reclock(&reclock);
                return applied;
            }
            Entry::RaiseEpochs => {
                self.catalogue.raise_epochs();
                return applied;
            }
            Entry::BeginEpochs { at_us } => {
                self.begin_epoch(at_us);
                return applied;
            }
            Entry::Check { index, digest } => {
                self.compare_digest(step, index, digest);
                return applied;
            }
        };
        self.digest_outcome(step, &result);
        applied.answer = reply.map(|reply| (reply, result.unwrap_or_else(Response::from)));
        applied
    }

    /// Ends the application of a body: reports the outcomes of its entries to the journal, and what the group uses now.
    pub(in crate::node) fn end_body(&mut self, step: &mut Step<'_>) {
        self.file_notes(step);
        self.remember_digest(step);
        self.catalogue.drop_stale();
        self.note_usage(step.budget);
    }

    /// Reports to the journal what has become of records.
    pub(in crate::node) fn file_notes(&mut self, step: &mut Step<'_>) {
        if !self.notes.is_empty() {
            let notes = std::mem::take(&mut self.notes);
            planted!("journal not told of records", step.out.push(Action::File { notes }), ());
        }
    }

    /// Evicts records until all groups are within the memory limit of the node, as far as this group has enough.
    pub(in crate::node) fn evict(&mut self, step: &mut Step<'_>) {
        let excess = step.budget.excess(step.settings.memory_bytes);
        if excess > 0 {
            self.catalogue.evict(self.catalogue.cost().total().saturating_sub(excess));
            self.note_usage(step.budget);
        }
    }

    fn apply_create(&mut self, settings: &Settings, new: NewTopic, path: Vec<u16>) -> Result<Response, ErrorResponse> {
        let name = TopicName::new(&new.name).expect("checked when it was proposed");
        if let Some(topic) = self.catalogue.find(name) {
            return self.existing(settings, topic, new.retention, path);
        }
        let Some(id) = self.catalogue.insert(new).map(|topic| topic.id) else {
            let error = ErrorResponse::new(Status::Quota, "this node keeps no more topics");
            return Err(error.with(Detail::Limit(TOPICS_MAX as u64)));
        };
        let description = Box::new(self.describe(settings, self.catalogue.get(id), path));
        Ok(Response::Created { existed: false, description })
    }

    fn apply_delete(&mut self, settings: &Settings, topic: &TopicRef) -> Result<TopicId, ErrorResponse> {
        let topic_id = self.resolve(settings, topic)?;
        if !self.catalogue.remove(topic_id) {
            return Err(settings.deleted_before(self.slot));
        }
        self.file(settings, Note::Deleted { topic: self.key(topic_id) });
        Ok(topic_id)
    }

    fn apply_publish(&mut self, step: &mut Step<'_>, batch: Batch) -> Result<Published, ErrorResponse> {
        let place = batch.place;
        let result = self.store_batch(step, batch);
        if !matches!(&result, Ok(published) if !published.duplicate) {
            planted!("journal not told of void batches", self.file(step.settings, Note::Void(place)), ());
        }
        result
    }

    fn store_batch(&mut self, step: &mut Step<'_>, batch: Batch) -> Result<Published, ErrorResponse> {
        let id = self.resolve(step.settings, &batch.topic)?;
        let durability = step.settings.durability;
        let (count, crc, place) = (batch.count, batch.payload_crc, batch.place);
        let bytes = batch.payload.len() as u64;
        let era = self.catalogue.eras().newest();
        let (verdict, epoch, first, trimmed) = self
            .catalogue
            .update(id, |topic| {
                let first = topic.log.first();
                let verdict = store(topic, batch, era);
                (verdict, topic.epoch, topic.log.first(), topic.log.first().0 - first.0)
            })
            .ok_or_else(|| step.settings.deleted_before(self.slot))?;
        let published = |duplicate, base, append_us| Published {
            duplicate,
            topic_id: id,
            epoch,
            base,
            count,
            append_us,
            durability,
        };
        match verdict {
            Ok(stored) => {
                step.stats.batches += 1;
                step.stats.records += u64::from(count);
                step.stats.record_bytes += bytes;
                step.stats.trimmed += trimmed;
                let len = u32::try_from(bytes).expect("PAYLOAD_MAX");
                let (base, append_us) = (stored.base, stored.append_us);
                let topic = self.key(id);
                self.file(step.settings, Note::Stored(Filed { topic, base, count, len, crc, place, append_us }));
                planted!("each member trims by its own clock", (), self.trim_by_own_clock(step, id));
                if trimmed > 0 {
                    self.file(step.settings, Note::Trimmed { topic, first });
                }
                Ok(published(false, stored.base, stored.append_us))
            }
            Err(Verdict::Duplicate(stored)) => {
                step.stats.duplicates += 1;
                Ok(published(true, stored.base, stored.append_us))
            }
            Err(Verdict::Forgotten) => {
                step.stats.duplicates += 1;
                Ok(published(true, OFFSET_FORGOTTEN, 0))
            }
            Err(verdict) => Err(refusal(verdict)),
        }
    }

    /// Removes the records that have expired by this node's own clock. This is a planted bug: the clocks of the members
    /// differ, so their copies diverge.
    fn trim_by_own_clock(&mut self, step: &Step<'_>, id: TopicId) {
        let Some(topic) = self.catalogue.get(id).filter(|topic| topic.retention.age_ms > 0) else { return };
        let oldest_us = step.wall.now_us(step.now).saturating_sub(topic.retention.age_ms.saturating_mul(1000));
        let first = topic.log.age_cut(oldest_us, self.catalogue.eras());
        self.catalogue.update(id, |topic| topic.log.trim(first));
    }

    fn apply_trim(&mut self, step: &mut Step<'_>, topic: TopicId, first: Offset) -> Result<Response, ErrorResponse> {
        let trim = |topic: &mut Topic| {
            let before = topic.log.first();
            topic.log.trim(first);
            (before, topic.log.first(), topic.log.next())
        };
        let (before, first, next) =
            self.catalogue.update(topic, trim).ok_or_else(|| step.settings.deleted_before(self.slot))?;
        self.note_trimmed(step, topic, before, first);
        Ok(Response::Trimmed { topic_id: topic, first, next })
    }

    fn apply_alter(
        &mut self,
        step: &mut Step<'_>,
        topic: &TopicRef,
        change: &SettingsChange,
        path: Vec<u16>,
    ) -> Result<Response, ErrorResponse> {
        let id = self.resolve(step.settings, topic)?;
        let (before, first) =
            self.catalogue.alter(id, change).ok_or_else(|| step.settings.deleted_before(self.slot))?;
        self.note_trimmed(step, id, before, first);
        Ok(Response::Described(Box::new(self.describe(step.settings, self.catalogue.get(id), path))))
    }

    fn apply_open_producer(
        &mut self,
        settings: &Settings,
        topic: &TopicRef,
        opening: Opening,
    ) -> Result<Response, ErrorResponse> {
        let id = self.resolve(settings, topic)?;
        let open = |topic: &mut Topic| topic.producers.get_or_insert_default().open(opening);
        match self.catalogue.update(id, open).ok_or_else(|| settings.deleted_before(self.slot))? {
            Ok(Opened { epoch, sequence, records, forgotten }) => {
                let opened = OpenedProducer { topic_id: id, epoch, sequence, records, forgotten };
                Ok(Response::Opened(opened))
            }
            Err(not_opened) => Err(cannot_open(not_opened)),
        }
    }

    /// Counts and reports the records that were removed from the start of a topic.
    fn note_trimmed(&mut self, step: &mut Step<'_>, topic: TopicId, before: Offset, first: Offset) {
        if first > before {
            step.stats.trimmed += first.0 - before.0;
            self.file(step.settings, Note::Trimmed { topic: self.key(topic), first });
        }
    }

    /// Adds a note for the journal, if the node has one.
    pub(super) fn file(&mut self, settings: &Settings, note: Note) {
        if settings.durability != Durability::Memory {
            self.notes.push(note);
        }
    }

    /// Returns the id of the topic that an entry refers to, once all earlier entries have been applied. A topic given
    /// by id may no longer exist, which is noticed when it is changed.
    pub(super) fn resolve(&self, settings: &Settings, topic: &TopicRef) -> Result<TopicId, ErrorResponse> {
        match topic {
            TopicRef::Name(name) => self.catalogue.id_of(name).ok_or_else(|| settings.no_topic(self.slot, name)),
            TopicRef::Id(id) => Ok(*id),
        }
    }
}

fn payload_len(entry: &Entry) -> usize {
    if let Entry::Publish(batch) = entry { batch.payload.len() } else { 0 }
}

/// Appends a batch unless the producer's epoch and sequence rule it out.
fn store(topic: &mut Topic, batch: Batch, era: Era) -> Result<Stored, Verdict> {
    if let Some(sequenced) = batch.producer {
        let verdict = topic.producers.get_or_insert_default().judge(sequenced, batch.count, batch.payload_crc);
        if verdict != Verdict::Store {
            return Err(verdict);
        }
    }
    let of_batch = (batch.count, batch.payload_crc);
    topic.log.enter(era);
    let (base, append_us) = topic.log.append(batch.payload, of_batch, batch.append_us, &topic.retention);
    let stored = Stored { base, append_us, count: batch.count, payload_crc: batch.payload_crc };
    if let (Some(sequenced), Some(producers)) = (batch.producer, &mut topic.producers) {
        producers.note(sequenced, stored);
    }
    Ok(stored)
}

fn cannot_open(reason: NotOpened) -> ErrorResponse {
    match reason {
        NotOpened::Exists { records } => {
            let message = format!("the producer was opened before and has stored {records} records here");
            ErrorResponse::new(Status::ProducerExists, message)
        }
        NotOpened::NotCounted => {
            let message =
                "the producer published before it was opened, so its records are not counted; use another producer id";
            ErrorResponse::new(Status::ProducerExists, message)
        }
        NotOpened::Worn => {
            ErrorResponse::new(Status::ProducerExists, "the producer has used up all epochs; use another producer id")
        }
        NotOpened::Forgotten { forgotten } => {
            let message = format!(
                "the topic does not remember this producer; {forgotten} were forgotten, and if it is one of them, how \
                 many records it has stored is not known"
            );
            ErrorResponse::new(Status::UnknownProducer, message)
        }
    }
}

fn refusal(verdict: Verdict) -> ErrorResponse {
    match verdict {
        Verdict::Reused => ErrorResponse::new(Status::SequenceReused, "this sequence was used for another batch"),
        Verdict::Gap { expected } => {
            let message = format!("sequence {expected} is expected; send from there");
            ErrorResponse::new(Status::SequenceGap, message).with(Detail::ExpectedSequence(expected))
        }
        Verdict::Fenced => ErrorResponse::new(Status::ProducerFenced, "a newer epoch of this producer has begun"),
        Verdict::NotOpened => {
            ErrorResponse::new(Status::BadRequest, "this epoch of the producer was not opened; PRODUCER opens the next")
        }
        Verdict::Unknown => ErrorResponse::new(
            Status::UnknownProducer,
            "the topic does not remember this producer; whether it was stored is not known",
        ),
        Verdict::Store | Verdict::Duplicate(_) | Verdict::Forgotten => unreachable!("{verdict:?} is no refusal"),
    }
}
