//! The watermark: how far the log is durable, in a small file of its own. The file is written after each sync of the
//! log, before any entry covered by that sync is acknowledged, but is never synced itself.
//!
//! ```text
//! slot        64 bytes, at positions 0 and 4096, written alternately: magic "DHTMARK\n", u32 version,
//!             u32 segment, u32 position, 4 zeros, u64 bodies of the log up to there, u64 number of this write,
//!             u64 stamp, 12 zeros, u32 crc
//! ```
//!
//! A record below the watermark was durable once, so when it cannot be read, it is damaged. A record above it may have
//! been torn by a crash. Without a watermark the two look alike at the end of the log.
//!
//! When the process is killed, its last write of the watermark survives in the page cache. It covers everything that
//! was acknowledged, except under `--sync interval`, which acknowledges before it syncs. A power cut may leave an older
//! watermark, since the file is not synced; that one covers less of the log, but what it says is still true. The
//! watermark is never ahead of the log. Each slot lies in a block of its own, so that a torn write leaves the other
//! slot intact.

use std::io;

use byteorder::{BigEndian, ByteOrder};

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::VERSION;
use super::keeper::write_file;
use super::names;
use super::reader::read_part;
use super::stamp::Stamp;
use super::writer::Mark;
use crate::entry::Place;
use crate::types::crc32_of_parts;

const MAGIC: &[u8; 8] = b"DHTMARK\n";

/// Size in bytes of each of the two slots of the watermark file.
const SLOT: usize = 64;

/// The position of the second slot, in another block than the first one on any device.
const SECOND: usize = 4096;

/// The watermark of a journal that is open for writing.
#[derive(Debug)]
pub struct Watermark<F> {
    file: F,
    /// Number of writes since the file was created. It tells which slot is the newer one and which is written next.
    writes: u64,
    mark: Mark,
    /// Identifies the folder that the file belongs to.
    stamp: Stamp,
    /// True while a backup is being restored: its watermark must stay as it is, since an interrupted restore begins
    /// again with the files of the backup.
    is_held: bool,
}

/// What a folder says about how far its log is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watermarked {
    /// There is no watermark: the folder is new, or a program before format 2 wrote it.
    #[default]
    Never,
    /// There was a watermark, and it is missing or damaged.
    Lost,
    /// Everything up to this mark was durable.
    At(Mark),
}

impl<F: DiskFile> Watermark<F> {
    /// Opens the watermark of a folder, and creates it if it is missing or cannot be read.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn open<D: Disk<File = F>>(disk: &D) -> io::Result<Self> {
        if let Ok(bytes) = read_part(disk, names::WATERMARK, 0, usize::MAX)
            && let Some((writes, mark, stamp)) = newest(&bytes)
        {
            return Ok(Self { file: disk.open(names::WATERMARK)?, writes, mark, stamp, is_held: false });
        }
        let (mark, stamp) = (Mark::default(), Stamp::NONE);
        write_file(disk, names::WATERMARK, &content(mark, stamp))?;
        disk.sync_names()?;
        Ok(Self { file: disk.open(names::WATERMARK)?, writes: 1, mark, stamp, is_held: false })
    }

    /// Sets the stamp that is written to the file from the next write on.
    pub const fn set_stamp(&mut self, stamp: Stamp) {
        self.stamp = stamp;
    }

    pub(super) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Suspends writes to the file until [`Writer::release_watermark`](super::Writer::release_watermark).
    pub const fn hold(&mut self) {
        self.is_held = true;
    }

    /// Resumes writes after [`Self::hold`]. The mark is reset, so that the next sync writes the file.
    pub(super) const fn release(&mut self) {
        (self.is_held, self.mark) = (false, Mark { bodies: 0, place: Place { segment: 0, position: 0 } });
    }

    /// Returns the mark that was written last.
    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Records that everything up to `mark` is durable. The caller must have made it so, including the name of the
    /// segment's file.
    ///
    /// # Errors
    /// Returns the error of the file system; the write may then be repeated.
    pub(super) fn write(&mut self, mark: Mark) -> io::Result<()> {
        if self.is_held {
            self.mark = mark;
            return Ok(());
        }
        let writes = self.writes + 1;
        let position = if writes.is_multiple_of(2) { SECOND } else { 0 };
        self.file.write_at(&slot(writes, mark, self.stamp), position as u64)?;
        (self.writes, self.mark) = (writes, mark);
        Ok(())
    }
}

impl Watermarked {
    /// Reads the watermark of the folder with the given stamp; returns `None` when the file does not exist.
    ///
    /// # Errors
    /// Returns [`OpenError::Misplaced`] when the file belongs to another folder, [`OpenError::Newer`] when a newer
    /// program wrote it, and [`OpenError::Io`] when the file system fails.
    pub(super) fn read<D: Disk>(disk: &D, stamp: Stamp) -> Result<Option<Self>, OpenError> {
        let bytes = match read_part(disk, names::WATERMARK, 0, usize::MAX) {
            Ok(bytes) => bytes,
            Err(OpenError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let newer =
            slots(&bytes).map(|slot| BigEndian::read_u32(&slot[8..])).max().filter(|version| *version > VERSION);
        if newer.is_some() {
            return Err(OpenError::Newer { file: names::WATERMARK.to_owned(), version: newer });
        }
        let Some((_, mark, found)) = newest(&bytes) else { return Ok(Some(Self::Lost)) };
        stamp.check(names::WATERMARK, found)?;
        Ok(Some(Self::At(mark)))
    }

    /// Returns the mark, if there is one.
    pub const fn mark(self) -> Option<Mark> {
        if let Self::At(mark) = self { Some(mark) } else { None }
    }

    /// Returns the position in a segment up to which everything was durable; 0 when the mark is not in that segment.
    pub(super) fn floor(self, segment: u32) -> usize {
        let is_in = |mark: &Mark| mark.place.segment == segment;
        self.mark().filter(is_in).map_or(0, |mark| mark.place.position as usize)
    }
}

/// Returns the content of a new file with the given mark.
pub(super) fn content(mark: Mark, stamp: Stamp) -> Vec<u8> {
    let mut bytes = vec![0; SECOND + SLOT];
    bytes[..SLOT].copy_from_slice(&slot(1, mark, stamp));
    bytes
}

fn slot(writes: u64, mark: Mark, stamp: Stamp) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(MAGIC);
    BigEndian::write_u32(&mut slot[8..], VERSION);
    BigEndian::write_u32(&mut slot[12..], mark.place.segment);
    BigEndian::write_u32(&mut slot[16..], mark.place.position);
    BigEndian::write_u64(&mut slot[24..], mark.bodies);
    BigEndian::write_u64(&mut slot[32..], writes);
    BigEndian::write_u64(&mut slot[40..], stamp.number());
    let crc = crc32_of_parts([&slot[..SLOT - 4]]);
    BigEndian::write_u32(&mut slot[SLOT - 4..], crc);
    slot
}

/// Returns the slots with a correct checksum, of any version.
fn slots(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slot = |at: usize| bytes.get(at..at + SLOT);
    let is_sound = |slot: &&[u8]| {
        slot[..8] == MAGIC[..] && BigEndian::read_u32(&slot[SLOT - 4..]) == crc32_of_parts([&slot[..SLOT - 4]])
    };
    [0, SECOND].into_iter().filter_map(slot).filter(is_sound)
}

/// Decodes the newest readable slot: the number of its write, the mark, and the stamp.
fn newest(bytes: &[u8]) -> Option<(u64, Mark, Stamp)> {
    let slot = |slot: &[u8]| {
        let number = |at: usize| BigEndian::read_u32(&slot[at..]);
        let place = Place { segment: number(12), position: number(16) };
        let mark = Mark { place, bodies: BigEndian::read_u64(&slot[24..]) };
        (BigEndian::read_u64(&slot[32..]), mark, Stamp::from_number(BigEndian::read_u64(&slot[40..])))
    };
    slots(bytes).filter(|slot| BigEndian::read_u32(&slot[8..]) <= VERSION).map(slot).max_by_key(|(writes, ..)| *writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(bodies: u64) -> Mark {
        Mark { place: Place { segment: 3, position: 80 * u32::try_from(bodies).unwrap() }, bodies }
    }

    /// Returns the file after marks 1 to `last`; the first one is in the first slot.
    fn file(last: u64) -> Vec<u8> {
        let mut bytes = content(mark(1), Stamp::from_number(9));
        for writes in 2..=last {
            let at = if writes % 2 == 0 { SECOND } else { 0 };
            bytes[at..at + SLOT].copy_from_slice(&slot(writes, mark(writes), Stamp::from_number(9)));
        }
        bytes
    }

    #[test]
    fn the_newer_slot_counts_and_when_it_is_damaged_the_older_one() {
        for last in 1..5 {
            let bytes = file(last);
            assert_eq!(newest(&bytes), Some((last, mark(last), Stamp::from_number(9))));
            let newer = if last % 2 == 0 { SECOND } else { 0 };
            for bit in newer * 8..(newer + SLOT) * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let older = (last > 1).then(|| (last - 1, mark(last - 1), Stamp::from_number(9)));
                assert_eq!(newest(&bad), older, "mark {last}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_file_that_ends_early_has_only_its_first_slot_or_none() {
        let bytes = file(4);
        for (len, expected) in [(0, None), (SLOT - 1, None), (SLOT, Some(3)), (SECOND + SLOT - 1, Some(3))] {
            assert_eq!(newest(&bytes[..len]).map(|(writes, ..)| writes), expected, "{len} bytes");
        }
    }
}
