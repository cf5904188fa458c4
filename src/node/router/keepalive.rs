//! What happens on links because time passes: dialling, PING, and the timeout for silence.

use super::super::Step;
use super::super::action::{Action, Packet};
use super::Router;
use super::link::{Greeting, Link};
use crate::limits::{LINK_PING_US, LINK_SILENCE_US};
use crate::types::{ConnId, Now, RequestId};

/// What is due on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Due {
    /// The link, over this connection, has to be closed because nothing was heard for [`LINK_SILENCE_US`].
    Close(ConnId),
    /// The neighbour has to be dialled, after the attempt that it has not answered is closed.
    Dial {
        /// The connection of that attempt.
        unanswered: Option<ConnId>,
    },
}

impl Router {
    /// Returns what is due on the link across dimension `bit`. Sends PING if either side has been silent for a while.
    /// This node's own silence matters too: the response to the neighbour's PING may queue behind seconds of records,
    /// and a node that only receives need not send anything.
    pub(in crate::node) fn tick(&mut self, step: &mut Step<'_>, bit: u8) -> Option<Due> {
        let now_us = step.now.monotonic_us;
        match self.link(bit) {
            Link::Up(up) => {
                let silent_us = now_us.saturating_sub(up.times.heard_us);
                let unsent_us = now_us.saturating_sub(up.times.sent_us);
                if silent_us >= LINK_SILENCE_US {
                    return Some(Due::Close(up.conn));
                }
                if silent_us.max(unsent_us) >= LINK_PING_US {
                    self.ping(step, bit);
                }
                None
            }
            Link::Down { dial_at_us } if self.dials(bit) && *dial_at_us <= now_us => {
                Some(Due::Dial { unanswered: None })
            }
            Link::Dialing { conn, redial_at_us } if *redial_at_us <= now_us => Some(Due::Dial { unanswered: *conn }),
            Link::Down { .. } | Link::Dialing { .. } => None,
        }
    }

    /// Dials the neighbour across dimension `bit`.
    pub(in crate::node) fn dial(&mut self, step: &mut Step<'_>, bit: u8) {
        self.begin_dial(bit, step.now.monotonic_us);
        step.out.push(Action::Dial { node: self.neighbour(bit).node });
    }

    /// Records that a frame of `bytes` bytes arrived on a connection of the neighbour across dimension `bit`. If that
    /// is the link, it has shown a sign of life, and the replacement link, which is returned, has to be refused.
    pub(in crate::node) fn on_frame(&mut self, now: Now, bit: u8, conn: ConnId, bytes: usize) -> Option<Greeting> {
        let neighbour = self.neighbour_mut(bit);
        neighbour.frames += 1;
        neighbour.bytes += bytes as u64;
        let up = neighbour.link.over(conn)?;
        up.times.heard_us = now.monotonic_us;
        up.take_replacement()
    }

    /// Records that something was received on a connection of the neighbour across dimension `bit`.
    pub(in crate::node) fn note_heard(&mut self, now: Now, bit: u8, conn: ConnId) {
        if let Some(up) = self.link_mut(bit).over(conn) {
            up.times.heard_us = now.monotonic_us;
        }
    }

    /// Restarts the silence timeout of all links.
    pub(in crate::node) fn forgive_silence(&mut self, now: Now) {
        for up in self.neighbours.iter_mut().filter_map(|neighbour| neighbour.link.up_mut()) {
            up.times.heard_us = now.monotonic_us;
        }
    }

    /// Sends PING to all neighbours, for the clock and the number of topics in their responses.
    pub(in crate::node) fn ping_all(&mut self, step: &mut Step<'_>) {
        for bit in 0..step.settings.dimension.bits() {
            self.ping(step, bit);
        }
    }

    /// Sends PING on the link across dimension `bit`, if it is up.
    pub(in crate::node) fn ping(&mut self, step: &mut Step<'_>, bit: u8) {
        if let Some(conn) = self.conn(bit) {
            self.send_alone(step, bit, conn, RequestId(step.now.monotonic_us), Packet::Ping);
        }
    }

    /// Sends a frame without a route on a connection of the neighbour across dimension `bit`.
    pub(in crate::node) fn send_alone(
        &mut self,
        step: &mut Step<'_>,
        bit: u8,
        conn: ConnId,
        request_id: RequestId,
        packet: Packet,
    ) {
        if let Some(up) = self.link_mut(bit).over(conn) {
            up.times.sent_us = step.now.monotonic_us;
        }
        step.out.push(Action::Send { conn, request_id, route: None, packet });
    }
}
