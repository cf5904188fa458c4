//! The keeper tracks everything before the end of the log: indexes, checkpoints, and which segments are still needed.
//!
//! It receives what applying the entries did ([`Note`]), in the order of the log. From that it knows in which segments
//! each topic has records, and can find them again. A checkpoint makes the dead segments before it removable: they are
//! deleted, or recycled for the log. Segments that are mostly dead are cleaned (`clean`).

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use foldhash::fast::RandomState;

use super::bodies::Bodies;
use super::copies;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::index::Index;
use super::kept::Kept;
use super::names::{self, CheckpointId};
use super::reader::{Blocks, payloads};
use super::spans::{Change, Span, Spans};
use super::stamp::Stamp;
use super::writer::{HEADER_LEN, Mark};
use super::{books, checkpoint};
use crate::entry::{Filed, Found, Image, Note, Place, TopicKey, Wanted};
use crate::types::{Offset, SlotId};

/// The bookkeeping of the journal.
#[derive(Debug)]
pub struct Keeper<D: Disk> {
    pub(super) disk: D,
    /// The slot of all topics in files of a format before 3.
    pub(super) only: SlotId,
    /// The stamp of the files that the keeper writes.
    pub(super) stamp: Stamp,
    /// All segments with records, live or dead, by number.
    segments: BTreeMap<u32, Segment<D::File>>,
    /// The spans of each topic that has records.
    pub(super) spans: HashMap<TopicKey, Spans, RandomState>,
    /// Where the bodies of the groups' logs are.
    pub(super) bodies: Bodies,
    /// The newest checkpoint and its predecessor, which a start falls back to when the newest one is damaged.
    newest: Option<CheckpointId>,
    older: Option<CheckpointId>,
    /// The first segment with bodies that the newest checkpoint does not include. All earlier ones were complete when
    /// it was taken.
    checkpointed: u32,
    /// True if the log went on after the first body that the newest checkpoint does not include.
    is_open: bool,
    /// Segments without live records that the newest checkpoint does not need; its predecessor may still need them.
    dead: BTreeSet<u32>,
    /// The part of the log that is kept for other members.
    pub(super) kept: Kept,
    pub(super) has_spare: bool,
    /// Bytes that all files may have together when a segment is added.
    pub(super) capacity: u64,
}

/// What is known of a segment.
#[derive(Debug)]
pub(super) struct Segment<F> {
    /// The index in memory, until its file is complete; empty afterwards.
    index: Index,
    /// Number of spans that lie in the segment. When it is 0, the segment is dead.
    live: u32,
    /// Bytes of the payloads of live records; `total_bytes` counts all payloads ever written to the segment.
    pub(super) live_bytes: u64,
    pub(super) total_bytes: u64,
    /// The live bytes at the last look for segments to clean; `has_damage` is true when records in the segment cannot
    /// be read, so that it must not be cleaned.
    pub(super) seen: Option<u64>,
    has_damage: bool,
    /// Size of the file in bytes.
    pub(super) size: u64,
    /// A second handle of the file, kept until a checkpoint lies in a later segment. If a checkpoint had to open the
    /// file for its sync, it would fail whenever the rest of the process has used up the file descriptors.
    log: Option<F>,
    /// Positions of the payloads of void batches, ascending; `None` when they are unknown because a program that wrote
    /// format 1 began the segment.
    void: Option<Vec<u32>>,
}

impl<F> Default for Segment<F> {
    fn default() -> Self {
        Self {
            index: Index::default(),
            live: 0,
            live_bytes: 0,
            total_bytes: 0,
            seen: None,
            has_damage: false,
            size: 0,
            log: None,
            void: Some(Vec::new()),
        }
    }
}

impl<D: Disk> Keeper<D> {
    /// Returns a keeper without segments or checkpoints.
    pub(super) fn new(disk: D, only: SlotId, stamp: Stamp) -> Self {
        Self {
            disk,
            only,
            stamp,
            segments: BTreeMap::new(),
            spans: HashMap::default(),
            bodies: Bodies::default(),
            newest: None,
            older: None,
            checkpointed: 0,
            is_open: false,
            dead: BTreeSet::new(),
            kept: Kept::default(),
            has_spare: false,
            capacity: u64::MAX,
        }
    }

    /// Sets the newest checkpoint, its predecessor, and the first segment with bodies that the newest one does not
    /// include. Everything that it refers to must have been added before.
    pub(super) fn begin(&mut self, checkpoints: (Option<CheckpointId>, Option<CheckpointId>), segment: u32) {
        (self.newest, self.older) = checkpoints;
        self.checkpointed = segment;
        self.dead = self.dead(segment).into_iter().map(|(number, _)| number).collect();
    }

    /// Sets the stamp of the files that the keeper writes.
    pub const fn set_stamp(&mut self, stamp: Stamp) {
        self.stamp = stamp;
    }

    /// Sets the limit on the total size of all files in bytes. No segment that would exceed it is prepared.
    pub const fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    /// Adds a segment whose file has `size` bytes; `log` is a handle of the file when it is one that the log will be
    /// written to.
    pub(super) fn add_segment(&mut self, number: u32, size: u64, log: Option<D::File>) {
        let segment = self.segments.entry(number).or_default();
        (segment.size, segment.log) = (size, log);
    }

    /// Sets the positions of the void batches of a segment; `None` when they are unknown.
    pub(super) fn set_void(&mut self, number: u32, void: Option<Vec<u32>>) {
        self.segments.entry(number).or_default().void = void;
    }

    /// Returns the positions of the void batches of a segment, or `None` when they are unknown.
    pub(super) fn void(&self, segment: u32) -> Option<&[u32]> {
        self.segments.get(&segment)?.void.as_deref()
    }

    /// Returns the append time, in microseconds, of the record before offset `end` of a topic, which lies in `segment`;
    /// 0 when it cannot be read.
    pub(super) fn time_before(&self, topic: TopicKey, segment: u32, end: Offset) -> u64 {
        let last = end.0.checked_sub(1).map(Offset);
        let found = last.and_then(|last| self.blocks(segment, topic).ok()?.batches_from(last, 1, 1).ok());
        found.and_then(|filed| filed.first().map(|filed| filed.append_us)).unwrap_or(0)
    }

    /// Adds a batch to the in-memory index of its segment, which is being rebuilt or will grow.
    pub(super) fn enter(&mut self, filed: &Filed) {
        self.segments.entry(filed.place.segment).or_default().index.add(filed);
    }

    /// Sets the bytes of all payloads ever written to a segment.
    pub(super) fn set_total(&mut self, number: u32, bytes: u64) {
        self.segments.entry(number).or_default().total_bytes = bytes;
    }

    /// Returns the span that holds a record of a topic.
    pub(super) fn span_with(&self, topic: TopicKey, offset: Offset) -> Option<Span> {
        self.spans.get(&topic)?.with(offset)
    }

    /// Returns for each topic with records in a segment the span before that segment's, if any, and the end offset
    /// (exclusive) of the segment's span.
    pub(super) fn spans_in(&self, segment: u32) -> BTreeMap<TopicKey, (Option<Span>, Offset)> {
        let found = |(topic, spans): (&TopicKey, &Spans)| {
            let mut before = None;
            let (_, span) = spans.iter().find(|(_, span)| {
                let is_found = span.segment == segment;
                before = if is_found { before } else { Some(*span) };
                is_found
            })?;
            Some((*topic, (before, span.end)))
        };
        self.spans.iter().filter_map(found).collect()
    }

    /// Writes the in-memory indexes of the segments of the log up to `last`, and of the segments of copies. All of them
    /// except that of `last` are complete and are dropped from memory.
    pub(super) fn write_indexes(&mut self, last: u32) -> io::Result<()> {
        let past = |number: u32| number <= last || copies::is_copies(number);
        for (&number, segment) in self.segments.iter_mut().filter(|(number, _)| past(**number)) {
            if !segment.index.is_empty() {
                write_file(&self.disk, &names::index(number), &segment.index.encode(self.stamp, number))?;
            }
            if number != last {
                segment.index = Index::default();
            }
        }
        Ok(())
    }

    /// Adds a span of a topic, after all of its spans added before, in a segment whose index is complete. `base` is the
    /// offset of the span's first record, `first` the first offset that the topic retains.
    pub(super) fn add_span(&mut self, topic: TopicKey, (base, first): (Offset, Offset), span: Span) {
        let change = match self.spans.entry(topic) {
            Entry::Occupied(mut spans) => spans.get_mut().push(span),
            Entry::Vacant(spans) => spans.insert(Spans::new(base, first, span)).whole(),
        };
        self.change(change);
    }

    /// Returns the end offset (exclusive) of a topic's records; `None` when it has none.
    pub(super) fn end_of(&self, topic: TopicKey) -> Option<Offset> {
        self.spans.get(&topic).map(Spans::end)
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.segments);
    }

    /// Records written bodies, in the order of the journal, and the results of applied entries. Those of a group must
    /// come in the order of its log.
    pub fn note(&mut self, notes: &[Note]) {
        for note in notes {
            match *note {
                Note::Body { slot, index, place } => {
                    self.bodies.add(slot, index, Place { position: place.position - HEADER_LEN, ..place });
                }
                Note::Stored(filed) => self.file(filed),
                Note::Void(place) => self.add_void(&[place]),
                Note::Trimmed { topic, first } => self.trim(topic, first),
                Note::Deleted { topic } => self.trim(topic, Offset(u64::MAX)),
            }
        }
    }

    /// Notes the places of batches that are in the log but were not stored in their topics.
    pub(super) fn add_void(&mut self, places: &[Place]) {
        for Place { segment, position } in places {
            if let Some(void) = &mut self.segments.entry(*segment).or_default().void {
                // Another group may have applied later bodies already.
                let at = void.partition_point(|known| known < position);
                void.insert(at, *position);
            }
        }
    }

    /// Undoes [`Self::add_void`].
    pub(super) fn remove_void(&mut self, places: &[Place]) {
        for Place { segment, position } in places {
            let void = self.segments.get_mut(segment).and_then(|segment| segment.void.as_mut());
            if let Some((void, at)) = void.and_then(|void| void.binary_search(position).ok().map(|at| (void, at))) {
                void.remove(at);
            }
        }
    }

    fn file(&mut self, filed: Filed) {
        let segment = self.segments.entry(filed.place.segment).or_default();
        segment.index.add(&filed);
        segment.total_bytes += u64::from(filed.len);
        let change = match self.spans.entry(filed.topic) {
            Entry::Occupied(mut spans) => spans.get_mut().file(&filed),
            Entry::Vacant(spans) => spans.insert(Spans::new(filed.base, filed.base, Span::of(&filed))).whole(),
        };
        self.change(change);
    }

    /// Reads through the indexes as they are, without rebuilding any.
    pub(super) fn read_once(&self, topic: TopicKey, wanted: Wanted) -> Result<Found, OpenError> {
        let spans = self.spans.get(&topic);
        // Records that retention has removed since the read was requested are not damage.
        let is_removed = |from: Offset| spans.is_some_and(|spans| from < spans.base());
        match wanted {
            Wanted::Records { from, .. } | Wanted::Batches { from, .. } if is_removed(from) => {
                Ok(Found::Batches(Vec::new()))
            }
            Wanted::Records { from, .. } | Wanted::Batches { from, .. } => {
                let Some(span) = spans.and_then(|spans| spans.with(from)) else {
                    return Ok(Found::Batches(Vec::new()));
                };
                let blocks = self.blocks(span.segment, topic)?;
                let mut filed = match wanted {
                    Wanted::Records { max_bytes, max_records, .. } => {
                        blocks.batches_from(from, max_bytes, max_records)?
                    }
                    Wanted::Batches { max_bytes, max_batches, .. } => {
                        blocks.whole_batches_from(from, max_bytes, max_batches)?
                    }
                    Wanted::Time { .. } => unreachable!("batches are wanted"),
                };
                if filed.first().is_none_or(|first| from < first.base) {
                    let name = names::index(span.segment);
                    return Err(OpenError::damaged(&name, 0, "it lacks records of its segment"));
                }
                // A batch without bytes stands for records that a repair has dropped.
                if let Some(end) = filed.iter().take_while(|filed| filed.len == 0).last().map(Filed::end) {
                    return Ok(Found::Gap(end));
                }
                let held = filed.iter().position(|filed| filed.len == 0).unwrap_or(filed.len());
                filed.truncate(held);
                let name = names::segment(span.segment);
                let file = self.disk.open(&name).map_err(|cause| OpenError::io(&name, cause))?;
                payloads(&file, span.segment, filed).map(Found::Batches)
            }
            Wanted::Time { append_us, from, end } => {
                let Some(span) = spans.and_then(|spans| spans.before(append_us, from, end)) else {
                    return Ok(Found::Offset(end));
                };
                // A segment of copies may also hold later records of the topic, which do not directly follow those of
                // this span.
                let end = end.min(span.end);
                let found = self.blocks(span.segment, topic)?.find_time(append_us, from..end)?;
                Ok(Found::Offset(found.unwrap_or(end)))
            }
        }
    }

    pub(super) fn blocks(&self, segment: u32, topic: TopicKey) -> Result<Blocks<'_, D::File>, OpenError> {
        match self.segments.get(&segment).map(|segment| &segment.index).filter(|index| !index.is_empty()) {
            Some(index) => Ok(Blocks::growing(index, segment, topic)),
            None => Blocks::open(&self.disk, segment, topic, self.only),
        }
    }

    fn trim(&mut self, topic: TopicKey, first: Offset) {
        let Some(spans) = self.spans.get_mut(&topic) else { return };
        let is_left = spans.trim(first, |change| change.apply(&mut self.segments));
        if !is_left {
            self.spans.remove(&topic);
        }
    }

    /// Moves records of a topic to the segment that they were copied to; see [`Spans::relocate`].
    pub(super) fn relocate(&mut self, topic: TopicKey, base: Offset, span: Span) {
        if let Some(spans) = self.spans.get_mut(&topic) {
            spans.relocate(base, span, |change| change.apply(&mut self.segments));
        }
        let floor = self.checkpointed;
        planted!("originals removed too early", (), drop((self.remove_dead(floor), self.remove_dead(floor))));
    }

    /// Adds a complete segment of copies with a file of `size` bytes and payloads of `total_bytes`.
    pub(super) fn add_copies(&mut self, number: u32, size: u64, total_bytes: u64) {
        self.segments.insert(number, Segment { size, total_bytes, ..Segment::default() });
    }

    /// Returns the number for a new segment of copies. The numbers of segments that are still being written, under a
    /// temporary name, are skipped.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub(super) fn next_copies(&self) -> io::Result<u32> {
        let (last, files) = (self.segments.keys().next_back().copied().unwrap_or(0), self.disk.list()?);
        let is_taken = |number: &u32| files.contains(&names::new(&names::segment(*number)));
        let mut free = (last.max(copies::FIRST)..u32::MAX).skip(1).skip_while(is_taken);
        Ok(free.next().expect("segment numbers are never exhausted"))
    }

    /// Marks a segment as having records that cannot be read, so that it is not cleaned.
    pub(super) fn leave(&mut self, number: u32) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.has_damage = true;
        }
    }

    /// Returns the segments that may be cleaned: those of the log before the newest checkpoint and below the log floor,
    /// and those of copies.
    pub(super) fn cleanable(&mut self) -> impl Iterator<Item = (u32, &mut Segment<D::File>)> {
        let floor = planted!("cleaned before a checkpoint", self.checkpointed, u32::MAX).min(self.kept.floor());
        let may_be_cleaned = move |number: u32| number < floor || copies::is_copies(number);
        let segments = self.segments.iter_mut().map(|(number, segment)| (*number, segment));
        segments.filter(move |(number, segment)| may_be_cleaned(*number) && segment.live > 0 && !segment.has_damage)
    }

    /// Returns the size of a segment's file in bytes.
    pub(super) fn size_of(&self, number: u32) -> u64 {
        self.segments.get(&number).map_or(0, |segment| segment.size)
    }

    /// Makes the log durable up to `mark`, which lies in the segment being written or before, so that a checkpoint may
    /// rely on it. The writer may not have synced it yet.
    ///
    /// # Errors
    /// Returns the error of the file system. The kernel may then have dropped writes of the log without an error at the
    /// writer's next sync, so the process must exit.
    pub fn sync_log(&self, mark: Mark) -> io::Result<()> {
        planted!("checkpoint ahead of the log's sync", (), return Ok(()));
        match self.segments.get(&mark.place.segment).and_then(|segment| segment.log.as_ref()) {
            Some(log) => log.sync(),
            None => self.disk.open(&names::segment(mark.place.segment))?.sync(),
        }
    }

    /// Writes a checkpoint of a state of each group when the log ends at `mark`. A state includes bodies of its group
    /// up to some point before that ([`Image`]). All bodies must be durable and noted, and so must be the results of
    /// those that are applied. Then removes the files that are no longer needed.
    ///
    /// # Errors
    /// Returns the error of the file system. The previous checkpoint remains valid.
    pub fn checkpoint(&mut self, mark: Mark, images: &[Image]) -> io::Result<()> {
        for (&number, segment) in self.segments.range(..copies::FIRST) {
            if !segment.index.is_empty() {
                write_file(&self.disk, &names::index(number), &segment.index.encode(self.stamp, number))?;
            }
        }
        // The indexes must be durable before the checkpoint that relies on them.
        planted!("checkpoint ahead of its indexes", self.disk.sync_names()?, ());
        let open = images.iter().filter_map(|image| image.open);
        let open = open.map(|body| Place { position: body.position - HEADER_LEN, ..body }).min();
        let open = planted!("checkpoint without bodies that are not applied", open, None);
        let from = open.map_or(mark.place, |open| open.min(mark.place));
        self.keep_log(images);
        planted!("segments removed before the checkpoint", (), self.remove_dead(from.segment)?);
        let id = CheckpointId::after(self.newest);
        let file = checkpoint::encode((id, self.stamp), (from, mark), images, &self.books());
        write_file(&self.disk, &names::checkpoint(id), &file)?;
        self.disk.sync_names()?;
        (self.checkpointed, self.is_open) = (from.segment, from < mark.place);
        for (_, segment) in self.segments.range_mut(..from.segment) {
            (segment.index, segment.log) = (Index::default(), None);
        }
        let oldest = std::mem::replace(&mut self.older, self.newest.replace(id));
        if let Some(oldest) = oldest {
            self.disk.remove(&names::checkpoint(oldest))?;
        }
        self.remove_dead(from.segment)
    }

    /// Returns the number and size of each segment without live records: those of the log before segment `before`, and
    /// those of copies. The best candidate for the spare file comes first.
    fn dead(&self, before: u32) -> Vec<(u32, u64)> {
        let dead = self.segments.range(..before).chain(self.segments.range(copies::FIRST..));
        let dead = dead.filter(|(_, segment)| segment.live == 0);
        let mut dead: Vec<(u32, u64)> = dead.map(|(number, segment)| (*number, segment.size)).collect();
        // A spare can be recycled only when it has the size of the next segment. The first segments of a journal are
        // smaller, so the largest one is preferred.
        dead.sort_by_key(|(number, size)| (copies::is_copies(*number), Reverse(*size), *number));
        dead
    }

    /// Returns the bytes that checkpoints at `mark` would return to the file system; everything up to `mark` must have
    /// been noted. Two checkpoints are necessary when the newest one still needs the segments.
    pub fn freeable(&self, mark: Mark) -> u64 {
        // Where a group had not applied everything, the next checkpoint may have to begin at the same place.
        let before = if self.is_open { self.checkpointed.min(mark.place.segment) } else { mark.place.segment };
        let mut dead = self.dead(before);
        dead.retain(|(number, _)| !self.kept.has(*number));
        let is_kept = |first: &&(u32, u64)| !self.has_spare && !copies::is_copies(first.0);
        dead.iter().map(|(_, size)| size).sum::<u64>() - dead.first().filter(is_kept).map_or(0, |(_, size)| *size)
    }

    /// Returns true when the checkpoint is one of the two that are retained.
    pub(super) fn has_checkpoint(&self, id: CheckpointId) -> bool {
        [self.newest, self.older].contains(&Some(id))
    }

    /// Returns true when only the predecessor of the newest checkpoint still needs some dead segments, so that another
    /// checkpoint would free space.
    pub fn holds_dead(&self) -> bool {
        self.dead.iter().any(|number| !self.kept.has(*number))
    }

    /// Encodes the bookkeeping of the segments for the next checkpoint.
    fn books(&self) -> Vec<u8> {
        let void = self.segments.iter().filter_map(|(number, segment)| Some((*number, segment.void.as_deref()?)));
        let void: Vec<(u32, &[u32])> = void.collect();
        let mut topics: Vec<TopicKey> = self.spans.keys().copied().collect();
        topics.sort_unstable();
        let of =
            |topic: TopicKey| (topic, self.spans[&topic].iter().map(|(_, span)| (span.segment, span.end, span.bytes)));
        let totals: Vec<(u32, u64)> =
            self.segments.iter().map(|(number, segment)| (*number, segment.total_bytes)).collect();
        books::encode(&void, topics.into_iter().map(of), totals.into_iter(), &self.bodies)
    }

    /// Removes the segments before `before` without live records, unless the predecessor of the newest checkpoint or
    /// another member still needs them.
    fn remove_dead(&mut self, before: u32) -> io::Result<()> {
        let dead = self.dead(before);
        let needed = std::mem::replace(&mut self.dead, dead.iter().map(|(number, _)| *number).collect());
        let mut unneeded: Vec<u32> = dead.into_iter().map(|(number, _)| number).collect();
        unneeded.retain(|number| needed.contains(number));
        self.kept.set_dead(&unneeded);
        unneeded.retain(|number| !self.kept.has(*number));
        unneeded.into_iter().try_for_each(|number| self.remove(number))
    }

    /// Removes a segment. It is kept as the spare when there is none.
    pub(super) fn remove(&mut self, number: u32) -> io::Result<()> {
        match self.disk.remove(&names::index(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if self.has_spare || copies::is_copies(number) {
            self.disk.remove(&names::segment(number))?;
        } else {
            self.disk.rename(&names::segment(number), names::SPARE)?;
            self.has_spare = true;
        }
        self.segments.remove(&number);
        self.bodies.remove(number);
        self.dead.remove(&number);
        Ok(())
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        let mut live: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        #[expect(clippy::iter_over_hash_type, reason = "only counted")]
        for spans in self.spans.values() {
            spans.check();
            for Change { segment, spans, bytes } in spans.total() {
                let sum = live.entry(segment).or_default();
                *sum = (sum.0 + i64::from(spans), sum.1 + bytes);
            }
        }
        for (number, segment) in &self.segments {
            let (spans, bytes) = live.remove(number).unwrap_or_default();
            assert_eq!(i64::from(segment.live), spans, "segment {number}");
            assert_eq!(u64::try_from(bytes), Ok(segment.live_bytes), "segment {number}");
            assert!(segment.live_bytes <= segment.total_bytes, "segment {number}");
        }
        self.bodies.check();
        assert!(live.is_empty(), "no topic has records in an unknown segment");
    }
}

impl Change {
    fn apply<F>(self, segments: &mut BTreeMap<u32, Segment<F>>) {
        let segment = segments.get_mut(&self.segment).expect("a segment with records is known");
        segment.live = segment.live.checked_add_signed(self.spans).expect("what was added is taken away");
        segment.live_bytes = segment.live_bytes.checked_add_signed(self.bytes).expect("what was added is taken away");
    }
}

/// Writes a file atomically: after a crash it has either its old or its new content. Its new name becomes durable with
/// the next [`Disk::sync_names`].
pub(super) fn write_file<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = names::new(name);
    let mut file = disk.create(&new)?;
    let sync = |file: &D::File| planted!("file renamed before its sync", file.sync(), Ok(()));
    if let Err(error) = file.write_at(bytes, 0).and_then(|()| sync(&file)) {
        // The partial file would take space that the next attempt needs.
        drop(file);
        disk.remove(&new)?;
        return Err(error);
    }
    disk.rename(&new, name)
}
