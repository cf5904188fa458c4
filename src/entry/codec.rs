//! The encoding of entries: the body of one journal record holds the entries of one turn.
//!
//! ```text
//! body     u8 version, u56 base_us, then items to its end
//! item     u8 tag, then by its kind:
//!   create      str8 name, u64 seed, u32 epoch, u64 records, u64 bytes, u64 age_ms, time, [parts]
//!   delete      topic
//!   publish     topic, [u64 producer, u32 epoch, u64 sequence], time, varint count, varint len, payload
//!   trim        u64 topic, u64 first
//!   raise       nothing
//!   begin       u64 at_us
//!   alter       topic, then for each setting: u8 number, varint value; then u8 0
//!   open        topic, u64 producer, u64 token, u8 resume
//!   check       u64 index, u64 digest
//!   reclock     time, then varint 0; or time, varint first era + 1, time without the jump
//!  topic    u64 id, or str8 name when the tag has the bit for names
//!  time     varint: difference to base_us in microseconds, zigzag-encoded
//!  parts    u8 tag, varint length, that many bytes; tags increase; then u8 0
//! ```
//!
//! The version says how entries are applied: all members of a group must apply a body alike, so a node that does not
//! know its version refuses it. There is only version 0.
//!
//! The parts of a create entry are present when its tag has the bit for parts. They are reserved for later versions,
//! which can add to a new topic what this one does not know, such as its owner (part 1). This version writes no parts.
//! It rejects an entry with a part, and any other entry with a tag bit that does not belong to its kind, as written by
//! a newer program: ignoring the unknown content would lose a part of the topic's state.
//!
//! Numbers are big-endian; a varint has seven bits per byte, lowest first. A payload's checksum is not stored: the
//! checksum of the journal record covers the payload, and decoding computes its own.

use bytes::{Buf, BufMut, Bytes};

use DecodeError::{Malformed, Newer};

use super::{Batch, Entry, Jump, Place, Reclock, TopicRef, record_len, varint};
use crate::types::{
    Epoch, Offset, Opening, ProducerId, Retention, Sequenced, SettingsChange, TopicId, TopicName, crc32,
};

const CREATE: u8 = 1;
const DELETE: u8 = 2;
const PUBLISH: u8 = 3;
const TRIM: u8 = 4;
const RAISE: u8 = 5;
const ALTER: u8 = 8;
const OPEN_PRODUCER: u8 = 17;
const RECLOCK: u8 = 18;
const CHECK: u8 = 19;
const BEGIN_EPOCHS: u8 = 20;
/// Tag bit: the entry names its topic by name, not by id.
const BY_NAME: u8 = 0x40;
/// Tag bit of a publish entry: the batch has a producer, epoch and sequence.
const SEQUENCED: u8 = 0x80;
/// Tag bit of a create entry: parts follow.
const PARTS: u8 = 0x80;
/// The bits of a tag that state the kind of the entry.
const KIND: u8 = 0x3f;

/// Why bytes with a valid checksum cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes do not follow the format, so another program wrote them.
    Malformed,
    /// The bytes contain something this program does not know, so a newer program wrote them.
    Newer,
}

/// Size in bytes of a body's version and base time, which the times of its entries are relative to.
const BASE_TIME: usize = 8;

/// The latest base time in microseconds since 1970: the year 4253.
const BASE_MAX: u64 = (1 << 56) - 1;

/// The length of a body, known before it is encoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyLen {
    base_us: Option<u64>,
    entries: usize,
}

#[expect(clippy::arithmetic_side_effects, reason = "lengths of buffers in memory add up to less than a usize holds")]
impl BodyLen {
    /// Returns the length of a body with these entries.
    pub fn of(entries: &[Entry]) -> Self {
        entries.iter().fold(Self::default(), Self::with)
    }

    /// Returns the length with one more entry at the end.
    #[must_use]
    pub fn with(self, entry: &Entry) -> Self {
        let base_us = self.base_us.or_else(|| base_time(entry));
        Self { base_us, entries: self.entries + len_of(entry, base_us.unwrap_or(0)) }
    }

    /// Returns the number of bytes that [`encode`] appends.
    pub const fn bytes(self) -> usize {
        BASE_TIME + self.entries
    }

    /// Returns the number of bytes of the body's record in the journal.
    pub const fn in_journal(self) -> usize {
        record_len(self.bytes())
    }
}

/// Returns the number of bytes that [`encode`] appends for an entry of a body with this base time.
#[expect(clippy::arithmetic_side_effects, reason = "lengths of buffers in memory add up to less than a usize holds")]
fn len_of(entry: &Entry, base_us: u64) -> usize {
    let time = |time_us| varint::delta_len(base_us, time_us);
    let topic = |topic: &TopicRef| if let TopicRef::Name(name) = topic { 1 + name.len() } else { 8 };
    1 + match entry {
        Entry::Create { name, created_us, .. } => 1 + name.len() + 8 + 4 + 3 * 8 + time(*created_us),
        Entry::Delete { topic: of } => topic(of),
        Entry::Publish(batch) => {
            let len = batch.payload.len();
            let sequenced = if batch.producer.is_some() { 8 + 4 + 8 } else { 0 };
            topic(&batch.topic)
                + sequenced
                + time(batch.append_us)
                + varint::len(batch.count.into())
                + varint::len(len as u64)
                + len
        }
        Entry::Trim { .. } | Entry::Check { .. } => 8 + 8,
        Entry::RaiseEpochs => 0,
        Entry::BeginEpochs { .. } => 8,
        Entry::Alter { topic: of, change } => {
            topic(of) + change.settings().map(|(_, value)| 1 + varint::len(value)).sum::<usize>() + 1
        }
        Entry::OpenProducer { topic: of, .. } => topic(of) + 8 + 8 + 1,
        Entry::Reclock(Reclock { at_us, jump }) => {
            let jump_len = |jump: &Jump| varint::len(u64::from(jump.since_era) + 1) + time(jump.was_us);
            time(*at_us) + jump.as_ref().map_or(1, jump_len)
        }
    }
}

/// Appends a body to `out`, and sets each batch's `place` to the position of its payload in the body.
#[expect(clippy::arithmetic_side_effects, reason = "a body lies in a segment, whose positions fit 32 bits")]
pub fn encode(entries: &mut [Entry], out: &mut Vec<u8>) {
    let begin = out.len();
    let base_us = base_of(entries);
    // The version, 0, is the first byte.
    out.put_u64(base_us);
    for entry in entries {
        match entry {
            Entry::Create { name, seed, epoch, retention, created_us } => {
                out.put_u8(CREATE);
                put_name(out, name);
                out.put_u64(*seed);
                out.put_u32(epoch.0);
                [retention.records, retention.bytes, retention.age_ms].into_iter().for_each(|bound| out.put_u64(bound));
                varint::put_delta(out, base_us, *created_us);
            }
            Entry::Delete { topic } => {
                out.put_u8(DELETE | name_flag(topic));
                put_topic(out, topic);
            }
            Entry::Publish(batch) => {
                let sequenced = if batch.producer.is_some() { SEQUENCED } else { 0 };
                out.put_u8(PUBLISH | name_flag(&batch.topic) | sequenced);
                put_topic(out, &batch.topic);
                if let Some(sequenced) = batch.producer {
                    out.put_u64(sequenced.producer.number());
                    out.put_u32(sequenced.epoch);
                    out.put_u64(sequenced.sequence);
                }
                varint::put_delta(out, base_us, batch.append_us);
                varint::put(out, batch.count.into());
                varint::put(out, batch.payload.len() as u64);
                let inside = u32::try_from(out.len() - begin).expect("a body is below 4 GiB");
                batch.place = Place { segment: 0, position: inside };
                out.put_slice(&batch.payload);
            }
            Entry::Trim { topic, first } => {
                out.put_u8(TRIM);
                out.put_u64(topic.number());
                out.put_u64(first.0);
            }
            Entry::RaiseEpochs => out.put_u8(RAISE),
            Entry::BeginEpochs { at_us } => {
                out.put_u8(BEGIN_EPOCHS);
                out.put_u64(*at_us);
            }
            Entry::Check { index, digest } => {
                out.put_u8(CHECK);
                out.put_u64(*index);
                out.put_u64(*digest);
            }
            Entry::Alter { topic, change } => {
                out.put_u8(ALTER | name_flag(topic));
                put_topic(out, topic);
                for (number, value) in change.settings() {
                    out.put_u8(number);
                    varint::put(out, value);
                }
                out.put_u8(0);
            }
            Entry::OpenProducer { topic, opening: Opening { producer, token, resume } } => {
                out.put_u8(OPEN_PRODUCER | name_flag(topic));
                put_topic(out, topic);
                out.put_u64(producer.number());
                out.put_u64(*token);
                out.put_u8(u8::from(*resume));
            }
            Entry::Reclock(reclock) => put_reclock(out, base_us, reclock),
        }
    }
}

/// Decodes the entries of a body at `start` in the journal. The payloads share the buffer of `body`. An empty body has
/// no entries: each leader begins its term with one.
///
/// # Errors
/// Returns [`DecodeError`] when the body does not follow the format or comes from a newer program.
pub fn decode(body: &Bytes, start: Place) -> Result<Vec<Entry>, DecodeError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader { body, rest: body };
    let base_us = reader.u64()?;
    if base_us > BASE_MAX {
        return Err(Newer);
    }
    let mut entries = Vec::new();
    while reader.rest.has_remaining() {
        entries.push(reader.entry(base_us, start)?);
    }
    Ok(entries)
}

struct Reader<'b> {
    body: &'b Bytes,
    rest: &'b [u8],
}

impl Reader<'_> {
    fn entry(&mut self, base_us: u64, start: Place) -> Result<Entry, DecodeError> {
        let tag = self.u8()?;
        if tag & !KIND & !bits_of(tag & KIND) != 0 {
            return Err(Newer);
        }
        match tag & KIND {
            CREATE => {
                let create = Entry::Create {
                    name: self.name()?,
                    seed: self.u64()?,
                    epoch: Epoch(self.u32()?),
                    retention: Retention { records: self.u64()?, bytes: self.u64()?, age_ms: self.u64()? },
                    created_us: self.time(base_us)?,
                };
                // This version knows no parts.
                if tag & PARTS != 0 && self.u8()? != 0 { Err(Newer) } else { Ok(create) }
            }
            DELETE => Ok(Entry::Delete { topic: self.topic(tag)? }),
            PUBLISH => self.batch(tag, base_us, start).map(Entry::Publish),
            TRIM => Ok(Entry::Trim { topic: self.id()?, first: Offset(self.u64()?) }),
            RAISE => Ok(Entry::RaiseEpochs),
            BEGIN_EPOCHS => Ok(Entry::BeginEpochs { at_us: self.u64()? }),
            CHECK => Ok(Entry::Check { index: self.u64()?, digest: self.u64()? }),
            ALTER => Ok(Entry::Alter { topic: self.topic(tag)?, change: self.change()? }),
            OPEN_PRODUCER => {
                let topic = self.topic(tag)?;
                let producer = ProducerId::new(self.u64()?).ok_or(Malformed)?;
                let opening = Opening { producer, token: self.u64()?, resume: self.u8()? != 0 };
                Ok(Entry::OpenProducer { topic, opening })
            }
            RECLOCK => self.reclock(base_us).map(Entry::Reclock),
            _ => Err(Newer),
        }
    }

    fn batch(&mut self, tag: u8, base_us: u64, start: Place) -> Result<Batch, DecodeError> {
        let topic = self.topic(tag)?;
        let producer = if tag & SEQUENCED == 0 {
            None
        } else {
            let producer = ProducerId::new(self.u64()?).ok_or(Malformed)?;
            Some(Sequenced { producer, epoch: self.u32()?, sequence: self.u64()? })
        };
        let append_us = self.time(base_us)?;
        let count = u32::try_from(self.varint()?).ok().filter(|count| *count > 0).ok_or(Malformed)?;
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        if len > self.rest.len() {
            return Err(Malformed);
        }
        let inside = self.body.len().saturating_sub(self.rest.len());
        let payload = self.body.slice_ref(&self.rest[..len]);
        self.rest.advance(len);
        let position = u32::try_from(inside).ok().and_then(|inside| start.position.checked_add(inside));
        let place = Place { position: position.ok_or(Malformed)?, ..start };
        Ok(Batch { topic, producer, count, payload_crc: crc32(&payload), append_us, payload, place })
    }

    fn change(&mut self) -> Result<SettingsChange, DecodeError> {
        let mut change = SettingsChange::default();
        loop {
            match self.u8()? {
                0 => return Ok(change),
                number => {
                    let value = self.varint()?;
                    change.set(number, value).ok_or(Newer)?;
                }
            }
        }
    }

    fn reclock(&mut self, base_us: u64) -> Result<Reclock, DecodeError> {
        let at_us = self.time(base_us)?;
        let jump = match self.varint()?.checked_sub(1) {
            None => None,
            Some(since) => {
                let since_era = u32::try_from(since).map_err(|_| Malformed)?;
                Some(Jump { was_us: self.time(base_us)?, since_era })
            }
        };
        Ok(Reclock { at_us, jump })
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.rest.try_get_u8().map_err(|_| Malformed)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.rest.try_get_u32().map_err(|_| Malformed)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.rest.try_get_u64().map_err(|_| Malformed)
    }

    fn id(&mut self) -> Result<TopicId, DecodeError> {
        TopicId::new(self.u64()?).ok_or(Malformed)
    }

    fn topic(&mut self, tag: u8) -> Result<TopicRef, DecodeError> {
        if tag & BY_NAME == 0 { self.id().map(TopicRef::Id) } else { self.name().map(TopicRef::Name) }
    }

    fn name(&mut self) -> Result<Box<str>, DecodeError> {
        let len = usize::from(self.u8()?);
        let name = self.rest.get(..len).and_then(|name| std::str::from_utf8(name).ok()).ok_or(Malformed)?;
        let name = TopicName::new(name).map_err(|_| Malformed)?.as_str().into();
        self.rest.advance(len);
        Ok(name)
    }

    fn time(&mut self, base_us: u64) -> Result<u64, DecodeError> {
        varint::take_delta(&mut self.rest, base_us).ok_or(Malformed)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        varint::take(&mut self.rest).ok_or(Malformed)
    }
}

/// Returns the tag bits that an entry of this kind may have in addition to the bits of its kind.
const fn bits_of(kind: u8) -> u8 {
    match kind {
        CREATE => PARTS,
        PUBLISH => BY_NAME | SEQUENCED,
        DELETE | ALTER | OPEN_PRODUCER => BY_NAME,
        _ => 0,
    }
}

/// Returns the base time of a body: the time of the first entry that has one.
fn base_of(entries: &[Entry]) -> u64 {
    entries.iter().find_map(base_time).unwrap_or(0)
}

fn base_time(entry: &Entry) -> Option<u64> {
    time_of(entry).map(|time_us| time_us.min(BASE_MAX))
}

const fn time_of(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Create { created_us, .. } => Some(*created_us),
        Entry::Publish(batch) => Some(batch.append_us),
        Entry::Reclock(reclock) => Some(reclock.at_us),
        Entry::Delete { .. }
        | Entry::Trim { .. }
        | Entry::RaiseEpochs
        | Entry::BeginEpochs { .. }
        | Entry::Check { .. }
        | Entry::Alter { .. }
        | Entry::OpenProducer { .. } => None,
    }
}

const fn name_flag(topic: &TopicRef) -> u8 {
    match topic {
        TopicRef::Id(_) => 0,
        TopicRef::Name(_) => BY_NAME,
    }
}

fn put_topic(out: &mut Vec<u8>, topic: &TopicRef) {
    match topic {
        TopicRef::Id(id) => out.put_u64(id.number()),
        TopicRef::Name(name) => put_name(out, name),
    }
}

fn put_reclock(out: &mut Vec<u8>, base_us: u64, reclock: &Reclock) {
    out.put_u8(RECLOCK);
    varint::put_delta(out, base_us, reclock.at_us);
    varint::put(out, reclock.jump.map_or(0, |jump| u64::from(jump.since_era) + 1));
    if let Some(jump) = reclock.jump {
        varint::put_delta(out, base_us, jump.was_us);
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.put_u8(u8::try_from(name.len()).expect("TOPIC_NAME_MAX"));
    out.put_slice(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(topic: TopicRef, sequence: Option<u64>, append_us: u64, payload: &'static [u8]) -> Entry {
        let producer = sequence.map(|sequence| Sequenced { producer: ProducerId::new(7).unwrap(), epoch: 3, sequence });
        let payload = Bytes::from_static(payload);
        let payload_crc = crc32(&payload);
        Entry::Publish(Batch { topic, producer, count: 2, payload_crc, append_us, payload, place: Place::default() })
    }

    fn entries() -> Vec<Entry> {
        let id = TopicId::new(0x0123_4567_89ab_cdef).unwrap();
        vec![
            Entry::Create {
                name: "a/topic".into(),
                seed: u64::MAX,
                epoch: Epoch(9),
                retention: Retention { records: 1, bytes: u64::MAX, age_ms: 0 },
                created_us: 1_700_000_000_000_000,
            },
            publish(TopicRef::Name("a/topic".into()), Some(u64::MAX), 1_700_000_000_000_300, b"some records"),
            publish(TopicRef::Id(id), None, 1_699_999_999_999_999, b"x"),
            publish(TopicRef::Id(id), None, 0, b"y"),
            publish(TopicRef::Id(id), None, u64::MAX, b"z"),
            Entry::Delete { topic: TopicRef::Name("b".into()) },
            Entry::Delete { topic: TopicRef::Id(id) },
            Entry::Trim { topic: id, first: Offset(77) },
            Entry::RaiseEpochs,
            Entry::BeginEpochs { at_us: 1_700_000_000_000_001 },
            Entry::Check { index: u64::MAX, digest: 7 },
            Entry::Alter { topic: TopicRef::Name("a/topic".into()), change: SettingsChange::default() },
            Entry::Alter {
                topic: TopicRef::Id(id),
                change: SettingsChange {
                    retention_records: Some(0),
                    retention_bytes: Some(u64::MAX),
                    retention_age_ms: Some(300),
                },
            },
            Entry::OpenProducer {
                topic: TopicRef::Name("a/topic".into()),
                opening: Opening { producer: ProducerId::new(9).unwrap(), token: u64::MAX, resume: true },
            },
            Entry::Reclock(Reclock { at_us: 1_700_000_000_000_000, jump: None }),
            Entry::Reclock(Reclock { at_us: u64::MAX, jump: Some(Jump { was_us: 0, since_era: u32::MAX }) }),
        ]
    }

    #[test]
    fn a_body_without_entries_is_empty() {
        assert_eq!(decode(&Bytes::new(), Place::default()), Ok(Vec::new()));
    }

    #[test]
    fn entries_come_back_as_they_were_with_their_places() {
        let (mut entries, mut out) = (entries(), b"before".to_vec());
        let start = Place { segment: 4, position: 1000 };
        encode(&mut entries, &mut out);
        assert_eq!(out.len() - 6, BodyLen::of(&entries).bytes());
        entries.iter_mut().for_each(|entry| entry.locate(start));
        let body = Bytes::from(out).slice(6..);
        let decoded = decode(&body, start).unwrap();
        assert_eq!(decoded, entries);
        for entry in decoded {
            let Entry::Publish(batch) = entry else { continue };
            let at = usize::try_from(batch.place.position - 1000).unwrap();
            assert_eq!(body[at..at + batch.payload.len()], batch.payload);
            assert_eq!(batch.place.segment, 4);
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_or_read_but_never_a_panic() {
        let mut out = Vec::new();
        encode(&mut entries(), &mut out);
        let mut rng = fastrand::Rng::with_seed(1);
        for cut in 0..out.len() {
            let _ = decode(&Bytes::copy_from_slice(&out[..cut]), Place::default());
        }
        for _ in 0..20_000 {
            let mut bad = out.clone();
            let at = rng.usize(..bad.len());
            bad[at] ^= 1 << rng.u8(..8);
            let _ = decode(&bad.into(), Place::default());
        }
        assert_eq!(decode(&Bytes::from_static(&[0; 7]), Place::default()), Err(Malformed));
        assert_eq!(decode(&Bytes::new(), Place::default()), Ok(Vec::new()));
        assert_eq!(decode(&Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 63]), Place::default()), Err(Newer));
        assert_eq!(decode(&Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0]), Place::default()), Err(Newer), "a version");
    }

    #[test]
    fn what_this_version_does_not_know_about_an_entry_needs_a_newer_program() {
        for entry in entries() {
            let mut out = Vec::new();
            encode(&mut [entry.clone()], &mut out);
            let decode = |flipped: u8, more: &[u8]| {
                let mut body = [&out[..], more].concat();
                body[8] ^= flipped;
                decode(&body.into(), Place::default())
            };
            match &entry {
                Entry::Create { .. } => {
                    assert_eq!(decode(PARTS, &[0]), Ok(vec![entry]), "no parts");
                    assert_eq!(decode(PARTS, &[1, 2, 7, 7, 0]), Err(Newer), "an owner");
                    assert_eq!(decode(PARTS, &[]), Err(Malformed));
                    assert_eq!(decode(BY_NAME, &[]), Err(Newer));
                }
                Entry::Publish(_) => {}
                Entry::Delete { .. } | Entry::Alter { .. } | Entry::OpenProducer { .. } => {
                    assert_eq!(decode(0x80, &[]), Err(Newer), "{entry:?}");
                }
                Entry::Trim { .. }
                | Entry::RaiseEpochs
                | Entry::BeginEpochs { .. }
                | Entry::Check { .. }
                | Entry::Reclock(_) => {
                    assert_eq!([0x80, BY_NAME].map(|bit| decode(bit, &[])), [Err(Newer), Err(Newer)], "{entry:?}");
                }
            }
        }
    }

    #[test]
    fn one_small_record_costs_a_dozen_bytes_beside_its_own() {
        let id = TopicId::new(1 << 40).unwrap();
        let mut entries = vec![publish(TopicRef::Id(id), None, 5, b"0123456789"); 100];
        let mut out = Vec::new();
        encode(&mut entries, &mut out);
        assert_eq!(out.len(), 8 + 100 * (10 + 12));
    }
}
