//! Forwarding: one hop of a request towards its target, of a response back to its ingress, and of a push to its
//! readers.

use super::super::action::{Action, Packet};
use super::super::news::News;
use super::super::{Settings, Step};
use super::Router;
use crate::cube::{self, NextHop};
use crate::types::{ConnId, LinkSet, NodeId, NodeSet, RequestId};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Flags, Frame, Kind, Opcode, Origin, Response, Route, Status, TrafficClass};

/// A frame that cannot be forwarded.
#[derive(Debug)]
pub(in crate::node) struct Stuck {
    reason: Reason,
    /// The frame's route, with the dead links that it met here.
    route: Box<Route>,
}

/// Why a frame cannot be forwarded.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// The frame's TTL is used up.
    Expired,
    /// Every path to its target is down, as far as this node knows.
    Unreachable,
    /// The send queue of the next link is above its high-water mark.
    Overloaded,
}

impl Stuck {
    /// Describes a request for a target that was recently found to be unreachable.
    pub(in crate::node) fn unreachable(settings: &Settings, target: NodeId) -> Self {
        let route = settings.new_route(target, Kind::Node, TrafficClass::Bulk, Origin::from_number(0));
        Self { reason: Reason::Unreachable, route: Box::new(route) }
    }

    /// Returns true if every path to the frame's target is down, as far as this node knows.
    pub(in crate::node) const fn is_unreachable(&self) -> bool {
        matches!(self.reason, Reason::Unreachable)
    }

    /// Returns the error that the source of the frame gets.
    pub(in crate::node) fn response(&self, settings: &Settings) -> Response {
        let route = &self.route;
        let (here, target) = (settings.name(settings.id), settings.name(route.target));
        let (status, retry_after_ms, message) = match self.reason {
            Reason::Expired => {
                (Status::TtlExpired, 0, format!("{} hops led to node {here}, not to {target}", route.hops))
            }
            Reason::Unreachable => {
                (Status::Unreachable, 100, format!("node {here} knows no path to {target}: every way there is down"))
            }
            Reason::Overloaded => {
                (Status::Overloaded, 20, format!("the queue of node {here} towards {target} is full"))
            }
        };
        ErrorResponse::new(status, message)
            .retry_after(retry_after_ms)
            .with(Detail::Node(settings.id.index()))
            .with(Detail::Hops(route.hops))
            .with(Detail::Links(ends_of(&route.down)))
            .into()
    }
}

impl Settings {
    /// Returns the route of a frame that this node originates.
    pub(in crate::node) const fn new_route(
        &self,
        target: NodeId,
        kind: Kind,
        class: TrafficClass,
        origin: Origin,
    ) -> Route {
        Route {
            source: self.id,
            target,
            ttl: cube::hops_limit(self.dimension),
            hops: 0,
            kind,
            class,
            dimension: self.dimension,
            origin,
            down: LinkSet::new(),
            targets: NodeSet::new(),
        }
    }
}

impl Router {
    /// Forwards the frame of this event along its route, and returns the link that it was sent on.
    ///
    /// # Errors
    /// The reason why it cannot be forwarded, which is counted.
    pub(in crate::node) fn forward(
        &mut self,
        step: &mut Step<'_>,
        frame: &Frame<'_>,
        mut route: Route,
    ) -> Result<ConnId, Stuck> {
        let conn = self.advance(step, &mut route, frame.header.flags.has(Flags::RESPONSE), 1)?;
        let request_id = frame.header.request_id;
        // `multicast` sends a push as single frames around a dead link. They stay droppable.
        let droppable = frame.header.opcode == Opcode::Deliver.number();
        step.out.push(Action::Forward { conn, request_id, route: Some(route), droppable });
        Ok(conn)
    }

    /// Sends a request of this node's own towards its target, and returns the link that it was sent on.
    ///
    /// # Errors
    /// The reason why it cannot be sent, which is counted.
    pub(in crate::node) fn send(
        &mut self,
        step: &mut Step<'_>,
        frame: Frame<'static>,
        mut route: Route,
    ) -> Result<ConnId, Stuck> {
        let conn = self.advance(step, &mut route, false, 1)?;
        let (request_id, frame) = (frame.header.request_id, frame.keep());
        step.out.push(Action::SendFrame { conn, request_id, route: Some(route), frame, droppable: false });
        Ok(conn)
    }

    /// Sends a response of this node, or several, back to the ingress of the request.
    ///
    /// # Errors
    /// The reason why they cannot be sent, which is counted.
    pub(in crate::node) fn respond(
        &mut self,
        step: &mut Step<'_>,
        request_id: RequestId,
        packet: Packet,
        mut route: Route,
    ) -> Result<ConnId, Stuck> {
        let conn = self.advance(step, &mut route, true, packet.frames())?;
        step.out.push(Action::Send { conn, request_id, route: Some(route), packet });
        Ok(conn)
    }

    /// Forwards a multicast frame: once across each link that leads to targets. The targets behind a link that is down
    /// each get a frame of their own, which is routed around it. What cannot be sent is counted.
    pub(in crate::node) fn multicast(&mut self, step: &mut Step<'_>, route: &Route, news: News<'_, '_>) {
        let droppable = route.class == TrafficClass::Bulk;
        let push = |step: &mut Step<'_>, conn, route| {
            step.stats.pushes += 1;
            step.out.push(news.action(conn, news.request_id(), Some(route), droppable));
        };
        let split = cube::split(self.here, &route.targets, route.dimension);
        for (bit, targets) in split.onward {
            if let Some(conn) = self.conn(bit) {
                let mut onward = Route { targets, ..route.clone() };
                if check_ttl(step, &onward, 1).is_ok() {
                    self.cross(step, bit, &mut onward);
                    push(step, conn, onward);
                }
                continue;
            }
            for target in targets.iter() {
                let mut alone = Route { kind: Kind::Node, target, targets: NodeSet::new(), ..route.clone() };
                if let Ok(conn) = self.advance(step, &mut alone, false, 1) {
                    push(step, conn, alone);
                }
            }
        }
    }

    /// Chooses the link for the next hop of `frames` frames that are then sent, and updates their route: the hop
    /// counts, and the dead links met here. Returns its connection.
    ///
    /// # Errors
    /// The reason why there is none, which is counted.
    fn advance(
        &mut self,
        step: &mut Step<'_>,
        route: &mut Route,
        is_response: bool,
        frames: u64,
    ) -> Result<ConnId, Stuck> {
        check_ttl(step, route, frames)?;
        let met_before = !route.down.is_empty();
        match self.choose_link(route, is_response) {
            Ok((bit, conn)) => {
                step.stats.detours += if !met_before && !route.down.is_empty() { frames } else { 0 };
                self.cross(step, bit, route);
                Ok(conn)
            }
            Err(reason) => Err(stuck(step, reason, route, frames)),
        }
    }

    /// Returns the dimension and the connection of the link for the next hop. A bulk response takes the request's path
    /// in reverse; a control response takes the path of a request, which is that of pushes, so that it stays in order
    /// with them.
    fn choose_link(&self, route: &mut Route, is_response: bool) -> Result<(u8, ConnId), Reason> {
        let NextHop::Across(bit) = self.next_hop(route, is_response && route.class == TrafficClass::Bulk) else {
            return Err(Reason::Unreachable);
        };
        let Some(link) = self.link(bit).up() else { return Err(Reason::Unreachable) };
        if link.is_full && !is_response && route.class == TrafficClass::Bulk {
            return Err(Reason::Overloaded);
        }
        Ok((bit, link.conn))
    }

    /// Returns the next hop of a frame, and adds to its route the dead links that it meets here.
    fn next_hop(&self, route: &mut Route, goes_back: bool) -> NextHop {
        let is_up = |bit| self.conn(bit).is_some();
        let carried = &mut route.down;
        if goes_back {
            cube::route_back(self.here, route.target, route.dimension, carried, is_up)
        } else {
            cube::route(self.here, route.target, route.dimension, carried, is_up)
        }
    }

    /// Counts the hop of a frame that is sent on a link.
    fn cross(&mut self, step: &Step<'_>, bit: u8, route: &mut Route) {
        route.ttl -= 1;
        route.hops = route.hops.saturating_add(1);
        if let Some(link) = self.link_mut(bit).up_mut() {
            link.times.sent_us = step.now.monotonic_us;
        }
    }
}

/// Returns an error if `frames` frames with this route have no hops left.
fn check_ttl(step: &mut Step<'_>, route: &Route, frames: u64) -> Result<(), Stuck> {
    if route.ttl == 0 { Err(stuck(step, Reason::Expired, route, frames)) } else { Ok(()) }
}

/// Counts `frames` frames that cannot be forwarded.
fn stuck(step: &mut Step<'_>, reason: Reason, route: &Route, frames: u64) -> Stuck {
    match reason {
        Reason::Expired => step.stats.ttl_expired += frames,
        Reason::Unreachable => step.stats.unreachable += frames,
        Reason::Overloaded => step.stats.overloaded += frames,
    }
    Stuck { reason, route: Box::new(route.clone()) }
}

/// Returns each link as the ids of the two nodes that it connects.
pub(in crate::node) fn ends_of(links: &LinkSet) -> Vec<(u16, u16)> {
    links.iter().map(|link| link.ends()).map(|(a, b)| (a.index(), b.index())).collect()
}
