//! Three groups in one log. The test plays what a member of a replicated group does: bodies are committed later than
//! they are written, a new leader replaces those that are not, and a checkpoint finds one group further than another.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use dht_node::entry::{
    self, Body, DecodeError, Entry, Founding, Image, LogPart, LogPosition, LogQuery, MemberState, Note, Place, TopicKey,
};
use dht_node::journal::{
    Disk, GroupLog, Identity, Keeper, Look, Mark, Membership, NoRoom, OpenError, State, Writer, backup, begin_restore,
    end_restore,
};
use dht_node::limits::LOG_ENTRY_BYTES;
use dht_node::node::Node;
use dht_node::types::{Copies, Dimension, NodeId, Offset, SlotId, Slots, TopicId, TopicName};
use fastrand::Rng;

use crate::disk::{FakeDisk, FakeFile};
use crate::model::{self, SEGMENT};
use crate::number;
use crate::opened::{self, Opened};
use crate::records;

const GROUPS: u16 = 3;

/// Number of seeds in an ordinary run.
const SEEDS: u64 = 1000;

fn slots() -> impl Iterator<Item = SlotId> {
    (0..GROUPS).map(slot)
}

pub(crate) fn slot(number: u16) -> SlotId {
    SlotId::new(number, Slots::MOST).unwrap()
}

pub(crate) fn identity() -> Identity {
    let dimension = Dimension::new(2).unwrap();
    let node = NodeId::new(1, dimension).unwrap();
    Identity { cluster: "dht".to_owned(), dimension, node, copies: Copies::One }
}

/// The topics of the groups, each in a node of its own.
#[derive(Debug)]
pub(crate) struct States(BTreeMap<SlotId, Node>);

impl States {
    pub(crate) fn new(memory_bytes: u64) -> Self {
        let node = |slot: SlotId| model::node(slot.index(), Dimension::new(2).unwrap(), memory_bytes);
        Self(slots().map(|slot| (slot, node(slot))).collect())
    }

    /// Returns everything that a client could see of the topics of a group.
    fn seen(&self, slot: SlotId, keeper: Option<&Keeper<FakeDisk>>) -> model::Seen {
        let node = &self.0[&slot];
        let records = model::topics(node).map(|topic| records::of(slot, topic, keeper).unwrap());
        (node.image(slot).topics, records.collect())
    }
}

impl State for States {
    fn membership(&self, slot: SlotId) -> Membership {
        if self.0.contains_key(&slot) { Membership::OneOfSeveral } else { Membership::None }
    }

    fn restore(&mut self, slot: SlotId, image: &[u8], version: u32) -> Result<(), DecodeError> {
        self.0.get_mut(&slot).unwrap().restore(slot, image, version)
    }

    fn kept(&self, topic: TopicKey) -> Option<(Offset, Offset)> {
        self.0[&topic.slot].kept(topic)
    }

    fn find(&self, slot: SlotId, name: &str) -> Option<TopicId> {
        self.0[&slot].find(slot, TopicName::new(name).ok()?)
    }

    fn topics(&self) -> Vec<TopicKey> {
        self.0.values().flat_map(Node::topics).collect()
    }

    fn replay(&mut self, slot: SlotId, entries: Vec<Entry>) -> Vec<Note> {
        self.0.get_mut(&slot).unwrap().replay(slot, entries)
    }
}

/// What is written to the log, in its order.
#[derive(Clone, Debug)]
enum Op {
    Body(Body, Place),
    Promise(SlotId, MemberState),
}

/// The log of a group as it should be.
#[derive(Clone, Debug, Default)]
struct Log {
    bodies: Vec<(Body, Place)>,
    state: MemberState,
}

/// Returns the logs after these operations.
fn logs(ops: &[Op]) -> BTreeMap<SlotId, Log> {
    let mut logs: BTreeMap<SlotId, Log> = slots().map(|slot| (slot, Log::default())).collect();
    for op in ops {
        match op {
            Op::Body(body, place) => {
                let log = &mut logs.get_mut(&body.slot).unwrap().bodies;
                log.truncate(usize::try_from(body.index).unwrap() - 1);
                log.push((body.clone(), *place));
            }
            Op::Promise(slot, state) => logs.get_mut(slot).unwrap().state = *state,
        }
    }
    logs
}

/// A running member of the groups.
struct Member {
    states: States,
    writer: Writer<FakeFile>,
    keeper: Keeper<FakeDisk>,
    ops: Vec<Op>,
    /// Number of operations that are durable. The bodies among them are noted.
    durable: usize,
    /// How many bodies were read back.
    fetched: usize,
    /// From which positions on other members need the logs.
    needed: BTreeMap<SlotId, u64>,
    /// The body from which on a member needs the log that copies the state of that group.
    pinned: Option<(SlotId, u64)>,
    /// The first segment that was within the limit for that at each checkpoint.
    kept_from: u32,
    applied: BTreeMap<SlotId, LogPosition>,
}

impl Member {
    /// Starts on a disk whose log should have these operations, of which so many are durable. Checks what it finds.
    fn start(disk: &FakeDisk, (ops, durable): (&[Op], usize), is_damaged: bool) -> Result<Self, OpenError> {
        let mut states = States::new(MEMORY);
        let Opened { writer, mut keeper, last, groups, mended } =
            opened::open(disk, &identity(), SEGMENT, &mut states)?;
        assert!(is_damaged || mended.is_empty(), "a crash damages nothing: {mended:?}");
        keeper.check();
        keeper.set_log_keep(KEEP);
        let ops = found(ops, durable, last, &groups);
        let applied =
            slots().map(|slot| (slot, groups.get(&slot).map_or_else(LogPosition::default, |log| log.applied)));
        let durable = ops.len();
        let member = Self {
            states,
            writer,
            keeper,
            durable,
            fetched: 0,
            needed: BTreeMap::new(),
            pinned: None,
            kept_from: 0,
            applied: applied.collect(),
            ops,
        };
        member.check();
        Ok(member)
    }

    /// Checks that the topics are those after the applied bodies.
    fn check(&self) {
        let mut expected = States::new(u64::MAX);
        for (slot, log) in logs(&self.ops) {
            let applied = usize::try_from(self.applied[&slot].index).unwrap();
            for (body, place) in &log.bodies[..applied] {
                expected.replay(slot, entry::decode(&body.bytes, *place).unwrap());
            }
            assert!(self.states.seen(slot, Some(&self.keeper)) == expected.seen(slot, None), "{slot:?}");
        }
    }

    /// Continues in the next segment.
    fn turn(&mut self) -> io::Result<()> {
        let next = self.keeper.prepare(self.writer.mark().place.segment + 1, SEGMENT)?;
        self.writer.turn_to(next)?;
        self.note_bodies();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.writer.sync()?;
        self.note_bodies();
        Ok(())
    }

    /// Records that everything is durable.
    fn note_bodies(&mut self) {
        for op in &self.ops[self.durable..] {
            if let Op::Body(body, place) = op {
                self.keeper.note(body.written(*place).note().as_slice());
            }
        }
        self.durable = self.ops.len();
        self.keeper.check();
    }

    /// Appends a body to the log of a group, or, as a new leader does, replaces some that are not committed.
    fn append(&mut self, slot: SlotId, serial: &mut u64, rng: &mut Rng) -> io::Result<()> {
        let log = logs(&self.ops).remove(&slot).unwrap();
        if !log.state.founding.is_known() {
            // While no founding is known, everything in the log counts as committed.
            let founding = Founding { number: 1, disks: [1, 2, 3], last: 0 };
            return self.promise(slot, MemberState { founding, ..log.state });
        }
        let (last, mut term) = (log.bodies.len() as u64, log.bodies.last().map_or(1, |(body, _)| body.term));
        let mut index = last + 1;
        if rng.u8(..4) == 0 && log.state.commit < last {
            index = rng.u64(log.state.commit..last) + 1;
            term += 1;
            self.promise(slot, MemberState { term, vote: rng.u64(..3), ..log.state })?;
        }
        let mut bytes = Vec::new();
        let mut entries = model::entries(rng, &self.states.0[&slot], serial);
        // Groups make topics of the same names, and often with the same ids.
        for (seed, entry) in (index * 100..).zip(&mut entries) {
            if let Entry::Create { seed: of, .. } = entry {
                *of = (seed + u64::from(term) * 1_000_000) << 1;
            }
        }
        entry::encode(&mut entries, &mut bytes);
        let body = Body { slot, index, term, bytes: bytes.into() };
        loop {
            match self.writer.append(&body) {
                Ok(place) => {
                    self.ops.push(Op::Body(body, place));
                    return Ok(());
                }
                Err(NoRoom) => self.turn()?,
            }
        }
    }

    fn promise(&mut self, slot: SlotId, state: MemberState) -> io::Result<()> {
        while self.writer.promise(slot, state).is_err() {
            self.turn()?;
        }
        self.ops.push(Op::Promise(slot, state));
        Ok(())
    }

    /// Commits some of the durable bodies of a group.
    fn commit(&mut self, slot: SlotId, rng: &mut Rng) -> io::Result<()> {
        let durable = logs(&self.ops[..self.durable]).remove(&slot).unwrap().bodies;
        let log = logs(&self.ops).remove(&slot).unwrap();
        let same = durable.iter().zip(&log.bodies).take_while(|(one, other)| one == other).count() as u64;
        if same > log.state.commit {
            let term = log.bodies.last().map_or(1, |(body, _)| body.term);
            let commit = rng.u64(log.state.commit..=same);
            self.promise(slot, MemberState { commit, term, ..log.state })?;
        }
        Ok(())
    }

    /// Applies some of the committed bodies of a group.
    fn apply(&mut self, slot: SlotId, rng: &mut Rng) {
        let log = logs(&self.ops).remove(&slot).unwrap();
        let applied = self.applied[&slot].index;
        for (body, place) in &log.bodies[usize::try_from(applied).unwrap()..] {
            if body.index > log.state.commit || rng.u8(..8) == 0 {
                break;
            }
            let notes = self.states.replay(slot, entry::decode(&body.bytes, *place).unwrap());
            self.keeper.note(&notes);
            self.applied.insert(slot, after(body, *place));
        }
    }

    /// Writes a checkpoint, in which some groups are further than others. Other members are up to a few bodies behind.
    fn checkpoint(&mut self, disk: &FakeDisk, rng: &mut Rng) -> io::Result<()> {
        let logs = logs(&self.ops);
        for (slot, needed) in &mut self.needed {
            *needed = (self.applied[slot].index + 1).saturating_sub(rng.u64(..40)).max(*needed);
        }
        if rng.u8(..4) == 0 {
            // A copy ends, or another one begins.
            let slot = slots().nth(rng.usize(..slots().count())).expect("one of them");
            self.pinned = rng.bool().then(|| (slot, self.applied[&slot].index + 1));
        }
        let pinned = self.pinned;
        let image = |(slot, node): (&SlotId, &Node)| {
            let applied = self.applied[slot];
            let open = logs[slot].bodies.get(usize::try_from(applied.index).unwrap()).map(|(_, place)| *place);
            let needed = self.needed.get(slot).copied();
            let pinned = pinned.filter(|(of, _)| of == slot).map(|(_, index)| index);
            Image { applied, open, needed, pinned, ..node.image(*slot) }
        };
        let images: Vec<Image> = self.states.0.iter().map(image).collect();
        let mark = self.writer.mark();
        self.sync()?;
        self.kept_from = self.kept_from.max(self.first_kept(disk));
        self.keeper.sync_log(mark)?;
        self.keeper.checkpoint(mark, &images)?;
        self.keeper.check();
        self.check_kept(disk);
        Ok(())
    }

    /// Returns the first segment that is within the limit for what is kept.
    fn first_kept(&self, disk: &FakeDisk) -> u32 {
        let places = self.ops.iter().filter_map(|op| if let Op::Body(_, place) = op { Some(*place) } else { None });
        let sizes: BTreeMap<u32, u64> =
            places.filter_map(|it| Some((it.segment, disk.size(&name(it)).ok()?))).collect();
        let mut bytes = 0;
        let fits = |(_, size): &(&u32, &u64)| {
            bytes += **size;
            bytes <= KEEP
        };
        sizes.iter().rev().take_while(fits).last().map_or(u32::MAX, |(number, _)| *number)
    }

    /// Checks that the disk has what others need of the log, within the limit.
    fn check_kept(&self, disk: &FakeDisk) {
        for (slot, log) in logs(&self.ops) {
            if let Some((_, pinned)) = self.pinned.filter(|(of, _)| *of == slot) {
                for (body, place) in log.bodies.iter().filter(|(body, _)| body.index >= pinned) {
                    assert!(disk.open(&name(*place)).is_ok(), "{slot:?}: body {} in {place:?} is pinned", body.index);
                }
            }
            let Some(needed) = self.needed.get(&slot) else { continue };
            // Of the body before the first one, the term is needed.
            let first = usize::try_from(needed.saturating_sub(2)).unwrap();
            for (body, place) in log.bodies.iter().skip(first).filter(|(_, place)| place.segment >= self.kept_from) {
                let is_there = disk.open(&name(*place)).is_ok();
                assert!(is_there, "{slot:?}: body {} in {place:?}, from {needed} on", body.index);
            }
        }
    }

    fn clean(&mut self) -> io::Result<()> {
        let Look::Dirty(mut run) = self.keeper.look_for_dirt(true, SEGMENT)? else { return Ok(()) };
        while !self.keeper.clean_some(&mut run).map_err(io::Error::other)? {}
        self.keeper.finish_cleaning(&mut run).map(drop)
    }

    /// Reads applied bodies of a group back, and checks that they are those that were written last.
    fn fetch(&mut self, slot: SlotId, disk: &FakeDisk, rng: &mut Rng) {
        let log = logs(&self.ops).remove(&slot).unwrap().bodies;
        let last = self.applied[&slot].index;
        if last == 0 {
            return;
        }
        let (index, bytes_max) = (rng.u64(..last), rng.usize(..30 * LOG_ENTRY_BYTES));
        let LogPart { base, bodies } = fetch(&mut self.keeper, LogQuery { slot, index, last, bytes_max }).unwrap();
        let at = usize::try_from(index).unwrap();
        let is_there = |place: Place| disk.open(&name(place)).is_ok();
        let mut bytes = 0;
        let fits = |(nth, (body, _)): &(usize, &(Body, Place))| {
            bytes += body.bytes.len() + LOG_ENTRY_BYTES;
            *nth == 0 || bytes <= bytes_max
        };
        let wanted = log[at..usize::try_from(last).unwrap()].iter().enumerate().take_while(fits);
        let there: Vec<&Body> =
            wanted.map(|(_, it)| it).take_while(|(_, place)| is_there(*place)).map(|(body, _)| body).collect();
        let before = at.checked_sub(1).map(|before| &log[before]);
        if bodies.is_empty() {
            let is_gone = there.is_empty() || before.is_some_and(|(_, place)| !is_there(*place));
            assert!(is_gone, "{slot:?} after {index}");
            assert_eq!(base, (index, 0));
        } else {
            assert!(bodies.iter().eq(there), "{slot:?} after {index}: {bodies:?}");
            assert_eq!(base, (index, before.map_or(0, |(body, _)| body.term)));
        }
        self.fetched += bodies.len();
    }

    fn step(&mut self, disk: &FakeDisk, serial: &mut u64, rng: &mut Rng) -> io::Result<()> {
        let slot = slot(rng.u16(..GROUPS));
        match rng.u8(..18) {
            0..7 => self.append(slot, serial, rng)?,
            7..10 => self.sync()?,
            10..12 => self.commit(slot, rng)?,
            12..14 => self.apply(slot, rng),
            14 => self.checkpoint(disk, rng)?,
            15 => self.clean()?,
            _ => self.fetch(slot, disk, rng),
        }
        Ok(())
    }
}

/// Bytes of segments that are kept for other members.
const KEEP: u64 = 4 * SEGMENT as u64;

/// Returns the file with this place of the log.
fn name(place: Place) -> String {
    format!("{:010}.log", place.segment)
}

/// Answers a query for bodies.
pub(crate) fn fetch(keeper: &mut Keeper<FakeDisk>, query: LogQuery) -> Result<LogPart, OpenError> {
    let mut fetching = keeper.fetch(query);
    while !keeper.fetch_some(&mut fetching)? {}
    let (of, part) = fetching.finish();
    assert_eq!(of, query);
    Ok(part)
}

/// The memory limit in bytes: so small that most records are only in the journal.
const MEMORY: u64 = 8 << 10;

fn after(body: &Body, place: Place) -> LogPosition {
    let end = Place { segment: 0, position: u32::try_from(body.bytes.len()).unwrap() }.inside(place);
    LogPosition { index: body.index, term: body.term, end }
}

/// Checks that what a start has found is the result of the durable operations and of some that follow them. Returns
/// these.
fn found(ops: &[Op], durable: usize, last: Mark, groups: &BTreeMap<SlotId, GroupLog>) -> Vec<Op> {
    let is_body = |op: &&Op| matches!(op, Op::Body(..));
    let is_found = |count: &usize| {
        ops[..*count].iter().filter(is_body).count() as u64 == last.bodies
            && logs(&ops[..*count])
                .iter()
                .all(|(slot, log)| groups.get(slot).map_or_else(MemberState::default, |group| group.state) == log.state)
    };
    let count = (durable..=ops.len()).rev().find(is_found);
    let ops = &ops[..count.expect("what is found is a beginning of what was written")];
    for (slot, log) in logs(ops) {
        let group = groups.get(&slot).cloned().unwrap_or_default();
        let applied = usize::try_from(group.applied.index).unwrap();
        assert!(group.applied.index >= log.state.commit.min(log.bodies.len() as u64), "what is committed is applied");
        assert_eq!(group.rest, log.bodies[applied..], "{slot:?}");
        if let Some((body, place)) = log.bodies[..applied].last() {
            assert_eq!(group.applied, after(body, *place));
        }
    }
    ops.to_vec()
}

/// Runs and crashes a member several times on one disk. Returns how many bodies were found that were not committed, and
/// how many were read back.
fn run(seed: u64) -> (u64, usize) {
    let mut rng = Rng::with_seed(seed);
    let (disk, mut ops, mut durable, mut serial) = (FakeDisk::default(), Vec::new(), 0, 0);
    let (mut open, mut fetched) = (0, 0);
    let mut kept_from = 0;
    let mut needed: BTreeMap<SlotId, u64> = slots().filter(|_| rng.bool()).map(|slot| (slot, 1)).collect();
    for _ in 0..rng.usize(2..8) {
        if rng.u8(..3) > 0 {
            disk.stop_after(rng.u64(..400));
        }
        match Member::start(&disk, (&ops, durable), false) {
            Ok(mut member) => {
                (member.needed, member.kept_from) = (needed, kept_from);
                let applied: u64 = member.applied.values().map(|applied| applied.index).sum();
                open += logs(&member.ops).values().map(|log| log.bodies.len() as u64).sum::<u64>() - applied;
                let done = (0..rng.usize(1..80)).try_for_each(|_| member.step(&disk, &mut serial, &mut rng));
                fetched += member.fetched;
                assert!(done.is_ok() || disk.has_stopped(), "{done:?}");
                member.check();
                (ops, durable) = (member.ops, member.durable);
                (needed, kept_from) = (member.needed, member.kept_from);
            }
            Err(error) => assert!(disk.has_stopped(), "{error}"),
        }
        disk.crash(&mut rng);
    }
    (open, fetched)
}

#[test]
fn each_group_is_what_is_committed_of_it_after_any_crash() {
    let (start, count) = (number("JOURNAL_START").unwrap_or(1), number("JOURNAL_SEEDS").unwrap_or(SEEDS));
    let open = (start..start + count).map(|seed| {
        let found = catch_unwind(AssertUnwindSafe(|| run(seed)));
        found.unwrap_or_else(|panic| {
            println!(
                "seed {seed}; to repeat: JOURNAL_START={seed} JOURNAL_SEEDS=1 cargo test --test journal each_group"
            );
            resume_unwind(panic)
        })
    });
    let (open, fetched) = open.fold((0, 0), |(open, fetched), (more, read)| (open + more, fetched + read));
    assert!(count < SEEDS || open > count, "{open} bodies were found that were not known to be committed");
    assert!(count < SEEDS || fetched as u64 > count, "{fetched} bodies were read back");
}

#[test]
fn a_lost_index_is_rebuilt_although_the_checkpoint_finds_one_group_further_than_another() {
    let mut rebuilt = 0;
    for seed in 0..200 {
        let (disk, mut rng, mut serial) = (FakeDisk::default(), Rng::with_seed(seed), 0);
        let mut member = Member::start(&disk, (&[], 0), false).unwrap();
        (0..rng.usize(50..300)).for_each(|_| member.step(&disk, &mut serial, &mut rng).unwrap());
        member.checkpoint(&disk, &mut rng).unwrap();
        member.writer.finish().unwrap();
        let indexes: Vec<String> =
            disk.files().into_iter().map(|(name, _)| name).filter(|it| it.ends_with(".index")).collect();
        let Some(name) = indexes.get(rng.usize(..indexes.len().max(1))) else { continue };
        disk.remove(name).unwrap();
        let again = Member::start(&disk, (&member.ops, member.ops.len()), true).unwrap();
        rebuilt += usize::from(again.applied.values().any(|applied| applied.index > 0));
    }
    assert!(rebuilt > 100, "{rebuilt}");
}

#[test]
fn a_backup_has_all_groups_as_they_were() {
    for seed in 0..50 {
        let (disk, target, mut rng, mut serial) = (FakeDisk::default(), FakeDisk::default(), Rng::with_seed(seed), 0);
        let mut member = Member::start(&disk, (&[], 0), false).unwrap();
        for _ in 0..3 {
            (0..rng.usize(50..150)).for_each(|_| member.step(&disk, &mut serial, &mut rng).unwrap());
            member.sync().unwrap();
            backup(&disk, &target).unwrap();
            let copy = target.copy();
            assert!(begin_restore(&copy).unwrap());
            end_restore(&copy).unwrap();
            let restored = Member::start(&copy, (&member.ops, member.durable), false).unwrap();
            let again = Member::start(&disk.copy(), (&member.ops, member.durable), false).unwrap();
            assert_eq!(restored.applied, again.applied);
        }
    }
}

/// Returns a member with a checkpoint that finds one group behind another, which has bodies in later segments. Returns
/// `None` if that did not come about.
fn behind(disk: &FakeDisk, seed: u64) -> Option<Member> {
    let (mut rng, mut serial) = (Rng::with_seed(seed), 0);
    let mut member = Member::start(disk, (&[], 0), false).unwrap();
    (0..rng.usize(50..300)).for_each(|_| member.step(disk, &mut serial, &mut rng).unwrap());
    member.checkpoint(disk, &mut rng).unwrap();
    member.writer.finish().unwrap();
    let logs = logs(&member.ops);
    let open =
        logs.iter().filter_map(|(slot, log)| log.bodies.get(usize::try_from(member.applied[slot].index).unwrap()));
    let open = open.map(|(_, place)| place.segment).min()?;
    let last = member.applied.values().map(|applied| applied.end.segment).max()?;
    (open < last).then_some(member)
}

#[test]
fn a_lost_segment_is_detected_although_the_checkpoint_needs_only_earlier_ones() {
    let mut lost = 0;
    for seed in 0..200 {
        let disk = FakeDisk::default();
        let Some(member) = behind(&disk, seed) else { continue };
        disk.remove(&name(member.writer.mark().place)).unwrap();
        disk.remove("watermark").unwrap();
        let error = Member::start(&disk, (&member.ops, 0), true).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "seed {seed}: {error}");
        lost += 1;
    }
    assert!(lost > 20, "{lost}");
}
