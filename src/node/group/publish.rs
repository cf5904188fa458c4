//! PUBLISH at the home: the batch is validated, proposed, and acknowledged once it is applied.

use super::super::Step;
use super::super::call::{Answer, Call};
use super::Group;
use super::proposals::{Cost, Proposal};
use crate::limits::{MERGE_BYTES_MAX, PAYLOAD_MAX};
use crate::record::{Batch, Entry, Place};
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
        // A small batch is copied, so that it does not pin the large buffer that it was received in.
        let is_small = frame.payload().len() <= MERGE_BYTES_MAX;
        let kept = match &mut self.lead {
            Some(lead) if is_small => frame.keep_payload_in(&mut lead.payloads),
            Some(_) | None => frame.keep_payload(),
        };
        let Ok(payload) = kept else {
            step.stats.corrupt += 1;
            return Err(ErrorResponse::new(Status::CorruptFrame, "the payload was damaged on the way"));
        };
        let checked = records::check_published(&payload, publish.count);
        match &checked {
            Ok(()) => step.work.add_records(publish.count),
            Err(_) => step.work.add_walk(payload.len()),
        }
        checked.map_err(|fault| ErrorResponse::new(Status::MalformedRecords, fault.to_string()))?;
        let batch = Batch {
            topic,
            producer: publish.producer,
            count: publish.count,
            payload_crc: frame.payload_crc(),
            append_us: step.wall.stamp_us(step.now),
            payload,
            place: Place::default(),
        };
        let entry = Entry::Publish(batch);
        self.check_batch(step.settings, Cost::of(&entry))?;
        self.propose(step, entry, Proposal::of(call.reply));
        Ok(Answer::Later)
    }
}
