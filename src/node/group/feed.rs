//! SUBSCRIBE and FEED at the leader: which nodes have readers of a topic.
//!
//! A push is one multicast, so each link carries it once. The leader waits for no receiver: the other side detects a
//! lost push from the next push or from HEADS.

use super::super::Step;
use super::super::call::{Answer, Call};
use super::super::frames::{malformed, sound_payload};
use super::Group;
use super::feeds::{Feeds, Member};
use super::read::check_epoch;
use super::topics::recreated;
use crate::topic::{Catalogue, Topic};
use crate::types::{Epoch, NodeId, Offset, TopicId, TopicName};
use crate::wire::feed::{Fed, FedList, FeedItem};
use crate::wire::response::{ErrorResponse, Subscribed};
use crate::wire::{Response, Status};

impl Group {
    /// Returns the answer to a SUBSCRIBE of a node that starts at this offset, and creates a feed for that node.
    pub(super) fn subscribed(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        from: Offset,
        source: NodeId,
    ) -> Result<Response, ErrorResponse> {
        let Some(lead) = &mut self.lead else { return Err(step.not_leader(self.slot)) };
        let topic = self.catalogue.get(id).ok_or_else(|| step.settings.deleted_before(self.slot))?;
        let (first, next) = (topic.log.first(), topic.log.next());
        let subscribed = Subscribed { topic_id: id, epoch: topic.epoch, from, first, next };
        if source != step.settings.id {
            // The next FEED reports the number of subscribers.
            let new = Member { node: source, version: 0, subscribers: 1, slowest: None };
            let member = lead.feeds.member(id, source).unwrap_or(new);
            lead.feeds.set(step.work, id, true, member);
        }
        Ok(Response::Subscribed(subscribed))
    }

    /// Returns the log end offset of a topic that readers of this node have followed while another node led the group.
    ///
    /// # Errors
    /// Returns why they cannot follow it any more.
    pub(in crate::node) fn check_followed(
        &self,
        step: &Step<'_>,
        (id, epoch): (TopicId, Epoch),
        name: &str,
    ) -> Result<Offset, ErrorResponse> {
        let Some(topic) = self.catalogue.get(id) else {
            let successor = TopicName::new(name).ok().and_then(|name| self.catalogue.find(name));
            return Err(match successor {
                Some(topic) => recreated(topic),
                None => step.settings.deleted_before(self.slot),
            });
        };
        check_epoch(topic, Some(epoch)).map(|()| topic.log.next())
    }

    /// Handles FEED, in which a node reports its readers.
    pub(super) fn on_feed(
        &mut self,
        step: &mut Step<'_>,
        (instance, reset, count): (u64, bool, u16),
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let (frame, source) = (call.frame, call.route.source);
        let payload = sound_payload(frame)?;
        let items = FeedItem::decode_all(&payload, count).map_err(malformed)?;
        if source == step.settings.id {
            return Err(ErrorResponse::new(Status::BadRequest, "FEED must not come from the node that leads the slot"));
        }
        let Some(lead) = &mut self.lead else { return Err(step.not_leader(self.slot)) };
        let version = frame.header.request_id.0;
        let ingress = &mut lead.feeds.ingresses[usize::from(source.index())];
        let is_new_start = ingress.instance.is_some_and(|known| known != instance);
        let is_newest = is_new_start || ingress.version < version;
        if is_newest {
            (ingress.instance, ingress.version) = (Some(instance), version);
        }
        ingress.unanswered = 0;
        if is_new_start || reset && is_newest {
            lead.feeds.forget(step.work, source);
        }
        // The topic of each is looked up, by its id or by its name.
        step.work.add_entries(2 * items.len());
        let items = items.iter().map(|item| feed_one(step, &self.catalogue, &mut lead.feeds, item, (source, version)));
        let items = items.collect();
        let counter = lead.feeds.ingresses[usize::from(source.index())].counter;
        let fed =
            FedList { slot: self.slot.index(), term: lead.term, instance: step.settings.instance, counter, items };
        Ok(Answer::Now(Response::Fed(fed)))
    }
}

/// Handles what a node reports about its readers of one topic.
fn feed_one(
    step: &mut Step<'_>,
    catalogue: &Catalogue,
    feeds: &mut Feeds,
    item: &FeedItem<'_>,
    (source, version): (NodeId, u64),
) -> Fed {
    let answer = |status: Status, topic: Option<&Topic>| Fed {
        topic: item.topic,
        status: status.number(),
        epoch: topic.map_or(Epoch(0), |topic| topic.epoch),
        next: topic.map_or(Offset(0), |topic| topic.log.next()),
        successor: None,
    };
    let member = Member { node: source, version, subscribers: item.subscribers, slowest: item.slowest };
    // A newer FEED has overtaken this one.
    let is_late = feeds.member(item.topic, source).is_some_and(|known| known.version > version);
    if item.subscribers == 0 {
        if !is_late {
            feeds.set(step.work, item.topic, false, member);
        }
        return answer(Status::Ok, None);
    }
    match catalogue.get(item.topic) {
        Some(topic) if topic.epoch == item.epoch => {
            let fed = answer(Status::Ok, Some(topic));
            if !is_late {
                feeds.set(step.work, item.topic, item.push, member);
            }
            fed
        }
        Some(topic) => Fed { next: topic.lost_from(item.epoch), ..answer(Status::Truncated, Some(topic)) },
        None => {
            let successor = item.name.and_then(|name| catalogue.find(name)).map(|topic| topic.id);
            let status = if successor.is_some() { Status::Recreated } else { Status::UnknownTopic };
            Fed { successor, ..answer(status, None) }
        }
    }
}
