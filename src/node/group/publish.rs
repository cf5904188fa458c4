//! PUBLISH at the leader: the batch is validated, proposed, and acknowledged once it is applied.

use super::super::Step;
use super::super::call::{Answer, Call, ReplyTo};
use super::super::cost::Cost;
use super::Group;
use super::proposal::Proposal;
use super::runs::{Part, SmallBatch};
use crate::entry::{Batch, Entry, Place, TopicRef};
use crate::limits::{MERGE_BYTES_MAX, PAYLOAD_MAX};
use crate::types::{Opening, Sequenced, TopicId};
use crate::wire::request::{self, Publish};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Frame, Status, records};

impl Group {
    pub(super) fn propose_open_producer(
        &mut self,
        step: &mut Step<'_>,
        topic: &request::Topic<'_>,
        opening: Opening,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.topic_ref(step.settings, topic)?;
        let entry = Entry::OpenProducer { topic, opening };
        self.check_batch(step, Cost::of(&entry))?;
        self.propose(step, entry, Proposal::of(call.reply));
        Ok(Answer::Later)
    }

    pub(super) fn propose_publish(
        &mut self,
        step: &mut Step<'_>,
        publish: &Publish<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let topic = self.topic_ref(step.settings, &publish.topic)?;
        self.propose_batch(step, (topic, publish.producer, publish.count), call.frame, call.reply)?;
        Ok(Answer::Later)
    }

    /// Returns true if a batch for this name and topic can be proposed with the topic's id.
    pub(in crate::node) fn can_publish_to(&self, topic: TopicId) -> bool {
        self.leads() && self.proposed().creates() == 0 && self.catalogue.get(topic).is_some()
    }

    /// Proposes a batch for a topic for which [`Self::can_publish_to`] is true.
    ///
    /// # Errors
    /// Returns the answer to a batch that is not proposed.
    pub(in crate::node) fn publish_again(
        &mut self,
        step: &mut Step<'_>,
        topic: TopicId,
        (producer, count): (Option<Sequenced>, u32),
        frame: &Frame<'_>,
        reply: ReplyTo,
    ) -> Result<(), ErrorResponse> {
        self.propose_batch(step, (TopicRef::Id(topic), producer, count), frame, reply)
    }

    fn propose_batch(
        &mut self,
        step: &mut Step<'_>,
        (topic, producer, count): (TopicRef, Option<Sequenced>, u32),
        frame: &Frame<'_>,
        reply: ReplyTo,
    ) -> Result<(), ErrorResponse> {
        if frame.payload().len() > PAYLOAD_MAX as usize {
            let message = format!("a batch has at most {PAYLOAD_MAX} bytes of records");
            return Err(ErrorResponse::new(Status::TooLarge, message).with(Detail::Limit(PAYLOAD_MAX.into())));
        }
        let Ok(payload) = frame.checked_payload() else {
            step.stats.corrupt += 1;
            return Err(ErrorResponse::new(Status::CorruptFrame, "the payload was damaged on the way"));
        };
        let checked = records::check_published(payload, count);
        match &checked {
            Ok(()) => step.work.add_records(count),
            Err(_) => step.work.add_walk(payload.len()),
        }
        checked.map_err(|fault| ErrorResponse::new(Status::MalformedRecords, fault.to_string()))?;
        let append_us = self.stamp_us(step)?;
        // A small batch is copied, so that it does not pin the large buffer that it was received in.
        let is_small = payload.len() <= MERGE_BYTES_MAX;
        if let (true, None, TopicRef::Id(id)) = (is_small, producer, &topic) {
            let part = Part { reply, count };
            let batch = SmallBatch { payload, payload_crc: frame.payload_crc(), append_us, part };
            return self.propose_small(step, *id, &batch);
        }
        let payload = match &mut self.lead {
            Some(lead) if is_small => {
                lead.payloads.extend_from_slice(payload);
                lead.payloads.split().freeze()
            }
            Some(_) | None => frame.share_payload(),
        };
        let batch = Batch {
            topic,
            producer,
            count,
            payload_crc: frame.payload_crc(),
            append_us,
            payload,
            place: Place::default(),
        };
        let entry = Entry::Publish(batch);
        self.check_batch(step, Cost::of(&entry))?;
        self.propose(step, entry, Proposal::of(reply));
        Ok(())
    }
}
