//! The pauses between attempts.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::error::Error;
use crate::session::deadline::Deadline;

/// The first pause between attempts. It doubles with each attempt, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause between attempts, unless a node asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The first attempt after a lost connection waits for a random part of this time, so that the clients of a node that
/// died do not all reconnect at once.
const RECONNECT_SPREAD: Duration = Duration::from_millis(100);

/// The pauses between attempts: as long as the node asks for, else increasing, with jitter.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    random: Rng,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { pause: PAUSE_MIN, random: Rng::with_seed(seed) }
    }

    /// Starts with a short pause again.
    pub(crate) const fn reset(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// Returns the pause after this error, for a request with this deadline.
    pub(crate) fn next(&mut self, error: &Error, deadline: Deadline, now: Instant) -> Duration {
        if matches!(error, Error::Lost { .. } | Error::TimedOut { .. }) && self.pause == PAUSE_MIN {
            self.pause *= 2;
            // Another node may answer at once, and needs most of the time if little is left.
            let spread = deadline.left(now).map_or(RECONNECT_SPREAD, |left| RECONNECT_SPREAD.min(left / 4));
            return spread.mul_f64(self.random.f64());
        }
        let asked = error.retry_after();
        let jitter = self.pause.mul_f64(self.random.f64());
        let wait = if asked.is_zero() { self.pause / 2 + jitter / 2 } else { asked + jitter / 4 };
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        wait
    }
}

/// Returns true if an attempt after this pause has time for its response: as long as the pause, at most [`PAUSE_MAX`],
/// and at least as long as the last response took, if that was a refusal (`took`, otherwise zero).
///
/// An attempt with less time would often end unanswered, and the user would get a timeout instead of the refusals that
/// caused it.
pub(crate) fn leaves_time((pause, took): (Duration, Duration), deadline: Deadline, now: Instant) -> bool {
    deadline.left(now).is_none_or(|left| left.saturating_sub(pause) > pause.min(PAUSE_MAX).max(took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;

    #[test]
    fn the_first_attempt_after_a_lost_connection_is_spread_and_the_others_wait_longer() {
        let silent = Error::TimedOut { server: String::new(), waited: Duration::ZERO };
        let start = now();
        let pause = |seed, deadline| Backoff::new(seed).next(&silent, deadline, start);
        let first: Vec<Duration> = (0..64).map(|seed| pause(seed, Deadline::NEVER)).collect();
        assert!(first.iter().all(|pause| *pause < RECONNECT_SPREAD));
        assert!(first.iter().any(|pause| pause.abs_diff(first[0]) > RECONNECT_SPREAD / 8), "{first:?}");
        let near = Deadline::at(start, Duration::from_millis(40));
        assert!((0..64).all(|seed| pause(seed, near) <= Duration::from_millis(10)));
        let mut backoff = Backoff::new(1);
        let pauses: Vec<Duration> = (0..32).map(|_| backoff.next(&silent, Deadline::NEVER, start)).collect();
        assert!(pauses[8..].iter().all(|pause| (PAUSE_MAX / 2..=PAUSE_MAX).contains(pause)), "{pauses:?}");
    }

    #[test]
    fn an_attempt_needs_time_for_its_response() {
        let start = now();
        let millis = Duration::from_millis;
        // Each case: the pause, how long the refusal took, the time left before the pause, and whether that is enough.
        for (pause, took, left, expected) in [
            (0, 0, 0, false),
            (0, 0, 1, true),
            (100, 0, 99, false),
            (100, 0, 200, false),
            (100, 0, 201, true),
            (100, 2400, 2500, false),
            (100, 2400, 2501, true),
            (3000, 0, 3200, false),
            (3000, 0, 3201, true),
        ] {
            let (deadline, times) = (Deadline::at(start, millis(left)), (millis(pause), millis(took)));
            assert_eq!(leaves_time(times, deadline, start), expected, "{pause} after {took} of {left} ms");
        }
        assert!(leaves_time((PAUSE_MAX, PAUSE_MAX), Deadline::NEVER, start));
    }
}
