//! Newly committed records on their way to readers: they are read from the log and encoded once for all of them.

use super::super::Step;
use super::Group;
use super::read::read_log;
use crate::limits::PAYLOAD_MAX;
use crate::types::{NodeSet, Offset, RequestId, TopicId};
use crate::wire::push::Span;
use crate::wire::response::ErrorResponse;
use crate::wire::{Frame, Push};

/// Newly committed records of a topic.
#[derive(Debug)]
pub(in crate::node) struct NewRecords {
    /// Which records they are.
    pub span: Span,
    /// The DELIVER frame.
    pub frame: Frame<'static>,
    /// The nodes that it is to be sent to; `None` when no other node wants it.
    pub targets: Option<NodeSet>,
}

/// The end of a topic.
#[derive(Debug)]
pub(in crate::node) struct EndOfTopic {
    /// The reason.
    pub error: ErrorResponse,
    /// The EVENT frame and the nodes with readers; `None` when no other node has any.
    pub frame: Option<(Frame<'static>, NodeSet)>,
}

impl Group {
    /// Returns the newly committed records of a topic from an offset on, as many as fit a frame. Returns `None` when
    /// there are no more, or when no other node reads the topic and none of this node's clients does.
    pub(in crate::node) fn next_push(
        &mut self,
        step: &mut Step<'_>,
        id: TopicId,
        from: Offset,
        is_read_here: bool,
    ) -> Option<NewRecords> {
        let mut feeds = self.lead.as_mut().map(|lead| &mut lead.feeds);
        if !is_read_here && !feeds.as_ref().is_some_and(|feeds| feeds.has(id)) {
            return None;
        }
        let topic = self.catalogue.get(id).filter(|topic| from < topic.log.next())?;
        let mut fetched = read_log(step.work, topic, from, PAYLOAD_MAX, 0).expect("what is new is in memory");
        if fetched.count == 0 {
            return None;
        }
        let span = Span { topic: id, epoch: topic.epoch, base: fetched.base, end: fetched.end() };
        fetched.from = fetched.base;
        let frame = push_frame(&Push::Deliver(Box::new(fetched)), id);
        Some(NewRecords { span, frame, targets: feeds.as_mut().and_then(|feeds| feeds.targets(id)).cloned() })
    }

    /// Ends the feeds of a deleted topic.
    pub(in crate::node) fn end_feeds(&mut self, step: &Step<'_>, id: TopicId) -> EndOfTopic {
        let error = step.settings.unknown_topic(self.slot, "the topic was deleted");
        let frame = |targets| (push_frame(&Push::Ended(Box::new(error.clone())), id), targets);
        let frame = self.lead.as_mut().and_then(|lead| lead.feeds.remove(id)).map(frame);
        EndOfTopic { error, frame }
    }
}

/// Encodes a push for links, with the topic's id as request id, which the last node replaces.
fn push_frame(push: &Push, topic: TopicId) -> Frame<'static> {
    let mut bytes = Vec::with_capacity(256);
    if let Some(payload) = push.encode(RequestId(topic.number()), None, &mut bytes) {
        bytes.reserve_exact(payload.len());
        payload.parts.iter().for_each(|part| bytes.extend_from_slice(part));
    }
    Frame::sealed(bytes)
}
