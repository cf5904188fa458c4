//! What is to be measured, as the command line says it.

use std::time::Duration;

use super::report::{Entry, Kind, Test};
use super::require::Require;
use crate::args;
use crate::errors::Failure;
use crate::text;

/// Most connections: each has a thread and its histograms.
const CONNECTIONS_MAX: u32 = 128;

/// Requests in flight on one connection: a node reads no more than this ahead.
pub(super) const PIPELINE_MAX: u32 = 1000;

/// Most topics of one point.
const TOPICS_MAX: u32 = 1_000_000;

/// Most bytes of a record's value.
const SIZE_MAX: u64 = 1_000_000;

/// More runs of a point than anybody waits for.
const RUNS_MAX: u32 = 1000;

/// Without a limit by `--timeout`: some is needed, else a node that hangs is never found out.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) tests: Vec<Test>,
    /// Ascending, each once.
    pub(super) topics: Vec<u32>,
    pub(super) connections: u32,
    pub(super) pipeline: u32,
    /// Requests a second of all connections, in the open loop.
    pub(super) rate: Option<f64>,
    pub(super) size: u32,
    pub(super) entry: Entry,
    pub(super) runs: u32,
    pub(super) warmup: Duration,
    pub(super) measured: Duration,
    pub(super) seed: u64,
    pub(super) requirements: Vec<Require>,
    /// For connecting and for each answer.
    pub(super) timeout: Duration,
}

impl Plan {
    /// # Errors
    /// What cannot be meant.
    pub(super) fn new(bench: &args::Bench, kind: Kind, timeout: Duration) -> Result<Self, Failure> {
        let is_sweep = kind == Kind::Sweep;
        let or = |given: &Option<String>, run: &str, sweep: &str| {
            given.clone().unwrap_or_else(|| if is_sweep { sweep } else { run }.to_owned())
        };
        let size = text::size(bench.size.as_deref().unwrap_or("128"))?;
        if size > SIZE_MAX {
            return Err(Failure::usage(format!("records have at most {SIZE_MAX} bytes here")));
        }
        let measured = text::duration(&or(&bench.duration, "10s", "1s"))?;
        if measured.is_zero() {
            return Err(Failure::usage("nothing can be measured in no time".to_owned()));
        }
        let rate = bench.rate.as_deref().map(rate).transpose()?.flatten();
        if rate.is_some() && bench.pipeline.is_some() {
            return Err(Failure::usage_with(
                "--pipeline belongs to the closed loop, --rate to the open one".to_owned(),
                "in the open loop each request goes out at its time, whatever is in flight".to_owned(),
            ));
        }
        Ok(Self {
            kind,
            tests: tests(&or(&bench.tests, "publish,subscribe", "create,publish,subscribe,query"))?,
            topics: topics(&or(&bench.topics, "100", "1,100,200,300,400,500,600,700,800,900,1000"))?,
            connections: within("connections", bench.connections, 8, CONNECTIONS_MAX)?,
            pipeline: within("requests in flight", bench.pipeline, 1, PIPELINE_MAX)?,
            rate,
            size: u32::try_from(size).expect("it is at most SIZE_MAX"),
            entry: entry(bench.entry.as_deref().unwrap_or("all"))?,
            runs: within("runs", bench.runs, if is_sweep { 3 } else { 1 }, RUNS_MAX)?,
            warmup: text::duration(&or(&bench.warmup, "2s", "500ms"))?,
            measured,
            seed: bench.seed.unwrap_or(42),
            requirements: bench.require.iter().map(|text| Require::parse(text)).collect::<Result<_, _>>()?,
            timeout: if timeout.is_zero() { PATIENCE } else { timeout },
        })
    }
}

impl Test {
    /// All of them, in the order in which they are named.
    pub(super) const ALL: [Self; 6] =
        [Self::Create, Self::Publish, Self::Subscribe, Self::Query, Self::Fetch, Self::Ping];

    /// As it is written.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Query => "query",
            Self::Fetch => "fetch",
            Self::Ping => "ping",
        }
    }

    /// Does it carry records?
    pub(super) const fn has_payload(self) -> bool {
        matches!(self, Self::Publish | Self::Subscribe | Self::Fetch)
    }

    /// Is it about topics that are there already?
    pub(super) const fn needs_topics(self) -> bool {
        !matches!(self, Self::Create | Self::Ping)
    }
}

fn tests(list: &str) -> Result<Vec<Test>, Failure> {
    let mut tests = Vec::new();
    for name in list.split(',') {
        let Some(test) = Test::ALL.into_iter().find(|test| test.name() == name) else {
            let known = Test::ALL.map(Test::name);
            let advice = match text::closest(name, known.into_iter()) {
                Some(similar) => format!("did you mean {similar:?}?"),
                None => format!("there are {}", known.join(", ")),
            };
            return Err(Failure::usage_with(format!("no test {name:?}"), advice));
        };
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    Ok(tests)
}

fn topics(list: &str) -> Result<Vec<u32>, Failure> {
    let number = |text: &str| text.parse().ok().filter(|count| (1..=TOPICS_MAX).contains(count));
    let wrong = || {
        Failure::usage_with(
            format!("{list:?} is no list of numbers of topics"),
            format!("write it like 1,100,1000; at most {TOPICS_MAX}"),
        )
    };
    let mut topics = list.split(',').map(number).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    topics.sort_unstable();
    topics.dedup();
    Ok(topics)
}

/// `None` is as fast as it goes.
fn rate(text: &str) -> Result<Option<f64>, Failure> {
    if text == "max" {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(Some(rate)),
        Ok(_) | Err(_) => Err(Failure::usage_with(
            format!("{text:?} is no rate"),
            "write requests a second of all connections together, or max".to_owned(),
        )),
    }
}

fn entry(text: &str) -> Result<Entry, Failure> {
    match text {
        "one" => Ok(Entry::One),
        "all" => Ok(Entry::All),
        "random" => Ok(Entry::Random),
        _ => Err(Failure::usage_with(format!("no entry {text:?}"), "--entry is one, all or random".to_owned())),
    }
}

fn within(what: &str, given: Option<u32>, default: u32, max: u32) -> Result<u32, Failure> {
    match given.unwrap_or(default) {
        count if (1..=max).contains(&count) => Ok(count),
        count => Err(Failure::usage(format!("{count} {what}: there are 1 to {max}"))),
    }
}
