mod index;

use super::*;
use crate::entry::{Jump, Reclock};
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

/// Returns a log of batches with these values, appended at times 10, 20, 30 …
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
fn a_log_that_had_many_chunks_gives_the_memory_of_their_list_back() {
    let large = "x".repeat(MERGE_BYTES_MAX + 1);
    for left in [0, 1, 10, 100, 400] {
        let mut log = TopicLog::default();
        let (payload, of_batch) = batch(&[large.as_bytes()]);
        for time in 0..1000 {
            log.append(payload.clone(), of_batch, time, &ALL);
        }
        if left % 20 == 0 {
            log.trim(Offset(log.next().0 - left));
        } else {
            while log.chunks() as u64 > left {
                log.evict();
            }
        }
        let spare = log.chunks.capacity() - log.chunks();
        assert!(spare <= log.chunks() + 8, "{spare} for {left}");
    }
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

/// Start of time in these tests, far from both ends of the range of times.
const BEGAN_US: u64 = 1 << 40;

/// A log and the list of records that it must be equal to.
struct Pair {
    log: TopicLog,
    /// Each record's value and append time.
    list: Vec<(Vec<u8>, u64)>,
    /// The era of each record.
    eras_of: Vec<usize>,
    retention: Retention,
    now: u64,
    eras: Eras,
    /// The start and the lag of each era.
    clocks: Vec<(i64, i64)>,
}

impl Pair {
    fn append(&mut self, size: usize, rng: &mut fastrand::Rng) {
        let records: Vec<Vec<u8>> =
            (0..rng.usize(1..4)).map(|_| (0..rng.usize(1..=size)).map(|_| rng.u8(..)).collect()).collect();
        let (payload, of_batch) = batch(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (before, most) = (self.log.first(), self.log.cost() + chunk_cost(payload.len()));
        self.log.enter(self.eras.newest());
        let (base, append_us) = self.log.append(payload, of_batch, self.now, &self.retention);
        assert_eq!((base, append_us), (Offset(self.list.len() as u64), self.now));
        assert!(self.log.cost() <= most, "{} bytes of memory, {most} were foreseen", self.log.cost());
        self.list.extend(records.into_iter().map(|value| (value, self.now)));
        self.eras_of.resize(self.list.len(), self.clocks.len() - 1);
        self.check_retention(before, of_batch.0 as usize);
    }

    /// Asserts that retention has removed what exceeds a bound, and not much more.
    fn check_retention(&self, before: Offset, newest: usize) {
        let Retention { records, bytes, .. } = self.retention;
        let kept = self.list.len() - self.first();
        assert!(kept > 0 && (records == 0 || kept as u64 <= records));
        let exact: u64 = self.list[self.first()..].iter().map(|(value, _)| value.len() as u64 + 5).sum();
        assert!(bytes == 0 || self.log.bytes() <= bytes || kept <= newest, "{} of {bytes}", self.log.bytes());
        // Record sizes differ within a mark, and the newest mark may be a single batch.
        let grain = if bytes == 0 { MARK_BYTES_MAX } else { bytes / MARKS_PER_BOUND };
        assert!(self.log.bytes().abs_diff(exact) <= grain + 3 * 6005, "{exact}");
        let is_by_size = self.log.first() > before && (records == 0 || kept as u64 != records);
        assert!(!is_by_size || exact + grain + 2 * 3 * 6005 > bytes);
    }

    /// Lets the clock jump, or the process restart.
    fn reclock(&mut self, rng: &mut fastrand::Rng) {
        let was_us = self.now;
        self.now = BEGAN_US + rng.u64(..20_000);
        let jump = Jump { was_us, since_era: rng.u32(..=u32::try_from(self.clocks.len()).unwrap()) };
        let jump = if rng.u8(..4) == 0 { None } else { Some(jump) };
        self.eras.begin(&Reclock { at_us: self.now, jump });
        let least = self.clocks.iter().map(|(_, lag)| *lag).min().unwrap().min(0);
        for (era, (_, lag)) in self.clocks.iter_mut().enumerate() {
            match jump {
                Some(jump) if era >= jump.since_era as usize => *lag += signed(self.now) - signed(was_us),
                Some(_) => {}
                None => *lag -= least,
            }
        }
        self.clocks.push((signed(self.now), 0));
    }

    /// Returns the corrected time of each record.
    fn corrected(&self) -> Vec<i64> {
        let began = |era: usize| self.clocks[era].0 + self.clocks[era].1;
        let latest = |era: usize| (era + 1..self.clocks.len()).map(began).min().unwrap_or(i64::MAX);
        let times = self.list.iter().zip(&self.eras_of);
        times.map(|((_, append_us), era)| (signed(*append_us) + self.clocks[*era].1).min(latest(*era))).collect()
    }

    fn first(&self) -> usize {
        usize::try_from(self.log.first().0).unwrap()
    }

    /// Asserts that every query is answered as the list answers it, or with `NotHeld`.
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
        self.ask_time(rng);
    }

    fn ask_time(&self, rng: &mut fastrand::Rng) {
        let corrected = self.corrected();
        assert!(corrected.is_sorted());
        let around = corrected.get(rng.usize(..=corrected.len())).map_or(self.now, |time| time.cast_unsigned());
        let time = *[rng.u64(BEGAN_US - 10..self.now + 10), around, around + 1].get(rng.usize(..3)).unwrap();
        let at = corrected.iter().position(|corrected| *corrected >= signed(time)).unwrap_or(self.list.len());
        let expected = at.max(self.first());
        match self.log.find_time(time, &self.eras) {
            Ok(offset) => assert_eq!(offset, Offset(expected as u64)),
            Err(Wanted::Time { append_us, from, end }) => {
                assert!(self.log.first() < self.log.held());
                let range = usize::try_from(from.0).unwrap()..usize::try_from(end.0).unwrap();
                let times = &self.list[range.clone()];
                assert!(times.is_sorted_by_key(|(_, at)| *at));
                let inside = times.iter().position(|(_, at)| *at >= append_us).unwrap_or(times.len());
                assert_eq!((range.start + inside).max(self.first()), expected, "the query to the journal");
            }
            Err(wanted) => panic!("{wanted:?}"),
        }
        let cut = usize::try_from(self.log.age_cut(time, &self.eras).0).unwrap();
        assert!((self.first()..=expected).contains(&cut), "nothing is removed too early");
    }
}

/// Returns the log after encoding and decoding it.
fn decoded(log: &TopicLog, eras: &Eras) -> TopicLog {
    let mut image = Vec::new();
    log.encode(&mut image);
    let mut again = TopicLog::decode(&mut &image[..]).unwrap();
    if log.has_stretches() {
        image.clear();
        log.encode_stretches(&mut image);
        let mut rest = &image[..];
        again.decode_stretches(&mut rest, eras.newest()).unwrap();
        assert!(rest.is_empty());
    }
    again.check();
    again
}

fn signed(time: u64) -> i64 {
    i64::try_from(time).unwrap()
}

/// Returns the values and times of the records read.
fn seen(read: &Read) -> Vec<(Vec<u8>, u64)> {
    let payload = read.payload.parts.concat();
    assert!(read.payload.crc.is_none_or(|crc| crc == crc32(&payload)));
    let times = read.runs.iter().flat_map(|run| std::iter::repeat_n(run.append_us, run.count as usize));
    records::iter(&payload).map(|record| record.unwrap().value.to_vec()).zip(times).collect()
}

/// Compares a log with a list under random appends, trims, evictions and reads.
#[test]
fn a_log_reads_as_the_list_of_records_that_it_is() {
    let mut not_held = 0;
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let records = [0, 1, 7, 300][rng.usize(..4)];
        let retention = Retention { records, bytes: [0, 100, 5000, 100_000][rng.usize(..4)], age_ms: rng.u64(..3) };
        let mut pair = Pair {
            log: TopicLog::default(),
            list: Vec::new(),
            eras_of: Vec::new(),
            retention,
            now: BEGAN_US,
            eras: Eras::default(),
            clocks: vec![(0, 0)],
        };
        let jumps = rng.u8(..3) * 4;
        for _ in 0..rng.usize(1..200) {
            match rng.u8(..10) {
                0 => pair.log.trim(Offset(rng.usize(pair.first()..=pair.list.len()) as u64)),
                1 => {
                    pair.log.evict();
                    not_held += usize::from(pair.log.first() < pair.log.held());
                }
                2 => {
                    let again = decoded(&pair.log, &pair.eras);
                    assert_eq!((again.first(), again.next()), (pair.log.first(), pair.log.next()));
                    assert_eq!((again.held(), again.bytes()), (pair.log.next(), pair.log.bytes()));
                    if rng.bool() {
                        pair.log = again;
                    }
                }
                _ if rng.u8(..100) < jumps && pair.clocks.len() < ERAS_MAX => pair.reclock(&mut rng),
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
    // Each record has 6 bytes: size, attributes, and a value of one byte.
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
                log.trim(log.age_cut(time.saturating_sub(age_ms * 1000), &Eras::default()));
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
fn times_are_found_and_never_decrease_within_an_era() {
    let eras = Eras::default();
    let mut log = log(&[&["a", "b"], &["c"]], &ALL);
    assert_eq!(log.append(Bytes::from_static(b"\0\0\0\x01\0"), (1, 0), 5, &ALL), (Offset(3), 20));
    for (time, offset) in [(0, 0), (10, 0), (11, 2), (20, 2), (21, 4)] {
        assert_eq!(log.find_time(time, &eras), Ok(Offset(offset)), "{time}");
    }
    log.trim(Offset(1));
    assert_eq!(log.find_time(0, &eras), Ok(Offset(1)));
    log.evict();
    let wanted = |append_us| Err(Wanted::Time { append_us, from: Offset(0), end: Offset(4) });
    for (time, expected) in [(0, wanted(0)), (20, wanted(20)), (21, Ok(Offset(4)))] {
        assert_eq!(log.find_time(time, &eras), expected, "{time}");
    }
}

/// Each case: the append times of each era, the changes of the clock, and the expected results of searches by time.
#[test]
fn a_time_is_found_across_corrections_of_the_clock() {
    type Case = (&'static str, &'static [&'static [u64]], Vec<Reclock>, &'static [(u64, u64)]);
    const fn jumped(was_us: u64, at_us: u64) -> Reclock {
        Reclock { at_us, jump: Some(Jump { was_us, since_era: 0 }) }
    }
    const fn started(at_us: u64) -> Reclock {
        Reclock { at_us, jump: None }
    }
    let cases: [Case; 7] = [
        (
            "ahead, and right again",
            &[&[100, 110], &[1115, 1120], &[125, 130]],
            vec![jumped(111, 1111), jumped(1122, 122)],
            &[(0, 0), (101, 1), (111, 2), (115, 2), (116, 3), (121, 4), (125, 4), (126, 5), (131, 6), (1115, 6)],
        ),
        (
            "at 1970 until a time server answers",
            &[&[5, 10], &[1015]],
            vec![jumped(12, 1012)],
            &[(0, 0), (6, 0), (1005, 0), (1006, 1), (1011, 2), (1015, 2), (1016, 3)],
        ),
        (
            "poisoned by a clock that ran ahead before the start",
            &[&[100, 1115, 1120], &[130]],
            vec![started(125)],
            &[(100, 0), (101, 1), (125, 1), (126, 3), (130, 3), (131, 4), (1115, 4)],
        ),
        (
            "behind, and right after a start: nothing tells which, so all count as the younger",
            &[&[1000], &[5], &[1020]],
            vec![jumped(1003, 3), started(1015)],
            &[(1000, 0), (1001, 1), (1005, 1), (1006, 2), (1020, 2), (1021, 3)],
        ),
        (
            "an era without records",
            &[&[100], &[], &[120]],
            vec![jumped(105, 50), jumped(60, 115)],
            &[(100, 0), (101, 1)],
        ),
        (
            "the last records are of an era that ended",
            &[&[100, 900]],
            vec![started(200)],
            &[(101, 1), (200, 1), (201, 2)],
        ),
        (
            "a batch proposed before it is not earlier than its era",
            &[&[100], &[150]],
            vec![started(200)],
            &[(200, 1), (201, 2)],
        ),
    ];
    for (what, times, reclocks, expected) in cases {
        let (mut log, mut eras) = (TopicLog::default(), Eras::default());
        for (index, times) in times.iter().enumerate() {
            if let Some(reclock) = index.checked_sub(1).map(|before| &reclocks[before]) {
                eras.begin(reclock);
            }
            for time in *times {
                let (payload, of_batch) = batch(&[b"x"]);
                log.enter(eras.newest());
                log.append(payload, of_batch, *time, &ALL);
            }
        }
        reclocks.iter().skip(times.len() - 1).for_each(|reclock| eras.begin(reclock));
        log.check();
        for (time, offset) in expected {
            assert_eq!(log.find_time(*time, &eras), Ok(Offset(*offset)), "{what}: {time}");
            assert!(log.age_cut(*time, &eras) == Offset(*offset), "{what}: {time}");
        }
    }
}

#[test]
fn a_clock_that_jumps_for_ever_takes_little_memory_and_removes_nothing_too_early() {
    let (mut log, mut eras) = (TopicLog::default(), Eras::default());
    let (payload, of_batch) = batch(&[b"x"]);
    for turn in 0..1000_u64 {
        // Each iteration advances time by 1 µs; in every other one the clock is a second ahead.
        let (was_us, at_us) = if turn % 2 == 0 { (turn + 1_000_000, turn) } else { (turn, turn + 1_000_000) };
        eras.begin(&Reclock { at_us, jump: Some(Jump { was_us, since_era: 0 }) });
        log.enter(eras.newest());
        log.append(payload.clone(), of_batch, at_us, &ALL);
        log.check();
        eras.check();
        let now_us = at_us;
        for age in [1, 5, 50, 100, 2000] {
            let cut = log.age_cut(now_us.saturating_sub(age), &eras).0;
            assert!(cut <= turn.saturating_sub(age), "{cut} at {turn}: younger than {age}");
            let is_told_apart = age < ERAS_MAX as u64 / 2;
            assert!(!is_told_apart || cut == turn.saturating_sub(age), "{cut} at {turn}: older than {age}");
        }
        assert!(log.cost() < 200 * (turn + 1) + 64 * 16, "{}", log.cost());
    }
    assert!(log.stretches.len() < ERAS_MAX, "the oldest era is not distinguished from those before it");
}

#[test]
fn eras_come_back_from_their_image_and_damage_is_seen() {
    let mut eras = Eras::default();
    let year_us = 31_556_952_000_000;
    for (at_us, was_us) in [(year_us, 3), (4, year_us + 4), (u64::MAX, 0), (0, u64::MAX)] {
        let mut image = Vec::new();
        eras.encode(&mut image);
        assert_eq!(Eras::decode(&mut &image[..]).as_ref(), Some(&eras));
        assert!((0..image.len()).all(|cut| Eras::decode(&mut &image[..cut]).is_none()));
        eras.begin(&Reclock { at_us, jump: Some(Jump { was_us, since_era: 0 }) });
        eras.check();
    }
    let cases: [&[u8]; 5] = [&[0], &[1, 0, 0, 2, 0], &[1, 0, 0, 0, 2], &[2, 1, 0, 0, 0, 0, 0, 0, 0], &[65; 400]];
    for bytes in cases {
        assert_eq!(Eras::decode(&mut &bytes[..]), None, "{bytes:?}");
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

#[test]
fn a_response_that_is_full_of_runs_has_the_records_of_the_runs_and_no_more() {
    // The first batch is a chunk of its own, and the others share one.
    let large = "x".repeat(MERGE_BYTES_MAX + 1);
    for others in [FETCH_RUNS_MAX - 2, FETCH_RUNS_MAX - 1, FETCH_RUNS_MAX, FETCH_RUNS_MAX + 1] {
        let first: [&str; 2] = [&large, "t"];
        let mut batches: Vec<&[&str]> = vec![&["s"]; others];
        batches.insert(0, &first);
        let log = log(&batches, &ALL);
        let read = log.read(Offset(0), usize::MAX, u32::MAX).unwrap();
        let runs = batches.len().min(FETCH_RUNS_MAX);
        assert_eq!((read.runs.len(), read.count as usize), (runs, runs + 1), "{others} small batches");
        assert_eq!(seen(&read).len(), runs + 1);
        // A read that reaches the maximum number of runs at the end of a chunk takes nothing from the next chunk.
        let after = log.read(Offset(2), usize::MAX, u32::MAX).unwrap();
        assert_eq!(seen(&after).len(), others.min(FETCH_RUNS_MAX));
    }
    let batches: Vec<&[&str]> = vec![&["s"]; FETCH_RUNS_MAX];
    let mut log = log(&batches, &ALL);
    let (payload, of_batch) = batch(&[large.as_bytes()]);
    log.append(payload, of_batch, 1 << 40, &ALL);
    let read = log.read(Offset(0), usize::MAX, u32::MAX).unwrap();
    assert_eq!((read.count as usize, read.payload.parts.len()), (FETCH_RUNS_MAX, 1));
}

/// Each case: the distance in offsets and in eras of each stretch from the one before it, and whether they are sound
/// for a log of a hundred records.
#[test]
fn stretches_come_back_from_their_image_and_damage_is_seen() {
    const NEWEST: u32 = 70;
    let newest = Era { number: NEWEST, since_us: 0, oldest: 0 };
    let each = |count: usize| vec![(1, 1); count];
    let cases: [(Vec<(u64, u64)>, bool); 13] = [
        (vec![(0, 1)], true),
        (vec![(3, 1), (2, 1)], true),
        (vec![(100, 1)], true),
        (vec![(101, 1)], false),
        (vec![(0, NEWEST.into())], true),
        (vec![(0, u64::from(NEWEST) + 1)], false),
        (vec![(101, u64::from(NEWEST) + 1)], false),
        (vec![(0, 0)], false),
        (vec![(3, 1), (0, 1)], false),
        (vec![(3, 1), (2, 0)], false),
        (vec![], false),
        (each(ERAS_MAX), true),
        (each(ERAS_MAX + 1), false),
    ];
    for (stretches, is_sound) in cases {
        let mut image = Vec::new();
        varint::put(&mut image, stretches.len() as u64);
        stretches.iter().flat_map(|(base, era)| [*base, *era]).for_each(|number| varint::put(&mut image, number));
        let decode = |image: &[u8]| {
            let mut log = TopicLog::default();
            log.append(Bytes::from_static(&[0; 500]), (100, 0), 1, &ALL);
            log.decode_stretches(&mut &image[..], newest).map(|()| log)
        };
        let decoded = decode(&image);
        assert_eq!(decoded.is_some(), is_sound, "{stretches:?}");
        assert!((0..image.len()).all(|cut| decode(&image[..cut]).is_none()), "{stretches:?}");
        if let Some(log) = decoded {
            let mut again = Vec::new();
            log.encode_stretches(&mut again);
            assert_eq!(again, image, "{stretches:?}");
        }
    }
}
