//! Turns, connects, starts and stops of nodes.

use dht_node::journal::{Identity, OpenError};
use dht_node::limits::{CLIENTS_MAX, CLOCK_JUMP_LASTS_US, HANDSHAKES_EXTRA};
use dht_node::node::{Copies, Node, Settings, SourceLimits};
use dht_node::turn::MemoryStore;
use dht_node::types::{NodeId, Now, SlotId};

use crate::faults::{DAY_US, Fault, WALL_US};
use crate::ground::{Ending, Loss};
use crate::host::{Around, Fate, Host};
use crate::records;
use crate::rot;
use crate::storage::{DiskStore, SimStore};
use crate::wire::{End, Leave, Place};
use crate::world::{Wake, World};

/// The name of every simulated cube.
const CLUSTER: &str = "sim";

/// Time after which a running node has recorded a jump of its clock: it must last for some time, and the entry must be
/// committed.
const JUMP_RECORDED_US: u64 = CLOCK_JUMP_LASTS_US + 2_000_000;

impl World {
    pub(crate) fn turn(&mut self, node: usize) {
        let now_us = self.now_us;
        if self.turns_us[node] != Some(now_us) {
            return;
        }
        self.turns_us[node] = None;
        if self.stalled_until_us[node] > now_us {
            return self.wake_node(node, now_us);
        }
        let Some(host) = &mut self.hosts[node] else { return };
        let around = &mut Around { now_us, network: &mut self.network, trace: &mut self.trace };
        let fate = host.pass(around);
        let next_us = host.next_us(now_us);
        self.note_leading(node);
        match fate {
            Fate::GoesOn => return self.wake_node(node, next_us.max(now_us)),
            Fate::Ends => {
                if let Some(host) = &mut self.hosts[node] {
                    host.driver.turn.close();
                }
                self.stop(node, Leave::Done);
            }
            Fate::Fails => self.stop(node, Leave::Reset),
        }
        self.reap_disk(node);
        self.refresh_ground();
    }

    pub(crate) fn knock(&mut self, end: End) {
        if !self.network.knock(self.now_us, end) {
            return;
        }
        let Place::Node(node) = self.network.place(end) else { return };
        let accepted = self.hosts[node].as_mut().is_some_and(|host| host.knock(end));
        self.network.accept(self.now_us, end, accepted);
        if accepted {
            self.wake_node(node, self.now_us);
        }
    }

    /// Records which slots a node leads, and whether others were copying one of them when it began.
    fn note_leading(&mut self, node: usize) {
        let Some(host) = &self.hosts[node] else { return };
        for slot in self.ground.note_leading(self.now_us, node, host.driver.turn.node()) {
            let is_copying = |host: &Host| host.driver.turn.node().is_copying(slot);
            self.trace.totals.copies_led_anew += u64::from(self.hosts.iter().flatten().any(is_copying));
        }
    }

    fn settings(&mut self, node: usize) -> Settings {
        let dimension = self.profile.dimension;
        let id = NodeId::new(u16::try_from(node).expect("few"), dimension).expect("a node of this cube");
        Settings {
            id,
            dimension,
            slots: self.profile.slots,
            copies: self.profile.copies,
            cluster: CLUSTER.to_owned(),
            software: "sim".to_owned(),
            addresses: Vec::new(),
            instance: self.rng.u64(..),
            origin_mark: self.rng.u16(..),
            seed: self.rng.u64(..),
            memory_bytes: self.profile.memory_bytes,
            retention: self.profile.default_retention,
            durability: self.profile.durability(),
            clients_max: CLIENTS_MAX,
            handshakes_max: HANDSHAKES_EXTRA,
            source_limits: SourceLimits::default(),
            log_window_bytes: self.profile.log_window_bytes(),
        }
    }

    /// Opens a node's store and restores the node from it. Returns `None` if the disk fails temporarily.
    fn open(&mut self, node: usize, mut blank: Node) -> Option<(Node, SimStore)> {
        let Some(pace) = self.profile.disks.clone() else {
            return Some((blank, SimStore::Memory(MemoryStore::default())));
        };
        let dimension = self.profile.dimension;
        let id = NodeId::new(u16::try_from(node).expect("few"), dimension).expect("a node of this cube");
        let identity = Identity { cluster: CLUSTER.to_owned(), dimension, node: id, copies: self.profile.copies };
        let mut rng = self.chaos.fork();
        let settings = self.settings(node);
        self.trace.totals.rotten += u64::from(rot::try_rot(&self.disks[node], &settings, &mut rng));
        match DiskStore::open(&self.disks[node], &identity, &mut blank, (pace, rng), self.now_us) {
            Ok(store) => Some((blank, SimStore::Disk(Box::new(store)))),
            Err(OpenError::Io { .. }) => {
                self.reap_disk(node);
                None
            }
            Err(error) => panic!("node {node} cannot open its journal: {error}"),
        }
    }

    /// If the machine has stopped in the middle of an operation, simulates the loss of data that was not durable.
    fn reap_disk(&mut self, node: usize) {
        if self.disks[node].has_stopped() {
            self.crash_disk(node);
        }
    }

    pub(crate) fn crash_disk(&mut self, node: usize) {
        if self.profile.disks.is_some() {
            self.trace.totals.disk_crashes += 1;
            self.disks[node].crash(&mut self.chaos);
            self.note_durable(node);
        }
        if self.profile.has_interval_sync() {
            let truth = &mut self.ground.nodes[node];
            truth.losses.push(Loss { at_us: self.now_us, durable_us: Some(truth.durable_us) });
        }
    }

    /// Records up to when acknowledged data is durable on the disk of a running process.
    fn note_durable(&mut self, node: usize) {
        if let Some(SimStore::Disk(store)) = self.hosts[node].as_ref().map(|host| &host.driver.turn.store) {
            self.ground.nodes[node].durable_us = store.durable_us;
        }
    }

    fn start_later(&mut self, node: usize) {
        let again_us = self.now_us + self.chaos.u64(1..=2 * self.profile.faults.last_us);
        self.at(again_us, Wake::Fault(Fault::Start { node }));
    }

    /// Checks at the end that a node has the same topics and records after a crash and a start. With interval sync it
    /// is shut down before the crash.
    pub(crate) fn check_disk(&mut self, node: usize) {
        let Some(host) = &mut self.hosts[node] else { return };
        let SimStore::Disk(store) = &mut host.driver.turn.store else { return };
        // A member of several knows only after it has heard from the others what of the end of its log is committed.
        if !store.is_idle() || self.profile.copies == Copies::Three {
            return;
        }
        store.settle().expect("the disk works");
        let host = self.hosts[node].as_ref().expect("it was running just now");
        let before = self.seen(host.driver.turn.node(), &host.driver.turn.store);
        if self.profile.has_interval_sync()
            && let Some(host) = &mut self.hosts[node]
        {
            host.driver.turn.close();
            assert!(!host.driver.turn.store.has_failed(), "the disk works");
            if host.driver.turn.store.ending(Leave::Done) != Ending::Orderly {
                return;
            }
        }
        self.trace.totals.disk_crashes += 1;
        self.disks[node].crash(&mut self.chaos);
        let blank = Node::new(self.settings(node), Now { monotonic_us: self.now_us, wall_us: self.now_us });
        let (restored, store) = self.open(node, blank).expect("the disk works");
        assert!(self.seen(&restored, &store) == before, "node {node} has another state after the crash");
    }

    /// Returns everything that clients can see of a node's topics: the groups, and the records of each topic.
    fn seen(&self, node: &Node, store: &SimStore) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let keeper = if let SimStore::Disk(store) = store { Some(store.keeper()) } else { None };
        let records = self.profile.topics.iter().enumerate().filter_map(|(topic, plan)| {
            let topic = node.topic(self.profile.name(topic))?;
            Some(records::of(plan.slot, topic, keeper).expect("the disk works"))
        });
        let groups = node.images().into_iter().map(|image| image.topics);
        (groups.collect(), records.collect())
    }

    /// Starts a node, with the content of its disk, if it has one.
    pub(crate) fn start(&mut self, node: usize) {
        if self.hosts[node].is_some() {
            return;
        }
        let clocks = (self.rng.u64(..1 << 40), self.walls_us[node]);
        let now = Now { monotonic_us: self.now_us + clocks.0, wall_us: self.now_us + clocks.1 };
        let blank = Node::new(self.settings(node), now);
        let opened = self.open(node, blank);
        if self.profile.has_interval_sync() {
            self.ground.nodes[node].note_start(self.now_us, opened.is_some());
        }
        let Some((restored, store)) = opened else {
            self.start_later(node);
            return;
        };
        let mut host = Host::new((restored, node), store, &self.profile, (clocks, self.rng.fork()));
        host.set_care(self.care);
        self.hosts[node] = Some(host);
        self.network.is_dark[node] = false;
        let truth = &mut self.ground.nodes[node];
        (truth.is_up, truth.is_draining) = (true, false);
        self.set_wall(node, self.walls_us[node]);
        self.wake_node(node, self.now_us);
        self.refresh_ground();
    }

    /// Stops a node, which loses everything in its memory, and schedules its next start.
    pub(crate) fn stop(&mut self, node: usize, how: Leave) {
        self.note_durable(node);
        let Some(host) = self.hosts[node].take() else { return };
        self.ground.note_ended(node);
        self.note_copies(node, &host);
        let ending = host.driver.turn.store.ending(how);
        let around = &mut Around { now_us: self.now_us, network: &mut self.network, trace: &mut self.trace };
        host.end(how, around);
        let truth = &mut self.ground.nodes[node];
        (truth.is_up, truth.ended_us) = (false, Some(self.now_us));
        truth.ending = ending;
        if truth.jumped_us.is_some_and(|jumped_us| self.now_us < jumped_us + JUMP_RECORDED_US) {
            self.model.note_redated(node, self.now_us);
        }
        if self.profile.disks.is_none() {
            truth.losses.push(Loss { at_us: self.now_us, durable_us: None });
        }
        self.ground.disturb_node(self.now_us, node);
        self.turns_us[node] = None;
        self.start_later(node);
    }

    /// Counts the copies that a node has made, or was making, when it stops.
    fn note_copies(&mut self, node: usize, host: &Host) {
        let running = host.driver.turn.node();
        let is_copying = |slot: &SlotId| running.has_group(*slot) && running.is_copying(*slot);
        let totals = &mut self.trace.totals;
        totals.copies_cut += self.profile.slots.all().filter(is_copying).count() as u64;
        if let SimStore::Disk(store) = &host.driver.turn.store
            && self.ground.nodes[node].has_new_disk
        {
            totals.copies_to_new_disks += store.totals.copies;
        }
    }

    pub(crate) fn set_wall(&mut self, node: usize, offset_us: u64) {
        let before_us = std::mem::replace(&mut self.walls_us[node], offset_us);
        if let Some(host) = &mut self.hosts[node] {
            host.set_wall(offset_us);
        }
        let truth = &mut self.ground.nodes[node];
        truth.clock_us = self.now_us;
        truth.is_misdated |= offset_us.abs_diff(WALL_US) >= DAY_US;
        if before_us.abs_diff(offset_us) >= DAY_US {
            truth.jumped_us = Some(self.now_us);
            if self.hosts[node].is_none() {
                self.model.note_redated(node, self.now_us);
            }
        }
    }

    pub(crate) fn refresh_ground(&mut self) {
        for (node, truth) in self.ground.nodes.iter_mut().enumerate() {
            truth.is_stalled = self.stalled_until_us[node] > self.now_us;
            let is_sieved = self.hosts[node].as_ref().is_some_and(|host| host.driver.turn.conns.sieve.is_active());
            if std::mem::replace(&mut truth.is_sieved, is_sieved) {
                truth.sieved_us = Some(self.now_us);
            }
        }
        self.ground.refresh(self.now_us, |from, to| self.network.is_cut_between(from, to));
    }
}
