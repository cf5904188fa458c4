//! Pulls: fetching the records that readers lack, from other nodes or from this node's journal. Readers at the same
//! offset share a fetch.

use super::super::Step;
use super::super::claims::is_of_way;
use super::super::frames::request_frame;
use super::super::ingress::Admission;
use super::table::{Followed, ReaderKey, TopicKey, first_at};
use super::{Effect, Readers};
use crate::limits::{
    DELIVERED_READERS, PAYLOAD_MAX, PULL_AGAIN_US, PULL_TIMEOUT_US, PULLED_BYTES_MAX, PULLS_MAX, PULLS_PER_LEADER_MAX,
};
use crate::types::{NodeId, Offset, RequestId, SlotId, TopicId, TopicName};
use crate::wire::request::{Fetch, Start, Topic};
use crate::wire::response::{ErrorResponse, Fetched};
use crate::wire::{Class, Flags, Frame, Opcode, Origin, Request, Response, Status, records};

/// Records that a fetch has brought.
struct Pulled {
    /// The readers that lack them.
    readers: Vec<ReaderKey>,
    fetched: Fetched,
}

/// A fetch for readers that is in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pull {
    topic: TopicId,
    slot: SlotId,
    from: Offset,
    /// Maximum number of bytes of records that it brings.
    max_bytes: u32,
}

impl Readers {
    /// Fetches the records that a reader lacks, unless a fetch from the same offset is in flight.
    pub(super) fn pull(&mut self, step: &Step<'_>, key: ReaderKey, max_bytes: u32) {
        let reader = self.table.get(key).expect("it was just looked at");
        let (place, from) = (reader.topic, reader.cursor());
        let topic = self.table.topic(place);
        let (id, slot) = (topic.id, topic.slot);
        if topic.pulls.contains(&from) {
            return;
        }
        let in_flight = self.table.leader(slot).pulls;
        let max_bytes = max_bytes.max(topic.pull_least);
        let is_too_much = self.table.pulled_bytes + u64::from(max_bytes) > PULLED_BYTES_MAX;
        if self.pulls.len() >= PULLS_MAX || in_flight >= PULLS_PER_LEADER_MAX || is_too_much {
            self.table.waiting.push_back(key);
            return;
        }
        let frame = fetch_frame(topic, from, max_bytes);
        let deadline_us = step.now.after_us(PULL_TIMEOUT_US);
        let pull = Pull { topic: id, slot, from, max_bytes };
        let origin = self.pulls.insert(pull, deadline_us).expect("PULLS_MAX is less than a table holds");
        self.table.leader_mut(slot).pulls += 1;
        self.table.pulled_bytes += u64::from(max_bytes);
        self.table.topic_mut(place).pulls.push(from);
        self.effects.push_back(if self.table.leader(slot).is_here {
            Effect::Read { slot, topic: id, from, max_bytes, origin }
        } else {
            Effect::Fetch { slot, origin, frame }
        });
    }

    /// Returns the fetches from a slot that are in flight.
    pub(super) fn pulls_of(&self, slot: SlotId) -> Vec<Origin> {
        self.pulls.iter().filter(|(_, pull)| pull.slot == slot).map(|(origin, _)| origin).collect()
    }

    /// Ends a fetch that could not be sent.
    pub(in crate::node) fn on_pull_failed(&mut self, step: &mut Step<'_>, origin: Origin) {
        if let Some(pull) = self.pulls.remove(origin) {
            self.end_pull(step, pull, None);
        }
    }

    /// Handles the response to a fetch for readers.
    pub(in crate::node) fn on_pulled(
        &mut self,
        step: &mut Step<'_>,
        admission: &Admission,
        frame: &Frame<'_>,
        origin: Origin,
    ) -> Option<(NodeId, bool)> {
        let source = frame.route.as_ref()?.source;
        let slot = self.pulls.get(origin).map(|pull| pull.slot);
        let is_from_member = |slot| step.settings.is_member(slot, source);
        if !is_of_way(frame.header.status) && slot.is_some_and(|slot| !is_from_member(slot)) {
            step.stats.false_claims += 1;
            return None;
        }
        let Some(pull) = self.pulls.remove(origin) else {
            step.stats.responses_late += 1;
            return None;
        };
        let leader = step.leaders.of(pull.slot);
        let reached = frame.header.status != Status::Unreachable.number();
        if !reached {
            self.note_unreachable(step, pull.slot);
        } else if Class::of(frame.header.status) == Class::Success || source == leader {
            // Only a node that leads the slot returns records; it may be another one than the one that was asked.
            self.note_alive(step, pull.slot);
        }
        let is_known = !frame.header.flags.any(Flags::CRITICAL);
        let parts = frame.args().ok().zip(frame.keep_payload().ok()).filter(|_| is_known);
        let response = parts.and_then(|(args, payload)| {
            let response = Response::decode(Opcode::Fetch, frame.header.status, args, &payload).ok()?;
            let count = if let Response::Fetched(fetched) = &response { fetched.count } else { 0 };
            (count == 0 || records::check(&payload, count).is_ok()).then_some(response)
        });
        step.stats.corrupt += u64::from(response.is_none());
        let pulled = self.end_pull(step, pull, response);
        self.hand_out(step, admission, pulled);
        Some((leader, reached))
    }

    /// Handles the journal's answer to a fetch for readers.
    pub(in crate::node) fn on_pulled_here(
        &mut self,
        step: &mut Step<'_>,
        admission: &Admission,
        origin: Origin,
        fetched: Result<Fetched, ErrorResponse>,
    ) {
        let Some(pull) = self.pulls.remove(origin) else {
            step.stats.responses_late += 1;
            return;
        };
        let response = fetched.map_or_else(Response::from, |fetched| Response::Fetched(Box::new(fetched)));
        let pulled = self.end_pull(step, pull, Some(response));
        self.hand_out(step, admission, pulled);
    }

    /// Ends the fetches for readers that have timed out.
    pub(super) fn expire_pulls(&mut self, step: &mut Step<'_>) {
        while let Some(pull) = self.pulls.expire(step.now.monotonic_us) {
            step.stats.timeouts += 1;
            self.end_pull(step, pull, None);
        }
    }

    /// Ends a fetch. Returns the records that it has brought, and the readers that lack them.
    fn end_pull(&mut self, step: &mut Step<'_>, pull: Pull, response: Option<Response>) -> Option<Pulled> {
        self.table.leader_mut(pull.slot).pulls -= 1;
        self.table.pulled_bytes -= u64::from(pull.max_bytes);
        // The end of one fetch lets only a few others begin: to wake all who wait would cost the square of their
        // number.
        self.wake_waiting(PULLS_PER_LEADER_MAX);
        let place = self.table.topic_of(pull.topic)?;
        let topic = self.table.topic_mut(place);
        topic.pulls.retain(|from| *from != pull.from);
        topic.pull_least = response.as_ref().and_then(needed).unwrap_or(0);
        match response {
            Some(Response::Fetched(fetched))
                if fetched.topic_id == topic.id && fetched.epoch == topic.epoch && fetched.end() > pull.from =>
            {
                self.end_outage(place);
                self.raise_head(place, fetched.next);
                let most = self.delivered.left(step.event, fetched.payload.len());
                let readers = self.readers_at(step, place, pull.from, most);
                self.delivered.add(readers.len());
                return Some(Pulled { readers, fetched: *fetched });
            }
            Some(Response::Error(error)) if error.status == Status::TooLarge.number() => {
                for key in self.readers_at(step, place, pull.from, DELIVERED_READERS) {
                    self.table.enqueue(key);
                }
            }
            Some(Response::Error(error)) if ends(&error) => self.end_topic(step, place, &error),
            Some(_) | None => self.pull_later(step, pull.topic),
        }
        None
    }

    fn hand_out(&mut self, step: &mut Step<'_>, admission: &Admission, pulled: Option<Pulled>) {
        let Some(Pulled { readers, fetched }) = pulled else { return };
        for key in readers {
            // The answer may be the first sign of life of its leader.
            self.notify(step, admission, key);
            if self.table.get(key).is_some_and(|reader| !reader.is_notified_waiting) {
                self.send_records(step, admission, key, fetched.clone());
            }
        }
    }

    /// Returns the keys of at most `most` readers with this cursor. The others are queued later.
    fn readers_at(&mut self, step: &mut Step<'_>, place: TopicKey, cursor: Offset, most: usize) -> Vec<ReaderKey> {
        let (keys, rest) = self.table.topic(place).some_readers(first_at(cursor), cursor, most);
        step.work.add_entries(keys.len());
        if let Some(rest) = rest {
            self.table.wake_later(place, rest, false);
        }
        keys
    }

    /// Schedules a retry for all readers of a topic, unless one is scheduled.
    fn pull_later(&mut self, step: &Step<'_>, topic: TopicId) {
        let Some(place) = self.table.topic_of(topic) else { return };
        if std::mem::replace(&mut self.table.topic_mut(place).is_retried, true) {
            return;
        }
        let due_us = step.now.after_us(PULL_AGAIN_US);
        self.table.retries.push_back((due_us, topic));
    }

    /// Wakes the readers whose fetch failed some time ago, and those that wait because too many fetches are in flight.
    pub(super) fn retry_pulls(&mut self, step: &Step<'_>) {
        while let Some((due_us, topic)) = self.table.retries.front().copied()
            && due_us <= step.now.monotonic_us
        {
            self.table.retries.pop_front();
            if let Some(place) = self.table.topic_of(topic) {
                self.table.topic_mut(place).is_retried = false;
                self.wake_topic(place);
            }
        }
        self.wake_waiting(usize::MAX);
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
