//! Dispatches the requests that this node executes as their target, each to the file of its subject.

use super::call::{Answer, Call, ReplyTo};
use super::frames::{decode, decode_response, malformed};
use super::group::{Applied, EndOfTopic, Finished, NewRecords, Part, Proposal};
use super::leaders::Copies;
use super::lookup::Lookup;
use super::news::News;
use super::readers::Effect;
use super::requests::Reply;
use super::subject::Subject;
use super::{Parts, Settings, Step};
use crate::entry::{Entry, Found, Room, Unreadable, Written};
use crate::limits::ANNOUNCE_US;
use crate::types::{NodeId, NodeSet, Offset, SlotId, TopicId};
use crate::wire::feed::Heads;
use crate::wire::response::{ErrorResponse, Published};
use crate::wire::{Class, Flags, Frame, Kind, Opcode, Origin, Request, Response, Route, Status, TrafficClass};

impl Parts {
    /// Executes a request that arrived on a link with this node as its target.
    pub(super) fn on_request(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, route: &Route) {
        let reply = ReplyTo::new(&frame.header, route);
        if self.publish_again_for(step, frame, reply) {
            return;
        }
        let request = match (Opcode::from_number(frame.header.opcode), frame.args()) {
            _ if frame.header.flags.any(Flags::CRITICAL) => {
                Err(ErrorResponse::new(Status::Unsupported, "a critical flag that this version does not know"))
            }
            (None, _) => Err(ErrorResponse::new(
                Status::UnknownOpcode,
                "the node that executes this request does not know the operation",
            )),
            (Some(_), Err(_)) => {
                step.stats.corrupt += 1;
                Err(ErrorResponse::new(Status::CorruptFrame, "the args section was damaged on the way"))
            }
            (Some(opcode), Ok(args)) => decode(opcode, args, frame).map_err(malformed),
        };
        let subject = request.and_then(|request| Ok((request, Subject::of(step.settings, &request)?)));
        match subject {
            Ok((_, subject)) if self.hand_on(step, frame, route, subject) => {}
            Ok((request, subject)) => {
                let (slot, since_us) = (subject.slot(), step.now.monotonic_us);
                self.serve(step, &request, &Call { frame, route, reply, slot, since_us });
            }
            Err(error) => self.reply(step, reply, error.into()),
        }
    }

    /// Forwards a request for a slot to the node that leads it, as far as is known, if that is another one. Returns
    /// false if this node has to answer: it leads, the request was handed on before, or the leader is out of reach. In
    /// the latter case NOT_LEADER is the answer, because UNREACHABLE would mean this node.
    fn hand_on(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, route: &Route, subject: Subject) -> bool {
        let Some(slot) = subject.slot().filter(|slot| !self.groups.leads(*slot)) else { return false };
        let leader = step.leaders.of(slot);
        if route.kind != Kind::Group || leader == step.settings.id {
            return false;
        }
        // Of kind node, so that it is not handed on again. The answer goes straight to the ingress.
        let onward = Route { kind: Kind::Node, target: leader, ..route.clone() };
        let is_sent = self.router.forward(step, frame, onward).is_ok();
        step.stats.forwarded += u64::from(is_sent);
        is_sent
    }

    /// Executes a request. A change of a topic is proposed, and answered once it is applied.
    pub(super) fn serve(&mut self, step: &mut Step<'_>, request: &Request<'_>, call: &Call<'_>) {
        let answer = call.slot.and_then(|slot| match self.groups.led_mut(slot) {
            Some(group) => group.execute(step, request, call),
            None => Some(Err(step.not_leader(slot))),
        });
        let answer = answer.unwrap_or_else(|| self.serve_here(step, request, call));
        let reply = if let Request::Subscribe(_) = request { call.reply.in_order_with_pushes() } else { call.reply };
        match answer {
            Ok(Answer::Later) => {}
            Ok(Answer::Unconfirmed) => self.wait_until_confirmed(step, call),
            // What is applied may be old, so a change that it excludes may be possible.
            answer if !self.is_final(step, call, &answer) => self.wait_until_confirmed(step, call),
            answer => self.answer(step, reply, answer),
        }
        if let (Request::Publish(publish), Some(slot)) = (request, call.slot) {
            self.note_repeat(call.frame, slot, publish);
        }
    }

    /// Returns true if an answer may be given now: this node still leads, or the answer says nothing about topics.
    fn is_final(&mut self, step: &Step<'_>, call: &Call<'_>, answer: &Result<Answer, ErrorResponse>) -> bool {
        if step.settings.copies == Copies::One {
            return true;
        }
        let is_transient = answer.as_ref().is_err_and(|error| matches!(Class::of(error.status), Class::Transient));
        let group = call.slot.and_then(|slot| self.groups.led_mut(slot));
        is_transient || group.is_none_or(|group| group.is_confirmed(step, call.since_us))
    }

    /// Executes a request that concerns no topic of this node.
    fn serve_here(
        &mut self,
        step: &mut Step<'_>,
        request: &Request<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        match request {
            Request::List(_) if !self.groups.are_confirmed(step, call.since_us) => Ok(Answer::Unconfirmed),
            Request::List(list) => Ok(Answer::Now(Response::Listed(self.groups.list(step, list)))),
            Request::Ping { token, .. } => Ok(self.pong(step, *token)),
            Request::Heads(heads) => self.on_heads(step, heads, call),
            Request::Raft { count } => self.on_raft(step, *count, call),
            Request::Chunks(chunks) => self.on_chunks(step, chunks, call),
            Request::Trace { .. } => Ok(self.traced(step, call.route)),
            Request::Cluster { .. } => Ok(self.view(step)),
            Request::Stats { .. } => Ok(self.counters(step)),
            Request::Nodes { from, .. } => Ok(self.nodes(step, *from)),
            Request::Unsubscribe { .. } | Request::Credit { .. } => Err(ErrorResponse::new(
                Status::BadRequest,
                "only the node that the subscriber is connected to executes this request",
            )),
            Request::Create { .. }
            | Request::Delete(_)
            | Request::Alter { .. }
            | Request::Trim { .. }
            | Request::Producer { .. }
            | Request::Info(_)
            | Request::Publish(_)
            | Request::Fetch(_)
            | Request::Subscribe(_)
            | Request::Feed { .. }
            | Request::Query { .. } => unreachable!("{request:?} concerns a topic"),
        }
    }

    /// Sends the answer to a request, unless it comes later.
    fn answer(&mut self, step: &mut Step<'_>, reply: ReplyTo, answer: Result<Answer, ErrorResponse>) {
        match answer {
            Ok(Answer::Now(response)) => self.reply_with_readers(step, reply, response),
            Ok(Answer::Later | Answer::Unconfirmed) => {}
            Err(error) => self.reply(step, reply, error.into()),
        }
    }

    /// Sends a response. If it describes a topic, its readers at this node are added to those at other nodes.
    pub(super) fn reply_with_readers(&mut self, step: &mut Step<'_>, reply: ReplyTo, mut response: Response) {
        if let Response::Described(description) | Response::Created { description, .. } = &mut response
            && let Some(topic) = &mut description.topic
        {
            self.readers.count_readers(topic);
        }
        self.reply(step, reply, response);
    }

    /// Adds to the log what the turn has proposed, as far as it has room.
    pub(super) fn seal(&mut self, step: &mut Step<'_>) {
        for (reply, error) in self.groups.seal(step) {
            self.reply(step, reply, error.into());
        }
        while let Some(slot) = self.groups.next_follow_up() {
            self.follow_up(step, slot);
        }
    }

    /// Handles a change of the log's room.
    pub(super) fn on_space(&mut self, step: &mut Step<'_>, room: Room) {
        let is_filled = room.is_full && !step.budget.room.is_full;
        step.budget.room = room;
        if is_filled {
            for slot in self.groups.slots() {
                self.groups.existing_mut(slot).move_leadership(step);
                self.follow_up(step, slot);
            }
        }
        if self.groups.has_open() {
            self.seal(step);
        }
    }

    /// Handles the report that something is durable. What is committed by that is one body if the group has a single
    /// member; in others, further ones follow with [`Self::on_committed`].
    pub(super) fn on_written(&mut self, step: &mut Step<'_>, written: Written) {
        let slot = written.slot();
        self.groups.existing_mut(slot).on_written(step.settings, written);
        self.apply_next(step, slot);
    }

    /// Applies a committed body.
    pub(super) fn on_committed(&mut self, step: &mut Step<'_>) {
        if let Some(slot) = self.groups.next_committed() {
            self.apply_next(step, slot);
        }
    }

    /// Applies the next committed body of a group, if there is one.
    fn apply_next(&mut self, step: &mut Step<'_>, slot: SlotId) {
        if let Some(entries) = self.groups.existing_mut(slot).begin_body(step.settings) {
            self.apply(step, slot, entries);
        }
        self.follow_up(step, slot);
    }

    /// Applies the entries of a body, answers those who have proposed them, and pushes what is new to its readers.
    fn apply(&mut self, step: &mut Step<'_>, slot: SlotId, entries: impl Iterator<Item = (Entry, Proposal)>) {
        // Batches of a topic that are committed together are pushed together.
        let mut news: Vec<(TopicId, Offset)> = Vec::new();
        let group = self.groups.existing_mut(slot);
        // Readers on other nodes, and on this one if it does not lead, get the records from the leader.
        let is_read = group.leads() && (group.has_feeds() || self.readers.len() > 0);
        for (entry, proposal) in entries {
            let group = self.groups.existing_mut(slot);
            let leads = group.leads();
            let Applied { answer, run, deleted, stored } = group.apply(step, entry, Some(proposal));
            if let Some((reply, response)) = answer {
                self.reply_with_readers(step, reply, response);
            }
            if let Some((parts, result)) = run {
                self.acknowledge(step, &parts, result);
            }
            if let Some(topic) = deleted.filter(|_| leads) {
                self.push_end(step, slot, topic);
            }
            news.extend(stored.filter(|_| is_read));
        }
        self.groups.existing_mut(slot).end_body(step);
        news.sort_unstable();
        news.dedup_by_key(|(topic, _)| *topic);
        for (topic, from) in news {
            self.push_records(step, slot, topic, from);
        }
        self.groups.evict(step);
    }

    /// Answers the requests of a run. `result` is the answer to a batch of all their records.
    fn acknowledge(&mut self, step: &mut Step<'_>, parts: &[Part], result: Result<Published, ErrorResponse>) {
        step.work.add_parts(parts.len() - 1);
        let mut published = match result {
            Ok(published) => published,
            Err(error) => {
                return parts.iter().for_each(|part| self.reply(step, part.reply, error.clone().into()));
            }
        };
        let clients: Vec<Part>;
        let parts = if step.settings.copies == Copies::One {
            parts
        } else {
            clients = parts.iter().map(|part| self.with_client(step, *part)).collect();
            &clients
        };
        for parts in parts.chunk_by(|before, after| before.reply.goes_with(&after.reply)) {
            published.count = parts[0].count;
            if parts.len() > 1 {
                self.reply_to_run(step, parts, published);
            } else {
                self.reply(step, parts[0].reply, Response::Published(published));
            }
            published.base = published.base.plus(parts.iter().map(|part| u64::from(part.count)).sum());
        }
    }

    /// Returns a batch of a run with its client to be answered, if it is a request of this node's own ingress, which is
    /// no longer pending then. It is answered with nobody if that request was answered already.
    fn with_client(&mut self, step: &mut Step<'_>, part: Part) -> Part {
        match part.reply {
            ReplyTo::Ingress { source, origin, .. } if source == step.settings.id => {
                let asked = self.ingress.on_executed_here(step, origin);
                Part { reply: asked.map_or(ReplyTo::Nobody, ReplyTo::Client), ..part }
            }
            ReplyTo::Ingress { .. } | ReplyTo::Client(_) | ReplyTo::Nobody => part,
        }
    }

    /// Pushes the newly committed records of a topic, from an offset on, to its readers.
    fn push_records(&mut self, step: &mut Step<'_>, slot: SlotId, id: TopicId, mut from: Offset) {
        let is_read_here = self.readers.follows(id);
        while let Some(group) = self.groups.of_mut(slot)
            && let Some(NewRecords { span, frame, targets }) = group.next_push(step, id, from, is_read_here)
        {
            from = span.end;
            if let Some(targets) = targets {
                let route = multicast_route(step.settings, targets, TrafficClass::Bulk);
                self.router.multicast(step, &route, News::Made(&frame));
            }
            self.readers.deliver(step, self.ingress.admission(), span, News::Made(&frame));
        }
    }

    /// Reports the deletion of a topic to its readers.
    fn push_end(&mut self, step: &mut Step<'_>, slot: SlotId, id: TopicId) {
        let Some(group) = self.groups.of_mut(slot) else { return };
        let EndOfTopic { error, frame } = group.end_feeds(step, id);
        if let Some((frame, targets)) = frame {
            let route = multicast_route(step.settings, targets, TrafficClass::Control);
            self.router.multicast(step, &route, News::Made(&frame));
        }
        self.readers.end(step, id, &error);
    }

    /// Handles the journal's answer to a query.
    pub(super) fn on_read(&mut self, step: &mut Step<'_>, lookup: Lookup, found: Result<Found, Unreadable>) {
        let Some(group) = self.groups.of_mut(lookup.topic.slot) else { return };
        if let Some(finished) = group.on_read(step, lookup, found) {
            self.finish_read(step, finished);
        }
    }

    /// Passes on the end of a read.
    fn finish_read(&mut self, step: &mut Step<'_>, finished: Finished) {
        match finished {
            Finished::Request(reply, answer) => self.answer(step, reply, answer),
            Finished::Pull(origin, fetched) => {
                self.readers.on_pulled_here(step, self.ingress.admission(), origin, fetched);
            }
        }
    }

    /// Ends leading all groups.
    pub(super) fn end_leading(&mut self, step: &mut Step<'_>) {
        for slot in self.groups.slots() {
            self.end_leading_of(step, slot);
        }
    }

    /// Ends leading a group, if this node leads it.
    pub(super) fn end_leading_of(&mut self, step: &mut Step<'_>, slot: SlotId) {
        if !self.groups.leads(slot) {
            return;
        }
        let ended = self.groups.existing_mut(slot).end_leading(step);
        step.leaders.pass_over(step.settings, slot, step.settings.id);
        self.readers.end_leading(step, slot);
        self.withdraw_unconfirmed(step, slot);
        ended.into_iter().for_each(|finished| self.finish_read(step, finished));
        self.groups.existing_mut(slot).note_usage(step.budget);
    }

    /// Does what the readers and the ingress need from others, until neither needs anything more.
    pub(super) fn carry_out(&mut self, step: &mut Step<'_>) {
        loop {
            if let Some(effect) = self.readers.next_effect() {
                self.carry_out_for_readers(step, effect);
            } else if let Some(effect) = self.ingress.next_effect(step) {
                self.carry_out_for_ingress(step, effect);
            } else {
                return;
            }
        }
    }

    fn carry_out_for_readers(&mut self, step: &mut Step<'_>, effect: Effect) {
        match effect {
            Effect::Report { slot, frame } => {
                // A FEED that is lost is sent again.
                let (leader, no_origin) = (step.leaders.of(slot), Origin::from_number(0));
                let is_stuck = leader == step.settings.id
                    || self
                        .send_request(step, leader, TrafficClass::Control, no_origin, frame)
                        .is_err_and(|stuck| stuck.is_unreachable());
                if is_stuck {
                    self.readers.note_unreachable(step, slot);
                }
            }
            Effect::Fetch { slot, origin, frame } => self.fetch_for_readers(step, slot, origin, frame),
            Effect::Read { slot, topic, from, max_bytes, origin } => {
                step.stats.pulls += 1;
                if let Some(group) = self.groups.of_mut(slot) {
                    group.pull(step, topic, from, max_bytes, origin);
                }
            }
            Effect::Answer { asked, response } => {
                self.ingress.charge_again(&asked);
                self.complete(step, asked, Reply::Made(response));
            }
        }
    }

    /// Sends a fetch for readers to another node.
    fn fetch_for_readers(&mut self, step: &mut Step<'_>, slot: SlotId, origin: Origin, frame: Frame<'static>) {
        let (leader, now_us) = (step.leaders.of(slot), step.now.monotonic_us);
        if leader == step.settings.id || self.ingress.is_unreachable(leader, now_us) {
            return self.readers.on_pull_failed(step, origin);
        }
        step.stats.pulls += 1;
        if let Err(stuck) = self.send_request(step, leader, TrafficClass::Bulk, origin, frame) {
            if stuck.is_unreachable() {
                self.ingress.note_reached(leader, false, now_us);
                self.readers.note_unreachable(step, slot);
            }
            self.readers.on_pull_failed(step, origin);
        }
    }

    /// Handles the answer of another node to a fetch for readers.
    pub(super) fn on_pulled(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, origin: Origin) {
        if let Some((leader, is_reached)) = self.readers.on_pulled(step, self.ingress.admission(), frame, origin) {
            self.ingress.note_reached(leader, is_reached, step.now.monotonic_us);
        }
    }

    /// Tells all other nodes, once its links are up, which slots this node has begun to lead.
    pub(super) fn announce(&mut self, step: &mut Step<'_>) {
        let (up, bits) = (self.router.up(), usize::from(step.settings.dimension.bits()));
        let is_late = self.clock.uptime_ms(step.now) * 1000 >= ANNOUNCE_US;
        if up == 0 || up < bits && !is_late {
            return;
        }
        let announced: Vec<_> = self.groups.iter_mut().flat_map(|group| group.announce(step)).collect();
        self.send_heads(step, announced);
    }

    /// Sends the HEADS that are due to the nodes that read topics of the groups that this node leads.
    pub(super) fn tell_heads(&mut self, step: &mut Step<'_>) {
        let heads: Vec<_> = self.groups.iter_mut().flat_map(|group| group.heads(step)).collect();
        self.send_heads(step, heads);
    }

    /// Sends HEADS. The receiver detects a lost one by its counter.
    fn send_heads(&mut self, step: &mut Step<'_>, heads: Vec<(NodeId, Frame<'static>)>) {
        for (node, frame) in heads {
            let _ = self.send_request(step, node, TrafficClass::Control, Origin::from_number(0), frame);
        }
    }

    /// Handles HEADS of the node that leads a slot.
    fn on_heads(&mut self, step: &mut Step<'_>, heads: &Heads, call: &Call<'_>) -> Result<Answer, ErrorResponse> {
        let (slot, leader) = (step.settings.slot(heads.slot)?, call.route.source);
        if !step.settings.is_member(slot, leader) {
            step.stats.false_claims += 1;
            return Err(ErrorResponse::new(Status::BadRequest, "HEADS must come from the node that leads the slot"));
        }
        if step.leaders.is_stale(slot, heads.term, leader) {
            return Err(step.not_leader(slot));
        }
        if !self.groups.leads(slot) {
            self.note_leader(step, slot, heads.term, leader);
        }
        self.readers.on_heads(step, heads, call)
    }

    /// Handles a node's answer to HEADS, which shows that it is alive.
    pub(super) fn on_heads_answered(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, source: NodeId) {
        let Some(Response::Heads { slot, .. }) = decode_response(step, Opcode::Heads, frame) else { return };
        let group = step.settings.slot(slot).ok().and_then(|slot| self.groups.led_mut(slot));
        if let Some(group) = group {
            group.on_heads_answered(source);
        }
    }
}

fn multicast_route(settings: &Settings, targets: NodeSet, class: TrafficClass) -> Route {
    let route = settings.new_route(settings.id, Kind::Multicast, class, Origin::from_number(0));
    Route { targets, ..route }
}
