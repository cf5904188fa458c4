//! Writes a figure to the files of a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea;
use plotters::style::{FontStyle, register_font};

use super::canvas::Canvas;
use super::figure::Figure;
use super::render;
use super::tag;

/// DejaVu Sans, reduced to the characters that pictures use; `assets/dejavu-sans-LICENSE.txt` describes how it was
/// made.
const FONT: &[u8] = include_bytes!("../assets/dejavu-sans-subset.ttf");
/// Scale of the PNG relative to the SVG, so that it is sharp on dense screens.
pub(super) const PNG_SCALE: u32 = 2;
/// The [`Canvas::text_lift`] of this font.
const PNG_TEXT_LIFT: f64 = 0.19;

/// Writes `NAME.svg` and `NAME.png`.
pub(super) fn write(figure: &Figure, folder: &Path) -> io::Result<[PathBuf; 2]> {
    let paths = ["svg", "png"].map(|extension| folder.join(figure.name).with_extension(extension));
    fs::write(&paths[0], svg(figure)?)?;
    fs::write(&paths[1], png(figure)?)?;
    Ok(paths)
}

/// Returns the text of an SVG.
pub(super) fn svg(figure: &Figure) -> io::Result<String> {
    use_font()?;
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, render::size(figure)).into_drawing_area();
    let canvas = Canvas { area: &area, scale: 1, text_lift: 0.0, has_tags: true };
    render::draw(figure, &canvas).map_err(|error| io::Error::other(error.to_string()))?;
    drop(area); // it writes the end
    Ok(tag::expand(&text))
}

/// Returns the bytes of a PNG.
pub(super) fn png(figure: &Figure) -> io::Result<Vec<u8>> {
    use_font()?;
    let (width, height) = render::size(figure);
    let (width, height) = (width * PNG_SCALE, height * PNG_SCALE);
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    let scale = i32::try_from(PNG_SCALE).expect("a small number");
    let canvas = Canvas { area: &area, scale, text_lift: PNG_TEXT_LIFT, has_tags: false };
    render::draw(figure, &canvas).map_err(|error| io::Error::other(error.to_string()))?;
    drop(area);

    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// Registers the font with plotters, which keeps fonts for the whole process; registering it again does no harm.
fn use_font() -> io::Result<()> {
    register_font("sans-serif", FontStyle::Normal, FONT).map_err(|_| io::Error::other("the font is damaged"))
}
