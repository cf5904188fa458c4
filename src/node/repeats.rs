//! PUBLISH requests of clients whose args are those of an earlier one, byte for byte.
//!
//! A client that publishes record by record sends the same args each time. They need not be verified, decoded and
//! resolved again: what they lead to is remembered. A request that is remembered is handled as any other from there on,
//! and one that is not takes the long way.
//!
//! Equal bytes have the same meaning as long as the topic exists, so nothing has to be forgotten when topics change: a
//! topic that was deleted is not found by its id. The args themselves are compared, since different args with the same
//! checksum are easily made.

use super::call::ReplyTo;
use super::ingress::Asked;
use super::{Parts, Step};
use crate::limits::{REPEAT_ARGS_MAX, REPEATS};
use crate::types::{ConnId, SlotId, TopicId};
use crate::wire::request::Publish;
use crate::wire::{Flags, Frame, Opcode};

/// The args of a PUBLISH without a producer, and what they mean.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    len: u8,
    args: [u8; REPEAT_ARGS_MAX],
    slot: SlotId,
    topic: TopicId,
    count: u32,
}

/// The args that are remembered, each at a place that follows from its checksum. A new one replaces that of its place.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    places: Vec<Option<(u32, Repeat)>>,
}

impl Repeats {
    /// Returns the number of args that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Returns what the args of a frame mean, if they are remembered.
    fn find(&self, frame: &Frame<'_>) -> Option<&Repeat> {
        let crc = frame.args_crc();
        let (known, repeat) = self.places.get(place_of(crc))?.as_ref()?;
        // The remembered args have this checksum, so equal ones were not damaged on the way.
        (*known == crc && frame.unchecked_args() == &repeat.args[..repeat.len.into()]).then_some(repeat)
    }

    /// Remembers args that were verified.
    fn note(&mut self, frame: &Frame<'_>, slot: SlotId, topic: TopicId, count: u32) {
        let bytes = frame.unchecked_args();
        let Some(len) = u8::try_from(bytes.len()).ok().filter(|len| usize::from(*len) <= REPEAT_ARGS_MAX) else {
            return;
        };
        let mut args = [0; REPEAT_ARGS_MAX];
        args[..bytes.len()].copy_from_slice(bytes);
        if self.places.is_empty() {
            self.places.resize(REPEATS, None);
        }
        self.places[place_of(frame.args_crc())] = Some((frame.args_crc(), Repeat { len, args, slot, topic, count }));
    }
}

const fn place_of(crc: u32) -> usize {
    crc as usize % REPEATS
}

impl Parts {
    /// Executes a PUBLISH whose args are remembered. Returns false if they are not.
    pub(super) fn publish_again(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>) -> bool {
        let header = &frame.header;
        if header.opcode != Opcode::Publish.number() || header.flags != Flags::default() || self.drain.has_begun() {
            return false;
        }
        let Some(&Repeat { slot, topic, count, .. }) = self.repeats.find(frame) else { return false };
        let Some(group) = self.groups.of_mut(slot).filter(|group| group.can_publish_to(topic)) else { return false };
        let Some(client) = self.conns.client_mut(id) else { return true };
        client.last_request_id = client.last_request_id.max(header.request_id.0);
        step.stats.requests += 1;
        let asked = Asked::of_publish(id, header.request_id);
        self.ingress.charge(step, id, asked.charge);
        let reply = ReplyTo::Client(asked);
        if let Err(error) = group.publish_again(step, topic, count, frame, reply) {
            self.reply(step, reply, error.into());
        }
        true
    }

    /// Remembers the args of a PUBLISH that was executed here, if it has no producer and names the topic that there is.
    pub(super) fn note_repeat(&mut self, frame: &Frame<'_>, slot: SlotId, publish: &Publish<'_>) {
        if frame.header.flags == Flags::default()
            && publish.producer.is_none()
            && let Some(topic) = self.groups.of(slot).and_then(|group| group.topics().find(publish.topic.name))
            && publish.topic.id.is_none_or(|id| id == topic.id)
        {
            self.repeats.note(frame, slot, topic.id, publish.count);
        }
    }
}
