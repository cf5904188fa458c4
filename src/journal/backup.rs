//! Backup: copies the journal of a node to another folder, also while the node is running. The copy holds a checkpoint,
//! the segments that it needs, and the log after it. To restore the backup, a node is started on the copy (`manifest`).
//!
//! A running node removes and recycles segments during the backup. They are not pinned; instead each copy is verified,
//! and when the node has removed something, another attempt begins with a newer checkpoint and keeps what has been
//! copied. The number of a segment of the log is never used again, so its file was intact while it was read if it still
//! has its name afterwards. The number of a segment of copies may be used again, but such a file is never overwritten:
//! these segments are copied first, and they were the right ones if the node still retains the checkpoint afterwards,
//! because it removes a checkpoint before the segments that only that checkpoint needs.
//!
//! The watermark is read before everything else: a newer watermark would cover records that the copy does not hold, and
//! a start on the copy would report them as damaged.
//!
//! Complete segments are immutable, so later backups into the same folder copy only new ones. A segment of the previous
//! backup counts as the same when its length, its beginning and its end are those of the node's segment.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;

use super::checkpoint::{self, Checkpoint, Fault};
use super::copies;
use super::disk::{Disk, LOCK};
use super::error::OpenError;
use super::format::{self, HEADER};
use super::identity::{self, Identity};
use super::keeper::write_file;
use super::manifest::{Files, Manifest, content, folder_error};
use super::names::{self, CheckpointId};
use super::reader::{previous_end, read_part};
use super::recovery::slot_of;
use super::walk::{End, Step, walk};
use super::watermark::{self, Watermarked};
use crate::limits::{BACKUP_ATTEMPTS, BACKUP_COMPARED_BYTES};
use crate::types::{SlotId, crc32};

/// The result of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Number of files that were copied; indexes are not counted.
    pub files: usize,
    /// Total size of the copied files in bytes.
    pub bytes: u64,
    /// Number of segments that the folder held already from an earlier backup.
    pub kept: usize,
    /// Number of bodies that the state in the copied checkpoint includes; 0 when there is no checkpoint.
    pub bodies: u64,
    /// One line for each file of the node's journal that is damaged. Damaged segments are copied nevertheless.
    pub damaged: Vec<String>,
}

/// The reason why a backup was not made, by the folder that it concerns.
#[derive(Debug)]
pub enum BackupError {
    /// The folder of the node cannot be read, or is not a journal.
    Source(OpenError),
    /// The folder of the backup cannot be written, or holds something else.
    Target(OpenError),
}

/// Why an attempt ended.
enum Stop {
    /// The node has removed what was being copied, or a file is missing.
    Gone(OpenError),
    Failed(BackupError),
}

/// The checkpoint that an attempt copies.
struct Base {
    name: String,
    /// The checksum of its file.
    crc: u32,
    checkpoint: Checkpoint,
}

impl From<BackupError> for Stop {
    fn from(error: BackupError) -> Self {
        Self::Failed(error)
    }
}

/// Copies the journal in `source` to `target`, which is empty or holds an earlier backup of the same node. Everything
/// that was acknowledged before the call is in the copy. Until the call has succeeded, `target` holds the previous
/// backup, or nothing that a node would start on.
///
/// # Errors
/// Returns [`BackupError`] with the folder that cannot be used.
pub fn backup<D: Disk>(source: &D, target: &D) -> Result<Copied, BackupError> {
    let owner = identity::owner(source).map_err(BackupError::Source)?;
    if Manifest::read(source).map_err(BackupError::Source)?.is_some() {
        let what = "it is a backup itself and can be copied like any folder".to_owned();
        return Err(BackupError::Source(OpenError::Foreign { what }));
    }
    let old = check_target(target, &owner).map_err(BackupError::Target)?;
    let files = source.list().map_err(|cause| BackupError::Source(folder_error(cause)))?;
    prepare(target, old.as_ref(), &files).map_err(BackupError::Target)?;
    let old = old.map(|manifest| manifest.files).unwrap_or_default();
    let mut copy = Copy {
        only: slot_of(owner.node),
        source,
        target,
        old,
        written: Files::new(),
        list: Files::new(),
        indexes: BTreeSet::new(),
        watermark: Watermarked::Never,
        report: Copied::default(),
    };
    let mut left = BACKUP_ATTEMPTS;
    loop {
        left -= 1;
        match copy.attempt() {
            Ok(()) => {
                // The identity is read last, so that the format in it is not older than that of any copied file.
                let identity = identity::text_of(source, names::IDENTITY).map_err(BackupError::Source)?;
                copy.finish(identity).map_err(BackupError::Target)?;
                return Ok(copy.report);
            }
            Err(Stop::Gone(_)) if left > 0 => {}
            Err(Stop::Gone(error)) => return Err(BackupError::Source(error)),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
}

/// Checks that a folder may receive a backup of the node `owner`: it is empty, or holds an earlier backup of that node.
/// Returns the manifest of the earlier backup, if any. Changes nothing.
fn check_target<D: Disk>(target: &D, owner: &Identity) -> Result<Option<Manifest>, OpenError> {
    let foreign = |what: &str| OpenError::Foreign { what: what.to_owned() };
    if let Some(manifest) = Manifest::read(target)? {
        let is_same = identity::parse(&manifest.identity)? == *owner;
        return if is_same { Ok(Some(manifest)) } else { Err(foreign("it holds the backup of another node")) };
    }
    let files = target.list().map_err(folder_error)?;
    let is_begun = files.iter().any(|name| name == names::UNFINISHED);
    let is_free = is_begun || files.iter().all(|name| *name == LOCK || *name == names::new(names::UNFINISHED));
    if is_free { Ok(None) } else { Err(foreign("it is not empty and does not hold a backup")) }
}

/// Checks that a folder may receive a backup of the node `owner`: it is empty, or holds an earlier backup of that node.
/// Changes nothing.
///
/// # Errors
/// Returns [`OpenError::Foreign`] when the folder holds anything else, and [`OpenError::Io`] when the file system
/// fails.
pub fn check_backup_folder<D: Disk>(target: &D, owner: &Identity) -> Result<(), OpenError> {
    check_target(target, owner).map(drop)
}

/// Prepares the target folder. A folder without a backup is marked as unfinished; files that an interrupted backup left
/// are removed, except copies of files that the node still has.
fn prepare<D: Disk>(target: &D, old: Option<&Manifest>, source: &[String]) -> Result<(), OpenError> {
    if let Some(old) = old {
        old.complete(target, &target.list().map_err(folder_error)?)?;
    } else {
        write_file(target, names::UNFINISHED, b"").map_err(|cause| OpenError::io(names::UNFINISHED, cause))?;
        target.sync_names().map_err(folder_error)?;
    }
    let is_of_old = |name: &str| old.is_some_and(|old| old.has(name));
    let is_useful = |name: &str| source.iter().any(|of| names::new(of) == name);
    for name in target.list().map_err(folder_error)? {
        if !is_of_old(&name) && !is_useful(&name) && ![LOCK, names::UNFINISHED].contains(&&name[..]) {
            target.remove(&name).map_err(|cause| OpenError::io(&name, cause))?;
        }
    }
    Ok(())
}

/// A backup in progress.
struct Copy<'c, D: Disk> {
    /// The slot of all topics in files of a format before 3.
    only: SlotId,
    source: &'c D,
    target: &'c D,
    /// The files of the previous backup.
    old: Files,
    /// The files that were written as `….new`, in any attempt.
    written: Files,
    /// The files of the current attempt, and the indexes among them that were written as `….new`.
    list: Files,
    indexes: BTreeSet<String>,
    /// The watermark that the current attempt has copied.
    watermark: Watermarked,
    report: Copied,
}

impl<D: Disk> Copy<'_, D> {
    fn attempt(&mut self) -> Result<(), Stop> {
        self.list.clear();
        self.indexes.clear();
        (self.report.kept, self.report.damaged) = (0, Vec::new());
        planted!("watermark copied last", self.copy_watermark()?, ());
        let files = self.source.list().map_err(|cause| BackupError::Source(folder_error(cause)))?;
        let mut segments: Vec<u32> = files.iter().filter_map(|name| names::segment_number(name)).collect();
        segments.sort_unstable();
        let logs = &segments[..segments.partition_point(|number| !copies::is_copies(*number))];
        // Determined before anything is copied: entries of later segments are not part of this backup.
        let last = self.last_written(logs)?;
        let mut ids: Vec<CheckpointId> = files.iter().filter_map(|name| names::checkpoint_id(name)).collect();
        ids.sort_unstable();
        let base = self.copy_checkpoint(&ids)?;
        let from = base.as_ref().map_or(1, |base| base.checkpoint.from.segment);
        let mut needed: BTreeSet<u32> = match base.as_ref().map(|base| &base.checkpoint.books) {
            None => BTreeSet::new(),
            Some(Some(books)) => books.spans.values().flatten().map(|(segment, ..)| *segment).collect(),
            // The checkpoint has format 1, without bookkeeping: every segment may be needed.
            Some(None) => segments.iter().copied().collect(),
        };
        for number in needed.split_off(&copies::FIRST) {
            self.copy_copies(number)?;
        }
        if let Some(base) = base {
            planted!("removed checkpoint not noticed", self.check_retained(&base)?, ());
        }
        let last = last.max(from);
        // A group may have been applied further than the log behind the checkpoint begins, and have records there.
        let indexed = needed.clone();
        // A journal on which no node has been started yet has no segments.
        needed.extend((from..=last).filter(|_| !logs.is_empty()));
        for number in needed {
            let next = number.checked_add(1).filter(|next| *next <= last && logs.binary_search(next).is_ok());
            if number <= from || indexed.contains(&number) {
                self.copy_index(number)?;
            }
            self.copy_log(number, next)?;
        }
        planted!("watermark copied last", (), self.copy_watermark()?);
        Ok(())
    }

    /// Copies the watermark into a new file, as its first write.
    fn copy_watermark(&mut self) -> Result<(), Stop> {
        let stamp = identity::stamp(self.source).map_err(of_source)?;
        self.watermark = Watermarked::read(self.source, stamp).map_err(of_source)?.unwrap_or_default();
        match self.watermark {
            Watermarked::At(mark) => self.put(names::WATERMARK, &watermark::content(mark, stamp)).map(drop),
            Watermarked::Lost => {
                self.report.damaged.push(format!("the {} cannot be read", names::WATERMARK));
                Ok(())
            }
            Watermarked::Never => Ok(()),
        }
    }

    /// Returns the last segment of the log that has records. Segments after it are prepared for use and empty.
    fn last_written(&self, logs: &[u32]) -> Result<u32, Stop> {
        let marked = self.watermark.mark().map_or(0, |mark| mark.place.segment);
        for number in logs.iter().rev() {
            if *number <= marked || previous_end(self.source, *number).map_err(of_source)?.is_some() {
                return Ok(*number);
            }
            // The first record may be damaged.
            let bytes = self.read(&names::segment(*number))?;
            if walk(*number, &bytes, None).next().is_some() {
                return Ok(*number);
            }
        }
        Ok(0)
    }

    /// Copies the newest of the checkpoints, given in ascending order, that can be read. Returns `None` when there are
    /// none.
    fn copy_checkpoint(&mut self, ids: &[CheckpointId]) -> Result<Option<Base>, Stop> {
        for id in ids.iter().rev() {
            let name = names::checkpoint(*id);
            let bytes = self.read(&name)?;
            let checkpoint = match checkpoint::decode(&bytes, *id, self.only) {
                Ok(checkpoint) => checkpoint,
                Err(Fault::Newer(version)) => {
                    let newer = OpenError::Newer { file: name, version: Some(version) };
                    return Err(BackupError::Source(newer).into());
                }
                Err(Fault::Damaged(at)) if *id == ids[0] => {
                    let error = OpenError::damaged(&name, at, "no checkpoint can be read");
                    return Err(BackupError::Source(error).into());
                }
                Err(Fault::Damaged(at)) => {
                    self.report.damaged.push(format!("{name} is damaged at byte {at}"));
                    continue;
                }
            };
            self.report.bodies = checkpoint.mark.bodies;
            self.put(&name, &bytes)?;
            return Ok(Some(Base { name, crc: crc32(&bytes), checkpoint }));
        }
        Ok(None)
    }

    /// Ends the attempt when the node no longer retains the checkpoint that the attempt began with. Comparing names
    /// would not do: a later checkpoint after the same entry may have the same name.
    fn check_retained(&self, base: &Base) -> Result<(), Stop> {
        let is_retained = crc32(&self.read(&base.name)?) == base.crc;
        let gone = || Stop::Gone(OpenError::io(&base.name, io::Error::other("the node has replaced it meanwhile")));
        if is_retained { Ok(()) } else { Err(gone()) }
    }

    fn copy_copies(&mut self, number: u32) -> Result<(), Stop> {
        self.copy_index(number)?;
        let name = names::segment(number);
        let end = self.size(&name)?;
        if self.keep_same(&name, end)? {
            return Ok(());
        }
        let bytes = self.read(&name)?;
        self.put_segment(number, &bytes, End::At(bytes.len()))
    }

    /// Copies a segment of the log. `next` is the following segment, if any: its first record says where this one ends.
    fn copy_log(&mut self, number: u32, next: Option<u32>) -> Result<(), Stop> {
        let name = names::segment(number);
        let end = match next {
            Some(next) => previous_end(self.source, next).map_err(of_source)?,
            None => None,
        };
        if let Some(end) = end
            && self.keep_same(&name, end)?
        {
            return Ok(());
        }
        let bytes = match end {
            Some(end) => read_part(self.source, &name, 0, end).map_err(of_source)?,
            None => self.read_growing(number)?,
        };
        let end = end.map_or_else(|| End::AtLeast(self.watermark.floor(number)), End::At);
        // A segment is renamed before it is recycled.
        let _ = planted!("recycled segment not noticed", self.size(&name)?, 0);
        self.put_segment(number, &bytes, end)
    }

    /// Adds a segment to the backup, and reports it when it is damaged.
    fn put_segment(&mut self, number: u32, bytes: &Bytes, end: End) -> Result<(), Stop> {
        let name = names::segment(number);
        let damage =
            walk(number, bytes, end).find_map(|step| if let Step::Damage(at) = step { Some(at.start) } else { None });
        if let Some(at) = damage {
            self.report.damaged.push(format!("{name} is damaged at byte {at}"));
        }
        self.report.kept += usize::from(self.put(&name, bytes)?);
        Ok(())
    }

    /// Copies the index of a segment, unless it does not exist or an index of that size has been copied before. The
    /// index is copied before the segment because the node removes a segment's index first: if the node has removed the
    /// index, it is removing the segment too, and copying that ends the attempt. A start checks indexes and rebuilds
    /// one that does not fit its segment.
    fn copy_index(&mut self, number: u32) -> Result<(), Stop> {
        let name = names::index(number);
        let Ok(size) = self.source.size(&name) else { return Ok(()) };
        if self.target.size(&name).is_ok_and(|copied| copied == size) {
            return Ok(());
        }
        let Ok(bytes) = read_part(self.source, &name, 0, usize::MAX) else { return Ok(()) };
        write_file(self.target, &names::new(&name), &bytes)
            .map_err(|cause| BackupError::Target(OpenError::io(&name, cause)))?;
        self.indexes.insert(name);
        Ok(())
    }

    /// Reads a segment whose end is not known, up to its last record. The node may be writing to the segment, and a
    /// read that races with a write may see later bytes of that write but not earlier ones. A second read up to the
    /// same position sees all of them.
    fn read_growing(&self, number: u32) -> Result<Bytes, Stop> {
        let name = names::segment(number);
        let first = self.read(&name)?;
        let end = self.end_of_records(number, &first);
        let again = || read_part(self.source, &name, 0, end).map_err(of_source);
        let bytes = planted!("growing segment read once", again()?, first);
        let end = self.end_of_records(number, &bytes);
        // The padding of the last record may be missing.
        let mut bytes = bytes[..end.min(bytes.len())].to_vec();
        if format::check_segment_header(&bytes, number).is_ok() {
            // A start would report a file that is shorter than its header says as damaged.
            let size = u32::try_from(bytes.len()).expect("a segment's size");
            format::set_stated_size(&mut bytes, size);
        }
        Ok(bytes.into())
    }

    /// Returns the position where the last record of a segment ends, readable or not.
    fn end_of_records(&self, number: u32, bytes: &Bytes) -> usize {
        let floor = self.watermark.floor(number).max(HEADER);
        let steps = walk(number, bytes, End::AtLeast(floor));
        steps.map(|step| if let Step::Record(record) = step { record.end } else { 0 }).max().unwrap_or(0).max(floor)
    }

    /// Adds a segment that was copied earlier to the backup if it is identical to the node's segment, which ends at
    /// `end`. Returns false when it is not.
    fn keep_same(&mut self, name: &str, end: usize) -> Result<bool, Stop> {
        let new = names::new(name);
        for (file, listed) in [(&new[..], self.written.get(name)), (name, self.old.get(name))] {
            let Some(listed) = listed.filter(|(len, _)| *len == end as u64) else { continue };
            let mut is_same = true;
            for at in [0, end.saturating_sub(BACKUP_COMPARED_BYTES)] {
                let len = BACKUP_COMPARED_BYTES.min(end);
                let ours = read_part(self.source, name, at as u64, len).map_err(of_source)?;
                is_same &= read_part(self.target, file, at as u64, len).is_ok_and(|copy| copy == ours);
            }
            if is_same {
                self.list.insert(name.to_owned(), *listed);
                self.report.kept += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds a file to the backup and writes it, unless it has been copied before. Returns true when it had been.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<bool, Stop> {
        let listed = content(bytes);
        self.list.insert(name.to_owned(), listed);
        if self.old.get(name) == Some(&listed) || self.written.get(name) == Some(&listed) {
            return Ok(true);
        }
        let new = names::new(name);
        let is_there = self.target.size(&new).is_ok_and(|size| size == listed.0)
            && read_part(self.target, &new, 0, usize::MAX).is_ok_and(|copy| copy == bytes);
        if !is_there {
            write_file(self.target, &new, bytes).map_err(|cause| BackupError::Target(OpenError::io(name, cause)))?;
            (self.report.files, self.report.bytes) = (self.report.files + 1, self.report.bytes + listed.0);
        }
        self.written.insert(name.to_owned(), listed);
        Ok(is_there)
    }

    fn size(&self, name: &str) -> Result<usize, Stop> {
        let size = self.source.size(name).map_err(|cause| of_source(OpenError::io(name, cause)))?;
        Ok(usize::try_from(size).expect("files of a journal are small"))
    }

    fn read(&self, name: &str) -> Result<Bytes, Stop> {
        read_part(self.source, name, 0, usize::MAX).map_err(of_source)
    }

    /// Replaces the manifest, then gives the files of this backup their names and removes what does not belong to it.
    fn finish(&mut self, identity: String) -> Result<(), OpenError> {
        planted!("manifest ahead of its files", self.target.sync_names().map_err(folder_error)?, ());
        let manifest = Manifest { identity, files: std::mem::take(&mut self.list) };
        manifest.write(self.target).map_err(folder_error)?;
        let is_new = |(name, listed): &(&String, &(u64, u32))| {
            self.written.get(*name) == Some(listed) && self.old.get(*name) != Some(listed)
        };
        let renamed = manifest.files.iter().filter(is_new).map(|(name, _)| name).chain(&self.indexes);
        for name in renamed {
            self.target.rename(&names::new(name), name).map_err(|cause| OpenError::io(name, cause))?;
        }
        for name in self.target.list().map_err(folder_error)?.iter().filter(|name| !manifest.has(name)) {
            self.target.remove(name).map_err(|cause| OpenError::io(name, cause))?;
        }
        self.target.sync_names().map_err(folder_error)
    }
}

fn of_source(error: OpenError) -> Stop {
    let is_gone = matches!(&error, OpenError::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound);
    if is_gone { Stop::Gone(error) } else { Stop::Failed(BackupError::Source(error)) }
}
