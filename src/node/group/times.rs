//! The append times that a leader issues, and what it knows of those from before it led.
//!
//! The node's clock ([`Wall`]) advances evenly, but records from before this node led the group may have times of other
//! clocks: of another node, or of an earlier process. So a leader begins with what the catalogue says of them, and
//! begins another *era* if its own clock may not continue theirs. All that is known here follows from the catalogue and
//! the node's clock, whether the node has just started or has been running for long.

use super::super::Step;
use super::super::wall::{Jumped, Wall};
use super::Group;
use super::proposal::Proposal;
use crate::entry::{Entry, Jump, Reclock};
use crate::topic::{Catalogue, Eras, TopicLog};
use crate::types::Now;
use crate::wire::response::ErrorResponse;

/// The times of a leader.
#[derive(Debug)]
pub(super) struct Times {
    /// What the records from before say about the clock, until they have been compared with it.
    inherited: Option<Inherited>,
    /// The era when leading began, and the latest append time that an earlier record can have in that era; `None` if
    /// there is none.
    before: Option<(u32, u64)>,
    /// The latest append time issued in this era, in microseconds since 1970. The next one is not earlier.
    stamped_us: u64,
    /// The newest era that was proposed.
    era: u32,
    /// The first era in which this leader may have issued append times.
    first_era: u32,
    /// True if the clock was behind the append times of earlier records: one of the two was wrong.
    was_behind: bool,
}

/// What the records from before say about the clock.
#[derive(Clone, Copy, Debug)]
struct Inherited {
    /// The latest append time of any record, in microseconds since 1970.
    latest_us: u64,
    /// True if some records count as older than their append time, because a clock jumped back.
    are_aged: bool,
}

impl Times {
    /// Returns the times of a leader that begins with these topics.
    pub(super) fn new(catalogue: &Catalogue) -> Self {
        let eras = catalogue.eras();
        let inherited = Inherited { latest_us: catalogue.latest_us(), are_aged: eras.are_aged() };
        let era = eras.newest().number;
        Self {
            inherited: (!catalogue.is_empty()).then_some(inherited),
            before: None,
            stamped_us: 0,
            era,
            first_era: era,
            was_behind: false,
        }
    }

    /// Compares the records from before with the clock, the first time that it is called. If they may be from a
    /// different one, begins another era and returns the entry that records it, which precedes any append time.
    fn begin(&mut self, wall: &mut Wall, now: Now) -> Option<Reclock> {
        let Inherited { latest_us, are_aged } = self.inherited.take()?;
        let at_us = wall.now_us(now);
        self.stamped_us = latest_us;
        // The first record of this leader may have the time of now.
        self.before = Some((self.era, latest_us.max(at_us.saturating_sub(1))));
        self.was_behind = wall.inherit(now, latest_us);
        if !self.was_behind && !are_aged {
            return None;
        }
        let reclock = self.reclock(Reclock { at_us, jump: None });
        self.first_era = self.era;
        Some(reclock)
    }

    /// Returns the entry that records a jump of the clock.
    fn jump(&mut self, jumped: Jumped) -> Reclock {
        let Jumped { was_us, at_us, was_trusted } = jumped;
        // Records from before are dated by whichever clock, before or after the jump, makes them younger: they then
        // expire too late rather than too early. A clock that was behind their append times is not used.
        let since_era = if was_trusted || self.before.is_none() {
            0
        } else if at_us < was_us {
            self.era + 1
        } else if self.was_behind {
            self.first_era
        } else {
            0
        };
        self.reclock(Reclock { at_us, jump: Some(Jump { was_us, since_era }) })
    }

    const fn reclock(&mut self, reclock: Reclock) -> Reclock {
        self.era += 1;
        self.stamped_us = reclock.at_us;
        reclock
    }

    /// Returns true if ages can be computed. This is false between a jump and the commit of the entry that records it.
    pub(super) fn knows_ages(&self, eras: &Eras) -> bool {
        self.inherited.is_none() && self.era <= eras.newest().number
    }

    /// Returns true if the age of a log's first record is known: this leader appended it, or the clock is trusted.
    pub(super) fn knows_age_of(&self, wall: &Wall, log: &TopicLog) -> bool {
        wall.is_trusted() || self.before.is_none_or(|before| log.begins_behind(before))
    }
}

impl Group {
    /// Begins with the topics that a start has restored.
    pub(in crate::node) fn inherit(&mut self) {
        if let Some(lead) = &mut self.lead {
            lead.times = Times::new(&self.catalogue);
        }
    }

    /// Compares the records from before this node led with its clock, unless that was done.
    pub(in crate::node) fn begin_times(&mut self, step: &mut Step<'_>) {
        let reclock = self.lead.as_mut().and_then(|lead| lead.times.begin(step.wall, step.now));
        if let Some(reclock) = reclock {
            self.propose(step, Entry::Reclock(reclock), Proposal::default());
        }
    }

    /// Proposes the entry that records a jump of the wall clock, if this node leads the group.
    pub(in crate::node) fn propose_jump(&mut self, step: &mut Step<'_>, jumped: Jumped) {
        if let Some(lead) = &mut self.lead {
            let reclock = lead.times.jump(jumped);
            self.propose(step, Entry::Reclock(reclock), Proposal::default());
        }
    }

    /// Returns the append time for a proposal, in microseconds since 1970. It decreases only after a [`Reclock`] entry.
    ///
    /// # Errors
    /// Returns the answer to a request that only the leader of the group executes.
    pub(super) fn stamp_us(&mut self, step: &mut Step<'_>) -> Result<u64, ErrorResponse> {
        self.begin_times(step);
        let Some(lead) = &mut self.lead else { return Err(step.not_leader(self.slot)) };
        let stamped_us = lead.times.stamped_us.max(step.wall.now_us(step.now));
        lead.times.stamped_us = stamped_us;
        Ok(stamped_us)
    }
}
