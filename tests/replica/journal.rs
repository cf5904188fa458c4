//! The journal of a member of several groups, on a disk that tears writes and fails (`tests/support/disk.rs`).

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use dht_node::entry::{
    self, Batch, Body, CopiedState, DecodeError, Entry, Image, LogPart, LogPosition, LogQuery, MemberState, Note,
    Place, TopicKey, TopicRef,
};
use dht_node::journal::{GroupLog, Identity, Keeper, Mark, Membership, NoRoom, OpenError, State, Taken, Writer};
use dht_node::replica::{Hard, LogEntry, MemberId, Restored};
use dht_node::types::{Copies, Dimension, NodeId, Offset, SlotId, Slots, TopicId, crc32, crc32_of_parts};
use fastrand::Rng;

use crate::disk::{FakeDisk, FakeFile};
use crate::opened::{self, Opened};
use crate::store::{Contents, Query, Record, Restart, Stored};

/// The size of a segment in bytes: small, so that a run fills many.
const SEGMENT: u32 = 48 << 10;

/// The largest body in bytes that leaves room for the rest of a segment.
pub(crate) const BODY_MAX: usize = 30 << 10;

/// A mistake in the use of the journal, which the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Writes are reported as durable without a sync.
    NoSync,
    /// The vote is not written.
    NoVote,
    /// A start takes everything in the log for committed.
    AllCommitted,
    /// A checkpoint makes the entries removable that are not applied.
    OpenNotNeeded,
    /// A checkpoint has the positions of the groups interchanged.
    OtherPosition,
}

impl Bug {
    pub(crate) const ALL: [Self; 5] =
        [Self::NoSync, Self::NoVote, Self::AllCommitted, Self::OpenNotNeeded, Self::OtherPosition];
}

/// A member's journal.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) disk: FakeDisk,
    /// It is absent while the process is down.
    open: Option<(Writer<FakeFile>, Keeper<FakeDisk>)>,
    /// What the keeper is told of bodies once they are durable.
    notes: Vec<Note>,
    /// The position at which the log of each group begins: the last entry that a start has found applied, or the last
    /// one in a copied state that was installed since.
    begins: BTreeMap<usize, LogPosition>,
    /// Whether entries are removed although other members may need them. These members then copy a snapshot instead.
    trims: bool,
    pub(crate) bug: Option<Bug>,
    /// How many starts found that something written was lost.
    pub(crate) torn: u64,
    pub(crate) checkpoints: u64,
}

/// What a start finds.
#[derive(Debug)]
pub(crate) struct Found {
    /// The number of bodies in the journal.
    pub(crate) bodies: u64,
    pub(crate) groups: Vec<FoundGroup>,
}

/// What a start finds of a group.
#[derive(Debug)]
pub(crate) struct FoundGroup {
    /// The hard state and the commit index as they were written.
    pub(crate) promise: (Hard, u64),
    pub(crate) applied: LogPosition,
    digest: u32,
    rest: Vec<(Body, Place)>,
}

impl Journal {
    /// Returns an empty journal.
    pub(crate) fn new(trims: bool, bug: Option<Bug>) -> Self {
        let (disk, notes, begins) = (FakeDisk::default(), Vec::new(), BTreeMap::new());
        Self { disk, open: None, notes, begins, trims, bug, torn: 0, checkpoints: 0 }
    }

    /// Returns another journal with the same content.
    pub(crate) fn copy(&self) -> Self {
        Self { disk: self.disk.copy(), open: None, notes: Vec::new(), begins: BTreeMap::new(), ..*self }
    }

    /// Opens the journal and finds what it has of the groups.
    ///
    /// # Errors
    /// The disk has failed.
    pub(crate) fn start(&mut self, groups: usize) -> io::Result<Found> {
        let dimension = Dimension::new(2).expect("small");
        let node = NodeId::new(1, dimension).expect("below four");
        let identity = Identity { cluster: "dht".to_owned(), dimension, node, copies: Copies::Three };
        let mut states = States((0..groups).map(|_| Applied::default()).collect());
        let opened = opened::open(&self.disk, &identity, SEGMENT, &mut states);
        let Opened { writer, keeper, last, mut groups, mended } = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(matches!(error, OpenError::Io { .. }), "{error}");
                return Err(io::Error::other(error.to_string()));
            }
        };
        assert_eq!(mended, [""; 0], "a crash damages nothing");
        keeper.check();
        self.open = Some((writer, keeper));
        self.begins = (0..states.0.len()).filter_map(|of| Some((of, groups.get(&slot(of))?.applied))).collect();
        let group = |(number, found): (usize, &Applied)| {
            let GroupLog { state, applied, rest, .. } = groups.remove(&slot(number)).unwrap_or_default();
            let MemberState { term, vote, commit, stage, founding } = state;
            let hard = Hard { term: term.into(), vote: MemberId::new(vote), stage, founding };
            assert_eq!(found.count, applied.index, "each entry is applied once");
            FoundGroup { promise: (hard, commit), applied, digest: found.digest, rest }
        };
        Ok(Found { bodies: last.bodies, groups: states.0.iter().enumerate().map(group).collect() })
    }

    /// Stops the process, and the machine if it is one.
    pub(crate) fn crash(&mut self, is_machine: bool, rng: &mut Rng) {
        self.open = None;
        self.notes.clear();
        self.disk.heal();
        if is_machine {
            self.disk.crash(rng);
        }
    }

    /// Appends a record; an entry gets its place.
    ///
    /// # Errors
    /// The disk has failed.
    pub(crate) fn append(&mut self, group: usize, record: &mut Record) -> io::Result<()> {
        let (writer, keeper) = self.open.as_mut().expect("it is open");
        let slot = slot(group);
        match record {
            Record::Promise(hard, commit) => {
                let vote = hard.vote.filter(|_| self.bug != Some(Bug::NoVote)).map_or(0, MemberId::as_u64);
                let Hard { stage, founding, .. } = *hard;
                let state = MemberState { term: term(hard.term), vote, commit: *commit, stage, founding };
                while writer.promise(slot, state).is_err() {
                    turn(writer, keeper)?;
                }
            }
            Record::Entry(Stored { entry, place }) => {
                let LogEntry { index, term, body } = entry.clone();
                let body = Body { slot, index, term: self::term(term), bytes: body };
                *place = loop {
                    match writer.append(&body) {
                        Ok(place) => break place,
                        Err(NoRoom) => turn(writer, keeper)?,
                    }
                };
                self.notes.extend(body.written(*place).note());
            }
        }
        Ok(())
    }

    /// Writes what was appended, without a sync.
    ///
    /// # Errors
    /// The disk has failed.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.open.as_mut().expect("it is open").0.write()
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// The disk has failed.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let (writer, keeper) = self.open.as_mut().expect("it is open");
        if self.bug != Some(Bug::NoSync) {
            writer.sync()?;
        }
        keeper.note(&std::mem::take(&mut self.notes));
        Ok(())
    }

    /// Reads applied entries, with index and term of the one before them.
    pub(crate) fn read(&mut self, group: usize, query: Query) -> ((u64, u64), Vec<LogEntry>) {
        let Query { index, last, bytes_max } = query;
        let (_, keeper) = self.open.as_mut().expect("it is open");
        let mut fetching = keeper.fetch(LogQuery { slot: slot(group), index, last, bytes_max });
        while !keeper.fetch_some(&mut fetching).expect("the disk can be read") {}
        let LogPart { base: (index, term), bodies } = fetching.finish().1;
        ((index, term.into()), bodies.iter().map(log_entry).collect())
    }

    /// Installs a copied state of a group, given index and term of its last entry, and the digest of all its entries.
    /// `ends` is as in [`Self::checkpoint`].
    ///
    /// # Errors
    /// The disk has failed. The next start may find the state installed or not.
    pub(crate) fn install(
        &mut self,
        group: usize,
        (index, term, digest): (u64, u64, u32),
        ends: &[(Option<&Stored>, u32, Option<&Stored>)],
    ) -> io::Result<()> {
        let (end, images) = self.settle(ends)?;
        let (slot, term) = (slot(group), self::term(term));
        let state =
            CopiedState { slot, index, term, topics: topics(index, digest), kept: Vec::new(), void: Vec::new() };
        let (_, keeper) = self.open.as_mut().expect("it is open");
        let end = keeper.install(Taken::default(), end, &state, images)?;
        keeper.check();
        self.begins.insert(group, LogPosition { index, term, end });
        Ok(())
    }

    /// Writes a checkpoint of the groups: of each the last applied entry and the digest of all of them, and the first
    /// entry in the journal that is not applied.
    ///
    /// # Errors
    /// The disk has failed.
    pub(crate) fn checkpoint(&mut self, ends: &[(Option<&Stored>, u32, Option<&Stored>)]) -> io::Result<()> {
        let (end, mut images) = self.settle(ends)?;
        let (_, keeper) = self.open.as_mut().expect("it is open");
        if self.bug == Some(Bug::OtherPosition) {
            let applied = images[0].applied;
            images[0].applied = std::mem::replace(&mut images[1].applied, applied);
        }
        keeper.checkpoint(end, &images)?;
        keeper.check();
        self.checkpoints += 1;
        Ok(())
    }

    /// Makes everything that was appended durable. Returns the end of the log and the states of the groups.
    fn settle(&mut self, ends: &[(Option<&Stored>, u32, Option<&Stored>)]) -> io::Result<(Mark, Vec<Image>)> {
        let image = |(group, (last, digest, open)): (usize, &(Option<&Stored>, u32, Option<&Stored>))| {
            let open = open.filter(|_| self.bug != Some(Bug::OpenNotNeeded)).map(|stored| stored.place);
            // Unless entries are trimmed, a member that is behind may need any of them.
            let needed = (!self.trims).then_some(1);
            let applied = last.map_or_else(LogPosition::default, |stored| self.position_of(group, stored));
            Image { slot: slot(group), applied, open, needed, pinned: None, topics: topics(applied.index, *digest) }
        };
        let images = ends.iter().enumerate().map(image).collect();
        let (writer, keeper) = self.open.as_mut().expect("it is open");
        let end = writer.mark();
        writer.write()?;
        keeper.sync_log(end)?;
        keeper.note(&std::mem::take(&mut self.notes));
        Ok((end, images))
    }

    /// Returns the position of the end of an applied entry.
    fn position_of(&self, group: usize, stored: &Stored) -> LogPosition {
        let LogEntry { index, term, body } = &stored.entry;
        let begin = self.begins.get(&group).filter(|begin| begin.index == *index);
        begin.copied().unwrap_or_else(|| {
            let position = u32::try_from(body.len()).expect("below a segment");
            let end = Place { segment: 0, position }.inside(stored.place);
            LogPosition { index: *index, term: self::term(*term), end }
        })
    }
}

fn turn(writer: &mut Writer<FakeFile>, keeper: &mut Keeper<FakeDisk>) -> io::Result<()> {
    let next = keeper.prepare(writer.mark().place.segment + 1, SEGMENT)?;
    writer.turn_to(next)
}

/// Encodes a state: the number of entries that are applied, and their digest.
fn topics(index: u64, digest: u32) -> Vec<u8> {
    [index.to_be_bytes().as_slice(), &digest.to_be_bytes()].concat()
}

fn slot(group: usize) -> SlotId {
    SlotId::new(u16::try_from(group).expect("few groups"), Slots::MOST).expect("a low slot")
}

fn term(term: u64) -> u32 {
    u32::try_from(term).expect("TERM_MAX")
}

impl FoundGroup {
    /// Checks that this is what the member has written.
    pub(crate) fn check(&self, contents: &Contents) {
        let Self { promise: (_, commit), applied, rest, .. } = self;
        let index = usize::try_from(applied.index).expect("a short log");
        assert!(applied.index >= *commit, "what is committed is applied: {applied:?}, committed {commit}");
        assert_eq!(u64::from(applied.term), contents.term(applied.index), "the term of {applied:?}");
        let expected = contents.log[index..].iter().map(|stored| (&stored.entry, stored.place));
        let rest = || rest.iter().map(|(body, place)| (log_entry(body), *place));
        assert!(rest().eq(expected.map(|(entry, place)| (entry.clone(), place))), "other entries follow {applied:?}");
    }

    /// Returns this as a replica is started with.
    pub(crate) fn restart(self, bug: Option<Bug>) -> Restart {
        let Self { promise: (hard, commit), applied, digest, rest } = self;
        let entries: Vec<LogEntry> = rest.iter().map(|(body, _)| log_entry(body)).collect();
        let last = entries.last().map_or(applied.index, |entry| entry.index);
        // A checkpoint may have more than what was written about the commit index.
        let commit = if bug == Some(Bug::AllCommitted) { last } else { commit.max(applied.index) };
        let base = (applied.index, applied.term.into());
        (Restored { hard, commit, applied: applied.index, base, entries }, Some(digest))
    }
}

fn log_entry(body: &Body) -> LogEntry {
    LogEntry { index: body.index, term: body.term.into(), body: body.bytes.clone() }
}

/// The state of a group: what was applied.
#[derive(Debug, Default)]
struct Applied {
    count: u64,
    digest: u32,
}

/// The states of the groups.
#[derive(Debug)]
struct States(Vec<Applied>);

impl State for States {
    fn membership(&self, slot: SlotId) -> Membership {
        if usize::from(slot.index()) < self.0.len() { Membership::OneOfSeveral } else { Membership::None }
    }

    fn restore(&mut self, slot: SlotId, image: &[u8], _: u32) -> Result<(), DecodeError> {
        let (count, digest) = image.split_first_chunk().ok_or(DecodeError::Malformed)?;
        let digest = digest.try_into().map_err(|_| DecodeError::Malformed)?;
        let state = Applied { count: u64::from_be_bytes(*count), digest: u32::from_be_bytes(digest) };
        self.0[usize::from(slot.index())] = state;
        Ok(())
    }

    fn replay(&mut self, slot: SlotId, entries: Vec<Entry>) -> Vec<Note> {
        let state = &mut self.0[usize::from(slot.index())];
        (state.count, state.digest) = (state.count + 1, fold(state.digest, &entries));
        Vec::new()
    }

    fn kept(&self, _: TopicKey) -> Option<(Offset, Offset)> {
        None
    }

    fn find(&self, _: SlotId, _: &str) -> Option<TopicId> {
        None
    }

    fn topics(&self) -> Vec<TopicKey> {
        Vec::new()
    }
}

/// Returns the digest after the entries of another body were applied.
fn fold(digest: u32, entries: &[Entry]) -> u32 {
    let crcs = entries
        .iter()
        .flat_map(|entry| if let Entry::Publish(batch) = entry { crc32(&batch.payload) } else { 0 }.to_be_bytes());
    crc32_of_parts([digest.to_be_bytes().as_slice(), &[1], &crcs.collect::<Vec<u8>>()])
}

/// Returns the digest after another entry of the log was applied.
pub(crate) fn digest_after(digest: u32, body: &Bytes) -> u32 {
    fold(digest, &entry::decode(body, Place::default()).expect("it was proposed, or is empty"))
}

/// Returns a body with a batch of so many random bytes.
pub(crate) fn body(bytes: usize, rng: &mut Rng) -> Bytes {
    let mut payload = vec![0; bytes];
    payload[..8].copy_from_slice(&rng.u64(..).to_be_bytes());
    let batch = Batch {
        topic: TopicRef::Name("topic".into()),
        producer: None,
        count: 1,
        payload_crc: 0,
        append_us: 1,
        payload: payload.into(),
        place: Place::default(),
    };
    let mut out = Vec::new();
    entry::encode(&mut [Entry::Publish(batch)], &mut out);
    out.into()
}
