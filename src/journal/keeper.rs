//! What is behind the end of the log: indexes, checkpoints, and which segments are still needed.
//!
//! It is told, in the order of the log, what became of the entries ([`Note`]). From that it knows which topics have
//! records in which segment, and finds them again. A checkpoint makes everything before it that is dead unneeded: such
//! segments are removed, or used again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;

use foldhash::fast::RandomState;

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::index::Index;
use super::names::{self, CheckpointId};
use super::reader::{Blocks, payloads};
use super::writer::Mark;
use super::{books, checkpoint};
use crate::record::{Filed, Found, Note, Wanted};
use crate::types::{Offset, TopicId};

/// The books of the journal.
#[derive(Debug)]
pub struct Keeper<D: Disk> {
    pub(super) disk: D,
    group: u16,
    /// Those with records, live or not, by number.
    segments: BTreeMap<u32, Segment<D::File>>,
    /// In which segments a topic has records, oldest first.
    spans: HashMap<TopicId, VecDeque<Span>, RandomState>,
    /// Up to where retention has taken whole segments of a topic since the start: that they have nothing is no damage.
    removed: HashMap<TopicId, Offset, RandomState>,
    /// The newest checkpoint and the one before it: when the newest one rots, a start goes back to that.
    newest: Option<CheckpointId>,
    older: Option<CheckpointId>,
    /// Segments without live records that the newest checkpoint does not need; the one before it may.
    dead: BTreeSet<u32>,
    pub(super) has_spare: bool,
    /// Bytes that all files may have together when a segment is added.
    pub(super) capacity: u64,
}

/// What is known of a segment.
#[derive(Debug)]
struct Segment<F> {
    /// Its index, while that is not complete.
    index: Index,
    /// Topics that have records in it.
    live: u32,
    /// Bytes of its file.
    size: u64,
    /// A second handle of its file until the first checkpoint behind it: a checkpoint that had to open the segment
    /// would fail when other parts of the process have used up the descriptors.
    log: Option<F>,
    /// Where the payloads of batches in it are that came to nothing, ascending; `None` when that is not known, since it
    /// was begun with format 1.
    void: Option<Vec<u32>>,
}

impl<F> Default for Segment<F> {
    fn default() -> Self {
        Self { index: Index::default(), live: 0, size: 0, log: None, void: Some(Vec::new()) }
    }
}

/// Records of a topic in a segment; those of the next one follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) segment: u32,
    /// Behind the last of them.
    pub(super) end: Offset,
    /// When the first of them was appended.
    pub(super) first_us: u64,
}

impl<D: Disk> Keeper<D> {
    /// Knows of nothing yet.
    pub(super) fn new(disk: D, group: u16) -> Self {
        Self {
            disk,
            group,
            segments: BTreeMap::new(),
            spans: HashMap::default(),
            removed: HashMap::default(),
            newest: None,
            older: None,
            dead: BTreeSet::new(),
            has_spare: false,
            capacity: u64::MAX,
        }
    }

    /// These checkpoints are there; what was added so far is what the newest one knows.
    pub(super) fn begin(&mut self, checkpoints: (Option<CheckpointId>, Option<CheckpointId>), segment: u32) {
        (self.newest, self.older) = checkpoints;
        self.dead = self.dead(segment).into_iter().map(|(number, _)| number).collect();
    }

    /// Bounds the bytes of all files: beyond it no segment is made ready.
    pub const fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    /// The segment is there, whatever is in it, with a file of so many bytes; `log` is a handle of one that will be
    /// written to.
    pub(super) fn add_segment(&mut self, number: u32, size: u64, log: Option<D::File>) {
        let segment = self.segments.entry(number).or_default();
        (segment.size, segment.log) = (size, log);
    }

    /// The batches of a segment that came to nothing, if that is known.
    pub(super) fn set_void(&mut self, number: u32, void: Option<Vec<u32>>) {
        self.segments.entry(number).or_default().void = void;
    }

    /// The batches of a segment that came to nothing, if that is known.
    pub(super) fn void(&self, segment: u32) -> Option<&[u32]> {
        self.segments.get(&segment)?.void.as_deref()
    }

    /// When the last record of a topic in a segment was appended; 0 when that cannot be read.
    pub(super) fn last_us(&self, topic: TopicId, segment: u32) -> u64 {
        self.blocks(segment, topic).and_then(|blocks| blocks.last_us()).ok().flatten().unwrap_or(0)
    }

    /// The segment that has a record of a topic, and what it has of that.
    pub(super) fn span_with(&self, topic: TopicId, offset: Offset) -> Option<Span> {
        let spans = self.spans.get(&topic)?;
        spans.get(spans.partition_point(|span| span.end <= offset)).copied()
    }

    /// The last records of a topic.
    pub(super) fn last_span(&self, topic: TopicId) -> Option<Span> {
        self.spans.get(&topic).and_then(VecDeque::back).copied()
    }

    /// Of each topic with records in a segment: what it has before them, if anything, and the offset behind them.
    pub(super) fn spans_in(&self, segment: u32) -> BTreeMap<TopicId, (Option<Span>, Offset)> {
        let found = |(topic, spans): (&TopicId, &VecDeque<Span>)| {
            let at = spans.iter().position(|span| span.segment == segment)?;
            Some((*topic, (at.checked_sub(1).map(|before| spans[before]), spans[at].end)))
        };
        self.spans.iter().filter_map(found).collect()
    }

    /// Writes the indexes that are in memory up to that of a segment; those before that one are complete.
    pub(super) fn write_indexes(&mut self, last: u32) -> io::Result<()> {
        for (&number, segment) in self.segments.range_mut(..=last) {
            if !segment.index.is_empty() {
                write_file(&self.disk, &names::index(number), &segment.index.encode(number))?;
            }
            if number < last {
                segment.index = Index::default();
            }
        }
        Ok(())
    }

    /// A topic has records in a segment whose index is complete.
    pub(super) fn add_span(&mut self, topic: TopicId, span: Span) {
        self.segments.entry(span.segment).or_default().live += 1;
        self.spans.entry(topic).or_default().push_back(span);
    }

    /// Behind the last record of a topic; `None` when it has none.
    pub(super) fn end_of(&self, topic: TopicId) -> Option<Offset> {
        self.spans.get(&topic).and_then(VecDeque::back).map(|last| last.end)
    }

    /// Takes in what became of entries, in their order.
    pub fn note(&mut self, notes: &[Note]) {
        for note in notes {
            match *note {
                Note::Stored(filed) => self.file(filed),
                Note::Void(place) => {
                    if let Some(void) = &mut self.segments.entry(place.segment).or_default().void {
                        void.push(place.position);
                    }
                }
                Note::Trimmed { topic, first } => self.trim(topic, first),
                Note::Deleted { topic } => {
                    self.trim(topic, Offset(u64::MAX));
                    self.removed.remove(&topic);
                }
            }
        }
    }

    fn file(&mut self, filed: Filed) {
        let segment = self.segments.entry(filed.place.segment).or_default();
        segment.index.add(&filed);
        let spans = self.spans.entry(filed.topic).or_default();
        match spans.back_mut() {
            Some(last) if last.segment == filed.place.segment => last.end = filed.end(),
            _ => {
                segment.live += 1;
                let (segment, end, first_us) = (filed.place.segment, filed.end(), filed.append_us);
                spans.push_back(Span { segment, end, first_us });
            }
        }
    }

    /// Reads with the indexes as they are.
    pub(super) fn read_once(&self, topic: TopicId, wanted: Wanted) -> Result<Found, OpenError> {
        let none = VecDeque::new();
        let spans = self.spans.get(&topic).unwrap_or(&none);
        let is_removed = |from: Offset| self.removed.get(&topic).is_some_and(|end| from < *end);
        match wanted {
            Wanted::Records { from, .. } if is_removed(from) => Ok(Found::Batches(Vec::new())),
            Wanted::Records { from, max_bytes, max_records } => {
                let index = spans.partition_point(|span| span.end <= from);
                let Some(span) = spans.get(index) else { return Ok(Found::Batches(Vec::new())) };
                let filed = self.blocks(span.segment, topic)?.batches_from(from, max_bytes, max_records)?;
                if filed.first().is_none_or(|first| from < first.base) {
                    let name = names::index(span.segment);
                    return Err(OpenError::damaged(&name, 0, "it lacks records that were in it"));
                }
                let name = names::segment(span.segment);
                let file = self.disk.open(&name).map_err(|cause| OpenError::io(&name, cause))?;
                payloads(&file, span.segment, filed).map(Found::Batches)
            }
            Wanted::Time(append_us) => {
                // What was asked for is in the last one that begins before, or begins the next one.
                let behind = spans.partition_point(|span| span.first_us < append_us);
                let before = behind.checked_sub(1).map(|index| spans[index]);
                let inside = match before {
                    Some(span) => self.blocks(span.segment, topic)?.find_time(append_us)?,
                    None => None,
                };
                let end = before.map(|span| span.end);
                Ok(Found::Offset(inside.or(end).unwrap_or_default()))
            }
        }
    }

    pub(super) fn blocks(&self, segment: u32, topic: TopicId) -> Result<Blocks<'_, D::File>, OpenError> {
        match self.segments.get(&segment).map(|segment| &segment.index).filter(|index| !index.is_empty()) {
            Some(index) => Ok(Blocks::growing(index, segment, topic)),
            None => Blocks::open(&self.disk, segment, topic),
        }
    }

    fn trim(&mut self, topic: TopicId, first: Offset) {
        let Some(spans) = self.spans.get_mut(&topic) else { return };
        while let Some(oldest) = spans.front().copied()
            && oldest.end <= first
        {
            spans.pop_front();
            self.removed.insert(topic, oldest.end);
            let segment = self.segments.get_mut(&oldest.segment).expect("a segment with records is known");
            segment.live -= 1;
        }
        if spans.is_empty() {
            self.spans.remove(&topic);
        }
    }

    /// Makes what was written up to there safe, for a checkpoint to rely on: nobody may have synced it yet.
    ///
    /// # Errors
    /// As the system's. Nothing is known then of what was written, and whoever writes may not be told: the process must
    /// end.
    pub fn sync_log(&self, mark: Mark) -> io::Result<()> {
        match self.segments.get(&mark.place.segment).and_then(|segment| segment.log.as_ref()) {
            Some(log) => log.sync(),
            None => self.disk.open(&names::segment(mark.place.segment))?.sync(),
        }
    }

    /// Keeps the state after all entries up to `mark`, which are safe and of which everything was noted. What it makes
    /// unneeded is removed.
    ///
    /// # Errors
    /// As the system's: then the checkpoint before it stays in force.
    pub fn checkpoint(&mut self, mark: Mark, image: &[u8]) -> io::Result<()> {
        for (&number, segment) in self.segments.range(..=mark.place.segment) {
            if !segment.index.is_empty() {
                write_file(&self.disk, &names::index(number), &segment.index.encode(number))?;
            }
        }
        // The indexes are safe before the checkpoint that relies on them.
        self.disk.sync_names()?;
        // When no entry came since the newest one, the same state is written once more beside it.
        let is_second = self.newest.is_some_and(|newest| newest.index == mark.index && !newest.is_second);
        let id = CheckpointId { index: mark.index, is_second };
        write_file(&self.disk, &names::checkpoint(id), &checkpoint::encode(self.group, mark, image, &self.books()))?;
        self.disk.sync_names()?;
        for (_, segment) in self.segments.range_mut(..mark.place.segment) {
            (segment.index, segment.log) = (Index::default(), None);
        }
        let oldest = std::mem::replace(&mut self.older, self.newest.filter(|newest| *newest != id));
        self.newest = Some(id);
        if let Some(oldest) = oldest.filter(|oldest| *oldest != id) {
            self.disk.remove(&names::checkpoint(oldest))?;
        }
        self.remove_dead(mark.place.segment)
    }

    /// The segments before this one without live records: their numbers and sizes, the one that is best kept as the
    /// spare first.
    fn dead(&self, before: u32) -> Vec<(u32, u64)> {
        let dead = self.segments.range(..before).filter(|(_, segment)| segment.live == 0);
        let mut dead: Vec<(u32, u64)> = dead.map(|(number, segment)| (*number, segment.size)).collect();
        // Only one of the size of the next segment can be used again; the first segments of a journal are smaller.
        dead.sort_by_key(|(number, size)| (Reverse(*size), *number));
        dead
    }

    /// Bytes that checkpoints at `mark`, of which everything was noted, would give back to the system. It takes two
    /// when the newest one still needs them.
    pub fn freeable(&self, mark: Mark) -> u64 {
        let kept = usize::from(!self.has_spare);
        self.dead(mark.place.segment).iter().skip(kept).map(|(_, size)| size).sum()
    }

    /// Does only the checkpoint before the newest one need some of the segments, so that another checkpoint would make
    /// space?
    pub fn holds_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// What the next checkpoint says of the segments.
    fn books(&self) -> Vec<u8> {
        let void = self.segments.iter().filter_map(|(number, segment)| Some((*number, segment.void.as_deref()?)));
        let void: Vec<(u32, &[u32])> = void.collect();
        let mut topics: Vec<TopicId> = self.spans.keys().copied().collect();
        topics.sort_unstable();
        let of = |id: TopicId| (id, self.spans[&id].iter().map(|span| (span.segment, span.end)));
        books::encode(&void, topics.into_iter().map(of))
    }

    /// Removes the segments before this one whose records are all dead, unless the checkpoint before the newest one
    /// still needs them; one is kept for being used again.
    fn remove_dead(&mut self, before: u32) -> io::Result<()> {
        let dead = self.dead(before);
        let needed = std::mem::replace(&mut self.dead, dead.iter().map(|(number, _)| *number).collect());
        for number in dead.into_iter().map(|(number, _)| number).filter(|number| needed.contains(number)) {
            match self.disk.remove(&names::index(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            if self.has_spare {
                self.disk.remove(&names::segment(number))?;
            } else {
                self.disk.rename(&names::segment(number), names::SPARE)?;
                self.has_spare = true;
            }
            self.segments.remove(&number);
            self.dead.remove(&number);
        }
        Ok(())
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        let mut live: BTreeMap<u32, u32> = BTreeMap::new();
        #[expect(clippy::iter_over_hash_type, reason = "only counted")]
        for spans in self.spans.values() {
            assert!(!spans.is_empty(), "a topic without records has no entry");
            for span in spans {
                *live.entry(span.segment).or_default() += 1;
            }
        }
        for (number, segment) in &self.segments {
            assert_eq!(live.remove(number).unwrap_or(0), segment.live, "segment {number}");
        }
        assert!(live.is_empty(), "records in segments that are gone");
    }
}

/// Writes a file so that it is there whole or not at all, once names are synced.
pub(super) fn write_file<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = names::new(name);
    let mut file = disk.create(&new)?;
    if let Err(error) = file.write_at(bytes, 0).and_then(|()| file.sync()) {
        // What was written takes the space that the next attempt needs.
        drop(file);
        disk.remove(&new)?;
        return Err(error);
    }
    disk.rename(&new, name)
}
