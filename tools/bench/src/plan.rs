//! The plan: what to measure, from the command line.

use std::time::Duration;

use dht_client::Batch;
use dht_console::errors::Failure;
use dht_console::text;
use dht_report::{Entry, Kind, Test};

use super::deliver::VALUE_MIN;
use super::keys::Keys;
use super::plain::alike;
use super::ramp::Ramp;
use super::require::Require;
use crate::args;

/// Maximum number of connections: each has a thread with histograms of its own.
const CONNECTIONS_MAX: u32 = 128;

/// Maximum number of requests in flight on one connection: a node reads no further ahead.
pub(super) const PIPELINE_MAX: u32 = 1000;

/// Maximum number of topics of one point.
const TOPICS_MAX: u32 = 1_000_000;

/// Maximum size of a record's value in bytes.
const SIZE_MAX: u64 = 1_000_000;

/// Maximum number of runs of a point.
const RUNS_MAX: u32 = 1000;

/// Maximum number of records in one PUBLISH.
const BATCH_MAX: u32 = 100_000;

/// Maximum weight of one half of mixed.
const WEIGHT_MAX: u32 = 1000;

/// Maximum length of a label that becomes part of a folder's name.
const NAME_MAX: usize = 64;

/// Time limit for a run with a number of requests.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// The time limit without `--timeout`. One is needed, or a hanging node would never be detected.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) tests: Vec<Test>,
    /// The numbers of topics, in ascending order without duplicates.
    pub(super) topics: Vec<u32>,
    pub(super) connections: u32,
    pub(super) pipeline: u32,
    /// Requests per second of all connections together; each rate makes a point. `None` is the closed loop.
    pub(super) rates: Vec<Option<f64>>,
    /// True if the rates are a ramp, which ends at the first rate that is not reached.
    pub(super) is_ramp: bool,
    pub(super) keys: Keys,
    pub(super) size: u32,
    /// Number of records in one PUBLISH.
    pub(super) batch: u32,
    /// The weights of PUBLISH and FETCH in mixed.
    pub(super) mix: (u32, u32),
    /// Number of requests of a run, if it ends by their number.
    pub(super) requests: Option<u64>,
    pub(super) entry: Entry,
    pub(super) runs: u32,
    pub(super) warmup: Duration,
    pub(super) measured: Duration,
    pub(super) seed: u64,
    pub(super) requirements: Vec<Require>,
    pub(super) name: String,
    pub(super) remark: String,
    /// True if no progress is shown.
    pub(super) is_still: bool,
    /// The time limit for connecting and for each response.
    pub(super) timeout: Duration,
}

impl Plan {
    /// # Errors
    /// Returns an error for invalid options.
    pub(super) fn new(bench: &args::Load, kind: Kind, timeout: Duration) -> Result<Self, Failure> {
        let is_sweep = kind == Kind::Sweep;
        let or = |given: &Option<String>, run: &str, sweep: &str| {
            given.clone().unwrap_or_else(|| if is_sweep { sweep } else { run }.to_owned())
        };
        let size = text::size(bench.size.as_deref().unwrap_or("128"))?;
        if size > SIZE_MAX {
            return Err(Failure::usage(format!("records have at most {SIZE_MAX} bytes here")));
        }
        let size = u32::try_from(size).expect("it is at most SIZE_MAX");
        let batch = within("records in a batch", bench.batch, 1, BATCH_MAX)?;
        if alike((size as usize).max(VALUE_MIN), batch).is_err() {
            let bytes_max = Batch::BYTES_MAX;
            return Err(Failure::usage_with(
                format!("{batch} records of {size} bytes do not fit one request"),
                format!("a request has at most {bytes_max} bytes, and a record needs a few more than its value"),
            ));
        }
        let ramp = bench.ramp.as_deref().map(Ramp::parse).transpose()?;
        refuse_together(bench)?;
        let is_ramp = ramp.is_some();
        let measured = match (&ramp, bench.requests) {
            (Some(ramp), _) => ramp.each,
            (None, Some(0)) => return Err(Failure::usage("the number of requests must be above zero".to_owned())),
            (None, Some(_)) => REQUESTS_PATIENCE,
            (None, None) => text::duration(&or(&bench.duration, "10s", "1s"))?,
        };
        if measured.is_zero() {
            return Err(Failure::usage("the duration must be longer than zero".to_owned()));
        }
        let rates = match ramp {
            Some(ramp) => ramp.rates.into_iter().map(Some).collect(),
            None => vec![bench.rate.as_deref().map(rate).transpose()?.flatten()],
        };
        let (tests, mix) = tests(&or(&bench.tests, "publish,subscribe", "create,publish,subscribe,query"))?;
        let warmup = if is_ramp { "500ms" } else { "2s" };
        if bench.hdr.is_some() && tests.len() > 1 {
            return Err(Failure::usage_with(
                "--hdr takes the distribution of one test".to_owned(),
                "name one with -t; the report's folder has a file of each".to_owned(),
            ));
        }
        Ok(Self {
            kind,
            tests,
            topics: topics(&or(&bench.topics, "100", "1,100,200,300,400,500,600,700,800,900,1000"))?,
            connections: within("connections", bench.connections, 8, CONNECTIONS_MAX)?,
            pipeline: within("requests in flight", bench.pipeline, 1, PIPELINE_MAX)?,
            rates,
            is_ramp,
            keys: Keys::parse(bench.keys.as_deref().unwrap_or("uniform"))?,
            size,
            batch,
            mix,
            requests: bench.requests,
            entry: entry(bench.entry.as_deref().unwrap_or("all"))?,
            runs: within("runs", bench.runs, if is_sweep { 3 } else { 1 }, RUNS_MAX)?,
            warmup: text::duration(&or(&bench.warmup, warmup, "500ms"))?,
            measured,
            seed: bench.seed.unwrap_or(42),
            requirements: bench.require.iter().map(|text| Require::parse(text)).collect::<Result<_, _>>()?,
            name: name(bench.name.as_deref().unwrap_or_default())?,
            remark: bench.remark.clone().unwrap_or_default(),
            is_still: bench.no_progress,
            timeout: if timeout.is_zero() { PATIENCE } else { timeout },
        })
    }

    /// Returns the size in bytes of the values in a request of this operation or in its response.
    pub(super) fn payload_bytes(&self, test: Test) -> f64 {
        let size = f64::from(self.size);
        let (publish, fetch) = self.mix;
        match test {
            Test::Publish => size * f64::from(self.batch),
            Test::Subscribe => size.max(VALUE_MIN as f64) * f64::from(self.batch),
            Test::Fetch => size,
            Test::Mixed => {
                let published = f64::from(publish) * f64::from(self.batch);
                size * (published + f64::from(fetch)) / f64::from(publish + fetch)
            }
            Test::Create | Test::Query | Test::Ping | Test::Delete => 0.0,
        }
    }

    /// Returns true if each request has a planned time (open loop).
    pub(super) fn is_open(&self) -> bool {
        self.rates.iter().all(Option::is_some)
    }
}

/// Checks options that exclude each other.
fn refuse_together(bench: &args::Load) -> Result<(), Failure> {
    let has_rate = bench.rate.as_deref().is_some_and(|rate| rate != "max");
    let (has_ramp, has_requests) = (bench.ramp.is_some(), bench.requests.is_some());
    for (is_wrong, what, advice) in [
        (
            (has_rate || has_ramp) && bench.pipeline.is_some(),
            "--pipeline belongs to the closed loop, --rate and --ramp to the open one",
            "in the open loop each request is sent at its planned time, whatever is in flight",
        ),
        (has_ramp && bench.rate.is_some(), "--ramp already contains the rates", "omit --rate"),
        (
            has_ramp && (bench.duration.is_some() || has_requests),
            "--ramp already contains the duration of all its steps",
            "omit --duration and --requests",
        ),
        (
            has_requests && bench.duration.is_some(),
            "a run ends after a time or after a number of requests",
            "omit --duration or --requests",
        ),
    ] {
        if is_wrong {
            return Err(Failure::usage_with(what.to_owned(), advice.to_owned()));
        }
    }
    Ok(())
}

/// Returns true if each connection has topics of its own.
pub(super) const fn owns_topics(test: Test) -> bool {
    matches!(test, Test::Create | Test::Delete | Test::Subscribe)
}

/// Returns true if the operation uses topics that exist already.
pub(super) const fn needs_topics(test: Test) -> bool {
    !matches!(test, Test::Create | Test::Delete | Test::Ping)
}

/// Parses the operations, and the weights of publish and fetch in mixed.
fn tests(list: &str) -> Result<(Vec<Test>, (u32, u32)), Failure> {
    let mut tests = Vec::new();
    let mut mix = (1, 1);
    for written in list.split(',') {
        let (name, weights) = written.split_once(':').map_or((written, None), |(name, rest)| (name, Some(rest)));
        let Some(test) = Test::ALL.into_iter().find(|test| test.name() == name) else {
            let known = Test::ALL.map(Test::name);
            let advice = match text::closest(name, known.into_iter()) {
                Some(similar) => format!("did you mean {similar:?}?"),
                None => format!("there are {}", known.join(", ")),
            };
            return Err(Failure::usage_with(format!("no test {name:?}"), advice));
        };
        if let Some(weights) = weights {
            mix = weights_of(weights).filter(|_| test == Test::Mixed).ok_or_else(|| {
                Failure::usage_with(
                    format!("no test {written:?}"),
                    format!("only mixed has weights, publish to fetch, as mixed:1:3; at most {WEIGHT_MAX}"),
                )
            })?;
        }
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    Ok((tests, mix))
}

/// Parses weights such as `1:3`.
fn weights_of(text: &str) -> Option<(u32, u32)> {
    let (publish, fetch) = text.split_once(':')?;
    let weight = |text: &str| text.parse().ok().filter(|weight| *weight <= WEIGHT_MAX);
    weight(publish).zip(weight(fetch)).filter(|(publish, fetch)| publish + fetch > 0)
}

/// Checks that the text can be part of a folder's name on any system.
fn name(text: &str) -> Result<String, Failure> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if text.len() > NAME_MAX || !text.chars().all(is_plain) {
        return Err(Failure::usage_with(
            format!("{text:?} is not a valid name of a benchmark"),
            format!("at most {NAME_MAX} of A-Z a-z 0-9 . _ -; anything else goes to --remark"),
        ));
    }
    Ok(text.to_owned())
}

fn topics(list: &str) -> Result<Vec<u32>, Failure> {
    let number = |text: &str| text.parse().ok().filter(|count| (1..=TOPICS_MAX).contains(count));
    let wrong = || {
        Failure::usage_with(
            format!("{list:?} is not a list of numbers of topics"),
            format!("write it like 1,100,1000; at most {TOPICS_MAX}"),
        )
    };
    let mut topics = list.split(',').map(number).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    topics.sort_unstable();
    topics.dedup();
    Ok(topics)
}

/// Parses a rate; `None` means as fast as possible.
fn rate(text: &str) -> Result<Option<f64>, Failure> {
    if text == "max" {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(Some(rate)),
        Ok(_) | Err(_) => Err(Failure::usage_with(
            format!("{text:?} is not a rate"),
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
