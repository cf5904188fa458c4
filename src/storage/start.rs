//! Starts a node on the journal in a folder. The daemon, the simulator and the tests of the journal share this code.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Checkpoints;
use super::recover::end_restore;
use crate::entry::{self, Body, DecodeError, Entry, LogPosition, MemberState, Note, Place, TopicKey};
use crate::journal::{
    self, Cut, Disk, GroupLog, Identity, Keeper, Mark, Membership, OpenError, Salvage, State, Watermark, Watermarked,
    Writer,
};
use crate::limits::RECOVERY_TERMS;
use crate::node::Node;
use crate::types::{Copies, Offset, Size, SlotId, TopicId, TopicName};

/// An open journal.
#[derive(Debug)]
pub struct Started<D: Disk> {
    /// Appends to the log, which continues in a fresh segment. Everything before is durable.
    pub writer: Writer<D::File>,
    /// The bookkeeping of segments, indexes and checkpoints.
    pub keeper: Keeper<D>,
    /// The end of the log that was found.
    pub last: Mark,
    /// The logs of the node's groups, with what the start has added. The node has the bodies that are not applied.
    pub groups: BTreeMap<SlotId, GroupLog>,
    /// Decides when the next checkpoint is due.
    pub checkpoints: Checkpoints,
    /// True when acknowledged entries may be missing, so that every log begins a new epoch.
    pub is_lossy: bool,
    /// True when the folder was a backup: every log begins a new epoch, and entries after the backup are missing.
    pub is_restored: bool,
    /// The unfinished records at the end of the log that were cut off.
    pub cut: Cut,
    /// The watermark as it was found: how far the log was durable.
    pub watermark: Watermarked,
    /// One line about each lost or damaged file that was replaced or rebuilt.
    pub mended: Vec<String>,
}

/// Restores the state of a fresh node from the folder and continues the log in a new segment of `segment_bytes` bytes.
/// `is_lazy` is true when entries will be acknowledged before they are durable, which a node whose groups have other
/// members must not do.
///
/// # Errors
/// Returns [`OpenError`], which is displayed as one line for the operator.
pub fn start<D: Disk>(
    disk: &D,
    identity: &Identity,
    is_lazy: bool,
    segment_bytes: u32,
    node: &mut Node,
) -> Result<Started<D>, OpenError> {
    journal::claim(disk, identity, node.instance())?;
    let had_others = journal::owner(disk)?.copies == Copies::Three;
    let is_restored = journal::begin_restore(disk)?;
    if is_restored && had_others {
        return Err(OpenError::SharedBackup);
    }
    assert!(!is_lazy || !node.shares_groups(), "other nodes rely on what this one has acknowledged");
    let mut recovered = journal::recover(disk, identity.node, &mut Fresh(node))?;
    node.slots().iter().filter_map(|slot| recovered.groups.get(slot)).try_for_each(check_promises)?;
    node.finish_restore();
    // The watermark is created before the folder is marked as format 2, in which a missing watermark counts as lost.
    let mut watermark =
        Watermark::open(disk).map_err(|cause| OpenError::Io { file: "the watermark".to_owned(), cause })?;
    if is_restored {
        watermark.hold();
    }
    let (stamp, folder) = journal::raise_format(disk, identity, node.instance())?;
    watermark.set_stamp(stamp);
    let fresh = || format!("the first segment of this start, which takes {}", Size(segment_bytes.into()));
    let io = |cause: io::Error| OpenError::Io { file: fresh(), cause };
    let (mut keeper, last) = (recovered.keeper, recovered.last);
    keeper.set_stamp(stamp);
    let number = last.place.segment + u32::from(last.place.position > 0);
    let segment = keeper.prepare(number, segment_bytes).map_err(io)?;
    let mut is_lossy = false;
    for slot in node.slots() {
        let log = recovered.groups.entry(slot).or_insert_with(|| GroupLog::new(recovered.is_lossy));
        if log.is_blank() && node.shares_groups() {
            // A log may lack its end only if it was written while the group had a single member. This group has no log
            // here. Or all of it is lost, which is possible before format 3: then there is no topic whose epoch could
            // be raised.
            log.is_lossy = false;
        } else if !log.state.founding.is_known() {
            log.state = state_alone(log);
        }
        is_lossy |= log.is_lossy;
    }
    let states = recovered.groups.iter().map(|(slot, log)| (*slot, log.state)).collect();
    let mut writer = Writer::new(is_lazy, last, states, (segment, watermark));
    if is_restored {
        planted!("restored topics keep their epochs", node.lose_entries_since_backup(), ());
    } else if planted!("lossy start keeps the epochs", is_lossy, false) {
        for (slot, log) in recovered.groups.iter_mut().filter(|(_, log)| log.is_lossy) {
            let body = raise_epochs(*slot, log);
            let place = writer.append(&body).expect("a fresh segment has room");
            let end = Place { position: u32::try_from(body.bytes.len()).expect("short"), segment: 0 }.inside(place);
            log.applied = LogPosition { index: body.index, term: body.term, end };
            keeper.note(body.written(place).note().as_slice());
            keeper.note(&node.replay(*slot, vec![Entry::RaiseEpochs]));
        }
    }
    writer.sync().map_err(io)?;
    for (slot, log) in &mut recovered.groups {
        node.continue_log((*slot, folder), (log.applied, log.state), std::mem::take(&mut log.rest));
    }
    let mut kept = recovered.checkpoint;
    if is_restored {
        // The new epochs are in no entry, only in the checkpoint.
        end_restore(disk, &mut keeper, &mut writer, node)?;
        kept = writer.mark();
    }
    let checkpoints = Checkpoints::new(writer.mark(), kept, recovered.image_len);
    let (cut, watermark, mended) = (recovered.cut, recovered.watermark, recovered.mended);
    let groups = recovered.groups;
    Ok(Started { writer, keeper, last, groups, checkpoints, is_lossy, is_restored, cut, watermark, mended })
}

/// Returns the state in which a member that is alone in its group continues.
fn state_alone(log: &GroupLog) -> MemberState {
    assert_eq!(log.rest, [], "everything in the log of a group of one member is committed");
    let term = log.state.term.max(log.applied.term).max(1);
    let vote = if term == log.state.term { log.state.vote } else { 0 };
    MemberState { term, vote, commit: log.applied.index, founding: log.state.founding, ..MemberState::default() }
}

/// Checks that the log of a group has everything that its member has acknowledged to the others.
fn check_promises(log: &GroupLog) -> Result<(), OpenError> {
    let MemberState { term, commit, founding, .. } = log.state;
    let last = log.rest.last().map_or((log.applied.index, log.applied.term), |(body, _)| (body.index, body.term));
    if founding.is_known() && last.1 >= term.saturating_add(RECOVERY_TERMS) {
        return Err(OpenError::HalfRecovered);
    }
    if founding.is_known() && (log.is_lossy || last.0 < commit || term < last.1) {
        let why = "it lacks data that this node has acknowledged, and on which other nodes rely";
        return Err(OpenError::Superseded { why });
    }
    Ok(())
}

/// Returns the body that a start appends to the log of a group whose last acknowledged entries may be missing.
fn raise_epochs(slot: SlotId, log: &GroupLog) -> Body {
    let mut bytes = Vec::new();
    entry::encode(&mut [Entry::RaiseEpochs], &mut bytes);
    Body { slot, index: log.applied.index + 1, term: log.state.term, bytes: bytes.into() }
}

/// A node that serves no clients: it only reads the state of a folder, for an inspection or a repair.
#[derive(Debug)]
pub struct Scratch {
    node: Node,
    /// After lost entries: the batches that were applied although earlier batches of their producers are lost. `None`
    /// while no entry is lost.
    stored: Option<BTreeSet<(TopicId, u64, u32, u64)>>,
}

impl Scratch {
    /// Wraps a fresh node.
    pub const fn new(node: Node) -> Self {
        Self { node, stored: None }
    }

    /// Returns the node with the state read so far.
    pub const fn node(&self) -> &Node {
        &self.node
    }
}

impl State for Scratch {
    fn membership(&self, slot: SlotId) -> Membership {
        membership(&self.node, slot)
    }

    fn restore(&mut self, slot: SlotId, image: &[u8], version: u32) -> Result<(), DecodeError> {
        self.node.restore(slot, image, version)
    }

    fn kept(&self, topic: TopicKey) -> Option<(Offset, Offset)> {
        self.node.kept(topic)
    }

    fn find(&self, slot: SlotId, name: &str) -> Option<TopicId> {
        self.node.find(slot, TopicName::new(name).ok()?)
    }

    fn topics(&self) -> Vec<TopicKey> {
        self.node.topics()
    }

    fn replay(&mut self, slot: SlotId, entries: Vec<Entry>) -> Vec<Note> {
        match &mut self.stored {
            Some(stored) => self.node.replay_behind_loss(slot, entries, stored),
            None => self.node.replay(slot, entries),
        }
    }
}

impl Salvage for Scratch {
    fn name(&self, topic: TopicKey) -> Option<String> {
        self.node.name_of(topic).map(str::to_owned)
    }

    fn give_up(&mut self) {
        self.stored.get_or_insert_default();
        self.node.lose_entries();
    }

    fn finish(&mut self) {
        if self.stored.is_some() {
            self.node.forget_producers();
        }
    }

    fn image(&self, slot: SlotId) -> Vec<u8> {
        self.node.image(slot).topics
    }
}

/// A fresh node whose state is being restored.
pub(super) struct Fresh<'n>(pub(super) &'n mut Node);

impl State for Fresh<'_> {
    fn membership(&self, slot: SlotId) -> Membership {
        membership(self.0, slot)
    }

    fn restore(&mut self, slot: SlotId, image: &[u8], version: u32) -> Result<(), DecodeError> {
        self.0.restore(slot, image, version)
    }

    fn kept(&self, topic: TopicKey) -> Option<(Offset, Offset)> {
        self.0.kept(topic)
    }

    fn find(&self, slot: SlotId, name: &str) -> Option<TopicId> {
        self.0.find(slot, TopicName::new(name).ok()?)
    }

    fn topics(&self) -> Vec<TopicKey> {
        self.0.topics()
    }

    fn replay(&mut self, slot: SlotId, entries: Vec<Entry>) -> Vec<Note> {
        self.0.replay(slot, entries)
    }
}

/// Returns whether the node is a member of a group, and whether it is the only one.
fn membership(node: &Node, slot: SlotId) -> Membership {
    match (node.has_group(slot), node.shares_groups()) {
        (false, _) => Membership::None,
        (true, false) => Membership::Alone,
        (true, true) => Membership::OneOfSeveral,
    }
}
