//! Reports of several shapes, made by arithmetic.

use crate::bench::report::{
    Band, Bucket, Cluster, Entry, Environment, Generator, Hop, Kind, Load, Mode, Percentile, Point, Report, Run,
    SCHEMA, Summary, Test,
};

/// What a report is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) topics: &'static [u32],
    pub(super) tests: &'static [Test],
    pub(super) runs: u32,
    pub(super) mode: Mode,
    /// Do two points and a stretch of time have failures, and one point nothing else?
    pub(super) fails: bool,
    /// Does each operation take ten times as long as the one before it?
    pub(super) far_apart: bool,
}

const FOUR: &[Test] = &[Test::Create, Test::Publish, Test::Subscribe, Test::Query];
const SEED: &[u32] = &[1, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000];

pub(super) const SWEEP: Shape =
    Shape { topics: SEED, tests: FOUR, runs: 3, mode: Mode::Closed, fails: false, far_apart: false };

pub(super) const FAILURES: Shape = Shape { fails: true, mode: Mode::Open, ..SWEEP };
pub(super) const ONE_POINT: Shape = Shape { topics: &[1000], tests: &[Test::Publish], ..SWEEP };
pub(super) const ONE_RUN: Shape = Shape { topics: &[1000], runs: 1, ..SWEEP };
pub(super) const SIX_ORDERS: Shape = Shape { topics: &[1, 10, 100, 1000, 10_000, 100_000], far_apart: true, ..SWEEP };
pub(super) const NOTHING: Shape = Shape { topics: &[], ..SWEEP };

/// A report of this shape; the same every time.
pub(super) fn report(shape: Shape) -> Report {
    let points: Vec<Point> = (shape.tests.iter().zip(0_u32..))
        .flat_map(|(test, index)| shape.topics.iter().map(move |topics| point(shape, *test, index, *topics)))
        .collect();
    Report {
        schema: SCHEMA,
        kind: Kind::Sweep,
        command: vec!["dht-cli".to_owned(), "bench".to_owned(), "sweep".to_owned()],
        started: "2026-11-22T06:42:00Z".to_owned(),
        seconds: 187.0,
        interrupted: shape.fails,
        errors: points.iter().map(|point| point.errors).sum(),
        cluster: Cluster {
            dimension: 3,
            nodes: 8,
            nodes_up: 8,
            software: vec!["dht-node 0.1.0 (a1b2c3d)".to_owned()],
            addresses: (5000..5008).map(|port| format!("127.0.0.1:{port}")).collect(),
        },
        load: Load {
            mode: shape.mode,
            target_rate: (shape.mode == Mode::Open).then_some(20_000.0),
            connections: 8,
            pipeline: 1,
            size_bytes: 128,
            batch: 1,
            keys: "uniform".to_owned(),
            threads: 8,
            requests: None,
            ramp: Vec::new(),
            entry: Entry::All,
            runs: shape.runs,
            warmup_seconds: 1.0,
            measured_seconds: 3.0,
            seed: 42,
        },
        environment: Environment { cpu: "AMD EPYC 7763 64-Core Processor".to_owned(), ..Environment::default() },
        counters: Vec::new(),
        edges: Vec::new(),
        generator: Generator { was_limit: shape.fails, ..Generator::default() },
        points,
        requirements: Vec::new(),
        notes: Vec::new(),
    }
}

fn point(shape: Shape, test: Test, index: u32, topics: u32) -> Point {
    let factor = if shape.far_apart { 10_f64.powf(f64::from(index)) } else { 1.0 + f64::from(index) * 0.7 };
    let wave = 1.0 + 0.08 * (f64::from(topics) / 170.0 + f64::from(index)).sin();
    let average = if shape.far_apart { factor * wave * f64::from(topics).sqrt() } else { 90.0 * factor * wave };
    let fails = shape.fails && matches!(topics, 300 | 800);
    let dead = shape.fails && topics == 800 && index == 1;
    let requests = if dead { 0 } else { 150_000 };
    let rate = 8e6 / average;
    Point {
        test,
        topics,
        connections: 8,
        target_rate: None,
        requests,
        errors: if fails { 1234 } else { 0 },
        error_kinds: Vec::new(),
        late: 0,
        unsent: 0,
        rate: band(rate, 0.05),
        mb_s: band(rate * 128.0 / 1e6, 0.05),
        avg_us: band(average, 0.06),
        p50_us: band(average * 0.93, 0.04),
        server_cpu_us: None,
        p99_us: band(average * if shape.far_apart { 3000.0 } else { 2.4 }, 0.2),
        latency: summary(average * 1.1, requests),
        service: summary(average, requests),
        hops: if test == Test::Subscribe { Vec::new() } else { hops(average) },
        placement: if test == Test::Create { Vec::new() } else { placement(topics) },
        delivery: None,
        runs: (1..=shape.runs).map(|number| run(shape, number, rate, average)).collect(),
    }
}

fn band(median: f64, width: f64) -> Band {
    Band { median, min: median * (1.0 - width), max: median * (1.0 + width) }
}

fn summary(average: f64, count: u64) -> Summary {
    let at = |percentile: f64| {
        let nines = -(1.0 - percentile / 100.0).max(1e-6).log10();
        average * (0.5 + 0.9 * nines + 0.05 * nines.powi(3))
    };
    let steps = (0..=60).map(|step| 100.0 * (1.0 - 10_f64.powf(-f64::from(step) / 11.0)));
    let curve = steps.chain([100.0]).map(|percentile| Percentile { percentile, us: at(percentile) });
    Summary {
        count,
        avg_us: average,
        min_us: at(0.0),
        p50_us: at(50.0),
        p90_us: at(90.0),
        p95_us: at(95.0),
        p99_us: at(99.0),
        p999_us: at(99.9),
        p9999_us: at(99.99),
        max_us: at(100.0),
        stddev_us: average / 3.0,
        curve: if count > 0 { curve.collect() } else { Vec::new() },
    }
}

fn hops(average: f64) -> Vec<Hop> {
    let shares = [(0.121, 1.0), (0.379, 3.0), (0.374, 3.0), (0.126, 1.0)];
    let hop = |(hops, (share, expected)): (u32, (f64, f64))| Hop {
        hops,
        share,
        expected_share: expected / 8.0,
        latency: Summary {
            curve: Vec::new(),
            ..summary(average * (0.6 + 0.25 * f64::from(hops)), natural(share * 150_000.0))
        },
    };
    (0..).zip(shares).map(hop).collect()
}

fn placement(topics: u32) -> Vec<u32> {
    let even = topics / 8;
    (0..8).map(|node| even + (node * 37 % 11) * even / 60).collect()
}

fn run(shape: Shape, number: u32, rate: f64, average: f64) -> Run {
    let bucket = |at: u64| {
        let stalled = shape.fails && (12..15).contains(&at);
        Bucket {
            at_ms: at * 100,
            width_ms: 100,
            requests: if stalled { 0 } else { natural(rate / 10.0 * (1.0 + 0.05 * (at as f64).sin())) },
            errors: if stalled { 40 } else { 0 },
            p99_us: average * 2.4 * (1.0 + 0.2 * (at as f64 * 1.7).cos()),
        }
    };
    Run {
        run: number,
        order: number,
        seconds: 3.0,
        requests: 50_000,
        errors: 0,
        late: 0,
        unsent: 0,
        rate,
        mb_s: rate * 128.0 / 1e6,
        latency: Summary { curve: Vec::new(), ..summary(average * 1.1, 50_000) },
        service: Summary { curve: Vec::new(), ..summary(average, 50_000) },
        timeline: (0..30).map(bucket).collect(),
    }
}

fn natural(value: f64) -> u64 {
    u64::from(super::axis::whole(value).unsigned_abs())
}
