//! The subcommands of `bench`, each with its own options and help.

use argh::{ArgsInfo, FromArgs};

/// Measure throughput and latency of the cluster.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "bench",
    help_triggers("-h", "--help"),
    note = "Each command has its own help: dht-cli bench run --help",
    example = "dht-cli bench sweep\ndht-cli bench run -t publish,query -c 16 -d 5s\ndht-cli bench run -t publish -r 2000 --require 'p99<5ms'\ndht-cli bench run -t mixed:1:3 --keys zipf:1.1 -n 100000\ndht-cli bench run -t publish --ramp 1000..50000/30s\ndht-cli bench compare bench-results/before bench-results/after"
)]
pub struct Bench {
    #[argh(subcommand)]
    pub(crate) what: Measure,
}

/// The subcommand of `bench`.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand)]
pub(crate) enum Measure {
    Run(Run),
    Sweep(Sweep),
    Intrinsic(Intrinsic),
    Compare(Compare),
    Report(Report),
    Plot(Plot),
}

/// Defines the options of `run` and of `sweep`, which are the same but for their defaults: argh needs a struct for each
/// subcommand and offers no way to share fields between structs.
macro_rules! load {
    (
        $name:ident, $word:tt, $about:tt, $tests:tt, $topics:tt, $duration:tt, $warmup:tt, $runs:tt, $example:tt
    ) => {
        #[doc = $about]
        #[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
        #[argh(
            subcommand,
            name = $word,
            help_triggers("-h", "--help"),
            note = "Without --rate each connection waits for answers before it sends more (closed loop: finds the highest rate). With\n--rate requests are sent on a schedule (open loop: finds the latency at that rate). The topics that it creates are\ndeleted at the end. The report goes to a folder in bench-results/ and includes the CPU time per request of the\ngenerator and of the nodes.\nTESTS: create, delete, publish, subscribe (from publish at one node to delivery at the opposite one), query, fetch,\nping, mixed:W:R (W times publish to R times fetch).\nKEYS: uniform, sequential, zipf:1.1 (few topics often, most seldom), hot:1 (only that many topics); for subscribe\namong the topics of each connection.",
            example = $example
        )]
        pub(crate) struct $name {
            #[doc = $tests]
            #[argh(option, short = 't')]
            tests: Option<String>,
            #[doc = $topics]
            #[argh(option, short = 'k')]
            topics: Option<String>,
            /// connections, each with a thread of its own [default: 8]
            #[argh(option, short = 'c')]
            connections: Option<u32>,
            /// requests in flight on each connection [default: 1]
            #[argh(option, short = 'P')]
            pipeline: Option<u32>,
            /// requests per second of all connections together, or max [default: max]
            #[argh(option, short = 'r')]
            rate: Option<String>,
            /// ten rates one after another, as 1000..50000/30s; stops at the first that is not reached
            #[argh(option, arg_name = "from..to/time")]
            ramp: Option<String>,
            /// how requests choose their topics, see below [default: uniform]
            #[argh(option)]
            keys: Option<String>,
            /// records per publish [default: 1]
            #[argh(option)]
            batch: Option<u32>,
            /// size of a record's value; at least 16 bytes for subscribe [default: 128]
            #[argh(option, short = 'm')]
            size: Option<String>,
            /// nodes to send requests to: one (that of -s), all in turn, or random [default: all]
            #[argh(option)]
            entry: Option<String>,
            #[doc = $duration]
            #[argh(option, short = 'd', arg_name = "time")]
            duration: Option<String>,
            /// requests per run after the warm-up, instead of --duration
            #[argh(option, short = 'n')]
            requests: Option<u64>,
            #[doc = $warmup]
            #[argh(option, short = 'w', arg_name = "time")]
            warmup: Option<String>,
            #[doc = $runs]
            #[argh(option)]
            runs: Option<u32>,
            /// seed for the choice of topics and the order of runs [default: 42]
            #[argh(option)]
            seed: Option<u64>,
            /// what each point must reach, else the exit code is 99: 'p99<5ms', 'rate>=50k', 'errors<=0'; repeatable
            #[argh(option, arg_name = "what")]
            require: Vec<String>,
            /// folder for the report
            #[argh(option, arg_name = "folder")]
            out: Option<String>,
            /// a name for the report and its folder
            #[argh(option)]
            name: Option<String>,
            /// remark to keep in the report
            #[argh(option, arg_name = "text")]
            remark: Option<String>,
            /// also write the table of runs to this file
            #[argh(option, arg_name = "file")]
            csv: Option<String>,
            /// also write the latency distribution to this file, in HdrHistogram's format; for a single test
            #[argh(option, arg_name = "file")]
            hdr: Option<String>,
            /// print nothing while measuring
            #[argh(switch)]
            no_progress: bool,
        }

        impl From<$name> for Load {
            fn from(given: $name) -> Self {
                let $name { tests, topics, connections, pipeline, rate, ramp, keys, batch, size, entry, .. } = given;
                let $name { duration, requests, warmup, runs, seed, require, out, name, remark, csv, hdr, .. } = given;
                let no_progress = given.no_progress;
                Self {
                    tests, topics, connections, pipeline, rate, ramp, keys, batch, size, entry, duration, requests,
                    warmup, runs, seed, require, out, name, remark, csv, hdr, no_progress,
                }
            }
        }
    };
}

load!(
    Run,
    "run",
    "Measure at one number of topics.",
    "what to measure, separated by commas, see below [default: publish,subscribe]",
    "numbers of topics, separated by commas [default: 100]",
    "how long each run is measured [default: 10s]",
    "warm-up before each run, which is not measured [default: 2s]",
    "runs of each point, in shuffled order [default: 1]",
    "dht-cli bench run -t publish,query -c 16 -d 5s\ndht-cli bench run -t publish -r 2000 --require 'p99<5ms'"
);
load!(
    Sweep,
    "sweep",
    "Measure from 1 to 1000 topics.",
    "what to measure, separated by commas, see below [default: create,publish,subscribe,query]",
    "numbers of topics, separated by commas [default: 1,100,200,...,1000]",
    "how long each run is measured [default: 1s]",
    "warm-up before each run, which is not measured [default: 500ms]",
    "runs of each point, in shuffled order [default: 3]",
    "dht-cli bench sweep\ndht-cli bench sweep -k 1,500,1000 --runs 1"
);

/// The options of `run` and `sweep`.
#[derive(Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) tests: Option<String>,
    pub(crate) topics: Option<String>,
    pub(crate) connections: Option<u32>,
    pub(crate) pipeline: Option<u32>,
    pub(crate) rate: Option<String>,
    pub(crate) ramp: Option<String>,
    pub(crate) keys: Option<String>,
    pub(crate) batch: Option<u32>,
    pub(crate) size: Option<String>,
    pub(crate) entry: Option<String>,
    pub(crate) duration: Option<String>,
    pub(crate) requests: Option<u64>,
    pub(crate) warmup: Option<String>,
    pub(crate) runs: Option<u32>,
    pub(crate) seed: Option<u64>,
    pub(crate) require: Vec<String>,
    pub(crate) out: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) remark: Option<String>,
    pub(crate) csv: Option<String>,
    pub(crate) hdr: Option<String>,
    pub(crate) no_progress: bool,
}

/// Measure the delays that the machine itself adds, without a cluster.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "intrinsic", help_triggers("-h", "--help"))]
pub(crate) struct Intrinsic {
    /// how long to measure [default: 10s]
    #[argh(option, short = 'd', arg_name = "time")]
    pub(crate) duration: Option<String>,
}

/// Show the differences between two reports that exceed the noise of their runs.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "compare",
    help_triggers("-h", "--help"),
    example = "dht-cli bench compare bench-results/before bench-results/after"
)]
pub(crate) struct Compare {
    /// folder for charts of both reports
    #[argh(option, arg_name = "folder")]
    pub(crate) out: Option<String>,
    /// folder of the older report, or its report.json
    #[argh(positional)]
    pub(crate) old: String,
    /// folder of the newer report, or its report.json
    #[argh(positional)]
    pub(crate) new: String,
}

/// Write report.html and the charts of a report again.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "report", help_triggers("-h", "--help"))]
pub(crate) struct Report {
    /// folder of the report, or its report.json
    #[argh(positional)]
    pub(crate) report: String,
}

/// Draw the charts of a report again.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "plot", help_triggers("-h", "--help"))]
pub(crate) struct Plot {
    /// folder of the report, or its report.json
    #[argh(positional)]
    pub(crate) report: String,
}
