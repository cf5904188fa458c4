//! Bodies of the log that are read back for a member that was away. `groups` reads them back between crashes.

use bytes::Bytes;
use dht_node::entry::{Body, LogPart, LogQuery, Place};
use dht_node::journal::{Keeper, OpenError, Writer};
use dht_node::limits::{APPEND_BYTES_MAX, BODY_BYTES_MAX, LOG_ENTRY_BYTES, LOG_READ_BYTES};
use fastrand::Rng;

use crate::disk::{FakeDisk, FakeFile};
use crate::formats::disk_of;
use crate::groups::{States, fetch, identity, slot};
use crate::model::{Live, SLOT};
use crate::opened::{self, Opened};

/// The log of two groups.
struct Logs {
    disk: FakeDisk,
    writer: Writer<FakeFile>,
    keeper: Keeper<FakeDisk>,
    segment_bytes: u32,
    /// The bodies of each group with their places.
    bodies: [Vec<(Body, Place)>; 2],
}

impl Logs {
    fn new(segment_bytes: u32) -> Self {
        let disk = FakeDisk::default();
        let mut states = States::new(u64::MAX);
        let Opened { writer, keeper, .. } = opened::open(&disk, &identity(), segment_bytes, &mut states).unwrap();
        Self { disk, writer, keeper, segment_bytes, bodies: [Vec::new(), Vec::new()] }
    }

    /// Appends a body of this many bytes to the log of a group. It replaces those from its index on.
    fn append(&mut self, of: usize, index: usize, term: u32, bytes: usize) {
        let group = u16::try_from(of).unwrap();
        let fill = u8::try_from(index % 251).unwrap();
        let bytes = Bytes::from(vec![fill; bytes]);
        let body = Body { slot: slot(group), index: index as u64, term, bytes };
        let place = loop {
            if let Ok(place) = self.writer.append(&body) {
                break place;
            }
            let next = self.keeper.prepare(self.writer.mark().place.segment + 1, self.segment_bytes).unwrap();
            self.writer.turn_to(next).unwrap();
        };
        self.writer.sync().unwrap();
        self.keeper.note(body.written(place).note().as_slice());
        self.keeper.check();
        self.bodies[of].truncate(index - 1);
        self.bodies[of].push((body, place));
    }

    fn query(&self, of: usize, index: usize, bytes_max: usize) -> LogQuery {
        let last = self.bodies[of].len() as u64;
        LogQuery { slot: slot(u16::try_from(of).unwrap()), index: index as u64, last, bytes_max }
    }

    fn fetch(&mut self, query: LogQuery) -> Result<LogPart, OpenError> {
        fetch(&mut self.keeper, query)
    }

    /// Reads bodies after `index` and checks them. Returns how many there are.
    fn read(&mut self, of: usize, index: usize, bytes_max: usize) -> usize {
        let LogPart { base, bodies } = self.fetch(self.query(of, index, bytes_max)).unwrap();
        let log = &self.bodies[of];
        let expected = log[index..].iter().map(|(body, _)| body);
        assert!(bodies.iter().eq(expected.take(bodies.len())), "group {of} after {index}");
        assert_eq!(base, (index as u64, index.checked_sub(1).map_or(0, |before| log[before].0.term)));
        assert!(!bodies.is_empty(), "group {of} after {index}");
        bodies.len()
    }
}

/// A read that began at the start of a segment each time would read a multiple of this.
#[test]
fn members_that_catch_up_read_the_log_once_each() {
    let mut logs = Logs::new(16 << 20);
    for index in 1..=400 {
        (0..2).for_each(|of| logs.append(of, index, 1, 30 << 10));
    }
    let total: usize = logs.bodies.iter().flatten().map(|(body, _)| body.bytes.len()).sum();
    assert!(logs.bodies[0][399].1.segment > 1);
    logs.disk.take_reads();
    // Two members catch up at the same time, from different positions.
    let mut at = [0, 150];
    while at.iter().any(|at| *at < 400) {
        for at in at.iter_mut().filter(|at| **at < 400) {
            let read = logs.read(0, *at, APPEND_BYTES_MAX);
            // An append may be lost, and is then repeated.
            assert!(read > 1 || *at == 399);
            assert_eq!(logs.read(0, *at, APPEND_BYTES_MAX), read);
            *at += read;
        }
    }
    let read = logs.disk.take_reads().bytes;
    assert!(read < 4 * 2 * total + (16 << 20), "{read} bytes were read of a log of {total}");
}

#[test]
fn an_answer_has_as_many_bodies_as_are_asked_for_but_at_least_one() {
    let mut logs = Logs::new(8 << 20);
    let most = BODY_BYTES_MAX;
    assert!(most > LOG_READ_BYTES, "more than one read takes");
    for (index, bytes) in (1..).zip([10, 0, most, most, 20, 0, 0]) {
        logs.append(0, index, 1, bytes);
        logs.append(1, index, 1, LOG_READ_BYTES);
    }
    let counted = |bytes: usize, bodies: usize| bytes + bodies * LOG_ENTRY_BYTES;
    for (index, bytes_max, expected) in [
        (0, 0, 1),
        (0, counted(10, 2) - 1, 1),
        (0, counted(10, 2), 2),
        (0, counted(10 + most, 3) - 1, 2),
        (2, 0, 1),
        (2, counted(2 * most, 2), 2),
        (2, usize::MAX, 5),
        (4, counted(20, 2), 2),
        (6, usize::MAX, 1),
    ] {
        assert_eq!(logs.read(0, index, bytes_max), expected, "{index} {bytes_max}");
    }
    let query = LogQuery { last: 4, ..logs.query(0, 2, usize::MAX) };
    assert_eq!(logs.fetch(query).unwrap().bodies.len(), 2, "no more than was applied");
}

/// A new leader has replaced bodies, in the same segment and in a later one.
#[test]
fn only_the_bodies_that_were_written_last_are_returned() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut logs = Logs::new(4 << 10);
        for term in 1..=rng.u32(1..20) {
            let of = rng.usize(..2);
            let before = rng.usize(..=logs.bodies[of].len());
            for index in before + 1..=before + rng.usize(1..8) {
                logs.append(of, index, term, rng.usize(..300));
                if rng.bool() {
                    let index = logs.bodies[1 - of].len() + 1;
                    logs.append(1 - of, index, term, rng.usize(..300));
                }
            }
        }
        for of in 0..2 {
            let mut indexes: Vec<usize> = (0..logs.bodies[of].len()).collect();
            rng.shuffle(&mut indexes);
            indexes.into_iter().for_each(|index| _ = logs.read(of, index, rng.usize(..2000)));
        }
    }
}

#[test]
fn a_damaged_body_is_an_error_for_whoever_wants_it_first() {
    let mut logs = Logs::new(64 << 10);
    for index in 1..=9 {
        (0..2).for_each(|of| logs.append(of, index, 1, 1000));
    }
    let place = logs.bodies[0][4].1;
    logs.disk.flip("0000000001.log", (place.position as usize + 500) * 8);
    assert_eq!(logs.read(0, 0, usize::MAX), 4, "those before it");
    let at = u64::from(place.position) - 32;
    let is_it = |error: &OpenError| matches!(error, OpenError::Damaged { file, position, .. } if file == "0000000001.log" && *position == at);
    let error = logs.fetch(logs.query(0, 4, usize::MAX)).unwrap_err();
    assert!(is_it(&error), "{error}");
    assert_eq!(logs.read(0, 5, usize::MAX), 4, "those after it");
    assert_eq!(logs.read(1, 0, usize::MAX), 9, "those of the other group");
    // If a header cannot be read, the next record cannot be found.
    logs.disk.flip("0000000001.log", (place.position as usize - 20) * 8);
    assert_eq!(logs.read(0, 0, usize::MAX), 4);
    let error = logs.fetch(logs.query(0, 6, usize::MAX)).unwrap_err();
    assert!(is_it(&error), "{error}");
}

/// In these formats, records name no group, so their bodies cannot be read back.
#[test]
fn bodies_of_earlier_formats_are_not_there() {
    for format in [1, 2] {
        let (mut live, last, _) = Live::start(&disk_of(format, "killed"), false).unwrap();
        assert!(last.bodies > 1);
        for index in 0..last.bodies {
            let query = LogQuery { slot: SLOT, index, last: last.bodies, bytes_max: usize::MAX };
            let part = fetch(live.keeper(), query).unwrap();
            assert_eq!(part, LogPart { base: (index, 0), bodies: Vec::new() }, "format {format}");
        }
    }
}
