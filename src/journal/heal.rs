//! Reads that meet damage: a lost index is rebuilt from its segment, and where records are lost, the next readable
//! record is found.

use std::collections::BTreeSet;

use super::copies;
use super::disk::Disk;
use super::error::OpenError;
use super::index::{self, Index};
use super::keeper::{Keeper, write_file};
use super::names;
use super::reader::{payloads, previous_end, read_part};
use super::rebuild::{self, Known};
use crate::entry::{Filed, Found, TopicKey, Wanted};
use crate::types::{Offset, SlotId};

impl<D: Disk> Keeper<D> {
    /// Reads the wanted records, or finds the wanted append time, among the records that have been noted
    /// ([`Self::note`]) and not trimmed. The result is empty when the topic has none. An index that cannot be read is
    /// rebuilt first.
    ///
    /// # Errors
    /// Returns [`OpenError::Damaged`] when records are lost, and [`OpenError::Io`] when the file system fails.
    pub fn read(&self, topic: TopicKey, wanted: Wanted) -> Result<Found, OpenError> {
        let mut remade = BTreeSet::new();
        loop {
            let error = match self.read_once(topic, wanted) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            match error.lost_file().and_then(names::index_number) {
                Some(segment) if remade.insert(segment) && self.remake_index(segment).is_ok() => {
                    log::warn!(
                        "{} could not be read and was rebuilt from its segment; check the disk",
                        names::index(segment)
                    );
                }
                Some(_) | None => return Err(error),
            }
        }
    }

    /// Returns the first offset at or after `from` whose record can be read, or the topic's end offset when there is
    /// none. Returns `None` when the topic has no records here.
    pub fn readable_from(&self, topic: TopicKey, from: Offset) -> Option<Offset> {
        let mut at = from;
        let end = self.end_of(topic)?;
        while at < end {
            let (next, is_found) = self.next_readable(topic, at)?;
            if is_found {
                return Some(next);
            }
            at = next;
        }
        Some(at)
    }

    /// Looks for the first readable record at or after `from` in the segment that holds `from`. Returns its offset and
    /// true, or the end offset of the span in this segment and false.
    fn next_readable(&self, topic: TopicKey, from: Offset) -> Option<(Offset, bool)> {
        let span = self.span_with(topic, from)?;
        let Ok(file) = self.disk.open(&names::segment(span.segment)) else { return Some((span.end, false)) };
        let mut at = from;
        while at < span.end {
            let blocks = self.blocks(span.segment, topic);
            let Ok(filed) = blocks.and_then(|blocks| blocks.batches_from(at, 1, 1)) else { break };
            let Some(filed) = filed.first().copied() else { break };
            if payloads(&file, span.segment, vec![filed]).is_ok() {
                return Some((filed.base.max(from), true));
            }
            at = filed.end();
        }
        Some((span.end, false))
    }

    /// Rebuilds the index of a segment for all topics that have records in it.
    fn remake_index(&self, segment: u32) -> Result<(), OpenError> {
        let index = read_part(&self.disk, &names::index(segment), 0, usize::MAX);
        if index.is_ok_and(|bytes| index::decode(segment, &bytes, self.only).is_some()) {
            // The index is sound; it lacks only what was trimmed before the start. An index rebuilt now would also lack
            // what was trimmed since then, and the newest checkpoint may rely on those records.
            return Err(OpenError::damaged(&names::index(segment), 0, "it lacks a record of its segment"));
        }
        let name = names::segment(segment);
        let bytes = read_part(&self.disk, &name, 0, usize::MAX)?;
        if copies::is_copies(segment) {
            let copies = copies::list(segment, &bytes);
            let filed = copies.map_err(|at| OpenError::damaged(&name, at, "a record cannot be read"))?;
            return self.write_index(segment, &filed);
        }
        let end = segment.checked_add(1).and_then(|next| previous_end(&self.disk, next).ok().flatten());
        let spans = self.spans_in(segment);
        let topics = spans.keys().copied().collect();
        // An entry names its topic, instead of giving the id, only shortly after the topic was created: the Create
        // entry is in this segment or in the one before it.
        let before = segment.checked_sub(1).map(|before| (before, names::segment(before)));
        let made = before.and_then(|(before, name)| {
            let bytes = read_part(&self.disk, &name, 0, usize::MAX).ok()?;
            Some(rebuild::made(before, &bytes))
        });
        let made = made.unwrap_or_default();
        let find = |slot: SlotId, name: &str| rebuild::made_as(slot, name, &made, &topics).map(|topic| topic.id);
        let (listing, damage) = rebuild::list((segment, &bytes, end), self.bodies.of(segment), &topics, &find);
        if let Some(damage) = damage.first() {
            return Err(OpenError::damaged(&name, damage.start as u64, "a record cannot be read"));
        }
        let mut all = Vec::new();
        for (topic, (before, end)) in spans {
            let last_us = before.map_or(0, |before| self.time_before(topic, before.segment, before.end));
            // The keeper does not know which records were trimmed. When the void batches are known, the offsets can be
            // counted back from the end without this knowledge.
            let first = if self.void(segment).is_some() { Offset(u64::MAX) } else { Offset(0) };
            let known = Known { end, before: before.map(|before| before.end), first, last_us };
            let listed = listing.get(&topic).map_or(&[][..], |listed| listed);
            let filed = rebuild::assign(listed, known, self.void(segment));
            let lacks = || OpenError::damaged(&name, 0, "it does not hold enough to rebuild its index");
            all.append(&mut filed.ok_or_else(lacks)?);
        }
        self.write_index(segment, &all)
    }

    /// Writes the index of a segment that lists these batches.
    fn write_index(&self, segment: u32, filed: &[Filed]) -> Result<(), OpenError> {
        let mut index = Index::default();
        filed.iter().for_each(|filed| index.add(filed));
        let name = names::index(segment);
        write_file(&self.disk, &name, &index.encode(self.stamp, segment)).map_err(|cause| OpenError::io(&name, cause))
    }
}
