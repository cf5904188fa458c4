//! The journal on its threads: one appends and syncs, one does everything that may take longer.
//!
//! ```text
//! loop ── entries ──► commit ── entries, safe ──► loop ── notes, images ──► keep
//!                        ◄────────── prepared segments ─────────────────────┘
//! ```
//!
//! The loop waits for neither. Everything goes by value through channels, and what the loop is to know wakes its poll.
//! A disk that fails ends the process at once: after a failed sync nobody knows what is on it.

mod commit;
mod keep;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::journal::{self, Folder, Found, Identity, Mark, OpenError, Prepared, Writer};
use crate::limits::{SEGMENT_BYTES, SEGMENT_BYTES_FIRST};
use crate::node::Node;
use crate::record::{Entry, Malformed, Note};
use crate::turn::Store;

/// When what was written is made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before it is acknowledged.
    Always,
    /// At most so long after it was acknowledged.
    Interval(Duration),
}

/// What a start has found.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The last entry.
    pub index: u64,
    /// Bytes at the end that a crash had left unfinished.
    pub cut: u64,
    /// May acknowledged records be missing, so that every log begins a new epoch?
    pub is_lossy: bool,
}

/// The log of a node on disk.
#[derive(Debug)]
pub struct Storage {
    work: Sender<Work>,
    tasks: Sender<Task>,
    news: Receiver<News>,
    commit: Option<JoinHandle<()>>,
    keep: Option<JoinHandle<()>>,
    /// Of the last entries that were given back.
    mark: Mark,
    /// Of the newest checkpoint, and the bytes of its state.
    checkpoint: Mark,
    image_len: usize,
    /// Is a checkpoint being made?
    is_keeping: bool,
    has_space: bool,
}

/// For the thread that commits.
#[derive(Debug)]
enum Work {
    Entries(Vec<Entry>),
    End,
}

/// For the thread that keeps the books.
#[derive(Debug)]
enum Task {
    Note(Vec<Note>),
    Keep(Mark, Vec<u8>),
    Prepare { number: u32, size: u32 },
    End,
}

/// For the thread that commits, from the one that keeps the books.
#[derive(Debug)]
enum Supply<F> {
    /// The next segment is ready.
    Segment(Prepared<F>),
    /// It will be when there is space again.
    NoSpace,
}

/// For the loop.
#[derive(Debug)]
enum News {
    Committed(Vec<Entry>, Mark),
    Kept,
    Space(bool),
}

impl Storage {
    /// Opens the journal of a folder, gives the node what is in it, and starts the threads. `wake` ends the wait of the
    /// loop's poll.
    ///
    /// # Errors
    /// [`OpenError`]: one line for who started the node.
    pub fn open(
        path: PathBuf,
        identity: &Identity,
        sync: Sync,
        node: &mut Node,
        wake: impl Fn() + Copy + Send + 'static,
    ) -> Result<(Self, Start), OpenError> {
        let folder_error = |cause: io::Error| OpenError::Io { file: "the folder".to_owned(), cause };
        let disk = Folder::make(path).map_err(folder_error)?;
        // Before it is taken, which leaves a file: somebody else's folder is left as it is.
        journal::inspect(&disk, identity)?;
        let disk = disk.take().map_err(folder_error)?.ok_or(OpenError::Busy)?;
        journal::claim(&disk, identity)?;
        let group = identity.node.index();
        let mut recovered = journal::recover(&disk, group, &mut |found| take_in(node, found))?;
        let damaged = |Malformed| OpenError::Damaged {
            file: "the newest checkpoint".to_owned(),
            position: 0,
            what: "it has records that no segment has",
        };
        node.finish_restore().map_err(damaged)?;
        let number = recovered.last.place.segment + u32::from(recovered.last.place.position > 0);
        let segment = recovered.keeper.prepare(number.max(1), SEGMENT_BYTES_FIRST).map_err(folder_error)?;
        let is_lazy = sync != Sync::Always;
        let mut writer = Writer::new(group, is_lazy, recovered.last, segment);
        if recovered.is_lossy {
            let mut raise = vec![Entry::RaiseEpochs];
            writer.append(&mut raise).expect("a fresh segment has room");
            recovered.keeper.note(&node.replay(raise));
        }
        writer.sync().map_err(folder_error)?;
        let start = Start { index: recovered.last.index, cut: recovered.cut, is_lossy: recovered.is_lossy };
        let (mark, checkpoint) = (writer.mark(), recovered.checkpoint);
        let (work, for_commit) = mpsc::channel();
        let (tasks, for_keep) = mpsc::channel();
        let (news, for_loop) = mpsc::channel();
        let (supply, supplies) = mpsc::channel();
        let committer = commit::Committer::new(writer, supplies, tasks.clone(), news.clone());
        let commit = spawn("commit", move || committer.run(&for_commit, sync, wake)).map_err(folder_error)?;
        let keeper = keep::Bookkeeper::new(recovered.keeper, supply, news);
        // The lock of the folder is held for as long as this thread lives.
        let keep = spawn("keep", move || {
            keeper.run(&for_keep, wake);
            drop(disk);
        });
        let storage = Self {
            work,
            tasks,
            news: for_loop,
            commit: Some(commit),
            keep: Some(keep.map_err(folder_error)?),
            mark,
            checkpoint,
            image_len: 0,
            is_keeping: false,
            has_space: true,
        };
        Ok((storage, start))
    }

    /// Gives the thread that keeps the books something to do.
    fn give(&self, task: Task) {
        self.tasks.send(task).expect("the thread lives until it is told to end");
    }
}

impl Store for Storage {
    fn submit(&mut self, entries: &mut Vec<Entry>) {
        let work = Work::Entries(std::mem::take(entries));
        self.work.send(work).expect("the thread lives until it is told to end");
    }

    fn take_committed(&mut self, entries: &mut Vec<Entry>) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Committed(committed, mark) => {
                    self.mark = mark;
                    *entries = committed;
                    return;
                }
                News::Kept => self.is_keeping = false,
                News::Space(is_left) => self.has_space = is_left,
            }
        }
    }

    fn file(&mut self, notes: Vec<Note>) {
        self.give(Task::Note(notes));
    }

    /// With each segment, or when so many are full that the state is a small part of them; and whenever that may make
    /// space.
    fn wants_image(&self) -> bool {
        let segments = self.mark.place.segment.saturating_sub(self.checkpoint.place.segment) as usize;
        let is_due = segments > self.image_len * 4 / SEGMENT_BYTES as usize;
        let may_help = !self.has_space && self.mark.index > self.checkpoint.index;
        !self.is_keeping && (is_due || may_help)
    }

    fn keep_image(&mut self, image: Vec<u8>) {
        self.is_keeping = true;
        (self.checkpoint, self.image_len) = (self.mark, image.len());
        self.give(Task::Keep(self.mark, image));
    }

    fn has_space(&self) -> bool {
        self.has_space
    }

    fn close(&mut self, image: Vec<u8>) {
        // First all entries, then the checkpoint, which must not name more than there is.
        self.work.send(Work::End).expect("the thread lives until it is told to end");
        join(self.commit.take());
        self.give(Task::Keep(self.mark, image));
        self.give(Task::End);
        join(self.keep.take());
    }
}

/// Gives a node what was found, and the journal what became of it.
///
/// # Errors
/// [`Malformed`] when it cannot have been written by a node.
pub fn take_in(node: &mut Node, found: Found) -> Result<Vec<Note>, Malformed> {
    match found {
        Found::Image(image) => node.restore(&image).map(|()| Vec::new()),
        Found::Chunk(filed, payload) => {
            let is_kept = node.restore_records(&filed, payload)?;
            Ok(if is_kept { vec![Note::Stored(filed)] } else { Vec::new() })
        }
        Found::Entries(entries) => Ok(node.replay(entries)),
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

/// Ends the process: what is on the disk is not known any more, so nothing more may be acknowledged.
fn fail(what: &str, error: &io::Error) -> ! {
    log::error!("{what}: {error}; ending at once, since what is on the disk is not known any more");
    std::process::exit(EXIT_DISK)
}

/// The disk failed.
pub const EXIT_DISK: i32 = 3;
