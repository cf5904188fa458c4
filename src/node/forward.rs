//! What is on its way: requests to other nodes, answers back to their ingress.

use super::action::{Action, Packet};
use super::ingress::Asked;
use super::{Node, Step};
use crate::cube::{self, NextHop};
use crate::types::{ConnId, LinkSet, NodeId, NodeSet, RequestId};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Flags, Frame, Header, Kind, Origin, Response, Route, Status, TrafficClass};

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReplyTo {
    /// A client of this node.
    Client(Asked),
    /// The ingress of somebody else's client, or of our own for what could not be sent on.
    Ingress {
        /// Which node.
        source: NodeId,
        /// The entry there.
        origin: Origin,
        /// What the client calls it.
        request_id: RequestId,
        /// As on the wire.
        opcode: u8,
        /// The request's.
        class: TrafficClass,
    },
    /// The request was one-way.
    Nobody,
}

/// Why a frame goes no further.
enum Stuck {
    Expired,
    Unreachable,
    Overloaded,
}

impl ReplyTo {
    pub(super) const fn new(header: &Header, route: &Route) -> Self {
        if header.flags.has(Flags::ONEWAY) {
            return Self::Nobody;
        }
        Self::Ingress {
            source: route.source,
            origin: route.origin,
            request_id: header.request_id,
            opcode: header.opcode,
            class: route.class,
        }
    }
}

impl Node {
    /// A frame with a route came in over a link.
    pub(super) fn on_routed(&mut self, step: &mut Step<'_>, frame: &Frame<'_>) {
        let Some(route) = &frame.route else { return };
        if route.kind == Kind::Multicast {
            // Nothing that this version sends is for many.
            self.stats.oneways_dropped += 1;
        } else if route.target != self.settings.id {
            self.stats.forwarded += 1;
            self.forward(step, frame, route.clone());
        } else if frame.header.flags.has(Flags::RESPONSE) {
            self.on_response(step, frame, route.origin);
        } else {
            self.on_request(step, frame, route);
        }
    }

    /// Hands the frame of this event on along its route, or tells its source why not.
    pub(super) fn forward(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, mut route: Route) {
        let is_response = frame.header.flags.has(Flags::RESPONSE);
        match self.advance(&mut route, is_response) {
            Ok(conn) => {
                self.conns.note_sent(conn, step.now.monotonic_us);
                step.out.push(Action::Forward { conn, request_id: frame.header.request_id, route: Some(route) });
            }
            Err(stuck) if is_response => {
                self.count(&stuck);
                self.stats.responses_lost += 1;
            }
            Err(stuck) => {
                self.count(&stuck);
                let reply = ReplyTo::new(&frame.header, &route);
                self.reply(step, reply, self.stuck_response(&stuck, &route));
            }
        }
    }

    /// Sends the answer to a request on its way, or to our own client.
    pub(super) fn reply(&mut self, step: &mut Step<'_>, to: ReplyTo, response: Response) {
        match to {
            ReplyTo::Client(asked) => self.finish(step, asked, response),
            ReplyTo::Ingress { source, origin, .. } if source == self.settings.id => {
                self.complete(step, origin, response);
            }
            ReplyTo::Ingress { source, origin, request_id, opcode, class } => {
                let mut route = self.new_route(source, Kind::Node, class, origin);
                match self.advance(&mut route, true) {
                    Ok(conn) => {
                        self.conns.note_sent(conn, step.now.monotonic_us);
                        let packet = Packet::Response(opcode, response);
                        step.out.push(Action::Send { conn, request_id, route: Some(route), packet });
                    }
                    Err(stuck) => {
                        self.count(&stuck);
                        self.stats.responses_lost += 1;
                    }
                }
            }
            ReplyTo::Nobody => {
                self.stats.oneways_dropped += u64::from(matches!(response, Response::Error(_)));
            }
        }
    }

    /// The route of a frame that starts here.
    pub(super) fn new_route(&self, target: NodeId, kind: Kind, class: TrafficClass, origin: Origin) -> Route {
        Route {
            source: self.settings.id,
            target,
            ttl: cube::hops_limit(self.settings.dimension),
            hops: 0,
            kind,
            class,
            origin,
            down: LinkSet::new(),
            targets: NodeSet::new(),
        }
    }

    /// The answer for a target that was just found out of reach.
    pub(super) fn held_response(&self, target: NodeId) -> Response {
        self.stuck_response(
            &Stuck::Unreachable,
            &self.new_route(target, Kind::Node, TrafficClass::Bulk, Origin::from_number(0)),
        )
    }

    /// Makes one hop: chooses the link and writes into the route what this node adds to it.
    fn advance(&mut self, route: &mut Route, is_response: bool) -> Result<ConnId, Stuck> {
        if route.ttl == 0 {
            return Err(Stuck::Expired);
        }
        let met_before = !route.down.is_empty();
        let NextHop::Across(bit) = self.routing.next_hop(route.target, is_response, &mut route.down) else {
            return Err(Stuck::Unreachable);
        };
        let link = self.routing.neighbour(bit);
        let Some(conn) = link.conn else { return Err(Stuck::Unreachable) };
        if link.full && !is_response && route.class == TrafficClass::Bulk {
            return Err(Stuck::Overloaded);
        }
        self.stats.detours += u64::from(!met_before && !route.down.is_empty());
        route.ttl -= 1;
        route.hops = route.hops.saturating_add(1);
        Ok(conn)
    }

    fn count(&mut self, stuck: &Stuck) {
        match stuck {
            Stuck::Expired => self.stats.ttl_expired += 1,
            Stuck::Unreachable => self.stats.unreachable += 1,
            Stuck::Overloaded => self.stats.overloaded += 1,
        }
    }

    fn stuck_response(&self, stuck: &Stuck, route: &Route) -> Response {
        let (here, target) = (self.name(self.settings.id), self.name(route.target));
        let (status, retry_after_ms, message) = match stuck {
            Stuck::Expired => {
                (Status::TtlExpired, 0, format!("{} hops led to node {here}, not to {target}", route.hops))
            }
            Stuck::Unreachable => {
                (Status::Unreachable, 100, format!("node {here} knows no path to {target}: every way there is down"))
            }
            Stuck::Overloaded => (Status::Overloaded, 20, format!("the queue of node {here} towards {target} is full")),
        };
        ErrorResponse::new(status, message)
            .retry_after(retry_after_ms)
            .with(Detail::Node(self.settings.id.index()))
            .with(Detail::Hops(route.hops))
            .with(Detail::Links(self.links_of(&route.down)))
            .into()
    }

    /// Links as the ids of their ends.
    pub(super) fn links_of(&self, links: &LinkSet) -> Vec<(u16, u16)> {
        links.iter(self.settings.dimension).map(|link| link.ends()).map(|(a, b)| (a.index(), b.index())).collect()
    }
}
