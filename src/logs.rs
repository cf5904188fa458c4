//! The format of log lines. Each line has the time in UTC to the millisecond, the level, the node's id, the part of the
//! program, and the text:
//!
//! ```text
//! 2026-11-29T04:05:06.789Z INFO  node 101 net: listens on 127.0.0.1:5005
//! ```

use std::io::Write;
use std::time::SystemTime;

use log::{Level, Record};

/// Starts logging to stderr for the node with this id. The environment variable `RUST_LOG` selects what is logged; the
/// default is `info`.
pub(crate) fn start(node: String) {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(move |out, record: &Record<'_>| {
            let style = out.default_level_style(record.level());
            let level = format!("{style}{:<5}{style:#}", record.level());
            writeln!(out, "{}", line(now(), &level, &node, part(record.target()), &record.args().to_string()))
        })
        .init();
}

/// Formats a line at level info in the format of the log, to be printed to stdout.
pub(crate) fn info(node: &str, part: &str, text: &str) -> String {
    line(now(), &format!("{:<5}", Level::Info), node, part, text)
}

fn line(now: SystemTime, level: &str, node: &str, part: &str, text: &str) -> String {
    format!("{} {level} node {node} {part}: {text}", humantime::format_rfc3339_millis(now))
}

/// Returns the part of the program that a log target names: `net` for `dht_node::net::server`.
fn part(target: &str) -> &str {
    let mut modules = target.split("::");
    let first = modules.next().unwrap_or(target);
    if first == "dht_node" { modules.next().unwrap_or("main") } else { first }
}

#[expect(clippy::disallowed_methods, reason = "log lines show the wall clock time")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_line_says_when_how_bad_who_and_where() {
        let then = UNIX_EPOCH + Duration::from_millis(1_796_000_000_007);
        let written = line(then, "WARN ", "101", part("dht_node::logs::file::deeper"), "text");
        assert_eq!(written, "2026-11-30T00:53:20.007Z WARN  node 101 logs: text");
        for (target, expected) in [("dht_node", "main"), ("dht_node::logs", "logs"), ("mio::poll", "mio")] {
            assert_eq!(part(target), expected);
        }
    }
}
