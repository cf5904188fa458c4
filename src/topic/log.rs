//! The log of one topic in memory: chunks in the order of their offsets.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::FETCH_RUNS_MAX;
use crate::record::chunk_cost;
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

/// What was appended in one go: one allocation, one checksum, one time.
#[derive(Debug)]
struct Chunk {
    base: Offset,
    append_us: u64,
    count: u32,
    crc: u32,
    payload: Bytes,
}

impl Chunk {
    const fn end(&self) -> Offset {
        self.base.plus(self.count as u64)
    }
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
        self.bytes += payload.len() as u64;
        self.cost += chunk_cost(payload.len());
        self.next = base.plus(u64::from(count));
        self.chunks.push_back(Chunk { base, append_us, count, crc, payload });
        (base, append_us)
    }

    /// Reads from `start` on, which is clamped to what is kept: at least one record if there is one, then as many as
    /// lie within both bounds.
    pub fn read(&self, start: Offset, max_bytes: usize, max_records: u32) -> Read {
        let start = start.clamp(self.first, self.next);
        let mut read = Read { base: start, count: 0, runs: Vec::new(), payload: Payload::default() };
        let mut bytes = 0;
        for chunk in self.chunks.range(self.chunk_with(start)..) {
            let skip = u32::try_from(start.0.saturating_sub(chunk.base.0)).expect("start lies in the first chunk");
            let part = if skip == 0 {
                chunk.payload.clone()
            } else {
                chunk.payload.slice(records::prefix_len(&chunk.payload, skip)..)
            };
            let (mut count, mut len) = records::fit(&part, max_bytes - bytes, max_records - read.count);
            if count == 0 && read.count == 0 {
                (count, len) = (1, records::prefix_len(&part, 1));
            }
            let is_whole = len == part.len();
            if count == 0 || !push_run(&mut read.runs, Run { count, append_us: chunk.append_us }) {
                break;
            }
            // One whole chunk alone keeps its producer's checksum; anything else is hashed when it is sent.
            read.payload.crc = (read.count == 0 && skip == 0 && is_whole).then_some(chunk.crc);
            read.payload.parts.push(part.slice(..len));
            read.count += count;
            bytes += len;
            if !is_whole || bytes >= max_bytes || read.count >= max_records {
                break;
            }
        }
        read
    }

    /// The first record that was appended at or after a time, or the end.
    pub fn find_time(&self, append_us: u64) -> Offset {
        let index = self.chunks.partition_point(|chunk| chunk.append_us < append_us);
        self.chunks.get(index).map_or(self.next, |chunk| chunk.base.max(self.first))
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
            let live = oldest.payload.len() as u64 - u64::from(self.trimmed);
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
            self.bytes -= oldest.payload.len() as u64 - u64::from(self.trimmed);
            self.cost -= chunk_cost(oldest.payload.len());
            self.first = oldest.end();
            self.trimmed = 0;
            self.chunks.pop_front();
        }
        if let Some(oldest) = self.chunks.front()
            && first > self.first
        {
            let skip = u32::try_from(first.0 - self.first.0).expect("first lies in the oldest chunk");
            let gone = records::prefix_len(&oldest.payload[self.trimmed as usize..], skip);
            self.bytes -= gone as u64;
            self.trimmed += u32::try_from(gone).expect("a chunk is below 4 GiB");
            self.first = first;
        }
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        let mut at = self.chunks.front().map_or(self.next, |chunk| chunk.base);
        assert!(at <= self.first && self.first <= self.next);
        for chunk in &self.chunks {
            assert!(chunk.base == at && chunk.count > 0, "chunks are contiguous and not empty");
            at = chunk.end();
        }
        assert_eq!(at, self.next);
        let bytes: u64 = self.chunks.iter().map(|chunk| chunk.payload.len() as u64).sum();
        assert_eq!(self.bytes, bytes - u64::from(self.trimmed));
        assert_eq!(self.cost, self.chunks.iter().map(|chunk| chunk_cost(chunk.payload.len())).sum::<u64>());
    }

    /// The index of the chunk that holds an offset of the log, or the end.
    fn chunk_with(&self, offset: Offset) -> usize {
        self.chunks.partition_point(|chunk| chunk.end() <= offset)
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
    fn only_a_whole_chunk_keeps_its_checksum() {
        let log = log(&[&["a", "b"], &["c"]]);
        for (start, records, known) in [(0, 2, true), (2, 1, true), (0, 1, false), (1, 1, false), (0, 3, false)] {
            let payload = log.read(Offset(start), usize::MAX, records).payload;
            assert_eq!(payload.crc.is_some(), known, "{records} records from {start}");
            assert!(payload.crc.is_none_or(|crc| crc == crc32(&payload.parts.concat())));
        }
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
