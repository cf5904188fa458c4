//! The log of a simulated node: in memory, or the production journal on a simulated disk.
//!
//! What `src/storage` does on two threads is done here inline, in the same order: turns that end during an fsync share
//! the next one; books, checkpoints and new segments follow later. Each operation takes virtual time.

use std::collections::VecDeque;
use std::io;

use dht_node::entry::{
    CopyDone, CopyOutcome, CopyTask, Found, Image, LogPart, LogQuery, Note, Room, Unreadable, Write, Written,
};
use dht_node::journal::{Cleaning, Identity, Keeper, Look, Mark, NoRoom, OpenError, Prepared, Writer};
use dht_node::limits::SEGMENT_AGAIN_US;
use dht_node::node::{Lookup, Node};
use dht_node::storage::{Checkpoints, Copies, start};
use dht_node::turn::{MemoryStore, Store};
use fastrand::Rng;

use crate::disk::{FakeDisk, FakeFile};
use crate::ground::Ending;
use crate::profile::{Disks, within};
use crate::trace::Totals;
use crate::wire::Leave;

/// Interval of the search for segments to clean: far shorter than in production, because the segments are far smaller.
const CLEAN_LOOK_US: u64 = 100_000;

#[derive(Debug)]
pub(crate) enum SimStore {
    Memory(MemoryStore),
    Disk(Box<DiskStore>),
}

/// The journal of a running node.
#[derive(Debug)]
pub(crate) struct DiskStore {
    pub disk: FakeDisk,
    pub now_us: u64,
    /// Every fsync ends at this time or later.
    pub stalled_until_us: u64,
    pace: Disks,
    rng: Rng,
    writer: Writer<FakeFile>,
    keeper: Keeper<FakeDisk>,
    /// What was submitted.
    work: VecDeque<Write>,
    /// What is appended but not durable, and what is durable.
    written: Vec<(Written, Mark)>,
    committed: VecDeque<(Written, Mark)>,
    /// When entries that were returned before they are durable are to be fsynced, and the end of the fsync in progress.
    due_us: Option<u64>,
    sync_ends_us: Option<u64>,
    /// Entries returned before this time are durable.
    pub durable_us: u64,
    /// True once it has recorded that it has everything.
    has_ended: bool,
    /// The next segment: when its preparation is retried, its number and size; then the segment itself.
    wanted: Option<(u64, u32, u32)>,
    prepared: Option<Prepared<FakeFile>>,
    is_asked: bool,
    tasks: VecDeque<(u64, Task)>,
    /// The results of lookups that the node has not taken yet.
    found: VecDeque<(Lookup, Result<Found, Unreadable>)>,
    fetched: VecDeque<(LogQuery, Result<LogPart, Unreadable>)>,
    copies: Copies<FakeDisk>,
    copied: VecDeque<CopyDone>,
    checkpoints: Checkpoints,
    has_space: bool,
    /// The segments being cleaned, and when cleaning continues or is checked.
    cleaning: Option<Cleaning<FakeFile>>,
    clean_us: Option<u64>,
    /// True if the process must end at once.
    failure: Option<io::Error>,
    pub totals: Totals,
}

#[derive(Debug)]
enum Task {
    Note(Vec<Note>, Mark),
    Read(Lookup),
    Fetch(LogQuery),
    Keep(Mark, Vec<Image>),
    Copy(CopyTask, Mark, Vec<Image>),
}

impl DiskStore {
    /// Starts from the content of the disk, as `Storage::open` does.
    pub(crate) fn open(
        disk: &FakeDisk,
        identity: &Identity,
        node: &mut Node,
        (pace, rng): (Disks, Rng),
        now_us: u64,
    ) -> Result<Self, OpenError> {
        let has_interval_sync = pace.interval_us.is_some();
        let mut started = start(disk, identity, has_interval_sync, pace.segment, node)?;
        pace.log_kept.into_iter().for_each(|kept| started.keeper.set_log_keep(kept.disk_bytes));
        assert!(
            has_interval_sync || !started.is_lossy,
            "a loss was reported although every acknowledged record was durable"
        );
        assert_eq!(started.mended, [""; 0], "a crash damages nothing");
        started.keeper.check();
        let checkpoints = started.checkpoints;
        Ok(Self {
            disk: disk.clone(),
            now_us,
            stalled_until_us: 0,
            pace,
            rng,
            writer: started.writer,
            keeper: started.keeper,
            work: VecDeque::new(),
            written: Vec::new(),
            committed: VecDeque::new(),
            due_us: None,
            sync_ends_us: None,
            durable_us: now_us,
            has_ended: false,
            wanted: None,
            prepared: None,
            is_asked: false,
            tasks: VecDeque::new(),
            found: VecDeque::new(),
            fetched: VecDeque::new(),
            copies: Copies::default(),
            copied: VecDeque::new(),
            checkpoints,
            has_space: true,
            cleaning: None,
            clean_us: Some(now_us + CLEAN_LOOK_US),
            failure: None,
            totals: Totals { recoveries: 1, ..Totals::default() },
        })
    }

    /// Returns the records that were filed and can be read.
    pub(crate) const fn keeper(&self) -> &Keeper<FakeDisk> {
        &self.keeper
    }

    /// Does the work of the keeping thread at once.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.tasks.iter_mut().for_each(|(at_us, _)| *at_us = 0);
        self.keep_books()
    }

    /// Returns when the next operation in progress ends.
    fn next_us(&self) -> u64 {
        let prepare_us = self.wanted.map(|(at_us, ..)| at_us);
        let task_us = self.tasks.front().map(|(at_us, _)| *at_us);
        let sync_us = self.sync_ends_us.or(self.due_us);
        let due = [sync_us, prepare_us, task_us, self.clean_us].into_iter().flatten().min();
        due.unwrap_or(u64::MAX)
    }

    /// Returns true if everything submitted has been returned, and no operation is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        self.work.is_empty() && self.written.is_empty() && self.committed.is_empty() && self.failure.is_none()
    }

    /// Returns true if retention may overtake a read, so that it is repeated. Where publishers do not wait for an
    /// fsync, it may for as long as they publish.
    fn is_overtaken(&self) -> bool {
        self.pace.interval_us.is_some() && self.tasks.iter().any(|(_, task)| matches!(task, Task::Read(_)))
    }

    /// Returns true if the disk has failed, so that the process ends at once.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Completes the operations that have ended by now.
    fn advance(&mut self) {
        if self.failure.is_none()
            && let Err(error) = self.try_advance()
        {
            self.failure = Some(error);
        }
    }

    fn try_advance(&mut self) -> io::Result<()> {
        self.keep_books()?;
        if self.sync_ends_us.is_some_and(|ends_us| ends_us <= self.now_us) {
            self.sync_ends_us = None;
            self.sync()?;
        }
        if self.sync_ends_us.is_none() && !self.work.is_empty() {
            self.append()?;
            if let Some(interval_us) = self.pace.interval_us {
                self.give_back_unsafe(interval_us)?;
            } else if !self.written.is_empty() {
                self.begin_sync()?;
            }
        }
        if self.sync_ends_us.is_none() && self.due_us.is_some_and(|due_us| due_us <= self.now_us) {
            self.begin_sync()?;
        }
        Ok(())
    }

    /// Returns the written entries, and fsyncs them later. A turn that found no room continues in the next segment.
    fn give_back_unsafe(&mut self, interval_us: u64) -> io::Result<()> {
        loop {
            self.writer.write()?;
            if !self.written.is_empty() {
                self.due_us.get_or_insert(self.now_us + interval_us);
                self.committed.extend(self.written.drain(..));
            }
            if self.work.is_empty() || self.prepared.is_none() {
                return Ok(());
            }
            self.append()?;
        }
    }

    fn begin_sync(&mut self) -> io::Result<()> {
        self.writer.write()?;
        let ends_us = self.now_us + within(&mut self.rng, self.pace.sync_us);
        (self.sync_ends_us, self.due_us) = (Some(ends_us.max(self.stalled_until_us)), None);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.writer.sync()?;
        self.totals.syncs += 1;
        // Nothing was returned since it began.
        self.durable_us = self.now_us;
        self.committed.extend(self.written.drain(..));
        Ok(())
    }

    /// Appends what was submitted until there is none, or no room.
    fn append(&mut self) -> io::Result<()> {
        while let Some(write) = self.work.pop_front() {
            match self.writer.put(&write) {
                Ok(written) => {
                    self.written.push((written, self.writer.mark()));
                    if self.writer.is_half_full() {
                        self.ask(0);
                    }
                }
                Err(NoRoom) => {
                    let (is_clear, len) = (self.written.is_empty(), write.in_journal());
                    self.work.push_front(write);
                    let Some(next) = self.prepared.take_if(|_| is_clear) else {
                        self.ask(len);
                        return Ok(());
                    };
                    self.is_asked = false;
                    self.totals.segments += 1;
                    self.writer.turn_to(next)?;
                    self.durable_us = self.now_us;
                }
            }
        }
        Ok(())
    }

    /// Requests the next segment, with room for a body of this length. Production segments hold any body.
    fn ask(&mut self, len: usize) {
        if !std::mem::replace(&mut self.is_asked, true) {
            let at_us = self.now_us + within(&mut self.rng, self.pace.keep_us);
            let number = self.writer.mark().place.segment + 1;
            let size = self.pace.segment.max(u32::try_from(len).expect("short") + 1024);
            self.wanted = Some((at_us, number, size.next_multiple_of(8)));
        } else if let Some((_, _, size)) = &mut self.wanted {
            *size = (*size).max(u32::try_from(len).expect("short") + 1024).next_multiple_of(8);
        }
    }

    /// Completes the operations of the keeping thread. One that fails is retried, unless the machine has crashed.
    fn keep_books(&mut self) -> io::Result<()> {
        while self.tasks.front().is_some_and(|(at_us, _)| *at_us <= self.now_us) {
            let Some((_, task)) = self.tasks.pop_front() else { break };
            match task {
                Task::Note(notes, mark) => {
                    self.keeper.note(&notes);
                    self.clean_us.get_or_insert(self.now_us + CLEAN_LOOK_US);
                    self.checkpoints.set_freeable(self.keeper.freeable(mark));
                }
                Task::Read(lookup) => match self.keeper.read(lookup.topic, lookup.wanted) {
                    Ok(found) => {
                        self.totals.reads += 1;
                        self.found.push_back((lookup, Ok(found)));
                    }
                    Err(error) if self.disk.has_stopped() => return Err(io::Error::other(error)),
                    Err(error) => panic!("{lookup:?}: {error}"),
                },
                // As if the segment had been removed, which few are in such short runs.
                Task::Fetch(query) if self.pace.log_kept.is_some() && self.rng.u8(..8) == 0 => {
                    let base = (query.index, 0);
                    self.fetched.push_back((query, Ok(LogPart { base, bodies: Vec::new() })));
                }
                Task::Fetch(query) => self.read_log(query)?,
                Task::Copy(task, mark, images) => self.copy_state(task, (mark, images))?,
                Task::Keep(mark, images) => {
                    self.keeper.sync_log(mark)?;
                    match self.keeper.checkpoint(mark, &images) {
                        Ok(()) => {
                            self.totals.checkpoints += 1;
                            let is_done = self.keeper.freeable(mark) == 0 || self.keeper.holds_dead();
                            assert!(is_done, "a dead segment was kept by two checkpoints");
                        }
                        Err(error) if self.disk.has_stopped() => return Err(error),
                        Err(_) => {}
                    }
                    self.checkpoints.end(self.keeper.holds_dead());
                    self.checkpoints.set_freeable(self.keeper.freeable(mark));
                    self.keeper.check();
                }
            }
        }
        if self.clean_us.is_some_and(|at_us| at_us <= self.now_us) {
            self.clean()?;
        }
        if let Some((at_us, number, size)) = self.wanted
            && at_us <= self.now_us
        {
            match self.keeper.prepare(number, size) {
                Ok(segment) => (self.wanted, self.prepared, self.has_space) = (None, Some(segment), true),
                Err(error) if self.disk.has_stopped() => return Err(error),
                Err(_) => {
                    self.has_space = false;
                    self.wanted = Some((self.now_us + SEGMENT_AGAIN_US, number, size));
                }
            }
        }
        Ok(())
    }

    fn read_log(&mut self, query: LogQuery) -> io::Result<()> {
        let mut fetching = self.keeper.fetch(query);
        let read = loop {
            match self.keeper.fetch_some(&mut fetching) {
                Ok(false) => {}
                read => break read,
            }
        };
        match read {
            Ok(_) => self.fetched.push_back((query, Ok(fetching.finish().1))),
            Err(error) if self.disk.has_stopped() => return Err(io::Error::other(error)),
            Err(error) => panic!("{query:?}: {error}"),
        }
        Ok(())
    }

    fn copy_state(&mut self, task: CopyTask, of: (Mark, Vec<Image>)) -> io::Result<()> {
        let done = self.copies.perform(&mut self.keeper, task, of, self.pace.segment)?;
        if self.disk.has_stopped() {
            return Err(io::Error::other("the machine has stopped"));
        }
        let outcome = done.as_ref().map(|(done, _)| done.outcome);
        self.totals.copies += u64::from(matches!(outcome, Some(CopyOutcome::Installed(_))));
        self.totals.copies_failed += u64::from(matches!(outcome, Some(CopyOutcome::Failed)));
        self.copied.extend(done.map(|(done, _)| done));
        self.keeper.check();
        Ok(())
    }

    /// Cleans segments that are mostly dead, a piece at a time. One that fails is given up and retried later, unless
    /// the machine has crashed.
    fn clean(&mut self) -> io::Result<()> {
        let next_us = self.now_us + within(&mut self.rng, self.pace.keep_us);
        let done = match self.cleaning.take() {
            None => self.keeper.look_for_dirt(!self.has_space, self.pace.segment).map(|look| match look {
                Look::Clean => self.clean_us = None,
                Look::Later => self.clean_us = Some(self.now_us + CLEAN_LOOK_US),
                Look::Dirty(run) => (self.cleaning, self.clean_us) = (Some(run), Some(next_us)),
            }),
            Some(mut run) => match self.keeper.clean_some(&mut run) {
                Ok(false) => {
                    (self.cleaning, self.clean_us) = (Some(run), Some(next_us));
                    Ok(())
                }
                Ok(true) => match self.keeper.finish_cleaning(&mut run) {
                    Ok(victims) => {
                        self.totals.cleaned += victims.segments as u64;
                        self.checkpoints.set_freeable(self.keeper.freeable(self.checkpoints.given()));
                        self.clean_us = Some(next_us);
                        self.keeper.check();
                        Ok(())
                    }
                    Err(error) => self.keeper.give_up_cleaning(run).and(Err(error)),
                },
                Err(error) if self.disk.has_stopped() => Err(io::Error::other(error)),
                Err(OpenError::Io { cause, .. }) => self.keeper.give_up_cleaning(run).and(Err(cause)),
                Err(error) => panic!("cleaning: {error}"),
            },
        };
        match done {
            Err(error) if self.disk.has_stopped() => Err(error),
            Err(_) => {
                self.clean_us = Some(self.now_us + CLEAN_LOOK_US);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn give(&mut self, task: Task) {
        // They are in order, but each may take its own time: most take none at all.
        let before_us = self.tasks.back().map_or(0, |(at_us, _)| *at_us);
        let at_us = self.now_us + within(&mut self.rng, self.pace.keep_us);
        self.tasks.push_back((at_us.max(before_us), task));
    }

    /// Ends the process in an orderly way: all operations are completed first.
    fn end(&mut self, images: Option<&[Image]>) -> io::Result<()> {
        let ends_us = std::mem::replace(&mut self.now_us, u64::MAX / 2);
        while self.sync_ends_us.is_some() || !self.work.is_empty() {
            self.try_advance()?;
            if self.wanted.is_some() && !self.has_space {
                // It would wait for space, and is killed.
                return Ok(());
            }
            self.now_us += self.pace.sync_us.1 + self.pace.keep_us.1;
        }
        let before = self.writer.mark();
        self.writer.finish()?;
        // If a segment has no room for the final record, the next start assumes a crash.
        self.has_ended = self.writer.mark() != before;
        self.durable_us = ends_us;
        self.keep_books()?;
        let Some(images) = images else { return Ok(()) };
        let mark = self.checkpoints.begin(len_of(images));
        self.keeper.sync_log(mark)?;
        self.keeper.checkpoint(mark, images)
    }
}

fn len_of(images: &[Image]) -> usize {
    images.iter().map(|image| image.topics.len()).sum()
}

impl SimStore {
    /// Sets the current time.
    pub(crate) fn set_now(&mut self, now_us: u64) {
        if let Self::Disk(store) = self {
            store.now_us = now_us;
        }
    }

    /// Returns the time at which it needs a turn.
    pub(crate) fn next_us(&self) -> u64 {
        if let Self::Disk(store) = self { store.next_us() } else { u64::MAX }
    }

    /// Returns true if there are entries that have not been returned.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Disk(store) if !store.is_idle() || store.is_overtaken())
    }

    /// Returns what a start finds if its process ends like this.
    pub(crate) const fn ending(&self, how: Leave) -> Ending {
        match (self, how) {
            (Self::Disk(store), _) if store.has_ended => Ending::Orderly,
            // It has tried to record that it has everything.
            (Self::Disk(_), Leave::Done) => Ending::Unclear,
            (Self::Memory(_) | Self::Disk(_), _) => Ending::Killed,
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Self::Disk(store) if store.has_failed())
    }
}

impl Store for SimStore {
    fn submit(&mut self, write: Write) {
        match self {
            Self::Memory(store) => store.submit(write),
            Self::Disk(store) => store.work.push_back(write),
        }
    }

    fn take_written(&mut self) -> Option<Written> {
        match self {
            Self::Memory(store) => store.take_written(),
            Self::Disk(store) => {
                store.advance();
                let (written, mark) = store.committed.pop_front()?;
                store.checkpoints.give_back(mark);
                store.keeper.note(written.note().as_slice());
                Some(written)
            }
        }
    }

    fn file(&mut self, notes: Vec<Note>) {
        if let Self::Disk(store) = self {
            let mark = store.checkpoints.given();
            store.give(Task::Note(notes, mark));
        }
    }

    fn read(&mut self, lookup: Lookup) {
        match self {
            Self::Memory(store) => store.read(lookup),
            Self::Disk(store) => store.give(Task::Read(lookup)),
        }
    }

    fn take_read(&mut self) -> Option<(Lookup, Result<Found, Unreadable>)> {
        if let Self::Disk(store) = self { store.found.pop_front() } else { None }
    }

    fn fetch(&mut self, query: LogQuery) {
        match self {
            Self::Memory(store) => store.fetch(query),
            Self::Disk(store) => store.give(Task::Fetch(query)),
        }
    }

    fn take_fetched(&mut self) -> Option<(LogQuery, Result<LogPart, Unreadable>)> {
        match self {
            Self::Memory(store) => store.take_fetched(),
            Self::Disk(store) => store.fetched.pop_front(),
        }
    }

    fn copy(&mut self, task: CopyTask, images: Vec<Image>) {
        match self {
            Self::Memory(store) => store.copy(task, images),
            Self::Disk(store) => {
                let mark = store.checkpoints.given();
                store.give(Task::Copy(task, mark, images));
            }
        }
    }

    fn take_copied(&mut self) -> Option<CopyDone> {
        if let Self::Disk(store) = self { store.copied.pop_front() } else { None }
    }

    fn wants_image(&self) -> bool {
        matches!(self, Self::Disk(store) if store.checkpoints.is_due(store.has_space, store.pace.segment))
    }

    fn keep_images(&mut self, images: Vec<Image>) {
        if let Self::Disk(store) = self {
            let mark = store.checkpoints.begin(len_of(&images));
            store.give(Task::Keep(mark, images));
        }
    }

    fn room(&self) -> Room {
        // What finds no room in its small segments waits here, so that it is seldom refused.
        Room { is_full: matches!(self, Self::Disk(store) if !store.has_space), ..Room::UNLIMITED }
    }

    fn close(&mut self, images: Option<Vec<Image>>) {
        if let Self::Disk(store) = self
            && let Err(error) = store.end(images.as_deref())
        {
            store.failure = Some(error);
        }
    }
}
