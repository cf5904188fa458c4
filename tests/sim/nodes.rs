//! The lives of nodes: turns, connects, starts and ends.

use dht_node::node::Settings;
use dht_node::types::NodeId;
use dht_node::wire::response::Durability;

use crate::faults::Fault;
use crate::host::{Around, Host};
use crate::wire::{End, Leave, Place};
use crate::world::{Wake, World};

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
        let goes_on = host.pass(around);
        let next_us = if host.has_work() { now_us } else { host.next_timeout_us() };
        if goes_on {
            self.wake_node(node, next_us.max(now_us));
        } else {
            self.stop(node, Leave::Done);
            self.refresh_ground();
        }
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

    /// Starts a node, with nothing in its memory.
    pub(crate) fn start(&mut self, node: usize) {
        if self.hosts[node].is_some() {
            return;
        }
        let dimension = self.profile.dimension;
        let id = NodeId::new(u16::try_from(node).expect("few"), dimension).expect("of this cube");
        let settings = Settings {
            id,
            dimension,
            cluster: "sim".to_owned(),
            software: "sim".to_owned(),
            addresses: Vec::new(),
            instance: self.rng.u64(..),
            seed: self.rng.u64(..),
            memory_bytes: self.profile.memory_bytes,
            retention: self.profile.default_retention,
            durability: Durability::Memory,
        };
        let clocks = (self.rng.u64(..1 << 40), self.walls_us[node]);
        let mut host = Host::new(settings, &self.profile, (clocks, self.rng.fork()), self.now_us);
        host.care = self.care;
        self.hosts[node] = Some(host);
        self.network.is_dark[node] = false;
        let truth = &mut self.ground.nodes[node];
        (truth.is_up, truth.is_draining) = (true, false);
        self.set_wall(node, self.walls_us[node]);
        self.wake_node(node, self.now_us);
        self.refresh_ground();
    }

    /// A node is gone, with everything in its memory; it is started again later.
    pub(crate) fn stop(&mut self, node: usize, how: Leave) {
        let Some(host) = self.hosts[node].take() else { return };
        let around = &mut Around { now_us: self.now_us, network: &mut self.network, trace: &mut self.trace };
        host.end(how, around);
        let truth = &mut self.ground.nodes[node];
        (truth.is_up, truth.lost_us) = (false, Some(self.now_us));
        self.ground.disturb_node(self.now_us, node);
        self.turns_us[node] = None;
        let again_us = self.now_us + self.chaos.u64(1..=2 * self.profile.faults.last_us);
        self.at(again_us, Wake::Fault(Fault::Start { node }));
    }

    pub(crate) fn set_wall(&mut self, node: usize, offset_us: u64) {
        self.walls_us[node] = offset_us;
        if let Some(host) = &mut self.hosts[node] {
            host.set_wall(offset_us);
        }
        let truth = &mut self.ground.nodes[node];
        truth.wall_offset_us = truth.wall_offset_us.max(offset_us);
    }

    pub(crate) fn refresh_ground(&mut self) {
        for (node, truth) in self.ground.nodes.iter_mut().enumerate() {
            truth.is_stalled = self.stalled_until_us[node] > self.now_us;
        }
        self.ground.refresh(self.now_us, |from, to| self.network.is_cut_between(from, to));
    }
}
