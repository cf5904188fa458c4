//! Installation of a snapshot: records of a group that were copied from another node, and the state that goes with
//! them.
//!
//! ```text
//!   keep      append batches from another node to segments of copies            2147483650.log.new  ▓▓▓
//!   install   fsync these segments, write their indexes, and rename them; then write one checkpoint, in which
//!             the bookkeeping of the group refers to them and its log begins after the state
//! ```
//!
//! Records of a topic that the journal already has stay where they are, and the copies continue after them. Records in
//! the segment to which the log is still being written are the only exception: they are copied as well, so that no
//! segment ever has two separate runs of one topic. The bookkeeping of topics that are not in the state is dropped.
//!
//! **What a crash leaves.** Until the checkpoint, nothing refers to the new files. (If the checkpoint fails, and the
//! process goes on, the files that have been renamed remain as segments without live records, which cleaning removes.)
//! The next start removes those that still have a temporary name, and the renamed ones once neither of the two newest
//! checkpoints needs them. The checkpoint replaces the state of the group and the bookkeeping of its records in one
//! step. A second checkpoint follows at once, so that no start falls back to a checkpoint from before the installation:
//! the log has no entries that lead from that state to the new one.
//!
//! **What becomes of the log.** Bodies of the group that lie before the checkpoint's end are no longer part of its log.
//! They only remain as the places of records that were applied. The batches of those that were not applied count as
//! void, and no such body is sent to another member ([`Bodies::begin_after`]).
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

/// Records of a group that were copied from another node, and to which no checkpoint refers yet.
#[derive(Debug)]
pub struct Taken<F> {
    /// The segments of copies. Records from the other node are appended to the last one.
    files: Vec<CopyFile<F>>,
    /// The number of the segment that has copies of this node's own records, once there is one.
    own: Option<u32>,
    /// For each topic, its runs of consecutive records with their base offsets: one for each segment.
    runs: BTreeMap<TopicKey, Vec<(Offset, Span)>>,
}

impl<F> Default for Taken<F> {
    fn default() -> Self {
        Self { files: Vec::new(), own: None, runs: BTreeMap::new() }
    }
}

impl<D: Disk> Keeper<D> {
    /// Appends consecutive batches of a topic to the copies. They must follow the batches of the topic that were
    /// appended before. A new segment is begun when the last one has at least `segment_bytes` bytes.
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
            // As for a segment of the log, the space of one more segment is left to cleaning.
            if self.used()?.saturating_add(2 * u64::from(segment_bytes)) > self.capacity {
                let what = "copying the state of a group would take more disk space than --disk allows";
                return Err(io::Error::new(io::ErrorKind::StorageFull, what));
            }
            let number = self.next_copies()?;
            let file = self.disk.create(&names::new(&names::segment(number)))?;
            taken.files.push(CopyFile::new(file, number));
        }
        let file = taken.files.last_mut().expect("one is added when there is none");
        file.put(self.stamp, batches)?;
        add_run(taken.runs.entry(topic).or_default(), file.number, batches);
        Ok(())
    }

    /// Installs a copied state as the state of its group, by a checkpoint at `mark`, the end of the log. `images` are
    /// the states of all groups of the node; that of this group is replaced. All bodies of the group must be durable
    /// and noted. Returns the place in the journal after which the log of the group continues.
    ///
    /// # Errors
    /// Returns the error of the file system, or an error that names a topic of which the copy lacks records. The keeper
    /// then still has the previous state of the group.
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
        images.push(Image { slot, applied, open: None, needed, pinned: None, topics });
        images.sort_by_key(|image| image.slot);
        if let Err(error) = self.checkpoint(mark, &images) {
            self.replace_spans(slot, before);
            self.bodies.restore(slot, bodies);
            self.remove_void(&state.void);
            return Err(error);
        }
        self.bodies.remember(slot, Spot { index: state.index, term: state.term, end: mark.place });
        if let Err(error) = self.checkpoint(mark, &images) {
            log::warn!("the copy of slot {} is in one checkpoint only: {error}", slot.index());
        }
        Ok(mark.place)
    }

    /// Forgets the records and the log of a group whose copy is given up. The next checkpoint must have no state of it.
    pub fn drop_group(&mut self, slot: SlotId) {
        self.replace_spans(slot, HashMap::default());
        self.bodies.forget(slot);
    }

    /// Removes the copied segments that still have a temporary name.
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

    /// Returns the spans of all records of a state: those that the journal already has, then the copies. Records in the
    /// segment `growing`, to which the log is being written, are copied first.
    fn spans_with(
        &self,
        taken: &mut Taken<D::File>,
        growing: u32,
        state: &CopiedState,
    ) -> io::Result<HashMap<TopicKey, Spans, RandomState>> {
        let mut all = HashMap::default();
        for CopiedTopic { id, first, next } in state.kept.iter().copied().filter(|topic| topic.first < topic.next) {
            let topic = TopicKey { slot: state.slot, id };
            let own = self.spans.get(&topic).cloned();
            let own = own.and_then(|mut spans| spans.trim(first, drop).then_some(spans));
            let (mut spans, last) = own.map_or((None, None), |spans| spans.split_last(growing));
            if let Some((base, span)) = last {
                let run = self.copy_out(taken, topic, base.max(first), span)?;
                taken.runs.entry(topic).or_default().insert(0, run);
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

    /// Copies the records of `span` from offset `from` on to the segment for copies of this node's own records. Returns
    /// the base offset and the span of the copies.
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
        let run = runs.pop().filter(|_| runs.is_empty());
        Ok(run.expect("the span has records from `from` on, and all copies are in one segment"))
    }

    /// Replaces the spans of all topics of a group. Returns the previous ones.
    fn replace_spans(
        &mut self,
        slot: SlotId,
        spans: HashMap<TopicKey, Spans, RandomState>,
    ) -> HashMap<TopicKey, Spans, RandomState> {
        // The new spans are added before the old ones are subtracted, so that no total falls below zero.
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

/// Extends the runs of a topic with consecutive batches that were copied to `segment`.
fn add_run(runs: &mut Vec<(Offset, Span)>, segment: u32, batches: &[(Filed, Bytes)]) {
    let (first, _) = &batches[0];
    if runs.last().is_none_or(|(_, span)| span.segment != segment) {
        runs.push((first.base, Span { segment, bytes: 0, end: first.base, first_us: first.append_us }));
    }
    let (_, span) = runs.last_mut().expect("one is added when there is none");
    assert_eq!(span.end, first.base, "copied batches are consecutive");
    for (filed, _) in batches {
        (span.end, span.bytes) = (filed.end(), span.bytes.saturating_add(filed.len));
    }
}

fn lacks(topic: TopicKey) -> io::Error {
    io::Error::other(format!("the copy lacks records of topic {:x}", topic.id.number()))
}
