//! Requests of this node's own clients: receives them, and passes them on to the part that executes or sends them;
//! gives clients their answers, and passes on what follows from these.

use super::action::{Action, Packet};
use super::asked::Asked;
use super::call::{Call, ReplyTo};
use super::conns::Client;
use super::cut::{fit, fit_frame};
use super::end::End;
use super::frames::{changed_frame, decode, malformed};
use super::ingress::{Attempt, Effect, Forwarding, out_of_memory};
use super::leaders::Copies;
use super::sources::SourceLimits;
use super::subject::Subject;
use super::{Parts, Step};
use crate::limits::CREATE_AGAIN_MS;
use crate::types::{ConnId, RequestId};
use crate::wire::frame::Kept;
use crate::wire::request::ANY_NODE;
use crate::wire::response::ErrorResponse;
use crate::wire::{Class, Flags, Frame, Kind, Opcode, Origin, Request, Response, Status, TrafficClass};

/// The origin of a request that the ingress does not wait for: this node executes it, or it is one-way.
const NO_ORIGIN: Origin = Origin::from_number(0);

/// The answer to a client's request.
#[derive(Debug)]
pub(super) enum Reply<'f, 'b> {
    /// Made by this node.
    Made(Response),
    /// The frame that is being handled.
    Received(&'f Frame<'b>),
}

impl Reply<'_, '_> {
    /// Returns the status.
    fn status(&self) -> u8 {
        match self {
            Self::Made(response) => response.status(),
            Self::Received(frame) => frame.header.status,
        }
    }
}

impl Parts {
    pub(super) fn on_client_frame(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>) {
        if self.publish_again(step, id, frame) {
            return;
        }
        let header = &frame.header;
        let opcode = Opcode::from_number(header.opcode);
        if frame.route.is_some() || opcode == Some(Opcode::Hello) {
            step.stats.protocol_errors += 1;
            return self.refuse(step, id, Status::ProtocolError, "HELLO comes once, and a client's frame has no route");
        }
        if header.flags.has(Flags::RESPONSE) {
            // The answer to a PING is only a sign of life, as any frame is. This node sends clients no other requests.
            step.stats.responses_late += u64::from(opcode != Some(Opcode::Ping));
            return;
        }
        if opcode == Some(Opcode::Goaway) {
            return self.on_ended(step, id);
        }
        let Some(client) = self.conns.client_mut(id) else { return };
        client.last_request_id = client.last_request_id.max(header.request_id.0);
        step.stats.requests += 1;
        if let Err(error) = self.accept(step, id, frame, opcode) {
            self.refuse_request(step, id, frame, error);
        }
    }

    /// Checks what a request's routing depends on, and executes or forwards the request.
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
        if opcode.is_between_nodes() || opcode.is_push() {
            return Err(ErrorResponse::new(Status::BadRequest, "only nodes may send this operation"));
        }
        let Ok(args) = frame.args() else {
            step.stats.corrupt += 1;
            return Err(ErrorResponse::new(Status::CorruptFrame, "the args section was damaged on the way"));
        };
        let mut request = decode(opcode, args, frame).map_err(malformed)?;
        if self.drain.has_begun() {
            return Err(ErrorResponse::new(Status::ShuttingDown, "this node is shutting down; use another one"));
        }
        if self.readers.serve(step, id, &request, frame)? {
            return Ok(());
        }
        let is_limited =
            if let Request::Fetch(fetch) = &mut request { self.ingress.limit_fetch(id, fetch) } else { false };
        let limited = is_limited.then(|| changed_frame(frame, &request));
        let asked = Asked::new(id, frame, &request);
        if let Request::Create { .. } = request {
            self.check_creates(step, id)?;
        }
        self.send_to_destination(step, asked, (frame, limited), &request).inspect_err(|_| {
            self.readers.take_pending(&asked);
            if let Request::Create { .. } = request {
                self.give_create_back(id);
            }
        })
    }

    /// Counts a CREATE for its client's source, or refuses it. The count is taken back when the answer says that no
    /// topic was created.
    fn check_creates(&mut self, step: &mut Step<'_>, id: ConnId) -> Result<(), ErrorResponse> {
        let Err(wait_us) = self.conns.take_create(id, step.now.monotonic_us) else { return Ok(()) };
        let SourceLimits { creates_per_second, creates_burst, .. } = step.settings.source_limits;
        let message = format!(
            "too many topics were created from this address: this node allows {creates_burst} at once, then \
             {creates_per_second} per second (--creates-burst, --creates-per-second); create them more slowly"
        );
        // Many clients may wait for the same allowance. The minimum keeps them from retrying every millisecond.
        let wait_ms = u32::try_from(wait_us.div_ceil(1000)).unwrap_or(u32::MAX).max(CREATE_AGAIN_MS);
        step.stats.creates_refused += 1;
        Err(step.settings.overloaded(message).retry_after(wait_ms))
    }

    /// Undoes [`Self::check_creates`].
    fn give_create_back(&mut self, id: ConnId) {
        // The client may have gone, but its request still has an account.
        if let Some(source) = self.ingress.admission().source_of(id) {
            self.conns.give_create_back(source);
        }
    }

    /// Executes a request here or forwards it. `limited`, if any, replaces the frame that has arrived: it is a FETCH
    /// whose limit was reduced.
    fn send_to_destination(
        &mut self,
        step: &mut Step<'_>,
        asked: Asked,
        (arrived, limited): (&Frame<'_>, Option<Frame<'static>>),
        request: &Request<'_>,
    ) -> Result<(), ErrorResponse> {
        let subject = Subject::of(step.settings, request)?;
        let is_here = match subject {
            // With several copies, another node may have to execute it in the end.
            Subject::Slot(slot) => step.settings.copies == Copies::One && self.groups.leads(slot),
            Subject::Node(node) => node == ANY_NODE || node == step.settings.id.index(),
            Subject::Peer => false,
        };
        if !is_here {
            if let Some(response) = self.read_at_once(step, asked, arrived, request, subject) {
                self.ingress.charge(step, asked.conn, asked.charge);
                self.reply_with_readers(step, ReplyTo::Client(asked), response);
                return Ok(());
            }
            let forwarding = Forwarding::of(step.settings, request, subject)?;
            if let (Request::Publish(publish), Some(slot)) = (request, subject.slot()) {
                self.note_repeat(arrived, slot, publish);
            }
            return self.send_on(step, asked, (arrived, limited), &forwarding);
        }
        let frame = limited.as_ref().unwrap_or(arrived);
        let route = step.settings.new_route(step.settings.id, Kind::Node, TrafficClass::Bulk, NO_ORIGIN);
        let reply = if frame.header.flags.has(Flags::ONEWAY) {
            ReplyTo::Nobody
        } else {
            self.ingress.charge(step, asked.conn, asked.charge);
            ReplyTo::Client(asked)
        };
        let (slot, since_us) = (subject.slot(), step.now.monotonic_us);
        self.serve(step, request, &Call { frame, route: &route, reply, slot, since_us });
        Ok(())
    }

    /// Returns the answer to a read of a topic that this node leads, if it can be given at once. Such a read need not
    /// be kept for another attempt, which would cost more than the read itself.
    fn read_at_once(
        &mut self,
        step: &mut Step<'_>,
        asked: Asked,
        frame: &Frame<'_>,
        request: &Request<'_>,
        subject: Subject,
    ) -> Option<Response> {
        let group = subject.slot().and_then(|slot| self.groups.led_mut(slot))?;
        if frame.header.flags.has(Flags::ONEWAY) || !self.ingress.admission().admits(asked.conn, asked.charge.into()) {
            return None;
        }
        let route = step.settings.new_route(step.settings.id, Kind::Node, TrafficClass::Bulk, NO_ORIGIN);
        let (slot, since_us) = (subject.slot(), step.now.monotonic_us);
        let call = Call { frame, route: &route, reply: ReplyTo::Client(asked), slot, since_us };
        group.read_at_once(step, request, &call, asked.charge)
    }

    /// Sends a request to the node that executes it, or lets it wait.
    pub(super) fn send_on(
        &mut self,
        step: &mut Step<'_>,
        asked: Asked,
        (arrived, limited): (&Frame<'_>, Option<Frame<'static>>),
        forwarding: &Forwarding,
    ) -> Result<(), ErrorResponse> {
        let frame = limited.as_ref().unwrap_or(arrived);
        let &Forwarding { to, ttl, .. } = forwarding;
        let is_oneway = frame.header.flags.has(Flags::ONEWAY);
        let attempt = if is_oneway {
            let target = self.ingress.node_for(step, to);
            if ttl.is_none() && self.ingress.is_unreachable(target, step.now.monotonic_us) {
                step.stats.oneways_dropped += 1;
                return Ok(());
            }
            Attempt { origin: NO_ORIGIN, target, kind: to.kind() }
        } else {
            let Some(attempt) = self.ingress.admit(step, asked, forwarding, frame)? else { return Ok(()) };
            attempt
        };
        let Attempt { origin, target, kind } = attempt;
        let mut route = step.settings.new_route(target, kind, TrafficClass::Bulk, origin);
        route.ttl = ttl.unwrap_or(u16::MAX).min(route.ttl);
        if target == step.settings.id {
            self.on_request(step, frame, &route);
            return Ok(());
        }
        let sent = match limited {
            Some(limited) => self.router.send(step, limited, route),
            None => self.router.forward(step, arrived, route),
        };
        match sent {
            Ok(conn) => self.ingress.on_sent(step, origin, conn),
            Err(_) if is_oneway => step.stats.oneways_dropped += 1,
            Err(stuck) => self.ingress.on_answered_here(step, origin, stuck.response(step.settings)),
        }
        Ok(())
    }

    /// Sends a request that has waited, or executes it if this node leads by now.
    fn send_attempt(&mut self, step: &mut Step<'_>, attempt: Attempt, frame: Kept) {
        let Attempt { origin, target, kind } = attempt;
        let route = step.settings.new_route(target, kind, TrafficClass::Bulk, origin);
        if target == step.settings.id {
            return self.on_request(step, &frame.into_frame(), &route);
        }
        match self.router.send(step, frame.into_frame(), route) {
            Ok(conn) => self.ingress.on_sent(step, origin, conn),
            Err(stuck) => self.ingress.on_answered_here(step, origin, stuck.response(step.settings)),
        }
    }

    /// Handles a response from another node.
    pub(super) fn on_response(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, origin: Origin) {
        if let Some(asked) = self.ingress.on_response(step, frame, origin) {
            self.complete(step, asked, Reply::Received(frame));
        }
    }

    /// Gives a client the answer to its request, unless the request becomes a reader that waits for records.
    pub(super) fn complete(&mut self, step: &mut Step<'_>, asked: Asked, reply: Reply<'_, '_>) {
        let is_create = asked.opcode == Opcode::Create.number();
        let decoded = match &reply {
            Reply::Received(frame) if is_create || asked.opens => asked.decode(frame),
            Reply::Received(_) | Reply::Made(_) => None,
        };
        let response = if let Reply::Made(response) = &reply { Some(response) } else { decoded.as_ref() };
        if is_create && response.is_some_and(has_created_nothing) {
            self.give_create_back(asked.conn);
        }
        let pending_reader = self.readers.take_pending(&asked);
        let mut subscribed = None;
        match (&pending_reader, response) {
            // While a FETCH waits it holds only a cursor, so what it has reserved is released.
            (Some(pending_reader), Some(Response::Fetched(fetched)))
                if !self.drain.has_begun() && self.readers.begin_poll(step, &asked, pending_reader, fetched) =>
            {
                self.ingress.discharge(step, &asked);
                return self.settle(step, asked.conn);
            }
            (Some(_), Some(Response::Subscribed(response))) => subscribed = Some(*response),
            _ => {}
        }
        let reply = self.within_budget(step, &asked, reply);
        self.ingress.discharge(step, &asked);
        self.send_reply(step, asked, reply);
        if let Some((pending_reader, subscribed)) = pending_reader.zip(subscribed) {
            self.readers.begin_stream(step, &asked, pending_reader, &subscribed);
        }
        self.settle(step, asked.conn);
    }

    /// Gives a client the answers to `count` requests of a run, which have reserved `charge` bytes together.
    pub(super) fn complete_run(
        &mut self,
        step: &mut Step<'_>,
        conn: ConnId,
        (request_id, packet): (RequestId, Packet),
        (count, charge): (usize, u32),
    ) {
        self.ingress.discharge_many(step, conn, count, charge);
        if self.conns.client_mut(conn).is_some() {
            step.out.push(Action::Send { conn, request_id, route: None, packet });
        }
        self.settle(step, conn);
    }

    /// Replaces records of this node for which there is no room by an error: a single one may be larger than what was
    /// reserved.
    fn within_budget<'f, 'b>(&self, step: &Step<'_>, asked: &Asked, reply: Reply<'f, 'b>) -> Reply<'f, 'b> {
        match &reply {
            Reply::Made(Response::Fetched(fetched)) if fetched.payload.len() as u64 > asked.charge.into() => {
                let is_admitted = self.ingress.admission().admits(asked.conn, fetched.payload.len() as u64);
                if is_admitted { reply } else { Reply::Made(out_of_memory(step.settings).into()) }
            }
            Reply::Made(_) | Reply::Received(_) => reply,
        }
    }

    /// Sends an answer to a client, if it is still connected, shortened to what fits its largest frame.
    fn send_reply(&mut self, step: &mut Step<'_>, asked: Asked, reply: Reply<'_, '_>) {
        let Some(&mut Client { frame_max, .. }) = self.conns.client_mut(asked.conn) else { return };
        let Asked { conn, request_id, opcode, .. } = asked;
        step.stats.errors += u64::from(reply.status() >= 0x40);
        let response = match reply {
            Reply::Made(response @ Response::Fetched(_)) => fit(response, frame_max),
            Reply::Made(response) => response,
            Reply::Received(frame) if frame.len() > frame_max as usize => {
                step.work.add_walk(frame.len());
                fit_frame(frame, frame_max)
            }
            Reply::Received(_) => {
                return step.out.push(Action::Forward { conn, request_id, route: None, droppable: false });
            }
        };
        let packet = Packet::Response(opcode, response);
        step.out.push(Action::Send { conn, request_id, route: None, packet });
    }

    /// After an answer, closes a client that has ended and waits for nothing more, or resumes reads from it if
    /// possible.
    fn settle(&mut self, step: &mut Step<'_>, id: ConnId) {
        let Some(&mut Client { ended, .. }) = self.conns.client_mut(id) else { return };
        if ended && !self.readers.has_readers(id) && self.ingress.admission().inflight_of(id) == 0 {
            self.close(step, id, End::ClosedByPeer);
        } else {
            self.ingress.resume_if_due(step, id);
        }
    }

    /// Does what the ingress needs from others.
    pub(super) fn carry_out_for_ingress(&mut self, step: &mut Step<'_>, effect: Effect) {
        match effect {
            Effect::Send { origin } => {
                if let Some((attempt, frame)) = self.ingress.begin_attempt(step, origin) {
                    self.send_attempt(step, attempt, frame);
                }
            }
            Effect::Answer { asked, response } => self.complete(step, asked, Reply::Made(response)),
            Effect::Resumed { conn } => self.on_heard(step, conn),
        }
    }

    /// Handles the event that a client's send queue has `bytes` bytes left after a write.
    pub(super) fn on_unsent(&mut self, step: &mut Step<'_>, id: ConnId, bytes: usize) {
        if self.ingress.on_unsent(step, id, bytes) {
            self.readers.wake_client(step, id);
        }
    }

    /// Handles the end of a client's stream of requests: the connection is closed once all responses are sent.
    pub(super) fn on_ended(&mut self, step: &mut Step<'_>, id: ConnId) {
        match self.conns.client_mut(id) {
            Some(client) => {
                client.ended = true;
                self.readers.end_client(step, id);
                self.settle(step, id);
            }
            None => self.close(step, id, End::ClosedByPeer),
        }
    }

    /// Answers a request that was neither executed nor forwarded.
    pub(super) fn refuse_request(&self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>, error: ErrorResponse) {
        step.stats.errors += 1;
        if frame.header.flags.has(Flags::ONEWAY) {
            step.stats.oneways_dropped += 1;
            return;
        }
        let request_id: RequestId = frame.header.request_id;
        let packet = Packet::Response(frame.header.opcode, error.into());
        step.out.push(Action::Send { conn: id, request_id, route: None, packet });
    }
}

/// Returns true if the response to a CREATE says that no topic was created.
fn has_created_nothing(response: &Response) -> bool {
    matches!(response, Response::Created { existed: true, .. })
        || matches!(Class::of(response.status()), Class::Refused | Class::Transient | Class::Stale)
}
