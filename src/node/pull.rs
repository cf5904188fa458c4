//! Pulls: fetching the records that readers lack, from other nodes or from this node's journal. Readers at the same
//! offset share a fetch.

use super::frames::request_frame;
use super::subscriptions::Followed;
use super::{Parts, Step};
use crate::limits::{PAYLOAD_MAX, PULL_AGAIN_US, PULL_TIMEOUT_US, PULLED_BYTES_MAX, PULLS_MAX, PULLS_PER_HOME_MAX};
use crate::types::{NodeId, Offset, RequestId, TopicId, TopicName};
use crate::wire::request::{Fetch, Start, Topic};
use crate::wire::response::{ErrorResponse, Fetched};
use crate::wire::{Flags, Frame, Kind, Opcode, Origin, Request, Response, Status, TrafficClass, records};

/// A fetch for readers that is in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pull {
    topic: TopicId,
    home: NodeId,
    from: Offset,
    /// Most bytes of records that it brings.
    max_bytes: u32,
}

impl Parts {
    /// Fetches the records that a reader lacks, unless a fetch from the same offset is in flight.
    pub(super) fn pull(&mut self, step: &mut Step<'_>, key: usize, max_bytes: u32) {
        let reader = self.subscriptions.get(key).expect("it was just looked at");
        let (place, from) = (reader.topic, reader.cursor());
        let topic = self.subscriptions.topic(place);
        let (id, home) = (topic.id, topic.home);
        if topic.pulls.contains(&from) {
            return;
        }
        let in_flight = self.subscriptions.homes[usize::from(home.index())].pulls;
        let max_bytes = max_bytes.max(topic.pull_least);
        let is_too_much = self.subscriptions.pulled_bytes + u64::from(max_bytes) > PULLED_BYTES_MAX;
        if self.pulls.len() >= PULLS_MAX || in_flight >= PULLS_PER_HOME_MAX || is_too_much {
            self.subscriptions.waiting.push_back(key);
            return;
        }
        let frame = fetch_frame(topic, from, max_bytes);
        let is_here = home == step.settings.id;
        if !is_here && self.routing.is_held(home, step.now.monotonic_us) {
            return self.pull_later(step, id);
        }
        let deadline_us = step.now.after_us(PULL_TIMEOUT_US);
        let pull = Pull { topic: id, home, from, max_bytes };
        let origin = self.pulls.insert(pull, deadline_us).expect("PULLS_MAX is less than a table holds");
        self.subscriptions.homes[usize::from(home.index())].pulls += 1;
        self.subscriptions.pulled_bytes += u64::from(max_bytes);
        self.subscriptions.topic_mut(place).pulls.push(from);
        step.stats.pulls += 1;
        if is_here {
            return self.group.pull(step, id, from, max_bytes, origin);
        }
        if let Err(response) = self.send_request(step, home, TrafficClass::Bulk, origin, frame) {
            if response.status() == Status::Unreachable.number() {
                self.routing.note_reached(home, false, step.now.monotonic_us);
                self.note_unreachable(step, home);
            }
            if let Some(pull) = self.pulls.remove(origin) {
                self.end_pull(step, pull, None);
            }
        }
    }

    /// Handles the response to a fetch for readers.
    pub(super) fn on_pulled(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, origin: Origin) {
        let Some(pull) = self.pulls.remove(origin) else {
            step.stats.responses_late += 1;
            return;
        };
        let reached = frame.header.status != Status::Unreachable.number();
        self.routing.note_reached(pull.home, reached, step.now.monotonic_us);
        if !reached {
            self.note_unreachable(step, pull.home);
        } else if frame.route.as_ref().is_some_and(|route| route.source == pull.home) {
            self.note_alive(step, pull.home);
        }
        let is_known = !frame.header.flags.any(Flags::CRITICAL);
        let parts = frame.args().ok().zip(frame.keep_payload().ok()).filter(|_| is_known);
        let response = parts.and_then(|(args, payload)| {
            let response = Response::decode(Opcode::Fetch, frame.header.status, args, &payload).ok()?;
            let count = if let Response::Fetched(fetched) = &response { fetched.count } else { 0 };
            (count == 0 || records::check(&payload, count).is_ok()).then_some(response)
        });
        step.stats.corrupt += u64::from(response.is_none());
        self.end_pull(step, pull, response);
    }

    /// Handles the journal's answer to a fetch for readers.
    pub(super) fn on_pulled_here(
        &mut self,
        step: &mut Step<'_>,
        origin: Origin,
        fetched: Result<Fetched, ErrorResponse>,
    ) {
        let Some(pull) = self.pulls.remove(origin) else {
            step.stats.responses_late += 1;
            return;
        };
        let response = fetched.map_or_else(Response::from, |fetched| Response::Fetched(Box::new(fetched)));
        self.end_pull(step, pull, Some(response));
    }

    /// Ends the fetches for readers that have timed out.
    pub(super) fn expire_pulls(&mut self, step: &mut Step<'_>) {
        while let Some(pull) = self.pulls.expire(step.now.monotonic_us) {
            step.stats.timeouts += 1;
            self.end_pull(step, pull, None);
        }
    }

    fn end_pull(&mut self, step: &mut Step<'_>, pull: Pull, response: Option<Response>) {
        self.subscriptions.homes[usize::from(pull.home.index())].pulls -= 1;
        self.subscriptions.pulled_bytes -= u64::from(pull.max_bytes);
        // The end of one fetch lets only a few others begin: to wake all who wait would cost the square of their
        // number.
        self.wake_waiting(PULLS_PER_HOME_MAX);
        let Some(place) = self.subscriptions.topic_of(pull.topic) else { return };
        let topic = self.subscriptions.topic_mut(place);
        topic.pulls.retain(|from| *from != pull.from);
        topic.pull_least = response.as_ref().and_then(needed).unwrap_or(0);
        match response {
            Some(Response::Fetched(fetched))
                if fetched.topic_id == topic.id && fetched.epoch == topic.epoch && fetched.end() > pull.from =>
            {
                self.end_outage(step, place);
                self.raise_head(step, place, fetched.next);
                let keys = self.subscriptions.topic(place).readers_in(pull.from..=pull.from);
                step.work.add_entries(keys.len());
                for key in keys {
                    self.send_records(step, key, (*fetched).clone());
                }
            }
            Some(Response::Error(error)) if error.status == Status::TooLarge.number() => {
                for key in self.subscriptions.topic(place).readers_in(pull.from..=pull.from) {
                    self.subscriptions.enqueue(key);
                }
            }
            Some(Response::Error(error)) if ends(&error) => self.end_topic(step, place, &error),
            Some(_) | None => self.pull_later(step, pull.topic),
        }
    }

    /// Schedules a retry for all readers of a topic, unless one is scheduled.
    fn pull_later(&mut self, step: &Step<'_>, topic: TopicId) {
        let Some(place) = self.subscriptions.topic_of(topic) else { return };
        if std::mem::replace(&mut self.subscriptions.topic_mut(place).is_retried, true) {
            return;
        }
        let due_us = step.now.after_us(PULL_AGAIN_US);
        self.subscriptions.retries.push_back((due_us, topic));
    }

    /// Wakes the readers whose fetch failed some time ago, and those that wait because too many fetches are in flight.
    pub(super) fn retry_pulls(&mut self, step: &mut Step<'_>) {
        while let Some((due_us, topic)) = self.subscriptions.retries.front().copied()
            && due_us <= step.now.monotonic_us
        {
            self.subscriptions.retries.pop_front();
            if let Some(place) = self.subscriptions.topic_of(topic) {
                self.subscriptions.topic_mut(place).is_retried = false;
                self.wake_topic(step, place);
            }
        }
        self.wake_waiting(usize::MAX);
    }

    /// Sends a request of this node's own to a node.
    ///
    /// # Errors
    ///
    /// The response that the request gets if it cannot be forwarded.
    pub(super) fn send_request(
        &mut self,
        step: &mut Step<'_>,
        target: NodeId,
        class: TrafficClass,
        origin: Origin,
        frame: Frame<'static>,
    ) -> Result<(), Box<Response>> {
        let kind = if class == TrafficClass::Bulk { Kind::Group } else { Kind::Node };
        let route = self.new_route(step, target, kind, class, origin);
        self.send_frame(step, frame, route).map(|_| ())
    }
}

/// Returns how many bytes the next fetch must allow, if a response says that the next record is larger than this one
/// allowed.
fn needed(response: &Response) -> Option<u32> {
    let Response::Error(error) = response else { return None };
    let needed = error.limit().filter(|_| error.status == Status::TooLarge.number())?;
    Some(u32::try_from(needed).unwrap_or(u32::MAX).min(PAYLOAD_MAX))
}

/// Returns true if the error ends the subscriptions: the topic that the readers follow no longer exists as they know
/// it.
fn ends(error: &ErrorResponse) -> bool {
    [Status::UnknownTopic, Status::Recreated, Status::Truncated, Status::OffsetOutOfRange, Status::Storage]
        .iter()
        .any(|status| status.number() == error.status)
}

fn fetch_frame(topic: &Followed, from: Offset, max_bytes: u32) -> Frame<'static> {
    let name = TopicName::new(&topic.name).expect("checked when it was subscribed to");
    let request = Request::Fetch(Fetch {
        topic: Topic { name, id: Some(topic.id) },
        epoch: Some(topic.epoch),
        start: Start::Offset(from),
        max_bytes,
        max_records: 0,
        max_wait_ms: 0,
    });
    request_frame(&request, &[], RequestId(0), Flags::default())
}
