//! The format of log lines, and how many of them are written. Each line has the time in UTC to the millisecond, the
//! level, the node's id, the part of the program, and the text:
//!
//! ```text
//! 2026-11-29T04:05:06.789Z INFO  node 101 net: listens on 127.0.0.1:5005
//! ```
//!
//! Clients and strangers can cause any number of lines, so each log statement of the program writes only so many in
//! each [`LOG_PERIOD_US`]. The others are counted, and the count and the last of them are logged when the period is
//! over. Control characters are escaped and long texts are cut, because a text may quote what a peer sent.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::PoisonError;
use std::time::SystemTime;

use dht_node::limits::{LOG_LINES_MAX, LOG_PERIOD_US, LOG_TEXT_MAX, LOG_WARNINGS_MAX};
use log::{Level, Log, Metadata, Record};

/// Starts logging to stderr for the node with this id. The environment variable `RUST_LOG` selects what is logged; the
/// default is `info`.
pub(crate) fn start(node: String) {
    let writer = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(move |out, record: &Record<'_>| {
            let style = out.default_level_style(record.level());
            let level = format!("{style}{:<5}{style:#}", record.level());
            writeln!(out, "{}", line(now(), &level, &node, part(record.target()), &record.args().to_string()))
        })
        .build();
    log::set_max_level(writer.filter());
    log::set_boxed_logger(Box::new(Logger { writer, limiter: Shared::new(Limiter::new(now())) }))
        .expect("the process sets its logger once");
}

/// Formats a line at level info in the format of the log, to be printed to stdout.
pub(crate) fn info(node: &str, part: &str, text: &str) -> String {
    line(now(), &format!("{:<5}", Level::Info), node, part, text)
}

#[expect(clippy::disallowed_types, reason = "the threads of a process share its logger")]
type Shared<T> = std::sync::Mutex<T>;

/// The logger of the process. [`Log::flush`] ends the period, so that what was suppressed in it is told.
struct Logger {
    writer: env_logger::Logger,
    limiter: Shared<Limiter>,
}

impl Logger {
    fn write_counts(&self, counts: Vec<Suppressed>) {
        for Suppressed { level, target, count, last } in counts {
            let text = format_args!("{count} similar lines were suppressed; the last one: {last}");
            self.writer.log(&Record::builder().level(level).target(&target).args(text).build());
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.writer.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.writer.matches(record) {
            return;
        }
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = if limiter.is_over(now()) { limiter.end_period(now()) } else { Vec::new() };
        let is_admitted = limiter.admit(record);
        drop(limiter);
        self.write_counts(counts);
        if is_admitted {
            self.writer.log(record);
        }
    }

    fn flush(&self) {
        let counts = self.limiter.lock().unwrap_or_else(PoisonError::into_inner).end_period(now());
        self.write_counts(counts);
        self.writer.flush();
    }
}

/// Counts the lines of each log statement in the current period.
#[derive(Debug)]
struct Limiter {
    /// When the period began, by the wall clock.
    since: SystemTime,
    /// By file and line of the statement.
    statements: BTreeMap<(&'static str, u32), Count>,
}

#[derive(Debug, Default)]
struct Count {
    written: u32,
    suppressed: Option<Suppressed>,
}

/// The lines of one statement that were not written.
#[derive(Debug, PartialEq, Eq)]
struct Suppressed {
    level: Level,
    target: String,
    count: u64,
    /// The text of the last one.
    last: String,
}

impl Limiter {
    const fn new(since: SystemTime) -> Self {
        Self { since, statements: BTreeMap::new() }
    }

    /// Returns true when the period is over. A clock that goes back ends it too.
    fn is_over(&self, now: SystemTime) -> bool {
        now.duration_since(self.since).map_or(true, |age| age.as_micros() >= LOG_PERIOD_US.into())
    }

    /// Begins another period and returns what was suppressed in the last one.
    fn end_period(&mut self, now: SystemTime) -> Vec<Suppressed> {
        self.since = now;
        std::mem::take(&mut self.statements).into_values().filter_map(|count| count.suppressed).collect()
    }

    /// Counts a line. Returns true when it is to be written.
    fn admit(&mut self, record: &Record<'_>) -> bool {
        let statement = (record.file_static().unwrap_or_default(), record.line().unwrap_or_default());
        let count = self.statements.entry(statement).or_default();
        if count.written < lines_max(record.level()) {
            count.written += 1;
            return true;
        }
        let (level, target) = (record.level(), record.target().to_owned());
        let suppressed = count.suppressed.get_or_insert(Suppressed { level, target, count: 0, last: String::new() });
        suppressed.count += 1;
        suppressed.last = record.args().to_string();
        false
    }
}

/// Returns the most lines that one statement writes in a period.
const fn lines_max(level: Level) -> u32 {
    match level {
        Level::Error | Level::Warn => LOG_WARNINGS_MAX,
        Level::Info => LOG_LINES_MAX,
        // Whoever asks for these wants all of them.
        Level::Debug | Level::Trace => u32::MAX,
    }
}

fn line(now: SystemTime, level: &str, node: &str, part: &str, text: &str) -> String {
    format!("{} {level} node {node} {part}: {}", humantime::format_rfc3339_millis(now), printable(text))
}

/// Escapes control characters and cuts a text after [`LOG_TEXT_MAX`] characters.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LOG_TEXT_MAX));
    for (index, char) in text.chars().enumerate() {
        if index == LOG_TEXT_MAX {
            shown.push('…');
            break;
        }
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
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

    #[test]
    fn a_text_of_a_peer_is_one_short_line() {
        let long = "ü".repeat(LOG_TEXT_MAX);
        let cases = [
            ("topic ünï/1", "topic ünï/1".to_owned()),
            ("a\nb\r\u{1b}[31m", "a\\nb\\r\\u{1b}[31m".to_owned()),
            (&long, long.clone()),
            (&format!("{long}b"), format!("{long}…")),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn a_statement_that_repeats_itself_is_cut_short_and_the_count_comes_later() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1000 + seconds);
        let mut limiter = Limiter::new(at(0));
        let mut admit = |line: u32, level: Level, text: &str, times: usize| {
            let args = format_args!("{text}");
            let record = Record::builder()
                .args(args)
                .level(level)
                .target("t")
                .file_static(Some("a.rs"))
                .line(Some(line))
                .build();
            (0..times).filter(|_| limiter.admit(&record)).count()
        };
        assert_eq!(admit(7, Level::Warn, "again", 100), 5);
        assert_eq!(admit(8, Level::Error, "another statement", 3), 3);
        assert_eq!(admit(9, Level::Info, "news", 100), 20);
        assert_eq!(admit(7, Level::Warn, "and again", 1), 0);
        assert_eq!(admit(10, Level::Debug, "details", 100), 100);
        for (seconds, is_over) in [(0, false), (9, false), (10, true)] {
            assert_eq!(limiter.is_over(at(seconds)), is_over, "after {seconds} s");
        }
        assert!(limiter.is_over(UNIX_EPOCH), "a clock that goes back ends the period");
        let suppressed = |level, count, last: &str| {
            let (target, last) = ("t".to_owned(), last.to_owned());
            Suppressed { level, target, count, last }
        };
        let counts = [suppressed(Level::Warn, 96, "and again"), suppressed(Level::Info, 80, "news")];
        assert_eq!(limiter.end_period(at(10)), counts);
        assert_eq!(limiter.end_period(at(11)), []);
        assert!(!limiter.is_over(at(20)) && limiter.is_over(at(21)));
    }
}
