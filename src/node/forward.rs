//! Forwarding: one hop of a request towards its target, of a response back to its ingress, and of a push to its
//! readers.

use super::action::{Action, Packet};
use super::call::ReplyTo;
use super::news::News;
use super::{Parts, Step};
use crate::cube::{self, NextHop};
use crate::types::{ConnId, LinkSet, NodeId, NodeSet};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Flags, Frame, Kind, Opcode, Origin, Response, Route, Status, TrafficClass};

/// Counts one hop in the route of a frame.
const fn count_hop(route: &mut Route) {
    route.ttl -= 1;
    route.hops = route.hops.saturating_add(1);
}

/// Why a frame cannot be forwarded.
enum Stuck {
    /// The frame's TTL is used up.
    Expired,
    /// Every path to its target is down, as far as this node knows.
    Unreachable,
    /// The send queue of the next link is above its high-water mark.
    Overloaded,
}

impl Parts {
    /// Handles a frame with a route that was received on a link: executes or completes it here, or forwards it.
    pub(super) fn on_routed(&mut self, step: &mut Step<'_>, frame: &Frame<'_>) {
        let Some(route) = &frame.route else { return };
        let opcode = Opcode::from_number(frame.header.opcode);
        if route.kind == Kind::Multicast {
            self.fan_out(step, route, News::Handled(frame));
            if route.targets.contains(step.settings.id) {
                self.readers.on_push(step, &self.admission, frame, route.source);
            }
        } else if route.target != step.settings.id {
            step.stats.forwarded += 1;
            self.forward(step, frame, route.clone());
        } else if frame.header.flags.has(Flags::RESPONSE) {
            match opcode {
                Some(Opcode::Feed) => self.readers.on_fed(step, frame, route.source),
                Some(Opcode::Heads) if frame.header.status == Status::Ok.number() => {
                    self.group.on_heads_answered(route.source);
                }
                Some(Opcode::Heads) => {}
                _ if self.readers.has_asked(route.origin) => self.on_pulled(step, frame, route.origin),
                _ => self.on_response(step, frame, route.origin),
            }
        } else if opcode.is_some_and(Opcode::is_push) {
            self.readers.on_push(step, &self.admission, frame, route.source);
        } else {
            self.on_request(step, frame, route);
        }
    }

    /// Forwards the frame of this event along its route, and returns the link that it was sent on. If that fails, the
    /// source of a request gets an error; a response is dropped and counted.
    pub(super) fn forward(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, mut route: Route) -> Option<ConnId> {
        let is_response = frame.header.flags.has(Flags::RESPONSE);
        match self.advance(step, &mut route, is_response) {
            Ok(conn) => {
                self.conns.note_sent(conn, step.now.monotonic_us);
                let request_id = frame.header.request_id;
                // `fan_out` sends a multicast push as single frames around a dead link. They stay droppable.
                let droppable = frame.header.opcode == Opcode::Deliver.number();
                step.out.push(Action::Forward { conn, request_id, route: Some(route), droppable });
                Some(conn)
            }
            Err(stuck) if is_response => {
                self.count(step, &stuck);
                step.stats.responses_lost += 1;
                None
            }
            Err(stuck) => {
                self.count(step, &stuck);
                let reply = ReplyTo::new(&frame.header, &route);
                self.reply(step, reply, self.stuck_response(step, &stuck, &route));
                None
            }
        }
    }

    /// Forwards a multicast frame: once across each link that leads to targets. The targets behind a link that is down
    /// each get a frame of their own, which is routed around it.
    pub(super) fn fan_out(&mut self, step: &mut Step<'_>, route: &Route, news: News<'_, '_>) {
        let droppable = route.class == TrafficClass::Bulk;
        let split = cube::split(step.settings.id, &route.targets, route.dimension);
        for (bit, targets) in split.onward {
            if let Some(conn) = self.routing.neighbour(bit).conn {
                let onward = Route { targets, ..route.clone() };
                self.pass_on(step, onward, news, droppable, |_, _, _| Ok(conn));
            } else {
                for target in targets.iter() {
                    let alone = Route { kind: Kind::Node, target, targets: NodeSet::new(), ..route.clone() };
                    self.pass_on(step, alone, news, droppable, |node, step, route| {
                        node.choose_link(step, route, false)
                    });
                }
            }
        }
    }

    fn pass_on(
        &mut self,
        step: &mut Step<'_>,
        mut route: Route,
        news: News<'_, '_>,
        droppable: bool,
        link: impl FnOnce(&mut Self, &mut Step<'_>, &mut Route) -> Result<ConnId, Stuck>,
    ) {
        let chosen = if route.ttl == 0 { Err(Stuck::Expired) } else { link(self, step, &mut route) };
        match chosen {
            Ok(conn) => {
                count_hop(&mut route);
                step.stats.pushes += 1;
                self.conns.note_sent(conn, step.now.monotonic_us);
                step.out.push(news.action(conn, news.request_id(), Some(route), droppable));
            }
            Err(stuck) => self.count(step, &stuck),
        }
    }

    /// Sends a request of this node's own towards its target.
    ///
    /// # Errors
    ///
    /// The response that the request gets if it cannot be forwarded.
    pub(super) fn send_frame(
        &mut self,
        step: &mut Step<'_>,
        frame: Frame<'static>,
        mut route: Route,
    ) -> Result<ConnId, Box<Response>> {
        match self.advance(step, &mut route, false) {
            Ok(conn) => {
                self.conns.note_sent(conn, step.now.monotonic_us);
                let (request_id, frame) = (frame.header.request_id, frame.keep());
                step.out.push(Action::SendFrame { conn, request_id, route: Some(route), frame, droppable: false });
                Ok(conn)
            }
            Err(stuck) => {
                self.count(step, &stuck);
                Err(Box::new(self.stuck_response(step, &stuck, &route)))
            }
        }
    }

    /// Sends the response to a request back to its ingress, or to the client if this node is the ingress.
    pub(super) fn reply(&mut self, step: &mut Step<'_>, to: ReplyTo, response: Response) {
        match to {
            ReplyTo::Client(asked) => self.finish(step, asked, response),
            ReplyTo::Ingress { source, origin, .. } if source == step.settings.id => {
                self.complete(step, origin, response);
            }
            ReplyTo::Ingress { source, origin, request_id, opcode, class, dimension } => {
                let mut route = self.new_route(step, source, Kind::Node, class, origin);
                (route.dimension, route.ttl) = (dimension, cube::hops_limit(dimension));
                match self.advance(step, &mut route, true) {
                    Ok(conn) => {
                        self.conns.note_sent(conn, step.now.monotonic_us);
                        let packet = Packet::Response(opcode, response);
                        step.out.push(Action::Send { conn, request_id, route: Some(route), packet });
                    }
                    Err(stuck) => {
                        self.count(step, &stuck);
                        step.stats.responses_lost += 1;
                    }
                }
            }
            ReplyTo::Nobody => {
                step.stats.oneways_dropped += u64::from(matches!(response, Response::Error(_)));
            }
        }
    }

    /// Returns the route of a frame that this node originates.
    pub(super) fn new_route(
        &self,
        step: &Step<'_>,
        target: NodeId,
        kind: Kind,
        class: TrafficClass,
        origin: Origin,
    ) -> Route {
        Route {
            source: step.settings.id,
            target,
            ttl: cube::hops_limit(step.settings.dimension),
            hops: 0,
            kind,
            class,
            dimension: step.settings.dimension,
            origin,
            down: LinkSet::new(),
            targets: NodeSet::new(),
        }
    }

    /// Returns the UNREACHABLE response for a target that was recently found to be unreachable.
    pub(super) fn unreachable(&self, step: &Step<'_>, target: NodeId) -> Response {
        self.stuck_response(
            step,
            &Stuck::Unreachable,
            &self.new_route(step, target, Kind::Node, TrafficClass::Bulk, Origin::from_number(0)),
        )
    }

    /// Chooses the link for the next hop, and updates the route: the hop counts, and the dead links met here.
    fn advance(&self, step: &mut Step<'_>, route: &mut Route, is_response: bool) -> Result<ConnId, Stuck> {
        if route.ttl == 0 {
            return Err(Stuck::Expired);
        }
        let conn = self.choose_link(step, route, is_response)?;
        count_hop(route);
        Ok(conn)
    }

    /// Returns the link for the next hop. A bulk response takes the request's path in reverse; a control response takes
    /// the path of a request, which is that of pushes, so that it stays in order with them.
    fn choose_link(&self, step: &mut Step<'_>, route: &mut Route, is_response: bool) -> Result<ConnId, Stuck> {
        let goes_back = is_response && route.class == TrafficClass::Bulk;
        let met_before = !route.down.is_empty();
        let NextHop::Across(bit) = self.routing.next_hop(route, goes_back) else {
            return Err(Stuck::Unreachable);
        };
        let link = self.routing.neighbour(bit);
        let Some(conn) = link.conn else { return Err(Stuck::Unreachable) };
        if link.full && !is_response && route.class == TrafficClass::Bulk {
            return Err(Stuck::Overloaded);
        }
        step.stats.detours += u64::from(!met_before && !route.down.is_empty());
        Ok(conn)
    }

    fn count(&self, step: &mut Step<'_>, stuck: &Stuck) {
        match stuck {
            Stuck::Expired => step.stats.ttl_expired += 1,
            Stuck::Unreachable => step.stats.unreachable += 1,
            Stuck::Overloaded => step.stats.overloaded += 1,
        }
    }

    fn stuck_response(&self, step: &Step<'_>, stuck: &Stuck, route: &Route) -> Response {
        let (here, target) = (step.settings.name(step.settings.id), step.settings.name(route.target));
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
            .with(Detail::Node(step.settings.id.index()))
            .with(Detail::Hops(route.hops))
            .with(Detail::Links(self.links_of(&route.down)))
            .into()
    }

    /// Returns each link as the ids of the two nodes that it connects.
    pub(super) fn links_of(&self, links: &LinkSet) -> Vec<(u16, u16)> {
        links.iter().map(|link| link.ends()).map(|(a, b)| (a.index(), b.index())).collect()
    }

    /// Sends a request of this node's own to a node.
    ///
    /// # Errors
    ///
    /// The response that the request gets if it cannot be forwarded.
    pub(super) fn send_request(
        &mut self,
        step: &mut Step<'_>,
        target: NodeId,
        class: TrafficClass,
        origin: Origin,
        frame: Frame<'static>,
    ) -> Result<(), Box<Response>> {
        let kind = if class == TrafficClass::Bulk { Kind::Group } else { Kind::Node };
        let route = self.new_route(step, target, kind, class, origin);
        self.send_frame(step, frame, route).map(|_| ())
    }
}
