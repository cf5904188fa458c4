//! The journal on its threads: one appends and syncs, one does everything that may take longer.
//!
//! ```text
//! loop ── entries ──► commit ── entries, safe ──► loop ── notes, images, questions ──► keep
//!                        ◄─────────────── prepared segments ────────────────────────────┘
//! ```
//!
//! The loop waits for neither. Everything goes by value through channels, and what the loop is to know wakes its poll.
//! After a failed sync nobody knows what is on the disk, so nothing more may be acknowledged: the thread that notices
//! it calls [`OnFailure`] at once. A shortage of descriptors or memory is no such failure: whatever the system refuses
//! because of one is done again.

mod checkpoints;
mod clean;
mod commit;
mod keep;
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
pub use start::{Scratch, Started, start};

use crate::journal::{self, Cut, Folder, Identity, Mark, OpenError, Watermarked};
use crate::limits::{NOTES_MAX, NOTES_WAIT, SEGMENT_BYTES, SEGMENT_BYTES_FIRST};
use crate::node::{Lookup, Node};
use crate::record::{Body, BodyLen, Found, Note, Room, Unreadable};
use crate::turn::Store;
use space::Space;

/// When what was written is made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before it is acknowledged.
    Always,
    /// At most so long after it was acknowledged.
    Interval(Duration),
}

/// What the journal of a node is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where it is.
    pub folder: PathBuf,
    /// When it is made safe.
    pub sync: Sync,
    /// Bytes that it may have: beyond them it takes no more records.
    pub disk_bytes: u64,
}

/// Ends the process because of a failed disk. It is given what failed, and why.
pub type OnFailure = fn(what: &str, cause: &io::Error) -> !;

/// The log of a node on disk.
#[derive(Debug)]
pub struct Storage {
    work: Sender<Work>,
    tasks: Sender<Task>,
    news: Receiver<News>,
    commit: Option<JoinHandle<()>>,
    keep: Option<JoinHandle<()>>,
    checkpoints: Checkpoints,
    /// What the thread that keeps the books is to be told before anything else: to wake it for each turn would cost
    /// more than what it does.
    notes: Vec<Note>,
    /// When the oldest of the notes was added; `None` when there are none.
    notes_since: Option<Instant>,
    /// Answers that the loop has not taken yet.
    found: VecDeque<(Lookup, Result<Found, Unreadable>)>,
    space: Space,
}

/// For the thread that commits.
#[derive(Debug)]
enum Work {
    Body(Body),
    /// It is time to sync.
    Sync,
    End,
}

/// For the thread that keeps the books.
#[derive(Debug)]
enum Task {
    /// The results of applying the entries up to the mark.
    Note(Vec<Note>, Mark),
    Read(Lookup),
    Keep(Mark, Vec<u8>),
    Prepare {
        number: u32,
        size: u32,
    },
    End,
}

/// For the loop.
#[derive(Debug)]
enum News {
    /// A body, the end of the log behind it, and the bytes left in its segment.
    Committed(Body, Mark, u32),
    /// The next segment, of this number and size, is on its way to the thread that commits.
    Prepared {
        number: u32,
        size: u32,
    },
    Read(Lookup, Result<Found, Unreadable>),
    /// A checkpoint was made, or failed; true when only the predecessor of the newest checkpoint still needs some dead
    /// segments.
    Kept(bool),
    /// The bytes that a checkpoint would return to the file system.
    Freeable(u64),
    /// The last checkpoint failed, and it is time to retry.
    KeepAgain,
    Space(bool),
}

impl Storage {
    /// Opens the journal of a folder, gives the node what is in it, and starts the threads. `wake` ends the wait of the
    /// loop's poll; `on_failure` is called on any thread when the disk has failed.
    ///
    /// # Errors
    /// [`OpenError`]: one line for who started the node.
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
        // Before it is taken, which leaves a file: somebody else's folder is left as it is.
        journal::check_owner(&disk, identity)?;
        let disk = disk.take().map_err(OpenError::folder)?.ok_or(OpenError::Busy)?;
        room::warn_if_small(&path);
        let mut started = start(&disk, identity, sync != Sync::Always, SEGMENT_BYTES_FIRST, node)?;
        started.keeper.set_capacity(disk_bytes);
        tell(&shown, &started);
        if started.last.index == 0 && !started.is_restored {
            let absolute = std::path::absolute(&shown).unwrap_or_else(|_| shown.clone().into());
            node.start_empty(absolute.display().to_string());
        }
        let (checkpoints, end) = (started.checkpoints, started.writer.mark());
        let space = Space::new(end.place.segment, started.writer.room());
        let (work, for_commit) = mpsc::channel();
        let (tasks, for_keep) = mpsc::channel();
        let (news, for_loop) = mpsc::channel();
        let (supply, supplies) = mpsc::channel();
        let committer = commit::Committer::new(started.writer, supplies, (tasks.clone(), news.clone()), on_failure);
        let commit = spawn("commit", move || committer.run(&for_commit, sync, wake)).map_err(OpenError::folder)?;
        let keeper = keep::Bookkeeper::new(started.keeper, end, (supply, news), on_failure);
        // The lock of the folder is held for as long as this thread lives.
        let keep = spawn("keep", move || {
            keeper.run(&for_keep, wake);
            drop(disk);
        });
        let (commit, keep) = (Some(commit), Some(keep.map_err(OpenError::folder)?));
        let (notes, found) = (Vec::new(), VecDeque::new());
        let notes_since = None;
        Ok(Self { work, tasks, news: for_loop, commit, keep, checkpoints, notes, notes_since, found, space })
    }

    /// Gives the thread that keeps the books something to do, behind what it was to be told.
    fn give(&mut self, task: Task) {
        planted!("journal asked before it is told", self.tell_notes(), ());
        self.tasks.send(task).expect("the thread lives until it is told to end");
    }

    fn tell_notes(&mut self) {
        self.notes_since = None;
        if !self.notes.is_empty() {
            let notes = Task::Note(std::mem::take(&mut self.notes), self.checkpoints.given());
            self.tasks.send(notes).expect("the thread lives until it is told to end");
        }
    }
}

impl Store for Storage {
    fn submit(&mut self, body: Body) {
        self.space.submit(BodyLen::of(&body.entries).in_journal() as u64);
        self.work.send(Work::Body(body)).expect("the thread lives until it is told to end");
    }

    fn take_committed(&mut self) -> Option<Body> {
        // On an idle node no later notes push these out, and they may be the ones that make whole segments dead.
        if self.notes_since.is_some_and(|since| left(since + NOTES_WAIT).is_zero()) {
            self.tell_notes();
        }
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Committed(body, mark, room) => {
                    self.checkpoints.give_back(mark);
                    self.space.commit(mark.place.segment, room);
                    return Some(body);
                }
                News::Prepared { number, size } => self.space.prepare(number, size),
                News::Read(lookup, found) => self.found.push_back((lookup, found)),
                News::Kept(holds_dead) => self.checkpoints.end(holds_dead),
                News::Freeable(bytes) => self.checkpoints.set_freeable(bytes),
                News::KeepAgain => self.checkpoints.owe(),
                News::Space(is_left) => self.space.set_full(!is_left),
            }
        }
        None
    }

    fn file(&mut self, mut notes: Vec<Note>) {
        self.notes.append(&mut notes);
        self.notes_since.get_or_insert_with(now);
        if self.notes.len() >= NOTES_MAX {
            self.tell_notes();
        }
    }

    fn read(&mut self, lookup: Lookup) {
        self.give(Task::Read(lookup));
    }

    fn take_read(&mut self) -> Option<(Lookup, Result<Found, Unreadable>)> {
        self.found.pop_front()
    }

    fn wants_image(&self) -> bool {
        self.checkpoints.is_due(!self.space.is_full(), SEGMENT_BYTES)
    }

    fn keep_image(&mut self, image: Vec<u8>) {
        let mark = self.checkpoints.begin(image.len());
        self.give(Task::Keep(mark, image));
    }

    fn room(&self) -> Room {
        self.space.room()
    }

    fn close(&mut self, image: Vec<u8>) {
        // First all entries, then the checkpoint, which must not name more than there is.
        self.work.send(Work::End).expect("the thread lives until it is told to end");
        join(self.commit.take());
        self.keep_image(image);
        self.give(Task::End);
        join(self.keep.take());
    }
}

/// Says what a start has found.
fn tell<D: journal::Disk>(folder: &str, started: &Started<D>) {
    log::info!("journal {folder}: {} entries", started.last.index);
    let Cut { bytes, records } = started.cut;
    let is_marked = started.watermark.mark().is_some();
    if records > 0 && is_marked {
        log::info!(
            "journal {folder}: cut {bytes} bytes with {records} unfinished records at its end, behind everything that \
             was durable according to the watermark"
        );
    } else if records > 0 {
        log::warn!(
            "journal {folder}: cut {bytes} bytes with {records} unfinished records at its end; without a watermark \
             nobody can tell whether they were acknowledged"
        );
    }
    if started.watermark == Watermarked::Lost {
        log::warn!(
            "journal {folder}: the watermark was missing or damaged and was created anew; whether acknowledged records \
             are missing at the end of the journal cannot be told"
        );
    }
    if !started.mended.is_empty() {
        log::warn!("journal {folder}: {}", started.mended.join("; "));
    }
    if started.is_restored {
        log::warn!(
            "journal {folder} was restored from a backup: records acknowledged after the backup are lost; every topic \
             begins a new epoch, so that readers are told"
        );
    } else if started.is_lossy {
        log::warn!("records that were acknowledged last may be lost, since not each was made safe (--sync interval)");
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
