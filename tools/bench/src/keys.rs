//! `--keys`: the distribution of requests over topics.
//!
//! | written as | topics drawn |
//! |---|---|
//! | `uniform` | all with the same probability |
//! | `sequential` | one after the other; each connection starts at another one |
//! | `zipf:1.1` | the n-th with a probability proportional to 1/n^1.1: a few often, most rarely |
//! | `hot:1` | only the first N; the others exist but are not used |
//!
//! The draws depend only on the seed and the request's number.

use std::fmt;

use dht_console::errors::Failure;

use super::link::{drawn, mixed};

/// Above this exponent nearly all requests use one topic, which is `hot:1`.
const EXPONENT_MAX: f64 = 10.0;

/// A distribution over topics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Keys {
    Uniform,
    Sequential,
    Zipf(f64),
    Hot(u32),
}

impl Keys {
    /// # Errors
    /// Returns an error for any other text.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let (name, figure) = text.split_once(':').map_or((text, None), |(name, figure)| (name, Some(figure)));
        let keys = match (name, figure) {
            ("uniform", None) => Some(Self::Uniform),
            ("sequential", None) => Some(Self::Sequential),
            ("zipf", Some(figure)) => {
                figure.parse().ok().filter(|exponent| (0.0..=EXPONENT_MAX).contains(exponent)).map(Self::Zipf)
            }
            ("hot", Some(figure)) => figure.parse().ok().filter(|count| *count > 0).map(Self::Hot),
            _ => None,
        };
        keys.ok_or_else(|| {
            Failure::usage_with(
                format!("no keys {text:?}"),
                "--keys is uniform, sequential, zipf:EXPONENT (as zipf:1.1) or hot:TOPICS (as hot:1)".to_owned(),
            )
        })
    }

    /// Returns what draws topics out of `count`, for the connection with this index among `seats`.
    pub(super) fn picker(self, count: usize, (index, seats): (u32, u32)) -> Picker {
        match self {
            Self::Uniform => Picker::Uniform(count),
            Self::Hot(hot) => Picker::Uniform(count.min(hot as usize)),
            Self::Sequential => Picker::Sequential { count, first: count * index as usize / seats as usize },
            Self::Zipf(exponent) => Picker::zipf(count, exponent),
        }
    }
}

/// Formats the distribution as it is written on the command line.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Sequential => f.write_str("sequential"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
            Self::Hot(count) => write!(f, "hot:{count}"),
        }
    }
}

/// Draws the topics of a connection.
#[derive(Clone, Debug)]
pub(super) enum Picker {
    Uniform(usize),
    Sequential {
        count: usize,
        first: usize,
    },
    /// The cumulative probability of each topic; the last is 1.
    Shares(Vec<f64>),
}

impl Picker {
    fn zipf(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|place| {
            sum += (place as f64).powf(-exponent);
            sum
        });
        let mut shares: Vec<f64> = sums.collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self::Shares(shares)
    }

    /// Returns the topic of a request; requests count from 1.
    pub(super) fn pick(&self, seed: u64, serial: u64) -> usize {
        match self {
            Self::Uniform(count) => drawn(seed, serial, *count),
            Self::Sequential { count, first } => {
                let step = usize::try_from((serial - 1) % *count as u64).expect("it is less than a usize");
                (first + step) % count
            }
            Self::Shares(shares) => {
                // A number between 0 and 1 holds 53 bits.
                let place = (mixed(seed, serial) >> 11) as f64 / (1_u64 << 53) as f64;
                shares.partition_point(|share| *share <= place).min(shares.len() - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 100_000;

    fn counts(keys: &str, topics: usize) -> Vec<f64> {
        let picker = Keys::parse(keys).unwrap().picker(topics, (0, 4));
        let mut counts = vec![0.0; topics];
        (1..=DRAWS).for_each(|serial| counts[picker.pick(42, serial)] += 1.0);
        counts
    }

    /// Compares with the known probabilities. The draws are deterministic, so the bounds cannot fail by chance.
    #[test]
    fn topics_are_drawn_in_their_shares() {
        let harmonic: f64 = (1..=50).map(|place| f64::from(place).powf(-1.1)).sum();
        for (keys, share) in [
            ("uniform", Box::new(|_| 1.0 / 50.0) as Box<dyn Fn(u32) -> f64>),
            ("zipf:0", Box::new(|_| 1.0 / 50.0)),
            ("zipf:1.1", Box::new(|place| f64::from(place).powf(-1.1) / harmonic)),
            ("hot:4", Box::new(|place| if place <= 4 { 0.25 } else { 0.0 })),
            ("hot:900", Box::new(|_| 1.0 / 50.0)),
            ("sequential", Box::new(|_| 1.0 / 50.0)),
        ] {
            for (place, count) in (1..).zip(counts(keys, 50)) {
                let expected = share(place) * DRAWS as f64;
                assert!((count - expected).abs() <= 5.0 * expected.sqrt(), "{keys} {place}: {count} of {expected}");
            }
        }
    }

    #[test]
    fn sequential_goes_round_from_another_place_on_each_connection() {
        for (index, expected) in [(0, [0, 1, 2, 3, 4, 0]), (1, [2, 3, 4, 0, 1, 2])] {
            let picker = Keys::Sequential.picker(5, (index, 2));
            assert_eq!([1, 2, 3, 4, 5, 6].map(|serial| picker.pick(9, serial)), expected);
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let picker = Keys::Zipf(1.1).picker(1000, (0, 1));
        let draw = |seed| (1..=20).map(|serial| picker.pick(seed, serial)).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn keys_are_read_and_written_alike() {
        for text in ["uniform", "sequential", "zipf:1.1", "zipf:0", "hot:1"] {
            assert_eq!(Keys::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "zipf", "zipf:x", "zipf:-1", "zipf:NaN", "hot", "hot:0", "uniform:1", "gauss"] {
            assert!(Keys::parse(text).is_err(), "{text:?}");
        }
    }
}
