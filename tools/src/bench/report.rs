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

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of this format.
pub(crate) const SCHEMA: u32 = 1;

/// A complete benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The version of the format: [`SCHEMA`].
    pub(crate) schema: u32,
    /// The command that made the report.
    pub(crate) kind: Kind,
    /// The command line as it was given.
    pub(crate) command: Vec<String>,
    /// The time at which it began, in RFC 3339, UTC.
    pub(crate) started: String,
    /// Its total duration.
    pub(crate) seconds: f64,
    /// True if it was interrupted; points and runs may then be missing.
    pub(crate) interrupted: bool,
    /// Number of failed requests over all points. If it is not 0, the figures must be read with care.
    pub(crate) errors: u64,
    /// The cluster under test.
    pub(crate) cluster: Cluster,
    /// The load.
    pub(crate) load: Load,
    /// The machine of the load generator.
    pub(crate) environment: Environment,
    /// The CPU use of the load generator.
    pub(crate) generator: Generator,
    /// The counters of each node that answered, before and after, by node number; see STATS.
    pub(crate) counters: Vec<Counters>,
    /// The traffic on each edge in each direction; empty if a node did not answer before or after.
    pub(crate) edges: Vec<Edge>,
    /// The points, by operation in the order of the command line, then by number of topics in ascending order.
    pub(crate) points: Vec<Point>,
    /// The results of `--require`.
    pub(crate) requirements: Vec<Requirement>,
    /// Notes that a reader needs to interpret the figures.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Returns the command line without the path of the program's folder.
    pub(crate) fn command_line(&self) -> String {
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
pub(crate) enum Kind {
    /// The command `bench run`.
    Run,
    /// The command `bench sweep`.
    Sweep,
}

/// An operation that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Test {
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

/// The cluster under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cluster {
    /// The dimension of the cube: it has 2 to this power nodes.
    pub(crate) dimension: u8,
    /// Number of nodes of the complete cube.
    pub(crate) nodes: u32,
    /// Number of nodes that answered at the beginning.
    pub(crate) nodes_up: u32,
    /// Names and versions of the nodes' programs, without duplicates.
    pub(crate) software: Vec<String>,
    /// The durability levels of acknowledgements, without duplicates: memory, interval or synced.
    #[serde(default)]
    pub(crate) durability: Vec<String>,
    /// Addresses of the nodes by number; empty for one that did not answer.
    pub(crate) addresses: Vec<String>,
}

/// The load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// How requests follow one another.
    pub(crate) mode: Mode,
    /// Requests per second of all connections together, in the open loop.
    pub(crate) target_rate: Option<f64>,
    /// Number of connections; a point with fewer topics may use fewer.
    pub(crate) connections: u32,
    /// Number of requests in flight on each connection, in the closed loop.
    pub(crate) pipeline: u32,
    /// Size of a record's value in bytes.
    pub(crate) size_bytes: u32,
    /// Number of records in one PUBLISH.
    pub(crate) batch: u32,
    /// The distribution over topics, as on the command line: uniform, sequential, zipf:1.1, hot:1.
    pub(crate) keys: String,
    /// Number of threads, each with its share of the connections.
    pub(crate) threads: u32,
    /// Number of requests of each run, if it ends by their number.
    pub(crate) requests: Option<u64>,
    /// The rates in ascending order, in the open loop; each makes a point.
    pub(crate) ramp: Vec<f64>,
    /// The nodes that connections use.
    pub(crate) entry: Entry,
    /// Number of runs of each point.
    pub(crate) runs: u32,
    /// Warm-up at the beginning of each run, which is not measured.
    pub(crate) warmup_seconds: f64,
    /// Measured duration of each run; 0 if it ends by a number of requests.
    pub(crate) measured_seconds: f64,
    /// The seed for topics, names and the order of runs.
    pub(crate) seed: u64,
}

/// How requests follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Closed loop: each request waits for the response to an earlier one. It finds the highest rate, and under-counts
    /// stalls.
    Closed,
    /// Open loop: each request has a planned time. It finds the latency at a given rate.
    Open,
}

/// The nodes that connections use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Entry {
    /// All connections use the node of `-s`.
    One,
    /// Connections are distributed over all nodes in turn.
    All,
    /// Each connection uses a node drawn at random.
    Random,
}

/// The machine of the load generator; an empty value or 0 means unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// Model name of the processor.
    pub(crate) cpu: String,
    /// Number of processors that this process may use.
    pub(crate) cores: u32,
    /// Scaling governor of the first processor.
    pub(crate) governor: String,
    /// Name and release of the operating system's kernel.
    pub(crate) kernel: String,
    /// Size of the memory in bytes.
    pub(crate) memory_bytes: u64,
    /// Version of dht-cli.
    pub(crate) version: String,
    /// The commit that it was built from, followed by + if files were changed.
    pub(crate) commit: String,
    /// The version of the compiler.
    pub(crate) rustc: String,
    /// True if dht-cli was built without optimisation.
    pub(crate) debug_build: bool,
    /// True if all nodes are reached over the loopback interface, so that they share this machine.
    pub(crate) same_host: bool,
    /// The operator's name for this benchmark.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// The operator's comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) remark: String,
}

/// The counters of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// The node's number.
    pub(crate) node: u32,
    /// The counters before the first run.
    pub(crate) before: BTreeMap<String, u64>,
    /// The counters after the last run, before topics are deleted.
    pub(crate) after: BTreeMap<String, u64>,
}

/// The traffic from one neighbour to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edge {
    /// The sender's number.
    pub(crate) from: u32,
    /// The receiver's number.
    pub(crate) to: u32,
    /// Number of frames, as the receiver counted them.
    pub(crate) frames: u64,
    /// Size of these frames in bytes.
    pub(crate) bytes: u64,
}

/// The CPU use of the load generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generator {
    /// CPU time of its busiest thread in any run as a share of that run; `None` if it is unknown.
    pub(crate) busiest_thread: Option<f64>,
    /// CPU time of all its threads in the busiest run, in cores.
    pub(crate) cores_used: Option<f64>,
    /// The busy share of the whole machine, whatever the cause, in its busiest run.
    pub(crate) machine_busy: Option<f64>,
    /// The delay of sends in the open loop, 99th percentile.
    pub(crate) lag_p99_us: Option<f64>,
    /// True if the generator rather than the cluster was the bottleneck in a run.
    pub(crate) was_limit: bool,
    /// CPU time per request by operation, where it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) costs: Vec<Cost>,
}

/// CPU time per request of an operation over all its runs, including the associated waiting and waking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// The operation.
    pub(crate) test: Test,
    /// CPU time of the generator.
    pub(crate) generator_us: f64,
    /// CPU time of all nodes together; `None` if they cannot be observed.
    pub(crate) nodes_us: Option<f64>,
}

/// One operation with one number of topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// The operation.
    pub(crate) test: Test,
    /// Number of topics that requests are distributed over; for create, the number that exists meanwhile.
    pub(crate) topics: u32,
    /// Number of connections used.
    pub(crate) connections: u32,
    /// Planned requests per second, in the open loop.
    pub(crate) target_rate: Option<f64>,
    /// Number of successful requests of all runs.
    pub(crate) requests: u64,
    /// Number of failed requests of all runs.
    pub(crate) errors: u64,
    /// The failures by kind, most frequent first.
    pub(crate) error_kinds: Vec<ErrorKind>,
    /// Number of requests of the open loop that were sent more than a millisecond late.
    pub(crate) late: u64,
    /// Number of requests that were never sent: in the open loop those that were due, with a number of requests those
    /// given up.
    pub(crate) unsent: u64,
    /// Responses per second.
    pub(crate) rate: Band,
    /// Payload per second in 10^6 bytes; 0 for operations without payload.
    pub(crate) mb_s: Band,
    /// Average latency: the headline figure.
    pub(crate) avg_us: Band,
    /// Median latency.
    pub(crate) p50_us: Band,
    /// 99th percentile of the latency.
    pub(crate) p99_us: Band,
    /// CPU time of all nodes per request; `None` if they run elsewhere or cannot be observed.
    pub(crate) server_cpu_us: Option<Band>,
    /// Latency, all runs merged: in the open loop since the planned time, else since the request was sent.
    pub(crate) latency: Summary,
    /// Time since the request was sent; in the closed loop the same as `latency`.
    pub(crate) service: Summary,
    /// Latency by number of hops to the home, ascending; empty for subscribe, whose path always crosses the cube.
    pub(crate) hops: Vec<Hop>,
    /// Number of topics at each node, by node number; empty for operations that use none or create their own.
    pub(crate) placement: Vec<u32>,
    /// Delivery of published records, all runs together; only for subscribe.
    pub(crate) delivery: Option<Delivery>,
    /// The individual runs in their order of execution.
    pub(crate) runs: Vec<Run>,
}

/// A figure over the runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Band {
    /// The median; for an even number of runs, the mean of the two in the middle.
    pub(crate) median: f64,
    /// The minimum.
    pub(crate) min: f64,
    /// The maximum.
    pub(crate) max: f64,
}

/// A summary of a histogram. All figures are 0 if it is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Number of values.
    pub(crate) count: u64,
    /// Arithmetic mean.
    pub(crate) avg_us: f64,
    /// Minimum.
    pub(crate) min_us: f64,
    /// Median.
    pub(crate) p50_us: f64,
    /// 90th percentile.
    pub(crate) p90_us: f64,
    /// 95th percentile.
    pub(crate) p95_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
    /// 99.9th percentile.
    pub(crate) p999_us: f64,
    /// 99.99th percentile.
    pub(crate) p9999_us: f64,
    /// Maximum.
    pub(crate) max_us: f64,
    /// Standard deviation.
    pub(crate) stddev_us: f64,
    /// The curve of the percentiles from 0 to 100, ascending; only for points, elsewhere empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curve: Vec<Percentile>,
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentile {
    /// Percentage of the values, 0 to 100 …
    pub(crate) percentile: f64,
    /// … that are at most this value.
    pub(crate) us: f64,
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorKind {
    /// The name of the status, such as UNKNOWN_TOPIC, or CONNECT, LOST, TIMED_OUT or PROTOCOL.
    pub(crate) kind: String,
    /// Number of failures.
    pub(crate) count: u64,
}

/// Requests with this number of hops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hop {
    /// Number of hops between the connected node and the home without faults.
    pub(crate) hops: u32,
    /// Their share of all requests.
    pub(crate) share: f64,
    /// The expected share: in d dimensions, d over hops divided by 2^d.
    pub(crate) expected_share: f64,
    /// Their latency, without the curve.
    pub(crate) latency: Summary,
}

/// Delivery of published records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// Number of acknowledged records, including the warm-up.
    pub(crate) published: u64,
    /// Number of delivered records.
    pub(crate) delivered: u64,
    /// Number of records that were not delivered in time.
    pub(crate) lost: u64,
    /// Number of records delivered with other bytes than were published.
    pub(crate) damaged: u64,
    /// Number of records delivered out of order, or twice.
    pub(crate) out_of_order: u64,
}

/// One run of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The number of the run, from 1.
    pub(crate) run: u32,
    /// Its position among all runs of the report, from 0; the order is shuffled.
    pub(crate) order: u32,
    /// Measured duration, without warm-up; shorter than planned if the run was interrupted.
    pub(crate) seconds: f64,
    /// Number of successful requests.
    pub(crate) requests: u64,
    /// Number of failed requests.
    pub(crate) errors: u64,
    /// As in [`Point`].
    pub(crate) late: u64,
    /// As in [`Point`].
    pub(crate) unsent: u64,
    /// Responses per second.
    pub(crate) rate: f64,
    /// Payload per second in 10^6 bytes.
    pub(crate) mb_s: f64,
    /// As in [`Point`], without the curve.
    pub(crate) latency: Summary,
    /// As in [`Point`], without the curve.
    pub(crate) service: Summary,
    /// The timeline.
    pub(crate) timeline: Vec<Bucket>,
}

/// An interval of a run, by the time at which requests were answered or failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// Its start, since the start of the measurement.
    pub(crate) at_ms: u64,
    /// Its length.
    pub(crate) width_ms: u64,
    /// Number of successful requests.
    pub(crate) requests: u64,
    /// Number of failed requests.
    pub(crate) errors: u64,
    /// 99th percentile of their latency; 0 if there are none.
    pub(crate) p99_us: f64,
}

/// The result of a requirement of `--require`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Requirement {
    /// The requirement as it was written.
    pub(crate) text: String,
    /// True if every point meets it.
    pub(crate) met: bool,
    /// The worst point, if there is one: its operation, its number of topics and its figure, in the unit of the
    /// requirement.
    pub(crate) worst: Option<Worst>,
}

/// The point that is farthest from meeting a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worst {
    /// Its operation.
    pub(crate) test: Test,
    /// Its number of topics.
    pub(crate) topics: u32,
    /// Its figure in microseconds or requests per second, or a number.
    pub(crate) value: f64,
}
