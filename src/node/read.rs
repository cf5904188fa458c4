//! Reads from the journal, for records that are not in memory: queries in flight, queries that wait, and their answers.

use std::collections::VecDeque;

use super::action::Action;
use super::fetch::{or_most, read, shorten, skip};
use super::forward::ReplyTo;
use super::serve::{Answer, decode};
use super::{Parts, Step};
use crate::limits::{FETCH_RESERVE_LEAST, READ_AGAIN_MS, READ_BYTES_MAX, READS_MAX, READS_WAITING_MAX};
use crate::record::{Found, Unreadable, Wanted};
use crate::topic::{NotHeld, Topic, push_run};
use crate::types::{NodeId, Offset, TopicId};
use crate::wire::frame::Kept;
use crate::wire::request::{Fetch, Start, Subscribe};
use crate::wire::response::{Detail, ErrorResponse, Fetched, Payload, Run};
use crate::wire::{Opcode, Origin, Request, Response, Status};

/// A query to the journal, and who waits for its answer.
#[derive(Debug)]
pub struct Lookup {
    /// The topic's id.
    pub topic: TopicId,
    /// The name of the topic, for the log.
    pub topic_name: Box<str>,
    /// What to read.
    pub wanted: Wanted,
    /// The log start and end offsets at the time of the query. The answer refers to these: otherwise a log with a
    /// retention faster than the disk could never be read.
    extent: (Offset, Offset),
    reader: Reader,
}

/// The number of queries in flight, and the queries that wait for one of these to finish.
#[derive(Debug, Default)]
pub(super) struct Reads {
    in_flight: usize,
    waiting: VecDeque<Lookup>,
}

impl Reads {
    /// Returns true if no query is in flight or waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_empty()
    }
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
enum Reader {
    /// A FETCH.
    Fetch { reply: ReplyTo, from: Begin, max_bytes: u32 },
    /// A FETCH or SUBSCRIBE that starts at a time. It is executed once the journal has found the offset for that time.
    Start { frame: Kept, reply: ReplyTo, source: NodeId },
    /// Local readers that are behind.
    Pull(Origin),
}

impl Parts {
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
        let topic = self.catalogue.get(id).ok_or_else(|| step.settings.deleted_before())?;
        match read(&mut step.work, topic, from.offset, max_bytes, max_records) {
            Ok(fetched) => {
                let fetched = within(fetched, max_bytes, reply)?;
                step.stats.fetches += u64::from(fetched.count > 0);
                Ok(Answer::Now(Response::Fetched(Box::new(fetched))))
            }
            Err(NotHeld) => {
                let wanted = wanted(topic, from.offset, or_most(max_bytes), or_most(max_records));
                self.look_up(step, lookup(topic, wanted, Reader::Fetch { reply, from, max_bytes }))
            }
        }
    }

    /// Executes a request that starts at a time once the journal has found the offset for that time.
    pub(super) fn start_later(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        wanted: Wanted,
        (frame, reply, source): (Kept, ReplyTo, NodeId),
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.catalogue.get(id).ok_or_else(|| step.settings.deleted_before())?;
        let reader = Reader::Start { frame, reply, source };
        self.look_up(step, lookup(topic, wanted, reader))
    }

    /// Reads records for local readers. If too many queries wait for the disk, it does nothing, and the pull is retried
    /// after its timeout.
    pub(super) fn pull_here(&mut self, step: &mut Step<'_>, id: TopicId, from: Offset, max_bytes: u32, origin: Origin) {
        let Some(topic) = self.catalogue.get(id) else { return };
        let lookup = lookup(topic, wanted(topic, from, max_bytes, u32::MAX), Reader::Pull(origin));
        if self.reads.waiting.len() < READS_WAITING_MAX {
            self.ask(step, lookup);
        }
    }

    fn look_up(&mut self, step: &mut Step<'_>, lookup: Lookup) -> Result<Answer, ErrorResponse> {
        if self.reads.waiting.len() >= READS_WAITING_MAX {
            return Err(step.settings.waits_for_disk());
        }
        self.ask(step, lookup);
        Ok(Answer::Later)
    }

    fn ask(&mut self, step: &mut Step<'_>, lookup: Lookup) {
        if self.reads.in_flight >= READS_MAX {
            return self.reads.waiting.push_back(lookup);
        }
        self.reads.in_flight += 1;
        step.stats.reads += 1;
        step.out.push(Action::Read { lookup });
    }

    /// Handles the journal's answer to a query, and starts the next waiting query.
    pub(super) fn on_read(&mut self, step: &mut Step<'_>, lookup: Lookup, found: Result<Found, Unreadable>) {
        self.reads.in_flight -= 1;
        if let Some(next) = self.reads.waiting.pop_front() {
            self.ask(step, next);
        }
        if let Ok(Found::Batches(batches)) = &found {
            // The wanted records are cut out of the first and the last batch, and hashed.
            for (filed, payload) in [batches.first(), batches.last()].into_iter().flatten() {
                step.work.add_records(filed.count);
                step.work.add_bytes(payload.len());
            }
            step.work.add_entries(batches.len());
        }
        let Lookup { topic: id, wanted, extent, reader, .. } = lookup;
        let was_removed = self.was_removed(id, &wanted, &found);
        let (reply, answer) = match (reader, &wanted) {
            (Reader::Pull(origin), _) if was_removed => {
                let again = ErrorResponse::new(Status::Overloaded, "the records were removed before they were read");
                return self.on_pulled_here(step, origin, Err(again));
            }
            (Reader::Fetch { reply, from, max_bytes }, Wanted::Records { max_records, .. }) if was_removed => {
                let first = self.kept(id).map_or(from.offset, |(first, _)| first);
                let offset = if from.is_earliest { first } else { from.offset };
                (reply, self.fetch_from(step, id, Begin { offset, ..from }, (max_bytes, *max_records), reply))
            }
            (Reader::Pull(origin), _) => {
                let fetched = self.fetched(step, id, &wanted, extent, found);
                return self.on_pulled_here(step, origin, fetched);
            }
            (Reader::Fetch { reply, from: Begin { offset: from, .. }, max_bytes }, _) => {
                let fetched = self.fetched(step, id, &wanted, extent, found);
                let fetched = fetched.and_then(|fetched| within(fetched, max_bytes, reply));
                step.stats.fetches += u64::from(fetched.is_ok());
                (reply, fetched.map(|fetched| Answer::Now(Response::Fetched(Box::new(Fetched { from, ..fetched })))))
            }
            (Reader::Start { frame, reply, source }, _) => {
                let answer = match found {
                    Ok(Found::Offset(offset)) => self.start_at(step, id, offset, (frame, reply, source)),
                    Ok(Found::Batches(_) | Found::Gap(_)) => unreachable!("a time was asked for"),
                    Err(unreadable) => Err(self.unreadable(step, unreadable)),
                };
                (reply, answer)
            }
        };
        match answer {
            Ok(Answer::Now(response)) => self.reply(step, reply, response),
            Ok(Answer::Later) => {}
            Err(error) => self.reply(step, reply, error.into()),
        }
    }

    /// Returns true if retention removed the requested records while the query waited.
    fn was_removed(&self, id: TopicId, wanted: &Wanted, found: &Result<Found, Unreadable>) -> bool {
        let is_empty = matches!(found, Ok(Found::Batches(batches)) if batches.is_empty());
        let Wanted::Records { from, .. } = wanted else { return false };
        is_empty && self.kept(id).is_some_and(|(first, _)| *from < first)
    }

    /// Executes a request that starts at a time, now that the offset for that time is known.
    fn start_at(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        offset: Offset,
        (frame, reply, source): (Kept, ReplyTo, NodeId),
    ) -> Result<Answer, ErrorResponse> {
        let start = Start::Offset(self.kept(id).map_or(offset, |(first, _)| offset.max(first)));
        let frame = frame.into_frame();
        let opcode = Opcode::from_number(frame.header.opcode).expect("it was served before");
        let args = frame.args().expect("it was served before");
        let request = decode(opcode, args, &frame).expect("it was served before");
        if let Request::Fetch(fetch) = request {
            return self.fetch(step, &Fetch { start, ..fetch }, &frame, reply, source);
        }
        let Request::Subscribe(subscribe) = request else { unreachable!("{request:?} begins at no time") };
        self.subscribe(step, &Subscribe { start, ..subscribe }, &frame, reply, source)
    }

    /// Converts the journal's answer into a FETCH response that states the log's extent at the time of the query.
    fn fetched(
        &self,
        step: &Step<'_>,
        id: TopicId,
        wanted: &Wanted,
        (first, next): (Offset, Offset),
        found: Result<Found, Unreadable>,
    ) -> Result<Fetched, ErrorResponse> {
        let topic = self.catalogue.get(id).ok_or_else(|| step.settings.deleted_before())?;
        let found = found.map_err(|unreadable| self.unreadable(step, unreadable))?;
        let Wanted::Records { from, max_bytes, max_records } = *wanted else { unreachable!("records were asked for") };
        let batches = match found {
            Found::Batches(batches) => batches,
            Found::Gap(base) => {
                let (epoch, runs, payload) = (topic.epoch, Vec::new(), Payload::default());
                return Ok(Fetched { topic_id: id, epoch, from, base, count: 0, first, next, runs, payload });
            }
            Found::Offset(_) => unreachable!("records were asked for"),
        };
        let (base, crc) = batches
            .first()
            .map(|(filed, _)| (filed.base, filed.crc))
            .ok_or_else(|| self.unreadable(step, Unreadable::Lost { next: None }))?;
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
        Ok(shorten(fetched, max_bytes as usize, max_records))
    }

    fn unreadable(&self, step: &Step<'_>, why: Unreadable) -> ErrorResponse {
        let node = step.settings.name(step.settings.id);
        match why {
            Unreadable::Lost { next } => {
                let message = format!("the records cannot be read; the log of node {node} says why");
                let error = ErrorResponse::new(Status::Storage, message);
                next.into_iter().fold(error, |error, next| error.with(Detail::Next(next)))
            }
            Unreadable::NotNow => {
                let message = format!("node {node} is short of file descriptors or memory; nothing was lost, retry");
                step.settings.overloaded(message).retry_after(READ_AGAIN_MS)
            }
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

fn lookup(topic: &Topic, wanted: Wanted, reader: Reader) -> Lookup {
    Lookup {
        topic: topic.id,
        topic_name: topic.name().into(),
        wanted,
        extent: (topic.log.first(), topic.log.next()),
        reader,
    }
}
