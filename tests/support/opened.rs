//! Opens a journal whose log has several groups, as a node that is a member of them does.

use std::collections::BTreeMap;
use std::io;

use dht_node::journal::{
    GroupLog, Identity, Keeper, Mark, OpenError, Recovered, State, Watermark, Writer, claim, raise_format, recover,
};
use dht_node::types::SlotId;

use crate::disk::{FakeDisk, FakeFile};

/// An open journal.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) writer: Writer<FakeFile>,
    pub(crate) keeper: Keeper<FakeDisk>,
    /// The end of the log that was found.
    pub(crate) last: Mark,
    pub(crate) groups: BTreeMap<SlotId, GroupLog>,
    pub(crate) mended: Vec<String>,
}

/// Recovers the journal on a disk into empty states, and continues the log in a segment of `segment_bytes`. Everything
/// that is found is durable then.
pub(crate) fn open(
    disk: &FakeDisk,
    identity: &Identity,
    segment_bytes: u32,
    states: &mut impl State,
) -> Result<Opened, OpenError> {
    claim(disk, identity, 1 << 16)?;
    let Recovered { mut keeper, last, groups, mended, .. } = recover(disk, identity.node, states)?;
    let io = |cause: io::Error| OpenError::Io { file: "a test".to_owned(), cause };
    let mut watermark = Watermark::open(disk).map_err(io)?;
    let (stamp, _) = raise_format(disk, identity, 1 << 16)?;
    watermark.set_stamp(stamp);
    keeper.set_stamp(stamp);
    let number = last.place.segment + u32::from(last.place.position > 0);
    let segment = keeper.prepare(number, segment_bytes).map_err(io)?;
    let promised = groups.iter().map(|(slot, log)| (*slot, log.state)).collect();
    let mut writer = Writer::new(false, last, promised, (segment, watermark));
    writer.sync().map_err(io)?;
    Ok(Opened { writer, keeper, last, groups, mended })
}
