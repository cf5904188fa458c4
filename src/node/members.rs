//! What the members of replica groups tell each other (RAFT), and what this node does about what its own members have
//! decided.

#[cfg(test)]
mod tests;

use super::action::Action;
use super::call::{Answer, Call};
use super::frames::{decode_response, malformed, request_frame, request_frame_of, sound_payload};
use super::group::{FollowUp, Group, member_of, node_of};
use super::leaders::Copies;
use super::{Parts, Settings, Step};
use crate::cube;
use crate::entry::{CopyDone, LogPart, LogQuery, Unreadable};
use crate::limits::{RAFT_FRAME_BYTES, RAFT_ITEMS_MAX};
use crate::replica::{Joining, Message, Payload, Role};
use crate::types::{Link, NodeId, RequestId, SlotId};
use crate::wire::chunks::Chunks;
use crate::wire::field::Writer;
use crate::wire::raft::RaftItem;
use crate::wire::response::ErrorResponse;
use crate::wire::{Flags, Frame, Kind, Opcode, Origin, Request, Response, Route, Status, TrafficClass};

/// A message that is to be sent at the end of the event.
#[derive(Debug)]
pub(super) struct Outgoing {
    way: Way,
    item: RaftItem,
}

/// Messages that go the same way share a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    node: NodeId,
    /// True for messages with entries, which are bulk traffic.
    is_bulk: bool,
    /// The link to the home of the group, if the frame has to go around the home.
    avoided: Option<Link>,
}

impl Way {
    fn of(settings: &Settings, slot: SlotId, message: &Message) -> Option<Self> {
        let node = node_of(message.to, settings.dimension)?;
        let is_bulk = matches!(&message.payload, Payload::Append { entries, .. } if !entries.is_empty());
        let home = cube::node_of(slot, settings.dimension);
        // The other two members are neighbours of the home, and the shortest way between them may lead over it. When it
        // has died, their election would wait until that link is known to be down.
        let is_between_others = home != node && home != settings.id;
        let bit = (home.index() ^ settings.id.index()).trailing_zeros();
        let link = u8::try_from(bit).ok().filter(|_| is_between_others).map(|bit| Link::new(settings.id, bit));
        Some(Self { node, is_bulk, avoided: planted!("followers talk over the home", link, None) })
    }

    fn route(&self, settings: &Settings) -> Route {
        let class = if self.is_bulk { TrafficClass::Bulk } else { TrafficClass::Control };
        settings.new_route(self.node, Kind::Node, class, Origin::from_number(0))
    }
}

impl Parts {
    /// Handles RAFT: messages for members on this node.
    pub(super) fn on_raft(
        &mut self,
        step: &mut Step<'_>,
        count: u16,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        if !call.frame.header.flags.has(Flags::ONEWAY) {
            return Err(ErrorResponse::new(Status::BadRequest, "RAFT has no answer: send it with the ONEWAY flag"));
        }
        let items = RaftItem::decode_all(&sound_payload(call.frame)?, count).map_err(malformed)?;
        for RaftItem { slot, message } in items {
            // No node speaks for a member on another one.
            let is_own = message.from == member_of(call.route.source);
            let Some(group) = self.groups.of_mut(slot).filter(|_| is_own) else {
                step.stats.oneways_dropped += 1;
                continue;
            };
            if !group.on_message(step.settings, message) {
                step.stats.oneways_dropped += 1;
            }
            self.follow_up(step, slot);
        }
        Ok(Answer::Later)
    }

    /// Handles the journal's answer to a query for bodies that another member lacks.
    pub(super) fn on_fetched(&mut self, step: &mut Step<'_>, query: LogQuery, part: Result<LogPart, Unreadable>) {
        if let Some(group) = self.groups.of_mut(query.slot) {
            group.on_fetched(step.settings, query, part);
            self.follow_up(step, query.slot);
        }
    }

    /// Handles CHUNKS: another member copies the state of a group.
    pub(super) fn on_chunks(
        &mut self,
        step: &mut Step<'_>,
        chunks: &Chunks,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let slot = step.settings.slot(chunks.slot)?;
        match self.groups.of_mut(slot) {
            Some(group) => group.serve_chunk(step, chunks, (call.route.source, call.reply)),
            None => Err(step.not_leader(slot)),
        }
    }

    /// Handles the answer to CHUNKS.
    pub(super) fn on_chunk(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, route: &Route) {
        let number = route.origin.number();
        let slot = self.groups.iter().find(|group| group.has_asked(route.source, number)).map(Group::slot);
        let Some(slot) = slot else {
            step.stats.responses_late += 1;
            return;
        };
        let answer = match decode_response(step, Opcode::Chunks, frame) {
            Some(Response::Chunk(chunk)) => Ok(*chunk),
            Some(Response::Error(error)) => Err(*error),
            Some(_) | None => return,
        };
        self.groups.existing_mut(slot).on_chunk(step, number, answer);
        self.follow_up(step, slot);
    }

    /// Handles the store's report of what it has done for a copy.
    pub(super) fn on_copied(&mut self, step: &mut Step<'_>, done: CopyDone) {
        if let Some(group) = self.groups.of_mut(done.slot) {
            group.on_copied(step, done);
            self.follow_up(step, done.slot);
        }
    }

    /// Asks another node for a part of a copy. A lost request is sent again.
    fn ask_for_chunk(&mut self, step: &mut Step<'_>, node: NodeId, number: u64, chunks: Chunks) {
        let frame = request_frame(&Request::Chunks(chunks), &[], RequestId(0), Flags::default());
        let origin = Origin::from_number(number);
        let _ = self.router.send(step, frame, step.settings.new_route(node, Kind::Node, TrafficClass::Bulk, origin));
    }

    /// Advances the clocks of this node's members by a tick, and answers requests that have waited for too long.
    pub(super) fn tick_members(&mut self, step: &mut Step<'_>) {
        if step.settings.copies == Copies::One {
            return;
        }
        for slot in self.groups.slots() {
            for reply in self.groups.existing_mut(slot).on_tick(step) {
                let message = "the request may or may not have been executed: too few of the nodes that keep the topic \
                    have stored it in time";
                self.reply(step, reply, ErrorResponse::new(Status::OutcomeUnknown, message).into());
            }
            self.follow_up(step, slot);
        }
        self.expire_unconfirmed(step);
    }

    /// Carries out what this node's member of a group has decided: a change of its role, messages to other members, and
    /// answers to those who wait for what will not be done.
    pub(super) fn follow_up(&mut self, step: &mut Step<'_>, slot: SlotId) {
        let group = self.groups.existing_mut(slot);
        if !group.has_follow_up() {
            return;
        }
        let FollowUp {
            role,
            has_begun,
            confirmed_us,
            messages,
            fetches,
            withdrawn,
            unknown,
            tasks,
            chunks,
            fault,
            joining,
        } = group.take_follow_up();
        group.file_notes(step);
        group.note_usage(step.budget);
        for message in messages {
            if let Some(way) = Way::of(step.settings, slot, &message) {
                self.outbox.push(Outgoing { way, item: RaftItem { slot, message } });
            }
        }
        step.out.extend(fetches.into_iter().map(|query| Action::Fetch { query }));
        step.out.extend(tasks.into_iter().map(|task| Action::Copy { task }));
        self.asks.extend(chunks);
        for reply in unknown {
            let message = "another node leads, and whether the request was executed before that is not known";
            self.reply(step, reply, ErrorResponse::new(Status::OutcomeUnknown, message).into());
        }
        if let Some(role) = role {
            self.on_role(step, slot, role);
        }
        if has_begun {
            self.readers.begin_leading(step, &self.groups, slot);
            self.announce(step);
            self.ingress.retry_soon(step);
            self.bequeath(step, slot);
        }
        if let Some(asked_us) = confirmed_us {
            self.groups.existing_mut(slot).on_confirmed(step, asked_us);
            self.serve_confirmed(step);
        }
        if let Some(fault) = fault {
            log::error!(
                "the copy of slot {} on this node is bad and is not used any more: {fault}; stop the node, move its \
                 data folder away, and start it with an empty one, into which the other nodes copy the topics",
                slot.index()
            );
            step.leaders.pass_over(step.settings, slot, step.settings.id);
            self.end_leading_of(step, slot);
        }
        joining.into_iter().for_each(|joining| report(step.settings, slot, joining));
        for reply in withdrawn {
            let error = step.not_leader(slot);
            self.reply(step, reply, error.into());
        }
    }

    fn on_role(&mut self, step: &mut Step<'_>, slot: SlotId, role: Role) {
        match role {
            Role::Leader { term } => self.note_leader(step, slot, term, step.settings.id),
            Role::Follower { term, leader } => {
                match leader.and_then(|leader| node_of(leader, step.settings.dimension)) {
                    Some(leader) => self.note_leader(step, slot, term, leader),
                    // The heir is a candidate in this term. If it is not elected, the next leader has a later term.
                    None => match self.groups.existing_mut(slot).take_heir() {
                        Some(heir) => self.note_leader(step, slot, term, heir),
                        None => step.leaders.pass_over(step.settings, slot, step.settings.id),
                    },
                }
                self.end_leading_of(step, slot);
            }
        }
    }

    /// Records that a node leads a slot in this term. If that is news, what was asked of another node is asked of it.
    pub(super) fn note_leader(&mut self, step: &mut Step<'_>, slot: SlotId, term: u64, node: NodeId) {
        if step.leaders.note(slot, term, node) {
            self.ingress.follow_leader(step, slot);
            if node != step.settings.id && !self.groups.leads(slot) {
                self.readers.on_new_leader(step, slot);
            }
        }
    }

    /// Sends what the members have to tell others, and asks for parts of copies.
    pub(super) fn send_messages(&mut self, step: &mut Step<'_>) {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.sort_by_key(|outgoing| outgoing.way);
        for messages in outbox.chunk_by(|before, after| before.way == after.way) {
            let mut rest = messages;
            while !rest.is_empty() {
                let (together, others) = rest.split_at(fitting(rest));
                self.send_together(step, together);
                rest = others;
            }
        }
        outbox.clear();
        self.outbox = outbox;
        for (node, number, chunks) in std::mem::take(&mut self.asks) {
            self.ask_for_chunk(step, node, number, chunks);
        }
    }

    /// Sends messages in one frame. Members tolerate that a message is lost.
    fn send_together(&mut self, step: &mut Step<'_>, messages: &[Outgoing]) {
        let bytes = messages.iter().map(|outgoing| outgoing.item.encoded_len()).sum();
        let encode =
            |out: &mut Vec<u8>| messages.iter().for_each(|outgoing| outgoing.item.encode(&mut Writer::new(out)));
        let count = u16::try_from(messages.len()).expect("at most RAFT_ITEMS_MAX");
        let frame = request_frame_of(&Request::Raft { count }, (bytes, encode), RequestId(0), Flags::ONEWAY);
        let Way { avoided, .. } = messages[0].way;
        let mut route = messages[0].way.route(step.settings);
        avoided.into_iter().for_each(|link| route.down.insert(link));
        let sent = self.router.send(step, frame.clone(), route);
        if sent.is_err_and(|stuck| stuck.is_unreachable()) && avoided.is_some() {
            let route = messages[0].way.route(step.settings);
            let _ = self.router.send(step, frame, route);
        }
    }
}

/// Logs for the operator how far this node's member has come in joining the group of a slot.
fn report(settings: &Settings, slot: SlotId, joining: Joining) {
    let name =
        |member| node_of(member, settings.dimension).map_or_else(String::new, |node| node.binary(settings.dimension));
    let slot = slot.index();
    match joining {
        Joining::Waits { first, second: None } => {
            log::warn!("slot {slot} waits for node {}, which keeps its topics as well", name(first));
        }
        Joining::Waits { first, second: Some(second) } => {
            log::warn!(
                "slot {slot} waits for nodes {} and {}, which keep its topics as well",
                name(first),
                name(second)
            );
        }
        Joining::Older { member } => log::error!(
            "the copy of slot {slot} on node {} is from before these topics were recovered (dht-node recover), and takes \
             no part: stop that node, move its data folder away, and start it with an empty one",
            name(member)
        ),
        Joining::OneLeft { member } => log::error!(
            "only node {} has the topics of slot {slot}, and a majority of the three nodes that keep them is needed: if \
             the disks of the two others are lost, stop node {0}, run dht-node recover on its data folder, and start it",
            name(member)
        ),
        Joining::Leaderless => log::error!(
            "the topics of slot {slot} are not available: two of the three nodes that keep them must run; if the disks of \
             two are lost, stop this node, run dht-node recover on its data folder, and start it"
        ),
        Joining::TwoLogs => log::error!(
            "another node has topics of slot {slot} of its own, and the nodes cannot decide which to keep: stop the \
             node whose topics are to be given up, move its data folder away, and start it with an empty one"
        ),
        Joining::Outside => log::error!(
            "the other nodes that keep slot {slot} began without the topics in this data folder: stop the node, move \
             the folder away, and start the node with an empty one, into which they copy theirs"
        ),
        Joining::Founded => {
            log::info!("the three nodes of slot {slot} have found each other and keep its topics from now on")
        }
        Joining::Joined => log::info!("this node keeps the topics of slot {slot} together with two others"),
        Joining::Recovers => {
            log::warn!("this data folder is new: the topics of slot {slot} are copied into it from two other nodes")
        }
        Joining::Completed => log::info!("this node has all topics of slot {slot}"),
    }
}

/// Returns how many of the first messages a frame has: at least one.
fn fitting(messages: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let fits = |outgoing: &&Outgoing| {
        bytes += outgoing.item.encoded_len();
        bytes <= RAFT_FRAME_BYTES
    };
    messages.iter().take(RAFT_ITEMS_MAX).take_while(fits).count().max(1)
}
