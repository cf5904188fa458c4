//! Following topics of other nodes: reporting local readers to the leaders, and detecting lost pushes.
//!
//! Pushes and reports to a leader may be lost. Each report therefore states the complete state of a topic and is resent
//! until the leader confirms it. Once a second each leader sends the log end offsets of its topics and a digest of the
//! feeds that it knows.

use std::collections::BTreeMap;

use super::super::call::{Answer, Call};
use super::super::frames::{decode_response, malformed, request_frame, sound_payload};
use super::super::ingress::Admission;
use super::super::news::News;
use super::super::{Settings, Step};
use super::table::{InFlightReport, Report, TopicKey, first_at};
use super::{Effect, Readers};
use crate::limits::{FEED_AGAIN_US, FEED_ITEMS_MAX, HEADS_MISSING_MAX, HEADS_US, STRAYS_MAX};
use crate::types::{Epoch, NodeId, Offset, RequestId, SlotId, TopicId, TopicName};
use crate::wire::feed::{Fed, FedList, FeedItem, Head, Heads};
use crate::wire::field::Writer;
use crate::wire::push::Span;
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Flags, Frame, Opcode, Push, Request, Response, Status};

impl Readers {
    /// Handles a DELIVER or EVENT that arrived on a link and has this node among its targets.
    pub(in crate::node) fn on_push(&mut self, step: &mut Step<'_>, admission: &Admission, frame: &Frame<'_>) {
        let is_deliver = frame.header.opcode == Opcode::Deliver.number();
        let Ok(args) = frame.args() else {
            step.stats.corrupt += 1;
            return;
        };
        let Some(id) = TopicId::new(frame.header.request_id.0) else {
            step.stats.oneways_dropped += 1;
            return;
        };
        // A push names no slot. If it comes again, the next HEADS of the leader list the topic, and it is told.
        let Some(place) = self.table.topic_of(id) else {
            step.stats.oneways_dropped += 1;
            return;
        };
        let slot = self.table.topic(place).slot;
        if frame.route.as_ref().is_none_or(|route| !step.settings.is_member(slot, route.source)) {
            step.stats.false_claims += 1;
            return;
        }
        self.note_alive(step, slot);
        if is_deliver {
            match Span::decode(args) {
                Ok(span) if span.topic == id && span.epoch == self.table.topic(place).epoch => {
                    self.end_outage(place);
                    self.deliver(step, admission, span, News::Handled(frame));
                }
                // The log is in another epoch. The leader's answer to a FEED says which; one FEED is enough for any
                // number of pushes.
                Ok(_) if self.table.topic(place).in_flight_report.is_none() => self.send_report(step, place),
                Ok(_) => {}
                Err(_) => step.stats.corrupt += 1,
            }
        } else if let Ok(Push::Ended(error)) =
            Push::decode(Opcode::Event, frame.header.status, args, &bytes::Bytes::new())
        {
            self.end_topic(step, place, &error);
        }
    }

    /// Reports the readers of a topic to its leader.
    pub(super) fn send_report(&mut self, step: &Step<'_>, place: TopicKey) {
        if !self.table.is_here(place) {
            self.send_reports(step, self.table.topic(place).slot, &[place], false);
        }
    }

    /// Reports to a leader that a topic has no readers here any more.
    pub(super) fn report_no_readers(&mut self, step: &Step<'_>, slot: SlotId, topic: TopicId, epoch: Epoch) {
        let item = FeedItem { topic, epoch, push: false, subscribers: 0, slowest: None, name: None };
        let mut payload = Vec::new();
        item.encode(&mut Writer::new(&mut payload));
        self.send_feed(step, slot, false, 1, &payload);
    }

    /// Sends FEEDs about several topics to their leader. With `reset` the leader first forgets all earlier reports.
    fn send_reports(&mut self, step: &Step<'_>, slot: SlotId, places: &[TopicKey], mut reset: bool) {
        for places in places.chunks(FEED_ITEMS_MAX) {
            let (version, at_us) = (self.table.feed_version + 1, step.now.monotonic_us);
            let mut payload = Vec::new();
            for &place in places {
                let report = self.table.current_report(place, self.table.topic(place).head);
                let topic = self.table.topic_mut(place);
                topic.in_flight_report = Some(InFlightReport { report, version, at_us });
                let name = TopicName::new(&topic.name).expect("checked when it was subscribed to");
                let Report { push, subscribers, slowest } = report;
                let (id, epoch) = (topic.id, topic.epoch);
                FeedItem { topic: id, epoch, push, subscribers, slowest, name: Some(name) }
                    .encode(&mut Writer::new(&mut payload));
            }
            let count = u16::try_from(places.len()).expect("FEED_ITEMS_MAX");
            self.send_feed(step, slot, std::mem::take(&mut reset), count, &payload);
        }
    }

    fn send_feed(&mut self, step: &Step<'_>, slot: SlotId, reset: bool, count: u16, payload: &[u8]) {
        self.table.feed_version += 1;
        let id = RequestId(self.table.feed_version);
        self.table.leader_mut(slot).feed_version = id.0;
        let instance = step.settings.instance;
        let feed = Request::Feed { slot: slot.index(), instance, reset, count };
        let frame = request_frame(&feed, payload, id, Flags::default());
        self.effects.push_back(Effect::Report { slot, frame });
    }

    /// Handles a leader's answer to a FEED, or the UNREACHABLE of a node on the way. Returns the slot if the answer
    /// shows that its leader is another node than the known one.
    pub(in crate::node) fn on_fed(&mut self, step: &mut Step<'_>, frame: &Frame<'_>) -> Option<SlotId> {
        if frame.header.status == Status::Unreachable.number() {
            self.note_feed_unreachable(step, frame.header.request_id.0);
            return None;
        }
        let source = frame.route.as_ref()?.source;
        match decode_response(step, Opcode::Feed, frame) {
            Some(Response::Fed(list)) => self.on_list(step, frame.header.request_id, source, list),
            Some(Response::Error(error)) if error.status == Status::NotLeader.number() => {
                // The FEED is sent again to the node that is taken for the leader then.
                let slot = self.slot_of_feed(step, frame.header.request_id.0)?;
                step.leaders.on_not_leader(step.settings, slot, source, &error).then_some(slot)
            }
            _ => None,
        }
    }

    fn on_list(&mut self, step: &mut Step<'_>, request_id: RequestId, leader: NodeId, list: FedList) -> Option<SlotId> {
        let slot = step.settings.slot(list.slot).ok()?;
        if !step.settings.is_member(slot, leader) {
            step.stats.false_claims += 1;
            return None;
        }
        // A late answer may arrive after this node, or another one, has become the leader.
        if self.table.leader(slot).is_here || step.leaders.is_stale(slot, list.term, leader) {
            return None;
        }
        let is_other = step.leaders.note(slot, list.term, leader);
        if is_other {
            self.on_new_leader(step, slot);
        }
        self.note_alive(step, slot);
        let state = self.table.leader_mut(slot);
        // HEADS are counted from here on. The items of this answer cover all earlier pushes.
        state.last.get_or_insert(((list.instance, list.term), list.counter));
        for fed in list.items {
            let Some(place) = self.place_of(fed.topic, slot) else { continue };
            if fed.status == Status::Ok.number() {
                let in_flight = self.table.topic(place).in_flight_report;
                // An answer confirms only the FEED that it belongs to.
                if let Some(in_flight) = in_flight.filter(|in_flight| in_flight.version == request_id.0) {
                    self.table.topic_mut(place).in_flight_report = None;
                    self.table.set_confirmed_report(place, Some(in_flight.report));
                }
                if self.table.topic(place).epoch == fed.epoch {
                    self.end_outage(place);
                    self.raise_head(place, fed.next);
                }
            } else if fed.status != Status::Truncated.number() || self.table.topic(place).epoch != fed.epoch {
                // Readers that already follow the new epoch need no notice that the old one is over.
                self.end_topic(step, place, &reason(step.settings, &fed, slot));
            }
        }
        is_other.then_some(slot)
    }

    /// Handles HEADS, the log end offsets of the topics that a leader has pushed here.
    pub(in crate::node) fn on_heads(
        &mut self,
        step: &mut Step<'_>,
        heads: &Heads,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let slot = step.settings.slot(heads.slot)?;
        let items = Head::decode_all(&sound_payload(call.frame)?, heads.count).map_err(malformed)?;
        if self.table.leader(slot).is_here {
            return Err(ErrorResponse::new(Status::BadRequest, "HEADS must not come to the node that leads the slot"));
        }
        self.note_heads(step, heads, &items, slot);
        Ok(Answer::Now(Response::Heads { slot: heads.slot, counter: heads.counter }))
    }

    fn note_heads(&mut self, step: &mut Step<'_>, heads: &Heads, items: &[Head], slot: SlotId) {
        self.note_alive(step, slot);
        step.work.add_entries(2 * items.len());
        for item in items {
            let Some(place) = self.place_of(item.topic, slot) else {
                self.note_stray(step, item.topic, slot);
                continue;
            };
            if item.epoch == Epoch(0) {
                let error = step.settings.unknown_topic(slot, "the topic was deleted");
                self.end_topic(step, place, &error);
            } else if self.table.topic(place).epoch == item.epoch {
                self.raise_head(place, item.next);
            }
        }
        let begun = (heads.instance, heads.term);
        let state = self.table.leader_mut(slot);
        let is_next =
            state.last.is_none_or(|(start, counter)| start == begun && counter.checked_add(1) == Some(heads.counter));
        let agrees = state.topics > 0 && state.feeds == heads.feeds && state.digest == heads.digest;
        state.mismatches = if agrees { 0 } else { state.mismatches.saturating_add(1) };
        state.last = state.last.map(|_| (begun, heads.counter));
        state.heard_us = step.now.monotonic_us;
        if !is_next || state.mismatches > 1 {
            self.resync(step, slot);
        }
    }

    /// Raises the known log end offset of a topic, and wakes the readers that are behind.
    pub(super) fn raise_head(&mut self, place: TopicKey, next: Offset) {
        let topic = self.table.topic_mut(place);
        let known = topic.head;
        if known < next {
            topic.head = next;
            self.table.wake_later(place, first_at(known), false);
        }
    }

    /// Reports all followed topics to a leader again, because its state may be lost.
    pub(super) fn resync(&mut self, step: &mut Step<'_>, slot: SlotId) {
        step.stats.resyncs += 1;
        let places: Vec<TopicKey> = self.table.topics_of(slot).collect();
        step.work.add_entries(places.len());
        for &place in &places {
            self.table.set_confirmed_report(place, None);
        }
        let state = self.table.leader_mut(slot);
        // The answer says from which counter HEADS are counted.
        (state.mismatches, state.last) = (0, None);
        if places.is_empty() {
            return self.send_feed(step, slot, true, 0, &[]);
        }
        self.send_reports(step, slot, &places, true);
    }

    /// Resynchronises with leaders that have sent no HEADS for too long, because they may have lost their feeds.
    pub(super) fn tick_leaders(&mut self, step: &mut Step<'_>) {
        let now_us = step.now.monotonic_us;
        for slot in step.settings.slots.all() {
            let state = self.table.leader_mut(slot);
            // An unreachable leader is resynchronised when it is back.
            let is_silent = now_us.saturating_sub(state.heard_us) > HEADS_MISSING_MAX * HEADS_US;
            if !state.is_here && state.topics > 0 && is_silent && state.outage.is_none() {
                state.heard_us = now_us;
                self.resync(step, slot);
            }
        }
    }

    /// Sends changed and unconfirmed reports, and reports stray pushes; runs once a second.
    pub(in crate::node) fn tick_followed(&mut self, step: &Step<'_>) {
        let now_us = step.now.monotonic_us;
        let mut due: BTreeMap<SlotId, Vec<TopicKey>> = BTreeMap::new();
        for (place, topic) in self.table.topics() {
            let leader = self.table.leader(topic.slot);
            if leader.is_here || leader.outage.is_some() {
                continue; // all of it when it is back
            }
            let is_due = match topic.in_flight_report {
                // It is not known whether the leader has received it.
                Some(in_flight) => in_flight.at_us + FEED_AGAIN_US <= now_us,
                None => topic.confirmed_report() != Some(self.table.current_report(place, topic.head)),
            };
            if is_due {
                due.entry(topic.slot).or_default().push(place);
            }
        }
        for (slot, places) in due {
            self.send_reports(step, slot, &places, false);
        }
        let is_old = |since_us: u64| since_us.saturating_add(HEADS_US) <= now_us;
        let strays = std::mem::take(&mut self.table.strays);
        let (old, fresh) = strays.into_iter().partition(|(_, (_, since_us))| is_old(*since_us));
        self.table.strays = fresh;
        for (topic, (slot, _)) in old {
            if self.table.topic_of(topic).is_none() {
                self.report_no_readers(step, slot, topic, Epoch(0));
            }
        }
    }

    /// Returns the key of a topic that is followed as one of the slot.
    fn place_of(&self, topic: TopicId, slot: SlotId) -> Option<TopicKey> {
        self.table.topic_of(topic).filter(|place| self.table.topic(*place).slot == slot)
    }

    /// Notes that a topic without readers was pushed here. The leader is sent a report only if this lasts: the answer
    /// to a SUBSCRIBE may still be in transit.
    fn note_stray(&mut self, step: &Step<'_>, topic: TopicId, slot: SlotId) {
        let strays = &mut self.table.strays;
        if strays.len() < STRAYS_MAX {
            strays.entry(topic).or_insert((slot, step.now.monotonic_us));
        }
    }
}

/// Returns the reason why a leader does not feed a topic.
fn reason(settings: &Settings, fed: &Fed, slot: SlotId) -> ErrorResponse {
    match (Status::from_number(fed.status), fed.successor) {
        (Some(Status::Recreated), Some(successor)) => {
            let message = "the topic was deleted and made again; its offsets start anew";
            ErrorResponse::new(Status::Recreated, message).with(Detail::TopicId(successor))
        }
        (Some(Status::Truncated), _) => {
            ErrorResponse::new(Status::Truncated, "the topic lost records; offsets from its end on are new ones")
                .with(Detail::Next(fed.next))
                .with(Detail::Epoch(fed.epoch))
        }
        _ => settings.unknown_topic(slot, "the topic is gone: deleted, or its node started without it"),
    }
}
