//! Draws a [`Figure`] on a plotters backend: heading, legend, panels in two columns, footer.

use plotters::prelude::{DrawingBackend, Rectangle};

use super::canvas::{ALARM, Canvas, Drawn, FAINT_INK, GRID, INK, PAPER, SMALL_SIZE, TEXT_SIZE, TITLE_SIZE};
use super::figure::Figure;
use super::{graph, legend, panel};

const WIDTH: i32 = 960;
const MARGIN: i32 = 20;
const TITLE_HEIGHT: i32 = 46;
const LINE_HEIGHT: i32 = 20;
const FOOTER_HEIGHT: i32 = 46;
const FOOTER_LINE: i32 = 17;
/// The height of a panel that has the whole width, and of one that shares it.
const WIDE_PANEL_HEIGHT: i32 = 400;
const PANEL_HEIGHT: i32 = 300;

/// Returns the size of a figure in pixels at scale 1.
pub(super) fn size(figure: &Figure) -> (u32, u32) {
    let rows = cells(figure.panels.len().div_ceil(columns(figure)));
    let graph = figure.graph.as_ref().map_or(0, |graph| graph.height);
    let height = head_height(figure) + rows * panel_height(figure) + graph + FOOTER_HEIGHT;
    (WIDTH.unsigned_abs(), height.unsigned_abs())
}

/// Draws a complete figure.
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
    let entries = legend::entries(figure);
    for row in legend::rows(&entries, WIDTH - 2 * MARGIN) {
        legend::draw(canvas, &row, (left, canvas.length(top + legend::ROW_HEIGHT / 2)))?;
        top += legend::ROW_HEIGHT;
    }
    panels(canvas, figure, &entries)?;
    if let Some(shown) = &figure.graph {
        let corners =
            [(left, canvas.length(head_height(figure))), (left + inside, canvas.length(height - FOOTER_HEIGHT))];
        graph::draw(canvas, shown, corners)?;
    }
    for (line, text) in (0..).zip(&figure.footer) {
        let middle = canvas.length(height - FOOTER_HEIGHT + FOOTER_LINE * line + FOOTER_LINE / 2 + 4);
        canvas.text_within(text, (left, middle), inside, SMALL_SIZE, FAINT_INK)?;
    }
    area.present()
}

fn panels<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, figure: &Figure, entries: &[legend::Entry<'_>]) -> Drawn<DB> {
    let columns = columns(figure);
    let width = (WIDTH - 2 * MARGIN) / if columns == 1 { 1 } else { 2 };
    for (index, shown) in figure.panels.iter().enumerate() {
        let (column, row) = (cells(index % columns), cells(index / columns));
        let left = MARGIN + column * width;
        let top = head_height(figure) + row * panel_height(figure);
        let right_bottom = (canvas.length(left + width), canvas.length(top + panel_height(figure)));
        panel::draw(canvas, shown, entries, [(canvas.length(left), canvas.length(top)), right_bottom])?;
    }
    Ok(())
}

fn columns(figure: &Figure) -> usize {
    if figure.panels.len() == 1 { 1 } else { 2 }
}

fn panel_height(figure: &Figure) -> i32 {
    if columns(figure) == 1 { WIDE_PANEL_HEIGHT } else { PANEL_HEIGHT }
}

fn head_height(figure: &Figure) -> i32 {
    let rows = legend::rows(&legend::entries(figure), WIDTH - 2 * MARGIN).len();
    TITLE_HEIGHT + cells(figure.remarks.len() + 1) * LINE_HEIGHT + cells(rows) * legend::ROW_HEIGHT + 4
}

/// Converts a small number of rows, columns or lines.
fn cells(number: usize) -> i32 {
    i32::try_from(number).expect("a figure has few panels and remarks")
}
