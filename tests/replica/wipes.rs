//! Disks that are lost, and groups that had a single member so far.

use dht_node::entry::Place;
use dht_node::replica::{Hard, LogEntry};

use crate::journal::{self, Journal};
use crate::store::{Contents, Store, Stored};
use crate::world::{World, disks, id};

impl World {
    /// Loses a member's disk. Its process, if it runs, stops, and comes back with an empty folder.
    pub(crate) fn wipe(&mut self, place: usize, for_us: u64) {
        self.totals.wipes += 1;
        self.tell(format!("the disk of {place} is lost"));
        let lost = self.members[place].store.durable.clone();
        self.crash(place, true, for_us);
        let journal = self.profile.has_journal.then(|| Journal::new(self.profile.trims, self.profile.bug));
        let disk = self.rng.u64(4..);
        let member = &mut self.members[place];
        let stalled_until_us = member.store.stalled_until_us;
        member.store = Store::new(self.truths.len(), journal);
        member.store.stalled_until_us = stalled_until_us;
        member.disk = disk;
        member.lost.push(lost);
    }

    /// Returns true if every member votes without restriction in every group, and none is recovering from a lost disk.
    pub(crate) fn are_full(&self) -> bool {
        self.members.iter().all(|member| member.lost.is_empty() && member.store.is_full())
    }

    /// Notes that a member has recovered from the loss of its disk, once that is so.
    pub(crate) fn note_recovered(&mut self, place: usize) {
        let member = &mut self.members[place];
        if !member.lost.is_empty() && member.store.is_full() {
            member.lost.clear();
            self.totals.recovered += 1;
            self.tell(format!("{place} has recovered"));
            (0..self.truths.len()).for_each(|group| self.truths[group].check_majority(&disks(&self.members, group)));
        }
    }

    /// Gives one member a log from the time at which the group had no other member.
    pub(crate) fn begin_with(&mut self, member: usize, entries: u64) {
        let term = self.rng.u64(1..4);
        let mut log = Vec::new();
        for index in 1..=entries {
            let body = journal::body(self.rng.usize(8..100), &mut self.rng);
            let entry = LogEntry { index, term: term.min(index), body };
            log.push(Stored { entry, place: Place::default() });
        }
        self.truths[0].begin_with(&log);
        let hard = Hard { term, vote: Some(id(member)), ..Hard::default() };
        self.members[member].store.begin_with(0, Contents { hard, commit: entries, log });
    }
}
