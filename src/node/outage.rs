//! Homes out of reach: how an ingress notices that, and what it tells the subscribers of their topics.
//!
//! Every frame that a home sends here is a sign of life, and while something of it is followed it sends HEADS once a
//! second. When those stop, the ingress asks with FEED, which may be said again at any time. UNREACHABLE in return
//! means that there is no path; no answer at all, that the home does not answer. An outage that lasts is told to each
//! subscriber of that home once (WAITING).
//!
//! It ends for a home with a sign of life, upon which everything is said again (FEED), and for a topic when the home
//! confirms that it has it, or records of it come: only then is the subscriber told (FLOWING). A topic that is gone
//! when its home comes back ends as at any other time.
//!
//! A subscriber that does not read is told when it does, and then only what holds at that time.

use super::action::{Action, Packet};
use super::subscriptions::Consumer;
use super::{Node, Step};
use crate::limits::{OUTAGE_ASK_US, OUTAGE_PROBE_US, OUTAGE_SILENT_US, OUTAGE_TOLD_US};
use crate::types::NodeId;
use crate::wire::{Push, Status};

/// Why a home cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outage {
    /// A node on the way, or this one, knows no path to it.
    NoPath,
    /// There may be a path, but nothing comes back.
    NoAnswer,
}

impl Outage {
    /// As WAITING says it.
    const fn reason(self) -> Status {
        match self {
            Self::NoPath => Status::Unreachable,
            Self::NoAnswer => Status::OutcomeUnknown,
        }
    }
}

/// Bytes of WAITING and FLOWING, roughly.
const NOTICE_BYTES: usize = 40;

impl Node {
    /// A frame came that this home has sent itself.
    pub(super) fn note_alive(&mut self, step: &mut Step<'_>, home: NodeId) {
        let state = &mut self.subscriptions.homes[usize::from(home.index())];
        (state.alive_us, state.unreachable_us) = (step.now.monotonic_us, None);
        if state.outage.take().is_some() {
            // It may be another start of it, which knows of no feeds.
            self.resync(step, home);
        }
    }

    /// A request of this node's own found no path to a home.
    pub(super) fn note_unreachable(&mut self, step: &Step<'_>, home: NodeId) {
        let state = &mut self.subscriptions.homes[usize::from(home.index())];
        if state.topics > 0 {
            state.unreachable_us.get_or_insert(step.now.monotonic_us);
        }
    }

    /// The FEED with this request id found no path.
    pub(super) fn note_feed_unreachable(&mut self, step: &Step<'_>, version: u64) {
        let homes = &self.subscriptions.homes;
        let of_it = self.settings.dimension.all().find(|home| homes[usize::from(home.index())].feed_version == version);
        if let Some(home) = of_it {
            self.note_unreachable(step, home);
        }
    }

    /// Asks homes that are silent for a sign of life, and tells the subscribers of those that have been out of reach
    /// for long.
    pub(super) fn tick_outages(&mut self, step: &mut Step<'_>) {
        let (now_us, here) = (step.now.monotonic_us, self.settings.id);
        for home in self.settings.dimension.all().filter(|home| *home != here) {
            let state = &mut self.subscriptions.homes[usize::from(home.index())];
            let silent_us = now_us.saturating_sub(state.alive_us);
            if state.topics == 0 || silent_us < OUTAGE_ASK_US && state.unreachable_us.is_none() {
                continue;
            }
            let outage = match state.unreachable_us {
                Some(since_us) if since_us + OUTAGE_TOLD_US <= now_us => Some(Outage::NoPath),
                Some(_) | None => (silent_us >= OUTAGE_SILENT_US).then_some(Outage::NoAnswer),
            };
            let is_new = state.outage.is_none();
            let is_probe_due = state.probe_at_us <= now_us;
            if is_probe_due {
                state.probe_at_us = now_us + OUTAGE_PROBE_US;
            }
            if let Some(outage) = outage.filter(|_| is_new) {
                self.begin_outage(step, home, outage);
            }
            if is_probe_due {
                let of_home = self.subscriptions.topics().find(|(_, topic)| topic.home == home);
                let place = of_home.map(|(place, _)| place).expect("a home with topics has one");
                self.tell(step, place);
            }
        }
    }

    /// After a stall of this machine silence is counted anew.
    pub(super) fn forgive_homes(&mut self, now_us: u64) {
        self.subscriptions.homes.iter_mut().for_each(|home| home.alive_us = now_us);
    }

    fn begin_outage(&mut self, step: &mut Step<'_>, home: NodeId, outage: Outage) {
        self.stats.outages += 1;
        self.subscriptions.homes[usize::from(home.index())].outage = Some(outage);
        let places: Vec<usize> =
            self.subscriptions.topics().filter(|(_, topic)| topic.home == home).map(|(place, _)| place).collect();
        for place in places {
            self.subscriptions.topic_mut(place).outage.get_or_insert(outage);
            self.notify_topic(step, place);
        }
    }

    /// The home has confirmed that it has the topic, or records of it came.
    pub(super) fn end_outage(&mut self, step: &mut Step<'_>, place: usize) {
        if self.subscriptions.topic_mut(place).outage.take().is_some() {
            self.notify_topic(step, place);
        }
    }

    fn notify_topic(&mut self, step: &mut Step<'_>, place: usize) {
        for key in self.subscriptions.topic(place).readers() {
            self.notify(step, key);
        }
    }

    /// Tells a subscriber whether records can come, unless that is what it was told last.
    pub(super) fn notify(&mut self, step: &mut Step<'_>, key: usize) {
        let Some(reader) = self.subscriptions.get(key) else { return };
        let (conn, is_told) = (reader.conn, reader.is_told_to_wait);
        let Consumer::Stream { id, .. } = reader.consumer else { return };
        let topic = self.subscriptions.topic(reader.topic);
        let (node, outage) = (topic.home.index(), topic.outage);
        if outage.is_some() == is_told {
            return;
        }
        let Some(client) = self.conns.client_mut(conn) else { return };
        if !client.notices || client.full {
            return; // when it reads again, all its readers have a turn
        }
        if !client.takes(step.event) {
            return self.subscriptions.enqueue(key);
        }
        client.give(NOTICE_BYTES);
        let push = match outage {
            Some(outage) => Push::Waiting { node, reason: outage.reason().number() },
            None => Push::Flowing { node },
        };
        self.subscriptions.set_told_to_wait(key, outage.is_some());
        step.out.push(Action::Send { conn, request_id: id, route: None, packet: Packet::Push(push) });
    }
}
