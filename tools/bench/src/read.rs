//! Reads an existing report.

use std::fs;
use std::path::Path;

use dht_console::errors::Failure;
use dht_report::{Report, SCHEMA};

/// Reads a `report.json`, or the one in a folder.
///
/// # Errors
/// Returns an error if there is none, or if its format is not known to this program.
pub(super) fn report(path: &str) -> Result<Report, Failure> {
    let given = Path::new(path);
    let path = if given.is_dir() { given.join("report.json") } else { given.to_owned() };
    let text = fs::read(&path).map_err(|error| Failure::Input { name: path.display().to_string(), error })?;
    parse(&text).map_err(|what| Failure::usage(format!("{}: {what}", path.display())))
}

/// Returns the folder of a report's files, from the path that was given for [`report`].
pub(super) fn folder(path: &str) -> &Path {
    let given = Path::new(path);
    if given.is_dir() {
        return given;
    }
    given.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// # Errors
/// Returns what is wrong with the report.
fn parse(text: &[u8]) -> Result<Report, String> {
    // The version is checked first, because nothing is known about other formats.
    let version: Version = serde_json::from_slice(text).map_err(|error| format!("not a report: {error}"))?;
    if version.schema != SCHEMA {
        return Err(format!("its schema is {}, this dht-cli reads {SCHEMA}", version.schema));
    }
    serde_json::from_slice(text).map_err(|error| format!("not a report: {error}"))
}

#[derive(serde::Deserialize)]
struct Version {
    schema: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use dht_report::Test;

    const STORED: &str = include_str!("../../tests/data/report.json");

    #[test]
    fn a_stored_report_is_read_and_unknown_fields_are_passed_over() {
        let report = parse(STORED.as_bytes()).unwrap();
        assert!(STORED.contains("of_a_later_version"));
        assert_eq!((report.schema, report.errors, report.cluster.nodes), (1, 3, 8));
        assert_eq!(report.points.iter().map(|point| point.test).collect::<Vec<_>>(), [Test::Publish, Test::Subscribe]);
        let written = serde_json::to_vec(&report).unwrap();
        assert_eq!(parse(&written).unwrap(), report);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let newer = STORED.replacen("\"schema\": 1", "\"schema\": 2", 1);
        for (text, expected) in [
            ("{", "not a report: EOF"),
            ("[]", "not a report: "),
            ("{\"schema\": 1}", "missing field"),
            (newer.as_str(), "its schema is 2, this dht-cli reads 1"),
        ] {
            let told = parse(text.as_bytes()).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
