//! Figures of an attack, their goals, and the lines that are printed.

use std::fmt;

use super::polite::Published;
use crate::stats;

/// Goal: an attack increases the polite client's p99 latency by at most this many microseconds.
const LATER_US_MAX: f64 = 10_000.0;

/// Goal: the polite client gets at least this part of its equal share.
const SHARE_LEAST: f64 = 0.5;

/// Goal: no turn of a node's event loop takes more CPU time than this, in microseconds.
const TURN_CPU_US_MAX: u64 = 5_000;

/// The polite client's results at one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// The runs without attackers.
    pub(super) idle: Both,
    /// The runs beside the attackers.
    pub(super) beside: Both,
}

/// The results of all rounds, with one request at a time and with pipelined requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Both([Published; 2]);

impl Both {
    /// Adds the runs of a round.
    pub(super) fn add(&mut self, runs: [Published; 2]) {
        self.0.iter_mut().zip(runs).for_each(|(sum, run)| sum.add(run));
    }

    /// Returns a quantile of the latency with one request at a time, in microseconds.
    fn latency_us(&mut self, share: f64) -> f64 {
        self.0[0].latencies_ns.sort_unstable();
        stats::percentile(&self.0[0].latencies_ns, share) as f64 / 1000.0
    }

    /// Returns the pipelined requests per second.
    fn rate(&self) -> f64 {
        self.0[1].latencies_ns.len() as f64 / self.0[1].seconds
    }

    fn errors(&self) -> usize {
        self.0.iter().map(|run| run.errors).sum()
    }
}

/// The nodes' own figures after an attack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Requests of the attackers that their node has received, per second.
    pub(super) asked: f64,
    /// How often links went down.
    pub(super) links_lost: u64,
    /// How many terms began: another leader was elected, or the same one again.
    pub(super) terms: u64,
    /// The longest turn by the clock, in microseconds, including time in which the node waited for a processor.
    pub(super) turn_us: u64,
    /// The longest turn in microseconds of CPU time; 0 if no turn was long enough to be measured.
    pub(super) turn_cpu_us: u64,
    /// Peak memory of the node that has needed most, in bytes.
    pub(super) memory_bytes: u64,
    /// Goal for the peak memory of a node, in bytes.
    pub(super) memory_bytes_max: u64,
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    text: String,
    is_missed: bool,
}

/// The columns: title and width.
const COLUMNS: [(&str, usize); 14] = [
    ("attack", 32),
    ("polite at", 9),
    ("asked", 10),
    ("p50 idle", 8),
    ("beside", 8),
    ("p99 idle", 8),
    ("beside", 8),
    ("rate idle", 9),
    ("share", 6),
    ("errors", 7),
    ("links", 6),
    ("terms", 6),
    ("turn CPU (clock)", 20),
    ("memory", 9),
];

/// Returns the titles of the columns.
pub(super) fn titles() -> String {
    line(COLUMNS.iter().map(|(title, _)| (*title).to_owned()))
}

impl Row {
    /// Returns the line for an attack and a node of the polite client, which shares that node with `competitors`
    /// others.
    pub(super) fn new(attack: &str, place: &str, competitors: usize, mut figures: Figures, seen: Seen) -> Self {
        let [p50_idle, p99_idle] = [0.5, 0.99].map(|share| figures.idle.latency_us(share));
        let [p50, p99] = [0.5, 0.99].map(|share| figures.beside.latency_us(share));
        let rate_idle = figures.idle.rate();
        let share = figures.beside.rate() / (rate_idle / (competitors + 1) as f64);
        let errors = figures.beside.errors();
        let cell = |text: String, is_missed: bool| Cell { text, is_missed };
        let us = |us: f64| format!("{us:.0} us");
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let turn = format!("{} us ({} us)", seen.turn_cpu_us, seen.turn_us);
        Self {
            cells: vec![
                cell(attack.to_owned(), false),
                cell(place.to_owned(), false),
                cell(format!("{:.1} k/s", seen.asked / 1000.0), false),
                cell(us(p50_idle), false),
                cell(us(p50), false),
                cell(us(p99_idle), false),
                cell(us(p99), p99 > p99_idle + LATER_US_MAX),
                cell(format!("{:.1} k/s", rate_idle / 1000.0), false),
                cell(format!("{share:.2}"), share.is_nan() || share < SHARE_LEAST),
                cell(errors.to_string(), errors > 0),
                cell(seen.links_lost.to_string(), seen.links_lost > 0),
                cell(seen.terms.to_string(), seen.terms > 0),
                cell(turn, seen.turn_cpu_us > TURN_CPU_US_MAX),
                cell(mib(seen.memory_bytes), seen.memory_bytes > seen.memory_bytes_max),
            ],
        }
    }

    /// Returns the number of goals that were missed.
    pub(super) fn missed(&self) -> usize {
        self.cells.iter().filter(|cell| cell.is_missed).count()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marked = |cell: &Cell| format!("{}{}", if cell.is_missed { "!" } else { "" }, cell.text);
        f.write_str(&line(self.cells.iter().map(marked)))
    }
}

/// Returns a line of the table. The first two columns are aligned to the left.
fn line(cells: impl Iterator<Item = String>) -> String {
    let aligned = |(number, (cell, (_, width)))| {
        if number < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    };
    let cells: Vec<String> = cells.zip(COLUMNS).enumerate().map(aligned).collect();
    cells.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns runs in which one request in a hundred is late.
    fn both(late_us: u64, rate: usize, errors: usize) -> Both {
        let unbatched = (0..1000).map(|number| if number % 50 == 0 { late_us * 1000 } else { 100_000 }).collect();
        let mut both = Both::default();
        both.add([
            Published { latencies_ns: unbatched, errors, seconds: 1.0 },
            Published { latencies_ns: vec![0; rate], errors: 0, seconds: 1.0 },
        ]);
        both
    }

    #[test]
    fn each_goal_can_be_missed() {
        let sound = Seen {
            asked: 1.0,
            links_lost: 0,
            terms: 0,
            turn_us: 90_000,
            turn_cpu_us: 5_000,
            memory_bytes: 99 << 20,
            memory_bytes_max: 99 << 20,
        };
        let figures = |late_us, rate, errors| Figures { idle: both(200, 9000, 0), beside: both(late_us, rate, errors) };
        let cases = [
            (figures(10_200, 500, 0), sound, 0),
            (figures(10_201, 500, 0), sound, 1),
            (figures(200, 499, 0), sound, 1),
            (figures(200, 9000, 1), sound, 1),
            (figures(200, 9000, 0), Seen { links_lost: 1, ..sound }, 1),
            (figures(200, 9000, 0), Seen { terms: 1, ..sound }, 1),
            (figures(200, 9000, 0), Seen { turn_cpu_us: 5_001, ..sound }, 1),
            (figures(200, 9000, 0), Seen { memory_bytes: 100 << 20, ..sound }, 1),
            (figures(20_000, 100, 2), Seen { links_lost: 3, ..sound }, 4),
        ];
        for (number, (figures, seen, missed)) in cases.into_iter().enumerate() {
            let row = Row::new("attack", "home", 8, figures, seen);
            assert_eq!(row.missed(), missed, "case {number}: {row}");
            assert_eq!(row.to_string().matches('!').count(), missed);
        }
    }
}
