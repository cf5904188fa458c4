//! What copies cost: a cube in which three nodes keep each topic, compared with one in which its home alone does, and
//! with `redis-server` that has two replicas.
//!
//! Both cubes have four nodes, which is the smallest number with three copies, and all clients are connected to the
//! topic's home, which leads. A publish is answered when it is on the disks of two nodes; at `redis-server` it is an
//! XADD and a WAIT for one replica, and all three fsync before they answer. All figures are from one machine: its
//! processors and its disk do the work of all nodes.

use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use dht_protocol::types::Dimension;

use crate::Replicated;
use crate::clock;
use crate::compare::{note, start_spinners};
use crate::contestants::{self, Contestant};
use crate::disk::{Folder, Prewritten};
use crate::durable::{DISK_BYTES, beside_this_program};
use crate::error::Error;
use crate::load::{self, Measured, Operation, Plan};
use crate::report::{Row, Table};
use crate::rounds::{self, Effort};
use crate::setup::{self, CUBE_PORT};

/// The position of the cube with one copy in a round.
const ONE: usize = 0;
/// The position of the cube with three copies.
const THREE: usize = 1;
/// The position of the `redis-server`, if there is one.
const REDIS: usize = 2;

/// The dimension of the smallest cube that can have three copies.
const DIMENSION: Dimension = match Dimension::new(2) {
    Some(dimension) => dimension,
    None => unreachable!(),
};

/// How many times the median latency of a lone publish may grow with three copies.
const P50_GOAL: f64 = 1.6;
/// Which share of the rate with one copy should be left with three.
const RATE_GOAL: f64 = 0.5;
/// Number of connections, of requests in flight on each, and the factor by which the rate with three copies should
/// exceed that of `redis-server`.
const RATES: [(usize, usize, Option<f64>); 4] = [(1, 1, Some(3.0)), (8, 1, None), (50, 1, Some(4.0)), (1, 256, None)];

/// How many times the processor time of a read may grow with three copies.
const READ_GOAL: f64 = 1.05;
/// Number of connections, and of requests in flight on each, of reads.
const READS: [(usize, usize); 2] = [(1, 1), (8, 64)];

/// How much more memory an idle node may need with three copies.
const MEMORY_MIB_GOAL: f64 = 2.0;
/// How much processor time the whole idle cube may need, in milliseconds per second.
const IDLE_MS_GOAL: f64 = 10.0;
/// For how long processor time of idle nodes is counted.
const IDLE: Duration = Duration::from_secs(5);

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Latency, rate and processor time of publishes.
    Rate,
    /// Latency and processor time of FETCH and QUERY.
    Reads,
    /// Memory and processor time of idle nodes.
    Idle,
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "rate" => Ok(Self::Rate),
            "reads" => Ok(Self::Reads),
            "idle" => Ok(Self::Idle),
            _ => Err("a part is rate, reads or idle"),
        }
    }
}

/// Measures the figures. The exit code tells whether all goals were met.
pub(crate) fn replicated(options: &Replicated) -> Result<ExitCode, Error> {
    let program = setup::node_program(options.node.as_ref())?;
    let base_port = setup::free_ports(options.base_port)?;
    let parent = options.dir.clone().map_or_else(beside_this_program, Ok)?;
    let folder = Folder::make(&parent, &format!("floor-replicated-{base_port}"))?;
    let effort = Effort { rounds: options.rounds.max(1), seconds: options.secs, whole_windows: false };
    let wants = |part| options.only.is_none_or(|only| only == part);
    let mut sides = vec![
        contestants::start_cube(&program, base_port, &folder.join("one"), DIMENSION, 1)?,
        contestants::start_cube(&program, base_port + CUBE_PORT, &folder.join("three"), DIMENSION, 3)?,
    ];
    let (mut by_one, mut by_redis) = (Vec::new(), Vec::new());
    if wants(Part::Idle) {
        idle_rows(&sides, &mut by_one)?;
    }
    let _spinners = if options.asleep { Vec::new() } else { start_spinners()? };
    if wants(Part::Reads) {
        read_rows(&sides, effort, &mut by_one)?;
    }
    if wants(Part::Rate) {
        sides.extend(contestants::start_redis_group(base_port, &folder)?);
        rate_rows(&sides, &folder, effort, (&mut by_one, &mut by_redis))?;
    }
    write!(io::stdout(), "\n{}", Table { peer: "one copy", node: "three copies", rows: &by_one })?;
    if !by_redis.is_empty() {
        write!(io::stdout(), "\n{}", Table { peer: "redis", node: "three copies", rows: &by_redis })?;
    }
    let missed = by_one.iter().chain(&by_redis).filter(|row| row.is_missed()).count();
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn idle_rows(cubes: &[Contestant], rows: &mut Vec<Row>) -> Result<(), Error> {
    let before = [cubes[ONE].cpu_ns()?, cubes[THREE].cpu_ns()?];
    clock::pause(IDLE);
    let after = [cubes[ONE].cpu_ns()?, cubes[THREE].cpu_ns()?];
    let spent_ms = |cube: usize| (after[cube] - before[cube]) as f64 / 1e6 / IDLE.as_secs_f64();
    let mebibytes = [cubes[ONE].most_memory()?, cubes[THREE].most_memory()?].map(|bytes| bytes / f64::from(1 << 20));
    rows.push(Row::difference("idle node", mebibytes, "MiB", MEMORY_MIB_GOAL));
    let (one, three) = (Some(spent_ms(ONE)), Some(spent_ms(THREE)));
    rows.push(Row::absolute("CPU: idle cube, a second", one, three, "ms", IDLE_MS_GOAL));
    Ok(())
}

fn read_rows(cubes: &[Contestant], effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    let one_record = Effort { seconds: 0.0, ..effort };
    for cube in cubes {
        load::measure(&cube.plan(1, 1, 1, one_record), &[])?;
    }
    for (name, operation) in [("FETCH", Operation::Fetch), ("QUERY", Operation::Query)] {
        for (conns, window) in READS {
            let rounds = rounds::alternate(effort, cubes.len(), |cube| {
                let plan = Plan { operation, ..cubes[cube].plan(1, conns, window, effort) };
                load::measure(&plan, &cubes[cube].pids())
            })?;
            let name = format!("{name}: {conns} x {window}");
            let cpu = rounds.pair(ONE, THREE, |run| run.cpu_ns / 1000.0);
            if window == 1 {
                rows.push(Row::without_goal(format!("p50: {name}"), &rounds.pair(ONE, THREE, p50), "us", None));
                rows.push(Row::without_goal(format!("CPU: {name}"), &cpu, "us", None));
            } else {
                rows.push(Row::ratio(format!("CPU: {name}"), &cpu, "us", READ_GOAL));
            }
        }
    }
    Ok(())
}

/// Adds the rows of publishes, first of the comparison with one copy and then with `redis-server`.
fn rate_rows(
    sides: &[Contestant],
    folder: &Folder,
    effort: Effort,
    (by_one, by_redis): (&mut Vec<Row>, &mut Vec<Row>),
) -> Result<(), Error> {
    let mut disk = Prewritten::make(&folder.join("disk"))?;
    let stores = disk.stores_a_second(DISK_BYTES, effort.seconds)?;
    note(&format!("the disk by itself: {stores:.0} writes of {} KiB a second, each synced", DISK_BYTES >> 10))?;
    if sides.len() <= REDIS {
        note("there is no redis-server on the PATH: the comparison with it is left out")?;
    }
    for (conns, window, redis_goal) in RATES {
        let rounds = rounds::alternate(effort, sides.len(), |side| {
            load::measure(&sides[side].plan(1, conns, window, effort), &sides[side].pids())
        })?;
        let name = format!("{conns} x {window}");
        let rate = |run: &Measured| run.rate / 1000.0;
        let cpu_us = |run: &Measured| run.cpu_ns / 1000.0;
        note(&format!("{name}: disturbed rounds: {}", rounds.disturbed))?;
        let publishes = format!("publishes: {name}");
        if (conns, window) == (1, 1) {
            by_one.push(Row::ratio(format!("p50: {name}"), &rounds.pair(ONE, THREE, p50), "us", P50_GOAL));
        } else {
            by_one.push(Row::ratio_at_least(publishes.clone(), &rounds.pair(ONE, THREE, rate), "k/s", RATE_GOAL));
        }
        by_one.push(Row::without_goal(format!("CPU: {name}"), &rounds.pair(ONE, THREE, cpu_us), "us", None));
        if sides.len() > REDIS {
            let pair = rounds.pair(REDIS, THREE, rate);
            by_redis.push(match redis_goal {
                Some(goal) => Row::ratio_at_least(publishes, &pair, "k/s", goal),
                None => Row::without_goal(publishes, &pair, "k/s", None),
            });
            by_redis.push(Row::without_goal(format!("CPU: {name}"), &rounds.pair(REDIS, THREE, cpu_us), "us", None));
        }
    }
    Ok(())
}

fn p50(run: &Measured) -> f64 {
    run.latency_us.map_or(f64::NAN, |[p50, _, _]| p50)
}
