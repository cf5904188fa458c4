//! Reading records at the home.

use super::Node;
use super::serve::Answer;
use crate::limits::PAYLOAD_MAX;
use crate::topic::Topic;
use crate::types::Offset;
use crate::wire::request::{Fetch, Start};
use crate::wire::response::{Detail, ErrorResponse, Fetched, Payload};
use crate::wire::{Frame, Opcode, Response, Status, records};

impl Node {
    pub(super) fn fetch(&mut self, fetch: &Fetch<'_>) -> Result<Answer, ErrorResponse> {
        let topic = self.find(&fetch.topic)?;
        if fetch.epoch.is_some_and(|epoch| epoch != topic.epoch) {
            let message = "the topic lost records; offsets from its end on are new ones";
            let error = ErrorResponse::new(Status::Truncated, message);
            return Err(error.with(Detail::Next(topic.log.next())).with(Detail::Epoch(topic.epoch)));
        }
        let from = start_of(topic, fetch.start)?;
        let bound = |wanted: u32| if wanted == 0 { u32::MAX } else { wanted };
        let max_bytes = bound(fetch.max_bytes).min(PAYLOAD_MAX) as usize;
        let read = topic.log.read(from, max_bytes, bound(fetch.max_records));
        let fetched = Fetched {
            topic_id: topic.id,
            epoch: topic.epoch,
            from,
            base: read.base,
            count: read.count,
            first: topic.log.first(),
            next: topic.log.next(),
            runs: read.runs,
            payload: read.payload,
        };
        self.stats.fetches += u64::from(fetched.count > 0);
        Ok(Answer::Now(Response::Fetched(Box::new(fetched))))
    }
}

/// An answer as a client takes it whose frames have at most so many bytes. Only one with records can be too large: all
/// others fit `FRAME_MAX_LEAST`.
pub(super) fn fit(response: Response, frame_max: u32) -> Response {
    if let Response::Fetched(fetched) = response {
        let fits = fetched.frame_len(fetched.payload.len()) <= frame_max as usize;
        if fits { Response::Fetched(fetched) } else { cut(*fetched, frame_max) }
    } else {
        response
    }
}

/// The same for an answer of another node that is too large.
pub(super) fn fit_frame(frame: &Frame<'_>, frame_max: u32) -> Response {
    let decoded = frame.args().ok().zip(frame.keep_payload().ok()).and_then(|(args, payload)| {
        let response = Response::decode(Opcode::Fetch, frame.header.status, args, &payload).ok()?;
        let is_sound = matches!(&response, Response::Fetched(it) if records::check(&payload, it.count).is_ok());
        is_sound.then_some(response)
    });
    let damaged = || ErrorResponse::new(Status::CorruptFrame, "the answer was damaged on the way").into();
    decoded.map_or_else(damaged, |response| fit(response, frame_max))
}

/// As many of the records as fit, or, when not even the first one does, how large it is.
fn cut(mut fetched: Fetched, frame_max: u32) -> Response {
    let room = (frame_max as usize).saturating_sub(fetched.frame_len(0));
    let whole = std::mem::take(&mut fetched.payload);
    let (mut payload, mut count) = (Payload::default(), 0);
    for part in &whole.parts {
        let (fitting, len) = records::fit(part, room - payload.len(), u32::MAX);
        payload.parts.push(part.slice(..len));
        count += fitting;
        if len < part.len() {
            break;
        }
    }
    if count == 0 {
        let first = whole.parts.first().map_or(0, |part| records::prefix_len(part, 1));
        let message = "the next record is larger than the max_frame of your HELLO allows";
        fetched.runs.truncate(1);
        let needed = fetched.frame_len(first) as u64;
        return ErrorResponse::new(Status::TooLarge, message).with(Detail::Limit(needed)).into();
    }
    let mut left = count;
    for run in &mut fetched.runs {
        run.count = run.count.min(left);
        left -= run.count;
    }
    fetched.runs.retain(|run| run.count > 0);
    (fetched.payload, fetched.count) = (payload, count);
    Response::Fetched(Box::new(fetched))
}

/// The offset that a start means in this topic.
fn start_of(topic: &Topic, start: Start) -> Result<Offset, ErrorResponse> {
    let (first, next) = (topic.log.first(), topic.log.next());
    match start {
        Start::Offset(offset) if offset > next => {
            let message = format!("offset {offset} is beyond the end of the topic, {next}");
            let error = ErrorResponse::new(Status::OffsetOutOfRange, message);
            Err(error.with(Detail::Earliest(first)).with(Detail::Next(next)))
        }
        Start::Offset(offset) => Ok(offset),
        Start::Earliest => Ok(first),
        Start::Next => Ok(next),
        Start::Time(micros) => Ok(topic.log.find_time(micros)),
    }
}
