//! Starts a node on the journal in a folder. The daemon, the simulator and the tests of the journal share this code.

use std::collections::BTreeSet;
use std::io;

use super::Checkpoints;
use crate::entry::{self, Body, DecodeError, Entry, Note};
use crate::journal::{
    self, Cut, Disk, Identity, Keeper, Mark, OpenError, Salvage, State, Watermark, Watermarked, Writer,
};
use crate::node::Node;
use crate::types::{Offset, Size, SlotId, Slots, TopicId, TopicName};

/// An open journal.
#[derive(Debug)]
pub struct Started<D: Disk> {
    /// Appends to the log, which continues in a fresh segment. Everything before is durable.
    pub writer: Writer<D::File>,
    /// The bookkeeping of segments, indexes and checkpoints.
    pub keeper: Keeper<D>,
    /// The end of the log that was found.
    pub last: Mark,
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
/// `is_lazy` is true when entries will be acknowledged before they are durable.
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
    let is_restored = journal::begin_restore(disk)?;
    let group = identity.node.index();
    let recovered = journal::recover(disk, group, &mut Fresh(node))?;
    node.finish_restore();
    // The watermark is created before the folder is marked as format 2, in which a missing watermark counts as lost.
    let mut watermark =
        Watermark::open(disk).map_err(|cause| OpenError::Io { file: "the watermark".to_owned(), cause })?;
    if is_restored {
        watermark.hold();
    }
    let stamp = journal::raise_format(disk, identity, node.instance())?;
    watermark.set_stamp(stamp);
    let fresh = || format!("the first segment of this start, which takes {}", Size(segment_bytes.into()));
    let io = |cause: io::Error| OpenError::Io { file: fresh(), cause };
    let (mut keeper, last, is_lossy) = (recovered.keeper, recovered.last, recovered.is_lossy);
    keeper.set_stamp(stamp);
    let number = last.place.segment + u32::from(last.place.position > 0);
    let segment = keeper.prepare(number, segment_bytes).map_err(io)?;
    let mut writer = Writer::new(group, is_lazy, last, (segment, watermark));
    if is_restored {
        planted!("restored topics keep their epochs", node.lose_entries_since_backup(), ());
    } else if planted!("lossy start keeps the epochs", is_lossy, false) {
        let mut entries = vec![Entry::RaiseEpochs];
        let mut bytes = Vec::new();
        entry::encode(&mut entries, &mut bytes);
        let Mark { index, term, .. } = writer.mark();
        let slot = SlotId::from_low_bits(group.into(), Slots::MOST);
        let body = Body { slot, index: index + 1, term, bytes: bytes.into() };
        writer.append(&body).expect("a fresh segment has room");
        keeper.note(&node.replay(entries));
    }
    writer.sync().map_err(io)?;
    node.continue_log(writer.mark().index, writer.mark().term);
    let mut kept = recovered.checkpoint;
    if is_restored {
        // The new epochs are in no entry, only in the checkpoint. Once the folder is no longer a backup, a second
        // checkpoint replaces that of the backup, so that no later start falls back to the old epochs.
        let io = |cause: io::Error| OpenError::Io { file: "a checkpoint".to_owned(), cause };
        planted!("restore over before its checkpoint", (), journal::end_restore(disk).map_err(io)?);
        keeper.checkpoint(writer.mark(), &node.image()).map_err(io)?;
        planted!("restore over before its checkpoint", journal::end_restore(disk).map_err(io)?, ());
        writer.release_watermark().map_err(io)?;
        keeper.checkpoint(writer.mark(), &node.image()).map_err(io)?;
        kept = writer.mark();
    }
    let checkpoints = Checkpoints::new(writer.mark(), kept, recovered.image_len);
    let (cut, watermark, mended) = (recovered.cut, recovered.watermark, recovered.mended);
    Ok(Started { writer, keeper, last, checkpoints, is_lossy, is_restored, cut, watermark, mended })
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
    fn restore(&mut self, image: &[u8], version: u32) -> Result<(), DecodeError> {
        self.node.restore(image, version)
    }

    fn kept(&self, topic: TopicId) -> Option<(Offset, Offset)> {
        self.node.kept(topic)
    }

    fn find(&self, name: &str) -> Option<TopicId> {
        self.node.topic(TopicName::new(name).ok()?).map(|topic| topic.id)
    }

    fn topics(&self) -> Vec<TopicId> {
        self.node.topics()
    }

    fn replay(&mut self, entries: Vec<Entry>) -> Vec<Note> {
        match &mut self.stored {
            Some(stored) => self.node.replay_behind_loss(entries, stored),
            None => self.node.replay(entries),
        }
    }
}

impl Salvage for Scratch {
    fn name(&self, topic: TopicId) -> Option<String> {
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

    fn image(&self) -> Vec<u8> {
        self.node.image()
    }
}

/// A fresh node whose state is being restored.
struct Fresh<'n>(&'n mut Node);

impl State for Fresh<'_> {
    fn restore(&mut self, image: &[u8], version: u32) -> Result<(), DecodeError> {
        self.0.restore(image, version)
    }

    fn kept(&self, topic: TopicId) -> Option<(Offset, Offset)> {
        self.0.kept(topic)
    }

    fn find(&self, name: &str) -> Option<TopicId> {
        self.0.topic(TopicName::new(name).ok()?).map(|topic| topic.id)
    }

    fn topics(&self) -> Vec<TopicId> {
        self.0.topics()
    }

    fn replay(&mut self, entries: Vec<Entry>) -> Vec<Note> {
        self.0.replay(entries)
    }
}
