//! The thread that does what takes long: indexes, checkpoints, filling segments, removing those that are dead.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::{News, Supply, Task, fail};
use crate::journal::{Folder, Keeper};
use crate::limits::SEGMENT_AGAIN_US;
use crate::node::Lookup;
use crate::record::Unreadable;

/// The books, and whom to tell.
pub(super) struct Bookkeeper {
    keeper: Keeper<Folder>,
    supply: Sender<Supply<File>>,
    news: Sender<News>,
    /// The segment that is to be made ready: its number and size.
    wanted: Option<(u32, u32)>,
    has_space: bool,
}

impl Bookkeeper {
    pub(super) const fn new(keeper: Keeper<Folder>, supply: Sender<Supply<File>>, news: Sender<News>) -> Self {
        Self { keeper, supply, news, wanted: None, has_space: true }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self, tasks: &Receiver<Task>, wake: impl Fn()) {
        loop {
            let task = if self.wanted.is_some() {
                tasks.recv_timeout(Duration::from_micros(SEGMENT_AGAIN_US))
            } else {
                wait(tasks)
            };
            match task {
                Ok(Task::Note(notes)) => {
                    self.keeper.note(&notes);
                    continue;
                }
                Ok(Task::Read(lookup)) => {
                    self.read(lookup);
                    wake();
                    continue;
                }
                Ok(Task::Keep(mark, image)) => {
                    self.keeper.sync_log(mark).unwrap_or_else(|error| fail("cannot make the journal safe", &error));
                    if let Err(error) = self.keeper.checkpoint(mark, &image) {
                        log::warn!("no checkpoint could be made: {error}; the next start will take longer");
                    }
                    let _ = self.news.send(News::Kept);
                }
                Ok(Task::Prepare { number, size }) => self.wanted = Some((number, size)),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Task::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.prepare(&wake);
        }
    }

    fn read(&self, lookup: Lookup) {
        let found = self.keeper.read(lookup.topic, lookup.wanted).map_err(|error| {
            log::error!("topic {:x}: {error}", lookup.topic.number());
            Unreadable
        });
        // The loop may have ended.
        let _ = self.news.send(News::Read(lookup, found));
    }

    fn prepare(&mut self, wake: &impl Fn()) {
        let Some((number, size)) = self.wanted else { return };
        let had_space = self.has_space;
        match self.keeper.prepare(number, size) {
            Ok(segment) => {
                self.wanted = None;
                self.has_space = true;
                // The thread that commits may have ended.
                let _ = self.supply.send(Supply::Segment(segment));
            }
            Err(error) => {
                if had_space {
                    complain(&error);
                    let _ = self.supply.send(Supply::NoSpace);
                }
                self.has_space = false;
            }
        }
        if self.has_space != had_space {
            let _ = self.news.send(News::Space(self.has_space));
            wake();
        }
    }
}

fn wait(tasks: &Receiver<Task>) -> Result<Task, RecvTimeoutError> {
    tasks.recv().map_err(|_| RecvTimeoutError::Disconnected)
}

fn complain(error: &io::Error) {
    log::error!("no segment can be made ready: {error}; publishes are refused until that works");
}
