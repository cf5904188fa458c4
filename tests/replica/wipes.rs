//! Disks that are lost, and groups that had a single member so far.

use dht_node::entry::Place;
use dht_node::limits::RECOVERY_TERMS;
use dht_node::replica::{Founding, Hard, LogEntry};

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
        let is_outsider = self.outsider == Some(place);
        let member = &mut self.members[place];
        if !member.lost.is_empty() && member.store.is_full() && !is_outsider {
            member.lost.clear();
            self.totals.recovered += 1;
            self.tell(format!("{place} has recovered"));
            (0..self.truths.len()).for_each(|group| self.truths[group].check_majority(&disks(&self.members, group)));
        }
    }

    /// Recovers the group from the folder of a member, as an operator does after the loss of the two other disks: the
    /// whole log counts as committed, an entry that raises the epochs follows it, and the member forgets the founding.
    /// What the others had is lost. The member starts after a while.
    pub(crate) fn recover_from(&mut self, place: usize, for_us: u64) {
        self.crash(place, true, for_us);
        self.tell(format!("the group is recovered from {place}"));
        let Contents { hard, mut log, .. } = self.members[place].store.durable[0].clone();
        let number = if hard.founding.is_known() { hard.founding.number } else { 0 };
        let (term, index) = (hard.term + u64::from(RECOVERY_TERMS), log.len() as u64 + 1);
        let entry = LogEntry { index, term, body: journal::body(8, &mut self.rng) };
        log.push(Stored { entry, place: Place::default() });
        self.truths[0].begin_anew(&log);
        let founding = Founding { number, ..Founding::default() };
        let hard = Hard { term, founding, ..Hard::default() };
        self.members[place].store.begin_with(0, Contents { hard, commit: index, log });
        self.members.iter_mut().for_each(|member| member.lost.clear());
    }

    /// Starts a member with another folder than the one that it has, and returns that one.
    pub(crate) fn exchange(&mut self, place: usize, (store, disk): (Store, u64), for_us: u64) -> (Store, u64) {
        self.crash(place, true, for_us);
        self.tell(format!("{place} gets another folder"));
        let member = &mut self.members[place];
        let store = std::mem::replace(&mut member.store, store);
        member.lost.push(store.durable.clone());
        (store, std::mem::replace(&mut member.disk, disk))
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
