//! The catalogue as bytes, without its records: what a checkpoint keeps.
//!
//! ```text
//! varint places, varint free, then each: varint place
//! for each topic, by place: u64 id, u32 epoch, u64 created_us, varint records, varint bytes, varint age_ms,
//!                           str8 name, its log, u8 has producers, [them],
//!                           varint losses, then each: u32 epoch, varint offset
//! log                       varint first, varint next, varint last_append_us, varint marks, then each: varint records
//!                           and microseconds since the mark before, varint bytes, varint microseconds that it spans
//! ```

use bytes::{Buf, BufMut};

use super::{Catalogue, Topic, slot_of};
use crate::limits::{LOSSES_MAX, TOPICS_MAX};
use crate::record::{Malformed, varint};
use crate::topic::log::TopicLog;
use crate::topic::producer::Producers;
use crate::types::{Epoch, Offset, Retention, TopicId, TopicName};

impl Catalogue {
    /// Appends everything but the records to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.places.len() as u64);
        varint::put(out, self.free.len() as u64);
        self.free.iter().for_each(|place| varint::put(out, (*place).into()));
        for topic in self.places.iter().flatten() {
            out.put_u64(topic.id.number());
            out.put_u32(topic.epoch.0);
            out.put_u64(topic.created_us);
            let Retention { records, bytes, age_ms } = topic.retention;
            [records, bytes, age_ms].into_iter().for_each(|bound| varint::put(out, bound));
            out.put_u8(u8::try_from(topic.name.len()).expect("TOPIC_NAME_MAX"));
            out.put_slice(topic.name.as_bytes());
            topic.log.encode(out);
            out.put_u8(u8::from(topic.producers.is_some()));
            if let Some(producers) = &topic.producers {
                producers.encode(out);
            }
            varint::put(out, topic.losses.len() as u64);
            for (epoch, offset) in &topic.losses {
                out.put_u32(epoch.0);
                varint::put(out, offset.0);
            }
        }
    }

    /// What [`Self::encode`] has written; no record is in memory.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        decode(&mut bytes).filter(|_| bytes.is_empty()).ok_or(Malformed)
    }
}

fn decode(bytes: &mut &[u8]) -> Option<Catalogue> {
    // Each place takes a byte at least.
    let most = TOPICS_MAX.min(bytes.len());
    let places = usize::try_from(varint::take(bytes)?).ok().filter(|places| *places <= most)?;
    let free = usize::try_from(varint::take(bytes)?).ok().filter(|free| *free <= places)?;
    let mut catalogue = Catalogue::default();
    catalogue.places.resize_with(places, || None);
    for _ in 0..free {
        let place = u32::try_from(varint::take(bytes)?).ok().filter(|place| (*place as usize) < places)?;
        catalogue.free.push(place);
    }
    for _ in free..places {
        let topic = decode_topic(bytes)?;
        let is_free = catalogue.places.get(slot_of(topic.id))?.is_none() && catalogue.id_of(&topic.name).is_none();
        if !is_free {
            return None;
        }
        catalogue.put(topic);
    }
    let mut is_empty = catalogue.free.iter().map(|place| catalogue.places[*place as usize].is_none());
    is_empty.all(|is_empty| is_empty).then_some(catalogue)
}

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
    let producers = match bytes.try_get_u8().ok()? {
        0 => None,
        _ => Some(Box::new(Producers::decode(bytes)?)),
    };
    let mut losses = Vec::new();
    for _ in 0..Some(varint::take(bytes)?).filter(|count| *count <= LOSSES_MAX as u64)? {
        losses.push((Epoch(bytes.try_get_u32().ok()?), Offset(varint::take(bytes)?)));
    }
    Some(Topic { id, epoch, created_us, retention, log, producers, losses, name })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::topic::{NewTopic, Stored};
    use crate::types::{ProducerId, Sequenced, crc32};
    use crate::wire::records::Record;

    fn payload() -> Bytes {
        let mut payload = Vec::new();
        Record { value: b"value", ..Record::default() }.encode(&mut payload).unwrap();
        payload.into()
    }

    fn catalogue() -> Catalogue {
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
            });
        }
        catalogue.raise_epochs();
        for index in [3, 9, 4, 19] {
            let id = catalogue.id_of(&format!("topic/{index}")).unwrap();
            assert!(catalogue.remove(id));
        }
        catalogue
    }

    #[test]
    fn a_catalogue_comes_back_and_gives_new_topics_the_same_places() {
        let mut before = catalogue();
        let mut image = Vec::new();
        before.encode(&mut image);
        let mut after = Catalogue::decode(&image).unwrap();
        after.check();
        for topic in before.places.iter().flatten() {
            let again = after.get(topic.id).unwrap();
            assert_eq!((again.log.first(), again.log.next()), (topic.log.first(), topic.log.next()));
            assert_eq!((again.log.held(), again.log.bytes()), (topic.log.next(), topic.log.bytes()));
        }
        let mut again = Vec::new();
        after.encode(&mut again);
        assert_eq!(again, image);
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
        catalogue().encode(&mut image);
        (0..image.len()).for_each(|cut| assert!(Catalogue::decode(&image[..cut]).is_err(), "cut at {cut}"));
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..5000 {
            let mut bad = image.clone();
            let at = rng.usize(..bad.len());
            bad[at] ^= 1 << rng.u8(..8);
            let _ = Catalogue::decode(&bad);
        }
    }
}
