//! The legend of a figure: every curve and bar once, then the meaning of bands and crosses, in as many rows as needed.

use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, Drawn, INK, TEXT_SIZE, rgb};
use super::figure::{Curve, Figure, Look};
use super::panel::{self, BAND_OPACITY, BAR_OPACITY};

/// The height of a row.
pub(super) const ROW_HEIGHT: i32 = 24;

/// The sample of a curve, the gap after it, and the gap after its name.
const SAMPLE_WIDTH: i32 = 34;
const SAMPLE_GAP: i32 = 8;
const ENTRY_GAP: i32 = 24;
/// The largest average width of a letter in the legend, as the fonts of viewers differ.
const LETTER_WIDTH: f64 = 8.6;

/// A sample with its meaning.
#[derive(Debug, PartialEq)]
pub(super) struct Entry<'a> {
    name: &'a str,
    sample: Sample,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sample {
    Curve(Look),
    Bar(Look),
    Band(Look),
    Failures,
}

/// Returns the entries of a figure's legend, in order.
pub(super) fn entries(figure: &Figure) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for panel in &figure.panels {
        let curves = panel.curves.iter().map(|curve| Entry { name: &curve.name, sample: Sample::Curve(curve.look) });
        let bars = panel.bars.iter().map(|bar| Entry { name: &bar.name, sample: Sample::Bar(bar.look) });
        for entry in curves.chain(bars) {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
    }
    let banded = |curve: &&Curve| curve.points.iter().any(|point| point.band.is_some());
    let curves = || figure.panels.iter().flat_map(|panel| &panel.curves);
    entries.extend(curves().find(banded).map(|curve| Entry { name: figure.band, sample: Sample::Band(curve.look) }));
    if figure.panels.iter().any(|panel| !panel.failures.is_empty()) {
        entries.push(Entry { name: figure.cross, sample: Sample::Failures });
    }
    entries
}

/// Returns the number of a series: its position in the legend.
pub(super) fn number(entries: &[Entry<'_>], name: &str, look: Look) -> usize {
    let is_it = |entry: &Entry<'_>| {
        entry.name == name && matches!(entry.sample, Sample::Curve(of) | Sample::Bar(of) if of == look)
    };
    entries.iter().position(is_it).unwrap_or(entries.len())
}

/// Returns the entries of each row of that width, with their numbers.
pub(super) fn rows<'e>(entries: &'e [Entry<'e>], width: i32) -> Vec<Vec<(usize, &'e Entry<'e>)>> {
    let mut rows: Vec<Vec<(usize, &Entry<'_>)>> = vec![Vec::new()];
    let mut used = 0.0;
    for numbered in entries.iter().enumerate() {
        let letters = numbered.1.name.chars().count() as f64;
        let needed = f64::from(SAMPLE_WIDTH + SAMPLE_GAP) + letters * LETTER_WIDTH;
        if used + needed > f64::from(width) && used > 0.0 {
            rows.push(Vec::new());
            used = 0.0;
        }
        used += needed + f64::from(ENTRY_GAP);
        rows.last_mut().expect("it begins with one").push(numbered);
    }
    rows
}

/// Draws a row, from its left end and around its middle line.
pub(super) fn draw<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    row: &[(usize, &Entry<'_>)],
    (mut left, middle): (i32, i32),
) -> Drawn<DB> {
    for (number, entry) in row {
        let right = left + canvas.length(SAMPLE_WIDTH);
        canvas.open_legend(*number)?;
        match entry.sample {
            Sample::Curve(look) => {
                panel::stroke(canvas, look, vec![(left, middle), (right, middle)])?;
                canvas.marker(look, (i32::midpoint(left, right), middle))?;
            }
            Sample::Bar(look) => swatch(canvas, left, middle, look, BAR_OPACITY)?,
            Sample::Band(look) => swatch(canvas, left, middle, look, BAND_OPACITY)?,
            Sample::Failures => canvas.cross((right - canvas.length(8), middle))?,
        }
        let text = right + canvas.length(SAMPLE_GAP);
        canvas.text(entry.name, (text, middle), HPos::Left, TEXT_SIZE, INK)?;
        canvas.close_series()?;
        left = text + canvas.text_width(entry.name, TEXT_SIZE)? + canvas.length(ENTRY_GAP);
    }
    Ok(())
}

fn swatch<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, left: i32, middle: i32, look: Look, opacity: f64) -> Drawn<DB> {
    let (right, half) = (left + canvas.length(SAMPLE_WIDTH), canvas.length(6));
    canvas.rectangle([(left, middle - half), (right, middle + half)], rgb(look.colour), opacity)
}
