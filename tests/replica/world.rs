//! Three members with their disks and clocks, the network between them, and a client.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use dht_node::limits::TICK_US;
use dht_node::replica::{Config, Input, LogEntry, MemberId, Message, Output, Replica, Role, Ticket};
use fastrand::Rng;

use crate::disk::Disk;
use crate::truth::Truth;

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
}

/// What the network does to messages besides: in how many of a thousand cases.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) dropped: u32,
    pub(crate) doubled: u32,
    pub(crate) late: u32,
}

#[derive(Debug)]
enum Event {
    Tick { member: usize, life: u32 },
    Synced { member: usize, life: u32, ticket: Ticket },
    Arrived { member: usize, message: Message },
    Fetched { member: usize, life: u32, index: u64 },
    Propose,
    Restart { member: usize },
}

/// A member.
#[derive(Debug)]
pub(crate) struct Member {
    /// It is absent while the process is down.
    pub(crate) replica: Option<Replica>,
    pub(crate) disk: Disk,
    pub(crate) applied: u64,
    /// The process does not run until then.
    pub(crate) paused_until_us: u64,
    /// How often it has been started.
    life: u32,
    /// Terms and times of the proposals that wait for their commit, by index.
    proposals: BTreeMap<u64, (u64, u64)>,
}

/// What has happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) acked: u64,
    pub(crate) crashes: u64,
    pub(crate) leaders: u64,
    pub(crate) fetches: u64,
    pub(crate) dropped: u64,
    /// Faults after which it took longer than usual until something was committed.
    pub(crate) slow: u64,
    pub(crate) virtual_ms: u64,
}

pub(crate) struct World {
    pub(crate) now_us: u64,
    pub(crate) rng: Rng,
    pub(crate) members: [Member; 3],
    /// Whether nothing passes from one member to another.
    pub(crate) cut: [[bool; 3]; 3],
    pub(crate) weather: Weather,
    pub(crate) truth: Truth,
    pub(crate) totals: Totals,
    /// When the newest proposal was made whose commit its proposer has seen.
    pub(crate) acked_from_us: Option<u64>,
    /// Whether members may find their copies bad.
    pub(crate) expects_bad: bool,
    pub(crate) bad: Vec<usize>,
    /// The faults and the changes of roles, for a run that fails.
    pub(crate) story: Vec<String>,
    profile: Profile,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
}

pub(crate) fn id(member: usize) -> MemberId {
    MemberId::new(0x1000 + member as u64).expect("not zero")
}

/// The configuration of a member. Its place is its rank.
pub(crate) fn config(member: usize) -> Config {
    Config { id: id(member), members: (0..3).map(id).collect() }
}

fn place(id: MemberId) -> usize {
    (0..3).find(|member| self::id(*member) == id).expect("one of the three")
}

impl World {
    pub(crate) fn new(rng: Rng, profile: Profile) -> Self {
        let member = || Member {
            replica: None,
            disk: Disk::default(),
            applied: 0,
            paused_until_us: 0,
            life: 0,
            proposals: BTreeMap::new(),
        };
        let mut world = Self {
            now_us: 0,
            rng,
            members: [member(), member(), member()],
            cut: [[false; 3]; 3],
            weather: Weather::default(),
            truth: Truth::default(),
            totals: Totals::default(),
            acked_from_us: None,
            expects_bad: false,
            bad: Vec::new(),
            story: Vec::new(),
            profile,
            events: BTreeMap::new(),
            serial: 0,
        };
        (0..3).for_each(|member| world.start(member));
        world.schedule(0, Event::Propose);
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

    /// The member that leads in the highest term, by what it knows itself.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leading = (0..3).filter_map(|member| match self.members[member].replica.as_ref()?.role() {
            Role::Leader { term } => Some((term, member)),
            Role::Follower { .. } => None,
        });
        leading.max().map(|(_, member)| member)
    }

    /// Stops a member's machine; it comes back after a while.
    pub(crate) fn crash(&mut self, member: usize, for_us: u64) {
        let Some(replica) = self.members[member].replica.take() else { return };
        self.totals.crashes += 1;
        self.tell(format!("{member} crashes for {for_us} us"));
        self.totals.dropped += replica.dropped();
        self.members[member].disk.crash(&mut self.rng);
        self.members[member].proposals.clear();
        self.schedule(self.now_us + for_us, Event::Restart { member });
    }

    /// Waits for the end of all stalls, and repairs everything else.
    pub(crate) fn heal(&mut self) {
        let ends = self.members.iter().map(|member| member.paused_until_us.max(member.disk.stalled_until_us));
        let last_us = ends.max().unwrap_or(0);
        self.run_until(last_us.max(self.now_us), |_| false);
        self.tell("everything is repaired".to_owned());
        self.cut = [[false; 3]; 3];
        self.weather = Weather::default();
        (0..3).for_each(|member| self.start(member));
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&mut self, what: String) {
        self.story.push(format!("{:>9} us: {what}", self.now_us));
    }

    fn schedule(&mut self, at_us: u64, event: Event) {
        self.serial += 1;
        self.events.insert((at_us, self.serial), event);
    }

    fn start(&mut self, place: usize) {
        let member = &mut self.members[place];
        if member.replica.is_some() {
            return;
        }
        let restored = member.disk.restore(&mut self.rng);
        member.applied = restored.applied;
        let committed = usize::try_from(restored.commit).expect("a short log");
        self.truth.on_restored(&member.disk.durable.log[..committed]);
        member.life += 1;
        let (life, first_tick_us) = (member.life, self.profile.first_ticks_us[place]);
        let mut out = Vec::new();
        let started = Replica::new(&config(place), restored, &mut out);
        self.members[place].replica = Some(started.expect("the disk has lost nothing"));
        self.schedule(self.now_us + first_tick_us, Event::Tick { member: place, life });
        self.carry_out(place, out);
    }

    fn on_event(&mut self, event: Event) {
        let paused_until_us = match event {
            Event::Tick { member, .. } | Event::Arrived { member, .. } | Event::Fetched { member, .. } => {
                self.members[member].paused_until_us
            }
            Event::Synced { member, .. } => {
                self.members[member].paused_until_us.max(self.members[member].disk.stalled_until_us)
            }
            Event::Propose | Event::Restart { .. } => 0,
        };
        if paused_until_us > self.now_us {
            return self.schedule(paused_until_us, event);
        }
        match event {
            Event::Tick { member, life } if self.members[member].life == life => {
                self.schedule(self.now_us + self.profile.ticks_us[member], Event::Tick { member, life });
                self.handle(member, Input::Tick);
            }
            Event::Synced { member, life, ticket } if self.members[member].life == life => {
                if self.members[member].replica.is_some() {
                    self.members[member].disk.end_sync(ticket);
                    self.handle(member, Input::Written { ticket });
                    self.begin_sync(member);
                }
            }
            Event::Fetched { member, life, index } if self.members[member].life == life => {
                let (base, entries) = self.members[member].disk.read(index);
                self.handle(member, Input::Fetched { base, entries });
            }
            Event::Tick { .. } | Event::Synced { .. } | Event::Fetched { .. } => {}
            Event::Arrived { member, message } => self.handle(member, Input::Message(message)),
            Event::Propose => {
                let wait_us = self.rng.u64(self.profile.propose_us.clone());
                self.schedule(self.now_us + wait_us, Event::Propose);
                self.propose();
            }
            Event::Restart { member } => self.start(member),
        }
    }

    /// The client proposes to whoever leads, and now and then to somebody else.
    fn propose(&mut self) {
        let other = (self.rng.u32(..20) == 0).then(|| self.rng.usize(..3));
        let Some(member) = other.or_else(|| self.leader()) else { return };
        if self.members[member].paused_until_us > self.now_us {
            return;
        }
        let bytes = if self.rng.u32(..300) == 0 { self.rng.usize(100_000..400_000) } else { self.rng.usize(8..100) };
        let mut body = vec![0; bytes];
        body[..8].copy_from_slice(&self.rng.u64(..).to_be_bytes());
        self.handle(member, Input::Propose { body: Bytes::from(body) });
    }

    pub(crate) fn handle(&mut self, member: usize, input: Input) {
        let Some(replica) = &mut self.members[member].replica else { return };
        let mut out = Vec::new();
        replica.handle(input, &mut out);
        replica.check();
        self.carry_out(member, out);
    }

    fn carry_out(&mut self, place: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Proposed { index, term } => {
                    self.members[place].proposals.insert(index, (term, self.now_us));
                }
                Output::Refused { .. } => {}
                Output::Send(message) => self.send(message),
                Output::Write { ticket, hard, commit, entries } => {
                    self.check_write(place, &entries);
                    self.members[place].disk.write((ticket, hard, commit), entries);
                    self.begin_sync(place);
                }
                Output::Commit { entries } => entries.iter().for_each(|entry| self.apply(place, entry)),
                Output::Fetch { index, .. } => {
                    self.totals.fetches += 1;
                    let at_us = self.now_us + self.rng.u64(self.profile.sync_us.clone());
                    self.schedule(at_us, Event::Fetched { member: place, life: self.members[place].life, index });
                }
                Output::Role(role) => {
                    self.tell(format!("{place} is {role:?}"));
                    if let Role::Leader { term } = role {
                        self.truth.on_leader(place, term);
                    }
                }
                Output::Bad(fault) => {
                    assert!(self.expects_bad, "member {place} is bad: {fault}");
                    self.bad.push(place);
                }
            }
        }
    }

    fn begin_sync(&mut self, place: usize) {
        let Some(ticket) = self.members[place].disk.begin_sync() else { return };
        let due_us = self.now_us + self.rng.u64(self.profile.sync_us.clone());
        self.schedule(due_us, Event::Synced { member: place, life: self.members[place].life, ticket });
    }

    fn check_write(&mut self, place: usize, entries: &[LogEntry]) {
        let Some(first) = entries.first() else { return };
        let before = usize::try_from(first.index - 1).expect("a small index").checked_sub(1);
        let before = before.map_or(0, |before| self.members[place].disk.written.log[before].term);
        self.truth.on_write(before, entries);
    }

    fn apply(&mut self, place: usize, entry: &LogEntry) {
        let [first, second, third] = &self.members;
        self.truth.on_commit(entry, [&first.disk, &second.disk, &third.disk]);
        let member = &mut self.members[place];
        assert_eq!(entry.index, member.applied + 1, "member {place} applies one entry after the other");
        member.applied = entry.index;
        match member.proposals.remove(&entry.index) {
            Some((term, proposed_us)) if term == entry.term => {
                self.totals.acked += 1;
                self.acked_from_us = self.acked_from_us.max(Some(proposed_us));
            }
            _ => {}
        }
    }

    fn send(&mut self, message: Message) {
        let (from, to) = (place(message.from), place(message.to));
        Truth::on_send(&message, &self.members[from].disk);
        let Weather { dropped, doubled, late } = self.weather;
        let mut happens = |of_thousand| self.rng.u32(..1000) < of_thousand;
        if self.cut[from][to] || happens(dropped) {
            return;
        }
        let copies = if happens(doubled) { 2 } else { 1 };
        let is_late = happens(late);
        for _ in 0..copies {
            let extra_us = if is_late { self.rng.u64(..400_000) } else { 0 };
            let at_us = self.now_us + self.rng.u64(self.profile.delay_us.clone()) + extra_us;
            self.schedule(at_us, Event::Arrived { member: to, message: message.clone() });
        }
    }

    /// Returns what has happened.
    pub(crate) fn totals(&self) -> Totals {
        let replicas = self.members.iter().filter_map(|member| member.replica.as_ref());
        let dropped = self.totals.dropped + replicas.map(Replica::dropped).sum::<u64>();
        Totals { dropped, leaders: self.truth.leaders() as u64, virtual_ms: self.now_us / 1000, ..self.totals }
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
        }
    }

    /// A group by chance. Clocks differ by five per cent.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let delay_us = [1_000, 5_000, 20_000][rng.usize(..3)];
        let sync_us = [1_000, 5_000, 30_000][rng.usize(..3)];
        let propose_us = [5_000, 20_000, 100_000][rng.usize(..3)];
        let is_even = rng.bool();
        let mut tick_us = || if is_even { TICK_US } else { rng.u64(TICK_US / 100 * 95..=TICK_US / 100 * 105) };
        Self {
            delay_us: 100..delay_us,
            sync_us: 100..sync_us,
            ticks_us: [tick_us(), tick_us(), tick_us()],
            first_ticks_us: [(); 3].map(|()| rng.u64(..TICK_US)),
            propose_us: propose_us / 5..propose_us,
        }
    }
}
