//! Links: dialling, keepalive, and changes between up and down.

use super::action::{Action, Packet};
use super::conns::Peer;
use super::end::End;
use super::router::{Times, redial_after_us};
use super::{Parts, Step};
use crate::limits::{DIAL_TIMEOUT_US, DRAIN_US, LINK_PING_US, LINK_SILENCE_US, TICK_US, TOPICS_ASK_US};
use crate::types::{ConnId, NodeId};
use crate::wire::{Flags, Frame, Goaway, Hello, Opcode, Request, Response, Status};

impl Parts {
    /// Handles a frame from a neighbour.
    pub(super) fn on_link_frame(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, frame: &Frame<'_>) {
        if self.router.neighbour(bit).conn == Some(id) {
            self.router.note_heard(bit, step.now.monotonic_us);
            self.forgive(step, bit);
        }
        let link = self.router.neighbour_mut(bit);
        link.frames += 1;
        link.bytes += frame.len() as u64;
        if let Some(route) = &frame.route {
            if !step.settings.id.within(route.dimension) {
                step.stats.protocol_errors += 1;
                return self.refuse(step, id, Status::ProtocolError, "a frame of a cube without this node");
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
                self.refuse(step, id, Status::ProtocolError, "only PING and GOAWAY travel without a route here");
            }
        }
    }

    /// Handles a neighbour's GOAWAY. If the neighbour is shutting down, this node routes around it from now on and
    /// confirms that; the neighbour still executes and answers earlier requests until it closes the link.
    fn on_link_goaway(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, frame: &Frame<'_>) {
        let is_link = self.router.neighbour(bit).conn == Some(id);
        let is_orderly = frame.header.status == Status::Closing.number();
        if is_orderly && self.drain.has_parted() {
            if is_link {
                self.router.neighbour_mut(bit).has_parted = true;
            }
            return;
        }
        if is_orderly && !is_link {
            return;
        }
        let goaway = frame.args().ok().and_then(|args| Goaway::decode(frame.header.status, args).ok());
        let end = goaway.as_ref().map_or(End::ClosedByPeer, |goaway| End::Goaway(goaway.status, &goaway.message));
        if is_orderly {
            self.send_goaway(step, id, Status::Closing, "routed around from now on");
            self.conns.set_peer(id, Peer::Leaving { bit, deadline_us: step.now.after_us(DRAIN_US) });
            self.on_link_down(step, bit, end);
        } else {
            self.close(step, id, end);
        }
    }

    pub(super) fn on_link_up(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, instance: u64) {
        // The latest connection is the one that the neighbour uses: it may have given up the others.
        while let Some(old) = self.router.neighbour(bit).conn {
            self.close(step, old, End::Replaced);
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        let times = Times { heard_us: conn.heard_us, sent_us: conn.sent_us };
        self.conns.set_peer(id, Peer::Link { bit });
        self.router.set_up(bit, id, instance, times);
        step.stats.links_up += 1;
        log::info!("link to {} is up", step.settings.name(self.router.neighbour(bit).node));
        Self::admit_link(step, id);
        self.retry_soon(step);
    }

    pub(super) fn on_link_down(&mut self, step: &mut Step<'_>, bit: u8, end: End<'_>) {
        log::info!("link to {} is down: {end}", step.settings.name(self.router.neighbour(bit).node));
        step.stats.links_down += 1;
        self.router.set_down(bit, step.now.monotonic_us, step.random.u64(..));
        self.admit_replacement(step, bit);
    }

    /// Schedules the next dial after a connection attempt has failed.
    pub(super) fn redial_later(&mut self, step: &mut Step<'_>, node: NodeId) {
        if let Some(bit) = step.settings.id.edge_to(node) {
            let wait_us = redial_after_us(step.random.u64(..));
            self.router.neighbour_mut(bit).dial_at_us = step.now.after_us(wait_us);
        }
    }

    /// Sends PING to all neighbours, for the clock and the number of topics in their responses.
    pub(super) fn ping_neighbours(&mut self, step: &mut Step<'_>) {
        for bit in 0..step.settings.dimension.bits() {
            self.router.ping(step, bit);
        }
    }

    /// Does what is due on each link: dialling, PING, and the timeout for silence.
    pub(super) fn tick_links(&mut self, step: &mut Step<'_>) {
        if self.clock.is_every(TOPICS_ASK_US / TICK_US) {
            self.ping_neighbours(step);
        }
        for bit in 0..step.settings.dimension.bits() {
            let link = self.router.neighbour(bit);
            match link.conn {
                Some(id) => self.tick_link(step, bit, id),
                // After this node has sent its GOAWAY, it opens no new links.
                None if link.node < step.settings.id && !self.drain.has_parted() => self.dial_if_due(step, bit),
                None => {}
            }
        }
    }

    /// Closes a silent link, or sends PING if either side has been silent for a while. This node's own silence matters
    /// too: the response to the neighbour's PING may queue behind seconds of records, and a node that only receives
    /// need not send anything.
    fn tick_link(&mut self, step: &mut Step<'_>, bit: u8, id: ConnId) {
        let times = self.router.times(bit);
        let silent_us = step.now.monotonic_us.saturating_sub(times.heard_us);
        let unsent_us = step.now.monotonic_us.saturating_sub(times.sent_us);
        if silent_us >= LINK_SILENCE_US {
            let message = format!("nothing was heard for {} ms", LINK_SILENCE_US / 1000);
            self.refuse(step, id, Status::KeepaliveTimeout, &message);
        } else if silent_us.max(unsent_us) >= LINK_PING_US {
            self.router.ping(step, bit);
        }
    }

    fn dial_if_due(&mut self, step: &mut Step<'_>, bit: u8) {
        let node = self.router.neighbour(bit).node;
        if self.router.neighbour(bit).dial_at_us <= step.now.monotonic_us {
            // A neighbour that hangs accepts connections without answering. Only one attempt is open at a time.
            let is_earlier = |peer: &Peer| matches!(peer, Peer::Dialed { node: dialed, .. } if *dialed == node);
            let earlier = self.conns.iter_mut().find(|(_, conn)| is_earlier(&conn.peer)).map(|(id, _)| id);
            if let Some(id) = earlier {
                self.close(step, id, End::Unanswered);
            }
            // A connect to an address that drops packets takes minutes to fail.
            self.router.neighbour_mut(bit).dial_at_us = step.now.after_us(DIAL_TIMEOUT_US);
            step.out.push(Action::Dial { node });
        }
    }

    /// Refuses the replacement link, if there is one, because the link has shown a sign of life.
    fn forgive(&mut self, step: &mut Step<'_>, bit: u8) {
        if let Some(replacement) = self.router.neighbour_mut(bit).replacement.take() {
            self.refuse_replacement(step, replacement);
        }
    }

    /// Handles a neighbour's response to PING.
    fn on_pong(&mut self, step: &mut Step<'_>, id: ConnId, bit: u8, frame: &Frame<'_>) {
        let payload = bytes::Bytes::new();
        let pong = frame.args().map(|args| Response::decode(Opcode::Ping, frame.header.status, args, &payload));
        let Ok(Ok(Response::Ping { wall_us, topics, .. })) = pong else { return };
        if wall_us.is_some_and(|wall_us| step.wall.compare(step.now, wall_us)) {
            let node = step.settings.name(self.router.neighbour(bit).node);
            log::info!("the clock of {node} agrees: age limits apply");
        }
        let link = self.router.neighbour(bit);
        if let Some(topics) = topics.filter(|_| link.conn == Some(id)) {
            self.router.note_topics(bit, link.instance, topics);
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
            log::warn!(
                "the data folder {folder} was empty at the start, but node {} knew {known} topics of this node: they are \
                 missing, with their records; if this is the wrong folder, stop the node and start it with the right \
                 --data; if its disk was lost, stop the node and restore a backup",
                step.settings.name(self.router.neighbour(bit).node)
            );
        }
    }

    /// Returns the number of topics that this node holds.
    pub(super) fn topics_held(&self) -> u32 {
        u32::try_from(self.group.topics().len()).expect("at most TOPICS_MAX")
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
