//! What the other nodes of the cube send over the link: requests, responses and pushes.

use super::{Harness, SLOT, frame, subscribe};
use crate::cube;
use crate::node::Event;
use crate::node::tests::sent::Sent;
use crate::types::{ConnId, LinkSet, NodeId, NodeSet, RequestId};
use crate::wire::feed::{FeedItem, Head as TopicHead};
use crate::wire::field::Writer;
use crate::wire::response::Subscribed;
use crate::wire::{Flags, Head, Kind, Opcode, Origin, Push, Request, Response, Route, TrafficClass};

impl Harness {
    pub(in crate::node::tests) fn route_from(&self, source: u16, class: TrafficClass, origin: Origin) -> Route {
        let (dimension, id) = (self.node.settings.dimension, self.node.settings.id);
        // From the neighbour itself it makes one hop, and from other neighbours of this node a detour.
        let hops = match u16::try_from((source ^ id.index()).count_ones()).expect("few bits") {
            0 => 2,
            1 if source != id.across(0).index() => 3,
            distance => distance,
        };
        Route {
            source: NodeId::new(source, dimension).unwrap(),
            target: id,
            ttl: cube::hops_limit(dimension) - hops,
            hops,
            kind: Kind::Node,
            class,
            dimension,
            origin,
            down: LinkSet::new(),
            targets: NodeSet::new(),
        }
    }

    pub(super) fn over_link(&mut self, bytes: Vec<u8>) -> Vec<Sent> {
        let frame = self.receive(bytes);
        self.handle(Event::Frame { conn: self.link(), frame: &frame })
    }

    /// Sends a request from another node.
    pub(in crate::node::tests) fn node_asks(
        &mut self,
        source: u16,
        id: u64,
        request: &Request<'_>,
        payload: &[u8],
    ) -> Vec<Sent> {
        let route = self.route_from(source, TrafficClass::Control, Origin::from_number(0));
        self.node_sends(&route, id, request, payload)
    }

    /// Sends a request over the link with that route section.
    pub(in crate::node::tests) fn node_sends(
        &mut self,
        route: &Route,
        id: u64,
        request: &Request<'_>,
        payload: &[u8],
    ) -> Vec<Sent> {
        let request_id = RequestId(id);
        let head = Head { opcode: request.opcode().number(), flags: Flags::default(), status: 0, request_id };
        self.over_link(frame(head, Some(route), payload, |args| request.encode(args)))
    }

    /// Sends a response over the link with that route section.
    pub(in crate::node::tests) fn node_responds(
        &mut self,
        route: &Route,
        opcode: Opcode,
        response: &Response,
    ) -> Vec<Sent> {
        let mut bytes = Vec::new();
        assert!(response.encode(opcode.number(), RequestId(1), Some(route), &mut bytes).is_none());
        self.over_link(bytes)
    }

    /// Sends a FEED from another node, and returns the only response.
    pub(in crate::node::tests) fn node_feeds(
        &mut self,
        id: u64,
        (instance, reset): (u64, bool),
        items: &[FeedItem<'_>],
    ) -> crate::wire::feed::FedList {
        let mut payload = Vec::new();
        items.iter().for_each(|item| item.encode(&mut Writer::new(&mut payload)));
        let count = u16::try_from(items.len()).unwrap();
        let sent = self.node_asks(1, id, &Request::Feed { slot: SLOT.index(), instance, reset, count }, &payload);
        let [answer] = &sent[..] else { panic!("{sent:?} is not one answer") };
        let Response::Fed(list) = answer.response() else { panic!("{answer:?} is no answer to FEED") };
        list
    }

    /// Answers a request that the node has sent over the link.
    pub(in crate::node::tests) fn answer(&mut self, asked: &Sent, response: &Response) -> Vec<Sent> {
        self.node_responds_to(asked.route().target.index(), asked, response)
    }

    /// Answers a request that the node has sent over the link, as that node.
    pub(in crate::node::tests) fn node_responds_to(
        &mut self,
        source: u16,
        asked: &Sent,
        response: &Response,
    ) -> Vec<Sent> {
        let route = asked.route();
        let route = self.route_from(source, route.class, route.origin);
        let mut bytes = Vec::new();
        let opcode = asked.frame.header.opcode;
        if let Some(payload) = response.encode(opcode, asked.frame.header.request_id, Some(&route), &mut bytes) {
            payload.parts.iter().for_each(|part| bytes.extend_from_slice(part));
        }
        self.over_link(bytes)
    }

    /// Sends the neighbour's own request, which has no route.
    pub(in crate::node::tests) fn neighbour_asks(&mut self, id: u64, request: &Request<'_>) -> Vec<Sent> {
        let opcode = request.opcode().number();
        let head = Head { opcode, flags: Flags::default(), status: 0, request_id: RequestId(id) };
        self.over_link(frame(head, None, &[], |args| request.encode(args)))
    }

    /// Answers the PING of the link as the neighbour.
    pub(in crate::node::tests) fn answer_ping(&mut self, asked: &Sent) -> Vec<Sent> {
        self.answer_ping_at(asked, None)
    }

    /// Does the same, with the neighbour's clock.
    pub(in crate::node::tests) fn answer_ping_at(&mut self, asked: &Sent, wall_us: Option<u64>) -> Vec<Sent> {
        self.answer_ping_with(asked, wall_us, None)
    }

    /// Does the same, with the number of topics that the neighbour holds.
    pub(in crate::node::tests) fn answer_ping_with(
        &mut self,
        asked: &Sent,
        wall_us: Option<u64>,
        topics: Option<u32>,
    ) -> Vec<Sent> {
        let mut bytes = Vec::new();
        let response = Response::Ping { node: 1, token: asked.id(), wall_us, topics };
        assert!(response.encode(asked.frame.header.opcode, asked.frame.header.request_id, None, &mut bytes).is_none());
        self.over_link(bytes)
    }

    /// Pushes records from another node to the subscribers here.
    pub(in crate::node::tests) fn node_pushes(&mut self, source: u16, id: u64, push: &Push) -> Vec<Sent> {
        let mut route = self.route_from(source, TrafficClass::Bulk, Origin::from_number(0));
        (route.kind, route.targets) = (Kind::Multicast, [self.node.settings.id].into_iter().collect());
        self.node_pushes_along(&route, id, push)
    }

    /// Sends a push over the link with that route section.
    pub(in crate::node::tests) fn node_pushes_along(&mut self, route: &Route, id: u64, push: &Push) -> Vec<Sent> {
        let mut bytes = Vec::new();
        if let Some(payload) = push.encode(RequestId(id), Some(route), &mut bytes) {
            payload.parts.iter().for_each(|part| bytes.extend_from_slice(part));
        }
        self.over_link(bytes)
    }

    /// Sends HEADS from another node.
    pub(in crate::node::tests) fn node_says(
        &mut self,
        heads: crate::wire::feed::Heads,
        items: &[TopicHead],
    ) -> Vec<Sent> {
        let mut payload = Vec::new();
        items.iter().for_each(|item| item.encode(&mut Writer::new(&mut payload)));
        self.node_asks(1, 0, &Request::Heads(heads), &payload)
    }

    /// Subscribes a client to a topic of another node, which gives this response.
    pub(in crate::node::tests) fn follow(
        &mut self,
        conn: ConnId,
        id: u64,
        name: &str,
        answer: Subscribed,
    ) -> Vec<Sent> {
        let sent = self.ask(conn, id, &subscribe(name));
        let [asked] = &sent[..] else { panic!("{sent:?} is not one request") };
        self.answer(asked, &Response::Subscribed(answer))
    }
}
