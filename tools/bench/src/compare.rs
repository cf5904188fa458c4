//! `bench compare`: two reports side by side.
//!
//! | first | reasons to doubt either report: failed requests, an early end |
//! |---|---|
//! | then | differences between the loads, because of which the figures cannot be compared |
//! | then | every figure of every point that both reports have, and whether it differs |
//! | last | other differences between the runs |

mod facts;
mod show;

use std::path::{Path, PathBuf};

use dht_console::errors::{Exit, Failure};
use dht_console::session::Session;
use dht_pictures::Rival;
use dht_report::{Band, Point, Report, Test};
use serde_json::{Value, json};

use super::verdict::{self, Sense, Side, Verdict};
use super::{read, show as terminal};
use facts::Difference;

/// A figure that is compared: its name, which direction is better, and how to read it.
type Figure = (&'static str, Sense, fn(&Point) -> Option<Band>);

const FIGURES: [Figure; 5] = [
    ("rate", Sense::Rate, |point| Some(point.rate)),
    ("avg", Sense::Cost, |point| Some(point.avg_us)),
    ("p50", Sense::Cost, |point| Some(point.p50_us)),
    ("p99", Sense::Cost, |point| Some(point.p99_us)),
    ("cpu", Sense::Cost, |point| point.server_cpu_us),
];

/// The result of comparing two reports.
struct Comparison {
    names: [String; 2],
    reports: [Report; 2],
    differences: Vec<Difference>,
    rows: Vec<Row>,
    /// Points that only one report has.
    alone: [Vec<String>; 2],
}

/// A figure of a point that both reports have.
struct Row {
    point: String,
    figure: &'static str,
    sides: [Side; 2],
    change: Option<f64>,
    verdict: Verdict,
}

/// Compares the reports at two paths. If a folder is given, draws both into one picture.
///
/// # Errors
/// Returns an error if a report cannot be read, or if the picture cannot be written.
pub(super) fn compare(paths: [&str; 2], out: Option<&str>, session: &mut Session) -> Result<Exit, Failure> {
    let comparison = Comparison::new(names(paths), [read::report(paths[0])?, read::report(paths[1])?]);
    let drawn = match out {
        Some(folder) => comparison.draw(Path::new(folder))?,
        None => Vec::new(),
    };
    if session.out.is_json() {
        session.out.json(&comparison.json())?;
        return Ok(Exit::Done);
    }
    show::show(&comparison, &mut session.out)?;
    if let (Some(folder), false) = (out, drawn.is_empty()) {
        terminal::saved(Path::new(folder), &drawn, &mut session.out)?;
    }
    Ok(Exit::Done)
}

/// Returns the parts by which two paths differ: their last parts if these differ.
fn names(paths: [&str; 2]) -> [String; 2] {
    let short = paths.map(|path| {
        let path = Path::new(path.strip_suffix("report.json").unwrap_or(path));
        path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    });
    if short[0] == short[1] || short.iter().any(String::is_empty) { paths.map(str::to_owned) } else { short }
}

impl Comparison {
    fn new(names: [String; 2], reports: [Report; 2]) -> Self {
        let differences = facts::differences(&reports[0], &reports[1]);
        let is_comparable = !differences.iter().any(|difference| difference.is_load);
        let [old, new] = &reports;
        let mut rows = Vec::new();
        for point in &old.points {
            let Some(other) = new.points.iter().find(|other| key(new, other) == key(old, point)) else { continue };
            rows.extend(FIGURES.iter().filter_map(|figure| row(figure, [old, new], [point, other], is_comparable)));
        }
        let alone = [(old, new), (new, old)].map(|(here, there)| {
            let is_there = |point: &Point| there.points.iter().any(|other| key(there, other) == key(here, point));
            here.points.iter().filter(|point| !is_there(point)).map(|point| text_of(here, point)).collect()
        });
        Self { names, reports, differences, rows, alone }
    }

    /// The differences between the loads.
    fn obstacles(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.is_load)
    }

    /// The reasons to doubt each report.
    fn troubles(&self) -> Vec<String> {
        let both = self.names.iter().zip(&self.reports);
        both.filter_map(|(name, report)| facts::trouble(report).map(|trouble| format!("{name}: {trouble}"))).collect()
    }

    /// The highest probability that figures of this many runs differ by chance; `None` if nothing was judged.
    fn chance(&self) -> Option<f64> {
        let judged =
            self.rows.iter().filter(|row| row.verdict == Verdict::WithinNoise || row.verdict.is_good().is_some());
        judged.map(|row| verdict::chance(row.sides[0].runs, row.sides[1].runs)).reduce(f64::max)
    }

    fn draw(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let rival = |at: usize| Rival { name: &self.names[at], report: &self.reports[at] };
        let obstacles = self.obstacles().map(|difference| format!("not comparable: {}", difference.text()));
        let remarks = self.troubles().into_iter().chain(obstacles).collect();
        Ok(dht_pictures::draw_rivals([rival(0), rival(1)], remarks, folder)?)
    }

    fn json(&self) -> Value {
        let report = |at: usize| {
            let report = &self.reports[at];
            json!({
                "name": self.names[at], "started": report.started, "commit": report.environment.commit,
                "errors": report.errors, "interrupted": report.interrupted, "only_here": self.alone[at],
            })
        };
        let side = |side: &Side| json!({"median": side.band.median, "min": side.band.min, "max": side.band.max, "runs": side.runs});
        let row = |row: &Row| {
            json!({
                "point": row.point, "figure": row.figure, "old": side(&row.sides[0]), "new": side(&row.sides[1]),
                "change": row.change, "verdict": row.verdict.text(),
            })
        };
        json!({
            "old": report(0), "new": report(1),
            "comparable": self.obstacles().next().is_none(),
            "differences": self.differences.iter().map(Difference::json).collect::<Vec<_>>(),
            "chance": self.chance(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// Points of two reports with the same key are compared.
fn key(report: &Report, point: &Point) -> (Test, u32, Option<u64>) {
    (point.test, point.topics, rate(report, point).map(f64::to_bits))
}

/// The rate, if it distinguishes points; if there was only one, it is part of the load.
fn rate(report: &Report, point: &Point) -> Option<f64> {
    point.target_rate.filter(|_| report.load.ramp.len() > 1)
}

fn text_of(report: &Report, point: &Point) -> String {
    let topics = dht_console::text::counted(u64::from(point.topics), "topic");
    let rate = rate(report, point).map(|rate| format!(", {rate}/s")).unwrap_or_default();
    format!("{}, {topics}{rate}", point.test.name())
}

fn row(
    &(figure, sense, band): &Figure,
    reports: [&Report; 2],
    points: [&Point; 2],
    is_comparable: bool,
) -> Option<Row> {
    let side = |point: &Point| Some(Side { band: band(point)?, runs: point.runs.len(), requests: point.requests });
    let sides = [side(points[0])?, side(points[1])?];
    let judged = verdict::judge(sense, sides[0], sides[1]);
    let verdict = if is_comparable || judged == Verdict::Nothing { judged } else { Verdict::OtherLoad };
    let change = verdict::change(sides[0], sides[1]);
    Some(Row { point: text_of(reports[0], points[0]), figure, sides, change, verdict })
}
