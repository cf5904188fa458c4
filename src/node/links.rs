//! Links: frames between neighbours, and what follows when a link goes up or down.

use super::action::Packet;
use super::claims::FalseClaim;
use super::conns::Peer;
use super::end::End;
use super::router::{Due, Greeting, Times, Usage, WentDown};
use super::{Parts, Step};
use crate::limits::{DRAIN_US, LINK_SILENCE_US, TICK_US, TOPICS_ASK_US};
use crate::types::{ConnId, Copies, NodeId};
use crate::wire::{Flags, Frame, Goaway, Hello, Opcode, Request, Response, Status};

impl Parts {
    /// Handles a frame from a neighbour.
    pub(super) fn on_link_frame(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, frame: &Frame<'_>) {
        if let Some(refused) = self.router.on_frame(step.now, bit, id, frame.len()) {
            self.refuse_replacement(step, bit, refused);
        }
        if let Some(route) = &frame.route {
            if !step.settings.id.within(route.dimension) {
                step.stats.protocol_errors += 1;
                return self.refuse(
                    step,
                    id,
                    Status::ProtocolError,
                    "the dimension of the route is too small for this node's id",
                );
            }
            match step.settings.check_claims(step.settings.id.across(bit), frame, route) {
                Ok(()) => {}
                Err(FalseClaim::Impossible(what)) => {
                    step.stats.protocol_errors += 1;
                    return self.refuse(step, id, Status::ProtocolError, what);
                }
                Err(FalseClaim::FromHere) => return step.stats.false_claims += 1,
            }
            return self.on_routed(step, frame);
        }
        let is_response = frame.header.flags.has(Flags::RESPONSE);
        match Opcode::from_number(frame.header.opcode) {
            Some(Opcode::Ping) if is_response => self.on_pong(step, id, bit, frame),
            Some(Opcode::Ping) => self.answer_ping(step, bit, id, frame),
            Some(Opcode::Goaway) => self.on_link_goaway(step, id, bit, frame),
            _ => {
                step.stats.protocol_errors += 1;
                self.refuse(
                    step,
                    id,
                    Status::ProtocolError,
                    "between nodes, only PING and GOAWAY have no route section",
                );
            }
        }
    }

    /// Handles a neighbour's GOAWAY. If the neighbour is shutting down, this node routes around it from now on and
    /// confirms that; the neighbour still executes and answers earlier requests until it closes the link.
    fn on_link_goaway(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, frame: &Frame<'_>) {
        let is_orderly = frame.header.status == Status::Closing.number();
        if is_orderly && self.drain.has_parted() {
            return self.router.set_parted(bit, id);
        }
        if is_orderly && self.router.usage(bit, id) != Some(Usage::Link) {
            return;
        }
        let goaway = frame.args().ok().and_then(|args| Goaway::decode(frame.header.status, args).ok());
        let end = goaway.as_ref().map_or(End::ClosedByPeer, |goaway| End::Goaway(goaway.status, &goaway.message));
        if is_orderly {
            self.send_goaway(step, id, Status::Closing, "confirmed: nothing more is routed through you");
            self.conns.set_peer(id, Peer::Leaving { bit, deadline_us: step.now.after_us(DRAIN_US) });
            if let Some(down) = self.router.on_end(step, bit, id, end) {
                self.on_link_down(step, bit, down);
            }
        } else {
            self.close(step, id, end);
        }
    }

    /// Answers the HELLO of a neighbour whose link is down, and makes its connection the link.
    pub(super) fn welcome(&mut self, step: &mut Step<'_>, bit: u8, greeting: Greeting) {
        let Greeting { conn, request_id, instance } = greeting;
        let answer = self.hello_to_neighbour(step, bit);
        self.answer_hello(step, conn, request_id, Status::Ok, answer);
        self.on_link_up(step, conn, bit, instance);
    }

    /// Makes a connection the link to a neighbour whose link is down.
    pub(super) fn on_link_up(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, instance: u64) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let times = Times { heard_us: conn.heard_us, sent_us: conn.sent_us };
        self.conns.set_peer(id, Peer::Link { bit });
        self.router.set_up(step, bit, id, instance, times);
        Self::admit_link(step, id);
        self.ingress.on_link_up(step);
    }

    /// Lets the replacement link of a link that has gone down take its place.
    pub(super) fn on_link_down(&mut self, step: &mut Step<'_>, bit: u8, down: WentDown) {
        if let Some(successor) = down.successor {
            self.welcome(step, bit, successor);
        }
    }

    pub(super) fn on_dial_failed(&mut self, step: &mut Step<'_>, node: NodeId) {
        if let Some(bit) = step.settings.id.edge_to(node) {
            self.router.on_dial_failed(step, bit);
        }
    }

    /// Does what is due on each link: dialling, PING, and the timeout for silence.
    pub(super) fn tick_links(&mut self, step: &mut Step<'_>) {
        if self.clock.is_every(TOPICS_ASK_US / TICK_US) {
            self.router.ping_all(step);
        }
        for bit in 0..step.settings.dimension.bits() {
            match self.router.tick(step, bit) {
                Some(Due::Close(id)) => {
                    let message = format!("nothing was heard for {} ms", LINK_SILENCE_US / 1000);
                    self.refuse(step, id, Status::KeepaliveTimeout, &message);
                }
                // After this node has sent its GOAWAY, it opens no new links.
                Some(Due::Dial { .. }) if self.drain.has_parted() => {}
                Some(Due::Dial { unanswered }) => {
                    // A neighbour that hangs accepts connections without answering.
                    if let Some(id) = unanswered {
                        self.close(step, id, End::Unanswered);
                    }
                    self.router.dial(step, bit);
                }
                None => {}
            }
        }
    }

    /// Handles a neighbour's response to PING.
    fn on_pong(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, frame: &Frame<'_>) {
        let payload = bytes::Bytes::new();
        let pong = frame.args().map(|args| Response::decode(Opcode::Ping, frame.header.status, args, &payload));
        let Ok(Ok(Response::Ping { wall_us, topics, .. })) = pong else { return };
        if wall_us.is_some_and(|wall_us| step.wall.compare(step.now, wall_us)) {
            let node = step.settings.name(step.settings.id.across(bit));
            log::info!("the clock of {node} agrees: age limits apply");
        }
        if let Some(topics) = topics {
            self.router.note_topics_of_link(bit, id, topics);
        }
    }

    /// Handles the topic counts in a neighbour's HELLO: its own topics, and those that it knew this node to hold.
    pub(super) fn on_hello_topics(&mut self, step: &Step<'_>, bit: u8, hello: &Hello) {
        if let Some(topics) = hello.topics {
            self.router.note_topics(bit, hello.instance, topics);
        }
        if let Some(known) = hello.topics_known.filter(|known| *known > 0)
            && let Some(folder) = self.empty_folder.take()
        {
            let way_out = match step.settings.copies {
                Copies::One => "stop the node and restore a backup",
                Copies::Three => "wait: the nodes that have the other copies send theirs",
            };
            log::warn!(
                "the data folder {folder} was empty at the start, but node {} knew {known} topics of this node: they are \
                 missing, with their records; if this is the wrong folder, stop the node and start it with the right \
                 --data; if its disk was lost, {way_out}",
                step.settings.name(step.settings.id.across(bit))
            );
        }
    }

    /// Returns the number of topics that this node holds.
    pub(super) fn topics_held(&self) -> u32 {
        u32::try_from(self.groups.topics()).expect("at most TOPICS_MAX")
    }

    fn answer_ping(&mut self, step: &mut Step<'_>, bit: u8, id: ConnId, frame: &Frame<'_>) {
        let Ok(Ok(Request::Ping { token, .. })) = frame.args().map(|args| Request::decode(Opcode::Ping, args)) else {
            return;
        };
        let (wall_us, topics) = (Some(step.wall.now_us(step.now)), Some(self.topics_held()));
        let response = Response::Ping { node: step.settings.id.index(), token, wall_us, topics };
        let packet = Packet::Response(Opcode::Ping.number(), response);
        self.router.send_alone(step, bit, id, frame.header.request_id, packet);
    }
}
