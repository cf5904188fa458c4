//! What a member has written, and what of that is durable, as a model. Some runs have the production journal beside it:
//! what a start finds in the journal must be the durable part of the model, or that and more of what was written.
//!
//! Writes become durable in their order, by syncs that take a while. A crash keeps any first part of what was not
//! durable.

use std::collections::VecDeque;
use std::io;

use dht_node::entry::Place;
use dht_node::replica::{Hard, LogEntry, Restored, Stage, Ticket};
use fastrand::Rng;

use crate::journal::{Found, Journal};

/// What a member has promised and written in one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) hard: Hard,
    pub(crate) commit: u64,
    /// The entry with index 1 comes first.
    pub(crate) log: Vec<Stored>,
}

/// An entry of a log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) entry: LogEntry,
    /// Where the journal has its body.
    pub(crate) place: Place,
}

/// What is written as a whole or not at all.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Promise(Hard, u64),
    Entry(Stored),
}

/// A record that may not be durable.
#[derive(Clone, Debug)]
struct Pending {
    group: usize,
    ticket: Ticket,
    record: Record,
}

/// What a sync makes durable.
#[derive(Debug)]
pub(crate) struct Batch {
    records: usize,
    /// Of each group that is among the records, the last write.
    pub(crate) tickets: Vec<(usize, Ticket)>,
}

/// What a start finds of a group. Its digest is that of the applied entries, if a journal has it.
pub(crate) type Restart = (Restored, Option<u32>);

/// Which entries are to be read: those after `index` up to `last`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) index: u64,
    pub(crate) last: u64,
    pub(crate) bytes_max: usize,
}

/// What a member has stored.
#[derive(Debug)]
pub(crate) struct Store {
    /// What a crash keeps, by group.
    pub(crate) durable: Vec<Contents>,
    /// What the process has written, by group.
    pub(crate) written: Vec<Contents>,
    /// For each group, the index up to which entries can no longer be read back.
    trimmed: Vec<u64>,
    /// A copied state that may or may not have been installed: the group, and the entries in the state.
    attempt: Option<(usize, Vec<LogEntry>)>,
    /// How many bodies are durable, those that others have replaced included.
    bodies: u64,
    pending: VecDeque<Pending>,
    /// How many of the pending records the journal has been given.
    handed: usize,
    is_syncing: bool,
    /// Nothing becomes durable before this time.
    pub(crate) stalled_until_us: u64,
    pub(crate) journal: Option<Journal>,
}

impl Contents {
    fn add(&mut self, record: Record) {
        match record {
            Record::Promise(hard, commit) => (self.hard, self.commit) = (hard, commit),
            Record::Entry(stored) => {
                let before = size(stored.entry.index) - 1;
                assert!(before <= self.log.len(), "the log has no gaps");
                self.log.truncate(before);
                self.log.push(stored);
            }
        }
    }

    /// Records where the journal has an entry.
    fn locate(&mut self, record: &Record) {
        let Record::Entry(stored) = record else { return };
        let known = self.log.get_mut(size(stored.entry.index) - 1);
        // A later record may have replaced it.
        if let Some(known) = known.filter(|known| known.entry.term == stored.entry.term) {
            *known = stored.clone();
        }
    }

    /// The term of the entry at `index`, or 0 before the first one.
    pub(crate) fn term(&self, index: u64) -> u64 {
        size(index).checked_sub(1).map_or(0, |place| self.log[place].entry.term)
    }
}

impl Store {
    /// Returns the empty store of a member of so many groups.
    pub(crate) fn new(groups: usize, journal: Option<Journal>) -> Self {
        Self {
            durable: vec![Contents::default(); groups],
            written: vec![Contents::default(); groups],
            trimmed: vec![0; groups],
            attempt: None,
            bodies: 0,
            pending: VecDeque::new(),
            handed: 0,
            is_syncing: false,
            stalled_until_us: 0,
            journal,
        }
    }

    /// Writes what will be durable after a sync. The commit index is written with the hard state, and sometimes alone.
    pub(crate) fn write(
        &mut self,
        group: usize,
        (ticket, hard, commit): (Ticket, Option<Hard>, Option<u64>),
        entries: Vec<LogEntry>,
    ) {
        let written = &self.written[group];
        let promise = (hard.unwrap_or(written.hard), commit.unwrap_or(written.commit));
        let is_new = promise != (written.hard, written.commit);
        let mut records: Vec<Record> = is_new.then_some(Record::Promise(promise.0, promise.1)).into_iter().collect();
        let stored = |entry| Record::Entry(Stored { entry, place: Place::default() });
        records.extend(entries.into_iter().map(stored));
        for record in records {
            self.written[group].add(record.clone());
            self.pending.push_back(Pending { group, ticket, record });
        }
    }

    /// Begins a sync of everything written, unless another one has not ended.
    ///
    /// # Errors
    /// The journal's disk has failed.
    pub(crate) fn begin_sync(&mut self) -> io::Result<Option<Batch>> {
        if self.pending.is_empty() || self.is_syncing {
            return Ok(None);
        }
        self.is_syncing = true;
        let mut tickets: Vec<(usize, Ticket)> = Vec::new();
        for Pending { group, ticket, record } in self.pending.range_mut(self.handed..) {
            // It may survive although it could not be appended.
            self.handed += 1;
            if let Some(journal) = &mut self.journal {
                journal.append(*group, record)?;
                self.written[*group].locate(record);
            }
            tickets.retain(|(known, _)| known != group);
            tickets.push((*group, *ticket));
        }
        if let Some(journal) = &mut self.journal {
            journal.write()?;
        }
        Ok(Some(Batch { records: self.pending.len(), tickets }))
    }

    /// Ends a sync.
    ///
    /// # Errors
    /// The journal's disk has failed.
    pub(crate) fn end_sync(&mut self, batch: &Batch) -> io::Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.sync()?;
        }
        self.is_syncing = false;
        self.handed -= batch.records;
        self.keep(batch.records);
        Ok(())
    }

    /// Records that so many of the pending records are durable.
    fn keep(&mut self, records: usize) {
        for Pending { group, record, .. } in self.pending.drain(..records) {
            self.bodies += u64::from(matches!(record, Record::Entry(_)));
            self.durable[group].add(record);
        }
    }

    /// Returns true if the disk says that the member votes without restriction in all groups.
    pub(crate) fn is_full(&self) -> bool {
        let is_full = |contents: &Contents| contents.hard.founding.is_known() && contents.hard.stage == Stage::Full;
        self.durable.iter().all(is_full)
    }

    /// Puts a log into the store of a member that has so far been the only one of its group.
    pub(crate) fn begin_with(&mut self, group: usize, contents: Contents) {
        assert!(self.journal.is_none(), "the journal would not have this log");
        self.written[group] = contents.clone();
        self.durable[group] = contents;
    }

    /// Ends the process. With a journal, the machine may continue, and keeps what was written.
    pub(crate) fn crash(&mut self, is_machine: bool, rng: &mut Rng) {
        self.is_syncing = false;
        if let Some(journal) = &mut self.journal {
            // What was not given to the journal cannot survive; how much of the rest has, the next start finds.
            self.pending.truncate(self.handed);
            return journal.crash(is_machine, rng);
        }
        self.keep(rng.usize(..=self.pending.len()));
        self.forget();
    }

    /// Forgets what was not durable.
    fn forget(&mut self) {
        self.pending.clear();
        self.handed = 0;
        self.written = self.durable.clone();
    }

    /// Returns what a start finds of each group.
    ///
    /// # Errors
    /// The journal's disk has failed.
    pub(crate) fn restore(&mut self, rng: &mut Rng) -> io::Result<Vec<Restart>> {
        let Some(journal) = &mut self.journal else {
            let contents = self.durable.iter().zip(&self.trimmed);
            return Ok(contents.map(|(contents, trimmed)| (guess(contents, *trimmed, rng), None)).collect());
        };
        let found = journal.start(self.durable.len())?;
        let has_it =
            |(group, entries): &(usize, Vec<LogEntry>)| found.groups[*group].applied.index >= entries.len() as u64;
        self.attempt = self.attempt.take().filter(has_it);
        self.take_attempt();
        let survived = self.survived(&found);
        let torn = self.handed - survived;
        self.keep(survived);
        self.forget();
        let journal = self.journal.as_mut().expect("it has one");
        journal.torn += u64::from(torn > 0);
        found.groups.iter().zip(&self.durable).for_each(|(found, contents)| found.check(contents));
        Ok(found.groups.into_iter().map(|group| group.restart(journal.bug)).collect())
    }

    /// Returns how many of the pending records are in what a start has found.
    fn survived(&self, found: &Found) -> usize {
        let mut promises: Vec<_> = self.durable.iter().map(|contents| (contents.hard, contents.commit)).collect();
        let (mut bodies, mut survived) = (self.bodies, None);
        for count in 0..=self.handed {
            if bodies == found.bodies && found.groups.iter().map(|group| group.promise).eq(promises.iter().copied()) {
                survived = Some(count);
            }
            match self.pending.get(count) {
                Some(Pending { group, record: Record::Promise(hard, commit), .. }) => {
                    promises[*group] = (*hard, *commit);
                }
                Some(_) => bodies += 1,
                None => {}
            }
        }
        let told = found.groups.iter().map(|group| group.promise).collect::<Vec<_>>();
        survived.unwrap_or_else(|| {
            let durable: Vec<_> = self.durable.iter().map(|contents| (contents.hard, contents.commit)).collect();
            let (bodies, found) = (self.bodies, found.bodies);
            panic!("{bodies} bodies and {durable:?} were durable, {found} and {told:?} are found")
        })
    }

    /// Reads applied entries, with index and term of the one before them.
    pub(crate) fn read(&mut self, group: usize, query: Query) -> ((u64, u64), Vec<LogEntry>) {
        let Query { index, last, bytes_max } = query;
        let written = &self.written[group];
        let base = (index, written.term(index));
        if index < self.trimmed[group] {
            return ((index, 0), Vec::new());
        }
        let wanted = written.log[size(index)..size(last)].iter().map(|stored| &stored.entry);
        let Some(journal) = &mut self.journal else {
            let mut bytes = 0;
            let fits = |(nth, entry): &(usize, &LogEntry)| {
                bytes += entry.body.len();
                bytes <= bytes_max || *nth == 0
            };
            return (base, wanted.enumerate().take_while(fits).map(|(_, entry)| entry.clone()).collect());
        };
        let (found, entries) = journal.read(group, query);
        assert!(entries.iter().eq(wanted.take(entries.len())), "others were written: {entries:?}");
        assert!(found == base || entries.is_empty(), "the one before is {base:?}, not {found:?}");
        (found, entries)
    }

    /// Trims the log of each group by a random number of entries that are known to be committed.
    pub(crate) fn trim(&mut self, rng: &mut Rng) {
        for (trimmed, contents) in self.trimmed.iter_mut().zip(&self.durable) {
            *trimmed = (*trimmed).max(rng.u64(..=contents.commit));
        }
    }

    /// Installs a copied state of a group that includes these entries, from the first one on, and has this digest.
    /// `applied` is what each group has applied, as in [`Self::checkpoint`].
    ///
    /// # Errors
    /// The journal's disk has failed. The next start finds out whether the state is installed.
    pub(crate) fn install(
        &mut self,
        group: usize,
        (entries, digest): (Vec<LogEntry>, u32),
        applied: &[(u64, u32)],
    ) -> io::Result<()> {
        self.check_settled(group);
        let last = entries.last().expect("a state has applied something");
        let of = (last.index, last.term, digest);
        self.attempt = Some((group, entries));
        self.with_ends(applied, |journal, ends| journal.install(group, of, ends))?;
        self.take_attempt();
        Ok(())
    }

    /// Replaces the log of the group in [`Self::attempt`] by the entries of the state, which was installed.
    fn take_attempt(&mut self) {
        let Some((group, entries)) = self.attempt.take() else { return };
        let place = Place::default();
        let log: Vec<Stored> = entries.into_iter().map(|entry| Stored { entry, place }).collect();
        self.trimmed[group] = log.len() as u64;
        self.durable[group].log.clone_from(&log);
        self.written[group].log = log;
    }

    /// Checks that all entries of a group are durable.
    pub(crate) fn check_settled(&self, group: usize) {
        let mut pending = self.pending.iter().filter(|pending| pending.group == group);
        assert!(pending.all(|pending| matches!(pending.record, Record::Promise(..))), "an entry is not durable");
    }

    /// Writes a checkpoint of the groups: how many entries of each are applied, and their digests.
    ///
    /// # Errors
    /// The journal's disk has failed.
    pub(crate) fn checkpoint(&mut self, applied: &[(u64, u32)]) -> io::Result<()> {
        self.with_ends(applied, Journal::checkpoint)
    }

    /// Calls `act` with the journal, if there is one, and with the last applied entry of each group, its digest, and
    /// the first entry that is not applied.
    fn with_ends(
        &mut self,
        applied: &[(u64, u32)],
        act: impl FnOnce(&mut Journal, &[(Option<&Stored>, u32, Option<&Stored>)]) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let end = |(of, (index, digest)): (usize, &(u64, u32))| {
            let (applied, others) = self.durable[of].log.split_at(size(*index));
            let pending = self.pending.range(..self.handed).filter_map(|pending| match &pending.record {
                Record::Entry(stored) if pending.group == of => Some(stored),
                Record::Entry(_) | Record::Promise(..) => None,
            });
            (applied.last(), *digest, others.first().into_iter().chain(pending).min_by_key(|stored| stored.place))
        };
        act(journal, &applied.iter().enumerate().map(end).collect::<Vec<_>>())
    }

    /// Returns another store with the same content.
    pub(crate) fn copy(&self) -> Self {
        let (durable, written, pending) = (self.durable.clone(), self.written.clone(), self.pending.clone());
        let (journal, trimmed) = (self.journal.as_ref().map(Journal::copy), self.trimmed.clone());
        Self { durable, written, trimmed, pending, journal, attempt: None, ..*self }
    }
}

/// Returns a possible result of a start without a journal. Any part of what is known to be committed may have been
/// applied before, and any part of that is not read. Entries up to `trimmed` cannot be read back, so they count as
/// applied.
fn guess(contents: &Contents, trimmed: u64, rng: &mut Rng) -> Restored {
    // The commit index that was written last may be older than a state that was installed since.
    let commit = contents.commit.max(trimmed);
    let applied = rng.u64(trimmed..=commit);
    let base = if rng.bool() { applied } else { rng.u64(trimmed..=applied) };
    let entries = contents.log[size(base)..].iter().map(|stored| stored.entry.clone()).collect();
    let Contents { hard, .. } = *contents;
    Restored { hard, commit, applied, base: (base, contents.term(base)), entries }
}

fn size(number: u64) -> usize {
    usize::try_from(number).expect("a short log")
}
