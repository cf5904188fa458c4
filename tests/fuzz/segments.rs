//! A journal's folder made by a script: a start reads it or refuses it, and never panics.
//!
//! Random bytes would have wrong checksums, so the input is a script of steps. Some write records, segments and
//! checkpoints with correct checksums and any content; some run the journal itself on the folder; some change,
//! truncate, rename and remove files. Then a node is started: a start that is refused must leave the folder unchanged,
//! and after one that succeeds, the next start must find the same state.

use std::io;

use dht_node::entry::{self, Entry, LogPosition, Place};
use dht_node::journal::format::{Begin, HEADER, Head, Kind, put_record, segment_header};
use dht_node::journal::{Disk, DiskFile, Stamp, claim};
use dht_node::node::Node;
use dht_node::types::{SlotId, Slots};
use fastrand::Rng;

use crate::disk::FakeDisk;
use crate::model::{self, Live, SEGMENT, Seen, blank, publish};

/// The maximum number of steps in a script; more take longer without finding more.
const STEPS_MAX: usize = 40;

/// Executes the script. Returns a disk with the resulting files, all of them durable.
pub(crate) fn play(input: &[u8]) -> FakeDisk {
    let mut script = Script(input);
    let mut maker = Maker::new(script.u8());
    for _ in 0..STEPS_MAX {
        if script.0.is_empty() {
            break;
        }
        maker.step(&mut script);
    }
    maker.write_segment();
    // Copy the files to another disk, without the history of this one.
    let disk = FakeDisk::default();
    contents(&maker.disk).iter().for_each(|(name, bytes)| write(&disk, name, bytes));
    disk
}

/// Starts a node twice on the folder. Returns the total size of the files.
pub(crate) fn check(disk: &FakeDisk) -> usize {
    let before = contents(disk);
    let given = before.iter().map(|(_, bytes)| bytes.len()).sum();
    let (live, last, ..) = match Live::start_mending(disk, false, SEGMENT) {
        Ok(started) => started,
        Err(error) => {
            assert!(contents(disk) == before, "the refused start has changed the folder: {error}");
            let again = Live::start_mending(disk, false, SEGMENT).map(|_| ()).expect_err("the second start is refused");
            assert_eq!(again.to_string(), error.to_string());
            return given;
        }
    };
    let state = seen(&live);
    drop(live);
    let started = Live::start_mending(disk, false, SEGMENT);
    let (mut live, again, is_lossy, _) = started.expect("the second start succeeds");
    assert!(seen(&live) == state, "the second start finds what the first one found");
    assert!(!is_lossy && again.bodies >= last.bodies, "a loss is reported only once");
    live.append(vec![model::create("topic/0", 7), publish("topic/0", b"one more", 1)]).expect("a sound disk");
    live.sync().expect("a sound disk");
    let state = seen(&live);
    drop(live);
    let (live, ..) = Live::start_mending(disk, false, SEGMENT).expect("the third start succeeds");
    assert!(seen(&live) == state, "the third start finds the appended records");
    given
}

/// Returns everything that a client could see, or the reason why records from before the checkpoint cannot be read.
fn seen(live: &Live) -> Result<Seen, String> {
    live.read().map_err(|error| error.to_string())
}

/// Returns the names and bytes of all files.
fn contents(disk: &FakeDisk) -> Vec<(String, Vec<u8>)> {
    disk.files().into_iter().map(|(name, _)| (name.clone(), read(disk, &name).expect("it is listed"))).collect()
}

fn read(disk: &FakeDisk, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(name)?;
    let mut bytes = vec![0; usize::try_from(file.size()?).expect("a small file")];
    assert_eq!(file.read_at(&mut bytes, 0)?, bytes.len());
    Ok(bytes)
}

fn write(disk: &FakeDisk, name: &str, bytes: &[u8]) {
    let write = || -> io::Result<()> {
        let mut file = disk.create(name)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        disk.sync_names()
    };
    write().expect("a sound disk");
}

/// The rest of the input. After its end, all bytes read as 0.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Returns a number that is likely to matter: near the correct one, small, or near the maximum.
    fn number(&mut self, right: u64, max: u64) -> u64 {
        let number = match self.u8() {
            byte @ 0..64 => right.wrapping_add(u64::from(byte)),
            byte @ 64..128 => right.wrapping_sub(u64::from(byte - 63)),
            byte @ 128..192 => u64::from(byte - 128),
            192..224 => u64::from(self.u16()),
            byte @ 224..=255 => max - u64::from(255 - byte),
        };
        number.min(max)
    }

    fn number32(&mut self, right: u32) -> u32 {
        u32::try_from(self.number(right.into(), u32::MAX.into())).expect("at most u32::MAX")
    }

    /// Returns the number of a segment. The highest numbers are left out: a start refuses a segment that no other can
    /// follow, but not one with only a few possible successors, and no real journal gets there. The same applies to
    /// [`Script::index`].
    fn segment(&mut self, right: u32) -> u32 {
        self.number32(right).min(u32::MAX - 1000)
    }

    fn index(&mut self, right: u64) -> u64 {
        self.number(right, u64::MAX).min(u64::MAX - 1000)
    }
}

/// Builds a folder.
struct Maker {
    disk: FakeDisk,
    /// The current segment, whose file is not written yet.
    segment: u32,
    bytes: Vec<u8>,
    /// The index of the last entry.
    index: u64,
    term: u32,
    /// A node that has applied the entries of valid records.
    node: Node,
    serial: u64,
}

impl Maker {
    fn new(control: u8) -> Self {
        let disk = FakeDisk::default();
        if control & 1 == 0 {
            claim(&disk, &model::identity(), 1 << 16).expect("an empty folder");
        }
        Self { disk, segment: 0, bytes: Vec::new(), index: 0, term: 1, node: blank(), serial: 0 }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.u8() % 20 {
            0..5 => self.put_entries(script, true),
            5 => self.put_entries(script, false),
            6 | 7 => self.next_segment(script, true),
            8 => self.next_segment(script, false),
            9 => self.put_anything(script),
            10 => self.put_hard_state(script),
            11 => {
                let count = script.u8().into();
                self.bytes.extend_from_slice(script.bytes(count));
            }
            12 => self.checkpoint(script, true),
            13 => self.checkpoint(script, false),
            14 | 15 => self.live(script),
            16 | 17 => self.change_file(script),
            18 => self.write_file(script),
            _ => self.disk.crash(&mut Rng::with_seed(script.u8().into())),
        }
    }

    /// Appends a record of random entries, with a correct or an arbitrary head.
    fn put_entries(&mut self, script: &mut Script<'_>, is_right: bool) {
        self.begin_segment();
        let mut entries = self.entries(script);
        let mut synced = 0;
        if is_right {
            self.index += 1;
            self.node.replay(model::SLOT, entries.clone());
        } else {
            self.index = script.index(self.index + 1);
            self.term = script.number32(self.term);
            synced = script.number32(self.end());
        }
        let head = Head { kind: Kind::Entry, slot: SlotId::default(), index: self.index, term: self.term, synced };
        put_record(self.segment, head, &mut self.bytes, |out| entry::encode(&mut entries, out));
    }

    fn entries(&mut self, script: &mut Script<'_>) -> Vec<Entry> {
        model::entries(&mut rng(script, self.serial), &self.node, &mut self.serial)
    }

    /// Appends a record of any kind with any content.
    fn put_anything(&mut self, script: &mut Script<'_>) {
        self.begin_segment();
        let kind = [Kind::Entry, Kind::Copy, Kind::Checkpoint, Kind::Begin, Kind::State][usize::from(script.u8() % 5)];
        let (index, term) = (script.index(self.index + 1), script.number32(self.term));
        let synced = script.number32(self.end());
        let count = script.u8().into();
        let body = script.bytes(count);
        let slot = SlotId::from_low_bits(script.u8().into(), Slots::MOST);
        let head = Head { kind, slot, index, term, synced };
        put_record(self.segment, head, &mut self.bytes, |out| out.extend_from_slice(body));
    }

    fn put_hard_state(&mut self, script: &mut Script<'_>) {
        let flags = script.u8();
        let previous_end = if flags & 4 == 0 { 0 } else { script.number32(self.end()) };
        self.begin_segment();
        self.put_state(previous_end, flags);
    }

    fn put_state(&mut self, previous_end: u32, flags: u8) {
        let (is_lazy, is_end) = (flags & 1 != 0, flags & 2 != 0);
        let state = Begin { previous_end, is_lazy, is_end };
        let head = Head { kind: Kind::Begin, slot: SlotId::default(), index: self.index, term: self.term, synced: 0 };
        put_record(self.segment, head, &mut self.bytes, |out| state.encode(out));
    }

    /// Begins a segment if there is no current one.
    fn begin_segment(&mut self) {
        if self.bytes.is_empty() {
            self.segment = self.segment.max(1);
            self.bytes.extend_from_slice(&segment_header(Stamp::NONE, self.segment, SEGMENT));
            self.put_state(0, 0);
        }
    }

    fn next_segment(&mut self, script: &mut Script<'_>, is_right: bool) {
        let (end, flags) = (self.end(), script.u8());
        self.write_segment();
        self.segment = self.segment.saturating_add(1);
        if is_right {
            self.bytes.extend_from_slice(&segment_header(Stamp::NONE, self.segment, SEGMENT));
            self.put_state(end, flags & 3);
            return;
        }
        self.segment = script.segment(self.segment).max(1);
        let named = script.number32(self.segment);
        self.bytes.extend_from_slice(&segment_header(Stamp::NONE, named, script.number32(SEGMENT)));
        if flags & 4 == 0 {
            let previous_end = script.number32(end);
            self.put_state(previous_end, flags);
        }
    }

    /// Writes the file of the current segment, and ends the segment.
    fn write_segment(&mut self) {
        if !self.bytes.is_empty() {
            let zeros = [0, 8, 500, 4000][usize::from(self.bytes[self.bytes.len() - 1] % 4)];
            self.bytes.resize(self.bytes.len() + zeros, 0);
            write(&self.disk, &format!("{:010}.log", self.segment), &self.bytes);
            self.bytes.clear();
        }
    }

    /// Writes a checkpoint of the applied entries, or an arbitrary one.
    fn checkpoint(&mut self, script: &mut Script<'_>, is_right: bool) {
        self.begin_segment();
        let mut image = self.node.image(model::SLOT).topics;
        let (mut index, mut term, mut synced, mut segment) = (self.index, self.term, self.end(), self.segment);
        let mut len = image.len() as u64;
        if !is_right {
            (index, term) = (script.index(index), script.number32(term));
            (synced, segment) = (script.number32(synced), script.segment(segment));
            len = script.number(len, u64::MAX);
            if script.u8() & 1 == 0 {
                let count = script.u8().into();
                image = script.bytes(count).to_vec();
            } else {
                change(&mut image, script);
            }
        }
        let head = Head { kind: Kind::Checkpoint, slot: SlotId::default(), index, term: 0, synced };
        let mut file = segment_header(Stamp::NONE, segment, synced).to_vec();
        let applied = LogPosition { index, term, end: Place { segment, position: synced } };
        model::put_checkpoint(segment, head, applied, (&image, len), &mut file);
        write(&self.disk, &format!("{index:020}.checkpoint"), &file);
    }

    /// Runs the journal itself on the folder, if it starts.
    fn live(&mut self, script: &mut Script<'_>) {
        self.write_segment();
        let is_lazy = script.u8() & 3 == 0;
        let Ok((mut live, ..)) = Live::start_mending(&self.disk, is_lazy, SEGMENT) else { return };
        let mut run = || -> io::Result<()> {
            for _ in 0..script.u8() % 6 {
                let mut rng = rng(script, self.serial);
                live.append(model::entries(&mut rng, &live.node, &mut self.serial))?;
                if is_lazy { live.write()? } else { live.sync()? }
            }
            let end = script.u8();
            if end & 1 != 0 {
                live.checkpoint()?;
            }
            if end & 6 == 6 { live.finish() } else { Ok(()) }
        };
        run().expect("a sound disk");
        let mark = live.mark();
        (self.segment, self.index, self.term) = (mark.place.segment, live.applied().index, live.applied().term);
        self.node = live.node;
        // Later steps continue after its last segment.
        self.segment += 1;
        self.bytes.extend_from_slice(&segment_header(Stamp::NONE, self.segment, SEGMENT));
        self.put_state(mark.place.position, 0);
    }

    /// Changes, copies, renames or removes a file.
    fn change_file(&self, script: &mut Script<'_>) {
        let files = self.disk.files();
        if files.is_empty() {
            return;
        }
        let (name, _) = &files[usize::from(script.u8()) % files.len()];
        match script.u8() % 8 {
            0 => self.disk.remove(name).expect("it is listed"),
            1 => self.disk.rename(name, &self.name(script)).expect("it is listed"),
            2 => write(&self.disk, &self.name(script), &read(&self.disk, name).expect("it is listed")),
            _ => {
                let mut bytes = read(&self.disk, name).expect("it is listed");
                change(&mut bytes, script);
                write(&self.disk, name, &bytes);
            }
        }
    }

    fn write_file(&self, script: &mut Script<'_>) {
        let count = script.u8().into();
        write(&self.disk, &self.name(script), script.bytes(count));
    }

    fn name(&self, script: &mut Script<'_>) -> String {
        match script.u8() % 8 {
            0 | 1 => format!("{:010}.log", script.segment(self.segment)),
            2 | 3 => format!("{:010}.index", script.segment(self.segment)),
            4 => format!("{:020}.checkpoint", script.index(self.index)),
            5 => "spare".to_owned(),
            6 => ["lock", "identity", "0000000002.log.new", "notes.txt"][usize::from(script.u8() % 4)].to_owned(),
            _ => format!("{}.log", script.u8()),
        }
    }

    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a small segment")
    }
}

/// Returns the generator for entries, which is seeded by the script but never the same twice: two topics with the same
/// name and seed would have the same id, and the journal's tables would panic if both had records. In a node the seed
/// of a topic is random.
fn rng(script: &mut Script<'_>, serial: u64) -> Rng {
    Rng::with_seed(serial << 8 | u64::from(script.u8()))
}

/// Changes bytes near the start, near the end, or anywhere.
fn change(bytes: &mut Vec<u8>, script: &mut Script<'_>) {
    let at = usize::from(script.u16());
    let at = match script.u8() % 4 {
        0 => at % HEADER,
        1 => bytes.len().saturating_sub(at % 64 + 1),
        _ => at % bytes.len().max(1),
    };
    match script.u8() % 8 {
        0 => bytes.truncate(at),
        1 => bytes.resize(bytes.len() + at, 0),
        2 => drop(bytes.drain(at.min(bytes.len())..(at + 8).min(bytes.len()))),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= script.u8().max(1);
            }
        }
    }
}
