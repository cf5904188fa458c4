//! Large batches: bytes of records per second, compared with the disk's own throughput for writes of the same size.

use crate::compare::note;
use crate::contestants::{Contestant, FLOOR, NODE};
use crate::disk::{Folder, Prewritten};
use crate::error::Error;
use crate::load;
use crate::report::Row;
use crate::rounds::{self, Effort};
use crate::syscalls;

/// Number of records in a batch.
pub(crate) const RECORDS: u32 = 1000;

/// Number of batches in flight: enough that the next ones are available when an fsync ends.
pub(crate) const WINDOW: usize = 16;

/// The share of the disk's own throughput that the node should reach.
const GOAL: f64 = 0.5;

/// The disk's position in a round, after the servers.
const DISK: usize = 2;

/// Adds the row of large batches. `servers` are a bare server and a node, in this order.
pub(crate) fn rows(servers: &[Contestant], folder: &Folder, effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    let plan = |server: usize| servers[server].plan(RECORDS, 1, WINDOW, effort);
    let batch_bytes = plan(NODE).batch()?.len();
    let syncs = syscalls::per_request(servers[NODE].pid(), syscalls::SYNCS, &plan(NODE))?;
    let write_bytes = match syncs {
        Some(syncs) if syncs > 0.0 => whole(batch_bytes as f64 / syncs),
        _ => {
            note("no syncs were counted: perf is missing or needs root; the disk gets a whole window at once")?;
            batch_bytes * WINDOW
        }
    };
    let megabytes = |rate: f64| rate * batch_bytes as f64 / 1e6;
    let mut disk = Prewritten::make(&folder.join("disk"))?;
    let rounds = rounds::alternate(effort, DISK + 1, |side| match side {
        DISK => Ok(disk.stores_a_second(write_bytes, effort.seconds)? * write_bytes as f64 / 1e6),
        _ => Ok(megabytes(load::measure(&plan(side), &[])?.rate)),
    })?;
    let (node, floor) = (rounds.pair(DISK, NODE, |rate| *rate), rounds.pair(DISK, FLOOR, |rate| *rate));
    note(&format!(
        "{WINDOW} batches of {RECORDS} in flight: floor {:.0} MB/s, node {:.0}, disk {:.0} by writes of {} KiB; \
         disturbed rounds: {}",
        floor.node,
        node.node,
        node.floor,
        write_bytes >> 10,
        rounds.disturbed,
    ))?;
    rows.push(Row::at_least(format!("batches of {RECORDS}, by the disk"), &node, "MB/s", GOAL, &floor));
    Ok(())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the size of a write")]
const fn whole(bytes: f64) -> usize {
    bytes as usize
}
