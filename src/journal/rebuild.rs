//! Rebuilds an index from its segment.
//!
//! An entry does not hold the offsets of its records: they follow from all earlier entries. But a checkpoint holds the
//! end offset of each topic in each segment and the void batches ([`Books`]). The other batches of a topic are
//! consecutive, so their offsets are found by counting back from the end offset. When the count does not match, nothing
//! is rebuilt: an index is either correct or reported as lost.
//!
//! The append times are those in the entries: the proposer of a batch gives it a time that does not decrease unless the
//! clock was corrected. Programs before format 2 did not do this; they raised the time when they applied the entry.
//!
//! [`Books`]: super::books::Books

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::bodies::Extents;
use super::format::{self, Head, Kind};
use super::walk::{Step, walk};
use super::writer::HEADER_LEN;
use crate::entry::{self, Batch, Entry, Filed, Place, TopicKey, TopicRef};
use crate::types::{Offset, SlotId, TopicId};

/// The first format in which the append times of entries do not decrease between corrections of the clock.
const EVEN_TIMES_SINCE: u32 = 2;

/// A batch as its entry describes it; in `filed`, `base` is 0 and `append_us` is the proposed time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) filed: Filed,
    /// True when the batch names a producer, so that it may have been rejected as a duplicate.
    is_sequenced: bool,
    times: Times,
}

/// How the append time was determined when the entry was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// The time was taken as proposed.
    AsProposed,
    /// The time was raised to at least that of the preceding record.
    Raised,
    /// Like [`Self::Raised`], but after the given number of clock corrections in this segment, the last of which was at
    /// the given time in microseconds.
    RaisedSince(u32, u64),
}

/// The batches of some topics in a segment, in the order of the log.
pub(super) type Listing = BTreeMap<TopicKey, Vec<Listed>>;

/// What is known about a topic's records in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The end offset (exclusive) of the topic's records in the segment.
    pub(super) end: Offset,
    /// The end offset of its records in earlier segments; `None` when it has none there.
    pub(super) before: Option<Offset>,
    /// The first offset that the topic retains.
    pub(super) first: Offset,
    /// Append time, in microseconds, of the last record before those of the segment.
    pub(super) last_us: u64,
}

/// Lists the batches of `topics` in the bytes of a segment up to `end`, and the damaged ranges. Batches in bodies that
/// later ones have replaced are left out, as far as `extents` says which those are. `find` looks up the id of a topic
/// of a group that entries name but that was not created in this segment.
pub(super) fn list(
    (segment, bytes, end): (u32, &Bytes, Option<usize>),
    extents: Option<&Extents>,
    topics: &BTreeSet<TopicKey>,
    find: &dyn Fn(SlotId, &str) -> Option<TopicId>,
) -> (Listing, Vec<Range<usize>>) {
    let mut damage = Vec::new();
    let (mut listing, mut made, mut by_name) = (Listing::new(), Made::default(), Vec::new());
    let mut times = match format::check_segment_header(bytes, segment) {
        Ok(version) if version >= EVEN_TIMES_SINCE => Times::AsProposed,
        Ok(_) | Err(_) => Times::Raised,
    };
    for step in walk(segment, bytes, end) {
        let record = match step {
            Step::Record(record) if record.head.kind == Kind::Entry => record,
            Step::Record(_) => continue,
            Step::Damage(range) => {
                damage.push(range);
                continue;
            }
        };
        let Head { slot, index, .. } = record.head;
        let position = u32::try_from(record.body_at).expect("a segment's size");
        if extents.is_some_and(|extents| extents.is_replaced(slot, index, position - HEADER_LEN)) {
            continue;
        }
        let Ok(entries) = entry::decode(&record.body, Place { segment, position }) else {
            damage.push(record.body_at..record.end);
            continue;
        };
        for entry in entries {
            match entry {
                Entry::Create { name, seed, .. } => made.entry((slot, name)).or_default().push(seed),
                Entry::Publish(batch) => {
                    let topic = match &batch.topic {
                        TopicRef::Id(id) => Some(TopicKey { slot, id: *id }),
                        TopicRef::Name(name) => made_as(slot, name, &made, topics).or_else(|| {
                            let topic = TopicKey { slot, id: find(slot, name)? };
                            by_name.push((topic, batch.place.position, name.clone()));
                            Some(topic)
                        }),
                    };
                    if let Some(topic) = topic.filter(|topic| topics.contains(topic)) {
                        listing.entry(topic).or_default().push(listed(topic, &batch, times));
                    }
                }
                // Formats in which times were raised have one group.
                Entry::Reclock(reclock) => {
                    times = match times {
                        Times::AsProposed => times,
                        Times::Raised => Times::RaisedSince(1, reclock.at_us),
                        Times::RaisedSince(before, _) => Times::RaisedSince(before + 1, reclock.at_us),
                    }
                }
                Entry::Delete { .. }
                | Entry::Trim { .. }
                | Entry::Alter { .. }
                | Entry::OpenProducer { .. }
                | Entry::Check { .. }
                | Entry::RaiseEpochs
                | Entry::BeginEpochs { .. } => {}
            }
        }
    }
    // A batch that precedes the creation of its topic was for an earlier topic of the same name.
    for (topic, position, _) in by_name.iter().filter(|(topic, _, name)| is_made(*topic, name, &made)) {
        if let Some(listed) = listing.get_mut(topic) {
            listed.retain(|listed| listed.filed.place.position != *position);
        }
    }
    (listing, damage)
}

/// Returns the topics that entries of a segment create.
pub(super) fn made(segment: u32, bytes: &Bytes) -> Made {
    let mut made = Made::default();
    for step in walk(segment, bytes, None) {
        let Step::Record(record) = step else { continue };
        let place = Place { segment, position: 0 };
        let entries = if record.head.kind == Kind::Entry { entry::decode(&record.body, place) } else { continue };
        for entry in entries.into_iter().flatten() {
            if let Entry::Create { name, seed, .. } = entry {
                made.entry((record.head.slot, name)).or_default().push(seed);
            }
        }
    }
    made
}

/// The seeds of the ids of created topics, by slot and name.
pub(super) type Made = HashMap<(SlotId, Box<str>), Vec<u64>, RandomState>;

fn is_made(TopicKey { slot, id }: TopicKey, name: &str, made: &Made) -> bool {
    let seeds = made.get(&(slot, name.into()));
    seeds.is_some_and(|seeds| seeds.iter().any(|seed| TopicId::made(*seed, id.place()) == id))
}

/// Returns the topic of a group that was created under a name. Of all topics that had the name, at most one has records
/// that are retained.
pub(super) fn made_as(slot: SlotId, name: &str, made: &Made, topics: &BTreeSet<TopicKey>) -> Option<TopicKey> {
    topics.iter().copied().find(|topic| topic.slot == slot && is_made(*topic, name, made))
}

fn listed(topic: TopicKey, batch: &Batch, times: Times) -> Listed {
    let Batch { count, payload_crc: crc, append_us, place, .. } = *batch;
    let len = u32::try_from(batch.payload.len()).expect("PAYLOAD_MAX");
    let filed = Filed { topic, base: Offset(0), count, len, crc, place, append_us };
    Listed { filed, is_sequenced: batch.producer.is_some(), times }
}

/// Assigns offsets to the batches of a topic. `void` holds the positions of the void batches, if they are known.
/// Returns `None` when the batches do not add up to what the segment is known to hold.
pub(super) fn assign(listed: &[Listed], known: Known, void: Option<&[u32]>) -> Option<Vec<Filed>> {
    let stored = stored(listed, void);
    let count: u64 = stored.iter().map(|listed| u64::from(listed.filed.count)).sum();
    let base = known.end.0.checked_sub(count).filter(|_| count > 0)?;
    let is_right = match known.before {
        Some(before) => before.0 == base,
        // These are the topic's oldest records, and records before them were trimmed. Their number is unknown, so the
        // sum does not show whether a batch was a duplicate.
        None => {
            let is_sure = void.is_some() || base == 0 || stored.iter().all(|listed| !listed.is_sequenced);
            base <= known.first.0 && is_sure
        }
    };
    if !is_right {
        return None;
    }
    Some(file(&stored, Offset(base), (known.last_us, Times::Raised)))
}

/// Like [`assign`], for a segment that is damaged in the given ranges. Unless the sum matches, only batches before the
/// first and after the last damaged range get offsets, since only theirs are certain.
pub(super) fn assign_beside(
    listed: &[Listed],
    known: Known,
    void: Option<&[u32]>,
    damage: &[Range<usize>],
) -> Vec<Filed> {
    if let Some(all) = assign(listed, known, void) {
        return all;
    }
    let (Some(first), Some(last)) = (damage.first(), damage.last()) else { return Vec::new() };
    let stored = stored(listed, void);
    let head = stored.partition_point(|listed| (listed.filed.place.position as usize) < first.start);
    let tail = stored.partition_point(|listed| (listed.filed.place.position as usize) < last.end);
    let count: u64 = stored[tail..].iter().map(|listed| u64::from(listed.filed.count)).sum();
    let mut filed =
        known.before.map_or_else(Vec::new, |before| file(&stored[..head], before, (known.last_us, Times::Raised)));
    let end = filed.last().map_or_else(|| known.before.unwrap_or_default(), Filed::end);
    let Some(base) = known.end.0.checked_sub(count).filter(|base| *base >= end.0) else { return Vec::new() };
    let last_us = filed.last().map_or(known.last_us, |filed| filed.append_us);
    let times = stored[..head].last().map_or(Times::Raised, |listed| listed.times);
    filed.extend(file(&stored[tail..], Offset(base), (last_us, times)));
    filed
}

/// Returns the batches that are not known to be void.
fn stored<'l>(listed: &'l [Listed], void: Option<&[u32]>) -> Vec<&'l Listed> {
    let is_stored = |position: u32| void.is_none_or(|void| void.binary_search(&position).is_err());
    listed.iter().filter(|listed| is_stored(listed.filed.place.position)).collect()
}

/// Assigns consecutive offsets from `base` on to the batches; `last_us` and `times` are those of the preceding batch.
fn file(stored: &[&Listed], base: Offset, (last_us, times): (u64, Times)) -> Vec<Filed> {
    let (mut next, mut last_us, mut times) = (base, last_us, times);
    let file = |listed: &&Listed| {
        last_us = match listed.times {
            Times::AsProposed => listed.filed.append_us,
            Times::RaisedSince(_, since_us) if times != listed.times => since_us.max(listed.filed.append_us),
            Times::Raised | Times::RaisedSince(..) => last_us.max(listed.filed.append_us),
        };
        times = listed.times;
        let filed = Filed { base: next, append_us: last_us, ..listed.filed };
        next = filed.end();
        filed
    };
    stored.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(position: u32, count: u32, append_us: u64, is_sequenced: bool) -> Listed {
        let topic = TopicKey { slot: SlotId::default(), id: TopicId::new(1).unwrap() };
        let place = Place { segment: 1, position };
        let filed = Filed { topic, base: Offset(0), count, len: 9, crc: 3, place, append_us };
        Listed { filed, is_sequenced, times: Times::Raised }
    }

    fn bases(listed: &[Listed], known: Known, void: Option<&[u32]>) -> Option<Vec<u64>> {
        Some(assign(listed, known, void)?.iter().map(|filed| filed.base.0).collect())
    }

    #[test]
    fn offsets_are_counted_back_from_the_end_when_the_sum_is_right() {
        let plain = [listed(100, 2, 5, false), listed(200, 3, 4, false)];
        let sequenced = plain.map(|listed| Listed { is_sequenced: true, ..listed });
        let known = |before: Option<u64>, first| {
            let before = before.map(Offset);
            Known { end: Offset(20), before, first: Offset(first), last_us: 0 }
        };
        let both = Some(vec![15, 17]);
        // Arguments: the batches, the end offset before the segment, the first retained offset, the void batches.
        assert_eq!(bases(&plain, known(Some(15), 0), None), both);
        assert_eq!(bases(&plain, known(Some(16), 0), None), None, "the sum is wrong");
        assert_eq!(bases(&plain, known(None, 16), None), both);
        assert_eq!(bases(&plain, known(None, 14), None), None, "one record is missing");
        assert_eq!(bases(&sequenced, known(Some(15), 0), None), both, "the sum rules out duplicates");
        assert_eq!(bases(&sequenced, known(None, 16), None), None, "the first may be a duplicate");
        assert_eq!(bases(&sequenced, known(None, 18), Some(&[100])), Some(vec![17]));
        assert_eq!(bases(&sequenced, known(None, 16), Some(&[])), both);
        assert_eq!(bases(&plain, known(Some(20), 0), Some(&[100, 200])), None, "no batch was stored");
    }

    #[test]
    fn times_are_those_that_were_noted_when_the_entries_were_applied() {
        let times = |times: &[(Times, u64)]| -> Vec<u64> {
            let one = |(times, append_us): &(Times, u64)| Listed { times: *times, ..listed(100, 1, *append_us, false) };
            let listed: Vec<Listed> = times.iter().map(one).collect();
            let end = Offset(10 + listed.len() as u64);
            let known = Known { end, before: Some(Offset(10)), first: Offset(0), last_us: 40 };
            assign(&listed, known, None).unwrap().iter().map(|filed| filed.append_us).collect()
        };
        let (raised, as_proposed) = (Times::Raised, Times::AsProposed);
        assert_eq!(times(&[(raised, 30), (raised, 50), (raised, 45), (raised, 60)]), [40, 50, 50, 60]);
        assert_eq!(times(&[(as_proposed, 30), (as_proposed, 50), (as_proposed, 20)]), [30, 50, 20]);
        let since = |number| Times::RaisedSince(number, 5);
        assert_eq!(times(&[(raised, 50), (since(1), 3), (since(1), 9), (since(1), 8)]), [50, 5, 9, 9]);
        assert_eq!(times(&[(since(1), 9), (since(3), 7)]), [9, 7], "the clock was corrected in between");
    }
}
