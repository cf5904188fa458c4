//! The handshake: HELLO, its response, and the checks that decide whether a connection is accepted.

use super::action::{Action, Packet};
use super::conns::{Client, Peer};
use super::end::End;
use super::router::{Greeted, Greeting};
use super::{Parts, Step};
use crate::limits::{
    CLIENT_KEEPALIVE_LEAST_US, CLIENT_KEEPALIVE_US, CLIENT_QUEUE_MAX, FRAME_MAX, FRAME_MAX_LEAST, HELLO_TIMEOUT_US,
    INFLIGHT_MAX, LINK_FRAME_EXTRA, LINK_QUEUE_MAX, LINK_SILENCE_US,
};
use crate::types::{ConnId, Copies, NodeId, RequestId, Source};
use crate::wire::frame::VERSION;
use crate::wire::{Flags, Frame, Goaway, Hello, Opcode, Role, Status};

/// Why a HELLO is refused.
struct Refusal(Status, String);

impl Parts {
    pub(super) fn on_accepted(&mut self, step: &mut Step<'_>, id: ConnId, source: Source) {
        let is_full = self.conns.clients() >= step.settings.clients_max + step.settings.handshakes_max;
        if is_full || self.conns.sources().clients_limit(source, step.settings.handshakes_max).is_some() {
            step.stats.clients_refused += 1;
            step.out.push(Action::Close { conn: id });
            return;
        }
        let deadline_us = step.now.after_us(HELLO_TIMEOUT_US);
        let is_stale = self.clock.is_just_after_stall(step.now);
        self.conns.insert(id, source, step.now.monotonic_us, Peer::Handshaking { deadline_us, is_stale });
    }

    pub(super) fn on_dialed(&mut self, step: &mut Step<'_>, id: ConnId, node: NodeId) {
        let bit = step.settings.id.edge_to(node).filter(|bit| self.router.on_dialed(*bit, id));
        let Some(bit) = bit else { return step.out.push(Action::Close { conn: id }) };
        self.conns.insert(id, Source::Own, step.now.monotonic_us, Peer::Link { bit });
        let hello = Box::new(self.hello_to_neighbour(step, bit));
        step.out.push(Action::Send { conn: id, request_id: RequestId(1), route: None, packet: Packet::Hello(hello) });
    }

    /// Handles the first frame of an accepted connection.
    pub(super) fn on_hello(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>) {
        let (header, opcode) = (&frame.header, Opcode::from_number(frame.header.opcode));
        let is_request = !header.flags.has(Flags::RESPONSE);
        if frame.route.is_some() {
            step.stats.protocol_errors += 1;
            return self.refuse(step, id, Status::ProtocolError, "the first frame must not have a route section");
        }
        if opcode == Some(Opcode::Goaway) && is_request {
            // The peer has sent no requests, so no response is outstanding.
            return self.close(step, id, End::ClosedByPeer);
        }
        if opcode != Some(Opcode::Hello) || !is_request {
            step.stats.protocol_errors += 1;
            return self.refuse(step, id, Status::HelloRequired, "the first frame must be HELLO");
        }
        let hello = match read_hello(frame) {
            Ok(hello) => hello,
            Err(Refusal(Status::Unsupported, message)) => {
                return self.refuse_hello(step, id, header.request_id, Status::Unsupported, &message);
            }
            Err(Refusal(status, message)) => return self.refuse(step, id, status, &message),
        };
        let request_id = header.request_id;
        let checked = match hello.role {
            Role::Client => {
                self.check_client(step, id, &hello).map(|()| self.welcome_client(step, id, request_id, &hello))
            }
            Role::Node => self.check_node(step, &hello).map(|bit| self.welcome_node(step, id, request_id, &hello, bit)),
        };
        if let Err(Refusal(status, message)) = checked {
            self.refuse_hello(step, id, request_id, status, &message);
        }
    }

    /// Handles the response to HELLO on a connection that this node opened.
    pub(super) fn on_hello_response(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, frame: &Frame<'_>) {
        let (header, node) = (&frame.header, step.settings.id.across(bit));
        if header.opcode == Opcode::Goaway.number() {
            let goaway = frame.args().ok().and_then(|args| Goaway::decode(header.status, args).ok());
            let end = goaway.as_ref().map_or(End::ClosedByPeer, |it| End::Goaway(it.status, &it.message));
            log::warn!("node {} refused the link: {end}", step.settings.name(node));
            return self.close(step, id, end);
        }
        if header.opcode != Opcode::Hello.number() || !header.flags.has(Flags::RESPONSE) {
            return self.refuse(step, id, Status::HelloRequired, "the first frame must be the answer to HELLO");
        }
        if header.status != Status::Ok.number() {
            let status = Status::from_number(header.status);
            let name = status.map_or("an unknown status", Status::name);
            let other = read_hello(frame).ok().and_then(|hello| other_copies(step, &hello));
            let why = other.map_or_else(String::new, |why| format!(": {why}"));
            log::warn!("node {} refused the link: {name}{why}", step.settings.name(node));
            return self.close(step, id, End::HelloRefused(status));
        }
        let hello = match read_hello(frame) {
            Ok(hello) => hello,
            Err(Refusal(_, message)) => return self.refuse(step, id, Status::ProtocolError, &message),
        };
        match self.check_node(step, &hello) {
            Ok(theirs) if theirs == bit => {
                self.on_hello_topics(step, bit, &hello);
                self.on_link_up(step, id, bit, hello.instance);
            }
            Ok(_) => self.refuse(step, id, Status::NotANeighbour, "another node answers at this address"),
            Err(Refusal(status, message)) => self.refuse(step, id, status, &message),
        }
    }

    /// Refuses a replacement link, because the neighbour's link is alive.
    pub(super) fn refuse_replacement(&mut self, step: &mut Step<'_>, bit: u8, refused: Greeting) {
        let node = step.settings.name(step.settings.id.across(bit));
        let message = format!("node {node} is connected and alive; two processes have the same --id");
        self.refuse_hello(step, refused.conn, refused.request_id, Status::DuplicateNode, &message);
    }

    /// Sends GOAWAY with the reason, and closes the connection.
    pub(super) fn refuse(&mut self, step: &mut Step<'_>, id: ConnId, status: Status, message: &str) {
        self.send_goaway(step, id, status, message);
        self.close(step, id, End::Refused(status, message));
    }

    fn check_client(&mut self, step: &Step<'_>, id: ConnId, hello: &Hello) -> Result<(), Refusal> {
        self.check_common(step, hello)?;
        if self.drain.has_begun() {
            return Err(Refusal(Status::Closing, "this node is shutting down; use another one".to_owned()));
        }
        let clients_max = step.settings.clients_max;
        if self.conns.clients() > clients_max {
            return Err(Refusal(
                Status::TooManyClients,
                format!("this node has {clients_max} clients, as many as it takes; use another node"),
            ));
        }
        let source = self.conns.get_mut(id).map_or(Source::Own, |conn| conn.source);
        // The connection itself is counted already.
        if let Some(limit) = self.conns.sources().clients_limit(source, 1) {
            let message =
                format!("this node takes at most {limit} connections from {source} (--clients-per-source); close some");
            return Err(Refusal(Status::TooManyClients, message));
        }
        if hello.max_frame < FRAME_MAX_LEAST {
            let message = format!("max_frame is {}, but must be at least {FRAME_MAX_LEAST}", hello.max_frame);
            return Err(Refusal(Status::ProtocolError, message));
        }
        Ok(())
    }

    /// Returns the dimension that the link to this node crosses, or why the HELLO is refused.
    fn check_node(&self, step: &Step<'_>, hello: &Hello) -> Result<u8, Refusal> {
        self.check_common(step, hello)?;
        if self.drain.has_parted() {
            return Err(Refusal(Status::Closing, "this node is shutting down".to_owned()));
        }
        let dimension = step.settings.dimension;
        if hello.role != Role::Node {
            return Err(Refusal(
                Status::ProtocolError,
                "a node was expected at this address, but a client answers".to_owned(),
            ));
        }
        if hello.dimension != dimension.bits() {
            let message = format!("this cube has dimension {}, not {}", dimension.bits(), hello.dimension);
            return Err(Refusal(Status::DimensionMismatch, message));
        }
        if let Some(message) = other_copies(step, hello) {
            return Err(Refusal(Status::ClusterMismatch, message));
        }
        let bit = NodeId::new(hello.node, dimension).and_then(|node| step.settings.id.edge_to(node));
        bit.ok_or_else(|| {
            let own = step.settings.name(step.settings.id);
            Refusal(Status::NotANeighbour, format!("node {} is no neighbour of {own}", hello.node))
        })
    }

    fn check_common(&self, step: &Step<'_>, hello: &Hello) -> Result<(), Refusal> {
        if hello.version_min > VERSION || hello.version_max < VERSION {
            return Err(Refusal(
                Status::UnsupportedVersion,
                format!("this node speaks version {VERSION} of the protocol only"),
            ));
        }
        let any = hello.cluster.is_empty() && hello.role == Role::Client;
        if !any && hello.cluster != step.settings.cluster {
            return Err(Refusal(
                Status::ClusterMismatch,
                format!("this is cluster {:?}, not {:?}", step.settings.cluster, hello.cluster),
            ));
        }
        Ok(())
    }

    fn welcome_client(&mut self, step: &mut Step<'_>, id: ConnId, request_id: RequestId, hello: &Hello) {
        let wanted_us = match u64::from(hello.keepalive_ms) * 1000 {
            0 => CLIENT_KEEPALIVE_US,
            wanted => wanted.clamp(CLIENT_KEEPALIVE_LEAST_US, CLIENT_KEEPALIVE_US),
        };
        let frame_max = hello.max_frame.min(FRAME_MAX);
        let answer = Hello {
            keepalive_ms: u32::try_from(wanted_us / 1000).expect("at most CLIENT_KEEPALIVE_US"),
            max_frame: frame_max,
            features: self.hello_to(step, Role::Client).features | hello.features & Hello::NOTICES,
            ..self.hello_to(step, Role::Client)
        };
        let client =
            Client { ended: false, pinged: false, keepalive_us: wanted_us, frame_max, last_request_id: request_id.0 };
        self.conns.set_peer(id, Peer::Client(client));
        if let Some(source) = self.conns.get_mut(id).map(|conn| conn.source) {
            self.ingress.open_client(id, source);
            self.readers.open_client(id, source, frame_max, hello.features & Hello::NOTICES != 0);
        }
        step.out.push(Action::Admit { conn: id, frame_max, queue_mark: CLIENT_QUEUE_MAX });
        self.answer_hello(step, id, request_id, Status::Ok, answer);
    }

    fn welcome_node(&mut self, step: &mut Step<'_>, id: ConnId, request_id: RequestId, hello: &Hello, bit: u8) {
        if self.router.dials(bit) {
            let message = "of two neighbours the one with the larger id dials; this node dials you";
            return self.refuse_hello(step, id, request_id, Status::NotANeighbour, message);
        }
        // The neighbour dialled many times during the stall and has given up each attempt. Accepting these one after
        // the other would bring the link up and down once for each.
        if matches!(self.conns.get_mut(id).map(|conn| &conn.peer), Some(Peer::Handshaking { is_stale: true, .. })) {
            return self.close(step, id, End::Stale);
        }
        self.on_hello_topics(step, bit, hello);
        let greeting = Greeting { conn: id, request_id, instance: hello.instance };
        match self.router.on_greeting(step, bit, greeting) {
            Greeted::Welcome { old, refused } => {
                if let Some(old) = old {
                    self.close(step, old, End::Replaced);
                }
                if let Some(refused) = refused {
                    self.refuse_replacement(step, bit, refused);
                }
                self.welcome(step, bit, greeting);
            }
            Greeted::Wait { refused } => {
                self.conns.set_peer(id, Peer::Link { bit });
                if let Some(refused) = refused {
                    self.refuse_replacement(step, bit, refused);
                }
                self.router.ping(step, bit);
            }
        }
    }

    pub(super) fn answer_hello(
        &self,
        step: &mut Step<'_>,
        id: ConnId,
        request_id: RequestId,
        status: Status,
        hello: Hello,
    ) {
        let packet = Packet::HelloResponse(status, Box::new(hello));
        step.out.push(Action::Send { conn: id, request_id, route: None, packet });
    }

    fn refuse_hello(&mut self, step: &mut Step<'_>, id: ConnId, request_id: RequestId, status: Status, message: &str) {
        log::warn!("refused a connection: {}: {message}", status.name());
        let hello = Hello { replicas: replicas(step), ..self.hello_to(step, Role::Client) };
        self.answer_hello(step, id, request_id, status, hello);
        self.refuse(step, id, status, message);
    }

    /// Returns this node's HELLO for a client or a node.
    fn hello_to(&self, step: &Step<'_>, peer: Role) -> Hello {
        let keepalive_us = match peer {
            Role::Client => CLIENT_KEEPALIVE_US,
            Role::Node => LINK_SILENCE_US,
        };
        Hello {
            version_min: VERSION,
            version_max: VERSION,
            role: Role::Node,
            dimension: step.settings.dimension.bits(),
            node: step.settings.id.index(),
            keepalive_ms: u32::try_from(keepalive_us / 1000).expect("seconds, not weeks"),
            // Links also accept LINK_FRAME_EXTRA on top of it, which HELLO need not state.
            max_frame: FRAME_MAX,
            max_inflight: INFLIGHT_MAX,
            // No peer knows these bits. A random one of the upper 16 makes sure that peers ignore unknown features.
            features: 1 << (48 + step.settings.instance % 16),
            instance: step.settings.instance,
            cluster: step.settings.cluster.clone(),
            software: step.settings.software.clone(),
            topics: None,
            topics_known: None,
            replicas: None,
        }
    }

    /// Returns this node's HELLO for a neighbour, which also states how many topics this node and that neighbour hold.
    pub(super) fn hello_to_neighbour(&self, step: &Step<'_>, bit: u8) -> Hello {
        Hello {
            topics: Some(self.topics_held()),
            topics_known: Some(self.router.topics_of(bit)).filter(|known| *known > 0),
            replicas: replicas(step),
            ..self.hello_to(step, Role::Node)
        }
    }

    /// Raises a connection's frame limit and high-water mark to those of a link.
    pub(super) fn admit_link(step: &mut Step<'_>, id: ConnId) {
        let frame_max = FRAME_MAX + LINK_FRAME_EXTRA;
        step.out.push(Action::Admit { conn: id, frame_max, queue_mark: LINK_QUEUE_MAX });
    }
}

/// Returns the REPLICAS field of this node's HELLO to another node: how many nodes keep each topic. It is left out when
/// that is one.
fn replicas(step: &Step<'_>) -> Option<u8> {
    (step.settings.copies != Copies::One).then(|| step.settings.copies.number())
}

/// Returns why a HELLO must be refused if its sender was started with another number of copies of each topic; `None` if
/// the numbers are equal. Nodes with different numbers would disagree about which nodes keep a topic.
fn other_copies(step: &Step<'_>, hello: &Hello) -> Option<String> {
    let (own, theirs) = (step.settings.copies.number(), hello.replicas.unwrap_or(1));
    (own != theirs).then(|| {
        let (node, other) = (step.settings.name(step.settings.id), hello.node);
        format!("node {node} has --replicas {own}, but node {other} has {theirs}; all nodes need the same number")
    })
}

/// Decodes a HELLO, or returns why it is refused.
fn read_hello(frame: &Frame<'_>) -> Result<Hello, Refusal> {
    let broken = |message: &str| Err(Refusal(Status::ProtocolError, message.to_owned()));
    if frame.header.flags.has(Flags::ONEWAY) {
        return broken("HELLO must not have the flag ONEWAY, because it is answered");
    }
    let Ok(args) = frame.args() else { return broken("HELLO was damaged on the way") };
    if frame.header.flags.any(Flags::CRITICAL) {
        return Err(Refusal(Status::Unsupported, "a critical flag that this version does not know".to_owned()));
    }
    if !frame.payload().is_empty() {
        return broken("HELLO must not have a payload");
    }
    Hello::decode(args).map_err(|error| {
        let is_unknown = error.status() == Status::Unsupported;
        Refusal(if is_unknown { Status::Unsupported } else { Status::ProtocolError }, format!("HELLO: {error}"))
    })
}
