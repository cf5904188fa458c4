//! The files of a report, in a folder of its own.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dht_console::errors::Failure;
use dht_report::{Kind, Report, Test};

use super::hgrm;
use super::plan::Plan;
use super::tally::Tally;
use crate::args;

/// The parent of the folders without `--out`; git ignores it.
const RESULTS: &str = "bench-results";

/// Creates the folder: the one given by `--out`, else a new one with the date in its name.
///
/// # Errors
/// Returns an error if it cannot be created.
pub(super) fn folder(out: Option<&str>, started: &str, kind: Kind, name: &str) -> Result<PathBuf, Failure> {
    let kind = match kind {
        Kind::Run => "run",
        Kind::Sweep => "sweep",
    };
    let name = if name.is_empty() { kind.to_owned() } else { format!("{kind}-{name}") };
    let made = match out {
        Some(out) => fs::create_dir_all(out).map(|()| PathBuf::from(out)),
        None => dated(started, &name),
    };
    made.map_err(|error| {
        let where_to = out.unwrap_or(RESULTS);
        Failure::usage_with(
            format!("cannot make a folder in {where_to}: {}", error.kind()),
            "name one with --out".to_owned(),
        )
    })
}

fn dated(started: &str, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(RESULTS)?;
    let beginning = format!("{}-{name}", started.replace(':', ""));
    let mut path = Path::new(RESULTS).join(&beginning);
    let mut number = 2;
    loop {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = Path::new(RESULTS).join(format!("{beginning}-{number}"));
                number += 1;
            }
            outcome => return outcome.map(|()| path),
        }
    }
}

/// Writes all files, and returns their paths.
///
/// # Errors
/// Returns an error if one cannot be written.
pub(super) fn write(report: &Report, tallies: &[(Test, Tally)], folder: &Path) -> io::Result<Vec<PathBuf>> {
    let json = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
    fs::write(folder.join("report.json"), json + "\n")?;
    fs::write(folder.join("summary.csv"), summary(report))?;
    fs::write(folder.join("timeline.csv"), timeline(report))?;
    fs::write(folder.join("command.txt"), command(report))?;
    let mut files =
        ["report.json", "summary.csv", "timeline.csv", "command.txt"].map(|name| folder.join(name)).to_vec();
    for (test, tally) in tallies {
        let path = folder.join(hgrm_name(*test));
        fs::write(&path, hgrm::text(tally.distribution()))?;
        files.push(path);
    }
    Ok(files)
}

fn hgrm_name(test: Test) -> String {
    format!("{}.hgrm", test.name())
}

/// Writes the files for `--csv` and `--hdr`.
///
/// # Errors
/// Returns an error if one cannot be written.
pub(super) fn copies(bench: &args::Load, plan: &Plan, folder: &Path) -> Result<(), Failure> {
    let distribution = hgrm_name(plan.tests[0]);
    for (source, target) in [("summary.csv", &bench.csv), (&distribution, &bench.hdr)] {
        let Some(target) = target else { continue };
        // Without any response there is no distribution.
        let bytes = fs::read(folder.join(source)).unwrap_or_default();
        fs::write(target, bytes).map_err(|error| {
            let advice = format!("the same is in {}", folder.join(source).display());
            Failure::usage_with(format!("cannot write {target}: {}", error.kind()), advice)
        })?;
    }
    Ok(())
}

/// Quotes the command line for a shell.
fn command(report: &Report) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:,=+@%".contains(letter);
    let quoted = report.command.iter().map(|word| {
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ") + "\n"
}

/// Returns a CSV line for each run.
fn summary(report: &Report) -> String {
    let mut csv = "run,test,topics,connections,size_bytes,target_rate,requests,errors,unsent,seconds,rate,mb_s,avg_us,\
                   min_us,p50_us,p90_us,p95_us,p99_us,p999_us,max_us,stddev_us,service_p99_us\n"
        .to_owned();
    let size = report.load.size_bytes;
    for point in &report.points {
        let (test, topics, connections) = (point.test.name(), point.topics, point.connections);
        let target = point.target_rate.map(|rate| rate.to_string()).unwrap_or_default();
        for run in &point.runs {
            let (latency, number, service) = (&run.latency, run.run, run.service.p99_us);
            let counts = [run.requests, run.errors, run.unsent].map(|count| count.to_string()).join(",");
            let figures = [
                run.seconds,
                run.rate,
                run.mb_s,
                latency.avg_us,
                latency.min_us,
                latency.p50_us,
                latency.p90_us,
                latency.p95_us,
                latency.p99_us,
                latency.p999_us,
                latency.max_us,
                latency.stddev_us,
                service,
            ];
            let figures = figures.map(|figure| format!("{figure:.3}")).join(",");
            writeln!(csv, "{number},{test},{topics},{connections},{size},{target},{counts},{figures}")
                .expect("a string takes everything");
        }
    }
    csv
}

/// Returns a CSV line for each interval of each run.
fn timeline(report: &Report) -> String {
    let mut csv = "test,topics,run,at_ms,width_ms,requests,errors,p99_us\n".to_owned();
    for point in &report.points {
        for run in &point.runs {
            for bucket in &run.timeline {
                writeln!(
                    csv,
                    "{},{},{},{},{},{},{},{:.3}",
                    point.test.name(),
                    point.topics,
                    run.run,
                    bucket.at_ms,
                    bucket.width_ms,
                    bucket.requests,
                    bucket.errors,
                    bucket.p99_us
                )
                .expect("a string takes everything");
            }
        }
    }
    csv
}
