//! Lookups of records and times in the journal, compared with a plain list of what was published, while segments grow,
//! get an index file, are removed and are recycled.

use bytes::Bytes;
use dht_node::entry::{Entry, Filed, Found, Jump, Reclock, TopicRef, Wanted};
use dht_node::journal::OpenError;
use dht_node::limits::{FETCH_RUNS_MAX, INDEX_BLOCK_BATCHES, READ_GAP_MAX};
use dht_node::types::{Epoch, Offset, Retention, TopicId};
use fastrand::Rng;

use crate::disk::{FakeDisk, Reads};
use crate::model::{Live, SEGMENT, key, publish_batch, topic_id};
use crate::number;

/// The maximum size of a batch in an index, and the size of an index entry for a block, in bytes.
const INDEX_BATCH_MAX: usize = 16;
const INDEX_ENTRY: usize = 40;

/// Number of topic names; the first topic has most of the batches.
const NAMES: usize = 4;

/// A topic that exists or was deleted.
struct Topic {
    name: String,
    id: TopicId,
    /// The number of records that retention keeps; 0 means all.
    keeps: u64,
    is_gone: bool,
    /// All batches that were ever published to it.
    batches: Vec<(Filed, Bytes)>,
    /// The clock era in which each batch was appended.
    eras: Vec<u32>,
    first: Offset,
}

/// A clock era, which begins with a jump of the clock: its number and its start in microseconds.
#[derive(Clone, Copy)]
struct Era(u32, u64);

impl Topic {
    fn next(&self) -> Offset {
        self.batches.last().map_or(Offset(0), |(filed, _)| filed.end())
    }

    fn publish(&mut self, entry: Entry, Era(era, since_us): Era) {
        let Entry::Publish(batch) = entry else { panic!("{entry:?} is not a batch") };
        let before = self.batches.last().zip(self.eras.last()).filter(|(_, before)| **before == era);
        let least_us = before.map_or(since_us, |((last, _), _)| last.append_us);
        let filed = Filed {
            topic: key(self.id),
            base: self.next(),
            count: batch.count,
            len: u32::try_from(batch.payload.len()).unwrap(),
            crc: batch.payload_crc,
            place: batch.place,
            append_us: least_us.max(batch.append_us),
        };
        self.batches.push((filed, batch.payload));
        self.eras.push(era);
        if self.keeps > 0 {
            self.trim(Offset(self.next().0.saturating_sub(self.keeps)));
        }
    }

    fn trim(&mut self, first: Offset) {
        self.first = first.clamp(self.first, self.next());
    }

    /// Returns the batches that a read should find: those of one segment, up to the limits.
    fn batches_from(&self, from: Offset, max_bytes: u32, max_records: u32) -> &[(Filed, Bytes)] {
        let rest = &self.batches[self.batches.partition_point(|(filed, _)| filed.end() <= from)..];
        let (mut bytes, mut times) = (0, 0);
        for (index, (filed, _)) in rest.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| rest[before].0);
            let is_enough = bytes >= max_bytes || before.is_some_and(|it| it.end().0 - from.0 >= max_records.into());
            let is_other_segment = before.is_some_and(|before| before.place.segment != filed.place.segment);
            times += usize::from(before.is_none_or(|before| before.append_us != filed.append_us));
            if is_other_segment || is_enough || times > FETCH_RUNS_MAX {
                return &rest[..index];
            }
            bytes += filed.len;
        }
        rest
    }

    /// Returns the range of offsets of the clock era in which the record at `offset` was appended, or of the newest era
    /// if there is no such record.
    fn stretch(&self, offset: u64) -> (Offset, Offset) {
        let index = self.batches.partition_point(|(filed, _)| filed.end().0 <= offset);
        let Some(&era) = self.eras.get(index).or_else(|| self.eras.last()) else { return (Offset(0), Offset(0)) };
        let base = |index: usize| self.batches.get(index).map_or_else(|| self.next(), |(filed, _)| filed.base);
        let from = self.eras.partition_point(|it| *it < era);
        (base(from), base(self.eras.partition_point(|it| *it <= era)))
    }

    fn find_time(&self, append_us: u64, (from, end): (Offset, Offset)) -> Offset {
        let is_it = |filed: &Filed| from <= filed.base && filed.base < end && filed.append_us >= append_us;
        let found = self.batches.iter().find(|(filed, _)| is_it(filed));
        found.map_or(end, |(filed, _)| filed.base).max(self.first)
    }

    /// Returns the append time of its last batch.
    fn last_us(&self) -> u64 {
        self.batches.last().map_or(0, |(filed, _)| filed.append_us)
    }

    /// Returns the append time of the record at `offset`.
    fn time_of(&self, offset: u64) -> Option<u64> {
        let index = self.batches.partition_point(|(filed, _)| filed.end().0 <= offset);
        self.batches.get(index).map(|(filed, _)| filed.append_us)
    }

    /// Returns the maximum number of blocks that it has in the index of a segment.
    fn blocks(&self, segment: u32) -> usize {
        let index = |number| self.batches.partition_point(|(filed, _)| filed.place.segment < number);
        (index(segment + 1) - index(segment)).div_ceil(INDEX_BLOCK_BATCHES)
    }
}

/// Number of seeds in an ordinary run.
const SEEDS: u64 = 60;

/// Counters of situations that must occur in a run.
#[derive(Debug, Default)]
struct Totals {
    batches: usize,
    from_files: usize,
    trimmed: usize,
    gone: usize,
    by_times: usize,
    times: usize,
    restarts: usize,
    jumps: usize,
}

/// A node on a disk, and the expected content of its topics.
struct World {
    seed: u64,
    rng: Rng,
    disk: FakeDisk,
    live: Live,
    segment_bytes: u32,
    topics: Vec<Topic>,
    now_us: u64,
    era: Era,
    /// On average, one in this many batches has a later time than the one before.
    ticks: u64,
    totals: Totals,
}

impl World {
    fn new(seed: u64, segment_bytes: u32) -> Self {
        let (mut rng, disk) = (Rng::with_seed(seed), FakeDisk::default());
        let (live, ..) = Live::start_with(&disk, false, segment_bytes).unwrap();
        let ticks = [1, 3, 300][rng.usize(..3)];
        let (topics, totals) = (Vec::new(), Totals::default());
        Self { seed, rng, disk, live, segment_bytes, topics, now_us: 1000, era: Era(0, 0), ticks, totals }
    }

    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..8 => self.live.checkpoint().unwrap(),
            8..14 => self.trim(),
            14..16 => self.delete(),
            16..19 => self.restart(),
            97..99 => self.reclock(),
            _ => {
                let index = if self.rng.u8(..5) > 0 { 0 } else { self.rng.usize(..NAMES) };
                // Topics 2 and 3 have few batches.
                let count = if index < 2 { self.rng.usize(1..400) } else { self.rng.usize(1..4) };
                let keeps = [0, 0, 1, 500][self.rng.usize(..4)];
                let at = self.open(index, keeps);
                self.publish(at, count);
            }
        }
    }

    /// Returns the index of the topic with the name of this number, which is created if necessary.
    fn open(&mut self, index: usize, keeps: u64) -> usize {
        let name = format!("topic/{index}");
        if let Some(at) = self.topics.iter().position(|topic| !topic.is_gone && topic.name == name) {
            return at;
        }
        let retention = Retention { records: keeps, ..Retention::default() };
        let seed = self.rng.u64(..);
        self.commit(vec![Entry::Create {
            name: name.as_str().into(),
            seed,
            epoch: Epoch(1),
            retention,
            created_us: 0,
        }]);
        let id = topic_id(&self.live.node, &name).unwrap();
        self.topics.push(Topic {
            name,
            id,
            keeps,
            is_gone: false,
            batches: Vec::new(),
            eras: Vec::new(),
            first: Offset(0),
        });
        self.topics.len() - 1
    }

    fn commit(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let records = self.live.append(entries).unwrap();
        self.live.sync().unwrap();
        records.concat()
    }

    fn publish(&mut self, at: usize, count: usize) {
        let name = self.topics[at].name.clone();
        for _ in 0..count.div_ceil(50) {
            let batches = (0..count.min(50)).map(|_| self.batch(&name)).collect();
            for entry in self.commit(batches) {
                self.topics[at].publish(entry, self.era);
            }
        }
    }

    fn batch(&mut self, name: &str) -> Entry {
        self.now_us += u64::from(self.rng.u64(..self.ticks) == 0) * self.rng.u64(1..1000);
        let len = if self.rng.u8(..100) == 0 { self.rng.usize(..3000) } else { self.rng.usize(..20) };
        let value = vec![self.rng.u8(..); len];
        // The batches of one turn must fit into a segment.
        let count = if self.rng.u8(..4) == 0 && len < 100 { self.rng.usize(1..9) } else { 1 };
        let values = vec![value.as_slice(); count];
        publish_batch(name, &values, self.now_us)
    }

    fn trim(&mut self) {
        if self.topics.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.topics.len());
        let Topic { id, first, .. } = self.topics[at];
        let first = Offset(self.rng.u64(first.0..=self.topics[at].next().0 + 5));
        self.commit(vec![Entry::Trim { topic: id, first }]);
        self.topics[at].trim(first);
    }

    fn delete(&mut self) {
        let index = self.rng.usize(..NAMES);
        let at = self.open(index, 0);
        self.commit(vec![Entry::Delete { topic: TopicRef::Id(self.topics[at].id) }]);
        self.topics[at].is_gone = true;
        let next = self.topics[at].next();
        self.topics[at].trim(next);
    }

    /// Lets the clock jump, backward as often as forward.
    fn reclock(&mut self) {
        let was_us = self.now_us;
        self.now_us = self.rng.u64(500..=2 * was_us);
        self.era = Era(self.era.0 + 1, self.now_us);
        let jump = Some(Jump { was_us, since_era: 0 });
        self.commit(vec![Entry::Reclock(Reclock { at_us: self.now_us, jump })]);
        self.totals.jumps += 1;
    }

    fn restart(&mut self) {
        if self.rng.bool() {
            self.live.finish().unwrap();
        }
        self.disk.crash(&mut self.rng);
        (self.live, ..) = Live::start_with(&self.disk, false, self.segment_bytes).unwrap();
        self.totals.restarts += 1;
    }

    /// Looks up random records and times in all topics.
    fn ask(&mut self) {
        for at in 0..self.topics.len() {
            let topic = &self.topics[at];
            if !topic.is_gone {
                assert_eq!(self.live.kept(topic.id), Some((topic.first, topic.next())), "seed {}", self.seed);
            }
            let (first, next, last_us) = (topic.first.0, topic.next().0, topic.last_us());
            let from = match self.rng.u8(..10) {
                0 => self.rng.u64(..=first),
                1 => [first, next.saturating_sub(1), next, next + 1, next + 1000, u64::MAX][self.rng.usize(..6)],
                _ => self.rng.u64(first..=next),
            };
            let max_bytes = [1, self.rng.u32(1..200), self.rng.u32(1..20_000), u32::MAX][self.rng.usize(..4)];
            let max_records = [1, self.rng.u32(1..400), u32::MAX, u32::MAX][self.rng.usize(..4)];
            self.ask_records(at, Offset(from), max_bytes, max_records);
            let time = match self.rng.u8(..10) {
                0 => [0, 1, last_us, last_us + 1, u64::MAX][self.rng.usize(..5)],
                1..6 => self.topics[at].time_of(from).unwrap_or(last_us),
                _ => self.rng.u64(..last_us + 10),
            };
            self.ask_time(at, time, self.topics[at].stretch(from));
        }
    }

    fn ask_records(&mut self, at: usize, from: Offset, max_bytes: u32, max_records: u32) -> Reads {
        let topic = &self.topics[at];
        let case = format!("seed {}: {} from {from:?}, {max_bytes} bytes, {max_records}", self.seed, topic.name);
        self.disk.take_reads();
        let found = self.live.find(topic.id, Wanted::Records { from, max_bytes, max_records });
        let reads = self.disk.take_reads();
        let found = match found {
            Ok(Found::Batches(found)) => found,
            // The node itself never looks up records that it has trimmed.
            Err(OpenError::Damaged { .. }) if from < topic.first && !topic.is_gone => Vec::new(),
            other => panic!("{case}: {other:?}"),
        };
        let expected = topic.batches_from(from, max_bytes, max_records);
        if from < topic.first {
            // Trimmed records may still be found, but then they must be the right ones.
            (self.totals.trimmed, self.totals.gone) =
                (self.totals.trimmed + found.len(), self.totals.gone + usize::from(topic.is_gone));
            assert!(found.is_empty() || found == expected && !topic.is_gone, "{case}");
        } else {
            assert!(found == expected, "{case}: {} of {} batches", found.len(), expected.len());
        }
        let Some((first, _)) = found.first() else { return reads };
        let len: usize = found.iter().map(|(_, payload)| payload.len() + READ_GAP_MAX as usize).sum();
        let blocks = found.len() / INDEX_BLOCK_BATCHES + 2;
        let index = self.index_reads(first.place.segment, blocks);
        assert!(reads.count <= index.count + found.len(), "{case}: {reads:?}");
        assert!(reads.bytes <= index.bytes + len, "{case}: {reads:?}");
        self.totals.batches += found.len();
        self.totals.from_files += usize::from(reads.count > found.len());
        self.totals.by_times += usize::from(self.ticks == 1 && found.len() >= FETCH_RUNS_MAX);
        reads
    }

    fn ask_time(&mut self, at: usize, append_us: u64, (from, end): (Offset, Offset)) -> Reads {
        let topic = &self.topics[at];
        self.disk.take_reads();
        let found = self.live.find(topic.id, Wanted::Time { append_us, from, end });
        let reads = self.disk.take_reads();
        let Ok(Found::Offset(found)) = found else { panic!("seed {}: time {append_us}: {found:?}", self.seed) };
        // As the node does: the journal may find a record that has been trimmed.
        let found = found.max(topic.first);
        let expected = topic.find_time(append_us, (from, end));
        assert_eq!(found, expected, "seed {}: {} at {append_us}", self.seed, topic.name);
        let blocks = self.topics.iter().flat_map(|topic| topic.batches.last());
        let last = blocks.map(|(filed, _)| filed.place.segment).max().unwrap_or(0);
        let index = (0..=last).map(|segment| self.index_reads(segment, 2)).max_by_key(|index| index.count).unwrap();
        assert!(reads.count <= index.count && reads.bytes <= index.bytes, "{reads:?}, {index:?}");
        self.totals.times += usize::from(topic.first < found && found < topic.next());
        reads
    }

    /// Returns the maximum number of reads and bytes that are needed to find `blocks` blocks of a topic in the index of
    /// a segment.
    fn index_reads(&self, segment: u32, blocks: usize) -> Reads {
        let entries: usize = self.topics.iter().map(|topic| topic.blocks(segment)).sum();
        let steps = (usize::BITS - entries.leading_zeros()) as usize;
        let bytes = 32 + (steps + blocks) * INDEX_ENTRY + blocks * INDEX_BLOCK_BATCHES * INDEX_BATCH_MAX;
        Reads { count: 1 + steps + 2 * blocks, bytes }
    }
}

/// Runs a node on one disk, and looks up records and times after each step.
fn run(seed: u64, totals: Totals) -> Totals {
    let segment_bytes = SEGMENT * [1, 1, 4][usize::try_from(seed % 3).unwrap()];
    let mut world = World::new(seed, segment_bytes);
    world.totals = totals;
    for _ in 0..world.rng.usize(20..100) {
        world.step();
        world.ask();
    }
    world.totals
}

#[test]
fn all_lookups_find_what_was_published() {
    let (start, count) = (number("JOURNAL_START").unwrap_or(1), number("JOURNAL_SEEDS").unwrap_or(SEEDS));
    let totals = (start..start + count).fold(Totals::default(), |totals, seed| run(seed, totals));
    println!("{count} seeds, {totals:?}");
    let Totals { batches, from_files, trimmed, gone, by_times, times, restarts, jumps } = totals;
    let seen = [batches / 100, from_files, trimmed, gone, by_times * 10, times, restarts, jumps * 2];
    assert!(count < SEEDS || seen.iter().all(|seen| *seen > 100), "{totals:?}");
}

/// A lookup reads a few entries of the index, by bisection, and then one block.
#[test]
fn a_record_among_thousands_of_batches_is_found_with_few_short_reads() {
    let mut world = World::new(1, 2 << 20);
    world.ticks = 3;
    let (hot, rare) = (world.open(0, 0), world.open(1, 0));
    for _ in 0..40 {
        world.publish(hot, 400);
        world.publish(rare, 1);
    }
    let last = world.topics[hot].batches.last().unwrap().0;
    assert_eq!((last.place.segment, world.topics[hot].batches.len()), (1, 16_000), "all in one segment");
    // A start begins another segment. After a checkpoint there, the index of the former segment is only in its file.
    (world.live, ..) = Live::start_with(&world.disk, false, SEGMENT).unwrap();
    world.publish(rare, 1);
    world.live.checkpoint().unwrap();
    for _ in 0..500 {
        let at = if world.rng.u8(..10) > 0 { hot } else { rare };
        let from = world.rng.u64(..world.topics[at].next().0 - 1);
        let reads = world.ask_records(at, Offset(from), 1, 1);
        assert!((4..=14).contains(&reads.count) && reads.bytes < 8000, "{reads:?}");
        let time = world.topics[at].time_of(from).unwrap();
        let reads = world.ask_time(at, time, world.topics[at].stretch(0));
        assert!((4..=13).contains(&reads.count) && reads.bytes < 5000, "{reads:?}");
    }
    // A long read reads only the blocks that contain its batches, and reads adjacent records together.
    let reads = world.ask_records(hot, Offset(0), 100_000, u32::MAX);
    assert!(reads.bytes < 200_000 && reads.count < 60, "{reads:?}");
}

/// A read may wait for the disk so long that retention meanwhile removes the records and their segment.
#[test]
fn records_that_are_removed_with_their_segment_during_a_read_are_not_reported_as_damaged() {
    let mut world = World::new(1, SEGMENT);
    let at = world.open(0, 5);
    let first = world.live.segment();
    while world.live.segment() < first + 2 {
        world.publish(at, 10);
    }
    let Topic { id, first, .. } = world.topics[at];
    let find = |from| world.live.find(id, Wanted::Records { from: Offset(from), max_bytes: 1, max_records: 1 });
    assert!(matches!(find(0), Ok(Found::Batches(found)) if found.is_empty()), "it was removed");
    for from in 0..world.topics[at].next().0 {
        let Ok(Found::Batches(found)) = find(from) else {
            panic!("{from} is reported as damaged, first offset {first}")
        };
        assert!(!found.is_empty() || from < first.0, "{from} is kept");
    }
}
