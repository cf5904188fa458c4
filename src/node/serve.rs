//! Dispatches the requests that this node executes as their target, each to the file of its subject.

use super::follow::malformed;
use super::forward::ReplyTo;
use super::{Parts, Step};
use crate::wire::response::ErrorResponse;
use crate::wire::{DecodeError, Flags, Frame, Opcode, Request, Response, Route, Status};

impl Parts {
    /// Executes a request that arrived on a link with this node as its target.
    pub(super) fn on_request(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, route: &Route) {
        let reply = ReplyTo::new(&frame.header, route);
        let request = match (Opcode::from_number(frame.header.opcode), frame.args()) {
            _ if frame.header.flags.any(Flags::CRITICAL) => {
                Err(ErrorResponse::new(Status::Unsupported, "a critical flag that this version does not know"))
            }
            (None, _) => {
                Err(ErrorResponse::new(Status::UnknownOpcode, "the node that owns this does not know the operation"))
            }
            (Some(_), Err(_)) => {
                step.stats.corrupt += 1;
                Err(ErrorResponse::new(Status::CorruptFrame, "args were damaged on the way"))
            }
            (Some(opcode), Ok(args)) => decode(opcode, args, frame).map_err(malformed),
        };
        match request {
            Ok(request) => self.serve(step, &request, frame, reply, route),
            Err(error) => self.reply(step, reply, error.into()),
        }
    }

    /// Executes a request. A change of a topic is proposed, and answered once it is applied.
    pub(super) fn serve(
        &mut self,
        step: &mut Step<'_>,
        request: &Request<'_>,
        frame: &Frame<'_>,
        reply: ReplyTo,
        route: &Route,
    ) {
        let reply = if let Request::Subscribe(_) = request { reply.in_order_with_pushes() } else { reply };
        let response = match request {
            Request::Ping { token, .. } => Ok(self.pong(step, *token)),
            Request::Create { topic, retention } => self.propose_create(step, *topic, *retention, reply, route),
            Request::Delete(topic) => self.propose_delete(step, topic, reply),
            Request::Alter { topic, change } => self.propose_alter(step, topic, change, reply, route),
            Request::Trim { topic, first } => self.propose_trim(step, topic, *first, reply),
            Request::Producer { topic, opening } => self.propose_open_producer(step, topic, *opening, reply),
            Request::List(list) => Ok(self.list(step, list)),
            Request::Info(topic) => self.info(step, topic, route),
            Request::Publish(publish) => self.propose_publish(step, publish, frame, reply),
            Request::Fetch(fetch) => self.fetch(step, fetch, frame, reply, route.source),
            Request::Subscribe(subscribe) => self.subscribe(step, subscribe, frame, reply, route.source),
            Request::Feed { instance, reset, count } => self.on_feed(step, (*instance, *reset, *count), frame, route),
            Request::Heads(heads) => self.on_heads(step, heads, frame, route),
            Request::Unsubscribe { .. } | Request::Credit { .. } => {
                Err(ErrorResponse::new(Status::BadRequest, "the node of the subscription does this"))
            }
            Request::Query { topic } => Ok(self.query(step, *topic, route)),
            Request::Trace { .. } => Ok(self.traced(step, route)),
            Request::Cluster { .. } => Ok(self.view(step)),
            Request::Stats { .. } => Ok(self.counters(step)),
            Request::Nodes { from, .. } => Ok(self.nodes(step, *from)),
        };
        match response {
            Ok(Answer::Now(response)) => self.reply(step, reply, response),
            Ok(Answer::Later) => {}
            Err(error) => self.reply(step, reply, error.into()),
        }
    }
}

/// How a request is answered.
pub(super) enum Answer {
    /// With this response.
    Now(Response),
    /// Later: once its entry is applied or its records are read.
    Later,
}

/// Decodes a request whose args section has passed its checksum.
pub(super) fn decode<'a>(opcode: Opcode, args: &'a [u8], frame: &Frame<'_>) -> Result<Request<'a>, DecodeError> {
    if !frame.payload().is_empty() && !Request::has_payload(opcode) {
        return Err(DecodeError::Payload);
    }
    Request::decode(opcode, args)
}
