//! `report.html`: a complete report in one self-contained file.
//!
//! Errors come first, then the requirements and notes, the pictures, all points, and how and where they were measured.
//! Everything is shown even without scripts. The file also contains the report as JSON.

mod markup;
mod tables;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dht_console::errors::{Exit, Failure};
use dht_console::session::Session;
use dht_pictures::CUBE_DIMENSIONS_MAX;
use dht_report::Report;

use super::{read, show};
use markup::{element, escape, list};

const PAGE: &str = include_str!("../assets/report.html");
const STYLE: &str = include_str!("../assets/report.css");
const SCRIPT: &str = include_str!("../assets/report.js");

/// Runs `bench report`, which writes the page and the pictures of a report again.
///
/// # Errors
/// Returns an error if the report cannot be read, or if a file cannot be written.
pub(super) fn again(path: &str, session: &mut Session) -> Result<Exit, Failure> {
    let (folder, report) = (read::folder(path), read::report(path)?);
    let mut files = vec![write(&report, folder)?];
    files.extend(dht_pictures::draw(&report, folder)?);
    show::saved(folder, &files, &mut session.out)?;
    Ok(Exit::Done)
}

/// Writes `report.html`, and returns its path.
///
/// # Errors
/// Returns an error if it cannot be drawn or written.
pub(super) fn write(report: &Report, folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join("report.html");
    fs::write(&path, page(report)?)?;
    Ok(path)
}

/// Returns the text of the page.
fn page(report: &Report) -> io::Result<String> {
    // In a script element, only `<` can start other markup; in JSON it occurs only in strings.
    let json = serde_json::to_string(report).map_err(io::Error::other)?.replace('<', "\\u003c");
    let title = escape(&format!("{} · {}", report.command_line(), report.started));
    Ok(fill(
        PAGE,
        &[("title", &title), ("style", STYLE), ("body", &body(report)?), ("json", &json), ("script", SCRIPT)],
    ))
}

/// Replaces each `{{name}}` in a text by its value; the values are not searched.
fn fill(page: &str, values: &[(&str, &str)]) -> String {
    let mut parts = page.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").expect("a placeholder is closed");
        let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        filled.push_str(value.expect("a placeholder has a value"));
        filled.push_str(rest);
    }
    filled
}

fn body(report: &Report) -> io::Result<String> {
    let sections = [
        ("", "", head(report)),
        ("", "", tables::troubles(report)),
        ("requirements", "Requirements", tables::requirements(report)),
        ("notes", "Notes", list(&report.notes)),
        ("pictures", "Pictures", drawn(report)?),
        ("points", "All points", tables::points(report)),
        ("hops", "By hops", tables::hops(report)),
        ("deliveries", "Deliveries", tables::deliveries(report)),
        ("edges", "Traffic on the edges", tables::edges(report)),
        ("counters", "Counters of the nodes", tables::counters(report)),
        ("load", "Load", tables::load(report)),
        ("environment", "Environment", tables::environment(report)),
    ];
    let shown = || sections.iter().filter(|(_, _, content)| !content.is_empty());
    let links =
        shown().filter(|(id, ..)| !id.is_empty()).map(|(id, heading, _)| format!("<a href=\"#{id}\">{heading}</a>\n"));
    let nav = element("nav", &format!("\n{}", links.collect::<String>()));
    let mut body = String::new();
    for (index, (id, heading, content)) in shown().enumerate() {
        if index == 1 {
            body.push_str(&nav);
        }
        if !id.is_empty() {
            body.push_str(&format!("<h2 id=\"{id}\">{heading}</h2>\n"));
        }
        body.push_str(content);
    }
    Ok(body)
}

fn head(report: &Report) -> String {
    let (cluster, environment) = (&report.cluster, &report.environment);
    let commit = if environment.commit.is_empty() { String::new() } else { format!(" ({})", environment.commit) };
    let software = cluster.software.join(", ");
    let nodes = format!("{} of {} nodes answered: {software}", cluster.nodes_up, cluster.nodes);
    let made = format!("{}, {:.0} s, dht-cli {}{commit}", report.started, report.seconds, environment.version);
    let lines = [nodes, made].map(|line| format!("<p class=\"faint\">{}</p>\n", escape(&line)));
    format!("<header>\n{}{}</header>\n", element("h1", &escape(&report.command_line())), lines.concat())
}

fn drawn(report: &Report) -> io::Result<String> {
    let mut html = String::new();
    for picture in dht_pictures::inline(report)? {
        // An element within a page needs no namespace, but needs a description for users who cannot see it.
        let svg = picture.svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
        let named = format!("<svg role=\"group\" aria-label=\"{}\" ", escape(&picture.title));
        let svg = svg.replacen("<svg ", &named, 1);
        html.push_str(&format!("<figure id=\"picture-{}\">\n{svg}</figure>\n", picture.name));
    }
    if report.cluster.dimension > CUBE_DIMENSIONS_MAX {
        let (most, has) = (CUBE_DIMENSIONS_MAX, report.cluster.dimension);
        html.push_str(&format!(
            "<p class=\"faint\">The cube with its traffic is drawn up to dimension {most}; this one has {has}.</p>\n"
        ));
    }
    Ok(html)
}

#[cfg(test)]
mod tests;
