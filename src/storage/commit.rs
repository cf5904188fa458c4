//! The commit thread: appends records to the log and syncs it. All that arrive during a sync share the next sync.
//!
//! The loop submits a record only if there is room for it ([`super::space`]): in the current segment, or in the next
//! one, which has then been prepared and sent to this thread.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use super::{News, OnFailure, Sync, Task, Work, left, now};
use crate::entry::{Write, Written};
use crate::journal::{DiskFile, Mark, NoRoom, Prepared, Writer, is_transient};
use crate::limits::{COMMIT_TURNS_MAX, SEGMENT_BYTES, SHORTAGE_WAIT_LEAST, SHORTAGE_WAIT_MAX};

/// The state of the commit thread.
pub(super) struct Committer<F> {
    writer: Writer<F>,
    /// Receives the next segment when it is prepared.
    supplies: Receiver<Prepared<F>>,
    tasks: Sender<Task>,
    news: Sender<News>,
    on_failure: OnFailure,
    /// True when the next segment has been requested.
    is_asked: bool,
    /// What was appended but not reported to the loop yet, each with the end of the log after it and the bytes left in
    /// its segment.
    written: Vec<(Written, Mark, u32)>,
}

impl<F: DiskFile> Committer<F> {
    pub(super) fn new(
        writer: Writer<F>,
        supplies: Receiver<Prepared<F>>,
        (tasks, news): (Sender<Task>, Sender<News>),
        on_failure: OnFailure,
    ) -> Self {
        Self { writer, supplies, tasks, news, on_failure, is_asked: false, written: Vec::new() }
    }

    /// Processes work until it receives [`Work::End`].
    pub(super) fn run(mut self, work: &Receiver<Work>, sync: Sync, wake: impl Fn()) {
        let mut due = None;
        loop {
            let first = match due {
                None => work.recv().ok(),
                Some(due) => match work.recv_timeout(left(due)) {
                    Ok(work) => Some(work),
                    Err(RecvTimeoutError::Timeout) => Some(Work::Sync),
                    Err(RecvTimeoutError::Disconnected) => None,
                },
            };
            let more = work.try_iter().take(COMMIT_TURNS_MAX);
            let mut is_end = false;
            for work in first.map_or(Some(Work::End), Some).into_iter().chain(more) {
                match work {
                    Work::Write(write) => self.append(&write, &wake),
                    Work::Sync => {}
                    Work::End => is_end = true,
                }
            }
            match sync {
                Sync::Interval(interval) if !is_end => {
                    self.patiently("cannot write to the journal", Writer::write);
                    if due.is_some_and(|due| left(due).is_zero()) {
                        self.sync();
                        due = None;
                    } else if !self.written.is_empty() {
                        due = due.or_else(|| Some(now() + interval));
                    }
                }
                Sync::Always | Sync::Interval(_) => {
                    planted!("given back before the sync", self.sync(), self.patiently("cannot write", Writer::write));
                }
            }
            self.release(&wake);
            if is_end {
                return self.finish();
            }
        }
    }

    /// Appends a record, in the next segment if it does not fit this one.
    fn append(&mut self, write: &Write, wake: &impl Fn()) {
        let written = loop {
            match self.writer.put(write) {
                Ok(written) => break written,
                Err(NoRoom) => self.turn(wake),
            }
        };
        let mark = self.writer.mark();
        self.written.push((written, mark, self.writer.room()));
        if !self.is_asked && self.writer.is_half_full() {
            self.is_asked = true;
            let number = mark.place.segment + 1;
            // The keeper's thread ends before this one only when the process is exiting.
            let _ = self.tasks.send(Task::Prepare { number, size: SEGMENT_BYTES });
        }
    }

    /// Continues in the next segment.
    fn turn(&mut self, wake: &impl Fn()) {
        planted!("segment turned before the sync", self.sync(), ());
        self.release(wake);
        let Ok(next) = self.supplies.recv() else {
            (self.on_failure)("the keeper's thread has ended", &io::ErrorKind::BrokenPipe.into());
        };
        // Everything is durable already, so this call makes no attempt that a shortage of memory could fail.
        self.writer.turn_to(next).unwrap_or_else(|error| (self.on_failure)("cannot begin a segment", &error));
        self.is_asked = false;
    }

    fn sync(&mut self) {
        self.patiently("cannot sync the journal", Writer::sync);
    }

    fn finish(&mut self) {
        self.sync();
        match self.writer.finish() {
            // The final record is in the writer's buffer and still has to be written.
            Err(error) if is_transient(&error) => self.sync(),
            done => done.unwrap_or_else(|error| (self.on_failure)("cannot close the journal", &error)),
        }
    }

    /// Repeats an attempt for as long as it fails because of a shortage of resources; entries stay in the writer's
    /// buffer until they are written. Any other failure ends the process.
    fn patiently(&mut self, what: &str, mut attempt: impl FnMut(&mut Writer<F>) -> io::Result<()>) {
        let mut wait = SHORTAGE_WAIT_LEAST;
        let mut has_failed = false;
        while let Err(error) = attempt(&mut self.writer) {
            if !is_transient(&error) {
                (self.on_failure)(what, &error);
            }
            log::warn!("{what}: {error}; trying again in {} ms", wait.as_millis());
            std::thread::park_timeout(wait);
            wait = (wait * 2).min(SHORTAGE_WAIT_MAX);
            has_failed = true;
        }
        if has_failed {
            log::info!("the journal is written and synced again");
        }
    }

    /// Reports to the loop what was appended. It is durable now or, under [`Sync::Interval`], at least written.
    fn release(&mut self, wake: &impl Fn()) {
        if self.written.is_empty() {
            return;
        }
        planted!("given back in another order", (), self.written.reverse());
        for (written, mark, room) in self.written.drain(..) {
            // The loop may have ended.
            let _ = self.news.send(News::Written(written, mark, room));
        }
        wake();
    }
}
