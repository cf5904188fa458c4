//! Reports of several shapes, made by arithmetic, for tests.

use std::collections::BTreeMap;

use crate::{
    Band, Bucket, Cluster, Counters, Delivery, Edge, Entry, Environment, ErrorKind, Generator, Hop, Kind, Load, Mode,
    Percentile, Point, Report, Requirement, Run, SCHEMA, Summary, Test, Worst,
};

/// The shape of a report.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Numbers of topics; each makes a point for each test.
    pub topics: &'static [u32],
    /// The operations.
    pub tests: &'static [Test],
    /// Number of runs of each point.
    pub runs: u32,
    /// Closed or open loop.
    pub mode: Mode,
    /// True if two points and a part of the timeline contain failures, and one further point contains only failures.
    pub fails: bool,
    /// True if each operation takes ten times as long as the one before it.
    pub far_apart: bool,
    /// Dimension of the cube.
    pub dimension: u8,
    /// The rates of a ramp, in the open loop; empty without a ramp.
    pub ramp: &'static [f64],
}

const FOUR: &[Test] = &[Test::Create, Test::Publish, Test::Subscribe, Test::Query];
const SEED: &[u32] = &[1, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000];

/// Four operations at eleven numbers of topics, as `bench sweep` measures by default.
pub const SWEEP: Shape = Shape {
    topics: SEED,
    tests: FOUR,
    runs: 3,
    mode: Mode::Closed,
    fails: false,
    far_apart: false,
    dimension: 3,
    ramp: &[],
};

/// An open loop with failures.
pub const FAILURES: Shape = Shape { fails: true, mode: Mode::Open, ..SWEEP };
/// A single point.
pub const ONE_POINT: Shape = Shape { topics: &[1000], tests: &[Test::Publish], ..SWEEP };
/// Points with one run each.
pub const ONE_RUN: Shape = Shape { topics: &[1000], runs: 1, ..SWEEP };
/// Numbers of topics over six orders of magnitude, and latencies far apart.
pub const SIX_ORDERS: Shape = Shape { topics: &[1, 10, 100, 1000, 10_000, 100_000], far_apart: true, ..SWEEP };
/// Ten rates in ascending order.
pub const RAMP: Shape = Shape {
    topics: &[100],
    tests: &[Test::Publish, Test::Query],
    mode: Mode::Open,
    ramp: &[5e3, 10e3, 20e3, 30e3, 40e3, 45e3, 48e3, 50e3, 55e3, 60e3],
    ..SWEEP
};
/// A report without points.
pub const NOTHING: Shape = Shape { topics: &[], ..SWEEP };

/// Returns a report of this shape, the same every time.
pub fn report(shape: Shape) -> Report {
    let points: Vec<Point> = (shape.tests.iter().zip(0_u32..))
        .flat_map(|(test, index)| shape.topics.iter().map(move |topics| (*test, index, *topics)))
        .flat_map(|(test, index, topics)| {
            let rates = if shape.ramp.is_empty() { vec![None] } else { shape.ramp.iter().copied().map(Some).collect() };
            rates.into_iter().map(move |rate| point(shape, test, index, topics, rate))
        })
        .collect();
    let nodes = 1_u32 << shape.dimension;
    Report {
        schema: SCHEMA,
        kind: Kind::Sweep,
        command: vec!["dht-cli".to_owned(), "bench".to_owned(), "sweep".to_owned()],
        started: "2026-11-22T06:42:00Z".to_owned(),
        seconds: 187.0,
        interrupted: shape.fails,
        errors: points.iter().map(|point| point.errors).sum(),
        cluster: Cluster {
            dimension: shape.dimension,
            nodes,
            nodes_up: nodes,
            software: vec!["dht-node 0.1.0 (a1b2c3d)".to_owned()],
            durability: vec!["synced".to_owned()],
            addresses: (5000..5000 + nodes).map(|port| format!("127.0.0.1:{port}")).collect(),
        },
        load: Load {
            mode: shape.mode,
            target_rate: (shape.mode == Mode::Open && shape.ramp.is_empty()).then_some(20_000.0),
            connections: 8,
            pipeline: 1,
            size_bytes: 128,
            batch: 1,
            keys: "uniform".to_owned(),
            threads: 8,
            requests: None,
            ramp: shape.ramp.to_vec(),
            entry: Entry::All,
            runs: shape.runs,
            warmup_seconds: 1.0,
            measured_seconds: 3.0,
            seed: 42,
        },
        environment: Environment {
            cpu: "AMD EPYC 7763 64-Core Processor".to_owned(),
            cores: 2,
            version: "0.1.0".to_owned(),
            commit: "b6e2764+".to_owned(),
            rustc: "1.95.0".to_owned(),
            ..Environment::default()
        },
        counters: (0..nodes).map(counters).collect(),
        edges: if shape.topics.is_empty() { Vec::new() } else { edges(shape) },
        generator: Generator { was_limit: shape.fails, ..Generator::default() },
        points,
        requirements: vec![
            Requirement { text: "errors<=0".to_owned(), met: true, worst: None },
            Requirement {
                text: "p99<1ms".to_owned(),
                met: false,
                worst: Some(Worst { test: Test::Publish, topics: 700, value: 1234.0 }),
            },
        ],
        notes: vec!["closed loop: stalls are under-counted".to_owned(), "one <note> & another".to_owned()],
    }
}

fn counters(node: u32) -> Counters {
    let at =
        |start: u64| BTreeMap::from([("frames_in".to_owned(), start * 7 + u64::from(node)), ("idle".to_owned(), 1)]);
    Counters { node, before: at(10), after: at(10_000) }
}

/// Both directions of each; what goes up carries more, and far more where it says so.
fn edges(shape: Shape) -> Vec<Edge> {
    let nodes = 1_u32 << shape.dimension;
    let pairs = (0..nodes).flat_map(|from| (0..shape.dimension).map(move |bit| (from, from ^ 1 << bit)));
    let edge = |(from, to): (u32, u32)| {
        let base = if shape.far_apart { 3_u64.pow((from & to).count_ones() * 6) } else { 90_000 };
        let frames = base + u64::from(from * 700 + to * 300) * u64::from(from < to);
        let frames = if shape.fails && from & to == 0 { 0 } else { frames };
        Edge { from, to, frames, bytes: frames * 180 }
    };
    pairs.map(edge).collect()
}

fn point(shape: Shape, test: Test, index: u32, topics: u32, asked: Option<f64>) -> Point {
    let factor = if shape.far_apart { 10_f64.powf(f64::from(index)) } else { 1.0 + f64::from(index) * 0.7 };
    let wave = 1.0 + 0.08 * (f64::from(topics) / 170.0 + f64::from(index)).sin();
    let average = if shape.far_apart { factor * wave * f64::from(topics).sqrt() } else { 90.0 * factor * wave };
    let fails = shape.fails && matches!(topics, 300 | 800);
    let dead = shape.fails && topics == 800 && index == 1;
    let requests = if dead { 0 } else { 150_000 };
    // Beyond nine tenths of what it can do it queues.
    let full = 50_000.0 / (1.0 + f64::from(index) * 0.1);
    let (rate, average) = match asked {
        Some(asked) if asked < full => (asked, average * (1.0 + 0.1 / (1.02 - asked / full))),
        Some(asked) => (full * 0.99, average * 40.0 * asked / full),
        None => (8e6 / average, average),
    };
    let unsent = asked.filter(|asked| *asked > full).map_or(0, |asked| natural(asked - full));
    Point {
        test,
        topics,
        connections: 8,
        target_rate: asked.or_else(|| (shape.mode == Mode::Open).then_some(20_000.0)),
        requests,
        errors: if fails { 1234 } else { 0 },
        error_kinds: if fails { vec![ErrorKind { kind: "TIMED_OUT".to_owned(), count: 1234 }] } else { Vec::new() },
        late: unsent / 2,
        unsent,
        rate: band(rate, 0.05),
        mb_s: band(if carries(test) { rate * 128.0 / 1e6 } else { 0.0 }, 0.05),
        avg_us: band(average, 0.06),
        p50_us: band(average * 0.93, 0.04),
        server_cpu_us: (test != Test::Create).then(|| band(21.0 * factor, 0.03)),
        p99_us: band(average * if shape.far_apart { 3000.0 } else { 2.4 }, 0.2),
        latency: summary(average * 1.1, requests),
        service: summary(average, requests),
        hops: if test == Test::Subscribe { Vec::new() } else { hops(shape.dimension, average) },
        placement: if test == Test::Create { Vec::new() } else { placement(shape.dimension, topics) },
        delivery: (test == Test::Subscribe).then_some(Delivery {
            published: 160_123,
            delivered: 160_120,
            lost: 3,
            damaged: 0,
            out_of_order: 0,
        }),
        runs: (1..=shape.runs).map(|number| run(shape, number, rate, average)).collect(),
    }
}

fn carries(test: Test) -> bool {
    matches!(test, Test::Publish | Test::Subscribe | Test::Fetch)
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

fn hops(dimension: u8, average: f64) -> Vec<Hop> {
    let ways = |hops: u32| (0..1_u32 << dimension).filter(|node| node.count_ones() == hops).count() as f64;
    let hop = |hops: u32| {
        let expected_share = ways(hops) / f64::from(1_u32 << dimension);
        let share = expected_share * if hops == 0 { 0.97 } else { 1.01 };
        let latency = summary(average * (0.6 + 0.25 * f64::from(hops)), natural(share * 150_000.0));
        Hop { hops, share, expected_share, latency: Summary { curve: Vec::new(), ..latency } }
    };
    (0..=u32::from(dimension)).map(hop).collect()
}

fn placement(dimension: u8, topics: u32) -> Vec<u32> {
    let even = topics >> dimension;
    (0..1 << dimension).map(|node| even + (node * 37 % 11) * even / 60).collect()
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

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the figures are small and not negative")]
fn natural(value: f64) -> u64 {
    value.round() as u64
}
