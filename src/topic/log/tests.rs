use super::*;
use crate::limits::{MARK_BYTES_MAX, MARKS_PER_BOUND, MERGE_BYTES_MAX};
use crate::types::crc32;
use crate::wire::records::{self, Record};

const ALL: Retention = Retention { records: 0, bytes: 0, age_ms: 0 };

fn batch(values: &[&[u8]]) -> (Bytes, (u32, u32)) {
    let mut payload = Vec::new();
    values.iter().for_each(|value| Record { value, ..Record::default() }.encode(&mut payload).unwrap());
    let of_batch = (u32::try_from(values.len()).unwrap(), crc32(&payload));
    (payload.into(), of_batch)
}

/// A log of batches, each with these values, appended at 10, 20, 30 …
fn log(batches: &[&[&str]], retention: &Retention) -> TopicLog {
    let mut log = TopicLog::default();
    for (index, values) in batches.iter().enumerate() {
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        let (payload, of_batch) = batch(&values);
        log.append(payload, of_batch, 10 * (index as u64 + 1), retention);
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
    let log = log(&[&["a", "b", "c"], &["d"], &["e", "f"]], &ALL);
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
        let read = log.read(Offset(start), max_bytes, max_records).unwrap();
        assert_eq!((read.base, values(&read).as_str()), (Offset(base), expected), "from {start}");
        assert_eq!(read.count as usize, expected.len());
    }
}

#[test]
fn only_a_whole_batch_alone_keeps_its_checksum() {
    let large = "x".repeat(MERGE_BYTES_MAX);
    let log = log(&[&["a", "b"], &["c"], &[&large, "d"], &[&large]], &ALL);
    for (start, records, known) in
        [(0, 2, false), (2, 1, false), (3, 2, true), (4, 1, false), (3, 1, false), (3, 3, false), (5, 1, true)]
    {
        let payload = log.read(Offset(start), usize::MAX, records).unwrap().payload;
        assert_eq!(payload.crc.is_some(), known, "{records} records from {start}");
        assert!(payload.crc.is_none_or(|crc| crc == crc32(&payload.parts.concat())));
    }
}

#[test]
fn small_batches_share_a_chunk_and_cost_little_beside_their_bytes() {
    let batches: Vec<&[&str]> = vec![&["a record of thirty-two bytes ..."]; 10_000];
    let log = log(&batches, &ALL);
    assert!(log.cost() < log.bytes() * 3 / 2 + 1000, "{} for {}", log.cost(), log.bytes());
}

#[test]
fn a_topic_that_keeps_one_record_holds_the_bytes_of_few() {
    let mut log = TopicLog::default();
    for time in 0..10_000 {
        log.append(Bytes::from(vec![0, 0, 0, 3, 0, 1, 2]), (1, 0), time, &Retention { records: 1, ..ALL });
        log.check();
        assert!(log.cost() < 500, "{} after {time}", log.cost());
    }
}

/// A log beside the list of records that it is.
struct Pair {
    log: TopicLog,
    /// Each with when it was appended.
    list: Vec<(Vec<u8>, u64)>,
    retention: Retention,
    now: u64,
}

impl Pair {
    fn append(&mut self, size: usize, rng: &mut fastrand::Rng) {
        let records: Vec<Vec<u8>> =
            (0..rng.usize(1..4)).map(|_| (0..rng.usize(1..=size)).map(|_| rng.u8(..)).collect()).collect();
        let (payload, of_batch) = batch(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (before, most) = (self.log.first(), self.log.cost() + chunk_cost(payload.len()));
        self.log.append(payload, of_batch, self.now, &self.retention);
        assert!(self.log.cost() <= most, "{} bytes of memory, {most} were foreseen", self.log.cost());
        self.list.extend(records.into_iter().map(|value| (value, self.now)));
        self.check_retention(before, of_batch.0 as usize);
    }

    /// What is beyond a bound is gone, and not much more.
    fn check_retention(&self, before: Offset, newest: usize) {
        let Retention { records, bytes, .. } = self.retention;
        let kept = self.list.len() - self.first();
        assert!(kept > 0 && (records == 0 || kept as u64 <= records));
        let exact: u64 = self.list[self.first()..].iter().map(|(value, _)| value.len() as u64 + 5).sum();
        assert!(bytes == 0 || self.log.bytes() <= bytes || kept <= newest, "{} of {bytes}", self.log.bytes());
        // Sizes differ within a mark, and the newest mark may be one batch.
        let grain = if bytes == 0 { MARK_BYTES_MAX } else { bytes / MARKS_PER_BOUND };
        assert!(self.log.bytes().abs_diff(exact) <= grain + 3 * 6005, "{exact}");
        let is_by_size = self.log.first() > before && (records == 0 || kept as u64 != records);
        assert!(!is_by_size || exact + grain + 2 * 3 * 6005 > bytes);
    }

    fn first(&self) -> usize {
        usize::try_from(self.log.first().0).unwrap()
    }

    /// Whatever is asked is answered by the list, or not held.
    fn ask(&self, rng: &mut fastrand::Rng) {
        let start = rng.usize(..self.list.len() + 2);
        let (max_bytes, max_records) = (rng.usize(1..20_000), rng.u32(1..100));
        let base = start.clamp(self.first(), self.list.len());
        match self.log.read(Offset(start as u64), max_bytes, max_records) {
            Ok(read) => {
                assert_eq!(read.base, Offset(base as u64));
                assert!(read.count > 0 || base == self.list.len());
                assert!(read.count <= max_records && (read.count == 1 || read.payload.len() <= max_bytes));
                assert_eq!(seen(&read), self.list[base..base + read.count as usize]);
            }
            Err(NotHeld) => assert!((base as u64) < self.log.held().0),
        }
        let time = rng.u64(..self.now + 10);
        let at = |time: u64| self.list.iter().position(|(_, at)| *at >= time).unwrap_or(self.list.len());
        match self.log.find_time(time) {
            Ok(offset) => assert_eq!(offset, Offset(at(time).max(self.first()) as u64)),
            Err(NotHeld) => assert!(self.log.first() < self.log.held() && (at(time) as u64) < self.log.held().0),
        }
        let cut = usize::try_from(self.log.age_cut(time).0).unwrap();
        assert!((self.first()..=at(time).max(self.first())).contains(&cut), "nothing is removed too early");
    }
}

/// Values and times of what was read.
fn seen(read: &Read) -> Vec<(Vec<u8>, u64)> {
    let payload = read.payload.parts.concat();
    assert!(read.payload.crc.is_none_or(|crc| crc == crc32(&payload)));
    let times = read.runs.iter().flat_map(|run| std::iter::repeat_n(run.append_us, run.count as usize));
    records::iter(&payload).map(|record| record.unwrap().value.to_vec()).zip(times).collect()
}

/// Whatever is appended, trimmed, given up and read.
#[test]
fn a_log_reads_as_the_list_of_records_that_it_is() {
    let mut not_held = 0;
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let records = [0, 1, 7, 300][rng.usize(..4)];
        let retention = Retention { records, bytes: [0, 100, 5000, 100_000][rng.usize(..4)], age_ms: rng.u64(..3) };
        let mut pair = Pair { log: TopicLog::default(), list: Vec::new(), retention, now: 1 };
        for _ in 0..rng.usize(1..200) {
            match rng.u8(..10) {
                0 => pair.log.trim(Offset(rng.usize(pair.first()..=pair.list.len()) as u64)),
                1 => {
                    pair.log.evict();
                    not_held += usize::from(pair.log.first() < pair.log.held());
                }
                2 => {
                    let mut image = Vec::new();
                    pair.log.encode(&mut image);
                    let again = TopicLog::decode(&mut &image[..]).unwrap();
                    again.check();
                    assert_eq!((again.first(), again.next()), (pair.log.first(), pair.log.next()));
                    assert_eq!((again.held(), again.bytes()), (pair.log.next(), pair.log.bytes()));
                    if rng.bool() {
                        pair.log = again;
                    }
                }
                _ => {
                    pair.now += rng.u64(..2) * rng.u64(..1000);
                    let size = *[1, 10, 100, 3000, 6000].get(rng.usize(..5)).unwrap();
                    pair.append(size, &mut rng);
                }
            }
            pair.log.check();
            pair.ask(&mut rng);
        }
    }
    assert!(not_held > 1000, "{not_held}");
}

#[test]
fn retention_removes_from_the_start_and_never_the_newest_batch() {
    // Each record is 6 bytes: size, attributes, one byte of value.
    for (records, bytes, first) in [(0, 0, 0), (4, 0, 2), (1, 0, 5), (9, 18, 3), (9, 17, 4), (9, 1, 4)] {
        let log = log(&[&["a", "b", "c"], &["d"], &["e", "f"]], &Retention { records, bytes, age_ms: 0 });
        assert_eq!((log.first(), log.next()), (Offset(first), Offset(6)), "{records} {bytes}");
        let read = log.read(Offset(0), usize::MAX, 9).unwrap();
        assert_eq!(values(&read), "abcdef"[usize::try_from(first).unwrap()..]);
        assert_eq!(log.bytes(), 6 * (6 - first));
    }
}

#[test]
fn a_log_remembers_little_however_many_records_it_has() {
    let value = [7; 64];
    let (payload, of_batch) = batch(&[&value]);
    let bounds = [(0, 1 << 20, 0), (10_000, 0, 0), (0, 0, 10), (10_000, 1 << 20, 10)];
    for (records, bytes, age_ms) in bounds {
        let (mut log, retention) = (TopicLog::default(), Retention { records, bytes, age_ms });
        for time in 0..40_000 {
            log.append(payload.clone(), of_batch, time, &retention);
            if age_ms > 0 {
                log.trim(log.age_cut(time.saturating_sub(age_ms * 1000)));
            }
            while log.chunks() > 1 {
                log.evict();
            }
        }
        log.check();
        let kept = log.next().0 - log.first().0;
        assert!(log.cost() < 25_000 + 70 * 3 * 32 * 5 / 4, "{} bytes for {kept} records", log.cost());
        let least = [10_000, (1 << 20) / 69, 10_000].into_iter().zip([records, bytes, age_ms]);
        let least = least.filter(|(_, bound)| *bound > 0).map(|(least, _)| least).min().unwrap();
        assert!(kept >= least * 63 / 64 && kept <= least * 65 / 64 + 1, "{kept} of {least}");
    }
}

#[test]
fn times_are_found_and_never_go_back() {
    let mut log = log(&[&["a", "b"], &["c"]], &ALL);
    assert_eq!(log.append(Bytes::from_static(b"\0\0\0\x01\0"), (1, 0), 5, &ALL), (Offset(3), 20));
    for (time, offset) in [(0, 0), (10, 0), (11, 2), (20, 2), (21, 4)] {
        assert_eq!(log.find_time(time), Ok(Offset(offset)), "{time}");
    }
    log.trim(Offset(1));
    assert_eq!(log.find_time(0), Ok(Offset(1)));
    log.evict();
    for (time, offset) in [(0, Err(NotHeld)), (20, Err(NotHeld)), (21, Ok(Offset(4)))] {
        assert_eq!(log.find_time(time), offset, "{time}");
    }
}

#[test]
fn a_response_has_no_more_runs_than_fit() {
    let mut log = TopicLog::default();
    for time in 0..=FETCH_RUNS_MAX as u64 {
        log.append(Bytes::from_static(b"\0\0\0\x01\0"), (1, 0), time, &ALL);
    }
    let read = log.read(Offset(0), usize::MAX, u32::MAX).unwrap();
    assert_eq!((read.count as usize, read.runs.len()), (FETCH_RUNS_MAX, FETCH_RUNS_MAX));
}
