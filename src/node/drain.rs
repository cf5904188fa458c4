//! The orderly shutdown: the node serves until the end and loses nothing that it has accepted.
//!
//! | stage | what happens | it ends when |
//! |---|---|---|
//! | handing over | others take over the groups that this node leads; all is served as before | none is pending (1) |
//! | dismissing | clients get GOAWAY and their answers; all other traffic is served as before | no client is left (2) |
//! | parting | neighbours get GOAWAY; incoming requests are executed and answered | all confirm, all is answered (3) |
//! | done | connections close when their queues are empty | the process exits |
//!
//! 1. A group stays with this node if no other member can take it over, or if its hand-over fails. The stage ends after
//!    [`DRAIN_HAND_OVER_US`] at the latest. If this node is elected leader of a group later, it hands over at once.
//! 2. Or when all requests are answered and clients have had [`DRAIN_CLIENTS_US`] to leave; at the latest when half of
//!    [`DRAIN_US`] has passed since the start of the shutdown.
//! 3. An unconfirmed neighbour is waited for [`DRAIN_LINKS_US`], the disk for a quarter of [`DRAIN_US`].
//!
//! A neighbour that gets GOAWAY routes around this node from then on and confirms with a GOAWAY of its own. Links keep
//! their order, so no request follows that confirmation. The neighbour reads until this side closes the link, because
//! the last answers still arrive on it.

use super::action::{Action, Packet};
use super::conns::Peer;
use super::end::End;
use super::group::Group;
use super::{Parts, Step};
use crate::limits::{DRAIN_CLIENTS_US, DRAIN_HAND_OVER_US, DRAIN_LINKS_US, DRAIN_US};
use crate::types::{ConnId, RequestId, SlotId};
use crate::wire::{Goaway, Status};

const FAREWELL: &str = "this node is shutting down";

/// The stages of the shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Serving,
    HandingOver {
        /// Monotonic time in microseconds at which the node stops waiting for hand-overs.
        deadline_us: u64,
        /// Monotonic time in microseconds at which the next stage stops waiting for clients.
        clients_us: u64,
    },
    Dismissing {
        /// Monotonic time in microseconds until which clients may leave by themselves after their last answers; `None`
        /// once it has passed.
        grace_us: Option<u64>,
        /// Monotonic time in microseconds from which no client is waited for.
        deadline_us: u64,
    },
    Parting {
        /// Monotonic time in microseconds until which unconfirmed neighbours are waited for; `None` once it has passed.
        grace_us: Option<u64>,
        /// Monotonic time in microseconds from which the disk is not waited for.
        deadline_us: u64,
    },
    Done,
}

impl Stage {
    /// True once clients have been sent GOAWAY: in the stages after `HandingOver`.
    pub(super) const fn has_begun(self) -> bool {
        !matches!(self, Self::Serving | Self::HandingOver { .. })
    }

    /// True once the neighbours have been sent GOAWAY. From then on no link may come up.
    pub(super) const fn has_parted(self) -> bool {
        matches!(self, Self::Parting { .. } | Self::Done)
    }

    pub(super) const fn is_done(self) -> bool {
        matches!(self, Self::Done)
    }

    /// Returns the monotonic time in microseconds at which the node must check the stage without other input. Later
    /// checks happen at each tick.
    pub(super) const fn next_us(self) -> u64 {
        match self {
            Self::Dismissing { grace_us: Some(at_us), .. } | Self::Parting { grace_us: Some(at_us), .. } => at_us,
            Self::Serving | Self::HandingOver { .. } | Self::Dismissing { .. } | Self::Parting { .. } | Self::Done => {
                u64::MAX
            }
        }
    }
}

impl Parts {
    pub(super) fn on_drain(&mut self, step: &mut Step<'_>) {
        if self.drain != Stage::Serving {
            return;
        }
        self.groups.iter_mut().for_each(Group::leave);
        let (deadline_us, clients_us) = (step.now.after_us(DRAIN_HAND_OVER_US), step.now.after_us(DRAIN_US / 2));
        self.drain = Stage::HandingOver { deadline_us, clients_us };
        for slot in self.groups.slots() {
            self.bequeath(step, slot);
        }
    }

    /// If this node is shutting down, hands the leadership of a group over to another node, unless none could lead it.
    pub(super) fn bequeath(&mut self, step: &mut Step<'_>, slot: SlotId) {
        if self.drain != Stage::Serving {
            self.groups.existing_mut(slot).bequeath(step.settings);
            self.follow_up(step, slot);
        }
    }

    fn dismiss(&mut self, step: &mut Step<'_>, deadline_us: u64) {
        self.drain = Stage::Dismissing { grace_us: Some(step.now.after_us(DRAIN_CLIENTS_US)), deadline_us };
        self.readers.end_polls(step);
        // Clients get these answers before GOAWAY.
        self.carry_out(step);
        self.ingress.end();
        self.carry_out(step);
        for id in self.ids_of(|peer| matches!(peer, Peer::Client(_))) {
            self.send_goaway(step, id, Status::Closing, FAREWELL);
        }
    }

    /// Enters the next stage when the current one is over.
    pub(super) fn advance_drain(&mut self, step: &mut Step<'_>) {
        let now_us = step.now.monotonic_us;
        if let Stage::HandingOver { deadline_us, clients_us } = self.drain {
            if now_us < deadline_us && self.groups.iter().any(Group::is_handing_over) {
                return;
            }
            self.dismiss(step, clients_us);
        }
        if let Stage::Dismissing { grace_us, deadline_us } = &mut self.drain {
            *grace_us = grace_us.filter(|at_us| *at_us > now_us);
            let (is_graced, is_late) = (grace_us.is_some(), *deadline_us <= now_us);
            let clients = self.ids_of(|peer| matches!(peer, Peer::Client(_)));
            let may_part = self.ingress.admission().inflight() == 0 && (clients.is_empty() || !is_graced);
            if !may_part && !is_late {
                return;
            }
            self.drain = Stage::Parting {
                grace_us: Some(step.now.after_us(DRAIN_LINKS_US)),
                deadline_us: step.now.after_us(DRAIN_US / 4),
            };
            clients.into_iter().for_each(|id| self.close(step, id, End::ShuttingDown));
            let mut links: Vec<ConnId> = self.router.conns().collect();
            links.sort_unstable();
            for id in links {
                self.send_goaway(step, id, Status::Closing, FAREWELL);
            }
        }
        if let Stage::Parting { grace_us, deadline_us } = &mut self.drain {
            *grace_us = grace_us.filter(|at_us| *at_us > now_us);
            let (is_graced, is_late) = (grace_us.is_some(), *deadline_us <= now_us);
            let has_parted = self.router.has_parted() || !is_graced;
            if has_parted && self.unconfirmed.is_empty() && self.groups.iter().all(Group::is_settled) || is_late {
                self.drain = Stage::Done;
                // If the disk has not answered in time, whoever reads from it learns that it was not done.
                self.end_leading(step);
                // Handshaking connections may have sent requests after their HELLO. None was accepted, which the
                // refusal tells them.
                for id in self.ids_of(|peer| matches!(peer, Peer::Handshaking { .. })) {
                    self.refuse(step, id, Status::Closing, FAREWELL);
                }
                for id in self.ids_of(|_| true) {
                    self.close(step, id, End::ShuttingDown);
                }
            }
        }
    }

    fn ids_of(&mut self, is_wanted: impl Fn(&Peer) -> bool) -> Vec<ConnId> {
        self.conns.iter_mut().filter(|(_, conn)| is_wanted(&conn.peer)).map(|(id, _)| id).collect()
    }

    /// Sends GOAWAY with a reason for the end of the connection.
    pub(super) fn send_goaway(&mut self, step: &mut Step<'_>, id: ConnId, status: Status, message: &str) {
        let last_request_id = self.conns.client_mut(id).map_or(0, |client| client.last_request_id);
        let goaway = Box::new(Goaway { status, last_request_id, message: message.to_owned() });
        let packet = Packet::Goaway(goaway);
        step.out.push(Action::Send { conn: id, request_id: RequestId(0), route: None, packet });
    }
}
