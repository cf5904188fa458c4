//! Requests of this node's own clients: receives them, forwards them to their target, and returns the responses.
//!
//! A request that this node executes itself is passed to `serve`; one for another node has an entry in `pending`.

use super::action::{Action, Packet};
use super::call::ReplyTo;
use super::charge::charge_of;
use super::cut::{fit, fit_frame};
use super::end::End;
use super::frames::changed_frame;
use super::frames::decode;
use super::frames::malformed;
use super::pending::{Pending, State};
use super::readers::{PendingReader, opens_reader};
use super::retry::{is_not_applied, is_of_one_attempt, is_repeatable};
use super::router::Stuck;
use super::sources::SourceLimits;
use super::{Parts, Step};
use crate::cube;
use crate::limits::{CREATE_AGAIN_MS, EXPIRED_PER_TURN, REQUEST_TIMEOUT_US};
use crate::types::{ConnId, NodeId, RequestId};
use crate::wire::frame::Kept;
use crate::wire::request::{ANY_NODE, TraceTarget};
use crate::wire::response::{ErrorResponse, Fetched};
use crate::wire::{Class, Flags, Frame, Kind, Opcode, Origin, Request, Response, Status, TrafficClass};

/// A client's request, as needed to respond to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The client's connection.
    pub conn: ConnId,
    /// The request id that the client chose.
    pub request_id: RequestId,
    /// The opcode as on the wire.
    pub opcode: u8,
    /// Bytes reserved for its response.
    pub charge: u32,
    /// True if it is a SUBSCRIBE or a FETCH with a waiting time, and so has a pending reader. Only then is the pending
    /// reader with this request id its own: another request of the client may have the same id.
    pub opens: bool,
}

impl Asked {
    fn new(conn: ConnId, frame: &Frame<'_>, request: &Request<'_>) -> Self {
        let header = &frame.header;
        let opens = opens_reader(request, header.flags);
        Self { conn, request_id: header.request_id, opcode: header.opcode, charge: charge_of(request), opens }
    }
}

/// The origin of a request without an entry in `pending`: this node executes it, or it is one-way.
const NO_ORIGIN: Origin = Origin::from_number(0);

/// Delay in milliseconds before a client should retry a request that was refused for lack of memory.
const OVERLOADED_AGAIN_MS: u32 = 50;

/// The target of a request.
struct Destination {
    target: NodeId,
    kind: Kind,
    /// The TTL of a TRACE, which is sent even if the target is known to be unreachable; `None` for other requests.
    ttl: Option<u16>,
}

impl Parts {
    pub(super) fn on_client_frame(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>) {
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
            return Err(ErrorResponse::new(Status::BadRequest, "only nodes send this"));
        }
        let Ok(args) = frame.args() else {
            step.stats.corrupt += 1;
            return Err(ErrorResponse::new(Status::CorruptFrame, "args were damaged on the way"));
        };
        let mut request = decode(opcode, args, frame).map_err(malformed)?;
        if self.drain.has_begun() {
            return Err(ErrorResponse::new(Status::ShuttingDown, "this node is ending; use another one"));
        }
        if self.readers.serve(step, id, &request, frame)? {
            return Ok(());
        }
        let is_limited = if let Request::Fetch(fetch) = &mut request { self.limit_fetch(id, fetch) } else { false };
        let limited = is_limited.then(|| changed_frame(frame, &request));
        let asked = Asked::new(id, frame, &request);
        if let Request::Create { .. } = request {
            self.check_creates(step, id)?;
        }
        self.send_to_destination(step, asked, (frame, limited), &request).inspect_err(|_| {
            self.readers.take_pending(&asked);
            if let (Request::Create { .. }, Some(source)) = (request, self.admission.source_of(id)) {
                self.conns.give_create_back(source);
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

    /// Undoes [`Self::check_creates`] if the response to a CREATE says that no topic was created.
    fn settle_create(&mut self, asked: &Asked, response: Option<&Response>) {
        if asked.opcode != Opcode::Create.number() {
            return;
        }
        let is_undone = response.is_some_and(|response| {
            matches!(response, Response::Created { existed: true, .. })
                || matches!(Class::of(response.status()), Class::Refused | Class::Transient | Class::Stale)
        });
        // The client may have gone, but its request still has an account.
        if is_undone && let Some(source) = self.admission.source_of(asked.conn) {
            self.conns.give_create_back(source);
        }
    }

    /// Executes a request here or forwards it. `other`, if any, replaces the frame that has arrived: it is a FETCH
    /// whose limit was reduced.
    fn send_to_destination(
        &mut self,
        step: &mut Step<'_>,
        asked: Asked,
        (arrived, other): (&Frame<'_>, Option<Frame<'static>>),
        request: &Request<'_>,
    ) -> Result<(), ErrorResponse> {
        let frame = other.as_ref().unwrap_or(arrived);
        let destination = self.destination(step, request)?;
        let is_oneway = frame.header.flags.has(Flags::ONEWAY);
        let is_here = destination.target == step.settings.id;
        let Destination { target, kind, ttl } = destination;
        let is_noted = !is_here && !is_oneway;
        if is_noted && self.hold_if_short(step, asked, (target, kind), frame) {
            return Ok(());
        }
        let origin = if is_noted { self.note(step, asked, frame, request, &destination)? } else { NO_ORIGIN };
        let mut route = step.settings.new_route(target, kind, TrafficClass::Bulk, origin);
        route.ttl = ttl.unwrap_or(u16::MAX).min(route.ttl);
        if is_here && is_oneway {
            self.serve(step, request, frame, ReplyTo::Nobody, &route);
        } else if is_here {
            self.charge(step, asked.conn, asked.charge);
            self.serve(step, request, frame, ReplyTo::Client(asked), &route);
        } else if ttl.is_none() && self.queue_behind_waiting(step, origin) {
            // It is sent after the requests for this target that already wait.
        } else if ttl.is_none() && self.router.is_held(target, step.now.monotonic_us) {
            let unreachable = Stuck::unreachable(step.settings, target).response(step.settings);
            self.reply(step, ReplyTo::new(&frame.header, &route), unreachable);
        } else if let Some(other) = other {
            match self.router.send(step, other, route) {
                Ok(conn) => self.note_sent(step, origin, conn),
                Err(stuck) => self.complete(step, origin, stuck.response(step.settings)),
            }
        } else if let Some(conn) = self.forward(step, frame, route)
            && is_noted
        {
            self.note_sent(step, origin, conn);
        }
        Ok(())
    }

    /// Adds an entry to `pending` for a request that another node is to answer.
    fn note(
        &mut self,
        step: &mut Step<'_>,
        asked: Asked,
        frame: &Frame<'_>,
        request: &Request<'_>,
        destination: &Destination,
    ) -> Result<Origin, ErrorResponse> {
        let deadline_us = step.now.after_us(REQUEST_TIMEOUT_US);
        let frame = destination.ttl.is_none().then(|| frame.keep());
        let place = (destination.target, destination.kind);
        let pending = self.new_pending(step, asked, place, frame, is_repeatable(request));
        let charge = asked.charge + pending.frame_charge();
        if !self.admission.admits(asked.conn, charge.into()) {
            return Err(self.out_of_memory(step));
        }
        let origin = self.pending.insert(pending, deadline_us);
        let origin = origin.ok_or_else(|| self.too_many_pending(step))?;
        self.charge(step, asked.conn, charge);
        Ok(origin)
    }

    /// Returns the entry of a request that is sent now. Without `frame` it cannot be sent again.
    pub(super) const fn new_pending(
        &mut self,
        step: &Step<'_>,
        asked: Asked,
        (target, kind): (NodeId, Kind),
        frame: Option<Kept>,
        is_repeatable: bool,
    ) -> Pending {
        let now_us = step.now.monotonic_us;
        Pending {
            asked,
            target,
            kind,
            is_repeatable: is_repeatable && frame.is_some(),
            frame,
            is_unsure: false,
            number: self.retries.number(),
            asked_us: now_us,
            sent_us: now_us,
            lost_us: 0,
            via: None,
            state: State::SENT,
        }
    }

    /// Returns the error for a request when the table of pending requests is full.
    pub(super) fn too_many_pending(&self, step: &Step<'_>) -> ErrorResponse {
        step.settings.overloaded("this node has too many unanswered requests").retry_after(20)
    }

    /// Handles a response from another node.
    pub(super) fn on_response(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, origin: Origin) {
        let status = frame.header.status;
        let is_latest = self.pending.is_latest(origin);
        // An earlier attempt has failed, but the latest one may still succeed.
        if is_latest.is_none_or(|is_latest| !is_latest && Class::of(status) != Class::Success) {
            step.stats.responses_late += 1;
            return;
        }
        let Some(pending) = self.pending.get_mut(origin) else { return };
        let (target, opcode, is_refused) = (pending.target, pending.asked.opcode, is_not_applied(status));
        self.router.note_reached(target, status != Status::Unreachable.number(), step.now.monotonic_us);
        if (is_refused || status == Status::SequenceGap.number())
            && let Some(refusal) = Self::answer_of(opcode, frame)
            && self.keep_refused(step, origin, refusal).is_ok()
        {
            return;
        }
        if status == Status::TooLarge.number() && self.hold_if_too_large(step, origin, frame) {
            return;
        }
        let Some(pending) = self.take_pending(step, origin) else { return };
        if pending.is_unsure && (is_refused || is_of_one_attempt(opcode, status)) {
            self.finish_unknown(step, pending.asked, target);
        } else {
            self.hand_back(step, frame, pending.asked, target);
        }
        if !is_refused {
            self.follow_on(step, &pending, is_latest == Some(true));
        }
    }

    /// Returns the error for a request when the response budget is used up.
    fn out_of_memory(&self, step: &Step<'_>) -> ErrorResponse {
        let message = "the clients of this node use all the memory that they may; retry, or use another node";
        step.settings.overloaded(message).retry_after(OVERLOADED_AGAIN_MS)
    }

    /// Forwards the response that is being handled to its client.
    fn hand_back(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, asked: Asked, target: NodeId) {
        if asked.opcode == Opcode::Create.number() {
            self.settle_create(&asked, Self::answer_of(asked.opcode, frame).as_ref());
        }
        let pending_reader = self.readers.take_pending(&asked);
        let pending_reader =
            pending_reader.and_then(|pending_reader| Some((pending_reader, Self::answer_of(asked.opcode, frame)?)));
        if let Some((pending_reader, Response::Fetched(fetched))) = &pending_reader
            && self.begins_to_wait(step, &asked, target, pending_reader, fetched)
        {
            return;
        }
        if let Some(frame_max) = self.discharge(step, &asked) {
            step.stats.errors += u64::from(frame.header.status >= 0x40);
            if frame.len() > frame_max as usize {
                step.work.add_walk(frame.len());
                answer(step, asked, fit_frame(frame, frame_max));
            } else {
                let (conn, request_id) = (asked.conn, asked.request_id);
                step.out.push(Action::Forward { conn, request_id, route: None, droppable: false });
            }
        }
        if let Some((pending_reader, Response::Subscribed(subscribed))) = pending_reader {
            self.readers.begin_stream(step, &asked, target, pending_reader, &subscribed);
        }
        self.settle(step, asked.conn);
    }

    /// Turns a FETCH that may wait into a reader if its answer has no records. Returns true if it waits and is answered
    /// later. While it waits it holds only a cursor, so what it has reserved is released.
    fn begins_to_wait(
        &mut self,
        step: &mut Step<'_>,
        asked: &Asked,
        home: NodeId,
        pending: &PendingReader,
        fetched: &Fetched,
    ) -> bool {
        let waits = !self.drain.has_begun() && self.readers.begin_poll(step, asked, home, pending, fetched);
        if waits {
            self.admission.finish(asked.conn, asked.charge);
            self.settle(step, asked.conn);
        }
        waits
    }

    /// Decodes a response; returns `None` when it is corrupt.
    pub(super) fn answer_of(opcode: u8, frame: &Frame<'_>) -> Option<Response> {
        let (args, payload) = (frame.args().ok()?, frame.keep_payload().ok()?);
        Response::decode(Opcode::from_number(opcode)?, frame.header.status, args, &payload).ok()
    }

    /// Handles the refusal, by this node itself, of a client's request for another node: no path leads to it, or it was
    /// recently found to be unreachable. A detour round a dead link may bring the frame of an earlier attempt back to
    /// this node, to be refused here; that says nothing about the latest attempt.
    pub(super) fn complete(&mut self, step: &mut Step<'_>, origin: Origin, response: Response) {
        if self.pending.is_latest(origin) != Some(true) {
            step.stats.responses_late += 1;
            return;
        }
        let Some(target) = self.pending.get_mut(origin).map(|pending| pending.target) else { return };
        if response.status() == Status::Unreachable.number() {
            self.router.note_reached(target, false, step.now.monotonic_us);
        }
        let Err(response) = self.keep_refused(step, origin, response) else { return };
        let Some(Pending { asked, is_unsure, .. }) = self.take_pending(step, origin) else { return };
        if is_unsure { self.finish_unknown(step, asked, target) } else { self.finish(step, asked, response) }
    }

    /// Sends a client the response to its request.
    pub(super) fn finish(&mut self, step: &mut Step<'_>, asked: Asked, response: Response) {
        self.settle_create(&asked, Some(&response));
        let (pending_reader, here) = (self.readers.take_pending(&asked), step.settings.id);
        if let (Some(pending_reader), Response::Fetched(fetched)) = (&pending_reader, &response)
            && self.begins_to_wait(step, &asked, here, pending_reader, fetched)
        {
            return;
        }
        let subscribed = if let Response::Subscribed(subscribed) = &response { Some(*subscribed) } else { None };
        let mut response = response;
        // A single record may be larger than what was reserved.
        if let Response::Fetched(fetched) = &response
            && fetched.payload.len() as u64 > asked.charge.into()
            && !self.admission.admits(asked.conn, fetched.payload.len() as u64)
        {
            response = self.out_of_memory(step).into();
        }
        if let Some(frame_max) = self.discharge(step, &asked) {
            step.stats.errors += u64::from(response.status() >= 0x40);
            let response = if let Response::Fetched(_) = response { fit(response, frame_max) } else { response };
            answer(step, asked, response);
        }
        if let Some((pending_reader, subscribed)) = pending_reader.zip(subscribed) {
            self.readers.begin_stream(step, &asked, here, pending_reader, &subscribed);
        }
        self.settle(step, asked.conn);
    }

    /// Answers the requests that have timed out with OUTCOME_UNKNOWN, so many in a turn.
    pub(super) fn expire_pending(&mut self, step: &mut Step<'_>) {
        for _ in 0..EXPIRED_PER_TURN {
            let Some(pending) = self.pending.expire(step.now.monotonic_us) else {
                return self.clock.set_behind(false);
            };
            self.end_pending(step, &pending);
            self.finish_unknown(step, pending.asked, pending.target);
        }
        self.clock.set_behind(true);
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

    fn destination(&self, step: &Step<'_>, request: &Request<'_>) -> Result<Destination, ErrorResponse> {
        let (here, dimension) = (step.settings.id, step.settings.dimension);
        let of_node = |node: u16| {
            let target = if node == ANY_NODE { Some(here) } else { NodeId::new(node, dimension) };
            let target = target.ok_or_else(|| {
                let last = dimension.nodes() - 1;
                ErrorResponse::new(Status::UnknownNode, format!("this cube has the nodes 0 to {last}, not {node}"))
            })?;
            Ok(Destination { target, kind: Kind::Node, ttl: None })
        };
        let of_topic = |name| {
            let target = cube::home(name, dimension);
            Destination { target, kind: Kind::Group, ttl: None }
        };
        Ok(match request {
            Request::Ping { node, .. }
            | Request::Cluster { node }
            | Request::Stats { node }
            | Request::Nodes { node, .. } => of_node(*node)?,
            Request::List(list) => of_node(list.node)?,
            Request::Create { topic, .. } | Request::Query { topic } => of_topic(*topic),
            Request::Delete(topic) | Request::Info(topic) => of_topic(topic.name),
            Request::Alter { topic, .. } | Request::Trim { topic, .. } | Request::Producer { topic, .. } => {
                of_topic(topic.name)
            }
            Request::Publish(publish) => of_topic(publish.topic.name),
            Request::Fetch(fetch) => of_topic(fetch.topic.name),
            Request::Subscribe(subscribe) => of_topic(subscribe.topic.name),
            Request::Unsubscribe { .. } | Request::Credit { .. } | Request::Feed { .. } | Request::Heads(_) => {
                return Err(ErrorResponse::new(Status::BadRequest, "this is not sent on"));
            }
            Request::Trace { ttl, target: TraceTarget::Node(node) } => {
                Destination { ttl: Some(*ttl), ..of_node(*node)? }
            }
            Request::Trace { ttl, target: TraceTarget::Topic(name) } => {
                Destination { ttl: Some(*ttl), ..of_topic(*name) }
            }
        })
    }

    /// Answers a request that was neither executed nor forwarded.
    fn refuse_request(&self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>, error: ErrorResponse) {
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

fn answer(step: &mut Step<'_>, asked: Asked, response: Response) {
    let packet = Packet::Response(asked.opcode, response);
    step.out.push(Action::Send { conn: asked.conn, request_id: asked.request_id, route: None, packet });
}
