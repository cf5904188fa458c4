//! The phases of a run: work, heal, verify, quiet. Each must end in time.

use crate::client::{Client, Role};
use crate::faults::WALL_US;
use crate::trace::Note;
use crate::wire::Leave;
use crate::world::{Wake, World};

/// The current phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Clients work, and faults occur.
    Work,
    /// All faults are repaired; links come up, and clients finish what they have begun.
    Heal,
    /// Every node is queried about every other, and every topic is read to its end.
    Verify,
    /// No client sends requests, and no node may have work left.
    Quiet,
    Over,
}

/// All links are up this long after the last fault.
const HEAL_US: u64 = 6_000_000;
/// Clients have finished this long after that, and each later phase ends within the same time.
const FINISH_US: u64 = 15_000_000;
/// This long after the last fault, every link that it has broken is known to be down.
const LINGERING_US: u64 = 2_000_000;
/// Interval at which the end of a phase is checked.
pub(crate) const WATCH_US: u64 = 20_000;

impl World {
    /// Enters the next phase when this one is done, and fails if it should have been done.
    pub(crate) fn watch(&mut self) {
        self.at(self.now_us + WATCH_US, Wake::Watch);
        let is_done = match self.phase {
            Phase::Work => self.now_us >= self.phase_ends_us,
            Phase::Heal if self.ground.healed_us.is_none_or(|healed_us| self.now_us < healed_us) => false,
            Phase::Heal | Phase::Verify | Phase::Quiet => {
                self.clients.iter().all(|client| client.is_done(self.phase, &self.model))
            }
            Phase::Over => false,
        };
        if self.phase == Phase::Heal && self.ground.healed_us.is_none() {
            self.watch_links();
        }
        if let (Phase::Quiet, Some(stopped_us)) = (self.phase, self.ground.stopped_us) {
            self.clients.iter().for_each(|client| client.check_lag(&self.model, stopped_us, self.now_us));
        }
        if is_done {
            self.enter_next();
        } else if self.phase > Phase::Work && self.phase < Phase::Over && self.now_us > self.phase_ends_us {
            let waiting: Vec<String> = self
                .clients
                .iter()
                .filter(|client| !client.is_done(self.phase, &self.model))
                .map(Client::describe)
                .collect();
            panic!("{:?} does not end: {}", self.phase, waiting.join("; "));
        }
    }

    fn watch_links(&mut self) {
        let is_whole = self.clients.iter().all(Client::sees_all_links) && self.ground.is_led();
        let end_us = self.profile.faults.end_us;
        // A link that was silent for almost too long may still be closed.
        if is_whole && (self.profile.is_calm() || self.now_us >= end_us + LINGERING_US) {
            // For a moment, nodes still answer UNREACHABLE from memory for targets that were unreachable.
            self.ground.healed_us = Some(self.now_us + 300_000);
        }
        let deadline_us = end_us + HEAL_US;
        assert!(is_whole || self.now_us < deadline_us, "links are still down {HEAL_US} us after the last fault");
    }

    fn enter_next(&mut self) {
        self.phase = match self.phase {
            Phase::Work => Phase::Heal,
            Phase::Heal => Phase::Verify,
            Phase::Verify => Phase::Quiet,
            Phase::Quiet | Phase::Over => Phase::Over,
        };
        self.phase_ends_us = self.now_us + FINISH_US + if self.phase == Phase::Heal { HEAL_US } else { 0 };
        self.trace.note(self.now_us, Note::Phase(self.phase.name()));
        if self.phase == Phase::Heal {
            self.heal();
        } else if self.phase == Phase::Verify {
            self.ground.stopped_us = Some(self.now_us);
        }
        for client in 0..self.clients.len() {
            self.wake_client(client, self.now_us);
        }
    }

    fn heal(&mut self) {
        self.network.calm(self.now_us);
        self.stalled_until_us.fill(0);
        for node in 0..self.hosts.len() {
            if self.ground.nodes[node].is_draining {
                self.stop(node, Leave::Reset);
            }
            self.disks[node].heal();
            self.set_wall(node, WALL_US);
            self.start(node);
            assert!(self.hosts[node].is_some(), "the disk works");
            self.sieve(node, (0, 0));
            self.wake_node(node, self.now_us);
        }
        self.refresh_ground();
        for node in 0..self.hosts.len() {
            let rng = self.rng.fork();
            self.add_client(Role::verifier(node, self.hosts.len()), rng);
        }
    }
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Heal => "heal: no more faults",
            Self::Verify => "verify",
            Self::Quiet => "quiet",
            Self::Over => "over",
        }
    }
}
