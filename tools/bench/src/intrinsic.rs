//! `bench intrinsic`: the latency that this machine adds by itself, without a node or a network.
//!
//! | row | what is measured |
//! |---|---|
//! | `spin` | a thread reads the clock repeatedly: how long it was not running between two readings |
//! | `sleep` | a thread sleeps for a millisecond: how late it wakes, as after a wait for a socket |
//!
//! Latencies measured on this machine cannot be trusted below these values. The two tests run one after the other, each
//! for half of the time.

use std::time::Duration;

use dht_console::errors::{Exit, Failure};
use dht_console::output::{BOLD, DIM};
use dht_console::session::Session;
use dht_console::text::{self, Align};
use dht_console::{clock, interrupt};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::cpu;

/// The shortest gap between two readings of the clock that counts as an interruption.
const STALL_NS: u64 = 10_000;

/// How long the thread sleeps.
const NAP: Duration = Duration::from_millis(1);

/// Number of readings of the clock between two checks for Ctrl-C.
const READINGS: u32 = 4096;

/// The histogram covers nanoseconds up to a minute, with three digits.
const MOST_NS: u64 = 60_000_000_000;

/// Measures and prints the result.
///
/// # Errors
/// Returns an error if the duration is not valid.
pub(super) fn intrinsic(duration: Option<&str>, session: &mut Session) -> Result<Exit, Failure> {
    let time = text::duration(duration.unwrap_or("10s"))?;
    if time.is_zero() {
        return Err(Failure::usage("the duration must be longer than zero".to_owned()));
    }
    interrupt::listen().map_err(|error| Failure::Input { name: "Ctrl-C".to_owned(), error })?;
    let (gaps, spun_ns) = spin(time / 2);
    let late = sleep(time / 2);
    let stalls = stalls(&gaps);
    let stolen = stalls.iter().map(|(value, count)| value * count).sum::<u64>() as f64 / spun_ns.max(1) as f64;
    let count: u64 = stalls.iter().map(|(_, count)| count).sum();
    if session.out.is_json() {
        let environment =
            serde_json::to_value(cpu::environment(true)).map_err(|error| Failure::Output(error.into()))?;
        session.out.json(&json!({
            "seconds": time.as_secs_f64(),
            "spin": figures(&gaps), "sleep": figures(&late),
            "stalls": count, "stalls_share": stolen,
            "environment": environment,
        }))?;
    } else {
        let heading = ["µs", "count", "p50", "p99", "p99.9", "max"].map(str::to_owned).to_vec();
        let rows = [heading, row("spin", &gaps), row("sleep", &late)];
        let columns = [Align::Left, Align::Right, Align::Right, Align::Right, Align::Right, Align::Right];
        for (index, line) in text::table(&columns, &rows).iter().enumerate() {
            let line = if index == 0 { session.out.paint(DIM, line) } else { line.clone() };
            session.out.line(&line)?;
        }
        let longest = session.out.paint(BOLD, &format!("{:.0} µs", gaps.max() as f64 / 1e3));
        let stalls = text::counted(count, "time");
        session.out.line(&format!(
            "A thread that wants to run was kept waiting {stalls} for 10 µs or more, at most {longest}, together \
             {:.2} % of the time.",
            stolen * 100.0
        ))?;
    }
    Ok(if interrupt::is_pressed() { Exit::Interrupted } else { Exit::Done })
}

/// Measures the gaps between readings of the clock, and for how long it was read.
fn spin(time: Duration) -> (Histogram<u64>, u64) {
    let mut gaps = histogram();
    let begin = clock::now();
    let mut last = begin;
    while last.duration_since(begin) < time && !interrupt::is_pressed() {
        for _ in 0..READINGS {
            let now = clock::now();
            gaps.saturating_record(nanos(now.duration_since(last)));
            last = now;
        }
    }
    (gaps, nanos(last.duration_since(begin)))
}

/// Measures how late the thread wakes.
fn sleep(time: Duration) -> Histogram<u64> {
    let mut late = histogram();
    let begin = clock::now();
    let mut last = begin;
    while last.duration_since(begin) < time && !interrupt::is_pressed() {
        clock::pause(NAP);
        let now = clock::now();
        late.saturating_record(nanos(now.duration_since(last).saturating_sub(NAP)));
        last = clock::now();
    }
    late
}

/// Returns the gaps that were interruptions, with their counts.
fn stalls(gaps: &Histogram<u64>) -> Vec<(u64, u64)> {
    let all = gaps.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
    all.filter(|(value, _)| *value >= STALL_NS).collect()
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MOST_NS, 3).expect("these bounds are possible")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const QUANTILES: [(&str, f64); 4] = [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)];

fn at(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

fn row(name: &str, histogram: &Histogram<u64>) -> Vec<String> {
    let figures = QUANTILES.map(|(_, quantile)| format!("{:.2}", at(histogram, quantile)));
    [name.to_owned(), histogram.len().to_string()].into_iter().chain(figures).collect()
}

fn figures(histogram: &Histogram<u64>) -> Value {
    let mut value = json!({"count": histogram.len(), "avg_us": histogram.mean() / 1e3});
    for (name, quantile) in QUANTILES {
        value[name] = json!(at(histogram, quantile));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_gaps_are_stalls() {
        let mut gaps = histogram();
        for (nanos, count) in [(30, 1_000_000), (9_000, 50), (12_000, 3), (5_000_000, 1)] {
            gaps.record_n(nanos, count).unwrap();
        }
        let found = stalls(&gaps);
        assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), 4);
        assert!(found.iter().all(|(value, _)| *value >= 12_000), "{found:?}");
        assert_eq!(row("spin", &gaps).len(), QUANTILES.len() + 2);
    }
}
