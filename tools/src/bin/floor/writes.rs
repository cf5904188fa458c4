//! Bytes that are written for a byte of records that the node stores: while its journal grows, each segment being
//! filled with zeros first, and when dead segments are used again.
//!
//! Two figures say it, and both say too much. The kernel charges a process whole folios each time that they become
//! dirty, and a file that was written in large pieces has large ones; the device counts what everybody writes, and what
//! the file system does for itself. So the lesser one is taken, and the median of several fresh nodes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::batches::{RECORDS, WINDOW};
use crate::clock;
use crate::compare::note;
use crate::contestants::{self, Contestant};
use crate::disk::Folder;
use crate::error::Error;
use crate::load;
use crate::process;
use crate::report::Row;
use crate::rounds::Effort;
use crate::stats::Spread;

/// What the topic keeps, so that nothing is dead while the first figure is taken; well below a node's memory.
const KEPT_BYTES: u64 = 640 << 20;

/// Bytes of records when the first figure is taken, when segments are surely used again, and at the end.
const FRESH_BYTES: u64 = 512 << 20;
const STEADY_BYTES: u64 = 1024 << 20;
const END_BYTES: u64 = 1536 << 20;

const FRESH_GOAL: f64 = 2.3;
const STEADY_GOAL: f64 = 1.3;

/// Nodes that the figures are medians of.
const NODES: usize = 5;

/// Of one load; what goes beyond a mark is not much more than it brings.
const LOAD_SECONDS: f64 = 0.1;

/// The node has nothing left to write when its figure stands still for so long.
const QUIET: Duration = Duration::from_millis(500);

/// Of fresh nodes, one after the other.
pub(crate) fn rows(program: &Path, base_port: u16, folder: &Folder, rows: &mut Vec<Row>) -> Result<(), Error> {
    let data = folder.join("writes");
    let (mut fresh, mut steady) = (Vec::new(), Vec::new());
    for _ in 0..NODES {
        let node = contestants::start_node(program, base_port, &data, KEPT_BYTES)?;
        let mut publisher = Publisher { node: &node, folder, stored: 0 };
        let marks = [publisher.until(0)?, publisher.until(FRESH_BYTES)?];
        fresh.push(written_a_byte("first bytes", marks)?);
        let marks = [publisher.until(STEADY_BYTES)?, publisher.until(END_BYTES)?];
        steady.push(written_a_byte("segments used again", marks)?);
        drop(node);
        fs::remove_dir_all(&data)?;
    }
    for (name, figures, goal) in [("first bytes", fresh, FRESH_GOAL), ("segments used again", steady, STEADY_GOAL)] {
        let median = Spread::of(figures).median;
        rows.push(Row::absolute(&format!("written a byte, {name}"), None, Some(median), "", goal));
    }
    Ok(())
}

/// Between two marks.
fn written_a_byte(name: &str, [from, to]: [Bytes; 2]) -> Result<f64, Error> {
    let (stored, process) = (to.stored - from.stored, to.process - from.process);
    let device = to.device.zip(from.device).map(|(to, from)| to - from);
    let devices = device.map_or_else(|| String::from("unknown"), |bytes| format!("{} MiB", bytes >> 20));
    note(&format!(
        "{name}: {} MiB stored; written {devices} by the device's count, {} MiB by the process's",
        stored >> 20,
        process >> 20,
    ))?;
    Ok(device.map_or(process, |device| device.min(process)) as f64 / stored as f64)
}

struct Publisher<'a> {
    node: &'a Contestant,
    folder: &'a Folder,
    /// Bytes of records that were acknowledged.
    stored: u64,
}

/// Bytes since the node was started, or the machine.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    stored: u64,
    process: u64,
    device: Option<u64>,
}

impl Publisher<'_> {
    /// Publishes until so many bytes are stored, and waits until the node writes nothing more.
    fn until(&mut self, stored: u64) -> Result<Bytes, Error> {
        let effort = Effort { rounds: 1, seconds: LOAD_SECONDS, whole_windows: false };
        let plan = self.node.plan(RECORDS, 1, WINDOW, effort);
        let batch_bytes = plan.batch()?.len() as u64;
        while self.stored < stored {
            self.stored += load::measure(&plan, &[])?.requests as u64 * batch_bytes;
        }
        let mut process = process::written_bytes(self.node.pid())?;
        loop {
            clock::pause(QUIET);
            let before = std::mem::replace(&mut process, process::written_bytes(self.node.pid())?);
            if before == process {
                return Ok(Bytes { stored: self.stored, process, device: self.folder.device_written_bytes()? });
            }
        }
    }
}
