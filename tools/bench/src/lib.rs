//! `bench`: how fast a cluster is, measured so that the result can be trusted.
//!
//! | file | what |
//! |---|---|
//! | `args` | the options of the subcommands |
//! | `plan`, `keys`, `ramp` | what to measure, on which topics, at which rates |
//! | `require` | the requirements that the result must meet |
//! | `target`, `stock`, `bulk` | the cube, and the topics created on it for the benchmark |
//! | `campaign`, `measure` | all runs, in shuffled order, and their combined result; a single run |
//! | `worker`, `link` | a load-generating thread and its pacing; what it needs of its connections |
//! | `plain`, `churn`, `deliver` | its workloads: requests with one response each; create and delete; subscribe |
//! | `progress` | the progress display |
//! | `tally`, `cpu`, `servers`, `counters` | histograms and counts; CPU use of threads, machine and nodes; STATS |
//! | `notes` | the notes that a reader needs to interpret a report |
//! | `files`, `hgrm`, `show`, `page` | output: tables, terminal, report.html |
//! | `read`, `compare`, `verdict` | two results side by side, and whether they differ significantly |
//! | `intrinsic` | the latency that the machine itself adds |
//!
//! A report as types is in `dht-report`, its pictures are in `dht-pictures`.
//!
//! Results of several runs are merged rather than averaged where possible. The latency of a failed
//! request is never counted. A report states what was not measured.

mod args;
mod bulk;
mod campaign;
mod churn;
mod compare;
mod counters;
mod cpu;
mod deliver;
mod files;
mod hgrm;
mod intrinsic;
mod keys;
mod link;
mod measure;
mod notes;
mod page;
mod plain;
mod plan;
mod progress;
mod ramp;
mod read;
mod require;
mod servers;
mod show;
mod stock;
mod tally;
mod target;
mod verdict;
mod worker;

use std::time::{Duration, Instant, UNIX_EPOCH};

use dht_console::errors::{Exit, Failure, note};
use dht_console::session::Session;
use dht_console::{clock, interrupt};
use dht_report::{Environment, Generator, Kind, Load, Mode, Point, Report, SCHEMA};

use campaign::{Campaign, Field};
use plan::Plan;
use servers::Servers;
use stock::Stock;
use target::Target;

pub use args::Bench;

/// Runs the command `bench WORD`.
pub fn bench(bench: Bench, session: &mut Session) -> Result<Exit, Failure> {
    if session.is_line {
        return Err(Failure::usage("bench is no command of nc".to_owned()));
    }
    match bench.what {
        args::Measure::Run(run) => measured(&run.into(), Kind::Run, session),
        args::Measure::Sweep(sweep) => measured(&sweep.into(), Kind::Sweep, session),
        args::Measure::Intrinsic(intrinsic) => intrinsic::intrinsic(intrinsic.duration.as_deref(), session),
        args::Measure::Compare(of) => compare::compare([&of.old, &of.new], of.out.as_deref(), session),
        args::Measure::Report(of) => page::again(&of.report, session),
        args::Measure::Plot(of) => plot(&of.report, session),
    }
}

/// Measures and writes the report.
fn measured(bench: &args::Load, kind: Kind, session: &mut Session) -> Result<Exit, Failure> {
    let plan = Plan::new(bench, kind, session.settings.timeout)?;
    interrupt::listen().map_err(|error| Failure::Input { name: "Ctrl-C".to_owned(), error })?;
    let (began, began_us) = (clock::now(), clock::wall_us());
    let target = Target::find(session)?;
    let mut report = blank(&plan, &target, began_us);
    let folder = files::folder(bench.out.as_deref(), &report.started, plan.kind, &plan.name)?;
    if !session.settings.quiet {
        show::heading(&report, &plan.topics).iter().for_each(|line| note(line));
    }
    let most = plan.topics.last().copied().unwrap_or(1);
    let mut stock = Stock::new(format!("bench-{began_us:x}-"), most, (target.entrance().clone(), plan.timeout));
    let mut campaign = Campaign::default();
    let servers = target.local_ports().and_then(|ports| Servers::find(&ports));
    let before = counters::take(session, target.dimension);
    let outcome = campaign.run(&Field { plan: &plan, target: &target, servers }, &mut stock, session);
    report.counters = counters::both(&before, &counters::take(session, target.dimension));
    report.edges = counters::edges(&report.counters, target.dimension);
    let kept = session.client().map_or(1, |client| stock.clear(client));
    let points = campaign.points(&plan, report.cluster.dimension);
    let generator = Generator { costs: campaign.costs(&plan), ..std::mem::take(&mut campaign.generator) };
    finish(&mut report, points, generator, &plan, began);
    report.interrupted = interrupt::is_pressed() || outcome.is_err();
    report.notes = notes::of(&report);
    report.notes.append(&mut campaign.notes);
    if kept > 0 {
        report.notes.push(format!("topics that it made could not be removed: dht-cli list {}", stock.prefix()));
    }
    let mut files = files::write(&report, &campaign.tallies(&plan), &folder)?;
    files.push(page::write(&report, &folder)?);
    files::copies(bench, &plan, &folder)?;
    files.extend(dht_pictures::draw(&report, &folder)?);
    if session.out.is_json() {
        let value = serde_json::to_value(&report).map_err(|error| Failure::Output(error.into()))?;
        session.out.json(&value)?;
    } else {
        show::results(&report, &mut session.out)?;
        show::saved(&folder, &files, &mut session.out)?;
    }
    if interrupt::is_pressed() {
        return Ok(Exit::Interrupted);
    }
    outcome?;
    Ok(if report.requirements.iter().any(|requirement| !requirement.met) {
        Exit::Missed
    } else if report.errors > 0 {
        Exit::Partial
    } else {
        Exit::Done
    })
}

/// Runs `bench plot`, which draws the pictures of a report again.
fn plot(path: &str, session: &mut Session) -> Result<Exit, Failure> {
    let folder = read::folder(path);
    let drawn = dht_pictures::draw(&read::report(path)?, folder)?;
    show::saved(folder, &drawn, &mut session.out)?;
    Ok(Exit::Done)
}

/// Returns an empty report.
fn blank(plan: &Plan, target: &Target, began_us: u64) -> Report {
    let started = UNIX_EPOCH + Duration::from_micros(began_us);
    Report {
        schema: SCHEMA,
        kind: plan.kind,
        command: std::env::args().collect(),
        started: humantime::format_rfc3339_seconds(started).to_string(),
        seconds: 0.0,
        interrupted: false,
        errors: 0,
        cluster: target.report(),
        load: Load {
            mode: if plan.is_open() { Mode::Open } else { Mode::Closed },
            target_rate: if plan.is_ramp { None } else { plan.rates[0] },
            connections: plan.connections,
            pipeline: plan.pipeline,
            size_bytes: plan.size,
            batch: plan.batch,
            keys: plan.keys.to_string(),
            threads: plan.connections,
            requests: plan.requests,
            ramp: if plan.is_ramp { plan.rates.iter().flatten().copied().collect() } else { Vec::new() },
            entry: plan.entry,
            runs: plan.runs,
            warmup_seconds: plan.warmup.as_secs_f64(),
            measured_seconds: if plan.requests.is_some() { 0.0 } else { plan.measured.as_secs_f64() },
            seed: plan.seed,
        },
        environment: Environment {
            name: plan.name.clone(),
            remark: plan.remark.clone(),
            ..cpu::environment(target.is_local())
        },
        generator: Generator::default(),
        counters: Vec::new(),
        edges: Vec::new(),
        points: Vec::new(),
        requirements: Vec::new(),
        notes: Vec::new(),
    }
}

fn finish(report: &mut Report, points: Vec<Point>, generator: Generator, plan: &Plan, began: Instant) {
    report.seconds = clock::now().duration_since(began).as_secs_f64();
    report.errors = points.iter().map(|point| point.errors).sum();
    report.requirements = plan.requirements.iter().map(|require| require.judge(&points)).collect();
    report.generator = generator;
    report.points = points;
}
