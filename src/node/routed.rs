//! Frames with a route that arrive on a link: they are executed or completed here, or forwarded. Responses to them.

use super::action::Packet;
use super::asked::Asked;
use super::call::ReplyTo;
use super::group::Part;
use super::news::News;
use super::requests::Reply;
use super::router::Stuck;
use super::{Parts, Settings, Step};
use crate::cube;
use crate::types::{Dimension, NodeId};
use crate::wire::response::{Ack, Acks, Published};
use crate::wire::{Flags, Frame, Kind, Opcode, Origin, Response, Route, TrafficClass};

impl Parts {
    /// Handles a frame with a route that was received on a link: executes or completes it here, or forwards it.
    pub(super) fn on_routed(&mut self, step: &mut Step<'_>, frame: &Frame<'_>) {
        let Some(route) = &frame.route else { return };
        let opcode = Opcode::from_number(frame.header.opcode);
        if route.kind == Kind::Multicast {
            self.router.multicast(step, route, News::Handled(frame));
            if route.targets.contains(step.settings.id) {
                self.readers.on_push(step, self.ingress.admission(), frame);
            }
        } else if route.target != step.settings.id {
            step.stats.forwarded += 1;
            self.forward(step, frame, route);
        } else if frame.header.flags.has(Flags::RESPONSE) {
            match opcode {
                Some(Opcode::Feed) => {
                    if let Some(slot) = self.readers.on_fed(step, frame) {
                        self.ingress.follow_leader(step, slot);
                    }
                }
                Some(Opcode::Chunks) => self.on_chunk(step, frame, route),
                Some(Opcode::Heads) => self.on_heads_answered(step, frame, route.source),
                _ if self.readers.has_asked(route.origin) => self.on_pulled(step, frame, route.origin),
                _ => self.on_response(step, frame, route.origin),
            }
        } else if opcode.is_some_and(Opcode::is_push) {
            self.readers.on_push(step, self.ingress.admission(), frame);
        } else {
            self.on_request(step, frame, route);
        }
    }

    /// Forwards the frame of this event along its route. If that fails, the source of a request gets an error; a
    /// response is dropped and counted.
    fn forward(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, route: &Route) {
        match self.router.forward(step, frame, route.clone()) {
            Ok(_) => {}
            Err(_) if frame.header.flags.has(Flags::RESPONSE) => step.stats.responses_lost += 1,
            Err(stuck) => {
                let reply = ReplyTo::new(&frame.header, route);
                self.reply(step, reply, stuck.response(step.settings));
            }
        }
    }

    /// Sends the response to a request back to its ingress, or to the client if this node is the ingress.
    pub(super) fn reply(&mut self, step: &mut Step<'_>, to: ReplyTo, response: Response) {
        match to {
            ReplyTo::Client(asked) => self.complete(step, asked, Reply::Made(response)),
            ReplyTo::Ingress { source, origin, .. } if source == step.settings.id => {
                self.ingress.on_answered_here(step, origin, response);
            }
            ReplyTo::Ingress { source, origin, request_id, opcode, class, dimension } => {
                let route = route_back(step.settings, source, (class, dimension, origin));
                let packet = Packet::Response(opcode, response);
                if self.router.respond(step, request_id, packet, route).is_err() {
                    step.stats.responses_lost += 1;
                }
            }
            ReplyTo::Nobody => {
                step.stats.oneways_dropped += u64::from(matches!(response, Response::Error(_)));
            }
        }
    }

    /// Sends the responses to the requests of a run whose responses go the same way. `first` is the first response.
    pub(super) fn reply_to_run(&mut self, step: &mut Step<'_>, parts: &[Part], first: Published) {
        let batches: Vec<Ack> = parts.iter().map(|part| part.reply.ack(part.count)).collect();
        let (request_id, count) = (batches[0].request_id, batches.len());
        let packet = Packet::Published(Box::new(Acks { first, batches }));
        match parts[0].reply {
            ReplyTo::Client(Asked { conn, .. }) => {
                let charge = |part: &Part| if let ReplyTo::Client(asked) = part.reply { asked.charge } else { 0 };
                let charge = parts.iter().map(charge).sum();
                self.complete_run(step, conn, (request_id, packet), (count, charge));
            }
            ReplyTo::Ingress { source, class, dimension, origin, .. } => {
                let route = route_back(step.settings, source, (class, dimension, origin));
                if self.router.respond(step, request_id, packet, route).is_err() {
                    step.stats.responses_lost += count as u64;
                }
            }
            ReplyTo::Nobody => unreachable!("responses to nobody do not go together"),
        }
    }

    /// Sends a request of this node's own to a node.
    ///
    /// # Errors
    /// The reason why it cannot be sent, which is counted.
    pub(super) fn send_request(
        &mut self,
        step: &mut Step<'_>,
        target: NodeId,
        class: TrafficClass,
        origin: Origin,
        frame: Frame<'static>,
    ) -> Result<(), Stuck> {
        let kind = if class == TrafficClass::Bulk { Kind::Group } else { Kind::Node };
        let route = step.settings.new_route(target, kind, class, origin);
        self.router.send(step, frame, route).map(drop)
    }
}

/// Returns the route of a response to an ingress.
fn route_back(
    settings: &Settings,
    source: NodeId,
    (class, dimension, origin): (TrafficClass, Dimension, Origin),
) -> Route {
    Route { dimension, ttl: cube::hops_limit(dimension), ..settings.new_route(source, Kind::Node, class, origin) }
}
