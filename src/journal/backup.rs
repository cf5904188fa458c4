//! A copy of a journal, also of one that a node writes to: the newest checkpoint, the segments that it relies on, and
//! the log behind it up to some record.
//!
//! The copy is a folder that a node can start on. What belongs to it stands in its list, the file [`LIST`], with the
//! length and checksum of each file. The list is written last and replaced as a whole: whenever a copy stops, the one
//! before it is still there, and files that are in no list do not count. A start on a folder with a list restores it:
//! it checks every file, begins new epochs that no reader can have seen, and removes the list.
//!
//! The node gives segments up and uses them again meanwhile. So each copy is checked, and where a segment has become
//! another one, the rest is taken from a newer checkpoint. Segments that are complete never change: what an earlier
//! copy has of them is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use bytes::Bytes;

use super::checkpoint::{self, Checkpoint};
use super::copies;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{HEADER, check_segment_header};
use super::identity;
use super::keeper::write_file;
use super::names::{self, CheckpointId};
use super::reader::{previous_end, read_part};
use super::walk::{Step, walk};
use crate::types::crc32;

/// The list of what belongs to a copy.
pub(super) const LIST: &str = "backup";

/// Stands in a folder that a first copy was begun in.
const BEGUN: &str = "backup-unfinished";

/// How often a copy begins anew because the node has given up what was to be copied.
const TRIES: u32 = 100;

/// Bytes at the beginning of two segments, and at their end, that are compared to see that they are the same.
const COMPARED: usize = 64 << 10;

/// What a copy came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files that were copied, and their bytes.
    pub copied: usize,
    /// See `copied`.
    pub bytes: u64,
    /// Files that an earlier copy had already.
    pub kept: usize,
    /// The entry after which the checkpoint was made that it has.
    pub index: u64,
    /// A line for each segment that is damaged in the journal itself.
    pub damaged: Vec<String>,
}

/// A file of the copy: its length and its checksum.
type Listed = BTreeMap<String, (u64, u32)>;

/// Copies the journal in `source` to `target`.
///
/// # Errors
/// [`OpenError`]: `source` is no journal, or `target` holds something else than an earlier copy of it.
pub fn backup<D: Disk>(source: &D, target: &D) -> Result<Copied, OpenError> {
    let owner = identity::owner(source)?;
    let old = begin(target, &owner)?;
    let mut copy = Copy { source, target, old: &old, have: old.clone(), new: Listed::new(), told: Copied::default() };
    let mut left = TRIES;
    loop {
        left -= 1;
        match copy.run() {
            Ok(()) => {
                let Copy { new, told, .. } = copy;
                finish(source, target, &new)?;
                return Ok(told);
            }
            Err(error) if left > 0 && error.lost_file().is_some() => copy.begin_anew(),
            Err(error) => return Err(error),
        }
    }
}

/// Looks whether the folder may take a copy; what an earlier one has put there.
fn begin<D: Disk>(target: &D, owner: &identity::Identity) -> Result<Listed, OpenError> {
    let files = target.list().map_err(|cause| OpenError::io("the folder of the copy", cause))?;
    let foreign = |what: &str| OpenError::Foreign { what: what.to_owned() };
    if files.iter().any(|name| name == LIST) {
        if identity::owner(target)? != *owner {
            return Err(foreign("it holds the backup of another node"));
        }
        return read_list(target);
    }
    if files.iter().any(|name| name == BEGUN) {
        return Ok(Listed::new());
    }
    if files.iter().any(|name| name != super::disk::LOCK) {
        return Err(foreign("it is neither empty nor a backup"));
    }
    write_file(target, BEGUN, b"").map_err(|cause| OpenError::io(BEGUN, cause))?;
    target.sync_names().map_err(|cause| OpenError::io(BEGUN, cause))?;
    Ok(Listed::new())
}

/// The list replaces the one before; then what belongs to neither goes.
fn finish<D: Disk>(source: &D, target: &D, new: &Listed) -> Result<(), OpenError> {
    let io = |cause: io::Error| OpenError::io("the folder of the copy", cause);
    let identity = read_part(source, names::IDENTITY, 0, usize::MAX)?;
    write_file(target, names::IDENTITY, &identity).map_err(io)?;
    target.sync_names().map_err(io)?;
    write_file(target, LIST, encode(new).as_bytes()).map_err(io)?;
    target.sync_names().map_err(io)?;
    for name in target.list().map_err(io)?.iter().filter(|name| !belongs(name, new)) {
        target.remove(name).map_err(io)?;
    }
    target.sync_names().map_err(io)
}

/// Does a file belong to a copy? Indexes are in no list: they follow from the segments, and are checked by a start.
fn belongs(name: &str, list: &Listed) -> bool {
    let is_index = names::index_number(name).is_some_and(|number| list.contains_key(&names::segment(number)));
    is_index || list.contains_key(name) || [LIST, names::IDENTITY, super::disk::LOCK].contains(&name)
}

/// A copy that is being made.
struct Copy<'c, D: Disk> {
    source: &'c D,
    target: &'c D,
    /// What the copy before has, and what is there beside it.
    old: &'c Listed,
    have: Listed,
    new: Listed,
    told: Copied,
}

impl<D: Disk> Copy<'_, D> {
    /// The node has given up what was to be copied; what is there already need not be copied again.
    fn begin_anew(&mut self) {
        self.have.append(&mut self.new);
        (self.told.kept, self.told.damaged) = (0, Vec::new());
    }

    fn run(&mut self) -> Result<(), OpenError> {
        let files = self.source.list().map_err(|cause| OpenError::io("the folder", cause))?;
        let mut segments: Vec<u32> = files.iter().filter_map(|name| names::segment_number(name)).collect();
        segments.sort_unstable();
        let logs = &segments[..segments.partition_point(|number| !copies::is_copies(*number))];
        // Behind the last one that was written to, segments are ready and empty. It is looked for first: what is
        // written from here on may be missing in the copy.
        let is_written = |number: &&u32| matches!(previous_end(self.source, **number), Ok(Some(_)));
        let last = logs.iter().rev().find(is_written).copied().unwrap_or(0);
        let newest = files.iter().filter_map(|name| names::checkpoint_id(name)).max();
        let (from, mut needed) = match newest {
            Some(id) => self.copy_checkpoint(id)?,
            None => (1, BTreeSet::new()),
        };
        needed.extend(from..=last);
        for number in needed {
            let next = number.checked_add(1).filter(|next| *next <= last && logs.binary_search(next).is_ok());
            self.copy_segment(number, next)?;
            if number <= from || copies::is_copies(number) {
                self.copy_index(number)?;
            }
        }
        Ok(())
    }

    /// Copies the newest checkpoint. In which segment it is, and which ones it relies on before that.
    fn copy_checkpoint(&mut self, id: CheckpointId) -> Result<(u32, BTreeSet<u32>), OpenError> {
        let name = names::checkpoint(id);
        let bytes = read_part(self.source, &name, 0, usize::MAX)?;
        let unreadable =
            |_| OpenError::damaged(&name, 0, "the checkpoint cannot be read; let the node make another one");
        let Checkpoint { mark, books, .. } = checkpoint::decode(&bytes, id.index).map_err(unreadable)?;
        self.told.index = mark.index;
        let books = books.unwrap_or_default();
        let needed = books.spans.into_values().flatten().map(|(segment, ..)| segment).collect();
        // The copy before may have another one of that name: until the new list is there, it is needed.
        let crc = crc32(&bytes);
        let is_other = |name: &String| self.old.get(name).is_some_and(|listed| *listed != (bytes.len() as u64, crc));
        let free = [id, CheckpointId { is_second: !id.is_second, ..id }].map(names::checkpoint);
        let free = free.into_iter().find(|name| !is_other(name)).unwrap_or(name);
        self.put(&free, &bytes)?;
        Ok((mark.place.segment, needed))
    }

    fn copy_segment(&mut self, number: u32, next: Option<u32>) -> Result<(), OpenError> {
        let name = names::segment(number);
        let end = match next {
            Some(next) => previous_end(self.source, next)?,
            None if copies::is_copies(number) => Some(self.size(&name)?),
            None => None,
        };
        if let Some(end) = end
            && self.is_kept(&name, end)?
        {
            self.told.kept += 1;
            return Ok(());
        }
        let mut bytes = read_part(self.source, &name, 0, end.unwrap_or(usize::MAX))?;
        if end.is_none() {
            bytes = self.settled(number, bytes)?;
        }
        let damage =
            walk(number, &bytes, end).find_map(|step| if let Step::Damage(at) = step { Some(at) } else { None });
        self.check_is_still(number)?;
        if let Some(damage) = damage {
            self.told.damaged.push(format!("{name} is damaged at byte {}", damage.start));
        }
        let listed = (bytes.len() as u64, crc32(&bytes));
        if self.have.get(&name) == Some(&listed) {
            self.new.insert(name, listed);
            self.told.kept += 1;
            return Ok(());
        }
        self.put(&name, &bytes)
    }

    /// Copies an index, if there is one: a start would make it anew.
    fn copy_index(&self, number: u32) -> Result<(), OpenError> {
        let name = names::index(number);
        let Ok(bytes) = read_part(self.source, &name, 0, usize::MAX) else { return Ok(()) };
        if read_part(self.target, &name, 0, usize::MAX).is_ok_and(|copy| copy == bytes) {
            return Ok(());
        }
        write_file(self.target, &name, &bytes).map_err(|cause| OpenError::io(&name, cause))
    }

    /// The bytes of the last segment up to its last record; what is written meanwhile is read again as far as it had
    /// come.
    fn settled(&self, number: u32, bytes: Bytes) -> Result<Bytes, OpenError> {
        let reach = |bytes: &Bytes| {
            let ends =
                walk(number, bytes, None).map(|step| if let Step::Record(record) = step { record.end } else { 0 });
            ends.max().unwrap_or(HEADER)
        };
        let end = reach(&bytes);
        let bytes = read_part(self.source, &names::segment(number), 0, end)?;
        let end = reach(&bytes);
        Ok(bytes.slice(..end.min(bytes.len())))
    }

    /// A segment that the node has used again is another one now, or none.
    fn check_is_still(&self, number: u32) -> Result<(), OpenError> {
        let name = names::segment(number);
        let header = read_part(self.source, &name, 0, HEADER)?;
        let other = |_| OpenError::damaged(&name, 0, "it has become another segment");
        check_segment_header(&header, number).map(drop).map_err(other)
    }

    fn size(&self, name: &str) -> Result<usize, OpenError> {
        let size = self.source.size(name).map_err(|cause| OpenError::io(name, cause))?;
        Ok(usize::try_from(size).expect("files of a journal are small"))
    }

    /// Does the copy before have the segment already?
    fn is_kept(&mut self, name: &str, end: usize) -> Result<bool, OpenError> {
        let Some(listed) = self.have.get(name).copied().filter(|(len, _)| *len == end as u64) else { return Ok(false) };
        for (at, len) in [(0, COMPARED.min(end)), (end.saturating_sub(COMPARED), COMPARED.min(end))] {
            let Ok(copy) = read_part(self.target, name, at as u64, len) else { return Ok(false) };
            if read_part(self.source, name, at as u64, len)? != copy {
                return Ok(false);
            }
        }
        self.new.insert(name.to_owned(), listed);
        Ok(true)
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
        write_file(self.target, name, bytes).map_err(|cause| OpenError::io(name, cause))?;
        self.new.insert(name.to_owned(), (bytes.len() as u64, crc32(bytes)));
        (self.told.copied, self.told.bytes) = (self.told.copied + 1, self.told.bytes + bytes.len() as u64);
        Ok(())
    }
}

fn encode(list: &Listed) -> String {
    let mut text = String::from("what belongs to this backup: name, bytes, checksum\n");
    for (name, (len, crc)) in list {
        let _ = writeln!(text, "{name} {len} {crc:08x}");
    }
    let crc = crc32(text.as_bytes());
    let _ = writeln!(text, "end {crc:08x}");
    text
}

fn read_list<D: Disk>(disk: &D) -> Result<Listed, OpenError> {
    let bytes = read_part(disk, LIST, 0, usize::MAX)?;
    decode(&String::from_utf8_lossy(&bytes)).ok_or_else(|| OpenError::damaged(LIST, 0, "the list cannot be read"))
}

fn decode(text: &str) -> Option<Listed> {
    let at = text.trim_end().rfind('\n')? + 1;
    let crc = u32::from_str_radix(text[at..].trim_end().strip_prefix("end ")?, 16).ok()?;
    let line = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        Some((name, (words.next()?.parse().ok()?, u32::from_str_radix(words.next()?, 16).ok()?)))
    };
    if crc == crc32(&text.as_bytes()[..at]) { text[..at].lines().skip(1).map(line).collect() } else { None }
}

/// Makes a copy a journal again, if the folder holds one: every file of its list is checked, and what is in no list
/// goes. True then; whoever starts begins new epochs before it calls [`end_restore`].
///
/// # Errors
/// [`OpenError::Damaged`] when a file of the list is not what it was.
pub fn begin_restore<D: Disk>(disk: &D) -> Result<bool, OpenError> {
    let io = |cause: io::Error| OpenError::io("the folder", cause);
    let files = disk.list().map_err(io)?;
    if !files.iter().any(|name| name == LIST) {
        return Ok(false);
    }
    let list = read_list(disk)?;
    for (name, (len, crc)) in &list {
        let bytes = read_part(disk, name, 0, usize::try_from(*len).unwrap_or(usize::MAX))?;
        if bytes.len() as u64 != *len || crc32(&bytes) != *crc {
            return Err(OpenError::damaged(name, 0, "it is not what it was when the backup was made"));
        }
    }
    for name in files.iter().filter(|name| !belongs(name, &list)) {
        disk.remove(name).map_err(io)?;
    }
    for (name, (len, _)) in &list {
        let io = |cause: io::Error| OpenError::io(name, cause);
        // A later copy that was not finished may have gone on with it.
        if disk.size(name).map_err(io)? > *len {
            let mut file = disk.open(name).map_err(io)?;
            file.set_len(*len).and_then(|()| file.sync()).map_err(io)?;
        }
    }
    disk.sync_names().map_err(io)?;
    Ok(true)
}

/// The folder is a journal like any other from here on.
///
/// # Errors
/// As the system's.
pub fn end_restore<D: Disk>(disk: &D) -> io::Result<()> {
    disk.remove(LIST)?;
    disk.sync_names()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_whole_or_not_at_all() {
        let list: Listed = [("0000000001.log".to_owned(), (77, 0xABCD)), ("a".to_owned(), (0, 0))].into();
        for list in [list, Listed::new()] {
            let text = encode(&list);
            assert_eq!(decode(&text), Some(list));
            (0..text.len() - 1).for_each(|cut| assert_eq!(decode(&text[..cut]), None, "cut at {cut}"));
            for at in 0..text.len() - 1 {
                let mut bad = text.clone().into_bytes();
                bad[at] ^= 1;
                let read = decode(&String::from_utf8_lossy(&bad));
                assert!(read.is_none(), "byte {at}: {read:?}");
            }
        }
    }
}
