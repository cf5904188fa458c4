//! Proposing and applying entries: the only place that changes topics and that acknowledges changes.
//!
//! A proposal is an entry waiting to be committed and a note of whom to answer. Entries are committed in the order in
//! which they were proposed; their effect depends only on the entry and on the topics when it is applied.

use std::collections::VecDeque;

use super::action::Action;
use super::forward::ReplyTo;
use super::{Parts, Settings, Step};
use crate::limits::TOPICS_MAX;
use crate::record::{Batch, Entry, Filed, Note, TopicRef};
use crate::topic::{
    Era, NewTopic, NotOpened, Opened, PRODUCER_COST_MAX, Stored, Topic, Verdict, chunk_cost, topic_cost,
};
use crate::types::{Offset, Opening, SettingsChange, TopicId, TopicName};
use crate::wire::response::{Detail, Durability, ErrorResponse, OFFSET_FORGOTTEN, OpenedProducer, Published};
use crate::wire::{Response, Status};

/// Whom to answer when an entry has been applied.
#[derive(Debug)]
pub(super) enum Proposal {
    Create {
        reply: ReplyTo,
        path: Vec<u16>,
    },
    Delete {
        reply: ReplyTo,
    },
    Publish {
        reply: ReplyTo,
    },
    /// Retention by age removes records; no one waits for an answer.
    Trim,
    TrimAsked {
        reply: ReplyTo,
    },
    Alter {
        reply: ReplyTo,
        path: Vec<u16>,
    },
    OpenProducer {
        reply: ReplyTo,
    },
    Reclock,
}

/// The most memory in bytes that an entry takes until it has been committed, or will take once it has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Memory of records, which eviction can free once the journal has them.
    pub(super) records: u64,
    /// Memory of what is remembered about producers.
    pub(super) producers: u64,
    /// Memory of a new topic.
    pub(super) topics: u64,
    /// Memory of the entry and its proposal. It does not count towards the node's memory limit, only towards
    /// `PROPOSALS_BYTES_MAX`, because it is free again after the commit.
    pub(super) entry: u64,
}

/// Memory of an entry beside its name and its records, and of its proposal with the longest path.
const ENTRY_COST: usize = 512;
const _: () = assert!(size_of::<Entry>() + size_of::<(Proposal, Cost)>() + 160 <= ENTRY_COST);

impl Cost {
    /// Returns the cost of an entry.
    pub(super) fn of(entry: &Entry) -> Self {
        let name_len = |topic: &TopicRef| if let TopicRef::Name(name) = topic { name.len() } else { 0 };
        let (name_len, records, producers, topics) = match entry {
            Entry::Publish(Batch { topic, payload, producer, .. }) => {
                let producers = if producer.is_some() { PRODUCER_COST_MAX } else { 0 };
                (name_len(topic), chunk_cost(payload.len()), producers, 0)
            }
            Entry::OpenProducer { topic, .. } => (name_len(topic), 0, PRODUCER_COST_MAX, 0),
            Entry::Create { name, .. } => (name.len(), 0, 0, topic_cost(name.len())),
            Entry::Delete { topic } | Entry::Alter { topic, .. } => (name_len(topic), 0, 0, 0),
            Entry::Trim { .. } | Entry::Refused | Entry::RaiseEpochs | Entry::Reclock(_) => (0, 0, 0, 0),
        };
        Self { records, producers, topics, entry: (ENTRY_COST + name_len) as u64 }
    }

    /// Returns the part that counts towards the node's memory limit.
    pub(super) const fn lasting(self) -> u64 {
        self.records + self.fixed()
    }

    /// Returns the part of it that eviction can never free.
    pub(super) const fn fixed(self) -> u64 {
        self.producers + self.topics
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            producers: self.producers + other.producers,
            topics: self.topics + other.topics,
            entry: self.entry + other.entry,
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            records: self.records - other.records,
            producers: self.producers - other.producers,
            topics: self.topics - other.topics,
            entry: self.entry - other.entry,
        }
    }
}

/// The uncommitted proposals, oldest first.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    queue: VecDeque<(Proposal, Cost)>,
    cost: Cost,
    batches: usize,
    creates: usize,
}

impl Proposals {
    /// Returns the number of uncommitted proposals.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns what they cost together.
    pub(super) const fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns the number of topics that they will create.
    pub(super) const fn creates(&self) -> usize {
        self.creates
    }

    /// Returns true while any of them is not a batch. Until it has been applied, nobody knows what a request that comes
    /// after it will find.
    pub(super) fn has_changes(&self) -> bool {
        self.queue.len() > self.batches
    }

    fn push(&mut self, proposal: Proposal, cost: Cost) {
        self.batches += usize::from(matches!(proposal, Proposal::Publish { .. }));
        self.creates += usize::from(matches!(proposal, Proposal::Create { .. }));
        self.cost = self.cost.plus(cost);
        self.queue.push_back((proposal, cost));
    }

    fn pop(&mut self) -> Option<Proposal> {
        let (proposal, cost) = self.queue.pop_front()?;
        self.batches -= usize::from(matches!(proposal, Proposal::Publish { .. }));
        self.creates -= usize::from(matches!(proposal, Proposal::Create { .. }));
        self.cost = self.cost.minus(cost);
        Some(proposal)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let total = self.queue.iter().fold(Cost::default(), |sum, (_, cost)| sum.plus(*cost));
        assert_eq!(self.cost, total);
        let count = |is_of: fn(&Proposal) -> bool| self.queue.iter().filter(|(proposal, _)| is_of(proposal)).count();
        assert_eq!(self.batches, count(|proposal| matches!(proposal, Proposal::Publish { .. })));
        assert_eq!(self.creates, count(|proposal| matches!(proposal, Proposal::Create { .. })));
    }
}

impl Parts {
    pub(super) fn propose(&mut self, step: &mut Step<'_>, entry: Entry, proposal: Proposal) {
        self.proposals.push(proposal, Cost::of(&entry));
        step.out.push(Action::Append { entry });
    }

    pub(super) fn on_synced(&mut self, step: &mut Step<'_>, entries: &mut Vec<Entry>) {
        // Batches of a topic that are committed together are pushed together.
        let mut news: Vec<(TopicId, Offset)> = Vec::new();
        let is_read = !self.feeds.is_empty() || self.subscriptions.len() > 0;
        for entry in entries.drain(..) {
            let proposal = self.proposals.pop().expect("only what was proposed is committed");
            match (entry, proposal) {
                (Entry::Create { name, seed, epoch, retention, created_us }, Proposal::Create { reply, path }) => {
                    let new = NewTopic { name, seed, epoch, retention, created_us };
                    let result = self.apply_create(step, new, path);
                    self.tell_proposer(step, reply, result);
                }
                (Entry::Delete { topic }, Proposal::Delete { reply }) => {
                    let result = self.apply_delete(step, &topic);
                    let deleted = if let Ok(Response::Deleted { topic_id }) = &result { Some(*topic_id) } else { None };
                    self.tell_proposer(step, reply, result);
                    if let Some(topic_id) = deleted {
                        self.publish_end(step, topic_id);
                    }
                }
                (Entry::Publish(batch), Proposal::Publish { reply }) => match self.apply_publish(step, batch) {
                    Ok(published) => {
                        if is_read && !published.duplicate {
                            news.push((published.topic_id, published.base));
                        }
                        self.reply(step, reply, Response::Published(published));
                    }
                    Err(error) => self.reply(step, reply, error.into()),
                },
                (Entry::Refused, proposal) => self.on_refused(step, proposal),
                (Entry::Trim { topic, first }, Proposal::Trim) => drop(self.apply_trim(step, topic, first)),
                (Entry::Trim { topic, first }, Proposal::TrimAsked { reply }) => {
                    let result = self.apply_trim(step, topic, first);
                    self.tell_proposer(step, reply, result);
                }
                (Entry::Alter { topic, change }, Proposal::Alter { reply, path }) => {
                    let result = self.apply_alter(step, &topic, &change, path);
                    self.tell_proposer(step, reply, result);
                }
                (Entry::OpenProducer { topic, opening }, Proposal::OpenProducer { reply }) => {
                    let result = self.apply_open_producer(step, &topic, opening);
                    self.tell_proposer(step, reply, result);
                }
                (Entry::Reclock(reclock), Proposal::Reclock) => self.catalogue.reclock(&reclock),
                (entry, proposal) => unreachable!("{entry:?} came back for {proposal:?}"),
            }
        }
        if !self.notes.is_empty() {
            step.out.push(Action::File { notes: std::mem::take(&mut self.notes) });
        }
        news.sort_unstable();
        news.dedup_by_key(|(topic, _)| *topic);
        for (topic, from) in news {
            self.publish_news(step, topic, from);
        }
        self.evict(step);
    }

    /// Tells whoever asked for a change that the journal had no space for it.
    fn on_refused(&mut self, step: &mut Step<'_>, proposal: Proposal) {
        match proposal {
            Proposal::Create { reply, .. }
            | Proposal::Delete { reply }
            | Proposal::Publish { reply }
            | Proposal::TrimAsked { reply }
            | Proposal::Alter { reply, .. }
            | Proposal::OpenProducer { reply } => self.reply(step, reply, step.settings.no_space().into()),
            // The next look at the topic's age proposes it again.
            Proposal::Trim => {}
            Proposal::Reclock => unreachable!("a jump of the clock is never refused"),
        }
    }

    /// Evicts records until the node is within its memory limit, as far as that is possible.
    pub(super) fn evict(&mut self, step: &Step<'_>) {
        let proposed = self.proposals.cost().lasting();
        self.catalogue.evict(step.settings.memory_bytes.saturating_sub(proposed));
    }

    fn tell_proposer(&mut self, step: &mut Step<'_>, reply: ReplyTo, result: Result<Response, ErrorResponse>) {
        self.reply(step, reply, result.unwrap_or_else(Response::from));
    }

    pub(super) fn apply_create(
        &mut self,
        step: &Step<'_>,
        new: NewTopic,
        path: Vec<u16>,
    ) -> Result<Response, ErrorResponse> {
        let name = TopicName::new(&new.name).expect("checked when it was proposed");
        if let Some(topic) = self.catalogue.find(name) {
            return self.existing(step, topic, new.retention, path);
        }
        let Some(id) = self.catalogue.insert(new).map(|topic| topic.id) else {
            let error = ErrorResponse::new(Status::Quota, "this node keeps no more topics");
            return Err(error.with(Detail::Limit(TOPICS_MAX as u64)));
        };
        let description = Box::new(self.describe(step, self.catalogue.get(id), path));
        Ok(Response::Created { existed: false, description })
    }

    pub(super) fn apply_delete(&mut self, step: &Step<'_>, topic: &TopicRef) -> Result<Response, ErrorResponse> {
        let topic_id = self.resolve(step.settings, topic)?;
        if !self.catalogue.remove(topic_id) {
            return Err(step.settings.deleted_before());
        }
        self.file(step, Note::Deleted { topic: topic_id });
        Ok(Response::Deleted { topic_id })
    }

    pub(super) fn apply_publish(&mut self, step: &mut Step<'_>, batch: Batch) -> Result<Published, ErrorResponse> {
        let place = batch.place;
        let result = self.store_batch(step, batch);
        if !matches!(&result, Ok(published) if !published.duplicate) {
            self.file(step, Note::Void(place));
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
            .ok_or_else(|| step.settings.deleted_before())?;
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
                self.file(step, Note::Stored(Filed { topic: id, base, count, len, crc, place, append_us }));
                if trimmed > 0 {
                    self.file(step, Note::Trimmed { topic: id, first });
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

    pub(super) fn apply_trim(
        &mut self,
        step: &mut Step<'_>,
        topic: TopicId,
        first: Offset,
    ) -> Result<Response, ErrorResponse> {
        let trim = |topic: &mut Topic| {
            let before = topic.log.first();
            topic.log.trim(first);
            (before, topic.log.first(), topic.log.next())
        };
        let (before, first, next) = self.catalogue.update(topic, trim).ok_or_else(|| step.settings.deleted_before())?;
        self.note_trimmed(step, topic, before, first);
        Ok(Response::Trimmed { topic_id: topic, first, next })
    }

    pub(super) fn apply_alter(
        &mut self,
        step: &mut Step<'_>,
        topic: &TopicRef,
        change: &SettingsChange,
        path: Vec<u16>,
    ) -> Result<Response, ErrorResponse> {
        let id = self.resolve(step.settings, topic)?;
        let (before, first) = self.catalogue.alter(id, change).ok_or_else(|| step.settings.deleted_before())?;
        self.note_trimmed(step, id, before, first);
        Ok(Response::Described(Box::new(self.describe(step, self.catalogue.get(id), path))))
    }

    pub(super) fn apply_open_producer(
        &mut self,
        step: &Step<'_>,
        topic: &TopicRef,
        opening: Opening,
    ) -> Result<Response, ErrorResponse> {
        let id = self.resolve(step.settings, topic)?;
        let open = |topic: &mut Topic| topic.producers.get_or_insert_default().open(opening);
        match self.catalogue.update(id, open).ok_or_else(|| step.settings.deleted_before())? {
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
            self.file(step, Note::Trimmed { topic, first });
        }
    }

    /// Adds a note for the journal, if the node has one.
    fn file(&mut self, step: &Step<'_>, note: Note) {
        if step.settings.durability != Durability::Memory {
            self.notes.push(note);
        }
    }

    /// Returns the id of the topic that an entry refers to, once all earlier entries have been applied. A topic given
    /// by id may no longer exist, which is noticed when it is changed.
    pub(super) fn resolve(&self, settings: &Settings, topic: &TopicRef) -> Result<TopicId, ErrorResponse> {
        match topic {
            TopicRef::Name(name) => self.catalogue.id_of(name).ok_or_else(|| settings.unknown_topic(name)),
            TopicRef::Id(id) => Ok(*id),
        }
    }
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
            let message = "the producer has published without being opened, so that its records are not counted";
            ErrorResponse::new(Status::ProducerExists, message)
        }
        NotOpened::Worn => ErrorResponse::new(Status::ProducerExists, "the producer has had all epochs that there are"),
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
