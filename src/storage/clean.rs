//! When segments are cleaned: between the other tasks of the thread that keeps the books, a piece at a time, and with
//! pauses that leave most of the disk to others unless space is short.

use std::io;
use std::time::{Duration, Instant};

use super::{left, now};
use crate::journal::{Cleaning, Disk, Keeper, Look, OpenError, is_transient};
use crate::limits::{CLEAN_AGAIN, CLEAN_BYTES_PER_SECOND, CLEAN_LOOK, SEGMENT_BYTES};

/// What is being cleaned, and when that goes on.
#[derive(Debug)]
pub(super) struct Cleaner<F> {
    run: Option<Cleaning<F>>,
    due: Option<Instant>,
}

impl<F> Cleaner<F> {
    /// Begins with a look for what there is.
    pub(super) fn new() -> Self {
        Self { run: None, due: Some(now() + CLEAN_LOOK) }
    }

    /// When it wants a turn.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Records may have died: it will look for segments that hold few others, soon, or at once when space is short.
    pub(super) fn stir(&mut self, is_urgent: bool) {
        if is_urgent {
            self.due = Some(now());
        } else {
            self.due.get_or_insert_with(|| now() + CLEAN_LOOK);
        }
    }

    /// Does what is due. True when segments have become dead by it.
    pub(super) fn work<D: Disk<File = F>>(&mut self, keeper: &mut Keeper<D>, is_urgent: bool) -> bool {
        if self.due.is_none_or(|due| !left(due).is_zero()) {
            return false;
        }
        let Some(run) = self.run.take() else {
            self.due = match keeper.look_for_dirt(is_urgent, SEGMENT_BYTES) {
                Ok(Look::Clean) => None,
                Ok(Look::Later) => Some(now() + CLEAN_LOOK),
                Ok(Look::Dirty(run)) => {
                    self.run = Some(run);
                    Some(now())
                }
                Err(error) => {
                    log::debug!("cleaning cannot begin: {error}");
                    Some(now() + CLEAN_AGAIN)
                }
            };
            return false;
        };
        self.go_on(keeper, run, is_urgent)
    }

    /// Copies some more of a run, or ends it.
    fn go_on<D: Disk<File = F>>(&mut self, keeper: &mut Keeper<D>, mut run: Cleaning<F>, is_urgent: bool) -> bool {
        let before = run.written();
        let done = match keeper.clean_some(&mut run) {
            Ok(true) => keeper.finish_cleaning(&mut run).map(Some),
            Ok(false) => Ok(None),
            Err(OpenError::Io { cause, .. }) => Err(cause),
            Err(error) => Err(io::Error::other(error)),
        };
        match done {
            Ok(None) => {
                let pause = if is_urgent { Duration::ZERO } else { time_of(run.written() - before) };
                (self.run, self.due) = (Some(run), Some(now() + pause));
                false
            }
            Ok(Some(victims)) => {
                let mib = |bytes: u64| bytes.div_ceil(1 << 20);
                let (segments, bytes, copied) = (victims.segments, mib(victims.bytes), mib(victims.copied));
                log::info!("{segments} segments of {bytes} MiB were cleaned; {copied} MiB of copies replace them");
                self.due = Some(now());
                true
            }
            Err(error) if is_transient(&error) => {
                (self.run, self.due) = (Some(run), Some(now() + CLEAN_AGAIN));
                false
            }
            Err(error) => {
                log::warn!("segments cannot be cleaned for now: {error}");
                let _ = keeper.give_up_cleaning(run);
                self.due = Some(now() + CLEAN_AGAIN);
                false
            }
        }
    }
}

/// How long writing so many bytes may take.
fn time_of(bytes: u32) -> Duration {
    Duration::from_secs(bytes.into()) / CLEAN_BYTES_PER_SECOND
}
