//! Recovers groups from the folder of one of their members, while its node is stopped: after the loss of the two other
//! disks, or of all folders, which were then restored from backups of different times.
//!
//! The member forgets the founding of the group, and counts its whole log as committed. A last body begins a new epoch
//! of each topic, so that readers learn that records may be missing. When the node starts and the other members have
//! nothing, it founds the group with this log (`replica/join.rs`). The other groups of the folder stay as they are;
//! but if the folder is a backup, its copies of them are dropped, because the members may have promised more since.
//!
//! **What a crash leaves.** The body is written before the state that makes the member forget the founding. A start
//! that finds only the body refuses the folder until the recovery is repeated. In a backup, the new state of the groups
//! is part of the restore, which is repeated as well.

use std::fmt;
use std::io;

use super::start::Fresh;
use crate::entry::{self, Body, Entry, Founding, LogPosition, MemberState, Place, Stage};
use crate::journal::{self, Disk, GroupLog, Identity, Keeper, Mark, OpenError, Recovered, Watermark, Writer};
use crate::limits::{RECOVERY_TERMS, SEGMENT_BYTES_FIRST, TERM_MAX};
use crate::node::Node;
use crate::types::{Copies, SlotId};

/// What is to be recovered.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The slots whose groups are to be founded anew from the folder.
    pub slots: Vec<SlotId>,
    /// True if a copy may be used that is known to be incomplete, because it had not caught up with the others.
    pub takes_incomplete: bool,
    /// The wall time in microseconds since 1970. Each recovery of a group must have a later one.
    pub at_us: u64,
}

/// What was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anew {
    /// True if the folder was a backup.
    pub was_backup: bool,
    /// The groups that are founded anew from the folder.
    pub groups: Vec<AnewGroup>,
    /// The slots of the other groups of which the folder had a copy: these copies were dropped from a backup, and are
    /// unchanged otherwise.
    pub others: Vec<SlotId>,
}

/// A group that is founded anew from a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnewGroup {
    /// The slot.
    pub slot: SlotId,
    /// The number of its topics.
    pub topics: usize,
    /// How many bodies its log had.
    pub bodies: u64,
    /// How many of them this member did not know to be committed.
    pub unsettled: u64,
    /// True if the copy was known to be incomplete.
    pub is_incomplete: bool,
}

/// Why nothing was recovered. Displayed as one line for the operator.
#[derive(Debug)]
pub enum RecoverError {
    /// The folder cannot be read or written.
    Open(OpenError),
    /// The folder has the only copy of its topics.
    OneCopy,
    /// The node keeps no topics of this slot.
    NotKept(SlotId),
    /// The folder has no copy of this group.
    NoCopy(SlotId),
    /// The group has not been founded, or has been recovered already.
    NotNeeded(SlotId),
    /// The copy of this group is known to be incomplete.
    Incomplete(SlotId),
    /// The term of this group is so high that no recovery is possible any more.
    TermTooHigh(SlotId),
}

impl From<OpenError> for RecoverError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::OneCopy => {
                f.write_str("it has the only copy of its topics, so there is nothing to recover; start the node")
            }
            Self::NotKept(slot) => write!(f, "its node keeps no topics of slot {}", slot.index()),
            Self::NoCopy(slot) => {
                write!(f, "it has no copy of slot {}; recover the slot from another node's folder", slot.index())
            }
            Self::NotNeeded(slot) => write!(
                f,
                "slot {} needs no recovery: it waits for the other two nodes, which must have empty folders; start all \
                 three",
                slot.index()
            ),
            Self::Incomplete(slot) => write!(
                f,
                "its copy of slot {} is incomplete: it was still being filled from the other nodes; recover the slot from \
                 another node's folder, or give --incomplete to use what there is",
                slot.index()
            ),
            Self::TermTooHigh(slot) => write!(f, "the term of slot {} is impossible", slot.index()),
        }
    }
}

/// Recovers groups from a folder that no process uses, into `node`, a fresh node that serves nobody. Changes nothing if
/// it returns an error other than one of the file system, except that it cuts what a crash has torn, like a start.
///
/// # Errors
/// Returns [`RecoverError`].
pub fn recover<D: Disk>(disk: &D, identity: &Identity, plan: &Plan, node: &mut Node) -> Result<Anew, RecoverError> {
    if identity.copies == Copies::One {
        return Err(RecoverError::OneCopy);
    }
    let was_backup = journal::begin_restore(disk)?;
    let mut recovered = journal::recover(disk, identity.node, &mut Fresh(node))?;
    for slot in &plan.slots {
        check(*slot, recovered.groups.get(slot), plan, was_backup, node)?;
    }
    let groups =
        plan.slots.iter().map(|slot| apply_rest(*slot, &mut recovered, node)).collect::<Result<Vec<_>, _>>()?;
    let (mut writer, folder) = begin_log(disk, identity, was_backup, &mut recovered)?;
    let others = node.slots().into_iter().filter(|slot| !plan.slots.contains(slot));
    let has_copy = |slot: &SlotId| recovered.groups.get(slot).is_some_and(|log| !log.is_blank());
    let others: Vec<SlotId> = others.filter(has_copy).collect();
    for slot in &plan.slots {
        let log = recovered.groups.get_mut(slot).expect("it was checked");
        begin_anew(*slot, log, plan.at_us, (&mut writer, &mut recovered.keeper, node))?;
    }
    let io = |cause| OpenError::Io { file: "the first segment of the recovery".to_owned(), cause };
    if was_backup {
        let to_drop = planted!("copies in a recovered backup stay", others.as_slice(), &[]);
        for slot in to_drop {
            node.forget_group(*slot);
            let log = recovered.groups.get_mut(slot).expect("it has a copy");
            *log = GroupLog { state: dropped(log.state.founding), ..GroupLog::default() };
            writer.promise(*slot, log.state).expect("a fresh segment has room");
            recovered.keeper.drop_group(*slot);
        }
        writer.sync().map_err(io)?;
        for (slot, log) in &recovered.groups {
            node.continue_log((*slot, folder), (log.applied, log.state), Vec::new());
        }
        end_restore(disk, &mut recovered.keeper, &mut writer, node)?;
    }
    writer.finish().map_err(io)?;
    Ok(Anew { was_backup, groups, others })
}

/// Ends the restore of a backup. The first checkpoint has the new state of the groups; the second one replaces that of
/// the backup, so that no later start falls back to it.
pub(super) fn end_restore<D: Disk>(
    disk: &D,
    keeper: &mut Keeper<D>,
    writer: &mut Writer<D::File>,
    node: &Node,
) -> Result<(), OpenError> {
    let io = |cause: io::Error| OpenError::Io { file: "a checkpoint".to_owned(), cause };
    planted!("restore over before its checkpoint", (), journal::end_restore(disk).map_err(io)?);
    keeper.checkpoint(writer.mark(), &node.images()).map_err(io)?;
    planted!("restore over before its checkpoint", journal::end_restore(disk).map_err(io)?, ());
    writer.release_watermark().map_err(io)?;
    keeper.checkpoint(writer.mark(), &node.images()).map_err(io)
}

/// Checks that a group can be founded anew from its log, and that it needs that.
fn check(slot: SlotId, log: Option<&GroupLog>, plan: &Plan, was_backup: bool, node: &Node) -> Result<(), RecoverError> {
    if !node.has_group(slot) {
        return Err(RecoverError::NotKept(slot));
    }
    let log = log.filter(|log| !log.is_blank()).ok_or(RecoverError::NoCopy(slot))?;
    if !log.state.founding.is_known() && !was_backup {
        return Err(RecoverError::NotNeeded(slot));
    }
    if log.state.stage != Stage::Full && !plan.takes_incomplete {
        return Err(RecoverError::Incomplete(slot));
    }
    if u64::from(term_of(log)) + 2 * u64::from(RECOVERY_TERMS) > TERM_MAX {
        return Err(RecoverError::TermTooHigh(slot));
    }
    Ok(())
}

fn term_of(log: &GroupLog) -> u32 {
    log.state.term.max(log.applied.term)
}

/// Applies the bodies of a group of which it is not known whether they are committed.
fn apply_rest<D: Disk>(slot: SlotId, recovered: &mut Recovered<D>, node: &mut Node) -> Result<AnewGroup, OpenError> {
    let log = recovered.groups.get_mut(&slot).expect("it was checked");
    let unsettled = log.rest.len() as u64;
    for (body, place) in std::mem::take(&mut log.rest) {
        let malformed = || OpenError::Damaged {
            file: format!("segment {}", place.segment),
            position: place.position.into(),
            what: "its entries cannot be decoded",
        };
        let entries = entry::decode(&body.bytes, place).map_err(|_| malformed())?;
        recovered.keeper.note(&node.replay(slot, entries));
        log.applied = after(&body, place);
    }
    let (topics, is_incomplete) = (node.topics_of(slot).len(), log.state.stage != Stage::Full);
    Ok(AnewGroup { slot, topics, bodies: log.applied.index, unsettled, is_incomplete })
}

/// Returns the position in the log after a body, which lies at `place`.
fn after(body: &Body, place: Place) -> LogPosition {
    let end = Place { position: u32::try_from(body.bytes.len()).expect("a body is short"), segment: 0 }.inside(place);
    LogPosition { index: body.index, term: body.term, end }
}

/// Continues the log in a fresh segment, with the states of the members as they are. Returns the id of the folder, too.
fn begin_log<D: Disk>(
    disk: &D,
    identity: &Identity,
    was_backup: bool,
    recovered: &mut Recovered<D>,
) -> Result<(Writer<D::File>, u64), OpenError> {
    let io = |file: &'static str| move |cause| OpenError::Io { file: file.to_owned(), cause };
    let mut watermark = Watermark::open(disk).map_err(io("the watermark"))?;
    if was_backup {
        watermark.hold();
    }
    let (stamp, folder) = journal::raise_format(disk, identity, 0)?;
    watermark.set_stamp(stamp);
    recovered.keeper.set_stamp(stamp);
    let Mark { place: last, .. } = recovered.last;
    let number = last.segment + u32::from(last.position > 0);
    let prepared = recovered.keeper.prepare(number, SEGMENT_BYTES_FIRST);
    let segment = prepared.map_err(io("the first segment of the recovery"))?;
    let states = recovered.groups.iter().map(|(slot, log)| (*slot, log.state)).collect();
    Ok((Writer::new(false, recovered.last, states, (segment, watermark)), folder))
}

/// Appends the body that begins a new epoch of all topics, and then the state of a member that knows no founding.
fn begin_anew<D: Disk>(
    slot: SlotId,
    log: &mut GroupLog,
    at_us: u64,
    (writer, keeper, node): (&mut Writer<D::File>, &mut Keeper<D>, &mut Node),
) -> Result<(), OpenError> {
    let term = term_of(log) + RECOVERY_TERMS;
    let mut bytes = Vec::new();
    let entry = planted!("recovery keeps the epochs", Entry::BeginEpochs { at_us }, Entry::BeginEpochs { at_us: 0 });
    entry::encode(&mut [entry.clone()], &mut bytes);
    let body = Body { slot, index: log.applied.index + 1, term, bytes: bytes.into() };
    let second = u32::try_from(at_us / 1_000_000).unwrap_or(u32::MAX);
    let number = log.state.founding.number.saturating_add(1).max(second);
    let founding = Founding { number, ..Founding::default() };
    let state = MemberState { term, commit: body.index, founding, ..MemberState::default() };
    let promise = |writer: &mut Writer<D::File>| writer.promise(slot, state).expect("a fresh segment has room");
    planted!("founding forgotten before the epochs begin", (), promise(writer));
    let place = writer.append(&body).expect("a fresh segment has room");
    keeper.note(body.written(place).note().as_slice());
    keeper.note(&node.replay(slot, vec![entry]));
    (log.applied, log.state) = (after(&body, place), state);
    promise(writer);
    Ok(())
}

/// Returns the state of a member whose copy was dropped: it remembers the number of the founding, in which it must not
/// take part as if it had promised nothing.
fn dropped(Founding { number, .. }: Founding) -> MemberState {
    MemberState { founding: Founding { number, ..Founding::default() }, ..MemberState::default() }
}
