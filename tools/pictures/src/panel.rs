//! Draws a panel: its heading, grid and axes, and its curves, bars and crosses.

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::element::DashedPathElement;
use plotters::prelude::{Cartesian2d, DrawingBackend};
use plotters::style::colors::TRANSPARENT;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::canvas::{Canvas, Drawn, FAINT_INK, GRID, HEADING_SIZE, INK, SMALL_SIZE, TEXT_SIZE, rgb};
use super::figure::{Bar, Curve, Look, Panel, Point};
use super::legend::{self, Entry};

const HEADING_HEIGHT: i32 = 42;
const X_LABELS_HEIGHT: i32 = 46;
const Y_LABELS_WIDTH: i32 = 78;
const RIGHT_MARGIN: i32 = 30;

/// The opacity of the band of runs behind a curve.
pub(super) const BAND_OPACITY: f64 = 0.18;
pub(super) const BAR_OPACITY: f64 = 0.85;
/// Curves with more points than this have a marker only at some of them.
const MARKERS_MAX: usize = 14;

/// A panel that is being drawn.
struct Drawing<'a, 'b, DB: DrawingBackend> {
    canvas: &'a Canvas<'a, DB>,
    panel: &'a Panel,
    chart: ChartContext<'b, DB, Cartesian2d<Axis, Axis>>,
}

/// Draws a panel between two corners.
pub(super) fn draw<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    panel: &Panel,
    entries: &[Entry<'_>],
    corners: [(i32, i32); 2],
) -> Drawn<DB> {
    let [(left, top), (right, bottom)] = corners;
    let area = canvas.area.clone().shrink((left, top), (right - left, bottom - top));
    canvas.text_within(
        &panel.title,
        (left, top + canvas.length(HEADING_HEIGHT / 3)),
        right - left,
        HEADING_SIZE,
        INK,
    )?;
    let mut builder = ChartBuilder::on(&area);
    builder
        .margin_top(canvas.length(HEADING_HEIGHT))
        .margin_right(canvas.length(RIGHT_MARGIN))
        .x_label_area_size(canvas.length(X_LABELS_HEIGHT))
        .y_label_area_size(canvas.length(Y_LABELS_WIDTH));
    let mut chart = builder.build_cartesian_2d(panel.x.clone(), panel.y.clone())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(canvas.stroke(GRID, 1))
        .light_line_style(TRANSPARENT)
        .axis_style(canvas.stroke(FAINT_INK, 1))
        .set_all_tick_mark_size(canvas.length(4))
        .y_label_offset(canvas.text_drop(TEXT_SIZE))
        .label_style(canvas.style(TEXT_SIZE, INK))
        .axis_desc_style(canvas.style(TEXT_SIZE, FAINT_INK))
        .x_desc(panel.x.label.as_str())
        .y_desc(panel.y.label.as_str())
        .draw()?;
    let drawing = Drawing { canvas, panel, chart };
    for bar in &panel.bars {
        canvas.open_series(legend::number(entries, &bar.name, bar.look))?;
        drawing.bar(bar)?;
        canvas.close_series()?;
    }
    // The headline series comes first in the list and is drawn last, on top.
    for curve in panel.curves.iter().rev() {
        canvas.open_series(legend::number(entries, &curve.name, curve.look))?;
        drawing.band(curve)?;
        drawing.curve(curve)?;
        drawing.titles(curve)?;
        canvas.close_series()?;
    }
    drawing.failures()?;
    drawing.emptiness()
}

/// Draws a line in the dash of a look.
pub(super) fn stroke<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, look: Look, points: Vec<(i32, i32)>) -> Drawn<DB> {
    let style = canvas.stroke(rgb(look.colour), look.width);
    match look.dash {
        None => canvas.line(points, style),
        Some((drawn, left_out)) => {
            let (drawn, left_out) = (canvas.length(drawn), canvas.length(left_out));
            canvas.area.draw(&DashedPathElement::new(points, drawn, left_out, style))
        }
    }
}

impl<DB: DrawingBackend> Drawing<'_, '_, DB> {
    fn pixel(&self, x: f64, y: f64) -> (i32, i32) {
        self.chart.backend_coord(&(self.panel.x.place(x), self.panel.y.place(y)))
    }

    fn band(&self, curve: &Curve) -> Drawn<DB> {
        let colour = rgb(curve.look.colour);
        for piece in pieces(&curve.points) {
            let edge = |side: fn((f64, f64)) -> f64| {
                piece.iter().filter_map(move |point| Some(self.pixel(point.x, side(point.band?))))
            };
            let low: Vec<(i32, i32)> = edge(|band| band.0).collect();
            let high: Vec<(i32, i32)> = edge(|band| band.1).collect();
            if let ([low], [high]) = (low.as_slice(), high.as_slice()) {
                self.whisker(*low, *high, curve.look)?;
            } else if !low.is_empty() {
                self.canvas.polygon(high.into_iter().chain(low.into_iter().rev()).collect(), colour, BAND_OPACITY)?;
            }
        }
        Ok(())
    }

    /// Draws the band of a single point, which has no area.
    fn whisker(&self, low: (i32, i32), high: (i32, i32), look: Look) -> Drawn<DB> {
        let style = self.canvas.stroke(rgb(look.colour), 1);
        let half = self.canvas.length(7);
        self.canvas.line(vec![low, high], style)?;
        for (x, y) in [low, high] {
            self.canvas.line(vec![(x - half, y), (x + half, y)], style)?;
        }
        Ok(())
    }

    fn curve(&self, curve: &Curve) -> Drawn<DB> {
        for piece in pieces(&curve.points) {
            let pixels: Vec<(i32, i32)> =
                piece.iter().filter_map(|point| Some(self.pixel(point.x, point.y?))).collect();
            let step = pixels.len().div_ceil(MARKERS_MAX).max(1);
            for pixel in pixels.iter().step_by(step) {
                self.canvas.marker(curve.look, *pixel)?;
            }
            if pixels.len() > 1 {
                stroke(self.canvas, curve.look, pixels)?;
            }
        }
        Ok(())
    }

    /// Adds a tooltip to every point of a curve.
    fn titles(&self, curve: &Curve) -> Drawn<DB> {
        for point in &curve.points {
            let Some(y) = point.y.filter(|y| y.is_finite()) else { continue };
            let (panel, mut title) = (self.panel, curve.name.clone());
            for part in [panel.x.read_out(point.x), panel.y.read_out(y)] {
                title.push_str(" · ");
                title.push_str(&part);
            }
            if let Some((low, high)) = point.band.filter(|(low, high)| low < high) {
                let (low, high) = (panel.y.said(low), panel.y.said(high));
                title = format!("{title} ({low} to {high})");
            }
            self.canvas.point(&title, self.pixel(point.x, y))?;
        }
        Ok(())
    }

    /// Draws the reason why a panel is empty.
    fn emptiness(&self) -> Drawn<DB> {
        let is_measured = |curve: &Curve| pieces(&curve.points).next().is_some();
        if !self.panel.bars.is_empty() || self.panel.curves.iter().any(is_measured) {
            return Ok(());
        }
        let (x, y) = self.chart.backend_coord(&(0.5, 0.5));
        self.canvas.text("nothing was measured", (x, y), HPos::Center, TEXT_SIZE, FAINT_INK)
    }

    fn bar(&self, bar: &Bar) -> Drawn<DB> {
        let (left, bottom) = self.pixel(bar.x - bar.width / 2.0, 0.0);
        let (right, top) = self.pixel(bar.x + bar.width / 2.0, bar.height);
        self.canvas.rectangle([(left, top), (right, bottom)], rgb(bar.look.colour), BAR_OPACITY)?;
        // Above the bar, or at its foot if a curve crosses the space above.
        let edge = if self.panel.curves.is_empty() { top } else { bottom };
        let middle = (i32::midpoint(left, right), edge - self.canvas.length(9));
        self.canvas.text(&bar.label, middle, HPos::Center, SMALL_SIZE, INK)
    }

    /// Draws crosses along the upper edge, where they hide no axis.
    fn failures(&self) -> Drawn<DB> {
        let (_, top) = self.chart.backend_coord(&(0.0, 1.0));
        for x in &self.panel.failures {
            let (x, _) = self.pixel(*x, 0.0);
            self.canvas.cross((x, top + self.canvas.length(2)))?;
        }
        Ok(())
    }
}

/// Returns the sections of a curve without gaps.
fn pieces(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.split(|point| point.y.is_none_or(|y| !y.is_finite())).filter(|piece| !piece.is_empty())
}
