//! Reads that meet damage: a lost index is made anew from its segment, and where records are lost, the next ones that
//! can be read are found.

use std::collections::BTreeSet;

use super::copies;
use super::disk::Disk;
use super::error::OpenError;
use super::index::{self, Index};
use super::keeper::{Keeper, write_file};
use super::names;
use super::reader::{payloads, previous_end, read_part};
use super::rebuild::{self, Known};
use crate::record::{Filed, Found, Wanted};
use crate::types::{Offset, TopicId};

impl<D: Disk> Keeper<D> {
    /// Reads what it was told of and what is not trimmed, as far as it was told: nothing when the topic is gone. An
    /// index that cannot be read is made anew first.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] and [`OpenError::Io`]
    pub fn read(&self, topic: TopicId, wanted: Wanted) -> Result<Found, OpenError> {
        let mut remade = BTreeSet::new();
        loop {
            let error = match self.read_once(topic, wanted) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            match error.lost_file().and_then(names::index_number) {
                Some(segment) if remade.insert(segment) && self.remake_index(segment).is_ok() => {
                    log::warn!("{} could not be read; it was made anew from its segment", names::index(segment));
                }
                Some(_) | None => return Err(error),
            }
        }
    }

    /// Returns the first offset from `from` on whose record can be read; where none can, the offset behind all that it
    /// was told of. `None` when nothing is known of the topic.
    pub fn readable_from(&self, topic: TopicId, from: Offset) -> Option<Offset> {
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

    /// The first readable record from there on in the same segment, or the offset behind all of that.
    fn next_readable(&self, topic: TopicId, from: Offset) -> Option<(Offset, bool)> {
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

    /// Makes the index of a segment anew, of the topics that have records in it.
    fn remake_index(&self, segment: u32) -> Result<(), OpenError> {
        let index = read_part(&self.disk, &names::index(segment), 0, usize::MAX);
        if index.is_ok_and(|bytes| index::decode(segment, &bytes).is_some()) {
            // It is sound, and lacks what was trimmed before the start. A new one would also lack what was trimmed
            // since, on which the checkpoint in force may rely.
            return Err(OpenError::damaged(&names::index(segment), 0, "it does not have the record"));
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
        // A topic that goes by its name was made just before: in this segment or in the one before it.
        let before = segment.checked_sub(1).map(|before| (before, names::segment(before)));
        let made = before.and_then(|(before, name)| {
            let bytes = read_part(&self.disk, &name, 0, usize::MAX).ok()?;
            Some(rebuild::made(before, &bytes))
        });
        let made = made.unwrap_or_default();
        let find = |name: &str| rebuild::made_as(name, &made, &topics);
        let (listing, damage) = rebuild::list(segment, &bytes, end, &topics, &find);
        if let Some(damage) = damage.first() {
            return Err(OpenError::damaged(&name, damage.start as u64, "a record cannot be read"));
        }
        let mut all = Vec::new();
        for (topic, (before, end)) in spans {
            let last_us = before.map_or(0, |before| self.time_before(topic, before.segment, before.end));
            // What is trimmed is not known here, and does not matter when it is known which batches were stored.
            let first = if self.void(segment).is_some() { Offset(u64::MAX) } else { Offset(0) };
            let known = Known { end, before: before.map(|before| before.end), first, last_us };
            let listed = listing.get(&topic).map_or(&[][..], |listed| listed);
            let filed = rebuild::assign(listed, known, self.void(segment));
            let lacks = || OpenError::damaged(&name, 0, "it does not say enough to make its index anew");
            all.append(&mut filed.ok_or_else(lacks)?);
        }
        self.write_index(segment, &all)
    }

    /// Writes the index of a segment with these batches.
    fn write_index(&self, segment: u32, filed: &[Filed]) -> Result<(), OpenError> {
        let mut index = Index::default();
        filed.iter().for_each(|filed| index.add(filed));
        let name = names::index(segment);
        write_file(&self.disk, &name, &index.encode(segment)).map_err(|cause| OpenError::io(&name, cause))
    }
}
