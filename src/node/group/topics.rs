//! Creating, deleting, changing, listing and describing topics.

use super::super::call::{Answer, Call};
use super::super::cost::Cost;
use super::super::{Settings, Step};
use super::Group;
use super::proposal::Proposal;
use super::room::{check_memory, check_queue};
use crate::cube;
use crate::entry::{Entry, TopicRef};
use crate::limits::TOPICS_MAX;
use crate::topic::{Topic, topic_cost};
use crate::types::{Epoch, NodeId, Offset, Retention, SettingsChange, TopicName};
use crate::wire::request;
use crate::wire::response::{Description, Detail, ErrorResponse, Listed, Page, TopicState};
use crate::wire::{Response, Route, Status};

impl Group {
    pub(super) fn propose_create(
        &mut self,
        step: &mut Step<'_>,
        name: TopicName<'_>,
        retention: Retention,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let retention = with_defaults(step.settings, retention);
        if let Some(topic) = self.catalogue.find(name) {
            if !self.proposed().has_changes() {
                // It changes nothing, so nothing is written.
                return self
                    .existing(step.settings, topic, retention, path_of(step.settings, call.route))
                    .map(Answer::Now);
            }
        } else {
            check_memory(step, topic_cost(name.as_str().len()))?;
            if step.budget.used().topics >= TOPICS_MAX {
                let message = format!("this node keeps at most {TOPICS_MAX} topics");
                return Err(ErrorResponse::new(Status::Quota, message).with(Detail::Limit(TOPICS_MAX as u64)));
            }
        }
        let entry = Entry::Create {
            name: name.as_str().into(),
            seed: step.random.u64(..),
            epoch: Epoch(1),
            retention,
            created_us: self.stamp_us(step)?,
        };
        self.check_room(step, Cost::of(&entry))?;
        let path = path_of(step.settings, call.route);
        self.propose(step, entry, Proposal { path, ..Proposal::of(call.reply) });
        Ok(Answer::Later)
    }

    /// Returns the answer to a CREATE of a topic that exists.
    pub(super) fn existing(
        &self,
        settings: &Settings,
        topic: &Topic,
        wanted: Retention,
        path: Vec<u16>,
    ) -> Result<Response, ErrorResponse> {
        if topic.retention != wanted {
            let message = "the topic exists with another retention";
            return Err(ErrorResponse::new(Status::TopicExists, message).with(Detail::TopicId(topic.id)));
        }
        let description = Box::new(self.describe(settings, Some(topic), path));
        Ok(Response::Created { existed: true, description })
    }

    pub(super) fn propose_delete(
        &mut self,
        step: &mut Step<'_>,
        topic: &request::Topic<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.topic_ref(step.settings, topic)?;
        let entry = Entry::Delete { topic };
        let cost = Cost::of(&entry);
        planted!("deletes not counted while the disk hangs", check_queue(step, cost)?, ());
        self.propose(step, entry, Proposal::of(call.reply));
        Ok(Answer::Later)
    }

    pub(super) fn propose_alter(
        &mut self,
        step: &mut Step<'_>,
        topic: &request::Topic<'_>,
        change: &SettingsChange,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.topic_ref(step.settings, topic)?;
        let default = step.settings.retention;
        let or_default = |asked: Option<u64>, default| asked.map(|bound| if bound == 0 { default } else { bound });
        let change = SettingsChange {
            retention_records: or_default(change.retention_records, default.records),
            retention_bytes: or_default(change.retention_bytes, default.bytes),
            retention_age_ms: or_default(change.retention_age_ms, default.age_ms),
        };
        let path = path_of(step.settings, call.route);
        if let TopicRef::Id(id) = topic
            && let Some(found) = self.catalogue.get(id)
            && change.applied_to(found.retention) == found.retention
            && !self.proposed().has_changes()
        {
            return Ok(Answer::Now(Response::Described(Box::new(self.describe(step.settings, Some(found), path)))));
        }
        let entry = Entry::Alter { topic, change };
        check_queue(step, Cost::of(&entry))?;
        self.propose(step, entry, Proposal { path, ..Proposal::of(call.reply) });
        Ok(Answer::Later)
    }

    /// Proposes to remove records from the start of a log. This is allowed on a full disk too, because it frees space.
    pub(super) fn propose_trim(
        &mut self,
        step: &mut Step<'_>,
        topic: &request::Topic<'_>,
        first: Offset,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let found = self.find(step.settings, topic)?;
        let (topic, earliest, next) = (found.id, found.log.first(), found.log.next());
        if first > next {
            let error = ErrorResponse::new(Status::OffsetOutOfRange, format!("the topic ends before offset {next}"));
            return Err(error.with(Detail::Earliest(earliest)).with(Detail::Next(next)));
        }
        if first <= earliest && !self.proposed().has_changes() {
            return Ok(Answer::Now(Response::Trimmed { topic_id: topic, first: earliest, next }));
        }
        let entry = Entry::Trim { topic, first };
        check_queue(step, Cost::of(&entry))?;
        self.propose(step, entry, Proposal::of(call.reply));
        Ok(Answer::Later)
    }

    /// Adds to a page, until it has `max` topics, those from a place of the catalogue on whose names begin with
    /// `prefix`. Subtracts from `scan` the places that were looked at. Returns the place where the next page begins;
    /// `None` after the last one.
    pub(in crate::node) fn list(
        &self,
        (prefix, max): (&str, usize),
        from: usize,
        scan: &mut usize,
        page: &mut Page,
    ) -> Option<usize> {
        let mut behind = from.saturating_add(*scan).min(self.catalogue.places());
        for (next, topic) in self.catalogue.scan(from, *scan) {
            if topic.name().starts_with(prefix) {
                page.topics.push(listed(topic));
            }
            if page.topics.len() == max {
                behind = next;
                break;
            }
        }
        *scan -= behind.saturating_sub(from);
        (behind < self.catalogue.places()).then_some(behind)
    }

    pub(super) fn info(
        &self,
        settings: &Settings,
        topic: &request::Topic<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let found = self.find(settings, topic)?;
        Ok(Answer::Now(Response::Described(Box::new(self.describe(
            settings,
            Some(found),
            path_of(settings, call.route),
        )))))
    }

    pub(super) fn query(&self, settings: &Settings, name: TopicName<'_>, call: &Call<'_>) -> Answer {
        let description = self.describe(settings, self.catalogue.find(name), path_of(settings, call.route));
        Answer::Now(Response::Described(Box::new(description)))
    }

    /// Returns the topic that a request names. If the request has an id as well, the topic must have that id.
    pub(super) fn find(&self, settings: &Settings, topic: &request::Topic<'_>) -> Result<&Topic, ErrorResponse> {
        let found = self.catalogue.find(topic.name).ok_or_else(|| settings.no_topic(self.slot, topic.name.as_str()))?;
        match topic.id {
            Some(id) if id != found.id => Err(recreated(found)),
            Some(_) | None => Ok(found),
        }
    }

    /// Returns a reference to the topic of a request, for an entry.
    pub(super) fn topic_ref(&self, settings: &Settings, topic: &request::Topic<'_>) -> Result<TopicRef, ErrorResponse> {
        if self.proposed().creates() > 0 && topic.id.is_none() {
            // Its creation may be in flight, so the name is resolved when the entry is applied.
            return Ok(TopicRef::Name(topic.name.as_str().into()));
        }
        self.find(settings, topic).map(|found| TopicRef::Id(found.id))
    }

    pub(super) fn describe(&self, settings: &Settings, topic: Option<&Topic>, path: Vec<u16>) -> Description {
        let audience = |id| self.lead.as_ref().map(|lead| lead.feeds.audience(id)).unwrap_or_default();
        let topic = topic.map(|topic| (topic, audience(topic.id))).map(|(topic, audience)| TopicState {
            id: topic.id,
            epoch: topic.epoch,
            first: topic.log.first(),
            next: topic.log.next(),
            bytes: topic.log.bytes(),
            subscribers: audience.subscribers,
            feeds: audience.feeds,
            lag: audience.slowest.map_or(0, |slowest| topic.log.next().0.saturating_sub(slowest.0)),
            created_us: topic.created_us,
            retention: topic.retention,
            durability: settings.durability,
        });
        let home = cube::node_of(self.slot, settings.dimension).index();
        Description { home, topic, path, copies: self.member.copies(settings, self.slot) }
    }
}

/// Returns the retention that a request asks for, with the node's own where it asks for none.
const fn with_defaults(settings: &Settings, wanted: Retention) -> Retention {
    let default = settings.retention;
    Retention {
        records: if wanted.records == 0 { default.records } else { wanted.records },
        bytes: if wanted.bytes == 0 { default.bytes } else { wanted.bytes },
        age_ms: if wanted.age_ms == 0 { default.age_ms } else { wanted.age_ms },
    }
}

/// Returns the nodes that a request passed through.
fn path_of(settings: &Settings, route: &Route) -> Vec<u16> {
    let path = cube::walked(route.source, settings.id, route.dimension, &route.down);
    path.into_iter().map(NodeId::index).collect()
}

/// Returns the error for a name that belongs to a new topic now.
pub(super) fn recreated(found: &Topic) -> ErrorResponse {
    let message = "the topic was deleted and made again; its offsets start anew";
    ErrorResponse::new(Status::Recreated, message).with(Detail::TopicId(found.id))
}

fn listed(topic: &Topic) -> Listed {
    Listed {
        id: topic.id,
        first: topic.log.first(),
        next: topic.log.next(),
        bytes: topic.log.bytes(),
        name: topic.name().to_owned(),
    }
}
