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
//! Times are microseconds unless the name says something else; shares are 0 to 1. A reader must pass over fields that
//! it does not know; a field that changes its meaning raises [`SCHEMA`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of this form.
pub(crate) const SCHEMA: u32 = 1;

/// A whole benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// Which command made it.
    pub(crate) kind: Kind,
    /// The command line, as it was given.
    pub(crate) command: Vec<String>,
    /// When it began, RFC 3339, UTC.
    pub(crate) started: String,
    /// How long all of it took.
    pub(crate) seconds: f64,
    /// Was it stopped before its end? Then points and runs may be missing.
    pub(crate) interrupted: bool,
    /// Requests that failed, over all points; such a report is to be read with care.
    pub(crate) errors: u64,
    /// What was measured against.
    pub(crate) cluster: Cluster,
    /// What was sent.
    pub(crate) load: Load,
    /// Where the generator ran.
    pub(crate) environment: Environment,
    /// How busy the generator was.
    pub(crate) generator: Generator,
    /// Counters of each node that answered, before and after, by number; see STATS.
    pub(crate) counters: Vec<Counters>,
    /// What went over each edge meanwhile, in each direction; empty when a node did not answer before or after.
    pub(crate) edges: Vec<Edge>,
    /// By operation in the order of the command line, then by topics, ascending.
    pub(crate) points: Vec<Point>,
    /// What `--require` asked for.
    pub(crate) requirements: Vec<Requirement>,
    /// What a reader must know, in sentences.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// The command line, without the folders that lead to the program.
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
    /// `bench run`
    Run,
    /// `bench sweep`
    Sweep,
}

/// An operation that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Test {
    /// CREATE of a new name; a DELETE of an older one goes beside it and is not counted.
    Create,
    /// PUBLISH of one record.
    Publish,
    /// From PUBLISH at one node to DELIVER at the opposite one.
    Subscribe,
    /// Where a topic lives and how long it is.
    Query,
    /// FETCH of one record.
    Fetch,
    /// PING of a node of the cube.
    Ping,
    /// DELETE; a CREATE of a newer one goes beside it and is not counted.
    Delete,
    /// PUBLISH and FETCH in turn as drawn.
    Mixed,
}

/// The cube.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cluster {
    /// Its dimension: 2 to this power is its number of nodes.
    pub(crate) dimension: u8,
    /// Nodes of a whole cube.
    pub(crate) nodes: u32,
    /// Those that answered at the beginning.
    pub(crate) nodes_up: u32,
    /// What its nodes say they are, each once.
    pub(crate) software: Vec<String>,
    /// What their acknowledgements mean, each once: memory, interval or synced.
    #[serde(default)]
    pub(crate) durability: Vec<String>,
    /// Where its nodes listen, by number; empty for one that did not answer.
    pub(crate) addresses: Vec<String>,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// How requests follow one another.
    pub(crate) mode: Mode,
    /// Requests a second of all connections together, in the open loop.
    pub(crate) target_rate: Option<f64>,
    /// Connections; a point with fewer topics may use fewer.
    pub(crate) connections: u32,
    /// Requests in flight on each, in the closed loop.
    pub(crate) pipeline: u32,
    /// Bytes of a record's value.
    pub(crate) size_bytes: u32,
    /// Records of one PUBLISH.
    pub(crate) batch: u32,
    /// How topics are drawn, as on the command line: uniform, sequential, zipf:1.1, hot:1.
    pub(crate) keys: String,
    /// Threads, each with its share of the connections.
    pub(crate) threads: u32,
    /// Requests of each run, when it ends by their number.
    pub(crate) requests: Option<u64>,
    /// Rates that were gone through, ascending, in the open loop; each makes a point.
    pub(crate) ramp: Vec<f64>,
    /// Where requests enter the cube.
    pub(crate) entry: Entry,
    /// Runs of each point.
    pub(crate) runs: u32,
    /// What is passed over at the beginning of each.
    pub(crate) warmup_seconds: f64,
    /// What is measured of each; 0 when it ends by a number of requests.
    pub(crate) measured_seconds: f64,
    /// From which topics, names and the order of runs are drawn.
    pub(crate) seed: u64,
}

/// How requests follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Each waits for the answer to one before it: finds the highest rate, and under-counts stalls.
    Closed,
    /// Each has its time: finds the latency at a rate.
    Open,
}

/// Where requests enter the cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Entry {
    /// All at the node of `-s`.
    One,
    /// Connections go round over all nodes.
    All,
    /// Each connection at a node that is drawn.
    Random,
}

/// Where the generator ran; empty or 0 is unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// The processor's name.
    pub(crate) cpu: String,
    /// Processors that this process may use.
    pub(crate) cores: u32,
    /// The scaling governor of the first.
    pub(crate) governor: String,
    /// Name and release of the operating system's kernel.
    pub(crate) kernel: String,
    /// Bytes of memory.
    pub(crate) memory_bytes: u64,
    /// Version of dht-cli.
    pub(crate) version: String,
    /// The commit that it was built from, with a + when files were changed.
    pub(crate) commit: String,
    /// The compiler that built it.
    pub(crate) rustc: String,
    /// Was dht-cli built without optimisation?
    pub(crate) debug_build: bool,
    /// Are all nodes reached over the loopback interface, so that they share this machine?
    pub(crate) same_host: bool,
    /// What the operator calls this benchmark.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// What the operator says of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) remark: String,
}

/// What a node counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Its number.
    pub(crate) node: u32,
    /// Before the first run.
    pub(crate) before: BTreeMap<String, u64>,
    /// After the last one, before topics were removed.
    pub(crate) after: BTreeMap<String, u64>,
}

/// What one neighbour sent another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edge {
    /// The sender's number.
    pub(crate) from: u32,
    /// The receiver's number.
    pub(crate) to: u32,
    /// Frames, as the receiver counted them.
    pub(crate) frames: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// How busy the generator was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generator {
    /// Processor time of its busiest thread in any run, as a share of that run; `None` where it cannot be told.
    pub(crate) busiest_thread: Option<f64>,
    /// Processor time of all its threads in the run where that was most, in cores.
    pub(crate) cores_used: Option<f64>,
    /// The share of the whole machine that was busy in its busiest run, by whomever.
    pub(crate) machine_busy: Option<f64>,
    /// How late sends were in the open loop, 99 of 100 less than this.
    pub(crate) lag_p99_us: Option<f64>,
    /// Was the generator, not the cluster, the limit in a run?
    pub(crate) was_limit: bool,
    /// Processor time of one request by operation, where it can be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) costs: Vec<Cost>,
}

/// Processor time of one request of an operation, over all its runs; with the waiting and waking that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// The operation.
    pub(crate) test: Test,
    /// What the generator took.
    pub(crate) generator_us: f64,
    /// What all nodes together took; `None` where they cannot be seen.
    pub(crate) nodes_us: Option<f64>,
}

/// One operation at one number of topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// The operation.
    pub(crate) test: Test,
    /// Topics that requests are spread over; for create those that are there meanwhile.
    pub(crate) topics: u32,
    /// Connections that were used.
    pub(crate) connections: u32,
    /// Requests a second that were asked for, in the open loop.
    pub(crate) target_rate: Option<f64>,
    /// Requests of all runs that succeeded.
    pub(crate) requests: u64,
    /// Requests of all runs that failed.
    pub(crate) errors: u64,
    /// The same by kind, most first.
    pub(crate) error_kinds: Vec<ErrorKind>,
    /// Requests of the open loop that went out more than a millisecond after their time.
    pub(crate) late: u64,
    /// Requests that never went out: of the open loop those whose time came, of a number those that were given up.
    pub(crate) unsent: u64,
    /// Answers a second.
    pub(crate) rate: Band,
    /// Payload a second, in 10^6 bytes; 0 for operations without.
    pub(crate) mb_s: Band,
    /// Average latency: the headline.
    pub(crate) avg_us: Band,
    /// Median latency.
    pub(crate) p50_us: Band,
    /// 99 of 100 requests are faster.
    pub(crate) p99_us: Band,
    /// Processor time of all nodes for one request; `None` when they run elsewhere or cannot be seen.
    pub(crate) server_cpu_us: Option<Band>,
    /// Latency, all runs merged: in the open loop since the planned time, else since it was sent.
    pub(crate) latency: Summary,
    /// Since it was sent; in the closed loop the same as `latency`.
    pub(crate) service: Summary,
    /// By number of hops on the way to the home, ascending; empty for subscribe, whose way always crosses the cube.
    pub(crate) hops: Vec<Hop>,
    /// Topics at each node, by number; empty for operations that use none or make their own.
    pub(crate) placement: Vec<u32>,
    /// What came of published records, all runs together; only for subscribe.
    pub(crate) delivery: Option<Delivery>,
    /// The single runs, in the order in which they ran.
    pub(crate) runs: Vec<Run>,
}

/// A figure over the runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Band {
    /// The middle one; the mean of the two in the middle when their number is even.
    pub(crate) median: f64,
    /// The lowest.
    pub(crate) min: f64,
    /// The highest.
    pub(crate) max: f64,
}

/// A histogram in figures. All are 0 when nothing was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Values in it.
    pub(crate) count: u64,
    /// Arithmetic mean.
    pub(crate) avg_us: f64,
    /// Least.
    pub(crate) min_us: f64,
    /// Half are less or equal.
    pub(crate) p50_us: f64,
    /// 90 of 100.
    pub(crate) p90_us: f64,
    /// 95 of 100.
    pub(crate) p95_us: f64,
    /// 99 of 100.
    pub(crate) p99_us: f64,
    /// 999 of 1000.
    pub(crate) p999_us: f64,
    /// 9999 of 10 000.
    pub(crate) p9999_us: f64,
    /// Most.
    pub(crate) max_us: f64,
    /// Standard deviation.
    pub(crate) stddev_us: f64,
    /// The curve of the percentiles from 0 to 100, ascending; only of points, empty elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curve: Vec<Percentile>,
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentile {
    /// Per cent of the values, 0 to 100 …
    pub(crate) percentile: f64,
    /// … that are at most this.
    pub(crate) us: f64,
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorKind {
    /// The status's name, as UNKNOWN_TOPIC, or CONNECT, LOST, TIMED_OUT, PROTOCOL.
    pub(crate) kind: String,
    /// How many.
    pub(crate) count: u64,
}

/// Requests that took so many hops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hop {
    /// Edges between the node of entry and the home, when none is down.
    pub(crate) hops: u32,
    /// Their share of all requests.
    pub(crate) share: f64,
    /// What the cube lets expect: of d dimensions, d over hops of 2^d.
    pub(crate) expected_share: f64,
    /// Their latency, without the curve.
    pub(crate) latency: Summary,
}

/// What came of published records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// Records that a node acknowledged, warm-up and all.
    pub(crate) published: u64,
    /// Those that were delivered.
    pub(crate) delivered: u64,
    /// Those that were not, though waited for.
    pub(crate) lost: u64,
    /// Delivered with other bytes than were published.
    pub(crate) damaged: u64,
    /// Delivered before one that was published earlier to the same topic, or twice.
    pub(crate) out_of_order: u64,
}

/// One run of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// From 1.
    pub(crate) run: u32,
    /// Its place among all runs of the report, from 0: they are shuffled.
    pub(crate) order: u32,
    /// What was measured, without warm-up; less than planned when it was interrupted.
    pub(crate) seconds: f64,
    /// Requests that succeeded.
    pub(crate) requests: u64,
    /// Requests that failed.
    pub(crate) errors: u64,
    /// As in [`Point`].
    pub(crate) late: u64,
    /// As in [`Point`].
    pub(crate) unsent: u64,
    /// Answers a second.
    pub(crate) rate: f64,
    /// Payload a second, in 10^6 bytes.
    pub(crate) mb_s: f64,
    /// As in [`Point`], without the curve.
    pub(crate) latency: Summary,
    /// As in [`Point`], without the curve.
    pub(crate) service: Summary,
    /// What happened when.
    pub(crate) timeline: Vec<Bucket>,
}

/// A stretch of a run's time, by when its requests were answered or failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// Its beginning, since that of what was measured.
    pub(crate) at_ms: u64,
    /// Its length.
    pub(crate) width_ms: u64,
    /// Requests that succeeded.
    pub(crate) requests: u64,
    /// Requests that failed.
    pub(crate) errors: u64,
    /// 99 of 100 of their latencies are less; 0 when there are none.
    pub(crate) p99_us: f64,
}

/// What `--require` asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Requirement {
    /// As it was written.
    pub(crate) text: String,
    /// Does every point meet it?
    pub(crate) met: bool,
    /// The worst point, when it has one: its operation, its topics and its figure, in the unit of the requirement.
    pub(crate) worst: Option<Worst>,
}

/// The point that meets a requirement least.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worst {
    /// Its operation.
    pub(crate) test: Test,
    /// Its topics.
    pub(crate) topics: u32,
    /// Its figure: microseconds, requests a second, or a number.
    pub(crate) value: f64,
}
