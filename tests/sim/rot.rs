//! Rot at the end of a node's log: whenever a node is about to start, a copy of its disk loses one bit of the last
//! record below the watermark. A start on that copy must be refused, whatever the node has been through.

use bytes::Bytes;
use dht_node::journal::format::{HEADER, record_at};
use dht_node::journal::{Disk, DiskFile, Mark, OpenError, inspect, recover};
use dht_node::node::{Node, Settings};
use dht_node::storage::Scratch;
use dht_node::types::Now;
use fastrand::Rng;

use crate::disk::FakeDisk;

/// The first number of a segment of copies. The segments of the log have lower numbers.
const COPIES: u32 = 1 << 31;

/// One in this many starts is tested.
const ONE_OF: u8 = 3;

/// Damages a copy of the disk and starts on it. Returns true if there was a record to damage.
///
/// # Panics
/// If the start does not detect the damage.
pub(crate) fn try_rot(disk: &FakeDisk, settings: &Settings, rng: &mut Rng) -> bool {
    if rng.u8(..ONE_OF) > 0 {
        return false;
    }
    let copy = disk.copy();
    let scratch = || Scratch::new(Node::new(settings.clone(), Now { monotonic_us: 0, wall_us: 0 }));
    let Ok((_, sound)) = inspect(&copy, false, scratch) else { return false };
    let Some(mark) = sound.watermark.mark() else { return false };
    let Some((name, bits)) = last_record(&copy, mark) else { return false };
    let bit = rng.usize(bits);
    copy.flip(&name, bit);
    let (_, found) = inspect(&copy, false, scratch).expect("a damaged folder can be inspected");
    assert!(!found.is_sound(), "bit {bit} of {name}: {found:?}");
    match recover(&copy, settings.id, &mut scratch()) {
        Err(OpenError::Damaged { .. }) => true,
        Err(error) => panic!("bit {bit} of {name}: {error}"),
        Ok(recovered) => panic!("damage at bit {bit} of {name} was not detected: {:?} below {mark:?}", recovered.last),
    }
}

/// Returns the segment that the mark is in and the bits of the last record below the mark. Returns `None` when there is
/// none, or when a later segment was written to: then a checkpoint may have made the record unneeded.
fn last_record(disk: &FakeDisk, mark: Mark) -> Option<(String, std::ops::Range<usize>)> {
    let (number, end) = (mark.place.segment, mark.place.position as usize);
    let logs = disk.files().into_iter().filter_map(|(name, _)| name.strip_suffix(".log")?.parse::<u32>().ok());
    let mut later = logs.filter(|other| (number + 1..COPIES).contains(other));
    if number == 0 || later.any(|other| record_at(&read(disk, other), other, HEADER).is_some()) {
        return None;
    }
    let bytes = read(disk, number);
    let (mut at, mut last) = (HEADER, None);
    while at < end {
        let record = record_at(&bytes, number, at)?;
        last = Some(at * 8..(record.body_at + record.body.len()) * 8);
        at = record.end;
    }
    Some((name(number), last?))
}

fn name(number: u32) -> String {
    format!("{number:010}.log")
}

fn read(disk: &FakeDisk, number: u32) -> Bytes {
    let Ok(file) = disk.open(&name(number)) else { return Bytes::new() };
    let mut bytes = vec![0; usize::try_from(file.size().expect("it is open")).expect("small")];
    let count = file.read_at(&mut bytes, 0).expect("it is open");
    bytes.truncate(count);
    bytes.into()
}
