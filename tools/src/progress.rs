//! The progress of a long command, shown on a terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use dht_console::clock;
use dht_console::errors::note;
use dht_console::session::Session;
use dht_console::text;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Interval at which the line is redrawn.
const EVERY: Duration = Duration::from_millis(200);

/// A line on standard error with the number of records, their bytes and the rate. It is not shown if standard error is
/// not a terminal.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    records: u64,
    bytes: u64,
    begun: Instant,
    shown: Instant,
}

impl Progress {
    /// `size` is the total number of bytes, if known. If the input is typed by a person, no line is shown, because it
    /// would interrupt the typing.
    pub(crate) fn new(size: Option<u64>, is_typed: bool, session: &Session) -> Self {
        let is_shown = !session.settings.quiet && !session.is_line && !is_typed && io::stderr().is_terminal();
        let bar = is_shown.then(|| {
            let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
            let template = if size.is_some() { "{wide_bar} {percent:>3} %  {msg}" } else { "{spinner} {msg}" };
            bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = clock::now();
        Self { bar, records: 0, bytes: 0, begun: now, shown: now }
    }

    /// Counts a record of `bytes` bytes.
    pub(crate) fn add(&mut self, bytes: usize) {
        let Some(bar) = &self.bar else { return };
        self.records += 1;
        self.bytes += bytes as u64;
        let now = clock::now();
        if now.duration_since(self.shown) >= EVERY {
            self.shown = now;
            let seconds = now.duration_since(self.begun).as_secs_f64();
            bar.set_position(self.bytes);
            bar.set_message(line(self.records, self.bytes, seconds));
        }
    }

    /// Prints a message above the line.
    pub(crate) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(what)),
            None => note(what),
        }
    }

    /// Erases the line.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn line(records: u64, bytes: u64, seconds: f64) -> String {
    let rate = records as f64 / seconds.max(1e-3);
    format!("{}, {}, {rate:.0} records/s", text::counted(records, "record"), text::bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_records_bytes_and_rate() {
        assert_eq!(line(1, 10, 2.0), "1 record, 10 B, 0 records/s");
        assert_eq!(line(30_000, 3 << 20, 1.5), "30000 records, 3.0 MiB, 20000 records/s");
    }
}
