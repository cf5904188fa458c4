//! Write amplification: the bytes written per byte of records stored, first while the journal grows, when each new
//! segment is filled with zeros first, and then while old segments are reused.
//!
//! There are two counters, and both overestimate. The kernel charges a process for a whole folio each time one becomes
//! dirty, and a file written in large pieces has large folios. The device counts the writes of all processes and of the
//! file system itself. So the smaller of the two is used, and the median over several new nodes.

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

/// The topic's retention: large enough that no segment becomes reusable during the first measurement, and well below a
/// node's memory limit.
const KEPT_BYTES: u64 = 640 << 20;

/// Bytes of records stored at the end of the first measurement, at the start of the second one (when segments are
/// certainly being reused), and at its end.
const FRESH_BYTES: u64 = 512 << 20;
const STEADY_BYTES: u64 = 1024 << 20;
const END_BYTES: u64 = 1536 << 20;

const FRESH_GOAL: f64 = 2.3;
const STEADY_GOAL: f64 = 1.3;

/// Number of nodes that are measured; the figures are medians over them.
const NODES: usize = 5;

/// Duration of one load in seconds; short, so that a mark is not exceeded by much.
const LOAD_SECONDS: f64 = 0.1;

/// If the node's counter does not change for this long, the node has nothing left to write.
const QUIET: Duration = Duration::from_millis(500);

/// Measures new nodes, one after the other, and appends the medians of their figures to `rows`.
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

/// Returns the bytes written per byte stored between two marks.
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

/// Byte counters: `stored` and `process` since the node was started, `device` since the machine was started.
#[derive(Clone, Copy, Debug)]
struct Bytes {
    stored: u64,
    process: u64,
    device: Option<u64>,
}

impl Publisher<'_> {
    /// Publishes until `stored` bytes are acknowledged, then waits until the node writes nothing more.
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
