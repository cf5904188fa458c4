//! PUBLISH requests whose args are those of an earlier one, byte for byte, except for the sequence of a producer.
//!
//! A client that publishes record by record sends the same args each time. They need not be verified, decoded and
//! resolved again, neither at its ingress nor at the leader: what they lead to is remembered. A request that is
//! remembered is handled as any other from there on, and one that is not takes the long way.
//!
//! Equal bytes have the same meaning as long as the topic exists, so nothing has to be forgotten when topics change: a
//! topic that was deleted is not found by its id. The args themselves are compared, since different args with the same
//! checksum are easily made.

use byteorder::{BigEndian, ByteOrder};

use super::asked::Asked;
use super::call::ReplyTo;
use super::ingress::Forwarding;
use super::leaders::Copies;
use super::{Parts, Step};
use crate::limits::{REPEAT_ARGS_MAX, REPEATS};
use crate::types::{ConnId, Sequenced, SlotId, TopicId};
use crate::wire::request::{PUBLISH_PRODUCER, PUBLISH_SEQUENCE, Publish};
use crate::wire::{Flags, Frame, Opcode};

/// The args of a PUBLISH, and what they mean.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    len: u8,
    args: [u8; REPEAT_ARGS_MAX],
    meaning: Meaning,
}

/// What the args of a PUBLISH mean.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    slot: SlotId,
    /// The topic, if this node has its slot.
    topic: Option<TopicId>,
    /// The producer, with the sequence of the batch that was remembered.
    producer: Option<Sequenced>,
    count: u32,
}

/// The args that are remembered, each at a place that follows from its key. A new one replaces that of its place.
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

    /// Returns what the args of a PUBLISH mean, if they are remembered, and their sequence if they have one.
    #[inline]
    fn find(&self, frame: &Frame<'_>) -> Option<(&Meaning, u64)> {
        if frame.header.opcode != Opcode::Publish.number() {
            return None;
        }
        let (args, key) = (frame.unchecked_args(), key_of(frame));
        let (known, repeat) = self.places.get(place_of(key))?.as_ref()?;
        if *known != key || args.len() != repeat.len.into() {
            return None;
        }
        if repeat.meaning.producer.is_none() {
            // The remembered args have this checksum, so equal ones were not damaged on the way.
            return (args == &repeat.args[..args.len()]).then_some((&repeat.meaning, 0));
        }
        let (before, after) = (..PUBLISH_SEQUENCE.start, PUBLISH_SEQUENCE.end..args.len());
        if args[before] != repeat.args[before] || args[after.clone()] != repeat.args[after] || frame.args().is_err() {
            return None;
        }
        Some((&repeat.meaning, BigEndian::read_u64(&args[PUBLISH_SEQUENCE])))
    }

    /// Remembers args that were verified.
    fn note(&mut self, frame: &Frame<'_>, meaning: Meaning) {
        let bytes = frame.unchecked_args();
        let Some(len) = u8::try_from(bytes.len()).ok().filter(|len| usize::from(*len) <= REPEAT_ARGS_MAX) else {
            return;
        };
        let mut args = [0; REPEAT_ARGS_MAX];
        args[..bytes.len()].copy_from_slice(bytes);
        if self.places.is_empty() {
            self.places.resize(REPEATS, None);
        }
        let key = key_of(frame);
        self.places[place_of(key)] = Some((key, Repeat { len, args, meaning }));
    }
}

/// Returns the key of the args of a PUBLISH: their checksum, or, if a sequence makes that another one each time, a
/// mixture of what comes before and behind it. Args with the same key share a place; they are compared in any case.
fn key_of(frame: &Frame<'_>) -> u32 {
    let args = frame.unchecked_args();
    match (args.get(PUBLISH_PRODUCER), args.last_chunk()) {
        (Some(producer), Some(topic)) if *producer != [0; 8] => {
            let mixed = BigEndian::read_u64(producer) ^ u64::from_be_bytes(*topic);
            (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
        }
        _ => frame.args_crc(),
    }
}

const fn place_of(key: u32) -> usize {
    key as usize % REPEATS
}

impl Parts {
    /// Executes a client's PUBLISH whose args are remembered, or sends it on. Returns false if they are not.
    pub(super) fn publish_again(&mut self, step: &mut Step<'_>, id: ConnId, frame: &Frame<'_>) -> bool {
        let header = &frame.header;
        if header.flags != Flags::default() || self.drain.has_begun() {
            return false;
        }
        let Some((&Meaning { slot, topic, producer, count }, sequence)) = self.repeats.find(frame) else {
            return false;
        };
        let producer = producer.map(|producer| Sequenced { sequence, ..producer });
        let is_single = step.settings.copies == Copies::One;
        let here = match (self.groups.led_mut(slot).filter(|_| is_single), topic) {
            (Some(group), Some(topic)) if group.can_publish_to(topic) => Some((group, topic)),
            (None, None) => None,
            (None, Some(_)) if !is_single => None,
            (Some(_), _) | (None, Some(_)) => return false,
        };
        let Some(client) = self.conns.client_mut(id) else { return true };
        client.last_request_id = client.last_request_id.max(header.request_id.0);
        step.stats.requests += 1;
        let asked = Asked::of_publish(id, header.request_id);
        if let Some((group, topic)) = here {
            self.ingress.charge(step, id, asked.charge);
            let reply = ReplyTo::Client(asked);
            if let Err(error) = group.publish_again(step, topic, (producer, count), frame, reply) {
                self.reply(step, reply, error.into());
            }
        } else {
            let forwarding = Forwarding::of_publish(slot, producer.is_some());
            if let Err(error) = self.send_on(step, asked, (frame, None), &forwarding) {
                self.refuse_request(step, id, frame, error);
            }
        }
        true
    }

    /// Executes a PUBLISH from a link, or one of this node's own ingress, whose args are remembered. Returns false if
    /// they are not.
    pub(super) fn publish_again_for(&mut self, step: &mut Step<'_>, frame: &Frame<'_>, reply: ReplyTo) -> bool {
        if frame.header.flags.without(Flags::ROUTED) != Flags::default() {
            return false;
        }
        let Some((&Meaning { slot, topic: Some(topic), producer, count }, sequence)) = self.repeats.find(frame) else {
            return false;
        };
        let producer = producer.map(|producer| Sequenced { sequence, ..producer });
        let Some(group) = self.groups.led_mut(slot).filter(|group| group.can_publish_to(topic)) else { return false };
        if let Err(error) = group.publish_again(step, topic, (producer, count), frame, reply) {
            self.reply(step, reply, error.into());
        }
        true
    }

    /// Remembers the args of a PUBLISH that is executed here or sent on, if, here, they name the topic that there is.
    pub(super) fn note_repeat(&mut self, frame: &Frame<'_>, slot: SlotId, publish: &Publish<'_>) {
        if frame.header.flags.without(Flags::ROUTED) != Flags::default() {
            return;
        }
        let topic = match self.groups.of(slot).map(|group| group.topics().find(publish.topic.name)) {
            None => None,
            Some(Some(topic)) if publish.topic.id.is_none_or(|id| id == topic.id) => Some(topic.id),
            Some(_) => return,
        };
        self.repeats.note(frame, Meaning { slot, topic, producer: publish.producer, count: publish.count });
    }
}
