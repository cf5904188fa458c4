//! Reads from the log in memory, and from the journal for records that are not in memory: queries in flight, queries
//! that wait, and their answers.

use std::collections::VecDeque;

use slab::Slab;

use super::super::action::Action;
use super::super::call::{Answer, ReplyTo};
use super::super::cut::{or_most, shorten, skip};
use super::super::lookup::Lookup;
use super::super::work::Work;
use super::super::{Settings, Step};
use super::Group;
use crate::entry::{Found, TopicKey, Unreadable, Wanted};
use crate::limits::{FETCH_RESERVE_LEAST, PAYLOAD_MAX, READ_AGAIN_MS, READ_BYTES_MAX, READS_MAX, READS_WAITING_MAX};
use crate::topic::{NotHeld, Topic, push_run};
use crate::types::{Epoch, NodeId, Offset, TopicId};
use crate::wire::response::{Detail, ErrorResponse, Fetched, Payload, Run};
use crate::wire::{Origin, Response, Status};

/// The reads that wait for the journal.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// By the tokens of their queries.
    reads: Slab<Read>,
    /// Number of queries in flight.
    in_flight: usize,
    /// The queries that wait for one of those to finish.
    waiting: VecDeque<Lookup>,
}

/// A read that waits for the journal.
#[derive(Debug)]
struct Read {
    /// The log start and end offsets at the time of the query. The answer refers to these: otherwise a log with a
    /// retention faster than the disk could never be read.
    extent: (Offset, Offset),
    reader: Reader,
}

/// The start of a FETCH.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) offset: Offset,
    /// True if the client asked for the earliest record, whichever that is when the read is done.
    pub(super) is_earliest: bool,
}

/// Who waits for the answer.
#[derive(Debug)]
pub(super) enum Reader {
    /// A FETCH.
    Fetch { reply: ReplyTo, from: Begin, max_bytes: u32 },
    /// A FETCH that starts at a time, with its limits on bytes and records. It is executed once the journal has found
    /// the offset for that time.
    FetchAt { reply: ReplyTo, epoch: Option<Epoch>, limits: (u32, u32) },
    /// A SUBSCRIBE of that node that starts at a time.
    SubscribeAt { reply: ReplyTo, epoch: Option<Epoch>, source: NodeId },
    /// Local readers that are behind.
    Pull(Origin),
}

/// Whom the answer of the journal concerns.
#[derive(Debug)]
pub(in crate::node) enum Finished {
    /// A request, which has this answer.
    Request(ReplyTo, Result<Answer, ErrorResponse>),
    /// A pull for local readers.
    Pull(Origin, Result<Fetched, ErrorResponse>),
}

impl Reads {
    /// Returns true if no query is in flight or waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    fn send_query(&mut self, step: &mut Step<'_>, lookup: Lookup) {
        self.in_flight += 1;
        step.stats.reads += 1;
        step.out.push(Action::Read { lookup });
    }

    /// Refuses all reads with this error.
    pub(super) fn end(self, error: &ErrorResponse) -> Vec<Finished> {
        let refuse = |read: Read| match read.reader {
            Reader::Fetch { reply, .. } | Reader::FetchAt { reply, .. } | Reader::SubscribeAt { reply, .. } => {
                Finished::Request(reply, Err(error.clone()))
            }
            Reader::Pull(origin) => Finished::Pull(origin, Err(error.clone())),
        };
        self.reads.into_iter().map(|(_, read)| refuse(read)).collect()
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.reads.len(), self.in_flight + self.waiting.len());
        assert!(self.in_flight <= READS_MAX && (self.waiting.is_empty() || self.in_flight == READS_MAX));
    }
}

impl Group {
    /// Returns the records of a topic from an offset, or queries the journal for them if they are not in memory. A
    /// limit of 0 means only the limit of one frame.
    pub(super) fn fetch_from(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        from: Begin,
        (max_bytes, max_records): (u32, u32),
        reply: ReplyTo,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.catalogue.get(id).ok_or_else(|| step.settings.deleted_before(self.slot))?;
        match read_log(step.work, topic, from.offset, max_bytes, max_records) {
            Ok(fetched) => {
                let fetched = within(fetched, max_bytes, reply)?;
                step.stats.fetches += u64::from(fetched.count > 0);
                Ok(Answer::Now(Response::Fetched(Box::new(fetched))))
            }
            Err(NotHeld) => {
                let wanted = wanted(topic, from.offset, or_most(max_bytes), or_most(max_records));
                self.seek(step, id, wanted, Reader::Fetch { reply, from, max_bytes })
            }
        }
    }

    /// Queries the journal for a request.
    pub(super) fn seek(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        wanted: Wanted,
        reader: Reader,
    ) -> Result<Answer, ErrorResponse> {
        if self.lead.as_ref().is_some_and(|lead| lead.reads.waiting.len() >= READS_WAITING_MAX) {
            return Err(step.settings.waits_for_disk());
        }
        self.ask(step, id, wanted, reader);
        Ok(Answer::Later)
    }

    /// Reads records for local readers. If too many queries wait for the disk, it does nothing, and the pull is retried
    /// after its timeout.
    pub(in crate::node) fn pull(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        from: Offset,
        max_bytes: u32,
        origin: Origin,
    ) {
        if let Some(topic) = self.catalogue.get(id)
            && self.lead.as_ref().is_some_and(|lead| lead.reads.waiting.len() < READS_WAITING_MAX)
        {
            let wanted = wanted(topic, from, max_bytes, u32::MAX);
            self.ask(step, id, wanted, Reader::Pull(origin));
        }
    }

    fn ask(&mut self, step: &mut Step<'_>, id: TopicId, wanted: Wanted, reader: Reader) {
        let (Some(topic), Some(lead)) = (self.catalogue.get(id), &mut self.lead) else { return };
        let extent = (topic.log.first(), topic.log.next());
        let token = lead.reads.reads.insert(Read { extent, reader });
        let topic_name = topic.name().into();
        let lookup = Lookup { topic: TopicKey { slot: self.slot, id }, lead: lead.number, topic_name, wanted, token };
        if lead.reads.in_flight < READS_MAX {
            lead.reads.send_query(step, lookup);
        } else {
            lead.reads.waiting.push_back(lookup);
        }
    }

    /// Handles the journal's answer to a query, and starts the next waiting query. Returns `None` if the query was that
    /// of an earlier leader.
    pub(in crate::node) fn on_read(
        &mut self,
        step: &mut Step<'_>,
        lookup: Lookup,
        found: Result<Found, Unreadable>,
    ) -> Option<Finished> {
        if let Wanted::Batches { from, .. } = lookup.wanted {
            return self.on_read_for_copy(step, &lookup, from, found);
        }
        let lead = self.lead.as_mut().filter(|lead| lead.number == lookup.lead)?;
        let Read { extent, reader } = lead.reads.reads.remove(lookup.token);
        lead.reads.in_flight -= 1;
        if let Some(next) = lead.reads.waiting.pop_front() {
            lead.reads.send_query(step, next);
        }
        if let Ok(Found::Batches(batches)) = &found {
            // The wanted records are cut out of the first and the last batch, and hashed.
            for (filed, payload) in [batches.first(), batches.last()].into_iter().flatten() {
                step.work.add_records(filed.count);
                step.work.add_bytes(payload.len());
            }
            step.work.add_entries(batches.len());
        }
        let Lookup { topic: TopicKey { id, .. }, wanted, .. } = lookup;
        Some(match reader {
            Reader::FetchAt { reply, epoch, limits } => {
                let answer = self
                    .found(step.settings, id, epoch, found)
                    .and_then(|offset| self.fetch_from(step, id, Begin { offset, is_earliest: false }, limits, reply));
                Finished::Request(reply, answer)
            }
            Reader::SubscribeAt { reply, epoch, source } => {
                let offset = self.found(step.settings, id, epoch, found);
                let answer = offset.and_then(|offset| self.subscribed(step, id, offset, source));
                Finished::Request(reply, answer.map(Answer::Now))
            }
            Reader::Pull(origin) if self.was_removed(id, &wanted, &found) => {
                let again = ErrorResponse::new(Status::Overloaded, "the records were removed before they were read");
                Finished::Pull(origin, Err(again))
            }
            Reader::Pull(origin) => Finished::Pull(origin, self.fetched(step.settings, id, &wanted, extent, found)),
            Reader::Fetch { reply, from, max_bytes } if self.was_removed(id, &wanted, &found) => {
                let Wanted::Records { max_records, .. } = wanted else { unreachable!("records were asked for") };
                let first = self.extent(id).map_or(from.offset, |(first, _)| first);
                let offset = if from.is_earliest { first } else { from.offset };
                let from = Begin { offset, ..from };
                Finished::Request(reply, self.fetch_from(step, id, from, (max_bytes, max_records), reply))
            }
            Reader::Fetch { reply, from: Begin { offset: from, .. }, max_bytes } => {
                let fetched = self.fetched(step.settings, id, &wanted, extent, found);
                let fetched = fetched.and_then(|fetched| within(fetched, max_bytes, reply));
                step.stats.fetches += u64::from(fetched.is_ok());
                let answer = |fetched| Answer::Now(Response::Fetched(Box::new(Fetched { from, ..fetched })));
                Finished::Request(reply, fetched.map(answer))
            }
        })
    }

    /// Returns true if retention removed the requested records while the query waited.
    fn was_removed(&self, id: TopicId, wanted: &Wanted, found: &Result<Found, Unreadable>) -> bool {
        let is_empty = matches!(found, Ok(Found::Batches(batches)) if batches.is_empty());
        let Wanted::Records { from, .. } = wanted else { return false };
        is_empty && self.extent(id).is_some_and(|(first, _)| *from < first)
    }

    /// Returns the offset that the journal has found for a time, for a request that expects the log to have that epoch.
    fn found(
        &self,
        settings: &Settings,
        id: TopicId,
        epoch: Option<Epoch>,
        found: Result<Found, Unreadable>,
    ) -> Result<Offset, ErrorResponse> {
        let topic = self.catalogue.get(id).ok_or_else(|| settings.deleted_before(self.slot))?;
        check_epoch(topic, epoch)?;
        match found {
            Ok(Found::Offset(offset)) => Ok(offset.clamp(topic.log.first(), topic.log.next())),
            Ok(Found::Batches(_) | Found::Gap(_)) => unreachable!("a time was asked for"),
            Err(why) => Err(unreadable(settings, why)),
        }
    }

    /// Converts the journal's answer into a FETCH response that states the log's extent at the time of the query.
    fn fetched(
        &self,
        settings: &Settings,
        id: TopicId,
        wanted: &Wanted,
        (first, next): (Offset, Offset),
        found: Result<Found, Unreadable>,
    ) -> Result<Fetched, ErrorResponse> {
        let topic = self.catalogue.get(id).ok_or_else(|| settings.deleted_before(self.slot))?;
        let found = found.map_err(|why| unreadable(settings, why))?;
        let Wanted::Records { from, max_bytes, max_records } = *wanted else { unreachable!("records were asked for") };
        let batches = match found {
            Found::Batches(batches) => batches,
            Found::Gap(end) => {
                let base = end.min(next);
                let (epoch, runs, payload) = (topic.epoch, Vec::new(), Payload::default());
                return Ok(Fetched { topic_id: id, epoch, from, base, count: 0, first, next, runs, payload });
            }
            Found::Offset(_) => unreachable!("records were asked for"),
        };
        let (base, crc) = batches
            .first()
            .map(|(filed, _)| (filed.base, filed.crc))
            .ok_or_else(|| unreadable(settings, Unreadable::Lost { next: None }))?;
        let crc = Some(crc).filter(|_| batches.len() == 1);
        let (mut count, mut runs, mut parts) = (0, Vec::new(), Vec::with_capacity(batches.len()));
        for (filed, payload) in batches {
            if !push_run(&mut runs, Run { count: filed.count, append_us: filed.append_us }) {
                break;
            }
            count = filed.count.saturating_add(count);
            parts.push(payload);
        }
        let (epoch, payload) = (topic.epoch, Payload { parts, crc });
        let fetched = Fetched { topic_id: id, epoch, from: base, base, count, first, next, runs, payload };
        // After a gap that repair has left, the first batch may start after `from`.
        let before = u32::try_from(from.0.saturating_sub(base.0)).expect("it lies in the first batch");
        let fetched = if before == 0 { Some(fetched) } else { skip(fetched, before) };
        let fetched = fetched.expect("the first batch has the record");
        // While the query waited, the journal may have stored records after the end of the log as it was then.
        let left = u32::try_from(next.0.saturating_sub(fetched.base.0)).unwrap_or(u32::MAX);
        Ok(shorten(fetched, max_bytes as usize, max_records.min(left)))
    }
}

/// Returns an error unless offsets of that epoch still refer to the same records.
pub(super) fn check_epoch(topic: &Topic, epoch: Option<Epoch>) -> Result<(), ErrorResponse> {
    let Some(epoch) = epoch.filter(|epoch| *epoch != topic.epoch) else { return Ok(()) };
    let message = "the topic lost records; offsets from its end on are new ones";
    let error = ErrorResponse::new(Status::Truncated, message);
    Err(error.with(Detail::Next(topic.lost_from(epoch))).with(Detail::Epoch(topic.epoch)))
}

/// Reads records from an offset on. A limit of 0 means only the limit of one frame.
///
/// # Errors
/// Returns [`NotHeld`] when the records are not in memory.
pub(super) fn read_log(
    work: &mut Work,
    topic: &Topic,
    from: Offset,
    max_bytes: u32,
    max_records: u32,
) -> Result<Fetched, NotHeld> {
    let read = topic.log.read(from, or_most(max_bytes).min(PAYLOAD_MAX) as usize, or_most(max_records))?;
    work.add_records(read.walked);
    work.add_entries(read.payload.parts.len());
    work.add_bytes(read.payload.len());
    Ok(Fetched {
        topic_id: topic.id,
        epoch: topic.epoch,
        from,
        base: read.base,
        count: read.count,
        first: topic.log.first(),
        next: topic.log.next(),
        runs: read.runs,
        payload: read.payload,
    })
}

/// Returns the error for records that the journal cannot read.
fn unreadable(settings: &Settings, why: Unreadable) -> ErrorResponse {
    let node = settings.name(settings.id);
    match why {
        Unreadable::Lost { next } => {
            let message = format!("the records cannot be read; the log of node {node} says why");
            let error = ErrorResponse::new(Status::Storage, message);
            next.into_iter().fold(error, |error, next| error.with(Detail::Next(next)))
        }
        Unreadable::NotNow => {
            let message = format!("node {node} is short of file descriptors or memory; nothing was lost, retry");
            settings.overloaded(message).retry_after(READ_AGAIN_MS)
        }
    }
}

/// Returns the records, unless another node asks for fewer bytes than even the first record has: it has reserved no
/// more memory than it asks for.
fn within(fetched: Fetched, max_bytes: u32, reply: ReplyTo) -> Result<Fetched, ErrorResponse> {
    let (len, most) = (fetched.payload.len(), or_most(max_bytes).max(FETCH_RESERVE_LEAST) as usize);
    match reply {
        ReplyTo::Ingress { .. } if len > most => {
            let message = "the next record is larger than the ingress has reserved memory for";
            Err(ErrorResponse::new(Status::TooLarge, message).with(Detail::Limit(len as u64)))
        }
        ReplyTo::Ingress { .. } | ReplyTo::Client(_) | ReplyTo::Nobody => Ok(fetched),
    }
}

/// Returns the query for the records from `from`, or from the log start offset if that is higher.
fn wanted(topic: &Topic, from: Offset, max_bytes: u32, max_records: u32) -> Wanted {
    Wanted::Records { from: from.max(topic.log.first()), max_bytes: max_bytes.min(READ_BYTES_MAX), max_records }
}
