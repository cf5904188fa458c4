//! The drawing primitives of all parts of a picture: the area, the scale, the colours and the text sizes.

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::prelude::{DrawingBackend, IntoTextStyle, PathElement, Polygon, RGBColor, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontFamily, ShapeStyle, TextStyle};

use super::axis::whole;
use super::figure::{Look, Marker};
use super::tag;

/// The result of drawing on a backend.
pub(super) type Drawn<DB, T = ()> = Result<T, DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// The background: opaque, so that a picture looks the same on a light and on a dark page.
pub(super) const PAPER: RGBColor = RGBColor(0xFD, 0xFD, 0xFB);
pub(super) const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
pub(super) const FAINT_INK: RGBColor = RGBColor(0x57, 0x60, 0x6A);
pub(super) const GRID: RGBColor = RGBColor(0xE3, 0xE6, 0xEA);
/// The colour of failed requests.
pub(super) const ALARM: RGBColor = RGBColor(0xA4, 0x0E, 0x26);

pub(super) const TITLE_SIZE: i32 = 24;
pub(super) const HEADING_SIZE: i32 = 19;
pub(super) const TEXT_SIZE: i32 = 16;
pub(super) const SMALL_SIZE: i32 = 13;

/// Half of the width of a marker.
const MARKER_RADIUS: i32 = 4;

/// A drawing area whose lengths are multiplied by a scale: 1 in the SVG, 2 in the PNG.
pub(super) struct Canvas<'a, DB: DrawingBackend> {
    pub(super) area: &'a DrawingArea<DB, Shift>,
    pub(super) scale: i32,
    /// The share of its size by which a text is too high: for bitmaps, plotters centres letters including their
    /// descenders.
    pub(super) text_lift: f64,
    /// True if [`tag::expand`] makes elements for it.
    pub(super) has_tags: bool,
}

impl<DB: DrawingBackend> Canvas<'_, DB> {
    pub(super) fn length(&self, pixels: i32) -> i32 {
        pixels * self.scale
    }

    pub(super) fn stroke(&self, colour: RGBColor, width: u32) -> ShapeStyle {
        colour.stroke_width(width * self.scale.unsigned_abs())
    }

    pub(super) fn style(&self, size: i32, colour: RGBColor) -> TextStyle<'static> {
        (FontFamily::SansSerif, self.length(size)).with_color(colour).into_text_style(self.area)
    }

    /// Returns the width of a text.
    pub(super) fn text_width(&self, text: &str, size: i32) -> Drawn<DB, i32> {
        let (width, _) = self.area.estimate_text_size(text, &self.style(size, INK))?;
        Ok(i32::try_from(width).unwrap_or(i32::MAX))
    }

    /// Returns by how much to lower a text so that its letters are centred on its middle line.
    pub(super) fn text_drop(&self, size: i32) -> i32 {
        whole(f64::from(self.length(size)) * self.text_lift)
    }

    /// Draws a text that starts, is centred, or ends at a position on its middle line.
    pub(super) fn text(&self, text: &str, (x, y): (i32, i32), side: HPos, size: i32, colour: RGBColor) -> Drawn<DB> {
        let at = (x, y + self.text_drop(size));
        let style = self.style(size, colour).pos(Pos::new(side, VPos::Center));
        self.area.draw(&Text::new(text, at, style))
    }

    /// Returns as much of a text as there is room for.
    pub(super) fn text_within(&self, text: &str, at: (i32, i32), width: i32, size: i32, colour: RGBColor) -> Drawn<DB> {
        let mut shown = text.to_owned();
        while self.text_width(&shown, size)? > width {
            let kept = shown.chars().count().saturating_sub(2);
            shown = format!("{}…", shown.chars().take(kept).collect::<String>());
            if kept == 0 {
                break;
            }
        }
        self.text(&shown, at, HPos::Left, size, colour)
    }

    pub(super) fn line(&self, points: Vec<(i32, i32)>, style: ShapeStyle) -> Drawn<DB> {
        self.area.draw(&PathElement::new(points, style))
    }

    /// Draws a rectangle of one colour and opacity.
    pub(super) fn rectangle(&self, corners: [(i32, i32); 2], colour: RGBColor, opacity: f64) -> Drawn<DB> {
        self.area.draw(&Rectangle::new(corners, colour.mix(opacity).filled()))
    }

    pub(super) fn polygon(&self, points: Vec<(i32, i32)>, colour: RGBColor, opacity: f64) -> Drawn<DB> {
        self.area.draw(&Polygon::new(points, colour.mix(opacity).filled()))
    }

    /// Draws the marker of a curve.
    pub(super) fn marker(&self, look: Look, (x, y): (i32, i32)) -> Drawn<DB> {
        let colour = rgb(look.colour);
        let radius = self.length(MARKER_RADIUS);
        match look.marker {
            Marker::Circle => {
                self.area.draw(&plotters::element::Circle::new((x, y), radius.unsigned_abs(), colour.filled()))
            }
            Marker::Square => self.rectangle([(x - radius, y - radius), (x + radius, y + radius)], colour, 1.0),
            Marker::Triangle => {
                let radius = radius + self.scale;
                self.polygon(vec![(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], colour, 1.0)
            }
            Marker::Diamond => {
                let radius = radius + self.scale;
                self.polygon(vec![(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)], colour, 1.0)
            }
        }
    }

    /// Starts a group of elements that belong to a series of the legend; [`Self::close_series`] ends it.
    pub(super) fn open_series(&self, number: usize) -> Drawn<DB> {
        self.tag(&format!("{}{number}", tag::OPEN), (0, 0))
    }

    /// Starts a group of elements that are the sample of a series; [`Self::close_series`] ends it.
    pub(super) fn open_legend(&self, number: usize) -> Drawn<DB> {
        self.tag(&format!("{}{number}", tag::LEGEND), (0, 0))
    }

    /// Ends the group.
    pub(super) fn close_series(&self) -> Drawn<DB> {
        self.tag(&tag::CLOSE.to_string(), (0, 0))
    }

    /// Adds a tooltip at a position.
    pub(super) fn point(&self, title: &str, at: (i32, i32)) -> Drawn<DB> {
        self.tag(&format!("{}{title}", tag::POINT), at)
    }

    fn tag(&self, text: &str, at: (i32, i32)) -> Drawn<DB> {
        if !self.has_tags {
            return Ok(());
        }
        self.area.draw(&Text::new(text.to_owned(), at, self.style(SMALL_SIZE, INK)))
    }

    /// Draws the cross that marks a failure.
    pub(super) fn cross(&self, (x, y): (i32, i32)) -> Drawn<DB> {
        let radius = self.length(MARKER_RADIUS);
        let style = self.stroke(ALARM, 2);
        self.line(vec![(x - radius, y - radius), (x + radius, y + radius)], style)?;
        self.line(vec![(x - radius, y + radius), (x + radius, y - radius)], style)
    }
}

pub(super) fn rgb((red, green, blue): (u8, u8, u8)) -> RGBColor {
    RGBColor(red, green, blue)
}
