//! A [`Figure`] on a plotters backend: heading, legend, panels in two columns, footer.

use plotters::prelude::{DrawingBackend, Rectangle};
use plotters::style::text_anchor::HPos;

use super::canvas::{ALARM, Canvas, Drawn, FAINT_INK, GRID, INK, PAPER, SMALL_SIZE, TEXT_SIZE, TITLE_SIZE, rgb};
use super::figure::{Curve, Figure, Look};
use super::panel;

const WIDTH: i32 = 960;
const MARGIN: i32 = 20;
const TITLE_HEIGHT: i32 = 46;
const LINE_HEIGHT: i32 = 20;
const LEGEND_HEIGHT: i32 = 24;
const FOOTER_HEIGHT: i32 = 28;
/// A panel that has the whole width, and one that shares it.
const WIDE_PANEL_HEIGHT: i32 = 400;
const PANEL_HEIGHT: i32 = 300;

/// The sample of a curve in the legend, the gap behind it, and the gap behind its name.
const SAMPLE_WIDTH: i32 = 34;
const SAMPLE_GAP: i32 = 8;
const ENTRY_GAP: i32 = 24;

/// How large a figure is, in pixels at scale 1.
pub(super) fn size(figure: &Figure) -> (u32, u32) {
    let rows = cells(figure.panels.len().div_ceil(columns(figure)));
    let height = head_height(figure) + rows * panel_height(figure) + FOOTER_HEIGHT;
    (WIDTH.unsigned_abs(), height.unsigned_abs())
}

/// Draws all of a figure.
pub(super) fn draw<DB: DrawingBackend>(figure: &Figure, canvas: &Canvas<'_, DB>) -> Drawn<DB> {
    let (area, scale) = (canvas.area, canvas.scale);
    let (width, height) = size(figure);
    let height = i32::try_from(height).unwrap_or(i32::MAX);
    assert_eq!(area.dim_in_pixel(), (width * scale.unsigned_abs(), (height * scale).unsigned_abs()));

    area.fill(&PAPER)?;
    let corner = (canvas.length(WIDTH) - 1, canvas.length(height) - 1);
    area.draw(&Rectangle::new([(0, 0), corner], canvas.stroke(GRID, 1)))?;
    let inside = canvas.length(WIDTH - 2 * MARGIN);
    let left = canvas.length(MARGIN);
    canvas.text_within(&figure.title, (left, canvas.length(TITLE_HEIGHT / 2 + 4)), inside, TITLE_SIZE, INK)?;
    let middle = canvas.length(TITLE_HEIGHT + LINE_HEIGHT / 2 - 4);
    canvas.text_within(&figure.subtitle, (left, middle), inside, TEXT_SIZE, FAINT_INK)?;
    let mut top = TITLE_HEIGHT + LINE_HEIGHT;
    for remark in &figure.remarks {
        let middle = canvas.length(top + LINE_HEIGHT / 2);
        canvas.text_within(remark, (left, middle), inside, TEXT_SIZE, ALARM)?;
        top += LINE_HEIGHT;
    }
    legend(canvas, figure, canvas.length(top + LEGEND_HEIGHT / 2))?;
    panels(canvas, figure)?;
    let footer = (left, canvas.length(height - FOOTER_HEIGHT / 2 - 2));
    canvas.text_within(&figure.footer, footer, inside, SMALL_SIZE, FAINT_INK)?;
    area.present()
}

fn panels<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, figure: &Figure) -> Drawn<DB> {
    let columns = columns(figure);
    let width = (WIDTH - 2 * MARGIN) / if columns == 1 { 1 } else { 2 };
    for (index, shown) in figure.panels.iter().enumerate() {
        let (column, row) = (cells(index % columns), cells(index / columns));
        let left = MARGIN + column * width;
        let top = head_height(figure) + row * panel_height(figure);
        let right_bottom = (canvas.length(left + width), canvas.length(top + panel_height(figure)));
        panel::draw(canvas, shown, [(canvas.length(left), canvas.length(top)), right_bottom])?;
    }
    Ok(())
}

/// Every curve and bar once, then what bands and crosses mean.
fn legend<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, figure: &Figure, middle: i32) -> Drawn<DB> {
    let mut left = canvas.length(MARGIN);
    for (name, look, is_curve) in entries(figure) {
        let right = left + canvas.length(SAMPLE_WIDTH);
        if is_curve {
            panel::stroke(canvas, look, vec![(left, middle), (right, middle)])?;
            canvas.marker(look, (i32::midpoint(left, right), middle))?;
        } else {
            swatch(canvas, left, middle, look, 0.85)?;
        }
        left = entry(canvas, name, right, middle)?;
    }
    let banded = |curve: &&Curve| curve.points.iter().any(|point| point.band.is_some());
    if let Some(curve) = figure.panels.iter().flat_map(|panel| &panel.curves).find(banded) {
        swatch(canvas, left, middle, curve.look, panel::BAND_OPACITY)?;
        left = entry(canvas, figure.band, left + canvas.length(SAMPLE_WIDTH), middle)?;
    }
    if figure.panels.iter().any(|panel| !panel.failures.is_empty()) {
        canvas.cross((left + canvas.length(SAMPLE_WIDTH - 8), middle))?;
        entry(canvas, "requests failed", left + canvas.length(SAMPLE_WIDTH), middle)?;
    }
    Ok(())
}

/// Writes the name behind a sample that ends at `right`, and returns where the next sample begins.
fn entry<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, name: &str, right: i32, middle: i32) -> Drawn<DB, i32> {
    let text = right + canvas.length(SAMPLE_GAP);
    canvas.text(name, (text, middle), HPos::Left, TEXT_SIZE, INK)?;
    Ok(text + canvas.text_width(name, TEXT_SIZE)? + canvas.length(ENTRY_GAP))
}

fn swatch<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, left: i32, middle: i32, look: Look, opacity: f64) -> Drawn<DB> {
    let (right, half) = (left + canvas.length(SAMPLE_WIDTH), canvas.length(6));
    canvas.rectangle([(left, middle - half), (right, middle + half)], rgb(look.colour), opacity)
}

/// The names of a figure, each once, with its look and whether it is a curve.
fn entries(figure: &Figure) -> Vec<(&str, Look, bool)> {
    let mut entries: Vec<(&str, Look, bool)> = Vec::new();
    for panel in &figure.panels {
        let curves = panel.curves.iter().map(|curve| (curve.name.as_str(), curve.look, true));
        let bars = panel.bars.iter().map(|bar| (bar.name.as_str(), bar.look, false));
        for entry in curves.chain(bars) {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
    }
    entries
}

fn columns(figure: &Figure) -> usize {
    if figure.panels.len() == 1 { 1 } else { 2 }
}

fn panel_height(figure: &Figure) -> i32 {
    if columns(figure) == 1 { WIDE_PANEL_HEIGHT } else { PANEL_HEIGHT }
}

fn head_height(figure: &Figure) -> i32 {
    TITLE_HEIGHT + cells(figure.remarks.len() + 1) * LINE_HEIGHT + LEGEND_HEIGHT + 4
}

/// A small number of rows, columns or lines.
fn cells(number: usize) -> i32 {
    i32::try_from(number).expect("a figure has few panels and remarks")
}
