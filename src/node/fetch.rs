//! Reading records at the home.

use super::forward::ReplyTo;
use super::read::Begin;
use super::serve::Answer;
use super::work::Work;
use super::{Parts, Step};
use crate::limits::PAYLOAD_MAX;
use crate::record::Wanted;
use crate::topic::{Eras, NotHeld, Topic};
use crate::types::{Epoch, NodeId, Offset};
use crate::wire::request::{Fetch, Start};
use crate::wire::response::{Detail, ErrorResponse, Fetched, Payload, Run};
use crate::wire::{Frame, Opcode, Response, Status, records};

impl Parts {
    /// Handles FETCH at the home, which answers at once. A FETCH that may wait for records waits at its ingress.
    pub(super) fn fetch(
        &mut self,
        step: &mut Step<'_>,
        fetch: &Fetch<'_>,
        frame: &Frame<'_>,
        reply: ReplyTo,
        source: NodeId,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.find(step, &fetch.topic)?;
        check_epoch(topic, fetch.epoch)?;
        let id = topic.id;
        match start_of(topic, fetch.start, self.catalogue.eras())? {
            At::Offset(from) => {
                let from = Begin { offset: from, is_earliest: fetch.start == Start::Earliest };
                self.fetch_from(step, id, from, (fetch.max_bytes, fetch.max_records), reply)
            }
            At::Sought(wanted) => self.start_later(step, id, wanted, (frame.keep(), reply, source)),
        }
    }
}

/// Returns an error unless offsets of that epoch still refer to the same records.
pub(super) fn check_epoch(topic: &Topic, epoch: Option<Epoch>) -> Result<(), ErrorResponse> {
    let Some(epoch) = epoch.filter(|epoch| *epoch != topic.epoch) else { return Ok(()) };
    let message = "the topic lost records; offsets from its end on are new ones";
    let error = ErrorResponse::new(Status::Truncated, message);
    Err(error.with(Detail::Next(topic.lost_from(epoch))).with(Detail::Epoch(topic.epoch)))
}

/// Returns a limit of a request, where 0 means no limit.
pub(super) const fn or_most(wanted: u32) -> u32 {
    if wanted == 0 { u32::MAX } else { wanted }
}

/// Reads records from an offset on. A limit of 0 means only the limit of one frame.
///
/// # Errors
/// Returns [`NotHeld`] when the records are not in memory.
pub(super) fn read(
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

/// Shortens an answer so that it fits a client's largest frame. Only an answer with records can be too large; all
/// others fit `FRAME_MAX_LEAST`.
pub(super) fn fit(response: Response, frame_max: u32) -> Response {
    let Response::Fetched(fetched) = response else { return response };
    if fetched.frame_len(fetched.payload.len()) <= frame_max as usize {
        return Response::Fetched(fetched);
    }
    fit_records(*fetched, frame_max).map_or_else(Response::from, |fetched| Response::Fetched(Box::new(fetched)))
}

/// Shortens an answer of another node in the same way.
pub(super) fn fit_frame(frame: &Frame<'_>, frame_max: u32) -> Response {
    let decoded = frame.args().ok().zip(frame.keep_payload().ok()).and_then(|(args, payload)| {
        let response = Response::decode(Opcode::Fetch, frame.header.status, args, &payload).ok()?;
        let is_sound = matches!(&response, Response::Fetched(it) if records::check(&payload, it.count).is_ok());
        is_sound.then_some(response)
    });
    let damaged = || ErrorResponse::new(Status::CorruptFrame, "the answer was damaged on the way").into();
    decoded.map_or_else(damaged, |response| fit(response, frame_max))
}

/// Returns as many of the records as fit a client's largest frame.
///
/// # Errors
/// Returns TOO_LARGE, with the frame size needed, when not even the first record fits.
pub(super) fn fit_records(fetched: Fetched, frame_max: u32) -> Result<Fetched, ErrorResponse> {
    let room = (frame_max as usize).saturating_sub(fetched.frame_len(0));
    let first = fetched.payload.parts.first().map_or(0, |part| records::prefix_len(part, 1));
    if first > room {
        let message = "the next record is larger than the max_frame of your HELLO allows";
        let needed = Fetched { runs: vec![Run { count: 1, append_us: 0 }], ..fetched }.frame_len(first);
        return Err(ErrorResponse::new(Status::TooLarge, message).with(Detail::Limit(needed as u64)));
    }
    Ok(shorten(fetched, room, u32::MAX))
}

/// Returns the first records that fit both limits, but at least one.
pub(super) fn shorten(mut fetched: Fetched, max_bytes: usize, max_records: u32) -> Fetched {
    if fetched.payload.len() <= max_bytes && fetched.count <= max_records {
        return fetched;
    }
    let whole = std::mem::take(&mut fetched.payload);
    let (mut payload, mut bytes, mut count) = (Payload::default(), 0, 0);
    for part in &whole.parts {
        let (mut fitting, mut len) = records::fit(part, max_bytes.saturating_sub(bytes), max_records - count);
        if fitting == 0 && count == 0 {
            (fitting, len) = (1, records::prefix_len(part, 1));
        }
        payload.parts.push(part.slice(..len));
        (bytes, count) = (bytes + len, count + fitting);
        if len < part.len() {
            break;
        }
    }
    let mut left = count;
    for run in &mut fetched.runs {
        run.count = run.count.min(left);
        left -= run.count;
    }
    fetched.runs.retain(|run| run.count > 0);
    Fetched { payload, count, ..fetched }
}

/// Returns the records after the first `records`, which must all be in the first part, or `None` when none are left.
pub(super) fn skip(mut fetched: Fetched, records: u32) -> Option<Fetched> {
    let count = fetched.count.checked_sub(records).filter(|count| *count > 0)?;
    let mut parts = std::mem::take(&mut fetched.payload.parts);
    let first = parts.first_mut()?;
    *first = first.slice(records::prefix_len(first, records)..);
    let mut left = records;
    for run in &mut fetched.runs {
        let skipped = run.count.min(left);
        run.count -= skipped;
        left -= skipped;
    }
    fetched.runs.retain(|run| run.count > 0);
    let base = fetched.base.plus(u64::from(records));
    Some(Fetched { from: base, base, count, payload: Payload { parts, crc: None }, ..fetched })
}

/// Where a read of a topic starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// At a known offset.
    Offset(Offset),
    /// At a record that the journal must find.
    Sought(Wanted),
}

/// Resolves the start position of a request in a topic.
pub(super) fn start_of(topic: &Topic, start: Start, eras: &Eras) -> Result<At, ErrorResponse> {
    let (first, next) = (topic.log.first(), topic.log.next());
    match start {
        Start::Offset(offset) if offset > next => {
            let message = format!("offset {offset} is beyond the end of the topic, {next}");
            let error = ErrorResponse::new(Status::OffsetOutOfRange, message);
            Err(error.with(Detail::Earliest(first)).with(Detail::Next(next)))
        }
        Start::Offset(offset) => Ok(At::Offset(offset)),
        Start::Earliest => Ok(At::Offset(first)),
        Start::Next => Ok(At::Offset(next)),
        Start::Time(micros) => Ok(topic.log.find_time(micros, eras).map_or_else(At::Sought, At::Offset)),
    }
}
