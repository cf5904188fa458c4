//! Schedules the cleaning of segments: on the keeper's thread, one piece at a time between its other tasks. Unless
//! space is short, pauses between the pieces leave most of the disk's throughput to other work.

use std::io;
use std::time::{Duration, Instant};

use super::{left, now};
use crate::journal::{Cleaning, Disk, Keeper, Look, OpenError, is_transient};
use crate::limits::{CLEAN_AGAIN, CLEAN_BYTES_PER_SECOND, CLEAN_LOOK, SEGMENT_BYTES};

/// The current cleaning pass, if there is one, and when its next step is due.
#[derive(Debug)]
pub(super) struct Cleaner<F> {
    run: Option<Cleaning<F>>,
    due: Option<Instant>,
}

impl<F> Cleaner<F> {
    /// Creates a cleaner whose first step, a look for segments to clean, is due after [`CLEAN_LOOK`].
    pub(super) fn new() -> Self {
        Self { run: None, due: Some(now() + CLEAN_LOOK) }
    }

    /// Returns when the next step is due; `None` when there is nothing to do.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Schedules a look for segments to clean, because records may have died: at once when space is short, otherwise
    /// after [`CLEAN_LOOK`].
    pub(super) fn stir(&mut self, is_urgent: bool) {
        if is_urgent {
            self.due = Some(now());
        } else {
            self.due.get_or_insert_with(|| now() + CLEAN_LOOK);
        }
    }

    /// Does the next step if it is due. Returns true when it completed a pass, so that segments are dead now.
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
                    log::debug!("cannot begin to clean segments: {error}; trying again later");
                    Some(now() + CLEAN_AGAIN)
                }
            };
            return false;
        };
        self.go_on(keeper, run, is_urgent)
    }

    /// Copies the next piece of a pass, and completes the pass after the last one.
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
                log::info!("cleaned {segments} segments: {copied} MiB of live records replace {bytes} MiB");
                self.due = Some(now());
                true
            }
            Err(error) if is_transient(&error) => {
                (self.run, self.due) = (Some(run), Some(now() + CLEAN_AGAIN));
                false
            }
            Err(error) => {
                log::warn!("cannot clean segments: {error}; trying again later");
                let _ = keeper.give_up_cleaning(run);
                self.due = Some(now() + CLEAN_AGAIN);
                false
            }
        }
    }
}

/// Returns how long writing `bytes` bytes takes at [`CLEAN_BYTES_PER_SECOND`].
fn time_of(bytes: u32) -> Duration {
    Duration::from_secs(bytes.into()) / CLEAN_BYTES_PER_SECOND
}
