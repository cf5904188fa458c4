//! A node's state with its journal on a [`FakeDisk`], and generators of random entries.

use bytes::Bytes;
use dht_node::entry::{
    self, Batch, Body, CopiedState, CopiedTopic, Entry, Filed, Found, Image, Jump, LogPosition, Note, Place, Reclock,
    TopicKey, TopicRef, Wanted,
};
use dht_node::journal::format::{Head, VERSION, put_record};
use dht_node::journal::{Cleaning, Identity, Keeper, Look, Mark, NoRoom, OpenError, Taken, Victims, Writer};
use dht_node::limits::LOG_WINDOW_BYTES;
use dht_node::node::{Copies, Node, Settings, SourceLimits};
use dht_node::storage::start;
use dht_node::topic::Topic;
use dht_node::types::{
    Dimension, Epoch, NodeId, Now, Offset, Opening, ProducerId, Retention, Sequenced, SettingsChange, SlotId, Slots,
    TopicId, TopicName, crc32,
};
use dht_node::wire::records::Record;
use dht_node::wire::response::Durability;
use fastrand::Rng;

use crate::disk::{FakeDisk, FakeFile};
use crate::records;

/// The size of a segment: small, so that a run fills many, but enough for the entries of one turn.
pub(crate) const SEGMENT: u32 = 40 << 10;

const TOPICS: usize = 6;

/// The slot of all topics.
pub(crate) const SLOT: SlotId = SlotId::from_low_bits(0, Slots::MOST);

/// Returns what identifies a topic in the journal.
pub(crate) fn key(id: TopicId) -> TopicKey {
    TopicKey { slot: SLOT, id }
}

/// The memory limit in bytes: so small that most records are only in the journal.
const MEMORY: u64 = 8 << 10;

/// Appends the first two records of a checkpoint to `out`: those of one group with these topics, without bookkeeping.
/// `len` is the length that the first one states.
pub(crate) fn put_checkpoint(
    segment: u32,
    head: Head,
    applied: LogPosition,
    (topics, len): (&[u8], u64),
    out: &mut Vec<u8>,
) {
    // The bookkeeping is five empty lists.
    const NO_BOOKS: [u8; 5] = [0; 5];
    put_record(segment, head, out, |out| {
        out.extend_from_slice(&applied.index.to_be_bytes());
        for number in [applied.end.segment, applied.end.position] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&(NO_BOOKS.len() as u64).to_be_bytes());
        out.extend_from_slice(&SLOT.index().to_be_bytes());
        out.extend_from_slice(&applied.index.to_be_bytes());
        for number in [applied.term, applied.end.segment, applied.end.position] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&len.to_be_bytes());
    });
    put_record(segment, head, out, |out| out.extend_from_slice(topics));
    put_record(segment, head, out, |out| out.extend_from_slice(&NO_BOOKS));
}

/// A running node and its journal.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) node: Node,
    writer: Writer<FakeFile>,
    keeper: Keeper<FakeDisk>,
    /// The entries of each record that is appended but not yet applied.
    waiting: Vec<Vec<Entry>>,
    /// What the keeper is told of these records.
    notes: Vec<Note>,
    mark: Mark,
    /// From which position on other members need the log.
    pub(crate) needed: Option<u64>,
    /// How much of the log of the node's group was appended and applied.
    appended: LogPosition,
    applied: LogPosition,
    /// The size of new segments.
    segment_bytes: u32,
    cleaning: Option<Cleaning<FakeFile>>,
}

/// Everything that a client could see: the state, and all records.
pub(crate) type Seen = (Vec<u8>, Vec<Vec<u8>>);

/// Returns an empty node that keeps all records in memory.
pub(crate) fn blank() -> Node {
    with_memory(u64::MAX)
}

fn with_memory(memory_bytes: u64) -> Node {
    node(0, Dimension::new(0).unwrap(), memory_bytes)
}

/// Returns an empty node of a cube of this dimension, with a journal.
pub(crate) fn node(id: u16, dimension: Dimension, memory_bytes: u64) -> Node {
    Node::new(settings(id, dimension, memory_bytes), Now { monotonic_us: 0, wall_us: 0 })
}

/// Returns an empty node of a cube of this dimension, with a journal. Other nodes have copies of its groups.
pub(crate) fn sharing_node(id: u16, dimension: Dimension) -> Node {
    let settings = Settings { copies: Copies::Three, ..settings(id, dimension, u64::MAX) };
    Node::new(settings, Now { monotonic_us: 0, wall_us: 0 })
}

fn settings(id: u16, dimension: Dimension, memory_bytes: u64) -> Settings {
    Settings {
        id: NodeId::new(id, dimension).unwrap(),
        dimension,
        slots: Slots::one_per_node(dimension),
        copies: Copies::One,
        cluster: "dht".to_owned(),
        software: String::new(),
        addresses: vec![String::new(); usize::from(dimension.nodes())],
        instance: 1,
        origin_mark: 0,
        seed: 1,
        memory_bytes,
        retention: Retention::default(),
        durability: Durability::Synced,
        clients_max: 1,
        handshakes_max: 1,
        source_limits: SourceLimits::default(),
        log_window_bytes: LOG_WINDOW_BYTES,
    }
}

/// Returns the identity of all journals of these tests.
pub(crate) fn identity() -> Identity {
    let dimension = Dimension::new(0).unwrap();
    let node = NodeId::new(0, dimension).unwrap();
    Identity { cluster: "dht".to_owned(), dimension, node, copies: Copies::One }
}

impl Live {
    /// Starts on the files of a disk, which must be undamaged. Also returns the end of the log, and whether records may
    /// have been lost.
    pub(crate) fn start(disk: &FakeDisk, is_interval_sync: bool) -> Result<(Self, Mark, bool), OpenError> {
        Self::start_with(disk, is_interval_sync, SEGMENT)
    }

    /// Starts like [`Live::start`], with segments of this size.
    pub(crate) fn start_with(
        disk: &FakeDisk,
        is_interval_sync: bool,
        segment_bytes: u32,
    ) -> Result<(Self, Mark, bool), OpenError> {
        let (live, last, is_lossy, mended) = Self::start_mending(disk, is_interval_sync, segment_bytes)?;
        assert_eq!(mended, [""; 0], "a crash damages nothing");
        Ok((live, last, is_lossy))
    }

    /// Starts on a disk that may be damaged. Also returns a line for each file that was rebuilt.
    pub(crate) fn start_mending(
        disk: &FakeDisk,
        is_interval_sync: bool,
        segment_bytes: u32,
    ) -> Result<(Self, Mark, bool, Vec<String>), OpenError> {
        let mut node = with_memory(MEMORY);
        let started = start(disk, &identity(), is_interval_sync, segment_bytes, &mut node)?;
        started.keeper.check();
        let (writer, keeper) = (started.writer, started.keeper);
        let mark = writer.mark();
        let appended = started.groups[&SLOT].applied;
        let (applied, waiting, notes, needed) = (appended, Vec::new(), Vec::new(), None);
        let live = Self {
            node,
            writer,
            keeper,
            waiting,
            notes,
            needed,
            mark,
            appended,
            applied,
            segment_bytes,
            cleaning: None,
        };
        Ok((live, started.last, started.is_lossy, started.mended))
    }

    /// Appends entries as one or more records. Returns the entries of each record.
    pub(crate) fn append(&mut self, mut entries: Vec<Entry>) -> std::io::Result<Vec<Vec<Entry>>> {
        let mut records = Vec::new();
        while !entries.is_empty() {
            let body = self.next_body(&mut entries);
            match self.writer.append(&body) {
                Ok(place) => {
                    let end = Place { segment: 0, position: u32::try_from(body.bytes.len()).unwrap() }.inside(place);
                    self.appended = LogPosition { index: body.index, term: body.term, end };
                    entries.iter_mut().for_each(|entry| entry.locate(place));
                    self.notes.extend(body.written(place).note());
                    records.push(std::mem::take(&mut entries));
                }
                Err(NoRoom) => {
                    let number = self.writer.mark().place.segment + 1;
                    let next = self.keeper.prepare(number, self.segment_bytes)?;
                    self.writer.turn_to(next)?;
                }
            }
        }
        self.waiting.extend(records.iter().cloned());
        Ok(records)
    }

    /// Encodes the next body of the log.
    fn next_body(&self, entries: &mut [Entry]) -> Body {
        let mut bytes = Vec::new();
        entry::encode(entries, &mut bytes);
        Body { slot: SLOT, index: self.appended.index + 1, term: self.appended.term.max(1), bytes: bytes.into() }
    }

    fn images(&self) -> Vec<Image> {
        vec![Image { applied: self.applied, needed: self.needed, ..self.node.image(SLOT) }]
    }

    /// Returns the log start and end offsets of a topic.
    pub(crate) fn kept(&self, topic: TopicId) -> Option<(Offset, Offset)> {
        self.node.kept(key(topic))
    }

    /// Returns how much of the log of the node's group was applied.
    pub(crate) const fn applied(&self) -> LogPosition {
        self.applied
    }

    /// Makes all appended records durable, then applies them.
    pub(crate) fn sync(&mut self) -> std::io::Result<()> {
        self.writer.sync()?;
        self.apply();
        Ok(())
    }

    /// Writes all appended records without a sync, then applies them, as with `--sync interval`.
    pub(crate) fn write(&mut self) -> std::io::Result<()> {
        self.writer.write()?;
        self.apply();
        Ok(())
    }

    fn apply(&mut self) {
        self.keeper.note(&std::mem::take(&mut self.notes));
        for entries in self.waiting.drain(..) {
            let notes = self.node.replay(SLOT, entries);
            self.keeper.note(&notes);
        }
        (self.mark, self.applied) = (self.writer.mark(), self.appended);
        self.keeper.check();
    }

    /// Copies up to `pieces` pieces of a cleaning run, which is begun if none is in progress. Returns the cleaned
    /// segments when the run is complete, or `None` if it is not, or if nothing needs cleaning.
    pub(crate) fn clean(&mut self, pieces: usize) -> std::io::Result<Option<Victims>> {
        let mut run = match self.cleaning.take() {
            Some(run) => run,
            None => match self.keeper.look_for_dirt(true, self.segment_bytes)? {
                Look::Dirty(run) => run,
                Look::Clean | Look::Later => return Ok(None),
            },
        };
        for _ in 0..pieces {
            let is_done = match self.keeper.clean_some(&mut run) {
                Err(OpenError::Io { cause, .. }) => return Err(cause),
                done => done.map_err(std::io::Error::other)?,
            };
            if is_done {
                let victims = self.keeper.finish_cleaning(&mut run)?;
                self.keeper.check();
                return Ok(Some(victims));
            }
        }
        self.cleaning = Some(run);
        Ok(None)
    }

    /// Returns the keeper, for its operations that have no method here.
    pub(crate) const fn keeper(&mut self) -> &mut Keeper<FakeDisk> {
        &mut self.keeper
    }

    /// Makes a checkpoint of the applied records.
    pub(crate) fn checkpoint(&mut self) -> std::io::Result<()> {
        self.keeper.sync_log(self.mark)?;
        self.keeper.checkpoint(self.mark, &self.images())
    }

    /// Returns a snapshot of the group, for another journal to copy.
    pub(crate) fn state(&self) -> CopiedState {
        let LogPosition { index, term, .. } = self.applied;
        let kept = |topic: &Topic| CopiedTopic { id: topic.id, first: topic.log.first(), next: topic.log.next() };
        let kept = topics(&self.node).map(kept).collect();
        CopiedState { slot: SLOT, index, term, topics: self.node.image(SLOT).topics, kept, void: Vec::new() }
    }

    /// Copies the records of a state that this journal does not have. Bodies that were appended but not applied stay
    /// so.
    pub(crate) fn take(&mut self, state: &CopiedState, source: &Self) -> std::io::Result<Taken<FakeFile>> {
        let mut taken = Taken::default();
        for CopiedTopic { id, first, next } in &state.kept {
            let own = self.kept(*id).map_or(*first, |(_, own)| own.max(*first));
            let mut from = own;
            while from < *next {
                let wanted = Wanted::Records { from, max_bytes: 2000, max_records: u32::MAX };
                let gap = |end: Offset| {
                    let (count, crc) = (u32::try_from(end.0 - from.0).unwrap(), crc32(&[]));
                    let of = Filed {
                        topic: key(*id),
                        base: from,
                        count,
                        len: 0,
                        crc,
                        place: Place::default(),
                        append_us: 0,
                    };
                    vec![(of, Bytes::new())]
                };
                let mut batches = match source.keeper.read(key(*id), wanted).unwrap() {
                    Found::Batches(batches) if batches.is_empty() => {
                        gap(source.kept(*id).map_or(*next, |(first, _)| first.min(*next)))
                    }
                    Found::Batches(mut batches) => {
                        batches.retain(|(filed, _)| filed.base < *next);
                        batches
                    }
                    Found::Gap(end) => gap(end),
                    Found::Offset(_) => unreachable!("records are wanted"),
                };
                assert!(batches[0].0.base == from || from == *first, "batches are the same everywhere");
                self.keeper.keep(&mut taken, &mut batches, SEGMENT / 2)?;
                from = batches.last().unwrap().0.end();
            }
        }
        Ok(taken)
    }

    /// Installs a state whose records were copied by [`Self::take`].
    pub(crate) fn install(&mut self, mut state: CopiedState, taken: Taken<FakeFile>) -> std::io::Result<()> {
        self.writer.sync()?;
        self.mark = self.writer.mark();
        self.keeper.note(&std::mem::take(&mut self.notes));
        let place = |entry: &Entry| if let Entry::Publish(batch) = entry { Some(batch.place) } else { None };
        state.void = self.waiting.iter().flatten().filter_map(place).collect();
        self.keeper.sync_log(self.mark)?;
        let end = self.keeper.install(taken, self.mark, &state, self.images())?;
        self.keeper.check();
        self.waiting.clear();
        self.applied = LogPosition { index: state.index, term: state.term, end };
        self.appended = self.applied;
        self.node = with_memory(MEMORY);
        self.node.restore(SLOT, &state.topics, VERSION).unwrap();
        Ok(())
    }

    /// Limits the size of all files together.
    pub(crate) fn set_capacity(&mut self, bytes: u64) {
        self.keeper.set_capacity(bytes);
    }

    /// Removes the files of a copy that is not installed.
    pub(crate) fn drop_taken(&self, taken: Taken<FakeFile>) -> std::io::Result<()> {
        self.keeper.drop_taken(taken)
    }

    /// Returns everything that a client could see.
    pub(crate) fn read(&self) -> Result<Seen, OpenError> {
        let records =
            topics(&self.node).map(|topic| records::of(SLOT, topic, Some(&self.keeper))).collect::<Result<_, _>>()?;
        Ok((self.node.image(SLOT).topics, records))
    }

    /// Returns everything that a client could see; the disk must not fail.
    pub(crate) fn seen(&self) -> Seen {
        self.read().unwrap()
    }

    /// Looks up records or a time in the journal, as the node would.
    pub(crate) fn find(&self, topic: TopicId, wanted: Wanted) -> Result<Found, OpenError> {
        self.keeper.read(key(topic), wanted)
    }

    /// Returns the offset of the first record at or after `from` that can be read.
    pub(crate) fn readable_from(&self, topic: TopicId, from: Offset) -> Option<Offset> {
        self.keeper.readable_from(key(topic), from)
    }

    /// Returns the end of the applied log.
    pub(crate) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Returns the number of the segment that is written to.
    pub(crate) const fn segment(&self) -> u32 {
        self.writer.mark().place.segment
    }

    /// Returns the epoch of a topic's log.
    pub(crate) fn epoch(&self, name: &str) -> Epoch {
        self.node.topic(TopicName::new(name).unwrap()).unwrap().epoch
    }

    /// Shuts down in an orderly way.
    pub(crate) fn finish(&mut self) -> std::io::Result<()> {
        self.writer.finish()?;
        self.apply();
        self.checkpoint()
    }
}

/// Returns the entry that creates a topic with unlimited retention.
pub(crate) fn create(name: &str, seed: u64) -> Entry {
    Entry::Create { name: name.into(), seed, epoch: Epoch(1), retention: Retention::default(), created_us: 0 }
}

/// Returns the entry as a node proposes it: with the topic's id in place of its name, if the node knows the topic.
pub(crate) fn by_id(entry: Entry, node: &Node) -> Entry {
    let Entry::Publish(batch) = entry else { return entry };
    let known = match &batch.topic {
        TopicRef::Name(name) => topic_id(node, name).map(TopicRef::Id),
        TopicRef::Id(_) => None,
    };
    Entry::Publish(Batch { topic: known.unwrap_or_else(|| batch.topic.clone()), ..batch })
}

/// Returns a batch of one record from producer 9, in its epoch 1.
pub(crate) fn sequenced(topic: &str, value: &[u8], sequence: u64) -> Entry {
    let Entry::Publish(batch) = publish(topic, value, sequence) else { unreachable!("a batch") };
    let producer = Some(Sequenced { producer: ProducerId::new(9).unwrap(), epoch: 1, sequence });
    Entry::Publish(Batch { producer, ..batch })
}

/// Returns a batch of one record without a producer.
pub(crate) fn publish(topic: &str, value: &[u8], serial: u64) -> Entry {
    publish_batch(topic, &[value], serial)
}

/// Returns a batch without a producer.
pub(crate) fn publish_batch(topic: &str, values: &[&[u8]], append_us: u64) -> Entry {
    let mut payload = Vec::new();
    values.iter().for_each(|value| Record { value, ..Record::default() }.encode(&mut payload).unwrap());
    Entry::Publish(Batch {
        topic: TopicRef::Name(topic.into()),
        producer: None,
        count: u32::try_from(values.len()).unwrap(),
        payload_crc: crc32(&payload),
        append_us,
        payload: payload.into(),
        place: Place::default(),
    })
}

/// Returns random entries, some of which have no effect when they are applied.
pub(crate) fn entries(rng: &mut Rng, node: &Node, serial: &mut u64) -> Vec<Entry> {
    (0..rng.usize(1..6)).map(|_| entry(rng, node, serial)).collect()
}

fn entry(rng: &mut Rng, node: &Node, serial: &mut u64) -> Entry {
    *serial += 1;
    let name = format!("topic/{}", rng.usize(..TOPICS));
    let known = topic_id(node, &name);
    let topic = match known {
        Some(id) if rng.bool() => TopicRef::Id(id),
        _ => TopicRef::Name(name.as_str().into()),
    };
    match rng.u8(..40) {
        0..4 => {
            let retention = Retention { records: rng.u64(1..200), bytes: rng.u64(100..20_000), age_ms: 0 };
            Entry::Create { name: name.into(), seed: rng.u64(..), epoch: Epoch(1), retention, created_us: *serial }
        }
        4 => Entry::Delete { topic },
        5 if known.is_some() => Entry::Trim { topic: known.unwrap(), first: Offset(rng.u64(..300)) },
        6 if rng.bool() => Entry::BeginEpochs { at_us: 1_000_000 * rng.u64(..5) },
        6 => Entry::RaiseEpochs,
        7 => {
            let one_of = |rng: &mut Rng, bound| rng.bool().then_some(bound);
            let (records, bytes) = (rng.u64(1..200), rng.u64(100..20_000));
            let retention_records = one_of(rng, records);
            let change =
                SettingsChange { retention_records, retention_bytes: one_of(rng, bytes), retention_age_ms: None };
            Entry::Alter { topic, change }
        }
        8 | 9 => {
            let producer = ProducerId::new(rng.u64(3..7)).unwrap();
            Entry::OpenProducer { topic, opening: Opening { producer, token: rng.u64(..3), resume: rng.bool() } }
        }
        10 => {
            let jump = rng.bool().then(|| Jump { was_us: rng.u64(..100_000), since_era: rng.u32(..20) });
            Entry::Reclock(Reclock { at_us: rng.u64(..*serial), jump })
        }
        _ => {
            let payload = payload(rng, *serial);
            let producer = ProducerId::new(rng.u64(1..7)).unwrap();
            let sequenced = Sequenced { producer, epoch: rng.u32(1..3), sequence: rng.u64(..6) };
            Entry::Publish(Batch {
                topic,
                producer: rng.bool().then_some(sequenced),
                count: 1,
                payload_crc: crc32(&payload),
                append_us: *serial,
                payload,
                place: Place::default(),
            })
        }
    }
}

fn payload(rng: &mut Rng, serial: u64) -> Bytes {
    let len = if rng.u8(..10) == 0 { rng.usize(..6000) } else { rng.usize(..200) };
    let mut value = serial.to_be_bytes().to_vec();
    value.resize(8 + len, rng.u8(..));
    let mut payload = Vec::new();
    Record { value: &value, ..Record::default() }.encode(&mut payload).unwrap();
    payload.into()
}

pub(crate) fn topic_id(node: &Node, name: &str) -> Option<TopicId> {
    node.topic(TopicName::new(name).unwrap()).map(|topic| topic.id)
}

/// Returns everything that a client could see of a node that has all records in memory.
pub(crate) fn seen(node: &Node) -> Seen {
    (node.image(SLOT).topics, topics(node).map(|topic| records::of(SLOT, topic, None).unwrap()).collect())
}

/// Returns the topics of a node, among those whose names these tests use.
pub(crate) fn topics(node: &Node) -> impl Iterator<Item = &Topic> {
    (0..TOPICS).filter_map(|index| node.topic(TopicName::new(&format!("topic/{index}")).unwrap()))
}
