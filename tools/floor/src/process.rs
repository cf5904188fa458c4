//! Other processes: started, pinned, observed through /proc, and ended with their owner.

use std::ffi::OsStr;
use std::fs;
use std::hint;
use std::io::{self, Read};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::error::Error;

/// A process that ends when this value is dropped, and also when this program is killed.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program. The kernel kills it when this program ends in any way.
    pub(crate) fn start(program: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Self, Error> {
        if !program.exists() {
            return Err(Error::Missing { program: program.to_owned() });
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(arguments);
        command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(spawn(&mut command)?))
    }

    /// Starts a program like [`Self::start`], with its priority lowered by `nice`.
    pub(crate) fn start_nice(program: &Path, nice: u8, arguments: &[impl AsRef<OsStr>]) -> Result<Self, Error> {
        let (mut command, nice) = (Command::new("setpriv"), nice.to_string());
        command.args(["--pdeathsig", "KILL", "nice", "-n", &nice]).arg(program).args(arguments);
        Ok(Self(spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?))
    }

    /// Starts this program as a spinner on one processor, at the lowest priority.
    pub(crate) fn start_spinner(processor: usize) -> Result<Self, Error> {
        let myself = std::env::current_exe()?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "-c", &processor.to_string()]);
        command.args(["chrt", "-i", "0"]).arg(myself).arg("spin");
        Ok(Self(spawn(command.stdin(Stdio::null()).stderr(Stdio::null()))?))
    }

    /// Returns its id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Returns true if it is running.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child, Error> {
    command.spawn().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound { Error::NoTool { name: "setpriv" } } else { error.into() }
    })
}

/// Keeps a processor busy until the parent ends.
pub(crate) fn spin() {
    const SPINS_BETWEEN_LOOKS: u32 = 10_000_000;
    let parent = parent_id();
    while parent_id() == parent {
        for _ in 0..SPINS_BETWEEN_LOOKS {
            hint::spin_loop();
        }
    }
}

/// Restricts a process to these processors, in the notation of `taskset`.
pub(crate) fn pin(pid: u32, processors: &str) -> Result<(), Error> {
    let mut command = Command::new("taskset");
    command.args(["-a", "-p", "-c", processors, &pid.to_string()]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(Error::Unreadable { what: "the answer of taskset" }) }
}

/// Returns the CPU time of all threads of the processes in nanoseconds.
pub(crate) fn cpu_ns_of(pids: &[u32]) -> Result<u64, Error> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
            let running = schedstat.split(' ').next().and_then(|figure| figure.parse::<u64>().ok());
            sum += running.ok_or(Error::Unreadable { what: "/proc/PID/task/TID/schedstat" })?;
        }
    }
    Ok(sum)
}

/// Returns the bytes that the process has caused to be written to a disk: whole pages, each time that they become
/// dirty.
pub(crate) fn written_bytes(pid: u32) -> Result<u64, Error> {
    let figures = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = figures.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).ok_or(Error::Unreadable { what: "/proc/PID/io" })
}

/// Returns the resident memory of a process in bytes, accurate to a page; VmRSS is off by up to 64 pages per processor.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Error> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kibibytes.ok_or(Error::Unreadable { what: "/proc/PID/smaps_rollup" })? * 1024)
}

/// CPU time of the machine since its start, in hundredths of a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Time of processes at low priority, such as compilers.
    pub(crate) nice: u64,
    /// Time taken by the host.
    pub(crate) steal: u64,
    /// Total time.
    pub(crate) total: u64,
}

impl Machine {
    /// Reads the current values.
    pub(crate) fn read() -> Result<Self, Error> {
        let mut stat = String::new();
        fs::File::open("/proc/stat")?.read_to_string(&mut stat)?;
        let figures: Vec<u64> = stat
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("cpu "))
            .map(|line| line.split_ascii_whitespace().map_while(|figure| figure.parse().ok()).collect())
            .unwrap_or_default();
        match figures[..] {
            [user, nice, system, idle, iowait, irq, softirq, steal, ..] => {
                let total = user + nice + system + idle + iowait + irq + softirq + steal;
                Ok(Self { nice, steal, total })
            }
            _ => Err(Error::Unreadable { what: "/proc/stat" }),
        }
    }

    /// Returns true if something else has run since then that distorts figures.
    pub(crate) const fn was_disturbed_since(&self, then: &Self) -> bool {
        self.nice - then.nice > 5 || (self.steal - then.steal) * 50 > self.total - then.total
    }
}
