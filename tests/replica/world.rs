//! Three members of one or two groups with their disks and clocks, the network between them, and a client.

use std::collections::BTreeMap;
use std::ops::Range;

use dht_node::limits::{LOG_WINDOW_BYTES, TICK_US};
use dht_node::replica::{Config, Input, LogEntry, MemberId, Message, Output, Payload, Replica, Role};
use fastrand::Rng;

use crate::journal::{self, BODY_MAX, Bug, Journal, digest_after};
use crate::reads::{Read, Reads};
use crate::store::{Batch, Contents, Query, Store};
use crate::truth::{Disks, Truth};

/// How the network and the disks are while nothing is broken, and how far clocks differ.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) delay_us: Range<u64>,
    pub(crate) sync_us: Range<u64>,
    /// The length of a tick of each member, and when the first one comes.
    pub(crate) ticks_us: [u64; 3],
    pub(crate) first_ticks_us: [u64; 3],
    /// The time between two proposals of the client.
    pub(crate) propose_us: Range<u64>,
    /// The time between two reads.
    pub(crate) read_us: Range<u64>,
    /// Whether members forget the beginnings of their logs.
    pub(crate) trims: bool,
    /// Whether the members have journals, which then have two groups; otherwise, there is one group.
    pub(crate) has_journal: bool,
    /// How the journals are misused.
    pub(crate) bug: Option<Bug>,
    /// The member that has been alone in the group so far, if any, and the number of entries that it has.
    pub(crate) begins_with: Option<(usize, u64)>,
}

/// In how many of a thousand cases a message is lost, doubled or delayed, and a process stops after it has read its
/// clock (`stalls`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) dropped: u32,
    pub(crate) doubled: u32,
    pub(crate) late: u32,
    pub(crate) stalls: u32,
}

#[derive(Debug)]
pub(crate) enum Event {
    Tick {
        member: usize,
        life: u32,
    },
    Synced {
        member: usize,
        life: u32,
        batch: Batch,
    },
    /// A message has arrived. `clock_us` is what the receiver's clock said before its process stopped, if it did.
    Arrived {
        member: usize,
        group: usize,
        message: Message,
        clock_us: Option<u64>,
    },
    Fetched {
        member: usize,
        life: u32,
        group: usize,
        query: Query,
    },
    /// A copy of the state of the member `from` is complete.
    Copied {
        member: usize,
        life: u32,
        group: usize,
        from: usize,
    },
    Installed {
        member: usize,
        life: u32,
        group: usize,
    },
    Propose,
    Ask,
    /// A read that came before the process stopped.
    Read {
        member: usize,
        life: u32,
        group: usize,
        read: Read,
    },
    Restart {
        member: usize,
    },
}

/// A member of the groups.
#[derive(Debug)]
pub(crate) struct Member {
    /// The copies of the groups. There are none while the process is down.
    pub(crate) copies: Vec<Copy>,
    pub(crate) store: Store,
    /// The id of its folder.
    pub(crate) disk: u64,
    /// What each of its lost folders had, by group, until the member has recovered.
    pub(crate) lost: Vec<Vec<Contents>>,
    /// The process does not run until then.
    pub(crate) paused_until_us: u64,
    /// How often it has been started, and when the last time.
    pub(crate) life: u32,
    pub(crate) started_us: u64,
}

/// A member's copy of a group.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) replica: Replica,
    pub(crate) applied: u64,
    digest: u32,
    /// A copied state that is being installed: how many entries it includes, and their digest.
    copied: (u64, u32),
    pub(crate) reads: Reads,
    /// Terms and times of the proposals that wait for their commit, by index.
    proposals: BTreeMap<u64, (u64, u64)>,
}

/// What has happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) acked: u64,
    /// Reads that were answered at once, and later.
    pub(crate) reads: [u64; 2],
    pub(crate) crashes: u64,
    /// How many disks were lost, and how many members have recovered from that.
    pub(crate) wipes: u64,
    pub(crate) recovered: u64,
    pub(crate) leaders: u64,
    pub(crate) hand_overs: u64,
    pub(crate) fetches: u64,
    /// States that were copied from another member and installed.
    pub(crate) copies: u64,
    pub(crate) dropped: u64,
    /// Faults after which it took longer than usual until something was committed.
    pub(crate) slow: u64,
    pub(crate) checkpoints: u64,
    /// Number of starts that did not find everything that was written.
    pub(crate) torn: u64,
    pub(crate) virtual_ms: u64,
}

pub(crate) struct World {
    pub(crate) now_us: u64,
    pub(crate) rng: Rng,
    pub(crate) members: [Member; 3],
    /// Whether nothing passes from one member to another.
    pub(crate) cut: [[bool; 3]; 3],
    pub(crate) weather: Weather,
    /// True while the client proposes nothing.
    pub(crate) is_idle: bool,
    /// If not 0, `TimeoutNow` messages are delayed by up to this much more, and arrive twice.
    pub(crate) timeout_now_us: u64,
    /// How much longer messages from one to another are on their way.
    pub(crate) extra_us: [[u64; 3]; 3],
    /// What must hold for each group.
    pub(crate) truths: Vec<Truth>,
    pub(crate) totals: Totals,
    /// For each group, the time of the newest proposal that its proposer knows to be committed.
    pub(crate) acked_from_us: Vec<Option<u64>>,
    /// Whether members may find their copies bad.
    pub(crate) expects_bad: bool,
    /// A member that was started with a folder from before the group was recovered from another one.
    pub(crate) outsider: Option<usize>,
    /// True while nothing fails.
    pub(crate) is_healed: bool,
    pub(crate) bad: Vec<usize>,
    /// The faults and the changes of roles, for a run that fails.
    pub(crate) story: Vec<String>,
    pub(crate) profile: Profile,
    /// The clock of the member that handles something, if it has read that before it stopped.
    handled_us: Option<u64>,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
}

pub(crate) fn id(member: usize) -> MemberId {
    MemberId::new(0x1000 + member as u64).expect("not zero")
}

/// The configuration of a member. Its rank in the first group is its place; each other group begins with the next one.
pub(crate) fn config((member, disk): (usize, u64), group: usize) -> Config {
    Config {
        id: id(member),
        members: (group..group + 3).map(|member| id(member % 3)).collect(),
        disk,
        window_bytes: LOG_WINDOW_BYTES,
    }
}

/// Returns what is durable of a group at each member.
pub(crate) fn disks(members: &[Member; 3], group: usize) -> Disks<'_> {
    members.each_ref().map(|member| {
        std::iter::once(&member.store.durable).chain(&member.lost).map(|contents| &contents[group]).collect()
    })
}

fn place(id: MemberId) -> usize {
    (0..3).find(|member| self::id(*member) == id).expect("one of the three")
}

impl World {
    pub(crate) fn new(rng: Rng, profile: Profile) -> Self {
        let groups = if profile.has_journal { 2 } else { 1 };
        let member = |disk| Member {
            copies: Vec::new(),
            store: Store::new(groups, profile.has_journal.then(|| Journal::new(profile.trims, profile.bug))),
            disk,
            lost: Vec::new(),
            paused_until_us: 0,
            life: 0,
            started_us: 0,
        };
        let mut world = Self {
            now_us: 0,
            rng,
            members: [1, 2, 3].map(member),
            cut: [[false; 3]; 3],
            weather: Weather::default(),
            is_idle: false,
            timeout_now_us: 0,
            extra_us: [[0; 3]; 3],
            truths: (0..groups).map(|_| Truth::default()).collect(),
            totals: Totals::default(),
            acked_from_us: vec![None; groups],
            expects_bad: false,
            outsider: None,
            is_healed: false,
            bad: Vec::new(),
            story: Vec::new(),
            profile,
            handled_us: None,
            events: BTreeMap::new(),
            serial: 0,
        };
        if let Some((member, entries)) = world.profile.begins_with {
            world.begin_with(member, entries);
        }
        (0..3).for_each(|member| world.start(member));
        world.schedule(0, Event::Propose);
        world.schedule(0, Event::Ask);
        world
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, micros: u64) {
        self.run_until(self.now_us + micros, |_| false);
    }

    /// Lets time pass until then, or until `done`; returns whether it is done.
    pub(crate) fn run_until(&mut self, until_us: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            match self.events.first_entry() {
                Some(entry) if entry.key().0 <= until_us => {
                    let ((at_us, _), event) = entry.remove_entry();
                    self.now_us = at_us;
                    self.on_event(event);
                }
                _ => {
                    self.now_us = until_us;
                    return false;
                }
            }
        }
        true
    }

    /// The member that leads a group in the highest term, by what it knows itself.
    pub(crate) fn leader(&self, group: usize) -> Option<usize> {
        let leading = (0..3).filter_map(|member| match self.members[member].copies.get(group)?.replica.role() {
            Role::Leader { term } => Some((term, member)),
            Role::Follower { .. } => None,
        });
        leading.max().map(|(_, member)| member)
    }

    /// Stops a member's process, or with `is_machine` its machine; it comes back after a while.
    pub(crate) fn crash(&mut self, place: usize, is_machine: bool, for_us: u64) {
        let member = &mut self.members[place];
        if member.copies.is_empty() {
            return;
        }
        self.totals.dropped += member.copies.drain(..).map(|copy| copy.replica.dropped()).sum::<u64>();
        self.stop(place, is_machine, for_us);
    }

    fn stop(&mut self, place: usize, is_machine: bool, for_us: u64) {
        self.totals.crashes += 1;
        let what = if is_machine { "machine" } else { "process" };
        self.tell(format!("the {what} of {place} stops for {for_us} us"));
        self.members[place].store.crash(is_machine, &mut self.rng);
        self.schedule(self.now_us + for_us, Event::Restart { member: place });
    }

    /// Stops a member whose disk has failed, which ends its process, or whose machine has stopped during a change.
    fn on_disk_error(&mut self, place: usize) {
        let journal = self.members[place].store.journal.as_ref();
        let is_machine = journal.expect("only journals fail").disk.has_stopped();
        let for_us = self.rng.u64(20_000..1_000_000);
        self.crash(place, is_machine, for_us);
    }

    /// Waits for the end of all stalls, and repairs everything else.
    pub(crate) fn heal(&mut self) {
        let ends = self.members.iter().map(|member| member.paused_until_us.max(member.store.stalled_until_us));
        let last_us = ends.max().unwrap_or(0);
        self.run_until(last_us.max(self.now_us), |_| false);
        self.tell("everything is repaired".to_owned());
        self.is_healed = true;
        self.cut = [[false; 3]; 3];
        (self.weather, self.extra_us, self.timeout_now_us) = (Weather::default(), [[0; 3]; 3], 0);
        self.members.iter().filter_map(|member| member.store.journal.as_ref()).for_each(|journal| journal.disk.heal());
        (0..3).for_each(|member| self.start(member));
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&mut self, what: String) {
        self.story.push(format!("{:>9} us: {what}", self.now_us));
    }

    pub(crate) fn schedule(&mut self, at_us: u64, event: Event) {
        self.serial += 1;
        self.events.insert((at_us, self.serial), event);
    }

    fn start(&mut self, place: usize) {
        let member = &mut self.members[place];
        if !member.copies.is_empty() {
            return;
        }
        let Ok(restarts) = member.store.restore(&mut self.rng) else {
            let is_machine = member.store.journal.as_ref().is_some_and(|journal| journal.disk.has_stopped());
            return self.stop(place, is_machine, 100_000);
        };
        (member.life, member.started_us) = (member.life + 1, self.now_us);
        let (life, first_tick_us) = (member.life, self.profile.first_ticks_us[place]);
        let mut outs = Vec::new();
        for (group, (restored, digest)) in restarts.into_iter().enumerate() {
            let (truth, applied) = (&mut self.truths[group], restored.applied);
            let durable = &disks(&self.members, group);
            let committed = usize::try_from(restored.commit).expect("a short log");
            let mut digest = digest.unwrap_or_default();
            if self.outsider != Some(place) {
                truth.on_restored(&durable[place][0].log[..committed], durable);
                truth.check_majority(durable);
                if self.members[place].store.journal.is_none() {
                    digest = truth.digest(applied);
                }
                assert_eq!(digest, truth.digest(applied), "member {place} has applied other entries of group {group}");
            }
            let mut out = Vec::new();
            let started = Replica::new(&config((place, self.members[place].disk), group), restored, &mut out);
            let replica = started.expect("the disk has lost nothing");
            self.members[place].copies.push(Copy {
                replica,
                applied,
                digest,
                copied: (0, 0),
                reads: Reads::default(),
                proposals: BTreeMap::new(),
            });
            outs.push(out);
        }
        self.schedule(self.now_us + first_tick_us, Event::Tick { member: place, life });
        outs.into_iter().enumerate().for_each(|(group, out)| self.carry_out(place, group, out));
    }

    fn on_event(&mut self, event: Event) {
        let paused_until_us = match event {
            Event::Tick { member, .. }
            | Event::Arrived { member, .. }
            | Event::Fetched { member, .. }
            | Event::Copied { member, .. }
            | Event::Read { member, .. } => self.members[member].paused_until_us,
            Event::Synced { member, .. } | Event::Installed { member, .. } => {
                self.members[member].paused_until_us.max(self.members[member].store.stalled_until_us)
            }
            Event::Propose | Event::Ask | Event::Restart { .. } => 0,
        };
        if paused_until_us > self.now_us {
            return self.schedule(paused_until_us, event);
        }
        match event {
            Event::Tick { member, life } if self.members[member].life == life => {
                self.schedule(self.now_us + self.profile.ticks_us[member], Event::Tick { member, life });
                for group in 0..self.truths.len() {
                    self.begin_ahead(member, group);
                    self.handle(member, group, Input::Tick);
                }
            }
            Event::Synced { member, life, batch } if self.members[member].life == life => {
                self.on_synced(member, &batch)
            }
            Event::Fetched { member, life, group, query } if self.members[member].life == life => {
                if !self.members[member].copies.is_empty() {
                    let (base, entries) = self.members[member].store.read(group, query);
                    self.handle(member, group, Input::Fetched { base, entries });
                }
            }
            Event::Read { member, life, group, read } if self.members[member].life == life => {
                self.read(member, group, read);
            }
            Event::Copied { member, life, group, from } if self.members[member].life == life => {
                self.on_copied(member, group, from);
            }
            Event::Installed { member, life, group } if self.members[member].life == life => {
                self.on_installed(member, group);
            }
            Event::Tick { .. }
            | Event::Synced { .. }
            | Event::Fetched { .. }
            | Event::Copied { .. }
            | Event::Installed { .. }
            | Event::Read { .. } => {}
            Event::Arrived { member, group, message, clock_us } => self.on_arrived(member, group, message, clock_us),
            Event::Ask => {
                let wait_us = self.rng.u64(self.profile.read_us.clone());
                self.schedule(self.now_us + wait_us, Event::Ask);
                (0..self.truths.len()).for_each(|group| self.ask(group));
            }
            Event::Propose => {
                let wait_us = self.rng.u64(self.profile.propose_us.clone());
                self.schedule(self.now_us + wait_us, Event::Propose);
                if !self.is_idle {
                    (0..self.truths.len()).for_each(|group| self.propose(group));
                }
            }
            Event::Restart { member } => {
                self.break_start(member);
                self.start(member);
            }
        }
    }

    /// Now and then, a process stops after it has read its clock.
    fn on_arrived(&mut self, place: usize, group: usize, message: Message, clock_us: Option<u64>) {
        if clock_us.is_none() && self.rng.u32(..1_000) < self.weather.stalls {
            let (clock_us, until_us) = (Some(self.clock_us(place)), self.now_us + self.rng.u64(..1_500_000));
            self.members[place].paused_until_us = until_us;
            return self.schedule(until_us, Event::Arrived { member: place, group, message, clock_us });
        }
        self.handled_us = clock_us;
        self.handle(place, group, Input::Message(message));
        self.handled_us = None;
    }

    fn on_synced(&mut self, place: usize, batch: &Batch) {
        if self.members[place].copies.is_empty() {
            return;
        }
        if self.members[place].store.end_sync(batch).is_err() {
            return self.on_disk_error(place);
        }
        self.note_recovered(place);
        for (group, ticket) in &batch.tickets {
            self.handle(place, *group, Input::Written { ticket: *ticket });
        }
        // Handling this may have led to a write that has failed and stopped the member.
        if !self.members[place].copies.is_empty() {
            self.begin_sync(place);
        }
        if self.rng.u32(..20) == 0 {
            self.checkpoint(place);
        }
        if self.profile.trims && self.rng.u32(..10) == 0 {
            self.members[place].store.trim(&mut self.rng);
        }
    }

    /// Ends a copy from the member `from`. It succeeds only if that member still runs and can be reached, and may fail
    /// by chance.
    fn on_copied(&mut self, place: usize, group: usize, from: usize) {
        let state = self.members[from].copies.get(group).map(|copy| (copy.applied, copy.digest));
        let is_cut = self.cut[from][place] || self.cut[place][from];
        let Some((index, digest)) = state.filter(|_| self.is_healed || !is_cut && self.rng.u32(..10) > 0) else {
            return self.handle(place, group, Input::NotCopied);
        };
        let term = self.members[from].store.written[group].term(index);
        let Some(copy) = self.members[place].copies.get_mut(group) else { return };
        copy.copied = (index, digest);
        self.handle(place, group, Input::CopyReady { index, term });
    }

    /// Installs a copied state in the store of a member, which may fail by chance.
    fn on_installed(&mut self, place: usize, group: usize) {
        if !self.is_healed && self.rng.u32(..10) == 0 {
            return self.handle(place, group, Input::NotCopied);
        }
        let member = &mut self.members[place];
        let Some((index, digest)) = member.copies.get(group).map(|copy| copy.copied) else { return };
        let applied: Vec<_> = member.copies.iter().map(|copy| (copy.applied, copy.digest)).collect();
        let entries = self.truths[group].entries_up_to(index).collect();
        if member.store.install(group, (entries, digest), &applied).is_err() {
            return self.on_disk_error(place);
        }
        self.tell(format!("{place} has a copy of group {group} up to {index}"));
        self.totals.copies += 1;
        if !self.is_healed && self.rng.u32(..10) == 0 {
            let for_us = self.rng.u64(20_000..1_000_000);
            return self.crash(place, true, for_us);
        }
        let copy = &mut self.members[place].copies[group];
        assert!(copy.applied < index, "{place} has applied {}, and gets a copy up to {index}", copy.applied);
        assert_eq!(digest, self.truths[group].digest(index), "the copy has other entries");
        (copy.applied, copy.digest) = (index, digest);
        copy.proposals.retain(|proposed, _| *proposed > index);
        self.handle(place, group, Input::Copied);
    }

    fn checkpoint(&mut self, place: usize) {
        let member = &mut self.members[place];
        let applied: Vec<_> = member.copies.iter().map(|copy| (copy.applied, copy.digest)).collect();
        if !applied.is_empty() && member.store.checkpoint(&applied).is_err() {
            self.on_disk_error(place);
        }
    }

    /// Now and then, a machine stops again during a start.
    fn break_start(&mut self, place: usize) {
        let Some(journal) = &self.members[place].store.journal else { return };
        if self.members[place].copies.is_empty() && self.rng.u32(..6) == 0 {
            journal.disk.stop_after(self.rng.u64(..60));
        }
    }

    /// The client proposes to whoever leads a group, and now and then to somebody else.
    fn propose(&mut self, group: usize) {
        let other = (self.rng.u32(..20) == 0).then(|| self.rng.usize(..3));
        let Some(member) = other.or_else(|| self.leader(group)) else { return };
        if self.members[member].paused_until_us > self.now_us {
            return;
        }
        let large = if self.profile.has_journal { BODY_MAX / 4..BODY_MAX } else { 100_000..400_000 };
        let bytes = if self.rng.u32(..300) == 0 { self.rng.usize(large) } else { self.rng.usize(8..100) };
        let body = journal::body(bytes, &mut self.rng);
        self.handle(member, group, Input::Propose { body });
    }

    /// Has the leader of a group hand its leadership over, unless `to` is the leader already.
    pub(crate) fn hand_over(&mut self, group: usize, to: usize) {
        let Some(from) = self.leader(group).filter(|from| *from != to) else { return };
        if self.members[from].paused_until_us > self.now_us {
            return;
        }
        self.totals.hand_overs += 1;
        self.tell(format!("{from} hands group {group} over to {to}"));
        self.members[from].copies[group].reads.lease.renounce();
        self.handle(from, group, Input::HandOver { to: id(to) });
    }

    pub(crate) fn handle(&mut self, member: usize, group: usize, input: Input) {
        let Some(copy) = self.members[member].copies.get_mut(group) else { return };
        let mut out = Vec::new();
        copy.replica.handle(input, &mut out);
        copy.replica.check();
        self.carry_out(member, group, out);
    }

    pub(crate) fn carry_out(&mut self, place: usize, group: usize, out: Vec<Output>) {
        for output in out {
            let member = &mut self.members[place];
            // The member has stopped, because an earlier output of this list could not be written.
            let Some(copy) = member.copies.get_mut(group) else { return };
            match output {
                Output::Proposed { index, term } => _ = copy.proposals.insert(index, (term, self.now_us)),
                Output::Refused { .. } => {}
                Output::Send(message) => self.send(group, message),
                Output::Write { ticket, hard, commit, entries } => {
                    let written = &member.store.written[group];
                    if let Some(first) = entries.first() {
                        self.truths[group].on_write(written.term(first.index - 1), &entries);
                    }
                    let commit = (hard.is_some() || self.rng.bool()).then_some(commit);
                    member.store.write(group, (ticket, hard, commit), entries);
                    self.begin_sync(place);
                }
                Output::Commit { entries } => entries.iter().for_each(|entry| self.apply(place, group, entry)),
                Output::Fetch { index, bytes_max } => {
                    self.totals.fetches += 1;
                    let (life, at_us) = (member.life, self.now_us + self.rng.u64(self.profile.sync_us.clone()));
                    let query = Query { index, last: member.copies[group].applied, bytes_max };
                    self.schedule(at_us, Event::Fetched { member: place, life, group, query });
                }
                Output::Role(role) => {
                    member.copies[group].reads = Reads::default();
                    self.tell(format!("{place} is {role:?} of group {group}"));
                    if let Role::Leader { term } = role {
                        assert_ne!(self.outsider, Some(place), "it leads with a folder from before the recovery");
                        self.truths[group].on_leader(place, term);
                    }
                }
                Output::Joining(joining) => self.tell(format!("{place} in group {group}: {joining:?}")),
                Output::Confirmed { at_us } => {
                    let now_us = self.handled_us.unwrap_or_else(|| self.clock_us(place));
                    self.on_confirmed(place, group, at_us, now_us);
                }
                Output::Copy { from } => {
                    let (life, from) = (member.life, self::place(from));
                    let at_us = self.now_us + self.rng.u64(..300_000);
                    self.schedule(at_us, Event::Copied { member: place, life, group, from });
                }
                Output::NoCopy => {}
                Output::Install => {
                    member.store.check_settled(group);
                    let (life, at_us) = (member.life, self.now_us + self.rng.u64(self.profile.sync_us.clone()));
                    self.schedule(at_us, Event::Installed { member: place, life, group });
                }
                Output::Bad(fault) => {
                    assert!(self.expects_bad, "member {place} is bad: {fault}");
                    self.members[place].copies[group].reads = Reads::default();
                    self.bad.push(place);
                }
            }
        }
    }

    fn begin_sync(&mut self, place: usize) {
        match self.members[place].store.begin_sync() {
            Ok(None) => {}
            Ok(Some(batch)) => {
                let due_us = self.now_us + self.rng.u64(self.profile.sync_us.clone());
                self.schedule(due_us, Event::Synced { member: place, life: self.members[place].life, batch });
            }
            Err(_) => self.on_disk_error(place),
        }
    }

    fn apply(&mut self, place: usize, group: usize, entry: &LogEntry) {
        if self.outsider == Some(place) {
            return;
        }
        self.truths[group].on_commit(entry, &disks(&self.members, group));
        let copy = &mut self.members[place].copies[group];
        assert_eq!(entry.index, copy.applied + 1, "member {place} applies one entry after the other");
        (copy.applied, copy.digest) = (entry.index, digest_after(copy.digest, &entry.body));
        assert_eq!(copy.digest, self.truths[group].digest(entry.index), "members have applied the same");
        match copy.proposals.remove(&entry.index) {
            Some((term, proposed_us)) if term == entry.term => {
                self.totals.acked += 1;
                self.truths[group].acked = self.truths[group].acked.max(entry.index);
                self.check_leases(group, entry.index);
                let newest = &mut self.acked_from_us[group];
                *newest = (*newest).max(Some(proposed_us));
            }
            _ => {}
        }
    }

    fn send(&mut self, group: usize, message: Message) {
        let (from, to) = (place(message.from), place(message.to));
        Truth::on_send(&message, &self.members[from].store.durable[group]);
        let Weather { dropped, doubled, late, .. } = self.weather;
        let mut happens = |of_thousand| self.rng.u32(..1000) < of_thousand;
        if self.cut[from][to] || happens(dropped) {
            return;
        }
        let is_timeout_now = matches!(message.payload, Payload::TimeoutNow) && self.timeout_now_us > 0;
        let copies = if happens(doubled) || is_timeout_now { 2 } else { 1 };
        let is_late = happens(late);
        for _ in 0..copies {
            let mut extra_us = self.extra_us[from][to] + if is_late { self.rng.u64(..400_000) } else { 0 };
            if is_timeout_now {
                extra_us += self.rng.u64(self.timeout_now_us / 2..self.timeout_now_us);
            }
            let at_us = self.now_us + self.rng.u64(self.profile.delay_us.clone()) + extra_us;
            self.schedule(at_us, Event::Arrived { member: to, group, message: message.clone(), clock_us: None });
        }
    }

    /// Returns what has happened.
    pub(crate) fn totals(&self) -> Totals {
        let copies = self.members.iter().flat_map(|member| &member.copies);
        let dropped = self.totals.dropped + copies.map(|copy| copy.replica.dropped()).sum::<u64>();
        let leaders = self.truths.iter().map(|truth| truth.leaders() as u64).sum();
        let journals = || self.members.iter().filter_map(|member| member.store.journal.as_ref());
        let (checkpoints, torn) =
            (journals().map(|journal| journal.checkpoints).sum(), journals().map(|it| it.torn).sum());
        Totals { dropped, leaders, checkpoints, torn, virtual_ms: self.now_us / 1000, ..self.totals }
    }
}

impl Profile {
    /// A group in which nothing differs: all clocks tick at the same time.
    pub(crate) fn even() -> Self {
        Self {
            delay_us: 100..1_000,
            sync_us: 200..2_000,
            ticks_us: [TICK_US; 3],
            first_ticks_us: [TICK_US; 3],
            propose_us: 5_000..20_000,
            read_us: 2_000..10_000,
            trims: false,
            has_journal: false,
            bug: None,
            begins_with: None,
        }
    }

    /// Returns a random group, whose clocks differ from the true time by up to ten per cent.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let delay_us = [1_000, 5_000, 20_000][rng.usize(..3)];
        let sync_us = [1_000, 5_000, 30_000][rng.usize(..3)];
        let propose_us = [5_000, 20_000, 100_000][rng.usize(..3)];
        let is_even = rng.bool();
        let mut tick_us = || if is_even { TICK_US } else { rng.u64(TICK_US / 100 * 90..=TICK_US / 100 * 110) };
        Self {
            delay_us: 100..delay_us,
            sync_us: 100..sync_us,
            ticks_us: [tick_us(), tick_us(), tick_us()],
            first_ticks_us: [(); 3].map(|()| rng.u64(..TICK_US)),
            propose_us: propose_us / 5..propose_us,
            read_us: 5_000..40_000,
            trims: rng.u32(..3) == 0,
            has_journal: false,
            bug: None,
            begins_with: None,
        }
    }
}
