//! The log of one topic in memory: chunks in the order of their offsets.
//!
//! A large batch is a chunk of its own, in the buffer that it came in. Small ones are copied behind each other into
//! one chunk, so that a record costs its bytes and not an allocation; such a chunk remembers the times of its parts.

mod chunk;

use std::collections::VecDeque;

use bytes::Bytes;

use chunk::Chunk;
pub use chunk::chunk_cost;

use crate::limits::FETCH_RUNS_MAX;
use crate::record::Malformed;
use crate::types::Offset;
use crate::wire::records;
use crate::wire::response::{Payload, Run};

/// Records with consecutive offsets, trimmed at its start and appended to at its end.
///
/// Invariant: chunks are contiguous and none is empty; `first` lies in the oldest chunk, or is `next` when there is
/// none.
#[derive(Debug, Default)]
pub struct TopicLog {
    chunks: VecDeque<Chunk>,
    first: Offset,
    next: Offset,
    /// Bytes of the records from `first` on.
    bytes: u64,
    /// What the chunks take of the node's memory.
    cost: u64,
    /// Bytes of the oldest chunk that lie before `first`.
    trimmed: u32,
    last_append_us: u64,
}

/// Records read from a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// Of the first record.
    pub base: Offset,
    /// How many.
    pub count: u32,
    /// Their append times.
    pub runs: Vec<Run>,
    /// The records.
    pub payload: Payload,
}

impl TopicLog {
    /// The first record that is kept.
    pub const fn first(&self) -> Offset {
        self.first
    }

    /// Behind the last record.
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// Bytes of the records that are kept.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the log takes of the node's memory, in bytes.
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// Appends a batch whose records were checked; gives its first offset and the time that was noted. Times never
    /// go back within a topic, so that one can be looked up.
    pub fn append(&mut self, payload: Bytes, count: u32, crc: u32, append_us: u64) -> (Offset, u64) {
        assert!(count > 0, "a batch has a record");
        let base = self.next;
        let append_us = append_us.max(self.last_append_us);
        self.last_append_us = append_us;
        self.next = base.plus(u64::from(count));
        self.push(base, payload, count, crc, append_us);
        (base, append_us)
    }

    /// The log as a checkpoint has it, whose records are still to be given to [`Self::restore`].
    pub(super) fn resumed(first: Offset, next: Offset, last_append_us: u64) -> Self {
        Self { first, next, last_append_us, ..Self::default() }
    }

    /// Gives a batch, so many records with that checksum, back to a log that was resumed. Whether any of its records
    /// are kept.
    ///
    /// # Errors
    /// [`Malformed`] when it does not lie behind the one before.
    pub fn restore(
        &mut self,
        base: Offset,
        payload: Bytes,
        (count, crc): (u32, u32),
        append_us: u64,
    ) -> Result<bool, Malformed> {
        let end = base.plus(count.into());
        if end <= self.first {
            return Ok(false);
        }
        let is_next = self.chunks.back().map_or(base <= self.first, |last| last.end() == base);
        if !is_next || end > self.next || records::check(&payload, count).is_err() {
            return Err(Malformed);
        }
        let before = u32::try_from(self.first.0.saturating_sub(base.0)).map_err(|_| Malformed)?;
        let trimmed = records::prefix_len(&payload, before);
        // A small piece must not keep the whole segment that it was read with.
        let payload = Bytes::copy_from_slice(&payload);
        self.push(base, payload, count, crc, append_us);
        self.bytes -= trimmed as u64;
        self.trimmed += u32::try_from(trimmed).map_err(|_| Malformed)?;
        Ok(true)
    }

    /// Has a log that was resumed all its records back?
    pub fn is_whole(&self) -> bool {
        self.chunks.back().map_or(self.first, Chunk::end) == self.next
    }

    /// The newest time that was noted.
    pub(super) const fn last_append_us(&self) -> u64 {
        self.last_append_us
    }

    /// Puts a batch behind the last one.
    fn push(&mut self, base: Offset, payload: Bytes, count: u32, crc: u32, append_us: u64) {
        self.bytes += payload.len() as u64;
        let is_only = self.chunks.len() == 1;
        if let Some(last) = self.chunks.back_mut() {
            // A chunk is given back as a whole: one that is mostly trimmed is not to grow for ever.
            let is_live = !is_only || self.trimmed as usize <= last.len() / 2;
            self.cost -= last.cost();
            let is_taken = last.merge(&payload, count, append_us, is_live);
            self.cost += last.cost();
            if is_taken {
                return;
            }
        }
        let chunk = Chunk::new(base, payload, count, crc, append_us);
        self.cost += chunk.cost();
        self.chunks.push_back(chunk);
    }

    /// Reads from `start` on, which is clamped to what is kept: at least one record if there is one, then as many as
    /// lie within both bounds.
    pub fn read(&self, start: Offset, max_bytes: usize, max_records: u32) -> Read {
        let start = start.clamp(self.first, self.next);
        let mut read = Read { base: start, count: 0, runs: Vec::new(), payload: Payload::default() };
        let mut bytes = 0;
        for chunk in self.chunks.range(self.chunk_with(start)..) {
            let skip = u32::try_from(start.0.saturating_sub(chunk.base().0)).expect("start lies in the first chunk");
            let mut piece = chunk.piece(skip, max_bytes - bytes, max_records - read.count);
            if piece.count == 0 && read.count == 0 {
                piece = chunk.piece(skip, usize::MAX, 1);
            }
            let is_rest = skip + piece.count == chunk.count();
            let before = read.count;
            for run in chunk.runs(skip, piece.count) {
                if !push_run(&mut read.runs, run) {
                    break;
                }
                read.count += run.count;
            }
            let taken = read.count - before;
            if taken < piece.count {
                piece = chunk.piece(skip, usize::MAX, taken);
            }
            if taken == 0 {
                break;
            }
            // One whole batch alone keeps its producer's checksum; anything else is hashed when it is sent.
            read.payload.crc = if before == 0 && skip == 0 && is_rest { chunk.crc() } else { None };
            bytes += piece.bytes.len();
            read.payload.parts.push(chunk.share(piece.bytes));
            if !is_rest || skip + taken < chunk.count() || bytes >= max_bytes || read.count >= max_records {
                break;
            }
        }
        read
    }

    /// The first record that was appended at or after a time, or the end.
    pub fn find_time(&self, append_us: u64) -> Offset {
        let index = self.chunks.partition_point(|chunk| chunk.last_us() < append_us);
        self.chunks.get(index).map_or(self.next, |chunk| chunk.find_time(append_us).max(self.first))
    }

    /// Where the log would start if it kept nothing that was appended before a time.
    pub fn age_cut(&self, oldest_us: u64) -> Offset {
        self.find_time(oldest_us)
    }

    /// Removes records from the start until at most so many records and bytes are left, but never the last one.
    pub fn retain(&mut self, max_records: u64, max_bytes: u64) {
        let kept = self.next.0 - self.first.0;
        if kept > max_records {
            self.trim(Offset(self.next.0 - max_records.max(1)));
        }
        while self.bytes > max_bytes && self.next.0 - self.first.0 > 1 {
            let oldest = self.chunks.front().expect("there are records");
            let is_last = self.chunks.len() == 1;
            let live = oldest.len() as u64 - u64::from(self.trimmed);
            if !is_last && self.bytes - live >= max_bytes {
                self.trim(oldest.end());
            } else {
                self.trim(self.first.plus(1));
            }
        }
    }

    /// Removes the records before `first`; what lies beyond the end is not touched.
    pub fn trim(&mut self, first: Offset) {
        let first = first.clamp(self.first, self.next);
        while let Some(oldest) = self.chunks.front()
            && oldest.end() <= first
        {
            self.bytes -= oldest.len() as u64 - u64::from(self.trimmed);
            self.cost -= oldest.cost();
            self.first = oldest.end();
            self.trimmed = 0;
            self.chunks.pop_front();
        }
        if let Some(oldest) = self.chunks.front()
            && first > self.first
        {
            // From where it was trimmed to: a full log is trimmed with each record.
            let skip = u32::try_from(first.0 - self.first.0).expect("first lies in the oldest chunk");
            let gone = oldest.prefix_len(self.trimmed as usize, skip);
            self.bytes -= gone as u64;
            self.trimmed += u32::try_from(gone).expect("a chunk is below 4 GiB");
            self.first = first;
        }
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        let mut at = self.chunks.front().map_or(self.next, Chunk::base);
        assert!(at <= self.first && self.first <= self.next);
        for chunk in &self.chunks {
            chunk.check();
            assert!(chunk.base() == at, "chunks are contiguous");
            at = chunk.end();
        }
        assert_eq!(at, self.next);
        let bytes: u64 = self.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        assert_eq!(self.bytes, bytes - u64::from(self.trimmed));
        assert_eq!(self.cost, self.chunks.iter().map(Chunk::cost).sum::<u64>());
    }

    /// The index of the chunk that holds an offset of the log, or the end.
    fn chunk_with(&self, offset: Offset) -> usize {
        // Most reads are of the newest records.
        match self.chunks.back() {
            Some(last) if last.base() <= offset && offset < last.end() => self.chunks.len() - 1,
            _ => self.chunks.partition_point(|chunk| chunk.end() <= offset),
        }
    }
}

/// Adds a run, merged with the last one of the same time; `false` when the response has no room for it.
fn push_run(runs: &mut Vec<Run>, run: Run) -> bool {
    if let Some(last) = runs.last_mut()
        && last.append_us == run.append_us
    {
        last.count += run.count;
        return true;
    }
    let has_room = runs.len() < FETCH_RUNS_MAX;
    if has_room {
        runs.push(run);
    }
    has_room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MERGE_BYTES_MAX;
    use crate::types::crc32;
    use crate::wire::records::Record;

    /// A log of batches, each with these values, appended at 10, 20, 30 …
    fn log(batches: &[&[&str]]) -> TopicLog {
        let mut log = TopicLog::default();
        for (index, values) in batches.iter().enumerate() {
            let mut payload = Vec::new();
            for value in *values {
                Record { value: value.as_bytes(), ..Record::default() }.encode(&mut payload).unwrap();
            }
            let crc = crc32(&payload);
            log.append(payload.into(), u32::try_from(values.len()).unwrap(), crc, 10 * (index as u64 + 1));
            log.check();
        }
        log
    }

    fn values(read: &Read) -> String {
        let payload: Vec<u8> = read.payload.parts.concat();
        records::check(&payload, read.count.max(1)).unwrap_or_else(|_| assert_eq!(read.count, 0));
        records::iter(&payload).map(|record| String::from_utf8_lossy(record.unwrap().value).into_owned()).collect()
    }

    #[test]
    fn reading_starts_exactly_at_the_record_asked_for() {
        let log = log(&[&["a", "b", "c"], &["d"], &["e", "f"]]);
        let all = usize::MAX;
        let cases = [
            (0, all, u32::MAX, 0, "abcdef"),
            (1, all, u32::MAX, 1, "bcdef"),
            (3, all, u32::MAX, 3, "def"),
            (5, all, u32::MAX, 5, "f"),
            (6, all, u32::MAX, 6, ""),
            (9, all, u32::MAX, 6, ""),
            (1, all, 3, 1, "bcd"),
            (1, 1, u32::MAX, 1, "b"),
            (0, 18, u32::MAX, 0, "abc"),
            (0, 23, u32::MAX, 0, "abc"),
            (0, 24, u32::MAX, 0, "abcd"),
        ];
        for (start, max_bytes, max_records, base, expected) in cases {
            let read = log.read(Offset(start), max_bytes, max_records);
            assert_eq!((read.base, values(&read).as_str()), (Offset(base), expected), "from {start}");
            assert_eq!(read.count as usize, expected.len());
        }
    }

    #[test]
    fn only_a_whole_batch_alone_keeps_its_checksum() {
        let large = "x".repeat(MERGE_BYTES_MAX);
        let log = log(&[&["a", "b"], &["c"], &[&large, "d"], &[&large]]);
        for (start, records, known) in
            [(0, 2, false), (2, 1, false), (3, 2, true), (4, 1, false), (3, 1, false), (3, 3, false), (5, 1, true)]
        {
            let payload = log.read(Offset(start), usize::MAX, records).payload;
            assert_eq!(payload.crc.is_some(), known, "{records} records from {start}");
            assert!(payload.crc.is_none_or(|crc| crc == crc32(&payload.parts.concat())));
        }
    }

    #[test]
    fn small_batches_share_a_chunk_and_cost_little_beside_their_bytes() {
        let batches: Vec<&[&str]> = vec![&["a record of thirty-two bytes ..."]; 10_000];
        let log = log(&batches);
        assert!(log.cost() < log.bytes() * 3 / 2 + 1000, "{} for {}", log.cost(), log.bytes());
    }

    #[test]
    fn a_topic_that_keeps_one_record_holds_the_bytes_of_few() {
        let mut log = TopicLog::default();
        for time in 0..10_000 {
            log.append(Bytes::from(vec![0, 0, 0, 3, 0, 1, 2]), 1, 0, time);
            log.retain(1, u64::MAX);
            log.check();
            assert!(log.cost() < 400, "{} after {time}", log.cost());
        }
    }

    /// Whatever is appended, trimmed and read: the log is a list of records with their times.
    #[test]
    fn a_log_reads_as_the_list_of_records_that_it_is() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut log, mut list, mut first, mut now) = (TopicLog::default(), Vec::new(), 0, 1);
            for _ in 0..rng.usize(1..200) {
                match rng.u8(..10) {
                    0 => {
                        first = rng.usize(first..=list.len());
                        log.trim(Offset(first as u64));
                    }
                    1 => {
                        let (records, bytes) = (rng.u64(1..300), rng.u64(1..100_000));
                        log.retain(records, bytes);
                        first = usize::try_from(log.first().0).unwrap();
                        assert!(list.len() - first <= usize::try_from(records).unwrap());
                        assert!(log.bytes() <= bytes || list.len() - first == 1);
                    }
                    _ => {
                        now += rng.u64(..2) * rng.u64(..1000);
                        let size = *[1, 10, 100, 3000, 6000].get(rng.usize(..5)).unwrap();
                        append(&mut log, &mut list, size, now, &mut rng);
                    }
                }
                log.check();
                let start = rng.usize(..list.len() + 2);
                let (max_bytes, max_records) = (rng.usize(1..20_000), rng.u32(1..100));
                let read = log.read(Offset(start as u64), max_bytes, max_records);
                let base = start.clamp(first, list.len());
                assert_eq!(read.base, Offset(base as u64), "seed {seed}");
                assert!(read.count > 0 || base == list.len());
                assert!(read.count <= max_records && (read.count == 1 || read.payload.len() <= max_bytes));
                assert_eq!(seen(&read), list[base..base + read.count as usize], "seed {seed}");
                let time = rng.u64(..now + 10);
                let found = list.iter().position(|(_, at)| *at >= time).unwrap_or(list.len()).max(first);
                assert_eq!(log.find_time(time), Offset(found as u64), "seed {seed}");
            }
        }
    }

    fn append(log: &mut TopicLog, list: &mut Vec<(Vec<u8>, u64)>, size: usize, now: u64, rng: &mut fastrand::Rng) {
        let count = rng.u32(1..4);
        let mut payload = Vec::new();
        for _ in 0..count {
            let value: Vec<u8> = (0..rng.usize(1..=size)).map(|_| rng.u8(..)).collect();
            Record { value: &value, ..Record::default() }.encode(&mut payload).unwrap();
            list.push((value, now));
        }
        let crc = crc32(&payload);
        log.append(payload.into(), count, crc, now);
    }

    /// Values and times of what was read.
    fn seen(read: &Read) -> Vec<(Vec<u8>, u64)> {
        let payload = read.payload.parts.concat();
        assert!(read.payload.crc.is_none_or(|crc| crc == crc32(&payload)));
        let times = read.runs.iter().flat_map(|run| std::iter::repeat_n(run.append_us, run.count as usize));
        records::iter(&payload).map(|record| record.unwrap().value.to_vec()).zip(times).collect()
    }

    #[test]
    fn retention_removes_from_the_start_and_never_the_last_record() {
        // Each record is 6 bytes: size, attributes, one byte of value.
        let cases = [(u64::MAX, u64::MAX, 0), (4, u64::MAX, 2), (0, u64::MAX, 5), (9, 18, 3), (9, 17, 4), (9, 0, 5)];
        for (max_records, max_bytes, first) in cases {
            let mut log = log(&[&["a", "b", "c"], &["d"], &["e", "f"]]);
            log.retain(max_records, max_bytes);
            log.check();
            assert_eq!((log.first(), log.next()), (Offset(first), Offset(6)), "{max_records} {max_bytes}");
            assert_eq!(values(&log.read(Offset(0), usize::MAX, 9)), "abcdef"[usize::try_from(first).unwrap()..]);
            assert_eq!(log.bytes(), 6 * (6 - first));
        }
    }

    #[test]
    fn times_are_found_and_never_go_back() {
        let mut log = log(&[&["a", "b"], &["c"]]);
        assert_eq!(log.append(Bytes::from_static(b"\0\0\0\x01\0"), 1, 0, 5), (Offset(3), 20));
        for (time, offset) in [(0, 0), (10, 0), (11, 2), (20, 2), (21, 4)] {
            assert_eq!(log.find_time(time), Offset(offset), "{time}");
        }
        log.trim(Offset(1));
        assert_eq!(log.find_time(0), Offset(1));
    }

    #[test]
    fn a_response_has_no_more_runs_than_fit() {
        let mut log = TopicLog::default();
        for time in 0..=FETCH_RUNS_MAX as u64 {
            log.append(Bytes::from_static(b"\0\0\0\x01\0"), 1, 0, time);
        }
        let read = log.read(Offset(0), usize::MAX, u32::MAX);
        assert_eq!((read.count as usize, read.runs.len()), (FETCH_RUNS_MAX, FETCH_RUNS_MAX));
    }
}
