//! Two reports in one picture: average latency and throughput against the number of topics.

use dht_report::Report;

use super::figure::{Figure, NEW, OLD, Panel};
use super::{Rival, by_test, foreign, sweep};

/// Returns two panels for each operation that both reports have.
pub(super) fn overlay(rivals: [Rival<'_>; 2], remarks: Vec<String>) -> Option<Figure> {
    let [old, new] = rivals;
    let mut panels = Vec::new();
    for (test, points) in by_test(old.report) {
        let Some((_, others)) = by_test(new.report).into_iter().find(|(other, _)| *other == test) else { continue };
        let sides = [(old, OLD, sweep::steady(points)), (new, NEW, sweep::steady(others))];
        panels
            .extend(sweep::rival_panels(test, sides.map(|(rival, look, points)| (foreign(rival.name), look, points))));
    }
    figure(rivals, remarks, panels)
}

fn figure([old, new]: [Rival<'_>; 2], remarks: Vec<String>, panels: Vec<Panel>) -> Option<Figure> {
    let made = |report: &Report| super::footer(report)[1].clone();
    let mut figure = super::picture(new.report, "compare", "Two reports compared", panels)?;
    figure.remarks = remarks;
    figure.footer = [(old.name, made(old.report)), (new.name, made(new.report))]
        .map(|(name, made)| format!("{}: {made}", foreign(name)));
    Some(figure)
}
