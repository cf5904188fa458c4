//! The encoded catalogue without its records, as a checkpoint stores it.
//!
//! ```text
//! varint places, varint free, then each: varint place; the parts of the catalogue, u8 0
//! for each topic, by place: u64 id, u32 epoch, u64 created_us, varint records, varint bytes, varint age_ms,
//!                           str8 name, its log, its parts, u8 0
//! part                      u8 tag, varint length, that many bytes; tags increase
//! part 1, producers         see `topic/producer.rs`
//! part 2, losses            varint count, then each: u32 epoch, varint offset
//! part 9, one-shots         see `topic/producer/one_shots.rs`
//! part 10, clock            in the catalogue: see `topic/eras.rs`; in a topic, where eras begin: varint count,
//!                           then each: varint records and varint eras since the preceding one
//! part 11, opened producers see `topic/producer/opened.rs`
//! part 12, owner            reserved for the creator of the topic; not written yet
//! part 13, digest           in the catalogue: u64, the digest of the outcomes of all entries; absent if 0
//! log                       varint first, varint next, varint last_append_us, varint marks, then each: varint records
//!                           and varint microseconds since the preceding mark, varint bytes, varint microseconds that
//!                           the mark spans
//! ```
//!
//! Empty parts are left out. An unknown tag means that a newer program wrote the image; it is refused, so that the
//! newer program's state is not lost. Format 1 has no parts: after the log of a topic come u8 1 and the producers, or
//! u8 0, and then the losses.

use bytes::{Buf, BufMut};

use super::places::Places;
use super::{Catalogue, Topic, place_of};
use crate::entry::{DecodeError, varint};
use crate::limits::{LOSSES_MAX, TOPICS_MAX};
use crate::topic::eras::{Era, Eras};
use crate::topic::log::TopicLog;
use crate::topic::producer::Producers;
use crate::types::{Epoch, Offset, Retention, TopicId, TopicName};

/// First format whose topics end with parts.
const PARTS_SINCE: u32 = 2;

/// Ends the list of parts.
const END: u8 = 0;
const PRODUCERS: u8 = 1;
const LOSSES: u8 = 2;
const ONE_SHOTS: u8 = 9;
const CLOCK: u8 = 10;
const OPENED: u8 = 11;
const DIGEST: u8 = 13;

impl Catalogue {
    /// Appends the encoded catalogue, without the records, to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.places.len() as u64);
        varint::put(out, self.free.len() as u64);
        self.free.iter().for_each(|place| varint::put(out, (*place).into()));
        if self.eras != Eras::default() {
            put_part(out, CLOCK, |out| self.eras.encode(out));
        }
        if self.digest != 0 {
            put_part(out, DIGEST, |out| out.put_u64(self.digest));
        }
        out.put_u8(END);
        for topic in self.places.iter() {
            out.put_u64(topic.id.number());
            out.put_u32(topic.epoch.0);
            out.put_u64(topic.created_us);
            let Retention { records, bytes, age_ms } = topic.retention;
            [records, bytes, age_ms].into_iter().for_each(|bound| varint::put(out, bound));
            out.put_u8(u8::try_from(topic.name.len()).expect("TOPIC_NAME_MAX"));
            out.put_slice(topic.name.as_bytes());
            topic.log.encode(out);
            if let Some(producers) = &topic.producers {
                put_part(out, PRODUCERS, |out| producers.encode(out));
            }
            if !topic.losses.is_empty() {
                put_part(out, LOSSES, |out| encode_losses(&topic.losses, out));
            }
            if let Some(producers) = topic.producers.as_ref().filter(|producers| producers.has_one_shots()) {
                put_part(out, ONE_SHOTS, |out| producers.encode_one_shots(out));
            }
            if topic.log.has_stretches() {
                put_part(out, CLOCK, |out| topic.log.encode_stretches(out));
            }
            if let Some(producers) = topic.producers.as_ref().filter(|producers| producers.has_opened()) {
                put_part(out, OPENED, |out| producers.encode_opened(out));
            }
            out.put_u8(END);
        }
    }

    /// Decodes what [`Self::encode`] wrote, of this version of the program or another one.
    ///
    /// # Errors
    /// Returns [`DecodeError`] when the image is malformed or comes from a newer program.
    pub fn decode_newest(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes, PARTS_SINCE)
    }

    /// Decodes an image in the given format version. The resulting catalogue has no records in memory.
    ///
    /// # Errors
    /// Returns [`DecodeError`] when the image is malformed or comes from a newer program.
    pub fn decode(mut bytes: &[u8], version: u32) -> Result<Self, DecodeError> {
        let catalogue = decode(&mut bytes, version)?;
        if bytes.is_empty() { Ok(catalogue) } else { Err(DecodeError::Malformed) }
    }
}

/// Appends a part; `body` appends its content.
fn put_part(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    body(&mut bytes);
    out.put_u8(tag);
    varint::put(out, bytes.len() as u64);
    out.put_slice(&bytes);
}

fn encode_losses(losses: &[(Epoch, Offset)], out: &mut Vec<u8>) {
    varint::put(out, losses.len() as u64);
    for (epoch, offset) in losses {
        out.put_u32(epoch.0);
        varint::put(out, offset.0);
    }
}

fn decode_losses(bytes: &mut &[u8]) -> Option<Vec<(Epoch, Offset)>> {
    let mut losses = Vec::new();
    for _ in 0..Some(varint::take(bytes)?).filter(|count| *count <= LOSSES_MAX as u64)? {
        losses.push((Epoch(bytes.try_get_u32().ok()?), Offset(varint::take(bytes)?)));
    }
    Some(losses)
}

fn decode(bytes: &mut &[u8], version: u32) -> Result<Catalogue, DecodeError> {
    let mut catalogue = decode_places(bytes).ok_or(DecodeError::Malformed)?;
    if version >= PARTS_SINCE {
        decode_parts(bytes, |tag, part| match tag {
            CLOCK => Ok(Eras::decode(part).map(|eras| catalogue.eras = eras)),
            DIGEST => Ok(part.try_get_u64().ok().map(|digest| catalogue.digest = digest)),
            _ => Err(DecodeError::Newer),
        })?;
    }
    for _ in catalogue.free.len()..catalogue.places() {
        let mut topic = decode_topic(bytes).ok_or(DecodeError::Malformed)?;
        if version < PARTS_SINCE {
            decode_rest_of_format_1(&mut topic, bytes).ok_or(DecodeError::Malformed)?;
        } else {
            decode_parts_of(&mut topic, catalogue.eras.newest(), bytes)?;
        }
        let place = place_of(topic.id);
        let is_free = place < catalogue.places() && catalogue.places.get(place).is_none();
        if !is_free || catalogue.id_of(&topic.name).is_some() {
            return Err(DecodeError::Malformed);
        }
        catalogue.put(topic);
    }
    let mut is_empty = catalogue.free.iter().map(|place| catalogue.places.get(*place as usize).is_none());
    if is_empty.all(|is_empty| is_empty) { Ok(catalogue) } else { Err(DecodeError::Malformed) }
}

/// Decodes the list of places into a catalogue without topics.
fn decode_places(bytes: &mut &[u8]) -> Option<Catalogue> {
    // The encoding of a place takes at least one byte, so more places than bytes cannot be valid.
    let most = TOPICS_MAX.min(bytes.len());
    let places = usize::try_from(varint::take(bytes)?).ok().filter(|places| *places <= most)?;
    let free = usize::try_from(varint::take(bytes)?).ok().filter(|free| *free <= places)?;
    let mut catalogue = Catalogue { places: Places::empty(places), ..Catalogue::default() };
    for _ in 0..free {
        let place = u32::try_from(varint::take(bytes)?).ok().filter(|place| (*place as usize) < places)?;
        catalogue.free.push(place);
    }
    Some(catalogue)
}

/// Decodes a topic up to its parts.
fn decode_topic(bytes: &mut &[u8]) -> Option<Topic> {
    let id = TopicId::new(bytes.try_get_u64().ok()?)?;
    let epoch = Epoch(bytes.try_get_u32().ok()?);
    let created_us = bytes.try_get_u64().ok()?;
    let retention =
        Retention { records: varint::take(bytes)?, bytes: varint::take(bytes)?, age_ms: varint::take(bytes)? };
    let len = usize::from(bytes.try_get_u8().ok()?);
    let name = std::str::from_utf8(bytes.get(..len)?).ok()?;
    let name = TopicName::new(name).ok()?.as_str().into();
    bytes.advance(len);
    let log = TopicLog::decode(bytes)?;
    Some(Topic { id, epoch, created_us, retention, log, producers: None, losses: Vec::new(), name })
}

fn decode_parts_of(topic: &mut Topic, newest: Era, bytes: &mut &[u8]) -> Result<(), DecodeError> {
    decode_parts(bytes, |tag, part| match tag {
        PRODUCERS => Ok(Producers::decode(part).map(|producers| topic.producers = Some(Box::new(producers)))),
        LOSSES => Ok(decode_losses(part).map(|losses| topic.losses = losses)),
        ONE_SHOTS => Ok(topic.producers.as_mut().and_then(|producers| producers.decode_one_shots(part))),
        OPENED => Ok(topic.producers.as_mut().and_then(|producers| producers.decode_opened(part))),
        CLOCK => Ok(topic.log.decode_stretches(part, newest)),
        _ => Err(DecodeError::Newer),
    })
}

/// Passes each part to `take`, which returns `None` when it cannot decode the part.
fn decode_parts(
    bytes: &mut &[u8],
    mut take: impl FnMut(u8, &mut &[u8]) -> Result<Option<()>, DecodeError>,
) -> Result<(), DecodeError> {
    let mut before = END;
    loop {
        let tag = bytes.try_get_u8().map_err(|_| DecodeError::Malformed)?;
        if tag == END {
            return Ok(());
        }
        let len = varint::take(bytes).and_then(|len| usize::try_from(len).ok());
        let mut part = len.and_then(|len| bytes.get(..len)).filter(|_| tag > before).ok_or(DecodeError::Malformed)?;
        bytes.advance(part.len());
        before = tag;
        take(tag, &mut part)?.filter(|()| part.is_empty()).ok_or(DecodeError::Malformed)?;
    }
}

fn decode_rest_of_format_1(topic: &mut Topic, bytes: &mut &[u8]) -> Option<()> {
    if bytes.try_get_u8().ok()? > 0 {
        topic.producers = Some(Box::new(Producers::decode(bytes)?));
    }
    topic.losses = decode_losses(bytes)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::topic::{NewTopic, NotOpened, Stored};
    use crate::types::{Opening, ProducerId, Sequenced, crc32};
    use crate::wire::records::Record;

    fn payload() -> Bytes {
        let mut payload = Vec::new();
        Record { value: b"value", ..Record::default() }.encode(&mut payload).unwrap();
        payload.into()
    }

    /// Format 1 does not distinguish one-shots and has no opened producers.
    fn catalogue(has_newer: bool) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for index in 0..20_u64 {
            let retention = Retention { records: index, bytes: u64::MAX, age_ms: index % 3 };
            let name = format!("topic/{index}").into();
            let new = NewTopic { name, seed: index, epoch: Epoch(7), retention, created_us: index << 40 };
            let id = catalogue.insert(new).unwrap().id;
            catalogue.update(id, |topic| {
                for append_us in 0..index {
                    topic.log.append(payload(), (1, crc32(&payload())), append_us, &Retention::default());
                }
                topic.log.trim(Offset(index / 2));
                for sequence in 0..index * 10 {
                    let producer = ProducerId::new(index + sequence % 2).unwrap();
                    let batch = Sequenced { producer, epoch: 1, sequence: sequence / 2 };
                    let stored = Stored { base: Offset(sequence), append_us: 3, count: 1, payload_crc: 9 };
                    topic.producers.get_or_insert_default().note(batch, stored);
                }
                for producer in (0..index).filter(|_| has_newer) {
                    let producer = ProducerId::new(2000 + producer).unwrap();
                    let opening = Opening { producer, token: 5, resume: false };
                    topic.producers.get_or_insert_default().open(opening).unwrap();
                }
                for producer in (0..index).filter(|_| has_newer) {
                    let producer = ProducerId::new(1000 + producer).unwrap();
                    let batch = Sequenced { producer, epoch: 1, sequence: 0 };
                    let stored = Stored { base: Offset(index), append_us: 3, count: 1, payload_crc: 9 };
                    topic.producers.get_or_insert_default().note(batch, stored);
                }
            });
        }
        catalogue.raise_epochs();
        if has_newer {
            catalogue.add_to_digest([1, 2, 3, 4]);
        }
        for index in [3, 9, 4, 19] {
            let id = catalogue.id_of(&format!("topic/{index}")).unwrap();
            assert!(catalogue.remove(id));
        }
        catalogue
    }

    /// Encodes the catalogue in format 1.
    fn in_format_1(catalogue: &Catalogue) -> Vec<u8> {
        let mut image = Vec::new();
        catalogue.encode(&mut image);
        let mut rest = &image[..];
        decode_places(&mut rest).unwrap();
        let mut out = image[..image.len() - rest.len()].to_vec();
        rest.advance(1);
        while !rest.is_empty() {
            let before = rest;
            let mut topic = decode_topic(&mut rest).unwrap();
            out.extend_from_slice(&before[..before.len() - rest.len()]);
            decode_parts_of(&mut topic, Era::default(), &mut rest).unwrap();
            out.put_u8(u8::from(topic.producers.is_some()));
            topic.producers.iter().for_each(|producers| producers.encode(&mut out));
            encode_losses(&topic.losses, &mut out);
        }
        out
    }

    #[test]
    fn a_catalogue_of_the_first_format_is_read_and_written_in_the_newest() {
        let before = catalogue(false);
        let (mut image, mut again) = (Vec::new(), Vec::new());
        before.encode(&mut image);
        Catalogue::decode(&in_format_1(&before), 1).unwrap().encode(&mut again);
        assert_eq!(again, image);
    }

    #[test]
    fn parts_that_are_unknown_need_a_newer_program_and_wrong_ones_are_damage() {
        let topic = TopicId::new(1 << 24).unwrap();
        let mut catalogue = Catalogue::default();
        catalogue.insert(NewTopic {
            name: "a".into(),
            seed: 1,
            epoch: Epoch(1),
            retention: Retention::default(),
            created_us: 0,
        });
        assert!(catalogue.get(topic).is_some());
        let mut image = Vec::new();
        catalogue.encode(&mut image);
        assert_eq!(image.pop(), Some(END));
        let losses = [LOSSES, 6, 1, 0, 0, 0, 2, 9];
        let cases: [(&[u8], Option<DecodeError>); 8] = [
            (&[END], None),
            (&[&losses[..], &[END]].concat(), None),
            (&[&losses[..], &losses[..], &[END]].concat(), Some(DecodeError::Malformed)),
            (&[&losses[..], &[PRODUCERS, 2, 0, 0, END]].concat(), Some(DecodeError::Malformed)),
            (&[&[LOSSES, 7], &losses[2..], &[0, END]].concat(), Some(DecodeError::Malformed)),
            (&[LOSSES, 200, 0, END], Some(DecodeError::Malformed)),
            (&[255, 2, 7, 7, END], Some(DecodeError::Newer)),
            (&[&losses[..], &[255, 0, END]].concat(), Some(DecodeError::Newer)),
        ];
        for (parts, expected) in cases {
            let bytes = [&image[..], parts].concat();
            assert_eq!(Catalogue::decode(&bytes, PARTS_SINCE).err(), expected, "{parts:?}");
        }
    }

    #[test]
    fn a_catalogue_comes_back_and_gives_new_topics_the_same_places() {
        let mut before = catalogue(true);
        let mut image = Vec::new();
        before.encode(&mut image);
        let mut after = Catalogue::decode(&image, PARTS_SINCE).unwrap();
        after.check();
        for topic in before.places.iter() {
            let again = after.get(topic.id).unwrap();
            assert_eq!((again.log.first(), again.log.next()), (topic.log.first(), topic.log.next()));
            assert_eq!((again.log.held(), again.log.bytes()), (topic.log.next(), topic.log.bytes()));
        }
        let mut again = Vec::new();
        after.encode(&mut again);
        assert_eq!(again, image);
        let id = after.id_of("topic/10").unwrap();
        after.update(id, |topic| {
            let producers = topic.producers.as_mut().unwrap();
            let opening = |number| Opening { producer: ProducerId::new(number).unwrap(), token: 9, resume: false };
            assert_eq!(producers.open(opening(2000)), Err(NotOpened::Exists { records: 0 }), "it was opened before");
            assert_eq!(producers.open(opening(1000)), Err(NotOpened::NotCounted), "it has published once");
            assert_eq!(producers.open(opening(10)), Err(NotOpened::NotCounted), "it has published often");
            assert!(producers.open(opening(3000)).is_ok());
        });
        for index in 0..10 {
            let new = || NewTopic {
                name: format!("new/{index}").into(),
                seed: 5,
                epoch: Epoch(1),
                retention: Retention::default(),
                created_us: 0,
            };
            assert_eq!(before.insert(new()).unwrap().id, after.insert(new()).unwrap().id);
        }
    }

    #[test]
    fn an_image_that_is_cut_or_changed_is_refused_or_read_but_never_a_panic() {
        let mut image = Vec::new();
        catalogue(true).encode(&mut image);
        let mut rng = fastrand::Rng::with_seed(1);
        for (version, image) in [(1, in_format_1(&catalogue(false))), (PARTS_SINCE, image)] {
            (0..image.len())
                .for_each(|cut| assert!(Catalogue::decode(&image[..cut], version).is_err(), "cut at {cut}"));
            for _ in 0..5000 {
                let mut bad = image.clone();
                let at = rng.usize(..bad.len());
                bad[at] ^= 1 << rng.u8(..8);
                let _ = Catalogue::decode(&bad, version);
            }
        }
    }
}
