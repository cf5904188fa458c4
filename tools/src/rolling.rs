//! `stats -i`: prints a line at each interval, for a terminal, a pipe or a log.
//!
//! ```text
//!      UTC  NODES    REQ/S    REC/S   BYTES/S  DELIV/S    FWD/S    ERR/S  CLIENTS   TOPICS    MEMORY
//! 10:00:01    8/8    12034    12030    1.5MiB     8021    30112        0       17      100   24.1MiB
//! ```
//!
//! A line is the sum over the nodes. A node's rate is the increase of its counter divided by the time by its own clock,
//! so neither a late response nor a failed request causes a peak. After a restart, a node's counters count from zero.

use std::time::{Duration, Instant};

use dht_client::{NodeAnswer, NodeId};
use dht_console::clock;
use dht_console::errors::{Exit, Failure, note};
use dht_console::interrupt;
use dht_console::output::{self, BAD, BOLD};
use dht_console::session::Session;
use dht_console::text;
use serde_json::{Map, Value, json};

use crate::args;
use crate::nodes::counters;

/// The kind of value in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The increase of a counter per second.
    Rate,
    /// A value that is shown as it is.
    Gauge,
}

/// A column: heading, name in STATS, kind, and whether it is a number of bytes.
type Column = (&'static str, &'static str, Kind, bool);

const COLUMNS: [Column; 9] = [
    ("REQ/S", "requests", Kind::Rate, false),
    ("REC/S", "records", Kind::Rate, false),
    ("BYTES/S", "record_bytes", Kind::Rate, true),
    ("DELIV/S", "delivers", Kind::Rate, false),
    ("FWD/S", "forwarded", Kind::Rate, false),
    ("ERR/S", "errors", Kind::Rate, false),
    ("CLIENTS", "clients", Kind::Gauge, false),
    ("TOPICS", "topics", Kind::Gauge, false),
    ("MEMORY", "memory_bytes", Kind::Gauge, true),
];

/// Number of lines between two headings.
const HEADING_EVERY: u64 = 20;

/// The longest interval. Longer ones are mistakes, and extreme ones overflow the clock.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest delay until Ctrl-C is noticed.
const SLICE: Duration = Duration::from_millis(50);

/// Prints lines until the wanted number is reached, or Ctrl-C is pressed.
pub(crate) fn roll(stats: &args::Stats, interval: &str, session: &mut Session) -> Result<Exit, Failure> {
    let interval = text::duration(interval)?;
    if interval.is_zero() || interval > INTERVAL_MAX {
        return Err(Failure::usage("an interval is longer than 0 and at most a day".to_owned()));
    }
    if session.is_line {
        return Err(Failure::usage("stats -i is no command of nc".to_owned()));
    }
    let asked = session.nodes(&stats.nodes)?;
    let dimension = session.dimension()?;
    interrupt::listen()?;
    output::end_with_reader();
    let known = |node: &NodeId| Known { node: *node, name: node.binary(dimension), last: None, is_up: true };
    let mut nodes: Vec<_> = asked.iter().map(known).collect();
    let mut looked = clock::now();
    let first = session.client()?.stats(&asked)?;
    take(first, &mut nodes, session);
    for line in 0..stats.count.unwrap_or(u64::MAX) {
        if line % HEADING_EVERY == 0 && !session.out.is_json() {
            let heading = session.out.paint(BOLD, &heading());
            session.out.line(&heading)?;
        }
        session.out.flush()?;
        looked = pause_until((looked + interval).max(clock::now()));
        if interrupt::is_pressed() {
            // Without a count, Ctrl-C is the intended way to end.
            return Ok(if stats.count.is_none() { Exit::Done } else { Exit::Interrupted });
        }
        let sums = match session.client().and_then(|client| Ok(client.stats(&asked)?)) {
            Ok(answers) => take(answers, &mut nodes, session),
            // No node could be reached. The failure is reported, and the next line tries again.
            Err(Failure::Client { error, .. }) if error.is_retryable() => {
                nodes.iter_mut().for_each(|known| known.change(false, session));
                [0.0; COLUMNS.len()]
            }
            Err(failure) => return Err(failure),
        };
        print(&sums, &nodes, session)?;
    }
    Ok(Exit::Done)
}

/// Waits until the given time, or for Ctrl-C.
fn pause_until(due: Instant) -> Instant {
    loop {
        let left = due.saturating_duration_since(clock::now());
        if left.is_zero() || interrupt::is_pressed() {
            return due;
        }
        clock::pause(left.min(SLICE));
    }
}

/// A node and its last report.
#[derive(Debug)]
struct Known {
    node: NodeId,
    name: String,
    last: Option<Snapshot>,
    is_up: bool,
}

impl Known {
    /// Reports on standard error when a node stops or starts to answer.
    fn change(&mut self, is_up: bool, session: &Session) {
        if self.is_up != is_up && !session.settings.quiet {
            let what = if is_up { "answers again" } else { "does not answer" };
            note(&format!("dht-cli: node {} {what}", self.name));
        }
        self.is_up = is_up;
    }
}

/// Records the nodes' responses, and returns the sums for a line.
fn take(answers: Vec<NodeAnswer<String>>, nodes: &mut [Known], session: &Session) -> Values {
    let mut sums = [0.0; COLUMNS.len()];
    for NodeAnswer { node, answer } in answers {
        for known in nodes.iter_mut().filter(|known| known.node == node) {
            known.change(answer.is_ok(), session);
            let Ok(text) = &answer else { continue };
            let now = Snapshot::read(text);
            let values = now.values_since(known.last.as_ref().unwrap_or(&now));
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            known.last = Some(now);
        }
    }
    sums
}

/// The values of a line, in the order of the columns.
type Values = [f64; COLUMNS.len()];

/// A node's report at one time.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    uptime_ms: u64,
    /// The values in the order of the columns; 0 for one that the node does not have.
    numbers: [u64; COLUMNS.len()],
}

impl Snapshot {
    fn read(text: &str) -> Self {
        let number = |name| {
            let found = counters(text).find(|(found, _)| *found == name);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        Self { uptime_ms: number("uptime_ms"), numbers: COLUMNS.map(|(_, name, ..)| number(name)) }
    }

    /// Returns gauges unchanged, and for each counter its increase per second. If a counter has decreased, the node has
    /// restarted; the increase is then that since its start.
    fn values_since(&self, before: &Self) -> Values {
        let columns = || COLUMNS.iter().map(|(_, _, kind, _)| *kind).zip(self.numbers);
        let goes_on = |((kind, now), before)| kind == Kind::Gauge || now >= before;
        let is_same = self.uptime_ms >= before.uptime_ms && columns().zip(before.numbers).all(goes_on);
        let before = if is_same { before.clone() } else { Self::default() };
        let seconds = (self.uptime_ms - before.uptime_ms) as f64 / 1e3;
        let mut values = [0.0; COLUMNS.len()];
        for (value, ((kind, now), before)) in values.iter_mut().zip(columns().zip(before.numbers)) {
            *value = match kind {
                Kind::Gauge => now as f64,
                Kind::Rate if seconds > 0.0 => (now - before) as f64 / seconds,
                Kind::Rate => 0.0,
            };
        }
        values
    }
}

fn heading() -> String {
    let columns = COLUMNS.map(|(heading, _, _, is_bytes)| cell(heading, is_bytes));
    format!("{:>8} {:>6}{}", "UTC", "NODES", columns.concat())
}

/// Bytes may take as much room as `1023.9KiB`.
fn cell(text: &str, is_bytes: bool) -> String {
    let width = if is_bytes { 9 } else { 8 };
    format!(" {text:>width$}")
}

fn print(values: &Values, nodes: &[Known], session: &mut Session) -> Result<(), Failure> {
    let time = text::time(clock::wall_us());
    if session.out.is_json() {
        return Ok(session.out.json(&row_json(&time, values, nodes))?);
    }
    let up = nodes.iter().filter(|known| known.is_up).count();
    let of_all = format!("{up}/{}", nodes.len());
    let cells = COLUMNS.iter().zip(values).map(|((_, _, _, is_bytes), value)| {
        let shown = if up == 0 { "-".to_owned() } else { number(*value, *is_bytes) };
        cell(&shown, *is_bytes)
    });
    let line = format!("{:>8} {of_all:>6}{}", clock_time(&time), cells.collect::<String>());
    let line = if up < nodes.len() { session.out.paint(BAD, &line) } else { line };
    Ok(session.out.line(&line)?)
}

/// Formats a value: `12034`, below ten `0.3`, bytes as `1.5MiB`. It has no spaces, for programs that split lines at
/// spaces.
fn number(value: f64, is_bytes: bool) -> String {
    if is_bytes {
        text::bytes(whole(value)).replace(' ', "")
    } else if value < 9.95 && value.fract() > 0.0 {
        format!("{value:.1}")
    } else {
        whole(value).to_string()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of unsigned numbers")]
const fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Returns the time of day of an RFC 3339 time, to the second.
fn clock_time(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

fn row_json(time: &str, values: &Values, nodes: &[Known]) -> Value {
    let of_kind = |wanted| {
        let columns = COLUMNS.iter().zip(values).filter(|((_, _, kind, _), _)| *kind == wanted);
        let shown = |value| if wanted == Kind::Rate { json!(value) } else { json!(whole(value)) };
        columns.map(|((_, name, ..), value)| ((*name).to_owned(), shown(*value))).collect::<Map<_, _>>()
    };
    let down: Vec<_> = nodes.iter().filter(|known| !known.is_up).map(|known| known.name.as_str()).collect();
    json!({
        "time": time, "asked": nodes.len(), "down": down, "per_second": of_kind(Kind::Rate),
        "now": of_kind(Kind::Gauge),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each case has an earlier and a later report as "NAME NUMBER, …", and the values of the line that are not zero.
    #[test]
    fn a_line_is_made_of_two_looks() {
        let cases = [
            // Rates use the node's clock; gauges are shown as they are.
            ("uptime_ms 1000, requests 10, topics 9", "uptime_ms 3000, requests 30, topics 4", "requests 10, topics 4"),
            ("uptime_ms 1000, records 7", "uptime_ms 1500, records 8, record_bytes 1", "records 2, record_bytes 2"),
            ("uptime_ms 1000, errors 7", "uptime_ms 1999, errors 7", ""),
            // A gauge may decrease without a restart of the node.
            (
                "uptime_ms 1000, clients 9, forwarded 5",
                "uptime_ms 2000, clients 1, forwarded 6",
                "forwarded 1, clients 1",
            ),
            // After a restart, a counter counts from the start.
            ("uptime_ms 9000, requests 500", "uptime_ms 2000, requests 8", "requests 4"),
            (
                "uptime_ms 1000, requests 5, delivers 3",
                "uptime_ms 2000, requests 6, delivers 1",
                "requests 3, delivers 0.5",
            ),
            // No time has passed, there was no earlier report, and values that are not numbers.
            ("uptime_ms 1000, requests 5", "uptime_ms 1000, requests 6", ""),
            ("", "uptime_ms 0, requests 6", ""),
            ("", "uptime_ms 100, requests many, unheard_of 3", ""),
        ];
        let lines = |text: &str| text.replace(", ", "\n");
        for (before, now, expected) in cases {
            let values = Snapshot::read(&lines(now)).values_since(&Snapshot::read(&lines(before)));
            let named = COLUMNS.iter().zip(values).filter(|(_, value)| *value != 0.0);
            let shown: Vec<_> = named.map(|((_, name, ..), value)| format!("{name} {value}")).collect();
            assert_eq!(shown.join(", "), expected, "{before} -> {now}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, is_bytes, expected) in [
            (0.0, false, "0"),
            (0.26, false, "0.3"),
            (9.96, false, "10"),
            (12_034.4, false, "12034"),
            (0.0, true, "0B"),
            (1_572_864.0, true, "1.5MiB"),
        ] {
            assert_eq!(number(value, is_bytes), expected, "{value}");
        }
    }
}
