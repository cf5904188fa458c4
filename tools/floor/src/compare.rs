//! The complete comparison: starts both sides, measures all figures, and prints them beside the goals.

use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use crate::Compare;
use crate::clock;
use crate::error::Error;
use crate::memory;
use crate::pipe;
use crate::process::{self, Process};
use crate::report::{Row, Table};
use crate::rounds::{self, Case, Effort, Kind};
use crate::setup::{self, HOPS_MAX, Side, TOPICS_MAX};
use crate::syscalls;

pub(crate) const CPU_GOAL: f64 = 1.5;
const P50_GOAL: f64 = 1.3;
const HOME_SYSCALLS_GOAL: f64 = 3.1;
const RELAY_SYSCALLS_GOAL: f64 = 6.2;
const IDLE_NODE_MIB_GOAL: f64 = 6.0;
const CONNECTION_BYTES_GOAL: f64 = 1024.0;
const TOPIC_BYTES_GOAL: f64 = 400.0;

/// One request at a time.
pub(crate) const UNBATCHED: (usize, usize) = (1, 1);
/// Number of connections, and of requests in flight on each.
pub(crate) const PIPELINED: (usize, usize) = (8, 64);

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// CPU time and latency.
    Load,
    /// CPU time of other kinds of publishes.
    Kinds,
    /// CPU time and latency with subscribers.
    Pipe,
    /// System calls per request.
    Syscalls,
    /// Memory in bytes.
    Memory,
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "load" => Ok(Self::Load),
            "kinds" => Ok(Self::Kinds),
            "pipe" => Ok(Self::Pipe),
            "syscalls" => Ok(Self::Syscalls),
            "memory" => Ok(Self::Memory),
            _ => Err("a part is load, kinds, pipe, syscalls or memory"),
        }
    }
}

/// Both sides, running.
#[derive(Debug)]
pub(crate) struct Compared {
    /// The bare servers.
    pub(crate) floor: Side,
    /// The daemon.
    pub(crate) cube: Side,
}

/// Measures the figures. The exit code tells whether all goals were met.
pub(crate) fn compare(options: &Compare) -> Result<ExitCode, Error> {
    let program = setup::node_program(options.node.as_ref())?;
    let base_port = setup::free_ports(options.base_port)?;
    let _spinners = start_spinners()?;
    let compared = Compared { floor: setup::start_floor(base_port)?, cube: setup::start_cube(&program, base_port)? };
    let effort = Effort { rounds: options.rounds.max(1), seconds: options.secs, whole_windows: options.whole_windows };
    note(&format!(
        "{} rounds of floor, node, node, floor, {} s each; records of 64 B; windows {}",
        effort.rounds,
        effort.seconds,
        effort.windows(),
    ))?;
    let wants = |part| options.only.is_none_or(|only| only == part);
    let mut rows = Vec::new();
    let idle_bytes = memory::idle_node(&compared.cube)?;
    note_idle(&compared.cube)?;
    if wants(Part::Load) {
        load_rows(&compared, effort, &mut rows)?;
    }
    if wants(Part::Kinds) {
        kind_rows(&compared, effort, &mut rows)?;
    }
    if wants(Part::Pipe) {
        pipe::home_rows(&compared, effort, &mut rows)?;
        pipe::far_rows(&compared, effort, &mut rows)?;
    }
    if wants(Part::Syscalls) {
        syscall_rows(&compared, effort, &mut rows)?;
    }
    if wants(Part::Memory) {
        drop(compared);
        let mebibytes = idle_bytes / f64::from(1 << 20);
        rows.push(Row::absolute("idle node", None, Some(mebibytes), "MiB", IDLE_NODE_MIB_GOAL));
        let bytes = memory::per_item(&program, base_port)?;
        rows.push(Row::absolute("idle connection", None, Some(bytes.connection), "B", CONNECTION_BYTES_GOAL));
        rows.push(Row::absolute("empty topic", None, Some(bytes.topic), "B", TOPIC_BYTES_GOAL));
    }
    write!(io::stdout(), "\n{}", Table { peer: "floor", node: "dht-node", rows: &rows })?;
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a spinner on each of the two CPUs that pinned runs use, so that neither sleeps: waking a CPU takes longer
/// than a request.
pub(crate) fn start_spinners() -> Result<Vec<Process>, Error> {
    let mut spinners = Vec::new();
    for processor in 0..2 {
        spinners.push(Process::start_spinner(processor)?);
    }
    clock::pause(Duration::from_millis(200));
    if !spinners.iter_mut().all(Process::is_running) {
        note("no spinners, because taskset or chrt failed: latencies will include wake-ups, and are not comparable")?;
    }
    Ok(spinners)
}

/// Measures the CPU use of idle nodes, which is part of each of their figures.
fn note_idle(cube: &Side) -> Result<(), Error> {
    let before = process::cpu_ns_of(&cube.pids())?;
    clock::pause(Duration::from_secs(1));
    let microseconds = (process::cpu_ns_of(&cube.pids())? - before) / 1000;
    note(&format!("idle cube: {microseconds} us of processor time a second, all nodes together"))
}

fn load_rows(compared: &Compared, effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    for (conns, window) in [PIPELINED, UNBATCHED] {
        pin(compared, window == 1)?;
        for hops in 0..=HOPS_MAX {
            let case = Case { hops, conns, window, subscribers: 0, kind: Kind::Plain };
            let outcome = rounds::run(compared, case, effort)?;
            let name = format!("{hops} links, {conns} x {window}");
            let (cpu, rate) = (outcome.cpu_ns, outcome.rate);
            note(&format!(
                "{name}: floor {:.0} messages/s at {:.0} ns, node {:.0} at {:.0}; disturbed rounds: {}",
                rate.floor, cpu.floor, rate.node, cpu.node, outcome.disturbed,
            ))?;
            rows.push(Row::ratio(format!("CPU: {name}"), &cpu, "ns", CPU_GOAL));
            if let Some(p50) = outcome.p50_us {
                rows.push(Row::ratio(format!("p50: {name}"), &p50, "us", P50_GOAL));
            }
        }
    }
    Ok(())
}

/// Adds the CPU time of other kinds of publishes at the home.
fn kind_rows(compared: &Compared, effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    let (conns, window) = PIPELINED;
    let kinds = [
        ("8 topics", Kind::Topics(8)),
        ("64 topics", Kind::Topics(TOPICS_MAX)),
        ("sequenced", Kind::Sequenced),
        ("growing memory", Kind::Growing),
    ];
    pin(compared, false)?;
    for (name, kind) in kinds {
        let outcome = rounds::run(compared, Case { hops: 0, conns, window, subscribers: 0, kind }, effort)?;
        let name = format!("{name}, {conns} x {window}");
        let (cpu, rate) = (outcome.cpu_ns, outcome.rate);
        note(&format!(
            "{name}: floor {:.0} messages/s at {:.0} ns, node {:.0} at {:.0}; disturbed rounds: {}",
            rate.floor, cpu.floor, rate.node, cpu.node, outcome.disturbed,
        ))?;
        rows.push(Row::without_goal(format!("CPU: {name}"), &cpu, "ns", None));
    }
    Ok(())
}

/// Pins the servers to the first processor and this program to the second, or lets the kernel decide.
pub(crate) fn pin(compared: &Compared, is_pinned: bool) -> Result<(), Error> {
    let (servers, client) = if is_pinned { ("0", "1") } else { ("0,1", "0,1") };
    for pid in [compared.floor.pids(), compared.cube.pids()].concat() {
        process::pin(pid, servers)?;
    }
    process::pin(std::process::id(), client)
}

fn syscall_rows(compared: &Compared, effort: Effort, rows: &mut Vec<Row>) -> Result<(), Error> {
    let (conns, window) = UNBATCHED;
    // Name, number of links that the request crosses, and the process whose calls are counted: its position in the
    // chain and in the cube.
    let places = [
        ("home, asked by a client", 0, 0, 0, HOME_SYSCALLS_GOAL),
        ("relay, asked by a client", 1, 1, 0, RELAY_SYSCALLS_GOAL),
        // In the cube, responses take another path back, through another relay.
        ("relay between links", 2, 1, transit_of_two(compared), RELAY_SYSCALLS_GOAL),
    ];
    for (name, hops, floor_place, cube_place, goal) in places {
        let case = Case { hops, conns, window, subscribers: 0, kind: Kind::Plain };
        let of = |side: &Side, place: usize| {
            let plan = rounds::plan(side, case, effort);
            syscalls::per_request(side.processes[place].pid(), syscalls::ALL, &plan)
        };
        let (floor, node) = (of(&compared.floor, floor_place)?, of(&compared.cube, cube_place)?);
        rows.push(Row::absolute(&format!("system calls: {name}"), floor, node, "", goal));
    }
    if rows.iter().any(Row::is_unmeasured) {
        note("system calls were not counted: perf is missing, or needs root")?;
    }
    Ok(())
}

/// Returns the node between the entry and the home of the topic two links away.
fn transit_of_two(compared: &Compared) -> usize {
    let (_, name) = &compared.cube.entries[2];
    setup::path_to(name)[1]
}

/// Prints a line before the table.
pub(crate) fn note(line: &str) -> Result<(), Error> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
