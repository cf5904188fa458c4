//! Topics whose settings are changed, or whose first records are removed: the bounds that they may have.
//!
//! An admin alters a topic only from its initial bounds to the other bounds of its plan. A client that sends a request
//! after the response to ALTER must see the latter.

use dht_node::types::{Offset, Retention, SettingsChange, TopicId};

use crate::model::{Model, Span};
use crate::truth::mark_bytes;

/// What is known about changes of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changes {
    /// True once an ALTER to the other bounds has been sent.
    pub is_asked: bool,
    /// The time of the response that it has them.
    pub altered_us: Option<u64>,
    /// The highest log start offset that was requested by TRIM.
    pub trim_to: u64,
}

/// The bounds on what a topic may retain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub most: Retention,
    pub least: Retention,
    /// Number of bytes by which the reported size may be wrong after a removal.
    pub inexact: u64,
    /// The requested log start offset.
    pub trim_to: u64,
    /// When the clock of its home last jumped without being noticed.
    pub redated_us: Option<u64>,
}

/// Returns the settings that set all bounds to these.
pub(crate) const fn change_to(retention: Retention) -> SettingsChange {
    SettingsChange {
        retention_records: Some(retention.records),
        retention_bytes: Some(retention.bytes),
        retention_age_ms: Some(retention.age_ms),
    }
}

/// Returns the wider and the narrower of two bounds; 0 means no bound.
fn wider(one: u64, other: u64) -> u64 {
    if one == 0 || other == 0 { 0 } else { one.max(other) }
}

fn narrower(one: u64, other: u64) -> u64 {
    if one == 0 || other == 0 { one.max(other) } else { one.min(other) }
}

impl Model {
    /// Records that the clock of a home has jumped while no process ran that could record it.
    pub(crate) fn note_redated(&mut self, home: usize, now_us: u64) {
        for name in self.names.iter_mut().filter(|name| name.plan.home == home) {
            name.redated_us = Some(now_us);
        }
    }

    /// Returns the bounds that a topic may have for a request of that time.
    pub(crate) fn bounds(&self, id: TopicId, asked_us: u64) -> Vec<Retention> {
        let (topic, name) = (&self.topics[&id], &self.names[self.topics[&id].name]);
        match topic.changes {
            Changes { is_asked: false, .. } => vec![name.retention],
            // A home that has lost the change has the earlier bounds.
            Changes { altered_us: Some(altered_us), .. } if altered_us <= asked_us && !name.may_lose => {
                vec![name.other]
            }
            Changes { .. } => vec![name.retention, name.other],
        }
    }

    /// Returns what a topic may retain, whenever that was reported.
    pub(crate) fn kept(&self, id: TopicId) -> Kept {
        let (topic, name) = (&self.topics[&id], &self.names[self.topics[&id].name]);
        let (one, other) = (name.retention, if topic.changes.is_asked { name.other } else { name.retention });
        let join = |join: fn(u64, u64) -> u64| Retention {
            records: join(one.records, other.records),
            bytes: join(one.bytes, other.bytes),
            age_ms: join(one.age_ms, other.age_ms),
        };
        let (mut most, mut least) = (join(wider), join(narrower));
        // Marks were created for either bounds, and whole ones are removed.
        let mark = mark_bytes(most, self.largest);
        if most.bytes > 0 {
            most.bytes += mark;
        }
        if least.bytes > 0 {
            least.bytes = least.bytes.saturating_sub(2 * mark).max(1);
        }
        Kept { most, least, inexact: mark, trim_to: topic.changes.trim_to, redated_us: name.redated_us }
    }

    /// Records that ALTER to the other bounds was sent.
    pub(crate) fn ask_to_alter(&mut self, id: TopicId) {
        self.topics.get_mut(&id).expect("the topic is known to the model").changes.is_asked = true;
    }

    /// Records that a topic was reported with its other bounds.
    pub(crate) fn altered(&mut self, id: TopicId, retention: Retention, span: Span) {
        let name = &self.names[self.topics[&id].name];
        assert_eq!(retention, name.other, "it was altered to other bounds");
        self.topics
            .get_mut(&id)
            .expect("the topic is known to the model")
            .changes
            .altered_us
            .get_or_insert(span.now_us);
        self.totals.changes += 1;
    }

    /// Records that the removal of everything before an offset was requested.
    pub(crate) fn ask_to_trim(&mut self, id: TopicId, to: Offset) {
        let changes = &mut self.topics.get_mut(&id).expect("the topic is known to the model").changes;
        changes.trim_to = changes.trim_to.max(to.0);
    }

    /// Returns an offset of a topic, which may not exist yet.
    pub(crate) fn some_offset(&self, id: TopicId, rng: &mut fastrand::Rng) -> Offset {
        let ends = self.logs.iter().filter(|(life, _)| life.id == id).map(|(_, log)| log.nexts.at(u64::MAX));
        Offset(rng.u64(0..=ends.max().unwrap_or(0) + 1))
    }
}
