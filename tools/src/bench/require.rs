//! `--require 'p99<5ms'`: what every point must meet.

use super::report::{Point, Requirement, Worst};
use crate::errors::Failure;
use crate::text;

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
    Errors,
}

const FIGURES: [(&str, Figure); 8] = [
    ("avg", Figure::Average),
    ("p50", Figure::P50),
    ("p90", Figure::P90),
    ("p99", Figure::P99),
    ("p99.9", Figure::P999),
    ("max", Figure::Max),
    ("rate", Figure::Rate),
    ("errors", Figure::Errors),
];

/// A requirement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Require {
    text: String,
    figure: Figure,
    /// Must it be less than the bound, not more?
    is_below: bool,
    /// Is the bound itself good enough?
    is_inclusive: bool,
    /// In microseconds, requests a second, or a number.
    bound: f64,
}

impl Require {
    /// # Errors
    /// What is no requirement.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            let known = FIGURES.map(|(name, _)| name).join(", ");
            Failure::usage_with(
                format!("{text:?} is no requirement"),
                format!("write it like 'p99<5ms' or 'rate>=1000'; there are {known}"),
            )
        };
        let at = text.find(['<', '>']).ok_or_else(wrong)?;
        let (name, rest) = (text[..at].trim(), &text[at + 1..]);
        let (is_inclusive, bound) = rest.strip_prefix('=').map_or((false, rest), |rest| (true, rest));
        let (_, figure) = FIGURES.into_iter().find(|(known, _)| *known == name).ok_or_else(wrong)?;
        let bound = match figure {
            Figure::Rate | Figure::Errors => bound.trim().parse().map_err(|_| wrong())?,
            Figure::Average | Figure::P50 | Figure::P90 | Figure::P99 | Figure::P999 | Figure::Max => {
                text::duration(bound.trim())?.as_secs_f64() * 1e6
            }
        };
        Ok(Self { text: text.to_owned(), figure, is_below: text[at..].starts_with('<'), is_inclusive, bound })
    }

    /// Looks at all points. Where there are none, nothing is met.
    pub(super) fn judge(&self, points: &[Point]) -> Requirement {
        let sign = if self.is_below { -1.0 } else { 1.0 };
        let worst = points
            .iter()
            .map(|point| Worst { test: point.test, topics: point.topics, value: self.value(point) })
            .min_by(|a, b| (a.value * sign).total_cmp(&(b.value * sign)));
        // Where nothing was answered there is no latency, and 0 µs would be met.
        let is_answered = self.figure == Figure::Errors || points.iter().all(|point| point.requests > 0);
        let met = is_answered && worst.is_some_and(|worst| self.is_met(worst.value));
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
            Figure::Errors => point.errors as f64,
        }
    }
}
