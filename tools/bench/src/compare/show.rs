//! Prints a comparison on the terminal.

use std::io;

use dht_console::output::{BAD, BOLD, DIM, GOOD, Out};
use dht_console::text::{self, Align};

use super::super::show::thin;
use super::super::verdict::{Side, half_band};
use super::{Comparison, Difference, Row};

/// The probability of a difference by chance above which more runs are recommended.
const CHANCE_MAX: f64 = 0.05;

/// Maximum number of points that are named although only one report has them.
const ALONE_MAX: usize = 4;

/// Prints the result for two reports.
pub(super) fn show(comparison: &Comparison, out: &mut Out) -> io::Result<()> {
    for trouble in comparison.troubles() {
        out.line(&out.paint(BAD, &text::harmless(&format!("Errors    {trouble}: read the figures with care"))))?;
    }
    let obstacles: Vec<_> = comparison.obstacles().map(Difference::text).collect();
    if !obstacles.is_empty() {
        out.line(&out.paint(BAD, &format!("Not comparable, the load differs: {}", obstacles.join(", "))))?;
    }
    table(comparison, out)?;
    for (name, alone) in comparison.names.iter().zip(&comparison.alone) {
        if !alone.is_empty() {
            let (shown, rest) = alone.split_at(alone.len().min(ALONE_MAX));
            let rest = if rest.is_empty() { String::new() } else { format!("; and {} more", rest.len()) };
            out.line(&text::harmless(&format!("Only in {name}: {}{rest}", shown.join("; "))))?;
        }
    }
    if let Some(chance) = comparison.chance() {
        let often = chance * 100.0;
        let decimals = usize::from(often < 10.0);
        let advice = if chance > CHANCE_MAX { "; add --runs" } else { "" };
        out.line(&format!(
            "faster, slower: no runs overlap, which happens by chance {often:.decimals$} times in 100{advice}"
        ))?;
    }
    different(comparison, out)
}

fn table(comparison: &Comparison, out: &mut Out) -> io::Result<()> {
    if comparison.rows.is_empty() {
        return out.line("The reports have no point in common: same operation, topics and rate");
    }
    let [old, new] = comparison.names.each_ref().map(|name| text::harmless(name));
    let mut rows = vec![vec![String::new(), String::new(), old, new, "change".to_owned(), String::new()]];
    let mut last = "";
    for row in &comparison.rows {
        let point = if row.point == last { String::new() } else { row.point.clone() };
        last = &row.point;
        let change = row.change.map_or_else(|| "-".to_owned(), |change| format!("{:+.1} %", change * 100.0));
        let [old, new] = row.sides.map(|side| figure(row, side));
        rows.push(vec![point, row.figure.to_owned(), old, new, change, row.verdict.text().to_owned()]);
    }
    let columns = [Align::Left, Align::Left, Align::Right, Align::Right, Align::Right, Align::Left];
    let lines = text::table(&columns, &rows);
    for (index, line) in lines.iter().enumerate() {
        let verdict = index.checked_sub(1).and_then(|index| comparison.rows[index].verdict.is_good());
        let painted = match verdict {
            _ if index == 0 => out.paint(DIM, line),
            Some(true) => out.paint(GOOD, line),
            Some(false) => out.paint(BAD, line),
            None => line.clone(),
        };
        out.line(&format!("  {painted}"))?;
    }
    Ok(())
}

/// Formats a figure as `48 020 ±2 %`, with the unit of a time.
fn figure(row: &Row, side: Side) -> String {
    if side.requests == 0 {
        return "-".to_owned();
    }
    let unit = if row.figure == "rate" { "/s" } else { " µs" };
    let half = half_band(side).map_or_else(String::new, |half| format!(" ±{:.0} %", half * 100.0));
    let median = side.band.median;
    let number = if median < 100.0 { format!("{median:.1}") } else { thin(median) };
    format!("{number}{unit}{half}")
}

fn different(comparison: &Comparison, out: &mut Out) -> io::Result<()> {
    let rest: Vec<_> = comparison.differences.iter().filter(|difference| !difference.is_load).collect();
    let heading = out.paint(BOLD, "Different between the runs:");
    match rest.as_slice() {
        [] if comparison.differences.is_empty() => out.line(&format!("{heading} nothing that is known")),
        [] => out.line(&format!("{heading} only the load")),
        [one] => out.line(&format!("{heading} {} (everything else equal)", one.text())),
        several => {
            out.line(&heading)?;
            several.iter().try_for_each(|difference| out.line(&format!("  {}", difference.text())))
        }
    }
}
