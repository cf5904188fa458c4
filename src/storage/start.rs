//! A start on what a folder holds: one way for the daemon, the simulator and the journal's own tests.

use std::io;

use crate::journal::{self, Disk, Found, Identity, Keeper, Mark, OpenError, Writer};
use crate::node::Node;
use crate::record::{Entry, Malformed, Note};

/// A journal that is open.
#[derive(Debug)]
pub struct Started<D: Disk> {
    /// The end of the log, in a fresh segment, all of it safe.
    pub writer: Writer<D::File>,
    /// The books.
    pub keeper: Keeper<D>,
    /// Where the log ended.
    pub last: Mark,
    /// Where the newest checkpoint was made.
    pub checkpoint: Mark,
    /// May acknowledged entries be missing, so that every log begins a new epoch?
    pub is_lossy: bool,
    /// Bytes at the end that a crash had left unfinished.
    pub cut: u64,
}

/// Gives a fresh node what the folder holds and opens the log behind it, in a segment of so many bytes. `is_lazy` says
/// that what will be acknowledged may not be safe.
///
/// # Errors
/// [`OpenError`]: one line for who started the node.
pub fn start<D: Disk>(
    disk: &D,
    identity: &Identity,
    is_lazy: bool,
    segment_bytes: u32,
    node: &mut Node,
) -> Result<Started<D>, OpenError> {
    journal::claim(disk, identity)?;
    let group = identity.node.index();
    let recovered = journal::recover(disk, group, &mut |found| take_in(node, found))?;
    let damaged = |Malformed| OpenError::Damaged {
        file: "the newest checkpoint".to_owned(),
        position: 0,
        what: "it has records that no segment has",
    };
    node.finish_restore().map_err(damaged)?;
    let io = |cause: io::Error| OpenError::Io { file: "a fresh segment".to_owned(), cause };
    let (mut keeper, last, is_lossy) = (recovered.keeper, recovered.last, recovered.is_lossy);
    let number = last.place.segment + u32::from(last.place.position > 0);
    let segment = keeper.prepare(number, segment_bytes).map_err(io)?;
    let mut writer = Writer::new(group, is_lazy, last, segment);
    if is_lossy {
        let mut raise = vec![Entry::RaiseEpochs];
        writer.append(&mut raise).expect("a fresh segment has room");
        keeper.note(&node.replay(raise));
    }
    writer.sync().map_err(io)?;
    Ok(Started { writer, keeper, last, checkpoint: recovered.checkpoint, is_lossy, cut: recovered.cut })
}

/// Gives a node what was found, and the journal what became of it.
fn take_in(node: &mut Node, found: Found) -> Result<Vec<Note>, Malformed> {
    match found {
        Found::Image(image) => node.restore(&image).map(|()| Vec::new()),
        Found::Chunk(filed, payload) => {
            let is_kept = node.restore_records(&filed, payload)?;
            Ok(if is_kept { vec![Note::Stored(filed)] } else { Vec::new() })
        }
        Found::Entries(entries) => Ok(node.replay(entries)),
    }
}
