//! The thread that does what takes long: indexes, checkpoints, filling segments, removing those that are dead.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use super::{News, Supply, Task, fail, left, now};
use crate::journal::{Disk, Keeper, Mark, Preparation, Progress};
use crate::limits::SEGMENT_AGAIN_US;
use crate::node::Lookup;
use crate::record::Unreadable;

/// The books, and whom to tell.
pub(super) struct Bookkeeper<D: Disk> {
    keeper: Keeper<D>,
    supply: Sender<Supply<D::File>>,
    news: Sender<News>,
    /// The segment that is to be made ready: its number and size, and when that is tried again.
    wanted: Option<(u32, u32, Instant)>,
    /// It, while that is done.
    filling: Option<Preparation<D::File>>,
    has_space: bool,
}

impl<D: Disk> Bookkeeper<D> {
    pub(super) const fn new(keeper: Keeper<D>, supply: Sender<Supply<D::File>>, news: Sender<News>) -> Self {
        Self { keeper, supply, news, wanted: None, filling: None, has_space: true }
    }

    /// Works until it is told to end. A segment is filled piece by piece between the tasks.
    pub(super) fn run(mut self, tasks: &Receiver<Task>, wake: impl Fn()) {
        loop {
            let task = match (&self.filling, self.wanted) {
                (Some(_), _) => tasks.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
                (None, Some((.., again))) => tasks.recv_timeout(left(again)),
                (None, None) => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match task {
                Ok(Task::Note(notes)) => self.keeper.note(&notes),
                Ok(Task::Read(lookup)) => {
                    self.read(lookup);
                    wake();
                }
                Ok(Task::Keep(mark, image)) => {
                    self.keep(mark, &image);
                    // What it removed may be the space that was missing.
                    self.wanted = self.wanted.map(|(number, size, _)| (number, size, now()));
                }
                Ok(Task::Prepare { number, size }) => self.wanted = Some((number, size, now())),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Task::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.begin_if_due(&wake);
            self.fill(&wake);
        }
    }

    fn keep(&mut self, mark: Mark, image: &[u8]) {
        self.keeper.sync_log(mark).unwrap_or_else(|error| fail("cannot make the journal safe", &error));
        if let Err(error) = self.keeper.checkpoint(mark, image) {
            log::warn!("no checkpoint could be made: {error}; the next start will take longer");
        }
        let _ = self.news.send(News::Kept);
    }

    fn read(&self, lookup: Lookup) {
        let found = self.keeper.read(lookup.topic, lookup.wanted).map_err(|error| {
            log::error!("topic {:x}: {error}", lookup.topic.number());
            Unreadable
        });
        // The loop may have ended.
        let _ = self.news.send(News::Read(lookup, found));
    }

    /// Begins to make the wanted segment ready, if there is one, that is not under way, and its time has come: however
    /// many tasks there are.
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

    /// Goes on with that by one piece.
    fn fill(&mut self, wake: &impl Fn()) {
        let Some(filling) = self.filling.take() else { return };
        match self.keeper.fill_segment(filling) {
            Ok(Progress::Unfinished(unfinished)) => self.filling = Some(unfinished),
            Ok(Progress::Ready(segment)) => {
                self.wanted = None;
                // The thread that commits may have ended.
                let _ = self.supply.send(Supply::Segment(segment));
                self.tell_space(None, wake);
            }
            Err(error) => self.try_again(&error, wake),
        }
    }

    fn try_again(&mut self, error: &io::Error, wake: &impl Fn()) {
        let again = now() + Duration::from_micros(SEGMENT_AGAIN_US);
        self.wanted = self.wanted.map(|(number, size, _)| (number, size, again));
        self.tell_space(Some(error), wake);
    }

    /// Tells who has to know that there is space again, or none.
    fn tell_space(&mut self, missing: Option<&io::Error>, wake: &impl Fn()) {
        if self.has_space == missing.is_none() {
            return;
        }
        self.has_space = missing.is_none();
        if let Some(error) = missing {
            log::error!("no segment can be made ready: {error}; publishes are refused until that works");
            let _ = self.supply.send(Supply::NoSpace);
        } else {
            log::info!("a segment is ready again; publishes are accepted again");
        }
        let _ = self.news.send(News::Space(self.has_space));
        wake();
    }
}
