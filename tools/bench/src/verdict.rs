//! Decides whether two figures differ. They do only if every run of one is on the same side of every run of the other.
//!
//! Nothing is assumed about the distribution of runs, and nothing is concluded from a single run. The probability that
//! such a separation occurs by chance is known for any distribution: [`chance`].

use dht_report::Band;

/// A figure of one report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Side {
    /// Its values over the runs.
    pub(super) band: Band,
    pub(super) runs: usize,
    /// Number of requests that it is based on.
    pub(super) requests: u64,
}

/// Which direction of a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    /// A rate: more is better.
    Rate,
    /// A time: less is better.
    Cost,
}

/// The result of comparing two figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Faster,
    Slower,
    Better,
    Worse,
    /// The runs of the two overlap.
    WithinNoise,
    /// One of them has a single run.
    OneRun,
    /// One of them is based on no request.
    Nothing,
    /// They were measured under different loads.
    OtherLoad,
}

impl Verdict {
    /// Describes the result in words.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::WithinNoise => "within noise",
            Self::OneRun => "one run: the noise is unknown",
            Self::Nothing => "nothing was measured",
            Self::OtherLoad => "not comparable",
        }
    }

    /// Returns whether the result is good news, bad news, or neither.
    pub(super) const fn is_good(self) -> Option<bool> {
        match self {
            Self::Faster | Self::Better => Some(true),
            Self::Slower | Self::Worse => Some(false),
            Self::WithinNoise | Self::OneRun | Self::Nothing | Self::OtherLoad => None,
        }
    }
}

/// Compares two figures that were measured under the same load.
pub(super) fn judge(sense: Sense, old: Side, new: Side) -> Verdict {
    if change(old, new).is_none() {
        return Verdict::Nothing;
    }
    if old.runs.min(new.runs) < 2 {
        return Verdict::OneRun;
    }
    let (is_more, is_less) = (new.band.min > old.band.max, new.band.max < old.band.min);
    match (sense, is_more, is_less) {
        (_, false, false) => Verdict::WithinNoise,
        (Sense::Rate, true, _) => Verdict::Faster,
        (Sense::Rate, ..) => Verdict::Slower,
        (Sense::Cost, true, _) => Verdict::Worse,
        (Sense::Cost, ..) => Verdict::Better,
    }
}

/// Returns the relative difference of the new median from the old one; `None` if nothing was measured on a side.
pub(super) fn change(old: Side, new: Side) -> Option<f64> {
    let is_measured = |side: Side| side.requests > 0 && side.runs > 0 && side.band.median > 0.0;
    (is_measured(old) && is_measured(new)).then(|| new.band.median / old.band.median - 1.0)
}

/// Returns half of the range of the runs relative to their median; `None` for a single run.
pub(super) fn half_band(side: Side) -> Option<f64> {
    (side.runs > 1 && side.band.median > 0.0).then(|| (side.band.max - side.band.min) / 2.0 / side.band.median)
}

/// Returns the probability that all runs of one figure are on one side of all runs of the other although nothing
/// differs between them: of all orders of the runs, two are such.
pub(super) fn chance(old_runs: usize, new_runs: usize) -> f64 {
    let orders = (1..=new_runs).map(|run| (old_runs + run) as f64 / run as f64).product::<f64>();
    (2.0 / orders).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(runs: &[f64]) -> Side {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
        let band = Band { median: at(runs.len() / 2), min: at(0), max: at(runs.len().saturating_sub(1)) };
        Side { band, runs: runs.len(), requests: if band.max > 0.0 { 1000 } else { 0 } }
    }

    #[test]
    fn a_difference_is_called_only_beyond_all_runs() {
        let cases: [(&[f64], &[f64], &str, &str); 12] = [
            (&[100.0, 101.0, 102.0], &[110.0, 111.0, 112.0], "faster", "worse"),
            (&[110.0, 111.0, 112.0], &[100.0, 101.0, 102.0], "slower", "better"),
            (&[100.0, 101.0, 102.0], &[100.5, 101.5, 102.5], "within noise", "within noise"),
            (&[100.0, 101.0, 102.0], &[102.0, 103.0, 104.0], "within noise", "within noise"),
            (&[90.0, 100.0, 200.0], &[150.0, 160.0, 170.0], "within noise", "within noise"),
            (&[100.0, 100.0], &[100.0, 100.0], "within noise", "within noise"),
            (&[100.0], &[200.0], "one run: the noise is unknown", "one run: the noise is unknown"),
            (&[100.0, 101.0], &[200.0], "one run: the noise is unknown", "one run: the noise is unknown"),
            (&[0.0, 0.0], &[100.0, 101.0], "nothing was measured", "nothing was measured"),
            (&[100.0, 101.0], &[0.0], "nothing was measured", "nothing was measured"),
            (&[], &[100.0, 101.0], "nothing was measured", "nothing was measured"),
            (&[], &[], "nothing was measured", "nothing was measured"),
        ];
        for (old, new, rate, cost) in cases {
            let verdicts = [Sense::Rate, Sense::Cost].map(|sense| judge(sense, side(old), side(new)).text());
            assert_eq!(verdicts, [rate, cost], "{old:?} {new:?}");
        }
    }

    #[test]
    fn changes_and_bands_are_shares_of_the_median() {
        for (old, new, expected, half) in [
            (&[90.0, 100.0, 110.0][..], &[115.0][..], Some(0.15), Some(0.1)),
            (&[100.0], &[88.0], Some(-0.12), None),
            (&[0.0, 0.0], &[88.0], None, None),
        ] {
            let found = change(side(old), side(new)).map(|change| (change * 1e6).round() / 1e6);
            assert_eq!((found, half_band(side(old))), (expected, half), "{old:?} {new:?}");
        }
    }

    #[test]
    fn more_runs_leave_less_to_chance() {
        for (old, new, expected) in [(0, 3, 1.0), (1, 1, 1.0), (2, 2, 1.0 / 3.0), (3, 3, 0.1), (5, 5, 2.0 / 252.0)] {
            assert!((chance(old, new) - expected).abs() < 1e-9, "{old} {new}");
        }
    }
}
