//! `--require 'p99<5ms'`: requirements that every point must meet.

use dht_console::errors::Failure;
use dht_report::{Point, Requirement, Worst};

/// A figure of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Average,
    P50,
    P90,
    P99,
    P999,
    Max,
    Rate,
    Payload,
    ServerCpu,
    Errors,
}

/// The unit of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Time,
    PerSecond,
    Megabytes,
    Number,
}

/// The figures that exist, and their units.
const FIGURES: [(&str, Figure, Unit); 10] = [
    ("avg", Figure::Average, Unit::Time),
    ("p50", Figure::P50, Unit::Time),
    ("p90", Figure::P90, Unit::Time),
    ("p99", Figure::P99, Unit::Time),
    ("p99.9", Figure::P999, Unit::Time),
    ("max", Figure::Max, Unit::Time),
    ("cpu", Figure::ServerCpu, Unit::Time),
    ("rate", Figure::Rate, Unit::PerSecond),
    ("mb", Figure::Payload, Unit::Megabytes),
    ("errors", Figure::Errors, Unit::Number),
];

/// How a unit is written.
struct Written {
    unit: Unit,
    /// The suffixes that may follow a number, with their factors. Only a time must have one.
    suffixes: &'static [(&'static str, f64)],
    /// What an error message says about the unit.
    advice: &'static str,
}

const UNITS: [Written; 4] = [
    Written {
        unit: Unit::Time,
        suffixes: &[("ns", 1e-3), ("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)],
        advice: "write a time, as 5ms; there are ns, us, ms, s",
    },
    Written {
        unit: Unit::PerSecond,
        suffixes: &[("", 1.0), ("k", 1e3), ("M", 1e6), ("/s", 1.0), ("k/s", 1e3), ("M/s", 1e6)],
        advice: "write requests a second, as 1000 or 50k; there are k, M",
    },
    Written {
        unit: Unit::Megabytes,
        suffixes: &[("", 1.0), ("MB/s", 1.0), ("GB/s", 1e3)],
        advice: "write payload a second, as 10 or 10MB/s; there are MB/s, GB/s",
    },
    Written { unit: Unit::Number, suffixes: &[("", 1.0)], advice: "write a number, as 0" },
];

impl Unit {
    fn written(self) -> &'static Written {
        UNITS.iter().find(|written| written.unit == self).expect("each is in the table")
    }

    /// Returns the figure in microseconds, requests per second, 10^6 bytes per second, or as a number.
    fn read(self, text: &str) -> Option<f64> {
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != 'e').unwrap_or(text.len());
        let (number, suffix) = (text[..split].trim(), text[split..].trim());
        let (_, factor) = self.written().suffixes.iter().find(|(known, _)| *known == suffix)?;
        number.parse::<f64>().ok().map(|number| number * factor).filter(|bound| bound.is_finite())
    }
}

/// A requirement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Require {
    text: String,
    figure: Figure,
    /// True if the figure must be below the bound, not above it.
    is_below: bool,
    /// True if the bound itself is acceptable.
    is_inclusive: bool,
    /// The bound as [`Unit::read`] returns it.
    bound: f64,
}

impl Require {
    /// # Errors
    /// Returns an error for text that is not a requirement.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            let known = FIGURES.map(|(name, ..)| name).join(", ");
            Failure::usage_with(
                format!("{text:?} is not a requirement"),
                format!("write it like 'p99<5ms' or 'rate>=1000'; there are {known}"),
            )
        };
        let at = text.find(['<', '>']).ok_or_else(wrong)?;
        let (name, rest) = (text[..at].trim(), &text[at + 1..]);
        let (is_inclusive, bound) = rest.strip_prefix('=').map_or((false, rest), |rest| (true, rest));
        let (_, figure, unit) = FIGURES.into_iter().find(|(known, ..)| *known == name).ok_or_else(wrong)?;
        let bound = unit.read(bound.trim()).ok_or_else(|| {
            Failure::usage_with(
                format!("{:?} is not a bound of {name} in {text:?}", bound.trim()),
                unit.written().advice.to_owned(),
            )
        })?;
        Ok(Self { text: text.to_owned(), figure, is_below: text[at..].starts_with('<'), is_inclusive, bound })
    }

    /// Checks all points. Without points, the requirement is not met.
    pub(super) fn judge(&self, points: &[Point]) -> Requirement {
        let sign = if self.is_below { -1.0 } else { 1.0 };
        let worst = points
            .iter()
            .map(|point| Worst { test: point.test, topics: point.topics, value: self.value(point) })
            .min_by(|a, b| (a.value * sign).total_cmp(&(b.value * sign)));
        // Without successful requests there is no latency, and a latency of 0 µs would meet any bound.
        let is_answered = self.figure == Figure::Errors || points.iter().all(|point| point.requests > 0);
        let is_known = self.figure != Figure::ServerCpu || points.iter().all(|point| point.server_cpu_us.is_some());
        let met = is_answered && is_known && worst.is_some_and(|worst| self.is_met(worst.value));
        Requirement { text: self.text.clone(), met, worst }
    }

    fn is_met(&self, value: f64) -> bool {
        let is_beyond = if self.is_below { value < self.bound } else { value > self.bound };
        is_beyond || (self.is_inclusive && value == self.bound)
    }

    fn value(&self, point: &Point) -> f64 {
        let latency = &point.latency;
        match self.figure {
            Figure::Average => latency.avg_us,
            Figure::P50 => latency.p50_us,
            Figure::P90 => latency.p90_us,
            Figure::P99 => latency.p99_us,
            Figure::P999 => latency.p999_us,
            Figure::Max => latency.max_us,
            Figure::Rate => point.rate.median,
            Figure::Payload => point.mb_s.median,
            Figure::ServerCpu => point.server_cpu_us.map_or(0.0, |band| band.median),
            Figure::Errors => point.errors as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_in_their_units() {
        for (text, bound) in [
            ("p99<5ms", 5000.0),
            ("avg < 250 us", 250.0),
            ("p50<80µs", 80.0),
            ("max<=1s", 1e6),
            ("p99.9<500ns", 0.5),
            ("cpu<12.5us", 12.5),
            ("rate>=1000", 1000.0),
            ("rate>50k", 50_000.0),
            ("rate>=1e12", 1e12),
            ("rate>1.5M/s", 1.5e6),
            ("mb>10", 10.0),
            ("mb>1GB/s", 1000.0),
            ("errors<=0", 0.0),
        ] {
            assert_eq!(Require::parse(text).unwrap().bound, bound, "{text}");
        }
    }

    #[test]
    fn what_is_no_bound_is_told_which_units_there_are() {
        for (text, told) in [
            ("p99<5", "ns, us, ms, s"),
            ("p99<5min", "ns, us, ms, s"),
            ("rate>fast", "k, M"),
            ("rate>5ms", "k, M"),
            ("mb>5KB", "MB/s, GB/s"),
            ("errors<1k", "a number"),
            ("p98<1s", "there are avg"),
            ("p99=5ms", "there are avg"),
        ] {
            let Err(Failure::Usage { advice: Some(advice), .. }) = Require::parse(text) else { panic!("{text}") };
            assert!(advice.contains(told), "{text}: {advice}");
        }
    }
}
