//! PUBLISH at the home: the batch is validated, proposed, and acknowledged once it is applied.

use super::super::Step;
use super::super::call::{Answer, Call};
use super::Group;
use super::proposals::{Cost, Proposal};
use super::runs::{Part, SmallBatch};
use crate::limits::{MERGE_BYTES_MAX, PAYLOAD_MAX};
use crate::record::{Batch, Entry, Place, TopicRef};
use crate::types::Opening;
use crate::wire::request::{self, Publish};
use crate::wire::response::{Detail, ErrorResponse};
use crate::wire::{Status, records};

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
        self.check_batch(step.settings, Cost::of(&entry))?;
        self.propose(step, entry, Proposal::of(call.reply));
        Ok(Answer::Later)
    }

    pub(super) fn propose_publish(
        &mut self,
        step: &mut Step<'_>,
        publish: &Publish<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, ErrorResponse> {
        let (frame, topic) = (call.frame, self.topic_ref(step.settings, &publish.topic)?);
        if frame.payload().len() > PAYLOAD_MAX as usize {
            let message = format!("a batch has at most {PAYLOAD_MAX} bytes of records");
            return Err(ErrorResponse::new(Status::TooLarge, message).with(Detail::Limit(PAYLOAD_MAX.into())));
        }
        let Ok(payload) = frame.checked_payload() else {
            step.stats.corrupt += 1;
            return Err(ErrorResponse::new(Status::CorruptFrame, "the payload was damaged on the way"));
        };
        let checked = records::check_published(payload, publish.count);
        match &checked {
            Ok(()) => step.work.add_records(publish.count),
            Err(_) => step.work.add_walk(payload.len()),
        }
        checked.map_err(|fault| ErrorResponse::new(Status::MalformedRecords, fault.to_string()))?;
        let append_us = step.wall.stamp_us(step.now);
        // A small batch is copied, so that it does not pin the large buffer that it was received in.
        let is_small = payload.len() <= MERGE_BYTES_MAX;
        if let (true, None, TopicRef::Id(id)) = (is_small, publish.producer, &topic) {
            let part = Part { reply: call.reply, count: publish.count };
            let batch = SmallBatch { payload, payload_crc: frame.payload_crc(), append_us, part };
            self.propose_batch(step, *id, &batch)?;
            return Ok(Answer::Later);
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
            producer: publish.producer,
            count: publish.count,
            payload_crc: frame.payload_crc(),
            append_us,
            payload,
            place: Place::default(),
        };
        let entry = Entry::Publish(batch);
        self.check_batch(step.settings, Cost::of(&entry))?;
        self.propose(step, entry, Proposal::of(call.reply));
        Ok(Answer::Later)
    }
}
