//! The CPU use of threads and of the machine, and a description of the machine. All of it comes from /proc, so it is
//! known only on Linux.

use std::fs;
use std::time::Duration;

use dht_report::Environment;

/// Returns the CPU time of this thread.
pub(super) fn thread_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The ticks during which the machine's processors were busy, and all ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    /// Reads the ticks up to now.
    pub(super) fn now() -> Option<Self> {
        Self::parse(fs::read_to_string("/proc/stat").ok()?.lines().next()?)
    }

    fn parse(line: &str) -> Option<Self> {
        let ticks: Vec<u64> =
            line.strip_prefix("cpu ")?.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
        // The columns are: user nice system idle iowait irq softirq steal. The columns after these are counted in user
        // already.
        let ticks = ticks.get(..8)?;
        let all = ticks.iter().sum();
        Some(Self { busy: all - ticks[3] - ticks[4], all })
    }

    /// Returns the busy share since then.
    pub(super) fn share_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(self.busy.saturating_sub(before.busy) as f64 / all as f64)
    }
}

/// Describes the machine that this program runs on.
pub(super) fn environment(same_host: bool) -> Environment {
    let first_line = |path: &str| fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("").to_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = field(&meminfo, "MemTotal").split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Environment {
        cpu: field(&cpuinfo, "model name").to_owned(),
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        governor: first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        kernel: format!("{} {}", std::env::consts::OS, first_line("/proc/sys/kernel/osrelease")).trim().to_owned(),
        memory_bytes: memory << 10,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("DHT_COMMIT").to_owned(),
        rustc: env!("DHT_RUSTC").to_owned(),
        debug_build: cfg!(debug_assertions),
        same_host,
        ..Environment::default()
    }
}

/// Returns the value after a name and a colon.
fn field<'t>(text: &'t str, name: &str) -> &'t str {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_share_leaves_out_waiting() {
        let before = Ticks::parse("cpu  100 0 100 800 0 0 0 0 0 0").unwrap();
        let after = Ticks::parse("cpu  130 0 120 840 10 0 0 0 0 0").unwrap();
        assert_eq!(after.share_since(before), Some(0.5));
        assert!(after.share_since(after).is_none());
        assert!(Ticks::parse("cpu0 1 2").is_none());
    }
}
