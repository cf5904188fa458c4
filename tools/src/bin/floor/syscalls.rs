//! System calls of one server a request, counted by `perf` while requests pass.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock;
use crate::error::Error;
use crate::load::{self, Plan};

/// Every system call.
pub(crate) const ALL: &str = "raw_syscalls:sys_enter";
/// Those that make a file safe.
pub(crate) const SYNCS: &str = "syscalls:sys_enter_fdatasync";

/// Until `perf` counts.
const ATTACH: Duration = Duration::from_millis(400);

/// System calls of that kind of the process a request of the plan; `None` where `perf` is missing or may not count.
pub(crate) fn per_request(pid: u32, kind: &str, plan: &Plan) -> Result<Option<f64>, Error> {
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-e", kind, "-p", &pid.to_string(), "cat"]);
    // It counts as long as `cat` runs, which is until its input ends.
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
