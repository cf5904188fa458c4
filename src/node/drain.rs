//! The orderly end: this node serves until the last moment, and nothing that it has accepted is lost.
//!
//! | stage | what is so | it ends when |
//! |---|---|---|
//! | dismissing | clients are told GOAWAY and are answered; the cube is served as ever | no client is left (1) |
//! | parting | neighbours are told GOAWAY; what comes is done and answered | all confirm, all is answered (2) |
//! | done | connections end when their queues are empty | the process ends |
//!
//! 1. or all are answered and had [`DRAIN_CLIENTS_US`] to leave; at the latest after half of [`DRAIN_US`].
//! 2. A neighbour that does not confirm is waited for [`DRAIN_LINKS_US`], the disk for a quarter of [`DRAIN_US`].
//!
//! A neighbour that is told routes around this node from then on and confirms with GOAWAY: links keep their order, so
//! that no request comes behind it. It goes on reading until this side closes, because the last answers come that way.

use super::action::{Action, Packet};
use super::conns::Peer;
use super::{Node, Step};
use crate::limits::{DRAIN_CLIENTS_US, DRAIN_LINKS_US, DRAIN_US};
use crate::types::{ConnId, RequestId};
use crate::wire::{Goaway, Status};

const FAREWELL: &str = "this node is ending";

/// How far the end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Serving,
    Dismissing {
        /// When clients that have all their answers are not waited for any more, monotonic microseconds; `None` when
        /// that time is over.
        grace_us: Option<u64>,
        /// When no client is waited for any more, monotonic microseconds.
        deadline_us: u64,
    },
    Parting {
        /// When neighbours are not waited for any more, monotonic microseconds; `None` when that time is over.
        grace_us: Option<u64>,
        /// When the disk is not waited for any more, monotonic microseconds.
        deadline_us: u64,
    },
    Done,
}

impl Stage {
    pub(super) const fn has_begun(self) -> bool {
        !matches!(self, Self::Serving)
    }

    /// True once the neighbours were told: no link is to come up any more.
    pub(super) const fn has_parted(self) -> bool {
        matches!(self, Self::Parting { .. } | Self::Done)
    }

    pub(super) const fn is_done(self) -> bool {
        matches!(self, Self::Done)
    }

    /// When the node wants to look at it again whatever comes in, monotonic microseconds; after that, each tick does.
    pub(super) const fn next_us(self) -> u64 {
        match self {
            Self::Dismissing { grace_us: Some(at_us), .. } | Self::Parting { grace_us: Some(at_us), .. } => at_us,
            Self::Serving | Self::Dismissing { .. } | Self::Parting { .. } | Self::Done => u64::MAX,
        }
    }
}

impl Node {
    pub(super) fn on_drain(&mut self, step: &mut Step<'_>) {
        if self.drain.has_begun() {
            return;
        }
        self.drain = Stage::Dismissing {
            grace_us: Some(step.now.after_us(DRAIN_CLIENTS_US)),
            deadline_us: step.now.after_us(DRAIN_US / 2),
        };
        self.expire_polls(step);
        for id in self.ids_of(|peer| matches!(peer, Peer::Client(_))) {
            self.say_goaway(step, id, Status::Closing, FAREWELL);
        }
    }

    /// Goes on to the next stage when this one is over.
    pub(super) fn advance_drain(&mut self, step: &mut Step<'_>) {
        let now_us = step.now.monotonic_us;
        if let Stage::Dismissing { grace_us, deadline_us } = &mut self.drain {
            *grace_us = grace_us.filter(|at_us| *at_us > now_us);
            let (is_graced, is_late) = (grace_us.is_some(), *deadline_us <= now_us);
            let clients = self.ids_of(|peer| matches!(peer, Peer::Client(_)));
            let may_part = self.inflight == 0 && (clients.is_empty() || !is_graced);
            if !may_part && !is_late {
                return;
            }
            self.drain = Stage::Parting {
                grace_us: Some(step.now.after_us(DRAIN_LINKS_US)),
                deadline_us: step.now.after_us(DRAIN_US / 4),
            };
            clients.into_iter().for_each(|id| self.close(step, id));
            for id in self.ids_of(|peer| matches!(peer, Peer::Link { .. })) {
                self.say_goaway(step, id, Status::Closing, FAREWELL);
            }
        }
        if let Stage::Parting { grace_us, deadline_us } = &mut self.drain {
            *grace_us = grace_us.filter(|at_us| *at_us > now_us);
            let (is_graced, is_late) = (grace_us.is_some(), *deadline_us <= now_us);
            let has_parted = self.routing.has_parted() || !is_graced;
            if has_parted && self.proposals.len() == 0 && self.reads.is_empty() || is_late {
                self.drain = Stage::Done;
                // Whoever has not said HELLO may have sent requests behind it: they were not taken.
                for id in self.ids_of(|peer| matches!(peer, Peer::Stranger { .. })) {
                    self.refuse(step, id, Status::Closing, FAREWELL);
                }
                for id in self.ids_of(|_| true) {
                    self.close(step, id);
                }
            }
        }
    }

    fn ids_of(&mut self, is_wanted: impl Fn(&Peer) -> bool) -> Vec<ConnId> {
        self.conns.iter_mut().filter(|(_, conn)| is_wanted(&conn.peer)).map(|(id, _)| id).collect()
    }

    /// Tells the other end of a connection that this side ends it, and why.
    pub(super) fn say_goaway(&mut self, step: &mut Step<'_>, id: ConnId, status: Status, message: &str) {
        let last_request_id = self.conns.client_mut(id).map_or(0, |client| client.last_request_id);
        let goaway = Box::new(Goaway { status, last_request_id, message: message.to_owned() });
        let packet = Packet::Goaway(goaway);
        step.out.push(Action::Send { conn: id, request_id: RequestId(0), route: None, packet });
    }
}
