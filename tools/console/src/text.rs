//! Parsing and formatting of numbers, sizes, times and tables.

use std::time::Duration;

use bytesize::ByteSize;

use crate::errors::Failure;

/// Returns the candidate that is most similar to `word`, if it is similar enough to be a likely correction.
pub fn closest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let likeness = candidates.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    let (distance, candidate) = likeness.min()?;
    // A third of the letters may differ, and at least one must match.
    let length = word.chars().count().max(candidate.chars().count());
    (distance <= (length / 3).max(1) && distance < length.saturating_sub(1)).then_some(candidate)
}

/// Parses a duration: `5s`, `1m 30s`, `500ms`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, Failure> {
    if let Ok(seconds) = text.parse::<f64>()
        && let Ok(duration) = Duration::try_from_secs_f64(seconds)
    {
        return Ok(duration);
    }
    humantime::parse_duration(text).map_err(|_| {
        Failure::usage_with(format!("{text:?} is not a duration"), "write it like 500ms, 5s or 1h 30m".to_owned())
    })
}

/// Parses a duration above zero, for options that wait for something.
pub fn waiting(option: &str, text: &str) -> Result<Duration, Failure> {
    let waiting = duration(text)?;
    if waiting.is_zero() {
        let what = format!("{option} {text}: the time must be longer than zero");
        return Err(Failure::usage_with(what, "write how long to wait, like 500ms or 5s".to_owned()));
    }
    Ok(waiting)
}

/// Parses a number of bytes as dht-node does: `4096`, `64KiB` (times 1024), `1GB` or `1G` (times 1000).
pub fn size(text: &str) -> Result<u64, Failure> {
    let size = text.trim().parse::<ByteSize>().map(|size| size.as_u64());
    // A larger number is parsed as the largest one.
    size.ok().filter(|size| *size < u64::MAX).ok_or_else(|| {
        let hint = "write it like 4096, 64MiB (times 1024) or 64MB (times 1000)";
        Failure::usage_with(format!("{text:?} is not a size"), hint.to_owned())
    })
}

/// Formats bytes with a unit: `512 B`, `3.1 KiB`.
pub fn bytes(count: u64) -> String {
    ByteSize(count).display().iec().to_string()
}

/// Formats a number with its noun: `1 record`, `2 records`.
pub fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Formats microseconds as `0.12 ms` or `1.50 s`.
pub fn micros(micros: u64) -> String {
    if micros < 1_000_000 { format!("{:.2} ms", micros as f64 / 1e3) } else { format!("{:.2} s", micros as f64 / 1e6) }
}

/// Formats a duration to the second, or to the millisecond below one second.
pub fn rough(duration: Duration) -> String {
    let shown = if duration < Duration::from_secs(1) {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(duration.as_secs())
    };
    humantime::format_duration(shown).to_string()
}

/// Formats microseconds since 1970 as RFC 3339.
pub fn time(micros: u64) -> String {
    match std::time::UNIX_EPOCH.checked_add(Duration::from_micros(micros)) {
        Some(time) if micros < 253_402_300_800_000_000 => humantime::format_rfc3339_millis(time).to_string(),
        _ => format!("{micros} us after 1970"),
    }
}

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say all")]
pub enum Align {
    Left,
    Right,
}

/// Formats rows with columns of equal width, two spaces apart, without trailing spaces.
pub fn table(columns: &[Align], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(columns).zip(&widths).map(|((cell, align), width)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

/// Formats text for a terminal: control characters become escapes, so that a message cannot repaint the screen.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64KiB", Some(65536)),
            ("64 K", Some(64_000)),
            ("1.5MiB", Some(1_572_864)),
            ("1GB", Some(1_000_000_000)),
            ("", None),
            ("x", None),
            ("1 parsec", None),
            ("-1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text:?}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("5s", Some(5000)),
            ("5", Some(5000)),
            ("0", Some(0)),
            ("0.5", Some(500)),
            ("1h 30m", Some(5_400_000)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn only_what_is_like_it_is_suggested() {
        let names = ["weather", "orders", "a"];
        for (word, expected) in [
            ("wether", Some("weather")),
            ("order", Some("orders")),
            ("xyz", None),
            ("b", None),
            ("weahter", Some("weather")),
        ] {
            assert_eq!(closest(word, names.into_iter()), expected, "{word}");
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "100".to_owned()]];
        assert_eq!(table(&[Align::Left, Align::Right], &rows), ["a      1", "bcd  100"]);
    }
}
