//! `--ramp FROM..TO/TIME`: the open loop at increasing rates, until one is not reached.

use std::time::Duration;

use dht_console::errors::Failure;
use dht_console::text;

/// Number of rates of a ramp, including both ends.
const STEPS: u32 = 10;

/// A rate counts as not reached if less than this share of it is achieved.
const REACHED: f64 = 0.95;

/// The rates, which increase by a constant factor, and how long each is measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ramp {
    pub(super) rates: Vec<f64>,
    pub(super) each: Duration,
}

impl Ramp {
    /// # Errors
    /// Returns an error for text that is not a ramp.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage_with(
                format!("{text:?} is not a ramp"),
                "write it like 1000..50000/30s: two rates, the lower one first, and the time of all steps".to_owned(),
            )
        };
        let (rates, time) = text.split_once('/').ok_or_else(wrong)?;
        let (from, to) = rates.split_once("..").ok_or_else(wrong)?;
        let rate = |text: &str| text.parse::<f64>().ok().filter(|rate| (0.001..=1e9).contains(rate));
        let (from, to) = rate(from).zip(rate(to)).filter(|(from, to)| from < to).ok_or_else(wrong)?;
        let each = text::duration(time)? / STEPS;
        if each.is_zero() {
            return Err(wrong());
        }
        let step = |step| from * (to / from).powf(f64::from(step) / f64::from(STEPS - 1));
        // Integer rates are easier to read, and just as good.
        let whole = |rate: f64| if rate >= 100.0 { rate.round() } else { rate };
        Ok(Self { rates: (0..STEPS).map(step).map(whole).collect(), each })
    }
}

/// Returns true if the achieved rate is close enough to the planned one.
pub(super) fn is_reached(target: f64, rate: f64) -> bool {
    rate >= target * REACHED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_by_the_same_factor_from_end_to_end() {
        for (text, from, to, each_ms) in
            [("1000..512000/20s", 1000.0, 512_000.0, 2000), ("1..2/1s", 1.0, 2.0, 100), ("50..60/5", 50.0, 60.0, 500)]
        {
            let ramp = Ramp::parse(text).unwrap();
            assert_eq!((ramp.rates.len(), ramp.each), (10, Duration::from_millis(each_ms)), "{text}");
            assert!((ramp.rates[0] - from).abs() < 1e-9 && (ramp.rates[9] - to).abs() < 1e-6, "{:?}", ramp.rates);
            let factor = (to / from).powf(1.0 / 9.0);
            for pair in ramp.rates.windows(2) {
                assert!((pair[1] / pair[0] - factor).abs() < 0.01, "{:?}", ramp.rates);
            }
        }
        assert_eq!(Ramp::parse("1000..512000/20s").unwrap().rates[..4], [1000.0, 2000.0, 4000.0, 8000.0]);
    }

    #[test]
    fn what_is_no_ramp_is_refused() {
        for text in ["", "1..2", "2..1/10s", "5..5/10s", "0..5/10s", "1-2/10s", "1..2/0", "1..2/soon", "a..b/1s"] {
            assert!(Ramp::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_twentieth_less_is_still_reached() {
        for (rate, expected) in [(1000.0, true), (951.0, true), (949.0, false), (1100.0, true)] {
            assert_eq!(is_reached(1000.0, rate), expected, "{rate}");
        }
    }
}
