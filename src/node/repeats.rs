//! PUBLISH requests whose args are those of an earlier one, byte for byte.
//!
//! A client that publishes record by record sends the same args each time. They need not be verified, decoded and
//! resolved again, neither at its ingress nor at the home: what they lead to is remembered. A request that is
//! remembered is handled as any other from there on, and one that is not takes the long way.
//!
//! Equal bytes have the same meaning as long as the topic exists, so nothing has to be forgotten when topics change: a
//! topic that was deleted is not found by its id. The args themselves are compared, since different args with the same
//! checksum are easily made.

use super::call::ReplyTo;
use super::ingress::{Asked, Destination};
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
    /// The topic, if this node has its slot.
    topic: Option<TopicId>,
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

    /// Returns what the args of a PUBLISH mean, if they are remembered.
    #[inline]
    fn find(&self, frame: &Frame<'_>) -> Option<&Repeat> {
        if frame.header.opcode != Opcode::Publish.number() {
            return None;
        }
        let crc = frame.args_crc();
        let (known, repeat) = self.places.get(place_of(crc))?.as_ref()?;
        // The remembered args have this checksum, so equal ones were not damaged on the way.
        (*known == crc && frame.unchecked_args() == &repeat.args[..repeat.len.into()]).then_some(repeat)
    }

    /// Remembers args that were verified.
    fn note(&mut self, frame: &Frame<'_>, slot: SlotId, topic: Option<TopicId>, count: u32) {
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
    /// Executes a client's PUBLISH whose args are remembered, or sends it on. Returns false if they are not.
    pub(super) fn publish_again(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>) -> bool {
        let header = &frame.header;
        if header.flags != Flags::default() || self.drain.has_begun() {
            return false;
        }
        let Some(&Repeat { slot, topic, count, .. }) = self.repeats.find(frame) else { return false };
        let here = match (self.groups.of_mut(slot), topic) {
            (Some(group), Some(topic)) if group.can_publish_to(topic) => Some((group, topic)),
            (None, None) => None,
            (Some(_), _) | (None, Some(_)) => return false,
        };
        let Some(client) = self.conns.client_mut(id) else { return true };
        client.last_request_id = client.last_request_id.max(header.request_id.0);
        step.stats.requests += 1;
        let asked = Asked::of_publish(id, header.request_id);
        if let Some((group, topic)) = here {
            self.ingress.charge(step, id, asked.charge);
            let reply = ReplyTo::Client(asked);
            if let Err(error) = group.publish_again(step, topic, count, frame, reply) {
                self.reply(step, reply, error.into());
            }
        } else if let Err(error) =
            self.send_on(step, asked, (frame, None), &Destination::of_publish(step.settings, slot))
        {
            self.refuse_request(step, id, frame, error);
        }
        true
    }

    /// Executes a PUBLISH from a link whose args are remembered. Returns false if they are not.
    pub(super) fn publish_again_for(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, reply: ReplyTo) -> bool {
        if frame.header.flags != Flags::ROUTED {
            return false;
        }
        let Some(&Repeat { slot, topic: Some(topic), count, .. }) = self.repeats.find(frame) else { return false };
        let Some(group) = self.groups.of_mut(slot).filter(|group| group.can_publish_to(topic)) else { return false };
        if let Err(error) = group.publish_again(step, topic, count, frame, reply) {
            self.reply(step, reply, error.into());
        }
        true
    }

    /// Remembers the args of a PUBLISH that is executed here or sent on, if it has no producer and, here, names the
    /// topic that there is.
    pub(super) fn note_repeat(&mut self, frame: &Frame<'_>, slot: SlotId, publish: &Publish<'_>) {
        if frame.header.flags.without(Flags::ROUTED) != Flags::default() || publish.producer.is_some() {
            return;
        }
        let Some(group) = self.groups.of(slot) else {
            return self.repeats.note(frame, slot, None, publish.count);
        };
        if let Some(topic) = group.topics().find(publish.topic.name)
            && publish.topic.id.is_none_or(|id| id == topic.id)
        {
            self.repeats.note(frame, slot, Some(topic.id), publish.count);
        }
    }
}
