//! The world of one seed: time, the queue of future events, and all nodes and clients.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dht_node::node::Copies;
use fastrand::Rng;

use crate::client::{Client, Ctx, Role};
use crate::disk::FakeDisk;
use crate::faults::{Fault, WALL_US};
use crate::ground::Ground;
use crate::host::{Care, Host};
use crate::model::Model;
use crate::network::Network;
use crate::phases::{Phase, WATCH_US};
use crate::profile::{Profile, within};
use crate::trace::Trace;
use crate::wire::{End, Leave, Place};

/// An event at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    Turn(usize),
    Client(usize),
    /// An end has pending events.
    News(End),
    Arrive(End),
    Knock(End),
    Break(End),
    Trouble,
    Fault(Fault),
    /// The check whether the next phase can start.
    Watch,
}

pub(crate) struct World {
    pub profile: Profile,
    pub now_us: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Wake)>>,
    tickets: u64,
    pub hosts: Vec<Option<Host>>,
    /// The nodes' disks, which outlive the processes.
    pub disks: Vec<FakeDisk>,
    pub walls_us: Vec<u64>,
    pub turns_us: Vec<Option<u64>>,
    pub stalled_until_us: Vec<u64>,
    /// True if nodes end one after the other.
    pub is_rolling: bool,
    pub clients: Vec<Client>,
    wakes_us: Vec<Option<u64>>,
    pub network: Network,
    pub ground: Ground,
    pub model: Model,
    pub trace: Trace,
    /// The random numbers for faults, separate from the others, so that removing a fault changes little else.
    pub chaos: Rng,
    pub rng: Rng,
    pub phase: Phase,
    pub phase_ends_us: u64,
    pub care: Care,
}

impl World {
    pub(crate) fn new(seed: u64, care: Care) -> Self {
        let mut rng = Rng::with_seed(seed);
        let profile = Profile::draw(seed, &mut rng);
        let roles = Role::cast(&profile, &mut rng);
        Self { care, ..Self::with(profile, roles, &mut rng) }
    }

    /// Creates a world with these clients.
    pub(crate) fn with(profile: Profile, roles: Vec<Role>, rng: &mut Rng) -> Self {
        let count = usize::from(profile.dimension.nodes());
        let mut world = Self {
            now_us: 0,
            queue: BinaryHeap::new(),
            tickets: 0,
            hosts: (0..count).map(|_| None).collect(),
            disks: (0..count).map(|_| FakeDisk::default()).collect(),
            walls_us: (0..count).map(|_| WALL_US + rng.u64(..50_000)).collect(),
            turns_us: vec![None; count],
            stalled_until_us: vec![0; count],
            is_rolling: false,
            clients: Vec::new(),
            wakes_us: Vec::new(),
            network: Network::new(count, profile.network.clone(), rng.fork()),
            ground: Ground::new(&profile),
            model: Model::new(&profile),
            trace: Trace::default(),
            chaos: rng.fork(),
            rng: rng.fork(),
            phase: Phase::Work,
            phase_ends_us: profile.faults.end_us,
            care: Care::EachTurn,
            profile,
        };
        for node in 0..count {
            let start_us = world.rng.u64(0..=world.profile.nodes.start_us);
            world.at(start_us, Wake::Fault(Fault::Start { node }));
        }
        for role in roles {
            world.add_client(role, rng.fork());
        }
        world.at(50_000, Wake::Trouble);
        world.at(WATCH_US, Wake::Watch);
        world
    }

    /// Runs up to a time.
    pub(crate) fn run_until(&mut self, end_us: u64) {
        while self.queue.peek().is_some_and(|Reverse((at_us, ..))| *at_us < end_us) {
            self.advance();
        }
    }

    fn advance(&mut self) {
        let Reverse((at_us, _, wake)) = self.queue.pop().expect("the watch is always due");
        self.now_us = at_us;
        self.dispatch(wake);
        self.settle();
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) {
        while self.phase < Phase::Over {
            self.advance();
        }
        self.check_copies();
        for node in 0..self.hosts.len() {
            self.check_ages(node);
            self.check_disk(node);
            self.stop(node, Leave::Done);
        }
        self.model.check_gaps();
        self.model.check_losses(&self.ground);
        self.trace.totals.seeds = 1;
        self.trace.totals.disk_seeds = u64::from(self.profile.disks.is_some());
        self.trace.totals.replicated_seeds = u64::from(self.profile.copies == Copies::Three);
        self.trace.totals.copied_seeds = u64::from(self.trace.totals.copies > 0);
        self.trace.totals.elections = self.ground.elections;
        self.trace.totals.interval_seeds = u64::from(self.profile.has_interval_sync());
        self.trace.totals.virtual_ms = self.now_us / 1000;
        self.model.count(&mut self.trace.totals);
    }

    pub(crate) fn at(&mut self, at_us: u64, wake: Wake) {
        self.tickets += 1;
        self.queue.push(Reverse((at_us.max(self.now_us), self.tickets, wake)));
    }

    fn dispatch(&mut self, wake: Wake) {
        let now_us = self.now_us;
        match wake {
            Wake::Turn(node) => self.turn(node),
            Wake::Client(client) => self.step_client(client),
            Wake::News(end) => self.network.news.push(end),
            Wake::Arrive(end) => self.network.arrive(now_us, end),
            Wake::Break(end) => self.network.break_end(end),
            Wake::Knock(end) => self.knock(end),
            Wake::Trouble => self.break_something(),
            Wake::Fault(fault) if self.phase == Phase::Work => self.apply(fault),
            Wake::Fault(_) => {}
            Wake::Watch => self.watch(),
        }
    }

    /// Schedules the network's future events, and wakes ends with pending events.
    fn settle(&mut self) {
        for (at_us, wake) in std::mem::take(&mut self.network.later) {
            self.at(at_us, wake);
        }
        for end in std::mem::take(&mut self.network.news) {
            match self.network.place(end) {
                Place::Client(client) => self.wake_client(client, self.now_us),
                Place::Node(node) => {
                    if let Some(host) = &mut self.hosts[node] {
                        host.mark(end);
                        self.wake_node(node, self.now_us);
                    }
                }
            }
        }
    }

    /// Schedules a turn of a node soon, unless it has one before that.
    pub(crate) fn wake_node(&mut self, node: usize, after_us: u64) {
        let at_us = after_us + within(&mut self.rng, self.profile.nodes.turn_us);
        let at_us = at_us.max(self.stalled_until_us[node]);
        if self.turns_us[node].is_none_or(|due_us| due_us > at_us) {
            self.turns_us[node] = Some(at_us);
            self.at(at_us, Wake::Turn(node));
        }
    }

    pub(crate) fn add_client(&mut self, role: Role, rng: Rng) {
        let index = self.clients.len();
        self.clients.push(Client::new(index, role, rng));
        self.wakes_us.push(None);
        self.wake_client(index, self.now_us);
    }

    pub(crate) fn wake_client(&mut self, client: usize, at_us: u64) {
        let at_us = at_us.max(self.now_us) + 1;
        if self.wakes_us[client].is_none_or(|due_us| due_us > at_us) {
            self.wakes_us[client] = Some(at_us);
            self.at(at_us, Wake::Client(client));
        }
    }

    fn step_client(&mut self, client: usize) {
        if self.wakes_us[client] != Some(self.now_us) {
            return;
        }
        self.wakes_us[client] = None;
        let ctx = &mut Ctx {
            now_us: self.now_us,
            network: &mut self.network,
            model: &mut self.model,
            ground: &mut self.ground,
            trace: &mut self.trace,
            profile: &self.profile,
            phase: self.phase,
        };
        let next_us = self.clients[client].step(ctx);
        if let Some(next_us) = next_us {
            self.wake_client(client, next_us);
        }
    }
}
