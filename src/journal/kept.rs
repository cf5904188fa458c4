//! The part of the log that is kept for members of a group that are behind.
//!
//! A segment without live records, which no checkpoint needs either, would be removed. Those from the *log floor* on
//! are kept: the first segment that has a body which another member may still need, but not more than a number of bytes
//! at the end of the log; and all from the first one on that a member needs which is making a copy. When space is
//! short, they are given up, the oldest one first: a member that needs them then gets the records of its group instead.
//! Segments above the floor are not cleaned, since that would free nothing.

use std::collections::BTreeSet;
use std::io;

use super::copies;
use super::disk::Disk;
use super::keeper::Keeper;
use super::names;
use crate::entry::Image;
use crate::limits::LOG_KEEP_BYTES;

/// What is kept of the log.
#[derive(Debug)]
pub(super) struct Kept {
    /// The first segment that is kept; `None` if no other member needs the log.
    floor: Option<u32>,
    /// Segments that are there only because they are kept.
    dead: BTreeSet<u32>,
    /// The maximum number of bytes of the segments that are kept, including the one that is written to.
    bytes_max: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self { floor: None, dead: BTreeSet::new(), bytes_max: LOG_KEEP_BYTES }
    }
}

impl Kept {
    /// Returns the first segment of the log that is kept.
    pub(super) fn floor(&self) -> u32 {
        self.floor.unwrap_or(u32::MAX)
    }

    /// Returns true if a segment is kept.
    pub(super) fn has(&self, segment: u32) -> bool {
        !copies::is_copies(segment) && segment >= self.floor()
    }

    /// Sets which segments nobody else needs.
    pub(super) fn set_dead(&mut self, unneeded: &[u32]) {
        self.dead = unneeded.iter().copied().filter(|number| self.has(*number)).collect();
    }
}

impl<D: Disk> Keeper<D> {
    /// Sets the maximum number of bytes of segments at the end of the log that are kept for members that are behind.
    pub const fn set_log_keep(&mut self, bytes: u64) {
        self.kept.bytes_max = bytes;
    }

    /// Keeps the part of the log that others may need according to these images.
    pub(super) fn keep_log(&mut self, images: &[Image]) {
        let needed = images.iter().filter_map(|image| self.bodies.first_with(image.slot, image.needed?)).min();
        let mut bytes = 0_u64;
        let fits = |number: &u32| {
            bytes = bytes.saturating_add(self.size_of(*number));
            bytes <= self.kept.bytes_max
        };
        let first = self.bodies.newest_first().take_while(fits).last();
        let by_size = planted!("log not kept for others", needed.and_then(|needed| Some(needed.max(first?))), None);
        // A member that is making a copy needs what comes after the copied state, however long that takes.
        let pinned = images.iter().filter_map(|image| self.bodies.first_with(image.slot, image.pinned?)).min();
        let pinned = planted!("log not kept for a copy", pinned, None);
        self.kept.floor = by_size.into_iter().chain(pinned).min();
    }

    /// Returns the bytes of the segments that are there only for other members.
    pub fn log_kept(&self) -> u64 {
        self.kept.dead.iter().map(|number| self.size_of(*number)).sum()
    }

    /// Removes the oldest segment that is there only for members that are behind. Returns false if there is none.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn give_up_log(&mut self) -> io::Result<bool> {
        let Some(number) = self.kept.dead.first().copied() else { return Ok(false) };
        self.remove(number)?;
        self.kept.dead.remove(&number);
        self.kept.floor = Some(number + 1);
        log::info!("{} is removed for lack of space, although another node may be behind it", names::segment(number));
        Ok(true)
    }
}
