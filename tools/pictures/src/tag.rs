//! SVG features that plotters lacks: groups of the shapes of a series, and tooltips.
//!
//! A canvas writes them as texts that begin with a character of Unicode's private use area; here they are replaced by
//! elements. Viewers show a point's title when the mouse is over it, and the script of report.html hides a series by
//! its group.

/// Starts the shapes of a series; its number follows.
pub(super) const OPEN: char = '\u{E000}';
/// Starts the sample of a series in the legend; its number follows.
pub(super) const LEGEND: char = '\u{E003}';
/// Ends either of them.
pub(super) const CLOSE: char = '\u{E001}';
/// Marks a point; its tooltip follows.
pub(super) const POINT: char = '\u{E002}';

/// Radius around a point in which the mouse shows its tooltip.
const REACH: u32 = 9;

/// Returns the SVG with elements in place of such texts.
pub(super) fn expand(svg: &str) -> String {
    let mut expanded = String::with_capacity(svg.len());
    let mut lines = svg.lines();
    while let Some(line) = lines.next() {
        let text = if line.starts_with("<text ") { lines.next() } else { None };
        let tag = text.and_then(|text| element(line, text));
        if let Some(tag) = &tag {
            expanded.push_str(tag);
            lines.next(); // the end of the text
        } else {
            expanded.push_str(line);
            if let Some(text) = text {
                expanded.push('\n');
                expanded.push_str(text);
            }
        }
        expanded.push('\n');
    }
    expanded
}

/// Returns the element for a text, unless it is an ordinary text.
fn element(begin: &str, text: &str) -> Option<String> {
    let rest = |tag| text.strip_prefix(tag);
    if let Some(series) = rest(OPEN) {
        return Some(format!("<g data-series=\"{series}\">"));
    }
    if let Some(series) = rest(LEGEND) {
        return Some(format!("<g data-legend=\"{series}\">"));
    }
    if rest(CLOSE).is_some() {
        return Some("</g>".to_owned());
    }
    let title = rest(POINT)?;
    let place = |name: &str| begin.split_once(&format!(" {name}=\""))?.1.split('"').next();
    let (x, y) = place("x").zip(place("y"))?;
    let at = format!("cx=\"{x}\" cy=\"{y}\" r=\"{REACH}\"");
    Some(format!("<circle class=\"point\" {at} fill=\"none\" pointer-events=\"all\"><title>{title}</title></circle>"))
}
