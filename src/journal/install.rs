//! Copies of records that come from another node, and their installation as the state of a group.
//!
//! ```text
//!   keep      batches from another node are appended to segments of copies      2147483650.log.new  ▓▓▓
//!   install   fsync, write their indexes, rename them; the bookkeeping of the group refers to them, and
//!             its log begins after the state: one checkpoint
//! ```
//!
//! Records of a topic that are here already stay where they are: the copies begin where those end. Only those in the
//! segment that the log is written to are copied out of it, so that a segment never has two stretches of a topic. What
//! the bookkeeping has of topics that the state does not have is dropped.
//!
//! **What a crash leaves.** Before the checkpoint, the files are not referred to, and the next start removes those
//! without their final name at once and the others once two checkpoints do not need them. The checkpoint replaces the
//! state of the group and the bookkeeping of its records at once. A second one follows, so that no start falls back to
//! a state from before: the log does not lead from there to the new one.
//!
//! **What becomes of the log.** Bodies of the group that lie before the checkpoint's end are none of its log any more,
//! except as the places of records that were applied. Those that were not applied count as void, and none is read for
//! another member ([`Bodies::begin_after`]).
//!
//! [`Bodies::begin_after`]: super::bodies::Bodies::begin_after

use std::collections::{BTreeMap, HashMap};
use std::io;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::bodies::Spot;
use super::copies::CopyFile;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::keeper::{Keeper, write_file};
use super::names;
use super::reader::payloads;
use super::spans::{Span, Spans};
use super::writer::Mark;
use crate::entry::{CopiedState, CopiedTopic, Filed, Image, LogPosition, Place, TopicKey};
use crate::limits::READ_BYTES_MAX;
use crate::types::{Offset, SlotId};

/// Records of a group that were copied from another node, and that nothing refers to yet.
#[derive(Debug)]
pub struct Taken<F> {
    /// The segments, of which the last one grows.
    files: Vec<CopyFile<F>>,
    /// The number of the segment with copies of this node's own records.
    own: Option<u32>,
    /// For each topic, its stretches of consecutive records with their base offsets, one for each segment.
    runs: BTreeMap<TopicKey, Vec<(Offset, Span)>>,
}

impl<F> Default for Taken<F> {
    fn default() -> Self {
        Self { files: Vec::new(), own: None, runs: BTreeMap::new() }
    }
}

impl<D: Disk> Keeper<D> {
    /// Keeps consecutive batches of a topic, which follow those that were kept of it before. A segment of copies grows
    /// to about `segment_bytes` bytes.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::StorageFull`] when another segment would exceed the capacity of the journal, and
    /// otherwise the error of the file system.
    pub fn keep(
        &mut self,
        taken: &mut Taken<D::File>,
        batches: &mut [(Filed, Bytes)],
        segment_bytes: u32,
    ) -> io::Result<()> {
        let Some((first, _)) = batches.first() else { return Ok(()) };
        let topic = first.topic;
        if taken.files.last().is_none_or(|file| file.written >= segment_bytes) {
            if let Some(file) = taken.files.last() {
                file.file.sync()?;
            }
            // As for a segment of the log, one more segment's worth of bytes is left to cleaning.
            if self.used()?.saturating_add(2 * u64::from(segment_bytes)) > self.capacity {
                let what = "the copy of a group would exceed the size that --disk allows";
                return Err(io::Error::new(io::ErrorKind::StorageFull, what));
            }
            let number = self.next_copies()?;
            let file = self.disk.create(&names::new(&names::segment(number)))?;
            taken.files.push(CopyFile::new(file, number));
        }
        let file = taken.files.last_mut().expect("there is one");
        file.put(self.stamp, batches)?;
        add_run(taken.runs.entry(topic).or_default(), file.number, batches);
        Ok(())
    }

    /// Makes a copied state that of its group, in a checkpoint when the log ends at `mark`. `images` are the states of
    /// all groups of the node, of which that of this group is replaced. All bodies of this group must be durable and
    /// noted. Returns the end of the log, behind which the group's log goes on.
    ///
    /// # Errors
    /// Returns the error of the file system, or what the copy lacks. Nothing of the copy counts then.
    pub fn install(
        &mut self,
        mut taken: Taken<D::File>,
        mark: Mark,
        state: &CopiedState,
        images: Vec<Image>,
    ) -> io::Result<Place> {
        let installed = self.try_install(&mut taken, mark, state, images);
        if installed.is_err() {
            let _ = self.drop_taken(taken);
        }
        installed
    }

    fn try_install(
        &mut self,
        taken: &mut Taken<D::File>,
        mark: Mark,
        state: &CopiedState,
        mut images: Vec<Image>,
    ) -> io::Result<Place> {
        let slot = state.slot;
        let spans = self.spans_with(taken, mark.place.segment, state)?;
        for CopyFile { file, number, written, index } in &taken.files {
            planted!("copied state ahead of its records", file.sync()?, ());
            write_file(&self.disk, &names::index(*number), &index.encode(self.stamp, *number))?;
            let name = names::segment(*number);
            self.disk.rename(&names::new(&name), &name)?;
            let total = taken.runs.values().flatten().filter(|(_, span)| span.segment == *number);
            self.add_copies(*number, (*written).into(), total.map(|(_, span)| u64::from(span.bytes)).sum());
        }
        let before = self.replace_spans(slot, spans);
        let bodies = self.bodies.begin_after(slot, state.index, mark.place);
        self.add_void(&state.void);
        let topics = state.topics.clone();
        let applied = LogPosition { index: state.index, term: state.term, end: mark.place };
        let needed = images.iter().find(|image| image.slot == slot).and_then(|image| image.needed);
        images.retain(|image| image.slot != slot);
        images.push(Image { slot, applied, open: None, needed, topics });
        images.sort_by_key(|image| image.slot);
        if let Err(error) = self.checkpoint(mark, &images) {
            self.replace_spans(slot, before);
            self.bodies.restore(slot, bodies);
            self.remove_void(&state.void);
            return Err(error);
        }
        self.bodies.remember(slot, Spot { index: state.index, term: state.term, end: mark.place });
        if let Err(error) = self.checkpoint(mark, &images) {
            log::warn!("only one checkpoint has the copy of slot {}: {error}", slot.index());
        }
        Ok(mark.place)
    }

    /// Drops what was copied, as far as it does not have its final name.
    ///
    /// # Errors
    /// Returns the error of the file system when a file cannot be removed; the next start removes it then.
    pub fn drop_taken(&self, taken: Taken<D::File>) -> io::Result<()> {
        let numbers: Vec<u32> = taken.files.iter().map(|file| file.number).collect();
        drop(taken);
        numbers.into_iter().try_for_each(|number| {
            let removed = self.disk.remove(&names::new(&names::segment(number)));
            removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        })
    }

    /// Returns where the records of a state are: those that are here already, and the copies after them. Those in the
    /// segment that the log is written to are copied, too.
    fn spans_with(
        &self,
        taken: &mut Taken<D::File>,
        growing: u32,
        state: &CopiedState,
    ) -> io::Result<HashMap<TopicKey, Spans, RandomState>> {
        let mut all = HashMap::default();
        for CopiedTopic { id, first, next } in state.kept.iter().copied().filter(|topic| topic.first < topic.next) {
            let topic = TopicKey { slot: state.slot, id };
            let mut spans = self.spans.get(&topic).cloned();
            if spans.as_mut().is_some_and(|spans| !spans.trim(first, drop)) {
                spans = None;
            }
            if let Some((base, span)) = spans.as_mut().and_then(|spans| spans.pop(growing)) {
                let run = self.copy_out(taken, topic, base.max(first), span)?;
                taken.runs.entry(topic).or_default().insert(0, run);
                spans = spans.filter(|spans| !spans.is_empty());
            }
            for (base, span) in taken.runs.get(&topic).into_iter().flatten() {
                match &mut spans {
                    Some(spans) if spans.end() == *base => _ = spans.push(*span),
                    Some(_) => return Err(lacks(topic)),
                    None => spans = Some(Spans::new(*base, first, *span)),
                }
            }
            let spans = spans.filter(|spans| spans.base() <= first && spans.end() == next);
            all.insert(topic, spans.ok_or_else(|| lacks(topic))?);
        }
        Ok(all)
    }

    /// Copies the records of a span, from an offset on, to a segment of copies of its own.
    fn copy_out(
        &self,
        taken: &mut Taken<D::File>,
        topic: TopicKey,
        mut from: Offset,
        span: Span,
    ) -> io::Result<(Offset, Span)> {
        if taken.own.is_none() {
            let number = self.next_copies()?;
            let file = CopyFile::new(self.disk.create(&names::new(&names::segment(number)))?, number);
            taken.own = Some(number);
            taken.files.push(file);
        }
        let own = taken.files.iter_mut().find(|file| Some(file.number) == taken.own).expect("it was just added");
        let log = self.disk.open(&names::segment(span.segment))?;
        let mut runs = Vec::new();
        while from < span.end {
            let read = self.blocks(span.segment, topic).and_then(|blocks| {
                let filed = blocks.batches_from(from, READ_BYTES_MAX, u32::MAX)?;
                payloads(&log, span.segment, filed)
            });
            let mut batches =
                read.map_err(
                    |error| if let OpenError::Io { cause, .. } = error { cause } else { io::Error::other(error) },
                )?;
            from =
                batches.last().map(|(filed, _)| filed.end()).filter(|end| *end > from).ok_or_else(|| lacks(topic))?;
            own.put(self.stamp, &mut batches)?;
            add_run(&mut runs, own.number, &batches);
        }
        Ok(runs.remove(0))
    }

    /// Replaces the bookkeeping of all records of a group. Returns what it was.
    fn replace_spans(
        &mut self,
        slot: SlotId,
        spans: HashMap<TopicKey, Spans, RandomState>,
    ) -> HashMap<TopicKey, Spans, RandomState> {
        // Added first, so that no account falls below zero.
        #[expect(clippy::iter_over_hash_type, reason = "sums do not depend on the order")]
        for spans in spans.values() {
            spans.total().for_each(|change| self.change(change));
        }
        let before: HashMap<_, _, _> = self.spans.extract_if(|topic, _| topic.slot == slot).collect();
        #[expect(clippy::iter_over_hash_type, reason = "sums do not depend on the order")]
        for spans in before.values() {
            spans.total().for_each(|change| self.change(change.negated()));
        }
        self.spans.extend(spans);
        before
    }
}

/// Adds consecutive batches in a segment to the stretches of their topic.
fn add_run(runs: &mut Vec<(Offset, Span)>, segment: u32, batches: &[(Filed, Bytes)]) {
    let (first, _) = &batches[0];
    if runs.last().is_none_or(|(_, span)| span.segment != segment) {
        runs.push((first.base, Span { segment, bytes: 0, end: first.base, first_us: first.append_us }));
    }
    let (_, span) = runs.last_mut().expect("there is one");
    assert_eq!(span.end, first.base, "copied batches are consecutive");
    for (filed, _) in batches {
        (span.end, span.bytes) = (filed.end(), span.bytes.saturating_add(filed.len));
    }
}

fn lacks(topic: TopicKey) -> io::Error {
    io::Error::other(format!("the copy lacks records of topic {:x}", topic.id.number()))
}
