//! The counts of a thread, and their combination over threads and runs: histograms are merged, never averaged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dht_report::{Bucket, Delivery, ErrorKind, Hop, Percentile, Summary};
use hdrhistogram::Histogram;

/// The lowest latency that the histograms resolve, in nanoseconds.
const LEAST_NS: u64 = 100;
/// The highest latency that the histograms hold, in nanoseconds; longer ones count as this.
const MOST_NS: u64 = 60_000_000_000;
/// Number of significant digits of a latency.
const DIGITS: u8 = 3;
/// Number of significant digits in the timeline, which has many histograms.
const DIGITS_TIMELINE: u8 = 2;

/// Delay after its planned time from which a request of the open loop counts as late.
const LATE: Duration = Duration::from_millis(1);

/// The shortest interval of the timeline.
const BUCKET_MS: u64 = 100;
/// If there are more intervals than this, pairs of them are merged, because the length of a run is not always known.
const BUCKETS_MAX: u64 = 60;

/// The times that delimit a measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The time of the first request.
    pub(super) begin: Instant,
    /// The end of the warm-up.
    pub(super) start: Instant,
    /// The last request.
    pub(super) end: Instant,
}

impl Window {
    fn has(&self, instant: Instant) -> bool {
        (self.start..self.end).contains(&instant)
    }
}

/// A successful request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Success {
    /// When it was due.
    pub(super) planned: Instant,
    /// When it was sent.
    pub(super) sent: Instant,
    /// When its response arrived.
    pub(super) answered: Instant,
    /// Number of hops, where that is known.
    pub(super) hops: Option<usize>,
}

/// The counts and latencies of one operation.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    latency: Histogram<u64>,
    service: Histogram<u64>,
    lag: Histogram<u64>,
    hops: BTreeMap<usize, Histogram<u64>>,
    timeline: BTreeMap<u64, Stretch>,
    /// Length of an interval of the timeline: [`BUCKET_MS`], doubled as often as necessary.
    bucket_ms: u64,
    errors: BTreeMap<&'static str, u64>,
    /// Responses that arrived during the measurement.
    answered: u64,
    late: u64,
    pub(super) unsent: u64,
    pub(super) delivery: Option<Delivery>,
}

#[derive(Clone, Debug)]
struct Stretch {
    latency: Histogram<u32>,
    errors: u64,
}

impl Stretch {
    fn new() -> Self {
        Self { latency: histogram_small(), errors: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("both have the same bounds");
        self.errors += other.errors;
    }
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            latency: histogram(),
            service: histogram(),
            lag: histogram(),
            hops: BTreeMap::new(),
            timeline: BTreeMap::new(),
            bucket_ms: BUCKET_MS,
            errors: BTreeMap::new(),
            answered: 0,
            late: 0,
            unsent: 0,
            delivery: None,
        }
    }

    /// Records a response. The histograms contain the requests that were due during the measurement, however late their
    /// responses arrived; the rate counts the responses that arrived during it.
    pub(super) fn succeeded(&mut self, success: Success, window: &Window) {
        let Success { planned, sent, answered, hops } = success;
        if window.has(answered) {
            self.answered += 1;
            let latency = nanos(answered.duration_since(planned));
            self.stretch(answered, window).latency.saturating_record(latency);
        }
        if !window.has(planned) {
            return;
        }
        let latency = nanos(answered.duration_since(planned));
        self.latency.saturating_record(latency);
        self.service.saturating_record(nanos(answered.duration_since(sent)));
        let lag = sent.duration_since(planned);
        self.lag.saturating_record(nanos(lag));
        self.late += u64::from(lag > LATE);
        if let Some(hops) = hops {
            self.hops.entry(hops).or_insert_with(histogram).saturating_record(latency);
        }
    }

    /// Records failures, including those during the warm-up, because they also cast doubt on the figures.
    pub(super) fn failed(&mut self, kind: &'static str, count: u64, now: Instant, window: &Window) {
        *self.errors.entry(kind).or_default() += count;
        if window.has(now) {
            self.stretch(now, window).errors += count;
        }
    }

    fn stretch(&mut self, at: Instant, window: &Window) -> &mut Stretch {
        let at_ms = u64::try_from(at.duration_since(window.start).as_millis()).unwrap_or(u64::MAX);
        while at_ms / self.bucket_ms >= BUCKETS_MAX {
            self.widen();
        }
        self.timeline.entry(at_ms / self.bucket_ms).or_insert_with(Stretch::new)
    }

    /// Merges pairs of intervals.
    fn widen(&mut self) {
        self.bucket_ms *= 2;
        for (index, stretch) in std::mem::take(&mut self.timeline) {
            self.timeline.entry(index / 2).or_insert_with(Stretch::new).add(&stretch);
        }
    }

    /// Adds the counts of another thread or run.
    pub(super) fn add(&mut self, other: &Self) {
        add(&mut self.latency, &other.latency);
        add(&mut self.service, &other.service);
        add(&mut self.lag, &other.lag);
        for (hops, histogram) in &other.hops {
            add(self.hops.entry(*hops).or_insert_with(self::histogram), histogram);
        }
        while self.bucket_ms < other.bucket_ms {
            self.widen();
        }
        for (index, stretch) in &other.timeline {
            let index = index * other.bucket_ms / self.bucket_ms;
            self.timeline.entry(index).or_insert_with(Stretch::new).add(stretch);
        }
        for (kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.answered += other.answered;
        self.late += other.late;
        self.unsent += other.unsent;
        if let Some(other) = &other.delivery {
            self.delivery.get_or_insert_default().add(other);
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.latency.len()
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    pub(super) fn late(&self) -> u64 {
        self.late
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(super) fn error_kinds(&self) -> Vec<ErrorKind> {
        let kinds = self.errors.iter().map(|(kind, count)| ErrorKind { kind: (*kind).to_owned(), count: *count });
        let mut kinds: Vec<_> = kinds.collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        kinds
    }

    pub(super) fn latency(&self) -> Summary {
        summary(&self.latency)
    }

    /// Returns the histogram of the latencies, for a file of its own.
    pub(super) const fn distribution(&self) -> &Histogram<u64> {
        &self.latency
    }

    pub(super) fn service(&self) -> Summary {
        summary(&self.service)
    }

    pub(super) fn lag_p99_us(&self) -> f64 {
        micros(self.lag.value_at_quantile(0.99))
    }

    /// Returns the summaries with their curves.
    pub(super) fn curves(&self) -> (Summary, Summary) {
        let with = |histogram| Summary { curve: curve(histogram), ..summary(histogram) };
        (with(&self.latency), with(&self.service))
    }

    /// Returns the latencies by number of hops, with the shares expected for a cube of this dimension.
    pub(super) fn hops(&self, dimension: u8) -> Vec<Hop> {
        let all: u64 = self.hops.values().map(Histogram::len).sum();
        let hop = |(hops, histogram): (&usize, &Histogram<u64>)| Hop {
            hops: u32::try_from(*hops).unwrap_or(u32::MAX),
            share: histogram.len() as f64 / all as f64,
            expected_share: expected_share(*hops, dimension),
            latency: summary(histogram),
        };
        self.hops.iter().map(hop).collect()
    }

    /// Returns the timeline without gaps: an interval without events has zeros.
    pub(super) fn timeline(&mut self, window: &Window) -> Vec<Bucket> {
        let measured = window.end.saturating_duration_since(window.start).as_millis();
        while measured > u128::from(self.bucket_ms * BUCKETS_MAX) {
            self.widen();
        }
        let width_ms = self.bucket_ms;
        let measured = measured.div_ceil(u128::from(width_ms));
        let bucket = |index| {
            let stretch = self.timeline.get(&index);
            Bucket {
                at_ms: index * width_ms,
                width_ms,
                requests: stretch.map_or(0, |stretch| stretch.latency.len()),
                errors: stretch.map_or(0, |stretch| stretch.errors),
                p99_us: stretch.map_or(0.0, |stretch| micros(stretch.latency.value_at_quantile(0.99))),
            }
        };
        (0..u64::try_from(measured).unwrap_or(0)).map(bucket).collect()
    }
}

/// Returns the share of the nodes of a cube that are this many hops away from a given node.
fn expected_share(hops: usize, dimension: u8) -> f64 {
    let mut share = 0.5_f64.powi(i32::from(dimension));
    for step in 0..hops {
        share *= (usize::from(dimension).saturating_sub(step)) as f64 / (step + 1) as f64;
    }
    share
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LEAST_NS, MOST_NS, DIGITS).expect("these bounds are possible")
}

fn histogram_small() -> Histogram<u32> {
    Histogram::new_with_bounds(LEAST_NS, MOST_NS, DIGITS_TIMELINE).expect("these bounds are possible")
}

fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    into.add(from).expect("both have the same bounds");
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

fn summary(histogram: &Histogram<u64>) -> Summary {
    if histogram.is_empty() {
        return Summary::default();
    }
    let at = |quantile| micros(histogram.value_at_quantile(quantile));
    Summary {
        count: histogram.len(),
        avg_us: histogram.mean() / 1000.0,
        min_us: micros(histogram.min()),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p95_us: at(0.95),
        p99_us: at(0.99),
        p999_us: at(0.999),
        p9999_us: at(0.9999),
        max_us: micros(histogram.max()),
        stddev_us: histogram.stdev() / 1000.0,
        curve: Vec::new(),
    }
}

/// Five points for each halving of the distance to 100 %.
fn curve(histogram: &Histogram<u64>) -> Vec<Percentile> {
    let point = |percentile, value| Percentile { percentile, us: micros(value) };
    histogram
        .iter_quantiles(5)
        .map(|value| point(value.quantile_iterated_to() * 100.0, value.value_iterated_to()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_console::clock;

    /// A thousand requests, 1 ms apart, of 1 to 1000 µs.
    fn thousand() -> (Tally, Window) {
        let begin = clock::now();
        let window = Window { begin, start: begin, end: begin + Duration::from_secs(1) };
        let mut tally = Tally::new();
        for number in 1..=1000 {
            let planned = begin + Duration::from_millis(number - 1);
            let sent = planned + Duration::from_nanos(500 * number);
            let answered = planned + Duration::from_micros(number);
            tally.succeeded(Success { planned, sent, answered, hops: Some(1) }, &window);
        }
        (tally, window)
    }

    fn is_near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= expected * 0.002
    }

    #[test]
    fn figures_are_those_of_the_values() {
        let (tally, _) = thousand();
        let (latency, service) = tally.curves();
        assert_eq!(latency.count, 1000);
        for (found, expected) in [
            (latency.avg_us, 500.5),
            (latency.min_us, 1.0),
            (latency.p50_us, 500.0),
            (latency.p90_us, 900.0),
            (latency.p99_us, 990.0),
            (latency.p999_us, 999.0),
            (latency.max_us, 1000.0),
            (latency.stddev_us, 288.67),
            (service.p50_us, 250.0),
            (tally.lag_p99_us(), 495.0),
        ] {
            // The lowest latency has a resolution of 64 ns.
            assert!(is_near(found, expected) || (found - expected).abs() < 0.1, "{found} should be {expected}");
        }
        assert!(latency.curve.is_sorted_by(|a, b| a.percentile <= b.percentile && a.us <= b.us));
        assert!(is_near(latency.curve.last().unwrap().us, 1000.0));
    }

    #[test]
    fn merging_is_counting_together_and_not_averaging() {
        let (mut fast, window) = thousand();
        let mut slow = Tally::new();
        let planned = window.start;
        for _ in 0..1000 {
            let answered = planned + Duration::from_millis(100);
            slow.succeeded(Success { planned, sent: planned, answered, hops: Some(3) }, &window);
        }
        slow.failed("LOST", 2, planned, &window);
        fast.failed("TIMED_OUT", 1, planned, &window);
        fast.add(&slow);
        assert!(is_near(fast.latency().p99_us, 100_000.0)); // the mean of both would be 50 495
        assert!(is_near(fast.latency().p50_us, 1000.0));
        assert_eq!((fast.requests(), fast.errors(), fast.late()), (2000, 3, 0));
        assert_eq!(fast.error_kinds()[0].kind, "LOST");
        let shares: Vec<_> = fast.hops(3).iter().map(|hop| (hop.hops, hop.share, hop.expected_share)).collect();
        assert_eq!(shares, [(1, 0.5, 0.375), (3, 0.5, 0.125)]);
    }

    #[test]
    fn what_is_not_measured_is_not_counted() {
        let begin = clock::now();
        let second = Duration::from_secs(1);
        let window = Window { begin, start: begin + second, end: begin + 2 * second };
        let mut tally = Tally::new();
        for (planned_ms, answered_ms) in [(500, 600), (900, 1100), (1500, 1600), (1900, 2100), (2000, 2100)] {
            let (planned, answered) =
                (begin + Duration::from_millis(planned_ms), begin + Duration::from_millis(answered_ms));
            tally.succeeded(Success { planned, sent: planned, answered, hops: None }, &window);
        }
        assert_eq!((tally.requests(), tally.answered()), (2, 2));
        let timeline = tally.timeline(&window);
        assert_eq!(timeline.len(), 10);
        assert_eq!(timeline.iter().map(|bucket| bucket.requests).sum::<u64>(), 2);
        assert_eq!((timeline[1].requests, timeline[6].requests), (1, 1));
    }

    #[test]
    fn a_long_run_has_longer_stretches_and_loses_none() {
        let begin = clock::now();
        let window = Window { begin, start: begin, end: begin + Duration::from_secs(20) };
        let request = |tally: &mut Tally, at_ms| {
            let planned = begin + Duration::from_millis(at_ms);
            tally.succeeded(Success { planned, sent: planned, answered: planned, hops: None }, &window);
        };
        let (mut long, mut short) = (Tally::new(), Tally::new());
        (0..200).for_each(|number| request(&mut long, number * 100));
        (0..20).for_each(|number| request(&mut short, number * 100));
        let shape = |tally: &mut Tally| {
            let timeline = tally.timeline(&window);
            (timeline.len(), timeline[0].width_ms, timeline.iter().map(|bucket| bucket.requests).sum::<u64>())
        };
        let mut both = short.clone();
        both.add(&long);
        let first: Vec<_> = both.timeline(&window)[..6].iter().map(|bucket| bucket.requests).collect();
        assert_eq!(first, [8, 8, 8, 8, 8, 4]);
        assert_eq!([&mut both, &mut short].map(shape), [(50, 400, 220), (50, 400, 20)]);
    }

    #[test]
    fn shares_of_a_cube_are_binomial() {
        assert_eq!([0, 1, 2, 3, 4].map(|hops| expected_share(hops, 3)), [0.125, 0.375, 0.375, 0.125, 0.0]);
        assert_eq!([0, 1].map(|hops| expected_share(hops, 0)), [1.0, 0.0]);
    }
}
