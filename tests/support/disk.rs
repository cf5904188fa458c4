//! A simulated disk with the worst behaviour of real ones: in a crash it loses any part of the writes that were not
//! synced, syncs fail, it fills up, and it stops in the middle of any operation. Shared by the tests of the journal and
//! the simulator.
#![expect(clippy::disallowed_types, reason = "the two halves of a journal share one disk, as they share a file system")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use dht_node::journal::{Disk, DiskFile};
use fastrand::Rng;

/// The size in bytes of the unit in which a crash loses parts of a write.
const SECTOR: usize = 512;

/// The alignment in bytes at which a crash may cut off a write within a sector: no device tears a cache line.
const LINE: usize = 64;

/// The bytes of a file as the process sees them, and those that are durable.
#[derive(Clone, Debug, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// The changes since the last sync, in order.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

/// A change of a file name since the last sync of names.
#[derive(Clone, Debug)]
enum Naming {
    Put(String, usize),
    Remove(String),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    namings: Vec<Naming>,
    /// The number of changes until the machine stops; from then on every change fails.
    left: Option<u64>,
    /// The maximum total size of all files.
    capacity: Option<u64>,
    /// The number of syncs until one fails.
    syncs_left: Option<u64>,
    reads: Reads,
}

/// Counters of reads from files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reads {
    /// The number of reads.
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// The disk. Clones refer to the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeDisk(Rc<RefCell<State>>);

/// An open file.
#[derive(Debug)]
pub(crate) struct FakeFile {
    disk: FakeDisk,
    inode: usize,
}

impl FakeDisk {
    /// Stops the machine after this many more changes.
    pub(crate) fn stop_after(&self, changes: u64) {
        self.0.borrow_mut().left = Some(changes);
    }

    /// Returns true if the machine has stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.0.borrow().left == Some(0)
    }

    /// Limits the total size of all files; `None` removes the limit.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.0.borrow_mut().capacity = bytes;
    }

    /// Makes the sync after this many successful ones fail.
    pub(crate) fn fail_sync_after(&self, syncs: Option<u64>) {
        self.0.borrow_mut().syncs_left = syncs;
    }

    /// Returns the total size of all files.
    pub(crate) fn used(&self) -> u64 {
        let state = self.0.borrow();
        state.names.values().map(|inode| state.inodes[*inode].data.len() as u64).sum()
    }

    /// Returns the reads since the last call.
    pub(crate) fn take_reads(&self) -> Reads {
        std::mem::take(&mut self.0.borrow_mut().reads)
    }

    /// Removes all limits and planned faults.
    pub(crate) fn heal(&self) {
        let state = &mut *self.0.borrow_mut();
        (state.left, state.capacity, state.syncs_left) = (None, None, None);
    }

    /// Simulates a power failure: changes that are not durable survive partly or not at all.
    pub(crate) fn crash(&self, rng: &mut Rng) {
        let state = &mut *self.0.borrow_mut();
        // Most file systems keep the order of renames, but none guarantees it.
        let keeps_order = rng.u8(..4) > 0;
        let kept = rng.usize(..=state.namings.len());
        for (at, naming) in state.namings.drain(..).enumerate() {
            if at < kept && keeps_order || !keeps_order && rng.bool() {
                apply(&mut state.durable_names, naming);
            }
        }
        state.names = state.durable_names.clone();
        for (index, inode) in state.inodes.iter_mut().enumerate() {
            if !state.names.values().any(|named| *named == index) {
                *inode = Inode::default();
                continue;
            }
            let fate = rng.u8(..4);
            for change in std::mem::take(&mut inode.pending) {
                survive(&mut inode.durable, change, fate, rng);
            }
            inode.data = inode.durable.clone();
        }
        (state.left, state.syncs_left) = (None, None);
    }

    /// Returns another disk with the same content, on which everything works.
    pub(crate) fn copy(&self) -> Self {
        let state = &*self.0.borrow();
        Self(Rc::new(RefCell::new(State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            namings: state.namings.clone(),
            ..State::default()
        })))
    }

    /// Returns another disk, with the content that this one would have after a power failure now.
    pub(crate) fn copy_after_crash(&self, rng: &mut Rng) -> Self {
        let copy = self.copy();
        copy.crash(rng);
        copy
    }

    /// Flips one bit of a file, in its durable content as well.
    pub(crate) fn flip(&self, name: &str, bit: usize) {
        let state = &mut *self.0.borrow_mut();
        let inode = &mut state.inodes[state.names[name]];
        for bytes in [&mut inode.data, &mut inode.durable] {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Returns the names and lengths of all files.
    pub(crate) fn files(&self) -> Vec<(String, usize)> {
        let state = self.0.borrow();
        state.names.iter().map(|(name, inode)| (name.clone(), state.inodes[*inode].data.len())).collect()
    }

    /// Counts one change, and fails if the machine has stopped.
    fn count(&self) -> io::Result<()> {
        match &mut self.0.borrow_mut().left {
            Some(0) => Err(io::Error::other("the machine has stopped")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn rename_to(&self, naming: Naming) {
        let state = &mut *self.0.borrow_mut();
        apply(&mut state.names, naming.clone());
        state.namings.push(naming);
    }
}

fn apply(names: &mut BTreeMap<String, usize>, naming: Naming) {
    match naming {
        Naming::Put(name, inode) => {
            names.retain(|_, other| *other != inode);
            names.insert(name, inode);
        }
        Naming::Remove(name) => {
            names.remove(&name);
        }
    }
}

/// Applies a change to the bytes of a file.
fn make(data: &mut Vec<u8>, change: Change) {
    match change {
        Change::Len(len) => data.resize(len, 0),
        Change::Write(at, bytes) => {
            data.resize(data.len().max(at + bytes.len()), 0);
            data[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
}

/// Applies the part of a change that survives a crash: nothing, all, its beginning, or some of its sectors.
fn survive(durable: &mut Vec<u8>, change: Change, fate: u8, rng: &mut Rng) {
    match change {
        Change::Len(len) if fate > 0 => durable.resize(len, 0),
        Change::Len(_) => {}
        Change::Write(at, bytes) => {
            let torn = if fate == 2 { rng.usize(..=bytes.len()) } else { bytes.len() };
            let torn = if torn < bytes.len() { ((at + torn) / LINE * LINE).saturating_sub(at) } else { torn };
            for start in (0..torn).step_by(SECTOR) {
                let end = (start + SECTOR).min(torn);
                if fate == 0 || fate == 3 && rng.bool() {
                    continue;
                }
                if durable.len() < at + end {
                    durable.resize(at + end, 0);
                }
                durable[at + start..at + end].copy_from_slice(&bytes[start..end]);
            }
        }
    }
}

fn index(position: u64) -> usize {
    usize::try_from(position).expect("files are small")
}

impl Disk for FakeDisk {
    type File = FakeFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<FakeFile> {
        let inode = self.0.borrow().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(FakeFile { disk: self.clone(), inode })
    }

    fn create(&self, name: &str) -> io::Result<FakeFile> {
        self.count()?;
        let inode = {
            let state = &mut *self.0.borrow_mut();
            state.inodes.push(Inode::default());
            state.inodes.len() - 1
        };
        self.rename_to(Naming::Put(name.to_owned(), inode));
        Ok(FakeFile { disk: self.clone(), inode })
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        let state = self.0.borrow();
        let inode = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.inodes[*inode].data.len() as u64)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.count()?;
        let inode = self.0.borrow().names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        self.rename_to(Naming::Put(to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.count()?;
        if !self.0.borrow().names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.rename_to(Naming::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.count()?;
        let state = &mut *self.0.borrow_mut();
        state.namings.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl FakeFile {
    fn change(&self, change: Change) -> io::Result<()> {
        self.disk.count()?;
        let used = self.disk.used();
        let state = &mut *self.disk.0.borrow_mut();
        let inode = &mut state.inodes[self.inode];
        let len = match &change {
            Change::Len(len) => *len,
            Change::Write(at, bytes) => inode.data.len().max(at + bytes.len()),
        };
        let more = (len as u64).saturating_sub(inode.data.len() as u64);
        if state.capacity.is_some_and(|capacity| more > 0 && used + more > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        make(&mut inode.data, change.clone());
        inode.pending.push(change);
        Ok(())
    }
}

impl DiskFile for FakeFile {
    fn share(&self) -> io::Result<Self> {
        Ok(Self { disk: self.disk.clone(), inode: self.inode })
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = &mut *self.disk.0.borrow_mut();
        let rest = state.inodes[self.inode].data.get(index(position)..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        state.reads = Reads { count: state.reads.count + 1, bytes: state.reads.bytes + count };
        Ok(count)
    }

    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.change(Change::Write(index(position), bytes.to_vec()))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::Len(index(len)))
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.borrow().inodes[self.inode].data.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.count()?;
        let state = &mut *self.disk.0.borrow_mut();
        let inode = &mut state.inodes[self.inode];
        if state.syncs_left == Some(0) {
            // As on Linux: after the failure the data counts as written, although it never reached the disk.
            inode.pending.clear();
            state.syncs_left = None;
            return Err(io::Error::other("input/output error"));
        }
        state.syncs_left = state.syncs_left.map(|left| left - 1);
        for change in std::mem::take(&mut inode.pending) {
            make(&mut inode.durable, change);
        }
        Ok(())
    }
}
