//! FETCH and SUBSCRIBE: where reads and subscriptions start.

use super::super::Step;
use super::super::call::{Answer, Call};
use super::Group;
use super::read::{Begin, Reader, check_epoch, read_log};
use crate::entry::Wanted;
use crate::topic::{Eras, Topic};
use crate::types::Offset;
use crate::wire::request::{Fetch, Start, Subscribe};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Response, Status};

impl Group {
    /// Answers FETCH at once. A FETCH that may wait for records waits at its ingress.
    pub(super) fn fetch(
        &mut self,
        step: &mut Step<'_>,
        fetch: &Fetch<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.find(step.settings, &fetch.topic)?;
        check_epoch(topic, fetch.epoch)?;
        let id = topic.id;
        let limits = (fetch.max_bytes, fetch.max_records);
        match start_of(topic, fetch.start, self.catalogue.eras())? {
            At::Offset(from) => {
                let from = Begin { offset: from, is_earliest: fetch.start == Start::Earliest };
                self.fetch_from(step, id, from, limits, call.reply)
            }
            At::Sought(wanted) => {
                let reader = Reader::FetchAt { reply: call.reply, epoch: fetch.epoch, limits };
                self.seek(step, id, wanted, reader)
            }
        }
    }

    /// Returns the answer to a FETCH whose records are in memory and have at most `bytes_max` bytes.
    pub(super) fn fetch_from_memory(&self, step: &mut Step<'_>, fetch: &Fetch<'_>, bytes_max: u32) -> Option<Response> {
        let topic = self.find(step.settings, &fetch.topic).ok()?;
        check_epoch(topic, fetch.epoch).ok()?;
        let At::Offset(from) = start_of(topic, fetch.start, self.catalogue.eras()).ok()? else { return None };
        let fetched = read_log(step.work, topic, from, fetch.max_bytes, fetch.max_records).ok()?;
        if fetched.payload.len() > bytes_max as usize {
            return None;
        }
        step.stats.fetches += u64::from(fetched.count > 0);
        Some(Response::Fetched(Box::new(fetched)))
    }

    /// Answers SUBSCRIBE: determines the first offset, and creates a feed for the ingress.
    pub(super) fn subscribe(
        &mut self,
        step: &mut Step<'_>,
        subscribe: &Subscribe<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.find(step.settings, &subscribe.topic)?;
        check_epoch(topic, subscribe.epoch)?;
        let (id, reply, source) = (topic.id, call.reply.in_order_with_pushes(), call.route.source);
        match start_of(topic, subscribe.start, self.catalogue.eras())? {
            At::Offset(from) => self.subscribed(step, id, from, source).map(Answer::Now),
            At::Sought(wanted) => {
                let reader = Reader::SubscribeAt { reply, epoch: subscribe.epoch, source };
                self.seek(step, id, wanted, reader)
            }
        }
    }
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
