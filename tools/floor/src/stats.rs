//! Medians and quartiles.

/// The median of several figures, with the quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The lower quartile.
    pub(crate) low: f64,
    /// The upper quartile.
    pub(crate) high: f64,
}

impl Spread {
    /// Computes them from at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self { median: quantile(&figures, 0.5), low: quantile(&figures, 0.25), high: quantile(&figures, 0.75) }
    }
}

/// Interpolates between sorted figures.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the figures")]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Returns the sorted figure that this share of them does not exceed; 0 if there are none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index, cut to the figures")]
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_lies_between_the_nearest_figures() {
        let cases: [(&[f64], Spread); 3] = [
            (&[7.0], Spread { median: 7.0, low: 7.0, high: 7.0 }),
            (&[3.0, 1.0, 2.0], Spread { median: 2.0, low: 1.5, high: 2.5 }),
            (&[4.0, 1.0, 2.0, 3.0, 5.0], Spread { median: 3.0, low: 2.0, high: 4.0 }),
        ];
        for (figures, expected) in cases {
            assert_eq!(Spread::of(figures.iter().copied()), expected, "{figures:?}");
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let figures: Vec<u64> = (1..=1000).collect();
        for (share, expected) in [(0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000)] {
            assert_eq!(percentile(&figures, share), expected);
        }
        assert_eq!(percentile(&[], 0.5), 0);
    }
}
