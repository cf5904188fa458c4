//! Large batches: bytes of records a second, beside what the disk takes of writes of the same size.

use std::path::Path;

use crate::clock;
use crate::compare::note;
use crate::contestants::{Contestant, FLOOR, NODE};
use crate::disk::{Folder, Prewritten};
use crate::error::Error;
use crate::load;
use crate::report::Row;
use crate::rounds::{self, Effort};
use crate::syscalls;

/// Records of a batch.
pub(crate) const RECORDS: u32 = 1000;

/// Batches in flight: enough for the next ones to be there when a sync ends.
pub(crate) const WINDOW: usize = 16;

/// How much of the disk's own bandwidth the node is to reach.
const GOAL: f64 = 0.5;

/// The disk's place in a round, behind the servers'.
const DISK: usize = 2;

/// Of a bare server and a node, in this order.
pub(crate) fn rows(servers: &[Contestant], folder: &Folder, effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    let plan = |server: usize| servers[server].plan(RECORDS, 1, WINDOW, effort.seconds);
    let batch_bytes = plan(NODE).batch()?.len();
    let syncs = syscalls::per_request(servers[NODE].pid(), syscalls::SYNCS, &plan(NODE))?;
    let write_bytes = match syncs {
        Some(syncs) if syncs > 0.0 => batch_bytes as f64 / syncs,
        _ => {
            note("syncs were not counted, perf is missing or needs root: the disk gets a whole window at once")?;
            (batch_bytes * WINDOW) as f64
        }
    };
    let megabytes = |rate: f64| rate * batch_bytes as f64 / 1e6;
    let disk = folder.join("disk");
    let rounds = rounds::alternate(effort, DISK + 1, |side| match side {
        DISK => raw(&disk, write_bytes, effort.seconds),
        _ => Ok(megabytes(load::measure(&plan(side), &[])?.rate)),
    })?;
    let (node, floor) = (rounds.pair(DISK, NODE, |rate| *rate), rounds.pair(DISK, FLOOR, |rate| *rate));
    note(&format!(
        "{WINDOW} batches of {RECORDS} in flight: floor {:.0} MB/s, node {:.0}, disk {:.0} by writes of {:.0} KiB; \
         disturbed rounds: {}",
        floor.node,
        node.node,
        node.floor,
        write_bytes / 1024.0,
        rounds.disturbed,
    ))?;
    rows.push(Row::at_least(format!("batches of {RECORDS}, by the disk"), &node, "MB/s", GOAL, &floor));
    Ok(())
}

/// Megabytes a second that are written and synced, so many bytes at once.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the size of a write")]
fn raw(path: &Path, write_bytes: f64, seconds: f64) -> Result<f64, Error> {
    let mut file = Prewritten::make(path)?;
    let bytes = vec![b'x'; write_bytes as usize];
    let start = clock::now();
    let mut stored = 0;
    while start.elapsed().as_secs_f64() < seconds {
        file.store(&bytes)?;
        stored += bytes.len();
    }
    Ok(stored as f64 / start.elapsed().as_secs_f64() / 1e6)
}
