//! Runs the journal on two threads: `commit` appends and syncs, and `keep` does everything that may take longer.
//!
//! ```text
//! loop ── entries ──► commit ── durable entries ──► loop ── notes, images, queries ──► keep
//!                        ◄─────────────── prepared segments ────────────────────────────┘
//! ```
//!
//! The event loop waits for neither thread. Everything is passed by value through channels, and a message to the loop
//! wakes its poll. After a failed fsync it is unknown what is durable, so nothing more may be acknowledged: the thread
//! in which it failed calls [`OnFailure`] at once. A shortage of file descriptors or memory is not treated as a failed
//! disk: the refused call is retried.

mod checkpoints;
mod clean;
mod commit;
mod copy;
mod keep;
mod recover;
mod room;
mod space;
mod start;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use checkpoints::Checkpoints;
pub use copy::Copies;
pub use recover::{Anew, AnewGroup, Plan, RecoverError, recover};
pub use start::{Scratch, Started, start};

use crate::entry::{CopyDone, CopyTask, Found, Image, LogPart, LogQuery, Note, Room, Unreadable, Write, Written};
use crate::journal::{self, Cut, Folder, Identity, Mark, OpenError, Watermarked};
use crate::limits::{NOTES_MAX, NOTES_WAIT, SEGMENT_BYTES, SEGMENT_BYTES_FIRST};
use crate::node::{Lookup, Node};
use crate::turn::Store;
use space::Space;

/// When the log is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before entries are acknowledged.
    Always,
    /// At most this long after entries were acknowledged.
    Interval(Duration),
}

/// The configuration of a node's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The folder of the journal.
    pub folder: PathBuf,
    /// When the log is synced.
    pub sync: Sync,
    /// The limit on the total size of the journal's files, in bytes. At the limit, publishes are refused.
    pub disk_bytes: u64,
}

/// Exits the process because the disk failed. The arguments are the operation that failed and its error.
pub type OnFailure = fn(what: &str, cause: &io::Error) -> !;

/// The event loop's handle of the journal and its threads.
#[derive(Debug)]
pub struct Storage {
    work: Sender<Work>,
    tasks: Sender<Task>,
    news: Receiver<News>,
    commit: Option<JoinHandle<()>>,
    keep: Option<JoinHandle<()>>,
    checkpoints: Checkpoints,
    /// Notes that have not been sent to the keeper's thread yet. They are sent in batches, because waking the thread on
    /// each turn would cost more than processing the notes, but always before any other task.
    notes: Vec<Note>,
    /// When the oldest of the notes was added; `None` when there are none.
    notes_since: Option<Instant>,
    /// Results of reads that the loop has not taken yet.
    found: VecDeque<(Lookup, Result<Found, Unreadable>)>,
    fetched: VecDeque<(LogQuery, Result<LogPart, Unreadable>)>,
    copied: VecDeque<CopyDone>,
    /// Bytes of segments that are there only for other members, after the newest checkpoint.
    log_kept: u64,
    space: Space,
}

/// A message to the commit thread.
#[derive(Debug)]
enum Work {
    Write(Write),
    /// Syncs what has been written.
    Sync,
    End,
}

/// A message to the keeper's thread.
#[derive(Debug)]
enum Task {
    /// The results of applying the entries up to the mark.
    Note(Vec<Note>, Mark),
    Read(Lookup),
    Fetch(LogQuery),
    Keep(Mark, Vec<Image>),
    /// If a state is to be installed, the images are those of all groups.
    Copy(CopyTask, Mark, Vec<Image>),
    Prepare {
        number: u32,
        size: u32,
    },
    End,
}

/// A message to the event loop.
#[derive(Debug)]
enum News {
    /// What may be acknowledged, the end of the log after it, and the bytes left in its segment.
    Written(Written, Mark, u32),
    /// The next segment, with this number and size, has been sent to the commit thread.
    Prepared {
        number: u32,
        size: u32,
    },
    Read(Lookup, Result<Found, Unreadable>),
    Fetched(LogQuery, Result<LogPart, Unreadable>),
    Copied(CopyDone),
    /// A checkpoint was written, or failed. True when only the predecessor of the newest checkpoint still needs some
    /// dead segments.
    Kept {
        holds_dead: bool,
        log_kept: u64,
    },
    /// The bytes that a checkpoint would return to the file system.
    Freeable(u64),
    /// The last checkpoint failed, and it is time to retry.
    KeepAgain,
    Space(bool),
}

impl Storage {
    /// Opens the journal in a folder, restores the node's state from it, and starts the threads. `wake` wakes the poll
    /// of the event loop; `on_failure` is called on either thread when the disk has failed.
    ///
    /// # Errors
    /// Returns [`OpenError`], which is displayed as one line for the operator.
    pub fn open(
        options: Options,
        identity: &Identity,
        node: &mut Node,
        wake: impl Fn() + Copy + Send + 'static,
        on_failure: OnFailure,
    ) -> Result<Self, OpenError> {
        let Options { folder, sync, disk_bytes } = options;
        let shown = folder.display().to_string();
        let path = folder.clone();
        let disk = Folder::make(folder).map_err(OpenError::folder)?;
        // Checked before the lock is taken, because the lock leaves a file: a foreign folder must not be changed.
        journal::check_owner(&disk, identity)?;
        let disk = disk.take().map_err(OpenError::folder)?.ok_or(OpenError::Busy)?;
        room::warn_if_small(&path);
        let mut started = start(&disk, identity, sync != Sync::Always, SEGMENT_BYTES_FIRST, node)?;
        started.keeper.set_capacity(disk_bytes);
        tell(&shown, &started);
        if started.last.bodies == 0 && !started.is_restored {
            let absolute = std::path::absolute(&shown).unwrap_or_else(|_| shown.clone().into());
            node.start_empty(absolute.display().to_string());
        }
        let (checkpoints, end) = (started.checkpoints, started.writer.mark());
        let space = Space::new(node.slots().len(), end.place.segment, started.writer.room());
        let (work, for_commit) = mpsc::channel();
        let (tasks, for_keep) = mpsc::channel();
        let (news, for_loop) = mpsc::channel();
        let (supply, supplies) = mpsc::channel();
        let committer = commit::Committer::new(started.writer, supplies, (tasks.clone(), news.clone()), on_failure);
        let commit = spawn("commit", move || committer.run(&for_commit, sync, wake)).map_err(OpenError::folder)?;
        let keeper = keep::Bookkeeper::new(started.keeper, end, (supply, news), on_failure);
        // `disk` holds the lock of the folder until this thread ends.
        let keep = spawn("keep", move || {
            keeper.run(&for_keep, wake);
            drop(disk);
        });
        let (commit, keep) = (Some(commit), Some(keep.map_err(OpenError::folder)?));
        let (notes, notes_since, log_kept) = (Vec::new(), None, 0);
        let (found, fetched, copied, news) = (VecDeque::new(), VecDeque::new(), VecDeque::new(), for_loop);
        Ok(Self {
            work,
            tasks,
            news,
            commit,
            keep,
            checkpoints,
            notes,
            notes_since,
            found,
            fetched,
            copied,
            log_kept,
            space,
        })
    }

    /// Sends a task to the keeper's thread, after the notes that have not been sent yet.
    fn give(&mut self, task: Task) {
        planted!("journal asked before it is told", self.tell_notes(), ());
        self.tasks.send(task).expect("the thread runs until it receives the task to end");
    }

    fn add_notes(&mut self, notes: impl IntoIterator<Item = Note>) {
        self.notes.extend(notes);
        self.notes_since = self.notes_since.or_else(|| (!self.notes.is_empty()).then(now));
        if self.notes.len() >= NOTES_MAX {
            self.tell_notes();
        }
    }

    fn tell_notes(&mut self) {
        self.notes_since = None;
        if !self.notes.is_empty() {
            let notes = Task::Note(std::mem::take(&mut self.notes), self.checkpoints.given());
            self.tasks.send(notes).expect("the thread runs until it receives the task to end");
        }
    }
}

impl Store for Storage {
    fn submit(&mut self, write: Write) {
        self.space.submit(write.in_journal() as u64);
        self.work.send(Work::Write(write)).expect("the thread runs until it receives the task to end");
    }

    fn take_written(&mut self) -> Option<Written> {
        // On an idle node no later notes cause these to be sent, although they may make whole segments dead.
        if self.notes_since.is_some_and(|since| left(since + NOTES_WAIT).is_zero()) {
            self.tell_notes();
        }
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Written(written, mark, room) => {
                    self.checkpoints.give_back(mark);
                    self.space.commit(mark.place.segment, room);
                    self.add_notes(written.note());
                    return Some(written);
                }
                News::Prepared { number, size } => self.space.prepare(number, size),
                News::Read(lookup, found) => self.found.push_back((lookup, found)),
                News::Fetched(query, part) => self.fetched.push_back((query, part)),
                News::Copied(done) => self.copied.push_back(done),
                News::Kept { holds_dead, log_kept } => {
                    self.checkpoints.end(holds_dead);
                    self.log_kept = log_kept;
                }
                News::Freeable(bytes) => self.checkpoints.set_freeable(bytes),
                News::KeepAgain => self.checkpoints.owe(),
                News::Space(is_left) => self.space.set_full(!is_left),
            }
        }
        None
    }

    fn file(&mut self, notes: Vec<Note>) {
        self.add_notes(notes);
    }

    fn read(&mut self, lookup: Lookup) {
        self.give(Task::Read(lookup));
    }

    fn take_read(&mut self) -> Option<(Lookup, Result<Found, Unreadable>)> {
        self.found.pop_front()
    }

    fn fetch(&mut self, query: LogQuery) {
        self.give(Task::Fetch(query));
    }

    fn take_fetched(&mut self) -> Option<(LogQuery, Result<LogPart, Unreadable>)> {
        self.fetched.pop_front()
    }

    fn copy(&mut self, task: CopyTask, images: Vec<Image>) {
        let mark = self.checkpoints.given();
        self.give(Task::Copy(task, mark, images));
    }

    fn take_copied(&mut self) -> Option<CopyDone> {
        self.copied.pop_front()
    }

    fn wants_image(&self) -> bool {
        self.checkpoints.is_due(!self.space.is_full(), SEGMENT_BYTES)
    }

    fn keep_images(&mut self, images: Vec<Image>) {
        let mark = self.checkpoints.begin(images.iter().map(|image| image.topics.len()).sum());
        self.give(Task::Keep(mark, images));
    }

    fn room(&self) -> Room {
        Room { log_kept: self.log_kept, ..self.space.room() }
    }

    fn close(&mut self, images: Option<Vec<Image>>) {
        // All entries are written before the checkpoint, which must not be ahead of the log.
        self.work.send(Work::End).expect("the thread runs until it receives the task to end");
        join(self.commit.take());
        if let Some(images) = images {
            self.keep_images(images);
        }
        self.give(Task::End);
        join(self.keep.take());
    }
}

/// Logs what a start has found.
fn tell<D: journal::Disk>(folder: &str, started: &Started<D>) {
    log::info!("journal {folder}: {} entries", started.last.bodies);
    let Cut { bytes, records } = started.cut;
    let is_marked = started.watermark.mark().is_some();
    if records > 0 && is_marked {
        log::info!(
            "journal {folder}: cut {bytes} bytes with {records} unfinished records at its end, after everything that \
             was durable according to the watermark"
        );
    } else if records > 0 {
        log::warn!(
            "journal {folder}: cut {bytes} bytes with {records} unfinished records at its end; without a watermark \
             it is unknown whether they were acknowledged"
        );
    }
    if started.watermark == Watermarked::Lost {
        log::warn!(
            "journal {folder}: the watermark was missing or damaged and was created anew; it is unknown whether \
             acknowledged records are missing at the end of the log"
        );
    }
    if !started.mended.is_empty() {
        log::warn!("journal {folder}: {}", started.mended.join("; "));
    }
    if started.is_restored {
        log::warn!(
            "journal {folder} was restored from a backup: records acknowledged after the backup are lost; every topic \
             begins a new epoch, so that readers notice"
        );
    } else if started.is_lossy {
        log::warn!("the last acknowledged records may be lost: they may not have been synced yet (--sync interval)");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("dht-{name}")).spawn(work)
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        thread.join().expect("a thread of the journal does not panic");
    }
}

#[expect(clippy::disallowed_methods, reason = "the times of syncs and retries are not simulated")]
fn now() -> Instant {
    Instant::now()
}

fn left(due: Instant) -> Duration {
    due.saturating_duration_since(now())
}
