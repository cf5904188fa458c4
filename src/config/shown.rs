//! A configuration as the options that describe it.

use std::fmt;
use std::time::Duration;

use super::Config;
use crate::net::Peers;
use crate::node::SourceLimits;
use crate::storage::{Options, Sync};
use crate::types::{Retention, Size};

/// One option per line, defaults included. As a command line they describe the same node again.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "--id {}", self.id.binary(self.dimension))?;
        writeln!(f, "--dimension {}", self.dimension.bits())?;
        match &self.peers {
            Peers::BasePort { base, .. } => writeln!(f, "--base-port {base}")?,
            Peers::File { path, .. } => writeln!(f, "--peers {}", path.display())?,
        }
        // A name with several addresses is looked up in the peers file again.
        if let [listen] = self.listen[..] {
            writeln!(f, "--listen {}", listen.ip())?;
        }
        if let Some(advertised) = &self.advertised {
            writeln!(f, "--advertise {advertised}")?;
        }
        if self.is_exposed {
            writeln!(f, "--insecure-network")?;
        }
        writeln!(f, "--cluster {}", self.cluster)?;
        match &self.storage {
            None => writeln!(f, "--in-memory")?,
            Some(Options { folder, sync, disk_bytes }) => {
                writeln!(f, "--data {}", folder.display())?;
                match sync {
                    Sync::Always => writeln!(f, "--sync always")?,
                    Sync::Interval(interval) => writeln!(f, "--sync interval={}", span(*interval))?,
                }
                writeln!(f, "--disk {}", Size(*disk_bytes))?;
            }
        }
        if let Some(copies) = self.replicas {
            writeln!(f, "--replicas {copies}")?;
        }
        writeln!(f, "--memory {}", Size(self.memory_bytes))?;
        let bound = |value: u64, shown: String| if value == 0 { "none".to_owned() } else { shown };
        let Retention { records, bytes, age_ms } = self.retention;
        writeln!(f, "--retain-bytes {}", bound(bytes, Size(bytes).to_string()))?;
        writeln!(f, "--retain-records {}", bound(records, records.to_string()))?;
        writeln!(f, "--retain-age {}", bound(age_ms, span(Duration::from_millis(age_ms))))?;
        let SourceLimits { clients, subscriptions, creates_per_second, creates_burst } = self.source_limits;
        let count = |count: u64| bound(count, count.to_string());
        writeln!(f, "--clients-per-source {}", count(clients))?;
        writeln!(f, "--subscriptions-per-source {}", count(subscriptions))?;
        writeln!(f, "--creates-per-second {}", count(creates_per_second))?;
        writeln!(f, "--creates-burst {creates_burst}")
    }
}

/// Formats a time as one word: `7days`, `1h30m`.
fn span(time: Duration) -> String {
    humantime::format_duration(time).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use argh::FromArgs;

    use crate::config::{Arguments, Config};

    fn config(words: &[&str]) -> Config {
        Config::new(&Arguments::from_args(&["dht-node"], words).unwrap()).unwrap()
    }

    #[test]
    fn what_is_shown_makes_the_same_node_again() {
        let folder = tempfile::tempdir().unwrap();
        let peers = folder.path().join("peers");
        std::fs::write(&peers, "0 127.0.0.1:7000\n1 b.example:7001\n").unwrap();
        let peers = peers.to_str().unwrap();
        let cases: [&[&str]; 8] = [
            &["--id", "101"],
            &["--id", "101", "--replicas", "3"],
            &["--id", "0", "--dimension", "1", "--peers", peers, "--advertise", "a.example:80", "--cluster", "x"],
            &["--id", "011", "--in-memory", "--memory", "64M", "--retain-age", "7d", "--retain-records", "5"],
            &["--id", "011", "--clients-per-source", "9", "--subscriptions-per-source", "8", "--creates-burst", "7"],
            &["--id", "101", "--retain-bytes", "none", "--retain-records", "none", "--retain-age", "none"],
            &["--id", "011", "--listen", "0.0.0.0", "--insecure-network", "--base-port", "6000"],
            &["--id", "011", "--sync", "interval=1500ms", "--data", "/var/lib/x", "--disk", "1TB", "--listen", "[::1]"],
        ];
        for words in cases {
            let shown = config(words).to_string();
            let again: Vec<&str> = shown.split_whitespace().collect();
            assert_eq!(config(&again).to_string(), shown, "{words:?}");
            for word in words.iter().filter(|word| word.starts_with("--")) {
                assert!(again.contains(word), "{word} is not in\n{shown}");
            }
        }
    }
}
