//! Repairs a folder that no node is using: rebuilds the files that can be derived from others and, at the caller's
//! request, drops what cannot be read. Copies of the replaced files are kept.
//!
//! Unreadable records before the newest checkpoint become a gap at their offsets. When entries after the checkpoint are
//! lost, everything that follows them is kept, but every topic begins a new epoch there, so that readers learn of the
//! loss.

use std::io;

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::segment_header_of;
use super::identity::{self, raise_format};
use super::inspect::{IndexState, Report};
use super::logs::GroupLog;
use super::manifest::renew;
use super::names;
use super::reader::read_part;
use super::salvage::{Salvage, Salvaged, salvage};
use super::watermark::Watermark;
use super::writer::{HEADER_LEN, Writer};
use crate::entry::{Image, LogPosition};
use crate::limits::SEGMENT_BYTES_FIRST;
use crate::types::{Copies, SlotId};

/// The result of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The state of the folder before the repair.
    pub report: Report,
    /// True when the folder was changed.
    pub is_done: bool,
    /// The files that were copied to the folder for originals.
    pub aside: Vec<String>,
}

/// Repairs a folder. With `drops_damaged`, drops what cannot be read; without it, changes nothing when records would
/// have to be dropped. Copies the original files to `aside` first. A folder of format 1 gets an id that is made from
/// `random` bits.
///
/// # Errors
/// Returns [`OpenError`] when the folder is not a journal, when it is damaged but other nodes have copies of its
/// topics, or when a file cannot be read or written.
pub fn repair<D: Disk>(
    disk: &D,
    aside: &D,
    (drops_damaged, random): (bool, u64),
    state: &mut impl Salvage,
) -> Result<Repaired, OpenError> {
    let identity = identity::owner(disk)?;
    let Salvaged { mut keeper, last, groups, report } = salvage(disk, identity.node, false, state)?;
    if report.is_sound() {
        // In a backup, bytes that no record uses may differ from what its manifest says.
        return Ok(Repaired { report, is_done: renew(disk)?, aside: Vec::new() });
    }
    if identity.copies == Copies::Three {
        // A repair treats every body that it can read as committed, and may drop bodies that this member has
        // acknowledged to the other members.
        return Err(OpenError::Superseded { why: "it is damaged, and two other nodes have copies of its topics" });
    }
    if report.loses_records() && !drops_damaged {
        return Ok(Repaired { report, is_done: false, aside: Vec::new() });
    }
    let files = disk.list().map_err(|cause| OpenError::io("the folder", cause))?;
    let replaced = replaced(&report, &files);
    for name in &replaced {
        planted!("repair keeps no originals", copy(disk, aside, name).map_err(|cause| OpenError::io(name, cause))?, ());
    }
    aside.sync_names().map_err(|cause| OpenError::io("the folder for originals", cause))?;
    restore_headers(disk, &report)?;
    let marked = report.watermark.mark();
    let mut watermark = Watermark::open(disk).map_err(|cause| OpenError::io(names::WATERMARK, cause))?;
    let (stamp, _) = raise_format(disk, &identity, random)?;
    watermark.set_stamp(stamp);
    keeper.set_stamp(stamp);
    let io = |cause: io::Error| OpenError::io("a fresh segment", cause);
    let newest = files.iter().filter_map(|name| names::segment_number(name)).max().unwrap_or(0);
    // The new segment comes after the watermark's, even when that one is missing: no segment number is used twice, and
    // the old watermark, which a power cut may bring back, says nothing about the log from here on.
    let newest = newest.max(last.place.segment).max(marked.map_or(0, |mark| mark.place.segment));
    let segment = keeper.prepare(newest + 1, SEGMENT_BYTES_FIRST).map_err(io)?;
    let states = groups.iter().map(|(slot, log)| (*slot, log.state)).collect();
    let mut writer = Writer::new(false, last, states, (segment, watermark));
    writer.sync().map_err(io)?;
    keeper.write_indexes(writer.mark().place.segment).map_err(|cause| OpenError::io("an index", cause))?;
    // The second checkpoint replaces the older one, so that a later start cannot fall back to the state before the
    // repair.
    let image = |(slot, log): (&SlotId, &GroupLog)| Image {
        slot: *slot,
        applied: LogPosition { end: writer.mark().place, ..log.applied },
        open: None,
        needed: None,
        pinned: None,
        topics: state.image(*slot),
    };
    let images: Vec<Image> = groups.iter().map(image).collect();
    for _ in 0..2 {
        keeper.checkpoint(writer.mark(), &images).map_err(|cause| OpenError::io("a checkpoint", cause))?;
    }
    writer.finish().map_err(io)?;
    let is_old = |name: &&String| names::checkpoint_id(name).is_some_and(|id| !keeper.has_checkpoint(id));
    let left = disk.list().map_err(|cause| OpenError::io("the folder", cause))?;
    for name in left.iter().filter(is_old) {
        disk.remove(name).map_err(|cause| OpenError::io(name, cause))?;
    }
    disk.sync_names().map_err(|cause| OpenError::io("the folder", cause))?;
    renew(disk)?;
    Ok(Repaired { report, is_done: true, aside: replaced })
}

/// Rewrites the header of each segment whose header is damaged, and creates a placeholder for each missing segment. A
/// placeholder holds no records, but its index lists the offsets that were dropped.
fn restore_headers<D: Disk>(disk: &D, report: &Report) -> Result<(), OpenError> {
    let (version, stamp) = (identity::format(disk)?, identity::stamp(disk)?);
    for (number, of) in report.segments.iter().filter(|(_, of)| of.is_missing || of.has_bad_header) {
        let name = names::segment(*number);
        let write = || {
            let size = u32::try_from(of.bytes).map_err(io::Error::other)?.max(HEADER_LEN);
            let header = segment_header_of(version, stamp, *number, size);
            if of.is_missing {
                return write(disk, &name, &header);
            }
            let mut file = disk.open(&name)?;
            file.write_at(&header, 0)?;
            file.sync()
        };
        write().map_err(|cause| OpenError::io(&name, cause))?;
    }
    Ok(())
}

/// Returns the files that are damaged or will be replaced.
fn replaced(report: &Report, files: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (number, of) in &report.segments {
        if of.has_loss || !of.damage.is_empty() || of.index == IndexState::Damaged {
            names.extend([names::segment(*number), names::index(*number)]);
        }
    }
    names.extend(report.log_losses.iter().map(|loss| names::segment(loss.segment)));
    names.extend(files.iter().filter(|name| names::checkpoint_id(name).is_some()).cloned());
    names.sort();
    names.dedup();
    names.retain(|name| files.contains(name));
    names
}

fn copy<D: Disk>(from: &D, to: &D, name: &str) -> io::Result<()> {
    let bytes = read_part(from, name, 0, usize::MAX).map_err(io::Error::other)?;
    write(to, name, &bytes)
}

fn write<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.create(name)?;
    file.write_at(bytes, 0)?;
    file.sync()
}
