//! Detects a node that has stopped: how long it may be silent before it is sent PING, and when it is given up.
//!
//! A frozen process keeps its connections open, so only silence betrays it. Silence counts while the client expects
//! something of the node: it has a subscription or an unanswered request. After [`Watch::quiet`] without a sign of
//! life, and up to half of that more at random, the client sends PING, and after three quarters of [`Watch::quiet`]
//! without one the node is given up. The random part saves a node with ten thousand silent subscribers a fifth of the
//! PINGs, and keeps clients that began at the same time from asking at the same time for ever.
//!
//! While a response with a short time limit is awaited, [`Watch::quiet`] is a third of that limit. A node that hangs is
//! then given up after at most three quarters of the limit, and the rest is for another one.
//!
//! The node is not blamed for delays of the client itself. A sign of life that arrives while the process is stopped or
//! busy waits in the socket, and is read before the node is judged. A verdict that is overdue is postponed once,
//! because the whole machine, and the node with it, may have been suspended.

use std::time::{Duration, Instant};

use crate::session::deadline::Deadline;

/// Default silence after which a node is sent PING. The node is given up after 1.75 to 2.25 s of silence, which leaves
/// 0.25 s to connect to another one.
pub(crate) const QUIET_DEFAULT: Duration = Duration::from_secs(1);

/// A verdict that is overdue by this much may have been delayed by a stall of this machine.
const STALL: Duration = Duration::from_millis(500);

/// The silence before PING is at most the time limit for a response divided by this.
const QUIET_PARTS: u32 = 3;

/// The shortest silence before PING: a busy machine may take this long to answer.
const QUIET_LEAST: Duration = Duration::from_millis(10);

/// Watches the silence of one connection's node. It reads no clock.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The configured silence.
    quiet_max: Duration,
    /// The silence after which PING is sent now.
    quiet: Duration,
    /// The random part of half of `quiet` that is added before the next PING, in 1024ths.
    extra: u32,
    /// The time since which something has been expected.
    since: Instant,
    probe: Option<Probe>,
}

/// A PING that was sent because of silence.
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// The time from which the answer is awaited.
    at: Instant,
    /// True if an overdue verdict has been postponed.
    is_extended: bool,
}

/// What to do about a silent node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Wait,
    /// Send PING, then call [`Watch::on_asked`].
    Ask,
    /// Give the node up: it has not answered PING, and has been silent for this long.
    Dead(Duration),
}

impl Watch {
    /// Returns a watch that sends PING after this silence.
    pub(crate) fn new(quiet: Duration, now: Instant) -> Self {
        let quiet = quiet.max(QUIET_LEAST);
        Self { quiet_max: quiet, quiet, extra: 0, since: now, probe: None }
    }

    /// Sets the time limit for the awaited response, or `None` if there is none.
    pub(crate) fn set_limit(&mut self, limit: Option<Duration>) {
        let quiet = limit.map_or(self.quiet_max, |limit| (limit / QUIET_PARTS).max(QUIET_LEAST));
        self.quiet = quiet.min(self.quiet_max);
    }

    /// Starts the watch: something is expected from now on, and nothing was before.
    pub(crate) const fn begin(&mut self, now: Instant) {
        self.since = now;
        self.probe = None;
    }

    /// Records that PING was sent. `random` determines how much later than [`Self::quiet`] the next one is due.
    pub(crate) const fn on_asked(&mut self, now: Instant, random: u64) {
        self.probe = Some(Probe { at: now, is_extended: false });
        self.extra = (random % 1024) as u32;
    }

    /// Returns when to judge a node whose last sign of life was at `heard`.
    pub(crate) fn due(&self, heard: Instant) -> Deadline {
        let last = heard.max(self.since);
        match self.open_probe(last) {
            Some(probe) => Deadline::at(probe.at, self.patience()),
            None => Deadline::at(last, self.ask_after()),
        }
    }

    /// Judges a node whose last sign of life was at `heard`. All available input must have been read before.
    pub(crate) fn judge(&mut self, heard: Instant, now: Instant) -> Verdict {
        let last = heard.max(self.since);
        let silent = now.saturating_duration_since(last);
        let Some(probe) = self.open_probe(last) else {
            return if silent < self.ask_after() { Verdict::Wait } else { Verdict::Ask };
        };
        let waited = now.saturating_duration_since(probe.at);
        if waited < self.patience() {
            return Verdict::Wait;
        }
        if waited >= self.patience().saturating_add(STALL) && !probe.is_extended {
            self.probe = Some(Probe { at: now, is_extended: true });
            return Verdict::Wait;
        }
        Verdict::Dead(silent)
    }

    /// Returns the silence after which PING is due, with its random part.
    fn ask_after(&self) -> Duration {
        self.quiet.saturating_add((self.quiet / 2).mul_f64(f64::from(self.extra) / 1024.0))
    }

    /// Returns how long a node has to answer PING.
    fn patience(&self) -> Duration {
        self.quiet - self.quiet / 4
    }

    /// Returns the PING after which nothing has arrived.
    fn open_probe(&self, last: Instant) -> Option<Probe> {
        self.probe.filter(|probe| probe.at >= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const QUIET: Duration = Duration::from_secs(1);

    /// An event for a watch and the expected verdict, with times in milliseconds since its start.
    #[derive(Clone, Copy, Debug)]
    enum What {
        /// A sign of life arrives.
        Heard,
        /// Something is expected, and nothing was before.
        Begin,
        /// The verdict is to wait until this time.
        Wait(u64),
        /// The verdict is to send PING, which is done.
        Ask,
        /// The verdict is that the node is dead, after this silence.
        Dead(u64),
    }

    fn check(name: &str, story: &[(u64, What)]) {
        let start = clock::now();
        let at = |millis| start + Duration::from_millis(millis);
        let (mut watch, mut heard) = (Watch::new(QUIET, start), start);
        for &(millis, what) in story {
            let now = at(millis);
            match what {
                What::Heard => heard = now,
                What::Begin => watch.begin(now),
                What::Wait(until) => {
                    assert_eq!(watch.judge(heard, now), Verdict::Wait, "{name}: {millis}");
                    assert_eq!(watch.due(heard), Deadline::at(at(until), Duration::ZERO), "{name}: {millis}");
                }
                What::Ask => {
                    assert_eq!(watch.judge(heard, now), Verdict::Ask, "{name}: {millis}");
                    watch.on_asked(now, 0);
                }
                What::Dead(silent) => {
                    let silent = Duration::from_millis(silent);
                    assert_eq!(watch.judge(heard, now), Verdict::Dead(silent), "{name}: {millis}");
                }
            }
        }
    }

    #[test]
    fn a_silent_node_is_asked_after_a_second_and_given_up_after_two() {
        use What::{Ask, Begin, Dead, Heard, Wait};
        check("frozen", &[(0, Heard), (400, Wait(1000)), (1000, Ask), (1500, Wait(1750)), (1751, Dead(1751))]);
        check("alive", &[(1000, Ask), (1001, Heard), (1500, Wait(2001)), (2001, Ask), (2002, Heard), (3002, Ask)]);
        check("it froze later", &[(1000, Ask), (1001, Heard), (2001, Ask), (2751, Dead(1750))]);
        // A program without requests for a while does not read either.
        check("nothing was expected", &[(60_000, Begin), (60_100, Wait(61_000)), (61_000, Ask), (61_750, Dead(1750))]);
    }

    #[test]
    fn a_stall_of_the_client_is_not_held_against_the_node() {
        use What::{Ask, Dead, Heard, Wait};
        check("stopped before it asks", &[(20_000, Ask), (20_001, Heard), (20_002, Wait(21_001))]);
        check("stopped after it asked", &[(1000, Ask), (20_000, Heard), (20_001, Wait(21_000))]);
        // Nothing had arrived when the process resumed, so the whole machine may have stalled. This is excused once.
        check("overdue", &[(1000, Ask), (20_000, Wait(20_750)), (20_500, Heard), (20_501, Wait(21_500))]);
        check("overdue and dead", &[(1000, Ask), (20_000, Wait(20_750)), (40_000, Dead(40_000))]);
    }

    #[test]
    fn the_next_ping_is_up_to_a_half_later_and_leaving_a_node_stays_below_two_and_a_quarter_seconds() {
        let start = clock::now();
        for (random, extra_ms) in [(0, 0), (512, 250), (1023, 499)] {
            let mut watch = Watch::new(QUIET, start);
            watch.on_asked(start, random);
            let heard = start + Duration::from_millis(1);
            let (due, tick) = (heard + QUIET + Duration::from_millis(extra_ms), Duration::from_millis(1));
            assert_eq!(watch.judge(heard, due - tick), Verdict::Wait, "{random}");
            let asks = due + tick;
            assert_eq!(watch.judge(heard, asks), Verdict::Ask, "{random}");
            watch.on_asked(asks, random);
            let Verdict::Dead(silent) = watch.judge(heard, asks + 3 * QUIET / 4) else {
                panic!("{random}: it is not dead")
            };
            assert!(silent <= Duration::from_millis(2250), "{random}: {silent:?}");
        }
    }

    #[test]
    fn the_silence_is_at_most_a_third_of_the_time_limit_for_a_response() {
        let start = clock::now();
        // The setting, the time limit, and the silence after which PING is sent, in milliseconds.
        for (setting, limit, expected) in [
            (1000, Some(5000), 1000),
            (1000, Some(3000), 1000),
            (1000, Some(900), 300),
            (200, Some(900), 200),
            (1000, None, 1000),
            (1000, Some(6), 10),
            (1, Some(900), 10),
        ] {
            let mut watch = Watch::new(Duration::from_millis(setting), start);
            watch.set_limit(limit.map(Duration::from_millis));
            assert_eq!(watch.ask_after().as_millis(), expected, "{setting} {limit:?}");
            watch.set_limit(None);
            assert_eq!(watch.ask_after().as_millis(), u128::from(setting).max(10), "{setting} without a limit");
        }
    }

    #[test]
    fn a_node_that_hangs_is_given_up_within_three_quarters_of_the_time_limit_for_a_response() {
        let start = clock::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut watch = Watch::new(QUIET, start);
        watch.set_limit(Some(Duration::from_millis(900)));
        watch.on_asked(start, 1023);
        let heard = at(1);
        assert_eq!(watch.judge(heard, at(450)), Verdict::Wait);
        assert_eq!(watch.judge(heard, at(451)), Verdict::Ask);
        watch.on_asked(at(451), 1023);
        assert_eq!(watch.judge(heard, at(675)), Verdict::Wait);
        assert_eq!(watch.judge(heard, at(676)), Verdict::Dead(Duration::from_millis(675)));
    }
}
