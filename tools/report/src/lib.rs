//! `report.json`: everything that a benchmark measured, as types.
//!
//! ```text
//! Report ── cluster, load, environment, generator, notes, requirements
//!   └─ points[]: one operation at one number of topics, all its runs together
//!        ├─ latency, service   merged over the runs, with the percentiles' curve
//!        ├─ rate, average …    median of the runs with the lowest and highest
//!        ├─ hops[], placement[], errors[], delivery
//!        └─ runs[]: the single runs, with their timeline
//! ```
//!
//! Times are in microseconds unless the name says otherwise; shares are between 0 and 1. Readers must ignore unknown
//! fields; a change to the meaning of a field raises [`SCHEMA`].

#[cfg(any(test, feature = "fixture"))]
pub mod fixture;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of this format.
pub const SCHEMA: u32 = 1;

/// A complete benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of the format: [`SCHEMA`].
    pub schema: u32,
    /// The command that made the report.
    pub kind: Kind,
    /// The command line as it was given.
    pub command: Vec<String>,
    /// The time at which it began, in RFC 3339, UTC.
    pub started: String,
    /// Its total duration.
    pub seconds: f64,
    /// True if it was interrupted; points and runs may then be missing.
    pub interrupted: bool,
    /// Number of failed requests over all points. If it is not 0, the figures must be read with care.
    pub errors: u64,
    /// The cluster under test.
    pub cluster: Cluster,
    /// The load.
    pub load: Load,
    /// The machine of the load generator.
    pub environment: Environment,
    /// The CPU use of the load generator.
    pub generator: Generator,
    /// The counters of each node that answered, before and after, by node number; see STATS.
    pub counters: Vec<Counters>,
    /// The traffic on each edge in each direction; empty if a node did not answer before or after.
    pub edges: Vec<Edge>,
    /// The points, by operation in the order of the command line, then by number of topics in ascending order.
    pub points: Vec<Point>,
    /// The results of `--require`.
    pub requirements: Vec<Requirement>,
    /// Notes that a reader needs to interpret the figures.
    pub notes: Vec<String>,
}

impl Report {
    /// Returns the command line without the path of the program's folder.
    pub fn command_line(&self) -> String {
        let mut words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        if let Some(program) = words.first_mut() {
            *program = program.rsplit('/').next().unwrap_or_default();
        }
        words.join(" ")
    }
}

/// The command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The command `bench run`.
    Run,
    /// The command `bench sweep`.
    Sweep,
}

/// An operation that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// CREATE of a new topic; a DELETE of an older one accompanies it and is not counted.
    Create,
    /// PUBLISH of one record.
    Publish,
    /// The latency from PUBLISH at one node to DELIVER at the opposite one.
    Subscribe,
    /// QUERY for the home and the size of a topic.
    Query,
    /// FETCH of one record.
    Fetch,
    /// PING of a node of the cube.
    Ping,
    /// DELETE of a topic; a CREATE of a newer one accompanies it and is not counted.
    Delete,
    /// PUBLISH and FETCH, drawn at random.
    Mixed,
}

impl Test {
    /// All operations, in the order in which they are listed.
    pub const ALL: [Self; 8] =
        [Self::Create, Self::Publish, Self::Subscribe, Self::Query, Self::Fetch, Self::Ping, Self::Delete, Self::Mixed];

    /// Returns the name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Query => "query",
            Self::Fetch => "fetch",
            Self::Ping => "ping",
            Self::Delete => "delete",
            Self::Mixed => "mixed",
        }
    }
}

/// The cluster under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// The dimension of the cube: it has 2 to this power nodes.
    pub dimension: u8,
    /// Number of nodes of the complete cube.
    pub nodes: u32,
    /// Number of nodes that answered at the beginning.
    pub nodes_up: u32,
    /// Names and versions of the nodes' programs, without duplicates.
    pub software: Vec<String>,
    /// The durability levels of acknowledgements, without duplicates: memory, interval or synced.
    #[serde(default)]
    pub durability: Vec<String>,
    /// Addresses of the nodes by number; empty for one that did not answer.
    pub addresses: Vec<String>,
}

/// The load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// How requests follow one another.
    pub mode: Mode,
    /// Requests per second of all connections together, in the open loop.
    pub target_rate: Option<f64>,
    /// Number of connections; a point with fewer topics may use fewer.
    pub connections: u32,
    /// Number of requests in flight on each connection, in the closed loop.
    pub pipeline: u32,
    /// Size of a record's value in bytes.
    pub size_bytes: u32,
    /// Number of records in one PUBLISH.
    pub batch: u32,
    /// The distribution over topics, as on the command line: uniform, sequential, zipf:1.1, hot:1.
    pub keys: String,
    /// Number of threads, each with its share of the connections.
    pub threads: u32,
    /// Number of requests of each run, if it ends by their number.
    pub requests: Option<u64>,
    /// The rates in ascending order, in the open loop; each makes a point.
    pub ramp: Vec<f64>,
    /// The nodes that connections use.
    pub entry: Entry,
    /// Number of runs of each point.
    pub runs: u32,
    /// Warm-up at the beginning of each run, which is not measured.
    pub warmup_seconds: f64,
    /// Measured duration of each run; 0 if it ends by a number of requests.
    pub measured_seconds: f64,
    /// The seed for topics, names and the order of runs.
    pub seed: u64,
}

/// How requests follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Closed loop: each request waits for the response to an earlier one. It finds the highest rate, and under-counts
    /// stalls.
    Closed,
    /// Open loop: each request has a planned time. It finds the latency at a given rate.
    Open,
}

/// The nodes that connections use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// All connections use the node of `-s`.
    One,
    /// Connections are distributed over all nodes in turn.
    All,
    /// Each connection uses a node drawn at random.
    Random,
}

/// The machine of the load generator; an empty value or 0 means unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Model name of the processor.
    pub cpu: String,
    /// Number of processors that this process may use.
    pub cores: u32,
    /// Scaling governor of the first processor.
    pub governor: String,
    /// Name and release of the operating system's kernel.
    pub kernel: String,
    /// Size of the memory in bytes.
    pub memory_bytes: u64,
    /// Version of dht-cli.
    pub version: String,
    /// The commit that it was built from, followed by + if files were changed.
    pub commit: String,
    /// The version of the compiler.
    pub rustc: String,
    /// True if dht-cli was built without optimisation.
    pub debug_build: bool,
    /// True if all nodes are reached over the loopback interface, so that they share this machine.
    pub same_host: bool,
    /// The operator's name for this benchmark.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The operator's comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remark: String,
}

/// The counters of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The node's number.
    pub node: u32,
    /// The counters before the first run.
    pub before: BTreeMap<String, u64>,
    /// The counters after the last run, before topics are deleted.
    pub after: BTreeMap<String, u64>,
}

/// The traffic from one neighbour to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The sender's number.
    pub from: u32,
    /// The receiver's number.
    pub to: u32,
    /// Number of frames, as the receiver counted them.
    pub frames: u64,
    /// Size of these frames in bytes.
    pub bytes: u64,
}

/// The CPU use of the load generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time of its busiest thread in any run as a share of that run; `None` if it is unknown.
    pub busiest_thread: Option<f64>,
    /// CPU time of all its threads in the busiest run, in cores.
    pub cores_used: Option<f64>,
    /// The busy share of the whole machine, whatever the cause, in its busiest run.
    pub machine_busy: Option<f64>,
    /// The delay of sends in the open loop, 99th percentile.
    pub lag_p99_us: Option<f64>,
    /// True if the generator rather than the cluster was the bottleneck in a run.
    pub was_limit: bool,
    /// CPU time per request by operation, where it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<Cost>,
}

/// CPU time per request of an operation over all its runs, including the associated waiting and waking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The operation.
    pub test: Test,
    /// CPU time of the generator.
    pub generator_us: f64,
    /// CPU time of all nodes together; `None` if they cannot be observed.
    pub nodes_us: Option<f64>,
}

/// One operation with one number of topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The operation.
    pub test: Test,
    /// Number of topics that requests are distributed over; for create, the number that exists meanwhile.
    pub topics: u32,
    /// Number of connections used.
    pub connections: u32,
    /// Planned requests per second, in the open loop.
    pub target_rate: Option<f64>,
    /// Number of successful requests of all runs.
    pub requests: u64,
    /// Number of failed requests of all runs.
    pub errors: u64,
    /// The failures by kind, most frequent first.
    pub error_kinds: Vec<ErrorKind>,
    /// Number of requests of the open loop that were sent more than a millisecond late.
    pub late: u64,
    /// Number of requests that were never sent: in the open loop those that were due, with a number of requests those
    /// given up.
    pub unsent: u64,
    /// Responses per second.
    pub rate: Band,
    /// Payload per second in 10^6 bytes; 0 for operations without payload.
    pub mb_s: Band,
    /// Average latency: the headline figure.
    pub avg_us: Band,
    /// Median latency.
    pub p50_us: Band,
    /// 99th percentile of the latency.
    pub p99_us: Band,
    /// CPU time of all nodes per request; `None` if they run elsewhere or cannot be observed.
    pub server_cpu_us: Option<Band>,
    /// Latency, all runs merged: in the open loop since the planned time, else since the request was sent.
    pub latency: Summary,
    /// Time since the request was sent; in the closed loop the same as `latency`.
    pub service: Summary,
    /// Latency by number of hops to the home, ascending; empty for subscribe, whose path always crosses the cube.
    pub hops: Vec<Hop>,
    /// Number of topics at each node, by node number; empty for operations that use none or create their own.
    pub placement: Vec<u32>,
    /// Delivery of published records, all runs together; only for subscribe.
    pub delivery: Option<Delivery>,
    /// The individual runs in their order of execution.
    pub runs: Vec<Run>,
}

/// A figure over the runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// The median; for an even number of runs, the mean of the two in the middle.
    pub median: f64,
    /// The minimum.
    pub min: f64,
    /// The maximum.
    pub max: f64,
}

impl Band {
    /// Summarises a figure over the runs.
    pub fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return Self::default() };
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Self { median, min: *min, max: *max }
    }
}

/// A summary of a histogram. All figures are 0 if it is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of values.
    pub count: u64,
    /// Arithmetic mean.
    pub avg_us: f64,
    /// Minimum.
    pub min_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 95th percentile.
    pub p95_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// 99.99th percentile.
    pub p9999_us: f64,
    /// Maximum.
    pub max_us: f64,
    /// Standard deviation.
    pub stddev_us: f64,
    /// The curve of the percentiles from 0 to 100, ascending; only for points, elsewhere empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Percentile>,
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentile {
    /// Percentage of the values that are at most `us`, from 0 to 100.
    pub percentile: f64,
    /// The value.
    pub us: f64,
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorKind {
    /// The name of the status, such as UNKNOWN_TOPIC, or CONNECT, LOST, TIMED_OUT or PROTOCOL.
    pub kind: String,
    /// Number of failures.
    pub count: u64,
}

/// Requests with this number of hops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Number of hops between the connected node and the home without faults.
    pub hops: u32,
    /// Their share of all requests.
    pub share: f64,
    /// The expected share: in d dimensions, d over hops divided by 2^d.
    pub expected_share: f64,
    /// Their latency, without the curve.
    pub latency: Summary,
}

/// Delivery of published records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Number of acknowledged records, including the warm-up.
    pub published: u64,
    /// Number of delivered records.
    pub delivered: u64,
    /// Number of records that were not delivered in time.
    pub lost: u64,
    /// Number of records delivered with other bytes than were published.
    pub damaged: u64,
    /// Number of records delivered out of order, or a second time.
    pub out_of_order: u64,
}

impl Delivery {
    /// Adds the records of another delivery.
    pub fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.damaged += other.damaged;
        self.out_of_order += other.out_of_order;
    }
}

/// One run of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The number of the run, from 1.
    pub run: u32,
    /// Its position among all runs of the report, from 0; the order is shuffled.
    pub order: u32,
    /// Measured duration, without warm-up; shorter than planned if the run was interrupted.
    pub seconds: f64,
    /// Number of successful requests.
    pub requests: u64,
    /// Number of failed requests.
    pub errors: u64,
    /// As in [`Point`].
    pub late: u64,
    /// As in [`Point`].
    pub unsent: u64,
    /// Responses per second.
    pub rate: f64,
    /// Payload per second in 10^6 bytes.
    pub mb_s: f64,
    /// As in [`Point`], without the curve.
    pub latency: Summary,
    /// As in [`Point`], without the curve.
    pub service: Summary,
    /// The timeline.
    pub timeline: Vec<Bucket>,
}

/// An interval of a run, by the time at which requests were answered or failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its start, since the start of the measurement.
    pub at_ms: u64,
    /// Its length.
    pub width_ms: u64,
    /// Number of successful requests.
    pub requests: u64,
    /// Number of failed requests.
    pub errors: u64,
    /// 99th percentile of their latency; 0 if there are none.
    pub p99_us: f64,
}

/// The result of a requirement of `--require`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requirement {
    /// The requirement as it was written.
    pub text: String,
    /// True if every point meets it.
    pub met: bool,
    /// The worst point, if there is one: its operation, its number of topics and its figure, in the unit of the
    /// requirement.
    pub worst: Option<Worst>,
}

/// The point that is farthest from meeting a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// Its operation.
    pub test: Test,
    /// Its number of topics.
    pub topics: u32,
    /// Its figure in microseconds or requests per second, or a number.
    pub value: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_of_the_middle_and_both_ends() {
        for (figures, expected) in [
            (&[][..], (0.0, 0.0, 0.0)),
            (&[5.0][..], (5.0, 5.0, 5.0)),
            (&[9.0, 1.0, 2.0][..], (2.0, 1.0, 9.0)),
            (&[4.0, 1.0, 2.0, 9.0][..], (3.0, 1.0, 9.0)),
        ] {
            let band = Band::of(figures.iter().copied());
            assert_eq!((band.median, band.min, band.max), expected, "{figures:?}");
        }
    }
}
