//! The words of `bench`, each with its own options and help.

use argh::{ArgsInfo, FromArgs};

/// Measure how fast the cluster is.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "bench",
    help_triggers("-h", "--help"),
    note = "Each has its own help: dht-cli bench run --help",
    example = "dht-cli bench sweep\ndht-cli bench run -t publish,query -c 16 -d 5s\ndht-cli bench run -t publish -r 2000 --require 'p99<5ms'\ndht-cli bench run -t mixed:1:3 --keys zipf:1.1 -n 100000\ndht-cli bench run -t publish --ramp 1000..50000/30s\ndht-cli bench compare bench-results/before bench-results/after"
)]
pub(crate) struct Bench {
    #[argh(subcommand)]
    pub(crate) what: Measure,
}

/// What `bench` is to do.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand)]
pub(crate) enum Measure {
    /// One number of topics, unless it is told more.
    Run(Run),
    /// From 1 to 1000 topics.
    Sweep(Sweep),
    /// What the machine adds by itself.
    Intrinsic(Intrinsic),
    /// Nothing: two reports side by side.
    Compare(Compare),
    /// Nothing: the page and the pictures of what was measured.
    Report(Report),
    /// Nothing: pictures of what was measured.
    Plot(Plot),
}

/// `run` and `sweep` have the same options and other defaults; argh wants a struct for each.
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
            note = "Without --rate each connection waits for its answers (closed loop: finds the highest rate); with it each request\nhas its time (open loop: finds the latency at a rate). The topics that it makes are removed in the end; the report\ngoes to a folder of bench-results/ and says what a request costs the generator and the nodes.\nTESTS: create, delete, publish, subscribe (from publish at one node to deliver at the opposite one), query, fetch,\nping, mixed:W:R (W publish to R fetch).\nKEYS: uniform, sequential, zipf:1.1 (few topics often, most seldom), hot:1 (only so many of them); for subscribe\namong those of each connection.",
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
            /// requests a second of all connections together, or max [default: max]
            #[argh(option, short = 'r')]
            rate: Option<String>,
            /// ten rates one after the other, as 1000..50000/30s; ends where one is not reached
            #[argh(option, arg_name = "from..to/time")]
            ramp: Option<String>,
            /// which topics requests are about, see below [default: uniform]
            #[argh(option)]
            keys: Option<String>,
            /// records of one publish [default: 1]
            #[argh(option)]
            batch: Option<u32>,
            /// bytes of a record's value; subscribe has at least 16 [default: 128]
            #[argh(option, short = 'm')]
            size: Option<String>,
            /// where requests enter: one (that of -s), all in turn, or random [default: all]
            #[argh(option)]
            entry: Option<String>,
            #[doc = $duration]
            #[argh(option, short = 'd', arg_name = "time")]
            duration: Option<String>,
            /// requests of each run after the warm-up, instead of a time
            #[argh(option, short = 'n')]
            requests: Option<u64>,
            #[doc = $warmup]
            #[argh(option, short = 'w', arg_name = "time")]
            warmup: Option<String>,
            #[doc = $runs]
            #[argh(option)]
            runs: Option<u32>,
            /// from which topics and orders are drawn [default: 42]
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
            /// what is to be remembered of it
            #[argh(option, arg_name = "text")]
            remark: Option<String>,
            /// write the table of runs here too
            #[argh(option, arg_name = "file")]
            csv: Option<String>,
            /// write the distribution of a single test here too, in HdrHistogram's form
            #[argh(option, arg_name = "file")]
            hdr: Option<String>,
            /// say nothing while it measures
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
    "what is passed over before [default: 2s]",
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
    "what is passed over before [default: 500ms]",
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

/// Measure what the machine adds by itself, without the cluster.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "intrinsic", help_triggers("-h", "--help"))]
pub(crate) struct Intrinsic {
    /// how long it is measured [default: 10s]
    #[argh(option, short = 'd', arg_name = "time")]
    pub(crate) duration: Option<String>,
}

/// Say what differs between two reports beyond the noise of their runs.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "compare",
    help_triggers("-h", "--help"),
    example = "dht-cli bench compare bench-results/before bench-results/after"
)]
pub(crate) struct Compare {
    /// folder for pictures with both
    #[argh(option, arg_name = "folder")]
    pub(crate) out: Option<String>,
    /// folder of the older report, or its report.json
    #[argh(positional)]
    pub(crate) old: String,
    /// folder of the newer report, or its report.json
    #[argh(positional)]
    pub(crate) new: String,
}

/// Write report.html and the pictures of a report again.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "report", help_triggers("-h", "--help"))]
pub(crate) struct Report {
    /// folder of the report, or its report.json
    #[argh(positional)]
    pub(crate) report: String,
}

/// Draw the pictures of a report again.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "plot", help_triggers("-h", "--help"))]
pub(crate) struct Plot {
    /// folder of the report, or its report.json
    #[argh(positional)]
    pub(crate) report: String,
}
