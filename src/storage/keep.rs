//! The keeper's thread does what takes long: it writes indexes and checkpoints, prepares segments, and removes dead
//! ones.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use super::clean::Cleaner;
use super::copy::Copies;
use super::{News, OnFailure, Task, left, now};
use crate::entry::{CopyTask, Image, LogQuery, Unreadable, Wanted};
use crate::journal::{Disk, Fetching, Keeper, Mark, OpenError, Preparation, Prepared, Progress, is_transient};
use crate::limits::{CHECKPOINT_AGAIN, SEGMENT_AGAIN_US, SEGMENT_BYTES, SHORTAGE_PATIENCE};
use crate::node::Lookup;
use crate::types::SlotId;

/// The state of the keeper's thread.
pub(super) struct Bookkeeper<D: Disk> {
    keeper: Keeper<D>,
    supply: Sender<Prepared<D::File>>,
    news: Sender<News>,
    on_failure: OnFailure,
    /// Number and size of the next segment to prepare, and when to try.
    wanted: Option<(u32, u32, Instant)>,
    /// The segment that is being prepared.
    filling: Option<Preparation<D::File>>,
    has_space: bool,
    /// When to ask the loop for another checkpoint because the last one failed.
    keep_again: Option<Instant>,
    /// True from a checkpoint that failed to the next one that succeeds.
    checkpoint_failed: bool,
    /// Bytes that a checkpoint would free, as last reported to the loop.
    freeable: u64,
    /// The end of the part of the log whose notes have been received.
    noted: Mark,
    cleaner: Cleaner<D::File>,
    /// The copies of the states of groups that are being made.
    copies: Copies<D>,
    /// Queries for bodies, the oldest first.
    fetching: VecDeque<Fetching>,
    /// The last error of such queries of each group that was logged: members that are behind repeat them.
    unreadable: BTreeMap<SlotId, String>,
    /// When the current shortage of descriptors or memory began; `None` when there is none.
    shortage: Option<Instant>,
}

impl<D: Disk> Bookkeeper<D> {
    /// Creates the state of the keeper's thread. The keeper has the notes of everything up to `noted`.
    pub(super) fn new(
        keeper: Keeper<D>,
        noted: Mark,
        (supply, news): (Sender<Prepared<D::File>>, Sender<News>),
        on_failure: OnFailure,
    ) -> Self {
        let (wanted, filling, keep_again, shortage, cleaner) = (None, None, None, None, Cleaner::new());
        let (fetching, unreadable) = (VecDeque::new(), BTreeMap::new());
        let (has_space, checkpoint_failed, freeable) = (true, false, 0);
        Self {
            keeper,
            supply,
            news,
            on_failure,
            wanted,
            filling,
            has_space,
            keep_again,
            checkpoint_failed,
            freeable,
            noted,
            cleaner,
            copies: Copies::default(),
            fetching,
            unreadable,
            shortage,
        }
    }

    /// Processes tasks until it receives [`Task::End`]. Between tasks it fills the next segment, cleans others and
    /// reads bodies of the log, piece by piece.
    pub(super) fn run(mut self, tasks: &Receiver<Task>, wake: impl Fn()) {
        // Segments that the start found dead are reported too.
        self.tell_freeable(&wake);
        loop {
            match self.next(tasks) {
                Ok(Task::Note(notes, mark)) => {
                    self.keeper.note(&notes);
                    self.noted = mark;
                    self.cleaner.stir(!self.has_space);
                    self.tell_freeable(&wake);
                }
                Ok(Task::Read(lookup)) => {
                    self.read(lookup);
                    wake();
                }
                Ok(Task::Fetch(query)) => self.fetching.push_back(self.keeper.fetch(query)),
                Ok(Task::Keep(mark, images)) => {
                    self.keep(mark, &images);
                    self.noted = mark;
                    self.cleaner.stir(!self.has_space);
                    self.tell_freeable(&wake);
                    // The checkpoint may have freed the space that was missing for the next segment.
                    self.wanted = self.wanted.map(|(number, size, _)| (number, size, now()));
                }
                Ok(Task::Copy(task, mark, images)) => {
                    self.copy(task, (mark, images));
                    wake();
                }
                Ok(Task::Prepare { number, size }) => self.wanted = Some((number, size, now())),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Task::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.keep_again.take_if(|again| left(*again).is_zero()).is_some() {
                let _ = self.news.send(News::KeepAgain);
                wake();
            }
            self.begin_if_due(&wake);
            self.fill(&wake);
            self.fetch(&wake);
            if self.cleaner.work(&mut self.keeper, !self.has_space) {
                self.tell_freeable(&wake);
            }
        }
    }

    /// Returns the next task, or a timeout when a scheduled step is due.
    fn next(&self, tasks: &Receiver<Task>) -> Result<Task, RecvTimeoutError> {
        if self.filling.is_some() || !self.fetching.is_empty() {
            return tasks.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            });
        }
        let dues = [self.wanted.map(|(.., again)| again), self.keep_again, self.cleaner.due()];
        match dues.into_iter().flatten().min() {
            Some(due) => tasks.recv_timeout(left(due)),
            None => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Writes a checkpoint. When that fails, the previous one remains valid, and a later state is requested from the
    /// loop: this state cannot be used again, since it may then be older than the keeper's bookkeeping, by which
    /// segments are removed.
    fn keep(&mut self, mark: Mark, images: &[Image]) {
        let kept = match self.keeper.sync_log(mark) {
            Err(error) if !is_transient(&error) => (self.on_failure)("cannot sync the journal", &error),
            synced => synced.and_then(|()| self.keeper.checkpoint(mark, images)),
        };
        match kept {
            Ok(()) => {
                self.end_shortage();
                if std::mem::take(&mut self.checkpoint_failed) {
                    log::info!("a checkpoint was made again");
                }
            }
            Err(error) => {
                self.checkpoint_failed = true;
                self.keep_again = Some(now() + CHECKPOINT_AGAIN);
                if !self.is_shortage(&error) {
                    log::warn!(
                        "cannot make a checkpoint: {error}; trying again (until it succeeds, a restart takes longer)"
                    );
                }
            }
        }
        // The loop discarded the last reported value when it began this checkpoint.
        self.freeable = 0;
        let _ = self.news.send(News::Kept { holds_dead: self.keeper.holds_dead(), log_kept: self.keeper.log_kept() });
    }

    /// Does something for a copy of the state of a group.
    fn copy(&mut self, task: CopyTask, of: (Mark, Vec<Image>)) {
        match self.copies.perform(&mut self.keeper, task, of, SEGMENT_BYTES) {
            Ok(None) => {}
            Ok(Some((done, error))) => {
                if let Some(error) = error {
                    let slot = done.slot.index();
                    log::warn!("cannot copy the topics of slot {slot} from the node that leads it: {error}");
                }
                let _ = self.news.send(News::Copied(done));
            }
            Err(error) => (self.on_failure)("cannot sync the journal", &error),
        }
    }

    /// Reports to the loop how many bytes a checkpoint would free, when that has changed.
    fn tell_freeable(&mut self, wake: &impl Fn()) {
        let freeable = if self.keep_again.is_some() { 0 } else { self.keeper.freeable(self.noted) };
        if std::mem::replace(&mut self.freeable, freeable) != freeable {
            let _ = self.news.send(News::Freeable(freeable));
            wake();
        }
    }

    fn read(&mut self, lookup: Lookup) {
        let found = match self.keeper.read(lookup.topic, lookup.wanted) {
            Err(OpenError::Io { cause, .. }) if self.is_shortage(&cause) => Err(Unreadable::NotNow),
            Err(error) => {
                log::error!("cannot read records of topic {}: {error}", lookup.topic_name);
                let next = match lookup.wanted {
                    Wanted::Records { from, .. } | Wanted::Batches { from, .. } => {
                        self.keeper.readable_from(lookup.topic, from)
                    }
                    Wanted::Time { .. } => None,
                };
                Err(Unreadable::Lost { next })
            }
            Ok(found) => {
                self.end_shortage();
                Ok(found)
            }
        };
        // The loop may have ended.
        let _ = self.news.send(News::Read(lookup, found));
    }

    /// Reads the next piece of the log for the oldest query for bodies.
    fn fetch(&mut self, wake: &impl Fn()) {
        let Some(mut fetching) = self.fetching.pop_front() else { return };
        let read = self.keeper.fetch_some(&mut fetching);
        if matches!(read, Ok(false)) {
            self.fetching.push_front(fetching);
            return;
        }
        let (query, part) = fetching.finish();
        let part = match read {
            Ok(_) => {
                self.end_shortage();
                Ok(part)
            }
            Err(OpenError::Io { cause, .. }) if self.is_shortage(&cause) => Err(Unreadable::NotNow),
            Err(error) => {
                self.tell_unreadable(&query, error.to_string());
                Err(Unreadable::Lost { next: None })
            }
        };
        let _ = self.news.send(News::Fetched(query, part));
        wake();
    }

    /// Logs why bodies cannot be read, unless that was logged last.
    fn tell_unreadable(&mut self, query: &LogQuery, error: String) {
        let LogQuery { slot, index, .. } = *query;
        let told = self.unreadable.entry(slot).or_default();
        if *told != error {
            let slot = slot.index();
            log::error!("cannot read the log of slot {slot} after body {index} for a node that is behind: {error}");
            *told = error;
        }
    }

    /// Returns true when the error is a passing shortage of descriptors or memory, so that the failed call will be
    /// retried.
    fn is_shortage(&mut self, error: &io::Error) -> bool {
        if !is_transient(error) {
            return false;
        }
        self.shortage.get_or_insert_with(now);
        log::warn!("the journal is short of a resource: {error}; trying again, nothing is lost");
        true
    }

    fn end_shortage(&mut self) {
        if self.shortage.take().is_some() {
            log::info!("the journal is not short of resources any more");
        }
    }

    /// Begins to prepare the wanted segment when it is time and none is being prepared. Called after every task, so
    /// that a busy queue does not delay it.
    fn begin_if_due(&mut self, wake: &impl Fn()) {
        let Some((number, size, again)) = self.wanted else { return };
        if self.filling.is_some() || !left(again).is_zero() {
            return;
        }
        match self.keeper.begin_segment(number, size) {
            Ok(filling) => self.filling = Some(filling),
            Err(error) => self.try_again(&error, wake),
        }
    }

    /// Fills the next piece of the segment that is being prepared.
    fn fill(&mut self, wake: &impl Fn()) {
        let Some(filling) = self.filling.take() else { return };
        match self.keeper.fill_segment(filling) {
            Ok(Progress::Unfinished(unfinished)) => self.filling = Some(unfinished),
            Ok(Progress::Ready(segment)) => {
                self.wanted = None;
                self.end_shortage();
                // The commit thread may have ended.
                let (number, size) = (segment.number, segment.size);
                let _ = self.supply.send(segment);
                let _ = self.news.send(News::Prepared { number, size });
                self.tell_space(None, wake);
                wake();
            }
            Err(error) => self.try_again(&error, wake),
        }
    }

    fn try_again(&mut self, error: &io::Error, wake: &impl Fn()) {
        let is_brief =
            self.is_shortage(error) && self.shortage.is_some_and(|since| !left(since + SHORTAGE_PATIENCE).is_zero());
        let again = now() + Duration::from_micros(SEGMENT_AGAIN_US);
        self.wanted = self.wanted.map(|(number, size, _)| (number, size, again));
        let is_full = error.kind() == io::ErrorKind::StorageFull;
        if is_full && self.keeper.give_up_log().is_ok_and(|is_given_up| is_given_up) {
            self.wanted = self.wanted.map(|(number, size, _)| (number, size, now()));
        } else if is_full && self.has_space && self.keeper.holds_dead() {
            // Another checkpoint may free space: it is tried before publishes are refused.
            let _ = self.news.send(News::KeepAgain);
            wake();
        } else if !is_brief {
            self.tell_space(Some(error), wake);
        }
    }

    /// Reports to the loop, and to the log, when space for segments runs out or is available again.
    fn tell_space(&mut self, missing: Option<&io::Error>, wake: &impl Fn()) {
        if self.has_space == missing.is_none() {
            return;
        }
        self.has_space = missing.is_none();
        if let Some(error) = missing {
            self.cleaner.stir(true);
            let is_full = error.kind() == io::ErrorKind::StorageFull;
            let until = if is_full { "space is back" } else { "that succeeds" };
            log::error!("cannot prepare a segment: {error}; publishes are refused until {until}");
        } else {
            log::info!("space is back: the next segment is prepared, and publishes are accepted again");
        }
        let _ = self.news.send(News::Space(self.has_space));
        wake();
    }
}
