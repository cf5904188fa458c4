//! The requests of this node's own clients: taken in, sent to where they belong, answered.
//!
//! Back-pressure is applied here and nowhere else: a client with too much unanswered, or who does not read its
//! answers, is not read. It loses nothing and is not cut off.

use super::action::{Action, Packet};
use super::conns::Client;
use super::fetch::{fit, fit_frame};
use super::forward::ReplyTo;
use super::pending::Pending;
use super::{Node, Step};
use crate::cube;
use crate::limits::{
    CLIENT_CHARGE_MAX, INFLIGHT_MAX, NODE_CHARGE_MAX, PAYLOAD_MAX, REQUEST_TIMEOUT_US, RESPONSE_CHARGE,
};
use crate::types::{ConnId, NodeId, RequestId};
use crate::wire::request::{ANY_NODE, Fetch, TraceTarget};
use crate::wire::response::ErrorResponse;
use crate::wire::{Flags, Frame, Kind, Opcode, Origin, Request, Response, Status, TrafficClass};

/// Of a request that nobody waits for.
const NO_ORIGIN: Origin = Origin::from_number(0);

/// To whom a request goes.
struct Destination {
    target: NodeId,
    kind: Kind,
    /// Of a probe, which goes its way whatever is known of the target.
    ttl: Option<u16>,
}

impl Node {
    pub(super) fn on_client_frame(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>) {
        let header = &frame.header;
        let opcode = Opcode::from_number(header.opcode);
        if frame.route.is_some() || opcode == Some(Opcode::Hello) {
            self.stats.protocol_errors += 1;
            return self.refuse(step, id, Status::ProtocolError, "HELLO comes once, and a client's frame has no route");
        }
        if header.flags.has(Flags::RESPONSE) {
            // The answer to our PING was heard; any other answers nothing.
            self.stats.responses_late += u64::from(opcode != Some(Opcode::Ping));
            return;
        }
        if opcode == Some(Opcode::Goaway) {
            return self.on_ended(step, id);
        }
        let Some(client) = self.conns.client_mut(id) else { return };
        client.last_request_id = client.last_request_id.max(header.request_id.0);
        self.stats.requests += 1;
        if let Err(error) = self.accept(step, id, frame, opcode) {
            self.refuse_request(step, id, frame, error);
        }
    }

    /// Checks a request as far as its way depends on it, and sends it there.
    fn accept(
        &mut self,
        step: &mut Step<'_>,
        id: ConnId,
        frame: &Frame<'_>,
        opcode: Option<Opcode>,
    ) -> Result<(), ErrorResponse> {
        if frame.header.flags.any(Flags::CRITICAL) {
            return Err(ErrorResponse::new(Status::Unsupported, "a critical flag that this version does not know"));
        }
        let Some(opcode) = opcode else {
            return Err(ErrorResponse::new(Status::UnknownOpcode, "no such operation in this version"));
        };
        let Ok(args) = frame.args() else {
            self.stats.corrupt += 1;
            return Err(ErrorResponse::new(Status::CorruptFrame, "args were damaged on the way"));
        };
        let request = super::serve::decode(opcode, args, frame)?;
        if self.drain.has_begun() {
            return Err(ErrorResponse::new(Status::ShuttingDown, "this node is ending; use another one"));
        }
        let destination = self.destination(&request)?;
        let is_oneway = frame.header.flags.has(Flags::ONEWAY);
        // Nobody waits for a one-way request, so nothing is noted of it.
        let noted = if is_oneway { Some(NO_ORIGIN) } else { self.note(step, id, frame, &request, destination.target) };
        let Some(origin) = noted else {
            return Err(ErrorResponse::new(Status::Overloaded, "this node has too many unanswered requests"));
        };
        let mut route = self.new_route(destination.target, destination.kind, TrafficClass::Bulk, origin);
        route.ttl = destination.ttl.unwrap_or(u16::MAX).min(route.ttl);
        if destination.target == self.settings.id {
            self.serve(step, &request, frame, ReplyTo::new(&frame.header, &route), &route);
        } else if destination.ttl.is_none() && self.routing.is_held(destination.target, step.now.monotonic_us) {
            let response = self.held_response(destination.target);
            self.reply(step, ReplyTo::new(&frame.header, &route), response);
        } else {
            self.forward(step, frame, route);
        }
        Ok(())
    }

    /// An answer came back from another node.
    pub(super) fn on_response(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, origin: Origin) {
        let Some(pending) = self.pending.remove(origin) else {
            self.stats.responses_late += 1;
            return;
        };
        let reached = frame.header.status != Status::Unreachable.number();
        self.routing.note_reached(pending.target, reached, step.now.monotonic_us);
        if let Some(frame_max) = self.release(step, &pending, frame.len() as u64) {
            self.stats.errors += u64::from(frame.header.status >= 0x40);
            if frame.len() > frame_max as usize {
                self.answer(step, &pending, fit_frame(frame, frame_max));
            } else {
                let request_id = pending.request_id;
                step.out.push(Action::Forward { conn: pending.conn, request_id, route: None });
            }
        }
        self.settle(step, pending.conn);
    }

    /// An answer was made here.
    pub(super) fn complete(&mut self, step: &mut Step<'_>, origin: Origin, response: Response) {
        let Some(pending) = self.pending.remove(origin) else { return };
        if response.status() == Status::Unreachable.number() {
            self.routing.note_reached(pending.target, false, step.now.monotonic_us);
        }
        if let Some(frame_max) = self.release(step, &pending, size_of_answer(&response)) {
            self.stats.errors += u64::from(response.status() >= 0x40);
            self.answer(step, &pending, fit(response, frame_max));
        }
        self.settle(step, pending.conn);
    }

    /// Requests whose answer did not come in time.
    pub(super) fn expire_pending(&mut self, step: &mut Step<'_>) {
        while let Some(pending) = self.pending.expire(step.now.monotonic_us) {
            self.stats.timeouts += 1;
            if self.release(step, &pending, RESPONSE_CHARGE).is_some() {
                self.stats.errors += 1;
                let node = self.name(pending.target);
                let message = format!("node {node} did not answer in time; whether it was done is not known");
                self.answer(step, &pending, ErrorResponse::new(Status::OutcomeUnknown, message).into());
            }
            self.settle(step, pending.conn);
        }
    }

    /// The client sends nothing more: when its answers are out, the connection ends.
    pub(super) fn on_ended(&mut self, step: &mut Step<'_>, id: ConnId) {
        match self.conns.client_mut(id) {
            Some(client) => {
                client.ended = true;
                self.settle(step, id);
            }
            None => self.close(step, id),
        }
    }

    /// Stops reading a client that has too much unanswered or does not read.
    pub(super) fn pause_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        let is_crowded = self.is_crowded();
        let Some(client) = self.conns.client_mut(id) else { return };
        if client.paused {
            return;
        }
        let is_due = client.full || client.inflight >= INFLIGHT_MAX || client.charge >= CLIENT_CHARGE_MAX;
        if is_due || is_crowded && client.inflight > 0 {
            client.paused = true;
            self.stats.pauses += 1;
            step.out.push(Action::Pause { conn: id });
            if is_crowded && !client.waits {
                client.waits = true;
                self.crowded.push(id);
            }
        }
    }

    /// Goes on reading a client whose answers are out by half.
    pub(super) fn resume_if_due(&mut self, step: &mut Step<'_>, id: ConnId) {
        let is_crowded = self.is_crowded();
        let Some(client) = self.conns.client_mut(id) else { return };
        let has_room = client.inflight <= INFLIGHT_MAX / 2 && client.charge <= CLIENT_CHARGE_MAX / 2 && !client.full;
        if client.paused && has_room && !(is_crowded && client.inflight > 0) {
            client.paused = false;
            step.out.push(Action::Resume { conn: id });
            // While it was not read it could not be heard.
            self.on_heard(step, id);
        }
    }

    /// Answers that a client did not take are out, or nobody wants them any more.
    pub(super) fn forgive_owed(&mut self, step: &mut Step<'_>, bytes: u64) {
        let was_crowded = self.is_crowded();
        self.owed -= bytes;
        self.make_use_of_room(step, was_crowded);
    }

    /// Do the answers of all clients, those to come and those not taken, take as much as they may?
    const fn is_crowded(&self) -> bool {
        self.charge + self.owed >= NODE_CHARGE_MAX
    }

    /// Goes on reading those who waited for room, when there is some again.
    fn make_use_of_room(&mut self, step: &mut Step<'_>, was_crowded: bool) {
        if !was_crowded || self.is_crowded() {
            return;
        }
        for id in std::mem::take(&mut self.crowded) {
            if let Some(client) = self.conns.client_mut(id) {
                client.waits = false;
            }
            self.resume_if_due(step, id);
        }
    }

    fn destination(&self, request: &Request<'_>) -> Result<Destination, ErrorResponse> {
        let of_node = |node: u16| {
            let target =
                if node == ANY_NODE { Some(self.settings.id) } else { NodeId::new(node, self.settings.dimension) };
            let target = target.ok_or_else(|| {
                let last = self.settings.dimension.nodes() - 1;
                ErrorResponse::new(Status::UnknownNode, format!("this cube has the nodes 0 to {last}, not {node}"))
            })?;
            Ok(Destination { target, kind: Kind::Node, ttl: None })
        };
        let of_topic = |name| {
            let target = cube::home(name, self.settings.dimension);
            Destination { target, kind: Kind::Group, ttl: None }
        };
        Ok(match request {
            Request::Ping { node, .. } | Request::Cluster { node } | Request::Stats { node } => of_node(*node)?,
            Request::List(list) => of_node(list.node)?,
            Request::Create { topic, .. } | Request::Query { topic } => of_topic(*topic),
            Request::Delete(topic) | Request::Info(topic) => of_topic(topic.name),
            Request::Publish(publish) => of_topic(publish.topic.name),
            Request::Fetch(fetch) => of_topic(fetch.topic.name),
            Request::Trace { ttl, target: TraceTarget::Node(node) } => {
                Destination { ttl: Some(*ttl), ..of_node(*node)? }
            }
            Request::Trace { ttl, target: TraceTarget::Topic(name) } => {
                Destination { ttl: Some(*ttl), ..of_topic(*name) }
            }
        })
    }

    /// Charges a request to its client and notes whose it is.
    fn note(
        &mut self,
        step: &mut Step<'_>,
        id: ConnId,
        frame: &Frame<'_>,
        request: &Request<'_>,
        target: NodeId,
    ) -> Option<Origin> {
        let payload = match request {
            Request::Fetch(Fetch { max_bytes: 0, .. }) => PAYLOAD_MAX,
            Request::Fetch(fetch) => fetch.max_bytes.min(PAYLOAD_MAX),
            Request::Ping { .. }
            | Request::Create { .. }
            | Request::Delete(_)
            | Request::List(_)
            | Request::Info(_)
            | Request::Publish(_)
            | Request::Query { .. }
            | Request::Trace { .. }
            | Request::Cluster { .. }
            | Request::Stats { .. } => 0,
        };
        let charge = u64::from(payload) + RESPONSE_CHARGE;
        let origin = self.pending.insert(Pending {
            conn: id,
            request_id: frame.header.request_id,
            opcode: frame.header.opcode,
            target,
            charge: u32::try_from(charge).expect("a payload and a little"),
            deadline_us: step.now.after_us(REQUEST_TIMEOUT_US),
        })?;
        self.charge += charge;
        if let Some(client) = self.conns.client_mut(id) {
            client.inflight += 1;
            client.charge += charge;
        }
        self.pause_if_due(step, id);
        Some(origin)
    }

    /// Gives back what an answered request was charged; the client's frame cap if an answer is to be sent. A client
    /// that does not read owes the answer's bytes instead, until it does.
    fn release(&mut self, step: &mut Step<'_>, pending: &Pending, answer_len: u64) -> Option<u32> {
        let was_crowded = self.is_crowded();
        let charge = u64::from(pending.charge);
        self.charge -= charge;
        let frame_max = self.conns.client_mut(pending.conn).map(|client| {
            client.inflight -= 1;
            client.charge -= charge;
            if client.full {
                client.owed += answer_len;
                self.owed += answer_len;
            }
            client.frame_max
        });
        self.make_use_of_room(step, was_crowded);
        frame_max
    }

    /// What follows for a client from one request less.
    fn settle(&mut self, step: &mut Step<'_>, id: ConnId) {
        let Some(client) = self.conns.client_mut(id) else { return };
        let Client { ended, inflight, paused, .. } = *client;
        if ended && inflight == 0 {
            self.close(step, id);
        } else if paused {
            self.resume_if_due(step, id);
        }
    }

    fn answer(&self, step: &mut Step<'_>, pending: &Pending, response: Response) {
        let packet = Packet::Response(pending.opcode, response);
        step.out.push(Action::Send { conn: pending.conn, request_id: pending.request_id, route: None, packet });
    }

    /// Answers a request that went nowhere.
    fn refuse_request(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>, error: ErrorResponse) {
        self.stats.errors += 1;
        if frame.header.flags.has(Flags::ONEWAY) {
            self.stats.oneways_dropped += 1;
            return;
        }
        let request_id: RequestId = frame.header.request_id;
        let packet = Packet::Response(frame.header.opcode, error.into());
        step.out.push(Action::Send { conn: id, request_id, route: None, packet });
    }
}

/// Bytes of an answer, roughly.
fn size_of_answer(response: &Response) -> u64 {
    let payload_len = if let Response::Fetched(fetched) = response { fetched.payload.len() } else { 0 };
    payload_len as u64 + RESPONSE_CHARGE
}
