//! The end: nothing new is taken, what was taken is answered, everybody is told.

use super::conns::Peer;
use super::{Node, Step};
use crate::limits::DRAIN_US;
use crate::types::ConnId;
use crate::wire::Status;

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct State {
    /// When the rest is left unanswered, monotonic microseconds.
    deadline_us: Option<u64>,
    done: bool,
}

impl State {
    pub(super) const fn has_begun(&self) -> bool {
        self.deadline_us.is_some()
    }

    pub(super) const fn is_done(&self) -> bool {
        self.done
    }
}

impl Node {
    pub(super) fn on_drain(&mut self, step: &mut Step<'_>) {
        if self.drain.has_begun() {
            return;
        }
        self.drain.deadline_us = Some(step.now.after_us(DRAIN_US / 2));
        self.expire_polls(step);
        self.tick_drain(step);
    }

    /// When nothing is unanswered, or the time is over, everybody is told and everything closed.
    pub(super) fn tick_drain(&mut self, step: &mut Step<'_>) {
        let Some(deadline_us) = self.drain.deadline_us else { return };
        let is_settled = self.pending.len() == 0 && self.proposals.len() == 0;
        if self.drain.done || !is_settled && deadline_us > step.now.monotonic_us {
            return;
        }
        // Clients before links: their last answers may still come over those.
        let mut ids: Vec<(bool, ConnId)> =
            self.conns.iter_mut().map(|(id, conn)| (matches!(conn.peer, Peer::Link { .. }), id)).collect();
        ids.sort_unstable();
        for (_, id) in ids {
            self.refuse(step, id, Status::Closing, "this node is ending");
        }
        self.drain.done = true;
    }
}
