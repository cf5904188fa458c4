//! Cleaning: what is left of segments that are mostly dead is copied into a new one, so that they can go. Without it a
//! topic that keeps a little of every segment would hold them all.
//!
//! ```text
//!   41.log  ▓░░░░▓░░     what is live is copied, a piece at a time ──►  2147483649.log.new  ▓▓▓▓▓
//!   42.log  ░░▓░░░░░     complete: synced, its index beside it, then it gets its name and the books point to it
//!                        a checkpoint says so, and the next makes 41 and 42 unneeded
//! ```
//!
//! **Who decides.** Whoever keeps the books knows how many bytes of each segment are live. A segment is cleaned when at
//! most half of what was written to it is, and when no record in it has died since the last look: a log that is trimmed
//! from its beginning empties its segments by itself. When space is short there is no such respite. Runs of small
//! segments, which starts and cleaning leave, are put together as well. Only what the newest checkpoint covers is
//! touched, and nothing from the *log floor* on ([`Keeper::set_log_floor`]): that is log for others who need it.
//!
//! **What a crash leaves.** Without its name the new segment is removed by the next start. With it, but before a
//! checkpoint says that records are in it, it is removed too: everything still is where it was. From that checkpoint
//! on, the copies count. The segments that they came from go when no checkpoint that is kept needs them, like all dead
//! ones. Copies are not log: a start applies none.
//!
//! **Who notices.** Nobody: between two pieces records are read where they were, and when the books point to the
//! copies, where those are. What is trimmed or deleted meanwhile is copied in vain and dead at once. A record that
//! cannot be read stays where it is, and its segment with it.
//!
//! Cleaning takes no part of the log's own segments and none that are kept for the log: it writes a file of its own
//! that is no longer than what it holds. A journal at its limit leaves a segment's worth of bytes for it
//! (`prepare`).

use std::collections::VecDeque;
use std::io;

use super::copies;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{HEADER, Head, Kind, put_record, segment_header};
use super::index::Index;
use super::keeper::{Keeper, write_file};
use super::names;
use super::reader::payloads;
use super::spans::Span;
use crate::limits::{CLEAN_SMALL_PART, CLEAN_SMALL_SEGMENTS, FILL_SYNC_BYTES, READ_BYTES_MAX};
use crate::record::{Filed, Place};
use crate::types::{Offset, TopicId};

/// A run of cleaning: some segments whose live records are being copied.
#[derive(Debug)]
pub struct Cleaning<F> {
    file: F,
    /// The new segment, and how far it is written.
    number: u32,
    written: u32,
    index: Index,
    /// What is still to be copied, by topic and offset; of the first one, up to where it was.
    pieces: VecDeque<Piece>,
    /// What was copied of the first one.
    begun: Option<Run>,
    /// What was copied, each stretch of consecutive records.
    runs: Vec<Run>,
    /// The bytes of the segments that are cleaned.
    victims: Victims,
}

/// What a run of cleaning has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Victims {
    /// Segments that were cleaned.
    pub segments: usize,
    /// Bytes of their files.
    pub bytes: u64,
    /// Bytes of the file that has their live records.
    pub copied: u64,
}

/// A span that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    topic: TopicId,
    base: Offset,
    end: Offset,
    segment: u32,
}

/// Consecutive records of a topic that were copied.
#[derive(Clone, Copy, Debug)]
struct Run {
    topic: TopicId,
    base: Offset,
    end: Offset,
    bytes: u32,
    first_us: u64,
}

impl<D: Disk> Keeper<D> {
    /// Bounds what may be removed or cleaned: segments of the log from this one on are needed by others. Without a call
    /// the newest checkpoint alone bounds it.
    pub const fn set_log_floor(&mut self, segment: u32) {
        self.log_floor = segment;
    }

    /// Is there something to clean, now or when it has been left alone a little longer? A look remembers how much of
    /// each segment is live, and takes only what has not changed since the look before, unless it is `urgent`.
    /// `target_bytes` are what the live records of all segments cleaned at once may take.
    ///
    /// # Errors
    /// As the system's; then nothing was changed.
    pub fn look_for_dirt(&mut self, is_urgent: bool, target_bytes: u32) -> io::Result<Look<D::File>> {
        let room = u32::try_from(self.capacity.saturating_sub(self.used()?)).unwrap_or(u32::MAX);
        let (victims, has_others) = self.victims(is_urgent, (target_bytes, room));
        if victims.is_empty() {
            return Ok(if has_others { Look::Later } else { Look::Clean });
        }
        let mut pieces = self.pieces_in(&victims);
        pieces.sort_unstable();
        let number = self.next_copies();
        let file = self.disk.create(&names::new(&names::segment(number)))?;
        let sizes = victims.iter().map(|number| self.size_of(*number));
        let victims = Victims { segments: victims.len(), bytes: sizes.sum(), copied: 0 };
        Ok(Look::Dirty(Cleaning {
            file,
            number,
            written: 0,
            index: Index::default(),
            pieces: pieces.into(),
            begun: None,
            runs: Vec::new(),
            victims,
        }))
    }

    /// Copies some more: at least one batch, and no more than one read brings. True when all is copied.
    ///
    /// # Errors
    /// [`OpenError::Io`]; then it may be tried again, or given up with [`Self::give_up_cleaning`].
    pub fn clean_some(&mut self, cleaning: &mut Cleaning<D::File>) -> Result<bool, OpenError> {
        while let Some(piece) = cleaning.pieces.front().copied() {
            let first = self.live_of(piece.topic, piece.base, piece.segment);
            let from = cleaning.begun.map_or(piece.base, |begun| begun.end);
            // What is trimmed is not copied, nor is what comes too late to be.
            let Some(from) = first.map(|first| from.max(first)).filter(|from| *from < piece.end) else {
                cleaning.end_piece();
                continue;
            };
            match self.copy(cleaning, piece, from) {
                Ok(()) => return Ok(cleaning.pieces.is_empty()),
                Err(error @ OpenError::Damaged { .. }) => {
                    log::error!("topic {:x}: {error}; its segment is not cleaned", piece.topic.number());
                    self.leave(piece.segment);
                    cleaning.begun = None;
                    cleaning.pieces.pop_front();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Copies what one read brings of a piece.
    fn copy(&self, cleaning: &mut Cleaning<D::File>, piece: Piece, from: Offset) -> Result<(), OpenError> {
        let Piece { topic, end, segment, .. } = piece;
        let mut filed = self.blocks(segment, topic)?.batches_from(from, READ_BYTES_MAX, u32::MAX)?;
        filed.retain(|filed| filed.end() <= end);
        if filed.first().is_none_or(|first| from < first.base) {
            return Err(OpenError::damaged(&names::index(segment), 0, "it lacks records that were in it"));
        }
        let name = names::segment(segment);
        let file = self.disk.open(&name).map_err(|cause| OpenError::io(&name, cause))?;
        let mut batches = payloads(&file, segment, filed)?;
        cleaning
            .put(self.group, &mut batches)
            .map_err(|cause| OpenError::io(&names::segment(cleaning.number), cause))?;
        if cleaning.begun.is_some_and(|begun| begun.end == end) {
            cleaning.end_piece();
        }
        Ok(())
    }

    /// Ends a run that has copied everything: the copies are made safe and the books point to them. What it has come
    /// to; none when everything has died meanwhile.
    ///
    /// # Errors
    /// As the system's; then it may be tried again, or given up.
    pub fn finish_cleaning(&mut self, cleaning: &mut Cleaning<D::File>) -> io::Result<Victims> {
        assert!(cleaning.pieces.is_empty(), "everything is copied");
        let (number, name) = (cleaning.number, names::segment(cleaning.number));
        if cleaning.runs.is_empty() {
            self.disk.remove(&names::new(&name))?;
            return Ok(cleaning.victims);
        }
        cleaning.file.sync()?;
        write_file(&self.disk, &names::index(number), &cleaning.index.encode(number))?;
        // A checkpoint makes names safe before it relies on them, and until one does nothing is removed.
        self.disk.rename(&names::new(&name), &name)?;
        let total = cleaning.runs.iter().map(|run| u64::from(run.bytes)).sum();
        self.add_copies(number, cleaning.written.into(), total);
        for Run { topic, base, end, bytes, first_us } in std::mem::take(&mut cleaning.runs) {
            self.relocate(topic, base, Span { segment: number, bytes, end, first_us });
        }
        cleaning.victims.copied = cleaning.written.into();
        Ok(cleaning.victims)
    }

    /// Gives up a run: everything stays where it was.
    ///
    /// # Errors
    /// As the system's: then the next start removes what is left of it.
    pub fn give_up_cleaning(&mut self, cleaning: Cleaning<D::File>) -> io::Result<()> {
        let name = names::segment(cleaning.number);
        drop(cleaning);
        self.disk.remove(&names::new(&name))
    }

    /// The segments to be cleaned together, and whether others may be later.
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
            // Copies and their index may take twice what small records do.
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

    /// The first record that a topic keeps, if the span that begins there is still in that segment.
    fn live_of(&self, topic: TopicId, base: Offset, segment: u32) -> Option<Offset> {
        let spans = self.spans.get(&topic)?;
        let first = spans.first();
        spans.with(base.max(first)).is_some_and(|span| span.segment == segment).then_some(first)
    }
}

/// What a look for something to clean has found.
#[derive(Debug)]
pub enum Look<F> {
    /// Nothing.
    Clean,
    /// Something that is to be left alone a little longer.
    Later,
    /// A run that has begun.
    Dirty(Cleaning<F>),
}

impl<F> Cleaning<F> {
    /// Bytes that were written.
    pub const fn written(&self) -> u32 {
        self.written
    }
}

impl<F: DiskFile> Cleaning<F> {
    /// Writes copies of batches that follow each other, of the first piece, behind what is written.
    fn put(&mut self, group: u16, batches: &mut [(Filed, bytes::Bytes)]) -> io::Result<()> {
        let mut out = Vec::new();
        if self.written == 0 {
            out.extend_from_slice(&segment_header(self.number, 0));
        }
        let position = u32::try_from(self.written as usize + out.len() + HEADER).expect("a few segments");
        let start = Place { segment: self.number, position };
        let head = Head { kind: Kind::Copy, group, index: 0, term: 0, synced: 0 };
        put_record(self.number, head, &mut out, |out| copies::encode(batches, start, out));
        self.file.write_at(&out, self.written.into())?;
        let written = self.written + u32::try_from(out.len()).expect("a few reads");
        if written / FILL_SYNC_BYTES > self.written / FILL_SYNC_BYTES {
            // All of it at the end would take as long as hundreds of reads.
            self.file.sync()?;
        }
        self.written = written;
        let first = batches[0].0;
        let new = Run { topic: first.topic, base: first.base, end: first.base, bytes: 0, first_us: first.append_us };
        // What was begun may be trimmed up to somewhere behind its end.
        let begun = self.begun.take_if(|begun| begun.end == new.base).unwrap_or(new);
        let begun = self.begun.insert(begun);
        for (filed, _) in batches {
            self.index.add(filed);
            (begun.end, begun.bytes) = (filed.end(), begun.bytes + filed.len);
        }
        Ok(())
    }

    /// The first piece is copied, or not to be copied any more.
    fn end_piece(&mut self) {
        let piece = self.pieces.pop_front();
        let Some(run) = self.begun.take().filter(|run| piece.is_some_and(|piece| piece.end == run.end)) else { return };
        match self.runs.last_mut().filter(|last| last.topic == run.topic && last.end == run.base) {
            Some(last) => (last.end, last.bytes) = (run.end, last.bytes + run.bytes),
            None => self.runs.push(run),
        }
    }
}
