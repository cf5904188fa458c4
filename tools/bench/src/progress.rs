//! The progress of a run: counters that its threads update, and a line that shows them.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dht_console::errors::note;
use dht_console::{clock, text};
use dht_report::{Run, Test};

/// Interval between two readings of the counters.
const EACH: Duration = Duration::from_millis(200);

/// Width of the bar in characters.
const BAR: usize = 20;

/// The counters of one thread, to which only that thread adds. Each has a cache line of its own, to avoid contention.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Meter {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Meter {
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, count: u64) {
        self.failed.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the responses and failures of all threads so far.
    pub(super) fn sum(meters: &[Self]) -> (u64, u64) {
        let of = |meter: &Self| (meter.answered.load(Ordering::Relaxed), meter.failed.load(Ordering::Relaxed));
        meters.iter().map(of).fold((0, 0), |(answered, failed), (a, f)| (answered + a, failed + f))
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Progress is not shown.
    Silent,
    /// A line is printed for each completed run.
    Lines,
    /// One line is redrawn.
    Live,
}

/// Shows the progress.
#[derive(Debug)]
pub(super) struct Progress {
    manner: Manner,
    /// Number of runs of all points.
    all: u32,
    /// Number of completed runs.
    finished: u32,
    /// The planned duration of a run.
    each: Duration,
    /// The duration of the completed runs, including their setup.
    took: Duration,
    /// The description of the current run.
    what: String,
    errors: u64,
    /// When the counters were last read, and how many responses there were then.
    last: Option<(Instant, u64)>,
}

impl Progress {
    pub(super) fn new(is_wanted: bool, all: u32, each: Duration) -> Self {
        let is_dumb = std::env::var("TERM").is_ok_and(|terminal| terminal == "dumb");
        let manner = match (is_wanted, io::stderr().is_terminal() && !is_dumb) {
            (false, _) => Manner::Silent,
            (true, true) => Manner::Live,
            (true, false) => Manner::Lines,
        };
        Self { manner, all, finished: 0, each, took: Duration::ZERO, what: String::new(), errors: 0, last: None }
    }

    /// Starts a run with this description.
    pub(super) fn begin(&mut self, test: Test, topics: u32, run: (u32, u32), target: Option<f64>) {
        let target = target.map_or_else(String::new, |rate| format!(" at {rate:.0} req/s"));
        let topics = text::counted(u64::from(topics), "topic");
        self.what = format!("{} {topics}{target}, run {}/{}", test.name(), run.0, run.1);
        self.last = None;
        self.draw("preparing");
    }

    /// Waits until the given time, or until `over` returns true, and shows the progress meanwhile.
    pub(super) fn wait(&mut self, until: Instant, meters: &[Meter], step: Duration, is_over: impl Fn() -> bool) {
        let mut now = clock::now();
        while now < until && !is_over() {
            if self.manner == Manner::Live {
                self.look(now, meters);
            }
            clock::pause(until.saturating_duration_since(now).min(step.min(EACH)));
            now = clock::now();
        }
    }

    fn look(&mut self, now: Instant, meters: &[Meter]) {
        let (answered, failed) = Meter::sum(meters);
        let Some((then, before)) = self.last else {
            self.last = Some((now, answered));
            return;
        };
        let passed = now.saturating_duration_since(then);
        if passed < EACH {
            return;
        }
        self.last = Some((now, answered));
        let rate = answered.saturating_sub(before) as f64 / passed.as_secs_f64();
        let errors = text::counted(self.errors + failed, "error");
        self.draw(&format!("{rate:.0} req/s  {errors}"));
    }

    /// Records the completion of a run.
    pub(super) fn end(&mut self, run: &Run, took: Duration) {
        self.finished += 1;
        self.errors += run.errors;
        self.took += took;
        if self.manner == Manner::Lines {
            let errors = text::counted(run.errors, "error");
            note(&format!(
                "{}/{}  {}: {:.0} req/s, p99 {:.0} µs, {errors}, left {}",
                self.finished,
                self.all,
                self.what,
                run.rate,
                run.latency.p99_us,
                humantime::format_duration(self.left()),
            ));
        }
    }

    /// Records that some runs will not take place.
    pub(super) fn skip(&mut self, count: u32) {
        self.all = self.all.saturating_sub(count).max(self.finished);
    }

    /// Erases the line, before other output.
    pub(super) fn clear(&self) {
        if self.manner == Manner::Live {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn left(&self) -> Duration {
        let each = self.took.checked_div(self.finished).unwrap_or(self.each);
        Duration::from_secs((each * self.all.saturating_sub(self.finished)).as_secs())
    }

    fn draw(&self, figures: &str) {
        if self.manner == Manner::Live {
            let (bar, left) = (bar(self.finished, self.all), humantime::format_duration(self.left()));
            let (number, all, what) = (self.finished + 1, self.all, &self.what);
            // On a terminal that is too narrow, a wrapped line would scroll; without line wrapping, its end is cut off
            // instead.
            let _ =
                write!(io::stderr(), "\r\x1b[?7l{bar} {number}/{all}  {what}  {figures}  left {left}\x1b[K\x1b[?7h");
        }
    }
}

/// Formats the bar: `[####>-----]`.
fn bar(finished: u32, all: u32) -> String {
    let full = (BAR * finished as usize / all.max(1) as usize).min(BAR - 1);
    format!("[{}>{}]", "#".repeat(full), "-".repeat(BAR - 1 - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_at_its_end_as_at_its_beginning() {
        for (finished, all, expected) in [
            (0, 10, "[>-------------------]"),
            (5, 10, "[##########>---------]"),
            (10, 10, "[###################>]"),
            (0, 0, "[>-------------------]"),
        ] {
            assert_eq!(bar(finished, all), expected, "{finished}/{all}");
        }
    }

    #[test]
    fn meters_are_added_up() {
        let meters: Vec<Meter> = (0..3).map(|_| Meter::default()).collect();
        meters[0].answered();
        meters[2].answered();
        meters[1].failed(5);
        assert_eq!(Meter::sum(&meters), (2, 5));
    }
}
