//! Publishes that are durable before they are acknowledged: their rate, compared with `redis-server` and a bare server.
//!
//! One generator loads all three in turn; only the protocol differs. The node and the bare server are compared with
//! `redis-server`, because the goals are relative to it; `batches` measures what the disk itself can do.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use crate::Durable;
use crate::batches;
use crate::compare::{note, start_spinners};
use crate::contestants::{self, Contestant, FLOOR, NODE, REDIS};
use crate::disk::{Folder, Prewritten};
use crate::error::Error;
use crate::load::{self, Measured};
use crate::report::{Row, Table};
use crate::rounds::{self, Effort};
use crate::setup;
use crate::writes;

/// Number of connections, of requests in flight on each, and the factor by which the node should exceed `redis-server`.
const RATES: [(usize, usize, f64); 3] = [(1, 1, 1.1), (50, 1, 1.5), (1, 256, 4.0)];

/// Size of a write when the disk is measured by itself. While the disk is slow, because of other writers or a
/// throttling host, all servers are equally slow and their ratios mean little.
pub(crate) const DISK_BYTES: usize = 4 << 10;

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Acknowledged publishes of one record per second.
    Rate,
    /// Bytes of large batches per second.
    Batches,
    /// Bytes written per byte stored.
    Writes,
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "rate" => Ok(Self::Rate),
            "batches" => Ok(Self::Batches),
            "writes" => Ok(Self::Writes),
            _ => Err("a part is rate, batches or writes"),
        }
    }
}

/// Measures the figures. The exit code tells whether all goals were met.
pub(crate) fn durable(options: &Durable) -> Result<ExitCode, Error> {
    let program = setup::node_program(options.node.as_ref())?;
    let base_port = setup::free_ports(options.base_port)?;
    let parent = options.dir.clone().map_or_else(beside_this_program, Ok)?;
    let folder = Folder::make(&parent, &format!("floor-durable-{base_port}"))?;
    let _spinners = if options.asleep { Vec::new() } else { start_spinners()? };
    let effort = Effort { rounds: options.rounds.max(1), seconds: options.secs, whole_windows: options.whole_windows };
    let wants = |part| options.only.is_none_or(|only| only == part);
    let mut rows = Vec::new();
    if wants(Part::Rate) || wants(Part::Batches) {
        let mut sides = vec![
            contestants::start_floor(base_port, &folder)?,
            contestants::start_node(&program, base_port, &folder.join("node"), 0)?,
        ];
        if wants(Part::Rate) {
            sides.extend(contestants::start_redis(base_port, &folder)?);
            rate_rows(&sides, &folder, effort, &mut rows)?;
            sides.truncate(REDIS);
        }
        if wants(Part::Batches) {
            batches::rows(&sides, &folder, effort, &mut rows)?;
        }
    }
    if wants(Part::Writes) {
        writes::rows(&program, base_port, &folder, &mut rows)?;
    }
    write!(io::stdout(), "\n{}", Table { peer: "peer", node: "dht-node", rows: &rows })?;
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns this program's folder: build output is on a disk, while the system's temporary folder often is not.
pub(crate) fn beside_this_program() -> Result<PathBuf, Error> {
    let program = std::env::current_exe()?;
    Ok(program.parent().map_or_else(std::env::temp_dir, PathBuf::from))
}

fn rate_rows(sides: &[Contestant], folder: &Folder, effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    let (rounds, seconds) = (effort.rounds, effort.seconds);
    note(&format!(
        "{rounds} rounds of floor, node, redis, redis, node, floor, {seconds} s each; records of 64 B; windows {}",
        effort.windows(),
    ))?;
    let mut disk = Prewritten::make(&folder.join("disk"))?;
    let usual = disk.stores_a_second(DISK_BYTES, effort.seconds)?;
    note(&format!("the disk by itself: {usual:.0} writes of {} KiB a second, each synced", DISK_BYTES >> 10))?;
    if sides.len() <= REDIS {
        note("there is no redis-server on the PATH: the goals, which are relative to it, are not measured")?;
    }
    for (conns, window, goal) in RATES {
        let rounds = rounds::alternate(effort, sides.len(), |side| {
            disk.rest(DISK_BYTES, usual)?;
            load::measure(&sides[side].plan(1, conns, window, effort), &[sides[side].pid()])
        })?;
        let name = format!("{conns} x {window}");
        let rate = |run: &Measured| run.rate / 1000.0;
        let cpu_us = |run: &Measured| run.cpu_ns / 1000.0;
        let (floor, cpu) = (rounds.pair(FLOOR, NODE, rate), rounds.pair(FLOOR, NODE, cpu_us));
        note(&format!(
            "{name}: floor {:.2} k/s at {:.2} us of processor time, node {:.2} at {:.2}; disturbed rounds: {}",
            floor.floor, cpu.floor, floor.node, cpu.node, rounds.disturbed,
        ))?;
        if sides.len() <= REDIS {
            rows.push(Row::unmeasured(format!("publishes: {name}"), floor.node, "k/s", goal));
            continue;
        }
        let (node, floor) = (rounds.pair(REDIS, NODE, rate), rounds.pair(REDIS, FLOOR, rate));
        note(&format!(
            "  redis {:.2} k/s; by the medians node {:.2}, floor {:.2}",
            node.floor,
            node.node / node.floor,
            floor.node / floor.floor,
        ))?;
        rows.push(Row::at_least(format!("publishes: {name}"), &node, "k/s", goal, &floor));
        let (node, floor) = (rounds.pair(REDIS, NODE, cpu_us), rounds.pair(REDIS, FLOOR, cpu_us));
        rows.push(Row::without_goal(format!("CPU: {name}"), &node, "us", Some(&floor)));
    }
    Ok(())
}
