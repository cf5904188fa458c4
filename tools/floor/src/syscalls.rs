//! The number of system calls of a server per request, counted by `perf` during a load.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock;
use crate::error::Error;
use crate::load::{self, Plan};

/// The `perf` event of every system call.
pub(crate) const ALL: &str = "raw_syscalls:sys_enter";
/// The `perf` event of `fdatasync`, with which the node makes its journal durable.
pub(crate) const SYNCS: &str = "syscalls:sys_enter_fdatasync";

/// Time that `perf` needs to attach to the process.
const ATTACH: Duration = Duration::from_millis(400);

/// Returns the number of events `kind` of the process per request of the plan, or `None` if `perf` is missing or lacks
/// the permission to count.
pub(crate) fn per_request(pid: u32, kind: &str, plan: &Plan) -> Result<Option<f64>, Error> {
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-e", kind, "-p", &pid.to_string(), "cat"]);
    // `perf` counts for as long as `cat` runs, which ends when its input is closed.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let Ok(mut perf) = command.spawn() else { return Ok(None) };
    clock::pause(ATTACH);
    let measured = load::measure(plan, &[]);
    drop(perf.stdin.take());
    let mut output = String::new();
    if let Some(stderr) = &mut perf.stderr {
        stderr.read_to_string(&mut output)?;
    }
    perf.wait()?;
    let line = output.lines().find(|line| line.contains("sys_enter"));
    let calls = line.and_then(|line| line.split(',').next()?.parse::<f64>().ok());
    let requests = measured?.requests;
    Ok(calls.map(|calls| calls / requests as f64))
}
