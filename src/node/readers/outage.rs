//! Unreachable leaders: how an ingress detects them, and how it notifies the subscribers of their topics.
//!
//! Every frame that a leader itself sends is a sign of life. A leader with followed topics sends HEADS once a second.
//! When these stop, the ingress probes the leader with FEED, which is idempotent. If the answer is UNREACHABLE, there
//! is no path to the leader; if there is no answer, the leader does not respond. When an outage has lasted for some
//! time, each subscriber of that leader gets WAITING once.
//!
//! The outage of a leader ends with a sign of life, after which the ingress resends all its FEEDs. The outage of a
//! topic ends when the leader confirms the topic, or when records of it arrive; only then do its subscribers get
//! FLOWING. If the topic no longer exists, its subscriptions end as at any other time.
//!
//! A subscriber whose send queue is above its high-water mark is notified when the queue has drained, and only of the
//! state at that time.

use super::super::Step;
use super::super::action::{Action, Packet};
use super::super::ingress::Admission;
use super::Readers;
use super::leader::Outage;
use super::table::{Consumer, ReaderKey, TopicKey};
use crate::limits::{OUTAGE_ASK_US, OUTAGE_NOTIFIED_US, OUTAGE_PROBE_US, OUTAGE_SILENT_US};
use crate::types::SlotId;
use crate::wire::Push;

/// Approximate size of WAITING and FLOWING, in bytes.
const NOTICE_BYTES: usize = 40;

impl Readers {
    /// Records a sign of life: a frame that the leader itself has sent.
    pub(super) fn note_alive(&mut self, step: &mut Step<'_>, slot: SlotId) {
        let state = self.table.leader_mut(slot);
        (state.alive_us, state.unreachable_us) = (step.now.monotonic_us, None);
        if state.outage.take().is_some() {
            // The leader may have restarted and have no feeds.
            self.resync(step, slot);
        }
    }

    /// Records that a request of this node's own found no path to a leader.
    pub(in crate::node) fn note_unreachable(&mut self, step: &Step<'_>, slot: SlotId) {
        // Following a topic begins with a sign of life, so this means nothing for a leader without topics.
        let state = self.table.leader_mut(slot);
        state.unreachable_us.get_or_insert(step.now.monotonic_us);
    }

    /// Records that the FEED with this request id found no path to its leader.
    pub(super) fn note_feed_unreachable(&mut self, step: &Step<'_>, version: u64) {
        if let Some(slot) = self.slot_of_feed(step, version) {
            self.note_unreachable(step, slot);
        }
    }

    /// Returns the slot about which the FEED with this request id was, if it is the last one about that.
    pub(super) fn slot_of_feed(&self, step: &Step<'_>, version: u64) -> Option<SlotId> {
        step.settings.slots.all().find(|slot| self.table.leader(*slot).feed_version == version)
    }

    /// Probes silent leaders, and starts the outage of those that have been silent or unreachable for too long.
    pub(super) fn tick_outages(&mut self, step: &mut Step<'_>) {
        let now_us = step.now.monotonic_us;
        for slot in step.settings.slots.all() {
            let state = self.table.leader_mut(slot);
            let silent_us = now_us.saturating_sub(state.alive_us);
            if state.is_here || state.topics == 0 || silent_us < OUTAGE_ASK_US && state.unreachable_us.is_none() {
                continue;
            }
            let outage = match state.unreachable_us {
                Some(since_us) if since_us + OUTAGE_NOTIFIED_US <= now_us => Some(Outage::NoPath),
                Some(_) | None => (silent_us >= OUTAGE_SILENT_US).then_some(Outage::NoAnswer),
            };
            let is_new = state.outage.is_none();
            let is_probe_due = state.probe_at_us <= now_us;
            if is_probe_due {
                state.probe_at_us = now_us + OUTAGE_PROBE_US;
            }
            if let Some(outage) = outage.filter(|_| is_new) {
                self.begin_outage(step, slot, outage);
            }
            if is_probe_due {
                let place = self.table.topics_of(slot).next().expect("a leader with topics has one");
                self.send_report(step, place);
            }
        }
    }

    /// Restarts the silence timeout of all leaders after a stall of this process.
    pub(in crate::node) fn forgive_leaders(&mut self, now_us: u64) {
        self.table.leaders_mut().for_each(|leader| leader.alive_us = now_us);
    }

    fn begin_outage(&mut self, step: &mut Step<'_>, slot: SlotId, outage: Outage) {
        step.stats.outages += 1;
        self.table.leader_mut(slot).outage = Some(outage);
        let places: Vec<TopicKey> = self.table.topics_of(slot).collect();
        step.work.add_entries(places.len());
        for place in places {
            self.table.topic_mut(place).outage.get_or_insert(outage);
            self.wake_topic(place);
        }
    }

    /// Ends a topic's outage: the leader has confirmed the topic, or records of it have arrived.
    pub(super) fn end_outage(&mut self, place: TopicKey) {
        if self.table.topic_mut(place).outage.take().is_some() {
            self.wake_topic(place);
        }
    }

    /// Sends a subscriber WAITING or FLOWING if its topic's state differs from the last notice.
    pub(super) fn notify(&mut self, step: &mut Step<'_>, admission: &Admission, key: ReaderKey) {
        let Some(reader) = self.table.get(key) else { return };
        let (conn, is_notified) = (reader.conn, reader.is_notified_waiting);
        let Consumer::Stream { id, .. } = reader.consumer else { return };
        let topic = self.table.topic(reader.topic);
        let (node, outage) = (step.leaders.of(topic.slot).index(), topic.outage);
        if outage.is_some() == is_notified {
            return;
        }
        let Some(client) = self.clients.get_mut(conn) else { return };
        if !client.takes_notices || admission.room(conn) == 0 {
            return; // when it reads again, all its readers have a turn
        }
        if !client.takes(step.event) {
            return self.table.enqueue(key);
        }
        client.give(NOTICE_BYTES);
        let push = match outage {
            Some(outage) => Push::Waiting { node, reason: outage.reason().number() },
            None => Push::Flowing { node },
        };
        self.table.set_notified_waiting(key, outage.is_some());
        step.out.push(Action::Send { conn, request_id: id, route: None, packet: Packet::Push(push) });
    }
}
