//! What is on its way: requests to other nodes, answers back to their ingress.

use super::action::{Action, Packet};
use super::deliver::News;
use super::ingress::Asked;
use super::{Node, Step};
use crate::cube::{self, NextHop};
use crate::types::{ConnId, Dimension, LinkSet, NodeId, NodeSet, RequestId};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Flags, Frame, Header, Kind, Opcode, Origin, Response, Route, Status, TrafficClass};

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
        /// The request's.
        dimension: Dimension,
    },
    /// The request was one-way.
    Nobody,
}

/// Writes a hop into the route of a frame.
const fn count_hop(route: &mut Route) {
    route.ttl -= 1;
    route.hops = route.hops.saturating_add(1);
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
            dimension: route.dimension,
        }
    }
}

impl ReplyTo {
    /// The answer goes the way that pushes go, so that none of those overtakes it.
    pub(super) const fn in_order_with_pushes(self) -> Self {
        match self {
            Self::Ingress { source, origin, request_id, opcode, dimension, .. } => {
                Self::Ingress { source, origin, request_id, opcode, dimension, class: TrafficClass::Control }
            }
            Self::Client(_) | Self::Nobody => self,
        }
    }
}

impl Node {
    /// A frame with a route came in over a link.
    pub(super) fn on_routed(&mut self, step: &mut Step<'_>, frame: &Frame<'_>) {
        let Some(route) = &frame.route else { return };
        let opcode = Opcode::from_number(frame.header.opcode);
        if route.kind == Kind::Multicast {
            self.fan_out(step, route, News::Handled(frame));
            if route.targets.contains(self.settings.id) {
                self.on_push(step, frame, route.source);
            }
        } else if route.target != self.settings.id {
            self.stats.forwarded += 1;
            self.forward(step, frame, route.clone());
        } else if frame.header.flags.has(Flags::RESPONSE) {
            match opcode {
                Some(Opcode::Feed) => self.on_fed(step, frame, route.source),
                Some(Opcode::Heads) if frame.header.status == Status::Ok.number() => {
                    self.on_heads_answered(route.source);
                }
                Some(Opcode::Heads) => {}
                _ if self.pulls.is_of(route.origin) => self.on_pulled(step, frame, route.origin),
                _ => self.on_response(step, frame, route.origin),
            }
        } else if opcode.is_some_and(Opcode::is_push) {
            self.on_push(step, frame, route.source);
        } else {
            self.on_request(step, frame, route);
        }
    }

    /// Hands the frame of this event on along its route, over the link that is returned, or tells its source why not.
    pub(super) fn forward(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, mut route: Route) -> Option<ConnId> {
        let is_response = frame.header.flags.has(Flags::RESPONSE);
        match self.advance(&mut route, is_response) {
            Ok(conn) => {
                self.conns.note_sent(conn, step.now.monotonic_us);
                let request_id = frame.header.request_id;
                // A push on its way round a dead link is one of many as well.
                let droppable = frame.header.opcode == Opcode::Deliver.number();
                step.out.push(Action::Forward { conn, request_id, route: Some(route), droppable });
                Some(conn)
            }
            Err(stuck) if is_response => {
                self.count(&stuck);
                self.stats.responses_lost += 1;
                None
            }
            Err(stuck) => {
                self.count(&stuck);
                let reply = ReplyTo::new(&frame.header, &route);
                self.reply(step, reply, self.stuck_response(&stuck, &route));
                None
            }
        }
    }

    /// Sends a frame for many on: over each link once, and around a link that is down to each target by itself.
    pub(super) fn fan_out(&mut self, step: &mut Step<'_>, route: &Route, news: News<'_, '_>) {
        let droppable = route.class == TrafficClass::Bulk;
        let split = cube::split(self.settings.id, &route.targets, route.dimension);
        for (bit, targets) in split.onward {
            if let Some(conn) = self.routing.neighbour(bit).conn {
                let onward = Route { targets, ..route.clone() };
                self.pass_on(step, onward, news, droppable, |_, _| Ok(conn));
            } else {
                for target in targets.iter() {
                    let alone = Route { kind: Kind::Node, target, targets: NodeSet::new(), ..route.clone() };
                    self.pass_on(step, alone, news, droppable, |node, route| node.choose_link(route, false));
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
        link: impl FnOnce(&mut Self, &mut Route) -> Result<ConnId, Stuck>,
    ) {
        let chosen = if route.ttl == 0 { Err(Stuck::Expired) } else { link(self, &mut route) };
        match chosen {
            Ok(conn) => {
                count_hop(&mut route);
                self.stats.pushes += 1;
                self.conns.note_sent(conn, step.now.monotonic_us);
                step.out.push(news.action(conn, news.request_id(), Some(route), droppable));
            }
            Err(stuck) => self.count(&stuck),
        }
    }

    /// Sends a frame of this node's own on its way; the answer to it when there is none.
    pub(super) fn send_frame(
        &mut self,
        step: &mut Step<'_>,
        frame: Frame<'static>,
        mut route: Route,
    ) -> Result<ConnId, Box<Response>> {
        match self.advance(&mut route, false) {
            Ok(conn) => {
                self.conns.note_sent(conn, step.now.monotonic_us);
                let (request_id, frame) = (frame.header.request_id, frame.keep());
                step.out.push(Action::SendFrame { conn, request_id, route: Some(route), frame, droppable: false });
                Ok(conn)
            }
            Err(stuck) => {
                self.count(&stuck);
                Err(Box::new(self.stuck_response(&stuck, &route)))
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
            ReplyTo::Ingress { source, origin, request_id, opcode, class, dimension } => {
                let mut route = self.new_route(source, Kind::Node, class, origin);
                (route.dimension, route.ttl) = (dimension, cube::hops_limit(dimension));
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
            dimension: self.settings.dimension,
            origin,
            down: LinkSet::new(),
            targets: NodeSet::new(),
        }
    }

    /// Returns the refusal of a request for a target that was just found unreachable.
    pub(super) fn unreachable(&self, target: NodeId) -> Response {
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
        let conn = self.choose_link(route, is_response)?;
        count_hop(route);
        Ok(conn)
    }

    /// The link of the next hop. What is to stay in order with pushes goes the way that they go.
    fn choose_link(&mut self, route: &mut Route, is_response: bool) -> Result<ConnId, Stuck> {
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
        self.stats.detours += u64::from(!met_before && !route.down.is_empty());
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
        links.iter().map(|link| link.ends()).map(|(a, b)| (a.index(), b.index())).collect()
    }
}
