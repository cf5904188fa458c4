//! Reads: whoever leads answers them from what it has applied while it has a lease, and must miss nothing that anybody
//! had acknowledged before they came.

use dht_node::limits::TICK_US;
use dht_node::replica::{Input, Lease, Role};

use crate::world::{Event, World};

/// The lease of a member, and the reads that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) lease: Lease,
    waiting: Vec<Read>,
}

/// A read that has come to a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    /// When it came, by the member's own clock.
    since_us: u64,
    /// The last entry that was acknowledged by then.
    acked: u64,
}

impl World {
    /// A member's own clock, which began with its process.
    pub(crate) fn clock_us(&self, place: usize) -> u64 {
        let elapsed_us = self.now_us - self.members[place].started_us;
        elapsed_us * TICK_US / self.profile.ticks_us[place]
    }

    /// A read comes to each of the members. Now and then, the process stops after it has read its clock.
    pub(crate) fn ask(&mut self, group: usize) {
        for place in 0..3 {
            if self.members[place].paused_until_us > self.now_us || self.members[place].copies.is_empty() {
                continue;
            }
            let read = Read { since_us: self.clock_us(place), acked: self.truths[group].acked };
            if self.rng.u32(..1_000) < self.weather.stalls {
                let until_us = self.now_us + self.rng.u64(..1_500_000);
                self.members[place].paused_until_us = until_us;
                self.schedule(until_us, Event::Read { member: place, life: self.members[place].life, group, read });
            } else {
                self.read(place, group, read);
            }
        }
    }

    /// Lets a member answer a read, or keep it until it knows that it leads.
    pub(crate) fn read(&mut self, place: usize, group: usize, read: Read) {
        let Some(copy) = self.members[place].copies.get_mut(group) else { return };
        let Role::Leader { .. } = copy.replica.role() else { return };
        copy.reads.lease.note_read(read.since_us);
        if copy.reads.lease.covers(read.since_us, read.since_us) {
            self.totals.reads[0] += 1;
            return self.answer(place, group, read);
        }
        copy.reads.waiting.push(read);
        if copy.reads.lease.begins_round(read.since_us) {
            self.handle(place, group, Input::Confirm { at_us: read.since_us });
        }
    }

    /// Begins a round at a tick, if reads will need it.
    pub(crate) fn begin_ahead(&mut self, place: usize, group: usize) {
        let at_us = self.clock_us(place);
        let Some(copy) = self.members[place].copies.get_mut(group) else { return };
        if matches!(copy.replica.role(), Role::Leader { .. }) && copy.reads.lease.begins_ahead(at_us) {
            self.handle(place, group, Input::Confirm { at_us });
        }
    }

    /// Handles that a member still led when it asked, at `asked_us`. The answer has come at `now_us`; both are times of
    /// its own clock.
    pub(crate) fn on_confirmed(&mut self, place: usize, group: usize, asked_us: u64, now_us: u64) {
        let reads = &mut self.members[place].copies[group].reads;
        reads.lease.on_confirmed(asked_us, now_us);
        let lease = reads.lease;
        let (ready, waiting) = reads.waiting.iter().partition(|read| lease.covers(read.since_us, now_us));
        reads.waiting = waiting;
        let ready: Vec<Read> = ready;
        self.totals.reads[1] += ready.len() as u64;
        ready.into_iter().for_each(|read| self.answer(place, group, read));
    }

    fn answer(&self, place: usize, group: usize, read: Read) {
        let applied = self.members[place].copies[group].applied;
        let Read { since_us, acked } = read;
        assert!(applied >= acked, "{place} answers the read of its time {since_us} us from {applied}, not {acked}");
    }

    /// Whoever may answer a read now has applied what is being acknowledged now.
    pub(crate) fn check_leases(&self, group: usize, acked: u64) {
        for (place, member) in self.members.iter().enumerate() {
            let Some(copy) = member.copies.get(group) else { continue };
            let now_us = self.clock_us(place);
            let may_answer =
                matches!(copy.replica.role(), Role::Leader { .. }) && copy.reads.lease.covers(now_us, now_us);
            assert!(
                !may_answer || copy.applied >= acked,
                "{place} has a lease, but has applied only {} when {acked} is acknowledged",
                copy.applied
            );
        }
    }
}
