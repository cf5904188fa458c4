//! Draws a [`Graph`]: nodes as circles, edges with a width that follows from their traffic, and a legend beside them.

use plotters::element::{Circle, DashedPathElement};
use plotters::prelude::DrawingBackend;
use plotters::style::Color;
use plotters::style::text_anchor::HPos;

use super::axis::whole;
use super::canvas::{Canvas, Drawn, FAINT_INK, HEADING_SIZE, INK, PAPER, SMALL_SIZE, TEXT_SIZE, rgb};
use super::figure::{Graph, Line};
use super::traffic::short_number;

/// Margin around the positions of the nodes.
const MARGIN: i32 = 36;
const NODE_RADIUS: i32 = 20;
/// Gap between the nodes and the legend.
const GAP: i32 = 36;
const LINE_HEIGHT: i32 = 22;
const SAMPLE_WIDTH: i32 = 44;
/// The width of an edge without and with the highest traffic; less if there are many edges.
const WIDTHS: (f64, f64) = (1.5, 14.0);
const MANY_WIDTHS: (f64, f64) = (1.0, 8.0);
/// The number of edges above which they are thinner: cubes of more than three dimensions.
const MANY: usize = 13;
/// The shares of the highest traffic for which the legend shows the width.
const SAMPLES: [f64; 3] = [1.0, 0.25, 0.01];

/// Draws a graph between two corners.
pub(super) fn draw<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, graph: &Graph, corners: [(i32, i32); 2]) -> Drawn<DB> {
    let [(left, top), (_, bottom)] = corners;
    let side = bottom - top;
    let margin = canvas.length(MARGIN);
    let pixel = |(x, y): (f64, f64)| {
        let room = f64::from(side - 2 * margin);
        (left + margin + whole(x * room), top + margin + whole(y * room))
    };
    for line in &graph.lines {
        stroke(canvas, line, width(graph, line.value), line.places.iter().copied().map(pixel).collect())?;
    }
    for line in &graph.lines {
        let middle = pixel(middle(&line.places));
        let half = (canvas.text_width(&line.label, TEXT_SIZE)? / 2 + canvas.length(4), canvas.length(9));
        let corners = [(middle.0 - half.0, middle.1 - half.1), (middle.0 + half.0, middle.1 + half.1)];
        canvas.rectangle(corners, PAPER, 1.0)?;
        canvas.text(&line.label, middle, HPos::Center, TEXT_SIZE, INK)?;
        canvas.point(&line.title, middle)?;
    }
    for (name, place) in &graph.nodes {
        let radius = canvas.length(NODE_RADIUS).unsigned_abs();
        canvas.area.draw(&Circle::new(pixel(*place), radius, INK.filled()))?;
        canvas.area.draw(&Circle::new(pixel(*place), radius - 2 * canvas.scale.unsigned_abs(), PAPER.filled()))?;
        canvas.text(name, pixel(*place), HPos::Center, TEXT_SIZE, INK)?;
    }
    explain(canvas, graph, (left + side + canvas.length(GAP), top + margin))
}

/// Returns the width of an edge in pixels at scale 1. It grows with the square root of the traffic, so that low traffic
/// is visible too.
fn width(graph: &Graph, value: f64) -> u32 {
    let (least, widest) = if graph.lines.len() < MANY { WIDTHS } else { MANY_WIDTHS };
    whole(least + (widest - least) * (value / most(graph)).clamp(0.0, 1.0).sqrt()).unsigned_abs()
}

fn most(graph: &Graph) -> f64 {
    graph.lines.iter().map(|line| line.value).fold(1.0, f64::max)
}

fn stroke<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, line: &Line, width: u32, points: Vec<(i32, i32)>) -> Drawn<DB> {
    let colour = rgb(line.look.colour);
    if line.value == 0.0 {
        let style = canvas.stroke(colour, 1);
        return canvas.area.draw(&DashedPathElement::new(points, canvas.length(2), canvas.length(6), style));
    }
    canvas.line(points, canvas.stroke(colour, width))
}

/// Returns the position of an edge's number.
pub(super) fn middle(places: &[(f64, f64)]) -> (f64, f64) {
    let (low, high) = (places[(places.len() - 1) / 2], places[places.len() / 2]);
    (f64::midpoint(low.0, high.0), f64::midpoint(low.1, high.1))
}

/// Draws the meaning of colours and widths in a column.
fn explain<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, graph: &Graph, (left, top): (i32, i32)) -> Drawn<DB> {
    let line = canvas.length(LINE_HEIGHT);
    let sample = canvas.length(SAMPLE_WIDTH);
    let text = left + sample + canvas.length(12);
    let mut middle = top;
    for (look, name, carried) in &graph.meanings {
        canvas.line(vec![(left, middle), (left + sample, middle)], canvas.stroke(rgb(look.colour), 7))?;
        canvas.text(name, (text, middle), HPos::Left, HEADING_SIZE, INK)?;
        canvas.text(carried, (text, middle + line), HPos::Left, TEXT_SIZE, FAINT_INK)?;
        middle += line * 5 / 2;
    }
    middle += line / 2;
    for share in SAMPLES {
        let value = most(graph) * share;
        canvas.line(vec![(left, middle), (left + sample, middle)], canvas.stroke(FAINT_INK, width(graph, value)))?;
        let said = format!("{} {}", short_number(value), graph.unit);
        canvas.text(&said, (text, middle), HPos::Left, TEXT_SIZE, INK)?;
        middle += line;
    }
    for (index, said) in (0..).zip(["an edge's width grows with the root;", "its directions are added"]) {
        canvas.text(said, (left, middle + line / 2 + line * index), HPos::Left, SMALL_SIZE, FAINT_INK)?;
    }
    Ok(())
}
