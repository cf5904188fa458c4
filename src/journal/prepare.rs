//! Prepares segments for the log: the spare is recycled under a new number, or a new file is filled with zeros, so that
//! an fsync of new records does not have to update the file's size. Filling takes long, so it is done piece by piece
//! and the keeper's thread can do other work in between.

use std::io;

use super::disk::{Disk, DiskFile};
use super::format::segment_header;
use super::keeper::Keeper;
use super::names;
use super::stamp::Stamp;
use super::writer::Prepared;
use crate::limits::{FILL_BYTES, FILL_SYNC_BYTES};

/// A segment that is being prepared.
#[derive(Debug)]
pub struct Preparation<F> {
    file: F,
    /// A second handle of the file, for the keeper.
    log: F,
    number: u32,
    size: u32,
    stamp: Stamp,
    /// Bytes from the beginning of the file that have been written: with zeros, or with the old content of a recycled
    /// segment.
    filled: u32,
    is_recycled: bool,
}

/// The progress of a preparation.
#[derive(Debug)]
pub enum Progress<F> {
    /// The segment is ready for the log.
    Ready(Prepared<F>),
    /// A part of the file is still to be filled.
    Unfinished(Preparation<F>),
}

impl<D: Disk> Keeper<D> {
    /// Prepares a segment in one call.
    ///
    /// # Errors
    /// Returns the errors of [`Self::begin_segment`] and [`Self::fill_segment`].
    pub fn prepare(&mut self, number: u32, size: u32) -> io::Result<Prepared<D::File>> {
        let mut preparation = self.begin_segment(number, size)?;
        loop {
            preparation = match self.fill_segment(preparation)? {
                Progress::Ready(prepared) => return Ok(prepared),
                Progress::Unfinished(unfinished) => unfinished,
            }
        }
    }

    /// Begins the preparation of a segment of `size` bytes.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::StorageFull`] when the segment would exceed the capacity of the journal, and otherwise
    /// the error of the file system.
    pub fn begin_segment(&mut self, number: u32, size: u32) -> io::Result<Preparation<D::File>> {
        let name = names::segment(number);
        let mut recycled = self.recycle(&name, size)?;
        // One more segment's worth of bytes is reserved for cleaning: without it, a journal at its limit could never
        // free space.
        while recycled.is_none() && self.used()?.saturating_add(2 * u64::from(size)) > self.capacity {
            if !self.give_up_log()? {
                let what = "the journal has reached the size that --disk allows";
                return Err(io::Error::new(io::ErrorKind::StorageFull, what));
            }
            recycled = self.recycle(&name, size)?;
        }
        let is_recycled = recycled.is_some();
        let file = recycled.map_or_else(|| self.disk.create(&names::new(&name)), Ok)?;
        let log = file.share()?;
        let filled = if is_recycled { size } else { 0 };
        Ok(Preparation { file, log, number, size, stamp: self.stamp, filled, is_recycled })
    }

    /// Fills the next piece of a segment.
    ///
    /// # Errors
    /// Returns the error of the file system. The partial file of a new segment is removed then.
    pub fn fill_segment(&mut self, mut preparation: Preparation<D::File>) -> io::Result<Progress<D::File>> {
        let (number, size, is_recycled) = (preparation.number, preparation.size, preparation.is_recycled);
        let name = names::segment(number);
        match preparation.fill() {
            Ok(true) => {}
            Ok(false) => return Ok(Progress::Unfinished(preparation)),
            Err(error) => {
                drop(preparation);
                if !is_recycled {
                    // The partial file would take space that other files need.
                    self.disk.remove(&names::new(&name))?;
                }
                return Err(error);
            }
        }
        if !is_recycled {
            self.disk.rename(&names::new(&name), &name)?;
        }
        planted!("name of a segment not synced", self.disk.sync_names()?, ());
        let Preparation { file, log, .. } = preparation;
        self.add_segment(number, size.into(), Some(log));
        Ok(Progress::Ready(Prepared { file, number, size }))
    }

    /// Returns the total size of all files in bytes; 0 when the capacity is unlimited.
    pub(super) fn used(&self) -> io::Result<u64> {
        if self.capacity == u64::MAX {
            return Ok(0);
        }
        self.disk.list()?.iter().map(|name| self.disk.size(name)).sum()
    }

    /// Renames the spare to `name` when it has the given size, and removes it otherwise. The file is opened before it
    /// is renamed, so that a failed open changes nothing.
    fn recycle(&mut self, name: &str, size: u32) -> io::Result<Option<D::File>> {
        if !self.has_spare {
            return Ok(None);
        }
        if self.disk.size(names::SPARE)? == u64::from(size) {
            let file = self.disk.open(names::SPARE)?;
            self.disk.rename(names::SPARE, name)?;
            self.has_spare = false;
            return Ok(Some(file));
        }
        self.disk.remove(names::SPARE)?;
        self.has_spare = false;
        Ok(None)
    }
}

impl<F: DiskFile> Preparation<F> {
    /// Fills the next piece of the file, and writes the segment header with the last one. Returns true when the file is
    /// full.
    fn fill(&mut self) -> io::Result<bool> {
        let piece = FILL_BYTES.min(self.size - self.filled);
        self.file.write_at(&vec![0; piece as usize], self.filled.into())?;
        self.filled += piece;
        let is_full = self.filled == self.size;
        if is_full {
            self.file.write_at(&segment_header(self.stamp, self.number, self.size), 0)?;
        }
        if is_full || self.filled.is_multiple_of(FILL_SYNC_BYTES) {
            self.file.sync()?;
        }
        Ok(is_full)
    }
}
