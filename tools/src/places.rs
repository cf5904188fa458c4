//! The start and end of a range of records: `--from`, `--to` and `--last`.
//!
//! | written as | meaning |
//! |---|---|
//! | `earliest`, `next`, `latest` | the log start; the log end as it is now, under two names |
//! | `17` | an offset |
//! | `@1763805600`, `@1763805600123` | a time: seconds, or milliseconds, since 1970 |
//! | `2026-11-22T10:00:00Z`, `2026-11-22T11:00+01:00` | a time |
//! | `2026-11-22`, `2026-11-22 10:00` | a time in UTC, because no zone is given |
//! | `5m`, `1h 30m` | that long ago |

use std::time::Duration;

use dht_client::{Client, Error, Offset, Start};
use dht_console::clock;
use dht_console::errors::{Failure, note};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// From this number on, `@` means milliseconds: as seconds it would be in the year 5138.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// A position in a topic as a user writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The log start.
    Earliest,
    /// The log end.
    Next,
    /// An offset.
    Offset(u64),
    /// The first record appended at or after this time, in microseconds since 1970, and whether a zone was given.
    Time(u64, bool),
}

impl Place {
    /// Parses the value of an option.
    ///
    /// # Errors
    /// Returns an error for text in none of the forms above.
    pub(crate) fn parse(option: &str, text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        match text {
            "earliest" => return Ok(Self::Earliest),
            "next" | "latest" => return Ok(Self::Next),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        let found = match text.strip_prefix('@') {
            Some(number) => epoch(number).map(|micros| Self::Time(micros, true)),
            None => zoned(text)
                .map(|micros| Self::Time(micros, true))
                .or_else(|| bare(text).map(|micros| Self::Time(micros, false)))
                .or_else(|| ago(text).map(|micros| Self::Time(micros, true))),
        };
        found.ok_or_else(|| {
            Failure::usage_with(
                format!("{option} {text:?} is not a position in a topic"),
                "write earliest, latest, an offset, a time like 2026-11-22T10:00:00Z or @1763805600, or how long ago \
                 like 5m"
                    .to_owned(),
            )
        })
    }

    /// Converts the position to that of the client library.
    pub(crate) const fn start(self) -> Start {
        match self {
            Self::Earliest => Start::Earliest,
            Self::Next => Start::Next,
            Self::Offset(offset) => Start::Offset(Offset(offset)),
            Self::Time(micros, _) => Start::Time(micros),
        }
    }

    /// Reports on standard error which zone was assumed, if any.
    pub(crate) fn tell_zone(self, option: &str, is_quiet: bool) {
        if let Self::Time(micros, false) = self
            && !is_quiet
        {
            note(&format!(
                "dht-cli: {option} names no time zone, so UTC is assumed: {}",
                dht_console::text::time(micros)
            ));
        }
    }
}

/// Parses seconds, with an optional fraction, or milliseconds.
fn epoch(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || number.ends_with('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    if whole >= MILLISECONDS_FROM {
        return if fraction.is_empty() { whole.checked_mul(1_000) } else { None };
    }
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    whole.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)
}

/// Parses a time or date with a zone.
fn zoned(text: &str) -> Option<u64> {
    let dated = text.split_at_checked(10).map(|(date, zone)| format!("{date}T00:00{zone}"));
    let time = text.parse::<Timestamp>().ok().or_else(|| dated?.parse().ok())?;
    Some(micros(time))
}

/// Parses a time or date without a zone.
fn bare(text: &str) -> Option<u64> {
    let time = text.parse::<DateTime>().ok()?;
    Some(micros(time.to_zoned(TimeZone::UTC).ok()?.timestamp()))
}

/// Converts a time. Times before 1970 precede every record, as 1970 does.
fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.as_microsecond()).unwrap_or(0)
}

fn ago(text: &str) -> Option<u64> {
    let ago = humantime::parse_duration(text).ok()?;
    Some(clock::wall_us().saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)))
}

/// The options that select the records of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    from: Place,
    last: Option<u64>,
    to: Option<Place>,
}

/// The selected range of one topic, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) start: Start,
    pub(crate) end: End,
}

/// The end of the selected range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no end.
    Open,
    /// Before this offset.
    Offset(Offset),
    /// Before the first record appended at this future time, in microseconds since 1970.
    Time(u64),
}

impl Range {
    /// # Errors
    /// Returns an error for text that is not a position, and for options that exclude each other.
    pub(crate) fn new(
        from: Option<&str>,
        last: Option<u64>,
        to: Option<&str>,
        default: Place,
        is_quiet: bool,
    ) -> Result<Self, Failure> {
        if from.is_some() && last.is_some() {
            return Err(Failure::usage("--from and --last exclude each other".to_owned()));
        }
        let place = |option: &str, text: Option<&str>| -> Result<Option<Place>, Failure> {
            let place = text.map(|text| Place::parse(option, text)).transpose()?;
            if let Some(place) = place {
                place.tell_zone(option, is_quiet);
            }
            Ok(place)
        };
        let (from, to) = (place("--from", from)?.unwrap_or(default), place("--to", to)?);
        let is_empty = match (from, to) {
            (Place::Offset(from), Some(Place::Offset(to))) => to < from,
            (Place::Time(from, _), Some(Place::Time(to, _))) => to < from,
            (_, Some(Place::Earliest)) => true,
            _ => false,
        };
        if is_empty {
            let what = "--to is before --from".to_owned();
            return Err(Failure::usage_with(what, "--to says where to stop: before that offset or time".to_owned()));
        }
        Ok(Self { from, last, to })
    }

    /// Returns the start if it is the same for every topic; `None` if it depends on the topic, or if there is an end.
    pub(crate) const fn plain(self) -> Option<Start> {
        match (self.last, self.to) {
            (None, None) => Some(self.from.start()),
            _ => None,
        }
    }

    /// Resolves the options for a topic as it is now.
    ///
    /// # Errors
    /// Returns the error of querying the topic, which is done only if the options require it.
    pub(crate) fn of(self, topic: &str, client: &mut Client) -> Result<Bounds, Error> {
        if let Some(start) = self.plain() {
            return Ok(Bounds { start, end: End::Open });
        }
        let state = client.info(topic)?.topic;
        let (first, next) = state.map_or((Offset(0), Offset(0)), |state| (state.first, state.next));
        let start = match self.last {
            Some(count) => Start::Offset(first.max(Offset(next.0.saturating_sub(count)))),
            None => self.from.start(),
        };
        let end = match self.to {
            None => End::Open,
            Some(Place::Earliest) => End::Offset(first),
            Some(Place::Next) => End::Offset(next),
            Some(Place::Offset(offset)) => End::Offset(Offset(offset)),
            Some(Place::Time(micros, _)) if micros > clock::wall_us() => End::Time(micros),
            Some(Place::Time(micros, _)) => End::Offset(at(topic, micros, client)?),
        };
        Ok(Bounds { start, end })
    }
}

/// Returns the offset of the first record appended at or after this time, or the log end offset.
pub(crate) fn at(topic: &str, micros: u64, client: &mut Client) -> Result<Offset, Error> {
    client.fetch(topic, Start::Time(micros), 1).map(|fetch| fetch.from)
}

/// Returns how long it is until a future time.
pub(crate) fn until(micros: u64) -> Duration {
    Duration::from_micros(micros.saturating_sub(clock::wall_us()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let second = 1_000_000;
        for (text, expected) in [
            ("earliest", Some(Place::Earliest)),
            ("next", Some(Place::Next)),
            ("latest", Some(Place::Next)),
            ("17", Some(Place::Offset(17))),
            ("1763805600", Some(Place::Offset(1_763_805_600))),
            ("@0", Some(Place::Time(0, true))),
            ("@1763805600", Some(Place::Time(1_763_805_600 * second, true))),
            ("@1763805600.25", Some(Place::Time(1_763_805_600_250_000, true))),
            ("@1763805600123", Some(Place::Time(1_763_805_600_123_000, true))),
            ("@99999999999", Some(Place::Time(99_999_999_999 * second, true))),
            ("1970-01-01T00:00:01Z", Some(Place::Time(second, true))),
            ("1970-01-01T01:00:01+01:00", Some(Place::Time(second, true))),
            ("1970-01-01 01:00+01", Some(Place::Time(0, true))),
            ("1970-01-01T00:00:00-00:30", Some(Place::Time(1800 * second, true))),
            ("1970-01-01T00:00:01", Some(Place::Time(second, false))),
            ("1970-01-01 00:01", Some(Place::Time(60 * second, false))),
            ("1970-01-02", Some(Place::Time(86_400 * second, false))),
            ("1970-01-02Z", Some(Place::Time(86_400 * second, true))),
            ("1970-01-02+01:00", Some(Place::Time(82_800 * second, true))),
            ("1969-12-31T23:00Z", Some(Place::Time(0, true))),
            ("2026-02-29", None),
            ("2026-11-22T25:00", None),
            ("2026-11-22T10:00+99:00", None),
            ("@", None),
            ("@1.", None),
            ("@x", None),
            ("@-5", None),
            ("soon", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(Place::parse("--from", text).ok(), expected, "{text:?}");
        }
        let ago = Place::parse("--from", "5m");
        assert!(matches!(ago, Ok(Place::Time(micros, true)) if micros > 1_600_000_000_000_000));
    }

    #[test]
    fn what_can_never_have_a_record_is_refused() {
        for (from, last, to, is_good) in [
            (None, None, None, true),
            (Some("5"), None, Some("5"), true),
            (Some("5"), None, Some("4"), false),
            (Some("@5"), None, Some("@4"), false),
            (Some("5"), Some(3), None, false),
            (None, Some(3), Some("latest"), true),
            (None, None, Some("earliest"), false),
            (Some("@5"), None, Some("4"), true),
        ] {
            let range = Range::new(from, last, to, Place::Earliest, true);
            assert_eq!(range.is_ok(), is_good, "{from:?} {last:?} {to:?}");
        }
    }
}
