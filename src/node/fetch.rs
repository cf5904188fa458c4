//! Reading records at the home.

use super::Node;
use super::ingress::error;
use super::serve::Answer;
use crate::limits::PAYLOAD_MAX;
use crate::topic::Topic;
use crate::types::Offset;
use crate::wire::request::{Fetch, Start};
use crate::wire::response::{Detail, ErrorResponse, Fetched};
use crate::wire::{Response, Status};

impl Node {
    pub(super) fn fetch(&mut self, fetch: &Fetch<'_>) -> Result<Answer, ErrorResponse> {
        let topic = self.find(&fetch.topic)?;
        if fetch.epoch.is_some_and(|epoch| epoch != topic.epoch) {
            let mut error = error(Status::Truncated, "the topic lost records; offsets from its end on are new ones");
            error.details.extend([Detail::Next(topic.log.next()), Detail::Epoch(topic.epoch)]);
            return Err(error);
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

/// The offset that a start means in this topic.
fn start_of(topic: &Topic, start: Start) -> Result<Offset, ErrorResponse> {
    let (first, next) = (topic.log.first(), topic.log.next());
    match start {
        Start::Offset(offset) if offset > next => {
            let message = format!("offset {offset} is beyond the end of the topic, {next}");
            let mut error = error(Status::OffsetOutOfRange, &message);
            error.details.extend([Detail::Earliest(first), Detail::Next(next)]);
            Err(error)
        }
        Start::Offset(offset) => Ok(offset),
        Start::Earliest => Ok(first),
        Start::Next => Ok(next),
        Start::Time(micros) => Ok(topic.log.find_time(micros)),
    }
}
