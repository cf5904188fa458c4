//! The lines of the log. Each has the time to the millisecond, the level, the node, and the part of the program:
//!
//! ```text
//! 2026-11-29T04:05:06.789Z INFO  node 101 net: listens on 127.0.0.1:5005
//! ```
//!
//! A place in the program that has a lot to say is cut short: beyond so many lines in ten seconds the others are left
//! out, and how many that were is told when the time is over.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use log::{Level, Log, Metadata, Record};

/// Lines of one place are counted for this long.
const WINDOW: Duration = Duration::from_secs(10);

/// Starts the log on stderr for this node. `RUST_LOG` sets what is logged; the default is `info`.
pub(crate) fn start(node: String) {
    let lines = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(move |out, record: &Record<'_>| {
            let style = out.default_level_style(record.level());
            let level = format!("{style}{:<5}{style:#}", record.level());
            writeln!(out, "{}", line(now(), &level, &node, part(record.target()), &record.args().to_string()))
        })
        .build();
    log::set_max_level(lines.filter());
    // Only a second call fails, and there is none.
    let _ = log::set_boxed_logger(Box::new(Limited { lines, places: Shared::default() }));
}

#[expect(clippy::disallowed_types, reason = "a logger is one for all threads")]
type Shared<T> = std::sync::Mutex<T>;

/// Writes lines, but not too many of one place.
struct Limited {
    lines: env_logger::Logger,
    places: Shared<Places>,
}

impl Limited {
    fn tell_left_out(&self, left_out: Vec<LeftOut>) {
        for LeftOut { level, target, count, last } in left_out {
            let text = format_args!("{count} more lines like this one were left out: {last}");
            self.lines.log(&Record::builder().level(level).target(&target).args(text).build());
        }
    }
}

impl Log for Limited {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.lines.matches(record) {
            return;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (left_out, is_admitted) = (places.take_over(now()), places.admit(record, now()));
        drop(places);
        self.tell_left_out(left_out);
        if is_admitted {
            self.lines.log(record);
        }
    }

    fn flush(&self) {
        let left_out = self.places.lock().unwrap_or_else(PoisonError::into_inner).take_over(now());
        self.tell_left_out(left_out);
        self.lines.flush();
    }
}

/// The places in the program that have logged something lately.
#[derive(Debug, Default)]
struct Places(BTreeMap<(String, u32), Place>);

#[derive(Debug)]
struct Place {
    since: SystemTime,
    admitted: u32,
    left_out: Option<LeftOut>,
}

/// Lines that were not written.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    level: Level,
    target: String,
    count: u64,
    last: String,
}

impl Places {
    /// Whether the line of a record is to be written.
    fn admit(&mut self, record: &Record<'_>, now: SystemTime) -> bool {
        let key = (record.file().unwrap_or_else(|| record.target()).to_owned(), record.line().unwrap_or(0));
        let place = self.0.entry(key).or_insert(Place { since: now, admitted: 0, left_out: None });
        if place.admitted < lines_max(record.level()) {
            place.admitted += 1;
            return true;
        }
        let (level, target) = (record.level(), record.target().to_owned());
        let left_out = place.left_out.get_or_insert(LeftOut { level, target, count: 0, last: String::new() });
        left_out.count += 1;
        left_out.last = record.args().to_string();
        false
    }

    /// What was left out in the times that are over. A clock that goes back ends all of them.
    fn take_over(&mut self, now: SystemTime) -> Vec<LeftOut> {
        let goes_on = |place: &Place| now.duration_since(place.since).is_ok_and(|age| age < WINDOW);
        let mut left_out = Vec::new();
        self.0.retain(|_, place| {
            let stays = goes_on(place);
            if !stays {
                left_out.extend(place.left_out.take());
            }
            stays
        });
        left_out
    }
}

/// Lines of one place in [`WINDOW`]: a node of the largest cube may say two of each of its ten links.
const fn lines_max(level: Level) -> u32 {
    match level {
        Level::Error | Level::Warn => 5,
        Level::Info => 20,
        Level::Debug | Level::Trace => u32::MAX,
    }
}

/// A line as in the log, for stdout.
pub(crate) fn info(node: &str, part: &str, text: &str) -> String {
    line(now(), &format!("{:<5}", Level::Info), node, part, text)
}

fn line(now: SystemTime, level: &str, node: &str, part: &str, text: &str) -> String {
    format!("{} {level} node {node} {part}: {text}", humantime::format_rfc3339_millis(now))
}

/// `net` of `dht_node::net::server`.
fn part(target: &str) -> &str {
    let mut modules = target.split("::");
    let first = modules.next().unwrap_or(target);
    if first == "dht_node" { modules.next().unwrap_or("main") } else { first }
}

#[expect(clippy::disallowed_methods, reason = "a log is for people, whose time it shows")]
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
    fn a_place_that_repeats_itself_is_cut_short_and_what_was_left_out_is_told_later() {
        let mut places = Places::default();
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1000 + seconds);
        let admit = |places: &mut Places, line: u32, level: Level, text: &str, seconds: u64| {
            let args = format_args!("{text}");
            places.admit(
                &Record::builder().args(args).level(level).file(Some("a.rs")).line(Some(line)).build(),
                at(seconds),
            )
        };
        let admitted = (0..100).filter(|_| admit(&mut places, 7, Level::Warn, "again", 0)).count();
        assert_eq!(admitted, 5);
        assert!(admit(&mut places, 8, Level::Warn, "another place", 1));
        assert_eq!((0..100).filter(|_| admit(&mut places, 9, Level::Info, "news", 9)).count(), 20);
        assert_eq!((0..100).filter(|_| admit(&mut places, 10, Level::Debug, "details", 9)).count(), 100);
        assert_eq!(places.take_over(at(9)), []);
        let left_out =
            |level, count, last: &str| LeftOut { level, target: String::new(), count, last: last.to_owned() };
        assert_eq!(places.take_over(at(10)), [left_out(Level::Warn, 95, "again")]);
        assert!(admit(&mut places, 7, Level::Warn, "again", 10), "it is counted anew");
        // A clock that goes back ends all of them.
        assert_eq!(places.take_over(at(0)), [left_out(Level::Info, 80, "news")]);
        assert_eq!(places.0.len(), 0);
    }
}
