//! Axes: the position of values, and the labels.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Ratio of the largest to the smallest value from which an axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 30.0;
/// Rates from here on are written in millions, because the digits would overlap the axis's name.
const MILLIONS_FROM: f64 = 6e5;
/// Values smaller than the largest one by more than this factor are cut off.
const RATIO_MAX: f64 = 1e12;
/// Maximum number of ticks on a linear axis.
const TICKS_MAX: f64 = 6.0;

/// An axis with positions from 0.0 to 1.0 along the edge of the panel.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// The name of the quantity with its unit.
    pub(super) label: String,
    /// The name of the quantity without its unit.
    quantity: String,
    /// Formats a value with its unit.
    said: fn(f64) -> String,
    scale: Scale,
    ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    Linear {
        low: f64,
        high: f64,
    },
    /// The exponents of ten at both ends.
    Logarithmic {
        low: f64,
        high: f64,
    },
}

impl Axis {
    /// Returns an axis for times in microseconds: from zero, or logarithmic if the values are far apart.
    pub(super) fn times(what: &str, values_us: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = values_us.filter(|value| *value > 0.0 && value.is_finite()).collect();
        let (least, most) = bounds(&values).unwrap_or((1.0, 1.0));
        let (unit, unit_us) = time_unit(most);
        let axis = if most / least >= LOGARITHMIC_FROM {
            Self::decades(format!("{what} (logarithmic)"), least, most, time_text)
        } else {
            Self::from_zero(format!("{what}, {unit}"), most, |tick| number_text(tick / unit_us), unit_us)
        };
        axis.saying(what, short_time)
    }

    /// Returns an axis for rates and shares, always from zero, because readers compare heights.
    pub(super) fn rates(label: &str, values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let axis = if most >= MILLIONS_FROM {
            Self::from_zero(format!("{label}, millions"), most, |tick| number_text(tick / 1e6), 1e6)
        } else {
            Self::from_zero(label.to_owned(), if most > 0.0 { most } else { 1.0 }, number_text, 1.0)
        };
        axis.saying(label, number_text)
    }

    /// Returns an axis for numbers of topics, with each point at its position; logarithmic if each is a multiple of the
    /// one before.
    pub(super) fn counts(label: &str, counts: &[f64]) -> Self {
        let mut counts: Vec<f64> = counts.iter().copied().filter(|count| *count > 0.0).collect();
        counts.sort_by(f64::total_cmp);
        counts.dedup();
        let (least, most) = bounds(&counts).unwrap_or((1.0, 1.0));
        let multiplies = counts.len() >= 3 && counts.windows(2).skip(1).all(|pair| pair[1] / pair[0] >= 4.0);
        if multiplies {
            return Self::decades(format!("{label} (logarithmic)"), least, most, number_text)
                .saying(label, number_text);
        }
        let (low, high) = if counts.len() < 2 { (0.0, 2.0 * most) } else { (0.0, most * 1.03) };
        let mut axis = Self::new(label.to_owned(), Scale::Linear { low, high });
        let mut free = f64::INFINITY;
        // From the right, so that the largest number is always labelled.
        for count in counts.iter().rev() {
            let (at, text) = (axis.place(*count), number_text(*count));
            // A label needs about this share of the narrowest panel, half on each side of its tick.
            let half = 0.014 * (text.chars().count() as f64 + 1.0);
            if at + half <= free {
                axis.ticks.push((at, text));
                free = at - half;
            }
        }
        axis
    }

    /// Returns an axis for a time from zero to exactly its end.
    pub(super) fn seconds(end: f64) -> Self {
        let axis = Self::from_zero("time, s".to_owned(), end, number_text, 1.0);
        let mut axis = axis.saying("time", |seconds| format!("{seconds:.2} s"));
        let Scale::Linear { low, high } = axis.scale else { return axis };
        axis.scale = Scale::Linear { low, high: end };
        axis.ticks.retain_mut(|(at, _)| {
            *at *= high / end;
            *at <= 1.0 + 1e-9
        });
        axis
    }

    /// Returns an axis for percentiles, on which each nine has the same width.
    pub(super) fn percentiles(nines_max: u32) -> Self {
        let high = f64::from(nines_max.max(1));
        let scale = Scale::Linear { low: 0.0, high };
        let texts = ["0", "90", "99", "99.9", "99.99", "99.999"];
        let ticks = texts.iter().zip(0_u32..).map(|(text, nines)| (f64::from(nines) / high, (*text).to_owned()));
        let ticks = ticks.filter(|(at, _)| *at <= 1.0).collect();
        let axis = Self { ticks, ..Self::new("percentile, %".to_owned(), scale) };
        axis.saying("percentile", percentile_text)
    }

    /// Returns an axis for names side by side, at 0, 1, 2, ….
    pub(super) fn names(label: &str, names: Vec<String>) -> Self {
        let scale = Scale::Linear { low: -0.6, high: names.len().max(1) as f64 - 0.4 };
        let mut axis = Self::new(label.to_owned(), scale);
        axis.ticks = names.into_iter().zip(0_u32..).map(|(name, at)| (axis.place(f64::from(at)), name)).collect();
        axis
    }

    /// Returns the position of a value, from 0.0 to 1.0; values too small for a logarithm are at the low end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let at = match self.scale {
            Scale::Linear { low, high } => (value - low) / (high - low),
            Scale::Logarithmic { .. } if value <= 0.0 => 0.0,
            Scale::Logarithmic { low, high } => (value.log10() - low) / (high - low),
        };
        at.clamp(0.0, 1.0)
    }

    /// Formats a value for a tooltip: `latency 131 µs`.
    pub(super) fn read_out(&self, value: f64) -> String {
        format!("{} {}", self.quantity, self.said(value))
    }

    /// Formats a value with its unit.
    pub(super) fn said(&self, value: f64) -> String {
        (self.said)(value)
    }

    fn new(label: String, scale: Scale) -> Self {
        Self { quantity: label.clone(), label, said: number_text, scale, ticks: Vec::new() }
    }

    fn saying(self, quantity: &str, said: fn(f64) -> String) -> Self {
        Self { quantity: quantity.to_owned(), said, ..self }
    }

    fn from_zero(label: String, most: f64, text: impl Fn(f64) -> String, unit: f64) -> Self {
        let most = most / unit * 1.02; // otherwise a curve at the very top would lie on the panel's edge
        let rough = most / TICKS_MAX;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].into_iter().map(|nice| nice * decade).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * decade);
        let steps = (most / step).ceil().max(1.0);
        let high = steps * step * unit;
        let ticks = (0..=whole(steps)).map(|tick| (f64::from(tick) / steps, text(f64::from(tick) * step * unit)));
        Self { ticks: ticks.collect(), ..Self::new(label, Scale::Linear { low: 0.0, high }) }
    }

    /// Returns a logarithmic axis between the nearest 1, 2 or 5 times a power of ten.
    fn decades(label: String, least: f64, most: f64, text: fn(f64) -> String) -> Self {
        let least = least.max(most / RATIO_MAX);
        let exponents = whole(least.log10().floor())..=whole(most.log10().ceil());
        let values = |multiples: &'static [f64]| {
            let decades = exponents.clone().map(|exponent| 10_f64.powi(exponent));
            decades.flat_map(|decade| multiples.iter().map(move |times| times * decade))
        };
        let near = 1.0 + 1e-9;
        let low = values(&[1.0, 2.0, 5.0]).filter(|value| *value <= least * near).fold(f64::NAN, f64::max);
        let high = values(&[1.0, 2.0, 5.0]).filter(|value| *value >= most / near).fold(f64::NAN, f64::min);
        let scale = Scale::Logarithmic { low: low.log10(), high: high.log10() };
        let mut axis = Self::new(label, scale);
        let multiples: &[f64] = if high / low <= 500.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let shown = values(multiples).filter(|value| (low / near..=high * near).contains(value));
        axis.ticks = shown.map(|value| (axis.place(value), text(value))).collect();
        axis
    }
}

/// Implements what plotters requires: positions are its values, so that one type serves every scale.
impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, at: &f64, (low, high): (i32, i32)) -> i32 {
        low + whole(at * f64::from(high - low))
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        0.0..1.0
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, at: &f64) -> String {
        self.ticks.iter().find(|(tick, _)| (tick - at).abs() < 1e-9).map_or_else(String::new, |(_, text)| text.clone())
    }
}

/// Returns the position of a percentile on [`Axis::percentiles`].
pub(super) fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

/// Rounds to the nearest integer.
#[expect(clippy::cast_possible_truncation, reason = "what is too large becomes the largest number")]
pub(super) fn whole(value: f64) -> i32 {
    value.round() as i32
}

fn bounds(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().reduce(f64::min)?;
    Some((least, values.iter().copied().fold(least, f64::max)))
}

/// Returns the unit in which a time has few digits, and the number of microseconds in it.
fn time_unit(most_us: f64) -> (&'static str, f64) {
    match most_us {
        us if us < 5e3 => ("µs", 1.0),
        us if us < 5e6 => ("ms", 1e3),
        _ => ("s", 1e6),
    }
}

/// Formats a power of ten of microseconds, or a small multiple of one, with its unit.
fn time_text(us: f64) -> String {
    match us {
        us if us < 1.0 => format!("{} ns", number_text(us * 1e3)),
        us if us < 1e3 => format!("{} µs", number_text(us)),
        us if us < 1e6 => format!("{} ms", number_text(us / 1e3)),
        us => format!("{} s", number_text(us / 1e6)),
    }
}

/// Formats a time with three digits, for a tooltip.
fn short_time(us: f64) -> String {
    let (unit, unit_us) = time_unit(us);
    let value = us / unit_us;
    let decimals = if value >= 100.0 { 0 } else { usize::from(value < 10.0) + 1 };
    if value >= 1000.0 { format!("{} {unit}", number_text(value)) } else { format!("{value:.decimals$} {unit}") }
}

/// Formats the percentile at a position on [`Axis::percentiles`], with a digit for each nine.
fn percentile_text(nines: f64) -> String {
    let percentile = 100.0 * (1.0 - 10_f64.powf(-nines));
    let decimals = whole((nines - 1.0).ceil()).max(0).unsigned_abs() as usize;
    format!("{percentile:.decimals$} %")
}

/// Formats a number with groups of three digits and without needless zeros.
pub(super) fn number_text(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 10.0 || value == 0.0 => 0,
        value if value >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left % 3 == 0 && whole.len() > 3 && digit.is_ascii_digit() {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}
