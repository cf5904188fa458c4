//! Making an index anew out of its segment.
//!
//! An entry does not say which offsets its records got: that follows from all entries before it. But a checkpoint says
//! how far each topic had come at the end of each segment, and which batches came to nothing ([`Books`]). All others of
//! a topic lie behind each other, so their offsets are found by counting back from there. Where the sum does not come
//! out, nothing is made: an index is right, or it is told that there is none.
//!
//! [`Books`]: super::books::Books

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::format::Kind;
use super::walk::{Step, walk};
use crate::record::{self, Batch, Entry, Filed, Place, TopicRef};
use crate::types::{Offset, TopicId};

/// A batch of a segment as its entry describes it; `base` is 0 and `append_us` as it was proposed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) filed: Filed,
    /// It has a producer, so it may have been judged a duplicate.
    is_sequenced: bool,
}

/// The batches of some topics in a segment, in their order.
pub(super) type Listing = BTreeMap<TopicId, Vec<Listed>>;

/// What is known of a topic's records in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The offset behind the last of them.
    pub(super) end: Offset,
    /// The offset behind those in the segments before, when there are some.
    pub(super) before: Option<Offset>,
    /// The first offset that the topic keeps.
    pub(super) first: Offset,
    /// When the last record before them was appended.
    pub(super) last_us: u64,
}

/// Lists the batches of `topics` in the bytes of a segment up to `end`, and where it is damaged. `find` knows topics by
/// name that the segment does not make itself.
pub(super) fn list(
    segment: u32,
    bytes: &Bytes,
    end: Option<usize>,
    topics: &BTreeSet<TopicId>,
    find: &dyn Fn(&str) -> Option<TopicId>,
) -> (Listing, Vec<Range<usize>>) {
    let mut damage = Vec::new();
    let (mut listing, mut made, mut by_name) = (Listing::new(), Made::default(), Vec::new());
    for step in walk(segment, bytes, end) {
        let record = match step {
            Step::Record(record) if record.head.kind == Kind::Entry => record,
            Step::Record(_) => continue,
            Step::Damage(range) => {
                damage.push(range);
                continue;
            }
        };
        let position = u32::try_from(record.body_at).expect("a segment's size");
        let Ok(entries) = record::decode(&record.body, Place { segment, position }) else {
            damage.push(record.body_at..record.end);
            continue;
        };
        for entry in entries {
            match entry {
                Entry::Create { name, seed, .. } => made.entry(name).or_default().push(seed),
                Entry::Publish(batch) => {
                    let topic = match &batch.topic {
                        TopicRef::Id(id) => Some(*id),
                        TopicRef::Name(name) => made_as(name, &made, topics).or_else(|| {
                            let id = find(name)?;
                            by_name.push((id, batch.place.position, name.clone()));
                            Some(id)
                        }),
                    };
                    if let Some(topic) = topic.filter(|id| topics.contains(id)) {
                        listing.entry(topic).or_default().push(listed(topic, &batch));
                    }
                }
                Entry::Delete { .. }
                | Entry::Trim { .. }
                | Entry::Alter { .. }
                | Entry::OpenProducer { .. }
                | Entry::Refused { .. }
                | Entry::RaiseEpochs => {}
            }
        }
    }
    // What came before its topic was made was for an older topic of that name.
    for (topic, position, _) in by_name.iter().filter(|(topic, _, name)| is_made(*topic, name, &made)) {
        if let Some(listed) = listing.get_mut(topic) {
            listed.retain(|listed| listed.filed.place.position != *position);
        }
    }
    (listing, damage)
}

/// The topics that were to be made in a segment.
pub(super) fn made(segment: u32, bytes: &Bytes) -> Made {
    let mut made = Made::default();
    for step in walk(segment, bytes, None) {
        let Step::Record(record) = step else { continue };
        let place = Place { segment, position: 0 };
        let entries = if record.head.kind == Kind::Entry { record::decode(&record.body, place) } else { continue };
        for entry in entries.into_iter().flatten() {
            if let Entry::Create { name, seed, .. } = entry {
                made.entry(name).or_default().push(seed);
            }
        }
    }
    made
}

/// The random parts of the ids that topics were to be made with, by name.
pub(super) type Made = HashMap<Box<str>, Vec<u64>, RandomState>;

fn is_made(id: TopicId, name: &str, made: &Made) -> bool {
    made.get(name).is_some_and(|seeds| seeds.iter().any(|seed| TopicId::made(*seed, id.place()) == id))
}

/// Which of the topics was made with that name. Of all that had it, at most one has records that are kept.
pub(super) fn made_as(name: &str, made: &Made, topics: &BTreeSet<TopicId>) -> Option<TopicId> {
    topics.iter().copied().find(|id| is_made(*id, name, made))
}

fn listed(topic: TopicId, batch: &Batch) -> Listed {
    let Batch { count, payload_crc: crc, append_us, place, .. } = *batch;
    let len = u32::try_from(batch.payload.len()).expect("PAYLOAD_MAX");
    let filed = Filed { topic, base: Offset(0), count, len, crc, place, append_us };
    Listed { filed, is_sequenced: batch.producer.is_some() }
}

/// Gives the batches of a topic their offsets. `void` are the positions of those that came to nothing, if it is known.
/// `None` when the batches are not those that the segment is known to have.
pub(super) fn assign(listed: &[Listed], known: Known, void: Option<&[u32]>) -> Option<Vec<Filed>> {
    let stored = stored(listed, void);
    let count: u64 = stored.iter().map(|listed| u64::from(listed.filed.count)).sum();
    let base = known.end.0.checked_sub(count).filter(|_| count > 0)?;
    let is_right = match known.before {
        Some(before) => before.0 == base,
        // The topic's oldest records: some before them are trimmed. Whether a batch was a duplicate is not seen then.
        None => {
            let is_sure = void.is_some() || base == 0 || stored.iter().all(|listed| !listed.is_sequenced);
            base <= known.first.0 && is_sure
        }
    };
    if !is_right {
        return None;
    }
    Some(file(&stored, Offset(base), known.last_us))
}

/// The same for a segment that is damaged at these places: only of batches before the first and behind the last damage
/// the offsets are known, unless the sum comes out.
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
    let mut filed = known.before.map_or_else(Vec::new, |before| file(&stored[..head], before, known.last_us));
    let end = filed.last().map_or_else(|| known.before.unwrap_or_default(), Filed::end);
    let Some(base) = known.end.0.checked_sub(count).filter(|base| *base >= end.0) else { return Vec::new() };
    let last_us = filed.last().map_or(known.last_us, |filed| filed.append_us);
    filed.extend(file(&stored[tail..], Offset(base), last_us));
    filed
}

/// Those that did not come to nothing, as far as that is known.
fn stored<'l>(listed: &'l [Listed], void: Option<&[u32]>) -> Vec<&'l Listed> {
    let is_stored = |position: u32| void.is_none_or(|void| void.binary_search(&position).is_err());
    listed.iter().filter(|listed| is_stored(listed.filed.place.position)).collect()
}

/// The batches behind each other from an offset on. Times never go back within a topic.
fn file(stored: &[&Listed], base: Offset, last_us: u64) -> Vec<Filed> {
    let (mut next, mut last_us) = (base, last_us);
    let file = |listed: &&Listed| {
        last_us = last_us.max(listed.filed.append_us);
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
        let (topic, place) = (TopicId::new(1).unwrap(), Place { segment: 1, position });
        Listed { filed: Filed { topic, base: Offset(0), count, len: 9, crc: 3, place, append_us }, is_sequenced }
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
        // The batches, what lies before, what is kept, what came to nothing.
        assert_eq!(bases(&plain, known(Some(15), 0), None), both);
        assert_eq!(bases(&plain, known(Some(16), 0), None), None, "the sum is wrong");
        assert_eq!(bases(&plain, known(None, 16), None), both);
        assert_eq!(bases(&plain, known(None, 14), None), None, "one record is missing");
        assert_eq!(bases(&sequenced, known(Some(15), 0), None), both, "nor is one a duplicate, or the sum were wrong");
        assert_eq!(bases(&sequenced, known(None, 16), None), None, "the first may be a duplicate");
        assert_eq!(bases(&sequenced, known(None, 18), Some(&[100])), Some(vec![17]));
        assert_eq!(bases(&sequenced, known(None, 16), Some(&[])), both);
        assert_eq!(bases(&plain, known(Some(20), 0), Some(&[100, 200])), None, "there is nothing");
        let times = assign(&plain, Known { last_us: 4, ..known(Some(15), 0) }, None).unwrap();
        assert_eq!([times[0].append_us, times[1].append_us], [5, 5], "times do not go back");
    }
}
