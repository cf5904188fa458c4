//! Segment cleaning: copies the live records out of segments that are mostly dead into a new segment, so that the old
//! ones can be removed. Without it, a topic that retains a few records of every segment would keep all segments on
//! disk.
//!
//! ```text
//!   41.log  ▓░░░░▓░░     live records are copied, one piece at a time ──►  2147483649.log.new  ▓▓▓▓▓
//!   42.log  ░░▓░░░░░     when complete: fsync, write its index, rename it, point the bookkeeping to it;
//!                        the next checkpoint refers to the copies; the checkpoint after that one allows
//!                        41 and 42 to be removed
//! ```
//!
//! **When a segment is cleaned.** The keeper counts the live bytes of each segment. A segment is cleaned when at most
//! half of what was written to it is live, and when no record in it has died since the previous look: a topic that is
//! trimmed from its beginning empties its segments by itself. When space is short, the second condition is waived.
//! Runs of small segments, which restarts and cleaning leave, are merged as well. Only segments that the newest
//! checkpoint covers are cleaned, and none of the part of the log that is kept for other members (`kept`).
//!
//! **What a crash leaves.** A new segment that has not been renamed is removed by the next start. One that has been
//! renamed, but that no checkpoint refers to yet, is removed too: the original records are still in place. Once a
//! checkpoint refers to the copies, they are authoritative. The original segments are removed, like all dead ones, when
//! neither of the two retained checkpoints needs them. Copies are not part of the log: a start does not apply them.
//!
//! **What readers see.** Nothing changes for them: until the bookkeeping points to the copies, records are read from
//! where they were, and afterwards from the copies. Records that are trimmed or deleted during the pass are copied
//! needlessly and are dead at once. A record that cannot be read stays where it is, and so does its segment.
//!
//! Cleaning uses neither segments that were prepared for the log nor the spare: it writes a file of its own that is no
//! longer than its content. A journal at its size limit reserves one segment's worth of bytes for it (`prepare`).

use std::collections::VecDeque;
use std::io;

use super::copies::CopyFile;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::keeper::{Keeper, write_file};
use super::names;
use super::reader::payloads;
use super::spans::Span;
use super::stamp::Stamp;
use crate::entry::{Filed, TopicKey};
use crate::limits::{CLEAN_SMALL_PART, CLEAN_SMALL_SEGMENTS, READ_BYTES_MAX};
use crate::types::Offset;

/// A cleaning pass: a set of segments whose live records are being copied.
#[derive(Debug)]
pub struct Cleaning<F> {
    copies: CopyFile<F>,
    /// Spans still to be copied, in the order of topic and offset. The first one may be partly copied.
    pieces: VecDeque<Piece>,
    /// The records of the first piece that have been copied so far; `None` before the first of them.
    begun: Option<Run>,
    /// What has been copied so far, one run per stretch of consecutive records.
    runs: Vec<Run>,
    /// The statistics of the segments being cleaned.
    victims: Victims,
}

/// The result of a cleaning pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Victims {
    /// Number of segments that were cleaned.
    pub segments: usize,
    /// Total size of the cleaned segments' files, in bytes.
    pub bytes: u64,
    /// Size in bytes of the file that the live records were copied to; 0 when no live records were left.
    pub copied: u64,
}

/// A span that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    topic: TopicKey,
    base: Offset,
    end: Offset,
    segment: u32,
}

/// Consecutive records of a topic that were copied.
#[derive(Clone, Copy, Debug)]
struct Run {
    topic: TopicKey,
    base: Offset,
    end: Offset,
    bytes: u32,
    first_us: u64,
}

impl<D: Disk> Keeper<D> {
    /// Looks for segments to clean and begins a pass when there are some. Each look remembers how many bytes of each
    /// segment are live, and only segments unchanged since the previous look are taken, unless `is_urgent`.
    /// `target_bytes` limits the live bytes that one pass copies.
    ///
    /// # Errors
    /// Returns the error of the file system; nothing has changed then.
    pub fn look_for_dirt(&mut self, is_urgent: bool, target_bytes: u32) -> io::Result<Look<D::File>> {
        let room = u32::try_from(self.capacity.saturating_sub(self.used()?)).unwrap_or(u32::MAX);
        let (victims, has_others) = self.victims(is_urgent, (target_bytes, room));
        if victims.is_empty() {
            return Ok(if has_others { Look::Later } else { Look::Clean });
        }
        let mut pieces = self.pieces_in(&victims);
        pieces.sort_unstable();
        let number = self.next_copies()?;
        let file = self.disk.create(&names::new(&names::segment(number)))?;
        let sizes = victims.iter().map(|number| self.size_of(*number));
        let victims = Victims { segments: victims.len(), bytes: sizes.sum(), copied: 0 };
        Ok(Look::Dirty(Cleaning {
            copies: CopyFile::new(file, number),
            pieces: pieces.into(),
            begun: None,
            runs: Vec::new(),
            victims,
        }))
    }

    /// Copies the next part: at least one batch, and at most what one read returns. Returns true when everything has
    /// been copied.
    ///
    /// # Errors
    /// Returns [`OpenError::Io`] when a file cannot be read or written. The caller may retry, or abandon the pass with
    /// [`Self::give_up_cleaning`].
    pub fn clean_some(&mut self, cleaning: &mut Cleaning<D::File>) -> Result<bool, OpenError> {
        while let Some(piece) = cleaning.pieces.front().copied() {
            let first = self.live_of(piece.topic, piece.base, piece.segment);
            let from = cleaning.begun.map_or(piece.base, |begun| begun.end);
            // Records that are trimmed, or that already lie in another segment, need no copying.
            let Some(from) = first.map(|first| from.max(first)).filter(|from| *from < piece.end) else {
                cleaning.end_piece();
                continue;
            };
            match self.copy(cleaning, piece, from) {
                Ok(()) => return Ok(cleaning.pieces.is_empty()),
                Err(error @ OpenError::Damaged { .. }) => {
                    let segment = names::segment(piece.segment);
                    log::error!("{segment} is not cleaned, since records in it cannot be read: {error}");
                    self.leave(piece.segment);
                    cleaning.begun = None;
                    cleaning.pieces.pop_front();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Copies what one read returns of a piece, beginning at `from`.
    fn copy(&self, cleaning: &mut Cleaning<D::File>, piece: Piece, from: Offset) -> Result<(), OpenError> {
        let Piece { topic, end, segment, .. } = piece;
        let mut filed = self.blocks(segment, topic)?.batches_from(from, READ_BYTES_MAX, u32::MAX)?;
        filed.retain(|filed| filed.end() <= end);
        if filed.first().is_none_or(|first| from < first.base) {
            return Err(OpenError::damaged(&names::index(segment), 0, "it lacks records of its segment"));
        }
        let name = names::segment(segment);
        let file = self.disk.open(&name).map_err(|cause| OpenError::io(&name, cause))?;
        let mut batches = payloads(&file, segment, filed)?;
        cleaning
            .put(self.stamp, &mut batches)
            .map_err(|cause| OpenError::io(&names::segment(cleaning.copies.number), cause))?;
        if cleaning.begun.is_some_and(|begun| begun.end == end) {
            cleaning.end_piece();
        }
        Ok(())
    }

    /// Completes a pass that has copied everything: fsyncs the copies and points the bookkeeping to them. Returns the
    /// statistics of the pass; when all records have died meanwhile, the new file is removed and `copied` is 0.
    ///
    /// # Errors
    /// Returns the error of the file system. The caller may retry, or abandon the pass.
    pub fn finish_cleaning(&mut self, cleaning: &mut Cleaning<D::File>) -> io::Result<Victims> {
        assert!(cleaning.pieces.is_empty(), "all pieces have been copied");
        let CopyFile { file, number, written, index } = &cleaning.copies;
        let (number, name) = (*number, names::segment(*number));
        if cleaning.runs.is_empty() {
            self.disk.remove(&names::new(&name))?;
            return Ok(cleaning.victims);
        }
        planted!("copies renamed before their sync", file.sync()?, ());
        write_file(&self.disk, &names::index(number), &index.encode(self.stamp, number))?;
        // The rename need not be durable yet: a checkpoint syncs names before it relies on them, and no original
        // segment is removed before that checkpoint.
        self.disk.rename(&names::new(&name), &name)?;
        let total = cleaning.runs.iter().map(|run| u64::from(run.bytes)).sum();
        let written = u64::from(*written);
        self.add_copies(number, written, total);
        for Run { topic, base, end, bytes, first_us } in std::mem::take(&mut cleaning.runs) {
            self.relocate(topic, base, Span { segment: number, bytes, end, first_us });
        }
        cleaning.victims.copied = written;
        Ok(cleaning.victims)
    }

    /// Abandons a pass: all records stay where they were.
    ///
    /// # Errors
    /// Returns the error of the file system when the partial file cannot be removed; the next start removes it then.
    pub fn give_up_cleaning(&mut self, cleaning: Cleaning<D::File>) -> io::Result<()> {
        let name = names::segment(cleaning.copies.number);
        drop(cleaning);
        self.disk.remove(&names::new(&name))
    }

    /// Returns the segments to clean in one pass, and whether more may qualify later.
    fn victims(&mut self, is_urgent: bool, (target_bytes, room): (u32, u32)) -> (Vec<u32>, bool) {
        let mut dirty = Vec::new();
        let mut has_others = false;
        let (mut small, small_max) = (Vec::new(), u64::from(target_bytes / CLEAN_SMALL_PART));
        for (number, segment) in self.cleanable() {
            let is_calm = segment.seen.replace(segment.live_bytes) == Some(segment.live_bytes);
            if segment.live_bytes * 2 <= segment.total_bytes {
                if is_calm || is_urgent {
                    dirty.push((segment.live_bytes * 1024 / segment.total_bytes.max(1), number, segment.live_bytes));
                } else {
                    has_others = true;
                }
            } else if segment.size <= small_max && is_calm {
                small.push((0, number, segment.live_bytes));
            }
        }
        dirty.sort_unstable();
        if small.len() >= CLEAN_SMALL_SEGMENTS {
            dirty.append(&mut small);
        }
        let mut sum = 0;
        let fits = |(_, number, live): &(u64, u32, u64)| {
            sum += live;
            // When records are small, the copies and their index may take up to twice the bytes of the payloads.
            (sum <= u64::from(target_bytes.min(room / 2))).then_some(*number)
        };
        let victims: Vec<u32> = dirty.iter().map_while(fits).collect();
        let is_late = has_others || victims.is_empty() && !dirty.is_empty();
        (victims, is_late)
    }

    fn pieces_in(&self, victims: &[u32]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        #[expect(clippy::iter_over_hash_type, reason = "they are sorted")]
        for (topic, spans) in &self.spans {
            for (base, span) in spans.iter().filter(|(_, span)| victims.contains(&span.segment)) {
                pieces.push(Piece { topic: *topic, base, end: span.end, segment: span.segment });
            }
        }
        pieces
    }

    /// Returns the first offset that a topic retains, or `None` when the span that begins at `base` is no longer in
    /// that segment.
    fn live_of(&self, topic: TopicKey, base: Offset, segment: u32) -> Option<Offset> {
        let spans = self.spans.get(&topic)?;
        let first = spans.first();
        spans.with(base.max(first)).is_some_and(|span| span.segment == segment).then_some(first)
    }
}

/// The result of [`Keeper::look_for_dirt`].
#[derive(Debug)]
pub enum Look<F> {
    /// No segment needs cleaning.
    Clean,
    /// Segments qualify, but not yet: records in them have died recently, or their copies do not fit.
    Later,
    /// A pass has begun.
    Dirty(Cleaning<F>),
}

impl<F> Cleaning<F> {
    /// Returns the bytes written to the new segment so far.
    pub const fn written(&self) -> u32 {
        self.copies.written
    }
}

impl<F: DiskFile> Cleaning<F> {
    /// Appends copies of consecutive batches to the new segment; the batches come from the first piece that is left to
    /// copy.
    fn put(&mut self, stamp: Stamp, batches: &mut [(Filed, bytes::Bytes)]) -> io::Result<()> {
        self.copies.put(stamp, batches)?;
        let first = batches[0].0;
        let new = Run { topic: first.topic, base: first.base, end: first.base, bytes: 0, first_us: first.append_us };
        // A trim during the copying may have removed the records after the current run; then a new run begins.
        let begun = self.begun.take_if(|begun| begun.end == new.base).unwrap_or(new);
        let begun = self.begun.insert(begun);
        for (filed, _) in batches {
            (begun.end, begun.bytes) = (filed.end(), begun.bytes + filed.len);
        }
        Ok(())
    }

    /// Ends the first piece, after it was copied or when its records no longer exist.
    fn end_piece(&mut self) {
        let piece = self.pieces.pop_front();
        let Some(run) = self.begun.take().filter(|run| piece.is_some_and(|piece| piece.end == run.end)) else { return };
        match self.runs.last_mut().filter(|last| last.topic == run.topic && last.end == run.base) {
            Some(last) => (last.end, last.bytes) = (run.end, last.bytes + run.bytes),
            None => self.runs.push(run),
        }
    }
}
