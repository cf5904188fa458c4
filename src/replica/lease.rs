//! A leader's lease: whether it may answer reads from what it has applied, and when it asks the others whether it still
//! leads.
//!
//! ```text
//!                 a round: Input::Confirm, heartbeats ──► Output::Confirmed
//!  a read ──► asked_us ───────────────────────────────────── │ ──────────────────► until_us
//!             └─ LEASE_US, in which no other member leads ───┴── reads are answered ──┘
//! ```
//!
//! The lease begins when the heartbeats were sent, not when their answers arrive: a member holds its vote from the time
//! at which it has answered, and the answer may have been on its way for long.
//!
//! A leader that begins to hand its leadership over renounces its lease for the rest of its term. From then on, the
//! other member may be elected at any time: the message that makes it a candidate may arrive late, when this leader has
//! given up the hand-over and still leads, and members vote for such a candidate without holding their votes. A
//! completed round still shows that this member led when the round began: a member that has answered it had not voted
//! in a later term.
//!
//! Without a lease a read waits for a round that begins after its arrival. While reads come, rounds are begun before
//! the lease ends, so that reads need not wait.

use crate::limits::{LEASE_US, READ_RECENT_US, ROUND_US};

/// The lease of one leader in one term. All times are in microseconds of its own monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lease {
    /// When it ends.
    until_us: u64,
    /// When the newest round began; `None` before the first one.
    asked_us: Option<u64>,
    /// When the newest of the rounds began that another member has answered.
    confirmed_us: Option<u64>,
    /// When the newest read came.
    read_us: Option<u64>,
    /// True once the lease has been renounced for the rest of the term.
    is_renounced: bool,
}

impl Lease {
    /// Returns the lease of a member that is alone in its group, which never ends.
    pub fn unlimited() -> Self {
        Self { until_us: u64::MAX, ..Self::default() }
    }

    /// Returns true if a read that came at `since_us` may be answered at `now_us` from what is applied. `now_us` must
    /// have been read after the request arrived, and may be older than the moment of the answer.
    pub fn covers(&self, since_us: u64, now_us: u64) -> bool {
        // The second case needs no lease: it is certain that this member still led when the read came.
        now_us < self.until_us || self.confirmed_us.is_some_and(|began_us| since_us <= began_us)
    }

    /// Notes that a read has come.
    pub fn note_read(&mut self, now_us: u64) {
        self.read_us = Some(now_us);
    }

    /// Returns true if a round has to begin for a read that waits, and notes that it does: none is in flight, or its
    /// answers are late.
    pub fn begins_round(&mut self, now_us: u64) -> bool {
        self.asked_us <= self.confirmed_us && self.begin(now_us) || self.begins_late(now_us)
    }

    /// Returns true if a round has to begin so that later reads need not wait, and notes that it does. This is called
    /// at each tick.
    pub fn begins_ahead(&mut self, now_us: u64) -> bool {
        let is_read = self.read_us.is_some_and(|read_us| now_us < read_us.saturating_add(READ_RECENT_US));
        is_read && !self.is_renounced && self.begins_late(now_us)
    }

    /// Notes that this member still led when the round of that time had begun.
    pub fn on_confirmed(&mut self, asked_us: u64, now_us: u64) {
        let begin_us = planted!("lease from the answer's time", asked_us, now_us);
        if !self.is_renounced {
            self.until_us = self.until_us.max(begin_us.saturating_add(LEASE_US));
        }
        self.confirmed_us = self.confirmed_us.max(Some(asked_us));
    }

    /// Ends the lease for the rest of the term. Must be called before leadership is handed over.
    pub fn renounce(&mut self) {
        planted!("lease after the hand-over began", (self.until_us, self.is_renounced) = (0, true), ());
    }

    fn begins_late(&mut self, now_us: u64) -> bool {
        self.asked_us.is_none_or(|asked_us| asked_us.saturating_add(ROUND_US) <= now_us) && self.begin(now_us)
    }

    fn begin(&mut self, now_us: u64) -> bool {
        self.asked_us = Some(now_us);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_the_beginning_of_the_round() {
        let mut lease = Lease::default();
        assert!(!lease.covers(0, 0) && lease.begins_round(1_000));
        lease.on_confirmed(1_000, 200_000);
        for (since_us, now_us, is_covered) in [
            (200_000, 200_000, true),
            (450_999, 450_999, true),
            (451_000, 451_000, false),
            (1_001, 451_000, false),
            (1_000, 451_000, true), // it has waited for this round
        ] {
            assert_eq!(lease.covers(since_us, now_us), is_covered, "{since_us} at {now_us}");
        }
        // An older round that is confirmed later takes nothing away.
        lease.on_confirmed(500, 451_000);
        assert!(lease.covers(450_999, 450_999) && !lease.covers(1_001, 451_000));
        assert!(Lease::unlimited().covers(u64::MAX - 1, u64::MAX - 1));
    }

    #[test]
    fn who_has_renounced_its_lease_answers_only_reads_that_have_waited_for_a_round() {
        let mut lease = Lease::default();
        assert!(lease.begins_round(1_000));
        lease.on_confirmed(1_000, 2_000);
        assert!(lease.covers(2_000, 2_000));
        lease.renounce();
        assert!(!lease.covers(2_000, 2_000) && lease.covers(1_000, 2_000));
        assert!(lease.begins_round(3_000));
        lease.on_confirmed(3_000, 4_000);
        assert!(lease.covers(3_000, 4_000) && !lease.covers(3_001, 4_000));
        lease.note_read(4_000);
        assert!(!lease.begins_ahead(1_000_000), "a round ahead of the reads would be of no use without a lease");
    }

    #[test]
    fn reads_that_wait_begin_one_round_at_a_time() {
        let mut lease = Lease::default();
        assert!(lease.begins_round(0));
        assert!(!lease.begins_round(1) && !lease.begins_round(ROUND_US - 1));
        assert!(lease.begins_round(ROUND_US), "the other one is late");
        lease.on_confirmed(ROUND_US, ROUND_US + 1);
        assert!(lease.begins_round(ROUND_US + 1) && !lease.begins_round(ROUND_US + 2));
    }

    #[test]
    fn rounds_begin_ahead_while_there_are_reads() {
        let mut lease = Lease::default();
        assert!(!lease.begins_ahead(0));
        lease.note_read(0);
        let ticks = (0..30).map(|tick| tick * 100_000);
        let begun: Vec<u64> = ticks.filter(|now_us| lease.begins_ahead(*now_us)).collect();
        assert_eq!(begun, [0, 200_000, 400_000, 600_000, 800_000]);
    }
}
